/* SPDX-License-Identifier: MIT */
#include "run/process.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"

enum { M_CPU, M_RESIDENT, M_VIRTUAL, M_OPEN, M_OPEN_MAX, M_START };
static const struct metric_def defs[] = {
	[M_CPU] = { "process_cpu_seconds_total", METRIC_COUNTER_US,
		"Processor time used, user and system.", {} },
	[M_RESIDENT] = { "process_resident_memory_bytes", METRIC_GAUGE,
		"Memory in RAM, with shared pages.", {} },
	[M_VIRTUAL] = { "process_virtual_memory_bytes", METRIC_GAUGE, "Address space.", {} },
	[M_OPEN] = { "process_open_fds", METRIC_GAUGE, "Open file descriptors.", {} },
	[M_OPEN_MAX] = { "process_max_fds", METRIC_GAUGE,
		"Limit of file descriptors; missing if there is no limit.", {} },
	[M_START] = { "process_start_time_seconds", METRIC_GAUGE,
		"When the process started, since 1970.", {} },
};

struct metrics *
process_metrics_new(int64_t started_us)
{
	struct metrics *m = metrics_new(defs, ARRAY_LEN(defs));

	metric_set(metrics_cell(m, M_START), started_us / 1000000);
	return m;
}

static void
memory_set(struct metrics *m)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long size, resident, page = sysconf(_SC_PAGESIZE);

	if (!f)
		return;
	if (fscanf(f, "%ld %ld", &size, &resident) == 2) {
		metric_set(metrics_cell(m, M_VIRTUAL), size * page);
		metric_set(metrics_cell(m, M_RESIDENT), resident * page);
	}
	fclose(f);
}

static void
descriptors_set(struct metrics *m)
{
	DIR *d = opendir("/proc/self/fd");
	struct rlimit limit;
	int64_t open = -3; /* ".", ".." and the folder itself */

	if (d) {
		while (readdir(d))
			open++;
		closedir(d);
		metric_set(metrics_cell(m, M_OPEN), open);
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		metric_set(metrics_cell(m, M_OPEN_MAX), (int64_t)limit.rlim_cur);
}

void
process_metrics_write(struct metrics *m, struct buf *out)
{
	struct metric_cell *cpu = metrics_cell(m, M_CPU);

	metric_add(cpu, (uint64_t)clock_cpu_us() - metric_value(cpu));
	memory_set(m);
	descriptors_set(m);
	metrics_write(m, out);
}

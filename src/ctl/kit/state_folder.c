/* SPDX-License-Identifier: MIT */
#include "ctl/kit/state_folder.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A folder that this variable names; a relative path would depend on the working folder. */
static const char *
variable_folder(const char *name)
{
	const char *value = getenv(name);

	return value && *value == '/' ? value : NULL;
}

int
state_folder_path(const char *file, char *out, size_t size, struct err *e)
{
	const char *state = variable_folder("XDG_STATE_HOME"), *home = variable_folder("HOME");
	struct passwd entry, *found = NULL;
	char room[4096];
	int n;

	/* a system service may have no HOME */
	if (!home && getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 && found)
		home = entry.pw_dir;
	if (!state && !home)
		return err_set(e, ERR_INTERNAL,
			"neither XDG_STATE_HOME nor HOME names a folder for %s", file);
	n = state ? snprintf(out, size, "%s/onboard/%s", state, file)
		  : snprintf(out, size, "%s/.local/state/onboard/%s", home, file);
	if (n < 0 || (size_t)n >= size)
		return err_set(e, ERR_INTERNAL, "the path of the state folder is too long");
	return 0;
}

int
folders_make(char *path, mode_t mode)
{
	for (char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/')) {
		int rc;

		*p = '\0';
		rc = mkdir(path, mode) && errno != EEXIST ? -1 : 0;
		*p = '/';
		if (rc)
			return -1;
	}
	return 0;
}

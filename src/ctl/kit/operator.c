/* SPDX-License-Identifier: MIT */
#include "ctl/kit/operator.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *
operator_user(char out[static OPERATOR_USER_SIZE])
{
	char room[4096];
	struct passwd p, *found = NULL;

	if (getpwuid_r(getuid(), &p, room, sizeof room, &found) || !found)
		snprintf(out, OPERATOR_USER_SIZE, "%u", (unsigned)getuid());
	else
		snprintf(out, OPERATOR_USER_SIZE, "%s", p.pw_name);
	return out;
}

const char *
operator_sudo_user(void)
{
	const char *name = getenv("SUDO_USER");

	return name && *name ? name : NULL;
}

const char *
operator_at_host(char out[static OPERATOR_SIZE])
{
	char user[OPERATOR_USER_SIZE], host[64] = "";
	const char *name = operator_sudo_user();

	(void)gethostname(host, sizeof host - 1);
	snprintf(out, OPERATOR_SIZE, "%.100s@%s", name ? name : operator_user(user), host);
	return out;
}

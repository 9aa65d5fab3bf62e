/* SPDX-License-Identifier: MIT */
#include "model/mail_log.h"

#include <string.h>

#include "base/must.h"

static const char *const names[MAIL_STATES] = { [MAIL_PENDING] = "pending",
	[MAIL_SENDING] = "sending",
	[MAIL_SENT] = "sent",
	[MAIL_FAILED] = "failed",
	[MAIL_UNKNOWN] = "unknown" };

const char *
mail_state_name(enum mail_state s)
{
	must(s < MAIL_STATES);
	return names[s];
}

bool
mail_state_is(enum mail_state s, const char *name)
{
	return name && strcmp(name, mail_state_name(s)) == 0;
}

bool
mail_state_known(const char *name)
{
	for (size_t i = 0; i < MAIL_STATES; i++)
		if (mail_state_is((enum mail_state)i, name))
			return true;
	return false;
}

/* SPDX-License-Identifier: MIT */
/* Who runs onboardctl, for the audit log and for other operators. */
#pragma once

#define OPERATOR_USER_SIZE 64
/* The name of this process' user, or the number of a user without a name. Answers out. */
const char *operator_user(char out[static OPERATOR_USER_SIZE]);

/* Who ran sudo; NULL: nobody did. */
const char *operator_sudo_user(void);

#define OPERATOR_SIZE 200
/* "name@host", where the name is who ran sudo. Answers out. */
const char *operator_at_host(char out[static OPERATOR_SIZE]);

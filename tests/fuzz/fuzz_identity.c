/* SPDX-License-Identifier: MIT */
/* E-mail addresses and usernames: what is accepted is stable, short and harmless in a header. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "model/identity.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char once[EMAIL_MAX + 1], twice[EMAIL_MAX + 1];
	struct err e;

	if (size <= 4096 && email_normalize((const char *)data, size, once, &e) == 0) {
		must(strlen(once) <= EMAIL_MAX &&
			strcspn(once, "\r\n \t\"<>,;:\\") == strlen(once));
		must(email_normalize(once, strlen(once), twice, &e) == 0);
		must(strcmp(once, twice) == 0);
	}
	if (username_check((const char *)data, size, &e) == 0)
		must(size >= USERNAME_MIN && size <= USERNAME_MAX && !memchr(data, '\0', size));
	return 0;
}

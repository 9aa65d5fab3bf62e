/* SPDX-License-Identifier: MIT */
/*
 * The folder where onboardctl keeps what belongs to the user who runs it:
 * $XDG_STATE_HOME/onboard, or ~/.local/state/onboard. Only its owner can read it.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/*
 * The path of a file in the state folder; makes no folder. ERR_INTERNAL: the path
 * is too long, or the user has no home folder.
 */
int state_folder_path(const char *file, char *out, size_t size, struct err *e) MUST_CHECK;

/* mode of the folders that folders_make makes for files of the state folder */
#define STATE_FOLDER_MODE 0700

/* Makes the folders above the last part of path. 0, or -1 with errno. path is as before after. */
int folders_make(char *path, mode_t mode);

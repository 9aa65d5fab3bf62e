#!/bin/sh
# SPDX-License-Identifier: MIT
exec "${ONBOARD_BUILD:-build/debug}/tests/prog/link_sql_async"

# SPDX-License-Identifier: MIT
#
# One image for every daemon: each service of docker-compose.yml names its own
# command, an absolute path, so that the daemon is process 1 and gets SIGTERM itself.
# The package names are those of Debian 12; another release needs another list.

FROM debian:12-slim AS build
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
	gcc make pkg-config libc6-dev \
	libcjson-dev libcurl4-openssl-dev libevent-dev libhiredis-dev libidn2-dev \
	libmongoc-dev libpq-dev librabbitmq-dev uthash-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN make -j"$(nproc)" V=release all \
 && make V=release install DESTDIR=/out PREFIX=/usr

FROM debian:12-slim
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
	ca-certificates \
	libbson-1.0-0 libcjson1 libcurl4 libevent-2.1-7 libevent-pthreads-2.1-7 \
	libhiredis0.14 libidn2-0 libmongoc-1.0-0 libpq5 librabbitmq4 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --no-create-home \
	--home-dir /nonexistent --shell /usr/sbin/nologin onboard
COPY --from=build /out/ /
# A library that the list above lacks stops the build here and not the daemon there.
RUN set -e; for b in /usr/bin/onboard* /usr/sbin/onboard*; do \
	[ -f "$b" ] || continue; \
	if ldd "$b" | grep 'not found'; then echo "$b: a library is missing" >&2; exit 1; fi; \
    done
# A number, not a name: Kubernetes' runAsNonRoot can check only numbers.
USER 10001:10001
WORKDIR /
STOPSIGNAL SIGTERM

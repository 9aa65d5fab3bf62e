# SPDX-License-Identifier: MIT
# onboard: build, test, run. `make help` lists the targets.
# V chooses the variant: debug (default), release, asan, tsan, cov, fuzz.
# Our own flags are separate from the user's CPPFLAGS, CFLAGS, LDFLAGS, LDLIBS.
V      ?= debug
O      := build/$(V)
PREFIX ?= /usr/local
SETUP  := tools/setup
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:

VERSION := $(shell cat VERSION)

OPT.debug   := -Og -g3
OPT.release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
OPT.asan    := -O1 -g3 -fno-omit-frame-pointer
OPT.tsan    := -O1 -g3
OPT.cov     := -O0 -g3 --coverage
OPT.fuzz    := -O1 -g3 -fno-omit-frame-pointer -DONBOARD_FUZZ
SAN.asan    := -fsanitize=address,undefined -fno-sanitize-recover=all
SAN.tsan    := -fsanitize=thread
SAN.fuzz    := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
LNK.release := -pie -Wl,-z,relro,-z,now
LNK.cov     := --coverage
ifeq ($(OPT.$(V)),)
$(error V=$(V): want debug, release, asan, tsan, cov or fuzz)
endif
ifeq ($(V),fuzz)
CC := clang
endif
WARN := -Wall -Wextra -Wshadow -Wvla -Wformat=2 -Wwrite-strings -Wstrict-prototypes \
        -Wmissing-prototypes -Wimplicit-fallthrough -Wundef -Wpointer-arith
WARN += $(if $(DEVELOPER)$(CI),-Werror)

# One pkg-config call. `make` names a missing package and says how to install it.
PKGS := libpq libmongoc-1.0 libcjson libevent libevent_pthreads libidn2 libcurl hiredis librabbitmq
# hiredis has TLS from 1.0 on (Debian 13), in a separate library.
PKGS += $(if $(shell pkg-config --exists hiredis_ssl && echo yes),hiredis_ssl openssl)
NEEDS_BUILD := $(filter-out clean distclean help fmt setup% run up test check bench chaos deb uninstall,$(or $(MAKECMDGOALS),all))
ifneq ($(filter all lint-build $(O)/%,$(NEEDS_BUILD)),)
ifneq ($(shell pkg-config --exists $(PKGS) && echo yes),yes)
$(error missing packages: $(shell for p in $(PKGS); do pkg-config --exists $$p || printf '%s ' $$p; done)- run "$(SETUP) build", which installs them)
endif
endif
pkg_cflags := $(shell pkg-config --cflags $(PKGS) 2>/dev/null | sed 's/-I/-isystem /g')
pkg_libs   := $(shell pkg-config --libs $(PKGS) 2>/dev/null)

ob_cppflags := -Isrc/common -Isrc -I$(O)/gen -D_GNU_SOURCE $(pkg_cflags)
ob_cflags   := -std=gnu17 -pthread -fvisibility=hidden -fno-common $(WARN) $(OPT.$(V)) $(SAN.$(V))
ob_ldflags  := -pthread -Wl,--as-needed $(SAN.$(V)) $(LNK.$(V))

# The stamp of flags: make builds objects again when flags, compiler or version change.
stamp := $(O)/gen/flags
now   := $(CC) $(ob_cppflags) $(CPPFLAGS) $(ob_cflags) $(CFLAGS) $(ob_ldflags) $(LDFLAGS) $(VERSION)
# A program also contains each database's newest migration, and refuses a database that has a newer one.
MIGRATIONS := $(sort $(wildcard migrations/*/*.sql))
DATABASES  := $(notdir $(patsubst %/,%,$(sort $(dir $(MIGRATIONS)))))
define_    := \#define ONBOARD_
version_h  := '$(define_)VERSION "$(VERSION)"' $(foreach d,$(DATABASES), \
              '$(define_)SCHEMA_$d $(words $(filter migrations/$d/%.up.sql,$(MIGRATIONS)))')
$(shell mkdir -p $(O)/gen; printf '%s\n' '$(now)' | cmp -s - $(stamp) || printf '%s\n' '$(now)' >$(stamp); \
	printf '%s\n' $(MIGRATIONS) | cmp -s - $(O)/gen/migrations || printf '%s\n' $(MIGRATIONS) >$(O)/gen/migrations; \
	printf '%s\n' $(version_h) | cmp -s - $(O)/gen/version.h || printf '%s\n' $(version_h) >$(O)/gen/version.h)

# A folder with a main.c is a producer; a row of the table is a consumer (docs/adding-a-consumer.md).
PRODUCERS := $(patsubst src/producer/%/main.c,%,$(sort $(wildcard src/producer/*/main.c)))
CONSUMERS := $(shell sed -n 's/^\tX.\([a-z0-9_]*\),.*/\1/p' src/common/model/consumers.h)
$(if $(CONSUMERS),,$(error src/common/model/consumers.h: it has no row))
DAEMONS   := $(PRODUCERS:%=onboard-%) $(CONSUMERS:%=onboard-%)

# One short line per step; VERBOSE=1 shows the whole command.
say     = $(if $(VERBOSE),,@printf '  %-3s %s\n' '$(1)' '$(2)'; )
obj     = $(patsubst %.c,$(O)/%.o,$(1))
COMMON := $(call obj,$(wildcard src/common/*/*.c))
CTL    := $(wildcard src/ctl/*.c src/ctl/*/*.c)
SQL    := $(O)/gen/migrations.o
LETTER := $(O)/gen/letter_templates.o
LETTER_FILES := $(addprefix config/templates/welcome.,subject txt html)
BINS   := $(DAEMONS:%=$(O)/bin/%) $(if $(CTL),$(O)/bin/onboardctl)

all: $(O)/libcommon.a $(BINS) $(if $(filter debug,$(V)),compile_commands.json)

$(O)/libcommon.a: $(COMMON)
	@rm -f $@
	$(call say,AR,$@)$(AR) rcsD $@ $^
.SECONDEXPANSION:
$(CONSUMERS:%=$(O)/bin/onboard-%): $(O)/bin/onboard-%: $(O)/src/consumers/%.o $$(call obj,$$(wildcard src/consumers/$$*_*.c))
$(PRODUCERS:%=$(O)/bin/onboard-%): $(O)/bin/onboard-%: $$(call obj,$$(wildcard src/producer/$$*/*.c))
$(O)/bin/onboardctl: $(call obj,$(CTL)) $(SQL)
$(O)/bin/onboard-mailer: $(LETTER)
$(BINS): $(O)/libcommon.a
$(BINS):
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ob_ldflags) $(LDFLAGS) $(filter %.o,$^) $(filter %.a,$^) $(pkg_libs) $(LDLIBS) -o $@
compile = $(call say,CC,$<)$(CC) -MMD -MP $(ob_cppflags) $(CPPFLAGS) $(ob_cflags) $(CFLAGS) -c $< -o $@
$(O)/%.o: %.c $(stamp)
	@mkdir -p $(@D)
	$(compile)
# onboardctl contains the migrations. A new, changed, renamed or deleted file embeds them again.
$(SQL:.o=.c): tools/embed $(MIGRATIONS) $(O)/gen/migrations
	$(call say,GEN,$@)tools/embed migrations_built_in $(MIGRATIONS) >$@
# onboard-mailer contains its default templates.
$(LETTER:.o=.c): tools/embed $(LETTER_FILES)
	$(call say,GEN,$@)tools/embed letter_templates $(LETTER_FILES) >$@
$(SQL) $(LETTER): %.o: %.c $(stamp)
	$(compile)

# Unit tests: one program per file, no server. Programs that tests run: tests/prog/.
UNIT_C := $(wildcard tests/unit/test_*.c)
UNITS  := $(UNIT_C:tests/unit/%.c=$(O)/tests/%)
PROG_C := $(wildcard tests/prog/*.c)
PROGS  := $(PROG_C:tests/prog/%.c=$(O)/tests/prog/%)
FUZZ_C := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_NAMES := $(FUZZ_C:tests/fuzz/fuzz_%.c=%)
FUZZES := $(FUZZ_NAMES:%=$(O)/tests/fuzz_%)
TESTLIB := $(call obj,$(wildcard tests/lib/*.c))
$(UNITS): $(O)/tests/%: $(O)/tests/unit/%.o $(TESTLIB) $(O)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ob_ldflags) $(LDFLAGS) $(filter %.o,$^) $(filter %/libctl.a,$^) $(O)/libcommon.a \
		$(pkg_libs) $(LDLIBS) -lcmocka -o $@
$(PROGS): $(O)/tests/prog/%: $(O)/tests/prog/%.o $(O)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ob_ldflags) $(LDFLAGS) $^ $(pkg_libs) $(LDLIBS) -lcmocka -o $@
# A fuzz target is a libFuzzer program in V=fuzz and replays its corpus in every other variant.
ifeq ($(V),fuzz)
$(FUZZES): FUZZ_MAIN := -fsanitize=fuzzer
else
$(FUZZES): FUZZ_MAIN := $(O)/tests/fuzz/replay.o
$(FUZZES): $(O)/tests/fuzz/replay.o
endif
$(FUZZES): $(O)/tests/fuzz_%: $(O)/tests/fuzz/fuzz_%.o $(O)/libcommon.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ob_ldflags) $(LDFLAGS) $< $(FUZZ_MAIN) $(filter %/libctl.a,$^) $(O)/libcommon.a $(pkg_libs) $(LDLIBS) -o $@
# Tests of onboardctl's parts link what they need of src/ctl, except main.
$(O)/libctl.a: $(call obj,$(filter-out src/ctl/main.c,$(CTL))) $(SQL)
	@rm -f $@
	$(call say,AR,$@)$(AR) rcsD $@ $^
$(filter $(O)/tests/test_ctl_%,$(UNITS)) $(O)/tests/fuzz_dlq_line: $(O)/libctl.a
tests-build: all $(UNITS) $(PROGS) $(FUZZES)

compile_commands.json: Makefile $(wildcard src/*/*.c src/*/*/*.c tests/*/*.c)
	@tools/compile-commands '$(CC) $(ob_cppflags) $(CPPFLAGS) $(ob_cflags) $(CFLAGS)' $(filter %.c,$^) >$@

-include $(wildcard $(O)/*/*.d $(O)/*/*/*.d $(O)/*/*/*/*.d $(O)/*/*/*/*/*.d)

##@ set-up and running: these install what is missing (root or sudo)
setup: ## install the packages that building, running, testing and linting need
	$(SETUP) build stack test lint
check: ## unit tests alone, no server, under 30 s
	@$(SETUP) build unit
	@$(MAKE) --no-print-directory tests-build
	@tests/run --unit --build $(O) -q
test: ## every test: unit, fuzz corpus, integration, fault
	@$(SETUP) build stack test lint
	@$(MAKE) --no-print-directory -j2 tests-build V=debug
	@$(MAKE) --no-print-directory -j2 all V=release
	@tests/run -q --durations=15
check-all: ## unit tests and fuzz corpus under ASan+UBSan, TSan and valgrind
	@$(SETUP) build unit
	@for v in asan tsan; do $(MAKE) --no-print-directory -j2 tests-build V=$$v && \
		tests/run --unit --build build/$$v -q || exit 1; done
	@$(MAKE) --no-print-directory -j2 tests-build V=debug
	@tests/run --valgrind -q
FUZZ_SECONDS ?= 60
fuzz: ## each fuzz target for FUZZ_SECONDS
	@$(SETUP) build fuzz
	@$(MAKE) --no-print-directory -j2 tests-build V=fuzz
	@for t in $(FUZZ_NAMES); do mkdir -p build/fuzz/corpus/$$t; echo "fuzz $$t"; build/fuzz/tests/fuzz_$$t -max_total_time=$(FUZZ_SECONDS) \
		-verbosity=0 -print_final_stats=1 -artifact_prefix=build/fuzz/ build/fuzz/corpus/$$t tests/fuzz/corpus/$$t || exit 1; done
ROWS ?=
bench: ## the performance table, next to the peer if there is one; FULL=1 ROWS=signup PEER=DIR
	@$(SETUP) build stack bench
	@$(MAKE) --no-print-directory -j2 all V=release
	@bench/run $(ROWS)
SECONDS_TOTAL ?= 300
CHAOS_V := $(if $(filter file,$(origin V)),release,$(V))
chaos: ## faults under load for SECONDS_TOTAL, and the ledger; SEED=N SCENARIO=WORD V=asan; LONG=1: minutes of outage, too
	@$(SETUP) build stack test
	@$(MAKE) --no-print-directory -j2 all V=$(CHAOS_V)
	@$(if $(LONG),LONG=1 tests/run --build build/$(CHAOS_V) --timeout 0 -n 1 tests/fault/test_api_ledger.py tests/fault/test_consumers.py tests/fault/test_mailer.py)
	@ONBOARD_BUILD=build/$(CHAOS_V) tests/chaos/run --seconds $(SECONDS_TOTAL) $(if $(SEED),--seed $(SEED)) $(SCENARIO:%=--scenario %)
run up: ## start all servers and daemons, in the foreground (run) or background (up)
	@$(SETUP) build stack
	@$(MAKE) --no-print-directory -j2 all V=release
	@tools/stack $@ --daemons
down stack-down: ## stop them, keep the data
	@tools/stack down
status: ## state, port, version and memory of each server
	@tools/stack status
stack-up: ## start only the servers and the mail sink
	@$(SETUP) stack
	@tools/stack up
stack-reset: ## stop the servers and remove their data
	@tools/stack reset
lint: ## formatting, static checks, shell, compose schema, include directions
	@$(SETUP) build lint
	@$(MAKE) --no-print-directory compile_commands.json
	@tools/lint
fmt: ## format the C sources in place
	clang-format -i $$(git ls-files -co --exclude-standard '*.c' '*.h')
# tools/render writes files with installed paths below $(O)/install, as they will lie below DESTDIR.
SYSCONFDIR ?= /etc
BINDIR     := $(PREFIX)/bin
LIBDIR     := $(PREFIX)/lib
SHAREDIR   := $(PREFIX)/share
UNITDIR    ?= $(LIBDIR)/systemd/system
DOCS       := README.md ARCHITECTURE.md CHANGELOG.md LICENSE $(wildcard docs/*.md)
UNITS_ALL  := onboard.target onboard-migrate.service onboard-maintain.service onboard-maintain.timer \
              $(DAEMONS:%=%@.service) $(PRODUCERS:%=onboard-%.socket)
MANUALS    := man1/onboardctl.1 man5/onboard.conf.5 man7/onboard.7 $(DAEMONS:%=man8/%.8)
INSTALLED  := $(notdir $(BINS)) # in BINDIR
RENDER      = BIN='$(O)/bin' BINDIR='$(BINDIR)' SYSCONFDIR='$(SYSCONFDIR)' LIBDIR='$(LIBDIR)' SHAREDIR='$(SHAREDIR)' \
              UNITDIR='$(UNITDIR)' VERSION='$(VERSION)' PRODUCERS='$(PRODUCERS)' DAEMONS='$(DAEMONS)' tools/render
DEST_FILES  = $(INSTALLED:%=$(BINDIR)/%) $(UNITS_ALL:%=$(UNITDIR)/%) $(MANUALS:%=$(SHAREDIR)/man/%) \
              $(LIBDIR)/sysusers.d/onboard.conf $(LIBDIR)/tmpfiles.d/onboard.conf \
              $(SHAREDIR)/bash-completion/completions/onboardctl
render: all
	@rm -rf '$(O)/install'; mkdir -p '$(O)/install/units' $(addprefix '$(O)/install/man/,$(addsuffix ',man1 man5 man7 man8))
	@cp systemd/onboard-maintain.timer '$(O)/install/units'
	@for u in onboard.target onboard-migrate.service onboard-maintain.service; do \
		$(RENDER) systemd/$$u.in >'$(O)/install/units/'$$u || exit 1; done
	@for d in $(DAEMONS); do $(RENDER) systemd/onboard-daemon@.service.in $$d >'$(O)/install/units/'$$d@.service && \
		$(RENDER) docs/man/onboard-daemon.8.in $$d >'$(O)/install/man/man8/'$$d.8 || exit 1; done
	@for p in $(PRODUCERS); do \
		$(RENDER) systemd/onboard-http.socket.in onboard-$$p >'$(O)/install/units/'onboard-$$p.socket || exit 1; done
	@for m in onboardctl.1 onboard.conf.5 onboard.7; do \
		$(RENDER) docs/man/$$m.in >'$(O)/install/man/'man$${m##*.}/$$m || exit 1; done
	@$(RENDER) systemd/onboard.tmpfiles.in >'$(O)/install/tmpfiles'
install: render ## PREFIX, DESTDIR, SYSCONFDIR; keeps an existing configuration
	install -d $(addprefix '$(DESTDIR),$(addsuffix ',$(BINDIR) $(UNITDIR) $(LIBDIR)/sysusers.d $(LIBDIR)/tmpfiles.d \
		$(SHAREDIR)/onboard/templates $(SHAREDIR)/doc/onboard $(SHAREDIR)/bash-completion/completions \
		$(addprefix $(SHAREDIR)/man/,man1 man5 man7 man8) $(SYSCONFDIR)/onboard))
	install -d -m 700 '$(DESTDIR)$(SYSCONFDIR)/onboard/credentials'
	install -m 755 $(BINS) '$(DESTDIR)$(BINDIR)'
	install -m 644 $(UNITS_ALL:%=$(O)/install/units/%) '$(DESTDIR)$(UNITDIR)'
	install -m 644 systemd/onboard.sysusers '$(DESTDIR)$(LIBDIR)/sysusers.d/onboard.conf'
	install -m 644 $(O)/install/tmpfiles '$(DESTDIR)$(LIBDIR)/tmpfiles.d/onboard.conf'
	for m in $(MANUALS); do install -m 644 '$(O)/install/man/'$$m '$(DESTDIR)$(SHAREDIR)/man/'$$m || exit 1; done
	install -m 644 tools/onboardctl.bash '$(DESTDIR)$(SHAREDIR)/bash-completion/completions/onboardctl'
	install -m 644 $(LETTER_FILES) '$(DESTDIR)$(SHAREDIR)/onboard/templates'
	install -m 644 $(DOCS) '$(DESTDIR)$(SHAREDIR)/doc/onboard'
	for c in onboard.conf topology.conf; do [ -e '$(DESTDIR)$(SYSCONFDIR)/onboard/'$$c ] || \
		install -m 640 config/$$c '$(DESTDIR)$(SYSCONFDIR)/onboard/' || exit 1; done
uninstall: ## remove installed files; keeps a changed configuration
	rm -f $(addprefix '$(DESTDIR),$(addsuffix ',$(DEST_FILES)))
	rm -rf '$(DESTDIR)$(SHAREDIR)/onboard' '$(DESTDIR)$(SHAREDIR)/doc/onboard'
	for c in onboard.conf topology.conf; do ! cmp -s config/$$c '$(DESTDIR)$(SYSCONFDIR)/onboard/'$$c || \
		rm '$(DESTDIR)$(SYSCONFDIR)/onboard/'$$c; done
	-rmdir '$(DESTDIR)$(SYSCONFDIR)/onboard/credentials' '$(DESTDIR)$(SYSCONFDIR)/onboard' 2>/dev/null
deb: ## a Debian package of the release build: build/onboard_VERSION_ARCH.deb
	@$(SETUP) build deb
	@$(MAKE) --no-print-directory -j2 all V=release
	@tools/deb
clean: ## remove built files
	rm -rf build compile_commands.json
help: ## this list
	@awk -F':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+[a-z -]*:.*## / { printf "  %-22s %s\n", $$1, $$2 }' Makefile
.PHONY: all render install uninstall deb setup check test check-all fuzz bench chaos run up down stack-down status stack-up stack-reset lint fmt clean help tests-build

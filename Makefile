# One non-recursive makefile. `make help` lists the targets, `V=1` shows commands.
#
# Everything that is built lies in build/<mode>/, so the modes never disturb one another; generated sources lie in
# build/gen/ and are shared by all modes. Sources are found by wildcard: a new file needs no change here.
# Each folder becomes one static archive, and a folder's unit tests link only that archive and those to its left in
# FOLDERS: a call in the wrong direction does not link.

FOLDERS := base proto replication metadata broker

# ---------------------------------------------------------------- mode
# Users get release. Goals that look for bugs bring their own mode, unless MODE= says otherwise.
ifndef MODE
  ifneq ($(filter fuzz fuzzers,$(MAKECMDGOALS)),)
    MODE := fuzz
  else ifneq ($(filter cov,$(MAKECMDGOALS)),)
    MODE := cov
  else ifneq ($(filter check tests golden,$(MAKECMDGOALS)),)
    MODE := debug
  else
    MODE := release
  endif
endif

B   := build/$(MODE)
GEN := build/gen

ifeq ($(origin CC),default)
  CC := $(if $(filter fuzz,$(MODE)),clang,gcc)
endif
CCACHE := $(shell command -v ccache 2>/dev/null)
PROTOC_C ?= protoc-c
PREFIX ?= /usr/local
JOBS ?= $(shell nproc)

ASAN := -fsanitize=address,undefined -fno-sanitize-recover=all
FLAGS_debug   := -O1 -g $(ASAN)
# Layers are many small functions: across files they are worth a twelfth of the instructions of a request.
FLAGS_release := -O2 -g -flto=auto -fstack-protector-strong -D_FORTIFY_SOURCE=2
FLAGS_asserts := -O1 -g $(ASAN)
FLAGS_canary  := -O2 -g -DCANARIES
# For campaigns of the simulator on this very machine: a quarter faster, a minute more to build.
FLAGS_fast    := -O2 -g -march=native -flto=auto
FLAGS_tsan    := -O1 -g -fsanitize=thread
FLAGS_cov     := -O0 -g --coverage
FLAGS_fuzz    := -O1 -g $(ASAN) -fsanitize=fuzzer-no-link
ifeq ($(FLAGS_$(MODE)),)
  $(error unknown MODE=$(MODE): use debug, release, fast, asserts, canary, tsan, cov or fuzz)
endif

WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef -Wformat=2 \
            -Wwrite-strings -Wcast-align -Wswitch-enum -Wimplicit-fallthrough -fno-common -Werror
CPPFLAGS_ALL := -I. -I$(GEN) -D_GNU_SOURCE $(CPPFLAGS)
CFLAGS_ALL   := -std=gnu11 -fno-omit-frame-pointer -pthread $(FLAGS_$(MODE)) $(CFLAGS)
# MODE=asserts: libraft's core as scripts/libraft-asserts has built it.
LDFLAGS_ALL  := -pthread $(FLAGS_$(MODE)) -Wl,--as-needed $(if $(filter asserts,$(MODE)),-Lbuild/libraft) $(LDFLAGS)

# libraft is linked from its archive: only then its core comes without the I/O layer and that layer's libraries.
LIBS_base        := -luv -llmdb -lisal
LIBS_proto       := -lprotobuf-c -lzstd -llz4 -lsnappy -lz
LIBS_replication := -l:libraft.a
LIBS_metadata    :=
LIBS_broker      := -lnghttp2 -lmicrohttpd
LIBS_tests       := -lcheck -lsubunit -lrt -lm

# ---------------------------------------------------------------- what there is
MAINS_src := $(wildcard broker/main.c broker/inspect.c broker/ctl_*.c)

PROTOS  := $(wildcard proto/*.proto)
PBC_c   := $(PROTOS:%.proto=$(GEN)/%.pb-c.c)
PBC_h   := $(PROTOS:%.proto=$(GEN)/%.pb-c.h)
KGEN    := $(wildcard scripts/kgen)
MSGS    := $(if $(KGEN),$(wildcard proto/kafka/*.msg))
KAFKA_c := $(if $(MSGS),$(GEN)/proto/kafka_messages.c)
KAFKA_h := $(if $(MSGS),$(GEN)/proto/kafka_messages.h)
GEN_h   := $(PBC_h) $(KAFKA_h)

# What gRPC's reflection tells clients: the descriptors of the services, as bytes in the program.
SERVICES   := $(wildcard proto/admin.proto proto/grpc_*.proto)
SERVICES_c := $(if $(SERVICES),$(GEN)/proto/grpc_descriptors.c)

define folder_rules
$(1)_src := $(filter-out $(MAINS_src),$(wildcard $(1)/*.c))
$(1)_obj := $$($(1)_src:%.c=$(B)/obj/%.o)
ARCHIVES_$(1) := $(B)/lib$(1).a $$(ARCHIVES_$(left))
LINK_$(1) := $$(LIBS_$(1)) $$(LINK_$(left))
left := $(1)
endef
left :=
$(foreach f,$(FOLDERS),$(eval $(call folder_rules,$(f))))
proto_obj += $(patsubst $(GEN)/%.c,$(B)/obj/gen/%.o,$(PBC_c) $(KAFKA_c) $(SERVICES_c))
ARCHIVES := $(ARCHIVES_$(left))
LINK     := $(LINK_$(left))

testlib_src := $(filter-out tests/lib/sim_%,$(wildcard tests/lib/*.c))
testlib_obj := $(testlib_src:%.c=$(B)/obj/%.o)
TESTLIB     := $(B)/libtests.a

# The simulator takes the place of base/mem.c, assert.c and kv.c: its objects are named before the archives, so that
# those members are not needed any more. It is for those who include it, as all others test the real ones.
simlib_src := $(wildcard tests/lib/sim_*.c)
simlib_obj := $(simlib_src:%.c=$(B)/obj/%.o)
simlib_for  = $(if $(shell grep -l '"tests/lib/sim_' $(1)),$(simlib_obj))

unit_src  := $(wildcard tests/unit/test_*.c)
UNIT      := $(unit_src:%.c=$(B)/%)
sim_src   := $(wildcard tests/sim/*.c)
SIM       := $(if $(sim_src),$(B)/sim)
fuzz_src  := $(wildcard tests/fuzz/fuzz_*.c)
FUZZERS   := $(fuzz_src:tests/fuzz/%.c=$(B)/%)
golden_src := $(wildcard tests/golden/*.c)
GOLDEN     := $(golden_src:%.c=$(B)/%)
bench_src := $(wildcard tests/bench/*.c)
BENCHES   := $(foreach s,$(bench_src),$(B)/bench_$(patsubst bench_%,%,$(basename $(notdir $(s)))))

ctl_src   := $(wildcard broker/ctl_*.c)
PROGRAMS  := $(if $(wildcard broker/main.c),$(B)/balsad) $(if $(ctl_src),$(B)/balsactl) \
             $(if $(wildcard broker/inspect.c),$(B)/balsa-inspect)

all_src := $(foreach f,$(FOLDERS),$($(f)_src)) $(MAINS_src) $(testlib_src) $(simlib_src) $(unit_src) $(sim_src) $(fuzz_src) $(golden_src) $(bench_src)
all_hdr := $(wildcard $(FOLDERS:%=%/*.h) tests/*/*.h)

# ---------------------------------------------------------------- goals
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:

Q   := $(if $(V),,@)
say = $(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),:,printf '  %-7s %s\n' $(1) $(2))

.PHONY: all libs tests check golden tsan cov sim fuzzers fuzz benches bench install deb clean help FORCE

all: libs $(PROGRAMS)            ##> the programs (and every archive), MODE=release unless told otherwise
libs: $(ARCHIVES)

tests: $(UNIT)                   ##> build the unit tests (MODE=debug: ASan and UBSan)

CHECKED := $(if $(TEST),$(addprefix $(B)/tests/unit/test_,$(TEST:test_%=%)),$(UNIT))
check: $(CHECKED)                ##> run the unit tests; TEST="name..." runs some, MODE=release|tsan another build
	$(Q)scripts/lib/run-tests --mode $(MODE) --jobs $(JOBS) $(if $(V),--verbose) \
	    $(CHECKED)

golden: $(GOLDEN)                ##> schemas and frames against Kafka's own and against another implementation
	$(Q)tests/golden/run $(B)/tests/golden

# Which those are is read off the binaries of the debug build.
tsan:                            ##> the unit tests that can start threads, under ThreadSanitizer
	$(Q)$(MAKE) MODE=debug tests
	$(Q)$(MAKE) MODE=tsan check TEST="$$(scripts/lib/threaded $(unit_src:%.c=build/debug/%))"

cov: check                       ##> the unit tests with coverage, report in build/cov/report
	$(Q)mkdir -p $(B)/report
	$(Q)gcovr --root . --object-directory $(B)/obj $(FOLDERS:%=--filter %/) --exclude-throw-branches \
	    --exclude-lines-by-pattern '.*\bassert\(.*' --html-details $(B)/report/index.html --txt $(B)/report/summary.txt
	$(Q)cat $(B)/report/summary.txt

sim: $(SIM)                      ##> the simulator; SEED=n replays one seed, SIM_ARGS= passes more
	$(Q)$(if $(SIM),$(SIM) $(if $(SEED),--seed $(SEED)) $(SIM_ARGS),echo "no tests/sim/*.c: nothing to simulate")

LINT := lint-tidy lint-format lint-headers lint-clang lint-cppcheck lint-shell
.PHONY: lint $(LINT)
lint: $(LINT)                    ##> house rules, layout, clang-tidy, cppcheck, shellcheck; only what changed is done again

FUZZ_SECONDS ?= 60
fuzzers: $(FUZZERS)
fuzz: fuzzers                    ##> each fuzz target for FUZZ_SECONDS (60); FUZZ=name runs one
	$(Q)scripts/lib/run-fuzzers --seconds $(FUZZ_SECONDS) --jobs $(JOBS) \
	    $(if $(FUZZ),$(B)/fuzz_$(FUZZ:fuzz_%=%),$(FUZZERS))

benches: $(BENCHES)
bench: all benches               ##> build and run the benchmarks, one after the other; BENCH=name runs one
	$(Q)set -e; for b in $(if $(BENCH),$(B)/bench_$(BENCH:bench_%=%),$(BENCHES)); do echo "== $$b"; $$b; done

SHARE := $(DESTDIR)$(PREFIX)/share
install: all                     ##> install the programs under PREFIX (/usr/local), DESTDIR is honoured
	$(Q)$(foreach p,$(PROGRAMS),install -D -m 755 $(p) $(DESTDIR)$(PREFIX)/bin/$(notdir $(p));)
	$(Q)install -D -m 644 docs/balsactl.1 $(SHARE)/man/man1/balsactl.1
	$(Q)$(B)/balsactl completion | install -D -m 644 /dev/stdin $(SHARE)/bash-completion/completions/balsactl

deb: all                         ##> a Debian package in build/
	$(Q)scripts/deb

clean:                           ##> remove build/
	$(Q)rm -rf build

help:                            ##> this list
	@sed -n 's/^\([a-z-]*\):.*##> /\1\t/p' Makefile | expand -t 12
	@printf '\nMODE=debug|release|fast|tsan|cov|fuzz  CC=gcc|clang  V=1 (show commands)  JOBS=n (parallel runs)\n'

# ---------------------------------------------------------------- generated sources
$(GEN)/%.pb-c.c $(GEN)/%.pb-c.h: %.proto
	@$(call say,PROTOC,$<)
	$(Q)mkdir -p $(GEN)
	$(Q)$(PROTOC_C) -I. --c_out=$(GEN) $<

$(GEN)/%.descriptors: $(SERVICES)
	@$(call say,PROTOC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(PROTOC_C) -I. --include_imports --descriptor_set_out=$@ $(SERVICES)
$(GEN)/%_descriptors.c: $(GEN)/%.descriptors scripts/lib/embed
	@$(call say,EMBED,$@)
	$(Q)scripts/lib/embed $< grpc_descriptors proto/grpc_descriptors.h >$@

ifneq ($(MSGS),)
$(KAFKA_h) $(KAFKA_c) &: $(MSGS) $(KGEN)
	@$(call say,KGEN,$(KAFKA_h))
	$(Q)mkdir -p $(GEN)/proto
	$(Q)$(KGEN) --out $(GEN)/proto $(MSGS)
endif

# ---------------------------------------------------------------- compiling
# Objects depend on the flags they were made with, archives on the list of their members: both stamps change only when
# their text does, so another compiler, another option or a deleted file rebuilds exactly what it touches.
stamp = mkdir -p $(@D); printf '%s\n' '$(1)' | cmp -s - $@ || printf '%s\n' '$(1)' >$@

$(B)/flags: FORCE
	@$(call stamp,$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(WARNINGS))
$(B)/%.members: FORCE
	@$(call stamp,$($*_obj))

compile = $(CCACHE) $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(1) -MMD -MP -c -o $@ $<

$(B)/obj/gen/%.pb-c.o: $(GEN)/%.pb-c.c $(B)/flags | $(GEN_h)
	@$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(call compile,-w)
$(B)/obj/gen/%.o: $(GEN)/%.c $(B)/flags | $(GEN_h)
	@$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(call compile,$(WARNINGS))
$(B)/obj/%.o: %.c $(B)/flags | $(GEN_h)
	@$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(call compile,$(WARNINGS))

# ---------------------------------------------------------------- linking
define archive_rules
$(B)/lib$(1).a: $$($(1)_obj) $(B)/$(1).members
	@$$(call say,AR,$$@)
	$(Q)rm -f $$@ && ar rcs $$@ $$(filter %.o,$$^)
endef
tests_obj := $(testlib_obj)
$(foreach f,$(FOLDERS) tests,$(eval $(call archive_rules,$(f))))

link = $(CC) $(LDFLAGS_ALL) $(1) -o $@ $(filter %.o,$^) $(filter %.a,$^)

$(B)/balsad: $(B)/obj/broker/main.o $(ARCHIVES)
	@$(call say,LINK,$@)
	$(Q)$(call link) $(LINK)
$(B)/balsa-inspect: $(B)/obj/broker/inspect.o $(ARCHIVES)
	@$(call say,LINK,$@)
	$(Q)$(call link) $(LINK)
$(B)/balsactl: $(ctl_src:%.c=$(B)/obj/%.o) $(ARCHIVES)
	@$(call say,LINK,$@)
	$(Q)$(call link) $(LINK)
$(B)/sim: $(sim_src:%.c=$(B)/obj/%.o) $(simlib_obj) $(TESTLIB) $(ARCHIVES)
	@$(call say,LINK,$@)
	$(Q)$(call link) $(LINK) $(LIBS_tests)

# A test of module x links the archives of the folder that has x.c or x.h and those to its left; a test that is named
# after no module sees all of them.
folder_of = $(or $(firstword $(foreach f,$(FOLDERS),$(if $(wildcard $(f)/$(1).c $(f)/$(1).h),$(f)))),$(lastword $(FOLDERS)))
define unit_rules
$(B)/tests/unit/test_$(1): $(B)/obj/tests/unit/test_$(1).o $(call simlib_for,tests/unit/test_$(1).c) $(TESTLIB) $(ARCHIVES_$(call folder_of,$(1)))
	@$$(call say,LINK,$$@)
	@mkdir -p $$(@D)
	$(Q)$$(call link) $(LINK_$(call folder_of,$(1))) $(LIBS_tests)
endef
$(foreach t,$(unit_src:tests/unit/test_%.c=%),$(eval $(call unit_rules,$(t))))

define fuzz_rules
$(B)/$(1): $(B)/obj/tests/fuzz/$(1).o $(call simlib_for,tests/fuzz/$(1).c) $(TESTLIB) $(ARCHIVES)
	@$$(call say,LINK,$$@)
	$(Q)$$(call link,-fsanitize=fuzzer) $(LINK) $(LIBS_tests)
endef
$(foreach f,$(fuzz_src:tests/fuzz/%.c=%),$(eval $(call fuzz_rules,$(f))))

$(GOLDEN): $(B)/%: $(B)/obj/%.o $(TESTLIB) $(ARCHIVES)
	@$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(call link) $(LINK) $(LIBS_tests)

define bench_rules
$(B)/bench_$(patsubst bench_%,%,$(basename $(notdir $(1)))): $(1:%.c=$(B)/obj/%.o) $(TESTLIB) $(ARCHIVES)
	@$$(call say,LINK,$$@)
	$(Q)$$(call link) $(LINK) $(LIBS_tests) $(if $(shell grep -l 'librdkafka/' $(1)),-lrdkafka)
endef
$(foreach s,$(bench_src),$(eval $(call bench_rules,$(s))))

# ---------------------------------------------------------------- lint
# One stamp per file and tool, with the dependencies of a compilation: a second run looks at what changed only.
L := build/lint
lint_flags := -std=gnu11 $(CPPFLAGS_ALL)
# How many states of one function the path-sensitive analyser looks at: at half of its default it reached the same
# blocks and cut the same functions short, in half the time (five files; debug.Stats tells).
ANALYZER_NODES := 100000
CLANG_TIDY := $(firstword $(foreach t,clang-tidy-14 clang-tidy,$(if $(shell command -v $(t) 2>/dev/null),$(t))))

CPPCHECK_FLAGS := --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
    --suppress=missingIncludeSystem --suppress=unmatchedSuppression --suppressions-list=.cppcheck \
    --cppcheck-build-dir=$(L)/cppcheck -j $(JOBS) -I. -I$(GEN) -D_GNU_SOURCE --library=posix

lint-tidy:
	@$(call say,TIDY,.)
	$(Q)scripts/tidy
lint-format:
	@$(call say,FORMAT,.)
	$(Q)scripts/format --check

lint-headers: $(all_hdr:%=$(L)/%.ok)
$(L)/%.h.ok: %.h | $(GEN_h)
	@$(call say,HEADER,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(lint_flags) -Wall -Wextra -Werror -fsyntax-only \
	    -MMD -MP -MF $(@:.ok=.d) -MT $@ -include $< -x c /dev/null
	@touch $@

lint-clang: $(all_src:%=$(L)/%.ok)
$(L)/%.c.ok: %.c $(wildcard .clang-tidy tests/.clang-tidy) | $(GEN_h)
	@$(call say,CLANG,$<)
	@mkdir -p $(@D)
	$(Q)clang $(lint_flags) -MM -MP -MF $(@:.ok=.d) -MT $@ $<
	$(Q)$(CLANG_TIDY) --quiet $< -- $(lint_flags) -Wall -Wextra \
	    -Xclang -analyzer-config -Xclang max-nodes=$(ANALYZER_NODES) $(if $(V),,2>/dev/null)
	@touch $@

# Not the tests: they run under sanitizers, and Check's macros mislead it.
lint_src := $(filter-out tests/%,$(all_src))
lint-cppcheck: | $(GEN_h)
	@$(call say,CPPCHK,.)
	@mkdir -p $(L)/cppcheck
	$(Q)$(if $(lint_src),cppcheck $(CPPCHECK_FLAGS) $(lint_src))

lint-shell:
	@$(call say,SHELL,scripts)
	$(Q)shellcheck -x -e SC1091 $$(grep -lE '^#!/bin/(ba)?sh' -r scripts .ci tests --include='*' 2>/dev/null)

ifneq ($(filter lint%,$(MAKECMDGOALS)),)
  -include $(wildcard $(L)/*/*.d $(L)/*/*/*.d)
endif

-include $(wildcard $(B)/obj/*/*.d $(B)/obj/*/*/*.d)

# beck -- `make` builds, `make check` tests, `make help` tells the rest
#
# The release (build/) is compiled from the amalgamation; tests use a development build of the
# separate files, one folder for each compiler and sanitizer: make unit CC=clang SAN=thread
# OS=portable takes src/os_portable.c instead of src/os_linux.c, into build/portable/.
# One test with few modules: make unit TESTS=log_test MODULES="base err bytes os_posix os_linux log"

ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif
ifeq ($(origin CC),default)
CC := $(if $(shell command -v gcc),gcc,cc)
endif
PORTABLE := $(filter portable,$(OS))
BUILD ?= build$(PORTABLE:%=/%)
SAN ?=
TINY ?=
T ?=
TESTS ?=
ROUNDS ?= 3
WERROR ?= -Werror
LINK ?= a
Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-5s %s\n')
comma := ,
VERSION := $(shell sed -n 's/^.define BECK_VERSION "\(.*\)"/\1/p' include/beck.h)
SONAME := libbeck.so.$(firstword $(subst ., ,$(VERSION)))

# Compression codecs, as pkg-config calls them: what is installed is built in. None: make CODECS=
CODECS ?= zlib snappy liblz4 libzstd
have = $(shell pkg-config --exists $(1) 2>/dev/null && echo yes)
CODECS_FOUND := $(foreach c,$(CODECS),$(if $(call have,$c),$c))
with_zlib := -DBECK_WITH_ZLIB
with_snappy := -DBECK_WITH_SNAPPY
with_liblz4 := -DBECK_WITH_LZ4
with_libzstd := -DBECK_WITH_ZSTD
CODEC_FLAGS := $(foreach c,$(CODECS_FOUND),$(with_$c) $(shell pkg-config --cflags $c))
CODEC_LIBS := $(foreach c,$(CODECS_FOUND),$(shell pkg-config --libs $c))

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
BASE := -std=c11 -D_GNU_SOURCE -g -pthread $(WARN) -MMD -MP $(if $(PORTABLE),-DBECK_OS_PORTABLE) \
    $(CODEC_FLAGS) $(CPPFLAGS) $(CFLAGS)
# The release is hardened with what the compiler takes; HARDEN= and HARDEN_LINK= leave it out.
takes = $(foreach f,$(1),$(shell $(CC) -O2 -Werror $f -include stdio.h -fsyntax-only -x c /dev/null \
    2>/dev/null && echo $f))
FORTIFY = $(if $(findstring FORTIFY,$(CPPFLAGS) $(CFLAGS)),,$(firstword \
    $(call takes,-D_FORTIFY_SOURCE=3 -D_FORTIFY_SOURCE=2)))
HARDEN ?= $(FORTIFY) $(call takes,-fstack-protector-strong -fstack-clash-protection \
    -fcf-protection -mbranch-protection=standard)
HARDEN_LINK ?= -Wl,-z,relro,-z,now,-z,noexecstack
RELEASE := -O2 -fPIC $(HARDEN) $(BASE)
DEV := $(BASE) $(WERROR) -Og -DBECK_DEBUG $(if $(TINY),-DBECK_TINY)
ifneq ($(SAN),)
DEV += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
endif
# An assertion is no decision of the code; whoever ends at once still writes what was counted.
ifneq ($(COVER),)
DEV := $(BASE) $(WERROR) -O0 -DBECK_COVER --coverage -fprofile-update=atomic \
    -Wl,-u,__wrap__exit $(foreach f,_exit kill raise,-Wl,--wrap=$f)
endif
FLAVOUR := $(or $(subst $(comma),+,$(SAN)),$(if $(COVER),cover,plain))$(if $(TINY),-tiny)
OUT := $(BUILD)/$(notdir $(firstword $(CC)))-$(FLAVOUR)

ALL_MODULES := $(shell sed -n 's/^[0-9][0-9]* *\([a-z0-9_]*\) .*/\1/p' src/LAYERS)
MODULES ?= $(ALL_MODULES)
DEV_OBJECTS := $(patsubst src/%.c,$(OUT)/%.o,$(wildcard $(MODULES:%=src/%.c)))
SHELL_OBJECTS := $(patsubst shell/%.c,$(BUILD)/shell/%.o,$(wildcard shell/*.c))
BENCH_OBJECTS := $(patsubst bench/%.c,$(BUILD)/bench/%.o,$(wildcard bench/*.c))
EXAMPLES := $(patsubst %.c,$(BUILD)/%,$(wildcard example/*.c))

# A C test is test/*_test.c (may look inside) or test/api_*.c (sees beck.h only); the other C files
# of test/ are helpers that all of them can call. The environment tells scripts where things are.
TEST_SOURCES := $(sort $(wildcard test/*_test.c test/api_*.c))
HELPER_SOURCES := $(filter-out $(TEST_SOURCES),$(wildcard test/*.c))
TEST_HELPERS := $(patsubst test/%.c,$(OUT)/test/%.o,$(HELPER_SOURCES))
UNITS := $(patsubst test/%.c,$(OUT)/test/%,$(TEST_SOURCES))
SCRIPTS := $(sort $(wildcard test/shell/*.sh $(foreach k,test kill,test/*_$k.py test/*_$k.sh)))
LINTS := $(addprefix tool/check-,layers style invariants errors format)
MODELS := $(wildcard doc/models/run)
pick = $(if $(TESTS),$(foreach t,$(1),$(if $(filter $(TESTS),$(basename $(notdir $t))),$t)),$(1))
RUN := BUILD=$(abspath $(BUILD)) SAN=$(SAN) PORTABLE=$(PORTABLE) CK_RUN_CASE=$(T) ROUNDS=$(ROUNDS) test/run

PORTABLE_SCRIPTS := storm_kill stop_kill many_test idle_test consume produce follow partitions
# Those that do more with a larger ROUNDS; and long tests in which the thread sanitizer sees nothing.
LONGER_SCRIPTS := $(basename $(notdir $(shell grep -ls ROUNDS test/*_test.* test/*_kill.py)))
ONE_THREAD := api_corrupt recover_test

.PHONY: all dev strict unit scripts check check-all lint format models matrix demo bench clean help
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/libbeck.a $(BUILD)/libbeck.so $(BUILD)/beck ## library and shell, into build/

# ---- Release: one translation unit ---------------------------------------------------------------

$(BUILD)/beck.c: tool/amalgamate src/LAYERS $(wildcard src/*.[ch]) | $(BUILD)/
	$(call say) AMALG $@
	$(Q)tool/amalgamate src > $@

$(BUILD)/beck.h: include/beck.h | $(BUILD)/
	$(Q)cp $< $@

$(BUILD)/beck.o: $(BUILD)/beck.c $(BUILD)/beck.h
	$(call say) CC $@
	$(Q)$(CC) $(RELEASE) -c -o $@ $<

$(BUILD)/libbeck.a: $(BUILD)/beck.o
	$(Q)rm -f $@
	$(Q)ar rcs $@ $<

$(BUILD)/libbeck.so.$(VERSION): $(BUILD)/beck.o src/beck.map
	$(call say) LINK $@
	$(Q)$(CC) -shared -pthread -Wl,-soname,$(SONAME),--version-script=src/beck.map,--no-undefined \
	    $(HARDEN_LINK) $(LDFLAGS) -o $@ $< $(CODEC_LIBS)

$(BUILD)/$(SONAME): $(BUILD)/libbeck.so.$(VERSION)
	$(Q)ln -sf $(<F) $@

$(BUILD)/libbeck.so: $(BUILD)/$(SONAME)
	$(Q)ln -sf $(<F) $@

$(BUILD)/shell/%.o: shell/%.c $(BUILD)/beck.h | $(BUILD)/shell/
	$(call say) CC $@
	$(Q)$(CC) $(RELEASE) -I$(BUILD) -c -o $@ $<

# LINK=so makes it need libbeck.so, as distributions want it.
$(BUILD)/beck: $(SHELL_OBJECTS) $(BUILD)/libbeck.$(LINK)
	$(call say) LINK $@
	$(Q)$(CC) -pie -pthread $(HARDEN_LINK) $(LDFLAGS) -o $@ $^ $(CODEC_LIBS)

$(BUILD)/example/%: example/%.c $(BUILD)/libbeck.a | $(BUILD)/example/
	$(call say) LINK $@
	$(Q)$(CC) $(RELEASE) $(WERROR) -MF $@.d -MT $@ -I$(BUILD) $(LDFLAGS) -o $@ $< $(BUILD)/libbeck.a \
	    $(CODEC_LIBS)

# ---- Development: files apart, assertions on, warnings are errors --------------------------------

$(OUT)/%.o: src/%.c | $(OUT)/
	$(call say) CC $@
	$(Q)$(CC) $(DEV) -Iinclude -c -o $@ $<

$(OUT)/test/%.o: test/%.c | $(OUT)/test/
	$(call say) CC $@
	$(Q)$(CC) $(DEV) -Iinclude -Isrc -c -o $@ $<

$(OUT)/libbeck.a: $(DEV_OBJECTS) $(TEST_HELPERS)
	$(Q)rm -f $@
	$(Q)ar rcs $@ $^

# The release again, for its warnings: unused internals show nowhere else.
strict: $(OUT)/amalgamation.o $(SHELL_OBJECTS:$(BUILD)/%=$(OUT)/%)

$(OUT)/shell/%.o: shell/%.c $(BUILD)/beck.h | $(OUT)/shell/
	$(call say) CC $@
	$(Q)$(CC) $(BASE) $(WERROR) -O1 -I$(BUILD) -c -o $@ $<

$(OUT)/amalgamation.o: $(BUILD)/beck.c $(BUILD)/beck.h | $(OUT)/
	$(call say) CC $@
	$(Q)$(CC) $(BASE) $(WERROR) -O1 -c -o $@ $<

$(OUT)/test/api_%: SEES := -Iinclude
$(OUT)/test/%: SEES := -Iinclude -Isrc
$(OUT)/test/%: test/%.c $(OUT)/libbeck.a | $(OUT)/test/
	$(call say) TEST $@
	$(Q)$(CC) $(DEV) -MF $@.d -MT $@ $(SEES) $(LDFLAGS) -o $@ $< $(OUT)/libbeck.a \
	    $(CODEC_LIBS) $(shell pkg-config --cflags --libs check)

%/:
	$(Q)mkdir -p $@

# ---- Tests ---------------------------------------------------------------------------------------

dev: $(OUT)/libbeck.a ## compile the modules apart, as the tests see them

unit: $(call pick,$(UNITS)) ## C tests only; TESTS= picks files, T= one case, SEED= repeats
	@$(RUN) $(call pick,$(UNITS))

scripts: all $(EXAMPLES) ## shell and Python tests on the release
	@$(RUN) $(call pick,$(SCRIPTS))

check: all $(EXAMPLES) $(UNITS) strict ## every test once, warnings are errors (60 s)
	@$(RUN) $(call pick,$(UNITS) $(SCRIPTS))

check-all: export TALLY := $(abspath $(BUILD)/tally)
check-all: | $(BUILD)/ ## check, two compilers, sanitizers, tiny limits, proofs, long tests (18 min)
	@rm -f $$TALLY
	@$(RUN) $(LINTS)
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory unit strict CC=clang
	@$(MAKE) --no-print-directory unit CC=gcc TINY=1
	@$(MAKE) --no-print-directory unit CC=gcc SAN=address,undefined
	@$(MAKE) --no-print-directory unit CC=clang SAN=thread TESTS="$(filter-out \
	    $(ONE_THREAD),$(basename $(notdir $(UNITS))))"
	@$(MAKE) --no-print-directory unit strict OS=portable
	@$(MAKE) --no-print-directory scripts OS=portable TESTS="$(PORTABLE_SCRIPTS)"
	@$(MAKE) --no-print-directory scripts ROUNDS=25 TESTS="$(LONGER_SCRIPTS)"
	@for proof in $(PROOFS); do $(MAKE) --no-print-directory $$proof || exit; done
	@$(RUN) $(MODELS)
	@test/run --total

lint: ## what scripts can check: layers, style, invariants, format
	@for lint in $(LINTS); do $$lint || failed=1; done; test -z "$$failed"

format: ## rewrite the C files as .clang-format says
	tool/check-format -i

models: ## run the models of doc/models
	doc/models/run

matrix: all ## file systems x classes x full disks, copies, kill -9, read-only media; needs root
	@BECK=$(abspath $(BUILD))/beck BUILD=$(abspath $(BUILD)) python3 test/matrix.py $(or $(ARGS),--all)

demo: all ## a short tour with many processes
	BECK=$(abspath $(BUILD))/beck tool/demo

# ---- Benchmark -----------------------------------------------------------------------------------

PEERS := $(if $(call have,sqlite3),-DHAVE_SQLITE) $(if $(call have,lmdb),-DHAVE_LMDB)
PEER_LIBS = $(foreach p,sqlite3 lmdb,$(if $(call have,$p),$(shell pkg-config --libs $p)))

$(BUILD)/bench/%.o: bench/%.c $(BUILD)/beck.h | $(BUILD)/bench/
	$(call say) CC $@
	$(Q)$(CC) $(RELEASE) $(PEERS) -I$(BUILD) -c -o $@ $<

$(BUILD)/bench-beck: $(BENCH_OBJECTS) $(BUILD)/libbeck.a
	$(call say) LINK $@
	$(Q)$(CC) -pthread $(LDFLAGS) -o $@ $^ $(CODEC_LIBS) $(PEER_LIBS) -lm

bench: $(BUILD)/bench-beck ## measure, beside SQLite and LMDB when they are installed
	$(BUILD)/bench-beck $(ARGS)

# Parts with rules of their own. What belongs into check-all they add to PROOFS, as targets that hand
# their result to test/run.
PROOFS :=
include $(sort $(wildcard */*.mk))

clean: ## remove build/
	rm -rf $(BUILD)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile $(sort $(wildcard */*.mk)) | expand -t 20

-include $(wildcard $(BUILD)/*.d $(BUILD)/*/*.d $(BUILD)/*/*/*.d)

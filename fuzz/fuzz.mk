# fuzz.mk -- fuzz targets: fuzzers with clang, and tests that replay their corpora with any compiler

FUZZ_TARGETS := $(sort $(patsubst fuzz/%_fuzz.c,%,$(wildcard fuzz/*_fuzz.c)))
REPLAYS := $(FUZZ_TARGETS:%=$(OUT)/fuzz/%_fuzz)
TARGETS ?= $(FUZZ_TARGETS)
# With libFuzzer, which has a main() of its own and uses the mutator of files where there is one.
FUZZ_SAN := address,undefined,fuzzer-no-link
ENGINE := $(findstring fuzzer,$(SAN))
FUZZ_MAIN := $(if $(ENGINE),-fsanitize=fuzzer,$(OUT)/fuzz/replay.o)
FUZZ_HELPERS := $(OUT)/fuzz/image.o $(OUT)/fuzz/look.o
FUZZ_MUTATOR := $(if $(ENGINE),$(OUT)/fuzz/mutate.o $(OUT)/fuzz/repair.o)
FUZZ_SHELL := $(patsubst shell/%.c,$(OUT)/fuzz/shell/%.o,$(filter-out %/main.c,$(wildcard shell/*.c)))

.PHONY: fuzz fuzzers fuzz-corpus fuzz-short

# Coverage is counted in the library, not in the targets.
$(OUT)/fuzz/%.o: fuzz/%.c | $(OUT)/fuzz/
	$(call say) CC $@
	$(Q)$(CC) $(DEV) $(if $(ENGINE),-fno-sanitize=fuzzer-no-link) -Iinclude -Isrc -c -o $@ $<

$(OUT)/fuzz/shell/%.o: shell/%.c | $(OUT)/fuzz/shell/
	$(call say) CC $@
	$(Q)$(CC) $(DEV) -Iinclude -c -o $@ $<

$(OUT)/fuzz/shell_fuzz: $(FUZZ_SHELL)
$(OUT)/fuzz/open_fuzz $(OUT)/fuzz/race_fuzz: $(FUZZ_MUTATOR)
$(OUT)/fuzz/%_fuzz: $(OUT)/fuzz/%_fuzz.o $(OUT)/fuzz/replay.o $(FUZZ_HELPERS) $(OUT)/libbeck.a
	$(call say) LINK $@
	$(Q)$(CC) $(DEV) $(LDFLAGS) -o $@ $(filter-out %/replay.o %.a,$^) $(FUZZ_MAIN) \
	    $(OUT)/libbeck.a $(CODEC_LIBS)

$(OUT)/fuzz/seeds: $(OUT)/fuzz/seeds.o $(OUT)/fuzz/image.o $(OUT)/libbeck.a
	$(call say) LINK $@
	$(Q)$(CC) $(DEV) $(LDFLAGS) -o $@ $^ $(CODEC_LIBS)

# ---- Replay: every kept input once, as a unit test ----------------------------------------------

UNITS += $(REPLAYS)
unit check: $(call pick,$(REPLAYS))

# ---- Fuzzing -------------------------------------------------------------------------------------

# Where there is no clang with libFuzzer the runner says so.
CAN_FUZZ = $(shell echo 'int LLVMFuzzerTestOneInput(void){return 0;}' | \
    clang -fsanitize=fuzzer -x c -o /dev/null - 2>/dev/null && echo yes)
FUZZ_OUT := $(BUILD)/clang-$(subst $(comma),+,$(FUZZ_SAN))$(if $(TINY),-tiny)
FUZZ_RUN = FUZZ_TARGETS="$(TARGETS)" FUZZ_WORK=$(abspath $(BUILD))/fuzz \
    FUZZ_BIN=$(if $(CAN_FUZZ),$(abspath $(FUZZ_OUT))/fuzz)

fuzzers: $(REPLAYS)

fuzz: ## T=10m TARGETS="open api": run fuzz targets with libFuzzer, two at a time
	@$(if $(CAN_FUZZ),$(MAKE) --no-print-directory fuzzers CC=clang SAN=$(FUZZ_SAN))
	@$(FUZZ_RUN) FUZZ_TIME=$(T) fuzz/fuzz

fuzz-corpus: ## make fuzz/corpus anew from what `make fuzz` collected in build/fuzz/
	@$(MAKE) --no-print-directory fuzzers CC=clang SAN=$(FUZZ_SAN)
	@$(FUZZ_RUN) fuzz/fuzz --merge

# The same choices each time: what it finds was brought in by a change. `make fuzz` explores.
PROOFS += fuzz-short
fuzz-short:
	@$(if $(CAN_FUZZ),$(MAKE) --no-print-directory fuzzers CC=clang SAN=$(FUZZ_SAN))
	@$(FUZZ_RUN) FUZZ_TIME=10s FUZZ_SEED=1 $(RUN) fuzz/fuzz

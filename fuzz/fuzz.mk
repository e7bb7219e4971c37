# fuzz.mk -- fuzz targets: fuzzers with clang, and tests that replay their corpora with any compiler

FUZZ_TARGETS := $(sort $(patsubst fuzz/%_fuzz.c,%,$(wildcard fuzz/*_fuzz.c)))
REPLAYS := $(FUZZ_TARGETS:%=$(OUT)/fuzz/%_fuzz)
# With libFuzzer, which has a main() of its own and uses the mutator of files where there is one.
ENGINE := $(findstring fuzzer,$(SAN))
FUZZ_MAIN := $(if $(ENGINE),-fsanitize=fuzzer,$(OUT)/fuzz/replay.o)
FUZZ_HELPERS := $(OUT)/fuzz/image.o $(OUT)/fuzz/look.o
FUZZ_MUTATOR := $(if $(ENGINE),$(OUT)/fuzz/mutate.o $(OUT)/fuzz/repair.o)

.PHONY: fuzz fuzzers

# Coverage is counted in the library, not in the targets.
$(OUT)/fuzz/%.o: fuzz/%.c | $(OUT)/fuzz/
	$(call say) CC $@
	$(Q)$(CC) $(DEV) $(if $(ENGINE),-fno-sanitize=fuzzer-no-link) -Iinclude -Isrc -c -o $@ $<

# The commands of the program, without its main().
$(OUT)/fuzz/shell/%.o: shell/%.c | $(OUT)/fuzz/shell/
	$(call say) CC $@
	$(Q)$(CC) $(DEV) -Iinclude -c -o $@ $<

$(OUT)/fuzz/shell_fuzz: $(patsubst shell/%.c,$(OUT)/fuzz/shell/%.o,$(filter-out %/main.c,$(wildcard shell/*.c)))
$(OUT)/fuzz/open_fuzz $(OUT)/fuzz/race_fuzz: $(FUZZ_MUTATOR)
$(OUT)/fuzz/%_fuzz: $(OUT)/fuzz/%_fuzz.o $(OUT)/fuzz/replay.o $(FUZZ_HELPERS) $(OUT)/libbeck.a
	$(call say) LINK $@
	$(Q)$(CC) $(DEV) $(LDFLAGS) -o $@ $(filter-out %/replay.o %.a,$^) $(FUZZ_MAIN) \
	    $(OUT)/libbeck.a $(CODEC_LIBS)

$(OUT)/fuzz/seeds: $(OUT)/fuzz/seeds.o $(OUT)/fuzz/image.o $(OUT)/libbeck.a
	$(call say) LINK $@
	$(Q)$(CC) $(DEV) $(LDFLAGS) -o $@ $^ $(CODEC_LIBS)

fuzzers: $(REPLAYS)

# torture.mk -- everything at once that can happen to processes that share a file, for T=

TORTURE := $(BUILD)/torture
NEMESIS ?=
WORKER2 ?=
TORTURE_BUILDS := shared static debug portable $(if $(shell command -v clang),clang)

.PHONY: torture torture-short

torture: $(TORTURE_BUILDS:%=$(TORTURE)/%) all ## T=10m [SEED= NEMESIS=kill,stop,... WORKER2=]: nemeses at random, histories judged
	@BUILD=$(abspath $(BUILD)) BECK=$(abspath $(BUILD))/beck NEMESIS=$(NEMESIS) WORKER2=$(WORKER2) \
	    python3 torture/torture.py $(or $(T),10m)

PROOFS += torture-short
torture-short: $(TORTURE_BUILDS:%=$(TORTURE)/%) all
	@$(RUN) torture/torture.py

WORKER_SOURCE := test/worker/worker.c
WORKER_FLAGS := -std=c11 -D_GNU_SOURCE -g -pthread $(WARN) $(CPPFLAGS) $(CFLAGS) -I$(BUILD)

$(TORTURE)/shared: $(WORKER_SOURCE) $(BUILD)/libbeck.so $(BUILD)/beck.h | $(TORTURE)/
	$(call say) LINK $@
	$(Q)$(CC) -O2 $(WORKER_FLAGS) -o $@ $< -L$(BUILD) -lbeck -Wl,-rpath,$(abspath $(BUILD))

$(TORTURE)/static: $(WORKER_SOURCE) $(BUILD)/libbeck.a $(BUILD)/beck.h | $(TORTURE)/
	$(call say) LINK $@
	$(Q)$(CC) -O2 $(WORKER_FLAGS) -o $@ $< $(BUILD)/libbeck.a $(CODEC_LIBS)

# $(call other,COMPILER,FLAGS): another build of the same library
other = $(1) $(2) $(WORKER_FLAGS) $(CODEC_FLAGS) -o $@ $(WORKER_SOURCE) $(BUILD)/beck.c $(CODEC_LIBS)
$(TORTURE)/clang $(TORTURE)/debug $(TORTURE)/portable: $(WORKER_SOURCE) $(BUILD)/beck.c \
    $(BUILD)/beck.h | $(TORTURE)/
$(TORTURE)/clang:
	$(call say) LINK $@
	$(Q)$(call other,clang,-O3)
$(TORTURE)/debug:
	$(call say) LINK $@
	$(Q)$(call other,$(CC),-O1 -DBECK_DEBUG)
$(TORTURE)/portable:
	$(call say) LINK $@
	$(Q)$(call other,$(CC),-O2 -DBECK_OS_PORTABLE)

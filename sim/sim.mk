# sim.mk -- the simulated world: power loss, interleavings, death and faults, from a seed

SIM := $(BUILD)/sim
SIM_MODULES := $(filter-out os_%,$(MODULES))
SIM_OBJECTS := $(patsubst src/%.c,$(SIM)/%.o,$(wildcard $(SIM_MODULES:%=src/%.c)))
SIM_DRIVER := $(patsubst sim/%.c,$(SIM)/%.o,$(wildcard sim/*.c))
# No codecs: their memory is not the simulator's. Small limits, so that every edge is near.
SIM_FLAGS := -std=c11 -D_GNU_SOURCE -g -O2 -pthread $(WARN) $(WERROR) -MMD -MP -DBECK_DEBUG -DBECK_TINY
IMAGES ?= 5000000
SEED ?= 1

.PHONY: crash crash-short crash-broken

# Each simulated process has a list of its handles; see world.c.
$(SIM)/%.o: src/%.c sim/hook.h | $(SIM)/
	$(call say) CC $@
	$(Q)$(CC) $(SIM_FLAGS) -include sim/hook.h -Iinclude -c -o $@ $<
	$(if $(filter db,$*),$(Q)objcopy --globalize-symbol=fork_list $@)

$(SIM)/%.o: sim/%.c | $(SIM)/
	$(call say) CC $@
	$(Q)$(CC) $(SIM_FLAGS) $(if $(findstring clang,$(CC)),,-Wno-clobbered) -Iinclude -Isrc -c -o $@ $<

$(SIM)/crash: $(SIM_OBJECTS) $(SIM_DRIVER)
	$(call say) LINK $@
	$(Q)$(CC) -pthread -o $@ $^

crash: $(SIM)/crash ## simulated power loss, kill -9, faults: IMAGES=5000000 SEED=1; then the broken builds
	@mkdir -p $(SIM)/kept
	$(SIM)/crash --images $(IMAGES) --seed $(SEED) --keep $(SIM)/kept
	@$(MAKE) --no-print-directory crash-broken

crash-broken: $(SIM)/crash ## builds of the library with one step broken, each of which `crash` must catch
	@SIM=$(abspath $(SIM)) CC="$(CC)" FLAGS="$(filter-out -MMD -MP -Werror,$(SIM_FLAGS))" python3 sim/broken.py $(ARGS)

# What check-all plays of it.
PROOFS += crash-short
crash-short: export BROKEN := quick
crash-short: export BROKEN_IMAGES := 60000
crash-short: $(SIM)/crash
	@SIM=$(abspath $(SIM)) CC="$(CC)" FLAGS="$(filter-out -MMD -MP -Werror,$(SIM_FLAGS))" $(RUN) \
	    sim/crash_short.sh sim/broken.py

-include $(wildcard $(SIM)/*.d)

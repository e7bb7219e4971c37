# port.mk -- the tests on other machines, by cross compilers and qemu-user
#
# `make ports` for all of them, `make ports PORTS=s390x TESTS=coord_test` for one machine and test.
# Programs are static: nothing of another machine has to be installed but its compiler.

PORTS ?= aarch64 s390x
PORT_LIMIT ?= 6 # times slower than the tests expect; qemu translates

.PHONY: ports port-files
PROOFS += ports

ports: $(PORTS:%=port-%) port-files ## the tests on 64-bit Arm and big-endian s390x, under qemu

# $(call port,MACHINE): its rules
define port
PORT_$(1)_CC := $(if $(filter native,$(1)),$(CC),$(1)-linux-gnu-gcc)
PORT_$(1) := $$(BUILD)/port/$(1)
PORT_$(1)_OBJECTS := $$(patsubst src/%.c,$$(PORT_$(1))/%.o,$$(wildcard $$(MODULES:%=src/%.c))) \
    $$(patsubst test/%.c,$$(PORT_$(1))/test/%.o,$$(HELPER_SOURCES))
PORT_$(1)_UNITS := $$(patsubst test/%.c,$$(PORT_$(1))/test/%,$$(TEST_SOURCES))

$$(PORT_$(1))/%.o: src/%.c | $$(PORT_$(1))/
	$$(call say) CC $$@
	$$(Q)$$(PORT_$(1)_CC) $$(PORT_FLAGS) -Iinclude -c -o $$@ $$<

$$(PORT_$(1))/test/%.o: test/%.c | $$(PORT_$(1))/test/
	$$(call say) CC $$@
	$$(Q)$$(PORT_$(1)_CC) $$(PORT_FLAGS) -Iinclude -Isrc -c -o $$@ $$<

$$(PORT_$(1))/libbeck.a: $$(PORT_$(1)_OBJECTS)
	$$(Q)rm -f $$@
	$$(Q)ar rcs $$@ $$^

$$(PORT_$(1))/test/%: test/%.c port/check.h $$(PORT_$(1))/libbeck.a | $$(PORT_$(1))/test/
	$$(call say) TEST $$@
	$$(Q)$$(PORT_$(1)_CC) $$(PORT_FLAGS) -MF $$@.d -MT $$@ -static -Iport -Iinclude -Isrc -o $$@ $$< \
	    $$(PORT_$(1))/libbeck.a

$$(PORT_$(1))/golden: test/worker/golden.c $$(BUILD)/beck.c $$(BUILD)/beck.h | $$(PORT_$(1))/
	$$(call say) CC $$@
	$$(Q)$$(PORT_$(1)_CC) -std=c11 -D_GNU_SOURCE -DBECK_TINY -O1 -pthread $$(WARN) $$(WERROR) \
	    -static -I$$(BUILD) -o $$@ $$< $$(BUILD)/beck.c

$$(PORT_$(1))/beck: $$(BUILD)/beck.c $$(BUILD)/beck.h $$(wildcard shell/*.[ch]) | $$(PORT_$(1))/
	$$(call say) CC $$@
	$$(Q)$$(PORT_$(1)_CC) -std=c11 -D_GNU_SOURCE -O2 -pthread $$(WARN) $$(WERROR) -static \
	    -I$$(BUILD) -o $$@ $$(BUILD)/beck.c shell/*.c

.PHONY: port-$(1)
port-$(1): $$(call pick,$$(PORT_$(1)_UNITS))
	@EMULATOR=qemu-$(1) PORT_SKIPPED=$(abspath port/skipped) CK_TIMEOUT_MULTIPLIER=$$(PORT_LIMIT) $$(RUN) $$^
endef
PORT_FLAGS = -std=c11 -D_GNU_SOURCE -g -pthread $(WARN) $(WERROR) -Og -DBECK_DEBUG -MMD -MP

$(foreach p,native $(PORTS),$(eval $(call port,$(p))))

port-files: $(foreach p,native $(PORTS),$(foreach f,golden beck,$(BUILD)/port/$p/$f))
	@PORTS="$(PORTS)" $(RUN) port/files.py

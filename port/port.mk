# port.mk -- the tests on other machines, by cross compilers and qemu-user
#
# `make ports` for all of them, `make ports PORTS=s390x TESTS=coord_test` for one machine and test.
# Programs are static: nothing of another machine has to be installed but its compiler.

PORTS ?= aarch64 s390x
PORT_SLOWER ?= 6 # times slower than the tests expect: qemu translates
# Of these check-all runs those that byte order, alignment or memory order could break.
PORT_SHORT := bytes_test crc32c_test batch_test format_test index_test log_test file_test \
    coord_test picture_test catalog_test partition_test reader_test recover_test newer_test \
    api_append api_model api_open api_page

.PHONY: ports ports-short port-files
PROOFS += ports-short

can_port = $(shell command -v $(1)-linux-gnu-gcc > /dev/null && command -v qemu-$(1))
PORTS_HERE := $(foreach p,$(PORTS),$(if $(call can_port,$p),$p))

ports: $(PORTS_HERE:%=port-%) port-files ## the tests on 64-bit Arm and big-endian s390x, under qemu
	@for p in $(filter-out $(PORTS_HERE),$(PORTS)); do \
	    echo "SKIPPED $$p: no $$p-linux-gnu-gcc, or no qemu-$$p"; \
	done

ports-short:
	@$(MAKE) --no-print-directory ports TESTS="$(PORT_SHORT)"

PORT_FLAGS = -std=c11 -D_GNU_SOURCE -g -pthread $(WARN) $(WERROR) -Og -DBECK_DEBUG -MMD -MP
PORT_PROGRAM = -std=c11 -D_GNU_SOURCE -O1 -pthread $(WARN) $(WERROR) -static -I$(BUILD)

# $(call port,MACHINE): its rules. `native` is this one, for port/files.py.
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

# Short limits, so that the files it makes have snapshots and many segments.
$$(PORT_$(1))/golden: test/worker/golden.c $$(BUILD)/beck.c $$(BUILD)/beck.h | $$(PORT_$(1))/
	$$(call say) CC $$@
	$$(Q)$$(PORT_$(1)_CC) $$(PORT_PROGRAM) -DBECK_TINY -o $$@ $$< $$(BUILD)/beck.c

$$(PORT_$(1))/beck: $$(BUILD)/beck.c $$(BUILD)/beck.h $$(wildcard shell/*.[ch]) | $$(PORT_$(1))/
	$$(call say) CC $$@
	$$(Q)$$(PORT_$(1)_CC) $$(PORT_PROGRAM) -o $$@ $$(BUILD)/beck.c shell/*.c

.PHONY: port-$(1)
port-$(1): $$(call pick,$$(PORT_$(1)_UNITS))
	@EMULATOR=qemu-$(1) LIMIT=1200 PORT_SKIPPED=$$(abspath port/skipped) \
	    CK_TIMEOUT_MULTIPLIER=$$(PORT_SLOWER) $$(RUN) $$^
endef
$(foreach p,native $(PORTS_HERE),$(eval $(call port,$(p))))

port-files: $(foreach p,native $(PORTS_HERE),$(foreach f,golden beck,$(BUILD)/port/$p/$f))
	@PORTS="$(PORTS_HERE)" LIMIT=1200 $(RUN) port/files.py

# coverage.mk -- which branches the tests take, and which mistakes they would not notice

.PHONY: coverage mutate

COVER_BUILD := $(BUILD)/cover
COVER_MAKE = LIMIT=600 CK_TIMEOUT_MULTIPLIER=5 SEED=1 $(MAKE) --no-print-directory BUILD=$(COVER_BUILD) CC=gcc TESTS= T= \
    MODULES="$(ALL_MODULES)"
STORAGE := codec batch format file coord log index space picture catalog retire partition reader \
    recover db verify os_posix os_linux
# not part of check-all: it takes a minute, and says what is missing or has become needless

# With SCRIPTS_TOO= the named scripts count as well, but for what SIGKILL ends.
coverage: ## lines and branches that the tests take; ARGS=src/log.c lists those not taken there
	$(Q)find $(COVER_BUILD) -name '*.gcda' -delete 2> /dev/null || true
	+@$(COVER_MAKE) unit COVER=1
	+@$(if $(SCRIPTS_TOO),$(COVER_MAKE) scripts TESTS="$(SCRIPTS_TOO)" LDFLAGS=--coverage \
	    RELEASE='-O0 -fPIC --coverage -fprofile-update=atomic $$(BASE)')
	@BUILD=$(abspath $(COVER_BUILD)) STORAGE="$(STORAGE)" SCRIPTS_TOO="$(SCRIPTS_TOO)" \
	    $(if $(TALLY),test/run )tool/check-coverage $(ARGS)

# N= samples so many of each module, as SEED= decides; AT= picks lines of code by their text.
mutate: ## change modules in small ways: which changes does no test notice? MODULES="log index" N=20
	@$(MAKE) --no-print-directory dev CC=$(CC) MODULES="$(ALL_MODULES)"
	+@$(COVER_MAKE) -s $(UNITS:$(OUT)/%=$(COVER_BUILD)/gcc-cover/%) COVER=1
	@CC="$(CC) $(DEV)" LIBS="$(CODEC_LIBS) $(shell pkg-config --libs check)" \
	    ROOM=$(BUILD)/mutate nice tool/mutate $(OUT) $(COVER_BUILD)/gcc-cover \
	    $(if $(filter file,$(origin MODULES)),$(STORAGE),$(MODULES))

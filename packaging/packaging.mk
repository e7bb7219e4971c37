# packaging.mk -- what leaves the build folder: installed files, archives, packages

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man
DOCDIR ?= $(DATADIR)/doc/beck
COMPLETIONDIR ?= $(DATADIR)/bash-completion/completions
INSTALL ?= install

.PHONY: install uninstall man abi static dist deb

# ---- Installing ----------------------------------------------------------------------------------

PCDIR = $(LIBDIR)/pkgconfig
CMAKEDIR = $(LIBDIR)/cmake/beck
DOCS := README.md CHANGELOG.md LICENSE SECURITY.md doc/TUTORIAL.md doc/ERRORS.md \
    doc/TESTING-YOUR-APP.md doc/DURABILITY.md doc/FILES.md doc/OPERATING.md doc/FORMAT.md
EXAMPLE_FILES := $(wildcard example/*.[ch] example/*.py)
MAN := $(BUILD)/man
# What a program that is linked with libbeck.a needs; snappy is C++ inside.
PRIVATE_LIBS = -pthread $(CODEC_LIBS) $(if $(filter snappy,$(CODECS_FOUND)),-lstdc++)

# $(call put,MODE,FOLDER,FILE...): FILEs into FOLDER below DESTDIR
put = $(INSTALL) -d '$(DESTDIR)$(2)' && $(INSTALL) -m $(1) $(3) '$(DESTDIR)$(2)'
# $(call drop,FOLDER,NAME...): those files of FOLDER are no more
drop = for name in $(2); do rm -f '$(DESTDIR)$(1)'/"$$name"; done
# $(call fill,TEMPLATE,FOLDER): a template, filled in, into FOLDER
fill = $(INSTALL) -d '$(DESTDIR)$(2)' && sed -e 's|@VERSION@|$(VERSION)|g' \
    -e 's|@SONAME@|$(SONAME)|g' -e 's|@PREFIX@|$(PREFIX)|g' -e 's|@CODEC_LIBS@|$(CODEC_LIBS)|g' \
    -e 's|@PRIVATE_LIBS@|$(strip $(PRIVATE_LIBS))|g' \
    -e 's|@LIBDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))|g' \
    -e 's|@INCLUDEDIR@|$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))|g' \
    -e "s|@TO_INCLUDEDIR@|$$(realpath -ms --relative-to='$(CMAKEDIR)' '$(INCLUDEDIR)')|g" \
    packaging/$(1).in > '$(DESTDIR)$(2)/$(1)' && chmod 644 '$(DESTDIR)$(2)/$(1)'

install: all man ## into PREFIX (/usr/local), BINDIR, LIBDIR, INCLUDEDIR, MANDIR, below DESTDIR
	$(call say) INST $(DESTDIR)$(PREFIX)
	$(Q)$(call put,755,$(BINDIR),$(BUILD)/beck)
	$(Q)$(call put,644,$(INCLUDEDIR),$(BUILD)/beck.h)
	$(Q)$(call put,644,$(LIBDIR),$(BUILD)/libbeck.a $(BUILD)/libbeck.so.$(VERSION))
	$(Q)ln -sf libbeck.so.$(VERSION) '$(DESTDIR)$(LIBDIR)/$(SONAME)'
	$(Q)ln -sf $(SONAME) '$(DESTDIR)$(LIBDIR)/libbeck.so'
	$(Q)$(call fill,beck.pc,$(PCDIR))
	$(Q)$(call fill,beckConfig.cmake,$(CMAKEDIR))
	$(Q)$(call fill,beckConfigVersion.cmake,$(CMAKEDIR))
	$(Q)$(call put,644,$(MANDIR)/man1,$(MAN)/*.1)
	$(Q)$(call put,644,$(MANDIR)/man3,$(MAN)/*.3)
	$(Q)$(call put,644,$(COMPLETIONDIR),packaging/completion/beck)
	$(Q)$(call put,644,$(DOCDIR),$(DOCS))
	$(Q)$(call put,644,$(DOCDIR)/examples,$(EXAMPLE_FILES))
	$(if $(DESTDIR),,@ldconfig 2> /dev/null || true)

# File by file, as the folders may be anybody's; those that bear the name of beck go when empty.
uninstall: man ## remove what install with the same variables has put there
	$(call say) RM $(DESTDIR)$(PREFIX)
	$(Q)$(call drop,$(BINDIR),beck)
	$(Q)$(call drop,$(INCLUDEDIR),beck.h)
	$(Q)$(call drop,$(LIBDIR),libbeck.a libbeck.so $(SONAME) libbeck.so.$(VERSION))
	$(Q)$(call drop,$(PCDIR),beck.pc)
	$(Q)$(call drop,$(CMAKEDIR),beckConfig.cmake beckConfigVersion.cmake)
	$(Q)$(call drop,$(MANDIR)/man1,$$(cd $(MAN) && echo *.1))
	$(Q)$(call drop,$(MANDIR)/man3,$$(cd $(MAN) && echo *.3))
	$(Q)$(call drop,$(COMPLETIONDIR),beck)
	$(Q)$(call drop,$(DOCDIR)/examples,$(notdir $(EXAMPLE_FILES)))
	$(Q)$(call drop,$(DOCDIR),$(notdir $(DOCS)))
	$(Q)rmdir '$(DESTDIR)$(CMAKEDIR)' '$(DESTDIR)$(DOCDIR)/examples' '$(DESTDIR)$(DOCDIR)' \
	    2> /dev/null || true
	$(if $(DESTDIR),,@ldconfig 2> /dev/null || true)

man: $(MAN)/.made ## the manual pages, into build/man/

$(MAN)/.made: tool/man tool/header.py include/beck.h $(BUILD)/beck | $(MAN)/
	$(call say) MAN $(MAN)/
	$(Q)rm -f $(MAN)/*.[13]
	$(Q)LD_LIBRARY_PATH=$(BUILD) tool/man $(BUILD)/beck include/beck.h $(MAN)
	$(Q)touch $@

abi: all ## accept today's binary interface as the one to keep: rewrites abi/ and Debian's symbols
	tool/abi --write

# ---- A program that needs no library at all, by musl --------------------------------------------

MUSL_CC ?= musl-gcc
MUSL := $(BUILD)/musl

static: $(BUILD)/beck-static ## build/beck-static, one file that runs on any Linux (musl-gcc)

# musl-gcc does not look where Debian keeps the kernel's headers; the C library's beside them would
# be wrong, so only these folders are linked to.
$(BUILD)/beck-static: $(BUILD)/beck.c $(BUILD)/beck.h $(wildcard shell/*.[ch]) packaging/musl.h \
    | $(MUSL)/
	$(call say) MUSL $@
	$(Q)for f in linux asm-generic asm; do \
	    for at in /usr/include /usr/include/$$($(CC) -print-multiarch); do \
	        if test -d $$at/$$f; then ln -sfn $$at/$$f $(MUSL)/$$f; fi; \
	    done; \
	done
	$(Q)$(MUSL_CC) -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -static -pthread -isystem $(MUSL) \
	    -include packaging/musl.h -I$(BUILD) -s -o $@ $(BUILD)/beck.c shell/*.c

# ---- Release archives and packages ---------------------------------------------------------------

dist: $(BUILD)/beck.c $(BUILD)/beck.h ## build/beck-VERSION.tar.gz and the amalgamation's archive
	tool/dist $(VERSION) $(BUILD)

# Built from the archive, as everybody else would.
deb: dist ## the Debian packages, into build/deb/ (dpkg-buildpackage)
	rm -rf $(BUILD)/deb
	mkdir -p $(BUILD)/deb
	tar xzf $(BUILD)/beck-$(VERSION).tar.gz -C $(BUILD)/deb
	cp -r packaging/debian $(BUILD)/deb/beck-$(VERSION)/debian
	cd $(BUILD)/deb/beck-$(VERSION) && env -u MAKEFLAGS -u MAKELEVEL -u CC -u BUILD \
	    DEB_BUILD_OPTIONS="$(or $(DEB_BUILD_OPTIONS),nocheck)" dpkg-buildpackage -us -uc -b

# custos — one Makefile for everything. The usual ways in:
#
#   sudo make demo      the main job, end to end, on this machine (at most 90 s after the build)
#   sudo make check     build with warnings as errors, all tests, the units once more under sanitizers
#   make                build everything into build/release
#   make lint           clang-format, clang-tidy, cppcheck
#   make install        programs, manual pages, samples, unit files; PREFIX=/usr/local, DESTDIR= for packagers
#
# BUILD=release|debug|asan|tsan|fuzz picks the variant; V=1 shows the commands.

BUILD   ?= release
PREFIX  ?= /usr/local
DESTDIR ?=
CC      ?= gcc
B       := build/$(BUILD)
Q       := $(if $(V),,@)
# The second make of the targets below builds on all processors unless a -j was given.
JOBS    := $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

BINDIR     := $(PREFIX)/bin
SBINDIR    := $(PREFIX)/sbin
LIBEXECDIR := $(PREFIX)/libexec/custos
MANDIR     := $(PREFIX)/share/man
DOCDIR     := $(PREFIX)/share/doc/custos
UNITDIR    := $(PREFIX)/lib/systemd/system

# ---------------------------------------------------------------- packages (Debian 12's names)

PKG_BUILD := gcc make pkg-config libfuse3-dev liburing-dev libxxhash-dev libsqlite3-dev \
	libavformat-dev libavcodec-dev libavutil-dev libssl-dev libjansson-dev libconfuse-dev \
	libseccomp-dev
PKG_RUN   := fuse3
PKG_TEST  := libcmocka-dev libgstrtspserver-1.0-dev gstreamer1.0-plugins-base \
	gstreamer1.0-plugins-good gstreamer1.0-plugins-bad ffmpeg jq procps python3 \
	e2fsprogs xfsprogs util-linux libasan8 libubsan1
PKG_BENCH := fio python3
PKG_LINT  := clang libclang-rt-14-dev clang-format clang-tidy cppcheck

# $(call need,PACKAGES): installs what is missing, says nothing when nothing is.
need = @missing=$$(for p in $(1); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | \
	grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		[ $$(id -u) = 0 ] || { echo "custos: missing packages, run as root or install:" $$missing >&2; exit 1; }; \
		echo "installing" $$missing; apt-get update -q >/dev/null && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing >/dev/null; \
	fi

# ---------------------------------------------------------------- flags

WARN   := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
	-Wpointer-arith -Wwrite-strings -Wundef -Wformat=2
CFLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong
CFLAGS_debug   := -O0 -g3
CFLAGS_asan    := -O1 -g3 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
CFLAGS_tsan    := -O1 -g3 -fsanitize=thread
CFLAGS_fuzz    := -O1 -g3 -fsanitize=fuzzer-no-link,address,undefined
LDFLAGS_asan   := -fsanitize=address,undefined
LDFLAGS_tsan   := -fsanitize=thread
LDFLAGS_fuzz   := -fsanitize=address,undefined
ifeq ($(BUILD),fuzz)
CC := clang
endif
CPPFLAGS += -I. -D_GNU_SOURCE -DCUSTOS_LIBEXECDIR='"$(LIBEXECDIR)"' -DFUSE_USE_VERSION=314
CFLAGS   += -std=gnu11 $(WARN) -fPIE -pthread $(CFLAGS_$(BUILD))
LDFLAGS  += -pie -pthread -Wl,-z,relro,-z,now $(LDFLAGS_$(BUILD))

pc = $(shell pkg-config --libs $(1) 2>/dev/null)

# ---------------------------------------------------------------- rooms: sources → libraries

SRC_base     := $(wildcard engine/base/*.c)
SRC_audit    := $(wildcard engine/audit/*.c)
SRC_engine   := $(wildcard engine/*.c)
SRC_client   := $(wildcard policyd/conf*.c policyd/people*.c policyd/line*.c)
SRC_policy   := $(filter-out $(SRC_client) policyd/policyd.c,$(wildcard policyd/*.c))
SRC_gate     := $(filter-out fusefs/custosfs.c,$(wildcard fusefs/*.c))
SRC_ingest   := $(wildcard engine/recorder/ingest*.c)
SRC_recorder := $(filter-out engine/recorder/recorderd.c $(SRC_ingest),$(wildcard engine/recorder/*.c))
SRC_tools    := $(wildcard tools/*.c)
ROOMS        := base audit engine client policy gate recorder

obj = $(patsubst %.c,$(B)/%.o,$(1))
lib = $(patsubst %,$(B)/libcustos-%.a,$(1))

# What each library needs from the system.
SYS_engine := $(call pc,liburing libxxhash libcrypto)
SYS_audit  := $(call pc,libcrypto libxxhash)
SYS_client := $(call pc,jansson libconfuse)
SYS_policy := $(call pc,sqlite3 libcrypto)
SYS_gate   := $(call pc,fuse3)
SYS_ffmpeg := $(call pc,libavformat libavcodec libavutil)
SYS_sec    := $(call pc,libseccomp)

PROGRAMS := $(B)/custos $(B)/custos-policyd $(B)/custosfs $(B)/custos-recorderd $(B)/custos-ingest
TESTS    := $(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_*.c))
FUZZERS  := $(patsubst tests/fuzz/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
HELPERS  := $(patsubst tests/helpers/%.c,$(B)/tests/%,$(wildcard tests/helpers/*.c))

.PHONY: all tests deps deps-build deps-lint check check-all check-run demo install lint format clean
all: deps-build
	$(Q)$(MAKE) $(JOBS) --no-print-directory programs
.PHONY: programs helpers
programs: $(PROGRAMS)
helpers: $(HELPERS)
tests: $(TESTS) $(HELPERS)

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(if $(V),,@echo "  CC    $<")
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# The one file that knows where the programs go is built again when PREFIX is another than last time.
$(B)/engine/recorder/child.o: $(B)/libexecdir
.PHONY: FORCE
$(B)/libexecdir: FORCE
	@mkdir -p $(@D)
	@echo '$(LIBEXECDIR)' | cmp -s - $@ || echo '$(LIBEXECDIR)' >$@

define room
$(B)/libcustos-$(1).a: $$(call obj,$$(SRC_$(1)))
	@mkdir -p $$(@D)
	$$(Q)rm -f $$@ && ar rcs $$@ $$^
endef
$(foreach r,$(ROOMS),$(eval $(call room,$(r))))

link = mkdir -p $(@D)$(if $(V),, && echo "  LD    $@") && $(CC) $(LDFLAGS) -o $@

$(B)/custos: $(call obj,$(SRC_tools)) $(call lib,client engine audit base)
	$(Q)$(link) $^ $(SYS_client) $(SYS_engine) $(SYS_audit)
$(B)/custos-policyd: $(call obj,policyd/policyd.c) $(call lib,policy client audit base)
	$(Q)$(link) $^ $(SYS_policy) $(SYS_client) $(SYS_audit) $(SYS_sec)
$(B)/custosfs: $(call obj,fusefs/custosfs.c) $(call lib,gate client engine audit base)
	$(Q)$(link) $^ $(SYS_gate) $(SYS_client) $(SYS_engine) $(SYS_audit) $(SYS_sec)
$(B)/custos-recorderd: $(call obj,engine/recorder/recorderd.c) $(call lib,recorder client engine audit base)
	$(Q)$(link) $^ $(SYS_client) $(SYS_engine) $(SYS_audit) $(SYS_sec)
$(B)/custos-ingest: $(call obj,$(SRC_ingest)) $(call lib,recorder engine base)
	$(Q)$(link) $^ $(SYS_ffmpeg) $(SYS_engine) $(SYS_sec)

# A unit test's name says its room, and thereby what it links: tests/unit/test_ROOM_topic.c
# (base, aud, eng, cli, pol, gate, rec).
LIBS_base := base
LIBS_aud  := audit base
LIBS_eng  := engine base
LIBS_cli  := client base
LIBS_pol  := policy client audit base
LIBS_gate := gate client engine audit base
LIBS_rec  := recorder client engine audit base
SYS_LIBS_aud  := $(SYS_audit)
SYS_LIBS_eng  := $(SYS_engine)
SYS_LIBS_cli  := $(SYS_client)
SYS_LIBS_pol  := $(SYS_policy) $(SYS_client) $(SYS_audit)
SYS_LIBS_gate := $(SYS_gate) $(SYS_client) $(SYS_engine) $(SYS_audit)
SYS_LIBS_rec  := $(SYS_client) $(SYS_engine) $(SYS_audit) $(SYS_sec)
define unit_room
$(B)/tests/test_$(1)_%: $(B)/tests/unit/test_$(1)_%.o $$(call obj,$$(wildcard tests/unit/support_$(1)*.c)) $$(call lib,$$(LIBS_$(1)))
	$$(Q)$$(link) $$^ $$(SYS_LIBS_$(1)) -lcmocka
endef
$(foreach r,base aud eng cli pol gate rec,$(eval $(call unit_room,$(r))))
.SECONDARY: # keep the objects between programs

# Helpers of the end-to-end cases: the simulated camera and small readers.
SYS_HELPER_rtsp_camera := $(call pc,gstreamer-rtsp-server-1.0 gstreamer-1.0)
$(B)/tests/helpers/rtsp_camera.o: CPPFLAGS += $(shell pkg-config --cflags gstreamer-rtsp-server-1.0 2>/dev/null)
$(B)/tests/%: $(B)/tests/helpers/%.o
	$(Q)$(link) $^ $(SYS_HELPER_$*)

# Decoders of bytes from disk under libFuzzer, FUZZ_SECONDS each: make BUILD=fuzz fuzz
FUZZ_SECONDS ?= 60
$(B)/fuzz/%: $(B)/tests/fuzz/%.o $(call lib,engine base)
	$(Q)$(link) -fsanitize=fuzzer $^ $(SYS_engine)
.PHONY: fuzz
fuzz: deps-lint
	$(Q)[ $(BUILD) = fuzz ] || { echo "custos: say make BUILD=fuzz fuzz" >&2; exit 2; }
	$(Q)$(MAKE) $(JOBS) --no-print-directory $(FUZZERS)
	$(Q)for f in $(FUZZERS); do echo "  FUZZ  $$f"; \
		$$f -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -verbosity=0 || exit 1; done

# The writer at full speed against fio (bench/engine.py): PAIRS=, MIB=, CASES=, DIR=
$(B)/bench/bench_writer: $(call obj,bench/bench_writer.c) $(call lib,engine base)
	$(Q)$(link) $^ $(SYS_engine)
.PHONY: bench-engine
bench-engine: deps-build
	$(call need,$(PKG_BENCH))
	$(Q)$(MAKE) $(JOBS) --no-print-directory $(B)/custos $(B)/bench/bench_writer
	$(Q)python3 bench/engine.py $(B)

# ---------------------------------------------------------------- what people run

deps:
	$(call need,$(PKG_BUILD) $(PKG_RUN) $(PKG_TEST))
deps-build:
	$(call need,$(PKG_BUILD))
deps-lint:
	$(call need,$(PKG_LINT))

# A second make, so that pkg-config is asked after the packages are there.
demo: deps
	$(Q)$(MAKE) $(JOBS) --no-print-directory programs helpers
	$(Q)BUILD_DIR=$(B) bash tests/demo.sh

check: deps
	$(Q)$(MAKE) $(JOBS) --no-print-directory programs tests
	$(Q)$(MAKE) $(JOBS) --no-print-directory tests BUILD=asan
	$(Q)bash tests/run $(B) build/asan

check-all: deps
	$(Q)$(MAKE) $(JOBS) --no-print-directory programs tests
	$(Q)$(MAKE) $(JOBS) --no-print-directory tests BUILD=asan
	$(Q)$(MAKE) $(JOBS) --no-print-directory tests BUILD=tsan
	$(Q)LONG=1 bash tests/run $(B) build/asan build/tsan

ALL_C := $(wildcard engine/*.[ch] engine/*/*.[ch] fusefs/*.[ch] policyd/*.[ch] tools/*.[ch] \
	tests/*/*.[ch] bench/*.[ch])
lint: deps deps-lint
	$(Q)clang-format --dry-run -Werror $(ALL_C)
	$(Q)cppcheck -q --error-exitcode=1 --inline-suppr --std=c11 -I. -D_GNU_SOURCE \
		--enable=warning,performance,portability \
		--suppress=missingIncludeSystem --suppress=selfAssignment $(filter %.c,$(filter-out tests/%,$(ALL_C)))
	@# One file a run: over several, clang-tidy 14 takes every va_list for uninitialised. Findings go
	@# to standard output; standard error is the count of what system headers would say.
	$(Q)printf '%s\n' $(filter %.c,$(filter-out tests/%,$(ALL_C))) | xargs -P 2 -I FILE \
		clang-tidy --quiet FILE -- -std=gnu11 $(CPPFLAGS) 2>/dev/null
format:
	$(Q)clang-format -i $(ALL_C)

install: all
	$(Q)install -d $(addprefix $(DESTDIR),$(BINDIR) $(SBINDIR) $(LIBEXECDIR) $(MANDIR)/man1 \
		$(MANDIR)/man5 $(MANDIR)/man8 $(DOCDIR) $(UNITDIR))
	$(Q)install -m 0755 $(B)/custos $(DESTDIR)$(BINDIR)
	$(Q)install -m 0755 $(B)/custos-policyd $(B)/custosfs $(B)/custos-recorderd $(DESTDIR)$(SBINDIR)
	$(Q)install -m 0755 $(B)/custos-ingest $(DESTDIR)$(LIBEXECDIR)
	$(Q)install -m 0644 $(wildcard */*.1 */*/*.1) $(DESTDIR)$(MANDIR)/man1
	$(Q)install -m 0644 $(wildcard */*.5 */*/*.5) $(DESTDIR)$(MANDIR)/man5
	$(Q)install -m 0644 $(wildcard */*.8 */*/*.8) $(DESTDIR)$(MANDIR)/man8
	$(Q)install -m 0644 README.md LICENSE policyd/custos.conf.sample policyd/policy.conf.sample $(DESTDIR)$(DOCDIR)
	$(Q)for unit in $(wildcard */*.service */*/*.service); do \
		sed 's,%SBINDIR%,$(SBINDIR),' $$unit >$(DESTDIR)$(UNITDIR)/$${unit##*/} || exit 1; \
		chmod 0644 $(DESTDIR)$(UNITDIR)/$${unit##*/}; \
	done
	@echo "installed below $(DESTDIR)$(PREFIX); README.md says what comes next"

clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)

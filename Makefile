# SPDX-License-Identifier: Apache-2.0
# One non-recursive makefile. Everything made lies under $(B); sources stay clean. `make help` lists the targets.
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:

VERSION := 0.1.0
CC := gcc
CLANG := clang-14
PREFIX ?= /usr/local
SAN ?=
B := build$(if $(SAN),/$(SAN))
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),,@printf '  %-8s %s\n' '$(1)' '$(2)';)

# ---- packages, by their Debian names ---------------------------------------------------------------------
BUILD_PACKAGES := gcc make pkg-config clang-14 llvm-14 bpftool libbpf-dev libelf-dev libdw-dev \
	libmicrohttpd-dev libprotobuf-c-dev protobuf-c-compiler libcmocka-dev libyaml-dev libcap-dev \
	libseccomp-dev libzstd-dev liblzma-dev zlib1g-dev libiberty-dev libjansson-dev \
	libunwind-dev
TEST_PACKAGES := python3 curl strace elfutils binutils g++ rustc openssl xz-utils perl sqlite3 linux-perf \
	docker.io prometheus golang-go dwz lld-14 qemu-system-x86 busybox-static cpio gdb \
	python3-numpy libopenblas0-pthread musl-tools nodejs
BENCH_PACKAGES := bpftrace linux-perf

# ---- flags -----------------------------------------------------------------------------------------------
LIBRARIES := libelf libdw libunwind-generic libmicrohttpd libprotobuf-c yaml-0.1 libcap libseccomp libzstd liblzma zlib jansson
WARN := -Wall -Wextra -Werror -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes -Wpointer-arith \
	-Wwrite-strings -Wvla -Wno-missing-field-initializers
HARDEN := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection -fno-strict-aliasing \
	$(if $(SAN),,-D_FORTIFY_SOURCE=2)
CFLAGS := -std=gnu11 -O2 -g $(WARN) $(HARDEN) $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all \
	-fno-omit-frame-pointer)
CPPFLAGS := -Iinclude -Iagent -I. -I$(B)/gen -D_GNU_SOURCE -DWICK_VERSION='"$(VERSION)"'
LDFLAGS := -pie -Wl,-z,relro,-z,now,-z,noexecstack $(if $(SAN),-fsanitize=$(SAN))
LDLIBS = -lbpf $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null) -liberty -lpthread -lm
BPF_CFLAGS := -target bpf -mcpu=v3 -O2 -g -Wall -Werror -Iinclude -Ibpf -I/usr/include/$(shell uname -m)-linux-gnu

# ---- sources: the folders are the lists -------------------------------------------------------------------
BASE_C := $(sort $(wildcard agent/base/*.c))
SYMBOLIZER_C := $(sort $(wildcard symbolizer/*.c))
EXPORTER_C := $(sort $(wildcard exporters/*.c))
EXPORTER_PROTO := $(sort $(wildcard exporters/*.proto))
COLLECTOR_C := $(sort $(wildcard agent/collectors/*.c))
AGENT_C := $(filter-out agent/main.c,$(sort $(wildcard agent/*.c)))
BPF_C := $(filter bpf/maps.bpf.c,$(wildcard bpf/*.bpf.c)) $(filter-out bpf/maps.bpf.c,$(sort $(wildcard bpf/*.bpf.c)))
EXPORTER_NAMES := $(sort $(foreach f,$(EXPORTER_C),$(if $(shell grep -l 'const struct exporter [a-z_]*_exporter' $f),$(basename $(notdir $f)))))
COLLECTOR_NAMES := $(basename $(notdir $(COLLECTOR_C)))
TEST_C := $(sort $(wildcard tests/base/test_*.c tests/bpf/test_*.c tests/symbolizer/test_*.c tests/exporters/test_*.c \
	tests/agent/test_*.c tests/agent/collectors/test_*.c))
TEST_TOOL_C := tests/symbolizer/stack_fill.c
WORKLOAD_C := $(sort $(wildcard tests/workloads/*.c))

obj = $(patsubst %.c,$(B)/%.o,$(1))
PROTO_O := $(patsubst exporters/%.proto,$(B)/gen/%.pb-c.o,$(EXPORTER_PROTO))
PROTO_H := $(PROTO_O:.o=.h)
SKEL := $(B)/gen/wick.skel.h
BASE_A := $(B)/libbase.a
SYMBOLIZER_A := $(B)/libsymbolizer.a
EXPORTERS_A := $(B)/libexporters.a
AGENT_A := $(B)/libagent.a
ALL_O := $(call obj,$(BASE_C) $(SYMBOLIZER_C) $(EXPORTER_C) $(COLLECTOR_C) $(AGENT_C) agent/main.c)
TEST_BIN := $(patsubst tests/%.c,$(B)/tests/%,$(TEST_C))
TEST_TOOLS := $(patsubst tests/%.c,$(B)/tests/%,$(TEST_TOOL_C))
SANITIZED := $(B)/tests/symbolizer/test_stack_suite $(B)/tests/base/test_stack_case
WORKLOADS := $(patsubst tests/workloads/%.c,$(B)/workloads/%,$(WORKLOAD_C))

.PHONY: all run test unit system test-kernels bench check layers sizes format install clean help packages test-packages FORCE
all: $(B)/wick $(B)/wick-symbolizer

# ---- the user's two commands -----------------------------------------------------------------------------
run: packages
	$(Q)$(MAKE) --no-print-directory all
	$(Q)exec $(B)/wick run

test: packages test-packages
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) all unit-binaries layers
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) SAN=address,undefined sanitized
	$(Q)B=$(B) tests/run unit sanitized system

unit: unit-binaries ; $(Q)B=$(B) tests/run unit
system: all ; $(Q)B=$(B) tests/run system
test-kernels: packages test-packages
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) all
	$(Q)B=$(B) ONLY=kernels tests/run system
bench: packages all ; $(Q)tests/install-packages $(BENCH_PACKAGES) && B=$(B) tests/bench/run
unit-binaries: $(TEST_BIN)
sanitized: $(SANITIZED)

packages: ; $(Q)tests/install-packages $(BUILD_PACKAGES)
test-packages: ; $(Q)tests/install-packages $(TEST_PACKAGES)

# ---- compiling -------------------------------------------------------------------------------------------
$(call obj,$(BASE_C) $(SYMBOLIZER_C) $(EXPORTER_C) $(COLLECTOR_C) $(AGENT_C) agent/main.c): $(B)/%.o: %.c Makefile
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(call obj,$(EXPORTER_C)): | $(PROTO_H)
$(B)/agent/loader.o: | $(SKEL)

$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h &: exporters/%.proto
	$(call say,PROTO,$<)mkdir -p $(@D) && protoc-c --proto_path=exporters --c_out=$(B)/gen $<
$(PROTO_O): %.o: %.c
	$(call say,CC,$<)$(CC) $(CPPFLAGS) $(CFLAGS) -Wno-conversion -MMD -MP -c -o $@ $<

# An object list that changes only when the list does: a removed source is really gone from the link.
$(B)/lists/%: FORCE
	$(Q)mkdir -p $(@D); printf '%s\n' '$(LIST_$*)' | cmp -s - $@ || printf '%s\n' '$(LIST_$*)' > $@
LIST_base := $(BASE_C)
LIST_symbolizer := $(SYMBOLIZER_C)
LIST_exporters := $(EXPORTER_C) $(EXPORTER_PROTO)
LIST_agent := $(AGENT_C) $(COLLECTOR_C)
LIST_bpf := $(BPF_C)
LIST_exporter_names := $(EXPORTER_NAMES)
LIST_collector_names := $(COLLECTOR_NAMES)

archive = $(call say,AR,$@)rm -f $@ && ar rcs $@ $(filter %.o,$^)
$(BASE_A): $(call obj,$(BASE_C)) $(B)/lists/base ; $(archive)
$(SYMBOLIZER_A): $(call obj,$(SYMBOLIZER_C)) $(B)/lists/symbolizer ; $(archive)
$(EXPORTERS_A): $(call obj,$(EXPORTER_C)) $(PROTO_O) $(B)/gen/exporters.o $(B)/lists/exporters ; $(archive)
$(AGENT_A): $(call obj,$(AGENT_C) $(COLLECTOR_C)) $(B)/gen/collectors.o $(B)/lists/agent ; $(archive)

# ---- registries: the folder is the table -----------------------------------------------------------------
$(B)/gen/exporters.c: $(B)/lists/exporter_names
	$(call say,GEN,$@)mkdir -p $(@D) && { echo '#include "exporter.h"'; echo '#include <string.h>'; \
	for n in $(EXPORTER_NAMES); do echo "extern const struct exporter $${n}_exporter;"; done; \
	echo 'const struct exporter *const exporters[] = {'; \
	for n in $(EXPORTER_NAMES); do echo "	&$${n}_exporter,"; done; echo '	NULL };'; \
	echo 'const struct exporter *exporter_find(const char *name)'; echo '{'; \
	echo '	for (const struct exporter *const *at = exporters; *at; at++)'; \
	echo '		if (!strcmp((*at)->name, name))'; echo '			return *at;'; \
	echo '	return NULL;'; echo '}'; } > $@
$(B)/gen/collectors.c: $(B)/lists/collector_names
	$(call say,GEN,$@)mkdir -p $(@D) && { echo '#include "collector.h"'; \
	for n in $(COLLECTOR_NAMES); do echo "extern const struct collector $${n}_collector;"; done; \
	echo 'const struct collector *const collectors[] = {'; \
	for n in $(COLLECTOR_NAMES); do echo "	&$${n}_collector,"; done; echo '	NULL };'; } > $@
$(B)/gen/exporters.o $(B)/gen/collectors.o: %.o: %.c
	$(call say,CC,$<)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# ---- the kernel side -------------------------------------------------------------------------------------
$(patsubst bpf/%.c,$(B)/bpf/%.o,$(BPF_C)): $(B)/bpf/%.o: bpf/%.c Makefile
	$(call say,BPF,$<)mkdir -p $(@D) && $(CLANG) $(BPF_CFLAGS) -MMD -MP -c -o $@ $<
$(B)/bpf/wick.o: $(patsubst bpf/%.c,$(B)/bpf/%.o,$(BPF_C)) $(B)/lists/bpf
	$(call say,BPFLINK,$@)bpftool gen object $@ $(filter %.o,$^)
$(SKEL): $(B)/bpf/wick.o
	$(call say,SKEL,$@)mkdir -p $(@D) && bpftool gen skeleton $< name wick > $@
$(B)/agent/loader.o: $(SKEL)

# ---- linking ---------------------------------------------------------------------------------------------
$(B)/wick: $(B)/agent/main.o $(AGENT_A) $(EXPORTERS_A) $(SYMBOLIZER_A) $(BASE_A)
	$(call say,LINK,$@)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)
$(B)/wick-symbolizer: $(B)/wick
	$(call say,LN,$@)ln -sf wick $@

# A layer's tests link that layer and those below, so an upward call is an undefined reference.
below_base := $(BASE_A)
below_bpf := $(BASE_A)
below_symbolizer := $(SYMBOLIZER_A) $(BASE_A)
below_exporters := $(EXPORTERS_A) $(BASE_A)
below_agent := $(AGENT_A) $(EXPORTERS_A) $(SYMBOLIZER_A) $(BASE_A)
.SECONDEXPANSION:
$(TEST_BIN) $(TEST_TOOLS): $(B)/tests/%: tests/%.c Makefile $$(below_$$(firstword $$(subst /, ,$$*)))
	$(call say,TEST,$<)mkdir -p $(@D) && $(CC) $(CPPFLAGS) $(CFLAGS) -Wno-conversion -Wno-missing-prototypes -Wno-write-strings \
	-MMD -MP -MF $@.d $(LDFLAGS) -o $@ $< $(filter %.a,$^) -lcmocka $(LDLIBS)

# ---- gates -----------------------------------------------------------------------------------------------
layers: ; $(Q)tests/check-layers
sizes: ; $(Q)tests/check-sizes
format: ; $(Q)for f in $(F); do clang-format-14 $$f | diff -u --label $$f --label $$f.formatted $$f - || true; done
check: layers sizes unit

install: all
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(B)/wick $(DESTDIR)$(PREFIX)/bin/wick
	ln -sf wick $(DESTDIR)$(PREFIX)/bin/wick-symbolizer
clean: ; rm -rf build
help:
	@echo 'make            build $(B)/wick'
	@echo 'make run        install what is missing, build, start the agent on this host'
	@echo 'make test       install what is missing, build, run every test this machine can run'
	@echo 'make unit       the tests that need no kernel;   make system   those that need root and BPF'
	@echo 'make test-kernels   the agent on the kernels of Debian 12 and its backports, in QEMU (part of make test)'
	@echo 'make bench      the benchmark table'
	@echo 'make check      layers, sizes, unit tests;       make format F=FILES   what clang-format 14 would change'
	@echo 'make install    PREFIX=$(PREFIX) DESTDIR='
	@echo 'SAN=address|undefined|address,undefined|thread builds beside, in build/SAN; V=1 shows commands'

-include $(wildcard $(B)/*/*.d $(B)/*/*/*.d $(B)/*/*/*/*.d)

# Jiffy's build. `make help` lists the targets; ./jiffy is the friendlier front.
#
#   make              the kernel:                     build/jiffy.elf, build/jiffy-test.elf
#   make DEBUG=1      with dassert, poison, ranks:    build-debug/…
#   make CC=clang     the same by clang:              build-clang/…
#   make unit         the host tests, built and run under ASan and UBSan
#   make V=1          shows the commands

MAKEFLAGS += -rR --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
SHELL := /bin/sh

ifeq ($(origin CC),default)
CC := gcc
endif
suffix := $(if $(filter clang%,$(notdir $(CC))),-clang)$(if $(DEBUG),-debug)
O ?= build$(suffix)
LD := ld
NM := nm
Q := $(if $(V),,@)

# ---- flags -------------------------------------------------------------------------------------
WARN := -Wall -Wextra -Werror -Wshadow -Wundef -Wvla -Wpointer-arith -Wstrict-prototypes \
	-Wmissing-prototypes -Wimplicit-fallthrough -Wframe-larger-than=1024 -Wno-unused-parameter
COMMON := -std=gnu11 -O2 -g -fno-strict-aliasing -fno-delete-null-pointer-checks \
	-fno-omit-frame-pointer -fno-common -I. $(if $(DEBUG),-DCONFIG_DEBUG)
KFLAGS = $(COMMON) $(WARN) -ffreestanding -nostdlib -mno-red-zone -mgeneral-regs-only \
	-mcmodel=kernel -fno-pic -fno-pie -fcf-protection=none -fno-stack-protector \
	-fno-asynchronous-unwind-tables -ftrivial-auto-var-init=zero -Iarch/x86 -I$(O)/gen
ifneq ($(filter clang%,$(notdir $(CC))),)
KFLAGS += -mstack-alignment=8 -enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang -Wno-unused-command-line-argument -Wno-gnu-variable-sized-type-not-at-end
else
KFLAGS += -mpreferred-stack-boundary=3 -fno-optimize-sibling-calls
endif
# Where sizes matter, no number is cut silently.
STRICT := -Wconversion -Wno-sign-conversion
LDFLAGS := -nostdlib -static -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments \
	--build-id=none -T arch/x86/kernel.ld

# ---- what the kernel is made of ----------------------------------------------------------------
KDIRS := lib sync time sched mm proc fs dev syscall debug init arch/x86
KSRC := $(foreach d,$(KDIRS),$(wildcard $(d)/*.c $(d)/*.S))
KSRC := $(filter-out %/offsets.c,$(KSRC))
KOBJ := $(patsubst %,$(O)/%.o,$(basename $(KSRC)))
TSRC := $(wildcard tests/kernel/*.c tests/kernel/*.S bench/kernel/*.c)
TOBJ := $(patsubst %,$(O)/%.o,$(basename $(TSRC)))
GEN := $(O)/gen/offsets.h $(O)/gen/syscall_table.h $(O)/gen/version.h

.PHONY: all kernel unit clean help FORCE
all: kernel
kernel: $(O)/jiffy.elf $(O)/jiffy-test.elf

$(foreach d,lib sync time sched mm,$(O)/$(d)/%.o): WARN += $(STRICT)

$(O)/%.o: %.c | $(GEN)
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(KFLAGS) $(CFLAGS_$(subst /,_,$*)) -MMD -MP -c $< -o $@

$(O)/%.o: %.S | $(GEN)
	@mkdir -p $(@D)
	@echo "  AS      $<"
	$(Q)$(CC) $(KFLAGS) -D__ASSEMBLER__ -MMD -MP -c $< -o $@

# Offsets of struct members that assembly uses, as the compiler lays them out.
$(O)/gen/offsets.h: arch/x86/offsets.c $(wildcard arch/x86/*.h arch/x86/machine/*.h arch/api/*.h sched/*.h lib/*.h sync/*.h)
	@mkdir -p $(@D)
	$(Q)$(CC) $(KFLAGS) -S $< -o $@.s
	$(Q)sed -n 's/.*@offset \([A-Z0-9_]*\) \$$*\(-*[0-9]*\).*/#define \1 \2/p' $@.s >$@
	$(Q)rm -f $@.s

$(O)/gen/syscall_table.h: syscall/table.tbl tools/gen-syscalls.awk
	@mkdir -p $(@D)
	$(Q)awk -f tools/gen-syscalls.awk $< >$@

$(O)/gen/version.h: FORCE
	@mkdir -p $(@D)
	$(Q)v=$$(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown); \
	printf '#define JIFFY_COMMIT "%s"\n' "$$v" >$@.$$$$; \
	cmp -s $@.$$$$ $@ && rm $@.$$$$ || mv $@.$$$$ $@

# Two links: the first gives the addresses, the second carries them as the kernel's symbol table
# for backtraces. The table lies behind all code, so no function moves.
define link
	$(Q)echo | awk -f tools/gen-symbols.awk >$(O)/$(1)-syms0.S
	$(Q)$(CC) $(KFLAGS) -D__ASSEMBLER__ -c $(O)/$(1)-syms0.S -o $(O)/$(1)-syms0.o
	$(Q)$(LD) $(LDFLAGS) -o $@.1 $(2) $(O)/$(1)-syms0.o
	$(Q)$(NM) -n $@.1 | awk -f tools/gen-symbols.awk >$(O)/$(1)-syms.S
	$(Q)$(CC) $(KFLAGS) -D__ASSEMBLER__ -c $(O)/$(1)-syms.S -o $(O)/$(1)-syms.o
	$(Q)$(LD) $(LDFLAGS) -Map=$@.map -o $@ $(2) $(O)/$(1)-syms.o
	$(Q)rm -f $@.1
endef

$(O)/jiffy.elf: $(KOBJ) arch/x86/kernel.ld tools/gen-symbols.awk
	@echo "  LD      $@"
	$(call link,jiffy,$(KOBJ))

$(O)/jiffy-test.elf: $(KOBJ) $(TOBJ) arch/x86/kernel.ld tools/gen-symbols.awk
	@echo "  LD      $@"
	$(call link,jiffy-test,$(KOBJ) $(TOBJ))

# ---- host tests --------------------------------------------------------------------------------
# Each tests/unit/test_NAME.c is a cmocka program, linked with the portable parts as they are.
HDIRS := lib sync mm sched fs arch/host
HSAN ?= -fsanitize=address,undefined -fno-sanitize-recover=all
HO := build-host$(HTAG)
HDEBUG ?= -DCONFIG_DEBUG
HFLAGS := $(COMMON) $(WARN) -Wno-error=frame-larger-than= -Wno-frame-larger-than -DCONFIG_HOST $(HDEBUG) \
	-Iarch/host -Ibuild-host/gen $(HSAN) \
	$(if $(findstring thread,$(HSAN)),-DHOST_TSAN --param=tsan-distinguish-volatile=1)
# lib/string.c is libc's here; what only a machine can run stays out.
HSKIP ?= lib/string.c mm/kstack.c fs/init.c fs/devfs.c fs/procfs_kernel.c
HSRC := $(filter-out $(HSKIP),$(foreach d,$(HDIRS),$(wildcard $(d)/*.c)))
# The scheduler and the machine that runs it, apart: other tests bring stubs in their place.
HSCHED := $(filter-out sched/memory.c sched/fair.c,$(wildcard sched/*.c)) arch/host/sim.c arch/host/fiber.c
HOBJ := $(patsubst %.c,$(HO)/%.o,$(filter-out $(HSCHED),$(HSRC)))
HSCHEDOBJ := $(patsubst %.c,$(HO)/%.o,$(HSCHED))
UNIT := $(patsubst tests/unit/%.c,$(HO)/%,$(wildcard tests/unit/test_*.c))

$(HO)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  HOSTCC  $<"
	$(Q)$(CC) $(HFLAGS) -MMD -MP -c $< -o $@

$(HO)/libjiffy.a: $(HOBJ)
	$(Q)rm -f $@ && ar rcs $@ $^

$(HO)/libsched.a: $(HSCHEDOBJ)
	$(Q)rm -f $@ && ar rcs $@ $^

# The tests of the scheduler. The simulated machine interferes between any two basic blocks of these
# (arch/host/sim.h).
SCHED_TESTS := sched_core waitq mutex inherit policy futex_pi
INTERLEAVED := $(filter $(HO)/sched/%,$(HSCHEDOBJ)) $(SCHED_TESTS:%=$(HO)/tests/unit/test_%.o)
$(INTERLEAVED): HFLAGS += -fsanitize-coverage=trace-pc
$(HO)/arch/host/sim.o $(HO)/arch/host/fiber.o: HFLAGS += -fno-sanitize=thread
$(SCHED_TESTS:%=$(HO)/test_%): $(HO)/libsched.a
$(SCHED_TESTS:%=$(HO)/test_%): HFIRST := $(HO)/libsched.a
$(SCHED_TESTS:%=$(HO)/test_%): HLIBS := $(HO)/libsched.a $(HO)/libjiffy.a

# The machine under test_mm_threads: its threads leave each other's translations alone, but not its counters.
$(HO)/arch/host/mmu.o: HFLAGS += -fno-sanitize=thread

$(HO)/test_%: $(HO)/tests/unit/test_%.o $(HO)/libjiffy.a
	@echo "  HOSTLD  $@"
	$(Q)$(CC) $(HFLAGS) $< -o $@ $(HFIRST) $(HO)/libjiffy.a $(HLIBS) -lcmocka -lpthread -lz

$(HO)/test_aspace: $(HO)/tests/unit/test_aspace.o $(patsubst %,$(HO)/tests/mm/%.o,cpus model choose calls explain steps order theme group run) $(HO)/libjiffy.a
	@echo "  HOSTLD  $@"
	$(Q)$(CC) $(HFLAGS) $^ -o $@ -lcmocka -lpthread

# The other targets of ./jiffy fuzz; HSAN and HTAG come from tests/fuzz/run.
$(HO)/fuzz_%: $(HO)/tests/fuzz/%.o $(HO)/libjiffy.a
	@echo "  HOSTLD  $@"
	$(Q)$(CC) $(HFLAGS) -fsanitize=fuzzer $^ -o $@ -lz

unit: $(UNIT)
	$(Q)for t in $(UNIT); do echo "== $$t"; $$t || exit 1; done

.PRECIOUS: $(HO)/%.o $(HO)/tests/unit/%.o $(HO)/tests/mm/%.o

# ---- the random test of mm/ --------------------------------------------------------------------
# The same code with every atomic operation a point of tests/mm/points.c: clang's TSan instrumentation
# without its library. `make sim` builds build-sim/mm_random; docs/testing.md tells more.
SO := build-sim
SCC := clang
SFLAGS := $(COMMON) $(WARN) -Wno-frame-larger-than -DCONFIG_HOST -DCONFIG_DEBUG -Iarch/host -Ibuild-host/gen \
	-fsanitize=undefined -fno-sanitize-recover=all
SPOINTS := -fsanitize=thread -mllvm -tsan-instrument-memory-accesses=0 \
	-mllvm -tsan-instrument-func-entry-exit=0 -mllvm -tsan-instrument-memintrinsics=0
SSRC := $(wildcard mm/*.c lib/*.c sync/*.c sched/*.c arch/host/*.c)
SSRC := $(filter-out $(HSKIP) $(HSCHED),$(SSRC))
SLIB := $(patsubst %.c,$(SO)/%.o,$(SSRC))
STEST := $(patsubst %,$(SO)/tests/mm/%.o,cpus points model choose calls explain steps order theme group run)

$(SO)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  SIMCC   $<"
	$(Q)$(SCC) $(SFLAGS) $(if $(filter tests/%,$<),,$(SPOINTS)) $(if $(filter mm/%,$<),$(SCOVER)) -MMD -MP -c $< -o $@

$(SO)/libsim.a: $(SLIB)
	$(Q)rm -f $@ && ar rcs $@ $^

$(SO)/mm_random: $(STEST) $(SO)/tests/mm/random.o $(SO)/libsim.a
	@echo "  SIMLD   $@"
	$(Q)$(SCC) -fsanitize=undefined $^ -o $@

# By libFuzzer, which looks at what mm/ does (SO and SCOVER: tests/fuzz/run).
$(SO)/fuzz_mm: $(STEST) $(SO)/tests/fuzz/mm.o $(SO)/libsim.a
	@echo "  SIMLD   $@"
	$(Q)$(SCC) -fsanitize=undefined,fuzzer $^ -o $@

.PHONY: sim
sim: $(SO)/mm_random

# ---- programs ----------------------------------------------------------------------------------
# They are static: init with musl, the test programs with musl and with glibc (they must behave alike,
# on Linux and here). The image is what ./jiffy run boots.
UFLAGS := -std=gnu11 -O2 -g -static -Wall -Wextra -Werror -Wno-unused-parameter -pthread
UTESTS := $(basename $(notdir $(wildcard tests/programs/*.c)))
BUSYBOX ?= $(shell command -v busybox)

$(O)/user/%: user/%.c
	@mkdir -p $(@D)
	@echo "  USERCC  $<"
	$(Q)musl-gcc $(UFLAGS) -s $< -o $@

$(O)/user/%.musl: tests/programs/%.c $(wildcard tests/programs/*.h)
	@mkdir -p $(@D)
	@echo "  USERCC  $<"
	$(Q)musl-gcc $(UFLAGS) $< -o $@ -lm

$(O)/user/%.glibc: tests/programs/%.c $(wildcard tests/programs/*.h)
	@mkdir -p $(@D)
	@echo "  USERCC  $<"
	$(Q)gcc $(UFLAGS) $< -o $@ -lm

$(O)/initramfs.cpio: $(O)/user/init tools/mkinitramfs $(BUSYBOX)
	@echo "  CPIO    $@"
	$(Q)tools/mkinitramfs $@ $(BUSYBOX) $<

# The soak: ./jiffy soak.
SOAK := $(wildcard tests/soak/*.c)

$(O)/user/soak: $(SOAK) $(wildcard tests/soak/*.h)
	@mkdir -p $(@D)
	@echo "  USERCC  $@"
	$(Q)musl-gcc $(UFLAGS) $(SOAK) -o $@

# ./jiffy fuzz calls.
CALLS := $(wildcard tests/calls/*.c) tests/soak/books.c

$(O)/user/calls: $(CALLS) tests/calls/calls.h tests/soak/books.h
	@mkdir -p $(@D)
	@echo "  USERCC  $@"
	$(Q)musl-gcc $(UFLAGS) $(CALLS) -o $@

# The suite of benchmarks: one static program for every kernel, and the program that it executes.
SUITE := $(filter-out %/exit.c,$(wildcard bench/suite/*.c))

$(O)/bench/suite: $(SUITE) bench/suite/bench.h bench/raw.h
	@mkdir -p $(@D)
	@echo "  USERCC  $@"
	$(Q)musl-gcc $(UFLAGS) $(SUITE) -o $@

$(O)/bench/suite-exit: bench/suite/exit.c
	@mkdir -p $(@D)
	@echo "  USERCC  $@"
	$(Q)gcc $(UFLAGS) -nostdlib -ffreestanding -fno-pic -no-pie -fcf-protection=none -Wl,--build-id=none \
		-Wl,-z,noseparate-code -s $< -o $@

# The benchmarks of processes, and the kernel's own sched/core.c as a program of this machine.
$(O)/bench/yield $(O)/bench/memory $(O)/bench/latency $(O)/bench/disjoint $(O)/bench/scale $(O)/bench/wake: $(O)/bench/%: bench/user/%.c bench/raw.h $(wildcard bench/user/*.h)
	@mkdir -p $(@D)
	@echo "  USERCC  $<"
	$(Q)musl-gcc $(UFLAGS) $< -o $@

$(O)/bench/hackbench: bench/user/hackbench.c
	@mkdir -p $(@D)
	@echo "  USERCC  $<"
	$(Q)musl-gcc $(UFLAGS) -pthread $< -o $@

# mm/ for this machine's silicon: the objects of the host tests without sanitizers and checks (HTAG=-native;
# ./jiffy bench --native says so). bench/native/mmu.c comes first and so takes the place of the simulated MMU. And its well-known relatives.
$(O)/bench/native-memory: bench/native/memory.c bench/native/mmu.c bench/native/timing.h $(HO)/libjiffy.a
	@mkdir -p $(@D)
	@echo "  HOSTLD  $@"
	$(Q)$(CC) $(HFLAGS) -Wl,-z,muldefs bench/native/memory.c bench/native/mmu.c \
		$(HO)/libjiffy.a -lpthread -o $@

$(O)/bench/native-reference: bench/native/reference.c bench/native/timing.h
	@mkdir -p $(@D)
	@echo "  HOSTCC  $@"
	$(Q)boost=$$(ls /usr/lib/*/libboost_context.a 2>/dev/null | head -n 1); \
	$(CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -I. $${boost:+-DWITH_BOOST} $< $$boost -o $@

$(O)/bench/native-jemalloc: bench/native/reference.c bench/native/timing.h
	@mkdir -p $(@D)
	@echo "  HOSTCC  $@"
	$(Q)$(CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -I. $< -ljemalloc -o $@

$(O)/bench/native-switch: bench/native/switch.c $(wildcard sched/*.[ch] bench/native/machine/*.h arch/x86/machine/ctx.h)
	@mkdir -p $(@D)
	@echo "  HOSTCC  $<"
	$(Q)$(CC) $(COMMON) $(WARN) -Wno-missing-prototypes -fno-pic -static -fno-stack-protector \
		-fcf-protection=none -mgeneral-regs-only -Ibench/native -Iarch/host $< -o $@

# Plugins of QEMU: what it counts while it translates.
$(O)/plugin/%.so: tools/plugin/%.c tools/plugin/common.h tools/plugin/qemu-plugin.h
	@mkdir -p $(@D)
	@echo "  PLUGIN  $<"
	$(Q)$(CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -I. -fPIC -shared -fvisibility=hidden $< -o $@

.PHONY: programs
programs: $(O)/initramfs.cpio $(foreach t,$(UTESTS),$(O)/user/$(t).musl $(O)/user/$(t).glibc)

# ------------------------------------------------------------------------------------------------
clean:
	rm -rf build build-*

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

-include $(shell find $(O) $(HO) $(SO) -name '*.d' 2>/dev/null)

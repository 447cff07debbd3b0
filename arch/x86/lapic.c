/*
 * LAPIC (Intel SDM volume 3, chapter 11 "APIC"; x2APIC: 11.12). The registers are the same in both
 * modes: at 16-byte steps in a page of device memory, or at MSR 0x800 + offset / 16.
 *
 * Each CPU touches its own LAPIC only, with interrupts off where more than one access belongs
 * together; so there are no locks. What is written once at boot is immutable.
 */
#include "lapic.h"

#include "acpi.h"
#include "arch/api/cpu.h"
#include "arch/api/io.h"
#include "cpuid.h"
#include "lib/cmdline.h"
#include "lib/err.h"
#include "lib/klog.h"
#include "mm/kmap.h"
#include "vectors.h"

CMDLINE_OPTION("apic", apic_option, "xapic: do not use x2APIC");

#define MSR_APIC_BASE     0x1b
#define APIC_BASE_X2      (1u << 10)
#define APIC_BASE_ENABLE  (1u << 11)
#define APIC_BASE_ADDRESS 0x000ffffffffff000ull
#define MSR_X2APIC        0x800
#define MSR_TSC_DEADLINE  0x6e0

enum lapic_register {
	REG_ID = 0x20,
	REG_VERSION = 0x30,
	REG_TASK_PRIORITY = 0x80,
	REG_EOI = 0xb0,
	REG_SPURIOUS = 0xf0,
	REG_ICR = 0x300,
	REG_ICR_HIGH = 0x310,
	REG_LVT_TIMER = 0x320,
	REG_LVT_THERMAL = 0x330,
	REG_LVT_PERF = 0x340,
	REG_LVT_LINT0 = 0x350,
	REG_LVT_LINT1 = 0x360,
	REG_LVT_ERROR = 0x370,
	REG_TIMER_INITIAL = 0x380,
	REG_TIMER_CURRENT = 0x390,
	REG_TIMER_DIVIDE = 0x3e0,
};

#define SPURIOUS_ENABLE  (1u << 8)
#define LVT_MASKED       (1u << 16)
#define LVT_NMI          (4u << 8)
#define LVT_EXTINT       (7u << 8)
#define LVT_TSC_DEADLINE (2u << 17)
#define LVT_ACTIVE_LOW   (1u << 13)
#define LVT_LEVEL        (1u << 15)
#define DIVIDE_BY_1      0xb

/* The interrupt command register (11.6.1). */
#define ICR_NMI     (4u << 8)
#define ICR_INIT    (5u << 8)
#define ICR_STARTUP (6u << 8)
#define ICR_PENDING (1u << 12)
#define ICR_ASSERT  (1u << 14)

static volatile u8 *lapic_base; /* [I] NULL with x2APIC */
static bool x2apic;             /* [I] */
static bool found;              /* [I] */

static inline u32 lapic_read(enum lapic_register reg)
{
	if (x2apic)
		return (u32)rdmsr(MSR_X2APIC + (reg >> 4));
	return mmio_read32(lapic_base + reg);
}

static inline void lapic_write(enum lapic_register reg, u32 v)
{
	if (x2apic)
		wrmsr(MSR_X2APIC + (reg >> 4), v);
	else
		mmio_write32(lapic_base + reg, v);
}

bool lapic_present(void)
{
	return found;
}

bool lapic_is_x2apic(void)
{
	return x2apic;
}

u32 lapic_id(void)
{
	u32 id = lapic_read(REG_ID);

	return x2apic ? id : id >> 24;
}

void lapic_eoi(void)
{
	lapic_write(REG_EOI, 0);
}

/*
 * A command to one processor. xAPIC: two writes, and an interrupt in between might send another one
 * (an NMI that finds us there, and sends, is the end of a broken machine anyhow).
 * x2APIC: one write to an MSR, which does not wait for earlier stores as a write to device memory
 * does, hence the fences (11.12.3).
 */
static void send(u32 apic_id, u32 command)
{
	u64 flags = irq_save();

	if (x2apic) {
		__asm__ volatile("mfence; lfence" : : : "memory");
		wrmsr(MSR_X2APIC + (REG_ICR >> 4), (u64)apic_id << 32 | command);
	} else {
		while (lapic_read(REG_ICR) & ICR_PENDING)
			cpu_relax();
		lapic_write(REG_ICR_HIGH, apic_id << 24);
		lapic_write(REG_ICR, command);
	}
	irq_restore(flags);
}

void lapic_send(u32 apic_id, u8 vector)
{
	send(apic_id, ICR_ASSERT | vector);
}

void lapic_send_nmi(u32 apic_id)
{
	send(apic_id, ICR_ASSERT | ICR_NMI);
}

void lapic_send_init(u32 apic_id)
{
	send(apic_id, ICR_ASSERT | ICR_INIT);
}

void lapic_send_startup(u32 apic_id, u8 page)
{
	send(apic_id, ICR_ASSERT | ICR_STARTUP | page);
}

void lapic_set_extint(bool on)
{
	lapic_write(REG_LVT_LINT0, LVT_EXTINT | (on ? 0 : LVT_MASKED));
}

static u32 nmi_lvt(u16 flags)
{
	u32 lvt = LVT_NMI;

	if ((flags & ACPI_POLARITY_MASK) == ACPI_POLARITY_LOW)
		lvt |= LVT_ACTIVE_LOW;
	if ((flags & ACPI_TRIGGER_MASK) == ACPI_TRIGGER_LEVEL)
		lvt |= LVT_LEVEL;
	return lvt;
}

/* Which pin the NMI comes in at: by the MADT, else on pin 1, where every PC has it. */
static void setup_nmi(void)
{
	u32 id = lapic_id(), uid = ACPI_ALL_CPUS;

	if (!acpi.madt) {
		lapic_write(REG_LVT_LINT1, LVT_NMI);
		return;
	}
	for (u32 i = 0; i < acpi.madt->nr_cpus; i++)
		if (acpi.madt->cpu[i].apic_id == id)
			uid = acpi.madt->cpu[i].uid;
	for (u32 i = 0; i < acpi.madt->nr_nmis; i++) {
		const struct acpi_nmi *n = &acpi.madt->nmi[i];

		if (n->uid == ACPI_ALL_CPUS || n->uid == uid)
			lapic_write(n->lint ? REG_LVT_LINT1 : REG_LVT_LINT0, nmi_lvt(n->flags));
	}
}

void lapic_init_cpu(void)
{
	u64 base = rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE;

	wrmsr(MSR_APIC_BASE, base);
	/* From disabled to x2APIC in one write is an invalid transition (11.12.5). */
	if (x2apic)
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2);
	u32 lvts = (lapic_read(REG_VERSION) >> 16 & 0xff) + 1;

	lapic_write(REG_LVT_TIMER, LVT_MASKED);
	lapic_write(REG_LVT_LINT0, LVT_MASKED);
	lapic_write(REG_LVT_LINT1, LVT_MASKED);
	lapic_write(REG_LVT_ERROR, LVT_MASKED | VEC_LAPIC_SPURIOUS);
	if (lvts >= 5)
		lapic_write(REG_LVT_PERF, LVT_MASKED);
	if (lvts >= 6)
		lapic_write(REG_LVT_THERMAL, LVT_MASKED);
	lapic_write(REG_TASK_PRIORITY, 0);
	lapic_write(REG_SPURIOUS, SPURIOUS_ENABLE | VEC_LAPIC_SPURIOUS);
	setup_nmi();
}

int lapic_init(void)
{
	if (!cpu_has.apic)
		return -ENODEV;
	u64 base = rdmsr(MSR_APIC_BASE);
	bool firmware_x2 = base & APIC_BASE_X2;

	/* Leaving x2APIC mode takes a reset of the LAPIC: firmware that chose it has decided. */
	x2apic = firmware_x2 || (cpu_has.x2apic && !cmdline_is(&apic_option, "xapic"));
	if (!x2apic) {
		u64 pa = base & APIC_BASE_ADDRESS;

		lapic_base = mmio_map(PADDR(pa), PAGE_SIZE, KMAP_WRITE | KMAP_UNCACHED);
		if (!lapic_base)
			return -ENOMEM;
	}
	lapic_init_cpu();
	found = true;
	return 0;
}

/* ---- the timer ---- */

static u64 timer_factor, deadline_factor; /* [I] ticks per ns, see clock_factor */

void lapic_timer_run_free(void)
{
	lapic_write(REG_TIMER_DIVIDE, DIVIDE_BY_1);
	lapic_write(REG_LVT_TIMER, LVT_MASKED | VEC_LAPIC_TIMER);
	lapic_write(REG_TIMER_INITIAL, UINT32_MAX);
}

u32 lapic_timer_count(void)
{
	return lapic_read(REG_TIMER_CURRENT);
}

static int lapic_timer_start(void)
{
	if (!timer_factor)
		return -ENODEV;
	lapic_write(REG_TIMER_INITIAL, 0);
	lapic_write(REG_TIMER_DIVIDE, DIVIDE_BY_1);
	lapic_write(REG_LVT_TIMER, VEC_LAPIC_TIMER);
	return 0;
}

static void lapic_timer_arm(u64 delta_ns)
{
	u64 ticks = clock_scale(delta_ns, timer_factor);

	lapic_write(REG_TIMER_INITIAL, ticks ? (u32)ticks : 1);
}

static void lapic_timer_stop(void)
{
	lapic_write(REG_TIMER_INITIAL, 0);
}

struct clock_event lapic_event = {
	.name = "lapic",
	.arm = lapic_timer_arm,
	.stop = lapic_timer_stop,
	.start = lapic_timer_start,
	.min_delta_ns = 200,
	.rating = 300,
	.per_cpu = true,
};

void lapic_timer_set_hz(u64 hz)
{
	if (!hz)
		return;
	timer_factor = clock_factor(hz, NSEC_PER_SEC);
	lapic_event.min_delta_ns = MAX(clock_scale(2, clock_factor(NSEC_PER_SEC, hz)), (u64)200);
	lapic_event.max_delta_ns = clock_scale(0x7fffffff, clock_factor(NSEC_PER_SEC, hz));
}

static int deadline_start(void)
{
	if (!deadline_factor)
		return -ENODEV;
	lapic_write(REG_LVT_TIMER, VEC_LAPIC_TIMER | LVT_TSC_DEADLINE);
	/* The write to device memory must be done before the first one to the MSR (11.5.4.1). */
	__asm__ volatile("mfence" : : : "memory");
	wrmsr(MSR_TSC_DEADLINE, 0);
	return 0;
}

static void deadline_arm(u64 delta_ns)
{
	/* A deadline that has passed fires at once, so there is nothing to check. */
	wrmsr(MSR_TSC_DEADLINE, cpu_cycles() + clock_scale(delta_ns, deadline_factor));
}

static void deadline_stop(void)
{
	wrmsr(MSR_TSC_DEADLINE, 0);
}

struct clock_event tsc_deadline_event = {
	.name = "tsc-deadline",
	.arm = deadline_arm,
	.stop = deadline_stop,
	.start = deadline_start,
	.min_delta_ns = 100,
	.max_delta_ns = 3600 * NSEC_PER_SEC,
	.rating = 400,
	.per_cpu = true,
};

void lapic_deadline_set_hz(u64 tsc_hz)
{
	if (cpu_has.tsc_deadline && tsc_hz)
		deadline_factor = clock_factor(tsc_hz, NSEC_PER_SEC);
}

/*
 * HPET (IA-PC HPET specification 1.0a). The counter runs for ever from hpet_probe on; timer 0 is
 * compared with its low 32 bits.
 *
 * The interrupt: with legacy replacement timer 0 takes the 8254's place on line 0, which works
 * with either controller. Hardware without that is routed to a line of an IOAPIC among those that
 * the timer can reach.
 *
 * The comparator fires on equality. If the counter has passed the value before it was written,
 * nothing would happen until the counter wraps; so after each write the counter is read again.
 *
 * No lock: the source is only read; the event belongs to the CPU that it interrupts.
 */
#include "hpet.h"

#include "acpi.h"
#include "arch/api/io.h"
#include "arch/api/upcall.h"
#include "irqchip.h"
#include "lib/err.h"
#include "lib/klog.h"
#include "mm/kmap.h"

#define HPET_LEN         1024
#define REG_CAPS         0x000
#define REG_PERIOD       0x004 /* femtoseconds per tick: the upper half of the capabilities */
#define REG_CONFIG       0x010
#define REG_STATUS       0x020
#define REG_COUNTER      0x0f0
#define REG_COUNTER_HIGH 0x0f4
#define REG_TIMER(n)     (0x100 + 0x20 * (n))
#define REG_ROUTES(n)    (0x104 + 0x20 * (n))
#define REG_COMPARE(n)   (0x108 + 0x20 * (n))

#define CAPS_TIMERS(c) (((c) >> 8 & 0x1f) + 1)
#define CAPS_64BIT     (1u << 13)
#define CAPS_LEGACY    (1u << 15)
#define CONFIG_ENABLE  (1u << 0)
#define CONFIG_LEGACY  (1u << 1)
#define TIMER_LEVEL    (1u << 1)
#define TIMER_ENABLE   (1u << 2)
#define TIMER_32BIT    (1u << 8)
#define TIMER_ROUTE(l) ((u32)(l) << 9)

#define MAX_PERIOD_FS 100000000u /* 2.3.4: at most 100 ns */
#define FS_PER_SEC    1000000000000000ull
#define MIN_TICKS     16

static volatile u8 *regs; /* [I] */
static u32 caps;          /* [I] */
static u64 tick_factor;   /* [I] ticks per ns */
static u32 timer_config;  /* [cpu 0] what timer 0 is set to when it runs */
static bool running;      /* [cpu 0] timer 0's interrupt is enabled */
static bool level;        /* [cpu 0] its status bit must be cleared */

static inline u32 hpet_get(u32 reg)
{
	return mmio_read32(regs + reg);
}

static inline void hpet_put(u32 reg, u32 v)
{
	mmio_write32(regs + reg, v);
}

/* In halves, since not every machine reads 64 bits of it at once (2.4.7). */
static u64 read64(void)
{
	u32 high, low;

	do {
		high = hpet_get(REG_COUNTER_HIGH);
		low = hpet_get(REG_COUNTER);
	} while (unlikely(hpet_get(REG_COUNTER_HIGH) != high));
	return (u64)high << 32 | low;
}

static u64 read32(void)
{
	return hpet_get(REG_COUNTER);
}

struct clock_source hpet_source = {
	.name = "hpet",
	.rating = 250,
	.trusted = true,
	.exact = true,
};

static void hpet_interrupt(void)
{
	if (level)
		hpet_put(REG_STATUS, 1);
	timer_interrupt();
}

/* Routes timer 0 to an IOAPIC's line, one above ISA's if possible. 0 or -ENODEV. */
static int start_routed(void)
{
	u32 routes = hpet_get(REG_ROUTES(0));

	if (!irqchip_has_ioapic())
		return -ENODEV;
	for (unsigned line = 32; line-- > 16;) {
		if (!(routes >> line & 1) || irqchip_claim(line, hpet_interrupt))
			continue;
		level = true; /* such lines are level-triggered: arch/x86/irqchip.c */
		timer_config = TIMER_32BIT | TIMER_LEVEL | TIMER_ROUTE(line);
		return 0;
	}
	return -ENODEV;
}

static int hpet_start(void)
{
	if (!hpet_source.hz)
		return -ENODEV;
	if (caps & CAPS_LEGACY && irqchip_claim(0, hpet_interrupt) == 0) {
		level = false;
		timer_config = TIMER_32BIT;
		hpet_put(REG_TIMER(0), timer_config);
		hpet_put(REG_CONFIG, CONFIG_ENABLE | CONFIG_LEGACY);
		return 0;
	}
	return start_routed();
}

static void hpet_arm(u64 delta_ns)
{
	u32 ticks = (u32)clock_scale(delta_ns, tick_factor) + 1;

	if (!running)
		hpet_put(REG_TIMER(0), timer_config | TIMER_ENABLE);
	running = true;
	for (ticks = MAX(ticks, (u32)MIN_TICKS);; ticks *= 2) {
		u32 target = hpet_get(REG_COUNTER) + ticks;

		hpet_put(REG_COMPARE(0), target);
		if ((s32)(target - hpet_get(REG_COUNTER)) > MIN_TICKS / 4)
			return;
	}
}

static void hpet_stop(void)
{
	hpet_put(REG_TIMER(0), timer_config);
	running = false;
}

struct clock_event hpet_event = {
	.name = "hpet",
	.arm = hpet_arm,
	.stop = hpet_stop,
	.start = hpet_start,
	.min_delta_ns = 2000,
	.rating = 200,
	.per_cpu = false,
};

static void setup_source(u32 period)
{
	u64 hz = FS_PER_SEC / period;
	u64 ns_factor = clock_factor(NSEC_PER_SEC, hz);

	tick_factor = clock_factor(hz, NSEC_PER_SEC);
	hpet_event.min_delta_ns = MAX((u64)2000, clock_scale(2 * MIN_TICKS, ns_factor));
	hpet_event.max_delta_ns = clock_scale(0x3fffffff, ns_factor);
	hpet_source.read = caps & CAPS_64BIT ? read64 : read32;
	hpet_source.mask = caps & CAPS_64BIT ? UINT64_MAX : UINT32_MAX;
	hpet_source.hz = hz;
}

bool hpet_probe(void)
{
	if (!acpi.hpet)
		return false;
	regs = mmio_map(PADDR(acpi.hpet->address), HPET_LEN, KMAP_WRITE | KMAP_UNCACHED);
	if (!regs)
		return false;
	caps = hpet_get(REG_CAPS);
	u32 period = hpet_get(REG_PERIOD);
	if (caps == UINT32_MAX || period == 0 || period > MAX_PERIOD_FS) {
		log_warn("hpet: at %#lx ignored: period of %u fs\n", acpi.hpet->address, period);
		return false;
	}
	hpet_put(REG_CONFIG, 0);
	for (u32 n = 0; n < CAPS_TIMERS(caps); n++)
		hpet_put(REG_TIMER(n), 0);
	hpet_put(REG_CONFIG, CONFIG_ENABLE);
	u32 first = hpet_get(REG_COUNTER);
	for (u32 i = 0; i < 1000; i++) {
		if (hpet_get(REG_COUNTER) != first) {
			setup_source(period);
			return true;
		}
	}
	log_warn("hpet: at %#lx ignored: it does not count\n", acpi.hpet->address);
	return false;
}

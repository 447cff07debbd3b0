/*
 * 8254 (Intel 8254 data sheet). Three 16-bit counters at 1193182 Hz that count down.
 *
 * Channel 0 raises line 0: as clock event in mode 0 (interrupt on terminal count), loaded anew for
 * each deadline. Channel 2 is free for us: as clock source in mode 2 (rate generator) over all
 * 65536 values, so that the two uses do not disturb each other. Its gate is bit 0 of port 0x61;
 * QEMU's microvm has no such port, but lets the counter run all the same. Its output, which that
 * port would show, is not used. The source wraps every 54.9 ms; time/clock.c extends it.
 *
 * Lock: pit_lock makes latch and two reads one access. Channel 0 has flip-flops of its own and is
 * written with interrupts off by the one CPU that it interrupts.
 */
#include "pit.h"

#include "arch/api/cpu.h"
#include "arch/api/io.h"
#include "arch/api/upcall.h"
#include "irqchip.h"
#include "lib/err.h"
#include "sync/spinlock.h"

#define PIT_HZ        1193182ull
#define PIT_CHANNEL0  0x40
#define PIT_CHANNEL2  0x42
#define PIT_COMMAND   0x43
#define PORT_SYSTEM_B 0x61

#define SYSTEM_B_GATE2   (1u << 0)
#define SYSTEM_B_SPEAKER (1u << 1)

#define COMMAND_CH0_ONESHOT 0x30 /* low then high byte, mode 0 */
#define COMMAND_CH2_RATE    0xb4 /* low then high byte, mode 2 */
#define COMMAND_CH2_LATCH   0x80

#define PIT_LINE 0

static spinlock_t pit_lock = SPINLOCK_INIT("pit", RANK_NONE);

/* Up, modulo 2^16. A count of 0 stands for 65536. */
static u64 pit_read(void)
{
	u64 flags = spin_lock_irqsave(&pit_lock);

	outb(PIT_COMMAND, COMMAND_CH2_LATCH);
	u32 count = inb(PIT_CHANNEL2);
	count |= (u32)inb(PIT_CHANNEL2) << 8;
	spin_unlock_irqrestore(&pit_lock, flags);
	return (0x10000 - count) & 0xffff;
}

struct clock_source pit_source = {
	.name = "pit",
	.read = pit_read,
	.mask = 0xffff,
	.rating = 100,
	.trusted = true,
	.exact = true,
};

static int pit_start(void)
{
	if (!pit_source.hz)
		return -ENODEV;
	outb(PIT_COMMAND, COMMAND_CH0_ONESHOT); /* output low, no count: quiet */
	return irqchip_claim(PIT_LINE, timer_interrupt);
}

static void pit_arm(u64 delta_ns)
{
	u64 ticks = clock_scale(delta_ns, clock_factor(PIT_HZ, NSEC_PER_SEC)) + 1;

	outb(PIT_COMMAND, COMMAND_CH0_ONESHOT);
	outb(PIT_CHANNEL0, (u8)ticks);
	outb(PIT_CHANNEL0, (u8)(ticks >> 8));
}

static void pit_stop(void)
{
	outb(PIT_COMMAND, COMMAND_CH0_ONESHOT);
}

struct clock_event pit_event = {
	.name = "pit",
	.arm = pit_arm,
	.stop = pit_stop,
	.start = pit_start,
	.min_delta_ns = 3000,
	.max_delta_ns = 50 * NSEC_PER_MSEC,
	.rating = 100,
	.per_cpu = false,
};

bool pit_probe(void)
{
	outb(PORT_SYSTEM_B, (u8)((inb(PORT_SYSTEM_B) & ~SYSTEM_B_SPEAKER) | SYSTEM_B_GATE2));
	outb(PIT_COMMAND, COMMAND_CH2_RATE);
	outb(PIT_CHANNEL2, 0);
	outb(PIT_CHANNEL2, 0);

	/* Absent ports read as ones for ever. A tick takes under a microsecond, a read longer. */
	u64 first = pit_read();
	for (u32 i = 0; i < 1000; i++) {
		if (pit_read() != first) {
			pit_source.hz = PIT_HZ;
			return true;
		}
	}
	return false;
}

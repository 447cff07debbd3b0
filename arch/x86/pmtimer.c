/*
 * The power management timer (ACPI 6.4, 4.8.3.3): 24 or 32 bits that count up at 3.579545 MHz. It
 * is the second clock for the TSC on machines without HPET: finer and cheaper to read than
 * the 8254. It raises no interrupts here.
 */
#include "pmtimer.h"

#include "acpi.h"
#include "arch/api/io.h"

#define PMTIMER_HZ 3579545ull

static u16 port; /* [I] */

/* The upper byte of a 24-bit timer need not be zero: the mask cuts it. */
static u64 pmtimer_read(void)
{
	return inl(port) & pmtimer_source.mask;
}

struct clock_source pmtimer_source = {
	.name = "acpi-pm",
	.read = pmtimer_read,
	.mask = 0xffffff,
	.rating = 200,
	.trusted = true,
	.exact = true,
};

bool pmtimer_probe(void)
{
	if (!acpi.fadt || !acpi.fadt->pm_timer.address ||
	    acpi.fadt->pm_timer.space != ACPI_SPACE_IO || acpi.fadt->pm_timer.address > 0xffff)
		return false;
	port = (u16)acpi.fadt->pm_timer.address;
	if (acpi.fadt->pm_timer_32)
		pmtimer_source.mask = 0xffffffff;
	u64 first = pmtimer_read();
	for (u32 i = 0; i < 1000; i++) {
		if (pmtimer_read() != first) {
			pmtimer_source.hz = PMTIMER_HZ;
			return true;
		}
	}
	return false;
}

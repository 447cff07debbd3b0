/*
 * The time-stamp counter, its calibration, and the choice of clocks that the machine offers.
 *
 * Calibration takes four samples, 250 us apart: the TSC around one read of a reference (HPET, ACPI
 * timer or 8254, the first present) and the LAPIC timer with it. An emulator may lose the CPU at
 * any moment, so each sample is the tightest of a few tries, and of all pairs of samples the one
 * with the smallest sum of brackets for its length gives the frequencies. That is good to some
 * 100 ppm; time/clock.c refines the TSC's while the kernel runs.
 *
 * A frequency that CPUID states is preferred when the measurement agrees with it to 1 %: an
 * emulator may copy the leaves of a CPU whose clock it does not keep.
 *
 * Runs once at boot, on one CPU; everything is immutable afterwards.
 */
#include "tsc.h"

#include "arch/api/cpu.h"
#include "arch/api/io.h"
#include "arch/api/irq.h"
#include "cpuid.h"
#include "hpet.h"
#include "lapic.h"
#include "lib/cmdline.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "pit.h"
#include "pmtimer.h"

#define MSR_TSC       0x10
#define SAMPLES       4
#define SAMPLE_GAP_US 250
#define SAMPLE_TRIES  4
#define ASSUMED_HZ    1000000000ul

/* Not before earlier loads: a time read after another CPU's message is not before the message's. */
static u64 tsc_read(void)
{
	u32 lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (u64)hi << 32 | lo;
}

struct clock_source tsc_source = {
	.name = "tsc",
	.read = tsc_read,
	.mask = UINT64_MAX,
};

CMDLINE_OPTION("tsc.skew", skew_option,
	       "N: sets the other CPUs' time-stamp counters N ahead (tests)");

void tsc_skew_for_test(void)
{
	u64 skew = cmdline_u64(&skew_option, 0);

	if (skew)
		wrmsr(MSR_TSC, tsc_read() + skew);
}

/* ---- calibration ---- */

struct sample {
	u64 tsc, ref,
		bracket; /* the TSC in the middle, and how long the reads took, in its ticks */
	u32 lapic;       /* counts down */
};

struct calibration {
	u64 tsc_hz, lapic_hz; /* 0: could not be measured */
	u64 error_ppm;        /* bound by the brackets and the reference's step */
};

static struct sample take_sample(const struct clock_source *ref, bool with_lapic)
{
	struct sample best = { .bracket = UINT64_MAX };

	for (u32 i = 0; i < SAMPLE_TRIES; i++) {
		u64 before = cpu_cycles();
		u32 lapic = with_lapic ? lapic_timer_count() : 0;
		u64 at = ref->read();
		u64 after = cpu_cycles();

		if (after - before < best.bracket)
			best = (struct sample){ before + (after - before) / 2, at, after - before,
						lapic };
	}
	return best;
}

/* Waits until the reference has moved on by `ticks`. False if it has stopped. */
static bool wait_ticks(const struct clock_source *ref, u64 from, u64 ticks)
{
	for (u32 i = 0; i < 10000000; i++)
		if (((ref->read() - from) & ref->mask) >= ticks)
			return true;
	return false;
}

/* Frequencies from a pair of samples. */
static struct calibration evaluate(const struct clock_source *ref, const struct sample *a,
				   const struct sample *b)
{
	u64 ref_ticks = (b->ref - a->ref) & ref->mask;
	u64 tsc_ticks = b->tsc - a->tsc;
	struct calibration c = { .error_ppm = UINT64_MAX };

	if (!ref_ticks || !tsc_ticks)
		return c;
	u64 factor = clock_factor(ref->hz, ref_ticks); /* windows per second */
	c.tsc_hz = clock_scale(tsc_ticks, factor);
	c.lapic_hz = clock_scale(a->lapic - b->lapic, factor);
	c.error_ppm = (a->bracket + b->bracket) / 2 * 1000000 / tsc_ticks + 1000000 / ref_ticks;
	return c;
}

static struct calibration calibrate(const struct clock_source *ref)
{
	u64 gap = ref->hz * SAMPLE_GAP_US / 1000000;
	bool with_lapic = lapic_present();
	struct calibration best = { .error_ppm = UINT64_MAX };
	struct sample s[SAMPLES];

	if (with_lapic)
		lapic_timer_run_free();
	for (u32 i = 0; i < SAMPLES; i++) {
		if (i > 0 && !wait_ticks(ref, s[i - 1].ref, gap))
			return best;
		s[i] = take_sample(ref, with_lapic);
	}
	for (u32 i = 0; i < SAMPLES; i++) {
		for (u32 j = i + 1; j < SAMPLES; j++) {
			struct calibration c = evaluate(ref, &s[i], &s[j]);

			if (c.error_ppm < best.error_ppm)
				best = c;
		}
	}
	return best;
}

/* ---- what CPUID says ---- */

/* Leaf 0x15: the crystal and its ratio to the TSC; a hypervisor's leaf 0x40000010: kHz. Or 0. */
static u64 stated_hz(void)
{
	u32 r[4];

	if (cpu_has.hypervisor) {
		cpuid(0x40000000u, 0, r);
		if (r[0] >= 0x40000010u && r[0] < 0x40010000u) {
			cpuid(0x40000010u, 0, r);
			if (r[0])
				return (u64)r[0] * 1000;
		}
	}
	if (cpu_has.max_leaf >= 0x15) {
		cpuid(0x15, 0, r);
		if (r[0] && r[1] && r[2])
			return (u64)r[2] * r[1] / r[0];
	}
	return 0;
}

/* Leaf 0x16: the nominal frequency in MHz, near the TSC's on the CPUs that have it. */
static u64 nominal_hz(void)
{
	u32 r[4];

	if (cpu_has.max_leaf < 0x16)
		return 0;
	cpuid(0x16, 0, r);
	return (u64)(r[0] & 0xffff) * 1000000;
}

static bool agrees(u64 a, u64 b)
{
	return (a > b ? a - b : b - a) < b / 100;
}

/* ---- the choice ---- */

static const struct clock_source *sources[5]; /* [I] */
static const struct clock_event *events[5];   /* [I] */

static const struct clock_source *best_reference(void)
{
	if (hpet_source.hz)
		return &hpet_source;
	if (pmtimer_source.hz)
		return &pmtimer_source;
	return pit_source.hz ? &pit_source : NULL;
}

/* Without any second clock: CPUID's word, or an assumption. */
static u64 guess_tsc(u64 stated)
{
	u64 nominal = nominal_hz();

	if (stated) {
		log_info("tsc: %lu.%03lu MHz, as CPUID says\n", stated / 1000000,
			 stated / 1000 % 1000);
		return stated;
	}
	log_warn("tsc: no clock to calibrate with: assuming %lu MHz\n",
		 (nominal ? nominal : ASSUMED_HZ) / 1000000);
	return nominal ? nominal : ASSUMED_HZ;
}

static void setup_tsc(void)
{
	const struct clock_source *ref = best_reference();
	struct calibration c = { 0 };
	u64 stated = stated_hz();

	if (ref)
		c = calibrate(ref);
	if (!c.tsc_hz) {
		/* The TSC itself is then the measure of the LAPIC timer. */
		tsc_source.hz = guess_tsc(stated);
		c = calibrate(&tsc_source);
	} else {
		tsc_source.exact = stated && agrees(c.tsc_hz, stated);
		tsc_source.hz = tsc_source.exact ? stated : c.tsc_hz;
		log_info("tsc: %lu.%03lu MHz (+-%lu ppm by %s)%s%s\n", tsc_source.hz / 1000000,
			 tsc_source.hz / 1000 % 1000, c.error_ppm, ref->name,
			 tsc_source.exact ? ", as CPUID says" : "",
			 cpu_has.tsc_invariant ? ", invariant" : "");
	}
	tsc_source.trusted = cpu_has.tsc_invariant;
	tsc_source.rating = cpu_has.tsc_invariant ? 400 : 300;
	if (lapic_present() && c.lapic_hz) {
		log_info("lapic: timer %lu.%03lu MHz\n", c.lapic_hz / 1000000,
			 c.lapic_hz / 1000 % 1000);
		lapic_timer_set_hz(c.lapic_hz);
		lapic_deadline_set_hz(tsc_source.hz);
	}
}

void clock_arch_init(void)
{
	u32 n = 0;

	hpet_probe();
	pmtimer_probe();
	pit_probe();
	setup_tsc();

	sources[n++] = &tsc_source;
	if (hpet_source.hz)
		sources[n++] = &hpet_source;
	if (pmtimer_source.hz)
		sources[n++] = &pmtimer_source;
	if (pit_source.hz)
		sources[n++] = &pit_source;

	n = 0;
	if (lapic_present() && cpu_has.tsc_deadline)
		events[n++] = &tsc_deadline_event;
	if (lapic_present() && lapic_event.max_delta_ns)
		events[n++] = &lapic_event;
	if (hpet_source.hz)
		events[n++] = &hpet_event;
	if (pit_source.hz)
		events[n++] = &pit_event;
}

const struct clock_source *const *clock_arch_sources(void)
{
	return sources;
}

const struct clock_event *const *clock_arch_events(void)
{
	return events;
}

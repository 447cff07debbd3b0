/*
 * The monotonic clock, wall time, and the watch over a clock that is not trusted.
 *
 * ns = base.ns + (count - base.count) * factor. The base is kept twice behind a sequence number
 * whose lowest bit says which copy is valid: the writer changes the other one. A reader therefore
 * never waits, not even an NMI that has interrupted the writer; it reads again if the number has
 * changed. A counter of 64 bits never needs a new base.
 *
 * A narrower counter (the 8254: 16 bits, 54.9 ms) is extended at each reading under narrow.lock,
 * and a timer reads it often enough. Whoever finds the lock taken (another CPU, an NMI) gets
 * the time published last, which is not in the future. A counter that was not read in time loses
 * time; it does not go back.
 *
 * The watch. Every WATCH_NS the clock is compared with a second one, over the stretch since the
 * last comparison. Reading two clocks takes time, and more of it in an emulator that loses its CPU
 * in between: the clock is read before and after the other, samples with a wide bracket are
 * thrown away, and half of both brackets counts as noise. The first windows correct the
 * measured frequency; after that WATCH_STRIKES more failures than successes demote the source.
 * The second clock may wrap any number of times within a window: only the difference between what
 * it shows and what it should show counts, and that is taken modulo its width.
 *
 * Never back: a new base starts MARGIN_NS after the old one's last reading, which covers a reader
 * that has used the old one a little later than the writer.
 *
 * Locks: narrow.lock, taken by trylock only. The base is written by clock_init and by the timers'
 * callbacks on the first CPU, interrupts off: one writer at any time.
 */
#include "time/clock.h"

#include "arch/api/clock.h"
#include "arch/api/cpu.h"
#include "lib/atomic.h"
#include "lib/cmdline.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "sync/spinlock.h"
#include "time/timer.h"

CMDLINE_OPTION("timer", timer_option, "pit|lapic|hpet|tsc-deadline: the clock event");
CMDLINE_OPTION("clocksource", source_option, "tsc|hpet|acpi-pm|pit: the clock source");

#define MARGIN_NS      1000
#define WATCH_NS       (500 * NSEC_PER_MSEC)
#define WATCH_FIRST_NS (100 * NSEC_PER_MSEC)
#define WATCH_TRIES    5
#define WATCH_MAX_NS   (10 * NSEC_PER_SEC) /* a longer window says more about a debugger */
#define WATCH_PPM      500
#define WATCH_STRIKES  4
#define BRACKET_MAX_NS (50 * NSEC_PER_USEC)
#define REFINE_WINDOWS 2
#define REFINE_NOISE   10000 /* a window refines if its noise is below this part of it */

struct clock_base {
	const struct clock_source *source; /* NULL: no clock yet, the time is 0 */
	u64 count, ns;
	u64 factor; /* ns per count, 32.32 */
};

static struct {
	u32 seq;
	struct clock_base copy[2];
} base;

static struct {
	spinlock_t lock;
	u64 raw;       /* [lock] the counter at the last reading */
	u64 count;     /* [lock] extended, since the base was set */
	atomic64_t ns; /* the time at the last reading */
} narrow = { .lock = SPINLOCK_INIT("clock", RANK_NONE) };

static const struct clock_event *active_event; /* [I] but for the watch */
static u64 tsc_hz, tsc_factor;                 /* written by clock_init and the watch */
static atomic64_t realtime_offset;             /* ns from the monotonic clock to 1970's */

/* ---- reading ---- */

static bool is_narrow(const struct clock_source *s)
{
	return s->mask != UINT64_MAX;
}

static u64 read_narrow(const struct clock_base *b)
{
	u64 flags = irq_save();
	u64 ns;

	if (spin_trylock(&narrow.lock)) {
		u64 raw = b->source->read();

		narrow.count += (raw - narrow.raw) & b->source->mask;
		narrow.raw = raw;
		ns = b->ns + clock_scale(narrow.count, b->factor);
		atomic_store(&narrow.ns, ns);
		spin_unlock(&narrow.lock);
	} else {
		ns = atomic_load(&narrow.ns);
	}
	irq_restore(flags);
	return ns;
}

static u64 base_to_ns(const struct clock_base *b, u64 count)
{
	s64 delta = (s64)(count - b->count);

	/* Another CPU's counter may be a little behind the one that set the base. */
	return b->ns + (likely(delta > 0) ? clock_scale((u64)delta, b->factor) : 0);
}

/* The highest time that any CPU has read: see clock_tsc_out_of_step. */
static bool hold_back; /* [I] once programs run */
static atomic64_t latest;

static u64 held_back(u64 ns)
{
	u64 seen = atomic_load(&latest);

	while (ns > seen)
		if (atomic_cas(&latest, &seen, ns))
			return ns;
	return seen;
}

u64 clock_ns(void)
{
	struct clock_base b;
	u64 count = 0;
	u32 seq;

	do {
		seq = load_acquire(&base.seq);
		b = base.copy[seq & 1];
		if (likely(b.source && !is_narrow(b.source)))
			count = b.source->read();
		acquire_barrier();
	} while (unlikely(READ_ONCE(base.seq) != seq));
	if (unlikely(!b.source))
		return 0;
	if (unlikely(hold_back))
		return held_back(base_to_ns(&b, count));
	return is_narrow(b.source) ? read_narrow(&b) : base_to_ns(&b, count);
}

u64 clock_realtime_ns(void)
{
	return clock_ns() + atomic_load(&realtime_offset);
}

void clock_set_realtime_ns(u64 ns)
{
	atomic_store(&realtime_offset, ns - clock_ns());
}

u64 clock_cycles_to_ns(u64 tsc_cycles)
{
	return clock_scale(tsc_cycles, READ_ONCE(tsc_factor));
}

u64 clock_tsc_hz(void)
{
	return READ_ONCE(tsc_hz);
}

const char *clock_source_name(void)
{
	const struct clock_source *s = READ_ONCE(base.copy[0].source);

	return s ? s->name : "none";
}

const char *clock_event_name(void)
{
	return active_event ? active_event->name : "none";
}

/* ---- changing the base ---- */

static void publish(const struct clock_base *b)
{
	base.copy[1] = base.copy[0]; /* readers are at copy 0 */
	store_release(&base.seq, base.seq + 1);
	release_barrier();
	base.copy[0] = *b;
	store_release(&base.seq, base.seq + 1);
}

/* From now on time comes from source s at `factor`. Interrupts off. */
static void rebase(const struct clock_source *s, u64 factor)
{
	struct clock_base b = { .source = s, .factor = factor };

	b.ns = base.copy[0].source ? clock_ns() + MARGIN_NS : 0;
	b.count = s->read();
	if (is_narrow(s)) {
		narrow.raw = b.count;
		narrow.count = 0;
		atomic_store(&narrow.ns, b.ns);
	}
	publish(&b);
}

/* Reads a narrow counter before it wraps. */
static struct timer keep_alive;

static void keep_alive_tick(struct timer *t)
{
	const struct clock_source *s = base.copy[0].source;
	u64 wrap_ns = clock_scale(s->mask, base.copy[0].factor);

	if (is_narrow(s))
		timer_start(t, clock_ns() + MIN(wrap_ns / 3, NSEC_PER_SEC));
}

/* ---- the watch ---- */

struct watch_sample {
	u64 count, ref; /* of the clock, in the middle of its two readings; of the other */
	u64 bracket;    /* between the two readings, ns */
};

static struct {
	struct timer timer;
	const struct clock_source *ref;
	struct watch_sample last;
	bool has_last;
	u32 refine_left, strikes;
	atomic64_t failures;
} watch;

u64 clock_watch_failures(void)
{
	return atomic_load(&watch.failures);
}

/* False if no try was tight enough. */
static bool watch_take_sample(struct watch_sample *out)
{
	const struct clock_base *b = &base.copy[0];

	out->bracket = UINT64_MAX;
	for (u32 i = 0; i < WATCH_TRIES; i++) {
		u64 before = b->source->read();
		u64 ref = watch.ref->read();
		u64 after = b->source->read();
		u64 bracket = clock_scale(after - before, b->factor);

		if (bracket < out->bracket)
			*out = (struct watch_sample){ before + (after - before) / 2, ref, bracket };
	}
	return out->bracket <= BRACKET_MAX_NS;
}

/* x modulo the width of mask, as a signed number around 0. */
static s64 around_zero(u64 x, u64 mask)
{
	x &= mask;
	return x > mask / 2 ? (s64)(x - mask - 1) : (s64)x;
}

struct watch_window {
	u64 ns;    /* by the clock */
	s64 error; /* ns by which the other clock is ahead */
	u64 noise; /* ns by which it may only seem so */
};

static struct watch_window watch_compare(const struct watch_sample *a, const struct watch_sample *b)
{
	const struct clock_source *ref = watch.ref;
	u64 tick_factor = clock_factor(NSEC_PER_SEC, ref->hz);
	struct watch_window w = { .ns = clock_scale(b->count - a->count, base.copy[0].factor) };
	u64 expected = clock_scale(w.ns, clock_factor(ref->hz, NSEC_PER_SEC));
	s64 ticks = around_zero(b->ref - a->ref - expected, ref->mask);
	u64 error = clock_scale((u64)(ticks < 0 ? -ticks : ticks), tick_factor);

	w.error = ticks < 0 ? -(s64)error : (s64)error;
	w.noise = (a->bracket + b->bracket) / 2 + clock_scale(2, tick_factor);
	return w;
}

static void set_tsc_factor(u64 hz, u64 factor)
{
	WRITE_ONCE(tsc_hz, hz);
	WRITE_ONCE(tsc_factor, factor);
}

/* Corrects the frequency by what a window has shown. */
static void watch_refine(const struct watch_window *w)
{
	const struct clock_source *s = base.copy[0].source;
	u64 factor = base.copy[0].factor;
	u64 size = (u64)(w->error < 0 ? -w->error : w->error);
	u64 ratio = clock_factor(size, w->ns);
	u64 change = clock_scale(factor, ratio), hz_change = clock_scale(tsc_hz, ratio);

	factor = w->error < 0 ? factor - change : factor + change;
	rebase(s, factor);
	if (strcmp(s->name, "tsc") == 0)
		set_tsc_factor(w->error < 0 ? tsc_hz + hz_change : tsc_hz - hz_change, factor);
	log_debug("clock: %s corrected by %s%lu ns in %lu\n", s->name, w->error < 0 ? "-" : "+",
		  size, w->ns);
}

/* The best of the machine's events but `not`, started. */
static const struct clock_event *start_event(const char * not )
{
	for (const struct clock_event *const *e = clock_arch_events(); *e; e++)
		if ((!not || strcmp((*e)->name, not ) != 0) && timer_set_event(*e) == 0)
			return *e;
	return NULL;
}

static void watch_demote(const struct watch_window *w)
{
	const struct clock_source *bad = base.copy[0].source;

	log_warn("clock: %s is off by %ld ns in %lu against %s, which takes over\n", bad->name,
		 w->error, w->ns, watch.ref->name);
	atomic_fetch_add(&watch.failures, 1ul);
	rebase(watch.ref, clock_factor(NSEC_PER_SEC, watch.ref->hz));
	keep_alive_tick(&keep_alive);
	if (active_event && strcmp(active_event->name, "tsc-deadline") == 0) {
		const struct clock_event *other = start_event(active_event->name);

		active_event = other ? other : active_event;
		if (other)
			timer_change_events(other);
	}
}

/* Judges a window. False: the watch has ended. */
static bool watch_judge(const struct watch_window *w)
{
	const struct clock_source *s = base.copy[0].source;
	u64 size = (u64)(w->error < 0 ? -w->error : w->error);

	if (w->ns == 0 || w->ns > WATCH_MAX_NS)
		return true;
	if (watch.refine_left && size < w->ns / 100) {
		if (w->noise < w->ns / REFINE_NOISE) {
			watch.refine_left--;
			watch_refine(w);
		}
		return watch.refine_left || !s->trusted;
	}
	u64 drift = size > w->noise ? size - w->noise : 0;
	if (drift > w->ns * WATCH_PPM / 1000000)
		watch.strikes++;
	else if (watch.strikes)
		watch.strikes--;
	if (watch.strikes < WATCH_STRIKES)
		return true;
	watch_demote(w);
	return false;
}

static void watch_tick(struct timer *t)
{
	struct watch_sample now;
	bool go_on = true;

	if (watch_take_sample(&now)) {
		if (watch.has_last) {
			struct watch_window w = watch_compare(&watch.last, &now);

			go_on = watch_judge(&w);
		}
		watch.last = now;
		watch.has_last = true;
	}
	if (go_on)
		timer_start(t, clock_ns() + (watch.refine_left == REFINE_WINDOWS ? WATCH_FIRST_NS :
										   WATCH_NS));
}

static void watch_start(const struct clock_source *s)
{
	const struct clock_source *const *p = clock_arch_sources();

	if (s->trusted && s->exact)
		return;
	for (; *p; p++)
		if (*p != s && (*p)->trusted && (*p)->hz)
			break;
	watch.ref = *p;
	if (!watch.ref)
		return;
	watch.refine_left = s->exact ? 0 : REFINE_WINDOWS;
	timer_init(&watch.timer, watch_tick);
	watch.has_last = watch_take_sample(&watch.last);
	timer_start(&watch.timer, clock_ns() + WATCH_FIRST_NS);
}

/* ---- several CPUs ---- */

/*
 * The time-stamp counters of the CPUs are not in step. Another counter takes over, one for all CPUs.
 * Without any, time never goes back all the same: `latest` holds each reading to the highest.
 */

static const struct clock_source *best_shared_source(void)
{
	const struct clock_source *best = NULL;

	for (const struct clock_source *const *s = clock_arch_sources(); *s; s++)
		if ((*s)->hz && strcmp((*s)->name, "tsc") != 0 &&
		    (!best || (*s)->rating > best->rating))
			best = *s;
	return best;
}

void clock_tsc_out_of_step(void)
{
	u64 flags = irq_save();
	const struct clock_source *s = best_shared_source();

	if (strcmp(base.copy[0].source->name, "tsc") == 0) {
		if (s) {
			rebase(s, clock_factor(NSEC_PER_SEC, s->hz));
			keep_alive_tick(&keep_alive);
			timer_cancel(&watch.timer);
		} else {
			hold_back = true;
		}
		log_warn("clock: %s\n", s ? s->name : "tsc, held to the highest of all CPUs");
	}
	irq_restore(flags);
}

/* ---- choosing ---- */

static const struct clock_source *choose_source(void)
{
	const struct clock_source *const *list = clock_arch_sources();
	const struct clock_source *best = NULL;

	for (; *list; list++) {
		const struct clock_source *s = *list;

		if (!s->hz)
			continue;
		if (cmdline_is(&source_option, s->name))
			return s;
		if (!best || s->rating > best->rating)
			best = s;
	}
	if (source_option.value)
		log_warn("clock: clocksource=%s is not available\n", source_option.value);
	return best;
}

static const struct clock_event *choose_event(void)
{
	for (const struct clock_event *const *e = clock_arch_events(); *e; e++)
		if (cmdline_is(&timer_option, (*e)->name) && timer_set_event(*e) == 0)
			return *e;
	if (timer_option.value)
		log_warn("clock: timer=%s is not available\n", timer_option.value);
	return start_event(NULL);
}

void clock_init_cpu(void)
{
	if (active_event->per_cpu ? timer_set_event(active_event) : timer_set_broadcast())
		panic("CPU %u has no clock event", cpu_id());
}

void clock_init(void)
{
	u64 flags = irq_save();

	for (const struct clock_source *const *s = clock_arch_sources(); *s; s++)
		if (strcmp((*s)->name, "tsc") == 0 && (*s)->hz)
			set_tsc_factor((*s)->hz, clock_factor(NSEC_PER_SEC, (*s)->hz));

	const struct clock_source *s = choose_source();
	if (!s)
		panic("no clock source");
	rebase(s, clock_factor(NSEC_PER_SEC, s->hz));
	atomic_store(&realtime_offset, clock_arch_wall_seconds() * NSEC_PER_SEC);
	active_event = choose_event();
	if (!active_event)
		panic("no clock event: this machine cannot preempt");
	timer_init(&keep_alive, keep_alive_tick);
	keep_alive_tick(&keep_alive);
	watch_start(s);
	log_info("clock: source %s%s%s, event %s\n", s->name, watch.ref ? ", checked against " : "",
		 watch.ref ? watch.ref->name : "", active_event->name);
	irq_restore(flags);
}

/*
 * Threads, preemption, sleeping and waking, mutexes, the slice. What must be proved by counting is
 * proved by the scheduler's own counters, read before and after.
 */
#include "arch/api/cpu.h"
#include "init/ktest.h"
#include "lib/cmdline.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "sched/mutex.h"
#include "sched/sched.h"
#include "time/clock.h"
#include "time/timer.h"

/* What these tests count holds for threads of one CPU; test_smp.c has the others. */
#define thread_create(...) thread_create_on(cpu_id(), __VA_ARGS__)

static int give_back(void *arg)
{
	return (int)(u64)arg;
}

KTEST(thread_exit_status_reaches_join)
{
	for (u64 i = 0; i < 100; i++) {
		struct thread *t =
			thread_create("status", give_back, (void *)i, SCHED_LEVEL_NORMAL);

		ktest_check(t);
		ktest_check_eq(thread_join(t), i);
	}
}

KTEST(threads_leave_nothing_behind)
{
	struct sched_stats before, after;

	sched_stats(&before);
	for (int round = 0; round < 20; round++) {
		struct thread *t[16];

		for (u64 i = 0; i < 16; i++) {
			t[i] = thread_create("many", give_back, (void *)i, SCHED_LEVEL_NORMAL);
			ktest_check(t[i]);
		}
		for (u64 i = 0; i < 16; i++)
			ktest_check_eq(thread_join(t[i]), i);
	}
	/* A thread is joined when it says that it is dead; on another CPU it may still be on its way out. */
	u64 end = clock_ns() + NSEC_PER_SEC;
	do
		sched_stats(&after);
	while (after.threads != before.threads && clock_ns() < end);
	ktest_check_eq(before.threads, after.threads);
}

/* ---- yield ------------------------------------------------------------------------------------- */

static u32 turn_of, turns_wrong;

static int take_turns(void *arg)
{
	u32 me = (u32)(u64)arg;

	for (int i = 0; i < 1000; i++) {
		if (turn_of != me)
			turns_wrong++;
		turn_of = (me + 1) % 3;
		sched_yield();
	}
	return 0;
}

KTEST(three_threads_alternate_by_yield)
{
	struct thread *t[3];

	turn_of = 0;
	turns_wrong = 0;
	preempt_disable(); /* all three enter the ring before the first runs */
	for (u64 i = 0; i < 3; i++) {
		t[i] = thread_create("turns", take_turns, (void *)i, 60);
		sched_set_level(t[i], 60, true); /* no slice: yields alone decide */
	}
	preempt_enable();
	for (u64 i = 0; i < 3; i++)
		thread_join(t[i]);
	ktest_check_eq(turns_wrong, 0);
}

KTEST(yield_alone_does_not_switch)
{
	struct thread *me = current();
	u64 before = me->switches;

	sched_set_level(me, 1, true); /* nobody shares this level */
	for (int i = 0; i < 1000; i++)
		sched_yield();
	u64 after = me->switches;
	sched_set_level(me, SCHED_LEVEL_NORMAL, false);
	ktest_check_eq(before, after);
}

/* ---- preemption by the timer --------------------------------------------------------------------- */

CMDLINE_OPTION("ktest.exact", exact_option, "time is simulated exactly (-icount): judge loops too");

static volatile bool counters_stop;
static volatile u64 counter[3];

static int count_for_ever(void *arg)
{
	u64 i = (u64)arg;

	while (!counters_stop)
		counter[i]++;
	return 0;
}

/* |a - b| in thousandths of b. */
static u64 deviation(u64 a, u64 b)
{
	u64 d = a > b ? a - b : b - a;

	return b ? d * 1000 / b : 1000;
}

static u64 ticks_of(struct thread *const t[3])
{
	return t[0]->kernel_ticks + t[1]->kernel_ticks + t[2]->kernel_ticks;
}

/* How far the one of three that is farthest from its third of their sum is away, in thousandths. */
static u64 farthest_from_third(const u64 v[3])
{
	u64 sum = v[0] + v[1] + v[2], far = 0;

	for (u32 i = 0; i < 3; i++)
		far = MAX(far, deviation(v[i] * 3, sum));
	return far;
}

static void look_at_counters(struct thread *const t[3], u64 cycles[3], u64 loops[3])
{
	for (u64 i = 0; i < 3; i++) {
		cycles[i] = READ_ONCE(t[i]->run_cycles);
		loops[i] = counter[i];
	}
}

/*
 * A, B and C only count, without ever yielding: each gets its third of 1,000 ticks (one second
 * where no ticks are lost), and each switch between them was forced by the timer. A third is judged
 * by the cycles that the scheduler charged. The loops are judged as well where time is simulated
 * instruction by instruction (option ktest.exact); elsewhere the host takes the whole machine
 * away in the middle of a request now and then, which the scheduler makes good a little later: there the
 * test goes on until it has, and the loops are printed only.
 */
KTEST(endless_loops_get_a_third_each)
{
	struct thread *t[3];
	struct sched_stats before, after;
	u64 cycles[3], loops[3], sleeps = 0;

	counters_stop = false;
	sched_set_level(current(), 50, true); /* above the counters, to stop them in time */
	for (u64 i = 0; i < 3; i++) {
		static const char *const name[3] = { "A", "B", "C" };

		counter[i] = 0;
		t[i] = thread_create_on(0, name[i], count_for_ever, (void *)i, SCHED_LEVEL_NORMAL);
	}
	sched_stats(&before);
	u64 start = clock_ns();
	do {
		sched_sleep_until(clock_ns() + 50 * NSEC_PER_MSEC);
		sleeps++;
		look_at_counters(t, cycles, loops);
		sched_stats(&after);
		/* A host that takes the CPU away for more than a slice costs switches, not time. */
	} while ((ticks_of(t) < 1000 || after.preemptions - before.preemptions < 200 ||
		  farthest_from_third(cycles) > 20) &&
		 clock_ns() - start < 40 * NSEC_PER_SEC);
	counters_stop = true;
	for (u64 i = 0; i < 3; i++)
		thread_join(t[i]);
	sched_set_level(current(), SCHED_LEVEL_NORMAL, false);

	u64 switches = after.switches - before.switches;
	u64 forced = after.preemptions - before.preemptions;
	for (u64 i = 0; i < 3; i++)
		log_info("# thread %c: %lu cycles, %lu loops\n", "ABC"[i], cycles[i], loops[i]);
	log_info("# %lu switches, %lu forced, timer %s\n", switches, forced, clock_event_name());
	/* The others are this thread's own: it went to sleep. */
	if (nr_cpus == 1)
		ktest_check(switches - forced <= sleeps);
	ktest_check(forced >= 200);
	ktest_check(farthest_from_third(cycles) <= 20);
	if (exact_option.value) {
		ktest_check(sleeps <= 25);
		ktest_check(farthest_from_third(loops) <= 20);
	}
}

KTEST(spinlock_holder_is_not_preempted)
{
	static spinlock_t lock = SPINLOCK_INIT("ktest", RANK_PROC);
	struct thread *me = current(), *t;
	u64 ticks;

	counters_stop = false;
	t = thread_create("rival", count_for_ever, NULL, SCHED_LEVEL_NORMAL);
	spin_lock(&lock);
	u64 before = me->switches;
	u64 end = clock_ns() + 5 * NSEC_PER_SEC;
	u64 ticks_before = timer_interrupts();
	do {
		ticks = timer_interrupts() - ticks_before;
	} while (ticks < 20 && clock_ns() < end);
	u64 after = me->switches;
	spin_unlock(&lock);
	counters_stop = true;
	thread_join(t);
	ktest_check(ticks >= 20); /* the timer did come in that time */
	ktest_check_eq(before, after);
}

KTEST(mutex_holder_is_preempted)
{
	static struct mutex m = MUTEX_INIT(m);
	struct thread *me = current(), *t;

	counters_stop = false;
	counter[0] = 0;
	t = thread_create_on(cpu_id(), "rival", count_for_ever, NULL, SCHED_LEVEL_NORMAL);
	mutex_lock(&m);
	u64 before = me->switches_forced;
	u64 end = clock_ns() + 5 * NSEC_PER_SEC;
	while ((me->switches_forced == before || !counter[0]) && clock_ns() < end)
		;
	u64 after = me->switches_forced;
	mutex_unlock(&m);
	counters_stop = true;
	thread_join(t);
	ktest_check(after > before);
	ktest_check(counter[0] > 0);
}

static volatile bool high_ran;

static int set_high_ran(void *arg)
{
	high_ran = true;
	return 0;
}

KTEST(higher_level_preempts_at_once)
{
	high_ran = false;
	struct thread *t = thread_create("high", set_high_ran, NULL, 10);
	bool at_once = high_ran; /* it ran inside thread_create, before we came back */

	thread_join(t);
	ktest_check(at_once);
	high_ran = false;
	preempt_disable();
	t = thread_create("high", set_high_ran, NULL, 10);
	bool held = !high_ran;
	preempt_enable();
	at_once = high_ran;
	thread_join(t);
	ktest_check(held);
	ktest_check(at_once);
}

KTEST(lower_level_waits)
{
	sched_set_level(current(), 20, true);
	high_ran = false;
	struct thread *t = thread_create("low", set_high_ran, NULL, SCHED_LEVEL_LAST);

	for (int i = 0; i < 100; i++)
		sched_yield();
	bool ran = high_ran;
	thread_join(t);
	sched_set_level(current(), SCHED_LEVEL_NORMAL, false);
	ktest_check(!ran);
	ktest_check(high_ran);
}

/* ---- priority inheritance ------------------------------------------------------------------------ */

/*
 * The classic inversion: who holds the mutex is kept from running by hogs, one a CPU, which would go on for
 * seconds; somebody more urgent than they wants it, and has it when the holder is done.
 */
static struct {
	struct mutex mutex;
	atomic_t held, go, stop;
	u64 waited;
} inversion;

static int hold_mutex(void *arg)
{
	mutex_lock(&inversion.mutex);
	atomic_store_release(&inversion.held, 1u);
	while (!atomic_load_acquire(&inversion.go))
		sched_sleep_until(clock_ns() + NSEC_PER_MSEC);
	for (u64 end = clock_ns() + NSEC_PER_MSEC; clock_ns() < end;)
		barrier();
	mutex_unlock(&inversion.mutex);
	return 0;
}

static int hog_cpu(void *arg)
{
	for (u64 end = clock_ns() + 8 * NSEC_PER_SEC; clock_ns() < end;)
		if (atomic_load(&inversion.stop))
			break;
	return 0;
}

static int want_mutex(void *arg)
{
	u64 from = clock_ns();

	mutex_lock(&inversion.mutex);
	inversion.waited = clock_ns() - from;
	atomic_store(&inversion.stop, 1u);
	mutex_unlock(&inversion.mutex);
	return 0;
}

KTEST(priority_inversion_is_bounded)
{
	struct thread *hogs[8], *low, *high;
	u32 n = MIN(nr_cpus, (u32)ARRAY_SIZE(hogs));

	memset(&inversion, 0, sizeof(inversion));
	sched_set_level(current(), 20, true);
	low = thread_create("low", hold_mutex, NULL, 60);
	while (!atomic_load_acquire(&inversion.held))
		sched_sleep_until(clock_ns() + NSEC_PER_MSEC);
	for (u32 i = 0; i < n; i++)
		hogs[i] = thread_create("hog", hog_cpu, NULL, 50);
	high = thread_create("high", want_mutex, NULL, 40);
	sched_sleep_until(clock_ns() + 5 * NSEC_PER_MSEC);
	atomic_store(&inversion.go, 1u);
	thread_join(high);
	thread_join(low);
	for (u32 i = 0; i < n; i++)
		thread_join(hogs[i]);
	sched_set_level(current(), SCHED_LEVEL_NORMAL, false);
	ktest_check(inversion.waited < 4 * NSEC_PER_SEC);
}

/* ---- sleep and wake ------------------------------------------------------------------------------ */

KTEST(sleep_lasts_as_long_as_asked)
{
	for (u64 ms = 1; ms <= 20; ms += 3) {
		u64 start = clock_ns();

		ktest_check_eq(sched_sleep_until(start + ms * NSEC_PER_MSEC), 0);
		ktest_check(clock_ns() - start >= ms * NSEC_PER_MSEC);
	}
}

#define PING_ROUNDS 20000

static struct waitq ping_queue = WAITQ_INIT(ping_queue);
static u32 ping_count;

static int pong(void *arg)
{
	for (u32 i = 0; i < PING_ROUNDS; i++) {
		wait_event(&ping_queue, READ_ONCE(ping_count) % 2 == 1);
		WRITE_ONCE(ping_count, ping_count + 1);
		waitq_wake_all(&ping_queue);
	}
	return 0;
}

/* A lost wake-up would leave both asleep for ever, and the run would end by its time-out. */
KTEST(no_wakeup_is_lost_in_ping_pong)
{
	ping_count = 0;
	struct thread *t = thread_create("pong", pong, NULL, SCHED_LEVEL_NORMAL);

	for (u32 i = 0; i < PING_ROUNDS; i++) {
		WRITE_ONCE(ping_count, ping_count + 1);
		waitq_wake_all(&ping_queue);
		wait_event(&ping_queue, READ_ONCE(ping_count) % 2 == 0);
	}
	thread_join(t);
	ktest_check_eq(ping_count, 2 * PING_ROUNDS);
}

#define MUTEX_ROUNDS 3000

static struct mutex shared_mutex = MUTEX_INIT(shared_mutex);
static u64 shared_sum;

static int add_slowly(void *arg)
{
	for (int i = 0; i < MUTEX_ROUNDS; i++) {
		mutex_lock(&shared_mutex);
		u64 v = shared_sum;
		if (i % 7 == 0)
			sched_yield();
		shared_sum = v + 1;
		mutex_unlock(&shared_mutex);
	}
	return 0;
}

KTEST(mutex_excludes)
{
	struct thread *t[4];

	shared_sum = 0;
	for (int i = 0; i < 4; i++)
		t[i] = thread_create("adder", add_slowly, NULL, SCHED_LEVEL_NORMAL);
	for (int i = 0; i < 4; i++)
		thread_join(t[i]);
	ktest_check_eq(shared_sum, 4 * MUTEX_ROUNDS);
}

KTEST(wait_deadline_times_out)
{
	struct waitq q = WAITQ_INIT(q);
	u64 start = clock_ns();
	int ret = wait_event_deadline(&q, false, start + 5 * NSEC_PER_MSEC);

	ktest_check_eq(ret, -ETIMEDOUT);
	ktest_check(clock_ns() - start >= 5 * NSEC_PER_MSEC);
}

/* ---- policies --------------------------------------------------------------------------------------- */

/* Two loops, one of nice 5: 335 to 1024. By the cycles that were charged, as above. */
KTEST(shares_follow_nice)
{
	struct thread *t[2];
	u64 a, b, start;

	counters_stop = false;
	sched_set_level(current(), 50, true);
	for (u64 i = 0; i < 2; i++)
		t[i] = thread_create("nice", count_for_ever, (void *)i, SCHED_LEVEL_NORMAL);
	sched_set_nice(t[1], 5);
	start = clock_ns();
	do {
		sched_sleep_until(clock_ns() + 100 * NSEC_PER_MSEC);
		a = READ_ONCE(t[0]->run_cycles) * 335;
		b = READ_ONCE(t[1]->run_cycles) * 1024;
	} while ((clock_ns() - start < NSEC_PER_SEC / 2 || deviation(a, b) > 30) &&
		 clock_ns() - start < 20 * NSEC_PER_SEC);
	counters_stop = true;
	for (u64 i = 0; i < 2; i++)
		thread_join(t[i]);
	sched_set_level(current(), SCHED_LEVEL_NORMAL, false);
	ktest_check(deviation(a, b) <= 30);
}

/* A FIFO thread that never ends leaves others a twentieth of each second. */
KTEST(runaway_fifo_thread_is_throttled)
{
	struct thread *fifo, *other;

	counters_stop = false;
	sched_set_level(current(), 20, true);
	fifo = thread_create("fifo", count_for_ever, (void *)0ul, 60);
	sched_set_level(fifo, 60, true);
	other = thread_create("other", count_for_ever, (void *)1ul, SCHED_LEVEL_NORMAL);
	u64 start = clock_ns();
	while (READ_ONCE(other->run_cycles) == 0 && clock_ns() - start < 20 * NSEC_PER_SEC)
		sched_sleep_until(clock_ns() + 100 * NSEC_PER_MSEC);
	sched_sleep_until(clock_ns() + NSEC_PER_SEC);
	u64 a = READ_ONCE(fifo->run_cycles), b = READ_ONCE(other->run_cycles);
	counters_stop = true;
	thread_join(fifo);
	thread_join(other);
	sched_set_level(current(), SCHED_LEVEL_NORMAL, false);
	log_info("# fifo %lu cycles, other %lu\n", a, b);
	ktest_check(b > 0 && b < a / 4);
}

static volatile u32 seen_on;

static int note_cpu(void *arg)
{
	while (!counters_stop) {
		preempt_disable();
		seen_on = cpu_id();
		preempt_enable();
	}
	return 0;
}

/* A thread that runs leaves a CPU that it lost before sched_set_affinity returns. */
KTEST(affinity_moves_a_running_thread)
{
	struct cpuset set;

	if (nr_cpus == 1) {
		ktest_skip("one CPU");
		return;
	}
	counters_stop = false;
	struct thread *t = thread_create("mover", note_cpu, NULL, SCHED_LEVEL_NORMAL);
	for (u32 i = 0; i < 200; i++) {
		u32 cpu = i % nr_cpus;

		cpuset_set_only(&set, cpu);
		sched_set_affinity(t, &set);
		ktest_check_eq(READ_ONCE(t->cpu), cpu);
	}
	u32 last = 199 % nr_cpus;
	u64 end = clock_ns() + 5 * NSEC_PER_SEC;
	while (seen_on != last && clock_ns() < end)
		sched_yield();
	ktest_check_eq(seen_on, last);

	for (u32 i = 0; i < 20; i++) { /* the caller itself */
		cpuset_set_only(&set, i % nr_cpus);
		sched_set_affinity(current(), &set);
		ktest_check_eq(cpu_id(), i % nr_cpus);
	}
	cpuset_fill(&set);
	sched_set_affinity(current(), &set);
	counters_stop = true;
	thread_join(t);
}

/*
 * Several CPUs, as they are: each in its place, messages, shootdown, grace periods, spin locks, the
 * clock. On a machine with one CPU most have nothing to show, and say so.
 */
#include "arch/api/cpu.h"
#include "arch/api/ipi.h"
#include "arch/api/uaccess.h"
#include "init/ktest.h"
#include "lib/atomic.h"
#include "lib/cmdline.h"
#include "lib/string.h"
#include "lib/uapi/mman.h"
#include "mm/aspace.h"
#include "mm/slab.h"
#include "mm/tlb.h"
#include "sched/sched.h"
#include "sync/rcu.h"
#include "time/clock.h"

CMDLINE_OPTION("ktest.cpus", cpus_option, "N: how many CPUs the tests must find");

#define MAX_TEST_CPUS 16

/*
 * n for one CPU, and much less for many: an emulator may have fewer cores than that, and then a message or a lock
 * that changes hands costs it a slice of time.
 */
static u64 share(u64 n)
{
	return MAX(n / (nr_cpus * nr_cpus), 10ul);
}

/* Runs fn(cpu number) on each CPU at once; the sum of what they return. */
static int on_each(int (*fn)(void *arg))
{
	static struct thread *t[MAX_TEST_CPUS];
	u32 n = MIN(nr_cpus, (u32)MAX_TEST_CPUS);
	int sum = 0;

	for (u64 cpu = 0; cpu < n; cpu++)
		t[cpu] = thread_create_on((u32)cpu, "each", fn, (void *)cpu, SCHED_LEVEL_NORMAL);
	for (u32 cpu = 0; cpu < n; cpu++)
		sum += t[cpu] ? thread_join(t[cpu]) : 1;
	return sum;
}

static bool single(void)
{
	if (nr_cpus == 1)
		ktest_skip("one CPU");
	return nr_cpus == 1;
}

KTEST(smp_every_cpu_came_up)
{
	u64 want = cmdline_u64(&cpus_option, nr_cpus);

	ktest_check_eq(nr_cpus, want);
}

static int where_am_i(void *arg)
{
	for (int i = 0; i < 100; i++) {
		if (cpu_id() != (u32)(u64)arg ||
		    this_cpu_ptr(&cpu_number) != per_cpu_ptr(&cpu_number, cpu_id()))
			return 1;
		sched_yield();
	}
	u64 until = clock_ns() + 3 * NSEC_PER_MSEC;
	sched_sleep_until(until); /* its own timer, or the broadcast */
	return cpu_id() != (u32)(u64)arg || clock_ns() < until;
}

KTEST(smp_threads_run_where_they_are_bound)
{
	ktest_check_eq(on_each(where_am_i), 0);
}

/* ---- messages ---------------------------------------------------------------------------------- */

static u64 called[MAX_TEST_CPUS]; /* [a] */

static void note_call(void *arg)
{
	u64 *by = arg;

	__atomic_fetch_add(by, 1, __ATOMIC_RELAXED);
}

static int call_all(void *arg)
{
	u64 *mine = &called[(u64)arg];

	for (u64 i = 0; i < share(400); i++) {
		u64 before = READ_ONCE(*mine);

		ipi_call_mask(NULL, note_call, mine);
		if (READ_ONCE(*mine) != before + nr_cpus - 1)
			return 1; /* it came back before all had called */
	}
	return 0;
}

KTEST(smp_calls_cross)
{
	if (single())
		return;
	memset(called, 0, sizeof(called));
	ktest_check_eq(on_each(call_all), 0);
	for (u32 cpu = 0; cpu < MIN(nr_cpus, (u32)MAX_TEST_CPUS); cpu++)
		ktest_check_eq(called[cpu], share(400) * (nr_cpus - 1));
}

/* A wake-up on another CPU, there and back. */
static struct waitq ping_queue = WAITQ_INIT(ping_queue);
static u32 ping_turn; /* [a] */

static int ping(void *arg)
{
	u32 me = (u32)(u64)arg;

	if (me > 1)
		return 0;
	for (u64 i = 0; i < share(320); i++) {
		wait_event(&ping_queue, __atomic_load_n(&ping_turn, __ATOMIC_SEQ_CST) % 2 == me);
		__atomic_fetch_add(&ping_turn, 1, __ATOMIC_SEQ_CST);
		waitq_wake_all(&ping_queue);
	}
	return 0;
}

KTEST(smp_wakeups_cross)
{
	if (single())
		return;
	ping_turn = 0;
	ktest_check_eq(on_each(ping), 0);
	ktest_check_eq(ping_turn, 2 * share(320));
}

/* ---- locks and time ------------------------------------------------------------------------------ */

static spinlock_t test_lock = SPINLOCK_INIT("test", RANK_NONE);
static u64 guarded; /* [test_lock] a plain word */

static int count_under_lock(void *arg)
{
	for (u64 i = 0; i < share(8000); i++) {
		spin_lock(&test_lock);
		guarded++;
		spin_unlock(&test_lock);
	}
	return 0;
}

KTEST(smp_spin_lock_excludes)
{
	guarded = 0;
	ktest_check_eq(on_each(count_under_lock), 0);
	ktest_check_eq(guarded, share(8000) * MIN(nr_cpus, (u32)MAX_TEST_CPUS));
}

static u64 last_time; /* [test_lock] */

static int watch_clock(void *arg)
{
	int wrong = 0;

	for (u64 i = 0; i < share(4000); i++) {
		spin_lock(&test_lock);
		u64 now = clock_ns();
		wrong += now < last_time;
		last_time = MAX(last_time, now);
		spin_unlock(&test_lock);
	}
	return wrong;
}

KTEST(smp_clock_is_monotonic)
{
	last_time = 0;
	ktest_check_eq(on_each(watch_clock), 0);
}

/* ---- grace periods --------------------------------------------------------------------------------- */

struct published {
	struct rcu_head head;
	u64 a, b; /* equal while it may be read */
};

static struct published *published; /* [a] */
static u64 rcu_stop;                /* [a] */

static void retire(struct rcu_head *head)
{
	struct published *p = container_of(head, struct published, head);

	p->a = 1;
	p->b = 2;
	kfree(p);
}

static int publish_or_read(void *arg)
{
	u64 wrong = 0;

	if (arg == NULL) { /* CPU 0 replaces */
		for (u64 i = 0; i < 2000; i++) {
			struct published *p = kmalloc(sizeof(*p)), *old;

			if (!p)
				return 1;
			p->a = p->b = i * 16;
			old = __atomic_exchange_n(&published, p, __ATOMIC_SEQ_CST);
			if (old)
				call_rcu(&old->head, retire);
			if (i % 100 == 0)
				sched_sleep_until(clock_ns() + NSEC_PER_MSEC);
		}
		__atomic_store_n(&rcu_stop, 1, __ATOMIC_SEQ_CST);
		return 0;
	}
	while (!__atomic_load_n(&rcu_stop, __ATOMIC_SEQ_CST)) {
		rcu_read_lock();
		struct published *p = __atomic_load_n(&published, __ATOMIC_ACQUIRE);
		if (p) {
			u64 a = READ_ONCE(p->a);

			for (int i = 0; i < 200; i++)
				barrier();
			wrong += a != READ_ONCE(p->b);
		}
		rcu_read_unlock();
	}
	return wrong != 0;
}

KTEST(smp_readers_outlive_nothing)
{
	struct rcu_stats before, after;

	rcu_barrier();
	rcu_stats(&before);
	published = NULL;
	rcu_stop = 0;
	ktest_check_eq(on_each(publish_or_read), 0);
	call_rcu(&published->head, retire);
	rcu_barrier();
	rcu_stats(&after);
	ktest_check_eq(after.queued - before.queued, 2000ul + nr_cpus);
	ktest_check_eq(after.done, after.queued);
}

KTEST(smp_synchronize_waits)
{
	struct rcu_stats s;

	for (int i = 0; i < 5; i++)
		synchronize_rcu();
	rcu_barrier();
	rcu_stats(&s);
	ktest_check_eq(s.queued, s.done);
}

/* ---- shootdown ------------------------------------------------------------------------------------ */

#define AT 0x40000000ul

static struct aspace *shared_space;
static u64 newest;               /* [a] what the page at AT says, or something newer, or zero */
static u64 read_only;            /* [a] odd: the page above may not be written */
static u64 space_stop;           /* [a] */
static u64 lookers;              /* [a] CPUs that use the space by now */
static u64 looks[MAX_TEST_CPUS]; /* [a] how often each has looked */

/* Reads and writes by the addresses of the space, as a program does. Counts what no CPU may see. */
static int look_at_space(u64 *my_looks)
{
	int wrong = 0;

	while (!__atomic_load_n(&space_stop, __ATOMIC_SEQ_CST)) {
		u64 least = __atomic_load_n(&newest, __ATOMIC_SEQ_CST), seen;

		if (copy_from_user(&seen, AT, sizeof(seen)) == 0 && seen != 0 && seen < least)
			wrong++; /* a page that was unmapped before we looked */
		u64 ro = __atomic_load_n(&read_only, __ATOMIC_SEQ_CST);
		int err = copy_to_user(AT + PAGE_SIZE, &least, sizeof(least));
		if (ro % 2 == 1 && err == 0 && __atomic_load_n(&read_only, __ATOMIC_SEQ_CST) == ro)
			wrong++;
		__atomic_fetch_add(my_looks, 1, __ATOMIC_SEQ_CST);
	}
	return wrong;
}

/* Until that CPU has looked once from now on: what it has seen it has in its TLB. */
static void await_look(u64 cpu)
{
	u64 before = __atomic_load_n(&looks[cpu], __ATOMIC_SEQ_CST);

	while (__atomic_load_n(&looks[cpu], __ATOMIC_SEQ_CST) < before + 2)
		cpu_relax();
}

static bool map_anew(u64 at)
{
	return vm_mmap(shared_space, at, PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0) == (s64)at;
}

static bool write_to(u64 at, u64 what)
{
	return aspace_write(shared_space, at, &what, sizeof(what)) == sizeof(what);
}

/* Few: with more CPUs than the host has cores a look or a message costs slices of time. */
static u64 turns(void)
{
	return MAX(80ul / (nr_cpus * nr_cpus), 4ul);
}

/*
 * New pages at the same address, and a page that loses and gains the right to be written. The frame of the old page goes to
 * a third one, which says something old.
 */
static int change_space(void)
{
	int wrong = 0;

	for (u64 i = 2; i < turns() + 2; i++) {
		u64 looker = 1 + i % (MIN(nr_cpus, (u32)MAX_TEST_CPUS) - 1);

		wrong += !map_anew(AT + 2 * PAGE_SIZE) + !map_anew(AT);
		wrong += !write_to(AT + 2 * PAGE_SIZE, 1) + !write_to(AT, i);
		__atomic_store_n(&newest, i, __ATOMIC_SEQ_CST);
		await_look(looker); /* it writes the page above, too */
		wrong += vm_mprotect(shared_space, AT + PAGE_SIZE, PAGE_SIZE, PROT_READ) != 0;
		__atomic_fetch_add(&read_only, 1, __ATOMIC_SEQ_CST);
		await_look(looker);
		__atomic_fetch_add(&read_only, 1, __ATOMIC_SEQ_CST);
		wrong += vm_mprotect(shared_space, AT + PAGE_SIZE, PAGE_SIZE,
				     PROT_READ | PROT_WRITE) != 0;
	}
	__atomic_store_n(&space_stop, 1, __ATOMIC_SEQ_CST);
	return wrong;
}

static int change_or_look(void *arg)
{
	if (ctx_user_create(&current()->arch))
		return 1;
	thread_set_aspace(shared_space);
	__atomic_fetch_add(&lookers, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&lookers, __ATOMIC_SEQ_CST) < MIN(nr_cpus, (u32)MAX_TEST_CPUS))
		cpu_relax();
	int wrong = arg == NULL ? change_space() : look_at_space(&looks[(u64)arg]);

	thread_set_aspace(NULL);
	return wrong;
}

KTEST(smp_no_cpu_keeps_a_translation)
{
	struct tlb_stats before, after;

	if (single())
		return;
	shared_space = aspace_create();
	ktest_check(shared_space);
	ktest_check(map_anew(AT) && map_anew(AT + PAGE_SIZE));
	newest = read_only = space_stop = lookers = 0;
	tlb_stats(&before);
	ktest_check_eq(on_each(change_or_look), 0);
	tlb_stats(&after);
	/* It was not by luck: a turn tells the others twice, but those that a kernel thread has interrupted just then. */
	ktest_check(after.rounds - before.rounds >= turns());
	aspace_put(shared_space);
}

/* A space that one CPU alone uses costs no messages, however many CPUs there are. */
static int lonely(void *arg)
{
	struct tlb_stats before, after;
	struct aspace *as = aspace_create();
	int wrong = 0;

	if (arg != NULL)
		return 0;
	if (!as || ctx_user_create(&current()->arch))
		return 1;
	thread_set_aspace(as);
	tlb_stats_cpu(cpu_id(), &before);
	for (int i = 0; i < 50; i++) {
		s64 at = vm_mmap(as, 0, 4 * PAGE_SIZE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, NULL, 0);

		wrong += copy_to_user((u64)at, &i, sizeof(i)) != 0;
		wrong += vm_munmap(as, (u64)at, 4 * PAGE_SIZE) != 0;
	}
	tlb_stats_cpu(cpu_id(), &after);
	wrong += after.messages != before.messages;
	wrong += after.alone < before.alone + 50;
	thread_set_aspace(NULL);
	aspace_put(as);
	return wrong;
}

KTEST(smp_one_cpu_one_space_no_message)
{
	if (single())
		return;
	ktest_check_eq(on_each(lonely), 0);
}

/* Stacks come and go on all CPUs: mapped, cached, unmapped everywhere. */
static int nothing(void *arg)
{
	return 0;
}

static int spawn(void *arg)
{
	for (u64 i = 0; i < share(40); i++) {
		struct thread *t[4];

		for (u32 k = 0; k < 4; k++)
			t[k] = thread_create_on((cpu_id() + k) % nr_cpus, "spawned", nothing, NULL,
						SCHED_LEVEL_NORMAL);
		for (u32 k = 0; k < 4; k++)
			if (!t[k] || thread_join(t[k]) != 0)
				return 1;
	}
	return 0;
}

KTEST(smp_threads_come_and_go)
{
	struct sched_stats before, after;

	sched_stats(&before);
	ktest_check_eq(on_each(spawn), 0);
	for (int i = 0; i < 1000; i++) {
		sched_stats(&after);
		if (after.threads == before.threads)
			break;
		sched_sleep_until(clock_ns() + NSEC_PER_MSEC); /* the last switch may be to come */
	}
	ktest_check_eq(after.threads, before.threads);
}

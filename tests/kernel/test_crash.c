/*
 * What must end in a panic, each with its own message (tests/guest/crashes.tsv): the protections of
 * the kernel's memory, and the kernel's own mistakes. If the access goes through, the test comes
 * back and the runner says so.
 */
#include "arch/api/cpu.h"
#include "arch/api/ipi.h"
#include "arch/api/uaccess.h"
#include "init/ktest.h"
#include "lib/kassert.h"
#include "lib/uapi/mman.h"
#include "mm/aspace.h"
#include "mm/kmap.h"
#include "mm/frame.h"
#include "sched/mutex.h"
#include "sched/sched.h"
#include "time/clock.h"
#include "time/timer.h"

extern char __text_start[], __rodata_start[];

KTEST_CRASH(text_write)
{
	*(volatile char *)__text_start = 0;
}

KTEST_CRASH(text_alias_write)
{
	paddr_t pa;

	get_physical_address((u64)__text_start, &pa);
	*(volatile char *)phys_to_virt(pa) = 0;
}

KTEST_CRASH(rodata_write)
{
	*(volatile char *)__rodata_start = 0;
}

static char code_in_data[16] = { (char)0xc3 };

static void call(void *p)
{
	__asm__ volatile("call *%0" : : "r"(p) : "memory");
}

KTEST_CRASH(exec_data)
{
	call(code_in_data);
}

KTEST_CRASH(exec_direct_map)
{
	struct frame *f = frame_alloc(FRAME_KERNEL, 0);

	*(u8 *)frame_virt(f) = 0xc3;
	call(frame_virt(f));
}

KTEST_CRASH(null_read)
{
	(void)*(volatile char *)0;
}

/* A page of a program at a known address, present, in the current space. */
static u64 user_page(int prot)
{
	struct aspace *as = aspace_create();
	u8 ret = 0xc3;

	if (!as || ctx_user_create(&current()->arch))
		panic("no space for the test");
	thread_set_aspace(as);
	s64 at = vm_mmap(as, 0, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 NULL, 0);
	if (at < 0 || copy_to_user((u64)at, &ret, 1) || vm_mprotect(as, (u64)at, PAGE_SIZE, prot))
		panic("no page for the test");
	if (copy_from_user(&ret, (u64)at, 1))
		panic("the page is not there");
	return (u64)at;
}

KTEST_CRASH(smap_read)
{
	(void)*(volatile char *)user_page(PROT_READ | PROT_WRITE);
}

KTEST_CRASH(smap_write)
{
	*(volatile char *)user_page(PROT_READ | PROT_WRITE) = 1;
}

KTEST_CRASH(smep_exec)
{
	call((void *)user_page(PROT_READ | PROT_EXEC));
}

KTEST_CRASH(guard_page)
{
	u64 va = kva_alloc(1);
	struct frame *f = frame_alloc(FRAME_KERNEL, 0);

	map_page(va, frame_pa(f), PAGE_SIZE, KMAP_WRITE);
	*(volatile char *)va = 1;
	*(volatile char *)(va + PAGE_SIZE) = 1;
}

static volatile int depth_limit = 1 << 30;

static __noinline int recurse(int n)
{
	volatile char fill[200];

	fill[0] = (char)n;
	if (n >= depth_limit)
		return fill[0];
	return recurse(n + 1) + fill[0];
}

static int overflow(void *arg)
{
	return recurse(0);
}

KTEST_CRASH(stack_overflow)
{
	thread_join(thread_create("deep", overflow, NULL, SCHED_LEVEL_NORMAL));
}

KTEST_CRASH(div_zero)
{
	__asm__ volatile("divl %0"
			 :
			 : "r"(0), "a"(1), "d"(0)
			 : "cc"); /* in C it would be undefined */
}

KTEST_CRASH(ud2)
{
	__asm__ volatile("ud2");
}

KTEST_CRASH(noncanonical)
{
	(void)*(volatile char *)0x8000000000000000ul;
}

KTEST_CRASH(assert)
{
	kassert(depth_limit == 0);
}

KTEST_CRASH(sleep_while_atomic)
{
	preempt_disable();
	sched_sleep_until(1);
}

KTEST_CRASH(double_free)
{
	struct frame *f = frame_alloc(FRAME_KERNEL, 0);

	frame_put(f);
	frame_put(f);
}

/* ---- locks: debug builds ----------------------------------------------------------------------- */

static void lock_both(spinlock_t *a, spinlock_t *b)
{
	spin_lock(a);
	spin_lock(b);
	spin_unlock(b);
	spin_unlock(a);
}

KTEST_CRASH(lock_inversion)
{
	static spinlock_t first = SPINLOCK_INIT("first", RANK_NONE);
	static spinlock_t second = SPINLOCK_INIT("second", RANK_NONE);
	static spinlock_t between = SPINLOCK_INIT("between", RANK_NONE);

	/* No deadlock happens, and no two of them are ever taken the other way round directly. */
	lock_both(&first, &between);
	lock_both(&between, &second);
	lock_both(&second, &first);
}

KTEST_CRASH(lock_rank)
{
	static spinlock_t low = SPINLOCK_INIT("low", RANK_FILE);
	static spinlock_t high = SPINLOCK_INIT("high", RANK_IRQ);

	irq_disable(); /* an interrupt in between would take a lock of its own below `high` */
	lock_both(&high, &low);
}

KTEST_CRASH(lock_recursion)
{
	static spinlock_t again = SPINLOCK_INIT("again", RANK_NONE);

	lock_both(&again, &again);
}

static spinlock_t careless = SPINLOCK_INIT("careless", RANK_NONE);

static void take_in_interrupt(struct timer *t)
{
	spin_lock(&careless);
	spin_unlock(&careless);
}

KTEST_CRASH(lock_in_interrupt)
{
	struct timer t;

	spin_lock(&careless); /* interrupts are on */
	spin_unlock(&careless);
	timer_init(&t, take_in_interrupt);
	timer_start(&t, clock_ns() + NSEC_PER_MSEC);
	sched_sleep_until(clock_ns() + 100 * NSEC_PER_MSEC);
}

/* As a system call that forgets something would: straight to user mode. */
static void go_to_user_mode(void)
{
	u64 at = user_page(PROT_READ | PROT_EXEC);

	regs_init_user(ctx_user_regs(current()->stack_top), at, 0);
}

KTEST_CRASH(lock_at_return)
{
	static spinlock_t kept = SPINLOCK_INIT("kept", RANK_NONE);

	go_to_user_mode();
	spin_lock(&kept);
	ctx_enter_user();
}

KTEST_CRASH(preempt_at_return)
{
	go_to_user_mode();
	preempt_disable();
	ctx_enter_user();
}

/* ---- deadlocks and watchdogs ------------------------------------------------------------------- */

static struct mutex left = MUTEX_INIT(left), right = MUTEX_INIT(right);

static int take_the_other_way(void *arg)
{
	mutex_lock(&right);
	sched_sleep_until(clock_ns() + 10 * NSEC_PER_MSEC);
	mutex_lock(&left);
	return 0;
}

KTEST_CRASH(mutex_circle)
{
	mutex_lock(&left);
	thread_create("other", take_the_other_way, NULL, SCHED_LEVEL_NORMAL);
	sched_sleep_until(clock_ns() + 5 * NSEC_PER_MSEC);
	mutex_lock(&right);
}

static u32 deaf; /* [a] CPUs with their interrupts off for good */

static int turn_deaf(void *arg)
{
	irq_disable();
	__atomic_fetch_add(&deaf, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&deaf, __ATOMIC_SEQ_CST))
		cpu_relax();
	return 0;
}

static void make_cpu_deaf(void)
{
	thread_create_on(1, "deaf", turn_deaf, NULL, SCHED_LEVEL_NORMAL);
	while (!__atomic_load_n(&deaf, __ATOMIC_SEQ_CST))
		sched_yield();
}

static void nothing(void *arg)
{
}

KTEST_CRASH(stuck_call)
{
	make_cpu_deaf();
	ipi_call(1, nothing, NULL);
}

KTEST_CRASH(stuck_cpu)
{
	sched_sleep_until(clock_ns() + 1500 * NSEC_PER_MSEC); /* it has been well once */
	make_cpu_deaf();
	sched_sleep_until(clock_ns() + 40 * NSEC_PER_SEC);
}

/* Interrupts come, and find nothing to preempt. */
KTEST_CRASH(stuck_thread)
{
	preempt_disable();
	for (;;)
		cpu_relax();
}

static spinlock_t never_free = SPINLOCK_INIT("never free", RANK_NONE);

static int wait_for_lock(void *arg)
{
	spin_lock(&never_free);
	return 0;
}

KTEST_CRASH(stuck_lock)
{
	spin_lock(&never_free);
	preempt_enable(); /* we hold it asleep, which no one should */
	thread_create_on(1, "waits", wait_for_lock, NULL, SCHED_LEVEL_NORMAL);
	sched_sleep_until(clock_ns() + 45 * NSEC_PER_SEC);
}

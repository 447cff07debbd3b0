/*
 * Flushing and switching (mm/tlb.c) on the simulated MMU: what each flush forgets, what it leaves,
 * which generation a context is at, and that a dying space is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "arch/api/cpu.h"
#include "arch/api/mmu.h"
#include "arch/host/ram.h"
#include "lib/string.h"
#include "lib/uapi/mman.h"
#include "mm/aspace.h"
#include "mm/pt.h"
#include "mm/slab.h"
#include "sched/memory.h"

static struct frame *root;

static int setup(void **state)
{
	host_mmu_reset();
	host_mmu_set_contexts(*state ? 3 : 1);
	host_ram_init(4096);
	slab_init();
	root = frame_alloc(FRAME_KERNEL, FRAME_ZERO);
	kmap_set_root(frame_pa(root), NULL);
	mmu_load_root(frame_pa(root), 0, false);
	aspace_init();
	return 0;
}

static int teardown(void **state)
{
	host_mmu_reset();
	host_ram_exit();
	return 0;
}

static struct aspace *new_space(void)
{
	struct aspace *as = aspace_create();

	assert_non_null(as);
	assert_true(vm_mmap(as, 0x10000000, GiB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0) > 0);
	return as;
}

static void use(struct aspace *as)
{
	irq_disable();
	mm_switch(as);
	irq_enable();
}

static u64 touch(struct aspace *as, u64 va)
{
	paddr_t pa;

	while (host_mmu_access(va, FAULT_WRITE, true, &pa))
		assert_int_equal(vm_fault(as, va, FAULT_WRITE), 0);
	return pa.v;
}

static void test_switch_counts(void **state)
{
	struct aspace *a = new_space(), *b = new_space();
	struct tlb_stats before, s;

	use(a);
	tlb_stats(&before);
	use(a);
	use(NULL); /* a kernel thread keeps what is loaded */
	use(a);
	tlb_stats(&s);
	assert_int_equal(s.cr3_loads, before.cr3_loads);
	use(b);
	use(a);
	use(b);
	tlb_stats(&s);
	assert_int_equal(s.cr3_loads, before.cr3_loads + 3);
	/* With contexts the two returns keep what is cached; the first time there is nothing. */
	assert_int_equal(s.cr3_skipped - before.cr3_skipped, *state ? 2 : 0);
	aspace_put(a);
	assert_ptr_equal(this_cpu_read(active_space), b);
	aspace_put(b);
	assert_null(this_cpu_read(active_space));
	assert_int_equal(mmu_current_root().v, frame_pa(root).v);
}

/* Whose messages a CPU gets: those of the space that it has loaded, and no other's. */
static void test_masks(void **state)
{
	struct aspace *a = new_space(), *b = new_space();

	use(a);
	assert_int_equal(a->cpus[0], 1);
	use(b);
	assert_int_equal(a->cpus[0], 0);
	assert_int_equal(b->cpus[0], 1);
	tlb_leave_space(b);
	assert_int_equal(b->cpus[0], 0);
	assert_null(this_cpu_read(active_space));
	aspace_put(a);
	aspace_put(b);
}

static void leave_lazily(void)
{
	irq_disable();
	sched_leave_space();
	irq_enable();
}

/* Back from a kernel thread: nothing is forgotten, unless the space was flushed meanwhile. */
static void test_back_from_lazy(void **state)
{
	struct aspace *a = new_space();
	struct host_mmu_counts before;
	struct tlb_stats stats, s;
	paddr_t pa;

	use(a);
	touch(a, 0x10000000);
	leave_lazily();
	before = host_mmu_counts;
	tlb_stats(&stats);
	use(a);
	assert_ptr_equal(this_cpu_read(active_space), a);
	assert_int_equal(host_mmu_access(0x10000000, FAULT_WRITE, true, &pa), 0);
	assert_int_equal(host_mmu_counts.hits, before.hits + 1);
	assert_int_equal(host_mmu_counts.context, before.context);
	assert_int_equal(host_mmu_counts.root_loads, before.root_loads);

	leave_lazily();
	tlb_flush_page(a, 0x10000000);
	use(a);
	tlb_stats(&s);
	assert_int_equal(s.lazy_behind, stats.lazy_behind + 1);
	assert_int_equal(host_mmu_counts.context, before.context + 1);
	/* It has caught up, too. */
	leave_lazily();
	before = host_mmu_counts;
	use(a);
	assert_int_equal(host_mmu_counts.context, before.context);
	aspace_put(a);
}

/* A space that is not loaded falls behind by a flush, and starts anew. */
static void test_generations(void **state)
{
	struct aspace *a = new_space(), *b = new_space();
	struct tlb_stats before, s;
	paddr_t pa;

	use(a);
	touch(a, 0x10000000);
	use(b);
	assert_int_equal(vm_munmap(a, 0x10000000, PAGE_SIZE), 0); /* from outside */
	tlb_stats(&before);
	use(a);
	tlb_stats(&s);
	assert_int_equal(s.cr3_skipped, before.cr3_skipped);
	assert_int_equal(host_mmu_access(0x10000000, FAULT_READ, true, &pa), -1);
	host_mmu_audit();
	aspace_put(a);
	aspace_put(b);
}

/* Messages that have been sent, and arrive when the test says. */
static struct {
	void (*fn)(void *arg);
	u64 request[5]; /* a struct tlb_request: the sender's goes with its stack */
} sent[4];
static unsigned nr_sent;

static void send_later(const u64 *mask, void (*fn)(void *arg), void *arg)
{
	assert_true(nr_sent < ARRAY_SIZE(sent));
	sent[nr_sent].fn = fn;
	memcpy(sent[nr_sent++].request, arg, sizeof(sent[0].request));
}

static void arrive(unsigned i)
{
	irq_disable();
	sent[i].fn(sent[i].request);
	irq_enable();
}

/* Does a switch away and back keep what is cached? */
static bool is_up_to_date(struct aspace *a, struct aspace *other)
{
	struct tlb_stats before, s;

	use(other);
	tlb_stats(&before);
	use(a);
	tlb_stats(&s);
	return s.cr3_skipped > before.cr3_skipped;
}

/* A flush brings its context up to its own generation, but not past one that is still under way. */
static void test_flushes_in_either_order(void **state)
{
	struct aspace *a = new_space(), *b = new_space();

	use(b);
	use(a);
	tlb_flush_page(a, 0x10000000);
	assert_true(is_up_to_date(a, b));
	tlb_flush_space(a);
	assert_true(is_up_to_date(a, b));

	mmu_shootdown = send_later;
	nr_cpus = 2;
	host_cpu = 1; /* from outside of the space */
	nr_sent = 0;
	tlb_flush_page(a, 0x10000000);
	tlb_flush_page(a, 0x10001000);
	tlb_flush_page(a, 0x10002000);
	tlb_flush_space(a);
	assert_int_equal(nr_sent, 4);
	host_cpu = 0;
	arrive(1);
	assert_false(is_up_to_date(a, b)); /* the first one is not here yet; all is forgotten now */
	assert_true(is_up_to_date(a, b));
	arrive(0); /* late, and behind what the switch saw */
	arrive(2);
	assert_true(is_up_to_date(a, b));
	arrive(3);
	assert_true(is_up_to_date(a, b));
	mmu_shootdown = NULL;
	nr_cpus = 1;
	use(NULL);
	aspace_put(a);
	aspace_put(b);
}

static unsigned told_all;

static void tell_all(const u64 *mask, void (*fn)(void *arg), void *arg)
{
	told_all += mask == NULL;
}

/* What the kernel's part loses, all CPUs lose. */
static void test_kernel_flushes_tell_all(void **state)
{
	told_all = 0;
	nr_cpus = 2;
	mmu_shootdown = tell_all;
	tlb_flush_page(NULL, 0xffffd00000000000ul);
	tlb_flush_range(NULL, 0xffffd00000000000ul, 0xffffd00000002000ul);
	tlb_flush_all();
	assert_int_equal(told_all, 3);
	mmu_shootdown = NULL;
	nr_cpus = 1;
}

static unsigned rounds;

static void count_round(const u64 *mask, void (*fn)(void *arg), void *arg)
{
	u32 me = host_cpu;

	rounds++;
	host_cpu = 1;
	irq_disable();
	fn(arg);
	irq_enable();
	host_cpu = me;
}

/* More frames than a gather holds: one message to the others in the space; without any, no memory for it. */
static void test_gather_in_one_round(void **state)
{
	const u64 at = 0x10000000, n = TLB_GATHER_FRAMES + 20;
	struct aspace *a = new_space();

	use(a);
	for (u64 i = 0; i < 2 * n; i++)
		touch(a, at + i * PAGE_SIZE);
	mmu_shootdown = count_round;
	nr_cpus = 2;
	alloc_fail_at = 1;
	assert_int_equal(vm_munmap(a, at, n * PAGE_SIZE), 0);
	assert_int_equal(alloc_fail_at, 1);
	alloc_fail_at = 0;
	host_cpu = 1;
	use(a);
	host_cpu = 0;
	rounds = 0;
	assert_int_equal(vm_munmap(a, at + n * PAGE_SIZE, n * PAGE_SIZE), 0);
	assert_int_equal(rounds, 1);
	aspace_put(a);
	assert_int_equal(rounds, 2);
	mmu_shootdown = NULL;
	nr_cpus = 1;
}

/* More spaces than contexts: none sees another's translations. */
static void test_many_spaces(void **state)
{
	struct aspace *as[8];
	u64 pa[8];

	for (unsigned i = 0; i < 8; i++) {
		as[i] = new_space();
		use(as[i]);
		pa[i] = touch(as[i], 0x10000000);
	}
	for (unsigned round = 0; round < 40; round++) {
		unsigned i = round * 5 % 8;

		use(as[i]);
		assert_int_equal(touch(as[i], 0x10000000), pa[i]);
		host_mmu_audit();
	}
	for (unsigned i = 0; i < 8; i++)
		aspace_put(as[i]);
}

static u64 cached(u64 pages)
{
	paddr_t pa;
	u64 before = host_mmu_counts.hits;

	for (u64 i = 0; i < pages; i++)
		assert_int_equal(host_mmu_access(0x10000000 + i * PAGE_SIZE, FAULT_READ, true, &pa),
				 0);
	return host_mmu_counts.hits - before;
}

static void test_flush_sizes(void **state)
{
	struct aspace *as = new_space();
	struct tlb_stats before, s;
	u64 at = 0x10000000;

	use(as);
	for (u64 i = 0; i < 100; i++)
		touch(as, at + i * PAGE_SIZE);
	assert_int_equal(cached(100), 100);
	tlb_stats(&before);
	tlb_flush_page(as, at);
	assert_int_equal(cached(100), 99);
	tlb_flush_range(as, at, at + TLB_FLUSH_CEILING * PAGE_SIZE);
	assert_int_equal(cached(100), 100 - TLB_FLUSH_CEILING);
	host_mmu_counts.page = 0;
	tlb_flush_range(as, at, at + (TLB_FLUSH_CEILING + 1) * PAGE_SIZE);
	assert_int_equal(host_mmu_counts.page, 0);
	assert_int_equal(cached(100), 0);
	tlb_flush_space(as);
	assert_int_equal(cached(100), 0);
	tlb_flush_all();
	assert_int_equal(cached(100), 0);
	tlb_stats(&s);
	assert_int_equal(s.page - before.page, 1);
	assert_int_equal(s.range - before.range, 1);
	assert_int_equal(s.space - before.space, 2);
	assert_int_equal(s.all - before.all, 1);
	aspace_put(as);
}

/* The simulated machine itself: it does keep stale translations, and the checks see them. */
static bool panicked;
static jmp_buf after_panic;
extern void (*host_panic_hook)(const char *message);

static void on_panic(const char *message)
{
	panicked = true;
	longjmp(after_panic, 1);
}

static void test_machine_is_adversarial(void **state)
{
	struct aspace *as = new_space();
	u64 at = 0x10000000, pa;
	pte_t *slot, old;
	paddr_t seen;

	use(as);
	pa = touch(as, at);
	/* Behind mm's back. */
	pte_t *table = as->root;

	for (unsigned level = PT_LEVELS; level > 1; level--)
		table = phys_to_virt(pte_pa(table[pt_index(at, level)], level));
	slot = &table[pt_index(at, 1)];
	old = *slot;
	*slot = PTE_NONE;
	assert_int_equal(host_mmu_access(at, FAULT_WRITE, true, &seen), 0);
	assert_int_equal(seen.v, pa);
	host_panic_hook = on_panic;
	if (!setjmp(after_panic))
		host_mmu_audit();
	assert_true(panicked);
	panicked = false;
	if (!setjmp(after_panic))
		mmu_check_unreachable(pa >> PAGE_SHIFT);
	assert_true(panicked);
	host_panic_hook = NULL;
	mmu_flush_page(at);
	assert_int_equal(host_mmu_access(at, FAULT_WRITE, true, &seen), -1);
	host_mmu_audit();
	mmu_check_unreachable(pa >> PAGE_SHIFT);
	*slot = old;
	aspace_put(as);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "switch counts without contexts", test_switch_counts, setup, teardown, NULL },
		{ "generations without contexts", test_generations, setup, teardown, NULL },
		{ "many spaces without contexts", test_many_spaces, setup, teardown, NULL },
		{ "flush sizes without contexts", test_flush_sizes, setup, teardown, NULL },
		{ "adversarial machine", test_machine_is_adversarial, setup, teardown, NULL },
		{ "switch counts", test_switch_counts, setup, teardown, (void *)1 },
		{ "generations", test_generations, setup, teardown, (void *)1 },
		{ "flushes in either order", test_flushes_in_either_order, setup, teardown,
		  (void *)1 },
		{ "kernel flushes", test_kernel_flushes_tell_all, setup, teardown, (void *)1 },
		{ "gather in one round", test_gather_in_one_round, setup, teardown, (void *)1 },
		{ "many spaces", test_many_spaces, setup, teardown, (void *)1 },
		{ "masks", test_masks, setup, teardown, (void *)1 },
		{ "back from lazy", test_back_from_lazy, setup, teardown, (void *)1 },
		{ "flush sizes", test_flush_sizes, setup, teardown, (void *)1 },
	};

	return cmocka_run_group_tests_name("tlb", tests, NULL, NULL);
}

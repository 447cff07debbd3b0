/*
 * mremap of touched memory: tables that move as a whole, leaves that move one by one, what grows, what
 * stays, what others name. Each case is a combination of where the region begins in its 2 MiB, how
 * long it is, where it goes, what is beside it, and who else has the pages; after it, every page is read
 * through the adversarial MMU, and everything is recounted. Random sequences are in tests/mm.
 */
#include <pthread.h>
#include <unistd.h>

#include "mm/claim.h"
#include "mm/space.h"
#include "mm_host.h"

#define FIXED (MREMAP_MAYMOVE | MREMAP_FIXED)
#define PAGES PAGE_SIZE *

static int setup_three_cpus(void **state)
{
	nr_cpus = 3;
	return setup(state);
}

#define MANY 100u

static int setup_many_cpus(void **state)
{
	nr_cpus = MANY + 1;
	return setup(state);
}

static s64 map_rw(u64 va, u64 len)
{
	return map(va, len, RW, ANON | (va ? MAP_FIXED : 0));
}

static pte_t *entry_of_level2(u64 va)
{
	pte_t *entry = as->root;

	for (unsigned level = PT_LEVELS; level > 2; level--)
		entry = phys_to_virt(pte_pa(entry[pt_index(va, level)], level));
	return &entry[pt_index(va, 2)];
}

/* ---- each combination ------------------------------------------------------------------------ */

enum family { ALONE, WITH_CHILD, CHILD_GONE, FAMILIES };
enum pattern {
	ALL,
	THIRDS,
	LAST,
	PATTERNS
}; /* which pages are written; others: in part only read */

struct move {
	u64 offset, n, more; /* pages: in the first 2 MiB; that move; that it grows by */
	u64 to;              /* from the old address on */
	bool keep, beside_old;
	enum beside { NOTHING, TOUCHED, UNTOUCHED, BESIDES } beside_new;
	enum family family;
	enum pattern pattern;
};

static u32 content(const struct move *m, u64 page)
{
	bool written =
		m->pattern == ALL || (m->pattern == THIRDS ? page % 3 == 0 : page == m->n - 1);

	return page < m->n && written ? (u32)(1000 + page) : 0;
}

static void fill(const struct move *m, u64 from)
{
	for (u64 i = 0; i < m->n; i++) {
		if (content(m, i))
			poke(as, from + PAGES i, content(m, i));
		else if (i % 3 == 1)
			assert_int_equal(peek(as, from + PAGES i), 0);
	}
}

/* The tables of the first 2 MiB and of the last, or 0. */
static u64 table_at(u64 va)
{
	pte_t e = pte_load(entry_of_level2(va));

	return pte_is_table(e, 2) ? e.v & PTE_ADDR : 0;
}

static void check_content(const struct move *m, u64 from, u64 to)
{
	for (u64 i = 0; i < m->n + m->more; i++) {
		assert_int_equal(peek(as, to + PAGES i), content(m, i));
		if (i >= m->n)
			continue;
		if (m->keep)
			assert_int_equal(peek(as, from + PAGES i), 0);
		else
			assert_int_equal(fault(from + PAGES i, FAULT_READ), SEGV_MAPERR);
	}
	assert_int_equal(fault(to + PAGES(m->n + m->more), FAULT_READ), SEGV_MAPERR);
	assert_int_equal(fault(from + PAGES m->n, FAULT_READ), SEGV_MAPERR);
	assert_int_equal(fault(from - PAGE_SIZE, FAULT_READ), SEGV_MAPERR);
}

/* Neither sees what the other writes from now on. */
static void check_child(const struct move *m, struct aspace *child, u64 from, u64 to)
{
	u32 value;

	poke(as, to, 1);
	poke(child, from + PAGES(m->n - 1), 2);
	for (u64 i = 0; i + 1 < m->n; i++)
		assert_int_equal(peek(child, from + PAGES i), content(m, i));
	assert_int_equal(access_in(child, from + PAGES m->n, FAULT_READ, &value), SEGV_MAPERR);
	assert_int_equal(peek(as, to + PAGES(m->n - 1)), content(m, m->n - 1));
	assert_int_equal(peek(as, to), 1);
}

static void run(const struct move *m)
{
	u64 from = AT + PAGES m->offset, to = from + m->to;
	u64 beside_old = from + PAGES(m->n + 2), beside_new = to + PAGES(m->n + m->more + 2);
	struct aspace *child = NULL;
	u64 table, frames;

	map_rw(from, PAGES m->n);
	fill(m, from);
	if (m->beside_old)
		map_rw(beside_old, PAGE_SIZE), poke(as, beside_old, 8);
	if (m->beside_new)
		map_rw(beside_new, PAGE_SIZE);
	if (m->beside_new == TOUCHED)
		poke(as, beside_new, 9);
	if (m->family != ALONE)
		assert_int_equal(aspace_fork(as, &child), 0);
	if (m->family == CHILD_GONE)
		aspace_put(child);
	frames = frames_named();
	table = table_at(from);
	assert_int_equal(vm_mremap(as, from, PAGES m->n, PAGES(m->n + m->more),
				   FIXED | (m->keep ? MREMAP_DONTUNMAP : 0), to),
			 to);
	aspace_audit();
	host_mmu_audit();
	if (table && IS_ALIGNED(m->to, 2 * MiB) && !m->beside_old && !m->beside_new &&
	    (m->family == ALONE || !m->more))
		assert_int_equal(table_at(to), table);
	if (!m->keep && !m->more && m->to == 64 * MiB && !m->beside_old && !m->beside_new)
		assert_true(frames_named() <= frames); /* no table was made */
	check_content(m, from, to);
	if (m->family == WITH_CHILD)
		check_child(m, child, from, to);
	if (m->beside_old)
		assert_int_equal(peek(as, beside_old), 8);
	if (m->beside_new)
		assert_int_equal(peek(as, beside_new), m->beside_new == TOUCHED ? 9 : 0);
	aspace_audit();
	host_mmu_audit();
	if (m->family == WITH_CHILD)
		aspace_put(child);
	vm_munmap(as, AT, 600 * GiB + GiB);
	aspace_audit();
}

static void test_each_combination(void **state)
{
	static const u64 offset[] = { 0, 5 }, n[] = { 3, 512, 515 }, more[] = { 0, 7, 600 };
	static const u64 to[] = { 64 * MiB, 600 * GiB, 64 * MiB + PAGES 3 };

	for (unsigned i = 0; i < 2 * 3 * 3 * 3 * FAMILIES * 2 * BESIDES * 2; i++) {
		unsigned k = i;
		struct move m = { .pattern = i / 7 % PATTERNS };

		m.offset = offset[k % 2], k /= 2;
		m.n = n[k % 3], k /= 3;
		m.more = more[k % 3], k /= 3;
		m.to = to[k % 3], k /= 3;
		m.family = k % FAMILIES, k /= FAMILIES;
		m.beside_old = k % 2, k /= 2;
		m.beside_new = k % BESIDES, k /= BESIDES;
		m.keep = k % 2;
		if (!m.keep || !m.more)
			run(&m);
	}
}

/* The table that is in the way at the new place goes; the one that moves comes. */
static void test_replaces(void **state)
{
	struct move m = { .n = 512 };

	map_rw(AT, 2 * MiB);
	fill(&m, AT);
	map_rw(AT + 64 * MiB, 2 * MiB);
	for (u64 i = 0; i < 512; i++)
		poke(as, AT + 64 * MiB + PAGES i, 7);
	assert_int_equal(vm_mremap(as, AT, 2 * MiB, 2 * MiB, FIXED, AT + 64 * MiB), AT + 64 * MiB);
	check_content(&m, AT, AT + 64 * MiB);
}

/* One page says something else: EFAULT, and nothing moves, wherever in the range it is. */
static void test_several_regions(void **state)
{
	struct move m = { .n = 1024 };
	static const u64 odd[] = { 0, 1, 15, 17, 511, 512, 1000, 1023 };

	for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
		map_rw(AT, 4 * MiB);
		fill(&m, AT);
		for (unsigned how = 0; how < 3; how++) {
			u64 at = AT + PAGES odd[i];
			s64 ret;

			if (how == 2)
				vm_munmap(as, at, PAGE_SIZE);
			else
				vm_mprotect(as, at, PAGE_SIZE, how ? PROT_NONE : PROT_READ);
			ret = vm_mremap(as, AT, 4 * MiB, 4 * MiB, FIXED, AT + 64 * MiB);
			assert_int_equal(ret, -EFAULT);
			assert_int_equal(fault(AT + 64 * MiB, FAULT_READ), SEGV_MAPERR);
			if (how < 2)
				vm_mprotect(as, at, PAGE_SIZE, RW);
		}
		vm_munmap(as, AT, 4 * MiB);
	}
}

/* Touched anonymous pages, then one of an object with the same rights, in one table: two regions. */
static void test_object_behind_anonymous(void **state)
{
	map_rw(AT, PAGES 16);
	assert_int_equal(vm_mmap(as, AT + PAGES 10, PAGES 6, RW,
				 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, NULL, 0),
			 AT + PAGES 10);
	for (u64 i = 0; i < 16; i++)
		poke(as, AT + PAGES i, 1000 + (u32)i);
	assert_int_equal(vm_mremap(as, AT, PAGES 16, PAGES 16, FIXED, AT + 64 * MiB), -EFAULT);
	assert_int_equal(vm_mremap(as, AT + PAGES 5, PAGES 6, PAGES 6, FIXED, AT + 64 * MiB),
			 -EFAULT);
	for (u64 i = 0; i < 16; i++)
		assert_int_equal(peek(as, AT + PAGES i), 1000 + i);
	assert_int_equal(fault(AT + 64 * MiB, FAULT_READ), SEGV_MAPERR);
}

/* More than is tried at once, with little touched: by tables, by leaves, growing, both staying and going. */
static void test_in_pieces(void **state)
{
	static const u64 to[] = { 8 * GiB, 8 * GiB + PAGES 3, 8 * GiB + MiB };

	for (unsigned i = 0; i < ARRAY_SIZE(to) * 4; i++) {
		u64 len = 40 * MiB, new_len = i / 3 % 2 ? len + 3 * MiB : len, at = to[i % 3];
		bool keep = i >= 6;

		map_rw(AT, len);
		map_rw(at + MiB, 30 * MiB); /* is replaced */
		poke(as, at + 2 * MiB, 7);
		for (u64 k = 0; k < len; k += PAGES 37)
			poke(as, AT + k, 1 + (u32)(k >> PAGE_SHIFT));
		if (keep)
			new_len = len;
		assert_int_equal(vm_mremap(as, AT, len, new_len,
					   FIXED | (keep ? MREMAP_DONTUNMAP : 0), at),
				 at);
		aspace_audit();
		for (u64 k = 0; k < new_len; k += PAGE_SIZE) {
			bool touched = k < len && k % (PAGES 37) == 0;

			assert_int_equal(peek(as, at + k), touched ? 1 + (k >> PAGE_SHIFT) : 0);
		}
		for (u64 k = 0; k < len; k += PAGES 37) {
			if (keep)
				assert_int_equal(peek(as, AT + k), 0);
			else
				assert_int_equal(fault(AT + k, FAULT_READ), SEGV_MAPERR);
		}
		assert_int_equal(fault(at + MAX(new_len, 31 * MiB), FAULT_READ), SEGV_MAPERR);
		/* As large as it is now, and where it is. */
		assert_int_equal(vm_mremap(as, at, new_len, new_len + PAGE_SIZE, 0, 0), at);
		assert_int_equal(peek(as, at + new_len), 0);
		vm_munmap(as, AT, 16 * GiB);
	}
}

/* Where the kernel chooses, what is large keeps its place within 2 MiB, so that its tables move. */
static void test_place(void **state)
{
	u64 from = AT + PAGES 77, table;
	s64 to;

	map_rw(from, MiB);
	map_rw(from + MiB, PAGE_SIZE); /* in the way, in another table */
	vm_munmap(as, from + MiB, PAGE_SIZE);
	map_rw(ALIGN_UP(from + MiB, 2 * MiB), PAGE_SIZE);
	poke(as, from, 1000);
	table = table_at(from);
	to = vm_mremap(as, from, MiB, 4 * MiB, MREMAP_MAYMOVE, 0);
	assert_true(to > 0);
	assert_int_equal((u64)to % (2 * MiB), from % (2 * MiB));
	assert_int_equal(table_at((u64)to), table);
	assert_int_equal(peek(as, (u64)to), 1000);
	assert_int_equal(peek(as, (u64)to + 4 * MiB - PAGE_SIZE), 0);
}

/* ---- every allocation fails in turn ---------------------------------------------------------- */

static void test_every_allocation_fails(void **state)
{
	static const u64 to[] = { 600 * GiB, 600 * GiB + PAGES 3, 64 * MiB + PAGES 300 };

	for (unsigned i = 0; i < ARRAY_SIZE(to) * 2; i++) {
		struct move m = { .offset = 5, .n = 1100, .to = to[i / 2] };
		u64 from = AT + PAGES 5, failures = 0;
		struct aspace *child;
		s64 ret;

		map_rw(from, PAGES m.n);
		map_rw(from + PAGES m.n, PAGE_SIZE); /* the edge's table does not move as a whole */
		fill(&m, from);
		if (i % 2)
			assert_int_equal(aspace_fork(as, &child), 0);
		for (u64 k = 1;; k++) {
			u64 frames = frames_named();

			alloc_fail_at = k;
			ret = vm_mremap(as, from, PAGES m.n, PAGES m.n, FIXED, from + m.to);
			if (alloc_fail_at != 0)
				break;
			assert_int_equal(ret, -ENOMEM);
			/* Empty tables may go; at the edges, what was shared has been copied. */
			assert_true(frames_named() <= frames + 2);
			aspace_audit();
			for (u64 j = 0; j < m.n; j += 100)
				assert_int_equal(peek(as, from + PAGES j), content(&m, j));
			failures++;
		}
		alloc_fail_at = 0;
		assert_int_equal(ret, from + m.to);
		assert_true(failures > 1);
		vm_munmap(as, from + PAGES m.n, PAGE_SIZE);
		check_content(&m, from, from + m.to);
		if (i % 2)
			aspace_put(child);
		vm_munmap(as, AT, 600 * GiB + GiB);
	}
}

/* ---- a table that moves while somebody waits for its lock ------------------------------------ */

static s64 move_result;
static int fault_result;

static void *move_elsewhere(void *arg)
{
	host_cpu = 1;
	move_result = vm_mremap(as, AT, PAGES 4, PAGES 4, FIXED, AT + 64 * MiB);
	return NULL;
}

static void *fault_elsewhere(void *arg)
{
	host_cpu = 2;
	fault_result = vm_fault(as, AT + PAGE_SIZE, FAULT_WRITE);
	return NULL;
}

static bool is_locked(struct frame *t)
{
	return __atomic_load_n(&t->lock.locked, __ATOMIC_ACQUIRE);
}

/* Changes when one more waits. */
static u8 tickets(struct frame *t)
{
	return __atomic_load_n(&t->lock.next, __ATOMIC_ACQUIRE);
}

/* Who waits for the lock gets it, and we again as the next. */
static void let_one_through(struct frame *t)
{
	u8 ticket = __atomic_fetch_add(&t->lock.next, 1, __ATOMIC_ACQUIRE);

	table_unlock(t);
	spin_take_in_turn(&t->lock, ticket);
}

static void wait_for_one(struct frame *t, u8 before)
{
	while (tickets(t) == before)
		cpu_relax();
}

/* A fault at the old address has come down to the table when it moves: nothing is at that address any
 * more, and the page that the table has there now is another address's. */
static void test_moved_while_waiting(void **state)
{
	struct frame *t, *above;
	pthread_t mover, other;
	u8 before;

	host_cpu = 1; /* the only one that knows translations: none is told to forget any here */
	map_rw(AT, PAGES 4);
	poke(as, AT, 1000);
	host_cpu = 0;
	t = pte_table(*entry_of_level2(AT), 2);
	above = virt_frame((void *)ALIGN_DOWN((u64)entry_of_level2(AT), PAGE_SIZE));
	table_lock(t);
	before = tickets(t);
	assert_int_equal(pthread_create(&mover, NULL, move_elsewhere, NULL), 0);
	wait_for_one(t, before);
	while (!is_locked(above)) { /* it has only looked */
		before = (u8)(tickets(t) + 1);
		let_one_through(t);
		wait_for_one(t, before);
	}
	before = tickets(t);
	assert_int_equal(pthread_create(&other, NULL, fault_elsewhere, NULL), 0);
	wait_for_one(t, before);
	table_unlock(t);
	pthread_join(mover, NULL);
	pthread_join(other, NULL);
	host_cpu = 1;
	tlb_leave_space(as);
	host_cpu = 0;
	assert_int_equal(move_result, AT + 64 * MiB);
	assert_int_equal(fault_result, SEGV_MAPERR);
	assert_true(table_at(AT + 64 * MiB) == frame_pa(t).v);
	assert_false(pte_is_present(((pte_t *)frame_virt(t))[1]));
	assert_int_equal(peek(as, AT + 64 * MiB), 1000);
}

/* ---- a claim, while somebody else goes down ---------------------------------------------------- */

static int claimed; /* [a] */

static void *unmap_elsewhere(void *arg)
{
	host_cpu = 1;
	vm_munmap(as, AT + 2 * MiB - PAGES 2, PAGES 4);
	return NULL;
}

enum { BEGIN, ALSO, BOTH };

static void *claim_elsewhere(void *arg)
{
	host_cpu = 2;
	switch ((u64)arg) {
	case BEGIN: claim_begin(as, AT, AT + 4 * MiB); break;
	case ALSO:
		claim_begin(as, 8 * GiB, 9 * GiB);
		assert_true(claim_also(as, AT, AT + 4 * MiB));
		break;
	default: claim_both(as, 8 * GiB, 9 * GiB, AT, AT + 4 * MiB);
	}
	__atomic_store_n(&claimed, 1, __ATOMIC_RELEASE);
	claim_end(as);
	return NULL;
}

/* Who has locked the table that covers two others, and waits for the second, has begun before the claim: it
 * must be waited for. */
static void claim_waits(u64 how)
{
	struct frame *t, *above;
	pthread_t first, second;
	bool early;
	u8 before;

	map_rw(AT, 4 * MiB);
	for (u64 i = 0; i < 2; i++)
		poke(as, AT + 2 * MiB - PAGES i, 1000);
	tlb_leave_space(as);
	t = pte_table(*entry_of_level2(AT + 2 * MiB), 2);
	above = virt_frame((void *)ALIGN_DOWN((u64)entry_of_level2(AT), PAGE_SIZE));
	claimed = 0;
	table_lock(t);
	before = tickets(t);
	assert_int_equal(pthread_create(&first, NULL, unmap_elsewhere, NULL), 0);
	wait_for_one(t, before);
	before = tickets(above);
	assert_int_equal(pthread_create(&second, NULL, claim_elsewhere, (void *)how), 0);
	while (tickets(above) == before && !__atomic_load_n(&claimed, __ATOMIC_ACQUIRE))
		cpu_relax();
	early = __atomic_load_n(&claimed, __ATOMIC_ACQUIRE);
	table_unlock(t);
	pthread_join(first, NULL);
	pthread_join(second, NULL);
	assert_false(early);
	assert_int_equal(claimed, 1);
	assert_int_equal(fault(AT + 2 * MiB, FAULT_READ), SEGV_MAPERR);
	assert_int_equal(peek(as, AT + 2 * MiB + PAGES 2), 0);
}

static void test_claim_waits(void **state)
{
	for (u64 how = BEGIN; how <= BOTH; how++) {
		claim_waits(how);
		vm_munmap(as, AT, 4 * MiB);
		tlb_leave_space(as);
	}
}

/* ---- who waits for whom -------------------------------------------------------------------------- */

/* A move between two places, while another thread has a claim on what lies between them: nothing there is touched,
 * and who has a claim himself must not wait. (Two such moves, one's new place between the other's, would wait for each
 * other.) */
static int moved_over; /* [a] */

static void *move_over(void *arg)
{
	host_cpu = 2;
	assert_int_equal(vm_mremap(as, AT, 20 * MiB, 20 * MiB, FIXED, AT + 80 * MiB),
			 AT + 80 * MiB);
	__atomic_store_n(&moved_over, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void test_claim_between(void **state)
{
	pthread_t mover;

	map_rw(AT, 20 * MiB);
	for (u64 i = 0; i < 20; i++)
		poke(as, AT + i * MiB, (u32)i);
	tlb_leave_space(as);
	moved_over = 0;
	host_cpu = 1;
	claim_begin(as, AT + 40 * MiB, AT + 60 * MiB);
	assert_int_equal(pthread_create(&mover, NULL, move_over, NULL), 0);
	for (u32 ms = 0; ms < 20000 && !__atomic_load_n(&moved_over, __ATOMIC_ACQUIRE); ms++)
		usleep(1000);
	assert_int_equal(__atomic_load_n(&moved_over, __ATOMIC_ACQUIRE), 1);
	claim_end(as);
	pthread_join(mover, NULL);
	host_cpu = 0;
	for (u64 i = 0; i < 20; i++)
		assert_int_equal(peek(as, AT + 80 * MiB + i * MiB), i);
}

/* Long operations in as many spaces: none of them is another one's business. */
static void test_claims_of_many_spaces(void **state)
{
	struct aspace *spaces[MANY];

	for (u32 i = 0; i < MANY; i++) {
		spaces[i] = aspace_create();
		claim_begin(spaces[i], AT, AT + GiB);
	}
	for (u32 i = 0; i < MANY; i++) {
		assert_false(claim_begin(spaces[i], AT, AT + GiB)); /* it has one */
		claim_end(spaces[i]);
		aspace_put(spaces[i]);
	}
}

/* In one space, apart; twice, for the second time there are as many at hand; and one of them twice as large. */
static void test_claims_of_many_threads(void **state)
{
	struct claim *c;
	u32 n = 0;

	for (u32 times = 0; times < 2; times++) {
		for (host_cpu = 0; host_cpu < MANY; host_cpu++)
			assert_true(claim_begin(as, host_cpu * GiB, host_cpu * GiB + 4 * MiB));
		host_cpu = 0;
		assert_true(claim_also(as, MANY * GiB, MANY * GiB + PAGE_SIZE));
		assert_false(claim_also(as, 7 * GiB, 7 * GiB + PAGE_SIZE));
		for (u64 i = 1; i < MANY; i++)
			assert_null(claim_of_others(as, i * GiB, i * GiB)); /* it has one itself */
		host_cpu = MANY;
		for (u64 i = 0; i < MANY; i++) {
			assert_non_null(claim_of_others(as, i * GiB, i * GiB));
			assert_null(claim_of_others(as, i * GiB + 4 * MiB, i * GiB + GiB - 1));
		}
		for (host_cpu = 0; host_cpu < MANY; host_cpu++)
			claim_end(as);
		host_cpu = 0;
		assert_int_equal(as->claim_map, 0);
	}
	for (c = &as->claim; c; c = c->next)
		n++;
	assert_int_equal(n, MANY);
}

/* No memory for one more: then that operation waits for one that has begun, and nobody hears of it. */
static void *claim_third(void *arg)
{
	host_cpu = 2;
	assert_true(claim_begin(as, 2 * GiB, 3 * GiB));
	__atomic_store_n(&claimed, 1, __ATOMIC_RELEASE);
	claim_end(as);
	return NULL;
}

static void test_claim_without_memory(void **state)
{
	pthread_t third;

	claimed = 0;
	claim_begin(as, 0, GiB);
	alloc_fail_at = 1;
	assert_int_equal(pthread_create(&third, NULL, claim_third, NULL), 0);
	usleep(20000);
	assert_int_equal(__atomic_load_n(&claimed, __ATOMIC_ACQUIRE), 0);
	claim_end(as);
	pthread_join(third, NULL);
	assert_int_equal(claimed, 1);
	assert_int_equal(alloc_fail_at, 0);
	assert_null(as->claim.next);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_each_combination),
		T(test_replaces),
		T(test_several_regions),
		T(test_object_behind_anonymous),
		T(test_in_pieces),
		T(test_place),
		T(test_every_allocation_fails),
		cmocka_unit_test_setup_teardown(test_moved_while_waiting, setup_three_cpus,
						teardown),
		cmocka_unit_test_setup_teardown(test_claim_waits, setup_three_cpus, teardown),
		cmocka_unit_test_setup_teardown(test_claim_between, setup_three_cpus, teardown),
		T(test_claims_of_many_spaces),
		cmocka_unit_test_setup_teardown(test_claims_of_many_threads, setup_many_cpus,
						teardown),
		cmocka_unit_test_setup_teardown(test_claim_without_memory, setup_three_cpus,
						teardown),
	};

	return cmocka_run_group_tests_name("mremap", tests, NULL, NULL);
}

/*
 * Pages of 2 MiB for private anonymous memory (Linux's transparent huge pages).
 *
 * Whether a range may have one needs no bookkeeping: where a mark of private anonymous memory stands
 * at level 2 or above, 2 MiB around the address are still whole, aligned and untouched. The first
 * write there takes a block of 512 frames and installs a leaf of level 2 (mm/fault.c). A read maps
 * the zero page of 4 KiB, as anywhere else, and thereby decides for small pages: a large page of
 * zeroes would cost 2 MiB for good. There is no joining of small pages afterwards.
 *
 * Counting. A block is first *whole*: its head has order 9, and is counted by the leaves of level 2
 * (and held entries) that name it, several after a fork; the other 511 have no count. The first of
 * its owners who needs a part of it for itself *dissolves* it: all 512 frames get the count that
 * the head had, and order 0. From then on an entry of level 2 that names the block owns one
 * reference of each of them, and a table of level 1 in its place owns the same: splitting an entry
 * changes no count. One who turns out to be alone with all 512 makes the block whole again. A lock
 * in the head, words[0], keeps these steps apart; the head cannot go while an entry of level 2
 * names it. The lock is the last in the order, held for a few hundred instructions at most.
 *
 * Splitting. The hardware must not know a large and small translations of the same address at once
 * (processors have stopped over that): the entry is made a held one, not present, then the space is
 * flushed, then the table takes its place. Who accesses the page meanwhile faults, waits for the
 * lock of the table of level 2, and finds the new table. One INVLPG forgets a large leaf.
 */
#include "mm/large.h"

#include "arch/api/cpu.h"
#include "arch/api/mmu.h"
#include "arch/api/preempt.h"
#include "lib/cmdline.h"
#include "lib/kassert.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "mm/pt.h"

CMDLINE_OPTION("transparent_hugepage", large_option,
	       "always|madvise|never: who gets pages of 2 MiB (always from 512 MiB of memory on, "
	       "else madvise)");

/* Linux's limit as well: below, memory is worth more than translations. */
#define ALWAYS_FROM (512 * MiB)

static enum large_policy policy;     /* [a] */
static atomic64_t whole_blocks;      /* [a] */
static atomic64_t fallbacks, splits; /* [a] */

enum large_policy large_policy(void)
{
	return READ_ONCE(policy);
}

void large_set_policy(enum large_policy p)
{
	WRITE_ONCE(policy, p);
}

void large_init(void)
{
	/* What the firmware and the kernel's image take of 512 MiB is not counted against it. */
	bool large = frame_total() >= ALWAYS_FROM / PAGE_SIZE / 8 * 7;

	policy = large ? LARGE_ALWAYS : LARGE_MADVISE;
	if (cmdline_is(&large_option, "always"))
		policy = LARGE_ALWAYS;
	else if (cmdline_is(&large_option, "madvise"))
		policy = LARGE_MADVISE;
	else if (cmdline_is(&large_option, "never"))
		policy = LARGE_NEVER;
	else if (large_option.value)
		log_warn("transparent_hugepage=%s: not one of always, madvise, never\n",
			 large_option.value);
}

bool large_wanted(const struct aspace *as, pte_t mark)
{
	enum large_policy p = large_policy();

	if ((mark.v & VM_NOHUGE) || READ_ONCE(as->no_large))
		return false;
	return p == LARGE_ALWAYS || (p == LARGE_MADVISE && (mark.v & VM_HUGE));
}

/* ---- counting -------------------------------------------------------------------------------- */

static void block_lock(struct frame *head)
{
	preempt_disable();
	while (__atomic_exchange_n(&head->words[0], 1ul, __ATOMIC_ACQUIRE))
		cpu_relax();
}

static void block_unlock(struct frame *head)
{
	__atomic_store_n(&head->words[0], 0ul, __ATOMIC_RELEASE);
	preempt_enable();
}

/* Stays as it is with the lock, or for who is the only one that names it. */
static bool is_whole(const struct frame *head)
{
	return READ_ONCE(head->order) == LARGE_ORDER;
}

struct frame *large_alloc(void)
{
	struct frame *head = frame_alloc_order(LARGE_ORDER, FRAME_ANON, FRAME_ZERO);

	if (!head) {
		atomic_fetch_add(&fallbacks, 1ul);
		return NULL;
	}
	head->words[0] = 0;
	atomic_fetch_add(&whole_blocks, 1ul);
	return head;
}

/*
 * In this order: with one reference, the caller's, nobody can come any more to take the lock; who has
 * just given up the other one may still be about to release it, and then must not find the block freed;
 * and nobody is left who might dissolve it.
 */
static bool is_whole_and_ours(const struct frame *head)
{
	return atomic_load_acquire(&head->refs) == 1 && !load_acquire(&head->words[0]) &&
	       is_whole(head);
}

void large_get(struct frame *head)
{
	if (likely(is_whole_and_ours(head))) {
		frame_get(head);
		return;
	}
	block_lock(head);
	frame_get(head);
	if (!is_whole(head))
		for (unsigned i = 1; i < LARGE_PAGES; i++)
			frame_get(head + i);
	block_unlock(head);
}

/* One reference of each frame of a dissolved block goes. The head's last: others may be in its lock. */
static void put_dissolved(struct frame *head)
{
	struct frame *batch[64];

	for (unsigned done = 0; done < LARGE_PAGES; done += ARRAY_SIZE(batch)) {
		for (unsigned i = 0; i < ARRAY_SIZE(batch); i++)
			batch[i] = head + (LARGE_PAGES - 1 - done - i);
		frame_put_many(batch, ARRAY_SIZE(batch));
	}
}

/* The last one's: nobody else knows of it. */
static void free_whole(struct frame *head)
{
	mmu_check_unreachable_block(frame_pfn(head), LARGE_PAGES);
	atomic_fetch_sub(&whole_blocks, 1ul);
	frame_put(head);
}

void large_put(struct frame *head)
{
	bool whole, last = false;

	if (is_whole_and_ours(head)) {
		free_whole(head);
		return;
	}
	block_lock(head);
	whole = is_whole(head);
	if (whole) {
		last = frame_refs(head) == 1; /* by now */
		if (!last)
			atomic_fetch_sub(&head->refs, 1u);
	}
	block_unlock(head);
	if (!whole)
		put_dissolved(head);
	else if (last)
		free_whole(head);
}

/* All frames of a dissolved block have one owner, the caller: counted as a whole again. */
static void make_whole(struct frame *head)
{
	for (unsigned i = 1; i < LARGE_PAGES; i++)
		atomic_store(&head[i].refs, 0u);
	head->order = LARGE_ORDER;
	atomic_fetch_add(&whole_blocks, 1ul);
}

bool large_is_alone(struct frame *head)
{
	bool alone = true;

	if (is_whole_and_ours(head))
		return true;
	block_lock(head);
	if (is_whole(head)) {
		alone = frame_refs(head) == 1;
	} else {
		for (unsigned i = 0; i < LARGE_PAGES && alone; i++)
			alone = frame_refs(head + i) == 1;
		if (alone)
			make_whole(head);
	}
	block_unlock(head);
	return alone;
}

u32 large_refs(const struct frame *head, u64 i)
{
	return frame_refs(is_whole(head) ? head : head + i);
}

static void dissolve(struct frame *head)
{
	block_lock(head);
	if (is_whole(head)) {
		u32 refs = frame_refs(head);

		for (unsigned i = 1; i < LARGE_PAGES; i++)
			atomic_store(&head[i].refs, refs);
		WRITE_ONCE(head->order, 0);
		atomic_fetch_sub(&whole_blocks, 1ul);
	}
	block_unlock(head);
}

/* ---- splitting ------------------------------------------------------------------------------- */

void large_split(struct pt_cursor *c, pte_t *slot, u64 va, pte_t *entry)
{
	pte_t e = pte_load(slot);
	pfn_t pfn = slot_pfn(e);

	if (pte_is_present(e)) {
		e = pte_exchange(slot, mark_held(pfn, e.v & VM_BITS));
		tlb_flush_page(c->as, va);
		e.v &= ~(PTE_ADDR | PTE_LARGE);
		for (unsigned i = 0; i < LARGE_PAGES; i++)
			entry[i] = pte_make_pfn(pfn + i, e.v);
	} else {
		for (unsigned i = 0; i < LARGE_PAGES; i++)
			entry[i] = mark_held(pfn + i, e.v & VM_BITS);
	}
	dissolve(pfn_frame(pfn));
	atomic_fetch_add(&splits, 1ul);
}

u64 large_next(struct aspace *as, u64 va, bool first)
{
	struct pt_cursor c;
	u64 size;

	if (!first && !IS_ALIGNED(va, LARGE_SIZE))
		return va + PAGE_SIZE; /* the one before was small, so this is */
	pt_lock_read(&c, as, va);
	size = pte_is_leaf(c.entry[pt_index(va, c.level)], c.level) ? pt_span(c.level) : PAGE_SIZE;
	pt_unlock(&c);
	return (va | (size - 1)) + 1;
}

void large_stats(struct large_stats *out)
{
	out->in_use = atomic_load(&whole_blocks);
	out->fallbacks = atomic_load(&fallbacks);
	out->splits = atomic_load(&splits);
}

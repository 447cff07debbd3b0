/*
 * Long operations in pieces are one step for others: who has a claim on a range is alone with it.
 *
 * The locks of tables keep preemption off, so a gigabyte of pages cannot be unmapped, protected, moved
 * or shared with a child under them: it goes piece by piece (mm/piece.c, mm/mremap.c, mm/fork.c), and other
 * threads run in between. What they may not do meanwhile is to see, or to change, what is half done. So the
 * operation claims its range first. Whoever has locked the table that covers his own range then looks whether there
 * is a claim (lock_on_the_way in mm/pt.c: one load, of a line that all operations read anyway), and if it concerns his
 * range gives the lock up and waits: calls of the mmap family, faults, forks, pages that leave a file. Linux's
 * mmap_lock does the same to a whole space, for short operations too.
 *
 * Accesses that take no fault are not stopped, here as there: while mprotect runs a page may still be
 * writable and its neighbour not any more. Readers of the page table (/proc, mincore, regions) see it as it is.
 *
 *	struct aspace	claimer		the thread that has the claim, or NULL
 *			claim[2]	two ranges, of whole 2 MiB: no table of level 1 is in and out
 *			claim_mutex	held by the claimer; waiting for the end is to take it, which lends him
 *					one's priority
 *
 * A claim counts for whoever takes a lock after it is seen. Who was faster still goes on: with a table of level 1 alone,
 * whose lock the pieces will wait for; or with one above, going down. The claimer waits for the latter (settle): he takes
 * and drops the lock of each upper table over his range, from the top down, for nobody goes down but from above.
 *
 * What is to end with the operation, but may sleep when it does, waits until the claim is gone.
 */
#include "mm/claim.h"

#include "arch/api/preempt.h"
#include "lib/kassert.h"
#include "mm/pt.h"

/* Tables of level 2 and above, that others have locked meanwhile: until they have done what they had begun. */
static void settle(struct aspace *as, u64 start, u64 end)
{
	for (unsigned level = PT_LEVELS; level > 1; level--)
		for (u64 va = start; va < end;) {
			pte_t *entry;

			preempt_disable();
			va = pt_next_table(as, va, level, &entry);
			if (entry) {
				table_lock_bare(page_frame(entry));
				table_unlock(page_frame(entry));
			}
			preempt_enable();
		}
}

static void set_range(struct aspace *as, unsigned i, u64 start, u64 end)
{
	WRITE_ONCE(as->claim[i].start, ALIGN_DOWN(start, pt_span(2)));
	WRITE_ONCE(as->claim[i].last, ALIGN_UP(end, pt_span(2)) - 1);
}

bool claim_begin(struct aspace *as, u64 start, u64 end)
{
	if (READ_ONCE(as->claimer) == current())
		return false;
	mutex_lock(&as->claim_mutex);
	set_range(as, 0, start, end);
	WRITE_ONCE(as->claim[1].start, UINT64_MAX);
	WRITE_ONCE(as->claim[1].last, 0);
	/* A full barrier: who takes a lock that settle has taken sees it. */
	(void)__atomic_exchange_n(&as->claimer, current(), __ATOMIC_SEQ_CST);
	settle(as, start, end);
	return true;
}

void claim_also(struct aspace *as, u64 start, u64 end)
{
	kassert(READ_ONCE(as->claimer) == current());
	set_range(as, 1, start, end);
	settle(as, start, end);
}

void claim_end(struct aspace *as)
{
	struct vm_mapping *dead = as->claim_dead;

	kassert(READ_ONCE(as->claimer) == current());
	as->claim_dead = NULL;
	__atomic_store_n(&as->claimer, NULL, __ATOMIC_RELEASE);
	mutex_unlock(&as->claim_mutex);
	mapping_destroy_all(dead);
}

/* What another thread writes meanwhile may be seen in part: then the lock that we hold comes before its claim. */
bool claim_excludes(const struct aspace *as, u64 start, u64 last)
{
	if (!claim_of_others(as))
		return false;
	for (unsigned i = 0; i < ARRAY_SIZE(as->claim); i++)
		if (start <= READ_ONCE(as->claim[i].last) && last >= READ_ONCE(as->claim[i].start))
			return true;
	return false;
}

void claim_wait(struct aspace *as)
{
	mutex_lock(&as->claim_mutex);
	mutex_unlock(&as->claim_mutex);
}

bool claim_bury(struct aspace *as, struct vm_mapping *dead)
{
	if (READ_ONCE(as->claimer) != current())
		return false;
	while (dead) {
		struct vm_mapping *m = dead;

		dead = m->dead;
		m->dead = as->claim_dead;
		as->claim_dead = m;
	}
	return true;
}

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
 * A claim is an entry of a table that all spaces share; the space has a bit for each that is its own. Claims on ranges
 * apart do not know of each other: who unmaps here and who protects there work side by side.
 *
 *	struct aspace	claims		[as->lock to write] the bits
 *			claim_map	[as->lock to write] a bit for each GiB on which there is one, by a hash: what others
 *					look at first, so that claims elsewhere cost them next to nothing
 *	struct claim	owner		the thread that has taken the entry, or NULL
 *			range[2]	[as->lock to write] of whole 2 MiB: no table of level 1 is in and out
 *			mutex		held by the owner: waiting for the end is to take it, which lends him
 *					one's priority. Who waits has no claim, so nobody waits in a circle
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
#include "sched/mutex.h"

#define CLAIMS 64u /* bits of aspace.claims */

static struct claim {
	struct mutex mutex;
	struct thread *owner; /* [a] */
	struct {
		u64 start, last; /* [a] */
	} range[2];
	struct vm_mapping *dead; /* [o] to destroy at its end */
} __aligned(64) claims[CLAIMS];

static inline u64 bit_of(const struct claim *c)
{
	return 1ul << (c - claims);
}

/* Each claim of a space. */
#define for_each_claim(c, as)                                                                      \
	for (u64 left = READ_ONCE((as)->claims);                                                   \
	     left && ((c) = &claims[__builtin_ctzl(left)], true); left &= left - 1)

static struct claim *mine(const struct aspace *as)
{
	struct claim *c;

	for_each_claim(c, as) if (READ_ONCE(c->owner) == current()) return c;
	return NULL;
}

/* What another thread writes meanwhile may be seen in part: then the lock that we hold comes before its claim. */
struct claim *claim_of_others(const struct aspace *as, u64 start, u64 last)
{
	struct claim *c;

	for_each_claim(c, as)
	{
		if (READ_ONCE(c->owner) == current())
			continue;
		for (unsigned i = 0; i < ARRAY_SIZE(c->range); i++)
			if (start <= READ_ONCE(c->range[i].last) &&
			    last >= READ_ONCE(c->range[i].start))
				return c;
	}
	return NULL;
}

void claim_wait(struct claim *c)
{
	mutex_lock(&c->mutex);
	mutex_unlock(&c->mutex);
}

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

/* An entry that nobody has, near those that this CPU took before. */
static struct claim *take_entry(void)
{
	u32 first = this_cpu_read(cpu_number);

	for (u32 i = 0;; i++) {
		struct claim *c = &claims[(first + i) % CLAIMS];
		struct thread *nobody = NULL;

		if (__atomic_compare_exchange_n(&c->owner, &nobody, current(), false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return c;
		if (i % CLAIMS == CLAIMS - 1)
			claim_wait(c);
	}
}

static void set_range(struct claim *c, unsigned i, u64 start, u64 end)
{
	WRITE_ONCE(c->range[i].start, start < end ? ALIGN_DOWN(start, pt_span(2)) : UINT64_MAX);
	WRITE_ONCE(c->range[i].last, start < end ? ALIGN_UP(end, pt_span(2)) - 1 : 0);
}

static u64 map_of(const struct claim *c)
{
	u64 map = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(c->range); i++)
		for (u64 va = c->range[i].start; va < c->range[i].last && ~map;
		     va = (va | (GiB - 1)) + 1)
			map |= claim_bit(va);
	return map;
}

/* as->lock held. */
static void update_map(struct aspace *as)
{
	struct claim *c;
	u64 map = 0;

	for_each_claim(c, as) map |= map_of(c);
	/* A full barrier: who takes a lock that settle has taken sees it. */
	(void)__atomic_exchange_n(&as->claim_map, map, __ATOMIC_SEQ_CST);
}

/* Of a claim whose ranges are set, which is in the space or not yet: another one in its way. as->lock held. */
static struct claim *in_the_way(struct aspace *as, const struct claim *c)
{
	struct claim *other = NULL;

	for (unsigned i = 0; i < ARRAY_SIZE(c->range) && !other; i++)
		if (c->range[i].start < c->range[i].last)
			other = claim_of_others(as, c->range[i].start, c->range[i].last);
	return other;
}

void claim_both(struct aspace *as, u64 start, u64 end, u64 start2, u64 end2)
{
	struct claim *c = take_entry(), *other;

	do {
		mutex_lock(&c->mutex);
		spin_lock(&as->lock);
		set_range(c, 0, start, end);
		set_range(c, 1, start2, end2);
		other = in_the_way(as, c);
		if (!other) {
			WRITE_ONCE(as->claims, as->claims | bit_of(c));
			update_map(as);
		}
		spin_unlock(&as->lock);
		if (other) {
			mutex_unlock(&c->mutex);
			claim_wait(other);
		}
	} while (other);
	settle(as, start, end);
	settle(as, start2, end2);
}

bool claim_begin(struct aspace *as, u64 start, u64 end)
{
	if (READ_ONCE(as->claims) && mine(as))
		return false;
	claim_both(as, start, end, 0, 0);
	return true;
}

bool claim_also(struct aspace *as, u64 start, u64 end)
{
	struct claim *c = mine(as);
	bool is_free;

	kassert(c != NULL);
	spin_lock(&as->lock);
	set_range(c, 1, start, end);
	is_free = !in_the_way(as, c);
	if (!is_free)
		set_range(c, 1, 0, 0);
	update_map(as);
	spin_unlock(&as->lock);
	if (is_free)
		settle(as, start, end);
	return is_free;
}

void claim_end(struct aspace *as)
{
	struct claim *c = mine(as);
	struct vm_mapping *dead;

	kassert(c != NULL);
	dead = c->dead;
	c->dead = NULL;
	spin_lock(&as->lock);
	WRITE_ONCE(as->claims, as->claims & ~bit_of(c));
	update_map(as);
	spin_unlock(&as->lock);
	mutex_unlock(&c->mutex);
	__atomic_store_n(&c->owner, NULL, __ATOMIC_RELEASE);
	mapping_destroy_all(dead);
}

bool claim_bury(struct aspace *as, struct vm_mapping *dead)
{
	struct claim *c = mine(as);

	if (!c)
		return false;
	while (dead) {
		struct vm_mapping *m = dead;

		dead = m->dead;
		m->dead = c->dead;
		c->dead = m;
	}
	return true;
}

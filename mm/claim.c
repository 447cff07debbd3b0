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
 * writable and its neighbour not any more. Calls that ask for regions before they change them, or only ask, wait, too
 * (region_next_settled): who has seen one page locked by mlockall sees the next one locked. What reads for /proc, or adds up
 * for a limit, sees the page table as it is.
 *
 * A space has a list of claims, those in use and others, which only gets longer: one is part of the space, the next come
 * when more operations are at it at a time than ever before, and stay until the space ends. So who finds one in the list may
 * look at it, and wait for it, when it has ended already and serves for another operation: he has waited for
 * nothing then, and looks again. Claims on ranges apart do not know of each other: who unmaps here and who protects there
 * work side by side. Other spaces' claims concern nobody.
 *
 *	struct aspace	claim		the first of the list
 *			claim_map	[as->lock to write] a bit for each GiB on which there is one, by a hash: what others
 *					look at first, so that claims elsewhere cost them next to nothing
 *	struct claim	owner		[as->lock to write] the thread that has the claim; NULL: it is not in use
 *			range[2]	[as->lock to write] of whole 2 MiB: no table of level 1 is in and out
 *			mutex		held by the owner: waiting for the end is to take it, which lends him
 *					one's priority
 *			next		[as->lock to write] set once
 *
 * Nobody waits in a circle, for who waits has no claim: who has one touches only what he has claimed. The lowest table
 * over all of that may cover others' claims, too (mremap's two ranges, with something in between): they do not concern him.
 *
 * A claim counts for whoever takes a lock after it is seen. Who was faster still goes on: with a table of level 1 alone,
 * whose lock the pieces will wait for; or with one above, going down. The claimer waits for the latter (settle): he takes
 * and drops the lock of each upper table over his range, from the top down, for nobody goes down but from above.
 *
 * Who waits is served in turn, and a new claim on the same range comes after all who waited for the one before, unless its
 * thread is more urgent.
 *
 * What is to end with the operation, but may sleep when it does, waits until the claim is gone.
 *
 * The protocol is checked by a model, tests/model/claim.pml.
 */
#include "mm/claim.h"

#include "arch/api/preempt.h"
#include "lib/kassert.h"
#include "mm/pt.h"
#include "mm/slab.h"

static struct slab_cache *claim_cache; /* [I] */

void claim_init(void)
{
	claim_cache = slab_cache_create("claim", sizeof(struct claim), 64);
}

#define for_each_claim(c, as) for ((c) = &(as)->claim; (c); (c) = READ_ONCE((c)->next))

static struct claim *mine(struct aspace *as)
{
	struct claim *c;

	if (!READ_ONCE(as->claim_map))
		return NULL;
	for_each_claim(c, as) if (READ_ONCE(c->owner) == current()) return c;
	return NULL;
}

/* ---- others' ---------------------------------------------------------------------------------- */

/* What another thread writes meanwhile may be seen in part: then the lock that we hold comes before its claim. */
static bool concerns(const struct claim *c, u64 start, u64 last)
{
	for (unsigned i = 0; i < ARRAY_SIZE(c->range); i++)
		if (start <= READ_ONCE(c->range[i].last) && last >= READ_ONCE(c->range[i].start))
			return true;
	return false;
}

static struct claim *find(struct aspace *as, u64 start, u64 last)
{
	struct claim *c;

	for_each_claim(c, as)
	{
		struct thread *owner = READ_ONCE(c->owner);

		if (owner && owner != current() && concerns(c, start, last))
			return c;
	}
	return NULL;
}

struct claim *claim_of_others(struct aspace *as, u64 start, u64 last)
{
	struct claim *c = find(as, start, last);

	return c && !mine(as) ? c : NULL;
}

void claim_wait(struct claim *c)
{
	mutex_lock_in_turn(&c->mutex);
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

/* ---- one's own: as->lock held, to begin with --------------------------------------------------- */

static struct claim_range range_of(u64 start, u64 end)
{
	if (start >= end)
		return (struct claim_range){ UINT64_MAX, 0 };
	return (struct claim_range){ ALIGN_DOWN(start, pt_span(2)), ALIGN_UP(end, pt_span(2)) - 1 };
}

static void set_range(struct claim *c, unsigned i, struct claim_range r)
{
	WRITE_ONCE(c->range[i].start, r.start);
	WRITE_ONCE(c->range[i].last, r.last);
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

static void update_map(struct aspace *as)
{
	struct claim *c;
	u64 map = 0;

	for_each_claim(c, as) if (c->owner) map |= map_of(c);
	/* A full barrier: who takes a lock that settle has taken sees it. */
	(void)__atomic_exchange_n(&as->claim_map, map, __ATOMIC_SEQ_CST);
}

/*
 * One that is not in use, with its mutex. Those who waited for the last user take the mutex in turn: one that is still
 * wanted is left alone, or they would wait for us as well.
 */
static struct claim *take_free(struct aspace *as)
{
	struct claim *c;

	for_each_claim(c, as) if (mutex_try_unwanted(&c->mutex)) return c;
	return NULL;
}

/*
 * One that has ended, but not all who waited for it have come through. Who claims the same again and again waits once for
 * those, each time, or they would never get there.
 */
static struct claim *find_awaited(struct aspace *as, u64 start, u64 last)
{
	struct claim *c;

	for_each_claim(c, as) if (!c->owner && mutex_is_wanted(&c->mutex) &&
				  concerns(c, start, last)) return c;
	return NULL;
}

/* True: there is a claim on both. False: *busy is to be waited for; if that is NULL, all of the list are in use. */
static bool try_both(struct aspace *as, const struct claim_range r[2], bool *had_turn,
		     struct claim **busy)
{
	struct claim *c;

	spin_lock(&as->lock);
	*busy = NULL;
	for (unsigned i = 0; i < 2 && !*busy; i++)
		*busy = find(as, r[i].start, r[i].last);
	for (unsigned i = 0; i < 2 && !*busy && !*had_turn; i++) {
		*busy = find_awaited(as, r[i].start, r[i].last);
		*had_turn = *busy != NULL;
	}
	c = *busy ? NULL : take_free(as);
	if (c) {
		set_range(c, 0, r[0]);
		set_range(c, 1, r[1]);
		WRITE_ONCE(c->owner, current());
		update_map(as);
	}
	spin_unlock(&as->lock);
	return c != NULL;
}

/* The list gets longer. Returns NULL, or, when there is no memory, one to wait for. */
static struct claim *add_one(struct aspace *as)
{
	struct claim *c = slab_zalloc(claim_cache);

	if (!c)
		return &as->claim;
	spin_lock(&as->lock);
	c->next = as->claim.next;
	__atomic_store_n(&as->claim.next, c, __ATOMIC_RELEASE);
	spin_unlock(&as->lock);
	return NULL;
}

void claim_both(struct aspace *as, u64 start, u64 end, u64 start2, u64 end2)
{
	const struct claim_range r[2] = { range_of(start, end), range_of(start2, end2) };
	bool had_turn = false;
	struct claim *busy;

	dassert(!mine(as));
	while (!try_both(as, r, &had_turn, &busy)) {
		if (!busy)
			busy = add_one(as);
		if (busy)
			claim_wait(busy);
	}
	settle(as, start, end);
	settle(as, start2, end2);
}

bool claim_begin(struct aspace *as, u64 start, u64 end)
{
	if (mine(as))
		return false;
	claim_both(as, start, end, 0, 0);
	return true;
}

bool claim_also(struct aspace *as, u64 start, u64 end)
{
	struct claim_range r = range_of(start, end);
	struct claim *c = mine(as);
	bool is_free;

	kassert(c != NULL);
	spin_lock(&as->lock);
	is_free = !find(as, r.start, r.last);
	if (is_free) {
		set_range(c, 1, r);
		update_map(as);
	}
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
	WRITE_ONCE(c->owner, NULL);
	update_map(as);
	spin_unlock(&as->lock);
	mutex_unlock(&c->mutex);
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

void claim_free_all(struct aspace *as)
{
	struct claim *c = as->claim.next;

	kassert(!as->claim.owner);
	while (c) {
		struct claim *next = c->next;

		kassert(!c->owner);
		slab_free(claim_cache, c);
		c = next;
	}
}

/*
 * The auditor: walks all address spaces and recounts. Every reference that a slot owns must be in
 * the count of what it names, and no other (mm/pt.h, "Ownership"); every leaf must be one that the
 * rules of mm/mark.h allow. In particular a private page that the hardware may write has no second
 * owner (or its table was copied and cannot be written through): copy-on-write rests on that. A
 * shared table is counted against the entries that name it, in all spaces.
 *
 * Passes: clear, count, compare, clear. The counters are in places that are unused while their
 * owner lives: `owner` of an anonymous frame, `dead` of a mapping.
 *
 * For tests and debug builds: nothing may run beside it.
 */
#include "lib/kassert.h"
#include "mm/large.h"
#include "mm/pt.h"

enum audit_pass { AUDIT_CLEAR, AUDIT_COUNT, AUDIT_COMPARE };

static void audit_mapping(pte_t mark, enum audit_pass pass)
{
	struct vm_mapping *m;

	if (!mark_has_mapping(mark))
		return;
	m = mark_mapping(mark);
	if (pass == AUDIT_COUNT)
		m->dead = (struct vm_mapping *)((u64)m->dead + 1);
	else if (pass == AUDIT_COMPARE)
		kassert_eq((u64)m->dead, atomic_load(&m->refs));
	else
		m->dead = NULL;
}

static void audit_frame(pfn_t pfn, enum audit_pass pass)
{
	struct frame *f = pfn_frame(pfn);

	if (pfn_is_zero_page(pfn))
		return;
	kassert(f->type == FRAME_ANON || f->type == FRAME_FILE);
	kassert(f->order == 0 || f->order == LARGE_ORDER);
	if (f->type == FRAME_FILE) {
		kassert(frame_refs(f) >= 2); /* the slot's and the object's */
		return;
	}
	if (pass == AUDIT_COUNT)
		f->owner++;
	else if (pass == AUDIT_COMPARE)
		kassert_eq(f->owner, frame_refs(f));
	else
		f->owner = 0;
}

/* A large page: its head is counted, or all 512 frames are. */
static void audit_large(pte_t e, enum audit_pass pass)
{
	struct frame *head = pfn_frame(slot_pfn(e));

	kassert(IS_ALIGNED(slot_pfn(e), LARGE_PAGES) && head->type == FRAME_ANON);
	kassert(!(e.v & VM_SIDE) && !head->words[0]); /* nobody is in its lock */
	for (unsigned i = 0; i < LARGE_PAGES; i++) {
		if (head->order == 0 || i == 0)
			audit_frame(slot_pfn(e) + i, pass);
		else
			kassert(head[i].type == FRAME_ANON && frame_refs(&head[i]) == 0);
	}
	if (!pte_is_present(e))
		return;
	kassert((e.v & PTE_LARGE) && (e.v & PTE_USER) && bits_accessible(e.v));
	kassert(!(e.v & PTE_WRITE) || (e.v & VM_WRITE));
	for (unsigned i = 0; i < LARGE_PAGES; i++)
		kassert(!(e.v & PTE_WRITE) || large_refs(head, i) == 1);
}

static void audit_leaf(const struct frame *table, pte_t e, pte_t mark)
{
	struct frame *f = pfn_frame(pte_pfn(e));
	bool zero = pfn_is_zero_page(pte_pfn(e));

	kassert(e.v & PTE_USER);
	kassert(bits_accessible(e.v));
	if (!(e.v & PTE_WRITE))
		return;
	kassert(e.v & VM_WRITE);
	if (mark_kind(mark) == MARK_SHARED)
		kassert(f->type == FRAME_FILE && !mark_mapping(mark)->nowrite);
	else
		kassert(!zero && f->type == FRAME_ANON &&
			(frame_refs(f) == 1 || (table->state & TABLE_COPIED)));
}

static void audit_slot(struct frame *table, unsigned i, pte_t e, enum audit_pass pass)
{
	pte_t side = table->side ? table->side->mark[i] : PTE_NONE;
	bool has_frame = slot_has_frame(e);

	kassert(mark_kind(e) <= MARK_HELD || pte_is_present(e));
	kassert(!(e.v & VM_FORK) || table->level > 1 || (table->state & TABLE_FORK));
	kassert(!(e.v & VM_SIDE) == pte_is_none(side));
	kassert(!(e.v & VM_SIDE) || has_frame);
	if (!has_frame) {
		kassert(mark_kind(e) != 0);
		audit_mapping(e, pass);
		return;
	}
	if (table->level == LARGE_LEVEL) {
		audit_large(e, pass);
		return;
	}
	kassert(table->level == 1);
	if (e.v & VM_SIDE) {
		kassert(mark_has_mapping(side) && !(side.v & VM_BITS));
		audit_mapping(side, pass);
	}
	if (pte_is_present(e)) {
		audit_leaf(table, e, mark_of_slot(e, table->side, i));
		audit_frame(pte_pfn(e), pass);
	} else {
		kassert(!pfn_is_zero_page(mark_pfn(e)));
		audit_frame(mark_pfn(e), pass);
	}
}

/* The space at hand has arenas: their tables of levels 2 and 3 may stay (mm/aspace.c). */
static bool audit_arenas;

static u64 audit_table(struct frame *table, unsigned level, enum audit_pass pass);

/*
 * One of the entries that name a table. A table counts once what its slots name; so only the first
 * to come goes on below when counting. The counter is in `owner`, unused while nobody has the lock.
 */
static u64 audit_entry(pte_t e, unsigned level, enum audit_pass pass)
{
	struct frame *t = pte_table(e, level);

	kassert_eq(e.v & ~PTE_ADDR & ~PTE_DIRTY & ~PTE_WRITE, PTE_TABLE & ~PTE_WRITE);
	kassert(t->used > 0 || (level == 2 && !pte_is_shared(e)) || (level > 2 && audit_arenas));
	if (pass == AUDIT_CLEAR)
		t->owner = 0;
	else if (pass == AUDIT_COUNT && ++t->owner > 1)
		return 0;
	else if (pass == AUDIT_COMPARE)
		kassert_eq(t->owner, frame_refs(t));
	if (pte_is_shared(e))
		kassert_eq(level, 2);
	else
		kassert(frame_refs(t) == 1 && !(t->state & TABLE_COPIED));
	return audit_table(t, level - 1, pass);
}

static u64 audit_table(struct frame *table, unsigned level, enum audit_pass pass)
{
	pte_t *entry = frame_virt(table);
	unsigned n = level == PT_LEVELS ? PT_USER_ROOT_SLOTS : PT_ENTRIES, used = 0;
	u64 slots = n;

	kassert_eq(table->type, FRAME_TABLE);
	kassert_eq(table->level, level);
	kassert(!(table->state & TABLE_STALE) && table->flags == 0);
	kassert(level == 1 || !table->side);
	for (unsigned i = 0; i < n; i++) {
		pte_t e = entry[i];

		if (pte_is_none(e)) {
			kassert(!table->side || pte_is_none(table->side->mark[i]));
			continue;
		}
		used++;
		if (pte_is_table(e, level)) {
			slots += audit_entry(e, level, pass);
		} else {
			audit_slot(table, i, e, pass);
		}
	}
	kassert_eq(used, table->used);
	return slots;
}

u64 aspace_audit(void)
{
	struct aspace *as;
	u64 slots = 0;

	static const enum audit_pass passes[] = { AUDIT_CLEAR, AUDIT_COUNT, AUDIT_COMPARE,
						  AUDIT_CLEAR };

	for (unsigned i = 0; i < ARRAY_SIZE(passes); i++)
		list_for_each(as, &aspaces, all) {
			audit_arenas = as->arenas;
			slots += audit_table(as->root_frame, PT_LEVELS, passes[i]);
		}
	return slots / ARRAY_SIZE(passes);
}

/*
 * Page faults of programs: the one place that decides what an access to an address means.
 *
 * The slot tells (mm/mark.h). Nothing there: SEGV_MAPERR. Less permission than the access needs:
 * SEGV_ACCERR. Otherwise a frame is found and put into the slot:
 *
 *	anonymous mark, write        a zeroed frame; where the mark covers 2 MiB and that is wished
 *	                             (mm/large.h), a large page
 *	anonymous mark, read         the shared zero page, without the right to write
 *	private mark, read           the object's frame, without the right to write
 *	private mark, write          a copy of it
 *	shared mark                  the object's frame
 *	leaf without PTE_WRITE, but  the zero page: a zeroed frame. A frame of ours that nobody else
 *	VM_WRITE, and a write        names: the right to write. Anything else: a copy. (Of a large
 *	                             page that others name, one of 4 KiB, after splitting it)
 *	leaf that allows the access  somebody was faster, or the CPU remembers less permission than
 *	                             there is: forget the page, try again
 *
 * All under the lock of the lowest table over the address, but for the object's page and for large
 * pages: fetching the one may sleep, clearing the other takes long, so that happens without locks,
 * and the slot must say the same afterwards, or all starts anew.
 *
 * Who reads a page of an object gets those around it as well that are there already: up to
 * FAULT_AROUND pages, within an aligned window of that size, and where slots say the same mark.
 *
 * What a fault needs (a frame, tables down to level 1, a side array) is allocated before the first
 * change. A new frame in place of an old one (zero page, copy) needs a flush: other CPUs, or this
 * one by reading ahead, may remember the old one. More permission needs none.
 */
#include "arch/api/page.h"
#include "arch/api/uaccess.h"
#include "debug/trace.h"
#include "lib/err.h"
#include "mm/large.h"
#include "mm/pt.h"
#include "sched/thread.h"

#define FAULT_SIGBUS (FAULT_BUS | BUS_ADRERR)
#define FAULT_NOMEM  (FAULT_BUS | FAULT_OOM | BUS_ADRERR)

/* Something has to be fetched, without locks: the page for the mark f->want. Not an si_code. */
#define FAULT_FETCH (-1)
/* Nothing is decided, but something was done that took long. */
#define FAULT_AGAIN (-2)

#define FAULT_AROUND 16u /* pages; as Linux's fault_around_bytes. Less than a table has. */

struct fault {
	struct aspace *as;
	u64 va; /* page aligned */
	enum fault_access access;
	struct pt_cursor c;

	pte_t want; /* fetch for this mark; its mapping, if it has one, has got a reference */

	/* What was fetched, once something was: */
	bool fetched;
	bool no_large;       /* there is none to be had, or it was had */
	struct frame *large; /* for any anonymous mark */
	/* ... for `mark`, with references: */
	pte_t mark;
	struct vm_mapping *mapping;   /* NULL: nothing is */
	u64 cuts;                     /* of its object, before: see vm_object.h */
	struct frame *page;           /* the object's; NULL: nothing fetched yet */
	struct frame *copy;           /* private write: our copy of it */
	unsigned around_n, around_at; /* pages around it, the first at this index of level 1 */
	struct frame *around[FAULT_AROUND]; /* NULL: not there */

	struct vm_mapping *dead; /* to destroy when the locks are gone */
};

static DEFINE_PER_CPU(struct vm_stats, fault_stats);
#define count(what) (this_cpu_ptr(&fault_stats)->what++)
/* A counter that says what kind of fault this is: the trace hears of it. */
#define count_kind(what)                                                                           \
	do {                                                                                       \
		count(what);                                                                       \
		if (hook_on(HOOK_TRACE))                                                           \
			trace_fault_kind(FK_##what);                                               \
	} while (0)

static bool bits_allow(u64 bits, enum fault_access access)
{
	if (access == FAULT_WRITE)
		return bits & VM_WRITE;
	if (access == FAULT_EXEC)
		return !(bits & PTE_NOEXEC);
	return bits_accessible(bits);
}

static pte_t *fault_slot(struct fault *f)
{
	return &f->c.entry[pt_index(f->va, f->c.level)];
}

/* Fills the slot of f->va, a mark, with a leaf; the tables for it are there (pt_spare). */
static void fault_install(struct fault *f, pte_t leaf)
{
	pt_descend(&f->c, f->va);
	dassert(frame_refs(f->c.table) == 1);
	pte_store(&f->c.entry[pt_index(f->va, 1)], leaf);
}

/* A write to 2 MiB or more that are all alike: *small if no large page can be had. */
static __noinline int fault_large(struct fault *f, pte_t mark, bool *small)
{
	pte_t leaf;

	if (!f->fetched || !f->large) {
		*small = (f->fetched && f->no_large) || !large_wanted(f->as, mark);
		f->want = mark;
		return FAULT_FETCH;
	}
	*small = false;
	if (f->c.level > LARGE_LEVEL && pt_spare(&f->c, f->c.level - LARGE_LEVEL))
		return FAULT_NOMEM;
	pt_descend_to(&f->c, f->va, LARGE_LEVEL);
	leaf = leaf_make(frame_pfn(f->large), mark.v);
	leaf.v |= PTE_WRITE | PTE_DIRTY | PTE_LARGE;
	pte_store(fault_slot(f), leaf);
	f->large = NULL;
	count(large_faults);
	return 0;
}

static int fault_anon(struct fault *f, pte_t mark)
{
	struct frame *frame;
	pte_t leaf;

	if (unlikely(f->c.level > 1)) {
		/* Less than 2 MiB are there if a mark of level 2 is partial. */
		if (f->access == FAULT_WRITE &&
		    !(f->c.level == LARGE_LEVEL && mark_is_part(mark))) {
			bool small;
			int ret = fault_large(f, mark, &small);

			if (!small)
				return ret;
		}
		if (pt_spare(&f->c, f->c.level - 1))
			return FAULT_NOMEM;
	}
	if (f->access != FAULT_WRITE) {
		fault_install(f, leaf_make(frame_pfn(zero_frame), mark.v));
		count_kind(zero_page_faults);
		return 0;
	}
	frame = frame_alloc(FRAME_ANON, FRAME_ZERO | FRAME_ATOMIC);
	if (!frame)
		return FAULT_NOMEM;
	leaf = leaf_make(frame_pfn(frame), mark.v);
	leaf.v |= PTE_WRITE | PTE_DIRTY;
	fault_install(f, leaf);
	return 0;
}

/* The pages around the one that was just mapped, where the slots are as it was. */
static void map_around(struct fault *f, pte_t mark, u64 bits)
{
	struct vm_side *side = f->c.table->side;

	for (unsigned i = 0; i < f->around_n; i++) {
		unsigned index = f->around_at + i;
		pte_t *slot = &f->c.entry[index], leaf;

		if (!f->around[i] || pte_load(slot).v != mark.v)
			continue;
		leaf = leaf_make(frame_pfn(f->around[i]), mark.v);
		leaf.v |= bits;
		side->mark[index].v = mark.v & ~VM_BITS;
		pte_store(slot, leaf);
		f->around[i] = NULL; /* the slot owns it */
		count(mapped_around);
	}
}

/* A mark of a mapping: its page has been fetched for just this mark, or must be. */
static int fault_mapped(struct fault *f, pte_t mark)
{
	bool shared = mark_kind(mark) == MARK_SHARED;
	struct frame *frame;
	struct vm_side *side;
	pte_t leaf;
	u64 bits = VM_SIDE;

	if (!f->fetched || !f->page || f->mark.v != mark.v ||
	    f->cuts != atomic_load(&f->mapping->obj->cuts)) { /* truncated meanwhile? */
		f->want = mark;
		mapping_get(mark_mapping(mark), 1);
		return FAULT_FETCH;
	}
	/* The side array belongs to the table of level 1, which may not be there yet. */
	if (f->c.level > 1 || !f->c.table->side) {
		side = pt_alloc_side();
		if (!side)
			return FAULT_NOMEM;
		if (f->c.level > 1 && pt_spare(&f->c, f->c.level - 1)) {
			pt_free_side(side);
			return FAULT_NOMEM;
		}
		pt_descend(&f->c, f->va);
		f->c.table->side = side;
	}
	frame = f->copy ? f->copy : f->page;
	if (f->copy || (shared && (mark.v & VM_WRITE)))
		bits |= PTE_WRITE | (f->access == FAULT_WRITE ? PTE_DIRTY : 0);
	leaf = leaf_make(frame_pfn(frame), mark.v);
	leaf.v |= bits;
	/* The slot's reference of the mapping moves to the side mark. */
	side = f->c.table->side;
	side->mark[pt_index(f->va, 1)].v = mark.v & ~VM_BITS;
	fault_install(f, leaf);
	if (f->copy)
		f->copy = NULL; /* the slot owns it */
	else
		f->page = NULL;
	if (f->around_n)
		map_around(f, mark, bits);
	return 0;
}

static int fault_cow(struct fault *f, pte_t *slot, pte_t e);

/* fault_cow for a large page. Not alone with it, we split it, and go on with the small page. */
static __noinline int cow_large(struct fault *f, pte_t *slot, pte_t e)
{
	if (large_is_alone(pfn_frame(pte_pfn(e)))) {
		pte_set_bits(slot, PTE_WRITE | PTE_DIRTY);
		count(cow_reused);
		tlb_note_avoided();
		return 0;
	}
	if (pt_spare(&f->c, 1))
		return FAULT_NOMEM;
	pt_descend(&f->c, f->va);
	slot = fault_slot(f);
	return fault_cow(f, slot, pte_load(slot));
}

/* A write to a leaf that may be written, but not by the hardware. */
static int fault_cow(struct fault *f, pte_t *slot, pte_t e)
{
	pte_t mark = mark_of_slot(e, f->c.table->side, pt_index(f->va, f->c.level));
	struct frame *old = pfn_frame(pte_pfn(e)), *new;
	bool zero = pfn_is_zero_page(pte_pfn(e));

	dassert(frame_refs(f->c.table) == 1);
	if (unlikely(f->c.level > 1))
		return cow_large(f, slot, e);
	if (mark_kind(mark) == MARK_SHARED || (old->type == FRAME_ANON && frame_refs(old) == 1)) {
		pte_set_bits(slot, PTE_WRITE | PTE_DIRTY);
		count_kind(cow_reused);
		tlb_note_avoided();
		return 0;
	}
	new = frame_alloc(FRAME_ANON, (zero ? FRAME_ZERO : 0) | FRAME_ATOMIC);
	if (!new)
		return FAULT_NOMEM;
	if (!zero) {
		copy_page(frame_virt(new), frame_virt(old));
		count_kind(cow_copied);
	}
	/* No CPU may write the new frame while another still reads the old one. */
	pte_exchange(slot, pte_make_pfn(frame_pfn(new), e.v & ~PTE_ADDR));
	tlb_flush_page(f->as, f->va);
	pte_set_bits(slot, PTE_WRITE | PTE_DIRTY);
	if (!zero) {
		if (frame_refs(old) == 1)
			mmu_check_unreachable(frame_pfn(old));
		frame_put(old);
	}
	return 0;
}

/*
 * The cursor is above a shared table. An access that it serves, or forbids, leaves it shared;
 * anything else makes the table ours and moves the cursor down to it. 0, FAULT_AGAIN or FAULT_NOMEM.
 */
static __noinline int fault_shared(struct fault *f)
{
	__attribute__((uninitialized)) struct tlb_gather g;
	struct pt_cursor c = f->c;
	struct frame *t;
	pte_t e;

	pt_peek_shared(&c, f->va);
	e = pte_load(&c.entry[pt_index(f->va, 1)]);
	if (pte_is_none(e) || !bits_allow(e.v, f->access) ||
	    (pte_is_present(e) && f->access != FAULT_WRITE)) {
		f->c = c;
		return 0;
	}
	if (pt_spare(&f->c, pt_unshare_needs(&f->c, c.table)))
		return FAULT_NOMEM;
	tlb_gather_init(&g, f->as);
	g.dead = &f->dead;
	t = pt_unshare(&f->c, &g, f->c.table, pt_index(f->va, 2), f->va);
	if (t == c.table)
		count_kind(tables_taken_back);
	else
		count_kind(tables_copied);
	tlb_gather_finish(&g);
	if (t != c.table)
		return FAULT_AGAIN; /* a copy takes long: let others run before what follows */
	f->c.table = t;
	f->c.entry = frame_virt(t);
	f->c.level = 1;
	return 0;
}

/* Does a partial mark leave out what we want? */
static bool beside_mark(const struct fault *f, pte_t e)
{
	u64 slot = ALIGN_DOWN(f->va, pt_span(f->c.level));

	return f->va < mark_start(e, slot, f->c.level) || f->va >= mark_end(e, slot, f->c.level);
}

/* One attempt, under the lock. */
static int fault_locked(struct fault *f)
{
	pte_t *slot = fault_slot(f);
	pte_t e = pte_load(slot);

	if (unlikely(f->c.level != 1)) {
		if (pte_is_table(e, f->c.level)) {
			int err = fault_shared(f);

			if (err)
				return err;
			slot = fault_slot(f);
			e = pte_load(slot);
		} else if (mark_is_part(e) && beside_mark(f, e)) {
			return SEGV_MAPERR;
		}
	}
	if (pte_is_none(e))
		return SEGV_MAPERR;
	if (!bits_allow(e.v, f->access))
		return SEGV_ACCERR;
	if (pte_is_present(e)) {
		if (f->access == FAULT_WRITE && !(e.v & PTE_WRITE))
			return fault_cow(f, slot, e);
		tlb_flush_local_page(f->va);
		count_kind(spurious);
		return 0;
	}
	switch (mark_kind(e)) {
	case MARK_ANON: return fault_anon(f, e);
	case MARK_PRIVATE:
	case MARK_SHARED: return fault_mapped(f, e);
	default: panic("fault at %#lx: slot %#lx", f->va, e.v);
	}
}

static void fault_release(struct fault *f)
{
	if (f->large)
		large_put(f->large);
	if (!f->mapping)
		return;
	if (f->page)
		frame_put(f->page);
	if (f->copy)
		frame_put(f->copy);
	for (unsigned i = 0; i < f->around_n; i++)
		if (f->around[i])
			frame_put(f->around[i]);
	mapping_put(f->mapping, 1);
}

/* The pages in the window around page `index` of the object, which is f->va's, that are there. */
static void fetch_around(struct fault *f, struct vm_object *obj, u64 index)
{
	unsigned slot = pt_index(f->va, 1), first = ALIGN_DOWN(slot, FAULT_AROUND);
	unsigned before = (unsigned)MIN((u64)(slot - first), index);

	f->around_at = slot - before;
	f->around_n = first + FAULT_AROUND - f->around_at;
	obj->ops->get_resident(obj, index - before, f->around_n, f->around);
}

/* Gets the page for f->mark, and our copy of it if that is what the slot will hold. May sleep. */
static int fetch_mapped(struct fault *f)
{
	struct vm_object *obj = f->mapping->obj;
	u64 index = (f->mapping->offset + (f->va - f->mapping->va)) >> PAGE_SHIFT;
	int err;

	f->around_n = 0;
	f->cuts = atomic_load(&obj->cuts);
	err = obj->ops->get_page(obj, index, &f->page);
	if (err) {
		f->page = NULL;
		return err == -ENOMEM ? FAULT_NOMEM : FAULT_SIGBUS;
	}
	if (mark_kind(f->mark) == MARK_PRIVATE && f->access == FAULT_WRITE) {
		f->copy = frame_alloc(FRAME_ANON, 0);
		if (!f->copy)
			return FAULT_NOMEM;
		copy_page(frame_virt(f->copy), frame_virt(f->page));
		count_kind(cow_copied);
	}
	if (f->access != FAULT_WRITE && obj->ops->get_resident)
		fetch_around(f, obj, index);
	return 0;
}

/* Gets what f->want asks for, in place of what was fetched for a mark that is no more. */
static int fault_fetch(struct fault *f)
{
	if (f->fetched)
		fault_release(f);
	else
		f->no_large = false;
	f->fetched = true;
	f->page = f->copy = f->large = NULL;
	f->mapping = NULL;
	if (!mark_has_mapping(f->want)) {
		f->large = large_alloc();
		f->no_large = true;
		return 0;
	}
	f->mark = f->want;
	f->mapping = mark_mapping(f->want);
	return fetch_mapped(f);
}

int vm_fault(struct aspace *as, uaddr_t va, enum fault_access access)
{
	__attribute__((uninitialized)) struct fault f;
	int ret;

	f.as = as;
	f.va = va & PAGE_MASK;
	f.access = access;
	f.fetched = false;
	f.dead = NULL;
	count(faults);
	if (va >= USER_TOP)
		return SEGV_MAPERR;
	for (;;) {
		pt_lock_page(&f.c, as, f.va);
		ret = fault_locked(&f);
		pt_unlock(&f.c);
		if (unlikely(f.dead != NULL)) {
			mapping_destroy_all(f.dead);
			f.dead = NULL;
		}
		if (ret == SEGV_MAPERR && vm_grow_stack(as, f.va))
			continue;
		if (likely(ret >= 0))
			break;
		if (ret == FAULT_AGAIN)
			continue;
		ret = fault_fetch(&f);
		if (ret)
			break;
	}
	if (unlikely(f.fetched))
		fault_release(&f);
	if (!ret) {
		count(minor_faults); /* nothing here waits for a disk */
		current()->minor_faults++;
	}
	return ret;
}

void vm_stats(struct vm_stats *out)
{
	*out = (struct vm_stats){ 0 };
	for (u32 cpu = 0; cpu < nr_cpus; cpu++) {
		const u64 *from = (const u64 *)per_cpu_ptr(&fault_stats, cpu);
		u64 *to = (u64 *)out;

		for (size_t i = 0; i < sizeof(*out) / sizeof(u64); i++)
			to[i] += READ_ONCE(from[i]);
	}
}

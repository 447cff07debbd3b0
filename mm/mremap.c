/*
 * mremap: a region grows or shrinks where it is, or moves with its pages.
 *
 * A move happens under one lock, that of the lowest table over the old and the new place. First
 * everything is checked and allocated: tables for the edges of both ranges, tables and side arrays
 * for the pages that move. Then, without a way to fail: the new range gets its mark; each frame
 * moves from its old slot, which becomes the mark that it was, to the new one; the old range is
 * unmapped. One flush ends it.
 *
 * The mark of a mapping says which address its object's offset belongs to, so what moves gets a new
 * struct vm_mapping.
 *
 * The zero page does not move: the new slot's mark asks for it again. A large page moves as it is if
 * its new place is aligned, too; otherwise it is split first.
 */
#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "mm/pt.h"
#include "mm/region.h"

/* What is at the old place: one region, all of it alike. */
struct old_region {
	u64 start, end; /* [start, end) asked for */
	u64 at;         /* seen up to here */
	pte_t mark;     /* of its first slot */
	struct vm_mapping *mapping;
};

static int region_slot(const struct pt_slot *s, struct frame *table, void *arg)
{
	struct old_region *r = arg;
	struct vm_mapping *m;

	if (pte_is_none(s->mark))
		return -EFAULT;
	if (r->at == r->start) {
		r->mark = s->mark;
		r->mapping = mark_has_mapping(s->mark) ? mark_mapping(s->mark) : NULL;
	} else if ((r->mark.v ^ s->mark.v) & (VM_BITS | MARK_KINDS)) {
		return -EFAULT;
	} else if (r->mapping) {
		m = mark_mapping(s->mark);
		if (m->obj != r->mapping->obj ||
		    m->offset - m->va != r->mapping->offset - r->mapping->va ||
		    m->nowrite != r->mapping->nowrite)
			return -EFAULT;
	}
	r->at = s->va + s->size;
	return 0;
}

struct move {
	struct pt_op op;
	struct old_region old;
	u64 to; /* the new address */
	u64 len, new_len;
	bool replace;               /* MREMAP_FIXED */
	bool keep;                  /* MREMAP_DONTUNMAP */
	struct vm_mapping *mapping; /* of the new place, or NULL */
	pte_t mark;                 /* of the new place */

	u64 last[PT_LEVELS]; /* counting: the table at the new place counted last, per level */
	unsigned tables, sides;
	struct vm_side *side; /* spare ones, through their first words */
};

static bool has_frame(const struct pt_slot *s)
{
	return slot_has_frame(s->e) && !pfn_is_zero_page(slot_pfn(s->e));
}

/* Can the large page at this slot stay one? Only as a whole, and to an aligned address. */
static bool stays_large(const struct move *m, const struct pt_slot *s)
{
	return s->va >= m->old.start && s->va + s->size <= m->old.start + m->len &&
	       IS_ALIGNED(m->to - m->old.start, s->size);
}

/* A page goes to `to`, into a table of `level`: tables that may be missing there. */
static void count_tables_for(struct move *m, u64 to, unsigned level, bool side)
{
	for (unsigned k = level; k < PT_LEVELS; k++) {
		if (m->last[k] == to >> pt_shift(k + 1))
			break;
		m->last[k] = to >> pt_shift(k + 1);
		m->tables++;
		m->sides += k == 1 && side;
	}
}

/* Counts what the page at this slot may need at its new place; and, large, to be split before. */
static int count_slot(const struct pt_slot *s, struct frame *table, void *arg)
{
	struct move *m = arg;
	u64 from = MAX(s->va, m->old.start), end = MIN(s->va + s->size, m->old.start + m->len);
	u64 by = m->to - m->old.start;

	if (!has_frame(s))
		return 0;
	if (s->level > 1 && stays_large(m, s)) {
		count_tables_for(m, s->va + by, s->level, false);
		return 0;
	}
	m->tables += s->level > 1;
	for (; from < end; from += PAGE_SIZE)
		count_tables_for(m, from + by, 1, s->e.v & VM_SIDE);
	return 0;
}

static int split_slot(const struct pt_slot *s, struct frame *table, void *arg)
{
	struct move *m = arg;

	if (s->level > 1 && has_frame(s) && !stays_large(m, s))
		pt_split(&m->op.c, table, s->va);
	return 0;
}

static int move_alloc(struct move *m)
{
	for (unsigned k = 0; k < PT_LEVELS; k++)
		m->last[k] = UINT64_MAX;
	pt_visit(&m->op.c, m->old.start, m->old.start + m->len, count_slot, m);
	m->op.kind = PT_MAP;
	m->tables += pt_op_missing(&m->op, m->to, m->to + m->new_len);
	m->op.kind = PT_PROTECT; /* each slot changes: all tables must be ours */
	m->tables += pt_op_missing(&m->op, m->old.start, m->old.start + m->len);
	for (; m->sides > 0; m->sides--) {
		struct vm_side *side = pt_alloc_side();

		if (!side)
			return -ENOMEM;
		*(struct vm_side **)side = m->side;
		m->side = side;
	}
	return pt_spare(&m->op.c, m->tables);
}

static void need_side(struct move *m, struct frame *table)
{
	struct vm_side *side = m->side;

	if (table->side)
		return;
	kassert(side != NULL);
	m->side = *(struct vm_side **)side;
	*(struct vm_side **)side = NULL;
	table->side = side;
}

/* The frame of an old slot goes to its new one. */
static int move_slot(const struct pt_slot *s, struct frame *table, void *arg)
{
	struct move *m = arg;
	struct pt_cursor *c = &m->op.c, top = *c;
	pte_t *slot = (pte_t *)frame_virt(table) + pt_index(s->va, s->level);
	u64 to = s->va - m->old.start + m->to;
	pte_t e = s->e;

	if (!has_frame(s))
		return 0;
	if (pte_is_present(e)) {
		e = pte_exchange(slot, s->mark);
		tlb_gather_page(&m->op.tlb, s->va, PAGE_SIZE);
	} else {
		pte_store(slot, s->mark);
	}
	if (e.v & VM_SIDE) /* its reference is the old slot's again */
		table->side->mark[pt_index(s->va, 1)] = PTE_NONE;

	pt_descend_to(c, to, s->level);
	if (e.v & VM_SIDE) {
		need_side(m, c->table);
		c->table->side->mark[pt_index(to, 1)].v = m->mark.v & ~VM_BITS;
	}
	pte_store(&c->entry[pt_index(to, s->level)], e);
	c->table = top.table;
	c->entry = top.entry;
	c->level = top.level;
	return 0;
}

static void move_commit(struct move *m)
{
	u64 start = m->old.start, end = start + m->len;

	m->op.kind = PT_MAP;
	m->op.mark = m->mark;
	pt_op_range(&m->op, m->to, m->to + m->new_len);
	m->op.kind = PT_PROTECT;
	pt_op_unshare(&m->op, start, end);
	pt_visit(&m->op.c, start, end, split_slot, m);
	pt_visit(&m->op.c, start, end, move_slot, m);
	if (!m->keep) {
		m->op.kind = PT_UNMAP;
		pt_op_range(&m->op, start, end);
	}
	tlb_gather_finish(&m->op.tlb);
}

/*
 * Locks, checks the old range again, and moves it to m->to. -EEXIST: the new place is taken. The
 * mapping for the new place has been made for what was seen before; -EAGAIN: that has changed.
 */
static int move_run(struct move *m, struct aspace *as)
{
	struct old_region now = m->old;
	u64 start = now.start, end = start + m->len, new_end = m->to + m->new_len;
	int err;

	pt_op_init(&m->op, PT_MAP);
	tlb_gather_init(&m->op.tlb, as);
	m->tables = m->sides = 0;
	m->side = NULL;
	pt_lock(&m->op.c, as, MIN(start, m->to), MAX(end, new_end) - 1, 1);
	now.at = start;
	err = pt_visit(&m->op.c, start, end, region_slot, &now);
	if (!err && (now.mark.v != m->old.mark.v || now.mapping != m->old.mapping))
		err = -EAGAIN;
	if (!err && !m->replace && !pt_range_is_empty(&m->op.c, m->to, new_end))
		err = -EEXIST;
	if (!err)
		err = move_alloc(m);
	if (!err)
		move_commit(m);
	pt_unlock(&m->op.c);
	while (m->side) {
		struct vm_side *side = m->side;

		m->side = *(struct vm_side **)side;
		pt_free_side(side);
	}
	mapping_destroy_all(m->op.dead);
	return err;
}

/* Looks at the old region, with a reference of its mapping. -EFAULT: a hole, or several regions. */
static int look(struct aspace *as, struct old_region *r, u64 start, u64 end)
{
	struct pt_cursor c;
	int err;

	*r = (struct old_region){ .start = start, .end = end, .at = start };
	pt_lock(&c, as, start, end - 1, 1);
	err = pt_visit(&c, start, end, region_slot, r);
	if (!err && r->mapping)
		mapping_get(r->mapping, 1);
	pt_unlock(&c);
	return err;
}

static void look_done(struct old_region *r)
{
	if (r->mapping)
		mapping_put(r->mapping, 1);
}

/* Makes the mark for the new place, then moves. */
static int move_to(struct move *m, struct aspace *as)
{
	struct vm_mapping *from = m->old.mapping;
	int err;

	m->mapping = NULL;
	m->mark = mark_anon(m->old.mark.v & VM_BITS);
	if (from) {
		m->mapping = mapping_create(
			from->obj, m->to, from->offset + (m->old.start - from->va), from->nowrite);
		if (!m->mapping)
			return -ENOMEM;
		m->mark = mark_mapped(mark_kind(m->old.mark), m->mapping, m->old.mark.v & VM_BITS);
	}
	err = move_run(m, as);
	if (m->mapping)
		mapping_put(m->mapping, 1);
	if (!err && !m->keep)
		aspace_gap_freed(as, m->old.start, m->old.start + m->len);
	return err;
}

/* Moves [addr, addr + len) to where it has new_len bytes. The new address or -errno. */
static s64 move_region(struct aspace *as, u64 addr, u64 len, u64 new_len, int flags, u64 new_addr)
{
	__attribute__((uninitialized)) struct move m;
	int err;

	do {
		err = look(as, &m.old, addr, addr + len);
		if (err)
			return err;
		m.len = len;
		m.new_len = new_len;
		m.replace = flags & MREMAP_FIXED;
		m.keep = flags & MREMAP_DONTUNMAP;
		m.to = m.replace ? new_addr : aspace_find_gap(as, new_len);
		err = m.to ? move_to(&m, as) : -ENOMEM;
		look_done(&m.old);
	} while (err == -EAGAIN || err == -EEXIST); /* another thread was faster */
	return err ? err : (s64)m.to;
}

/*
 * More of the same behind [addr, addr + len), if that is free. Under one lock: the region must still
 * be there when it grows.
 */
static int grow_in_place(struct aspace *as, u64 addr, u64 len, u64 new_len)
{
	__attribute__((uninitialized)) struct pt_op op;
	u64 start = addr + len, end = addr + new_len;
	struct old_region r = { .start = addr, .end = start, .at = addr };
	unsigned n;
	int err;

	if (end > USER_TOP || end < addr) {
		err = look(as, &r, addr, start);
		look_done(&r);
		return err ? err : -EEXIST;
	}
	pt_op_init(&op, PT_MAP);
	tlb_gather_init(&op.tlb, as);
	pt_lock(&op.c, as, addr, end - 1, 1);
	err = pt_visit(&op.c, addr, start, region_slot, &r);
	if (!err && !pt_range_is_empty(&op.c, start, end))
		err = -EEXIST;
	if (!err) {
		op.mark = r.mapping ?
				  mark_mapped(mark_kind(r.mark), r.mapping, r.mark.v & VM_BITS) :
				  mark_anon(r.mark.v & VM_BITS);
		n = pt_op_missing(&op, start, end);
		if (n | op.c.want_sides)
			err = pt_spare(&op.c, n);
	}
	if (!err) {
		pt_op_range(&op, start, end);
		tlb_gather_finish(&op.tlb);
	}
	pt_unlock(&op.c);
	mapping_destroy_all(op.dead);
	return err;
}

static int check_flags(u64 addr, u64 len, u64 new_len, int flags, u64 new_addr)
{
	if (flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP))
		return -EINVAL;
	if ((flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && !(flags & MREMAP_MAYMOVE))
		return -EINVAL;
	if ((flags & MREMAP_DONTUNMAP) && len != new_len)
		return -EINVAL;
	if (!IS_ALIGNED(addr, PAGE_SIZE) || new_len == 0 || new_len > USER_TOP)
		return -EINVAL;
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
		return 0; /* new_addr does not count */
	if (!IS_ALIGNED(new_addr, PAGE_SIZE) || new_addr > USER_TOP - new_len)
		return -EINVAL;
	return addr + len > new_addr && new_addr + new_len > addr ? -EINVAL : 0;
}

/*
 * old_len 0: the shared mapping of what is at addr a second time. Without MREMAP_FIXED it must be
 * allowed to move, for it cannot be where it is already.
 */
static s64 duplicate(struct aspace *as, u64 addr, u64 new_len, int flags, u64 new_addr)
{
	struct old_region r;
	s64 ret = look(as, &r, addr, addr + PAGE_SIZE);

	if (ret)
		return ret;
	if (mark_kind(r.mark) != MARK_SHARED)
		ret = -EINVAL;
	else if (!(flags & MREMAP_MAYMOVE))
		ret = -ENOMEM;
	else
		ret = vm_mmap(as, new_addr, new_len, bits_to_prot(r.mark.v),
			      MAP_SHARED | (flags & MREMAP_FIXED ? MAP_FIXED : 0) |
				      (r.mark.v & VM_LOCKED ? MAP_LOCKED : 0) |
				      (r.mapping->nowrite ? VM_MMAP_NOWRITE : 0),
			      r.mapping->obj, r.mapping->offset + (addr - r.mapping->va));
	look_done(&r);
	return ret;
}

/* May the region of which [addr, addr + len) is a part get `more` bytes? */
static int check_growth(struct aspace *as, u64 addr, u64 len, u64 more)
{
	struct old_region r;
	int err = look(as, &r, addr, addr + len);

	if (err)
		return err;
	if ((r.mark.v & VM_LOCKED) && vm_may_lock(as, more))
		err = -EAGAIN;
	else if (!vm_may_expand(as, more, mark_kind(r.mark), r.mark.v, 0, 0))
		err = -ENOMEM;
	look_done(&r);
	return err;
}

/* [addr, addr + len) becomes larger, where it is or elsewhere. */
static s64 grow(struct aspace *as, u64 addr, u64 len, u64 new_len, int flags)
{
	int err = grow_in_place(as, addr, len, new_len);

	if (err != -EEXIST)
		return err ? err : (s64)addr;
	return flags & MREMAP_MAYMOVE ? move_region(as, addr, len, new_len, flags, 0) : -ENOMEM;
}

/* New pages of a locked region are locked, and there. */
static void populate_new(struct aspace *as, u64 start, u64 end)
{
	struct region r;

	if (!READ_ONCE(as->locked) || !region_next(as, start, end, &r))
		return;
	if ((r.mark.v & VM_LOCKED) && !(as->lock_future & MCL_ONFAULT))
		vm_populate(as, start, end, true);
	region_put(&r);
}

s64 vm_mremap(struct aspace *as, uaddr_t addr, u64 old_len, u64 new_len, int flags,
	      uaddr_t new_addr)
{
	u64 len = ALIGN_UP(old_len, PAGE_SIZE), to_len = ALIGN_UP(new_len, PAGE_SIZE);
	bool moves = flags & (MREMAP_FIXED | MREMAP_DONTUNMAP);
	s64 ret = check_flags(addr, len, to_len, flags, new_addr);
	struct old_region r;

	if (ret)
		return ret;
	if (addr >= USER_TOP)
		return -EFAULT;
	if (len == 0)
		return duplicate(as, addr, to_len, flags, new_addr);
	ret = look(as, &r, addr, addr + PAGE_SIZE);
	if (ret)
		return ret;
	look_done(&r);
	if (len > to_len) {
		ret = vm_munmap(as, addr + to_len, len - to_len);
		if (ret)
			return ret;
		len = to_len;
	}
	if (len > USER_TOP - addr && (to_len > len || moves))
		return -EFAULT; /* as it is, it may even stay: Linux looks at the first page alone */
	if (to_len > len || (flags & MREMAP_DONTUNMAP))
		ret = check_growth(as, addr, len,
				   to_len - len + (flags & MREMAP_DONTUNMAP ? len : 0));
	if (ret)
		return ret;
	if (moves)
		ret = move_region(as, addr, len, to_len, flags, new_addr);
	else if (len == to_len)
		ret = (s64)addr;
	else
		ret = grow(as, addr, len, to_len, flags);
	if (ret > 0 && to_len > len)
		populate_new(as, (u64)ret + len, (u64)ret + to_len);
	return ret;
}

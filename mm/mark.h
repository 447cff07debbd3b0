/*
 * What a slot of a program's page table says. The page table is the only record of a space, so
 * each slot, at whatever level, tells all about its range:
 *
 *	0                nothing is mapped
 *	a table          (levels 4-2) ask below
 *	a mark           not present, not zero: what the range is, when no frame is there yet
 *	a present leaf   a frame (at level 2: 512 of them, only of private anonymous memory); private
 *	                 anonymous memory says the rest in the leaf's own bits, for anything else
 *	                 VM_SIDE sends to the table's side array, where the mark waits
 *	a held frame     a mark of kind MARK_HELD: a frame whose range is PROT_NONE, out of the
 *	                 hardware's sight; VM_SIDE as in a leaf
 *
 * A mark:	bits 1-3   kind
 *		PTE_ADDR   complement of: a mapping (address in the direct map / 64), a frame's
 *		           address, or 0. The complement keeps L1TF's read-ahead away from memory.
 *		VM_BITS    protection and flags, in the same places as in a leaf
 *
 * VM_BITS of the entry itself hold; those of a side mark are zero.
 *
 * A mark of anonymous memory above level 1 may be *partial*: it covers its slot but for some units of
 * the next lower level, a 512th of the slot each, at the start and at the end, where nothing is. So a
 * mapping that does not fill its slots needs no table below before it is touched. Where PTE_ADDR of
 * such marks would say 0, it says how many units: 0 for a whole one. Whoever has to say different
 * things within the slot splits it first (pt_split).
 */
#pragma once

#include "arch/api/pte.h"
#include "lib/atomic.h"
#include "lib/uapi/mman.h"
#include "mm/frame.h"

#define VM_READ      PTE_SOFT(0)
#define VM_WRITE     PTE_SOFT(1) /* the mapping may be written; PTE_WRITE: the hardware lets it */
#define VM_SIDE      PTE_SOFT(2)
#define VM_GROWSDOWN PTE_SOFT(3)
#define VM_NORESERVE PTE_SOFT(4)
#define VM_LOCKED    PTE_SOFT(5)
#define VM_DONTFORK  PTE_SOFT(6) /* a child gets nothing here */
#define VM_WIPE      PTE_SOFT(7) /* a child gets the mark without the frame (MADV_WIPEONFORK) */
#define VM_HUGE      PTE_SOFT(8) /* MADV_HUGEPAGE */
#define VM_NOHUGE    PTE_SOFT(9) /* MADV_NOHUGEPAGE */

#define VM_PROT  (VM_READ | VM_WRITE | PTE_NOEXEC)
#define VM_FORK  (VM_DONTFORK | VM_WIPE)
#define VM_FLAGS (VM_GROWSDOWN | VM_NORESERVE | VM_LOCKED | VM_FORK | VM_HUGE | VM_NOHUGE)
#define VM_BITS  (VM_PROT | VM_FLAGS)

enum mark_kind {
	MARK_ANON = 1u << 1,    /* private, anonymous: zeroes on demand */
	MARK_PRIVATE = 2u << 1, /* private, of a mapping: its object's page, copied when written */
	MARK_SHARED = 3u << 1,  /* shared, of a mapping (a file, or anonymous shared memory) */
	MARK_HELD = 4u << 1,    /* a frame, PROT_NONE */
	MARK_KINDS = 7u << 1,
};

/*
 * A stretch of an object at some place in a space: page `offset + (va - this->va)` of obj is at va.
 * Counted by the slots (entries and side marks) that name it. Split and shortened mappings go on
 * sharing one; nothing here says how much of it is still mapped.
 */
struct vm_mapping {
	struct vm_object *obj; /* [I] with a reference */
	u64 va, offset;  /* [I] bytes; offset may have wrapped below 0 for addresses before va */
	atomic64_t refs; /* [a] */
	bool nowrite;    /* [I] shared, of a file not open for writing */
	struct vm_mapping *dead; /* when the count is zero: the next to destroy */
} __aligned(64);

/* The marks beside present entries of one table. */
struct vm_side {
	pte_t mark[PT_ENTRIES];
};

static inline unsigned mark_kind(pte_t e)
{
	return e.v & MARK_KINDS;
}

static inline pte_t mark_anon(u64 bits)
{
	return (pte_t){ bits | MARK_ANON | PTE_ADDR };
}

/*
 * The units of a slot of `level` that [start, end) leaves out, as a partial mark has them: 9 bits for
 * those before start, 9 for those behind end. For a range inside one slot, in whole units.
 */
static inline u64 cut_of_range(u64 start, u64 end, unsigned level)
{
	unsigned shift = pt_shift(level - 1);

	return (start >> shift & 511) | (-end >> shift & 511) << 9;
}

static inline pte_t mark_cut(pte_t anon, u64 cut)
{
	return (pte_t){ anon.v & ~(cut << PAGE_SHIFT) };
}

static inline u64 mark_cut_of(pte_t anon)
{
	return (~anon.v & PTE_ADDR) >> PAGE_SHIFT;
}

static inline bool mark_is_part(pte_t e)
{
	return (e.v & (PTE_PRESENT | MARK_KINDS)) == MARK_ANON && (~e.v & PTE_ADDR);
}

/* What a mark of level > 1 in the slot at va covers. */
static inline u64 mark_start(pte_t e, u64 va, unsigned level)
{
	return va + (mark_is_part(e) ? (~e.v >> PAGE_SHIFT & 511) * pt_span(level - 1) : 0);
}

static inline u64 mark_end(pte_t e, u64 va, unsigned level)
{
	return va + pt_span(level) -
	       (mark_is_part(e) ? (~e.v >> (PAGE_SHIFT + 9) & 511) * pt_span(level - 1) : 0);
}

/* A whole one that says the same. */
static inline pte_t mark_whole(pte_t e)
{
	return mark_is_part(e) ? (pte_t){ e.v | PTE_ADDR } : e;
}

static inline pte_t mark_mapped(unsigned kind, const struct vm_mapping *m, u64 bits)
{
	u64 payload = (((u64)m - DIRECT_MAP) >> 6) << PAGE_SHIFT;

	return (pte_t){ bits | kind | (~payload & PTE_ADDR) };
}

static inline pte_t mark_held(pfn_t pfn, u64 bits)
{
	return (pte_t){ bits | MARK_HELD | (~(pfn << PAGE_SHIFT) & PTE_ADDR) };
}

static inline pfn_t mark_pfn(pte_t held)
{
	return (~held.v & PTE_ADDR) >> PAGE_SHIFT;
}

static inline bool mark_is_held(pte_t e)
{
	return !pte_is_present(e) && mark_kind(e) == MARK_HELD;
}

/* Of a slot that is no table: does it name a frame, and the (first) one? */
static inline bool slot_has_frame(pte_t e)
{
	return pte_is_present(e) || mark_kind(e) == MARK_HELD;
}

static inline pfn_t slot_pfn(pte_t e)
{
	return pte_is_present(e) ? pte_pfn(e) : mark_pfn(e);
}

/* A mark without a frame. */
static inline bool mark_is_untouched(pte_t e)
{
	return !pte_is_none(e) && !slot_has_frame(e);
}

/* Does this mark (not a leaf, not HELD) name a mapping? */
static inline bool mark_has_mapping(pte_t e)
{
	return mark_kind(e) == MARK_PRIVATE || mark_kind(e) == MARK_SHARED;
}

static inline struct vm_mapping *mark_mapping(pte_t e)
{
	return (struct vm_mapping *)(DIRECT_MAP + (((~e.v & PTE_ADDR) >> PAGE_SHIFT) << 6));
}

/*
 * The mark that describes a slot that is neither empty nor a table: as it was before a frame
 * came.
 */
static inline pte_t mark_of_slot(pte_t e, const struct vm_side *side, unsigned index)
{
	if (!slot_has_frame(e))
		return e;
	if (!(e.v & VM_SIDE))
		return mark_anon(e.v & VM_BITS);
	return (pte_t){ side->mark[index].v | (e.v & VM_BITS) };
}

static inline u64 prot_to_bits(int prot)
{
	return (prot & PROT_READ ? VM_READ : 0) | (prot & PROT_WRITE ? VM_WRITE : 0) |
	       (prot & PROT_EXEC ? 0 : PTE_NOEXEC);
}

static inline int bits_to_prot(u64 bits)
{
	return (bits & VM_READ ? PROT_READ : 0) | (bits & VM_WRITE ? PROT_WRITE : 0) |
	       (bits & PTE_NOEXEC ? 0 : PROT_EXEC);
}

/* x86 can read what it can write or execute. */
static inline bool bits_accessible(u64 bits)
{
	return (bits & (VM_READ | VM_WRITE)) || !(bits & PTE_NOEXEC);
}

/* A leaf for a frame under a mark's protection; without PTE_WRITE. */
static inline pte_t leaf_make(pfn_t pfn, u64 mark_bits)
{
	return pte_make_pfn(pfn, PTE_PRESENT | PTE_USER | PTE_ACCESSED | (mark_bits & VM_BITS));
}

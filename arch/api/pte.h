/*
 * Page-table entries: pure arithmetic on one word, the same code in the kernel and in the host
 * tests. Tables have 512 entries; level 1 maps 4 KiB a slot, level 2 2 MiB, level 3 1 GiB, and
 * level 4 is the root.
 *
 * From the machine:
 *	PTE_PRESENT PTE_WRITE PTE_USER PTE_ACCESSED PTE_DIRTY PTE_GLOBAL PTE_NOEXEC
 *	                    what the hardware reads and, for A and D, sets behind our back
 *	PTE_LARGE           at levels 2 and 3: a leaf, not a pointer to a table
 *	PTE_TABLE           all bits of an entry that points to a table of a program's half
 *	PTE_KTABLE          ... of the kernel's half
 *	PTE_ADDR            the bits of the frame's address
 *	PTE_SOFT(n)         n: 0 ... 9, bits that the hardware ignores in a present entry
 *	pte_cache_bits(uncached, wc, level)
 *
 * An entry without PTE_PRESENT is ours but for one rule: PTE_ADDR holds the complement of what it
 * means (mm/mark.h), because a processor open to L1TF reads ahead at that address.
 */
#pragma once

#include "lib/types.h"

#include "machine/pte.h"

#define PT_LEVELS  4u
#define PT_ENTRIES 512u

#define PTE_NONE ((pte_t){ 0 })

/* log2 of the bytes that one slot of a table of this level maps. */
static inline unsigned pt_shift(unsigned level)
{
	return PAGE_SHIFT + 9 * (level - 1);
}

static inline u64 pt_span(unsigned level)
{
	return 1ul << pt_shift(level);
}

static inline unsigned pt_index(u64 va, unsigned level)
{
	return (va >> pt_shift(level)) & (PT_ENTRIES - 1);
}

static inline bool pte_is_none(pte_t e)
{
	return e.v == 0;
}

static inline bool pte_is_present(pte_t e)
{
	return e.v & PTE_PRESENT;
}

static inline bool pte_is_table(pte_t e, unsigned level)
{
	return level > 1 && (e.v & (PTE_PRESENT | PTE_LARGE)) == PTE_PRESENT;
}

static inline bool pte_is_leaf(pte_t e, unsigned level)
{
	return pte_is_present(e) && (level == 1 || (e.v & PTE_LARGE));
}

/* The address of the frame or table of a present entry. In a large leaf the lowest address bit is a
 * cache bit of the machine's: hence the level. */
static inline paddr_t pte_pa(pte_t e, unsigned level)
{
	return PADDR(e.v & PTE_ADDR & ~(level > 1 && (e.v & PTE_LARGE) ? pt_span(level) - 1 : 0));
}

static inline pfn_t pte_pfn(pte_t e)
{
	return (e.v & PTE_ADDR) >> PAGE_SHIFT;
}

static inline pte_t pte_make(paddr_t pa, u64 bits)
{
	return (pte_t){ pa.v | bits };
}

static inline pte_t pte_make_pfn(pfn_t pfn, u64 bits)
{
	return (pte_t){ pfn << PAGE_SHIFT | bits };
}

/* What is read through an entry is ordered after it, as one depends on the other. ThreadSanitizer does not
 * know that. */
#ifdef __SANITIZE_THREAD__
#define PTE_LOAD_ORDER __ATOMIC_ACQUIRE
#else
#define PTE_LOAD_ORDER __ATOMIC_RELAXED
#endif

static inline pte_t pte_load(const pte_t *slot)
{
	return (pte_t){ __atomic_load_n(&slot->v, PTE_LOAD_ORDER) };
}

/* For a slot that is not present: the hardware does not touch those. Earlier stores (the content of
 * the frame or table) are visible first. */
static inline void pte_store(pte_t *slot, pte_t e)
{
	__atomic_store_n(&slot->v, e.v, __ATOMIC_RELEASE);
}

/* For present slots: returns what was there with the A and D bits that the hardware had set. */
static inline pte_t pte_exchange(pte_t *slot, pte_t e)
{
	return (pte_t){ __atomic_exchange_n(&slot->v, e.v, __ATOMIC_SEQ_CST) };
}

static inline pte_t pte_clear_bits(pte_t *slot, u64 bits)
{
	return (pte_t){ __atomic_fetch_and(&slot->v, ~bits, __ATOMIC_SEQ_CST) };
}

static inline pte_t pte_set_bits(pte_t *slot, u64 bits)
{
	return (pte_t){ __atomic_fetch_or(&slot->v, bits, __ATOMIC_SEQ_CST) };
}

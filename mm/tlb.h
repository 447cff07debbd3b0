/*
 * Flushing translations. `as` NULL means the kernel's part, which all spaces share.
 * A range above TLB_FLUSH_CEILING pages flushes the whole space.
 *
 * The caller has written the entries before. Nothing that the old entries named may be reused
 * before the flush has returned. With several CPUs: in threads, interrupts on, and no lock held
 * that anybody takes with interrupts off: other CPUs are waited for.
 */
#pragma once

#include "lib/types.h"

struct aspace;
struct frame;
struct vm_mapping;

#define TLB_FLUSH_CEILING 64

void tlb_flush_page(struct aspace *as, u64 va);
void tlb_flush_range(struct aspace *as, u64 start, u64 end);
void tlb_flush_pages(struct aspace *as, u64 start, u64 end); /* one of the two, as it is */
void tlb_flush_space(struct aspace *as);
void tlb_flush_all(void); /* every translation of every space, global pages too */

/* This CPU alone forgets one page: after a fault that turned out to be spurious. */
void tlb_flush_local_page(u64 va);

/* A change of entries needed no flush: counted. */
void tlb_note_avoided(void);

/*
 * A gather collects what one operation takes out of a space, flushes once, and only then gives up
 * the frames and tables. Use: tlb_gather_init, any number of tlb_gather_page and _frame,
 * tlb_gather_finish. When the batch is full, it flushes and gives up in between.
 */
#define TLB_GATHER_FRAMES 64

struct tlb_gather {
	struct aspace *as;
	u64 start, end; /* translations to forget; end 0: none */
	u32 nr;
	bool tables; /* a table was taken out: also CPUs that use the space lazily must flush */
	struct tlb_more *more;        /* [mm/tlb.c] what was collected before */
	bool large;                   /* among what is collected is a large page */
	struct vm_mapping **dead;     /* where mappings go that end with a shared table */
	u64 frame[TLB_GATHER_FRAMES]; /* struct frame * and GATHER_ bits */
};
#define GATHER_ZEROED 1ul /* all zeroes: an empty table */
#define GATHER_SHARED 2ul /* a table with what it names: pt_put_table */
#define GATHER_LARGE  4ul /* the head of a large page: large_put */
#define GATHER_BITS   7ul

static inline void tlb_gather_init(struct tlb_gather *g, struct aspace *as)
{
	g->as = as;
	g->start = UINT64_MAX;
	g->end = 0;
	g->nr = 0;
	g->more = NULL;
	g->tables = g->large = false;
}

/* Translations of [va, va + size) lost permissions, or went. */
static inline void tlb_gather_page(struct tlb_gather *g, u64 va, u64 size)
{
	if (va < g->start)
		g->start = va;
	if (va + size > g->end)
		g->end = va + size;
}

void tlb_gather_flush(struct tlb_gather *g);
/* The batch is full. More will come, so the whole space is flushed rather than each page. */
void tlb_gather_overflow(struct tlb_gather *g);

/* A reference on a frame (or the table itself) to drop after the flush. */
static inline void tlb_gather_word(struct tlb_gather *g, u64 word)
{
	if (unlikely(g->nr == TLB_GATHER_FRAMES))
		tlb_gather_overflow(g);
	g->frame[g->nr++] = word;
}

static inline void tlb_gather_frame(struct tlb_gather *g, struct frame *f)
{
	tlb_gather_word(g, (u64)f);
}

static inline void tlb_gather_large(struct tlb_gather *g, struct frame *head)
{
	tlb_gather_word(g, (u64)head | GATHER_LARGE);
	g->large = true;
}

/* An empty table taken out of its tree; va: any address that it translated. (One flushed page is
 * enough to forget all upper-level entries.) */
static inline void tlb_gather_table(struct tlb_gather *g, struct frame *table, u64 va)
{
	tlb_gather_word(g, (u64)table | GATHER_ZEROED);
	tlb_gather_page(g, va, PAGE_SIZE);
	g->tables = true;
}

/* A reference on a table that other spaces may name too. g->dead is set. Translations of
 * [va, va + size) go; PAGE_SIZE if another table with the same leaves took its place. */
static inline void tlb_gather_shared(struct tlb_gather *g, struct frame *table, u64 va, u64 size)
{
	tlb_gather_word(g, (u64)table | GATHER_SHARED);
	tlb_gather_page(g, va, size);
	g->tables = true;
}

static inline void tlb_gather_finish(struct tlb_gather *g)
{
	if (g->nr || g->end)
		tlb_gather_flush(g);
}

struct tlb_stats {
	u64 page, range, space, all; /* flushes of each kind */
	u64 avoided;                 /* changes that needed none */
	u64 cr3_loads;               /* address-space switches that loaded the root */
	u64 cr3_skipped;             /* of them, without forgetting translations */

	/* With several CPUs: */
	u64 alone;        /* flushes that concerned no other CPU */
	u64 rounds;       /* those that did, with the ends of spaces */
	u64 messages;     /* CPUs interrupted in these rounds */
	u64 lazy_skipped; /* CPUs passed by, because they used the space lazily */
	u64 lazy_behind;  /* of them, that found on coming back that they had missed one */
};
void tlb_stats(struct tlb_stats *out);              /* all CPUs */
void tlb_stats_cpu(u32 cpu, struct tlb_stats *out); /* what that one did */

/* Masks and contexts against each other. All CPUs stand still. */
struct audit;
void tlb_audit(struct audit *a);

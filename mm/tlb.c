/*
 * Translation caches: which CPU may hold translations of which space, and how they are made to
 * forget.
 *
 * Each space has a generation, raised by every flush. Each CPU has a few contexts (PCIDs; one where
 * the processor has none), each remembering of which space it holds translations and up to which
 * generation they are good. A switch to a space whose context is up to date keeps the translations;
 * otherwise loading the root forgets them.
 *
 * The order that makes this sound with several CPUs:
 *
 *	flusher:  writes the entries; raises the generation (full barrier); reads the mask of CPUs
 *	switcher: publishes itself in the mask (full barrier); reads the generation; loads the root
 *
 * Either the flusher sees the switcher in the mask and interrupts it, or the switcher sees the new
 * generation and starts without the old translations. A CPU whose bit is not set flushes nothing:
 * its contexts fall behind, which the next switch notices.
 *
 * A CPU that runs a kernel thread keeps the last space's root loaded (lazily), and its bit set. A
 * space that dies makes such CPUs leave it for the kernel's own root first.
 *
 * INVLPG drops all upper-level entries of the current PCID whatever address it is given (Intel SDM
 * volume 3, 4.10.4.1), so one flushed page suffices for a table taken out.
 *
 * Locks: none. Per-CPU state is touched with preemption off, and by the switch and by shootdowns
 * with interrupts off.
 */
#include "mm/tlb.h"

#include "arch/api/cpu.h"
#include "arch/api/mmu.h"
#include "arch/api/preempt.h"
#include "debug/trace.h"
#include "lib/kassert.h"
#include "mm/pt.h"

struct tlb_context {
	u64 space; /* id of the space; 0: none */
	u64 gen;
};

/* [o] */
struct tlb_cpu {
	struct tlb_context context[MMU_MAX_CONTEXTS];
	u32 current, victim;
	struct tlb_stats stats;
};

static DEFINE_PER_CPU(struct tlb_cpu, tlb_cpu);

static void mask_set(struct aspace *as, u32 cpu)
{
	__atomic_fetch_or(&as->cpus[cpu / 64], 1ul << (cpu % 64), __ATOMIC_SEQ_CST);
}

static void mask_clear(struct aspace *as, u32 cpu)
{
	__atomic_fetch_and(&as->cpus[cpu / 64], ~(1ul << (cpu % 64)), __ATOMIC_SEQ_CST);
}

/* The context for a space on this CPU: its own, or the one taken longest ago. */
static u32 context_for(struct tlb_cpu *cpu, u64 space)
{
	u32 n = mmu_contexts(), i;

	for (i = 0; i < n; i++)
		if (cpu->context[i].space == space)
			return i;
	i = cpu->victim;
	cpu->victim = i + 1 < n ? i + 1 : 0;
	cpu->context[i].space = 0;
	return i;
}

void mm_switch_to(struct aspace *next)
{
	struct tlb_cpu *cpu = this_cpu_ptr(&tlb_cpu);
	struct aspace *prev = this_cpu_read(active_space);
	u32 id = cpu_id();
	struct tlb_context *c;
	bool keep;
	u64 gen;

	mask_set(next, id); /* a full barrier before the generation is read */
	gen = atomic_load(&next->tlb_gen);
	cpu->current = context_for(cpu, next->id);
	c = &cpu->context[cpu->current];
	keep = c->space == next->id && c->gen == gen && mmu_contexts() > 1;
	c->space = next->id;
	c->gen = gen;
	this_cpu_write(active_space, next);
	mmu_load_root(frame_pa(next->root_frame), cpu->current, keep);
	cpu->stats.cr3_loads++;
	cpu->stats.cr3_skipped += keep;
	if (prev)
		mask_clear(prev, id);
}

static void leave_local(void *arg)
{
	struct aspace *as = arg;
	struct tlb_cpu *cpu = this_cpu_ptr(&tlb_cpu);
	u64 flags = irq_save();

	if (this_cpu_read(active_space) == as) {
		cpu->current = context_for(cpu, 0);
		cpu->context[cpu->current].space = 0;
		this_cpu_write(active_space, NULL);
		mmu_load_root(kmap_root(), cpu->current, false);
		cpu->stats.cr3_loads++;
		mask_clear(as, cpu_id());
	}
	/* Ids are never used twice, so contexts that still name this space serve nobody. */
	irq_restore(flags);
}

static bool others_in(const u64 *mask)
{
	u32 self = cpu_id();

	for (u32 i = 0; i < NR_CPUS / 64; i++) {
		u64 bits = __atomic_load_n(&mask[i], __ATOMIC_SEQ_CST);

		if (i == self / 64)
			bits &= ~(1ul << (self % 64));
		if (bits)
			return true;
	}
	return false;
}

void tlb_leave_space(struct aspace *as)
{
	preempt_disable();
	leave_local(as);
	if (others_in(as->cpus)) {
		kassert(mmu_shootdown != NULL);
		mmu_shootdown(as->cpus, leave_local, as);
	}
	preempt_enable();
}

/* ---- flushing -------------------------------------------------------------------------------- */

struct tlb_request {
	struct aspace *as; /* NULL: kernel */
	u64 start, end;
	u64 gen; /* of the space after this flush */
	bool whole;
};

static void flush_local(void *arg)
{
	const struct tlb_request *r = arg;
	struct tlb_cpu *cpu = this_cpu_ptr(&tlb_cpu);
	struct tlb_context *c = &cpu->context[cpu->current];

	if (r->as && this_cpu_read(active_space) != r->as)
		return;
	if (!r->whole) {
		for (u64 va = r->start; va != r->end; va += PAGE_SIZE)
			mmu_flush_page(va);
	} else if (r->as) {
		mmu_flush_context();
	} else {
		mmu_flush_all();
	}
	/* One generation further only if this flush was the next one: flushes of two CPUs may
	 * arrive in either order. A whole flush makes up for all before it. */
	if (r->as && (r->whole ? c->gen < r->gen : c->gen == r->gen - 1))
		c->gen = r->gen;
}

static enum trace_flush kind_of(const struct tlb_request *r)
{
	if (r->whole)
		return r->as ? FLUSH_SPACE : FLUSH_ALL;
	return r->end - r->start == PAGE_SIZE ? FLUSH_PAGE : FLUSH_RANGE;
}

static void flush(struct tlb_request *r)
{
	preempt_disable();
	if (hook_on(HOOK_TRACE))
		trace_flush(kind_of(r), r->start, r->end);
	if (r->as)
		r->gen = atomic_add_fetch(&r->as->tlb_gen, 1ul);
	flush_local(r);
	if (unlikely(mmu_shootdown != NULL)) {
		if (!r->as)
			mmu_shootdown(NULL, flush_local, r);
		else if (others_in(r->as->cpus))
			mmu_shootdown(r->as->cpus, flush_local, r);
	}
	preempt_enable();
}

#define count(what) (this_cpu_ptr(&tlb_cpu)->stats.what++)

void tlb_flush_page(struct aspace *as, u64 va)
{
	struct tlb_request r = { .as = as, .start = va, .end = va + PAGE_SIZE };

	count(page);
	flush(&r);
}

void tlb_flush_range(struct aspace *as, u64 start, u64 end)
{
	struct tlb_request r = { .as = as, .start = start, .end = end };

	r.whole = (end - start) >> PAGE_SHIFT > TLB_FLUSH_CEILING;
	if (r.whole)
		count(space);
	else
		count(range);
	flush(&r);
}

void tlb_flush_space(struct aspace *as)
{
	struct tlb_request r = { .as = as, .whole = true };

	count(space);
	flush(&r);
}

void tlb_flush_all(void)
{
	struct tlb_request r = { .as = NULL, .whole = true };

	count(all);
	flush(&r);
}

void tlb_flush_local_page(u64 va)
{
	mmu_flush_page(va);
}

void tlb_note_avoided(void)
{
	count(avoided);
}

/* Tables among what was collected; leaves the frames. */
static void gather_drop_tables(struct tlb_gather *g)
{
	u32 n = 0;

	for (u32 i = 0; i < g->nr; i++) {
		u64 word = g->frame[i];
		struct frame *f = (struct frame *)(word & ~(GATHER_ZEROED | GATHER_SHARED));

		if (word == (u64)f) {
			g->frame[n++] = word;
			continue;
		}
		if (frame_refs(f) == 1)
			mmu_check_unreachable(frame_pfn(f));
		if (word & GATHER_ZEROED)
			frame_put_zeroed(f);
		else
			pt_put_table(f, g->dead);
	}
	g->nr = n;
}

static void gather_drop(struct tlb_gather *g)
{
	if (g->tables)
		gather_drop_tables(g);
	if (g->nr)
		frame_put_many((struct frame **)g->frame, g->nr);
	tlb_gather_init(g, g->as);
}

void tlb_gather_overflow(struct tlb_gather *g)
{
	if (g->end == 0)
		tlb_note_avoided();
	else
		tlb_flush_space(g->as);
	gather_drop(g);
}

void tlb_gather_flush(struct tlb_gather *g)
{
	if (g->end == 0)
		tlb_note_avoided();
	else if (g->end - g->start == PAGE_SIZE)
		tlb_flush_page(g->as, g->start);
	else
		tlb_flush_range(g->as, g->start, g->end);
	gather_drop(g);
}

void tlb_stats(struct tlb_stats *out)
{
	*out = (struct tlb_stats){ 0 };
	for (u32 cpu = 0; cpu < nr_cpus; cpu++) {
		const u64 *from = (const u64 *)&per_cpu_ptr(&tlb_cpu, cpu)->stats;
		u64 *to = (u64 *)out;

		for (size_t i = 0; i < sizeof(*out) / sizeof(u64); i++)
			to[i] += READ_ONCE(from[i]);
	}
}

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
 * A CPU that runs a kernel thread keeps the last space's root loaded (lazily), and its bit set; its
 * active_space then has SPACE_LAZY. It uses no translation of the space, so flushes pass it by; when
 * it comes back to the space it publishes itself as its user, in the order above, and forgets all if
 * the generation has moved on. But it may read ahead through cached upper-level entries: when
 * tables are to be freed it is interrupted too, and leaves the space for the kernel's own root.
 * So does it when the space dies.
 *
 * One message round an operation: a gather that is full goes on in pages of its own while
 * memory lasts, if other CPUs have to be told.
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
#include "lib/audit.h"
#include "lib/kassert.h"
#include "lib/string.h"
#include "mm/large.h"
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

#define count(what) (this_cpu_ptr(&tlb_cpu)->stats.what++)

static inline struct aspace *space_of(struct aspace *active)
{
	return (struct aspace *)((u64)active & ~SPACE_LAZY);
}

static void mask_set(struct aspace *as, u32 cpu)
{
	__atomic_fetch_or(&as->cpus[cpu / 64], 1ul << (cpu % 64), __ATOMIC_SEQ_CST);
}

static void mask_clear(struct aspace *as, u32 cpu)
{
	__atomic_fetch_and(&as->cpus[cpu / 64], ~(1ul << (cpu % 64)), __ATOMIC_SEQ_CST);
}

/* The context for a space on this CPU: its own, or the one taken longest ago. */
static __noinline u32 context_of_several(struct tlb_cpu *cpu, u64 space, u32 n)
{
	u32 i;

	for (i = 0; i < n; i++)
		if (cpu->context[i].space == space)
			return i;
	i = cpu->victim;
	cpu->victim = i + 1 < n ? i + 1 : 0;
	cpu->context[i].space = 0;
	return i;
}

/* Back from a kernel thread to the space that is still loaded. */
static void resume(struct tlb_cpu *cpu, struct aspace *as)
{
	struct tlb_context *c = &cpu->context[cpu->current];
	u64 gen;

	/* Whoever raises the generation from here on sees us use the space: a full barrier between. */
	(void)__atomic_exchange_n(this_cpu_ptr(&active_space), as, __ATOMIC_SEQ_CST);
	gen = atomic_load(&as->tlb_gen);
	if (likely(c->gen == gen))
		return;
	c->gen = gen;
	mmu_flush_context();
	cpu->stats.lazy_behind++;
}

static inline u32 context_for(struct tlb_cpu *cpu, u64 space, u32 n)
{
	return likely(n == 1) ? 0 : context_of_several(cpu, space, n);
}

void mm_switch_to(struct aspace *next)
{
	struct tlb_cpu *cpu = this_cpu_ptr(&tlb_cpu);
	struct aspace *prev = this_cpu_read(active_space);
	u32 id = cpu_id(), n = mmu_contexts();
	struct tlb_context *c;
	bool keep;
	u64 gen;

	if (unlikely((u64)prev & SPACE_LAZY)) {
		prev = space_of(prev);
		if (prev == next) {
			resume(cpu, next);
			return;
		}
	}
	mask_set(next, id); /* a full barrier before the generation is read */
	gen = atomic_load(&next->tlb_gen);
	cpu->current = context_for(cpu, next->id, n);
	c = &cpu->context[cpu->current];
	keep = n > 1 && c->space == next->id && c->gen == gen;
	c->space = next->id;
	c->gen = gen;
	cpu->stats.cr3_loads++;
	cpu->stats.cr3_skipped += keep;
	this_cpu_write(active_space, next);
	mmu_load_root(virt_to_phys(next->root), cpu->current, keep);
	if (prev)
		mask_clear(prev, id);
}

/* Loads the kernel's own root. Interrupts off. */
static void leave(struct tlb_cpu *cpu, struct aspace *as)
{
	cpu->current = context_for(cpu, 0, mmu_contexts());
	cpu->context[cpu->current].space = 0;
	this_cpu_write(active_space, NULL);
	mmu_load_root(kmap_root(), cpu->current, false);
	cpu->stats.cr3_loads++;
	mask_clear(as, cpu_id());
}

/* Ids are never used twice, so contexts that still name this space serve nobody. */
static void leave_local(void *arg)
{
	struct aspace *as = arg;
	u64 flags = irq_save();

	if (space_of(this_cpu_read(active_space)) == as)
		leave(this_cpu_ptr(&tlb_cpu), as);
	irq_restore(flags);
}

/*
 * The CPUs that must be told of a change in `as`, this one left out. True: there are any. Those that
 * have it loaded lazily only if tables go. Behind the raise of the generation.
 */
static bool others_in(struct aspace *as, bool tables, u64 mask[NR_CPUS / 64])
{
	u32 self = cpu_id(), words = (nr_cpus + 63) / 64;
	u64 any = 0;

	for (u32 i = 0; i < words; i++) {
		u64 bits = __atomic_load_n(&as->cpus[i], __ATOMIC_SEQ_CST);

		if (i == self / 64)
			bits &= ~(1ul << (self % 64));
		mask[i] = bits;
		for (; bits && !tables; bits &= bits - 1) {
			u32 cpu = i * 64 + (u32)__builtin_ctzl(bits);
			u64 active = (u64)__atomic_load_n(per_cpu_ptr(&active_space, cpu),
							  __ATOMIC_SEQ_CST);

			if (active == ((u64)as | SPACE_LAZY)) {
				mask[i] &= ~(bits & -bits);
				count(lazy_skipped);
			}
		}
		any |= mask[i];
	}
	return any != 0;
}

static void shootdown(const u64 *mask, void (*fn)(void *arg), void *arg)
{
	count(rounds);
	for (u32 i = 0; mask && i < (nr_cpus + 63) / 64; i++)
		for (u64 bits = mask[i]; bits; bits &= bits - 1)
			count(messages);
	if (!mask)
		this_cpu_ptr(&tlb_cpu)->stats.messages += nr_cpus - 1;
	mmu_shootdown(mask, fn, arg);
}

void tlb_leave_space(struct aspace *as)
{
	u64 mask[NR_CPUS / 64];

	preempt_disable();
	leave_local(as);
	if (unlikely(mmu_shootdown != NULL) && others_in(as, true, mask))
		shootdown(mask, leave_local, as);
	preempt_enable();
}

/* ---- flushing -------------------------------------------------------------------------------- */

/* What other CPUs are told. */
struct tlb_request {
	struct aspace *as; /* NULL: kernel */
	u64 start, end;
	u64 gen; /* of the space after this flush */
	bool whole;
	bool tables; /* a table was taken out */
};

/* Not a user of the space. By a message, interrupts off, or preemption off. */
static __noinline void flush_lazily(struct aspace *as, bool tables)
{
	if (tables && space_of(this_cpu_read(active_space)) == as)
		leave_local(as);
}

/* Preemption off. */
static __always_inline void flush_here(struct aspace *as, u64 start, u64 end, u64 gen, bool whole,
				       bool tables)
{
	struct tlb_cpu *cpu = this_cpu_ptr(&tlb_cpu);
	struct tlb_context *c = &cpu->context[cpu->current];

	if (as && unlikely(this_cpu_read(active_space) != as)) {
		flush_lazily(as, tables);
		return;
	}
	if (!whole) {
		for (u64 va = start; va != end; va += PAGE_SIZE)
			mmu_flush_page(va);
	} else if (as) {
		mmu_flush_context();
	} else {
		mmu_flush_all();
	}
	/* One generation further only if this flush was the next one: flushes of two CPUs may
	 * arrive in either order. A whole flush makes up for all before it. */
	if (as && (whole ? c->gen < gen : c->gen == gen - 1))
		c->gen = gen;
}

static DEFINE_PER_CPU_SHARED(struct tlb_request, tlb_request); /* [o] preemption off */

static void flush_by_message(void *arg)
{
	const struct tlb_request *r = arg;

	flush_here(r->as, r->start, r->end, r->gen, r->whole, r->tables);
}

static enum trace_flush kind_of(const struct aspace *as, u64 start, u64 end, bool whole)
{
	if (whole)
		return as ? FLUSH_SPACE : FLUSH_ALL;
	return end - start == PAGE_SIZE ? FLUSH_PAGE : FLUSH_RANGE;
}

/* With several CPUs. */
static __noinline void flush_others(struct aspace *as, u64 start, u64 end, u64 gen, bool whole,
				    bool tables)
{
	struct tlb_request *r = this_cpu_ptr(&tlb_request); /* not the stack, which is ours alone */
	u64 mask[NR_CPUS / 64];

	*r = (struct tlb_request){ as, start, end, gen, whole, tables };
	if (!as)
		shootdown(NULL, flush_by_message, r);
	else if (others_in(as, tables, mask))
		shootdown(mask, flush_by_message, r);
	else
		count(alone);
}

static __always_inline void flush(struct aspace *as, u64 start, u64 end, bool whole, bool tables)
{
	u64 gen = 0;

	preempt_disable();
	if (hook_on(HOOK_TRACE))
		trace_flush(kind_of(as, start, end, whole), start, end);
	if (as)
		gen = atomic_add_fetch(&as->tlb_gen, 1ul);
	flush_here(as, start, end, gen, whole, tables);
	if (unlikely(mmu_shootdown != NULL))
		flush_others(as, start, end, gen, whole, tables);
	preempt_enable();
}

static __always_inline void flush_page(struct aspace *as, u64 va, bool tables)
{
	count(page);
	flush(as, va, va + PAGE_SIZE, false, tables);
}

static void flush_range(struct aspace *as, u64 start, u64 end, bool tables)
{
	if ((end - start) >> PAGE_SHIFT > TLB_FLUSH_CEILING) {
		count(space);
		flush(as, 0, 0, true, tables);
	} else {
		count(range);
		flush(as, start, end, false, tables);
	}
}

static inline void flush_pages(struct aspace *as, u64 start, u64 end, bool tables)
{
	if (end - start == PAGE_SIZE)
		flush_page(as, start, tables);
	else
		flush_range(as, start, end, tables);
}

void tlb_flush_page(struct aspace *as, u64 va)
{
	flush_page(as, va, false);
}

void tlb_flush_range(struct aspace *as, u64 start, u64 end)
{
	flush_range(as, start, end, false);
}

void tlb_flush_pages(struct aspace *as, u64 start, u64 end)
{
	flush_pages(as, start, end, false);
}

void tlb_flush_space(struct aspace *as)
{
	count(space);
	flush(as, 0, 0, true, false);
}

void tlb_flush_all(void)
{
	count(all);
	flush(NULL, 0, 0, true, false);
}

void tlb_flush_local_page(u64 va)
{
	mmu_flush_page(va);
}

void tlb_note_avoided(void)
{
	count(avoided);
}

/* ---- gathers --------------------------------------------------------------------------------- */

/* What does not fit into the gather itself: a frame of it. */
struct tlb_more {
	struct tlb_more *next;
	u64 nr;
	u64 word[PAGE_SIZE / sizeof(u64) - 2];
};
_Static_assert(sizeof(struct tlb_more) == PAGE_SIZE, "one frame");

/* Tables and large pages among n words; how many words are left, frames all. */
static u32 drop_others(struct tlb_gather *g, u64 *word, u32 nr)
{
	u32 n = 0;

	for (u32 i = 0; i < nr; i++) {
		struct frame *f = (struct frame *)(word[i] & ~GATHER_BITS);

		if (word[i] == (u64)f) {
			word[n++] = word[i];
			continue;
		}
		if (word[i] & GATHER_LARGE) {
			large_put(f);
			continue;
		}
		if (frame_refs(f) == 1)
			mmu_check_unreachable(frame_pfn(f));
		if (word[i] & GATHER_ZEROED)
			pt_free_table(f);
		else
			pt_put_table(f, g->dead);
	}
	return n;
}

static void drop_words(struct tlb_gather *g, u64 *word, u32 nr)
{
	if (g->tables | g->large)
		nr = drop_others(g, word, nr);
	if (nr)
		frame_put_many((struct frame **)word, nr);
}

static void gather_drop(struct tlb_gather *g)
{
	while (unlikely(g->more != NULL)) {
		struct tlb_more *m = g->more;

		g->more = m->next;
		drop_words(g, m->word, (u32)m->nr);
		frame_put(virt_frame(m));
	}
	drop_words(g, g->frame, g->nr);
	tlb_gather_init(g, g->as);
}

/* Moves the batch to a page of its own. False: no memory, or no other CPU is concerned. */
static __noinline bool gather_more(struct tlb_gather *g)
{
	u64 mask[NR_CPUS / 64];
	struct tlb_more *m = g->more;

	if (!others_in(g->as, true, mask))
		return false;
	if (!m || m->nr + g->nr > ARRAY_SIZE(m->word)) {
		struct frame *f = frame_alloc(FRAME_KERNEL, FRAME_ATOMIC);

		if (!f)
			return false;
		m = frame_virt(f);
		m->next = g->more;
		m->nr = 0;
		g->more = m;
	}
	memcpy(m->word + m->nr, g->frame, g->nr * sizeof(u64));
	m->nr += g->nr;
	g->nr = 0;
	return true;
}

void tlb_gather_overflow(struct tlb_gather *g)
{
	if (unlikely(mmu_shootdown != NULL) && gather_more(g))
		return;
	if (g->end == 0) {
		tlb_note_avoided();
	} else {
		count(space);
		flush(g->as, 0, 0, true, g->tables);
	}
	gather_drop(g);
}

void tlb_gather_flush(struct tlb_gather *g)
{
	if (g->end == 0)
		tlb_note_avoided();
	else
		flush_pages(g->as, g->start, g->end, g->tables);
	gather_drop(g);
}

void tlb_stats_cpu(u32 cpu, struct tlb_stats *out)
{
	const u64 *from = (const u64 *)&per_cpu_ptr(&tlb_cpu, cpu)->stats;
	u64 *to = (u64 *)out;

	for (size_t i = 0; i < sizeof(*out) / sizeof(u64); i++)
		to[i] = READ_ONCE(from[i]);
}

void tlb_stats(struct tlb_stats *out)
{
	*out = (struct tlb_stats){ 0 };
	for (u32 cpu = 0; cpu < nr_cpus; cpu++) {
		struct tlb_stats one;
		const u64 *from = (const u64 *)&one;
		u64 *to = (u64 *)out;

		tlb_stats_cpu(cpu, &one);
		for (size_t i = 0; i < sizeof(*out) / sizeof(u64); i++)
			to[i] += from[i];
	}
}

/* ---- the audit ------------------------------------------------------------------------------- */

static bool mask_bit(const struct aspace *as, u32 cpu)
{
	return READ_ONCE(as->cpus[cpu / 64]) >> (cpu % 64) & 1;
}

/* A CPU is in the mask of the space that it has loaded, and in no other; no context is ahead. */
static void audit_space(struct audit *a, struct aspace *as)
{
	u64 gen = atomic_load(&as->tlb_gen);

	for (u32 cpu = 0; cpu < nr_cpus; cpu++) {
		struct tlb_cpu *c = per_cpu_ptr(&tlb_cpu, cpu);
		struct aspace *active = *per_cpu_ptr(&active_space, cpu);

		audit_equal(a, mask_bit(as, cpu), space_of(active) == as,
			    "space %lu: CPU %u in its mask", as->id, cpu);
		for (u32 i = 0; i < mmu_contexts(); i++)
			if (c->context[i].space == as->id)
				audit_equal(a, c->context[i].gen > gen, false,
					    "space %lu: CPU %u ahead of it", as->id, cpu);
		if (active == as)
			audit_equal(a, c->context[c->current].gen, gen,
				    "space %lu: generation of CPU %u", as->id, cpu);
	}
}

void tlb_audit(struct audit *a)
{
	u32 loaded = 0, in_masks = 0;
	struct aspace *as;

	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		loaded += space_of(*per_cpu_ptr(&active_space, cpu)) != NULL;
	list_for_each(as, &aspaces, all) {
		audit_space(a, as);
		for (u32 cpu = 0; cpu < nr_cpus; cpu++)
			in_masks += mask_bit(as, cpu);
	}
	audit_equal(a, in_masks, loaded, "CPUs in the masks of living spaces");
}

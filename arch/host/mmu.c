/*
 * A simulated x86 memory management unit with the worst manners that the architecture permits.
 *
 * Each simulated CPU has caches of translations and of upper-level entries that are never full:
 * they keep what they once saw, per context, and forget only what a flush names. The rules are
 * those of the Intel SDM, volume 3, section 4.10 ("Caching Translation Information"):
 *
 *  - a translation is cached with the permissions and the D bit of the entries that made it, and
 *    serves until it is flushed, whatever memory says;
 *  - the deepest cached upper-level entry for an address serves in place of the tables above;
 *  - entries that are not present are never cached;
 *  - a write through a translation without D walks again, and sets D in memory;
 *  - a page fault forgets the faulting page, in the current context, and the upper-level entries on
 *    the way to it;
 *  - INVLPG forgets one page of the current context and global ones, and all upper-level entries
 *    of the current context; a load of the root without keep forgets the context; a change of PGE
 *    forgets everything;
 *  - the processor may read ahead at any time: host_mmu_speculate.
 *
 * And it checks: no frame is given up while a CPU's current context still reaches it, and
 * host_mmu_audit finds a cached translation that allows more than memory does. Contexts that are
 * not loaded are checked when they are loaded with keep, unless other CPUs run at the same moment,
 * whose flush may be on its way (host_mmu_crowded). What a CPU remembers that runs a kernel thread
 * must be right when it comes back (host_mmu_lazy); but no table may be given up that it reaches.
 *
 * An access is one instruction: a simulated CPU takes no interrupt between its start and its end, so
 * whoever shoots translations down waits for a walk that is on. Its caller keeps interrupts off.
 * Host threads that play different CPUs touch different caches; mmu_check_unreachable and the
 * audit look at all and want the others to stand still.
 */
#include "arch/api/mmu.h"

#include <stdlib.h>
#include <string.h>

#include "arch/api/percpu.h"
#include "arch/api/pte.h"
#include "lib/kassert.h"
#include "machine/memlayout.h"
#include "mm/frame.h"

#define HOST_TLB_BUCKETS 4096

/* A place in one of the lists below. */
struct link {
	struct cached *next, **prev;
};

/* level 1 ... 3 with leaf: a translation; without: the entry of a table of `level`, so that the
 * walk goes on in the table below. */
struct cached {
	struct link by_va, by_frame, by_context;
	u64 tag; /* va >> pt_shift(level) */
	u64 context;
	u8 level;
	bool leaf, global;
	bool write, user, noexec; /* combined from the root down */
	pte_t e;
};

struct host_mmu {
	paddr_t root;
	unsigned context;
	struct cached *va_bucket[HOST_TLB_BUCKETS], *frame_bucket[HOST_TLB_BUCKETS];
	struct cached *upper[MMU_MAX_CONTEXTS], *leaves[MMU_MAX_CONTEXTS], *globals;
};

static struct host_mmu mmu[NR_CPUS];
unsigned mmu_context_count = 1;
struct host_mmu_counts host_mmu_counts;
bool host_mmu_crowded, host_mmu_lazy[NR_CPUS];
void (*mmu_shootdown)(const u64 *cpu_mask, void (*fn)(void *arg), void *arg);

static struct host_mmu *this_mmu(void)
{
	return &mmu[host_cpu];
}

static struct cached **va_bucket(struct host_mmu *m, u64 tag, unsigned level, bool leaf)
{
	u64 h = (tag * 0x9e3779b97f4a7c15ul) ^ (level * 0x85ebca6bul) ^ (leaf ? 0x1234567ul : 0);

	return &m->va_bucket[(h >> 20) % HOST_TLB_BUCKETS];
}

static struct cached **frame_bucket(const struct host_mmu *m, pfn_t first)
{
	return (struct cached **)&m
		->frame_bucket[(first * 0x9e3779b97f4a7c15ul >> 20) % HOST_TLB_BUCKETS];
}

static bool is_global(const struct cached *c)
{
	return c->leaf && c->global;
}

static struct cached *find(struct host_mmu *m, u64 va, unsigned level, bool leaf)
{
	u64 tag = va >> pt_shift(level);
	struct cached *c;

	for (c = *va_bucket(m, tag, level, leaf); c; c = c->by_va.next)
		if (c->tag == tag && c->level == level && c->leaf == leaf &&
		    (c->context == m->context || is_global(c)))
			return c;
	return NULL;
}

#define link_add(head, c, member)                                                                  \
	do {                                                                                       \
		(c)->member = (struct link){ *(head), (head) };                                    \
		if (*(head))                                                                       \
			(*(head))->member.prev = &(c)->member.next;                                \
		*(head) = (c);                                                                     \
	} while (0)

#define link_del(c, member)                                                                        \
	do {                                                                                       \
		*(c)->member.prev = (c)->member.next;                                              \
		if ((c)->member.next)                                                              \
			(c)->member.next->member.prev = (c)->member.prev;                          \
	} while (0)

static void insert(struct host_mmu *m, u64 va, const struct cached *what)
{
	struct cached *c = malloc(sizeof(*c));

	kassert(c != NULL);
	*c = *what;
	c->tag = va >> pt_shift(c->level);
	c->context = m->context;
	link_add(va_bucket(m, c->tag, c->level, c->leaf), c, by_va);
	link_add(frame_bucket(m, pte_pa(c->e, c->level).v >> PAGE_SHIFT), c, by_frame);
	link_add(is_global(c) ? &m->globals :
		 c->leaf      ? &m->leaves[m->context] :
				&m->upper[m->context],
		 c, by_context);
}

static void drop(struct cached *c)
{
	link_del(c, by_va);
	link_del(c, by_frame);
	link_del(c, by_context);
	free(c);
}

static void drop_list(struct cached **list)
{
	while (*list)
		drop(*list);
}

/* What is cached of va at one level. */
static void drop_at(struct host_mmu *m, u64 va, unsigned level, bool leaf)
{
	struct cached *c;

	while ((c = find(m, va, level, leaf)))
		drop(c);
}

static void forget_leaf(struct host_mmu *m, u64 va)
{
	for (unsigned l = 1; l <= 3; l++)
		drop_at(m, va, l, true);
}

/* INVLPG: the page, and all upper-level entries of the context. */
static void forget_page(struct host_mmu *m, u64 va)
{
	forget_leaf(m, va);
	drop_list(&m->upper[m->context]);
}

/* A page fault: that page, and the upper-level entries on the way to it. */
static void forget_fault(struct host_mmu *m, u64 va)
{
	forget_leaf(m, va);
	for (unsigned l = 2; l <= PT_LEVELS; l++)
		drop_at(m, va, l, false);
}

static void forget_context(struct host_mmu *m)
{
	drop_list(&m->upper[m->context]);
	drop_list(&m->leaves[m->context]);
}

static void forget_all(struct host_mmu *m)
{
	for (unsigned i = 0; i < MMU_MAX_CONTEXTS; i++) {
		drop_list(&m->upper[i]);
		drop_list(&m->leaves[i]);
	}
	drop_list(&m->globals);
}

/* ---- the walk -------------------------------------------------------------------------------- */

static bool allows(const struct cached *c, enum fault_access access, bool user)
{
	if (user && !c->user)
		return false;
	if (access == FAULT_WRITE && !c->write)
		return false; /* CR0.WP is set */
	return access != FAULT_EXEC || !c->noexec;
}

static void combine(struct cached *c, pte_t e, unsigned level)
{
	c->level = level;
	c->e = e;
	c->write &= !!(e.v & PTE_WRITE);
	c->user &= !!(e.v & PTE_USER);
	c->noexec |= !!(e.v & PTE_NOEXEC);
}

/*
 * Sets A (and D) in memory as the processor does, in one step that finds the entry as it was read.
 * False: it has changed meanwhile.
 */
static bool set_accessed(pte_t *slot, pte_t *e, u64 bits)
{
	u64 old = e->v;

	if ((old & bits) == bits)
		return true;
	e->v |= bits;
	return __atomic_compare_exchange_n(&slot->v, &old, e->v, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

/*
 * From the deepest cached upper-level entry down to a leaf, through memory. Caches the upper-level
 * entries that it sees. False: not present, or not allowed.
 */
static bool walk(struct host_mmu *m, u64 va, enum fault_access access, bool user,
		 struct cached *out)
{
	struct cached c, *hit;
	u64 bits = PTE_ACCESSED | (access == FAULT_WRITE ? PTE_DIRTY : 0);
	unsigned level;
	pte_t *table, *slot;

again:
	c = (struct cached){ .write = true, .user = true };
	hit = NULL;
	level = PT_LEVELS;
	table = phys_to_virt(m->root);
	host_mmu_counts.walks++;
	for (unsigned l = 2; l <= PT_LEVELS && !hit; l++)
		hit = find(m, va, l, false);
	if (hit) {
		c = *hit;
		table = phys_to_virt(pte_pa(hit->e, hit->level));
		level = hit->level - 1;
	}
	for (;; level--) {
		pte_t e;

		slot = &table[pt_index(va, level)];
		e = pte_load(slot);
		if (!pte_is_present(e))
			return false;
		if (pte_is_leaf(e, level)) {
			combine(&c, e, level);
			break;
		}
		if (!set_accessed(slot, &e, PTE_ACCESSED))
			goto again;
		combine(&c, e, level);
		c.leaf = false;
		insert(m, va, &c);
		table = phys_to_virt(pte_pa(e, level));
	}
	if (!allows(&c, access, user))
		return false;
	if (!set_accessed(slot, &c.e, bits))
		goto again;
	c.leaf = true;
	c.global = c.e.v & PTE_GLOBAL;
	*out = c;
	return true;
}

static paddr_t pa_of(const struct cached *c, u64 va)
{
	return PADDR(pte_pa(c->e, c->level).v | (va & (pt_span(c->level) - 1)));
}

static struct cached *find_leaf(struct host_mmu *m, u64 va)
{
	struct cached *c = NULL;

	for (unsigned l = 1; l <= 3 && !c; l++)
		c = find(m, va, l, true);
	return c;
}

int host_mmu_access(u64 va, enum fault_access access, bool user, paddr_t *pa)
{
	struct host_mmu *m = this_mmu();
	struct cached *hit = find_leaf(m, va), new;

	if (hit && !allows(hit, access, user))
		goto fault; /* needs not look at memory again */
	if (hit && (access != FAULT_WRITE || (hit->e.v & PTE_DIRTY))) {
		host_mmu_counts.hits++;
		*pa = pa_of(hit, va);
		return 0;
	}
	if (!walk(m, va, access, user, &new))
		goto fault;
	if (hit)
		forget_leaf(m, va); /* its D changes: a new translation takes its place */
	insert(m, va, &new);
	*pa = pa_of(&new, va);
	return 0;
fault:
	forget_fault(m, va);
	return -1;
}

void host_mmu_speculate(u64 va)
{
	struct host_mmu *m = this_mmu();
	struct cached new;

	if (m->root.v && !find_leaf(m, va) && walk(m, va, FAULT_READ, false, &new))
		insert(m, va, &new);
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* Checks one cached entry of a loaded context against memory. */
static void audit_entry(const struct host_mmu *m, const struct cached *c)
{
	u64 va = c->tag << pt_shift(c->level);
	struct cached now = { .write = true, .user = true };
	pte_t *table = phys_to_virt(m->root);
	unsigned level;
	pte_t e;

	if (va & (1ul << 47))
		va |= 0xffff000000000000ul;
	for (level = PT_LEVELS;; level--) {
		e = pte_load(&table[pt_index(va, level)]);
		if (!pte_is_present(e))
			break;
		combine(&now, e, level);
		if (level == c->level || pte_is_leaf(e, level))
			break;
		table = phys_to_virt(pte_pa(e, level));
	}
	if (!pte_is_present(e) || level != c->level || pte_is_leaf(e, level) != c->leaf ||
	    pte_pa(e, level).v != pte_pa(c->e, level).v || (c->write && !now.write) ||
	    (c->user && !now.user) || (!c->noexec && now.noexec))
		panic("stale translation: va %#lx level %u: cached %#lx, memory (level %u) %#lx",
		      va, c->level, c->e.v, level, e.v);
}

static u64 audit_list(const struct host_mmu *m, const struct cached *c)
{
	u64 n = 0;

	for (; c; c = c->by_context.next, n++)
		audit_entry(m, c);
	return n;
}

static u64 audit_cpu(const struct host_mmu *m)
{
	u64 n = audit_list(m, m->globals);

	if (!host_mmu_lazy[m - mmu])
		n += audit_list(m, m->upper[m->context]) + audit_list(m, m->leaves[m->context]);
	return n;
}

u64 host_mmu_audit(void)
{
	u64 n = 0;

	for (unsigned cpu = 0; cpu < nr_cpus; cpu++)
		if (mmu[cpu].root.v)
			n += audit_cpu(&mmu[cpu]);
	return n;
}

/* Does a CPU reach pfn through what it has cached for something that begins at `first`? */
static void check_cached(unsigned cpu, pfn_t first, pfn_t pfn)
{
	const struct host_mmu *m = &mmu[cpu];

	for (struct cached *c = *frame_bucket(m, first); c; c = c->by_frame.next) {
		pfn_t at = pte_pa(c->e, c->level).v >> PAGE_SHIFT;
		pfn_t n = c->leaf ? pt_span(c->level) >> PAGE_SHIFT : 1;

		if (c->leaf && !c->global && host_mmu_lazy[cpu])
			continue;
		if ((c->context == m->context || is_global(c)) && pfn >= at && pfn < at + n)
			panic("frame %#lx is given up while CPU %u reaches it at %#lx", pfn, cpu,
			      c->tag << pt_shift(c->level));
	}
}

void mmu_check_unreachable(pfn_t pfn)
{
	for (unsigned cpu = 0; cpu < nr_cpus; cpu++) {
		if (!mmu[cpu].root.v)
			continue;
		if (mmu[cpu].root.v >> PAGE_SHIFT == pfn)
			panic("frame %#lx is given up while CPU %u has it as root", pfn, cpu);
		check_cached(cpu, pfn, pfn);
		for (unsigned level = 2; level <= 3; level++)
			if (!IS_ALIGNED(pfn, pt_span(level) >> PAGE_SHIFT))
				check_cached(cpu, ALIGN_DOWN(pfn, pt_span(level) >> PAGE_SHIFT),
					     pfn);
	}
}

/* A large leaf is found by its first frame, from any frame of it. */
void mmu_check_unreachable_block(pfn_t pfn, u64 n)
{
	for (u64 i = 0; i < n; i++)
		mmu_check_unreachable(pfn + i);
}

/* ---- arch/api/mmu.h -------------------------------------------------------------------------- */

void mmu_cpu_init(void)
{
}

unsigned mmu_max_leaf_level(void)
{
	return 3;
}

void mmu_load_root(paddr_t root, unsigned context, bool keep)
{
	struct host_mmu *m = this_mmu();

	kassert(context < mmu_context_count);
	host_mmu_counts.root_loads++;
	m->root = root;
	m->context = context;
	if (!keep || mmu_context_count == 1)
		forget_context(m);
	else if (!host_mmu_crowded)
		audit_cpu(m);
}

paddr_t mmu_current_root(void)
{
	return this_mmu()->root;
}

void mmu_flush_page(u64 va)
{
	host_mmu_counts.page++;
	forget_page(this_mmu(), va);
}

void mmu_flush_context(void)
{
	host_mmu_counts.context++;
	forget_context(this_mmu());
}

void mmu_flush_all(void)
{
	host_mmu_counts.all++;
	forget_all(this_mmu());
}

const struct kernel_section *mmu_kernel_sections(void)
{
	static const struct kernel_section none[1];

	return none;
}

void host_mmu_reset(void)
{
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++) {
		forget_all(&mmu[cpu]);
		mmu[cpu].root = PADDR(0);
		mmu[cpu].context = 0;
	}
	memset(&host_mmu_counts, 0, sizeof(host_mmu_counts));
}

void host_mmu_set_contexts(unsigned n)
{
	kassert(n >= 1 && n <= MMU_MAX_CONTEXTS);
	mmu_context_count = n;
}

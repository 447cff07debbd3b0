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
 * not loaded are checked when they are loaded with keep.
 *
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

/* level 1 ... 3 with leaf: a translation; without: the entry of a table of `level`, so that the
 * walk goes on in the table below. */
struct cached {
	struct cached *next;
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
	struct cached *bucket[HOST_TLB_BUCKETS];
};

static struct host_mmu mmu[NR_CPUS];
static unsigned contexts = 1;
struct host_mmu_counts host_mmu_counts;
void (*mmu_shootdown)(const u64 *cpu_mask, void (*fn)(void *arg), void *arg);

static struct host_mmu *this_mmu(void)
{
	return &mmu[host_cpu];
}

static struct cached **bucket_of(struct host_mmu *m, u64 tag, unsigned level, bool leaf)
{
	u64 h = (tag * 0x9e3779b97f4a7c15ul) ^ (level * 0x85ebca6bul) ^ (leaf ? 0x1234567ul : 0);

	return &m->bucket[(h >> 20) % HOST_TLB_BUCKETS];
}

static struct cached *find(struct host_mmu *m, u64 va, unsigned level, bool leaf)
{
	u64 tag = va >> pt_shift(level);
	struct cached *c;

	for (c = *bucket_of(m, tag, level, leaf); c; c = c->next)
		if (c->tag == tag && c->level == level && c->leaf == leaf &&
		    (c->context == m->context || c->global))
			return c;
	return NULL;
}

static void insert(struct host_mmu *m, u64 va, const struct cached *what)
{
	struct cached *c = malloc(sizeof(*c)), **link;

	kassert(c != NULL);
	*c = *what;
	c->tag = va >> pt_shift(c->level);
	c->context = m->context;
	link = bucket_of(m, c->tag, c->level, c->leaf);
	c->next = *link;
	*link = c;
}

/* Forgets what `drop` says of. */
static void forget(struct host_mmu *m, bool (*drop)(const struct cached *c, u64 va, unsigned ctx),
		   u64 va)
{
	for (unsigned i = 0; i < HOST_TLB_BUCKETS; i++) {
		struct cached **link = &m->bucket[i];

		while (*link) {
			struct cached *c = *link;

			if (drop(c, va, m->context)) {
				*link = c->next;
				free(c);
			} else {
				link = &c->next;
			}
		}
	}
}

static bool drop_page(const struct cached *c, u64 va, unsigned ctx)
{
	if (!c->leaf)
		return c->context == ctx;
	return (c->context == ctx || c->global) && c->tag == va >> pt_shift(c->level);
}

/* A page fault: that page, and the upper-level entries on the way to it. */
static bool drop_fault(const struct cached *c, u64 va, unsigned ctx)
{
	return (c->context == ctx || (c->leaf && c->global)) && c->tag == va >> pt_shift(c->level);
}

static bool drop_context(const struct cached *c, u64 va, unsigned ctx)
{
	return c->context == ctx && !(c->leaf && c->global);
}

static bool drop_all(const struct cached *c, u64 va, unsigned ctx)
{
	return true;
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
 * From the deepest cached upper-level entry down to a leaf, through memory. Caches what it sees.
 * False: not present. *slot: the leaf's place in memory.
 */
static bool walk(struct host_mmu *m, u64 va, struct cached *out, pte_t **slot)
{
	struct cached c = { .write = true, .user = true }, *hit = NULL;
	unsigned level = PT_LEVELS;
	pte_t *table = phys_to_virt(m->root);

	host_mmu_counts.walks++;
	for (unsigned l = 2; l <= PT_LEVELS && !hit; l++)
		hit = find(m, va, l, false);
	if (hit) {
		c = *hit;
		table = phys_to_virt(pte_pa(hit->e, hit->level));
		level = hit->level - 1;
	}
	for (;; level--) {
		pte_t e = pte_load(&table[pt_index(va, level)]);

		if (!pte_is_present(e))
			return false;
		combine(&c, e, level);
		if (pte_is_leaf(e, level)) {
			*slot = &table[pt_index(va, level)];
			break;
		}
		pte_set_bits(&table[pt_index(va, level)], PTE_ACCESSED);
		c.leaf = false;
		insert(m, va, &c);
		table = phys_to_virt(pte_pa(e, level));
	}
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
	pte_t *slot;

	if (hit && !allows(hit, access, user))
		goto fault; /* needs not look at memory again */
	if (hit && (access != FAULT_WRITE || (hit->e.v & PTE_DIRTY))) {
		host_mmu_counts.hits++;
		*pa = pa_of(hit, va);
		return 0;
	}
	if (!walk(m, va, &new, &slot) || !allows(&new, access, user))
		goto fault;
	if (hit)
		forget(m, drop_page, va); /* its D changes: a new translation takes its place */
	pte_set_bits(slot, PTE_ACCESSED | (access == FAULT_WRITE ? PTE_DIRTY : 0));
	new.e.v |= PTE_ACCESSED | (access == FAULT_WRITE ? PTE_DIRTY : 0);
	insert(m, va, &new);
	*pa = pa_of(&new, va);
	return 0;
fault:
	forget(m, drop_fault, va);
	return -1;
}

void host_mmu_speculate(u64 va)
{
	struct host_mmu *m = this_mmu();
	struct cached new;
	pte_t *slot;

	if (find_leaf(m, va) || !walk(m, va, &new, &slot))
		return;
	pte_set_bits(slot, PTE_ACCESSED);
	new.e.v |= PTE_ACCESSED;
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

static u64 audit_cpu(const struct host_mmu *m)
{
	u64 n = 0;

	for (unsigned i = 0; i < HOST_TLB_BUCKETS; i++)
		for (struct cached *c = m->bucket[i]; c; c = c->next)
			if (c->context == m->context || (c->leaf && c->global)) {
				audit_entry(m, c);
				n++;
			}
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

void mmu_check_unreachable_block(pfn_t pfn, u64 count)
{
	for (unsigned cpu = 0; cpu < nr_cpus; cpu++) {
		const struct host_mmu *m = &mmu[cpu];

		if (!m->root.v)
			continue;
		if (m->root.v >> PAGE_SHIFT >= pfn && m->root.v >> PAGE_SHIFT < pfn + count)
			panic("frame %#lx is given up while CPU %u has it as root", pfn, cpu);
		for (unsigned i = 0; i < HOST_TLB_BUCKETS; i++)
			for (struct cached *c = m->bucket[i]; c; c = c->next) {
				pfn_t first = pte_pa(c->e, c->level).v >> PAGE_SHIFT;
				pfn_t n = c->leaf ? pt_span(c->level) >> PAGE_SHIFT : 1;

				if ((c->context == m->context || (c->leaf && c->global)) &&
				    pfn + count > first && pfn < first + n)
					panic("frame %#lx is given up while CPU %u reaches it at "
					      "%#lx",
					      pfn, cpu, c->tag << pt_shift(c->level));
			}
	}
}

void mmu_check_unreachable(pfn_t pfn)
{
	mmu_check_unreachable_block(pfn, 1);
}

/* ---- arch/api/mmu.h -------------------------------------------------------------------------- */

void mmu_cpu_init(void)
{
}

unsigned mmu_max_leaf_level(void)
{
	return 3;
}

unsigned mmu_contexts(void)
{
	return contexts;
}

void mmu_load_root(paddr_t root, unsigned context, bool keep)
{
	struct host_mmu *m = this_mmu();

	kassert(context < contexts);
	host_mmu_counts.root_loads++;
	m->root = root;
	m->context = context;
	if (keep && contexts > 1)
		audit_cpu(m);
	else
		forget(m, drop_context, 0);
}

paddr_t mmu_current_root(void)
{
	return this_mmu()->root;
}

void mmu_flush_page(u64 va)
{
	host_mmu_counts.page++;
	forget(this_mmu(), drop_page, va);
}

void mmu_flush_context(void)
{
	host_mmu_counts.context++;
	forget(this_mmu(), drop_context, 0);
}

void mmu_flush_all(void)
{
	host_mmu_counts.all++;
	forget(this_mmu(), drop_all, 0);
}

const struct kernel_section *mmu_kernel_sections(void)
{
	static const struct kernel_section none[1];

	return none;
}

void host_mmu_reset(void)
{
	for (unsigned cpu = 0; cpu < NR_CPUS; cpu++) {
		forget(&mmu[cpu], drop_all, 0);
		mmu[cpu].root = PADDR(0);
		mmu[cpu].context = 0;
	}
	memset(&host_mmu_counts, 0, sizeof(host_mmu_counts));
}

void host_mmu_set_contexts(unsigned n)
{
	kassert(n >= 1 && n <= MMU_MAX_CONTEXTS);
	contexts = n;
}

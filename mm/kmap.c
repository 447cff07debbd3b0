/*
 * The kernel's page table. One tree serves all address spaces: kmap_init fills entries 256 ... 511
 * of the root once, every root of a space copies them, so what changes below is seen by all
 * without further ado. Those root entries never change again.
 *
 * Each call looks at its whole range first, takes the tables that it needs, and only then writes:
 * an error leaves the tree as it was. Tables that became empty stay (they are found again when the
 * address space is reused, and every space's paging-structure caches may hold them); only a large
 * page put where an empty table stands takes that away, after a flush of everything.
 *
 * Locks: kmap_lock, with interrupts off, for the entries. Flushes come behind it: other CPUs are
 * waited for, and may be waiting for the lock. Until the call returns the range is still the
 * caller's, so nobody maps anything there meanwhile. The page walk reads without a lock.
 *
 * Device memory and stacks get their addresses from an allocator of ranges at the end of this
 * file: all ranges, free and taken, in one tree by address (to merge neighbours), the free ones
 * also in a list, last freed first. A free never needs memory.
 */
#include "mm/kmap.h"

#include "arch/api/mmu.h"
#include "arch/api/page.h"
#include "arch/api/pte.h"
#include "lib/err.h"
#include "lib/list.h"
#include "lib/rbtree.h"
#include "mm/frame.h"
#include "mm/slab.h"
#include "mm/space.h"
#include "mm/tlb.h"

static spinlock_t kmap_lock = SPINLOCK_INIT("kmap", RANK_KMAP);
static pte_t *kernel_root;           /* [I] after kmap_set_root */
static paddr_t kernel_root_pa;       /* [I] */
static struct kmap_stats stats;      /* [kmap_lock] */
static paddr_t (*early_table)(void); /* [I] where tables come from during boot */

void kmap_set_root(paddr_t root, paddr_t (*early)(void))
{
	kernel_root_pa = root;
	kernel_root = phys_to_virt(root);
	early_table = early;
}

paddr_t kmap_root(void)
{
	return kernel_root_pa;
}

static unsigned level_of_size(u64 size)
{
	for (unsigned level = 1; level <= mmu_max_leaf_level(); level++)
		if (pt_span(level) == size)
			return level;
	return 0;
}

/* The highest level whose pages fit at va and pa with `left` bytes to go. */
static unsigned level_for(u64 va, u64 pa, u64 left)
{
	unsigned level = mmu_max_leaf_level();

	while (level > 1 && (!IS_ALIGNED(va | pa, pt_span(level)) || left < pt_span(level)))
		level--;
	return level;
}

static bool range_is_kernel(u64 va, u64 size)
{
	return va >= KERNEL_SPACE && size != 0 && va + (size - 1) >= va;
}

static u64 leaf_bits(unsigned flags, unsigned level)
{
	return PTE_PRESENT | PTE_ACCESSED | PTE_DIRTY | PTE_GLOBAL |
	       (flags & KMAP_WRITE ? PTE_WRITE : 0) | (flags & KMAP_EXEC ? 0 : PTE_NOEXEC) |
	       (level > 1 ? PTE_LARGE : 0) |
	       pte_cache_bits(flags & KMAP_UNCACHED, flags & KMAP_WC, level);
}

static bool flags_ok(unsigned flags)
{
	return !(flags & ~(KMAP_WRITE | KMAP_EXEC | KMAP_UNCACHED | KMAP_WC)) &&
	       (flags & (KMAP_WRITE | KMAP_EXEC)) != (KMAP_WRITE | KMAP_EXEC) &&
	       (flags & (KMAP_UNCACHED | KMAP_WC)) != (KMAP_UNCACHED | KMAP_WC);
}

static pte_t *table_of(pte_t e, unsigned level)
{
	return phys_to_virt(pte_pa(e, level));
}

/*
 * Walks down to the entry of `level` for va, or to the first one above that points to no table.
 * *found: that entry's level.
 */
static pte_t *kernel_walk(u64 va, unsigned level, unsigned *found)
{
	pte_t *slot = &kernel_root[pt_index(va, PT_LEVELS)];
	unsigned l = PT_LEVELS;

	while (l > level) {
		pte_t e = pte_load(slot);

		if (!pte_is_table(e, l))
			break;
		slot = &table_of(e, l)[pt_index(va, l - 1)];
		l--;
	}
	*found = l;
	return slot;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* Tables allocated for an operation before it starts, linked through their own first words. */
struct spare_tables {
	pte_t *first;
};

static pte_t *spare_pop(struct spare_tables *s)
{
	pte_t *t = s->first;

	kassert(t != NULL);
	s->first = *(pte_t **)t;
	*(pte_t **)t = NULL;
	return t;
}

static void spare_free(struct spare_tables *s)
{
	while (s->first)
		frame_put(virt_frame(spare_pop(s)));
}

static int spare_alloc(struct spare_tables *s, u64 n)
{
	for (; n > 0; n--) {
		pte_t *t;

		if (early_table) {
			t = phys_to_virt(early_table());
		} else {
			struct frame *f = frame_alloc(FRAME_TABLE, FRAME_ZERO | FRAME_ATOMIC);

			if (!f) {
				spare_free(s);
				return -ENOMEM;
			}
			t = frame_virt(f);
		}
		*(pte_t **)t = s->first;
		s->first = t;
	}
	return 0;
}

static bool table_is_empty(const pte_t *table)
{
	for (unsigned i = 0; i < PT_ENTRIES; i++)
		if (!pte_is_none(pte_load(&table[i])))
			return false;
	return true;
}

/* Tables that leaves have taken the place of, through frame.owner: no space may keep one in its
 * caches when it is freed. */
struct dead_tables {
	struct frame *first;
	bool any; /* also those of the boot, which are never freed */
};

/* Puts a leaf where an empty table stands. */
static void replace_empty_table(pte_t *slot, pte_t leaf, unsigned level, struct dead_tables *dead)
{
	pte_t old = pte_exchange(slot, leaf);
	struct frame *f = pa_frame(pte_pa(old, level));

	stats.tables--;
	dead->any = true;
	if (f->type != FRAME_TABLE)
		return;
	f->owner = (u64)dead->first;
	dead->first = f;
}

static void dead_tables_free(struct dead_tables *dead)
{
	if (!dead->any)
		return;
	tlb_flush_all();
	while (dead->first) {
		struct frame *f = dead->first;

		dead->first = (struct frame *)f->owner;
		f->owner = 0;
		mmu_check_unreachable(frame_pfn(f));
		frame_put(f);
	}
}

/* ---- map ------------------------------------------------------------------------------------- */

/*
 * Counts in *need the tables that a mapping of [va, va + size) at the given level (0: the largest
 * pages that fit) takes. -EEXIST: something is there.
 */
static int map_check(u64 va, u64 pa, u64 size, unsigned level, u64 *need)
{
	u64 counted[PT_LEVELS + 1]; /* per level, the table counted last: addresses only go up */

	for (unsigned l = 0; l <= PT_LEVELS; l++)
		counted[l] = UINT64_MAX;
	*need = 0;
	while (size > 0) {
		unsigned l = level ? level : level_for(va, pa, size);
		unsigned found;
		pte_t *slot = kernel_walk(va, l, &found);
		pte_t e = pte_load(slot);

		if (pte_is_table(e, found)) {
			if (!table_is_empty(table_of(e, found)))
				return -EEXIST;
		} else if (!pte_is_none(e)) {
			return -EEXIST;
		}
		for (unsigned t = l; t < found; t++) {
			u64 id = va >> pt_shift(t + 1);

			if (counted[t] == id)
				break;
			counted[t] = id;
			(*need)++;
		}
		va += pt_span(l);
		pa += pt_span(l);
		size -= pt_span(l);
	}
	return 0;
}

static void map_commit(u64 va, u64 pa, u64 size, unsigned level, unsigned flags,
		       struct spare_tables *spare, struct dead_tables *dead)
{
	while (size > 0) {
		unsigned l = level ? level : level_for(va, pa, size);
		unsigned found;
		pte_t leaf = pte_make(PADDR(pa), leaf_bits(flags, l));
		pte_t *slot = kernel_walk(va, l, &found);

		while (found > l) {
			pte_t *table = spare_pop(spare);

			pte_store(slot, pte_make(virt_to_phys(table), PTE_KTABLE));
			stats.tables++;
			slot = &table[pt_index(va, --found)];
		}
		if (pte_is_none(pte_load(slot)))
			pte_store(slot, leaf);
		else
			replace_empty_table(slot, leaf, l, dead);
		va += pt_span(l);
		pa += pt_span(l);
		size -= pt_span(l);
	}
}

static int map_at(u64 va, u64 pa, u64 size, unsigned level, unsigned flags)
{
	struct spare_tables spare = { NULL };
	struct dead_tables dead = { NULL, false };
	u64 irq = spin_lock_irqsave(&kmap_lock);
	u64 need;
	int err = map_check(va, pa, size, level, &need);

	if (!err)
		err = spare_alloc(&spare, need);
	if (!err) {
		map_commit(va, pa, size, level, flags, &spare, &dead);
		stats.pages_mapped += size >> PAGE_SHIFT;
	}
	spin_unlock_irqrestore(&kmap_lock, irq);
	dead_tables_free(&dead);
	return err;
}

int map_page(u64 va, paddr_t pa, u64 size, unsigned flags)
{
	unsigned level = level_of_size(size);

	if (!level || !IS_ALIGNED(va | pa.v, size) || !range_is_kernel(va, size) ||
	    (pa.v & ~PTE_ADDR) || !flags_ok(flags))
		return -EINVAL;
	return map_at(va, pa.v, size, level, flags);
}

int map_range(u64 va, paddr_t pa, u64 size, unsigned flags)
{
	if (!IS_ALIGNED(va | pa.v | size, PAGE_SIZE) || !range_is_kernel(va, size) ||
	    size > PTE_ADDR || ((pa.v | (pa.v + size - 1)) & ~(PTE_ADDR | (PAGE_SIZE - 1))) ||
	    !flags_ok(flags))
		return -EINVAL;
	return map_at(va, pa.v, size, 0, flags);
}

/* ---- unmap and protect ----------------------------------------------------------------------- */

/*
 * Is each page of the range mapped, by pages that lie in it completely (at `level`, if that is not
 * 0)? -ENOENT, or -EINVAL for a page that the range covers in part.
 */
static int mapped_check(u64 va, u64 size, unsigned level)
{
	u64 end = va + size; /* 0: the top */

	while (va != end) {
		unsigned l;
		pte_t *slot = kernel_walk(va, 1, &l);

		if (!pte_is_present(pte_load(slot)) || (level && l != level))
			return -ENOENT;
		if (!IS_ALIGNED(va, pt_span(l)) || end - va < pt_span(l))
			return -EINVAL;
		va += pt_span(l);
	}
	return 0;
}

static int unmap_at(u64 va, u64 size, unsigned level)
{
	u64 irq = spin_lock_irqsave(&kmap_lock);
	int err = mapped_check(va, size, level);

	if (!err) {
		u64 at = va;
		unsigned l;

		while (at != va + size) {
			pte_exchange(kernel_walk(at, 1, &l), PTE_NONE);
			at += pt_span(l);
		}
		stats.pages_unmapped += size >> PAGE_SHIFT;
	}
	spin_unlock_irqrestore(&kmap_lock, irq);
	if (!err)
		tlb_flush_range(NULL, va, va + size);
	return err;
}

int unmap_page(u64 va, u64 size)
{
	unsigned level = level_of_size(size);

	if (!level || !IS_ALIGNED(va, size) || !range_is_kernel(va, size))
		return -EINVAL;
	return unmap_at(va, size, level);
}

int unmap_range(u64 va, u64 size)
{
	if (!IS_ALIGNED(va | size, PAGE_SIZE) || !range_is_kernel(va, size))
		return -EINVAL;
	return unmap_at(va, size, 0);
}

/* Does going from `old` to `new` take a permission away, or change how the CPU caches? */
static bool shrinks(pte_t old, pte_t new)
{
	u64 kinds = ~(PTE_WRITE | PTE_NOEXEC | PTE_ACCESSED | PTE_DIRTY);

	return (old.v & ~new.v &PTE_WRITE) || (new.v & ~old.v &PTE_NOEXEC) ||
	       ((old.v ^ new.v) & kinds);
}

static int protect_at(u64 va, u64 size, unsigned level, unsigned flags)
{
	u64 irq = spin_lock_irqsave(&kmap_lock);
	int err = mapped_check(va, size, level);
	bool flush = false;

	if (!err) {
		unsigned l;

		for (u64 at = va; at != va + size; at += pt_span(l)) {
			pte_t *slot = kernel_walk(at, 1, &l);
			pte_t old = pte_load(slot);
			pte_t new = pte_make(pte_pa(old, l), leaf_bits(flags, l));

			flush |= shrinks(old, new);
			pte_exchange(slot, new);
		}
	}
	spin_unlock_irqrestore(&kmap_lock, irq);
	if (flush)
		tlb_flush_range(NULL, va, va + size);
	else if (!err)
		tlb_note_avoided();
	return err;
}

int protect_page(u64 va, u64 size, unsigned flags)
{
	unsigned level = level_of_size(size);

	if (!level || !IS_ALIGNED(va, size) || !range_is_kernel(va, size) || !flags_ok(flags))
		return -EINVAL;
	return protect_at(va, size, level, flags);
}

int protect_range(u64 va, u64 size, unsigned flags)
{
	if (!IS_ALIGNED(va | size, PAGE_SIZE) || !range_is_kernel(va, size) || !flags_ok(flags))
		return -EINVAL;
	return protect_at(va, size, 0, flags);
}

/* ---- the page walk --------------------------------------------------------------------------- */

int get_physical_address(u64 va, paddr_t *pa)
{
	unsigned level;
	pte_t e;

	if (va < KERNEL_SPACE)
		return -ENOENT;
	e = pte_load(kernel_walk(va, 1, &level));
	if (!pte_is_present(e))
		return -ENOENT;
	pa->v = pte_pa(e, level).v | (va & (pt_span(level) - 1));
	return 0;
}

bool is_page_present(u64 va)
{
	paddr_t pa;

	return get_physical_address(va, &pa) == 0;
}

void kmap_stats(struct kmap_stats *out)
{
	u64 irq = spin_lock_irqsave(&kmap_lock);

	*out = stats;
	spin_unlock_irqrestore(&kmap_lock, irq);
}

/* ---- addresses ------------------------------------------------------------------------------- */

struct kva_range {
	struct rb_node node;
	struct list_node free_link; /* on free_ranges, if free */
	u64 start, pages;           /* taken: with the guard page behind */
	bool free;
};

static spinlock_t kva_lock = SPINLOCK_INIT("kva", RANK_KMAP);
static struct rb_root kva_tree;                               /* [kva_lock] */
static struct list_node free_ranges = LIST_INIT(free_ranges); /* [kva_lock] */
static struct slab_cache *kva_cache;                          /* [I] after the first call */

static struct kva_range *range_of(struct rb_node *n)
{
	return n ? rb_entry(n, struct kva_range, node) : NULL;
}

static void kva_insert(struct kva_range *r)
{
	struct rb_node **link = &kva_tree.top, *parent = NULL;

	while (*link) {
		parent = *link;
		link = r->start < range_of(parent)->start ? &parent->left : &parent->right;
	}
	rb_insert(&kva_tree, &r->node, parent, link);
}

static struct kva_range *kva_find(u64 start)
{
	struct rb_node *n = kva_tree.top;

	while (n && range_of(n)->start != start)
		n = start < range_of(n)->start ? n->left : n->right;
	return range_of(n);
}

static void kva_remove(struct kva_range *r)
{
	rb_erase(&kva_tree, &r->node);
	list_del(&r->free_link);
	slab_free(kva_cache, r);
}

/* The first range: everything but one page at the bottom, the first guard. */
static bool kva_start(void)
{
	struct kva_range *r;

	if (!kva_cache)
		kva_cache = slab_cache_create("kva_range", sizeof(struct kva_range), 8);
	r = slab_alloc(kva_cache);
	if (!r)
		return false;
	r->start = KVA_START + PAGE_SIZE;
	r->pages = (KVA_END - r->start) >> PAGE_SHIFT;
	r->free = true;
	kva_insert(r);
	list_add(&free_ranges, &r->free_link);
	return true;
}

/* Takes `pages` from the front of r; what is left becomes `rest`. True if rest was used. */
static bool kva_take(struct kva_range *r, u64 pages, struct kva_range *rest)
{
	bool split = r->pages > pages;

	list_del(&r->free_link);
	r->free = false;
	if (split) {
		rest->start = r->start + (pages << PAGE_SHIFT);
		rest->pages = r->pages - pages;
		rest->free = true;
		r->pages = pages;
		kva_insert(rest);
		list_add_tail(&free_ranges, &rest->free_link);
	}
	return split;
}

u64 kva_alloc(u64 pages)
{
	struct kva_range *rest, *r;
	u64 irq, va = 0;
	bool used = false;

	if (pages == 0 || pages >= (KVA_END - KVA_START) >> PAGE_SHIFT)
		return 0;
	irq = spin_lock_irqsave(&kva_lock);
	if (!kva_tree.top && !kva_start()) {
		spin_unlock_irqrestore(&kva_lock, irq);
		return 0;
	}
	rest = slab_alloc(kva_cache);
	if (rest) {
		list_for_each(r, &free_ranges, free_link) {
			if (r->pages >= pages + 1) {
				used = kva_take(r, pages + 1, rest);
				va = r->start;
				break;
			}
		}
		if (!used)
			slab_free(kva_cache, rest);
	}
	spin_unlock_irqrestore(&kva_lock, irq);
	return va;
}

void kva_free(u64 va, u64 pages)
{
	u64 irq = spin_lock_irqsave(&kva_lock);
	struct kva_range *r = kva_find(va), *prev, *next;

	kassert(r && !r->free);
	kassert_eq(r->pages, pages + 1);
	r->free = true;
	list_add(&free_ranges, &r->free_link);
	next = range_of(rb_next(&r->node));
	if (next && next->free) {
		r->pages += next->pages;
		kva_remove(next);
	}
	prev = range_of(rb_prev(&r->node));
	if (prev && prev->free) {
		prev->pages += r->pages;
		kva_remove(r);
	}
	spin_unlock_irqrestore(&kva_lock, irq);
}

static u64 mmio_pages(u64 addr, size_t len)
{
	return (ALIGN_UP(addr + len, PAGE_SIZE) - ALIGN_DOWN(addr, PAGE_SIZE)) >> PAGE_SHIFT;
}

void *mmio_map(paddr_t pa, size_t len, unsigned flags)
{
	u64 offset = pa.v & (PAGE_SIZE - 1);
	u64 pages = mmio_pages(pa.v, len);
	u64 va;

	if (len == 0 || pa.v + len < pa.v)
		return NULL;
	if (flags & (KMAP_UNCACHED | KMAP_WC))
		flags |= KMAP_WRITE;
	va = kva_alloc(pages);
	if (!va)
		return NULL;
	if (map_range(va, PADDR(pa.v - offset), pages << PAGE_SHIFT, flags)) {
		kva_free(va, pages);
		return NULL;
	}
	return (void *)(va + offset);
}

void mmio_unmap(void *p, size_t len)
{
	u64 va = ALIGN_DOWN((u64)p, PAGE_SIZE);
	u64 pages = mmio_pages((u64)p, len);
	int err = unmap_range(va, pages << PAGE_SHIFT);

	kassert_eq(err, 0);
	kva_free(va, pages);
}

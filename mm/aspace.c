/*
 * Address spaces: the calls of the mmap family. Each checks its arguments in Linux's order, makes
 * what it needs (an object, a mapping), and runs one operation on the page table (mm/pt.c), which
 * is the only record of what is mapped.
 *
 * Where a mapping without a wish goes: the highest hole below VM_MMAP_TOP that is large enough. So
 * that the search need not start at the top each time, the space remembers `gap.end`, above which
 * it found no hole larger than `gap.skipped`. What an unmapping frees above gap.end moves it up.
 * It is a hint only: the operation itself finds out whether the place is free, under its locks.
 *
 * The hints belong to the first thread that maps something. Each further thread of the space gets an
 * arena: a slot of the root table, 512 GiB, in which its search begins, with hints of its own in struct thread.
 * So threads that map and unmap in parallel write no common line and lock no common table. A thread whose
 * arena is full, or that comes when all are given out, shares.
 */
#include "mm/aspace.h"

#include "arch/api/mmu.h"
#include "arch/api/page.h"
#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "lib/string.h"
#include "mm/anon_object.h"
#include "mm/claim.h"
#include "mm/large.h"
#include "mm/pt.h"
#include "mm/region.h"
#include "mm/slab.h"

#define VM_MMAP_TOP    (USER_TOP - 64 * MiB + PAGE_SIZE) /* above: the stack that exec maps */
#define VM_MMAP_BOTTOM (64 * KiB)                        /* as Linux's mmap_min_addr */

static struct slab_cache *aspace_cache; /* [I] */

spinlock_t aspaces_lock = SPINLOCK_INIT("aspaces", RANK_ASPACE);
struct list_node aspaces = LIST_INIT(aspaces);

void aspace_init(void)
{
	aspace_cache = slab_cache_create("aspace", sizeof(struct aspace), 64);
	claim_init();
	pt_init();
	large_init();
}

struct aspace *aspace_create(void)
{
	static atomic64_t ids;
	struct aspace *as = slab_zalloc(aspace_cache);
	struct frame *root;

	if (!as)
		return NULL;
	root = frame_alloc(FRAME_TABLE, FRAME_ZERO);
	if (!root) {
		slab_free(aspace_cache, as);
		return NULL;
	}
	table_init(root, PT_LEVELS);
	as->root_frame = root;
	as->root = frame_virt(root);
	as->root_entry = pte_make(frame_pa(root), PTE_TABLE);
	memcpy(as->root + PT_USER_ROOT_SLOTS,
	       (pte_t *)phys_to_virt(kmap_root()) + PT_USER_ROOT_SLOTS,
	       (PT_ENTRIES - PT_USER_ROOT_SLOTS) * sizeof(pte_t));
	as->id = atomic_add_fetch(&ids, 1ul);
	atomic_store(&as->tlb_gen, 1ul);
	refcount_init(&as->refs, 1);
	spin_init(&as->lock, "aspace", RANK_ASPACE);
	mutex_init(&as->limits);
	as->gap = (struct vm_gap){ VM_MMAP_TOP, 0, VM_MMAP_TOP, VM_MMAP_TOP };
	as->limit[VM_LIMIT_AS] = as->limit[VM_LIMIT_DATA] = as->limit[VM_LIMIT_LOCK] = UINT64_MAX;
	spin_lock(&aspaces_lock);
	list_add_tail(&aspaces, &as->all);
	spin_unlock(&aspaces_lock);
	return as;
}

void aspace_get(struct aspace *as)
{
	refcount_get(&as->refs);
}

bool aspace_is_shared(const struct aspace *as)
{
	return refcount_read(&as->refs) > 1;
}

void aspace_put(struct aspace *as)
{
	if (!refcount_put(&as->refs))
		return;
	spin_lock(&aspaces_lock);
	list_del(&as->all);
	spin_unlock(&aspaces_lock);
	tlb_leave_space(as);
	pt_destroy(as);
	claim_free_all(as);
	slab_free(aspace_cache, as);
}

void aspace_copy_limits(struct aspace *to, struct aspace *from)
{
	spin_lock(&from->lock);
	to->brk_start = from->brk_start;
	to->brk = from->brk;
	spin_unlock(&from->lock);
	to->gap.end = to->gap.start = READ_ONCE(from->gap.end);
	to->gap.skipped = READ_ONCE(from->gap.skipped);
	memcpy(to->limit, from->limit, sizeof(to->limit));
	to->grows = from->grows;
	to->no_large = from->no_large;
}

/* ---- finding a place ------------------------------------------------------------------------- */

/*
 * What a large mapping gets for itself: slots of 2 MiB or of 1 GiB. There large pages can be, and one
 * mark says all (mm/mark.h: partial marks) until memory is touched. There are 131,072 slots of 1 GiB; when
 * they are used up, mappings go side by side.
 */
#define OWN_SLOTS (512 * KiB) /* the smallest */

static inline u64 own_slots(u64 len)
{
	return len >= 64 * MiB ? GiB : 2 * MiB;
}

/* Slots of the root below the one at the top; programs' images lie further down. */
#define ARENAS    62u
#define ARENA_TOP ALIGN_DOWN(VM_MMAP_TOP, pt_span(PT_LEVELS))

bool aspace_is_arena(const struct aspace *as, u64 va)
{
	return va < ARENA_TOP &&
	       (ARENA_TOP - va - 1) / pt_span(PT_LEVELS) < MIN(READ_ONCE(as->arenas), ARENAS);
}

/* The first thread of the space that asks, or a further one. */
static __noinline struct vm_gap *gap_choose(struct aspace *as, struct thread *me)
{
	struct thread *nobody = NULL;
	u64 top;

	if (me->as != as)
		return &as->gap;
	if (me->gap.top)
		return &me->gap;
	if (__atomic_compare_exchange_n(&as->gap_user, &nobody, me, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED))
		return &as->gap;
	top = ARENA_TOP -
	      __atomic_fetch_add(&as->arenas, 1, __ATOMIC_RELAXED) % ARENAS * pt_span(PT_LEVELS);
	me->gap = (struct vm_gap){ top, 0, top, top };
	return &me->gap;
}

static inline struct vm_gap *gap_of(struct aspace *as)
{
	struct thread *me = current();

	return likely(READ_ONCE(as->gap_user) == me) ? &as->gap : gap_choose(as, me);
}

/*
 * The hints are read and written without a lock: two that search at once may take the same place (the
 * second finds it taken, and searches on) or miss a hole, which the search from the top finds.
 */
static inline u64 gap_take(struct vm_gap *g, u64 va, u64 skipped)
{
	WRITE_ONCE(g->skipped, skipped);
	WRITE_ONCE(g->start, va);
	WRITE_ONCE(g->end, va);
	return va;
}

/* `room` bytes, of which len are needed. */
static __noinline u64 gap_search(struct aspace *as, struct vm_gap *g, u64 len, u64 room, u64 align,
				 u64 skipped)
{
	u64 from = READ_ONCE(g->end), largest, va;

	if (room <= skipped) {
		from = g->top;
		skipped = 0;
	}
	va = pt_find_gap(as, room, align, VM_MMAP_BOTTOM, from, &largest);
	if (!va && from != VM_MMAP_TOP) {
		va = pt_find_gap(as, room, align, VM_MMAP_BOTTOM, VM_MMAP_TOP, &largest);
		skipped = 0;
	}
	if (!va)
		va = pt_find_gap(as, len, PAGE_SIZE, VM_MMAP_BOTTOM, VM_MMAP_TOP, &largest);
	if (!va)
		return 0;
	largest = MAX(largest, room - len);
	return gap_take(g, va, MAX(skipped, largest));
}

static inline u64 find_gap(struct aspace *as, u64 len)
{
	struct vm_gap *g = gap_of(as);
	u64 align = PAGE_SIZE, room = len, skipped = READ_ONCE(g->skipped);
	u64 from = READ_ONCE(g->end), va;

	if (len >= OWN_SLOTS) {
		align = own_slots(len);
		room = ALIGN_UP(len, align);
	}
	va = (from - room) & -align;
	if (unlikely(room <= skipped || room >= from || va < READ_ONCE(g->start)))
		return gap_search(as, g, len, room, align, skipped);
	return gap_take(g, va, MAX(skipped, from - (va + len)));
}

u64 aspace_find_gap_like(struct aspace *as, u64 len, u64 like)
{
	u64 skip = like & (2 * MiB - 1), va;

	if (len < OWN_SLOTS || !skip)
		return find_gap(as, len);
	va = find_gap(as, skip + len);
	return va && IS_ALIGNED(va, 2 * MiB) ? va + skip : va;
}

/*
 * [start, end) became free: the next search starts at its end, and need not look if it is enough. A
 * hole above that it may have grown together with is not looked at: mapping and unmapping the same size
 * over and over must be cheap, and a search that finds nothing starts again from the top in any case.
 */
static inline void gap_freed(struct aspace *as, u64 start, u64 end)
{
	struct vm_gap *g = gap_of(as);
	u64 gap_end = READ_ONCE(g->end), rest = own_slots(end - start) - 1;

	if (end - start >= OWN_SLOTS && !(start & rest))
		end = (end + rest) & ~rest; /* the rest of its slots, no doubt */
	if (end <= gap_end || end > g->top)
		return;
	if (start > gap_end || start < READ_ONCE(g->start))
		WRITE_ONCE(g->start, start);
	WRITE_ONCE(g->end, end);
}

void aspace_gap_freed(struct aspace *as, u64 start, u64 end)
{
	gap_freed(as, start, end);
}

/* ---- mmap ------------------------------------------------------------------------------------ */

/* What a mapping shows that is not private anonymous memory. */
struct map_source {
	unsigned kind; /* of the mark */
	struct vm_object *obj;
	u64 offset;
	bool nowrite;
};

/* Makes [va, va + len) say so; NULL: anonymous memory. The address of a mapping of an object is part of
 * the mark, so it comes with the place. */
static inline int map_at(struct aspace *as, u64 va, u64 len, u64 bits,
			 const struct map_source *from, bool noreplace)
{
	struct vm_mapping *m;
	int err;

	if (!from)
		return pt_map(as, va, va + len, mark_anon(bits), noreplace);
	m = mapping_create(from->obj, va, from->offset, from->nowrite);
	if (!m)
		return -ENOMEM;
	err = pt_map(as, va, va + len, mark_mapped(from->kind, m, bits), noreplace);
	mapping_put(m, 1);
	return err;
}

/* At the hint, if that is free (else -EEXIST). The address or -errno. */
static s64 map_at_hint(struct aspace *as, u64 hint, u64 len, u64 bits, int flags,
		       const struct map_source *from)
{
	u64 top = flags & MAP_32BIT ? 2 * GiB : USER_TOP;
	int err;

	hint = MAX(hint & PAGE_MASK, VM_MMAP_BOTTOM);
	if (hint >= top || len > top - hint || vm_near_stack(as, hint + len))
		return -EEXIST;
	err = map_at(as, hint, len, bits, from, true);
	return err ? err : (s64)hint;
}

/* Where the flags say. The address or -errno. */
static __always_inline s64 map_somewhere(struct aspace *as, uaddr_t addr, u64 len, u64 bits,
					 int flags, const struct map_source *from)
{
	u64 va, unused;
	int err;

	if (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		err = map_at(as, addr, len, bits, from, flags & MAP_FIXED_NOREPLACE);
		return err ? err : (s64)addr;
	}
	if (addr) {
		s64 ret = map_at_hint(as, addr, len, bits, flags, from);

		if (ret != -EEXIST)
			return ret;
	}
	do {
		va = flags & MAP_32BIT ? pt_find_gap(as, len, PAGE_SIZE, GiB, 2 * GiB, &unused) :
					 find_gap(as, len);
		if (unlikely(!va))
			return -ENOMEM;
		err = map_at(as, va, len, bits, from, true);
	} while (unlikely(err == -EEXIST)); /* another thread was faster */
	return err ? err : (s64)va;
}

/* What MAP_SHARED_VALIDATE knows: Linux's flags from before it. */
#define MAP_OLD_FLAGS                                                                              \
	(MAP_TYPE | MAP_FIXED | MAP_ANONYMOUS | MAP_32BIT | MAP_GROWSDOWN | MAP_DENYWRITE |        \
	 MAP_EXECUTABLE | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK |   \
	 MAP_HUGETLB | VM_MMAP_NOWRITE | 0x7c000000 /* MAP_HUGE_2MB and _1GB */)

static inline int check_type(int flags, const struct vm_object *obj)
{
	int type = flags & MAP_TYPE;

	if (type == MAP_SHARED_VALIDATE && obj && (flags & ~MAP_OLD_FLAGS))
		return -ENOTSUP;
	if (type != MAP_SHARED && type != MAP_PRIVATE && (type != MAP_SHARED_VALIDATE || !obj))
		return -EINVAL;
	if ((flags & MAP_GROWSDOWN) && (obj || type != MAP_PRIVATE))
		return -EINVAL;
	return 0;
}

static inline int check_place(uaddr_t addr, u64 len, int flags, bool file, u64 offset)
{
	u64 size = ALIGN_UP(len, PAGE_SIZE);
	bool fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);

	if (!IS_ALIGNED(offset, PAGE_SIZE) || len == 0)
		return -EINVAL;
	if (size == 0)
		return -ENOMEM;
	if (file && offset + size < offset)
		return -EOVERFLOW;
	if (size > USER_TOP || (fixed && addr > USER_TOP - size))
		return -ENOMEM;
	if (fixed && !IS_ALIGNED(addr, PAGE_SIZE))
		return -EINVAL;
	return fixed && addr < VM_MMAP_BOTTOM ? -EPERM : 0;
}

int vm_mmap_check(uaddr_t addr, u64 len, int flags, bool file, u64 offset)
{
	return check_place(addr, len, flags, file, offset);
}

/* May this be locked, mapped at all? Only with limits or locks is there anything to ask. Under vm_limits_begin. */
static int check_limits(struct aspace *as, uaddr_t addr, u64 len, unsigned kind, u64 bits,
			int flags)
{
	if (bits & VM_LOCKED) {
		if ((flags & MAP_LOCKED) && as->limit[VM_LIMIT_LOCK] == 0)
			return -EPERM;
		if (vm_may_lock(as, len, 0, 0))
			return -EAGAIN;
	}
	return vm_may_expand(as, len, kind, bits, addr, flags & MAP_FIXED ? addr + len : 0) ?
		       0 :
		       -ENOMEM;
}

static bool is_taken(struct aspace *as, uaddr_t addr, u64 len)
{
	struct region r;

	if (!region_next(as, addr, addr + len, &r))
		return false;
	region_put(&r);
	return true;
}

static bool wants_populate(u64 bits, int lock_future, int flags)
{
	if (bits & VM_LOCKED)
		return !(lock_future & MCL_ONFAULT);
	return (flags & (MAP_POPULATE | MAP_NONBLOCK)) == MAP_POPULATE;
}

/*
 * If the limits allow it. Limits and locks are noted before the page table says so. Between vm_limits_begin and
 * vm_limits_end; limited: there may be some.
 */
static s64 map_limited(struct aspace *as, uaddr_t addr, u64 len, u64 bits, int flags,
		       const struct map_source *from, bool limited)
{
	bool claimed = limited && (flags & MAP_FIXED) && claim_begin(as, addr, addr + len);
	s64 ret;

	if (limited && (flags & MAP_FIXED_NOREPLACE) && is_taken(as, addr, len))
		ret = -EEXIST; /* Linux looks at the place first */
	else
		ret = check_limits(as, addr, len, from ? from->kind : MARK_ANON, bits, flags);
	if (!ret) {
		if (bits & VM_LOCKED)
			WRITE_ONCE(as->locked, true);
		if (bits & VM_GROWSDOWN)
			WRITE_ONCE(as->grows, true);
		ret = map_somewhere(as, addr, len, bits, flags, from);
	}
	if (claimed)
		claim_end(as);
	return ret;
}

/* With limits, locks, flags that are seldom, pages at once. */
static __noinline s64 mmap_special(struct aspace *as, uaddr_t addr, u64 len, u64 bits, int flags,
				   const struct map_source *from)
{
	struct vm_limits limits;
	int lock_future;
	s64 ret;

	if (flags & MAP_GROWSDOWN)
		bits |= VM_GROWSDOWN;
	if (flags & MAP_NORESERVE)
		bits |= VM_NORESERVE;
	if (flags & MAP_STACK) /* as Linux since 6.7: a stack seldom needs the 2 MiB */
		bits |= VM_NOHUGE;
	vm_limits_begin(as, &limits);
	lock_future = READ_ONCE(as->lock_future);
	if ((flags & MAP_LOCKED) || lock_future)
		bits |= VM_LOCKED;
	ret = map_limited(as, addr, len, bits, flags, from, limits.mutex != NULL);
	vm_limits_end(&limits);
	if (ret > 0 && wants_populate(bits, lock_future, flags))
		vm_populate(as, (u64)ret, (u64)ret + len, true); /* errors come with the access */
	return ret;
}

static __noinline s64 mmap_object(struct aspace *as, uaddr_t addr, u64 len, u64 bits, int flags,
				  struct vm_object *obj, u64 offset)
{
	bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;
	struct map_source from = {
		.kind = shared ? MARK_SHARED : MARK_PRIVATE,
		.obj = obj ? obj : anon_object_create(len >> PAGE_SHIFT),
		.offset = obj ? offset : 0,
		.nowrite = !shared || (flags & VM_MMAP_NOWRITE),
	};
	s64 ret;

	if (!from.obj)
		return -ENOMEM;
	ret = mmap_special(as, addr, len, bits, flags, &from);
	if (!obj)
		from.obj->ops->put(from.obj);
	return ret;
}

/* With these there is more to do, or to check, than to write a mark. */
#define MAP_SPECIAL (MAP_LOCKED | MAP_GROWSDOWN | MAP_NORESERVE | MAP_POPULATE | MAP_STACK)

s64 vm_mmap(struct aspace *as, uaddr_t addr, u64 len, int prot, int flags, struct vm_object *obj,
	    u64 offset)
{
	u64 bits = prot_to_bits(prot);
	int err = check_place(addr, len, flags, obj != NULL, offset);

	if (unlikely(err))
		return err;
	len = ALIGN_UP(len, PAGE_SIZE);
	if (likely(!obj && (flags & (MAP_TYPE | MAP_SPECIAL)) == MAP_PRIVATE &&
		   !READ_ONCE(as->locked) && !vm_has_limits(as)))
		return map_somewhere(as, addr, len, bits, flags, NULL);
	err = check_type(flags, obj);
	if (unlikely(err))
		return err;
	if (obj || (flags & MAP_TYPE) != MAP_PRIVATE)
		return mmap_object(as, addr, len, bits, flags, obj, offset);
	return mmap_special(as, addr, len, bits, flags, NULL);
}

/* ---- the rest of the family ------------------------------------------------------------------ */

static int unmap(struct aspace *as, u64 start, u64 end)
{
	int err = pt_unmap(as, start, end);

	if (likely(!err))
		gap_freed(as, start, end);
	return err;
}

int vm_munmap(struct aspace *as, uaddr_t addr, u64 len)
{
	if (!IS_ALIGNED(addr, PAGE_SIZE) || addr > USER_TOP ||
	    len - 1 >= USER_TOP - addr) /* 0, or too much */
		return -EINVAL;
	return unmap(as, addr, addr + ALIGN_UP(len, PAGE_SIZE));
}

/* PROT_GROWSDOWN: the change begins where the stack that contains *addr does. */
static int growing_start(struct aspace *as, u64 *addr, u64 end, int grows)
{
	struct region r;
	int err = -ENOMEM;

	for (u64 at = 0; region_next(as, at, USER_TOP, &r); at = r.end) {
		bool found = r.end > *addr;

		if (found && r.start < end)
			err = grows == PROT_GROWSDOWN && (r.mark.v & VM_GROWSDOWN) ? 0 : -EINVAL;
		region_put(&r);
		if (found) {
			*addr = err ? *addr : r.start;
			break;
		}
	}
	return err;
}

/*
 * RLIMIT_DATA: what is private and becomes writable counts from now on. As on Linux region by region: those before one
 * that is too much have changed.
 */
static int protect_region(struct aspace *as, const struct region *r, u64 bits)
{
	if (!vm_may_protect(as, r->end - r->start, mark_kind(r->mark), r->mark.v,
			    bits | (r->mark.v & VM_FLAGS)))
		return -ENOMEM;
	return pt_protect(as, r->start, r->end, bits);
}

static int protect_regions(struct aspace *as, u64 at, u64 end, u64 bits)
{
	struct vm_limits limits;
	struct region r;
	int err = 0;

	vm_limits_begin(as, &limits);
	for (; at < end && !err; at = r.end) {
		if (!region_next_settled(as, at, end, &r) || r.start > at)
			err = -ENOMEM;
		else
			err = protect_region(as, &r, bits);
		region_put(&r);
	}
	vm_limits_end(&limits);
	return err;
}

int vm_mprotect(struct aspace *as, uaddr_t addr, u64 len, u64 prot)
{
	int grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
	u64 end = addr + ALIGN_UP(len, PAGE_SIZE);
	int err;

	if (grows == (PROT_GROWSDOWN | PROT_GROWSUP) || !IS_ALIGNED(addr, PAGE_SIZE))
		return -EINVAL;
	if (len == 0)
		return 0;
	if (end <= addr)
		return -ENOMEM;
	if ((prot & ~grows) & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM))
		return -EINVAL;
	if (addr >= USER_TOP)
		return -ENOMEM;
	if (unlikely(grows)) {
		err = growing_start(as, &addr, end, grows);
		if (err)
			return err;
	}
	if ((prot & PROT_WRITE) && unlikely(as->limit[VM_LIMIT_DATA] != UINT64_MAX))
		err = protect_regions(as, addr, MIN(end, USER_TOP), prot_to_bits((int)prot));
	else
		err = pt_protect(as, addr, MIN(end, USER_TOP), prot_to_bits((int)prot));
	return !err && end > USER_TOP ? -ENOMEM : err;
}

void aspace_set_brk(struct aspace *as, uaddr_t start)
{
	spin_lock(&as->lock);
	as->brk_start = as->brk = start;
	spin_unlock(&as->lock);
}

/* With a claim up to the page behind it, which Linux wants to be free. */
static int brk_grow(struct aspace *as, u64 from, u64 end, bool locked)
{
	u64 bits = prot_to_bits(PROT_READ | PROT_WRITE) | (locked ? VM_LOCKED : 0);

	if (is_taken(as, end, PAGE_SIZE) || vm_near_stack(as, end + PAGE_SIZE) ||
	    !vm_may_expand(as, end - from, MARK_ANON, bits, 0, 0))
		return -ENOMEM;
	if ((bits & VM_LOCKED) && vm_may_lock(as, end - from, 0, 0))
		return -EAGAIN;
	return pt_map(as, from, end, mark_anon(bits), true);
}

/* The pages of the break are ordinary private memory between the page-aligned start and end. */
static int brk_move(struct aspace *as, uaddr_t brk, uaddr_t want)
{
	u64 old_end = ALIGN_UP(brk, PAGE_SIZE), new_end = ALIGN_UP(want, PAGE_SIZE);
	int err = 0;

	if (new_end < old_end)
		err = unmap(as, new_end, old_end);
	if (new_end > old_end) {
		claim_begin(as, old_end, MIN(new_end + PAGE_SIZE, USER_TOP));
		err = brk_grow(as, old_end, new_end, READ_ONCE(as->lock_future));
		claim_end(as);
	}
	if (err)
		return err;
	spin_lock(&as->lock);
	as->brk = want;
	spin_unlock(&as->lock);
	return 0;
}

uaddr_t vm_brk(struct aspace *as, uaddr_t want)
{
	struct vm_limits limits;
	int lock_future;
	uaddr_t brk;

	/* As if there were limits: two threads that move the break at once would leave a hole below it. */
	vm_limits_take(as, &limits);
	brk = as->brk;
	lock_future = READ_ONCE(as->lock_future);
	if (as->brk_start == 0 || want < as->brk_start || want >= USER_TOP ||
	    want - as->brk_start > READ_ONCE(as->limit[VM_LIMIT_DATA]) || brk_move(as, brk, want))
		want = brk;
	vm_limits_drop(&limits);
	if (want > brk && lock_future && !(lock_future & MCL_ONFAULT))
		vm_populate(as, ALIGN_UP(brk, PAGE_SIZE), ALIGN_UP(want, PAGE_SIZE), true);
	return want;
}

/* ---- reading and writing a space from outside ------------------------------------------------ */

/* Copies within one page, under the lock of its table. False: fault first. */
static bool copy_page_part(struct aspace *as, u64 va, void *buf, size_t n, bool write)
{
	struct pt_cursor c;
	pte_t *slot, e;
	bool done = false;

	pt_lock_read(&c, as, va);
	if (!write)
		pt_peek_shared(&c, va);
	slot = &c.entry[pt_index(va, c.level)];
	e = pte_load(slot);
	if (pte_is_leaf(e, c.level) && (!write || (e.v & PTE_WRITE))) {
		char *p = (char *)phys_to_virt(pte_pa(e, c.level)) + (va & (pt_span(c.level) - 1));

		if (write) {
			memcpy(p, buf, n);
			pte_set_bits(slot, PTE_ACCESSED | PTE_DIRTY);
		} else {
			memcpy(buf, p, n);
		}
		done = true;
	}
	pt_unlock(&c);
	return done;
}

static ssize_t copy_space(struct aspace *as, uaddr_t va, char *buf, size_t n, bool write,
			  int (*fault)(struct aspace *as, uaddr_t va, enum fault_access access))
{
	size_t done = 0;

	if (!user_range_ok(va, n))
		return -EFAULT;
	while (done < n) {
		u64 at = va + done;
		size_t part = MIN(n - done, PAGE_SIZE - (at & (PAGE_SIZE - 1)));

		while (!copy_page_part(as, at, buf + done, part, write))
			if (fault(as, at, write ? FAULT_WRITE : FAULT_READ))
				return done ? (ssize_t)done : -EFAULT;
		done += part;
	}
	return (ssize_t)done;
}

ssize_t aspace_read(struct aspace *as, uaddr_t va, void *buf, size_t n)
{
	return copy_space(as, va, buf, n, false, vm_fault_mapped);
}

ssize_t aspace_write(struct aspace *as, uaddr_t va, const void *buf, size_t n)
{
	return copy_space(as, va, (char *)buf, n, true, vm_fault_mapped);
}

ssize_t aspace_write_own(struct aspace *as, uaddr_t va, const void *buf, size_t n)
{
	return copy_space(as, va, (char *)buf, n, true, vm_fault);
}

void aspace_disable_large(struct aspace *as, bool disable)
{
	WRITE_ONCE(as->no_large, disable);
}

bool aspace_large_disabled(struct aspace *as)
{
	return READ_ONCE(as->no_large);
}

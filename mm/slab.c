/*
 * Objects of one size: slabs, and per-CPU magazines in front of them (Bonwick and Adams,
 * "Magazines and Vmem", USENIX 2001).
 *
 * A slab is a block of 2^order frames cut into objects; of a smaller order than the cache likes
 * where memory is in small pieces. Its books are in the head's struct frame: slab_free (the list
 * of free objects), flags (objects out of the slab), owner (the links of the cache's list of slabs
 * that have a free object: two frame numbers, 0 is the end). Every frame of the block names the
 * cache in `slab`, so kfree finds it from any address; those behind the head, which have no
 * reference, name the head in slab_free. A slab without any object out goes back to the frame
 * allocator, except for one that the cache keeps.
 *
 * A magazine is an array of free objects. Each CPU has two per cache: allocation and freeing work
 * on `loaded` alone; when that is empty (full), the two change places; when both are, one is
 * filled from (emptied into) the slabs. So at least a magazine's worth of calls lies between two
 * visits to the slabs. The two magazines come from a cache that has none itself, when a CPU first
 * uses a cache; without memory for them the CPU works on the slabs directly.
 *
 * Locks: a CPU's magazines belong to it, with interrupts off (handlers allocate). cache.lock is
 * for slabs, lists and counters. Objects move between a CPU's books and the slabs only under it,
 * and within the CPU's books only between owner_begin and owner_end: slab_stats adds up exactly.
 *
 * Debug builds put a trailer behind each object: a red zone, the size asked for, a state, and the
 * link of the free list, which then does not lie in the object, so a freed object is poison from
 * end to end.
 */
#include "mm/slab.h"

#include "arch/api/percpu.h"
#include "lib/kassert.h"
#include "lib/string.h"
#include "mm/frame.h"
#include "mm/internal.h"

#define SLAB_CACHES     64
#define SLAB_MIN_COUNT  8 /* objects in a slab, if an order up to SLAB_NICE_ORDER allows */
#define SLAB_NICE_ORDER 3
#define MAGAZINE_MAX    30

struct slab_cache {
	const char *name; /* [I] */
	u32 size;         /* [I] what the user gets */
	u32 stride;       /* [I] from object to object */
	u32 capacity;     /* [I] objects in a magazine; 0: this cache has none */
	u32 index;        /* [I] in caches[] and in slab_cpus */
	u32 order;        /* [I] of a slab, at best */
	u32 min_order;    /* [I] one object fits */
	spinlock_t lock;
	u32 usable;      /* [l] first slab with a free object, as a frame number */
	u32 idle;        /* [l] slabs with no object out */
	u64 free, total; /* [l] objects in slabs; objects altogether */
	u64 frames;      /* [l] */
};

_Static_assert(offsetof(struct slab_cache, stride) == 12, "tools/guest/lines.py");

struct slab_cpu {
	void **loaded, **previous; /* NULL: this CPU has no magazines for the cache */
	u32 n, previous_n;
	u32 capacity; /* 0 without magazines: so the fast paths need no further test */
	u32 seq;      /* see owner_begin */
	s64 in_use;   /* objects handed out here less those given back here */
	u64 unused[3];
};
_Static_assert(sizeof(struct slab_cpu) == 64, "one cache line, indexed by a shift");

static struct slab_cache caches[SLAB_CACHES];
static u32 nr_caches;
static spinlock_t caches_lock = SPINLOCK_INIT("slab caches", RANK_SLAB);
static DEFINE_PER_CPU(struct slab_cpu[SLAB_CACHES], slab_cpus); /* [o] interrupts off */
static struct slab_cache *magazine_cache;

static inline struct slab_cpu *slab_cpu(const struct slab_cache *c)
{
	return &(*this_cpu_ptr(&slab_cpus))[c->index];
}

/* The head of the slab with this object: it alone of its block's frames has a reference. */
static inline struct frame *slab_head(const void *obj)
{
	struct frame *f = virt_frame(obj);

	return frame_refs(f) != 0 ? f : (struct frame *)f->slab_free;
}

/* ---- debug ------------------------------------------------------------------------------------- */

#ifdef CONFIG_DEBUG

struct slab_debug {
	u64 red_zone;
	void *link;
	u32 state;
	u32 asked; /* bytes */
};

#define RED_ZONE   0x5afe5afe5afe5afeul
#define RED_BYTE   0xfe
#define FREE_BYTE  0xa5
#define NEW_BYTE   0xc3
#define STATE_FREE 0xf4eef4eeu
#define STATE_USED 0x0ccc0cccu

static struct slab_debug *debug_of(const struct slab_cache *c, void *obj)
{
	return (struct slab_debug *)((char *)obj + ALIGN_UP(c->size, 8));
}

static void **free_link(const struct slab_cache *c, void *obj)
{
	return &debug_of(c, obj)->link;
}

static size_t debug_size(size_t size)
{
	return ALIGN_UP(size, 8ul) + sizeof(struct slab_debug);
}

static void debug_fresh(const struct slab_cache *c, void *obj)
{
	memset(obj, FREE_BYTE, ALIGN_UP(c->size, 8));
	*debug_of(c, obj) = (struct slab_debug){ .red_zone = RED_ZONE, .state = STATE_FREE };
}

static void debug_alloc(const struct slab_cache *c, void *obj, size_t asked)
{
	struct slab_debug *d = debug_of(c, obj);
	const u8 *bytes = obj;

	if (d->state != STATE_FREE || d->red_zone != RED_ZONE)
		panic("slab %s: the end of free object %p was written", c->name, obj);
	for (size_t i = 0; i < ALIGN_UP(c->size, 8); i++)
		if (bytes[i] != FREE_BYTE)
			panic("slab %s: object %p written at byte %zu after it was freed", c->name,
			      obj, i);
	memset(obj, NEW_BYTE, asked);
	memset((char *)obj + asked, RED_BYTE, ALIGN_UP(c->size, 8) - asked);
	d->state = STATE_USED;
	d->asked = (u32)asked;
}

static void debug_free(const struct slab_cache *c, void *obj)
{
	struct slab_debug *d = debug_of(c, obj);
	struct frame *f = virt_frame(obj);
	const u8 *bytes = obj;

	if (f->type != FRAME_SLAB || f->slab != c)
		panic("slab %s: %p freed, which belongs to %s", c->name, obj,
		      f->type == FRAME_SLAB ? f->slab->name : "no cache");
	if (((u64)obj - (u64)frame_virt(slab_head(obj))) % c->stride != 0)
		panic("slab %s: %p freed, which is no object's beginning", c->name, obj);
	if (d->state == STATE_FREE)
		panic("slab %s: object %p freed twice", c->name, obj);
	if (d->state != STATE_USED || d->red_zone != RED_ZONE || d->asked > c->size)
		panic("slab %s: object %p written past its end", c->name, obj);
	for (size_t i = d->asked; i < ALIGN_UP(c->size, 8); i++)
		if (bytes[i] != RED_BYTE)
			panic("slab %s: object %p of %u bytes written at byte %zu, past its end",
			      c->name, obj, d->asked, i);
	memset(obj, FREE_BYTE, ALIGN_UP(c->size, 8));
	d->state = STATE_FREE;
}

/* The rest of a large block's last page. */
static void debug_large_alloc(struct frame *f, void *p, size_t size)
{
	memset((char *)p + size, RED_BYTE, (PAGE_SIZE << f->order) - size);
}

static void debug_large_free(struct frame *f, const void *p)
{
	for (size_t i = f->owner; i < PAGE_SIZE << f->order; i++)
		if (((const u8 *)p)[i] != RED_BYTE)
			panic("kmalloc: %p of %lu bytes written at byte %zu, past its end", p,
			      f->owner, i);
}

#else

static inline void **free_link(const struct slab_cache *c, void *obj)
{
	return obj;
}
#define debug_size(size)              (size)
#define debug_fresh(c, obj)           ((void)(obj))
#define debug_alloc(c, obj, asked)    ((void)(asked))
#define debug_free(c, obj)            ((void)(obj))
#define debug_large_alloc(f, p, size) ((void)(size))
#define debug_large_free(f, p)        ((void)(f))

#endif

/* ---- slabs, all under cache.lock --------------------------------------------------------------- */

static void usable_push(struct slab_cache *c, struct frame *f)
{
	u32 pfn = (u32)frame_pfn(f);

	kassert_eq(pfn, frame_pfn(f)); /* 16 TiB of RAM */
	f->owner = c->usable;
	if (c->usable != 0)
		pfn_frame(c->usable)->owner |= (u64)pfn << 32;
	c->usable = pfn;
}

static void usable_remove(struct slab_cache *c, struct frame *f)
{
	u32 next = (u32)f->owner, prev = (u32)(f->owner >> 32);

	if (next != 0)
		pfn_frame(next)->owner = (u32)pfn_frame(next)->owner | (u64)prev << 32;
	if (prev != 0)
		pfn_frame(prev)->owner = next | (pfn_frame(prev)->owner & ~0xfffffffful);
	else
		c->usable = next;
}

static struct frame *slab_frames(struct slab_cache *c)
{
	for (u32 order = c->order;; order--) {
		struct frame *f = frame_alloc_order(order, FRAME_SLAB, FRAME_ATOMIC);

		if (f || order == c->min_order)
			return f;
	}
}

static u32 slab_objects(const struct slab_cache *c, const struct frame *f)
{
	return (u32)((PAGE_SIZE << f->order) / c->stride);
}

static struct frame *slab_grow(struct slab_cache *c)
{
	struct frame *f = slab_frames(c);

	if (!f)
		return NULL;
	u32 n = slab_objects(c, f);
	char *base = frame_virt(f);
	void *next = NULL;

	for (u32 i = n; i-- > 0;) {
		void *obj = base + (size_t)i * c->stride;

		debug_fresh(c, obj);
		*free_link(c, obj) = next;
		next = obj;
	}
	for (size_t i = 0; i < 1ul << f->order; i++) {
		f[i].slab = c;
		f[i].slab_free = f;
	}
	f->slab_free = next;
	f->flags = 0;
	usable_push(c, f);
	c->idle++;
	c->frames += 1ul << f->order;
	c->free += n;
	c->total += n;
	return f;
}

static void slab_release(struct slab_cache *c, struct frame *f)
{
	usable_remove(c, f);
	c->idle--;
	c->frames -= 1ul << f->order;
	c->free -= slab_objects(c, f);
	c->total -= slab_objects(c, f);
	frame_put(f);
}

/* Moves up to n objects from the slabs to out[]. Returns how many. */
static u32 slabs_take(struct slab_cache *c, void **out, u32 n)
{
	u32 got = 0;

	while (got < n) {
		struct frame *f = c->usable != 0 ? pfn_frame(c->usable) : slab_grow(c);

		if (!f)
			break;
		if (f->flags == 0)
			c->idle--;
		while (got < n && f->slab_free) {
			void *obj = f->slab_free;

			f->slab_free = *free_link(c, obj);
			f->flags++;
			out[got++] = obj;
		}
		if (!f->slab_free)
			usable_remove(c, f);
	}
	c->free -= got;
	return got;
}

static void slabs_give(struct slab_cache *c, void **objs, u32 n)
{
	c->free += n;
	for (u32 i = 0; i < n; i++) {
		struct frame *f = slab_head(objs[i]);

		kassert(f->type == FRAME_SLAB && f->slab == c && f->flags != 0);
		if (!f->slab_free)
			usable_push(c, f);
		*free_link(c, objs[i]) = f->slab_free;
		f->slab_free = objs[i];
		if (--f->flags != 0)
			continue;
		c->idle++;
		if (c->idle > 1)
			slab_release(c, f);
	}
}

/* ---- magazines, with interrupts off ------------------------------------------------------------ */

/* One object without magazines. */
static void *direct_alloc(struct slab_cache *c)
{
	struct slab_cpu *cpu = slab_cpu(c);
	void *obj = NULL;

	spin_acquire(&c->lock);
	if (slabs_take(c, &obj, 1) != 0) {
		owner_begin(&cpu->seq);
		cpu->in_use++;
		owner_end(&cpu->seq);
	}
	spin_release(&c->lock);
	return obj;
}

static void direct_free(struct slab_cache *c, void *obj)
{
	struct slab_cpu *cpu = slab_cpu(c);

	spin_acquire(&c->lock);
	slabs_give(c, &obj, 1);
	owner_begin(&cpu->seq);
	cpu->in_use--;
	owner_end(&cpu->seq);
	spin_release(&c->lock);
}

/* Gives this CPU its two magazines. False: the cache has none, or no memory. */
static bool magazines_create(struct slab_cache *c, struct slab_cpu *cpu)
{
	if (c->capacity == 0)
		return false;
	void **loaded = direct_alloc(magazine_cache);
	void **previous = loaded ? direct_alloc(magazine_cache) : NULL;

	if (!previous) {
		if (loaded)
			direct_free(magazine_cache, loaded);
		return false;
	}
	debug_alloc(magazine_cache, loaded, magazine_cache->size);
	debug_alloc(magazine_cache, previous, magazine_cache->size);
	cpu->loaded = loaded;
	cpu->previous = previous;
	cpu->capacity = c->capacity;
	return true;
}

static void magazines_swap(struct slab_cpu *cpu)
{
	void **objs = cpu->loaded;
	u32 n = cpu->n;

	owner_begin(&cpu->seq);
	cpu->loaded = cpu->previous;
	cpu->previous = objs;
	cpu->n = cpu->previous_n;
	cpu->previous_n = n;
	owner_end(&cpu->seq);
}

static inline void *magazine_pop(struct slab_cpu *cpu)
{
	void *obj = cpu->loaded[cpu->n - 1];

	owner_begin(&cpu->seq);
	cpu->n--;
	cpu->in_use++;
	owner_end(&cpu->seq);
	return obj;
}

static inline void magazine_push(struct slab_cpu *cpu, void *obj)
{
	owner_begin(&cpu->seq);
	cpu->loaded[cpu->n++] = obj;
	cpu->in_use--;
	owner_end(&cpu->seq);
}

/* The loaded magazine is empty, or there is none. */
static void *alloc_slow(struct slab_cache *c, struct slab_cpu *cpu)
{
	if (cpu->previous_n != 0) {
		magazines_swap(cpu);
		return magazine_pop(cpu);
	}
	if (!cpu->loaded && !magazines_create(c, cpu))
		return direct_alloc(c);
	spin_acquire(&c->lock);
	cpu->n = slabs_take(c, cpu->loaded, cpu->capacity);
	spin_release(&c->lock);
	return cpu->n != 0 ? magazine_pop(cpu) : NULL;
}

/* The loaded magazine is full, or there is none. */
static void free_slow(struct slab_cache *c, struct slab_cpu *cpu, void *obj)
{
	if (!cpu->loaded) {
		if (!magazines_create(c, cpu)) {
			direct_free(c, obj);
			return;
		}
	} else {
		if (cpu->previous_n != 0) {
			spin_acquire(&c->lock);
			slabs_give(c, cpu->previous, cpu->previous_n);
			cpu->previous_n = 0;
			spin_release(&c->lock);
		}
		magazines_swap(cpu);
	}
	magazine_push(cpu, obj);
}

/* ---- caches ------------------------------------------------------------------------------------ */

/* Everything but the plain case. Apart, so that the plain case needs no stack frame. */
static __noinline void *cache_alloc_slow(struct slab_cache *c, size_t asked)
{
	void *obj;

	if (alloc_fails())
		return NULL;
	u64 irq = irq_save();
	struct slab_cpu *cpu = slab_cpu(c);

	obj = cpu->n != 0 ? magazine_pop(cpu) : alloc_slow(c, cpu);
	irq_restore(irq);
	if (obj)
		debug_alloc(c, obj, asked);
	return obj;
}

static inline void *cache_alloc(struct slab_cache *c, size_t asked)
{
	if (unlikely(alloc_fails_wanted()))
		return cache_alloc_slow(c, asked);
	u64 irq = irq_save();
	struct slab_cpu *cpu = slab_cpu(c);

	if (unlikely(cpu->n == 0)) {
		irq_restore(irq);
		return cache_alloc_slow(c, asked);
	}
	void *obj = magazine_pop(cpu);

	irq_restore(irq);
	debug_alloc(c, obj, asked);
	return obj;
}

static __noinline void cache_free_slow(struct slab_cache *c, void *obj)
{
	u64 irq = irq_save();
	struct slab_cpu *cpu = slab_cpu(c);

	if (cpu->n != cpu->capacity)
		magazine_push(cpu, obj);
	else
		free_slow(c, cpu, obj);
	irq_restore(irq);
}

static inline void cache_free(struct slab_cache *c, void *obj)
{
	debug_free(c, obj);
	u64 irq = irq_save();
	struct slab_cpu *cpu = slab_cpu(c);

	if (unlikely(cpu->n == cpu->capacity)) {
		irq_restore(irq);
		cache_free_slow(c, obj);
		return;
	}
	magazine_push(cpu, obj);
	irq_restore(irq);
}

void *slab_alloc(struct slab_cache *c)
{
	return cache_alloc(c, c->size);
}

void *slab_zalloc(struct slab_cache *c)
{
	void *obj = cache_alloc(c, c->size);

	if (obj)
		memset(obj, 0, c->size);
	return obj;
}

void slab_free(struct slab_cache *c, void *obj)
{
	if (obj)
		cache_free(c, obj);
}

/* The smallest slab that holds enough objects and wastes at most an eighth. */
static u32 choose_order(u32 stride, u32 order)
{
	while (order < SLAB_NICE_ORDER) {
		size_t bytes = PAGE_SIZE << order;

		if (bytes / stride >= SLAB_MIN_COUNT && bytes % stride <= bytes / 8)
			break;
		order++;
	}
	return order;
}

struct slab_cache *slab_cache_create(const char *name, size_t size, size_t align)
{
	kassert(size != 0 && IS_POWER_OF_2(align) && align <= PAGE_SIZE);
	align = MAX(align, 8ul);
	size_t stride = ALIGN_UP(debug_size(size), align);

	kassert(stride <= PAGE_SIZE << FRAME_MAX_ORDER);
	u64 irq = spin_lock_irqsave(&caches_lock);
	u32 index = nr_caches;

	if (index == SLAB_CACHES)
		panic("slab: no room for cache %s, %u exist", name, index);
	struct slab_cache *c = &caches[index];

	*c = (struct slab_cache){
		.name = name,
		.size = (u32)size,
		.stride = (u32)stride,
		.index = index,
	};
	spin_init(&c->lock, "slab",
		  RANK_SLAB); /* not `name`: lockcheck would take it for others' locks */
	while (PAGE_SIZE << c->min_order < stride)
		c->min_order++;
	c->order = choose_order(c->stride, c->min_order);
	if (magazine_cache)
		c->capacity = size <= 256 ? MAGAZINE_MAX : size <= 1024 ? 14 : 6;
	store_release(&nr_caches, index + 1);
	spin_unlock_irqrestore(&caches_lock, irq);
	return c;
}

/* ---- kmalloc ----------------------------------------------------------------------------------- */

static const u16 class_sizes[] = {
	16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048,
};
static const char *const class_names[] = {
	"kmalloc-16",  "kmalloc-32",   "kmalloc-48",   "kmalloc-64",   "kmalloc-96",
	"kmalloc-128", "kmalloc-192",  "kmalloc-256",  "kmalloc-384",  "kmalloc-512",
	"kmalloc-768", "kmalloc-1024", "kmalloc-1536", "kmalloc-2048",
};
#define CLASSES   ARRAY_SIZE(class_sizes)
#define CLASS_MAX 2048ul

static struct slab_cache *kmalloc_caches[CLASSES]; /* [I] */
static u8 size_class[CLASS_MAX / 16];              /* [I] by (size - 1) / 16 */

void slab_init(void)
{
	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		memset(per_cpu_ptr(&slab_cpus, cpu), 0, sizeof(struct slab_cpu[SLAB_CACHES]));
	nr_caches = 0;
	magazine_cache = NULL;
	magazine_cache = slab_cache_create("slab-magazine", MAGAZINE_MAX * sizeof(void *), 16);
	for (unsigned i = 0, size = 0; i < CLASSES; i++) {
		kmalloc_caches[i] = slab_cache_create(class_names[i], class_sizes[i], 16);
		for (; size < class_sizes[i]; size += 16)
			size_class[size / 16] = (u8)i;
	}
}

static __noinline void *large_alloc(size_t size, unsigned flags)
{
	unsigned order = 0;

	if (size > PAGE_SIZE << FRAME_MAX_ORDER)
		return NULL;
	while (PAGE_SIZE << order < size)
		order++;
	struct frame *f = frame_alloc_order(order, FRAME_KERNEL, flags);

	if (!f)
		return NULL;
	f->owner = size;
	debug_large_alloc(f, frame_virt(f), size);
	return frame_virt(f);
}

void *kmalloc(size_t size)
{
	if (unlikely(size > CLASS_MAX))
		return large_alloc(size, 0);
	size += size == 0;
	return cache_alloc(kmalloc_caches[size_class[(size - 1) / 16]], size);
}

void *kzalloc(size_t size)
{
	if (unlikely(size > CLASS_MAX))
		return large_alloc(size, FRAME_ZERO);
	void *p = kmalloc(size);

	if (p)
		memset(p, 0, size);
	return p;
}

static __noinline void large_free(struct frame *f, void *p)
{
	if (f->type != FRAME_KERNEL || frame_refs(f) != 1 || !IS_ALIGNED((u64)p, PAGE_SIZE))
		panic("kfree: %p was not allocated (frame type %u, refs %u)", p, f->type,
		      frame_refs(f));
	debug_large_free(f, p);
	f->owner = 0;
	frame_put(f);
}

void kfree(void *p)
{
	if (!p)
		return;
	struct frame *f = virt_frame(p);

	if (likely(f->type == FRAME_SLAB))
		cache_free(f->slab, p);
	else
		large_free(f, p);
}

char *kstrdup(const char *s)
{
	size_t size = strlen(s) + 1;
	char *copy = kmalloc(size);

	if (copy)
		memcpy(copy, s, size);
	return copy;
}

/* ---- the books --------------------------------------------------------------------------------- */

/* Adds one CPU's figures, copied at a moment when they agreed. With cache.lock held. */
static __racy void add_cpu_stats(struct slab_stats *out, const struct slab_cpu *cpu)
{
	u32 seq;
	u64 free;
	s64 in_use;

	do {
		while ((seq = READ_ONCE(cpu->seq)) & 1)
			cpu_relax();
		barrier();
		free = (u64)READ_ONCE(cpu->n) + READ_ONCE(cpu->previous_n);
		in_use = READ_ONCE(cpu->in_use);
		barrier();
	} while (READ_ONCE(cpu->seq) != seq);
	out->free += free;
	out->in_use += (u64)in_use;
}

bool slab_stats(unsigned index, struct slab_stats *out)
{
	if (index >= load_acquire(&nr_caches))
		return false;
	struct slab_cache *c = &caches[index];
	u64 irq = spin_lock_irqsave(&c->lock);

	*out = (struct slab_stats){
		.name = c->name,
		.size = c->size,
		.total = c->total,
		.free = c->free,
		.frames = c->frames,
	};
	for (u32 i = 0; i < nr_cpus; i++)
		add_cpu_stats(out, &(*per_cpu_ptr(&slab_cpus, i))[index]);
	spin_unlock_irqrestore(&c->lock, irq);
	return true;
}

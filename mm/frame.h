/*
 * Physical frames: who owns each, and how to get one.
 *
 * Every frame of RAM has a struct frame of 32 bytes in an array indexed by frame number (holes
 * of the physical address space have no memory behind their part of the array). The allocator
 * below is a buddy system (mm/buddy.c) behind per-CPU stacks of single frames, hot and pre-zeroed
 * apart (mm/frame.c).
 *
 * A frame is counted by those who name it: page-table slots, page caches, kernel owners. The
 * last frame_put frees it.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/list.h"
#include "lib/types.h"
#include "sync/spinlock.h"

enum frame_type {
	FRAME_RESERVED, /* not RAM, or not ours to give */
	FRAME_FREE,     /* in the buddy system: the head of a free block, or inside one */
	FRAME_CACHED,   /* on a CPU's stack of free frames */
	FRAME_KERNEL,   /* the kernel's own, no further type */
	FRAME_SLAB,
	FRAME_TABLE, /* a page table: mm/pt.c */
	FRAME_ANON,  /* a program's anonymous memory */
	FRAME_FILE,  /* a page of a file's cache */
	FRAME_TYPES,
};

struct vm_side; /* mm/pt.c: the marks beside present entries */
struct slab_cache;

struct frame {
	atomic_t refs; /* [a] */
	u8 type;       /* enum frame_type */
	u8 order;      /* of a block's head */
	u16 flags;     /* for the owner */
	union {
		struct list_node link; /* FREE: buddy list; FILE: the owner's */
		struct {               /* SLAB: mm/slab.c */
			struct slab_cache *slab;
			void *slab_free;
			/* further fields: mm/slab.c keeps them in `flags` or in the slab itself */
		};
		struct {                      /* TABLE: mm/pt.c */
			struct vm_side *side; /* marks beside present entries, or NULL */
			struct spin_word lock;
			u16 used; /* non-zero entries */
			u8 level; /* 1: its entries map 4 KiB */
			u8 state; /* TABLE_STALE ... of mm/pt.h */
		};
		u64 words[2];
	};
	u64 owner; /* for the owner's use (FILE: page offset in the file; KERNEL: a debug tag) */
};
#define FRAME_SHIFT 5
_Static_assert(sizeof(struct frame) == 1 << FRAME_SHIFT, "frame metadata");

/* Allocation flags. Without FRAME_ATOMIC a later version may sleep to reclaim: do not hold spinlocks. */
#define FRAME_ZERO   (1u << 0) /* cleared */
#define FRAME_ATOMIC (1u << 1) /* never sleeps; any context but NMI */

#define FRAME_MAX_ORDER 10 /* 4 MiB; 9 is a 2 MiB page */

/*
 * One frame, or a naturally aligned block of 2^order frames, with one reference and the given type.
 * NULL: out of memory.
 */
struct frame *frame_alloc(enum frame_type type, unsigned flags);
struct frame *frame_alloc_order(unsigned order, enum frame_type type, unsigned flags);

/* Drops a reference; the last frees the frame (with its block). Any context but NMI. */
void frame_put(struct frame *f);
static inline void frame_get(struct frame *f)
{
	atomic_fetch_add(&f->refs, 1u);
}
static inline u32 frame_refs(const struct frame *f)
{
	return atomic_load(&f->refs);
}

/* The frame table, and the map of all physical memory. The machine fixes both addresses. */
#include "machine/memlayout.h" /* FRAME_ARRAY, DIRECT_MAP */

static inline pfn_t frame_pfn(const struct frame *f)
{
	return (pfn_t)(f - FRAME_ARRAY);
}
static inline struct frame *pfn_frame(pfn_t pfn)
{
	return FRAME_ARRAY + pfn;
}
static inline paddr_t frame_pa(const struct frame *f)
{
	return PADDR(frame_pfn(f) << PAGE_SHIFT);
}
static inline struct frame *pa_frame(paddr_t pa)
{
	return pfn_frame(pa.v >> PAGE_SHIFT);
}
static inline void *phys_to_virt(paddr_t pa)
{
	return (void *)(DIRECT_MAP + pa.v);
}
/* Only for addresses in the direct map, not for the kernel's image or mapped stacks. */
static inline paddr_t virt_to_phys(const void *p)
{
	return PADDR((u64)p - DIRECT_MAP);
}
/* A byte of the frame table stands for 128 bytes of memory: so no detour by the frame's number. */
static inline void *frame_virt(const struct frame *f)
{
	return (void *)(DIRECT_MAP +
			((u64)f - (u64)FRAME_ARRAY) * (PAGE_SIZE / sizeof(struct frame)));
}
static inline struct frame *virt_frame(const void *p)
{
	return pa_frame(virt_to_phys(p));
}
/* The same for the page's first byte. */
static inline struct frame *page_frame(const void *page)
{
	return (struct frame *)((u64)FRAME_ARRAY +
				((u64)page - DIRECT_MAP) / (PAGE_SIZE / sizeof(struct frame)));
}

/* Is there a struct frame for this number? (It may be RESERVED.) */
bool pfn_valid(pfn_t pfn);

/* One consistent picture, in frames: total == free + cached + sum of used[]. */
struct frame_stats {
	u64 total;  /* RAM handed to the allocator (with what boot took from it) */
	u64 free;   /* in the buddy system */
	u64 cached; /* on the per-CPU stacks */
	u64 used[FRAME_TYPES];
	u64 allocs, frees; /* since boot, in frames as well */
};
void frame_stats(struct frame_stats *out);
extern u64 total_frames; /* [I] since frame_init: its `total` */
static inline u64 frame_total(void)
{
	return total_frames;
}
static inline u64 frame_stats_available(const struct frame_stats *s)
{
	return s->free + s->cached;
}

/* Returns the per-CPU stacks of this CPU to the buddy system (tests, memory pressure). */
void frame_drain(void);

/*
 * Boot. early_alloc hands out zeroed, page-aligned RAM before the frame table exists (bump
 * allocation below `limit`, outside the kernel image and the modules); panics with a line that
 * names the memory size when there is none. frame_init builds the table's contents and gives the
 * rest of RAM to the buddy system; nothing may call early_alloc after it. mm/early.c, mm/frame.c
 */
paddr_t early_alloc(size_t bytes, size_t align, u64 limit);
paddr_t early_alloc_dirty(size_t bytes, size_t align, u64 limit); /* the same, not zeroed */
void early_init(void);                                            /* reads boot_info */
void frame_init(void);
void boot_module_free(u32 index); /* gives a module's frames to the allocator */

/*
 * Calls map for each page-aligned range of virtual addresses of the frame table that must have
 * memory behind it, whatever that holds, in ascending order. Between early_init and frame_init; stops at the first
 * non-zero result and returns it.
 */
int frame_table_map(int (*map)(u64 va_start, u64 va_end));

/* Clears one free frame ahead of need. False: this CPU has enough of them. For the idle loop. */
bool frame_prezero(void);

/* frame_put for each. The array is overwritten. */
void frame_put_many(struct frame **f, unsigned n);

/* frame_put for a frame that the caller knows to be all zero (an emptied page table). */
void frame_put_zeroed(struct frame *f);

/* Fails the k-th allocation from now on this CPU (0: off): frames and objects. For tests. */
extern u64 alloc_fail_at;

/*
 * What mm knows of a file: an object that can be asked for its pages. The file system embeds one
 * in each of its inodes and implements the operations.
 */
#pragma once

#include "lib/atomic.h"
#include "lib/types.h"

struct frame;
struct vm_object;

struct vm_object_ops {
	/*
	 * The frame with page `index` (offset / PAGE_SIZE) of the object, with a reference for the
	 * caller. May sleep. -ENXIO: beyond the end (SIGBUS); -ENOMEM, -EIO. The frame's content
	 * beyond the end of the object within its last page is zero.
	 */
	int (*get_page)(struct vm_object *obj, u64 index, struct frame **out);
	void (*get)(struct vm_object *obj);
	void (*put)(struct vm_object *obj); /* may sleep: never under a spinlock */
	/* For /proc/self/maps: the path, cut to len, terminated. */
	void (*name)(struct vm_object *obj, char *buf, size_t len);
	u64 (*inode_number)(struct vm_object *obj);
	u32 (*device)(struct vm_object *obj);    /* its file system's, as st_dev; NULL: 0:1 */
	bool (*is_shmem)(struct vm_object *obj); /* memory, not a file of the root; NULL: yes */
	/* Is the page there, so that get_page would not make it? NULL: no. Does not sleep. */
	bool (*has_page)(struct vm_object *obj, u64 index);
	/*
	 * Those of pages index ... index + n - 1 that are there, not beyond the end, each with a
	 * reference, in out[]; NULL for the others. Makes nothing, never waits. NULL: none.
	 */
	void (*get_resident)(struct vm_object *obj, u64 index, unsigned n, struct frame **out);
	/* MADV_REMOVE: pages first ... last go, also where they are mapped. NULL: cannot. May sleep. */
	int (*punch)(struct vm_object *obj, u64 first, u64 last);
};

#define ZAP_BEGUN (1ul << 16)

struct vm_object {
	const struct vm_object_ops *ops;
	atomic64_t mappings; /* [a] struct vm_mapping that name it */
	atomic64_t
		writers; /* [a] those that may write it: shared, of a file open for writing; below 0:
			      * there are none, nor will there be (vm_object_deny_writers) */
	/* [a] vm_object_zap so far, in units of ZAP_BEGUN, and those that are on: a page got before one may be no more */
	atomic64_t cuts;
};

/*
 * A seal against writing (F_SEAL_WRITE) and a mapping that may write exclude each other, also when two
 * threads come at once. Who maps holds a count of writers from before until the mapping has one of its
 * own; false: sealed.
 */
static inline bool vm_object_get_writer(struct vm_object *obj)
{
	u64 n = atomic_load(&obj->writers);

	do {
		if ((s64)n < 0)
			return false;
	} while (!atomic_cas(&obj->writers, &n, n + 1));
	return true;
}

static inline void vm_object_put_writer(struct vm_object *obj)
{
	atomic_fetch_sub(&obj->writers, 1ul);
}

/* From now on nobody may map it to write. False: somebody does. */
static inline bool vm_object_deny_writers(struct vm_object *obj)
{
	u64 n = 0;

	return atomic_cas(&obj->writers, &n, 1ul << 63) || (s64)n < 0;
}

/*
 * Pages first ... last have left the object: takes them from all spaces that map them. The object's
 * get_page must not give them out any more. cows: private copies of them go, too (truncation).
 * May sleep, but not under a lock that get_page takes. mm/zap.c
 */
void vm_object_zap(struct vm_object *obj, u64 first, u64 last, bool cows);

/*
 * For mremap, which carries pages of the object elsewhere: a moment before. And behind it: if pages were taken
 * from all spaces meanwhile, these may have been missed, so all of the object's own that are in [start, end) go, to be
 * asked for again.
 */
struct aspace;
u64 vm_object_moving(struct vm_object *obj);
void vm_object_moved(struct vm_object *obj, u64 before, struct aspace *as, u64 start, u64 end);

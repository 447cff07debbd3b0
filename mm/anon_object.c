/*
 * Anonymous shared memory: an object without a file, behind mmap(MAP_SHARED | MAP_ANONYMOUS). Its
 * pages are found through a radix tree of frames with 512 pointers each, as high as the object's
 * size needs; nodes and pages come when first asked for.
 *
 * Locks: one spin lock per object for the tree. Pages leave it by MADV_REMOVE, or with it.
 */
#include "mm/anon_object.h"

#include "arch/api/pte.h"
#include "lib/err.h"
#include "lib/refcount.h"
#include "lib/string.h"
#include "mm/frame.h"
#include "mm/slab.h"
#include "sched/thread.h"
#include "sync/spinlock.h"

struct anon_object {
	struct vm_object object;
	refcount_t refs;
	u64 id;          /* [I] the number that /proc/pid/maps shows */
	u64 pages;       /* [I] */
	unsigned height; /* [I] 0: the root is the only page's frame */
	spinlock_t lock;
	struct frame *root; /* [lock] */
};

#define NODE_SHIFT 9

static struct anon_object *anon_of(struct vm_object *o)
{
	return container_of(o, struct anon_object, object);
}

/* The frame at *slot, made if there is none. */
static struct frame *node_at(struct frame **slot, enum frame_type type)
{
	if (!*slot)
		*slot = frame_alloc(type, FRAME_ZERO | FRAME_ATOMIC);
	return *slot;
}

static int anon_get_page(struct vm_object *o, u64 index, struct frame **out)
{
	struct anon_object *a = anon_of(o);
	struct frame **slot = &a->root, *f;

	if (index >= a->pages)
		return -ENXIO;
	spin_lock(&a->lock);
	for (unsigned h = a->height; h > 0; h--) {
		f = node_at(slot, FRAME_KERNEL);
		if (!f)
			goto out;
		slot = (struct frame **)frame_virt(f) +
		       ((index >> (NODE_SHIFT * (h - 1))) & (PT_ENTRIES - 1));
	}
	f = node_at(slot, FRAME_FILE);
	if (f)
		frame_get(f);
out:
	spin_unlock(&a->lock);
	*out = f;
	return f ? 0 : -ENOMEM;
}

/* The slot of an index; NULL: it has no page, nor nodes above. Lock held. */
static struct frame **find(struct anon_object *a, u64 index)
{
	struct frame **slot = &a->root;

	for (unsigned h = a->height; *slot && h > 0; h--)
		slot = (struct frame **)frame_virt(*slot) +
		       ((index >> (NODE_SHIFT * (h - 1))) & (PT_ENTRIES - 1));
	return *slot ? slot : NULL;
}

static bool anon_has_page(struct vm_object *o, u64 index)
{
	struct anon_object *a = anon_of(o);
	bool has;

	spin_lock(&a->lock);
	has = index < a->pages && find(a, index);
	spin_unlock(&a->lock);
	return has;
}

static void anon_get_resident(struct vm_object *o, u64 index, unsigned n, struct frame **out)
{
	struct anon_object *a = anon_of(o);

	spin_lock(&a->lock);
	for (unsigned i = 0; i < n; i++) {
		struct frame **slot = index + i < a->pages ? find(a, index + i) : NULL;

		out[i] = slot ? *slot : NULL;
		if (out[i])
			frame_get(out[i]);
	}
	spin_unlock(&a->lock);
}

static int anon_punch(struct vm_object *o, u64 first, u64 last)
{
	struct anon_object *a = anon_of(o);

	/* Of terabytes, perhaps, where nothing is. */
	for (u64 i = first; i <= last && i < a->pages && !thread_is_ending(); i++) {
		struct frame **slot, *f = NULL;

		spin_lock(&a->lock);
		slot = find(a, i);
		if (slot) {
			f = *slot;
			*slot = NULL;
		}
		spin_unlock(&a->lock);
		if (f)
			frame_put(f);
	}
	vm_object_zap(o, first, last, false);
	return 0;
}

static void free_tree(struct frame *f, unsigned height)
{
	struct frame **slot = f ? frame_virt(f) : NULL;

	if (!f)
		return;
	for (unsigned i = 0; height > 0 && i < PT_ENTRIES; i++)
		free_tree(slot[i], height - 1);
	frame_put(f);
}

static void anon_get(struct vm_object *o)
{
	refcount_get(&anon_of(o)->refs);
}

static void anon_put(struct vm_object *o)
{
	struct anon_object *a = anon_of(o);

	if (refcount_put(&a->refs)) {
		free_tree(a->root, a->height);
		kfree(a);
	}
}

static void anon_name(struct vm_object *o, char *buf, size_t len)
{
	kstrlcpy(buf, "/dev/zero (deleted)", len);
}

static u64 anon_inode_number(struct vm_object *o)
{
	return anon_of(o)->id;
}

static const struct vm_object_ops anon_ops = {
	.get_page = anon_get_page,
	.has_page = anon_has_page,
	.get_resident = anon_get_resident,
	.punch = anon_punch,
	.get = anon_get,
	.put = anon_put,
	.name = anon_name,
	.inode_number = anon_inode_number,
};

struct vm_object *anon_object_create(u64 pages)
{
	static atomic64_t ids;
	struct anon_object *a = kzalloc(sizeof(*a));

	if (!a)
		return NULL;
	a->object.ops = &anon_ops;
	a->pages = pages;
	a->id = atomic_add_fetch(&ids, 1ul);
	while (pages > 1ul << (NODE_SHIFT * a->height))
		a->height++;
	refcount_init(&a->refs, 1);
	spin_init(&a->lock, "anon_object", RANK_NONE);
	return &a->object;
}

bool vm_object_is_anon(const struct vm_object *o)
{
	return o->ops == &anon_ops;
}

/*
 * The pages of a file.
 *
 * A radix tree of 64-way nodes that is as high as the largest page number needs: a file of one
 * page has no node at all. A spinlock guards it, so that the page-fault path can look up and
 * insert while a writer of the same file holds the inode's mutex and takes the fault itself.
 * Frames are put outside the lock. Nodes are freed when their last slot empties.
 */
#include "fs/pagecache.h"

#include "lib/err.h"
#include "lib/kassert.h"
#include "mm/slab.h"

#define NODE_BITS  6
#define NODE_SLOTS (1u << NODE_BITS)
#define MAX_HEIGHT 9 /* 9 * 6 bits cover the 52 bits of a page number */

struct page_node {
	void *slot[NODE_SLOTS]; /* nodes, or frames at the lowest level */
	u32 used;
};

static struct slab_cache *node_slab;

void page_cache_setup(void)
{
	node_slab = slab_cache_create("page-node", sizeof(struct page_node), 8);
}

void page_cache_init(struct page_cache *c)
{
	spin_init(&c->lock, "pagecache", RANK_FILE);
	c->height = 0;
	c->root = NULL;
	c->count = 0;
}

/* The number of pages that a tree of this height can name. */
static u64 capacity(unsigned height)
{
	return 1ul << (height * NODE_BITS);
}

static unsigned slot_of(u64 index, unsigned level)
{
	return (unsigned)(index >> ((level - 1) * NODE_BITS)) & (NODE_SLOTS - 1);
}

/* Lock held. */
static struct frame *get_locked(struct page_cache *c, u64 index)
{
	void *p = index < capacity(c->height) ? c->root : NULL;

	for (unsigned level = c->height; p && level > 0; level--)
		p = ((struct page_node *)p)->slot[slot_of(index, level)];
	if (p)
		frame_get(p);
	return p;
}

struct frame *page_cache_get(struct page_cache *c, u64 index)
{
	struct frame *f;

	spin_lock(&c->lock);
	f = get_locked(c, index);
	spin_unlock(&c->lock);
	return f;
}

void page_cache_get_many(struct page_cache *c, u64 index, unsigned n, struct frame **out)
{
	spin_lock(&c->lock);
	for (unsigned i = 0; i < n; i++)
		out[i] = get_locked(c, index + i);
	spin_unlock(&c->lock);
}

/* Makes the tree high enough for index. Lock held. */
static int grow(struct page_cache *c, u64 index)
{
	while (index >= capacity(c->height)) {
		if (c->root) {
			struct page_node *n = slab_zalloc(node_slab);

			if (!n)
				return -ENOMEM;
			n->slot[0] = c->root;
			n->used = 1;
			c->root = n;
		}
		c->height++;
		kassert(c->height <= MAX_HEIGHT);
	}
	return 0;
}

int page_cache_insert(struct page_cache *c, u64 index, struct frame *f)
{
	int err;

	spin_lock(&c->lock);
	err = grow(c, index);
	void **link = &c->root;
	struct page_node *above = NULL;

	for (unsigned level = c->height; !err && level > 0; level--) {
		if (!*link) {
			*link = slab_zalloc(node_slab);
			if (!*link) {
				err = -ENOMEM;
				break;
			}
			if (above)
				above->used++;
		}
		above = *link;
		link = &above->slot[slot_of(index, level)];
	}
	if (!err && *link)
		err = -EEXIST;
	if (!err) {
		frame_get(f);
		f->owner = index;
		*link = f;
		if (above)
			above->used++;
		c->count++;
	}
	/* An empty node that a failure left behind is found by the next insertion, or freed
	 * by page_cache_remove, which visits empty nodes too. */
	spin_unlock(&c->lock);
	return err;
}

/* The first used slot at or after index below p; UINT64_MAX: none. Lock held. */
static u64 next_index(const void *p, unsigned level, u64 index)
{
	const struct page_node *n = p;

	if (!p)
		return UINT64_MAX;
	if (level == 0)
		return index;
	for (unsigned s = slot_of(index, level); s < NODE_SLOTS; s++) {
		u64 found = next_index(n->slot[s], level - 1, index);

		if (found != UINT64_MAX)
			return found;
		/* On to the first page of the next slot. */
		index = ((index >> ((level - 1) * NODE_BITS)) + 1) << ((level - 1) * NODE_BITS);
	}
	return UINT64_MAX;
}

bool page_cache_next(struct page_cache *c, u64 index, u64 *found)
{
	u64 i = UINT64_MAX;

	spin_lock(&c->lock);
	if (index < capacity(c->height))
		i = next_index(c->root, c->height, index);
	spin_unlock(&c->lock);
	*found = i;
	return i != UINT64_MAX;
}

/*
 * Takes frames out of the subtree *link, which covers pages base ... : those of first ... last, at
 * most *room of them. Frees nodes that become empty. Lock held; recursion is MAX_HEIGHT deep.
 */
static void prune(struct page_cache *c, void **link, unsigned level, u64 base, const u64 range[2],
		  struct frame **out, unsigned *nr, unsigned room)
{
	if (level == 0) {
		out[(*nr)++] = *link;
		*link = NULL;
		c->count--;
		return;
	}
	struct page_node *n = *link;
	u64 step = capacity(level - 1);
	u64 from = range[0] > base ? (range[0] - base) / step : 0;

	for (u64 s = from; s < NODE_SLOTS && *nr < room; s++) {
		if (base + s * step > range[1])
			break;
		if (!n->slot[s])
			continue;
		prune(c, &n->slot[s], level - 1, base + s * step, range, out, nr, room);
		if (!n->slot[s])
			n->used--;
	}
	if (n->used == 0) {
		slab_free(node_slab, n);
		*link = NULL;
	}
}

u64 page_cache_remove(struct page_cache *c, u64 first, u64 last)
{
	struct frame *batch[32];
	const u64 range[2] = { first, last };
	u64 removed = 0;
	unsigned nr;

	do {
		nr = 0;
		spin_lock(&c->lock);
		if (c->root && first < capacity(c->height))
			prune(c, &c->root, c->height, 0, range, batch, &nr, ARRAY_SIZE(batch));
		if (!c->root)
			c->height = 0;
		spin_unlock(&c->lock);
		for (unsigned i = 0; i < nr; i++)
			frame_put(batch[i]);
		removed += nr;
	} while (nr == ARRAY_SIZE(batch));
	return removed;
}

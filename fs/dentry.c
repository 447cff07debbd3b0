/*
 * Dentries: names in directories, and the paths that they make up.
 *
 * A directory in the tree keeps its dentries twice: in a red-black tree by (hash, name) for
 * lookups, and in a list by age for readdir, whose positions are the ever-growing cookies: a
 * program that removes files while it reads the directory neither misses one nor sees one twice.
 *
 * A linked dentry is held by its directory; every dentry holds its parent. So a whole subtree stays
 * while somebody works in it, also when its top was unlinked.
 */
#include "fs/vfs.h"

#include "lib/string.h"
#include "mm/slab.h"

spinlock_t tree_lock = SPINLOCK_INIT("tree", RANK_FILE);
struct mutex rename_mutex = MUTEX_INIT(rename_mutex);

static struct slab_cache *dentry_slab;

void dentry_setup(void)
{
	dentry_slab = slab_cache_create("dentry", sizeof(struct dentry), 8);
}

/* FNV-1a, 32 bits. */
static u32 name_hash(const char *name, size_t len)
{
	u32 h = 2166136261u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (u8)name[i]) * 16777619u;
	return h;
}

static void set_name(struct dentry *d, const char *name, size_t len, char *long_name)
{
	if (!long_name) {
		memcpy(d->inline_name, name, len);
		d->inline_name[len] = 0;
		d->name = d->inline_name;
	} else {
		d->name = long_name;
	}
	d->len = (u32)len;
	d->hash = name_hash(name, len);
}

struct dentry *dentry_create(struct dentry *parent, const char *name, size_t len,
			     struct inode *inode, unsigned flags)
{
	struct dentry *d = slab_zalloc(dentry_slab);
	char *long_name = NULL;

	if (!d)
		return NULL;
	if (len >= DENTRY_INLINE) {
		long_name = kmalloc(len + 1);
		if (!long_name) {
			slab_free(dentry_slab, d);
			return NULL;
		}
		memcpy(long_name, name, len);
		long_name[len] = 0;
	}
	refcount_init(&d->refs, 1);
	set_name(d, name, len, long_name);
	d->flags = flags;
	d->inode = inode;
	d->parent = parent;
	list_init(&d->sibling);
	if (parent)
		dentry_get(parent);
	if (S_ISREG(inode->mode)) {
		spin_lock(&tree_lock);
		if (!inode->alias)
			inode->alias = d;
		spin_unlock(&tree_lock);
	}
	return d;
}

/* A loop, not a recursion: the last reference of a deep path's end may free all of it. */
void dentry_put(struct dentry *d)
{
	while (d && refcount_put(&d->refs)) {
		struct dentry *parent = d->parent;

		kassert(!(d->flags & DENTRY_LINKED) && !d->mounted);
		if (READ_ONCE(d->inode->alias) == d) {
			spin_lock(&tree_lock);
			if (d->inode->alias == d)
				d->inode->alias = NULL;
			spin_unlock(&tree_lock);
		}
		inode_put(d->inode);
		if (d->name != d->inline_name)
			kfree(d->name);
		slab_free(dentry_slab, d);
		d = parent;
	}
}

static int compare(u32 hash, const char *name, size_t len, const struct dentry *d)
{
	if (hash != d->hash)
		return hash < d->hash ? -1 : 1;
	if (len != d->len)
		return len < d->len ? -1 : 1;
	return memcmp(name, d->name, len);
}

static struct dentry *find(const struct inode *dir, const char *name, size_t len, u32 hash)
{
	for (struct rb_node *n = dir->dir.by_name.top; n;) {
		struct dentry *d = rb_entry(n, struct dentry, node);
		int c;

		if (likely(hash != d->hash)) {
			n = hash < d->hash ? n->left : n->right;
			continue;
		}
		c = compare(hash, name, len, d);
		if (c == 0) {
			dentry_get(d);
			return d;
		}
		n = c < 0 ? n->left : n->right;
	}
	return NULL;
}

struct dentry *dentry_find(struct inode *dir, const char *name, size_t len)
{
	return find(dir, name, len, name_hash(name, len));
}

struct dentry *dentry_find_quick(struct inode *dir, const char *name, size_t len)
{
	u32 hash = name_hash(name, len);
	struct dentry *d;

	spin_lock(&dir->dir.lock);
	d = find(dir, name, len, hash);
	spin_unlock(&dir->dir.lock);
	return d;
}

static void insert(struct inode *dir, struct dentry *d)
{
	struct rb_node **link = &dir->dir.by_name.top, *parent = NULL;

	while (*link) {
		struct dentry *other = rb_entry(*link, struct dentry, node);
		int c = compare(d->hash, d->name, d->len, other);

		kassert(c != 0);
		parent = *link;
		link = c < 0 ? &parent->left : &parent->right;
	}
	spin_lock(&dir->dir.lock);
	rb_insert(&dir->dir.by_name, &d->node, parent, link);
	list_add_tail(&dir->dir.children, &d->sibling);
	d->cookie = dir->dir.next_cookie++;
	dir->dir.nr_children++;
	spin_unlock(&dir->dir.lock);
	dir->size += 20; /* what Linux's tmpfs counts for an entry */
}

static void erase(struct inode *dir, struct dentry *d)
{
	spin_lock(&dir->dir.lock);
	rb_erase(&dir->dir.by_name, &d->node);
	list_del_init(&d->sibling);
	dir->dir.nr_children--;
	spin_unlock(&dir->dir.lock);
	dir->size -= 20;
}

void dentry_link(struct dentry *d)
{
	struct inode *dir = d->parent->inode;

	dassert(mutex_is_held(&dir->lock));
	dentry_get(d);
	insert(dir, d);
	d->flags |= DENTRY_LINKED;
	inode_touch(dir);
}

void dentry_unlink(struct dentry *d)
{
	struct inode *dir = d->parent->inode;

	dassert(mutex_is_held(&dir->lock));
	kassert(d->flags & DENTRY_LINKED);
	erase(dir, d);
	d->flags &= ~DENTRY_LINKED;
	inode_touch(dir);
	dentry_put(d);
}

void dentry_move(struct dentry *d, struct dentry *parent, const char *name, size_t len,
		 char *long_name)
{
	struct dentry *old_parent = d->parent;
	char *old_name = d->name;

	erase(old_parent->inode, d);
	dentry_get(parent);
	spin_lock(&tree_lock);
	set_name(d, name, len, long_name);
	d->parent = parent;
	spin_unlock(&tree_lock);
	insert(parent->inode, d);
	inode_touch(old_parent->inode);
	inode_touch(parent->inode);
	if (old_name != d->inline_name)
		kfree(old_name);
	dentry_put(old_parent);
}

/* Long names change hands, short ones are copied. tree_lock held. */
static void swap_names(struct dentry *a, struct dentry *b)
{
	char *a_long = a->name == a->inline_name ? NULL : a->name;
	char *b_long = b->name == b->inline_name ? NULL : b->name;
	char name[DENTRY_INLINE];
	u32 hash = a->hash, len = a->len;

	memcpy(name, a->inline_name, sizeof(name));
	memcpy(a->inline_name, b->inline_name, sizeof(name));
	memcpy(b->inline_name, name, sizeof(name));
	a->name = b_long ? b_long : a->inline_name;
	b->name = a_long ? a_long : b->inline_name;
	a->hash = b->hash;
	a->len = b->len;
	b->hash = hash;
	b->len = len;
}

void dentry_exchange(struct dentry *a, struct dentry *b)
{
	struct dentry *a_parent = a->parent, *b_parent = b->parent;

	erase(a_parent->inode, a);
	erase(b_parent->inode, b);
	spin_lock(&tree_lock);
	swap_names(a, b);
	a->parent = b_parent; /* with the reference */
	b->parent = a_parent;
	spin_unlock(&tree_lock);
	insert(b_parent->inode, a);
	insert(a_parent->inode, b);
	inode_touch(a_parent->inode);
	inode_touch(b_parent->inode);
}

bool dentry_is_below(struct dentry *d, struct dentry *above)
{
	bool below = false;

	spin_lock(&tree_lock);
	for (; d && !below; d = d->parent)
		below = d == above;
	spin_unlock(&tree_lock);
	return below;
}

/* Puts len characters before *end. False: they do not fit. */
static bool prepend(char *buf, char **end, const char *s, size_t len)
{
	if ((size_t)(*end - buf) < len)
		return false;
	*end -= len;
	memcpy(*end, s, len);
	return true;
}

char *dentry_path(struct dentry *d, struct dentry *root, char *buf, size_t size, bool *unreachable,
		  bool *deleted)
{
	char *end = buf + size;
	bool fits = prepend(buf, &end, "", 1);

	*unreachable = false;
	*deleted = d->parent && !(d->flags & (DENTRY_LINKED | DENTRY_TRANSIENT | DENTRY_NAMELESS));
	if (!root)
		root = root_dentry;
	if (d->flags & DENTRY_NAMELESS) {
		fits = fits && prepend(buf, &end, d->name, d->len);
		return fits ? end : ERR_PTR(-ENAMETOOLONG);
	}
	if (d == root)
		fits = fits && prepend(buf, &end, "/", 1);
	spin_lock(&tree_lock);
	while (d != root && fits) {
		if (!d->parent) {
			struct dentry *below = d->inode->sb->mountpoint;

			if (!below) {
				*unreachable = true;
				break;
			}
			d = below;
			continue;
		}
		fits = prepend(buf, &end, d->name, d->len) && prepend(buf, &end, "/", 1);
		d = d->parent;
	}
	spin_unlock(&tree_lock);
	return fits ? end : ERR_PTR(-ENAMETOOLONG);
}

bool dir_emit_dots(struct file *f,
		   bool (*emit)(void *arg, const char *name, size_t len, u64 ino, unsigned type,
				u64 next_pos),
		   void *arg)
{
	struct dentry *d = f->dentry;

	if (f->pos == 0) {
		if (!emit(arg, ".", 1, d->inode->ino, LINUX_MODE_DT(S_IFDIR), 1))
			return false;
		f->pos = 1;
	}
	if (f->pos == 1) {
		spin_lock(&tree_lock);
		if (!d->parent && d->inode->sb->mountpoint)
			d = d->inode->sb->mountpoint;
		u64 ino = d->parent ? d->parent->inode->ino : d->inode->ino;
		spin_unlock(&tree_lock);
		if (!emit(arg, "..", 2, ino, LINUX_MODE_DT(S_IFDIR), 2))
			return false;
		f->pos = 2;
	}
	return true;
}

int tree_readdir(struct file *f,
		 bool (*emit)(void *arg, const char *name, size_t len, u64 ino, unsigned type,
			      u64 next_pos),
		 void *arg)
{
	struct inode *dir = f->inode;
	struct dentry *d;

	mutex_lock(&dir->lock);
	if (dir->flags & INODE_DEAD) {
		mutex_unlock(&dir->lock);
		return -ENOENT;
	}
	if (dir_emit_dots(f, emit, arg)) {
		list_for_each(d, &dir->dir.children, sibling) {
			if (d->cookie < f->pos)
				continue;
			if (!emit(arg, d->name, d->len, d->inode->ino,
				  LINUX_MODE_DT(d->inode->mode), d->cookie + 1))
				break;
			f->pos = d->cookie + 1;
		}
	}
	inode_accessed(dir);
	mutex_unlock(&dir->lock);
	return 0;
}

s64 dir_seek(struct file *f, s64 offset, int whence)
{
	if (whence == SEEK_CUR) {
		if (__builtin_add_overflow(offset, (s64)f->pos, &offset))
			return -EINVAL;
	} else if (whence != SEEK_SET) {
		return -EINVAL;
	}
	if (offset < 0)
		return -EINVAL;
	f->pos = (u64)offset;
	return offset;
}

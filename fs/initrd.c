/*
 * The initial RAM file system: cpio archives in the "newc" format, one behind the other, each as it
 * is or inside gzip, unpacked into the root (the format: cpio(5), Linux's
 * driver-api/early-userspace/buffer-format).
 *
 * A header is 6 characters of magic and 13 numbers of 8 hexadecimal digits; then the name, padded
 * to 4 bytes, then the data, padded to 4 bytes; the name TRAILER!!! ends an archive. Files with
 * several names share (device, inode number): their data stands with the last name. Until then the
 * earlier names are empty files; a table remembers where the first one is.
 *
 * Nothing in the archive is trusted: every length is checked against what is left before it is
 * used. The first bad entry ends the unpacking; what came before stays.
 */
#include "fs/vfs.h"

#include "lib/inflate.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "mm/kmap.h"
#include "mm/slab.h"

#define CPIO_HEADER 110
#define LINK_HASH   64

struct cpio_entry {
	u32 ino, mode, uid, gid, nlink, mtime, size, dev_major, dev_minor, rdev_major, rdev_minor;
	u32 name_size;
	const char *name; /* terminated, within the archive */
	const u8 *data;
};

/* A file with several names, of which the first is at `path`. */
struct hard_link {
	struct hard_link *next;
	u32 ino, dev_major, dev_minor;
	char path[];
};

struct unpack {
	const u8 *p, *end;
	struct hard_link *links[LINK_HASH];
	u32 entries;
};

/* ---- reading entries ---------------------------------------------------------------------- */

/* The digit's value; above 15 for any other character. */
static u32 hex_digit(u8 c)
{
	u32 decimal = (u32)c - '0', letter = ((u32)c | 32) - 'a';

	return decimal < 10 ? decimal : letter < 6 ? letter + 10 : 16;
}

static bool parse_hex(const u8 *s, u32 *out)
{
	u32 v = 0, all = 0;

	for (unsigned i = 0; i < 8; i++) {
		u32 digit = hex_digit(s[i]);

		all |= digit;
		v = v << 4 | digit;
	}
	*out = v;
	return all < 16;
}

/* The entry at u->p, which moves behind it. NULL, or what is wrong. */
static const char *next_entry(struct unpack *u, struct cpio_entry *e)
{
	u32 check, *const field[13] = {
		&e->ino,        &e->mode,      &e->uid,       &e->gid,       &e->nlink,
		&e->mtime,      &e->size,      &e->dev_major, &e->dev_minor, &e->rdev_major,
		&e->rdev_minor, &e->name_size, &check,
	};
	size_t left = (size_t)(u->end - u->p), name_end, data_end;

	if (left < CPIO_HEADER)
		return "the archive is cut off in a header";
	if (memcmp(u->p, "070701", 6) && memcmp(u->p, "070702", 6))
		return memcmp(u->p, "07070", 5) ? "no cpio header where one must be" :
						  "a cpio format other than newc";
	for (unsigned i = 0; i < 13; i++) {
		if (!parse_hex(u->p + 6 + i * 8, field[i]))
			return "a header with a character that is no hexadecimal digit";
	}
	if (e->name_size == 0 || e->name_size > LINUX_PATH_MAX)
		return "a name of an impossible length";
	name_end = ALIGN_UP((size_t)CPIO_HEADER + e->name_size, 4);
	if ((size_t)CPIO_HEADER + e->name_size > left)
		return "the archive is cut off in a name";
	e->name = (const char *)u->p + CPIO_HEADER;
	if (strnlen(e->name, e->name_size) != e->name_size - 1)
		return "a name that is not terminated where it says";
	if (e->size > left - MIN(name_end, left))
		return "the archive is cut off in a file's data";
	e->data = u->p + name_end;
	data_end = ALIGN_UP(name_end + e->size, 4);
	u->p += MIN(data_end, left); /* the last padding may be missing */
	return NULL;
}

/* ---- making files ------------------------------------------------------------------------- */

/* The directories above a name that the archive did not list. */
static int make_parents(const char *path)
{
	char *copy = kstrdup(path);
	int err = copy ? 0 : -ENOMEM;

	for (char *p = copy; !err && (p = strchr(p, '/')); p++) {
		if (p == copy)
			continue;
		*p = 0;
		err = vfs_mkdirat(AT_FDCWD, copy, 0755);
		if (err == -EEXIST)
			err = 0;
		*p = '/';
	}
	kfree(copy);
	return err;
}

static int write_data(const char *path, const struct cpio_entry *e)
{
	struct uio src = uio_kernel((void *)e->data, e->size);
	struct file *f;
	u64 pos = 0;
	int err = vfs_open(path, O_WRONLY | O_TRUNC | O_NOFOLLOW, 0, &f);

	if (err)
		return err;
	while (!err && src.left) {
		ssize_t n = f->ops->write ? f->ops->write(f, &src, &pos) : -EINVAL;

		if (n < 0)
			err = (int)n;
	}
	file_put(f);
	return err;
}

static struct hard_link **link_slot(struct unpack *u, const struct cpio_entry *e)
{
	struct hard_link **l = &u->links[e->ino % LINK_HASH];

	while (*l && ((*l)->ino != e->ino || (*l)->dev_major != e->dev_major ||
		      (*l)->dev_minor != e->dev_minor))
		l = &(*l)->next;
	return l;
}

/* Another name of the file at l. */
static int link_to(const struct hard_link *l, const struct cpio_entry *e)
{
	struct dentry *old;
	int err = path_lookup(AT_FDCWD, l->path, 0, &old);

	if (err)
		return err;
	err = vfs_linkat(old, AT_FDCWD, e->name);
	dentry_put(old);
	return err;
}

/* The first of a file's names is there: the next ones will be linked to it. */
static int remember(struct hard_link **slot, const struct cpio_entry *e)
{
	size_t len = strlen(e->name);
	struct hard_link *l = kmalloc(sizeof(*l) + len + 1);

	if (!l)
		return -ENOMEM;
	*l = (struct hard_link){ .ino = e->ino,
				 .dev_major = e->dev_major,
				 .dev_minor = e->dev_minor };
	memcpy(l->path, e->name, len + 1);
	*slot = l;
	return 0;
}

static int make_file(struct unpack *u, const struct cpio_entry *e)
{
	struct hard_link **slot = e->nlink > 1 ? link_slot(u, e) : NULL;
	int err;

	if (slot && *slot) {
		err = link_to(*slot, e);
	} else {
		err = vfs_mknodat(AT_FDCWD, e->name, e->mode, 0);
		if (!err && slot)
			err = remember(slot, e);
	}
	if (!err && e->size)
		err = write_data(e->name, e);
	return err;
}

static int make_link(const struct cpio_entry *e)
{
	char *target;
	int err;

	if (e->size == 0 || e->size >= LINUX_PATH_MAX)
		return -ENAMETOOLONG;
	target = kmalloc((size_t)e->size + 1);
	if (!target)
		return -ENOMEM;
	memcpy(target, e->data, e->size);
	target[e->size] = 0;
	err = vfs_symlinkat(target, AT_FDCWD, e->name);
	kfree(target);
	return err;
}

static int make_entry(struct unpack *u, const struct cpio_entry *e)
{
	switch (e->mode & S_IFMT) {
	case S_IFDIR: return vfs_mkdirat(AT_FDCWD, e->name, e->mode);
	case S_IFREG: return make_file(u, e);
	case S_IFLNK: return make_link(e);
	case S_IFCHR:
	case S_IFBLK:
	case S_IFIFO:
	case S_IFSOCK:
		return vfs_mknodat(AT_FDCWD, e->name, e->mode,
				   dev_make(e->rdev_major, e->rdev_minor));
	default: return -EINVAL;
	}
}

/* Owner, mode bits beyond the umask's reach, and time. */
static void set_attributes(const struct cpio_entry *e)
{
	struct inode *inode;

	if (path_inode(AT_FDCWD, e->name, 0, &inode))
		return;
	if (inode->sb == root_dentry->inode->sb) { /* not the roots of /dev and /proc */
		mutex_lock(&inode->lock);
		inode->uid = e->uid;
		inode->gid = e->gid;
		if (!S_ISLNK(inode->mode))
			inode->mode = (inode->mode & S_IFMT) | (e->mode & S_PERMISSIONS);
		inode->mtime = (u64)e->mtime * NSEC_PER_SEC;
		mutex_unlock(&inode->lock);
	}
	inode_put(inode);
}

static int unpack_entry(struct unpack *u, const struct cpio_entry *e)
{
	int err = make_entry(u, e);

	if (err == -ENOENT) {
		err = make_parents(e->name);
		if (!err)
			err = make_entry(u, e);
	}
	if (err == -EEXIST && S_ISDIR(e->mode)) {
		err = 0; /* the root, or a mount point: /dev, /proc */
	} else if (err == -EEXIST) {
		err = vfs_unlinkat(AT_FDCWD, e->name, false);
		if (!err)
			err = make_entry(u, e);
	}
	if (!err)
		set_attributes(e);
	return err;
}

/* ---- archives ----------------------------------------------------------------------------- */

static void free_links(struct unpack *u)
{
	for (unsigned i = 0; i < LINK_HASH; i++) {
		while (u->links[i]) {
			struct hard_link *l = u->links[i];

			u->links[i] = l->next;
			kfree(l);
		}
	}
}

/* One archive at u->p, through its trailer or to the end of the data. */
static int unpack_archive(struct unpack *u)
{
	int err = 0;

	while (!err && u->p < u->end) {
		struct cpio_entry e;
		const char *wrong = next_entry(u, &e);

		if (wrong) {
			log_err("initrd: %s (after %u entries): the rest is not unpacked\n", wrong,
				u->entries);
			err = -EINVAL;
			break;
		}
		if (!strcmp(e.name, "TRAILER!!!"))
			break;
		err = unpack_entry(u, &e);
		if (err)
			log_err("initrd: cannot make %s: error %d%s: the rest is not unpacked\n",
				e.name, -err,
				err == -ENOSPC || err == -ENOMEM ? " (too little memory)" : "");
		u->entries++;
	}
	free_links(u);
	return err;
}

/*
 * Memory for what gzip unpacks, of any size: above what kmalloc gives, single frames mapped behind
 * each other.
 */
#define KMALLOC_MAX (4 * MiB)

static void big_free(void *p, size_t size)
{
	u64 va = (u64)p;

	if (size <= KMALLOC_MAX) {
		kfree(p);
		return;
	}
	for (u64 at = va; at < va + size; at += PAGE_SIZE) {
		paddr_t pa;

		if (get_physical_address(at, &pa) == 0) {
			unmap_page(at, PAGE_SIZE);
			frame_put(pa_frame(pa));
		}
	}
	kva_free(va, size / PAGE_SIZE);
}

/* size: a multiple of the page size. */
static void *big_alloc(size_t size)
{
	u64 va;

	if (size <= KMALLOC_MAX)
		return kmalloc(size);
	va = kva_alloc(size / PAGE_SIZE);
	for (u64 at = va; va && at < va + size; at += PAGE_SIZE) {
		struct frame *f = frame_alloc(FRAME_KERNEL, 0);

		if (!f || map_page(at, frame_pa(f), PAGE_SIZE, KMAP_WRITE)) {
			if (f)
				frame_put(f);
			big_free((void *)va, size);
			return NULL;
		}
	}
	return (void *)va;
}

static int unpack_all(const u8 *data, size_t size, bool inside_gzip, u32 *entries);

static int unpack_gzip(const u8 *data, size_t size, u32 *entries)
{
	struct frame_stats s;
	/* A damaged file's hint may be anything: believe it up to a usual ratio, then try. */
	size_t cap = MIN(gunzip_size_hint(data, size), 8 * size), len;
	u32 before = *entries;
	int err = -ENOSPC;

	cap = ALIGN_UP(MAX(cap, 64 * KiB), PAGE_SIZE);
	frame_stats(&s);
	while (err == -ENOSPC) {
		void *buf = cap / PAGE_SIZE < frame_stats_available(&s) ? big_alloc(cap) : NULL;

		if (!buf) {
			log_err("initrd: no memory to decompress %lu KiB: give the machine more\n",
				size / KiB);
			return -ENOMEM;
		}
		err = gunzip(data, size, buf, cap, &len);
		if (err == -EINVAL)
			log_err("initrd: the gzip data is damaged: nothing of it is unpacked\n");
		if (!err)
			err = unpack_all(buf, len, true, entries);
		big_free(buf, cap);
		if (err == -ENOSPC && *entries != before)
			break; /* the files found no room, not the decompression */
		cap *= 2;
	}
	return err;
}

static int unpack_all(const u8 *data, size_t size, bool inside_gzip, u32 *entries)
{
	struct unpack u = { .p = data, .end = data + size };
	int err = 0;

	while (!err) {
		while (u.p < u.end && *u.p == 0)
			u.p++;
		if (u.p >= u.end)
			break;
		if (!inside_gzip && gunzip_is_gzip(u.p, (size_t)(u.end - u.p))) {
			err = unpack_gzip(u.p, (size_t)(u.end - u.p), &u.entries);
			break;
		}
		err = unpack_archive(&u);
	}
	*entries += u.entries;
	return err;
}

int initrd_unpack(const void *data, size_t size)
{
	u32 entries = 0;
	int err = unpack_all(data, size, false, &entries);

	if (!err && !entries) {
		log_err("initrd: the module of %lu bytes holds no files\n", size);
		err = -EINVAL;
	}
	if (!err)
		log_info("initrd: %u entries from %lu KiB\n", entries, size / KiB);
	return err;
}

/*
 * Files in tmpfs: written, read, truncated, renamed, linked, mapped, removed, in a directory of each
 * process's own, where every answer is known, and in one that all share, where only some are wrong.
 */
#define _GNU_SOURCE
#include "soak.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

static void fill(char *buf, size_t n, uint64_t seed)
{
	struct rng r = { seed };

	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = rng_next(&r);

		memcpy(buf + i, &v, n - i < 8 ? n - i : 8);
	}
}

static void check_content(int fd, size_t size, uint64_t seed)
{
	static char want[40000], got[40000];
	struct stat st;

	fill(want, size, seed);
	if (fstat(fd, &st) || st.st_size != (off_t)size)
		fail("files: size %ld, not %zu", (long)st.st_size, size);
	if (pread(fd, got, size, 0) != (ssize_t)size || memcmp(want, got, size))
		fail("files: %zu bytes are not what was written", size);
}

static void check_mapping(int fd, size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), c;
	size_t at = size / 2;

	if (p == MAP_FAILED) {
		fail("files: mmap: %s", strerror(errno));
		return;
	}
	p[at] ^= 0x55;
	if (pread(fd, &c, 1, at) != 1 || c != p[at])
		fail("files: what was stored in the mapping is not in the file");
	p[at] ^= 0x55;
	munmap(p, size);
}

static void one_file(struct rng *r, const char *dir, unsigned i)
{
	static char buf[40000];
	char name[80], other[80];
	size_t size = 1 + rng_below(r, sizeof(buf) - 8);
	uint64_t seed = rng_next(r);
	int fd;

	snprintf(name, sizeof(name), "%s/f%u", dir, i);
	snprintf(other, sizeof(other), "%s/g%u", dir, i);
	fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	fill(buf, size, seed);
	if (fd < 0 || write(fd, buf, size) != (ssize_t)size)
		fail("files: %s: %s", name, strerror(errno));
	check_content(fd, size, seed);
	check_mapping(fd, size);
	if (rename(name, other) || (rng_below(r, 2) && link(other, name)))
		fail("files: rename or link: %s", strerror(errno));
	size -= rng_below(r, (unsigned)size) / 8 * 8;
	if (ftruncate(fd, size))
		fail("files: ftruncate: %s", strerror(errno));
	check_content(fd, size, seed);
	if (unlink(other) || (unlink(name) && errno != ENOENT))
		fail("files: unlink: %s", strerror(errno));
	check_content(fd, size, seed);
	close(fd);
	count(FILES);
}

/* Names that others make, rename and remove at the same time. */
static void contended(struct rng *r)
{
	char a[40], b[40];

	mkdir("/tmp/common", 0777);
	for (unsigned n = 0; n < 30 && !stopping(); n++) {
		int fd, ret = 0;

		snprintf(a, sizeof(a), "/tmp/common/%u", rng_below(r, 6));
		snprintf(b, sizeof(b), "/tmp/common/%u", rng_below(r, 6));
		switch (rng_below(r, 5)) {
		case 0:
			fd = open(a, O_RDWR | O_CREAT, 0600);
			if (fd >= 0) {
				if (write(fd, a, sizeof(a)) != sizeof(a))
					fail("files: write to a file in use");
				close(fd);
			} else if (errno != EISDIR && errno != ENOENT) {
				ret = -1;
			}
			break;
		case 1: ret = unlink(a); break;
		case 2: ret = rename(a, b); break;
		case 3: ret = link(a, b); break;
		default: ret = rng_below(r, 2) ? mkdir(a, 0700) : rmdir(a);
		}
		if (ret && errno != ENOENT && errno != EEXIST && errno != EISDIR &&
		    errno != ENOTDIR && errno != EPERM && errno != ENOTEMPTY)
			fail("files: in the common directory: %s", strerror(errno));
	}
	for (unsigned i = 0; i < 6; i++) {
		snprintf(a, sizeof(a), "/tmp/common/%u", i);
		if (unlink(a) && errno != ENOENT)
			rmdir(a);
	}
	rmdir("/tmp/common");
}

void files_round(struct rng *r)
{
	char dir[40];

	snprintf(dir, sizeof(dir), "%sfiles.%d", in_victim ? "" : "/tmp/", getpid());
	if (mkdir(dir, 0700))
		fail("files: mkdir %s: %s", dir, strerror(errno));
	for (unsigned i = 0; i < 5; i++)
		one_file(r, dir, i);
	if (rmdir(dir))
		fail("files: rmdir: %s", strerror(errno));
	contended(r);
}

/* The mmap family: what changing an address space costs, by size, untouched and touched. */
#define _GNU_SOURCE
#include "bench.h"

#include <errno.h>
#include <fcntl.h>

static inline void unmap(char *p, unsigned long size)
{
	if (sys3(SYS_munmap, (long)p, (long)size, 0))
		failed("munmap");
}

/* Is p mapped? The kernel itself writes there and says EFAULT if not. */
static int kernel_can_write(char *p)
{
	return sys3(SYS_getrusage, RUSAGE_SELF, (long)p, 0) == 0;
}

/* arg: KiB */
static void run_map(const struct bench *b)
{
	unsigned long size = (unsigned long)b->arg * 1024;
	char *p = map_anon(size);

	claim("it is mapped", kernel_can_write(p), 1);
	unmap(p, size);
	claim("it is unmapped", kernel_can_write(p), 0);
	for (unsigned i = 0; i < b->samples; i++)
		TIMED(unmap(map_anon(size), size));
	report();
}

/* arg: pages, all touched. A sample is two calls: rights taken away, and given back. */
static void run_protect(const struct bench *b)
{
	unsigned long size = (unsigned long)b->arg * PAGE;
	char *p = map_aligned(size, 0), *last = p + size - PAGE;
	long away = 0, back = 0;

	touch(p, size);
	must("mprotect", sys3(SYS_mprotect, (long)p, (long)size, PROT_READ));
	claim("the last page is writable, once protected", kernel_can_write(last), 0);
	must("mprotect", sys3(SYS_mprotect, (long)p, (long)size, PROT_READ | PROT_WRITE));
	claim("the last page is writable, once free again", kernel_can_write(last), 1);
	touch(p, size);
	for (unsigned i = 0; i < b->samples; i++) {
		TIMED({
			away = sys3(SYS_mprotect, (long)p, (long)size, PROT_READ);
			back = sys3(SYS_mprotect, (long)p, (long)size, PROT_READ | PROT_WRITE);
		});
		must("mprotect", away);
		must("mprotect", back);
		touch(p, size); /* the next round takes rights away from pages that had them */
	}
	report();
}

/* arg: pages, all touched; moved between two places. */
static void run_mremap(const struct bench *b)
{
	unsigned long size = (unsigned long)b->arg * PAGE;
	char *home = map_aligned(size, 0), *there = map_aligned(size, 0);

	touch(home, size);
	home[size - PAGE] = 7;
	unmap(there, size);
	for (unsigned i = 0; i < b->samples; i++) {
		char *from = i % 2 ? there : home, *to = i % 2 ? home : there;
		long got;

		TIMED(got = sys6(SYS_mremap, (long)from, (long)size, (long)size,
				 MREMAP_MAYMOVE | MREMAP_FIXED, (long)to, 0));
		must("mremap", got);
		claim("what was moved", to[size - PAGE], 7);
	}
	report();
}

static void run_unmap(const struct bench *b)
{
	unsigned long size = b->per * PAGE;

	for (unsigned i = 0; i < b->samples; i++) {
		char *p = map_aligned(size, 0);
		long before = faults();

		touch(p, size);
		claim_range("faults", faults() - before, b->per, (long)b->per + 2);
		TIMED(unmap(p, size));
	}
	report();
}

static void run_dontneed(const struct bench *b)
{
	unsigned long size = b->per * PAGE;
	char *p = map_aligned(size, 0);

	for (unsigned i = 0; i < b->samples; i++) {
		long err = 0;

		touch(p, size);
		TIMED(err = sys3(SYS_madvise, (long)p, (long)size, MADV_DONTNEED));
		must("madvise", err);
		claim("a byte behind it", p[size - PAGE], 0);
	}
	report();
}

static void run_brk(const struct bench *b)
{
	long end = sys3(SYS_brk, 0, 0, 0);

	end = (end + 2 * (long)PAGE - 1) & -(long)PAGE;
	for (unsigned i = 0; i < b->samples; i++) {
		long grown, shrunk;

		TIMED({
			grown = sys3(SYS_brk, end + (long)PAGE, 0, 0);
			*(volatile char *)end = 1;
			shrunk = sys3(SYS_brk, end, 0, 0);
		});
		claim("the grown end", grown, end + (long)PAGE);
		claim("the old end", shrunk, end);
	}
	report();
}

const struct bench bench_maps[] = {
	{ "mmap.4k", "mmap + munmap untouched, 4 KiB", run_map, 200, 1, 4 },
	{ "mmap.1m", "mmap + munmap untouched, 1 MiB", run_map, 200, 1, 1024 },
	{ "mmap.64m", "mmap + munmap untouched, 64 MiB", run_map, 200, 1, 65536 },
	{ "mmap.1g", "mmap + munmap untouched, 1 GiB", run_map, 200, 1, 1048576 },
	{ "mprotect.1", "mprotect of 1 touched page", run_protect, 200, 2, 1 },
	{ "mprotect.64", "mprotect of 64 touched pages", run_protect, 100, 2, 64 },
	{ "mprotect.16384", "mprotect of 64 MiB touched", run_protect, 4, 2, 16384 },
	{ "mremap.64", "mremap, 64 touched pages moved", run_mremap, 100, 1, 64 },
	{ "mremap.16m", "mremap, 16 MiB touched moved", run_mremap, 50, 1, 4096 },
	{ "munmap.1", "munmap of 1 touched page", run_unmap, 100, 1, 0 },
	{ "munmap.page", "munmap, per touched page of 8 MiB", run_unmap, 10, 2048, 0 },
	{ "dontneed.page", "madvise(DONTNEED), per touched page", run_dontneed, 50, 256, 0 },
	{ "brk", "brk: grow, touch, shrink", run_brk, 100, 1, 0 },
	{ 0 },
};

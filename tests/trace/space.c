/*
 * For tests/trace/inspect: an address space with one of everything, shown by its own /proc/self/maps at
 * the very end; before that a child that shares tables shows its own, and stays.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1ul << 20)

static char text[1 << 16]; /* no allocation once the space is as it is to be seen */

static void show(const char *title)
{
	int fd = open("/proc/self/maps", O_RDONLY);
	ssize_t n;

	(void)!write(1, title, strlen(title));
	while ((n = read(fd, text, sizeof(text))) > 0)
		(void)!write(1, text, (size_t)n);
	close(fd);
}

static char *map(uintptr_t at, size_t len, int prot, int flags, int fd, off_t offset)
{
	char *p = mmap((void *)at, len, prot, flags | (at ? MAP_FIXED : 0), fd, offset);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void touch(char *p, size_t len)
{
	for (size_t i = 0; i < len; i += 4096)
		p[i] = 1;
}

int main(int argc, char **argv)
{
	int anon = MAP_PRIVATE | MAP_ANONYMOUS, rw = PROT_READ | PROT_WRITE;
	int fd = open("/proc/self/exe", O_RDONLY), ready[2];
	char *p, c;

	map(0x100000000000, 3ul << 30, rw, anon | MAP_NORESERVE, -1, 0); /* marks of 1 GiB */
	p = map(0x200000000000, 64 * MIB, rw, anon, -1, 0);
	madvise(p, 64 * MIB, MADV_NOHUGEPAGE);
	touch(p, 40 * MIB);
	p = map(0x210000000000, 8 * MIB, rw, anon, -1, 0);
	madvise(p, 8 * MIB, MADV_HUGEPAGE);
	touch(p, 6 * MIB);
	p = map(0x220000000000, MIB, PROT_READ, anon, -1, 0);
	for (int i = 0; i < 20; i++)
		c = *(volatile char *)(p + i * 4096); /* the zero page */
	p = map(0x230000000000, MIB, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	touch(p, MIB / 2);
	p = map(0x240000000000, MIB, rw, anon, -1, 0);
	touch(p, MIB);
	mprotect(p + MIB / 4, MIB / 4, PROT_NONE); /* held frames */
	mprotect(p + MIB / 2, MIB / 4, PROT_READ | PROT_EXEC);
	munmap(p + MIB - 4096, 4096);
	p = map(0x250000000000, 64 * 1024, rw, MAP_PRIVATE, fd, 0);
	p[0] = 1; /* a private copy */
	map(0x250000008000, 4096, PROT_READ, MAP_PRIVATE, fd,
	    0x3000); /* another place of the file */
	p = map(0x260000000000, 64 * 1024, rw, anon, -1, 0);
	madvise(p + 48 * 1024, 16 * 1024, MADV_DONTFORK);
	(void)c;
	if (pipe(ready))
		abort();
	if (fork() == 0) {
		*(volatile char *)0x200000000000 =
			2; /* one table of its own; the others stay shared */
		show("child\n");
		(void)!write(ready[1], "x", 1);
		pause();
	}
	(void)!read(ready[0], text, 1);
	mlock(p, 32 * 1024);
	show("parent\n");
	if (argc > 1)
		(void)!read(0, text, 1);
	_exit(7);
}

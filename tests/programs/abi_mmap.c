/* mmap and munmap: flags, errors and corner cases. */
#include "abi.h"

struct mmap_case {
	const char *what;
	unsigned long at, len;
	int prot, flags,
		fd; /* fd: -1, or what: 'r', 'w', 'b' (both), 'd' (a directory), 'p' (a pipe) */
	long off;
};

static int fd_of(int kind)
{
	static int rd = -1, wr, both, dir, pipes[2];

	if (rd < 0) {
		char name[] = "/tmp/abi-XXXXXX";

		mkdir("/tmp", 0777);
		both = mkstemp(name);
		if (ftruncate(both, 4 * PAGE))
			exit(4);
		rd = open(name, O_RDONLY);
		wr = open(name, O_WRONLY);
		unlink(name);
		dir = open("/", O_RDONLY | O_DIRECTORY);
		if (pipe(pipes))
			exit(4);
	}
	switch (kind) {
	case 'r': return rd;
	case 'w': return wr;
	case 'b': return both;
	case 'd': return dir;
	case 'p': return pipes[0];
	default: return kind;
	}
}

static const struct mmap_case errors[] = {
	{ "length 0", 0, 0, RW, ANON, -1, 0 },
	{ "length 1", 0, 1, RW, ANON, -1, 0 },
	{ "length -1", 0, -1ul, RW, ANON, -1, 0 },
	{ "length -4096", 0, -PAGE, RW, ANON, -1, 0 },
	{ "length 2^63", 0, 1ul << 63, RW, ANON, -1, 0 },
	{ "length of all user space", 0, TOP, PROT_NONE, ANON | MAP_NORESERVE, -1, 0 },
	{ "length of 2^47", 0, 1ul << 47, PROT_NONE, ANON | MAP_NORESERVE, -1, 0 },
	{ "no type", 0, PAGE, RW, MAP_ANONYMOUS, -1, 0 },
	{ "type 4", 0, PAGE, RW, MAP_ANONYMOUS | 4, -1, 0 },
	{ "type 15", 0, PAGE, RW, MAP_ANONYMOUS | 15, -1, 0 },
	{ "MAP_SHARED_VALIDATE, anonymous", 0, PAGE, RW, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1,
	  0 },
	{ "no flags, length 0", 0, 0, RW, 0, -1, 0 },
	{ "offset not aligned, anonymous", 0, PAGE, RW, ANON, -1, 1 },
	{ "offset not aligned, file", 0, PAGE, PROT_READ, MAP_PRIVATE, 'r', 100 },
	{ "offset not aligned, bad descriptor", 0, PAGE, RW, MAP_PRIVATE, -1, 1 },
	{ "anonymous with a bad descriptor", 0, PAGE, RW, ANON, 12345, 0 },
	{ "file: bad descriptor", 0, PAGE, RW, MAP_PRIVATE, -1, 0 },
	{ "file: closed descriptor", 0, PAGE, RW, MAP_PRIVATE, 999, 0 },
	{ "file: bad descriptor, length 0", 0, 0, RW, MAP_PRIVATE, 999, 0 },
	{ "file: length 0", 0, 0, PROT_READ, MAP_PRIVATE, 'r', 0 },
	{ "file: length 0, write only", 0, 0, PROT_READ, MAP_PRIVATE, 'w', 0 },
	{ "file: length 0, no type", 0, 0, PROT_READ, 0, 'r', 0 },
	{ "file: no type", 0, PAGE, PROT_READ, 0, 'r', 0 },
	{ "file: private, read only, writable pages", 0, PAGE, RW, MAP_PRIVATE, 'r', 0 },
	{ "file: shared, read only, readable pages", 0, PAGE, PROT_READ, MAP_SHARED, 'r', 0 },
	{ "file: shared, read only, writable pages", 0, PAGE, RW, MAP_SHARED, 'r', 0 },
	{ "file: validated, read only, writable pages", 0, PAGE, RW, MAP_SHARED_VALIDATE, 'r', 0 },
	{ "file: shared, write only, PROT_WRITE", 0, PAGE, PROT_WRITE, MAP_SHARED, 'w', 0 },
	{ "file: shared, write only, PROT_NONE", 0, PAGE, PROT_NONE, MAP_SHARED, 'w', 0 },
	{ "file: private, write only", 0, PAGE, PROT_READ, MAP_PRIVATE, 'w', 0 },
	{ "file: shared, both ways", 0, PAGE, RW, MAP_SHARED, 'b', 0 },
	{ "file: validated", 0, PAGE, RW, MAP_SHARED_VALIDATE, 'b', 0 },
	{ "file: validated, unknown flag", 0, PAGE, RW, MAP_SHARED_VALIDATE | 1 << 30, 'b', 0 },
	{ "file: validated, another unknown flag", 0, PAGE, RW, MAP_SHARED_VALIDATE | 1 << 27, 'b',
	  0 },
	{ "file: shared, unknown flag", 0, PAGE, RW, MAP_SHARED | 1 << 27, 'b', 0 },
	{ "file: validated, MAP_SYNC", 0, PAGE, RW, MAP_SHARED_VALIDATE | 0x80000, 'b', 0 },
	{ "file: validated, populated, locked", 0, PAGE, RW,
	  MAP_SHARED_VALIDATE | MAP_POPULATE | MAP_LOCKED, 'b', 0 },
	{ "file: validated, FIXED_NOREPLACE", 0x20000000, PAGE, RW,
	  MAP_SHARED_VALIDATE | MAP_FIXED_NOREPLACE, 'b', 0 },
	{ "file: a directory", 0, PAGE, PROT_READ, MAP_PRIVATE, 'd', 0 },
	{ "file: a pipe", 0, PAGE, PROT_READ, MAP_PRIVATE, 'p', 0 },
	{ "file: offset beyond its end", 0, PAGE, PROT_READ, MAP_PRIVATE, 'r', 1l << 40 },
	{ "file: offset plus length beyond 2^64", 0, 2 * PAGE, PROT_READ, MAP_PRIVATE, 'r',
	  -(long)PAGE },
	{ "file: offset beyond 2^63", 0, PAGE, PROT_READ, MAP_PRIVATE, 'r', 1l << 63 },
	{ "file: up to 2^63", 0, PAGE, PROT_READ, MAP_PRIVATE, 'r', INT64_MAX - 2 * PAGE + 1 },
	{ "file: across 2^63", 0, 2 * PAGE, PROT_READ, MAP_PRIVATE, 'r', INT64_MAX - PAGE + 1 },
	{ "huge pages of 32 KiB", 0, 1l << 21, RW, ANON | MAP_HUGETLB | 15 << 26, -1, 0 },
	{ "all flags", 0, PAGE, RW, -1, -1, 0 },
	{ "file: huge pages", 0, PAGE, PROT_READ, MAP_PRIVATE | MAP_HUGETLB, 'r', 0 },
	{ "file: grows down, private", 0, PAGE, PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, 'r', 0 },
	{ "file: grows down, shared", 0, PAGE, PROT_READ, MAP_SHARED | MAP_GROWSDOWN, 'r', 0 },
	{ "shared anonymous, grows down", 0, PAGE, RW, SHAN | MAP_GROWSDOWN, -1, 0 },
	{ "grows down", 0, PAGE, RW, ANON | MAP_GROWSDOWN, -1, 0 },
	{ "a stack", 0, PAGE, RW, ANON | MAP_STACK | MAP_NORESERVE, -1, 0 },
	{ "populated", 0, 8 * PAGE, RW, ANON | MAP_POPULATE, -1, 0 },
	{ "populated, not waiting", 0, 8 * PAGE, RW, ANON | MAP_POPULATE | MAP_NONBLOCK, -1, 0 },
	{ "populated, PROT_NONE", 0, 8 * PAGE, PROT_NONE, ANON | MAP_POPULATE, -1, 0 },
	{ "populated beyond the file's end", 0, 8 * PAGE, PROT_READ, MAP_PRIVATE | MAP_POPULATE,
	  'r', 0 },
	{ "locked", 0, 8 * PAGE, RW, ANON | MAP_LOCKED, -1, 0 },
	{ "old flags", 0, PAGE, RW, ANON | MAP_DENYWRITE | MAP_EXECUTABLE, -1, 0 },
	{ "unknown protection bits", 0, PAGE, RW | 0x70, ANON, -1, 0 },
	{ "unknown flags, private", 0, PAGE, RW, ANON | 1 << 28, -1, 0 },
	{ "fixed, not aligned", 0x10000001, PAGE, RW, ANON | MAP_FIXED, -1, 0 },
	{ "fixed, not aligned, length 0", 0x10000001, 0, RW, ANON | MAP_FIXED, -1, 0 },
	{ "fixed at the top", TOP, PAGE, RW, ANON | MAP_FIXED, -1, 0 },
	{ "fixed across the top", TOP - PAGE, 2 * PAGE, RW, ANON | MAP_FIXED, -1, 0 },
	{ "fixed above the top, not aligned", TOP + 1, PAGE, RW, ANON | MAP_FIXED, -1, 0 },
	{ "fixed in the kernel", 0xffff800000000000ul, PAGE, RW, ANON | MAP_FIXED, -1, 0 },
	{ "fixed, address plus length overflow", -PAGE, 2 * PAGE, RW, ANON | MAP_FIXED, -1, 0 },
	{ "fixed", 0x20000000, PAGE, RW, ANON | MAP_FIXED, -1, 0 },
	{ "not to replace, but taken", 0x20000000, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0 },
	{ "not to replace, but taken in part", 0x1ffff000, 3 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE,
	  -1, 0 },
	{ "not to replace, not aligned", 0x20000001, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0 },
	{ "not to replace, beside it", 0x20001000, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0 },
	{ "not to replace, across the top", TOP - PAGE, 2 * PAGE, RW, ANON | MAP_FIXED_NOREPLACE,
	  -1, 0 },
	{ "fixed over both", 0x20000000, 2 * PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0 },
	{ "more than all memory, reserved", 0, 1ul << 45, RW, ANON, -1, 0 },
	{ "more than all memory, shared", 0, 1ul << 45, RW, SHAN, -1, 0 },
	{ "more than all memory, not reserved", 0, 1ul << 44, RW, ANON | MAP_NORESERVE, -1, 0 },
	{ "more than all memory, PROT_NONE", 0, 1ul << 44, PROT_NONE, ANON, -1, 0 },
	{ "more than all memory, read only", 0, 1ul << 44, PROT_READ, ANON, -1, 0 },
};

static void error_cases(void)
{
	title("mmap: what it takes");
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		const struct mmap_case *c = &errors[i];
		char *p = map((void *)c->at, c->len, c->prot, c->flags, fd_of(c->fd), c->off);

		call(c->what, (long)p);
		if (p != MAP_FAILED && (unsigned long)p != 0x20000000 &&
		    (unsigned long)p != 0x20001000)
			unmap(p, c->len);
	}
	unmap((void *)0x20000000, 2 * PAGE);
}

static void hints(void)
{
	char *at = place(8), *p;

	title("mmap: where it goes");
	p = map(at, PAGE, RW, ANON, -1, 0);
	truth("a free hint is taken", p == at);
	p = map(at, PAGE, RW, ANON, -1, 0);
	truth("a hint that is not free is not", p != MAP_FAILED && p != at);
	unmap(p, PAGE);
	p = map(at + PAGE + 1, PAGE, RW, ANON, -1, 0);
	truth("an unaligned hint is rounded down", p == at + PAGE);
	unmap(p, PAGE);
	p = map((void *)TOP, PAGE, RW, ANON, -1, 0);
	truth("a hint above the top is ignored", p != MAP_FAILED && (unsigned long)p < TOP);
	unmap(p, PAGE);
	p = map((void *)(TOP - PAGE), 2 * PAGE, RW, ANON, -1, 0);
	truth("a hint across the top, too", p != MAP_FAILED && (unsigned long)p < TOP);
	unmap(p, 2 * PAGE);
	p = map(NULL, PAGE, RW, ANON | MAP_32BIT, -1, 0);
	truth("MAP_32BIT is below 2 GiB", p != MAP_FAILED && (unsigned long)p < 1ul << 31);
	truth("and not below 1 GiB", (unsigned long)p >= 1ul << 30);
	unmap(p, PAGE);
	p = map((void *)0x50000000, PAGE, RW, ANON | MAP_32BIT, -1, 0);
	truth("a hint with MAP_32BIT", (unsigned long)p == 0x50000000);
	unmap(p, PAGE);
	p = map(at + PAGE, PAGE, RW, ANON | MAP_32BIT, -1, 0);
	truth("a hint above with MAP_32BIT", p != MAP_FAILED && (unsigned long)p < 1ul << 31);
	unmap(p, PAGE);
	call("MAP_32BIT of 2 GiB", (long)map(NULL, 1ul << 31, PROT_NONE, ANON | MAP_32BIT, -1, 0));
	p = map((void *)(TOP - 300 * PAGE), PAGE, RW, ANON | MAP_32BIT | MAP_FIXED_NOREPLACE, -1,
		0);
	unmap(at, PAGE);
	unmap(p, PAGE);
	value("the first byte is 0", *map(at, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	unmap(at, PAGE);
}

static void replaced(void)
{
	char *p = anon(6);
	int fd = temp_file(3 * PAGE);

	title("mmap: over what is there");
	memset(p, 'x', 6 * PAGE);
	call("fixed in the middle", (long)map(p + 2 * PAGE, 2 * PAGE, RW, ANON | MAP_FIXED, -1, 0));
	value("before", p[2 * PAGE - 1]);
	value("inside", p[2 * PAGE]);
	value("inside at the end", p[4 * PAGE - 1]);
	value("behind", p[4 * PAGE]);
	call("a file over it",
	     (long)map(p + PAGE, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, PAGE));
	value("its first byte", byte_at(p + PAGE));
	value("its second page", byte_at(p + 2 * PAGE));
	value("behind it", byte_at(p + 3 * PAGE));
	text("writing it", try_write(p + PAGE));
	call("anonymous over the file", (long)map(p, 6 * PAGE, RW, ANON | MAP_FIXED, -1, 0));
	value("all is new", p[0] + p[PAGE] + p[5 * PAGE]);
	call("a failed one changes nothing",
	     (long)map(p, PAGE, RW, MAP_SHARED | MAP_FIXED, 999, 0));
	text("it is there", try_write(p));
	unmap(p, 6 * PAGE);
	close(fd);
}

struct munmap_case {
	const char *what;
	long at, len; /* relative to p, in bytes */
};

static void munmap_cases(void)
{
	static const struct munmap_case cases[] = {
		{ "not aligned", 1, PAGE },
		{ "length 0", 0, 0 },
		{ "length 0, not aligned", 1, 0 },
		{ "length 1", 0, 1 },
		{ "again", 0, 1 },
		{ "length -1", PAGE, -1 },
		{ "length -4096", PAGE, -(long)PAGE },
		{ "two pages of four", PAGE, PAGE + 1 },
		{ "a hole and a page", 0, 4 * PAGE },
	};
	char *p = anon(6);

	title("munmap");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		call(cases[i].what, unmap(p + cases[i].at, cases[i].len));
	text("page 0", try_read(p));
	text("page 3", try_read(p + 3 * PAGE));
	text("page 4", try_read(p + 4 * PAGE));
	call("the rest and more", unmap(p, 6 * PAGE));
	text("page 5", try_read(p + 5 * PAGE));
	call("at the top", unmap((void *)TOP, PAGE));
	call("at the top, length 0", unmap((void *)TOP, 0));
	call("across the top", unmap((void *)(TOP - PAGE), 2 * PAGE));
	call("in the kernel", unmap((void *)0xffff800000000000ul, PAGE));
	call("nothing at all, 1 GiB", unmap((void *)0x10000000000ul, 1ul << 30));
	call("address 0", unmap(NULL, PAGE));
}

static void contents(void)
{
	char *p = map(NULL, 4 * PAGE, RW, SHAN, -1, 0);
	int fd = temp_file(PAGE + 100);
	char *a, *b, byte = 'B';

	title("mmap: contents");
	a = map(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
	b = map(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
	value("the file's byte", a[0]);
	value("the last page ends with zeros", a[PAGE + 100]);
	b[1] = 'p';
	value("a private write stays private", a[1]);
	a[2] = 's';
	value("a shared one is seen in the private mapping", b[3]);
	pwrite(fd, &byte, 1, 5);
	value("write() is seen in the shared mapping", a[5]);
	a[PAGE] = 'S';
	pread(fd, &byte, 1, PAGE);
	value("and read() sees the mapping", byte);
	value("a fresh private page sees it, too", b[PAGE]);
	value("a private page that was written does not", b[5]);
	text("two pages behind the end",
	     try_read(map(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, fd, 0) + 2 * PAGE));
	text("private, too", try_write(map(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0) + 3 * PAGE));
	p[0] = 1;
	p[3 * PAGE] = 2;
	value("shared memory", p[0] + p[PAGE] + p[3 * PAGE]);
	unmap(p, 4 * PAGE);
	close(fd);
	value("the mapping outlives the descriptor", a[0]);
}

/* A mapping of /dev/zero is anonymous memory, which a child shares or has a copy of. */
static void zero_device(void)
{
	int zero = open("/dev/zero", O_RDWR), reads = open("/dev/zero", O_RDONLY);
	char *shared, *own;

	title("mmap: /dev/zero");
	shared = map(NULL, 2 * PAGE, RW, MAP_SHARED, zero, 0);
	own = map(NULL, 2 * PAGE, RW, MAP_PRIVATE, reads, 0);
	if (shared == MAP_FAILED || own == MAP_FAILED) {
		text("mapped", "no");
		return;
	}
	value("zeros", shared[PAGE] + own[PAGE]);
	if (!fork()) {
		shared[1] = 's';
		own[1] = 'p';
		_exit(0);
	}
	wait(NULL);
	value("the child's byte in the shared one", shared[1]);
	value("and in the private one", own[1]);
	text("shared, to write, but open to read",
	     map(NULL, PAGE, RW, MAP_SHARED, reads, 0) == MAP_FAILED ? error_name(errno) :
								       "mapped");
	unmap(shared, 2 * PAGE);
	unmap(own, 2 * PAGE);
	close(zero);
	close(reads);
}

int main(void)
{
	error_cases();
	hints();
	replaced();
	munmap_cases();
	contents();
	zero_device();
	return 0;
}

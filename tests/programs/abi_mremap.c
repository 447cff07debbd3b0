/* mremap: flags, errors, what moves and what stays. */
#include "abi.h"

#define FIXED (MREMAP_MAYMOVE | MREMAP_FIXED)
#define KEEP  (MREMAP_MAYMOVE | 4 /* MREMAP_DONTUNMAP */)

struct case_ {
	const char *what;
	long at; /* relative to a region of four pages, bytes */
	unsigned long old_len, new_len;
	int flags;
	long to; /* relative, too, to a free place; absolute if above 2^40 */
};

static const struct case_ errors[] = {
	{ "address not aligned", 1, PAGE, PAGE, 0, 0 },
	{ "new length 0", 0, PAGE, 0, 0, 0 },
	{ "new length 0, may move", 0, PAGE, 0, MREMAP_MAYMOVE, 0 },
	{ "both lengths 0", 0, 0, 0, MREMAP_MAYMOVE, 0 },
	{ "old length 0, private", 0, 0, PAGE, MREMAP_MAYMOVE, 0 },
	{ "unknown flag", 0, PAGE, PAGE, 8, 0 },
	{ "all unknown flags", 0, PAGE, PAGE, ~7, 0 },
	{ "fixed without may move", 0, PAGE, PAGE, MREMAP_FIXED, 0 },
	{ "keep without may move", 0, PAGE, PAGE, 4, 0 },
	{ "keep with another length", 0, PAGE, 2 * PAGE, KEEP, 0 },
	{ "fixed, new address not aligned", 0, PAGE, PAGE, FIXED, 1 },
	{ "fixed, new address in the kernel", 0, PAGE, PAGE, FIXED, 0xffff800000000000l },
	{ "fixed, new address at the top", 0, PAGE, PAGE, FIXED, TOP },
	{ "fixed, across the top", 0, 2 * PAGE, 2 * PAGE, FIXED, TOP - PAGE },
	{ "a hole", 5 * PAGE, PAGE, 2 * PAGE, 0, 0 },
	{ "a hole, shrinking", 5 * PAGE, 2 * PAGE, PAGE, 0, 0 },
	{ "a hole, moving", 5 * PAGE, PAGE, PAGE, FIXED, 0 },
	{ "beyond the end of the region, growing", 2 * PAGE, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE,
	  0 },
	{ "huge new length", 0, PAGE, 1ul << 60, MREMAP_MAYMOVE, 0 },
	{ "new length -1", 0, PAGE, -1ul, MREMAP_MAYMOVE, 0 },
	{ "the same size", 0, 4 * PAGE, 4 * PAGE, 0, 0 },
	{ "the same size, may move", 0, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE, 0 },
	{ "not whole pages, the same", 0, 4 * PAGE - 5, 4 * PAGE - 1000, 0, 0 },
	{ "growing from the middle, in place", PAGE, PAGE, 2 * PAGE, 0, 0 },
	{ "in the kernel", -(1l << 47), PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0 },
};

static void error_cases(void)
{
	char *free_place = place(16), *p;

	title("mremap: what it takes");
	p = map(free_place, 4 * PAGE, RW, ANON, -1, 0);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		const struct case_ *c = &errors[i];
		char *to = c->to > 1l << 40 || c->to < 0 ? (char *)c->to :
							   free_place + 10 * PAGE + c->to;

		call(c->what, (long)remap(p + c->at, c->old_len, c->new_len, c->flags, to));
	}
	call("flags above an int's", syscall(SYS_mremap, p, PAGE, PAGE, 1l << 32, 0));
	text("nothing has changed", try_write(p + 3 * PAGE));
	call("fixed over itself", (long)remap(p, 2 * PAGE, 2 * PAGE, FIXED, p + PAGE));
	call("fixed onto itself", (long)remap(p, 2 * PAGE, 2 * PAGE, FIXED, p));
	call("fixed into the part to go", (long)remap(p, 4 * PAGE, PAGE, FIXED, p + 2 * PAGE));
	unmap(p, 16 * PAGE);
}

static void fill(char *p, int pages)
{
	for (int i = 0; i < pages; i++)
		memset(p + i * PAGE, 'a' + i, PAGE);
}

static void sizes(void)
{
	char *p = place(16), *q;

	title("mremap: larger and smaller");
	p = map(p, 4 * PAGE, RW, ANON, -1, 0);
	fill(p, 4);
	q = remap(p, 4 * PAGE, 6 * PAGE, 0, NULL);
	truth("grows where it is", q == p);
	value("the old content", q[3 * PAGE]);
	value("the new one", q[5 * PAGE]);
	q = remap(p, 6 * PAGE, 2 * PAGE, 0, NULL);
	truth("shrinks where it is", q == p);
	text("what it had", try_read(p + 2 * PAGE));
	value("what it has", p[PAGE]);
	q = remap(p, 2 * PAGE, 2 * PAGE - 100, 0, NULL);
	truth("not to whole pages", q == p);
	map(p + 2 * PAGE, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0);
	call("something in the way", (long)remap(p, 2 * PAGE, 3 * PAGE, 0, NULL));
	q = remap(p, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE, NULL);
	truth("moves then", q != MAP_FAILED && q != p);
	value("with its content", q[PAGE]);
	value("and zeros behind", q[2 * PAGE]);
	text("nothing is left behind", try_read(p));
	text("the neighbour is untouched", try_read(p + 2 * PAGE));
	q[2 * PAGE] = 'z';
	value("the new page can be written", q[2 * PAGE]);
	call("over two regions", (long)remap(q, 4 * PAGE, 5 * PAGE, MREMAP_MAYMOVE, NULL));
	protect(q + PAGE, PAGE, PROT_READ);
	call("over two protections", (long)remap(q, 3 * PAGE, 4 * PAGE, MREMAP_MAYMOVE, NULL));
	call("shrinking over two protections", (long)remap(q, 3 * PAGE, PAGE, 0, NULL));
	text("what went", try_read(q + PAGE));
	unmap(q, 4 * PAGE);
	unmap(p, 16 * PAGE);
}

static void moves(void)
{
	char *p = place(32), *to = p + 16 * PAGE, *q;

	title("mremap: fixed");
	p = map(p, 4 * PAGE, RW, ANON, -1, 0);
	fill(p, 4);
	q = remap(p, 4 * PAGE, 4 * PAGE, FIXED, to);
	truth("it is there", q == to);
	value("its content", q[2 * PAGE]);
	text("the old place", try_read(p));
	map(p, 2 * PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0);
	q = remap(to, 4 * PAGE, 2 * PAGE, FIXED, p);
	truth("over what is there, smaller", q == p);
	text("with its protection", try_write(p));
	value("its content", p[PAGE]);
	text("the rest is gone", try_read(to + 2 * PAGE));
	q = remap(p, 2 * PAGE, 5 * PAGE, FIXED, to);
	truth("larger", q == to);
	value("new pages are zero", q[4 * PAGE]);
	q = remap(to + PAGE, PAGE, PAGE, FIXED, p);
	truth("one page of the middle", q == p);
	value("it", *p);
	text("leaves a hole", try_read(to + PAGE));
	value("beside the first", *to);
	protect(p, PAGE, PROT_NONE);
	q = remap(p, PAGE, PAGE, FIXED, to + PAGE);
	truth("PROT_NONE moves, too", q == to + PAGE);
	text("as such", try_read(q));
	protect(q, PAGE, PROT_READ);
	value("with its content", *q);
	unmap(p, 32 * PAGE);
}

static void keeps(void)
{
	char *p = place(32), *to = p + 16 * PAGE, *q;
	int fd = temp_file(4 * PAGE);

	title("mremap: MREMAP_DONTUNMAP");
	p = map(p, 4 * PAGE, RW, ANON, -1, 0);
	fill(p, 4);
	q = remap(p, 4 * PAGE, 4 * PAGE, KEEP | MREMAP_FIXED, to);
	truth("fixed", q == to);
	value("the content went", q[3 * PAGE]);
	value("the old place is zero", byte_at(p + 3 * PAGE));
	text("and can be written", try_write(p));
	q = remap(to, 2 * PAGE, 2 * PAGE, KEEP, NULL);
	truth("anywhere", q != MAP_FAILED && q != to);
	value("the content", q[PAGE]);
	value("the old one", to[PAGE]);
	value("the rest of the old one", to[2 * PAGE]);
	unmap(q, 2 * PAGE);
	call("not aligned", (long)remap(to, PAGE, PAGE, KEEP, (void *)123));
	call("new length 0", (long)remap(to, PAGE, 0, KEEP, NULL));
	unmap(p, 32 * PAGE);
	p = map(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, PAGE);
	p[0] = 'X';
	q = remap(p, 2 * PAGE, 2 * PAGE, KEEP, NULL);
	call("a private file", (long)q);
	value("the written page went", q[0]);
	value("the file's came back", p[0]);
	value("the other page", q[PAGE]);
	unmap(p, 2 * PAGE);
	unmap(q, 2 * PAGE);
	p = map(NULL, PAGE, RW, ANON, -1, 0);
	call("locked", syscall(SYS_mlock, p, PAGE));
	q = remap(p, PAGE, PAGE, KEEP, NULL);
	call("what has moved is still locked", advise(q, PAGE, MADV_DONTNEED));
	call("what is left behind is not", advise(p, PAGE, MADV_DONTNEED));
	unmap(p, PAGE);
	unmap(q, PAGE);
	close(fd);
}

static void shared(void)
{
	char *p = map(NULL, 4 * PAGE, RW, SHAN, -1, 0), *q, *to = place(8);
	int fd = temp_file(4 * PAGE);

	title("mremap: shared mappings");
	fill(p, 4);
	q = remap(p + PAGE, 0, 2 * PAGE, MREMAP_MAYMOVE, NULL);
	call("old length 0: a second mapping", (long)q);
	value("of the same", q[0]);
	q[1] = 'S';
	value("in both", p[PAGE + 1]);
	unmap(q, 2 * PAGE);
	call("not if it may not move", (long)remap(p, 0, PAGE, 0, NULL));
	q = remap(p, 0, 4 * PAGE, FIXED, to);
	truth("fixed", q == to);
	value("there, too", q[3 * PAGE]);
	unmap(q, 4 * PAGE);
	q = remap(p, 4 * PAGE, 4 * PAGE, FIXED, to);
	value("moved", q[2 * PAGE]);
	q = remap(q, 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE, NULL);
	text("larger than its memory", try_read(q + 4 * PAGE));
	value("the rest is right", q[3 * PAGE]);
	unmap(q, 6 * PAGE);
	p = map(NULL, PAGE, PROT_READ, MAP_SHARED, fd, PAGE);
	q = remap(p, PAGE, 3 * PAGE, MREMAP_MAYMOVE, NULL);
	value("a file: more of it", q[2 * PAGE]);
	q = remap(q, 3 * PAGE, 4 * PAGE, MREMAP_MAYMOVE, NULL);
	text("beyond its end", try_read(q + 3 * PAGE));
	unmap(q, 4 * PAGE);
	close(fd);
}

/* Longer than all memory, to which not all are held. */
static void huge(const char *what, int prot, int flags)
{
	char *at = place(4), *p = map(at, 2 * PAGE, prot, flags | MAP_FIXED, -1, 0), *q;

	text("2^44 bytes of", what);
	q = remap(p, 2 * PAGE, 1ul << 44, MREMAP_MAYMOVE, NULL);
	call("grown", (long)q);
	if (q != MAP_FAILED) {
		unmap(q, 1ul << 44);
		p = map(at, 2 * PAGE, prot, flags | MAP_FIXED, -1, 0);
	}
	call("from a hole on", (long)remap(p - PAGE, PAGE, 1ul << 44, MREMAP_MAYMOVE, NULL));
	call("into a hole", (long)remap(p, 3 * PAGE, 1ul << 44, MREMAP_MAYMOVE, NULL));
	q = remap(p, 0, 1ul << 44, MREMAP_MAYMOVE, NULL);
	call("from length 0", (long)q);
	if (q != MAP_FAILED)
		unmap(q, 1ul << 44);
	call("at an odd address", (long)remap(p + 1, PAGE, 1ul << 44, MREMAP_MAYMOVE, NULL));
	unmap(p, 2 * PAGE);
}

int main(void)
{
	error_cases();
	sizes();
	moves();
	keeps();
	shared();
	title("mremap: more than all memory");
	huge("memory", RW, ANON);
	huge("memory without reserve", RW, ANON | MAP_NORESERVE);
	huge("memory to read", PROT_READ, ANON);
	huge("shared memory", RW, SHAN);
	return 0;
}

/* mprotect: errors, partial effects, and what becomes of contents. */
#include "abi.h"

struct case_ {
	const char *what;
	long at; /* relative to p */
	unsigned long len;
	int prot;
};

/* p: four pages; a hole behind. */
static const struct case_ errors[] = {
	{ "not aligned", 1, PAGE, RW },
	{ "length 0", 0, 0, RW },
	{ "length 0, not aligned", 5, 0, RW },
	{ "length 0 in a hole", 8 * PAGE, 0, RW },
	{ "length 0, unknown bits", 0, 0, 0x40 },
	{ "length 1", 0, 1, RW },
	{ "length -1", 0, -1ul, RW },
	{ "length -4096", 0, -PAGE, RW },
	{ "unknown bits", 0, PAGE, 0x40 },
	{ "all bits", 0, PAGE, -1 },
	{ "PROT_SEM", 0, PAGE, RW | 8 },
	{ "a hole", 8 * PAGE, PAGE, PROT_READ },
	{ "unknown bits in a hole", 8 * PAGE, PAGE, 0x40 },
	{ "grows down and up", 0, PAGE, RW | PROT_GROWSDOWN | PROT_GROWSUP },
	{ "grows down, but does not", 0, PAGE, RW | PROT_GROWSDOWN },
	{ "grows up, but does not", 0, PAGE, RW | PROT_GROWSUP },
	{ "grows down in a hole", 8 * PAGE, PAGE, RW | PROT_GROWSDOWN },
	{ "grows down, length 0", 0, 0, RW | PROT_GROWSDOWN },
	{ "all four pages", 0, 4 * PAGE, RW },
};

static void error_cases(void)
{
	char *p = map(place(16), 4 * PAGE, RW, ANON, -1, 0);

	title("mprotect: what it takes");
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
		call(errors[i].what, protect(p + errors[i].at, errors[i].len, errors[i].prot));
	call("at the top", protect((void *)TOP, PAGE, RW));
	call("in the kernel", protect((void *)0xffff800000000000ul, PAGE, RW));
	call("bits above an int's", syscall(SYS_mprotect, p, PAGE, RW | 1l << 32));
	call("and length 0", syscall(SYS_mprotect, p, 0, RW | 1l << 32));
	call("address 0", protect(NULL, PAGE, RW));
	call("from the last page across the top", protect((void *)(TOP - PAGE), 2 * PAGE, RW));
	unmap(p, 4 * PAGE);
}

static void partial(void)
{
	char *p = anon(6);

	title("mprotect: partial effects");
	unmap(p + 3 * PAGE, PAGE);
	call("over a hole", protect(p, 6 * PAGE, PROT_READ));
	text("before it", try_write(p + 2 * PAGE));
	text("behind it", try_write(p + 4 * PAGE));
	call("from a hole on", protect(p + 3 * PAGE, 2 * PAGE, PROT_READ));
	text("behind that hole", try_write(p + 4 * PAGE));
	unmap(p, 6 * PAGE);
}

static void contents(void)
{
	char *p = anon(4);

	title("mprotect: contents");
	memset(p, 'q', 2 * PAGE);
	call("PROT_NONE", protect(p, 4 * PAGE, PROT_NONE));
	text("reading", try_read(p));
	text("writing", try_write(p + PAGE));
	text("reading what was never there", try_read(p + 3 * PAGE));
	call("and back", protect(p, 4 * PAGE, RW));
	value("the content is there", p[PAGE]);
	value("zeros are there", p[2 * PAGE]);
	p[3 * PAGE] = 'n';
	call("read only", protect(p, 4 * PAGE, PROT_READ));
	text("reading works", try_read(p + 3 * PAGE));
	text("writing does not", try_write(p + 3 * PAGE));
	call("write only", protect(p, PAGE, PROT_WRITE));
	text("can be read, too", try_read(p));
	call("execute only is readable or not", protect(p, PAGE, PROT_READ | PROT_EXEC));
	text("reading code", try_read(p));
	text("writing code", try_write(p));
	call("in the middle", protect(p + PAGE, PAGE, PROT_NONE));
	text("before", try_read(p));
	text("inside", try_read(p + PAGE));
	text("behind", try_read(p + 2 * PAGE));
	unmap(p, 4 * PAGE);
}

static void files(void)
{
	int fd = temp_file(2 * PAGE), rd;
	char name[64], *p, *q;

	title("mprotect: files");
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	rd = open(name, O_RDONLY);
	p = map(NULL, PAGE, PROT_READ, MAP_SHARED, rd, 0);
	call("shared, opened for reading: PROT_WRITE", protect(p, PAGE, RW));
	call("PROT_NONE", protect(p, PAGE, PROT_NONE));
	call("PROT_READ", protect(p, PAGE, PROT_READ));
	q = map(NULL, PAGE, PROT_READ, MAP_PRIVATE, rd, 0);
	call("private: PROT_WRITE", protect(q, PAGE, RW));
	q[0] = 'Z';
	value("it is private", p[0]);
	unmap(q, PAGE);
	q = map(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
	call("shared, opened for both: PROT_WRITE", protect(q, 2 * PAGE, RW));
	q[0] = 'Y';
	value("it is shared", p[0]);
	call("and back", protect(q, 2 * PAGE, PROT_READ));
	text("no more writing", try_write(q));
	call("beyond the mapping",
	     protect(q, 3 * PAGE, PROT_NONE) == -1 && errno == ENOMEM ? 0 : 0);
	unmap(p, PAGE);
	unmap(q, 2 * PAGE);
	close(fd);
	close(rd);
}

static void stacks(void)
{
	char *at = place(600), *p;

	title("mprotect: PROT_GROWSDOWN");
	p = map(at + 590 * PAGE, 4 * PAGE, RW, ANON | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	memset(p, 's', 4 * PAGE);
	call("from the second page on", protect(p + PAGE, PAGE, PROT_READ | PROT_GROWSDOWN));
	text("the first page", try_write(p));
	text("the second", try_write(p + PAGE));
	text("the third", try_write(p + 2 * PAGE));
	call("grows up", protect(p + PAGE, PAGE, RW | PROT_GROWSUP));
	value("contents stay", p[0]);
	unmap(p, 4 * PAGE);
}

static int forked(void *arg)
{
	char *p = arg;

	p[0] = 'c';
	text("child, read only", (protect(p, PAGE, PROT_READ), try_write(p)));
	return p[0] == 'c' && p[1] == 'f';
}

static void fork_cases(void)
{
	char *p = anon(2);

	title("mprotect: after fork");
	memset(p, 'f', 2 * PAGE);
	value("a child changes its own", in_child(forked, p));
	value("the parent's byte", p[0]);
	text("the parent's right", try_write(p));
	protect(p, 2 * PAGE, PROT_NONE);
	value("a child gets PROT_NONE and what is behind", in_child(forked, p) > 255);
	protect(p, 2 * PAGE, RW);
	value("the parent's byte again", p[PAGE]);
	unmap(p, 2 * PAGE);
}

int main(void)
{
	error_cases();
	partial();
	contents();
	files();
	stacks();
	fork_cases();
	return 0;
}

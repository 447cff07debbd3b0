/* madvise: errors, and the effects that can be seen. */
#include "abi.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#define MADV_DONTNEED_LOCKED_ 24

static const struct {
	int advice;
	const char *name;
} all[] = {
	{ MADV_NORMAL, "NORMAL" },
	{ MADV_RANDOM, "RANDOM" },
	{ MADV_SEQUENTIAL, "SEQUENTIAL" },
	{ MADV_WILLNEED, "WILLNEED" },
	{ MADV_DONTNEED, "DONTNEED" },
	{ MADV_FREE, "FREE" },
	{ MADV_REMOVE, "REMOVE" },
	{ MADV_DONTFORK, "DONTFORK" },
	{ MADV_DOFORK, "DOFORK" },
	{ MADV_HUGEPAGE, "HUGEPAGE" },
	{ MADV_NOHUGEPAGE, "NOHUGEPAGE" },
	{ MADV_DONTDUMP, "DONTDUMP" },
	{ MADV_DODUMP, "DODUMP" },
	{ MADV_WIPEONFORK, "WIPEONFORK" },
	{ MADV_KEEPONFORK, "KEEPONFORK" },
	{ MADV_COLD, "COLD" },
	{ MADV_PAGEOUT, "PAGEOUT" },
	{ MADV_POPULATE_READ, "POPULATE_READ" },
	{ MADV_POPULATE_WRITE, "POPULATE_WRITE" },
	{ MADV_DONTNEED_LOCKED_, "DONTNEED_LOCKED" },
};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void each(const char *where, char *p, size_t len)
{
	char line[96];

	for (size_t i = 0; i < COUNT(all); i++) {
		snprintf(line, sizeof(line), "%s, %s", where, all[i].name);
		call(line, advise(p, len, all[i].advice));
	}
}

static void error_cases(void)
{
	char *p = map(place(16), 4 * PAGE, RW, ANON, -1, 0);

	title("madvise: arguments");
	call("unknown advice", advise(p, PAGE, 77));
	call("advice 5", advise(p, PAGE, 5));
	call("advice -1", advise(p, PAGE, -1));
	call("unknown advice, length 0", advise(p, 0, 77));
	call("not aligned", advise(p + 1, PAGE, MADV_NORMAL));
	call("not aligned, length 0", advise(p + 1, 0, MADV_DONTNEED));
	call("length 0", advise(p, 0, MADV_DONTNEED));
	call("length 0 in a hole", advise(p + 8 * PAGE, 0, MADV_DONTNEED));
	call("length -1", advise(p, -1ul, MADV_DONTNEED));
	call("length -4096", advise(p, -PAGE, MADV_DONTNEED));
	call("at the top", advise((void *)TOP, PAGE, MADV_DONTNEED));
	call("in the kernel", advise((void *)0xffff800000000000ul, PAGE, MADV_NORMAL));
	each("private", p, PAGE);
	unmap(p, 4 * PAGE);
	p = map(NULL, 4 * PAGE, PROT_NONE, ANON, -1, 0);
	each("PROT_NONE", p, PAGE);
	unmap(p, 4 * PAGE);
}

static void kinds(void)
{
	int fd = temp_file(4 * PAGE), rd;
	char *p = map(NULL, 4 * PAGE, RW, SHAN, -1, 0), name[64];

	title("madvise: kinds of mappings");
	each("shared anonymous", p, PAGE);
	unmap(p, 4 * PAGE);
	p = map(NULL, 4 * PAGE, RW, MAP_PRIVATE, fd, 0);
	each("private file", p, PAGE);
	unmap(p, 4 * PAGE);
	p = map(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
	each("shared file", p, PAGE);
	unmap(p, 4 * PAGE);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	rd = open(name, O_RDONLY);
	p = map(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, rd, 0);
	each("file opened for reading", p, PAGE);
	unmap(p, 4 * PAGE);
	p = map(NULL, 4 * PAGE, RW, ANON | MAP_LOCKED, -1, 0);
	each("locked", p, PAGE);
	unmap(p, 4 * PAGE);
	each("a hole", p, PAGE);
	close(fd);
	close(rd);
}

static void holes(void)
{
	char *p = anon(6);

	title("madvise: around holes");
	memset(p, 'h', 6 * PAGE);
	unmap(p + 2 * PAGE, PAGE);
	call("DONTNEED", advise(p, 6 * PAGE, MADV_DONTNEED));
	value("before the hole", p[0]);
	value("behind it", p[5 * PAGE]);
	memset(p, 'i', 2 * PAGE);
	memset(p + 3 * PAGE, 'i', 3 * PAGE);
	map(p + 4 * PAGE, PAGE, RW, ANON | MAP_FIXED | MAP_LOCKED, -1, 0);
	p[4 * PAGE] = 'l';
	call("DONTNEED, with a locked page behind the hole", advise(p, 6 * PAGE, MADV_DONTNEED));
	value("before the hole", p[0]);
	value("before the locked page", p[3 * PAGE]);
	value("the locked page", p[4 * PAGE]);
	value("behind it", p[5 * PAGE]);
	call("POPULATE_WRITE", advise(p, 6 * PAGE, MADV_POPULATE_WRITE));
	call("NORMAL", advise(p, 6 * PAGE, MADV_NORMAL));
	unmap(p, 6 * PAGE);
}

static void dontneed(void)
{
	int fd = temp_file(2 * PAGE);
	char *p = anon(4), *q;

	title("madvise: what goes and what stays");
	memset(p, 'd', 4 * PAGE);
	call("DONTNEED of two pages", advise(p + PAGE, PAGE + 1, MADV_DONTNEED));
	value("before", p[0]);
	value("the first", p[PAGE]);
	value("the second", p[2 * PAGE]);
	value("behind", p[3 * PAGE]);
	p[PAGE] = 'n';
	value("it can be written again", p[PAGE]);
	advise(p, 4 * PAGE, MADV_FREE);
	memset(p, 'w', 4 * PAGE);
	value("FREE, then written", p[2 * PAGE]);
	protect(p, PAGE, PROT_NONE);
	call("DONTNEED under PROT_NONE", advise(p, PAGE, MADV_DONTNEED));
	protect(p, PAGE, PROT_READ);
	value("is gone, too", p[0]);
	unmap(p, 4 * PAGE);
	p = map(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
	q = map(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
	p[0] = 'P';
	q[PAGE] = 'Q';
	advise(p, 2 * PAGE, MADV_DONTNEED);
	advise(q, 2 * PAGE, MADV_DONTNEED);
	value("a private file's page is the file's again", p[0]);
	value("a shared one stays", q[PAGE]);
	value("and is in the file", p[PAGE]);
	unmap(p, 2 * PAGE);
	unmap(q, 2 * PAGE);
	p = map(NULL, 2 * PAGE, RW, SHAN, -1, 0);
	memset(p, 'r', 2 * PAGE);
	advise(p, PAGE, MADV_DONTNEED);
	value("shared memory stays after DONTNEED", p[0]);
	advise(p, PAGE, MADV_REMOVE);
	value("and goes after REMOVE", p[0]);
	value("but only that", p[PAGE]);
	unmap(p, 2 * PAGE);
	p = anon(1);
	p[0] = 'L';
	syscall(SYS_mlock, p, PAGE);
	call("DONTNEED of a locked page", advise(p, PAGE, MADV_DONTNEED));
	value("changes nothing", p[0]);
	call("DONTNEED_LOCKED", advise(p, PAGE, MADV_DONTNEED_LOCKED_));
	value("does", p[0]);
	unmap(p, PAGE);
	close(fd);
}

static void populate(void)
{
	int fd = temp_file(PAGE);
	unsigned char vec[4];
	char *p = anon(4);

	title("madvise: POPULATE");
	syscall(SYS_mincore, p, 4 * PAGE, vec);
	value("nothing is there", vec[0] + vec[1] + vec[2] + vec[3]);
	call("READ of two", advise(p, 2 * PAGE, MADV_POPULATE_READ));
	call("WRITE of one", advise(p + 2 * PAGE, PAGE, MADV_POPULATE_WRITE));
	syscall(SYS_mincore, p, 4 * PAGE, vec);
	value("three are there", (vec[0] & 1) + (vec[1] & 1) + (vec[2] & 1));
	value("the fourth is not", vec[3]);
	protect(p, PAGE, PROT_READ);
	call("WRITE of a read-only page", advise(p, PAGE, MADV_POPULATE_WRITE));
	call("WRITE up to a read-only page", advise(p, 2 * PAGE, MADV_POPULATE_WRITE));
	unmap(p + 3 * PAGE, PAGE);
	call("READ up to a hole", advise(p, 4 * PAGE, MADV_POPULATE_READ));
	unmap(p, 3 * PAGE);
	p = map(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
	call("READ of a file", advise(p, PAGE, MADV_POPULATE_READ));
	call("WRITE of a file", advise(p, PAGE, MADV_POPULATE_WRITE));
	call("READ beyond its end", advise(p, 2 * PAGE, MADV_POPULATE_READ));
	call("WRITE beyond its end", advise(p + PAGE, PAGE, MADV_POPULATE_WRITE));
	unmap(p, 2 * PAGE);
	close(fd);
}

static int look(void *arg)
{
	char *p = arg;

	for (int i = 0; i < 5; i++)
		value("child", byte_at(p + i * PAGE));
	text("child, writing a wiped page", try_write(p + PAGE));
	return 0;
}

static int look_twice(void *arg)
{
	in_child(look, arg);
	return 7;
}

static void forks(void)
{
	char *p = anon(5);

	title("madvise: across fork");
	for (int i = 0; i < 5; i++)
		p[i * PAGE] = (char)('0' + i);
	advise(p, PAGE, MADV_DONTFORK);
	advise(p + PAGE, 2 * PAGE, MADV_WIPEONFORK);
	advise(p + 2 * PAGE, PAGE, MADV_KEEPONFORK);
	advise(p + 3 * PAGE, 2 * PAGE, MADV_DONTFORK);
	advise(p + 4 * PAGE, PAGE, MADV_DOFORK);
	in_child(look, p);
	value("parent", p[0]);
	value("parent, wiped page", p[PAGE]);
	p[3 * PAGE] = 'w';
	value("a grandchild", in_child(look_twice, p));
	advise(p, 5 * PAGE, MADV_DOFORK);
	advise(p, 5 * PAGE, MADV_KEEPONFORK);
	in_child(look, p);
	unmap(p, 5 * PAGE);
}

int main(void)
{
	error_cases();
	kinds();
	holes();
	dontneed();
	populate();
	forks();
	return 0;
}

/*
 * Pages of 2 MiB: what every call that changes a part of one leaves behind. What is printed is
 * content and protection, the same with and without large pages. On Jiffy each case also insists, by
 * /proc/self/smaps, that there was a large page before, and that there is none where it was split.
 */
#include "abi.h"

#include <sys/prctl.h>
#include <sys/uio.h>

#define LARGE (2ul << 20)
#define LPG   512 /* pages in one */

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef PR_SET_THP_DISABLE
#define PR_SET_THP_DISABLE 41
#define PR_GET_THP_DISABLE 42
#endif

/* ---- what smaps says of the region that contains p -------------------------------------------- */

static int smaps(const char *p, const char *key, char *out, size_t size)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long start, end;
	char line[256];
	int inside = 0, found = 0;

	while (f && fgets(line, sizeof(line), f)) {
		size_t n = strlen(key);

		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			inside = start <= (unsigned long)p && (unsigned long)p < end;
		else if (inside && !strncmp(line, key, n) && line[n] == ':') {
			snprintf(out, size, "%s", line + n + 1);
			found = 1;
		}
	}
	if (f)
		fclose(f);
	return found;
}

static void flag(const char *what, const char *p, const char *flag_name)
{
	char line[256] = "";

	smaps(p, "VmFlags", line, sizeof(line));
	truth(what, strstr(line, flag_name) != NULL);
}

static void expect_large(const char *when, const char *p, long pages)
{
	char line[256] = "";
	long kb = -1;

	if (access("/proc/jiffy/vm", F_OK))
		return; /* Linux may have had none to give */
	if (smaps(p, "AnonHugePages", line, sizeof(line)))
		kb = atol(line);
	if (kb != pages * 2048)
		printf("%s: %ld kB in large pages, not %ld\n", when, kb, pages * 2048);
}

/* ---- content ----------------------------------------------------------------------------------- */

static volatile uint64_t *word(char *p, long page, long at)
{
	return (volatile uint64_t *)(p + (unsigned long)page * PAGE) + at;
}

static void fill(char *p, long pages, uint64_t seed)
{
	for (long i = 0; i < pages; i++) {
		*word(p, i, 0) = seed + (uint64_t)i;
		*word(p, i, 511) = ~(seed + (uint64_t)i);
	}
}

/* How many of pages from ... end are as fill left them, of those that can be read; zero; no access. */
static void tell(const char *what, char *p, long from, long end, uint64_t seed)
{
	long good = 0, zero = 0, other = 0, none = 0;

	for (long i = from; i < end; i++) {
		char *at = p + (unsigned long)i * PAGE;

		if (byte_at(at) < 0) {
			none++;
			continue;
		}
		if (*word(p, i, 0) == seed + (uint64_t)i &&
		    *word(p, i, 511) == ~(seed + (uint64_t)i))
			good++;
		else if (*word(p, i, 0) == 0 && *word(p, i, 511) == 0)
			zero++;
		else
			other++;
	}
	printf("%s: %ld as written, %ld zero, %ld otherwise, %ld without access\n", what, good,
	       zero, other, none);
	fflush(stdout);
}

/* n large pages, with a free place as large on both sides; filled. */
static char *large(long n, uint64_t seed)
{
	size_t size = (size_t)n * LARGE;
	char *all = map(NULL, 3 * size + LARGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0), *p;

	p = (char *)(((unsigned long)all + LARGE - 1) & -LARGE) + size;
	unmap(all, 3 * size + LARGE);
	if (map(p, size, RW, ANON | MAP_FIXED, -1, 0) != p || advise(p, size, MADV_HUGEPAGE)) {
		printf("no memory: %s\n", error_name(errno));
		exit(3);
	}
	fill(p, n * LPG, seed);
	expect_large("filled", p, n);
	return p;
}

static void drop(char *p, long n)
{
	unmap(p, (size_t)n * LARGE);
}

static void with_child(void (*fn)(char *p), char *p, const char *what)
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		fn(p);
		fflush(stdout);
		_exit(7);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 7 << 8)
		printf("%s: the child ended with %#x\n", what, (unsigned)status);
}

/* ---- cases ------------------------------------------------------------------------------------- */

static void parts_unmapped(void)
{
	char *p = large(3, 1000);

	title("parts unmapped");
	call("one page in the middle", unmap(p + LARGE + 100 * PAGE, PAGE));
	expect_large("the middle one is split", p, 1);
	expect_large("the last is not", p + 2 * LARGE, 1);
	tell("all", p, 0, 3 * LPG, 1000);
	call("the first page", unmap(p, PAGE));
	call("the last page", unmap(p + 3 * LARGE - PAGE, PAGE));
	tell("all", p, 0, 3 * LPG, 1000);
	call("over a border", unmap(p + LARGE - 5 * PAGE, 10 * PAGE));
	tell("all", p, 0, 3 * LPG, 1000);
	call("again mapped", map(p, 3 * LARGE, RW, ANON | MAP_FIXED, -1, 0) == p ? 0 : -1);
	tell("all", p, 0, 3 * LPG, 1000);
	drop(p, 3);
}

static void parts_replaced(void)
{
	char *p = large(2, 2000);

	title("parts replaced");
	map(p + 7 * PAGE, 3 * PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0);
	map(p + LARGE, PAGE, RW, SHAN | MAP_FIXED, -1, 0);
	tell("all", p, 0, 2 * LPG, 2000);
	text("a write to what is read-only", try_write(p + 8 * PAGE));
	map(p, LARGE, RW, ANON | MAP_FIXED, -1, 0);
	tell("the first replaced as a whole", p, 0, 2 * LPG, 2000);
	drop(p, 2);
}

static void parts_protected(void)
{
	char *p = large(2, 3000);

	title("parts protected");
	call("read-only", protect(p + 10 * PAGE, 20 * PAGE, PROT_READ));
	expect_large("the second is whole", p + LARGE, 1);
	text("write before", try_write(p + 9 * PAGE));
	text("write in it", try_write(p + 10 * PAGE));
	text("write behind", try_write(p + 30 * PAGE));
	call("none, over the border", protect(p + LARGE - 4 * PAGE, 8 * PAGE, PROT_NONE));
	tell("all", p, 10, 2 * LPG, 3000);
	call("all as before", protect(p, 2 * LARGE, RW));
	tell("all", p, 10, 2 * LPG, 3000);
	drop(p, 2);
}

static void none_and_back(char *p)
{
	tell("child, held", p, 0, LPG, 4000);
	call("child, back", protect(p, LARGE, RW));
	tell("child", p, 0, LPG, 4000);
	fill(p + 5 * PAGE, 5, 77);
	call("child, a part", protect(p + PAGE, PAGE, PROT_READ));
	tell("child", p, 0, LPG, 4000);
}

static void wholes_protected(void)
{
	char *p = large(2, 4000);

	title("wholes protected");
	call("read-only", protect(p, LARGE, PROT_READ));
	expect_large("still large", p, 1);
	text("write", try_write(p + 10 * PAGE));
	call("back", protect(p, LARGE, RW));
	text("write", try_write(p + LARGE));
	fill(p, 2 * LPG, 4000);
	call("none", protect(p, LARGE, PROT_NONE));
	tell("all", p, 0, 2 * LPG, 4000);
	with_child(none_and_back, p, "held");
	tell("all", p, 0, 2 * LPG, 4000);
	call("a part back", protect(p + 3 * PAGE, 4 * PAGE, RW));
	tell("all", p, 0, 2 * LPG, 4000);
	call("back", protect(p, LARGE, RW));
	tell("all", p, 0, 2 * LPG, 4000);
	drop(p, 2);
}

static void advised(void)
{
	char *p = large(3, 5000);

	title("advice");
	flag("hg", p, " hg");
	flag("nh", p, " nh");
	call("DONTNEED of a part", advise(p + 3 * PAGE, 9 * PAGE, MADV_DONTNEED));
	call("DONTNEED of a whole", advise(p + LARGE, LARGE, MADV_DONTNEED));
	expect_large("one is left", p, 1);
	tell("all but it", p, 0, LPG, 5000);
	tell("all but it", p, 2 * LPG, 3 * LPG, 5000);
	fill(p, 3 * LPG, 5000);
	expect_large("the second came again", p, 2);
	call("NOHUGEPAGE of a part", advise(p + 2 * LARGE, PAGE, MADV_NOHUGEPAGE));
	flag("nh", p + 2 * LARGE, " nh");
	flag("hg behind", p + 2 * LARGE + PAGE, " hg");
	tell("all", p, 0, 3 * LPG, 5000);
	call("NOHUGEPAGE", advise(p, 3 * LARGE, MADV_NOHUGEPAGE));
	call("DONTNEED", advise(p, 3 * LARGE, MADV_DONTNEED));
	fill(p, 3 * LPG, 5001);
	expect_large("not wished", p, 0);
	tell("all", p, 0, 3 * LPG, 5001);
	drop(p, 3);
	p = map(p, LARGE, RW, ANON | MAP_FIXED | MAP_STACK, -1, 0);
	fill(p, LPG, 5002);
	expect_large("a stack", p, 0);
	p = map(p, LARGE, RW, ANON | MAP_FIXED, -1, 0);
	call("HUGEPAGE of read-only memory", protect(p, LARGE, PROT_READ));
	call("", advise(p, LARGE, MADV_HUGEPAGE));
	text("read", try_read(p));
	drop(p, 1);
}

static void moved(void)
{
	char *p = large(2, 6000), *q, *hole = p + 2 * LARGE;

	title("moved");
	q = remap(p + LARGE, LARGE, LARGE, MREMAP_MAYMOVE | MREMAP_FIXED, hole + LARGE);
	truth("a whole to an aligned place", q == hole + LARGE);
	tell("there", q - LARGE, LPG, 2 * LPG, 6000);
	expect_large("as a whole", q, 1);
	truth("nothing is left", byte_at(p + LARGE) < 0);
	p = remap(q, LARGE, LARGE, MREMAP_MAYMOVE | MREMAP_FIXED, q - LARGE + PAGE);
	truth("onto itself", p == MAP_FAILED);
	p = remap(q, LARGE, LARGE, MREMAP_MAYMOVE | MREMAP_FIXED, q - LARGE - PAGE);
	truth("to a place not aligned", p == q - LARGE - PAGE);
	tell("there", p - LARGE, LPG, 2 * LPG, 6000);
	expect_large("split", p, 0);
	unmap(p, LARGE);
	p = large(2, 6100);
	q = remap(p + LARGE - 3 * PAGE, 6 * PAGE, 6 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		  p + 3 * LARGE + PAGE);
	tell("a part, there", q - LARGE + 3 * PAGE, LPG - 3, LPG + 3, 6100);
	tell("the rest", p, 0, 2 * LPG, 6100);
	drop(p, 2);
	unmap(q, 6 * PAGE);
	p = large(1, 6200);
	q = remap(p, LARGE, 2 * LARGE, 0, NULL);
	truth("grown", q == p);
	tell("grown", p, 0, 2 * LPG, 6200);
	q = remap(p, 2 * LARGE, 100 * PAGE, 0, NULL);
	tell("shrunk", p, 0, 2 * LPG, 6200);
	unmap(p, 100 * PAGE);
	p = large(1, 6300);
	q = remap(p, LARGE, LARGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	tell("left mapped, there", q, 0, LPG, 6300);
	tell("left mapped, here", p, 0, LPG, 6300);
	drop(p, 1);
	drop(q, 1);
}

static char *const *family; /* for the child: what the parent writes to */

static void child_writes(char *p)
{
	tell("child, before", p, 0, 2 * LPG, 7000);
	fill(p + 3 * PAGE, 2, 1);
	tell("child, after two writes", p, 0, 2 * LPG, 7000);
	call("child, part unmapped", unmap(p + LARGE, 5 * PAGE));
	tell("child", p, 0, 2 * LPG, 7000);
}

static void child_of_child(char *p)
{
	fill(p + 20 * PAGE, 1, 3);
	tell("grandchild", p, 0, 2 * LPG, 7000);
	call("grandchild, DONTNEED", advise(p, LARGE, MADV_DONTNEED));
	tell("grandchild", p, 0, 2 * LPG, 7000);
}

static void child_forks(char *p)
{
	fill(p + 10 * PAGE, 1, 2);
	with_child(child_of_child, p, "grandchild");
	tell("child", p, 0, 2 * LPG, 7000);
}

static void child_waits(char *p)
{
	char c;
	int *fd = (int *)family;

	close(fd[1]);
	(void)!read(fd[0], &c, 1); /* until the parent has written */
	tell("child, later", p, 0, 2 * LPG, 7000);
}

static void forked(void)
{
	char *p = large(2, 7000);
	int fd[2], status;
	pid_t pid;

	title("forked");
	with_child(child_writes, p, "writes");
	tell("parent", p, 0, 2 * LPG, 7000);
	expect_large("large as before", p, 2);
	fill(p, 2 * LPG, 7000);
	expect_large("alone again", p, 2);
	with_child(child_forks, p, "forks");
	tell("parent", p, 0, 2 * LPG, 7000);

	fflush(stdout);
	(void)!pipe(fd);
	family = (char *const *)fd;
	pid = fork();
	if (pid == 0) {
		child_waits(p);
		_exit(0);
	}
	close(fd[0]);
	fill(p + 30 * PAGE, 4, 9);
	expect_large("the parent has split one", p, 1);
	call("parent, part protected", protect(p + LARGE, PAGE, PROT_READ));
	close(fd[1]);
	waitpid(pid, &status, 0);
	tell("parent", p, 0, 2 * LPG, 7000);
	drop(p, 2);
}

static void child_tells(char *p)
{
	tell("child", p, 0, 3 * LPG, 8000);
}

static void fork_exceptions(void)
{
	char *p = large(3, 8000);

	title("what fork leaves out");
	call("DONTFORK of a whole", advise(p, LARGE, MADV_DONTFORK));
	call("WIPEONFORK of a whole", advise(p + LARGE, LARGE, MADV_WIPEONFORK));
	call("DONTFORK of a part", advise(p + 2 * LARGE, 10 * PAGE, MADV_DONTFORK));
	call("WIPEONFORK of a part", advise(p + 2 * LARGE + 20 * PAGE, PAGE, MADV_WIPEONFORK));
	with_child(child_tells, p, "exceptions");
	tell("parent", p, 0, 3 * LPG, 8000);
	drop(p, 3);
}

static void locked(void)
{
	char *p = large(1, 9000);
	unsigned char vec[LPG];
	int in = 0;

	title("locked, and in core");
	call("mlock of a part", syscall(SYS_mlock, p + 9 * PAGE, 3 * PAGE));
	call("DONTNEED of it", advise(p + 9 * PAGE, PAGE, MADV_DONTNEED));
	call("DONTNEED beside", advise(p + PAGE, PAGE, MADV_DONTNEED));
	call("munlock", syscall(SYS_munlock, p, LARGE));
	call("mincore", syscall(SYS_mincore, p, LARGE, vec));
	for (int i = 0; i < LPG; i++)
		in += vec[i] & 1;
	value("in core", in);
	tell("all", p, 0, LPG, 9000);
	drop(p, 1);
	p = map(p, 2 * LARGE, RW, ANON | MAP_FIXED, -1, 0);
	advise(p, 2 * LARGE, MADV_HUGEPAGE);
	call("populate", advise(p + PAGE, LARGE, MADV_POPULATE_WRITE));
	expect_large("populated", p, 2);
	tell("populated", p, 0, 2 * LPG, 1);
	drop(p, 2);
}

static void by_the_kernel(void)
{
	char *p = large(2, 10000), buf[3 * PAGE];
	struct iovec here = { buf, sizeof(buf) }, there = { p + LARGE - PAGE, sizeof(buf) };
	int fd[2];

	title("by the kernel");
	value("process_vm_readv", process_vm_readv(getpid(), &here, 1, &there, 1, 0));
	truth("the same", !memcmp(buf, p + LARGE - PAGE, sizeof(buf)));
	memset(buf, 7, sizeof(buf));
	value("process_vm_writev", process_vm_writev(getpid(), &here, 1, &there, 1, 0));
	truth("the same", !memcmp(buf, p + LARGE - PAGE, sizeof(buf)));
	fill(p, 2 * LPG, 10000);
	(void)!pipe(fd);
	value("write", write(fd[1], p + LARGE - PAGE, 2 * PAGE));
	value("read", read(fd[0], p + 5 * PAGE, 2 * PAGE));
	tell("all", p, 0, 2 * LPG, 10000);
	truth("what was read", *word(p, 5, 0) == *word(p, LPG - 1, 0));
	drop(p, 2);
	p = map(p, LARGE, RW, ANON | MAP_FIXED, -1, 0);
	advise(p, LARGE, MADV_HUGEPAGE);
	(void)!write(fd[1], buf, 100);
	value("read into what is untouched", read(fd[0], p + LARGE - 50, 50));
	value("EFAULT at its end", read(fd[0], p + LARGE - 50, 51) == 50);
	expect_large("the copy made it large", p, 1);
	drop(p, 1);
	close(fd[0]);
	close(fd[1]);
}

static void disabled(void)
{
	char *p = large(1, 11000);

	title("PR_SET_THP_DISABLE");
	value("is", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	call("wrong arguments", prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0));
	call("set", prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	value("is", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	drop(p, 1);
	p = map(p, LARGE, RW, ANON | MAP_FIXED, -1, 0);
	call("advice", advise(p, LARGE, MADV_HUGEPAGE));
	fill(p, LPG, 1);
	expect_large("forbidden", p, 0);
	call("reset", prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
	value("is", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	drop(p, 1);
}

int main(void)
{
	parts_unmapped();
	parts_replaced();
	parts_protected();
	wholes_protected();
	advised();
	moved();
	forked();
	fork_exceptions();
	locked();
	by_the_kernel();
	disabled();
	return 0;
}

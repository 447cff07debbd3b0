/* brk, RLIMIT_AS, RLIMIT_DATA, RLIMIT_STACK, and stacks that grow. */
#include "abi.h"

#define brk_(at) ((char *)syscall(SYS_brk, at))

static void limit(int which, unsigned long bytes)
{
	struct rlimit l;

	getrlimit(which, &l);
	l.rlim_cur = bytes;
	if (setrlimit(which, &l))
		exit(5);
}

static int brks(void *arg)
{
	char *start = brk_(0), *p, *q;
	size_t odd = PAGE - (unsigned long)start % PAGE;

	truth("0 asks", brk_(0) == start);
	truth("1 asks, too", brk_((void *)1) == start);
	truth("below its start", brk_((void *)0x1000) == start);
	truth("in the kernel", brk_((void *)0xffff800000000000ul) == start);
	truth("at the top", brk_((void *)TOP) == start);
	p = start + odd;
	truth("three pages more", brk_(p + 3 * PAGE) == p + 3 * PAGE);
	value("they are zero", p[0] + p[2 * PAGE]);
	memset(p, 'b', 3 * PAGE);
	text("the page behind", try_read(p + 3 * PAGE));
	truth("one byte more", brk_(p + 3 * PAGE + 1) == p + 3 * PAGE + 1);
	text("makes a page", try_write(p + 4 * PAGE - 1));
	truth("smaller", brk_(p + PAGE) == p + PAGE);
	text("what it had", try_read(p + PAGE));
	value("what it has", p[0]);
	truth("larger again", brk_(p + 3 * PAGE) == p + 3 * PAGE);
	value("new pages are zero", p[PAGE] + p[2 * PAGE]);
	truth("not to a page's end", brk_(p + 2 * PAGE + 5) == p + 2 * PAGE + 5);
	text("the page stays", try_read(p + 3 * PAGE - 1));
	q = map(p + 5 * PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
	truth("a mapping in the way", q == p + 5 * PAGE);
	truth("up to a page below it", brk_(p + 4 * PAGE) == p + 4 * PAGE);
	truth("not up to it", brk_(p + 5 * PAGE) == p + 4 * PAGE);
	truth("not over it", brk_(p + 9 * PAGE) == p + 4 * PAGE);
	unmap(q, PAGE);
	truth("when it is gone", brk_(p + 9 * PAGE) == p + 9 * PAGE);
	unmap(p + 6 * PAGE, PAGE);
	truth("over a hole that was made in it", brk_(p + 5 * PAGE) == p + 5 * PAGE);
	protect(p, PAGE, PROT_READ);
	truth("with read-only pages", brk_(p + 8 * PAGE) == p + 8 * PAGE);
	limit(RLIMIT_DATA, 0);
	truth("RLIMIT_DATA 0: larger", brk_(p + 9 * PAGE) == p + 8 * PAGE);
	truth("RLIMIT_DATA 0: smaller",
	      brk_(p + 7 * PAGE) == p + 7 * PAGE || brk_(0) == p + 8 * PAGE);
	limit(RLIMIT_DATA, RLIM_INFINITY);
	truth("all back", brk_(start) == start);
	text("is gone", try_read(p + PAGE));
	return 0;
}

static int address_space(void *arg)
{
	char *p = anon(16), *q, *r = anon(2);

	protect(r, 2 * PAGE, PROT_READ);
	limit(RLIMIT_AS, 4096);
	call("RLIMIT_AS of a page: one more", (long)map(NULL, PAGE, RW, ANON, -1, 0));
	call("PROT_NONE counts", (long)map(NULL, PAGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0));
	call("shared, too", (long)map(NULL, PAGE, RW, SHAN, -1, 0));
	call("over what is there does not",
	     (long)map(p, 2 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == (long)p ? 0 : -1);
	call("mremap, larger", (long)remap(r, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE, NULL));
	call("mremap, smaller", (long)remap(p, 16 * PAGE, 15 * PAGE, MREMAP_MAYMOVE, NULL));
	call("mremap, moving", (long)(q = remap(p, 4 * PAGE, 4 * PAGE,
						MREMAP_MAYMOVE | MREMAP_FIXED, p + 1024 * PAGE)));
	call("mremap, keeping", (long)remap(p + 4 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | 4, NULL));
	truth("brk", brk_(brk_(0) + 64 * PAGE) != brk_(0) + 64 * PAGE);
	call("mprotect", protect(p + 4 * PAGE, PAGE, PROT_READ));
	call("munmap", unmap(p + 4 * PAGE, 11 * PAGE));
	limit(RLIMIT_AS, RLIM_INFINITY);
	call("without the limit", (long)map(NULL, PAGE, RW, ANON, -1, 0));
	limit(RLIMIT_AS, 1ul << 32);
	call("4 GiB of 4 GiB", (long)map(NULL, 1ul << 32, PROT_NONE, ANON | MAP_NORESERVE, -1, 0));
	call("2 GiB of them", (long)map(NULL, 1ul << 31, PROT_NONE, ANON | MAP_NORESERVE, -1, 0));
	call("2 GiB more", (long)map(NULL, 1ul << 31, PROT_NONE, ANON | MAP_NORESERVE, -1, 0));
	return 0;
}

static int data(void *arg)
{
	char *ro = map(NULL, 4 * PAGE, PROT_READ, ANON, -1, 0), *rw = anon(4);

	limit(RLIMIT_DATA, 4096);
	call("RLIMIT_DATA of a page: private, writable", (long)map(NULL, PAGE, RW, ANON, -1, 0));
	call("private, read only", (long)map(NULL, PAGE, PROT_READ, ANON, -1, 0));
	call("PROT_NONE", (long)map(NULL, PAGE, PROT_NONE, ANON, -1, 0));
	call("shared, writable", (long)map(NULL, PAGE, RW, SHAN, -1, 0));
	call("a stack", (long)map(NULL, PAGE, RW, ANON | MAP_GROWSDOWN, -1, 0));
	call("mprotect to writable", protect(ro, PAGE, RW));
	call("mprotect to readable", protect(ro, PAGE, PROT_READ));
	call("mprotect of what is writable", protect(rw, PAGE, RW | PROT_EXEC));
	call("mremap, larger", (long)remap(rw, 4 * PAGE, 5 * PAGE, MREMAP_MAYMOVE, NULL));
	call("mremap of read-only pages, larger",
	     (long)remap(ro, 4 * PAGE, 5 * PAGE, MREMAP_MAYMOVE, NULL));
	limit(RLIMIT_DATA, RLIM_INFINITY);
	call("without the limit", protect(rw, PAGE, RW));
	return 0;
}

/* What /proc says that there is of it, in bytes. */
static unsigned long now(const char *what)
{
	char line[200];
	unsigned long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, what, strlen(what)))
			kib = strtoul(line + strlen(what), NULL, 10);
	if (f)
		fclose(f);
	return kib * 1024;
}

/* mprotect asks region by region. */
static int data_regions(void *arg)
{
	char *p = map(NULL, 12 * PAGE, PROT_READ, ANON, -1, 0);

	protect(p + 4 * PAGE, 4 * PAGE, RW);
	protect(p + 8 * PAGE, 4 * PAGE, PROT_READ | PROT_EXEC);
	now("VmData:"); /* the library's memory for that is there from now on */
	limit(RLIMIT_DATA, now("VmData:") + 5 * PAGE);
	call("three regions, the third is too much", protect(p, 12 * PAGE, RW));
	text("the first", try_write(p));
	text("the second", try_write(p + 4 * PAGE));
	text("the third", try_write(p + 8 * PAGE));
	p = map(NULL, 12 * PAGE, PROT_READ, ANON, -1, 0);
	limit(RLIMIT_DATA, now("VmData:") + 5 * PAGE);
	call("one region that is too much", protect(p, 12 * PAGE, RW));
	text("is as it was", try_write(p));
	unmap(p + 2 * PAGE, PAGE);
	call("up to a hole", protect(p, 12 * PAGE, RW));
	text("what lies before", try_write(p));
	text("what lies behind", try_write(p + 3 * PAGE));
	limit(RLIMIT_AS, PAGE);
	call("beyond RLIMIT_AS it is not asked", protect(p + 3 * PAGE, 9 * PAGE, RW));
	return 0;
}

/* mremap asks as if nothing were replaced, but where what moves stays as well. */
static int replacing(void *arg)
{
	char *p = anon(8), *q = anon(16);

	unmap(p + 4 * PAGE, 4 * PAGE);
	limit(RLIMIT_AS, now("VmSize:") + 2 * PAGE);
	call("a larger one over 8 pages",
	     (long)remap(p, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q));
	text("what was there", try_write(q));
	call("twice over 4 pages",
	     (long)remap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | 4, q));
	text("the first time", try_write(p));
	text("the second", try_write(q));
	limit(RLIMIT_AS, PAGE);
	call("twice, beyond the limit",
	     (long)remap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED | 4, q));
	text("what moves", try_write(p));
	text("what was there", try_write(q));
	limit(RLIMIT_AS, RLIM_INFINITY);
	limit(RLIMIT_DATA, now("VmData:") + 2 * PAGE);
	call("data: larger over 8 pages",
	     (long)remap(p, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q + 4 * PAGE));
	call("as large over 4 pages",
	     (long)remap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q + 4 * PAGE));
	return 0;
}

/* ---- stacks ---- */

static void grows(void)
{
	char *at = place(4096), *p, *q;
	char *top = at + 4000 * PAGE;

	title("MAP_GROWSDOWN");
	p = map(top - PAGE, PAGE, RW, ANON | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0);
	call("a page", (long)p);
	p[0] = 'g';
	text("the page below", try_write(p - PAGE));
	text("ten pages below", try_read(p - 10 * PAGE));
	value("is zero", *(p - 5 * PAGE));
	value("the first is as it was", p[0]);
	text("a hundred below", try_write(p - 100 * PAGE));
	text("above", try_read(p + PAGE));
	call("part of it unmapped", unmap(p - 50 * PAGE, PAGE));
	text("the hole is filled again", try_read(p - 50 * PAGE));
	call("a neighbour 500 pages below",
	     (long)map(p - 500 * PAGE, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	text("300 below", try_write(p - 200 * PAGE));
	text("one page behind the gap", try_write(p - 243 * PAGE));
	text("in the gap", try_write(p - 244 * PAGE));
	text("beside the neighbour", try_write(p - 499 * PAGE));
	protect(p - 500 * PAGE, PAGE, PROT_NONE);
	text("the neighbour is PROT_NONE", try_write(p - 400 * PAGE));
	unmap(p - 500 * PAGE, PAGE);
	q = map(p - 600 * PAGE, PAGE, RW, ANON, -1, 0);
	truth("a hint 200 pages below", q == p - 600 * PAGE);
	unmap(q, PAGE);
	q = map(p - 700 * PAGE, PAGE, RW, ANON, -1, 0);
	truth("a hint 300 pages below", q == p - 700 * PAGE);
	unmap(q, PAGE);
	call("fixed, right below",
	     (long)map(p - 401 * PAGE, PAGE, PROT_READ, ANON | MAP_FIXED, -1, 0));
	unmap(p - 401 * PAGE, PAGE);
	unmap(at, 4096 * PAGE);
	p = map(top - PAGE, PAGE, RW, ANON | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0);
	limit(RLIMIT_STACK, 600 * PAGE);
	text("up to RLIMIT_STACK", try_write(top - 600 * PAGE));
	text("above it", try_write(top - 601 * PAGE));
	limit(RLIMIT_STACK, 8 << 20);
	text("with a higher limit", try_write(top - 601 * PAGE));
	unmap(at, 4096 * PAGE);
	p = map(top - PAGE, PAGE, PROT_READ, ANON | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0);
	text("read only: reading below", try_read(p - PAGE));
	text("read only: writing below", try_write(p - 3 * PAGE));
	unmap(at, 4096 * PAGE);
}

static __attribute__((noinline)) int deep(int n)
{
	volatile char frame[8192];

	frame[0] = (char)n;
	frame[8191] = 1;
	return n ? deep(n - 1) + frame[8191] : 0;
}

static int stack_of(void *arg)
{
	return deep((int)(long)arg) == (int)(long)arg ? 7 : 8;
}

static int small_stack(void *arg)
{
	limit(RLIMIT_STACK, 1 << 20);
	return stack_of(arg);
}

static void stacks(void)
{
	title("the stack");
	value("1 MiB of it", in_child(stack_of, (void *)128));
	value("7 MiB of it", in_child(stack_of, (void *)(7 * 128)));
	value("9 MiB of it", in_child(stack_of, (void *)(9 * 128)));
	value("512 KiB of a limit of 1 MiB", in_child(small_stack, (void *)64));
	value("2 MiB of a limit of 1 MiB", in_child(small_stack, (void *)256));
}

struct program {
	size_t bytes; /* of strings, its name's too, and of pointers to them: four are there */
	size_t stack; /* RLIMIT_STACK */
};

static int execs(void *arg)
{
	static const char self[] = "/proc/self/exe";
	static char name[] = "n", executed[] = "exec", text[2][100000];
	const struct program *p = arg;
	size_t rest =
		p->bytes - sizeof(self) - sizeof(name) - sizeof(executed) - 4 * sizeof(char *);
	char *argv[] = { name, executed, text[0], text[1], NULL }, *envp[] = { NULL };

	memset(text[0], 'x', rest / 2 - 1);
	memset(text[1], 'y', rest - rest / 2 - 1);
	limit(RLIMIT_STACK, p->stack);
	execve(self, argv, envp);
	return errno;
}

static void programs(void)
{
	static const struct program of[] = {
		{ 70000, 65536 },
		{ 131072, 262144 },
		{ 131073, 262144 },
		{ 200000, 8 << 20 },
	};

	title("what a program gets, and its stack");
	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		int status = in_child(execs, (void *)&of[i]);

		printf("%zu bytes for a stack of %zu: ", of[i].bytes, of[i].stack);
		printf("%s\n", status == 100   ? "runs" :
			       status == E2BIG ? "E2BIG" :
						 error_name(status));
	}
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "exec"))
		return 100;
	limit(RLIMIT_STACK, 8 << 20);
	title("brk");
	in_child(brks, NULL);
	title("RLIMIT_AS");
	in_child(address_space, NULL);
	title("RLIMIT_DATA");
	in_child(data, NULL);
	title("RLIMIT_DATA and mprotect");
	in_child(data_regions, NULL);
	title("limits and MREMAP_FIXED");
	in_child(replacing, NULL);
	grows();
	stacks();
	programs();
	return 0;
}

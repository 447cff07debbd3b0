/* mlock and its kin, mincore, msync. */
#include "abi.h"

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif
#define lock(p, len)        syscall(SYS_mlock, p, len)
#define lock2(p, len, f)    syscall(SYS_mlock2, p, len, f)
#define unlock(p, len)      syscall(SYS_munlock, p, len)
#define mlockall_(f)        syscall(SYS_mlockall, f)
#define mincore_(p, len, v) syscall(SYS_mincore, p, len, v)
#define msync_(p, len, f)   syscall(SYS_msync, p, len, f)

/* How many of n pages are there? */
static int resident(char *p, size_t n)
{
	unsigned char vec[64];
	int sum = 0;

	if (mincore_(p, n * PAGE, vec))
		return -1;
	for (size_t i = 0; i < n; i++)
		sum += vec[i] & 1;
	return sum;
}

static void arguments(void)
{
	char *p = map(place(16), 4 * PAGE, RW, ANON, -1, 0);

	title("mlock: arguments");
	call("length 0", lock(p, 0));
	call("length 0, not aligned", lock(p + 1, 0));
	call("length 0 in a hole", lock(p + 8 * PAGE, 0));
	call("not aligned", lock(p + 100, 10));
	value("one page is there", resident(p, 4));
	call("over a page's end", lock(p + PAGE - 1, 2));
	value("two are there", resident(p, 4));
	call("length -1", lock(p + PAGE, -1ul));
	call("length -4096", lock(p + PAGE, -PAGE));
	call("a hole", lock(p + 8 * PAGE, PAGE));
	call("up to a hole", lock(p, 8 * PAGE));
	value("all before it are there", resident(p, 4));
	call("in the kernel", lock((void *)0xffff800000000000ul, PAGE));
	call("at the top", lock((void *)TOP, PAGE));
	call("mlock2 with 0", lock2(p, PAGE, 0));
	call("mlock2 with 2", lock2(p, PAGE, 2));
	call("mlock2 with -1", lock2(p, PAGE, -1));
	call("munlock", unlock(p, 4 * PAGE));
	call("munlock again", unlock(p, 4 * PAGE));
	call("munlock of nothing", unlock(p, 0));
	call("munlock over a hole", unlock(p, 8 * PAGE));
	call("munlock in a hole", unlock(p + 8 * PAGE, PAGE));
	call("munlock, length -1", unlock(p + PAGE, -1ul));
	unmap(p, 4 * PAGE);
}

static void effects(void)
{
	int fd = temp_file(2 * PAGE);
	char *p = anon(4);

	title("mlock: effects");
	call("on fault", lock2(p, 4 * PAGE, 1));
	value("nothing is there", resident(p, 4));
	call("but locked", advise(p, PAGE, MADV_DONTNEED));
	call("munlock", unlock(p, 4 * PAGE));
	call("not locked", advise(p, PAGE, MADV_DONTNEED));
	protect(p, PAGE, PROT_NONE);
	call("PROT_NONE", lock(p, 2 * PAGE));
	call("is locked nevertheless", advise(p, PAGE, MADV_DONTNEED));
	protect(p, 4 * PAGE, PROT_READ);
	call("read only", lock(p, 4 * PAGE));
	value("is there", resident(p, 4));
	unmap(p, 4 * PAGE);
	p = map(NULL, 4 * PAGE, RW, ANON | MAP_LOCKED, -1, 0);
	value("MAP_LOCKED is there", resident(p, 4));
	call("and locked", advise(p, PAGE, MADV_DONTNEED));
	p = (char *)syscall(SYS_mremap, p, 4 * PAGE, 6 * PAGE, MREMAP_MAYMOVE, 0);
	value("what it grows by is there", resident(p, 6));
	call("and locked", advise(p + 5 * PAGE, PAGE, MADV_DONTNEED));
	unmap(p, 6 * PAGE);
	p = map(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
	call("beyond a file's end", lock(p, 4 * PAGE));
	call("within it", lock(p, 2 * PAGE));
	unmap(p, 4 * PAGE);
	close(fd);
}

static int child_lock(void *arg)
{
	call("a child inherits no lock", advise(arg, PAGE, MADV_DONTNEED));
	call("nor MCL_FUTURE", advise(anon(1), PAGE, MADV_DONTNEED));
	return 0;
}

static int all_of_it(void *arg)
{
	char *p = anon(3), *q;

	call("flags 0", mlockall_(0));
	call("flags 8", mlockall_(8));
	call("ONFAULT alone", mlockall_(MCL_ONFAULT));
	call("CURRENT", mlockall_(MCL_CURRENT));
	value("all is there", resident(p, 3));
	call("and locked", advise(p, PAGE, MADV_DONTNEED));
	q = anon(2);
	value("what comes is not", resident(q, 2));
	call("FUTURE", mlockall_(MCL_FUTURE));
	q = anon(2);
	value("what comes now is", resident(q, 2));
	call("locked, too", advise(q, PAGE, MADV_DONTNEED));
	in_child(child_lock, q);
	call("FUTURE and ONFAULT", mlockall_(MCL_FUTURE | MCL_ONFAULT));
	q = anon(2);
	value("what comes is not there", resident(q, 2));
	call("but locked", advise(q, PAGE, MADV_DONTNEED));
	call("munlockall", syscall(SYS_munlockall));
	call("nothing is locked", advise(q, PAGE, MADV_DONTNEED));
	q = anon(2);
	call("nor will be", advise(q, PAGE, MADV_DONTNEED));
	return 0;
}

/* Without root's rights. */
static int limited(void *arg)
{
	struct rlimit limit = { 8 * PAGE, 8 * PAGE };
	char *p = map(NULL, 16 * PAGE, RW, ANON, -1, 0);

	setrlimit(RLIMIT_MEMLOCK, &limit);
	call("root: more than the limit", lock(p, 16 * PAGE));
	unlock(p, 16 * PAGE);
	if (syscall(SYS_setresuid, 65534, 65534, 65534))
		return 1;
	call("within the limit", lock(p, 8 * PAGE));
	call("the same again", lock(p, 8 * PAGE));
	call("one page more", lock(p + 8 * PAGE, PAGE));
	call("nine of them", lock(p, 9 * PAGE));
	unlock(p, 2 * PAGE);
	call("after unlocking two, MAP_LOCKED",
	     (long)map(NULL, 2 * PAGE, RW, ANON | MAP_LOCKED, -1, 0));
	call("MAP_LOCKED above it", (long)map(NULL, 2 * PAGE, RW, ANON | MAP_LOCKED, -1, 0));
	call("mremap of locked pages above it",
	     syscall(SYS_mremap, p + 2 * PAGE, 6 * PAGE, 7 * PAGE, MREMAP_MAYMOVE, 0));
	call("mlockall CURRENT above it", mlockall_(MCL_CURRENT));
	call("mlockall FUTURE", mlockall_(MCL_FUTURE));
	call("mmap under that, above it", (long)map(NULL, 2 * PAGE, RW, ANON, -1, 0));
	syscall(SYS_munlockall);
	limit.rlim_cur = 0;
	setrlimit(RLIMIT_MEMLOCK, &limit);
	call("limit 0: mlock", lock(p, PAGE));
	call("limit 0: mlock of nothing", lock(p, 0));
	call("limit 0: mlock2, bad flags", lock2(p, PAGE, 4));
	call("limit 0: mlockall", mlockall_(MCL_CURRENT));
	call("limit 0: mlockall, bad flags", mlockall_(0));
	call("limit 0: MAP_LOCKED", (long)map(NULL, PAGE, RW, ANON | MAP_LOCKED, -1, 0));
	call("limit 0: munlock", unlock(p, PAGE));
	return 0;
}

static void mincores(void)
{
	unsigned char vec[8];
	int fd = temp_file(2 * PAGE);
	char *p = map(place(16), 4 * PAGE, RW, ANON, -1, 0), *q;

	title("mincore");
	call("not aligned", mincore_(p + 1, PAGE, vec));
	call("length 0", mincore_(p, 0, vec));
	call("length 0, not aligned", mincore_(p + 1, 0, vec));
	call("length 0, bad vector", mincore_(p, 0, (void *)8));
	call("bad vector", mincore_(p, PAGE, (void *)8));
	call("vector in the kernel", mincore_(p, PAGE, (void *)0xffff800000000000ul));
	call("a hole", mincore_(p + 8 * PAGE, PAGE, vec));
	call("in the kernel", mincore_((void *)0xffff800000000000ul, PAGE, vec));
	call("length -1", mincore_(p, -1ul, vec));
	call("across the top", mincore_((void *)(TOP - PAGE), 2 * PAGE, vec));
	memset(vec, 9, 8);
	call("into a hole", mincore_(p + 2 * PAGE, 4 * PAGE, vec));
	value("what is before it is told", vec[0] + vec[1]);
	value("the rest is not", vec[2]);
	value("nothing touched", resident(p, 4));
	p[PAGE] = 1;
	(void)*(volatile char *)(p + 3 * PAGE);
	value("one written, one read", resident(p, 4));
	call("part of a page", mincore_(p + PAGE, 1, vec));
	value("it", vec[0]);
	p[3 * PAGE] = 1;
	protect(p, 4 * PAGE, PROT_NONE);
	value("PROT_NONE changes nothing", resident(p, 4));
	unmap(p, 4 * PAGE);
	p = map(NULL, 3 * PAGE, RW, SHAN, -1, 0);
	value("shared memory", resident(p, 3));
	p[0] = 1;
	q = (char *)syscall(SYS_mremap, p, 0, 3 * PAGE, MREMAP_MAYMOVE, 0);
	value("its other mapping", resident(q, 3));
	p = map(NULL, 2 * PAGE, RW, MAP_PRIVATE, fd, 0);
	value("a file that was just written", resident(p, 2));
	close(fd);
}

static void msyncs(void)
{
	int fd = temp_file(2 * PAGE);
	char *p = map(place(16), 4 * PAGE, RW, ANON, -1, 0),
	     *q = map(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);

	title("msync");
	call("SYNC", msync_(p, PAGE, MS_SYNC));
	call("ASYNC", msync_(p, PAGE, MS_ASYNC));
	call("no flags", msync_(p, PAGE, 0));
	call("both", msync_(p, PAGE, MS_SYNC | MS_ASYNC));
	call("unknown flag", msync_(p, PAGE, 8));
	call("not aligned", msync_(p + 1, PAGE, MS_SYNC));
	call("length 0", msync_(p, 0, MS_SYNC));
	call("length 0 in a hole", msync_(p + 8 * PAGE, 0, MS_SYNC));
	call("a hole", msync_(p + 8 * PAGE, PAGE, MS_SYNC));
	call("over a hole", msync_(p, 8 * PAGE, MS_SYNC));
	call("over a hole, ASYNC", msync_(p, 8 * PAGE, MS_ASYNC));
	call("length -1", msync_(p, -1ul, MS_SYNC));
	call("length -4096", msync_(p, -PAGE, MS_SYNC));
	call("a file", msync_(q, 2 * PAGE, MS_SYNC));
	call("INVALIDATE", msync_(q, 2 * PAGE, MS_INVALIDATE));
	lock(q, PAGE);
	call("INVALIDATE of a locked page", msync_(q, 2 * PAGE, MS_INVALIDATE | MS_ASYNC));
	call("SYNC of a locked page", msync_(q, 2 * PAGE, MS_SYNC));
	close(fd);
}

int main(void)
{
	arguments();
	effects();
	title("mlockall");
	in_child(all_of_it, NULL);
	title("mlock: RLIMIT_MEMLOCK");
	in_child(limited, NULL);
	mincores();
	msyncs();
	return 0;
}

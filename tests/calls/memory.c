/* The mmap family, limits, the memory of others, and plain touches. */
#include "calls.h"

#include <sys/resource.h>
#include <sys/uio.h>

static void touch(void)
{
	u64 n = one_in(8) ? 600 : 1 + below(8), step = one_in(8) ? HUGE : PAGE;
	bool write = one_in(2);

	for (u64 a = some_page(); n-- && a < AREA + AREA_SIZE; a += step)
		if (write)
			*(volatile char *)a = (char)a;
		else
			(void)*(volatile char *)a;
}

static void map(u64 at, u64 length)
{
	static const struct {
		unsigned every; /* in so many calls */
		int flag;
	} extra[] = { { 10, MAP_POPULATE },  { 20, MAP_LOCKED }, { 10, MAP_GROWSDOWN },
		      { 10, MAP_NORESERVE }, { 20, MAP_STACK },  { 20, MAP_32BIT } };
	int flags = one_in(4) ? MAP_SHARED : MAP_PRIVATE, fd = -1;

	if (one_in(4))
		fd = some_fd();
	else
		flags |= MAP_ANONYMOUS;
	if (!one_in(6)) /* what is chosen by the kernel is never unmapped again */
		flags |= one_in(8) ? MAP_FIXED_NOREPLACE : MAP_FIXED;
	for (unsigned i = 0; i < LENGTH(extra); i++)
		if (one_in(extra[i].every))
			flags |= extra[i].flag;
	call(SYS_mmap, at, length, some_prot(), one_in(100) ? (int)odd_value() : flags, fd,
	     maybe(below(20) * PAGE));
}

static void move(u64 at, u64 length)
{
	u64 got = (u64)call(SYS_mremap, at, length, maybe(some_length()), below(8),
			    maybe(some_page()));

	if (got < AREA) /* above are the area, this process's stack and all errors */
		call(SYS_munmap, got, length);
}

static void advise(u64 at, u64 length)
{
	/* Of 5, 6 and 7 Linux has none; 100 and 101 are HWPOISON and SOFT_OFFLINE. */
	static const int advice[] = { 0,  1,  2,  3,  4,  8,  9,  10, 11, 12, 13,  14, 15,
				      16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 100, 101 };

	call(SYS_madvise, at, length, advice[below(LENGTH(advice))]);
}

static void change_break(void)
{
	static __thread u64 base;

	if (!base)
		base = (u64)call(SYS_brk, 0);
	call(SYS_brk, base + below(4ul << 20));
}

static void copy_between(void)
{
	struct iovec here[3], there[3];

	for (unsigned i = 0; i < LENGTH(here); i++) {
		here[i] = (struct iovec){ (void *)some_pointer(), maybe(below(20000)) };
		there[i] = (struct iovec){ (void *)some_pointer(), maybe(below(20000)) };
	}
	call(one_in(2) ? SYS_process_vm_readv : SYS_process_vm_writev, some_pid(), maybe((u64)here),
	     maybe(LENGTH(here)), maybe((u64)there), maybe(LENGTH(there)), 0);
}

/* A limit, for others or for a moment: under one for good this process would do little more. */
static void limit(void)
{
	static const int of[] = { RLIMIT_AS,      RLIMIT_DATA,   RLIMIT_STACK,
				  RLIMIT_MEMLOCK, RLIMIT_NOFILE, RLIMIT_FSIZE };
	int what = of[below(LENGTH(of))];
	struct rlimit r = { one_in(2) ? RLIM_INFINITY : below(200) << 20, RLIM_INFINITY };

	if (what == RLIMIT_NOFILE)
		r.rlim_cur = 50 + below(2000);
	if (one_in(4)) {
		call(SYS_prlimit64, some_pid(), what, maybe((u64)&r), some_pointer());
		return;
	}
	call(SYS_prlimit64, 0, what, &r, NULL);
	try_access(touch);
	r.rlim_cur = what == RLIMIT_NOFILE ? 1024 : RLIM_INFINITY;
	call(SYS_prlimit64, 0, what, &r, NULL);
}

void call_memory(void)
{
	u64 at = maybe(some_page()), length = maybe(some_length());

	switch (below(24)) {
	case 0 ... 2: map(at, length); return;
	case 3 ... 4: call(SYS_munmap, at, length); return;
	case 5 ... 6:
		call(SYS_mprotect, at, length, some_prot() | (one_in(30) ? PROT_GROWSDOWN : 0));
		return;
	case 7 ... 8: move(at, length); return;
	case 9 ... 11: advise(at, length); return;
	case 12: call(SYS_mincore, at, length % (256ul << 20), some_pointer()); return;
	case 13: call(SYS_mlock2, at, length, below(3)); return;
	case 14: call(SYS_munlock, at, length); return;
	case 15:
		if (one_in(6))
			call(SYS_mlockall, below(8));
		else
			call(SYS_munlockall);
		return;
	case 16: call(SYS_msync, at, length, below(8)); return;
	case 17: change_break(); return;
	case 18: copy_between(); return;
	case 19: limit(); return;
	default: try_access(touch);
	}
}

/*
 * The calls: how each is chosen, made, and explained by the model (tests/mm/mm.h).
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/api/mmu.h"
#include "arch/api/uaccess.h"
#include "lib/err.h"
#include "lib/uapi/mman.h"
#include "mm/pt.h"
#include "tests/mm/mm.h"

#define TAIL (PAGE_SIZE / sizeof(u32) - 1)

char call_why[512];
bool call_concurrent;
struct run_counts run_counts;

/* ---- choices --------------------------------------------------------------------------------- */

static struct {
	struct record r;
	unsigned used;
	u64 state;
} source;

/* splitmix64 */
u64 random_next(u64 *state)
{
	u64 z = *state += 0x9e3779b97f4a7c15ul;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ul;
	z = (z ^ z >> 27) * 0x94d049bb133111ebul;
	return z ^ z >> 31;
}

void choose_from(const struct record *r)
{
	source.r = *r;
	source.used = 0;
	source.state = 0;
	for (unsigned i = 0; i < RECORD_BYTES; i++)
		source.state = source.state * 0x100000001b3ul ^ r->byte[i];
}

u64 choose(u64 below)
{
	u64 v = 0;

	if (below <= 1)
		return 0;
	if (source.used >= RECORD_BYTES)
		return random_next(&source.state) % below;
	for (u64 room = 1; room < below && source.used < RECORD_BYTES; room <<= 8)
		v = v << 8 | source.r.byte[source.used++];
	return v % below;
}

static bool one_in(u64 n)
{
	return choose(n) == 0;
}

static bool no(const char *fmt, ...) __printf(1, 2);
static bool no(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(call_why, sizeof(call_why), fmt, ap);
	va_end(ap);
	return false;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static const int prots[] = { PROT_NONE,
			     PROT_READ,
			     PROT_READ | PROT_WRITE,
			     PROT_READ | PROT_WRITE,
			     PROT_READ | PROT_WRITE,
			     PROT_READ | PROT_EXEC,
			     PROT_EXEC,
			     PROT_WRITE,
			     PROT_READ | PROT_WRITE | PROT_EXEC };

static int choose_prot(void)
{
	return prots[choose(ARRAY_SIZE(prots))];
}

/* One or two aligned 2 MiB of a window of small pages; what follows likes a part of them. False: it has
 * none. */
static bool choose_large(struct call *c)
{
	const struct window *w = &windows[c->w];
	u64 first = -(w->base / PAGE_SIZE) % 512;

	if (first + 512 > w->n)
		return false;
	c->at = first + choose((w->n - first) / 512) * 512;
	c->n = one_in(3) && c->at + 1024 <= w->n ? 1024 : 512;
	c->p->hot_w = c->w;
	c->p->hot_n = one_in(3) ? 512 : choose(40) + 1;
	c->p->hot_at = c->at + choose(c->n - c->p->hot_n + 1);
	return true;
}

/* A range of a window: mostly small, sometimes most of it, often where something was touched. */
static void choose_range(struct call *c, unsigned w)
{
	const struct proc *p = c->p;
	u64 max = windows[w].n;

	c->w = w;
	if (p->hot_n && w == p->hot_w && one_in(2)) {
		c->at = p->hot_at;
		c->n = p->hot_n;
		return;
	}
	switch (choose(11)) {
	case 0: c->n = choose(max) + 1; break;
	case 1: c->n = choose(600) + 1; break;
	case 2:
		if (windows[w].unit == PAGE_SIZE && choose_large(c))
			return;
		__attribute__((fallthrough));
	default: c->n = choose(20) + 1;
	}
	c->n = MIN(c->n, max);
	c->at = choose(max - c->n + 1);
	if (windows[w].unit > PAGE_SIZE && one_in(3) && max - c->at > 1024) {
		/* whole GiB */
		c->at += 512 - ((windows[w].base / windows[w].unit + c->at) % 512);
		c->n = 512;
	}
}

/* Pages whose populating costs little. */
static void choose_few(struct call *c)
{
	static const unsigned w[] = { W_PAGES, W_PAGES, W_TOP, W_BRK };

	choose_range(c, w[choose(ARRAY_SIZE(w))]);
	c->n = MIN(c->n, 40ul);
}

static void choose_map_args(struct call *c)
{
	c->prot = choose_prot();
	switch (choose(8)) {
	case 0:
		c->flags = MAP_PRIVATE | MAP_ANONYMOUS;
		if (nr_objs < MAX_OBJS) {
			c->flags = MAP_SHARED | MAP_ANONYMOUS;
			c->anon_obj = new_obj(c->n * windows[c->w].unit / PAGE_SIZE);
		}
		break;
	case 1:
	case 2:
		c->obj = 1 + (unsigned)choose(MAX_FILES);
		c->offset = choose(8) * PAGE_SIZE;
		c->flags = MAP_PRIVATE;
		break;
	case 3:
		c->obj = 1 + (unsigned)choose(MAX_FILES);
		c->offset = choose(8) * PAGE_SIZE;
		c->flags = one_in(3) ? MAP_SHARED_VALIDATE : MAP_SHARED;
		c->nowrite = !(c->prot & PROT_WRITE) && one_in(2);
		break;
	default:
		c->flags = MAP_PRIVATE | MAP_ANONYMOUS;
		if (one_in(6))
			c->flags |= MAP_NORESERVE;
		if (one_in(10) && !call_concurrent)
			c->flags |= MAP_GROWSDOWN;
	}
	if (one_in(8))
		c->flags |= MAP_STACK;
}

static void choose_mmap(struct call *c)
{
	static const int how[] = { MAP_FIXED, MAP_FIXED, MAP_FIXED_NOREPLACE, 0 };

	c->kind = CALL_MMAP;
	if (!call_concurrent)
		choose_range(c, one_in(3) ? W_LARGE : W_PAGES);
	choose_map_args(c);
	c->flags |= how[choose(ARRAY_SIZE(how))];
	c->len = c->n * windows[c->w].unit - (one_in(3) ? choose(PAGE_SIZE) : 0);
	if (call_concurrent || windows[c->w].unit > PAGE_SIZE || c->n > 40)
		return;
	if (one_in(16))
		c->flags |= MAP_POPULATE | (one_in(3) ? MAP_NONBLOCK : 0);
	if (one_in(24))
		c->flags |= MAP_LOCKED;
}

/* Without a wish. */
static void choose_mmap_anywhere(struct call *c)
{
	c->kind = CALL_MMAP;
	c->w = W_TOP;
	c->at = UINT64_MAX;
	c->n = one_in(5) ? choose(100) + 1 : choose(6) + 1;
	if (one_in(12))
		c->n = 500 + choose(600);
	choose_map_args(c);
	if (one_in(5) && c->n <= windows[W_LOW].n)
		c->flags |= MAP_32BIT;
	c->len = c->n * PAGE_SIZE;
}

static void choose_mremap(struct call *c)
{
	unsigned w = one_in(4) ? W_LARGE : one_in(3) ? W_TOP : W_PAGES;
	const struct window *win;

	c->kind = CALL_MREMAP;
	if (!call_concurrent)
		choose_range(c, w);
	win = &windows[c->w];
	c->flags = one_in(3) ? 0 : MREMAP_MAYMOVE;
	c->n2 = one_in(3) ? choose(2 * c->n) + 1 : choose(30) + 1;
	if (call_concurrent) /* it would shrink in a step of its own */
		c->n2 = MAX(c->n2, c->n);
	if (one_in(3)) {
		c->flags = MREMAP_MAYMOVE | MREMAP_FIXED;
		c->n2 = MIN(c->n2, win->n);
		c->to = choose(win->n - c->n2 + 1);
	} else {
		c->n2 = MIN(c->n2, win->n - c->at);
		if (win->unit > PAGE_SIZE)
			c->n2 = MIN(c->n2, c->n);
		if (c->flags && one_in(4)) {
			c->flags |= MREMAP_DONTUNMAP;
			c->n2 = c->n;
		} else if (one_in(16) && !call_concurrent) {
			c->n = 0; /* once more what is shared here */
		}
	}
}

static void choose_madvise(struct call *c)
{
	static const int advices[] = {
		MADV_DONTNEED,       MADV_DONTNEED,
		MADV_DONTNEED,       MADV_FREE,
		MADV_REMOVE,         MADV_DONTFORK,
		MADV_DOFORK,         MADV_WIPEONFORK,
		MADV_KEEPONFORK,     MADV_POPULATE_READ,
		MADV_POPULATE_WRITE, MADV_COLD,
		MADV_PAGEOUT,        MADV_WILLNEED,
		MADV_SEQUENTIAL,     MADV_RANDOM,
		MADV_NORMAL,         MADV_DONTDUMP,
		MADV_DODUMP,         MADV_DONTNEED_LOCKED,
		MADV_MERGEABLE,      12345,
		MADV_HUGEPAGE,       MADV_NOHUGEPAGE,
	};

	c->kind = CALL_MADVISE;
	c->advice = call_concurrent ? MADV_DONTNEED : advices[choose(ARRAY_SIZE(advices))];
	if (call_concurrent)
		return;
	if (c->advice == MADV_POPULATE_READ || c->advice == MADV_POPULATE_WRITE)
		choose_few(c);
	else
		choose_range(c, (unsigned)choose(WINDOWS));
	if (c->advice == MADV_REMOVE && windows[c->w].unit > PAGE_SIZE)
		c->n = MIN(c->n, 4ul); /* it goes page by page */
}

static void choose_touch(struct call *c)
{
	struct proc *p = c->p;
	unsigned w = (unsigned)choose(WINDOWS);
	u64 at = choose(windows[w].n);

	c->kind = CALL_TOUCH;
	if (!one_in(8)) /* mostly where something is */
		while (at + 1 < windows[w].n && !p->w[w][at].mapped)
			at++;
	if (p->hot_n && one_in(3)) { /* or where something happened lately */
		w = p->hot_w;
		at = p->hot_at + choose(p->hot_n);
	}
	c->w = w;
	c->at = at;
	c->n = one_in(4) ? choose(40) + 1 : choose(4) + 1;
	c->n = MIN(c->n, windows[w].n - at);
	p->hot_w = w;
	p->hot_at = at;
	p->hot_n = c->n;
}

static enum fault_access choose_access(void)
{
	return choose(5) < 3 ? FAULT_WRITE : choose(3) ? FAULT_READ : FAULT_EXEC;
}

static void choose_fork(struct call *c)
{
	c->kind = CALL_FORK;
	c->child = &procs[choose(MAX_PROCS)];
	if (c->child == c->p && !call_concurrent)
		choose_touch(c);
}

static void choose_mlock(struct call *c)
{
	c->kind = CALL_MLOCK;
	c->advice = (int)choose(8);
	if (c->advice < 3)
		choose_few(c); /* mlock, munlock */
	else
		choose_range(c, (unsigned)choose(WINDOWS)); /* mlock2(ONFAULT) */
}

static void choose_failure(struct call *c)
{
	if (!one_in(12))
		return;
	c->fail_at = choose(6) + 1;
	if (c->kind == CALL_FORK)
		c->fail_at = c->fail_at * choose(8) + 1;
	/* These are not whole calls: what succeeded stays. */
	if (c->kind == CALL_MLOCK || c->kind == CALL_TRUNCATE || c->kind == CALL_WRONG ||
	    c->kind == CALL_EXIT || c->kind == CALL_MINCORE ||
	    (c->kind == CALL_MMAP && (c->flags & (MAP_LOCKED | MAP_POPULATE))) ||
	    (c->kind == CALL_MREMAP && (c->n2 < c->n || c->n == 0 || c->p->as->locked)) ||
	    (c->kind == CALL_MADVISE && c->advice != MADV_DONTNEED))
		c->fail_at = 0;
}

void call_choose(struct call *c, unsigned cpu)
{
	u64 what = choose(128);

	*c = (struct call){ .cpu = cpu, .p = &procs[choose(MAX_PROCS)] };
	proc_start(c->p);
	c->load = !one_in(4);
	c->tag = ++next_tag;
	if (what < 18) {
		choose_mmap(c);
	} else if (what < 26) {
		choose_mmap_anywhere(c);
	} else if (what < 33) {
		c->kind = CALL_MUNMAP;
		choose_range(c, (unsigned)choose(WINDOWS));
	} else if (what < 42) {
		c->kind = CALL_MPROTECT;
		choose_range(c, (unsigned)choose(WINDOWS));
		c->prot = choose_prot();
	} else if (what < 51) {
		choose_madvise(c);
	} else if (what < 60) {
		choose_mremap(c);
	} else if (what < 64) {
		c->kind = CALL_BRK;
		c->n = choose((windows[W_BRK].n - 1) * PAGE_SIZE);
	} else if (what < 67) {
		choose_mlock(c);
	} else if (what < 69) {
		c->kind = CALL_MINCORE;
		choose_few(c);
	} else if (what < 70) {
		c->kind = CALL_MSYNC;
		choose_range(c, (unsigned)choose(WINDOWS));
		c->flags = (int)choose(8);
	} else if (what < 75) {
		choose_fork(c);
	} else if (what < 77) {
		c->kind = CALL_EXIT;
	} else if (what < 78) {
		c->kind = CALL_TRUNCATE;
		c->obj = (unsigned)choose(MAX_FILES);
		c->n2 = choose(FILE_PAGES + 1);
	} else if (what < 79) {
		c->kind = CALL_WRONG;
		c->n = choose(1000);
	} else if (what < 83) {
		choose_touch(c);
		c->kind = CALL_OUTSIDE;
		c->n = 1;
	} else {
		choose_touch(c);
	}
	c->access = choose_access();
	if (c->kind == CALL_OUTSIDE && c->access == FAULT_EXEC)
		c->access = FAULT_READ;
	choose_failure(c);
}

void call_choose_concurrent(struct call *c, unsigned cpu, struct proc *p, unsigned w, u64 at, u64 n,
			    bool touches)
{
	u64 what = touches && choose(4) ? 31 : choose(32);

	*c = (struct call){ .cpu = cpu, .p = p, .w = w };
	c->load = !one_in(4);
	c->tag = ++next_tag;
	c->n = choose(MIN(n, one_in(3) ? n : 4)) + 1;
	c->at = at + choose(n - c->n + 1);
	if (what < 4) {
		choose_mmap(c);
	} else if (what < 5) {
		choose_mmap_anywhere(c);
	} else if (what < 8) {
		c->kind = CALL_MUNMAP;
	} else if (what < 12) {
		c->kind = CALL_MPROTECT;
		c->prot = choose_prot();
	} else if (what < 15) {
		choose_madvise(c);
	} else if (what < 18) {
		choose_mremap(c);
	} else if (what < 20) {
		choose_fork(c); /* the group looks for a child */
	} else if (what < 21) {
		c->kind = CALL_EXIT;
	} else if (what < 23) {
		c->kind = CALL_OUTSIDE;
		c->n = 1;
	} else {
		c->kind = CALL_TOUCH;
		c->n = 1;
	}
	c->access = choose_access();
	if (c->kind == CALL_OUTSIDE && c->access == FAULT_EXEC)
		c->access = FAULT_READ;
}

/* ---- making the call ------------------------------------------------------------------------- */

u64 frames_named(void)
{
	struct frame_stats s;

	frame_stats(&s);
	return s.used[FRAME_TABLE] + s.used[FRAME_ANON] + s.used[FRAME_FILE] + s.used[FRAME_KERNEL];
}

/*
 * One access of a program: translated and done in one instruction, which takes no interrupt between;
 * other CPUs may do something there. 0 or the si_code.
 */
static int user_access(struct call *c, u64 va)
{
	for (int tries = 0;; tries++) {
		paddr_t pa;
		int ret;

		check(tries < 1000, "access %d to %#lx never ends", c->access, va);
		irq_disable();
		if (host_mmu_access(va, c->access, true, &pa) == 0) {
			u32 *at = phys_to_virt(pa);

			host_point();
			c->seen = at[0];
			c->seen_last = at[TAIL];
			if (c->access == FAULT_WRITE)
				at[0] = at[TAIL] = c->tag;
			irq_enable();
			return 0;
		}
		irq_enable();
		if (!call_concurrent && one_in(4)) /* the processor reads ahead just here */
			host_mmu_speculate(va);
		ret = vm_fault(c->p->as, va, c->access);
		if (ret)
			return ret;
		if (!call_concurrent && one_in(8))
			host_mmu_speculate(va);
	}
}

static void run_mmap(struct call *c)
{
	u64 va = c->at == UINT64_MAX ? 0 : page_va(c->w, c->at);

	c->ret = vm_mmap(c->p->as, va, c->len, c->prot,
			 c->flags | (c->nowrite ? VM_MMAP_NOWRITE : 0),
			 c->obj ? &files[c->obj - 1].obj : NULL, c->offset);
}

static void run_mremap(struct call *c)
{
	const struct window *w = &windows[c->w];

	c->ret = vm_mremap(c->p->as, page_va(c->w, c->at), c->n * w->unit, c->n2 * w->unit,
			   c->flags, c->flags & MREMAP_FIXED ? page_va(c->w, c->to) : 0);
}

/* What went where the model does not look goes again, and so do the large pages of the model that
 * moved among the small ones. */
static bool is_outside(const struct call *c, u64 va, u64 len)
{
	int w = window_of(va, len);

	return w < 0 || windows[w].unit != windows[c->w].unit;
}

static void unmap_outside(struct call *c, u64 len)
{
	if (c->ret > 0 && is_outside(c, (u64)c->ret, len))
		check(vm_munmap(c->p->as, (u64)c->ret, len) == 0, "unmap");
}

static void run_mlock(struct call *c)
{
	struct aspace *as = c->p->as;
	u64 va = page_va(c->w, c->at), len = c->n * windows[c->w].unit;

	switch (c->advice) {
	case 0:
	case 1: c->ret = vm_mlock(as, va, len, 0); break;
	case 2:
	case 3: c->ret = vm_munlock(as, va, len); break;
	case 4: c->ret = vm_mlock(as, va, len, MLOCK_ONFAULT); break;
	case 5: c->ret = vm_mlockall(as, MCL_CURRENT | MCL_ONFAULT); break;
	case 6: c->ret = vm_mlockall(as, MCL_FUTURE | MCL_ONFAULT); break;
	default: c->ret = vm_munlockall(as);
	}
}

static void run_outside(struct call *c)
{
	static u32 pages[MAX_CPUS][PAGE_SIZE / sizeof(u32)];
	u32 *buf = pages[c->cpu];
	u64 va = page_va(c->w, c->at);

	memset(buf, 0, PAGE_SIZE);
	if (c->access == FAULT_WRITE) {
		buf[0] = buf[TAIL] = c->tag;
		c->ret = aspace_write(c->p->as, va, buf, PAGE_SIZE);
	} else {
		c->ret = aspace_read(c->p->as, va, buf, PAGE_SIZE);
		c->seen = buf[0];
		c->seen_last = buf[TAIL];
	}
}

/* Arguments that are wrong, whatever is mapped. The expected errno. */
static int run_wrong(struct call *c)
{
	struct aspace *as = c->p->as;
	const int anon = MAP_PRIVATE | MAP_ANONYMOUS;
	u64 at = page_va(W_PAGES, 3);

	switch (c->n % 27) {
	case 0: c->ret = vm_mmap(as, 0, 0, 3, anon, NULL, 0); return -EINVAL;
	case 1: c->ret = vm_mmap(as, at + 1, 4096, 3, anon | MAP_FIXED, NULL, 0); return -EINVAL;
	case 2: c->ret = vm_mmap(as, USER_TOP, 4096, 3, anon | MAP_FIXED, NULL, 0); return -ENOMEM;
	case 3: c->ret = vm_mmap(as, 0, -4096ul, 3, anon, NULL, 0); return -ENOMEM;
	case 4: c->ret = vm_mmap(as, 0, -1ul, 3, anon, NULL, 0); return -ENOMEM;
	case 5: c->ret = vm_mmap(as, 4096, 4096, 3, anon | MAP_FIXED, NULL, 0); return -EPERM;
	case 6: c->ret = vm_mmap(as, 0, 4096, 3, MAP_ANONYMOUS, NULL, 0); return -EINVAL;
	case 7:
		c->ret = vm_mmap(as, 0, 4096, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, NULL,
				 0);
		return -EINVAL;
	case 8:
		c->ret = vm_mmap(as, 0, 4096, 1, MAP_SHARED_VALIDATE | 1 << 24, &files[0].obj, 0);
		return -ENOTSUP;
	case 9: c->ret = vm_mmap(as, 0, 4096, 1, MAP_PRIVATE, &files[0].obj, 12); return -EINVAL;
	case 10:
		c->ret = vm_mmap(as, 0, 8192, 1, MAP_PRIVATE, &files[0].obj, -4096ul);
		return -EOVERFLOW;
	case 11: c->ret = vm_munmap(as, at + 5, 4096); return -EINVAL;
	case 12: c->ret = vm_munmap(as, at, 0); return -EINVAL;
	case 13: c->ret = vm_munmap(as, USER_TOP - 4096, 8192); return -EINVAL;
	case 14: c->ret = vm_mprotect(as, at + 1, 4096, 1); return -EINVAL;
	case 15: c->ret = vm_mprotect(as, at, 4096, 1 << 20); return -EINVAL;
	case 16: c->ret = vm_mprotect(as, at, -4096ul, 1); return -ENOMEM;
	case 17: c->ret = vm_mprotect(as, at + 1, 0, 1); return -EINVAL;
	case 18: c->ret = vm_mprotect(as, at, 0, 1); return 0;
	case 19: c->ret = vm_madvise(as, at + 1, 4096, MADV_DONTNEED); return -EINVAL;
	case 20: c->ret = vm_madvise(as, at, 0, MADV_DONTNEED); return 0;
	case 21: c->ret = vm_mremap(as, at, 4096, 4096, 64, 0); return -EINVAL;
	case 22: c->ret = vm_mremap(as, at, 4096, 4096, MREMAP_FIXED, at); return -EINVAL;
	case 23: c->ret = vm_mremap(as, at, 4096, 0, MREMAP_MAYMOVE, 0); return -EINVAL;
	case 24: c->ret = vm_msync(as, at, 4096, MS_SYNC | MS_ASYNC); return -EINVAL;
	case 25: c->ret = vm_mlockall(as, 0); return -EINVAL;
	default: c->ret = vm_mlock(as, at, 4096, 8); return -EINVAL;
	}
}

static void run_madvise(struct call *c)
{
	u64 va = page_va(c->w, c->at), len = c->n * windows[c->w].unit;

	c->ret = vm_madvise(c->p->as, va, len, c->advice);
	/* It goes region by region where something is locked, and may fail in part: doing it again
	 * makes it whole. */
	if (c->fail_at && alloc_fail_at == 0 && c->ret == -ENOMEM && READ_ONCE(c->p->as->locked)) {
		c->ret = vm_madvise(c->p->as, va, len, c->advice);
		c->fail_at = 0;
	}
}

static void run_kind(struct call *c)
{
	struct aspace *as = c->p->as;
	u64 va = page_va(c->w, c->at), len = c->n * windows[c->w].unit;

	switch (c->kind) {
	case CALL_MMAP: run_mmap(c); break;
	case CALL_MUNMAP: c->ret = vm_munmap(as, va, len); break;
	case CALL_MPROTECT: c->ret = vm_mprotect(as, va, len, c->prot); break;
	case CALL_MADVISE: run_madvise(c); break;
	case CALL_MREMAP: run_mremap(c); break;
	case CALL_BRK:
		check(vm_brk(as, 0) == c->p->brk, "brk(0)");
		c->ret = (s64)vm_brk(as, windows[W_BRK].base + c->n);
		break;
	case CALL_MLOCK: run_mlock(c); break;
	case CALL_MINCORE: c->ret = vm_mincore(as, va, len, (uaddr_t)c->core); break;
	case CALL_MSYNC: c->ret = vm_msync(as, va, len, c->flags); break;
	case CALL_FORK: c->ret = aspace_fork(as, &c->space); break;
	case CALL_EXIT: aspace_put(as); break;
	case CALL_TRUNCATE: file_truncate(&files[c->obj], c->n2); break;
	case CALL_TOUCH: c->ret = user_access(c, va); break;
	case CALL_OUTSIDE: run_outside(c); break;
	default: run_fail("call %d", c->kind);
	}
}

/* Out of memory in a fault: the process would be killed, or try again. Here it tries again. */
bool is_out_of_memory(const struct call *c)
{
	if (c->kind == CALL_TOUCH)
		return c->ret == (FAULT_BUS | FAULT_OOM | BUS_ADRERR);
	if (c->kind == CALL_OUTSIDE)
		return c->ret == -EFAULT;
	return c->kind == CALL_BRK ? c->ret == (s64)c->p->brk : c->ret == -ENOMEM;
}

void call_use_space(struct aspace *as)
{
	irq_disable();
	mm_switch(as);
	host_mmu_lazy[host_cpu] = false;
	irq_enable();
}

/* A kernel thread does. */
static void leave_space(void)
{
	irq_disable();
	host_mmu_lazy[host_cpu] = mm_cpus > 1;
	sched_leave_space();
	irq_enable();
}

void call_run(struct call *c)
{
	struct aspace *as = c->p->as;

	if (c->kind == CALL_TOUCH || (c->load && c->kind != CALL_EXIT))
		call_use_space(as);
	else if (c->tag % 4 == 0)
		leave_space();
	if (c->kind == CALL_WRONG) {
		int want = run_wrong(c);

		check(c->ret == want, "wrong call %lu: %ld, expected %d", c->n % 27, c->ret, want);
		return;
	}
	c->hints = (struct aspace_hints){ as->gap_end, as->gap_start, as->gap_skipped };
	if (!call_concurrent) {
		if (c->fail_at) {
			cpus_settle();
			c->named_before = frames_named();
		}
		alloc_fail_at = c->fail_at;
	}
	run_kind(c);
	if (!call_concurrent) {
		c->failed_alloc = c->fail_at && alloc_fail_at == 0 && is_out_of_memory(c);
		alloc_fail_at = 0;
		if (c->failed_alloc)
			cpus_settle();
		if (c->failed_alloc)
			check(c->kind == CALL_TOUCH || c->kind == CALL_OUTSIDE ||
				      frames_named() == c->named_before,
			      "a failed call kept %ld frames",
			      (long)(frames_named() - c->named_before));
	}
	if (c->kind == CALL_MMAP)
		unmap_outside(c, c->len);
	else if (c->kind == CALL_MREMAP)
		unmap_outside(c, c->n2 * windows[c->w].unit);
}

/* ---- explaining it --------------------------------------------------------------------------- */

#define want(cond, ...)                                                                            \
	do {                                                                                       \
		if (!(cond))                                                                       \
			return no(__VA_ARGS__);                                                    \
	} while (0)

static struct page *pages(const struct call *c)
{
	return &c->p->w[c->w][c->at];
}

static u64 step_of(unsigned w)
{
	return windows[w].unit / PAGE_SIZE;
}

static void clear_pages(struct page *m, u64 n)
{
	for (u64 i = 0; i < n; i++)
		if (m[i].mapped)
			set_page(&m[i], (struct page){ 0 });
}

/* A page without its content. */
static struct page emptied(struct page p)
{
	p.own = false;
	p.tag = 0;
	return p;
}

/* The copy that a fault for writing makes. */
static void own_page(struct page *m)
{
	struct page p = *m;

	if (!p.obj || p.shared || p.own)
		return;
	p.tag = page_tag(m);
	p.own = true;
	set_page(m, p);
}

/* What populating does to pages m[0 ... n-1], up to the first that cannot be had: 0 or its code. */
static int populate(struct page *m, u64 n, bool as_owner, bool write)
{
	for (u64 i = 0; i < n; i++) {
		bool w = as_owner ? (m[i].prot & PROT_WRITE) && !m[i].shared : write;
		int code = page_fault_code(&m[i], w ? FAULT_WRITE : FAULT_READ);

		if (code)
			return code;
		if (w)
			own_page(&m[i]);
	}
	return 0;
}

static void map_pages(const struct call *c, struct page *m, u64 n, u64 step)
{
	bool shared = (c->flags & MAP_TYPE) != MAP_PRIVATE;
	struct page p = {
		.mapped = true,
		.shared = shared,
		.nowrite = c->nowrite && shared,
		.prot = (u8)c->prot,
		.flags = (u8)((c->flags & MAP_GROWSDOWN ? PAGE_GROWSDOWN : 0) |
			      (c->flags & MAP_NORESERVE ? PAGE_NORESERVE : 0) |
			      ((c->flags & MAP_LOCKED) || c->p->future ? PAGE_LOCKED : 0)),
		.obj = (u16)c->obj,
	};

	if (shared && !c->obj)
		p.obj = (u16)c->anon_obj;
	for (u64 i = 0; i < n; i++) {
		if (p.obj)
			p.index = (u32)(c->offset / PAGE_SIZE + i * step);
		set_page(&m[i], p);
	}
	if (p.flags & PAGE_LOCKED ? !c->p->future :
				    (c->flags & (MAP_POPULATE | MAP_NONBLOCK)) == MAP_POPULATE)
		populate(m, n, true, false);
}

/* Something was put at ret, without a fixed place: does the documentation say so? */
static bool explain_place(const struct call *c, u64 ret, u64 len)
{
	u64 place;

	want((s64)ret > 0 && IS_ALIGNED(ret, PAGE_SIZE), "no place: %ld", (s64)ret);
	want(model_free(c->p, ret, len), "%#lx is not free", ret);
	if (c->kind == CALL_MMAP && (c->flags & MAP_32BIT)) {
		want(ret + len <= 2 * GiB && ret >= GiB, "%#lx is not in the second GiB", ret);
		return true;
	}
	want(ret + len <= VM_MMAP_TOP, "%#lx is too high", ret);
	if (call_concurrent)
		return true;
	place = model_place(c->p, len, c->hints);
	want(ret == place, "at %#lx, expected at %#lx (hints %#lx %#lx %#lx)", ret, place,
	     c->hints.start, c->hints.end, c->hints.skipped);
	return true;
}

static bool explain_mmap(struct call *c)
{
	u64 len = ALIGN_UP(c->len, PAGE_SIZE), hint;
	struct page *m;
	int w;

	if ((c->flags & MAP_TYPE) == MAP_SHARED_VALIDATE && (c->flags & MAP_FIXED_NOREPLACE)) {
		want(c->ret == -ENOTSUP, "a flag that is newer than VALIDATE: %ld", c->ret);
		return true;
	}
	if (c->at != UINT64_MAX) {
		hint = page_va(c->w, c->at);
		m = pages(c);
		if ((c->flags & MAP_FIXED_NOREPLACE) && !none_mapped(m, c->n)) {
			want(c->ret == -EEXIST, "noreplace: %ld", c->ret);
			return true;
		}
		if ((c->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) ||
		    (call_concurrent ?
			     c->ret == (s64)hint :
			     none_mapped(m, c->n) && !model_near_stack(c->p, hint + len))) {
			want(c->ret == (s64)hint, "at %#lx, not %#lx", c->ret, hint);
			want((c->flags & MAP_FIXED) || none_mapped(m, c->n), "taken");
			map_pages(c, m, c->n, step_of(c->w));
			return true;
		}
	}
	if (!explain_place(c, (u64)c->ret, len))
		return false;
	w = window_of((u64)c->ret, len);
	if (!is_outside(c, (u64)c->ret, len)) {
		want(windows[w].unit == PAGE_SIZE, "in window %d", w);
		map_pages(c, &c->p->w[w][((u64)c->ret - windows[w].base) / PAGE_SIZE],
			  len / PAGE_SIZE, 1);
	}
	return true;
}

static bool explain_mprotect(struct call *c)
{
	struct page *m = pages(c);
	int expect = 0;

	for (u64 i = 0; i < c->n && !expect; i++) {
		struct page p = m[i];

		if (!p.mapped)
			expect = -ENOMEM;
		else if (p.nowrite && (c->prot & PROT_WRITE))
			expect = -EACCES;
		p.prot = (u8)c->prot;
		if (!expect)
			set_page(&m[i], p);
	}
	want(c->ret == expect, "mprotect: %ld, expected %d", c->ret, expect);
	return true;
}

/* MADV_REMOVE of one page of the model. */
static int punch_page(const struct page *m, u64 step)
{
	if (!m->obj || (m->flags & PAGE_LOCKED))
		return -EINVAL;
	if (!m->shared || m->nowrite)
		return -EACCES;
	for (u64 i = m->index; i < m->index + step && i < obj_pages[m->obj]; i++)
		if (obj_tag[m->obj][i])
			set_word(&obj_tag[m->obj][i], 0);
	return 0;
}

/* One page; 0 or the errno that ends the call. */
static int advise_page(const struct call *c, struct page *m)
{
	bool locked = m->flags & PAGE_LOCKED;
	struct page p = *m;
	int code;

	switch (c->advice) {
	case MADV_FREE:
		if (m->obj)
			return -EINVAL;
		__attribute__((fallthrough));
	case MADV_DONTNEED:
		if (locked)
			return -EINVAL;
		__attribute__((fallthrough));
	case MADV_DONTNEED_LOCKED: p = emptied(p); break;
	case MADV_REMOVE: return punch_page(m, step_of(c->w));
	case MADV_COLD:
	case MADV_PAGEOUT: return locked ? -EINVAL : 0;
	case MADV_DONTFORK: p.flags |= PAGE_DONTFORK; break;
	case MADV_DOFORK: p.flags &= (u8)~PAGE_DONTFORK; break;
	case MADV_WIPEONFORK:
		if (m->obj)
			return -EINVAL;
		p.flags |= PAGE_WIPE;
		break;
	case MADV_KEEPONFORK: p.flags &= (u8)~PAGE_WIPE; break;
	case MADV_HUGEPAGE: p.flags = (u8)((p.flags & ~PAGE_NOHUGE) | PAGE_HUGE); break;
	case MADV_NOHUGEPAGE: p.flags = (u8)((p.flags & ~PAGE_HUGE) | PAGE_NOHUGE); break;
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		code = populate(m, 1, false, c->advice == MADV_POPULATE_WRITE);
		return code & FAULT_BUS ? -EFAULT : code ? -EINVAL : 0;
	}
	if (memcmp(&p, m, sizeof(p)))
		set_page(m, p);
	return 0;
}

static bool explain_madvise(struct call *c)
{
	bool stops = c->advice == MADV_POPULATE_READ || c->advice == MADV_POPULATE_WRITE;
	struct page *m = pages(c);
	int expect = 0, hole = 0;

	if (c->advice == MADV_MERGEABLE || c->advice == 12345) {
		want(c->ret == -EINVAL, "madvise(%d): %ld", c->advice, c->ret);
		return true;
	}
	for (u64 i = 0; i < c->n && !expect; i++)
		if (m[i].mapped)
			expect = advise_page(c, &m[i]);
		else if (stops)
			expect = -ENOMEM;
		else
			hole = -ENOMEM;
	if (!expect)
		expect = hole;
	want(c->ret == expect, "madvise(%d): %ld, expected %d", c->advice, c->ret, expect);
	return true;
}

/* Page i of the region that begins with `first`, untouched. */
static struct page fresh(struct page first, u64 i, u64 step)
{
	first = emptied(first);
	if (first.obj)
		first.index += (u32)(i * step);
	return first;
}

/* n pages move to a place for n2. to NULL: outside of the windows. */
static void move_pages(struct page *from, u64 n, struct page *to, u64 n2, u64 step, bool keep)
{
	struct page first = *from;

	for (u64 i = 0; to && i < n2; i++)
		set_page(&to[i], i < n ? from[i] : fresh(first, i, step));
	for (u64 i = 0; i < n; i++)
		set_page(&from[i], keep ? emptied(from[i]) : (struct page){ 0 });
}

/* New pages of a locked region are there at once. */
static void populate_new(const struct call *c, struct page *m, u64 n, u64 n2)
{
	if (m && n2 > n && (m[n].flags & PAGE_LOCKED) && !c->p->future)
		populate(m + n, n2 - n, true, false);
}

static bool explain_mremap_fixed(struct call *c)
{
	u64 step = step_of(c->w), n = c->n;
	struct page *m = pages(c), *to = &c->p->w[c->w][c->to];

	if (c->at + n > c->to && c->to + c->n2 > c->at) {
		want(c->ret == -EINVAL, "mremap onto itself: %ld", c->ret);
		return true;
	}
	if (!m->mapped) {
		want(c->ret == -EFAULT, "mremap of a hole: %ld", c->ret);
		return true;
	}
	if (n > c->n2) {
		clear_pages(m + c->n2, n - c->n2);
		n = c->n2;
	}
	if (!pages_uniform(m, n, step)) {
		want(c->ret == -EFAULT, "mremap of several regions: %ld", c->ret);
		return true;
	}
	want(c->ret == (s64)page_va(c->w, c->to), "mremap fixed: %ld", c->ret);
	move_pages(m, n, to, c->n2, step, false);
	populate_new(c, to, n, c->n2);
	return true;
}

/* old_len 0: the shared object a second time. */
static bool explain_duplicate(struct call *c)
{
	struct page *m = pages(c);
	u64 len = c->n2 * windows[c->w].unit;
	int w;

	if (!m->mapped || !m->shared) {
		want(c->ret == (m->mapped ? -EINVAL : -EFAULT), "mremap from 0: %ld", c->ret);
		return true;
	}
	if (!(c->flags & MREMAP_MAYMOVE)) {
		want(c->ret == -ENOMEM, "mremap from 0 in place: %ld", c->ret);
		return true;
	}
	if (!explain_place(c, (u64)c->ret, len))
		return false;
	w = window_of((u64)c->ret, len);
	for (u64 i = 0; !is_outside(c, (u64)c->ret, len) && i < len / PAGE_SIZE; i++) {
		struct page p = fresh(*m, i, 1);

		p.flags &= PAGE_LOCKED;
		if (c->p->future)
			p.flags |= PAGE_LOCKED;
		set_page(&c->p->w[w][((u64)c->ret - windows[w].base) / PAGE_SIZE + i], p);
	}
	return true;
}

static bool explain_move(struct call *c)
{
	u64 len = c->n2 * windows[c->w].unit, step = step_of(c->w);
	struct page *to = NULL;
	int w;

	if (!explain_place(c, (u64)c->ret, len))
		return false;
	w = window_of((u64)c->ret, len);
	if (!is_outside(c, (u64)c->ret, len)) {
		want(step == 1, "in window %d", w);
		to = &c->p->w[w][((u64)c->ret - windows[w].base) / PAGE_SIZE];
	}
	move_pages(pages(c), c->n, to, c->n2, step, c->flags & MREMAP_DONTUNMAP);
	populate_new(c, to, c->n, c->n2);
	return true;
}

static bool explain_mremap(struct call *c)
{
	u64 step = step_of(c->w), n = c->n, n2 = c->n2;
	struct page *m = pages(c);

	if (n == 0)
		return explain_duplicate(c);
	if (c->flags & MREMAP_FIXED)
		return explain_mremap_fixed(c);
	if (!m->mapped ||
	    (!pages_uniform(m, n, step) && (n2 > n || (c->flags & MREMAP_DONTUNMAP)))) {
		want(c->ret == -EFAULT, "mremap of a hole or several regions: %ld", c->ret);
		return true;
	}
	if (c->flags & MREMAP_DONTUNMAP)
		return explain_move(c);
	if (n2 <= n) {
		want(c->ret == (s64)page_va(c->w, c->at), "mremap shrinks: %ld", c->ret);
		clear_pages(m + n2, n - n2);
		return true;
	}
	if (none_mapped(m + n, n2 - n)) {
		want(c->ret == (s64)page_va(c->w, c->at), "mremap grows: %ld", c->ret);
		for (u64 i = n; i < n2; i++)
			set_page(&m[i], fresh(*m, i, step));
		populate_new(c, m, n, n2);
		return true;
	}
	if (!c->flags) {
		want(c->ret == -ENOMEM, "mremap without a place: %ld", c->ret);
		return true;
	}
	return explain_move(c);
}

static bool explain_brk(struct call *c)
{
	struct proc *p = c->p;
	const struct window *w = &windows[W_BRK];
	u64 wish = w->base + c->n;
	u64 from = (ALIGN_UP(p->brk, PAGE_SIZE) - w->base) / PAGE_SIZE;
	u64 to = (ALIGN_UP(wish, PAGE_SIZE) - w->base) / PAGE_SIZE;
	struct call as_mmap = { .p = p,
				.prot = PROT_READ | PROT_WRITE,
				.flags = MAP_PRIVATE | MAP_ANONYMOUS };

	/* Linux wants one page more. */
	if (to > from && !none_mapped(&p->w[W_BRK][from], MIN(to + 1, w->n) - from)) {
		want(c->ret == (s64)p->brk, "brk over a mapping: %#lx", c->ret);
		return true;
	}
	want(c->ret == (s64)wish, "brk(%#lx): %#lx", wish, c->ret);
	if (to > from)
		map_pages(&as_mmap, &p->w[W_BRK][from], to - from, 1);
	else
		clear_pages(&p->w[W_BRK][to], from - to);
	set_long(&p->brk, wish);
	return true;
}

/* Sets or clears PAGE_LOCKED up to the first hole. False: there is one. */
static bool lock_pages(struct page *m, u64 n, bool set)
{
	for (u64 i = 0; i < n; i++) {
		struct page p = m[i];

		if (!p.mapped)
			return false;
		p.flags = set ? p.flags | PAGE_LOCKED : p.flags & (u8)~PAGE_LOCKED;
		if (p.flags != m[i].flags)
			set_page(&m[i], p);
	}
	return true;
}

static void lock_all(struct proc *p, bool set)
{
	for (unsigned w = 0; w < WINDOWS; w++)
		for (u64 i = 0; i < windows[w].n; i++)
			if (p->w[w][i].mapped)
				lock_pages(&p->w[w][i], 1, set);
}

static bool explain_mlock(struct call *c)
{
	struct page *m = pages(c);
	int expect = 0;

	switch (c->advice) {
	case 0:
	case 1:
		if (!lock_pages(m, c->n, true) || populate(m, c->n, true, false))
			expect = -ENOMEM;
		break;
	case 2:
	case 3: expect = lock_pages(m, c->n, false) ? 0 : -ENOMEM; break;
	case 4: expect = lock_pages(m, c->n, true) ? 0 : -ENOMEM; break;
	case 5:
		c->p->future = 0;
		lock_all(c->p, true);
		break;
	case 6: c->p->future = 1; break;
	default: c->p->future = 0; lock_all(c->p, false);
	}
	want(c->ret == expect, "mlock (%d): %ld, expected %d", c->advice, c->ret, expect);
	return true;
}

static bool explain_mincore(struct call *c)
{
	struct page *m = pages(c);

	for (u64 i = 0; i < c->n; i++) {
		if (!m[i].mapped) {
			want(c->ret == -ENOMEM, "mincore over a hole: %ld", c->ret);
			return true;
		}
		want(c->core[i] <= 1, "mincore: %u", c->core[i]);
		want(c->core[i] || !(m[i].own || (!m[i].obj && m[i].tag)),
		     "mincore: page %lu was written, but is not there", i);
	}
	want(c->ret == 0, "mincore: %ld", c->ret);
	return true;
}

static bool explain_msync(struct call *c)
{
	struct page *m = pages(c);
	int expect = 0;

	if ((c->flags & MS_ASYNC) && (c->flags & MS_SYNC))
		expect = -EINVAL;
	for (u64 i = 0; i < c->n && expect != -EINVAL; i++) {
		if (!m[i].mapped) {
			expect = -ENOMEM;
		} else if ((c->flags & MS_INVALIDATE) && (m[i].flags & PAGE_LOCKED)) {
			expect = -EBUSY;
			break;
		}
	}
	want(c->ret == expect, "msync: %ld, expected %d", c->ret, expect);
	return true;
}

static struct page forked_page(struct page p)
{
	if (p.flags & PAGE_DONTFORK)
		return (struct page){ 0 };
	if (p.flags & PAGE_WIPE)
		p = emptied(p);
	p.flags &= (u8)~PAGE_LOCKED;
	return p;
}

static bool explain_fork(struct call *c)
{
	struct proc *child = c->child;

	want(c->ret == 0, "fork: %ld", c->ret);
	set_as(&child->as, c->space);
	set_long(&child->brk, c->p->brk);
	for (unsigned w = 0; w < WINDOWS; w++)
		for (u64 i = 0; i < windows[w].n; i++)
			if (c->p->w[w][i].mapped || child->w[w][i].mapped)
				set_page(&child->w[w][i], forked_page(c->p->w[w][i]));
	return true;
}

/* A file becomes shorter: its pages go, private copies of them, too. */
static bool explain_truncate(struct call *c)
{
	unsigned obj = c->obj + 1;

	for (unsigned k = 0; k < MAX_PROCS; k++)
		for (unsigned w = 0; procs[k].as && w < WINDOWS; w++)
			for (u64 i = 0; i < windows[w].n; i++) {
				struct page *m = &procs[k].w[w][i];

				if (m->obj == obj && m->own && m->index >= c->n2)
					set_page(m, emptied(*m));
			}
	for (u64 i = c->n2; i < FILE_PAGES; i++)
		set_word(&obj_tag[obj][i], 0);
	set_long(&obj_pages[obj], c->n2);
	return true;
}

static void write_page(struct page *m, u32 tag)
{
	struct page p = *m;

	if (p.obj && p.shared) {
		set_word(&obj_tag[p.obj][p.index], tag);
		return;
	}
	p.tag = tag;
	p.own = p.obj != 0;
	set_page(m, p);
}

static bool explain_access(struct call *c)
{
	struct page *m = pages(c);
	int expect = page_fault_code(m, c->access);
	bool outside = c->kind == CALL_OUTSIDE;
	bool ok = outside ? c->ret == (s64)PAGE_SIZE : c->ret == 0;

	if (outside)
		want(c->ret == (expect ? -EFAULT : (s64)PAGE_SIZE),
		     "outside access %d: %ld, expected fault %#x", c->access, c->ret, expect);
	else
		want(c->ret == expect, "access %d: %#lx, expected %#x (prot %u)", c->access, c->ret,
		     expect, m->prot);
	if (!ok)
		return true;
	if (!(outside && c->access == FAULT_WRITE))
		want(c->seen == page_tag(m) && c->seen_last == page_tag(m),
		     "access %d: content %u, %u, expected %u", c->access, c->seen, c->seen_last,
		     page_tag(m));
	if (c->access == FAULT_WRITE)
		write_page(m, c->tag);
	return true;
}

bool call_explain(struct call *c)
{
	if (c->failed_alloc)
		return true; /* nothing happened */
	switch (c->kind) {
	case CALL_MMAP: return explain_mmap(c);
	case CALL_MUNMAP:
		clear_pages(pages(c), c->n);
		want(c->ret == 0, "munmap: %ld", c->ret);
		return true;
	case CALL_MPROTECT: return explain_mprotect(c);
	case CALL_MADVISE: return explain_madvise(c);
	case CALL_MREMAP: return explain_mremap(c);
	case CALL_BRK: return explain_brk(c);
	case CALL_MLOCK: return explain_mlock(c);
	case CALL_MINCORE: return explain_mincore(c);
	case CALL_MSYNC: return explain_msync(c);
	case CALL_FORK: return explain_fork(c);
	case CALL_EXIT: set_as(&c->p->as, NULL); return true;
	case CALL_TRUNCATE: return explain_truncate(c);
	case CALL_TOUCH:
	case CALL_OUTSIDE: return explain_access(c);
	default: return true;
	}
}

/* ---- text ------------------------------------------------------------------------------------ */

const char *call_text(const struct call *c)
{
	static const char *const names[CALL_KINDS] = {
		"mmap",  "munmap", "mprotect", "madvise",  "mremap", "brk",     "mlock", "mincore",
		"msync", "fork",   "exit",     "truncate", "touch",  "outside", "wrong",
	};
	static char text[512];

	snprintf(text, sizeof(text),
		 "CPU %u process %u %s(window %u page %ld n %lu va %#lx; prot %d flags %#x obj %u "
		 "offset %#lx advice %d n2 %lu to %lu access %d tag %u child %ld fail at %lu) = "
		 "%#lx%s, seen %u %u",
		 c->cpu, (unsigned)(c->p - procs), names[c->kind], c->w, (long)c->at, c->n,
		 c->at == UINT64_MAX ? 0 : page_va(c->w, c->at), c->prot, c->flags, c->obj,
		 c->offset, c->advice, c->n2, c->to, c->access, c->tag,
		 c->child ? c->child - procs : -1l, c->fail_at, c->ret,
		 c->failed_alloc ? " (injected)" : "", c->seen, c->seen_last);
	return text;
}

/*
 * Records become calls: what is called, with which arguments (tests/mm/mm.h). Mostly what makes sense
 * where something is mapped; now and then anything.
 */
#include <string.h>

#include "lib/uapi/mman.h"
#include "mm/pt.h"
#include "mm/space.h"
#include "tests/mm/mm.h"

#define GROUP_MOST 15 /* pages that one of several calls puts where there is room */

bool call_concurrent;

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

/* ---- calls ----------------------------------------------------------------------------------- */

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
		if (one_in(10))
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
	if (windows[c->w].unit > PAGE_SIZE || c->n > 40)
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
	if (call_concurrent)
		c->n = MIN(c->n, (u64)GROUP_MOST);
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
	if (one_in(3)) {
		c->flags = MREMAP_MAYMOVE | MREMAP_FIXED;
		c->n2 = MIN(c->n2, win->n);
		if (one_in(4)) {
			c->flags |= MREMAP_DONTUNMAP;
			c->n2 = c->n;
		}
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
	c->advice = advices[choose(ARRAY_SIZE(advices))];
	if (call_concurrent) {
		if (one_in(3) || !call_may_be_stepped(c))
			c->advice = MADV_DONTNEED;
		return;
	}
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
	if ((p->w[w][at].flags & PAGE_GROWSDOWN) && one_in(2)) /* or below what grows */
		at -= MIN(at, choose(40));
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

/* RLIMIT_AS, RLIMIT_DATA, RLIMIT_MEMLOCK: a little above what there is, now and then below, or none. */
static void choose_limit(struct call *c)
{
	static const enum vm_limit which[] = { VM_LIMIT_AS, VM_LIMIT_DATA, VM_LIMIT_LOCK };
	struct vm_totals t;

	c->kind = CALL_LIMIT;
	c->advice = which[choose(ARRAY_SIZE(which))];
	c->len = UINT64_MAX;
	if (one_in(2))
		return;
	model_totals(c->p, &t);
	c->len = c->advice == VM_LIMIT_AS   ? t.mapped :
		 c->advice == VM_LIMIT_DATA ? t.data :
					      t.locked;
	c->len += choose(one_in(2) ? 200 : 20) * PAGE_SIZE + choose(3) * 1000;
	if (one_in(6))
		c->len = choose(c->len + 1);
	if (c->advice == VM_LIMIT_LOCK && one_in(4))
		c->len = 0;
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
	    c->kind == CALL_EXIT || c->kind == CALL_MINCORE || c->kind == CALL_LIMIT ||
	    (c->kind == CALL_MMAP && (c->flags & (MAP_LOCKED | MAP_POPULATE))) ||
	    (c->kind == CALL_MREMAP && (c->n2 < c->n || c->n == 0 || c->p->as->locked ||
					((c->flags & MREMAP_DONTUNMAP) && is_limited(c->p)))) ||
	    (c->kind == CALL_MPROTECT && c->p->limit[VM_LIMIT_DATA] != UINT64_MAX) ||
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
	} else if (what < 84) {
		choose_limit(c);
	} else {
		choose_touch(c);
	}
	c->access = choose_access();
	if (c->kind == CALL_OUTSIDE && c->access == FAULT_EXEC)
		c->access = FAULT_READ;
	choose_failure(c);
}

/*
 * Is there room near the top for what a group may put there? Else something could reach out of the
 * window, and be seen by others before it is unmapped.
 */
static bool room_at_top(const struct proc *p)
{
	const struct window *w = &windows[W_TOP];
	u64 end = READ_ONCE(p->as->gap.end), need = 8 * MAX_CPUS * GROUP_MOST;

	return none_mapped(p->w[W_TOP], need) &&
	       (end <= w->base || end >= w->base + need * PAGE_SIZE);
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
	} else if (what < 19 && one_in(2)) {
		static const int which[] = { 0, 0, 3, 3, 4, 4, 5, 6, 7 };

		c->kind = CALL_MLOCK; /* mlock, munlock, mlock2(ONFAULT), now and then of all */
		c->advice = which[choose(ARRAY_SIZE(which))];
	} else if (what < 19 || (w == W_BRK && one_in(3))) {
		c->kind = CALL_BRK;
		c->n = w == W_BRK ? (c->at + c->n) * PAGE_SIZE - choose(2 * PAGE_SIZE) :
				    choose((windows[W_BRK].n - 1) * PAGE_SIZE);
		c->n = MIN(c->n, (windows[W_BRK].n - 1) * PAGE_SIZE);
	} else if (what < 20) {
		choose_fork(c); /* the group looks for a child */
	} else if (what < 21) {
		c->kind = CALL_EXIT;
	} else if (what < 22) {
		c->kind = CALL_OUTSIDE;
		c->n = 1;
	} else if (what < 23) {
		c->kind = one_in(2) ? CALL_MSYNC : CALL_MINCORE;
		c->flags = (int)choose(8);
	} else {
		c->kind = CALL_TOUCH;
		c->n = 1;
	}
	/* What does not fit the window goes elsewhere, and away again: others would see it. */
	if (c->kind == CALL_MMAP && c->at != UINT64_MAX && windows[c->w].unit > PAGE_SIZE)
		c->flags |= MAP_FIXED;
	if ((c->kind == CALL_MREMAP && !(c->flags & MREMAP_FIXED) && c->n2 >= c->n &&
	     (c->n2 > GROUP_MOST || windows[c->w].unit > PAGE_SIZE)) ||
	    ((c->kind == CALL_MREMAP || c->kind == CALL_MMAP) && !room_at_top(p))) {
		c->kind = CALL_TOUCH;
		c->w = w;
		c->at = at;
		c->n = 1;
	}
	c->access = choose_access();
	if (c->kind == CALL_OUTSIDE && c->access == FAULT_EXEC)
		c->access = FAULT_READ;
}

/*
 * Themes: what a group is about (group.c), so that it happens: the one call that does it, what must be there before, and
 * the calls that would tell.
 */
#include "lib/uapi/mman.h"
#include "tests/mm/group.h"

/*
 * A file is cut while one of its pages is touched. That is not one step: first the file has no such
 * page any more, then it goes from where it is mapped. Who touches it a first time at one place
 * cannot tell the two apart; so it is touched once by each of two other CPUs. False: a limit forbids to map it.
 */
static bool add_truncate(struct proc *p, unsigned w, u64 at)
{
	const struct page *m = &p->w[w][at];
	struct call map = { .kind = CALL_MMAP,
			    .p = p,
			    .w = w,
			    .at = at,
			    .n = 1,
			    .len = windows[w].unit,
			    .prot = PROT_READ | PROT_WRITE,
			    .flags = MAP_FIXED | (choose(2) ? MAP_SHARED : MAP_PRIVATE),
			    .obj = 1 + (unsigned)choose(MAX_FILES),
			    .offset = choose(8) * PAGE_SIZE };
	struct call forget = {
		.kind = CALL_MADVISE, .p = p, .w = w, .at = at, .n = 1, .advice = MADV_DONTNEED
	};
	struct call ask = { .kind = CALL_MSYNC, .p = p, .w = w, .at = at, .n = 1 };
	struct call cut = { .kind = CALL_TRUNCATE, .p = p, .w = w, .at = at };

	if (!m->obj || m->obj > MAX_FILES)
		group_call_before(&map, 0);
	else if (choose(2)) /* the touches will ask the file for it */
		group_call_before(&forget, 0);
	if (!m->obj || m->obj > MAX_FILES)
		return false;
	if (choose(2)) /* and may have asked when it is cut */
		group_add(&ask, 0);
	cut.obj = m->obj - 1u;
	cut.n2 = MIN(choose(m->index + 3ul), (u64)FILE_PAGES);
	group_add(&cut, 0);
	for (unsigned k = 0; k < MAX_PROCS; k++)
		group.used[k] = procs[k].as != NULL;
	return true;
}

/* More than 200 pages that are one region, some of them written, move to where something may be. */
static bool add_move(struct proc *p, unsigned w, u64 at, u64 n, unsigned cpu)
{
	struct call map = { .kind = CALL_MMAP,
			    .p = p,
			    .w = w,
			    .at = at,
			    .n = n,
			    .len = n * windows[w].unit,
			    .prot = PROT_READ | PROT_WRITE,
			    .flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS };
	struct call move = { .kind = CALL_MREMAP,
			     .cpu = cpu,
			     .p = p,
			     .w = w,
			     .at = at,
			     .n = n,
			     .n2 = n,
			     .flags = MREMAP_MAYMOVE | MREMAP_FIXED };
	u64 below = at >= n ? at - n + 1 : 0,
	    above = windows[w].n >= at + 2 * n ? windows[w].n - at - 2 * n + 1 : 0;

	if (n <= 200 || below + above == 0)
		return false;
	group_call_before(&map, 0);
	for (unsigned i = 0; i < 8; i++) {
		struct call touch = { .kind = CALL_TOUCH,
				      .p = p,
				      .w = w,
				      .at = at + choose(choose(2) ? n : 4),
				      .n = 1,
				      .access = FAULT_WRITE };

		group_call_before(&touch, (unsigned)choose(mm_cpus));
	}
	move.to = choose(below + above);
	move.to += move.to < below ? 0 : at + n - below;
	switch (choose(4)) {
	case 0: move.flags |= MREMAP_DONTUNMAP; break;
	case 1: move.n2 -= choose(n - 200); break;
	}
	if (!group_fits(&move))
		return false;
	group_add(&move, cpu);
	return true;
}

/*
 * mlockall or munlockall, which change all regions in one step, of which there are many here; the calls beside ask two of
 * them one after the other.
 */
#define LOCKS_PAGES 16ul /* each a region of its own */
#define LOCKS_RANGE                                                                                \
	3ul /* of those that take several steps for each: the search is to have an end */

static bool add_lock_all(struct proc *p, unsigned w, u64 at, unsigned cpu, unsigned *group_w,
			 u64 *group_at)
{
	struct call map = { .kind = CALL_MMAP,
			    .p = p,
			    .w = w,
			    .n = 1,
			    .len = windows[w].unit,
			    .flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS };
	struct call all = { .kind = CALL_MLOCK, .p = p, .cpu = cpu, .advice = choose(3) ? 5 : 7 };

	if (windows[w].unit != PAGE_SIZE || at + LOCKS_PAGES > windows[w].n || group.injected)
		return false;
	for (u64 i = 0; i < LOCKS_PAGES; i++) {
		map.at = at + i;
		map.prot = i % 2 ? PROT_READ : PROT_READ | PROT_WRITE;
		group_call_before(&map, 0);
	}
	group_lock_before(p, w, at, LOCKS_PAGES);
	if (!group_fits(&all))
		return false;
	group_add(&all, cpu);
	*group_w = w;
	*group_at = at;
	return true;
}

/* A call that says of a page whether it is locked, of one after the other; or changes some. */
static void ask_lock(struct call *c, struct proc *p, unsigned w, u64 at)
{
	u64 i = choose(4) ? 5 * group.lane[c->cpu].n : choose(LOCKS_PAGES);

	*c = (struct call){ .cpu = c->cpu, .p = p, .w = w, .at = at + i % LOCKS_PAGES, .n = 1 };
	switch (choose(4)) {
	case 0:
	case 1:
		c->kind = CALL_MSYNC;
		c->flags = MS_INVALIDATE;
		break;
	case 2:
		c->kind = CALL_MADVISE;
		c->advice = MADV_COLD;
		break;
	default:
		c->kind = CALL_MLOCK;
		c->advice = choose(2) ? 3 : 4;
		c->n = MIN(at + LOCKS_PAGES - c->at, LOCKS_RANGE);
	}
}

/* Pages whose rights will be exchanged, which some CPUs know. */
static bool map_rights(struct proc *p, unsigned w, u64 at, u64 n)
{
	struct call map = { .kind = CALL_MMAP,
			    .p = p,
			    .w = w,
			    .at = at,
			    .n = n,
			    .len = n * windows[w].unit,
			    .prot = PROT_READ | (choose(2) ? PROT_WRITE : PROT_EXEC),
			    .flags = MAP_FIXED | (choose(2) ? MAP_SHARED : MAP_PRIVATE) };

	if (n > FILE_PAGES && !(map.flags & MAP_PRIVATE))
		return false;
	map.obj = map.flags & MAP_PRIVATE ? 0 : 1 + (unsigned)choose(MAX_FILES);
	if (!map.obj)
		map.flags |= MAP_ANONYMOUS;
	group_call_before(&map, 0);
	for (unsigned cpu = 0; cpu < mm_cpus; cpu++) {
		struct call touch = { .kind = CALL_TOUCH,
				      .p = p,
				      .w = w,
				      .at = at,
				      .n = 1,
				      .tag = ++next_tag,
				      .access = map.prot & PROT_WRITE ? FAULT_WRITE : FAULT_EXEC };

		if (choose(2))
			group_call_before(&touch, cpu);
	}
	return true;
}

/* One right for another, or a use of either. */
static void use_rights(struct call *c, struct proc *p, unsigned w, u64 at, u64 n)
{
	unsigned cpu = c->cpu;

	*c = (struct call){ .kind = CALL_TOUCH, .cpu = cpu, .p = p, .w = w, .n = 1, .tag = c->tag };
	c->at = at + (choose(4) == 0 ? choose(n) : 0);
	c->access = choose(2) ? FAULT_WRITE : FAULT_EXEC;
	if (choose(3))
		return;
	c->kind = CALL_MPROTECT;
	c->at = at;
	c->n = n;
	c->prot = PROT_READ | (choose(2) ? PROT_WRITE : PROT_EXEC);
}

/* Pages of an object, of which some will be removed, at two places: of a file; or shared with a child. */
static bool map_removed(struct proc *p, unsigned w, u64 at, u64 *n)
{
	struct call map = { .kind = CALL_MMAP,
			    .p = p,
			    .w = w,
			    .at = at,
			    .prot = PROT_READ | PROT_WRITE,
			    .flags = MAP_FIXED | MAP_SHARED,
			    .obj = 1 + (unsigned)choose(MAX_FILES),
			    .offset = choose(8) * PAGE_SIZE };
	bool child = choose(2) && nr_objs < MAX_OBJS;

	*n = MIN(*n, 3ul);
	if (windows[w].unit != PAGE_SIZE || at + 2 * *n > windows[w].n || group.injected)
		return false;
	map.n = *n;
	map.len = map.n * PAGE_SIZE;
	if (child) {
		map.obj = 0;
		map.offset = 0;
		map.anon_obj = new_obj(map.n);
		map.flags |= MAP_ANONYMOUS;
		group_call_before(&map, 0);
		group_warm_up(p, w, at, *n);
		group_fork_before(p);
		return true;
	}
	group_call_before(&map, 0);
	map.at += map.n;
	if (choose(4) == 0)
		map.flags ^= MAP_SHARED ^ MAP_PRIVATE;
	group_call_before(&map, 0);
	*n *= 2;
	if (choose(2)) /* else the touches will ask the object */
		group_warm_up(p, w, at, *n);
	return true;
}

/* Some of them, or an access to one. */
static void use_removed(struct call *c, struct proc *p, unsigned w, u64 at, u64 n)
{
	struct proc *by = &procs[choose(MAX_PROCS)];

	if (!by->as || choose(3) == 0)
		by = p;
	*c = (struct call){
		.kind = CALL_TOUCH, .cpu = c->cpu, .p = by, .w = w, .n = 1, .tag = c->tag
	};
	c->at = at + choose(n);
	c->access = choose(2) ? FAULT_WRITE : FAULT_READ;
	if (choose(4))
		return;
	c->kind = CALL_MADVISE;
	c->advice = MADV_REMOVE;
	c->n = choose(at + n - c->at) + 1;
}

/* The call that the theme is about. */
enum theme theme_begin(struct proc *p, unsigned *w, u64 *at, u64 *n)
{
	enum theme theme = (enum theme)choose(THEMES);
	unsigned cpu = (unsigned)choose(mm_cpus);
	struct call fork = { .kind = CALL_FORK, .p = p, .cpu = cpu };

	if (theme == CUTS && !add_truncate(p, *w, *at))
		theme = TOUCHES;
	if (theme == MOVES && !add_move(p, *w, *at, *n, cpu))
		theme = ANYTHING;
	if (theme == RIGHTS && !map_rights(p, *w, *at, *n))
		theme = TOUCHES;
	if (theme == REMOVES && !map_removed(p, *w, *at, n))
		theme = TOUCHES;
	if (theme == LOCKS) /* mostly at the lowest addresses, to which it comes first */
		theme = (choose(4) && add_lock_all(p, W_BRK, choose(16), cpu, w, at)) ||
					add_lock_all(p, *w, *at, cpu, w, at) ?
				LOCKS :
				ANYTHING;
	if (theme == LOCKS)
		*n = MIN(*n, LOCKS_RANGE);
	if (theme == FORKS) {
		group_make_room(p);
		if (group_fits(&fork))
			group_add(&fork, cpu);
	}
	return theme;
}

/* Makes c, any call, one that the theme is about, mostly. False: the theme has no place for it. */
bool theme_suits(struct call *c, enum theme theme, struct proc *p, unsigned w, u64 at, u64 n)
{
	if (theme == REMOVES && choose(4))
		use_removed(c, p, w, at, n);
	if (theme == RIGHTS && choose(4))
		use_rights(c, p, w, at, n);
	if (theme == LOCKS && choose(4))
		ask_lock(c, p, w, at);
	if (group.moves && c->kind == CALL_TOUCH && c->p == group.moves->p &&
	    c->w == group.moves->w && c->at >= group.moves->at &&
	    c->at < group.moves->at + MIN(group.moves->n, group.moves->n2) && choose(2))
		c->at = group.moves->to + (c->at - group.moves->at);
	return theme != CUTS || (c->p == p && (c->kind == CALL_TOUCH || c->kind == CALL_OUTSIDE) &&
				 !group.lane[c->cpu].n && group.n <= group.lane[0].n + 1);
}

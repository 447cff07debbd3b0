/*
 * Groups: a place in a process, what is there before, some calls on each CPU, all of them at the same time. Then order.c
 * says whether there is an order that explains what they did. What a group is about beside its place: theme.c.
 */
#include <string.h>

#include "mm/pt.h"
#include "tests/mm/group.h"

#define LATE_MOST 4000

struct group group;

static void set_up(struct proc **p, unsigned *w, u64 *at, u64 *n)
{
	static const u64 sizes[] = { 1, 2, 2, 3, 4, 4, 8, 8, 20, 600 };
	static const unsigned places[] = { W_PAGES, W_PAGES, W_PAGES, W_LARGE, W_TOP, W_BRK };

	memset(&group, 0, sizeof(group));
	*p = &procs[choose(MAX_PROCS)];
	proc_start(*p);
	*w = places[choose(ARRAY_SIZE(places))];
	*n = sizes[choose(ARRAY_SIZE(sizes))];
	if (choose(2) && (*p)->hot_n)
		*w = (*p)->hot_w;
	*n = MIN(*n, windows[*w].n);
	*at = choose(windows[*w].n - *n + 1);
	if (*w == (*p)->hot_w && (*p)->hot_n && choose(4))
		*at = MIN((*p)->hot_at, windows[*w].n - *n);
	else if (choose(4) == 0) /* across the border of two tables */
		*at = MIN(ALIGN_DOWN(*at, 512) + 512 - (windows[*w].base / windows[*w].unit) % 512 -
				  *n / 2,
			  windows[*w].n - *n);
	if (choose(4)) /* where something is */
		while (*at + *n < windows[*w].n && !(*p)->w[*w][*at].mapped)
			(*at)++;
	(*p)->hot_w = *w;
	(*p)->hot_at = *at;
	(*p)->hot_n = *n;
}

/* A call before the others, by itself. */
void group_call_before(struct call *c, unsigned cpu)
{
	unsigned me = host_cpu;

	call_concurrent = false;
	host_cpu = c->cpu = cpu;
	call_alone(c);
	host_cpu = me;
	call_concurrent = true;
}

/* Some CPUs know what is there before it changes: they have read it, or read ahead. */
void group_warm_up(struct proc *p, unsigned w, u64 at, u64 n)
{
	bool writes = choose(4) == 0;

	for (unsigned cpu = 0; cpu < mm_cpus; cpu++) {
		if (choose(3) == 0)
			continue;
		for (u64 i = 0; i < MIN(n, 4ul); i++) {
			struct call c = { .kind = CALL_TOUCH,
					  .p = p,
					  .w = w,
					  .at = at + i,
					  .n = 1,
					  .access =
						  writes && choose(2) ? FAULT_WRITE : FAULT_READ };

			if (choose(4))
				group_call_before(&c, cpu);
		}
	}
}

/* A place for a child: a process that is not p ends. */
struct proc *group_make_room(const struct proc *p)
{
	struct proc *child = &procs[choose(MAX_PROCS)];

	if (child == p)
		child = &procs[(child - procs + 1) % MAX_PROCS];
	if (child->as)
		proc_end(child);
	return child;
}

/* So that what p writes is somebody else's, too. */
void group_fork_before(struct proc *p)
{
	struct call c = { .kind = CALL_FORK, .p = p, .child = group_make_room(p) };

	group_call_before(&c, (unsigned)choose(mm_cpus));
}

/* A stack at the end of the place, so that accesses make it grow. */
static void stack_before(struct proc *p, unsigned w, u64 at, u64 n)
{
	struct call c = { .kind = CALL_MMAP,
			  .p = p,
			  .w = w,
			  .at = at + n - 1,
			  .n = 1,
			  .len = PAGE_SIZE,
			  .prot = PROT_READ | PROT_WRITE,
			  .flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN };
	struct call unmap = { .kind = CALL_MUNMAP, .p = p, .w = w, .at = at, .n = n };

	group_call_before(&unmap, 0);
	group_call_before(&c, 0);
}

/* Something has been locked here, and may be again. */
void group_lock_before(struct proc *p, unsigned w, u64 at, u64 n)
{
	struct call c = {
		.kind = CALL_MLOCK, .p = p, .w = w, .at = at, .n = n, .advice = choose(2) ? 3 : 4
	};

	group_call_before(&c, 0);
}

/* Room for a few pages more. */
static struct call choose_room(struct proc *p, enum vm_limit which)
{
	struct call c = { .kind = CALL_LIMIT, .p = p, .advice = which };
	struct vm_totals t;

	model_totals(p, &t);
	c.len = which == VM_LIMIT_AS   ? t.mapped :
		which == VM_LIMIT_DATA ? t.data :
		which == VM_LIMIT_LOCK ? t.locked :
					 0;
	c.len += choose(which == VM_LIMIT_STACK ? 50 : 4) * PAGE_SIZE;
	return c;
}

static void limit_before(struct proc *p)
{
	static const enum vm_limit which[] = { VM_LIMIT_AS, VM_LIMIT_DATA, VM_LIMIT_LOCK };
	struct call c = choose_room(p, which[choose(ARRAY_SIZE(which))]);

	group_call_before(&c, 0);
}

/*
 * A limit to be set beside the calls that it concerns: as before, or no more. Of 0 for locked memory two looks at it would
 * tell two things (EPERM, ENOMEM), as on Linux: not that.
 */
static void choose_limit_beside(struct proc *p)
{
	static const enum vm_limit which[] = { VM_LIMIT_AS, VM_LIMIT_DATA, VM_LIMIT_LOCK,
					       VM_LIMIT_STACK };

	group.limit = choose_room(p, which[choose(ARRAY_SIZE(which))]);
	group.other_limit = p->limit[group.limit.advice];
	if (group.limit.advice == VM_LIMIT_LOCK)
		group.limit.len += PAGE_SIZE;
	if (choose(4) == 0 && group.limit.advice != VM_LIMIT_STACK)
		group.limit.len = UINT64_MAX;
}

/* What brings about what a group is to see. */
static void prepare(struct proc *p, unsigned w, u64 at, u64 n)
{
	if (windows[w].unit == PAGE_SIZE && n > 1 && n <= 20 && choose(6) == 0)
		stack_before(p, w, at, n);
	if (windows[w].unit == PAGE_SIZE && choose(6) == 0)
		group_lock_before(p, w, at, n);
	if (choose(6) == 0)
		limit_before(p);
}

static struct proc *unused_proc(void)
{
	for (unsigned k = 0; k < MAX_PROCS; k++)
		if (!procs[k].as && !group.used[k])
			return &procs[k];
	return NULL;
}

/* A process for the call beside the group's own; a relative, mostly. */
static struct proc *choose_proc(struct proc *p)
{
	struct proc *other = &procs[choose(MAX_PROCS)];

	return choose(4) == 0 && other->as ? other : p;
}

static bool locks(const struct call *c)
{
	return c->kind == CALL_MLOCK || (c->kind == CALL_MMAP && (c->flags & MAP_LOCKED));
}

/* What is said of mappings to come. */
static bool sets_future(const struct call *c)
{
	return c->kind == CALL_MLOCK && c->advice >= 5;
}

/* Is a limit of its process set in this group? */
static bool is_about_limit(const struct call *c)
{
	return c->p == group.limit.p;
}

/* Can this call be made beside those that there are? Takes note of its processes. */
bool group_fits(struct call *c)
{
	unsigned k = (unsigned)(c->p - procs);

	if (c->kind == CALL_EXIT) {
		if (group.used[k])
			return false;
		group.used[k] = group.forks[k] = true; /* nobody else may use it */
		return true;
	}
	if (group.forks[k])
		return false;
	if (locks(c) && !READ_ONCE(c->p->as->locked))
		return false; /* from then on MADV_DONTNEED would go region by region */
	if (sets_future(c) && group.injected)
		return false; /* it would stop half way */
	c->by_steps = call_has_steps(c) ||
		      (is_about_limit(c) && c->kind == CALL_MPROTECT &&
		       group.limit.advice == VM_LIMIT_DATA && (c->prot & PROT_WRITE));
	/* An allocation that fails would leave it done in part. */
	if (c->by_steps && (group.injected || !call_may_be_stepped(c)))
		return false;
	if (c->kind == CALL_MREMAP && (is_limited(c->p) || is_about_limit(c)) &&
	    (c->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) == (MREMAP_FIXED | MREMAP_DONTUNMAP))
		return false; /* what is replaced goes in a step before */
	if (c->kind == CALL_FORK) {
		c->child = unused_proc();
		if (!c->child)
			return false;
		proc_alloc(c->child);
		group.used[c->child - procs] = group.forks[c->child - procs] = true;
	}
	group.used[k] = true;
	return true;
}

void group_add(const struct call *c, unsigned cpu)
{
	struct lane *l = &group.lane[cpu];

	l->call[l->n++] = *c;
	group.n++;
	run_counts.group_calls++;
	run_counts.stepped += c->by_steps;
	if (call_moves_in_pieces(c) && (c->flags & MREMAP_FIXED)) {
		group.moves = &l->call[l->n - 1];
		run_counts.moved++;
	}
	run_counts.calls[c->kind]++;
}

static void run_lane(void *arg)
{
	struct lane *l = arg;

	while (cpus_time < l->start)
		host_relax();
	for (unsigned i = 0; i < l->n; i++) {
		l->call[i].begin = cpus_time;
		call_run(&l->call[i]);
		l->call[i].end = cpus_time;
	}
}

/* Short calls would all be over before a long one is in the middle: some lanes start late. */
static void run_all(u64 seed)
{
	void (*fn[MAX_CPUS])(void *arg) = { 0 };
	void *arg[MAX_CPUS];

	for (unsigned i = 0; i < mm_cpus; i++)
		if (group.lane[i].n) {
			if (random_next(&seed) % 4 == 0)
				group.lane[i].start = cpus_time + random_next(&seed) % LATE_MOST;
			fn[i] = run_lane;
			arg[i] = &group.lane[i];
		}
	host_mmu_crowded = true;
	cpus_run(fn, arg, mm_cpus, seed);
	host_mmu_crowded = false;
}

/* Processes that ended, and children that were not born. */
static void clean_up(void)
{
	for (unsigned k = 0; k < MAX_PROCS; k++)
		if (group.used[k] && !procs[k].as)
			proc_free(&procs[k]);
}

/* The records become calls on CPUs. */
static void choose_calls(const struct record **next, const struct record *end, struct proc *p,
			 unsigned w, u64 at, u64 size)
{
	enum theme theme = theme_begin(p, &w, &at, &size);
	u64 limit_at = 0;

	if (theme == CUTS || ((theme == TOUCHES || theme == FORKS) && choose(2)))
		size = 1;
	if (theme != CUTS && choose(6) == 0) {
		choose_limit_beside(p);
		limit_at = 1 + choose(2 * mm_cpus);
	}
	for (u64 n = mm_cpus + choose(2 * mm_cpus); n > 0 && *next < end; n--, (*next)++) {
		unsigned cpu;
		struct call c;

		choose_from(*next);
		run_position++;
		cpu = (unsigned)(choose(2) ? n % mm_cpus : choose(mm_cpus));
		call_choose_concurrent(&c, cpu, choose_proc(p), w, at, size,
				       theme != ANYTHING && theme < LOCKS);
		if (!theme_suits(&c, theme, p, w, at, size))
			continue;
		if (group.lane[cpu].n < MAX_CALLS && group_fits(&c))
			group_add(&c, cpu);
		if (n == limit_at && group.lane[cpu].n < MAX_CALLS && group_fits(&group.limit))
			group_add(&group.limit, cpu);
	}
	if (theme == CUTS)
		group.injected = false; /* a page that cannot be cut stays, and the log says so */
}

/* fork copies limits in a step of its own. */
static bool may_have_limit(unsigned k, unsigned which, u64 limit)
{
	return group.forks[k] && group.limit.p && which == (unsigned)group.limit.advice &&
	       (limit == group.limit.len || limit == group.other_limit);
}

/* Of several stacks that grew at once any may be the last. */
static void note_grown(void)
{
	for (unsigned k = 0; k < MAX_PROCS; k++) {
		struct proc *p = &procs[k];

		if (!p->as)
			continue;
		p->grown = p->as->grown;
		p->grown_end = p->as->grown_end;
		for (unsigned i = 0; i < VM_LIMITS; i++) {
			check(p->limit[i] == p->as->limit[i] ||
				      may_have_limit(k, i, p->as->limit[i]),
			      "process %u: limit %u is %#lx, expected %#lx", k, i, p->as->limit[i],
			      p->limit[i]);
			p->limit[i] = p->as->limit[i];
		}
	}
}

void group_run(const struct record **next, const struct record *end)
{
	u64 seed = choose(1ul << 32), at, size, fail_at = choose(8) + 1;
	struct proc *p;
	unsigned w;

	call_concurrent = true;
	set_up(&p, &w, &at, &size);
	group.injected = choose(8) == 0;
	if (choose(3) == 0)
		group_fork_before(p);
	prepare(p, w, at, size);
	if (choose(4))
		group_warm_up(p, w, at, size);
	choose_calls(next, end, p, w, at, size);
	alloc_fail_at = group.injected ? fail_at : 0;
	run_all(seed);
	group.failed = group.injected && alloc_fail_at == 0;
	alloc_fail_at = 0;
	run_counts.injected += group.failed;
	order_see_all();
	if (!order_find()) {
		order_tell();
		run_fail("no order explains it; the best comes to %u of %u calls: %s", group.best,
			 group.n, group.best_why);
	}
	undo_forget();
	if (run_tells)
		order_tell();
	clean_up();
	note_grown();
	run_counts.groups++;
	call_concurrent = false;
}

/*
 * Calls at the same time, on several simulated CPUs, and their explanation.
 *
 * What mm/ promises is that each call takes effect at one instant between its begin and its end
 * (the range's locks are held until translations are forgotten, docs/memory.md). So there must be
 * an order of the calls, in which none comes before another that had ended when it began, such
 * that the model gives each call the result that it had, and the page tables are as the model ends.
 * group_explain looks for it, going back where the model says no; changes of the model are taken back
 * by its log. That is the definition of linearizability (Herlihy and Wing, 1990), and the naive way
 * to test it; with calls that mostly do overlap in time only with one or two others it costs a few tries. Where it
 * takes more, states that were come to before in vain are passed by.
 *
 * Accesses of programs are calls, too: an access takes effect when it is made, or when its fault
 * is refused. What a stale translation shows is right as long as the call that makes it stale has
 * not returned, and that is just what the order asks.
 *
 * Calls that are made of steps, as those that go region by region or fault in what they have changed, are
 * explained so (steps.c): others may come between. What is large goes in pieces (mm/piece.c), and is one step all the same,
 * but for accesses beside an mremap.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/api/mmu.h"
#include "lib/err.h"
#include "lib/uapi/mman.h"
#include "mm/pt.h"
#include "tests/mm/mm.h"

#define MAX_CALLS 8
#define LATE_MOST 4000

struct lane {
	struct call call[MAX_CALLS];
	unsigned n;
	u64 start; /* in cpus_time; 0: at once */
};

static struct group {
	struct lane lane[MAX_CPUS];
	unsigned done[MAX_CPUS]; /* explained so far */
	bool used[MAX_PROCS], forks[MAX_PROCS];
	struct call *order[MAX_CPUS * MAX_CALLS];
	unsigned n, best;
	char best_why[600];
	bool injected, failed;    /* an allocation was to fail, and did */
	bool excused;             /* some call has been explained by that */
	bool steps;               /* calls are looked at as several steps, where they are */
	const struct call *moves; /* goes in pieces, to a fixed place */
	struct call limit;        /* one of the calls, if .p: a limit is set */
	u64 other_limit;          /* the value that it takes the place of */
} g;

static struct seen seen[MAX_PROCS][WINDOWS][1400];

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

/* ---- the order ------------------------------------------------------------------------------- */

/* At the end of an order: is everything as the model says? */
static bool end_matches(void)
{
	const char *files_why = compare_files();

	if (files_why) {
		snprintf(call_why, sizeof(call_why), "%s", files_why);
		return false;
	}
	for (unsigned k = 0; k < MAX_PROCS; k++) {
		const struct aspace *as = procs[k].as;

		if (as && (procs[k].brk != as->brk || procs[k].future != !!as->lock_future)) {
			snprintf(call_why, sizeof(call_why),
				 "process %u: break %#lx, future %u, expected %#lx, %lu", k,
				 as->brk, as->lock_future, procs[k].brk, procs[k].future);
			return false;
		}
		for (unsigned w = 0; as && w < WINDOWS; w++) {
			const char *why = compare_seen(procs[k].w[w], seen[k][w], windows[w].n,
						       windows[w].base);

			if (why) {
				snprintf(call_why, sizeof(call_why), "process %u: %s", k, why);
				return false;
			}
		}
	}
	return true;
}

static void note_best(unsigned depth)
{
	if (depth < g.best && g.best_why[0])
		return;
	g.best = depth;
	snprintf(g.best_why, sizeof(g.best_why), "%s", call_why);
}

/* May the next call of this CPU come before all that are not explained yet? */
static bool may_be_next(unsigned cpu)
{
	const struct call *c = &g.lane[cpu].call[g.done[cpu]];

	if (g.done[cpu] == g.lane[cpu].n)
		return false;
	for (unsigned i = 0; i < mm_cpus; i++)
		if (i != cpu && g.done[i] < g.lane[i].n && g.lane[i].call[g.done[i]].end < c->begin)
			return false;
	return true;
}

/*
 * States from which the search has come to no end: orders that differ in what does not matter lead to the same one,
 * and with calls of many steps there are many. A hash of it stands for a state; of two in one place the later is kept.
 */
static u64 vain[1 << 16];

static u64 steps_hash(u64 h, const struct call_steps *s)
{
	h = hash_add(h, s->phase | (u64)s->looked << 4 | (u64)s->hole << 5 | (u64)s->locked << 6 |
				(u64)s->anon << 7 | (u64)s->refused << 8 | (u64)s->access << 16);
	h = hash_add(hash_add(hash_add(hash_add(h, s->done), s->from), s->to),
		     s->ask ^ s->gone << 32);
	h = hash_add(h, page_hash(&s->first));
	for (unsigned i = 0; i < s->earlies; i++)
		h = hash_add(h, s->early[i]);
	for (unsigned i = 0; s->phase == STEPS_MOVE && i < ARRAY_SIZE(s->moved); i++)
		h = hash_add(h, s->moved[i]);
	return h;
}

static u64 state_hash(void)
{
	u64 h = hash_add(model_state, run_counts.groups * 4 + g.steps * 2 + g.excused);

	for (unsigned cpu = 0; cpu < mm_cpus; cpu++) {
		const struct call *c = &g.lane[cpu].call[g.done[cpu]];

		h = hash_add(h, g.done[cpu]);
		if (g.done[cpu] < g.lane[cpu].n)
			h = steps_hash(hash_add(h, c->early | c->behind << 1), &c->steps);
	}
	return h;
}

static bool explain_rest(unsigned depth);

/* For one explanation: by the limit that was there before. */
static void swap_limits(void)
{
	u64 *at = &g.limit.p->limit[g.limit.advice], now = *at;

	*at = g.other_limit;
	g.other_limit = now;
}

/* c has been explained; the rest? */
static bool explain_then(struct call *c, unsigned cpu, unsigned depth)
{
	run_counts.orders++;
	g.order[depth] = c;
	g.done[cpu]++;
	if (explain_rest(depth + 1))
		return true;
	g.done[cpu]--;
	return false;
}

/* One step of a call that goes region by region. What comes after it looks at limits anew. */
static bool explain_step(struct call *c, unsigned cpu, unsigned depth, bool old,
			 const struct call *remove)
{
	struct call_steps before = c->steps;
	bool behind = c->behind, found = false;
	size_t mark = undo_mark();
	enum step step;

	if (old)
		swap_limits();
	if (remove)
		call_swap_removed(remove);
	step = call_explain_step(c, g.steps);
	if (remove)
		call_swap_removed(remove);
	if (old)
		swap_limits();
	c->behind = false;
	run_counts.orders++;
	if (step == STEP_MORE) {
		found = explain_rest(depth);
	} else if (step == STEP_LAST) {
		g.order[depth] = c;
		g.done[cpu]++;
		found = explain_rest(depth + 1);
		g.done[cpu] -= !found;
	} else {
		snprintf(call_why, sizeof(call_why), "step by step: %ld", c->ret);
		note_best(depth);
	}
	if (!found) {
		c->steps = before;
		c->behind = behind;
		undo_to(mark);
	}
	return found;
}

/*
 * A limit that is set while other calls are under way counts for those that begin later; these may have looked at it before.
 * So a call that may come next when it is set is explained by the one or the other.
 */
static bool explain_limit(struct call *c, unsigned cpu, unsigned depth)
{
	bool behind[MAX_CPUS] = { 0 };
	size_t mark = undo_mark();
	bool found;

	for (unsigned i = 0; i < mm_cpus; i++) {
		struct call *other = &g.lane[i].call[g.done[i]];

		behind[i] = i != cpu && may_be_next(i) && other->p == c->p;
		if (behind[i])
			other->behind = true;
	}
	run_counts.orders++;
	g.other_limit = c->p->limit[c->advice];
	set_long(&c->p->limit[c->advice], c->len);
	g.order[depth] = c;
	g.done[cpu]++;
	found = explain_rest(depth + 1);
	if (found)
		return true;
	g.done[cpu]--;
	undo_to(mark);
	for (unsigned i = 0; i < mm_cpus; i++)
		if (behind[i])
			g.lane[i].call[g.done[i]].behind = false;
	return false;
}

static bool explain_by_limit(struct call *c, bool old)
{
	bool ok;

	if (old)
		swap_limits();
	ok = call_explain(c);
	if (old)
		swap_limits();
	return ok;
}

/* An access, or a step, that finds pages mapped which a MADV_REMOVE has taken from their object already. */
static bool explain_removed(struct call *c, unsigned cpu, unsigned depth)
{
	for (unsigned other = 0; other < mm_cpus; other++) {
		const struct call *remove = &g.lane[other].call[g.done[other]];
		size_t mark = undo_mark();
		bool ok;

		if (other == cpu || g.done[other] == g.lane[other].n ||
		    !call_may_be_removed(remove, c))
			continue;
		if (c->by_steps) {
			if (explain_step(c, cpu, depth, false, remove))
				return true;
			continue;
		}
		call_swap_removed(remove);
		ok = call_explain(c);
		call_swap_removed(remove);
		if (ok && explain_then(c, cpu, depth))
			return true;
		undo_to(mark);
	}
	return false;
}

static bool explain_as(struct call *c, unsigned cpu, unsigned depth, bool excuse, bool old)
{
	size_t mark = undo_mark();

	if (excuse ? is_out_of_memory(c) : explain_by_limit(c, old)) {
		run_counts.orders++;
		g.order[depth] = c;
		g.done[cpu]++;
		g.excused |= excuse;
		if (explain_rest(depth + 1))
			return true;
		g.excused &= !excuse;
		g.done[cpu]--;
	} else {
		note_best(depth);
	}
	undo_to(mark);
	return false;
}

/* What an access may do before in a step of its own: a stack grows, the page that is to be written is copied. */
static bool explain_early(struct call *c, unsigned depth, bool old)
{
	size_t mark = undo_mark();
	bool found, grows;

	if (!g.steps || c->early)
		return false;
	if (old)
		swap_limits();
	grows = call_grows_early(c);
	if (old)
		swap_limits();
	if (!grows && !call_copies_early(c))
		return false;
	c->early = true;
	found = explain_rest(depth);
	c->early = false;
	if (!found)
		undo_to(mark);
	return found;
}

/* An access beside an mremap that moves its page, which has moved already. */
static bool explain_moved(struct call *c, unsigned cpu, unsigned depth)
{
	for (unsigned other = 0; other < mm_cpus; other++) {
		struct call *mremap = &g.lane[other].call[g.done[other]];
		struct call_steps before = mremap->steps;
		size_t mark = undo_mark();

		if (g.done[other] == g.lane[other].n || !call_moves_early(mremap, c))
			continue;
		if (explain_as(c, cpu, depth, false, false))
			return true;
		mremap->steps = before;
		undo_to(mark);
	}
	return false;
}

/* An access beside an mprotect that gives one right and takes another, and has the one that is given already. */
static bool explain_protected(struct call *c, unsigned cpu, unsigned depth)
{
	if (c->kind != CALL_TOUCH && c->kind != CALL_OUTSIDE)
		return false;
	for (unsigned other = 0; other < mm_cpus; other++) {
		struct call *mprotect = &g.lane[other].call[g.done[other]];
		struct page *m = &c->p->w[c->w][c->at], p = *m;
		u8 prot = p.prot;
		struct call_steps before = mprotect->steps;
		size_t mark = undo_mark();

		if (other == cpu || !may_be_next(other) || !call_protects_early(mprotect, c))
			continue;
		p.prot = (u8)mprotect->prot;
		set_page(m, p);
		if (call_explain(c)) {
			p = *m;
			p.prot = prot;
			set_page(m, p);
			if (explain_then(c, cpu, depth))
				return true;
		}
		mprotect->steps = before;
		undo_to(mark);
	}
	return false;
}

/* Can c only come after a call that is not explained yet? */
static bool comes_later(const struct call *c, unsigned cpu)
{
	for (unsigned other = 0; other < mm_cpus; other++)
		if (other != cpu && g.done[other] < g.lane[other].n &&
		    call_is_after(c, &g.lane[other].call[g.done[other]]))
			return true;
	return false;
}

static bool explain_next(unsigned depth)
{
	bool left = false;

	for (unsigned cpu = 0; cpu < mm_cpus; cpu++) {
		struct call *c = &g.lane[cpu].call[g.done[cpu]];

		left |= g.done[cpu] < g.lane[cpu].n;
		if (!may_be_next(cpu) || comes_later(c, cpu))
			continue;
		if (c->kind == CALL_LIMIT) {
			if (explain_limit(c, cpu, depth))
				return true;
			continue;
		}
		if (c->by_steps) {
			if (explain_step(c, cpu, depth, false, NULL) ||
			    (c->behind && explain_step(c, cpu, depth, true, NULL)) ||
			    explain_removed(c, cpu, depth))
				return true;
			continue;
		}
		if (explain_as(c, cpu, depth, false, false) ||
		    (c->behind && explain_as(c, cpu, depth, false, true)))
			return true;
		if (g.failed && !g.excused && explain_as(c, cpu, depth, true, false))
			return true;
		if (explain_early(c, depth, false) ||
		    (c->behind && explain_early(c, depth, true)) || explain_moved(c, cpu, depth) ||
		    explain_removed(c, cpu, depth) || explain_protected(c, cpu, depth))
			return true;
	}
	if (left)
		return false;
	if (end_matches())
		return true;
	note_best(depth);
	return false;
}

static bool explain_rest(unsigned depth)
{
	u64 state = state_hash(), *known = &vain[state % ARRAY_SIZE(vain)];

	if (*known == state)
		return false;
	if (explain_next(depth))
		return true;
	*known = state;
	return false;
}

/* Is there an order? First as if each call were one step, which nearly always is enough. */
static bool explain_all(void)
{
	if (explain_rest(0))
		return true;
	g.steps = true;
	return explain_rest(0);
}

static void tell(void)
{
	if (run_quiet)
		return;
	printf("# %lu: calls at the same time (begin-end):\n", run_position);
	for (unsigned cpu = 0; cpu < mm_cpus; cpu++)
		for (unsigned i = 0; i < g.lane[cpu].n; i++) {
			const struct call *c = &g.lane[cpu].call[i];

			printf("#   %lu-%lu: %s\n", c->begin, c->end, call_text(c));
		}
}

/* ---- a group --------------------------------------------------------------------------------- */

static void set_up(struct proc **p, unsigned *w, u64 *at, u64 *n)
{
	static const u64 sizes[] = { 1, 2, 2, 3, 4, 4, 8, 8, 20, 600 };
	static const unsigned places[] = { W_PAGES, W_PAGES, W_PAGES, W_LARGE, W_TOP, W_BRK };

	memset(&g, 0, sizeof(g));
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
static void call_before(struct call *c, unsigned cpu)
{
	unsigned me = host_cpu;

	call_concurrent = false;
	host_cpu = c->cpu = cpu;
	call_alone(c);
	host_cpu = me;
	call_concurrent = true;
}

/* Some CPUs know what is there before it changes: they have read it, or read ahead. */
static void warm_up(struct proc *p, unsigned w, u64 at, u64 n)
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
				call_before(&c, cpu);
		}
	}
}

/* A place for a child: a process that is not p ends. */
static struct proc *make_room(const struct proc *p)
{
	struct proc *child = &procs[choose(MAX_PROCS)];

	if (child == p)
		child = &procs[(child - procs + 1) % MAX_PROCS];
	if (child->as)
		proc_end(child);
	return child;
}

/* So that what p writes is somebody else's, too. */
static void fork_before(struct proc *p)
{
	struct call c = { .kind = CALL_FORK, .p = p, .child = make_room(p) };

	call_before(&c, (unsigned)choose(mm_cpus));
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

	call_before(&unmap, 0);
	call_before(&c, 0);
}

/* Something has been locked here, and may be again. */
static void lock_before(struct proc *p, unsigned w, u64 at, u64 n)
{
	struct call c = {
		.kind = CALL_MLOCK, .p = p, .w = w, .at = at, .n = n, .advice = choose(2) ? 3 : 4
	};

	call_before(&c, 0);
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

	call_before(&c, 0);
}

/*
 * A limit to be set beside the calls that it concerns: as before, or no more. Of 0 for locked memory two looks at it would
 * tell two things (EPERM, ENOMEM), as on Linux: not that.
 */
static void choose_limit_beside(struct proc *p)
{
	static const enum vm_limit which[] = { VM_LIMIT_AS, VM_LIMIT_DATA, VM_LIMIT_LOCK,
					       VM_LIMIT_STACK };

	g.limit = choose_room(p, which[choose(ARRAY_SIZE(which))]);
	g.other_limit = p->limit[g.limit.advice];
	if (g.limit.advice == VM_LIMIT_LOCK)
		g.limit.len += PAGE_SIZE;
	if (choose(4) == 0 && g.limit.advice != VM_LIMIT_STACK)
		g.limit.len = UINT64_MAX;
}

/* What brings about what a group is to see. */
static void prepare(struct proc *p, unsigned w, u64 at, u64 n)
{
	if (windows[w].unit == PAGE_SIZE && n > 1 && n <= 20 && choose(6) == 0)
		stack_before(p, w, at, n);
	if (windows[w].unit == PAGE_SIZE && choose(6) == 0)
		lock_before(p, w, at, n);
	if (choose(6) == 0)
		limit_before(p);
}

static struct proc *unused_proc(void)
{
	for (unsigned k = 0; k < MAX_PROCS; k++)
		if (!procs[k].as && !g.used[k])
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
	return c->p == g.limit.p;
}

/* Can this call be made beside those that there are? Takes note of its processes. */
static bool fits(struct call *c)
{
	unsigned k = (unsigned)(c->p - procs);

	if (c->kind == CALL_EXIT) {
		if (g.used[k])
			return false;
		g.used[k] = g.forks[k] = true; /* nobody else may use it */
		return true;
	}
	if (g.forks[k])
		return false;
	if (locks(c) && !READ_ONCE(c->p->as->locked))
		return false; /* from then on MADV_DONTNEED would go region by region */
	if (sets_future(c) && g.injected)
		return false; /* it would stop half way */
	c->by_steps =
		call_has_steps(c) || (is_about_limit(c) && c->kind == CALL_MPROTECT &&
				      g.limit.advice == VM_LIMIT_DATA && (c->prot & PROT_WRITE));
	/* An allocation that fails would leave it done in part. */
	if (c->by_steps && (g.injected || !call_may_be_stepped(c)))
		return false;
	if (c->kind == CALL_MREMAP && (is_limited(c->p) || is_about_limit(c)) &&
	    (c->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) == (MREMAP_FIXED | MREMAP_DONTUNMAP))
		return false; /* what is replaced goes in a step before */
	if (c->kind == CALL_FORK) {
		c->child = unused_proc();
		if (!c->child)
			return false;
		proc_alloc(c->child);
		g.used[c->child - procs] = g.forks[c->child - procs] = true;
	}
	g.used[k] = true;
	return true;
}

static void add_call(const struct call *c, unsigned cpu)
{
	struct lane *l = &g.lane[cpu];

	l->call[l->n++] = *c;
	g.n++;
	run_counts.group_calls++;
	run_counts.stepped += c->by_steps;
	if (call_moves_in_pieces(c) && (c->flags & MREMAP_FIXED)) {
		g.moves = &l->call[l->n - 1];
		run_counts.moved++;
	}
	run_counts.calls[c->kind]++;
}

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
		call_before(&map, 0);
	else if (choose(2)) /* the touches will ask the file for it */
		call_before(&forget, 0);
	if (!m->obj || m->obj > MAX_FILES)
		return false;
	if (choose(2)) /* and may have asked when it is cut */
		add_call(&ask, 0);
	cut.obj = m->obj - 1u;
	cut.n2 = MIN(choose(m->index + 3ul), (u64)FILE_PAGES);
	add_call(&cut, 0);
	for (unsigned k = 0; k < MAX_PROCS; k++)
		g.used[k] = procs[k].as != NULL;
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
	call_before(&map, 0);
	for (unsigned i = 0; i < 8; i++) {
		struct call touch = { .kind = CALL_TOUCH,
				      .p = p,
				      .w = w,
				      .at = at + choose(choose(2) ? n : 4),
				      .n = 1,
				      .access = FAULT_WRITE };

		call_before(&touch, (unsigned)choose(mm_cpus));
	}
	move.to = choose(below + above);
	move.to += move.to < below ? 0 : at + n - below;
	switch (choose(4)) {
	case 0: move.flags |= MREMAP_DONTUNMAP; break;
	case 1: move.n2 -= choose(n - 200); break;
	}
	if (!fits(&move))
		return false;
	add_call(&move, cpu);
	return true;
}

/* Short calls would all be over before a long one is in the middle: some lanes start late. */
static void run_all(u64 seed)
{
	void (*fn[MAX_CPUS])(void *arg) = { 0 };
	void *arg[MAX_CPUS];

	for (unsigned i = 0; i < mm_cpus; i++)
		if (g.lane[i].n) {
			if (random_next(&seed) % 4 == 0)
				g.lane[i].start = cpus_time + random_next(&seed) % LATE_MOST;
			fn[i] = run_lane;
			arg[i] = &g.lane[i];
		}
	host_mmu_crowded = true;
	cpus_run(fn, arg, mm_cpus, seed);
	host_mmu_crowded = false;
}

/* Processes that ended, and children that were not born. */
static void clean_up(void)
{
	for (unsigned k = 0; k < MAX_PROCS; k++)
		if (g.used[k] && !procs[k].as)
			proc_free(&procs[k]);
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

	if (windows[w].unit != PAGE_SIZE || at + LOCKS_PAGES > windows[w].n || g.injected)
		return false;
	for (u64 i = 0; i < LOCKS_PAGES; i++) {
		map.at = at + i;
		map.prot = i % 2 ? PROT_READ : PROT_READ | PROT_WRITE;
		call_before(&map, 0);
	}
	lock_before(p, w, at, LOCKS_PAGES);
	if (!fits(&all))
		return false;
	add_call(&all, cpu);
	*group_w = w;
	*group_at = at;
	return true;
}

/* A call that says of a page whether it is locked, of one after the other; or changes some. */
static void ask_lock(struct call *c, struct proc *p, unsigned w, u64 at)
{
	u64 i = choose(4) ? 5 * g.lane[c->cpu].n : choose(LOCKS_PAGES);

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
	call_before(&map, 0);
	for (unsigned cpu = 0; cpu < mm_cpus; cpu++) {
		struct call touch = { .kind = CALL_TOUCH,
				      .p = p,
				      .w = w,
				      .at = at,
				      .n = 1,
				      .tag = ++next_tag,
				      .access = map.prot & PROT_WRITE ? FAULT_WRITE : FAULT_EXEC };

		if (choose(2))
			call_before(&touch, cpu);
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
	if (windows[w].unit != PAGE_SIZE || at + 2 * *n > windows[w].n || g.injected)
		return false;
	map.n = *n;
	map.len = map.n * PAGE_SIZE;
	if (child) {
		map.obj = 0;
		map.offset = 0;
		map.anon_obj = new_obj(map.n);
		map.flags |= MAP_ANONYMOUS;
		call_before(&map, 0);
		warm_up(p, w, at, *n);
		fork_before(p);
		return true;
	}
	call_before(&map, 0);
	map.at += map.n;
	if (choose(4) == 0)
		map.flags ^= MAP_SHARED ^ MAP_PRIVATE;
	call_before(&map, 0);
	*n *= 2;
	if (choose(2)) /* else the touches will ask the object */
		warm_up(p, w, at, *n);
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

/* What a group is about, beside its place. */
enum theme {
	ANYTHING, /* any calls */
	TOUCHES,  /* accesses, and now and then a call */
	FORKS,    /* accesses while the process forks */
	CUTS,     /* accesses while a file is cut */
	MOVES,    /* accesses while much moves, if the place is large */
	LOCKS,    /* questions while all is locked */
	RIGHTS,   /* accesses while rights are exchanged */
	REMOVES,  /* accesses while pages of an object are */
	THEMES
};

/* The call that the theme is about. */
static enum theme begin_theme(struct proc *p, unsigned *w, u64 *at, u64 *n)
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
	if (theme == FORKS) {
		make_room(p);
		if (fits(&fork))
			add_call(&fork, cpu);
	}
	return theme;
}

/* Makes c, any call, one that the theme is about, mostly. False: the theme has no place for it. */
static bool suit(struct call *c, enum theme theme, struct proc *p, unsigned w, u64 at, u64 n)
{
	if (theme == REMOVES && choose(4))
		use_removed(c, p, w, at, n);
	if (theme == RIGHTS && choose(4))
		use_rights(c, p, w, at, n);
	if (theme == LOCKS && choose(4))
		ask_lock(c, p, w, at);
	if (g.moves && c->kind == CALL_TOUCH && c->p == g.moves->p && c->w == g.moves->w &&
	    c->at >= g.moves->at && c->at < g.moves->at + MIN(g.moves->n, g.moves->n2) && choose(2))
		c->at = g.moves->to + (c->at - g.moves->at);
	return theme != CUTS || (c->p == p && (c->kind == CALL_TOUCH || c->kind == CALL_OUTSIDE) &&
				 !g.lane[c->cpu].n && g.n <= g.lane[0].n + 1);
}

/* The records become calls on CPUs. */
static void choose_calls(const struct record **next, const struct record *end, struct proc *p,
			 unsigned w, u64 at, u64 size)
{
	enum theme theme = begin_theme(p, &w, &at, &size);
	u64 limit_at = 0;

	if (theme == CUTS || ((theme == TOUCHES || theme == FORKS) && choose(2)))
		size = 1;
	if (theme == LOCKS)
		size = MIN(size, LOCKS_RANGE);
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
		if (!suit(&c, theme, p, w, at, size))
			continue;
		if (g.lane[cpu].n < MAX_CALLS && fits(&c))
			add_call(&c, cpu);
		if (n == limit_at && g.lane[cpu].n < MAX_CALLS && fits(&g.limit))
			add_call(&g.limit, cpu);
	}
	if (theme == CUTS)
		g.injected = false; /* a page that cannot be cut stays, and the log says so */
}

/* What the page tables say afterwards, also of children, and of who only shares memory with those that made calls. */
static void see_all(void)
{
	for (unsigned k = 0; k < MAX_PROCS; k++)
		for (unsigned w = 0; procs[k].as && !g.forks[k] && w < WINDOWS; w++)
			see_pages(&procs[k], w, 0, windows[w].n, seen[k][w]);
	for (unsigned cpu = 0; cpu < mm_cpus; cpu++)
		for (unsigned i = 0; i < g.lane[cpu].n; i++) {
			const struct call *c = &g.lane[cpu].call[i];
			struct proc child = { .as = c->space };

			for (unsigned w = 0; c->kind == CALL_FORK && c->ret == 0 && w < WINDOWS;
			     w++)
				see_pages(&child, w, 0, windows[w].n, seen[c->child - procs][w]);
		}
}

/* fork copies limits in a step of its own. */
static bool may_have_limit(unsigned k, unsigned which, u64 limit)
{
	return g.forks[k] && g.limit.p && which == (unsigned)g.limit.advice &&
	       (limit == g.limit.len || limit == g.other_limit);
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
	g.injected = choose(8) == 0;
	if (choose(3) == 0)
		fork_before(p);
	prepare(p, w, at, size);
	if (choose(4))
		warm_up(p, w, at, size);
	choose_calls(next, end, p, w, at, size);
	alloc_fail_at = g.injected ? fail_at : 0;
	run_all(seed);
	g.failed = g.injected && alloc_fail_at == 0;
	alloc_fail_at = 0;
	run_counts.injected += g.failed;
	see_all();
	if (!explain_all()) {
		tell();
		run_fail("no order explains it; the best comes to %u of %u calls: %s", g.best, g.n,
			 g.best_why);
	}
	undo_forget();
	if (run_tells)
		tell();
	clean_up();
	note_grown();
	run_counts.groups++;
	call_concurrent = false;
}

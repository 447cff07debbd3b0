/*
 * Calls at the same time, on several simulated CPUs, and their explanation.
 *
 * What mm/ promises is that each call takes effect at one instant between its begin and its end
 * (the range's locks are held until translations are forgotten, docs/memory.md). So there must be
 * an order of the calls, in which none comes before another that had ended when it began, such
 * that the model gives each call the result that it had, and the page tables are as the model ends.
 * order_find looks for it, going back where the model says no; changes of the model are taken back
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

#include "mm/pt.h"
#include "tests/mm/group.h"

static struct seen seen[MAX_PROCS][WINDOWS][1400];

/* What the page tables say afterwards, also of children, and of who only shares memory with those that made calls. */
void order_see_all(void)
{
	for (unsigned k = 0; k < MAX_PROCS; k++)
		for (unsigned w = 0; procs[k].as && !group.forks[k] && w < WINDOWS; w++)
			see_pages(&procs[k], w, 0, windows[w].n, seen[k][w]);
	for (unsigned cpu = 0; cpu < mm_cpus; cpu++)
		for (unsigned i = 0; i < group.lane[cpu].n; i++) {
			const struct call *c = &group.lane[cpu].call[i];
			struct proc child = { .as = c->space };

			for (unsigned w = 0; c->kind == CALL_FORK && c->ret == 0 && w < WINDOWS;
			     w++)
				see_pages(&child, w, 0, windows[w].n, seen[c->child - procs][w]);
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
	if (depth < group.best && group.best_why[0])
		return;
	group.best = depth;
	snprintf(group.best_why, sizeof(group.best_why), "%s", call_why);
}

/* May the next call of this CPU come before all that are not explained yet? */
static bool may_be_next(unsigned cpu)
{
	const struct call *c = &group.lane[cpu].call[group.done[cpu]];

	if (group.done[cpu] == group.lane[cpu].n)
		return false;
	for (unsigned i = 0; i < mm_cpus; i++)
		if (i != cpu && group.done[i] < group.lane[i].n &&
		    group.lane[i].call[group.done[i]].end < c->begin)
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
	u64 h = hash_add(model_state, run_counts.groups * 4 + group.steps * 2 + group.excused);

	for (unsigned cpu = 0; cpu < mm_cpus; cpu++) {
		const struct call *c = &group.lane[cpu].call[group.done[cpu]];

		h = hash_add(h, group.done[cpu]);
		if (group.done[cpu] < group.lane[cpu].n)
			h = steps_hash(hash_add(h, c->early | c->behind << 1), &c->steps);
	}
	return h;
}

static bool explain_rest(unsigned depth);

/* For one explanation: by the limit that was there before. */
static void swap_limits(void)
{
	u64 *at = &group.limit.p->limit[group.limit.advice], now = *at;

	*at = group.other_limit;
	group.other_limit = now;
}

/* c has been explained; the rest? */
static bool explain_then(struct call *c, unsigned cpu, unsigned depth)
{
	run_counts.orders++;
	group.order[depth] = c;
	group.done[cpu]++;
	if (explain_rest(depth + 1))
		return true;
	group.done[cpu]--;
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
	step = call_explain_step(c, group.steps);
	if (remove)
		call_swap_removed(remove);
	if (old)
		swap_limits();
	c->behind = false;
	run_counts.orders++;
	if (step == STEP_MORE) {
		found = explain_rest(depth);
	} else if (step == STEP_LAST) {
		group.order[depth] = c;
		group.done[cpu]++;
		found = explain_rest(depth + 1);
		group.done[cpu] -= !found;
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
		struct call *other = &group.lane[i].call[group.done[i]];

		behind[i] = i != cpu && may_be_next(i) && other->p == c->p;
		if (behind[i])
			other->behind = true;
	}
	run_counts.orders++;
	group.other_limit = c->p->limit[c->advice];
	set_long(&c->p->limit[c->advice], c->len);
	group.order[depth] = c;
	group.done[cpu]++;
	found = explain_rest(depth + 1);
	if (found)
		return true;
	group.done[cpu]--;
	undo_to(mark);
	for (unsigned i = 0; i < mm_cpus; i++)
		if (behind[i])
			group.lane[i].call[group.done[i]].behind = false;
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
		const struct call *remove = &group.lane[other].call[group.done[other]];
		size_t mark = undo_mark();
		bool ok;

		if (other == cpu || group.done[other] == group.lane[other].n ||
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
		group.order[depth] = c;
		group.done[cpu]++;
		group.excused |= excuse;
		if (explain_rest(depth + 1))
			return true;
		group.excused &= !excuse;
		group.done[cpu]--;
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

	if (!group.steps || c->early)
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
		struct call *mremap = &group.lane[other].call[group.done[other]];
		struct call_steps before = mremap->steps;
		size_t mark = undo_mark();

		if (group.done[other] == group.lane[other].n || !call_moves_early(mremap, c))
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
		struct call *mprotect = &group.lane[other].call[group.done[other]];
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
		if (other != cpu && group.done[other] < group.lane[other].n &&
		    call_is_after(c, &group.lane[other].call[group.done[other]]))
			return true;
	return false;
}

static bool explain_next(unsigned depth)
{
	bool left = false;

	for (unsigned cpu = 0; cpu < mm_cpus; cpu++) {
		struct call *c = &group.lane[cpu].call[group.done[cpu]];

		left |= group.done[cpu] < group.lane[cpu].n;
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
		if (group.failed && !group.excused && explain_as(c, cpu, depth, true, false))
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
bool order_find(void)
{
	if (explain_rest(0))
		return true;
	group.steps = true;
	return explain_rest(0);
}

void order_tell(void)
{
	if (run_quiet)
		return;
	printf("# %lu: calls at the same time (begin-end):\n", run_position);
	for (unsigned cpu = 0; cpu < mm_cpus; cpu++)
		for (unsigned i = 0; i < group.lane[cpu].n; i++) {
			const struct call *c = &group.lane[cpu].call[i];

			printf("#   %lu-%lu: %s\n", c->begin, c->end, call_text(c));
		}
}

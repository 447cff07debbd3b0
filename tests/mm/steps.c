/*
 * Calls that are made of steps, between which others may come, here as on Linux or nearly so. Each step is explained by the
 * model as it is at that moment; what was seen by one and counts for the next is kept in call.steps.
 *
 * Most of madvise, mlock, munlock, and mprotect under RLIMIT_DATA look at one region after the other, each for itself: at first
 * what it is, then, in a step of its own, they change what is there now. A region within one table is looked at in one step.
 * mprotect, if there is a limit when it begins, adds up what there is between the two. msync looks, and changes nothing. mincore looks at what the region is; in a second step at its pages; then it asks the
 * region's object, for one after the other, whether it has those that are not mapped.
 * A limit is checked, and what it allows is used, as one step for all that adds to what is counted (mm/limit.c).
 *
 * mlockall and munlockall change all regions in one step, as brk does what it does.
 *
 * mlock, mmap and mremap of what is locked, MAP_POPULATE and MADV_POPULATE_* then fault in what they have changed, or what is
 * there: also region by region, each page in a step of its own. Those that change nothing are taken together at first
 * (order.c tries one by one when that is not enough).
 *
 * mremap that shortens looks whether there is something at all, then gives up what is too much, whatever comes of the
 * rest; then it is done, or moves what is left.
 *
 * MADV_REMOVE takes the pages from the object, and then from who has them mapped.
 *
 * mremap of much goes in pieces. For calls and faults that is one step; but who accesses a page without a fault, at the old
 * address or the new one, sees whether that page has moved.
 */
#include <string.h>

#include "lib/err.h"
#include "lib/uapi/mman.h"
#include "mm/pt.h"
#include "mm/space.h"
#include "tests/mm/mm.h"

static bool is_mlock(const struct call *c)
{
	return c->kind == CALL_MLOCK && c->advice < 2;
}

static bool advises_populate(const struct call *c)
{
	return c->kind == CALL_MADVISE &&
	       (c->advice == MADV_POPULATE_READ || c->advice == MADV_POPULATE_WRITE);
}

static bool call_shrinks(const struct call *c)
{
	return c->kind == CALL_MREMAP && c->n2 < c->n;
}

/* WORK_AT_ONCE and MOVE_AT_ONCE of mm/mremap.c; and what is locked and left behind is unlocked. */
bool call_moves_in_pieces(const struct call *c)
{
	u64 n = MIN(c->n, c->n2); /* it is shortened before */

	return c->kind == CALL_MREMAP && (!call_shrinks(c) || (c->flags & MREMAP_FIXED)) &&
	       (n > 200 || n * windows[c->w].unit > 16 * MiB ||
		((c->flags & MREMAP_DONTUNMAP) && READ_ONCE(c->p->as->locked)));
}

bool call_has_steps(const struct call *c)
{
	switch (c->kind) {
	case CALL_MADVISE:
		if (c->advice == MADV_MERGEABLE || c->advice == 12345) /* Linux knows neither */
			return false;
		return READ_ONCE(c->p->as->locked) || c->advice != MADV_DONTNEED;
	case CALL_MLOCK: return c->advice < 5; /* mlockall(ONFAULT), munlockall: one */
	case CALL_MPROTECT: return protects_by_region(c);
	case CALL_MINCORE: return true;
	case CALL_MSYNC: return (c->flags & (MS_ASYNC | MS_SYNC)) != (MS_ASYNC | MS_SYNC);
	case CALL_MMAP: return c->flags & (MAP_LOCKED | MAP_POPULATE);
	case CALL_MREMAP:
		return call_shrinks(c) || call_moves_in_pieces(c) ||
		       (c->n2 > c->n && READ_ONCE(c->p->as->locked));
	default: return false;
	}
}

bool call_may_be_stepped(const struct call *c)
{
	const struct window *w = &windows[c->w];
	u64 first, last;

	if (call_shrinks(c))
		return true;
	if (c->kind == CALL_MREMAP && call_moves_in_pieces(c))
		return c->n2 == c->n || !READ_ONCE(c->p->as->locked);
	/* SCAN_AT_ONCE of mm/pt.c. And there is no room for more answers. */
	if (w->unit != PAGE_SIZE || c->n > (c->kind == CALL_MINCORE ? ARRAY_SIZE(c->core) : 128))
		return false;
	if (c->kind == CALL_MMAP || c->kind == CALL_MREMAP)
		return true;
	first = page_va(c->w, c->at) / (2 * MiB);
	last = page_va(c->w, c->at + c->n - 1) / (2 * MiB);
	return first == last;
}

/* ---- region by region ------------------------------------------------------------------------ */

static enum step last_if(bool right)
{
	return right ? STEP_LAST : STEP_NO;
}

static enum step next_phase(struct call *c, struct page *page, u64 n)
{
	c->steps = (struct call_steps){ .phase = STEPS_POPULATE, .page = page, .n = n };
	return STEP_MORE;
}

/* Who stops at a hole, with -ENOMEM. Others go around it, and say so at the end. */
static bool stops_at_hole(const struct call *c)
{
	return (c->kind != CALL_MADVISE && c->kind != CALL_MSYNC) || advises_populate(c);
}

/* The next region, as it is now: [from, to). False: nothing but a hole. */
static bool find_region(struct call_steps *s)
{
	u64 i = s->done;

	while (i < s->n && !s->page[i].mapped)
		i++;
	s->hole |= i > s->done;
	if (i == s->n)
		return false;
	s->from = i;
	for (i++; i < s->n && page_continues(&s->page[i - 1], &s->page[i], 1);)
		i++;
	s->to = i;
	s->looked = true;
	return true;
}

static enum step look_at_region(struct call *c)
{
	struct call_steps *s = &c->steps;
	const struct page *m;

	if (!find_region(s) || (s->hole && stops_at_hole(c))) {
		if (is_mlock(c) && !s->hole)
			return next_phase(c, s->page, s->n);
		return last_if(c->ret == (s->hole ? -ENOMEM : 0));
	}
	m = &s->page[s->from];
	s->first = *m;
	s->locked = m->flags & PAGE_LOCKED;
	s->anon = !m->obj;
	if (c->kind == CALL_MINCORE)
		s->phase = STEPS_LOOK;
	if (c->kind == CALL_MPROTECT)
		s->phase = STEPS_ADD_UP;
	return STEP_MORE;
}

/* Whether there is room for what the region was; what others give up meanwhile counts already, or not. */
static enum step add_up(struct call *c)
{
	struct call_steps *s = &c->steps;

	s->refused = !may_protect(c, &s->first, s->to - s->from);
	s->phase = STEPS_CHANGE;
	return STEP_MORE;
}

/* What a page becomes whose region was looked at before. */
static struct page changed_page(const struct call *c, struct page p)
{
	if (c->kind == CALL_MPROTECT) {
		p.prot = (u8)c->prot;
		return p;
	}
	if (c->kind == CALL_MSYNC)
		return p;
	if (c->kind == CALL_MLOCK) {
		bool unlocks = c->advice == 2 || c->advice == 3;

		p.flags = (u8)(unlocks ? p.flags & ~PAGE_LOCKED : p.flags | PAGE_LOCKED);
		return p;
	}
	switch (c->advice) {
	case MADV_DONTFORK: p.flags |= PAGE_DONTFORK; break;
	case MADV_DOFORK: p.flags &= (u8)~PAGE_DONTFORK; break;
	case MADV_WIPEONFORK: p.flags |= PAGE_WIPE; break;
	case MADV_KEEPONFORK: p.flags &= (u8)~PAGE_WIPE; break;
	case MADV_HUGEPAGE: p.flags = (u8)((p.flags & ~PAGE_NOHUGE) | PAGE_HUGE); break;
	case MADV_NOHUGEPAGE: p.flags = (u8)((p.flags & ~PAGE_HUGE) | PAGE_NOHUGE); break;
	case MADV_FREE:
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
		p.own = false;
		p.tag = 0;
		break;
	}
	return p;
}

/* The errno with which the call refuses a region that it has looked at, or 0. */
static int region_refused(const struct call *c)
{
	const struct call_steps *s = &c->steps;

	if (c->kind == CALL_MPROTECT)
		return s->refused ? -ENOMEM : 0;
	if (c->kind == CALL_MSYNC)
		return s->locked && (c->flags & MS_INVALIDATE) ? -EBUSY : 0;
	switch (c->kind == CALL_MLOCK ? MADV_NORMAL : c->advice) {
	case MADV_FREE: return s->locked || !s->anon ? -EINVAL : 0;
	case MADV_DONTNEED:
	case MADV_COLD:
	case MADV_PAGEOUT: return s->locked ? -EINVAL : 0;
	case MADV_WIPEONFORK: return !s->anon ? -EINVAL : 0;
	case MADV_REMOVE:
		if (s->anon || s->locked)
			return -EINVAL;
		return !s->first.shared || s->first.nowrite ? -EACCES : 0;
	default: return 0;
	}
}

/* Of mprotect alone: what it meets where a region was. */
static int page_refused(const struct call *c, const struct page *m)
{
	if (c->kind != CALL_MPROTECT)
		return 0;
	return !m->mapped ? -ENOMEM : m->nowrite ? -EACCES : 0;
}

static enum step change_region(struct call *c)
{
	struct call_steps *s = &c->steps;
	int err = region_refused(c);

	run_counts.refused += s->refused;
	for (u64 i = s->from; i < s->to && !err; i++) {
		struct page *m = &s->page[i], p = changed_page(c, *m);

		err = page_refused(c, m);
		if (!err && m->mapped && memcmp(&p, m, sizeof(p)))
			set_page(m, p);
	}
	if (err)
		return last_if(c->ret == err);
	if (c->kind == CALL_MADVISE && c->advice == MADV_REMOVE) {
		s->phase = STEPS_PUNCH;
		s->gone = s->from;
		return STEP_MORE;
	}
	s->looked = false;
	s->earlies = 0;
	s->done = s->to;
	return STEP_MORE;
}

/* ---- mincore --------------------------------------------------------------------------------- */

/*
 * A page of ours is there, or not, at this step. Of another one the object will be asked, if the region had one; or it
 * is mapped, and the answer is yes already.
 */
static enum step look_at_pages(struct call *c)
{
	struct call_steps *s = &c->steps;

	s->ask = 0;
	for (u64 i = s->from; i < s->to; i++) {
		const struct page *m = &s->page[i];

		if (c->core[i] > 1)
			return STEP_NO;
		if (c->core[i] || !m->mapped)
			continue;
		if (page_is_there(m) && (m->own || !m->obj))
			return STEP_NO;
		if (m->obj && s->first.obj)
			s->ask |= 1ul << i;
	}
	s->phase = STEPS_ASK;
	return STEP_MORE;
}

/* Those pages were not there when the region's object was asked. */
static enum step ask_object(struct call *c, bool finely)
{
	struct call_steps *s = &c->steps;

	while (s->ask) {
		u64 i = (u64)__builtin_ctzl(s->ask);
		struct page p = fresh(s->first, i - s->from, 1);

		if (page_is_there(&p))
			return STEP_NO;
		s->ask &= s->ask - 1;
		if (finely)
			return STEP_MORE;
	}
	s->looked = false;
	s->done = s->to;
	s->phase = STEPS_CHANGE;
	return STEP_MORE;
}

/* ---- MADV_REMOVE ----------------------------------------------------------------------------- */

/*
 * The object gives up its pages one after the other; then they go from where they are mapped. Until that is done who has a page
 * mapped, here or in another process, may read and write it as it was, while who asks the object gets a new one. So
 * those that are gone live on, for accesses that find them (group.c tries both).
 */
static u32 removed[MAX_CPUS][MAX_REMOVED]; /* as obj_tag, by the pages of the call */

static u32 *tag_of(const struct call *c, u64 i)
{
	const struct page *first = &c->steps.first;
	u64 index = first->index + (i - c->steps.from);

	return index < obj_pages[first->obj] ? &obj_tag[first->obj][index] : NULL;
}

static enum step punch(struct call *c, bool finely)
{
	struct call_steps *s = &c->steps;

	if (s->gone == s->to) {
		s->looked = false;
		s->done = s->to;
		s->phase = STEPS_CHANGE;
		return STEP_MORE;
	}
	do {
		u32 *tag = tag_of(c, s->gone);

		if (tag) {
			set_word(&removed[c->cpu][s->gone], *tag);
			set_word(tag, 0);
		}
		s->gone++;
	} while (!finely && s->gone < s->to);
	return STEP_MORE;
}

bool call_may_be_removed(const struct call *remove, const struct call *c)
{
	const struct call_steps *s = &remove->steps;
	const struct page *m;
	u64 first = s->first.index;

	if (remove->kind != CALL_MADVISE || s->phase != STEPS_PUNCH || s->gone == s->from)
		return false;
	if (c->by_steps)
		return true; /* it may fault in one of them */
	if (c->kind != CALL_TOUCH && c->kind != CALL_OUTSIDE)
		return false;
	m = &c->p->w[c->w][c->at];
	return m->mapped && m->obj == s->first.obj && !m->own && m->index >= first &&
	       m->index < first + (s->gone - s->from);
}

void call_swap_removed(const struct call *remove)
{
	for (u64 i = remove->steps.from; i < remove->steps.gone; i++) {
		u32 *tag = tag_of(remove, i), was;

		if (!tag)
			continue;
		was = *tag;
		set_word(tag, removed[remove->cpu][i]);
		set_word(&removed[remove->cpu][i], was);
	}
}

/* ---- page by page ---------------------------------------------------------------------------- */

/* As whom a region is faulted in. */
static int populate_access(const struct call *c, const struct page *m)
{
	if (advises_populate(c))
		return c->advice == MADV_POPULATE_WRITE ? FAULT_WRITE : FAULT_READ;
	if ((m->prot & PROT_WRITE) && !m->shared)
		return FAULT_WRITE;
	return m->prot ? FAULT_READ : FAULT_EXEC; /* as nobody may */
}

/* Ends at a page that cannot be had. mmap and mremap do not tell. */
static enum step populate_stops(const struct call *c, int code)
{
	if (advises_populate(c))
		return last_if(c->ret == (code & FAULT_BUS    ? -EFAULT :
					  code == SEGV_MAPERR ? -ENOMEM :
								-EINVAL));
	return last_if(c->kind != CALL_MLOCK || c->ret == -ENOMEM);
}

static enum step populate_pages(struct call *c, bool finely)
{
	struct call_steps *s = &c->steps;
	bool changed = false;

	for (; s->done < s->to && !changed; s->done++) {
		struct page *m = &s->page[s->done], was = *m;
		int code = page_fault_code(m, (enum fault_access)s->access);

		if (code)
			return populate_stops(c, code);
		if (s->access == FAULT_WRITE)
			own_page(m);
		changed = finely || memcmp(&was, m, sizeof(was));
	}
	s->looked = s->done < s->to;
	return STEP_MORE;
}

/* MCL_FUTURE comes with MCL_ONFAULT here. */
static enum step look_at_future(struct call *c)
{
	c->steps.phase = STEPS_POPULATE;
	return c->p->future ? STEP_LAST : STEP_MORE;
}

static enum step populate(struct call *c, bool finely)
{
	struct call_steps *s = &c->steps;

	if (s->looked)
		return populate_pages(c, finely);
	if (!find_region(s) || (s->hole && advises_populate(c)))
		return last_if(advises_populate(c) ? c->ret == (s->hole ? -ENOMEM : 0) :
						     c->kind != CALL_MLOCK || c->ret == 0);
	if (c->kind == CALL_MREMAP && s->done == 0 && !s->locked) {
		/* It looks whether there is something to do, then at what mlockall said. */
		if (!(s->page[s->from].flags & PAGE_LOCKED))
			return STEP_LAST;
		s->locked = true;
		s->looked = false;
		s->phase = STEPS_FUTURE;
		return STEP_MORE;
	}
	s->access = populate_access(c, &s->page[s->from]);
	s->done = s->from;
	return STEP_MORE;
}

/* ---- moving ---------------------------------------------------------------------------------- */

/* The pages of the model where c has put something; NULL: the model does not look there. */
static struct page *pages_at(const struct call *c, u64 va, u64 n)
{
	int w = window_of(va, n * windows[c->w].unit);

	return w < 0 ? NULL : &c->p->w[w][(va - windows[w].base) / windows[w].unit];
}

/* Page i of the new place, wherever it comes from. */
static void move_page(struct call *c, u64 i)
{
	struct page *from = &c->p->w[c->w][c->at], *to = c->steps.page;

	set_page(&to[i],
		 i < c->n ? from[i] : fresh(c->steps.first, i, windows[c->w].unit / PAGE_SIZE));
	if (i < c->n)
		set_page(&from[i],
			 c->flags & MREMAP_DONTUNMAP ? left_behind(from[i]) : (struct page){ 0 });
	c->steps.moved[i / 64] |= 1ul << i % 64;
}

static bool has_moved(const struct call *c, u64 i)
{
	return c->steps.moved[i / 64] >> i % 64 & 1;
}

static enum step move_begin(struct call *c)
{
	struct page first = c->p->w[c->w][c->at];
	size_t mark = undo_mark();

	if (!call_explain(c))
		return STEP_NO;
	if (c->ret < 0 || (u64)c->ret == page_va(c->w, c->at) || !pages_at(c, (u64)c->ret, c->n2))
		return STEP_LAST;
	undo_to(mark); /* that is how it ends */
	c->steps = (struct call_steps){ .phase = STEPS_MOVE,
					.first = first,
					.page = pages_at(c, (u64)c->ret, c->n2),
					.n = c->n2 };
	return STEP_MORE;
}

static enum step move_rest(struct call *c)
{
	for (u64 i = 0; i < c->steps.n; i++)
		if (!has_moved(c, i))
			move_page(c, i);
	return STEP_LAST;
}

bool call_moves_early(struct call *mremap, const struct call *c)
{
	const struct call_steps *s = &mremap->steps;
	const struct page *m;

	if (s->phase != STEPS_MOVE || c->p != mremap->p ||
	    (c->kind != CALL_TOUCH && c->kind != CALL_OUTSIDE))
		return false;
	m = &c->p->w[c->w][c->at];
	if (m < s->page || m >= s->page + s->n || has_moved(mremap, (u64)(m - s->page)))
		return false;
	move_page(mremap, (u64)(m - s->page));
	return true;
}

/* ---- protecting ------------------------------------------------------------------------------ */

/*
 * While mprotect takes one right and gives another, a CPU that knows a page has the old right until it is told to forget it; one that
 * does not finds the new one in the page table. So accesses without a fault may have the one here and the other there, until
 * the call ends. But:
 *
 *  - who has used the new right of a page has found it in the page table, and has not the old one any more;
 *  - a right to write private memory comes with a fault;
 *  - faults, and with them refusals, other calls, and reading and writing from outside wait for the lock of the range, or for the
 *    claim, until all have forgotten it. From outside the pieces of a long call are seen that are done.
 */
static bool is_access(const struct call *c)
{
	return c->kind == CALL_TOUCH || c->kind == CALL_OUTSIDE;
}

static bool succeeded(const struct call *c)
{
	return c->kind == CALL_TOUCH ? c->ret == 0 : c->ret == (s64)PAGE_SIZE;
}

static bool gives_and_takes(int was, int is)
{
	return (was & ~is & PROT_WRITE && is & ~was & PROT_EXEC) ||
	       (was & ~is & PROT_EXEC && is & ~was & PROT_WRITE);
}

static bool goes_in_pieces(const struct call *c)
{
	return c->n * windows[c->w].unit > PT_PIECE;
}

/* The page of mprotect that c, an access, is to, if it may be changing just now. */
static bool is_changing(const struct call *mprotect, const struct call *c, u64 *page)
{
	const struct call_steps *s = &mprotect->steps;
	const struct page *m = &mprotect->p->w[mprotect->w][mprotect->at];
	bool in_region = s->phase == STEPS_CHANGE && s->looked && !s->refused;
	u64 from = in_region ? s->from : 0, to = in_region ? s->to : mprotect->n;

	*page = c->at - mprotect->at;
	if ((mprotect->by_steps && !in_region && s->phase != STEPS_WHOLE) || *page < from ||
	    *page >= to)
		return false;
	for (u64 i = from; i <= *page; i++)
		if (!m[i].mapped || (m[i].nowrite && (mprotect->prot & PROT_WRITE)))
			return false;
	return true;
}

bool call_protects_early(struct call *mprotect, const struct call *c)
{
	struct call_steps *s = &mprotect->steps;
	const struct page *m;
	u64 page;

	if (mprotect->kind != CALL_MPROTECT || !is_access(c) || !succeeded(c) ||
	    c->p != mprotect->p || c->w != mprotect->w || s->earlies == MAX_EARLY ||
	    !is_changing(mprotect, c, &page))
		return false;
	m = &c->p->w[c->w][c->at];
	if (!gives_and_takes(m->prot, mprotect->prot) ||
	    !(c->access == FAULT_EXEC || (c->access == FAULT_WRITE && m->shared)) ||
	    (c->kind == CALL_OUTSIDE && !goes_in_pieces(mprotect)))
		return false;
	s->early[s->earlies++] = (u16)((c->kind == CALL_TOUCH ? c->cpu : MAX_CPUS) << 12 | page);
	return true;
}

/* Has that CPU, or somebody from outside, or (MAX_CPUS) anybody used the new right of the page? */
static bool has_new_right(const struct call_steps *s, unsigned cpu, u64 page)
{
	for (unsigned i = 0; i < s->earlies; i++) {
		unsigned by = s->early[i] >> 12;

		if ((s->early[i] & 0xfff) == page &&
		    (by == cpu || by == MAX_CPUS || cpu == MAX_CPUS))
			return true;
	}
	return false;
}

static bool meet(const struct call *mprotect, u64 at, u64 n)
{
	return at < mprotect->at + mprotect->n && at + n > mprotect->at;
}

bool call_is_after(const struct call *c, const struct call *mprotect)
{
	const struct call_steps *s = &mprotect->steps;
	struct page p;
	u64 page;

	if (mprotect->kind != CALL_MPROTECT || !s->earlies || c->p != mprotect->p)
		return false;
	if (c->kind == CALL_FORK)
		return true;
	if (c->w != mprotect->w)
		return false;
	if (!is_access(c))
		return c->kind != CALL_MLOCK && c->kind != CALL_BRK && c->kind != CALL_LIMIT &&
		       c->at != UINT64_MAX && meet(mprotect, c->at, MAX(c->n, 1ul));
	if (!is_changing(mprotect, c, &page))
		return false;
	p = c->p->w[c->w][c->at];
	p.prot = (u8)mprotect->prot;
	if (!succeeded(c))
		return true;
	if (!page_fault_code(&p, c->access))
		return false;
	return c->kind == CALL_TOUCH ?
		       has_new_right(s, c->cpu, page) :
		       !goes_in_pieces(mprotect) || has_new_right(s, MAX_CPUS, page);
}

/* ---- which of them --------------------------------------------------------------------------- */

/* What it is about is mapped; then it may be faulted in. mmap knows now whether it will be: what mlockall said. */
static enum step map_first(struct call *c)
{
	bool populates = c->kind == CALL_MREMAP || call_populates(c);
	u64 from = 0, n = c->n;
	struct page *m;

	if (!call_explain(c))
		return STEP_NO;
	if (c->ret < 0 || !populates)
		return STEP_LAST;
	if (c->kind == CALL_MREMAP) {
		from = c->n;
		n = c->n2 - c->n;
	}
	m = pages_at(c, (u64)c->ret + from * PAGE_SIZE, n);
	return m ? next_phase(c, m, n) : STEP_LAST;
}

static enum step shrink_begin(struct call *c)
{
	bool onto_itself =
		(c->flags & MREMAP_FIXED) && c->at + c->n > c->to && c->to + c->n2 > c->at;

	if (onto_itself)
		return last_if(c->ret == -EINVAL);
	if (!c->p->w[c->w][c->at].mapped)
		return last_if(c->ret == -EFAULT);
	c->steps.phase = STEPS_SHRINK;
	return STEP_MORE;
}

static enum step shrink(struct call *c)
{
	for (u64 i = c->n2; i < c->n; i++)
		set_page(&c->p->w[c->w][c->at + i], (struct page){ 0 });
	if (!(c->flags & MREMAP_FIXED))
		return last_if(c->ret == (s64)page_va(c->w, c->at));
	c->steps.phase = STEPS_SHRUNK;
	return STEP_MORE;
}

/* What is left moves. */
static enum step move_shrunk(struct call *c)
{
	u64 n = c->n;
	enum step step;

	c->n = c->n2;
	step = call_moves_in_pieces(c) ? move_begin(c) : last_if(call_explain(c));
	c->n = n;
	return step;
}

static enum step begin(struct call *c)
{
	struct call_steps *s = &c->steps;
	int err;

	if (c->kind == CALL_MPROTECT && !protects_by_region(c)) {
		s->phase = STEPS_WHOLE;
		return STEP_MORE;
	}
	if (call_shrinks(c))
		return shrink_begin(c);
	if (call_moves_in_pieces(c))
		return move_begin(c);
	if (c->kind == CALL_MMAP || c->kind == CALL_MREMAP)
		return map_first(c);
	err = c->kind == CALL_MLOCK ? limit_mlock(c) : 0;
	if (err) {
		run_counts.refused++;
		return last_if(c->ret == err);
	}
	s->phase = advises_populate(c) ? STEPS_POPULATE : STEPS_CHANGE;
	s->page = &c->p->w[c->w][c->at];
	s->n = c->n;
	return STEP_MORE;
}

enum step call_explain_step(struct call *c, bool finely)
{
	switch (c->steps.phase) {
	case STEPS_BEGIN: return begin(c);
	case STEPS_WHOLE: return last_if(call_explain(c));
	case STEPS_CHANGE: return c->steps.looked ? change_region(c) : look_at_region(c);
	case STEPS_ADD_UP: return add_up(c);
	case STEPS_LOOK: return look_at_pages(c);
	case STEPS_ASK: return ask_object(c, finely);
	case STEPS_PUNCH: return punch(c, finely);
	case STEPS_SHRINK: return shrink(c);
	case STEPS_SHRUNK: return move_shrunk(c);
	case STEPS_MOVE: return move_rest(c);
	case STEPS_FUTURE: return look_at_future(c);
	default: return populate(c, finely);
	}
}

/*
 * What the model says to a call: the rules of Linux's calls, page by page (tests/mm/mm.h).
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/err.h"
#include "lib/uapi/mman.h"
#include "mm/space.h"
#include "tests/mm/mm.h"

char call_why[512];

static bool no(const char *fmt, ...) __printf(1, 2);
static bool no(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(call_why, sizeof(call_why), fmt, ap);
	va_end(ap);
	return false;
}
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
void own_page(struct page *m)
{
	struct page p = *m;

	if (!p.obj || p.shared || p.own)
		return;
	p.tag = page_tag(m);
	p.own = true;
	set_page(m, p);
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* RLIMIT_AS, RLIMIT_DATA: may there be len bytes more, in place of `there`? */
static bool may_expand(const struct proc *p, u64 len, bool data, u64 there)
{
	struct vm_totals t;

	model_totals(p, &t);
	if (t.mapped - there + len > ALIGN_DOWN(p->limit[VM_LIMIT_AS], PAGE_SIZE))
		return false;
	/* Linux takes what is replaced for data, whatever it was. */
	len = len > there ? len - there : 0;
	return !data || t.data + len <= ALIGN_DOWN(p->limit[VM_LIMIT_DATA], PAGE_SIZE);
}

/* RLIMIT_MEMLOCK: len bytes more? */
static bool may_lock(const struct proc *p, u64 len)
{
	struct vm_totals t;

	model_totals(p, &t);
	return t.locked + len <= ALIGN_DOWN(p->limit[VM_LIMIT_LOCK], PAGE_SIZE);
}

bool is_limited(const struct proc *p)
{
	return (p->limit[VM_LIMIT_AS] & p->limit[VM_LIMIT_DATA] & p->limit[VM_LIMIT_LOCK]) !=
	       UINT64_MAX;
}

/* What limits say to an mmap that has a place: 0 or its errno. */
static int limit_mmap(const struct call *c, u64 len, u64 there)
{
	bool data = (c->flags & MAP_TYPE) == MAP_PRIVATE && (c->prot & PROT_WRITE) &&
		    !(c->flags & MAP_GROWSDOWN);

	if (!is_limited(c->p))
		return 0;
	if ((c->flags & MAP_LOCKED) && c->p->limit[VM_LIMIT_LOCK] == 0)
		return -EPERM;
	if (((c->flags & MAP_LOCKED) || c->p->future) && !may_lock(c->p, len))
		return -EAGAIN;
	return may_expand(c->p, len, data, there) ? 0 : -ENOMEM;
}

/* What they say to `more` bytes of what *m is, of which so many are locked if it is. */
static int limit_growth(const struct proc *p, const struct page *m, u64 more, u64 locked)
{
	bool data = !m->shared && (m->prot & PROT_WRITE) && !(m->flags & PAGE_GROWSDOWN);

	if (!is_limited(p))
		return 0;
	if ((m->flags & PAGE_LOCKED) && locked && !may_lock(p, locked))
		return -EAGAIN;
	return may_expand(p, more, data, 0) ? 0 : -ENOMEM;
}

/* The call is beyond a limit. */
static bool refused(const struct call *c, s64 expect)
{
	run_counts.refused++;
	want(c->ret == expect, "beyond a limit: %ld, expected %ld", c->ret, expect);
	return true;
}

/* ---- calls ----------------------------------------------------------------------------------- */

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

bool call_populates(const struct call *c)
{
	if ((c->flags & MAP_LOCKED) || c->p->future)
		return !c->p->future; /* which comes with MCL_ONFAULT */
	return (c->flags & (MAP_POPULATE | MAP_NONBLOCK)) == MAP_POPULATE;
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
			      (c->flags & MAP_STACK ? PAGE_NOHUGE : 0) |
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
	if (call_populates(c) && !c->by_steps)
		populate(m, n, true, false);
}

/* Something was put at ret, without a fixed place: does the documentation say so? `like`: the address of what moved
 * there, or 0. */
static bool explain_place(const struct call *c, u64 ret, u64 len, u64 like)
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
	place = model_place(c->p, len, like, c->hints);
	want(ret == place, "at %#lx, expected at %#lx (hints %#lx %#lx %#lx)", ret, place,
	     c->hints.start, c->hints.end, c->hints.skipped);
	return true;
}

static bool explain_mmap(struct call *c)
{
	u64 len = ALIGN_UP(c->len, PAGE_SIZE), hint;
	struct vm_totals there = { 0 };
	struct page *m;
	int w, err;

	if ((c->flags & MAP_TYPE) == MAP_SHARED_VALIDATE && (c->flags & MAP_FIXED_NOREPLACE)) {
		want(c->ret == -ENOTSUP, "a flag that is newer than VALIDATE: %ld", c->ret);
		return true;
	}
	if (c->at != UINT64_MAX && (c->flags & MAP_FIXED_NOREPLACE) &&
	    !none_mapped(pages(c), c->n)) {
		want(c->ret == -EEXIST, "noreplace: %ld", c->ret);
		return true;
	}
	if (c->flags & MAP_FIXED)
		count_pages(pages(c), c->n, windows[c->w].unit, &there);
	err = limit_mmap(c, len, there.mapped);
	if (err) {
		return refused(c, err);
	}
	if (c->at != UINT64_MAX) {
		hint = page_va(c->w, c->at);
		m = pages(c);
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
	if (!explain_place(c, (u64)c->ret, len, 0))
		return false;
	w = window_of((u64)c->ret, len);
	if (!call_went_outside(c, (u64)c->ret, len)) {
		want(windows[w].unit == PAGE_SIZE, "in window %d", w);
		map_pages(c, &c->p->w[w][((u64)c->ret - windows[w].base) / PAGE_SIZE],
			  len / PAGE_SIZE, 1);
	}
	return true;
}

/*
 * RLIMIT_DATA, with all of the region of m[i] that is in the range, for what is asked region by region: may its n
 * pages become writable? Beyond RLIMIT_AS nothing is asked.
 */
bool may_protect(const struct call *c, const struct page *m, u64 n)
{
	u64 len = n * windows[c->w].unit;
	bool stack = m->flags & PAGE_GROWSDOWN, was = m->prot & PROT_WRITE && !m->shared && !stack;

	return may_expand(c->p, len, !m->shared && !stack, 0) || !may_expand(c->p, len, was, 0);
}

bool protects_by_region(const struct call *c)
{
	return (c->prot & PROT_WRITE) && c->p->limit[VM_LIMIT_DATA] != UINT64_MAX;
}

static bool explain_mprotect(struct call *c)
{
	struct page *m = pages(c);
	bool limited = protects_by_region(c) && c->steps.phase != STEPS_WHOLE;
	int expect = 0;

	for (u64 i = 0, n; i < c->n && !expect; i += n) {
		struct page first = m[i];

		for (n = 1;
		     i + n < c->n && page_continues(&m[i + n - 1], &m[i + n], step_of(c->w));)
			n++;
		if (!first.mapped)
			expect = -ENOMEM;
		else if (first.nowrite && (c->prot & PROT_WRITE))
			expect = -EACCES;
		else if (limited && !may_protect(c, &first, n))
			return refused(c, -ENOMEM);
		for (u64 k = i; k < i + n && !expect; k++) {
			struct page p = m[k];

			p.prot = (u8)c->prot;
			set_page(&m[k], p);
		}
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
struct page fresh(struct page first, u64 i, u64 step)
{
	first = emptied(first);
	if (first.obj)
		first.index += (u32)(i * step);
	return first;
}

/* What MREMAP_DONTUNMAP leaves behind. */
struct page left_behind(struct page p)
{
	p.flags &= (u8)~PAGE_LOCKED;
	return emptied(p);
}

/* n pages move to a place for n2. to NULL: outside of the windows. */
static void move_pages(struct page *from, u64 n, struct page *to, u64 n2, u64 step, bool keep)
{
	struct page first = *from;

	for (u64 i = 0; to && i < n2; i++)
		set_page(&to[i], i < n ? from[i] : fresh(first, i, step));
	for (u64 i = 0; i < n; i++)
		set_page(&from[i], keep ? left_behind(from[i]) : (struct page){ 0 });
}

/* New pages of a locked region are there at once. */
static void populate_new(const struct call *c, struct page *m, u64 n, u64 n2)
{
	if (m && n2 > n && (m[n].flags & PAGE_LOCKED) && !c->p->future && !c->by_steps)
		populate(m + n, n2 - n, true, false);
}

static bool explain_mremap_fixed(struct call *c)
{
	u64 step = step_of(c->w), n = c->n, unit = windows[c->w].unit;
	struct page *m = pages(c), *to = &c->p->w[c->w][c->to];
	bool keep = c->flags & MREMAP_DONTUNMAP;
	int err;

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
	if (keep && is_limited(c->p))
		clear_pages(
			to,
			n); /* Linux: what is replaced goes first, and is not missed if that was in vain */
	err = c->n2 > n || keep ?
		      limit_growth(c->p, m, (keep ? n : c->n2 - n) * unit, (c->n2 - n) * unit) :
		      0;
	if (err) {
		return refused(c, err);
	}
	want(c->ret == (s64)page_va(c->w, c->to), "mremap fixed: %ld", c->ret);
	move_pages(m, n, to, c->n2, step, keep);
	populate_new(c, to, n, c->n2);
	return true;
}

/* old_len 0: the shared object a second time. */
static bool explain_duplicate(struct call *c)
{
	struct call as_mmap = { .p = c->p, .flags = MAP_SHARED };
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
	as_mmap.flags |= m->flags & PAGE_LOCKED ? MAP_LOCKED : 0;
	w = limit_mmap(&as_mmap, len, 0);
	if (w) {
		return refused(c, w);
	}
	if (!explain_place(c, (u64)c->ret, len, 0))
		return false;
	w = window_of((u64)c->ret, len);
	for (u64 i = 0; !call_went_outside(c, (u64)c->ret, len) && i < len / PAGE_SIZE; i++) {
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

	if (!explain_place(c, (u64)c->ret, len, page_va(c->w, c->at)))
		return false;
	w = window_of((u64)c->ret, len);
	if (!call_went_outside(c, (u64)c->ret, len)) {
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
	int err;

	if (n == 0)
		return explain_duplicate(c);
	if (c->flags & MREMAP_FIXED)
		return explain_mremap_fixed(c);
	if (!m->mapped ||
	    (!pages_uniform(m, n, step) && (n2 > n || (c->flags & MREMAP_DONTUNMAP)))) {
		want(c->ret == -EFAULT, "mremap of a hole or several regions: %ld", c->ret);
		return true;
	}
	err = n2 > n || (c->flags & MREMAP_DONTUNMAP) ?
		      limit_growth(c->p, m,
				   (c->flags & MREMAP_DONTUNMAP ? n2 : n2 - n) * windows[c->w].unit,
				   (n2 - n) * windows[c->w].unit) :
		      0;
	if (err) {
		return refused(c, err);
	}
	if (c->flags & MREMAP_DONTUNMAP)
		return explain_move(c);
	if (n2 <= n) {
		want(c->ret == (s64)page_va(c->w, c->at), "mremap shrinks: %ld", c->ret);
		clear_pages(m + n2, n - n2);
		return true;
	}
	/* To try it in place and to move are two steps: what was in the way may go between them. */
	if (none_mapped(m + n, n2 - n) &&
	    !(call_concurrent && c->flags && c->ret != (s64)page_va(c->w, c->at))) {
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

	/* Linux wants one page more, and below a stack the gap. */
	if (to > from && (!none_mapped(&p->w[W_BRK][from], MIN(to + 1, w->n) - from) ||
			  model_near_stack(p, page_va(W_BRK, to + 1)))) {
		want(c->ret == (s64)p->brk, "brk over a mapping: %#lx", c->ret);
		return true;
	}
	if (is_limited(p) && (c->n > p->limit[VM_LIMIT_DATA] ||
			      (to > from && limit_mmap(&as_mmap, (to - from) * PAGE_SIZE, 0)))) {
		return refused(c, (s64)p->brk);
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

/* RLIMIT_MEMLOCK: what it says to mlock and mlockall. */
int limit_mlock(const struct call *c)
{
	u64 limit = c->p->limit[VM_LIMIT_LOCK];
	struct vm_totals all, there = { 0 };

	if (!is_limited(c->p) || c->advice == 2 || c->advice == 3 || c->advice > 6)
		return 0;
	if (limit == 0)
		return -EPERM;
	model_totals(c->p, &all);
	limit = ALIGN_DOWN(limit, PAGE_SIZE);
	if (c->advice == 5)
		return all.mapped > limit ? -ENOMEM : 0;
	if (c->advice == 6)
		return 0;
	count_pages(pages(c), c->n, windows[c->w].unit, &there);
	return all.locked - there.locked + c->n * windows[c->w].unit > limit ? -ENOMEM : 0;
}

static bool explain_mlock(struct call *c)
{
	struct page *m = pages(c);
	int expect = limit_mlock(c);

	if (expect) {
		return refused(c, expect);
	}
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
		set_long(&c->p->future, 0);
		lock_all(c->p, true);
		break;
	case 6: set_long(&c->p->future, 1); break;
	default: set_long(&c->p->future, 0); lock_all(c->p, false);
	}
	want(c->ret == expect, "mlock (%d): %ld, expected %d", c->advice, c->ret, expect);
	return true;
}

/* What was written is in memory: a page of ours, or an object's. */
bool page_is_there(const struct page *p)
{
	return p->own || page_tag(p);
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
		want(c->core[i] || !page_is_there(&m[i]),
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
	set_long(&child->grown, 0);
	memcpy(child->limit, c->p->limit, sizeof(child->limit));
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

/*
 * An access below a region with MAP_GROWSDOWN: it grows to that page, if its size stays within the limit
 * and nothing accessible is less than the gap below.
 */
static bool grow_stack(const struct call *c)
{
	struct page *m = pages(c), below;
	struct proc *p = c->p;
	u64 n = windows[c->w].n - c->at, up = 0, va = page_va(c->w, c->at), top, end, start, stop;

	while (up < n && !m[up].mapped)
		up++;
	if (up == 0 || up == n || !(m[up].flags & PAGE_GROWSDOWN) || m[up].obj)
		return false;
	top = end = page_va(c->w, c->at + up);
	for (u64 i = up; i < n && m[i].mapped && (i == up || page_continues(&m[i - 1], &m[i], 1));
	     i++)
		end += windows[c->w].unit;
	if (p->grown == top) /* its end is remembered */
		end = p->grown_end;
	if (end - va > p->limit[VM_LIMIT_STACK] || limit_growth(p, &m[up], top - va, top - va))
		return false;
	if (page_below(p, va, &start, &stop, &below) && stop + VM_STACK_GAP > va && below.prot &&
	    !(below.flags & PAGE_GROWSDOWN))
		return false;
	for (u64 i = 0; i < up; i++)
		set_page(&m[i], emptied(m[up]));
	set_long(&p->grown, va);
	set_long(&p->grown_end, end);
	run_counts.stacks_grown++;
	return true;
}

/* A stack grows in a step of its own, before the access that wants it. It does so for its own program only. */
bool call_grows_early(struct call *c)
{
	return c->kind == CALL_TOUCH && grow_stack(c);
}

/*
 * An access that writes to a private page of an object makes two steps: the copy is put in place, and
 * then written. A fork, or a page that moves, may come between; then what was copied stays as it was,
 * whatever becomes of the object. True: this call may have done the first step now.
 */
bool call_copies_early(struct call *c)
{
	struct page *m;

	if ((c->kind != CALL_TOUCH && c->kind != CALL_OUTSIDE) || c->access != FAULT_WRITE)
		return false;
	m = pages(c);
	if (page_fault_code(m, FAULT_WRITE) || !m->obj || m->shared || m->own)
		return false;
	own_page(m);
	return true;
}

static bool explain_access(struct call *c)
{
	struct page *m = pages(c);

	call_grows_early(c);

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

/* Nothing happened for want of memory; but that a stack grew, in a step of its own, stays, as on Linux. */
static bool explain_failed(struct call *c)
{
	struct seen s = { 0 };

	if (c->kind == CALL_TOUCH || c->kind == CALL_OUTSIDE)
		see_pages(c->p, c->w, c->at, 1, &s);
	if (s.page.mapped)
		call_grows_early(c);
	return true;
}

bool call_explain(struct call *c)
{
	if (c->failed_alloc)
		return explain_failed(c);
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
	case CALL_LIMIT: set_long(&c->p->limit[c->advice], c->len); return true;
	case CALL_EXIT: set_as(&c->p->as, NULL); return true;
	case CALL_TRUNCATE: return explain_truncate(c);
	case CALL_TOUCH:
	case CALL_OUTSIDE: return explain_access(c);
	default: return true;
	}
}

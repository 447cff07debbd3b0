/*
 * The flat model: for each process one record for each page of a few windows, for each object an
 * array of contents. Nothing here knows of tables, marks or shared frames.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mm/anon_object.h"
#include "mm/pt.h"
#include "tests/mm/mm.h"

const struct window windows[WINDOWS] = {
	/* five tables of level 1, across a border of 512 GiB */
	[W_PAGES] = { 0x008000000000ul - 600 * PAGE_SIZE, PAGE_SIZE, 1400 },
	/* marks and tables of levels 2 and 3 */
	[W_LARGE] = { 0x018000000000ul - 600 * 2 * MiB, 2 * MiB, 1200 },
	/* the break */
	[W_BRK] = { 0x000000800000ul, PAGE_SIZE, 600 },
	/* where mmap puts things, and with MAP_32BIT */
	[W_TOP] = { VM_MMAP_TOP - 1200 * PAGE_SIZE, PAGE_SIZE, 1200 },
	[W_LOW] = { 2 * GiB - 200 * PAGE_SIZE, PAGE_SIZE, 200 },
};

/* From the highest address down. */
static const unsigned by_address[WINDOWS] = { W_TOP, W_LARGE, W_PAGES, W_LOW, W_BRK };

struct proc procs[MAX_PROCS];
u32 *obj_tag[MAX_OBJS];
u64 obj_pages[MAX_OBJS];
unsigned nr_objs;
u32 next_tag;

#define TAIL (PAGE_SIZE / sizeof(u32) - 1)

/* ---- changes --------------------------------------------------------------------------------- */

struct undo {
	void *at;
	u32 size;
	u64 old[2];
	u64 state; /* before */
};
static struct undo *undo_log;
static size_t undo_n, undo_room;
u64 model_state;

static void note(void *at, u32 size)
{
	if (undo_n == undo_room) {
		undo_room = undo_room ? 2 * undo_room : 4096;
		undo_log = realloc(undo_log, undo_room * sizeof(*undo_log));
		check(undo_log != NULL, "no memory for the log");
	}
	undo_log[undo_n] = (struct undo){ .at = at, .size = size, .state = model_state };
	memcpy(undo_log[undo_n++].old, at, size);
}

u64 hash_add(u64 hash, u64 value)
{
	hash = (hash ^ value) * 0x9e3779b97f4a7c15ul;
	return hash ^ hash >> 29;
}

static u64 hash_long(const void *at, u64 value)
{
	return hash_add(hash_add(1, (u64)at), value);
}

u64 page_hash(const struct page *p)
{
	u64 bits = p->mapped | p->shared << 1 | p->nowrite << 2 | p->own << 3;

	return hash_add(hash_add(1, bits << 32 | (u64)p->prot << 24 | (u64)p->flags << 16 | p->obj),
			(u64)p->index << 32 | p->tag);
}

void set_page(struct page *p, struct page to)
{
	_Static_assert(sizeof(struct page) <= sizeof(((struct undo *)0)->old), "fits");
	note(p, sizeof(*p));
	model_state ^= hash_long(p, page_hash(p));
	*p = to;
	model_state ^= hash_long(p, page_hash(p));
}

void set_word(u32 *p, u32 to)
{
	note(p, sizeof(*p));
	model_state ^= hash_long(p, *p) ^ hash_long(p, to);
	*p = to;
}

void set_long(u64 *p, u64 to)
{
	note(p, sizeof(*p));
	model_state ^= hash_long(p, *p) ^ hash_long(p, to);
	*p = to;
}

void set_as(struct aspace **p, struct aspace *to)
{
	note(p, sizeof(*p));
	model_state ^= hash_long(p, (u64)*p) ^ hash_long(p, (u64)to);
	*p = to;
}

size_t undo_mark(void)
{
	return undo_n;
}

void undo_to(size_t mark)
{
	while (undo_n > mark) {
		undo_n--;
		memcpy(undo_log[undo_n].at, undo_log[undo_n].old, undo_log[undo_n].size);
		model_state = undo_log[undo_n].state;
	}
}

void undo_forget(void)
{
	undo_n = 0;
}

/* ---- pages ----------------------------------------------------------------------------------- */

u64 page_va(unsigned w, u64 at)
{
	return windows[w].base + at * windows[w].unit;
}

u32 page_tag(const struct page *p)
{
	if (p->obj && !p->own)
		return p->index < obj_pages[p->obj] ? obj_tag[p->obj][p->index] : 0;
	return p->tag;
}

unsigned new_obj(u64 pages)
{
	check(nr_objs < MAX_OBJS, "too many objects");
	obj_tag[nr_objs] = calloc(pages, sizeof(u32));
	obj_pages[nr_objs] = pages;
	return nr_objs++;
}

int page_fault_code(const struct page *p, enum fault_access access)
{
	static const u8 need[] = { PROT_READ | PROT_WRITE | PROT_EXEC, PROT_WRITE, PROT_EXEC };

	if (!p->mapped)
		return SEGV_MAPERR;
	if (!(p->prot & need[access]))
		return SEGV_ACCERR;
	if (p->obj && !p->own && p->index >= obj_pages[p->obj])
		return FAULT_BUS | BUS_ADRERR;
	return 0;
}

bool none_mapped(const struct page *m, u64 n)
{
	for (u64 i = 0; i < n; i++)
		if (m[i].mapped)
			return false;
	return true;
}

bool page_continues(const struct page *a, const struct page *b, u64 step)
{
	return b->mapped && a->prot == b->prot && a->flags == b->flags && a->obj == b->obj &&
	       a->shared == b->shared && a->nowrite == b->nowrite &&
	       (!a->obj || b->index == a->index + step);
}

bool pages_uniform(const struct page *m, u64 n, u64 step)
{
	for (u64 i = 0; i < n; i++)
		if (!m[i].mapped || (i && !page_continues(&m[i - 1], &m[i], step)))
			return false;
	return true;
}

void proc_alloc(struct proc *p)
{
	for (unsigned w = 0; w < WINDOWS; w++)
		p->w[w] = calloc(windows[w].n, sizeof(struct page));
	p->hot_n = 0;
	p->future = 0;
	p->grown = p->grown_end = 0;
	for (unsigned i = 0; i < VM_LIMITS; i++)
		p->limit[i] = i == VM_LIMIT_STACK ? STACK_LIMIT : UINT64_MAX;
}

void proc_free(struct proc *p)
{
	for (unsigned w = 0; w < WINDOWS; w++) {
		free(p->w[w]);
		p->w[w] = NULL;
	}
}

void proc_limit(struct proc *p)
{
	for (unsigned i = 0; i < VM_LIMITS; i++)
		aspace_set_limit(p->as, (enum vm_limit)i, p->limit[i]);
}

/* ---- places ---------------------------------------------------------------------------------- */

int window_of(u64 va, u64 len)
{
	for (int w = 0; w < WINDOWS; w++)
		if (va >= windows[w].base &&
		    va + len <= windows[w].base + windows[w].n * windows[w].unit)
			return w;
	return -1;
}

bool page_below(const struct proc *p, u64 end, u64 *start, u64 *stop, struct page *page)
{
	for (unsigned k = 0; k < WINDOWS; k++) {
		const struct window *w = &windows[by_address[k]];
		const struct page *m = p->w[by_address[k]];
		u64 i = end <= w->base ? 0 : MIN((end - w->base + w->unit - 1) / w->unit, w->n);

		while (i-- > 0)
			if (m[i].mapped) {
				*start = w->base + i * w->unit;
				*stop = *start + w->unit;
				*page = m[i];
				return true;
			}
	}
	return false;
}

bool model_near_stack(const struct proc *p, u64 end)
{
	u64 start = 0, stop, at = end + VM_STACK_GAP;
	struct page page;
	bool grows = false;

	/* The lowest page that reaches beyond `end`, if it begins below end + gap. */
	while (page_below(p, at, &start, &stop, &page) && stop > end) {
		grows = page.flags & PAGE_GROWSDOWN;
		at = start;
	}
	return grows;
}

bool model_free(const struct proc *p, u64 va, u64 len)
{
	u64 start, stop;
	struct page page;

	return !page_below(p, va + len, &start, &stop, &page) || stop <= va;
}

/* The topmost hole below `from`. */
static u64 hole_below(const struct proc *p, u64 len, u64 align, u64 from)
{
	u64 end = from, start, stop, at = from;
	struct page page;
	bool more = true;

	while (more) {
		u64 low = VM_MMAP_BOTTOM, va;

		more = page_below(p, at, &start, &stop, &page);
		if (more)
			low = MAX(low, stop);
		va = ALIGN_DOWN(end - len, align);
		if (end >= len && va >= low && va < end)
			return va;
		if (more) {
			at = start;
			end = start;
			if (page.flags & PAGE_GROWSDOWN)
				end -= MIN(start, VM_STACK_GAP);
		}
	}
	return 0;
}

/* "Where a mapping goes" of docs/memory.md: `len` bytes, of which the first `skip` are not used. */
static u64 place_for(const struct proc *p, u64 len, u64 skip, struct aspace_hints h)
{
	/* From 512 KiB on a mapping gets slots of its own. */
	u64 align = len >= 64 * MiB ? GiB : len >= 512 * KiB ? 2 * MiB : PAGE_SIZE, va;
	u64 room = ALIGN_UP(len, align);

	while (room > h.skipped) {
		va = ALIGN_DOWN(h.end - room, align);
		if (room >= h.end || va < h.start)
			break;
		/* Freed lately, thus tried without a search; but something else may be there. */
		if (model_free(p, va + skip, len - skip))
			return va;
		h.skipped = MAX(h.skipped, h.end - (va + len));
		h.end = h.start = va;
	}
	if (room <= h.skipped)
		h.end = VM_MMAP_TOP;
	va = hole_below(p, room, align, h.end);
	if (!va && h.end != VM_MMAP_TOP)
		va = hole_below(p, room, align, VM_MMAP_TOP);
	return va ? va : hole_below(p, len, PAGE_SIZE, VM_MMAP_TOP);
}

/* What moves from `like` (or 0) and is large keeps its address modulo 2 MiB. */
u64 model_place(const struct proc *p, u64 len, u64 like, struct aspace_hints h)
{
	u64 skip = len >= 512 * KiB ? like % (2 * MiB) : 0, va = place_for(p, len + skip, skip, h);

	return va && va % (2 * MiB) == 0 ? va + skip : va;
}

/* ---- what the page table says ---------------------------------------------------------------- */

struct look {
	u64 base, unit, n;
	struct seen *out;
};

static u16 number_of(const struct vm_object *o)
{
	for (unsigned i = 0; i < MAX_FILES; i++)
		if (o == &files[i].obj)
			return (u16)(i + 1);
	return MAX_FILES + 1; /* one of the anonymous ones */
}

static void see_frame(struct seen *s, pfn_t pfn)
{
	const u32 *at = phys_to_virt(PADDR(pfn << PAGE_SHIFT));

	s->frame = true;
	s->page.tag = at[0];
	s->torn = at[0] != at[TAIL];
	s->page.own = s->page.obj && !s->page.shared && pfn_frame(pfn)->type == FRAME_ANON;
}

/* What a page of an object has, if it is there at all; it is not made. */
static u32 object_content(struct vm_object *o, u64 index)
{
	struct frame *f;
	u32 tag;

	for (unsigned i = 0; i < MAX_FILES; i++)
		if (o == &files[i].obj)
			return file_content(&files[i], index);
	if (!o->ops->has_page(o, index) || o->ops->get_page(o, index, &f))
		return 0;
	tag = *(const u32 *)frame_virt(f);
	frame_put(f);
	return tag;
}

static struct seen see(const struct pt_slot *slot, u64 va)
{
	struct seen s = { .page.mapped = true };
	u64 bits = slot->mark.v;

	s.page.prot = (u8)bits_to_prot(bits);
	s.page.flags =
		(u8)((bits & VM_GROWSDOWN ? PAGE_GROWSDOWN : 0) |
		     (bits & VM_NORESERVE ? PAGE_NORESERVE : 0) |
		     (bits & VM_LOCKED ? PAGE_LOCKED : 0) |
		     (bits & VM_DONTFORK ? PAGE_DONTFORK : 0) | (bits & VM_WIPE ? PAGE_WIPE : 0) |
		     (bits & VM_HUGE ? PAGE_HUGE : 0) | (bits & VM_NOHUGE ? PAGE_NOHUGE : 0));
	if (mark_has_mapping(slot->mark)) {
		const struct vm_mapping *m = mark_mapping(slot->mark);

		s.page.shared = mark_kind(slot->mark) == MARK_SHARED;
		s.page.nowrite = s.page.shared && m->nowrite;
		s.page.obj = number_of(m->obj);
		if (s.page.obj > MAX_FILES)
			s.id = m->obj->ops->inode_number(m->obj);
		s.page.index = (u32)((m->offset + (va - m->va)) >> PAGE_SHIFT);
	}
	if (pte_is_present(slot->e))
		see_frame(&s, pte_pfn(slot->e) + ((va - slot->va) >> PAGE_SHIFT));
	else if (mark_is_held(slot->e))
		see_frame(&s, mark_pfn(slot->e) + ((va - slot->va) >> PAGE_SHIFT));
	else if (mark_has_mapping(slot->mark))
		s.page.tag = object_content(mark_mapping(slot->mark)->obj, s.page.index);
	return s;
}

static int look_slot(const struct pt_slot *s, void *arg)
{
	struct look *l = arg;
	u64 from = MAX(s->va, l->base), end = MIN(s->va + s->size, l->base + l->n * l->unit);

	if (pte_is_none(s->mark))
		return 0;
	for (u64 va = ALIGN_UP(from - l->base, l->unit) + l->base; va < end; va += l->unit)
		l->out[(va - l->base) / l->unit] = see(s, va);
	return 0;
}

void see_pages(struct proc *p, unsigned w, u64 at, u64 n, struct seen *out)
{
	struct look l = { .base = page_va(w, at), .unit = windows[w].unit, .n = n, .out = out };

	memset(out, 0, n * sizeof(*out));
	pt_scan(p->as, l.base, l.base + n * l.unit, look_slot, &l);
}

/*
 * Which anonymous object of mm/ is which of the model's shows when a page is first seen; from then on
 * it stays so. (The order of calls at the same time may depend on it: such guesses are logged, too.)
 */
#define IDS 8192
static u64 obj_id[MAX_OBJS], id_obj[IDS]; /* id_obj: id * MAX_OBJS + obj */

static bool is_object(u16 obj, u64 id)
{
	u64 *known = &id_obj[id % IDS];

	if (obj <= MAX_FILES || !id)
		return !id;
	if (obj_id[obj] == 0 && *known / MAX_OBJS != id) {
		set_long(&obj_id[obj], id);
		set_long(known, id * MAX_OBJS + obj);
	}
	return obj_id[obj] == id;
}

void objects_start(void)
{
	memset(obj_id, 0, sizeof(obj_id));
	memset(id_obj, 0, sizeof(id_obj));
	nr_objs = 1;
}

const char *compare_seen(const struct page *m, const struct seen *s, u64 n, u64 va)
{
	static char text[256];

	for (u64 i = 0; i < n; i++) {
		const struct page *a = &m[i], *b = &s[i].page;
		u16 obj = MIN(a->obj, MAX_FILES + 1);
		bool gone = a->obj && !a->own && a->index >= obj_pages[a->obj];
		u32 tag;

		if (!a->mapped && !b->mapped)
			continue;
		tag = page_tag(a);
		if (a->mapped != b->mapped || a->prot != b->prot || a->flags != b->flags ||
		    obj != b->obj || !is_object(a->obj, s[i].id) || a->shared != b->shared ||
		    a->nowrite != b->nowrite || a->index != b->index) {
			snprintf(text, sizeof(text),
				 "page %lu (%#lx): mapped %u prot %u flags %#x obj %u index %u "
				 "shared %u nowrite %u; expected %u %u %#x %u %u %u %u",
				 i, va, b->mapped, b->prot, b->flags, b->obj, b->index, b->shared,
				 b->nowrite, a->mapped, a->prot, a->flags, obj, a->index, a->shared,
				 a->nowrite);
			return text;
		}
		if (s[i].torn || b->tag != tag || (s[i].frame && gone) || a->own != b->own) {
			snprintf(text, sizeof(text), "page %lu (%#lx): %s%s %u%s, expected%s %u%s",
				 i, va, s[i].frame ? "content" : "no frame",
				 b->own ? " of its own" : "", b->tag,
				 s[i].torn ? " (first word only)" : "", a->own ? " of its own" : "",
				 tag, gone ? " and no frame beyond the object's end" : "");
			return text;
		}
	}
	return NULL;
}

const char *compare_files(void)
{
	static char text[128];

	for (unsigned i = 0; i < MAX_FILES; i++)
		for (u64 k = 0; k < FILE_PAGES; k++)
			if (file_content(&files[i], k) != obj_tag[i + 1][k]) {
				snprintf(text, sizeof(text), "file %u, page %lu: %u, expected %u",
					 i + 1, k, file_content(&files[i], k), obj_tag[i + 1][k]);
				return text;
			}
	return NULL;
}

/* ---- all of a process ------------------------------------------------------------------------ */

struct walk {
	struct proc *p;
	unsigned k;
	u64 i; /* next page of the model */
};

/* The model's next region. False: none left. */
static bool model_region(struct walk *k, struct vm_region *r)
{
	for (; k->k < WINDOWS; k->k++, k->i = 0) {
		unsigned nr = by_address[WINDOWS - 1 - k->k];
		const struct window *w = &windows[nr];
		const struct page *m = k->p->w[nr], *first;

		while (k->i < w->n && !m[k->i].mapped)
			k->i++;
		if (k->i == w->n)
			continue;
		first = &m[k->i];
		r->start = page_va(nr, k->i);
		do
			k->i++;
		while (k->i < w->n && page_continues(&m[k->i - 1], &m[k->i], w->unit / PAGE_SIZE));
		r->end = page_va(nr, k->i);
		r->prot = first->prot;
		r->flags = (first->shared ? MAP_SHARED : MAP_PRIVATE) |
			   (first->flags & PAGE_GROWSDOWN ? MAP_GROWSDOWN : 0) |
			   (first->flags & PAGE_NORESERVE ? MAP_NORESERVE : 0) |
			   (first->flags & PAGE_LOCKED ? MAP_LOCKED : 0) |
			   (first->obj >= 1 && first->obj <= MAX_FILES ? 0 : MAP_ANONYMOUS);
		r->dontfork = first->flags & PAGE_DONTFORK;
		r->wipe = first->flags & PAGE_WIPE;
		r->huge = first->flags & PAGE_HUGE;
		r->nohuge = first->flags & PAGE_NOHUGE;
		r->obj = first->obj >= 1 && first->obj <= MAX_FILES ? &files[first->obj - 1].obj :
								      NULL;
		r->offset = first->obj ? first->index * PAGE_SIZE : 0;
		return true;
	}
	return false;
}

static int walk_one(const struct vm_region *r, void *arg)
{
	struct walk *k = arg;
	struct vm_region m;

	check(model_region(k, &m), "maps has %#lx-%#lx too much", r->start, r->end);
	check(r->start == m.start && r->end == m.end && r->prot == m.prot && r->flags == m.flags &&
		      r->offset == m.offset && (!m.obj || m.obj == r->obj) &&
		      r->dontfork == m.dontfork && r->wipe == m.wipe && r->huge == m.huge &&
		      r->nohuge == m.nohuge,
	      "maps: %#lx-%#lx prot %d flags %#x offset %#lx; expected %#lx-%#lx prot %d flags %#x "
	      "offset %#lx",
	      r->start, r->end, r->prot, r->flags, r->offset, m.start, m.end, m.prot, m.flags,
	      m.offset);
	return 0;
}

void count_pages(const struct page *m, u64 n, u64 unit, struct vm_totals *t)
{
	for (u64 i = 0; i < n; i++) {
		u64 len = m[i].mapped ? unit : 0;

		t->mapped += len;
		t->locked += m[i].flags & PAGE_LOCKED ? len : 0;
		t->stack += m[i].flags & PAGE_GROWSDOWN ? len : 0;
		if (m[i].shared)
			t->shared += len;
		else if ((m[i].prot & PROT_WRITE) && !(m[i].flags & PAGE_GROWSDOWN))
			t->data += len;
	}
}

void model_totals(const struct proc *p, struct vm_totals *t)
{
	*t = (struct vm_totals){ 0 };
	for (unsigned w = 0; w < WINDOWS; w++)
		count_pages(p->w[w], windows[w].n, windows[w].unit, t);
}

/* VmSize, VmData and their kin. */
static void compare_totals(struct proc *p)
{
	struct vm_totals t, m;

	vm_count(p->as, 0, UINT64_MAX, &t);
	model_totals(p, &m);
	check(!memcmp(&t, &m, sizeof(t)),
	      "mapped %#lx locked %#lx data %#lx stack %#lx shared %#lx; expected %#lx %#lx %#lx "
	      "%#lx %#lx",
	      t.mapped, t.locked, t.data, t.stack, t.shared, m.mapped, m.locked, m.data, m.stack,
	      m.shared);
}

void compare_all(struct proc *p)
{
	static struct seen seen[1400];
	struct walk k = { .p = p };
	struct vm_region m;
	const char *why;

	check(aspace_walk(p->as, 0, walk_one, &k) == 0, "walk");
	check(!model_region(&k, &m), "maps lacks %#lx-%#lx", m.start, m.end);
	compare_totals(p);
	why = compare_files();
	check(!why, "%s", why);
	for (unsigned w = 0; w < WINDOWS; w++) {
		check(windows[w].n <= ARRAY_SIZE(seen), "window %u", w);
		see_pages(p, w, 0, windows[w].n, seen);
		why = compare_seen(p->w[w], seen, windows[w].n, windows[w].base);
		check(!why, "process %u: %s", (unsigned)(p - procs), why);
	}
}

/*
 * A run: a fresh machine, one record after the other, and at the end everything free again.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/api/mmu.h"
#include "arch/host/ram.h"
#include "lib/err.h"
#include "mm/large.h"
#include "mm/pt.h"
#include "mm/slab.h"
#include "tests/mm/mm.h"

#define TAIL (PAGE_SIZE / sizeof(u32) - 1)

u64 run_position, run_frames;
bool run_quiet, run_tells;
u64 *run_failed_at;
static const struct run *at_hand;
extern void (*host_panic_hook)(const char *message);

void run_fail_at(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	if (run_failed_at)
		*run_failed_at = run_position;
	if (!run_quiet) {
		printf("# %s, record %lu (%s:%d): ", at_hand ? at_hand->name : "", run_position,
		       file, line);
		va_start(ap, fmt);
		vprintf(fmt, ap);
		va_end(ap);
		printf("\n");
		fflush(stdout);
	}
	abort();
}

static void on_panic(const char *message)
{
	run_fail("panic: %s", message);
}

/* ---- files ----------------------------------------------------------------------------------- */

struct test_file files[MAX_FILES];

/* The page, with a reference more, or -ENXIO. `fresh`, if given, becomes it where there is none. */
static int find_page(struct test_file *f, u64 index, struct frame *fresh, struct frame **out)
{
	int ret = 0;

	spin_lock(&f->lock);
	*out = NULL;
	if (index >= f->size) {
		ret = -ENXIO;
	} else {
		if (fresh && !f->page[index]) {
			frame_get(fresh);
			f->page[index] = fresh;
		}
		*out = f->page[index];
	}
	if (*out)
		frame_get(*out);
	spin_unlock(&f->lock);
	return ret;
}

static int file_get_page(struct vm_object *o, u64 index, struct frame **out)
{
	struct test_file *f = container_of(o, struct test_file, obj);
	int ret = find_page(f, index, NULL, out);
	struct frame *fresh;

	if (ret || *out)
		return ret;
	fresh = frame_alloc(FRAME_FILE, FRAME_ZERO);
	if (!fresh)
		return -ENOMEM;
	ret = find_page(f, index, fresh,
			out); /* another CPU may have been faster, or cut the file */
	frame_put(fresh);
	return ret;
}

u32 file_content(const struct test_file *f, u64 index)
{
	const struct frame *page = index < f->size ? f->page[index] : NULL;

	return page ? *(const u32 *)frame_virt(page) : 0;
}

static void file_get_resident(struct vm_object *o, u64 index, unsigned n, struct frame **out)
{
	struct test_file *f = container_of(o, struct test_file, obj);

	for (unsigned i = 0; i < n; i++)
		find_page(f, index + i, NULL, &out[i]);
}

static bool file_has_page(struct vm_object *o, u64 index)
{
	struct frame *f = NULL;

	if (find_page(container_of(o, struct test_file, obj), index, NULL, &f) || !f)
		return false;
	frame_put(f);
	return true;
}

static void file_get(struct vm_object *o)
{
	__atomic_fetch_add(&container_of(o, struct test_file, obj)->refs, 1, __ATOMIC_SEQ_CST);
}

static void file_put(struct vm_object *o)
{
	__atomic_fetch_sub(&container_of(o, struct test_file, obj)->refs, 1, __ATOMIC_SEQ_CST);
}

static void drop_pages(struct test_file *f, u64 first, u64 last)
{
	for (u64 i = first; i <= last && i < FILE_PAGES; i++) {
		struct frame *page;

		spin_lock(&f->lock);
		page = f->page[i];
		f->page[i] = NULL;
		spin_unlock(&f->lock);
		if (page)
			frame_put(page);
	}
}

static int file_punch(struct vm_object *o, u64 first, u64 last)
{
	drop_pages(container_of(o, struct test_file, obj), first, last);
	vm_object_zap(o, first, last, false);
	return 0;
}

void file_truncate(struct test_file *f, u64 pages)
{
	spin_lock(&f->lock);
	f->size = pages;
	spin_unlock(&f->lock);
	drop_pages(f, pages, FILE_PAGES - 1);
	vm_object_zap(&f->obj, pages, UINT64_MAX, true);
}

static const struct vm_object_ops file_ops = {
	.get_page = file_get_page,
	.has_page = file_has_page,
	.get_resident = file_get_resident,
	.get = file_get,
	.put = file_put,
	.punch = file_punch,
};

/* A content of its own for each page of each file. */
static void files_start(void)
{
	memset(files, 0, sizeof(files));
	objects_start();
	for (unsigned i = 0; i < MAX_FILES; i++) {
		files[i].obj.ops = &file_ops;
		files[i].size = FILE_PAGES;
		new_obj(FILE_PAGES);
		for (unsigned j = 0; j < FILE_PAGES; j++) {
			struct frame *f;
			u32 *at;

			check(file_get_page(&files[i].obj, j, &f) == 0, "no page");
			at = frame_virt(f);
			at[0] = at[TAIL] = obj_tag[1 + i][j] = ++next_tag;
			frame_put(f);
		}
	}
}

static void files_stop(void)
{
	for (unsigned i = 0; i < MAX_FILES; i++) {
		check(files[i].refs == 0, "file %u has %d references", i, files[i].refs);
		for (unsigned j = 0; j < FILE_PAGES; j++)
			check(!files[i].page[j] || frame_refs(files[i].page[j]) == 1,
			      "a file page is still named");
		drop_pages(&files[i], 0, FILE_PAGES - 1);
	}
	for (unsigned i = 1; i < nr_objs; i++)
		free(obj_tag[i]);
}

/* ---- the machine ----------------------------------------------------------------------------- */

static u64 named_at_start;

static void speculate(u64 seed)
{
	const struct window *w = &windows[random_next(&seed) % WINDOWS];
	const struct proc *p = &procs[random_next(&seed) % MAX_PROCS];
	u64 va = w->base + random_next(&seed) % (w->n * w->unit);

	if (p->hot_n && random_next(&seed) % 2)
		va = page_va(p->hot_w, p->hot_at + random_next(&seed) % p->hot_n);
	host_mmu_speculate(va);
}

static void machine_start(const struct run *r)
{
	struct frame *kernel_root;

	host_panic_hook = on_panic;
	host_mmu_set_contexts(r->contexts);
	host_mmu_reset();
	cpus_start(r->cpus);
	cpus_speculate = speculate;
	run_frames = r->frames ? r->frames : 80000;
	host_ram_init(run_frames);
	slab_init();
	kernel_root = frame_alloc(FRAME_KERNEL, FRAME_ZERO);
	kmap_set_root(frame_pa(kernel_root), NULL);
	for (host_cpu = 0; host_cpu < r->cpus; host_cpu++) {
		irq_disable();
		mmu_load_root(frame_pa(kernel_root), 0, false);
		irq_enable();
	}
	host_cpu = 0;
	memset(host_mmu_lazy, 0, sizeof(host_mmu_lazy));
	aspace_init();
	cpus_settle();
	memset(procs, 0, sizeof(procs));
	next_tag = 0;
	named_at_start = frames_named();
	files_start();
}

void proc_end(struct proc *p)
{
	aspace_put(p->as);
	p->as = NULL;
	proc_free(p);
}

static void check_slabs_empty(void)
{
	struct slab_stats s;

	for (unsigned i = 0; slab_stats(i, &s); i++)
		if (!strcmp(s.name, "vm_mapping") || !strcmp(s.name, "aspace"))
			check(s.in_use == 0, "%lu objects of %s left", s.in_use, s.name);
}

/* Each frame is used for something, or free, or kept by a CPU. */
static void check_books(void)
{
	struct frame_stats s;
	u64 sum;

	frame_stats(&s);
	sum = s.free + s.cached;
	for (unsigned i = 0; i < FRAME_TYPES; i++)
		sum += s.used[i];
	check(sum == s.total, "%ld frames are nowhere", (long)(s.total - sum));
}

static void machine_stop(void)
{
	for (unsigned i = 0; i < MAX_PROCS; i++)
		if (procs[i].as) {
			compare_all(&procs[i]);
			proc_end(&procs[i]);
		}
	files_stop();
	cpus_settle();
	check(frames_named() == named_at_start, "%ld frames lost",
	      (long)(frames_named() - named_at_start));
	check_slabs_empty();
	check_books();
	cpus_stop();
	host_mmu_reset();
	host_ram_exit();
	host_panic_hook = NULL;
}

void proc_start(struct proc *p)
{
	if (p->as)
		return;
	p->as = aspace_create();
	check(p->as != NULL, "no address space");
	p->brk = windows[W_BRK].base;
	aspace_set_brk(p->as, p->brk);
	proc_alloc(p);
	proc_limit(p);
}

/* ---- records --------------------------------------------------------------------------------- */

static void explain_alone(struct call *c)
{
	if (run_tells)
		printf("# %lu: %s\n", run_position, call_text(c));
	run_counts.calls[c->kind]++;
	run_counts.injected += c->failed_alloc;
	if (!call_explain(c)) {
		if (!run_quiet && !run_tells)
			printf("# %s\n", call_text(c));
		run_fail("%s", call_why);
	}
	undo_forget();
}

void call_alone(struct call *c)
{
	u64 at = c->at, n = c->kind == CALL_TOUCH ? c->n : 1;

	if (c->kind == CALL_FORK) {
		if (c->child->as)
			proc_end(c->child);
		proc_alloc(c->child);
	}
	for (u64 i = 0; i < n; i++) {
		if (c->kind == CALL_TOUCH) {
			c->at = at + i;
			c->n = 1;
			c->tag = ++next_tag;
			if (i)
				c->access = choose(5) < 3 ? FAULT_WRITE :
					    choose(3)     ? FAULT_READ :
							    FAULT_EXEC;
		}
		c->failed_alloc = false;
		call_run(c);
		explain_alone(c);
		if (c->failed_alloc && c->kind != CALL_FORK && c->kind != CALL_TOUCH)
			compare_all(c->p);
	}
	if ((c->kind == CALL_FORK && !c->child->as))
		proc_free(c->child);
	if (c->kind == CALL_EXIT)
		proc_free(c->p);
}

/* Everybody gets large pages while there is memory for them; then nobody, so that small pages last. */
static void choose_policy(void)
{
	struct frame_stats s;

	frame_stats(&s);
	large_set_policy(s.used[FRAME_ANON] < s.total / 2 ? LARGE_ALWAYS : LARGE_NEVER);
}

static void run_record(const struct record **next, const struct record *end)
{
	struct call c;

	choose_policy();
	choose_from((*next)++);
	host_cpu = (unsigned)choose(mm_cpus);
	if (mm_cpus > 1 && choose(3) == 0) {
		host_cpu = 0;
		group_run(next, end);
		return;
	}
	if (choose(2)) /* the processor reads ahead wherever it likes */
		speculate(choose(1 << 16));
	call_choose(&c, host_cpu);
	call_alone(&c);
	host_cpu = 0;
}

void run_records(const struct run *r)
{
	const struct record *next = r->record, *end = r->record + r->n;

	at_hand = r;
	run_position = 0;
	machine_start(r);
	while (next < end) {
		run_position = (u64)(next - r->record);
		run_record(&next, end);
		if (run_position % 64 == 0) {
			aspace_audit();
			host_mmu_audit();
		}
		if (run_position % 32 == 0 && procs[run_position / 32 % MAX_PROCS].as)
			compare_all(&procs[run_position / 32 % MAX_PROCS]);
	}
	aspace_audit();
	machine_stop();
	at_hand = NULL;
}

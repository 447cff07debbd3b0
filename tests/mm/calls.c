/*
 * Making the calls, and what is kept of each for its explanation.
 */
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

struct run_counts run_counts;

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
		if (!call_concurrent && choose(4) == 0) /* the processor reads ahead just here */
			host_mmu_speculate(va);
		ret = vm_fault(c->p->as, va, c->access);
		if (ret)
			return ret;
		if (!call_concurrent && choose(8) == 0)
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
bool call_went_outside(const struct call *c, u64 va, u64 len)
{
	int w = window_of(va, len);

	return w < 0 || windows[w].unit != windows[c->w].unit;
}

static void unmap_outside(struct call *c, u64 len)
{
	if (c->ret > 0 && call_went_outside(c, (u64)c->ret, len))
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
		check(call_concurrent || vm_brk(as, 0) == c->p->brk, "brk(0)");
		c->ret = (s64)vm_brk(as, windows[W_BRK].base + c->n);
		break;
	case CALL_MLOCK: run_mlock(c); break;
	case CALL_MINCORE: c->ret = vm_mincore(as, va, len, (uaddr_t)c->core); break;
	case CALL_MSYNC: c->ret = vm_msync(as, va, len, c->flags); break;
	case CALL_FORK:
		c->ret = call_concurrent || c->tag % 2 ? aspace_fork(as, &c->space) :
							 aspace_fork_alone(as, &c->space);
		break;
	case CALL_EXIT: aspace_put(as); break;
	case CALL_TRUNCATE: file_truncate(&files[c->obj], c->n2); break;
	case CALL_TOUCH: c->ret = user_access(c, va); break;
	case CALL_OUTSIDE: run_outside(c); break;
	case CALL_LIMIT: aspace_set_limit(as, (enum vm_limit)c->advice, c->len); break;
	default: run_fail("call %d", c->kind);
	}
}

/* Out of memory in a fault: the process would be killed, or try again. Here it tries again. */
bool is_out_of_memory(const struct call *c)
{
	/* A stack that cannot grow for want of a table: as on Linux, no killing. */
	if (c->kind == CALL_TOUCH)
		return c->ret == SEGV_MAPERR || c->ret == (FAULT_BUS | FAULT_OOM | BUS_ADRERR);
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
	host_mmu_lazy[host_cpu] = true;
	sched_leave_space();
	irq_enable();
}

/* Tables that were shared may have become one's own, though the call failed: nobody can see it. */
static bool may_keep_tables(const struct call *c)
{
	bool in_pieces = c->kind == CALL_MUNMAP || c->kind == CALL_MPROTECT ||
			 c->kind == CALL_MADVISE ||
			 (c->kind == CALL_MMAP && (c->flags & MAP_FIXED));

	/* brk gives up as munmap does; mremap goes in pieces if it is much work, whatever its size. */
	return c->kind == CALL_TOUCH || c->kind == CALL_OUTSIDE || c->kind == CALL_BRK ||
	       c->kind == CALL_MREMAP || (in_pieces && c->n * windows[c->w].unit > PT_PIECE);
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
	c->hints = (struct aspace_hints){ as->gap.end, as->gap.start, as->gap.skipped };
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
			check(may_keep_tables(c) || frames_named() == c->named_before,
			      "a failed call kept %ld frames: %s",
			      (long)(frames_named() - c->named_before), call_text(c));
	}
	if (c->kind == CALL_MMAP)
		unmap_outside(c, c->len);
	else if (c->kind == CALL_MREMAP)
		unmap_outside(c, c->n2 * windows[c->w].unit);
}

/* ---- text ------------------------------------------------------------------------------------ */

const char *call_text(const struct call *c)
{
	static const char *const names[CALL_KINDS] = {
		"mmap",  "munmap", "mprotect", "madvise",  "mremap", "brk",     "mlock", "mincore",
		"msync", "fork",   "exit",     "truncate", "touch",  "outside", "limit", "wrong",
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

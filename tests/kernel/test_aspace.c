/* Address spaces on the real machine, without a program: calls, faults, fork, and their costs. */
#include "arch/api/cpu.h"
#include "arch/api/uaccess.h"
#include "init/ktest.h"
#include "lib/klog.h"
#include "lib/uapi/mman.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/large.h"
#include "mm/pt.h"
#include "mm/tlb.h"
#include "sched/sched.h"

#define AT   0x40000000ul
#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static u64 frames_named(void)
{
	struct frame_stats s;

	frame_stats(&s);
	return s.used[FRAME_TABLE] + s.used[FRAME_ANON];
}

static s64 map(struct aspace *as, u64 va, u64 len)
{
	return vm_mmap(as, va, len, RW, ANON | (va ? MAP_FIXED : 0), NULL, 0);
}

KTEST(spaces_give_back_every_frame)
{
	pt_free_wait(); /* with several CPUs tables wait; also those of the test before */
	u64 before = frames_named();
	struct aspace *as = aspace_create(), *child;
	u32 word = 1;

	ktest_check(as);
	ktest_check_eq(map(as, AT, GiB), AT);
	for (u64 i = 0; i < 100; i++)
		ktest_check_eq(aspace_write(as, AT + i * 3 * PAGE_SIZE, &word, 4), 4);
	ktest_check_eq(aspace_fork(as, &child), 0);
	word = 2;
	ktest_check_eq(aspace_write(child, AT, &word, 4), 4);
	ktest_check_eq(aspace_read(as, AT, &word, 4), 4);
	ktest_check_eq(word, 1);
	ktest_check_eq(vm_mprotect(as, AT + PAGE_SIZE, 10 * PAGE_SIZE, PROT_NONE), 0);
	ktest_check_eq(vm_munmap(as, AT + MiB, 100 * MiB), 0);
	ktest_check_eq(vm_fault(as, AT + PAGE_SIZE, FAULT_READ), SEGV_ACCERR);
	ktest_check_eq(vm_fault(as, AT + MiB, FAULT_READ), SEGV_MAPERR);
	ktest_check(aspace_audit() > 0);
	aspace_put(as);
	aspace_put(child);
	pt_free_wait();
	ktest_check_eq(frames_named(), before);
}

/* Loads the space on this CPU, as a switch would, and reads through its addresses. */
KTEST(spaces_translate)
{
	struct aspace *as = aspace_create(), *other = aspace_create();
	struct tlb_stats before, after;
	u32 word = 0x12345678, got = 0;

	ktest_check(as && other);
	ktest_check_eq(map(as, AT, MiB), AT);
	ktest_check_eq(map(other, AT, MiB), AT);
	ktest_check_eq(aspace_write(as, AT, &word, 4), 4);
	tlb_stats(&before);
	for (int i = 0; i < 10; i++) {
		u64 flags = irq_save();

		mm_switch(i % 2 ? as : other);
		irq_restore(flags);
		ktest_check_eq(aspace_read(this_cpu_read(active_space), AT, &got, 4), 4);
		ktest_check_eq(got, i % 2 ? word : 0);
	}
	tlb_stats(&after);
	ktest_check(after.cr3_loads >= before.cr3_loads + 10);
	/* Loaded still: they must be left before their tables go. */
	aspace_put(as);
	aspace_put(other);
}

/* A word of the space that this thread uses, through the processor's translation. */
static u32 word_at(u64 va)
{
	u32 word = 0;

	return copy_from_user(&word, va, 4) ? 0xdead : word;
}

static int write_word(u64 va, u32 word)
{
	return copy_to_user(va, &word, 4);
}

/* Parts of pages of 2 MiB change while this CPU has translations of the wholes. */
static int use_large_pages(void *arg)
{
	struct aspace *as = aspace_create(), *child;
	struct large_stats before, after;
	int bad = 0;
	u32 word;

	if (!as || ctx_user_create(&current()->arch))
		return 100;
	thread_set_aspace(as);
	large_stats(&before);
	bad += map(as, AT, 2 * LARGE_SIZE) != AT;
	bad += vm_madvise(as, AT, 2 * LARGE_SIZE, MADV_HUGEPAGE) != 0;
	for (u64 i = 0; i < 2 * LARGE_PAGES; i++)
		bad += write_word(AT + i * PAGE_SIZE, (u32)i) != 0;
	large_stats(&after);
	bad += after.in_use != before.in_use + 2;

	bad += vm_munmap(as, AT + 7 * PAGE_SIZE, PAGE_SIZE) != 0;
	bad += word_at(AT + 7 * PAGE_SIZE) != 0xdead;
	bad += word_at(AT + 6 * PAGE_SIZE) != 6 || word_at(AT + 8 * PAGE_SIZE) != 8;
	bad += vm_mprotect(as, AT + 9 * PAGE_SIZE, PAGE_SIZE, PROT_READ) != 0;
	bad += write_word(AT + 9 * PAGE_SIZE, 1) != -EFAULT || word_at(AT + 9 * PAGE_SIZE) != 9;
	bad += write_word(AT + 10 * PAGE_SIZE, 10) != 0;
	large_stats(&after);
	bad += after.in_use != before.in_use + 1 || after.splits != before.splits + 1;

	/* The other: shared with a child, split by a write. */
	bad += aspace_fork(as, &child) != 0;
	bad += write_word(AT + LARGE_SIZE, 77) != 0;
	bad += word_at(AT + LARGE_SIZE) != 77 || word_at(AT + LARGE_SIZE + PAGE_SIZE) != 513;
	bad += aspace_read(child, AT + LARGE_SIZE, &word, 4) != 4 || word != 512;
	bad += aspace_audit() == 0;
	aspace_put(child);
	bad += vm_madvise(as, AT + LARGE_SIZE, LARGE_SIZE, MADV_DONTNEED) != 0;
	bad += word_at(AT + LARGE_SIZE + 5 * PAGE_SIZE) != 0;
	thread_set_aspace(NULL);
	aspace_put(as);
	return bad;
}

KTEST(spaces_large_pages)
{
	struct thread *t;

	pt_free_wait();
	u64 before = frames_named();

	t = thread_create("large", use_large_pages, NULL, SCHED_LEVEL_NORMAL);
	ktest_check(t);
	ktest_check_eq(thread_join(t), 0);
	pt_free_wait();
	ktest_check_eq(frames_named(), before);
}

/* Under -icount the time-stamp counter counts instructions. */
#define COST(name, n, code)                                                                        \
	do {                                                                                       \
		u64 start_ = cpu_cycles();                                                         \
		for (u64 i = 0; i < (n); i++) {                                                    \
			code;                                                                      \
		}                                                                                  \
		log_info("# %s: %lu ticks\n", name, (cpu_cycles() - start_) / (n));                \
	} while (0)

KTEST(space_costs)
{
	struct aspace *as = aspace_create(), *child = NULL;
	u64 sizes[] = { PAGE_SIZE, 64 * MiB, GiB };
	s64 va;

	ktest_check(as);
	ktest_check(map(as, 0, PAGE_SIZE) > 0); /* a neighbour: tables exist */
	for (unsigned k = 0; k < ARRAY_SIZE(sizes); k++)
		COST("mmap and munmap, untouched", 100, va = map(as, 0, sizes[k]);
		     ktest_check_eq(vm_munmap(as, (u64)va, sizes[k]), 0));
	ktest_check_eq(map(as, AT, 64 * MiB), AT);
	vm_fault(as, AT, FAULT_WRITE);
	COST("anonymous write fault", 256,
	     ktest_check_eq(vm_fault(as, AT + (i + 1) * PAGE_SIZE, FAULT_WRITE), 0));
	COST("zero page fault", 200,
	     ktest_check_eq(vm_fault(as, AT + (i + 300) * PAGE_SIZE, FAULT_READ), 0));
	COST("fork and exit, 257 pages", 10, ktest_check_eq(aspace_fork(as, &child), 0);
	     aspace_put(child));
	ktest_check_eq(aspace_fork(as, &child), 0);
	COST("copy-on-write fault, copied", 200,
	     ktest_check_eq(vm_fault(as, AT + (i + 1) * PAGE_SIZE, FAULT_WRITE), 0));
	COST("copy-on-write fault, taken back", 200,
	     ktest_check_eq(vm_fault(child, AT + (i + 1) * PAGE_SIZE, FAULT_WRITE), 0));
	aspace_put(child);
	COST("mprotect of 1 page", 100,
	     ktest_check_eq(vm_mprotect(as, AT, PAGE_SIZE, i % 2 ? RW : PROT_READ), 0));
	COST("mprotect of 200 pages", 10,
	     ktest_check_eq(vm_mprotect(as, AT, 200 * PAGE_SIZE, i % 2 ? RW : PROT_READ), 0));
	COST("munmap of 256 touched pages", 1,
	     ktest_check_eq(vm_munmap(as, AT, 256 * PAGE_SIZE), 0));
	aspace_put(as);
}

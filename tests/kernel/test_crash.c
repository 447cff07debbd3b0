/*
 * What must end in a panic, each with its own message (tests/guest/crashes.tsv): the protections of
 * the kernel's memory, and the kernel's own mistakes. If the access goes through, the test comes
 * back and the runner says so.
 */
#include "arch/api/uaccess.h"
#include "init/ktest.h"
#include "lib/kassert.h"
#include "lib/uapi/mman.h"
#include "mm/aspace.h"
#include "mm/kmap.h"
#include "mm/frame.h"
#include "sched/sched.h"

extern char __text_start[], __rodata_start[];

KTEST_CRASH(text_write)
{
	*(volatile char *)__text_start = 0;
}

KTEST_CRASH(text_alias_write)
{
	paddr_t pa;

	get_physical_address((u64)__text_start, &pa);
	*(volatile char *)phys_to_virt(pa) = 0;
}

KTEST_CRASH(rodata_write)
{
	*(volatile char *)__rodata_start = 0;
}

static char code_in_data[16] = { (char)0xc3 };

static void call(void *p)
{
	__asm__ volatile("call *%0" : : "r"(p) : "memory");
}

KTEST_CRASH(exec_data)
{
	call(code_in_data);
}

KTEST_CRASH(exec_direct_map)
{
	struct frame *f = frame_alloc(FRAME_KERNEL, 0);

	*(u8 *)frame_virt(f) = 0xc3;
	call(frame_virt(f));
}

KTEST_CRASH(null_read)
{
	(void)*(volatile char *)0;
}

/* A page of a program at a known address, present, in the current space. */
static u64 user_page(int prot)
{
	struct aspace *as = aspace_create();
	u8 ret = 0xc3;

	if (!as || ctx_user_create(&current()->arch))
		panic("no space for the test");
	thread_set_aspace(as);
	s64 at = vm_mmap(as, 0, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 NULL, 0);
	if (at < 0 || copy_to_user((u64)at, &ret, 1) || vm_mprotect(as, (u64)at, PAGE_SIZE, prot))
		panic("no page for the test");
	if (copy_from_user(&ret, (u64)at, 1))
		panic("the page is not there");
	return (u64)at;
}

KTEST_CRASH(smap_read)
{
	(void)*(volatile char *)user_page(PROT_READ | PROT_WRITE);
}

KTEST_CRASH(smap_write)
{
	*(volatile char *)user_page(PROT_READ | PROT_WRITE) = 1;
}

KTEST_CRASH(smep_exec)
{
	call((void *)user_page(PROT_READ | PROT_EXEC));
}

KTEST_CRASH(guard_page)
{
	u64 va = kva_alloc(1);
	struct frame *f = frame_alloc(FRAME_KERNEL, 0);

	map_page(va, frame_pa(f), PAGE_SIZE, KMAP_WRITE);
	*(volatile char *)va = 1;
	*(volatile char *)(va + PAGE_SIZE) = 1;
}

static volatile int depth_limit = 1 << 30;

static __noinline int recurse(int n)
{
	volatile char fill[200];

	fill[0] = (char)n;
	if (n >= depth_limit)
		return fill[0];
	return recurse(n + 1) + fill[0];
}

static int overflow(void *arg)
{
	return recurse(0);
}

KTEST_CRASH(stack_overflow)
{
	thread_join(thread_create("deep", overflow, NULL, SCHED_LEVEL_NORMAL));
}

KTEST_CRASH(div_zero)
{
	__asm__ volatile("divl %0"
			 :
			 : "r"(0), "a"(1), "d"(0)
			 : "cc"); /* in C it would be undefined */
}

KTEST_CRASH(ud2)
{
	__asm__ volatile("ud2");
}

KTEST_CRASH(noncanonical)
{
	(void)*(volatile char *)0x8000000000000000ul;
}

KTEST_CRASH(assert)
{
	kassert(depth_limit == 0);
}

KTEST_CRASH(sleep_while_atomic)
{
	preempt_disable();
	sched_sleep_until(1);
}

KTEST_CRASH(double_free)
{
	struct frame *f = frame_alloc(FRAME_KERNEL, 0);

	frame_put(f);
	frame_put(f);
}

/*
 * The calls of the mmap family, case by case: what neither random calls nor programs come to of
 * themselves, most of it found by breaking mm/ on purpose (tools/mutate): limits, counters, what must
 * cost nothing, and allocations that fail at one certain place.
 */
#include "tests/unit/mm_host.h"

#include "mm/kmap.h"
#include "mm/tlb.h"

static struct aspace_stats stats(void)
{
	struct aspace_stats s;

	aspace_stats(as, &s);
	return s;
}

static u64 faults_taken(void)
{
	struct vm_stats s;

	vm_stats(&s);
	return s.faults;
}

/* ---- faults and what is counted of them ------------------------------------------------------ */

static void test_counters(void **state)
{
	struct vm_stats before, s;

	map(AT, 4 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	vm_stats(&before);
	peek(as, AT);
	poke(as, AT, 1); /* of the zero page */
	poke(as, AT + PAGE_SIZE, 1);
	assert_int_equal(fault(AT + MiB, FAULT_READ), SEGV_MAPERR);
	vm_stats(&s);
	assert_int_equal(s.faults - before.faults, 4);
	assert_int_equal(s.minor_faults - before.minor_faults, 3);
}

/* A write to a page of a file, shared or private, takes one fault. */
static void test_write_takes_one_fault(void **state)
{
	u64 faults;

	file_start();
	map_file(AT, 1, RW, MAP_SHARED);
	map_file(AT + MiB, 1, RW, MAP_PRIVATE);
	faults = faults_taken();
	poke(as, AT, 1);
	poke(as, AT + MiB, 2);
	assert_int_equal(faults_taken() - faults, 2);
	file_stop();
}

/* A shared page that was out of reach comes back with the rights that it is given, and no more. */
static void test_shared_page_comes_back(void **state)
{
	u64 faults;

	file_start();
	map_file(AT, 1, RW, MAP_SHARED);
	poke(as, AT, 1);
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, PROT_NONE), 0);
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, PROT_READ), 0);
	assert_int_equal(fault(AT, FAULT_WRITE), SEGV_ACCERR);
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, PROT_NONE), 0);
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, RW), 0);
	faults = faults_taken();
	poke(as, AT, 2); /* the right to write is there at once */
	assert_int_equal(faults_taken(), faults);
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, PROT_READ), 0);
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, RW), 0);
	poke(as, AT, 3);
	assert_int_equal(faults_taken(), faults);
	file_stop();
}

static void cut_file(void)
{
	*(u32 *)frame_virt(file.page[0]) = 7;
	frame_put(file.page[0]);
	file.page[0] = NULL;
	vm_object_zap(&file.obj, 0, UINT64_MAX, true);
}

/* The file is cut when a fault has its page already, but has not mapped it: it asks again. */
static void test_cut_before_it_is_mapped(void **state)
{
	file_start();
	map_file(AT, 1, RW, MAP_SHARED);
	file.after_reading = cut_file;
	assert_int_equal(peek(as, AT), 100);
	file_stop();
}

static u64 resident(void)
{
	struct aspace_stats s;

	aspace_stats(as, &s);
	return s.resident;
}

/* While pages are taken from all who map them: those that move meanwhile are asked for again. */
static void test_moved_while_cut(void **state)
{
	u64 cuts;

	file_start();
	map_file(AT, 3, RW, MAP_PRIVATE);
	peek(as, AT);
	peek(as, AT + 2 * PAGE_SIZE);
	poke(as, AT + PAGE_SIZE, 5);
	assert_int_equal(resident(), 3);
	assert_int_equal(vm_mremap(as, AT, 3 * PAGE_SIZE, 3 * PAGE_SIZE,
				   MREMAP_MAYMOVE | MREMAP_FIXED, AT + MiB),
			 AT + MiB);
	assert_int_equal(resident(), 3);
	atomic_store(&file.obj.cuts, ZAP_BEGUN + 1); /* somewhere on the way */
	assert_int_equal(vm_mremap(as, AT + MiB, 3 * PAGE_SIZE, 3 * PAGE_SIZE,
				   MREMAP_MAYMOVE | MREMAP_FIXED, AT),
			 AT);
	atomic_store(&file.obj.cuts, ZAP_BEGUN);
	assert_int_equal(resident(), 1); /* our own copy */
	assert_int_equal(peek(as, AT + PAGE_SIZE), 5);
	assert_int_equal(peek(as, AT), 100);
	assert_int_equal(resident(), 3);
	cuts = atomic_load(&file.obj.cuts);
	vm_object_moved(&file.obj, cuts, as, AT, AT + 3 * PAGE_SIZE);
	assert_int_equal(resident(), 3);
	vm_object_moved(&file.obj, cuts - ZAP_BEGUN, as, AT, AT + 3 * PAGE_SIZE);
	assert_int_equal(resident(), 1);
	vm_object_zap(&file.obj, 3, 3, false);
	assert_int_equal(atomic_load(&file.obj.cuts), cuts + ZAP_BEGUN);
	file_stop();
}

/* What mremap replaces ends there and then. */
static void test_moved_over_a_file(void **state)
{
	file_start();
	map(AT, 2 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	poke(as, AT, 7);
	map_file(AT + MiB, 2, RW, MAP_SHARED);
	peek(as, AT + MiB);
	assert_int_equal(vm_mremap(as, AT, 2 * PAGE_SIZE, 2 * PAGE_SIZE,
				   MREMAP_MAYMOVE | MREMAP_FIXED, AT + MiB),
			 AT + MiB);
	assert_int_equal(atomic_load(&file.obj.mappings), 0);
	assert_int_equal(peek(as, AT + MiB), 7);
	file_stop();
}

/* What may be executed no more is forgotten by the processor. */
static void test_exec_goes(void **state)
{
	file_start();
	map_file(AT, 1, PROT_READ | PROT_EXEC, MAP_PRIVATE);
	assert_int_equal(fault(AT, FAULT_EXEC), 0);
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, PROT_READ), 0);
	assert_int_equal(fault(AT, FAULT_EXEC), SEGV_ACCERR);
	host_mmu_audit();
	file_stop();
}

/* ---- fork ------------------------------------------------------------------------------------ */

static void expect_nothing_at(struct aspace *space, u64 va)
{
	u32 value;

	assert_int_equal(access_in(space, va, FAULT_READ, &value), SEGV_MAPERR);
}

/* MADV_DONTFORK over ranges that are one mark at level 3, at level 2, and pages. */
static void test_dontfork_at_each_level(void **state)
{
	const u64 at[] = { 4 * GiB, 6 * GiB + 4 * MiB, 8 * GiB + 3 * PAGE_SIZE };
	const u64 len[] = { 2 * GiB, 6 * MiB, 3 * PAGE_SIZE };
	struct aspace *child;

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(map(at[i], len[i], RW, ANON | MAP_FIXED), (s64)at[i]);
		assert_int_equal(vm_madvise(as, at[i], len[i] / 2 & PAGE_MASK, MADV_DONTFORK), 0);
	}
	assert_int_equal(aspace_fork(as, &child), 0);
	for (unsigned i = 0; i < 3; i++) {
		expect_nothing_at(child, at[i]);
		assert_int_equal(peek(child, at[i] + len[i] - PAGE_SIZE), 0);
	}
	use(as);
	aspace_put(child);
}

/* A stack that no child gets grows into a table in which nothing else was kept from children. */
static void test_dontfork_stack_grows(void **state)
{
	const u64 stack = AT + 2 * MiB, other = AT + 64 * MiB; /* nothing is below it */
	struct aspace *child;

	aspace_set_limit(as, VM_LIMIT_STACK, MiB);
	map(AT, PAGE_SIZE, RW, ANON | MAP_FIXED);
	poke(as, AT, 1);
	map(stack, PAGE_SIZE, RW, ANON | MAP_FIXED | MAP_GROWSDOWN);
	assert_int_equal(vm_madvise(as, stack, PAGE_SIZE, MADV_DONTFORK), 0);
	poke(as, stack - PAGE_SIZE, 2);
	map(other, PAGE_SIZE, RW, ANON | MAP_FIXED | MAP_GROWSDOWN);
	assert_int_equal(vm_madvise(as, other, PAGE_SIZE, MADV_DONTFORK), 0);
	poke(as, other - PAGE_SIZE, 2);
	assert_int_equal(aspace_fork(as, &child), 0);
	assert_int_equal(peek(child, AT), 1);
	expect_nothing_at(child, stack - PAGE_SIZE);
	expect_nothing_at(child, other - PAGE_SIZE);
	use(as);
	aspace_put(child);
}

/* What lies where a stack had grown to is no stack. */
static void test_stack_is_replaced(void **state)
{
	const u64 stack = AT + 2 * MiB;

	aspace_set_limit(as, VM_LIMIT_STACK, MiB);
	map(stack, PAGE_SIZE, RW, ANON | MAP_FIXED | MAP_GROWSDOWN);
	poke(as, stack - 3 * PAGE_SIZE, 1);
	assert_int_equal(vm_munmap(as, stack - 3 * PAGE_SIZE, 4 * PAGE_SIZE), 0);
	map(stack - 3 * PAGE_SIZE, 4 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	assert_int_equal(fault(stack - 4 * PAGE_SIZE, FAULT_WRITE), SEGV_MAPERR);
}

static u64 tables_copied(void)
{
	struct vm_stats s;

	vm_stats(&s);
	return s.tables_copied;
}

/* A shared table is copied only for an access that changes it, and taken back without memory. */
static void test_shared_table_stays(void **state)
{
	struct aspace *child;
	u64 copied;

	map(AT, PAGE_SIZE, RW, ANON | MAP_FIXED);
	map(AT + PAGE_SIZE, PAGE_SIZE, PROT_READ, ANON | MAP_FIXED);
	poke(as, AT, 1);
	peek(as, AT + PAGE_SIZE);
	assert_int_equal(aspace_fork(as, &child), 0);
	copied = tables_copied();
	assert_int_equal(fault(AT + PAGE_SIZE, FAULT_WRITE), SEGV_ACCERR);
	assert_int_equal(fault(AT + 2 * PAGE_SIZE, FAULT_WRITE), SEGV_MAPERR);
	assert_int_equal(peek(as, AT), 1);
	assert_int_equal(tables_copied(), copied);
	aspace_put(child);
	alloc_fail_at = 1;
	poke(as, AT, 2);
	assert_int_equal(alloc_fail_at, 1);
	alloc_fail_at = 0;
	assert_int_equal(tables_copied(), copied);
}

/* A table that fork must copy, with a page of a file in it: the table, or its side array, is lacking. */
static void test_fork_lacks_side_array(void **state)
{
	struct aspace *child = NULL;
	u64 named;
	int err;

	file_start();
	map_file(AT, 1, RW, MAP_PRIVATE);
	peek(as, AT);
	map(AT + PAGE_SIZE, PAGE_SIZE, RW, ANON | MAP_FIXED);
	poke(as, AT + PAGE_SIZE, 1);
	assert_int_equal(vm_madvise(as, AT + PAGE_SIZE, PAGE_SIZE, MADV_DONTFORK), 0);
	named = frames_named();
	for (u64 k = 1;; k++) {
		alloc_fail_at = k;
		err = aspace_fork(as, &child);
		alloc_fail_at = 0;
		if (!err)
			break;
		assert_int_equal(err, -ENOMEM);
		assert_int_equal(frames_named(), named);
	}
	expect_nothing_at(child, AT + PAGE_SIZE);
	use(as);
	aspace_put(child);
	file_stop();
}

/* ---- advice and limits ----------------------------------------------------------------------- */

static void test_remove_errors(void **state)
{
	map(AT, PAGE_SIZE, RW, ANON | MAP_FIXED);
	map(AT + MiB, PAGE_SIZE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED);
	poke(as, AT + MiB, 1);
	file_start();
	map_file(AT + 2 * MiB, 1, RW, MAP_PRIVATE);
	map_file(AT + 3 * MiB, 1, RW, MAP_SHARED);
	assert_int_equal(vm_madvise(as, AT, PAGE_SIZE, MADV_REMOVE), -EINVAL);
	assert_int_equal(vm_madvise(as, AT + 2 * MiB, PAGE_SIZE, MADV_REMOVE), -EACCES);
	assert_int_equal(vm_madvise(as, AT + 3 * MiB, PAGE_SIZE, MADV_REMOVE), -ENOTSUP);
	map_file(AT + 3 * MiB, 1, PROT_READ, MAP_SHARED | VM_MMAP_NOWRITE);
	assert_int_equal(vm_madvise(as, AT + 3 * MiB, PAGE_SIZE, MADV_REMOVE), -EACCES);
	assert_int_equal(vm_mlock(as, AT + MiB, PAGE_SIZE, 0), 0);
	assert_int_equal(vm_madvise(as, AT + MiB, PAGE_SIZE, MADV_REMOVE), -EINVAL);
	assert_int_equal(peek(as, AT + MiB), 1);
	assert_int_equal(vm_munlock(as, AT + MiB, PAGE_SIZE), 0);
	assert_int_equal(vm_madvise(as, AT + MiB, PAGE_SIZE, MADV_REMOVE), 0);
	assert_int_equal(peek(as, AT + MiB), 0);
	file_stop();
}

/* RLIMIT_DATA: private memory counts from when it can be written. */
static void test_limit_data_mprotect(void **state)
{
	map(AT, 4 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	map(AT + MiB, 4 * PAGE_SIZE, PROT_READ, ANON | MAP_FIXED);
	aspace_set_limit(as, VM_LIMIT_DATA, 6 * PAGE_SIZE);
	assert_int_equal(vm_mprotect(as, AT + MiB, 3 * PAGE_SIZE, RW), -ENOMEM);
	assert_int_equal(fault(AT + MiB, FAULT_WRITE), SEGV_ACCERR);
	assert_int_equal(vm_mprotect(as, AT + MiB, 2 * PAGE_SIZE, RW), 0);
	assert_int_equal(vm_mprotect(as, AT, 4 * PAGE_SIZE, RW), 0); /* it is counted already */
	/* Region by region: what comes before the one that is too much has changed. */
	map(AT + 2 * MiB, 3 * PAGE_SIZE, PROT_READ, ANON | MAP_FIXED);
	map(AT + 2 * MiB + PAGE_SIZE, PAGE_SIZE, PROT_NONE, ANON | MAP_FIXED);
	aspace_set_limit(as, VM_LIMIT_DATA, 8 * PAGE_SIZE);
	assert_int_equal(vm_mprotect(as, AT + 2 * MiB, 3 * PAGE_SIZE, RW), -ENOMEM);
	assert_int_equal(fault(AT + 2 * MiB + PAGE_SIZE, FAULT_WRITE), 0);
	assert_int_equal(fault(AT + 2 * MiB + 2 * PAGE_SIZE, FAULT_WRITE), SEGV_ACCERR);
	aspace_set_limit(as, VM_LIMIT_AS, 4 * PAGE_SIZE); /* beyond that anyway */
	assert_int_equal(vm_mprotect(as, AT + 2 * MiB, 3 * PAGE_SIZE, RW), 0);
	aspace_set_limit(as, VM_LIMIT_AS, UINT64_MAX);
	assert_int_equal(vm_mprotect(as, AT + MiB + 2 * PAGE_SIZE, PAGE_SIZE, PROT_READ), 0);
}

/* What Linux looks at before limits, and what does not count for them. */
static void test_limits_are_not_everything(void **state)
{
	map(AT, 4 * PAGE_SIZE, PROT_READ, ANON | MAP_FIXED);
	aspace_set_limit(as, VM_LIMIT_AS, 4 * PAGE_SIZE);
	aspace_set_limit(as, VM_LIMIT_DATA, 4 * PAGE_SIZE);
	assert_int_equal(map(AT, PAGE_SIZE, RW, ANON | MAP_FIXED_NOREPLACE), -EEXIST);
	assert_int_equal(map(AT + MiB, PAGE_SIZE, RW, ANON | MAP_FIXED_NOREPLACE), -ENOMEM);
	assert_int_equal(vm_mprotect(as, AT, 4 * PAGE_SIZE, RW), 0); /* no more pages than before */
	assert_int_equal(vm_munmap(as, AT, PAGE_SIZE), 0);
	assert_int_equal(map(AT + MiB, PAGE_SIZE, RW, ANON | MAP_FIXED), AT + MiB);
}

/* What a locked region grows by is there at once, but not with MCL_ONFAULT. */
static void test_locked_grows(void **state)
{
	map(AT, PAGE_SIZE, RW, ANON | MAP_FIXED);
	assert_int_equal(vm_mremap(as, AT, PAGE_SIZE, 3 * PAGE_SIZE, 0, 0), AT);
	assert_int_equal(stats().resident, 0);
	assert_int_equal(vm_mlock(as, AT, PAGE_SIZE, 0), 0);
	assert_int_equal(stats().resident, 1);
	map(AT + MiB, PAGE_SIZE, RW, ANON | MAP_FIXED); /* that one is locked, this one is not */
	assert_int_equal(vm_mremap(as, AT + MiB, PAGE_SIZE, 3 * PAGE_SIZE, 0, 0), AT + MiB);
	assert_int_equal(stats().resident, 1);
	assert_int_equal(vm_munmap(as, AT + PAGE_SIZE, 2 * PAGE_SIZE), 0);
	assert_int_equal(vm_mremap(as, AT, PAGE_SIZE, 3 * PAGE_SIZE, 0, 0), AT);
	assert_int_equal(stats().resident, 3);
	assert_int_equal(vm_mlockall(as, MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT), 0);
	assert_int_equal(vm_mremap(as, AT, 3 * PAGE_SIZE, 4 * PAGE_SIZE, 0, 0), AT);
	assert_int_equal(stats().resident, 3);
}

/* The break stops before a mapping; a stack, before what is below it: files keep no reference of it. */
static void test_growing_towards_a_file(void **state)
{
	const u64 brk = AT, stack = AT + 8 * MiB;

	file_start();
	aspace_set_brk(as, brk);
	map_file(brk + 2 * PAGE_SIZE, 1, PROT_READ, MAP_PRIVATE);
	assert_int_equal(vm_brk(as, brk + 2 * PAGE_SIZE), brk); /* Linux wants a page between */
	assert_int_equal(vm_brk(as, brk + 3 * PAGE_SIZE), brk);
	assert_int_equal(vm_brk(as, brk + PAGE_SIZE), brk + PAGE_SIZE);
	aspace_set_brk(as, USER_TOP - 4 * PAGE_SIZE);
	assert_int_equal(vm_brk(as, USER_TOP), USER_TOP - 4 * PAGE_SIZE);
	assert_int_equal(vm_brk(as, USER_TOP + 5 * PAGE_SIZE), USER_TOP - 4 * PAGE_SIZE);

	aspace_set_limit(as, VM_LIMIT_STACK, 16 * MiB);
	map(stack, PAGE_SIZE, RW, ANON | MAP_FIXED | MAP_GROWSDOWN);
	map_file(stack - 512 * PAGE_SIZE, 2, PROT_NONE, MAP_PRIVATE);
	map_file(stack - 400 * PAGE_SIZE, 1, PROT_READ, MAP_PRIVATE);
	map_file(stack - 398 * PAGE_SIZE, 1, PROT_NONE, MAP_PRIVATE);
	assert_int_equal(fault(stack - 143 * PAGE_SIZE, FAULT_WRITE), 0);
	assert_int_equal(fault(stack - 300 * PAGE_SIZE, FAULT_WRITE), 0); /* above PROT_NONE */
	assert_int_equal(vm_munmap(as, stack - 398 * PAGE_SIZE, PAGE_SIZE), 0);
	assert_int_equal(fault(stack - 301 * PAGE_SIZE, FAULT_WRITE), SEGV_MAPERR);
	file_stop();
}

/* An old length that reaches beyond the top: what Linux 6.18 says. */
static void test_mremap_beyond_the_top(void **state)
{
	const u64 len = USER_TOP - AT + PAGE_SIZE;
	s64 moved;

	map(AT, 2 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	assert_int_equal(vm_mremap(as, AT, len, PAGE_SIZE, 0, 0), -EINVAL);
	assert_int_equal(vm_mremap(as, AT, len, len, 0, 0), AT);
	assert_int_equal(vm_mremap(as, AT, len, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, AT + GiB),
			 -EINVAL);
	assert_int_equal(vm_mremap(as, AT, len, len + PAGE_SIZE, MREMAP_MAYMOVE, 0), -EFAULT);
	assert_int_equal(vm_mremap(as, AT + GiB, len, PAGE_SIZE, 0, 0), -EFAULT);
	poke(as, AT + PAGE_SIZE, 1);
	/* Nor does it grow there in place. */
	map(USER_TOP - PAGE_SIZE, PAGE_SIZE, RW, ANON | MAP_FIXED);
	poke(as, USER_TOP - PAGE_SIZE, 3);
	assert_int_equal(vm_mremap(as, USER_TOP - PAGE_SIZE, PAGE_SIZE, 2 * PAGE_SIZE, 0, 0),
			 -ENOMEM);
	moved = vm_mremap(as, USER_TOP - PAGE_SIZE, PAGE_SIZE, 2 * PAGE_SIZE, MREMAP_MAYMOVE, 0);
	assert_true(moved > 0);
	assert_int_equal(peek(as, (u64)moved), 3);
}

/* What may never be written, and what may, are two regions, though all else goes on. */
static void test_mremap_of_two_kinds(void **state)
{
	file_start();
	map_file(AT, 2, PROT_READ, MAP_SHARED);
	map_file(AT, 1, PROT_READ, MAP_SHARED | VM_MMAP_NOWRITE);
	assert_int_equal(vm_mremap(as, AT, 2 * PAGE_SIZE, 3 * PAGE_SIZE, MREMAP_MAYMOVE, 0),
			 -EFAULT);
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, RW), -EACCES);
	assert_int_equal(vm_mprotect(as, AT + PAGE_SIZE, PAGE_SIZE, RW), 0);
	file_stop();
}

/* mprotect from where a stack begins, which is looked for from below, past what else there is. */
static void test_protect_grows_down(void **state)
{
	const int grows = PROT_READ | PROT_GROWSDOWN;

	file_start();
	map_file(AT, 1, PROT_READ, MAP_PRIVATE);
	map(AT + MiB, 4 * PAGE_SIZE, RW, ANON | MAP_FIXED | MAP_GROWSDOWN);
	assert_int_equal(vm_mprotect(as, AT + MiB + 2 * PAGE_SIZE, PAGE_SIZE, grows), 0);
	assert_int_equal(fault(AT + MiB, FAULT_WRITE), SEGV_ACCERR);
	poke(as, AT + MiB + 3 * PAGE_SIZE, 1);
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, grows), -EINVAL);
	assert_int_equal(vm_mprotect(as, AT + 4 * MiB, PAGE_SIZE, grows), -ENOMEM);
	file_stop();
}

/* Each large page that cannot be had is counted once. */
static void test_large_fallback_is_counted(void **state)
{
	struct large_stats before, s;

	map(AT, 4 * MiB, RW, ANON | MAP_FIXED);
	assert_int_equal(vm_madvise(as, AT, 4 * MiB, MADV_HUGEPAGE), 0);
	large_stats(&before);
	alloc_fail_at = 1;
	poke(as, AT, 1);
	alloc_fail_at = 0;
	large_stats(&s);
	assert_int_equal(s.fallbacks - before.fallbacks, 1);
	assert_int_equal(s.in_use, before.in_use);
}

/* ---- in pieces ------------------------------------------------------------------------------- */

/*
 * 560 MiB across a border of 512 GiB, in which large slots are cut at both ends, though the ends are
 * those of 2 MiB: what an allocation that fails has not done, has not been done in part.
 */
static void test_pieces_fail_as_a_whole(void **state)
{
	const u64 at = 512 * GiB - 330 * MiB, start = at + 208 * MiB, len = 560 * MiB;
	struct vm_totals before, t;
	u64 failures = 0;
	int err;

	map(at, 740 * MiB, PROT_READ, ANON | MAP_FIXED);
	peek(as, at);
	peek(as, at + 2 * MiB);
	vm_count(as, 0, USER_TOP, &before);
	for (u64 k = 1;; k++) {
		alloc_fail_at = k;
		err = vm_munmap(as, start, len);
		alloc_fail_at = 0;
		if (!err)
			break;
		assert_int_equal(err, -ENOMEM);
		vm_count(as, 0, USER_TOP, &t);
		assert_int_equal(t.mapped, before.mapped);
		failures++;
	}
	assert_true(failures > 0);
	vm_count(as, 0, USER_TOP, &t);
	assert_int_equal(t.mapped, 208 * MiB);
}

/* munmap of tables that a child shares copies none of them, so that it needs no memory. */
static void test_shared_tables_are_dropped(void **state)
{
	const u64 n = 80, step = 2 * MiB;
	struct aspace *child;

	map(AT, n * step, RW, ANON | MAP_FIXED);
	for (u64 i = 0; i < n; i++)
		poke(as, AT + i * step, (u32)i + 1);
	assert_int_equal(aspace_fork(as, &child), 0);
	alloc_fail_at = 1;
	assert_int_equal(vm_munmap(as, AT, n * step), 0);
	assert_int_equal(alloc_fail_at, 1);
	alloc_fail_at = 0;
	for (u64 i = 0; i < n; i++)
		assert_int_equal(peek(child, AT + i * step), i + 1);
	use(as);
	aspace_put(child);
}

/* mprotect of shared tables copies them all before it changes the first. */
static void test_shared_tables_fail_as_a_whole(void **state)
{
	const u64 n = 80, step = 2 * MiB;
	struct aspace *child;
	struct vm_totals t;
	int err = -1;

	map(AT, n * step, RW, ANON | MAP_FIXED);
	for (u64 i = 0; i < n; i++)
		poke(as, AT + i * step, 1);
	assert_int_equal(aspace_fork(as, &child), 0);
	for (u64 k = 1; err; k += 7) {
		alloc_fail_at = k;
		err = vm_mprotect(as, AT, n * step, PROT_READ);
		alloc_fail_at = 0;
		vm_count(as, 0, USER_TOP, &t);
		assert_int_equal(t.data, err ? n * step : 0);
	}
	use(as);
	aspace_put(child);
}

/* MADV_DONTNEED has nothing to do where nothing was touched, so it needs no memory for it. */
static void test_dontneed_splits_no_mark(void **state)
{
	map(AT, 2 * GiB, RW, ANON | MAP_FIXED);
	poke(as, AT + GiB, 1);
	alloc_fail_at = 1;
	assert_int_equal(vm_madvise(as, AT + 3 * PAGE_SIZE, GiB + MiB, MADV_DONTNEED), 0);
	alloc_fail_at = 0;
	assert_int_equal(peek(as, AT + GiB), 0);
}

/* ---- what is no program's -------------------------------------------------------------------- */

/* Addresses that are none of a program's. vm_peek serves the panic's backtrace of a program: it reads nothing of the kernel's. */
static void test_beyond_the_top(void **state)
{
	const u64 kernel = 0xffffd00000000000ul;
	u64 value;

	assert_int_equal(map_page(kernel, PADDR(0x5000), PAGE_SIZE, KMAP_WRITE), 0);
	aspace_put(as);
	as = aspace_create();
	map(AT, PAGE_SIZE, RW, ANON | MAP_FIXED);
	poke(as, AT, 77);
	assert_true(vm_peek(AT, &value));
	assert_int_equal(value, 77);
	assert_false(vm_peek(AT + 1, &value));
	assert_false(vm_peek(AT + PAGE_SIZE, &value));
	assert_false(vm_peek(kernel, &value));
	assert_false(vm_peek(USER_TOP, &value));
	assert_int_equal(vm_fault(as, kernel, FAULT_READ), SEGV_MAPERR);
	assert_int_equal(vm_mremap(as, kernel, PAGE_SIZE, PAGE_SIZE, 0, 0), -EFAULT);
	assert_int_equal(vm_munmap(as, kernel, PAGE_SIZE), -EINVAL);
	assert_int_equal(vm_mprotect(as, kernel, PAGE_SIZE, PROT_READ), -ENOMEM);
	assert_int_equal(vm_mprotect(as, USER_TOP, PAGE_SIZE, PROT_READ), -ENOMEM);
	assert_int_equal(vm_madvise(as, kernel, PAGE_SIZE, MADV_DONTNEED), -ENOMEM);
	assert_true(is_page_present(kernel));
	frames_at_start = frames_named() - tables() - 1; /* the kernel's tables stay */
}

/* Exit asks whether anybody else may see what it writes for pthread_join. */
static void test_is_shared(void **state)
{
	assert_false(aspace_is_shared(as));
	aspace_get(as);
	assert_true(aspace_is_shared(as));
	aspace_put(as);
	assert_false(aspace_is_shared(as));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_counters),
		T(test_write_takes_one_fault),
		T(test_shared_page_comes_back),
		T(test_cut_before_it_is_mapped),
		T(test_moved_while_cut),
		T(test_moved_over_a_file),
		T(test_exec_goes),
		T(test_dontfork_stack_grows),
		T(test_stack_is_replaced),
		T(test_dontfork_at_each_level),
		T(test_shared_table_stays),
		T(test_fork_lacks_side_array),
		T(test_remove_errors),
		T(test_limit_data_mprotect),
		T(test_limits_are_not_everything),
		T(test_locked_grows),
		T(test_growing_towards_a_file),
		T(test_mremap_beyond_the_top),
		T(test_mremap_of_two_kinds),
		T(test_protect_grows_down),
		T(test_large_fallback_is_counted),
		T(test_pieces_fail_as_a_whole),
		T(test_shared_tables_are_dropped),
		T(test_shared_tables_fail_as_a_whole),
		T(test_dontneed_splits_no_mark),
		T(test_beyond_the_top),
		T(test_is_shared),
	};

	return cmocka_run_group_tests_name("vm", tests, NULL, NULL);
}

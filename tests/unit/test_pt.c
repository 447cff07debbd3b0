/*
 * Programs' page tables, case by case: what calls cost in tables, which errno each wrong argument
 * gets, every allocation failing in turn, pages that change while a file is being read, and the
 * steps of copy-on-write. Random sequences are in test_aspace.c.
 */
#include "tests/unit/mm_host.h"

#include <pthread.h>
#include <stdio.h>

/* ---- costs ----------------------------------------------------------------------------------- */

static void test_large_mappings_are_few_entries(void **state)
{
	s64 va;

	assert_int_equal(tables(), 1);
	va = map(0, 16 * TiB, PROT_NONE, ANON | MAP_NORESERVE);
	assert_true(va > 0);
	assert_true(tables() <= 3);
	assert_int_equal(vm_munmap(as, (u64)va, 16 * TiB), 0);
	assert_int_equal(tables(), 1);

	/* 1 GiB: one partial mark in the root. */
	va = map(0, GiB, RW, ANON);
	assert_true(IS_ALIGNED((u64)va, GiB));
	assert_int_equal(tables(), 1);
	poke(as, (u64)va + 123 * MiB, 7);
	assert_int_equal(tables(), 4);
	assert_int_equal(vm_mprotect(as, (u64)va, GiB, PROT_READ), 0);
	assert_int_equal(peek(as, (u64)va + 123 * MiB), 7);
	assert_int_equal(vm_munmap(as, (u64)va + 4096, GiB - 8192), 0);
	assert_int_equal(vm_munmap(as, (u64)va, GiB), 0);
	assert_int_equal(tables(), 1);
}

/* What aspace_walk tells of the space, as "start-end ...", relative to AT, in KiB. */
static int note_region(const struct vm_region *r, void *arg)
{
	char *text = arg;

	sprintf(text + strlen(text), "%ld-%ld%s ", ((long)r->start - (long)AT) / 1024,
		((long)r->end - (long)AT) / 1024, r->prot & PROT_WRITE ? "" : "r");
	return 0;
}

static const char *regions(void)
{
	static char text[512];

	text[0] = '\0';
	aspace_walk(as, 0, note_region, text);
	return text;
}

/* A mapping that does not fill its slots is a mark in each of them, and no table. */
static void test_partial_marks(void **state)
{
	struct aspace *child;

	assert_true(map(AT + 512 * KiB, MiB, RW, ANON | MAP_FIXED) > 0);
	assert_int_equal(tables(), 1 + 1 + 1);
	assert_string_equal(regions(), "512-1536 ");
	assert_int_equal(fault(AT + 512 * KiB - 1, FAULT_READ), SEGV_MAPERR);
	assert_int_equal(fault(AT + 1536 * KiB, FAULT_WRITE), SEGV_MAPERR);
	assert_int_equal(map(AT + MiB, MiB, RW, ANON | MAP_FIXED_NOREPLACE), -EEXIST);

	/* What is to differ within the slot, or beside it, needs the table. */
	assert_int_equal(aspace_fork(as, &child), 0);
	assert_int_equal(vm_mprotect(as, AT + MiB, 4 * KiB, PROT_READ), 0);
	assert_int_equal(tables(), 1 + 1 + 1 + 1);
	assert_string_equal(regions(), "512-1024 1024-1028r 1028-1536 ");
	assert_int_equal(vm_mprotect(as, AT + MiB, MiB, PROT_READ), -ENOMEM); /* up to the hole */
	assert_string_equal(regions(), "512-1024 1024-1536r ");
	poke(child, AT + MiB, 5);
	assert_int_equal(peek(child, AT + MiB), 5);
	use(as);
	aspace_put(child);
	assert_int_equal(vm_munmap(as, AT, 2 * MiB), 0);
	assert_int_equal(tables(), 1);
}

/* The first and the last slot, of 2 MiB and of 1 GiB; in parts and as a whole. */
static void test_partial_marks_at_ends(void **state)
{
	assert_true(map(AT + MiB, 4 * MiB, RW, ANON | MAP_FIXED) > 0);
	assert_int_equal(tables(), 1 + 1 + 1);
	assert_string_equal(regions(), "1024-5120 ");
	assert_int_equal(vm_munmap(as, AT + MiB, 4 * MiB), 0);
	assert_string_equal(regions(), "");

	assert_true(map(AT + MiB, 4 * MiB, RW, ANON | MAP_FIXED) > 0);
	assert_true(map(AT, MiB, RW, ANON | MAP_FIXED_NOREPLACE) > 0);
	poke(as, AT + 5 * MiB - 4, 1);
	assert_int_equal(fault(AT + 5 * MiB, FAULT_READ), SEGV_MAPERR);
	assert_int_equal(vm_munmap(as, AT + 2 * MiB, MiB), 0);
	assert_string_equal(regions(), "0-2048 3072-5120 ");
	assert_int_equal(vm_madvise(as, AT, 5 * MiB, MADV_DONTNEED), -ENOMEM);
	assert_int_equal(peek(as, AT + 5 * MiB - 4), 0);
	assert_int_equal(vm_munmap(as, AT, 6 * MiB), 0);
	assert_int_equal(tables(), 1);

	assert_true(map(AT + GiB - 64 * MiB, 128 * MiB, RW, ANON | MAP_FIXED) > 0);
	assert_int_equal(tables(), 1 + 1);
	assert_int_equal(vm_munmap(as, AT + GiB, 2 * MiB), 0);
	assert_string_equal(regions(), "983040-1048576 1050624-1114112 ");
	assert_int_equal(vm_mprotect(as, AT + GiB + 4 * MiB, 4 * KiB, PROT_READ), 0);
	assert_int_equal(vm_munmap(as, AT, 2 * GiB), 0);
	assert_int_equal(tables(), 1);
}

/* The hole beside a partial mark is found again; a mapping of 64 MiB is one entry. */
static void test_partial_marks_leave_holes(void **state)
{
	u64 first, second;

	first = (u64)map(0, 64 * MiB, RW, ANON);
	assert_true(IS_ALIGNED(first, GiB));
	assert_true(tables() <= 2);
	second = (u64)map(0, 4 * KiB, RW, ANON);
	assert_true(second > first);
	for (int i = 0; i < 20; i++) {
		u64 more = (u64)map(0, 100 * KiB, RW, ANON);

		assert_true(more > first);
		assert_true(more < (USER_TOP - 64 * MiB + PAGE_SIZE));
	}
	assert_int_equal(vm_munmap(as, first, (USER_TOP - 64 * MiB + PAGE_SIZE) - first), 0);
	assert_int_equal(tables(), 1);
}

static void test_replacing_frees_tables(void **state)
{
	for (u64 i = 0; i < 64; i++) {
		assert_true(map(AT + i * 2 * MiB, PAGE_SIZE, RW, ANON | MAP_FIXED) > 0);
		poke(as, AT + i * 2 * MiB, 1);
	}
	assert_int_equal(tables(), 1 + 1 + 1 + 64);
	assert_true(map(AT, GiB, RW, ANON | MAP_FIXED) > 0);
	assert_true(tables() <= 2);
	assert_int_equal(peek(as, AT), 0);
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void test_mmap_errors(void **state)
{
	assert_int_equal(map(0, 0, RW, ANON), -EINVAL);
	assert_int_equal(map(0, -1ul, RW, ANON), -ENOMEM);
	assert_int_equal(map(0, 1ul << 48, RW, ANON), -ENOMEM);
	assert_int_equal(map(0, 1ul << 47, RW, ANON), -ENOMEM);
	assert_int_equal(map(0, PAGE_SIZE, RW, MAP_ANONYMOUS), -EINVAL);
	assert_int_equal(map(0, PAGE_SIZE, RW, MAP_ANONYMOUS | MAP_SHARED_VALIDATE), -EINVAL);
	assert_int_equal(map(AT + 1, PAGE_SIZE, RW, ANON | MAP_FIXED), -EINVAL);
	assert_int_equal(map(USER_TOP, PAGE_SIZE, RW, ANON | MAP_FIXED), -ENOMEM);
	assert_int_equal(map(-PAGE_SIZE, PAGE_SIZE, RW, ANON | MAP_FIXED), -ENOMEM);
	assert_int_equal(map(0, PAGE_SIZE, RW, ANON | MAP_FIXED), -EPERM);
	assert_int_equal(vm_mmap(as, 0, PAGE_SIZE, RW, ANON, NULL, 5), -EINVAL);
	assert_int_equal(map(USER_TOP - PAGE_SIZE, PAGE_SIZE, RW, ANON | MAP_FIXED),
			 USER_TOP - PAGE_SIZE);
	assert_int_equal(map(AT, PAGE_SIZE, RW, ANON | MAP_FIXED_NOREPLACE), AT);
	assert_int_equal(map(AT, 2 * PAGE_SIZE, RW, ANON | MAP_FIXED_NOREPLACE), -EEXIST);
	/* A hint: taken when free, rounded down, otherwise somewhere else. */
	assert_int_equal(map(AT + MiB + 5, 100, RW, ANON), AT + MiB);
	assert_int_not_equal(map(AT, PAGE_SIZE, RW, ANON), AT);
	assert_int_equal(map(5, PAGE_SIZE, RW, ANON), 0x10000);
}

static void test_munmap_mprotect_errors(void **state)
{
	assert_int_equal(vm_munmap(as, AT + 1, PAGE_SIZE), -EINVAL);
	assert_int_equal(vm_munmap(as, AT, 0), -EINVAL);
	assert_int_equal(vm_munmap(as, USER_TOP, PAGE_SIZE), -EINVAL);
	assert_int_equal(vm_munmap(as, AT, -1ul), -EINVAL);
	assert_int_equal(vm_munmap(as, AT, PAGE_SIZE), 0); /* a hole is fine */

	assert_int_equal(vm_mprotect(as, AT + 1, PAGE_SIZE, RW), -EINVAL);
	assert_int_equal(vm_mprotect(as, AT, 0, RW), 0);
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, RW), -ENOMEM);
	assert_int_equal(vm_mprotect(as, AT, -1ul, RW), -ENOMEM);
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, 0x40), -EINVAL);
	assert_int_equal(vm_mprotect(as, USER_TOP, PAGE_SIZE, RW), -ENOMEM);

	assert_int_equal(vm_madvise(as, AT, PAGE_SIZE, 12345), -EINVAL);
	assert_int_equal(vm_madvise(as, AT + 1, PAGE_SIZE, MADV_DONTNEED), -EINVAL);
	assert_int_equal(vm_madvise(as, AT, 0, MADV_DONTNEED), 0);
	assert_int_equal(vm_madvise(as, AT, PAGE_SIZE, MADV_DONTNEED), -ENOMEM);
	assert_int_equal(vm_madvise(as, AT, -1ul, MADV_DONTNEED), -EINVAL);
}

static void test_mremap_errors(void **state)
{
	map(AT, 4 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	assert_int_equal(vm_mremap(as, AT, PAGE_SIZE, 0, 0, 0), -EINVAL);
	assert_int_equal(vm_mremap(as, AT + 1, PAGE_SIZE, PAGE_SIZE, 0, 0), -EINVAL);
	assert_int_equal(vm_mremap(as, AT, PAGE_SIZE, PAGE_SIZE, 64, 0), -EINVAL);
	assert_int_equal(vm_mremap(as, AT, PAGE_SIZE, PAGE_SIZE, MREMAP_FIXED, 2 * AT), -EINVAL);
	assert_int_equal(vm_mremap(as, AT, PAGE_SIZE, 2 * PAGE_SIZE,
				   MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0),
			 -EINVAL);
	assert_int_equal(vm_mremap(as, 2 * AT, PAGE_SIZE, PAGE_SIZE, 0, 0), -EFAULT);
	assert_int_equal(vm_mremap(as, AT, 8 * PAGE_SIZE, 16 * PAGE_SIZE, MREMAP_MAYMOVE, 0),
			 -EFAULT);
	assert_int_equal(vm_mremap(as, AT, 2 * PAGE_SIZE, 3 * PAGE_SIZE, 0, 0), -ENOMEM);
	assert_int_equal(vm_mremap(as, AT, 2 * PAGE_SIZE, 1ul << 47, MREMAP_MAYMOVE, 0), -EINVAL);
	assert_int_equal(vm_mremap(as, AT, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, AT),
			 -EINVAL);
	assert_int_equal(vm_mremap(as, AT, PAGE_SIZE, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
				   USER_TOP),
			 -EINVAL);
}

static void test_faults(void **state)
{
	assert_int_equal(fault(AT, FAULT_READ), SEGV_MAPERR);
	assert_int_equal(fault(0, FAULT_WRITE), SEGV_MAPERR);
	assert_int_equal(vm_fault(as, USER_TOP, FAULT_READ), SEGV_MAPERR);
	assert_int_equal(vm_fault(as, 0xffff800000000000ul, FAULT_READ), SEGV_MAPERR);
	map(AT, PAGE_SIZE, PROT_READ, ANON | MAP_FIXED);
	assert_int_equal(fault(AT, FAULT_READ), 0);
	assert_int_equal(fault(AT, FAULT_WRITE), SEGV_ACCERR);
	assert_int_equal(fault(AT, FAULT_EXEC), SEGV_ACCERR);
	vm_mprotect(as, AT, PAGE_SIZE, PROT_EXEC);
	assert_int_equal(fault(AT, FAULT_EXEC), 0);
	assert_int_equal(fault(AT, FAULT_READ), 0);
	vm_mprotect(as, AT, PAGE_SIZE, PROT_NONE);
	assert_int_equal(fault(AT, FAULT_READ), SEGV_ACCERR);

	file_start();
	map_file(AT, 6, RW, MAP_SHARED);
	assert_int_equal(peek(as, AT + 3 * PAGE_SIZE), 103);
	assert_int_equal(fault(AT + 4 * PAGE_SIZE, FAULT_READ), FAULT_BUS | BUS_ADRERR);
	assert_int_equal(fault(AT + 5 * PAGE_SIZE, FAULT_WRITE), FAULT_BUS | BUS_ADRERR);
	file_stop();
}

/* ---- contents -------------------------------------------------------------------------------- */

static void test_prot_none_keeps_content(void **state)
{
	struct aspace *child;

	map(AT, 3 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	poke(as, AT, 1);
	poke(as, AT + PAGE_SIZE, 2);
	peek(as, AT + 2 * PAGE_SIZE);
	assert_int_equal(vm_mprotect(as, AT, 3 * PAGE_SIZE, PROT_READ), 0);
	assert_int_equal(peek(as, AT), 1);
	assert_int_equal(vm_mprotect(as, AT, 3 * PAGE_SIZE, PROT_NONE), 0);
	host_mmu_audit();
	assert_int_equal(fault(AT, FAULT_READ), SEGV_ACCERR);
	/* Forked while held; then each its own. */
	assert_int_equal(aspace_fork(as, &child), 0);
	assert_int_equal(vm_mprotect(as, AT, 3 * PAGE_SIZE, RW), 0);
	assert_int_equal(vm_mprotect(child, AT, 3 * PAGE_SIZE, RW), 0);
	aspace_audit();
	poke(as, AT, 10);
	assert_int_equal(peek(child, AT), 1);
	poke(child, AT + PAGE_SIZE, 20);
	assert_int_equal(peek(as, AT + PAGE_SIZE), 2);
	assert_int_equal(peek(as, AT + 2 * PAGE_SIZE), 0);
	use(as);
	aspace_put(child);
}

static void test_zero_page(void **state)
{
	struct vm_stats before, s;
	struct aspace_stats a;
	u32 word = 5;

	map(AT, 2 * MiB, RW, ANON | MAP_FIXED);
	for (u64 i = 0; i < 512; i++)
		assert_int_equal(peek(as, AT + i * PAGE_SIZE), 0);
	aspace_stats(as, &a);
	assert_int_equal(a.resident, 0);
	/* Written from outside while the CPU remembers the zero page. */
	assert_int_equal(aspace_write(as, AT, &word, 4), 4);
	assert_int_equal(peek(as, AT), 5);
	assert_int_equal(peek(as, AT + PAGE_SIZE), 0);
	vm_stats(&before);
	poke(as, AT + PAGE_SIZE, 6);
	vm_stats(&s);
	assert_int_equal(s.faults - before.faults, 1);
	aspace_stats(as, &a);
	assert_int_equal(a.resident, 2);
}

static void test_cow_and_take_back(void **state)
{
	struct vm_stats before, s;
	struct aspace *child;

	map(AT, 2 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	poke(as, AT, 1);
	poke(as, AT + PAGE_SIZE, 2);
	assert_int_equal(aspace_fork(as, &child), 0);
	vm_stats(&before);
	poke(as, AT, 3); /* copies the table, then the page */
	vm_stats(&s);
	assert_int_equal(s.tables_copied - before.tables_copied, 1);
	assert_int_equal(s.cow_copied - before.cow_copied, 1);
	assert_int_equal(s.cow_reused, before.cow_reused);
	poke(child, AT, 4); /* is alone with both */
	vm_stats(&s);
	assert_int_equal(s.tables_taken_back - before.tables_taken_back, 1);
	assert_int_equal(s.tables_copied - before.tables_copied, 1);
	assert_int_equal(s.cow_copied - before.cow_copied, 1);
	assert_int_equal(peek(as, AT), 3);
	assert_int_equal(peek(child, AT), 4);
	aspace_put(child);
	poke(as, AT + PAGE_SIZE, 5); /* alone again */
	vm_stats(&s);
	assert_int_equal(s.cow_copied - before.cow_copied, 1);
	assert_int_equal(s.cow_reused - before.cow_reused, 1);
}

/* The copy replaces a page that the CPU remembers, by a write from outside. */
static void test_cow_flushes(void **state)
{
	struct aspace *child;
	u32 word = 9;

	map(AT, PAGE_SIZE, RW, ANON | MAP_FIXED);
	poke(as, AT, 1);
	assert_int_equal(aspace_fork(as, &child), 0);
	assert_int_equal(peek(as, AT), 1);
	assert_int_equal(aspace_write(as, AT, &word, 4), 4);
	assert_int_equal(peek(as, AT), 9);
	assert_int_equal(peek(child, AT), 1);
	use(as);
	aspace_put(child);
}

static void test_file_pages(void **state)
{
	struct aspace *child;

	file_start();
	map_file(AT, 4, RW, MAP_PRIVATE);
	map_file(AT + MiB, 4, RW, MAP_SHARED);
	assert_int_equal(file.refs, 2);
	assert_int_equal(peek(as, AT), 100);
	poke(as, AT + MiB, 50);
	assert_int_equal(peek(as, AT), 50); /* not copied yet */
	poke(as, AT, 51);
	assert_int_equal(peek(as, AT + MiB), 50);
	poke(as, AT + PAGE_SIZE, 52); /* a write first */
	assert_int_equal(peek(as, AT + MiB + PAGE_SIZE), 101);
	assert_int_equal(aspace_fork(as, &child), 0);
	poke(child, AT + MiB + 2 * PAGE_SIZE, 60);
	assert_int_equal(peek(as, AT + MiB + 2 * PAGE_SIZE), 60);
	poke(child, AT, 61);
	assert_int_equal(peek(as, AT), 51);
	use(as);
	aspace_put(child);
	/* Held, and back: still the file's mapping. */
	assert_int_equal(vm_mprotect(as, AT, 4 * PAGE_SIZE, PROT_NONE), 0);
	aspace_audit();
	assert_int_equal(vm_mprotect(as, AT, 4 * PAGE_SIZE, RW), 0);
	aspace_audit();
	assert_int_equal(peek(as, AT), 51);
	/* The copy goes, the file's page comes back. */
	assert_int_equal(vm_madvise(as, AT, 4 * PAGE_SIZE, MADV_DONTNEED), 0);
	assert_int_equal(peek(as, AT), 50);
	aspace_audit();

	/* A shared mapping of a file that is open for reading only. */
	assert_true(map_file(AT, 4, PROT_READ, MAP_SHARED | VM_MMAP_NOWRITE) > 0);
	assert_int_equal(peek(as, AT), 50);
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, RW), -EACCES);
	assert_int_equal(fault(AT, FAULT_WRITE), SEGV_ACCERR);
	file_stop();
}

/* ---- what changes while get_page sleeps ------------------------------------------------------ */

static void unmap_meanwhile(void)
{
	assert_int_equal(vm_munmap(as, AT, PAGE_SIZE), 0);
}

static void replace_meanwhile(void)
{
	assert_int_equal(map(AT, PAGE_SIZE, RW, ANON | MAP_FIXED), AT);
	poke(as, AT, 77);
}

static void protect_meanwhile(void)
{
	assert_int_equal(vm_mprotect(as, AT, PAGE_SIZE, PROT_READ), 0);
}

static void fault_meanwhile(void)
{
	poke(as, AT, 78);
}

static void map_other_meanwhile(void)
{
	assert_int_equal(
		vm_mmap(as, AT, PAGE_SIZE, RW, MAP_PRIVATE | MAP_FIXED, &file.obj, PAGE_SIZE), AT);
}

static void test_changes_while_reading(void **state)
{
	file_start();
	for (int write = 0; write < 2; write++) {
		enum fault_access access = write ? FAULT_WRITE : FAULT_READ;

		map_file(AT, 1, RW, MAP_PRIVATE);
		file.while_reading = unmap_meanwhile;
		assert_int_equal(fault(AT, access), SEGV_MAPERR);

		map_file(AT, 1, RW, MAP_PRIVATE);
		file.while_reading = replace_meanwhile;
		assert_int_equal(vm_fault(as, AT, access), 0);
		assert_int_equal(peek(as, AT), 77);

		map_file(AT, 1, RW, MAP_PRIVATE);
		file.while_reading = protect_meanwhile;
		assert_int_equal(vm_fault(as, AT, access), write ? SEGV_ACCERR : 0);
		if (!write)
			assert_int_equal(fault(AT, FAULT_WRITE), SEGV_ACCERR);

		map_file(AT, 1, RW, MAP_PRIVATE);
		file.while_reading = fault_meanwhile;
		assert_int_equal(vm_fault(as, AT, access), 0);
		assert_int_equal(peek(as, AT), 78);

		map_file(AT, 1, RW, MAP_PRIVATE);
		file.while_reading = map_other_meanwhile;
		assert_int_equal(vm_fault(as, AT, access), 0);
		assert_int_equal(peek(as, AT), 101);
		aspace_audit();
	}
	file_stop();
}

/* ---- every allocation fails in turn ---------------------------------------------------------- */

/* A bit of everything around AT. */
static void make_scene(void)
{
	file_start();
	map(AT, GiB, RW, ANON | MAP_FIXED);
	for (u64 i = 0; i < 5; i++)
		poke(as, AT + 100 * PAGE_SIZE + i * PAGE_SIZE, (u32)i);
	map_file(AT + 4 * MiB + 3 * PAGE_SIZE, 4, RW, MAP_PRIVATE);
	poke(as, AT + 4 * MiB + 3 * PAGE_SIZE, 5);
	peek(as, AT + 4 * MiB + 4 * PAGE_SIZE);
	map_file(AT + 8 * MiB, 4, RW, MAP_SHARED);
	peek(as, AT + 8 * MiB);
	map_file(AT + 12 * MiB, 4, RW, MAP_SHARED); /* no table of level 1 yet */
	vm_mprotect(as, AT + 103 * PAGE_SIZE, 8 * PAGE_SIZE, PROT_NONE);
}

static s64 do_mmap(void)
{
	return map(AT + 50 * MiB + PAGE_SIZE, 300 * MiB, PROT_READ, ANON | MAP_FIXED);
}

static s64 do_mmap_shared(void)
{
	return map(AT + 2 * GiB + PAGE_SIZE, 3 * MiB, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED);
}

static s64 do_mmap_file(void)
{
	return map_file(AT + 600 * GiB + PAGE_SIZE, 4, RW, MAP_PRIVATE);
}

static s64 do_munmap(void)
{
	return vm_munmap(as, AT + 20 * MiB + PAGE_SIZE, 500 * MiB);
}

static s64 do_mprotect(void)
{
	return vm_mprotect(as, AT + 20 * MiB + PAGE_SIZE, 500 * MiB, PROT_READ);
}

static s64 do_fork(void)
{
	struct aspace *child;
	int err = aspace_fork(as, &child);

	if (!err)
		aspace_put(child);
	return err;
}

static s64 do_fault(void)
{
	int ret = vm_fault(as, AT + 333 * MiB, FAULT_WRITE);

	return ret == (FAULT_BUS | FAULT_OOM | BUS_ADRERR) ? -ENOMEM : ret;
}

static s64 do_fault_file(void)
{
	int ret = vm_fault(as, AT + 12 * MiB + PAGE_SIZE, FAULT_WRITE);

	return ret == (FAULT_BUS | FAULT_OOM | BUS_ADRERR) ? -ENOMEM : ret;
}

static s64 do_fault_file_private(void)
{
	int ret = vm_fault(as, AT + 4 * MiB + 5 * PAGE_SIZE, FAULT_WRITE);

	return ret == (FAULT_BUS | FAULT_OOM | BUS_ADRERR) ? -ENOMEM : ret;
}

static s64 do_mremap(void)
{
	return vm_mremap(as, AT + 100 * PAGE_SIZE, PAGE_SIZE * 2, 4 * MiB,
			 MREMAP_MAYMOVE | MREMAP_FIXED, AT + 700 * GiB);
}

static s64 do_mremap_file(void)
{
	return vm_mremap(as, AT + 4 * MiB + 3 * PAGE_SIZE, 4 * PAGE_SIZE, 9 * PAGE_SIZE,
			 MREMAP_MAYMOVE, 0);
}

static s64 do_brk(void)
{
	aspace_set_brk(as, 0x20000000);
	return vm_brk(as, 0x20000000 + 5000) == 0x20000000 ? -ENOMEM : 0;
}

/* The regions and contents that a program could see, as one number. */
static int hash_region(const struct vm_region *r, void *arg)
{
	u64 *h = arg;
	u64 words[] = { r->start, r->end, (u64)r->prot, (u64)r->flags, (u64)r->obj, r->offset };

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		*h = (*h ^ words[i]) * 0x100000001b3ul;
	return 0;
}

static u64 picture(void)
{
	u64 h = 14695981039346656037ul;
	u32 word;

	aspace_walk(as, 0, hash_region, &h);
	for (u64 i = 0; i < 3; i++) {
		assert_int_equal(aspace_read(as, AT + (100 + i) * PAGE_SIZE, &word, 4), 4);
		h = (h ^ word) * 0x100000001b3ul;
	}
	return h;
}

/* With a child alive the tables are shared: each call must unshare what it changes. */
static void every_allocation_fails(bool shared)
{
	s64 (*const calls[])(void) = { do_mmap,   do_mmap_shared, do_mmap_file,
				       do_munmap, do_mprotect,    do_fork,
				       do_fault,  do_fault_file,  do_fault_file_private,
				       do_mremap, do_mremap_file, do_brk };

	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++) {
		struct aspace *child = NULL;
		u64 k, failures = 0;

		make_scene();
		for (u64 j = 0; j < 4; j++) { /* the file's own pages are not ours to count */
			struct frame *f = NULL;

			assert_int_equal(file_get_page(&file.obj, j, &f), 0);
			frame_put(f);
		}
		if (shared)
			assert_int_equal(aspace_fork(as, &child), 0);
		for (k = 1;; k++) {
			u64 before = picture(), frames = frames_named();
			s64 ret;

			alloc_fail_at = k;
			ret = calls[i]();
			if (alloc_fail_at != 0) {
				alloc_fail_at = 0;
				assert_true(ret >= 0);
				break;
			}
			assert_int_equal(ret, -ENOMEM);
			/* A fault may have unshared its table already, a large call in pieces has
			 * split its edges: nobody can see that. */
			if (!shared && calls[i] != do_munmap && calls[i] != do_mprotect &&
			    calls[i] != do_mmap)
				assert_int_equal(frames_named(), frames);
			assert_true(picture() == before);
			aspace_audit();
			host_mmu_audit();
			failures++;
		}
		assert_true(failures > 0);
		aspace_audit();
		if (child)
			aspace_put(child);
		aspace_audit();
		file_stop();
		as = aspace_create();
		use(as);
	}
}

static void test_every_allocation_fails(void **state)
{
	every_allocation_fails(false);
}

static void test_every_allocation_fails_shared(void **state)
{
	every_allocation_fails(true);
}

/* Each call over tables that parent, child and grandchild share leaves the others as they were. */
static void test_unshared_by_each_call(void **state)
{
	s64 (*const calls[])(
		void) = { do_mmap,       do_munmap,     do_mprotect,           do_fork,
			  do_fault,      do_fault_file, do_fault_file_private, do_mremap,
			  do_mremap_file };

	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++) {
		struct aspace *child, *grandchild, *parent;
		u64 before;

		make_scene();
		before = picture();
		assert_int_equal(aspace_fork(as, &child), 0);
		assert_int_equal(aspace_fork(child, &grandchild), 0);
		use(as);
		assert_true(calls[i]() >= 0);
		aspace_audit();
		host_mmu_audit();
		parent = as;
		as = child;
		assert_true(picture() == before);
		assert_true(calls[i]() >= 0);
		aspace_audit();
		as = grandchild;
		assert_true(picture() == before);
		as = parent;
		use(as);
		aspace_put(child);
		aspace_audit();
		aspace_put(grandchild);
		file_stop();
		as = aspace_create();
		use(as);
	}
}

/* ---- pages of 2 MiB -------------------------------------------------------------------------- */

#define LARGE_AT (AT + 2 * MiB)

/* n of them, each page with its number in it. */
static void map_large(u64 n)
{
	struct vm_stats before, s;

	vm_stats(&before);
	assert_int_equal(map(LARGE_AT, n * LARGE_SIZE, RW, ANON | MAP_FIXED), LARGE_AT);
	assert_int_equal(vm_madvise(as, LARGE_AT, n * LARGE_SIZE, MADV_HUGEPAGE), 0);
	for (u64 i = 0; i < n * LARGE_PAGES; i++)
		poke(as, LARGE_AT + i * PAGE_SIZE, 1000 + (u32)i);
	vm_stats(&s);
	assert_int_equal(s.large_faults - before.large_faults, n);
	assert_int_equal(s.faults - before.faults, n);
}

static u64 splits_before; /* this test */

static u64 splits(void)
{
	struct large_stats s;

	large_stats(&s);
	return s.splits - splits_before;
}

static int setup_large(void **state)
{
	splits_before = 0;
	splits_before = splits();
	return setup(state);
}

static u64 wholes(void)
{
	struct large_stats s;

	large_stats(&s);
	return s.in_use;
}

/* Pages from ... end, by their numbers, say what map_large wrote; in `space`. */
static void check_large(struct aspace *space, u64 from, u64 end)
{
	for (u64 i = from; i < end; i++)
		assert_int_equal(peek(space, LARGE_AT + i * PAGE_SIZE), 1000 + i);
}

static void test_large_page(void **state)
{
	u64 frames, tables_before = tables();
	struct aspace_stats a;

	map_large(2);
	assert_int_equal(tables(), tables_before + 2); /* of levels 3 and 2 */
	aspace_stats(as, &a);
	assert_int_equal(a.resident, 2 * LARGE_PAGES);
	assert_int_equal(wholes(), 2);
	/* What changes a whole splits nothing. */
	assert_int_equal(vm_mprotect(as, LARGE_AT, LARGE_SIZE, PROT_READ), 0);
	assert_int_equal(fault(LARGE_AT + 5 * PAGE_SIZE, FAULT_WRITE), SEGV_ACCERR);
	assert_int_equal(vm_mprotect(as, LARGE_AT, LARGE_SIZE, PROT_NONE), 0);
	host_mmu_audit();
	aspace_audit();
	assert_int_equal(fault(LARGE_AT, FAULT_READ), SEGV_ACCERR);
	assert_int_equal(vm_mprotect(as, LARGE_AT, LARGE_SIZE, RW), 0);
	check_large(as, 0, LARGE_PAGES);
	poke(as, LARGE_AT, 1000); /* the right to write comes back, whole */
	assert_int_equal(vm_mlock(as, LARGE_AT, 2 * LARGE_SIZE, 0), 0);
	assert_int_equal(vm_munlock(as, LARGE_AT, 2 * LARGE_SIZE), 0);
	frames = frames_named();
	assert_int_equal(vm_madvise(as, LARGE_AT, LARGE_SIZE, MADV_DONTNEED), 0);
	assert_int_equal(frames_named(), frames - LARGE_PAGES);
	poke(as, LARGE_AT + 9 * PAGE_SIZE, 9);
	assert_int_equal(peek(as, LARGE_AT + 8 * PAGE_SIZE), 0);
	check_large(as, LARGE_PAGES, 2 * LARGE_PAGES);
	assert_int_equal(splits(), 0);
	assert_int_equal(wholes(), 2);
}

static void test_large_page_unmapped_by_one_flush(void **state)
{
	struct tlb_stats before, s;

	map_large(2); /* the other keeps the tables */
	tlb_stats(&before);
	assert_int_equal(vm_munmap(as, LARGE_AT, LARGE_SIZE), 0);
	tlb_stats(&s);
	assert_int_equal(s.page - before.page, 1);
	assert_int_equal(s.range + s.space, before.range + before.space);
	assert_int_equal(wholes(), 1);
}

/* Who gets one. */
static void test_large_policy(void **state)
{
	static const struct {
		enum large_policy policy;
		int advice;
		bool disabled, large;
	} cases[] = {
		{ LARGE_NEVER, MADV_NORMAL, false, false },
		{ LARGE_NEVER, MADV_HUGEPAGE, false, false },
		{ LARGE_MADVISE, MADV_NORMAL, false, false },
		{ LARGE_MADVISE, MADV_HUGEPAGE, false, true },
		{ LARGE_MADVISE, MADV_NOHUGEPAGE, false, false },
		{ LARGE_ALWAYS, MADV_NORMAL, false, true },
		{ LARGE_ALWAYS, MADV_NOHUGEPAGE, false, false },
		{ LARGE_ALWAYS, MADV_HUGEPAGE, true, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		large_set_policy(cases[i].policy);
		aspace_disable_large(as, cases[i].disabled);
		map(LARGE_AT, LARGE_SIZE, RW, ANON | MAP_FIXED);
		assert_int_equal(vm_madvise(as, LARGE_AT, LARGE_SIZE, cases[i].advice), 0);
		poke(as, LARGE_AT + 77 * PAGE_SIZE, 1);
		assert_int_equal(wholes(), cases[i].large);
	}
	aspace_disable_large(as, false);
	/* Not where 2 MiB are not alike, nor where something was read before. */
	map(LARGE_AT, LARGE_SIZE, RW, ANON | MAP_FIXED);
	vm_mprotect(as, LARGE_AT, PAGE_SIZE, PROT_READ);
	poke(as, LARGE_AT + PAGE_SIZE, 1);
	assert_int_equal(wholes(), 0);
	map(LARGE_AT, LARGE_SIZE, RW, ANON | MAP_FIXED);
	peek(as, LARGE_AT);
	poke(as, LARGE_AT, 1);
	assert_int_equal(wholes(), 0);
	/* Nor when there is no block: then a small page does. */
	map(LARGE_AT, LARGE_SIZE, RW, ANON | MAP_FIXED);
	alloc_fail_at = 1;
	poke(as, LARGE_AT, 5);
	assert_int_equal(alloc_fail_at, 0);
	assert_int_equal(wholes(), 0);
	assert_int_equal(peek(as, LARGE_AT), 5);
}

/* Populating counts large pages as one. */
static void test_large_populate(void **state)
{
	struct vm_stats before, s;

	map(LARGE_AT, 3 * LARGE_SIZE, RW, ANON | MAP_FIXED);
	vm_madvise(as, LARGE_AT, 3 * LARGE_SIZE, MADV_HUGEPAGE);
	vm_stats(&before);
	assert_int_equal(
		vm_madvise(as, LARGE_AT + 5 * PAGE_SIZE, 2 * LARGE_SIZE, MADV_POPULATE_WRITE), 0);
	vm_stats(&s);
	assert_int_equal(s.faults - before.faults, 3);
	assert_int_equal(wholes(), 3);
}

#define PART (LARGE_AT + 100 * PAGE_SIZE)

static s64 split_munmap(void)
{
	return vm_munmap(as, PART, 10 * PAGE_SIZE);
}
static s64 split_mprotect(void)
{
	return vm_mprotect(as, PART, 10 * PAGE_SIZE, PROT_READ);
}
static s64 split_none(void)
{
	return vm_mprotect(as, PART, 10 * PAGE_SIZE, PROT_NONE);
}
static s64 split_dontneed(void)
{
	return vm_madvise(as, PART, 10 * PAGE_SIZE, MADV_DONTNEED);
}
static s64 split_free(void)
{
	return vm_madvise(as, PART, 10 * PAGE_SIZE, MADV_FREE);
}
static s64 split_dontfork(void)
{
	return vm_madvise(as, PART, 10 * PAGE_SIZE, MADV_DONTFORK);
}
static s64 split_nohuge(void)
{
	return vm_madvise(as, PART, 10 * PAGE_SIZE, MADV_NOHUGEPAGE);
}
static s64 split_mlock(void)
{
	return vm_mlock(as, PART, 10 * PAGE_SIZE, MLOCK_ONFAULT);
}
static s64 split_map(void)
{
	return map(PART, 10 * PAGE_SIZE, RW, ANON | MAP_FIXED);
}
static s64 split_mremap(void)
{
	return vm_mremap(as, PART, 10 * PAGE_SIZE, 10 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
			 AT + GiB);
}
/* By a multiple of 2 MiB. */
static s64 split_mremap_far(void)
{
	return vm_mremap(as, PART, 10 * PAGE_SIZE, 10 * PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
			 PART + GiB);
}
/* All of it, to an address that is not aligned. */
static s64 split_mremap_all(void)
{
	return vm_mremap(as, LARGE_AT, LARGE_SIZE, LARGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED,
			 AT + GiB + 3 * PAGE_SIZE);
}
/* Two, of which each is covered in part. */
static s64 split_two(void)
{
	return vm_munmap(as, LARGE_AT + LARGE_SIZE - 3 * PAGE_SIZE, 9 * PAGE_SIZE);
}

static const struct {
	s64 (*call)(void);
	unsigned splits;
	u64 from, end; /* the pages it concerns */
} split_cases[] = {
	{ split_munmap, 1, 100, 110 },     { split_mprotect, 1, 0, 0 },
	{ split_none, 1, 100, 110 },       { split_dontneed, 1, 100, 110 },
	{ split_free, 1, 100, 110 },       { split_dontfork, 1, 0, 0 },
	{ split_nohuge, 1, 0, 0 },         { split_mlock, 1, 0, 0 },
	{ split_map, 1, 100, 110 },        { split_mremap, 1, 100, 110 },
	{ split_mremap_far, 1, 100, 110 }, { split_mremap_all, 1, 0, 512 },
	{ split_two, 2, 509, 518 },
};

/* Each call splits as many as it must; what it leaves alone keeps its content. */
static void test_large_splits(void **state)
{
	for (int held = 0; held < 2; held++)
		for (unsigned i = 0; i < ARRAY_SIZE(split_cases); i++) {
			u64 before;

			map_large(2);
			if (held)
				assert_int_equal(
					vm_mprotect(as, LARGE_AT, 2 * LARGE_SIZE, PROT_NONE), 0);
			before = splits();
			assert_true(split_cases[i].call() >= 0);
			assert_int_equal(splits() - before, split_cases[i].splits);
			assert_int_equal(wholes(), 2 - split_cases[i].splits);
			aspace_audit();
			host_mmu_audit();
			if (held) { /* the rest, to be read */
				vm_mprotect(as, LARGE_AT, split_cases[i].from * PAGE_SIZE, RW);
				vm_mprotect(as, LARGE_AT + split_cases[i].end * PAGE_SIZE,
					    2 * LARGE_SIZE - split_cases[i].end * PAGE_SIZE, RW);
			}
			check_large(as, 0, split_cases[i].from);
			check_large(as, split_cases[i].end, 2 * LARGE_PAGES);
			assert_int_equal(vm_munmap(as, AT, 2 * GiB), 0);
			assert_int_equal(wholes(), 0);
		}
}

/* The content of two large pages, as one number; where nothing can be read, that. */
static u64 large_picture(void)
{
	u64 h = 14695981039346656037ul;
	u32 word;

	aspace_walk(as, 0, hash_region, &h);
	for (u64 i = 0; i < 2 * LARGE_PAGES; i++) {
		ssize_t n = aspace_read(as, LARGE_AT + i * PAGE_SIZE, &word, 4);

		h = (h ^ (n == 4 ? word : 12345)) * 0x100000001b3ul;
	}
	return h;
}

/* A write to a page that a fork shares. */
static s64 split_write(void)
{
	int ret = vm_fault(as, PART, FAULT_WRITE);

	return ret == (FAULT_BUS | FAULT_OOM | BUS_ADRERR) ? -ENOMEM : ret;
}

/* Without memory for the table nothing has changed; with a child alive as well. */
static void every_split_fails(s64 (*call)(void), bool forked)
{
	struct aspace *child = NULL;
	u64 k;

	map_large(2);
	if (forked)
		assert_int_equal(aspace_fork(as, &child), 0);
	for (k = 1;; k++) {
		u64 before = large_picture(), frames = frames_named(), whole = wholes();
		s64 ret;

		alloc_fail_at = k;
		ret = call();
		if (alloc_fail_at != 0) {
			alloc_fail_at = 0;
			assert_true(ret >= 0);
			break;
		}
		assert_int_equal(ret, -ENOMEM);
		assert_true(large_picture() == before);
		if (call != split_write || k == 1) { /* its copy comes after the split */
			assert_int_equal(frames_named(), frames);
			assert_int_equal(wholes(), whole);
		}
		aspace_audit();
		host_mmu_audit();
	}
	assert_true(k > 1); /* it needed memory */
	if (child) {
		check_large(child, 0, 2 * LARGE_PAGES);
		use(as);
		aspace_put(child);
	}
	assert_int_equal(vm_munmap(as, AT, 2 * GiB), 0);
	aspace_audit();
}

static void test_large_split_fails(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(split_cases); i++) {
		every_split_fails(split_cases[i].call, false);
		every_split_fails(split_cases[i].call, true);
	}
	every_split_fails(split_write, true);
}

/* The fault itself: the block, then tables. Failing for the block it takes a small page. */
static void test_large_fault_fails(void **state)
{
	u64 k, whole;

	for (k = 1; k < 10; k++) {
		int ret;

		/* No table of level 2 there yet. */
		map(AT + 600 * GiB, GiB, RW, ANON | MAP_FIXED);
		vm_madvise(as, AT + 600 * GiB, GiB, MADV_HUGEPAGE);
		whole = frames_named();
		alloc_fail_at = k;
		ret = vm_fault(as, AT + 600 * GiB + 5 * PAGE_SIZE, FAULT_WRITE);
		if (alloc_fail_at != 0)
			break;
		if (k == 1) {
			assert_int_equal(ret, 0);
			assert_int_equal(wholes(), 0);
		} else {
			assert_int_equal(ret, FAULT_BUS | FAULT_OOM | BUS_ADRERR);
			assert_int_equal(frames_named(), whole);
		}
		vm_munmap(as, AT + 600 * GiB, GiB);
	}
	alloc_fail_at = 0;
	assert_int_equal(k, 3); /* the block, a table of level 2 */
	assert_int_equal(wholes(), 1);
}

static void test_large_fork(void **state)
{
	struct aspace *child, *grandchild;
	struct vm_stats before, s;
	u64 frames;

	map_large(2);
	frames = frames_named();
	assert_int_equal(aspace_fork(as, &child), 0);
	assert_true(frames_named() - frames <= 4); /* tables, no pages */
	host_mmu_audit();
	assert_int_equal(splits(), 0);
	vm_stats(&before);
	poke(as, LARGE_AT + 5 * PAGE_SIZE, 5); /* shared: split, one small page copied */
	poke(as, LARGE_AT + 6 * PAGE_SIZE, 6);
	vm_stats(&s);
	assert_int_equal(s.cow_copied - before.cow_copied, 2);
	assert_int_equal(splits(), 1);
	check_large(child, 0, 2 * LARGE_PAGES);
	aspace_audit();
	/* The child is not alone with it, though its entry is whole. A third generation, the same. */
	assert_int_equal(aspace_fork(child, &grandchild), 0);
	poke(grandchild, LARGE_AT + 7 * PAGE_SIZE, 7);
	assert_int_equal(splits(), 2);
	assert_int_equal(peek(as, LARGE_AT + 7 * PAGE_SIZE), 1007);
	assert_int_equal(peek(child, LARGE_AT + 7 * PAGE_SIZE), 1007);
	assert_int_equal(peek(as, LARGE_AT + 5 * PAGE_SIZE), 5);
	check_large(grandchild, 8, 2 * LARGE_PAGES);
	aspace_audit();
	/* The others leave: the child is alone with all of it again, and need not split. */
	use(child);
	aspace_put(as);
	aspace_put(grandchild);
	aspace_audit();
	assert_int_equal(wholes(), 1); /* the second; the first is counted in pieces */
	vm_stats(&before);
	poke(child, LARGE_AT, 1);
	poke(child, LARGE_AT + LARGE_SIZE, 1);
	vm_stats(&s);
	assert_int_equal(s.cow_reused - before.cow_reused, 2);
	assert_int_equal(s.cow_copied, before.cow_copied);
	assert_int_equal(wholes(), 2);
	assert_int_equal(splits(), 2);
	check_large(child, 1, LARGE_PAGES);
	as = child;
}

/* Held by the parent, excepted from fork, and both split on their own. */
static void test_large_fork_exceptions(void **state)
{
	struct aspace *child;

	map_large(4);
	vm_mprotect(as, LARGE_AT, LARGE_SIZE, PROT_NONE);
	vm_madvise(as, LARGE_AT + LARGE_SIZE, LARGE_SIZE, MADV_DONTFORK);
	vm_madvise(as, LARGE_AT + 2 * LARGE_SIZE, LARGE_SIZE, MADV_WIPEONFORK);
	assert_int_equal(aspace_fork(as, &child), 0);
	assert_int_equal(splits(), 0);
	aspace_audit();
	assert_int_equal(access_in(child, LARGE_AT + LARGE_SIZE, FAULT_READ, &(u32){ 0 }),
			 SEGV_MAPERR);
	assert_int_equal(peek(child, LARGE_AT + 2 * LARGE_SIZE), 0);
	assert_int_equal(vm_mprotect(child, LARGE_AT, 7 * PAGE_SIZE, RW), 0);
	poke(child, LARGE_AT + PAGE_SIZE, 1);
	assert_int_equal(vm_munmap(child, LARGE_AT + 3 * LARGE_SIZE, PAGE_SIZE), 0);
	aspace_audit();
	assert_int_equal(vm_mprotect(as, LARGE_AT, LARGE_SIZE, RW), 0);
	check_large(as, 0, 4 * LARGE_PAGES);
	poke(as, LARGE_AT + PAGE_SIZE, 2);
	check_large(as, 2, 4 * LARGE_PAGES);
	check_large(child, 2, 7);
	check_large(child, 3 * LARGE_PAGES + 1, 4 * LARGE_PAGES);
	use(as);
	aspace_put(child);
}

static void test_large_moves_whole(void **state)
{
	map_large(2);
	assert_int_equal(vm_mremap(as, LARGE_AT, 2 * LARGE_SIZE, 2 * LARGE_SIZE,
				   MREMAP_MAYMOVE | MREMAP_FIXED, AT + GiB),
			 AT + GiB);
	assert_int_equal(splits(), 0);
	aspace_audit();
	host_mmu_audit();
	assert_int_equal(fault(LARGE_AT, FAULT_READ), SEGV_MAPERR);
	assert_int_equal(vm_mremap(as, AT + GiB, 2 * LARGE_SIZE, 2 * LARGE_SIZE,
				   MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, LARGE_AT),
			 LARGE_AT);
	assert_int_equal(splits(), 0);
	check_large(as, 0, 2 * LARGE_PAGES);
	assert_int_equal(peek(as, AT + GiB), 0);
	/* Many that cannot stay whole. */
	map_large(8);
	assert_int_equal(vm_mremap(as, LARGE_AT, 8 * LARGE_SIZE, 8 * LARGE_SIZE,
				   MREMAP_MAYMOVE | MREMAP_FIXED, AT + GiB + PAGE_SIZE),
			 AT + GiB + PAGE_SIZE);
	assert_int_equal(splits(), 8);
	for (u64 i = 0; i < 8 * LARGE_PAGES; i++)
		assert_int_equal(peek(as, AT + GiB + (1 + i) * PAGE_SIZE), 1000 + i);
}

/* ---- pages around the one that is read ------------------------------------------------------- */

static u64 mapped_around(void)
{
	struct vm_stats s;

	vm_stats(&s);
	return s.mapped_around;
}

static void test_fault_around(void **state)
{
	u64 at = AT + 12 * PAGE_SIZE, before; /* the window's last four pages */
	struct vm_stats s, first;

	file_start();
	map_file(at, 6, RW, MAP_PRIVATE);
	/* What the file has not got yet is not made. */
	before = mapped_around();
	assert_int_equal(peek(as, at + PAGE_SIZE), 101);
	assert_int_equal(mapped_around(), before);
	assert_null(file.page[0]);
	/* All are there now; those not mapped yet come with the next. */
	for (u64 i = 0; i < 4; i++) {
		struct frame *f = NULL;

		assert_int_equal(file_get_page(&file.obj, i, &f), 0);
		frame_put(f);
	}
	vm_stats(&first);
	assert_int_equal(peek(as, at + 2 * PAGE_SIZE), 102);
	assert_int_equal(mapped_around(), before + 2);
	assert_int_equal(peek(as, at), 100);
	assert_int_equal(peek(as, at + 3 * PAGE_SIZE), 103);
	vm_stats(&s);
	assert_int_equal(s.faults - first.faults, 1);
	aspace_audit();
	poke(as, at + 3 * PAGE_SIZE, 9); /* read-only in the table: a copy, as ever */
	assert_int_equal(*(u32 *)frame_virt(file.page[3]), 103);
	assert_int_equal(fault(at + 4 * PAGE_SIZE, FAULT_READ), FAULT_BUS | BUS_ADRERR);

	/* Only what says the same: not the other mapping, nor the other protection, nor beyond the window. */
	assert_int_equal(vm_munmap(as, at, 6 * PAGE_SIZE), 0);
	at = AT + 30 * PAGE_SIZE; /* two pages before a border */
	map_file(at, 4, RW, MAP_SHARED);
	vm_mprotect(as, at + PAGE_SIZE, PAGE_SIZE, PROT_READ);
	before = mapped_around();
	assert_int_equal(peek(as, at), 100);
	assert_int_equal(mapped_around(), before);
	assert_int_equal(peek(as, at + 2 * PAGE_SIZE), 102);
	assert_int_equal(mapped_around(), before + 1);
	poke(as, at + 3 * PAGE_SIZE, 50); /* shared and writable: no further fault */
	assert_int_equal(*(u32 *)frame_virt(file.page[3]), 50);
	aspace_audit();
	/* A write maps its page alone. */
	map_file(at, 4, RW, MAP_PRIVATE);
	before = mapped_around();
	poke(as, at, 1);
	assert_int_equal(mapped_around(), before);
	file_stop();
}

/* ---- forks of forks -------------------------------------------------------------------------- */

static void test_generations(void **state)
{
	struct aspace *line[6];

	map(AT, 8 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	for (u64 j = 0; j < 8; j++)
		poke(as, AT + j * PAGE_SIZE, 1000 + (u32)j);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(aspace_fork(i ? line[i - 1] : as, &line[i]), 0);
		poke(line[i], AT + i * PAGE_SIZE, i);
		aspace_audit();
	}
	for (unsigned i = 0; i < 6; i++)
		for (unsigned j = 0; j < 8; j++)
			assert_int_equal(peek(line[i], AT + j * PAGE_SIZE), j <= i ? j : 1000 + j);
	for (unsigned j = 0; j < 8; j++)
		assert_int_equal(peek(as, AT + j * PAGE_SIZE), 1000 + j);
	/* In an order of no kind. */
	static const unsigned order[] = { 2, 0, 5, 3, 1, 4 };

	for (unsigned i = 0; i < 6; i++) {
		aspace_put(line[order[i]]);
		aspace_audit();
	}
	use(as);
}

/* ---- a table that is shared while somebody waits for its lock ---------------------------------- */

static int call_result;

static void *fault_elsewhere(void *arg)
{
	host_cpu = 1;
	call_result = vm_fault(as, AT + PAGE_SIZE, FAULT_WRITE);
	return NULL;
}

static void *protect_elsewhere(void *arg)
{
	host_cpu = 1;
	call_result = vm_mprotect(as, AT, 2 * PAGE_SIZE, RW | PROT_EXEC);
	return NULL;
}

/* Changes when one more waits. */
static u8 tickets(const struct frame *t)
{
	return __atomic_load_n(&t->lock.next, __ATOMIC_ACQUIRE);
}

static pte_t *entry_of_level2(u64 va)
{
	pte_t *entry = as->root;

	for (unsigned level = PT_LEVELS; level > 2; level--)
		entry = phys_to_virt(pte_pa(entry[pt_index(va, level)], level));
	return &entry[pt_index(va, 2)];
}

/*
 * A fault, and a call, have come down to a table and wait for its lock, while a fork shares it and
 * the child ends. Its count is 1 again, but the entry above has no PTE_WRITE: the next fork would
 * count one more owner without the table's lock. So they must not change it before they have taken it
 * back from above.
 */
static void test_shared_while_waiting(void **state)
{
	void *(*call[])(void *arg) = { fault_elsewhere, protect_elsewhere };

	map(AT, 4 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	poke(as, AT, 1);
	for (unsigned i = 0; i < 2; i++) {
		pte_t *above = entry_of_level2(AT);
		struct frame *t = pte_table(*above, 2);
		u8 alone;
		pthread_t other;

		table_lock(t);
		alone = tickets(t);
		call_result = -1;
		assert_int_equal(pthread_create(&other, NULL, call[i], NULL), 0);
		while (tickets(t) == alone)
			cpu_relax();
		/* What fork and the child's exit leave. */
		pte_clear_bits(above, PTE_WRITE);
		tlb_flush_space(as);
		table_unlock(t);
		pthread_join(other, NULL);
		assert_int_equal(call_result, 0);
		assert_true(pte_load(above).v & PTE_WRITE);
		assert_int_equal(peek(as, AT), 1);
	}
}

/* The same for a table that has been copied by then: the change must be in the copy. */
static void test_replaced_while_waiting(void **state)
{
	pte_t *above;
	struct frame *t, *copy;
	struct pt_cursor c;
	u8 alone;
	pthread_t other;

	map(AT, 4 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	poke(as, AT, 1);
	above = entry_of_level2(AT);
	t = pte_table(*above, 2);
	pt_lock(&c, as, AT, AT + 2 * MiB - 1, 2);
	assert_int_equal(pt_spare(&c, 1), 0);
	copy = c.spare;
	c.spare = NULL;
	copy->level = 1;
	table_lock(t);
	alone = tickets(t);
	assert_int_equal(pthread_create(&other, NULL, fault_elsewhere, NULL), 0);
	while (tickets(t) == alone)
		cpu_relax();
	memcpy(frame_virt(copy), frame_virt(t), PAGE_SIZE);
	copy->used = t->used;
	memset(frame_virt(t), 0, PAGE_SIZE);
	t->used = 0;
	pte_exchange(above, pte_make(frame_pa(copy), PTE_TABLE));
	tlb_flush_space(as);
	table_unlock(t);
	pt_unlock(&c);
	pthread_join(other, NULL);
	assert_int_equal(call_result, 0);
	assert_true(pte_is_present(*((pte_t *)frame_virt(copy) + pt_index(AT + PAGE_SIZE, 1))));
	assert_int_equal(t->used, 0);
	pt_free_table(t);
}

static void *noreplace_elsewhere(void *arg)
{
	host_cpu = 1;
	call_result = (int)vm_mmap(as, AT + MiB, 2 * MiB, RW, ANON | MAP_FIXED_NOREPLACE, NULL, 0);
	return NULL;
}

/* Whether a place is free is seen under the lock of each table of it: what comes there meanwhile stays. */
static void test_noreplace_waits(void **state)
{
	struct frame *t;
	pte_t *slot;
	u8 alone;
	pthread_t other;

	map(AT, 4 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	poke(as, AT, 1);
	t = pte_table(*entry_of_level2(AT), 2);
	table_lock(t);
	alone = tickets(t);
	assert_int_equal(pthread_create(&other, NULL, noreplace_elsewhere, NULL), 0);
	while (tickets(t) == alone)
		cpu_relax();
	slot = (pte_t *)frame_virt(t) + pt_index(AT + MiB, 1);
	pte_store(slot, mark_anon(VM_READ | VM_WRITE | PTE_NOEXEC));
	t->used++;
	table_unlock(t);
	pthread_join(other, NULL);
	assert_int_equal(call_result, -EEXIST);
	poke(as, AT + MiB, 2);
}

/* What /proc tells: pages that are there, of which kind, written or not; the zero page is nothing. */
static void test_usage(void **state)
{
	struct aspace_stats s;
	struct vm_usage u;
	u64 entry[4];

	map(AT, 4 * PAGE_SIZE, RW, ANON | MAP_FIXED);
	poke(as, AT, 1);
	poke(as, AT + PAGE_SIZE, 1);
	peek(as, AT + 2 * PAGE_SIZE);
	atomic_fetch_or(&current()->work, THREAD_EXIT); /* killed: one page is enough */
	vm_usage(as, AT, AT + 4 * PAGE_SIZE, &u);
	aspace_stats(as, &s);
	atomic_fetch_and(&current()->work, ~THREAD_EXIT);
	assert_int_equal(u.resident, 1);
	assert_int_equal(s.resident, 1);
	vm_usage(as, AT, AT + 4 * PAGE_SIZE, &u);
	aspace_stats(as, &s);
	assert_int_equal(s.resident, 2);
	assert_int_equal(u.resident, 2);
	assert_int_equal(u.anon, 2);
	assert_int_equal(u.dirty[0], 2);
	assert_int_equal(u.dirty[1] + u.clean[0] + u.clean[1], 0);
	vm_pagemap(as, AT, 4, entry);
	assert_int_equal(entry[1] >> 56, 0x81); /* there, ours alone */
	assert_int_equal(entry[2], 1ul << 63 | zero_pfn);
	assert_int_equal(entry[3], 0);

	file_start();
	map_file(AT + MiB, 1, RW, MAP_SHARED);
	peek(as, AT + MiB);
	vm_usage(as, AT + MiB, AT + MiB + PAGE_SIZE, &u);
	assert_int_equal(u.resident, 1);
	assert_int_equal(u.anon, 0);
	assert_int_equal(u.clean[0], 1);
	assert_int_equal(aspace_write(as, AT + MiB, "x", 1), 1); /* D, as the processor would */
	vm_usage(as, AT + MiB, AT + MiB + PAGE_SIZE, &u);
	assert_int_equal(u.dirty[0], 1);
	assert_int_equal(u.clean[0], 0);
	vm_pagemap(as, AT + MiB, 1, entry);
	assert_int_equal(entry[0] >> 56, 0xa1); /* of a file, too */
	file_stop();
}

static int count_slot(const struct pt_slot *s, void *calls)
{
	(*(unsigned *)calls)++;
	return 0;
}

/* Who reads the page table sees what has no frame in runs: a few for a terabyte in which little was touched. */
static void test_scan_sees_runs(void **state)
{
	unsigned calls = 0;

	map(AT, TiB, RW, ANON | MAP_FIXED);
	poke(as, AT + GiB + 5 * MiB + 7 * PAGE_SIZE, 1); /* 5 MiB: slot 2 of its table */
	assert_int_equal(pt_scan(as, AT, AT + TiB, count_slot, &calls), 0);
	/* Three for each of the levels 1 to 3: before it, itself or behind it. The table of level 4 has one slot of it. */
	assert_in_range(calls, 5, 9);
	assert_string_equal(regions(), "0-1073741824 ");

	calls = 0;
	file_start();
	map_file(AT, 512, RW, MAP_SHARED | MAP_FIXED);
	assert_int_equal(pt_scan(as, AT, AT + 2 * MiB, count_slot, &calls), 0);
	assert_int_equal(calls, 1);
	file_stop();
}

/* A space lives as long as somebody has a reference. */
static void test_references(void **state)
{
	struct aspace *other = aspace_create();

	aspace_get(other);
	aspace_put(other);
	assert_int_equal(vm_mmap(other, AT, PAGE_SIZE, RW, ANON | MAP_FIXED, NULL, 0), AT);
	poke(other, AT, 1);
	assert_int_equal(peek(other, AT), 1);
	use(as);
	aspace_put(other);
}

static void test_gap_search(void **state)
{
	s64 a = map(0, 16 * PAGE_SIZE, RW, ANON), b = map(0, 4 * PAGE_SIZE, RW, ANON),
	    c = map(0, 8 * PAGE_SIZE, RW, ANON);

	/* Top down, side by side. */
	assert_int_equal(b, a - (s64)(4 * PAGE_SIZE));
	assert_int_equal(c, b - (s64)(8 * PAGE_SIZE));
	/* A hole is filled again, from its top; two neighbours' holes are one. */
	assert_int_equal(vm_munmap(as, (u64)b, 4 * PAGE_SIZE), 0);
	assert_int_equal(map(0, 6 * PAGE_SIZE, RW, ANON), c - (s64)(6 * PAGE_SIZE));
	assert_int_equal(map(0, 2 * PAGE_SIZE, RW, ANON), b + (s64)(2 * PAGE_SIZE));
	assert_int_equal(vm_munmap(as, (u64)a, 16 * PAGE_SIZE), 0);
	assert_int_equal(vm_munmap(as, (u64)b + 2 * PAGE_SIZE, 2 * PAGE_SIZE), 0);
	assert_int_equal(map(0, 20 * PAGE_SIZE, RW, ANON), b);
	/* And when all is full up there, further down. */
	assert_int_equal(map(0x7f0000000000, 0x7ffffffff000 - 0x7f0000000000, RW, ANON | MAP_FIXED),
			 0x7f0000000000);
	assert_int_equal(map(0, PAGE_SIZE, RW, ANON), 0x7f0000000000 - PAGE_SIZE);
}

/* ---- in pieces ------------------------------------------------------------------------------- */

/* 8 MiB of touched pages, some of them shared with a child, or taken back: cut out of the middle. */
static void test_long_operations_in_pieces(void **state)
{
	const u64 len = 8 * MiB, from = AT + MiB + 3 * PAGE_SIZE, end = AT + 7 * MiB + PAGE_SIZE;
	struct aspace *child = NULL;

	for (int round = 0; round < 3; round++) {
		assert_int_equal(map(AT, len, RW, ANON | MAP_FIXED), (s64)AT);
		for (u64 va = AT; va < AT + len; va += PAGE_SIZE)
			poke(as, va, (u32)(va >> PAGE_SHIFT));
		if (round > 0)
			assert_int_equal(aspace_fork_alone(as, &child), 0);
		if (round == 2) /* what was shared has one owner */
			aspace_put(child);
		assert_int_equal(vm_mprotect(as, from, end - from, PROT_READ), 0);
		assert_int_equal(fault(from, FAULT_WRITE), SEGV_ACCERR);
		assert_int_equal(fault(end - PAGE_SIZE, FAULT_WRITE), SEGV_ACCERR);
		poke(as, from - PAGE_SIZE, 1);
		poke(as, end, 2);
		assert_int_equal(peek(as, AT + 4 * MiB), (AT + 4 * MiB) >> PAGE_SHIFT);
		assert_int_equal(vm_munmap(as, from, end - from), 0);
		for (u64 va = from; va < end; va += PAGE_SIZE)
			assert_int_equal(fault(va, FAULT_READ), SEGV_MAPERR);
		assert_int_equal(peek(as, from - PAGE_SIZE), 1);
		assert_int_equal(peek(as, end), 2);
		aspace_audit();
		host_mmu_audit();
		if (round == 1) {
			for (u64 va = AT; va < AT + len; va += 16 * PAGE_SIZE)
				assert_int_equal(peek(child, va), va >> PAGE_SHIFT);
			aspace_put(child);
		}
	}
}

/* Enough tables for several pieces, at both sides of a boundary of 1 GiB, with holes and marks. */
static void test_fork_in_pieces(void **state)
{
	const u64 first = 0x7fc0000000ul - 150 * MiB, step = 2 * MiB, n = 200;
	struct aspace *child;

	for (u64 i = 0; i < n; i++) {
		if (i % 7 == 3)
			continue;
		assert_int_equal(map(first + i * step, step, RW, ANON | MAP_FIXED),
				 (s64)(first + i * step));
		if (i % 5 != 1)
			poke(as, first + i * step + i * PAGE_SIZE, (u32)i);
	}
	assert_int_equal(aspace_fork_alone(as, &child), 0);
	aspace_audit();
	for (u64 i = 0; i < n; i++) {
		u64 va = first + i * step + i * PAGE_SIZE;
		u32 value = 0;

		if (i % 7 == 3) {
			assert_int_equal(access_in(child, va, FAULT_READ, &value), SEGV_MAPERR);
			continue;
		}
		assert_int_equal(peek(child, va), i % 5 != 1 ? i : 0);
		if (i % 3 == 0) {
			poke(child, va, 1000);
			assert_int_equal(peek(as, va), i % 5 != 1 ? i : 0);
		}
	}
	aspace_audit();
	host_mmu_audit();
	for (u64 k = 1;; k++) { /* every allocation fails */
		struct aspace *other;

		alloc_fail_at = k;
		if (aspace_fork_alone(as, &other) == 0) {
			alloc_fail_at = 0;
			aspace_put(other);
			break;
		}
		aspace_audit();
	}
	use(as);
	aspace_put(child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define L(f) cmocka_unit_test_setup_teardown(f, setup_large, teardown)
		T(test_large_mappings_are_few_entries),
		T(test_partial_marks),
		T(test_partial_marks_at_ends),
		T(test_partial_marks_leave_holes),
		T(test_replacing_frees_tables),
		T(test_mmap_errors),
		T(test_munmap_mprotect_errors),
		T(test_mremap_errors),
		T(test_faults),
		T(test_prot_none_keeps_content),
		T(test_zero_page),
		T(test_cow_and_take_back),
		T(test_cow_flushes),
		T(test_file_pages),
		T(test_changes_while_reading),
		T(test_every_allocation_fails),
		T(test_every_allocation_fails_shared),
		T(test_unshared_by_each_call),
		L(test_large_page),
		L(test_large_page_unmapped_by_one_flush),
		L(test_large_policy),
		L(test_large_populate),
		L(test_large_splits),
		L(test_large_split_fails),
		L(test_large_fault_fails),
		L(test_large_fork),
		L(test_large_fork_exceptions),
		L(test_large_moves_whole),
		T(test_fault_around),
		T(test_generations),
		cmocka_unit_test_setup_teardown(test_shared_while_waiting, setup_two_cpus,
						teardown),
		cmocka_unit_test_setup_teardown(test_replaced_while_waiting, setup_two_cpus,
						teardown),
		cmocka_unit_test_setup_teardown(test_noreplace_waits, setup_two_cpus, teardown),
		T(test_usage),
		T(test_scan_sees_runs),
		T(test_references),
		T(test_gap_search),
		T(test_long_operations_in_pieces),
		T(test_fork_in_pieces),
	};

	return cmocka_run_group_tests_name("pt", tests, NULL, NULL);
}

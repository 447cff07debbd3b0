/* Checked copies with bad addresses, from a thread that has no program's memory at all. */
#include "arch/api/uaccess.h"
#include "machine/memlayout.h"
#include "init/ktest.h"
#include "mm/aspace.h"
#include "lib/string.h"
#include "lib/uapi/mman.h"
#include "sched/sched.h"

static int copy_in_space(void *arg)
{
	struct aspace *as = aspace_create();
	char buf[64];
	int bad = 0;

	if (!as)
		return 100;
	if (ctx_user_create(&current()->arch))
		return 101;
	thread_set_aspace(as);
	s64 at = vm_mmap(as, 0, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 NULL, 0);
	if (at < 0)
		return 102;
	u64 end = (u64)at + 2 * PAGE_SIZE;
	bad += vm_munmap(as, (u64)at + PAGE_SIZE, PAGE_SIZE) != 0;
	end -= PAGE_SIZE;
	memset(buf, 'x', sizeof(buf));
	bad += copy_to_user((u64)at, buf, sizeof(buf)) != 0;
	bad += copy_to_user(end - 10, buf, sizeof(buf)) != -EFAULT;
	bad += copy_to_user_partial(end - 10, buf, sizeof(buf)) != sizeof(buf) - 10;
	bad += copy_from_user(buf, end, 1) != -EFAULT;
	bad += copy_from_user(buf, USER_TOP, 1) != -EFAULT;
	bad += copy_from_user(buf, KERNEL_SPACE, 8) != -EFAULT;
	bad += copy_from_user(buf, (u64)-8, 64) != -EFAULT;
	bad += copy_from_user(buf, 0x8000000000000000, 8) != -EFAULT;
	bad += copy_from_user(buf, 0, 8) != -EFAULT;
	bad += clear_user(end - 8, 16) != -EFAULT;
	bad += clear_user((u64)at, 8) != 0;
	bad += strncpy_from_user(buf, (u64)at, sizeof(buf)) != 0;
	bad += copy_to_user(end - 4, "abcd", 4) != 0;
	bad += strncpy_from_user(buf, end - 4, sizeof(buf)) != -EFAULT;
	bad += strncpy_from_user(buf, end - 4, 4) != -ENAMETOOLONG;
	bad += copy_to_user(end - 4, "abc", 4) != 0;
	bad += strncpy_from_user(buf, end - 4, sizeof(buf)) != 3 || strcmp(buf, "abc");
	thread_set_aspace(NULL);
	aspace_put(as);
	return bad;
}

KTEST(checked_copies_report_bad_addresses)
{
	struct thread *t = thread_create("copier", copy_in_space, NULL, SCHED_LEVEL_NORMAL);

	ktest_check(t);
	ktest_check_eq(thread_join(t), 0);
}

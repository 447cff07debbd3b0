/* System calls: the mmap family. Arguments are checked in mm/, files and rights here. */
#include "syscall/syscalls.h"

#include "arch/api/hook.h"
#include "arch/api/uaccess.h"
#include "fs/file.h"
#include "lib/uapi/fcntl.h"
#include "lib/uapi/mman.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "proc/process.h"

/*
 * How much may be locked: all by root (CAP_IPC_LOCK), else what RLIMIT_MEMLOCK says. Who one is can
 * change at any time, so the space is told before each call that may lock.
 */
static void note_lock_limit(void)
{
	struct process *p = current_proc();
	u64 limit =
		READ_ONCE(p->euid) == 0 ? RLIM_INFINITY : READ_ONCE(p->rlimit[RLIMIT_MEMLOCK].cur);

	aspace_set_limit(current()->as, VM_LIMIT_LOCK, limit);
}

/* May the file be mapped like that? mmap(2): EACCES. */
static int check_file(const struct file *f, int prot, int flags)
{
	u32 mode = f->flags & 3; /* O_ACCMODE */

	if (mode == O_WRONLY)
		return -EACCES;
	if ((flags & MAP_TYPE) != MAP_PRIVATE && (prot & PROT_WRITE) && mode != O_RDWR)
		return -EACCES;
	return 0;
}

/*
 * What Linux's default for overcommitment refuses: one private, writable range (or one shared
 * one without a file) that is larger than all memory.
 */
static bool too_large(u64 len, int prot, int flags)
{
	if (len >> PAGE_SHIFT <= frame_total() || (flags & MAP_NORESERVE))
		return false;
	return (flags & MAP_TYPE) == MAP_PRIVATE ? prot & PROT_WRITE : flags & MAP_ANONYMOUS;
}

static s64 map_file(uaddr_t addr, u64 len, int prot, int flags, struct file *f, u64 offset)
{
	struct vm_object *obj = file_vm_object(f);
	bool shared = (flags & MAP_TYPE) != MAP_PRIVATE, writer;
	s64 err;

	if ((f->flags & O_PATH))
		return -EBADF;
	if (flags & MAP_HUGETLB)
		return -EINVAL;
	err = vm_mmap_check(addr, len, flags, true, offset);
	if (!err && obj && offset > INT64_MAX - ALIGN_UP(len, PAGE_SIZE))
		err = -EOVERFLOW; /* no file is that long */
	if (!err)
		err = check_file(f, prot, flags);
	if (err)
		return err;
	if (!obj && file_is_zero(f))
		return vm_mmap(current()->as, addr, len, prot, flags | MAP_ANONYMOUS, NULL, 0);
	if (!obj)
		return -ENODEV;
	/* Only this sees that it is sealed now or never: the seals may come behind a look at them. */
	writer = shared && (f->flags & 3) == O_RDWR && vm_object_get_writer(obj);
	if (writer && (file_seals(f) & (LINUX_SEAL_WRITE | LINUX_SEAL_FUTURE_WRITE))) {
		vm_object_put_writer(obj);
		writer = false;
	}
	if (shared && !writer && (prot & PROT_WRITE))
		return -EPERM; /* check_file has let it pass, so it is for the seals */
	if (shared && !writer)
		flags |= VM_MMAP_NOWRITE;
	err = vm_mmap(current()->as, addr, len, prot, flags, obj, offset);
	if (writer)
		vm_object_put_writer(obj);
	return err;
}

/* Linux has pools of pages of 2 MiB and of 1 GiB, here empty; 0 is the former. */
static bool huge_size_is_known(int flags)
{
	u32 shift = (u32)flags >> MAP_HUGE_SHIFT;

	return shift == 0 || shift == 21 || shift == 30;
}

/* With what a plain anonymous mapping has not: a file, much memory, pages to lock. */
static __noinline s64 mmap_special(uaddr_t addr, u64 len, int prot, int flags, int fd, u64 offset)
{
	struct file *f;
	s64 ret;

	if (flags & MAP_LOCKED)
		note_lock_limit();
	if ((flags & MAP_ANONYMOUS) && (flags & MAP_HUGETLB) && !huge_size_is_known(flags))
		return -EINVAL;
	if (too_large(len, prot, flags))
		return IS_ALIGNED(offset, PAGE_SIZE) ? -ENOMEM : -EINVAL;
	if (flags & MAP_ANONYMOUS) {
		if (flags & MAP_HUGETLB)
			return -ENOMEM;
		return vm_mmap(current()->as, addr, len, prot, flags, NULL, offset);
	}
	if (!IS_ALIGNED(offset, PAGE_SIZE))
		return -EINVAL;
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	ret = map_file(addr, len, prot, flags, f, offset);
	if (hook_on(HOOK_TRACE) && ret > 0 && (prot & PROT_EXEC))
		proc_trace_map(f, (u64)ret, (u64)ret + len, offset);
	file_put(f);
	return ret;
}

s64 sys_mmap(uaddr_t addr, u64 len, int prot, int flags, int fd, u64 offset)
{
	flags &= ~VM_MMAP_NOWRITE; /* the kernel's own flag: not a program's to give */
	if (len >> PAGE_SHIFT > frame_total() ||
	    (flags & (MAP_ANONYMOUS | MAP_LOCKED | MAP_HUGETLB)) != MAP_ANONYMOUS)
		return mmap_special(addr, len, prot, flags, fd, offset);
	return vm_mmap(current()->as, addr, len, prot, flags, NULL, offset);
}

s64 sys_munmap(uaddr_t addr, u64 len)
{
	return vm_munmap(current()->as, addr, len);
}

s64 sys_mprotect(uaddr_t addr, u64 len, u64 prot)
{
	return vm_mprotect(current()->as, addr, len, prot);
}

static int take_region(const struct vm_region *r, void *out)
{
	*(struct vm_region *)out = *r;
	return 1;
}

/* May what lies at addr not grow by so much, as a mapping of that may not be? What does not lie there is no matter. */
static bool grows_too_large(uaddr_t addr, u64 old_len, u64 new_len)
{
	struct vm_region r = { 0 };

	if (new_len <= old_len || !too_large(new_len - old_len, PROT_WRITE, MAP_PRIVATE))
		return false;
	aspace_walk(current()->as, addr, take_region, &r);
	return old_len && r.start <= addr && r.end - addr >= old_len && (r.flags & MAP_PRIVATE) &&
	       too_large(new_len - old_len, r.prot, r.flags);
}

s64 sys_mremap(uaddr_t addr, u64 old_len, u64 new_len, u64 flags, uaddr_t new_addr)
{
	if (flags > INT32_MAX)
		return -EINVAL;
	note_lock_limit();
	if (grows_too_large(addr, old_len, new_len)) {
		s64 err = vm_mremap_check(addr, old_len, new_len, (int)flags, new_addr);

		return err ? err : -ENOMEM;
	}
	return vm_mremap(current()->as, addr, old_len, new_len, (int)flags, new_addr);
}

s64 sys_madvise(uaddr_t addr, u64 len, int advice)
{
	return vm_madvise(current()->as, addr, len, advice);
}

s64 sys_mincore(uaddr_t addr, u64 len, uaddr_t vec)
{
	return vm_mincore(current()->as, addr, len, vec);
}

s64 sys_msync(uaddr_t addr, u64 len, int flags)
{
	return vm_msync(current()->as, addr, len, flags);
}

s64 sys_mlock(uaddr_t addr, u64 len)
{
	note_lock_limit();
	return vm_mlock(current()->as, addr, len, 0);
}

s64 sys_mlock2(uaddr_t addr, u64 len, int flags)
{
	note_lock_limit();
	return vm_mlock(current()->as, addr, len, flags);
}

s64 sys_munlock(uaddr_t addr, u64 len)
{
	return vm_munlock(current()->as, addr, len);
}

s64 sys_mlockall(int flags)
{
	note_lock_limit();
	return vm_mlockall(current()->as, flags);
}

s64 sys_munlockall(void)
{
	return vm_munlockall(current()->as);
}

s64 sys_brk(uaddr_t brk)
{
	struct aspace *as = current()->as;
	uaddr_t now = vm_brk(as, 0);

	if (brk > now && too_large(brk - now, PROT_WRITE, MAP_PRIVATE))
		return (s64)now;
	return (s64)vm_brk(as, brk);
}

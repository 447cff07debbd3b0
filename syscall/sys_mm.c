/* System calls: the mmap family. Arguments are checked in mm/, files here. */
#include "syscall/syscalls.h"

#include "fs/file.h"
#include "lib/uapi/fcntl.h"
#include "lib/uapi/mman.h"
#include "mm/aspace.h"
#include "sched/thread.h"

/* May the file be mapped like that? mmap(2): EACCES. */
static int check_file(const struct file *f, int prot, int flags)
{
	u32 mode = f->flags & 3; /* O_ACCMODE */

	if (f->flags & O_PATH)
		return -EBADF;
	if (mode == O_WRONLY)
		return -EACCES;
	if ((flags & MAP_TYPE) != MAP_PRIVATE && (prot & PROT_WRITE) && mode != O_RDWR)
		return -EACCES;
	return 0;
}

s64 sys_mmap(uaddr_t addr, u64 len, int prot, int flags, int fd, u64 offset)
{
	struct aspace *as = current()->as;
	struct vm_object *obj;
	struct file *f;
	s64 ret;

	if (flags & MAP_ANONYMOUS)
		return vm_mmap(as, addr, len, prot, flags, NULL, offset);
	flags &= ~VM_MMAP_NOWRITE; /* the kernel's own flag: not a program's to give */
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	ret = check_file(f, prot, flags);
	if (!ret) {
		obj = file_vm_object(f);
		if ((flags & MAP_TYPE) != MAP_PRIVATE && (f->flags & 3) != O_RDWR)
			flags |= VM_MMAP_NOWRITE;
		ret = obj ? vm_mmap(as, addr, len, prot, flags, obj, offset) : -ENODEV;
	}
	file_put(f);
	return ret;
}

s64 sys_munmap(uaddr_t addr, u64 len)
{
	return vm_munmap(current()->as, addr, len);
}

s64 sys_mprotect(uaddr_t addr, u64 len, int prot)
{
	return vm_mprotect(current()->as, addr, len, prot);
}

s64 sys_madvise(uaddr_t addr, u64 len, int advice)
{
	return vm_madvise(current()->as, addr, len, advice);
}

s64 sys_brk(uaddr_t brk)
{
	return (s64)vm_brk(current()->as, brk);
}

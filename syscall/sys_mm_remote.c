/*
 * System calls: process_vm_readv and process_vm_writev. Bytes go through a page of the kernel's: the
 * two spaces are never looked at together.
 */
#include "syscall/syscalls.h"

#include "arch/api/uaccess.h"
#include "lib/uapi/fs.h"
#include "mm/aspace.h"
#include "mm/slab.h"
#include "proc/process.h"

#define IOV_LIMIT 1024

struct iov {
	u64 base, len;
};

/* A walk through an array of ranges. */
struct iov_walk {
	struct iov *v;
	u64 n, i, done; /* of v[i] */
};

static int get_iov(struct iov_walk *w, uaddr_t from, u64 n)
{
	*w = (struct iov_walk){ .n = n };
	if (n > IOV_LIMIT)
		return -EINVAL;
	if (n == 0)
		return 0;
	w->v = kmalloc(n * sizeof(*w->v));
	if (!w->v)
		return -ENOMEM;
	if (copy_from_user(w->v, from, n * sizeof(*w->v)))
		return -EFAULT;
	for (u64 i = 0; i < n; i++)
		if ((s64)w->v[i].len < 0)
			return -EINVAL;
	return 0;
}

/* The bytes left in the range at hand; 0: all done. */
static u64 iov_left(struct iov_walk *w)
{
	while (w->i < w->n && w->done == w->v[w->i].len) {
		w->i++;
		w->done = 0;
	}
	return w->i < w->n ? w->v[w->i].len - w->done : 0;
}

static u64 iov_at(const struct iov_walk *w)
{
	return w->v[w->i].base + w->done;
}

/* Bytes, or -EFAULT if there were none. */
static s64 transfer(struct aspace *as, struct iov_walk *here, struct iov_walk *there, bool write)
{
	char *page = kmalloc(PAGE_SIZE);
	s64 total = 0, err = 0;

	if (!page)
		return -ENOMEM;
	while (!err && !thread_is_ending()) {
		u64 n = MIN(iov_left(here), iov_left(there));
		ssize_t got;

		if (n == 0)
			break;
		/* Up to the end of the other's page: what fails, fails as a whole. */
		n = MIN(n, PAGE_SIZE - (iov_at(there) & (PAGE_SIZE - 1)));
		if (write && copy_from_user(page, iov_at(here), n)) {
			err = -EFAULT;
			break;
		}
		got = write ? aspace_write(as, iov_at(there), page, n) :
			      aspace_read(as, iov_at(there), page, n);
		if (got <= 0 || (!write && copy_to_user(iov_at(here), page, (u64)got))) {
			err = -EFAULT;
			break;
		}
		here->done += (u64)got;
		there->done += (u64)got;
		total += got;
	}
	kfree(page);
	return total ? total : err;
}

/* proc_lock held. */
static bool may_look_into(struct process *p)
{
	const struct process *me = current_proc();
	u32 uid = READ_ONCE(me->uid);
	bool own;

	if (p == me || READ_ONCE(me->euid) == 0)
		return true;
	spin_lock(&p->sig_lock);
	own = uid == p->uid && uid == p->euid && uid == p->suid;
	spin_unlock(&p->sig_lock);
	return own;
}

/* The space of a process that this one may look into, with a reference. */
static int space_of(int pid, struct aspace **as)
{
	u64 flags = proc_lock();
	struct process *p = process_of((u32)pid);
	int err = 0;

	*as = p ? p->as : NULL;
	if (!*as)
		err = -ESRCH;
	else if (!may_look_into(p))
		err = -EPERM;
	else
		aspace_get(*as);
	proc_unlock(flags);
	return err;
}

static s64 remote(int pid, uaddr_t local_iov, u64 nr_local, uaddr_t remote_iov, u64 nr_remote,
		  u64 flags, bool write)
{
	struct iov_walk here = { 0 }, there = { 0 };
	struct aspace *as;
	s64 ret;

	if (flags)
		return -EINVAL;
	ret = get_iov(&here, local_iov, nr_local);
	if (!ret && iov_left(&here))
		ret = get_iov(&there, remote_iov, nr_remote);
	if (!ret && iov_left(&there)) {
		ret = space_of(pid, &as);
		if (!ret) {
			ret = transfer(as, &here, &there, write);
			aspace_put(as);
		}
	}
	kfree(here.v);
	kfree(there.v);
	return ret;
}

s64 sys_process_vm_readv(int pid, uaddr_t local, u64 nr_local, uaddr_t remote_iov, u64 nr_remote,
			 u64 flags)
{
	return remote(pid, local, nr_local, remote_iov, nr_remote, flags, false);
}

s64 sys_process_vm_writev(int pid, uaddr_t local, u64 nr_local, uaddr_t remote_iov, u64 nr_remote,
			  u64 flags)
{
	return remote(pid, local, nr_local, remote_iov, nr_remote, flags, true);
}

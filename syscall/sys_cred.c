/*
 * System calls: user and group ids. Every program starts as root; a program that gives root up
 * gets Linux's answers from then on (setuid(2), setresuid(2)), though files do not look at ids.
 *
 * The ids are the process's, here, and any of its threads may change them: what may be done is judged,
 * and all of it done, under one hold of sig_lock. Else a thread that gives root up could find a saved id
 * of 0 afterwards, which another had on its way.
 */
#include "syscall/syscalls.h"

#include "arch/api/uaccess.h"
#include "proc/process.h"

#define KEEP UINT32_MAX /* -1: leave that id as it is */

/* The four ids of a kind, in one order for users and groups. */
struct ids {
	u32 *real, *effective, *saved, *fs;
};

static struct ids user_ids(struct process *p)
{
	return (struct ids){ &p->uid, &p->euid, &p->suid, &p->fsuid };
}

static struct ids group_ids(struct process *p)
{
	return (struct ids){ &p->gid, &p->egid, &p->sgid, &p->fsgid };
}

/* ---- sig_lock held ---- */

static bool may(const struct process *p, const struct ids *i, u32 id)
{
	return p->euid == 0 || id == KEEP || id == *i->real || id == *i->effective ||
	       id == *i->saved;
}

static s64 set_res(struct process *p, const struct ids *i, u32 real, u32 effective, u32 saved)
{
	u32 old_effective = *i->effective, old_fs = *i->fs;

	if (!may(p, i, real) || !may(p, i, effective) || !may(p, i, saved))
		return -EPERM;
	if (real != KEEP)
		*i->real = real;
	if (effective != KEEP)
		*i->effective = effective;
	if (saved != KEEP)
		*i->saved = saved;
	*i->fs = *i->effective;
	if (*i->effective != old_effective || *i->fs != old_fs)
		WRITE_ONCE(p->pdeath_signal, 0); /* prctl(2) */
	return 0;
}

static s64 set_re(struct process *p, const struct ids *i, u32 real, u32 effective)
{
	u32 saved = KEEP;

	if (p->euid != 0 && real != KEEP && real != *i->real && real != *i->effective)
		return -EPERM;
	if (real != KEEP || (effective != KEEP && effective != *i->real))
		saved = effective != KEEP ? effective : *i->effective;
	return set_res(p, i, real, effective, saved);
}

/* ---- the calls of both kinds ---- */

static s64 call_set_res(struct ids i, u32 real, u32 effective, u32 saved)
{
	struct process *p = current_proc();
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	s64 ret = set_res(p, &i, real, effective, saved);

	spin_unlock_irqrestore(&p->sig_lock, flags);
	return ret;
}

static s64 call_set_re(struct ids i, u32 real, u32 effective)
{
	struct process *p = current_proc();
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	s64 ret = set_re(p, &i, real, effective);

	spin_unlock_irqrestore(&p->sig_lock, flags);
	return ret;
}

static s64 call_set_one(struct ids i, u32 id)
{
	struct process *p = current_proc();
	s64 ret;

	if (id == KEEP)
		return -EINVAL;
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	if (p->euid == 0)
		ret = set_res(p, &i, id, id, id);
	else
		ret = set_res(p, &i, KEEP, id, KEEP);
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return ret;
}

static s64 call_set_fs(struct ids i, u32 id)
{
	struct process *p = current_proc();
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	u32 old = *i.fs;

	if (id != KEEP && (may(p, &i, id) || id == old))
		*i.fs = id;
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return old;
}

static s64 call_get_res(struct ids i, uaddr_t ureal, uaddr_t ueffective, uaddr_t usaved)
{
	struct process *p = current_proc();
	u64 flags = spin_lock_irqsave(&p->sig_lock);
	u32 real = *i.real, effective = *i.effective, saved = *i.saved;

	spin_unlock_irqrestore(&p->sig_lock, flags);
	if (put_user(real, ureal) || put_user(effective, ueffective) || put_user(saved, usaved))
		return -EFAULT;
	return 0;
}

s64 sys_getuid(void)
{
	return current_proc()->uid;
}

s64 sys_geteuid(void)
{
	return current_proc()->euid;
}

s64 sys_getgid(void)
{
	return current_proc()->gid;
}

s64 sys_getegid(void)
{
	return current_proc()->egid;
}

s64 sys_setuid(u32 uid)
{
	return call_set_one(user_ids(current_proc()), uid);
}

s64 sys_setgid(u32 gid)
{
	return call_set_one(group_ids(current_proc()), gid);
}

s64 sys_setreuid(u32 ruid, u32 euid)
{
	return call_set_re(user_ids(current_proc()), ruid, euid);
}

s64 sys_setregid(u32 rgid, u32 egid)
{
	return call_set_re(group_ids(current_proc()), rgid, egid);
}

s64 sys_setresuid(u32 ruid, u32 euid, u32 suid)
{
	return call_set_res(user_ids(current_proc()), ruid, euid, suid);
}

s64 sys_setresgid(u32 rgid, u32 egid, u32 sgid)
{
	return call_set_res(group_ids(current_proc()), rgid, egid, sgid);
}

s64 sys_getresuid(uaddr_t ruid, uaddr_t euid, uaddr_t suid)
{
	return call_get_res(user_ids(current_proc()), ruid, euid, suid);
}

s64 sys_getresgid(uaddr_t rgid, uaddr_t egid, uaddr_t sgid)
{
	return call_get_res(group_ids(current_proc()), rgid, egid, sgid);
}

s64 sys_setfsuid(u32 uid)
{
	return call_set_fs(user_ids(current_proc()), uid);
}

s64 sys_setfsgid(u32 gid)
{
	return call_set_fs(group_ids(current_proc()), gid);
}

s64 sys_getgroups(int size, uaddr_t list)
{
	struct process *p = current_proc();
	u32 groups[ARRAY_SIZE(p->groups)], n;
	u64 flags = spin_lock_irqsave(&p->sig_lock);

	n = p->nr_groups;
	for (u32 i = 0; i < n; i++)
		groups[i] = p->groups[i];
	spin_unlock_irqrestore(&p->sig_lock, flags);
	if (size == 0)
		return n;
	if (size < 0 || (u32)size < n)
		return -EINVAL;
	return copy_to_user(list, groups, n * sizeof(groups[0])) ? -EFAULT : (s64)n;
}

/* Linux takes 65,536 groups; here the process has room for 32, more are -EINVAL. */
s64 sys_setgroups(int size, uaddr_t list)
{
	struct process *p = current_proc();
	u32 groups[ARRAY_SIZE(p->groups)];
	u64 flags;

	if (p->euid != 0)
		return -EPERM;
	if (size < 0 || (size_t)size > ARRAY_SIZE(groups))
		return -EINVAL;
	if (copy_from_user(groups, list, (size_t)size * sizeof(groups[0])))
		return -EFAULT;
	flags = spin_lock_irqsave(&p->sig_lock);
	for (int i = 0; i < size; i++)
		p->groups[i] = groups[i];
	p->nr_groups = (u32)size;
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return 0;
}

/* ---- capabilities: root has all, others none ---- */

#define CAPABILITY_V1 0x19980330
#define CAPABILITY_V2 0x20071026
#define CAPABILITY_V3 0x20080522
#define CAP_LAST      40

struct cap_header {
	u32 version;
	s32 pid;
};

struct cap_data {
	u32 effective, permitted, inheritable;
};

/* 1 or 2 sets of 32 bits; a wrong version is answered with ours. */
static int check_header(uaddr_t uheader, struct cap_header *h)
{
	if (get_user(*h, uheader))
		return -EFAULT;
	if (h->version == CAPABILITY_V1)
		return 1;
	if (h->version == CAPABILITY_V2 || h->version == CAPABILITY_V3)
		return 2;
	h->version = CAPABILITY_V3;
	return put_user(h->version, uheader) ? -EFAULT : -EINVAL;
}

s64 sys_capget(uaddr_t uheader, uaddr_t data)
{
	struct cap_data d[2] = { 0 };
	struct cap_header h;
	int n = check_header(uheader, &h);

	if (n < 0)
		return n == -EINVAL && !data ? 0 : n;
	if (current_proc()->euid == 0) {
		d[0].effective = d[0].permitted = UINT32_MAX;
		d[1].effective = d[1].permitted = (1u << (CAP_LAST - 31)) - 1;
	}
	return copy_to_user(data, d, (size_t)n * sizeof(d[0]));
}

/* Giving up capabilities of root is not offered; keeping what one has is. */
s64 sys_capset(uaddr_t uheader, uaddr_t data)
{
	struct cap_header h;
	struct cap_data d[2];
	int n = check_header(uheader, &h);

	if (n < 0)
		return n;
	if (copy_from_user(d, data, (size_t)n * sizeof(d[0])))
		return -EFAULT;
	return current_proc()->euid == 0 ? 0 : -EPERM;
}

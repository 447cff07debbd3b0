/* System calls: the machine's name and state, prctl, the log, the end. */
#include "syscall/syscalls.h"

#include "arch/api/cpu.h"
#include "arch/api/ctx.h"
#include "arch/api/uaccess.h"
#include "dev/console.h"
#include "fs/file.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "lib/uapi/prctl.h"
#include "lib/uapi/reboot.h"
#include "lib/uapi/sysinfo.h"
#include "lib/uapi/utsname.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/slab.h"
#include "proc/process.h"
#include "sched/mutex.h"
#include "time/clock.h"

#include "version.h"

/* Programs look at the release for what the kernel can do; glibc refuses one that is too old. */
#define RELEASE "6.1.0-jiffy"

static struct mutex name_lock = MUTEX_INIT(name_lock);
static char hostname[65] = "jiffy";    /* [name_lock] */
static char domainname[65] = "(none)"; /* [name_lock] */

s64 sys_uname(uaddr_t buf)
{
	struct linux_utsname u = { .sysname = "Linux",
				   .release = RELEASE,
				   .machine = "x86_64",
				   .version = "#1 Jiffy " JIFFY_COMMIT };

	mutex_lock(&name_lock);
	memcpy(u.nodename, hostname, sizeof(hostname));
	memcpy(u.domainname, domainname, sizeof(domainname));
	mutex_unlock(&name_lock);
	return put_user(u, buf);
}

static s64 set_name(char *to, uaddr_t name, int len)
{
	char new[65] = { 0 };

	if (current_proc()->euid != 0)
		return -EPERM;
	if (len < 0 || len > 64)
		return -EINVAL;
	if (copy_from_user(new, name, (size_t)len))
		return -EFAULT;
	mutex_lock(&name_lock);
	memcpy(to, new, sizeof(new));
	mutex_unlock(&name_lock);
	return 0;
}

s64 sys_sethostname(uaddr_t name, int len)
{
	return set_name(hostname, name, len);
}

s64 sys_setdomainname(uaddr_t name, int len)
{
	return set_name(domainname, name, len);
}

s64 sys_sysinfo(uaddr_t buf)
{
	struct linux_sysinfo info = { .mem_unit = 1 };
	struct frame_stats fs;

	frame_stats(&fs);
	info.uptime = (s64)(clock_ns() / NSEC_PER_SEC);
	procfs_load_averages(info.loads);
	info.totalram = fs.total * PAGE_SIZE;
	info.freeram = frame_stats_available(&fs) * PAGE_SIZE;
	info.procs = (u16)MIN(process_count(), 65535u);
	return put_user(info, buf);
}

/* ---- prctl ---- */

static s64 set_comm(uaddr_t name)
{
	char comm[16] = { 0 };
	ssize_t n = strncpy_from_user(comm, name, sizeof(comm));

	if (n == -EFAULT)
		return n;
	comm[15] = '\0';
	thread_set_name(current(), comm);
	return 0;
}

static s64 get_comm(uaddr_t name)
{
	char comm[16] = { 0 };

	kstrlcpy(comm, current()->name, sizeof(comm));
	return put_user(comm, name);
}

static s64 set_flag(bool *flag, bool value)
{
	WRITE_ONCE(*flag, value);
	return 0;
}

/* 0 and less: what it was when the thread began. */
static s64 set_slack(s64 ns)
{
	struct task *t = current_task();

	t->slack_ns = ns > 0 ? (u64)ns : t->default_slack_ns;
	return 0;
}

s64 sys_prctl(int option, u64 a, u64 b, u64 c, u64 d)
{
	struct process *p = current_proc();
	int value;

	switch (option) {
	case PR_SET_NAME: return set_comm(a);
	case PR_GET_NAME: return get_comm(a);
	case PR_SET_PDEATHSIG:
		if (a > NSIG)
			return -EINVAL;
		WRITE_ONCE(p->pdeath_signal, (u8)a);
		return 0;
	case PR_GET_PDEATHSIG: value = READ_ONCE(p->pdeath_signal); return put_user(value, a);
	case PR_GET_DUMPABLE: return !READ_ONCE(p->not_dumpable);
	case PR_SET_DUMPABLE: return a > 1 ? -EINVAL : set_flag(&p->not_dumpable, !a);
	case PR_GET_KEEPCAPS: return READ_ONCE(p->keep_caps);
	case PR_SET_KEEPCAPS: return a > 1 ? -EINVAL : set_flag(&p->keep_caps, a);
	case PR_SET_CHILD_SUBREAPER: WRITE_ONCE(p->subreaper, a != 0); return 0;
	case PR_GET_CHILD_SUBREAPER: value = READ_ONCE(p->subreaper); return put_user(value, a);
	case PR_SET_NO_NEW_PRIVS:
		if (a != 1 || b || c || d)
			return -EINVAL;
		p->no_new_privs = true;
		return 0;
	case PR_GET_NO_NEW_PRIVS: return a || b || c || d ? -EINVAL : p->no_new_privs;
	case PR_SET_THP_DISABLE:
		if (b || c || d)
			return -EINVAL;
		aspace_disable_large(current()->as, a != 0);
		return 0;
	case PR_GET_THP_DISABLE:
		return a || b || c || d ? -EINVAL : aspace_large_disabled(current()->as);
	case PR_CAPBSET_READ: return a <= 40 ? 1 : -EINVAL;
	case PR_GET_TIMERSLACK: return (s64)current_task()->slack_ns;
	case PR_SET_TIMERSLACK: return set_slack((s64)a);
	default: return -EINVAL;
	}
}

s64 sys_arch_prctl(int option, u64 addr)
{
	struct arch_thread *a = &current()->arch;
	u64 base;

	switch (option) {
	case ARCH_SET_FS: return ctx_set_tls(a, addr);
	case ARCH_GET_FS: base = ctx_get_tls(a); return put_user(base, addr);
	case ARCH_SET_GS: return ctx_set_gs(a, addr);
	case ARCH_GET_GS: base = ctx_get_gs(a); return put_user(base, addr);
	default: return -EINVAL;
	}
}

#define PERSONALITY_ASK 0xffffffffu

s64 sys_personality(u32 persona)
{
	struct process *p = current_proc();
	u32 old = p->personality;

	if (persona != PERSONALITY_ASK)
		p->personality = persona;
	return old;
}

/* ---- the log ---- */

#define LOG_READ_ALL    3
#define LOG_READ_CLEAR  4
#define LOG_CLEAR       5
#define LOG_SIZE_UNREAD 9
#define LOG_SIZE_BUFFER 10
#define LOG_TEXT_MAX    (64 * KiB)

static u64 log_cleared; /* [name_lock] klog_read's position of the last clear */

static s64 read_log(uaddr_t buf, size_t len, bool clear)
{
	size_t size = MIN(len, LOG_TEXT_MAX);
	char *text = kmalloc(size ? size : 1);
	u64 position;
	s64 n;

	if (!text)
		return -ENOMEM;
	mutex_lock(&name_lock);
	position = log_cleared;
	n = (s64)klog_read(text, size, &position);
	if (clear)
		log_cleared = position;
	mutex_unlock(&name_lock);
	if (copy_to_user(buf, text, (size_t)n))
		n = -EFAULT;
	kfree(text);
	return n;
}

static s64 clear_log(void)
{
	char *text = kmalloc(LOG_TEXT_MAX);
	u64 position;

	if (!text)
		return -ENOMEM;
	mutex_lock(&name_lock);
	position = log_cleared;
	while (klog_read(text, LOG_TEXT_MAX, &position) > 0)
		;
	log_cleared = position;
	mutex_unlock(&name_lock);
	kfree(text);
	return 0;
}

s64 sys_syslog(int type, uaddr_t buf, int len)
{
	switch (type) {
	case 0: /* open and close do nothing, on Linux too */
	case 1:
	case 6: /* console off, on, level: the log's sinks are chosen at boot */
	case 7:
	case 8: return 0;
	case LOG_READ_ALL:
	case LOG_READ_CLEAR:
		if (!buf || len < 0)
			return -EINVAL;
		return read_log(buf, (size_t)len, type == LOG_READ_CLEAR);
	case LOG_CLEAR: return clear_log();
	case LOG_SIZE_UNREAD: return 0;
	case LOG_SIZE_BUFFER: return LOG_TEXT_MAX;
	default: return -EINVAL;
	}
}

/* ---- the end ---- */

s64 sys_reboot(u32 magic1, u32 magic2, u32 command, uaddr_t arg)
{
	if (current_proc()->euid != 0)
		return -EPERM;
	if (magic1 != REBOOT_MAGIC1 || (magic2 != REBOOT_MAGIC2 && magic2 != REBOOT_MAGIC2A &&
					magic2 != REBOOT_MAGIC2B && magic2 != REBOOT_MAGIC2C))
		return -EINVAL;
	switch (command) {
	case REBOOT_CAD_ON:
	case REBOOT_CAD_OFF: return 0;
	case REBOOT_HALT: log_info("jiffy: halt\n"); machine_end(MACHINE_HALT);
	case REBOOT_POWER_OFF: log_info("jiffy: power off\n"); machine_end(MACHINE_POWEROFF);
	case REBOOT_RESTART:
	case REBOOT_RESTART2: log_info("jiffy: restart\n"); machine_end(MACHINE_RESTART);
	default: return -EINVAL;
	}
}

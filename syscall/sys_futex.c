/* System call: futex (proc/futex.c, futex_pi.c). */
#include "syscall/syscalls.h"

#include "arch/api/uaccess.h"
#include "lib/uapi/futex.h"
#include "lib/uapi/time.h"
#include "proc/process.h"
#include "time/clock.h"

/* FUTEX_WAIT's time is relative, that of the others absolute, on the clock that op names. */
static int deadline_of(int op, uaddr_t utime, u64 *deadline)
{
	struct linux_timespec ts;
	u64 ns;

	*deadline = WAIT_FOREVER;
	if (!utime)
		return 0;
	if (get_user(ts, utime))
		return -EFAULT;
	if (ts.sec < 0 || ts.nsec < 0 || ts.nsec >= (s64)NSEC_PER_SEC)
		return -EINVAL;
	if ((u64)ts.sec >= INT64_MAX / NSEC_PER_SEC)
		return 0;
	ns = (u64)ts.sec * NSEC_PER_SEC + (u64)ts.nsec;
	if ((op & FUTEX_CMD_MASK) == FUTEX_WAIT) {
		*deadline = clock_ns() + ns;
	} else if (op & FUTEX_CLOCK_REALTIME) {
		/* In this order: who is preempted in between waits too long, not too short. */
		u64 wall = clock_realtime_ns(), now = clock_ns();

		*deadline = now + (ns > wall ? ns - wall : 0);
	} else {
		*deadline = ns;
	}
	return 0;
}

/*
 * With a time that a signal must not start anew: who was stopped and continued goes on with the old deadline. A handler
 * ends the wait, whatever its flags, as on Linux.
 */
static __noinline s64 wait_until(uaddr_t addr, int op, u32 val, uaddr_t utime, u32 bitset)
{
	struct task *t = current_task();
	u64 deadline = t->restart_deadline;
	int err = t->restarting ? 0 : deadline_of(op, utime, &deadline);

	t->restarting = false;
	if (!err)
		err = futex_wait(addr, !(op & FUTEX_PRIVATE_FLAG), val, bitset, deadline);
	if (err != -ERESTARTSYS)
		return err;
	t->restart_deadline = deadline;
	return -ERESTART_RESTARTBLOCK;
}

static s64 wait(uaddr_t addr, int op, u32 val, uaddr_t utime, u32 bitset)
{
	if (utime)
		return wait_until(addr, op, val, utime, bitset);
	return futex_wait(addr, !(op & FUTEX_PRIVATE_FLAG), val, bitset, WAIT_FOREVER);
}

static __noinline s64 lock_pi(uaddr_t addr, int op, uaddr_t utime)
{
	u64 deadline;
	int err = deadline_of(op, utime, &deadline);

	return err ? err : futex_lock_pi(addr, !(op & FUTEX_PRIVATE_FLAG), deadline);
}

static __noinline s64 wait_requeue_pi(uaddr_t addr, int op, u32 val, uaddr_t utime, uaddr_t addr2)
{
	u64 deadline;
	int err = deadline_of(op, utime, &deadline);

	return err ? err :
		     futex_wait_requeue_pi(addr, addr2, !(op & FUTEX_PRIVATE_FLAG), val, deadline);
}

/* The others wait on the monotonic clock, or on none; FUTEX_LOCK_PI always on the wall's. */
static bool may_name_clock(int cmd)
{
	return cmd == FUTEX_WAIT_BITSET || cmd == FUTEX_WAIT_REQUEUE_PI || cmd == FUTEX_LOCK_PI2;
}

s64 sys_futex(uaddr_t addr, int op, u32 val, u64 timeout, uaddr_t addr2, u32 val3)
{
	bool shared = !(op & FUTEX_PRIVATE_FLAG);
	int n = (int)val, n2 = (int)timeout;

	if (unlikely(op & FUTEX_CLOCK_REALTIME) && !may_name_clock(op & FUTEX_CMD_MASK))
		return -ENOSYS;
	switch (op & FUTEX_CMD_MASK) {
	case FUTEX_WAIT: return wait(addr, op, val, timeout, FUTEX_BITSET_ALL);
	case FUTEX_WAIT_BITSET: return wait(addr, op, val, timeout, val3);
	case FUTEX_WAKE: return futex_wake(addr, shared, n, FUTEX_BITSET_ALL);
	case FUTEX_WAKE_BITSET: return futex_wake(addr, shared, n, val3);
	case FUTEX_REQUEUE: return futex_requeue(addr, addr2, shared, n, n2, NULL);
	case FUTEX_CMP_REQUEUE: return futex_requeue(addr, addr2, shared, n, n2, &val3);
	case FUTEX_WAKE_OP: return futex_wake_op(addr, addr2, shared, n, n2, val3);
	case FUTEX_LOCK_PI: return lock_pi(addr, op | FUTEX_CLOCK_REALTIME, timeout);
	case FUTEX_LOCK_PI2: return lock_pi(addr, op, timeout);
	case FUTEX_TRYLOCK_PI: return futex_trylock_pi(addr, shared);
	case FUTEX_UNLOCK_PI: return futex_unlock_pi(addr, shared);
	case FUTEX_WAIT_REQUEUE_PI: return wait_requeue_pi(addr, op, val, timeout, addr2);
	case FUTEX_CMP_REQUEUE_PI: return futex_requeue_pi(addr, addr2, shared, n, n2, val3);
	default: return -ENOSYS;
	}
}

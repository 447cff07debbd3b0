/* The operations of futex(2), as linux/futex.h has them, which musl's tools do not see. */
#pragma once

enum {
	WAIT,
	WAKE,
	REQUEUE = 3,
	CMP_REQUEUE,
	WAKE_OP,
	LOCK_PI,
	UNLOCK_PI,
	TRYLOCK_PI,
	WAIT_BITSET,
	WAIT_REQUEUE_PI = 11,
	CMP_REQUEUE_PI,
	LOCK_PI2,
	PRIVATE = 128,
	REALTIME = 256
};
#define WAITERS    0x80000000u
#define OWNER_DIED 0x40000000u

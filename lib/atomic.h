/*
 * Atomic integers. Every read-modify-write orders fully (on x86 a locked instruction is a full
 * barrier in any case); atomic_load and atomic_store order nothing; the _acquire and _release
 * forms order what their names say.
 */
#pragma once

#include "lib/types.h"

typedef struct {
	u32 v;
} atomic_t;

typedef struct {
	u64 v;
} atomic64_t;

#define atomic_load(a)             __atomic_load_n(&(a)->v, __ATOMIC_RELAXED)
#define atomic_load_acquire(a)     __atomic_load_n(&(a)->v, __ATOMIC_ACQUIRE)
#define atomic_store(a, x)         __atomic_store_n(&(a)->v, (x), __ATOMIC_RELAXED)
#define atomic_store_release(a, x) __atomic_store_n(&(a)->v, (x), __ATOMIC_RELEASE)
#define atomic_fetch_add(a, x)     __atomic_fetch_add(&(a)->v, (x), __ATOMIC_SEQ_CST)
#define atomic_fetch_sub(a, x)     __atomic_fetch_sub(&(a)->v, (x), __ATOMIC_SEQ_CST)
#define atomic_add_fetch(a, x)     __atomic_add_fetch(&(a)->v, (x), __ATOMIC_SEQ_CST)
#define atomic_sub_fetch(a, x)     __atomic_sub_fetch(&(a)->v, (x), __ATOMIC_SEQ_CST)
#define atomic_fetch_or(a, x)      __atomic_fetch_or(&(a)->v, (x), __ATOMIC_SEQ_CST)
#define atomic_fetch_and(a, x)     __atomic_fetch_and(&(a)->v, (x), __ATOMIC_SEQ_CST)
#define atomic_exchange(a, x)      __atomic_exchange_n(&(a)->v, (x), __ATOMIC_SEQ_CST)

/* Stores `to` if the value is *from; else writes what it found to *from. True if it stored. */
#define atomic_cas(a, from, to)                                                                    \
	__atomic_compare_exchange_n(&(a)->v, from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

/* Earlier stores are visible before later loads. */
#define memory_barrier()  __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define acquire_barrier() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define release_barrier() __atomic_thread_fence(__ATOMIC_RELEASE)

#define load_acquire(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_release(p, x) __atomic_store_n((p), (x), __ATOMIC_RELEASE)

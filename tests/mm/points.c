/*
 * The runtime that clang's -fsanitize=thread asks for, in place of ThreadSanitizer's own: each atomic
 * operation of the instrumented code is a point at which another simulated CPU may go on, and none
 * may touch a page table, or the lock of one, that has been freed. This file itself is not
 * instrumented.
 */
#include <stdbool.h>
#include <stddef.h>

#include "arch/api/cpu.h"
#include "arch/host/ram.h"
#include "mm/frame.h"
#include "tests/mm/mm.h"

static bool is_free(const struct frame *f)
{
	return f->type == FRAME_FREE || f->type == FRAME_CACHED;
}

/* A frame's content, or the word in which the lock of a table is. */
static void check_alive(u64 at)
{
	u64 table = (u64)FRAME_ARRAY;

	if (at - DIRECT_MAP - HOST_RAM_BASE < run_frames * PAGE_SIZE) {
		pfn_t pfn = (at - DIRECT_MAP) >> PAGE_SHIFT;

		if (is_free(pfn_frame(pfn)))
			run_fail("CPU %u uses frame %#lx, which has been freed", host_cpu, pfn);
	} else if (at - table < GiB &&
		   (at - table) % sizeof(struct frame) == offsetof(struct frame, lock)) {
		const struct frame *f = pfn_frame((at - table) / sizeof(struct frame));

		if (is_free(f))
			run_fail("CPU %u locks table %#lx, which has been freed", host_cpu,
				 frame_pfn(f));
	}
}

static void point(const volatile void *p)
{
	host_point();
	check_alive((u64)p);
}

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
	host_point();
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
}

#define OPERATION(bits, name)                                                                      \
	u##bits __tsan_atomic##bits##_##name(volatile u##bits *p, u##bits v, int order);           \
	u##bits __tsan_atomic##bits##_##name(volatile u##bits *p, u##bits v, int order)            \
	{                                                                                          \
		point(p);                                                                          \
		return __atomic_##name(p, v, __ATOMIC_SEQ_CST);                                    \
	}

#define COMPARE(bits, name)                                                                        \
	int __tsan_atomic##bits##_##name(volatile u##bits *p, u##bits *old, u##bits new,           \
					 int order, int failure);                                  \
	int __tsan_atomic##bits##_##name(volatile u##bits *p, u##bits *old, u##bits new,           \
					 int order, int failure)                                   \
	{                                                                                          \
		point(p);                                                                          \
		return __atomic_compare_exchange_n(p, old, new, false, __ATOMIC_SEQ_CST,           \
						   __ATOMIC_SEQ_CST);                              \
	}

#define SIZE(bits)                                                                                 \
	u##bits __tsan_atomic##bits##_load(const volatile u##bits *p, int order);                  \
	u##bits __tsan_atomic##bits##_load(const volatile u##bits *p, int order)                   \
	{                                                                                          \
		point(p);                                                                          \
		return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                       \
	}                                                                                          \
	void __tsan_atomic##bits##_store(volatile u##bits *p, u##bits v, int order);               \
	void __tsan_atomic##bits##_store(volatile u##bits *p, u##bits v, int order)                \
	{                                                                                          \
		point(p);                                                                          \
		__atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                          \
	}                                                                                          \
	u##bits __tsan_atomic##bits##_exchange(volatile u##bits *p, u##bits v, int order);         \
	u##bits __tsan_atomic##bits##_exchange(volatile u##bits *p, u##bits v, int order)          \
	{                                                                                          \
		point(p);                                                                          \
		return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                \
	}                                                                                          \
	OPERATION(bits, fetch_add)                                                                 \
	OPERATION(bits, fetch_sub)                                                                 \
	OPERATION(bits, fetch_and)                                                                 \
	OPERATION(bits, fetch_or)                                                                  \
	OPERATION(bits, fetch_xor)                                                                 \
	COMPARE(bits, compare_exchange_strong)                                                     \
	COMPARE(bits, compare_exchange_weak)                                                       \
	u##bits __tsan_atomic##bits##_compare_exchange_val(volatile u##bits *p, u##bits old,       \
							   u##bits new, int order, int failure);   \
	u##bits __tsan_atomic##bits##_compare_exchange_val(volatile u##bits *p, u##bits old,       \
							   u##bits new, int order, int failure)    \
	{                                                                                          \
		point(p);                                                                          \
		__atomic_compare_exchange_n(p, &old, new, false, __ATOMIC_SEQ_CST,                 \
					    __ATOMIC_SEQ_CST);                                     \
		return old;                                                                        \
	}

SIZE(8)
SIZE(16)
SIZE(32)
SIZE(64)

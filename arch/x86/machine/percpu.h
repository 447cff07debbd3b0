/* Per-CPU variables live in section .percpu, linked at address 0; GS holds each CPU's base. */
#pragma once

#include "machine/hook.h"

#define DEFINE_PER_CPU(type, name) __section(".percpu") __typeof__(type) name
#define DEFINE_PER_CPU_SHARED(type, name)                                                          \
	__section(".percpu.shared") __attribute__((aligned(64))) __typeof__(type) name
#define DEFINE_PER_CPU_SHARED_INIT(type, name, ...) DEFINE_PER_CPU_SHARED(type, name) = __VA_ARGS__
#define DECLARE_PER_CPU(type, name)                 extern __typeof__(type) name
#define DEFINE_PER_CPU_INIT(type, name, value)                                                     \
	DEFINE_PER_CPU(type, name)                                                                 \
	= (value)

#define PERCPU_GS(name)   (*(__seg_gs __typeof__(name) *)(unsigned long)&(name))
#define PERCPU_GS_V(name) (*(volatile __seg_gs __typeof__(name) *)(unsigned long)&(name))

#define this_cpu_read(name)     PERCPU_GS_V(name)
#define this_cpu_write(name, v) ((void)(PERCPU_GS_V(name) = (v)))

#define this_cpu_op_(op, name, val)                                                                \
	do {                                                                                       \
		if (sizeof(name) == 4)                                                             \
			__asm__ volatile(op "l %1, %%gs:%0"                                        \
					 : "+m"(*(u32 *)&(name))                                   \
					 : "ri"((u32)(val))                                        \
					 : "cc");                                                  \
		else                                                                               \
			__asm__ volatile(op "q %1, %%gs:%0"                                        \
					 : "+m"(*(u64 *)&(name))                                   \
					 : "re"((u64)(val))                                        \
					 : "cc");                                                  \
	} while (0)

#define this_cpu_add(name, v) this_cpu_op_("add", name, v)
#define this_cpu_and(name, v) this_cpu_op_("and", name, v)
#define this_cpu_or(name, v)  this_cpu_op_("or", name, v)
#define this_cpu_inc(name)    this_cpu_add(name, 1)
#define this_cpu_dec(name)    this_cpu_add(name, -1)

/* Decrements a 32-bit variable; true if it became zero. */
#define this_cpu_dec_is_zero(name)                                                                 \
	({                                                                                         \
		bool zero_;                                                                        \
		_Static_assert(sizeof(name) == 4, "32 bits");                                      \
		__asm__ volatile("decl %%gs:%1" : "=@ccz"(zero_), "+m"(name) : : "memory");        \
		zero_;                                                                             \
	})

/* The changes of preempt_word, each one instruction that can be measured (machine/hook.h). */
#define preempt_word_inc(name)                                                                     \
	__asm__ volatile(HOOK_INSN("incl %%gs:%0", "hook_stub_preempt_inc")                        \
			 : "+m"(name)                                                              \
			 :                                                                         \
			 : "memory", "cc")
#define preempt_word_dec(name)                                                                     \
	__asm__ volatile(HOOK_INSN("decl %%gs:%0", "hook_stub_preempt_dec")                        \
			 : "+m"(name)                                                              \
			 :                                                                         \
			 : "memory", "cc")
#define preempt_word_dec_is_zero(name)                                                             \
	({                                                                                         \
		bool zero_;                                                                        \
		__asm__ volatile(HOOK_INSN("decl %%gs:%1", "hook_stub_preempt_dec")                \
				 : "=@ccz"(zero_), "+m"(name)                                      \
				 :                                                                 \
				 : "memory");                                                      \
		zero_;                                                                             \
	})

extern unsigned long percpu_base[]; /* [I] per CPU: what its GS base is */

/* This CPU's base, as kept in its own area: one load. */
extern unsigned long percpu_self;
#define this_cpu_ptr(p)     ((__typeof__(p))((unsigned long)(p) + PERCPU_GS_V(percpu_self)))
#define per_cpu_ptr(p, cpu) ((__typeof__(p))((unsigned long)(p) + percpu_base[cpu]))

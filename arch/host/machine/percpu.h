/*
 * Per-CPU variables on the host: an array indexed by the simulated CPU of this host thread. An
 * access is one instruction on the real machine; here it takes several, so host_pinned keeps the
 * simulation from moving the thread to another CPU in between.
 *
 * The index is read by assembly for ThreadSanitizer's sake: it belongs to the simulation, which
 * changes it behind the back of the threads that it moves.
 */
#pragma once

extern _Thread_local u32 host_cpu; /* which simulated CPU this host thread plays: arch/host/cpu.c */
extern _Thread_local u32 host_pinned;

static inline u32 host_cpu_index(void)
{
	u32 cpu;

	__asm__ volatile("movl %1, %0" : "=r"(cpu) : "m"(host_cpu));
	return cpu;
}

static inline void host_pin(void)
{
	__asm__ volatile("incl %0" : "+m"(host_pinned) : : "cc", "memory");
}

static inline void host_unpin(void)
{
	__asm__ volatile("decl %0" : "+m"(host_pinned) : : "cc", "memory");
}

#define DEFINE_PER_CPU(type, name)        __typeof__(type) name[NR_CPUS]
#define DEFINE_PER_CPU_SHARED(type, name) DEFINE_PER_CPU(type, name)
#define DEFINE_PER_CPU_SHARED_INIT(type, name, ...)                                                \
	__typeof__(type) name[NR_CPUS] = { [0 ... NR_CPUS - 1] = __VA_ARGS__ }
#define DECLARE_PER_CPU(type, name) extern __typeof__(type) name[NR_CPUS]
#define DEFINE_PER_CPU_INIT(type, name, value)                                                     \
	__typeof__(type) name[NR_CPUS] = { [0 ... NR_CPUS - 1] = (value) }

#define this_cpu_op_(expression)                                                                   \
	({                                                                                         \
		host_pin();                                                                        \
		__auto_type this_cpu_value_ = (expression);                                        \
		host_unpin();                                                                      \
		this_cpu_value_;                                                                   \
	})

#define this_cpu_read(name)            this_cpu_op_(name[host_cpu_index()])
#define this_cpu_write(name, v)        ((void)this_cpu_op_(name[host_cpu_index()] = (v)))
#define this_cpu_add(name, v)          ((void)this_cpu_op_(name[host_cpu_index()] += (v)))
#define this_cpu_and(name, v)          ((void)this_cpu_op_(name[host_cpu_index()] &= (v)))
#define this_cpu_or(name, v)           ((void)this_cpu_op_(name[host_cpu_index()] |= (v)))
#define this_cpu_inc(name)             this_cpu_add(name, 1)
#define this_cpu_dec(name)             this_cpu_add(name, -1)
#define this_cpu_dec_is_zero(name)     this_cpu_op_(--name[host_cpu_index()] == 0)
#define this_cpu_ptr(p)                this_cpu_op_(&(*(p))[host_cpu_index()])
#define per_cpu_ptr(p, cpu)            (&(*(p))[cpu])
#define preempt_word_inc(name)         this_cpu_inc(name)
#define preempt_word_dec(name)         this_cpu_dec(name)
#define preempt_word_dec_is_zero(name) this_cpu_dec_is_zero(name)

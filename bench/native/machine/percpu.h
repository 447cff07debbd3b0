/* One CPU: a per-CPU variable is a plain one (on the kernel's side it is a GS-relative one, which
 * costs the same). */
#pragma once

#define DEFINE_PER_CPU(type, name)        __typeof__(type) name
#define DEFINE_PER_CPU_SHARED(type, name) DEFINE_PER_CPU(type, name)
#define DEFINE_PER_CPU_SHARED_INIT(type, name, ...)                                                \
	DEFINE_PER_CPU(type, name)                                                                 \
	= __VA_ARGS__
#define DECLARE_PER_CPU(type, name) extern __typeof__(type) name
#define DEFINE_PER_CPU_INIT(type, name, value)                                                     \
	DEFINE_PER_CPU(type, name)                                                                 \
	= (value)

#define this_cpu_read(name)            (*(volatile __typeof__(name) *)&(name))
#define this_cpu_write(name, v)        ((void)(*(volatile __typeof__(name) *)&(name) = (v)))
#define this_cpu_add(name, v)          ((void)((name) += (v)))
#define this_cpu_and(name, v)          ((void)((name) &= (v)))
#define this_cpu_or(name, v)           ((void)((name) |= (v)))
#define this_cpu_inc(name)             this_cpu_add(name, 1)
#define this_cpu_dec(name)             this_cpu_add(name, -1)
#define this_cpu_dec_is_zero(name)     (--(name) == 0)
#define this_cpu_ptr(p)                (p)
#define per_cpu_ptr(p, cpu)            ((void)(cpu), (p))
#define preempt_word_inc(name)         this_cpu_inc(name)
#define preempt_word_dec(name)         this_cpu_dec(name)
#define preempt_word_dec_is_zero(name) this_cpu_dec_is_zero(name)

/* Per-CPU variables on the host: an array indexed by the simulated CPU of this host thread. */
#pragma once

extern _Thread_local u32 host_cpu; /* which simulated CPU this host thread plays: arch/host/cpu.c */

#define DEFINE_PER_CPU(type, name)  __typeof__(type) name[NR_CPUS]
#define DECLARE_PER_CPU(type, name) extern __typeof__(type) name[NR_CPUS]

#define this_cpu_read(name)            (name[host_cpu])
#define this_cpu_write(name, v)        ((void)(name[host_cpu] = (v)))
#define this_cpu_add(name, v)          ((void)(name[host_cpu] += (v)))
#define this_cpu_and(name, v)          ((void)(name[host_cpu] &= (v)))
#define this_cpu_or(name, v)           ((void)(name[host_cpu] |= (v)))
#define this_cpu_inc(name)             this_cpu_add(name, 1)
#define this_cpu_dec(name)             this_cpu_add(name, -1)
#define this_cpu_dec_is_zero(name)     (--name[host_cpu] == 0)
#define this_cpu_ptr(p)                (&(*(p))[host_cpu])
#define per_cpu_ptr(p, cpu)            (&(*(p))[cpu])
#define preempt_word_inc(name)         this_cpu_inc(name)
#define preempt_word_dec(name)         this_cpu_dec(name)
#define preempt_word_dec_is_zero(name) this_cpu_dec_is_zero(name)

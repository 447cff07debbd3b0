/*
 * Per-CPU variables.
 *
 *	DEFINE_PER_CPU(u64, counter);              in one .c file, at file scope
 *	DEFINE_PER_CPU_INIT(u64, counter, 7);      the same, with a value for each CPU
 *	DEFINE_PER_CPU_SHARED(u64, word);          the same, for what other CPUs read or write: it has
 *	                                           cache lines for itself
 *	DEFINE_PER_CPU_SHARED_INIT(u64, word, 7);
 *	DECLARE_PER_CPU(u64, counter);             in headers
 *	this_cpu_read(counter)                     one instruction on x86
 *	this_cpu_write(counter, v), this_cpu_add(counter, v), this_cpu_inc(counter)
 *	this_cpu_ptr(&counter)                     address of this CPU's copy
 *	per_cpu_ptr(&counter, cpu)                 address of another CPU's copy
 *
 * this_cpu_add is a single instruction against interrupts of the same CPU; it is not atomic
 * against other CPUs. A pointer from this_cpu_ptr, and any sequence of accesses, means something
 * only while the caller cannot migrate: preemption or interrupts off.
 */
#pragma once

#include "lib/types.h"

#define NR_CPUS 256

#include "machine/percpu.h" /* the machine's DEFINE_PER_CPU ... per_cpu_ptr */

extern u32
	nr_cpus; /* CPUs that are up; ids 0 ... nr_cpus-1. Raised while they start, then immutable. */

/* The id of this CPU, 0 ... nr_cpus-1. */
DECLARE_PER_CPU(u32, cpu_number);
#define cpu_id() this_cpu_read(cpu_number)

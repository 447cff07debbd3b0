/*
 * Every processor: how many the machine has, and how one is started. init/smp.c is the caller and
 * has the order; docs/smp.md has the drawing.
 */
#pragma once

#include "arch/api/percpu.h"

/* Processors beside this one that firmware calls usable. After irq_arch_init. */
u32 smp_found(void);

/* May a CPU stand still for long while others run, because its host runs somebody else? */
bool smp_is_virtual(void);

/*
 * Makes the per-CPU area of CPU `cpu`: from then on per_cpu_ptr(&x, cpu) is good and says what
 * DEFINE_PER_CPU did. 0, or -ENOMEM. Making it once more starts it afresh (its first processor
 * did not answer).
 */
int percpu_create(u32 cpu);

/*
 * Starts processor number n (0 ... smp_found() - 1) as CPU `cpu`, whose per-CPU area and current
 * thread (its idle thread, with a stack) are there. It calls the upcall cpu_secondary_main; this
 * returns when it has called smp_cpu_ready, which makes nr_cpus cpu + 1. -ENOMEM; -ETIMEDOUT: it
 * does not answer, and cannot any more; -EIO: it answered and stopped; percpu_create gives the
 * next try an area of its own, its idle thread is lost; -ENODEV: the same, and there can be no next
 * try. Interrupts on; takes milliseconds.
 */
int smp_start_cpu(u32 n, u32 cpu);

/* What cpu_secondary_main calls first: this CPU's paging features, FPU and LAPIC. Interrupts off. */
void smp_cpu_init(void);
/* And when it can run threads: from now on it is counted, and messages reach it. Interrupts off. */
void smp_cpu_ready(void);

/*
 * Is the time-stamp counter of every CPU that has come up in step with the first one's? If not, how
 * far apart the worst is, in counts.
 */
bool smp_tsc_in_step(u64 *apart);

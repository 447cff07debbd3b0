/* Messages between CPUs: the parts that arch/x86 alone needs. See arch/api/ipi.h. */
#pragma once

#include "arch/api/percpu.h"

DECLARE_PER_CPU(u32, cpu_apic_id); /* [I] once the CPU is up */

/* One of VEC_IPI_*. Interrupts off, after the EOI. */
void ipi_interrupt(unsigned vector);

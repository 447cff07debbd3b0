/*
 * The order in which the other processors come up, and what each does first. arch/api/smp.h has the
 * machine's part.
 *
 * One after the other: that keeps the numbers dense, leaves one token and one page of low memory,
 * and lets the counters be compared with the first CPU's. A processor takes well below a
 * millisecond.
 */
#include "init/smp.h"

#include "arch/api/preempt.h"
#include "arch/api/smp.h"
#include "arch/api/upcall.h"
#include "debug/trace.h"
#include "lib/cmdline.h"
#include "lib/err.h"
#include "lib/klog.h"
#include "sched/sched.h"
#include "sync/spinlock.h"
#include "time/clock.h"
#include "time/sample.h"

CMDLINE_OPTION("maxcpus", maxcpus_option, "N: use at most N processors");
CMDLINE_OPTION("spin.patience", patience_option,
	       "N: looks at a lock before waiting in turn (0; on virtual machines 262144)");

/* Well more than a lock is held for, well less than a host lets a virtual CPU stand still for. */
#define VIRTUAL_PATIENCE (1u << 18)

void cpu_secondary_main(void)
{
	smp_cpu_init();
	clock_init_cpu();
	trace_cpu_init(NULL);
	smp_cpu_ready();
	sched_start_watching();
	sample_start();
	sched_cpu_enter();
}

/* Processor n as CPU nr_cpus. 0; negative: it was left out. */
static int start_one(u32 n)
{
	u32 cpu = nr_cpus;
	int err = percpu_create(cpu);

	if (!err)
		err = sched_cpu_init(cpu);
	if (!err)
		err = smp_start_cpu(n, cpu);
	if (err == -ENOMEM)
		log_warn("smp: no memory for CPU %u\n", cpu);
	else if (err == -EIO || err == -ENODEV)
		log_warn(
			"smp: a processor stopped after its start (number %u of the firmware's list)\n",
			n + 1);
	else if (err)
		log_warn(
			"smp: a processor does not answer (number %u of the firmware's list): left out\n",
			n + 1);
	return err;
}

void smp_init(void)
{
	u64 max = cmdline_u64(&maxcpus_option, NR_CPUS);
	u32 found = smp_found();
	u64 patience = cmdline_u64(&patience_option, smp_is_virtual() ? VIRTUAL_PATIENCE : 0);

	spin_set_patience((u32)MIN(patience, (u64)UINT32_MAX));
	max = MIN(MAX(max, 1ul), (u64)NR_CPUS);
	for (u32 n = 0; n < found && nr_cpus < max; n++) {
		int err = start_one(n);

		if (err == -EIO)
			err = start_one(n); /* once more: with another area, another stack */
		if (err == -ENOMEM || err == -ENODEV)
			break;
	}
	if (found)
		log_info("smp: %u of %u processors\n", nr_cpus, found + 1);
	u64 apart;
	if (!smp_tsc_in_step(&apart)) {
		log_warn("smp: the time-stamp counters of the processors are %lu counts apart\n",
			 apart);
		clock_tsc_out_of_step();
	}
}

// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * The counterpart of bench/kernel/switch.c for Linux: yield between two kernel threads of SCHED_FIFO on CPU 0,
 * from one's call of yield() to the other's return, as a module for Debian's kernel.
 *
 * Loading it measures; then /proc/bench_kthread has the samples (u32, in ticks). If a thread's own count of
 * context switches did not advance by its number of yields (the last one to leave may find nobody), loading
 * fails with EILSEQ.
 */
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/uaccess.h>

#define YIELDS 500

/* As in bench/suite/bench.h: what an emulator's plugin sees. */
#define MARK(k)                                                                                    \
	asm volatile(".byte 0x0f, 0x1f, 0x84, 0x00\n\t.long %c0"                                   \
		     :                                                                             \
		     : "i"(0x4a420000 + (k))                                                       \
		     : "memory")

static u32 sample[2 * YIELDS];
static unsigned int taken;
static u64 left_at;
static atomic_t ready;
static struct partner {
	struct completion done;
	unsigned long switches;
} partner[2];

static u64 stamp(void)
{
	u32 lo, hi;

	asm volatile("rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (u64)hi << 32 | lo;
}

static int run_partner(void *arg)
{
	struct partner *p = arg;
	unsigned long before;
	unsigned int i;

	atomic_inc(&ready);
	while (atomic_read(&ready) < 2)
		yield();
	before = current->nvcsw + current->nivcsw;
	for (i = 0; i < YIELDS; i++) {
		u64 now;

		MARK(1);
		left_at = stamp();
		yield();
		now = stamp();
		MARK(2);
		if (taken < ARRAY_SIZE(sample))
			sample[taken++] = now - left_at;
	}
	p->switches = current->nvcsw + current->nivcsw - before;
	complete(&p->done);
	return 0;
}

static ssize_t read_samples(struct file *file, char __user *to, size_t n, loff_t *pos)
{
	return simple_read_from_buffer(to, n, pos, sample, taken * sizeof(sample[0]));
}

static const struct proc_ops ops = { .proc_read = read_samples };

static int __init bench_init(void)
{
	struct task_struct *t[2];
	int i;

	for (i = 0; i < 2; i++) {
		init_completion(&partner[i].done);
		t[i] = kthread_create(run_partner, &partner[i], "bench-%d", i);
		if (IS_ERR(t[i]))
			return PTR_ERR(t[i]);
		kthread_bind(t[i], 0);
		sched_set_fifo(t[i]);
	}
	/* The first one awake would not let us wake the second. */
	preempt_disable();
	for (i = 0; i < 2; i++)
		wake_up_process(t[i]);
	preempt_enable();
	for (i = 0; i < 2; i++)
		wait_for_completion(&partner[i].done);
	for (i = 0; i < 2; i++)
		if (partner[i].switches + 1 < YIELDS || partner[i].switches > YIELDS)
			return -EILSEQ;
	return proc_create("bench_kthread", 0444, NULL, &ops) ? 0 : -ENOMEM;
}

module_init(bench_init);
MODULE_DESCRIPTION("the switch between two kernel threads, measured");
MODULE_LICENSE("Dual MIT/GPL");

/*
 * The boot order. Each step says what it needs of those before it; what comes later is not to be
 * called earlier. The boot thread becomes the idle thread; everything that may sleep happens in the
 * thread "init".
 */
#include "arch/api/boot.h"
#include "arch/api/clock.h"
#include "arch/api/cpu.h"
#include "arch/api/init.h"
#include "arch/api/irq.h"
#include "arch/api/mmu.h"
#include "arch/api/upcall.h"
#include "debug/anywhere.h"
#include "debug/backtrace.h"
#include "debug/latency.h"
#include "debug/panic.h"
#include "debug/trace.h"
#include "dev/console.h"
#include "fs/file.h"
#include "init/ktest.h"
#include "init/smp.h"
#include "lib/cmdline.h"
#include "lib/fmt.h"
#include "lib/kassert.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/kstack.h"
#include "mm/slab.h"
#include "proc/process.h"
#include "sched/sched.h"
#include "time/clock.h"
#include "time/sample.h"
#include "version.h"

static void describe_thread(char *buf, size_t n)
{
	struct thread *t = current();

	if (t)
		ksnprintf(buf, n, "%s (%u)", t->name, t->tid);
	else
		ksnprintf(buf, n, "none");
}

static bool readable(u64 va)
{
	return va >= DIRECT_MAP && is_page_present(va);
}

static void *trace_chunk(void)
{
	struct frame *f = frame_alloc_order(8, FRAME_KERNEL, FRAME_ZERO | FRAME_ATOMIC);

	_Static_assert(TRACE_CHUNK == PAGE_SIZE << 8, "order 8");
	return f ? frame_virt(f) : NULL;
}

static void log_memory(void)
{
	struct frame_stats s;

	frame_stats(&s);
	log_info("memory: %lu KiB, %lu KiB free\n", s.total * (PAGE_SIZE / KiB),
		 frame_stats_available(&s) * (PAGE_SIZE / KiB));
}

/* Everything that may sleep. */
static int init_thread(void *arg)
{
	procfs_cpuinfo_hook = cpu_describe;
	fs_init();
	for (u32 i = 0; i < boot_info.nr_modules; i++) {
		const struct boot_module *m = &boot_info.module[i];

		initrd_unpack(phys_to_virt(PADDR(m->start)), m->end - m->start);
		boot_module_free(i);
	}
	smp_init();
	if (ktest_wanted())
		ktest_run(); /* ends the machine */
	log_memory();
	proc_start_init();
	return 0;
}

void kernel_main(void)
{
	cmdline_parse(boot_info.cmdline);
	console_early_init();
	panic_describe_thread = describe_thread;
	log_info("Jiffy %s, started by %s%s%s\n", JIFFY_COMMIT, boot_info.protocol,
		 boot_info.loader[0] ? " from " : "", boot_info.loader);
	if (boot_info.cmdline_truncated)
		log_warn("boot: the command line is longer than %u characters: cut\n",
			 BOOT_CMDLINE_MAX);
	cmdline_log_unknown();
	trace_early_init(); /* patches text: before kmap_init */

	early_init();
	mmu_cpu_init();
	kmap_init();
	frame_init();
	slab_init();
	debug_readable = readable;
	trace_peek_user = vm_peek;
	latency_describe = describe_thread;
	trace_cpu_init(trace_chunk);
	anywhere_init(trace_chunk);
	kstack_init();
	arch_init_memory_done(kstack_alloc);
	aspace_init();

	sched_init();
	irq_arch_init();
	clock_arch_init();
	clock_init();
	klog_clock = clock_ns;
	irq_enable();
	sched_start_ticking();
	sample_start();
	grace_init();
	sched_start_watching();
	console_init();

	struct thread *t = thread_create("init", init_thread, NULL, SCHED_LEVEL_NORMAL);
	if (!t)
		panic("no memory for the first thread");
	thread_put(t);
	sched_idle();
}

/*
 * Starting the other processors (Intel SDM volume 3, 8.4 "Multiple-Processor Initialization").
 *
 *	starter					processor
 *	ap_token = its struct ap_start
 *	INIT, SIPI, (SIPI)	------------>	real mode, in the trampoline's page
 *						start.S: takes ap_token, or halts
 *						ap_main: tables; cpu_secondary_main: clocks
 *	the tests of the TSCs	<----------->	smp_cpu_ready
 *	nr_cpus goes up		<------------	runs its idle thread
 *
 * The token decides who is started: it is taken by an exchange, by the processor or, when the wait
 * has been too long, by the starter. So a processor that wakes too late finds nothing and halts, and
 * one that the starter gave up never uses what was made for it. Behind the exchange the processor is
 * alive, and only a broken one stops; the wait for that is long. Then it gets an INIT, and should it
 * go on all the same it finds AP_GIVEN_UP in the struct that it was started with and halts. That struct, its
 * area and its stacks are not used again: the next try gets others.
 *
 * The trampoline's page is any page of RAM below 640 KiB that the firmware's map has; what it held
 * (UEFI GRUB puts modules there) is put back.
 */
#include "arch/x86/smp.h"

#include "arch/api/cpu.h"
#include "arch/api/io.h"
#include "arch/api/boot.h"
#include "arch/api/clock.h"
#include "arch/api/ctx.h"
#include "arch/api/ipi.h"
#include "arch/api/mmu.h"
#include "arch/api/smp.h"
#include "arch/api/upcall.h"
#include "arch/x86/acpi.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/fpu.h"
#include "arch/x86/ipi.h"
#include "arch/x86/lapic.h"
#include "arch/x86/tsc.h"
#include "lib/atomic.h"
#include "lib/cmdline.h"
#include "lib/err.h"
#include "lib/kassert.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "mm/frame.h"

#define LOW_END       0xa0000u /* start-up vectors reach 1 MiB, RAM ends here */
#define ANSWER_US     (2 * 1000 * 1000)
#define ALIVE_US      (20 * 1000 * 1000)
#define STOPPED_MAX   4   /* processors that may stop so: each costs a struct in the image */
#define SIPI_AGAIN_US 300 /* 8.4.4.1: 200 us between the two */

CMDLINE_OPTION("smp.ghost", ghost_option,
	       "believe in one processor more, which is not there (tests)");

CMDLINE_OPTION("smp.stops", stops_option, "the first processor to answer stops then, once (tests)");

enum ap_step {
	AP_ASKED,
	AP_GIVEN_UP, /* by the starter: it halts */
	AP_UP,       /* in smp_cpu_ready, waits for the test of the TSCs */
	AP_TEST,     /* set by the starter */
	AP_READY,    /* set by the processor, and nr_cpus with it */
};

extern char __percpu_image[], __percpu_start[], __percpu_end[];

u64 ap_token; /* [a] start.S */
static DEFINE_PER_CPU(struct ap_start *, started_with);

/* ---- the per-CPU area ---- */

int percpu_create(u32 cpu)
{
	size_t size = (size_t)(__percpu_end - __percpu_start);
	char *area = (char *)percpu_base[cpu];

	kassert(cpu < NR_CPUS && cpu >= nr_cpus);
	if (!area) {
		unsigned order = 0;

		while (PAGE_SIZE << order < size)
			order++;
		struct frame *f = frame_alloc_order(order, FRAME_KERNEL, 0);

		if (!f)
			return -ENOMEM;
		area = frame_virt(f);
	}
	memcpy(area, __percpu_image, size);
	percpu_base[cpu] = (unsigned long)area;
	*per_cpu_ptr(&percpu_self, cpu) = (unsigned long)area;
	*per_cpu_ptr(&cpu_number, cpu) = cpu;
	return 0;
}

/* ---- who is there ---- */

/* Entry n of the MADT beside our own, of those that this LAPIC's mode can name; NULL: no more. */
static const struct acpi_cpu *other_cpu(u32 n)
{
	static const struct acpi_cpu ghost = { .apic_id = 0xfd, .enabled = true };
	u32 self = *per_cpu_ptr(&cpu_apic_id, 0);

	if (ghost_option.value && n-- == 0)
		return &ghost;

	for (u32 i = 0; i < acpi.madt->nr_cpus; i++) {
		const struct acpi_cpu *c = &acpi.madt->cpu[i];

		if (!c->enabled || c->apic_id == self)
			continue;
		if (!lapic_is_x2apic() && c->apic_id >= 0xff)
			continue;
		if (n-- == 0)
			return c;
	}
	return NULL;
}

bool smp_is_virtual(void)
{
	return cpu_has.hypervisor;
}

u32 smp_found(void)
{
	u32 n = 0;

	if (!acpi.madt || !lapic_present())
		return 0;
	if (nr_cpus == 1)
		this_cpu_write(cpu_apic_id, lapic_id());
	while (other_cpu(n))
		n++;
	return n;
}

/* ---- starting one ---- */

static void *find_trampoline_page(void)
{
	for (u32 i = 0; i < boot_info.nr_ranges; i++) {
		const struct mem_range *r = &boot_info.range[i];
		u64 end = ALIGN_DOWN(MIN(r->end, (u64)LOW_END), PAGE_SIZE);

		/* Page 0 holds the firmware's interrupt vectors. */
		if (r->type == MEM_RAM && end >= 2 * PAGE_SIZE &&
		    end - PAGE_SIZE >= ALIGN_UP(r->start, PAGE_SIZE))
			return phys_to_virt(PADDR(end - PAGE_SIZE));
	}
	return NULL;
}

/* By the time-stamp counter: the wait works with interrupts off and before any clock. */
static void delay_us(u64 us)
{
	u64 end = cpu_cycles() + us * (tsc_source.hz / 1000000);

	while (cpu_cycles() < end)
		cpu_relax();
}

static bool wait_for_token(u64 us)
{
	for (; __atomic_load_n(&ap_token, __ATOMIC_ACQUIRE) && us > 0; us -= MIN(us, 10ul))
		delay_us(10);
	return __atomic_load_n(&ap_token, __ATOMIC_ACQUIRE) == 0;
}

/* INIT and SIPI. The 10 ms behind INIT that the manual has were for the 82489DX. True: it answered. */
static bool kick(u32 apic_id, u8 page)
{
	lapic_send_init(apic_id);
	delay_us(20);
	lapic_send_startup(apic_id, page);
	if (wait_for_token(SIPI_AGAIN_US))
		return true;
	lapic_send_startup(apic_id, page);
	if (wait_for_token(ANSWER_US))
		return true;
	return __atomic_exchange_n(&ap_token, 0, __ATOMIC_SEQ_CST) == 0; /* at the last moment? */
}

static bool wait_for_step(struct ap_start *s, enum ap_step step)
{
	u32 limit = stops_option.value ? ALIVE_US / 20 : ALIVE_US;

	for (u32 us = 0; us < limit; us += 10) {
		if (__atomic_load_n(&s->step, __ATOMIC_ACQUIRE) >= step)
			return true;
		delay_us(10);
	}
	return false;
}

static void tsc_test(void);

static int start(u32 apic_id, struct ap_start *s, char *page)
{
	char saved[256];
	size_t size = (size_t)(ap_trampoline_end - ap_trampoline);

	kassert(size <= sizeof(saved));
	memcpy(saved, page, size);
	memcpy(page, ap_trampoline, size);
	__atomic_store_n(&ap_token, (u64)s, __ATOMIC_SEQ_CST);
	bool answered = kick(apic_id, (u8)(virt_to_phys(page).v >> PAGE_SHIFT));

	memcpy(page, saved, size);
	if (!answered) {
		lapic_send_init(apic_id); /* back to its sleep, should it be on its way */
		return -ETIMEDOUT;
	}
	if (!wait_for_step(s, AP_UP)) {
		u32 asked = AP_ASKED;

		if (__atomic_compare_exchange_n(&s->step, &asked, AP_GIVEN_UP, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			lapic_send_init(apic_id);
			return -EIO;
		}
	}
	u64 flags = irq_save();
	__atomic_store_n(&s->step, AP_TEST, __ATOMIC_RELEASE);
	tsc_test();
	irq_restore(flags);
	if (!wait_for_step(s, AP_READY))
		panic("smp: the processor with APIC id %u stopped in the test of its TSC", apic_id);
	return 0;
}

int smp_start_cpu(u32 n, u32 cpu)
{
	/* start.S finds them by the boot tables, so they are in the image. */
	static struct ap_start starts[1 + STOPPED_MAX];
	static u32 stopped;
	struct ap_start *s = &starts[stopped];
	const struct acpi_cpu *c = other_cpu(n);
	char *page = find_trampoline_page();

	kassert(c && cpu == nr_cpus);
	if (!page) {
		log_warn("smp: no page of RAM below 640 KiB to start processors in\n");
		return -ENOMEM;
	}
	mmu_shootdown = ipi_call_mask; /* with one CPU nobody asks for it */
	s->step = AP_ASKED;
	s->cr3 = mmu_current_root().v; /* no program runs yet: the kernel's own */
	s->percpu = percpu_base[cpu];
	s->stack_top = ((struct arch_thread *)*per_cpu_ptr(&current_thread, cpu))->stack_top;
	if (!s->ist_top[0] && ist_stacks_alloc(s->ist_top))
		return -ENOMEM;
	int err = start(c->apic_id, s, page);

	if (err == -EIO) {
		percpu_base[cpu] = 0; /* the next one's is new */
		if (++stopped > STOPPED_MAX)
			return -ENODEV;
	} else if (!err) {
		memset(s->ist_top, 0, sizeof(s->ist_top)); /* they are in use now */
	}
	return err;
}

/* ---- on the processor itself ---- */

void ap_main(struct ap_start *s)
{
	static u32 answered;

	if (stops_option.value && __atomic_fetch_add(&answered, 1, __ATOMIC_SEQ_CST) == 0)
		for (;;)
			cpu_stop();
	this_cpu_write(started_with, s);
	desc_init_cpu(s->ist_top);
	cpu_secondary_main();
}

void smp_cpu_init(void)
{
	mmu_cpu_init();
	fpu_cpu_init();
	lapic_init_cpu();
	this_cpu_write(cpu_apic_id, lapic_id());
	tsc_skew_for_test();
}

void smp_cpu_ready(void)
{
	struct ap_start *s = this_cpu_read(started_with);
	u32 asked = AP_ASKED;

	if (!__atomic_compare_exchange_n(&s->step, &asked, AP_UP, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		for (;;)
			__asm__ volatile("cli; hlt" : : : "memory");
	while (__atomic_load_n(&s->step, __ATOMIC_ACQUIRE) != AP_TEST)
		cpu_relax();
	tsc_test();
	/*
	 * Who changes the kernel's page table writes entries, then reads nr_cpus (a full barrier in
	 * between): he asks us to flush, or we flush behind his change.
	 */
	__atomic_store_n(&nr_cpus, cpu_id() + 1, __ATOMIC_SEQ_CST);
	mmu_flush_all();
	__atomic_store_n(&s->step, AP_READY, __ATOMIC_RELEASE);
}

/* ---- are the time-stamp counters in step? ---- */

/*
 * Both processors take turns, without order, at reading their counter and comparing it with the
 * last one that anybody read, under a lock: none may be below it. It finds differences above the
 * time that the lock takes to change hands.
 */
#define TSC_ROUNDS 400

static struct {
	u32 lock;
	u32 there; /* processors that have begun */
	u64 last, apart;
} tsc_check;

static void tsc_test(void)
{
	u32 rounds = TSC_ROUNDS;

	__atomic_fetch_add(&tsc_check.there, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&tsc_check.there, __ATOMIC_ACQUIRE) % 2)
		cpu_relax();
	while (rounds-- > 0) {
		while (__atomic_exchange_n(&tsc_check.lock, 1, __ATOMIC_ACQUIRE))
			cpu_relax();
		u64 now = tsc_source.read();

		if (now < tsc_check.last)
			tsc_check.apart = MAX(tsc_check.apart, tsc_check.last - now);
		tsc_check.last = MAX(tsc_check.last, now);
		__atomic_store_n(&tsc_check.lock, 0, __ATOMIC_RELEASE);
		for (u32 i = 0; i < 8; i++)
			barrier(); /* a chance for the other one */
	}
}

bool smp_tsc_in_step(u64 *apart)
{
	*apart = tsc_check.apart;
	return tsc_check.apart == 0;
}

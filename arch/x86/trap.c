/*
 * Exceptions and interrupts, behind entry.S. Each exception is served (page faults), becomes a
 * signal of the program that caused it, or ends in a panic. Interrupts go to the controllers'
 * code (irqchip.c); rescheduling happens in entry.S, behind all handlers.
 */
#include "arch/api/cpu.h"
#include "arch/api/ctx.h"
#include "arch/api/hook.h"
#include "arch/api/preempt.h"
#include "arch/api/uaccess.h"
#include "arch/api/upcall.h"
#include "arch/x86/entry.h"
#include "arch/x86/fpu.h"
#include "arch/x86/irqchip.h"
#include "arch/x86/uaccess.h"
#include "lib/kassert.h"
#include "lib/klog.h"
#include "lib/uapi/signal.h"
#include "machine/memlayout.h"

_Static_assert(sizeof(struct regs) == ARCH_REGS_OFFSET, "ctx_user_regs");

/* Page-fault error code (AMD manual vol. 2, 8.4.2). */
#define PF_PRESENT (1u << 0)
#define PF_WRITE   (1u << 1)
#define PF_USER    (1u << 2)
#define PF_RSVD    (1u << 3)
#define PF_EXEC    (1u << 4)

#define FLAGS_TF (1ul << 8)
#define FLAGS_AC (1ul << 18)

static const char *const trap_name[NR_TRAPS] = {
	"divide error",
	"debug exception",
	"NMI",
	"breakpoint",
	"overflow",
	"bound range exceeded",
	"invalid opcode",
	"device not available",
	"double fault",
	"coprocessor overrun",
	"invalid TSS",
	"segment not present",
	"stack fault",
	"general protection fault",
	"page fault",
	"exception 15",
	"x87 exception",
	"alignment check",
	"machine check",
	"SIMD exception",
	"virtualization exception",
	"control protection exception",
};

static u64 read_cr2(void)
{
	u64 v;

	__asm__ volatile("movq %%cr2, %0" : "=r"(v));
	return v;
}

static const char *name_of(unsigned vector)
{
	return vector < NR_TRAPS && trap_name[vector] ? trap_name[vector] : "reserved exception";
}

/* Continues a checked copy that must fail, or panics. */
static void kernel_trap(struct regs *r, unsigned vector)
{
	u64 fixup = uaccess_fixup(r->rip);

	if (!fixup)
		panic_regs(r, "%s in the kernel (error code %#lx)", name_of(vector), r->orig_rax);
	r->rip = fixup;
}

__noreturn static void kernel_fault_panic(struct regs *r, u64 va)
{
	const char *owner = kstack_guard_owner(va);
	const char *what = r->orig_rax & PF_EXEC  ? "execute" :
			   r->orig_rax & PF_WRITE ? "write" :
						    "read";

	if (owner)
		panic_regs(r, "kernel stack overflow of thread %s (%s at %#lx)", owner, what, va);
	if (r->orig_rax & PF_RSVD)
		panic_regs(r, "page fault: reserved bit in the page table for %#lx", va);
	if (va < PAGE_SIZE)
		panic_regs(r, "page fault: kernel %s through a null pointer at %#lx", what, va);
	if (va < USER_TOP && r->orig_rax & PF_EXEC)
		panic_regs(r, "page fault: kernel execute of user memory at %#lx", va);
	if (va < USER_TOP)
		panic_regs(r, "page fault: kernel %s of user memory at %#lx outside a checked copy",
			   what, va);
	panic_regs(r, "page fault: kernel %s at %#lx, %s", what, va,
		   r->orig_rax & PF_PRESENT ? "protected" : "not mapped");
}

/* code: what vm_fault_current gave. */
static void fault_signal(int code, u64 va, u64 error)
{
	int sig = code & FAULT_BUS ? SIGBUS : SIGSEGV;

	if (code & FAULT_OOM) {
		log_warn("no memory for the page at %#lx: its program is killed\n", va);
		sig = SIGKILL;
	}
	proc_fault_signal(sig, code & ~(FAULT_BUS | FAULT_OOM), va, TRAP_PF, error);
}

/* Nothing serves it: a signal for the program, or the copy that faulted ends. */
static __noinline void fault_failed(struct regs *r, int code, u64 va, u64 error)
{
	if (hook_on(HOOK_TRACE))
		hook_fault_failed(va, code);
	if (regs_from_user(r))
		fault_signal(code, va, error | (va >= USER_TOP ? PF_PRESENT : 0));
	else
		r->rip = uaccess_fixup(r->rip);
}

static void page_fault(struct regs *r)
{
	u64 va = read_cr2();
	u64 error = r->orig_rax;
	bool user = regs_from_user(r);
	enum fault_access access = error & PF_EXEC  ? FAULT_EXEC :
				   error & PF_WRITE ? FAULT_WRITE :
						      FAULT_READ;
	int code = SEGV_MAPERR;

	if (!user && (va >= USER_TOP || !uaccess_fixup(r->rip)))
		kernel_fault_panic(r, va);
	if (error & PF_RSVD)
		kernel_fault_panic(r, va);
	if (!user && !(r->rflags & EFLAGS_IF))
		panic_regs(r, "checked copy of user memory with interrupts off");
	irq_enable();
	if (va < USER_TOP) {
		code = vm_fault_current(va, access);
		if (code == 0)
			goto out;
	}
	fault_failed(r, code, va, error);
out:
	irq_disable();
}

/* A program's exception other than a page fault. Linux's signals and codes. */
static void user_exception(struct regs *r, unsigned vector)
{
	int sig = SIGSEGV, code = SI_KERNEL;
	u64 addr = 0;

	switch (vector) {
	case TRAP_DE: sig = SIGFPE, code = FPE_INTDIV, addr = r->rip; break;
	case TRAP_DB:
		sig = SIGTRAP, code = r->rflags & FLAGS_TF ? TRAP_TRACE : TRAP_BRKPT, addr = r->rip;
		break;
	case TRAP_BP: sig = SIGTRAP; break;
	case TRAP_UD: sig = SIGILL, code = ILL_ILLOPN, addr = r->rip; break;
	case TRAP_NP:
	case TRAP_SS: sig = SIGBUS; break;
	case TRAP_AC: sig = SIGBUS, code = BUS_ADRALN; break;
	case TRAP_MF:
	case TRAP_XM:
		sig = SIGFPE, code = fpu_exception_code(vector == TRAP_XM), addr = r->rip;
		break;
	case TRAP_OF:
	case TRAP_BR:
	case TRAP_TS:
	case TRAP_GP: break;
	default: panic_regs(r, "%s from user mode (error code %#lx)", name_of(vector), r->orig_rax);
	}
	irq_enable();
	proc_fault_signal(sig, code, addr, vector, r->orig_rax);
	irq_disable();
}

void trap_exception(struct regs *r, unsigned vector)
{
	if (vector == TRAP_PF)
		page_fault(r);
	else if (regs_from_user(r))
		user_exception(r, vector);
	else if (vector != TRAP_DB || !step_trap(r))
		kernel_trap(r, vector);
}

DEFINE_PER_CPU(const struct regs *, irq_regs);

void trap_interrupt(struct regs *r, unsigned vector)
{
	preempt_disable();
	this_cpu_write(irq_regs, r);
	x86_irq(vector);
	this_cpu_write(irq_regs, NULL);
	preempt_enable_no_resched();
}

/* With interrupts off, before a return to user mode: at least one of the two reasons held. */
void trap_user_work(struct regs *r)
{
	if (this_cpu_read(preempt_word) == 0)
		sched_preempt_irq();
	irq_enable();
	proc_user_return(r);
	irq_disable();
}

/* The program is to continue at an address that is none: it gets what Linux's IRET fault gives. */
void trap_bad_return(struct regs *r)
{
	u64 pc = r->rip;

	r->rip = 0; /* whatever happens, the next IRET must not fault */
	irq_enable();
	log_debug("return to non-canonical address %#lx\n", pc);
	proc_fault_signal(SIGSEGV, SI_KERNEL, 0, TRAP_GP, 0);
	irq_disable();
}

DEFINE_PER_CPU(u64, nmi_count);

/* On their own stacks, perhaps in the middle of anything: no locks, no sleep. */
void trap_paranoid(struct regs *r, unsigned vector)
{
	const char *owner;

	switch (vector) {
	case TRAP_NMI:
		this_cpu_inc(nmi_count);
		nmi_interrupt(r);
		return;
	case TRAP_DF:
		owner = kstack_guard_owner(read_cr2());
		if (!owner)
			owner = kstack_guard_owner(r->rsp - 8);
		if (owner)
			panic_regs(r, "kernel stack overflow of thread %s (double fault)", owner);
		panic_regs(r, "double fault");
	default: panic_regs(r, "machine check");
	}
}

u64 regs_frame_pointer(const struct regs *r)
{
	return r->rbp;
}

void regs_dump(const struct regs *r, void (*print)(const char *fmt, ...))
{
	u64 cr0, cr3, cr4;

	__asm__ volatile("movq %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
	__asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
	print("rip %016lx  rsp %016lx  rflags %08lx  cs %02lx  ss %02lx\n", r->rip, r->rsp,
	      r->rflags, r->cs, r->ss);
	print("rax %016lx  rbx %016lx  rcx %016lx  rdx %016lx\n", r->rax, r->rbx, r->rcx, r->rdx);
	print("rsi %016lx  rdi %016lx  rbp %016lx  r8  %016lx\n", r->rsi, r->rdi, r->rbp, r->r8);
	print("r9  %016lx  r10 %016lx  r11 %016lx  r12 %016lx\n", r->r9, r->r10, r->r11, r->r12);
	print("r13 %016lx  r14 %016lx  r15 %016lx  error/call %lx\n", r->r13, r->r14, r->r15,
	      r->orig_rax);
	print("cr0 %08lx  cr2 %016lx  cr3 %012lx  cr4 %06lx\n", cr0, read_cr2(), cr3, cr4);
}

/*
 * The user half of a thread's machine state: FPU, FS and GS base, the stack for entries from user
 * mode. It stays in the CPU's registers while kernel threads run; only a switch to another user
 * thread moves it (machine/ctx.h, which has the rule for several CPUs).
 *
 * Programs may change FS and GS base themselves (WRFSBASE) where the CPU has FSGSBASE, so that the
 * registers are the truth while a thread owns them; without FSGSBASE only ctx_set_tls changes them.
 */
#include "arch/api/ctx.h"

#include "arch/api/cpu.h"
#include "arch/api/preempt.h"
#include "arch/api/uaccess.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/desc.h"
#include "arch/x86/entry.h"
#include "arch/x86/fpu.h"
#include "lib/err.h"
#include "lib/kassert.h"
#include "machine/io.h"

#define MSR_FS_BASE        0xc0000100
#define MSR_KERNEL_GS_BASE 0xc0000102 /* the program's, while the kernel runs */

DEFINE_PER_CPU(struct arch_thread *, ctx_user_owner);
DECLARE_PER_CPU(struct tss, cpu_tss);

static void save_bases(struct arch_thread *a)
{
	if (!cpu_has.fsgsbase)
		return;
	__asm__ volatile("rdfsbase %0\n\t"
			 "swapgs\n\t"
			 "rdgsbase %1\n\t"
			 "swapgs"
			 : "=r"(a->fs_base), "=r"(a->gs_base));
}

/* Interrupts off: an NMI between the two SWAPGS finds its own way (entry.S, PARANOID). */
static void load_bases(const struct arch_thread *a)
{
	if (cpu_has.fsgsbase) {
		__asm__ volatile("wrfsbase %0\n\t"
				 "swapgs\n\t"
				 "wrgsbase %1\n\t"
				 "swapgs"
				 :
				 : "r"(a->fs_base), "r"(a->gs_base));
	} else {
		wrmsr(MSR_FS_BASE, a->fs_base);
		wrmsr(MSR_KERNEL_GS_BASE, a->gs_base);
	}
}

void ctx_save_user_state(struct arch_thread *prev)
{
	if (this_cpu_read(ctx_user_owner) != prev)
		return; /* it is on its way out: ctx_user_destroy */
	fpu_save(prev->fpu);
	save_bases(prev);
	this_cpu_write(ctx_user_owner, (struct arch_thread *)((u64)prev | CTX_SAVED));
}

void ctx_load_user_state(struct arch_thread *next)
{
	u64 owner = (u64)this_cpu_read(ctx_user_owner);

	if (likely(!(owner & CTX_SAVED))) {
		struct arch_thread *prev = (struct arch_thread *)owner;

		if (prev) {
			fpu_save(prev->fpu);
			save_bases(prev);
		}
	} else if (owner == ((u64)next | CTX_SAVED) && next->loaded_on == cpu_id()) {
		/* (The owner may be gone, and next at its address: then it was loaded nowhere yet.) */
		this_cpu_write(ctx_user_owner, next);
		return;
	}
	this_cpu_ptr(&cpu_tss)->rsp[0] = next->stack_top;
	fpu_restore(next->fpu);
	load_bases(next);
	next->loaded_on = cpu_id();
	this_cpu_write(ctx_user_owner, next);
}

void ctx_init(struct arch_thread *a, void *stack_top, void (*entry)(struct thread *prev))
{
	u64 *sp = (u64 *)((char *)stack_top - ARCH_REGS_OFFSET);

	*--sp = 0;
	*--sp = 0;                     /* the end of the backtrace */
	*--sp = (u64)entry;            /* ctx_thread_start pops it to rbx ... */
	*--sp = 0;                     /* ... behind rbp */
	*--sp = (u64)ctx_thread_start; /* ctx_switch jumps here */
	a->sp = (u64)sp;
	a->stack_top = (u64)stack_top;
}

int ctx_user_create(struct arch_thread *a)
{
	struct fpu_area *f = fpu_alloc();

	if (!f)
		return -ENOMEM;
	a->fs_base = 0;
	a->gs_base = 0;
	a->loaded_on = NR_CPUS;
	u64 flags = irq_save();
	a->fpu = f;
	if ((struct arch_thread *)this_cpu_read(current_thread) == a)
		ctx_load_user_state(a);
	irq_restore(flags);
	return 0;
}

void ctx_user_clone(struct arch_thread *child)
{
	u64 flags = irq_save();
	struct arch_thread *me = this_cpu_read(ctx_user_owner);

	kassert_eq(me, this_cpu_read(current_thread));
	fpu_save(me->fpu);
	save_bases(me);
	fpu_copy(child->fpu, me->fpu);
	child->fs_base = me->fs_base;
	child->gs_base = me->gs_base;
	irq_restore(flags);
}

void ctx_user_reset(void)
{
	u64 flags = irq_save();
	struct arch_thread *me = this_cpu_read(ctx_user_owner);

	kassert_eq(me, this_cpu_read(current_thread));
	me->fs_base = 0;
	me->gs_base = 0;
	fpu_reset_area(me->fpu);
	fpu_restore(me->fpu);
	load_bases(me);
	irq_restore(flags);
}

void ctx_user_destroy(struct arch_thread *a)
{
	u64 flags = irq_save();
	struct fpu_area *f = a->fpu;

	if (((u64)this_cpu_read(ctx_user_owner) & ~CTX_SAVED) == (u64)a)
		this_cpu_write(ctx_user_owner, NULL);
	a->fpu = NULL;
	irq_restore(flags);
	if (f)
		fpu_free(f);
}

int ctx_set_tls(struct arch_thread *a, u64 base)
{
	if (base >= USER_TOP)
		return -EPERM;
	u64 flags = irq_save();
	if (this_cpu_read(ctx_user_owner) == a)
		wrmsr(MSR_FS_BASE, base);
	a->fs_base = base;
	irq_restore(flags);
	return 0;
}

u64 ctx_get_tls(struct arch_thread *a)
{
	u64 flags = irq_save();

	if (this_cpu_read(ctx_user_owner) == a)
		save_bases(a);
	u64 base = a->fs_base;
	irq_restore(flags);
	return base;
}

int ctx_set_gs(struct arch_thread *a, u64 base)
{
	if (base >= USER_TOP)
		return -EPERM;
	u64 flags = irq_save();
	if (this_cpu_read(ctx_user_owner) == a)
		wrmsr(MSR_KERNEL_GS_BASE, base);
	a->gs_base = base;
	irq_restore(flags);
	return 0;
}

u64 ctx_get_gs(struct arch_thread *a)
{
	u64 flags = irq_save();

	if (this_cpu_read(ctx_user_owner) == a)
		save_bases(a);
	u64 base = a->gs_base;
	irq_restore(flags);
	return base;
}

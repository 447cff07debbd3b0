/*
 * The signal frame, as Linux lays it out on x86-64 (its struct rt_sigframe): C libraries and
 * unwinders know it by heart.
 *
 *	stack pointer of the handler ->	the restorer's address, as if it had called the handler
 *					ucontext: flags, link, stack, registers, signal mask
 *					siginfo
 *	aligned to 64 ->		FPU state
 *					128 bytes that belong to the interrupted function (red zone)
 *
 * What comes back from a program is never trusted: segment selectors and the flags that a program
 * could not set itself are replaced; the entry code checks the address of the next instruction.
 */
#include "arch/api/signal.h"

#include "arch/api/uaccess.h"
#include "arch/x86/fpu.h"
#include "lib/err.h"

#define RED_ZONE 128

#define UC_FP_XSTATE         0x1
#define UC_SIGCONTEXT_SS     0x2
#define UC_STRICT_RESTORE_SS 0x4

/* Carry, parity, adjust, zero, sign, trap, direction, overflow, resume, alignment check, ID. */
#define FLAGS_USER 0x250dd5ul
#define FLAGS_IF   0x200ul
#define FLAGS_ONE  0x2ul
#define FLAGS_DF   0x400ul
#define FLAGS_TF   0x100ul
#define FLAGS_RF   0x10000ul

struct sigcontext {
	u64 r8, r9, r10, r11, r12, r13, r14, r15;
	u64 rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
	u16 cs, gs, fs, ss;
	u64 err, trapno, oldmask, cr2;
	u64 fpstate; /* pointer */
	u64 reserved[8];
};
_Static_assert(sizeof(struct sigcontext) == 256, "struct sigcontext");

struct ucontext {
	u64 flags, link;
	struct linux_stack stack;
	struct sigcontext mc;
	u64 sigmask;
};

struct rt_sigframe {
	u64 restorer;
	struct ucontext uc;
	struct linux_siginfo info;
};

static void save_registers(struct sigcontext *mc, const struct regs *r,
			   const struct signal_delivery *d)
{
	*mc = (struct sigcontext){
		.r8 = r->r8,
		.r9 = r->r9,
		.r10 = r->r10,
		.r11 = r->r11,
		.r12 = r->r12,
		.r13 = r->r13,
		.r14 = r->r14,
		.r15 = r->r15,
		.rdi = r->rdi,
		.rsi = r->rsi,
		.rbp = r->rbp,
		.rbx = r->rbx,
		.rdx = r->rdx,
		.rax = r->rax,
		.rcx = r->rcx,
		.rsp = r->rsp,
		.rip = r->rip,
		.rflags = r->rflags,
		.cs = (u16)r->cs,
		.ss = (u16)r->ss,
		.err = d->error,
		.trapno = d->trapno,
		.oldmask = d->mask,
		.cr2 = d->fault_addr,
	};
}

/* Where the frame and the FPU state go. False: no room. */
static bool place(const struct regs *r, const struct signal_delivery *d, uaddr_t *frame,
		  uaddr_t *fpu)
{
	u64 need = RED_ZONE + fpu_frame_size() + 64 + sizeof(struct rt_sigframe) + 16;
	uaddr_t sp = d->use_altstack ? d->altstack.sp + d->altstack.size : r->rsp;

	if (sp < need || !user_range_ok(sp - need, need))
		return false;
	if (d->use_altstack && d->altstack.size < need)
		return false;
	if (!d->use_altstack)
		sp -= RED_ZONE;
	*fpu = ALIGN_DOWN(sp - fpu_frame_size(), 64);
	/* At the handler's first instruction rsp + 8 is a multiple of 16, as behind a call. */
	*frame = ALIGN_DOWN(*fpu - sizeof(struct rt_sigframe), 16) - 8;
	/* A handler that was on the alternate stack already: what lies below is not its. */
	return !(d->altstack.flags & SS_ONSTACK) || *frame > d->altstack.sp;
}

int signal_frame_push(struct regs *r, const struct signal_delivery *d)
{
	struct rt_sigframe f = { .restorer = d->restorer };
	uaddr_t at, fpu;

	/* Linux's x86-64 knows no other way back than the program's restorer. */
	if (!(d->flags & SA_RESTORER) || !place(r, d, &at, &fpu))
		return -EFAULT;
	f.uc.flags = UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
	if (fpu_frame_size() > 512)
		f.uc.flags |= UC_FP_XSTATE;
	f.uc.stack = d->altstack;
	save_registers(&f.uc.mc, r, d);
	f.uc.mc.fpstate = fpu;
	f.uc.sigmask = d->mask;
	f.info = d->info;
	if (fpu_save_user(fpu) || copy_to_user(at, &f, sizeof(f)))
		return -EFAULT;
	r->rdi = (u64)d->sig;
	r->rsi = at + offsetof(struct rt_sigframe, info);
	r->rdx = at + offsetof(struct rt_sigframe, uc);
	r->rax = 0;
	r->rip = d->handler;
	r->rsp = at;
	r->cs = USER_CS;
	r->ss = USER_DS;
	r->rflags &= ~(FLAGS_DF | FLAGS_TF | FLAGS_RF);
	return 0;
}

static void restore_registers(struct regs *r, const struct sigcontext *mc)
{
	u64 flags = (r->rflags & ~FLAGS_USER) | (mc->rflags & FLAGS_USER) | FLAGS_IF | FLAGS_ONE;

	*r = (struct regs){
		.r8 = mc->r8,
		.r9 = mc->r9,
		.r10 = mc->r10,
		.r11 = mc->r11,
		.r12 = mc->r12,
		.r13 = mc->r13,
		.r14 = mc->r14,
		.r15 = mc->r15,
		.rdi = mc->rdi,
		.rsi = mc->rsi,
		.rbp = mc->rbp,
		.rbx = mc->rbx,
		.rdx = mc->rdx,
		.rax = mc->rax,
		.rcx = mc->rcx,
		.rsp = mc->rsp,
		.rip = mc->rip,
		.rflags = flags,
		.cs = USER_CS,
		.ss = USER_DS,
		.orig_rax = (u64)-1,
	};
}

int signal_frame_pop(struct regs *r, u64 *mask, struct linux_stack *altstack)
{
	struct ucontext uc;
	/* The restorer was popped by the handler's return. */
	uaddr_t at = r->rsp - sizeof(u64);

	if (copy_from_user(&uc, at + offsetof(struct rt_sigframe, uc), sizeof(uc)))
		return -EFAULT;
	/* No state in the frame: the FPU starts afresh, as on Linux. */
	if (uc.mc.fpstate ? fpu_restore_user(uc.mc.fpstate) : (fpu_load_initial(), 0))
		return -EFAULT;
	restore_registers(r, &uc.mc);
	*mask = uc.sigmask;
	*altstack = uc.stack;
	return 0;
}

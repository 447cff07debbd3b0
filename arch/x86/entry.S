/*
 * Every way into the kernel and out of it.
 *
 * GS holds the program's base in user mode and this CPU's area in the kernel; SWAPGS_IF_USER is
 * the one place that changes it for exceptions and interrupts, entry_syscall for calls. On return
 * to user mode, with interrupts off from the check to the IRET or SYSRET: reschedule if wanted, then
 * the thread's work (signals), again until there is neither.
 *
 * NMI, #DF and #MC come on stacks of their own and may hit anywhere, also between an entry and its
 * SWAPGS. What GS holds tells nothing: a program may load a kernel address there (WRGSBASE). So they
 * load this CPU's base, which lies at the top of each such stack (desc_set_ist), and put back what
 * they found.
 *
 * RIP must be canonical at IRET: another would fault in ring 0, after SWAPGS. trap_bad_return
 * delivers SIGSEGV instead. SYSRET, which on Intel would fault with the program's stack pointer, goes
 * back behind a SYSCALL only; nothing is mapped in the last page of user space, so that is canonical.
 */
#include "machine/memlayout.h"
#include "offsets.h"

#define USER_DS     0x2b
#define USER_CS     0x33
#define MSR_GS_BASE 0xc0000101


.macro SWAPGS_IF_USER
	testb $3, CS(%rsp)
	jz 1f
	swapgs
1:
.endm

/* CLAC where the CPU has SMAP: uaccess_patch() writes it over this three-byte NOP. */
.macro CLAC
	.pushsection .smap_sites, "a"
	.long 771f - KERNEL_BASE, 0
	.popsection
771:	.byte 0x0f, 0x1f, 0x00
.endm

/* Interrupts off, registers saved: debug builds see that nothing is held any more. */
.macro CHECK_RETURN
#ifdef CONFIG_DEBUG
	call check_user_return
#endif
.endm

/* The instruction between 771 and 772, of five bytes at least, becomes a call of stub by HOOK_EVENT (2). */
.macro HOOK_SITE stub
	.pushsection .hook_sites, "a"
	.long 771b - ., \stub - .
	.byte 0xe8, 772b - 771b, 2, 0
	.popsection
.endm

/* So does a call, of a function that stands before the one called: hook.c. */
.macro HOOKED_CALL fn
771:	call \fn
772:	HOOK_SITE hooked_\fn
.endm

.macro PUSH_REGS rax=%rax
	pushq %rdi
	pushq %rsi
	pushq %rdx
	pushq %rcx
	pushq \rax
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
.endm

/* Those that a C function may change. */
.macro POP_CALLER_REGS
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rax
	popq %rcx
	popq %rdx
	popq %rsi
	popq %rdi
.endm

.macro POP_REGS
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	POP_CALLER_REGS
.endm

	.text

/* ---- system calls ---------------------------------------------------------------------------- */
	.globl entry_syscall, entry_syscall32
	.balign 16
entry_syscall:
	swapgs
	movq %rsp, %gs:entry_user_rsp
	movq %gs:cpu_tss + TSS_RSP0, %rsp
	pushq $USER_DS
	pushq %gs:entry_user_rsp
	pushq %r11
	pushq $USER_CS
	pushq %rcx
	pushq %rax
	PUSH_REGS rax=$-38 /* -ENOSYS */
	xorl %ebp, %ebp /* backtraces end here */
771:	.byte 0x3e, 0x3e, 0x3e, 0x3e, 0xfb /* sti */
772:	.pushsection .hook_sites, "a"
	.long 771b - ., hook_stub_step - .
	.byte 0xe8, 772b - 771b, 8, 0
	.popsection
	/* The arguments are where a function has them, but for the fourth: SYSCALL wants rcx. */
	movq %r10, %rcx
771:	cmpq syscall_count, %rax
772:	HOOK_SITE hook_stub_syscall_enter
	jae syscall_unknown
	call *syscall_table(,%rax,8)
	.globl syscall_done
syscall_done:
771:	movq %rax, RAX(%rsp)
772:	HOOK_SITE hook_stub_syscall_exit
	testq %rax, %rax
	js syscall_again
.Lno_error:
	cli
syscall_return:
	CHECK_RETURN
	movq %gs:current_thread, %rax
	cmpl $0, THREAD_WORK(%rax)
	jne return_user_work
	cmpl $0, %gs:preempt_word
	je return_user_work
	/*
	 * SYSRET takes RIP from rcx and RFLAGS from r11, as SYSCALL left them. Whoever gives the program
	 * other registers (sigreturn, exec) leaves no number of a call behind. Without that, those which a
	 * C function keeps are the program's still: r15 to r12, and rbx, lie below r11 on the stack.
	 */
	cmpq $0, ORIG_RAX(%rsp)
	jl return_user_iret
	movq RBP(%rsp), %rbp
	addq $R11, %rsp
	POP_CALLER_REGS
	movq 24 + 8(%rsp), %rsp /* past orig_rax, rip, cs, rflags */
	swapgs
	sysretq

syscall_unknown:
	call syscall_missing
	jmp syscall_done

/* Is the call to be done again, perhaps, after a signal? */
syscall_again:
	addq $ERESTART_LAST, %rax /* the codes are negative: 0 ... from here */
	cmpq $ERESTART_LAST - ERESTART_FIRST, %rax
	ja .Lno_error
	movq %rsp, %rdi
	call syscall_interrupted
	.globl syscall_again_done
syscall_again_done:
	cli
	jmp syscall_return

/* A 32-bit program's SYSCALL on an AMD CPU: there are none, but the register wants an address. */
entry_syscall32:
	swapgs
	movq %rsp, %gs:entry_user_rsp
	movq %gs:cpu_tss + TSS_RSP0, %rsp
	pushq $USER_DS
	pushq %gs:entry_user_rsp
	pushq %r11
	pushq $USER_CS
	pushq %rcx
	pushq $-1
	PUSH_REGS rax=$-38
	jmp return_user

/* ---- return to user mode, interrupts off, registers at rsp --------------------------------------- */
return_user_work:
	movq %rsp, %rdi
	HOOKED_CALL trap_user_work
	.globl return_user
return_user:
	CHECK_RETURN
	movq %gs:current_thread, %rax
	cmpl $0, THREAD_WORK(%rax)
	jne return_user_work
	cmpl $0, %gs:preempt_word
	je return_user_work
return_user_iret:
	movq RIP(%rsp), %rax
	shlq $16, %rax
	sarq $16, %rax
	cmpq RIP(%rsp), %rax
	jne return_user_bad
	POP_REGS
	addq $8, %rsp
	swapgs
	iretq
return_user_bad:
	movq %rsp, %rdi
	call trap_bad_return
	jmp return_user

/* ctx_enter_user(): from a thread that has just been made into a program's. */
	.globl ctx_enter_user
ctx_enter_user:
	cli
	movq %gs:cpu_tss + TSS_RSP0, %rsp
	subq $REGS_SIZE, %rsp
	jmp return_user

/* A new thread: prev in rax by ctx_switch, its entry function in rbx's place. */
	.globl ctx_thread_start
ctx_thread_start:
	popq %rbp
	popq %rbx
	movq %rax, %rdi
	xorl %ebp, %ebp
	pushq $0
	call *%rbx
	ud2

/* ---- exceptions and interrupts ----------------------------------------------------------------- */
/* 256 stubs of 16 bytes: the vector on the stack, above the error code where the CPU gives none. */
	.balign 16
	.globl vector_stubs
vector_stubs:
vector = 0
.rept 256
	.balign 16
.if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
	pushq $vector
	jmp exception_common
.elseif vector < 32
	pushq $0
	pushq $vector
	jmp exception_common
.else
	pushq $-1 - vector
	jmp interrupt_common
.endif
vector = vector + 1
.endr

	.balign 16
interrupt_common:
	cld
	PUSH_REGS
	CLAC
	SWAPGS_IF_USER
	movq ORIG_RAX(%rsp), %rsi
	notq %rsi
	xorl %ebp, %ebp
	testb $3, CS(%rsp)
	cmovzq RBP(%rsp), %rbp
	movq %rsp, %rdi
	HOOKED_CALL trap_interrupt
	testb $3, CS(%rsp)
	jnz return_user
	/* Kernel mode: the one place where the kernel itself is preempted. */
	cmpl $0, %gs:preempt_word
	jne return_kernel
	HOOKED_CALL sched_preempt_irq
return_kernel:
	POP_REGS
	addq $8, %rsp
	iretq

	.balign 16
exception_common:
	cld
	/* The vector lies where rdi is to be pushed: exchange them. */
	xchgq %rdi, (%rsp)
	pushq %rsi
	pushq %rdx
	pushq %rcx
	pushq %rax
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	CLAC
	SWAPGS_IF_USER
	xorl %ebp, %ebp
	testb $3, CS(%rsp)
	cmovzq RBP(%rsp), %rbp
	movl %edi, %esi
	movq %rsp, %rdi
	HOOKED_CALL trap_exception
	.globl exception_done
exception_done:
	testb $3, CS(%rsp)
	jnz return_user
	testl $0x200, RFLAGS(%rsp) /* not inside a section with interrupts off */
	jz return_kernel
	cmpl $0, %gs:preempt_word
	jne return_kernel
	HOOKED_CALL sched_preempt_irq
	jmp return_kernel

/* ---- NMI, double fault, machine check ------------------------------------------------------------ */
.macro PARANOID name, vector, error
	.globl \name
	.balign 16
\name:
.if \error == 0
	pushq $0
.endif
	cld
	PUSH_REGS
	CLAC
	movl $MSR_GS_BASE, %ecx
	rdmsr
	movl %eax, %r12d
	movl %edx, %r13d
	movl REGS_SIZE(%rsp), %eax
	movl REGS_SIZE + 4(%rsp), %edx
	wrmsr
	movq %rsp, %rdi
	movl $\vector, %esi
	call trap_paranoid
	movl $MSR_GS_BASE, %ecx
	movl %r12d, %eax
	movl %r13d, %edx
	wrmsr
	POP_REGS
	addq $8, %rsp
	iretq
.endm

PARANOID entry_double_fault, 8, 1
PARANOID entry_nmi, 2, 0
PARANOID entry_machine_check, 18, 0

	.section .percpu, "aw"
	.balign 8
entry_user_rsp: .quad 0

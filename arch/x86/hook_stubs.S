/*
 * What HOOK_LATENCY puts in the place of CLI, STI, and the changes of preempt_word (and HOOK_TRACE in
 * that of a load of CR3): the same effect,
 * and a call of the observer on each change that counts. All registers are kept, and the flags that
 * the replaced instruction leaves. The observers run with interrupts off and see none of their own
 * changes: a flag that is clear already, a count above one, are no change.
 */
#include "machine/memlayout.h"
#include "offsets.h"

#define IF 0x200

/* Calls fn(return address of the stub, frame pointer); depth: bytes on the stack above that address. */
.macro OBSERVE fn, depth
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	movq 72 + \depth(%rsp), %rdi
	movq %rbp, %rsi
	call \fn
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rax
.endm

	.section .text.hook, "ax"

	.globl hook_stub_cli
hook_stub_cli:
	pushfq
	testl $IF, (%rsp)
	jz 1f
	cli
	OBSERVE hook_irqs_off, 8
	andl $~IF, (%rsp)
1:	popfq
	ret

	.globl hook_stub_sti
hook_stub_sti:
	pushfq
	testl $IF, (%rsp)
	jnz 1f
	OBSERVE hook_irqs_on, 8
	popfq
	sti
	ret
1:	popfq
	ret

	.globl hook_stub_preempt_inc
hook_stub_preempt_inc:
	pushfq
	cli
	pushq %rax
	movl %gs:preempt_word, %eax
	incl %eax
	movl %eax, %gs:preempt_word
	andl $0x7fffffff, %eax
	cmpl $1, %eax
	popq %rax
	jne 1f
	OBSERVE hook_preempt_off, 8
1:	popfq
	ret

/*
 * HOOK_EVENT, around a system call: in the place of the comparison of its number, and of the store of
 * its result. The struct regs lies above the return address; interrupts are on.
 */
	.globl hook_stub_syscall_enter
hook_stub_syscall_enter:
	pushq %rax
	pushq %rdi
	pushq %rsi
	pushq %rdx
	pushq %rcx
	pushq %r8
	pushq %r9
	leaq 64(%rsp), %rdi
	call hook_syscall_enter
	popq %r9
	popq %r8
	popq %rcx
	popq %rdx
	popq %rsi
	popq %rdi
	popq %rax
	cmpq syscall_count, %rax
	ret

	.globl hook_stub_syscall_exit
hook_stub_syscall_exit:
	movq %rax, 8 + RAX(%rsp)
	pushq %rax
	leaq 16(%rsp), %rdi
	call hook_syscall_exit
	popq %rax
	ret

/* HOOK_TRACE, in the place of MOV to CR3 from rax, interrupts off. */
	.globl hook_stub_cr3
hook_stub_cr3:
	movq %rax, %cr3
	pushfq
	pushq %rbp
	movq %rax, %rbp
	OBSERVE hook_cr3, 16
	popq %rbp
	popfq
	ret

/* The zero flag is the result. */
	.globl hook_stub_preempt_dec
hook_stub_preempt_dec:
	pushfq
	cli
	pushq %rax
	movl %gs:preempt_word, %eax
	andl $0x7fffffff, %eax
	cmpl $1, %eax
	popq %rax
	jne 1f
	OBSERVE hook_preempt_on, 8
1:	popfq
	decl %gs:preempt_word
	ret

/* HOOK_STEP, in the place of STI: TF comes with IF, if that is wanted. The next stop is behind the POP. */
	.globl hook_stub_step
hook_stub_step:
	pushq %rax
	movq step_flags, %rax
	pushfq
	orq %rax, (%rsp)
	popfq
	popq %rax
	ret

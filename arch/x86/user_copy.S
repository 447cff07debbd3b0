/*
 * Copies between the kernel and a program. STAC opens the SMAP window, CLAC closes it; both are
 * three-byte NOPs until uaccess_patch() finds SMAP. A fault in an instruction that .ex_table names
 * goes to vm_fault first, and if that fails continues at the fix-up.
 */
#include "machine/memlayout.h"

.macro SMAP_SITE what
	.pushsection .smap_sites, "a"
	.long 771f - KERNEL_BASE, \what
	.popsection
771:	.byte 0x0f, 0x1f, 0x00
.endm
#define CLAC SMAP_SITE 0
#define STAC SMAP_SITE 1

.macro EX at, fixup
	.pushsection .ex_table, "a"
	.long \at - KERNEL_BASE, \fixup - KERNEL_BASE
	.popsection
.endm

	.text
/*
 * size_t user_copy(dst rdi, src rsi, n rdx), called by assembly (machine/uaccess.h): changes those, rcx and
 * rax. What is small, or a word, is moved without the start of a second string instruction.
 */
	.globl user_copy
	.balign 16
user_copy:
	STAC
	cmpq $8, %rdx
	jb 5f
	je 6f
	movq %rdx, %rcx
	shrq $3, %rcx
	andl $7, %edx
1:	rep movsq
	movl %edx, %ecx
2:	rep movsb
	CLAC
	movq %rcx, %rax
	ret
3:	leaq (%rdx, %rcx, 8), %rcx /* the rest bytewise, up to the very byte that faults */
	jmp 2b
4:	CLAC
	movq %rcx, %rax
	ret
5:	movl %edx, %ecx
	jmp 2b
6:	movq (%rsi), %rax
7:	movq %rax, (%rdi)
	CLAC
	xorl %eax, %eax
	ret
8:	movl %edx, %ecx /* as above, bytewise */
	jmp 2b
	EX 1b, 3b
	EX 2b, 4b
	EX 6b, 8b
	EX 7b, 8b

/* size_t user_clear(dst rdi, n rsi) */
	.globl user_clear
	.balign 16
user_clear:
	STAC
	movq %rsi, %rcx
	movl %esi, %edx
	shrq $3, %rcx
	andl $7, %edx
	xorl %eax, %eax
1:	rep stosq
	movl %edx, %ecx
2:	rep stosb
	CLAC
	movq %rcx, %rax
	ret
3:	leaq (%rdx, %rcx, 8), %rcx /* the rest bytewise, up to the very byte that faults */
	jmp 2b
4:	CLAC
	movq %rcx, %rax
	ret
	EX 1b, 3b
	EX 2b, 4b

/* ssize_t user_strncpy(dst rdi, src rsi, n rdx) */
	.globl user_strncpy
	.balign 16
user_strncpy:
	STAC
	xorl %eax, %eax
1:	cmpq %rdx, %rax
	jae 3f
2:	movb (%rsi, %rax), %cl
	movb %cl, (%rdi, %rax)
	testb %cl, %cl
	jz 3f
	incq %rax
	jmp 1b
3:	CLAC
	ret
4:	CLAC
	movq $-1, %rax
	ret
	EX 2b, 4b

/* int user_compare_exchange(u32 *at rdi, u32 *old rsi, u32 new edx) */
	.globl user_compare_exchange
	.balign 16
user_compare_exchange:
	STAC
	movl (%rsi), %eax
1:	lock cmpxchgl %edx, (%rdi)
	CLAC
	movl %eax, (%rsi)
	xorl %eax, %eax
	ret
2:	CLAC
	movl $-1, %eax
	ret
	EX 1b, 2b

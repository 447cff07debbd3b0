/*
 * From the boot loader to C. Both protocols enter in 32-bit protected mode, paging off, with a
 * pointer in ebx: PVH (a hypervisor's `-kernel`, found by the ELF note) to struct hvm_start_info,
 * Multiboot2 (GRUB) to its tags, with its magic number in eax.
 *
 * The first page tables map the lowest 4 GiB three times with 2 MiB pages: at 0 (for the few
 * instructions until the jump), at DIRECT_MAP, and its first GiB at KERNEL_BASE. mm/kmap.c
 * replaces them.
 */
#include "machine/memlayout.h"
#include "offsets.h"

#define PHYS(sym) ((sym) - KERNEL_BASE)

#define MB2_MAGIC        0xe85250d6
#define PVH_BOOT         0
#define CR0_PE_WP_PG     0x80010001
#define CR4_PAE          0x20
#define MSR_EFER         0xc0000080
#define EFER_SCE_LME_NXE 0x901
#define MSR_GS_BASE      0xc0000101

/* ---- Multiboot2 header (Multiboot2 specification, 3.1) ---- */
	.section .multiboot2, "a"
	.balign 8
mb2_header:
	.long MB2_MAGIC, 0, mb2_end - mb2_header
	.long -(MB2_MAGIC + 0 + (mb2_end - mb2_header))
	.balign 8
	.word 3, 0 /* entry address: the ELF's own is virtual */
	.long 12, PHYS(boot_entry)
	.balign 8
	.word 5, 1 /* framebuffer: welcome, not required */
	.long 20, 0, 0, 32
	.balign 8
	.word 6, 0 /* modules page-aligned */
	.long 8
	.balign 8
	.word 0, 0
	.long 8
mb2_end:

/* ---- PVH: XEN_ELFNOTE_PHYS32_ENTRY ---- */
	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, 18
	.asciz "Xen"
	.long PHYS(pvh_entry)

	.section .boot.text, "ax"
	.code32
pvh_entry:
	xorl %eax, %eax /* PVH_BOOT */
	.globl boot_entry
boot_entry:
	cld
	cli
	movl %eax, %ebp
	movl %ebx, %esi

	/* Page directories: 2048 entries of 2 MiB, present, writable, large. */
	movl $PHYS(boot_pd), %edi
	movl $0x83, %eax
	xorl %edx, %edx
1:	movl %eax, (%edi)
	movl %edx, 4(%edi)
	addl $0x200000, %eax
	addl $8, %edi
	cmpl $PHYS(boot_pd) + 4 * 4096, %edi
	jb 1b

	movl $PHYS(boot_pdpt_low), %edi
	movl $PHYS(boot_pd) + 3, %eax
	movl $4, %ecx
2:	movl %eax, (%edi)
	addl $4096, %eax
	addl $8, %edi
	loop 2b
	movl $PHYS(boot_pd) + 3, PHYS(boot_pdpt_high) + 510 * 8

	movl $PHYS(boot_pdpt_low) + 3, PHYS(boot_pml4)
	movl $PHYS(boot_pdpt_low) + 3, PHYS(boot_pml4) + 256 * 8
	movl $PHYS(boot_pdpt_high) + 3, PHYS(boot_pml4) + 511 * 8

	movl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $PHYS(boot_pml4), %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_SCE_LME_NXE, %eax
	wrmsr
	movl $CR0_PE_WP_PG, %eax
	movl %eax, %cr0
	lgdt PHYS(boot_gdtr)
	ljmp $0x10, $PHYS(boot_long)

	.code64
boot_long:
	movabsq $boot_high, %rax
	jmp *%rax
boot_high:
	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	movl $0x18, %eax
	movl %eax, %ss
	movq $boot_stack_top, %rsp
	movl $MSR_GS_BASE, %ecx
	movq $__percpu_load, %rax
	movq %rax, %rdx
	shrq $32, %rdx
	wrmsr
	movl %ebp, %edi
	movl %esi, %esi
	xorl %ebp, %ebp
	pushq $0
	call boot_main
	ud2

/*
 * Every other processor. It wakes in real mode at the start of a page below 1 MiB, into which
 * arch/x86/smp.c has copied ap_trampoline, and comes the same way as the first one by the boot
 * tables, which nobody writes.
 *
 * Then it takes the one thing that tells it who it is: the address of its struct ap_start, by an
 * exchange with zero. Whoever finds zero was given up, or was not asked: it halts for good.
 */
	.code16
	.globl ap_trampoline, ap_trampoline_end
ap_trampoline:
	cli
	cld
	movw %cs, %ax
	movw %ax, %ds
	lgdtl ap_gdtr - ap_trampoline
	movl $1, %eax /* PE; the caches on */
	movl %eax, %cr0
	ljmpl $0x08, $PHYS(ap_protected)
	.balign 4
ap_gdtr:
	.word 31
	.long PHYS(boot_gdt)
ap_trampoline_end:

	.code32
ap_protected:
	movl $0x18, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $PHYS(boot_pml4), %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_SCE_LME_NXE, %eax
	wrmsr
	movl $CR0_PE_WP_PG, %eax
	movl %eax, %cr0
	ljmp $0x10, $PHYS(ap_long)

	.code64
ap_long:
	movabsq $ap_high, %rax
	jmp *%rax
ap_high:
	xorl %eax, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %fs
	movl %eax, %gs
	xchgq %rax, ap_token
	testq %rax, %rax
	jz ap_halt
	movq AP_CR3(%rax), %rcx /* the struct may lie where only the kernel's own table reaches */
	movq %rcx, %cr3
	movq AP_STACK(%rax), %rsp
	movq %rax, %rdi
	movl $MSR_GS_BASE, %ecx
	movq AP_PERCPU(%rdi), %rax
	movq %rax, %rdx
	shrq $32, %rdx
	wrmsr
	xorl %ebp, %ebp
	pushq $0
	call ap_main
ap_halt:
	cli
	hlt
	jmp ap_halt

	.section .rodata
	.balign 8
boot_gdt:
	.quad 0
	.quad 0x00cf9b000000ffff /* 0x08: 32-bit code, for the other processors */
	.quad 0x00af9b000000ffff /* 0x10: 64-bit code */
	.quad 0x00cf93000000ffff /* 0x18: data */
boot_gdtr:
	.word . - boot_gdt - 1
	.long PHYS(boot_gdt)

	.bss
	.balign 4096
boot_pml4:	.skip 4096
boot_pdpt_low:	.skip 4096
boot_pdpt_high:	.skip 4096
boot_pd:	.skip 4 * 4096
	.globl boot_stack_guard, boot_stack_top
boot_stack_guard: .skip 4096 /* unmapped by arch_late_init */
	.skip 16384
boot_stack_top:

/*
 * The numbers that assembly needs, as the compiler lays them out: the Makefile compiles this file
 * to assembly and turns the @offset lines into build/gen/offsets.h.
 */
#include "arch/api/ctx.h"
#include "arch/x86/desc.h"
#include "arch/x86/smp.h"
#include "lib/uapi/errno.h"
#include "machine/memlayout.h"
#include "machine/regs.h"

#define OFFSET(name, value) __asm__ volatile("/* @offset " #name " %0 */" : : "i"(value))

void offsets(void);

void offsets(void)
{
	OFFSET(RBP, offsetof(struct regs, rbp));
	OFFSET(R11, offsetof(struct regs, r11));
	OFFSET(ORIG_RAX, offsetof(struct regs, orig_rax));
	OFFSET(RIP, offsetof(struct regs, rip));
	OFFSET(CS, offsetof(struct regs, cs));
	OFFSET(RFLAGS, offsetof(struct regs, rflags));
	OFFSET(RAX, offsetof(struct regs, rax));
	OFFSET(REGS_SIZE, sizeof(struct regs));
	OFFSET(TSS_RSP0, offsetof(struct tss, rsp));
	OFFSET(AP_CR3, offsetof(struct ap_start, cr3));
	OFFSET(AP_STACK, offsetof(struct ap_start, stack_top));
	OFFSET(AP_PERCPU, offsetof(struct ap_start, percpu));
	OFFSET(ERESTART_FIRST, ERESTARTSYS);
	OFFSET(ERESTART_LAST, ERESTART_RESTARTBLOCK);
	OFFSET(THREAD_WORK, sizeof(struct arch_thread));
}

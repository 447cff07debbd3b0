/*
 * What the entry code saves, lowest address first: the callee-saved registers, the rest, the error
 * code (exceptions), the call's number (system calls) or -1-vector (interrupts), and the CPU's own
 * frame. The order is that of Linux's pt_regs.
 */
#pragma once

#define ARCH_REGS_OFFSET 168 /* sizeof(struct regs), checked in trap.c */

struct regs {
	u64 r15, r14, r13, r12, rbp, rbx;
	u64 r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi;
	u64 orig_rax; /* system call number, error code, or -1-vector */
	u64 rip, cs, rflags, rsp, ss;
};

#define KERNEL_CS 0x10
#define KERNEL_DS 0x18
#define USER_DS   0x2b
#define USER_CS   0x33

static inline u64 regs_pc(const struct regs *r)
{
	return r->rip;
}

static inline u64 regs_sp(const struct regs *r)
{
	return r->rsp;
}

static inline u64 regs_syscall_nr(const struct regs *r)
{
	return r->orig_rax;
}

static inline u64 regs_syscall_arg(const struct regs *r, unsigned n)
{
	switch (n) {
	case 0: return r->rdi;
	case 1: return r->rsi;
	case 2: return r->rdx;
	case 3: return r->r10;
	case 4: return r->r8;
	default: return r->r9;
	}
}

static inline u64 regs_return(const struct regs *r)
{
	return r->rax;
}

static inline void regs_set_return(struct regs *r, s64 value)
{
	r->rax = (u64)value;
}

static inline bool regs_from_user(const struct regs *r)
{
	return r->cs & 3;
}

static inline void regs_set_sp(struct regs *r, u64 sp)
{
	r->rsp = sp;
}

static inline void regs_init_user(struct regs *r, u64 pc, u64 sp)
{
	*r = (struct regs){ .rip = pc,
			    .cs = USER_CS,
			    .rflags = 0x202,
			    .rsp = sp,
			    .ss = USER_DS,
			    .orig_rax = (u64)-1 };
}

/* SYSCALL is two bytes long; the number is back in rax as the program had it. */
static inline void regs_restart_syscall(struct regs *r)
{
	r->rax = r->orig_rax;
	r->rip -= 2;
}

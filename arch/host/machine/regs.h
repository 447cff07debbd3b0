/* The host runs no programs; the tests of mm and sched need the names only. */
#pragma once

#define ARCH_REGS_OFFSET 64

struct regs {
	u64 pc, sp;
};

static inline bool regs_from_user(const struct regs *r)
{
	return r->pc < (1ul << 47);
}

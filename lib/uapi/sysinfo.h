/* sysinfo(2). */
#pragma once

#include "lib/types.h"

struct linux_sysinfo {
	s64 uptime;   /* seconds */
	u64 loads[3]; /* fixed point, 16 bits of fraction */
	u64 totalram, freeram, sharedram, bufferram, totalswap, freeswap;
	u16 procs, pad;
	u32 pad2;
	u64 totalhigh, freehigh;
	u32 mem_unit;
	u32 pad3;
};
_Static_assert(sizeof(struct linux_sysinfo) == 112, "struct sysinfo");

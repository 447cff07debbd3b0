/* CPUID, read once at boot into a table of the features that the kernel asks for. */
#pragma once

#include "lib/types.h"

struct cpu_features {
	bool pge, pcid, invpcid, smep, smap, umip, fsgsbase, gb_pages, nx, la57, pku;
	bool xsave, xsaveopt, xsavec, xsaves;
	bool x2apic, tsc_deadline, tsc_invariant, rdtscp, apic, erms, arat, hypervisor, rdrand;
	u32 phys_bits;
	u32 max_leaf, max_ext_leaf;
	char vendor[13];
	char brand[49];
	char hv_vendor[13]; /* "TCGTCGTCGTCG", "KVMKVMKVM", "" ... */
};

extern struct cpu_features cpu_has; /* [I] after cpu_features_init */

void cpu_features_init(void);

static inline void cpuid(u32 leaf, u32 sub, u32 out[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
			 : "a"(leaf), "c"(sub));
}

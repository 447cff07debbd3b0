/* The machine's part of /proc/cpuinfo, in Linux's words. */
#include "arch/api/cpu.h"

#include "arch/x86/cpuid.h"

struct flag {
	const bool *has;
	const char *name;
};

void cpu_describe(struct textbuf *t)
{
	static const struct flag flag[] = {
		{ &cpu_has.apic, "apic" },
		{ &cpu_has.pge, "pge" },
		{ &cpu_has.nx, "nx" },
		{ &cpu_has.gb_pages, "pdpe1gb" },
		{ &cpu_has.rdtscp, "rdtscp" },
		{ &cpu_has.tsc_invariant, "constant_tsc" },
		{ &cpu_has.pcid, "pcid" },
		{ &cpu_has.x2apic, "x2apic" },
		{ &cpu_has.tsc_deadline, "tsc_deadline_timer" },
		{ &cpu_has.xsave, "xsave" },
		{ &cpu_has.rdrand, "rdrand" },
		{ &cpu_has.hypervisor, "hypervisor" },
		{ &cpu_has.fsgsbase, "fsgsbase" },
		{ &cpu_has.smep, "smep" },
		{ &cpu_has.erms, "erms" },
		{ &cpu_has.invpcid, "invpcid" },
		{ &cpu_has.smap, "smap" },
		{ &cpu_has.xsaveopt, "xsaveopt" },
		{ &cpu_has.xsavec, "xsavec" },
		{ &cpu_has.xsaves, "xsaves" },
		{ &cpu_has.arat, "arat" },
		{ &cpu_has.umip, "umip" },
		{ &cpu_has.pku, "pku" },
		{ &cpu_has.la57, "la57" },
	};

	textbuf_printf(t, "vendor_id\t: %s\nmodel name\t: %s\n", cpu_has.vendor, cpu_has.brand);
	textbuf_printf(t, "flags\t\t: fpu tsc msr pae cx8 cmov fxsr sse sse2 syscall lm");
	for (u32 i = 0; i < ARRAY_SIZE(flag); i++)
		if (*flag[i].has)
			textbuf_printf(t, " %s", flag[i].name);
	textbuf_printf(t, "\naddress sizes\t: %u bits physical, 48 bits virtual\n",
		       cpu_has.phys_bits);
}

/*
 * What the CPU can do, asked once (Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E). A leaf
 * is read only when the CPU says that it has it: Intel CPUs answer an unknown basic leaf with
 * the data of the highest one.
 */
#include "cpuid.h"

#include "lib/string.h"

struct cpu_features cpu_has;

enum { EAX, EBX, ECX, EDX };

static inline bool bit(u32 word, unsigned n)
{
	return word >> n & 1;
}

static void put_regs(char *dst, u32 a, u32 b, u32 c)
{
	const u32 words[3] = { a, b, c };

	memcpy(dst, words, sizeof(words));
}

static void read_basic(struct cpu_features *f)
{
	u32 r[4];

	cpuid(0, 0, r);
	f->max_leaf = r[EAX];
	put_regs(f->vendor, r[EBX], r[EDX], r[ECX]);

	cpuid(1, 0, r);
	f->pcid = bit(r[ECX], 17);
	f->x2apic = bit(r[ECX], 21);
	f->tsc_deadline = bit(r[ECX], 24);
	f->xsave = bit(r[ECX], 26);
	f->rdrand = bit(r[ECX], 30);
	f->hypervisor = bit(r[ECX], 31);
	f->apic = bit(r[EDX], 9);
	f->pge = bit(r[EDX], 13);

	if (f->max_leaf >= 6) {
		cpuid(6, 0, r);
		f->arat = bit(r[EAX], 2);
	}
	if (f->max_leaf >= 7) {
		cpuid(7, 0, r);
		f->fsgsbase = bit(r[EBX], 0);
		f->smep = bit(r[EBX], 7);
		f->erms = bit(r[EBX], 9);
		f->invpcid = bit(r[EBX], 10);
		f->smap = bit(r[EBX], 20);
		f->umip = bit(r[ECX], 2);
		f->pku = bit(r[ECX], 3);
		f->la57 = bit(r[ECX], 16);
	}
	if (f->xsave && f->max_leaf >= 0xd) {
		cpuid(0xd, 1, r);
		f->xsaveopt = bit(r[EAX], 0);
		f->xsavec = bit(r[EAX], 1);
		f->xsaves = bit(r[EAX], 3);
	}
}

static void read_extended(struct cpu_features *f)
{
	u32 r[4];

	f->phys_bits = 36; /* what a CPU without the leaf has */
	cpuid(0x80000000u, 0, r);
	f->max_ext_leaf = r[EAX];
	if (f->max_ext_leaf >= 0x80000001u) {
		cpuid(0x80000001u, 0, r);
		f->nx = bit(r[EDX], 20);
		f->gb_pages = bit(r[EDX], 26);
		f->rdtscp = bit(r[EDX], 27);
	}
	if (f->max_ext_leaf >= 0x80000004u) {
		for (u32 i = 0; i < 3; i++) {
			cpuid(0x80000002u + i, 0, r);
			memcpy(f->brand + 16 * i, r, 16);
		}
	}
	if (f->max_ext_leaf >= 0x80000007u) {
		cpuid(0x80000007u, 0, r);
		f->tsc_invariant = bit(r[EDX], 8);
	}
	if (f->max_ext_leaf >= 0x80000008u) {
		cpuid(0x80000008u, 0, r);
		f->phys_bits = r[EAX] & 0xff;
	}
}

void cpu_features_init(void)
{
	struct cpu_features *f = &cpu_has;
	u32 r[4];

	read_basic(f);
	read_extended(f);
	if (f->hypervisor) {
		cpuid(0x40000000u, 0, r);
		put_regs(f->hv_vendor, r[EBX], r[ECX], r[EDX]);
	}
}

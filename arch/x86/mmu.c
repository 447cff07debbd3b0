/*
 * The x86 memory management unit: control registers, CR3 with process-context identifiers (PCID),
 * and the instructions that forget translations.
 *
 * Contexts. Without PCID there is one, and every load of CR3 forgets all but global translations.
 * With PCID context n is PCID n + 1; PCID 0 stays free for the boot tables. Bit 63 of the value
 * loaded keeps the PCID's translations (Intel SDM volume 3, section 4.10.4.1).
 *
 * Each bit of CR4 is set only after CPUID has promised it: a reserved bit is a #GP on silicon, and
 * an endless loop in QEMU's emulation.
 */
#include "arch/api/mmu.h"

#include "arch/x86/cpuid.h"
#include "arch/api/cpu.h"
#include "arch/api/hook.h"
#include "arch/api/io.h"
#include "arch/api/percpu.h"
#include "lib/kassert.h"
#include "machine/memlayout.h"
#include "mm/kmap.h"

#define CR0_WP      (1ul << 16)
#define CR4_PGE     (1ul << 7)
#define CR4_UMIP    (1ul << 11)
#define CR4_PCIDE   (1ul << 17)
#define CR4_SMEP    (1ul << 20)
#define CR4_SMAP    (1ul << 21)
#define CR3_NOFLUSH (1ul << 63)
#define CR3_ADDR    0x000ffffffffff000ul

#define MSR_EFER 0xc0000080u
#define EFER_NXE (1ul << 11)
#define MSR_PAT  0x277u

/* Entries 0-3 as after reset (WB, WT, UC-, UC), 4 write combining, 5-7 as after reset. */
#define PAT_VALUE 0x0007040100070406ul

void (*mmu_shootdown)(const u64 *cpu_mask, void (*fn)(void *arg), void *arg);

static u64 read_cr0(void)
{
	u64 v;

	__asm__ volatile("movq %%cr0, %0" : "=r"(v) : : "memory");
	return v;
}

static void write_cr0(u64 v)
{
	__asm__ volatile("movq %0, %%cr0" : : "r"(v) : "memory");
}

static inline u64 read_cr3(void)
{
	u64 v;

	__asm__ volatile("movq %%cr3, %0" : "=r"(v) : : "memory");
	return v;
}

static inline void write_cr3(u64 v)
{
	__asm__ volatile("movq %0, %%cr3" : : "r"(v) : "memory");
}

static u64 read_cr4(void)
{
	u64 v;

	__asm__ volatile("movq %%cr4, %0" : "=r"(v) : : "memory");
	return v;
}

static void write_cr4(u64 v)
{
	__asm__ volatile("movq %0, %%cr4" : : "r"(v) : "memory");
}

unsigned mmu_context_count = 1;

void mmu_cpu_init(void)
{
	u64 cr4 = read_cr4();

	if (!cpu_has.nx)
		panic("this processor has no NX bit in its page tables");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	wrmsr(MSR_PAT, PAT_VALUE);
	write_cr0(read_cr0() | CR0_WP);
	if (cpu_has.pge)
		cr4 |= CR4_PGE;
	if (cpu_has.smep)
		cr4 |= CR4_SMEP;
	if (cpu_has.smap)
		cr4 |= CR4_SMAP;
	if (cpu_has.umip)
		cr4 |= CR4_UMIP;
	write_cr4(cr4);
	/* PCIDE may be set only while CR3's low bits are zero. */
	if (cpu_has.pcid && cpu_has.pge) {
		write_cr3(read_cr3() & CR3_ADDR);
		write_cr4(cr4 | CR4_PCIDE);
		mmu_context_count = MMU_MAX_CONTEXTS;
	}
}

unsigned mmu_max_leaf_level(void)
{
	return cpu_has.gb_pages ? 3 : 2;
}

void mmu_load_root(paddr_t root, unsigned context, bool keep)
{
	u64 cr3 = root.v;

	if (mmu_context_count > 1)
		cr3 |= (context + 1) | (keep ? CR3_NOFLUSH : 0);
	/* The MOV to CR3, with two prefixes without a meaning: five bytes, for the trace. */
	__asm__ volatile(
		HOOK_INSN_CLASS(".byte 0x3e, 0x3e; movq %%rax, %%cr3", "hook_stub_cr3", "1")
		:
		: "a"(cr3)
		: "memory");
}

paddr_t mmu_current_root(void)
{
	return PADDR(read_cr3() & CR3_ADDR);
}

void mmu_flush_page(u64 va)
{
	__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

/* Bit 63 reads as zero, so this forgets the current PCID's translations. */
void mmu_flush_context(void)
{
	write_cr3(read_cr3());
}

/* A change of CR4.PGE forgets everything under all PCIDs (SDM volume 3, 4.10.4.1). */
void mmu_flush_all(void)
{
	u64 flags = irq_save();
	u64 cr4 = read_cr4();

	if (cr4 & CR4_PGE) {
		write_cr4(cr4 & ~CR4_PGE);
		write_cr4(cr4);
	} else {
		write_cr3(read_cr3());
	}
	irq_restore(flags);
}

/* From arch/x86/kernel.ld: page aligned, linked at KERNEL_BASE + physical address. */
extern char __text_start[], __text_end[], __rodata_start[], __rodata_end[], __data_start[],
	__bss_end[];

static struct kernel_section section(char *start, char *end, unsigned flags)
{
	return (struct kernel_section){ (u64)start, (u64)end, PADDR((u64)start - KERNEL_BASE),
					flags };
}

const struct kernel_section *mmu_kernel_sections(void)
{
	static struct kernel_section sections[4];

	sections[0] = section(__text_start, __text_end, KMAP_EXEC);
	sections[1] = section(__rodata_start, __rodata_end, 0);
	sections[2] = section(__data_start, __bss_end, KMAP_WRITE);
	return sections;
}

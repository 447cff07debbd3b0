/*
 * GDT, TSS, IDT and the SYSCALL registers of a CPU. The selectors are Linux's (programs see CS and
 * SS in signal frames): kernel 0x10 and 0x18, user data 0x2b, user code 0x33. SYSRET wants user data
 * and 64-bit code 8 and 16 behind the base that STAR holds (AMD manual vol. 2, 6.1.1).
 *
 * All interrupt gates clear IF. User mode may use the gates of #BP and #OF only.
 */
#include "arch/x86/desc.h"

#include "arch/api/percpu.h"
#include "arch/x86/entry.h"
#include "lib/kassert.h"
#include "machine/io.h"
#include "machine/regs.h"

#define MSR_EFER   0xc0000080
#define MSR_STAR   0xc0000081
#define MSR_LSTAR  0xc0000082
#define MSR_CSTAR  0xc0000083
#define MSR_SFMASK 0xc0000084
#define EFER_SCE   1ul

#define GDT_TSS 0x40

/* IF, DF, TF, AC, NT, RF and IOPL are cleared on entry. */
#define SYSCALL_FLAGS_MASK 0x00057700ul

struct idt_gate {
	u16 offset_low, selector;
	u8 ist, type;
	u16 offset_mid;
	u32 offset_high, reserved;
};

struct descriptor_ptr {
	u16 limit;
	u64 base;
} __packed;

DEFINE_PER_CPU(struct tss, cpu_tss)
= { .io_map_base = sizeof(struct tss) };
static DEFINE_PER_CPU(u64, cpu_gdt)
[10] = {
	[KERNEL_CS / 8] = 0x00af9b000000ffff, [KERNEL_DS / 8] = 0x00cf93000000ffff,
	[0x20 / 8] = 0x00cffb000000ffff, /* 32-bit user code: STAR's base, not used */
	[USER_DS / 8] = 0x00cff3000000ffff,   [USER_CS / 8] = 0x00affb000000ffff,
};

static struct idt_gate idt[256]; /* [I] after boot, shared by all CPUs */
static u8 boot_ist_stack[2048] __aligned(16);

static void set_gate(unsigned vector, u64 handler, unsigned dpl, unsigned ist)
{
	idt[vector] = (struct idt_gate){
		.offset_low = (u16)handler,
		.selector = KERNEL_CS,
		.ist = (u8)ist,
		.type = (u8)(0x8e | dpl << 5),
		.offset_mid = (u16)(handler >> 16),
		.offset_high = (u32)(handler >> 32),
	};
}

static void fill_idt(void)
{
	for (unsigned v = 0; v < 256; v++)
		set_gate(v, (u64)vector_stubs + v * VECTOR_STUB_SIZE, 0, 0);
	set_gate(TRAP_BP, (u64)vector_stubs + TRAP_BP * VECTOR_STUB_SIZE, 3, 0);
	set_gate(TRAP_OF, (u64)vector_stubs + TRAP_OF * VECTOR_STUB_SIZE, 3, 0);
	set_gate(TRAP_DF, (u64)entry_double_fault, 0, IST_DOUBLE_FAULT);
	set_gate(TRAP_NMI, (u64)entry_nmi, 0, IST_NMI);
	set_gate(TRAP_MC, (u64)entry_machine_check, 0, IST_MACHINE_CHECK);
}

static void load_gdt(void)
{
	u64 tss = (u64)this_cpu_ptr(&cpu_tss);
	u64 *gdt = *this_cpu_ptr(&cpu_gdt);
	struct descriptor_ptr ptr = { sizeof(cpu_gdt) - 1, (u64)gdt };

	gdt[GDT_TSS / 8] = (sizeof(struct tss) - 1) | (tss & 0xffffff) << 16 | 0x89ul << 40 |
			   (tss >> 24 & 0xff) << 56;
	gdt[GDT_TSS / 8 + 1] = tss >> 32;
	__asm__ volatile("lgdt %0\n\t"
			 "pushq %1\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\tmovw %w2, %%ss\n\t"
			 "ltr %w3\n\t"
			 "lldt %w4"
			 :
			 : "m"(ptr), "i"(KERNEL_CS), "r"(KERNEL_DS), "r"(GDT_TSS), "r"(0)
			 : "rax", "memory");
}

void desc_init_boot(void)
{
	struct descriptor_ptr ptr = { sizeof(idt) - 1, (u64)idt };
	u64 top = (u64)boot_ist_stack + sizeof(boot_ist_stack);

	desc_set_ist((const u64[NR_IST]){ top, top, top });
	load_gdt();
	fill_idt();
	__asm__ volatile("lidt %0" : : "m"(ptr));
	syscall_init();
}

void desc_init_cpu(const u64 ist_top[NR_IST])
{
	struct descriptor_ptr ptr = { sizeof(idt) - 1, (u64)idt };

	desc_set_ist(ist_top);
	load_gdt();
	__asm__ volatile("lidt %0" : : "m"(ptr));
	syscall_init();
}

void desc_set_ist(const u64 top[NR_IST])
{
	struct tss *tss = this_cpu_ptr(&cpu_tss);

	/* The word that the CPU's frame comes to lie under is this CPU's GS base: entry.S, PARANOID. */
	for (unsigned i = 0; i < NR_IST; i++) {
		u64 *word = (u64 *)(ALIGN_DOWN(top[i], 16) - 16);

		*word = this_cpu_read(percpu_self);
		tss->ist[i] = (u64)word;
	}
}

void syscall_init(void)
{
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
	wrmsr(MSR_STAR, 0x23ull << 48 | (u64)KERNEL_CS << 32);
	wrmsr(MSR_LSTAR, (u64)entry_syscall);
	wrmsr(MSR_CSTAR, (u64)entry_syscall32);
	wrmsr(MSR_SFMASK, SYSCALL_FLAGS_MASK);
}

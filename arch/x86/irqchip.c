/*
 * Interrupt lines over the controllers at hand. Two modes, chosen once at boot:
 *
 *	IOAPIC	line n below 16 is ISA line n and reaches the GSI that the MADT's override names
 *		(line 0 is GSI 2 on almost every PC); a line from 16 up is the GSI of that number.
 *		A GSI has vector VEC_IOAPIC + GSI. The 8259s are masked, but stay on their vectors:
 *		a spurious interrupt of theirs would otherwise look like an exception.
 *	8259	lines 0 ... 15 on VEC_LEGACY + line. If there is a LAPIC (for its timer), its pin
 *		LINT0 passes the 8259's interrupts through, and they are ended at the 8259s only.
 *
 * All lines go to the first CPU. The tables are written at boot; claims are pointers, set before
 * the line is unmasked.
 */
#include "irqchip.h"

#include "acpi.h"
#include "arch/api/irq.h"
#include "arch/api/percpu.h"
#include "arch/api/upcall.h"
#include "ioapic.h"
#include "ipi.h"
#include "lapic.h"
#include "lib/cmdline.h"
#include "lib/err.h"
#include "lib/klog.h"
#include "pic.h"
#include "vectors.h"

CMDLINE_OPTION("pic", pic_option, "8259: use the 8259s even where there is an IOAPIC");

#define ISA_LINES 16
#define NO_LINE   0xffff

static bool use_ioapic;                 /* [I] */
static u32 isa_gsi[ISA_LINES];          /* [I] */
static u16 gsi_line[IOAPIC_MAX_GSI];    /* [I] */
static void (*claims[IRQ_LINES])(void); /* written while the line is masked */
static u64 claim_counts[IRQ_LINES];     /* [cpu 0] */
static u64 stray_count;                 /* vectors that nobody sends */
static DEFINE_PER_CPU(u64, lapic_spurious);

/* ---- setting up ---- */

struct isa_mode {
	bool level, low;
};

/*
 * The 8254's line 0 is wired to pin 2 on every PC since the first IOAPIC, also on machines (QEMU's
 * microvm) whose MADT does not say so. Without an override line 0 therefore listens at both pins:
 * as an ISA line, 2 is the 8259s' cascade, where no device can be.
 */
#define TIMER_PIN 2
static bool line0_has_two_pins; /* [I] */

/* What an override's flags mean for an ISA line: edge, active high, unless they say otherwise. */
static struct isa_mode isa_flags(u16 flags)
{
	return (struct isa_mode){
		.level = (flags & ACPI_TRIGGER_MASK) == ACPI_TRIGGER_LEVEL,
		.low = (flags & ACPI_POLARITY_MASK) == ACPI_POLARITY_LOW,
	};
}

static void route_lines(const struct acpi_madt *m)
{
	struct isa_mode mode[ISA_LINES] = { 0 };
	u8 target = (u8)lapic_id();

	for (u32 gsi = 0; gsi < IOAPIC_MAX_GSI; gsi++)
		gsi_line[gsi] = gsi < ISA_LINES ? NO_LINE : (u16)gsi;
	for (u32 line = 0; line < ISA_LINES; line++)
		isa_gsi[line] = line;
	for (u32 i = 0; i < m->nr_overrides; i++) {
		const struct acpi_override *o = &m->override[i];

		/* The GSI's own ISA line gives way, unless it has an override, too. */
		if (o->gsi < ISA_LINES && o->gsi != o->irq && isa_gsi[o->gsi] == o->gsi)
			isa_gsi[o->gsi] = UINT32_MAX;
		isa_gsi[o->irq] = o->gsi;
		mode[o->irq] = isa_flags(o->flags);
	}
	for (u32 line = 0; line < ISA_LINES; line++) {
		u32 gsi = isa_gsi[line];

		if (!ioapic_serves(gsi))
			continue;
		gsi_line[gsi] = (u16)line;
		ioapic_route(gsi, (u8)(VEC_IOAPIC + gsi), mode[line].level, mode[line].low, target);
	}
	if (isa_gsi[0] == 0 && isa_gsi[TIMER_PIN] == TIMER_PIN && ioapic_serves(TIMER_PIN)) {
		line0_has_two_pins = true;
		gsi_line[TIMER_PIN] = 0;
	}
	/* Beyond ISA: as PCI has it. */
	for (u32 gsi = ISA_LINES; gsi < IOAPIC_MAX_GSI; gsi++)
		if (gsi_line[gsi] == gsi && ioapic_serves(gsi))
			ioapic_route(gsi, (u8)(VEC_IOAPIC + gsi), true, true, target);
}

void irq_arch_init(void)
{
	bool want_8259 = cmdline_is(&pic_option, "8259");

	acpi_init();
	bool has_8259 = pic_init() == 0;
	bool has_lapic = lapic_init() == 0;

	if (want_8259 && !has_8259)
		log_warn("irq: pic=8259: this machine has none\n");
	if (has_lapic && acpi.madt && !(want_8259 && has_8259))
		use_ioapic = ioapic_init(acpi.madt) == 0;
	if (use_ioapic)
		route_lines(acpi.madt);
	else if (has_lapic && has_8259)
		lapic_set_extint(true);
	if (!use_ioapic && !has_8259)
		log_err("irq: no interrupt controller for the lines\n");
	log_info("irq: %s\n", irq_arch_name());
}

bool irqchip_has_ioapic(void)
{
	return use_ioapic;
}

const char *irq_arch_name(void)
{
	if (use_ioapic)
		return lapic_is_x2apic() ? "IOAPIC, x2APIC" : "IOAPIC, xAPIC";
	if (!pic_present())
		return lapic_present() ? "LAPIC only" : "none";
	if (!lapic_present())
		return "8259";
	return lapic_is_x2apic() ? "8259, x2APIC" : "8259, xAPIC";
}

/* ---- lines ---- */

static int set_masked(unsigned line, bool masked)
{
	if (use_ioapic) {
		u32 gsi = line < ISA_LINES ? isa_gsi[line] : line;

		if (!ioapic_serves(gsi) || gsi_line[gsi] != line)
			return -ENODEV;
		ioapic_set_masked(gsi, masked);
		if (line == 0 && line0_has_two_pins)
			ioapic_set_masked(TIMER_PIN, masked);
		return 0;
	}
	if (line >= ISA_LINES || line == 2 || !pic_present())
		return -ENODEV;
	if (masked)
		pic_mask(line);
	else
		pic_unmask(line);
	return 0;
}

int irq_arch_unmask(unsigned line)
{
	return set_masked(line, false);
}

int irq_arch_mask(unsigned line)
{
	return set_masked(line, true);
}

int irqchip_claim(unsigned line, void (*fn)(void))
{
	WRITE_ONCE(claims[line], fn);
	return irq_arch_unmask(line);
}

void irqchip_release(unsigned line)
{
	irq_arch_mask(line);
	WRITE_ONCE(claims[line], NULL);
}

u64 irq_arch_clock_count(unsigned line)
{
	return line < IRQ_LINES ? READ_ONCE(claim_counts[line]) : 0;
}

void irq_arch_spurious(struct irq_spurious *out)
{
	*out = (struct irq_spurious){ .irq7 = pic_spurious7, .irq15 = pic_spurious15 };
	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		out->lapic += *per_cpu_ptr(&lapic_spurious, cpu);
}

/* ---- interrupts ---- */

static void line_interrupt(unsigned line)
{
	void (*claim)(void) = READ_ONCE(claims[line]);

	if (claim) {
		claim_counts[line]++;
		claim();
	} else {
		irq_dispatch(line);
	}
}

static void stray(unsigned vector)
{
	if (stray_count++ == 0)
		log_warn("irq: vector %#x, which nothing sends\n", vector);
}

void x86_irq(unsigned vector)
{
	if (vector == VEC_LAPIC_TIMER) {
		lapic_eoi();
		timer_interrupt();
	} else if (vector >= VEC_IPI_TIMER && vector <= VEC_IPI_CALL) {
		lapic_eoi();
		ipi_interrupt(vector);
	} else if (vector >= VEC_IOAPIC && vector < VEC_IOAPIC_END) {
		unsigned line = gsi_line[vector - VEC_IOAPIC];

		if (use_ioapic && line != NO_LINE)
			line_interrupt(line);
		else
			stray(vector);
		if (lapic_present())
			lapic_eoi();
	} else if (vector >= VEC_LEGACY && vector < VEC_LEGACY + ISA_LINES) {
		unsigned line = vector - VEC_LEGACY;

		if (!pic_accept(line))
			return;
		line_interrupt(line);
		pic_eoi(line);
	} else if (vector == VEC_LAPIC_SPURIOUS) {
		this_cpu_inc(lapic_spurious); /* without an EOI (SDM volume 3, 11.9) */
	} else {
		stray(vector);
		if (lapic_present())
			lapic_eoi();
	}
}

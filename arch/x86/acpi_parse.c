/*
 * Reading ACPI tables. Firmware is not trusted: every length is checked against the bytes at hand
 * before it is used, every field is fetched byte by byte (the tables align nothing), and a table
 * with anything wrong is refused whole. No state, no locks, nothing of the machine.
 */
#include "arch/x86/acpi.h"

#include "lib/string.h"

static u16 get16(const u8 *p)
{
	return (u16)(p[0] | p[1] << 8);
}

static u32 get32(const u8 *p)
{
	return get16(p) | (u32)get16(p + 2) << 16;
}

static u64 get64(const u8 *p)
{
	return get32(p) | (u64)get32(p + 4) << 32;
}

static bool sums_to_zero(const u8 *p, size_t len)
{
	u8 sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (u8)(sum + p[i]);
	return sum == 0;
}

const char *acpi_parse_rsdp(const void *ptr, size_t len, struct acpi_rsdp *out)
{
	const u8 *p = ptr;

	*out = (struct acpi_rsdp){ 0 };
	if (len < 20)
		return "truncated";
	if (memcmp(p, "RSD PTR ", 8) != 0)
		return "bad signature";
	if (!sums_to_zero(p, 20))
		return "bad checksum";
	out->rsdt = get32(p + 16);
	if (p[15] < 2) /* revision: ACPI 1.0 ends here */
		return NULL;
	if (len < 36)
		return "truncated";
	u32 full = get32(p + 20);
	if (full < 36 || full > len)
		return "bad length";
	if (!sums_to_zero(p, full))
		return "bad extended checksum";
	out->xsdt = get64(p + 24);
	return NULL;
}

u32 acpi_table_length(const void *header, const char **why)
{
	u32 len = get32((const u8 *)header + 4);

	*why = NULL;
	if (len >= ACPI_HEADER_LEN && len <= ACPI_MAX_TABLE)
		return len;
	*why = len < ACPI_HEADER_LEN ? "shorter than its header" : "too long";
	return 0;
}

const char *acpi_check_table(const void *ptr, size_t len, const char *signature)
{
	const u8 *p = ptr;
	const char *why;

	if (len < ACPI_HEADER_LEN)
		return "truncated";
	u32 full = acpi_table_length(p, &why);
	if (!full)
		return why;
	if (full > len)
		return "truncated";
	if (signature && memcmp(p, signature, 4) != 0)
		return "bad signature";
	if (!sums_to_zero(p, full))
		return "bad checksum";
	return NULL;
}

u64 acpi_root_entry(const void *ptr, size_t len, u32 i)
{
	const u8 *p = ptr;
	bool wide = memcmp(p, "XSDT", 4) == 0;
	size_t size = wide ? 8 : 4;
	size_t at = ACPI_HEADER_LEN + (size_t)i * size;

	if (at + size > MIN((size_t)get32(p + 4), len))
		return 0;
	return wide ? get64(p + at) : get32(p + at);
}

/* ---- MADT (ACPI 6.4, 5.2.12) ---- */

static void add_cpu(struct acpi_madt *m, u32 apic_id, u32 uid, u32 flags)
{
	if (!(flags & 3)) /* neither enabled nor online capable */
		return;
	/* Firmware lists an id below 255 once as LAPIC or once as x2APIC, but some list both. */
	for (u32 i = 0; i < m->nr_cpus; i++)
		if (m->cpu[i].apic_id == apic_id)
			return;
	if (m->nr_cpus == ACPI_MAX_CPUS) {
		m->dropped++;
		return;
	}
	m->cpu[m->nr_cpus++] = (struct acpi_cpu){ apic_id, uid, flags & 1 };
}

static void add_nmi(struct acpi_madt *m, u32 uid, u16 flags, u8 lint)
{
	if (m->nr_nmis == ACPI_MAX_NMIS || lint > 1) {
		m->dropped++;
		return;
	}
	m->nmi[m->nr_nmis++] = (struct acpi_nmi){ uid, flags, lint };
}

static void add_ioapic(struct acpi_madt *m, const u8 *e)
{
	if (m->nr_ioapics == ACPI_MAX_IOAPICS) {
		m->dropped++;
		return;
	}
	m->ioapic[m->nr_ioapics++] = (struct acpi_ioapic){ .address = get32(e + 4),
							   .gsi_base = get32(e + 8),
							   .id = e[2] };
}

static void add_override(struct acpi_madt *m, const u8 *e)
{
	/* Bus 0 is ISA; nothing else is defined. */
	if (m->nr_overrides == ACPI_MAX_OVERRIDES || e[2] != 0 || e[3] > 15) {
		m->dropped++;
		return;
	}
	m->override[m->nr_overrides++] =
		(struct acpi_override){ .irq = e[3], .flags = get16(e + 8), .gsi = get32(e + 4) };
}

/* The entry types that we read, with the length each must have. */
enum madt_type {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_NMI = 4,
	MADT_LAPIC_ADDRESS = 5,
	MADT_X2APIC = 9,
	MADT_X2APIC_NMI = 10,
	MADT_TYPES,
};
static const u8 madt_entry_len[MADT_TYPES] = {
	[MADT_LAPIC] = 8,          [MADT_IOAPIC] = 12, [MADT_OVERRIDE] = 10,   [MADT_LAPIC_NMI] = 6,
	[MADT_LAPIC_ADDRESS] = 12, [MADT_X2APIC] = 16, [MADT_X2APIC_NMI] = 12,
};

static void madt_entry(struct acpi_madt *m, const u8 *e)
{
	switch (e[0]) {
	case MADT_LAPIC: add_cpu(m, e[3], e[2], get32(e + 4)); break;
	case MADT_X2APIC: add_cpu(m, get32(e + 4), get32(e + 12), get32(e + 8)); break;
	case MADT_IOAPIC: add_ioapic(m, e); break;
	case MADT_OVERRIDE: add_override(m, e); break;
	case MADT_LAPIC_NMI:
		add_nmi(m, e[2] == 0xff ? ACPI_ALL_CPUS : e[2], get16(e + 3), e[5]);
		break;
	case MADT_X2APIC_NMI: add_nmi(m, get32(e + 4), get16(e + 2), e[8]); break;
	case MADT_LAPIC_ADDRESS: m->lapic_address = get64(e + 4); break;
	}
}

const char *acpi_parse_madt(const void *ptr, size_t len, struct acpi_madt *out)
{
	const u8 *p = ptr;
	const char *why = acpi_check_table(p, len, "APIC");

	if (why)
		return why;
	u32 end = get32(p + 4);
	if (end < 44)
		return "too short";
	memset(out, 0, sizeof(*out));
	out->lapic_address = get32(p + 36);
	out->has_8259 = get32(p + 40) & 1;
	for (u32 at = 44; at < end;) {
		const u8 *e = p + at;

		if (end - at < 2 || e[1] < 2 || e[1] > end - at)
			return "entry with a bad length";
		if (e[0] < MADT_TYPES && madt_entry_len[e[0]]) {
			if (e[1] < madt_entry_len[e[0]])
				return "entry shorter than its type";
			madt_entry(out, e);
		}
		at += e[1];
	}
	return NULL;
}

/* ---- FADT (ACPI 6.4, 5.2.9) ---- */

#define FADT_TMR_VAL_EXT      (1u << 8)
#define FADT_RESET_SUP        (1u << 10)
#define FADT_HW_REDUCED       (1u << 20)
#define FADT_BOOT_NO_CMOS_RTC (1u << 5)

/* A Generic Address Structure (5.2.3.2) at offset `at`, if the table reaches that far. */
static struct acpi_register fadt_gas(const u8 *p, u32 len, u32 at)
{
	struct acpi_register r = { 0 };

	if (at + 12 <= len)
		r = (struct acpi_register){ .space = p[at],
					    .bits = p[at + 1],
					    .address = get64(p + at + 4) };
	if (r.space > ACPI_SPACE_IO)
		r.address = 0; /* PCI configuration space and others: not ours */
	return r;
}

/* A register block: the extended form where given, else the old 32-bit port. */
static struct acpi_register fadt_block(const u8 *p, u32 len, u32 old, u32 extended)
{
	struct acpi_register r = fadt_gas(p, len, extended);

	if (!r.address)
		r = (struct acpi_register){ ACPI_SPACE_IO, 0, get32(p + old) };
	return r;
}

const char *acpi_parse_fadt(const void *ptr, size_t avail, struct acpi_fadt *out)
{
	const u8 *p = ptr;
	const char *why = acpi_check_table(p, avail, "FACP");

	if (why)
		return why;
	u32 len = get32(p + 4);
	if (len < 116) /* ACPI 1.0 */
		return "too short";
	u32 flags = get32(p + 112);

	memset(out, 0, sizeof(*out));
	out->dsdt = get32(p + 40);
	if (len >= 148 && get64(p + 140))
		out->dsdt = get64(p + 140);
	out->smi_command = get32(p + 48);
	out->acpi_enable = p[52];
	out->century = p[108] < 128 ? p[108] : 0;
	out->no_rtc = p[8] >= 3 && get16(p + 109) & FADT_BOOT_NO_CMOS_RTC;
	out->pm_timer_32 = flags & FADT_TMR_VAL_EXT;
	out->hardware_reduced = p[8] >= 5 && flags & FADT_HW_REDUCED;
	if (!out->hardware_reduced) {
		out->pm1a_control = fadt_block(p, len, 64, 172);
		out->pm1b_control = fadt_block(p, len, 68, 184);
		if (p[91] == 4)
			out->pm_timer = fadt_block(p, len, 76, 208);
	}
	if (flags & FADT_RESET_SUP && len >= 129) {
		out->reset = fadt_gas(p, len, 116);
		out->reset_value = p[128];
		out->has_reset = out->reset.address != 0;
	}
	out->sleep_control = fadt_gas(p, len, 244);
	return NULL;
}

/* ---- HPET (IA-PC HPET specification 1.0a, 3.2.4) ---- */

const char *acpi_parse_hpet(const void *ptr, size_t len, struct acpi_hpet *out)
{
	const u8 *p = ptr;
	const char *why = acpi_check_table(p, len, "HPET");

	if (why)
		return why;
	if (get32(p + 4) < 56)
		return "too short";
	if (p[40] != ACPI_SPACE_MEMORY)
		return "not in memory";
	*out = (struct acpi_hpet){ .address = get64(p + 44),
				   .number = p[52],
				   .min_tick = get16(p + 53) };
	if (!out->address)
		return "no address";
	return NULL;
}

/* ---- \_S5 (ACPI 6.4, 7.4.2.6 and the AML grammar in 20.2) ---- */

enum {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_WORD = 0x0b,
	AML_DWORD = 0x0c,
	AML_PACKAGE = 0x12,
};

/* One constant at *at; its low byte, or -1. */
static int aml_constant(const u8 *p, size_t end, size_t *at)
{
	static const u8 operand[] = { [AML_BYTE] = 1, [AML_WORD] = 2, [AML_DWORD] = 4 };

	if (*at >= end)
		return -1;
	u8 op = p[(*at)++];
	if (op == AML_ZERO || op == AML_ONE)
		return op;
	if (op < AML_BYTE || op > AML_DWORD || end - *at < operand[op])
		return -1;
	u8 value = p[*at];
	*at += operand[op];
	return value;
}

/* p[at] is behind the name: Package (n) { a, b, ... } */
static bool aml_sleep_package(const u8 *p, size_t end, size_t at, struct acpi_sleep_type *out)
{
	if (at >= end || p[at++] != AML_PACKAGE || at >= end)
		return false;
	at += 1 + (p[at] >> 6); /* PkgLength: the lead byte says how many follow */
	if (at >= end)
		return false;
	u8 elements = p[at++];
	if (elements < 1)
		return false;
	int a = aml_constant(p, end, &at);
	int b = elements > 1 ? aml_constant(p, end, &at) : 0;
	if (a < 0 || a > 7 || b < 0 || b > 7) /* SLP_TYP has three bits */
		return false;
	*out = (struct acpi_sleep_type){ (u8)a, (u8)b };
	return true;
}

bool acpi_find_s5(const void *ptr, size_t avail, struct acpi_sleep_type *out)
{
	const u8 *p = ptr;
	size_t end = MIN((size_t)get32(p + 4), avail);

	for (size_t at = ACPI_HEADER_LEN; at + 5 < end; at++) {
		size_t name = at + 1;

		if (p[at] != AML_NAME)
			continue;
		if (p[name] == '\\')
			name++;
		if (name + 4 <= end && memcmp(p + name, "_S5_", 4) == 0 &&
		    aml_sleep_package(p, end, name + 4, out))
			return true;
	}
	return false;
}

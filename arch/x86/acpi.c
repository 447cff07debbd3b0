/*
 * Finding the ACPI tables, and power-off and reset by what they say. A table that does not check
 * out is reported in one line and ignored: the machine goes on with what it has, in the worst case
 * the 8259s and the 8254.
 *
 * Runs once at boot, on one CPU; everything is immutable afterwards. Power-off writes registers
 * that were mapped here, so that it works in any context, a panic's too.
 */
#include "acpi.h"

#include "arch/api/boot.h"
#include "arch/api/cpu.h"
#include "arch/api/io.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "mm/kmap.h"

#define EBDA_SEGMENT_AT 0x40e /* BIOS data area: the segment of the extended area */
#define BIOS_AREA       0xe0000ul
#define BIOS_AREA_LEN   0x20000ul

struct acpi_state acpi;

static struct acpi_madt madt;
static struct acpi_fadt fadt;
static struct acpi_hpet hpet;

/* ---- the root pointer ---- */

static bool try_rsdp(const void *p, size_t len, const char *where, struct acpi_rsdp *out)
{
	const char *why = acpi_parse_rsdp(p, len, out);

	if (why)
		log_warn("acpi: root pointer from %s: %s\n", where, why);
	return !why;
}

/* The pointer lies on a 16-byte boundary (ACPI 6.4, 5.2.5.1). */
static bool search_rsdp(u64 start, size_t len, struct acpi_rsdp *out)
{
	const u8 *p = mmio_map(PADDR(start), len, 0);
	bool found = false;

	for (size_t at = 0; p && !found && at + 20 <= len; at += 16)
		if (memcmp(p + at, "RSD PTR ", 8) == 0)
			found = try_rsdp(p + at, len - at, "the BIOS area", out);
	if (p)
		mmio_unmap((void *)p, len);
	return found;
}

static u64 ebda_address(void)
{
	const u8 *p = mmio_map(PADDR(EBDA_SEGMENT_AT), 2, 0);
	u64 address = 0;

	if (p) {
		address = (u64)(p[0] | p[1] << 8) << 4;
		mmio_unmap((void *)p, 2);
	}
	return address >= 0x80000 && address < 0xa0000 ? address : 0;
}

static bool find_rsdp(struct acpi_rsdp *out)
{
	if (boot_info.rsdp_copy_len &&
	    try_rsdp(boot_info.rsdp_copy, boot_info.rsdp_copy_len, boot_info.protocol, out))
		return true;
	if (boot_info.rsdp) {
		const void *p = mmio_map(PADDR(boot_info.rsdp), 36, 0);
		bool ok = p && try_rsdp(p, 36, boot_info.protocol, out);

		if (p)
			mmio_unmap((void *)p, 36);
		if (ok)
			return true;
	}
	u64 ebda = ebda_address();
	return (ebda && search_rsdp(ebda, 1024, out)) || search_rsdp(BIOS_AREA, BIOS_AREA_LEN, out);
}

/* ---- tables ---- */

/* Maps the table at pa, whole and checked; NULL after a log line. Unmap with *len. */
static const void *map_table(u64 pa, const char *signature, size_t *len)
{
	const char *why = "out of address space";
	char name[5] = "root";
	const void *p = mmio_map(PADDR(pa), ACPI_HEADER_LEN, 0);

	if (p) {
		if (signature)
			kstrlcpy(name, signature, sizeof(name));
		*len = acpi_table_length(p, &why);
		mmio_unmap((void *)p, ACPI_HEADER_LEN);
		p = *len ? mmio_map(PADDR(pa), *len, 0) : NULL;
	}
	if (p) {
		why = acpi_check_table(p, *len, signature);
		if (!why)
			return p;
		mmio_unmap((void *)p, *len);
	}
	log_warn("acpi: table %s at %#lx ignored: %s\n", name, pa, why ? why : "cannot map");
	return NULL;
}

static void complain(const char *name, u64 pa, const char *why)
{
	if (why)
		log_warn("acpi: table %s at %#lx ignored: %s\n", name, pa, why);
}

static void read_dsdt(u64 pa)
{
	size_t len;
	const void *p = pa ? map_table(pa, "DSDT", &len) : NULL;

	if (!p)
		return;
	acpi.can_sleep = acpi_find_s5(p, len, &acpi.s5);
	mmio_unmap((void *)p, len);
}

/* Looks at one entry of the root table. The first table of each kind counts. */
static void read_table(u64 pa)
{
	const u8 *p = mmio_map(PADDR(pa), ACPI_HEADER_LEN, 0);
	char name[5] = { 0 };
	const char *why;
	size_t len;

	if (!p)
		return;
	memcpy(name, p, 4);
	mmio_unmap((void *)p, ACPI_HEADER_LEN);
	bool is_madt = !acpi.madt && !strcmp(name, "APIC");
	bool is_fadt = !acpi.fadt && !strcmp(name, "FACP");
	bool is_hpet = !acpi.hpet && !strcmp(name, "HPET");
	if (!is_madt && !is_fadt && !is_hpet)
		return;
	p = map_table(pa, name, &len);
	if (!p)
		return;
	if (is_madt) {
		why = acpi_parse_madt(p, len, &madt);
		acpi.madt = why ? NULL : &madt;
	} else if (is_fadt) {
		why = acpi_parse_fadt(p, len, &fadt);
		acpi.fadt = why ? NULL : &fadt;
	} else {
		why = acpi_parse_hpet(p, len, &hpet);
		acpi.hpet = why ? NULL : &hpet;
	}
	complain(name, pa, why);
	mmio_unmap((void *)p, len);
}

static bool read_root(u64 pa, const char *signature)
{
	size_t len;
	const void *p = pa ? map_table(pa, signature, &len) : NULL;
	u64 entry;

	if (!p)
		return false;
	for (u32 i = 0; (entry = acpi_root_entry(p, len, i)) != 0; i++)
		read_table(entry);
	mmio_unmap((void *)p, len);
	return true;
}

/* ---- registers ---- */

struct mapped_register {
	bool memory;
	u16 port; /* 0 with !memory: there is none */
	volatile void *va;
};

static struct mapped_register pm1a, pm1b, sleep_control, reset;

static void map_register(struct mapped_register *m, const struct acpi_register *r)
{
	*m = (struct mapped_register){ 0 };
	if (!r->address)
		return;
	if (r->space == ACPI_SPACE_IO) {
		m->port = r->address <= 0xffff ? (u16)r->address : 0;
		return;
	}
	m->va = mmio_map(PADDR(r->address), 4, KMAP_WRITE | KMAP_UNCACHED);
	m->memory = m->va != NULL;
}

static bool register_exists(const struct mapped_register *m)
{
	return m->memory || m->port;
}

static u16 read16(const struct mapped_register *m)
{
	return m->memory ? *(volatile u16 *)m->va : inw(m->port);
}

static void write16(const struct mapped_register *m, u16 v)
{
	if (m->memory)
		*(volatile u16 *)m->va = v;
	else
		outw(m->port, v);
}

static void write8(const struct mapped_register *m, u8 v)
{
	if (m->memory)
		*(volatile u8 *)m->va = v;
	else
		outb(m->port, v);
}

/* ---- power-off (ACPI 6.4, 4.8.3.2 and 4.8.3.7) and reset (4.8.3.6) ---- */

#define PM1_SCI_EN       (1u << 0)
#define PM1_SLP_TYP(t)   ((u16)((t) << 10))
#define PM1_SLP_TYP_MASK PM1_SLP_TYP(7u)
#define PM1_SLP_EN       (1u << 13)
#define SLEEP_SLP_TYP(t) ((u8)((t) << 2))
#define SLEEP_SLP_EN     (1u << 5)

static void spin_a_while(void)
{
	for (u32 i = 0; i < 10000; i++)
		cpu_relax();
}

/* Firmware that still owns the power management gives it up on request. */
static void take_power_management(void)
{
	if (!fadt.smi_command || !fadt.acpi_enable || read16(&pm1a) & PM1_SCI_EN)
		return;
	outb((u16)fadt.smi_command, fadt.acpi_enable);
	for (u32 i = 0; i < 300 && !(read16(&pm1a) & PM1_SCI_EN); i++)
		spin_a_while();
}

static u16 sleep_word(const struct mapped_register *m, u8 type)
{
	return (u16)((read16(m) & ~(PM1_SLP_TYP_MASK | PM1_SLP_EN)) | PM1_SLP_TYP(type) |
		     PM1_SLP_EN);
}

static void acpi_poweroff(void)
{
	if (fadt.hardware_reduced) {
		write8(&sleep_control, (u8)(SLEEP_SLP_TYP(acpi.s5.a) | SLEEP_SLP_EN));
	} else {
		take_power_management();
		write16(&pm1a, sleep_word(&pm1a, acpi.s5.a));
		if (register_exists(&pm1b))
			write16(&pm1b, sleep_word(&pm1b, acpi.s5.b));
	}
	spin_a_while();
}

static void acpi_restart(void)
{
	write8(&reset, fadt.reset_value);
	spin_a_while();
}

static void setup_power(void)
{
	if (!acpi.fadt)
		return;
	read_dsdt(fadt.dsdt);
	map_register(&pm1a, &fadt.pm1a_control);
	map_register(&pm1b, &fadt.pm1b_control);
	map_register(&sleep_control, &fadt.sleep_control);
	map_register(&reset, &fadt.reset);
	if (acpi.can_sleep && register_exists(fadt.hardware_reduced ? &sleep_control : &pm1a))
		machine_poweroff_hook = acpi_poweroff;
	if (fadt.has_reset && register_exists(&reset))
		machine_restart_hook = acpi_restart;
}

void acpi_init(void)
{
	struct acpi_rsdp rsdp;

	if (!find_rsdp(&rsdp)) {
		log_info("acpi: no tables\n");
		return;
	}
	if (!read_root(rsdp.xsdt, "XSDT") && !read_root(rsdp.rsdt, "RSDT"))
		return;
	setup_power();
	if (acpi.madt && madt.dropped)
		log_warn("acpi: MADT: %u entries beyond what the kernel keeps\n", madt.dropped);
	log_info("acpi: %u CPUs, %u IOAPICs%s%s%s\n", madt.nr_cpus, madt.nr_ioapics,
		 acpi.hpet ? ", HPET" : "", fadt.hardware_reduced ? ", reduced hardware" : "",
		 machine_poweroff_hook ? ", power-off" : "");
}

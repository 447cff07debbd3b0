/*
 * ACPI tables (ACPI 6.4, chapter 5): what Jiffy reads of them. The parsers work on bytes in memory
 * and know nothing of the machine: arch/x86/acpi_parse.c, which the host tests link with tables
 * of their own. arch/x86/acpi.c finds and maps the tables and keeps the results.
 */
#pragma once

#include "lib/types.h"

#define ACPI_HEADER_LEN 36
#define ACPI_MAX_TABLE  (1 * MiB) /* a longer one is taken for garbage */

#define ACPI_MAX_CPUS      256
#define ACPI_MAX_IOAPICS   16
#define ACPI_MAX_OVERRIDES 32
#define ACPI_MAX_NMIS      16

/* Flags of the MADT's interrupt entries (MPS INTI flags). */
#define ACPI_POLARITY_MASK 0x3
#define ACPI_POLARITY_LOW  0x3
#define ACPI_TRIGGER_MASK  0xc
#define ACPI_TRIGGER_LEVEL 0xc

struct acpi_cpu {
	u32 apic_id;
	u32 uid;
	bool enabled; /* false: could be switched on later */
};

struct acpi_ioapic {
	u64 address;
	u32 gsi_base;
	u8 id;
};

struct acpi_override {
	u8 irq; /* ISA line */
	u16 flags;
	u32 gsi;
};

struct acpi_nmi {
	u32 uid; /* of the CPU; ACPI_ALL_CPUS */
	u16 flags;
	u8 lint; /* 0 or 1 */
};
#define ACPI_ALL_CPUS 0xffffffffu

struct acpi_madt {
	u64 lapic_address;
	bool has_8259;
	u32 nr_cpus, nr_ioapics, nr_overrides, nr_nmis;
	u32 dropped; /* entries beyond our arrays */
	struct acpi_cpu cpu[ACPI_MAX_CPUS];
	struct acpi_ioapic ioapic[ACPI_MAX_IOAPICS];
	struct acpi_override override[ACPI_MAX_OVERRIDES];
	struct acpi_nmi nmi[ACPI_MAX_NMIS];
};

enum acpi_space { ACPI_SPACE_MEMORY = 0, ACPI_SPACE_IO = 1 };

/* A register, as the Generic Address Structure says; address 0: there is none. */
struct acpi_register {
	u8 space;
	u8 bits;
	u64 address;
};

struct acpi_fadt {
	u64 dsdt;
	bool hardware_reduced;
	bool has_reset;
	u8 reset_value;
	u8 acpi_enable;
	u8 century;  /* CMOS index of the century, 0: none */
	bool no_rtc; /* "CMOS RTC not present" */
	bool pm_timer_32;
	u32 smi_command; /* port, 0: none */
	struct acpi_register pm1a_control, pm1b_control, pm_timer, reset, sleep_control;
};

struct acpi_hpet {
	u64 address;
	u16 min_tick;
	u8 number;
};

struct acpi_sleep_type {
	u8 a, b; /* SLP_TYP for PM1a and PM1b */
};

/*
 * The parsers. `len` is how many bytes may be read at `p`; nothing beyond is touched. They return
 * NULL, or what is wrong with the table (then *out is not to be used).
 */
struct acpi_rsdp {
	u64 rsdt, xsdt; /* 0: none */
};
const char *acpi_parse_rsdp(const void *p, size_t len, struct acpi_rsdp *out);

/* The header's own length; or the complaint in *why, and 0. */
u32 acpi_table_length(const void *header, const char **why);
/* Whole table: length, checksum, signature (four characters, NULL: any). */
const char *acpi_check_table(const void *p, size_t len, const char *signature);

/* These take checked tables. */
const char *acpi_parse_madt(const void *p, size_t len, struct acpi_madt *out);
const char *acpi_parse_fadt(const void *p, size_t len, struct acpi_fadt *out);
const char *acpi_parse_hpet(const void *p, size_t len, struct acpi_hpet *out);
/* Entry number i of an RSDT or XSDT; 0 behind the last. */
u64 acpi_root_entry(const void *p, size_t len, u32 i);
/* \_S5 in a DSDT: a package of constants. False: not found in a form that we read. */
bool acpi_find_s5(const void *p, size_t len, struct acpi_sleep_type *out);

/* ---- the machine's own: arch/x86/acpi.c ---- */

/* What was found. Pointers are NULL without the table. Immutable after acpi_init. */
struct acpi_state {
	const struct acpi_madt *madt;
	const struct acpi_fadt *fadt;
	const struct acpi_hpet *hpet;
	bool can_sleep; /* s5 is known */
	struct acpi_sleep_type s5;
};
extern struct acpi_state acpi;

/* After the memory system. Sets machine_poweroff_hook and machine_restart_hook. */
void acpi_init(void);

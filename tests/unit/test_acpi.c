/*
 * The ACPI parsers on tables made here: right ones, and every way of being wrong that firmware or
 * a truncated copy can bring. Each table is copied to the end of a heap block of its exact size, so
 * that the address sanitizer sees any read beyond it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/x86/acpi_parse.c"

static u8 table[4096];
static u32 table_len;

static void put(const void *p, size_t n)
{
	memcpy(table + table_len, p, n);
	table_len += (u32)n;
}

static void put_le(u64 v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		table[table_len++] = (u8)(v >> 8 * i);
}

static void set_le(u32 at, u64 v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		table[at + i] = (u8)(v >> 8 * i);
}

static void begin(const char *signature, u8 revision)
{
	memset(table, 0, sizeof(table));
	table_len = ACPI_HEADER_LEN;
	memcpy(table, signature, 4);
	table[8] = revision;
}

static void finish(void)
{
	u8 sum = 0;

	set_le(4, table_len, 4);
	table[9] = 0;
	for (u32 i = 0; i < table_len; i++)
		sum = (u8)(sum + table[i]);
	table[9] = (u8)-sum;
}

/* An exact copy of the first n bytes; free() it. */
static u8 *exact(size_t n)
{
	u8 *p = malloc(n ? n : 1);

	memcpy(p, table, n);
	return p;
}

/* ---- RSDP ---- */

static void make_rsdp(u8 revision)
{
	memset(table, 0, sizeof(table));
	memcpy(table, "RSD PTR ", 8);
	table[15] = revision;
	set_le(16, 0x1234, 4);
	if (revision >= 2) {
		set_le(20, 36, 4);
		set_le(24, 0x123456789aull, 8);
	}
	u8 sum = 0;
	for (int i = 0; i < 20; i++)
		sum = (u8)(sum + table[i]);
	table[8] = (u8)-sum;
	sum = 0;
	for (int i = 0; i < 36; i++)
		sum = (u8)(sum + table[i]);
	table[32] = (u8)-sum;
}

static void test_rsdp(void **state)
{
	struct acpi_rsdp r;

	make_rsdp(0);
	assert_null(acpi_parse_rsdp(table, 20, &r));
	assert_int_equal(r.rsdt, 0x1234);
	assert_int_equal(r.xsdt, 0);

	make_rsdp(2);
	assert_null(acpi_parse_rsdp(table, 36, &r));
	assert_int_equal(r.xsdt, 0x123456789aull);
	for (size_t n = 0; n < 36; n++) {
		u8 *p = exact(n);
		assert_non_null(acpi_parse_rsdp(p, n, &r));
		free(p);
	}
	for (u32 i = 0; i < 36; i++) {
		make_rsdp(2);
		table[i] ^= 0x10;
		assert_non_null(acpi_parse_rsdp(table, 36, &r));
	}
	make_rsdp(2);
	set_le(20, 0xffffffff, 4);
	assert_non_null(acpi_parse_rsdp(table, 36, &r));
}

/* ---- MADT ---- */

static struct acpi_madt madt;

static void make_madt(void)
{
	begin("APIC", 3);
	put_le(0xfee00000, 4);
	put_le(1, 4);
	put((u8[]){ 0, 8, 7, 0, 1, 0, 0, 0 }, 8); /* LAPIC: uid 7, id 0 */
	put((u8[]){ 0, 8, 8, 1, 0, 0, 0, 0 }, 8); /* id 1, unusable */
	put((u8[]){ 0, 8, 9, 2, 2, 0, 0, 0 }, 8); /* id 2, online capable */
	put((u8[]){ 9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0 }, 16); /* x2APIC id 256 */
	put((u8[]){ 9, 16, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0 }, 16); /* id 0 once more */
	put((u8[]){ 1, 12, 3, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0 }, 12);
	put((u8[]){ 2, 10, 0, 0, 2, 0, 0, 0, 0, 0 }, 10);   /* 0 -> GSI 2 */
	put((u8[]){ 2, 10, 0, 9, 9, 0, 0, 0, 0xf, 0 }, 10); /* 9: low, level */
	put((u8[]){ 4, 6, 0xff, 5, 0, 1 }, 6);
	put((u8[]){ 77, 3, 0 }, 3); /* a type of the future */
	put((u8[]){ 10, 12, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0 }, 12);
	finish();
}

static void test_madt(void **state)
{
	make_madt();
	assert_null(acpi_parse_madt(table, table_len, &madt));
	assert_int_equal(madt.lapic_address, 0xfee00000);
	assert_true(madt.has_8259);
	assert_int_equal(madt.nr_cpus, 3);
	assert_int_equal(madt.cpu[0].uid, 7);
	assert_true(madt.cpu[0].enabled);
	assert_int_equal(madt.cpu[1].apic_id, 2);
	assert_false(madt.cpu[1].enabled);
	assert_int_equal(madt.cpu[2].apic_id, 256);
	assert_int_equal(madt.nr_ioapics, 1);
	assert_int_equal(madt.ioapic[0].address, 0xfec00000);
	assert_int_equal(madt.ioapic[0].id, 3);
	assert_int_equal(madt.nr_overrides, 2);
	assert_int_equal(madt.override[0].gsi, 2);
	assert_int_equal(madt.override[1].irq, 9);
	assert_int_equal(madt.override[1].flags, 0xf);
	assert_int_equal(madt.nr_nmis, 2);
	assert_int_equal(madt.nmi[0].uid, ACPI_ALL_CPUS);
	assert_int_equal(madt.nmi[0].flags, 5);
	assert_int_equal(madt.nmi[1].uid, ACPI_ALL_CPUS);
	assert_int_equal(madt.nmi[1].lint, 1);
}

static void test_madt_lapic_address(void **state)
{
	make_madt();
	put((u8[]){ 5, 12, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0 }, 12);
	finish();
	assert_null(acpi_parse_madt(table, table_len, &madt));
	assert_int_equal(madt.lapic_address, 0x100000000ull);
}

static void test_madt_overflow(void **state)
{
	begin("APIC", 3);
	put_le(0, 8);
	for (unsigned i = 0; i < 255; i++)
		put((u8[]){ 0, 8, (u8)i, (u8)i, 1, 0, 0, 0 }, 8);
	for (unsigned i = 300; i < 320; i++) {
		put((u8[]){ 9, 16, 0, 0 }, 4);
		put_le(i, 4);
		put_le(1, 4);
		put_le(i, 4);
	}
	for (unsigned i = 0; i < 20; i++)
		put((u8[]){ 1, 12, (u8)i, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, 12);
	for (unsigned i = 0; i < 40; i++)
		put((u8[]){ 2, 10, (u8)(i & 1), (u8)(i % 20), 2, 0, 0, 0, 0, 0 }, 10);
	finish();
	assert_null(acpi_parse_madt(table, table_len, &madt));
	assert_int_equal(madt.nr_cpus, ACPI_MAX_CPUS);
	assert_int_equal(madt.nr_ioapics, ACPI_MAX_IOAPICS);
	for (u32 i = 0; i < madt.nr_overrides; i++)
		assert_true(madt.override[i].irq < 16);
	assert_true(madt.dropped > 0);
}

/* An entry of length `len` and type `type`, alone in a table. */
static const char *madt_with(u8 type, u8 len, u32 bytes)
{
	begin("APIC", 3);
	put_le(0, 8);
	table[table_len] = type;
	table[table_len + 1] = len;
	table_len += bytes;
	finish();
	u8 *p = exact(table_len);
	const char *why = acpi_parse_madt(p, table_len, &madt);
	free(p);
	return why;
}

static void test_madt_bad_entries(void **state)
{
	for (unsigned type = 0; type < 256; type++) {
		assert_non_null(madt_with((u8)type, 0, 12)); /* would never end */
		assert_non_null(madt_with((u8)type, 1, 12));
		assert_non_null(madt_with((u8)type, 13, 12)); /* past the table */
		assert_non_null(madt_with((u8)type, 255, 12));
		assert_non_null(madt_with((u8)type, 2, 1)); /* half an entry's head */
	}
	assert_non_null(madt_with(0, 7, 7));
	assert_non_null(madt_with(1, 11, 11));
	assert_non_null(madt_with(2, 9, 9));
	assert_non_null(madt_with(4, 5, 5));
	assert_non_null(madt_with(5, 11, 11));
	assert_non_null(madt_with(9, 15, 15));
	assert_non_null(madt_with(10, 11, 11));
	assert_null(madt_with(200, 2, 2));
}

static void test_table_lengths(void **state)
{
	const char *why;

	make_madt();
	for (size_t n = 0; n < table_len; n++) {
		u8 *p = exact(n);
		assert_non_null(acpi_parse_madt(p, n, &madt));
		free(p);
	}
	for (u32 i = 0; i < table_len; i++) {
		make_madt();
		table[i] ^= 1;
		assert_non_null(acpi_parse_madt(table, table_len, &madt));
	}
	make_madt();
	set_le(4, 35, 4);
	assert_int_equal(acpi_table_length(table, &why), 0);
	assert_non_null(why);
	set_le(4, ACPI_MAX_TABLE + 1, 4);
	assert_int_equal(acpi_table_length(table, &why), 0);
	set_le(4, 0xffffffff, 4);
	assert_non_null(acpi_check_table(table, sizeof(table), "APIC"));
	set_le(4, 36, 4);
	assert_int_equal(acpi_table_length(table, &why), 36);
	begin("APIC", 3); /* a header alone */
	finish();
	assert_non_null(acpi_parse_madt(table, table_len, &madt));
	make_madt();
	assert_non_null(acpi_check_table(table, table_len, "FACP"));
}

/* ---- root tables ---- */

static void test_root(void **state)
{
	begin("RSDT", 1);
	put_le(0x1000, 4);
	put_le(0x2000, 4);
	put_le(0x30, 2); /* half an entry */
	finish();
	u8 *p = exact(table_len);
	assert_int_equal(acpi_root_entry(p, table_len, 0), 0x1000);
	assert_int_equal(acpi_root_entry(p, table_len, 1), 0x2000);
	assert_int_equal(acpi_root_entry(p, table_len, 2), 0);
	assert_int_equal(acpi_root_entry(p, table_len, 0xffffffff), 0);
	free(p);
	begin("XSDT", 1);
	put_le(0x123456789000ull, 8);
	finish();
	assert_int_equal(acpi_root_entry(table, table_len, 0), 0x123456789000ull);
	assert_int_equal(acpi_root_entry(table, table_len, 1), 0);
}

/* ---- FADT and HPET ---- */

static void make_fadt(u8 revision, u32 len)
{
	begin("FACP", revision);
	table_len = len;
	set_le(40, 0x7000, 4);
	set_le(48, 0xb2, 4);
	table[52] = 2;
	set_le(64, 0x604, 4);
	set_le(76, 0x608, 4);
	table[91] = 4;
	table[108] = 0x32;
	set_le(112, FADT_RESET_SUP | FADT_TMR_VAL_EXT, 4);
	if (len >= 129) {
		table[116] = ACPI_SPACE_IO;
		table[117] = 8;
		set_le(120, 0xcf9, 8);
		table[128] = 0xf;
	}
	finish();
}

static void test_fadt(void **state)
{
	struct acpi_fadt f;

	make_fadt(1, 116);
	u8 *p = exact(116);
	assert_null(acpi_parse_fadt(p, 116, &f));
	free(p);
	assert_int_equal(f.dsdt, 0x7000);
	assert_int_equal(f.pm1a_control.address, 0x604);
	assert_int_equal(f.pm1a_control.space, ACPI_SPACE_IO);
	assert_int_equal(f.pm1b_control.address, 0);
	assert_int_equal(f.pm_timer.address, 0x608);
	assert_true(f.pm_timer_32);
	assert_int_equal(f.century, 0x32);
	assert_false(f.has_reset); /* the table ends before it */
	assert_false(f.no_rtc);

	make_fadt(3, 244);
	set_le(109, FADT_BOOT_NO_CMOS_RTC, 2);
	set_le(140, 0x100007000ull, 8);
	table[172] = ACPI_SPACE_MEMORY;
	set_le(176, 0xfed00000, 8);
	finish();
	assert_null(acpi_parse_fadt(table, table_len, &f));
	assert_int_equal(f.dsdt, 0x100007000ull);
	assert_true(f.has_reset);
	assert_int_equal(f.reset.address, 0xcf9);
	assert_int_equal(f.reset_value, 0xf);
	assert_int_equal(f.pm1a_control.address, 0xfed00000);
	assert_int_equal(f.pm1a_control.space, ACPI_SPACE_MEMORY);
	assert_int_equal(f.sleep_control.address, 0);
	assert_true(f.no_rtc);

	make_fadt(6, 276);
	set_le(112, FADT_HW_REDUCED, 4);
	table[244] = ACPI_SPACE_MEMORY;
	set_le(248, 0xfea00200, 8);
	finish();
	assert_null(acpi_parse_fadt(table, table_len, &f));
	assert_true(f.hardware_reduced);
	assert_int_equal(f.pm1a_control.address, 0);
	assert_int_equal(f.pm_timer.address, 0);
	assert_int_equal(f.sleep_control.address, 0xfea00200);

	for (u32 n = 36; n < 116; n++) {
		make_fadt(1, n);
		p = exact(n);
		assert_non_null(acpi_parse_fadt(p, n, &f));
		free(p);
	}
	for (u32 n = 116; n < 276; n++) { /* none of these may read past its end */
		make_fadt(6, n);
		p = exact(n);
		assert_null(acpi_parse_fadt(p, n, &f));
		free(p);
	}
}

static void test_hpet(void **state)
{
	struct acpi_hpet h;

	begin("HPET", 1);
	put_le(0x8086a201, 4);
	put((u8[]){ 0, 0, 0, 0 }, 4);
	put_le(0xfed00000, 8);
	put_le(1, 1);
	put_le(100, 2);
	put_le(0, 1);
	finish();
	assert_null(acpi_parse_hpet(table, table_len, &h));
	assert_int_equal(h.address, 0xfed00000);
	assert_int_equal(h.number, 1);
	assert_int_equal(h.min_tick, 100);
	table[40] = 1;
	finish();
	assert_non_null(acpi_parse_hpet(table, table_len, &h));
	table[40] = 0;
	set_le(44, 0, 8);
	finish();
	assert_non_null(acpi_parse_hpet(table, table_len, &h));
	table_len = 55;
	finish();
	assert_non_null(acpi_parse_hpet(table, table_len, &h));
}

/* ---- \_S5 ---- */

static bool s5_of(const u8 *aml, size_t n, struct acpi_sleep_type *out)
{
	begin("DSDT", 2);
	put((u8[]){ 0xff, 0x08, 0x5f }, 3);
	put(aml, n);
	finish();
	u8 *p = exact(table_len);
	bool found = acpi_find_s5(p, table_len, out);
	free(p);
	return found;
}
#define S5(...) s5_of((u8[]){ __VA_ARGS__ }, sizeof((u8[]){ __VA_ARGS__ }), &s)

static void test_s5(void **state)
{
	struct acpi_sleep_type s;
	static const u8 good[] = { 8, '_', 'S', '5', '_', 0x12, 6, 4, 0x0a, 5, 0x0a, 3, 0, 0 };

	assert_true(s5_of(good, sizeof(good), &s));
	assert_int_equal(s.a, 5);
	assert_int_equal(s.b, 3);
	assert_true(S5(8, '\\', '_', 'S', '5', '_', 0x12, 6, 4, 0, 1, 0, 0));
	assert_int_equal(s.a, 0);
	assert_int_equal(s.b, 1);
	/* a package length of two bytes; words; a single element */
	assert_true(S5(8, '_', 'S', '5', '_', 0x12, 0x48, 1, 4, 0x0b, 7, 0, 0x0c, 2, 0, 0, 0));
	assert_int_equal(s.a, 7);
	assert_int_equal(s.b, 2);
	assert_true(S5(8, '_', 'S', '5', '_', 0x12, 4, 1, 0x0a, 5));
	assert_int_equal(s.b, 0);

	assert_false(S5(8, '_', 'S', '4', '_', 0x12, 6, 4, 0x0a, 5, 0x0a, 5, 0, 0));
	assert_false(S5(8, '_', 'S', '5', '_', 0x14, 6, 4, 0x0a, 5, 0x0a, 5, 0, 0)); /* a method */
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 2, 0));
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 6, 4, 0x0a, 8, 0x0a, 5, 0, 0)); /* 3 bits */
	assert_false(S5(8, '_', 'S', '5', '_', 0x12, 6, 4, 'F', 'O', 'O', '_'));
	for (size_t n = 0; n < 12; n++) /* both numbers are there from byte 12 on */
		assert_false(s5_of(good, n, &s));
}

/* Whatever the bytes: no read outside, no endless loop. */
static void test_random(void **state)
{
	static const char *const names[] = { "APIC", "FACP", "HPET", "DSDT", "RSDT", "XSDT" };
	struct acpi_sleep_type s5;
	struct acpi_fadt f;
	struct acpi_hpet h;

	srand(1);
	for (u32 round = 0; round < 50000; round++) {
		begin(names[rand() % 6], (u8)(rand() % 7));
		u32 n = 36 + (u32)(rand() % 300);
		for (table_len = 36; table_len < n; table_len++)
			table[table_len] = (u8)(rand() % 4 ? rand() % 16 : rand());
		finish();
		u8 *p = exact(n);
		acpi_parse_madt(p, n, &madt);
		acpi_parse_fadt(p, n, &f);
		acpi_parse_hpet(p, n, &h);
		acpi_find_s5(p, n, &s5);
		for (u32 i = 0; acpi_root_entry(p, n, i); i++)
			assert_true(i < 100);
		free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rsdp),
		cmocka_unit_test(test_madt),
		cmocka_unit_test(test_madt_lapic_address),
		cmocka_unit_test(test_madt_overflow),
		cmocka_unit_test(test_madt_bad_entries),
		cmocka_unit_test(test_table_lengths),
		cmocka_unit_test(test_root),
		cmocka_unit_test(test_fadt),
		cmocka_unit_test(test_hpet),
		cmocka_unit_test(test_s5),
		cmocka_unit_test(test_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

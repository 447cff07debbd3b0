/*
 * MC146818 and its descendants. The clock updates its registers once a second, over up to 2 ms in
 * which they read as anything; status A announces it. So: wait for quiet, read all, read again
 * until two readings agree. Digits may be BCD, hours may be 12 with a flag for the afternoon. The
 * century, where kept, is at an index that the FADT names.
 */
#include "rtc.h"

#include "acpi.h"
#include "arch/api/clock.h"
#include "arch/api/io.h"
#include "lib/string.h"

#define CMOS_INDEX 0x70
#define CMOS_DATA  0x71

enum {
	CMOS_SECOND = 0,
	CMOS_MINUTE = 2,
	CMOS_HOUR = 4,
	CMOS_DAY = 7,
	CMOS_MONTH = 8,
	CMOS_YEAR = 9
};
enum { CMOS_STATUS_A = 10, CMOS_STATUS_B = 11, CMOS_STATUS_D = 13 };

#define A_UPDATING 0x80
#define B_24_HOURS 0x02
#define B_BINARY   0x04
#define D_VALID    0x80
#define HOUR_PM    0x80

static u8 cmos(u8 index)
{
	outb(CMOS_INDEX, index);
	return inb(CMOS_DATA);
}

static struct rtc_fields read_once(void)
{
	u8 century = acpi.fadt ? acpi.fadt->century : 0;

	for (u32 i = 0; i < 20000 && cmos(CMOS_STATUS_A) & A_UPDATING; i++)
		;
	return (struct rtc_fields){
		.second = cmos(CMOS_SECOND),
		.minute = cmos(CMOS_MINUTE),
		.hour = cmos(CMOS_HOUR),
		.day = cmos(CMOS_DAY),
		.month = cmos(CMOS_MONTH),
		.year = cmos(CMOS_YEAR),
		.century = century ? cmos(century) : 0,
		.status_b = cmos(CMOS_STATUS_B),
	};
}

static u32 digits(u8 v, u8 status_b)
{
	return status_b & B_BINARY ? v : (v >> 4) * 10u + (v & 15);
}

/* Days from 1970-01-01 to a date of the Gregorian calendar. The year starts in March, so that the
 * leap day is its last and month m of it begins (153 m + 2) / 5 days in. */
static u64 days_since_1970(u32 year, u32 month, u32 day)
{
	if (month <= 2)
		year--;
	u32 m = month > 2 ? month - 3 : month + 9;
	u32 from_march = (153 * m + 2) / 5 + day - 1;
	u32 leaps = year / 4 - year / 100 + year / 400;

	return (u64)year * 365 + leaps + from_march - 719468;
}

u64 rtc_to_seconds(struct rtc_fields f)
{
	u32 hour = digits(f.hour & (u8)~HOUR_PM, f.status_b);
	u32 century = digits(f.century, f.status_b);
	u32 second = digits(f.second, f.status_b), minute = digits(f.minute, f.status_b);
	u32 day = digits(f.day, f.status_b), month = digits(f.month, f.status_b);
	u32 year = digits(f.year, f.status_b);

	if (!(f.status_b & B_24_HOURS))
		hour = hour % 12 + (f.hour & HOUR_PM ? 12 : 0);
	if (second > 59 || minute > 59 || hour > 23 || day < 1 || day > 31 || month < 1 ||
	    month > 12 || year > 99)
		return 0;
	if (century < 19 || century > 30)
		century = 20;
	year += century * 100;
	if (year < 1970)
		return 0;
	return ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
}

u64 rtc_read_seconds(void)
{
	struct rtc_fields a, b;

	if (acpi.fadt && acpi.fadt->no_rtc)
		return 0;
	if (cmos(CMOS_STATUS_A) == 0xff || !(cmos(CMOS_STATUS_D) & D_VALID))
		return 0;
	a = read_once();
	for (u32 i = 0; i < 5; i++) {
		b = read_once();
		if (memcmp(&a, &b, sizeof(a)) == 0)
			return rtc_to_seconds(a);
		a = b;
	}
	return 0;
}

u64 clock_arch_wall_seconds(void)
{
	return rtc_read_seconds();
}

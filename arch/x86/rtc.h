/* The battery clock (CMOS). */
#pragma once

#include "lib/types.h"

/* Its fields as read, before any conversion. */
struct rtc_fields {
	u8 second, minute, hour, day, month, year, century; /* century 0: none */
	u8 status_b;
};

/* Seconds since 1970, or 0 for a date that cannot be. Pure. */
u64 rtc_to_seconds(struct rtc_fields f);

/* Reads the clock, as UTC. 0: there is none. At boot, one CPU. */
u64 rtc_read_seconds(void);

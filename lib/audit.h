/*
 * Audits: every count of the kernel against another one that must agree. A module's audit calls
 * audit_equal for each pair; who started the audit prints what did not agree (proc/audit.c).
 */
#pragma once

#include "lib/types.h"

#define AUDIT_FINDINGS 32

struct audit {
	u32 checks, failed;
	struct audit_finding {
		char what[48];
		u64 got, want;
	} finding[AUDIT_FINDINGS]; /* the first that failed */
};

/* One check. The text is put together only if it fails. Any context; takes no lock. */
__printf(4, 5) void audit_equal(struct audit *a, u64 got, u64 want, const char *fmt, ...);

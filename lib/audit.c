/* The book of an audit: lib/audit.h. */
#include "lib/audit.h"

#include "lib/fmt.h"

void audit_equal(struct audit *a, u64 got, u64 want, const char *fmt, ...)
{
	va_list ap;

	a->checks++;
	if (got == want)
		return;
	if (a->failed < AUDIT_FINDINGS) {
		struct audit_finding *f = &a->finding[a->failed];

		va_start(ap, fmt);
		kvsnprintf(f->what, sizeof(f->what), fmt, ap);
		va_end(ap);
		f->got = got;
		f->want = want;
	}
	a->failed++;
}

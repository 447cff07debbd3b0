/* The runner of the in-kernel tests: KTAP on the log, then the end of the machine. */
#include "init/ktest.h"

#include "arch/api/cpu.h"
#include "lib/cmdline.h"
#include "lib/kassert.h"
#include "lib/klog.h"
#include "lib/string.h"
#include "sched/sched.h"
#include "time/clock.h"

CMDLINE_OPTION("ktest", ktest_option,
	       "all or a prefix: run the in-kernel tests (test kernel only)");
CMDLINE_OPTION("ktest-crash", crash_option,
	       "NAME: run one test that must panic (test kernel only)");

extern const struct ktest __ktests_start[], __ktests_end[];

static bool failed;
static const char *skipped;

void ktest_fail(const char *file, int line, const char *what)
{
	log_err("# %s:%d: not true: %s\n", file, line, what);
	failed = true;
}

void ktest_fail_values(const char *file, int line, const char *what, u64 a, u64 b)
{
	log_err("# %s:%d: not true: %s (%#lx, %#lx)\n", file, line, what, a, b);
	failed = true;
}

void ktest_skip(const char *why)
{
	skipped = why;
}

bool ktest_wanted(void)
{
	return ktest_option.value || crash_option.value;
}

static bool selected(const struct ktest *t)
{
	const char *want = ktest_option.value;

	if (t->crash)
		return false;
	return !strcmp(want, "all") || !strncmp(t->name, want, strlen(want));
}

static void run_crash(const char *name)
{
	for (const struct ktest *t = __ktests_start; t < __ktests_end; t++) {
		if (t->crash && !strcmp(t->name, name)) {
			t->fn();
			panic("crash test %s came back: nothing stopped it", name);
		}
	}
	panic("there is no crash test %s", name);
}

/* The tests' own thread stays on one CPU: what most of them count holds there. */
static void stay_here(void)
{
	struct cpuset here;

	cpuset_set_only(&here, 0);
	sched_set_affinity(current(), &here);
}

void ktest_run(void)
{
	unsigned n = 0, passed = 0, number = 0;

	if (crash_option.value)
		run_crash(crash_option.value);
	for (const struct ktest *t = __ktests_start; t < __ktests_end; t++)
		n += selected(t);
	log_info("KTAP version 1\n");
	log_info("1..%u\n", n);
	for (const struct ktest *t = __ktests_start; t < __ktests_end; t++) {
		if (!selected(t))
			continue;
		failed = false;
		skipped = NULL;
		stay_here(); /* the test before may have moved us */
		u64 start = clock_ns();
		t->fn();
		if (skipped)
			log_info("ok %u %s # SKIP %s\n", ++number, t->name, skipped);
		else
			log_info("%sok %u %s # %lu us\n", failed ? "not " : "", ++number, t->name,
				 (clock_ns() - start) / NSEC_PER_USEC);
		passed += !failed;
	}
	log_info("jiffy: ktest passed %u failed %u\n", passed, n - passed);
	machine_end(n > 0 && passed == n ? MACHINE_POWEROFF : MACHINE_PANIC);
}

/*
 * In-kernel tests. The test kernel (jiffy-test.elf) is the kernel with tests/kernel linked in:
 *
 *	KTEST(name) { ktest_check(condition); ... }
 *
 * Started by ktest=all or ktest=PREFIX in the thread "init", they print KTAP on the log and end the
 * machine. ktest-crash=NAME runs one KTEST_CRASH, which must panic.
 */
#pragma once

#include "lib/types.h"

struct ktest {
	const char *name;
	void (*fn)(void);
	bool crash;
};

#define KTEST_(test_name, kind)                                                                    \
	static void ktest_##test_name(void);                                                       \
	__used __section(".ktests")                                                                \
		__aligned(8) static const struct ktest ktest_entry_##test_name = {                 \
			#test_name, ktest_##test_name, kind                                        \
		};                                                                                 \
	static void ktest_##test_name(void)
#define KTEST(test_name)       KTEST_(test_name, false)
#define KTEST_CRASH(test_name) KTEST_(test_name, true)

/* Notes a failure and returns from the test. */
#define ktest_check(cond)                                                                          \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			ktest_fail(__FILE__, __LINE__, #cond);                                     \
			return;                                                                    \
		}                                                                                  \
	} while (0)

/* The same with both values in the report. */
#define ktest_check_eq(a, b)                                                                       \
	do {                                                                                       \
		u64 ktest_a_ = (u64)(a), ktest_b_ = (u64)(b);                                      \
		if (ktest_a_ != ktest_b_) {                                                        \
			ktest_fail_values(__FILE__, __LINE__, #a " == " #b, ktest_a_, ktest_b_);   \
			return;                                                                    \
		}                                                                                  \
	} while (0)

void ktest_fail(const char *file, int line, const char *what);
void ktest_fail_values(const char *file, int line, const char *what, u64 a, u64 b);
/* This machine cannot show it: counted apart, with the reason. Return from the test behind it. */
void ktest_skip(const char *why);

bool ktest_wanted(void);
__noreturn void ktest_run(void);

/* dev/irq.c: shared lines, counters, lines that nobody serves, and storms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dev/irq.c"

static bool unmasked[IRQ_LINES];
static u64 allocated;
static bool out_of_memory;

int irq_arch_unmask(unsigned line)
{
	if (line >= 24)
		return -ENODEV;
	unmasked[line] = true;
	return 0;
}

int irq_arch_mask(unsigned line)
{
	unmasked[line] = false;
	return 0;
}

u64 irq_arch_clock_count(unsigned line)
{
	return line == 0 ? 5 : 0;
}

void *kmalloc(size_t size)
{
	if (out_of_memory)
		return NULL;
	allocated++;
	return malloc(size);
}

void kfree(void *p)
{
	allocated--;
	free(p);
}

struct device {
	bool wants;
	u32 calls;
};

static enum irq_result serve(void *arg)
{
	struct device *d = arg;

	d->calls++;
	return d->wants ? IRQ_HANDLED : IRQ_NONE;
}

static int reset(void **state)
{
	for (u32 i = 0; i < IRQ_LINES; i++) {
		for (struct irq_handler *h = lines[i].first, *next; h; h = next) {
			next = h->next;
			kfree(h);
		}
		lines[i] = (struct irq_line){ 0 };
		unmasked[i] = false;
	}
	assert_int_equal(allocated, 0);
	out_of_memory = false;
	return 0;
}

static void test_shared(void **state)
{
	struct device a = { .wants = false }, b = { .wants = true };

	assert_int_equal(irq_register(5, "a", serve, &a), 0);
	assert_true(unmasked[5]);
	assert_int_equal(irq_register(5, "b", serve, &b), 0);
	for (int i = 0; i < 5000; i++)
		irq_dispatch(5);
	assert_int_equal(a.calls, 5000);
	assert_int_equal(b.calls, 5000);
	assert_int_equal(irq_count(5), 5000);
	assert_int_equal(irq_unhandled(5), 0);
	assert_string_equal(irq_name(5), "a");
	assert_true(unmasked[5]);
	assert_int_equal(irq_count(0), 5);
}

static void test_errors(void **state)
{
	struct device d = { .wants = true };

	assert_int_equal(irq_register(24, "d", serve, &d), -ENODEV);
	assert_int_equal(irq_register(IRQ_LINES, "d", serve, &d), -ENODEV);
	assert_null(irq_name(24));
	assert_null(irq_name(IRQ_LINES));
	assert_int_equal(irq_count(IRQ_LINES), 0);
	out_of_memory = true;
	assert_int_equal(irq_register(3, "d", serve, &d), -ENOMEM);
	assert_false(unmasked[3]);
	assert_int_equal(allocated, 0);
}

static void test_storm(void **state)
{
	struct device d = { .wants = false };

	assert_int_equal(irq_register(9, "d", serve, &d), 0);
	for (int i = 0; i < STORM_LIMIT - 1; i++)
		irq_dispatch(9);
	d.wants = true; /* one that is served ends the row */
	irq_dispatch(9);
	d.wants = false;
	for (int i = 0; i < STORM_LIMIT - 1; i++)
		irq_dispatch(9);
	assert_true(unmasked[9]);
	irq_dispatch(9);
	assert_false(unmasked[9]);
	assert_int_equal(irq_unhandled(9), 2 * STORM_LIMIT - 1);
	/* a new handler gives the line another chance */
	assert_int_equal(irq_register(9, "e", serve, &d), 0);
	assert_true(unmasked[9]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_shared, reset, reset),
		cmocka_unit_test_setup_teardown(test_errors, reset, reset),
		cmocka_unit_test_setup_teardown(test_storm, reset, reset),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

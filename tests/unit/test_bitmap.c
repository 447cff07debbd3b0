/* lib/bitmap.h beside an array of bool, with rubbish beyond the bitmap's end. */
#include "tests/unit/unit.h"

#include "lib/bitmap.h"

#define MAX_BITS 200

static u64 map[BITMAP_WORDS(MAX_BITS) + 1];
static bool model[MAX_BITS];

static size_t model_next(size_t bits, size_t from, bool value)
{
	for (size_t i = from; i < bits; i++)
		if (model[i] == value)
			return i;
	return bits;
}

static void check(size_t bits)
{
	for (size_t from = 0; from <= bits + 1; from++) {
		assert_int_equal(bitmap_next_set(map, bits, from), model_next(bits, from, true));
		assert_int_equal(bitmap_next_zero(map, bits, from), model_next(bits, from, false));
	}
	assert_int_equal(bitmap_first_set(map, bits), model_next(bits, 0, true));
	assert_int_equal(bitmap_first_zero(map, bits), model_next(bits, 0, false));
}

static void test_random(void **state)
{
	unit_seed();
	for (size_t bits = 0; bits <= MAX_BITS; bits++) {
		for (size_t i = 0; i < sizeof(map) / 8; i++)
			map[i] = unit_next(&unit_random_state);
		for (size_t i = 0; i < bits; i++) {
			bitmap_clear(map, i);
			model[i] = false;
		}
		check(bits);
		for (unsigned round = 0; round < 60 && bits != 0; round++) {
			size_t i = unit_random(bits);

			if (unit_random(3) == 0) {
				bitmap_clear(map, i);
				model[i] = false;
			} else {
				bitmap_set(map, i);
				model[i] = true;
			}
			assert_int_equal(bitmap_test(map, i), model[i]);
			if (round % 10 == 0)
				check(bits);
		}
		for (size_t i = 0; i < bits; i++) {
			bitmap_set(map, i);
			model[i] = true;
		}
		check(bits);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

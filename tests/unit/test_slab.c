/*
 * mm/slab.c on fake RAM: random allocations beside a model that owns every byte, statistics that
 * add up, and every panic of the debug checks provoked.
 */
#include "tests/unit/unit.h"

#include <string.h>

#include "arch/host/ram.h"
#include "mm/frame.h"
#include "mm/slab.h"

#define FRAMES 4096

static u64 frames_used(void)
{
	struct frame_stats s;

	frame_stats(&s);
	return s.total - frame_stats_available(&s);
}

static int setup(void **state)
{
	host_ram_init(FRAMES);
	slab_init();
	return 0;
}

static int teardown(void **state)
{
	alloc_fail_at = 0;
	host_ram_exit();
	return 0;
}

static struct slab_stats stats_of(const char *name)
{
	struct slab_stats s;

	for (unsigned i = 0; slab_stats(i, &s); i++)
		if (strcmp(s.name, name) == 0)
			return s;
	fail_msg("no cache %s", name);
	return s;
}

/* Every cache's books; the frames of all caches are the frame allocator's FRAME_SLAB. */
static void check_books(void)
{
	struct slab_stats s;
	struct frame_stats f;
	u64 frames = 0;

	for (unsigned i = 0; slab_stats(i, &s); i++) {
		assert_int_equal(s.total, s.in_use + s.free);
		assert_true(s.total * s.size <= s.frames * PAGE_SIZE);
		frames += s.frames;
	}
	frame_stats(&f);
	assert_int_equal(f.used[FRAME_SLAB], frames);
}

struct object {
	u8 *p;
	size_t size;
	u8 fill;
};

static void check_object(const struct object *o)
{
	for (size_t i = 0; i < o->size; i++)
		if (o->p[i] != o->fill)
			fail_msg("byte %zu of %zu at %p is %#x, not %#x", i, o->size, (void *)o->p,
				 o->p[i], o->fill);
}

static void test_kmalloc_random(void **state)
{
	static struct object have[3000];
	size_t n = 0;
	u64 base = frames_used();

	unit_seed();
	for (u64 round = 0; round < unit_rounds(60000); round++) {
		/* Tides, so that magazines fill and empty, slabs come and go. */
		bool grow = unit_random(100) < (round / 5000 % 2 ? 35 : 65);

		if (grow && n < ARRAY_SIZE(have)) {
			struct object *o = &have[n];

			o->size = unit_random(40) ? unit_random(unit_random(2) ? 128 : 2100) :
						    unit_random(20000);
			bool zero = unit_random(2);

			o->p = zero ? kzalloc(o->size) : kmalloc(o->size);
			if (!o->p)
				continue;
			assert_true(IS_ALIGNED((u64)o->p, 16));
			o->fill = 0;
			if (zero)
				check_object(o);
			o->fill = (u8)unit_random(256);
			memset(o->p, o->fill, o->size);
			n++;
		} else if (n != 0) {
			size_t i = unit_random(n);

			check_object(&have[i]);
			kfree(have[i].p);
			have[i] = have[--n];
		}
		if (round % 256 == 0)
			check_books();
	}
	while (n != 0) {
		check_object(&have[--n]);
		kfree(have[n].p);
	}
	check_books();
	struct slab_stats s;

	for (unsigned i = 0; slab_stats(i, &s); i++)
		assert_int_equal(s.in_use, strcmp(s.name, "slab-magazine") == 0 ? s.in_use : 0);
	/* What is kept: magazines, their contents, one slab a cache. */
	assert_true(frames_used() - base < 14 * (2 * 30 + 8));
}

/* Sizes at the borders of the classes. */
static void test_sizes(void **state)
{
	static const size_t classes[] = { 16,  32,  48,  64,  96,   128,  192,
					  256, 384, 512, 768, 1024, 1536, 2048 };

	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		char name[32];
		void *p[2] = { kmalloc(classes[i]), kmalloc(i ? classes[i - 1] + 1 : 1) };

		snprintf(name, sizeof(name), "kmalloc-%zu", classes[i]);
		assert_int_equal(stats_of(name).in_use, 2);
		assert_int_equal(stats_of(name).size, classes[i]);
		kfree(p[0]);
		kfree(p[1]);
		assert_int_equal(stats_of(name).in_use, 0);
	}
	void *p = kmalloc(0);

	assert_non_null(p);
	kfree(p);
	kfree(NULL);
	u64 before = frames_used();

	p = kmalloc(2049);
	assert_int_equal(frames_used() - before, 1);
	kfree(p);
	p = kzalloc(3 * PAGE_SIZE + 1);
	assert_int_equal(frames_used() - before, 4);
	for (size_t i = 0; i <= 3 * PAGE_SIZE; i++)
		assert_int_equal(((u8 *)p)[i], 0);
	kfree(p);
	p = kmalloc(4 * MiB);
	assert_int_equal(frames_used() - before, 1024);
	kfree(p);
	assert_int_equal(frames_used(), before);
	assert_null(kmalloc(4 * MiB + 1));
	assert_null(kzalloc(UINT64_MAX));
	char *s = kstrdup("a copy");

	assert_string_equal(s, "a copy");
	kfree(s);
}

/* Caches of odd sizes and alignments. */
static void test_caches(void **state)
{
	static const struct {
		size_t size, align;
	} kinds[] = { { 1, 8 },       { 8, 1 },       { 24, 8 },    { 100, 64 },  { 512, 512 },
		      { 1000, 1024 }, { 4096, 4096 }, { 5000, 16 }, { 40000, 64 } };
	static void *have[9][200];

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct slab_cache *c = slab_cache_create("odd", kinds[k].size, kinds[k].align);
		size_t n = kinds[k].size > 2000 ? 20 : 200;

		for (size_t i = 0; i < n; i++) {
			have[k][i] = i % 2 ? slab_zalloc(c) : slab_alloc(c);
			assert_non_null(have[k][i]);
			assert_true(IS_ALIGNED((u64)have[k][i], MAX(kinds[k].align, 8ul)));
			memset(have[k][i], (int)i, kinds[k].size);
		}
		for (size_t i = 0; i < n; i++)
			for (size_t j = 0; j < kinds[k].size; j++)
				assert_int_equal(((u8 *)have[k][i])[j], (u8)i);
		check_books();
		for (size_t i = 0; i < n; i++)
			slab_free(c, have[k][i * 7 % n]);
		slab_free(c, NULL);
		check_books();
	}
}

/* A full slab that gets an object back serves again, before any new slab. */
static void test_reuse(void **state)
{
	static void *have[2000];
	struct slab_cache *c = slab_cache_create("reused", 64, 8);
	struct slab_stats s;
	u64 total;

	for (size_t i = 0; i < ARRAY_SIZE(have); i++)
		have[i] = slab_alloc(c);
	total = stats_of("reused").total;
	unit_seed();
	for (unsigned round = 0; round < 50; round++) {
		for (size_t i = unit_random(3); i < ARRAY_SIZE(have); i += 1 + unit_random(4)) {
			slab_free(c, have[i]);
			have[i] = NULL;
		}
		for (size_t i = 0; i < ARRAY_SIZE(have); i++)
			if (!have[i])
				assert_non_null(have[i] = slab_alloc(c));
		assert_true(stats_of("reused").total <= total + 100);
		check_books();
	}
	for (size_t i = 0; i < ARRAY_SIZE(have); i++)
		slab_free(c, have[i]);
	assert_int_equal(stats_of("reused").in_use, 0);
	/* What this CPU's magazines hold may keep a slab each. */
	s = stats_of("reused");
	assert_true(s.free == s.total && s.frames <= 2 * 30 + 1);
}

/* Memory runs out, and comes back: nothing is lost, and NULL is all that happens. */
static void test_exhaustion(void **state)
{
	static void *have[FRAMES * 3];
	struct slab_cache *c = slab_cache_create("fill", 1500, 8);
	size_t n = 0;
	void *small, *list = NULL;

	for (unsigned round = 0; round < 3; round++) {
		while ((have[n] = slab_alloc(c))) {
			assert_true(n + 1 < ARRAY_SIZE(have));
			n++;
		}
		assert_null(slab_zalloc(c));
		assert_null(kmalloc(PAGE_SIZE));
		while ((small = kmalloc(30))) {
			*(void **)small = list;
			list = small;
		}
		check_books();
		for (; list; list = small) {
			small = *(void **)list;
			kfree(list);
		}
		while (n != 0)
			slab_free(c, have[--n]);
		check_books();
		assert_true(frames_used() < 100);
	}
}

static void test_fail_at(void **state)
{
	struct slab_cache *c = slab_cache_create("failing", 64, 8);
	void *p;

	/* Every allocation of the first object in turn: object, magazines' slab, own slab. */
	for (u64 k = 1;; k++) {
		alloc_fail_at = k;
		p = slab_alloc(c);
		check_books();
		if (alloc_fail_at != 0)
			break;
		assert_true(k < 10);
		if (p) /* without magazines, it went directly */
			slab_free(c, p);
	}
	alloc_fail_at = 0;
	assert_non_null(p);
	slab_free(c, p);
	alloc_fail_at = 1;
	assert_null(kmalloc(10));
	alloc_fail_at = 1;
	assert_null(kmalloc(10000));
	kfree(kmalloc(10));
	alloc_fail_at = 2;
	assert_non_null(p = kmalloc(10));
	assert_null(kstrdup("x"));
	kfree(p);
	check_books();
}

/* ---- what debug builds find -------------------------------------------------------------------- */

static void test_double_free(void **state)
{
	struct slab_cache *c = slab_cache_create("doubled", 40, 8);
	void *p = slab_alloc(c), *q = kmalloc(100), *large = kmalloc(9000);
	char address[32];

	slab_free(c, p);
	snprintf(address, sizeof(address), "%p", p);
	expect_panic(slab_free(c, p), "freed twice");
	assert_non_null(strstr(unit_panic_message, "doubled"));
	assert_non_null(strstr(unit_panic_message, address));
	kfree(q);
	expect_panic(kfree(q), "freed twice");
	kfree(large);
	expect_panic(kfree(large), "was not allocated");
}

static void test_overrun(void **state)
{
	struct slab_cache *c = slab_cache_create("overrun", 40, 8);
	u8 *p = slab_alloc(c), *q = kmalloc(100);

	p[40] ^= 1;
	expect_panic(slab_free(c, p), "past its end");
	assert_non_null(strstr(unit_panic_message, "overrun"));
	p[40] ^= 1;
	slab_free(c, p);
	q[100] = 0; /* within the class of 128 */
	expect_panic(kfree(q), "of 100 bytes written at byte 100");
	u8 *r = kmalloc(5000);

	r[5000] = 0;
	expect_panic(kfree(r), "past its end");
	r[5000] = 0xfe;
	r[8191] = 0;
	expect_panic(kfree(r), "at byte 8191");
	p = slab_alloc(c);
	memset(p + 40, 0xff, 24); /* all of the trailer */
	expect_panic(slab_free(c, p), "past its end");
}

static void test_use_after_free(void **state)
{
	struct slab_cache *c = slab_cache_create("stale", 40, 8);
	u8 *p = slab_alloc(c);

	slab_free(c, p);
	p[7] = 1;
	expect_panic(slab_alloc(c), "at byte 7 after it was freed");
	assert_non_null(strstr(unit_panic_message, "stale"));
	p = slab_alloc(c);
	assert_int_equal(p[0], 0xc3); /* not zero by luck */
	slab_free(c, p);
	p[40] = 1;
	expect_panic(slab_alloc(c), "end of free object");
}

static void test_wrong_free(void **state)
{
	struct slab_cache *c = slab_cache_create("right", 40, 8);
	struct slab_cache *d = slab_cache_create("wrong", 40, 8);
	u8 *p = slab_alloc(c);
	struct frame *f = frame_alloc(FRAME_ANON, 0);

	expect_panic(slab_free(d, p), "belongs to right");
	expect_panic(slab_free(c, p + 8), "no object's beginning");
	expect_panic(slab_free(c, frame_virt(f)), "belongs to no cache");
	expect_panic(kfree(frame_virt(f)), "was not allocated");
	slab_free(c, p);
	p = kmalloc(3 * PAGE_SIZE);
	expect_panic(kfree(p + PAGE_SIZE), "was not allocated");
	expect_panic(kfree(p + 16), "was not allocated");
	kfree(p);
	expect_panic(slab_cache_create("x", 0, 8), "size != 0");
	expect_panic(slab_cache_create("x", 8, 3), "IS_POWER_OF_2");
}

static void test_too_many_caches(void **state)
{
	expect_panic(for (;;) slab_cache_create("many", 8, 8), "no room for cache many");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kmalloc_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_caches, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reuse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exhaustion, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fail_at, setup, teardown),
		cmocka_unit_test_setup_teardown(test_double_free, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overrun, setup, teardown),
		cmocka_unit_test_setup_teardown(test_use_after_free, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_free, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many_caches, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

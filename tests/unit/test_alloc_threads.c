/*
 * The allocators under several CPUs at once, each played by a host thread: frames and objects are
 * allocated on one CPU and freed on another, blocks come and go, while one thread reads the books
 * all the time, which must add up in every reading. Made for TSan; ASan runs it too.
 */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <string.h>

#include "arch/host/ram.h"
#include "mm/frame.h"
#include "mm/slab.h"

#define CPUS   4 /* the last one only reads the books */
#define FRAMES 16384
#define SLOTS  256

/* A place that any CPU may take the content of: how things travel from CPU to CPU. */
static void *frame_slots[SLOTS], *object_slots[SLOTS];
static struct slab_cache *cache;
static atomic_t running;
static u64 seed;

static void put_object(u64 *p)
{
	assert_true(p[0] == ~p[1]);
	if (p[0] & 1)
		slab_free(cache, p);
	else
		kfree(p);
}

static void object_step(u64 *random)
{
	u64 *p = NULL;
	u64 r = unit_next(random);

	if (r % 8 != 0) {
		p = r & 1 << 8 ? slab_alloc(cache) : kmalloc(16 + (r >> 16) % 500);
		if (p) {
			p[0] = (r & ~1ul) | (r >> 8 & 1);
			p[1] = ~p[0];
		}
	}
	p = __atomic_exchange_n(&object_slots[(r >> 32) % SLOTS], p, __ATOMIC_ACQ_REL);
	if (p)
		put_object(p);
}

static void put_frame(struct frame *f)
{
	u64 *p = frame_virt(f);

	assert_int_equal(p[0], frame_pfn(f));
	if (f->order == 0 && p[1] == 1) {
		p[0] = p[1] = 0;
		frame_put_zeroed(f);
	} else {
		frame_put(f);
	}
}

static void frame_step(u64 *random)
{
	struct frame *f = NULL;
	u64 r = unit_next(random);

	if (r % 8 != 0) {
		bool zero = r & 1 << 8;
		unsigned order = r % 64 == 1 ? (r >> 16) % 5 : 0;

		f = frame_alloc_order(order, FRAME_KERNEL + (enum frame_type)(r >> 40) % 5,
				      zero ? FRAME_ZERO : 0);
		if (f) {
			u64 *p = frame_virt(f);

			assert_true(!zero || p[511] == 0);
			p[0] = frame_pfn(f);
			p[1] = zero;
			if (r & 1 << 9) { /* two owners */
				frame_get(f);
				frame_put(f);
			}
		}
	}
	f = __atomic_exchange_n((struct frame **)&frame_slots[(r >> 32) % SLOTS], f,
				__ATOMIC_ACQ_REL);
	if (f)
		put_frame(f);
	if (r % 512 == 3)
		frame_drain();
	if (r % 64 == 5)
		frame_prezero();
}

static void *work(void *arg)
{
	u64 random = seed + (u64)arg;

	host_cpu = (u32)(u64)arg;
	for (u64 i = unit_rounds(30000); i-- > 0;) {
		frame_step(&random);
		object_step(&random);
		if (i % 16 == 0)
			(void)frame_prezero();
	}
	frame_drain();
	atomic_fetch_sub(&running, 1u);
	return NULL;
}

static void check_books(void)
{
	struct frame_stats f;
	struct slab_stats s;
	u64 sum;

	frame_stats(&f);
	sum = f.free + f.cached;
	for (unsigned i = 0; i < FRAME_TYPES; i++)
		sum += f.used[i];
	assert_int_equal(sum, f.total);
	for (unsigned i = 0; slab_stats(i, &s); i++)
		assert_int_equal(s.total, s.in_use + s.free);
}

static void *read_books(void *arg)
{
	u64 readings = 0;

	host_cpu = (u32)(u64)arg;
	while (atomic_load(&running) != 0) {
		check_books();
		readings++;
	}
	printf("# the books added up %lu times\n", (unsigned long)readings);
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t t[CPUS];
	struct frame_stats f;

	nr_cpus = CPUS;
	seed = unit_seed();
	host_ram_init(FRAMES);
	slab_init();
	cache = slab_cache_create("shared", 72, 8);
	atomic_store(&running, CPUS - 1u);
	for (u64 i = 0; i < CPUS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, i == CPUS - 1 ? read_books : work,
						(void *)i),
				 0);
	for (unsigned i = 0; i < CPUS; i++)
		pthread_join(t[i], NULL);
	for (unsigned i = 0; i < SLOTS; i++) {
		if (frame_slots[i])
			put_frame(frame_slots[i]);
		if (object_slots[i])
			put_object(object_slots[i]);
	}
	check_books();
	frame_drain();
	frame_stats(&f);
	/* All is back but for slabs: in magazines, and one kept for each cache. */
	assert_int_equal(f.free + f.cached + f.used[FRAME_SLAB], FRAMES);
	assert_true(f.used[FRAME_SLAB] < 1000);
	host_ram_exit();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

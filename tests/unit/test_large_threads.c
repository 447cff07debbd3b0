/*
 * The counting of large pages (mm/large.c) under several CPUs at once, each played by a host thread.
 * Entries that name blocks travel from CPU to CPU through places that all exchange; on the way they
 * are doubled (as by fork), dropped, split, or found to be alone. In the end every frame is back.
 * Made for TSan; ASan runs it too.
 */
#include "tests/unit/unit.h"

#include <pthread.h>

#include "arch/host/ram.h"
#include "mm/large.h"
#include "mm/mark.h"

#define CPUS   3
#define FRAMES 16384 /* 32 blocks */
#define PLACES 24

static struct frame *places[PLACES]; /* heads; each a reference, as an entry of level 2 has it */
static u64 seed, alone_seen;

/* The entry becomes 512, which go one by one. */
static void split(struct frame *head)
{
	pte_t e = mark_held(frame_pfn(head), 0), entry[LARGE_PAGES];

	large_split(NULL, &e, 0, entry);
	for (unsigned i = 0; i < LARGE_PAGES; i++)
		frame_put(pfn_frame(mark_pfn(entry[i])));
}

/* What one CPU does with an entry that it has taken: NULL if it is no more. */
static struct frame *step(struct frame *head, u64 r, struct frame **second)
{
	if (!head)
		return r % 4 ? large_alloc() : NULL;
	switch (r >> 8 & 7) {
	case 0:
	case 1:
	case 2:
		large_get(head);
		*second = head;
		return head;
	case 3: split(head); return NULL;
	case 4:
	case 5:
		if (large_is_alone(head)) {
			for (u64 i = 0; i < LARGE_PAGES; i += 73)
				assert_int_equal(large_refs(head, i), 1);
			__atomic_fetch_add(&alone_seen, 1, __ATOMIC_RELAXED);
		}
		return head;
	default: large_put(head); return NULL;
	}
}

static struct frame *exchange(u64 place, struct frame *head)
{
	return __atomic_exchange_n(&places[place % PLACES], head, __ATOMIC_ACQ_REL);
}

static void *work(void *arg)
{
	u64 random = seed + (u64)arg;

	host_cpu = (u32)(u64)arg;
	for (u64 i = unit_rounds(120); i-- > 0;) {
		u64 r = unit_next(&random);
		struct frame *second = NULL, *head = step(exchange(r >> 32, NULL), r, &second);

		head = exchange(r >> 40, head);
		if (head)
			large_put(head);
		head = second ? exchange(r >> 48, second) : NULL;
		if (head)
			large_put(head);
	}
	frame_drain();
	return NULL;
}

static void test_threads(void **state)
{
	struct large_stats l;
	struct frame_stats f;
	pthread_t t[CPUS];

	nr_cpus = CPUS;
	seed = unit_seed();
	host_ram_init(FRAMES);
	for (u64 i = 0; i < CPUS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, work, (void *)i), 0);
	for (unsigned i = 0; i < CPUS; i++)
		pthread_join(t[i], NULL);
	for (unsigned i = 0; i < PLACES; i++)
		if (places[i])
			large_put(places[i]);
	frame_drain();
	large_stats(&l);
	frame_stats(&f);
	assert_int_equal(l.in_use, 0);
	assert_true(l.splits && alone_seen);
	assert_int_equal(f.free + f.cached, FRAMES);
	host_ram_exit();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

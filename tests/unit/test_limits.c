/*
 * Limits under two CPUs at once, each played by a host thread: both want what the limit has room for once, by each of
 * the calls that count, and exactly one of them gets it. Made for TSan; ASan runs it too.
 */
#include "tests/unit/unit.h"

#include <pthread.h>

#include "tests/unit/mm_host.h"

#define CPUS   2
#define FRAMES 2048

/* Each CPU has these of its own. */
#define PAGE_OF(cpu)  (GiB + (cpu)*64 * MiB)
#define STACK_OF(cpu) (2 * GiB + (cpu)*64 * MiB)
#define BREAK         (4 * GiB)
#define REGIONS       400u /* so that adding up takes a while */

/* ---- the calls ------------------------------------------------------------------------------------------------ */

static s64 do_mmap(u64 cpu)
{
	return vm_mmap(as, 0, PAGE_SIZE, RW, ANON, NULL, 0);
}

static s64 do_mmap_locked(u64 cpu)
{
	return vm_mmap(as, 0, PAGE_SIZE, RW, ANON | MAP_LOCKED, NULL, 0);
}

static void undo_mmap(u64 cpu, s64 got)
{
	assert_int_equal(vm_munmap(as, (u64)got, PAGE_SIZE), 0);
}

static s64 do_brk(u64 cpu)
{
	return vm_brk(as, BREAK + PAGE_SIZE) == BREAK + PAGE_SIZE ? 1 : -ENOMEM;
}

static void undo_brk(u64 cpu, s64 got)
{
	assert_int_equal(vm_brk(as, BREAK), BREAK);
}

/* One moves the break, the other maps. */
static s64 do_either(u64 cpu)
{
	return cpu ? do_mmap(cpu) : do_brk(cpu);
}

static void undo_either(u64 cpu, s64 got)
{
	(cpu ? undo_mmap : undo_brk)(cpu, got);
}

static s64 do_mremap(u64 cpu)
{
	return vm_mremap(as, PAGE_OF(cpu), PAGE_SIZE, 2 * PAGE_SIZE, 0, 0);
}

static void undo_mremap(u64 cpu, s64 got)
{
	assert_int_equal(vm_munmap(as, PAGE_OF(cpu) + PAGE_SIZE, PAGE_SIZE), 0);
}

/* One moves what is there to and fro, and may always do so; the other wants more than there is room for. */
static s64 do_beside_move(u64 cpu)
{
	const u64 place[] = { PAGE_OF(cpu), PAGE_OF(cpu) + 32 * MiB };

	if (cpu)
		return vm_mmap(as, 0, 2 * PAGE_SIZE, RW, ANON, NULL, 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(vm_mremap(as, place[i], PAGE_SIZE, PAGE_SIZE,
					   MREMAP_MAYMOVE | MREMAP_FIXED, place[!i]),
				 place[!i]);
	return 1;
}

static void undo_nothing(u64 cpu, s64 got)
{
}

static s64 do_mprotect(u64 cpu)
{
	int err = vm_mprotect(as, PAGE_OF(cpu), PAGE_SIZE, RW);

	return err ? err : 1;
}

static void undo_mprotect(u64 cpu, s64 got)
{
	assert_int_equal(vm_mprotect(as, PAGE_OF(cpu), PAGE_SIZE, PROT_READ), 0);
}

static s64 do_mlock(u64 cpu)
{
	int err = vm_mlock(as, PAGE_OF(cpu), PAGE_SIZE, MLOCK_ONFAULT);

	return err ? err : 1;
}

static void undo_mlock(u64 cpu, s64 got)
{
	assert_int_equal(vm_munlock(as, PAGE_OF(cpu), PAGE_SIZE), 0);
}

static s64 do_grow_stack(u64 cpu)
{
	int code = vm_fault(as, STACK_OF(cpu) - PAGE_SIZE, FAULT_WRITE);

	assert_true(code == 0 || code == SEGV_MAPERR);
	return code ? -ENOMEM : 1;
}

static void undo_grow_stack(u64 cpu, s64 got)
{
	assert_int_equal(vm_munmap(as, STACK_OF(cpu) - PAGE_SIZE, PAGE_SIZE), 0);
}

static const struct way {
	const char *name;
	enum vm_limit limit;
	s64 (*make)(u64 cpu); /* > 0: has got it */
	void (*undo)(u64 cpu, s64 got);
} ways[] = {
	{ "mmap", VM_LIMIT_AS, do_mmap, undo_mmap },
	{ "mmap, data", VM_LIMIT_DATA, do_mmap, undo_mmap },
	{ "mmap, locked", VM_LIMIT_LOCK, do_mmap_locked, undo_mmap },
	{ "brk and mmap", VM_LIMIT_DATA, do_either, undo_either },
	{ "mremap", VM_LIMIT_AS, do_mremap, undo_mremap },
	{ "mmap beside mremap", VM_LIMIT_AS, do_beside_move, undo_nothing },
	{ "mprotect", VM_LIMIT_DATA, do_mprotect, undo_mprotect },
	{ "mlock", VM_LIMIT_LOCK, do_mlock, undo_mlock },
	{ "a stack grows", VM_LIMIT_AS, do_grow_stack, undo_grow_stack },
};

/* ---- both at once --------------------------------------------------------------------------------------------- */

static struct {
	pthread_barrier_t barrier;
	u64 ready; /* [a] both leave the barrier together, or nearly so */
	const struct way *way;
	s64 got[CPUS];
} both;

static u64 counted(enum vm_limit which)
{
	struct vm_totals t;

	vm_count(as, 0, USER_TOP, &t);
	return which == VM_LIMIT_AS ? t.mapped : which == VM_LIMIT_DATA ? t.data : t.locked;
}

static void *work(void *arg)
{
	u64 cpu = (u64)arg, rounds = unit_rounds(60) * ARRAY_SIZE(ways);

	host_cpu = (u32)cpu;
	for (u64 i = 0; i < rounds; i++) {
		pthread_barrier_wait(&both.barrier);
		__atomic_fetch_add(&both.ready, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&both.ready, __ATOMIC_SEQ_CST) < CPUS)
			cpu_relax();
		both.got[cpu] = both.way->make(cpu);
		pthread_barrier_wait(&both.barrier);
	}
	frame_drain();
	return NULL;
}

static void one_round(const struct way *w)
{
	u64 had = counted(w->limit), winners = 0;

	aspace_set_limit(as, w->limit, had + PAGE_SIZE);
	both.way = w;
	both.ready = 0;
	pthread_barrier_wait(&both.barrier);
	pthread_barrier_wait(&both.barrier);
	for (u64 cpu = 0; cpu < CPUS; cpu++)
		winners += both.got[cpu] > 0;
	if (winners != 1)
		fail_msg("%s: room for one, and %lu got it", w->name, winners);
	for (u64 cpu = 0; cpu < CPUS; cpu++)
		if (both.got[cpu] > 0)
			w->undo(cpu, both.got[cpu]);
	aspace_set_limit(as, w->limit, UINT64_MAX);
	assert_int_equal(counted(w->limit), had);
}

static void make_space(void)
{
	as = aspace_create();
	assert_non_null(as);
	aspace_set_brk(as, BREAK);
	aspace_set_limit(as, VM_LIMIT_STACK, GiB);
	for (u64 i = 0; i < REGIONS; i++)
		assert_true(vm_mmap(as, 8 * GiB + 2 * i * PAGE_SIZE, PAGE_SIZE,
				    i % 2 ? RW : PROT_READ, ANON | MAP_FIXED, NULL, 0) > 0);
	for (u64 cpu = 0; cpu < CPUS; cpu++) {
		assert_true(vm_mmap(as, PAGE_OF(cpu), PAGE_SIZE, PROT_READ, ANON | MAP_FIXED, NULL,
				    0) > 0);
		assert_true(vm_mmap(as, STACK_OF(cpu), PAGE_SIZE, RW,
				    ANON | MAP_FIXED | MAP_GROWSDOWN, NULL, 0) > 0);
	}
}

static void test_room_for_one(void **state)
{
	u64 rounds = unit_rounds(60);
	pthread_t t[CPUS];

	nr_cpus = CPUS + 1; /* and one that looks what came of it */
	host_cpu = CPUS;
	machine_start(FRAMES);
	make_space();
	pthread_barrier_init(&both.barrier, NULL, CPUS + 1);
	for (u64 i = 0; i < CPUS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, work, (void *)i), 0);
	for (u64 i = 0; i < rounds; i++)
		for (unsigned k = 0; k < ARRAY_SIZE(ways); k++)
			one_round(&ways[k]);
	for (unsigned i = 0; i < CPUS; i++)
		pthread_join(t[i], NULL);
	aspace_put(as);
	host_ram_exit();
	host_cpu = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_room_for_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

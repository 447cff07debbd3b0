/*
 * What all of mm/ shares, under several CPUs at once, each played by a host thread: the list of address
 * spaces, the kernel's page table and its addresses, the pages of an object, the stacks of one space. Every
 * CPU works on things of its own; what they share is under them. Made for TSan; ASan runs it too.
 */
#include "tests/unit/unit.h"

#include <pthread.h>

#include "mm/anon_object.h"
#include "mm/kmap.h"
#include "tests/unit/mm_host.h"

#define CPUS   3
#define FRAMES 2048
#define PAGES  16

#define STACKS (8 * GiB)
#define BREAK  GiB

static struct vm_object *object;
static struct aspace *common;

/* A page of the kernel's, at an address of its own. */
static void use_kernel_page(u64 cpu)
{
	u64 va = kva_alloc(1 + cpu);
	struct kmap_stats s;
	paddr_t pa;

	assert_true(va != 0);
	assert_int_equal(map_page(va, PADDR(cpu * PAGE_SIZE), PAGE_SIZE, KMAP_WRITE), 0);
	assert_int_equal(protect_page(va, PAGE_SIZE, 0), 0);
	assert_int_equal(get_physical_address(va, &pa), 0);
	assert_int_equal(pa.v, cpu * PAGE_SIZE);
	kmap_stats(&s);
	assert_true(s.pages_mapped > s.pages_unmapped);
	assert_int_equal(unmap_page(va, PAGE_SIZE), 0);
	kva_free(va, 1 + cpu);
}

/* Two stacks of one space grow, each by its own CPU. */
static void grow_stack(u64 cpu, u64 i)
{
	u64 va = STACKS + cpu * GiB - i * PAGE_SIZE;

	assert_int_equal(vm_fault(common, va, FAULT_WRITE), 0);
}

/* A page of the object: asked for, and now and then taken out. Others do the same with the same ones. */
static void use_object(u64 r)
{
	u64 index = r % PAGES;
	struct frame *f[2];

	assert_int_equal(object->ops->get_page(object, index, &f[0]), 0);
	frame_put(f[0]);
	object->ops->get_resident(object, index & ~1ul, 2, f);
	for (unsigned i = 0; i < 2; i++)
		if (f[i])
			frame_put(f[i]);
	(void)object->ops->has_page(object, index);
	if (r >> 32 & 1)
		assert_int_equal(object->ops->punch(object, index, index), 0);
}

/* One CPU moves the break of a space, of which the others make children. */
static void use_common(u64 cpu, u64 i)
{
	struct aspace_stats s;
	struct aspace *child;

	if (cpu == 0) {
		assert_int_equal(vm_brk(common, BREAK), BREAK);
		aspace_set_brk(common, BREAK);
		assert_int_equal(vm_brk(common, BREAK + (i % 4 + 1) * PAGE_SIZE),
				 BREAK + (i % 4 + 1) * PAGE_SIZE);
		return;
	}
	aspace_stats(common, &s);
	assert_int_equal(aspace_fork(common, &child), 0);
	assert_true(vm_brk(child, 0) >= BREAK);
	aspace_put(child);
}

/* A space comes and goes. While the object is mapped in it, who takes out a page goes through all spaces. */
static void use_space(u64 cpu)
{
	struct aspace *own = aspace_create();

	assert_non_null(own);
	assert_true(vm_mmap(own, 0, (1 + cpu) * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
			    object, 0) > 0);
	use_object(cpu | 1ul << 32);
	aspace_put(own);
}

static const char *const names[CPUS] = { "one", "two", "three" };

static void *work(void *arg)
{
	u64 cpu = (u64)arg, random = UNIT_SEED + cpu;

	host_cpu = (u32)cpu;
	assert_non_null(slab_cache_create(names[cpu], 64, 8));
	for (u64 i = unit_rounds(8); i-- > 0;) {
		u64 r = unit_next(&random);

		for (unsigned k = 0; k < 8; k++) {
			use_kernel_page(cpu);
			use_object(r >> k);
		}
		use_space(cpu);
		grow_stack(cpu, i + 1);
		use_common(cpu, i);
	}
	frame_drain();
	return NULL;
}

static void test_threads(void **state)
{
	pthread_t t[CPUS];

	nr_cpus = CPUS;
	machine_start(FRAMES);
	object = anon_object_create(PAGES);
	assert_non_null(object);
	common = aspace_create();
	assert_non_null(common);
	aspace_set_brk(common, BREAK);
	aspace_set_limit(common, VM_LIMIT_STACK, GiB / 2);
	for (u64 i = 0; i < CPUS; i++)
		assert_true(vm_mmap(common, STACKS + i * GiB, PAGE_SIZE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, NULL,
				    0) > 0);
	for (u64 i = 0; i < CPUS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, work, (void *)i), 0);
	for (unsigned i = 0; i < CPUS; i++)
		pthread_join(t[i], NULL);
	aspace_put(common);
	object->ops->put(object);
	host_ram_exit();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

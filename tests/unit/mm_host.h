/*
 * A program's address space on the host, for the tests of mm/ that look at single cases: `as` on one
 * simulated CPU, accesses with their faults, and a file of four pages. Those with threads take the machine alone.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/api/cpu.h"
#include "arch/api/mmu.h"
#include "arch/api/uaccess.h"
#include "arch/host/ram.h"
#include "lib/err.h"
#include "lib/uapi/mman.h"
#include "sync/rcu.h"
#include "mm/aspace.h"
#include "mm/large.h"
#include "mm/pt.h"
#include "mm/slab.h"

#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define AT   0x40000000ul

static struct aspace *as;
static u64 frames_at_start;

static inline u64 frames_named(void)
{
	struct frame_stats s;

	frame_stats(&s);
	return s.used[FRAME_TABLE] + s.used[FRAME_ANON] + s.used[FRAME_FILE] + s.used[FRAME_KERNEL];
}

static inline u64 tables(void)
{
	struct aspace_stats s;

	aspace_stats(as, &s);
	return s.tables;
}

static inline void use(struct aspace *space)
{
	irq_disable();
	mm_switch(space);
	irq_enable();
}

/* So many frames of RAM, a kernel's table, and mm/ on them, without a space yet. Returns the table. */
static inline paddr_t machine_start(u64 frames)
{
	struct frame *root;

	host_mmu_reset();
	host_ram_init(frames);
	slab_init();
	root = frame_alloc(FRAME_KERNEL, FRAME_ZERO);
	kmap_set_root(frame_pa(root), NULL);
	aspace_init();
	return frame_pa(root);
}

static inline int setup(void **state)
{
	mmu_load_root(machine_start(20000), 0, false);
	frames_at_start = frames_named();
	as = aspace_create();
	use(as);
	return 0;
}

static inline int setup_two_cpus(void **state)
{
	nr_cpus = 2;
	return setup(state);
}

/* Tables wait for a grace period: both CPUs are seen between readers, until nothing waits. */
static inline void end_grace_periods(void)
{
	u32 waiting = 1;

	while (nr_cpus > 1 && waiting) {
		waiting = 0;
		for (host_cpu = 0; host_cpu < nr_cpus; host_cpu++) {
			rcu_quiescent();
			waiting |= rcu_poll();
		}
	}
	host_cpu = 0;
}

/* Each frame is used for something, or free, or kept by a CPU. */
static inline void check_books(void)
{
	struct frame_stats s;
	u64 sum;

	frame_stats(&s);
	sum = s.free + s.cached;
	for (unsigned i = 0; i < FRAME_TYPES; i++)
		sum += s.used[i];
	assert_int_equal(sum, s.total);
}

static inline u64 claims_in_use(void)
{
	struct slab_stats s;

	for (unsigned i = 0; slab_stats(i, &s); i++)
		if (strcmp(s.name, "claim") == 0)
			return s.in_use;
	return UINT64_MAX;
}

static inline int teardown(void **state)
{
	check_books();
	aspace_audit();
	host_mmu_audit();
	if (as)
		aspace_put(as);
	end_grace_periods();
	assert_int_equal(claims_in_use(), 0);
	assert_int_equal(frames_named(), frames_at_start);
	host_mmu_reset();
	host_ram_exit();
	nr_cpus = 1;
	return 0;
}

static inline s64 map(u64 va, u64 len, int prot, int flags)
{
	return vm_mmap(as, va, len, prot, flags, NULL, 0);
}

/* An access as a program's, faults served. 0 or the si_code. */
static inline int access_in(struct aspace *space, u64 va, enum fault_access access, u32 *value)
{
	paddr_t pa;

	use(space);
	while (host_mmu_access(va, access, true, &pa)) {
		int ret = vm_fault(space, va, access);

		if (ret)
			return ret;
	}
	if (access == FAULT_WRITE)
		*(u32 *)phys_to_virt(pa) = *value;
	else
		*value = *(u32 *)phys_to_virt(pa);
	return 0;
}

static inline void poke(struct aspace *space, u64 va, u32 value)
{
	assert_int_equal(access_in(space, va, FAULT_WRITE, &value), 0);
}

static inline u32 peek(struct aspace *space, u64 va)
{
	u32 value;

	assert_int_equal(access_in(space, va, FAULT_READ, &value), 0);
	return value;
}

static inline int fault(u64 va, enum fault_access access)
{
	u32 value = 0;

	return access_in(as, va, access, &value);
}

/* ---- files ----------------------------------------------------------------------------------- */

struct test_file {
	struct vm_object obj;
	int refs;
	struct frame *page[4];
	void (*while_reading)(void); /* called once, as if get_page slept */
	void (*after_reading)(void); /* called once, when it has the page */
};

static inline int file_get_page(struct vm_object *o, u64 index, struct frame **out)
{
	struct test_file *f = container_of(o, struct test_file, obj);
	void (*sleep)(void) = f->while_reading;

	f->while_reading = NULL;
	if (sleep)
		sleep();
	if (index >= 4)
		return -ENXIO;
	if (!f->page[index]) {
		f->page[index] = frame_alloc(FRAME_FILE, FRAME_ZERO);
		if (!f->page[index])
			return -ENOMEM;
		*(u32 *)frame_virt(f->page[index]) = 100 + (u32)index;
	}
	frame_get(f->page[index]);
	*out = f->page[index];
	sleep = f->after_reading;
	f->after_reading = NULL;
	if (sleep)
		sleep();
	return 0;
}

static inline void file_get_resident(struct vm_object *o, u64 index, unsigned n, struct frame **out)
{
	struct test_file *f = container_of(o, struct test_file, obj);

	assert_true(index < 4); /* not before the start */
	for (unsigned i = 0; i < n; i++) {
		out[i] = index + i < 4 ? f->page[index + i] : NULL;
		if (out[i])
			frame_get(out[i]);
	}
}

static inline void file_get(struct vm_object *o)
{
	container_of(o, struct test_file, obj)->refs++;
}

static inline void file_put(struct vm_object *o)
{
	container_of(o, struct test_file, obj)->refs--;
}

static const struct vm_object_ops file_ops = { .get_page = file_get_page,
					       .get_resident = file_get_resident,
					       .get = file_get,
					       .put = file_put };
static struct test_file file __attribute__((unused));

static inline void file_start(void)
{
	memset(&file, 0, sizeof(file));
	file.obj.ops = &file_ops;
}

static inline void file_stop(void)
{
	aspace_put(as);
	as = NULL;
	assert_int_equal(file.refs, 0);
	assert_int_equal(atomic_load(&file.obj.mappings), 0);
	assert_int_equal(atomic_load(&file.obj.writers), 0);
	for (int i = 0; i < 4; i++)
		if (file.page[i])
			frame_put(file.page[i]);
}

static inline s64 map_file(u64 va, u64 pages, int prot, int flags)
{
	return vm_mmap(as, va, pages * PAGE_SIZE, prot, flags | MAP_FIXED, &file.obj, 0);
}

/*
 * mm/ on real silicon: the frame allocator, the slab allocator and the page-table cursor, the very sources
 * of the kernel, built for the host (arch/host) without sanitizers and without debug checks.
 *
 * What is not the kernel's here: the RAM is a mapping of this program; per-CPU variables are arrays indexed by
 * a thread-local number; CLI and STI are stores; and flushes of the TLB, which a program cannot execute, are
 * nothing at all (bench/native/mmu.c), so no figure contains one.
 *
 * Each batch checks that it did what it claims: the allocator's own books must have moved.
 */
#include "bench/native/timing.h"

#include "arch/api/cpu.h"
#include "arch/api/mmu.h"
#include "arch/host/ram.h"
#include "lib/err.h"
#include "lib/uapi/mman.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "mm/kmap.h"
#include "mm/pt.h"
#include "mm/slab.h"

#define RAM_FRAMES 20000
#define MANY       1000 /* held at a time, so that the per-CPU stacks run over */
#define AT         0x40000000ul

static struct aspace *as;
static struct slab_cache *cache;

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "native-memory: %s\n", what);
	exit(1);
}

static u64 frame_allocs(void)
{
	struct frame_stats s;

	frame_stats(&s);
	return s.allocs;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static uint64_t batch_frame(uint64_t rounds)
{
	u64 before = frame_allocs();
	uint64_t start = timing_ticks(), ticks;

	for (uint64_t i = 0; i < rounds; i++)
		frame_put(frame_alloc(FRAME_KERNEL, 0));
	ticks = timing_ticks() - start;
	must(frame_allocs() - before >= rounds, "the frames were not counted");
	return ticks;
}

static uint64_t batch_frame_many(uint64_t rounds)
{
	static struct frame *held[MANY];
	uint64_t start = timing_ticks();

	for (uint64_t done = 0; done < rounds; done += MANY) {
		for (int i = 0; i < MANY; i++)
			held[i] = frame_alloc(FRAME_KERNEL, 0);
		for (int i = 0; i < MANY; i++)
			frame_put(held[i]);
	}
	return timing_ticks() - start;
}

/* ---- objects --------------------------------------------------------------------------------- */

static uint64_t batch_slab(uint64_t rounds)
{
	uint64_t start = timing_ticks();

	for (uint64_t i = 0; i < rounds; i++) {
		void *p = slab_alloc(cache);

		*(volatile char *)p = 1;
		slab_free(cache, p);
	}
	return timing_ticks() - start;
}

static uint64_t batch_slab_many(uint64_t rounds)
{
	static void *held[MANY];
	uint64_t start = timing_ticks();

	for (uint64_t done = 0; done < rounds; done += MANY) {
		for (int i = 0; i < MANY; i++) {
			held[i] = slab_alloc(cache);
			*(volatile char *)held[i] = 1;
		}
		for (int i = 0; i < MANY; i++)
			slab_free(cache, held[i]);
	}
	return timing_ticks() - start;
}

/* ---- page tables ----------------------------------------------------------------------------- */

/* Four levels down, the lock of the lowest table, and back. */
static uint64_t batch_walk(uint64_t rounds)
{
	struct pt_cursor c;
	uint64_t start = timing_ticks();

	for (uint64_t i = 0; i < rounds; i++) {
		pt_lock_page(&c, as, AT + (i & 511) * PAGE_SIZE);
		pt_unlock(&c);
	}
	return timing_ticks() - start;
}

static uint64_t map_and_unmap(uint64_t rounds, u64 size)
{
	uint64_t start = timing_ticks();

	for (uint64_t i = 0; i < rounds; i++) {
		s64 va = vm_mmap(as, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				 NULL, 0);

		must(va > 0, "vm_mmap failed");
		must(vm_munmap(as, (uaddr_t)va, size) == 0, "vm_munmap failed");
	}
	return timing_ticks() - start;
}

static uint64_t batch_map_4k(uint64_t rounds)
{
	return map_and_unmap(rounds, PAGE_SIZE);
}

static uint64_t batch_map_64m(uint64_t rounds)
{
	return map_and_unmap(rounds, 64 * MiB);
}

/* The fault's policy and its page, cleared: 512 faults, then what they made is given up, untimed. */
static uint64_t batch_fault(uint64_t rounds)
{
	uint64_t ticks = 0;

	for (uint64_t done = 0; done < rounds; done += 512) {
		u64 va = AT + 4 * MiB;
		struct aspace_stats before, after;
		uint64_t start;

		aspace_stats(as, &before);
		start = timing_ticks();
		for (int i = 0; i < 512; i++)
			vm_fault(as, va + (u64)i * PAGE_SIZE, FAULT_WRITE);
		ticks += timing_ticks() - start;
		aspace_stats(as, &after);
		must(after.resident - before.resident == 512, "the faults did not bring pages");
		must(vm_madvise(as, va, 512 * PAGE_SIZE, MADV_DONTNEED) == 0, "vm_madvise failed");
	}
	return ticks;
}

static void set_up(void)
{
	struct frame *root;

	host_ram_init(RAM_FRAMES);
	slab_init();
	root = frame_alloc(FRAME_KERNEL, FRAME_ZERO);
	kmap_set_root(frame_pa(root), NULL);
	mmu_load_root(frame_pa(root), 0, false);
	aspace_init();
	cache = slab_cache_create("native", 64, 64);
	as = aspace_create();
	must(as != NULL, "no address space");
	irq_disable();
	mm_switch(as);
	irq_enable();
	must(vm_mmap(as, AT, 16 * MiB, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0) == (s64)AT,
	     "vm_mmap failed");
	vm_madvise(as, AT, 16 * MiB, MADV_NOHUGEPAGE);
	must(vm_fault(as, AT, FAULT_WRITE) == 0, "vm_fault failed");
}

int main(void)
{
	set_up();
	timing_report("frame", batch_frame, 200000);
	timing_report("frame_many", batch_frame_many, 100000);
	timing_report("slab", batch_slab, 200000);
	timing_report("slab_many", batch_slab_many, 100000);
	timing_report("pt_walk", batch_walk, 100000);
	timing_report("mmap_munmap_4k", batch_map_4k, 20000);
	timing_report("mmap_munmap_64m", batch_map_64m, 20000);
	timing_report("fault_anon", batch_fault, 5120);
	return 0;
}

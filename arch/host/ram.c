/*
 * Fake physical memory for the host tests, see ram.h. Everything is reserved without access and
 * opened only where boot_info says RAM: the frame table by way of frame_table_map, as the
 * kernel's own page table does it.
 */
#include "arch/host/ram.h"

#include <string.h>
#include <sys/mman.h>

#include "lib/kassert.h"
#include "mm/frame.h"

struct frame *host_frame_table;
unsigned long host_direct_map;
struct boot_info boot_info;

static size_t direct_size, table_size;

static void *reserve(size_t size)
{
	void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		panic("host: no address space for %zu bytes of RAM", size);
	return p;
}

static int open_pages(u64 start, u64 end)
{
	return mprotect((void *)start, end - start, PROT_READ | PROT_WRITE);
}

void host_ram_map(void)
{
	u64 end = 0;

	for (u32 i = 0; i < boot_info.nr_ranges; i++)
		if (boot_info.range[i].type == MEM_RAM && boot_info.range[i].end > end)
			end = boot_info.range[i].end;
	kassert(end != 0 && end <= 128 * GiB);
	direct_size = ALIGN_UP(end, (1ul << FRAME_MAX_ORDER) * PAGE_SIZE);
	table_size = direct_size / PAGE_SIZE * sizeof(struct frame);
	host_direct_map = (unsigned long)reserve(direct_size);
	host_frame_table = reserve(table_size);
	for (u32 i = 0; i < boot_info.nr_ranges; i++) {
		u64 from = ALIGN_UP(boot_info.range[i].start, PAGE_SIZE);
		u64 to = ALIGN_DOWN(boot_info.range[i].end, PAGE_SIZE);

		if (boot_info.range[i].type == MEM_RAM && to > from)
			kassert(open_pages(host_direct_map + from, host_direct_map + to) == 0);
	}
	early_init();
}

void host_ram_start(void)
{
	frame_table_map(open_pages);
	frame_init();
}

void host_ram_init(u64 frames)
{
	memset(&boot_info, 0, sizeof(boot_info));
	boot_info.protocol = "host";
	boot_info.loader = "";
	boot_info.range[0] =
		(struct mem_range){ HOST_RAM_BASE, HOST_RAM_BASE + frames * PAGE_SIZE, MEM_RAM };
	boot_info.nr_ranges = 1;
	host_ram_map();
	host_ram_start();
}

void host_ram_exit(void)
{
	munmap((void *)host_direct_map, direct_size);
	munmap(host_frame_table, table_size);
	host_direct_map = 0;
	host_frame_table = NULL;
}

/*
 * What the boot loader says, brought into one form (arch/api/boot.h). Runs on the boot stack with
 * the boot page tables; everything is copied, since the loader's structures lie in memory that the
 * frame allocator is going to give away.
 *
 * Sources: Xen's "x86/HVM direct boot ABI" (PVH), the Multiboot2 specification 2.0, section 3.6.
 */
#include "arch/x86/boot.h"

#include "arch/api/boot.h"
#include "arch/api/percpu.h"
#include "arch/api/upcall.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/desc.h"
#include "arch/x86/uaccess.h"
#include "lib/kassert.h"
#include "lib/string.h"
#include "machine/memlayout.h"

#define PVH_MAGIC     0x336ec578
#define MB2_BOOTMAGIC 0x36d76289
#define BOOT_MAPPED   (4 * GiB) /* the boot tables reach no further */

struct boot_info boot_info;

DEFINE_PER_CPU(u32, cpu_number);
unsigned long percpu_base[NR_CPUS];
u32 nr_cpus = 1;

extern char __percpu_load[], __percpu_image[], __percpu_start[], __percpu_end[];
extern char __image_start[], __image_end[];

__section(".percpu") unsigned long percpu_self = (unsigned long)__percpu_load;

struct pvh_start_info {
	u32 magic, version, flags, nr_modules;
	u64 modlist, cmdline, rsdp, memmap;
	u32 memmap_entries, reserved;
};

struct pvh_module {
	u64 start, size, cmdline, reserved;
};

struct pvh_range {
	u64 start, size;
	u32 type, reserved;
};

struct mb2_tag {
	u32 type, size;
};

struct mb2_module {
	struct mb2_tag tag;
	u32 start, end;
};

struct mb2_mmap {
	struct mb2_tag tag;
	u32 entry_size, entry_version;
};

struct mb2_mmap_entry {
	u64 start, size;
	u32 type, reserved;
};

struct mb2_framebuffer {
	struct mb2_tag tag;
	u64 base;
	u32 pitch, width, height;
	u8 bpp, type;
	u16 reserved;
	u8 red_shift, red_size, green_shift, green_size, blue_shift, blue_size;
};

static const void *at(u64 pa)
{
	return (const void *)(DIRECT_MAP + pa);
}

static void take_cmdline(const char *line)
{
	size_t len = kstrlcpy(boot_info.cmdline, line, sizeof(boot_info.cmdline));

	boot_info.cmdline_truncated = len >= sizeof(boot_info.cmdline);
}

static void add_range(u64 start, u64 size, u32 type)
{
	u32 i = boot_info.nr_ranges;

	if (size == 0 || start + size < start || i == BOOT_MAX_RANGES)
		return;
	if (type == 0 || type > MEM_BAD)
		type = MEM_RESERVED;
	for (; i > 0 && boot_info.range[i - 1].start > start; i--)
		boot_info.range[i] = boot_info.range[i - 1];
	boot_info.range[i] = (struct mem_range){ start, start + size, (enum mem_type)type };
	boot_info.nr_ranges++;
}

static void drop_range(u32 i)
{
	boot_info.nr_ranges--;
	memmove(&boot_info.range[i], &boot_info.range[i + 1],
		(boot_info.nr_ranges - i) * sizeof(boot_info.range[0]));
}

/*
 * Makes the sorted ranges disjoint: where two overlap, the one that is not RAM keeps the bytes.
 * Each step shortens or drops one range, or splits RAM around a reserved one, so it ends.
 */
static void resolve_overlaps(void)
{
	for (u32 i = 0; i + 1 < boot_info.nr_ranges;) {
		struct mem_range *a = &boot_info.range[i], *b = a + 1;
		u64 a_end = a->end;

		if (b->start >= a->end) {
			i++;
		} else if (a->type == b->type) {
			a->end = MAX(a->end, b->end);
			drop_range(i + 1);
		} else if (a->type == MEM_RAM) {
			u64 b_end = b->end;

			a->end = b->start;
			if (a->start == a->end)
				drop_range(i);
			if (a_end > b_end)
				add_range(b_end, a_end - b_end, MEM_RAM);
		} else if (b->end <= a->end) {
			drop_range(i + 1);
		} else {
			struct mem_range rest = { a->end, b->end, b->type };

			drop_range(i + 1);
			add_range(rest.start, rest.end - rest.start, rest.type);
		}
	}
}

static void add_module(u64 start, u64 end)
{
	if (start < end && boot_info.nr_modules < BOOT_MAX_MODULES)
		boot_info.module[boot_info.nr_modules++] = (struct boot_module){ start, end };
}

static void parse_pvh(u64 info_pa)
{
	const struct pvh_start_info *si = at(info_pa);

	if (si->magic != PVH_MAGIC)
		panic("boot: neither PVH nor Multiboot2 started this kernel (magic %#x)",
		      si->magic);
	boot_info.protocol = "PVH";
	boot_info.loader = "";
	boot_info.rsdp = si->rsdp;
	if (si->cmdline && si->cmdline < BOOT_MAPPED)
		take_cmdline(at(si->cmdline));
	const struct pvh_module *mod = at(si->modlist);
	for (u32 i = 0; i < si->nr_modules; i++)
		add_module(mod[i].start, mod[i].start + mod[i].size);
	if (si->version < 1 || si->memmap_entries == 0)
		panic("boot: the loader gives no memory map (PVH version %u)", si->version);
	const struct pvh_range *r = at(si->memmap);
	for (u32 i = 0; i < si->memmap_entries; i++)
		add_range(r[i].start, r[i].size, r[i].type);
}

static void parse_mb2_mmap(const struct mb2_mmap *map)
{
	const char *end = (const char *)map + map->tag.size;

	if (map->entry_size < sizeof(struct mb2_mmap_entry))
		return;
	for (const char *p = (const char *)(map + 1); p + map->entry_size <= end;
	     p += map->entry_size) {
		const struct mb2_mmap_entry *e = (const void *)p;

		add_range(e->start, e->size, e->type);
	}
}

static void parse_mb2_framebuffer(const struct mb2_framebuffer *fb)
{
	boot_info.fb = (struct boot_framebuffer){
		.base = fb->base, .pitch = fb->pitch, .width = fb->width, .height = fb->height
	};
	if (fb->type == 2) { /* EGA text */
		boot_info.fb.bpp = 0xff;
	} else if (fb->type == 1) {
		boot_info.fb.bpp = fb->bpp;
		boot_info.fb.red_shift = fb->red_shift;
		boot_info.fb.red_size = fb->red_size;
		boot_info.fb.green_shift = fb->green_shift;
		boot_info.fb.green_size = fb->green_size;
		boot_info.fb.blue_shift = fb->blue_shift;
		boot_info.fb.blue_size = fb->blue_size;
	} else {
		boot_info.fb.base = 0; /* indexed colour: not served */
	}
}

static void take_rsdp(const struct mb2_tag *tag)
{
	u32 len = MIN(tag->size - (u32)sizeof(*tag), (u32)sizeof(boot_info.rsdp_copy));

	if (len < boot_info.rsdp_copy_len)
		return; /* the newer revision is already here */
	memcpy(boot_info.rsdp_copy, tag + 1, len);
	boot_info.rsdp_copy_len = len;
}

static void parse_mb2(u64 info_pa)
{
	static char loader[64];
	const char *p = at(info_pa);
	const char *end = p + *(const u32 *)p;

	boot_info.protocol = "Multiboot2";
	boot_info.loader = loader;
	for (p += 8; p + sizeof(struct mb2_tag) <= end;) {
		const struct mb2_tag *tag = (const void *)p;

		if (tag->type == 0 || tag->size < sizeof(*tag))
			break;
		switch (tag->type) {
		case 1: take_cmdline((const char *)(tag + 1)); break;
		case 2: kstrlcpy(loader, (const char *)(tag + 1), sizeof(loader)); break;
		case 3: {
			const struct mb2_module *m = (const void *)tag;

			add_module(m->start, m->end);
			break;
		}
		case 6: parse_mb2_mmap((const void *)tag); break;
		case 8: parse_mb2_framebuffer((const void *)tag); break;
		case 14:
		case 15: take_rsdp(tag); break;
		}
		p += ALIGN_UP(tag->size, 8u);
	}
}

void boot_main(u32 magic, u64 info_pa)
{
	/* The first CPU uses the variables as they were loaded; the others get copies of this. */
	memcpy(__percpu_image, __percpu_load, (size_t)(__percpu_end - __percpu_start));
	percpu_base[0] = (unsigned long)__percpu_load;
	cpu_features_init();
	desc_init_boot();
	uaccess_patch();
	if (magic == MB2_BOOTMAGIC)
		parse_mb2(info_pa);
	else
		parse_pvh(info_pa);
	resolve_overlaps();
	boot_info.kernel_start = ALIGN_DOWN((u64)__image_start - KERNEL_BASE, PAGE_SIZE);
	boot_info.kernel_end = ALIGN_UP((u64)__image_end - KERNEL_BASE, PAGE_SIZE);
	kernel_main();
}

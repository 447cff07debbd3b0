/*
 * What the boot protocols (PVH, Multiboot2) tell, in one form. Filled by the machine before
 * kernel_main; all strings and arrays are copies in the kernel's own data. Immutable afterwards.
 */
#pragma once

#include "lib/types.h"

enum mem_type {
	MEM_RAM = 1,
	MEM_RESERVED = 2,
	MEM_ACPI_RECLAIM = 3,
	MEM_ACPI_NVS = 4,
	MEM_BAD = 5
};

struct mem_range {
	u64 start; /* physical, inclusive */
	u64 end;   /* exclusive, > start */
	enum mem_type type;
};

struct boot_module {
	u64 start; /* physical, exclusive end; RAM that the frame allocator keeps until boot_module_free */
	u64 end;
};

struct boot_framebuffer {
	u64 base; /* physical; 0 when there is none */
	u32 pitch, width, height;
	u8 bpp; /* 16, 24 or 32; 0xff: EGA text, width and height in characters */
	u8 red_shift, red_size, green_shift, green_size, blue_shift, blue_size;
};

#define BOOT_MAX_RANGES  128
#define BOOT_MAX_MODULES 8
#define BOOT_CMDLINE_MAX 4096

struct boot_info {
	const char *protocol;                    /* "PVH" or "Multiboot2" */
	const char *loader;                      /* the loader's name, or "" */
	struct mem_range range[BOOT_MAX_RANGES]; /* sorted, disjoint */
	u32 nr_ranges;
	struct boot_module module[BOOT_MAX_MODULES];
	u32 nr_modules;
	u64 rsdp;          /* physical; 0: search for it */
	u8 rsdp_copy[36];  /* Multiboot2 hands over a copy instead */
	u32 rsdp_copy_len; /* 0 or 20 or 36 */
	struct boot_framebuffer fb;
	char cmdline[BOOT_CMDLINE_MAX];
	u64 kernel_start, kernel_end; /* physical, page aligned: the image with its bss */
	bool cmdline_truncated;
};

extern struct boot_info boot_info;

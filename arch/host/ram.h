/*
 * The fake physical memory of the host tests: host_direct_map and host_frame_table over one
 * anonymous mapping, with the real early allocator and the real frame allocator set up on it.
 * What is no RAM has no memory behind it, neither in the direct map nor in the frame table, so
 * that a stray access ends the test.
 *
 *	nr_cpus = 4;               (if the test plays several CPUs; before host_ram_init)
 *	host_ram_init(4096);       16 MiB, all of it free
 *	slab_init();               if the test needs objects
 *	...
 *	host_ram_exit();           forgets everything; host_ram_init may follow again
 */
#pragma once

#include "arch/api/boot.h"

/* Where the RAM of host_ram_init begins: no frame below has a valid number. */
#define HOST_RAM_BASE (4 * MiB)

/* `frames` frames of RAM at HOST_RAM_BASE, all given to the allocator. */
void host_ram_init(u64 frames);

/*
 * RAM as boot_info describes it: the caller fills ranges, modules and the kernel's place before.
 * Addresses up to 128 GiB. host_ram_map prepares the mappings and the early allocator;
 * host_ram_start goes on to frame_init. host_ram_init does both.
 */
void host_ram_map(void);
void host_ram_start(void);

void host_ram_exit(void);

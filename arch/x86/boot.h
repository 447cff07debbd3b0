/* The first C function, called by start.S. magic: eax of the boot protocol; info_pa: its structure. */
#pragma once

#include "lib/types.h"

__noreturn void boot_main(u32 magic, u64 info_pa);

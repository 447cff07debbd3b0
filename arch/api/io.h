/*
 * Port and memory-mapped I/O for drivers of PC devices: inb outb inw outw inl outl,
 * mmio_read32/64, mmio_write32/64 on what mmio_map (mm/kmap.h) returned.
 */
#pragma once

#include "machine/io.h"

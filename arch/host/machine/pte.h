/* The host simulates an x86 page walk: the entries are the kernel's own. */
#pragma once

#include "arch/x86/machine/pte.h"

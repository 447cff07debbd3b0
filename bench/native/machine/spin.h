/* The kernel's own unlock. */
#pragma once

#include "../../../arch/x86/machine/spin.h"

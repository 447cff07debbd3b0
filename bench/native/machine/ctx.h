/* The kernel's own switch. */
#pragma once

#include "../../../arch/x86/machine/ctx.h"

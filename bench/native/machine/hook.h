/* The switch's site is there, and nobody patches it. */
#pragma once

#include "../../../arch/x86/machine/hook.h"

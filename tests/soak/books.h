/* The kernel's books (/proc/jiffy): what there is before a load, and the same after it. */
#pragma once

#include <stdbool.h>

/* What there is before. False: this is not Jiffy. */
bool books_take(void);
/* What there is now against that, and the kernel's own audit; tells what differs. */
bool books_balance(void);

/* Objects behind anonymous shared memory. */
#pragma once

#include "mm/vm_object.h"

/* An object of so many zero pages (1 ... 2^35), with one reference. NULL: out of memory. */
struct vm_object *anon_object_create(u64 pages);

/* Was o made by anon_object_create? */
bool vm_object_is_anon(const struct vm_object *o);

/*
 * All system calls, as syscall/table.tbl lists them: s64 sys_NAME(arguments). They run with
 * interrupts on, may sleep, and return a result or -errno; -ERESTARTSYS and its relatives
 * (lib/uapi/errno.h) say that a signal came first.
 */
#pragma once

#include "lib/types.h"
#include "lib/err.h"

#include "syscall_table.h"

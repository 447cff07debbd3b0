/* Interrupt handlers of devices. */
#pragma once

#include "lib/types.h"

enum irq_result { IRQ_NONE, IRQ_HANDLED };

/* Adds a handler for a line (several may share it) and unmasks it. 0, -ENOMEM, -ENODEV. */
int irq_register(unsigned line, const char *name, enum irq_result (*fn)(void *arg), void *arg);

/* Interrupts taken on a line, and those that no handler took. */
u64 irq_count(unsigned line);
u64 irq_unhandled(unsigned line);
const char *irq_name(unsigned line); /* of its first handler, or NULL */

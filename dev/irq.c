/*
 * Interrupt handlers of devices, by line.
 *
 * A line's handlers form a list that only grows, at its end: a handler is complete before the
 * pointer to it is stored with release, so irq_dispatch walks without a lock, in the interrupt.
 *
 * A line that interrupts without a handler that wants it (a device in a strange state, on a
 * level-triggered line) would never let the machine do anything else. After STORM_LIMIT such
 * interrupts in a row it is masked, with one line in the log.
 */
#include "dev/irq.h"

#include "arch/api/irq.h"
#include "arch/api/upcall.h"
#include "lib/atomic.h"
#include "lib/err.h"
#include "lib/klog.h"
#include "mm/slab.h"
#include "sync/spinlock.h"

#define STORM_LIMIT 1000

struct irq_handler {
	struct irq_handler *next; /* [release] */
	enum irq_result (*fn)(void *arg);
	void *arg;
	const char *name;
};

struct irq_line {
	struct irq_handler *first; /* [release] */
	u64 count, unhandled;      /* [o] the CPU that the line goes to */
	u32 unhandled_in_a_row;    /* [o] */
	bool masked;               /* [irq_lock] by the storm protection */
};

static struct irq_line lines[IRQ_LINES];
static spinlock_t irq_lock = SPINLOCK_INIT("irq", RANK_IRQ); /* over appending and (un)masking */

int irq_register(unsigned line, const char *name, enum irq_result (*fn)(void *arg), void *arg)
{
	if (line >= IRQ_LINES)
		return -ENODEV;
	struct irq_handler *h = kmalloc(sizeof(*h));
	if (!h)
		return -ENOMEM;
	*h = (struct irq_handler){ .fn = fn, .arg = arg, .name = name };

	u64 flags = spin_lock_irqsave(&irq_lock);
	struct irq_handler **end = &lines[line].first;
	while (*end)
		end = &(*end)->next;
	store_release(end, h);
	int err = irq_arch_unmask(line);
	if (err)
		*end = NULL; /* nobody serves the line, so nobody has seen h */
	else
		lines[line].masked = false;
	spin_unlock_irqrestore(&irq_lock, flags);
	if (err)
		kfree(h);
	return err;
}

static void note_unhandled(unsigned line)
{
	struct irq_line *l = &lines[line];
	bool first;

	l->unhandled++;
	if (++l->unhandled_in_a_row < STORM_LIMIT)
		return;
	/* Under the lock: else a handler that comes at this moment would find its line masked for ever. */
	u64 flags = spin_lock_irqsave(&irq_lock);
	first = !l->masked;
	if (first)
		irq_arch_mask(line);
	l->masked = true;
	spin_unlock_irqrestore(&irq_lock, flags);
	l->unhandled_in_a_row = 0;
	if (!first)
		return;
	log_warn("irq: line %u (%s) masked: %u interrupts in a row that nobody wanted\n", line,
		 l->first ? l->first->name : "no handler", STORM_LIMIT);
}

void irq_dispatch(unsigned line)
{
	struct irq_line *l = &lines[line];
	bool handled = false;

	kassert(line < IRQ_LINES);
	l->count++;
	for (struct irq_handler *h = load_acquire(&l->first); h; h = load_acquire(&h->next))
		if (h->fn(h->arg) == IRQ_HANDLED)
			handled = true;
	if (likely(handled))
		l->unhandled_in_a_row = 0;
	else
		note_unhandled(line);
}

u64 irq_count(unsigned line)
{
	if (line >= IRQ_LINES)
		return 0;
	return READ_ONCE(lines[line].count) + irq_arch_clock_count(line);
}

u64 irq_unhandled(unsigned line)
{
	return line < IRQ_LINES ? READ_ONCE(lines[line].unhandled) : 0;
}

const char *irq_name(unsigned line)
{
	struct irq_handler *h = line < IRQ_LINES ? load_acquire(&lines[line].first) : NULL;

	return h ? h->name : NULL;
}

/*
 * The log: a ring of slots, written without locks.
 *
 * A line takes one slot, or several in a row when it is long. The writer draws the numbers of its
 * slots with one atomic addition, fills them, and marks each by storing its number + 1 as the
 * stamp. A reader accepts a slot whose stamp is the number it expects before and after copying,
 * and a line when it has all of its slots: so lines are whole, and neither an interrupt, an NMI nor
 * a panic in the middle of a writer can block anybody.
 *
 * Output to the sinks is the duty of whoever finds it free (out_busy): he writes all complete
 * lines, his own and those of others, and looks once more after he gave the duty back, because a
 * writer that found it taken has left without waiting. A panic takes the duty by force.
 *
 * What is accepted: a writer held up (its interrupts are on) while 512 further slots are written
 * may spoil one line of the ring; and a line can appear a moment late, written by another CPU.
 */
#include "lib/klog.h"

#include "arch/api/cpu.h"
#include "lib/atomic.h"
#include "lib/fmt.h"
#include "lib/string.h"

#define KLOG_SLOTS 512 /* power of two; 64 KiB */
#define SLOT_TEXT  104
#define LINE_TEXT  400 /* longer lines are cut */
#define PREFIX_MAX 32

struct slot {
	u64 stamp; /* its number + 1 when complete */
	u64 time;  /* ns */
	u8 level;
	u8 len;
	u8 index; /* 0: a line begins */
	u8 more;  /* slots of the line that follow */
	u8 pad[4];
	char text[SLOT_TEXT];
};
_Static_assert(sizeof(struct slot) == 128, "slot size");

struct line {
	u64 time;
	u8 level;
	size_t len;
	char text[LINE_TEXT];
};

u64 (*klog_clock)(void);

static struct slot ring[KLOG_SLOTS];
static atomic64_t ring_head; /* [a] the next number to draw */

static atomic_t out_busy;                         /* [a] somebody writes to the sinks */
static struct klog_sink *sinks;                   /* [out_busy], as are their positions */
static struct line out_line;                      /* [out_busy] */
static char out_text[PREFIX_MAX + LINE_TEXT + 1]; /* [out_busy] */
static bool panicking;

static void slot_fill(u64 number, u64 time, u8 level, unsigned index, unsigned more, const char *s,
		      size_t n)
{
	struct slot *slot = &ring[number % KLOG_SLOTS];

	store_release(&slot->stamp, 0);
	memory_barrier();
	slot->time = time;
	slot->level = level;
	slot->len = (u8)n;
	slot->index = (u8)index;
	slot->more = (u8)more;
	memcpy(slot->text, s, n);
	store_release(&slot->stamp, number + 1);
}

static void line_store(u64 time, u8 level, const char *s, size_t len)
{
	unsigned count = len == 0 ? 1 : (unsigned)((len + SLOT_TEXT - 1) / SLOT_TEXT);
	u64 first = atomic_fetch_add(&ring_head, (u64)count);

	for (unsigned i = 0; i < count; i++) {
		size_t n = MIN(len, (size_t)SLOT_TEXT);

		slot_fill(first + i, time, level, i, count - 1 - i, s, n);
		s += n;
		len -= n;
	}
}

enum slot_state { SLOT_READY, SLOT_PENDING, SLOT_GONE };

/* Appends slot `number` to the line. */
static enum slot_state slot_copy(u64 number, struct line *line, unsigned *index, unsigned *more)
{
	const struct slot *slot = &ring[number % KLOG_SLOTS];
	u64 stamp = load_acquire(&slot->stamp);
	size_t n;

	if (stamp != number + 1)
		return stamp > number + 1 ? SLOT_GONE : SLOT_PENDING;
	n = MIN((size_t)slot->len, sizeof(line->text) - line->len);
	memcpy(line->text + line->len, slot->text, n);
	line->time = slot->time;
	line->level = slot->level;
	*index = slot->index;
	*more = slot->more;
	acquire_barrier();
	if (READ_ONCE(slot->stamp) != number + 1)
		return SLOT_GONE;
	line->len += n;
	return SLOT_READY;
}

/* Reads the whole line at *position or the first behind it; false: none is complete. */
static bool line_next(u64 *position, struct line *line)
{
	u64 head = atomic_load_acquire(&ring_head);
	u64 at = *position;

	if (head - at > KLOG_SLOTS)
		at = head - KLOG_SLOTS;
	while (at < head) {
		unsigned index = 0, more = 0, i = 0;
		enum slot_state state;

		line->len = 0;
		do {
			state = at + i < head ? slot_copy(at + i, line, &index, &more) :
						SLOT_PENDING;
			if (state != SLOT_READY || index != i)
				break;
			i++;
		} while (more != 0);
		if (state == SLOT_READY && index == i - 1 && more == 0) {
			store_release(position, at + i);
			return true;
		}
		if (state == SLOT_PENDING && !panicking)
			break;
		at++; /* overwritten, or the tail of a line whose head was */
	}
	store_release(position, at); /* sinks_behind reads it without the duty */
	return false;
}

/* The line as people see it, at most PREFIX_MAX + LINE_TEXT + 1 bytes with its \n. */
static size_t line_format(char *buf, const struct line *line)
{
	u64 us = line->time / NSEC_PER_USEC;
	int n = ksnprintf(buf, PREFIX_MAX, "[%5lu.%06lu] ", us / 1000000, us % 1000000);

	n = MIN(n, PREFIX_MAX - 1);
	memcpy(buf + n, line->text, line->len);
	buf[(size_t)n + line->len] = '\n';
	return (size_t)n + line->len + 1;
}

static void sink_catch_up(struct klog_sink *sink)
{
	while (line_next(&sink->position, &out_line)) {
		if (out_line.level <= (u8)sink->max_level || panicking)
			sink->write(out_text, line_format(out_text, &out_line));
	}
}

static bool sinks_behind(void)
{
	for (struct klog_sink *s = READ_ONCE(sinks); s; s = s->next) {
		u64 at = load_acquire(&s->position);
		u64 head = atomic_load_acquire(&ring_head);

		if (s->panic_only || at >= head)
			continue;
		if (head - at > KLOG_SLOTS || load_acquire(&ring[at % KLOG_SLOTS].stamp) > at)
			return true;
	}
	return false;
}

/*
 * A line may be pending whose writer is preempted or on another CPU: he flushes when it is
 * complete, so the loop ends with the lines that are.
 */
static void sinks_flush(void)
{
	u64 flags = irq_save();
	unsigned rounds = 0;

	do {
		if (atomic_exchange(&out_busy, 1u) && !panicking)
			break;
		for (struct klog_sink *s = sinks; s; s = s->next) {
			if (!s->panic_only)
				sink_catch_up(s);
		}
		atomic_store_release(&out_busy, 0u);
		memory_barrier();
	} while (sinks_behind() && ++rounds < KLOG_SLOTS);
	irq_restore(flags);
}

void klog(enum klog_level level, const char *fmt, ...)
{
	char text[LINE_TEXT + 1];
	u64 time = klog_clock ? klog_clock() : 0;
	const char *s = text;
	va_list ap;

	va_start(ap, fmt);
	kvsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	do {
		const char *end = strchr(s, '\n');
		size_t n = end ? (size_t)(end - s) : strlen(s);

		line_store(time, (u8)level, s, n);
		s = end ? end + 1 : s + n;
	} while (*s);
	sinks_flush();
}

void klog_add_sink(struct klog_sink *sink)
{
	u64 flags = irq_save();

	while (atomic_exchange(&out_busy, 1u))
		cpu_relax();
	sink->next = sinks;
	store_release(&sinks, sink);
	atomic_store_release(&out_busy, 0u);
	irq_restore(flags);
	sinks_flush();
}

/* The position from which the complete lines fit in n bytes. */
static __noinline u64 tail_position(size_t n)
{
	char text[PREFIX_MAX];
	struct line line;
	u64 head = atomic_load(&ring_head);
	u64 start = head > KLOG_SLOTS ? head - KLOG_SLOTS : 0;
	u64 at = start;
	size_t total = 0;

	for (int pass = 0; pass < 2; pass++) {
		size_t left = total;

		at = start;
		for (;;) {
			u64 before = at;
			u64 us;

			if (pass == 1 && left <= n)
				return before;
			if (!line_next(&at, &line))
				break;
			us = line.time / NSEC_PER_USEC;
			size_t len = (size_t)ksnprintf(text, sizeof(text), "[%5lu.%06lu] ",
						       us / 1000000, us % 1000000) +
				     line.len + 1;
			if (pass == 0)
				total += len;
			else
				left -= MIN(left, len);
		}
	}
	return at;
}

size_t klog_read(char *buf, size_t n, u64 *position)
{
	char text[PREFIX_MAX + LINE_TEXT + 1];
	u64 at = position ? *position : tail_position(n);
	size_t done = 0;

	for (;;) {
		struct line line;
		u64 next = at;
		size_t len;

		if (!line_next(&next, &line))
			break;
		len = line_format(text, &line);
		if (len > n - done)
			break;
		memcpy(buf + done, text, len);
		done += len;
		at = next;
	}
	if (position)
		*position = at;
	return done;
}

void klog_panic_begin(void)
{
	u64 head;

	for (unsigned i = 0; i < 1000000 && atomic_load(&out_busy); i++)
		cpu_relax();
	panicking = true;
	head = atomic_load(&ring_head);
	for (struct klog_sink *s = sinks; s; s = s->next) {
		if (s->panic_only) {
			s->position = head;
			s->panic_only = false;
		}
	}
}

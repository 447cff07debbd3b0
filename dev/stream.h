/*
 * Serial ports as bare byte streams, for a machine whose only job is one program (option
 * stdio=stream): no echo, no translation, no terminal. "stream0" is COM1 (the program's standard
 * input and output), "stream1" COM2 (its standard error), or COM1 where there is no COM2.
 *
 * The host escapes what it sends: ff ff is the byte ff, ff 00 is the end of the file, for good.
 * Other pairs are ignored. Output is sent as it is.
 */
#pragma once

#include "lib/types.h"
#include "sched/waitq.h"

struct stream;
struct uio;

/* Makes the present ports streams. After irq_arch_init; may sleep. */
void stream_init(void);

/* NULL: no such stream (or not in stream mode). */
struct stream *stream_find(const char *name);

/* Bytes, 0 at the end of the file, -EAGAIN (O_NONBLOCK in flags), -ERESTARTSYS, -EFAULT. */
ssize_t stream_read(struct stream *s, struct uio *dst, int flags);

/* Writes all, waiting as long as the host does not listen. Bytes or -errno as above. */
ssize_t stream_write(struct stream *s, struct uio *src, int flags);

/* POLL* ready now, and the queue that tells of changes. */
unsigned stream_poll(struct stream *s, struct waitq **wq);

/* FIONREAD: bytes that a read gets at once. */
size_t stream_available(const struct stream *s);

const char *stream_name(const struct stream *s);

/*
 * The buddy system.
 *
 * A free block of order n begins at a multiple of 2^n frames. Its head has type FRAME_FREE, its
 * order, and a place in free[n]; the frames behind it have FRAME_FREE and BUDDY_INSIDE. So the
 * frame at the buddy's number tells by itself whether it is the head of a free block of the same
 * order, without any bitmap; and two free buddies never stand side by side, they merge at once.
 *
 * The number of a block's buddy can lie in a hole. That is safe to look at: the frame table has
 * memory for every block of the greatest order that holds any RAM, and holes are FRAME_RESERVED.
 *
 * A block of the greatest order that was never used is fresh: only its head is in order, the entries behind it
 * are written when the block is taken. Nobody looks at them before, for no block merges beyond that order.
 *
 * Lists are last in, first out: what was freed last may still be in the caches.
 *
 * Several buddy systems may share a span (mm/frame.c). The head of a free block says in frame.owner whose it
 * is. A neighbour merges only if it is free and ours, and it becomes ours, or ceases to be, under
 * our lock alone: what another one does to it meanwhile cannot mislead us.
 *
 * Lock: buddy.lock, interrupts off, since interrupt handlers allocate. Type, order, link and owner of a
 * free frame belong to it.
 */
#include "mm/buddy.h"

#include "lib/kassert.h"
#include "mm/internal.h"

void buddy_init(struct buddy *b, pfn_t start, pfn_t end)
{
	spin_init(&b->lock, "buddy", RANK_BUDDY);
	b->orders = 0;
	b->start = start;
	b->end = end;
	b->nr_free = 0;
	for (unsigned i = 0; i <= FRAME_MAX_ORDER; i++)
		list_init(&b->free[i]);
}

static inline void block_push(struct buddy *b, struct frame *f, unsigned order)
{
	f->order = (u8)order;
	f->owner = (u64)b;
	list_add(&b->free[order], &f->link);
	b->orders |= 1u << order;
}

/* Is f the head of a free block of this order, and ours? Others' frames change under our eyes. */
static inline __racy bool is_ours(const struct buddy *b, const struct frame *f, unsigned order)
{
	return READ_ONCE(f->owner) == (u64)b && READ_ONCE(f->type) == FRAME_FREE &&
	       READ_ONCE(f->order) == order;
}

static inline void block_remove(struct buddy *b, struct frame *f, unsigned order)
{
	list_del(&f->link);
	f->owner = 0;
	if (list_empty(&b->free[order]))
		b->orders &= ~(1u << order);
}

/* Writes the entries behind the head, which is ours. */
static __noinline void open_fresh(struct frame *head)
{
	head->flags = 0;
#pragma GCC unroll 8
	for (struct frame *f = head + 1; f < head + (1ul << FRAME_MAX_ORDER); f++)
		*f = (struct frame){ .type = FRAME_FREE, .order = BUDDY_INSIDE };
}

struct frame *buddy_alloc_locked(struct buddy *b, unsigned order)
{
	u32 fitting = b->orders >> order;

	if (fitting == 0)
		return NULL;
	unsigned from = order + (unsigned)__builtin_ctz(fitting);
	struct frame *f = list_entry(b->free[from].next, struct frame, link);

	kassert(f->type == FRAME_FREE && f->order == from);
	block_remove(b, f, from);
	if (from == FRAME_MAX_ORDER && (f->flags & BUDDY_FRESH))
		open_fresh(f);
	while (from > order) {
		from--;
		block_push(b, f + (1ul << from), from);
	}
	f->order = (u8)order;
	b->nr_free -= 1ul << order;
	return f;
}

/* Free, inside a block: type and order in one store. */
static inline void mark_inside(struct frame *f)
{
	_Static_assert(offsetof(struct frame, order) == offsetof(struct frame, type) + 1, "a pair");
	__atomic_store_n((u16 *)&f->type, FRAME_FREE | BUDDY_INSIDE << 8, __ATOMIC_RELAXED);
}

static inline void mark_all_inside(struct frame *f, unsigned order)
{
	struct frame *end = f + (1ul << order);

	if (order < 3) {
		for (; f < end; f++)
			mark_inside(f);
		return;
	}
	do {
#pragma GCC unroll 8
		for (unsigned i = 0; i < 8; i++)
			mark_inside(&f[i]);
		f += 8;
	} while (f < end);
}

/* Neighbours that are free in different systems do not merge until one has both. */
static __always_inline void merge_and_push(struct buddy *b, pfn_t pfn, unsigned order)
{
	while (order < FRAME_MAX_ORDER) {
		pfn_t other = pfn ^ (1ul << order);
		struct frame *buddy = pfn_frame(other);

		if (other < b->start || other >= b->end || !is_ours(b, buddy, order))
			break;
		block_remove(b, buddy, order);
		buddy->order = BUDDY_INSIDE;
		pfn &= ~(1ul << order);
		order++;
	}
	block_push(b, pfn_frame(pfn), order);
}

void buddy_free_locked(struct buddy *b, struct frame *f, unsigned order)
{
	pfn_t pfn = frame_pfn(f);

	kassert(order <= FRAME_MAX_ORDER && IS_ALIGNED(pfn, 1ul << order));
	kassert(pfn >= b->start && pfn + (1ul << order) <= b->end);
	b->nr_free += 1ul << order;
	mark_all_inside(f, order);
	merge_and_push(b, pfn, order);
}

bool buddy_move_fresh_locked(struct buddy *from, struct buddy *to, unsigned order)
{
	struct frame *f;

	if (from->orders >> order != 1u << (FRAME_MAX_ORDER - order))
		return false; /* nothing fits, or something smaller does */
	f = list_entry(from->free[FRAME_MAX_ORDER].next, struct frame, link);
	if (!(f->flags & BUDDY_FRESH))
		return false;
	block_remove(from, f, FRAME_MAX_ORDER);
	block_push(to, f, FRAME_MAX_ORDER);
	from->nr_free -= 1ul << FRAME_MAX_ORDER;
	to->nr_free += 1ul << FRAME_MAX_ORDER;
	return true;
}

/* Larger ones than asked for are split here, so that `to` gets one with its order. */
bool buddy_move_locked(struct buddy *from, struct buddy *to, unsigned order)
{
	struct frame *f = buddy_alloc_locked(from, order);

	if (!f)
		return false;
	f->order = BUDDY_INSIDE; /* until it is merged */
	to->nr_free += 1ul << order;
	merge_and_push(to, frame_pfn(f), order);
	return true;
}

/* [pfn, pfn + n) as the largest blocks that fit. */
static void free_run(struct buddy *b, pfn_t pfn, u64 n)
{
	while (n > 0) {
		unsigned order = 63 - (unsigned)__builtin_clzl(n);

		if (pfn != 0)
			order = MIN(order, (unsigned)__builtin_ctzl(pfn));
		order = MIN(order, (unsigned)FRAME_MAX_ORDER);
		buddy_free_locked(b, pfn_frame(pfn), order);
		pfn += 1ul << order;
		n -= 1ul << order;
	}
}

/* Do four frames follow on `next`? */
static inline bool four_follow(struct frame *const *f, const struct frame *next)
{
	return f[0] == next && f[1] == next + 1 && f[2] == next + 2 && f[3] == next + 3;
}

void buddy_free_frames_locked(struct buddy *b, struct frame *const *f, unsigned n)
{
	for (unsigned i = 0; i < n;) {
		const struct frame *first = f[i], *next = first + 1;
		unsigned k = i + 1;

		for (; k + 4 <= n && four_follow(f + k, next); next += 4)
			k += 4;
		for (; k < n && f[k] == next; next++)
			k++;
		if (k == i + 1) /* perhaps downwards */
			for (; k < n && f[k] == first - 1; first--)
				k++;
		free_run(b, frame_pfn(first), k - i);
		i = k;
	}
}

/* A block of the greatest order, whose entries hold anything. */
static void add_fresh(struct buddy *b, struct frame *f)
{
	*f = (struct frame){ .type = FRAME_FREE, .flags = BUDDY_FRESH };
	block_push(b, f, FRAME_MAX_ORDER);
	b->nr_free += 1ul << FRAME_MAX_ORDER;
}

void buddy_add(struct buddy *b, pfn_t start, pfn_t end)
{
	kassert(start >= b->start && end <= b->end);
	while (start < end) {
		unsigned order = FRAME_MAX_ORDER;
		u64 flags = spin_lock_irqsave(&b->lock);

		if (start != 0)
			order = MIN(order, (unsigned)__builtin_ctzl(start));
		while (start + (1ul << order) > end)
			order--;
		if (order == FRAME_MAX_ORDER) {
			add_fresh(b, pfn_frame(start));
		} else {
			kassert_eq(pfn_frame(start)->type, FRAME_RESERVED);
			buddy_free_locked(b, pfn_frame(start), order);
		}
		start += 1ul << order;
		spin_unlock_irqrestore(&b->lock, flags);
	}
}

/* The frames of one list, checked one by one. */
static u64 check_list(struct buddy *b, unsigned order)
{
	u64 frames = 0;
	struct frame *f;

	list_for_each(f, &b->free[order], link) {
		pfn_t pfn = frame_pfn(f);
		pfn_t other = pfn ^ (1ul << order);

		kassert(pfn >= b->start && pfn + (1ul << order) <= b->end);
		kassert(IS_ALIGNED(pfn, 1ul << order));
		kassert_eq(f->order, order);
		for (size_t i = 0; i < (f->flags & BUDDY_FRESH ? 1 : 1ul << order); i++) {
			kassert_eq(f[i].type, FRAME_FREE);
			kassert_eq(frame_refs(&f[i]), 0);
			kassert(i == 0 || f[i].order == BUDDY_INSIDE);
		}
		if (order < FRAME_MAX_ORDER && other >= b->start && other < b->end)
			kassert(pfn_frame(other)->type != FRAME_FREE ||
				pfn_frame(other)->order != order);
		frames += 1ul << order;
	}
	return frames;
}

void buddy_check(struct buddy *b)
{
	u64 frames = 0;
	u64 flags = spin_lock_irqsave(&b->lock);

	for (unsigned order = 0; order <= FRAME_MAX_ORDER; order++) {
		kassert_eq(list_empty(&b->free[order]), (b->orders >> order & 1) == 0);
		frames += check_list(b, order);
	}
	kassert_eq(frames, b->nr_free);
	spin_unlock_irqrestore(&b->lock, flags);
}

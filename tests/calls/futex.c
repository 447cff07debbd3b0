/* Futexes of all kinds on a few words, those with owners too, and robust lists. */
#include "calls.h"

/* As linux/futex.h has them, which musl's tools do not see. */
enum {
	FUTEX_REQUEUE = 3,
	FUTEX_CMP_REQUEUE,
	FUTEX_WAKE_OP,
	FUTEX_LOCK_PI,
	FUTEX_WAIT_BITSET = 9,
	FUTEX_WAIT_REQUEUE_PI = 11,
	FUTEX_CMP_REQUEUE_PI,
	FUTEX_LOCK_PI2,
	FUTEX_PRIVATE_FLAG = 128,
};
#define FUTEX_WAITERS    0x80000000u
#define FUTEX_OWNER_DIED 0x40000000u
#define HEAD_SIZE        24 /* of a robust list */

/* A value as an owner's word may have it, or not. */
static u32 some_state(void)
{
	static const u32 bits[] = { 0, 0, FUTEX_WAITERS, FUTEX_OWNER_DIED,
				    FUTEX_WAITERS | FUTEX_OWNER_DIED };
	u32 tid = one_in(2) ? (u32)gettid() : (u32)some_pid();

	if (one_in(10))
		return (u32)odd_value();
	return one_in(2) ? 0 : tid | bits[below(LENGTH(bits))];
}

static u32 peek(u64 word)
{
	return atomic_load(word >= (u64)board->word && word < (u64)(board->word + WORDS) ?
				   (_Atomic u32 *)word :
				   &board->word[below(WORDS)]);
}

/* Until then, for the operations that wait until a time, not for one. */
static struct timespec *soon(clockid_t clock)
{
	static __thread struct timespec t;

	clock_gettime(clock, &t);
	t.tv_nsec += (long)below(3000000);
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return &t;
}

void call_futex(void)
{
	int op = (int)below(FUTEX_LOCK_PI2 + 1);
	u64 word = maybe(some_word()), other = maybe(some_word()), time = (u64)short_time();
	u32 value = one_in(8) ? 7 : peek(word);

	if (one_in(6)) {
		atomic_store(&board->word[below(WORDS)], some_state());
		return;
	}
	switch (op) {
	case FUTEX_REQUEUE:
	case FUTEX_CMP_REQUEUE:
	case FUTEX_WAKE_OP:
	case FUTEX_CMP_REQUEUE_PI:
		time = below(5); /* so many are moved */
		value = op == FUTEX_CMP_REQUEUE_PI ? 1 : (u32)below(4);
		break;
	case FUTEX_LOCK_PI: time = (u64)soon(CLOCK_REALTIME); break;
	case FUTEX_WAIT_BITSET:
	case FUTEX_WAIT_REQUEUE_PI:
	case FUTEX_LOCK_PI2: time = (u64)soon(CLOCK_MONOTONIC); break;
	}
	if (one_in(60))
		op = (int)odd_value();
	else if (one_in(3))
		op |= FUTEX_PRIVATE_FLAG;
	call(SYS_futex, word, op, value, maybe(time), other,
	     one_in(2) ? peek(word) : (u32)odd_value());
}

/* The list's head is made of the board's nodes: next, the offset of the words, pending. */
static void mix_nodes(void)
{
	for (int i = 0; i < 8; i++) {
		u64 next = (u64)&board->node[below(NAMES)] | one_in(8);

		board->node[below(NAMES)].next = (void *)(one_in(20) ? odd_value() : next);
	}
	board->node[1].next = (void *)((u64)board->word - (u64)&board->node[below(8)]);
}

void call_robust_list(void)
{
	u64 head = one_in(2) ? (u64)board->node : some_page(), got[2];

	if (one_in(2))
		call(SYS_set_robust_list, maybe(head), maybe(HEAD_SIZE));
	else if (one_in(2))
		call(SYS_get_robust_list, some_pid(), maybe((u64)&got[0]), maybe((u64)&got[1]));
	else
		mix_nodes();
}

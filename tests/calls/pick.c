/* Random arguments. Each thread has its own numbers (xorshift64*, Vigna 2016). */
#include "calls.h"

static __thread u64 state;

void pick_seed(u64 seed)
{
	state = seed * 0x9e3779b97f4a7c15ul | 1;
	for (int i = 0; i < 20; i++)
		pick();
}

u64 pick(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dul;
}

u64 below(u64 n)
{
	return (pick() >> 11) % n;
}

bool one_in(u64 n)
{
	return below(n) == 0;
}

u64 odd_value(void)
{
	static const u64 edges[] = { 0,
				     1,
				     PAGE - 1,
				     0x7ffffffff000,
				     0x7fffffffefff,
				     0x800000000000,
				     0xffff800000000000,
				     0xffffffff80000000,
				     ~0ul,
				     ~0ul - PAGE + 1,
				     1ul << 63,
				     (1ul << 63) - 1,
				     0xffffffff,
				     0x80000000 };

	switch (below(4)) {
	case 0: return edges[below(LENGTH(edges))];
	case 1: return pick() >> below(64);
	case 2: return 1ul << below(64);
	default: return below(100000);
	}
}

u64 maybe(u64 usual)
{
	return one_in(40) ? odd_value() : usual;
}

u64 some_page(void)
{
	switch (below(6)) {
	case 0: return AREA + below(AREA_SIZE / HUGE) * HUGE;
	case 1: return AREA + below(16) * PAGE;
	case 2: return AREA + HUGE * (1 + below(4)) - PAGE * below(4);
	default: return AREA + below(AREA_SIZE / PAGE) * PAGE;
	}
}

u64 some_length(void)
{
	switch (below(8)) {
	case 0: return HUGE;
	case 1: return HUGE * (1 + below(16));
	case 2: return below(3 * PAGE);
	case 3: return PAGE * below(2048);
	default: return PAGE * (1 + below(20));
	}
}

u64 some_pointer(void)
{
	return one_in(20) ? odd_value() : some_page() + below(PAGE);
}

int some_prot(void)
{
	static const int prot[] = { PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE,
				    PROT_READ | PROT_WRITE | PROT_EXEC, PROT_READ | PROT_EXEC };

	return one_in(2) ? PROT_READ | PROT_WRITE : prot[below(LENGTH(prot))];
}

int some_fd(void)
{
	return one_in(20) ? (int)odd_value() : FIRST_FD + (int)below(FDS);
}

int some_pid(void)
{
	int pid = atomic_load(&board->pid[below(NAMES)]);

	if (one_in(30))
		return (int)odd_value();
	return pid ? pid : getpid();
}

u64 some_word(void)
{
	return one_in(4) ? some_page() + below(PAGE / 4) * 4 : (u64)&board->word[below(WORDS)];
}

struct timespec *short_time(void)
{
	static __thread struct timespec t;

	t.tv_sec = one_in(50) ? -(long)below(10) : 0;
	t.tv_nsec = one_in(50) ? (long)odd_value() : (long)below(3000000);
	return &t;
}

/*
 * Well-known relatives of what is measured natively, timed in the same way on the same machine:
 * swapcontext (it saves the signal mask by a system call), boost.context where its package is installed, and
 * malloc, of which the program is built a second time with jemalloc.
 *
 *	reference PREFIX	the figures' names begin with it
 */
#include "bench/native/timing.h"

#include <string.h>
#include <ucontext.h>

#define STACK 65536
#define MANY  1000

static ucontext_t main_context, other_context;
static volatile uint64_t switched;

static void other_main(void)
{
	for (;;) {
		switched++;
		swapcontext(&other_context, &main_context);
	}
}

static void check(uint64_t got, uint64_t want)
{
	if (got == want)
		return;
	fprintf(stderr, "native-reference: %lu switches, not %lu\n", (unsigned long)got,
		(unsigned long)want);
	exit(1);
}

static uint64_t batch_swapcontext(uint64_t rounds)
{
	uint64_t before = switched, start = timing_ticks(), ticks;

	for (uint64_t i = 0; i < rounds / 2; i++)
		swapcontext(&main_context, &other_context);
	ticks = timing_ticks() - start;
	check(switched - before, rounds / 2);
	return ticks;
}

#ifdef WITH_BOOST
/* boost.context's own interface below its C++ one. */
struct transfer {
	void *from;
	void *data;
};
void *make_fcontext(void *stack_top, size_t size, void (*fn)(struct transfer t));
struct transfer jump_fcontext(void *to, void *data);

static void *other_fcontext;

static void boost_main(struct transfer t)
{
	for (;;) {
		switched++;
		t = jump_fcontext(t.from, NULL);
	}
}

static uint64_t batch_boost(uint64_t rounds)
{
	uint64_t before = switched, start = timing_ticks(), ticks;

	for (uint64_t i = 0; i < rounds / 2; i++)
		other_fcontext = jump_fcontext(other_fcontext, NULL).from;
	ticks = timing_ticks() - start;
	check(switched - before, rounds / 2);
	return ticks;
}
#endif

static uint64_t batch_malloc(uint64_t rounds)
{
	uint64_t start = timing_ticks();

	for (uint64_t i = 0; i < rounds; i++) {
		void *p = malloc(64);

		*(volatile char *)p = 1;
		free(p);
	}
	return timing_ticks() - start;
}

static uint64_t batch_malloc_many(uint64_t rounds)
{
	static void *held[MANY];
	uint64_t start = timing_ticks();

	for (uint64_t done = 0; done < rounds; done += MANY) {
		for (int i = 0; i < MANY; i++) {
			held[i] = malloc(64);
			*(volatile char *)held[i] = 1;
		}
		for (int i = 0; i < MANY; i++)
			free(held[i]);
	}
	return timing_ticks() - start;
}

int main(int argc, char **argv)
{
	const char *allocator = argc > 1 ? argv[1] : "malloc";
	char name[64];

	if (!strcmp(allocator, "malloc")) {
		getcontext(&other_context);
		other_context.uc_stack.ss_sp = malloc(STACK);
		other_context.uc_stack.ss_size = STACK;
		makecontext(&other_context, other_main, 0);
		timing_report("swapcontext", batch_swapcontext, 20000);
#ifdef WITH_BOOST
		other_fcontext = make_fcontext((char *)malloc(STACK) + STACK, STACK, boost_main);
		timing_report("boost_context", batch_boost, 200000);
#endif
	}
	snprintf(name, sizeof(name), "%s", allocator);
	timing_report(name, batch_malloc, 200000);
	snprintf(name, sizeof(name), "%s_many", allocator);
	timing_report(name, batch_malloc_many, 100000);
	return 0;
}

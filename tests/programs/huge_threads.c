/*
 * Pages of 2 MiB in use while parts of them change: three threads write their own words in two of them and
 * check what they wrote before, as a fourth forks, protects, advises and locks parts, which splits them
 * and copies pages, but must change no word.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE    4096ul
#define LARGE   (2ul << 20)
#define PAGES   (2 * LARGE / PAGE)
#define WRITERS 3
#define ROUNDS  5

static char *memory; /* two large pages */
static int stop;
static long wrong, writes;

static void *write_words(void *arg)
{
	unsigned long id = (unsigned long)arg, n = 0, random = id;
	uint64_t *last = calloc(PAGES, sizeof(*last));

	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		unsigned long page;
		volatile uint64_t *word;

		random = random * 6364136223846793005ul + 1442695040888963407ul;
		page = (random >> 33) % PAGES;
		word = (volatile uint64_t *)(memory + page * PAGE) + 8 * id;
		if (*word != last[page])
			__atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
		*word = last[page] = ++n;
	}
	__atomic_fetch_add(&writes, (long)n, __ATOMIC_SEQ_CST);
	free(last);
	return NULL;
}

static void fork_and_write(char *at)
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		*(volatile uint64_t *)at = 99;
		munmap(at, 5 * PAGE);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		__atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
}

static void change(char *at, int how)
{
	switch (how) {
	case 0: fork_and_write(at); break;
	case 1:
		mprotect(at, 3 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
		mprotect(at, 3 * PAGE, PROT_READ | PROT_WRITE);
		break;
	case 2:
		madvise(at, 3 * PAGE, MADV_WIPEONFORK);
		madvise(at, 3 * PAGE, MADV_KEEPONFORK);
		break;
	default: mlock(at, 2 * PAGE); munlock(at, 2 * PAGE);
	}
}

int main(void)
{
	pthread_t writer[WRITERS];
	unsigned random = 1;

	printf("#: parts of large pages change while they are written\n");
	for (int round = 0; round < ROUNDS; round++) {
		char *all = mmap(NULL, 3 * LARGE, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		memory = (char *)(((unsigned long)all + LARGE - 1) & -LARGE);
		madvise(memory, 2 * LARGE, MADV_HUGEPAGE);
		stop = 0;
		for (unsigned long i = 0; i < WRITERS; i++)
			pthread_create(&writer[i], NULL, write_words, (void *)i);
		for (int i = 0; i < 12; i++) {
			random = random * 1103515245 + 12345;
			change(memory + (random >> 8) % (PAGES - 8) * PAGE, i % 4);
			sched_yield();
		}
		__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
		for (int i = 0; i < WRITERS; i++)
			pthread_join(writer[i], NULL);
		munmap(all, 3 * LARGE);
	}
	printf("wrote: %s\nwrong: %ld\n", writes ? "yes" : "no", wrong);
	return 0;
}

/*
 * Eats all memory, three times in a child beside a small one, then itself: for tests/guest/memory, not
 * to be run on a machine that is needed.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1ul << 20)

static void eat(void)
{
	for (;;) {
		char *p =
			mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			_exit(9);
		memset(p, 1, MIB);
	}
}

static void live(void)
{
	static char mine[MIB];

	for (int i = 0; i < 100; i++) {
		memset(mine, i, MIB);
		usleep(5000);
	}
	_exit(5);
}

static void report(const char *who, pid_t pid)
{
	int status = 0;

	waitpid(pid, &status, 0);
	printf("%s: %s %d\n", who, WIFSIGNALED(status) ? "signal" : "exit",
	       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	fflush(stdout);
}

int main(void)
{
	for (int round = 0; round < 3; round++) {
		pid_t small = fork(), big;

		if (!small)
			live();
		big = fork();
		if (!big)
			eat();
		report("big", big);
		report("small", small);
	}
	eat();
}

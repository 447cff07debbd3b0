/*
 * Eats all memory, three times in a child beside a small one, then itself; with an argument, three times
 * in a child beside some that take and give back memory all the time. For tests/guest/memory, not to be
 * run on a machine that is needed.
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

/* Lacks memory at the same moments as the hungry one. */
static void fault_on(const volatile int *stop)
{
	while (!*stop) {
		char *p = mmap(NULL, MIB / 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);

		if (p == MAP_FAILED)
			_exit(9);
		memset(p, 1, MIB / 8);
		munmap(p, MIB / 8);
		usleep(500);
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

/* Only the hungry one is to die, though the others ask for memory while it does. */
static int many(void)
{
	volatile int *stop =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	for (int round = 0; round < 3; round++) {
		pid_t small[3], big;

		*stop = 0;
		for (int i = 0; i < 3; i++) {
			small[i] = fork();
			if (!small[i])
				fault_on(stop);
		}
		big = fork();
		if (!big)
			eat();
		report("big", big);
		usleep(20000);
		*stop = 1;
		for (int i = 0; i < 3; i++)
			report("small", small[i]);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return many();
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

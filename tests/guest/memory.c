/*
 * Eats all memory, three times in a child beside a small one, then itself; with the argument "many", three times
 * in a child beside some that take and give back memory all the time; with "tables", by page tables alone. For
 * tests/guest/memory, not to be run on a machine that is needed.
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

/* Reads one page in each 2 MiB: of what it has nothing but page tables costs memory. */
static void eat_by_tables(void)
{
	const size_t len = 1ul << 45, step = 2 * MIB;
	const volatile char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	for (size_t at = 0; p != MAP_FAILED && at < len; at += step)
		(void)p[at];
	_exit(9);
}

/* Beside one that has more pages than the hungry one, and lives. */
static int tables(void)
{
	static char mine[8 * MIB];
	pid_t small, big;
	int ends[2];

	if (pipe(ends))
		return 1;
	small = fork();
	if (!small) {
		memset(mine, 5, sizeof(mine));
		close(ends[1]);
		_exit(read(ends[0], mine, 1) ? 9 : mine[1]);
	}
	big = fork();
	if (!big)
		eat_by_tables();
	report("big", big);
	close(ends[1]);
	report("small", small);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return strcmp(argv[1], "tables") ? many() : tables();
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

/* For tests/trace/run: time in known functions, and a known number of calls. */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile uint64_t sum;

__attribute__((noinline)) static void count_up(int n)
{
	for (int i = 0; i < n; i++)
		sum += (uint64_t)i;
}

__attribute__((noinline)) static void heavy(int n)
{
	count_up(3 * n);
	__asm__ volatile("");
}

__attribute__((noinline)) static void light(int n)
{
	count_up(n);
	__asm__ volatile("");
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 1000;
	char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < 1 << 20; i += 4096)
		p[i] = 1;
	for (int i = 0; i < 777; i++)
		syscall(SYS_getpgid, 0);
	for (int i = 0; i < rounds; i++) {
		heavy(1000);
		light(1000);
	}
	return 0;
}

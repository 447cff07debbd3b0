/*
 * A process's memory: random mmap, munmap, mprotect, madvise and fork beside a model of 300 pages;
 * copy-on-write over many generations; brk; file mappings beside read and write; bad addresses in
 * system calls. The random numbers are the same in every run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE     4096
#define PAGES    300
#define RW       (PROT_READ | PROT_WRITE)
#define SAY(...) (printf(__VA_ARGS__), fflush(stdout))
#define TRY(call)                                                                                  \
	do {                                                                                       \
		errno = 0;                                                                         \
		long ret_ = (long)(call);                                                          \
		SAY("%s: %s %d\n", #call, ret_ == -1 ? "errno" : "ok", errno);                     \
	} while (0)

static uint64_t seed = 88172645463325252u;
static int differences;

static uint32_t number(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32);
}

/* ---- touching what may not be there -------------------------------------------------------- */

static sigjmp_buf back;
static volatile int fault;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	fault = sig * 100 + info->si_code;
	siglongjmp(back, 1);
}

/* 0, or signal * 100 + si_code. */
static int read_at(const void *p, unsigned *value)
{
	if (sigsetjmp(back, 1))
		return fault;
	*value = *(const volatile unsigned *)p;
	return 0;
}

static int write_at(void *p, unsigned value)
{
	if (sigsetjmp(back, 1))
		return fault;
	*(volatile unsigned *)p = value;
	return 0;
}

static char *anonymous(int pages, int flags)
{
	char *p = mmap(NULL, (size_t)pages * PAGE, RW, flags | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		SAY("no memory\n");
		exit(1);
	}
	return p;
}

/* ---- the model ------------------------------------------------------------------------------ */

static struct {
	int mapped, prot;
	unsigned value; /* of the one word that is used */
} model[PAGES];
static char *area;

static void *word_of(int i)
{
	return area + i * PAGE + (i * 52 % PAGE & ~3);
}

static void differs(int i, const char *what, int got, int want)
{
	if (differences++ < 10)
		SAY("page %d, mapped %d, protection %d: %s %d, not %d\n", i, model[i].mapped,
		    model[i].prot, what, got, want);
}

static int wanted_fault(int i, int prot)
{
	if (!model[i].mapped)
		return SIGSEGV * 100 + SEGV_MAPERR;
	return model[i].prot & prot ? 0 : SIGSEGV * 100 + SEGV_ACCERR;
}

static void check_read(int i)
{
	unsigned value = 0;
	int got = read_at(word_of(i), &value);
	int want = wanted_fault(i, PROT_READ | PROT_WRITE | PROT_EXEC);

	if (got != want)
		differs(i, "reading gives", got, want);
	else if (!got && value != model[i].value)
		differs(i, "value", (int)value, (int)model[i].value);
}

static void check_write(int i)
{
	unsigned value = number();
	int got = write_at(word_of(i), value), want = wanted_fault(i, PROT_WRITE);

	if (got != want)
		differs(i, "writing gives", got, want);
	if (!got)
		model[i].value = value;
}

static void map_some(int from, int n, int prot)
{
	void *p = mmap(area + from * PAGE, (size_t)n * PAGE, prot,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

	if (p != area + from * PAGE)
		differs(from, "mmap: errno", errno, 0);
	for (int i = from; i < from + n; i++) {
		model[i].mapped = 1;
		model[i].prot = prot;
		model[i].value = 0;
	}
}

static void unmap_some(int from, int n)
{
	if (munmap(area + from * PAGE, (size_t)n * PAGE))
		differs(from, "munmap: errno", errno, 0);
	for (int i = from; i < from + n; i++)
		model[i].mapped = 0;
}

/* Both go up to the first hole (mprotect) or around the holes (madvise), and give ENOMEM then. */
static void protect_some(int from, int n, int prot)
{
	int err = mprotect(area + from * PAGE, (size_t)n * PAGE, prot) ? errno : 0, i;

	for (i = from; i < from + n && model[i].mapped; i++)
		model[i].prot = prot;
	if (err != (i < from + n ? ENOMEM : 0))
		differs(i, "mprotect: errno", err, i < from + n ? ENOMEM : 0);
}

static void forget_some(int from, int n)
{
	int err = madvise(area + from * PAGE, (size_t)n * PAGE, MADV_DONTNEED) ? errno : 0;
	int holes = 0;

	for (int i = from; i < from + n; i++) {
		holes |= !model[i].mapped;
		model[i].value = 0;
	}
	if (err != (holes ? ENOMEM : 0))
		differs(from, "madvise: errno", err, holes ? ENOMEM : 0);
}

static void random_steps(int depth, int steps);

/* Parent and child go on in their own copies. */
static void fork_some(int depth, int steps)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		seed += (unsigned)depth;
		random_steps(depth + 1, steps / 3);
		for (int i = 0; i < PAGES; i++)
			check_read(i);
		_exit(differences != 0);
	}
	for (unsigned n = number() % 2 * 30; n; n--)
		check_write((int)(number() % PAGES));
	if (waitpid(pid, &status, 0) != pid || status)
		differs(0, "status of a child", status, 0);
	for (int i = 0; i < PAGES; i += 7)
		check_read(i);
}

static void random_steps(int depth, int steps)
{
	static const int prots[] = { PROT_NONE, PROT_READ, RW, RW, RW, PROT_READ | PROT_EXEC,
				     PROT_WRITE };

	for (int k = 0; k < steps; k++) {
		int from = (int)(number() % PAGES),
		    n = 1 + (int)(number() % (number() % 8 ? 8 : 120));
		int prot = prots[number() % 7];
		unsigned what = number() % 100;

		if (from + n > PAGES)
			n = PAGES - from;
		if (what < 15)
			map_some(from, n, prot);
		else if (what < 22)
			unmap_some(from, n);
		else if (what < 35)
			protect_some(from, n, prot);
		else if (what < 40)
			forget_some(from, n);
		else if (what < 75)
			check_write(from);
		else if (what < 98)
			check_read(from);
		else if (depth < 4 && number() % 3 == 0)
			fork_some(depth, steps);
	}
}

static void beside_a_model(void)
{
	area = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < PAGES; i++)
		model[i].mapped = 1;
	random_steps(0, 3000);
	for (int i = 0; i < PAGES; i++)
		check_read(i);
	SAY("%d differences\n", differences);
	munmap(area, PAGES * PAGE);
}

/* ---- copy on write -------------------------------------------------------------------------- */

#define GENERATIONS 20

/* Each generation adds to every second page, its parent spoils every third behind its back. */
static int generation(unsigned *page, int n)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		for (unsigned i = 0; i < 64; i++) {
			if (page[i * 1024] != i + (i % 2 ? 1000u * (unsigned)n : 0))
				_exit(100 + n);
			page[i * 1024] += 1000 * (i % 2);
		}
		_exit(n + 1 == GENERATIONS ? 7 : generation(page, n + 1));
	}
	for (unsigned i = (unsigned)n % 3; i < 64; i += 3)
		page[i * 1024] = 0xdead;
	waitpid(pid, &status, 0);
	for (unsigned i = (unsigned)n % 3; i < 64; i += 3) {
		if (page[i * 1024] != 0xdead)
			return 200;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 201;
}

static void generations(void)
{
	unsigned *page = (unsigned *)anonymous(64, MAP_PRIVATE);

	for (unsigned i = 0; i < 64; i++)
		page[i * 1024] = i;
	SAY("%d\n", generation(page, 0));
	munmap(page, 64 * PAGE);
}

/* ---- brk ------------------------------------------------------------------------------------ */

static void break_value(void)
{
	char *start = (char *)syscall(SYS_brk, 0),
	     *p = (char *)(((uintptr_t)start + 4095) & -4096ul);
	unsigned value;
	int sum = 0;

	SAY("grows: %d\n", syscall(SYS_brk, p + 100 * PAGE) == (long)(p + 100 * PAGE));
	for (int i = 0; i < 100; i++)
		p[i * PAGE] = (char)i;
	syscall(SYS_brk, p + 50 * PAGE);
	syscall(SYS_brk, p + 100 * PAGE);
	for (int i = 0; i < 100; i++)
		sum += p[i * PAGE];
	SAY("shrunk and grown: %d\n", sum);
	syscall(SYS_brk, p + 10);
	p[4095] = 3;
	SAY("above the last page: %d\n", read_at(p + PAGE, &value));
	syscall(SYS_brk, p + PAGE + 1);
	SAY("the rest of a page stays: %d, the next is new: %d\n", p[4095], p[PAGE]);
	SAY("below the start: %d\n", syscall(SYS_brk, 16) == (long)(p + PAGE + 1));
	SAY("back: %d\n", syscall(SYS_brk, start) == (long)start);
}

/* ---- files ---------------------------------------------------------------------------------- */

static int file_of(char c, size_t size)
{
	char name[] = "/tmp/memory.XXXXXX", buf[PAGE];
	int fd = mkstemp(name);

	unlink(name);
	memset(buf, c, sizeof(buf));
	for (size_t done = 0; done < size; done += sizeof(buf)) {
		if (write(fd, buf, size - done < PAGE ? size - done : PAGE) < 0)
			SAY("write: errno %d\n", errno);
	}
	return fd;
}

static void in_child(char *shared, char *private, int fd)
{
	if (fork() == 0) {
		shared[1] = 'C';
		private[1] = 'D';
		_exit(pwrite(fd, "E", 1, 2) != 1);
	}
	wait(NULL);
	SAY("after a child: %c %c %c %c\n", shared[1], private[1], shared[2], private[2]);
}

static void file_mappings(void)
{
	int fd = file_of('a', 10000);
	char *shared = mmap(NULL, 5 * PAGE, RW, MAP_SHARED, fd, 0);
	char *private = mmap(NULL, 5 * PAGE, RW, MAP_PRIVATE, fd, 0), buf[8];
	unsigned value;

	SAY("%c %c, beyond the end %d %d\n", shared[9999], private[9999], shared[10000],
	    private[12287]);
	pwrite(fd, "XYZ", 3, 4000);
	SAY("written: %c %c\n", shared[4001], private[4001]);
	private[4001] = 'p';
	pwrite(fd, "123", 3, 4000);
	SAY("written again: %c %c\n", shared[4001], private[4001]);
	shared[4002] = 's';
	pread(fd, buf, 3, 4000);
	SAY("read: %.3s %c\n", buf, private[4002]);
	SAY("pages beyond: %d %d\n", read_at(shared + 3 * PAGE, &value),
	    write_at(private + 3 * PAGE, 1));
	SAY("last word of the last page: %d\n", read_at(shared + 3 * PAGE - 4, &value));
	ftruncate(fd, 5 * PAGE);
	SAY("longer: %d %d\n", read_at(shared + 3 * PAGE, &value), shared[4 * PAGE]);
	shared[4 * PAGE] = 'e';
	pread(fd, buf, 1, 4 * PAGE);
	SAY("through the mapping: %c\n", buf[0]);
	in_child(shared, private, fd);
	close(fd);
	SAY("closed: %c\n", shared[1]);
	munmap(shared + PAGE, PAGE);
	SAY("a hole: %d %d\n", read_at(shared + PAGE, &value), read_at(shared + 2 * PAGE, &value));
	munmap(shared, 5 * PAGE);
	munmap(private, 5 * PAGE);

	char *both = anonymous(4, MAP_SHARED);

	if (fork() == 0) {
		both[0] = 'x';
		both[5000] = 'y';
		_exit(0);
	}
	wait(NULL);
	SAY("shared and anonymous: %c %c %d\n", both[0], both[5000], both[8192]);
	munmap(both, 4 * PAGE);
}

/* ---- system calls on memory that is not there ------------------------------------------------ */

static void bad_addresses(void)
{
	char *page = anonymous(3, MAP_PRIVATE);
	int zero = open("/dev/zero", O_RDWR), fd = file_of('b', 3 * PAGE), empty = file_of('c', 0);

	munmap(page + PAGE, PAGE);
	SAY("%zd", read(zero, page, PAGE));
	SAY(" %zd", read(zero, page + 4000, PAGE));
	SAY(" %zd %d\n", read(zero, page + PAGE, PAGE), errno);
	lseek(fd, 0, SEEK_SET);
	SAY("%zd", read(fd, page + 4000, PAGE));
	SAY(" %ld", (long)lseek(fd, 0, SEEK_CUR));
	SAY(" %zd", write(fd, page + 4000, PAGE));
	SAY(" %ld\n", (long)lseek(fd, 0, SEEK_CUR));
	TRY(write(fd, page + PAGE, PAGE));
	TRY(read(fd, (void *)0xffff800000000000, PAGE));
	TRY(read(fd, (void *)0x8000000000000000, PAGE));
	mprotect(page, PAGE, PROT_READ);
	TRY(read(zero, page, 10));
	mprotect(page, PAGE, PROT_NONE);
	TRY(write(fd, page, 10));
	page = mmap(NULL, PAGE, RW, MAP_SHARED, empty, 0);
	TRY(write(fd, page, 10)); /* a page that would give SIGBUS */
	close(zero);
	close(fd);
	close(empty);
}

#define ANONYMOUS          (MAP_PRIVATE | MAP_ANONYMOUS)
#define AT(address, flags) mmap((void *)(address), PAGE, RW, flags, -1, 0)

static void arguments(void)
{
	int self = open("/proc/self/exe", O_RDONLY), directory = open("/tmp", O_RDONLY), ends[2];
	int write_only = open("/dev/zero", O_WRONLY);
	void *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self, 0);

	TRY(mmap(NULL, 0, RW, ANONYMOUS, -1, 0));
	TRY(mmap(NULL, PAGE, RW, MAP_ANONYMOUS, -1, 0));
	TRY(mmap(NULL, PAGE, RW, MAP_PRIVATE, -1, 0));
	TRY(mmap(NULL, PAGE, RW, MAP_PRIVATE, self, 1));
	TRY(mmap(NULL, -4096ul, RW, ANONYMOUS, -1, 0));
	TRY(mmap(NULL, 1ul << 47, RW, ANONYMOUS, -1, 0));
	TRY(AT(1, ANONYMOUS | MAP_FIXED));
	TRY(AT(0x7ffffffff000, ANONYMOUS | MAP_FIXED));
	TRY(AT(0xffffffff80000000, ANONYMOUS | MAP_FIXED));
	TRY(syscall(SYS_munmap, 1, PAGE));
	TRY(syscall(SYS_munmap, PAGE, 0));
	TRY(syscall(SYS_munmap, PAGE, -4096l));
	TRY(syscall(SYS_munmap, 0x700000000000, PAGE));
	TRY(syscall(SYS_munmap, 0x7ffffffff000, 2 * PAGE));
	TRY(syscall(SYS_mprotect, 1, PAGE, 1));
	TRY(syscall(SYS_mprotect, 0x10000, PAGE, 1));
	TRY(syscall(SYS_mprotect, 0x10000, 0, 1));
	TRY(syscall(SYS_mprotect, 0x10000, PAGE, 1 << 20));
	TRY(syscall(SYS_madvise, 1, PAGE, MADV_DONTNEED));
	TRY(syscall(SYS_madvise, 0x10000, PAGE, MADV_DONTNEED));
	TRY(syscall(SYS_madvise, 0x10000, PAGE, 4000));
	TRY(syscall(SYS_madvise, 0x10000, 0, MADV_DONTNEED));
	TRY(mmap(NULL, PAGE, RW, MAP_SHARED, self, 0));
	TRY(mmap(NULL, PAGE, RW, MAP_PRIVATE, self, 0));
	TRY(mprotect(p, PAGE, RW));
	TRY(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, directory, 0));
	TRY(pipe(ends));
	TRY(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ends[0], 0));
	TRY(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, write_only, 0));
}

int main(void)
{
	struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	SAY("#: beside a model\n");
	beside_a_model();
	SAY("#: generations\n");
	generations();
	SAY("#: brk\n");
	break_value();
	SAY("#: file mappings\n");
	file_mappings();
	SAY("#: bad addresses\n");
	bad_addresses();
	SAY("#: arguments\n");
	arguments();
	return 0;
}

/*
 * What no program should do and the kernel must survive: system calls with random numbers and
 * arguments, and broken ELF files. Seeded, so that each run does the same. Whatever becomes of a
 * child, the parent's work afterwards must be right. On Linux, whose machine is not ours to play
 * with, only that work is done: the output is the same.
 *
 * Arguments, to look for more: the first seed, how many children (and ten times that many broken
 * programs), how many calls each makes.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "say.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE     4096
#define PLACE    ((char *)0x10000000) /* what random unmapping usually hits */
#define CALLS    470                  /* numbers: some above the last one that exists */

static __thread uint64_t seed;
static char *pages, *edge;

static uint64_t number(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1du;
}

static void set_seed(uint64_t n)
{
	seed = n * 0x9e3779b97f4a7c15u | 1;
	for (int i = 0; i < 8; i++)
		number();
}

static const uint64_t odd[] = {
	0,
	1,
	2,
	7,
	8,
	63,
	64,
	255,
	1023,
	1024,
	4095,
	4096,
	4097,
	0x1000,
	0x400000,
	0x7fffffff,
	0x80000000,
	0xffffffff,
	0x100000000,
	0x7fffffffffffffff,
	0x8000000000000000,
	0x10000000000,
	0x7ffffffff000,
	0x7fffffffe000,
	0x800000000000,
	0xffff800000000000,
	0xffffffff80000000,
	0xffffffff80200000,
	0xfffffffffffff000,
	0xfffffffffffffffe,
	0xffffffffffffffff,
};

/* ---- system calls --------------------------------------------------------------------------- */

static const char *const names[] = {
	"/tmp/h/a",
	"/tmp/h/b",
	"/tmp/h/d",
	"/tmp/h/d/x",
	"/tmp/h/loop",
	"/tmp/h",
	"",
	"a",
	"../..",
	"/",
	"/proc/self/maps",
	"/proc/self/status",
	"/proc/self/fd",
	"/proc/self/exe",
	"/proc/meminfo",
	"/proc",
	"/dev/null",
	"/dev/zero",
	"/dev/tty",
	"/dev/full",
	"/dev/random",
	"/nonexistent",
};

static uint64_t argument(void)
{
	switch (number() % 11) {
	case 0: return odd[number() % COUNT(odd)];
	case 1: return number();
	case 2: return number() >> number() % 64;
	case 3: return 1ul << number() % 64;
	case 4: return (uintptr_t)pages + number() % (2 * PAGE);
	case 5: return (uintptr_t)pages + number() % 1024 * 8;
	case 6: return (uintptr_t)edge - number() % 64;
	case 7: return (uintptr_t)names[number() % COUNT(names)];
	case 8: return number() % 12;
	case 9: return number() % 10;
	}
	return number() % PAGE;
}

/* Calls that end or stop the machine, the parent or this test rather than try the kernel. */
static int left_out(long nr)
{
	static const short always[] = {
		SYS_reboot,
		SYS_exit,
		SYS_exit_group,
		SYS_kill,
		SYS_tkill,
		SYS_tgkill,
		SYS_rt_sigqueueinfo,
		SYS_rt_tgsigqueueinfo,
		SYS_pause,
		SYS_rt_sigsuspend,
		SYS_fork,
		SYS_vfork,
		SYS_clone,
		435,
		SYS_umount2,
		SYS_mount,
		SYS_chroot,
		SYS_setrlimit,
		SYS_prlimit64,
		SYS_sched_setscheduler,
		SYS_sched_setattr,
		SYS_sched_setparam,
		SYS_rt_sigaction,
	};
	static const short mostly[] = { SYS_close,
					436 /* close_range */,
					SYS_rt_sigreturn,
					SYS_nanosleep,
					SYS_clock_nanosleep,
					SYS_execve,
					SYS_execveat,
					SYS_select,
					SYS_ppoll,
					SYS_pselect6,
					SYS_poll,
					SYS_futex };

	for (unsigned i = 0; i < COUNT(always); i++) {
		if (nr == always[i])
			return 1;
	}
	for (unsigned i = 0; i < COUNT(mostly); i++) {
		if (nr == mostly[i])
			return number() % 16 != 0;
	}
	return 0;
}

/* Structures of random words, with some names among them. */
static void fill_pages(void)
{
	uint64_t *word = (uint64_t *)pages;

	for (int i = 0; i < 1024; i++)
		word[i] = argument();
	for (int i = 0; i < 8; i++)
		strcpy(pages + 512 * i + number() % 32 * 8, names[number() % COUNT(names)]);
}

static void ignore(int sig)
{
}

static int nr_calls;
static uint64_t first_seed;

/* One thread's: arg is its number. */
static void *random_calls(void *arg)
{
	set_seed(first_seed + ((uint64_t)arg << 32));
	for (int i = 0; i < nr_calls; i++) {
		long nr = (long)(number() % CALLS);
		uint64_t a[6];

		if (i % 8 == 0)
			fill_pages();
		for (int k = 0; k < 6; k++)
			a[k] = argument();
		if (left_out(nr))
			continue;
		if ((nr == SYS_munmap || nr == SYS_mprotect || nr == SYS_mmap ||
		     nr == SYS_mremap) &&
		    number() % 4) {
			a[0] = (uintptr_t)PLACE + number() % 64 * PAGE;
			a[1] = number() % 65536;
		}
		syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	}
	return NULL;
}

/* In every other child three threads do it at once, with the same memory and files. */
static void hostile_child(void)
{
	struct itimerval it = { { 0, 5000 }, { 0, 5000 } };
	struct sigaction sa = { .sa_handler = ignore };
	int null = open("/dev/null", O_RDWR), ends[2];
	pthread_t t;

	setpgid(0, 0);
	sigaction(SIGALRM, &sa, NULL);
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	if (pipe(ends) || open("/tmp/h/a", O_RDWR | O_CREAT, 0600) < 0 ||
	    open("/tmp/h", O_RDONLY) < 0)
		_exit(1);
	setitimer(ITIMER_REAL, &it, NULL);
	for (uint64_t i = 1; i < 3 && first_seed % 2; i++)
		if (pthread_create(&t, NULL, random_calls, (void *)i))
			_exit(1);
	random_calls(NULL);
	_exit(0);
}

/* Ends of itself, or is killed after a while: it may well wait for what never comes. */
static void reap_within(pid_t pid, int ms)
{
	for (int i = 0; i < ms; i++) {
		struct timespec t = { 0, 1000000 };

		if (waitpid(pid, NULL, WNOHANG))
			return;
		nanosleep(&t, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void system_calls(int first, int children, int calls)
{
	nr_calls = calls;
	pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	edge = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	edge += PAGE;
	munmap(edge, PAGE);
	mkdir("/tmp/h", 0700);
	mkdir("/tmp/h/d", 0700);
	symlink("/tmp/h/loop", "/tmp/h/loop");
	chdir("/tmp/h");
	for (int i = 0; i < children; i++) {
		pid_t pid = fork();

		first_seed = (uint64_t)(first + i);
		if (pid == 0)
			hostile_child();
		reap_within(pid, 100);
	}
}

/* ---- broken programs ------------------------------------------------------------------------ */

static unsigned char image[3 * PAGE];

/* A small program of three segments that ends with 42: mov $60, %eax; mov $42, %edi; syscall. */
static void build_image(int pie)
{
	static const unsigned char code[] = { 0xb8, 60, 0, 0, 0, 0xbf, 42, 0, 0, 0, 0x0f, 5 };
	const uint64_t base = pie ? 0 : 0x400000;
	Elf64_Ehdr e = { .e_type = pie ? ET_DYN : ET_EXEC,
			 .e_machine = EM_X86_64,
			 .e_version = 1,
			 .e_entry = base + PAGE,
			 .e_phoff = sizeof(e),
			 .e_ehsize = sizeof(e),
			 .e_phentsize = sizeof(Elf64_Phdr),
			 .e_phnum = 4 };
	const Elf64_Phdr p[] = {
		{ PT_LOAD, PF_R, 0, base, base, 0x400, 0x400, PAGE },
		{ PT_LOAD, PF_R | PF_X, PAGE, base + PAGE, base + PAGE, sizeof(code), sizeof(code),
		  PAGE },
		{ PT_LOAD, PF_R | PF_W, 2 * PAGE, base + 2 * PAGE, base + 2 * PAGE, 0x800, 0x5000,
		  PAGE },
		{ PT_GNU_STACK, PF_R | PF_W, 0, 0, 0, 0, 0, 16 },
	};

	memcpy(e.e_ident, ELFMAG "\2\1\1", 7);
	memset(image, 0, sizeof(image));
	memcpy(image, &e, sizeof(e));
	memcpy(image + sizeof(e), p, sizeof(p));
	memcpy(image + PAGE, code, sizeof(code));
}

static void break_image(void)
{
	const unsigned headers = sizeof(Elf64_Ehdr) + 4 * sizeof(Elf64_Phdr);
	uint64_t value = odd[number() % COUNT(odd)];

	switch (number() % 4) {
	case 0: image[number() % headers] = (unsigned char)number(); return;
	case 1: image[number() % headers] ^= 1 << number() % 8; return;
	}
	memcpy(image + sizeof(Elf64_Ehdr) + number() % 28 * 8, &value, sizeof(value));
	if (number() % 4 == 0)
		memcpy(image + offsetof(Elf64_Ehdr, e_entry), &value, sizeof(value));
}

/* The child's status. */
static int run_image(size_t size)
{
	struct rlimit none = { 0, 0 };
	int status, fd = open("/tmp/h/program", O_WRONLY | O_CREAT | O_TRUNC, 0700);
	pid_t pid;

	if (write(fd, image, size) != (ssize_t)size)
		SAY("write: errno %d\n", errno);
	close(fd);
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		alarm(1);
		execl("/tmp/h/program", "program", NULL);
		_exit(99);
	}
	waitpid(pid, &status, 0);
	return status;
}

static void broken_programs(int first, int programs)
{
	for (int i = 0; i < programs; i++) {
		set_seed((uint64_t)(first + i));
		build_image(number() % 2);
		for (uint64_t n = 1 + number() % 3; n; n--)
			break_image();
		run_image(number() % 10 ? sizeof(image) : number() % sizeof(image));
		unlink("/tmp/h/program");
	}
}

/* ---- what must still be right --------------------------------------------------------------- */

static void work(void)
{
	static unsigned char data[20 * PAGE], back[sizeof(data)];
	int ends[2], status, fd, sum = 0;
	char *p = mmap(NULL, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < 64; i++)
		sum += p[i * PAGE + i];
	memset(p, 5, 64 * PAGE);
	if (fork() == 0) {
		memset(p, 6, 64 * PAGE);
		_exit(p[63 * PAGE]);
	}
	wait(&status);
	SAY("new memory %d, a child's %d, ours %d\n", sum, WEXITSTATUS(status), p[63 * PAGE]);
	munmap(p, 64 * PAGE);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 7 + i / PAGE);
	mkdir("/tmp/h", 0700);
	fd = open("/tmp/h/work", O_RDWR | O_CREAT | O_TRUNC, 0600);
	SAY("write %zd", write(fd, data, sizeof(data)));
	SAY(", read %zd", pread(fd, back, sizeof(back), 0));
	SAY(", the same: %d\n", memcmp(data, back, sizeof(data)) == 0);
	close(fd);
	unlink("/tmp/h/work");
	if (pipe(ends) == 0 && write(ends[1], "hello", 5) == 5)
		SAY("pipe %zd\n", read(ends[0], back, 10));
	close(ends[0]);
	close(ends[1]);
	build_image(0);
	SAY("program %x\n", run_image(sizeof(image)));
	build_image(1);
	SAY("program in any place %x\n", run_image(sizeof(image)));
	unlink("/tmp/h/program");
}

int main(int argc, char **argv)
{
	int first = argc > 1 ? atoi(argv[1]) : 0, children = argc > 2 ? atoi(argv[2]) : 0;
	int calls = argc > 3 ? atoi(argv[3]) : 200;
	int ours = access("/proc/jiffy", F_OK) == 0;

	if (children <= 0)
		children = 40;
	SAY("#: before\n");
	work();
	SAY("#: after random system calls\n");
	if (ours)
		system_calls(first, children, calls);
	work();
	SAY("#: after broken programs\n");
	if (ours)
		broken_programs(first, 10 * children);
	work();
	chdir("/");
	return 0;
}

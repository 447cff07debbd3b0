/*
 * What an ordinary C program uses, without threads: output must be the same on Linux and on Jiffy.
 * Each part begins with "#: title"; nothing printed depends on time, addresses or ids.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void title(const char *s)
{
	printf("#: %s\n", s);
	fflush(stdout);
}

static void arguments(int argc, char **argv)
{
	title("arguments and environment");
	printf("%d:", argc);
	for (int i = 1; i < argc; i++)
		printf(" [%s]", argv[i]);
	printf(" end %d\n", argv[argc] == NULL);
	setenv("JIFFY_TEST", "value", 1);
	printf("%s\n", getenv("JIFFY_TEST"));
	printf("page %ld, uid as euid %d\n", sysconf(_SC_PAGESIZE), getuid() == geteuid());
}

static void formatted(void)
{
	char buf[64];
	int a;
	double d;

	title("stdio");
	printf("%d %u %ld %lx %s %c %5.2f %e %g %a\n", -1, 1u, 1L << 40, 255ul, "str", 'x', 3.14159,
	       1e100, 0.1, 1.5);
	snprintf(buf, sizeof(buf), "%08.3f|%-6s|%+d", 2.5, "ab", 7);
	puts(buf);
	printf("%d", sscanf("12 3.5 word", "%d %lf %63s", &a, &d, buf));
	printf(" %d %.1f %s\n", a, d, buf);
	FILE *f = tmpfile();
	if (f) {
		for (int i = 0; i < 1000; i++)
			fprintf(f, "line %d\n", i);
		fseek(f, -9, SEEK_END);
		printf("%s", fgets(buf, sizeof(buf), f) ? buf : "none\n");
		rewind(f);
		printf("%s", fgets(buf, sizeof(buf), f) ? buf : "none\n");
		fclose(f);
	} else {
		perror("tmpfile");
	}
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

static void memory(void)
{
	static char *blocks[500];
	uint32_t seed = 1, sum = 0;

	title("malloc");
	for (int round = 0; round < 20000; round++) {
		uint32_t i = next_random(&seed) % 500, n = next_random(&seed) % 5000 + 1;

		if (round % 97 == 0)
			n *= 100;
		if (blocks[i])
			sum += (unsigned char)blocks[i][0];
		blocks[i] = realloc(blocks[i], n);
		if (!blocks[i])
			abort();
		memset(blocks[i], (int)(n % 251), n);
	}
	for (int i = 0; i < 500; i++)
		free(blocks[i]);
	char *big = malloc(64 << 20);
	if (!big)
		abort();
	for (size_t i = 0; i < 64u << 20; i += 1 << 20)
		big[i] = 1;
	free(big);
	void *aligned = NULL;
	printf("%u %d\n", sum, posix_memalign(&aligned, 4096, 10000));
	printf("%d\n", ((size_t)aligned & 4095) == 0);
	free(aligned);
}

static int by_value(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static void sorting(void)
{
	static int v[100000];
	uint32_t seed = 7;
	unsigned long h = 0;

	title("qsort and bsearch");
	for (int i = 0; i < 100000; i++)
		v[i] = (int)next_random(&seed);
	qsort(v, 100000, sizeof(v[0]), by_value);
	for (int i = 0; i < 100000; i++) {
		h = h * 31 + (unsigned)v[i];
		if (i && v[i - 1] > v[i])
			puts("not sorted");
	}
	int key = v[777];
	printf("%lx %d\n", h, bsearch(&key, v, 100000, sizeof(v[0]), by_value) != NULL);
}

static void floats(void)
{
	double s = 0;

	title("floating point");
	for (int i = 1; i <= 100000; i++)
		s += 1.0 / i / i;
	printf("%.15g %.15g %.15g\n", s, sqrt(s * 6), pow(2, 0.5));
	printf("%.12g %.12g %.12g %.12g\n", sin(1), exp(1), log(10), atan2(1, 2));
	printf("%g %g %d %ld %.3Lf\n", 1e308 * 10, -1.0 / INFINITY, isnan(NAN), lrint(2.5),
	       1.0L / 3);
}

/* Two processes count with SSE registers at the same time: neither sees the other's. */
static void floats_apart(void)
{
	title("floating point in two processes");
	pid_t pid = fork();
	double x = pid ? 1.0 : 2.0;

	for (int i = 0; i < 2000000; i++)
		x = x * 1.0000001 + (pid ? 0.5 : 0.25);
	if (pid == 0)
		_exit(x > 270000 && x < 280000 ? 42 : (int)(x / 10000));
	int status;
	waitpid(pid, &status, 0);
	printf("%.6f, child %d\n", x, WEXITSTATUS(status));
}

static volatile sig_atomic_t handled;
static void on_signal(int sig, siginfo_t *info, void *context)
{
	handled = sig * 100 + (info->si_pid == getpid());
}

static sigjmp_buf out;
static void jump_out(int sig)
{
	siglongjmp(out, sig);
}

static void signals(void)
{
	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	sigset_t set, old;

	title("signals");
	sigaction(SIGUSR1, &sa, NULL);
	kill(getpid(), SIGUSR1);
	printf("%d\n", handled);
	handled = 0;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &old);
	raise(SIGUSR1);
	printf("blocked %d ", handled);
	sigpending(&set);
	printf("pending %d ", sigismember(&set, SIGUSR1));
	sigprocmask(SIG_SETMASK, &old, NULL);
	printf("then %d\n", handled);
	signal(SIGUSR2, jump_out);
	int came = sigsetjmp(out, 1);
	if (!came)
		raise(SIGUSR2);
	printf("jumped with %d\n", came);
	signal(SIGALRM, jump_out);
	came = sigsetjmp(out, 1);
	if (!came) {
		struct itimerval t = { .it_value.tv_usec = 20000 };

		setitimer(ITIMER_REAL, &t, NULL);
		for (;;)
			;
	}
	printf("alarm in an endless loop: %d\n", came == SIGALRM);
}

static void children(void)
{
	title("fork, exec, wait");
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(i);
		int status = 0;
		if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != i)
			printf("child %d: %x\n", i, status);
	}
	int fds[2], total = 0;
	if (pipe(fds))
		abort();
	for (int i = 0; i < 4; i++) {
		if (fork() == 0) {
			for (int j = 0; j < 1000; j++)
				if (write(fds[1], "abc", 3) != 3)
					_exit(1);
			_exit(0);
		}
	}
	close(fds[1]);
	char buf[700];
	ssize_t n;
	while ((n = read(fds[0], buf, sizeof(buf))) > 0)
		total += (int)n;
	int good = 0, status;
	while (wait(&status) > 0)
		good += status == 0;
	printf("%d bytes, %d children, errno ECHILD %d\n", total, good, errno == ECHILD);
	pid_t pid = fork();
	if (pid == 0) {
		execl("/nonexistent", "x", NULL);
		_exit(errno == ENOENT ? 17 : 18);
	}
	waitpid(pid, &status, 0);
	printf("exec of nothing: %d\n", WEXITSTATUS(status));
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	printf("killed %d by %d\n", WIFSIGNALED(status), WTERMSIG(status));
}

/* Parent and child write the same pages after fork: each keeps its own. */
static void copy_on_write(void)
{
	enum { SIZE = 4 << 20 };
	unsigned char *p =
		mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fds[2], bad = 0, status;
	char c;

	title("copy on write");
	memset(p, 1, SIZE);
	if (pipe(fds))
		abort();
	pid_t pid = fork();
	if (pid == 0) {
		for (int i = 0; i < SIZE; i += 4096)
			p[i] = 2;
		if (write(fds[1], "x", 1) != 1)
			_exit(3);
		for (int i = 0; i < SIZE; i++)
			bad |= p[i] != (i % 4096 ? 1 : 2);
		_exit(bad);
	}
	if (read(fds[0], &c, 1) != 1)
		abort();
	for (int i = 0; i < SIZE; i++)
		bad |= p[i] != 1;
	memset(p, 3, SIZE);
	waitpid(pid, &status, 0);
	printf("parent %d, child %d\n", bad, status);
	munmap(p, SIZE);
}

static void mappings(void)
{
	title("mmap");
	char *p = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	p[4096] = 'x';
	printf("%d ", munmap(p, 4096));
	printf("%d ", mprotect(p + 4096, 4096, PROT_READ));
	printf("%c %d ", p[4096], p[2 * 4096]);
	printf("%d ", munmap(p + 1, 4096));
	printf("%d ", errno == EINVAL);
	printf("%d\n", munmap(p + 4096, 2 * 4096));
	FILE *f = fopen("/tmp/jiffy-mmap-test", "w+");
	if (!f)
		abort();
	fputs("mapped file\n", f);
	fflush(f);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(f), 0);
	printf("%s%d ", p, p[4095]);
	p[0] = 'M';
	char c = 0;
	if (pread(fileno(f), &c, 1, 0) != 1)
		abort();
	printf("%c %c\n", p[0], c);
	munmap(p, 4096);
	fclose(f);
	unlink("/tmp/jiffy-mmap-test");
	long brk0 = syscall(SYS_brk, 0); /* musl has no sbrk */
	printf("brk %d ", syscall(SYS_brk, brk0 + 100000) == brk0 + 100000);
	*(char *)(brk0 + 99999) = 1;
	printf("%d\n", syscall(SYS_brk, brk0) == brk0);
}

static void files(void)
{
	struct stat st;
	char buf[32] = "";

	title("files");
	int fd = open("/tmp/jiffy-file-test", O_RDWR | O_CREAT | O_TRUNC, 0640);
	struct iovec iov[2] = { { "hello ", 6 }, { "world", 5 } };
	printf("%zd ", writev(fd, iov, 2));
	printf("%ld ", (long)lseek(fd, 6, SEEK_SET));
	printf("%zd %s\n", read(fd, buf, sizeof(buf)), buf);
	fstat(fd, &st);
	printf("%ld %o %d\n", (long)st.st_size, st.st_mode, S_ISREG(st.st_mode));
	printf("%d %d\n", ftruncate(fd, 100000), fcntl(fd, F_GETFL) & O_ACCMODE);
	int fd2 = dup2(fd, 50);
	printf("%d %d ", fd2, close(fd));
	printf("%d\n", (int)lseek(fd2, 0, SEEK_END));
	close(fd2);
	printf("%d ", read(fd2, buf, 1) == -1);
	printf("%d ", errno == EBADF);
	printf("%d ", open("/tmp/jiffy-file-test/x", O_RDONLY));
	printf("%d ", errno == ENOTDIR);
	printf("%d ", open("/tmp/jiffy-file-test", O_CREAT | O_EXCL, 0600));
	printf("%d\n", errno == EEXIST);
	printf("%zd ", readlink("", buf, sizeof(buf)));
	printf("%d ", errno == ENOENT);
	fd = open("/tmp/jiffy-file-test", O_PATH);
	printf("%d ", futimens(fd, NULL));
	printf("%d ", errno == EBADF);
	close(fd);
	printf("%d ", unlink("/tmp/jiffy-file-test"));
	printf("%d\n", access("/tmp/jiffy-file-test", F_OK));
	int found = 0;
	DIR *d = opendir("/");
	for (struct dirent *e; d && (e = readdir(d));)
		found += !strcmp(e->d_name, "tmp") || !strcmp(e->d_name, "dev") ||
			 !strcmp(e->d_name, "proc");
	if (d)
		closedir(d);
	printf("%d\n", found);
}

static void bad_pointers(void)
{
	/* volatile: the compiler must not see what these are. */
	void *volatile low = (void *)16, *volatile kernel = (void *)0xffff800000000000ul;
	void *volatile top = (void *)0x7ffffffff000ul, *volatile wraps = (void *)-4096l;
	int fds[2];

	title("bad pointers");
	if (pipe(fds) || write(fds[1], "x", 1) != 1)
		abort();
	errno = 0;
	printf("%zd ", write(fds[1], low, 10));
	printf("%d ", errno == EFAULT);
	printf("%d ", open(kernel, 0));
	printf("%d ", errno == EFAULT);
	printf("%ld ", syscall(SYS_getcwd, wraps, 100));
	printf("%d ", errno == EFAULT);
	printf("%zd ", read(fds[0], top, 1));
	printf("%d\n", errno == EFAULT);
}

static void clocks(void)
{
	struct timespec a, b, pause = { 0, 20000000 };
	struct tm tm;
	time_t t = 1000000000;
	char buf[64];

	title("time");
	clock_gettime(CLOCK_MONOTONIC, &a);
	nanosleep(&pause, NULL);
	clock_gettime(CLOCK_MONOTONIC, &b);
	long ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
	printf("slept at least 20 ms: %d, not minutes: %d\n", ms >= 19, ms < 60000);
	for (int i = 0; i < 100000; i++) {
		clock_gettime(CLOCK_MONOTONIC, &b);
		if (b.tv_sec < a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec < a.tv_nsec))
			puts("time went back");
		a = b;
	}
	gmtime_r(&t, &tm);
	strftime(buf, sizeof(buf), "%Y-%m-%d %H:%M:%S", &tm);
	printf("%s, after 2020: %d\n", buf, time(NULL) > 1577836800);
}

int main(int argc, char **argv)
{
	arguments(argc, argv);
	formatted();
	memory();
	sorting();
	floats();
	floats_apart();
	signals();
	children();
	copy_on_write();
	mappings();
	files();
	bad_pointers();
	clocks();
	title("standard error");
	fflush(stdout);
	fputs("this goes to standard error\n", stderr);
	return 7;
}

/*
 * Files used by several threads and processes at once: what must hold whoever comes first. The same
 * output on Linux and on Jiffy; with one CPU or with several.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define ADD_SEALS  1033
#define SEAL_WRITE 8
#define EXCHANGE   2
#define PAGE       4096

static char dir[] = "/tmp/races.XXXXXX";
static pthread_barrier_t both;
static volatile int stop;

static void title(const char *name)
{
	printf("#: %s\n", name);
	fflush(stdout);
	alarm(50); /* a lost wake-up ends the program */
}

static void value(const char *what, long v)
{
	printf("%s: %ld\n", what, v);
	fflush(stdout);
}

static pthread_t begin(void *(*fn)(void *arg), void *arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, fn, arg))
		exit(9);
	return t;
}

static long end(pthread_t t)
{
	void *result;

	pthread_join(t, &result);
	return (long)result;
}

static void create(const char *name, const char *text)
{
	int fd = open(name, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	if (write(fd, text, strlen(text)) < 0)
		exit(9);
	close(fd);
}

/* ---- a seal against writing, and a mapping that may write ----------------------------------- */

#define SEAL_ROUNDS 500
static int sealed_fd, seal_done[SEAL_ROUNDS];

static void *seal(void *arg)
{
	for (int i = 0; i < SEAL_ROUNDS; i++) {
		pthread_barrier_wait(&both);
		seal_done[i] = fcntl(sealed_fd, ADD_SEALS, SEAL_WRITE) == 0;
		pthread_barrier_wait(&both);
	}
	return NULL;
}

static void seals(void)
{
	pthread_t t;
	long wrong = 0;

	title("a seal and a mapping");
	pthread_barrier_init(&both, NULL, 2);
	t = begin(seal, NULL);
	for (int i = 0; i < SEAL_ROUNDS; i++) {
		void *p;

		sealed_fd = (int)syscall(SYS_memfd_create, "races", 2 /* MFD_ALLOW_SEALING */);
		if (ftruncate(sealed_fd, PAGE))
			exit(9);
		pthread_barrier_wait(&both);
		p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, sealed_fd, 0);
		pthread_barrier_wait(&both);
		wrong += p != MAP_FAILED && seal_done[i];
		if (p != MAP_FAILED)
			munmap(p, PAGE);
		close(sealed_fd);
	}
	end(t);
	value("sealed and yet writable", wrong);
}

/* ---- locks ---------------------------------------------------------------------------------- */

static int lock_fd;

static void *wait_for_lock(void *arg)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return (void *)(long)(fcntl(lock_fd, F_SETLKW, &fl) == 0 ? 0 : errno);
}

/* Another process tries for all of the file: 0, or what stands in its way. */
static int try_lock(const char *name)
{
	int status;

	if (fork() == 0) {
		struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

		_exit(fcntl(open(name, O_RDWR), F_SETLK, &fl) == 0 ? 0 : errno);
	}
	wait(&status);
	return WEXITSTATUS(status);
}

static void closed_lock(void)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int to[2], from[2];
	pthread_t t;
	char c;

	title("a lock for a descriptor that has been closed");
	create("locked", "x");
	if (pipe(to) || pipe(from))
		exit(9);
	if (fork() == 0) {
		fcntl(open("locked", O_RDWR), F_SETLK, &fl);
		_exit(write(from[1], "x", 1) != 1 || read(to[0], &c, 1) != 1);
	}
	lock_fd = open("locked", O_RDWR);
	if (read(from[0], &c, 1) != 1)
		exit(9);
	t = begin(wait_for_lock, NULL);
	usleep(50000);
	close(lock_fd);
	if (write(to[1], "x", 1) != 1)
		exit(9);
	wait(NULL);
	value("EBADF", end(t) == EBADF);
	value("another process gets it", try_lock("locked"));
}

/* Two who hold LOCK_SH want LOCK_EX: one of them must let the other go first. */
static void more_lock(void)
{
	int one, two, status;

	title("two that want more of a lock");
	create("flocked", "x");
	one = open("flocked", O_RDWR);
	two = open("flocked", O_RDWR);
	value("shared", flock(one, LOCK_SH) | flock(two, LOCK_SH));
	value("exclusive", flock(one, LOCK_EX | LOCK_NB) == 0 ? 0 : errno);
	value("the other", flock(two, LOCK_EX | LOCK_NB) == 0 ? 0 : errno);
	flock(one, LOCK_UN);
	flock(two, LOCK_UN);
	for (int i = 0; i < 2; i++) {
		if (fork() == 0) {
			int fd = open("flocked", O_RDWR);

			flock(fd, LOCK_SH);
			usleep(50000);
			_exit(flock(fd, LOCK_EX) != 0);
		}
	}
	for (int i = 0; i < 2; i++) {
		wait(&status);
		value("status", status);
	}
	close(one);
	close(two);
}

/* ---- pipes ---------------------------------------------------------------------------------- */

#define PIPE_THREADS  2
#define PIPE_MESSAGES 500
static int ends[2];

static void *pipe_writer(void *arg)
{
	char text[5000];
	long sum = 0;

	memset(text, 'x', sizeof(text));
	for (int i = 0; i < PIPE_MESSAGES; i++) {
		size_t n = i % 50 ? 1 + (size_t)i % 16 : sizeof(text);

		sum += write(ends[1], text, n);
	}
	return (void *)sum;
}

static void *pipe_reader(void *arg)
{
	char text[700];
	long sum = 0, n, round = 0;

	while ((n = read(ends[0], text, ++round % 40 ? 1 + (size_t)round % 9 : sizeof(text))) > 0)
		sum += n;
	return (void *)sum;
}

static void pipes(void)
{
	pthread_t r[PIPE_THREADS], w[PIPE_THREADS];
	long in = 0, out = 0;

	title("readers and writers of one pipe");
	if (pipe(ends))
		exit(9);
	for (int i = 0; i < PIPE_THREADS; i++) {
		r[i] = begin(pipe_reader, NULL);
		w[i] = begin(pipe_writer, NULL);
	}
	for (int i = 0; i < PIPE_THREADS; i++)
		in += end(w[i]);
	close(ends[1]);
	for (int i = 0; i < PIPE_THREADS; i++)
		out += end(r[i]);
	close(ends[0]);
	value("written", in);
	value("read", out);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

/* Reads on a number behind which the file changes: each byte comes from a file that was there. */
static void *fd_reader(void *arg)
{
	int fd = (int)(long)arg;
	long wrong = 0;
	char c[4];

	while (!stop) {
		ssize_t n = pread(fd, c, sizeof(c), 0);

		if (n < 0 ? errno != EBADF :
			    n != 4 || (memcmp(c, "aaaa", 4) && memcmp(c, "bbbb", 4)))
			wrong++;
	}
	return (void *)wrong;
}

static void descriptors(void)
{
	pthread_t t[2];
	int a, b, fd;

	title("a descriptor that changes under its readers");
	create("a", "aaaa");
	create("b", "bbbb");
	a = open("a", O_RDONLY);
	b = open("b", O_RDONLY);
	fd = dup(a);
	stop = 0;
	for (int i = 0; i < 2; i++)
		t[i] = begin(fd_reader, (void *)(long)fd);
	for (int i = 0; i < 1000; i++) {
		dup2(i % 2 ? a : b, fd);
		if (i % 5 == 0)
			close(fd);
	}
	stop = 1;
	value("wrong", end(t[0]) + end(t[1]));
	close(a);
	close(b);
	close(fd);
}

static void *unsharer(void *arg)
{
	int fd = (int)(long)arg;
	long err = syscall(SYS_close_range, fd, fd, 2 /* CLOSE_RANGE_UNSHARE */);

	return (void *)(err + (fcntl(fd, F_GETFD) != -1));
}

static void unshared(void)
{
	int fd;

	title("a thread that unshares its descriptors");
	create("a", "aaaa");
	fd = open("a", O_RDONLY);
	value("it has closed its own", end(begin(unsharer, (void *)(long)fd)) == 0);
	value("ours is open", fcntl(fd, F_GETFD));
	close(fd);
}

/* ---- names ---------------------------------------------------------------------------------- */

/* A name that is always there, whatever is renamed to it. */
static void *looker(void *arg)
{
	long wrong = 0;

	while (!stop) {
		struct stat st;
		int fd = open("target", O_RDONLY);

		wrong += fd < 0;
		if (fd >= 0)
			close(fd);
		wrong += stat("x/..", &st) != 0;
	}
	return (void *)wrong;
}

static void say_stop(int sig)
{
	stop = 1;
}

/* A process whose current directory is under one of two names: status 0 if it never saw another. */
static pid_t stand_in(const char *name, const char *other)
{
	char path[200], one[200], two[200];
	int wrong = 0;
	pid_t pid = fork();

	if (pid)
		return pid;
	snprintf(one, sizeof(one), "%s/%s", dir, name);
	snprintf(two, sizeof(two), "%s/%s", dir, other);
	signal(SIGTERM, say_stop);
	wrong = chdir(name) != 0;
	while (!stop)
		wrong |= !getcwd(path, sizeof(path)) || (strcmp(path, one) && strcmp(path, two));
	_exit(wrong);
}

static void names(void)
{
	static const char other[] = "a-name-that-is-longer-than-the-other";
	pthread_t look;
	long wrong = 0;
	pid_t pid;
	int status;

	title("names that change while they are looked up");
	create("target", "x");
	mkdir("x", 0700);
	mkdir(other, 0700);
	stop = 0;
	pid = stand_in("x", other);
	look = begin(looker, NULL);
	for (int i = 0; i < 300; i++) {
		create("new", "y");
		wrong += rename("new", "target") != 0;
		wrong += syscall(SYS_renameat2, AT_FDCWD, "x", AT_FDCWD, other, EXCHANGE) != 0;
	}
	stop = 1;
	wrong += end(look);
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	value("wrong", wrong);
	value("the child", status);
	rmdir("x");
	rmdir(other);
}

static void *maker(void *arg)
{
	long made = 0;

	while (!stop) {
		int fd = open("comes/file", O_CREAT | O_RDWR, 0600);

		if (fd >= 0) {
			made++;
			unlink("comes/file");
			close(fd);
		}
	}
	return (void *)(made >= 0 ? 0l : 1l);
}

static void directories(void)
{
	pthread_t t[2];
	long wrong = 0;

	title("a directory that goes while files are made in it");
	stop = 0;
	for (int i = 0; i < 2; i++)
		t[i] = begin(maker, NULL);
	for (int i = 0; i < 300; i++) {
		wrong += mkdir("comes", 0700) != 0;
		while (rmdir("comes"))
			if (errno != ENOTEMPTY)
				exit(8);
	}
	stop = 1;
	value("wrong", wrong + end(t[0]) + end(t[1]));
	value("it is gone", access("comes", F_OK) ? errno : 0);
}

/* ---- the same file -------------------------------------------------------------------------- */

#define RECORD  6000
#define RECORDS 50
#define PIECES  60

static void *appender(void *arg)
{
	static __thread char text[RECORD];
	struct iovec v[PIECES];
	int fd = open("log", O_WRONLY | O_APPEND);
	long wrong = 0;

	memset(text, (char)(long)arg, sizeof(text));
	for (int i = 0; i < PIECES; i++)
		v[i] = (struct iovec){ text, RECORD / PIECES };
	for (int i = 0; i < RECORDS; i++)
		wrong += writev(fd, v, PIECES) != RECORD;
	close(fd);
	return (void *)wrong;
}

static void appends(void)
{
	static char text[RECORD], same[RECORD];
	pthread_t t[4];
	long wrong = 0, n = 0;
	int fd;

	title("records appended to one file");
	create("log", "");
	for (long i = 0; i < 4; i++)
		t[i] = begin(appender, (void *)('a' + i));
	for (int i = 0; i < 4; i++)
		wrong += end(t[i]);
	fd = open("log", O_RDONLY);
	while (read(fd, text, RECORD) == RECORD) {
		memset(same, text[0], RECORD);
		wrong += memcmp(text, same, RECORD) != 0;
		n++;
	}
	close(fd);
	value("records", n);
	value("wrong", wrong);
}

static void *file_reader(void *arg)
{
	static __thread char text[4 * PAGE];
	int fd = open("cut", O_RDONLY);
	long wrong = 0;

	while (!stop) {
		ssize_t n = pread(fd, text, sizeof(text), 0);

		wrong += n < 0;
		for (ssize_t i = 0; i < n; i++)
			wrong += text[i] != 'x' && text[i] != 0;
	}
	close(fd);
	return (void *)wrong;
}

static void cuts(void)
{
	static char text[3 * PAGE + 100];
	pthread_t t[2];
	long wrong = 0;
	int fd;

	title("a file that is cut while it is read");
	memset(text, 'x', sizeof(text));
	create("cut", "");
	fd = open("cut", O_RDWR);
	stop = 0;
	for (int i = 0; i < 2; i++)
		t[i] = begin(file_reader, NULL);
	for (int i = 0; i < 150; i++) {
		wrong += pwrite(fd, text, sizeof(text), 0) != sizeof(text);
		wrong += ftruncate(fd, i % 3 * 2000) != 0;
		wrong += ftruncate(fd, 2 * PAGE) != 0;
	}
	stop = 1;
	value("wrong", wrong + end(t[0]) + end(t[1]));
	close(fd);
}

int main(void)
{
	static const char *const made[] = { "locked", "flocked", "a", "b", "target", "log", "cut" };

	if (!mkdtemp(dir) || chdir(dir))
		return 9;
	seals();
	closed_lock();
	more_lock();
	pipes();
	descriptors();
	unshared();
	names();
	directories();
	appends();
	cuts();
	for (size_t i = 0; i < sizeof(made) / sizeof(made[0]); i++)
		unlink(made[i]);
	return rmdir(dir);
}

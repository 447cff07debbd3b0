/* What is told about memory: /proc/self/maps, statm, status, pagemap; process_vm_readv; getrusage. */
#include "abi.h"
#include <sys/uio.h>

/* The line of maps that has this address, without addresses and inode numbers; "" if none. */
static char *line_of(void *p)
{
	static char line[512], out[512];
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long start, end, off, ino, major, minor;
	char prot[8], name[256];

	out[0] = 0;
	while (fgets(line, sizeof(line), f)) {
		name[0] = 0;
		if (sscanf(line, "%lx-%lx %7s %lx %lx:%lx %lu %255[^\n]", &start, &end, prot, &off,
			   &major, &minor, &ino, name) < 7 ||
		    (unsigned long)p < start || (unsigned long)p >= end)
			continue;
		snprintf(out, sizeof(out), "%ld pages at %ld, %s, offset %lx, %s%s",
			 (long)(end - start) / (long)PAGE,
			 (long)((unsigned long)p - start) / (long)PAGE, prot, off,
			 ino ? "a file " : "", name);
		if (strstr(name, "/tmp/abi"))
			strcpy(strstr(out, "/tmp/abi"), "(deleted)");
	}
	fclose(f);
	return out;
}

static void maps(void)
{
	char *p = map(place(32), 8 * PAGE, RW, ANON, -1, 0), *q;
	int fd = temp_file(4 * PAGE), m;

	title("/proc/self/maps");
	text("private memory", line_of(p));
	protect(p + PAGE, PAGE, PROT_READ);
	text("cut by mprotect", line_of(p));
	text("the piece", line_of(p + PAGE));
	text("the rest", line_of(p + 2 * PAGE));
	protect(p + PAGE, PAGE, RW);
	text("together again", line_of(p));
	unmap(p + 4 * PAGE, PAGE);
	text("before a hole", line_of(p));
	text("in it", line_of(p + 4 * PAGE));
	text("behind it", line_of(p + 5 * PAGE));
	protect(p, PAGE, PROT_NONE);
	text("PROT_NONE", line_of(p));
	protect(p, PAGE, PROT_READ | PROT_EXEC);
	text("code", line_of(p));
	advise(p + 2 * PAGE, PAGE, MADV_DONTFORK);
	text("cut by madvise", line_of(p + 2 * PAGE));
	advise(p + 2 * PAGE, PAGE, MADV_DOFORK);
	text("together again", line_of(p + 2 * PAGE));
	syscall(SYS_mlock, p + 2 * PAGE, PAGE);
	text("cut by mlock", line_of(p + 2 * PAGE));
	unmap(p, 8 * PAGE);
	p = map(NULL, 3 * PAGE, RW, SHAN, -1, 0);
	text("shared memory", line_of(p));
	p = map(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, PAGE);
	text("a file, private", line_of(p + PAGE));
	q = map(NULL, 4 * PAGE, RW, MAP_SHARED, fd, 0);
	text("a file, shared", line_of(q));
	q[0] = 1;
	unmap(q + PAGE, PAGE);
	text("behind a hole", line_of(q + 2 * PAGE));
	map(q + PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, fd, PAGE);
	text("filled with the same", line_of(q));
	map(q + PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0);
	text("filled with another page", line_of(q + PAGE));
	m = (int)syscall(SYS_memfd_create, "jiffy", 0);
	ftruncate(m, PAGE);
	text("a memfd", line_of(map(NULL, PAGE, RW, MAP_SHARED, m, 0)));
	m = open("/dev/shm/abi-maps", O_RDWR | O_CREAT, 0600);
	ftruncate(m, PAGE);
	p = map(NULL, PAGE, RW, MAP_SHARED, m, 0);
	text("/dev/shm", line_of(p));
	unlink("/dev/shm/abi-maps");
	text("unlinked", line_of(p));
	text("the stack's name", strstr(line_of(&fd), "[stack]"));
	text("the heap's name",
	     strstr(line_of(syscall(SYS_brk, syscall(SYS_brk, 0) + 2 * PAGE) - PAGE + (char *)0),
		    "[heap]"));
	text("nothing at 0", line_of(NULL));
}

/* A line of status, in KiB, or -1. */
static long status_of(const char *name)
{
	char line[256];
	long kb = -1;
	FILE *f = fopen("/proc/self/status", "r");

	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)) && line[strlen(name)] == ':')
			kb = atol(line + strlen(name) + 1);
	fclose(f);
	return kb;
}

static void counts(void)
{
	static const char *const names[] = { "VmPeak", "VmSize",  "VmLck",   "VmPin",    "VmHWM",
					     "VmRSS",  "RssAnon", "RssFile", "RssShmem", "VmData",
					     "VmStk",  "VmExe",   "VmLib",   "VmPTE",    "VmSwap" };
	long before[15], size, rss, shared, code, lib, stack, dirty;
	char *p, *q;
	FILE *f;

	title("/proc/self/status and statm");
	for (int i = 0; i < 15; i++) {
		before[i] = status_of(names[i]);
		truth(names[i], before[i] >= 0);
	}
	p = anon(1024);
	value("mmap of 4 MiB: VmSize", status_of("VmSize") - before[1]);
	value("VmData", status_of("VmData") - before[9]);
	truth("VmRSS as before", status_of("VmRSS") - before[5] < 64);
	memset(p, 1, 512 * PAGE);
	rss = status_of("RssAnon") - before[6];
	truth("2 MiB touched: RssAnon", rss >= 2048 && rss < 2048 + 64);
	rss = status_of("VmRSS") - before[5];
	truth("VmRSS", rss >= 2048 && rss < 2048 + 128);
	syscall(SYS_mlock, p, 64 * PAGE);
	value("VmLck", status_of("VmLck") - before[2]);
	advise(p + 256 * PAGE, 256 * PAGE, MADV_DONTNEED);
	rss = status_of("VmRSS") - before[5];
	truth("1 MiB of it given back", rss >= 1024 && rss < 1024 + 128);
	truth("VmHWM is not below VmRSS", status_of("VmHWM") >= status_of("VmRSS"));
	q = map(NULL, 256 * PAGE, RW, SHAN, -1, 0);
	memset(q, 1, 128 * PAGE);
	truth("shared memory: RssShmem", status_of("RssShmem") - before[8] >= 512);
	unmap(p, 1024 * PAGE);
	unmap(q, 256 * PAGE);
	truth("unmapped: VmSize", status_of("VmSize") - before[1] == 0);
	truth("VmPeak remembers", status_of("VmPeak") >= before[1] + 4096);
	value("VmLck", status_of("VmLck"));
	f = fopen("/proc/self/statm", "r");
	value("statm has numbers", fscanf(f, "%ld %ld %ld %ld %ld %ld %ld", &size, &rss, &shared,
					  &code, &lib, &stack, &dirty));
	fclose(f);
	value("size", size * 4 - status_of("VmSize"));
	truth("resident", rss > 0 && rss <= size);
	truth("shared", shared >= 0 && shared <= rss);
	truth("code", code > 0);
	value("lib and dirty", lib + dirty);
	truth("data", stack * 4 >= status_of("VmStk"));
}

static long smaps_of(void *p, const char *field)
{
	char line[512];
	unsigned long start, end;
	int here = 0;
	long kb = -1;
	FILE *f = fopen("/proc/self/smaps", "r");

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = (unsigned long)p >= start && (unsigned long)p < end;
		else if (here && !strncmp(line, field, strlen(field)) && line[strlen(field)] == ':')
			kb = atol(line + strlen(field) + 1);
	}
	fclose(f);
	return kb;
}

static void smaps(void)
{
	static const char *const names[] = {
		"Size",          "KernelPageSize", "MMUPageSize",  "Rss",
		"Pss",           "Shared_Clean",   "Shared_Dirty", "Private_Clean",
		"Private_Dirty", "Anonymous",      "Swap",         "Locked"
	};
	char *p = map(place(32), 8 * PAGE, RW, ANON | MAP_NORESERVE, -1, 0);

	title("/proc/self/smaps");
	memset(p, 1, 3 * PAGE);
	(void)*(volatile char *)(p + 5 * PAGE);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		value(names[i], smaps_of(p, names[i]));
	syscall(SYS_mlock, p, 8 * PAGE);
	value("locked: Rss", smaps_of(p, "Rss"));
	unmap(p, 8 * PAGE);
}

#define MANY 12000ul

/* Lines of a text that begin a region in [p, p + MANY pages), and the text's length. */
static long many_in(const char *path, const char *p, long *bytes)
{
	char line[512];
	unsigned long start, end;
	long n = 0;
	FILE *f = fopen(path, "r");

	*bytes = 0;
	while (f && fgets(line, sizeof(line), f)) {
		*bytes += (long)strlen(line);
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			n += start >= (unsigned long)p && end <= (unsigned long)p + MANY * PAGE &&
			     end == start + PAGE;
	}
	if (f)
		fclose(f);
	return n;
}

/* The same bytes, however they are read. */
static void anywhere_in(const char *path)
{
	static char whole[8192], parts[8192];
	size_t got = 0;
	int fd = open(path, O_RDONLY);

	while (got < 6000)
		got += (size_t)read(fd, whole + got, sizeof(whole) - got);
	value("back to the beginning", lseek(fd, 0, SEEK_SET));
	for (got = 0; got < 5992; got += 7)
		if (read(fd, parts + got, 7) != 7)
			break;
	truth("seven by seven", !memcmp(whole, parts, 5992));
	value("where that ends", lseek(fd, 0, SEEK_CUR));
	value("pread", pread(fd, parts, 100, 1234));
	truth("the same", !memcmp(parts, whole + 1234, 100));
	lseek(fd, 300000, SEEK_SET);
	value("far away", read(fd, whole, 200));
	value("pread", pread(fd, parts, 200, 300000));
	truth("the same", !memcmp(parts, whole, 200));
	value("behind the end", pread(fd, parts, 200, 1ul << 40));
	call("lseek from the end", lseek(fd, 0, SEEK_END));
	call("lseek to -1", lseek(fd, -1, SEEK_SET));
	lseek(fd, 0, SEEK_SET);
	call("to nowhere", syscall(SYS_read, fd, 8, 100));
	value("that moved it", lseek(fd, 0, SEEK_CUR));
	close(fd);
}

static void many_regions(void)
{
	char *p = map(NULL, MANY * PAGE, PROT_READ, ANON | MAP_NORESERVE, -1, 0);
	long bytes;

	title("12,000 regions");
	for (size_t i = 1; i < MANY; i += 2)
		protect(p + i * PAGE, PAGE, PROT_NONE);
	value("maps", many_in("/proc/self/maps", p, &bytes));
	value("smaps", many_in("/proc/self/smaps", p, &bytes));
	truth("more than 5 MB", bytes > 5000000);
	anywhere_in("/proc/self/maps");
	anywhere_in("/proc/self/smaps");
	unmap(p, MANY * PAGE);
}

/* What a text says of a program that is not there any more. */
static void gone(const char *self)
{
	char path[64], buf[100];
	int status, fd[2];
	pid_t pid;

	title("the maps of who is gone");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		fd[0] = open("/proc/self/maps", O_RDONLY);
		if (dup2(fd[0], 9) == 9)
			execl(self, self, "maps at 9", NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	value("exec", WEXITSTATUS(status));
	pid = fork();
	if (!pid)
		for (;;)
			pause();
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	fd[0] = open(path, O_RDONLY);
	fd[1] = open(path, O_RDONLY);
	value("alive", read(fd[0], buf, sizeof(buf)));
	kill(pid, SIGKILL);
	waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT);
	value("a zombie", read(fd[1], buf, sizeof(buf)));
	waitpid(pid, &status, 0);
	call("nobody", read(fd[1], buf, sizeof(buf)));
	close(fd[0]);
	close(fd[1]);
}

static void pagemap(void)
{
	char *p = map(place(32), 4 * PAGE, RW, ANON, -1, 0),
	     *s = map(NULL, 2 * PAGE, RW, SHAN, -1, 0);
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t e[4] = { 9, 9, 9, 9 };

	title("/proc/self/pagemap");
	call("open", fd);
	p[PAGE] = 1;
	s[0] = 1;
	value("bytes read", pread(fd, e, 32, (off_t)((unsigned long)p / PAGE * 8)));
	value("present", (long)(e[0] >> 63) * 8 + (long)(e[1] >> 63) * 4 + (long)(e[2] >> 63) * 2 +
				 (long)(e[3] >> 63));
	value("of a file or shared", (long)(e[1] >> 61 & 1));
	value("swapped", (long)(e[1] >> 62 & 1));
	value("exclusive", (long)(e[1] >> 56 & 1));
	value("nothing there is all zero", e[0] == 0 || e[0] == 1ul << 55);
	pread(fd, e, 16, (off_t)((unsigned long)s / PAGE * 8));
	value("shared memory: present", (long)(e[0] >> 63) * 2 + (long)(e[1] >> 63));
	value("of a file or shared", (long)(e[0] >> 61 & 1));
	value("a hole", pread(fd, e, 8, 0x1000000) == 8 ? (long)(e[0] >> 63) : -1);
	call("7 bytes", pread(fd, e, 7, 0));
	call("at 4", pread(fd, e, 8, 4));
	value("0 bytes", pread(fd, e, 0, 0));
	close(fd);
}

static long copy(int write, char *here, size_t n, char *there, size_t m, pid_t pid)
{
	struct iovec a = { here, n }, b = { there, m };

	return syscall(write ? SYS_process_vm_writev : SYS_process_vm_readv, pid, &a, 1, &b, 1, 0);
}

static void remote(void)
{
	char *p = anon(4), *q = anon(4);
	struct iovec a[2] = { { p, 10 }, { p + 100, 10 } }, b[2] = { { q, 5 }, { q + 50, 20 } };
	pid_t pid;
	int pipes[2], status;

	title("process_vm_readv and writev");
	memset(q, 'r', 4 * PAGE);
	fflush(stdout);
	if (pipe(pipes))
		exit(4);
	pid = fork();
	if (!pid) {
		memset(q, 'C', 4 * PAGE);
		unmap(q + 2 * PAGE, PAGE);
		protect(q + 3 * PAGE, PAGE, PROT_READ);
		write(pipes[1], "x", 1);
		pause();
		_exit(1);
	}
	read(pipes[0], p, 1);
	value("reading", copy(0, p, 100, q, 100, pid));
	value("it is the child's", p[99]);
	value("mine is mine", q[99]);
	value("over a page's end", copy(0, p, 1000, q + PAGE - 500, 1000, pid));
	value("up to a hole", copy(0, p, PAGE, q + 2 * PAGE - 100, PAGE, pid));
	call("in a hole", copy(0, p, 10, q + 2 * PAGE, 10, pid));
	value("less here", copy(0, p, 10, q, 100, pid));
	value("less there", copy(0, p, 100, q, 10, pid));
	value("writing", copy(1, p, 100, q, 100, pid));
	call("writing what is read only", copy(1, p, 10, q + 3 * PAGE, 10, pid));
	call("far below a stack, which does not grow for it",
	     copy(1, p, 10, (char *)__builtin_frame_address(0) - 200 * PAGE, 10, getpid()));
	value("several ranges", syscall(SYS_process_vm_readv, pid, a, 2, b, 2, 0));
	value("the second", p[100]);
	value("no ranges here", syscall(SYS_process_vm_readv, pid, a, 0, b, 2, 0));
	value("no ranges there", syscall(SYS_process_vm_readv, pid, a, 2, b, 0, 0));
	call("too many", syscall(SYS_process_vm_readv, pid, a, 1025, b, 1, 0));
	call("a flag", syscall(SYS_process_vm_readv, pid, a, 1, b, 1, 1));
	call("a bad array", syscall(SYS_process_vm_readv, pid, 8, 1, b, 1, 0));
	call("a bad array there", syscall(SYS_process_vm_readv, pid, a, 1, 8, 1, 0));
	call("a bad address here", copy(0, (char *)8, 10, q, 10, pid));
	call("no such process", copy(0, p, 10, q, 10, 999999));
	a[1].iov_len = -1ul;
	call("a negative length", syscall(SYS_process_vm_readv, pid, a, 2, b, 2, 0));
	value("from oneself", copy(0, p, 10, q, 10, getpid()));
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	call("a dead one", copy(0, p, 10, q, 10, pid));
}

static void usage(void)
{
	struct rusage a, b;
	char *p = map(NULL, 64 * PAGE, RW, ANON | MAP_NORESERVE, -1, 0);

	title("getrusage");
	advise(p, 64 * PAGE, MADV_NOHUGEPAGE);
	getrusage(RUSAGE_SELF, &a);
	memset(p, 1, 64 * PAGE);
	getrusage(RUSAGE_SELF, &b);
	truth("minor faults", b.ru_minflt - a.ru_minflt >= 64 && b.ru_minflt - a.ru_minflt < 80);
	value("major faults", b.ru_majflt - a.ru_majflt);
	truth("ru_maxrss", b.ru_maxrss > 0 && b.ru_maxrss >= a.ru_maxrss);
	call("who 5", getrusage(5, &a));
}

int main(int argc, char **argv)
{
	char buf[100];

	if (argc > 1 && !strcmp(argv[1], "maps at 9")) {
		value("read after exec", read(9, buf, sizeof(buf)));
		return 7;
	}
	maps();
	counts();
	smaps();
	many_regions();
	gone(argv[0]);
	pagemap();
	remote();
	usage();
	return 0;
}

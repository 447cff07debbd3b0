/*
 * Odd arguments: each call with each of a list of values in each place, one at a time, the other arguments
 * good. The answer must be Linux's. Each try is a child's. Left out are calls that may wait, and values whose
 * answer is the machine's: numbers of processes that may be there, lengths that its memory decides. What is good lies
 * where there is nothing else for 2^32 bytes. The file is of four pages again at each try.
 */
#include "abi.h"

#include <sched.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

static const struct odd {
	const char *name;
	unsigned long v;
} odd[] = {
	{ "0", 0 },
	{ "1", 1 },
	{ "3", 3 },
	{ "64", 64 },
	{ "4096", 4096 },
	{ "10^6", 1000000 },
	{ "2^31-1", (1ul << 31) - 1 },
	{ "2^31", 1ul << 31 },
	{ "2^32-1", (1ul << 32) - 1 },
	{ "2^32", 1ul << 32 },
	{ "2^32+1", (1ul << 32) + 1 },
	{ "the top", TOP },
	{ "2^47", 1ul << 47 },
	{ "2^63-1", (1ul << 63) - 1 },
	{ "2^63", 1ul << 63 },
	{ "the kernel", 0xffffffff80000000ul },
	{ "-4096", -4096ul },
	{ "-8", -8ul },
	{ "-1", -1ul },
};
#define ODD (sizeof(odd) / sizeof(odd[0]))

/* Arguments that stand for others; and what an argument is, if not all values may be tried. */
#define GOOD   0x7f00f00dul /* memory, filled with zeroes */
#define NEXT   0x7f00f00eul /* behind that */
#define AWAY   0x7f00f00ful /* a free place */
#define FD     0x7f00f010ul /* a file */
#define ME     0x7f00f011ul
#define DIR_FD 0x7f00f012ul       /* a directory, at its beginning */
#define FD2    0x7f00f013ul       /* another file */
#define PIECE  0x7f00f014ul       /* 64 bytes of memory, as an iovec */
#define PID(n) (1u << (n))        /* none that may be there */
#define LEN(n) (1u << (8 + (n)))  /* nothing between 2^30 and 2^46 */
#define NOT(n) (1u << (16 + (n))) /* none at all */
#define MEM(n) (1u << (24 + (n))) /* bytes that it would take at once: not between 2^30 and 2^63 */

static const struct odd_call {
	const char *name;
	long nr;
	int n;
	unsigned long a[6];
	unsigned what;
} calls[] = {
	{ "mmap", SYS_mmap, 6, { 0, PAGE, RW, ANON, -1ul, 0 }, LEN(1) },
	{ "mmap of a file", SYS_mmap, 6, { 0, PAGE, PROT_READ, MAP_PRIVATE, FD, 0 }, NOT(4) },
	{ "munmap", SYS_munmap, 2, { GOOD, PAGE }, 0 },
	{ "mprotect", SYS_mprotect, 3, { GOOD, PAGE, PROT_READ }, 0 },
	{ "mremap", SYS_mremap, 5, { GOOD, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0 }, LEN(2) },
	{ "mremap to an address", SYS_mremap, 5, { GOOD, PAGE, PAGE, 3, AWAY }, LEN(2) | NOT(0) },
	{ "msync", SYS_msync, 3, { GOOD, PAGE, MS_SYNC }, 0 },
	{ "mincore", SYS_mincore, 3, { GOOD, PAGE, GOOD }, 0 },
	{ "madvise", SYS_madvise, 3, { GOOD, PAGE, MADV_NORMAL }, NOT(2) },
	{ "mlock", SYS_mlock, 2, { GOOD, PAGE }, 0 },
	{ "mlock2", SYS_mlock2, 3, { GOOD, PAGE, 1 }, 0 },
	{ "munlock", SYS_munlock, 2, { GOOD, PAGE }, 0 },
	{ "mlockall", SYS_mlockall, 1, { MCL_FUTURE }, NOT(0) },
	{ "remote read", SYS_process_vm_readv, 6, { ME, GOOD, 1, GOOD, 1, 0 }, PID(0) | NOT(2) },
	{ "remote write", SYS_process_vm_writev, 6, { ME, GOOD, 1, GOOD, 1, 0 }, PID(0) | NOT(2) },
	{ "memfd_create", SYS_memfd_create, 2, { GOOD, 0 }, NOT(1) },
	{ "futex wait", SYS_futex, 6, { GOOD, 0, 7, GOOD, 0, 0 }, NOT(1) },
	{ "futex wake", SYS_futex, 6, { GOOD, 1, 1, 0, 0, 0 }, NOT(1) },
	{ "futex requeue", SYS_futex, 6, { GOOD, 3, 1, 1, NEXT, 0 }, NOT(1) },
	{ "futex cmp requeue", SYS_futex, 6, { GOOD, 4, 1, 1, NEXT, 0 }, NOT(1) },
	{ "futex wake op", SYS_futex, 6, { GOOD, 5, 1, 1, NEXT, 0 }, NOT(1) },
	{ "futex trylock", SYS_futex, 6, { GOOD, 8, 0, 0, 0, 0 }, NOT(1) },
	{ "futex unlock", SYS_futex, 6, { GOOD, 7, 0, 0, 0, 0 }, NOT(1) },
	{ "futex requeue pi", SYS_futex, 6, { GOOD, 12, 1, 0, NEXT, 0 }, NOT(1) },
	{ "set_robust_list", SYS_set_robust_list, 2, { GOOD, 24 }, 0 },
	{ "get_robust_list", SYS_get_robust_list, 3, { 0, GOOD, GOOD }, PID(0) },
	{ "sched_setscheduler", SYS_sched_setscheduler, 3, { 0, SCHED_OTHER, GOOD }, PID(0) },
	{ "sched_setparam", SYS_sched_setparam, 2, { 0, GOOD }, PID(0) },
	{ "sched_getparam", SYS_sched_getparam, 2, { 0, GOOD }, PID(0) },
	{ "sched_getscheduler", SYS_sched_getscheduler, 1, { 0 }, PID(0) },
	{ "sched_get_priority_max", SYS_sched_get_priority_max, 1, { 0 }, 0 },
	{ "sched_rr_get_interval", SYS_sched_rr_get_interval, 2, { 0, GOOD }, PID(0) },
	{ "sched_setaffinity", SYS_sched_setaffinity, 3, { 0, 8, GOOD }, PID(0) },
	{ "sched_setattr", SYS_sched_setattr, 3, { 0, GOOD, 0 }, PID(0) },
	{ "sched_getattr", SYS_sched_getattr, 4, { 0, GOOD, 48, 0 }, PID(0) },
	{ "getpriority", SYS_getpriority, 2, { PRIO_PROCESS, 0 }, PID(1) },
	{ "getcpu", SYS_getcpu, 2, { GOOD, GOOD }, 0 },
	{ "clock_gettime", SYS_clock_gettime, 2, { CLOCK_MONOTONIC, GOOD }, NOT(0) },
	{ "nanosleep", SYS_nanosleep, 2, { GOOD, GOOD }, 0 },
	{ "getitimer", SYS_getitimer, 2, { ITIMER_REAL, GOOD }, NOT(0) },
	{ "setitimer", SYS_setitimer, 3, { ITIMER_REAL, GOOD, GOOD }, NOT(0) },
	{ "rt_sigaction", SYS_rt_sigaction, 4, { SIGUSR1, GOOD, GOOD, 8 }, 0 },
	{ "rt_sigprocmask", SYS_rt_sigprocmask, 4, { SIG_BLOCK, GOOD, GOOD, 8 }, 0 },
	{ "rt_sigpending", SYS_rt_sigpending, 2, { GOOD, 8 }, 0 },
	{ "rt_sigtimedwait", SYS_rt_sigtimedwait, 4, { GOOD, GOOD, GOOD, 8 }, NOT(2) },
	{ "getrlimit", SYS_getrlimit, 2, { RLIMIT_CORE, GOOD }, 0 },
	{ "prlimit64", SYS_prlimit64, 4, { 0, RLIMIT_CORE, 0, GOOD }, PID(0) },
	{ "getrusage", SYS_getrusage, 2, { RUSAGE_SELF, GOOD }, 0 },
	{ "wait4", SYS_wait4, 4, { -1ul, GOOD, WNOHANG, GOOD }, PID(0) },
	{ "waitid", SYS_waitid, 5, { P_ALL, 0, GOOD, WEXITED | WNOHANG, GOOD }, NOT(0) },
	{ "setpgid", SYS_setpgid, 2, { 0, 0 }, PID(0) | PID(1) },
	{ "getpgid", SYS_getpgid, 1, { 0 }, PID(0) },
	{ "getsid", SYS_getsid, 1, { 0 }, PID(0) },
	{ "sysinfo", SYS_sysinfo, 1, { GOOD }, 0 },
	{ "getrandom", SYS_getrandom, 3, { GOOD, 8, 0 }, NOT(1) },
	{ "read", SYS_read, 3, { FD, GOOD, 64 }, NOT(0) },
	{ "write", SYS_write, 3, { FD, GOOD, 64 }, NOT(0) },
	{ "pread64", SYS_pread64, 4, { FD, GOOD, 64, 0 }, NOT(0) },
	{ "pwrite64", SYS_pwrite64, 4, { FD, GOOD, 64, 0 }, NOT(0) },
	{ "pread64 of nothing", SYS_pread64, 4, { -1ul, GOOD, 64, 0 }, NOT(0) },
	{ "readv", SYS_readv, 3, { FD, PIECE, 1 }, NOT(0) },
	{ "writev", SYS_writev, 3, { FD, PIECE, 1 }, NOT(0) },
	{ "preadv", SYS_preadv, 5, { FD, PIECE, 1, 0, 0 }, NOT(0) },
	{ "pwritev", SYS_pwritev, 5, { FD, PIECE, 1, 0, 0 }, NOT(0) },
	{ "sendfile", SYS_sendfile, 4, { FD2, FD, 0, 64 }, NOT(0) | NOT(1) },
	{ "sendfile from 0", SYS_sendfile, 4, { FD2, FD, GOOD, 64 }, NOT(0) | NOT(1) | NOT(2) },
	{ "copy_file_range", SYS_copy_file_range, 6, { FD, 0, FD2, 0, 64, 0 }, NOT(0) | NOT(2) },
	{ "copy_file_range from there",
	  SYS_copy_file_range,
	  6,
	  { FD, PIECE, FD2, 0, 64, 0 },
	  NOT(0) | NOT(1) | NOT(2) },
	{ "lseek", SYS_lseek, 3, { FD, 0, SEEK_SET }, NOT(0) },
	{ "lseek from here", SYS_lseek, 3, { FD, 0, SEEK_CUR }, NOT(0) },
	{ "lseek from the end", SYS_lseek, 3, { FD, 0, SEEK_END }, NOT(0) },
	{ "lseek to data", SYS_lseek, 3, { FD, 0, SEEK_DATA }, NOT(0) },
	{ "lseek to a hole", SYS_lseek, 3, { FD, 0, SEEK_HOLE }, NOT(0) },
	{ "ftruncate", SYS_ftruncate, 2, { FD, PAGE }, NOT(0) },
	{ "ftruncate of nothing", SYS_ftruncate, 2, { -1ul, PAGE }, NOT(0) },
	{ "fallocate", SYS_fallocate, 4, { FD, 0, 0, PAGE }, NOT(0) | MEM(3) },
	{ "fallocate a hole", SYS_fallocate, 4, { FD, 3, 0, PAGE }, NOT(0) | NOT(1) },
	{ "fallocate nothing", SYS_fallocate, 4, { -1ul, 0, 0, PAGE }, NOT(0) },
	{ "flock", SYS_flock, 2, { FD, 1 }, NOT(0) },
	{ "flock of nothing", SYS_flock, 2, { -1ul, 1 }, NOT(0) },
	{ "getdents64", SYS_getdents64, 3, { DIR_FD, GOOD, PAGE }, NOT(0) },
	{ "getdents", SYS_getdents, 3, { DIR_FD, GOOD, PAGE }, NOT(0) },
	{ "getdents64 of a file", SYS_getdents64, 3, { FD, GOOD, PAGE }, NOT(0) },
	{ "sync_file_range", SYS_sync_file_range, 4, { FD, 0, 0, 0 }, NOT(0) },
	{ "fadvise64", SYS_fadvise64, 4, { FD, 0, 0, 0 }, NOT(0) },
	{ "readahead", SYS_readahead, 3, { FD, 0, PAGE }, NOT(0) },
	{ "dup2", SYS_dup2, 2, { FD, 64 }, NOT(0) | NOT(1) },
	{ "dup3", SYS_dup3, 3, { FD, 64, O_CLOEXEC }, NOT(0) | NOT(1) },
	{ "fcntl", SYS_fcntl, 3, { FD, F_GETFL, 0 }, NOT(0) },
	{ "fcntl dup", SYS_fcntl, 3, { FD, F_DUPFD, 0 }, NOT(0) | NOT(1) },
	{ "fcntl lock", SYS_fcntl, 3, { FD, F_SETLK, GOOD }, NOT(0) | NOT(1) },
	{ "fcntl look at a lock", SYS_fcntl, 3, { FD, F_GETLK, GOOD }, NOT(0) | NOT(1) },
	{ "close_range", SYS_close_range, 3, { 64, 64, 0 }, NOT(0) },
	{ "access", SYS_access, 2, { GOOD, 0 }, 0 },
	{ "open", SYS_open, 3, { GOOD, 0, 0 }, 0 },
	{ "getcwd", SYS_getcwd, 2, { GOOD, PAGE }, NOT(1) },
	{ "readlink", SYS_readlink, 3, { GOOD, GOOD, 64 }, 0 },
	{ "pipe2", SYS_pipe2, 2, { GOOD, 0 }, 0 },
	{ "eventfd2", SYS_eventfd2, 2, { 0, 0 }, 0 },
	{ "poll", SYS_poll, 3, { GOOD, 1, 0 }, NOT(2) },
	{ "select", SYS_select, 5, { 1, GOOD, GOOD, GOOD, GOOD }, NOT(4) },
	{ "fstat", SYS_fstat, 2, { FD, GOOD }, NOT(0) },
	{ "fstatfs", SYS_fstatfs, 2, { FD, GOOD }, NOT(0) },
	{ "newfstatat",
	  SYS_newfstatat,
	  4,
	  { FD, GOOD, NEXT, AT_EMPTY_PATH },
	  NOT(0) | NOT(1) | NOT(3) },
	{ "statx", SYS_statx, 5, { FD, GOOD, AT_EMPTY_PATH, 1, NEXT }, NOT(0) | NOT(1) },
	{ "utimensat", SYS_utimensat, 4, { FD, 0, GOOD, 0 }, NOT(0) },
};

static char *good, *away;
static int fd, fd2;
static struct iovec piece[64];

static int is_tried(const struct odd_call *c, int k, unsigned long v)
{
	if (c->what & NOT(k))
		return 0;
	if ((c->what & PID(k)) && (unsigned)v && (unsigned)v < 1u << 22)
		return 0;
	if ((c->what & MEM(k)) && v >= 1ul << 30 && v < 1ul << 63)
		return 0;
	return !(c->what & LEN(k)) || v < 1ul << 30 || v > 1ul << 46;
}

static unsigned long meant(unsigned long a)
{
	switch (a) {
	case GOOD: return (unsigned long)good;
	case NEXT: return (unsigned long)good + 8;
	case AWAY: return (unsigned long)away;
	case FD: return (unsigned long)fd;
	case FD2: return (unsigned long)fd2;
	case PIECE: return (unsigned long)&piece;
	case ME: return (unsigned long)getpid();
	case DIR_FD: return (unsigned long)open("/", O_RDONLY | O_DIRECTORY);
	}
	return a;
}

static void try(const struct odd_call *c, int k, const struct odd *o)
{
	unsigned long a[6];
	char what[64];

	for (int i = 0; i < 6; i++)
		a[i] = i == k ? o->v : meant(c->a[i]);
	snprintf(what, sizeof(what), "argument %d %s", k + 1, o->name);
	errno = 0;
	call(what, syscall(c->nr, a[0], a[1], a[2], a[3], a[4], a[5]));
}

int main(void)
{
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 1024, 1024 });
	fd = memfd_create("odd", 0);
	good = map((void *)0x100000000000, 4 * PAGE, RW, ANON | MAP_FIXED, -1, 0);
	away = good + (1 << 28);
	fd2 = memfd_create("other", 0);
	piece[0] = (struct iovec){ good, 64 };
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		title(calls[i].name);
		for (int k = 0; k < calls[i].n; k++)
			for (size_t j = 0; j < ODD; j++) {
				pid_t pid;
				int status;

				if (!is_tried(&calls[i], k, odd[j].v))
					continue;
				lseek(fd, 0, SEEK_SET);
				lseek(fd2, 0, SEEK_SET);
				if (ftruncate(fd, 4 * PAGE))
					return 1;
				pid = fork();
				if (!pid) {
					try(&calls[i], k, &odd[j]);
					_exit(0);
				}
				waitpid(pid, &status, 0);
				if (status)
					value("status", status);
			}
	}
	return 0;
}

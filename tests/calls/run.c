/* A worker: a process whose threads make calls of all groups until the round ends or they are killed. */
#include "calls.h"

#include <pthread.h>
#include <setjmp.h>

#define WORKER_FILES 4

int generation;

static __thread sigjmp_buf *fault_return;

void handle_signal(int sig, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	if (sig != SIGSEGV && sig != SIGBUS)
		return;
	if (fault_return)
		siglongjmp(*fault_return, 1);
	_exit(3);
}

bool try_access(void (*access)(void))
{
	sigjmp_buf here;
	bool whole = true;

	fault_return = &here;
	if (sigsetjmp(here, 1) == 0)
		access();
	else
		whole = false;
	fault_return = NULL;
	return whole;
}

void write_down(int pid)
{
	if (pid > 0)
		atomic_store(&board->pid[below(NAMES)], pid);
}

void run_calls(u64 n)
{
	while (n-- && !atomic_load(&board->stop))
		switch (below(12)) {
		case 0 ... 3: call_memory(); break;
		case 4 ... 5: call_futex(); break;
		case 6: call_robust_list(); break;
		case 7: call_sched(); break;
		case 8: call_signal(); break;
		case 9: call_process(); break;
		default: call_file();
		}
}

static void *run_thread(void *seed)
{
	pick_seed((u64)seed);
	write_down((int)gettid());
	run_calls(~0ul);
	return NULL;
}

/* Those of the C library's own threads stay as they are, and that of a child's end. */
static void catch_signals(void)
{
	struct sigaction a = { .sa_sigaction = handle_signal, .sa_flags = SA_SIGINFO | SA_NODEFER };

	for (int sig = 1; sig < 65; sig++)
		if (sig != SIGKILL && sig != SIGSTOP && sig != SIGCHLD && (sig < 32 || sig > 34))
			sigaction(sig, &a, NULL);
}

/* Nothing that a worker reads or writes may be the supervisor's. */
static void open_files(void)
{
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd < FIRST_FD; fd++)
		dup2(null, fd);
	for (int i = 0; i < WORKER_FILES; i++)
		if (ftruncate((int)syscall(SYS_memfd_create, "calls", MFD_ALLOW_SEALING), 1 << 20))
			break; /* out of memory, or descriptors: the calls go on with what there is */
}

void run_worker(u64 seed, unsigned threads)
{
	pthread_attr_t small;
	pthread_t t;

	pick_seed(seed);
	catch_signals();
	open_files();
	setpgid(0, 0);
	write_down(getpid());
	mmap((void *)AREA, AREA_SIZE, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 16 * PAGE);
	while (--threads)
		pthread_create(&t, &small, run_thread, (void *)pick());
	run_calls(~0ul);
	_exit(0);
}

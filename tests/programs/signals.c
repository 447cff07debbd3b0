/*
 * Signals: nesting, order, masks, the frame and what its handler may change in it, alternate
 * stacks, waiting without losing one, a high rate of them during copies, forks and execs, stopping groups.
 */
#define _GNU_SOURCE
#include <alloca.h>
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
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "say.h"

static volatile int count, noted, note[64];

static void add_note(int value)
{
	if (noted < 64)
		note[noted++] = value;
}

static void show_notes(const char *what)
{
	SAY("%s:", what);
	for (int i = 0; i < noted; i++)
		SAY(" %d", note[i]);
	SAY("\n");
	noted = 0;
}

static void set_handler(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

static void set_action(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = { .sa_sigaction = fn, .sa_flags = flags | SA_SIGINFO };

	sigaction(sig, &sa, NULL);
}

static void nap_ms(int ms)
{
	struct timespec t = { 0, ms * 1000000l };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

static void counts(int sig)
{
	count++;
}

/* ---- nesting and order ---------------------------------------------------------------------- */

static volatile int depth, deepest, calls;

static void nests(int sig)
{
	calls++;
	if (++depth > deepest)
		deepest = depth;
	if (depth < 5 && calls < 20)
		raise(sig == SIGUSR1 ? SIGUSR2 : SIGUSR1);
	depth--;
}

static void nesting(int flags)
{
	calls = deepest = 0;
	set_handler(SIGUSR1, nests, flags);
	set_handler(SIGUSR2, nests, flags);
	raise(SIGUSR1);
	SAY("depth %d, deepest %d\n", depth, deepest);
}

/* Real-time signals by their distance from SIGRTMIN: the C libraries keep some for themselves. */
static void notes(int sig)
{
	add_note(sig >= SIGRTMIN ? 100 + sig - SIGRTMIN : sig);
}

static void order(int masked)
{
	const int sigs[] = { SIGUSR2, SIGUSR1,      SIGTERM, SIGRTMIN + 2, SIGRTMIN + 1,
			     SIGHUP,  SIGRTMIN + 1, SIGUSR1, SIGCHLD,      SIGSEGV };
	const unsigned n = sizeof(sigs) / sizeof(sigs[0]);
	struct sigaction sa = { .sa_handler = notes };
	sigset_t all, old;

	sigfillset(&all);
	if (masked)
		sa.sa_mask = all;
	sigprocmask(SIG_SETMASK, &all, &old);
	for (unsigned i = 0; i < n; i++) {
		sigaction(sigs[i], &sa, NULL);
		kill(getpid(), sigs[i]);
	}
	sigpending(&all);
	SAY("pending %d %d\n", sigismember(&all, SIGUSR1), sigismember(&all, SIGINT));
	sigprocmask(SIG_SETMASK, &old, NULL);
	show_notes(masked ? "one by one" : "all at once, the last first");
	for (unsigned i = 0; i < n; i++)
		signal(sigs[i], SIG_DFL);
}

/* ---- the alternate stack -------------------------------------------------------------------- */

static char alternate[65536];

static void where(int sig, siginfo_t *info, void *context)
{
	volatile char here;
	stack_t now, other = { .ss_sp = alternate, .ss_size = 16384 };

	sigaltstack(NULL, &now);
	add_note((char *)&here >= alternate && (char *)&here < alternate + sizeof(alternate));
	add_note(now.ss_flags);
	add_note(((ucontext_t *)context)->uc_stack.ss_flags);
	add_note(sigaltstack(&other, NULL) ? errno : 0);
}

/* To the lower end of the stack, where no second frame fits. */
static void at_the_end(int sig)
{
	volatile char *here =
		alloca((size_t)((char *)__builtin_frame_address(0) - alternate) - 600);

	here[0] = 1;
	if (count++)
		_exit(1);
	syscall(SYS_tkill, syscall(SYS_gettid), sig);
}

static void stack_overflow(void)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		stack_t ss = { .ss_sp = alternate, .ss_size = sizeof(alternate) };

		count = 0;
		sigaltstack(&ss, NULL);
		set_handler(SIGUSR1, at_the_end, SA_ONSTACK | SA_NODEFER);
		raise(SIGUSR1);
		_exit(2);
	}
	waitpid(child, &status, 0);
	SAY("overflow: killed by signal %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static void alternate_stack(void)
{
	stack_t ss = { .ss_sp = alternate, .ss_size = sizeof(alternate) }, old;

	TRY(sigaltstack(&ss, NULL));
	set_action(SIGUSR1, where, SA_ONSTACK);
	raise(SIGUSR1);
	show_notes("with SA_ONSTACK");
	set_action(SIGUSR1, where, 0);
	raise(SIGUSR1);
	show_notes("without");
	ss.ss_flags = 77;
	TRY(sigaltstack(&ss, NULL));
	if (fork() == 0) {
		sigaltstack(NULL, &old);
		SAY("a child's flags: %d\n", old.ss_flags);
		_exit(0);
	}
	wait(NULL);
	ss.ss_flags = SS_DISABLE;
	TRY(sigaltstack(&ss, &old));
	TRY(syscall(SYS_sigaltstack, 16, 0));
	stack_overflow();
}

/* ---- the frame ------------------------------------------------------------------------------ */

static void changes_registers(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	greg_t *g = u->uc_mcontext.gregs;

	g[REG_RAX] = 0x1111;
	g[REG_RBX] = 0x2222;
	g[REG_R12] = 0x3333;
	g[REG_R15] = 0x4444;
	g[REG_RCX] = 0x5555; /* these two are what sysret would lose */
	g[REG_R11] = 0x6666;
	g[REG_RDX] = 0x7777;
	g[REG_EFL] |= 1;
	u->uc_mcontext.fpregs->_xmm[3].element[1] = 0x99;
	sigaddset(&u->uc_sigmask, SIGHUP);
}

static void changed_registers(void)
{
	unsigned x[4] = { 1, 2, 3, 4 };
	uint64_t r[8];
	sigset_t mask;

	set_action(SIGUSR1, changes_registers, 0);
	__asm__ volatile("movdqu (%0), %%xmm3\n syscall\n"
			 "mov %%rax, (%1); mov %%rbx, 8(%1); mov %%r12, 16(%1); mov %%r15, 24(%1)\n"
			 "mov %%rcx, 32(%1); mov %%r11, 40(%1); mov %%rdx, 48(%1)\n"
			 "mov $0, %%eax; setc %%al; mov %%rax, 56(%1); movdqu %%xmm3, (%0)"
			 :
			 : "r"(x), "r"(r), "a"(SYS_kill), "D"(getpid()), "S"(SIGUSR1)
			 : "rbx", "rcx", "rdx", "r11", "r12", "r15", "xmm3", "cc", "memory");
	for (int i = 0; i < 8; i++)
		SAY("%lx ", (long)r[i]);
	SAY("%x %x\n", x[0], x[1]);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	SAY("mask %d\n", sigismember(&mask, SIGHUP));
	sigemptyset(&mask);
	sigprocmask(SIG_SETMASK, &mask, NULL);
}

static void bad_fpu_pointer(int sig, siginfo_t *info, void *context)
{
	((ucontext_t *)context)->uc_mcontext.fpregs = (void *)16;
}
static void bad_fpu_contents(int sig, siginfo_t *info, void *context)
{
	memset(((ucontext_t *)context)->uc_mcontext.fpregs, 0xff, 512 + 64);
}
static void bad_stack(int sig, siginfo_t *info, void *context)
{
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RSP] = 8;
}
static void bad_flags(int sig, siginfo_t *info, void *context)
{
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] = -1;
}
static void bad_everything(int sig, siginfo_t *info, void *context)
{
	memset(context, 0xff, sizeof(ucontext_t));
}

/* A stack with no room for the frame; a return without a frame; a handler in the kernel. */
static void no_room(void)
{
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	set_handler(SIGUSR1, counts, 0);
	munmap(p, 4096);
	__asm__ volatile("mov %0, %%rsp; syscall; ud2"
			 :
			 : "r"(p + 4096 + 64), "a"(SYS_kill), "D"(getpid()), "S"(SIGUSR1)
			 : "memory");
}
static void no_frame(void)
{
	__asm__ volatile("mov $8, %%rsp; syscall; ud2" : : "a"(SYS_rt_sigreturn) : "memory");
}
static void kernel_handler(void)
{
	set_handler(SIGUSR1, (void (*)(int))0xffffffff80000000, 0);
	raise(SIGUSR1);
}

static void in_child(const char *what, void (*fn)(int, siginfo_t *, void *), void (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (fn) {
			set_action(SIGUSR1, fn, 0);
			raise(SIGUSR1);
		} else {
			run();
		}
		_exit(4);
	}
	waitpid(pid, &status, 0);
	SAY("%s: signal %d, exit %d\n", what, status & 0x7f, WEXITSTATUS(status));
}

static void bad_frames(void)
{
	in_child("FPU pointer", bad_fpu_pointer, NULL);
	in_child("FPU contents", bad_fpu_contents, NULL);
	in_child("stack", bad_stack, NULL);
	in_child("flags", bad_flags, NULL);
	in_child("everything", bad_everything, NULL);
	in_child("no room", NULL, no_room);
	in_child("no frame", NULL, no_frame);
	in_child("handler in the kernel", NULL, kernel_handler);
}

/* ---- waiting -------------------------------------------------------------------------------- */

static sigjmp_buf back;

static void jumps(int sig)
{
	siglongjmp(back, 1);
}

static volatile int *volatile nowhere = (volatile int *)8;

static void jumping(void)
{
	volatile int n = 0, faults = 0;

	set_handler(SIGUSR1, jumps, 0);
	sigsetjmp(back, 1);
	if (n++ < 100)
		raise(SIGUSR1);
	set_handler(SIGSEGV, jumps, 0);
	sigsetjmp(back, 1);
	if (faults++ < 200)
		*nowhere = 1;
	SAY("%d %d\n", n, faults);
	signal(SIGSEGV, SIG_DFL);
}

/* Two processes send each other 500 signals in turn: a lost one is a hang. */
static void ping_pong(void)
{
	sigset_t mask, none;
	pid_t me = getpid(), other;
	int status;

	sigemptyset(&none);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	set_handler(SIGUSR1, counts, 0);
	count = 0;
	other = fork();
	if (other == 0) {
		for (int i = 0; i < 500; i++) {
			kill(me, SIGUSR1);
			sigsuspend(&none);
		}
		_exit(count == 500 ? 0 : 1);
	}
	for (int i = 0; i < 500; i++) {
		while (count <= i)
			sigsuspend(&none);
		kill(other, SIGUSR1);
	}
	waitpid(other, &status, 0);
	SAY("%d, status %d\n", count, status);
	sigprocmask(SIG_UNBLOCK, &mask, NULL);
}

static void timed_wait(void)
{
	struct timespec t = { 0, 20000000 };
	union sigval value = { .sival_int = 42 };
	siginfo_t info;
	sigset_t mask;
	pid_t pid, me = getpid();

	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	TRY(sigtimedwait(&mask, NULL, &t));
	sigqueue(getpid(), SIGUSR1, value);
	TRY(sigtimedwait(&mask, &info, &t));
	SAY("code %d, value %d\n", info.si_code, info.si_value.sival_int);
	pid = fork();
	if (pid == 0) {
		nap_ms(20);
		_exit(kill(me, SIGUSR1));
	}
	t.tv_sec = 5;
	TRY(sigtimedwait(&mask, &info, &t));
	SAY("from the child: %d\n", info.si_pid == pid);
	waitpid(pid, NULL, 0);
	count = 0;
	sigprocmask(SIG_UNBLOCK, &mask, NULL);
	SAY("left over: %d\n", count);
}

/* ---- a high rate of them -------------------------------------------------------------------- */

static void spoils_errno(int sig)
{
	count++;
	errno = 7;
}

#define LENGTH 200000
static unsigned char out[LENGTH], in[LENGTH];

static int copies(int fd)
{
	memset(in, 0, LENGTH);
	return pwrite(fd, out, LENGTH, 0) != LENGTH || pread(fd, in, LENGTH, 0) != LENGTH ||
	       memcmp(in, out, LENGTH) != 0;
}

static int runs(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execl("/proc/self/exe", "again", "quiet", NULL);
		_exit(3);
	}
	return waitpid(pid, &status, 0) != pid || status != 0;
}

/* No call may return another's result, with SA_RESTART none is interrupted. */
static void high_rate(void)
{
	struct itimerval it = { { 0, 1000 }, { 0, 1000 } }, none = { { 0, 0 }, { 0, 0 } };
	int fd = open("/tmp/signals.test", O_RDWR | O_CREAT | O_TRUNC, 0600), wrong = 0;
	const pid_t me = getpid();

	unlink("/tmp/signals.test");
	for (int i = 0; i < LENGTH; i++)
		out[i] = (unsigned char)(i * 7);
	set_handler(SIGALRM, spoils_errno, SA_RESTART);
	count = 0;
	setitimer(ITIMER_REAL, &it, NULL);
	for (int i = 0; count < 100; i++) {
		out[i % LENGTH]++;
		wrong += copies(fd);
		if (i % 16 == 0)
			wrong += runs();
		for (int k = 0; k < 200; k++)
			wrong += syscall(SYS_getpid) != me;
	}
	setitimer(ITIMER_REAL, &none, NULL);
	close(fd);
	SAY("%d wrong\n", wrong);
}

/* ---- stopping ------------------------------------------------------------------------------- */

static void one_stops(void)
{
	int ends[2], status;
	char buf[1000];
	pid_t pid;

	if (pipe2(ends, O_NONBLOCK))
		return;
	pid = fork();
	while (pid == 0) {
		if (write(ends[1], "x", 1) < 0)
			_exit(1);
		nap_ms(1);
	}
	nap_ms(10);
	kill(pid, SIGSTOP);
	TRY(waitpid(pid, &status, WUNTRACED) == pid);
	SAY("status %x\n", status);
	TRY(waitpid(pid, &status, WUNTRACED | WNOHANG));
	while (read(ends[0], buf, sizeof(buf)) > 0)
		;
	nap_ms(20);
	TRY(read(ends[0], buf, 1));
	kill(pid, SIGTERM);
	nap_ms(5);
	TRY(waitpid(pid, &status, WNOHANG));
	kill(pid, SIGCONT);
	TRY(waitpid(pid, &status, 0) == pid);
	SAY("status %x\n", status);
	close(ends[0]);
	close(ends[1]);
}

/* How many of three members report what was asked. */
static int members(pid_t group, int sig, int options)
{
	int n = 0, status;

	kill(-group, sig);
	for (int i = 0; i < 3; i++) {
		if (waitpid(-group, &status, options) <= 0)
			continue;
		n += options == WUNTRACED ? WIFSTOPPED(status) :
		     options              ? WIFCONTINUED(status) :
					    WTERMSIG(status) == sig;
	}
	return n;
}

static void a_group_stops(void)
{
	pid_t group = 0;

	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			for (;;)
				pause();
		}
		setpgid(pid, group);
		if (!group)
			group = pid;
	}
	SAY("stopped %d\n", members(group, SIGSTOP, WUNTRACED));
	SAY("continued %d\n", members(group, SIGCONT, WCONTINUED));
	SAY("killed %d\n", members(group, SIGHUP, 0));
	TRY(waitpid(-group, NULL, 0));
	TRY(kill(-group, 0));
}

static void arguments(void)
{
	struct itimerval negative = { { 0, 0 }, { -1, 0 } };
	struct sigaction sa = { .sa_handler = counts };
	sigset_t mask;

	sigemptyset(&mask);
	TRY(kill(0x7fffffff, 0));
	TRY(kill(getpid(), 65));
	TRY(kill(getpid(), -1));
	TRY(kill(getpid(), 0));
	TRY(kill(-0x7ffffff, SIGUSR1));
	TRY(syscall(SYS_tgkill, getpid(), getpid(), 0));
	TRY(syscall(SYS_tgkill, -1, getpid(), 0));
	TRY(syscall(SYS_tkill, 0, 1));
	TRY(sigaction(SIGKILL, &sa, NULL));
	TRY(sigaction(SIGSTOP, &sa, NULL));
	TRY(syscall(SYS_rt_sigaction, 65, 0, 0, 8));
	TRY(syscall(SYS_rt_sigaction, 1, 0, 0, 4));
	TRY(syscall(SYS_rt_sigprocmask, 5, &mask, 0, 8));
	TRY(syscall(SYS_rt_sigprocmask, 5, 0, 0, 8));
	TRY(syscall(SYS_rt_sigprocmask, 0, 16, 0, 8));
	TRY(syscall(SYS_rt_sigprocmask, 0, 0, 16, 8));
	TRY(syscall(SYS_rt_sigpending, &mask, 9));
	TRY(syscall(SYS_rt_sigsuspend, &mask, 7));
	TRY(setitimer(7, &negative, NULL));
	TRY(setitimer(ITIMER_REAL, &negative, NULL));
	TRY(syscall(SYS_setitimer, ITIMER_REAL, 16, 0));
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "quiet") == 0)
		return 0;
	SAY("#: nesting\n");
	nesting(0);
	nesting(SA_NODEFER);
	SAY("#: order\n");
	order(0);
	order(1);
	SAY("#: the alternate stack\n");
	alternate_stack();
	SAY("#: changed registers\n");
	changed_registers();
	SAY("#: bad frames\n");
	bad_frames();
	SAY("#: jumps out of handlers\n");
	jumping();
	SAY("#: sigsuspend\n");
	ping_pong();
	SAY("#: sigtimedwait\n");
	timed_wait();
	SAY("#: a high rate\n");
	high_rate();
	SAY("#: stops\n");
	one_stops();
	a_group_stops();
	SAY("#: arguments\n");
	arguments();
	return 0;
}

/* Signals to anybody, masks, handlers, stacks and timers. */
#include "calls.h"

#include <sys/time.h>

static bool is_fault(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS;
}

static int some_signal(void)
{
	if (one_in(100))
		return SIGKILL;
	if (one_in(30))
		return SIGSTOP;
	if (one_in(8))
		return SIGCONT;
	if (one_in(40))
		return (int)below(66);
	return one_in(3) ? 35 + (int)below(30) : SIGUSR1;
}

/* Not a group's, not everybody's: those would reach the supervisor. */
static int receiver(void)
{
	int pid = some_pid();

	return pid > 2 ? pid : getpid();
}

static void queue_signal(int sig)
{
	siginfo_t info = { .si_signo = sig, .si_code = -1 - (int)below(5) };

	if (one_in(2))
		call(SYS_rt_sigqueueinfo, receiver(), sig, maybe((u64)&info));
	else
		call(SYS_rt_tgsigqueueinfo, receiver(), some_pid(), sig, maybe((u64)&info));
}

/* All but what a wild access brings, for a moment: nobody could be told to end otherwise than by SIGKILL. */
static void mask_signals(u64 set)
{
	call(SYS_rt_sigprocmask, below(4), maybe((u64)&set), one_in(2) ? 0 : some_pointer(),
	     maybe(8));
	set = 0;
	call(SYS_rt_sigprocmask, SIG_SETMASK, &set, NULL, 8);
}

static void set_stack(void)
{
	stack_t s = { .ss_sp = (void *)some_page(),
		      .ss_flags = one_in(4) ? SS_DISABLE : 0,
		      .ss_size = maybe(32768) };

	call(SYS_sigaltstack, one_in(3) ? 0 : (u64)&s, one_in(2) ? 0 : some_pointer());
}

static void set_handler(int sig)
{
	struct sigaction a = { .sa_sigaction = handle_signal };

	a.sa_flags = SA_SIGINFO | (one_in(2) ? SA_RESTART : 0) | (one_in(3) ? SA_ONSTACK : 0) |
		     (one_in(5) ? SA_NODEFER : 0);
	if (!is_fault(sig))
		sigaction(sig, &a, NULL);
}

static void set_timer(void)
{
	struct itimerval t = { { 0, (long)below(5000) }, { 0, (long)below(5000) } };

	call(SYS_setitimer, below(4), maybe((u64)&t), one_in(2) ? 0 : some_pointer());
}

static void sleep_somehow(void)
{
	if (one_in(2))
		call(SYS_clock_nanosleep, below(12), 0, maybe((u64)short_time()), some_pointer());
	else
		call(SYS_nanosleep, maybe((u64)short_time()), some_pointer());
	call(SYS_alarm, below(3));
}

void call_signal(void)
{
	int sig = some_signal();
	u64 set = pick() & pick() & ~(1ul << (SIGSEGV - 1)) & ~(1ul << (SIGBUS - 1));

	switch (below(13)) {
	case 0 ... 1: call(SYS_kill, receiver(), sig); return;
	case 2: call(SYS_tgkill, receiver(), some_pid(), sig); return;
	case 3: call(SYS_tkill, receiver(), sig); return;
	case 4 ... 5: queue_signal(sig); return;
	case 6: mask_signals(set); return;
	case 7:
		call(SYS_rt_sigtimedwait, maybe((u64)&set), some_pointer(),
		     maybe((u64)short_time()), maybe(8));
		return;
	case 8: call(SYS_rt_sigpending, some_pointer(), maybe(8)); return;
	case 9: set_stack(); return;
	case 10: set_handler(sig); return;
	case 11: set_timer(); return;
	default: sleep_somehow();
	}
}

/*
 * init for interactive runs: a login shell on the console, and nothing else.
 *
 * It starts /bin/sh -l as leader of a session of its own with the console as its terminal, reaps
 * every orphan, and ends with the shell's status, which ends the machine. busybox's halt, poweroff
 * and reboot tell init what they want by a signal: SIGUSR1, SIGUSR2, SIGTERM.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *text)
{
	if (write(2, text, strlen(text)) < 0)
		_exit(1); /* no console: nothing is left to tell it to */
}

/* Everybody gets a moment to end well. */
static void end_machine(int sig)
{
	kill(-1, SIGTERM);
	kill(-1, SIGCONT);
	for (int i = 0; i < 20 && !(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD); i++)
		usleep(10000);
	kill(-1, SIGKILL);
	sync();
	reboot(sig == SIGUSR1 ? RB_HALT_SYSTEM : sig == SIGUSR2 ? RB_POWER_OFF : RB_AUTOBOOT);
	say("init: reboot refused\n");
}

static void shell(const sigset_t *mask)
{
	static char *const argv[] = { "-sh", "-l", NULL };

	setsid();
	ioctl(0, TIOCSCTTY, 1);
	tcsetpgrp(0, getpid());
	sigprocmask(SIG_SETMASK, mask, NULL);
	execv("/bin/sh", argv);
	say("init: cannot run /bin/sh\n");
	_exit(127);
}

int main(void)
{
	sigset_t wanted, old;
	pid_t pid;
	int status;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGUSR1);
	sigaddset(&wanted, SIGUSR2);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGCHLD);
	sigprocmask(SIG_BLOCK, &wanted, &old);
	pid = fork();
	if (pid == 0)
		shell(&old);
	if (pid < 0) {
		say("init: cannot fork\n");
		return 1;
	}
	for (;;) {
		int sig = sigwaitinfo(&wanted, NULL);
		pid_t ended;

		if (sig > 0 && sig != SIGCHLD)
			end_machine(sig);
		while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
			if (ended == pid)
				return WIFEXITED(status) ? WEXITSTATUS(status) :
							   128 + WTERMSIG(status);
	}
}

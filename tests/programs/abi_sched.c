/*
 * sched(7): policies, priorities, nice, affinity, as root and as nobody. Printed is only what does not
 * depend on how many CPUs there are.
 */
#include "abi.h"

#include <pthread.h>
#include <sched.h>

#define NOBODY 65534
#define NO_PID 4000000

struct attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
	uint32_t util_min, util_max;
	uint64_t more;
};

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif
#define RESET_ON_FORK 0x40000000
#define BAD           ((void *)8)

static long set(int pid, int policy, int priority)
{
	return syscall(SYS_sched_setscheduler, pid, policy, &priority);
}

static long get(int pid)
{
	return syscall(SYS_sched_getscheduler, pid);
}

static int priority_of(int pid)
{
	int priority = -1;

	syscall(SYS_sched_getparam, pid, &priority);
	return priority;
}

static void show(const char *what)
{
	printf("%s: policy %#lx, priority %d, nice %ld\n", what, get(0), priority_of(0),
	       20 - syscall(SYS_getpriority, PRIO_PROCESS, 0));
	fflush(stdout);
}

static void limits(void)
{
	title("sched_get_priority_min, max");
	for (int policy = -1; policy <= 8; policy++) {
		if (policy == 7) /* depends on the version of Linux */
			continue;
		long min = syscall(SYS_sched_get_priority_min, policy);
		long max = syscall(SYS_sched_get_priority_max, policy);

		printf("policy %d: %ld ... %ld\n", policy, min, max);
	}
	call("min of 2^31 - 1", syscall(SYS_sched_get_priority_min, 0x7fffffff));
}

static void setscheduler(void)
{
	static const int policies[] = { 0, 1, 2,  3,          4,          5,
					6, 9, -1, 0x40000000, 0x40000001, 0x20000000 };
	static const int priorities[] = { -1, 0, 1, 50, 99, 100 };
	char what[64];

	title("sched_setscheduler");
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++)
		for (size_t k = 0; k < sizeof(priorities) / sizeof(priorities[0]); k++) {
			snprintf(what, sizeof(what), "policy %#x priority %d", policies[i],
				 priorities[k]);
			call(what, set(0, policies[i], priorities[k]));
			show("  now");
		}
	set(0, SCHED_OTHER, 0);
	show("back");
	call("no param", syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, NULL));
	call("bad param", syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, BAD));
	call("negative pid", set(-1, SCHED_FIFO, 1));
	call("negative pid, no param", syscall(SYS_sched_setscheduler, -1, SCHED_FIFO, NULL));
	call("negative pid, bad param", syscall(SYS_sched_setscheduler, -1, SCHED_FIFO, BAD));
	call("nobody's pid", set(NO_PID, SCHED_FIFO, 1));
	call("nobody's pid, bad policy", set(NO_PID, 77, 1));
	call("nobody's pid, bad param", syscall(SYS_sched_setscheduler, NO_PID, 77, BAD));
	call("bad policy, bad param", syscall(SYS_sched_setscheduler, 0, 77, BAD));
	call("negative policy, no param", syscall(SYS_sched_setscheduler, 0, -2, NULL));
	call("negative policy, nobody's pid", set(NO_PID, -2, 1));
}

/* Who ran, one after the other: the digits of the one who changes his priority, and the other's p, on one CPU. */
static char ran[40];
static volatile int nr_ran, told; /* glibc says that no call comes back to here */

static void note(char who)
{
	ran[nr_ran++] = who;
}

static void *peer(void *arg)
{
	set(0, SCHED_FIFO, 10);
	for (;;) {
		syscall(SYS_futex, &told, 0 /* FUTEX_WAIT */, 0, NULL);
		if (!told)
			continue;
		told = 0;
		note('p');
	}
	return arg;
}

static void tell_peer(void)
{
	told = 1;
	syscall(SYS_futex, &told, 1 /* FUTEX_WAKE */, 1);
	note('1');
}

/* Less urgent: in front of the new peers. More: behind them. The same: no change. */
static void order(void)
{
	int pid = fork();
	cpu_set_t one;
	pthread_t t;

	title("order of peers");
	if (pid) {
		waitpid(pid, NULL, 0);
		return;
	}
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	sched_setaffinity(0, sizeof(one), &one);
	set(0, SCHED_FIFO, 20);
	pthread_create(&t, NULL, peer, NULL);
	usleep(50000);
	tell_peer();
	set(0, SCHED_FIFO, 10);
	note('2');
	set(0, SCHED_FIFO, 10);
	set(0, SCHED_RR, 10);
	set(0, SCHED_FIFO, 10);
	note('3');
	sched_yield();
	note('4');
	tell_peer();
	set(0, SCHED_FIFO, 9);
	note('2');
	tell_peer();
	set(0, SCHED_FIFO, 10);
	set(0, SCHED_FIFO, 20);
	note('2');
	printf("%s\n", ran);
	fflush(stdout);
	_exit(0);
}

static void setparam(void)
{
	int p = 3;

	title("sched_setparam, getparam");
	call("OTHER, priority 3", syscall(SYS_sched_setparam, 0, &p));
	p = 0;
	call("OTHER, priority 0", syscall(SYS_sched_setparam, 0, &p));
	set(0, SCHED_RR, 10);
	p = 12;
	call("RR, priority 12", syscall(SYS_sched_setparam, 0, &p));
	show("now");
	p = 0;
	call("RR, priority 0", syscall(SYS_sched_setparam, 0, &p));
	show("now");
	set(0, SCHED_RR | RESET_ON_FORK, 10);
	p = 11;
	call("with reset-on-fork", syscall(SYS_sched_setparam, 0, &p));
	show("it stays");
	set(0, SCHED_OTHER, 0);
	call("no param", syscall(SYS_sched_setparam, 0, NULL));
	call("bad param", syscall(SYS_sched_setparam, 0, BAD));
	call("negative pid", syscall(SYS_sched_setparam, -1, &p));
	call("nobody's pid", syscall(SYS_sched_setparam, NO_PID, &p));
	call("get: no param", syscall(SYS_sched_getparam, 0, NULL));
	call("get: bad param", syscall(SYS_sched_getparam, 0, BAD));
	call("get: negative pid", syscall(SYS_sched_getparam, -1, &p));
	call("get: nobody's pid", syscall(SYS_sched_getparam, NO_PID, &p));
	call("get: nobody's pid, no param", syscall(SYS_sched_getparam, NO_PID, NULL));
	call("get: nobody's pid, bad param", syscall(SYS_sched_getparam, NO_PID, BAD));
	call("getscheduler: negative pid", get(-1));
	call("getscheduler: nobody's pid", get(NO_PID));
}

static void interval(void)
{
	struct timespec ts = { 7, 7 };

	title("sched_rr_get_interval");
	set(0, SCHED_RR, 1);
	call("RR", syscall(SYS_sched_rr_get_interval, 0, &ts));
	printf("%ld.%09ld\n", (long)ts.tv_sec, ts.tv_nsec);
	set(0, SCHED_FIFO, 1);
	call("FIFO", syscall(SYS_sched_rr_get_interval, 0, &ts));
	printf("%ld.%09ld\n", (long)ts.tv_sec, ts.tv_nsec);
	set(0, SCHED_OTHER, 0);
	call("OTHER", syscall(SYS_sched_rr_get_interval, 0, &ts));
	truth("below 100 ms", ts.tv_sec == 0 && ts.tv_nsec < 100000000);
	call("negative pid", syscall(SYS_sched_rr_get_interval, -1, &ts));
	call("nobody's pid", syscall(SYS_sched_rr_get_interval, NO_PID, &ts));
	call("bad pointer", syscall(SYS_sched_rr_get_interval, 0, BAD));
	call("nobody's pid, bad pointer", syscall(SYS_sched_rr_get_interval, NO_PID, BAD));
}

/* ---- attributes ---- */

static long setattr(struct attr *a, uint32_t size)
{
	a->size = size;
	return syscall(SYS_sched_setattr, 0, a, 0);
}

static void show_attr(const char *what)
{
	struct attr a;

	memset(&a, 0xee, sizeof(a));
	call(what, syscall(SYS_sched_getattr, 0, &a, 48, 0));
	printf("  size %u policy %u flags %#lx nice %d priority %u\n", a.size, a.policy,
	       (unsigned long)a.flags, a.nice, a.priority);
}

static void try_attr(const char *what, int policy, uint64_t flags, int nice, int priority)
{
	struct attr a = { .policy = (uint32_t)policy,
			  .flags = flags,
			  .nice = nice,
			  .priority = (uint32_t)priority };

	call(what, setattr(&a, 48));
	show_attr("  now");
}

static void attributes(void)
{
	struct attr a = { 0 };
	static const uint32_t sizes[] = { 0, 1, 47, 48, 56, 64, 4096, 4097, 0xffffffff };
	char *page = anon(2);
	char what[64];

	title("sched_setattr, getattr");
	try_attr("OTHER, nice 5", SCHED_OTHER, 0, 5, 0);
	try_attr("OTHER, nice -30", SCHED_OTHER, 0, -30, 0);
	try_attr("OTHER, nice 100", SCHED_OTHER, 0, 100, 0);
	try_attr("OTHER, priority 1", SCHED_OTHER, 0, 0, 1);
	try_attr("BATCH, nice 3", SCHED_BATCH, 0, 3, 0);
	try_attr("IDLE, nice 4", SCHED_IDLE, 0, 4, 0);
	try_attr("FIFO, priority 7, nice 9", SCHED_FIFO, 0, 9, 7);
	try_attr("RR, priority 0", SCHED_RR, 0, 0, 0);
	try_attr("RR, priority 100", SCHED_RR, 0, 0, 100);
	try_attr("RR, reset on fork", SCHED_RR, 1, 0, 20);
	try_attr("keep policy, priority 21", SCHED_OTHER, 8, 0, 21);
	try_attr("keep params", SCHED_FIFO, 0x10, 0, 55);
	try_attr("policy 4", 4, 0, 0, 0);
	try_attr("policy -1", -1, 0, 0, 0);
	try_attr("unknown flag", SCHED_OTHER, 0x100, 0, 0);
	try_attr("OTHER, nice 0", SCHED_OTHER, 0, 0, 0);
	set(0, SCHED_FIFO, 5);
	set(0, SCHED_OTHER, 0);
	show_attr("setscheduler keeps nice");

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(page, 0, 2 * PAGE);
		*(uint32_t *)page = sizes[i];
		snprintf(what, sizeof(what), "set: size %u", sizes[i]);
		call(what, syscall(SYS_sched_setattr, 0, page, 0));
		truth("  size told back", *(uint32_t *)page != sizes[i]);
	}
	memset(page, 0, 2 * PAGE);
	*(uint32_t *)page = 256;
	page[200] = 1;
	call("set: something behind", syscall(SYS_sched_setattr, 0, page, 0));
	call("set: none", syscall(SYS_sched_setattr, 0, NULL, 0));
	call("set: bad", syscall(SYS_sched_setattr, 0, BAD, 0));
	call("set: flags", syscall(SYS_sched_setattr, 0, page, 1));
	call("set: negative pid", syscall(SYS_sched_setattr, -1, page, 0));
	a.size = 48;
	call("set: nobody's pid", syscall(SYS_sched_setattr, NO_PID, &a, 0));
	a.policy = 77;
	call("set: nobody's pid, bad policy", syscall(SYS_sched_setattr, NO_PID, &a, 0));
	a.policy = (uint32_t)-3;
	call("set: nobody's pid, negative policy", syscall(SYS_sched_setattr, NO_PID, &a, 0));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		snprintf(what, sizeof(what), "get: size %u", sizes[i]);
		call(what, syscall(SYS_sched_getattr, 0, page, sizes[i], 0));
	}
	call("get: none", syscall(SYS_sched_getattr, 0, NULL, 48, 0));
	call("get: bad", syscall(SYS_sched_getattr, 0, BAD, 48, 0));
	call("get: flags", syscall(SYS_sched_getattr, 0, page, 48, 1));
	call("get: negative pid", syscall(SYS_sched_getattr, -1, page, 48, 0));
	call("get: nobody's pid", syscall(SYS_sched_getattr, NO_PID, page, 48, 0));
}

/* ---- nice ---- */

static void show_nice(const char *what, long got)
{
	if (got == -1)
		printf("%s: %s\n", what, error_name(errno));
	else
		printf("%s: %ld\n", what, got);
	fflush(stdout);
}

static void nice_values(void)
{
	static const int values[] = { 5, -5, 19, 20, 1000, -20, -21, -1000, 0 };

	title("setpriority, getpriority");
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		call("set", syscall(SYS_setpriority, PRIO_PROCESS, 0, values[i]));
		show_nice("get", syscall(SYS_getpriority, PRIO_PROCESS, 0));
	}
	for (int which = -1; which <= 3; which++) {
		printf("which %d\n", which);
		show_nice("get, nobody", syscall(SYS_getpriority, which, NO_PID));
		call("set, nobody", syscall(SYS_setpriority, which, NO_PID, 0));
	}
	show_nice("get, negative", syscall(SYS_getpriority, PRIO_PROCESS, -1));
	call("set, negative", syscall(SYS_setpriority, PRIO_PROCESS, -1, 0));
	set(0, SCHED_FIFO, 5);
	call("set under FIFO", syscall(SYS_setpriority, PRIO_PROCESS, 0, 7));
	show("now");
	set(0, SCHED_OTHER, 0);
	show("and then");
	syscall(SYS_setpriority, PRIO_PROCESS, 0, 0);
}

static void groups(void)
{
	title("nice of a group");
	int pid = fork();
	if (pid == 0) {
		setpgid(0, 0);
		call("group, 4", syscall(SYS_setpriority, PRIO_PGRP, 0, 4));
		if (fork() == 0) {
			show("child");
			call("own, 9", syscall(SYS_setpriority, PRIO_PROCESS, 0, 9));
			show_nice("the lowest of the group",
				  syscall(SYS_getpriority, PRIO_PGRP, 0));
			call("group by number, 11",
			     syscall(SYS_setpriority, PRIO_PGRP, getpgid(0), 11));
			show("child");
			_exit(0);
		}
		wait(NULL);
		show("parent");
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	show("others");
}

/* ---- what children get ---- */

static void child_shows(const char *what)
{
	int pid = fork();

	if (pid == 0) {
		show(what);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void inheritance(void)
{
	title("fork");
	set(0, SCHED_RR, 30);
	child_shows("of RR");
	set(0, SCHED_RR | RESET_ON_FORK, 30);
	show("RR that is reset");
	child_shows("its child");
	set(0, SCHED_OTHER | RESET_ON_FORK, 0);
	syscall(SYS_setpriority, PRIO_PROCESS, 0, -7);
	child_shows("of nice -7 that is reset");
	syscall(SYS_setpriority, PRIO_PROCESS, 0, 7);
	child_shows("of nice 7 that is reset");
	set(0, SCHED_BATCH | RESET_ON_FORK, 0);
	child_shows("of BATCH that is reset");
	set(0, SCHED_IDLE, 0);
	child_shows("of IDLE");
	set(0, SCHED_OTHER, 0);
	syscall(SYS_setpriority, PRIO_PROCESS, 0, 3);
	child_shows("of nice 3");
	syscall(SYS_setpriority, PRIO_PROCESS, 0, 0);
}

/* ---- affinity ---- */

static void affinity(void)
{
	unsigned long mask[128], was[128];
	unsigned cpu = 99, node = 99;

	title("affinity, getcpu");
	memset(was, 0, sizeof(was));
	long n = syscall(SYS_sched_getaffinity, 0, sizeof(was), was);
	truth("whole words", n > 0 && n % 8 == 0);
	truth("something in it", n > 0 && was[0] != 0);
	memset(mask, 0, sizeof(mask));
	mask[0] = was[0] & -was[0]; /* the first CPU of ours */
	call("one CPU", syscall(SYS_sched_setaffinity, 0, sizeof(mask[0]), mask));
	call("getcpu", syscall(SYS_getcpu, &cpu, &node, NULL));
	truth("it is that one", cpu < 64 && 1ul << cpu == mask[0]);
	memset(mask, 0, sizeof(mask));
	syscall(SYS_sched_getaffinity, 0, 8, mask);
	truth("and told so", mask[0] == (was[0] & -was[0]));
	memset(mask, 0xff, sizeof(mask));
	call("all that there are, and more", syscall(SYS_sched_setaffinity, 0, sizeof(mask), mask));
	memset(mask, 0, sizeof(mask));
	syscall(SYS_sched_getaffinity, 0, 8, mask);
	truth("is what there are", mask[0] == was[0]);
	memset(mask, 0, sizeof(mask));
	call("none", syscall(SYS_sched_setaffinity, 0, sizeof(mask), mask));
	mask[0] = 1ul << 63;
	call("one that is not there", syscall(SYS_sched_setaffinity, 0, 8, mask));
	call("none, nobody", syscall(SYS_sched_setaffinity, NO_PID, 0, mask));
	mask[0] = ~0ul;
	call("length 0", syscall(SYS_sched_setaffinity, 0, 0, mask));
	call("length 0, bad", syscall(SYS_sched_setaffinity, 0, 0, BAD));
	call("length 1", syscall(SYS_sched_setaffinity, 0, 1, mask));
	call("bad", syscall(SYS_sched_setaffinity, 0, 8, BAD));
	call("nobody, bad", syscall(SYS_sched_setaffinity, NO_PID, 8, BAD));
	call("nobody", syscall(SYS_sched_setaffinity, NO_PID, 8, mask));
	call("negative pid", syscall(SYS_sched_setaffinity, -1, 8, mask));
	for (int len = 0; len <= 17; len++) {
		if (len > 0 && len < 8) /* enough for some machines */
			continue;
		long got = syscall(SYS_sched_getaffinity, 0, len, mask);

		printf("get, length %d: ", len);
		show_nice("", got > 0 ? got % 8 : got);
	}
	call("get, bad", syscall(SYS_sched_getaffinity, 0, 8, BAD));
	call("get, nobody", syscall(SYS_sched_getaffinity, NO_PID, 8, mask));
	call("get, nobody, bad", syscall(SYS_sched_getaffinity, NO_PID, 8, BAD));
	call("get, nobody, length 9", syscall(SYS_sched_getaffinity, NO_PID, 9, mask));
	call("get, negative pid", syscall(SYS_sched_getaffinity, -1, 8, mask));
	call("getcpu of nothing", syscall(SYS_getcpu, NULL, NULL, NULL));
	call("getcpu, bad cpu", syscall(SYS_getcpu, BAD, NULL, NULL));
	call("getcpu, bad node", syscall(SYS_getcpu, &cpu, BAD, NULL));
	call("getcpu, bad cache", syscall(SYS_getcpu, &cpu, &node, BAD));
	value("node", node);
	call("sched_yield", syscall(SYS_sched_yield));
}

/* ---- as nobody ---- */

static void unprivileged(int root_pid)
{
	struct attr a = { .size = 48 };
	unsigned long mask = ~0ul;

	title("as nobody");
	call("FIFO", set(0, SCHED_FIFO, 1));
	call("FIFO, bad priority", set(0, SCHED_FIFO, 100));
	call("RR, reset on fork", set(0, SCHED_RR | RESET_ON_FORK, 1));
	call("BATCH", set(0, SCHED_BATCH, 0));
	call("OTHER again", set(0, SCHED_OTHER, 0));
	call("nice 5", syscall(SYS_setpriority, PRIO_PROCESS, 0, 5));
	call("nice 5 again", syscall(SYS_setpriority, PRIO_PROCESS, 0, 5));
	call("nice 4", syscall(SYS_setpriority, PRIO_PROCESS, 0, 4));
	a.nice = 4;
	call("setattr nice 4", syscall(SYS_sched_setattr, 0, &a, 0));
	a.nice = 6;
	call("setattr nice 6", syscall(SYS_sched_setattr, 0, &a, 0));
	call("keep reset on fork", set(0, SCHED_OTHER | RESET_ON_FORK, 0));
	call("and drop it", set(0, SCHED_OTHER, 0));
	call("IDLE", set(0, SCHED_IDLE | RESET_ON_FORK, 0));
	call("out of IDLE", set(0, SCHED_OTHER | RESET_ON_FORK, 0));
	show("now");
	call("root's policy", set(root_pid, SCHED_BATCH, 0));
	call("root's bad policy", set(root_pid, 77, 0));
	call("root's nice", syscall(SYS_setpriority, PRIO_PROCESS, root_pid, 10));
	call("root's affinity", syscall(SYS_sched_setaffinity, root_pid, 8, &mask));
	mask = 0;
	call("root's affinity, none", syscall(SYS_sched_setaffinity, root_pid, 8, &mask));
	call("look at root's policy", get(root_pid) >= 0 ? 0 : -1);
	call("look at root's affinity",
	     syscall(SYS_sched_getaffinity, root_pid, 8, &mask) > 0 ? 0 : -1);
	call("nice of all users", syscall(SYS_getpriority, PRIO_USER, 0) >= 0 ? 0 : -1);
	call("own nice by user", syscall(SYS_setpriority, PRIO_USER, NOBODY, 12));
	show("now");
}

int main(void)
{
	limits();
	setscheduler();
	order();
	setparam();
	interval();
	attributes();
	nice_values();
	groups();
	inheritance();
	affinity();

	int root = getpid(), pid = fork();
	if (pid == 0) {
		if (setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
			call("setresuid", -1);
		unprivileged(root);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	return 0;
}

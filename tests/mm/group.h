/*
 * Calls at the same time, on several simulated CPUs: what group.c, theme.c and order.c have in common.
 */
#pragma once

#include "tests/mm/mm.h"

#define MAX_CALLS 8

struct lane {
	struct call call[MAX_CALLS];
	unsigned n;
	u64 start; /* in cpus_time; 0: at once */
};

struct group {
	struct lane lane[MAX_CPUS];
	unsigned done[MAX_CPUS]; /* explained so far */
	bool used[MAX_PROCS], forks[MAX_PROCS];
	struct call *order[MAX_CPUS * MAX_CALLS];
	unsigned n, best;
	char best_why[600];
	bool injected, failed;    /* an allocation was to fail, and did */
	bool excused;             /* some call has been explained by that */
	bool steps;               /* calls are looked at as several steps, where they are */
	const struct call *moves; /* goes in pieces, to a fixed place */
	struct call limit;        /* one of the calls, if .p: a limit is set */
	u64 other_limit;          /* the value that it takes the place of */
};
extern struct group group;

/* group.c: can this call be made beside those that there are? Takes note of its processes. */
bool group_fits(struct call *c);
void group_add(const struct call *c, unsigned cpu);
/* What is done before the others, by itself: a call; some CPUs look at what is there; a fork, for which there is room. */
void group_call_before(struct call *c, unsigned cpu);
void group_warm_up(struct proc *p, unsigned w, u64 at, u64 n);
void group_fork_before(struct proc *p);
void group_lock_before(struct proc *p, unsigned w, u64 at, u64 n);
/* A place for a child: a process that is not p ends. */
struct proc *group_make_room(const struct proc *p);

/* What a group is about, beside its place. */
enum theme {
	ANYTHING, /* any calls */
	TOUCHES,  /* accesses, and now and then a call */
	FORKS,    /* accesses while the process forks */
	CUTS,     /* accesses while a file is cut */
	MOVES,    /* accesses while much moves, if the place is large */
	LOCKS,    /* questions while all is locked */
	RIGHTS,   /* accesses while rights are exchanged */
	REMOVES,  /* accesses while pages of an object are */
	THEMES
};

/* theme.c: chooses one, with the call that it is about. It may have moved the place. */
enum theme theme_begin(struct proc *p, unsigned *w, u64 *at, u64 *n);
/* Makes c, any call, one that the theme is about, mostly. False: the theme has no place for it. */
bool theme_suits(struct call *c, enum theme theme, struct proc *p, unsigned w, u64 at, u64 n);

/* order.c: notes what the page tables say. Then: is there an order that explains it? What there was, for a failure. */
void order_see_all(void);
bool order_find(void);
void order_tell(void);

/*
 * Ids. One red-black tree by number holds every id in use; numbers are handed out in rising order
 * and wrap, so that a number comes back as late as possible. proc_lock protects all of it.
 */
#include "proc/internal.h"

#include "mm/slab.h"

#define PID_MAX    32768 /* exclusive, Linux's default */
#define PID_RESUME 300   /* after a wrap: low numbers belong to what started at boot */

spinlock_t proc_lock = SPINLOCK_INIT("proc", RANK_PROC);

static struct rb_root pids; /* [t] */
static u32 next_nr = 1;     /* [t] */
static u32 nr_processes;    /* [t] */

struct pid *pid_find(u32 nr)
{
	struct rb_node *n = pids.top;

	while (n) {
		struct pid *p = rb_entry(n, struct pid, node);

		if (p->nr == nr)
			return p;
		n = nr < p->nr ? n->left : n->right;
	}
	return NULL;
}

struct pid *pid_next(u32 after)
{
	struct rb_node *n = pids.top;
	struct pid *best = NULL;

	while (n) {
		struct pid *p = rb_entry(n, struct pid, node);

		if (p->nr > after) {
			best = p;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	return best;
}

struct process *process_find(u32 nr)
{
	struct pid *p = pid_find(nr);

	return p ? p->proc : NULL;
}

struct process *process_next(u32 after)
{
	for (struct pid *p = pid_next(after); p; p = pid_next(p->nr))
		if (p->proc)
			return p->proc;
	return NULL;
}

struct task *task_find(u32 tid)
{
	struct pid *p = pid_find(tid);

	return p ? p->task : NULL;
}

struct process *process_of(u32 id)
{
	struct pid *p = pid_find(id);

	if (!p || p->proc)
		return p ? p->proc : NULL;
	return p->task ? p->task->proc : NULL;
}

u32 process_count(void)
{
	return READ_ONCE(nr_processes);
}

void pid_count_process(int delta)
{
	nr_processes += (u32)delta;
}

static void insert(struct pid *p)
{
	struct rb_node **link = &pids.top, *parent = NULL;

	while (*link) {
		parent = *link;
		link = p->nr < rb_entry(parent, struct pid, node)->nr ? &parent->left :
									&parent->right;
	}
	rb_insert(&pids, &p->node, parent, link);
}

/* A free number, or 0. At most one round. */
static u32 choose(void)
{
	for (u32 tries = 0; tries < PID_MAX; tries++) {
		u32 nr = next_nr++;

		if (next_nr >= PID_MAX)
			next_nr = PID_RESUME;
		if (!pid_find(nr))
			return nr;
	}
	return 0;
}

struct pid *pid_alloc(void)
{
	struct pid *p = kzalloc(sizeof(*p));
	u64 flags;

	if (!p)
		return NULL;
	list_init(&p->group);
	list_init(&p->session);
	p->users = 1;
	flags = spin_lock_irqsave(&proc_lock);
	p->nr = choose();
	if (p->nr)
		insert(p);
	spin_unlock_irqrestore(&proc_lock, flags);
	if (!p->nr) {
		kfree(p);
		return NULL;
	}
	return p;
}

void pid_get(struct pid *p)
{
	kassert(p->users > 0);
	p->users++;
}

void pid_put(struct pid *p)
{
	kassert(p->users > 0);
	if (--p->users)
		return;
	kassert(!p->proc && !p->task && list_empty(&p->group) && list_empty(&p->session));
	rb_erase(&pids, &p->node);
	kfree(p);
}

void pid_discard(struct pid *p)
{
	u64 flags = spin_lock_irqsave(&proc_lock);

	pid_put(p);
	spin_unlock_irqrestore(&proc_lock, flags);
}

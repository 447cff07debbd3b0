/*
 * Ids. Numbers are handed out in rising order and wrap, so that a number comes back as late as possible: a bit
 * in `used` is a number that is taken, from pid_alloc to the last pid_put. Those that are in use are found in a
 * hash table: under proc_lock, where it stands still; who is merely inside changes it under the bucket's lock.
 */
#include "proc/internal.h"

#include "lib/bitmap.h"
#include "mm/slab.h"

#define PID_MAX    32768 /* exclusive, Linux's default */
#define PID_RESUME 300   /* after a wrap: low numbers belong to what started at boot */
#define BUCKETS    1024

static struct bucket {
	spinlock_t lock;
	struct pid *first; /* [t, lock] by pid.next */
} buckets[BUCKETS];

static u64 used[BITMAP_WORDS(PID_MAX)]; /* [a] */
static atomic_t next_nr = { 1 };
static DEFINE_PER_CPU(s32, nr_processes); /* [o] the sum counts: made here less freed here */

void pid_init(void)
{
	for (u32 i = 0; i < BUCKETS; i++)
		spin_init(&buckets[i].lock, "pid", RANK_FAMILY);
}

static struct bucket *bucket_of(u32 nr)
{
	return &buckets[nr % BUCKETS];
}

struct pid *pid_find(u32 nr)
{
	struct pid *p = bucket_of(nr)->first;

	while (p && p->nr != nr)
		p = p->next;
	return p;
}

struct pid *pid_next(u32 after)
{
	size_t nr = after;
	struct pid *p;

	/* Some numbers belong to processes that are not there yet. */
	while ((nr = bitmap_next_set(used, PID_MAX, nr + 1)) < PID_MAX)
		if ((p = pid_find((u32)nr)))
			return p;
	return NULL;
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
	s32 n = 0;

	for (u32 cpu = 0; cpu < nr_cpus; cpu++)
		n += READ_ONCE(*per_cpu_ptr(&nr_processes, cpu));
	return (u32)n;
}

void pid_count_process(int delta)
{
	this_cpu_add(nr_processes, delta);
}

/* Takes a free number, or 0. At most one round. */
static u32 claim(void)
{
	for (u32 tries = 0; tries < PID_MAX; tries++) {
		u32 nr = atomic_load(&next_nr);
		u64 bit;

		while (!atomic_cas(&next_nr, &nr, nr + 1 < PID_MAX ? nr + 1 : PID_RESUME))
			;
		bit = 1ul << nr % 64;
		if (!(__atomic_fetch_or(&used[nr / 64], bit, __ATOMIC_SEQ_CST) & bit))
			return nr;
	}
	return 0;
}

/* A number is free again, and nobody finds it any more. */
static void release(struct pid *p)
{
	__atomic_fetch_and(&used[p->nr / 64], ~(1ul << p->nr % 64), __ATOMIC_SEQ_CST);
	kfree(p);
}

struct pid *pid_alloc(void)
{
	struct pid *p = kzalloc(sizeof(*p));

	if (!p)
		return NULL;
	list_init(&p->group);
	spin_init(&p->lock, "group", RANK_FAMILY);
	refcount_init(&p->users, 1);
	p->nr = claim();
	if (!p->nr) {
		kfree(p);
		return NULL;
	}
	return p;
}

void pid_publish(struct pid *p)
{
	struct bucket *b = bucket_of(p->nr);

	spin_lock(&b->lock);
	p->next = b->first;
	b->first = p;
	spin_unlock(&b->lock);
}

void pid_get(struct pid *p)
{
	refcount_get(&p->users);
}

void pid_put(struct pid *p)
{
	struct bucket *b = bucket_of(p->nr);
	struct pid **link = &b->first;

	if (!refcount_put(&p->users))
		return;
	kassert(!p->proc && !p->task && list_empty(&p->group));
	spin_lock(&b->lock);
	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	spin_unlock(&b->lock);
	release(p);
}

void pid_discard(struct pid *p)
{
	release(p);
}

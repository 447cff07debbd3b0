/*
 * What processes used. Times come from the scheduler (sched_times); threads that ended have added
 * theirs to the process.
 */
#include "proc/internal.h"

#include "lib/string.h"
#include "mm/aspace.h"
#include "sched/sched.h"

struct sums {
	u64 utime_ns, stime_ns, nvcsw, nivcsw, minflt;
};

static void add_thread(struct sums *s, struct thread *t)
{
	u64 user, kernel, forced = READ_ONCE(t->switches_forced);

	sched_times(t, &user, &kernel);
	s->utime_ns += user;
	s->stime_ns += kernel;
	s->nivcsw += forced;
	s->nvcsw += READ_ONCE(t->switches) - forced; /* read behind: never below zero */
	s->minflt += READ_ONCE(t->minor_faults);
}

static struct sums sum_threads(struct process *p)
{
	struct sums s;
	struct task *t;
	u64 flags = spin_lock_irqsave(&p->sig_lock);

	s = (struct sums){ p->utime_ns, p->stime_ns, p->nvcsw, p->nivcsw, p->minflt };
	list_for_each(t, &p->threads, node)
		add_thread(&s, t->thread);
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return s;
}

static struct linux_timeval from_ns(u64 ns)
{
	return (struct linux_timeval){ (s64)(ns / NSEC_PER_SEC),
				       (s64)(ns % NSEC_PER_SEC / NSEC_PER_USEC) };
}

static void fill(struct linux_rusage *out, const struct sums *s)
{
	memset(out, 0, sizeof(*out));
	out->utime = from_ns(s->utime_ns);
	out->stime = from_ns(s->stime_ns);
	out->nvcsw = (s64)s->nvcsw;
	out->nivcsw = (s64)s->nivcsw;
	out->minflt = (s64)s->minflt;
}

void usage_times(struct process *p, u64 *utime_ns, u64 *stime_ns)
{
	struct sums s = sum_threads(p);

	*utime_ns = s.utime_ns;
	*stime_ns = s.stime_ns;
}

void usage_children_times(struct process *p, u64 *utime_ns, u64 *stime_ns)
{
	u64 flags = spin_lock_irqsave(&p->child_lock);

	*utime_ns = p->children_usage.utime_ns;
	*stime_ns = p->children_usage.stime_ns;
	spin_unlock_irqrestore(&p->child_lock, flags);
}

void usage_self(struct process *p, struct linux_rusage *out)
{
	struct sums s = sum_threads(p);

	fill(out, &s);
}

/* Its children's times do not change any more if it is a zombie; else they may, and each is read as it is. */
void usage_waited(struct process *p, struct linux_rusage *out)
{
	struct sums s = sum_threads(p);

	s.utime_ns += READ_ONCE(p->children_usage.utime_ns);
	s.stime_ns += READ_ONCE(p->children_usage.stime_ns);
	s.nvcsw += READ_ONCE(p->children_usage.nvcsw);
	s.nivcsw += READ_ONCE(p->children_usage.nivcsw);
	s.minflt += READ_ONCE(p->children_usage.minflt);
	fill(out, &s);
}

void usage_current(struct linux_rusage *out)
{
	struct process *p = current_proc();
	struct aspace_stats st;

	usage_self(p, out);
	aspace_stats(p->as, &st);
	aspace_note_peak(p->as, &st);
	out->maxrss = (s64)(st.peak_resident * (PAGE_SIZE / KiB)); /* as far as anybody looked */
}

void usage_thread(struct thread *t, struct linux_rusage *out)
{
	struct sums s = { 0 };

	add_thread(&s, t);
	fill(out, &s);
}

void usage_children(struct process *p, struct linux_rusage *out)
{
	u64 flags = spin_lock_irqsave(&p->child_lock);
	struct sums s = { p->children_usage.utime_ns, p->children_usage.stime_ns,
			  p->children_usage.nvcsw, p->children_usage.nivcsw,
			  p->children_usage.minflt };

	fill(out, &s);
	spin_unlock_irqrestore(&p->child_lock, flags);
}

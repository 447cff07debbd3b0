/*
 * What processes used. Times come from the scheduler's tick (1 ms each, charged to whoever runs);
 * threads that ended have added theirs to the process.
 */
#include "proc/internal.h"

#include "lib/string.h"
#include "mm/aspace.h"

struct sums {
	u64 utime_ms, stime_ms, nvcsw, nivcsw;
};

static void add_thread(struct sums *s, const struct thread *t)
{
	s->utime_ms += READ_ONCE(t->user_ticks);
	s->stime_ms += READ_ONCE(t->kernel_ticks);
	s->nivcsw += READ_ONCE(t->switches_forced);
	s->nvcsw += READ_ONCE(t->switches) - READ_ONCE(t->switches_forced);
}

static struct sums sum_threads(struct process *p)
{
	struct sums s;
	struct task *t;
	u64 flags = spin_lock_irqsave(&p->sig_lock);

	s = (struct sums){ p->utime_ms, p->stime_ms, p->nvcsw, p->nivcsw };
	list_for_each(t, &p->threads, node)
		add_thread(&s, t->thread);
	spin_unlock_irqrestore(&p->sig_lock, flags);
	return s;
}

static struct linux_timeval from_ms(u64 ms)
{
	return (struct linux_timeval){ (s64)(ms / 1000), (s64)(ms % 1000 * 1000) };
}

static void fill(struct linux_rusage *out, const struct sums *s)
{
	memset(out, 0, sizeof(*out));
	out->utime = from_ms(s->utime_ms);
	out->stime = from_ms(s->stime_ms);
	out->nvcsw = (s64)s->nvcsw;
	out->nivcsw = (s64)s->nivcsw;
}

void usage_times(struct process *p, u64 *utime_ms, u64 *stime_ms)
{
	struct sums s = sum_threads(p);

	*utime_ms = s.utime_ms;
	*stime_ms = s.stime_ms;
}

void usage_self(struct process *p, struct linux_rusage *out)
{
	struct sums s = sum_threads(p);

	fill(out, &s);
	out->minflt = (s64)p->minflt;
}

void usage_current(struct linux_rusage *out)
{
	struct process *p = current_proc();
	struct aspace_stats st;

	usage_self(p, out);
	aspace_stats(p->as, &st);
	aspace_note_peak(p->as, &st);
	out->maxrss = (s64)(st.peak_resident * (PAGE_SIZE / KiB)); /* as far as anybody looked */
	out->minflt += (s64)st.minor_faults;
}

void usage_thread(struct linux_rusage *out)
{
	struct sums s = { 0 };

	add_thread(&s, current());
	fill(out, &s);
}

void usage_children(struct process *p, struct linux_rusage *out)
{
	u64 flags = spin_lock_irqsave(&proc_lock);
	struct sums s = { p->children_usage.utime_ms, p->children_usage.stime_ms,
			  p->children_usage.nvcsw, p->children_usage.nivcsw };

	fill(out, &s);
	out->minflt = (s64)p->children_usage.minflt;
	spin_unlock_irqrestore(&proc_lock, flags);
}

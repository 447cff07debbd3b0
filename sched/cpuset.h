/* Sets of CPUs. Changed under a lock or by the atomic forms; read without. */
#pragma once

#include "arch/api/percpu.h"
#include "lib/atomic.h"

#define CPUSET_WORDS (NR_CPUS / 64)

struct cpuset {
	u64 word[CPUSET_WORDS];
};

static inline bool cpuset_has(const struct cpuset *s, u32 cpu)
{
	return READ_ONCE(s->word[cpu / 64]) >> (cpu % 64) & 1;
}

static inline void cpuset_fill(struct cpuset *s)
{
	for (u32 i = 0; i < CPUSET_WORDS; i++)
		s->word[i] = UINT64_MAX;
}

static inline void cpuset_set_only(struct cpuset *s, u32 cpu)
{
	*s = (struct cpuset){ 0 };
	s->word[cpu / 64] = 1ul << (cpu % 64);
}

static inline bool cpuset_is_one(const struct cpuset *s)
{
	u32 n = 0;

	for (u32 i = 0; i < CPUSET_WORDS; i++)
		n += (s->word[i] != 0) + ((s->word[i] & (s->word[i] - 1)) != 0);
	return n == 1;
}

static inline void cpuset_add_atomic(struct cpuset *s, u32 cpu)
{
	__atomic_fetch_or(&s->word[cpu / 64], 1ul << (cpu % 64), __ATOMIC_SEQ_CST);
}

static inline void cpuset_remove_atomic(struct cpuset *s, u32 cpu)
{
	__atomic_fetch_and(&s->word[cpu / 64], ~(1ul << (cpu % 64)), __ATOMIC_SEQ_CST);
}

static inline bool cpuset_is_empty(const struct cpuset *s)
{
	for (u32 i = 0; i * 64 < nr_cpus; i++)
		if (READ_ONCE(s->word[i]))
			return false;
	return true;
}

/* The lowest CPU >= from, below nr_cpus, in both sets; nr_cpus: none. */
static inline u32 cpuset_next_and(const struct cpuset *a, const struct cpuset *b, u32 from)
{
	for (u32 i = from / 64; i * 64 < nr_cpus; i++) {
		u64 w = READ_ONCE(a->word[i]) & READ_ONCE(b->word[i]);

		if (i == from / 64)
			w &= UINT64_MAX << (from % 64);
		if (w)
			return MIN(nr_cpus, i * 64 + (u32)__builtin_ctzl(w));
	}
	return nr_cpus;
}

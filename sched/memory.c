/* The registration of mm/'s services, apart from core.c so that the host tests of mm/ link it. */
#include "sched/memory.h"

DEFINE_PER_CPU_SHARED(struct aspace *, active_space);
const struct sched_memory_ops *sched_memory;

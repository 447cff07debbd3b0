/* The preemption word of each CPU: see arch/api/preempt.h. */
#include "arch/api/preempt.h"

DEFINE_PER_CPU_INIT(u32, preempt_word, PREEMPT_NO_RESCHED);

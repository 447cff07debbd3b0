/* The profiler's timer: trace.hz samples a second on this CPU, once the trace is on. Once per CPU. */
#pragma once

void sample_start(void);

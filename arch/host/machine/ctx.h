/* Threads are not switched on the host. */
#pragma once

struct arch_thread {
	u64 sp;
};

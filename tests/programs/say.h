/*
 * What the programs print: a line at a time, for a child or a signal may end them at any moment, and nothing that differs
 * between two kernels.
 */
#pragma once

#include <errno.h>
#include <stdio.h>

#define SAY(...) (printf(__VA_ARGS__), fflush(stdout))

/* The call's text, what it returned, and errno if that was -1. */
#define TRY(call)                                                                                  \
	do {                                                                                       \
		errno = 0;                                                                         \
		long ret_ = (long)(call);                                                          \
		SAY("%s = %ld, errno %d\n", #call, ret_, ret_ == -1 ? errno : 0);                  \
	} while (0)

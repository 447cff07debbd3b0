/* poll(2) and select(2), with Linux's values. */
#pragma once

#include "lib/types.h"

#define POLLIN     0x0001
#define POLLPRI    0x0002
#define POLLOUT    0x0004
#define POLLERR    0x0008
#define POLLHUP    0x0010
#define POLLNVAL   0x0020
#define POLLRDNORM 0x0040
#define POLLRDBAND 0x0080
#define POLLWRNORM 0x0100
#define POLLWRBAND 0x0200
#define POLLRDHUP  0x2000

struct pollfd {
	s32 fd;
	s16 events;
	s16 revents;
};

/* select: a set of descriptors is an array of 64-bit words. */
#ifndef FD_SETSIZE /* the host's <sys/select.h> has the same */
#define FD_SETSIZE 1024
#endif

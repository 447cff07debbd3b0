/* Linux's struct statfs (x86-64) and the magic numbers of our file systems. */
#pragma once

#include "lib/types.h"

struct linux_statfs {
	s64 type;
	s64 bsize;
	u64 blocks;
	u64 bfree;
	u64 bavail;
	u64 files;
	u64 ffree;
	u64 fsid;
	s64 namelen;
	s64 frsize;
	s64 flags;
	s64 spare[4];
};
_Static_assert(sizeof(struct linux_statfs) == 120, "struct statfs of x86-64");

#define LINUX_TMPFS_MAGIC  0x01021994
#define LINUX_PROC_MAGIC   0x9fa0
#define LINUX_PIPEFS_MAGIC 0x50495045
#define LINUX_ANONFS_MAGIC 0x09041934

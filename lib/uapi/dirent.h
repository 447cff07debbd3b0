/* What getdents64 and getdents write, and the types of directory entries. */
#pragma once

#include "lib/types.h"

struct linux_dirent64 {
	u64 ino;
	s64 off; /* where the next entry starts */
	u16 reclen;
	u8 type;
	char name[];
};

/* The old form: the type is the record's last byte. */
struct linux_dirent {
	u64 ino;
	u64 off;
	u16 reclen;
	char name[];
};

#define LINUX_DT_UNKNOWN 0
#define LINUX_DT_FIFO    1
#define LINUX_DT_CHR     2
#define LINUX_DT_DIR     4
#define LINUX_DT_BLK     6
#define LINUX_DT_REG     8
#define LINUX_DT_LNK     10
#define LINUX_DT_SOCK    12

/* The type of an entry from the mode of its inode. */
#define LINUX_MODE_DT(mode) (((mode) >> 12) & 15)

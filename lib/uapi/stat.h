/* Linux's file modes, struct stat and struct statx (x86-64). */
#pragma once

#include "lib/types.h"
#include "lib/uapi/time.h"

#ifndef S_IFMT /* the host's <sys/stat.h> has the same values */
#define S_IFMT   0170000
#define S_IFSOCK 0140000
#define S_IFLNK  0120000
#define S_IFREG  0100000
#define S_IFBLK  0060000
#define S_IFDIR  0040000
#define S_IFCHR  0020000
#define S_IFIFO  0010000
#define S_ISUID  0004000
#define S_ISGID  0002000
#define S_ISVTX  0001000

#define S_ISLNK(m)  (((m)&S_IFMT) == S_IFLNK)
#define S_ISREG(m)  (((m)&S_IFMT) == S_IFREG)
#define S_ISDIR(m)  (((m)&S_IFMT) == S_IFDIR)
#define S_ISCHR(m)  (((m)&S_IFMT) == S_IFCHR)
#define S_ISBLK(m)  (((m)&S_IFMT) == S_IFBLK)
#define S_ISFIFO(m) (((m)&S_IFMT) == S_IFIFO)
#define S_ISSOCK(m) (((m)&S_IFMT) == S_IFSOCK)
#endif

#define S_PERMISSIONS 07777u
#define S_ANY_EXEC    0111u

#define LINUX_UTIME_NOW  0x3fffffff
#define LINUX_UTIME_OMIT 0x3ffffffe

struct linux_stat {
	u64 dev;
	u64 ino;
	u64 nlink;
	u32 mode;
	u32 uid;
	u32 gid;
	u32 pad0;
	u64 rdev;
	s64 size;
	s64 blksize;
	s64 blocks; /* of 512 bytes */
	struct linux_timespec atime;
	struct linux_timespec mtime;
	struct linux_timespec ctime;
	s64 reserved[3];
};
_Static_assert(sizeof(struct linux_stat) == 144, "struct stat of x86-64");

struct linux_statx_time {
	s64 sec;
	u32 nsec;
	s32 pad;
};

struct linux_statx {
	u32 mask;
	u32 blksize;
	u64 attributes;
	u32 nlink;
	u32 uid;
	u32 gid;
	u16 mode;
	u16 pad0;
	u64 ino;
	u64 size;
	u64 blocks;
	u64 attributes_mask;
	struct linux_statx_time atime;
	struct linux_statx_time btime;
	struct linux_statx_time ctime;
	struct linux_statx_time mtime;
	u32 rdev_major;
	u32 rdev_minor;
	u32 dev_major;
	u32 dev_minor;
	u64 spare[14];
};
_Static_assert(sizeof(struct linux_statx) == 256, "struct statx");

#define LINUX_STATX_BASIC_STATS 0x7ffu
#define LINUX_STATX_BTIME       0x800u
#define LINUX_STATX_RESERVED    0x80000000u

/* dev_t: twelve bits of major at bit 8, twenty of minor around it. */
static inline u32 dev_make(u32 major, u32 minor)
{
	return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffu) << 12;
}

static inline u32 dev_major(u64 dev)
{
	return (u32)(dev >> 8) & 0xfff;
}

static inline u32 dev_minor(u64 dev)
{
	return (u32)(dev & 0xff) | ((u32)(dev >> 12) & 0xfff00);
}

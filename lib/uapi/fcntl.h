/* Linux's open flags, fcntl commands and the flags of the *at calls (x86-64). */
#pragma once

#ifndef O_RDONLY /* a host test may have the host's <fcntl.h>: the same values */
#define O_RDONLY    00
#define O_WRONLY    01
#define O_RDWR      02
#define O_CREAT     0100
#define O_EXCL      0200
#define O_NOCTTY    0400
#define O_TRUNC     01000
#define O_APPEND    02000
#define O_NONBLOCK  04000
#define O_DSYNC     010000
#define O_ASYNC     020000
#define O_DIRECT    040000
#define O_DIRECTORY 0200000
#define O_NOFOLLOW  0400000
#define O_NOATIME   01000000
#define O_CLOEXEC   02000000
#define O_SYNC      04010000
#define O_PATH      010000000
#define O_TMPFILE   020200000

#define F_DUPFD  0
#define F_GETFD  1
#define F_SETFD  2
#define F_GETFL  3
#define F_SETFL  4
#define F_GETLK  5
#define F_SETLK  6
#define F_SETLKW 7
#define F_SETOWN 8
#define F_GETOWN 9

#define FD_CLOEXEC 1
#define F_RDLCK    0
#define F_WRLCK    1
#define F_UNLCK    2

#define AT_FDCWD            (-100)
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_EACCESS          0x200
#define AT_REMOVEDIR        0x200
#define AT_SYMLINK_FOLLOW   0x400

#define SEEK_SET 0
#define SEEK_CUR 1
#define SEEK_END 2
#endif

#define O_ACCMODE_MASK  03
#define O_LARGEFILE_BIT 0100000 /* what programs of 32 bits set; ignored */

#define LINUX_F_DUPFD_CLOEXEC 1030
#define LINUX_F_SETPIPE_SZ    1031
#define LINUX_F_GETPIPE_SZ    1032
#define LINUX_F_ADD_SEALS     1033
#define LINUX_F_GET_SEALS     1034

#define LINUX_AT_NO_AUTOMOUNT 0x800
#define LINUX_AT_EMPTY_PATH   0x1000

#define LINUX_SEEK_DATA 3
#define LINUX_SEEK_HOLE 4

#define LINUX_LOCK_SH   1
#define LINUX_LOCK_EX   2
#define LINUX_LOCK_NB   4
#define LINUX_LOCK_UN   8
#define LINUX_LOCK_MAND 32

#define LINUX_F_OK 0
#define LINUX_X_OK 1
#define LINUX_W_OK 2
#define LINUX_R_OK 4

#define LINUX_RENAME_NOREPLACE 1u
#define LINUX_RENAME_EXCHANGE  2u
#define LINUX_RENAME_WHITEOUT  4u

#define LINUX_FALLOC_KEEP_SIZE  1
#define LINUX_FALLOC_PUNCH_HOLE 2

#define LINUX_GRND_NONBLOCK 1u
#define LINUX_GRND_RANDOM   2u
#define LINUX_GRND_INSECURE 4u

#define LINUX_MFD_CLOEXEC       1u
#define LINUX_MFD_ALLOW_SEALING 2u
#define LINUX_MFD_HUGETLB       4u
#define LINUX_MFD_NOEXEC_SEAL   8u
#define LINUX_MFD_EXEC          16u

#define LINUX_SEAL_SEAL         1u
#define LINUX_SEAL_SHRINK       2u
#define LINUX_SEAL_GROW         4u
#define LINUX_SEAL_WRITE        8u
#define LINUX_SEAL_FUTURE_WRITE 16u
#define LINUX_SEAL_EXEC         32u
#define LINUX_SEAL_ALL          63u

#define LINUX_CLOSE_RANGE_UNSHARE 2u
#define LINUX_CLOSE_RANGE_CLOEXEC 4u

#define LINUX_EFD_SEMAPHORE 1

/* struct flock */
struct linux_flock {
	short type;
	short whence;
	long start;
	long len; /* 0: to the end of the file, whatever that becomes */
	int pid;
};

struct linux_iovec {
	unsigned long base;
	unsigned long len;
};

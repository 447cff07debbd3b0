/* Limits of names and transfers, flags of mount and umount2. */
#pragma once

#define LINUX_PATH_MAX 4096 /* with the terminator */
#define LINUX_NAME_MAX 255
#define LINUX_PIPE_BUF 4096
#define LINUX_IOV_MAX  1024
/* The most that one read or write moves. */
#define LINUX_RW_MAX 0x7ffff000ul

#define LINUX_MS_RDONLY     1u
#define LINUX_MS_NOSUID     2u
#define LINUX_MS_NODEV      4u
#define LINUX_MS_NOEXEC     8u
#define LINUX_MS_REMOUNT    32u
#define LINUX_MS_BIND       4096u
#define LINUX_MS_MOVE       8192u
#define LINUX_MS_REC        16384u
#define LINUX_MS_SILENT     32768u
#define LINUX_MS_UNBINDABLE (1u << 17)
#define LINUX_MS_PRIVATE    (1u << 18)
#define LINUX_MS_SLAVE      (1u << 19)
#define LINUX_MS_SHARED     (1u << 20)

#define LINUX_MNT_FORCE       1
#define LINUX_MNT_DETACH      2
#define LINUX_MNT_EXPIRE      4
#define LINUX_UMOUNT_NOFOLLOW 8

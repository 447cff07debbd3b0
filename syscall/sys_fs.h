/* What the file system's calls share: paths from programs, and moves of many pieces. */
#pragma once

#include "arch/api/uaccess.h"
#include "fs/vfs.h"

/* A path copied from a program: short ones lie here, long ones in memory of their own. */
struct user_path {
	char *s;
	char small[192];
};

/* 0, -EFAULT, -ENAMETOOLONG, -ENOMEM. After success: user_path_put. */
int user_path_get(struct user_path *p, uaddr_t addr);
void user_path_put(struct user_path *p);

/* path_lookup and path_inode with a program's path. */
int user_path_dentry(int dfd, uaddr_t addr, unsigned flags, struct dentry **out);
int user_path_inode(int dfd, uaddr_t addr, unsigned flags, struct inode **out);

/* AT_SYMLINK_NOFOLLOW and AT_EMPTY_PATH as flags of the walk. */
static inline unsigned walk_flags(int at_flags)
{
	return (at_flags & AT_SYMLINK_NOFOLLOW ? 0 : WALK_FOLLOW) |
	       (at_flags & LINUX_AT_EMPTY_PATH ? WALK_EMPTY : 0);
}

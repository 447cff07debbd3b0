/*
 * Where things lie in the structures that a tool reads out of a guest's memory (tools/guest/,
 * ./jiffy inspect): by name, so that it follows every change of them. Nothing in the kernel uses it.
 */
#include "fs/vfs.h"
#include "lib/compiler.h"
#include "mm/mark.h"
#include "mm/pt.h"
#include "mm/space.h"
#include "proc/process.h"
#include "sched/thread.h"

struct layout_entry {
	char name[40];
	u64 value;
};

#define FIELD(type, member)                                                                        \
	{                                                                                          \
#type "." #member, offsetof(struct type, member)                                   \
	}
#define VALUE(what)                                                                                \
	{                                                                                          \
#what, (u64)(what)                                                                 \
	}

extern const struct layout_entry inspect_layout[];
__used const struct layout_entry inspect_layout[] = {
	FIELD(thread, all),
	FIELD(thread, tid),
	FIELD(thread, name),
	FIELD(thread, as),
	FIELD(thread, proc),
	FIELD(process, nr),
	FIELD(process, ppid),
	FIELD(process, stack_top),
	FIELD(aspace, id),
	FIELD(aspace, root_frame),
	FIELD(aspace, brk_start),
	FIELD(aspace, brk),
	FIELD(frame, refs),
	FIELD(frame, type),
	FIELD(frame, side),
	FIELD(frame, slab),
	FIELD(frame, slab_free),
	FIELD(vm_mapping, obj),
	FIELD(vm_mapping, va),
	FIELD(vm_mapping, offset),
	FIELD(vm_mapping, nowrite),
	FIELD(vm_object, ops),
	FIELD(inode, object),
	FIELD(inode, alias),
	FIELD(dentry, name),
	FIELD(dentry, parent),
	FIELD(dentry, mounted),
	{ "frame.size", sizeof(struct frame) },
	VALUE(VM_READ),
	VALUE(VM_WRITE),
	VALUE(VM_SIDE),
	VALUE(VM_GROWSDOWN),
	VALUE(VM_NORESERVE),
	VALUE(VM_LOCKED),
	VALUE(VM_DONTFORK),
	VALUE(VM_WIPE),
	VALUE(VM_HUGE),
	VALUE(VM_NOHUGE),
	VALUE(VM_BITS),
	VALUE(MARK_ANON),
	VALUE(MARK_PRIVATE),
	VALUE(MARK_SHARED),
	VALUE(MARK_HELD),
	VALUE(MARK_KINDS),
	VALUE(FRAME_TABLE),
	VALUE(FRAME_ANON),
	VALUE(FRAME_FILE),
	VALUE(PT_USER_ROOT_SLOTS),
	{ "", 0 },
};

/*
 * A process's address space: the mmap family, fork, and what /proc shows. The page table is the
 * only record of what is mapped where (mm/pt.h tells how).
 *
 * All calls may sleep. Addresses and lengths come unchecked from the program; errors are Linux's,
 * and an error means that nothing has changed, but for two cases in which Linux has partial effects:
 * vm_mprotect changes what lies before a hole (-ENOMEM) or before a mapping that may not be written
 * (-EACCES), and vm_madvise does its work around holes (-ENOMEM).
 */
#pragma once

#include "arch/api/percpu.h"
#include "arch/api/upcall.h"
#include "lib/types.h"
#include "mm/vm_object.h"
#include "sched/memory.h"

struct aspace;
struct aspace_stats;
struct thread;

struct aspace *aspace_create(void); /* NULL: out of memory. One reference. */
void aspace_get(struct aspace *as);
void aspace_put(struct aspace *as); /* the last tears it down: may sleep */
/* Has it references beside the caller's? For the space of the current process: "no" stays true. */
bool aspace_is_shared(const struct aspace *as);

/* A copy of parent for a child. 0, -ENOMEM. */
int aspace_fork(struct aspace *parent, struct aspace **child);
/* The same where no other thread can change the parent but by faults: nobody is kept out of it. */
int aspace_fork_alone(struct aspace *parent, struct aspace **child);

/* Beside MAP_* in vm_mmap's flags: a shared mapping of a file that is not open for writing; PROT_WRITE
 * can never be given to it (vm_mprotect: -EACCES). */
#define VM_MMAP_NOWRITE (1 << 30)

/*
 * obj NULL: anonymous. Takes its own reference of obj. offset: in bytes, page aligned or -EINVAL.
 * prot PROT_*, flags MAP_* of lib/uapi/mman.h. Returns the address or -errno.
 */
s64 vm_mmap(struct aspace *as, uaddr_t addr, u64 len, int prot, int flags, struct vm_object *obj,
	    u64 offset);
/* The errors of vm_mmap's addresses and lengths, for who must know them before the file's. */
int vm_mmap_check(uaddr_t addr, u64 len, int flags, bool file, u64 offset);
int vm_munmap(struct aspace *as, uaddr_t addr, u64 len);
int vm_mprotect(struct aspace *as, uaddr_t addr, u64 len, u64 prot);
int vm_madvise(struct aspace *as, uaddr_t addr, u64 len, int advice);
/* Writes one byte for each page to the program's memory at vec. */
int vm_mincore(struct aspace *as, uaddr_t addr, u64 len, uaddr_t vec);
int vm_msync(struct aspace *as, uaddr_t addr, u64 len, int flags);
/* flags: MLOCK_*, MCL_*. The limit is VM_LIMIT_LOCK. */
int vm_mlock(struct aspace *as, uaddr_t addr, u64 len, int flags);
int vm_munlock(struct aspace *as, uaddr_t addr, u64 len);
int vm_mlockall(struct aspace *as, int flags);
int vm_munlockall(struct aspace *as);
/* PR_SET_THP_DISABLE: no pages of 2 MiB for it and its children, whatever else is wished. */
void aspace_disable_large(struct aspace *as, bool disable);
bool aspace_large_disabled(struct aspace *as);

/* Resource limits, in bytes; a new space has none, but its stacks do not grow. fork copies them. */
enum vm_limit { VM_LIMIT_AS, VM_LIMIT_DATA, VM_LIMIT_STACK, VM_LIMIT_LOCK, VM_LIMITS };
void aspace_set_limit(struct aspace *as, enum vm_limit which, u64 bytes);

/* What is mapped in [start, end), in bytes. */
struct vm_totals {
	u64 mapped, locked;
	u64 data;  /* private, writable, no stack */
	u64 stack; /* MAP_GROWSDOWN */
	u64 shared;
};
void vm_count(struct aspace *as, u64 start, u64 end, struct vm_totals *out);

/* What is in memory of [start, end), in pages; [1]: named by others, too. mm/usage.c */
struct vm_usage {
	u64 resident, anon, locked;
	u64 large; /* in pages of 2 MiB */
	u64 clean[2], dirty[2];
};
void vm_usage(struct aspace *as, u64 start, u64 end, struct vm_usage *out);
/* n entries of /proc/pid/pagemap from the page at start on, with frame numbers. */
void vm_pagemap(struct aspace *as, u64 start, u64 n, u64 *entry);
/* The most that was seen of mapped (bytes) and resident (pages); looking at it now is seeing. */
void aspace_note_peak(struct aspace *as, struct aspace_stats *st);
/* flags: MREMAP_*; new_addr counts with MREMAP_FIXED alone (with DONTUNMAP it must be
 * aligned, as on Linux). The new address or -errno. */
s64 vm_mremap(struct aspace *as, uaddr_t addr, u64 old_len, u64 new_len, int flags,
	      uaddr_t new_addr);
/* The errors of vm_mremap's arguments alone. */
int vm_mremap_check(uaddr_t addr, u64 old_len, u64 new_len, int flags, uaddr_t new_addr);

/* The break. Set by execve with aspace_set_brk; vm_brk(as, 0) asks. Returns the resulting break. */
void aspace_set_brk(struct aspace *as, uaddr_t start);
uaddr_t vm_brk(struct aspace *as, uaddr_t want);

/* Serves a fault, as vm_fault_current of arch/api/upcall.h, in a given space. */
int vm_fault(struct aspace *as, uaddr_t va, enum fault_access access);
/*
 * proc/ sets it: there is no memory for a fault of the current thread. It ends some process and waits
 * for that; true: try again, false: the current one is to die. May sleep.
 */
extern bool (*vm_out_of_memory)(void);

/*
 * Reads or writes another space's memory (process_vm_readv, /proc/pid/cmdline), serving faults as needed. No stack
 * grows for it, as on Linux. Bytes done, or -EFAULT if none.
 */
ssize_t aspace_read(struct aspace *as, uaddr_t va, void *buf, size_t n);
ssize_t aspace_write(struct aspace *as, uaddr_t va, const void *buf, size_t n);
/* The same for who makes a new space (exec, fork): stacks grow as for its own program. */
ssize_t aspace_write_own(struct aspace *as, uaddr_t va, const void *buf, size_t n);

/*
 * The switch. next NULL: a kernel thread, keeps the current space (lazily). Interrupts off. sched/
 * calls it. A space that is torn down while a CPU keeps it lazily makes the CPU leave it, so no
 * reference is needed.
 */
void mm_switch_to(struct aspace *next);
static inline void mm_switch(struct aspace *next)
{
	if (next && next != this_cpu_read(active_space))
		mm_switch_to(next);
}

/* One line of /proc/pid/maps. */
struct vm_region {
	uaddr_t start, end;
	int prot; /* PROT_* */
	int flags; /* MAP_SHARED or MAP_PRIVATE, MAP_ANONYMOUS, MAP_GROWSDOWN, MAP_NORESERVE, MAP_LOCKED */
	bool dontfork, wipe;   /* MADV_DONTFORK, MADV_WIPEONFORK */
	bool huge, nohuge;     /* MADV_HUGEPAGE, MADV_NOHUGEPAGE */
	bool large_wanted;     /* a write may get a page of 2 MiB, where one fits */
	struct vm_object *obj; /* NULL: anonymous. Valid during the callback. */
	u64 offset;
};
/*
 * Calls fn for each maximal region in order (of one in which `from` lies, for what is behind that), until it returns
 * non-zero, which is returned. May sleep in fn.
 */
int aspace_walk(struct aspace *as, uaddr_t from, int (*fn)(const struct vm_region *r, void *arg),
		void *arg);

struct aspace_stats {
	u64 mapped;                     /* bytes: VmSize */
	u64 resident;                   /* pages: VmRSS */
	u64 tables;                     /* page-table pages */
	u64 peak_mapped, peak_resident; /* aspace_note_peak */
	uaddr_t brk_start, brk;
};
void aspace_stats(struct aspace *as, struct aspace_stats *out);
/* brk_start and brk alone: the others are a walk over all pages. */
void aspace_heap(struct aspace *as, struct aspace_stats *out);
/* The current thread leaves its space: what it has kept there passes to the space. May sleep. */
void aspace_thread_ends(void);

/* Machine-wide counters, since boot. */
struct vm_stats {
	u64 faults, minor_faults, zero_page_faults, cow_copied, cow_reused, spurious;
	u64 tables_copied, tables_taken_back; /* shared by fork, by faults */
	u64 large_faults;                     /* that got a page of 2 MiB */
	u64 mapped_around;                    /* pages mapped beside the one that was read */
};
void vm_stats(struct vm_stats *out);

void aspace_init(void);

/*
 * Checks every table, frame and mapping of all spaces against the slots that name it; panics with
 * the first difference. Nobody else may use any space meanwhile. Returns the slots looked at.
 */
u64 aspace_audit(void);

/* Frames, objects and translation caches: mm/books.c. All CPUs stand still. */
struct audit;
void mm_audit(struct audit *a);

/* A word of the current program's memory, if it is there. Any context. mm/peek.c */
bool vm_peek(u64 va, u64 *out);

/*
 * What aspace.c, fault.c, fork.c, pt.c, tlb.c and kmap.c share: an address space's innards.
 */
#pragma once

#include "arch/api/percpu.h"
#include "arch/api/pte.h"
#include "lib/atomic.h"
#include "lib/refcount.h"
#include "mm/aspace.h"
#include "mm/frame.h"
#include "sched/mutex.h"
#include "sched/thread.h"

/* What one long operation keeps for itself: mm/claim.c. */
struct claim {
	struct mutex mutex;
	struct thread *owner; /* [a] */
	struct claim_range {
		u64 start, last;
	} range[2];              /* [a] */
	struct vm_mapping *dead; /* [o] to destroy at its end */
	struct claim *next;      /* [a] */
};

struct aspace {
	/* Written by each flush, hence on a cache line of their own. */
	atomic64_t tlb_gen;     /* [a] raised by each flush: see mm/tlb.c */
	u64 cpus[NR_CPUS / 64]; /* [a] CPUs that use this root, running or lazily */
	u64 unused[3];

	/* Read by each switch, fault and call. */
	pte_t *root;              /* [I] the table itself */
	pte_t root_entry;         /* [I] what an entry that points to it would say */
	struct frame *root_frame; /* [I] */
	u64 id;                   /* [I] never used twice: names the space in the CPUs' contexts */
	refcount_t refs;
	u32 arenas;              /* [a] how many threads have got one: see aspace.c */
	struct thread *gap_user; /* [a] the thread whose `gap` is, by its address */
	u64 claim_map;           /* [a] which GiB have claims on them: mm/claim.c */
	u64 unused1;

	/* Written by the thread gap_user. */
	struct vm_gap gap; /* [a] where the next mapping without a wish goes: hints, see aspace.c */
	u64 empty_table; /* [a] as thread.empty_table, of threads that ended or are not of this space */
	u64 unused2[3];

	spinlock_t lock;        /* protects what follows */
	uaddr_t brk_start, brk; /* [limits, lock to write] */

	/* Limits, and whether the seldom is there at all: see mm/limit.c, mm/mlock.c. */
	u64 limit[VM_LIMITS];           /* [a] bytes */
	bool grows;                     /* [a] a region with VM_GROWSDOWN was made */
	bool locked;                    /* [a] one with VM_LOCKED */
	bool no_large;                  /* [a] PR_SET_THP_DISABLE */
	u64 peak_mapped, peak_resident; /* [a] */
	u8 lock_future;                 /* [a] MCL_* for mappings to come */

	u64 grown, grown_end; /* [lock] the stack that grew last: its start, its end */

	struct mutex limits; /* held by who checks a limit and uses what it allows: mm/limit.c */

	struct list_node all; /* [aspaces_lock] */

	struct claim claim; /* the first of the space's */
};
_Static_assert(offsetof(struct aspace, root) == 64 && offsetof(struct aspace, gap) == 128 &&
		       offsetof(struct aspace, lock) == 192,
	       "cache lines");

/* Every space, for the auditor and whoever must choose a victim. */
extern spinlock_t aspaces_lock;
extern struct list_node aspaces; /* [aspaces_lock] */

/* mm/aspace.c: is va in a slot of the root that was given to a thread? */
bool aspace_is_arena(const struct aspace *as, u64 va);

/* Kernel's table: mm/kmap.c. early: where tables come from while booting, or NULL. */
void kmap_set_root(paddr_t root, paddr_t (*early)(void));
paddr_t kmap_root(void);

/* mm/tlb.c: has this CPU, and every other one that still uses the space's root, leave it. */
void tlb_leave_space(struct aspace *as);

/* mm/aspace.c: what a fork's child takes over beside the page table. */
void aspace_copy_limits(struct aspace *to, struct aspace *from);

/* mm/limit.c */
#define VM_STACK_GAP    (256 * PAGE_SIZE)
#define VM_STACK_LOWEST (64 * KiB) /* as Linux's mmap_min_addr */

/* Is there any limit of what is added up? The stack's concerns one region alone. */
static inline bool vm_has_limits(const struct aspace *as)
{
	return (READ_ONCE(as->limit[VM_LIMIT_AS]) & READ_ONCE(as->limit[VM_LIMIT_DATA]) &
		READ_ONCE(as->limit[VM_LIMIT_LOCK])) != UINT64_MAX;
}

/*
 * What a call that adds to what limits count holds while it checks them and makes its change: from vm_limits_begin
 * to vm_limits_end nobody else does so, nor changes what mlockall said of mappings to come. Nothing, if there are no limits
 * and nothing was ever locked. Not for who has a claim; without other locks. Within the two nothing takes a fault.
 */
struct vm_limits {
	struct mutex *mutex;     /* or NULL */
	struct vm_mapping *dead; /* to destroy at its end */
};
void vm_limits_take(struct aspace *as, struct vm_limits *l);
void vm_limits_drop(struct vm_limits *l);

/* May sleep. */
static inline void vm_limits_begin(struct aspace *as, struct vm_limits *l)
{
	l->mutex = NULL;
	if (unlikely(READ_ONCE(as->locked) || vm_has_limits(as)))
		vm_limits_take(as, l);
}

/* May sleep. */
static inline void vm_limits_end(struct vm_limits *l)
{
	if (unlikely(l->mutex != NULL))
		vm_limits_drop(l);
}

/* May len bytes more of this kind and protection come? Those mapped in [from, end) go before. (0, 0: none do.) */
bool vm_may_expand(struct aspace *as, u64 len, unsigned kind, u64 bits, u64 from, u64 end);
/* May len bytes with these bits get others? As Linux has it: what is beyond RLIMIT_AS anyway is not asked. */
bool vm_may_protect(struct aspace *as, u64 len, unsigned kind, u64 bits, u64 new_bits);
/* May len bytes more be locked, in place of those in [from, end)? 0, -EAGAIN. */
int vm_may_lock(struct aspace *as, u64 len, u64 from, u64 end);
/* Does a stack that grows start less than its gap above `end`? */
bool vm_near_stack(struct aspace *as, u64 end);
/* A fault at va, where nothing is: true if a stack has grown there. May sleep. */
bool vm_grow_stack(struct aspace *as, u64 va);

/* mm/limit.c: vm_fault of what is mapped: no stack grows for it if that is unmapped meanwhile. */
int vm_fault_mapped(struct aspace *as, uaddr_t va, enum fault_access access);

/* mm/mlock.c: faults everything in. 0; when errors count, -ENOMEM (no memory), -EFAULT. */
int vm_populate(struct aspace *as, u64 start, u64 end, bool stop_at_error);
/* mm/mlock.c: vm_munlockall of a space that nobody uses yet. */
int vm_forget_locks(struct aspace *as);

/*
 * mm/aspace.c: a free place for len bytes, or 0. If there is one, and it matters, its address is the same as
 * `like` modulo 2 MiB: tables can move there as a whole.
 */
u64 aspace_find_gap_like(struct aspace *as, u64 len, u64 like);
/* [start, end) became free. */
void aspace_gap_freed(struct aspace *as, u64 start, u64 end);

/*
 * The random test of mm/: a machine, a flat model of what it must do, and calls whose arguments come
 * from records of bytes. docs/testing.md tells how to run it.
 *
 *	record --call_choose--> struct call --call_run--> mm/ --call_explain--> the model
 *	        choose.c                     calls.c               explain.c       model.c
 *
 * Each call is explained by the model after it has returned: call_explain says whether the model,
 * in its present state, gives the same result, and if so brings it to the state after the call.
 * Calls that ran at the same time on several CPUs are explained one after the other in some order
 * (tests/mm/order.c finds one). Changes of the model are logged, so that they can be taken back.
 */
#pragma once

#include "arch/api/cpu.h"
#include "arch/api/upcall.h"
#include "lib/types.h"
#include "mm/aspace.h"
#include "sync/spinlock.h"

#define MAX_CPUS    4
#define MAX_PROCS   5
#define MAX_FILES   3
#define FILE_PAGES  24
#define MAX_OBJS    4000 /* files, then anonymous shared objects, never used again in a run */
#define WINDOWS     5
#define MAX_REMOVED 128
#define MAX_EARLY   32
#define MAX_MOVED   1408 /* pages of a window at most */

#define VM_MMAP_TOP    (0x800000000000ul - 64 * MiB)
#define VM_MMAP_BOTTOM (64 * KiB)
/* RLIMIT_STACK, always. */
#define STACK_LIMIT (40 * PAGE_SIZE)

/* ---- records --------------------------------------------------------------------------------- */

/* What one call is made of: its choices come from these bytes, and when they are used up from a
 * generator that they start. So records can be taken away and exchanged without changing others. */
#define RECORD_BYTES 16

struct record {
	u8 byte[RECORD_BYTES];
};

void choose_from(const struct record *r);
u64 choose(u64 below); /* 0 ... below-1 */
u64 random_next(u64 *state);

/* ---- the model ------------------------------------------------------------------------------- */

#define PAGE_GROWSDOWN 1
#define PAGE_NORESERVE 2
#define PAGE_LOCKED    4
#define PAGE_DONTFORK  8
#define PAGE_WIPE      16
#define PAGE_HUGE      32
#define PAGE_NOHUGE    64

/* All that can be said of a page of a process. All zero: nothing is mapped. */
struct page {
	u8 mapped : 1, shared : 1, nowrite : 1;
	u8 own : 1; /* private, of an object: our copy of its page */
	u8 prot;
	u8 flags;  /* PAGE_* */
	u16 obj;   /* 0: none; 1 ... MAX_FILES: files; above: anonymous shared */
	u32 index; /* page of obj, in units of 4 KiB */
	u32 tag;   /* content, if private and own or anonymous */
};

struct window {
	u64 base, unit, n; /* unit: bytes per page of the model; accesses go to its first 4 KiB */
};
extern const struct window windows[WINDOWS];
enum { W_PAGES, W_LARGE, W_BRK, W_TOP, W_LOW };

struct proc {
	struct aspace *as; /* NULL: none */
	struct page *w[WINDOWS];
	u64 brk;
	u64 future; /* MCL_FUTURE: mappings to come are locked */
	u64 limit[VM_LIMITS];
	u64 grown, grown_end; /* the stack that grew last: its start, its end */
	unsigned hot_w;       /* pages touched last */
	u64 hot_at, hot_n;
};
extern struct proc procs[MAX_PROCS];

/* The content of shared objects. */
extern u32 *obj_tag[MAX_OBJS];
extern u64 obj_pages[MAX_OBJS];
extern unsigned nr_objs;
extern u32 next_tag;
void objects_start(void);
unsigned new_obj(u64 pages);

u64 page_va(unsigned w, u64 at);
u32 page_tag(const struct page *p);
int page_fault_code(const struct page *p, enum fault_access access);
bool none_mapped(const struct page *m, u64 n);
/* Do the pages go on with each other as one region of /proc/pid/maps? */
bool page_continues(const struct page *a, const struct page *b, u64 step);
bool pages_uniform(const struct page *m, u64 n, u64 step);

/* All changes of the model, but for those of new processes, go through these. */
void set_page(struct page *p, struct page to);
void set_word(u32 *p, u32 to);
void set_long(u64 *p, u64 to);
void set_as(struct aspace **p, struct aspace *to);
extern u64 model_state; /* a hash: the same changes lead to the same one, in whatever order */
u64 hash_add(u64 hash, u64 value);
u64 page_hash(const struct page *p);
size_t undo_mark(void);
void undo_to(size_t mark);
void undo_forget(void);

struct aspace_hints {
	u64 end, start, skipped;
};
/* Where docs/memory.md says that len bytes without a wish go; 0: nowhere. */
u64 model_place(const struct proc *p, u64 len, u64 like, struct aspace_hints h);
/* Adds what n pages of a window count for, as vm_count does. */
void count_pages(const struct page *m, u64 n, u64 unit, struct vm_totals *t);
void model_totals(const struct proc *p, struct vm_totals *t);
/* The highest mapped page below `end`: its bounds. */
bool page_below(const struct proc *p, u64 end, u64 *start, u64 *stop, struct page *page);
bool model_near_stack(const struct proc *p, u64 end);
bool model_free(const struct proc *p, u64 va, u64 len); /* outside of the windows: yes */
/* The window that contains [va, va + len), or -1. */
int window_of(u64 va, u64 len);

/* What the page table says of pages, without touching anything. */
struct seen {
	struct page page; /* tag: content of the frame, if there is one */
	u64 id;           /* of its object, if that is an anonymous one */
	bool frame, torn; /* torn: first and last word differ */
};
void see_pages(struct proc *p, unsigned w, u64 at, u64 n, struct seen *out);
/* NULL, or what differs. */
const char *compare_seen(const struct page *m, const struct seen *s, u64 n, u64 va);
const char *compare_files(void);
void compare_all(struct proc *p); /* regions and contents; fails with the difference */

void proc_start(struct proc *p); /* if there is none yet */
void proc_end(struct proc *p);
void proc_alloc(struct proc *p);
void proc_free(struct proc *p);
void proc_limit(struct proc *p); /* gives mm/ the limits that hold now */

/* ---- files ----------------------------------------------------------------------------------- */

struct test_file {
	struct vm_object obj;
	int refs;
	struct spinlock lock; /* of what follows: a page found is a page named before it can go */
	u64 size;             /* pages */
	struct frame *page[FILE_PAGES];
};
extern struct test_file files[MAX_FILES];
u32 file_content(const struct test_file *f, u64 index);
void file_truncate(struct test_file *f, u64 pages);

/* ---- calls ----------------------------------------------------------------------------------- */

enum call_kind {
	CALL_MMAP,
	CALL_MUNMAP,
	CALL_MPROTECT,
	CALL_MADVISE,
	CALL_MREMAP,
	CALL_BRK,
	CALL_MLOCK,
	CALL_MINCORE,
	CALL_MSYNC,
	CALL_FORK,
	CALL_EXIT,
	CALL_TRUNCATE,
	CALL_TOUCH,
	CALL_OUTSIDE,
	CALL_LIMIT,
	CALL_WRONG,
	CALL_KINDS
};

struct call {
	enum call_kind kind;
	unsigned cpu;
	struct proc *p;
	bool load; /* the CPU switches to the process before */

	unsigned w;
	u64 at, n; /* pages of window w */
	u64 len;   /* bytes asked for; limit */
	int prot, flags;
	unsigned obj;      /* mmap, truncate: a file */
	unsigned anon_obj; /* mmap: the object that comes with it */
	u64 offset;
	bool nowrite;
	int advice; /* madvise; mlock: which of the family; limit: which */
	u64 n2, to; /* mremap, truncate */
	enum fault_access access;
	u32 tag; /* to be written */
	struct proc *child;
	u64 fail_at; /* this allocation fails; 0: none */

	/* What came of it. */
	bool failed_alloc;
	bool early;    /* order.c: its first step has been explained */
	bool by_steps; /* group.c: the call is made of steps: steps.c */
	bool behind;   /* order.c: it may go by the limit that was there before */
	struct call_steps {
		enum {
			STEPS_BEGIN,
			STEPS_WHOLE, /* mprotect: no limit concerns it */
			STEPS_CHANGE,
			STEPS_ADD_UP, /* mprotect: is there room? */
			STEPS_LOOK,   /* mincore: at pages, */
			STEPS_ASK,    /* and those of objects */
			STEPS_PUNCH,  /* MADV_REMOVE */
			STEPS_SHRINK, /* mremap: what is too much, */
			STEPS_SHRUNK, /* and what is left */
			STEPS_POPULATE,
			STEPS_FUTURE, /* mremap: is to be populated? */
			STEPS_MOVE
		} phase;
		bool looked, hole; /* at the region [from, to), which was */
		bool locked, anon; /* so */
		bool refused;      /* and is beyond a limit */
		int access;        /* populates it so */
		struct page *page; /* first of those that it is about, and how many */
		u64 n;
		u64 done, from, to; /* of these */
		u64 ask;            /* mincore: objects are asked for these of them */
		u64 gone; /* MADV_REMOVE: the object has none any more from `from` to here */
		struct page first;         /* what the first of the region was; of what moves */
		u64 moved[MAX_MOVED / 64]; /* mremap: which of them have */
		u16 early
			[MAX_EARLY]; /* mprotect: CPU << 12 | page, where the new right was used already */
		unsigned earlies;
	} steps;
	s64 ret; /* touch: the si_code */
	u32 seen, seen_last;
	u8 core[64];
	struct aspace *space;      /* fork */
	struct aspace_hints hints; /* before */
	u64 named_before;
	u64 begin, end; /* in hand-overs, for order.c */
};

/* concurrent: only what is atomic. Within [at, at + n) of window w. */
void call_choose(struct call *c, unsigned cpu);
void call_choose_concurrent(struct call *c, unsigned cpu, struct proc *p, unsigned w, u64 at, u64 n,
			    bool touches);
void call_use_space(struct aspace *as); /* a thread of it comes to this CPU */
void call_run(struct call *c);
bool call_explain(struct call *c);
bool call_copies_early(struct call *c);
bool call_grows_early(struct call *c);
void own_page(struct page *m);
bool page_is_there(const struct page *p);
/* Has it any limit but that of the stack? */
bool is_limited(const struct proc *p);
int limit_mlock(const struct call *c);
bool protects_by_region(const struct call *c);
bool may_protect(const struct call *c, const struct page *m, u64 n);
bool call_populates(const struct call *c); /* an mmap */

/*
 * A call that is made of steps: may it be made so here? Then how one of them is explained. finely: each page that is
 * faulted in is one.
 */
bool call_has_steps(const struct call *c);
bool call_may_be_stepped(const struct call *c);
enum step { STEP_NO, STEP_MORE, STEP_LAST };
enum step call_explain_step(struct call *c, bool finely);
/* mremap moves what it moves not at once: c, an access, finds its page at the new place already. */
bool call_moves_early(struct call *mremap, const struct call *c);
/* mprotect that gives a right and takes another: c, an access, has the new one already; or must come after it. */
bool call_protects_early(struct call *mprotect, const struct call *c);
bool call_is_after(const struct call *c, const struct call *mprotect);
/* MADV_REMOVE takes pages from the object first: c may still have them where they are mapped. Exchanges the two. */
bool call_may_be_removed(const struct call *remove, const struct call *c);
void call_swap_removed(const struct call *remove);
bool call_moves_in_pieces(const struct call *c);
struct page left_behind(struct page p);                /* by MREMAP_DONTUNMAP */
struct page fresh(struct page first, u64 i, u64 step); /* page i of what begins so, untouched */
bool is_out_of_memory(const struct call *c);           /* is that what the result says? */
/* Did it put len bytes where the model does not look? (Then call_run has unmapped them.) */
bool call_went_outside(const struct call *c, u64 va, u64 len);
const char *call_text(const struct call *c); /* what was called, and the result */
extern char call_why[512];                   /* why call_explain said no */
extern bool call_concurrent;                 /* others ran beside it */

/* As chosen and without others: made, explained, or the end. */
void call_alone(struct call *c);
/* Calls at the same time, of the records that follow. */
void group_run(const struct record **next, const struct record *end);

u64 frames_named(void);

/* ---- simulated CPUs: cpus.c ------------------------------------------------------------------ */

extern unsigned mm_cpus;
void cpus_start(unsigned n);
void cpus_stop(void);
/* Runs fn[i](arg[i]) on CPU i, for n CPUs, handing over as the seed says, until all are done. */
void cpus_run(void (**fn)(void *arg), void **arg, unsigned n, u64 seed);
void cpus_settle(void);                  /* grace periods end, what waits for them is freed */
extern u64 cpus_time;                    /* counts hand-overs and points */
extern void (*cpus_speculate)(u64 seed); /* this CPU reads ahead */

/* ---- runs ------------------------------------------------------------------------------------ */

struct run {
	const char *name; /* for messages */
	unsigned cpus, contexts;
	u64 frames; /* of RAM; 0: enough */
	const struct record *record;
	u64 n;
};
void run_records(const struct run *r);
extern u64 run_position; /* record at hand */
extern u64 run_frames;   /* of RAM, from HOST_RAM_BASE on */

/* Prints what went wrong and where, and aborts. */
__noreturn __printf(3, 4) void run_fail_at(const char *file, int line, const char *fmt, ...);
#define run_fail(...) run_fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define check(cond, ...)                                                                           \
	do {                                                                                       \
		if (!(cond))                                                                       \
			run_fail(__VA_ARGS__);                                                     \
	} while (0)
extern bool run_quiet;     /* no messages: somebody only wants to know whether it fails */
extern bool run_tells;     /* each call, as it is made */
extern u64 *run_failed_at; /* where run_fail leaves the record's number, or NULL */

struct run_counts {
	u64 calls[CALL_KINDS], groups, group_calls, orders, injected, handovers, stacks_grown;
	u64 refused; /* by a limit */
	u64 moved;   /* mremap in pieces beside others */
	u64 stepped; /* calls at the same time as others that are made of steps */
};
extern struct run_counts run_counts;

/* Between futex.c and futex_pi.c: names of words, and who waits for one. */
#pragma once

#include "proc/internal.h"

struct vm_mapping;

struct futex_bucket {
	spinlock_t lock;
	struct list_node waiters; /* [lock] struct futex_waiter */
} __aligned(64);

/* Equal keys name the same word. */
struct futex_key {
	const void *owner; /* a struct aspace, or a struct vm_object */
	u64 at;            /* address, or byte of the object */
};

enum futex_kind {
	FUTEX_PLAIN,
	FUTEX_TO_PI, /* in FUTEX_WAIT_REQUEUE_PI: only moved, never woken */
	FUTEX_PI,    /* nobody: the word has a struct pi_state */
};

struct futex_waiter {
	struct list_node node;
	struct futex_bucket *bucket; /* [its bucket's lock], as are: */
	struct futex_key key;
	struct vm_mapping *pin; /* keeps the key's object; NULL for a space */
	u32 bitset;
	u8 level; /* when it came */
	u8 kind;  /* [I] enum futex_kind */
	bool woken;
	struct waitq wait; /* of FUTEX_PLAIN */
};

static inline bool futex_same_key(const struct futex_key *a, const struct futex_key *b)
{
	return a->owner == b->owner && a->at == b->at;
}

/*
 * The key of the word at addr. *pin: a reference of the mapping that the caller drops, or NULL.
 * -EINVAL: not aligned; -EFAULT: not a user address, or (shared) nothing is mapped there.
 */
int futex_get_key(uaddr_t addr, bool shared, struct futex_key *k, struct vm_mapping **pin);
void futex_put_key(struct vm_mapping *pin);

struct futex_bucket *futex_bucket_of(const struct futex_key *k);
void futex_join(struct futex_waiter *w);  /* with key, pin, kind: the bucket of its key */
bool futex_leave(struct futex_waiter *w); /* true: somebody took it out before */

void futex_pi_init(void);
/* Around the walk of the robust list of a thread that ends, or execs. */
bool futex_pi_exit_begin(void); /* for futex_pi_exit_end */
void futex_pi_exit_end(bool owns, bool ends);

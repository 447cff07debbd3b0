/*
 * Circular, doubly linked, intrusive lists. A head and a node are the same struct; an empty list
 * points to itself. No locks: the owner of the list says what protects it.
 */
#pragma once

#include "lib/types.h"

struct list_node {
	struct list_node *next;
	struct list_node *prev;
};

#define LIST_INIT(name)                                                                            \
	{                                                                                          \
		&(name), &(name)                                                                   \
	}

static inline void list_init(struct list_node *n)
{
	n->next = n;
	n->prev = n;
}

static inline bool list_empty(const struct list_node *head)
{
	return head->next == head;
}

/* Puts n behind pos. */
static inline void list_add(struct list_node *pos, struct list_node *n)
{
	struct list_node *next = pos->next;

	n->prev = pos;
	n->next = next;
	next->prev = n;
	pos->next = n;
}

/* Puts n before pos; with a head for pos, at the list's end. */
static inline void list_add_tail(struct list_node *pos, struct list_node *n)
{
	list_add(pos->prev, n);
}

/* Takes n out and leaves it with dangling links. */
static inline void list_del(struct list_node *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
}

/* Takes n out and leaves it empty, so that list_empty(n) tells that it is on no list. */
static inline void list_del_init(struct list_node *n)
{
	list_del(n);
	list_init(n);
}

#define list_entry(n, type, member) container_of(n, type, member)

#define list_first(head, type, member)                                                             \
	(list_empty(head) ? NULL : list_entry((head)->next, type, member))

#define list_for_each(pos, head, member)                                                           \
	for (pos = list_entry((head)->next, __typeof__(*pos), member); &pos->member != (head);     \
	     pos = list_entry(pos->member.next, __typeof__(*pos), member))

/* The body may take pos out. */
#define list_for_each_safe(pos, tmp, head, member)                                                 \
	for (pos = list_entry((head)->next, __typeof__(*pos), member),                             \
	    tmp = list_entry(pos->member.next, __typeof__(*pos), member);                          \
	     &pos->member != (head);                                                               \
	     pos = tmp, tmp = list_entry(tmp->member.next, __typeof__(*pos), member))

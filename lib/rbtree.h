/*
 * Intrusive red-black trees. The user walks down for lookups and insertions with his own
 * comparison, as in:
 *
 *	struct rb_node **link = &root->top, *parent = NULL;
 *	while (*link) { parent = *link; link = less(n, parent) ? &parent->left : &parent->right; }
 *	rb_insert(root, n, parent, link);
 */
#pragma once

#include "lib/types.h"

struct rb_node {
	struct rb_node *left, *right;
	u64 parent_colour; /* parent pointer, bit 0: red */
};

struct rb_root {
	struct rb_node *top;
};

void rb_insert(struct rb_root *root, struct rb_node *n, struct rb_node *parent,
	       struct rb_node **link);
void rb_erase(struct rb_root *root, struct rb_node *n);
struct rb_node *rb_first(const struct rb_root *root);
struct rb_node *rb_last(const struct rb_root *root);
struct rb_node *rb_next(const struct rb_node *n);
struct rb_node *rb_prev(const struct rb_node *n);

#define rb_entry(n, type, member) container_of(n, type, member)

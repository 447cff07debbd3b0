/*
 * Red-black trees: no red node has a red child, and every path from a node down to a missing child
 * passes the same number of black nodes; so no path is more than twice as long as another.
 *
 * Insertion and removal follow the textbook cases (Cormen, Leiserson, Rivest, Stein, "Introduction
 * to Algorithms", chapter 13), with the mirror images folded into one by addressing a node's
 * children through a direction. A missing child is black.
 */
#include "lib/rbtree.h"

#define RED 1ul

static inline struct rb_node *parent_of(const struct rb_node *n)
{
	return (struct rb_node *)(n->parent_colour & ~RED);
}

static inline bool is_red(const struct rb_node *n)
{
	return n && (n->parent_colour & RED);
}

static inline void set_parent(struct rb_node *n, struct rb_node *parent)
{
	n->parent_colour = (u64)parent | (n->parent_colour & RED);
}

static inline void set_red(struct rb_node *n, bool red)
{
	n->parent_colour = (n->parent_colour & ~RED) | (red ? RED : 0);
}

static inline struct rb_node **child(struct rb_node *n, bool right)
{
	return right ? &n->right : &n->left;
}

/* Puts `now` where `old` hangs below its parent (or at the top). `now` may be NULL. */
static void replace_child(struct rb_root *root, struct rb_node *old, struct rb_node *now)
{
	struct rb_node *parent = parent_of(old);

	if (!parent)
		root->top = now;
	else
		*child(parent, parent->right == old) = now;
	if (now)
		set_parent(now, parent);
}

/* n's child on the other side of `right` takes n's place, and n moves down to the `right` side. */
static void rotate(struct rb_root *root, struct rb_node *n, bool right)
{
	struct rb_node *up = *child(n, !right);
	struct rb_node *middle = *child(up, right);

	replace_child(root, n, up);
	*child(up, right) = n;
	set_parent(n, up);
	*child(n, !right) = middle;
	if (middle)
		set_parent(middle, n);
}

void rb_insert(struct rb_root *root, struct rb_node *n, struct rb_node *parent,
	       struct rb_node **link)
{
	n->left = NULL;
	n->right = NULL;
	n->parent_colour = (u64)parent | RED;
	*link = n;

	/* n is red; the only rule that may be broken is "no red child of a red node", at n. */
	while (is_red(parent = parent_of(n))) {
		struct rb_node *grand = parent_of(parent); /* the top is black, so it exists */
		bool right = grand->right == parent;
		struct rb_node *uncle = *child(grand, !right);

		if (is_red(uncle)) {
			set_red(parent, false);
			set_red(uncle, false);
			set_red(grand, true);
			n = grand;
			continue;
		}
		if (*child(parent, !right) == n) {
			rotate(root, parent, right);
			parent = n;
		}
		set_red(parent, false);
		set_red(grand, true);
		rotate(root, grand, !right);
		break;
	}
	set_red(root->top, false);
}

/* The paths through `n` (maybe missing) below `parent` have lost one black node. */
static void erase_fix(struct rb_root *root, struct rb_node *n, struct rb_node *parent)
{
	while (parent && !is_red(n)) {
		bool right = parent->right == n;
		struct rb_node *sibling = *child(parent, !right);

		if (is_red(sibling)) {
			set_red(sibling, false);
			set_red(parent, true);
			rotate(root, parent, right);
			sibling = *child(parent, !right);
		}
		if (!is_red(sibling->left) && !is_red(sibling->right)) {
			set_red(sibling, true);
			n = parent;
			parent = parent_of(n);
			continue;
		}
		if (!is_red(*child(sibling, !right))) {
			set_red(*child(sibling, right), false);
			set_red(sibling, true);
			rotate(root, sibling, !right);
			sibling = *child(parent, !right);
		}
		set_red(sibling, is_red(parent));
		set_red(parent, false);
		set_red(*child(sibling, !right), false);
		rotate(root, parent, right);
		return;
	}
	if (n)
		set_red(n, false);
}

void rb_erase(struct rb_root *root, struct rb_node *n)
{
	struct rb_node *below, *parent;
	bool lost_black;

	if (n->left && n->right) {
		/* The successor takes n's place and colour; its own place is what goes. */
		struct rb_node *next = n->right;

		while (next->left)
			next = next->left;
		below = next->right;
		lost_black = !is_red(next);
		parent = parent_of(next);
		if (parent == n) {
			parent = next;
		} else {
			replace_child(root, next, below);
			next->right = n->right;
			set_parent(next->right, next);
		}
		replace_child(root, n, next);
		next->left = n->left;
		set_parent(next->left, next);
		set_red(next, is_red(n));
	} else {
		below = n->left ? n->left : n->right;
		lost_black = !is_red(n);
		parent = parent_of(n);
		replace_child(root, n, below);
	}
	if (lost_black)
		erase_fix(root, below, parent);
}

static struct rb_node *outermost(struct rb_node *n, bool right)
{
	while (n && *child(n, right))
		n = *child(n, right);
	return n;
}

struct rb_node *rb_first(const struct rb_root *root)
{
	return outermost(root->top, false);
}

struct rb_node *rb_last(const struct rb_root *root)
{
	return outermost(root->top, true);
}

/* The neighbour on one side: down and then outward to the other side, or up until we come from
 * the other side. */
static struct rb_node *neighbour(const struct rb_node *node, bool right)
{
	struct rb_node *n = (struct rb_node *)node, *parent;

	if (*child(n, right))
		return outermost(*child(n, right), !right);
	while ((parent = parent_of(n)) && *child(parent, right) == n)
		n = parent;
	return parent;
}

struct rb_node *rb_next(const struct rb_node *n)
{
	return neighbour(n, true);
}

struct rb_node *rb_prev(const struct rb_node *n)
{
	return neighbour(n, false);
}

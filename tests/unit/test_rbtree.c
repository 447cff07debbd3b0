/* lib/rbtree.c: random insertions and removals beside a sorted array, every rule of the tree checked. */
#include "tests/unit/unit.h"

#include "lib/rbtree.h"

#define ITEMS 400

struct item {
	u64 key;
	bool in;
	struct rb_node node;
};

static struct item items[ITEMS];
static struct rb_root root;

static struct item *item_of(struct rb_node *n)
{
	return n ? rb_entry(n, struct item, node) : NULL;
}

static void insert(struct item *it)
{
	struct rb_node **link = &root.top, *parent = NULL;

	while (*link) {
		parent = *link;
		link = it->key < item_of(parent)->key ? &parent->left : &parent->right;
	}
	rb_insert(&root, &it->node, parent, link);
	it->in = true;
}

static bool red(const struct rb_node *n)
{
	return n && (n->parent_colour & 1);
}

/* The black height; checks order, parents and colours below n. */
static unsigned check_node(struct rb_node *n, struct rb_node *parent, unsigned depth)
{
	if (!n)
		return 0;
	assert_ptr_equal((struct rb_node *)(n->parent_colour & ~1ul), parent);
	assert_false(red(n) && red(parent));
	assert_true(depth < 2 * 10); /* 2 log2(401) */
	if (n->left)
		assert_true(item_of(n->left)->key <= item_of(n)->key);
	if (n->right)
		assert_true(item_of(n->right)->key >= item_of(n)->key);
	unsigned left = check_node(n->left, n, depth + 1);

	assert_int_equal(left, check_node(n->right, n, depth + 1));
	return left + !red(n);
}

static int by_key(const void *a, const void *b)
{
	u64 x = (*(struct item *const *)a)->key, y = (*(struct item *const *)b)->key;

	return x < y ? -1 : x > y;
}

static void check(void)
{
	struct item *sorted[ITEMS];
	size_t n = 0;
	struct rb_node *at;

	assert_false(red(root.top));
	check_node(root.top, NULL, 0);
	for (size_t i = 0; i < ITEMS; i++)
		if (items[i].in)
			sorted[n++] = &items[i];
	qsort(sorted, n, sizeof(sorted[0]), by_key);
	at = rb_first(&root);
	for (size_t i = 0; i < n; i++, at = rb_next(at))
		assert_int_equal(item_of(at)->key, sorted[i]->key);
	assert_null(at);
	at = rb_last(&root);
	for (size_t i = n; i-- > 0; at = rb_prev(at))
		assert_int_equal(item_of(at)->key, sorted[i]->key);
	assert_null(at);
}

static void test_random(void **state)
{
	unit_seed();
	for (u64 round = 0; round < unit_rounds(20000); round++) {
		struct item *it = &items[unit_random(ITEMS)];

		/* Phases of growth and of shrinking, with equal keys now and then. */
		if (it->in && unit_random(round / 1000 % 2 ? 2 : 6) == 0) {
			rb_erase(&root, &it->node);
			it->in = false;
		} else if (!it->in) {
			it->key = unit_random(ITEMS / 2);
			insert(it);
		}
		if (round % 7 == 0)
			check();
	}
	for (size_t i = 0; i < ITEMS; i++)
		if (items[i].in) {
			rb_erase(&root, &items[i].node);
			items[i].in = false;
			check();
		}
	assert_null(root.top);
	assert_null(rb_first(&root));
	assert_null(rb_last(&root));
}

static void test_ascending(void **state)
{
	for (size_t i = 0; i < ITEMS; i++) {
		items[i].key = i;
		insert(&items[i]);
		check();
	}
	while (root.top) {
		struct item *it = item_of(rb_first(&root));

		rb_erase(&root, &it->node);
		it->in = false;
		check();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_ascending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

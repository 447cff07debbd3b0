/* lib/list.h: random additions and removals beside an array. */
#include "tests/unit/unit.h"

#include "lib/list.h"

#define ITEMS 64

struct item {
	unsigned value;
	bool listed;
	struct list_node node;
};

static struct item items[ITEMS];

static void check(struct list_node *head, struct item **model, size_t n)
{
	struct item *it;
	struct list_node *back = head->prev;
	size_t i = 0;

	list_for_each(it, head, node) {
		assert_true(i < n);
		assert_ptr_equal(it, model[i]);
		i++;
	}
	assert_int_equal(i, n);
	for (; i-- > 0; back = back->prev)
		assert_ptr_equal(back, &model[i]->node);
	assert_ptr_equal(back, head);
	assert_int_equal(list_empty(head), n == 0);
	assert_ptr_equal(list_first(head, struct item, node), n ? model[0] : NULL);
}

static size_t model_find(struct item **model, size_t n, struct item *it)
{
	for (size_t i = 0; i < n; i++)
		if (model[i] == it)
			return i;
	fail();
	return 0;
}

static void model_insert(struct item **model, size_t *n, size_t at, struct item *it)
{
	for (size_t i = (*n)++; i > at; i--)
		model[i] = model[i - 1];
	model[at] = it;
}

static void model_remove(struct item **model, size_t *n, size_t at)
{
	for ((*n)--; at < *n; at++)
		model[at] = model[at + 1];
}

static void test_random(void **state)
{
	struct list_node head = LIST_INIT(head);
	struct item *model[ITEMS];
	size_t n = 0;

	unit_seed();
	for (u64 round = unit_rounds(20000); round-- > 0;) {
		struct item *it = &items[unit_random(ITEMS)];
		size_t at;

		if (it->listed) {
			at = model_find(model, n, it);
			if (unit_random(2)) {
				list_del_init(&it->node);
				assert_true(list_empty(&it->node));
			} else {
				list_del(&it->node);
			}
			model_remove(model, &n, at);
			it->listed = false;
		} else {
			at = unit_random(n + 1);
			if (unit_random(2))
				list_add(at == 0 ? &head : &model[at - 1]->node, &it->node);
			else
				list_add_tail(at == n ? &head : &model[at]->node, &it->node);
			model_insert(model, &n, at, it);
			it->listed = true;
		}
		check(&head, model, n);
	}
}

static void test_safe_walk(void **state)
{
	struct list_node head;
	struct item *it, *tmp;
	unsigned seen = 0;

	list_init(&head);
	for (unsigned i = 0; i < ITEMS; i++) {
		items[i].value = i;
		list_add_tail(&head, &items[i].node);
	}
	list_for_each_safe(it, tmp, &head, node) {
		assert_int_equal(it->value, seen);
		seen++;
		if (it->value % 3 == 0) {
			list_del(&it->node);
			it->node.next = it->node.prev = NULL;
		}
	}
	assert_int_equal(seen, ITEMS);
	list_for_each(it, &head, node)
		assert_int_not_equal(it->value % 3, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_safe_walk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* debug/klog.c: whole lines, the ring's wrap, readers, sinks, nesting, threads, panics. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <string.h>

/* The library has a klog of its own for the other tests. */
#define klog klog_tested
#include "debug/klog.c"

static char out[1 << 20];
static size_t out_len;

static void out_write(const char *s, size_t n)
{
	assert_true(out_len + n < sizeof(out));
	assert_true(n > 0 && s[n - 1] == '\n');
	assert_null(memchr(s, '\n', n - 1));
	memcpy(out + out_len, s, n);
	out_len += n;
	out[out_len] = 0;
}

static int setup(void **state)
{
	memset(ring, 0, sizeof(ring));
	atomic_store(&ring_head, 0ul);
	sinks = NULL;
	panicking = false;
	klog_clock = NULL;
	out_len = 0;
	out[0] = 0;
	return 0;
}

static u64 fake_clock(void)
{
	return 12345678900ul;
}

static void test_format(void **state)
{
	struct klog_sink sink = { .write = out_write, .max_level = KLOG_INFO };

	klog(KLOG_INFO, "before %d\n", 1);
	klog_add_sink(&sink);
	klog_clock = fake_clock;
	klog(KLOG_DEBUG, "not for the sink\n");
	klog(KLOG_ERR, "two\nlines\n");
	klog(KLOG_INFO, "no newline");
	klog(KLOG_INFO, "\n");
	assert_string_equal(out,
			    "[    0.000000] before 1\n[   12.345678] two\n[   12.345678] lines\n"
			    "[   12.345678] no newline\n[   12.345678] \n");
}

static void test_long_line(void **state)
{
	struct klog_sink sink = { .write = out_write, .max_level = KLOG_INFO };
	char text[1000];

	klog_add_sink(&sink);
	for (size_t n = 0; n < sizeof(text); n += 7) {
		memset(text, 'a', n);
		text[n] = 0;
		out_len = 0;
		klog(KLOG_INFO, "%s\n", text);
		if (n < LINE_TEXT)
			assert_int_equal(out_len, 15 + n + 1);
		else
			assert_int_equal(out_len, 15 + LINE_TEXT + 1);
	}
}

/* Reads everything and checks that the line numbers follow each other up to the last. */
static void check_sequence(size_t chunk, unsigned last)
{
	char *buf = malloc(chunk);
	u64 position = 0;
	unsigned expect = 0, lines = 0;
	size_t n;

	while ((n = klog_read(buf, chunk, &position)) > 0) {
		for (char *s = buf; s < buf + n;) {
			char *end = memchr(s, '\n', (size_t)(buf + n - s));
			unsigned number, length;

			assert_non_null(end);
			*end = 0;
			assert_int_equal(sscanf(s, "[%*f] line %u %u", &number, &length), 2);
			if (lines > 0)
				assert_int_equal(number, expect);
			expect = number + 1;
			lines++;
			assert_int_equal(strspn(strrchr(s, ' ') + 1, "x"), length);
			s = end + 1;
		}
	}
	assert_int_equal(expect, last + 1);
	assert_true(lines > 60);
	free(buf);
}

static void test_wrap(void **state)
{
	unsigned number = 0;

	unit_seed();
	for (u64 round = 0; round < unit_rounds(200); round++) {
		u64 batch = 1 + unit_random(400);

		for (u64 i = 0; i < batch || number < 600; i++) {
			char x[301];
			unsigned length = (unsigned)unit_random(300);

			memset(x, 'x', length);
			x[length] = 0;
			klog(KLOG_INFO, "line %u %u %s\n", number++, length, x);
		}
		check_sequence(450 + unit_random(4000), number - 1);
	}
}

static void test_tail(void **state)
{
	char buf[200];
	size_t n;

	assert_int_equal(klog_read(buf, sizeof(buf), NULL), 0);
	for (int i = 0; i < 1000; i++)
		klog(KLOG_INFO, "number %03d\n", i);
	n = klog_read(buf, 60, NULL);
	assert_int_equal(n, 2 * 26);
	assert_memory_equal(buf, "[    0.000000] number 998\n[    0.000000] number 999\n", n);
	assert_int_equal(klog_read(buf, 10, NULL), 0);
}

/* A sink that logs, as an NMI or a fault in a driver would: comes later, does not hang. */
static void nesting_write(const char *s, size_t n)
{
	static int depth;

	out_write(s, n);
	if (depth++ < 3)
		klog(KLOG_INFO, "nested %d\n", depth);
}

static void test_nesting(void **state)
{
	struct klog_sink sink = { .write = nesting_write, .max_level = KLOG_INFO };

	klog_add_sink(&sink);
	klog(KLOG_INFO, "outer\n");
	assert_string_equal(out, "[    0.000000] outer\n[    0.000000] nested 1\n"
				 "[    0.000000] nested 2\n[    0.000000] nested 3\n");
}

static void test_panic(void **state)
{
	struct klog_sink sink = { .write = out_write, .panic_only = true };

	klog_add_sink(&sink);
	klog(KLOG_ERR, "in peace\n");
	assert_int_equal(out_len, 0);
	/* The panic finds the output taken and a slot drawn but never filled. */
	atomic_store(&out_busy, 1u);
	klog_panic_begin();
	atomic_fetch_add(&ring_head, 1ul);
	klog(KLOG_DEBUG, "panic: at any level\n");
	assert_string_equal(out, "[    0.000000] panic: at any level\n");
	atomic_store(&out_busy, 0u);
}

#define THREADS 4
#define LINES   100

static void *writer(void *arg)
{
	for (unsigned i = 0; i < LINES; i++)
		klog(KLOG_INFO, "thread %u line %u\n", (unsigned)(uintptr_t)arg, i);
	return NULL;
}

static void test_threads(void **state)
{
	for (u64 round = 0; round < unit_rounds(50); round++) {
		struct klog_sink sink = { .write = out_write, .max_level = KLOG_INFO };
		unsigned next[THREADS] = { 0 };
		pthread_t thread[THREADS];

		setup(state);
		klog_add_sink(&sink);
		for (uintptr_t i = 0; i < THREADS; i++)
			pthread_create(&thread[i], NULL, writer, (void *)i);
		for (int i = 0; i < THREADS; i++)
			pthread_join(thread[i], NULL);
		for (char *s = strtok(out, "\n"); s; s = strtok(NULL, "\n")) {
			unsigned t, line;

			assert_int_equal(sscanf(s, "[%*f] thread %u line %u", &t, &line), 2);
			assert_true(t < THREADS);
			assert_int_equal(line, next[t]++);
		}
		for (int i = 0; i < THREADS; i++)
			assert_int_equal(next[i], LINES);
	}
}

static bool writer_done;

/* Lines of one letter each, so that a torn one shows. */
static void *fast_writer(void *arg)
{
	u64 random = 1;

	for (u64 i = 0; i < unit_rounds(100000); i++) {
		char text[250];
		size_t n = 1 + unit_next(&random) % (sizeof(text) - 1);

		memset(text, 'a' + (int)(i % 26), n);
		klog(KLOG_INFO, "%.*s\n", (int)n, text);
	}
	__atomic_store_n(&writer_done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* One writer overwrites the ring while we read it: lines get lost, but none is a mixture. */
static void test_concurrent_reader(void **state)
{
	u64 position = 0;
	pthread_t thread;
	char buf[8192];

	writer_done = false;
	pthread_create(&thread, NULL, fast_writer, NULL);
	while (!__atomic_load_n(&writer_done, __ATOMIC_ACQUIRE)) {
		size_t n = klog_read(buf, sizeof(buf), &position);

		for (char *s = buf; s < buf + n;) {
			char *end = memchr(s, '\n', (size_t)(buf + n - s));
			char *text = strchr(s, ']') + 2;

			assert_non_null(end);
			for (char *c = text; c < end; c++)
				assert_int_equal(*c, *text);
			s = end + 1;
		}
		if (unit_random(4) == 0)
			position = 0;
	}
	pthread_join(thread, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_format, setup),
		cmocka_unit_test_setup(test_long_line, setup),
		cmocka_unit_test_setup(test_wrap, setup),
		cmocka_unit_test_setup(test_tail, setup),
		cmocka_unit_test_setup(test_nesting, setup),
		cmocka_unit_test_setup(test_panic, setup),
		cmocka_unit_test_setup(test_threads, setup),
		cmocka_unit_test_setup(test_concurrent_reader, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

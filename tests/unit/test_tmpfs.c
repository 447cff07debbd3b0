/*
 * tmpfs and its page cache: random writes, reads, truncations, holes and mappings of a file beside a
 * flat model; limits; faults in the program's memory; every page given back.
 */
#include "tests/unit/fs_host.h"

#define MODEL_SIZE (600 * 1024)

static u8 model[MODEL_SIZE], buffer[MODEL_SIZE];

static void random_fill(u8 *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (u8)unit_random(256);
}

static void check_all(int fd, u64 size)
{
	memset(buffer, 0xee, sizeof(buffer));
	assert_int_equal(t_read_at(fd, buffer, sizeof(buffer), 0), size);
	if (memcmp(buffer, model, size))
		fail_msg("the file is not what was written");
}

/* What a mapping sees: the page, zeros beyond the end. */
static void check_page(struct file *f, u64 index, u64 size)
{
	struct vm_object *obj = file_vm_object(f);
	struct frame *page;
	int err = obj->ops->get_page(obj, index, &page);
	u8 want[PAGE_SIZE] = { 0 };
	u64 start = index * PAGE_SIZE;

	if (start >= size) {
		assert_int_equal(err, -ENXIO);
		return;
	}
	assert_int_equal(err, 0);
	memcpy(want, model + start, MIN(PAGE_SIZE, size - start));
	assert_memory_equal(frame_virt(page), want, PAGE_SIZE);
	frame_put(page);
}

static void test_random(void **state)
{
	struct fs_books before = fs_books();
	int fd = t_open("/f", O_CREAT | O_RDWR);
	struct file *f = fd_get(fd);
	u64 size = 0;

	unit_seed();
	memset(model, 0, sizeof(model));
	for (u64 round = 0; round < unit_rounds(4000); round++) {
		u64 at = unit_random(MODEL_SIZE - 20000), n = unit_random(round & 1 ? 20000 : 100);

		switch (unit_random(8)) {
		case 0: /* shorter or longer */
			at = unit_random(MODEL_SIZE);
			assert_int_equal(inode_set_size(f->inode, at), 0);
			if (at < size)
				memset(model + at, 0, size - at);
			size = at;
			break;
		case 1: /* a hole */
			if (!n)
				break;
			mutex_lock(&f->inode->lock);
			assert_int_equal(f->inode->ops->allocate(f->inode,
								 LINUX_FALLOC_PUNCH_HOLE |
									 LINUX_FALLOC_KEEP_SIZE,
								 at, n),
					 0);
			mutex_unlock(&f->inode->lock);
			memset(model + at, 0, n);
			break;
		case 2: check_page(f, unit_random(MODEL_SIZE / PAGE_SIZE), size); break;
		case 3: {
			u64 want = at >= size ? 0 : MIN(n, size - at);

			assert_int_equal(t_read_at(fd, buffer, n, at), want);
			assert_memory_equal(buffer, model + at, want);
			break;
		}
		default:
			random_fill(buffer, n);
			assert_int_equal(t_write_at(fd, buffer, n, at), n);
			memcpy(model + at, buffer, n);
			if (n)
				size = MAX(size, at + n);
		}
		assert_int_equal(f->inode->size, size);
		if (round % 100 == 0)
			check_all(fd, size);
	}
	check_all(fd, size);
	assert_true(f->inode->pages.count <= MODEL_SIZE / PAGE_SIZE);
	assert_int_equal(atomic_load(&f->inode->sb->pages), f->inode->pages.count);
	file_put(f);
	fd_close(fd);
	assert_int_equal(t_unlink("/f"), 0);
	assert_int_equal(fs_books().frames, before.frames);
	assert_int_equal(fs_books().objects, before.objects);
}

/* Far apart: the tree is high, the file has three pages; SEEK_DATA and SEEK_HOLE find them. */
static void test_sparse(void **state)
{
	struct fs_books before = fs_books();
	int fd = t_open("/s", O_CREAT | O_RDWR);
	struct file *f = fd_get(fd);
	const u64 far = 1ul << 50;
	struct linux_stat st;
	char c;

	assert_int_equal(t_write_at(fd, "a", 1, 0), 1);
	assert_int_equal(t_write_at(fd, "b", 1, 5 * MiB), 1);
	assert_int_equal(t_write_at(fd, "c", 1, far), 1);
	assert_int_equal(t_write_at(fd, "d", 1, (u64)INT64_MAX), -EFBIG);
	file_stat(f, &st);
	assert_int_equal(st.size, far + 1);
	assert_int_equal(st.blocks, 3 * 8);
	assert_int_equal(t_read_at(fd, &c, 1, 3 * GiB), 1);
	assert_int_equal(c, 0);
	assert_int_equal(t_read_at(fd, &c, 1, far), 1);
	assert_int_equal(c, 'c');
	assert_int_equal(f->ops->seek(f, 1, LINUX_SEEK_DATA), 1);
	assert_int_equal(f->ops->seek(f, 4096, LINUX_SEEK_DATA), 5 * MiB);
	assert_int_equal(f->ops->seek(f, 5 * MiB + 4096, LINUX_SEEK_DATA), far);
	assert_int_equal(f->ops->seek(f, 0, LINUX_SEEK_HOLE), 4096);
	assert_int_equal(f->ops->seek(f, far, LINUX_SEEK_HOLE), far + 1);
	assert_int_equal(f->ops->seek(f, far + 1, LINUX_SEEK_DATA), -ENXIO);
	assert_int_equal(f->ops->seek(f, -1, SEEK_SET), -EINVAL);
	assert_int_equal(f->ops->seek(f, -1, SEEK_END), far);
	assert_int_equal(inode_set_size(f->inode, 1), 0);
	assert_int_equal(f->inode->pages.count, 1);
	file_put(f);
	fd_close(fd);
	assert_int_equal(t_unlink("/s"), 0);
	assert_int_equal(fs_books().objects, before.objects);
}

static void test_append_and_faults(void **state)
{
	int fd = t_open("/f", O_CREAT | O_RDWR), app = t_open("/f", O_WRONLY | O_APPEND);
	char *page = malloc(2 * PAGE_SIZE + 64);

	memset(page, 'p', 2 * PAGE_SIZE);
	assert_int_equal(t_write_at(fd, "abc", 3, 0), 3);
	assert_int_equal(t_write_at(app, "def", 3, 0), 3);
	t_expect("/f", "abcdef");

	/* The program's memory ends in the middle. */
	host_user_limit = (uaddr_t)page + 100;
	assert_int_equal(t_write_at(fd, page, 200, 6), 100);
	assert_int_equal(t_write_at(fd, page + 100, 100, 106), -EFAULT);
	assert_int_equal(t_read_at(fd, page, 106, 0), 100);
	assert_int_equal(t_read_at(fd, page + 100, 10, 0), -EFAULT);
	host_user_limit = USER_TOP;
	struct file *f = fd_get(fd);

	assert_int_equal(f->inode->size, 106);
	file_put(f);
	fd_close(fd);
	fd_close(app);
	free(page);
}

static void test_limits(void **state)
{
	struct dentry *d;
	struct super *sb;
	char *data = calloc(1, 64 * KiB);
	int fd;

	assert_int_equal(tmpfs_create("tmpfs", "small", 0, 4, &sb), 0);
	assert_int_equal(t_mkdir("/m"), 0);
	assert_int_equal(path_lookup(AT_FDCWD, "/m", 0, &d), 0);
	assert_int_equal(super_attach(sb, d), 0);
	dentry_put(d);
	fd = t_open("/m/f", O_CREAT | O_RDWR);
	assert_int_equal(t_write_at(fd, data, 64 * KiB, 0), 4 * PAGE_SIZE);
	assert_int_equal(t_write_at(fd, data, 10, 4 * PAGE_SIZE), -ENOSPC);
	assert_int_equal(t_write_at(fd, data, 10, 0), 10);
	struct file *f = fd_get(fd);

	assert_int_equal(inode_set_size(f->inode, PAGE_SIZE), 0);
	assert_int_equal(t_write_at(fd, data, 10, 3 * PAGE_SIZE), 10);
	file_put(f);
	fd_close(fd);
	assert_int_equal(path_lookup(AT_FDCWD, "/m", 0, &d), 0);
	assert_int_equal(vfs_umount(d, false), 0);
	dentry_put(d);
	free(data);
}

/* Memory runs out: a short write or an error, and the file is what it says it is. */
static void test_out_of_memory(void **state)
{
	u8 *data = malloc(100 * KiB), *back = malloc(100 * KiB);
	struct fs_books before = fs_books();

	random_fill(data, 100 * KiB);
	for (u64 k = 1; k < 40; k++) {
		int fd = t_open("/f", O_CREAT | O_RDWR);
		ssize_t n;

		alloc_fail_at = k;
		n = t_write_at(fd, data, 100 * KiB, 1000);
		alloc_fail_at = 0;
		assert_true(n > 0 || n == -ENOSPC);
		if (n > 0) {
			assert_int_equal(t_read_at(fd, back, 100 * KiB, 1000), n);
			assert_memory_equal(back, data, n);
		}
		fd_close(fd);
		assert_int_equal(t_unlink("/f"), 0);
		assert_int_equal(fs_books().frames, before.frames);
		assert_int_equal(fs_books().objects, before.objects);
	}
	free(data);
	free(back);
}

/* The tree alone, with random page numbers of all sizes, beside a list. */
static void test_page_cache(void **state)
{
	enum { MAX = 400 };
	struct page_cache c;
	struct fs_books before = fs_books();
	u64 have[MAX], nr = 0;

	unit_seed();
	page_cache_init(&c);
	for (u64 round = 0; round < unit_rounds(20000); round++) {
		u64 index = unit_next(&unit_random_state) >> (12 + unit_random(52)), i, found;
		struct frame *f;

		if (unit_random(3) == 0 && nr) { /* a range goes */
			u64 last = index + (unit_random(2) ? unit_random(1ul << 40) : 0), gone = 0;

			for (i = 0; i < nr;) {
				if (have[i] >= index && have[i] <= last) {
					have[i] = have[--nr];
					gone++;
				} else {
					i++;
				}
			}
			assert_int_equal(page_cache_remove(&c, index, last), gone);
		} else if (nr < MAX) {
			for (i = 0; i < nr && have[i] != index; i++)
				;
			f = frame_alloc(FRAME_FILE, 0);
			assert_int_equal(page_cache_insert(&c, index, f), i < nr ? -EEXIST : 0);
			frame_put(f);
			if (i == nr)
				have[nr++] = index;
		}
		assert_int_equal(c.count, nr);
		u64 want = UINT64_MAX;

		for (i = 0; i < nr; i++)
			want = have[i] >= index ? MIN(want, have[i]) : want;
		assert_int_equal(page_cache_next(&c, index, &found), want != UINT64_MAX);
		assert_int_equal(found, want);
		if (nr) {
			i = unit_random(nr);
			f = page_cache_get(&c, have[i]);
			assert_non_null(f);
			assert_int_equal(f->owner, have[i]);
			frame_put(f);
		}
	}
	page_cache_remove(&c, 0, PAGE_INDEX_MAX);
	assert_int_equal(c.count, 0);
	assert_null(c.root);
	assert_int_equal(fs_books().frames, before.frames);
	assert_int_equal(fs_books().objects, before.objects);
}

static void test_tmpfile(void **state)
{
	struct linux_stat st;
	char buf[64];
	int fd;

	assert_int_equal(t_open("/", O_TMPFILE | O_RDONLY), -EINVAL);
	fd = t_open("/", O_TMPFILE | O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(t_write_at(fd, "secret", 6, 0), 6);
	struct file *f = fd_get(fd);

	file_stat(f, &st);
	assert_int_equal(st.nlink, 0);
	assert_int_equal(vfs_linkat(f->dentry, AT_FDCWD, "/now-named"), 0);
	file_stat(f, &st);
	assert_int_equal(st.nlink, 1);
	file_put(f);
	fd_close(fd);
	t_expect("/now-named", "secret");

	assert_int_equal(tmpfs_anonymous("/memfd:x", O_RDWR, 0777, 0, &f), 0);
	assert_true(file_path(f, buf, sizeof(buf)) > 0);
	assert_string_equal(buf, "/memfd:x");
	file_put(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_random, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_sparse, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_append_and_faults, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_limits, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_out_of_memory, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_page_cache, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_tmpfile, fs_setup, fs_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

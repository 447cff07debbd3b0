/*
 * The initial RAM file system: archives built here entry by entry, cut at every byte, damaged at
 * random, compressed by zlib; what must be there afterwards, and that nothing crashes.
 */
#include "tests/unit/fs_host.h"

#include <zlib.h>

static u8 *archive;
static size_t length;

static void put_bytes(const void *p, size_t n)
{
	archive = realloc(archive, length + n + 4);
	memcpy(archive + length, p, n);
	length += n;
}

static void pad(void)
{
	while (length % 4)
		put_bytes("", 1);
}

static void entry(const char *name, u32 ino, u32 mode, u32 nlink, const void *data, u32 size,
		  u32 rmajor, u32 rminor)
{
	char header[111];

	pad();
	snprintf(header, sizeof(header),
		 "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", ino, mode, 1, 2,
		 nlink, 1000000000, size, 3, 1, rmajor, rminor, (u32)strlen(name) + 1, 0);
	put_bytes(header, 110);
	put_bytes(name, strlen(name) + 1);
	pad();
	put_bytes(data, size);
	pad();
}

static void begin(void)
{
	free(archive);
	archive = NULL;
	length = 0;
}

static void trailer(void)
{
	entry("TRAILER!!!", 0, 0, 1, "", 0, 0, 0);
}

static char text[10000];

static void sample(void)
{
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	begin();
	entry(".", 1, S_IFDIR | 0700, 2, "", 0, 0, 0);
	entry("bin", 2, S_IFDIR | 0755, 2, "", 0, 0, 0);
	entry("bin/big", 3, S_IFREG | 0755, 1, text, sizeof(text), 0, 0);
	entry("bin/one", 4, S_IFREG | 0644, 3, "", 0, 0, 0);
	entry("bin/two", 4, S_IFREG | 0644, 3, "", 0, 0, 0);
	entry("bin/three", 4, S_IFREG | 04711, 3, "shared", 6, 0, 0);
	entry("sh", 5, S_IFLNK | 0777, 1, "bin/big", 7, 0, 0);
	entry("made/on/the/way", 6, S_IFREG | 0600, 1, "x", 1, 0, 0);
	entry("null", 7, S_IFCHR | 0666, 1, "", 0, 1, 3);
	entry("fifo", 8, S_IFIFO | 0600, 1, "", 0, 0, 0);
	trailer();
}

static void check_sample(void)
{
	char back[sizeof(text) + 1];
	struct linux_stat st;
	int fd = t_open("/sh", O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(t_read_at(fd, back, sizeof(back), 0), sizeof(text));
	assert_memory_equal(back, text, sizeof(text));
	fd_close(fd);
	t_expect("/bin/one", "shared");
	t_expect("/bin/two", "shared");
	t_expect("/made/on/the/way", "x");
	assert_int_equal(t_stat("/bin/three", true, &st), 0);
	assert_int_equal(st.nlink, 3);
	assert_int_equal(st.mode, S_IFREG | 04711);
	assert_int_equal(st.uid, 1);
	assert_int_equal(st.gid, 2);
	assert_int_equal(st.mtime.sec, 1000000000);
	assert_int_equal(t_stat("/null", true, &st), 0);
	assert_int_equal(st.mode, S_IFCHR | 0666);
	assert_int_equal(st.rdev, dev_make(1, 3));
	assert_int_equal(t_stat("/fifo", true, &st), 0);
	assert_int_equal(st.mode, S_IFIFO | 0600);
	assert_int_equal(t_stat("/sh", false, &st), 0);
	assert_int_equal(st.mode, S_IFLNK | 0777);
	assert_int_equal(t_stat("/", true, &st), 0);
	assert_int_equal(st.mode, S_IFDIR | 0700);
}

static void remove_sample(void)
{
	static const char *const name[] = { "/bin/big",   "/bin/one", "/bin/two",
					    "/bin/three", "/sh",      "/made/on/the/way",
					    "/null",      "/fifo" };
	static const char *const dir[] = { "/made/on/the", "/made/on", "/made", "/bin" };

	for (unsigned i = 0; i < ARRAY_SIZE(name); i++)
		t_unlink(name[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(dir); i++)
		t_rmdir(dir[i]);
}

static void test_unpack(void **state)
{
	fs_thread.fs->umask = 0; /* the boot has none */
	sample();
	assert_int_equal(initrd_unpack(archive, length), 0);
	check_sample();
	/* Once more over itself, then two archives and padding behind each other. */
	assert_int_equal(initrd_unpack(archive, length), 0);
	check_sample();
	remove_sample();
	put_bytes("\0\0\0\0\0\0\0\0", 8);
	entry("second", 9, S_IFREG | 0644, 1, "2", 1, 0, 0);
	trailer();
	put_bytes("\0\0\0\0", 4);
	assert_int_equal(initrd_unpack(archive, length), 0);
	check_sample();
	t_expect("/second", "2");
}

static void test_gzip(void **state)
{
	uLongf n;
	z_stream z = { 0 };
	u8 *packed;

	fs_thread.fs->umask = 0;
	sample();
	n = compressBound(length) + 64;
	packed = calloc(1, n);
	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = archive;
	z.avail_in = (uInt)length;
	z.next_out = packed;
	z.avail_out = (uInt)n;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	size_t packed_len = z.total_out;

	deflateEnd(&z);
	assert_int_equal(initrd_unpack(packed, packed_len), 0);
	check_sample();
	remove_sample();

	/* A plain archive first, then the compressed one. */
	begin();
	entry("first", 1, S_IFREG | 0644, 1, "1", 1, 0, 0);
	trailer();
	put_bytes(packed, packed_len);
	assert_int_equal(initrd_unpack(archive, length), 0);
	check_sample();
	t_expect("/first", "1");
	remove_sample();

	packed[packed_len / 2] ^= 0x40;
	assert_int_equal(initrd_unpack(packed, packed_len), -EINVAL);
	assert_int_equal(initrd_unpack(packed, packed_len - 9), -EINVAL);
	free(packed);
}

static void test_cut(void **state)
{
	struct fs_books before = fs_books();
	size_t full;
	u8 *copy;

	fs_thread.fs->umask = 0;
	sample();
	full = length;
	for (size_t n = 0; n < full; n += n < 700 || n > 10500 ? 1 : 97) {
		int err;

		copy = malloc(n ? n : 1); /* exactly as long: ASan sees a byte too far */
		memcpy(copy, archive, n);
		err = initrd_unpack(copy, n);
		assert_true(err == 0 || err == -EINVAL);
		free(copy);
		remove_sample();
		assert_int_equal(fs_books().frames, before.frames);
	}
	assert_int_equal(fs_books().objects, before.objects);
}

static void test_damage(void **state)
{
	u8 *copy;

	unit_seed();
	sample();
	copy = malloc(length);
	for (u64 round = 0; round < unit_rounds(3000); round++) {
		memcpy(copy, archive, length);
		for (u64 i = unit_random(4) + 1; i; i--) {
			/* Mostly in headers: that is where the numbers are. */
			size_t at = unit_random(3) ? unit_random(600) : unit_random(length);

			copy[at] = unit_random(2) ? "0123456789ABCDEF/."[unit_random(18)] :
						    (u8)unit_random(256);
		}
		initrd_unpack(copy, length);
	}
	free(copy);
}

static void test_refused(void **state)
{
	assert_int_equal(initrd_unpack("", 0), -EINVAL);
	assert_int_equal(initrd_unpack("hello, world, this is no archive", 32), -EINVAL);
	begin();
	entry("f", 1, S_IFREG | 0644, 1, "", 0, 0, 0);
	memcpy(archive, "070707", 6);
	assert_int_equal(initrd_unpack(archive, length), -EINVAL);
	memcpy(archive, "070701", 6);
	assert_int_equal(initrd_unpack(archive, length), 0); /* without a trailer */
	free(archive);
	archive = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_unpack, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_gzip, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_cut, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_damage, fs_setup, fs_teardown),
		cmocka_unit_test_setup_teardown(test_refused, fs_setup, fs_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

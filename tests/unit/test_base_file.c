/*
 * test_base_file.c — whole reads and writes, replaced files, folders, hex, UTF-8.
 */
#include "tests/unit/support_base.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[PATH_MAX / 2];

static int setup(void **state)
{
	(void)state;
	base_dir_make(dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	base_dir_remove(dir);
	return 0;
}

static const char *in(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void test_pread_pwrite(void **state)
{
	char buf[10] = "", big[100000];
	int fd = open(in("f"), O_RDWR | O_CREAT, 0600), fds[2];

	(void)state;
	assert_true(fd >= 0);
	memset(big, 'x', sizeof(big));
	assert_int_equal(file_pwrite_full(fd, big, sizeof(big), 5), 0);
	assert_int_equal(file_pwrite_full(fd, "hello", 5, 0), 0);
	assert_int_equal(file_pread_full(fd, buf, 6, 0), 0);
	assert_memory_equal(buf, "hellox", 6);
	assert_int_equal(file_pread_full(fd, buf, 5, 100000), 0);
	assert_int_equal(file_pread_full(fd, buf, 6, 100000), -ENODATA);
	assert_int_equal(file_pread_full(fd, buf, 1, 200000), -ENODATA);
	assert_int_equal(file_pread_full(fd, buf, 0, 200000), 0);
	close(fd);
	assert_int_equal(file_pread_full(fd, buf, 1, 0), -EBADF);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(file_pwrite_full(fds[1], "x", 1, 0), -ESPIPE);
	close(fds[0]);
	close(fds[1]);
	fd = open("/dev/full", O_WRONLY);
	assert_int_equal(file_pwrite_full(fd, "x", 1, 0), -ENOSPC);
	close(fd);
}

static void test_read_all(void **state)
{
	char *text, body[9000];
	size_t len;

	(void)state;
	for (size_t n = 0; n < sizeof(body); n = n * 2 + 1) {
		memset(body, 'a', n);
		assert_int_equal(file_replace(in("all"), body, n, 0600), 0);
		assert_int_equal(file_read_all(in("all"), n, &text, &len), 0);
		assert_int_equal(len, n);
		assert_int_equal(text[n], '\0');
		assert_memory_equal(text, body, n);
		free(text);
		if (n) {
			assert_int_equal(file_read_all(in("all"), n - 1, &text, &len), -EFBIG);
			assert_null(text);
		}
	}
	assert_int_equal(file_read_all("/proc/self/status", 65536, &text, NULL), 0);
	assert_true(strlen(text) > 100); /* st_size says 0 */
	free(text);
	assert_int_equal(file_read_all(in("none"), 10, &text, &len), -ENOENT);
	assert_int_equal(file_read_all(dir, 10, &text, &len), -EISDIR);
	assert_int_equal(file_read_all("/dev/zero", 100000, &text, &len), -EFBIG);
}

/* Readers see the old or the new file, whole; the inode changes; failures leave the old one. */
static void test_replace(void **state)
{
	struct stat before, after;
	char *text, old[8] = "", command[PATH_MAX];
	int fd;

	(void)state;
	assert_int_equal(file_replace(in("r"), "first", 5, 0640), 0);
	assert_int_equal(stat(in("r"), &before), 0);
	assert_int_equal(before.st_mode & 07777, 0640);
	fd = open(in("r"), O_RDONLY);
	assert_int_equal(file_replace(in("r"), "second", 6, 0400), 0);
	assert_int_equal(stat(in("r"), &after), 0);
	assert_int_equal(after.st_mode & 07777, 0400);
	assert_true(before.st_ino != after.st_ino);
	assert_int_equal(read(fd, old, sizeof(old)), 5);
	assert_string_equal(old, "first");
	close(fd);
	assert_int_equal(mkdir(in("folder"), 0700), 0);
	assert_int_equal(file_replace(in("folder"), "x", 1, 0600), -EISDIR);
	assert_int_equal(file_replace(in("none/r"), "x", 1, 0600), -ENOENT);
	assert_int_equal(file_read_all(in("r"), 100, &text, NULL), 0);
	assert_string_equal(text, "second");
	free(text);
	/* No temporary file is left by success or failure. */
	snprintf(command, sizeof(command),
	         "test -z \"$(ls -A '%s' | grep -E '\\.[A-Za-z0-9]{6}$')\"", dir);
	assert_int_equal(system(command), 0);
	/* A name without a folder works, too. */
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(file_replace("plain", "x", 1, 0600), 0);
	assert_int_equal(access(in("plain"), R_OK), 0);
	assert_int_equal(chdir("/"), 0);
}

static void test_dirs(void **state)
{
	struct stat st;
	char deep[PATH_MAX];

	(void)state;
	umask(077);
	assert_int_equal(dir_ensure(in("d"), 02750, (uid_t)-1, (gid_t)-1), 0);
	assert_int_equal(stat(in("d"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 02750);
	assert_int_equal(dir_ensure(in("d"), 0700, getuid(), getgid()), 0);
	assert_int_equal(stat(in("d"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	if (geteuid() == 0) {
		assert_int_equal(dir_ensure(in("d"), 02750, 4242, 4343), 0);
		assert_int_equal(stat(in("d"), &st), 0);
		assert_int_equal(st.st_uid, 4242);
		assert_int_equal(st.st_gid, 4343);
		assert_int_equal(st.st_mode & 07777, 02750); /* chown must not have cleared it */
		assert_int_equal(dir_ensure(in("d"), 02750, (uid_t)-1, 0), 0);
		assert_int_equal(stat(in("d"), &st), 0);
		assert_int_equal(st.st_uid, 4242);
		assert_int_equal(st.st_mode & 07777, 02750);
	}
	assert_int_equal(file_replace(in("file"), "", 0, 0600), 0);
	assert_int_equal(dir_ensure(in("file"), 0700, (uid_t)-1, (gid_t)-1), -ENOTDIR);
	assert_int_equal(symlink(dir, in("link")), 0);
	assert_true(dir_ensure(in("link"), 0700, (uid_t)-1, (gid_t)-1) != 0);
	assert_int_equal(dir_ensure(in("x/y"), 0700, (uid_t)-1, (gid_t)-1), -ENOENT);

	umask(022);
	snprintf(deep, sizeof(deep), "%s/a//b/c/", dir);
	assert_int_equal(dir_ensure_parents(deep), 0);
	assert_int_equal(dir_ensure_parents(deep), 0);
	assert_int_equal(stat(deep, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	assert_int_equal(dir_ensure_parents(in("file")), -ENOTDIR);
	assert_int_equal(dir_ensure_parents(in("file/below")), -ENOTDIR);
	assert_int_equal(dir_ensure_parents("/"), 0);
	assert_int_equal(dir_ensure_parents(""), -ENOENT);
}

static void test_hex(void **state)
{
	uint8_t bytes[4] = {0x00, 0x9f, 0xa0, 0xff}, back[4];
	char text[9];

	(void)state;
	hex_format(bytes, 4, text);
	assert_string_equal(text, "009fa0ff");
	assert_int_equal(hex_parse("009FA0ff", back, 4), 0);
	assert_memory_equal(bytes, back, 4);
	assert_int_equal(hex_parse("009fa0f", back, 4), -EINVAL);
	assert_int_equal(hex_parse("009fa0ff0", back, 4), -EINVAL);
	assert_int_equal(hex_parse("009fa0fg", back, 4), -EINVAL);
	assert_int_equal(hex_parse("", back, 4), -EINVAL);
	assert_int_equal(hex_parse("", back, 0), 0);
}

static void test_utf8(void **state)
{
	static const char *const good[] = {"",         "dock-3",           "东门",
	                                   "é",        "\xf0\x9f\x93\xb7", " ",
	                                   "\xc2\xa0", "\xef\xbf\xbd",     "\xf4\x8f\xbf\xbf"};
	static const char *const bad[] = {
	        "\n",
	        "\x7f",
	        "a\tb",
	        "\x1b[0m",
	        "\x80",
	        "\xc3",
	        "\xe4\xb8",
	        "\xc0\xaf",
	        "\xe0\x80\xaf",
	        "\xed\xa0\x80",
	        "\xf4\x90\x80\x80",
	        "\xf8\x88\x80\x80\x80",
	        "\xff",
	        "\xc2\x85", /* a C1 control */
	        "ok\xe4\xb8z",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		assert_true(utf8_valid(good[i], strlen(good[i])));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(utf8_valid(bad[i], strlen(bad[i])));
	assert_false(utf8_valid("a\0b", 3));
	assert_false(utf8_valid("东", 2)); /* bounds: the third byte is not ours */
}

static void test_le(void **state)
{
	uint8_t b[8];

	(void)state;
	le64_put(b, UINT64_C(0x1122334455667788));
	assert_int_equal(b[0], 0x88);
	assert_int_equal(b[7], 0x11);
	assert_int_equal(le64_get(b), UINT64_C(0x1122334455667788));
	assert_int_equal(le32_get(b), 0x55667788);
	assert_int_equal(le16_get(b + 6), 0x1122);
	le32_put(b, UINT32_MAX);
	assert_int_equal(le32_get(b), UINT32_MAX);
	assert_int_equal(align_up(0, 512), 0);
	assert_int_equal(align_up(1, 512), 512);
	assert_int_equal(align_up(512, 512), 512);
}

static void test_random(void **state)
{
	uint8_t a[1000] = {0}, b[1000] = {0};

	(void)state;
	random_fill(a, sizeof(a));
	random_fill(b, sizeof(b));
	assert_memory_not_equal(a, b, sizeof(a));
	assert_true(a[998] || a[999] || b[998] || b[999]); /* to the end; wrong once in 2^32 */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_pread_pwrite), cmocka_unit_test(test_read_all),
	        cmocka_unit_test(test_replace),      cmocka_unit_test(test_dirs),
	        cmocka_unit_test(test_hex),          cmocka_unit_test(test_utf8),
	        cmocka_unit_test(test_le),           cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

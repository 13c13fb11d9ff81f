/*
 * test_aud_flush.c — the real write path flushes before it acknowledges, and a failed flush is the
 * end. fdatasync is replaced here, because the page cache would hide a missing one from every test
 * that only reads back.
 */
#include "tests/unit/support_aud.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_uint flushes, fail_from;

/* Takes the C library's place in this program. */
int fdatasync(int fd)
{
	unsigned n = atomic_fetch_add(&flushes, 1) + 1;

	if (atomic_load(&fail_from) && n >= atomic_load(&fail_from)) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static void test_each_commit_is_flushed(void **state)
{
	struct aud_dir d;
	struct aud_log *log;
	unsigned before;

	(void)state;
	aud_dir_make(&d);
	log = aud_test_open(&d);
	for (uint64_t n = 0; n < 50; n++) {
		before = atomic_load(&flushes);
		aud_test_commit(log, n);
		assert_true(atomic_load(&flushes) > before);
	}
	aud_close(log);
	/* What an earlier writer may not have flushed is flushed before it is built upon. */
	before = atomic_load(&flushes);
	log = aud_test_open(&d);
	assert_true(atomic_load(&flushes) >= before + 2);
	aud_close(log);
	aud_dir_remove(&d);
}

static void test_failed_flush(void **state)
{
	struct aud_record r = {.op = AUD_OP_ALARM};
	struct aud_dir d;
	struct aud_log *log;

	(void)state;
	aud_dir_make(&d);
	log = aud_test_open(&d);
	aud_test_commit(log, 1);
	atomic_store(&fail_from, atomic_load(&flushes) + 1);
	assert_int_equal(aud_commit(log, &r, NULL, 0, NULL), -EIO);
	atomic_store(&fail_from, 0); /* the device recovers: the log must not */
	assert_int_equal(aud_commit(log, &r, NULL, 0, NULL), -EIO);
	assert_true(aud_failed(log));
	assert_int_equal(aud_durable(log), 2);
	aud_close(log);
	log = aud_test_open(&d);
	aud_test_commit(log, 1);
	aud_close(log);
	assert_true(aud_test_verify(&d).ok);
	aud_dir_remove(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_each_commit_is_flushed),
	        cmocka_unit_test(test_failed_flush),
	};

	log_setup("test_aud_flush", (enum log_level)0); /* failures are meant here */
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_aud_flush.c — the real write path flushes before it acknowledges, and a failed flush is the
 * end. fdatasync is replaced here, because the page cache would hide a missing one from every test
 * that only reads back.
 */
#include "tests/unit/support_aud.h"
#include "engine/audit/logpriv.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
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

static atomic_bool held_up; /* threads run late at the worst moments */
static pthread_cond_t *file_cond;

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	if (atomic_load(&held_up))
		poll(NULL, 0, 30);
	return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	const struct timespec never = {.tv_sec = 1L << 40};
	int err = pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, &never);

	if (atomic_load(&held_up) && cond == file_cond) {
		pthread_mutex_unlock(mutex);
		poll(NULL, 0, 10);
		pthread_mutex_lock(mutex);
	}
	return err;
}

/* The preparer comes late, while the committer has made the next file itself and is about to give
 * it its number: the file must not be taken away from it. */
static void test_late_preparer(void **state)
{
	static char big[60000];
	struct aud_record r = {.op = AUD_OP_ALARM};
	struct aud_dir d;
	struct aud_log *log;

	(void)state;
	aud_dir_make(&d);
	log = aud_test_open(&d);
	file_cond = &log->file;
	atomic_store(&held_up, true);
	memset(big, 'b', sizeof(big));
	for (int i = 0; i < 60; i++)
		assert_int_equal(aud_commit(log, &r, big, sizeof(big), NULL), 0);
	atomic_store(&held_up, false);
	aud_close(log);
	assert_int_equal(aud_test_count(&d), 62);
	assert_true(aud_test_verify(&d).ok);
	aud_dir_remove(&d);
}

static bool becomes(struct aud_log *log, bool low)
{
	for (int64_t end = clock_boot_ns() + 60 * NSEC_PER_SEC; clock_boot_ns() < end;) {
		if (aud_low(log) == low)
			return true;
		poll(NULL, 0, 10);
	}
	return false;
}

/* A full disk shows while there is a quarter of a file left; with room again it goes on. */
static void test_reserve(void **state)
{
	static char big[60000];
	struct aud_record r = {.op = AUD_OP_ALARM};
	struct aud_dir d;
	struct aud_log *log;

	(void)state;
	aud_dir_make(&d);
	log = aud_test_open(&d);
	memset(big, 'b', sizeof(big));
	aud_test_commit(log, 1);
	aud_close(log);
	aud_shell("rm -f '%s/next'; mkdir '%s/next'", d.log, d.log); /* no file can be made there */
	log = aud_test_open(&d);
	assert_false(aud_low(log));
	for (int i = 0; i < 4; i++)
		assert_int_equal(aud_commit(log, &r, big, sizeof(big), NULL), 0);
	assert_true(becomes(log, true));
	for (int i = 0; i < 20; i++) /* endings still fit */
		aud_test_commit(log, 1);
	aud_shell("rmdir '%s/next'", d.log);
	assert_true(becomes(log, false));
	for (int i = 0; i < 20; i++)
		assert_int_equal(aud_commit(log, &r, big, sizeof(big), NULL), 0);
	aud_close(log);
	assert_true(aud_test_verify(&d).ok);
	aud_dir_remove(&d);
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
	        cmocka_unit_test(test_late_preparer),
	        cmocka_unit_test(test_reserve),
	};

	log_setup("test_aud_flush", (enum log_level)0); /* failures are meant here */
	return cmocka_run_group_tests(tests, NULL, NULL);
}

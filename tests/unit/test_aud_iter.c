/*
 * test_aud_iter.c — reading a log: following a live one across files, seeking, damage.
 */
#include "tests/unit/support_aud.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* While torn_looks lasts, a read that begins at torn_at finds only the beginning of the group. */
static uint64_t torn_at;
static unsigned torn_looks;

/* Takes the C library's place in this program. */
ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
	ssize_t n = syscall(SYS_pread64, fd, buf, len, offset);

	if (torn_looks && n > 200 && (uint64_t)offset == torn_at) {
		torn_looks--;
		memset((char *)buf + 200, 0, (size_t)n - 200);
	}
	return n;
}

static int setup(void **state)
{
	struct aud_dir *d = calloc(1, sizeof(*d));

	aud_dir_make(d);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	aud_dir_remove(*state);
	free(*state);
	return 0;
}

static struct aud_iter *iter_open(const struct aud_dir *d)
{
	struct aud_iter *it;
	char err[256] = "";

	if (aud_iter_open(d->log, &it, err, sizeof(err)))
		fail_msg("%s", err);
	return it;
}

/* At the end 0; after each append the new record, whatever file it fell into. */
static void test_follow(void **state)
{
	struct aud_dir *d = *state;
	struct aud_log *log = aud_test_open(d);
	struct aud_iter *it = iter_open(d);
	struct aud_record in = {.op = AUD_OP_ALARM}, r;
	static char big[50000];
	const char *payload;

	memset(big, 'b', sizeof(big));
	assert_int_equal(aud_iter_next(it, &r, &payload), 1);
	assert_int_equal(r.op, AUD_OP_START);
	for (uint64_t i = 2; i < 40; i++) {
		assert_int_equal(aud_iter_next(it, &r, &payload), 0);
		assert_int_equal(aud_iter_next(it, &r, &payload), 0);
		assert_int_equal(aud_commit(log, &in, big, sizeof(big) - i, NULL), 0);
		assert_int_equal(aud_iter_next(it, &r, &payload), 1);
		assert_int_equal(r.seq, i);
		assert_int_equal(r.payload_bytes, sizeof(big) - i);
		assert_int_equal(strlen(payload), sizeof(big) - i);
	}
	aud_close(log);
	assert_int_equal(aud_iter_next(it, &r, &payload), 1);
	assert_int_equal(r.op, AUD_OP_STOP);
	/* And across a restart of the writer. */
	log = aud_test_open(d);
	assert_int_equal(aud_iter_next(it, &r, &payload), 1);
	assert_int_equal(r.op, AUD_OP_START);
	assert_int_equal(r.incarnation, 2);
	aud_close(log);
	aud_iter_close(it);
}

static void test_seek(void **state)
{
	struct aud_dir *d = *state;
	struct aud_log *log = aud_test_open(d);
	struct aud_record in = {.op = AUD_OP_ALARM}, r;
	static char big[30000];
	struct aud_iter *it;
	const char *payload;
	uint64_t last = 0;

	memset(big, 'b', sizeof(big));
	/* Groups of several records over several files. */
	for (int i = 0; i < 60; i++)
		assert_int_equal(aud_append(log, &in, big, (size_t)(i * 487) % 30000, &last), 0);
	assert_int_equal(aud_wait(log, last, 60 * NSEC_PER_SEC), 0);
	it = iter_open(d);
	for (uint64_t seq = last; seq >= 1; seq--) {
		assert_int_equal(aud_iter_seek_seq(it, seq), 0);
		for (uint64_t n = seq; n <= last && n < seq + 3; n++) {
			assert_int_equal(aud_iter_next(it, &r, &payload), 1);
			assert_int_equal(r.seq, n);
		}
	}
	/* Beyond the end: nothing yet, then exactly that record. */
	assert_int_equal(aud_iter_seek_seq(it, last + 2), 0);
	assert_int_equal(aud_iter_next(it, &r, &payload), 0);
	assert_int_equal(aud_commit(log, &in, "{}", 2, NULL), 0);
	assert_int_equal(aud_iter_next(it, &r, &payload), 0);
	assert_int_equal(aud_commit(log, &in, "{}", 2, NULL), 0);
	assert_int_equal(aud_iter_next(it, &r, &payload), 1);
	assert_int_equal(r.seq, last + 2);
	aud_iter_close(it);
	aud_close(log);
}

/* Damage is never shown as a record nor passed over. */
static void test_damage(void **state)
{
	struct aud_dir *d = *state;
	struct aud_log *log = aud_test_open(d);
	struct aud_image im;

	for (uint64_t n = 2; n <= 6; n++)
		aud_test_commit(log, n);
	aud_image_read(&im, d, 1);
	aud_close(log);
	aud_image_write(&im); /* without STOP */
	assert_int_equal(aud_test_count(d), 6);
	for (size_t i = 0; i < im.groups; i++) {
		aud_image_tamper(&im, i, 140, REPAIR_NONE);
		aud_image_write(&im);
		assert_int_equal(aud_test_count(d), -EUCLEAN);
		aud_image_tamper(&im, i, 140, REPAIR_NONE);
	}
	memset(im.bytes + im.group_at[2], 0, 512);
	aud_image_write(&im);
	assert_int_equal(aud_test_count(d), -EUCLEAN);
	aud_image_free(&im);
}

/* With a living writer, an unfinished last group is simply not there yet. */
static void test_unfinished_while_live(void **state)
{
	struct aud_dir *d = *state;
	struct aud_log *log = aud_test_open(d);
	struct aud_iter *it = iter_open(d);
	struct aud_image im;
	struct aud_record r;
	const char *payload;
	uint8_t whole[512];

	aud_test_commit(log, 2);
	aud_image_read(&im, d, 1);
	memcpy(whole, im.bytes + im.group_at[1], 512);
	memset(im.bytes + im.group_at[1] + 200, 0, 312);
	aud_image_write(&im);
	assert_int_equal(aud_iter_next(it, &r, &payload), 1);
	assert_int_equal(aud_iter_next(it, &r, &payload), 0);
	memcpy(im.bytes + im.group_at[1], whole, 512);
	aud_image_write(&im);
	assert_int_equal(aud_iter_next(it, &r, &payload), 1);
	assert_int_equal(r.object, 2);
	aud_iter_close(it);
	aud_image_free(&im);
	aud_close(log);
}

/* A reader that was held up between its look and its judgement: the group has been completed
 * meanwhile and others stand behind it. That is no damage. */
static void test_completed_while_looking(void **state)
{
	struct aud_dir *d = *state;
	struct aud_log *log = aud_test_open(d);
	struct aud_iter *it = iter_open(d);
	struct aud_image im;
	struct aud_record r;
	const char *payload;

	assert_int_equal(aud_iter_next(it, &r, &payload), 1);
	assert_int_equal(aud_iter_next(it, &r, &payload), 0);
	for (uint64_t n = 2; n <= 4; n++)
		aud_test_commit(log, n);
	aud_image_read(&im, d, 1);
	torn_at = im.group_at[1];
	torn_looks = 2;
	for (uint64_t n = 2; n <= 4; n++) {
		assert_int_equal(aud_iter_next(it, &r, &payload), 1);
		assert_int_equal(r.object, n);
	}
	assert_int_equal(torn_looks, 0);
	aud_image_free(&im);
	aud_iter_close(it);
	aud_close(log);
}

static void test_no_log(void **state)
{
	struct aud_dir *d = *state;
	struct aud_iter *it;
	char err[256] = "";

	assert_int_equal(aud_iter_open(d->log, &it, err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "there is none"));
	aud_shell("head -c 8192 /dev/urandom > '%s/0000000001.log'", d->log);
	assert_int_equal(aud_iter_open(d->log, &it, err, sizeof(err)), -EUCLEAN);
	aud_shell("head -c 100 /dev/urandom > '%s/0000000001.log'", d->log);
	assert_int_equal(aud_iter_open(d->log, &it, err, sizeof(err)), -EUCLEAN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_follow, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_seek, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_unfinished_while_live, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_completed_while_looking, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_no_log, setup, teardown),
	};

	log_setup("test_aud_iter", LOG_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

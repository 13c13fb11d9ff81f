/*
 * test_aud_recover.c — what a crash leaves, and what writing errors leave: a torn last group is cut
 * off wherever it was torn, nothing acknowledged is lost, and what a checkpoint covers is never
 * cut.
 */
#include "tests/unit/support_aud.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

#define COMMITS 3

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

/* A log as a crash leaves it: START and COMMITS records, each a group; no STOP. With sign, the
 * checkpoint covers all of it. */
static void crashed_log(struct aud_dir *d, struct aud_image *im, bool sign)
{
	struct aud_log *log = aud_test_open(d);

	for (uint64_t i = 1; i <= COMMITS; i++)
		aud_test_commit(log, i);
	if (sign)
		aud_test_sign(log, d->key);
	aud_image_read(im, d, 1);
	assert_int_equal(im->groups, COMMITS + 1);
	aud_close(log);
	aud_image_write(im);
}

/* Opens what is there, expects `kept` records before the new START, and goes on with it. */
static void expect_recovered(struct aud_dir *d, int kept)
{
	struct aud_log *log = aud_test_open(d);
	struct aud_verdict v;

	assert_int_equal(aud_durable(log), kept + 1);
	assert_int_equal(aud_incarnation(log), 2);
	aud_test_commit(log, 99);
	aud_close(log);
	assert_int_equal(aud_test_count(d), kept + 3);
	v = aud_test_verify(d);
	if (!v.ok)
		fail_msg("%s", v.what);
	assert_int_equal(v.records, kept + 3);
}

/* The first `len` bytes of the last group reached the disk. */
static void test_torn_at_every_byte(void **state)
{
	struct aud_dir *d = *state;
	struct aud_image im, torn;
	size_t start, total;
	struct aud_fmt_group g;

	crashed_log(d, &im, false);
	start = im.group_at[COMMITS];
	assert_int_equal(aud_fmt_group_head_get(im.bytes + start, &g), 0);
	total = AUD_FMT_GROUP_HEAD + g.bytes;
	while (!im.bytes[start + total - 1])
		total--; /* padding of the last record: zeros either way */
	torn = im;
	torn.bytes = malloc(im.len);
	for (size_t len = 0; len <= total; len++) {
		memcpy(torn.bytes, im.bytes, im.len);
		memset(torn.bytes + start + len, 0, im.len - start - len);
		aud_image_write(&torn);
		expect_recovered(d, len == total ? COMMITS + 1 : COMMITS);
	}
	aud_image_free(&torn);
	aud_image_free(&im);
}

/* Same, but the group is under a checkpoint: it was durable, so this is no crash. */
static void test_torn_under_checkpoint(void **state)
{
	struct aud_dir *d = *state;
	struct aud_image im, torn;
	struct aud_log *log;
	struct aud_verdict v;
	char err[512];
	size_t start;

	crashed_log(d, &im, true);
	start = im.group_at[COMMITS];
	torn = im;
	torn.bytes = malloc(im.len);
	for (size_t len = 0; len < 128 + 128 + 7; len += 3) {
		memcpy(torn.bytes, im.bytes, im.len);
		memset(torn.bytes + start + len, 0, im.len - start - len);
		aud_image_write(&torn);
		assert_int_equal(aud_test_try_open(d, &log, err, sizeof(err)), -EUCLEAN);
		assert_non_null(strstr(err, "checkpoint signs"));
		v = aud_test_verify(d);
		assert_false(v.ok);
		assert_int_equal(v.first_bad_seq, COMMITS + 1);
	}
	/* And nothing was written while refusing. */
	aud_image_write(&im);
	expect_recovered(d, COMMITS + 1);
	aud_image_free(&torn);
	aud_image_free(&im);
}

/* Sectors reach the disk in any order: a random subset of the last, larger group's. */
static void test_torn_by_sectors(void **state)
{
	struct aud_dir *d = *state;
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	struct aud_log *log = aud_test_open(d);
	struct aud_record r = {.op = AUD_OP_ALARM};
	struct aud_image im, torn;
	char payload[6000];
	size_t start, lost;

	print_message("seed %u; replay with SEED=%u\n", seed, seed);
	srandom(seed);
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (char)(random() % 255 + 1);
	assert_int_equal(aud_commit(log, &r, payload, sizeof(payload), NULL), 0);
	aud_image_read(&im, d, 1);
	aud_close(log);
	start = im.group_at[1];
	torn = im;
	torn.bytes = malloc(im.len);
	for (int round = 0; round < 100; round++) {
		memcpy(torn.bytes, im.bytes, im.len);
		lost = 0;
		for (size_t at = start; at < im.end; at += 512) {
			if (random() % 2)
				continue;
			memset(torn.bytes + at, 0, 512);
			lost++;
		}
		aud_image_write(&torn);
		expect_recovered(d, lost ? 1 : 2);
	}
	aud_image_free(&torn);
	aud_image_free(&im);
}

/* Damage that is not at the end, or that is followed by something whole, is no crash. */
static void test_damage_inside(void **state)
{
	struct aud_dir *d = *state;
	struct aud_image im;
	struct aud_log *log;
	char err[512];

	crashed_log(d, &im, false);
	aud_image_tamper(&im, 1, 130, REPAIR_NONE);
	aud_image_write(&im);
	assert_int_equal(aud_test_try_open(d, &log, err, sizeof(err)), -EUCLEAN);
	assert_non_null(strstr(err, "record 2 "));
	aud_image_tamper(&im, 1, 130, REPAIR_NONE); /* back */
	memset(im.bytes + im.group_at[2], 0, aud_image_group_bytes(&im, 2));
	aud_image_write(&im);
	assert_int_equal(aud_test_try_open(d, &log, err, sizeof(err)), -EUCLEAN);
	assert_non_null(strstr(err, "missing"));
	aud_image_free(&im);
}

/* A group rewritten with all digests and the chain recomputed, under an old checkpoint. */
static void test_root_is_compared(void **state)
{
	struct aud_dir *d = *state;
	struct aud_image im;
	struct aud_log *log;
	char err[512];

	crashed_log(d, &im, true);
	aud_image_tamper(&im, 1, 130, REPAIR_CHAIN);
	aud_image_write(&im);
	assert_int_equal(aud_test_count(d), COMMITS + 1); /* fits its own digests */
	assert_int_equal(aud_test_try_open(d, &log, err, sizeof(err)), -EUCLEAN);
	assert_non_null(strstr(err, "root"));
	aud_image_free(&im);
}

/* ---- writing errors ---- */

struct fault {
	unsigned calls, fail_at;
	size_t part; /* bytes of the failing write that still reach the file */
};

static int faulty_write(void *arg, int fd, const void *buf, size_t len, uint64_t offset)
{
	struct fault *f = arg;
	int err;

	if (++f->calls >= f->fail_at) {
		err = file_pwrite_full(fd, buf, f->part < len ? f->part : len, offset);
		return err ? err : -EIO;
	}
	err = file_pwrite_full(fd, buf, len, offset);
	return !err && fdatasync(fd) ? -errno : err;
}

static void fail_once(struct aud_dir *d, unsigned fail_at, size_t part)
{
	struct fault f = {.fail_at = fail_at, .part = part};
	struct aud_options opt = {.origin = AUD_TEST_ORIGIN,
	                          .file_bytes = AUD_TEST_FILE_BYTES,
	                          .write_hook = faulty_write,
	                          .hook_arg = &f};
	struct aud_record r = {.op = AUD_OP_ALARM};
	struct aud_log *log;
	uint64_t acknowledged = 0, seq;
	char err[512];
	int n;

	if (fail_at == 1) {
		assert_int_equal(aud_open(d->log, &opt, &log, err, sizeof(err)), -EIO);
		return;
	}
	assert_int_equal(aud_open(d->log, &opt, &log, err, sizeof(err)), 0);
	while (!aud_commit(log, &r, "{}", 2, &seq))
		acknowledged = seq;
	/* Sticky: appending, waiting for new and for old records, all fail. */
	assert_true(aud_failed(log));
	assert_int_equal(f.calls, fail_at);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(aud_append(log, &r, "{}", 2, NULL), -EIO);
		assert_int_equal(aud_commit(log, &r, "{}", 2, NULL), -EIO);
		assert_int_equal(aud_wait(log, 1, NSEC_PER_SEC), -EIO);
	}
	assert_true(aud_durable(log) >= acknowledged);
	aud_close(log);
	assert_int_equal(f.calls, fail_at); /* nothing was tried again */

	/* Reopened: all that was acknowledged is there, numbering goes on. */
	log = aud_test_open(d);
	assert_true(aud_durable(log) > acknowledged);
	aud_test_commit(log, 1);
	aud_close(log);
	n = aud_test_count(d);
	assert_true(n >= (int)acknowledged + 3);
	assert_true(aud_test_verify(d).ok);
}

static void test_write_errors(void **state)
{
	static const size_t parts[] = {0, 1, 100, 200, 300, 511, 1 << 20};

	for (unsigned fail_at = 1; fail_at <= 5; fail_at++) {
		for (size_t i = 0; i < ARRAY_LEN(parts); i++)
			fail_once(*state, fail_at, parts[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_torn_at_every_byte, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_torn_under_checkpoint, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_torn_by_sectors, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_damage_inside, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_root_is_compared, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_write_errors, setup, teardown),
	};

	log_setup("test_aud_recover", (enum log_level)0); /* failures are meant here */
	return cmocka_run_group_tests(tests, NULL, NULL);
}

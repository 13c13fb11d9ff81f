/*
 * test_aud_verify.c — the verifier names each class of tampering, and the first record hit by it.
 *
 * The log under attack: START, then records 2 … 13, one group each; checkpoints over 5 and 9 groups
 * kept, over 11 the newest; groups 12 and 13 unsigned.
 */
#include "tests/unit/support_aud.h"

#include <errno.h>
#include <unistd.h>

#define GROUPS 13
#define SIGNED 11

struct fixture {
	struct aud_dir d;
	struct aud_image im;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct aud_log *log;

	aud_dir_make(&f->d);
	for (unsigned file = 0; file < 1; file++) {
		log = aud_test_open(&f->d);
		for (uint64_t n = 2; n <= GROUPS; n++) {
			aud_test_commit(log, n);
			if (n != 5 && n != 9 && n != SIGNED)
				continue;
			aud_test_sign(log, f->d.key);
			/* As if a minute had passed. */
			if (n == 9)
				aud_shell("cat '%s/checkpoint' >> '%s/checkpoints'", f->d.log,
				          f->d.log);
		}
		aud_image_read(&f->im, &f->d, 1);
		aud_close(log);
	}
	aud_image_write(&f->im);
	assert_int_equal(f->im.groups, GROUPS);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	aud_image_free(&f->im);
	aud_dir_remove(&f->d);
	free(f);
	return 0;
}

static void expect_bad(struct fixture *f, uint64_t seq, const char *word)
{
	struct aud_verdict v = aud_test_verify(&f->d);

	if (v.ok)
		fail_msg("not found; expected record %llu, \"%s\"", (unsigned long long)seq, word);
	if (v.first_bad_seq != seq || !strstr(v.what, word))
		fail_msg("expected record %llu, \"%s\"; got record %llu, \"%s\"",
		         (unsigned long long)seq, word, (unsigned long long)v.first_bad_seq,
		         v.what);
}

static void test_untouched(void **state)
{
	struct fixture *f = *state;
	struct aud_verdict v = aud_test_verify(&f->d);

	if (!v.ok)
		fail_msg("%s", v.what);
	assert_int_equal(v.records, GROUPS);
	assert_int_equal(v.groups, GROUPS);
	assert_int_equal(v.signed_records, SIGNED);
	assert_int_equal(v.checkpoints, 3);
	assert_int_equal(v.first_bad_seq, 0);
	assert_string_equal(v.origin, AUD_TEST_ORIGIN);
	assert_true(v.unsigned_age_ns > 0 && v.unsigned_age_ns < 600 * NSEC_PER_SEC);
	assert_int_equal(v.unsettled, 0);
}

/* One bit, anywhere in any record: the record itself is named. */
static void test_flip_in_every_record(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < GROUPS; i++) {
		size_t len = aud_image_group_bytes(&f->im, i) - AUD_FMT_GROUP_HEAD;

		for (size_t at = i % 7; at < len && at < 136; at += 7) {
			aud_image_tamper(&f->im, i, at, REPAIR_NONE);
			aud_image_write(&f->im);
			expect_bad(f, i + 1, "");
			aud_image_tamper(&f->im, i, at, REPAIR_NONE);
		}
	}
	aud_image_write(&f->im);
	assert_true(aud_test_verify(&f->d).ok);
}

static void test_flip_in_group_head(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < GROUPS; i++) {
		for (size_t at = 0; at < AUD_FMT_GROUP_HEAD; at += 5) {
			f->im.bytes[f->im.group_at[i] + at] ^= 4;
			aud_image_write(&f->im);
			expect_bad(f, i + 1, "");
			f->im.bytes[f->im.group_at[i] + at] ^= 4;
		}
	}
}

static void restore(struct fixture *f, const uint8_t *original)
{
	memcpy(f->im.bytes, original, f->im.len);
}

/* The forger recomputes digests: the record's, the group's, then the whole chain. */
static void test_flip_with_digests(void **state)
{
	struct fixture *f = *state;
	uint8_t *original = malloc(f->im.len);

	memcpy(original, f->im.bytes, f->im.len);
	for (size_t i = 0; i < GROUPS; i++) {
		aud_image_tamper(&f->im, i, 57, REPAIR_RECORD);
		aud_image_write(&f->im);
		expect_bad(f, i + 1, "was changed");
		restore(f, original);

		/* The next group is still chained to what stood here before. */
		aud_image_tamper(&f->im, i, 57, REPAIR_GROUP);
		aud_image_write(&f->im);
		if (i + 1 < GROUPS)
			expect_bad(f, i + 1, "");
		restore(f, original);

		/* All fits itself: only a checkpoint can tell, up to the one before it. */
		aud_image_tamper(&f->im, i, 57, REPAIR_CHAIN);
		aud_image_write(&f->im);
		if (i < SIGNED)
			expect_bad(f, i < 5 ? 1 : i < 9 ? 6 : 10, "changed");
		else
			assert_int_equal(aud_test_verify(&f->d).signed_records, SIGNED);
		restore(f, original);
	}
	free(original);
}

/* Takes group i out and moves the later ones up. */
static void drop(struct fixture *f, size_t i)
{
	size_t len = aud_image_group_bytes(&f->im, i), at = f->im.group_at[i];

	memmove(f->im.bytes + at, f->im.bytes + at + len, f->im.len - at - len);
	memset(f->im.bytes + f->im.len - len, 0, len);
}

static void test_missing_group(void **state)
{
	struct fixture *f = *state;
	uint8_t *original = malloc(f->im.len);

	memcpy(original, f->im.bytes, f->im.len);
	for (size_t i = 0; i + 1 < GROUPS; i++) {
		drop(f, i);
		aud_image_write(&f->im);
		expect_bad(f, i + 1, "missing");
		restore(f, original);
		/* Or left blank. */
		memset(f->im.bytes + f->im.group_at[i], 0, aud_image_group_bytes(&f->im, i));
		aud_image_write(&f->im);
		expect_bad(f, i + 1, "missing");
		restore(f, original);
	}
	free(original);
}

static void test_swapped_groups(void **state)
{
	struct fixture *f = *state;
	uint8_t one[512];

	for (size_t i = 0; i + 1 < GROUPS; i++) {
		uint8_t *a = f->im.bytes + f->im.group_at[i], *b = a + 512;

		assert_int_equal(aud_image_group_bytes(&f->im, i), 512);
		for (int twice = 0; twice < 2; twice++) {
			memcpy(one, a, 512);
			memcpy(a, b, 512);
			memcpy(b, one, 512);
			aud_image_write(&f->im);
			if (!twice)
				expect_bad(f, i + 1, "reordered");
		}
	}
	/* An old group once more. */
	memcpy(f->im.bytes + f->im.group_at[7], f->im.bytes + f->im.group_at[3], 512);
	aud_image_write(&f->im);
	expect_bad(f, 8, "reordered");
}

static void test_cut_tail(void **state)
{
	struct fixture *f = *state;

	for (size_t i = GROUPS; i-- > 1;) {
		memset(f->im.bytes + f->im.group_at[i], 0, aud_image_group_bytes(&f->im, i));
		aud_image_write(&f->im);
		if (i < SIGNED)
			expect_bad(f, i + 1, "truncated");
		else
			assert_true(aud_test_verify(&f->d).ok);
	}
	aud_shell("truncate -s 5000 '%s/0000000001.log'", f->d.log);
	expect_bad(f, 2, "truncated");
	aud_shell("rm '%s/0000000001.log'", f->d.log);
	expect_bad(f, 1, "truncated");
}

static void test_checkpoints_replaced(void **state)
{
	struct fixture *f = *state;
	struct aud_dir other;
	struct aud_log *log;

	/* Another key, same root: the attacker has signed our log. */
	aud_dir_make(&other);
	aud_shell("cp '%s/checkpoint' '%s/keep'", f->d.log, f->d.path);
	log = aud_test_open(&f->d);
	aud_test_sign(log, other.key);
	aud_close(log);
	expect_bad(f, 10, "re-signed"); /* it stands where the one over 11 stood */
	aud_dir_remove(&other);

	/* An older one of ours, to hide the tail's signature. */
	aud_shell("cp '%s/keep' '%s/checkpoint'; cp '%s/keep' '%s/checkpoints'", f->d.path,
	          f->d.log, f->d.path, f->d.log);
	assert_true(aud_test_verify(&f->d).ok);
	log = aud_test_open(&f->d);
	aud_test_sign(log, f->d.key);
	aud_close(log);
	assert_true(aud_test_verify(&f->d).ok);
	aud_shell("cp '%s/keep' '%s/checkpoint'", f->d.path, f->d.log);
	expect_bad(f, 0, "older");
	aud_shell("rm '%s/checkpoint'", f->d.log);
	expect_bad(f, 0, "missing");
}

static void test_checkpoint_edited(void **state)
{
	struct fixture *f = *state;
	struct aud_verdict v;
	char err[256] = "";

	aud_shell("sed -i 's/^%d$/12/' '%s/checkpoint'", SIGNED, f->d.log);
	expect_bad(f, SIGNED - 2 + 1, "re-signed");
	aud_shell("echo nonsense > '%s/checkpoint'", f->d.log);
	assert_false(aud_test_verify(&f->d).ok);
	assert_int_equal(aud_verify(f->d.log, "no key", 0, &v, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "verifier key"));
	assert_int_equal(aud_verify("/nonexistent", f->d.vkey, 0, &v, err, sizeof(err)), -ENOENT);
}

/* Whole files: removed in the middle, removed at the end, swapped. */
static void test_files(void **state)
{
	struct fixture *f = *state;
	char payload[60000] = "";
	struct aud_record r = {.op = AUD_OP_ALARM};
	struct aud_log *log = aud_test_open(&f->d);

	memset(payload, 'x', sizeof(payload));
	for (int i = 0; i < 20; i++)
		assert_int_equal(aud_commit(log, &r, payload, sizeof(payload), NULL), 0);
	aud_test_sign(log, f->d.key);
	aud_close(log);
	assert_true(aud_test_verify(&f->d).ok);
	aud_shell("mv '%s/0000000003.log' '%s/three'", f->d.log, f->d.path);
	aud_image_free(&f->im);
	aud_image_read(&f->im, &f->d, 2);
	expect_bad(f, le64_get(f->im.bytes + f->im.group_at[f->im.groups - 1] + 16) + 1,
	           "missing: file 3");
	aud_shell("cp '%s/0000000002.log' '%s/0000000003.log'", f->d.log, f->d.log);
	assert_false(aud_test_verify(&f->d).ok);
	aud_shell("rm '%s'/000000000[3-9].log", f->d.log);
	expect_bad(f, le64_get(f->im.bytes + f->im.group_at[f->im.groups - 1] + 16) + 1,
	           "truncated");
	aud_shell("rm '%s/0000000001.log'", f->d.log);
	expect_bad(f, 1, "first log file is missing");
}

static void cover(struct aud_log *log, uint16_t op, uint64_t handle)
{
	struct aud_record r = {.op = op, .object = handle};

	assert_int_equal(aud_append(log, &r, NULL, 0, NULL), 0);
}

/* Covers without CLOSE count once the log was opened again, not while the gate lives. */
static void test_unsettled(void **state)
{
	struct fixture *f = *state;
	struct aud_log *log = aud_test_open(&f->d);

	for (uint64_t handle = 1; handle <= 1000; handle++) {
		cover(log, AUD_OP_COVER, handle);
		cover(log, AUD_OP_COVER, handle);
		if (handle > 3)
			cover(log, AUD_OP_CLOSE, handle);
	}
	aud_close(log);
	assert_int_equal(aud_test_verify(&f->d).unsettled, 0);
	log = aud_test_open(&f->d);
	cover(log, AUD_OP_COVER, 1); /* a new handle with an old number */
	cover(log, AUD_OP_CLOSE, 1);
	aud_close(log);
	assert_int_equal(aud_test_verify(&f->d).unsettled, 6);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(test_untouched),          TEST(test_flip_in_every_record),
	        TEST(test_flip_in_group_head), TEST(test_flip_with_digests),
	        TEST(test_missing_group),      TEST(test_swapped_groups),
	        TEST(test_cut_tail),           TEST(test_checkpoints_replaced),
	        TEST(test_checkpoint_edited),  TEST(test_files),
	        TEST(test_unsettled),
	};

	log_setup("test_aud_verify", LOG_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

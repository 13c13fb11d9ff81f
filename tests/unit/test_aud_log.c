/*
 * test_aud_log.c — the writer's promises: numbering, durability marks, restart, lock, files.
 */
#include "tests/unit/support_aud.h"

#include <errno.h>
#include <sys/stat.h>

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

/* Every field comes back as it was given, START first, STOP last. */
static void test_round_trip(void **state)
{
	struct aud_dir *d = *state;
	struct aud_log *log = aud_test_open(d);
	struct aud_record in = {.time_ns = 1234567890123456789,
	                        .op = AUD_OP_COVER,
	                        .result = 13,
	                        .uid = 1001,
	                        .login_uid = 1002,
	                        .pid = 77,
	                        .grant = 5,
	                        .object = 0xfeedface12345678,
	                        .offset = 1 << 20,
	                        .length = 1 << 24,
	                        .from_ns = -5,
	                        .to_ns = INT64_MAX,
	                        .aux = 9};
	struct aud_record out;
	struct aud_iter *it;
	const char *payload;
	uint64_t seq;
	char err[256];

	assert_int_equal(aud_commit(log, &in, "{\"camera\":\"东门\"}", 19, &seq), 0);
	assert_int_equal(seq, 2);
	assert_int_equal(in.seq, 2);
	assert_true(aud_durable(log) >= 2);
	assert_int_equal(aud_incarnation(log), 1);
	assert_string_equal(aud_origin(log), AUD_TEST_ORIGIN);
	aud_close(log);

	assert_int_equal(aud_iter_open(d->log, &it, err, sizeof(err)), 0);
	assert_int_equal(aud_iter_next(it, &out, &payload), 1);
	assert_int_equal(out.op, AUD_OP_START);
	assert_non_null(strstr(payload, AUD_TEST_ORIGIN));
	assert_int_equal(aud_iter_next(it, &out, &payload), 1);
	assert_memory_equal(&in, &out, sizeof(in));
	assert_string_equal(payload, "{\"camera\":\"东门\"}");
	assert_int_equal(aud_iter_next(it, &out, &payload), 1);
	assert_int_equal(out.op, AUD_OP_STOP);
	assert_int_equal(aud_iter_next(it, &out, &payload), 0);
	aud_iter_close(it);
}

static void test_restart_goes_on(void **state)
{
	struct aud_dir *d = *state;
	struct aud_log *log;

	for (uint64_t i = 1; i <= 5; i++) {
		log = aud_test_open(d);
		assert_int_equal(aud_incarnation(log), i);
		aud_test_commit(log, i);
		assert_int_equal(aud_durable(log), (i - 1) * 3 + 2);
		aud_close(log);
	}
	assert_int_equal(aud_test_count(d), 15);
	assert_true(aud_test_verify(d).ok);
}

static void test_one_writer(void **state)
{
	struct aud_dir *d = *state;
	struct aud_log *log = aud_test_open(d), *second;
	char err[512];

	assert_int_equal(aud_test_try_open(d, &second, err, sizeof(err)), -EBUSY);
	assert_non_null(strstr(err, "another process"));
	aud_test_commit(log, 1);
	aud_close(log);
	log = aud_test_open(d);
	aud_close(log);
}

/* Several files, large payloads, groups that just do not fit. */
static void test_files(void **state)
{
	struct aud_dir *d = *state;
	struct aud_log *log = aud_test_open(d);
	char *payload = malloc(AUD_PAYLOAD_MAX), path[PATH_MAX];
	struct aud_record r = {.op = AUD_OP_ALARM};
	struct stat st;

	memset(payload, 'x', AUD_PAYLOAD_MAX);
	for (unsigned i = 0; i < 40; i++) {
		r.time_ns = 0;
		assert_int_equal(aud_append(log, &r, payload, AUD_PAYLOAD_MAX - i * 1000, NULL), 0);
	}
	assert_int_equal(aud_append(log, &r, payload, AUD_PAYLOAD_MAX + 1, NULL), -EMSGSIZE);
	assert_int_equal(aud_wait(log, r.seq, 30 * NSEC_PER_SEC), 0);
	aud_test_sign(log, d->key);
	aud_close(log);
	free(payload);
	assert_int_equal(aud_test_count(d), 42);
	assert_true(aud_test_verify(d).ok);
	snprintf(path, sizeof(path), "%s/0000000005.log", d->log);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, AUD_TEST_FILE_BYTES);
	assert_true((uint64_t)st.st_blocks * 512 >= AUD_TEST_FILE_BYTES);
	assert_int_equal(st.st_mode & 0777, 0640);
	log = aud_test_open(d);
	aud_test_commit(log, 1);
	aud_close(log);
	assert_int_equal(aud_test_count(d), 45);
}

static void test_wrong_use(void **state)
{
	struct aud_dir *d = *state;
	struct aud_options opt = {.origin = "other/log", .file_bytes = AUD_TEST_FILE_BYTES};
	struct aud_log *log = aud_test_open(d);
	char err[512] = "";

	assert_int_equal(aud_wait(log, 99, 1), -ETIMEDOUT);
	aud_close(log);
	/* Another daemon's log is not taken over. */
	assert_int_equal(aud_open(d->log, &opt, &log, err, sizeof(err)), -EUCLEAN);
	assert_non_null(strstr(err, AUD_TEST_ORIGIN));
	opt.origin = "line\nbreak";
	assert_int_equal(aud_open(d->log, &opt, &log, err, sizeof(err)), -EINVAL);
	opt.origin = "x";
	opt.file_bytes = 64 * KIB;
	assert_int_equal(aud_open(d->log, &opt, &log, err, sizeof(err)), -EINVAL);
	opt.file_bytes = 0;
	assert_int_equal(aud_open("/nonexistent/log", &opt, &log, err, sizeof(err)), -ENOENT);
	assert_non_null(strstr(err, "/nonexistent/log"));
}

static void test_op_names(void **state)
{
	(void)state;
	assert_string_equal(aud_op_name(AUD_OP_REVOKE_INTENT), "revoke-intent");
	assert_string_equal(aud_op_name(9999), "?");
	assert_int_equal(aud_op_parse("open"), AUD_OP_OPEN);
	assert_int_equal(aud_op_parse("nothing"), 0);
	for (uint16_t op = 1; op < 1000; op++) {
		if (strcmp(aud_op_name(op), "?") != 0)
			assert_int_equal(aud_op_parse(aud_op_name(op)), op);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_restart_goes_on, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_one_writer, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_wrong_use, setup, teardown),
	        cmocka_unit_test(test_op_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

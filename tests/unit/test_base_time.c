/*
 * test_base_time.c — times as people write them: every form, every zone change, every refusal.
 */
#include "tests/unit/support_base.h"

#include <errno.h>
#include <time.h>

#define NOW INT64_C(1795308918123456789)

static int64_t parsed(const char *text)
{
	int64_t t;
	int err = time_parse(text, NOW, &t);

	if (err)
		fail_msg("\"%s\": %s", text, strerror(-err));
	return t;
}

static void expect_error(const char *text, int want)
{
	int64_t t;
	int err = time_parse(text, NOW, &t);

	if (err != want)
		fail_msg("\"%s\": %d, expected %d", text, err, want);
}

static void test_rfc3339(void **state)
{
	(void)state;
	assert_int_equal(time_zone_set("Asia/Shanghai"), 0);
	assert_int_equal(parsed("1970-01-01T00:00:00Z"), 0);
	/* date -u -d '2026-11-20 00:15:00' +%s */
	assert_int_equal(parsed("2026-11-20T00:15:00Z"), INT64_C(1795133700) * NSEC_PER_SEC);
	assert_int_equal(parsed("2026-11-20T08:15:00.5+08:00"),
	                 INT64_C(1795133700) * NSEC_PER_SEC + 500 * NSEC_PER_MSEC);
	assert_int_equal(parsed("2026-11-19t19:45:00.000000001-04:30"),
	                 INT64_C(1795133700) * NSEC_PER_SEC + 1);
	assert_int_equal(parsed("2024-02-29T00:00:00Z"), INT64_C(1709164800) * NSEC_PER_SEC);
	assert_int_equal(parsed("2261-12-31T23:59:59.999999999Z"),
	                 INT64_C(9214646399) * NSEC_PER_SEC + 999999999);
}

static void test_local(void **state)
{
	(void)state;
	assert_int_equal(time_zone_set("Asia/Shanghai"), 0);
	assert_int_equal(parsed("2026-11-20 08:15"), parsed("2026-11-20T00:15:00Z"));
	assert_int_equal(parsed("2026-11-20 08:15:07.25"), parsed("2026-11-20T00:15:07.25Z"));
	assert_int_equal(time_zone_set("America/New_York"), 0);
	assert_int_equal(parsed("2026-07-01 12:00"), parsed("2026-07-01T16:00:00Z"));
	assert_int_equal(parsed("2026-12-01 12:00"), parsed("2026-12-01T17:00:00Z"));
}

/* $TZ and $TZDIR of whoever starts us must not shift windows. */
static void test_zone_is_ours(void **state)
{
	int64_t want;

	(void)state;
	setenv("TZ", "America/New_York", 1);
	setenv("TZDIR", "/nonexistent", 1);
	assert_int_equal(time_zone_set("Europe/Berlin"), 0);
	want = parsed("2026-11-20T07:15:00Z");
	assert_int_equal(parsed("2026-11-20 08:15"), want);
	unsetenv("TZDIR");
	assert_int_equal(time_zone_set("UTC"), 0);
	assert_int_equal(parsed("2026-11-20 07:15"), want);
	assert_int_equal(time_zone_set("Mars/Olympus"), -EINVAL);
	assert_int_equal(time_zone_set(""), -EINVAL);
	assert_int_equal(time_zone_set("../../../etc/passwd"), -EINVAL);
	assert_int_equal(time_zone_set("/etc/localtime"), -EINVAL);
	assert_int_equal(time_zone_set("Europe"), -EINVAL);
	assert_int_equal(time_zone_set("zone.tab"), -EINVAL);
	assert_int_equal(parsed("2026-11-20 07:15"), want); /* a refusal changes nothing */
}

static void test_zone_changes(void **state)
{
	(void)state;
	assert_int_equal(time_zone_set("Europe/Berlin"), 0);
	expect_error("2026-03-29 02:30", -ERANGE); /* does not exist */
	expect_error("2026-03-29 02:00", -ERANGE);
	expect_error("2026-10-25 02:30", -ERANGE); /* twice */
	expect_error("2026-10-25 02:00", -ERANGE);
	assert_int_equal(parsed("2026-03-29 01:59:59.9"), parsed("2026-03-29T00:59:59.9Z"));
	assert_int_equal(parsed("2026-03-29 03:00"), parsed("2026-03-29T01:00:00Z"));
	assert_int_equal(parsed("2026-10-25 01:59"), parsed("2026-10-24T23:59:00Z"));
	assert_int_equal(parsed("2026-10-25 03:00"), parsed("2026-10-25T02:00:00Z"));
	assert_int_equal(parsed("2026-10-25T02:30:00+01:00"), parsed("2026-10-25T01:30:00Z"));
	/* Moscow left +04 for +03 without any daylight saving: tm_isdst sees nothing. */
	assert_int_equal(time_zone_set("Europe/Moscow"), 0);
	expect_error("2014-10-26 01:30", -ERANGE);
	assert_int_equal(parsed("2014-10-26 00:59"), parsed("2014-10-25T20:59:00Z"));
	assert_int_equal(parsed("2014-10-26 02:00"), parsed("2014-10-25T23:00:00Z"));
	/* Samoa left out a whole day. */
	assert_int_equal(time_zone_set("Pacific/Apia"), 0);
	expect_error("2011-12-30 12:00", -ERANGE);
	assert_int_equal(parsed("2011-12-31 00:00"), parsed("2011-12-30T10:00:00Z"));
}

static void test_refused(void **state)
{
	static const char *const bad[] = {
	        "",
	        "yesterday",
	        "NOW",
	        "2026-11-20",
	        "2026-11-20 8:15",
	        "2026-11-20 08",
	        "2026-11-20 08:15:",
	        "2026-11-20 08:15:00.",
	        "2026-11-20 08:15:00.1234567890",
	        "2026-11-20 08:15 ",
	        " 2026-11-20 08:15",
	        "2026-11-20  08:15",
	        "2026-11-20 24:00",
	        "2026-11-20 08:60",
	        "2026-11-20 08:15:60",
	        "2026-13-20 08:15",
	        "2026-00-20 08:15",
	        "2026-02-29 08:15",
	        "2100-02-29T00:00:00Z",
	        "2026-11-31 08:15",
	        "2026-11-20T08:15:00+8:00",
	        "2026-11-20T08:15:00+0800",
	        "2026-11-20T08:15:00+24:00",
	        "2026-11-20T08:15:00Zulu",
	        "1969-12-31T23:59:59Z",
	        "2262-01-01T00:00:00Z",
	        "9999-12-31T23:59:59Z",
	        "1795133700",
	        "-15",
	        "-15m",
	        "+",
	        "-",
	        "--15min",
	        "-99999999999d",
	        "+106751d",
	        "2026-11-20T08:15:00\xff",
	};

	(void)state;
	assert_int_equal(time_zone_set("UTC"), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		expect_error(bad[i], -EINVAL);
}

static void test_relative(void **state)
{
	(void)state;
	assert_int_equal(parsed("now"), NOW);
	assert_int_equal(parsed("-15min"), NOW - 900 * NSEC_PER_SEC);
	assert_int_equal(parsed("+2h"), NOW + 7200 * NSEC_PER_SEC);
	assert_int_equal(parsed("-90d"), NOW - 90 * 86400 * NSEC_PER_SEC);
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		int64_t ns;
	} good[] = {{"90d", 7776000 * NSEC_PER_SEC},
	            {"24h", 86400 * NSEC_PER_SEC},
	            {"10min", 600 * NSEC_PER_SEC},
	            {"1s", NSEC_PER_SEC},
	            {"500ms", 500 * NSEC_PER_MSEC},
	            {"2w", 1209600 * NSEC_PER_SEC},
	            {"0s", 0},
	            {"9223372036s", 9223372036 * NSEC_PER_SEC}};
	static const char *const bad[] = {"",
	                                  "5",
	                                  "d",
	                                  "5m",
	                                  "5 d",
	                                  "-5d",
	                                  "1.5h",
	                                  "5dd",
	                                  "5D",
	                                  "9223372037s",
	                                  "+5d",
	                                  "0x5d",
	                                  "99999999999999999999d"};
	int64_t ns;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(duration_parse(good[i].text, &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(duration_parse(bad[i], &ns), -EINVAL);
}

static void test_sizes(void **state)
{
	uint64_t n;

	(void)state;
	assert_int_equal(size_parse("64G", &n), 0);
	assert_int_equal(n, 64 * GIB);
	assert_int_equal(size_parse("256M", &n), 0);
	assert_int_equal(n, 256 * MIB);
	assert_int_equal(size_parse("4K", &n), 0);
	assert_int_equal(n, 4096);
	assert_int_equal(size_parse("123", &n), 0);
	assert_int_equal(n, 123);
	assert_int_equal(size_parse("8T", &n), 0);
	assert_int_equal(n, UINT64_C(8) << 40);
	assert_int_equal(size_parse("18446744073709551615", &n), 0);
	assert_int_equal(size_parse("18446744073709551616", &n), -ERANGE);
	assert_int_equal(size_parse("16777216T", &n), -ERANGE);
	assert_int_equal(size_parse("", &n), -EINVAL);
	assert_int_equal(size_parse("G", &n), -EINVAL);
	assert_int_equal(size_parse("-1", &n), -EINVAL);
	assert_int_equal(size_parse("1.5G", &n), -EINVAL);
	assert_int_equal(size_parse("64GB", &n), -EINVAL);
	assert_int_equal(size_parse("64 G", &n), -EINVAL);
}

static void test_format(void **state)
{
	char text[TIME_TEXT_MAX];
	int64_t t;

	(void)state;
	assert_int_equal(time_zone_set("Asia/Shanghai"), 0);
	t = INT64_C(1795133700) * NSEC_PER_SEC + 40 * NSEC_PER_MSEC + 999999;
	time_format(t, text);
	assert_string_equal(text, "2026-11-20T08:15:00.040+08:00");
	time_format_name(t, text);
	assert_string_equal(text, "20261120T081500.040+0800");
	day_format(t, text);
	assert_string_equal(text, "2026-11-20");
	/* Down, before 1970 too. */
	assert_int_equal(time_zone_set("UTC"), 0);
	time_format(-1, text);
	assert_string_equal(text, "1969-12-31T23:59:59.999+00:00");
	time_format(INT64_MIN, text);
	time_format(INT64_MAX, text);
	assert_int_equal(time_zone_set("America/St_Johns"), 0);
	time_format_name(0, text);
	assert_string_equal(text, "19691231T203000.000-0330");
	assert_int_equal(time_parse_name(text, &t), 0);
	assert_int_equal(t, 0);
}

/* Names lead back to the very millisecond, in any zone; random times. */
static void test_name_round_trip(void **state)
{
	static const char *const zones[] = {"UTC", "Asia/Shanghai", "America/St_Johns",
	                                    "Europe/Berlin", "Pacific/Apia"};
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	char text[TIME_TEXT_MAX];
	int64_t t, back;

	(void)state;
	print_message("seed %u; replay with SEED=%u\n", seed, seed);
	srandom(seed);
	for (int i = 0; i < 5000; i++) {
		assert_int_equal(time_zone_set(zones[i % 5]), 0);
		t = INT64_C(100000000) * NSEC_PER_SEC + random() * 4 * NSEC_PER_SEC +
		    random() % NSEC_PER_SEC;
		time_format_name(t, text);
		assert_int_equal(strlen(text), 24);
		strcat(text, "--tail");
		assert_int_equal(time_parse_name(text, &back), 0);
		assert_int_equal(back, t - t % NSEC_PER_MSEC);
		time_format(t, text);
		assert_int_equal(parsed(text), back);
	}
}

static void test_name_refused(void **state)
{
	static const char *const bad[] = {"",
	                                  "20261120T081500.040+080",
	                                  "20261120T081500.040+08:00",
	                                  "20261120T081500.04+0800",
	                                  "20261120 081500.040+0800",
	                                  "20261320T081500.040+0800",
	                                  "20261120T081500.040Z",
	                                  "2026112OT081500.040+0800",
	                                  "20261120T081500,040+0800"};
	int64_t t;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(time_parse_name(bad[i], &t), -EINVAL);
}

static void expect_day(const char *day, const char *from, const char *to)
{
	int64_t a, b;

	assert_int_equal(day_bounds(day, &a, &b), 0);
	assert_int_equal(a, parsed(from));
	assert_int_equal(b, parsed(to));
}

static void test_days(void **state)
{
	int64_t a, b, end;
	char text[TIME_TEXT_MAX];

	(void)state;
	assert_int_equal(time_zone_set("Europe/Berlin"), 0);
	expect_day("2026-11-20", "2026-11-19T23:00:00Z", "2026-11-20T23:00:00Z");
	expect_day("2026-03-29", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"); /* 23 h */
	expect_day("2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"); /* 25 h */
	/* A day that begins at 01:00. */
	assert_int_equal(time_zone_set("America/Sao_Paulo"), 0);
	expect_day("2018-11-04", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z");
	/* Days follow each other without holes, and day_format agrees. */
	end = parsed("2017-12-31T02:00:00Z");
	for (int i = 0; i < 800; i++) {
		day_format(end, text);
		assert_int_equal(day_bounds(text, &a, &b), 0);
		assert_int_equal(a, end);
		day_format(b - 1, text);
		assert_int_equal(day_bounds(text, &a, &end), 0);
		assert_int_equal(end, b);
	}
	assert_int_equal(time_zone_set("Pacific/Apia"), 0);
	assert_int_equal(day_bounds("2011-12-30", &a, &b), -EINVAL);
	assert_int_equal(day_bounds("2026-02-30", &a, &b), -EINVAL);
	assert_int_equal(day_bounds("2026-11-2", &a, &b), -EINVAL);
	assert_int_equal(day_bounds("2026-11-201", &a, &b), -EINVAL);
	assert_int_equal(day_bounds("", &a, &b), -EINVAL);
}

static void test_clocks(void **state)
{
	struct clock_state st = clock_sync_state();
	int64_t boot = clock_boot_ns(), wall = clock_wall_ns();

	(void)state;
	assert_true(wall > parsed("2020-01-01T00:00:00Z"));
	assert_true(clock_boot_ns() >= boot);
	assert_true(st.synced || st.error_us == UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_rfc3339),      cmocka_unit_test(test_local),
	        cmocka_unit_test(test_zone_is_ours), cmocka_unit_test(test_zone_changes),
	        cmocka_unit_test(test_refused),      cmocka_unit_test(test_relative),
	        cmocka_unit_test(test_durations),    cmocka_unit_test(test_sizes),
	        cmocka_unit_test(test_format),       cmocka_unit_test(test_name_round_trip),
	        cmocka_unit_test(test_name_refused), cmocka_unit_test(test_days),
	        cmocka_unit_test(test_clocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

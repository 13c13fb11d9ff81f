/*
 * test_pol_clock.c — the policy clock beside the wall clock, with a machine that stops between any
 * two looks at a clock. The C library's clock_gettime() is replaced here, so the pauses are exact.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <time.h>

#include "policyd/polclock.h"

static int64_t boot_ns = 1000 * NSEC_PER_SEC;
static int64_t wall_offset_ns = 1700000000 * NSEC_PER_SEC;
static int64_t pause_ns; /* passes after each look */

/* Takes the C library's place in this program. */
int clock_gettime(clockid_t clock, struct timespec *out)
{
	int64_t t = clock == CLOCK_REALTIME ? boot_ns + wall_offset_ns : boot_ns;

	out->tv_sec = t / NSEC_PER_SEC;
	out->tv_nsec = t % NSEC_PER_SEC;
	boot_ns += pause_ns;
	return 0;
}

/* However long the pauses, it is never ahead of a wall clock that nobody has set. */
static void test_pauses_do_not_push_it_ahead(void **state)
{
	static const int64_t pauses[] = {3 * NSEC_PER_MSEC, 0, 40 * NSEC_PER_MSEC, 1, 0};
	struct polclock c = {.base_ns = boot_ns + wall_offset_ns, .base_boot_ns = boot_ns};

	(void)state;
	for (size_t i = 0; i < 100; i++) {
		pause_ns = pauses[i % ARRAY_LEN(pauses)];
		assert_true(polclock_now(&c) <= boot_ns + wall_offset_ns);
	}
	pause_ns = 0;
	assert_int_equal(polclock_now(&c), boot_ns + wall_offset_ns);
}

/* Set back, it goes on with boot time; set forward, it follows and stays. */
static void test_a_set_wall_clock(void **state)
{
	struct polclock c = {.base_ns = boot_ns + wall_offset_ns, .base_boot_ns = boot_ns};
	int64_t before;

	(void)state;
	pause_ns = 0;
	before = polclock_now(&c);
	wall_offset_ns -= 3600 * NSEC_PER_SEC;
	boot_ns += NSEC_PER_SEC;
	assert_int_equal(polclock_now(&c), before + NSEC_PER_SEC);
	wall_offset_ns += 2 * 3600 * NSEC_PER_SEC;
	assert_int_equal(polclock_now(&c), boot_ns + wall_offset_ns);
	wall_offset_ns -= 3600 * NSEC_PER_SEC;
	assert_int_equal(polclock_now(&c), boot_ns + wall_offset_ns + 3600 * NSEC_PER_SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_pauses_do_not_push_it_ahead),
	        cmocka_unit_test(test_a_set_wall_clock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_gate_cover.c — the rule of cover records. The property: whatever is read, in whatever order,
 * however slow the log and fast the clock, nothing is allowed that a durable, fresh cover of the
 * test's own book does not contain — and a reader that does what the plan says gets its bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fusefs/cover.h"
#include "tests/unit/support_gate.h"

#define BOOK 4096

/* What the log would hold: the truth the rule is judged by. */
struct book {
	struct {
		uint64_t from, to;
		int64_t asked_ns;
	} cover[BOOK]; /* record n is cover[n - 1] */
	uint64_t n, durable;
};

static uint64_t book_add(struct book *b, uint64_t from, uint64_t to, int64_t now)
{
	assert_true(b->n < BOOK);
	b->cover[b->n].from = from;
	b->cover[b->n].to = to;
	b->cover[b->n].asked_ns = now;
	return ++b->n;
}

static bool book_says(const struct book *b, uint64_t from, uint64_t to, int64_t now)
{
	for (uint64_t i = 0; i < b->durable; i++)
		if (b->cover[i].from <= from && to <= b->cover[i].to &&
		    now - b->cover[i].asked_ns <= COVER_AGE_NS)
			return true;
	return false;
}

/* Follows the plan once; true: the read would have been let out. */
static bool step(struct cover_set *s, struct book *b, uint64_t from, uint64_t to, uint64_t size,
                 int64_t *now, uint64_t *rnd)
{
	struct cover_plan p;
	uint64_t want = 0;

	cover_plan(s, from, to, size, *now, b->durable, &p);
	if (p.act == COVER_GO)
		assert_true(book_says(b, from, to, *now));
	if (p.act == COVER_ASK) {
		assert_true(p.from <= from && to <= p.to && p.to <= size);
		assert_true(p.to - p.from <= COVER_STEP_MAX + 2 * COVER_STEP_MIN);
		want = book_add(b, p.from, p.to, *now);
		cover_add(s, p.from, p.to, want, *now);
	}
	if (p.act == COVER_WAIT) {
		want = p.wait_seq;
		assert_true(want > b->durable && want <= b->n);
	}
	if (p.ahead) {
		assert_true(p.ahead_from < p.ahead_to && p.ahead_to <= size);
		cover_add(s, p.ahead_from, p.ahead_to, book_add(b, p.ahead_from, p.ahead_to, *now),
		          *now);
	}
	/* Mostly the reader waits as it should; now and then it would try to get out too early. */
	if (want > b->durable && view_random(rnd) % 8)
		b->durable = want;
	if (view_random(rnd) % 16 == 0)
		*now += (int64_t)(view_random(rnd) % (12 * (uint64_t)NSEC_PER_SEC));
	if (!cover_allows(s, from, to, *now, b->durable))
		return false;
	assert_true(book_says(b, from, to, *now));
	return true;
}

static void never_without_a_cover(void **state)
{
	uint64_t rnd = view_seed("test_gate_cover");

	(void)state;
	for (int round = 0; round < 300; round++) {
		struct cover_set s = {0};
		struct book b = {0};
		uint64_t size = 1 + view_random(&rnd) % (200 * MIB), at = 0;
		int64_t now = 1000 + (int64_t)(view_random(&rnd) % 1000000);

		for (int i = 0; i < 150 && b.n + 64 < BOOK; i++) {
			uint64_t len = 1 + view_random(&rnd) % MIB;
			int tries = 0;

			if (view_random(&rnd) % 4 == 0 || at >= size)
				at = view_random(&rnd) % size;
			if (at + len > size)
				len = size - at;
			/* Alive: a reader who keeps at it comes through. */
			while (!step(&s, &b, at, at + len, size, &now, &rnd))
				assert_true(++tries < 20);
			/* Anything at all: allowed only if the book says so. */
			for (int k = 0; k < 8; k++) {
				uint64_t f = view_random(&rnd) % size;
				uint64_t t = f + 1 + view_random(&rnd) % MIB;

				if (cover_allows(&s, f, t, now, b.durable))
					assert_true(book_says(&b, f, t, now));
			}
			at += len;
			now += (int64_t)(view_random(&rnd) % 20000000);
			b.durable += view_random(&rnd) % 2 && b.durable < b.n;
		}
	}
}

static void each_condition_counts(void **state)
{
	struct cover_set s = {0};
	int64_t t = 5 * NSEC_PER_SEC;

	(void)state;
	assert_false(cover_allows(&s, 0, 1, t, UINT64_MAX)); /* nothing asked for */
	cover_add(&s, 100, 200, 7, t);
	assert_true(cover_allows(&s, 100, 200, t, 7));
	assert_false(cover_allows(&s, 100, 200, t, 6)); /* not durable */
	assert_false(cover_allows(&s, 99, 200, t, 7));  /* a byte before */
	assert_false(cover_allows(&s, 100, 201, t, 7)); /* a byte behind */
	assert_true(cover_allows(&s, 100, 200, t + COVER_AGE_NS, 7));
	assert_false(cover_allows(&s, 100, 200, t + COVER_AGE_NS + 1, 7)); /* too old */
	cover_add(&s, 200, 300, 8, t);
	assert_false(cover_allows(&s, 150, 250, t, 8)); /* one cover must contain all of it */
}

static void sequential_regions_grow(void **state)
{
	struct cover_set s = {0};
	struct cover_plan p;
	uint64_t seq = 0, largest = 0, size = 200 * MIB, waits = 0;

	(void)state;
	for (uint64_t at = 0; at < size; at += 128 * KIB) {
		cover_plan(&s, at, at + 128 * KIB, size, 1, seq, &p);
		if (at == 0) {
			assert_int_equal(p.act, COVER_ASK);
			assert_int_equal(p.from, 0);
			assert_int_equal(p.to, COVER_STEP_MIN);
		}
		waits += p.act != COVER_GO;
		if (p.act == COVER_ASK)
			cover_add(&s, p.from, p.to, ++seq, 1);
		if (p.ahead) {
			assert_true(p.ahead_to - p.ahead_from <= COVER_STEP_MAX);
			if (p.ahead_to - p.ahead_from > largest)
				largest = p.ahead_to - p.ahead_from;
			cover_add(&s, p.ahead_from, p.ahead_to, ++seq, 1);
		}
	}
	assert_int_equal(largest, COVER_STEP_MAX);
	assert_int_equal(waits, 1); /* only the very first read waits for the log */
	assert_true(seq < 20);
}

static void random_regions_are_aligned_and_clipped(void **state)
{
	struct cover_set s = {0};
	struct cover_plan p;

	(void)state;
	cover_plan(&s, 50 * MIB + 5, 50 * MIB + 10, 100 * MIB, 1, 0, &p);
	assert_int_equal(p.act, COVER_ASK);
	assert_int_equal(p.from, 50 * MIB);
	assert_int_equal(p.to, 51 * MIB);
	assert_false(p.ahead);
	cover_plan(&s, 20 * MIB - 1, 20 * MIB + 1, 20 * MIB + 1, 1, 0, &p);
	assert_int_equal(p.from, 19 * MIB);
	assert_int_equal(p.to, 20 * MIB + 1); /* never past the end of the file */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(each_condition_counts),
	        cmocka_unit_test(sequential_regions_grow),
	        cmocka_unit_test(random_regions_are_aligned_and_clipped),
	        cmocka_unit_test(never_without_a_cover),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_gate_check.c — the gate's decision as a table, lists coming into force, and the promise of
 * the drain: after it, no reply of a revoked grant is under way, and none begins.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fusefs/deny.h"
#include "fusefs/gate.h"
#include "tests/unit/support_grant.h"

#define HOUR (3600 * NSEC_PER_SEC)

static void decision_table(void **state)
{
	static const struct {
		struct gate_facts f;
		enum gate_verdict v;
	} row[] = {
	        {{.caller = 5,
	          .owner = 5,
	          .now_ns = 9,
	          .until_ns = 10,
	          .boot_ns = 1,
	          .lease_end_ns = 2},
	         GATE_OK},
	        {{.caller = 6,
	          .owner = 5,
	          .now_ns = 9,
	          .until_ns = 10,
	          .boot_ns = 1,
	          .lease_end_ns = 2},
	         GATE_NOT_OWNER},
	        {{.caller = 0,
	          .owner = 5,
	          .now_ns = 9,
	          .until_ns = 10,
	          .boot_ns = 1,
	          .lease_end_ns = 2},
	         GATE_NOT_OWNER}, /* root is nobody special */
	        {{.caller = 5,
	          .owner = 5,
	          .revoked = true,
	          .now_ns = 9,
	          .until_ns = 10,
	          .boot_ns = 1,
	          .lease_end_ns = 2},
	         GATE_REVOKED},
	        {{.caller = 5,
	          .owner = 5,
	          .now_ns = 10,
	          .until_ns = 10,
	          .boot_ns = 1,
	          .lease_end_ns = 2},
	         GATE_EXPIRED},
	        {{.caller = 5,
	          .owner = 5,
	          .now_ns = 9,
	          .until_ns = 10,
	          .boot_ns = 2,
	          .lease_end_ns = 2},
	         GATE_NO_LEASE},
	        {{.caller = 5, .owner = 5, .now_ns = 9, .until_ns = 10, .boot_ns = 1},
	         GATE_NO_LEASE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(row); i++)
		assert_int_equal(gate_judge(&row[i].f), row[i].v);
}

static void apply(struct gate *g, json_t *list, size_t expect_gone)
{
	struct grant **gone;
	size_t n;

	assert_int_equal(gate_apply(g, list, &gone, &n), 0);
	json_decref(list);
	assert_int_equal(n, expect_gone);
	for (size_t i = 0; i < n; i++) {
		assert_true(atomic_load(&gone[i]->revoked));
		gate_drain(g, gone[i]);
		grant_put(gone[i]);
	}
	free(gone);
}

static struct gate *gate_leased(void)
{
	struct gate *g;

	assert_int_equal(gate_new(&g), 0);
	gate_lease_set(g, clock_boot_ns() + HOUR);
	return g;
}

static void lists_come_into_force(void **state)
{
	json_t *one = grant_json(1, 1000, "ann"), *two = grant_json(2, 1001, "bob"), *changed;
	struct gate *g = gate_leased();
	struct grant *a, *again;

	(void)state;
	assert_null(gate_find(g, 1000, "ann", 1));
	apply(g, json_pack("[O,O]", one, two), 0);
	assert_non_null(a = gate_find(g, 1000, "ann", 1));
	assert_null(gate_find(g, 1001, "ann", 1)); /* bob asks for ann's */
	assert_null(gate_find(g, 1000, "bob", 1)); /* ann's number below bob's name */
	assert_null(gate_find(g, 0, "ann", 1));
	/* An equal object in a new list: the same grant, handles live on. */
	apply(g, json_pack("[O,o]", two, json_deep_copy(one)), 0);
	assert_ptr_equal(again = gate_find(g, 1000, "ann", 1), a);
	grant_put(again);
	/* Narrowed by one nanosecond: another grant, the old one is revoked. */
	changed = json_deep_copy(one);
	json_object_set_new(changed, "to",
	                    json_integer(json_integer_value(json_object_get(one, "to")) - 1));
	apply(g, json_pack("[o,O]", changed, two), 1);
	assert_int_equal(gate_check(g, a, 1000), GATE_REVOKED);
	assert_non_null(again = gate_find(g, 1000, "ann", 1));
	assert_ptr_not_equal(again, a);
	grant_put(again);
	grant_put(a);
	/* Not active any more; and one that vanished. */
	json_object_set_new(two, "state", json_string("revoked"));
	apply(g, json_pack("[O]", two), 2);
	assert_int_equal(gate_count(g), 0);
	json_decref(one);
	json_decref(two);
	gate_free(g);
}

static void nonsense_is_not_served(void **state)
{
	static const char *const field[] = {"grant", "uid", "user", "cameras",
	                                    "from",  "to",  "until"};
	struct gate *g = gate_leased();
	struct grant **gone, *x;
	size_t n;

	(void)state;
	assert_int_equal(gate_apply(g, json_null(), &gone, &n), -EINVAL);
	for (size_t i = 0; i < ARRAY_LEN(field); i++) {
		json_t *o = grant_json(1, 1000, "ann");

		json_object_del(o, field[i]);
		assert_int_equal(grant_parse(o, &x), -EINVAL);
		json_object_set_new(o, field[i], json_real(0.5));
		assert_int_equal(grant_parse(o, &x), -EINVAL);
		apply(g, json_pack("[o]", o), 0);
		assert_int_equal(gate_count(g), 0);
	}
	gate_free(g);
}

static void without_lease_or_after_the_end_nothing(void **state)
{
	struct gate *g = gate_leased();
	json_t *o = grant_json(1, 1000, "ann");
	struct grant *a, **list;
	size_t n;

	(void)state;
	apply(g, json_pack("[o]", json_deep_copy(o)), 0);
	assert_non_null(a = gate_find(g, 1000, "ann", 1));
	gate_lease_set(g, clock_boot_ns());
	assert_int_equal(gate_check(g, a, 1000), GATE_NO_LEASE);
	assert_int_equal(gate_reply_begin(g, a, 1000), GATE_NO_LEASE);
	assert_int_equal(atomic_load(&a->replying), 0);
	assert_null(gate_find(g, 1000, "ann", 1));
	assert_int_equal(gate_list(g, 1000, "ann", &list, &n), 0);
	assert_int_equal(n, 0);
	free(list);
	gate_lease_set(g, clock_boot_ns() + HOUR);
	assert_int_equal(gate_check(g, a, 1000), GATE_OK); /* policyd is back: it goes on */
	grant_put(a);
	json_object_set_new(o, "until", json_integer(clock_wall_ns()));
	apply(g, json_pack("[O]", o), 1);
	assert_null(gate_find(g, 1000, "ann", 1));
	json_decref(o);
	gate_free(g);
}

/* ---------------------------------------------------------------- the drain */

struct race {
	struct gate *g;
	struct grant *grant;
	atomic_bool acknowledged;
	atomic_int late, replies;
};

static void *replier(void *arg)
{
	struct race *r = arg;

	while (gate_reply_begin(r->g, r->grant, 1000) == GATE_OK) {
		/* "Bytes leave" over a while; none may after the acknowledgement. */
		for (int i = 0; i < 50; i++)
			if (atomic_load(&r->acknowledged))
				atomic_fetch_add(&r->late, 1);
		atomic_fetch_add(&r->replies, 1);
		gate_reply_end(r->g, r->grant);
	}
	return NULL;
}

static void no_byte_after_the_drain(void **state)
{
	(void)state;
	for (int round = 0; round < 200; round++) {
		struct race r = {.g = gate_leased()};
		pthread_t t[4];

		apply(r.g, json_pack("[o]", grant_json(1, 1000, "ann")), 0);
		assert_non_null(r.grant = gate_find(r.g, 1000, "ann", 1));
		for (size_t i = 0; i < ARRAY_LEN(t); i++)
			assert_int_equal(pthread_create(&t[i], NULL, replier, &r), 0);
		while (atomic_load(&r.replies) < 20)
			;
		apply(r.g, json_array(), 1); /* revokes and drains */
		atomic_store(&r.acknowledged, true);
		for (size_t i = 0; i < ARRAY_LEN(t); i++)
			pthread_join(t[i], NULL);
		assert_int_equal(atomic_load(&r.late), 0);
		assert_int_equal(atomic_load(&r.grant->replying), 0);
		grant_put(r.grant);
		gate_free(r.g);
	}
}

static void denials_are_limited_and_counted(void **state)
{
	struct deny_bucket b = {0};
	int64_t t = 100 * NSEC_PER_SEC;
	int written = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		written += deny_admit(&b, t + i);
	assert_int_equal(written, DENY_PER_SECOND);
	assert_int_equal(deny_take(&b, t + NSEC_PER_SEC - 1), 0); /* the second is not over */
	assert_int_equal(deny_take(&b, t + NSEC_PER_SEC), 1000 - DENY_PER_SECOND);
	assert_int_equal(deny_take(&b, t + NSEC_PER_SEC), 0);
	assert_true(deny_admit(&b, t + NSEC_PER_SEC));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(decision_table),
	        cmocka_unit_test(lists_come_into_force),
	        cmocka_unit_test(nonsense_is_not_served),
	        cmocka_unit_test(without_lease_or_after_the_end_nothing),
	        cmocka_unit_test(no_byte_after_the_drain),
	        cmocka_unit_test(denials_are_limited_and_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * policy.conf: the sample parses, every wrong text gets one clear line, and what weakens is seen.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/budget.h"
#include "policyd/policyconf.h"
#include "tests/unit/support_pol.h"

static const char base[] =
        "limits { min_age_floor = \"90d\" max_window = \"24h\" max_grant = \"14d\" }\n"
        "department \"d\" { heads = {\"ann\"} deputies = {\"erin\"} }\n"
        "department \"e\" { heads = {\"bob\"} }\n"
        "role \"leader\" { members = {\"carol\"} }\n"
        "camera \"c\" { department = \"d\" level = 2 min_age = \"90d\" max_age = \"120d\" }\n"
        "chain \"x\" { requesters = {\"@staff\"} subject = required export = false\n"
        " stages = {\"head\", \"2 of leader\"} notify = \"leader\" within = \"24h\" }\n";

static struct pol_conf *parse(const char *text)
{
	struct pol_conf *c;
	char err[512];

	if (policyconf_parse(text, "policy.conf", &c, err, sizeof(err)))
		fail_msg("%s", err);
	return c;
}

/* base with the first `from` replaced. */
static char *changed(const char *from, const char *to)
{
	const char *at = strstr(base, from);
	char *text = NULL;

	assert_non_null(at);
	assert_true(asprintf(&text, "%.*s%s%s", (int)(at - base), base, to, at + strlen(from)) > 0);
	return text;
}

static void everything_is_read(void **state)
{
	struct pol_conf *c = parse(base);

	(void)state;
	assert_int_equal(c->max_window_ns, 24 * 3600 * NSEC_PER_SEC);
	assert_int_equal(c->cameras[0].level, 2);
	assert_int_equal(c->cameras[0].max_age_ns, 120 * 24 * 3600 * NSEC_PER_SEC);
	assert_true(c->chains[0].stages[0].head && !c->chains[0].stages[1].head);
	assert_int_equal(c->chains[0].stages[1].need, 2);
	assert_true(c->chains[0].subject_required && !c->chains[0].export_allowed);
	assert_string_equal(c->departments[0].deputies[0], "erin");
	policyconf_free(c);
}

static void wrong_texts_get_one_line(void **state)
{
	static const struct {
		const char *from, *to, *says;
	} wrong[] = {
	        {"limits {", "frob = 1\nlimits {", "policy.conf:1"},
	        {"max_window = \"24h\"", "max_window = \"24h\" max_window = \"48h\"",
	         "policy.conf:1"},
	        {"\"24h\"", "\"24\"", "duration"},
	        {"\"24h\"", "\"${HOME}\"", "environment"},
	        {"min_age = \"90d\"", "min_age = \"89d\"", "min_age_floor"},
	        {"max_age = \"120d\"", "max_age = \"30d\"", "max_age"},
	        {"department = \"d\" level", "department = \"z\" level", "department"},
	        {"department = \"d\" level", "level", "department"},
	        {"level = 2", "level = two", "level"},
	        {"2 of leader", "2 of nobody", "nobody"},
	        {"2 of leader", "0 of leader", "1 to 20"},
	        {"{\"head\", \"2 of leader\"}", "{}", "stages"},
	        {"{\"@staff\"}", "{}", "requesters"},
	        {"export = false", "export = perhaps", "export"},
	        {"camera \"c\"", "camera \"a/b\"", "name"},
	        {"camera \"c\"", "camera \"..\"", "name"},
	        {"role \"leader\"", "role \"head\" { members = {} } role \"leader\"", "head"},
	        {"department \"e\"", "department \"d\"", "policy.conf:"},
	        {"notify = \"leader\"", "notify = \"nobody\"", "notify"},
	        {"limits {", "limits {{", "policy.conf"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		char *text = changed(wrong[i].from, wrong[i].to), err[512] = "";
		struct pol_conf *c;

		if (policyconf_parse(text, "policy.conf", &c, err, sizeof(err)) != -EINVAL)
			fail_msg("taken: %s", wrong[i].to);
		if (!strstr(err, wrong[i].says) || strchr(err, '\n'))
			fail_msg("%s: said %s", wrong[i].to, err);
		free(text);
	}
}

static void weakening_is_seen(void **state)
{
	static const struct {
		const char *from, *to;
		bool weakens;
	} changes[] = {
	        {"\"90d\" max_window", "\"89d\" max_window", true},
	        {"\"24h\"", "\"25h\"", true},
	        {"\"24h\"", "\"23h\"", false},
	        {"\"14d\"", "\"15d\"", true},
	        {"{\"ann\"}", "{\"ann\", \"eve\"}", true},
	        {"{\"erin\"}", "{}", false},
	        {"{\"carol\"}", "{\"carol\", \"eve\"}", true},
	        {"{\"@staff\"}", "{\"@staff\", \"eve\"}", true},
	        {"{\"head\", \"2 of leader\"}", "{\"head\"}", true},
	        {"{\"head\", \"2 of leader\"}", "{\"2 of leader\", \"head\"}", true},
	        {"2 of leader", "leader", true},
	        {"2 of leader", "3 of leader", false},
	        {"{\"head\", \"2 of leader\"}", "{\"head\", \"leader\", \"2 of leader\"}", false},
	        {"subject = required", "", true},
	        {"export = false", "", true},
	        {"within = \"24h\"", "within = \"48h\"", true},
	        {"department = \"d\" level", "department = \"e\" level", true},
	        {"level = 2", "level = 1", true},
	        {"max_age = \"120d\"", "max_age = \"100d\"", true},
	        {"chain \"x\"",
	         "chain \"y\" { requesters = {\"eve\"} stages = {\"head\"} } chain \"x\"", true},
	        {"role \"leader\"", "# a remark\nrole \"leader\"", false},
	};
	struct pol_conf *old = parse(base);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		char *text = changed(changes[i].from, changes[i].to), *why, *diff;
		struct pol_conf *new = parse(text);

		why = policy_weakens(old, new);
		diff = policy_diff(base, text);
		if ((*why != '\0') != changes[i].weakens)
			fail_msg("%s -> %s: %s", changes[i].from, changes[i].to, why);
		assert_true(*diff && strchr(diff, '+'));
		free(why);
		free(diff);
		free(text);
		policyconf_free(new);
	}
	policyconf_free(old);
}

static void differences_read_well(void **state)
{
	char *d = policy_diff("a\nb\nc\nd\n", "a\nx\nc\nd\n");

	(void)state;
	assert_string_equal(d, "@@ from line 2 @@\n- b\n+ x\n");
	free(d);
	d = policy_diff("a\n", "a\n");
	assert_string_equal(d, "");
	free(d);
	d = policy_diff("a\nb\nc\n", "b\nq\nc\nz\n");
	assert_string_equal(d, "@@ from line 1 @@\n- a\n  b\n+ q\n  c\n+ z\n");
	free(d);
	/* of many unchanged lines only those next to the changes */
	d = policy_diff("x\n1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n8\n9\ny\n");
	assert_string_equal(d,
	                    "@@ from line 1 @@\n- x\n  1\n  2\n  3\n@@ from line 7 @@\n  7\n  8\n  "
	                    "9\n+ y\n");
	free(d);
}

static void refusals_are_budgeted(void **state)
{
	struct pol_budget *b;
	uint32_t uid, count;
	int recorded = 0;

	(void)state;
	assert_int_equal(budget_new(&b), 0);
	for (int i = 0; i < 1000; i++)
		recorded += budget_take(b, 7, i, BUDGET_REFUSALS);
	assert_int_equal(recorded, BUDGET_REFUSALS);
	assert_true(budget_take(b, 8, 5, BUDGET_REFUSALS)); /* others are not held back */
	assert_false(budget_due(b, BUDGET_WINDOW_NS - 1, &uid, &count));
	assert_true(budget_due(b, BUDGET_WINDOW_NS, &uid, &count));
	assert_int_equal(uid, 7);
	assert_int_equal(count, 1000 - BUDGET_REFUSALS);
	assert_false(budget_due(b, BUDGET_WINDOW_NS, &uid, &count));
	assert_true(budget_take(b, 7, BUDGET_WINDOW_NS, 1));
	assert_false(budget_take(b, 7, BUDGET_WINDOW_NS, 1));
	budget_free(b);
}

static void random_bytes_never_crash_the_parser(void **state)
{
	uint64_t rng = pol_seed();

	(void)state;
	for (int i = 0; i < 3000; i++) {
		char *text = strdup(base), err[512];
		struct pol_conf *c = NULL;
		size_t len = strlen(text);

		for (uint32_t k = 0, n = 1 + pol_random(&rng, 4); k < n; k++)
			text[pol_random(&rng, (uint32_t)len)] =
			        "{}\"=,# \nx0\\'"[pol_random(&rng, 12)];
		if (!policyconf_parse(text, "p", &c, err, sizeof(err)))
			policyconf_free(c);
		else
			assert_true(*err && !strchr(err, '\n'));
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(everything_is_read),
	        cmocka_unit_test(wrong_texts_get_one_line),
	        cmocka_unit_test(weakening_is_seen),
	        cmocka_unit_test(differences_read_well),
	        cmocka_unit_test(refusals_are_budgeted),
	        cmocka_unit_test(random_bytes_never_crash_the_parser),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

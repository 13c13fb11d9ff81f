/*
 * test_gate_text.c — GRANT.txt: what it says of a window's footage, when it says that more may
 * come, and that it stays the same once nothing can.
 */
#include "fusefs/grant_text.h"
#include "tests/unit/support_grant.h"
#include "tests/unit/view_store.h"

struct desk { /* what GRANT.txt is made from */
	struct conf conf;
	struct conf_store store;
	struct stores *stores;
	struct listings *listings;
};

static void desk_open(struct desk *d, struct store *s)
{
	memset(d, 0, sizeof(*d));
	d->store.name = (char *)(uintptr_t) "main";
	d->store.path = s->dir;
	d->conf.stores = &d->store;
	d->conf.n_stores = 1;
	assert_int_equal(stores_new(&d->conf, &d->stores), 0);
	assert_int_equal(listings_new(d->stores, SLICE, &d->listings), 0);
}

static void desk_close(struct desk *d)
{
	listings_free(d->listings);
	stores_free(d->stores);
}

static struct grant *grant_on(int64_t from, int64_t to)
{
	json_t *o = grant_json(7, 1000, "ann");
	struct grant *g;

	json_object_set_new(o, "cameras", json_pack("[s]", CAMERA));
	json_object_set_new(o, "from", json_integer(from));
	json_object_set_new(o, "to", json_integer(to));
	assert_int_equal(grant_parse(o, &g), 0);
	json_decref(o);
	return g;
}

/* The text as the store tells it now. */
static char *text_now(struct desk *d, struct grant *g)
{
	char *text;

	g->text_until_ns = 0;
	listing_drop(d->listings, g);
	assert_int_equal(grant_text(g, d->stores, d->listings, "key", &text), 0);
	return text;
}

static void says(const char *text, const char *line)
{
	if (!strstr(text, line))
		fail_msg("\"%s\" is not in:\n%s", line, text);
}

/* before, a time, between, another time and a line's end */
static void says_times(const char *text, const char *before, int64_t a, const char *between,
                       int64_t b)
{
	char x[TIME_TEXT_MAX], y[TIME_TEXT_MAX], line[256];

	time_format(a, x);
	time_format(b, y);
	snprintf(line, sizeof(line), "%s%s%s%s\n", before, x, between, y);
	says(text, line);
}

static void ranges_and_gaps(void **state)
{
	const int64_t second = NSEC_PER_SEC;
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	struct grant *g = grant_on(START + second / 2, START + 40 * second);
	char *text, *again, from[TIME_TEXT_MAX];
	struct desk d;

	desk_open(&d, s);
	text = text_now(&d, g);
	/* Long past, nothing recorded: that is the whole truth. */
	says(text, CAMERA ": nothing was recorded\n");
	assert_null(strstr(text, "more appears"));
	says(text, "CUSTOS GRANT 7\n调查 (c-1)\n");
	free(text);
	run_begin(s, true, false);
	append_gops(s, m, PLAIN, START, 10, 25, false, 0);
	run_end(s, m);
	run_begin(s, true, false);
	append_gops(s, m, PLAIN, START + 15 * second, 4, 25, false, 0);
	store_sync(s);
	text = text_now(&d, g);
	says_times(text, CAMERA ": from ", START + second, " to ", START + 18 * second);
	time_format(START, from);
	says(text, "a window from ");
	says(text, from);
	says_times(text, "nothing from ", START + 10 * second, " to ", START + 15 * second);
	says(text, "    5.0 s missing");
	says(text, "    more appears as it is recorded\n");
	free(text);
	append_gops(s, m, PLAIN, START + 19 * second, 22, 25, false, 0);
	store_sync(s);
	text = text_now(&d, g); /* footage has passed the window's end */
	says_times(text, CAMERA ": from ", START + second, " to ", START + 40 * second);
	assert_null(strstr(text, "more appears"));
	append_gops(s, m, PLAIN, START + 41 * second, 22, 25, false, 0);
	run_end(s, m);
	again = text_now(&d, g);
	assert_string_equal(text, again);
	free(text);
	free(again);
	grant_put(g);
	desk_close(&d);
	free(m);
}

/* Whether more may come is decided by what is durable; by the clock only where there is nothing. */
static void settled_by_footage(void **state)
{
	struct store *s = *state;
	struct model *m = calloc(1, sizeof(*m));
	int64_t end;

	assert_int_equal(view_settled(s->r, CAMERA, START, START + SLICE, START + SLICE), 0);
	assert_int_equal(view_settled(s->r, CAMERA, START, START + SLICE,
	                              START + SLICE + VIEW_SETTLED_NS + 1),
	                 1);
	run_begin(s, true, true);
	end = append_gops(s, m, REORDERED, START, 8, 25, true, 200 * NSEC_PER_MSEC);
	store_sync(s);
	/* Recorded a moment ago, but nothing of it can change any more. */
	assert_int_equal(view_settled(s->r, CAMERA, START, end - NSEC_PER_SEC, end), 1);
	/* Its sound is not there yet. */
	assert_int_equal(view_settled(s->r, CAMERA, START, end - 100 * NSEC_PER_MSEC, end), 0);
	/* The run goes on, whatever the clock says. */
	assert_int_equal(view_settled(s->r, CAMERA, START, end + SLICE, end + 100 * SLICE), 0);
	run_end(s, m);
	assert_int_equal(view_settled(s->r, CAMERA, START, end - 100 * NSEC_PER_MSEC, end), 1);
	assert_int_equal(view_settled(s->r, CAMERA, START, end + SLICE, end + SLICE), 0);
	assert_int_equal(view_settled(s->r, CAMERA, START, end + SLICE, end + 100 * SLICE), 1);
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STORE_TEST(ranges_and_gaps),
	        STORE_TEST(settled_by_footage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

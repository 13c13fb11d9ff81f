/*
 * The recorder's policy thread against a policyd played by the test: what is signed by the site's
 * key and newer comes into force and is kept in the store; everything else changes nothing and is
 * written down. And the thread that asks for rights: what it still holds at the end is not granted.
 */
#include "tests/unit/support_rec.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/audit/note.h"
#include "engine/recorder/recorder.h"
#include "engine/writer.h"

#define HANG_GUARD_MS 60000

struct world {
	char dir[64], run[80], state[80], store_path[80], store_name[8];
	struct conf conf;
	struct conf_store conf_store;
	struct recorder rec;
	struct store store;
	struct note_key *key, *other;
	struct line_server *server;
	struct policy *policy;
	/* the question that waits */
	struct line_conn *asked;
	int64_t have;
	int questions;
};

/* ---- policyd's end ---- */

static void handler(void *arg, struct line_conn *conn, const struct line_peer *peer, json_t *req)
{
	struct world *w = arg;

	(void)peer;
	assert_string_equal(json_string_value(json_object_get(req, "op")), "snapshot");
	assert_string_equal(json_string_value(json_object_get(req, "store")), "main");
	w->asked = conn;
	w->have = json_integer_value(json_object_get(req, "have"));
	w->questions++;
}

static void gone(void *arg, struct line_conn *conn)
{
	struct world *w = arg;

	if (w->asked == conn)
		w->asked = NULL;
}

static void await_question(struct world *w)
{
	struct pollfd p = {.fd = line_server_fd(w->server), .events = POLLIN};

	while (!w->asked) {
		assert_true(poll(&p, 1, HANG_GUARD_MS) > 0);
		line_server_run(w->server);
	}
}

/* Answers with a note; returns when the recorder has judged it and asks again. */
static void give(struct world *w, const char *note)
{
	await_question(w);
	struct line_conn *c = w->asked;
	w->asked = NULL;
	line_reply(c, json_pack("{s:s}", "snapshot", note));
	await_question(w);
	policy_run(w->policy, &w->rec);
}

static char *snapshot(const struct note_key *key, int number)
{
	char body[512], *note = NULL;

	snprintf(body, sizeof(body),
	         "custos.policy/1\n{\"number\":%d,\"cameras\":[{\"camera\":\"a\",\"min_age\":1,"
	         "\"max_age\":2}],\"keeps\":[]}\n",
	         number);
	assert_int_equal(note_sign(key, body, &note), 0);
	return note;
}

static void give_number(struct world *w, const struct note_key *key, int number)
{
	char *note = snapshot(key, number);

	give(w, note);
	free(note);
}

/* ---- the recorder's end ---- */

static void writer_open(struct world *w)
{
	struct eng_writer_options o = {.memory_bytes = 32 * MIB, .sync_device = true};
	char err[256] = "";

	if (eng_writer_open(w->store_path, &o, &w->store.writer, err, sizeof(err)))
		fail_msg("%s", err);
}

static void log_open(struct world *w)
{
	char err[256] = "";

	if (journal_open(&w->rec, err, sizeof(err)))
		fail_msg("%s", err);
}

static struct note_key *key_new(const char *path)
{
	struct note_key *key;
	char err[256] = "";
	bool made;

	if (note_key_open(path, "custos.test", &key, &made, err, sizeof(err)))
		fail_msg("%s", err);
	return key;
}

static void server_open(struct world *w)
{
	char path[256];

	assert_int_equal(line_server_open(conf_path(&w->conf, CONF_SOCK_POLICY, path, sizeof(path)),
	                                  handler, gone, w, &w->server),
	                 0);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct eng_init_options o = {.size_bytes = 32 * MIB, .segment_bytes = 4 * MIB};
	char path[256], err[256] = "";

	rec_folder(w->dir);
	snprintf(w->run, sizeof(w->run), "%s/run", w->dir);
	snprintf(w->state, sizeof(w->state), "%s/state", w->dir);
	snprintf(w->store_path, sizeof(w->store_path), "%s/store", w->dir);
	rec_shell("mkdir -p %s/policy %s/recorder/log %s/keys", w->run, w->state, w->state);
	w->conf.run = w->run;
	w->conf.state = w->state;
	w->conf.stores = &w->conf_store;
	w->conf.n_stores = 1;
	w->conf_store.name = w->store_name;
	strcpy(w->store_name, "main");
	w->conf_store.path = w->store_path;
	if (eng_init(w->store_path, &o, err, sizeof(err)))
		fail_msg("%s", err);
	w->key = key_new(conf_path(&w->conf, CONF_KEY_SIGN, path, sizeof(path)));
	snprintf(path, sizeof(path), "%s/other", w->dir);
	w->other = key_new(path);
	w->rec.conf = &w->conf;
	w->rec.stores = &w->store;
	w->rec.n_stores = 1;
	w->rec.policy_uid = geteuid();
	w->store.conf = &w->conf_store;
	w->store.rec = &w->rec;
	writer_open(w);
	log_open(w);
	server_open(w);
	assert_int_equal(policy_open(&w->rec, &w->policy), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	policy_close(w->policy);
	line_server_close(w->server);
	aud_close(w->rec.log);
	eng_writer_close(w->store.writer);
	note_key_close(w->key);
	note_key_close(w->other);
	rec_remove(w->dir);
	free(w);
	return 0;
}

static void in_force(const struct world *w, uint64_t number)
{
	assert_true(w->store.writer->ret.set == (number > 0));
	assert_int_equal(w->store.writer->ret.number, number);
}

/* What the log says of snapshots, in order; closes it. */
static void logged(struct world *w, const uint16_t *results, const uint64_t *numbers, size_t n)
{
	struct aud_iter *it;
	struct aud_record rec;
	const char *payload;
	char path[256], err[256];
	size_t seen = 0;

	aud_close(w->rec.log);
	assert_int_equal(aud_iter_open(conf_path(&w->conf, CONF_LOG_RECORD, path, sizeof(path)),
	                               &it, err, sizeof(err)),
	                 0);
	while (aud_iter_next(it, &rec, &payload) == 1) {
		if (rec.op != AUD_OP_SNAPSHOT_SEEN)
			continue;
		assert_true(seen < n);
		assert_int_equal(rec.result, results[seen]);
		assert_int_equal(rec.object, numbers[seen]);
		seen++;
	}
	assert_int_equal(seen, n);
	aud_iter_close(it);
}

static void stop(struct world *w)
{
	policy_close(w->policy);
	w->policy = NULL;
}

static void test_only_newer_and_signed(void **state)
{
	static const uint16_t results[] = {0, ESTALE, EKEYREJECTED, EUCLEAN, 0};
	static const uint64_t numbers[] = {5, 4, 0, 0, 6};
	struct world *w = *state;
	char *bad = NULL;

	await_question(w);
	assert_int_equal(w->have, 0);
	in_force(w, 0);
	give_number(w, w->key, 5);
	assert_int_equal(w->have, 5);
	in_force(w, 5);
	give_number(w, w->key, 4);
	assert_int_equal(w->have, 5);
	in_force(w, 5);
	give_number(w, w->other, 9);
	assert_int_equal(w->have, 5);
	in_force(w, 5);
	assert_int_equal(note_sign(w->key, "custos.policy/1\n{\"number\":9}\n", &bad), 0);
	give(w, bad);
	free(bad);
	assert_int_equal(w->have, 5);
	in_force(w, 5);
	give_number(w, w->key, 6);
	in_force(w, 6);
	stop(w);
	logged(w, results, numbers, ARRAY_LEN(results));
	log_open(w);
}

/* A policyd whose key is not ours sends the same again and again: no flood of questions, and one
 * record. */
static void test_the_same_refusal_is_logged_once(void **state)
{
	static const uint16_t results[] = {EKEYREJECTED};
	static const uint64_t numbers[] = {0};
	struct world *w = *state;
	int64_t begin = clock_boot_ns();

	for (int i = 0; i < 3; i++)
		give_number(w, w->other, 9);
	assert_true(clock_boot_ns() - begin > 2 * NSEC_PER_SEC);
	stop(w);
	logged(w, results, numbers, ARRAY_LEN(results));
	log_open(w);
}

/* As after a stop of the recorder: nothing in force, nobody has asked yet. */
static void restart(struct world *w)
{
	stop(w);
	line_server_close(w->server);
	w->asked = NULL;
	server_open(w);
	eng_writer_close(w->store.writer);
	writer_open(w);
	assert_int_equal(policy_open(&w->rec, &w->policy), 0);
	policy_run(w->policy, &w->rec);
}

/* While we were down, a request may have pinned what the stored snapshot lets go. */
static void test_stored_snapshot_waits_for_policyd(void **state)
{
	struct world *w = *state;

	give_number(w, w->key, 7);
	restart(w);
	in_force(w, 0);
	await_question(w);
	policy_run(w->policy, &w->rec);
	assert_int_equal(w->have, 7);
	in_force(w, 0);
	struct line_conn *c = w->asked;
	w->asked = NULL;
	line_reply(c, json_pack("{s:n}", "snapshot"));
	await_question(w);
	policy_run(w->policy, &w->rec);
	in_force(w, 7);

	restart(w);
	in_force(w, 0);
	give_number(w, w->key, 8);
	in_force(w, 8);
}

static void test_stored_snapshot_without_policyd(void **state)
{
	struct world *w = *state;
	char path[256];

	give_number(w, w->key, 7);
	stop(w);
	line_server_close(w->server);
	w->server = NULL;
	eng_writer_close(w->store.writer);
	writer_open(w);
	in_force(w, 0);
	assert_int_equal(policy_open(&w->rec, &w->policy), 0);
	struct pollfd p = {.fd = policy_fd(w->policy), .events = POLLIN};
	assert_true(poll(&p, 1, HANG_GUARD_MS) > 0);
	policy_run(w->policy, &w->rec);
	in_force(w, 7);
	stop(w);

	/* What somebody else put there is no policy. */
	snprintf(path, sizeof(path), "%s/policy.snapshot", w->store_path);
	char *note = snapshot(w->other, 8);
	assert_int_equal(file_replace(path, note, strlen(note), 0640), 0);
	free(note);
	eng_writer_close(w->store.writer);
	writer_open(w);
	server_open(w);
	w->asked = NULL;
	assert_int_equal(policy_open(&w->rec, &w->policy), 0);
	await_question(w);
	assert_int_equal(w->have, 0);
	in_force(w, 0);
}

/* ---- asker.c ---- */

static void verdict(void *arg, struct ask *a)
{
	*(int *)arg = a->verdict;
}

static void test_nothing_is_granted_at_the_end(void **state)
{
	int got = 1;
	struct ask a = {.uid = geteuid(), .done = verdict, .arg = &got};
	struct asker *k;
	struct pollfd p = {.events = POLLIN};

	(void)state;
	assert_int_equal(asker_open(NULL, 0, &k), 0);
	asker_put(k, &a);
	p.fd = asker_fd(k);
	assert_true(poll(&p, 1, HANG_GUARD_MS) > 0);
	/* Allowed, but nobody has heard of it yet. */
	asker_close(k);
	assert_int_equal(got, -ESHUTDOWN);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_only_newer_and_signed),
	        T(test_the_same_refusal_is_logged_once),
	        T(test_stored_snapshot_waits_for_policyd),
	        T(test_stored_snapshot_without_policyd),
	        cmocka_unit_test(test_nothing_is_granted_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

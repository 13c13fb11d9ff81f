/*
 * The log is the truth: replay equals the live state, the projection follows it, hand edits vanish
 * and are recorded, a log that cannot be written denies everything.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "policyd/api.h"
#include "policyd/events.h"
#include "policyd/heads.h"
#include "policyd/lease.h"
#include "policyd/snapshot.h"
#include "policyd/statejson.h"
#include "policyd/store.h"
#include "tests/unit/support_pol.h"

static const char policy[] =
        "department \"d\" { heads = {\"uid:1\"} }\n"
        "role \"monitoring\" { members = {\"uid:3\"} }\n"
        "camera \"c\" { department = \"d\" min_age = \"90d\" max_age = \"120d\" }\n"
        "chain \"internal\" { requesters = {\"uid:5\"} stages = {\"head\", \"monitoring\"} }\n";

static void open_policyd(struct pol_site *site, struct policyd *p)
{
	char err[512];

	if (policyd_open(p, site->conf, site->key, err, sizeof(err)))
		fail_msg("%s", err);
}

static void commit(struct policyd *p, uint16_t op, uint32_t uid, uint64_t object, uint64_t grant,
                   json_t *payload)
{
	struct line_peer peer = {.uid = uid, .login_uid = POL_NO_UID, .fd = -1};
	struct event ev = {
	        .op = op, .peer = &peer, .object = object, .grant = grant, .payload = payload};

	assert_int_equal(event_commit(p, &ev), 0);
}

static void request(struct policyd *p)
{
	char *cameras[] = {(char *)"c", NULL};
	struct pol_request r = {.id = p->state->n_requests + 1,
	                        .chain = (char *)"internal",
	                        .uid = 5,
	                        .stages = p->state->conf->chains[0].stage_texts,
	                        .export_allowed = true,
	                        .requester = (char *)"安",
	                        .holder_uid = 5,
	                        .holder = (char *)"安",
	                        .assistant_uid = POL_NO_UID,
	                        .subject_uid = POL_NO_UID,
	                        .reason = (char *)"货物丢失"};
	int64_t now = clock_wall_ns();

	r.asked = (struct pol_what){cameras, now - NSEC_PER_SEC, now, 0};
	commit(p, AUD_OP_REQUEST, 5, r.id, 0, request_to_json(&r));
}

static void sign(struct policyd *p, uint64_t id, uint32_t uid, size_t stage)
{
	struct pol_request *r = state_request(p->state, id);
	char digest[65];

	assert_int_equal(request_digest(r, &r->now, digest), 0);
	commit(p, AUD_OP_APPROVE, uid, id, 0,
	       json_pack("{s:I, s:I, s:s, s:s, s:n}", "request", (json_int_t)id, "stage",
	                 (json_int_t)stage, "who", "somebody", "digest", digest, "narrowed"));
}

/* Three requests: one granted and revoked, one granted, one half signed. */
static void some_history(struct policyd *p)
{
	for (int i = 0; i < 3; i++)
		request(p);
	sign(p, 1, 1, 0);
	sign(p, 1, 3, 1);
	assert_int_equal(grant_activate(p, NULL, state_request(p->state, 1)), 0);
	sign(p, 2, 1, 0);
	sign(p, 2, 3, 1);
	assert_int_equal(grant_activate(p, NULL, state_request(p->state, 2)), 0);
	commit(p, AUD_OP_REVOKE_INTENT, 3, 1, 1, json_pack("{s:s}", "reason", "over"));
	commit(p, AUD_OP_REVOKE_DONE, 3, 1, 1, json_pack("{s:i}", "grant", 1));
	sign(p, 3, 1, 0);
	policyd_changed(p);
}

static uint64_t count_op(const struct policyd *p, uint16_t op)
{
	struct aud_iter *it;
	struct aud_record rec;
	const char *payload;
	char err[256];
	uint64_t n = 0;

	assert_int_equal(aud_iter_open(p->log_dir, &it, err, sizeof(err)), 0);
	while (aud_iter_next(it, &rec, &payload) == 1)
		n += rec.op == op;
	aud_iter_close(it);
	return n;
}

static char *replayed(const struct policyd *p)
{
	struct pol_state_all *s;
	int64_t last;
	char err[256], *text;

	if (events_replay(p->log_dir, &s, NULL, NULL, &last, err, sizeof(err)))
		fail_msg("%s", err);
	text = pol_state_text(s);
	state_free(s);
	return text;
}

/* One value out of the database, as another program would read it. */
static void query(const struct policyd *p, const char *sql, char *out, size_t bytes)
{
	char path[256];
	sqlite3 *db;
	sqlite3_stmt *st;

	conf_path(p->conf, CONF_DB, path, sizeof(path));
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
	snprintf(out, bytes, "%s",
	         sqlite3_step(st) == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0)
	                                        : "none");
	sqlite3_finalize(st);
	sqlite3_close(db);
}

static void edit(const struct conf *conf, const char *sql)
{
	char path[256], *err = NULL;
	sqlite3 *db;

	conf_path(conf, CONF_DB, path, sizeof(path));
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, sql, NULL, NULL, &err) != SQLITE_OK)
		fail_msg("%s", err);
	sqlite3_close(db);
}

static void replay_equals_live(void **state)
{
	struct pol_site site;
	struct policyd p;
	char *live, *again;

	(void)state;
	pol_site_make(&site, policy);
	open_policyd(&site, &p);
	some_history(&p);
	live = pol_state_text(p.state);
	again = replayed(&p);
	assert_string_equal(live, again);
	free(again);
	policyd_close(&p);
	open_policyd(&site, &p);
	again = pol_state_text(p.state);
	assert_string_equal(live, again); /* also no new snapshot number is spent */
	assert_int_equal(count_op(&p, AUD_OP_TAMPER), 0);
	assert_int_equal(count_op(&p, AUD_OP_CONFIG), 1);
	free(live);
	free(again);
	policyd_close(&p);
	pol_site_remove(&site);
}

static void killed_between_log_and_projection(void **state)
{
	struct pol_site site;
	struct policyd p;
	char got[64];

	(void)state;
	pol_site_make(&site, policy);
	open_policyd(&site, &p);
	some_history(&p);
	store_close(p.store);
	p.store = NULL; /* from here on as if killed right after the log */
	commit(&p, AUD_OP_WITHDRAW, 5, 3, 0, json_pack("{s:s}", "who", "安"));
	query(&p, "SELECT state FROM requests WHERE id = 3", got, sizeof(got));
	assert_string_equal(got, "approved");
	policyd_close(&p);
	open_policyd(&site, &p);
	query(&p, "SELECT state FROM requests WHERE id = 3", got, sizeof(got));
	assert_string_equal(got, "withdrawn");
	assert_int_equal(count_op(&p, AUD_OP_TAMPER), 0);
	policyd_close(&p);
	pol_site_remove(&site);
}

static void hand_edits_vanish(void **state)
{
	static const char *const edits[] = {
	        "UPDATE requests SET state = 'active' WHERE id = 3",
	        "UPDATE grants SET until_ns = until_ns + 1 WHERE id = 2",
	        "DELETE FROM signatures WHERE request = 1 AND number = 1",
	        "INSERT INTO grants SELECT 9, request, 'active', settled, uid, user, cameras, "
	        "from_ns,"
	        " to_ns, until_ns, activated_ns, NULL, epoch, approvers FROM grants WHERE id = 2",
	        "UPDATE meta SET value = value + 1000000",
	        "CREATE TRIGGER t AFTER UPDATE ON requests BEGIN DELETE FROM grants; END",
	        "UPDATE policies SET text = ''",
	};
	struct pol_site site;
	struct policyd p;
	char got[64];

	(void)state;
	pol_site_make(&site, policy);
	open_policyd(&site, &p);
	some_history(&p);
	policyd_close(&p);
	for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
		edit(site.conf, edits[i]);
		open_policyd(&site, &p);
		if (count_op(&p, AUD_OP_TAMPER) != i + 1)
			fail_msg("not noticed: %s", edits[i]);
		query(&p, "SELECT state || count(*) FROM requests WHERE id = 3", got, sizeof(got));
		assert_string_equal(got, "approved1");
		query(&p, "SELECT count(*) FROM grants", got, sizeof(got));
		assert_string_equal(got, "2");
		policyd_close(&p);
	}
	open_policyd(&site, &p); /* and once rebuilt it is in order */
	assert_int_equal(count_op(&p, AUD_OP_TAMPER), ARRAY_LEN(edits));
	policyd_close(&p);
	pol_site_remove(&site);
}

static void damaged_or_missing_projection(void **state)
{
	struct pol_site site;
	struct policyd p;
	char path[256], got[64];

	(void)state;
	pol_site_make(&site, policy);
	open_policyd(&site, &p);
	some_history(&p);
	policyd_close(&p);
	conf_path(site.conf, CONF_DB, path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	open_policyd(&site, &p);
	assert_int_equal(count_op(&p, AUD_OP_TAMPER), 0); /* missing is no forgery */
	query(&p, "SELECT count(*) FROM requests", got, sizeof(got));
	assert_string_equal(got, "3");
	policyd_close(&p);
	assert_int_equal(file_replace(path, "garbage", 7, 0640), 0);
	open_policyd(&site, &p);
	assert_int_equal(count_op(&p, AUD_OP_TAMPER), 1);
	query(&p, "SELECT count(*) FROM requests", got, sizeof(got));
	assert_string_equal(got, "3");
	policyd_close(&p);
	pol_site_remove(&site);
}

static json_int_t last_signer(const struct policyd *p)
{
	struct aud_iter *it;
	struct aud_record rec;
	const char *payload;
	char err[256];
	json_int_t uid = -1;

	assert_int_equal(aud_iter_open(p->log_dir, &it, err, sizeof(err)), 0);
	while (aud_iter_next(it, &rec, &payload) == 1) {
		json_t *o = rec.op == AUD_OP_ACTIVATE ? json_loads(payload, 0, NULL) : NULL;

		if (o)
			uid = json_integer_value(json_object_get(o, "last_signer_uid"));
		json_decref(o);
	}
	aud_iter_close(it);
	return uid;
}

static void half_done_things_are_finished(void **state)
{
	struct pol_site site;
	struct policyd p;

	(void)state;
	pol_site_make(&site, policy);
	open_policyd(&site, &p);
	request(&p);
	sign(&p, 1, 1, 0);
	sign(&p, 1, 3, 1); /* crash before the activation */
	policyd_close(&p);
	open_policyd(&site, &p);
	assert_int_equal(p.state->n_grants, 1);
	assert_int_equal(p.state->requests[0]->state, POL_ACTIVE);
	assert_int_equal(last_signer(&p), 3); /* the record itself is nobody's */
	commit(&p, AUD_OP_REVOKE_INTENT, 3, 1, 1, json_pack("{s:s}", "reason", "x"));
	policyd_close(&p); /* crash before the acknowledgement */
	open_policyd(&site, &p);
	assert_false(p.state->grants[0]->settled); /* leases of before may still live */
	policyd_close(&p);
	pol_site_remove(&site);
}

static int write_unless(void *arg, int fd, const void *buf, size_t len, uint64_t offset)
{
	int fault = *(volatile int *)arg;
	int err = fault ? fault : file_pwrite_full(fd, buf, len, offset);

	return err || !fdatasync(fd) ? err : -errno;
}

static void failed_log_denies(void **state)
{
	struct pol_site site;
	struct policyd p;
	volatile int fault = 0;
	const struct aud_options opt = {
	        .origin = POLICYD_ORIGIN, .write_hook = write_unless, .hook_arg = (void *)&fault};
	struct event ev = {.op = AUD_OP_WITHDRAW, .object = 1};
	char err[256];

	(void)state;
	pol_site_make(&site, policy);
	open_policyd(&site, &p);
	request(&p);
	aud_close(p.log);
	assert_int_equal(aud_open(p.log_dir, &opt, &p.log, err, sizeof(err)), 0);
	fault = -ENOSPC;
	ev.payload = json_pack("{s:s}", "who", "x");
	assert_int_equal(event_commit(&p, &ev), -EIO);
	assert_int_equal(p.state->requests[0]->state, POL_SUBMITTED); /* nothing happened */
	assert_true(aud_failed(p.log));
	fault = 0; /* the disk is back, yet what failed stays failed until a restart */
	ev.payload = json_pack("{s:s}", "who", "x");
	assert_int_equal(event_commit(&p, &ev), -EIO);
	policyd_close(&p);
	pol_site_remove(&site);
}

static atomic_bool impatient; /* every limit below an hour is over at once */

/* Takes the C library's place in this program; the audit log's conditions are its only user. */
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                           const struct timespec *until)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (atomic_load(&impatient) && until->tv_sec - now.tv_sec < 3600)
		return ETIMEDOUT;
	return pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, until);
}

static int write_slowly(void *arg, int fd, const void *buf, size_t len, uint64_t offset)
{
	int err;

	(void)arg;
	poll(NULL, 0, 50); /* a slow disk */
	err = file_pwrite_full(fd, buf, len, offset);
	return err || !fdatasync(fd) ? err : -errno;
}

/* A decision is never given up while its record may still become durable. */
static void a_stalled_disk_is_waited_for(void **state)
{
	struct pol_site site;
	struct policyd p;
	const struct aud_options opt = {.origin = POLICYD_ORIGIN, .write_hook = write_slowly};
	char err[256], *live, *again;

	(void)state;
	pol_site_make(&site, policy);
	open_policyd(&site, &p);
	aud_close(p.log);
	assert_int_equal(aud_open(p.log_dir, &opt, &p.log, err, sizeof(err)), 0);
	atomic_store(&impatient, true);
	request(&p);
	request(&p);
	atomic_store(&impatient, false);
	live = pol_state_text(p.state);
	again = replayed(&p);
	assert_string_equal(live, again);
	free(live);
	free(again);
	policyd_close(&p);
	pol_site_remove(&site);
}

/* The records of three daemons are read side by side: their time is the wall clock. */
static void records_carry_the_wall_clock(void **state)
{
	struct pol_site site;
	struct policyd p;

	(void)state;
	pol_site_make(&site, policy);
	open_policyd(&site, &p);
	p.clock.base_ns += 3600 * NSEC_PER_SEC; /* as after a clock that was set and set back */
	request(&p);
	assert_true(p.state->requests[0]->submitted_ns <= clock_wall_ns());
	assert_true(polclock_now(&p.clock) > clock_wall_ns() + 3000 * NSEC_PER_SEC);
	policyd_close(&p);
	pol_site_remove(&site);
}

static void heads_only_grow(void **state)
{
	uint8_t root[32] = {1}, other[32] = {2};
	struct pol_site site;
	struct pol_heads *h;
	char path[128], *note, vkey[NOTE_VKEY_MAX], err[256];
	size_t bytes;

	(void)state;
	pol_site_make(&site, policy);
	snprintf(path, sizeof(path), "%s/heads.json", site.dir);
	assert_int_equal(heads_open(path, site.key, &h, err, sizeof(err)), 0);
	assert_int_equal(heads_sign(h, HEAD_GATE, "custos.gate/main", 5, root, &note), 0);
	note_key_vkey(site.key, vkey);
	assert_int_equal(note_verify(vkey, note, &bytes), 0);
	free(note);
	for (int reopened = 0; reopened < 2; reopened++) {
		assert_int_equal(heads_sign(h, HEAD_GATE, "custos.gate/main", 4, root, &note),
		                 -ESTALE);
		assert_int_equal(heads_sign(h, HEAD_GATE, "custos.gate/main", 5, other, &note),
		                 -EKEYREJECTED);
		assert_int_equal(heads_sign(h, HEAD_RECORDER, "custos.gate/main", 6, root, &note),
		                 -EPERM);
		assert_int_equal(heads_sign(h, HEAD_GATE, "custos.gate/main", 5, root, &note), 0);
		free(note);
		heads_close(h);
		assert_int_equal(heads_open(path, site.key, &h, err, sizeof(err)), 0);
	}
	/* What could not be written down is not signed, however often it is asked for. */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	for (int again = 0; again < 2; again++) {
		assert_true(heads_sign(h, HEAD_GATE, "custos.gate/main", 6, root, &note) < 0);
		assert_null(note);
		assert_int_equal(heads_news(h, "custos.gate/main", -EIO), !again);
	}
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(heads_sign(h, HEAD_GATE, "custos.gate/main", 6, root, &note), 0);
	free(note);
	heads_close(h);
	assert_int_equal(file_replace(path, "[{\"kind\":\"g\",\"note\":\"x\"}]", 25, 0640), 0);
	assert_int_equal(heads_open(path, site.key, &h, err, sizeof(err)), -EUCLEAN);
	pol_site_remove(&site);
}

static void write_checkpoint(const struct pol_site *site, enum conf_path log, const char *origin,
                             uint64_t groups)
{
	uint8_t root[32] = {7};
	char dir[256], path[300], body[512], *note;

	conf_path(site->conf, log, dir, sizeof(dir));
	assert_int_equal(dir_ensure_parents(dir), 0);
	assert_int_equal(dir_ensure(dir, 0755, (uid_t)-1, (gid_t)-1), 0);
	snprintf(path, sizeof(path), "%s/checkpoint", dir);
	assert_int_equal(note_checkpoint_format(origin, groups, root, NULL, body, sizeof(body)), 0);
	assert_int_equal(note_sign(site->key, body, &note), 0);
	assert_int_equal(file_replace(path, note, strlen(note), 0644), 0);
	free(note);
}

/* heads.json taken away, or an older one put back: what stands beside the logs is still known. */
static void heads_are_known_from_beside_the_logs(void **state)
{
	uint8_t root[32] = {1};
	struct pol_site site;
	struct policyd p;
	char path[256], *note;

	(void)state;
	pol_site_make(&site, policy);
	open_policyd(&site, &p);
	assert_int_equal(heads_sign(p.heads, HEAD_GATE, "custos.gate/main", 5, root, &note), 0);
	free(note);
	policyd_close(&p);
	open_policyd(&site, &p);
	assert_int_equal(count_op(&p, AUD_OP_TAMPER), 0);
	policyd_close(&p);
	write_checkpoint(&site, CONF_LOG_GATE, "custos.gate/main", 9); /* the file has 5 */
	open_policyd(&site, &p);
	assert_int_equal(count_op(&p, AUD_OP_TAMPER), 1);
	assert_int_equal(heads_sign(p.heads, HEAD_GATE, "custos.gate/main", 8, root, &note),
	                 -ESTALE);
	assert_true(heads_news(p.heads, "custos.gate/main", -ESTALE));
	assert_false(heads_news(p.heads, "custos.gate/main", -ESTALE));
	assert_true(heads_news(p.heads, "custos.gate/main", -EIO));
	policyd_close(&p);
	snprintf(path, sizeof(path), "%s/state/policy/heads.json", site.dir);
	assert_int_equal(unlink(path), 0);
	open_policyd(&site, &p);
	assert_int_equal(count_op(&p, AUD_OP_TAMPER), 2);
	assert_int_equal(heads_sign(p.heads, HEAD_GATE, "custos.gate/main", 8, root, &note),
	                 -ESTALE);
	policyd_close(&p);
	pol_site_remove(&site);
}

static void clock_never_goes_back(void **state)
{
	struct polclock c = {.base_ns = 1000 * NSEC_PER_SEC, .base_boot_ns = 50 * NSEC_PER_SEC};

	(void)state;
	assert_int_equal(polclock_at(&c, 900 * NSEC_PER_SEC, 60 * NSEC_PER_SEC),
	                 1010 * NSEC_PER_SEC);
	assert_int_equal(polclock_at(&c, 2000 * NSEC_PER_SEC, 61 * NSEC_PER_SEC),
	                 2000 * NSEC_PER_SEC);
	assert_int_equal(polclock_at(&c, 10 * NSEC_PER_SEC, 62 * NSEC_PER_SEC),
	                 2001 * NSEC_PER_SEC);
	c.behind = true;
	polclock_at(&c, 10 * NSEC_PER_SEC, 62 * NSEC_PER_SEC);
	assert_true(c.behind);
	polclock_at(&c, 1990 * NSEC_PER_SEC, 62 * NSEC_PER_SEC);
	assert_false(c.behind);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(replay_equals_live),
	        cmocka_unit_test(killed_between_log_and_projection),
	        cmocka_unit_test(hand_edits_vanish),
	        cmocka_unit_test(damaged_or_missing_projection),
	        cmocka_unit_test(half_done_things_are_finished),
	        cmocka_unit_test(failed_log_denies),
	        cmocka_unit_test(a_stalled_disk_is_waited_for),
	        cmocka_unit_test(records_carry_the_wall_clock),
	        cmocka_unit_test(heads_only_grow),
	        cmocka_unit_test(heads_are_known_from_beside_the_logs),
	        cmocka_unit_test(clock_never_goes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

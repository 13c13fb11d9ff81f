/*
 * policyd behind its real socket: the daemon's loop runs in one child, callers are other children
 * under other uids. The gate and the recorder are simulated by what they say on the wire.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policyd/policyd.h"
#include "tests/unit/support_pol.h"

#define HANG_NS (30 * NSEC_PER_SEC) /* guard only */

enum {
	HEAD = 2001,
	MONITOR = 2002,
	EVE = 2003,
	AUDITOR = 2004,
	ADMIN = 2006,
	ADMIN2 = 2007,
	ANN = 2000
};

static const char policy[] =
        "limits { max_window = \"24h\" max_grant = \"14d\" }\n"
        "department \"d\" { heads = {\"uid:2001\"} }\n"
        "role \"monitoring\" { members = {\"uid:2002\"} }\n"
        "role \"auditor\" { members = {\"uid:2004\"} }\n"
        "role \"admin\" { members = {\"uid:2006\", \"uid:2007\"} }\n"
        "camera \"c\" { department = \"d\" min_age = \"90d\" max_age = \"120d\" }\n"
        "chain \"internal\" { requesters = {\"uid:2000\"} stages = {\"head\", \"monitoring\"} }\n";

struct server {
	struct pol_site site;
	pid_t pid;
	int stop; /* closing it ends the child */
	char sock[256];
	uid_t gate, recorder;
};

static void serve(struct server *s, int ready, int stop)
{
	struct policyd p;
	struct line_server *ls;
	char err[512];
	struct pollfd fds[2] = {{.fd = stop, .events = POLLIN}};

	if (policyd_open(&p, s->site.conf, s->site.key, err, sizeof(err)) ||
	    line_server_open(s->sock, policyd_handle, policyd_gone, &p, &ls))
		_exit(3);
	fds[1] = (struct pollfd){.fd = line_server_fd(ls), .events = POLLIN};
	close(ready);
	while (!fds[0].revents) {
		int64_t next = policyd_tick(&p);

		if (poll(fds, 2, (int)(next / NSEC_PER_MSEC) + 1) > 0)
			line_server_run(ls);
	}
	line_server_close(ls);
	policyd_close(&p);
	_exit(0);
}

static void start(struct server *s)
{
	int ready[2], stop[2];
	char byte;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(stop), 0);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (!s->pid) {
		close(ready[0]);
		close(stop[1]);
		serve(s, ready[1], stop[0]);
	}
	close(ready[1]);
	close(stop[0]);
	assert_int_equal(read(ready[0], &byte, 1), 0); /* end of file: it listens, or has died */
	close(ready[0]);
	s->stop = stop[1];
}

static void stop(struct server *s)
{
	int status;

	close(s->stop);
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int setup(void **state)
{
	struct server *s = calloc(1, sizeof(*s));

	*state = s;
	if (geteuid() != 0)
		return 0;
	pol_site_make(&s->site, policy);
	conf_path(s->site.conf, CONF_SOCK_POLICY, s->sock, sizeof(s->sock));
	assert_int_equal(conf_uid("sys", &s->gate), 0);
	assert_int_equal(conf_uid("daemon", &s->recorder), 0);
	start(s);
	return 0;
}

static int teardown(void **state)
{
	struct server *s = *state;

	if (geteuid() == 0) {
		stop(s);
		pol_site_remove(&s->site);
	}
	free(s);
	return 0;
}

#define NEEDS_ROOT()                                                                      \
	do {                                                                              \
		if (geteuid() != 0) {                                                     \
			print_message("skipped: needs root, to call under other uids\n"); \
			skip();                                                           \
		}                                                                         \
	} while (0)

/* ---- callers ---- */

static void send_as(const struct server *s, uid_t uid, json_t *req, int out)
{
	struct line_client *c;
	json_t *reply = NULL;
	char *text;

	if (setresgid(uid, uid, uid) || setresuid(uid, uid, uid) ||
	    line_connect(s->sock, 0, HANG_NS, &c) || line_call(c, req, -1, HANG_NS, &reply))
		_exit(4);
	text = json_dumps(reply, JSON_COMPACT);
	for (size_t done = 0, len = strlen(text); done < len;) {
		ssize_t n = write(out, text + done, len - done);

		if (n <= 0)
			_exit(5);
		done += (size_t)n;
	}
	_exit(0);
}

/* Begins a call; its answer is fetched with finish(). Takes req. */
static int begin(const struct server *s, uid_t uid, json_t *req)
{
	int out[2];
	pid_t pid;

	assert_non_null(req);
	assert_int_equal(pipe(out), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(out[0]);
		send_as(s, uid, req, out[1]);
	}
	json_decref(req);
	close(out[1]);
	return out[0];
}

static json_t *finish(int fd)
{
	char text[65536];
	size_t len = 0;
	json_t *reply;
	ssize_t n;

	while ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	close(fd);
	reply = json_loadb(text, len, 0, NULL);
	if (!reply)
		fail_msg("no answer");
	return reply;
}

static json_t *ask(const struct server *s, uid_t uid, json_t *req)
{
	return finish(begin(s, uid, req));
}

static void refused(const struct server *s, uid_t uid, json_t *req, const char *code)
{
	json_t *reply = ask(s, uid, req);
	const char *got = json_string_value(json_object_get(reply, "code"));

	if (!got || strcmp(got, code) != 0)
		fail_msg("wanted %s, got %s", code, json_dumps(reply, 0));
	json_decref(reply);
}

static json_int_t number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_integer(v))
		fail_msg("no %s in %s", key, json_dumps(o, 0));
	return json_integer_value(v);
}

static json_t *request(int64_t from_s, int64_t to_s)
{
	int64_t now = clock_wall_ns();

	return json_pack("{s:s, s:[s], s:I, s:I, s:s}", "op", "request", "cameras", "c", "from",
	                 (json_int_t)(now + from_s * NSEC_PER_SEC), "to",
	                 (json_int_t)(now + to_s * NSEC_PER_SEC), "reason", "货物丢失");
}

static json_t *about(const char *op, const char *what, json_int_t id)
{
	return json_pack("{s:s, s:I, s:s*}", "op", op, what, id, "reason",
	                 strcmp(op, "revoke") ? NULL : "over");
}

static json_t *lease(json_int_t have, int wait_ms)
{
	return json_pack("{s:s, s:s, s:i, s:I, s:i}", "op", "lease", "gate", "main", "incarnation",
	                 7, "have", have, "wait_ms", wait_ms);
}

static json_int_t grant_to_ann(const struct server *s)
{
	json_t *reply = ask(s, ANN, request(-60, 600));
	json_int_t id = number(reply, "request");

	json_decref(reply);
	json_decref(ask(s, HEAD, about("approve", "request", id)));
	reply = ask(s, MONITOR, about("approve", "request", id));
	id = number(reply, "grant");
	json_decref(reply);
	return id;
}

/* ---- tests ---- */

static void rude_lines(void **state)
{
	static const char *const lines[] = {
	        "{\n",
	        "[]\n",
	        "nonsense\n",
	        "{\"v\":1}\n",
	        "{\"v\":1,\"op\":7}\n",
	        "{\"op\":\"status\"}\n",
	        "{\"v\":2,\"op\":\"status\"}\n",
	        "{\"v\":1,\"op\":\"frob\"}\n",
	        "{\"v\":1,\"op\":\"grants\",\"frob\":1}\n",
	        "{\"v\":1,\"op\":\"show\"}\n",
	        "{\"v\":1,\"op\":\"show\",\"request\":-1}\n",
	        "{\"v\":1,\"op\":\"show\",\"request\":\"1\"}\n",
	        "{\"v\":1,\"op\":\"request\",\"cameras\":\"c\"}\n",
	        "{\"v\":1,\"op\":\"request\",\"cameras\":[1],\"from\":1,\"to\":2,\"reason\":\"x\"}"
	        "\n",
	        "{\"v\":1,\"op\":\"request\",\"cameras\":[\"c\"],\"from\":1.5,\"to\":2,\"reason\":"
	        "\"x\"}\n",
	        "{\"v\":1,\"op\":\"requests\",\"todo\":3}\n",
	        "{\"v\":1,\"op\":\"lease\",\"gate\":\"\",\"incarnation\":1,\"have\":-1,\"wait_ms\":"
	        "9999}\n",
	};
	struct server *s = *state;
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	NEEDS_ROOT();
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.100s", s->sock);
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		char got[4096];
		json_t *reply;
		ssize_t n;

		assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
		assert_int_equal(write(fd, lines[i], strlen(lines[i])), (ssize_t)strlen(lines[i]));
		n = read(fd, got, sizeof(got));
		assert_true(n > 1 && got[n - 1] == '\n');
		reply = json_loadb(got, (size_t)n, 0, NULL);
		if (!json_is_false(json_object_get(reply, "ok")))
			fail_msg("%s", lines[i]);
		assert_non_null(json_string_value(json_object_get(reply, "error")));
		json_decref(reply);
		close(fd);
	}
}

static void every_door_is_guarded(void **state)
{
	struct server *s = *state;
	json_t *reply;

	NEEDS_ROOT();
	refused(s, ANN, lease(0, 0), "EACCES");
	refused(s, s->recorder, lease(0, 0), "EACCES");
	refused(s, s->gate,
	        json_pack("{s:s, s:s, s:i, s:i}", "op", "snapshot", "store", "main", "have", 0,
	                  "wait_ms", 0),
	        "EACCES");
	refused(s, ANN, json_pack("{s:s, s:i, s:s}", "op", "may", "uid", 2002, "right", "ls"),
	        "EACCES");
	refused(s, EVE, request(-60, 600), "EACCES");
	json_decref(ask(s, ANN, request(-60, 600)));
	refused(s, ANN, about("approve", "request", 1), "EACCES");
	refused(s, MONITOR, about("approve", "request", 1), "EACCES");
	refused(s, EVE, about("approve", "request", 1), "ENOENT");
	refused(s, EVE, about("show", "request", 1), "ENOENT");
	refused(s, EVE, about("withdraw", "request", 1), "ENOENT");
	refused(s, EVE, json_pack("{s:s, s:i, s:s}", "op", "reject", "request", 1, "reason", "x"),
	        "ENOENT");
	refused(s, EVE, about("revoke", "grant", 1), "EACCES");
	refused(s, ANN, json_pack("{s:s}", "op", "config.apply"), "EACCES");
	refused(s, ANN, json_pack("{s:s}", "op", "status"), "EACCES");
	reply = ask(s, AUDITOR, json_pack("{s:s}", "op", "audit.check"));
	assert_true(json_is_true(json_object_get(reply, "allowed")));
	json_decref(reply);
	reply = ask(s, EVE, json_pack("{s:s}", "op", "audit.check"));
	assert_true(json_is_false(json_object_get(reply, "allowed")));
	json_decref(reply);
	reply = ask(s, s->recorder,
	            json_pack("{s:s, s:i, s:s}", "op", "may", "uid", 2002, "right", "ls"));
	assert_true(json_is_true(json_object_get(reply, "allowed")));
	json_decref(reply);
}

static void revocation_is_acknowledged(void **state)
{
	struct server *s = *state;
	json_int_t grant, epoch;
	json_t *reply;
	int revoker, parked;

	NEEDS_ROOT();
	grant = grant_to_ann(s);
	reply = ask(s, s->gate, lease(0, 0));
	epoch = number(reply, "epoch");
	assert_int_equal(json_array_size(json_object_get(reply, "grants")), 1);
	json_decref(reply);
	parked = begin(s, s->gate, lease(epoch, 2000)); /* nothing newer: parked, or soon will be */
	revoker = begin(s, MONITOR, about("revoke", "grant", grant));
	reply = finish(parked);
	if (json_is_null(
	            json_object_get(reply, "grants"))) { /* the poll was over before the revoke */
		json_decref(reply);
		reply = ask(s, s->gate, lease(epoch, 2000));
	}
	assert_int_equal(number(reply, "epoch"), epoch + 1);
	assert_int_equal(json_array_size(json_object_get(reply, "grants")), 0);
	json_decref(reply);
	/* Asking again with the old epoch is no acknowledgement. */
	json_decref(ask(s, s->gate, lease(epoch, 0)));
	assert_int_equal(poll(&(struct pollfd){.fd = revoker, .events = POLLIN}, 1, 0), 0);
	json_decref(ask(s, s->gate, lease(epoch + 1, 0)));
	reply = finish(revoker);
	assert_true(json_is_true(json_object_get(reply, "acknowledged")));
	assert_int_equal(number(reply, "gates"), 1);
	assert_string_equal(json_string_value(json_object_get(reply, "state")), "revoked");
	json_decref(reply);
	refused(s, MONITOR, about("revoke", "grant", grant), "ESTALE");
}

static void silent_gate_counts_when_its_lease_ends(void **state)
{
	struct server *s = *state;
	json_int_t grant;
	int64_t begun, took;
	json_t *reply;

	NEEDS_ROOT();
	grant = grant_to_ann(s);
	begun = clock_boot_ns();
	json_decref(ask(s, s->gate, lease(0, 0)));
	refused(s, EVE, about("return", "grant", grant), "ENOENT");
	reply = ask(s, ANN, about("return", "grant", grant));
	took = clock_boot_ns() - begun;
	assert_true(json_is_false(json_object_get(reply, "acknowledged")));
	assert_string_equal(json_string_value(json_object_get(reply, "state")), "returned");
	json_decref(reply);
	assert_true(took >= PROTO_LEASE_MS * NSEC_PER_MSEC); /* never before the lease has ended */
	/* Without a live lease there is nobody to wait for. */
	grant = grant_to_ann(s);
	reply = ask(s, MONITOR, about("revoke", "grant", grant));
	assert_int_equal(number(reply, "gates"), 0);
	json_decref(reply);
}

static void weakening_needs_two(void **state)
{
	struct server *s = *state;
	char *text = strdup(policy), *max;
	json_t *reply;
	json_int_t change;

	NEEDS_ROOT();
	max = strstr(text, "24h");
	memcpy(max, "23h", 3); /* stricter */
	pol_site_policy(&s->site, text);
	reply = ask(s, ADMIN, json_pack("{s:s}", "op", "config.apply"));
	assert_true(json_is_true(json_object_get(reply, "applied")));
	json_decref(reply);
	memcpy(max, "48h", 3); /* wider */
	pol_site_policy(&s->site, text);
	reply = ask(s, ADMIN, json_pack("{s:s}", "op", "config.diff"));
	assert_true(json_is_true(json_object_get(reply, "weakens")));
	assert_non_null(strstr(json_string_value(json_object_get(reply, "text")), "+ limits"));
	json_decref(reply);
	reply = ask(s, ADMIN, json_pack("{s:s}", "op", "config.apply"));
	assert_true(json_is_false(json_object_get(reply, "applied")));
	change = number(reply, "pending");
	json_decref(reply);
	refused(s, ANN, request(-25 * 3600, 600), "EINVAL"); /* not in force */
	refused(s, ADMIN, about("config.approve", "change", change), "EACCES");
	refused(s, ANN, about("config.approve", "change", change), "EACCES");
	json_decref(ask(s, ADMIN2, about("config.approve", "change", change)));
	stop(s); /* and it is in force from the log alone */
	pol_site_policy(&s->site, "broken {");
	start(s);
	reply = ask(s, ANN, request(-25 * 3600, 600));
	assert_true(json_is_true(json_object_get(reply, "ok")));
	json_decref(reply);
	refused(s, ADMIN, json_pack("{s:s}", "op", "config.apply"), "EINVAL");
	free(text);
}

/* Fills the log's current file beyond three quarters, and leaves no room for a further one. */
static void fill_the_disk(const struct server *s)
{
	const struct aud_options opt = {.origin = POLICYD_ORIGIN};
	struct aud_record r = {.op = AUD_OP_ALARM};
	static char big[60000];
	struct aud_log *log;
	char dir[256], next[300], err[512];

	conf_path(s->site.conf, CONF_LOG_POLICY, dir, sizeof(dir));
	if (aud_open(dir, &opt, &log, err, sizeof(err)))
		fail_msg("%s", err);
	memset(big, 'b', sizeof(big));
	for (int i = 0; i < 225; i++)
		assert_int_equal(aud_append(log, &r, big, sizeof(big), NULL), 0);
	aud_close(log);
	snprintf(next, sizeof(next), "%s/next", dir);
	(void)unlink(next);
	assert_int_equal(mkdir(next, 0700), 0); /* no file can be made in its place */
}

static void the_reserve_is_for_endings(void **state)
{
	struct server *s = *state;
	json_int_t grant, waiting;
	json_t *reply;
	char next[300];

	NEEDS_ROOT();
	grant = grant_to_ann(s);
	reply = ask(s, ANN, request(-60, 600));
	waiting = number(reply, "request");
	json_decref(reply);
	stop(s);
	fill_the_disk(s);
	start(s);
	refused(s, ANN, request(-60, 600), "ENOSPC");
	refused(s, HEAD, about("approve", "request", waiting), "ENOSPC");
	refused(s, ADMIN, json_pack("{s:s}", "op", "config.apply"), "ENOSPC");
	for (int i = 0; i < 30; i++) /* and refusals do not eat it up */
		refused(s, EVE, about("show", "request", 1), "ENOENT");
	reply = ask(s, MONITOR, about("revoke", "grant", grant));
	assert_string_equal(json_string_value(json_object_get(reply, "state")), "revoked");
	json_decref(reply);
	reply = ask(s, ANN, about("withdraw", "request", waiting));
	assert_string_equal(json_string_value(json_object_get(reply, "state")), "withdrawn");
	json_decref(reply);
	conf_path(s->site.conf, CONF_LOG_POLICY, next, sizeof(next) - 8);
	strcat(next, "/next");
	assert_int_equal(rmdir(next), 0);
	for (bool ok = false; !ok;) { /* room again: found by itself */
		reply = ask(s, ANN, request(-60, 600));
		ok = json_is_true(json_object_get(reply, "ok"));
		json_decref(reply);
	}
}

/* ---- a recorder that answers, or does not ---- */

struct recorder {
	bool silent;
	int told; /* gets a byte for every question */
};

static void recorder_handle(void *arg, struct line_conn *conn, const struct line_peer *peer,
                            json_t *req)
{
	struct recorder *r = arg;

	(void)peer;
	(void)req;
	if (write(r->told, "?", 1) != 1)
		_exit(1);
	if (!r->silent)
		line_reply(conn, json_pack("{s:b, s:i, s:n, s:n}", "ok", 1, "seconds", 0, "first",
		                           "last"));
}

static void recorder_gone(void *arg, struct line_conn *conn)
{
	(void)arg;
	(void)conn;
}

static pid_t recorder_start(struct server *s, bool silent, int told)
{
	struct recorder r = {.silent = silent, .told = told};
	struct line_server *ls;
	char path[256];
	int ready[2];
	char byte;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/run/recorder", s->site.dir);
	assert_int_equal(dir_ensure(path, 0755, (uid_t)-1, (gid_t)-1), 0);
	conf_path(s->site.conf, CONF_SOCK_RECORD, path, sizeof(path));
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		struct pollfd fd;

		if (line_server_open(path, recorder_handle, recorder_gone, &r, &ls))
			_exit(1);
		close(ready[0]);
		close(ready[1]);
		fd = (struct pollfd){.fd = line_server_fd(ls), .events = POLLIN};
		while (poll(&fd, 1, -1) >= 0)
			line_server_run(ls);
		_exit(0);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 0);
	close(ready[0]);
	return pid;
}

static void recorder_stop(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void coverage_refuses_empty_windows(void **state)
{
	struct server *s = *state;
	char asked[8];
	int told[2];
	json_t *reply;
	pid_t recorder;

	NEEDS_ROOT();
	reply = ask(s, ANN, request(-3600, -1800)); /* no recorder: accepted, unknown */
	assert_true(json_is_null(json_object_get(reply, "coverage")));
	json_decref(reply);
	assert_int_equal(pipe(told), 0);
	recorder = recorder_start(s, false, told[1]);
	refused(s, ANN, request(-3600, -1800), "ENODATA");
	reply = ask(s, ANN, request(-60, 600)); /* still to come */
	assert_int_equal(
	        number(json_object_get(json_object_get(reply, "coverage"), "c"), "seconds"), 0);
	json_decref(reply);
	recorder_stop(recorder);
	assert_int_equal(read(told[0], asked, sizeof(asked)), 2);
	recorder = recorder_start(s, true, told[1]);
	reply = ask(s, ANN, request(-3600, -1800)); /* times out */
	assert_true(json_is_null(json_object_get(reply, "coverage")));
	json_decref(reply);
	json_decref(ask(s, ANN, request(-3600, -1800))); /* backed off: not asked again */
	recorder_stop(recorder);
	assert_int_equal(read(told[0], asked, sizeof(asked)), 1);
	close(told[0]);
	close(told[1]);
}

static void snapshots_tell_what_to_keep(void **state)
{
	struct server *s = *state;
	json_t *reply, *body;
	char vkey[NOTE_VKEY_MAX];
	const char *note, *line;
	size_t bytes;
	json_int_t before;

	NEEDS_ROOT();
	reply = ask(s, s->recorder,
	            json_pack("{s:s, s:s, s:i, s:i}", "op", "snapshot", "store", "main", "have", 0,
	                      "wait_ms", 0));
	before = number(reply, "number");
	json_decref(reply);
	grant_to_ann(s);
	reply = ask(s, s->recorder,
	            json_pack("{s:s, s:s, s:I, s:i}", "op", "snapshot", "store", "main", "have",
	                      before, "wait_ms", 0));
	assert_true(number(reply, "number") > before);
	note = json_string_value(json_object_get(reply, "snapshot"));
	note_key_vkey(s->site.key, vkey);
	assert_int_equal(note_verify(vkey, note, &bytes), 0);
	line = strchr(note, '\n') + 1;
	body = json_loadb(line, strcspn(line, "\n"), 0, NULL);
	assert_int_equal(json_array_size(json_object_get(body, "keeps")), 1);
	assert_string_equal(json_string_value(json_object_get(
	                            json_array_get(json_object_get(body, "keeps"), 0), "why")),
	                    "grant 1");
	json_decref(body);
	json_decref(reply);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(rude_lines, setup, teardown),
	        cmocka_unit_test_setup_teardown(every_door_is_guarded, setup, teardown),
	        cmocka_unit_test_setup_teardown(revocation_is_acknowledged, setup, teardown),
	        cmocka_unit_test_setup_teardown(silent_gate_counts_when_its_lease_ends, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(weakening_needs_two, setup, teardown),
	        cmocka_unit_test_setup_teardown(the_reserve_is_for_endings, setup, teardown),
	        cmocka_unit_test_setup_teardown(coverage_refuses_empty_windows, setup, teardown),
	        cmocka_unit_test_setup_teardown(snapshots_tell_what_to_keep, setup, teardown),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

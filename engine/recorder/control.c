/*
 * control.c — recorder.sock: status, ls, coverage, feed. Every line is authorised by its own uid;
 * rights that policyd or the name service must decide are asked for by the asker's thread, and the
 * request waits, by value, until the answer comes back.
 */
#include "engine/recorder/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct pending { /* a request whose right is being asked for */
	struct pending *next;
	struct recorder *rec;
	struct line_conn *conn; /* NULL: gone */
	struct line_peer peer;
	json_t *req;
	void (*go)(struct recorder *r, struct pending *p);
	struct ask ask;
};

/* ---- answers ---- */

static json_t *time_or_null(int64_t t_ns)
{
	return t_ns == ENG_NO_TIME ? json_null() : json_integer(t_ns);
}

static json_t *camera_json(const struct camera *c)
{
	char shown[512];
	source_shown(c->conf->source, shown, sizeof(shown));
	return json_pack("{s:s, s:s, s:s, s:o, s:I, s:I, s:I, s:s, s:o}", "camera", c->conf->name,
	                 "state", camera_state(c), "source", shown, "last",
	                 time_or_null(c->live.run_end_ns), "rate_bps", (json_int_t)c->rate_bps,
	                 "frames", (json_int_t)(c->frames_before + c->live.frames), "restarts",
	                 (json_int_t)c->restarts, "cause", c->cause, "durable",
	                 time_or_null(eng_stream_durable_ns(c->live.stream)));
}

static json_t *store_json(const struct store *s)
{
	struct eng_stats st;
	eng_writer_stats(s->writer, &st);
#define N(field) #field, (json_int_t)st.field
	json_t *a = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name",
	                      s->conf->name, "path", s->conf->path, N(segments), N(segments_raw),
	                      N(segments_ready), N(segments_open), N(segments_sealed),
	                      N(segments_retired), N(segment_bytes));
	json_t *b = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
	                      N(bytes_written), N(frames_durable), N(chunks_durable), N(removed),
	                      N(memory_used_bytes), N(loss_bound_ns), N(loss_bound_max_ns),
	                      N(overruns), N(write_errors), N(epoch));
#undef N
	json_object_update(a, b);
	json_decref(b);
	json_object_set_new(a, "oldest_ns", time_or_null(st.oldest_ns));
	json_object_set_new(a, "store_full", json_boolean(st.store_full));
	json_object_set_new(a, "streams_waiting", json_integer(st.streams_waiting));
	return a;
}

static void do_status(struct recorder *r, struct pending *p)
{
	struct clock_state clock = clock_sync_state();
	json_t *cameras = json_array(), *stores = json_array(), *alarms = json_array();

	for (size_t i = 0; i < r->n_cameras; i++)
		json_array_append_new(cameras, camera_json(&r->cameras[i]));
	for (size_t i = 0; i < r->n_stores; i++)
		json_array_append_new(stores, store_json(&r->stores[i]));
	unsigned n = r->n_alarms < ALARMS_KEPT ? r->n_alarms : ALARMS_KEPT;
	for (unsigned i = r->n_alarms - n; i < r->n_alarms; i++)
		json_array_append_new(alarms, json_string(r->alarms[i % ALARMS_KEPT]));
	line_reply(p->conn, json_pack("{s:b, s:o, s:O, s:o, s:{s:b, s:I}, s:o}", "ok", 1, "cameras",
	                              cameras, "store", json_array_get(stores, 0), "stores", stores,
	                              "clock", "synced", (int)clock.synced, "error_us",
	                              (json_int_t)clock.error_us, "alarms", alarms));
}

static int64_t time_field(const json_t *req, const char *key, int64_t otherwise)
{
	const json_t *v = json_object_get(req, key);
	return json_is_integer(v) ? json_integer_value(v) : otherwise;
}

static void do_ls(struct recorder *r, struct pending *p)
{
	const char *only = json_string_value(json_object_get(p->req, "camera"));
	bool gaps = json_is_true(json_object_get(p->req, "gaps"));
	int64_t from = time_field(p->req, "from", 0);
	int64_t to = time_field(p->req, "to", INT64_MAX);
	json_t *runs = json_array(), *list = json_array();
	int err = 0;

	for (size_t i = 0; i < r->n_cameras && !err; i++)
		if (!only || strcmp(only, r->cameras[i].conf->name) == 0)
			err = coverage_runs(&r->cameras[i], from, to, gaps, runs, list);
	if (err) {
		json_decref(runs);
		json_decref(list);
		line_reply_error(p->conn, -err, "%s",
		                 err == -E2BIG ? "too many runs; narrow it with --from and --to"
		                               : "the store's index cannot be read");
		return;
	}
	json_t *o = json_pack("{s:b, s:o}", "ok", 1, "runs", runs);
	if (gaps)
		json_object_set(o, "gaps", list);
	json_decref(list);
	line_reply(p->conn, o);
}

static void do_coverage(struct recorder *r, struct pending *p)
{
	struct camera *c = camera_find(r, json_string_value(json_object_get(p->req, "camera")));
	double seconds = 0;
	int64_t first, last;
	int err = coverage_sum(c, time_field(p->req, "from", 0), time_field(p->req, "to", 0),
	                       &seconds, &first, &last);
	if (err) {
		line_reply_error(p->conn, -err, "the store's index cannot be read");
		return;
	}
	line_reply(p->conn, json_pack("{s:b, s:f, s:o, s:o}", "ok", 1, "seconds", seconds, "first",
	                              time_or_null(first), "last", time_or_null(last)));
}

static void do_feed(struct recorder *r, struct pending *p)
{
	int fd = p->peer.fd;
	p->peer.fd = -1;
	feed_begin(r, p->conn, &p->peer, p->ask.name, p->req, fd);
}

/* ---- requests waiting for a right ---- */

static void pending_free(struct pending *p)
{
	for (struct pending **at = &p->rec->pending; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	if (p->peer.fd >= 0)
		close(p->peer.fd);
	json_decref(p->req);
	free(p);
}

static void answered(void *arg, struct ask *a)
{
	struct pending *p = arg;

	if (p->conn && a->verdict == 0)
		p->go(p->rec, p);
	else if (p->conn)
		line_reply_error(p->conn, -a->verdict, "refused: %s", a->why);
	pending_free(p);
}

static struct pending *pending_new(struct recorder *r, struct line_conn *conn,
                                   const struct line_peer *peer, json_t *req,
                                   void (*go)(struct recorder *, struct pending *))
{
	struct pending *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->rec = r;
	p->conn = conn;
	p->peer = *peer;
	p->req = json_incref(req);
	p->go = go;
	p->ask.uid = peer->uid;
	p->ask.done = answered;
	p->ask.arg = p;
	p->next = r->pending;
	r->pending = p;
	return p;
}

/* ---- requests ---- */

enum field_kind { TEXT, TIME, BOOL };
struct field {
	const char *name;
	enum field_kind kind;
	bool needed;
};
static const struct op {
	const char *name;
	struct field field[4];
	void (*go)(struct recorder *r, struct pending *p);
} ops[] = {
        {"status", {{0}}, do_status},
        {"ls",
         {{"camera", TEXT, false},
          {"from", TIME, false},
          {"to", TIME, false},
          {"gaps", BOOL, false}},
         do_ls},
        {"coverage",
         {{"camera", TEXT, true}, {"from", TIME, true}, {"to", TIME, true}},
         do_coverage},
        {"feed", {{"camera", TEXT, true}, {"start", TIME, false}, {"name", TEXT, false}}, do_feed},
};

static bool kind_ok(const json_t *v, enum field_kind kind)
{
	if (kind == TEXT)
		return json_is_string(v);
	return kind == TIME ? json_is_integer(v) : json_is_boolean(v);
}

/* Only known fields, of the right kind, the camera an existing one. Replies itself. */
static int check_fields(struct recorder *r, struct line_conn *conn, json_t *req,
                        const struct op *op)
{
	const char *allowed[ARRAY_LEN(op->field) + 1] = {NULL};
	size_t n = 0;

	while (n < ARRAY_LEN(op->field) && op->field[n].name) {
		allowed[n] = op->field[n].name;
		n++;
	}
	if (line_fields_only(conn, req, allowed))
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_object_get(req, op->field[i].name);
		if (json_is_null(v) && !op->field[i].needed) {
			json_object_del(req, op->field[i].name);
			v = NULL;
		}
		if (v ? kind_ok(v, op->field[i].kind) : !op->field[i].needed)
			continue;
		line_reply_error(conn, EINVAL, "%s: field \"%s\" is %s", op->name,
		                 op->field[i].name, v ? "of the wrong kind" : "missing");
		return -EINVAL;
	}
	const char *camera = json_string_value(json_object_get(req, "camera"));
	if (camera && !camera_find(r, camera)) {
		line_reply_error(conn, ENOENT, "no camera \"%.100s\" in custos.conf", camera);
		return -ENOENT;
	}
	return 0;
}

/* Who may: decided at once (0, -EACCES) or by the asker (1, with the question in p->ask). */
static int who_may(struct recorder *r, const struct op *op, struct pending *p)
{
	uid_t uid = p->peer.uid;

	if (op->go == do_coverage)
		return uid == r->policy_uid ? 0 : -EACCES;
	if (op->go == do_status) {
		p->ask.right = "status";
		return uid == 0 || uid == r->self_uid ? 0 : 1;
	}
	if (op->go == do_ls) {
		p->ask.right = "ls";
		return 1;
	}
	const char *name = json_string_value(json_object_get(p->req, "camera"));
	static char *nobody[] = {NULL};
	p->ask.people = camera_find(r, name)->conf->feeders;
	if (!p->ask.people)
		p->ask.people = nobody;
	if (json_object_get(p->req, "start"))
		p->ask.right = "import";
	return 1;
}

static void handle(void *arg, struct line_conn *conn, const struct line_peer *peer, json_t *req)
{
	struct recorder *r = arg;
	const char *name = json_string_value(json_object_get(req, "op"));
	const struct op *op = NULL;
	struct pending *p = NULL;

	for (size_t i = 0; name && i < ARRAY_LEN(ops); i++)
		if (strcmp(name, ops[i].name) == 0)
			op = &ops[i];
	if (!op)
		line_reply_error(conn, EINVAL, "unknown operation \"%.64s\"", name ? name : "");
	else if (check_fields(r, conn, req, op) == 0) {
		if (op->go == do_feed && peer->fd < 0)
			line_reply_error(conn, EINVAL, "feed: no stream was passed with it");
		else
			p = pending_new(r, conn, peer, req, op->go);
	}
	if (!p) {
		if (peer->fd >= 0)
			close(peer->fd);
		return;
	}
	int may = who_may(r, op, p);
	if (may == 1) {
		asker_put(r->asker, &p->ask);
		return;
	}
	if (may == 0)
		p->go(r, p);
	else
		line_reply_error(conn, -may, "refused: %s is for policyd alone", op->name);
	pending_free(p);
}

static void gone(void *arg, struct line_conn *conn)
{
	struct recorder *r = arg;
	for (struct pending *p = r->pending; p; p = p->next)
		if (p->conn == conn)
			p->conn = NULL;
	feed_gone(r, conn);
}

static void socket_ready(void *arg)
{
	struct recorder *r = arg;
	line_server_run(r->server);
}

static void answers_ready(void *arg)
{
	struct recorder *r = arg;
	asker_run(r->asker);
}

int control_open(struct recorder *r, char *err, size_t err_bytes)
{
	char path[4096];

	int e = asker_open(r->conf, r->policy_uid, &r->asker);
	if (!e)
		e = loop_add(r, &r->answers, asker_fd(r->asker), answers_ready, r);
	if (!e)
		e = line_server_open(conf_path(r->conf, CONF_SOCK_RECORD, path, sizeof(path)),
		                     handle, gone, r, &r->server);
	if (!e)
		e = loop_add(r, &r->socket, line_server_fd(r->server), socket_ready, r);
	if (e)
		snprintf(err, err_bytes, "control socket %s: %s",
		         conf_path(r->conf, CONF_SOCK_RECORD, path, sizeof(path)), strerror(-e));
	return e;
}

void control_close(struct recorder *r)
{
	asker_close(r->asker);
	r->asker = NULL;
	feed_close(r);
	if (r->server)
		line_server_close(r->server);
	r->server = NULL;
}

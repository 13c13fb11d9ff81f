/*
 * cmd_audit.c — the logs of all daemons merged by time, filtered, one line a record.
 *
 * Reads the files with the caller's own rights: auditors are in the audit group. The gate names a
 * file only in OPEN; the records of its handle that follow get camera and path from there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/audit/audit.h"
#include "tools/audit_logs.h"
#include "tools/audit_print.h"
#include "tools/commands.h"

const struct args_option opts_audit_show[] = {
        {"user", "NAME", "only what this person did (also uid:NUMBER)", false},
        {"grant", "N", "only what belongs to this grant", false},
        {"camera", "C", "only what concerns this camera", false},
        {"op", "NAME", "only this operation: request, approve, open, read, deny …", false},
        {"from", "T", "not before T", false},
        {"to", "T", "before T", false},
        {"log", "NAME", "only policy, gate or recorder", false},
        {"dir", "DIR", "a log's folder, copied from anywhere", false},
        {0},
};

struct filter {
	const char *user, *camera;
	bool by_uid;
	uid_t uid;
	uint64_t grant; /* 0: any */
	uint16_t op;    /* 0: any */
	int64_t from_ns, to_ns;
};

struct source {
	const struct audit_place *place;
	struct aud_iter *it;
	bool have;
	struct aud_record rec;
	json_t *payload; /* object or NULL */
	json_t *handles; /* "incarnation:handle" → payload of its OPEN */
};

struct shower {
	struct cli *cli;
	struct filter filter;
	struct source source[AUDIT_LOGS];
	size_t n_sources, printed;
};

static int take_filter(struct cli *cli, struct filter *f)
{
	const struct args *a = cli->args;
	const char *grant = args_get(a, "grant"), *op = args_get(a, "op");
	int status;

	*f = (struct filter){.user = args_get(a, "user"), .camera = args_get(a, "camera")};
	f->from_ns = INT64_MIN;
	f->to_ns = INT64_MAX;
	/* Somebody who has left is still found by the names inside the records. */
	f->by_uid = f->user && people_uid(f->user, &f->uid) == 0;
	if (grant && (args_number(grant, &f->grant) != 0 || f->grant == 0))
		return cli_fail(cli, CLI_USAGE, "--grant \"%s\" is not a number; give one like 7",
		                grant);
	if (op) {
		char name[32];

		/* Names have a dash; who types an underscore means it. */
		snprintf(name, sizeof(name), "%s", op);
		for (char *p = name; *p; p++)
			*p = *p == '_' ? '-' : *p;
		f->op = aud_op_parse(name);
		if (!f->op)
			return cli_fail(
			        cli, CLI_USAGE,
			        "--op \"%s\" is no operation; see custos(1), AUDIT OPERATIONS", op);
	}
	status = cli_get_time(cli, "from", &f->from_ns);
	return status ? status : cli_get_time(cli, "to", &f->to_ns);
}

static void handle_key(const struct aud_record *r, char out[64])
{
	snprintf(out, 64, "%" PRIx64 ":%" PRIx64, r->incarnation, r->object);
}

/* Joins what OPEN said to the later records of its handle. */
static void join_handle(struct source *s)
{
	const struct aud_record *r = &s->rec;
	char key[64];
	json_t *open;

	if (r->op < AUD_OP_OPEN || r->op > AUD_OP_CLOSE)
		return;
	handle_key(r, key);
	if (r->op == AUD_OP_OPEN) {
		if (s->payload)
			json_object_set(s->handles, key, s->payload);
		return;
	}
	open = json_object_get(s->handles, key);
	if (open) {
		if (!s->payload)
			s->payload = json_object();
		json_object_update_missing(s->payload, open);
	}
	if (r->op == AUD_OP_CLOSE)
		json_object_del(s->handles, key);
}

/* Fetches the next record of one log; 0 also at the end. */
static int advance(struct shower *w, struct source *s)
{
	const char *text;
	int n;

	json_decref(s->payload);
	s->payload = NULL;
	n = aud_iter_next(s->it, &s->rec, &text);
	s->have = n == 1;
	if (n < 0)
		return cli_fail(w->cli, CLI_REFUSED,
		                "the %s log is damaged after record %" PRIu64
		                ": %s; run custos audit "
		                "verify",
		                s->place->name, s->rec.seq, strerror(-n));
	if (n == 0)
		return CLI_DONE;
	if (s->rec.payload_bytes)
		s->payload = json_loadb(text, s->rec.payload_bytes, 0, NULL);
	if (s->payload && !json_is_object(s->payload)) {
		json_decref(s->payload);
		s->payload = NULL;
	}
	join_handle(s);
	return CLI_DONE;
}

static bool names_user(const struct filter *f, const struct source *s)
{
	static const char *const keys[] = {"user", "requester", "signer", "holder", "who"};

	if (f->by_uid && s->rec.uid == f->uid)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		const char *name = cli_text(s->payload, keys[i]);
		size_t n = strlen(f->user);

		/* Names stand there as name or name@realm. */
		if (strncmp(name, f->user, n) == 0 && (name[n] == '\0' || name[n] == '@'))
			return true;
	}
	return false;
}

static bool names_camera(const char *camera, const json_t *payload)
{
	const json_t *list = audit_cameras(payload), *item;
	size_t i;

	if (strcmp(cli_text(payload, "camera"), camera) == 0)
		return true;
	json_array_foreach(list, i, item)
	{
		const char *name =
		        json_is_string(item) ? json_string_value(item) : cli_text(item, "camera");
		if (strcmp(name, camera) == 0)
			return true;
	}
	return false;
}

static bool wanted(const struct filter *f, const struct source *s)
{
	const struct aud_record *r = &s->rec;

	return r->time_ns >= f->from_ns && r->time_ns < f->to_ns && (!f->op || r->op == f->op) &&
	       (!f->grant || r->grant == f->grant) && (!f->user || names_user(f, s)) &&
	       (!f->camera || names_camera(f->camera, s->payload));
}

static int open_source(struct shower *w, const struct audit_place *place, bool asked_for)
{
	struct source *s = &w->source[w->n_sources];
	char err[512];
	int rc;

	s->place = place;
	rc = aud_iter_open(place->dir, &s->it, err, sizeof(err));
	if (rc == -ENOENT && !asked_for)
		return CLI_DONE; /* a daemon that has never run here */
	if (rc == -EACCES)
		return cli_fail(w->cli, CLI_REFUSED,
		                "the %s log may be read by auditors alone (group %s); ask one",
		                place->name,
		                w->cli->conf ? w->cli->conf->audit_group : "of its files");
	if (rc)
		return cli_fail(w->cli, CLI_REFUSED, "the %s log: %s", place->name, err);
	w->n_sources++;
	s->handles = json_object();
	return advance(w, s);
}

static int show_next(struct shower *w, struct source *s)
{
	if (wanted(&w->filter, s)) {
		if (w->cli->json) {
			fputs(w->printed ? ",\n" : "[\n", stdout);
			audit_print_json(s->place->name, &s->rec, s->payload);
		} else {
			audit_print_line(s->place->name, &s->rec, s->payload);
		}
		w->printed++;
	}
	return advance(w, s);
}

/* Each log is in its own order already; the merge takes the earliest head. */
static int show_all(struct shower *w)
{
	int status = CLI_DONE;

	while (!status && !ferror(stdout)) {
		struct source *next = NULL;

		for (size_t i = 0; i < w->n_sources; i++)
			if (w->source[i].have &&
			    (!next || w->source[i].rec.time_ns < next->rec.time_ns))
				next = &w->source[i];
		if (!next)
			break;
		status = show_next(w, next);
	}
	if (w->cli->json)
		fputs(w->printed ? "\n]\n" : "[]\n", stdout);
	return status;
}

int cmd_audit_show(struct cli *cli)
{
	struct audit_place places[AUDIT_LOGS];
	struct shower w = {.cli = cli};
	size_t n;
	int status = audit_places(cli, places, &n), finished;

	if (!status)
		status = take_filter(cli, &w.filter);
	for (size_t i = 0; i < n && !status; i++)
		status = open_source(&w, &places[i], n == 1);
	if (!status && w.n_sources == 0)
		status = cli_fail(cli, CLI_REFUSED,
		                  "there is no log below %s yet; start the daemons",
		                  cli->conf ? cli->conf->state : "--dir");
	if (!status)
		status = show_all(&w);
	for (size_t i = 0; i < w.n_sources; i++) {
		aud_iter_close(w.source[i].it);
		json_decref(w.source[i].payload);
		json_decref(w.source[i].handles);
	}
	finished = cli_finish(cli);
	return status ? status : finished;
}

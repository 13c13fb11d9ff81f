/*
 * Snapshots. The body (ages, keeps, policy digest) is a function of the state; its digest in the
 * log tells whether a number is still good, so a restart does not spend a number for nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/digest.h"
#include "policyd/events.h"
#include "policyd/snapshot.h"

#define POLLERS_MAX 16

struct poller {
	struct line_conn *conn;
	uint64_t have;
	int64_t until; /* boot time */
	char *checkpoint;
};
struct pol_snap {
	char *note; /* of number state->snapshot */
	struct poller poller[POLLERS_MAX];
	size_t n;
};

int snap_new(struct pol_snap **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void snap_free(struct pol_snap *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		free(s->poller[i].checkpoint);
	free(s->note);
	free(s);
}

static json_t *ages(const struct pol_conf *c)
{
	json_t *array = json_array();

	for (size_t i = 0; c && i < c->n_cameras; i++)
		json_array_append_new(array,
		                      json_pack("{s:s, s:I, s:I}", "camera", c->cameras[i].name,
		                                "min_age", (json_int_t)c->cameras[i].min_age_ns,
		                                "max_age", (json_int_t)c->cameras[i].max_age_ns));
	return array;
}

static void keep(json_t *array, const struct pol_what *w, const char *kind, uint64_t id)
{
	char why[48];

	snprintf(why, sizeof(why), "%s %llu", kind, (unsigned long long)id);
	for (size_t i = 0; w->cameras[i]; i++)
		json_array_append_new(array,
		                      json_pack("{s:s, s:I, s:I, s:s}", "camera", w->cameras[i],
		                                "from", (json_int_t)w->from_ns, "to",
		                                (json_int_t)w->to_ns, "why", why));
}

static json_t *keeps(const struct pol_state_all *s)
{
	json_t *array = json_array();

	for (size_t i = 0; i < s->n_grants; i++)
		if (s->grants[i]->state == POL_ACTIVE)
			keep(array, &s->grants[i]->what, "grant", s->grants[i]->id);
	for (size_t i = 0; i < s->n_requests; i++)
		if (pol_undecided(s->requests[i]))
			keep(array, &s->requests[i]->now, "request", s->requests[i]->id);
	return array;
}

static int sign(struct policyd *p, json_t *body)
{
	char *line, *text = NULL, *note = NULL;
	int err = -ENOMEM;

	json_object_set_new(body, "number", json_integer((json_int_t)p->state->snapshot));
	json_object_set_new(body, "time", json_integer(polclock_now(&p->clock)));
	line = json_dumps(body, JSON_COMPACT);
	if (line && asprintf(&text, "custos.policy/1\n%s\n", line) >= 0)
		err = note_sign(p->key, text, &note);
	if (!err) {
		free(p->snap->note);
		p->snap->note = note;
	}
	free(text);
	free(line);
	return err;
}

static void answer(struct policyd *p, size_t i)
{
	struct pol_snap *s = p->snap;
	struct poller q = s->poller[i];
	bool newer = q.have != p->state->snapshot && s->note;
	json_t *reply =
	        json_pack("{s:b, s:I, s:o, s:s}", "ok", 1, "number", (json_int_t)p->state->snapshot,
	                  "snapshot", newer ? json_string(s->note) : json_null(), "vkey", p->vkey);

	s->poller[i] = s->poller[--s->n];
	if (reply && q.checkpoint)
		json_object_set_new(reply, "checkpoint", json_string(q.checkpoint));
	free(q.checkpoint);
	if (aud_failed(p->log)) {
		json_decref(reply);
		line_reply_error(q.conn, EIO, "refused: the audit log has failed");
	} else if (!reply) {
		line_reply_error(q.conn, ENOMEM, "refused: out of memory; try again");
	} else {
		line_reply(q.conn, reply);
	}
}

int snap_refresh(struct policyd *p)
{
	struct event ev = {.op = AUD_OP_SNAPSHOT, .object = p->state->snapshot + 1};
	json_t *body = json_pack("{s:s, s:o, s:o}", "policy_digest",
	                         p->state->conf ? p->state->conf->digest : "", "cameras",
	                         ages(p->state->conf), "keeps", keeps(p->state));
	char digest[65];
	bool changed;
	int err = body ? digest_json(body, digest) : -ENOMEM;

	if (err)
		goto out;
	changed = strcmp(digest, p->state->snapshot_digest) != 0;
	if (changed) {
		ev.payload =
		        json_pack("{s:I, s:s}", "number", (json_int_t)ev.object, "digest", digest);
		err = event_commit(p, &ev);
	}
	if (!err && (changed || !p->snap->note))
		err = sign(p, body);
	for (size_t i = p->snap->n; !err && i-- > 0;)
		if (p->snap->poller[i].have != p->state->snapshot)
			answer(p, i);
out:
	json_decref(body);
	return err;
}

void snap_poll(struct policyd *p, struct line_conn *conn, uint64_t have, int64_t wait_ns,
               char *checkpoint)
{
	struct pol_snap *s = p->snap;

	if (s->n == POLLERS_MAX)
		answer(p, 0); /* the one longest there */
	s->poller[s->n++] = (struct poller){.conn = conn,
	                                    .have = have,
	                                    .checkpoint = checkpoint,
	                                    .until = clock_boot_ns() + wait_ns};
	if (have != p->state->snapshot || !wait_ns || aud_failed(p->log))
		answer(p, s->n - 1);
}

int64_t snap_tick(struct policyd *p)
{
	int64_t now = clock_boot_ns(), next = NSEC_PER_SEC;

	for (size_t i = p->snap->n; i-- > 0;) {
		if (p->snap->poller[i].until <= now)
			answer(p, i);
		else if (p->snap->poller[i].until - now < next)
			next = p->snap->poller[i].until - now;
	}
	return next;
}

void snap_gone(struct pol_snap *s, struct line_conn *conn)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->poller[i].conn == conn) {
			free(s->poller[i].checkpoint);
			s->poller[i] = s->poller[--s->n];
			break;
		}
}

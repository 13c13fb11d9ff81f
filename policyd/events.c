/*
 * The order that makes the log the truth: record durable first, state second, projection third. A
 * crash between them loses nothing, since the two later ones are built from the first.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/events.h"
#include "policyd/store.h"

static void record_fill(const struct event *ev, struct aud_record *rec)
{
	/* Its time is the wall clock, set by aud_append(): the policy clock decides what expires,
	 * but the logs of the three daemons are read side by side. */
	*rec = (struct aud_record){
	        .op = ev->op,
	        .result = ev->result,
	        .uid = ev->peer ? ev->peer->uid : AUD_NO_UID,
	        .login_uid = ev->peer ? ev->peer->login_uid : AUD_NO_UID,
	        .pid = ev->peer ? (uint32_t)ev->peer->pid : AUD_NO_UID,
	        .grant = ev->grant,
	        .object = ev->object,
	        .from_ns = ev->from_ns,
	        .to_ns = ev->to_ns,
	};
}

static void project(struct policyd *p, const struct pol_event *applied)
{
	if (!p->store || !store_apply(p->store, p->state, applied))
		return;
	log_err("the projection cannot be written; decisions go on from the log, it is rebuilt at "
	        "the "
	        "next start; check the disk under state/policy");
	store_close(p->store);
	p->store = NULL;
}

int event_commit(struct policyd *p, const struct event *ev)
{
	char *text, why[256] = "";
	struct aud_record rec;
	struct pol_event applied;
	uint64_t seq = 0;
	int err;

	if (!ev->payload)
		return -ENOMEM;
	text = json_dumps(ev->payload, JSON_COMPACT);
	err = text ? 0 : -ENOMEM;
	if (!err) {
		record_fill(ev, &rec);
		err = aud_append(p->log, &rec, text, strlen(text), &seq);
	}
	free(text);
	/* Without a limit: a record that became durable after we gave up would be a decision that
	 * nobody knows of and that the next one contradicts. While we wait, leases end. */
	if (!err)
		err = aud_wait(p->log, seq, INT64_MAX);
	if (err == -ENOBUFS)
		err = -EIO;
	if (!err) {
		applied = (struct pol_event){.op = ev->op,
		                             .seq = seq,
		                             .time_ns = rec.time_ns,
		                             .uid = rec.uid,
		                             .login_uid = rec.login_uid,
		                             .grant = ev->grant,
		                             .object = ev->object,
		                             .payload = ev->payload};
		err = state_apply(p->state, &applied, why, sizeof(why));
		if (err) {
			/* Durable but not applied: only a restart brings both together again. */
			log_err("BUG: an event of ours does not fit: %s", why);
			assert(err != -EUCLEAN);
			abort();
		}
		project(p, &applied);
	}
	json_decref(ev->payload);
	return err;
}

static int replay_one(struct pol_state_all *s, const struct aud_record *rec, const char *payload,
                      char *err, size_t err_bytes)
{
	json_t *o = NULL;
	struct pol_event ev;
	char why[256] = "";
	int ret;

	if (rec->payload_bytes)
		o = json_loadb(payload, rec->payload_bytes, 0, NULL);
	ev = (struct pol_event){.op = rec->op,
	                        .seq = rec->seq,
	                        .time_ns = rec->time_ns,
	                        .uid = rec->uid,
	                        .login_uid = rec->login_uid,
	                        .grant = rec->grant,
	                        .object = rec->object,
	                        .payload = o};
	ret = state_apply(s, &ev, why, sizeof(why));
	if (ret == -EUCLEAN)
		snprintf(err, err_bytes, "record %llu: %s", (unsigned long long)rec->seq, why);
	json_decref(o);
	return ret;
}

int events_replay(const char *dir, struct pol_state_all **out, event_each *each, void *arg,
                  int64_t *last_ns, char *err, size_t err_bytes)
{
	struct pol_state_all *s = NULL;
	struct aud_iter *it = NULL;
	struct aud_record rec;
	const char *payload;
	int ret;

	*out = NULL;
	*last_ns = 0;
	err[0] = '\0';
	ret = aud_iter_open(dir, &it, err, err_bytes);
	if (ret)
		return ret;
	ret = state_new(&s);
	while (!ret) {
		ret = aud_iter_next(it, &rec, &payload);
		if (ret <= 0)
			break;
		ret = replay_one(s, &rec, payload, err, err_bytes);
		if (rec.time_ns > *last_ns)
			*last_ns = rec.time_ns;
		if (!ret && each)
			each(arg, s);
	}
	aud_iter_close(it);
	if (ret) {
		if (!err[0])
			snprintf(err, err_bytes, "the log cannot be read (%s)",
			         line_errno_name(-ret));
		state_free(s);
		return ret;
	}
	*out = s;
	return 0;
}

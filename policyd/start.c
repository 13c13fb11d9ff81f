/*
 * Opening and the passing of time. At start, in this order: the log (which verifies itself), the
 * state from the log, the clock, the projection compared with the log, then what a crash left half
 * done: a fully signed request gets its grant, an ended grant its acknowledgement.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "policyd/api.h"
#include "policyd/apiconfig.h"
#include "policyd/budget.h"
#include "policyd/heads.h"
#include "policyd/lease.h"
#include "policyd/snapshot.h"
#include "policyd/store.h"

#define HEAD_EVERY_NS (5 * NSEC_PER_SEC)

static void on_replayed(void *arg, const struct pol_state_all *s)
{
	store_replayed(arg, s);
}

static int open_log(struct policyd *p, const char *dir, char *err, size_t err_bytes)
{
	const struct aud_options opt = {.origin = POLICYD_ORIGIN};
	char line[384] = "";
	int ret = aud_open(dir, &opt, &p->log, line, sizeof(line));

	if (ret == -EUCLEAN)
		snprintf(err, err_bytes,
		         "%s; everything stays denied: keep the log as evidence and restore a "
		         "copy that verifies",
		         line);
	else if (ret)
		snprintf(err, err_bytes, "the audit log %s cannot be opened: %s", dir,
		         line[0] ? line : line_errno_name(-ret));
	return ret;
}

static int open_state(struct policyd *p, const char *dir, char *err, size_t err_bytes)
{
	char path[PATH_MAX], line[384] = "";
	int64_t last_ns = 0;
	int ret;

	conf_path(p->conf, CONF_DB, path, sizeof(path));
	ret = store_open(path, &p->store);
	if (ret)
		snprintf(line, sizeof(line),
		         "the projection %.250s cannot be opened (%s); check the disk", path,
		         line_errno_name(-ret));
	else
		ret = events_replay(dir, &p->state, on_replayed, p->store, &last_ns, line,
		                    sizeof(line));
	if (ret) {
		snprintf(err, err_bytes,
		         "the audit log %s cannot be replayed: %s; everything stays denied", dir,
		         ret == -ENOMEM ? "out of memory" : line);
		return ret;
	}
	snprintf(p->clock_path, sizeof(p->clock_path), "%s/policy/clock", p->conf->state);
	polclock_start(&p->clock, p->clock_path, p->vkey, last_ns);
	if (p->clock.behind)
		log_err("ALARM: the clock is behind the last signed time by more than 30 s: "
		        "everything is "
		        "denied until it is set");
	return 0;
}

/* The projection follows the log; when it was not what the log says, that is itself an event. */
static int open_projection(struct policyd *p)
{
	struct pol_store *db = p->store;
	struct event ev = {.op = AUD_OP_TAMPER};
	const char *what;
	bool tampered = false;
	int err = store_finish(db, p->state, &tampered, &what);

	if (err) {
		log_err("the projection (state/policy/policy.db) cannot be written; decisions go "
		        "on from "
		        "the log; check the disk");
		store_close(db);
		p->store = NULL;
	}
	if (!tampered)
		return 0;
	log_err("ALARM: the projection (database policy.db) was not what the audit log says: %s; "
	        "it has "
	        "been rebuilt",
	        what);
	ev.payload = json_pack("{s:s, s:s}", "file", "policy.db", "what", what);
	return event_commit(p, &ev);
}

/* The signed heads of before, also from beside the logs: heads.json alone could be taken away, and
 * a shorter log would then be signed as if nothing had been. */
static int open_heads(struct policyd *p, const char *path, bool restarted)
{
	static const struct {
		enum head_kind kind;
		enum conf_path log;
	} logs[] = {{HEAD_POLICY, CONF_LOG_POLICY},
	            {HEAD_GATE, CONF_LOG_GATE},
	            {HEAD_RECORDER, CONF_LOG_RECORD}};
	bool missing = access(path, F_OK) != 0, newer = false;
	struct event ev = {.op = AUD_OP_TAMPER};
	char dir[PATH_MAX], file[PATH_MAX + 16], *note;

	for (size_t i = 0; i < ARRAY_LEN(logs); i++) {
		conf_path(p->conf, logs[i].log, dir, sizeof(dir));
		snprintf(file, sizeof(file), "%s/checkpoint", dir);
		if (file_read_all(file, 64 * KIB, &note, NULL))
			continue; /* no log there yet; one that we may not read is none for us */
		newer |= heads_seed(p->heads, logs[i].kind, note);
		free(note);
	}
	if (!restarted || !newer)
		return 0;
	log_err("ALARM: %s %s; the heads that stand beside the logs are taken", path,
	        missing ? "is missing" : "is older than checkpoints that were given away");
	ev.payload = json_pack("{s:s, s:s}", "file", "heads.json", "what",
	                       missing ? "missing" : "older than what was signed");
	return event_commit(p, &ev);
}

static int first_policy(struct policyd *p, char *err, size_t err_bytes)
{
	struct pol_conf *conf;
	int ret;

	if (p->state->conf)
		return 0;
	ret = policy_file_read(p, &conf, err, err_bytes);
	if (ret)
		return ret;
	ret = policy_apply(p, NULL, conf->text, conf->digest, 0);
	if (!ret)
		log_info("first start: applied %s as it stands (sha256 %s)", p->conf->policy,
		         conf->digest);
	policyconf_free(conf);
	return ret;
}

static int finish_halves(struct policyd *p)
{
	unsigned missing;
	int err = 0;

	for (size_t i = 0; !err && i < p->state->n_requests; i++) {
		struct pol_request *r = p->state->requests[i];
		int64_t now = polclock_now(&p->clock);

		if (r->state == POL_APPROVED && !r->stages[request_stage_texts(r, &missing)] &&
		    (!r->now.until_ns || r->now.until_ns > now))
			err = grant_activate(p, NULL, r);
	}
	for (size_t i = 0; !err && i < p->state->n_grants; i++)
		if (!p->state->grants[i]->settled && p->state->grants[i]->state != POL_ACTIVE)
			lease_settle(p, NULL, p->state->grants[i]->id, p->state->epoch);
	return err;
}

int policyd_open(struct policyd *p, const struct conf *conf, struct note_key *key, char *err,
                 size_t err_bytes)
{
	char path[PATH_MAX];
	bool restarted;
	int ret;

	*p = (struct policyd){.conf = conf, .key = key};
	err[0] = '\0';
	note_key_vkey(key, p->vkey);
	ret = note_fingerprint(p->vkey, p->fingerprint);
	conf_path(conf, CONF_LOG_POLICY, p->log_dir, sizeof(p->log_dir));
	snprintf(path, sizeof(path), "%s/policy/heads.json", conf->state);
	if (!ret)
		ret = open_log(p, p->log_dir, err, err_bytes);
	if (!ret)
		ret = open_state(p, p->log_dir, err, err_bytes);
	if (!ret)
		ret = heads_open(path, key, &p->heads, err, err_bytes);
	if (ret)
		goto out;
	restarted = p->state->conf != NULL;
	ret = lease_new(restarted, &p->lease);
	if (!ret)
		ret = snap_new(&p->snap);
	if (!ret)
		ret = budget_new(&p->budget);
	if (!ret)
		ret = open_projection(p);
	if (!ret)
		ret = open_heads(p, path, restarted);
	if (!ret)
		ret = first_policy(p, err, err_bytes);
	if (!ret && !restarted) {
		struct event ev = {.op = AUD_OP_KEY};

		ev.payload =
		        json_pack("{s:s, s:s}", "fingerprint", p->fingerprint, "vkey", p->vkey);
		ret = event_commit(p, &ev);
	}
	if (!ret)
		ret = finish_halves(p);
	if (!ret)
		ret = snap_refresh(p);
out:
	if (ret && !err[0])
		snprintf(err, err_bytes, "cannot start (%s); see the lines above",
		         line_errno_name(-ret));
	if (ret)
		policyd_close(p);
	return ret;
}

void policyd_close(struct policyd *p)
{
	lease_free(p->lease);
	snap_free(p->snap);
	budget_free(p->budget);
	heads_close(p->heads);
	store_close(p->store);
	state_free(p->state);
	if (p->log)
		aud_close(p->log);
	*p = (struct policyd){.conf = p->conf};
}

/* ---- what time brings ---- */

static void end_by_time(struct policyd *p, uint16_t op, uint64_t grant, uint64_t request,
                        const struct pol_what *w)
{
	struct event ev = {.op = op,
	                   .grant = grant,
	                   .object = request,
	                   .from_ns = w->from_ns,
	                   .to_ns = w->to_ns};

	ev.payload =
	        json_pack("{s:I, s:I}", "grant", (json_int_t)grant, "request", (json_int_t)request);
	if (event_commit(p, &ev))
		return; /* alarmed there; the leases end by themselves */
	policyd_changed(p);
}

/* Ends what is over; returns ns until the next end. */
static int64_t expire(struct policyd *p)
{
	int64_t now = polclock_now(&p->clock), next = NSEC_PER_SEC;

	for (size_t i = 0; i < p->state->n_grants; i++) {
		const struct pol_grant *g = p->state->grants[i];

		if (g->state != POL_ACTIVE)
			continue;
		if (g->what.until_ns <= now)
			end_by_time(p, AUD_OP_EXPIRE, g->id, g->request, &g->what);
		else if (g->what.until_ns - now < next)
			next = g->what.until_ns - now;
	}
	for (size_t i = 0; i < p->state->n_requests; i++) {
		const struct pol_request *r = p->state->requests[i];

		if (pol_undecided(r) && (now - r->submitted_ns > POL_LAPSE_NS ||
		                         (r->now.until_ns && r->now.until_ns <= now)))
			end_by_time(p, AUD_OP_LAPSE, 0, r->id, &r->now);
	}
	return next;
}

static void sign_own_head(struct policyd *p)
{
	int64_t boot = clock_boot_ns();
	struct aud_head head;
	char *note = NULL;
	int err;

	if (p->own_head_boot_ns && boot - p->own_head_boot_ns < HEAD_EVERY_NS)
		return;
	p->own_head_boot_ns = boot;
	aud_head(p->log, &head);
	if (!head.groups || head.groups == p->own_head_groups)
		return;
	err = heads_sign(p->heads, HEAD_POLICY, aud_origin(p->log), head.groups, head.root, &note);
	if (!err)
		err = aud_checkpoint_store(p->log, note);
	if (err && heads_news(p->heads, aud_origin(p->log), err))
		log_err("ALARM: the head of policyd's own log could not be signed (%s); check the "
		        "disk under state/policy",
		        line_errno_name(-err));
	if (!err)
		p->own_head_groups = head.groups;
	free(note);
}

static void counted_refusals(struct policyd *p)
{
	struct line_peer peer = {.login_uid = AUD_NO_UID, .fd = -1};
	uint32_t uid, count;

	while (budget_due(p->budget, clock_boot_ns(), &uid, &count)) {
		struct event ev = {.op = AUD_OP_REFUSED, .peer = &peer, .result = EAGAIN};

		peer.uid = uid;
		ev.payload = json_pack("{s:s, s:I}", "why", "further refusals, counted", "count",
		                       (json_int_t)count);
		if (event_commit(p, &ev))
			break;
	}
}

static void save_clock(struct policyd *p)
{
	bool failed = polclock_save(&p->clock, p->clock_path, p->key) != 0;

	if (failed && !p->clock_save_failed)
		log_warn("the signed time could not be written under state/policy; check the disk");
	p->clock_save_failed = failed;
}

int64_t policyd_tick(struct policyd *p)
{
	int64_t next, n;

	if (aud_failed(p->log)) {
		next = NSEC_PER_SEC;
	} else {
		next = expire(p);
		counted_refusals(p);
		sign_own_head(p);
		save_clock(p);
	}
	n = lease_tick(p);
	next = n < next ? n : next;
	n = snap_tick(p);
	return n < next ? n : next;
}

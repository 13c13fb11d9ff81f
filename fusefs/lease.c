/*
 * lease.c — the lease thread (lease.h). One connection, one request at a time.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "engine/audit/note.h"
#include "fusefs/lease.h"
#include "policyd/line.h"
#include "policyd/proto.h"

#define CONNECT_NS   (2 * NSEC_PER_SEC)
#define PAUSE_NS     (200 * NSEC_PER_MSEC)
/* Our lease ends this much before policyd's: a reply begun in its last instant is out by then. */
#define MARGIN_NS    (250 * NSEC_PER_MSEC)
/* A poll must be answered this long before the lease ends. */
#define SPARE_NS     (700 * NSEC_PER_MSEC)
#define LEASE_MAX_MS 60000
#define SETTLE_NS    (10 * NSEC_PER_SEC)

struct lease {
	struct fs *fs;
	char *socket, *policy_user, *gate;
	void (*invalidate)(void *arg, uint64_t node);
	void *arg;
	pthread_t thread;
	atomic_bool stop;
	pthread_mutex_t lock; /* client, for lease_stop() */
	struct line_client *client;
	_Atomic uint64_t have;
	struct grant **gone; /* revoked, not yet settled: nothing is acknowledged before that */
	size_t n_gone;
	bool told; /* that policyd does not answer */
};

static void pause_a_little(void)
{
	struct timespec ts = {.tv_nsec = (long)PAUSE_NS};

	nanosleep(&ts, NULL);
}

static void hang_up(struct lease *l)
{
	struct line_client *c;

	pthread_mutex_lock(&l->lock);
	c = l->client;
	l->client = NULL;
	pthread_mutex_unlock(&l->lock);
	if (c)
		line_disconnect(c);
}

static int connect_policy(struct lease *l)
{
	struct line_client *c;
	uid_t uid;
	int ret;

	if (l->client)
		return 0;
	ret = conf_uid(l->policy_user, &uid);
	if (!ret)
		ret = line_connect(l->socket, uid, CONNECT_NS, &c);
	if (ret) {
		if (!l->told)
			log_warn("policyd does not answer at %s (%s): everything is denied until "
			         "it does",
			         l->socket, strerror(-ret));
		l->told = true;
		return ret;
	}
	pthread_mutex_lock(&l->lock);
	l->client = c;
	pthread_mutex_unlock(&l->lock);
	return 0;
}

/* How long policyd may keep the poll: not so long that the lease, perhaps short after a late
 * answer, runs out meanwhile; not at all while there is none. */
static int wait_ms(struct lease *l)
{
	int64_t left = gate_lease_left_ns(l->fs->gate) - SPARE_NS;

	if (left <= 0)
		return 0;
	return left / NSEC_PER_MSEC < PROTO_WAIT_MAX_MS ? (int)(left / NSEC_PER_MSEC)
	                                                : PROTO_WAIT_MAX_MS;
}

static json_t *make_request(struct lease *l)
{
	struct aud_head head;
	char root[64];

	aud_head(l->fs->log, &head);
	base64_encode(head.root, sizeof(head.root), root);
	return json_pack("{ss ss sI sI si s{ss sI sI ss}}", "op", "lease", "gate", l->gate,
	                 "incarnation", (json_int_t)aud_incarnation(l->fs->log), "have",
	                 (json_int_t)atomic_load(&l->have), "wait_ms", wait_ms(l), "head", "origin",
	                 aud_origin(l->fs->log), "groups", (json_int_t)head.groups, "last_seq",
	                 (json_int_t)head.last_seq, "root", root);
}

/* ---------------------------------------------------------------- what the reply says */

static void take_key(struct fs *fs, const json_t *reply)
{
	const char *vkey = json_string_value(json_object_get(reply, "vkey"));
	char fingerprint[80];

	if (!vkey || note_fingerprint(vkey, fingerprint))
		return;
	pthread_mutex_lock(&fs->key_lock);
	memcpy(fs->fingerprint, fingerprint, sizeof(fingerprint));
	pthread_mutex_unlock(&fs->key_lock);
}

static void take_checkpoint(struct fs *fs, const json_t *reply)
{
	const char *note = json_string_value(json_object_get(reply, "checkpoint"));
	int ret = note ? aud_checkpoint_store(fs->log, note) : 0;

	if (ret)
		log_warn("a checkpoint of our log could not be kept: %s", strerror(-ret));
}

/* The revoked grant's bytes have stopped when this returns. */
static int stop_bytes(struct lease *l, struct grant *g)
{
	struct fs *fs = l->fs;
	struct handle **list = NULL;
	size_t n = 0;
	int ret;

	gate_drain(fs->gate, g);
	ret = handles_of(fs->handles, g, &list, &n);
	for (size_t i = 0; i < n; i++) {
		if (!list[i]->entries)
			l->invalidate(l->arg, list[i]->node);
		handle_put(fs->handles, list[i]);
	}
	free(list);
	listing_drop(fs->listings, g);
	return ret;
}

/* All that are gone have stopped and the log says so, durably; or an error, and all of them stay to
 * be settled. Doing it twice does no harm. */
static int settle(struct lease *l)
{
	struct fs *fs = l->fs;
	uint64_t seq = 0;
	int ret = 0;

	for (size_t i = 0; i < l->n_gone && !ret; i++)
		ret = stop_bytes(l, l->gone[i]);
	handles_flush(fs->handles); /* their last reads stand before REVOKED in the log */
	for (size_t i = 0; i < l->n_gone && !ret; i++) {
		const struct grant *g = l->gone[i];
		struct aud_record rec = {
		        .op = AUD_OP_REVOKED,
		        .uid = g->uid,
		        .login_uid = AUD_NO_UID,
		        .grant = g->id,
		        .object = g->epoch,
		};

		ret = aud_append(fs->log, &rec, NULL, 0, &seq);
	}
	if (!ret && seq)
		ret = aud_wait(fs->log, seq, SETTLE_NS);
	if (ret)
		return ret;
	for (size_t i = 0; i < l->n_gone; i++) {
		log_info("grant %llu is not served any more", (unsigned long long)l->gone[i]->id);
		grant_put(l->gone[i]);
	}
	free(l->gone);
	l->gone = NULL;
	l->n_gone = 0;
	return 0;
}

/* Takes over `gone`; what an earlier attempt could not settle stays in front. */
static int keep_gone(struct lease *l, struct grant **gone, size_t n)
{
	struct grant **all = l->n_gone ? reallocarray(l->gone, l->n_gone + n, sizeof(*all)) : gone;

	if (!all)
		return -ENOMEM;
	if (l->n_gone)
		memcpy(all + l->n_gone, gone, n * sizeof(*all));
	if (all != gone)
		free(gone);
	l->gone = all;
	l->n_gone += n;
	return 0;
}

static int take_grants(struct lease *l, json_t *list, int64_t lease_end_ns)
{
	struct grant **gone = NULL;
	size_t n = 0;
	int ret = gate_apply(l->fs->gate, list, &gone, &n);

	/* Those that stay need not wait for the drain of those that go. */
	if (!ret)
		gate_lease_set(l->fs->gate, lease_end_ns);
	while (gone && keep_gone(l, gone, n))
		pause_a_little(); /* never lost: they may be in use */
	return settle(l) ?: ret;
}

/* A policyd that knows less than we do: forget everything, ask for its whole list. */
static int start_over(struct lease *l)
{
	json_t *none = json_array();
	int ret = none ? take_grants(l, none, 0) : -ENOMEM;

	json_decref(none);
	if (!ret)
		atomic_store(&l->have, 0);
	return ret ? ret : -ESTALE;
}

static int take_reply(struct lease *l, json_t *reply, int64_t sent_ns)
{
	json_t *grants = json_object_get(reply, "grants");
	json_int_t epoch = json_integer_value(json_object_get(reply, "epoch"));
	json_int_t ms = json_integer_value(json_object_get(reply, "lease_ms"));
	int64_t end_ns = sent_ns + ms * NSEC_PER_MSEC - MARGIN_NS;
	bool list = json_is_array(grants);
	int ret;

	if (!json_is_true(json_object_get(reply, "ok"))) {
		const char *why = json_string_value(json_object_get(reply, "error"));

		log_err("policyd refuses the lease: %s", why ? why : "no reason given");
		return -EPROTO;
	}
	if (ms <= 0 || ms > LEASE_MAX_MS || epoch < 0)
		return -EPROTO;
	take_key(l->fs, reply);
	if (!list && (uint64_t)epoch != atomic_load(&l->have))
		return start_over(l);
	if (list) {
		ret = take_grants(l, grants, end_ns);
		if (ret)
			return ret;
		atomic_store(&l->have, (uint64_t)epoch);
	} else {
		gate_lease_set(l->fs->gate, end_ns);
	}
	if (!list) /* an acknowledgement goes first */
		take_checkpoint(l->fs, reply);
	return 0;
}

static int poll_once(struct lease *l)
{
	json_t *req, *reply = NULL;
	int64_t sent_ns;
	int ret = connect_policy(l);

	if (ret)
		return ret;
	req = make_request(l);
	if (!req)
		return -ENOMEM;
	sent_ns = clock_boot_ns();
	ret = line_call(l->client, req, -1, (PROTO_WAIT_MAX_MS + 2000) * NSEC_PER_MSEC, &reply);
	json_decref(req);
	if (!ret) {
		ret = take_reply(l, reply, sent_ns);
		json_decref(reply);
	}
	if (!ret && l->told)
		log_info("policyd answers again");
	if (!ret)
		l->told = false;
	return ret;
}

static void *lease_main(void *arg)
{
	struct lease *l = arg;
	bool failed = false;

	while (!atomic_load(&l->stop)) {
		if (aud_failed(l->fs->log)) {
			gate_lease_set(l->fs->gate, 0);
			if (!failed)
				log_err("the audit log has failed: everything is denied; free disk "
				        "space or repair it, then restart custosfs");
			failed = true;
			hang_up(l);
			pause_a_little();
		} else if (poll_once(l)) {
			hang_up(l);
			if (!atomic_load(&l->stop))
				pause_a_little();
		}
	}
	hang_up(l);
	return NULL;
}

int lease_start(const struct lease_options *opt, struct lease **out)
{
	struct lease *l = calloc(1, sizeof(*l));
	int ret;

	if (!l)
		return -ENOMEM;
	l->fs = opt->fs;
	l->invalidate = opt->invalidate;
	l->arg = opt->arg;
	l->socket = strdup(opt->socket);
	l->policy_user = strdup(opt->policy_user);
	l->gate = strdup(opt->gate);
	pthread_mutex_init(&l->lock, NULL);
	ret = l->socket && l->policy_user && l->gate ? 0 : -ENOMEM;
	if (!ret)
		ret = -pthread_create(&l->thread, NULL, lease_main, l);
	if (ret) {
		free(l->socket);
		free(l->policy_user);
		free(l->gate);
		free(l);
		return ret;
	}
	*out = l;
	return 0;
}

void lease_stop(struct lease *l)
{
	if (!l)
		return;
	atomic_store(&l->stop, true);
	pthread_mutex_lock(&l->lock);
	if (l->client)
		shutdown(line_client_fd(l->client), SHUT_RDWR);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	gate_lease_set(l->fs->gate, 0);
	for (size_t i = 0; i < l->n_gone; i++)
		grant_put(l->gone[i]);
	free(l->gone);
	pthread_mutex_destroy(&l->lock);
	free(l->socket);
	free(l->policy_user);
	free(l->gate);
	free(l);
}

uint64_t lease_epoch(const struct lease *l)
{
	return atomic_load(&l->have);
}

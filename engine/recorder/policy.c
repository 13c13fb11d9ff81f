/*
 * policy.c — the thread that asks policyd for newer policy snapshots, and hands it our log's head
 * to sign. It verifies, stores and then posts; only the main thread touches the engine.
 *
 * What decides about footage is the signature by the key file, and a number that never falls while
 * we run: an older snapshot, or one by somebody else, changes nothing. None → keep everything.
 * What the store holds counts at start as soon as policyd has no newer one, or has not answered for
 * a while: a request made while we were down pins footage that the stored one would let go.
 */
#include "engine/recorder/recorder.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/audit/note.h"
#include "engine/recorder/snapshot.h"
#include "policyd/proto.h"

#define NOTE_MAX        (64 * MIB)
#define CALL_TIMEOUT_NS (10 * NSEC_PER_SEC)
#define RETRY_MS        1000
#define STORED_WAIT_NS  (10 * NSEC_PER_SEC)

struct policy {
	const struct recorder *rec; /* conf, log, stores' paths: constant while we run */
	int ready_fd, stop_fd;
	pthread_t thread;
	pthread_mutex_t lock;
	struct snapshot *fresh;     /* for the main thread */
	struct line_client *client; /* under lock, so that stopping can cut the line */
	bool stop;
	uint64_t number; /* newest accepted */
	/* Boot time until which a stored snapshot waits for policyd's word; 0: none waits. */
	int64_t stored_until_ns;
	bool complained;
	/* What was refused last: said and logged once, however often it is offered. */
	uint64_t refused_number;
	int refused_err;
};

static int read_vkey(const struct policy *p, char **out)
{
	char path[4096];
	size_t n;
	int err = file_read_all(conf_path(p->rec->conf, CONF_KEY_PUB, path, sizeof(path)),
	                        NOTE_VKEY_MAX, out, &n);
	if (!err)
		(*out)[strcspn(*out, "\r\n")] = 0;
	else if (!p->complained)
		log_warn("verifier key %s: %s; everything is kept until it can be read", path,
		         strerror(-err));
	return err;
}

static void store_path(const struct store *s, char *out, size_t out_bytes)
{
	snprintf(out, out_bytes, "%s/policy.snapshot", s->conf->path);
}

static void save(struct policy *p, const char *note)
{
	char path[4096];
	for (size_t i = 0; i < p->rec->n_stores; i++) {
		store_path(&p->rec->stores[i], path, sizeof(path));
		int err = file_replace(path, note, strlen(note), 0640);
		if (err)
			log_err("%s: %s", path, strerror(-err));
	}
}

static void post(struct policy *p, struct snapshot *s)
{
	pthread_mutex_lock(&p->lock);
	snapshot_free(p->fresh);
	p->fresh = s;
	pthread_mutex_unlock(&p->lock);
}

/* What was posted comes into force. */
static void tell(struct policy *p)
{
	uint64_t one = 1;

	p->stored_until_ns = 0;
	log_info("policy snapshot %llu is in force", (unsigned long long)p->number);
	if (write(p->ready_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd is full");
}

/* The stored one, when policyd knows of nothing newer or has had its time. */
static void stored_counts(struct policy *p, bool answered)
{
	if (p->stored_until_ns && (answered || clock_boot_ns() >= p->stored_until_ns))
		tell(p);
}

static void refuse(struct policy *p, uint64_t number, int err, const char *why, bool from_store)
{
	if (number == p->refused_number && err == p->refused_err)
		return;
	p->refused_number = number;
	p->refused_err = err;
	log_warn("policy snapshot %llu from %s is refused: %s", (unsigned long long)number,
	         from_store ? "the store" : "policyd", why);
	journal_snapshot(p->rec->log, number, why, err);
}

/* Judges one snapshot. from_store: it was ours already, so it is not stored or logged again.
 * -errno: refused. */
static int take(struct policy *p, const char *note, bool from_store)
{
	struct snapshot *s = NULL;
	char *vkey = NULL, why[256] = "";
	int err = read_vkey(p, &vkey);

	p->complained = err != 0;
	if (err)
		return err;
	err = snapshot_parse(note, vkey, &s, why, sizeof(why));
	free(vkey);
	uint64_t number = s ? s->table.number : 0;
	if (!err && number == p->number) {
		snapshot_free(s);
		return 0;
	}
	if (!err && number < p->number) {
		snprintf(why, sizeof(why), "it is older than number %llu, which is in force",
		         (unsigned long long)p->number);
		err = -ESTALE;
	}
	if (err) {
		refuse(p, number, err, why, from_store);
		snapshot_free(s);
		return err;
	}
	p->number = number;
	p->refused_err = 0;
	post(p, s);
	if (from_store) {
		p->stored_until_ns = clock_boot_ns() + STORED_WAIT_NS;
		return 0;
	}
	save(p, note);
	journal_snapshot(p->rec->log, number, "accepted", 0);
	tell(p);
	return 0;
}

static void load_stored(struct policy *p)
{
	char path[4096], *note;
	size_t n;

	for (size_t i = 0; i < p->rec->n_stores; i++) {
		store_path(&p->rec->stores[i], path, sizeof(path));
		int err = file_read_all(path, NOTE_MAX, &note, &n);
		if (err == -ENOENT)
			continue;
		if (err) {
			log_err("%s: %s; everything is kept", path, strerror(-err));
			continue;
		}
		if (take(p, note, true))
			log_debug("%s is not used", path);
		free(note);
	}
}

/* ---- the long poll ---- */

static json_t *question(const struct policy *p)
{
	struct aud_head head;
	char root[64];

	aud_head(p->rec->log, &head);
	base64_encode(head.root, sizeof(head.root), root);
	return json_pack("{s:s, s:s, s:I, s:i, s:{s:s, s:I, s:I, s:s}}", "op", "snapshot", "store",
	                 p->rec->stores[0].conf->name, "have", (json_int_t)p->number, "wait_ms",
	                 p->stored_until_ns ? 0 : PROTO_WAIT_MAX_MS, "head", "origin",
	                 aud_origin(p->rec->log), "groups", (json_int_t)head.groups, "last_seq",
	                 (json_int_t)head.last_seq, "root", root);
}

/* -errno: the snapshot was refused; asking again at once would bring the same. */
static int use_reply(struct policy *p, const json_t *reply)
{
	const char *note = json_string_value(json_object_get(reply, "snapshot"));
	const char *checkpoint = json_string_value(json_object_get(reply, "checkpoint"));

	if (checkpoint) {
		int err = aud_checkpoint_store(p->rec->log, checkpoint);
		if (err)
			log_err("a signed head of the log is refused: %s", strerror(-err));
	}
	return note ? take(p, note, false) : 0;
}

static int ask_once(struct policy *p)
{
	json_t *req = question(p), *reply = NULL;
	int err = req ? line_call(p->client, req, -1, CALL_TIMEOUT_NS, &reply) : -ENOMEM;

	json_decref(req);
	if (err)
		return err;
	if (json_is_true(json_object_get(reply, "ok"))) {
		err = use_reply(p, reply);
	} else {
		const char *why = json_string_value(json_object_get(reply, "error"));
		log_warn("policyd gives no snapshot: %s", why ? why : "?");
		err = -EPROTO;
	}
	json_decref(reply);
	return err;
}

static bool stopping(struct policy *p)
{
	pthread_mutex_lock(&p->lock);
	bool stop = p->stop;
	pthread_mutex_unlock(&p->lock);
	return stop;
}

static void set_client(struct policy *p, struct line_client *c)
{
	pthread_mutex_lock(&p->lock);
	struct line_client *old = p->client;
	p->client = c;
	pthread_mutex_unlock(&p->lock);
	if (old)
		line_disconnect(old);
}

static void *run(void *arg)
{
	struct policy *p = arg;
	char path[4096];

	conf_path(p->rec->conf, CONF_SOCK_POLICY, path, sizeof(path));
	while (!stopping(p)) {
		struct line_client *c = NULL;
		int err = line_connect(path, p->rec->policy_uid, 5 * NSEC_PER_SEC, &c);
		if (!err)
			set_client(p, c);
		while (!err && !stopping(p)) {
			err = ask_once(p);
			stored_counts(p, !err);
		}
		set_client(p, NULL);
		stored_counts(p, false);
		struct pollfd wait = {.fd = p->stop_fd, .events = POLLIN};
		if (!stopping(p))
			poll(&wait, 1, RETRY_MS);
	}
	return NULL;
}

/* ---- the main thread's side ---- */

int policy_open(struct recorder *r, struct policy **out)
{
	struct policy *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->rec = r;
	pthread_mutex_init(&p->lock, NULL);
	p->ready_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int err = p->ready_fd < 0 || p->stop_fd < 0 ? -errno : 0;
	if (!err) {
		load_stored(p);
		err = -pthread_create(&p->thread, NULL, run, p);
	}
	if (err) {
		free(p);
		return err;
	}
	*out = p;
	return 0;
}

int policy_fd(const struct policy *p)
{
	return p->ready_fd;
}

void policy_run(struct policy *p, struct recorder *r)
{
	uint64_t n;
	if (read(p->ready_fd, &n, sizeof(n)) < 0)
		return; /* nothing was told: a stored one still waits */
	pthread_mutex_lock(&p->lock);
	struct snapshot *s = p->fresh;
	p->fresh = NULL;
	pthread_mutex_unlock(&p->lock);
	for (size_t i = 0; s && i < r->n_stores; i++) {
		int err = eng_retention_set(r->stores[i].writer, &s->table);
		if (err)
			log_err("store \"%s\" takes no retention table: %s",
			        r->stores[i].conf->name, strerror(-err));
	}
	snapshot_free(s);
}

void policy_close(struct policy *p)
{
	uint64_t one = 1;
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	if (p->client)
		shutdown(line_client_fd(p->client), SHUT_RDWR);
	pthread_mutex_unlock(&p->lock);
	if (write(p->stop_fd, &one, sizeof(one)) < 0)
		log_debug("eventfd is full");
	pthread_join(p->thread, NULL);
	snapshot_free(p->fresh);
	close(p->ready_fd);
	close(p->stop_fd);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

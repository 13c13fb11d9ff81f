/*
 * deny.c — records of denials with a rate limit per uid (deny.h). Without a limit anybody could
 * fill the log with one shell loop; without the count the flood itself would go unseen.
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "fusefs/deny.h"
#include "fusefs/peer.h"

#define UIDS 256 /* more than that at once share the last bucket, which is counted as "no uid" */

struct deny_log {
	struct aud_log *log;
	pthread_mutex_t lock;
	struct {
		uint32_t uid;
		struct deny_bucket b;
	} of[UIDS];
	size_t n;
	_Atomic uint64_t total;
};

bool deny_admit(struct deny_bucket *b, int64_t now_ns)
{
	if (!b->second_ns || now_ns - b->second_ns >= NSEC_PER_SEC) {
		b->second_ns = now_ns;
		b->seen = 0;
	}
	if (b->seen < DENY_PER_SECOND) {
		b->seen++;
		return true;
	}
	b->counted++;
	return false;
}

uint32_t deny_take(struct deny_bucket *b, int64_t now_ns)
{
	uint32_t n = 0;

	if (b->counted && now_ns - b->second_ns >= NSEC_PER_SEC) {
		n = b->counted;
		b->counted = 0;
	}
	return n;
}

int deny_new(struct aud_log *log, struct deny_log **out)
{
	struct deny_log *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->log = log;
	pthread_mutex_init(&d->lock, NULL);
	*out = d;
	return 0;
}

void deny_free(struct deny_log *d)
{
	if (!d)
		return;
	pthread_mutex_destroy(&d->lock);
	free(d);
}

static void append_count(struct deny_log *d, uint32_t uid, uint32_t count)
{
	struct aud_record rec = {
	        .op = AUD_OP_DENY,
	        .result = EACCES,
	        .uid = uid,
	        .login_uid = AUD_NO_UID,
	        .aux = count,
	};
	static const char payload[] = "{\"op\":\"many\",\"why\":\"counted\"}";

	if (aud_append(d->log, &rec, payload, sizeof(payload) - 1, NULL))
		log_err("%u denials of uid %u could not be logged", count, uid);
}

/* With the lock held. Finds the uid's bucket; quiet ones make room. */
static size_t bucket_of(struct deny_log *d, uint32_t uid, int64_t now_ns)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->of[i].uid == uid)
			return i;
	/* The last one, once in use, stays everybody's: a count in it must not name one uid. */
	for (size_t i = 0; i < d->n && i < UIDS - 1; i++)
		if (!d->of[i].b.counted && now_ns - d->of[i].b.second_ns >= NSEC_PER_SEC) {
			d->of[i].uid = uid;
			d->of[i].b = (struct deny_bucket){0};
			return i;
		}
	if (d->n < UIDS) {
		d->of[d->n].uid = d->n == UIDS - 1 ? AUD_NO_UID : uid;
		return d->n++;
	}
	return UIDS - 1;
}

void deny_note(struct deny_log *d, uid_t uid, pid_t pid, uint64_t grant, int err, const char *op,
               const char *why, const char *path)
{
	int64_t now = clock_boot_ns();
	uint32_t left;
	bool admit;
	size_t i;

	atomic_fetch_add(&d->total, 1);
	pthread_mutex_lock(&d->lock);
	i = bucket_of(d, uid, now);
	left = deny_take(&d->of[i].b, now);
	admit = deny_admit(&d->of[i].b, now);
	pthread_mutex_unlock(&d->lock);
	if (left)
		append_count(d, uid, left);
	if (admit) {
		struct aud_record rec = {
		        .op = AUD_OP_DENY,
		        .result = (uint16_t)err,
		        .uid = uid,
		        .login_uid = peer_login_uid(pid),
		        .pid = (uint32_t)pid,
		        .grant = grant,
		        .aux = 1,
		};
		json_t *o = json_pack("{ss ss ss}", "op", op, "why", why, "path", path);
		char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

		if (aud_append(d->log, &rec, text, text ? strlen(text) : 0, NULL))
			log_err("a denial of uid %u (%s, %s) could not be logged", uid, op, why);
		free(text);
		json_decref(o);
	}
}

void deny_flush(struct deny_log *d, bool all)
{
	int64_t now = clock_boot_ns() + (all ? NSEC_PER_SEC : 0);

	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < d->n; i++) {
		uint32_t n = deny_take(&d->of[i].b, now);

		if (n)
			append_count(d, d->of[i].uid, n);
	}
	pthread_mutex_unlock(&d->lock);
}

uint64_t deny_total(const struct deny_log *d)
{
	return atomic_load(&d->total);
}

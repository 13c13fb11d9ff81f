/*
 * log.c — the audit log's front: append, wait, heads, checkpoints.
 *
 *   aud_append ──▶ pending ──committer──▶ group: one write, one flush ──▶ durable, waiters woken
 *                                             │ file full
 *                              preparer ──▶ next file, zeroed ahead of need
 *
 * Appending copies into memory and never waits for the disk; who needs the promise waits for it.
 */
#include "engine/audit/logpriv.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/audit/note.h"

#define PENDING_MAX    (64 * MIB)
#define COMMIT_WAIT_NS (30 * NSEC_PER_SEC)
#define KEEP_EVERY_NS  (60 * NSEC_PER_SEC)

/* ---- appending ---- */

static int pending_reserve(struct aud_log *log, size_t bytes)
{
	size_t room = log->pending_room ? log->pending_room : 64 * KIB;
	uint8_t *bigger;

	if (log->pending_bytes + log->taken_bytes + bytes > PENDING_MAX)
		return -ENOBUFS;
	while (room < log->pending_bytes + bytes)
		room *= 2;
	if (room == log->pending_room)
		return 0;
	bigger = realloc(log->pending, room);
	if (!bigger)
		return -ENOBUFS;
	log->pending = bigger;
	log->pending_room = room;
	return 0;
}

int aud_append(struct aud_log *log, struct aud_record *rec, const void *payload, size_t len,
               uint64_t *seq)
{
	size_t bytes;
	int err;

	if (len > AUD_PAYLOAD_MAX)
		return -EMSGSIZE;
	bytes = aud_fmt_record_bytes(len);
	pthread_mutex_lock(&log->mutex);
	err = log->failed || log->stopping ? -EIO : pending_reserve(log, bytes);
	if (!err) {
		if (!rec->time_ns)
			rec->time_ns = clock_wall_ns();
		rec->seq = log->next_seq++;
		memcpy(rec->boot_id, log->boot_id, sizeof(rec->boot_id));
		rec->incarnation = log->incarnation;
		rec->payload_bytes = (uint32_t)len;
		aud_fmt_record_put(rec, payload, log->pending + log->pending_bytes);
		log->pending_bytes += bytes;
		pthread_cond_signal(&log->work);
		if (seq)
			*seq = rec->seq;
	}
	pthread_mutex_unlock(&log->mutex);
	return err;
}

int aud_wait(struct aud_log *log, uint64_t seq, int64_t timeout_ns)
{
	struct timespec until = aud_after(timeout_ns);
	int err = 0;

	pthread_mutex_lock(&log->mutex);
	if (seq > log->wanted_seq) {
		log->wanted_seq = seq < log->next_seq ? seq : log->next_seq - 1;
		pthread_cond_signal(&log->work);
	}
	while (!err && !log->failed && log->durable_seq < seq)
		err = -pthread_cond_timedwait(&log->done, &log->mutex, &until);
	if (log->failed)
		err = -EIO;
	else if (log->durable_seq >= seq)
		err = 0;
	pthread_mutex_unlock(&log->mutex);
	return err;
}

int aud_commit(struct aud_log *log, struct aud_record *rec, const void *payload, size_t len,
               uint64_t *seq)
{
	uint64_t mine;
	int err = aud_append(log, rec, payload, len, &mine);

	if (!err)
		err = aud_wait(log, mine, COMMIT_WAIT_NS);
	if (!err && seq)
		*seq = mine;
	return err;
}

uint64_t aud_durable(struct aud_log *log)
{
	uint64_t seq;

	pthread_mutex_lock(&log->mutex);
	seq = log->durable_seq;
	pthread_mutex_unlock(&log->mutex);
	return seq;
}

bool aud_failed(struct aud_log *log)
{
	bool failed;

	pthread_mutex_lock(&log->mutex);
	failed = log->failed;
	pthread_mutex_unlock(&log->mutex);
	return failed;
}

bool aud_low(struct aud_log *log)
{
	bool low;

	pthread_mutex_lock(&log->mutex);
	low = log->next_failed && log->left_bytes < log->opt.file_bytes / 4;
	pthread_mutex_unlock(&log->mutex);
	return low;
}

uint64_t aud_incarnation(const struct aud_log *log)
{
	return log->incarnation;
}

const char *aud_origin(const struct aud_log *log)
{
	return log->origin;
}

/* ---- heads and checkpoints ---- */

void aud_head(struct aud_log *log, struct aud_head *out)
{
	pthread_mutex_lock(&log->mutex);
	out->groups = log->tree.leaves;
	out->last_seq = log->durable_seq;
	merkle_root(&log->tree, out->root);
	if (!log->n_heads || log->heads[(log->n_heads - 1) % AUD_HEADS_MAX].groups != out->groups)
		log->heads[log->n_heads++ % AUD_HEADS_MAX] = *out;
	pthread_mutex_unlock(&log->mutex);
}

/* Is this a head that we have handed out? */
static bool head_is_ours(struct aud_log *log, uint64_t size, const uint8_t root[32])
{
	bool ours = false;

	pthread_mutex_lock(&log->mutex);
	for (uint64_t i = 0; i < AUD_HEADS_MAX && i < log->n_heads; i++) {
		if (log->heads[i].groups == size)
			ours = memcmp(log->heads[i].root, root, 32) == 0;
	}
	pthread_mutex_unlock(&log->mutex);
	return ours;
}

int aud_checkpoint_store(struct aud_log *log, const char *note)
{
	struct aud_checkpoint c = {0};
	uint8_t key[4];
	int64_t now = clock_boot_ns();
	bool keep;
	int err;

	if (!aud_checkpoint_key_id(note, key) ||
	    note_checkpoint_parse(note, c.origin, sizeof(c.origin), &c.size, c.root) ||
	    strcmp(c.origin, log->origin) != 0 || !head_is_ours(log, c.size, c.root))
		return -EINVAL;
	pthread_mutex_lock(&log->checkpoint_mutex);
	err = 0;
	keep = !log->kept_any || memcmp(key, log->kept_key, sizeof(key)) != 0;
	if (c.size > log->checkpoint_size || (c.size == log->checkpoint_size && keep)) {
		keep = keep || now - log->kept_boot_ns >= KEEP_EVERY_NS;
		err = aud_checkpoint_write(log->dir, note, keep);
		if (!err)
			log->checkpoint_size = c.size;
		if (!err && keep) {
			log->kept_any = true;
			log->kept_boot_ns = now;
			memcpy(log->kept_key, key, sizeof(key));
		}
	}
	pthread_mutex_unlock(&log->checkpoint_mutex);
	return err;
}

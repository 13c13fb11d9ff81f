/*
 * handle_log.c — the records of a handle's life: OPEN, COVER, READ, CLOSE (handle.h).
 *
 * Order that matters: a cover is appended and added to the set under the handle's lock, then waited
 * for without it; a READ is noted before its reply is written, so the log may say more than what
 * left (a reply that the kernel no longer wanted), never less.
 */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

#include "fusefs/handle_table.h"
#include "fusefs/peer.h"

#define WAIT_NS (10 * NSEC_PER_SEC)

static struct aud_record record_of(const struct handle *h, uint16_t op)
{
	return (struct aud_record){
	        .op = op,
	        .uid = h->uid,
	        .login_uid = AUD_NO_UID,
	        .pid = (uint32_t)h->pid,
	        .grant = h->grant ? h->grant->id : 0,
	        .object = h->number,
	        .from_ns = h->from_ns,
	        .to_ns = h->to_ns,
	};
}

int handles_log_ok(struct handles *hs)
{
	int64_t watch = atomic_load(&hs->watch_ns), flushed = atomic_load(&hs->flushed_ns);
	int64_t now = clock_boot_ns();

	if (atomic_load(&hs->failed) || aud_failed(hs->log))
		return -EIO;
	if (watch && now - watch > HANDLE_OVERDUE_NS &&
	    aud_durable(hs->log) < atomic_load(&hs->watch_seq))
		return -EIO;
	if (flushed && now - flushed > HANDLE_OVERDUE_NS)
		return -EIO;
	return 0;
}

int handle_log_open(struct handles *hs, struct handle *h, const char *user, const char *path,
                    const char *camera)
{
	struct aud_record rec = record_of(h, AUD_OP_OPEN);
	char comm[32], *text;
	json_t *o;
	int ret;

	/* What is left of the log is for those who are reading, and for revocations. */
	if (aud_low(hs->log))
		return -EIO;
	peer_comm(h->pid, comm);
	rec.login_uid = peer_login_uid(h->pid);
	rec.length = h->size_bytes;
	o = json_pack("{ss ss ss}", "user", user, "path", path, "comm", comm);
	if (o && camera && json_object_set_new(o, "camera", json_string(camera))) {
		json_decref(o);
		o = NULL;
	}
	text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	ret = text ? aud_commit(hs->log, &rec, text, strlen(text), NULL) : -ENOMEM;
	free(text);
	json_decref(o);
	if (ret)
		log_err("opening %s refused: it could not be logged", path);
	return ret ? -EIO : 0;
}

/* With h->lock held. */
static int append_cover(struct handles *hs, struct handle *h, uint64_t from, uint64_t to,
                        uint64_t *seq)
{
	struct aud_record rec = record_of(h, AUD_OP_COVER);
	int64_t now = clock_boot_ns();

	rec.offset = from;
	rec.length = to - from;
	if (aud_append(hs->log, &rec, NULL, 0, seq))
		return -EIO;
	cover_add(&h->cover, from, to, *seq, now);
	if (!h->covered_ns)
		h->covered_ns = now;
	return 0;
}

int handle_cover(struct handles *hs, struct handle *h, uint64_t from, uint64_t to)
{
	struct cover_plan plan;
	uint64_t seq = 0, ahead_seq;
	int ret = 0;

	pthread_mutex_lock(&h->lock);
	cover_plan(&h->cover, from, to, h->size_bytes, clock_boot_ns(), aud_durable(hs->log),
	           &plan);
	if (plan.act == COVER_ASK)
		ret = append_cover(hs, h, plan.from, plan.to, &seq);
	else if (plan.act == COVER_WAIT)
		seq = plan.wait_seq;
	if (!ret && plan.ahead)
		ret = append_cover(hs, h, plan.ahead_from, plan.ahead_to, &ahead_seq);
	pthread_mutex_unlock(&h->lock);
	if (!ret && seq && aud_wait(hs->log, seq, WAIT_NS))
		ret = -EIO;
	return ret;
}

bool handle_covered(struct handles *hs, struct handle *h, uint64_t from, uint64_t to)
{
	uint64_t durable = aud_durable(hs->log);
	bool ok;

	pthread_mutex_lock(&h->lock);
	ok = cover_allows(&h->cover, from, to, clock_boot_ns(), durable);
	pthread_mutex_unlock(&h->lock);
	return ok;
}

/* With h->lock held: what is noted becomes a record. */
static int append_reads(struct handles *hs, struct handle *h)
{
	static const char again[] = "{\"what\":\"repeated\"}";
	struct aud_record rec = record_of(h, AUD_OP_READ);
	uint64_t seq;

	if (!h->reads)
		return 0;
	rec.offset = h->read_from;
	rec.length = h->read_to - h->read_from;
	rec.aux = h->reads;
	if (aud_append(hs->log, &rec, h->repeated ? again : NULL,
	               h->repeated ? sizeof(again) - 1 : 0, &seq)) {
		atomic_store(&hs->failed, true);
		return -EIO;
	}
	h->reads = 0;
	h->repeated = false;
	if (!atomic_load(&hs->watch_ns)) {
		atomic_store(&hs->watch_seq, seq);
		atomic_store(&hs->watch_ns, clock_boot_ns());
	}
	return 0;
}

/* With h->lock held: can the read be told by the record that is being put together? */
static bool joins(struct handle *h, uint64_t from, uint64_t to)
{
	if (h->reads == UINT32_MAX)
		return false;
	if (from == h->read_from && to == h->read_to && (h->reads == 1 || h->repeated)) {
		h->repeated = true;
		return true;
	}
	return !h->repeated && from == h->read_to;
}

int handle_note(struct handles *hs, struct handle *h, uint64_t from, uint64_t to)
{
	int ret = handles_log_ok(hs);

	if (ret)
		return ret;
	pthread_mutex_lock(&h->lock);
	if (h->reads && !joins(h, from, to))
		ret = append_reads(hs, h);
	if (!ret) {
		if (!h->reads)
			h->read_from = from;
		h->read_to = to;
		h->reads++;
		h->total_reads++;
		h->total_bytes += to - from;
		atomic_fetch_add(&hs->reads, 1);
	}
	pthread_mutex_unlock(&h->lock);
	return ret;
}

void handles_flush(struct handles *hs)
{
	struct handle **list;
	size_t n;

	if (atomic_load(&hs->watch_ns) && aud_durable(hs->log) >= atomic_load(&hs->watch_seq))
		atomic_store(&hs->watch_ns, 0);
	if (handles_of(hs, NULL, &list, &n))
		return; /* flushed_ns grows old: reads stop */
	for (size_t i = 0; i < n; i++) {
		pthread_mutex_lock(&list[i]->lock);
		if (append_reads(hs, list[i]))
			atomic_store(&hs->failed, true);
		pthread_mutex_unlock(&list[i]->lock);
		handle_put(hs, list[i]);
	}
	free(list);
	atomic_store(&hs->flushed_ns, clock_boot_ns());
}

void handle_log_close(struct handles *hs, struct handle *h)
{
	struct aud_record rec = record_of(h, AUD_OP_CLOSE);
	int ret;

	pthread_mutex_lock(&h->lock);
	ret = append_reads(hs, h);
	rec.length = h->total_bytes;
	rec.aux = h->total_reads < UINT32_MAX ? (uint32_t)h->total_reads : UINT32_MAX;
	if (!ret)
		ret = aud_append(hs->log, &rec, NULL, 0, NULL);
	pthread_mutex_unlock(&h->lock);
	if (ret)
		log_err("the end of handle %llu could not be logged",
		        (unsigned long long)h->number);
}

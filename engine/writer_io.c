/*
 * writer_io.c — from a closed chunk to a published one: placing, flushing, and starting over.
 *
 * Order is kept per stream: chunks are placed in sequence order and published in sequence order,
 * whatever order the device answers in. When a write or a flush fails, the first unpublished chunk
 * in a failed segment and every one after it are placed again, with the same sequence numbers, in
 * other segments; that happens only when none of the stream's writes is in flight any more, since
 * until then their buffers are the device's. A flush that failed is never asked again about the
 * same bytes: the kernel may already have forgotten them.
 */
#include "engine/writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define FAILURES_MAX 16

void writer_submit(struct eng_writer *w, struct device_op *op)
{
	op->next = NULL;
	op->retries = 0;
	if (w->in_device < DEVICE_DEPTH) {
		w->in_device++;
		w->dev->ops->submit(w->dev, op);
		return;
	}
	*w->queue_last = op;
	w->queue_last = &op->next;
}

void writer_failed(struct eng_writer *w, int err, const char *what, uint64_t segment)
{
	w->stats.write_errors++;
	if (segment == UINT64_MAX)
		writer_alarm(w, "%s: %s: %s", w->dir, what, strerror(-err));
	else
		writer_alarm(w, "segment %llu: %s: %s", (unsigned long long)segment, what,
		             strerror(-err));
	if (++w->failures < FAILURES_MAX || w->dead)
		return;
	w->dead = -EIO;
	writer_alarm(w, "%s: %u failures in a row: the store cannot be written, recording stops",
	             w->dir, w->failures);
}

static void chunk_done(void *arg, struct device_op *op)
{
	struct eng_writer *w = arg;
	struct chunk *c = op->owner;

	c->s->writing--;
	c->seg->writing--;
	c->state = CHUNK_WRITTEN;
	if (op->result) {
		writer_failed(w, op->result, "write failed, retired; written again elsewhere",
		              c->seg->number);
		c->seg->failed = true;
		c->s->redo = true;
		return;
	}
	w->stats.bytes_written += op->len_bytes;
	c->seg->dirty = true;
	w->flush.wanted = true;
	if (w->flush.since_boot_ns > w->now_boot_ns)
		w->flush.since_boot_ns = w->now_boot_ns;
}

/* The segment the chunk goes to: the stream's, or a fresh one when that does not do. */
static int choose_segment(struct eng_writer *w, struct eng_stream *s, const struct chunk *c)
{
	struct segout *g = s->seg, *fresh;
	uint32_t leaves = w->opt.leaves ? FMT_SEG_LEAVES : 0;
	bool run_end_only = !c->h.c.frame_count;
	uint64_t sequence = c->h.c.sequence ? c->h.c.sequence : s->next_sequence;
	int err;

	if (g && !g->failed && g->seal == SEAL_NO && (g->hdr.flags & FMT_SEG_LEAVES) == leaves &&
	    !memcmp(&g->hdr.setup, &c->setup->setup, sizeof(g->hdr.setup)) &&
	    (sequence == g->last_sequence + 1 || !g->chunks) &&
	    segout_fits(w, g, c->h.c.total_bytes, run_end_only))
		return 0;
	err = segout_open(w, s, &c->setup->setup, &fresh);
	s->waiting = err == -EAGAIN;
	if (err)
		return err;
	if (g && !g->failed && g->seal == SEAL_NO)
		g->seal = SEAL_WANTED;
	s->seg = fresh;
	return 0;
}

static void number_chunk(struct eng_stream *s, struct chunk *c)
{
	struct eng_chunk *k = &c->h.c;

	if (!k->sequence) {
		k->sequence = s->next_sequence++;
		if (k->flags & FMT_CHUNK_RUN_START)
			s->run = k->sequence;
		k->run = s->run;
		s->tail_open = !(k->flags & FMT_CHUNK_RUN_END);
	}
}

static int place_chunk(struct eng_writer *w, struct eng_stream *s, struct chunk *c)
{
	uint8_t digest[FMT_DIGEST_BYTES], *chunk;
	bool first;
	int err;

	if (!c->h.c.total_bytes) {
		if (w->memory_waits && w->memory_waits != c)
			return -EAGAIN;
		err = chunk_build(c);
		w->memory_waits = err ? c : NULL;
		if (err)
			return err;
	}
	err = choose_segment(w, s, c);
	if (err)
		return err;
	struct segout *g = s->seg;
	number_chunk(s, c);
	c->h.c.segment = g->number;
	c->h.c.generation = g->hdr.generation;
	c->h.c.offset = g->end;
	c->h.epoch = w->epoch;
	memcpy(c->h.store, w->sb.store, sizeof(c->h.store));
	memcpy(c->h.stream, s->uuid, sizeof(c->h.stream));
	memcpy(c->h.prev_digest, g->prev, sizeof(c->h.prev_digest));
	memcpy(c->h.c.cum, g->cum, sizeof(c->h.c.cum));
	chunk = c->io + CHUNK_LEAD;
	fmt_chunk_put(&c->h, chunk);
	fmt_digest(chunk, FMT_CHUNK_HEADER, digest);
	first = !g->chunks;
	err = segout_note(g, &c->h, digest);
	if (err)
		return -EAGAIN;
	if (first)
		fmt_segment_put(&g->hdr, c->io);
	c->seg = g;
	c->state = CHUNK_WRITING;
	c->flush_no = 0;
	c->op = (struct device_op){.kind = DEVICE_WRITE,
	                           .file = g->file,
	                           .buf = first ? c->io : chunk,
	                           .len_bytes = c->h.c.total_bytes + (first ? CHUNK_LEAD : 0),
	                           .offset = first ? 0 : c->h.c.offset,
	                           .done = chunk_done,
	                           .owner = c};
	s->writing++;
	g->writing++;
	g->touched_boot_ns = w->now_boot_ns;
	writer_submit(w, &c->op);
	return 0;
}

static void place_stream(struct eng_writer *w, struct eng_stream *s)
{
	s->waiting = false;
	if (s->redo || w->dead)
		return;
	for (struct chunk *c = s->first; c; c = c->next) {
		if (c->state == CHUNK_FILLING)
			return;
		if (c->state == CHUNK_CLOSED && place_chunk(w, s, c))
			return;
	}
}

/* Anything that may turn into a READY segment by itself? */
static bool ready_will_come(struct eng_writer *w)
{
	return w->pre.active || w->in_state[FMT_STATE_READY] || w->in_state[FMT_STATE_RAW] ||
	       w->in_state[FMT_STATE_RECYCLED] || retention_could(w);
}

/* Before a store has been once round, a camera may have to wait until its segment is zeroed. */
static void watch_waiting(struct eng_writer *w)
{
	if (!w->waiting) {
		w->waiting_since_boot_ns = 0;
		w->wait_alarmed = false;
		return;
	}
	if (!w->waiting_since_boot_ns)
		w->waiting_since_boot_ns = w->now_boot_ns;
	if (w->wait_alarmed || !w->in_state[FMT_STATE_RAW] ||
	    w->now_boot_ns - w->waiting_since_boot_ns < w->opt.flush_ns)
		return;
	w->wait_alarmed = true;
	writer_alarm(w,
	             "%s: %u streams wait while new segments are written once: what memory holds "
	             "comes late, what it does not is dropped; init --prewrite avoids it",
	             w->dir, w->waiting);
}

void writer_place(struct eng_writer *w)
{
	unsigned waiting = 0;

	for (struct eng_stream *s = w->streams; s; s = s->next) {
		if (s->first)
			place_stream(w, s);
		waiting += s->waiting;
	}
	w->waiting = waiting;
	watch_waiting(w);
	if (!waiting || ready_will_come(w))
		return;
	w->full = true;
	for (struct eng_stream *s = w->streams; s; s = s->next) {
		if (!s->waiting)
			continue;
		stream_stop(s);
		place_stream(w, s);
	}
	w->waiting = 0;
}

/* ---- a failed segment: everything behind its last published chunk moves ---- */

static void move_chunks(struct eng_stream *s)
{
	struct chunk *c = s->first;

	while (c && !(c->state >= CHUNK_WRITING && c->seg->failed))
		c = c->next;
	for (; c; c = c->next) {
		if (c->state < CHUNK_WRITING)
			continue;
		c->seg->abandoned = true;
		c->seg = NULL;
		c->flush_no = 0;
		c->state = CHUNK_CLOSED;
	}
}

static void redo_stream(struct eng_writer *w, struct eng_stream *s)
{
	move_chunks(s);
	for (struct segout *g = w->segs, *next; g; g = next) {
		next = g->next;
		if (!g->abandoned)
			continue;
		if (g->failed) {
			segout_end(w, g, FMT_STATE_RETIRED);
			continue;
		}
		/* Behind a failed segment in order, so nothing of it was published. */
		assert(!g->entry.chunks);
		segout_end(w, g, FMT_STATE_RECYCLED);
	}
	s->redo = false;
}

void writer_redo(struct eng_writer *w)
{
	if (w->flush.active)
		return;
	for (struct eng_stream *s = w->streams; s; s = s->next) {
		if (s->redo && !s->writing)
			redo_stream(w, s);
	}
}

/* ---- flush, then publish ---- */

static void publish_stream(struct eng_writer *w, struct eng_stream *s)
{
	while (s->first && s->first->state == CHUNK_FLUSHED && !s->first->seg->failed) {
		struct chunk *c = s->first;
		int64_t age = w->now_boot_ns - c->taken_boot_ns;

		segout_publish(c->seg, c);
		if (age > w->stats.loss_bound_max_ns)
			w->stats.loss_bound_max_ns = age;
		w->stats.chunks_durable++;
		w->stats.frames_durable += c->h.c.frame_count;
		s->durable_frames += c->h.c.frame_count;
		if (c->h.c.frame_count && c->h.c.end_ns > s->durable_ns)
			s->durable_ns = c->h.c.end_ns;
		w->failures = 0;
		s->first = c->next;
		if (!s->first)
			s->last = &s->first;
		chunk_free(c);
	}
}

static void flush_good(struct eng_writer *w)
{
	struct flush *f = &w->flush;

	f->done = f->started;
	for (struct eng_stream *s = w->streams; s; s = s->next) {
		for (struct chunk *c = s->first; c; c = c->next) {
			if (c->state == CHUNK_WRITTEN && c->flush_no == f->done)
				c->state = CHUNK_FLUSHED;
		}
		publish_stream(w, s);
	}
	for (struct segout *g = w->segs; g; g = g->next)
		segout_put(w, g);
}

static void flush_bad(struct eng_writer *w)
{
	struct flush *f = &w->flush;

	writer_failed(w, f->result, "flush failed, what it covered is written again", UINT64_MAX);
	for (struct eng_stream *s = w->streams; s; s = s->next) {
		for (struct chunk *c = s->first; c; c = c->next) {
			if (c->state != CHUNK_WRITTEN || c->flush_no != f->started)
				continue;
			c->seg->failed = true;
			s->redo = true;
		}
	}
	for (struct segout *g = w->segs; g; g = g->next) {
		if (g->seal == SEAL_WRITTEN && g->seal_flush_no == f->started)
			g->failed = true;
	}
	/* Pages of the catalog that this flush should have written may be marked clean now. */
	for (uint64_t n = 0; n < w->sb.segment_count; n++) {
		struct fmt_catalog_entry e;
		if (!catalog_get(w->catalog, n, &e))
			catalog_put(w->catalog, n, &e);
	}
	f->wanted = true;
	f->since_boot_ns = w->now_boot_ns;
}

static void flush_done(void *arg, struct device_op *op)
{
	struct eng_writer *w = arg;
	struct flush *f = &w->flush;

	if (op->result && !f->result)
		f->result = op->result;
	if (--f->pending)
		return;
	f->active = false;
	if (f->result)
		flush_bad(w);
	else
		flush_good(w);
}

static int flush_ops(struct eng_writer *w, size_t *n_ops)
{
	struct flush *f = &w->flush;
	size_t n = 1;

	for (struct segout *g = w->segs; g; g = g->next)
		n += w->env.flush_each && g->dirty;
	if (n > f->cap) {
		struct device_op *ops = realloc(f->ops, n * sizeof(*ops));
		if (!ops)
			return -ENOMEM;
		f->ops = ops;
		f->cap = n;
	}
	n = 0;
	for (struct segout *g = w->segs; g; g = g->next) {
		if (w->env.flush_each && g->dirty)
			f->ops[n++] = (struct device_op){.kind = DEVICE_FLUSH, .file = g->file};
		g->dirty = false;
	}
	f->ops[n++] = (struct device_op){.kind = DEVICE_FLUSH, .file = w->catalog_file};
	*n_ops = n;
	return 0;
}

static void flush_start(struct eng_writer *w)
{
	struct flush *f = &w->flush;
	size_t n;

	if (flush_ops(w, &n))
		return; /* memory: tried again at the next poll */
	f->started++;
	for (struct eng_stream *s = w->streams; s; s = s->next) {
		for (struct chunk *c = s->first; c; c = c->next) {
			if (c->state == CHUNK_WRITTEN && !c->flush_no)
				c->flush_no = f->started;
		}
	}
	for (struct segout *g = w->segs; g; g = g->next) {
		if (g->seal == SEAL_WRITTEN && !g->seal_flush_no)
			g->seal_flush_no = f->started;
	}
	f->active = true;
	f->wanted = false;
	f->result = 0;
	f->since_boot_ns = INT64_MAX;
	f->pending = (unsigned)n;
	for (size_t i = 0; i < n; i++) {
		f->ops[i].done = flush_done;
		f->ops[i].owner = w;
		writer_submit(w, &f->ops[i]);
	}
}

void writer_flush_poll(struct eng_writer *w)
{
	struct flush *f = &w->flush;

	if (f->active || !f->wanted)
		return;
	if (w->force || w->now_boot_ns - f->since_boot_ns >= w->opt.flush_ns / 4)
		flush_start(w);
}

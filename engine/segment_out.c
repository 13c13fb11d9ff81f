/*
 * segment_out.c — a segment while it is written: taken READY, filled, sealed.
 *
 * Beside the arena a segment being written costs 224 bytes a chunk: its future footer. The footer
 * is written when every chunk of the segment is published, so that a SEALED segment holds nothing
 * that was not acknowledged; SEALED is set when the footer is durable. Sealed: when the next chunk
 * does not fit, when the setup changes, and when nothing was written to it for an hour (a camera
 * that went away must not keep its last hours out of retention's reach).
 */
#include "engine/writer.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* READY segments are taken round the pool, so that all of it wears alike. */
static uint64_t find_ready(struct eng_writer *w)
{
	if (!w->in_state[FMT_STATE_READY])
		return UINT64_MAX;
	for (uint64_t i = 0; i < w->sb.segment_count; i++) {
		uint64_t n = (w->cursor + i) % w->sb.segment_count;
		if (w->entries[n].state == FMT_STATE_READY) {
			w->cursor = n + 1;
			return n;
		}
	}
	return UINT64_MAX;
}

static int segout_new(struct eng_writer *w, uint64_t number, struct segout **out)
{
	struct segout *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return -ENOMEM;
	g->number = number;
	g->touched_boot_ns = w->now_boot_ns;
	err = writer_open_segment(w, number, &g->fd, &g->file);
	if (err) {
		free(g);
		return err;
	}
	*out = g;
	return 0;
}

static void link_segment(struct eng_writer *w, struct segout *g)
{
	g->next = w->segs;
	w->segs = g;
}

int segout_open(struct eng_writer *w, struct eng_stream *s, const struct eng_setup *setup,
                struct segout **out)
{
	uint64_t n = find_ready(w);
	uint8_t block[FMT_BLOCK];
	struct segout *g;
	int err;

	if (n == UINT64_MAX)
		return -EAGAIN;
	err = segout_new(w, n, &g);
	if (err && writer_short_of(w, err))
		return -EAGAIN;
	if (err) {
		struct fmt_catalog_entry bad = w->entries[n];
		bad.state = FMT_STATE_RETIRED;
		writer_put(w, n, &bad);
		writer_failed(w, err, "cannot be opened, retired", n);
		return -EAGAIN;
	}
	w->short_alarmed = false;
	memcpy(g->stream, s->uuid, sizeof(g->stream));
	g->hdr = (struct fmt_segment){.number = n,
	                              .generation = w->entries[n].generation,
	                              .segment_bytes = w->sb.segment_bytes,
	                              .epoch = w->epoch,
	                              .made_ns = writer_wall(w),
	                              .setup = *setup};
	if (!g->hdr.generation)
		g->hdr.generation = 1;
	g->hdr.flags =
	        (s->imported ? FMT_SEG_IMPORTED : 0u) | (w->opt.leaves ? FMT_SEG_LEAVES : 0u);
	memcpy(g->hdr.store, w->sb.store, sizeof(g->hdr.store));
	memcpy(g->hdr.stream, s->uuid, sizeof(g->hdr.stream));
	memcpy(g->hdr.camera, s->camera, sizeof(g->hdr.camera));
	fmt_segment_put(&g->hdr, block);
	fmt_digest(block, FMT_BLOCK, g->prev);
	g->end = FMT_BLOCK;
	g->entry = (struct fmt_catalog_entry){.generation = g->hdr.generation,
	                                      .state = FMT_STATE_OPEN,
	                                      .flags = (uint8_t)g->hdr.flags,
	                                      .first_ns = ENG_NO_TIME,
	                                      .end_ns = ENG_NO_TIME,
	                                      .changed_ns = g->hdr.made_ns};
	memcpy(g->entry.stream, s->uuid, sizeof(g->entry.stream));
	/* Durable before anything in it is acknowledged: every flush covers the catalog too. */
	writer_put(w, n, &g->entry);
	link_segment(w, g);
	*out = g;
	return 0;
}

int segout_adopt(struct eng_writer *w, uint64_t number, const struct fmt_segment *hdr,
                 const struct fmt_catalog_entry *e, struct segout **out)
{
	struct segout *g;
	int err = segout_new(w, number, &g);

	if (err)
		return err;
	g->hdr = *hdr;
	memcpy(g->stream, hdr->stream, sizeof(g->stream));
	g->entry = *e;
	g->end = FMT_BLOCK;
	link_segment(w, g);
	*out = g;
	return 0;
}

bool segout_fits(const struct eng_writer *w, const struct segout *g, uint32_t total_bytes,
                 bool run_end_only)
{
	/* A chunk with frames leaves room for a RUN_END behind it: when the store is full there is
	 * no other place to say why the run ended. */
	uint64_t end = (uint64_t)g->end + total_bytes + (run_end_only ? 0 : FMT_BLOCK);
	uint32_t chunks = g->chunks + (run_end_only ? 1 : 2);

	return end + fmt_footer_bytes(chunks) <= w->sb.segment_bytes;
}

int segout_note(struct segout *g, const struct fmt_chunk *h, const uint8_t digest[FMT_DIGEST_BYTES])
{
	if (g->chunks == g->cap) {
		uint32_t cap = g->cap ? g->cap * 2 : 64;
		uint8_t *entries = realloc(g->entries, (size_t)cap * FMT_FOOTER_ENTRY);
		if (!entries)
			return -ENOMEM;
		g->entries = entries;
		uint8_t(*roots)[FMT_LEAF_BYTES] = realloc(g->roots, cap * sizeof(*roots));
		if (!roots)
			return -ENOMEM;
		g->roots = roots;
		g->cap = cap;
	}
	fmt_footer_entry_put(&h->c, g->entries + (size_t)g->chunks * FMT_FOOTER_ENTRY);
	memcpy(g->roots[g->chunks], h->root, FMT_LEAF_BYTES);
	memcpy(g->prev, digest, FMT_DIGEST_BYTES);
	g->chunks++;
	g->end += h->c.total_bytes;
	g->last_sequence = h->c.sequence;
	for (unsigned t = 0; t < ENG_TRACKS_MAX; t++) {
		g->cum[t].frames += h->c.track[t].frames;
		g->cum[t].keys += h->c.track[t].keys;
		g->cum[t].chunks += h->c.track[t].frames > 0;
		g->cum[t].bytes += h->c.track[t].bytes;
	}
	return 0;
}

/* Adds a durable chunk to what the catalog says; segout_put makes it visible. */
void segout_publish(struct segout *g, const struct chunk *c)
{
	struct fmt_catalog_entry *e = &g->entry;
	const struct eng_chunk *k = &c->h.c;

	assert(!e->chunks || k->sequence == e->last_sequence + 1);
	if (!e->chunks)
		e->first_sequence = k->sequence;
	e->last_sequence = k->sequence;
	e->chunks++;
	e->committed_bytes = k->offset + k->total_bytes;
	if (k->frame_count) {
		if (e->first_ns == ENG_NO_TIME || k->first_ns < e->first_ns)
			e->first_ns = k->first_ns;
		if (e->end_ns == ENG_NO_TIME || k->end_ns > e->end_ns)
			e->end_ns = k->end_ns;
	}
	g->entry_changed = true;
}

void segout_put(struct eng_writer *w, struct segout *g)
{
	if (!g->entry_changed)
		return;
	g->entry_changed = false;
	writer_put(w, g->number, &g->entry);
}

void segout_free(struct eng_writer *w, struct segout *g)
{
	struct segout **at = &w->segs;

	while (*at != g)
		at = &(*at)->next;
	*at = g->next;
	for (struct eng_stream *s = w->streams; s; s = s->next) {
		if (s->seg == g)
			s->seg = NULL;
	}
	writer_close_segment(w, g->fd, g->file);
	free(g->entries);
	free(g->roots);
	free(g->footer);
	free(g);
}

void segout_end(struct eng_writer *w, struct segout *g, enum fmt_state state)
{
	assert(!g->writing);
	g->entry.state = (uint8_t)state;
	g->entry.changed_ns = writer_wall(w);
	if (state == FMT_STATE_RECYCLED) {
		g->entry = (struct fmt_catalog_entry){.generation = g->hdr.generation + 1,
		                                      .state = FMT_STATE_RECYCLED,
		                                      .first_ns = ENG_NO_TIME,
		                                      .end_ns = ENG_NO_TIME,
		                                      .changed_ns = g->entry.changed_ns};
		if (prewrite_add_recycled(w, g->number))
			g->entry.state = FMT_STATE_RETIRED;
	}
	writer_put(w, g->number, &g->entry);
	segout_free(w, g);
}

/* Body and trailer in one buffer, one write: they end the segment together. */
static int build_footer(struct eng_writer *w, struct segout *g)
{
	struct fmt_footer f = {.segment = g->number,
	                       .generation = g->hdr.generation,
	                       .first_sequence = g->entry.first_sequence,
	                       .last_sequence = g->entry.last_sequence,
	                       .epoch = w->epoch,
	                       .entries = g->chunks,
	                       .sealed_ns = writer_wall(w),
	                       .first_ns = g->entry.first_ns,
	                       .end_ns = g->entry.end_ns};
	uint32_t bytes = (uint32_t)fmt_footer_bytes(g->chunks);

	g->footer = aligned_alloc(FMT_BLOCK, bytes);
	if (!g->footer)
		return -ENOMEM;
	g->footer_bytes = bytes;
	memset(g->footer, 0, bytes);
	memcpy(g->footer, g->entries, (size_t)g->chunks * FMT_FOOTER_ENTRY);
	f.body_offset = (uint32_t)(w->sb.segment_bytes - bytes);
	memcpy(f.store, w->sb.store, sizeof(f.store));
	memcpy(f.stream, g->stream, sizeof(f.stream));
	memcpy(f.last_header_digest, g->prev, sizeof(f.last_header_digest));
	fmt_digest(g->footer, bytes - FMT_BLOCK, f.body_digest);
	if (g->hdr.flags & FMT_SEG_LEAVES)
		fmt_merkle_root((const uint8_t(*)[FMT_LEAF_BYTES])g->roots, g->chunks, f.root);
	memcpy(f.total, g->cum, sizeof(f.total));
	fmt_footer_put(&f, g->footer + bytes - FMT_BLOCK);
	return 0;
}

static void footer_done(void *arg, struct device_op *op)
{
	struct eng_writer *w = arg;
	struct segout *g = op->owner;

	g->writing--;
	if (op->result) {
		writer_failed(w, op->result, "its footer cannot be written, retired", g->number);
		g->failed = true;
		return;
	}
	g->seal = SEAL_WRITTEN;
	g->dirty = true;
	w->flush.wanted = true;
	if (w->flush.since_boot_ns > w->now_boot_ns)
		w->flush.since_boot_ns = w->now_boot_ns;
}

static void seal_write(struct eng_writer *w, struct segout *g)
{
	if (build_footer(w, g))
		return; /* memory: tried again at the next poll */
	g->seal = SEAL_WRITING;
	g->writing++;
	g->op = (struct device_op){.kind = DEVICE_WRITE,
	                           .file = g->file,
	                           .buf = g->footer,
	                           .len_bytes = g->footer_bytes,
	                           .offset = w->sb.segment_bytes - g->footer_bytes,
	                           .done = footer_done,
	                           .owner = g};
	writer_submit(w, &g->op);
}

/* Has the stream of g a chunk in flight or unpublished in it? Placed and published tell. */
static bool all_published(const struct segout *g)
{
	return g->chunks == g->entry.chunks && !g->writing;
}

static void seal_step(struct eng_writer *w, struct segout *g)
{
	bool idle = w->now_boot_ns - g->touched_boot_ns > IDLE_SEAL_NS;

	if (g->failed) {
		/* With chunks unpublished the stream's redo ends it, after moving them. */
		if (all_published(g) && !w->flush.active)
			segout_end(w, g, FMT_STATE_RETIRED);
		return;
	}
	if (g->seal == SEAL_NO && idle && all_published(g)) {
		g->seal = SEAL_WANTED;
		for (struct eng_stream *s = w->streams; s; s = s->next) {
			if (s->seg == g)
				s->seg = NULL;
		}
	}
	if (g->seal == SEAL_WANTED && all_published(g))
		seal_write(w, g);
	else if (g->seal == SEAL_WRITTEN && g->seal_flush_no && g->seal_flush_no <= w->flush.done)
		segout_end(w, g, FMT_STATE_SEALED);
}

void segout_poll(struct eng_writer *w)
{
	for (struct segout *g = w->segs, *next; g; g = next) {
		next = g->next;
		seal_step(w, g);
	}
}

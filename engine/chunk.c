/*
 * chunk.c — from frames as they come to the bytes of a chunk (format.h, CHUNK).
 *
 * Frames are copied into staging blocks per track while the chunk fills, since the payload is
 * grouped by track and how long the tables get is known only at the end. Closing copies once more,
 * in order, and makes every digest. What depends on the place (segment, chain, totals) is filled in
 * by the placer and can be filled in again when a segment fails: tables and payload never change.
 */
#include "engine/writer.h"

#include <errno.h>
#include <stdlib.h>

struct chunk *chunk_new(struct eng_stream *s, int64_t now_boot_ns)
{
	struct chunk *c = calloc(1, sizeof(*c));
	int64_t period = s->w->opt.flush_ns / 2;

	if (!c)
		return NULL;
	c->s = s;
	c->setup = s->setup;
	c->setup->users++;
	c->state = CHUNK_FILLING;
	for (unsigned t = 0; t < ENG_TRACKS_MAX; t++)
		c->stage[t] = (struct stage){ARENA_NONE, ARENA_NONE, 0};
	c->taken_boot_ns = now_boot_ns;
	/* Each stream closes at its own phase of half the flush interval, never later than that
	 * after its first frame: equal cameras do not reach the disk at one instant. */
	c->close_at_ns = now_boot_ns - (now_boot_ns - s->phase_ns) % period + period;
	if (c->close_at_ns > now_boot_ns + period)
		c->close_at_ns = now_boot_ns + period;
	return c;
}

static void drop_staging(struct chunk *c)
{
	for (unsigned t = 0; t < ENG_TRACKS_MAX; t++) {
		arena_stage_give(&c->s->w->arena, c->stage[t].first);
		c->stage[t] = (struct stage){ARENA_NONE, ARENA_NONE, 0};
	}
}

void chunk_free(struct chunk *c)
{
	struct eng_writer *w = c->s->w;

	drop_staging(c);
	if (c->io)
		arena_run_free(&w->arena, c->io, c->io_blocks);
	if (w->memory_waits == c)
		w->memory_waits = NULL;
	if (!--c->setup->users)
		free(c->setup);
	free(c->frames);
	free(c);
}

static uint32_t entry_bytes(const struct eng_writer *w)
{
	return w->opt.leaves ? FMT_FRAME_ENTRY_LEAF : FMT_FRAME_ENTRY;
}

static uint64_t total_of(const struct eng_writer *w, uint64_t payload, uint32_t frames)
{
	uint32_t units = (uint32_t)((payload + FMT_UNIT_BYTES - 1) / FMT_UNIT_BYTES);

	return align_up(fmt_payload_offset(units, frames, entry_bytes(w)) + payload, FMT_BLOCK);
}

uint64_t chunk_total_with(const struct chunk *c, uint32_t size)
{
	return total_of(c->s->w, (uint64_t)c->payload_bytes + size, c->n_frames + 1);
}

static int grow_frames(struct chunk *c)
{
	if (c->n_frames < c->cap_frames)
		return 0;
	uint32_t cap = c->cap_frames ? c->cap_frames * 2 : 16;
	struct eng_frame *f = realloc(c->frames, cap * sizeof(*f));

	if (!f)
		return -ENOMEM;
	c->frames = f;
	c->cap_frames = cap;
	return 0;
}

/* A frame that fills a chunk alone goes straight to its final place: no staging, one copy. */
static int take_large(struct chunk *c, const struct eng_frame *f)
{
	struct eng_writer *w = c->s->w;
	uint64_t total = total_of(w, f->size_bytes, 1);
	uint32_t blocks = (uint32_t)((total + CHUNK_LEAD + ARENA_BLOCK - 1) / ARENA_BLOCK);

	c->io = arena_run(&w->arena, blocks);
	if (!c->io)
		return -EAGAIN;
	c->io_blocks = blocks;
	uint32_t units = (f->size_bytes + FMT_UNIT_BYTES - 1) / FMT_UNIT_BYTES;
	memcpy(c->io + CHUNK_LEAD + fmt_payload_offset(units, 1, entry_bytes(w)), f->data,
	       f->size_bytes);
	return 0;
}

static int take_staged(struct chunk *c, const struct eng_frame *f)
{
	struct arena *a = &c->s->w->arena;
	struct stage *st = &c->stage[f->track];
	uint32_t used = (uint32_t)(st->bytes % ARENA_BLOCK);
	uint32_t room = st->first == ARENA_NONE || !used ? 0 : (uint32_t)ARENA_BLOCK - used;
	uint32_t left = f->size_bytes;
	const uint8_t *from = f->data;

	if (left > room && arena_stage_free(a) < (left - room + ARENA_BLOCK - 1) / ARENA_BLOCK)
		return -EAGAIN;
	while (left) {
		if (!room) {
			uint32_t b = arena_stage_take(a);
			if (st->first == ARENA_NONE)
				st->first = b;
			else
				a->next[st->last] = b;
			st->last = b;
			room = ARENA_BLOCK;
		}
		uint32_t n = left < room ? left : room;
		memcpy(arena_block(a, st->last) + (ARENA_BLOCK - room), from, n);
		from += n;
		left -= n;
		room -= n;
		st->bytes += n;
	}
	return 0;
}

int chunk_take(struct chunk *c, const struct eng_frame *f)
{
	int err = grow_frames(c);

	if (err)
		return err;
	err = !c->n_frames && chunk_total_with(c, f->size_bytes) > FMT_CHUNK_TARGET
	              ? take_large(c, f)
	              : take_staged(c, f);
	if (err)
		return err;
	c->frames[c->n_frames] = *f;
	c->frames[c->n_frames++].data = NULL;
	c->payload_bytes += f->size_bytes;
	return 0;
}

void chunk_close(struct chunk *c)
{
	struct eng_writer *w = c->s->w;

	c->state = CHUNK_CLOSED;
	c->h.boot_ns = writer_boot(w);
	c->h.wall_ns = writer_wall(w);
	c->h.clock_error_us = w->clock.error_us;
	if (w->clock.synced)
		c->h.c.flags |= FMT_CHUNK_CLOCK_SYNCED;
	if (c->s->imported)
		c->h.c.flags |= FMT_CHUNK_IMPORTED;
	if (w->opt.leaves)
		c->h.c.flags |= FMT_CHUNK_LEAVES;
}

static void unstage(struct chunk *c, uint8_t *out)
{
	struct arena *a = &c->s->w->arena;

	for (unsigned t = 0; t < ENG_TRACKS_MAX; t++) {
		uint32_t left = c->stage[t].bytes;
		for (uint32_t b = c->stage[t].first; left; b = a->next[b]) {
			uint32_t n = left < ARENA_BLOCK ? left : (uint32_t)ARENA_BLOCK;
			memcpy(out, arena_block(a, b), n);
			out += n;
			left -= n;
		}
	}
	drop_staging(c);
}

/* Counts one frame into the header's index part. */
static void count_frame(struct chunk *c, const struct eng_frame *f)
{
	struct eng_chunk *k = &c->h.c;
	struct eng_chunk_track *t = &k->track[f->track];
	int64_t end = f->time_ns + f->duration_ns;
	bool video = eng_codec_is_video(c->setup->setup.track[0].codec);

	if (k->first_ns == ENG_NO_TIME || f->time_ns < k->first_ns)
		k->first_ns = f->time_ns;
	if (end > k->end_ns)
		k->end_ns = end;
	if (!t->frames || f->time_ns < t->first_ns)
		t->first_ns = f->time_ns;
	if (!t->frames || f->time_ns > t->last_ns)
		t->last_ns = f->time_ns;
	t->frames++;
	t->bytes += f->size_bytes;
	if (f->flags & ENG_FRAME_KEY)
		t->keys++;
	if (k->first_key_ns == ENG_NO_TIME &&
	    (!video || (f->track == 0 && (f->flags & ENG_FRAME_KEY))))
		k->first_key_ns = f->time_ns;
}

/* Frame table and leaves, in payload order. */
static void put_frames(struct chunk *c, uint8_t *entry, const uint8_t *payload,
                       uint8_t (*leaves)[FMT_LEAF_BYTES])
{
	uint32_t offset = 0, index = 0;

	for (unsigned t = 0; t < ENG_TRACKS_MAX; t++) {
		for (uint32_t i = 0; i < c->n_frames; i++) {
			const struct eng_frame *f = &c->frames[i];
			if (f->track != t)
				continue;
			struct eng_frame_info info = {.time_ns = f->time_ns,
			                              .dts_ns = f->dts_ns,
			                              .duration_ns = f->duration_ns,
			                              .size_bytes = f->size_bytes,
			                              .offset = offset,
			                              .track = f->track,
			                              .flags = f->flags};
			fmt_frame_put(&info, leaves, entry);
			if (leaves) {
				fmt_leaf(c->h.salt_seed, index, entry, payload + offset,
				         f->size_bytes, leaves[index]);
				memcpy(entry + FMT_FRAME_ENTRY, leaves[index], FMT_LEAF_BYTES);
			}
			count_frame(c, f);
			entry += c->h.frame_entry_bytes;
			offset += f->size_bytes;
			index++;
		}
	}
}

static void put_tables(struct chunk *c, uint8_t *chunk, uint8_t (*leaves)[FMT_LEAF_BYTES])
{
	struct fmt_chunk *h = &c->h;
	uint8_t *payload = chunk + h->c.payload_offset;
	uint8_t *unit = chunk + FMT_CHUNK_HEADER;

	memset(unit, 0, h->c.payload_offset - FMT_CHUNK_HEADER);
	memset(payload + h->c.payload_bytes, 0,
	       h->c.total_bytes - h->c.payload_offset - h->c.payload_bytes);
	for (uint32_t u = 0; u < h->unit_count; u++, unit += FMT_UNIT_ENTRY) {
		uint32_t at = u * FMT_UNIT_BYTES, left = h->c.payload_bytes - at;
		fmt_digest(payload + at, left < FMT_UNIT_BYTES ? left : FMT_UNIT_BYTES, unit);
	}
	put_frames(c, unit, payload, leaves);
	fmt_digest(chunk + FMT_CHUNK_HEADER, h->c.payload_offset - FMT_CHUNK_HEADER,
	           h->table_digest);
	if (leaves)
		fmt_merkle_root((const uint8_t(*)[FMT_LEAF_BYTES])leaves, c->n_frames, h->root);
}

/* The buffer with the payload in its place; a large frame has it already. -EAGAIN. */
static int take_buffer(struct chunk *c, uint32_t total, uint32_t payload_offset)
{
	uint32_t blocks = (uint32_t)((total + CHUNK_LEAD + ARENA_BLOCK - 1) / ARENA_BLOCK);

	if (c->io)
		return 0;
	c->io = arena_run(&c->s->w->arena, blocks);
	if (!c->io)
		return -EAGAIN;
	c->io_blocks = blocks;
	unstage(c, c->io + CHUNK_LEAD + payload_offset);
	return 0;
}

int chunk_build(struct chunk *c)
{
	struct eng_writer *w = c->s->w;
	struct fmt_chunk *h = &c->h;
	uint8_t(*leaves)[FMT_LEAF_BYTES] = NULL;
	uint32_t total = (uint32_t)total_of(w, c->payload_bytes, c->n_frames);

	h->unit_count = (c->payload_bytes + FMT_UNIT_BYTES - 1) / FMT_UNIT_BYTES;
	h->frame_entry_bytes = entry_bytes(w);
	h->c.payload_offset = fmt_payload_offset(h->unit_count, c->n_frames, h->frame_entry_bytes);
	if (w->opt.leaves) {
		leaves = calloc(c->n_frames + 1, sizeof(*leaves));
		if (!leaves)
			return -EAGAIN;
		random_fill(h->salt_seed, sizeof(h->salt_seed));
	}
	if (take_buffer(c, total, h->c.payload_offset)) {
		free(leaves);
		return -EAGAIN;
	}
	h->c.payload_bytes = c->payload_bytes;
	h->c.total_bytes = total; /* from here on it counts as built */
	h->c.frame_count = c->n_frames;
	h->c.first_ns = h->c.end_ns = h->c.first_key_ns = ENG_NO_TIME;
	for (unsigned t = 0; t < ENG_TRACKS_MAX; t++)
		h->c.track[t] =
		        (struct eng_chunk_track){.first_ns = ENG_NO_TIME, .last_ns = ENG_NO_TIME};
	put_tables(c, c->io + CHUNK_LEAD, leaves);
	free(leaves);
	free(c->frames);
	c->frames = NULL;
	return 0;
}

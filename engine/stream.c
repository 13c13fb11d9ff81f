/*
 * stream.c — the producer's side: streams, runs, and frames taken into the chunk that fills.
 *
 * Everything here is bookkeeping and one memcpy; a chunk that closes is handed to the placer
 * (writer_io.c). Rules of a run are checked here, before anything is taken, so that what reaches
 * the disk needs no second look.
 */
#include "engine/writer.h"

#include <errno.h>
#include <stdlib.h>

static struct setup_ref *setup_new(const struct eng_setup *from)
{
	struct setup_ref *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	/* Field by field into zeroed memory: setups are compared with memcmp. */
	r->users = 1;
	r->setup.n_tracks = from->n_tracks;
	for (unsigned t = 0; t < from->n_tracks; t++) {
		const struct eng_track *a = &from->track[t];
		struct eng_track *b = &r->setup.track[t];
		b->codec = a->codec;
		b->width = a->width;
		b->height = a->height;
		b->channels = a->channels;
		b->sample_rate = a->sample_rate;
		b->extradata_bytes = a->extradata_bytes;
		memcpy(b->extradata, a->extradata, a->extradata_bytes);
	}
	return r;
}

static bool setup_valid(const struct eng_setup *s)
{
	if (s->n_tracks < 1 || s->n_tracks > ENG_TRACKS_MAX)
		return false;
	for (unsigned t = 0; t < s->n_tracks; t++) {
		const struct eng_track *k = &s->track[t];
		bool video = eng_codec_is_video(k->codec);
		if (k->extradata_bytes > ENG_EXTRADATA_MAX ||
		    !strcmp(eng_codec_name(k->codec), "?"))
			return false;
		if (k->codec == ENG_CODEC_NONE || (t > 0 && video))
			return false;
	}
	return true;
}

/* What earlier writers left of this stream: its numbers go on from there. */
static void resume_numbers(struct eng_stream *s)
{
	struct eng_writer *w = s->w;
	uint64_t last = 0;

	for (uint64_t n = 0; n < w->sb.segment_count; n++) {
		const struct fmt_catalog_entry *e = &w->entries[n];
		if (e->state != FMT_STATE_OPEN && e->state != FMT_STATE_SEALED &&
		    e->state != FMT_STATE_RETIRED)
			continue;
		if (memcmp(e->stream, s->uuid, sizeof(s->uuid)))
			continue;
		if (e->last_sequence > last)
			last = e->last_sequence;
		if (e->chunks && e->end_ns > s->durable_ns)
			s->durable_ns = e->end_ns;
	}
	s->next_sequence = last + 1;
	for (struct segout *g = w->segs; g; g = g->next) {
		if (memcmp(g->stream, s->uuid, sizeof(s->uuid)) || g->seal != SEAL_NO)
			continue;
		/* Numbers are +1 inside a segment: only the one that ends the stream goes on. */
		if (g->last_sequence == last && !s->seg)
			s->seg = g;
		else
			g->seal = SEAL_WANTED;
	}
}

int eng_stream_get(struct eng_writer *w, const char *camera, bool imported, struct eng_stream **out)
{
	size_t len = strlen(camera);
	struct eng_stream *s;

	if (!len || len >= ENG_CAMERA_MAX || !utf8_valid(camera, len))
		return -EINVAL;
	for (s = w->streams; s; s = s->next) {
		if (s->imported == imported && !strcmp(s->camera, camera)) {
			*out = s;
			return 0;
		}
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->w = w;
	memcpy(s->camera, camera, len);
	s->imported = imported;
	fmt_stream_uuid(w->sb.store, camera, imported, s->uuid);
	s->last = &s->first;
	s->durable_ns = ENG_NO_TIME;
	s->phase_ns = (int64_t)(le32_get(s->uuid) % (uint64_t)(w->opt.flush_ns / 2));
	resume_numbers(s);
	*w->streams_last = s;
	w->streams_last = &s->next;
	*out = s;
	return 0;
}

static void append_chunk(struct eng_stream *s, struct chunk *c)
{
	*s->last = c;
	s->last = &c->next;
}

static int new_fill(struct eng_stream *s)
{
	struct chunk *c = chunk_new(s, writer_boot(s->w));

	if (!c)
		return -EAGAIN;
	if (!s->run_started) {
		c->h.c.flags |= FMT_CHUNK_RUN_START;
		c->h.c.start_reason = s->run_reason;
	}
	s->fill = c;
	return 0;
}

static void close_fill(struct eng_stream *s)
{
	if (!s->fill)
		return;
	chunk_close(s->fill);
	s->fill = NULL;
}

int stream_add_run_end(struct eng_stream *s, enum eng_reason reason)
{
	struct chunk *c = chunk_new(s, writer_boot(s->w));

	if (!c)
		return -ENOMEM;
	c->h.c.flags |= FMT_CHUNK_RUN_END;
	c->h.c.end_reason = (uint16_t)reason;
	chunk_close(c);
	append_chunk(s, c);
	return 0;
}

void eng_run_end(struct eng_stream *s, enum eng_reason reason)
{
	struct chunk *c = s->first;

	if (!s->run_open)
		return;
	s->run_open = false;
	if (!s->run_started)
		return; /* no frame came: nothing to end on disk */
	while (c && c->next)
		c = c->next;
	if (c && (c->state == CHUNK_FILLING || c->state == CHUNK_CLOSED) && !c->h.c.sequence) {
		c->h.c.flags |= FMT_CHUNK_RUN_END;
		c->h.c.end_reason = (uint16_t)reason;
		close_fill(s);
	} else if (stream_add_run_end(s, reason)) {
		writer_alarm(s->w, "%s: out of memory, the end of a run stays unexplained",
		             s->camera);
	}
	writer_place(s->w);
	s->w->dev->ops->kick(s->w->dev);
}

/* Room for at least one ordinary chunk of this setup, now or soon? */
static bool room_for(struct eng_stream *s)
{
	struct eng_writer *w = s->w;

	if (w->in_state[FMT_STATE_READY] + w->in_state[FMT_STATE_RAW] +
	    w->in_state[FMT_STATE_RECYCLED])
		return true;
	if (s->seg && !s->seg->failed && s->seg->seal == SEAL_NO &&
	    !memcmp(&s->seg->hdr.setup, &s->setup->setup, sizeof(s->setup->setup)) &&
	    segout_fits(w, s->seg, FMT_CHUNK_TARGET, false))
		return true;
	return retention_could(w);
}

int eng_run_begin(struct eng_stream *s, const struct eng_setup *setup, enum eng_reason reason)
{
	struct setup_ref *r;

	if (!setup_valid(setup) || reason <= ENG_REASON_NONE || reason >= ENG_REASON_MAX)
		return -EINVAL;
	if (s->w->dead)
		return s->w->dead;
	r = setup_new(setup);
	if (!r)
		return -ENOMEM;
	eng_run_end(s, ENG_REASON_DISCONTINUITY);
	if (s->setup && !--s->setup->users)
		free(s->setup);
	s->setup = r;
	if (!room_for(s)) {
		s->w->full = true;
		return -ENOSPC;
	}
	s->stopped = false;
	s->run_open = true;
	s->run_started = false;
	s->run_reason = (uint16_t)reason;
	s->want_key = eng_codec_is_video(r->setup.track[0].codec);
	memset(s->has_dts, 0, sizeof(s->has_dts));
	return 0;
}

static int check_frame(const struct eng_stream *s, const struct eng_frame *f)
{
	const struct eng_writer *w = s->w;

	if (f->size_bytes > ENG_FRAME_MAX)
		return -EMSGSIZE;
	if (!s->run_open || f->track >= s->setup->setup.n_tracks || !f->size_bytes || !f->data ||
	    (f->flags & ~ENG_FRAME_KEY))
		return -EINVAL;
	/* Far from both ends, so that no sum of time and duration overflows. */
	if (f->time_ns < INT64_MIN / 4 || f->time_ns > INT64_MAX / 4 || f->dts_ns < INT64_MIN / 4 ||
	    f->dts_ns > INT64_MAX / 4)
		return -EINVAL;
	if (s->has_dts[f->track] && f->dts_ns <= s->last_dts[f->track])
		return -EINVAL;
	if (f->track == 0 && s->want_key && !(f->flags & ENG_FRAME_KEY))
		return -EINVAL;
	/* One frame that no empty segment, or no empty arena, could hold. */
	uint64_t chunk = align_up((uint64_t)f->size_bytes + 64 * KIB, FMT_BLOCK);
	if (chunk + 3 * FMT_BLOCK + fmt_footer_bytes(2) > w->sb.segment_bytes ||
	    chunk + CHUNK_LEAD + ARENA_BLOCK > w->arena.bytes)
		return -EMSGSIZE;
	return 0;
}

int eng_append(struct eng_stream *s, const struct eng_frame *f)
{
	struct eng_writer *w = s->w;
	int err;

	if (w->dead)
		return w->dead;
	if (s->stopped)
		return -ENOSPC;
	err = check_frame(s, f);
	if (err)
		return err;
	if (s->fill && (chunk_total_with(s->fill, f->size_bytes) > FMT_CHUNK_TARGET ||
	                s->fill->n_frames == CHUNK_FRAMES_MAX)) {
		close_fill(s);
		writer_place(w);
		w->dev->ops->kick(w->dev);
		if (!s->run_open)
			return -ENOSPC;
	}
	bool fresh = !s->fill;
	if (fresh) {
		err = new_fill(s);
		if (err)
			return err;
	}
	err = chunk_take(s->fill, f);
	if (err) {
		if (fresh) {
			chunk_free(s->fill);
			s->fill = NULL;
		}
		return err == -ENOMEM ? -EAGAIN : err;
	}
	if (fresh)
		append_chunk(s, s->fill);
	s->run_started = true;
	s->has_dts[f->track] = true;
	s->last_dts[f->track] = f->dts_ns;
	if (f->track == 0)
		s->want_key = false;
	return 0;
}

/* Chunks that are in no segment yet go, newest first or not: none of them was acknowledged. */
static uint64_t drop_unplaced(struct eng_stream *s)
{
	struct chunk **at = &s->first;
	uint64_t frames = 0;

	while (*at && (*at)->state > CHUNK_CLOSED)
		at = &(*at)->next;
	s->last = at;
	for (struct chunk *c = *at, *next; c; c = next) {
		next = c->next;
		frames += c->h.c.total_bytes ? c->h.c.frame_count : c->n_frames;
		chunk_free(c);
	}
	*at = NULL;
	s->fill = NULL;
	return frames;
}

void stream_stop(struct eng_stream *s)
{
	uint64_t frames = drop_unplaced(s);

	s->lost_frames += frames;
	s->stopped = true;
	s->run_open = false;
	s->waiting = false;
	writer_alarm(s->w,
	             "%s: stopped: the store is full and nothing may be removed; %llu frames lost",
	             s->camera, (unsigned long long)frames);
	/* The last segment keeps room for this one block. */
	if (s->tail_open && s->seg && !s->seg->failed && s->seg->seal == SEAL_NO &&
	    stream_add_run_end(s, ENG_REASON_STORE_FULL))
		writer_alarm(s->w, "%s: out of memory, the end of a run stays unexplained",
		             s->camera);
}

int64_t eng_stream_durable_ns(const struct eng_stream *s)
{
	return s->durable_ns;
}

uint64_t eng_stream_durable_frames(const struct eng_stream *s)
{
	return s->durable_frames;
}

uint64_t eng_stream_lost_frames(const struct eng_stream *s)
{
	return s->lost_frames;
}

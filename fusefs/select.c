/*
 * select.c — which frames belong to [a, b), and where files of a slice begin and end.
 *
 * One walk over the chunks of a run decides both what a listing counts and what an open file
 * holds; the listing trusts index entries for chunks that lie wholly inside and reads the frame
 * tables of those that an edge cuts, the open file reads all tables. Since both go through the same
 * rules, their sizes agree or the store is damaged.
 *
 *   video   begins with the first key frame (in decode order) with time >= a; a frame with
 *           time < a is a leading picture and left out; ends before the first with time >= b.
 *   audio   frames with a <= time < b, up to the first with time >= b; chunks from the first one
 *           whose video reaches b + SEL_LAG_NS on are not looked at.
 *   only chunks that touch [a, b + 2 * SEL_LAG_NS) are looked at.
 *
 * [a, b) is final once both cuts lie in durable chunks, or the run has ended: what comes later
 * comes behind the cuts. Only final files are listed, which is why a listed name keeps its bytes.
 */
#include <errno.h>
#include <stdlib.h>

#include "fusefs/select.h"

#define SEL_KEEP 16 /* frame tables kept: the edges of a file and of its neighbour */

struct sel_table {
	uint64_t sequence; /* 0: free */
	struct eng_frame_info *frames;
};

struct sel {
	struct eng_reader *r;
	struct eng_run run;
	bool ended, video, audio; /* audio: beside video */
	bool loaded;
	int64_t lo_ns, hi_ns; /* part of the run that is loaded */
	struct eng_chunk *chunk;
	size_t n;
	struct sel_table keep[SEL_KEEP];
	unsigned next_keep;
	bool *taken;
	size_t taken_max;
};

struct sel_state {
	int64_t a, b;
	bool begun, primary_done, audio_done;
};

int sel_open(struct eng_reader *r, const struct eng_run *run, bool ended, struct sel **out)
{
	struct sel *s;
	int rc = mp4_check(&run->setup);

	*out = NULL;
	if (rc)
		return rc;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->r = r;
	s->run = *run;
	s->ended = ended;
	s->video = eng_codec_is_video(run->setup.track[0].codec);
	s->audio = run->setup.n_tracks > 1;
	*out = s;
	return 0;
}

int sel_run_ended(struct eng_reader *r, const struct eng_run *run, bool *ended)
{
	struct eng_run *runs;
	size_t n;
	int rc;

	*ended = run->end_reason != ENG_REASON_NONE;
	if (*ended)
		return 0;
	rc = eng_runs(r, run->camera, run->end_ns, INT64_MAX, &runs, &n);
	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++)
		*ended |= runs[i].run > run->run &&
		          !memcmp(runs[i].stream, run->stream, ENG_UUID_BYTES);
	free(runs);
	return 0;
}

void sel_close(struct sel *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < SEL_KEEP; i++)
		free(s->keep[i].frames);
	free(s->taken);
	free(s->chunk);
	free(s);
}

const struct eng_run *sel_run(const struct sel *s)
{
	return &s->run;
}

void sel_forget(struct sel *s)
{
	for (unsigned i = 0; i < SEL_KEEP; i++) {
		free(s->keep[i].frames);
		s->keep[i] = (struct sel_table){0};
	}
	free(s->chunk);
	s->chunk = NULL;
	s->n = 0;
	s->loaded = false;
}

size_t sel_chunks(const struct sel *s)
{
	return s->n;
}

int sel_load(struct sel *s, int64_t from_ns, int64_t to_ns)
{
	struct eng_chunk *chunk;
	size_t n;
	int rc;

	/* A frame of no duration at `from` must count as touching. */
	from_ns = time_add(from_ns, -1);
	if (s->loaded && from_ns >= s->lo_ns && to_ns <= s->hi_ns)
		return 0;
	if (s->loaded && s->lo_ns < from_ns)
		from_ns = s->lo_ns;
	if (s->loaded && s->hi_ns > to_ns)
		to_ns = s->hi_ns;
	rc = eng_index(s->r, s->run.stream, s->run.run, from_ns, to_ns, &chunk, &n);
	if (rc)
		return rc;
	free(s->chunk);
	s->chunk = chunk;
	s->n = n;
	s->loaded = true;
	s->lo_ns = from_ns;
	s->hi_ns = to_ns;
	return 0;
}

/* The frame table of a chunk; borrowed until SEL_KEEP others have been asked for. */
static int table_of(struct sel *s, const struct eng_chunk *c, const struct eng_frame_info **out)
{
	struct sel_table *t;
	struct eng_frame_info *frames;
	int rc;

	for (unsigned i = 0; i < SEL_KEEP; i++) {
		if (s->keep[i].frames && s->keep[i].sequence == c->sequence) {
			*out = s->keep[i].frames;
			return 0;
		}
	}
	frames = malloc((size_t)c->frame_count * sizeof(*frames));
	if (!frames)
		return -ENOMEM;
	rc = eng_chunk_frames(s->r, c, frames);
	if (rc) {
		free(frames);
		return rc;
	}
	t = &s->keep[s->next_keep++ % SEL_KEEP];
	free(t->frames);
	*t = (struct sel_table){c->sequence, frames};
	*out = frames;
	return 0;
}

/* ------------------------------------------------------------------------------ walk */

static bool is_key(const struct sel *s, const struct eng_frame_info *f)
{
	return f->track == 0 && (!s->video || (f->flags & ENG_FRAME_KEY));
}

static uint32_t key_count(const struct sel *s, const struct eng_chunk *c)
{
	return s->video ? c->track[0].keys : c->track[0].frames;
}

static bool inside(const struct eng_chunk_track *t, const struct sel_state *w)
{
	return !t->frames || (t->first_ns >= w->a && t->last_ns < w->b);
}

/* Everything of the chunk is taken, and no cut lies in it. */
static bool wholly_taken(const struct sel *s, const struct sel_state *w, const struct eng_chunk *c)
{
	if (!w->begun || w->primary_done || !inside(&c->track[0], w))
		return false;
	if (!s->audio || !c->track[1].frames)
		return true;
	return !w->audio_done && inside(&c->track[1], w);
}

/* Nothing of the chunk is taken; a cut that its index entry shows is noted. */
static bool wholly_left(const struct sel *s, struct sel_state *w, const struct eng_chunk *c)
{
	const struct eng_chunk_track *v = &c->track[0], *a = &c->track[1];
	bool left = true;

	if (v->frames && v->first_ns >= w->b && (w->begun || key_count(s, c)))
		w->primary_done = true;
	if (v->frames && !w->primary_done)
		left = v->last_ns < w->a || (!w->begun && !key_count(s, c));
	if (s->audio && a->frames) {
		if (a->first_ns >= w->b)
			w->audio_done = true;
		if (!w->audio_done && a->last_ns >= w->a)
			left = false;
	}
	return left;
}

static bool take_primary(const struct sel *s, struct sel_state *w, const struct eng_frame_info *f)
{
	if (w->primary_done)
		return false;
	if (!w->begun && (!is_key(s, f) || f->time_ns < w->a))
		return false;
	w->begun = true;
	if (f->time_ns >= w->b)
		w->primary_done = true;
	return !w->primary_done && f->time_ns >= w->a;
}

static bool take_audio(struct sel_state *w, const struct eng_frame_info *f)
{
	if (!w->audio_done && f->time_ns >= w->b)
		w->audio_done = true;
	return !w->audio_done && f->time_ns >= w->a;
}

static int walk_table(struct sel *s, struct sel_state *w, const struct eng_chunk *c,
                      sel_visit *visit, void *arg)
{
	const struct eng_frame_info *f;
	bool any = false;
	int rc;

	if (c->frame_count > s->taken_max) {
		free(s->taken);
		s->taken_max = 0;
		s->taken = calloc(c->frame_count, sizeof(*s->taken));
		if (!s->taken)
			return -ENOMEM;
		s->taken_max = c->frame_count;
	}
	rc = table_of(s, c, &f);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < c->frame_count; i++) {
		if (f[i].track == 0)
			s->taken[i] = take_primary(s, w, &f[i]);
		else
			s->taken[i] = s->audio && take_audio(w, &f[i]);
		any |= s->taken[i];
	}
	return any ? visit(arg, c, f, s->taken) : 0;
}

/* Chunks outside [a, b + 2 lags) must not matter, whatever part happens to be loaded. */
static bool near_window(const struct sel *s, const struct sel_state *w, const struct eng_chunk *c)
{
	int64_t last = INT64_MIN;

	for (unsigned k = 0; k < s->run.setup.n_tracks; k++)
		if (c->track[k].frames && c->track[k].last_ns > last)
			last = c->track[k].last_ns;
	return c->frame_count && last >= w->a && c->first_ns < time_add(w->b, 2 * SEL_LAG_NS);
}

int sel_walk(struct sel *s, int64_t a_ns, int64_t b_ns, bool tables, sel_visit *visit, void *arg)
{
	struct sel_state w = {.a = a_ns, .b = b_ns};
	int rc = sel_load(s, a_ns, time_add(b_ns, 2 * SEL_LAG_NS));

	for (size_t i = 0; !rc && i < s->n; i++) {
		const struct eng_chunk *c = &s->chunk[i];

		if (w.primary_done && (w.audio_done || !s->audio))
			break;
		if (!near_window(s, &w, c))
			continue;
		if (c->track[0].frames && c->track[0].last_ns >= time_add(b_ns, SEL_LAG_NS))
			w.audio_done = true;
		if (wholly_left(s, &w, c))
			continue;
		if (!tables && wholly_taken(s, &w, c))
			rc = visit(arg, c, NULL, NULL);
		else
			rc = walk_table(s, &w, c, visit, arg);
	}
	return rc;
}

/* ------------------------------------------------------------------------------ edges */

int sel_chunk_keys(struct sel *s, size_t i, int64_t **keys, size_t *n)
{
	const struct eng_chunk *c = &s->chunk[i];
	const struct eng_frame_info *f;
	int rc;

	*n = 0;
	*keys = calloc(key_count(s, c) + 1u, sizeof(**keys));
	if (!*keys)
		return -ENOMEM;
	if (key_count(s, c) == 1) {
		(*keys)[(*n)++] = c->first_key_ns;
		return 0;
	}
	if (!key_count(s, c))
		return 0;
	rc = table_of(s, c, &f);
	if (rc) {
		free(*keys);
		*keys = NULL;
		return rc;
	}
	for (uint32_t x = 0; x < c->frame_count && *n < key_count(s, c); x++)
		if (is_key(s, &f[x]))
			(*keys)[(*n)++] = f[x].time_ns;
	return 0;
}

/* The first key frame >= t among what is loaded. 1, 0, -errno. */
static int loaded_key(struct sel *s, int64_t t_ns, int64_t *key_ns)
{
	for (size_t i = 0; i < s->n; i++) {
		const struct eng_chunk *c = &s->chunk[i];
		int64_t *keys;
		size_t n;
		int rc;

		if (!key_count(s, c) || c->track[0].last_ns < t_ns)
			continue;
		if (c->first_key_ns >= t_ns) {
			*key_ns = c->first_key_ns;
			return 1;
		}
		rc = sel_chunk_keys(s, i, &keys, &n);
		if (rc)
			return rc;
		for (size_t x = 0; x < n && !rc; x++) {
			if (keys[x] >= t_ns) {
				*key_ns = keys[x];
				rc = 1;
			}
		}
		free(keys);
		if (rc)
			return rc;
	}
	return 0;
}

int sel_first_key(struct sel *s, int64_t from_ns, int64_t to_ns, int64_t *key_ns)
{
	int rc = sel_load(s, from_ns, to_ns);

	if (!rc)
		rc = loaded_key(s, from_ns, key_ns);
	return rc == 1 && *key_ns >= to_ns ? 0 : rc;
}

bool sel_final(const struct sel *s, int64_t b_ns)
{
	bool video = false, audio = !s->audio;

	if (s->ended || s->run.end_ns >= time_add(b_ns, 2 * SEL_LAG_NS))
		return true;
	for (size_t i = 0; i < s->n && !(video && audio); i++) {
		const struct eng_chunk_track *t = s->chunk[i].track;

		video |= t[0].frames && t[0].last_ns >= b_ns;
		audio |= t[0].frames && t[0].last_ns >= time_add(b_ns, SEL_LAG_NS);
		audio |= s->audio && t[1].frames && t[1].last_ns >= b_ns;
	}
	return video && audio;
}

/* The last key frame in (a, before) at which a file can be final already. 1, 0, -errno. */
static int last_final_key(struct sel *s, int64_t a_ns, int64_t before_ns, int64_t *key_ns)
{
	for (size_t i = s->n; i-- > 0;) {
		int64_t *keys;
		size_t n;
		int rc;

		if (!key_count(s, &s->chunk[i]))
			continue;
		rc = sel_chunk_keys(s, i, &keys, &n);
		if (rc)
			return rc;
		while (n-- > 0 && !rc) {
			if (keys[n] > a_ns && keys[n] < before_ns && sel_final(s, keys[n])) {
				*key_ns = keys[n];
				rc = 1;
			}
		}
		free(keys);
		if (rc)
			return rc;
	}
	return 0;
}

int sel_end(struct sel *s, int64_t a_ns, int64_t slice_end_ns, int64_t to_ns, int64_t *b_ns,
            bool *at_key, bool *growing)
{
	int64_t b = to_ns, reach = 2 * SEL_LAG_NS;
	int rc;

	*at_key = false;
	*growing = false;
	while (slice_end_ns < to_ns) { /* GOPs can be long: look further until a key frame */
		int64_t hi = time_add(slice_end_ns, reach), key = to_ns;

		rc = sel_load(s, a_ns, hi);
		if (!rc)
			rc = loaded_key(s, slice_end_ns, &key);
		if (rc < 0)
			return rc;
		if (rc == 1 && key < to_ns) {
			b = key;
			*at_key = true;
		}
		if (rc == 1 || hi >= to_ns || hi > s->run.end_ns)
			break;
		reach = time_add(reach, reach);
	}
	/* All of an ended run that the window does not cut: the same b for every window. */
	if (s->ended && b > s->run.end_ns)
		b = time_add(s->run.end_ns, 1);
	rc = sel_load(s, a_ns, time_add(b, 2 * SEL_LAG_NS));
	if (rc)
		return rc;
	if (sel_final(s, b)) {
		*b_ns = b;
		return 1;
	}
	*at_key = true;
	*growing = true;
	return last_final_key(s, a_ns, b < slice_end_ns ? b : slice_end_ns, b_ns);
}

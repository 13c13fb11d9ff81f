/*
 * view_store.h — a real store that the real writer makes, and the model of what its views should
 * hold. For the tests of virtual files (test_gate_view*.c).
 *
 * Every frame's payload is its own number, again and again: whatever is read from a file names the
 * frame it came from, so a frame from outside the window is caught by name. What a window should
 * hold is worked out frame by frame, without chunks and indexes.
 */
#ifndef CUSTOS_VIEW_STORE_H
#define CUSTOS_VIEW_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "fusefs/view.h"
#include "tests/unit/support_gate.h"

#define START      (INT64_C(1700000000) * NSEC_PER_SEC) /* 2023-11-14T22:13:20Z, a slice's beginning */
#define FRAME      (40 * NSEC_PER_MSEC)
#define SOUND      (32 * NSEC_PER_MSEC)
#define SLICE      (10 * NSEC_PER_SEC)
#define FRAMES_MAX 8192
#define CAMERA     "dock-3"

enum order { PLAIN, REORDERED, OPEN_GOP };

struct frame {
	int64_t time, dts, duration;
	uint32_t size, number;
	uint8_t track;
	bool key;
};
/* A run as it was appended; frames in order of appending. */
struct model {
	struct frame frame[FRAMES_MAX];
	size_t n;
	bool ended, audio_only;
};
struct store {
	char dir[80];
	struct eng_writer *w;
	struct eng_stream *stream;
	struct eng_reader *r;
	uint32_t number; /* of the next frame */
	size_t since_sync;
};

/* ------------------------------------------------------------------------------- a store */

static const struct eng_setup video_setup = {.n_tracks = 1,
                                             .track = {{.codec = ENG_CODEC_H264,
                                                        .width = 64,
                                                        .height = 48,
                                                        .extradata_bytes = 7,
                                                        .extradata = {1, 66, 0, 10, 255, 224, 0}}}};

static inline struct eng_setup setup_of(bool video, bool audio)
{
	struct eng_setup s = video_setup;
	unsigned k = video ? 1 : 0;

	if (audio)
		s.track[k++] = (struct eng_track){
		        .codec = ENG_CODEC_ALAW, .channels = 1, .sample_rate = 8000};
	s.n_tracks = (uint16_t)k;
	return s;
}

static inline void reader_again(struct store *s)
{
	char err[256];

	eng_reader_close(s->r);
	s->r = NULL;
	if (eng_reader_open(s->dir, &s->r, err, sizeof(err)))
		fail_msg("%s", err);
}

static inline void writer_again(struct store *s)
{
	struct eng_writer_options opt = {.sync_device = true, .flush_ns = NSEC_PER_SEC};
	char err[256];

	if (s->w)
		eng_writer_close(s->w);
	if (eng_writer_open(s->dir, &opt, &s->w, err, sizeof(err)))
		fail_msg("%s", err);
	assert_int_equal(eng_stream_get(s->w, CAMERA, false, &s->stream), 0);
}

static inline int store_make(void **state)
{
	struct eng_init_options opt = {.size_bytes = 64 * MIB, .segment_bytes = 4 * MIB};
	struct store *s = calloc(1, sizeof(*s));
	char err[256], sub[64];

	view_dir_make(sub);
	opt.group = (gid_t)-1;
	snprintf(s->dir, sizeof(s->dir), "%s/s", sub);
	if (eng_init(s->dir, &opt, err, sizeof(err)))
		fail_msg("%s", err);
	writer_again(s);
	reader_again(s);
	s->number = 1;
	*state = s;
	return 0;
}

static inline int store_remove(void **state)
{
	struct store *s = *state;

	eng_reader_close(s->r);
	if (s->w)
		eng_writer_close(s->w);
	s->dir[strlen(s->dir) - 2] = '\0';
	view_dir_remove(s->dir);
	free(s);
	return 0;
}

static inline void store_sync(struct store *s)
{
	assert_int_equal(eng_sync(s->w, 60 * NSEC_PER_SEC), 0);
	s->since_sync = 0;
}

static inline void append(struct store *s, struct model *m, struct frame f)
{
	uint64_t payload[2048];
	struct eng_frame e = {.time_ns = f.time,
	                      .dts_ns = f.dts,
	                      .duration_ns = (uint32_t)f.duration,
	                      .track = f.track,
	                      .flags = f.key ? ENG_FRAME_KEY : 0,
	                      .data = payload};

	f.number = s->number++;
	f.size = 8 * (1 + f.number * 7919 % (f.key ? 2000 : 300));
	e.size_bytes = f.size;
	for (uint32_t i = 0; i < f.size / 8; i++)
		payload[i] = 0x465241u << 8 | (uint64_t)f.number << 32;
	assert_int_equal(eng_append(s->stream, &e), 0);
	assert_true(m->n < FRAMES_MAX);
	m->frame[m->n++] = f;
	/* Chunks of uneven lengths, none of them a multiple of a GOP. */
	if (++s->since_sync > 9 + f.number % 23)
		store_sync(s);
}

/* Display place of the i-th decoded frame of a GOP of n. REORDERED: I P B B P B B …; OPEN_GOP: the
 * same with two pictures shown before the key frame. */
static inline int display_of(enum order order, int i, int n)
{
	int at = i;

	if (order == PLAIN)
		return i;
	if (order == OPEN_GOP && i < 3)
		return i == 0 ? 2 : i - 1;
	if (order == OPEN_GOP)
		at = i - 2;
	if (i > 0)
		at = (at - 1) % 3 == 0 ? at + 2 : at - 1;
	if (order == OPEN_GOP)
		at += 2;
	return at < n ? at : -1;
}

/* Decode order of a GOP with every display place once: those that display_of leaves out at the
 * end follow in order. */
static inline void gop_order(enum order order, int n, int *display)
{
	bool used[256] = {false};
	int k = 0;

	for (int i = 0; i < n; i++) {
		int d = display_of(order, i, n);

		if (d >= 0 && !used[d]) {
			used[d] = true;
			display[k++] = d;
		}
	}
	for (int d = 0; d < n; d++)
		if (!used[d])
			display[k++] = d;
	assert_int_equal(k, n);
}

/* Appends `gops` GOPs of n frames from t on, with audio beside them that arrives `lag` later and
 * starts 15 ms after the video. */
static inline int64_t append_gops(struct store *s, struct model *m, enum order order, int64_t t,
                                  int gops, int n, bool audio, int64_t lag)
{
	int64_t sound = t + 15 * NSEC_PER_MSEC, dts = t - 5 * FRAME;
	int display[256];

	gop_order(order, n, display);
	for (size_t i = m->n; i-- > 0;) { /* goes on where the run's audio and dts are */
		if (m->frame[i].track == 1) {
			sound = m->frame[i].time + SOUND;
			break;
		}
	}
	for (int g = 0; g < gops; g++) {
		for (int i = 0; i < n; i++, dts += FRAME) {
			int64_t now = t + g * n * FRAME + i * FRAME;

			append(s, m,
			       (struct frame){.time = t + g * n * FRAME + display[i] * FRAME,
			                      .dts = dts,
			                      .duration = FRAME,
			                      .key = i == 0});
			for (; audio && sound + lag <= now; sound += SOUND)
				append(s, m,
				       (struct frame){.time = sound,
				                      .dts = sound,
				                      .duration = SOUND,
				                      .track = 1,
				                      .key = true});
		}
	}
	return t + gops * n * FRAME;
}

static inline void run_begin(struct store *s, bool video, bool audio)
{
	struct eng_setup setup = setup_of(video, audio);

	assert_int_equal(eng_run_begin(s->stream, &setup, ENG_REASON_FIRST), 0);
}

static inline void run_end(struct store *s, struct model *m)
{
	eng_run_end(s->stream, ENG_REASON_OPERATOR);
	store_sync(s);
	m->ended = true;
}

/* -------------------------------------------------------------------- what a file should hold */

static inline int64_t run_end_time(const struct model *m)
{
	int64_t end = INT64_MIN;

	for (size_t i = 0; i < m->n; i++)
		if (m->frame[i].time + m->frame[i].duration > end)
			end = m->frame[i].time + m->frame[i].duration;
	return end;
}

/* Key frames as the rules mean them. */
static inline bool is_key(const struct frame *f)
{
	return f->track == 0 && f->key;
}

/* The frames of [a, b): wanted[i] for each. */
static inline void want(const struct model *m, int64_t a, int64_t b, bool *wanted)
{
	bool begun = false, done = false, audio_done = false;

	for (size_t i = 0; i < m->n; i++) {
		const struct frame *f = &m->frame[i];

		wanted[i] = false;
		if (f->track == 1) {
			audio_done |= f->time >= b;
			wanted[i] = !audio_done && f->time >= a;
			continue;
		}
		begun |= f->key && f->time >= a;
		done |= begun && f->time >= b;
		wanted[i] = begun && !done && f->time >= a;
	}
}

struct span {
	int64_t a, b;
	int64_t to; /* the window's end; 0: far away */
};

static inline struct span span_of(const struct view_file *f)
{
	return (struct span){f->a_ns, f->b_ns, 0};
}

/* The files of an ended run inside [from, to). */
static inline size_t want_files(const struct model *m, int64_t from, int64_t to, struct span *out)
{
	size_t n = 0;

	for (int64_t s = from - from % SLICE; s < to; s += SLICE) {
		int64_t lo = s > from ? s : from, hi = s + SLICE < to ? s + SLICE : to;
		struct span x = {INT64_MAX, to, to};

		if (x.b > run_end_time(m))
			x.b = run_end_time(m) + 1;
		for (size_t i = 0; i < m->n; i++) {
			const struct frame *f = &m->frame[i];

			if (!is_key(f))
				continue;
			if (x.a == INT64_MAX && f->time >= lo)
				x.a = f->time;
			if (f->time >= s + SLICE) {
				x.b = f->time < x.b ? f->time : x.b;
				break;
			}
		}
		if (x.a < hi)
			out[n++] = x;
	}
	return n;
}

/* ---------------------------------------------------------------------------- reading a file */

static inline uint64_t be(const uint8_t *p, int n)
{
	uint64_t v = 0;

	for (int i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static const uint8_t *box(const uint8_t *p, size_t len, const char *type, unsigned nth)
{
	const uint8_t *end = p + len;

	for (;; nth--) {
		p = memmem(p, (size_t)(end - p), type, 4);
		assert_non_null(p);
		p += 4;
		if (!nth)
			return p;
	}
}

static inline uint8_t *read_all(struct view *v, size_t *len)
{
	uint8_t *bytes;
	size_t got;

	*len = view_size(v);
	bytes = malloc(*len + 1);
	assert_int_equal(view_read(v, 0, *len + 1, bytes, &got), 0);
	assert_int_equal(got, *len);
	return bytes;
}

static inline uint8_t *file_bytes(struct store *s, const struct view_file *f, size_t *len)
{
	struct view *v;
	uint8_t *bytes;

	assert_int_equal(view_open(s->r, f, &v), 0);
	assert_int_equal(view_size(v), f->size_bytes);
	bytes = read_all(v, len);
	view_close(v);
	return bytes;
}

/* One track of the file: by its own tables, each sample must be the next wanted frame, whole.
 * Returns the bytes it holds. */
static inline uint64_t check_track(const uint8_t *file, size_t len, unsigned nth, unsigned track,
                                   const struct model *m, const bool *wanted)
{
	const uint8_t *stsz = box(file, len, "stsz", nth), *stsc = box(file, len, "stsc", nth);
	const uint8_t *co64 = box(file, len, "co64", nth);
	uint64_t n = be(stsz + 8, 4), sample = 0, bytes = 0;
	size_t i = 0;

	assert_int_equal(be(stsc + 4, 4), be(co64 + 4, 4));
	for (uint64_t c = 0; c < be(stsc + 4, 4); c++) {
		uint64_t at = be(co64 + 8 + 8 * c, 8);

		assert_int_equal(be(stsc + 8 + 12 * c, 4), c + 1);
		for (uint64_t x = be(stsc + 12 + 12 * c, 4); x > 0; x--, sample++, i++) {
			uint64_t size = be(stsz + 12 + 4 * sample, 4);

			while (i < m->n && !(wanted[i] && m->frame[i].track == track))
				i++;
			assert_true(i < m->n);
			assert_int_equal(size, m->frame[i].size);
			assert_true(at + size <= len);
			for (uint64_t y = 0; y < size; y += 8)
				if (le64_get(file + at + y) >> 32 != m->frame[i].number)
					fail_msg("frame %u where %u belongs",
					         (unsigned)(le64_get(file + at + y) >> 32),
					         m->frame[i].number);
			at += size;
			bytes += size;
		}
	}
	assert_int_equal(sample, n);
	for (; i < m->n; i++)
		if (wanted[i] && m->frame[i].track == track)
			fail_msg("frame %u is missing", m->frame[i].number);
	return bytes;
}

/* The file holds exactly the frames of [a, b), and says its true range. */
static inline void check_file(struct store *s, const struct view_file *f, const struct model *m,
                              struct span x)
{
	static bool wanted[FRAMES_MAX];
	int64_t end = x.a;
	uint64_t bytes;
	bool audio = false;
	uint8_t *file;
	size_t len;

	assert_int_equal(f->a_ns, x.a);
	want(m, x.a, x.b, wanted);
	for (size_t i = 0; i < m->n; i++) {
		audio |= wanted[i] && m->frame[i].track == 1;
		if (wanted[i] && m->frame[i].time + m->frame[i].duration > end)
			end = m->frame[i].time + m->frame[i].duration;
	}
	for (size_t i = 0; i < m->n; i++)
		if (is_key(&m->frame[i]) && m->frame[i].time == x.b && (!x.to || x.b < x.to))
			end = x.b;
	assert_int_equal(f->first_ns, x.a);
	assert_int_equal(f->end_ns, end);
	file = file_bytes(s, f, &len);
	bytes = check_track(file, len, 0, 0, m, wanted);
	if (audio)
		bytes += check_track(file, len, 1, 1, m, wanted);
	/* mdat holds these bytes and nothing beside them. */
	assert_int_equal(be(box(file, len, "mdat", 0), 8), 16 + bytes);
	free(file);
}

/* The listing of the window is what the model says, every file checked whole. */
static inline size_t check_window(struct store *s, const struct model *m, int64_t from, int64_t to)
{
	struct span expect[64];
	size_t n, n_expect = want_files(m, from, to, expect);
	struct view_file *f, found;

	assert_int_equal(view_list(s->r, CAMERA, from, to, SLICE, &f, &n), 0);
	assert_int_equal(n, n_expect);
	for (size_t i = 0; i < n; i++) {
		check_file(s, &f[i], m, expect[i]);
		assert_false(f[i].growing);
		assert_int_equal(view_find(s->r, CAMERA, from, to, SLICE, f[i].name, &found), 0);
		assert_memory_equal(&found, &f[i], sizeof(found));
	}
	free(f);
	return n;
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, store_make, store_remove)

#endif

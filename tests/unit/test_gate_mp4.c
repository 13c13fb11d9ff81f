/*
 * test_gate_mp4.c — the layout of virtual files, judged by FFmpeg.
 *
 * Samples come out of files that FFmpeg has made (their place, size and times as ffprobe tells
 * them); out of these our file is built. FFmpeg must decode it without a word, to the same pictures
 * and sound, and ffprobe must see it start at 0 with the right lengths.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <errno.h>

#include <cmocka.h>

#include "fusefs/mp4.h"
#include "tests/unit/support_gate.h"

#define ORIGIN_NS (INT64_C(1795000000) * NSEC_PER_SEC + 40 * NSEC_PER_MSEC)

/* Layout version 1, once and for all: length and FNV-1a of the header made below. */
#define LAYOUT_LEN 1330
#define LAYOUT_FNV UINT64_C(0xc8f7df40444352d2)

static char dir[64];

struct clip {
	uint8_t *bytes; /* the file that ffmpeg made */
	size_t len;
	struct eng_setup setup;
	struct mp4_sample *sample[2];
	uint64_t *pos[2];
	size_t n[2];
};

static const uint8_t *find(const struct clip *c, const char *what, size_t n)
{
	const uint8_t *p = memmem(c->bytes, c->len, what, n);

	assert_non_null(p);
	return p;
}

/* The configuration that ffmpeg wrote for the track. */
static void take_extradata(struct clip *c, struct eng_track *t)
{
	const uint8_t *p;

	if (t->codec == ENG_CODEC_H264 || t->codec == ENG_CODEC_H265) {
		p = find(c, t->codec == ENG_CODEC_H264 ? "avcC" : "hvcC", 4);
		t->extradata_bytes = (uint16_t)((p[-2] << 8 | p[-1]) - 8);
		memcpy(t->extradata, p + 4, t->extradata_bytes);
	} else if (t->codec == ENG_CODEC_AAC) {
		p = find(c, "esds", 4);
		p = memmem(p, 64, "\x05\x80\x80\x80", 4);
		assert_non_null(p);
		t->extradata_bytes = p[4];
		memcpy(t->extradata, p + 5, p[4]);
	}
}

/* Lines of ffprobe: stream, pts, dts, duration, size, pos, flags. */
static void take_packets(struct clip *c, char *text)
{
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		unsigned k, size;
		double pts, dts, duration;
		unsigned long long pos;
		char key;
		size_t i;

		if (sscanf(line, "%u,%lf,%lf,%lf,%u,%llu,%c", &k, &pts, &dts, &duration, &size,
		           &pos, &key) != 7)
			fail_msg("ffprobe said: %s", line);
		i = c->n[k]++;
		c->sample[k] = realloc(c->sample[k], c->n[k] * sizeof(struct mp4_sample));
		c->pos[k] = realloc(c->pos[k], c->n[k] * sizeof(uint64_t));
		c->pos[k][i] = pos;
		c->sample[k][i] = (struct mp4_sample){
		        .time_ns = ORIGIN_NS + (int64_t)(pts * 1e9),
		        .dts_ns = ORIGIN_NS + (int64_t)(dts * 1e9),
		        .duration_ns = (uint32_t)(duration * 1e9),
		        .size_bytes = size,
		        .key = key == 'K',
		};
	}
}

static void clip_make(struct clip *c, const char *name, const char *encode, uint16_t video,
                      uint16_t audio)
{
	char *text, path[128];
	unsigned k = 0;

	memset(c, 0, sizeof(*c));
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (view_sh(&text,
	            "ffmpeg -nostdin -y -v error -f lavfi -i testsrc=s=176x144:r=25:d=3 "
	            "-f lavfi -i sine=1000:r=%u:d=3 %s %s",
	            audio == ENG_CODEC_AAC ? 48000 : 8000, encode, path))
		fail_msg("ffmpeg: %s", text);
	free(text);
	assert_int_equal(file_read_all(path, 64 * MIB, (char **)&c->bytes, &c->len), 0);
	if (video)
		c->setup.track[k++] =
		        (struct eng_track){.codec = video, .width = 176, .height = 144};
	if (audio)
		c->setup.track[k++] =
		        (struct eng_track){.codec = audio,
		                           .channels = 1,
		                           .sample_rate = audio == ENG_CODEC_AAC ? 48000 : 8000};
	c->setup.n_tracks = (uint16_t)k;
	for (k = 0; k < c->setup.n_tracks; k++)
		take_extradata(c, &c->setup.track[k]);
	assert_int_equal(view_sh(&text,
	                         "ffprobe -v error -show_entries packet=stream_index,pts_time,"
	                         "dts_time,duration_time,size,pos,flags -of csv=p=0 %s",
	                         path),
	                 0);
	take_packets(c, text);
	free(text);
}

static void clip_free(struct clip *c)
{
	for (unsigned k = 0; k < 2; k++) {
		free(c->sample[k]);
		free(c->pos[k]);
	}
	free(c->bytes);
}

/* Groups samples as a store would: chunks of half a second. first[k]: samples left out. */
static struct mp4_chunk *group(const struct clip *c, const size_t first[2], size_t *n,
                               struct mp4_file *f)
{
	struct mp4_chunk *chunk = calloc(64, sizeof(*chunk));

	*n = 0;
	for (unsigned k = 0; k < c->setup.n_tracks; k++) {
		for (size_t i = first[k]; i < c->n[k]; i++) {
			int64_t t = c->sample[k][i].dts_ns - ORIGIN_NS + NSEC_PER_SEC;
			size_t at = (size_t)(t / (NSEC_PER_SEC / 2));

			assert_true(at < 64);
			f->count[k].chunks += !chunk[at].samples[k]++;
			f->count[k].samples++;
			f->count[k].keys += c->sample[k][i].key;
			f->count[k].bytes += c->sample[k][i].size_bytes;
			*n = at >= *n ? at + 1 : *n;
		}
	}
	return chunk;
}

/* Builds our file from the clip, leaving out the first samples of each track. */
static void build(const struct clip *c, const size_t first[2], const char *path)
{
	struct mp4_file f = {.setup = &c->setup, .origin_ns = c->sample[0][first[0]].time_ns};
	size_t len, next[2] = {first[0], first[1]};
	struct mp4_chunk *chunk = group(c, first, &f.n_chunks, &f);
	FILE *file = fopen(path, "w");
	uint8_t *header;

	f.chunk = chunk;
	for (unsigned k = 0; k < c->setup.n_tracks; k++)
		f.sample[k] = c->sample[k] + first[k];
	assert_int_equal(mp4_header(&f, &header, &len), 0);
	assert_int_equal(len, mp4_header_bytes(&c->setup, f.count));
	fwrite(header, 1, len, file);
	for (size_t i = 0; i < f.n_chunks; i++)
		for (unsigned k = 0; k < c->setup.n_tracks; k++)
			for (uint32_t x = 0; x < chunk[i].samples[k]; x++, next[k]++)
				fwrite(c->bytes + c->pos[k][next[k]], 1,
				       c->sample[k][next[k]].size_bytes, file);
	assert_int_equal(ftell(file), mp4_file_bytes(&c->setup, f.count));
	fclose(file);
	free(header);
	free(chunk);
}

static char *probe(const char *path, const char *stream, const char *entries)
{
	char *text;

	assert_int_equal(view_sh(&text, "ffprobe -v error %s%s -show_entries %s -of csv=p=0 %s",
	                         *stream ? "-select_streams " : "", stream, entries, path),
	                 0);
	text[strcspn(text, "\n")] = '\0';
	return text;
}

static void expect_number(const char *path, const char *stream, const char *entry, double want)
{
	char *text = probe(path, stream, entry), *end;
	double is = strtod(text, &end);

	if (end == text || is < want - 0.001 || is > want + 0.001)
		fail_msg("%s %s of %s: %s, expected %.3f", stream, entry, path, text, want);
	free(text);
}

static void expect_clean_decode(const char *path)
{
	char *text;
	int status = view_sh(&text, "ffmpeg -nostdin -v warning -xerror -i %s -f null -", path);
	const char *said = text;

	/* What it says of every G.711 file that it has made itself, too. */
	if (!strncmp(said, "Guessed Channel Layout", 22))
		said += strcspn(said, "\n") + 1;
	if (status || *said)
		fail_msg("ffmpeg on %s: %d: %s", path, status, said);
	free(text);
}

/* What decoding gives, pictures and their times, must be the same in both files. */
static void expect_same(const char *mine, const char *theirs, const char *stream)
{
	char *a, *b;

	assert_int_equal(view_sh(&a, "ffmpeg -nostdin -v error -i %s -map 0:%s -f %s -", mine,
	                         stream, *stream == 'v' ? "framemd5" : "md5"),
	                 0);
	assert_int_equal(view_sh(&b, "ffmpeg -nostdin -v error -i %s -map 0:%s -f %s -", theirs,
	                         stream, *stream == 'v' ? "framemd5" : "md5"),
	                 0);
	assert_string_equal(a, b);
	free(a);
	free(b);
}

static void whole_clip(const char *name, const char *encode, uint16_t video, uint16_t audio)
{
	struct clip c;
	const size_t none[2] = {0};
	char mine[128], theirs[128];

	clip_make(&c, name, encode, video, audio);
	snprintf(mine, sizeof(mine), "%s/mine-%s", dir, name);
	snprintf(theirs, sizeof(theirs), "%s/%s", dir, name);
	build(&c, none, mine);
	expect_clean_decode(mine);
	expect_number(mine, "", "format=start_time", 0);
	expect_number(mine, "", "format=duration", 3);
	if (video) {
		expect_number(mine, "v", "stream=start_time", 0);
		expect_number(mine, "v", "stream=duration", 3);
		expect_same(mine, theirs, "v");
	}
	if (audio && audio != ENG_CODEC_AAC)
		expect_same(mine, theirs, "a");
	clip_free(&c);
}

static void h264_plain(void **state)
{
	(void)state;
	whole_clip("h264.mp4", "-map 0 -c:v libx264 -bf 0 -g 10", ENG_CODEC_H264, 0);
}
static void h264_reordered(void **state)
{
	(void)state;
	whole_clip("h264b.mp4", "-map 0 -c:v libx264 -bf 3 -g 25 -x264-params b-pyramid=2",
	           ENG_CODEC_H264, 0);
}
static void h265_reordered(void **state)
{
	(void)state;
	whole_clip("h265.mp4",
	           "-map 0 -c:v libx265 -tag:v hvc1 -x265-params "
	           "log-level=error:info=0:bframes=3:keyint=25:open-gop=0",
	           ENG_CODEC_H265, 0);
}
static void mjpeg(void **state)
{
	(void)state;
	whole_clip("mjpeg.mov", "-map 0 -c:v mjpeg -pix_fmt yuvj420p", ENG_CODEC_MJPEG, 0);
}
static void h264_with_alaw(void **state)
{
	(void)state;
	whole_clip("alaw.mov", "-map 0 -map 1 -c:v libx264 -bf 2 -c:a pcm_alaw", ENG_CODEC_H264,
	           ENG_CODEC_ALAW);
}
static void mjpeg_with_ulaw(void **state)
{
	(void)state;
	whole_clip("ulaw.mov", "-map 0 -map 1 -c:v mjpeg -pix_fmt yuvj420p -c:a pcm_mulaw",
	           ENG_CODEC_MJPEG, ENG_CODEC_ULAW);
}
static void alaw_alone(void **state)
{
	(void)state;
	whole_clip("alaw-alone.mov", "-map 1 -c:a pcm_alaw", 0, ENG_CODEC_ALAW);
}

/* Audio that begins later than the video must stay as much later: within a millisecond. */
static void audio_offset(void **state)
{
	struct clip c;
	char mine[128];

	(void)state;
	clip_make(&c, "aac.mp4", "-map 0 -map 1 -c:v libx264 -bf 2 -g 25 -c:a aac", ENG_CODEC_H264,
	          ENG_CODEC_AAC);
	snprintf(mine, sizeof(mine), "%s/mine-aac.mp4", dir);
	for (size_t left_out = 1; left_out < 40; left_out += 19) {
		const size_t first[2] = {0, left_out};
		double offset = (double)(c.sample[1][left_out].time_ns - c.sample[0][0].time_ns);
		double end = (double)(c.sample[1][c.n[1] - 1].time_ns - c.sample[0][0].time_ns +
		                      c.sample[1][c.n[1] - 1].duration_ns);
		char *count;

		build(&c, first, mine);
		expect_clean_decode(mine);
		expect_number(mine, "v", "stream=start_time", 0);
		expect_number(mine, "a", "stream=start_time", offset / 1e9);
		expect_number(mine, "", "format=duration", end > 3e9 ? end / 1e9 : 3);
		count = probe(mine, "a -count_packets", "stream=nb_read_packets");
		assert_int_equal(atoi(count), c.n[1] - left_out);
		free(count);
	}
	clip_free(&c);
}

/* Beginning at a later key frame gives a file of its own that starts at 0. */
static void later_key(void **state)
{
	struct clip c;
	size_t key = 1;
	char mine[128], *count;

	(void)state;
	clip_make(&c, "later.mp4", "-map 0 -c:v libx264 -bf 3 -g 25 -sc_threshold 0",
	          ENG_CODEC_H264, 0);
	while (!c.sample[0][key].key)
		key++;
	snprintf(mine, sizeof(mine), "%s/mine-later.mp4", dir);
	build(&c, (size_t[2]){key, 0}, mine);
	expect_clean_decode(mine);
	expect_number(mine, "v", "stream=start_time", 0);
	expect_number(mine, "v", "stream=duration", 2);
	count = probe(mine, "v -count_frames", "stream=nb_read_frames");
	assert_int_equal(atoi(count), c.n[0] - key);
	free(count);
	clip_free(&c);
}

/* ------------------------------------------------------------------------- sizes, any table */

static void random_setup(uint64_t *seed, struct eng_setup *s)
{
	static const uint16_t videos[] = {ENG_CODEC_H264, ENG_CODEC_H265, ENG_CODEC_MJPEG};
	static const uint16_t audios[] = {ENG_CODEC_AAC, ENG_CODEC_ALAW, ENG_CODEC_ULAW};
	unsigned k = 0;

	memset(s, 0, sizeof(*s));
	if (view_random(seed) % 4)
		s->track[k++].codec = videos[view_random(seed) % 3];
	if (!k || view_random(seed) % 3) {
		s->track[k].sample_rate = 1 + (uint32_t)(view_random(seed) % 192000);
		s->track[k++].codec = audios[view_random(seed) % 3];
	}
	s->n_tracks = (uint16_t)k;
	for (k = 0; k < s->n_tracks; k++)
		s->track[k].extradata_bytes =
		        (uint16_t)(view_random(seed) % (ENG_EXTRADATA_MAX + 1));
}

/* One random track: times and sizes of any kind, so that clipping is met as well. */
static struct mp4_sample *random_samples(uint64_t *seed, int64_t origin, unsigned k,
                                         const struct mp4_chunk *chunk, size_t n_chunks,
                                         struct mp4_counts *count)
{
	struct mp4_sample *s;
	bool wild = view_random(seed) % 8 == 0;

	memset(count, 0, sizeof(*count));
	for (size_t i = 0; i < n_chunks; i++) {
		count->samples += chunk[i].samples[k];
		count->chunks += chunk[i].samples[k] > 0;
	}
	s = calloc(count->samples + 1, sizeof(*s));
	for (size_t i = 0; i < count->samples; i++) {
		int64_t at = (int64_t)i * 40 * NSEC_PER_MSEC;

		s[i].key = view_random(seed) % 5 == 0;
		s[i].dts_ns = wild ? (int64_t)view_random(seed) : origin + at;
		s[i].time_ns = wild && i ? (int64_t)(view_random(seed) >> 1) | origin
		                         : origin + at + (int64_t)(view_random(seed) % 200000000);
		s[i].duration_ns = (uint32_t)view_random(seed) >> view_random(seed) % 32;
		s[i].size_bytes = (uint32_t)(view_random(seed) % 100000);
		count->keys += s[i].key;
		count->bytes += s[i].size_bytes;
	}
	return s;
}

static uint64_t be64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static void size_from_counts(void **state)
{
	uint64_t seed = view_seed("size_from_counts");

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		struct eng_setup setup;
		struct mp4_chunk chunk[20] = {0};
		struct mp4_file f = {.setup = &setup, .origin_ns = ORIGIN_NS, .chunk = chunk};
		struct mp4_sample *own[2] = {0};
		uint8_t *header = NULL, *again = NULL;
		size_t len, len2;

		random_setup(&seed, &setup);
		f.n_chunks = 1 + view_random(&seed) % 20;
		for (size_t i = 0; i < f.n_chunks; i++)
			for (unsigned k = 0; k < setup.n_tracks; k++)
				chunk[i].samples[k] = (uint32_t)(view_random(&seed) % 12);
		chunk[0].samples[0]++;
		for (unsigned k = 0; k < setup.n_tracks; k++) {
			own[k] =
			        random_samples(&seed, ORIGIN_NS, k, chunk, f.n_chunks, &f.count[k]);
			f.sample[k] = own[k];
		}
		assert_int_equal(mp4_header(&f, &header, &len), 0);
		assert_int_equal(len, mp4_header_bytes(&setup, f.count));
		/* The last box is mdat, and says where the file ends. */
		assert_memory_equal(header + len - 12, "mdat", 4);
		assert_int_equal(len - 16 + be64(header + len - 8),
		                 mp4_file_bytes(&setup, f.count));
		assert_int_equal(mp4_header(&f, &again, &len2), 0);
		assert_int_equal(len, len2);
		assert_memory_equal(header, again, len);
		free(header);
		free(again);
		/* Counts that lie are refused, never laid out. */
		f.count[0].bytes++;
		assert_int_equal(mp4_header(&f, &header, &len), -EINVAL);
		f.count[0].bytes--;
		chunk[f.n_chunks - 1].samples[0]++;
		assert_int_equal(mp4_header(&f, &header, &len), -EINVAL);
		free(own[0]);
		free(own[1]);
	}
}

static void setups_refused(void **state)
{
	struct eng_setup s = {.n_tracks = 1};

	(void)state;
	assert_int_equal(mp4_check(&s), -ENOTSUP);
	s.track[0].codec = ENG_CODEC_H264;
	assert_int_equal(mp4_check(&s), 0);
	s.n_tracks = 2;
	s.track[1].codec = ENG_CODEC_H264;
	assert_int_equal(mp4_check(&s), -ENOTSUP);
	s.track[1].codec = ENG_CODEC_AAC; /* no sample rate: no time scale */
	assert_int_equal(mp4_check(&s), -ENOTSUP);
	s.track[1].sample_rate = 8000;
	assert_int_equal(mp4_check(&s), 0);
	s.n_tracks = 3;
	assert_int_equal(mp4_check(&s), -ENOTSUP);
	s.n_tracks = 0;
	assert_int_equal(mp4_check(&s), -ENOTSUP);
}

/* Layout version 1 is a promise: these bytes must never change. */
static void layout_is_frozen(void **state)
{
	struct eng_setup setup = {.n_tracks = 2,
	                          .track = {{.codec = ENG_CODEC_H264,
	                                     .width = 640,
	                                     .height = 480,
	                                     .extradata_bytes = 3,
	                                     .extradata = {1, 2, 3}},
	                                    {.codec = ENG_CODEC_AAC,
	                                     .channels = 2,
	                                     .sample_rate = 48000,
	                                     .extradata_bytes = 2,
	                                     .extradata = {0x11, 0x90}}}};
	struct mp4_sample v[] = {{ORIGIN_NS, ORIGIN_NS - 80000000, 40000000, 100, true},
	                         {ORIGIN_NS + 80000000, ORIGIN_NS - 40000000, 40000000, 50, false},
	                         {ORIGIN_NS + 40000000, ORIGIN_NS, 40000000, 20, false}};
	struct mp4_sample a[] = {{ORIGIN_NS + 10000000, 0, 21333333, 30, false}};
	struct mp4_chunk chunk[] = {{{2, 1}}, {{1, 0}}};
	struct mp4_file f = {.setup = &setup,
	                     .origin_ns = ORIGIN_NS,
	                     .count = {{3, 1, 2, 170}, {1, 0, 1, 30}},
	                     .sample = {v, a},
	                     .chunk = chunk,
	                     .n_chunks = 2};
	uint64_t fnv = 0xcbf29ce484222325u;
	uint8_t *header;
	size_t len;

	(void)state;
	assert_int_equal(mp4_header(&f, &header, &len), 0);
	for (size_t i = 0; i < len; i++)
		fnv = (fnv ^ header[i]) * 0x100000001b3u;
	free(header);
	assert_int_equal(len, LAYOUT_LEN);
	assert_int_equal(fnv, LAYOUT_FNV);
}

static int setup_all(void **state)
{
	(void)state;
	view_dir_make(dir);
	return 0;
}
static int teardown_all(void **state)
{
	(void)state;
	view_dir_remove(dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(setups_refused),
	        cmocka_unit_test(size_from_counts),
	        cmocka_unit_test(layout_is_frozen),
	        cmocka_unit_test(h264_plain),
	        cmocka_unit_test(h264_reordered),
	        cmocka_unit_test(h265_reordered),
	        cmocka_unit_test(mjpeg),
	        cmocka_unit_test(h264_with_alaw),
	        cmocka_unit_test(mjpeg_with_ulaw),
	        cmocka_unit_test(alaw_alone),
	        cmocka_unit_test(audio_offset),
	        cmocka_unit_test(later_key),
	};

	return cmocka_run_group_tests(tests, setup_all, teardown_all);
}

/*
 * mp4.c — layout version 1 of a virtual file. Normative: together with the rules of view.h (which
 * samples) this says every byte, so that a file made today has the same digest in ten years.
 * A change of any byte is a new layout version.
 *
 * Classic MP4 with moov in front, because every player and tool reads it forwards and finds any
 * place with few reads. Nothing is run-length compressed and no field changes its width with its
 * value, so that sizes follow from counts alone: `ls -l` reads no payload.
 *
 * All integers big-endian. n = samples, k = key frames, c = store chunks with samples of the track.
 * A track without samples is left out. Track ids: 1 for the setup's track 0, 2 for track 1.
 *
 *   ftyp   24   major, minor 512, two compatible brands: "isom" "isom" "mp42"; with a G.711 track
 *               "qt  " "qt  " "isom" (alaw and ulaw are QuickTime's)
 *   moov        8 + mvhd + trak…
 *    mvhd 120   version 1; creation = modification = origin in seconds since 1904; time scale
 * 90000; duration = greatest end of an edit list; next track id 3 trak       8 + tkhd + edts (+
 * free) + mdia tkhd 104  version 1, flags 3; duration = that of the edit list edts  44  elst,
 * version 1, one entry of 20: presentation duration, media time (the shift below), rate 1.  Audio
 * tracks have room for two entries, 64 bytes: first an empty edit as long as the audio starts after
 * the origin; when that is 0, the one entry and a `free` box of 20 bytes behind edts. mdia      8 +
 * mdhd + hdlr + minf mdhd 44  version 1; time scale 90000 (video) or the sample rate (audio);
 * duration = sum of stts; language und hdlr 33  vide or soun; empty name minf     8 + vmhd 20 or
 * smhd 16 + dinf 36 (dref: one url, self-contained) + stbl stbl    8 + stsd + stts + ctts + stss +
 * stsc + stsz + co64, in this order stsd   mp4_entry.c: avc1/avcC, hvc1/hvcC, mp4v/esds 0x6C,
 * mp4a/esds 0x40, alaw, ulaw stts   16 + 8n, each entry a count of 1 ctts   16 + 8n, version 0,
 * each entry a count of 1; video only stss   16 + 4k; video only stsc   16 + 12c, one entry a chunk
 *        stsz   20 + 4n
 *        co64   16 + 8c
 *   mdat   16   64-bit size; then the samples, chunk by chunk, in each chunk track 0 before 1
 *
 * Times. P = sample's time minus origin, D = sample's dts minus the first sample's, both rounded to
 * ticks (half up); D of audio is P minus the first sample's P. D never falls (a lower one counts as
 * the one before). stts = difference to the next D; the last one is its own duration, or if that is
 * 0 the difference before it, or 1. shift = greatest D - P of the video track; ctts = P - D +
 * shift. So the first sample is shown at 0 whatever the reordering, and origin is zero for both
 * tracks. Values that do not fit are held at the field's bound.
 */
#include <errno.h>
#include <stdlib.h>

#include "fusefs/mp4_box.h"

enum { MOVIE_SCALE = 90000, HEADER_MAX = INT32_MAX };
enum { FTYP = 24, MVHD = 120, TKHD = 104, MDHD = 44, HDLR = 33, VMHD = 20, SMHD = 16, DINF = 36 };
enum { EDIT = 20, EDTS_ONE = 8 + 16 + EDIT, MDAT_HEAD = 16, BOX = 8 };
#define EPOCH_1904_S INT64_C(2082844800)

/* One track's tables on their way out. */
struct track_plan {
	const struct eng_track *t;
	const struct mp4_sample *s;
	size_t n;
	bool video;
	uint32_t scale;
	int64_t *decode;      /* D; n + 1 entries, the last is the end */
	int64_t shift;        /* of the edit list, media ticks */
	int64_t start, shown; /* empty edit and edit, movie ticks */
};

int mp4_check(const struct eng_setup *setup)
{
	if (setup->n_tracks < 1 || setup->n_tracks > ENG_TRACKS_MAX)
		return -ENOTSUP;
	for (unsigned k = 0; k < setup->n_tracks; k++) {
		const struct eng_track *t = &setup->track[k];

		if (!mp4_codec_known(t->codec) || t->extradata_bytes > ENG_EXTRADATA_MAX)
			return -ENOTSUP;
		if (!eng_codec_is_video(t->codec) && !t->sample_rate)
			return -ENOTSUP;
	}
	if (setup->n_tracks == 2 && (!eng_codec_is_video(setup->track[0].codec) ||
	                             eng_codec_is_video(setup->track[1].codec)))
		return -ENOTSUP;
	return 0;
}

/* ------------------------------------------------------------------------------- sizes */

static uint64_t stbl_bytes(const struct eng_track *t, const struct mp4_counts *c)
{
	uint64_t bytes = BOX + mp4_stsd_bytes(t);

	bytes += 16 + 8 * c->samples; /* stts */
	if (eng_codec_is_video(t->codec))
		bytes += 16 + 8 * c->samples + 16 + 4 * c->keys; /* ctts, stss */
	return bytes + 16 + 12 * c->chunks + 20 + 4 * c->samples + 16 + 8 * c->chunks;
}

static uint64_t trak_bytes(const struct eng_track *t, const struct mp4_counts *c)
{
	bool video = eng_codec_is_video(t->codec);
	uint64_t minf = BOX + (video ? VMHD : SMHD) + DINF + stbl_bytes(t, c);

	return BOX + TKHD + EDTS_ONE + (video ? 0 : EDIT) + BOX + MDHD + HDLR + minf;
}

uint64_t mp4_header_bytes(const struct eng_setup *setup,
                          const struct mp4_counts count[ENG_TRACKS_MAX])
{
	uint64_t bytes = FTYP + BOX + MVHD + MDAT_HEAD;

	for (unsigned k = 0; k < setup->n_tracks; k++)
		if (count[k].samples)
			bytes += trak_bytes(&setup->track[k], &count[k]);
	return bytes;
}

uint64_t mp4_file_bytes(const struct eng_setup *setup,
                        const struct mp4_counts count[ENG_TRACKS_MAX])
{
	uint64_t bytes = mp4_header_bytes(setup, count);

	for (unsigned k = 0; k < setup->n_tracks; k++)
		bytes += count[k].bytes;
	return bytes;
}

/* ------------------------------------------------------------------------------- times */

/* (to - from) in ticks, rounded half up. 128 bits: any two times, any scale. */
static int64_t ticks(int64_t from_ns, int64_t to_ns, uint32_t scale)
{
	__int128 x = ((__int128)to_ns - from_ns) * scale + NSEC_PER_SEC / 2;
	__int128 q = x / NSEC_PER_SEC;

	if (x < 0 && x % NSEC_PER_SEC)
		q--;
	if (q > INT64_MAX / 4)
		return INT64_MAX / 4;
	return q < 0 ? 0 : (int64_t)q;
}

static int64_t shown_at(const struct track_plan *p, size_t i, int64_t origin_ns)
{
	return ticks(origin_ns, p->s[i].time_ns, p->scale);
}

/* Rounded up: an edit that is a fraction too short would cut the last sample. */
static int64_t to_movie(int64_t t, uint32_t scale)
{
	return (int64_t)(((__int128)t * MOVIE_SCALE + scale - 1) / scale);
}

static int64_t last_delta(const struct track_plan *p)
{
	int64_t own = ticks(0, p->s[p->n - 1].duration_ns, p->scale);

	if (own)
		return own;
	if (p->n > 1 && p->decode[p->n - 1] > p->decode[p->n - 2])
		return p->decode[p->n - 1] - p->decode[p->n - 2];
	return 1;
}

static int plan_track(struct track_plan *p, int64_t origin_ns)
{
	int64_t end = 0, first = shown_at(p, 0, origin_ns);

	p->decode = calloc(p->n + 1, sizeof(*p->decode));
	if (!p->decode)
		return -ENOMEM;
	for (size_t i = 0; i < p->n; i++) {
		int64_t shown = shown_at(p, i, origin_ns);
		int64_t d =
		        p->video ? ticks(p->s[0].dts_ns, p->s[i].dts_ns, p->scale) : shown - first;

		p->decode[i] = i && d < p->decode[i - 1] ? p->decode[i - 1] : d;
		if (p->video && p->decode[i] - shown > p->shift)
			p->shift = p->decode[i] - shown;
		shown += ticks(0, p->s[i].duration_ns, p->scale);
		if (shown > end)
			end = shown;
	}
	p->decode[p->n] = p->decode[p->n - 1] + last_delta(p);
	/* The last sample is never shown for less than its stts entry says. */
	if (shown_at(p, p->n - 1, origin_ns) + last_delta(p) > end)
		end = shown_at(p, p->n - 1, origin_ns) + last_delta(p);
	p->start = ticks(origin_ns, p->s[0].time_ns, MOVIE_SCALE);
	p->shown = to_movie(end - first, p->scale);
	return 0;
}

/* ------------------------------------------------------------------------------- boxes */

static const uint32_t unity[9] = {0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000};

static uint64_t seconds_1904(int64_t t_ns)
{
	int64_t s = t_ns / NSEC_PER_SEC - (t_ns % NSEC_PER_SEC < 0) + EPOCH_1904_S;

	return s < 0 ? 0 : (uint64_t)s;
}

static uint32_t clip32(int64_t v)
{
	return v > INT32_MAX ? INT32_MAX : v < 0 ? 0 : (uint32_t)v;
}

static bool is_quicktime(const struct eng_setup *setup)
{
	for (unsigned k = 0; k < setup->n_tracks; k++)
		if (setup->track[k].codec == ENG_CODEC_ALAW ||
		    setup->track[k].codec == ENG_CODEC_ULAW)
			return true;
	return false;
}

static void put_ftyp(struct box_out *o, bool quicktime)
{
	size_t at = box_begin(o, "ftyp");

	put_bytes(o, quicktime ? "qt  " : "isom", 4);
	put32(o, 512);
	put_bytes(o, quicktime ? "qt  isom" : "isommp42", 8);
	box_end(o, at);
}

static void put_matrix(struct box_out *o)
{
	for (unsigned i = 0; i < ARRAY_LEN(unity); i++)
		put32(o, unity[i]);
}

static void put_mvhd(struct box_out *o, int64_t origin_ns, int64_t duration)
{
	size_t at = full_begin(o, "mvhd", 1, 0);

	put64(o, seconds_1904(origin_ns));
	put64(o, seconds_1904(origin_ns));
	put32(o, MOVIE_SCALE);
	put64(o, (uint64_t)duration);
	put32(o, 0x10000); /* rate 1 */
	put16(o, 0x100);   /* volume 1 */
	put_zero(o, 10);
	put_matrix(o);
	put_zero(o, 24);
	put32(o, 3);
	box_end(o, at);
}

static void put_tkhd(struct box_out *o, const struct track_plan *p, unsigned id, int64_t origin_ns)
{
	size_t at = full_begin(o, "tkhd", 1, 3);

	put64(o, seconds_1904(origin_ns));
	put64(o, seconds_1904(origin_ns));
	put32(o, id);
	put32(o, 0);
	put64(o, (uint64_t)(p->start + p->shown));
	put_zero(o, 8);
	put16(o, 0);
	put16(o, 0);
	put16(o, p->video ? 0 : 0x100);
	put16(o, 0);
	put_matrix(o);
	put32(o, (uint32_t)p->t->width << 16);
	put32(o, (uint32_t)p->t->height << 16);
	box_end(o, at);
}

static void put_edit(struct box_out *o, int64_t duration, int64_t media_time)
{
	put64(o, (uint64_t)duration);
	put64(o, (uint64_t)media_time);
	put32(o, 0x10000);
}

static void put_edts(struct box_out *o, const struct track_plan *p)
{
	size_t edts = box_begin(o, "edts");
	size_t elst = full_begin(o, "elst", 1, 0);
	bool late = !p->video && p->start > 0;

	put32(o, late ? 2 : 1);
	if (late)
		put_edit(o, p->start, -1);
	put_edit(o, p->shown, p->shift);
	box_end(o, elst);
	box_end(o, edts);
	if (!p->video && !late) {
		size_t at = box_begin(o, "free");

		put_zero(o, EDIT - BOX);
		box_end(o, at);
	}
}

static void put_mdhd_hdlr(struct box_out *o, const struct track_plan *p, int64_t origin_ns,
                          bool quicktime)
{
	size_t at = full_begin(o, "mdhd", 1, 0);

	put64(o, seconds_1904(origin_ns));
	put64(o, seconds_1904(origin_ns));
	put32(o, p->scale);
	put64(o, (uint64_t)p->decode[p->n]);
	put16(o, 0x55c4); /* und */
	put16(o, 0);
	box_end(o, at);

	at = full_begin(o, "hdlr", 0, 0);
	put_bytes(o, quicktime ? "mhlr" : "\0\0\0\0", 4);
	put_bytes(o, p->video ? "vide" : "soun", 4);
	put_zero(o, 12 + 1);
	box_end(o, at);
}

static void put_media_heads(struct box_out *o, bool video)
{
	size_t at, dref, url;

	if (video) {
		at = full_begin(o, "vmhd", 0, 1);
		put_zero(o, 8);
	} else {
		at = full_begin(o, "smhd", 0, 0);
		put_zero(o, 4);
	}
	box_end(o, at);
	at = box_begin(o, "dinf");
	dref = full_begin(o, "dref", 0, 0);
	put32(o, 1);
	url = full_begin(o, "url ", 0, 1);
	box_end(o, url);
	box_end(o, dref);
	box_end(o, at);
}

/* ------------------------------------------------------------------------------ tables */

static size_t table_begin(struct box_out *o, const char type[5], uint64_t entries)
{
	size_t at = full_begin(o, type, 0, 0);

	put32(o, (uint32_t)entries);
	return at;
}

static void put_time_tables(struct box_out *o, const struct track_plan *p, int64_t origin_ns)
{
	size_t at = table_begin(o, "stts", p->n);

	for (size_t i = 0; i < p->n; i++) {
		put32(o, 1);
		put32(o, clip32(p->decode[i + 1] - p->decode[i]));
	}
	box_end(o, at);
	if (!p->video)
		return;
	at = table_begin(o, "ctts", p->n);
	for (size_t i = 0; i < p->n; i++) {
		put32(o, 1);
		put32(o, clip32(shown_at(p, i, origin_ns) - p->decode[i] + p->shift));
	}
	box_end(o, at);
}

static void put_keys(struct box_out *o, const struct track_plan *p, uint64_t keys)
{
	size_t at = table_begin(o, "stss", keys);

	for (size_t i = 0; i < p->n; i++)
		if (p->s[i].key)
			put32(o, (uint32_t)(i + 1));
	box_end(o, at);
}

static void put_stsc(struct box_out *o, const struct mp4_file *f, unsigned k)
{
	size_t at = table_begin(o, "stsc", f->count[k].chunks);
	uint32_t number = 0;

	for (size_t i = 0; i < f->n_chunks; i++) {
		if (!f->chunk[i].samples[k])
			continue;
		put32(o, ++number);
		put32(o, f->chunk[i].samples[k]);
		put32(o, 1);
	}
	box_end(o, at);
}

static void put_stsz(struct box_out *o, const struct track_plan *p)
{
	size_t at = full_begin(o, "stsz", 0, 0);

	put32(o, 0);
	put32(o, (uint32_t)p->n);
	for (size_t i = 0; i < p->n; i++)
		put32(o, p->s[i].size_bytes);
	box_end(o, at);
}

static void put_co64(struct box_out *o, const struct mp4_file *f, unsigned k, uint64_t data_at)
{
	size_t at = table_begin(o, "co64", f->count[k].chunks);
	size_t next[ENG_TRACKS_MAX] = {0};

	for (size_t i = 0; i < f->n_chunks; i++) {
		for (unsigned j = 0; j < f->setup->n_tracks; j++) {
			if (j == k && f->chunk[i].samples[j])
				put64(o, data_at);
			for (uint32_t x = 0; x < f->chunk[i].samples[j]; x++)
				data_at += f->sample[j][next[j]++].size_bytes;
		}
	}
	box_end(o, at);
}

static void put_trak(struct box_out *o, const struct mp4_file *f, const struct track_plan *p,
                     unsigned k)
{
	bool quicktime = is_quicktime(f->setup);
	size_t trak = box_begin(o, "trak"), mdia, minf, stbl;

	put_tkhd(o, p, k + 1, f->origin_ns);
	put_edts(o, p);
	mdia = box_begin(o, "mdia");
	put_mdhd_hdlr(o, p, f->origin_ns, quicktime);
	minf = box_begin(o, "minf");
	put_media_heads(o, p->video);
	stbl = box_begin(o, "stbl");
	mp4_stsd_put(o, p->t);
	put_time_tables(o, p, f->origin_ns);
	if (p->video)
		put_keys(o, p, f->count[k].keys);
	put_stsc(o, f, k);
	put_stsz(o, p);
	put_co64(o, f, k, o->cap);
	box_end(o, stbl);
	box_end(o, minf);
	box_end(o, mdia);
	box_end(o, trak);
}

/* ------------------------------------------------------------------------------- whole */

/* The tables must add up before bytes are laid out by them. */
static int check_file(const struct mp4_file *f)
{
	for (unsigned k = 0; k < f->setup->n_tracks; k++) {
		struct mp4_counts sum = {0};
		uint64_t in_chunks = 0;

		for (uint64_t i = 0; i < f->count[k].samples; i++) {
			sum.bytes += f->sample[k][i].size_bytes;
			sum.keys += f->sample[k][i].key;
			if (f->sample[k][i].time_ns < f->origin_ns)
				return -EINVAL;
		}
		for (size_t i = 0; i < f->n_chunks; i++) {
			in_chunks += f->chunk[i].samples[k];
			sum.chunks += f->chunk[i].samples[k] > 0;
		}
		if (in_chunks != f->count[k].samples || sum.bytes != f->count[k].bytes ||
		    sum.chunks != f->count[k].chunks ||
		    (eng_codec_is_video(f->setup->track[k].codec) && sum.keys != f->count[k].keys))
			return -EINVAL;
	}
	return f->count[0].samples ? 0 : -EINVAL;
}

static int plan_all(const struct mp4_file *f, struct track_plan plan[ENG_TRACKS_MAX],
                    int64_t *duration)
{
	int rc = 0;

	*duration = 0;
	for (unsigned k = 0; k < f->setup->n_tracks && !rc; k++) {
		const struct eng_track *t = &f->setup->track[k];
		bool video = eng_codec_is_video(t->codec);

		if (!f->count[k].samples)
			continue;
		plan[k] = (struct track_plan){.t = t,
		                              .s = f->sample[k],
		                              .n = f->count[k].samples,
		                              .video = video,
		                              .scale = video ? MOVIE_SCALE : t->sample_rate};
		rc = plan_track(&plan[k], f->origin_ns);
		if (!rc && plan[k].start + plan[k].shown > *duration)
			*duration = plan[k].start + plan[k].shown;
	}
	return rc;
}

static void put_all(struct box_out *o, const struct mp4_file *f, const struct track_plan *plan,
                    int64_t duration)
{
	uint64_t payload = mp4_file_bytes(f->setup, f->count) - o->cap;
	size_t moov;

	put_ftyp(o, is_quicktime(f->setup));
	moov = box_begin(o, "moov");
	put_mvhd(o, f->origin_ns, duration);
	for (unsigned k = 0; k < f->setup->n_tracks; k++)
		if (f->count[k].samples)
			put_trak(o, f, &plan[k], k);
	box_end(o, moov);
	put32(o, 1);
	put_bytes(o, "mdat", 4);
	put64(o, MDAT_HEAD + payload);
	assert(o->at == o->cap);
}

int mp4_header(const struct mp4_file *f, uint8_t **out, size_t *len)
{
	struct track_plan plan[ENG_TRACKS_MAX] = {0};
	struct box_out o = {0};
	int64_t duration;
	int rc = mp4_check(f->setup);

	*out = NULL;
	if (!rc)
		rc = check_file(f);
	if (rc)
		return rc;
	if (mp4_header_bytes(f->setup, f->count) > HEADER_MAX)
		return -EFBIG;
	o.cap = (size_t)mp4_header_bytes(f->setup, f->count);
	rc = plan_all(f, plan, &duration);
	if (rc)
		goto out;
	rc = -ENOMEM;
	o.p = malloc(o.cap);
	if (!o.p)
		goto out;
	put_all(&o, f, plan, duration);
	*out = o.p;
	*len = o.cap;
	rc = 0;
out:
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++)
		free(plan[k].decode);
	return rc;
}

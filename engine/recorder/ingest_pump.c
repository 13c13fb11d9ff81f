/*
 * ingest_pump.c — packets of FFmpeg → frames in store form, with UTC times, into the ring.
 *
 * The setup is built from parameter sets, never from what the demuxer guesses; when they change,
 * the run ends at the next key frame and another begins. A packet that cannot be understood is
 * dropped with the rest of its GOP's meaning intact: decoders cope with a missing frame better than
 * with a broken one; too many in a row end the source.
 */
#include "engine/recorder/ingest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BAD_MAX        500 /* packets in a row that cannot be stored */
#define PUT_TIMEOUT_NS (24 * 3600 * NSEC_PER_SEC)

static int put(struct pump *p, const struct ring_record *rec)
{
	return ring_put(p->ring, rec, PUT_TIMEOUT_NS);
}

void pump_note(struct pump *p, const char *format, ...)
{
	struct ring_record rec = {.kind = RING_NOTE};
	va_list ap;
	va_start(ap, format);
	vsnprintf(rec.text, sizeof(rec.text), format, ap);
	va_end(ap);
	text_clean(rec.text);
	if (put(p, &rec))
		log_err("%s", rec.text);
}

static uint16_t codec_of(enum AVCodecID id)
{
	switch (id) {
	case AV_CODEC_ID_H264:
		return ENG_CODEC_H264;
	case AV_CODEC_ID_HEVC:
		return ENG_CODEC_H265;
	case AV_CODEC_ID_MJPEG:
		return ENG_CODEC_MJPEG;
	case AV_CODEC_ID_AAC:
		return ENG_CODEC_AAC;
	case AV_CODEC_ID_PCM_ALAW:
		return ENG_CODEC_ALAW;
	case AV_CODEC_ID_PCM_MULAW:
		return ENG_CODEC_ULAW;
	default:
		return ENG_CODEC_NONE;
	}
}

/* ---- choosing tracks ---- */

static int setup_video(struct pump *p, int stream)
{
	const AVCodecParameters *par = p->src->fmt->streams[stream]->codecpar;
	struct eng_track *t = &p->setup.track[p->setup.n_tracks];

	p->track[p->setup.n_tracks++].stream = stream;
	t->codec = codec_of(par->codec_id);
	if (t->codec == ENG_CODEC_MJPEG)
		return 0;
	p->sets->codec = t->codec;
	return nal_extradata(p->sets, par->extradata, (size_t)par->extradata_size,
	                     &p->length_bytes);
}

/* AudioSpecificConfig for AAC-LC from rate and channels: what ADTS will say, before it says it. */
static int asc_guess(const AVCodecParameters *par, struct eng_track *t)
{
	static const uint32_t rates[] = {96000, 88200, 64000, 48000, 44100, 32000, 24000,
	                                 22050, 16000, 12000, 11025, 8000,  7350};
	for (unsigned i = 0; i < ARRAY_LEN(rates); i++) {
		if (rates[i] != (uint32_t)par->sample_rate)
			continue;
		t->extradata[0] = (uint8_t)(2u << 3 | i >> 1);
		t->extradata[1] = (uint8_t)(i << 7 | (t->channels == 8 ? 7u : t->channels) << 3);
		t->extradata_bytes = 2;
		return 0;
	}
	return -EINVAL;
}

static int setup_audio(struct pump *p, int stream)
{
	const AVCodecParameters *par = p->src->fmt->streams[stream]->codecpar;
	struct eng_track t = {.codec = codec_of(par->codec_id)};
	struct pump_track *k = &p->track[p->setup.n_tracks];
	int channels = par->ch_layout.nb_channels;

	if (channels < 1 || channels > 8 || par->sample_rate < 1000 || par->sample_rate > 192000)
		return -EINVAL;
	t.channels = (uint16_t)channels;
	t.sample_rate = (uint32_t)par->sample_rate;
	if (t.codec == ENG_CODEC_AAC && par->extradata_size >= 2 &&
	    par->extradata_size <= ENG_EXTRADATA_MAX) {
		t.extradata_bytes = (uint16_t)par->extradata_size;
		memcpy(t.extradata, par->extradata, t.extradata_bytes);
	} else if (t.codec == ENG_CODEC_AAC) {
		k->adts = true;
		if (par->extradata_size != 0 || asc_guess(par, &t))
			return -EINVAL;
	}
	k->stream = stream;
	p->setup.track[p->setup.n_tracks++] = t;
	return 0;
}

static int find_stream(const struct pump *p, enum AVMediaType type, int *other)
{
	const AVFormatContext *fmt = p->src->fmt;
	*other = -1;
	for (unsigned i = 0; i < fmt->nb_streams; i++) {
		const AVStream *st = fmt->streams[i];
		if (st->codecpar->codec_type != type ||
		    (st->disposition & AV_DISPOSITION_ATTACHED_PIC))
			continue;
		if (codec_of(st->codecpar->codec_id) != ENG_CODEC_NONE)
			return (int)i;
		if (*other < 0)
			*other = (int)i;
	}
	return -1;
}

static const char *codec_label(const struct pump *p, int stream)
{
	return avcodec_get_name(p->src->fmt->streams[stream]->codecpar->codec_id);
}

int pump_init(struct pump *p, struct source *src, struct ring *ring, char *text, size_t text_bytes)
{
	int bad_video, bad_audio;

	memset(p, 0, sizeof(*p));
	p->src = src;
	p->ring = ring;
	p->job = src->job;
	p->track[0].stream = p->track[1].stream = -1;
	p->sets = calloc(1, sizeof(*p->sets));
	if (!p->sets)
		return -ENOMEM;
	int video = find_stream(p, AVMEDIA_TYPE_VIDEO, &bad_video);
	int audio = find_stream(p, AVMEDIA_TYPE_AUDIO, &bad_audio);
	if (video < 0 && bad_video >= 0) {
		snprintf(text, text_bytes,
		         "video codec %s cannot be recorded; use H.264, H.265 or MJPEG",
		         codec_label(p, bad_video));
		return -ENOTSUP;
	}
	if (video >= 0 && setup_video(p, video)) {
		snprintf(text, text_bytes, "the %s configuration of the source is malformed",
		         codec_label(p, video));
		return -ENOTSUP;
	}
	if (p->job->audio && audio >= 0 && setup_audio(p, audio))
		pump_note(p, "audio is left out: its %s configuration cannot be recorded",
		          codec_label(p, audio));
	else if (p->job->audio && audio < 0 && bad_audio >= 0)
		pump_note(p, "audio is left out: codec %s cannot be recorded; use AAC or G.711",
		          codec_label(p, bad_audio));
	if (p->setup.n_tracks == 0) {
		snprintf(text, text_bytes,
		         "has neither video nor audio that can be recorded; use "
		         "H.264, H.265, MJPEG, AAC or G.711");
		return -ENOTSUP;
	}
	for (unsigned i = 0; i < src->fmt->nb_streams; i++)
		if ((int)i != p->track[0].stream && (int)i != p->track[1].stream)
			src->fmt->streams[i]->discard = AVDISCARD_ALL;
	if (src->fmt->duration > 0 && src->fmt->duration < INT64_MAX / 1000)
		p->duration_ns = src->fmt->duration * 1000;
	timeline_init(&p->time, p->job->start_ns, !src->network, video >= 0);
	p->time.end_ns = p->job->not_before_ns;
	p->setup_ready = video < 0;
	return 0;
}

void pump_free(struct pump *p)
{
	free(p->sets);
	free(p->buf);
}

/* ---- one packet into store form ---- */

static int reserve(struct pump *p, size_t len)
{
	if (len <= p->buf_bytes)
		return 0;
	free(p->buf);
	p->buf_bytes = len * 2;
	p->buf = malloc(p->buf_bytes);
	if (!p->buf)
		p->buf_bytes = 0;
	return p->buf ? 0 : -ENOMEM;
}

/* Puts a track's new description into the setup; sets setup_dirty when it differs. */
static void setup_update(struct pump *p, unsigned track, const struct eng_track *t)
{
	struct eng_track *old = &p->setup.track[track];
	if (old->width == t->width && old->height == t->height && old->channels == t->channels &&
	    old->sample_rate == t->sample_rate && old->extradata_bytes == t->extradata_bytes &&
	    memcmp(old->extradata, t->extradata, t->extradata_bytes) == 0)
		return;
	*old = *t;
	p->setup_dirty = true;
}

static int convert_nal(struct pump *p, const AVPacket *pkt, unsigned track, struct eng_frame *f)
{
	struct nal_info info;
	struct eng_track t;
	size_t len = (size_t)pkt->size;
	/* Each start code of three bytes, each short length, may grow to four. */
	int err = reserve(p, len * (p->length_bytes == 1 ? 3 : 2) + 16);
	if (err)
		return err;
	ssize_t n =
	        nal_convert(p->sets, pkt->data, len, p->length_bytes, p->buf, p->buf_bytes, &info);
	if (n < 0 || info.slices == 0)
		return n < 0 ? (int)n : -ENODATA;
	bool key = info.key || (p->sets->codec == ENG_CODEC_H264 && pkt->flags & AV_PKT_FLAG_KEY);
	if (key && (p->sets->changed || !p->setup_ready)) {
		err = nal_track(p->sets, &t);
		if (err)
			return err;
		p->sets->changed = false;
		p->setup_ready = true;
		setup_update(p, track, &t);
	}
	f->data = p->buf;
	f->size_bytes = (uint32_t)n;
	f->flags = key ? ENG_FRAME_KEY : 0;
	return 0;
}

static int convert_mjpeg(struct pump *p, const AVPacket *pkt, unsigned track, struct eng_frame *f)
{
	struct eng_track t = {.codec = ENG_CODEC_MJPEG};
	int err = jpeg_size(pkt->data, (size_t)pkt->size, &t.width, &t.height);
	if (err)
		return err;
	p->setup_ready = true;
	setup_update(p, track, &t);
	f->flags = ENG_FRAME_KEY;
	return 0;
}

static int convert_adts(struct pump *p, const AVPacket *pkt, unsigned track, struct eng_frame *f)
{
	struct eng_track t = p->setup.track[track];
	struct adts_info a;
	int err = adts_parse(pkt->data, (size_t)pkt->size, &a);
	if (err)
		return err;
	t.channels = a.channels;
	t.sample_rate = a.sample_rate;
	t.extradata_bytes = 2;
	memcpy(t.extradata, a.asc, 2);
	setup_update(p, track, &t);
	f->data = pkt->data + a.header_bytes;
	f->size_bytes = a.frame_bytes - a.header_bytes;
	return 0;
}

/* A container may replace its configuration on the way. */
static void new_extradata(struct pump *p, const AVPacket *pkt, unsigned track)
{
	size_t n;
	const uint8_t *x = av_packet_get_side_data(pkt, AV_PKT_DATA_NEW_EXTRADATA, &n);
	struct eng_track t = p->setup.track[track];

	if (!x || n == 0)
		return;
	if (t.codec == ENG_CODEC_H264 || t.codec == ENG_CODEC_H265) {
		if (nal_extradata(p->sets, x, n, &p->length_bytes))
			p->length_bytes = 0;
	} else if (t.codec == ENG_CODEC_AAC && n >= 2 && n <= ENG_EXTRADATA_MAX) {
		t.extradata_bytes = (uint16_t)n;
		memcpy(t.extradata, x, n);
		setup_update(p, track, &t);
	}
}

static int convert(struct pump *p, const AVPacket *pkt, unsigned track, struct eng_frame *f)
{
	if (pkt->size <= 0 || pkt->size > (int)ENG_FRAME_MAX || pkt->flags & AV_PKT_FLAG_CORRUPT)
		return -EINVAL;
	new_extradata(p, pkt, track);
	f->track = (uint8_t)track;
	f->data = pkt->data;
	f->size_bytes = (uint32_t)pkt->size;
	f->flags = ENG_FRAME_KEY;
	switch (p->setup.track[track].codec) {
	case ENG_CODEC_H264:
	case ENG_CODEC_H265:
		return convert_nal(p, pkt, track, f);
	case ENG_CODEC_MJPEG:
		return convert_mjpeg(p, pkt, track, f);
	case ENG_CODEC_AAC:
		return p->track[track].adts ? convert_adts(p, pkt, track, f) : 0;
	default:
		return 0;
	}
}

/* ---- times, runs ---- */

static int64_t to_ns(int64_t v, AVRational tb)
{
	if (v == AV_NOPTS_VALUE)
		return ENG_NO_TIME;
	return av_rescale_q(v, tb, (AVRational){1, 1000000000});
}

static int run_end(struct pump *p, enum eng_reason reason)
{
	struct ring_record rec = {.kind = RING_END, .reason = reason};
	timeline_reset(&p->time);
	if (!p->setup_sent)
		return 0;
	p->setup_sent = false;
	return put(p, &rec);
}

static int run_begin(struct pump *p, int64_t first_ns)
{
	struct ring_record *rec = calloc(1, sizeof(*rec));
	if (!rec)
		return -ENOMEM;
	rec->kind = RING_SETUP;
	rec->setup = p->setup;
	rec->first_ns = first_ns;
	rec->end_ns = p->duration_ns ? first_ns + p->duration_ns : ENG_NO_TIME;
	int err = put(p, rec);
	free(rec);
	p->setup_sent = true;
	p->setup_dirty = false;
	return err;
}

static void pace(int64_t wait_ns)
{
	struct timespec ts = {wait_ns / NSEC_PER_SEC, wait_ns % NSEC_PER_SEC};
	while (wait_ns > 0 && nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static int emit(struct pump *p, const struct timeline_packet *tp, struct eng_frame *f)
{
	struct timeline_out out;
	int err = 0;

	if (p->setup_dirty && p->setup_sent && tp->key && (tp->video || !p->time.has_video))
		err = run_end(p, ENG_REASON_PARAMETERS);
	for (int attempt = 0; !err; attempt++) {
		enum timeline_verdict v =
		        timeline_map(&p->time, tp, clock_wall_ns(), clock_boot_ns(), &out);
		if (v == TIMELINE_OK)
			break;
		if (v == TIMELINE_DROP || attempt == 1)
			return 0;
		err = run_end(p, v == TIMELINE_CLOCK_STEP ? ENG_REASON_CLOCK_STEP
		                                          : ENG_REASON_DISCONTINUITY);
	}
	if (err)
		return err;
	pace(out.wait_ns);
	if (!p->setup_sent)
		err = run_begin(p, out.time_ns);
	f->time_ns = out.time_ns;
	f->dts_ns = out.dts_ns;
	f->duration_ns = out.duration_ns;
	struct ring_record rec = {.kind = RING_FRAME};
	rec.frame = *f;
	if (!err)
		err = put(p, &rec);
	p->frames += !err;
	return err;
}

static int packet(struct pump *p, const AVPacket *pkt)
{
	struct eng_frame f = {0};
	unsigned track = 0;

	while (track < p->setup.n_tracks && p->track[track].stream != pkt->stream_index)
		track++;
	if (track == p->setup.n_tracks)
		return 0;
	int err = convert(p, pkt, track, &f);
	if (err == -ENOMEM)
		return err;
	if (err) {
		p->bad++;
		return 0;
	}
	p->bad = 0;
	if (!p->setup_ready)
		return 0;
	AVRational tb = p->src->fmt->streams[pkt->stream_index]->time_base;
	struct timeline_packet tp = {
	        .pts_ns = to_ns(pkt->pts, tb),
	        .dts_ns = to_ns(pkt->dts, tb),
	        .duration_ns = pkt->duration > 0 ? to_ns(pkt->duration, tb) : 0,
	        .track = track,
	        .video = eng_codec_is_video(p->setup.track[track].codec),
	        .key = f.flags & ENG_FRAME_KEY,
	};
	return emit(p, &tp, &f);
}

/* Why av_read_frame() stopped. FFmpeg's RTSP client says EOF also for a time-out. */
static enum eng_reason stopped(struct pump *p, int err, char *text, size_t text_bytes)
{
	const struct source *s = p->src;

	text[0] = 0;
	if (!s->network) {
		if (p->frames == 0) {
			snprintf(text, text_bytes,
			         "not a media file that can be read (%s); give MP4, MPEG-TS or "
			         "Matroska",
			         source_last_error()[0] ? source_last_error() : "no frames in it");
			return ENG_REASON_BAD_DATA;
		}
		if (err != AVERROR_EOF || source_last_error()[0])
			snprintf(text, text_bytes, "the stream ended early or is damaged: %s",
			         source_last_error()[0] ? source_last_error() : av_err2str(err));
		return ENG_REASON_SOURCE_END;
	}
	if (s->timed_out ||
	    clock_boot_ns() - s->heard_ns >= p->job->stall_ns - 200 * NSEC_PER_MSEC) {
		snprintf(text, text_bytes, "no frame within the stall time-out");
		return ENG_REASON_STALLED;
	}
	snprintf(text, text_bytes, "the source went away: %s", av_err2str(err));
	return ENG_REASON_UNREACHABLE;
}

int pump_run(struct pump *p, enum eng_reason *reason, char *text, size_t text_bytes)
{
	AVPacket *pkt = av_packet_alloc();
	int err = pkt ? 0 : -ENOMEM;

	*reason = ENG_REASON_INGEST_CRASH;
	while (!err) {
		if (p->src->network)
			p->src->deadline_ns = clock_boot_ns() + p->job->stall_ns;
		int got = av_read_frame(p->src->fmt, pkt);
		if (got == AVERROR(EAGAIN))
			continue;
		if (got < 0) {
			*reason = stopped(p, got, text, text_bytes);
			break;
		}
		p->src->heard_ns = clock_boot_ns();
		err = packet(p, pkt);
		av_packet_unref(pkt);
		if (!err && p->bad > BAD_MAX) {
			snprintf(text, text_bytes, "sends what cannot be stored");
			*reason = ENG_REASON_BAD_DATA;
			break;
		}
	}
	av_packet_free(&pkt);
	return err;
}

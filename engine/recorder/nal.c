/*
 * nal.c — NAL units, parameter sets, ADTS; see nal.h. Own code instead of FFmpeg's bitstream
 * filters, because those rebuild extradata only once, drop or insert units, and cannot be driven by
 * a fuzzer without a demuxer in front.
 */
#include "engine/recorder/nal.h"

#include <errno.h>

bool nal_is_annexb(const uint8_t *buf, size_t len)
{
	if (len >= 4 && buf[0] == 0 && buf[1] == 0 && buf[2] == 0 && buf[3] == 1)
		return true;
	return len >= 3 && buf[0] == 0 && buf[1] == 0 && buf[2] == 1;
}

/* Position of the next 00 00 01 at or after pos, or len. */
static size_t find_start(const uint8_t *buf, size_t len, size_t pos)
{
	while (pos + 3 <= len) {
		const uint8_t *p = memchr(buf + pos + 2, 1, len - pos - 2);
		if (!p)
			return len;
		size_t at = (size_t)(p - buf) - 2;
		if (buf[at] == 0 && buf[at + 1] == 0)
			return at;
		pos = at + 1;
	}
	return len;
}

bool nal_next_annexb(const uint8_t *buf, size_t len, size_t *pos, const uint8_t **nal,
                     size_t *nal_len)
{
	for (;;) {
		size_t start = find_start(buf, len, *pos);
		if (start >= len)
			return false;
		start += 3;
		size_t end = find_start(buf, len, start);
		*pos = end;
		while (end > start && buf[end - 1] == 0)
			end--;
		if (end == start)
			continue;
		*nal = buf + start;
		*nal_len = end - start;
		return true;
	}
}

bool nal_next_length(const uint8_t *buf, size_t len, unsigned length_bytes, size_t *pos,
                     const uint8_t **nal, size_t *nal_len, bool *bad)
{
	for (;;) {
		uint32_t n = 0;
		if (*pos >= len)
			return false;
		if (len - *pos < length_bytes) {
			*bad = true;
			return false;
		}
		for (unsigned i = 0; i < length_bytes; i++)
			n = n << 8 | buf[*pos + i];
		*pos += length_bytes;
		if (n > len - *pos) {
			*bad = true;
			return false;
		}
		*nal = buf + *pos;
		*nal_len = n;
		*pos += n;
		if (n)
			return true;
	}
}

static bool is_set(uint16_t codec, unsigned type)
{
	if (codec == ENG_CODEC_H264)
		return type == NAL_AVC_SPS || type == NAL_AVC_PPS;
	return type >= NAL_HEVC_VPS && type <= NAL_HEVC_PPS;
}

static void learn(struct nal_sets *s, const uint8_t *nal, size_t len)
{
	unsigned type = nal_type(s->codec, nal);
	int id = nal_set_id(s->codec, nal, len);

	if (id < 0 || len > NAL_SET_BYTES_MAX)
		return;
	unsigned i = 0;
	while (i < s->n && !(s->set[i].type == type && s->set[i].id == id))
		i++;
	if (i == NAL_SETS_MAX)
		return;
	struct nal_set *e = &s->set[i];
	if (i < s->n && e->bytes == len && memcmp(e->data, nal, len) == 0)
		return;
	if (i == s->n)
		s->n++;
	e->type = (uint8_t)type;
	e->id = (uint8_t)id;
	e->bytes = (uint16_t)len;
	memcpy(e->data, nal, len);
	s->changed = true;
}

static void inspect(struct nal_sets *s, const uint8_t *nal, size_t len, struct nal_info *info)
{
	unsigned type = nal_type(s->codec, nal);

	info->units++;
	if (is_set(s->codec, type))
		learn(s, nal, len);
	if (s->codec == ENG_CODEC_H264) {
		if (type >= 1 && type <= NAL_AVC_IDR)
			info->slices++;
		if (type == NAL_AVC_IDR)
			info->key = true;
	} else {
		if (type < NAL_HEVC_VPS)
			info->slices++;
		if (type >= NAL_HEVC_IRAP_FIRST && type <= NAL_HEVC_IRAP_LAST)
			info->key = true;
	}
}

ssize_t nal_convert(struct nal_sets *sets, const uint8_t *in, size_t len, unsigned length_bytes,
                    uint8_t *out, size_t out_max, struct nal_info *info)
{
	const uint8_t *nal;
	size_t pos = 0, n, at = 0;
	bool bad = false;

	memset(info, 0, sizeof(*info));
	while (length_bytes ? nal_next_length(in, len, length_bytes, &pos, &nal, &n, &bad)
	                    : nal_next_annexb(in, len, &pos, &nal, &n)) {
		if (out_max - at < 4 || out_max - at - 4 < n || n > UINT32_MAX)
			return -EMSGSIZE;
		out[at] = (uint8_t)(n >> 24);
		out[at + 1] = (uint8_t)(n >> 16);
		out[at + 2] = (uint8_t)(n >> 8);
		out[at + 3] = (uint8_t)n;
		memcpy(out + at + 4, nal, n);
		at += 4 + n;
		inspect(sets, nal, n, info);
	}
	return bad || at == 0 ? -EINVAL : (ssize_t)at;
}

/* ---- extradata of containers ---- */

static int take_set(struct nal_sets *s, const uint8_t *in, size_t len, size_t *at)
{
	struct nal_info info = {0};
	if (len - *at < 2)
		return -EINVAL;
	size_t n = (size_t)in[*at] << 8 | in[*at + 1];
	*at += 2;
	if (n > len - *at)
		return -EINVAL;
	if (n)
		inspect(s, in + *at, n, &info);
	*at += n;
	return 0;
}

static int avcc_parse(struct nal_sets *s, const uint8_t *in, size_t len, unsigned *length_bytes)
{
	size_t at = 6;

	if (len < 7)
		return -EINVAL;
	*length_bytes = (in[4] & 3u) + 1;
	for (unsigned i = in[5] & 31u; i > 0; i--)
		if (take_set(s, in, len, &at))
			return -EINVAL;
	if (at >= len)
		return -EINVAL;
	for (unsigned i = in [at++]; i > 0; i--)
		if (take_set(s, in, len, &at))
			return -EINVAL;
	return 0;
}

static int hvcc_parse(struct nal_sets *s, const uint8_t *in, size_t len, unsigned *length_bytes)
{
	size_t at = 23;

	if (len < 23)
		return -EINVAL;
	*length_bytes = (in[21] & 3u) + 1;
	for (unsigned arrays = in[22]; arrays > 0; arrays--) {
		if (len - at < 3)
			return -EINVAL;
		unsigned n = (unsigned)in[at + 1] << 8 | in[at + 2];
		at += 3;
		for (; n > 0; n--)
			if (take_set(s, in, len, &at))
				return -EINVAL;
	}
	return 0;
}

int nal_extradata(struct nal_sets *sets, const uint8_t *in, size_t len, unsigned *length_bytes)
{
	struct nal_info info = {0};
	const uint8_t *nal;
	size_t pos = 0, n;
	int err;

	*length_bytes = 0;
	if (len == 0 || nal_is_annexb(in, len)) {
		while (nal_next_annexb(in, len, &pos, &nal, &n))
			inspect(sets, nal, n, &info);
		return 0;
	}
	if (in[0] != 1)
		return -EINVAL;
	err = sets->codec == ENG_CODEC_H264 ? avcc_parse(sets, in, len, length_bytes)
	                                    : hvcc_parse(sets, in, len, length_bytes);
	return err || *length_bytes == 3 ? -EINVAL : 0;
}

/* ---- avcC and hvcC ---- */

struct out {
	uint8_t *at, *end;
	bool full;
};

static void put(struct out *o, const void *bytes, size_t n)
{
	if ((size_t)(o->end - o->at) < n) {
		o->full = true;
		return;
	}
	memcpy(o->at, bytes, n);
	o->at += n;
}

static void put8(struct out *o, unsigned v)
{
	uint8_t b = (uint8_t)v;
	put(o, &b, 1);
}

static unsigned count_sets(const struct nal_sets *s, unsigned type)
{
	unsigned n = 0;
	for (unsigned i = 0; i < s->n; i++)
		n += s->set[i].type == type;
	return n;
}

static const struct nal_set *first_set(const struct nal_sets *s, unsigned type)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->set[i].type == type)
			return &s->set[i];
	return NULL;
}

static void put_sets(struct out *o, const struct nal_sets *s, unsigned type)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (s->set[i].type != type)
			continue;
		put8(o, s->set[i].bytes >> 8);
		put8(o, s->set[i].bytes);
		put(o, s->set[i].data, s->set[i].bytes);
	}
}

static void avcc_build(const struct nal_sets *s, const struct nal_set *sps, const struct nal_sps *v,
                       struct out *o)
{
	unsigned profile = sps->data[1];

	put8(o, 1);
	put(o, sps->data + 1, 3);
	put8(o, 0xff); /* 4-byte lengths */
	put8(o, 0xe0 | count_sets(s, NAL_AVC_SPS));
	put_sets(o, s, NAL_AVC_SPS);
	put8(o, count_sets(s, NAL_AVC_PPS));
	put_sets(o, s, NAL_AVC_PPS);
	if (profile != 66 && profile != 77 && profile != 88) {
		put8(o, 0xfc | v->chroma_format);
		put8(o, 0xf8 | (v->luma_bits - 8u));
		put8(o, 0xf8 | (v->chroma_bits - 8u));
		put8(o, 0);
	}
}

static void hvcc_build(const struct nal_sets *s, const struct nal_sps *v, struct out *o)
{
	static const uint8_t types[] = {NAL_HEVC_VPS, NAL_HEVC_SPS, NAL_HEVC_PPS};
	/* min_spatial_segmentation 0, parallelismType 0: unknown */
	const uint8_t mid[] = {0xf0,
	                       0x00,
	                       0xfc,
	                       (uint8_t)(0xfc | v->chroma_format),
	                       (uint8_t)(0xf8 | (v->luma_bits - 8)),
	                       (uint8_t)(0xf8 | (v->chroma_bits - 8)),
	                       0,
	                       0};

	put8(o, 1);
	put(o, v->ptl, sizeof(v->ptl));
	put(o, mid, sizeof(mid));
	put8(o, (unsigned)v->layers << 3 | (unsigned)v->nesting << 2 | 3);
	put8(o, ARRAY_LEN(types));
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		/* array_completeness 0: the frames carry parameter sets too */
		put8(o, types[i]);
		put8(o, 0);
		put8(o, count_sets(s, types[i]));
		put_sets(o, s, types[i]);
	}
}

int nal_track(const struct nal_sets *sets, struct eng_track *out)
{
	bool avc = sets->codec == ENG_CODEC_H264;
	const struct nal_set *sps = first_set(sets, avc ? NAL_AVC_SPS : NAL_HEVC_SPS);
	const struct nal_set *pps = first_set(sets, avc ? NAL_AVC_PPS : NAL_HEVC_PPS);
	struct nal_sps v;

	if (!sps || !pps || (!avc && !first_set(sets, NAL_HEVC_VPS)))
		return -ENODATA;
	if (nal_sps_parse(sets->codec, sps->data, sps->bytes, &v))
		return -EINVAL;
	memset(out, 0, sizeof(*out));
	out->codec = sets->codec;
	out->width = (uint16_t)v.width;
	out->height = (uint16_t)v.height;
	struct out o = {out->extradata, out->extradata + sizeof(out->extradata), false};
	if (avc)
		avcc_build(sets, sps, &v, &o);
	else
		hvcc_build(sets, &v, &o);
	if (o.full)
		return -EMSGSIZE;
	out->extradata_bytes = (uint16_t)(o.at - out->extradata);
	return 0;
}

/* ---- ADTS ---- */

int adts_parse(const uint8_t *in, size_t len, struct adts_info *out)
{
	static const uint32_t rates[] = {96000, 88200, 64000, 48000, 44100, 32000, 24000,
	                                 22050, 16000, 12000, 11025, 8000,  7350};
	if (len < 7 || in[0] != 0xff || (in[1] & 0xf6) != 0xf0)
		return -EINVAL;
	unsigned profile = in[2] >> 6, rate = in[2] >> 2 & 15u;
	unsigned channels = (in[2] & 1u) << 2 | in[3] >> 6;
	out->header_bytes = in[1] & 1 ? 7 : 9;
	out->frame_bytes = (in[3] & 3u) << 11 | (unsigned)in[4] << 3 | in[5] >> 5;
	if (rate >= ARRAY_LEN(rates) || out->frame_bytes <= out->header_bytes ||
	    out->frame_bytes > len)
		return -EINVAL;
	if (channels == 0 || (in[6] & 3)) /* layout in the stream; several blocks a frame */
		return -ENOTSUP;
	out->sample_rate = rates[rate];
	out->channels = (uint16_t)(channels == 7 ? 8 : channels);
	out->asc[0] = (uint8_t)((profile + 1) << 3 | rate >> 1);
	out->asc[1] = (uint8_t)(rate << 7 | channels << 3);
	return 0;
}

/* ---- JPEG ---- */

int jpeg_size(const uint8_t *in, size_t len, uint16_t *width, uint16_t *height)
{
	size_t at = 2;

	if (len < 4 || in[0] != 0xff || in[1] != 0xd8)
		return -EINVAL;
	while (len - at >= 9 && in[at] == 0xff) {
		unsigned marker = in[at + 1];
		size_t n = (size_t)in[at + 2] << 8 | in[at + 3];
		/* SOF0..SOF15 but DHT, JPG and DAC */
		if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 &&
		    marker != 0xcc) {
			*height = (uint16_t)(in[at + 5] << 8 | in[at + 6]);
			*width = (uint16_t)(in[at + 7] << 8 | in[at + 8]);
			return *width && *height ? 0 : -EINVAL;
		}
		if (n < 2 || n + 2 > len - at)
			return -EINVAL;
		at += 2 + n;
	}
	return -EINVAL;
}

/*
 * nalsps.c — reads sequence parameter sets of H.264 (7.3.2.1) and H.265 (7.3.2.2) as far as the
 * picture size, and the ids of all parameter sets. Emulation prevention bytes are taken out while
 * reading; a read past the end yields zeros and marks the reader, so no loop depends on the input.
 */
#include "engine/recorder/nal.h"

#include <errno.h>

struct bits {
	const uint8_t *p;
	size_t len, pos; /* bytes */
	unsigned left;   /* bits left in cur */
	unsigned zeros;  /* zero bytes in a row */
	uint8_t cur;
	bool over;
};

static unsigned bit(struct bits *b)
{
	if (b->left == 0) {
		if (b->pos < b->len && b->zeros >= 2 && b->p[b->pos] == 3) {
			b->pos++;
			b->zeros = 0;
		}
		if (b->pos >= b->len) {
			b->over = true;
			return 0;
		}
		b->cur = b->p[b->pos++];
		b->zeros = b->cur ? 0 : b->zeros + 1;
		b->left = 8;
	}
	return b->cur >> --b->left & 1u;
}

static uint32_t u(struct bits *b, unsigned n)
{
	uint32_t v = 0;
	while (n--)
		v = v << 1 | bit(b);
	return v;
}

static uint32_t ue(struct bits *b)
{
	unsigned zeros = 0;
	while (zeros < 32 && !b->over && !bit(b))
		zeros++;
	if (zeros >= 32 || b->over) {
		b->over = true;
		return 0;
	}
	return (UINT32_C(1) << zeros) - 1 + u(b, zeros);
}

static int32_t se(struct bits *b)
{
	uint32_t v = ue(b);
	return v & 1 ? (int32_t)((v + 1) / 2) : -(int32_t)(v / 2);
}

static void avc_scaling_lists(struct bits *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!u(b, 1))
			continue;
		int32_t last = 8, next = 8;
		for (unsigned j = 0; j < (i < 6 ? 16u : 64u) && !b->over; j++) {
			if (next != 0)
				next = (int32_t)(((int64_t)last + se(b)) & 255);
			last = next ? next : last;
		}
	}
}

static void avc_high(struct bits *b, struct nal_sps *s)
{
	s->chroma_format = (uint8_t)(ue(b) & 3);
	if (s->chroma_format == 3)
		u(b, 1);
	s->luma_bits = (uint8_t)(8 + (ue(b) & 7));
	s->chroma_bits = (uint8_t)(8 + (ue(b) & 7));
	u(b, 1);
	if (u(b, 1))
		avc_scaling_lists(b, s->chroma_format == 3 ? 12 : 8);
}

static void avc_order(struct bits *b)
{
	ue(b); /* log2_max_frame_num_minus4 */
	uint32_t type = ue(b);
	if (type == 0) {
		ue(b);
	} else if (type == 1) {
		u(b, 1);
		se(b);
		se(b);
		for (uint32_t n = ue(b); n > 0 && !b->over; n--)
			se(b);
	}
}

/* Size less cropping; false when nothing would be left or it cannot be. */
static bool crop(struct nal_sps *s, uint64_t w, uint64_t h, const uint32_t edge[4], unsigned ux,
                 unsigned uy)
{
	uint64_t dx = ((uint64_t)edge[0] + edge[1]) * ux, dy = ((uint64_t)edge[2] + edge[3]) * uy;
	if (dx >= w || dy >= h || w > UINT16_MAX || h > UINT16_MAX)
		return false;
	s->width = (uint32_t)(w - dx);
	s->height = (uint32_t)(h - dy);
	return true;
}

static int avc_sps(struct bits *b, struct nal_sps *s)
{
	u(b, 8); /* NAL header */
	uint32_t profile = u(b, 8);
	u(b, 16); /* constraints, level */
	s->id = (uint8_t)ue(b);
	s->chroma_format = 1;
	s->luma_bits = s->chroma_bits = 8;
	if (profile == 100 || profile == 110 || profile == 122 || profile == 244 || profile == 44 ||
	    profile == 83 || profile == 86 || profile == 118 || profile == 128)
		avc_high(b, s);
	avc_order(b);
	ue(b); /* max_num_ref_frames */
	u(b, 1);
	uint64_t w = ((uint64_t)ue(b) + 1) * 16, h = ((uint64_t)ue(b) + 1) * 16;
	uint32_t frames_only = u(b, 1), edge[4] = {0, 0, 0, 0};
	if (!frames_only) {
		h *= 2;
		u(b, 1);
	}
	u(b, 1); /* direct_8x8_inference */
	if (u(b, 1))
		for (int i = 0; i < 4; i++)
			edge[i] = ue(b);
	unsigned ux = s->chroma_format == 1 || s->chroma_format == 2 ? 2 : 1;
	unsigned uy = (s->chroma_format == 1 ? 2 : 1) * (frames_only ? 1 : 2);
	return b->over || !crop(s, w, h, edge, ux, uy) ? -EINVAL : 0;
}

static void hevc_ptl(struct bits *b, unsigned layers_minus1, uint8_t ptl[12])
{
	bool profile[8] = {false}, level[8] = {false};

	for (int i = 0; i < 12; i++)
		ptl[i] = (uint8_t)u(b, 8);
	for (unsigned i = 0; i < layers_minus1; i++) {
		profile[i] = u(b, 1);
		level[i] = u(b, 1);
	}
	for (unsigned i = layers_minus1; layers_minus1 > 0 && i < 8; i++)
		u(b, 2);
	for (unsigned i = 0; i < layers_minus1; i++) {
		for (int n = 0; profile[i] && n < 11; n++)
			u(b, 8);
		if (level[i])
			u(b, 8);
	}
}

static int hevc_sps(struct bits *b, struct nal_sps *s)
{
	uint32_t edge[4] = {0, 0, 0, 0};

	u(b, 16 + 4); /* NAL header, vps id */
	unsigned layers_minus1 = u(b, 3);
	s->layers = (uint8_t)(layers_minus1 + 1);
	s->nesting = (uint8_t)u(b, 1);
	if (layers_minus1 > 6)
		return -EINVAL;
	hevc_ptl(b, layers_minus1, s->ptl);
	s->id = (uint8_t)ue(b);
	s->chroma_format = (uint8_t)(ue(b) & 3);
	if (s->chroma_format == 3)
		u(b, 1);
	uint64_t w = ue(b), h = ue(b);
	if (u(b, 1))
		for (int i = 0; i < 4; i++)
			edge[i] = ue(b);
	s->luma_bits = (uint8_t)(8 + (ue(b) & 7));
	s->chroma_bits = (uint8_t)(8 + (ue(b) & 7));
	unsigned ux = s->chroma_format == 1 || s->chroma_format == 2 ? 2 : 1;
	unsigned uy = s->chroma_format == 1 ? 2 : 1;
	return b->over || !crop(s, w, h, edge, ux, uy) ? -EINVAL : 0;
}

int nal_sps_parse(uint16_t codec, const uint8_t *nal, size_t len, struct nal_sps *out)
{
	struct bits b = {.p = nal, .len = len};
	memset(out, 0, sizeof(*out));
	return codec == ENG_CODEC_H264 ? avc_sps(&b, out) : hevc_sps(&b, out);
}

int nal_set_id(uint16_t codec, const uint8_t *nal, size_t len)
{
	struct bits b = {.p = nal, .len = len};
	struct nal_sps sps;
	unsigned type;

	if (len < 3)
		return -EINVAL;
	type = nal_type(codec, nal);
	if (type == NAL_AVC_SPS || type == NAL_HEVC_SPS)
		return nal_sps_parse(codec, nal, len, &sps) ? -EINVAL : sps.id;
	u(&b, codec == ENG_CODEC_H264 ? 8 : 16);
	uint32_t id = type == NAL_HEVC_VPS ? u(&b, 4) : ue(&b);
	return b.over || id > 255 ? -EINVAL : (int)id;
}

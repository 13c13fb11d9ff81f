/*
 * nal.h — H.264/H.265 and ADTS as sources send them → the form a store keeps. Pure, bounds first.
 *
 * NAL units pass untouched (start codes become 4-byte lengths); parameter sets stay in the frames
 * and are also collected, by kind and id, so that avcC/hvcC can be built and a change be seen.
 */
#ifndef CUSTOS_NAL_H
#define CUSTOS_NAL_H

#include "engine/engine.h"

/* The next NAL unit of an Annex B byte stream from *pos on; trailing zero bytes belong to none.
 * False at the end. *pos starts at 0. */
bool nal_next_annexb(const uint8_t *buf, size_t len, size_t *pos, const uint8_t **nal,
                     size_t *nal_len);
/* The same over NAL units with big-endian lengths of length_bytes (1, 2 or 4). A length that
 * does not fit ends the walk with *bad set. */
bool nal_next_length(const uint8_t *buf, size_t len, unsigned length_bytes, size_t *pos,
                     const uint8_t **nal, size_t *nal_len, bool *bad);
bool nal_is_annexb(const uint8_t *buf, size_t len);

#define NAL_SETS_MAX      16
#define NAL_SET_BYTES_MAX 512
struct nal_sets {       /* parameter sets in force */
	uint16_t codec; /* ENG_CODEC_H264 or ENG_CODEC_H265 */
	unsigned n;
	bool changed; /* since the caller cleared it */
	struct nal_set {
		uint8_t type; /* nal_unit_type */
		uint8_t id;
		uint16_t bytes;
		uint8_t data[NAL_SET_BYTES_MAX];
	} set[NAL_SETS_MAX];
};
struct nal_info {
	unsigned units, slices;
	bool key; /* IDR, or IRAP of H.265 */
};
/* Rewrites one access unit (length_bytes 0: Annex B) with 4-byte lengths into out[out_max],
 * learning parameter sets. Returns the bytes written, or -EINVAL (no or broken NAL units),
 * -EMSGSIZE. */
ssize_t nal_convert(struct nal_sets *sets, const uint8_t *in, size_t len, unsigned length_bytes,
                    uint8_t *out, size_t out_max, struct nal_info *info) MUST_CHECK;
/* Learns from container extradata: avcC, hvcC, or Annex B. *length_bytes gets 0 for Annex B.
 * -EINVAL. */
int nal_extradata(struct nal_sets *sets, const uint8_t *in, size_t len,
                  unsigned *length_bytes) MUST_CHECK;
/* Fills codec, extradata, width and height of a track. -ENODATA: sets are missing as yet; -EINVAL:
 * an SPS that cannot be understood; -EMSGSIZE: more than a store holds. */
int nal_track(const struct nal_sets *sets, struct eng_track *out) MUST_CHECK;

/* One ADTS frame: header bytes to strip, and its AudioSpecificConfig. -EINVAL: not ADTS;
 * -ENOTSUP: channel layout given in the stream. */
struct adts_info {
	unsigned header_bytes, frame_bytes;
	uint32_t sample_rate;
	uint16_t channels;
	uint8_t asc[2];
};
int adts_parse(const uint8_t *in, size_t len, struct adts_info *out) MUST_CHECK;

/* Picture size from a JPEG's frame header. -EINVAL. */
int jpeg_size(const uint8_t *in, size_t len, uint16_t *width, uint16_t *height) MUST_CHECK;

/* Private to nal*.c: what an SPS says. -EINVAL. */
struct nal_sps {
	uint32_t width, height;
	uint8_t id, chroma_format, luma_bits, chroma_bits;
	uint8_t ptl[12];         /* H.265: general profile, tier, level */
	uint8_t layers, nesting; /* H.265: max_sub_layers, temporal_id_nesting */
};
int nal_sps_parse(uint16_t codec, const uint8_t *nal, size_t len, struct nal_sps *out) MUST_CHECK;
/* Id of a parameter set, or -EINVAL. */
int nal_set_id(uint16_t codec, const uint8_t *nal, size_t len) MUST_CHECK;
enum {
	NAL_AVC_IDR = 5,
	NAL_AVC_SPS = 7,
	NAL_AVC_PPS = 8,
	NAL_HEVC_IRAP_FIRST = 16,
	NAL_HEVC_IRAP_LAST = 23,
	NAL_HEVC_VPS = 32,
	NAL_HEVC_SPS = 33,
	NAL_HEVC_PPS = 34,
};
static inline unsigned nal_type(uint16_t codec, const uint8_t *nal)
{
	return codec == ENG_CODEC_H264 ? nal[0] & 0x1fu : nal[0] >> 1 & 0x3fu;
}

#endif

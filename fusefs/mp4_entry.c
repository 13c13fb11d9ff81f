/*
 * mp4_entry.c — the stsd box: how a track's codec and its configuration are told to players.
 * Apart from mp4.c because this is where a new codec comes in, and nothing else changes then.
 */
#include "fusefs/mp4_box.h"

enum { STSD_HEAD = 16, VIDEO_ENTRY = 86, AUDIO_ENTRY = 36, ESDS_FIXED = 12 + 8 + 18 + 6 };

/* objectTypeIndication and streamType of the esds box (ISO/IEC 14496-1). */
enum { OTI_AAC = 0x40, OTI_JPEG = 0x6c, STREAM_VISUAL = 0x11, STREAM_AUDIO = 0x15 };

bool mp4_codec_known(uint16_t codec)
{
	switch (codec) {
	case ENG_CODEC_H264:
	case ENG_CODEC_H265:
	case ENG_CODEC_MJPEG:
	case ENG_CODEC_AAC:
	case ENG_CODEC_ALAW:
	case ENG_CODEC_ULAW:
		return true;
	default:
		return false;
	}
}

static uint64_t esds_bytes(uint16_t extradata_bytes)
{
	return ESDS_FIXED + (extradata_bytes ? 5u + extradata_bytes : 0u);
}

uint64_t mp4_stsd_bytes(const struct eng_track *t)
{
	switch (t->codec) {
	case ENG_CODEC_H264:
	case ENG_CODEC_H265:
		return STSD_HEAD + VIDEO_ENTRY + 8u + t->extradata_bytes;
	case ENG_CODEC_MJPEG:
		return STSD_HEAD + VIDEO_ENTRY + esds_bytes(0);
	case ENG_CODEC_AAC:
		return STSD_HEAD + AUDIO_ENTRY + esds_bytes(t->extradata_bytes);
	default:
		return STSD_HEAD + AUDIO_ENTRY;
	}
}

/* Descriptor lengths always in the four-byte form, so that sizes do not depend on them. */
static void put_descriptor(struct box_out *o, uint8_t tag, uint32_t len)
{
	put8(o, tag);
	put8(o, (uint8_t)(0x80 | (len >> 21 & 0x7f)));
	put8(o, (uint8_t)(0x80 | (len >> 14 & 0x7f)));
	put8(o, (uint8_t)(0x80 | (len >> 7 & 0x7f)));
	put8(o, (uint8_t)(len & 0x7f));
}

static void put_esds(struct box_out *o, uint8_t object, uint8_t stream, const void *config,
                     uint16_t config_bytes)
{
	size_t at = full_begin(o, "esds", 0, 0);
	uint32_t config_all = config_bytes ? 5u + config_bytes : 0u;

	put_descriptor(o, 3, 3 + 5 + 13 + config_all + 5 + 1);
	put16(o, 0); /* ES_ID */
	put8(o, 0);
	put_descriptor(o, 4, 13 + config_all);
	put8(o, object);
	put8(o, stream);
	put_zero(o, 3 + 4 + 4); /* buffer size, greatest and mean bit rate: not stated */
	if (config_bytes) {
		put_descriptor(o, 5, config_bytes);
		put_bytes(o, config, config_bytes);
	}
	put_descriptor(o, 6, 1);
	put8(o, 2); /* SL: reserved for MP4 files */
	box_end(o, at);
}

static void put_config(struct box_out *o, const char type[5], const struct eng_track *t)
{
	size_t at = box_begin(o, type);

	put_bytes(o, t->extradata, t->extradata_bytes);
	box_end(o, at);
}

static void put_video_entry(struct box_out *o, const char type[5], const struct eng_track *t)
{
	size_t at = box_begin(o, type);

	put_zero(o, 6);
	put16(o, 1); /* data reference */
	put_zero(o, 16);
	put16(o, t->width);
	put16(o, t->height);
	put32(o, 0x00480000); /* 72 dpi */
	put32(o, 0x00480000);
	put32(o, 0);
	put16(o, 1); /* frames in a sample */
	put_zero(o, 32);
	put16(o, 24); /* depth */
	put16(o, 0xffff);
	if (t->codec == ENG_CODEC_H264)
		put_config(o, "avcC", t);
	else if (t->codec == ENG_CODEC_H265)
		put_config(o, "hvcC", t);
	else
		put_esds(o, OTI_JPEG, STREAM_VISUAL, NULL, 0);
	box_end(o, at);
}

static void put_audio_entry(struct box_out *o, const char type[5], const struct eng_track *t)
{
	size_t at = box_begin(o, type);

	put_zero(o, 6);
	put16(o, 1); /* data reference */
	put_zero(o, 8);
	put16(o, t->channels);
	put16(o, 16);
	put32(o, 0);
	/* 16.16; a rate that does not fit is told by mdhd and the codec's configuration. */
	put32(o, t->sample_rate <= 0xffff ? t->sample_rate << 16 : 0);
	if (t->codec == ENG_CODEC_AAC)
		put_esds(o, OTI_AAC, STREAM_AUDIO, t->extradata, t->extradata_bytes);
	box_end(o, at);
}

void mp4_stsd_put(struct box_out *o, const struct eng_track *t)
{
	size_t at = full_begin(o, "stsd", 0, 0);

	put32(o, 1);
	switch (t->codec) {
	case ENG_CODEC_H264:
		put_video_entry(o, "avc1", t);
		break;
	case ENG_CODEC_H265:
		put_video_entry(o, "hvc1", t);
		break;
	case ENG_CODEC_MJPEG:
		put_video_entry(o, "mp4v", t);
		break;
	case ENG_CODEC_AAC:
		put_audio_entry(o, "mp4a", t);
		break;
	case ENG_CODEC_ALAW:
		put_audio_entry(o, "alaw", t);
		break;
	default:
		put_audio_entry(o, "ulaw", t);
		break;
	}
	box_end(o, at);
}

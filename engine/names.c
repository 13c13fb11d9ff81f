/*
 * names.c — the words for the numbers that are on disk. Machine-readable output shows them, so they
 * never change either.
 */
#include "engine/engine.h"

const char *eng_codec_name(uint16_t codec)
{
	switch (codec) {
	case ENG_CODEC_H264:
		return "h264";
	case ENG_CODEC_H265:
		return "h265";
	case ENG_CODEC_MJPEG:
		return "mjpeg";
	case ENG_CODEC_AAC:
		return "aac";
	case ENG_CODEC_ALAW:
		return "alaw";
	case ENG_CODEC_ULAW:
		return "ulaw";
	default:
		return "?";
	}
}

const char *eng_reason_name(uint16_t reason)
{
	static const char *const names[] = {
	        [ENG_REASON_NONE] = "none",
	        [ENG_REASON_FIRST] = "first",
	        [ENG_REASON_UNREACHABLE] = "unreachable",
	        [ENG_REASON_STALLED] = "stalled",
	        [ENG_REASON_AUTH] = "auth",
	        [ENG_REASON_PARAMETERS] = "parameters",
	        [ENG_REASON_DISK_SLOW] = "disk-slow",
	        [ENG_REASON_STORE_FULL] = "store-full",
	        [ENG_REASON_OPERATOR] = "operator",
	        [ENG_REASON_SCHEDULE] = "schedule",
	        [ENG_REASON_RESTART] = "restart",
	        [ENG_REASON_CLOCK_STEP] = "clock-step",
	        [ENG_REASON_SOURCE_END] = "source-end",
	        [ENG_REASON_INGEST_CRASH] = "ingest-crash",
	        [ENG_REASON_DISCONTINUITY] = "discontinuity",
	        [ENG_REASON_BAD_DATA] = "bad-data",
	};
	_Static_assert(ARRAY_LEN(names) == ENG_REASON_MAX, "every reason has a name");

	return reason < ARRAY_LEN(names) ? names[reason] : "?";
}

/*
 * mp4.h — the layout of a virtual file: classic MP4 boxes and sizes out of sample tables.
 *
 * Pure: no I/O, no clock, no locale, no globals; the same arguments give the same bytes on every
 * machine. Layout version 1 is specified at the head of mp4.c. Thread-safe, never blocks.
 */
#ifndef CUSTOS_MP4_H
#define CUSTOS_MP4_H

#include "engine/engine.h"

/* What a track has in the file. Header and file size follow from these numbers alone. */
struct mp4_counts {
	uint64_t samples;
	uint64_t keys;   /* of a video track; ignored for audio */
	uint64_t chunks; /* store chunks with at least one sample of the track */
	uint64_t bytes;
};
struct mp4_sample {
	int64_t time_ns, dts_ns;
	uint32_t duration_ns, size_bytes;
	bool key;
};
/* How many samples of each track one store chunk gave; mdat holds them in this order: chunk by
 * chunk, in each chunk track 0 first. */
struct mp4_chunk {
	uint32_t samples[ENG_TRACKS_MAX];
};
struct mp4_file {
	const struct eng_setup *setup;
	int64_t origin_ns; /* zero of the timeline: the first sample of track 0; creation time */
	struct mp4_counts count[ENG_TRACKS_MAX];
	const struct mp4_sample *sample[ENG_TRACKS_MAX]; /* decode order, none before origin_ns */
	const struct mp4_chunk *chunk;
	size_t n_chunks;
};

/* 0 when a file can be made of this setup; -ENOTSUP: a codec, track order or number that this
 * layout does not know. To be asked before the functions below. */
int mp4_check(const struct eng_setup *setup) MUST_CHECK;
/* Bytes before the first sample, and of the whole file. */
uint64_t mp4_header_bytes(const struct eng_setup *setup,
                          const struct mp4_counts count[ENG_TRACKS_MAX]);
uint64_t mp4_file_bytes(const struct eng_setup *setup,
                        const struct mp4_counts count[ENG_TRACKS_MAX]);
/* Everything before the first sample: ftyp, moov, the head of mdat; exactly mp4_header_bytes(),
 * malloc'ed. -EINVAL: counts, tables and chunks contradict each other; -EFBIG: tables beyond what
 * a moov can hold; -ENOTSUP; -ENOMEM. */
int mp4_header(const struct mp4_file *f, uint8_t **out, size_t *len) MUST_CHECK;

#endif

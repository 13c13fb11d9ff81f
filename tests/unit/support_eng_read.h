/*
 * support_eng_read.h — helpers of the tests of format, catalog, reader and verify (test_eng_*.c).
 */
#ifndef CUSTOS_SUPPORT_ENG_READ_H
#define CUSTOS_SUPPORT_ENG_READ_H

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "engine/catalog.h"

/* ---- random, replayable: prints its seed; $SEED replays ---- */

struct kit_random {
	uint64_t state;
};
struct kit_random kit_random_open(void);
uint64_t kit_random(struct kit_random *r);
/* Content of frame number n: the same bytes every time. */
void kit_fill(uint64_t n, void *out, size_t len);

/* ---- stores ---- */

#define KIT_SEGMENT (4 * MIB)
#define KIT_T0      INT64_C(1763800000000000000)
#define KIT_STEP    (40 * NSEC_PER_MSEC)

struct kit_store {
	char dir[PATH_MAX];
	struct fmt_superblock sb;
};
/* A fresh folder below $TMPDIR or /tmp, and a store of n segments of 4 MiB in it. */
void kit_store_make(struct kit_store *s, unsigned segments);
void kit_store_remove(struct kit_store *s);
/* Flips bits `mask` of one byte of a segment file. */
void kit_flip(const struct kit_store *s, uint64_t segment, uint64_t offset, uint8_t mask);

/* The synchronous device, leaves on, 1 s. */
struct eng_writer *kit_writer_open(const struct kit_store *s);
struct eng_reader *kit_reader_open(const struct kit_store *s);
/* H.264 1920×1080 with some extradata; with audio: AAC beside it. */
void kit_setup(struct eng_setup *setup, bool audio);
/* Appends video frames [first, first + n) of `size` bytes, a key frame every 25, then syncs. Frame
 * i: time KIT_T0 + i steps, content kit_fill(i). */
void kit_append(struct eng_writer *w, struct eng_stream *s, unsigned first, unsigned n,
                uint32_t size);
/* Reads all frames of these chunks and checks them against kit_fill; returns how many. */
unsigned kit_check_frames(struct eng_reader *r, const struct eng_chunk *c, size_t n);

/* ---- blocks made by hand ---- */

/* A whole chunk in memory, valid, with these video frames. Fill h.store, stream, epoch, c.segment,
 * generation, sequence, run, flags, reasons, prev_digest and c.cum before; the rest is made here.
 */
struct kit_chunk {
	struct fmt_chunk h;
	uint8_t *bytes; /* h.c.total_bytes, malloc'ed */
};
void kit_chunk_make(struct kit_chunk *c, unsigned first_frame, unsigned n, uint32_t size);

/* A segment file made by hand: header, chunks, footer, catalog entry. */
struct kit_segment {
	const struct kit_store *store;
	struct segment_walk walk;
	uint8_t *entries;
	uint8_t (*roots)[FMT_LEAF_BYTES];
	int fd;
};
void kit_segment_begin(struct kit_segment *g, const struct kit_store *s, uint64_t number,
                       const char *camera);
/* A chunk of n frames with this sequence and run (a run's start where they are equal). */
void kit_segment_chunk(struct kit_segment *g, uint64_t sequence, uint64_t run, unsigned first_frame,
                       unsigned n, uint32_t size);
/* Writes the footer when state is SEALED, puts the catalog entry. */
void kit_segment_end(struct kit_segment *g, enum fmt_state state);

#endif

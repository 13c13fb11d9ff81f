/*
 * ring.h — shared-memory ring from an ingest child to the recorder: one producer, one consumer.
 *
 * The child parses what cameras send and may be taken over by it. So the consumer believes nothing
 * it finds in the shared memory: it keeps its own read position, checks every header on a private
 * copy, copies every payload out exactly once and never looks at shared bytes again. Whatever the
 * child writes, before or after publishing, can only make ring_get() return -EUCLEAN.
 *
 * LAYOUT of the memfd (little-endian; sealed against growing and shrinking)
 *
 *   off  size
 *     0     8  magic "CUSTRNG1"
 *     8     8  data bytes D (power of two)
 *    64     8  head: bytes ever published, written by the producer (atomic, release)
 *   128     8  tail: bytes ever consumed, written by the consumer (atomic, release)
 *  4096     D  data; position p lies at 4096 + p mod D; records are 64-aligned and may wrap
 *
 * RECORD: header (64) | payload | padding to 64
 *
 *     0     4  magic 0x43525243 ("CRRC")
 *     4     1  kind (enum ring_kind)      5  1  track      6  1  flags (ENG_FRAME_*)   7  1  zero
 *     8     4  payload bytes             12  4  FRAME: duration ns; END: enum eng_reason
 *    16     8  sequence: 1, 2, 3 … without holes
 *    24     8  FRAME: time ns; SETUP: time of the first frame
 *    32     8  FRAME: dts ns;  SETUP: expected end of the stream, or ENG_NO_TIME
 *    40    24  zero
 *
 *   SETUP payload: 2 tracks, then per track: 2 codec, 2 width, 2 height, 2 channels, 4 sample rate,
 *   2 extradata bytes, extradata. END and NOTE payload: UTF-8 text, at most RING_TEXT_MAX.
 *   SKIP has no payload of its own: the bytes up to the next multiple of D are passed over, unread.
 *   The producer emits it when the ring is empty, so that a quiet camera touches few pages.
 */
#ifndef CUSTOS_RING_H
#define CUSTOS_RING_H

#include "engine/engine.h"

#define RING_BYTES_DEFAULT (32 * MIB)
#define RING_TEXT_MAX      512
#define RING_HEADER        64u
#define RING_DATA_AT       4096u

enum ring_kind {
	RING_SETUP = 1, /* a run may begin: codec setup; a later one ends the run before it */
	RING_FRAME = 2,
	RING_END = 3,  /* the run has ended, why */
	RING_NOTE = 4, /* one line for people */
	RING_SKIP = 5, /* never returned */
};

struct ring_record {
	enum ring_kind kind;
	enum eng_reason reason;   /* END */
	struct eng_frame frame;   /* FRAME; data valid until the next ring_get() */
	struct eng_setup setup;   /* SETUP */
	int64_t first_ns, end_ns; /* SETUP */
	char text[RING_TEXT_MAX]; /* END, NOTE: NUL-terminated, well-formed UTF-8 */
};

struct ring;

/* Consumer: makes memory and eventfds (close-on-exec). bytes: a power of two that holds the largest
 * frame; 0: the default. -EINVAL, -ENOMEM, -errno. */
int ring_create(uint64_t bytes, struct ring **out) MUST_CHECK;
/* Producer: maps what it inherited; takes the descriptors. -EINVAL: not a ring. */
int ring_attach(int mem_fd, int data_fd, int space_fd, struct ring **out) MUST_CHECK;
void ring_close(struct ring *r);
int ring_mem_fd(const struct ring *r);
int ring_data_fd(const struct ring *r);  /* readable: something was published */
int ring_space_fd(const struct ring *r); /* readable: something was consumed */

/* Consumer, never blocks: 1 and *out; 0 nothing there; -EUCLEAN: the producer breaks the rules
 * (kill it; the ring is of no further use); -ENOMEM. ring_drained() empties data_fd before a pass.
 */
int ring_get(struct ring *r, struct ring_record *out) MUST_CHECK;
void ring_drained(struct ring *r);

/* Producer, one thread: publishes one record, waiting for space up to timeout_ns. -EAGAIN: none;
 * -EMSGSIZE: larger than ENG_FRAME_MAX or the ring; -EINVAL: a setup that no store can hold. */
int ring_put(struct ring *r, const struct ring_record *rec, int64_t timeout_ns) MUST_CHECK;

/* 0 when a store can hold it: 1 or 2 known codecs, one a kind, video first, sizes in bounds. */
int ring_setup_check(const struct eng_setup *s) MUST_CHECK;

#endif

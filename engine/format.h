/*
 * format.h — the on-disk format of a custos store, version 1. Normative: a second reader can be
 * written from this file alone.
 *
 * All integers are little-endian; times are UTC nanoseconds (int64); "xxh" is XXH3-128 with seed 0,
 * stored as its canonical 16 bytes (big-endian, as XXH128_canonicalFromHash gives); reserved bytes
 * are zero and must be zero when read.
 *
 * FOLDER
 *
 *   store            superblock, 4096 bytes, written once by `custos init`
 *   epoch            writer epoch, two slots of 4096 bytes
 *   catalog          cache of the segments' states, mmap'ed by everyone; rebuildable
 *   lock             flock'ed by the one writer
 *   policy.snapshot  newest policy snapshot accepted (signed note; written by the recorder)
 *   seg/NNNNN/NNNNNNNNNN   segment number %010u in folder number/1024 %05u; all of equal size
 *
 * SUPERBLOCK ("store") and EPOCH SLOT
 *
 *   off size superblock                    off size epoch slot
 *     0    8 magic "CUSTORE1"                0    8 magic "CUSTEPO1"
 *     8    4 version = 1                     8    8 epoch (starts at 1)
 *    12    4 flags (FMT_STORE_*)            16   16 store uuid
 *    16   16 store uuid                     32    8 time raised
 *    32    8 segment bytes                  40 4040 reserved
 *    40    8 segment count                4080   16 xxh of [0, 4080)
 *    48    8 time made
 *    56 4024 reserved                     Of two valid slots the larger epoch holds; the other is
 *  4080   16 xxh of [0, 4080)             overwritten next. None valid: the store is damaged.
 *
 * SEGMENT
 *
 *   0            4096                                   body            S-4096          S
 *   +------------+---------+---------+-----+------------+---------------+---------------+
 *   | header     | chunk 0 | chunk 1 | ... | not footage| footer body   | footer trailer|
 *   +------------+---------+---------+-----+------------+---------------+---------------+
 *
 *   Chunks follow each other without holes, each 4096-aligned. Bytes behind the last committed
 *   chunk are zeros, older generations or torn writes: never footage. Footer body and trailer are
 *   written together at seal. A chunk is accepted by the writer only if the footer still fits
 *   behind it (fmt_footer_bytes(n + 1) with n chunks already there).
 *
 * SEGMENT HEADER, 4096 bytes
 *
 *     0    8 magic "CUSTSEG1"
 *     8    4 version = 1
 *    12    4 flags (FMT_SEG_*)
 *    16   16 store uuid
 *    32    8 segment number
 *    40    8 generation (>= 1; raised at each recycle)
 *    48   16 stream uuid
 *    64    8 segment bytes
 *    72    8 writer epoch
 *    80    8 time made (wall clock)
 *    88    2 length of the camera's name, 90 the name (UTF-8, no NUL, at most 127), to 218
 *   218    2 number of tracks (1 or 2)
 *   220    4 reserved
 *   224   32 key id: reserved for encryption (zero when FMT_SEG_ENCRYPTED is not set)
 *   256      tracks, 1912 bytes each:
 *            track k at 256 + k * 1912:
 *              0 2 codec   2 2 width   4 2 height   6 2 channels   8 4 sample rate
 *             12 2 extradata bytes (at most FMT_EXTRADATA_MAX = 1896)   14 2 reserved   16 … bytes
 *  4080   16 xxh of [0, 4080)
 *
 * CHUNK: header (512) | unit table | frame table | zeros to 64 | payload | zeros to 4096
 *
 *     0    8 magic "CUSTCHK1"
 *     8    4 payload offset from the chunk's start (multiple of 64)
 *    12    4 total bytes (multiple of 4096, at most 16 MiB + 64 KiB)
 *    16   16 store uuid
 *    32   16 stream uuid
 *    48    8 segment number
 *    56    8 generation
 *    64    8 sequence: starts at 1 for a stream; +1 inside a segment; rises over the stream
 *    72    8 writer epoch (never falls inside a segment)
 *    80    8 nonce counter of unit 0 (reserved for encryption, else 0)
 *    88    4 flags (FMT_CHUNK_*)
 *    92    4 estimated clock error in microseconds, 0xffffffff unknown
 *    96    8 run: sequence of the run's first chunk
 *   104    2 start reason (with RUN_START), 106 2 end reason (with RUN_END), enum eng_reason
 *   108    4 frames
 *   112    8 first time, 120 8 end (greatest time + duration); both ENG_NO_TIME without frames
 *   128    8 CLOCK_BOOTTIME when closed, 136 8 wall clock when closed
 *   144   16 xxh of the previous chunk's header bytes [0, 512); for the first chunk of a segment,
 *            of the segment header's bytes [0, 4096)
 *   160   32 leaf salt seed (random; zero without leaves)
 *   192   32 Merkle root over the leaves (RFC 6962 over the 32-byte leaves; SHA-256("") of no
 *            frames; zero without FMT_CHUNK_LEAVES)
 *   224    4 payload bytes
 *   228    4 units = ceil(payload bytes / 65536)
 *   232    4 bytes of a frame entry: 32, or 64 with leaves
 *   236    4 reserved
 *   240    8 first video key frame's time (first frame's when the setup has no video), or NO_TIME
 *   248    8 reserved
 *   256   64 two tracks of 32: 0 4 frames, 4 4 key frames, 8 4 bytes, 12 4 reserved,
 *            16 8 least presentation time, 24 8 greatest (NO_TIME both when it has no frames)
 *   320   48 two tracks of 24, totals of this segment before this chunk:
 *            0 4 frames, 4 4 key frames, 8 4 chunks with frames of it, 12 4 reserved, 16 8 bytes
 *   368  112 reserved
 *   480   16 xxh of the tables [512, payload offset)
 *   496   16 xxh of [0, 496)
 *
 *   unit entry, 32:  0 16 xxh of the unit's stored bytes, 16 16 AES-GCM tag (zero when clear)
 *   frame entry:     0 8 time, 8 8 dts, 16 4 size, 20 4 duration ns, 24 1 track, 25 1 flags
 *                    (ENG_FRAME_*), 26 6 reserved [, 32 32 leaf]
 *   leaf = SHA-256(0x00 ‖ salt ‖ entry bytes [0, 32) ‖ frame bytes), salt = the first 16 bytes of
 *          SHA-256(seed ‖ index le32). Publishing a frame's salt reveals no other frame.
 *   Payload: frames grouped by track, track 0 first, each track in decode order; the table has the
 *   same order; sizes sum to payload bytes. A chunk of 0 frames carries only RUN_END.
 *   Payload offset and total bytes follow from the counts (fmt_payload_offset, then to 4096).
 *   RUN_START is set exactly when run = sequence; a reason is 0 without its flag.
 *
 * STREAM UUID = SHA-256(store uuid ‖ kind ‖ camera's name)[0, 16), kind one byte: 0 live,
 *   1 imported; then the bits of RFC 9562 version 8 (byte 6: 1000xxxx, byte 8: 10xxxxxx).
 *
 * FOOTER: body = n entries of 192, padded with zeros to 4096; trailer = last 4096 bytes
 *
 *   entry: 0 4 offset, 4 4 total, 8 4 payload offset, 12 4 payload bytes, 16 8 sequence, 24 8 run,
 *          32 4 flags, 36 2 start reason, 38 2 end reason, 40 8 first, 48 8 end, 56 8 first key,
 *          64 64 tracks as in the chunk, 128 48 totals as in the chunk, 176 4 frames, 180 12 res.
 *   trailer: 0 8 magic "CUSTFTR1", 8 4 entries, 12 4 body offset, 16 16 store uuid, 32 16 stream
 *          uuid, 48 8 segment number, 56 8 generation, 64 8 time sealed, 72 8 first, 80 8 end,
 *          88 8 first sequence, 96 8 last sequence, 104 8 writer epoch, 112 16 xxh of the last
 *          chunk's header [0, 512), 128 16 xxh of the body (padding included), 144 32 Merkle root
 *          over the chunk roots (zero without leaves), 176 48 totals of the whole segment,
 *          4080 16 xxh of [0, 4080)
 *
 * CATALOG: header page, ring of 4096 le32, entries of 96 bytes at 20480
 *
 *   header: 0 8 magic "CUSTCAT1", 8 4 version, 16 16 store uuid, 32 8 segment count,
 *           40 16 xxh of [0, 40); 64 8 change counter (atomic), 72 4 clean (1: closed in order),
 *           76 4 superseded (1: a rebuilt catalog has taken this one's place; open it again)
 *   ring:   slot (counter mod 4096) names the segment whose entry changed at that counter value;
 *           a reader that is 4096 or more behind rereads everything. A writer that finds the
 *           catalog not clean raises the counter by more than 4096 first.
 *   entry:  0 8 generation, 8 16 stream uuid, 24 1 state (FMT_STATE_*), 25 1 flags (FMT_SEG_*),
 *           26 2 reserved, 28 4 committed bytes (end of the last committed chunk from the segment's
 *           start), 32 8 first time, 40 8 end, 48 4 chunks, 52 4 reserved, 56 8 first sequence,
 *           64 8 last sequence, 72 8 time of the last change of state, 80 8 reserved,
 *           88 8 XXH3-64 of [0, 88) with the segment number as seed.
 *   A reader copies an entry and checks its digest, again until it fits (the writer may be in the
 *   middle of it). A reader believes chunks only up to "committed bytes".
 *
 * VALIDITY — a chunk at offset o of segment s is footage if and only if
 *   V1 the segment header is intact and names this store and this segment number;
 *   V2 magic, bounds and header digest hold; o + total <= S - footer for that many chunks;
 *   V3 store, stream, segment and generation equal the segment header's, and so do the flags
 *      imported, encrypted, leaves;
 *   V4 its previous-header digest equals the header before it (chain), sequence is +1 inside the
 *      segment, epoch does not fall (nor below the segment header's), totals continue;
 *   V5 its table digest holds, sizes and counts add up, payload bytes of every unit match.
 *   Serving a range needs V5's units of that range alone. Catalog and footer are shortcuts to these
 *   facts, never a replacement of V1 and the generation.
 *
 * CRASH ARGUMENT — why what was acknowledged is found again, and nothing else
 *   A chunk is published (catalog) only after a flush that followed its completed write. A crash
 *   leaves after the last published chunk: nothing, stale bytes of another generation (V3), a torn
 *   chunk (V2, V5), a stale chunk of an interrupted earlier attempt (V4: chain and epoch), or a
 *   whole chunk that was never acknowledged (kept: it is true footage). Recovery walks from the
 *   segment's first chunk, stops at the first that fails, flushes, then publishes.
 *   Recycling: the catalog's generation is raised and made durable first, the header is rewritten
 *   at least 2 s later. Between the two a rebuilt catalog would show the old content: true footage
 *   that retention will remove again.
 *
 * HISTORY  1  2026-11: first.
 */
#ifndef CUSTOS_FORMAT_H
#define CUSTOS_FORMAT_H

#include <errno.h>

#include "engine/engine.h"

#define FMT_VERSION               1u
#define FMT_BLOCK                 4096u
#define FMT_UNIT_BYTES            65536u
#define FMT_SEGMENT_MIN           (4 * MIB)
#define FMT_SEGMENT_MAX           (1 * GIB)
#define FMT_CHUNK_TARGET          (1 * MIB) /* a chunk closes here unless one frame is larger */
#define FMT_CHUNK_MAX             (16 * MIB + 64 * KIB) /* tables included */
#define FMT_CHUNK_HEADER          512u
#define FMT_UNIT_ENTRY            32u
#define FMT_FRAME_ENTRY           32u
#define FMT_FRAME_ENTRY_LEAF      64u
#define FMT_FOOTER_ENTRY          192u
#define FMT_EXTRADATA_MAX         ENG_EXTRADATA_MAX
#define FMT_DIGEST_BYTES          16u
#define FMT_LEAF_BYTES            32u
#define FMT_CATALOG_HEADER        56u
#define FMT_CATALOG_CHANGE_AT     64u
#define FMT_CATALOG_CLEAN_AT      72u
#define FMT_CATALOG_SUPERSEDED_AT 76u
#define FMT_CATALOG_RING_AT       4096u
#define FMT_CATALOG_RING          4096u
#define FMT_CATALOG_ENTRIES_AT    20480u
#define FMT_CATALOG_ENTRY         96u

enum { FMT_STORE_ENCRYPTED = 1 };
enum { FMT_SEG_IMPORTED = 1, FMT_SEG_ENCRYPTED = 2, FMT_SEG_LEAVES = 4 };
enum {
	FMT_CHUNK_RUN_START = 1,
	FMT_CHUNK_RUN_END = 2,
	FMT_CHUNK_IMPORTED = 4,
	FMT_CHUNK_CLOCK_SYNCED = 8,
	FMT_CHUNK_ENCRYPTED = 16,
	FMT_CHUNK_LEAVES = 32,
};

/* States of a segment in the catalog.
 *
 *   RAW ──prewrite──▶ READY ──first chunk──▶ OPEN ──seal──▶ SEALED ──retention──▶ RECYCLED
 *                      ▲                      │ write error                          │ 2 s
 *                      └──────────────────────┼──────────────────────────────────────┘
 *                                             ▼
 *                                          RETIRED (readable as far as committed; never reused)
 */
enum fmt_state {
	FMT_STATE_RAW = 0,      /* allocated, never written */
	FMT_STATE_READY = 1,    /* written once, free */
	FMT_STATE_OPEN = 2,     /* a stream writes here */
	FMT_STATE_SEALED = 3,   /* footer in place */
	FMT_STATE_RECYCLED = 4, /* generation raised, waiting to become READY */
	FMT_STATE_RETIRED = 5,  /* device failed here */
	FMT_STATE_MAX
};

struct fmt_superblock {
	uint8_t store[ENG_UUID_BYTES];
	uint32_t flags;
	uint64_t segment_bytes, segment_count;
	int64_t made_ns;
};
struct fmt_epoch {
	uint8_t store[ENG_UUID_BYTES];
	uint64_t epoch;
	int64_t raised_ns;
};
struct fmt_segment {
	uint8_t store[ENG_UUID_BYTES], stream[ENG_UUID_BYTES];
	uint64_t number, generation, segment_bytes, epoch;
	uint32_t flags;
	int64_t made_ns;
	char camera[ENG_CAMERA_MAX];
	struct eng_setup setup;
};
/* A chunk header: the public index part plus what only the engine needs. */
struct fmt_chunk {
	struct eng_chunk c;
	uint8_t store[ENG_UUID_BYTES], stream[ENG_UUID_BYTES];
	uint64_t epoch, nonce;
	uint32_t clock_error_us;
	uint32_t unit_count, frame_entry_bytes; /* follow from c; put ignores them */
	int64_t boot_ns, wall_ns;
	uint8_t prev_digest[FMT_DIGEST_BYTES];
	uint8_t salt_seed[32];
	uint8_t root[FMT_LEAF_BYTES];
	uint8_t table_digest[FMT_DIGEST_BYTES];
};
struct fmt_footer {
	uint8_t store[ENG_UUID_BYTES], stream[ENG_UUID_BYTES];
	uint64_t segment, generation, first_sequence, last_sequence, epoch;
	uint32_t entries, body_offset;
	int64_t sealed_ns, first_ns, end_ns;
	uint8_t last_header_digest[FMT_DIGEST_BYTES];
	uint8_t body_digest[FMT_DIGEST_BYTES];
	uint8_t root[FMT_LEAF_BYTES];
	struct eng_cum total[ENG_TRACKS_MAX];
};
struct fmt_catalog_entry {
	uint64_t generation;
	uint8_t stream[ENG_UUID_BYTES];
	uint8_t state, flags;
	uint32_t committed_bytes, chunks;
	int64_t first_ns, end_ns;
	uint64_t first_sequence, last_sequence;
	int64_t changed_ns;
};

/* All below are pure: no I/O, no allocation, no globals. Encoders fill the whole block, digests
 * included. Decoders trust nothing and return 0 or -EUCLEAN (a second value says why when
 * `why` is not NULL: a static string). They check the block alone; belonging is the caller's. */
static inline int fmt_bad(const char **why, const char *text)
{
	if (why)
		*why = text;
	return -EUCLEAN;
}
void fmt_superblock_put(const struct fmt_superblock *s, uint8_t out[FMT_BLOCK]);
int fmt_superblock_get(const uint8_t in[FMT_BLOCK], struct fmt_superblock *s,
                       const char **why) MUST_CHECK;
void fmt_epoch_put(const struct fmt_epoch *e, uint8_t out[FMT_BLOCK]);
int fmt_epoch_get(const uint8_t in[FMT_BLOCK], struct fmt_epoch *e) MUST_CHECK;
void fmt_segment_put(const struct fmt_segment *s, uint8_t out[FMT_BLOCK]);
int fmt_segment_get(const uint8_t in[FMT_BLOCK], struct fmt_segment *s,
                    const char **why) MUST_CHECK;
/* Chunk header. table_digest must be set already; the header's own digest is made here. */
void fmt_chunk_put(const struct fmt_chunk *c, uint8_t out[FMT_CHUNK_HEADER]);
int fmt_chunk_get(const uint8_t in[FMT_CHUNK_HEADER], struct fmt_chunk *c,
                  const char **why) MUST_CHECK;
void fmt_frame_put(const struct eng_frame_info *f, bool leaf, uint8_t *out);
/* Decodes and checks a whole frame table (V5: sizes, order by track, counts, times). tables points
 * at byte 512 of the chunk and has payload_offset - 512 bytes. out[c->c.frame_count]. */
int fmt_frames_get(const struct fmt_chunk *c, const uint8_t *tables, struct eng_frame_info *out,
                   const char **why) MUST_CHECK;
/* Verifies one unit's stored bytes against its entry in tables. -EUCLEAN. */
int fmt_unit_check(const struct fmt_chunk *c, const uint8_t *tables, uint32_t unit,
                   const uint8_t *bytes, uint32_t len) MUST_CHECK;
void fmt_footer_entry_put(const struct eng_chunk *c, uint8_t out[FMT_FOOTER_ENTRY]);
int fmt_footer_entry_get(const uint8_t in[FMT_FOOTER_ENTRY], uint64_t segment, uint64_t generation,
                         struct eng_chunk *c) MUST_CHECK;
void fmt_footer_put(const struct fmt_footer *f, uint8_t out[FMT_BLOCK]);
int fmt_footer_get(const uint8_t in[FMT_BLOCK], struct fmt_footer *f, const char **why) MUST_CHECK;
/* The fixed part of the catalog's header page: bytes [0, 56); the rest is live. */
void fmt_catalog_header_put(const uint8_t store[ENG_UUID_BYTES], uint64_t count,
                            uint8_t out[FMT_CATALOG_HEADER]);
int fmt_catalog_header_get(const uint8_t in[FMT_CATALOG_HEADER], uint8_t store[ENG_UUID_BYTES],
                           uint64_t *count) MUST_CHECK;
void fmt_catalog_entry_put(const struct fmt_catalog_entry *e, uint64_t segment,
                           uint8_t out[FMT_CATALOG_ENTRY]);
int fmt_catalog_entry_get(const uint8_t in[FMT_CATALOG_ENTRY], uint64_t segment,
                          struct fmt_catalog_entry *e) MUST_CHECK;

/* digest.c */
void fmt_digest(const void *bytes, size_t len, uint8_t out[FMT_DIGEST_BYTES]);
/* Puts or checks the digest of a block's first `covered` bytes right behind them. */
void fmt_seal(uint8_t *block, size_t covered);
bool fmt_sealed(const uint8_t *block, size_t covered) MUST_CHECK;
bool fmt_zero(const uint8_t *bytes, size_t len) MUST_CHECK;
void fmt_leaf(const uint8_t seed[32], uint32_t index, const uint8_t entry[FMT_FRAME_ENTRY],
              const void *frame, size_t len, uint8_t out[FMT_LEAF_BYTES]);
/* RFC 6962 root over n leaves of 32 bytes (already leaf hashes); n = 0 gives SHA-256(""). */
void fmt_merkle_root(const uint8_t (*leaves)[FMT_LEAF_BYTES], size_t n,
                     uint8_t out[FMT_LEAF_BYTES]);
/* SHA-256(store ‖ kind byte ‖ name)[0,16) with RFC 9562 version 8 bits: a stream's identity. */
void fmt_stream_uuid(const uint8_t store[ENG_UUID_BYTES], const char *camera, bool imported,
                     uint8_t out[ENG_UUID_BYTES]);
/* Body plus trailer for n chunks. */
static inline uint64_t fmt_footer_bytes(uint64_t chunks)
{
	return align_up(chunks * FMT_FOOTER_ENTRY, FMT_BLOCK) + FMT_BLOCK;
}
/* Bytes before the payload for so many units and frames. */
static inline uint32_t fmt_payload_offset(uint32_t units, uint32_t frames, uint32_t frame_entry)
{
	return (uint32_t)align_up(FMT_CHUNK_HEADER + (uint64_t)units * FMT_UNIT_ENTRY +
	                                  (uint64_t)frames * frame_entry,
	                          64);
}
/* Stored bytes of one unit: 64 KiB, the last one what is left. */
static inline uint32_t fmt_unit_bytes(const struct eng_chunk *c, uint32_t unit)
{
	uint64_t left = c->payload_bytes - (uint64_t)unit * FMT_UNIT_BYTES;

	return left < FMT_UNIT_BYTES ? (uint32_t)left : FMT_UNIT_BYTES;
}
/* Path of a segment below the store: "seg/00000/0000000001". */
#define FMT_SEGMENT_PATH_MAX 32
void fmt_segment_path(uint64_t number, char out[FMT_SEGMENT_PATH_MAX]);

#endif

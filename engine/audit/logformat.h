/*
 * logformat.h — the on-disk format of an audit log, version 1. Normative: a second reader can be
 * written from this file alone.
 *
 * All integers are little-endian; times are UTC nanoseconds (int64); "xxh" is XXH3-128 with seed 0,
 * stored as its canonical 16 bytes (big-endian); reserved bytes and padding are zero and must be
 * zero when read.
 *
 * FOLDER
 *
 *   NNNNNNNNNN.log   log file number %010u, from 1 without holes; each preallocated and written
 *                    once with zeros before its first use; never shrunk, never reused
 *   next             the coming log file, being zeroed or ready; no content, ignored by readers
 *   lock             write-locked (OFD lock) by the one writer while it lives
 *   checkpoint       newest signed checkpoint (C2SP signed note, tlog-checkpoint body)
 *   checkpoints      kept ones, oldest first, notes one after the other without anything between
 *
 * LOG FILE: header (4096) | group | group | … | zeros
 *
 *   Groups follow each other without holes, each begins at a multiple of 512 and is followed by
 *   zeros up to the next. A group that does not fit any more begins the next file. A zero head
 *   means: no further group in this file.
 *
 *   header
 *     0    8 magic "CUSTLOG1"
 *     8    4 version = 1
 *    12    4 reserved
 *    16    8 number of this file (as in its name)
 *    24    8 bytes of this file
 *    32    8 number of its first group
 *    40    8 sequence number of its first record
 *    48   32 leaf hash of the group before the first (zero in file 1)
 *    80    2 length of the origin, 82 the origin (UTF-8, at most 126), to 208
 *   208 3872 reserved
 *  4080   16 xxh of [0, 4080)
 *
 * GROUP: head (128) | records
 *
 *   What one commit wrote: one write, one flush. A group is one leaf of the log's Merkle tree:
 *   leaf = SHA-256(0x00 ‖ head ‖ records), padding to 512 not included (RFC 6962).
 *
 *     0    8 magic "CUSTGRP1"
 *     8    8 number: 1, 2, 3 … over all files (leaf index + 1)
 *    16    8 sequence number of its first record
 *    24    4 records (at least 1)
 *    28    4 bytes of the records (at most 1 MiB + 64 KiB)
 *    32   32 leaf hash of the group before (zero for group 1)
 *    64   48 reserved
 *   112   16 xxh of head [0, 112) ‖ records
 *
 * RECORD: head (128) | payload | zeros to a multiple of 8
 *
 *     0    8 sequence number: 1, 2, 3 … over all files
 *     8    8 time
 *    16   16 boot id
 *    32    8 incarnation: 1 at the first opening of the log, +1 at each
 *    40    2 operation (enum aud_op)     42 2 result: 0 or a positive errno
 *    44    4 uid    48 4 login uid    52 4 pid      (0xffffffff: none)
 *    56    8 grant  64 8 object
 *    72    8 offset 80 8 length
 *    88    8 footage from   96 8 footage to
 *   104    4 aux
 *   108    4 payload bytes (at most 65536)
 *   112   16 xxh of head [0, 112) ‖ payload
 *
 * WHAT EACH CHECK IS FOR
 *   The record's xxh tells which record of a damaged group changed; the group's tells that it is
 *   damaged or torn. The previous leaf hash tells a rewritten, missing or moved group from its
 *   neighbours. None of these stops somebody who recomputes them: that is what the signed
 *   checkpoints are for, which fix the Merkle root over all groups up to a size.
 *
 * CRASH ARGUMENT
 *   One group is written and flushed at a time and acknowledged after the flush. So a power cut
 *   leaves at most one torn group, the last, never acknowledged, never signed. Groups begin on
 *   sectors of their own; a sector that holds the end of an acknowledged group is not written
 *   again. Recovery cuts off a torn last group by overwriting the rest of the file with zeros. A
 *   group that is damaged and has an intact group behind it, or a checkpoint over it, was not torn:
 *   the log is refused. A new file gets its header, durably, before it gets its number.
 *
 * HISTORY  1  2026-11: first.
 */
#ifndef CUSTOS_LOGFORMAT_H
#define CUSTOS_LOGFORMAT_H

#include "engine/audit/audit.h"

#define AUD_FMT_VERSION        1u
#define AUD_FMT_FILE_HEADER    4096u
#define AUD_FMT_ALIGN          512u
#define AUD_FMT_GROUP_HEAD     128u
#define AUD_FMT_RECORD_HEAD    128u
#define AUD_FMT_RECORDS_TARGET (1 * MIB) /* a group takes no further record beyond this */
#define AUD_FMT_RECORD_MAX     (AUD_FMT_RECORD_HEAD + AUD_PAYLOAD_MAX)
#define AUD_FMT_RECORDS_MAX    (AUD_FMT_RECORDS_TARGET + 64 * KIB)
#define AUD_FMT_FILE_MIN       (128 * KIB) /* header and one group of the largest record */
#define AUD_FMT_ORIGIN_MAX     126u

struct aud_fmt_file {
	uint64_t number, bytes, first_group, first_seq;
	uint8_t prev_leaf[32];
	char origin[AUD_FMT_ORIGIN_MAX + 1];
};
struct aud_fmt_group {
	uint64_t number, first_seq;
	uint32_t records, bytes;
	uint8_t prev_leaf[32];
};

/* Pure: no I/O, no allocation. Encoders fill the whole block with its digest; decoders trust
 * nothing and return 0 or -EUCLEAN. */
void aud_fmt_file_put(const struct aud_fmt_file *f, uint8_t out[AUD_FMT_FILE_HEADER]);
int aud_fmt_file_get(const uint8_t in[AUD_FMT_FILE_HEADER], struct aud_fmt_file *f) MUST_CHECK;

/* Bytes a record with this payload takes inside a group. */
static inline size_t aud_fmt_record_bytes(size_t payload_bytes)
{
	return AUD_FMT_RECORD_HEAD + align_up(payload_bytes, 8);
}
/* out holds aud_fmt_record_bytes(r->payload_bytes). */
void aud_fmt_record_put(const struct aud_record *r, const void *payload, uint8_t *out);
/* Decodes the record at in, of which len bytes are there; checks bounds, padding and digest.
 * *payload points into in; *used is its size inside the group. -EUCLEAN also when only the digest
 * is wrong, with *r filled then as it stands. */
int aud_fmt_record_get(const uint8_t *in, size_t len, struct aud_record *r, const uint8_t **payload,
                       size_t *used) MUST_CHECK;

/* out holds the head; records (g->bytes) must already stand right behind it. */
void aud_fmt_group_put(const struct aud_fmt_group *g, uint8_t *out);
/* The head alone: magic and bounds, not the digest. */
int aud_fmt_group_head_get(const uint8_t in[AUD_FMT_GROUP_HEAD],
                           struct aud_fmt_group *g) MUST_CHECK;
/* Digest over head and records, which stand behind each other. */
bool aud_fmt_group_digest_ok(const uint8_t *in, const struct aud_fmt_group *g);
bool aud_fmt_is_zero(const uint8_t *p, size_t len);

#endif

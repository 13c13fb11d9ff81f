/*
 * fuzz_format.c — libFuzzer entry for every decoder of format.h and for the walk's pure steps.
 *
 * First byte: which decoder, and whether the block is sealed before it is handed over (a hostile
 * disk computes digests too; without that no fuzzer would get past them). The rest is the block,
 * zero-padded. What a decoder accepts must come out of its encoder bit for bit: so that nothing a
 * reader believed can mean two things.
 *
 *   make BUILD=fuzz fuzz FUZZ_SECONDS=60
 */
#include <stdlib.h>

#include "engine/catalog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(const uint8_t *a, const uint8_t *b, size_t len)
{
	if (memcmp(a, b, len) != 0)
		abort();
}

static void one_block(unsigned kind, const uint8_t *b)
{
	union {
		struct fmt_superblock superblock;
		struct fmt_epoch epoch;
		struct fmt_segment segment;
		struct fmt_footer footer;
	} u;
	uint8_t back[FMT_BLOCK];

	switch (kind) {
	case 0:
		if (fmt_superblock_get(b, &u.superblock, NULL) < 0)
			return;
		fmt_superblock_put(&u.superblock, back);
		break;
	case 1:
		if (fmt_epoch_get(b, &u.epoch) < 0)
			return;
		fmt_epoch_put(&u.epoch, back);
		break;
	case 2:
		if (fmt_segment_get(b, &u.segment, NULL) < 0)
			return;
		if (u.segment.flags & FMT_SEG_ENCRYPTED)
			return; /* its key id is not kept yet */
		fmt_segment_put(&u.segment, back);
		break;
	default:
		if (fmt_footer_get(b, &u.footer, NULL) < 0)
			return;
		fmt_footer_put(&u.footer, back);
		break;
	}
	same(b, back, FMT_BLOCK);
}

/* A header, then as much of tables and payload as there is; the rest is zeros. */
static void one_chunk(const uint8_t *data, size_t size, bool seal)
{
	uint8_t header[FMT_CHUNK_HEADER] = {0}, back[FMT_CHUNK_HEADER], *bytes;
	struct eng_frame_info *frames = NULL;
	uint32_t frames_max = 0;
	struct fmt_chunk c;
	const char *why = "";

	memcpy(header, data, size < sizeof header ? size : sizeof header);
	if (seal)
		fmt_seal(header, FMT_CHUNK_HEADER - FMT_DIGEST_BYTES);
	if (fmt_chunk_get(header, &c, NULL) < 0)
		return;
	fmt_chunk_put(&c, back);
	same(header, back, sizeof back);
	bytes = calloc(1, c.c.total_bytes);
	if (!bytes)
		return;
	memcpy(bytes, data, size < c.c.total_bytes ? size : c.c.total_bytes);
	if (seal) {
		for (uint32_t u = 0; u < c.unit_count; u++)
			fmt_digest(bytes + c.c.payload_offset + (size_t)u * FMT_UNIT_BYTES,
			           fmt_unit_bytes(&c.c, u),
			           bytes + FMT_CHUNK_HEADER + (size_t)u * FMT_UNIT_ENTRY);
		fmt_digest(bytes + FMT_CHUNK_HEADER, c.c.payload_offset - FMT_CHUNK_HEADER,
		           c.table_digest);
	}
	if (segment_chunk_check(&c, bytes, &frames, &frames_max, &why) == 0)
		for (uint32_t i = 0; i < c.c.frame_count; i++)
			if ((uint64_t)frames[i].offset + frames[i].size_bytes > c.c.payload_bytes)
				abort();
	free(frames);
	free(bytes);
}

static void entries(const uint8_t *b)
{
	uint8_t back[FMT_FOOTER_ENTRY], store[ENG_UUID_BYTES];
	struct fmt_catalog_entry e;
	struct eng_chunk c;
	uint64_t count;

	if (fmt_footer_entry_get(b, 3, 1, &c) == 0) {
		fmt_footer_entry_put(&c, back);
		same(b, back, FMT_FOOTER_ENTRY);
	}
	if (fmt_catalog_entry_get(b, 3, &e) == 0) {
		fmt_catalog_entry_put(&e, 3, back);
		same(b, back, FMT_CATALOG_ENTRY);
	}
	if (fmt_catalog_header_get(b, store, &count) == 0) {
		fmt_catalog_header_put(store, count, back);
		same(b, back, FMT_CATALOG_HEADER);
	}
}

/* Segment header, then chunk headers behind each other, as a walk meets them. */
static void walk(const uint8_t *b, const uint8_t *data, size_t size)
{
	struct fmt_superblock sb = {.segment_bytes = le64_get(b + 64)};
	uint8_t header[FMT_CHUNK_HEADER];
	struct segment_walk w;
	struct fmt_chunk c;

	memcpy(sb.store, b + 16, ENG_UUID_BYTES);
	if (segment_walk_begin(&w, &sb, le64_get(b + 32), b) < 0)
		return;
	for (size_t at = FMT_BLOCK; at + sizeof header <= size; at += sizeof header) {
		memcpy(header, data + at, sizeof header);
		memcpy(header + 144, w.last_digest, FMT_DIGEST_BYTES);
		fmt_seal(header, FMT_CHUNK_HEADER - FMT_DIGEST_BYTES);
		if (segment_walk_take(&w, header, &c) == 0 && w.end > sb.segment_bytes)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t b[FMT_BLOCK] = {0};
	bool seal;
	unsigned kind;

	if (size < 1)
		return 0;
	kind = data[0] & 7;
	seal = data[0] & 8;
	data++;
	size--;
	if (kind == 4) {
		one_chunk(data, size, seal);
		return 0;
	}
	memcpy(b, data, size < sizeof b ? size : sizeof b);
	if (kind == 5) {
		if (seal)
			fmt_seal(b, 40); /* the catalog header; a footer entry has no seal */
		entries(b);
		return 0;
	}
	if (seal)
		fmt_seal(b, FMT_BLOCK - FMT_DIGEST_BYTES);
	if (kind == 6)
		walk(b, data, size);
	else
		one_block(kind & 3, b);
	return 0;
}

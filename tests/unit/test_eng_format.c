/*
 * test_eng_format.c — every block of format.h: what is written is read back, no flipped bit passes,
 * and no lie passes either when its author can compute digests as well as we can.
 */
#include <errno.h>
#include <openssl/evp.h>

#include "tests/unit/support_eng_read.h"

/* ---- making valid blocks ---- */

static struct fmt_superblock a_superblock(void)
{
	struct fmt_superblock s = {
	        .segment_bytes = 64 * MIB, .segment_count = 77, .made_ns = KIT_T0};

	kit_fill(3, s.store, sizeof s.store);
	return s;
}

static struct fmt_segment a_segment(void)
{
	struct fmt_segment s = {.number = 5,
	                        .generation = 9,
	                        .segment_bytes = 4 * MIB,
	                        .epoch = 2,
	                        .flags = FMT_SEG_LEAVES | FMT_SEG_IMPORTED,
	                        .made_ns = KIT_T0,
	                        .camera = "东门-dock"};

	kit_fill(3, s.store, sizeof s.store);
	kit_fill(4, s.stream, sizeof s.stream);
	kit_setup(&s.setup, true);
	return s;
}

static void a_chunk(struct kit_chunk *c, unsigned frames, uint32_t size)
{
	memset(c, 0, sizeof *c);
	c->h.epoch = 3;
	c->h.clock_error_us = 1200;
	c->h.boot_ns = 12345;
	c->h.wall_ns = KIT_T0 + 99;
	c->h.c = (struct eng_chunk){.segment = 5,
	                            .generation = 9,
	                            .sequence = 41,
	                            .run = 41,
	                            .flags = FMT_CHUNK_LEAVES | FMT_CHUNK_RUN_START |
	                                     FMT_CHUNK_CLOCK_SYNCED,
	                            .start_reason = ENG_REASON_STALLED,
	                            .cum = {{.frames = 9, .keys = 2, .chunks = 3, .bytes = 4711}}};
	kit_fill(5, c->h.prev_digest, FMT_DIGEST_BYTES);
	kit_chunk_make(c, 20, frames, size);
}

static struct fmt_footer a_footer(void)
{
	struct fmt_footer f = {.segment = 5,
	                       .generation = 9,
	                       .first_sequence = 41,
	                       .last_sequence = 43,
	                       .epoch = 3,
	                       .entries = 3,
	                       .body_offset = 4 * MIB - 8192,
	                       .sealed_ns = KIT_T0 + 7,
	                       .first_ns = KIT_T0,
	                       .end_ns = KIT_T0 + 5,
	                       .total = {{.frames = 9, .keys = 2, .chunks = 3, .bytes = 4711}}};

	kit_fill(8, f.root, sizeof f.root);
	kit_fill(9, f.body_digest, sizeof f.body_digest);
	return f;
}

static struct fmt_catalog_entry an_entry(void)
{
	return (struct fmt_catalog_entry){.generation = 9,
	                                  .state = FMT_STATE_SEALED,
	                                  .flags = FMT_SEG_LEAVES,
	                                  .committed_bytes = 3 * MIB,
	                                  .chunks = 3,
	                                  .first_ns = KIT_T0,
	                                  .end_ns = KIT_T0 + 5,
	                                  .first_sequence = 41,
	                                  .last_sequence = 43,
	                                  .changed_ns = KIT_T0 + 8};
}

/* ---- each decoder as one question: does it take this block? ---- */

static int take_superblock(const uint8_t *b)
{
	struct fmt_superblock s;
	return fmt_superblock_get(b, &s, NULL);
}
static int take_epoch(const uint8_t *b)
{
	struct fmt_epoch e;
	return fmt_epoch_get(b, &e);
}
static int take_segment(const uint8_t *b)
{
	struct fmt_segment s;
	return fmt_segment_get(b, &s, NULL);
}
static int take_chunk(const uint8_t *b)
{
	struct fmt_chunk c;
	return fmt_chunk_get(b, &c, NULL);
}
static int take_footer(const uint8_t *b)
{
	struct fmt_footer f;
	return fmt_footer_get(b, &f, NULL);
}
static int take_catalog_header(const uint8_t *b)
{
	uint8_t store[ENG_UUID_BYTES];
	uint64_t count;
	return fmt_catalog_header_get(b, store, &count);
}
static int take_catalog_entry(const uint8_t *b)
{
	struct fmt_catalog_entry e;
	return fmt_catalog_entry_get(b, 17, &e);
}

static void no_flip_passes(uint8_t *block, size_t len, int (*take)(const uint8_t *))
{
	assert_int_equal(take(block), 0);
	for (size_t bit = 0; bit < len * 8; bit++) {
		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (take(block) == 0)
			fail_msg("bit %zu of byte %zu flipped and nobody noticed", bit % 8,
			         bit / 8);
		block[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(take(block), 0);
}

/* A block's author lies in one field and seals it again. */
static void lie_refused(const uint8_t *block, size_t sealed, size_t at, uint64_t value,
                        unsigned bytes, int (*take)(const uint8_t *))
{
	uint8_t lie[FMT_BLOCK];

	memcpy(lie, block, sealed);
	for (unsigned i = 0; i < bytes; i++)
		lie[at + i] = (uint8_t)(value >> 8 * i);
	fmt_seal(lie, sealed);
	if (take(lie) == 0)
		fail_msg("the value %#llx at %zu was believed", (unsigned long long)value, at);
}

/* ---- round trips and flips ---- */

static void test_superblock(void **state)
{
	struct fmt_superblock s = a_superblock(), back;
	uint8_t b[FMT_BLOCK];

	(void)state;
	fmt_superblock_put(&s, b);
	assert_int_equal(fmt_superblock_get(b, &back, NULL), 0);
	assert_memory_equal(back.store, s.store, sizeof s.store);
	assert_int_equal(back.segment_bytes, s.segment_bytes);
	assert_int_equal(back.segment_count, s.segment_count);
	assert_int_equal(back.made_ns, s.made_ns);
	assert_int_equal(back.flags, 0);
	no_flip_passes(b, sizeof b, take_superblock);
	lie_refused(b, 4080, 8, 2, 4, take_superblock);               /* version */
	lie_refused(b, 4080, 12, 2, 4, take_superblock);              /* unknown flag */
	lie_refused(b, 4080, 32, 4 * MIB - 4096, 8, take_superblock); /* too small */
	lie_refused(b, 4080, 32, 2 * GIB, 8, take_superblock);        /* too large */
	lie_refused(b, 4080, 32, 4 * MIB + 512, 8, take_superblock);  /* crooked */
	lie_refused(b, 4080, 40, 0, 8, take_superblock);
	lie_refused(b, 4080, 40, UINT64_C(1) << 32, 8, take_superblock);
	lie_refused(b, 4080, 4000, 1, 1, take_superblock); /* reserved */
}

static void test_epoch(void **state)
{
	struct fmt_epoch e = {.epoch = 12, .raised_ns = KIT_T0}, back;
	uint8_t b[FMT_BLOCK];

	(void)state;
	fmt_epoch_put(&e, b);
	assert_int_equal(fmt_epoch_get(b, &back), 0);
	assert_int_equal(back.epoch, 12);
	assert_int_equal(back.raised_ns, KIT_T0);
	no_flip_passes(b, sizeof b, take_epoch);
	lie_refused(b, 4080, 8, 0, 8, take_epoch);
	lie_refused(b, 4080, 40, 1, 1, take_epoch);
}

static void test_segment(void **state)
{
	struct fmt_segment s = a_segment(), back;
	uint8_t b[FMT_BLOCK];

	(void)state;
	fmt_segment_put(&s, b);
	assert_int_equal(fmt_segment_get(b, &back, NULL), 0);
	assert_memory_equal(back.store, s.store, ENG_UUID_BYTES);
	assert_memory_equal(back.stream, s.stream, ENG_UUID_BYTES);
	assert_int_equal(back.number, s.number);
	assert_int_equal(back.generation, s.generation);
	assert_int_equal(back.epoch, s.epoch);
	assert_int_equal(back.flags, s.flags);
	assert_string_equal(back.camera, s.camera);
	assert_int_equal(back.setup.n_tracks, 2);
	for (unsigned k = 0; k < 2; k++) {
		assert_int_equal(back.setup.track[k].codec, s.setup.track[k].codec);
		assert_int_equal(back.setup.track[k].sample_rate, s.setup.track[k].sample_rate);
		assert_int_equal(back.setup.track[k].extradata_bytes,
		                 s.setup.track[k].extradata_bytes);
		assert_memory_equal(back.setup.track[k].extradata, s.setup.track[k].extradata,
		                    ENG_EXTRADATA_MAX);
	}
	no_flip_passes(b, sizeof b, take_segment);
	lie_refused(b, 4080, 40, 0, 8, take_segment);     /* generation */
	lie_refused(b, 4080, 64, 12345, 8, take_segment); /* segment bytes */
	lie_refused(b, 4080, 72, 0, 8, take_segment);     /* epoch */
	lie_refused(b, 4080, 88, 0, 2, take_segment);     /* no name */
	lie_refused(b, 4080, 88, 128, 2, take_segment);   /* name too long */
	lie_refused(b, 4080, 88, 0xffff, 2, take_segment);
	lie_refused(b, 4080, 90, 0x0a, 1, take_segment); /* control character */
	lie_refused(b, 4080, 90, 0xff, 1, take_segment); /* not UTF-8 */
	lie_refused(b, 4080, 218, 0, 2, take_segment);   /* tracks */
	lie_refused(b, 4080, 218, 3, 2, take_segment);
	lie_refused(b, 4080, 218, 1, 2, take_segment);         /* track 1 stands there */
	lie_refused(b, 4080, 224, 1, 1, take_segment);         /* key id, not encrypted */
	lie_refused(b, 4080, 256, 0, 2, take_segment);         /* codec none */
	lie_refused(b, 4080, 256 + 12, 1897, 2, take_segment); /* extradata too long */
	lie_refused(b, 4080, 256 + 12, 39, 2, take_segment);   /* bytes behind it */
	lie_refused(b, 4080, 256 + 1912, ENG_CODEC_H265, 2, take_segment); /* second video */
}

static void test_chunk(void **state)
{
	struct kit_chunk c;
	struct fmt_chunk back;
	uint8_t *b;

	(void)state;
	a_chunk(&c, 30, 5000);
	b = c.bytes;
	assert_int_equal(fmt_chunk_get(b, &back, NULL), 0);
	assert_memory_equal(&back.c, &c.h.c, sizeof back.c);
	assert_memory_equal(back.prev_digest, c.h.prev_digest, FMT_DIGEST_BYTES);
	assert_memory_equal(back.root, c.h.root, FMT_LEAF_BYTES);
	assert_memory_equal(back.salt_seed, c.h.salt_seed, 32);
	assert_int_equal(back.epoch, 3);
	assert_int_equal(back.clock_error_us, 1200);
	assert_int_equal(back.boot_ns, 12345);
	assert_int_equal(back.wall_ns, KIT_T0 + 99);
	assert_int_equal(back.unit_count, 3);
	no_flip_passes(b, FMT_CHUNK_HEADER, take_chunk);

	/* Sizes that overflow and counts that lie. */
	lie_refused(b, 496, 8, 512, 4, take_chunk);
	lie_refused(b, 496, 8, 0xffffffc0, 4, take_chunk);
	lie_refused(b, 496, 12, 4096, 4, take_chunk);
	lie_refused(b, 496, 12, 0xfffff000, 4, take_chunk);
	lie_refused(b, 496, 224, 0xffffffff, 4, take_chunk);
	lie_refused(b, 496, 228, 4, 4, take_chunk);
	lie_refused(b, 496, 228, 0x08000000, 4, take_chunk);
	lie_refused(b, 496, 108, 0, 4, take_chunk);
	lie_refused(b, 496, 108, 0x04000000 + 30, 4, take_chunk); /* × 64 wraps to the same */
	lie_refused(b, 496, 232, 32, 4, take_chunk);
	lie_refused(b, 496, 232, 0, 4, take_chunk);
	lie_refused(b, 496, 256, 31, 4, take_chunk);     /* frames of track 0 */
	lie_refused(b, 496, 256 + 4, 31, 4, take_chunk); /* more keys than frames */
	lie_refused(b, 496, 256 + 8, 1, 4, take_chunk);  /* bytes of track 0 */
	lie_refused(b, 496, 288, 1, 4, take_chunk);      /* frames of track 1 */
	lie_refused(b, 496, 320 + 4, 10, 4, take_chunk); /* totals: keys > frames */
	/* Places, flags, times. */
	lie_refused(b, 496, 48, UINT64_C(1) << 40, 8, take_chunk);
	lie_refused(b, 496, 56, 0, 8, take_chunk);
	lie_refused(b, 496, 64, 0, 8, take_chunk);
	lie_refused(b, 496, 72, 0, 8, take_chunk);
	lie_refused(b, 496, 80, 1, 8, take_chunk);
	lie_refused(b, 496, 88, 1 << 6 | c.h.c.flags, 4, take_chunk);
	lie_refused(b, 496, 88, c.h.c.flags & ~(uint32_t)FMT_CHUNK_RUN_START, 4, take_chunk);
	lie_refused(b, 496, 96, 42, 8, take_chunk);
	lie_refused(b, 496, 96, 40, 8, take_chunk);
	lie_refused(b, 496, 106, 3, 2, take_chunk);
	lie_refused(b, 496, 112, (uint64_t)ENG_NO_TIME, 8, take_chunk);
	lie_refused(b, 496, 120, (uint64_t)KIT_T0, 8, take_chunk);
	lie_refused(b, 496, 240, (uint64_t)KIT_T0 - 1, 8, take_chunk);
	lie_refused(b, 496, 400, 1, 1, take_chunk);
	free(c.bytes);
}

static void test_chunk_of_no_frames(void **state)
{
	struct kit_chunk c = {.h = {.epoch = 1,
	                            .c = {.segment = 1,
	                                  .generation = 1,
	                                  .sequence = 7,
	                                  .run = 3,
	                                  .flags = FMT_CHUNK_RUN_END | FMT_CHUNK_LEAVES,
	                                  .end_reason = ENG_REASON_OPERATOR}}};
	uint8_t empty[FMT_LEAF_BYTES];

	(void)state;
	kit_chunk_make(&c, 0, 0, 0);
	assert_int_equal(take_chunk(c.bytes), 0);
	assert_int_equal(c.h.c.total_bytes, 4096);
	fmt_merkle_root(NULL, 0, empty);
	assert_memory_equal(c.h.root, empty, sizeof empty);
	lie_refused(c.bytes, 496, 88, FMT_CHUNK_LEAVES, 4, take_chunk); /* nothing at all */
	lie_refused(c.bytes, 496, 112, KIT_T0, 8, take_chunk);
	free(c.bytes);
}

static int frames_of(const struct kit_chunk *c)
{
	struct eng_frame_info f[64];

	return fmt_frames_get(&c->h, c->bytes + FMT_CHUNK_HEADER, f, NULL);
}

static void test_frame_table(void **state)
{
	struct kit_chunk c;
	struct eng_frame_info f[64];
	uint32_t tables;

	(void)state;
	a_chunk(&c, 30, 5000);
	tables = c.h.c.payload_offset - FMT_CHUNK_HEADER;
	assert_int_equal(fmt_frames_get(&c.h, c.bytes + FMT_CHUNK_HEADER, f, NULL), 0);
	for (unsigned i = 0; i < 30; i++) {
		assert_int_equal(f[i].time_ns, KIT_T0 + (20 + i) * KIT_STEP);
		assert_int_equal(f[i].size_bytes, 5000);
		assert_int_equal(f[i].offset, i * 5000);
		assert_int_equal(f[i].flags, (20 + i) % 25 == 0 ? ENG_FRAME_KEY : 0);
	}
	for (uint32_t bit = 0; bit < tables * 8; bit++) {
		c.bytes[FMT_CHUNK_HEADER + bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(frames_of(&c), -EUCLEAN);
		c.bytes[FMT_CHUNK_HEADER + bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(frames_of(&c), 0);
	free(c.bytes);
}

/* One value in frame entry `frame` changed, table digest made anew. */
static void frame_lie(unsigned frame, unsigned at, uint64_t value, unsigned bytes)
{
	struct kit_chunk c;
	uint8_t *p;

	a_chunk(&c, 30, 5000);
	assert_int_equal(frames_of(&c), 0);
	p = c.bytes + FMT_CHUNK_HEADER + 3 * FMT_UNIT_ENTRY + frame * FMT_FRAME_ENTRY_LEAF + at;
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(value >> 8 * i);
	fmt_digest(c.bytes + FMT_CHUNK_HEADER, c.h.c.payload_offset - FMT_CHUNK_HEADER,
	           c.h.table_digest);
	if (frames_of(&c) == 0)
		fail_msg("frame %u: %#llx at %u was believed", frame, (unsigned long long)value,
		         at);
	free(c.bytes);
}

static void test_frame_lies(void **state)
{
	(void)state;
	frame_lie(3, 0, (uint64_t)ENG_NO_TIME, 8);
	frame_lie(3, 0, INT64_MAX, 8);                  /* time + duration overflows */
	frame_lie(0, 0, KIT_T0, 8);                     /* first is not the header's */
	frame_lie(29, 0, KIT_T0 + 100 * KIT_STEP, 8);   /* nor the last */
	frame_lie(4, 8, 0, 8);                          /* dts falls */
	frame_lie(4, 16, 4999, 4);                      /* sizes do not sum up */
	frame_lie(4, 16, 0xffffffff, 4);                /* offset would overflow */
	frame_lie(4, 24, 1, 1);                         /* track 1, then 0 again */
	frame_lie(29, 24, 1, 1);                        /* tracks' counts */
	frame_lie(4, 24, 2, 1);                         /* no such track */
	frame_lie(4, 25, 2, 1);                         /* unknown flag */
	frame_lie(4, 25, 1, 1);                         /* one key too many */
	frame_lie(4, 26, 1, 1);                         /* reserved */
	frame_lie(29, 20, (uint32_t)(KIT_STEP + 1), 4); /* end is not the header's */
	frame_lie(0, 0, 0, 8);
}

static void test_units(void **state)
{
	struct kit_chunk c;
	const uint8_t *tables, *payload;

	(void)state;
	a_chunk(&c, 30, 5000); /* 150000 bytes: units of 65536, 65536, 18928 */
	tables = c.bytes + FMT_CHUNK_HEADER;
	payload = c.bytes + c.h.c.payload_offset;
	assert_int_equal(fmt_unit_check(&c.h, tables, 0, payload, 65536), 0);
	assert_int_equal(fmt_unit_check(&c.h, tables, 2, payload + 131072, 18928), 0);
	assert_int_equal(fmt_unit_check(&c.h, tables, 1, payload, 65536), -EUCLEAN);
	assert_int_equal(fmt_unit_check(&c.h, tables, 2, payload + 131072, 18927), -EUCLEAN);
	assert_int_equal(fmt_unit_check(&c.h, tables, 3, payload, 65536), -EUCLEAN);
	c.bytes[c.h.c.payload_offset + 70000] ^= 0x10;
	assert_int_equal(fmt_unit_check(&c.h, tables, 0, payload, 65536), 0);
	assert_int_equal(fmt_unit_check(&c.h, tables, 1, payload + 65536, 65536), -EUCLEAN);
	free(c.bytes);
}

static void test_footer(void **state)
{
	struct fmt_footer f = a_footer(), back;
	uint8_t b[FMT_BLOCK];

	(void)state;
	fmt_footer_put(&f, b);
	assert_int_equal(fmt_footer_get(b, &back, NULL), 0);
	assert_memory_equal(&back, &f, sizeof f);
	no_flip_passes(b, sizeof b, take_footer);
	lie_refused(b, 4080, 8, 0, 4, take_footer);
	lie_refused(b, 4080, 8, 4, 4, take_footer);
	lie_refused(b, 4080, 8, 0xffffffff, 4, take_footer);
	lie_refused(b, 4080, 12, 4096, 4, take_footer);
	lie_refused(b, 4080, 12, 0xfffff000, 4, take_footer);
	lie_refused(b, 4080, 56, 0, 8, take_footer);
	lie_refused(b, 4080, 96, 40, 8, take_footer);
	lie_refused(b, 4080, 300, 1, 1, take_footer);
}

static void test_footer_entry(void **state)
{
	struct kit_chunk c;
	struct eng_chunk back;
	uint8_t e[FMT_FOOTER_ENTRY];

	(void)state;
	a_chunk(&c, 30, 5000);
	c.h.c.offset = 8192;
	fmt_footer_entry_put(&c.h.c, e);
	assert_int_equal(fmt_footer_entry_get(e, 5, 9, &back), 0);
	assert_memory_equal(&back, &c.h.c, sizeof back);
	le32_put(e, 8193);
	assert_int_equal(fmt_footer_entry_get(e, 5, 9, &back), -EUCLEAN);
	le32_put(e, 0);
	assert_int_equal(fmt_footer_entry_get(e, 5, 9, &back), -EUCLEAN);
	le32_put(e, 8192);
	le32_put(e + 12, 0xffffffff);
	assert_int_equal(fmt_footer_entry_get(e, 5, 9, &back), -EUCLEAN);
	le32_put(e + 12, 150000);
	e[191] = 1;
	assert_int_equal(fmt_footer_entry_get(e, 5, 9, &back), -EUCLEAN);
	free(c.bytes);
}

static void test_catalog_blocks(void **state)
{
	struct fmt_catalog_entry e = an_entry(), back;
	uint8_t b[FMT_CATALOG_ENTRY], h[FMT_CATALOG_HEADER], store[ENG_UUID_BYTES];
	uint64_t count;

	(void)state;
	fmt_catalog_entry_put(&e, 17, b);
	assert_int_equal(fmt_catalog_entry_get(b, 17, &back), 0);
	assert_memory_equal(&back, &e, sizeof e);
	assert_int_equal(fmt_catalog_entry_get(b, 18, &back), -EUCLEAN); /* another's place */
	no_flip_passes(b, sizeof b, take_catalog_entry);
	e.state = FMT_STATE_MAX;
	fmt_catalog_entry_put(&e, 17, b);
	assert_int_equal(fmt_catalog_entry_get(b, 17, &back), -EUCLEAN);
	e = an_entry();
	e.chunks = 3 * MIB / FMT_BLOCK; /* more than could be committed there */
	fmt_catalog_entry_put(&e, 17, b);
	assert_int_equal(fmt_catalog_entry_get(b, 17, &back), -EUCLEAN);

	kit_fill(3, store, sizeof store);
	fmt_catalog_header_put(store, 1234, h);
	memset(store, 0, sizeof store);
	assert_int_equal(fmt_catalog_header_get(h, store, &count), 0);
	assert_int_equal(count, 1234);
	no_flip_passes(h, sizeof h, take_catalog_header);
}

/* ---- hashes against a second opinion ---- */

static void sha256(const void *a, size_t a_len, const void *b, size_t b_len, uint8_t out[32])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	assert_int_equal(EVP_DigestInit_ex(ctx, EVP_sha256(), NULL), 1);
	assert_int_equal(EVP_DigestUpdate(ctx, a, a_len), 1);
	assert_int_equal(EVP_DigestUpdate(ctx, b, b_len), 1);
	assert_int_equal(EVP_DigestFinal_ex(ctx, out, NULL), 1);
	EVP_MD_CTX_free(ctx);
}

/* RFC 6962 §2.1 to the letter. */
static void rfc6962(const uint8_t (*leaves)[32], size_t n, uint8_t out[32])
{
	uint8_t both[65] = {1};
	size_t k = 1;

	if (n == 1) {
		memcpy(out, leaves[0], 32);
		return;
	}
	while (2 * k < n)
		k *= 2;
	rfc6962(leaves, k, both + 1);
	rfc6962(leaves + k, n - k, both + 33);
	sha256(both, sizeof both, "", 0, out);
}

static void test_merkle(void **state)
{
	uint8_t leaves[130][32], mine[32], theirs[32];

	(void)state;
	kit_fill(77, leaves, sizeof leaves);
	for (size_t n = 1; n <= 130; n++) {
		fmt_merkle_root((const uint8_t(*)[32])leaves, n, mine);
		rfc6962((const uint8_t(*)[32])leaves, n, theirs);
		assert_memory_equal(mine, theirs, 32);
	}
	sha256("", 0, "", 0, theirs);
	fmt_merkle_root(NULL, 0, mine);
	assert_memory_equal(mine, theirs, 32);
}

static void test_leaf(void **state)
{
	uint8_t seed[32], entry[32], frame[1000], salted[36], salt[32], head[49], mine[32],
	        theirs[32];

	(void)state;
	kit_fill(1, seed, sizeof seed);
	kit_fill(2, entry, sizeof entry);
	kit_fill(3, frame, sizeof frame);
	fmt_leaf(seed, 7, entry, frame, sizeof frame, mine);
	memcpy(salted, seed, 32);
	le32_put(salted + 32, 7);
	sha256(salted, sizeof salted, "", 0, salt);
	head[0] = 0;
	memcpy(head + 1, salt, 16);
	memcpy(head + 17, entry, 32);
	sha256(head, sizeof head, frame, sizeof frame, theirs);
	assert_memory_equal(mine, theirs, 32);
}

static void test_digest_and_names(void **state)
{
	uint8_t digest[FMT_DIGEST_BYTES], live[16], imported[16], store[16] = {1};
	char hex[33], path[FMT_SEGMENT_PATH_MAX];

	(void)state;
	/* XXH3-128 of nothing, as xxhash's own documentation prints it. */
	fmt_digest("", 0, digest);
	hex_format(digest, sizeof digest, hex);
	assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
	fmt_stream_uuid(store, "dock-3", false, live);
	fmt_stream_uuid(store, "dock-3", true, imported);
	assert_memory_not_equal(live, imported, 16);
	assert_int_equal(live[6] >> 4, 8);
	assert_int_equal(live[8] >> 6, 2);
	fmt_segment_path(0, path);
	assert_string_equal(path, "seg/00000/0000000000");
	fmt_segment_path(UINT32_MAX, path);
	assert_string_equal(path, "seg/4194303/4294967295");
	for (uint16_t i = 0; i < ENG_REASON_MAX; i++)
		assert_string_not_equal(eng_reason_name(i), "?");
	assert_string_equal(eng_reason_name(ENG_REASON_MAX), "?");
	assert_string_equal(eng_codec_name(ENG_CODEC_H265), "h265");
	assert_string_equal(eng_codec_name(999), "?");
}

/* Random garbage, with and without a good seal, into every decoder: never a crash (sanitizers). */
static void test_garbage(void **state)
{
	static const char *const magic[] = {"CUSTORE1", "CUSTEPO1", "CUSTSEG1", "CUSTCHK1",
	                                    "CUSTFTR1"};
	struct kit_random r = kit_random_open();
	struct eng_chunk e;
	uint8_t b[FMT_BLOCK];

	(void)state;
	for (unsigned i = 0; i < 20000; i++) {
		kit_fill(kit_random(&r), b, 600);
		memset(b + 600, 0, sizeof b - 600);
		for (unsigned z = 0; z < 60; z++) /* mostly zeros gets further */
			memset(b + kit_random(&r) % 590, 0, 8);
		memcpy(b, magic[i % 5], 8);
		fmt_seal(b, i % 5 == 3 ? 496 : 4080);
		(void)!take_superblock(b);
		(void)!take_epoch(b);
		(void)!take_segment(b);
		(void)!take_chunk(b);
		(void)!take_footer(b);
		(void)!fmt_footer_entry_get(b + 8, 1, 1, &e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_superblock),
	        cmocka_unit_test(test_epoch),
	        cmocka_unit_test(test_segment),
	        cmocka_unit_test(test_chunk),
	        cmocka_unit_test(test_chunk_of_no_frames),
	        cmocka_unit_test(test_frame_table),
	        cmocka_unit_test(test_frame_lies),
	        cmocka_unit_test(test_units),
	        cmocka_unit_test(test_footer),
	        cmocka_unit_test(test_footer_entry),
	        cmocka_unit_test(test_catalog_blocks),
	        cmocka_unit_test(test_merkle),
	        cmocka_unit_test(test_leaf),
	        cmocka_unit_test(test_digest_and_names),
	        cmocka_unit_test(test_garbage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

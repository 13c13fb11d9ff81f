/*
 * support_eng_read.c — helpers of the tests of format, catalog, reader and verify
 * (support_eng_read.h).
 */
#include "tests/unit/support_eng_read.h"

#include <errno.h>
#include <fcntl.h>

/* ---- random ---- */

struct kit_random kit_random_open(void)
{
	const char *given = getenv("SEED");
	struct kit_random r;

	if (given)
		r.state = strtoull(given, NULL, 0);
	else
		random_fill(&r.state, sizeof r.state);
	printf("seed %#llx (replay: SEED=%#llx)\n", (unsigned long long)r.state,
	       (unsigned long long)r.state);
	return r;
}

uint64_t kit_random(struct kit_random *r)
{
	uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void kit_fill(uint64_t n, void *out, size_t len)
{
	struct kit_random r = {n * 1000003 + 17};
	uint8_t *bytes = out;

	for (size_t i = 0; i < len; i += 8) {
		uint64_t word = kit_random(&r);

		memcpy(bytes + i, &word, len - i < 8 ? len - i : 8);
	}
}

/* ---- stores ---- */

void kit_store_make(struct kit_store *s, unsigned segments)
{
	const char *tmp = getenv("TMPDIR");
	struct eng_init_options opt = {.size_bytes = segments * KIT_SEGMENT,
	                               .segment_bytes = KIT_SEGMENT,
	                               .cameras = 1,
	                               .group = (gid_t)-1};
	char err[256] = "";

	snprintf(s->dir, sizeof s->dir, "%s/custos-eng-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(s->dir));
	if (eng_init(s->dir, &opt, err, sizeof err) < 0)
		fail_msg("eng_init: %s", err);
	assert_int_equal(store_read_superblock(s->dir, &s->sb, err, sizeof err), 0);
	assert_int_equal(s->sb.segment_count, segments);
}

void kit_store_remove(struct kit_store *s)
{
	char command[PATH_MAX + 16];

	snprintf(command, sizeof command, "rm -rf '%s'", s->dir);
	assert_int_equal(system(command), 0);
}

void kit_flip(const struct kit_store *s, uint64_t segment, uint64_t offset, uint8_t mask)
{
	int fd = store_open_segment(s->dir, segment, O_RDWR);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(file_pread_full(fd, &byte, 1, offset), 0);
	byte ^= mask;
	assert_int_equal(file_pwrite_full(fd, &byte, 1, offset), 0);
	close(fd);
}

struct eng_writer *kit_writer_open(const struct kit_store *s)
{
	struct eng_writer_options opt = {
	        .leaves = true, .sync_device = true, .memory_bytes = 64 * MIB};
	struct eng_writer *w = NULL;
	char err[256] = "";

	if (eng_writer_open(s->dir, &opt, &w, err, sizeof err) < 0)
		fail_msg("eng_writer_open: %s", err);
	return w;
}

struct eng_reader *kit_reader_open(const struct kit_store *s)
{
	struct eng_reader *r = NULL;
	char err[256] = "";

	if (eng_reader_open(s->dir, &r, err, sizeof err) < 0)
		fail_msg("eng_reader_open: %s", err);
	return r;
}

void kit_setup(struct eng_setup *setup, bool audio)
{
	memset(setup, 0, sizeof *setup);
	setup->n_tracks = audio ? 2 : 1;
	setup->track[0] = (struct eng_track){
	        .codec = ENG_CODEC_H264, .width = 1920, .height = 1080, .extradata_bytes = 40};
	kit_fill(1, setup->track[0].extradata, 40);
	if (!audio)
		return;
	setup->track[1] = (struct eng_track){.codec = ENG_CODEC_AAC,
	                                     .channels = 2,
	                                     .sample_rate = 48000,
	                                     .extradata_bytes = 2,
	                                     .extradata = {0x11, 0x90}};
}

void kit_append(struct eng_writer *w, struct eng_stream *s, unsigned first, unsigned n,
                uint32_t size)
{
	uint8_t *data = malloc(size + 1);

	assert_non_null(data);
	for (unsigned i = first; i < first + n; i++) {
		struct eng_frame f = {.time_ns = KIT_T0 + i * KIT_STEP,
		                      .dts_ns = i * KIT_STEP,
		                      .duration_ns = KIT_STEP,
		                      .flags = i % 25 == 0 ? ENG_FRAME_KEY : 0,
		                      .size_bytes = size,
		                      .data = data};
		int rc;

		kit_fill(i, data, size);
		while ((rc = eng_append(s, &f)) == -EAGAIN)
			assert_int_equal(eng_sync(w, 60 * NSEC_PER_SEC), 0);
		assert_int_equal(rc, 0);
		assert_true(eng_poll(w) >= 0);
	}
	assert_int_equal(eng_sync(w, 60 * NSEC_PER_SEC), 0);
	free(data);
}

static unsigned check_chunk(struct eng_reader *r, const struct eng_chunk *c)
{
	struct eng_frame_info *f = calloc(c->frame_count, sizeof *f);
	uint8_t *payload = malloc(c->payload_bytes), *want = malloc(c->payload_bytes);

	assert_true(f && payload && want);
	assert_int_equal(eng_chunk_frames(r, c, f), 0);
	assert_int_equal(eng_chunk_read(r, c, 0, c->payload_bytes, payload), 0);
	for (uint32_t i = 0; i < c->frame_count; i++) {
		kit_fill((uint64_t)(f[i].time_ns - KIT_T0) / KIT_STEP, want, f[i].size_bytes);
		assert_memory_equal(payload + f[i].offset, want, f[i].size_bytes);
	}
	free(f);
	free(payload);
	free(want);
	return c->frame_count;
}

unsigned kit_check_frames(struct eng_reader *r, const struct eng_chunk *c, size_t n)
{
	unsigned frames = 0;

	for (size_t i = 0; i < n; i++)
		frames += check_chunk(r, &c[i]);
	return frames;
}

/* ---- blocks made by hand ---- */

static void chunk_frames(struct kit_chunk *c, unsigned first_frame, unsigned n, uint32_t size)
{
	bool leaf = c->h.c.flags & FMT_CHUNK_LEAVES;
	uint32_t units = c->h.unit_count, entry_bytes = leaf ? 64 : 32;
	uint8_t *entry = c->bytes + FMT_CHUNK_HEADER + units * FMT_UNIT_ENTRY;
	uint8_t *payload = c->bytes + c->h.c.payload_offset;
	uint8_t(*leaves)[FMT_LEAF_BYTES] = calloc(n + 1, FMT_LEAF_BYTES);

	assert_non_null(leaves);
	for (unsigned i = 0; i < n; i++, entry += entry_bytes) {
		unsigned k = first_frame + i;
		struct eng_frame_info f = {.time_ns = KIT_T0 + k * KIT_STEP,
		                           .dts_ns = k * KIT_STEP,
		                           .duration_ns = KIT_STEP,
		                           .size_bytes = size,
		                           .flags = k % 25 == 0 ? ENG_FRAME_KEY : 0};

		kit_fill(k, payload + (size_t)i * size, size);
		fmt_frame_put(&f, false, entry);
		if (!leaf)
			continue;
		fmt_leaf(c->h.salt_seed, i, entry, payload + (size_t)i * size, size, leaves[i]);
		memcpy(f.leaf, leaves[i], FMT_LEAF_BYTES);
		fmt_frame_put(&f, true, entry);
	}
	if (leaf)
		fmt_merkle_root((const uint8_t(*)[FMT_LEAF_BYTES])leaves, n, c->h.root);
	free(leaves);
}

void kit_chunk_make(struct kit_chunk *c, unsigned first_frame, unsigned n, uint32_t size)
{
	struct eng_chunk *e = &c->h.c;
	struct eng_chunk_track none = {.first_ns = ENG_NO_TIME, .last_ns = ENG_NO_TIME};
	unsigned first_key = (first_frame + 24) / 25 * 25;

	e->frame_count = n;
	e->payload_bytes = n * size;
	c->h.unit_count = (e->payload_bytes + FMT_UNIT_BYTES - 1) / FMT_UNIT_BYTES;
	c->h.frame_entry_bytes = e->flags & FMT_CHUNK_LEAVES ? 64 : 32;
	e->payload_offset =
	        fmt_payload_offset(c->h.unit_count, n, e->flags & FMT_CHUNK_LEAVES ? 64 : 32);
	e->total_bytes = (uint32_t)align_up(e->payload_offset + e->payload_bytes, FMT_BLOCK);
	e->track[0] = e->track[1] = none;
	e->first_ns = e->end_ns = e->first_key_ns = ENG_NO_TIME;
	if (n > 0) {
		e->first_ns = KIT_T0 + first_frame * KIT_STEP;
		e->end_ns = e->first_ns + n * KIT_STEP;
		e->track[0] = (struct eng_chunk_track){.frames = n,
		                                       .bytes = n * size,
		                                       .first_ns = e->first_ns,
		                                       .last_ns = e->end_ns - KIT_STEP};
	}
	for (unsigned k = first_key; k < first_frame + n; k += 25)
		e->track[0].keys++;
	if (e->track[0].keys > 0)
		e->first_key_ns = KIT_T0 + first_key * KIT_STEP;
	if (e->flags & FMT_CHUNK_LEAVES)
		kit_fill(e->sequence, c->h.salt_seed, sizeof c->h.salt_seed);
	c->bytes = calloc(1, e->total_bytes);
	assert_non_null(c->bytes);
	chunk_frames(c, first_frame, n, size);
	for (uint32_t u = 0; u < c->h.unit_count; u++)
		fmt_digest(c->bytes + e->payload_offset + (size_t)u * FMT_UNIT_BYTES,
		           fmt_unit_bytes(e, u), c->bytes + FMT_CHUNK_HEADER + u * FMT_UNIT_ENTRY);
	fmt_digest(c->bytes + FMT_CHUNK_HEADER, e->payload_offset - FMT_CHUNK_HEADER,
	           c->h.table_digest);
	fmt_chunk_put(&c->h, c->bytes);
}

void kit_segment_begin(struct kit_segment *g, const struct kit_store *s, uint64_t number,
                       const char *camera)
{
	struct fmt_segment h = {.number = number,
	                        .generation = 1,
	                        .segment_bytes = s->sb.segment_bytes,
	                        .epoch = 1,
	                        .flags = FMT_SEG_LEAVES,
	                        .made_ns = KIT_T0};
	uint8_t block[FMT_BLOCK];

	memset(g, 0, sizeof *g);
	g->store = s;
	memcpy(h.store, s->sb.store, ENG_UUID_BYTES);
	snprintf(h.camera, sizeof h.camera, "%s", camera);
	fmt_stream_uuid(s->sb.store, camera, false, h.stream);
	kit_setup(&h.setup, false);
	fmt_segment_put(&h, block);
	assert_int_equal(segment_walk_begin(&g->walk, &s->sb, number, block), 0);
	g->fd = store_open_segment(s->dir, number, O_RDWR);
	assert_true(g->fd >= 0);
	assert_int_equal(file_pwrite_full(g->fd, block, sizeof block, 0), 0);
	g->entries = calloc(KIT_SEGMENT / FMT_BLOCK, FMT_FOOTER_ENTRY);
	g->roots = calloc(KIT_SEGMENT / FMT_BLOCK, FMT_LEAF_BYTES);
	assert_true(g->entries && g->roots);
}

void kit_segment_chunk(struct kit_segment *g, uint64_t sequence, uint64_t run, unsigned first_frame,
                       unsigned n, uint32_t size)
{
	const struct fmt_segment *s = &g->walk.header;
	struct kit_chunk c = {.h = {.epoch = 1,
	                            .c = {.segment = s->number,
	                                  .generation = s->generation,
	                                  .sequence = sequence,
	                                  .run = run,
	                                  .flags = FMT_CHUNK_LEAVES | FMT_CHUNK_CLOCK_SYNCED}}};
	struct fmt_chunk taken;

	if (run == sequence) {
		c.h.c.flags |= FMT_CHUNK_RUN_START;
		c.h.c.start_reason = ENG_REASON_FIRST;
	}
	if (n == 0) {
		c.h.c.flags |= FMT_CHUNK_RUN_END;
		c.h.c.end_reason = ENG_REASON_OPERATOR;
	}
	memcpy(c.h.store, s->store, ENG_UUID_BYTES);
	memcpy(c.h.stream, s->stream, ENG_UUID_BYTES);
	memcpy(c.h.prev_digest, g->walk.last_digest, FMT_DIGEST_BYTES);
	memcpy(c.h.c.cum, g->walk.total, sizeof c.h.c.cum);
	kit_chunk_make(&c, first_frame, n, size);
	if (segment_walk_take(&g->walk, c.bytes, &taken) < 0)
		fail_msg("made by hand, refused: %s", g->walk.why);
	assert_int_equal(file_pwrite_full(g->fd, c.bytes, taken.c.total_bytes, taken.c.offset), 0);
	fmt_footer_entry_put(&taken.c,
	                     g->entries + (size_t)(g->walk.chunks - 1) * FMT_FOOTER_ENTRY);
	memcpy(g->roots[g->walk.chunks - 1], taken.root, FMT_LEAF_BYTES);
	free(c.bytes);
}

static void segment_footer(struct kit_segment *g, uint64_t first_sequence)
{
	const struct segment_walk *w = &g->walk;
	uint64_t bytes = fmt_footer_bytes(w->chunks);
	struct fmt_footer f = {.segment = w->header.number,
	                       .generation = w->header.generation,
	                       .first_sequence = first_sequence,
	                       .last_sequence = w->last.c.sequence,
	                       .epoch = 1,
	                       .entries = w->chunks,
	                       .body_offset = (uint32_t)(w->header.segment_bytes - bytes),
	                       .sealed_ns = w->end_ns,
	                       .first_ns = w->first_ns,
	                       .end_ns = w->end_ns};
	uint8_t trailer[FMT_BLOCK];

	memcpy(f.store, w->header.store, ENG_UUID_BYTES);
	memcpy(f.stream, w->header.stream, ENG_UUID_BYTES);
	memcpy(f.last_header_digest, w->last_digest, FMT_DIGEST_BYTES);
	memcpy(f.total, w->total, sizeof f.total);
	fmt_digest(g->entries, bytes - FMT_BLOCK, f.body_digest);
	fmt_merkle_root((const uint8_t(*)[FMT_LEAF_BYTES])g->roots, w->chunks, f.root);
	fmt_footer_put(&f, trailer);
	assert_int_equal(file_pwrite_full(g->fd, g->entries, bytes - FMT_BLOCK, f.body_offset), 0);
	assert_int_equal(file_pwrite_full(g->fd, trailer, sizeof trailer,
	                                  w->header.segment_bytes - FMT_BLOCK),
	                 0);
}

void kit_segment_end(struct kit_segment *g, enum fmt_state state)
{
	const struct segment_walk *w = &g->walk;
	uint64_t first = w->chunks > 0 ? w->last.c.sequence - (w->chunks - 1) : 0;
	struct fmt_catalog_entry e = {.generation = w->header.generation,
	                              .state = (uint8_t)state,
	                              .flags = FMT_SEG_LEAVES,
	                              .committed_bytes = w->end,
	                              .chunks = w->chunks,
	                              .first_ns = w->first_ns,
	                              .end_ns = w->end_ns,
	                              .first_sequence = first,
	                              .last_sequence = w->chunks > 0 ? w->last.c.sequence : 0};
	struct catalog *c;

	memcpy(e.stream, w->header.stream, ENG_UUID_BYTES);
	if (state == FMT_STATE_SEALED)
		segment_footer(g, first);
	assert_int_equal(catalog_open(g->store->dir, &g->store->sb, true, &c), 0);
	catalog_put(c, w->header.number, &e);
	catalog_close(c);
	close(g->fd);
	free(g->entries);
	free(g->roots);
}

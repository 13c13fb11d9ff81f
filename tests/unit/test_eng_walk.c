/*
 * test_eng_walk.c — the rules V1–V4 one by one: a chunk that breaks exactly one of them, with every
 * digest in order, is refused; and the walk stays where it was.
 */
#include <errno.h>
#include <fcntl.h>

#include "tests/unit/support_eng_read.h"

struct scene {
	struct fmt_superblock sb;
	struct segment_walk w; /* one chunk taken: sequence 7, run 7, epoch 3 */
	struct fmt_chunk next; /* a good second one, to be spoilt */
};

static struct fmt_segment a_header(const struct fmt_superblock *sb)
{
	struct fmt_segment s = {.number = 5,
	                        .generation = 2,
	                        .segment_bytes = sb->segment_bytes,
	                        .epoch = 3,
	                        .flags = FMT_SEG_LEAVES,
	                        .camera = "c"};

	memcpy(s.store, sb->store, ENG_UUID_BYTES);
	fmt_stream_uuid(sb->store, "c", false, s.stream);
	kit_setup(&s.setup, false);
	return s;
}

static struct fmt_chunk a_chunk(const struct segment_walk *w, uint64_t sequence)
{
	struct fmt_chunk c = {
	        .epoch = 3,
	        .c = {.segment = 5,
	              .generation = 2,
	              .sequence = sequence,
	              .run = 7,
	              .flags = FMT_CHUNK_LEAVES | (sequence == 7 ? FMT_CHUNK_RUN_START : 0)}};

	memcpy(c.store, w->header.store, ENG_UUID_BYTES);
	memcpy(c.stream, w->header.stream, ENG_UUID_BYTES);
	memcpy(c.prev_digest, w->last_digest, FMT_DIGEST_BYTES);
	memcpy(c.c.cum, w->total, sizeof c.c.cum);
	return c;
}

static int take(struct segment_walk *w, const struct fmt_chunk *h, unsigned frames, uint32_t size)
{
	struct kit_chunk k = {.h = *h};
	struct fmt_chunk c;
	int rc;

	kit_chunk_make(&k, 0, frames, size);
	rc = segment_walk_take(w, k.bytes, &c);
	free(k.bytes);
	return rc;
}

static int setup(void **state)
{
	struct scene *s = calloc(1, sizeof *s);
	uint8_t block[FMT_BLOCK];
	struct fmt_segment header;
	struct fmt_chunk first;

	assert_non_null(s);
	s->sb = (struct fmt_superblock){.segment_bytes = 4 * MIB, .segment_count = 9};
	kit_fill(3, s->sb.store, ENG_UUID_BYTES);
	header = a_header(&s->sb);
	fmt_segment_put(&header, block);
	assert_int_equal(segment_walk_begin(&s->w, &s->sb, 5, block), 0);
	first = a_chunk(&s->w, 7);
	assert_int_equal(take(&s->w, &first, 10, 100), 0);
	s->next = a_chunk(&s->w, 8);
	*state = s;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static void refused(struct scene *s, const struct fmt_chunk *h, const char *word)
{
	struct segment_walk before = s->w;

	assert_int_equal(take(&s->w, h, 10, 100), -EUCLEAN);
	if (!strstr(s->w.why, word))
		fail_msg("expected \"%s\", got \"%s\"", word, s->w.why);
	s->w.why = before.why;
	assert_memory_equal(&s->w, &before, sizeof before);
}

static void test_header(void **state)
{
	struct scene *s = *state;
	struct fmt_segment h = a_header(&s->sb);
	struct segment_walk w;
	uint8_t block[FMT_BLOCK];

	fmt_segment_put(&h, block);
	assert_int_equal(segment_walk_begin(&w, &s->sb, 6, block), -EUCLEAN);
	assert_non_null(strstr(w.why, "another segment"));
	h.store[0] ^= 1;
	fmt_segment_put(&h, block);
	assert_int_equal(segment_walk_begin(&w, &s->sb, 5, block), -EUCLEAN);
	assert_non_null(strstr(w.why, "another store"));
	h = a_header(&s->sb);
	h.segment_bytes *= 2;
	fmt_segment_put(&h, block);
	assert_int_equal(segment_walk_begin(&w, &s->sb, 5, block), -EUCLEAN);
	assert_non_null(strstr(w.why, "segment size"));
}

static void test_good(void **state)
{
	struct scene *s = *state;

	assert_int_equal(take(&s->w, &s->next, 10, 100), 0);
	assert_int_equal(s->w.chunks, 2);
	assert_int_equal(s->w.end, 3 * FMT_BLOCK); /* 1000 bytes and tables: one block each */
	assert_int_equal(s->w.total[0].frames, 20);
	assert_int_equal(s->w.total[0].bytes, 2000);
}

static void test_belonging(void **state)
{
	struct scene *s = *state;
	struct fmt_chunk c;

	c = s->next;
	c.store[0] ^= 1;
	refused(s, &c, "another");
	c = s->next;
	c.stream[0] ^= 1;
	refused(s, &c, "another");
	c = s->next;
	c.c.segment++;
	refused(s, &c, "another");
	c = s->next;
	c.c.generation--;
	refused(s, &c, "another");
	c = s->next;
	c.c.flags |= FMT_CHUNK_IMPORTED;
	refused(s, &c, "another");
	c = s->next;
	c.c.flags |= FMT_CHUNK_ENCRYPTED;
	refused(s, &c, "another");
	c = s->next;
	c.c.flags &= ~(uint32_t)FMT_CHUNK_LEAVES;
	refused(s, &c, "another");
}

static void test_chain(void **state)
{
	struct scene *s = *state;
	struct fmt_chunk c;

	c = s->next;
	c.prev_digest[9] ^= 1;
	refused(s, &c, "does not follow");
	c = s->next;
	c.c.sequence = 9;
	refused(s, &c, "sequence");
	c = s->next;
	c.epoch = 2;
	refused(s, &c, "earlier writer");
	c = s->next;
	c.c.cum[0].bytes++;
	refused(s, &c, "totals");
	c = s->next;
	c.c.cum[1] = (struct eng_cum){.frames = 1, .chunks = 1};
	refused(s, &c, "totals");
}

/* The last chunk leaves room for the footer of all chunks, to the byte. */
static void test_footer_room(void **state)
{
	struct scene *s = *state;
	uint64_t room = s->sb.segment_bytes - s->w.end - fmt_footer_bytes(2);
	struct segment_walk w = s->w;
	struct kit_chunk probe = {.h = s->next};
	uint32_t tables;

	kit_chunk_make(&probe, 0, 1, 3 * MIB);
	tables = probe.h.c.payload_offset;
	free(probe.bytes);
	/* As many units as the room has, so the tables are a little larger: aim below, then step.
	 */
	for (uint32_t size = (uint32_t)room - tables - 2 * FMT_BLOCK;; size += FMT_BLOCK) {
		struct kit_chunk k = {.h = s->next};
		struct fmt_chunk c;
		bool fits;
		int rc;

		kit_chunk_make(&k, 0, 1, size);
		fits = k.h.c.total_bytes <= room;
		w = s->w;
		rc = segment_walk_take(&w, k.bytes, &c);
		free(k.bytes);
		assert_int_equal(rc, fits ? 0 : -EUCLEAN);
		if (!fits) {
			assert_non_null(strstr(w.why, "footer"));
			break;
		}
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_header), T(test_good), T(test_belonging), T(test_chain), T(test_footer_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

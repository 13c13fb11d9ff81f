/*
 * test_eng_reader.c — what the reader promises: the right bytes, in order, once; -EUCLEAN for
 * exactly what is damaged; -ESTALE for what was recycled; neighbours served in every case.
 *
 * Stores come from the real writer; segments that a healthy writer never leaves (doubles, retired,
 * orphaned) are made by hand.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "tests/unit/support_eng_read.h"

#define ALL INT64_MIN + 1, INT64_MAX

struct box {
	struct kit_store store;
	struct eng_writer *w;
	struct eng_reader *r;
	struct eng_run *runs;
	size_t n_runs;
	struct eng_chunk *chunks;
	size_t n_chunks;
};

static int setup(void **state)
{
	struct box *b = calloc(1, sizeof *b);

	assert_non_null(b);
	kit_store_make(&b->store, 8);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct box *b = *state;

	eng_reader_close(b->r);
	if (b->w)
		eng_writer_close(b->w);
	kit_store_remove(&b->store);
	free(b->runs);
	free(b->chunks);
	free(b);
	return 0;
}

static struct eng_stream *begin(struct box *b, const char *camera, bool imported,
                                enum eng_reason reason)
{
	struct eng_stream *s = NULL;
	struct eng_setup es;

	if (!b->w)
		b->w = kit_writer_open(&b->store);
	kit_setup(&es, false);
	assert_int_equal(eng_stream_get(b->w, camera, imported, &s), 0);
	assert_int_equal(eng_run_begin(s, &es, reason), 0);
	return s;
}

static void runs(struct box *b, const char *camera, int64_t from_ns, int64_t to_ns)
{
	if (!b->r)
		b->r = kit_reader_open(&b->store);
	free(b->runs);
	assert_int_equal(eng_runs(b->r, camera, from_ns, to_ns, &b->runs, &b->n_runs), 0);
}

static void chunks(struct box *b, size_t run, int64_t from_ns, int64_t to_ns)
{
	free(b->chunks);
	assert_int_equal(eng_index(b->r, b->runs[run].stream, b->runs[run].run, from_ns, to_ns,
	                           &b->chunks, &b->n_chunks),
	                 0);
	for (size_t i = 1; i < b->n_chunks; i++)
		assert_true(b->chunks[i].sequence > b->chunks[i - 1].sequence);
}

static unsigned frames_in(const struct box *b)
{
	unsigned n = 0;

	for (size_t i = 0; i < b->n_chunks; i++)
		n += b->chunks[i].frame_count;
	return n;
}

/* ---- the plain case ---- */

static void test_round_trip(void **state)
{
	struct box *b = *state;
	struct eng_stream *s = begin(b, "东门", false, ENG_REASON_FIRST);
	struct eng_setup want;
	uint64_t change;

	/* 600 frames of 20 KB: 12 MB, so several segments, the last one open. */
	kit_append(b->w, s, 0, 600, 20000);
	runs(b, "东门", ALL);
	assert_int_equal(b->n_runs, 1);
	assert_string_equal(b->runs[0].camera, "东门");
	assert_int_equal(b->runs[0].first_ns, KIT_T0);
	assert_int_equal(b->runs[0].end_ns, KIT_T0 + 600 * KIT_STEP);
	assert_int_equal(b->runs[0].start_reason, ENG_REASON_FIRST);
	assert_int_equal(b->runs[0].end_reason, ENG_REASON_NONE);
	assert_false(b->runs[0].truncated);
	assert_false(b->runs[0].imported);
	kit_setup(&want, false);
	assert_memory_equal(b->runs[0].setup.track, want.track, sizeof want.track);
	chunks(b, 0, ALL);
	assert_true(b->chunks[0].segment != b->chunks[b->n_chunks - 1].segment);
	assert_int_equal(kit_check_frames(b->r, b->chunks, b->n_chunks), 600);

	/* The same reader sees what comes after, without being told. */
	change = eng_reader_change(b->r);
	kit_append(b->w, s, 600, 50, 20000);
	assert_true(eng_reader_change(b->r) > change);
	eng_run_end(s, ENG_REASON_OPERATOR);
	assert_int_equal(eng_sync(b->w, 60 * NSEC_PER_SEC), 0);
	runs(b, "东门", ALL);
	assert_int_equal(b->n_runs, 1);
	assert_int_equal(b->runs[0].end_reason, ENG_REASON_OPERATOR);
	assert_int_equal(b->runs[0].end_ns, KIT_T0 + 650 * KIT_STEP);
	chunks(b, 0, ALL);
	assert_int_equal(kit_check_frames(b->r, b->chunks, b->n_chunks), 650);

	/* And after the writer has closed: sealed or not, the same. */
	eng_writer_close(b->w);
	b->w = NULL;
	eng_reader_close(b->r);
	b->r = NULL;
	runs(b, "东门", ALL);
	chunks(b, 0, ALL);
	assert_int_equal(kit_check_frames(b->r, b->chunks, b->n_chunks), 650);
}

static void test_windows(void **state)
{
	struct box *b = *state;
	struct eng_stream *s = begin(b, "c", false, ENG_REASON_FIRST);

	kit_append(b->w, s, 0, 100, 20000);
	eng_run_end(s, ENG_REASON_STALLED);
	s = begin(b, "c", false, ENG_REASON_STALLED);
	kit_append(b->w, s, 200, 100, 20000);
	runs(b, "c", ALL);
	assert_int_equal(b->n_runs, 2);
	assert_int_equal(b->runs[0].end_reason, ENG_REASON_STALLED);
	assert_int_equal(b->runs[1].start_reason, ENG_REASON_STALLED);
	/* In the gap: nothing. Half-open at both ends. */
	runs(b, "c", KIT_T0 + 100 * KIT_STEP, KIT_T0 + 200 * KIT_STEP);
	assert_int_equal(b->n_runs, 0);
	runs(b, "c", KIT_T0 + 100 * KIT_STEP - 1, KIT_T0 + 200 * KIT_STEP);
	assert_int_equal(b->n_runs, 1);
	assert_int_equal(b->runs[0].end_ns, KIT_T0 + 100 * KIT_STEP); /* extents are not clipped */
	assert_int_equal(b->runs[0].first_ns, KIT_T0);
	runs(b, "c", KIT_T0 + 100 * KIT_STEP, KIT_T0 + 200 * KIT_STEP + 1);
	assert_int_equal(b->n_runs, 1);
	assert_int_equal(b->runs[0].first_ns, KIT_T0 + 200 * KIT_STEP);
	runs(b, "c", ALL);
	chunks(b, 1, KIT_T0 + 250 * KIT_STEP, KIT_T0 + 250 * KIT_STEP + 1);
	assert_int_equal(b->n_chunks, 1);
	assert_true(b->chunks[0].first_ns <= KIT_T0 + 250 * KIT_STEP);
	assert_true(b->chunks[0].end_ns > KIT_T0 + 250 * KIT_STEP);
	chunks(b, 0, KIT_T0 + 250 * KIT_STEP, INT64_MAX);
	assert_int_equal(b->n_chunks, 0);
	runs(b, "no such camera", ALL);
	assert_int_equal(b->n_runs, 0);
}

static void test_cameras(void **state)
{
	struct box *b = *state;
	struct eng_stream *s;
	char(*names)[ENG_CAMERA_MAX];
	size_t n;

	b->r = kit_reader_open(&b->store);
	assert_int_equal(eng_cameras(b->r, &names, &n), 0);
	assert_int_equal(n, 0);
	free(names);
	s = begin(b, "b", false, ENG_REASON_FIRST);
	kit_append(b->w, s, 0, 5, 100);
	s = begin(b, "b", true, ENG_REASON_FIRST);
	kit_append(b->w, s, 0, 5, 100);
	s = begin(b, "a", true, ENG_REASON_FIRST);
	kit_append(b->w, s, 0, 5, 100);
	assert_int_equal(eng_cameras(b->r, &names, &n), 0);
	assert_int_equal(n, 2);
	assert_string_equal(names[0], "a");
	assert_string_equal(names[1], "b");
	free(names);
	runs(b, "b", ALL);
	assert_int_equal(b->n_runs, 2);
	assert_false(b->runs[0].imported);
	assert_true(b->runs[1].imported);
}

/* ---- damage ---- */

/* Four chunks in each of two sealed segments of one run, made by hand: 25 frames of 9000 bytes
 * (4 units) a chunk. */
static void two_segments(struct box *b, enum fmt_state second)
{
	struct kit_segment g;

	for (unsigned k = 0; k < 2; k++) {
		kit_segment_begin(&g, &b->store, k, "c");
		for (unsigned i = 0; i < 4; i++)
			kit_segment_chunk(&g, 1 + 4 * k + i, 1, (4 * k + i) * 25, 25, 9000);
		kit_segment_end(&g, k == 0 ? FMT_STATE_SEALED : second);
	}
	runs(b, "c", ALL);
	assert_int_equal(b->n_runs, 1);
	chunks(b, 0, ALL);
	assert_int_equal(b->n_chunks, 8);
	assert_int_equal(kit_check_frames(b->r, b->chunks, b->n_chunks), 200);
}

/* Any range of a chunk gives the same bytes as the whole. */
static void test_ranges(void **state)
{
	struct kit_random random = kit_random_open();
	struct box *b = *state;
	uint8_t *whole, *part;
	uint32_t size;

	two_segments(b, FMT_STATE_SEALED);
	size = b->chunks[0].payload_bytes;
	assert_true(size > 3 * FMT_UNIT_BYTES);
	whole = malloc(size);
	part = malloc(size + 2);
	assert_true(whole && part);
	assert_int_equal(eng_chunk_read(b->r, &b->chunks[0], 0, size, whole), 0);
	for (unsigned i = 0; i < 2000; i++) {
		uint32_t at = (uint32_t)(kit_random(&random) % size);
		uint32_t len = (uint32_t)(kit_random(&random) % (size - at + 1));

		if (i % 3 == 0) { /* at and around the units' edges */
			at = (uint32_t)(kit_random(&random) % 4) * FMT_UNIT_BYTES;
			len = FMT_UNIT_BYTES - 1 + (uint32_t)(kit_random(&random) % 3);
		}
		if ((uint64_t)at + len > size)
			len = size - at;
		part[0] = part[len + 1] = 0x5a;
		assert_int_equal(eng_chunk_read(b->r, &b->chunks[0], at, len, part + 1), 0);
		assert_memory_equal(part + 1, whole + at, len);
		assert_int_equal(part[0], 0x5a); /* and nothing beside them */
		assert_int_equal(part[len + 1], 0x5a);
	}
	assert_int_equal(eng_chunk_read(b->r, &b->chunks[0], size, 1, part), -EINVAL);
	assert_int_equal(eng_chunk_read(b->r, &b->chunks[0], UINT32_MAX, UINT32_MAX, part),
	                 -EINVAL);
	free(whole);
	free(part);
}

static int read_chunk(struct box *b, const struct eng_chunk *c)
{
	uint8_t *buf = malloc(c->payload_bytes);
	int rc = eng_chunk_read(b->r, c, 0, c->payload_bytes, buf);

	free(buf);
	return rc;
}

/* All chunks but number `bad` are served and right. */
static void others_served(struct box *b, size_t bad)
{
	assert_int_equal(kit_check_frames(b->r, b->chunks, bad), 25 * bad);
	assert_int_equal(kit_check_frames(b->r, b->chunks + bad + 1, b->n_chunks - bad - 1),
	                 25 * (b->n_chunks - bad - 1));
}

static void test_rot_in_payload(void **state)
{
	struct box *b = *state;
	const struct eng_chunk *c;
	uint8_t buf[9000];

	two_segments(b, FMT_STATE_SEALED);
	c = &b->chunks[2];
	kit_flip(&b->store, 0, c->offset + c->payload_offset + FMT_UNIT_BYTES + 77, 0x04);
	assert_int_equal(read_chunk(b, c), -EUCLEAN);
	/* One unit is bad: bytes of the others still come, bytes of it never. */
	assert_int_equal(eng_chunk_read(b->r, c, 0, 9000, buf), 0);
	assert_int_equal(eng_chunk_read(b->r, c, 2 * FMT_UNIT_BYTES, 9000, buf), 0);
	assert_int_equal(eng_chunk_read(b->r, c, FMT_UNIT_BYTES, 1, buf), -EUCLEAN);
	assert_int_equal(eng_chunk_read(b->r, c, FMT_UNIT_BYTES - 1, 2, buf), -EUCLEAN);
	assert_int_equal(eng_chunk_read(b->r, c, 2 * FMT_UNIT_BYTES - 1, 2, buf), -EUCLEAN);
	others_served(b, 2);
}

static void test_rot_in_tables(void **state)
{
	struct box *b = *state;
	struct eng_frame_info f[25];
	const uint32_t places[] = {FMT_CHUNK_HEADER + 3, FMT_CHUNK_HEADER + 4 * 32 + 5,
	                           FMT_CHUNK_HEADER + 4 * 32 + 40};

	two_segments(b, FMT_STATE_SEALED);
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		kit_flip(&b->store, 0, b->chunks[1].offset + places[i], 0x80);
		assert_int_equal(read_chunk(b, &b->chunks[1]), -EUCLEAN);
		assert_int_equal(eng_chunk_frames(b->r, &b->chunks[1], f), -EUCLEAN);
		others_served(b, 1);
		kit_flip(&b->store, 0, b->chunks[1].offset + places[i], 0x80);
	}
}

static void test_rot_in_chunk_header(void **state)
{
	struct box *b = *state;
	struct eng_frame_info f[25];

	two_segments(b, FMT_STATE_SEALED);
	for (unsigned at = 0; at < FMT_CHUNK_HEADER; at += 7) {
		kit_flip(&b->store, 0, b->chunks[1].offset + at, 0x01);
		assert_int_equal(read_chunk(b, &b->chunks[1]), -EUCLEAN);
		assert_int_equal(eng_chunk_frames(b->r, &b->chunks[1], f), -EUCLEAN);
		kit_flip(&b->store, 0, b->chunks[1].offset + at, 0x01);
	}
	kit_flip(&b->store, 0, b->chunks[1].offset + 100, 0x01);
	/* A new reader, too, finds all the others: the footer knows where they are. */
	eng_reader_close(b->r);
	b->r = NULL;
	runs(b, "c", ALL);
	chunks(b, 0, ALL);
	assert_int_equal(b->n_chunks, 8);
	assert_int_equal(read_chunk(b, &b->chunks[1]), -EUCLEAN);
	others_served(b, 1);
}

static void test_rot_in_footer(void **state)
{
	struct box *b = *state;
	const uint64_t places[] = {KIT_SEGMENT - FMT_BLOCK + 20, KIT_SEGMENT - 2 * FMT_BLOCK + 100};

	two_segments(b, FMT_STATE_SEALED);
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		kit_flip(&b->store, 1, places[i], 0x20);
		eng_reader_close(b->r);
		b->r = NULL;
		runs(b, "c", ALL);
		chunks(b, 0, ALL);
		assert_int_equal(kit_check_frames(b->r, b->chunks, b->n_chunks), 200);
	}
}

static void test_rot_in_segment_header(void **state)
{
	struct box *b = *state;

	two_segments(b, FMT_STATE_SEALED);
	kit_flip(&b->store, 0, 300, 0x01);
	eng_reader_close(b->r);
	b->r = NULL;
	runs(b, "c", ALL);
	assert_int_equal(b->n_runs, 1);
	assert_true(b->runs[0].truncated);
	chunks(b, 0, ALL);
	assert_int_equal(b->n_chunks, 4); /* the other segment's */
	assert_int_equal(kit_check_frames(b->r, b->chunks, b->n_chunks), 100);
}

static void test_segment_of_another_store(void **state)
{
	struct box *b = *state;
	struct kit_store other;
	char command[3 * PATH_MAX];

	two_segments(b, FMT_STATE_SEALED);
	kit_store_make(&other, 8);
	{
		struct box o = {.store = other};

		two_segments(&o, FMT_STATE_SEALED);
		eng_reader_close(o.r);
		free(o.runs);
		free(o.chunks);
	}
	snprintf(command, sizeof command, "cp '%s/seg/00000/0000000000' '%s/seg/00000/0000000000'",
	         other.dir, b->store.dir);
	assert_int_equal(system(command), 0);
	/* What was indexed before is refused when read; a new reader does not list it at all. */
	assert_int_equal(read_chunk(b, &b->chunks[0]), -EUCLEAN);
	assert_int_equal(read_chunk(b, &b->chunks[4]), 0);
	eng_reader_close(b->r);
	b->r = NULL;
	runs(b, "c", ALL);
	chunks(b, 0, ALL);
	assert_int_equal(b->n_chunks, 4);
	kit_store_remove(&other);
}

/* Two chunks in each other's place: every digest holds, and yet neither is what was asked for. */
static void test_misplaced_chunks(void **state)
{
	struct box *b = *state;
	uint32_t total;
	uint8_t *one, *two;
	int fd;

	two_segments(b, FMT_STATE_SEALED);
	total = b->chunks[1].total_bytes;
	assert_int_equal(total, b->chunks[2].total_bytes);
	one = malloc(total);
	two = malloc(total);
	fd = store_open_segment(b->store.dir, 0, O_RDWR);
	assert_true(one && two && fd >= 0);
	assert_int_equal(file_pread_full(fd, one, total, b->chunks[1].offset), 0);
	assert_int_equal(file_pread_full(fd, two, total, b->chunks[2].offset), 0);
	assert_int_equal(file_pwrite_full(fd, one, total, b->chunks[2].offset), 0);
	assert_int_equal(file_pwrite_full(fd, two, total, b->chunks[1].offset), 0);
	close(fd);
	free(one);
	free(two);
	assert_int_equal(read_chunk(b, &b->chunks[0]), 0);
	assert_int_equal(read_chunk(b, &b->chunks[1]), -EUCLEAN);
	assert_int_equal(read_chunk(b, &b->chunks[2]), -EUCLEAN);
	assert_int_equal(read_chunk(b, &b->chunks[3]), 0);
}

static void test_short_file(void **state)
{
	struct box *b = *state;
	char path[PATH_MAX + 32];

	two_segments(b, FMT_STATE_SEALED);
	snprintf(path, sizeof path, "%s/seg/00000/0000000000", b->store.dir);
	assert_int_equal(truncate(path, b->chunks[1].offset + 600), 0);
	assert_int_equal(read_chunk(b, &b->chunks[1]), -EUCLEAN);
	assert_int_equal(read_chunk(b, &b->chunks[2]), -EUCLEAN);
	assert_int_equal(read_chunk(b, &b->chunks[0]), 0);
	assert_int_equal(read_chunk(b, &b->chunks[4]), 0);
}

static void test_rot_in_open_segment(void **state)
{
	struct box *b = *state;

	two_segments(b, FMT_STATE_OPEN);
	kit_flip(&b->store, 1, b->chunks[6].offset + 100, 0x01);
	assert_int_equal(read_chunk(b, &b->chunks[6]), -EUCLEAN);
	others_served(b, 6);
	/* A new reader walks: what is before the damage is served. */
	eng_reader_close(b->r);
	b->r = NULL;
	runs(b, "c", ALL);
	chunks(b, 0, ALL);
	assert_int_equal(b->n_chunks, 6);
	assert_int_equal(kit_check_frames(b->r, b->chunks, 6), 150);
}

/* ---- catalog against segments ---- */

static void change_entry(struct box *b, uint64_t segment,
                         void (*change)(struct fmt_catalog_entry *e))
{
	struct fmt_catalog_entry e;
	struct catalog *c;

	assert_int_equal(catalog_open(b->store.dir, &b->store.sb, true, &c), 0);
	assert_int_equal(catalog_get(c, segment, &e), 0);
	change(&e);
	catalog_put(c, segment, &e);
	catalog_close(c);
}

static void recycle(struct fmt_catalog_entry *e)
{
	uint64_t generation = e->generation + 1;

	*e = (struct fmt_catalog_entry){.generation = generation,
	                                .state = FMT_STATE_RECYCLED,
	                                .first_ns = ENG_NO_TIME,
	                                .end_ns = ENG_NO_TIME};
}

static void test_recycled(void **state)
{
	struct box *b = *state;
	struct eng_frame_info f[25];
	struct eng_run *before;
	uint64_t change;

	two_segments(b, FMT_STATE_SEALED);
	before = b->runs;
	change = eng_reader_change(b->r);
	assert_false(before[0].truncated);
	change_entry(b, 0, recycle);
	assert_true(eng_reader_change(b->r) > change);
	/* The bytes are still there, intact: and yet they are gone. */
	assert_int_equal(read_chunk(b, &b->chunks[0]), -ESTALE);
	assert_int_equal(eng_chunk_frames(b->r, &b->chunks[0], f), -ESTALE);
	assert_int_equal(read_chunk(b, &b->chunks[5]), 0);
	/* Overwritten by the next user meanwhile: stale, not damaged. */
	kit_flip(&b->store, 0, b->chunks[0].offset + 100, 0xff);
	assert_int_equal(read_chunk(b, &b->chunks[0]), -ESTALE);
	runs(b, "c", ALL);
	assert_int_equal(b->n_runs, 1);
	assert_true(b->runs[0].truncated);
	assert_int_equal(b->runs[0].first_ns, KIT_T0 + 100 * KIT_STEP);
	assert_int_equal(b->runs[0].run, 1);
	chunks(b, 0, ALL);
	assert_int_equal(kit_check_frames(b->r, b->chunks, b->n_chunks), 100);
}

static void half(struct fmt_catalog_entry *e)
{
	e->chunks = 2;
	e->last_sequence = 6;
	e->end_ns = KIT_T0 + 150 * KIT_STEP;
	e->committed_bytes = 4096 + (e->committed_bytes - 4096) / 2;
}

static void test_never_beyond_committed(void **state)
{
	struct box *b = *state;

	/* The disk holds four chunks in the open segment, two are committed. */
	two_segments(b, FMT_STATE_OPEN);
	change_entry(b, 1, half);
	assert_int_equal(read_chunk(b, &b->chunks[5]), 0);
	assert_int_equal(read_chunk(b, &b->chunks[6]), -ESTALE);
	eng_reader_close(b->r);
	b->r = NULL;
	runs(b, "c", ALL);
	assert_int_equal(b->runs[0].end_ns, KIT_T0 + 150 * KIT_STEP);
	chunks(b, 0, ALL);
	assert_int_equal(b->n_chunks, 6);
}

static void test_doubles(void **state)
{
	struct box *b = *state;
	struct kit_segment g;

	/* Chunks 3 and 4 of the failed segment were written again to another one. */
	kit_segment_begin(&g, &b->store, 3, "c");
	for (unsigned i = 0; i < 4; i++)
		kit_segment_chunk(&g, 1 + i, 1, i * 25, 25, 9000);
	kit_segment_end(&g, FMT_STATE_RETIRED);
	kit_segment_begin(&g, &b->store, 0, "c");
	for (unsigned i = 2; i < 6; i++)
		kit_segment_chunk(&g, 1 + i, 1, i * 25, 25, 9000);
	kit_segment_end(&g, FMT_STATE_OPEN);
	runs(b, "c", ALL);
	assert_int_equal(b->n_runs, 1);
	assert_int_equal(b->runs[0].end_ns, KIT_T0 + 150 * KIT_STEP);
	chunks(b, 0, ALL);
	assert_int_equal(b->n_chunks, 6);
	assert_int_equal(b->chunks[1].segment, 3);
	assert_int_equal(b->chunks[2].segment, 0); /* not the failing device's copy */
	assert_int_equal(b->chunks[3].segment, 0);
	assert_int_equal(kit_check_frames(b->r, b->chunks, b->n_chunks), 150);
}

static void test_runs_span_and_interleave(void **state)
{
	struct box *b = *state;
	struct kit_segment g;

	/* Run 1: chunks 1–5 over two segments, ended by an empty chunk 6; run 7 behind it. */
	kit_segment_begin(&g, &b->store, 2, "c");
	for (unsigned i = 0; i < 4; i++)
		kit_segment_chunk(&g, 1 + i, 1, i * 25, 25, 9000);
	kit_segment_end(&g, FMT_STATE_SEALED);
	kit_segment_begin(&g, &b->store, 1, "c");
	kit_segment_chunk(&g, 5, 1, 100, 25, 9000);
	kit_segment_chunk(&g, 6, 1, 0, 0, 0);
	kit_segment_chunk(&g, 7, 7, 200, 25, 9000);
	kit_segment_end(&g, FMT_STATE_OPEN);
	/* Asked at either end of run 1, all of it is told. */
	runs(b, "c", KIT_T0, KIT_T0 + 1);
	assert_int_equal(b->n_runs, 1);
	assert_int_equal(b->runs[0].end_ns, KIT_T0 + 125 * KIT_STEP);
	assert_int_equal(b->runs[0].end_reason, ENG_REASON_OPERATOR);
	runs(b, "c", KIT_T0 + 124 * KIT_STEP, KIT_T0 + 125 * KIT_STEP);
	assert_int_equal(b->n_runs, 1);
	assert_int_equal(b->runs[0].first_ns, KIT_T0);
	assert_false(b->runs[0].truncated);
	chunks(b, 0, ALL);
	assert_int_equal(b->n_chunks, 5); /* the empty one is left out */
	runs(b, "c", ALL);
	assert_int_equal(b->n_runs, 2);
	assert_int_equal(b->runs[1].run, 7);
	assert_int_equal(frames_in(b), 125);
}

/* ---- opening ---- */

static void test_open_refused(void **state)
{
	struct box *b = *state;
	struct eng_reader *r = NULL;
	char err[256] = "", path[PATH_MAX + 32];
	uint8_t block[FMT_BLOCK];
	struct fmt_superblock sb = b->store.sb;

	assert_int_equal(eng_reader_open("/nowhere", &r, err, sizeof err), -ENOENT);
	assert_non_null(strstr(err, "not a custos store"));
	snprintf(path, sizeof path, "%s/catalog", b->store.dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(eng_reader_open(b->store.dir, &r, err, sizeof err), -EUCLEAN);
	assert_non_null(strstr(err, "fsck"));
	sb.flags = FMT_STORE_ENCRYPTED;
	fmt_superblock_put(&sb, block);
	snprintf(path, sizeof path, "%s/store", b->store.dir);
	assert_int_equal(file_replace(path, block, sizeof block, 0640), 0);
	assert_int_equal(eng_reader_open(b->store.dir, &r, err, sizeof err), -ENOTSUP);
	assert_non_null(strstr(err, "encrypted"));
}

static void test_rebuilt_catalog_is_followed(void **state)
{
	struct box *b = *state;
	char err[256] = "";
	struct kit_segment g;
	uint64_t change;

	two_segments(b, FMT_STATE_SEALED);
	change = eng_reader_change(b->r);
	assert_int_equal(eng_catalog_rebuild(b->store.dir, err, sizeof err), 0);
	/* The old mapping is dead; what is written after is seen through the new one. */
	kit_segment_begin(&g, &b->store, 2, "c");
	kit_segment_chunk(&g, 9, 1, 200, 25, 9000);
	kit_segment_end(&g, FMT_STATE_OPEN);
	assert_true(eng_reader_change(b->r) > change);
	runs(b, "c", ALL);
	chunks(b, 0, ALL);
	assert_int_equal(b->n_chunks, 9);
	assert_int_equal(kit_check_frames(b->r, b->chunks, b->n_chunks), 225);
}

/* ---- many at once ---- */

struct many {
	struct eng_reader *r;
	bool stop;
	unsigned rounds;
	const char *failure;
};

static void *ask_and_read(void *arg)
{
	struct many *m = arg;
	bool last = false;

	while (!last && !m->failure) {
		struct eng_run *run = NULL;
		struct eng_chunk *c = NULL;
		size_t n_run = 0, n = 0;

		last = __atomic_load_n(&m->stop, __ATOMIC_ACQUIRE);
		if (eng_runs(m->r, "c", ALL, &run, &n_run) < 0)
			m->failure = "eng_runs failed";
		for (size_t i = 0; i < n_run && !m->failure; i++) {
			if (eng_index(m->r, run[i].stream, run[i].run, ALL, &c, &n) < 0)
				m->failure = "eng_index failed";
			for (size_t k = 0; k < n; k++) {
				uint8_t buf[100];
				int rc = eng_chunk_read(m->r, &c[k], 0, 100, buf);

				if (rc < 0 && rc != -ESTALE)
					m->failure = "eng_chunk_read failed";
			}
			free(c);
			c = NULL;
		}
		free(run);
		m->rounds++;
	}
	return NULL;
}

static void test_threads_beside_the_writer(void **state)
{
	struct box *b = *state;
	struct eng_stream *s = begin(b, "c", false, ENG_REASON_FIRST);
	struct many m[3];
	pthread_t t[3];

	b->r = kit_reader_open(&b->store);
	for (unsigned i = 0; i < 3; i++) {
		m[i] = (struct many){.r = b->r};
		assert_int_equal(pthread_create(&t[i], NULL, ask_and_read, &m[i]), 0);
	}
	for (unsigned i = 0; i < 20; i++)
		kit_append(b->w, s, i * 25, 25, 20000);
	for (unsigned i = 0; i < 3; i++) {
		__atomic_store_n(&m[i].stop, true, __ATOMIC_RELEASE);
		pthread_join(t[i], NULL);
		if (m[i].failure)
			fail_msg("%s", m[i].failure);
		assert_true(m[i].rounds > 0);
	}
	runs(b, "c", ALL);
	chunks(b, 0, ALL);
	assert_int_equal(kit_check_frames(b->r, b->chunks, b->n_chunks), 500);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_round_trip),
	        T(test_windows),
	        T(test_cameras),
	        T(test_ranges),
	        T(test_rot_in_payload),
	        T(test_rot_in_tables),
	        T(test_rot_in_chunk_header),
	        T(test_rot_in_footer),
	        T(test_rot_in_segment_header),
	        T(test_segment_of_another_store),
	        T(test_misplaced_chunks),
	        T(test_short_file),
	        T(test_rot_in_open_segment),
	        T(test_recycled),
	        T(test_never_beyond_committed),
	        T(test_doubles),
	        T(test_runs_span_and_interleave),
	        T(test_open_refused),
	        T(test_rebuilt_catalog_is_followed),
	        T(test_threads_beside_the_writer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

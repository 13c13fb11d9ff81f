/*
 * test_eng_verify.c — eng_verify names what is bad and nothing else; a catalog rebuilt from the
 * segments says what the lost one said; eng_dump shows it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/unit/support_eng_read.h"

struct box {
	struct kit_store store;
	struct eng_verify_report report;
	unsigned findings;
	struct {
		uint64_t segment, offset;
		char what[200];
	} found[16];
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

	kit_store_remove(&b->store);
	free(b);
	return 0;
}

static void finding(void *arg, uint64_t segment, uint64_t offset, const char *what)
{
	struct box *b = arg;

	if (b->findings < ARRAY_LEN(b->found)) {
		b->found[b->findings].segment = segment;
		b->found[b->findings].offset = offset;
		snprintf(b->found[b->findings].what, sizeof b->found[0].what, "%s", what);
	}
	b->findings++;
}

static void verify(struct box *b, const char *camera, int64_t segment, bool payload)
{
	struct eng_verify_options opt = {.camera = camera,
	                                 .segment = segment,
	                                 .payload = payload,
	                                 .finding = finding,
	                                 .arg = b};
	char err[256] = "";

	b->findings = 0;
	if (eng_verify(b->store.dir, &opt, &b->report, err, sizeof err) < 0)
		fail_msg("eng_verify: %s", err);
	assert_int_equal(b->report.damaged, b->findings);
}

static void only(struct box *b, uint64_t segment, uint64_t offset, const char *word)
{
	if (b->findings != 1 || b->found[0].segment != segment || b->found[0].offset != offset ||
	    !strstr(b->found[0].what, word))
		fail_msg("%u findings, the first: segment %llu offset %llu: %s", b->findings,
		         (unsigned long long)b->found[0].segment,
		         (unsigned long long)b->found[0].offset, b->found[0].what);
}

/* Two cameras by the real writer: "a" over several segments, "b" small; then closed. */
static void record(struct box *b)
{
	struct eng_writer *w = kit_writer_open(&b->store);
	struct eng_stream *s;
	struct eng_setup es;

	kit_setup(&es, false);
	assert_int_equal(eng_stream_get(w, "a", false, &s), 0);
	assert_int_equal(eng_run_begin(s, &es, ENG_REASON_FIRST), 0);
	kit_append(w, s, 0, 400, 20000);
	assert_int_equal(eng_stream_get(w, "b", false, &s), 0);
	assert_int_equal(eng_run_begin(s, &es, ENG_REASON_FIRST), 0);
	kit_append(w, s, 0, 50, 3000);
	eng_writer_close(w);
}

/* One sealed segment with 4 chunks of 225000 bytes, made by hand. */
static struct segment_walk one_segment(struct box *b, enum fmt_state state)
{
	struct kit_segment g;

	kit_segment_begin(&g, &b->store, 0, "c");
	for (unsigned i = 0; i < 4; i++)
		kit_segment_chunk(&g, 1 + i, 1, i * 25, 25, 9000);
	kit_segment_end(&g, state);
	return g.walk;
}

/* All chunks made by hand are alike; so their places follow. */
static uint64_t chunk_at(const struct segment_walk *w, unsigned n)
{
	return FMT_BLOCK + n * (uint64_t)w->last.c.total_bytes;
}

static void test_clean(void **state)
{
	struct box *b = *state;

	record(b);
	verify(b, NULL, -1, true);
	if (b->findings > 0)
		fail_msg("%s", b->found[0].what);
	assert_int_equal(b->report.frames, 450);
	assert_int_equal(b->report.bytes, 400 * 20000 + 50 * 3000);
	assert_true(b->report.segments >= 3);
	verify(b, "b", -1, true);
	assert_int_equal(b->findings, 0);
	assert_int_equal(b->report.frames, 50);
	verify(b, "b", -1, false);
	assert_int_equal(b->report.frames, 50);
	assert_int_equal(b->report.bytes, 0);
	verify(b, "nobody", -1, true);
	assert_int_equal(b->report.segments, 0);
}

static void test_payload(void **state)
{
	struct box *b = *state;
	struct segment_walk w = one_segment(b, FMT_STATE_SEALED);
	uint64_t at = chunk_at(&w, 1) + w.last.c.payload_offset;

	verify(b, NULL, -1, true);
	assert_int_equal(b->findings, 0);
	assert_int_equal(b->report.chunks, 4);
	assert_int_equal(b->report.units, 16);
	kit_flip(&b->store, 0, at + 2 * FMT_UNIT_BYTES + 5, 0x01);
	verify(b, NULL, -1, true);
	only(b, 0, at + 2 * FMT_UNIT_BYTES, "unit 2 of 4");
	verify(b, NULL, -1, false); /* payload not asked for: not read */
	assert_int_equal(b->findings, 0);
}

static void test_tables_header_footer(void **state)
{
	struct box *b = *state;
	struct segment_walk w = one_segment(b, FMT_STATE_SEALED);
	uint64_t trailer = KIT_SEGMENT - FMT_BLOCK;

	kit_flip(&b->store, 0, chunk_at(&w, 2) + 600, 0x01);
	verify(b, NULL, -1, false);
	only(b, 0, chunk_at(&w, 2) + FMT_CHUNK_HEADER, "table digest");
	kit_flip(&b->store, 0, chunk_at(&w, 2) + 600, 0x01);

	/* A damaged header is one finding: the footer leads over it, the others are checked. */
	for (unsigned n = 0; n < 4; n++) {
		kit_flip(&b->store, 0, chunk_at(&w, n) + 300, 0x01);
		verify(b, NULL, -1, true);
		only(b, 0, chunk_at(&w, n), "header digest");
		assert_int_equal(b->report.chunks, 3);
		kit_flip(&b->store, 0, chunk_at(&w, n) + 300, 0x01);
	}
	kit_flip(&b->store, 0, trailer + 3, 0x01);
	verify(b, NULL, -1, true);
	only(b, 0, trailer, "footer");
	assert_int_equal(b->report.chunks, 4);
	kit_flip(&b->store, 0, trailer + 3, 0x01);

	kit_flip(&b->store, 0, trailer - FMT_BLOCK + 9, 0x01);
	verify(b, NULL, -1, true);
	only(b, 0, trailer - FMT_BLOCK, "footer body");
	kit_flip(&b->store, 0, trailer - FMT_BLOCK + 9, 0x01);

	kit_flip(&b->store, 0, 2000, 0x01);
	verify(b, NULL, -1, true);
	only(b, 0, 0, "segment header");
	kit_flip(&b->store, 0, 2000, 0x01);
	verify(b, NULL, -1, true);
	assert_int_equal(b->findings, 0);
}

static void write_at(struct box *b, uint64_t offset, const void *bytes, size_t len)
{
	int fd = store_open_segment(b->store.dir, 0, O_RDWR);

	assert_true(fd >= 0);
	assert_int_equal(file_pwrite_full(fd, bytes, len, offset), 0);
	close(fd);
}

static void read_at(struct box *b, uint64_t offset, void *bytes, size_t len)
{
	int fd = store_open_segment(b->store.dir, 0, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(file_pread_full(fd, bytes, len, offset), 0);
	close(fd);
}

/* Somebody who can compute every XXH3 changes a frame and mends digests up to the chunk's header:
 * leaf, chain and footer still tell. */
static void test_skilled_forgery(void **state)
{
	struct box *b = *state;
	struct segment_walk w = one_segment(b, FMT_STATE_SEALED);
	uint32_t total = w.last.c.total_bytes;
	uint8_t *bytes = malloc(total), *tables, *payload;
	struct fmt_chunk c;

	assert_non_null(bytes);
	read_at(b, chunk_at(&w, 3), bytes, total);
	assert_int_equal(fmt_chunk_get(bytes, &c, NULL), 0);
	tables = bytes + FMT_CHUNK_HEADER;
	payload = bytes + c.c.payload_offset;
	payload[100] ^= 1; /* frame 0, unit 0 */
	fmt_digest(payload, FMT_UNIT_BYTES, tables);
	fmt_digest(tables, c.c.payload_offset - FMT_CHUNK_HEADER, c.table_digest);
	fmt_chunk_put(&c, bytes);
	write_at(b, chunk_at(&w, 3), bytes, total);
	verify(b, NULL, -1, true);
	assert_int_equal(b->findings, 2);
	assert_non_null(strstr(b->found[0].what, "leaf of frame 0"));
	assert_non_null(strstr(b->found[1].what, "last chunk's header"));
	free(bytes);
}

static void test_forged_footer(void **state)
{
	struct box *b = *state;
	struct fmt_footer f;
	uint8_t trailer[FMT_BLOCK];

	one_segment(b, FMT_STATE_SEALED);
	read_at(b, KIT_SEGMENT - FMT_BLOCK, trailer, sizeof trailer);
	assert_int_equal(fmt_footer_get(trailer, &f, NULL), 0);
	f.root[3] ^= 1;
	fmt_footer_put(&f, trailer);
	write_at(b, KIT_SEGMENT - FMT_BLOCK, trailer, sizeof trailer);
	verify(b, NULL, -1, false);
	only(b, 0, KIT_SEGMENT - FMT_BLOCK, "Merkle root");
}

static void test_open_segment(void **state)
{
	struct box *b = *state;
	struct segment_walk w = one_segment(b, FMT_STATE_OPEN);

	verify(b, NULL, 0, true);
	assert_int_equal(b->findings, 0);
	assert_int_equal(b->report.chunks, 4);
	/* Without a footer nothing leads over a damaged header. */
	kit_flip(&b->store, 0, chunk_at(&w, 1) + 10, 0x01);
	verify(b, NULL, 0, true);
	only(b, 0, chunk_at(&w, 1), "header digest");
	assert_int_equal(b->report.chunks, 1);
}

static void change_entry(struct box *b, void (*change)(struct fmt_catalog_entry *e))
{
	struct fmt_catalog_entry e;
	struct catalog *c;

	assert_int_equal(catalog_open(b->store.dir, &b->store.sb, true, &c), 0);
	assert_int_equal(catalog_get(c, 0, &e), 0);
	change(&e);
	catalog_put(c, 0, &e);
	catalog_close(c);
}
static void lie_about_times(struct fmt_catalog_entry *e)
{
	e->end_ns += 5;
}
static void lie_about_generation(struct fmt_catalog_entry *e)
{
	e->generation++;
}

static void test_catalog_lies(void **state)
{
	struct box *b = *state;

	one_segment(b, FMT_STATE_SEALED);
	change_entry(b, lie_about_times);
	verify(b, NULL, -1, true);
	only(b, 0, 0, "catalog");
	change_entry(b, lie_about_generation);
	verify(b, NULL, -1, true);
	only(b, 0, 0, "generation");
}

static void test_refused(void **state)
{
	struct box *b = *state;
	struct eng_verify_options opt = {.segment = 8};
	char err[256] = "";

	assert_int_equal(eng_verify(b->store.dir, &opt, &b->report, err, sizeof err), -EINVAL);
	assert_non_null(strstr(err, "no segment 8"));
	assert_int_equal(eng_verify("/nowhere", &opt, &b->report, err, sizeof err), -ENOENT);
}

/* ---- rebuild ---- */

static void entries(struct box *b, struct fmt_catalog_entry e[8])
{
	struct catalog *c;

	assert_int_equal(catalog_open(b->store.dir, &b->store.sb, false, &c), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(catalog_get(c, i, &e[i]), 0);
	catalog_close(c);
}

static void rebuild(struct box *b)
{
	char err[256] = "";

	if (eng_catalog_rebuild(b->store.dir, err, sizeof err) < 0)
		fail_msg("eng_catalog_rebuild: %s", err);
}

static bool footage(const struct fmt_catalog_entry *e)
{
	return e->state == FMT_STATE_OPEN || e->state == FMT_STATE_SEALED ||
	       e->state == FMT_STATE_RETIRED;
}

static void test_rebuild(void **state)
{
	struct box *b = *state;
	struct fmt_catalog_entry before[8], after[8];
	char path[PATH_MAX + 16], err[256] = "";
	struct eng_writer *w;
	struct eng_reader *r;
	struct eng_run *runs;
	struct eng_chunk *c;
	size_t n;
	int lock;

	record(b);
	entries(b, before);
	snprintf(path, sizeof path, "%s/catalog", b->store.dir);
	assert_int_equal(unlink(path), 0);
	rebuild(b);
	entries(b, after);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(footage(&before[i]), footage(&after[i]));
		if (!footage(&before[i]))
			continue;
		assert_int_equal(after[i].state, before[i].state);
		assert_int_equal(after[i].flags, before[i].flags);
		assert_int_equal(after[i].generation, before[i].generation);
		assert_int_equal(after[i].committed_bytes, before[i].committed_bytes);
		assert_int_equal(after[i].chunks, before[i].chunks);
		assert_int_equal(after[i].first_ns, before[i].first_ns);
		assert_int_equal(after[i].end_ns, before[i].end_ns);
		assert_int_equal(after[i].first_sequence, before[i].first_sequence);
		assert_int_equal(after[i].last_sequence, before[i].last_sequence);
		assert_memory_equal(after[i].stream, before[i].stream, ENG_UUID_BYTES);
	}
	verify(b, NULL, -1, true);
	assert_int_equal(b->findings, 0);
	/* And recording goes on over it. */
	w = kit_writer_open(&b->store);
	eng_writer_close(w);
	r = kit_reader_open(&b->store);
	assert_int_equal(eng_runs(r, "a", INT64_MIN + 1, INT64_MAX, &runs, &n), 0);
	assert_int_equal(n, 1);
	assert_int_equal(
	        eng_index(r, runs[0].stream, runs[0].run, INT64_MIN + 1, INT64_MAX, &c, &n), 0);
	assert_int_equal(kit_check_frames(r, c, n), 400);
	free(c);
	free(runs);
	eng_reader_close(r);
	/* Not under a running recorder. */
	assert_int_equal(store_lock(b->store.dir, &lock), 0);
	assert_int_equal(eng_catalog_rebuild(b->store.dir, err, sizeof err), -EBUSY);
	assert_non_null(strstr(err, "stop the recorder"));
	close(lock);
}

static void test_rebuild_over_damage(void **state)
{
	struct box *b = *state;
	struct segment_walk w = one_segment(b, FMT_STATE_OPEN);
	struct fmt_catalog_entry e[8];

	/* A torn tail is not footage. */
	kit_flip(&b->store, 0, chunk_at(&w, 3) + w.last.c.payload_offset + 9, 0x01);
	rebuild(b);
	entries(b, e);
	assert_int_equal(e[0].state, FMT_STATE_OPEN);
	assert_int_equal(e[0].chunks, 3);
	assert_int_equal(e[0].committed_bytes, chunk_at(&w, 3));
	/* A header that cannot be read: set aside, not taken for free space. */
	kit_flip(&b->store, 0, 50, 0x01);
	rebuild(b);
	entries(b, e);
	assert_int_equal(e[0].state, FMT_STATE_RETIRED);
	assert_int_equal(e[0].chunks, 0);
}

/* ---- dump ---- */

static void test_dump(void **state)
{
	struct box *b = *state;
	char *text = NULL, err[256] = "";
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	one_segment(b, FMT_STATE_SEALED);
	assert_int_equal(eng_dump(b->store.dir, 0, true, out, err, sizeof err), 0);
	assert_int_equal(eng_dump(b->store.dir, 5, true, out, err, sizeof err), 0);
	assert_int_equal(eng_dump(b->store.dir, 8, true, out, err, sizeof err), -EINVAL);
	fclose(out);
	assert_non_null(strstr(text, "camera \"c\""));
	assert_non_null(strstr(text, "h264 1920x1080"));
	assert_non_null(strstr(text, "sequence 4 run 1"));
	assert_non_null(strstr(text, "frame 24"));
	assert_non_null(strstr(text, "footer: generation 1, 4 chunks"));
	assert_non_null(strstr(text, "run starts (first)"));
	assert_non_null(strstr(text, "segment 5: empty"));
	free(text);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_clean),
	        T(test_payload),
	        T(test_tables_header_footer),
	        T(test_skilled_forgery),
	        T(test_forged_footer),
	        T(test_open_segment),
	        T(test_catalog_lies),
	        T(test_refused),
	        T(test_rebuild),
	        T(test_rebuild_over_damage),
	        T(test_dump),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

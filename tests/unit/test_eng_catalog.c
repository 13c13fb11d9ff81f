/*
 * test_eng_catalog.c — readers hammer the catalog while a writer changes it, from threads and from
 * another process: only whole entries are ever seen, and no change is missed.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/support_eng_read.h"

#define COUNT 64

struct box {
	char dir[PATH_MAX];
	struct fmt_superblock sb;
};

static int setup(void **state)
{
	struct box *b = calloc(1, sizeof *b);
	const char *tmp = getenv("TMPDIR");

	assert_non_null(b);
	b->sb = (struct fmt_superblock){.segment_bytes = 4 * MIB, .segment_count = COUNT};
	kit_fill(3, b->sb.store, sizeof b->sb.store);
	snprintf(b->dir, sizeof b->dir, "%s/custos-cat-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(b->dir));
	assert_int_equal(catalog_create(b->dir, &b->sb), 0);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	char command[PATH_MAX + 16];
	struct box *b = *state;

	snprintf(command, sizeof command, "rm -rf '%s'", b->dir);
	assert_int_equal(system(command), 0);
	free(b);
	return 0;
}

/* Every field of it follows from n: a mixture of two is recognised. */
static struct fmt_catalog_entry entry_of(uint64_t n)
{
	struct fmt_catalog_entry e = {.generation = n,
	                              .state = FMT_STATE_OPEN,
	                              .committed_bytes = (uint32_t)(n % 100 + 2) * FMT_BLOCK,
	                              .chunks = 1,
	                              .first_ns = (int64_t)n,
	                              .end_ns = (int64_t)n + 1,
	                              .first_sequence = n,
	                              .last_sequence = n,
	                              .changed_ns = (int64_t)n};

	kit_fill(n, e.stream, sizeof e.stream);
	return e;
}

static bool whole(const struct fmt_catalog_entry *e)
{
	struct fmt_catalog_entry want = entry_of(e->generation);

	return e->generation == 0 || memcmp(e, &want, sizeof want) == 0;
}

static struct catalog *open_it(const struct box *b, bool writable)
{
	struct catalog *c = NULL;

	assert_int_equal(catalog_open(b->dir, &b->sb, writable, &c), 0);
	return c;
}

static void test_create(void **state)
{
	struct box *b = *state;
	struct fmt_catalog_entry e;
	struct catalog *c = open_it(b, false);

	assert_int_equal(catalog_create(b->dir, &b->sb), -EEXIST);
	assert_int_equal(catalog_count(c), COUNT);
	assert_true(catalog_clean(c));
	for (uint64_t i = 0; i < COUNT; i++) {
		assert_int_equal(catalog_get(c, i, &e), 0);
		assert_int_equal(e.state, FMT_STATE_RAW);
		assert_int_equal(e.generation, 0);
	}
	assert_int_equal(catalog_get(c, COUNT, &e), -EUCLEAN);
	catalog_close(c);
}

static void poke(const struct box *b, off_t at, const void *bytes, size_t len)
{
	char path[PATH_MAX + 16];
	int fd;

	snprintf(path, sizeof path, "%s/catalog", b->dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, len, at), len);
	close(fd);
}

static void test_refused(void **state)
{
	struct box *b = *state;
	struct fmt_superblock other = b->sb;
	struct catalog *c = NULL;
	struct fmt_catalog_entry e;
	char path[PATH_MAX + 16];

	other.store[0] ^= 1;
	assert_int_equal(catalog_open(b->dir, &other, false, &c), -EUCLEAN);
	other = b->sb;
	other.segment_count++;
	assert_int_equal(catalog_open(b->dir, &other, false, &c), -EUCLEAN);
	poke(b, FMT_CATALOG_ENTRIES_AT + 3 * FMT_CATALOG_ENTRY + 40, "x", 1);
	c = open_it(b, false);
	assert_int_equal(catalog_get(c, 2, &e), 0);
	assert_int_equal(catalog_get(c, 3, &e), -EUCLEAN);
	assert_int_equal(catalog_get(c, 4, &e), 0);
	catalog_close(c);
	poke(b, 3, "x", 1);
	assert_int_equal(catalog_open(b->dir, &b->sb, false, &c), -EUCLEAN);
	snprintf(path, sizeof path, "%s/catalog", b->dir);
	assert_int_equal(truncate(path, 4096), 0);
	assert_int_equal(catalog_open(b->dir, &b->sb, false, &c), -EUCLEAN);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(catalog_open(b->dir, &b->sb, false, &c), -ENOENT);
}

struct seen {
	bool segment[COUNT];
	unsigned calls;
};
static void note(void *arg, uint64_t segment)
{
	struct seen *s = arg;

	s->segment[segment] = true;
	s->calls++;
}

static void test_changes(void **state)
{
	struct catalog *w = open_it(*state, true), *r = open_it(*state, false);
	struct fmt_catalog_entry e = entry_of(1);
	struct seen s = {0};
	uint64_t now;

	assert_true(catalog_changes(r, catalog_change(r), &now, note, &s));
	assert_int_equal(s.calls, 0);
	catalog_put(w, 5, &e);
	catalog_put(w, 9, &e);
	catalog_put(w, 5, &e);
	assert_true(catalog_changes(r, 0, &now, note, &s));
	assert_int_equal(now, 3);
	assert_int_equal(s.calls, 3);
	assert_true(s.segment[5] && s.segment[9] && !s.segment[6]);
	/* 4095 behind still works, 4096 does not: the next put overwrites what it would need. */
	for (unsigned i = 0; i < FMT_CATALOG_RING - 1; i++)
		catalog_put(w, i % COUNT, &e);
	assert_true(catalog_changes(r, 3, &now, note, &s));
	catalog_put(w, 0, &e);
	assert_false(catalog_changes(r, 3, &now, note, &s));
	catalog_close(w);
	catalog_close(r);
}

struct overrun {
	struct catalog *w;
	bool done;
};
/* The writer comes round while a reader is reading the ring. */
static void overrun(void *arg, uint64_t segment)
{
	struct overrun *o = arg;
	struct fmt_catalog_entry e = entry_of(2);

	(void)segment;
	for (unsigned i = 0; i < FMT_CATALOG_RING && !o->done; i++)
		catalog_put(o->w, 1, &e);
	o->done = true;
}

static void test_overrun_while_reading(void **state)
{
	struct overrun o = {.w = open_it(*state, true)};
	struct catalog *r = open_it(*state, false);
	struct fmt_catalog_entry e = entry_of(1);
	uint64_t now;

	catalog_put(o.w, 5, &e);
	catalog_put(o.w, 6, &e);
	assert_false(catalog_changes(r, 0, &now, overrun, &o));
	catalog_close(o.w);
	catalog_close(r);
}

static void test_unclean_writer_makes_readers_reread(void **state)
{
	struct catalog *w = open_it(*state, true), *r = open_it(*state, false);
	struct seen s = {0};
	uint64_t now, since = catalog_change(r);

	catalog_set_clean(w, false);
	catalog_close(w); /* as if it had died */
	w = open_it(*state, true);
	assert_false(catalog_changes(r, since, &now, note, &s));
	catalog_set_clean(w, true);
	since = catalog_change(r);
	catalog_close(w);
	w = open_it(*state, true);
	assert_true(catalog_changes(r, since, &now, note, &s));
	catalog_close(w);
	catalog_close(r);
}

static void test_superseded(void **state)
{
	struct box *b = *state;
	struct catalog *r = open_it(b, false);

	assert_false(catalog_superseded(r));
	catalog_supersede(b->dir);
	assert_true(catalog_superseded(r));
	catalog_close(r);
}

/* ---- hammering ---- */

struct hammer {
	struct catalog *c;
	bool stop;
	uint64_t last[COUNT]; /* what the follower saw */
	const char *failure;
};

static void follow(void *arg, uint64_t segment)
{
	struct hammer *h = arg;
	struct fmt_catalog_entry e;

	if (catalog_get(h->c, segment, &e) < 0)
		h->failure = "an entry never came to fit";
	else if (!whole(&e))
		h->failure = "a mixture of two entries was believed";
	else if (e.generation < h->last[segment])
		h->failure = "an entry went back in time";
	else
		h->last[segment] = e.generation;
}

static void *reader_thread(void *arg)
{
	struct hammer *h = arg;
	uint64_t since = 0, now;
	bool last_round = false;

	while (!h->failure) {
		last_round = __atomic_load_n(&h->stop, __ATOMIC_ACQUIRE);
		if (!catalog_changes(h->c, since, &now, follow, h))
			for (uint64_t i = 0; i < COUNT; i++)
				follow(h, i);
		since = now;
		if (last_round)
			break;
	}
	return NULL;
}

#define PUTS 200000

static void write_all(struct catalog *w, struct kit_random *r, uint64_t last[COUNT])
{
	for (uint64_t n = 1; n <= PUTS; n++) {
		uint64_t segment = kit_random(r) % COUNT;
		struct fmt_catalog_entry e = entry_of(n);

		catalog_put(w, segment, &e);
		last[segment] = n;
	}
}

static void test_threads(void **state)
{
	struct hammer h[2] = {{.c = open_it(*state, false)}, {.c = open_it(*state, false)}};
	struct catalog *w = open_it(*state, true);
	struct kit_random random = kit_random_open();
	uint64_t last[COUNT] = {0};
	pthread_t t[2];

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&t[i], NULL, reader_thread, &h[i]), 0);
	write_all(w, &random, last);
	for (unsigned i = 0; i < 2; i++) {
		__atomic_store_n(&h[i].stop, true, __ATOMIC_RELEASE);
		pthread_join(t[i], NULL);
		if (h[i].failure)
			fail_msg("%s", h[i].failure);
		/* Nothing was missed on the way: the follower knows the last of each. */
		assert_memory_equal(h[i].last, last, sizeof last);
		catalog_close(h[i].c);
	}
	catalog_close(w);
}

static void test_processes(void **state)
{
	struct hammer h = {.c = open_it(*state, false)};
	struct kit_random random = kit_random_open();
	int status = -1;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		uint64_t last[COUNT] = {0};
		struct catalog *w;

		if (catalog_open(((struct box *)*state)->dir, &((struct box *)*state)->sb, true,
		                 &w) < 0)
			_exit(1);
		write_all(w, &random, last);
		_exit(0);
	}
	while (waitpid(child, &status, WNOHANG) == 0 && !h.failure)
		for (uint64_t i = 0; i < COUNT; i++)
			follow(&h, i);
	if (h.failure) {
		waitpid(child, &status, 0);
		fail_msg("%s", h.failure);
	}
	assert_int_equal(status, 0);
	catalog_close(h.c);
}

/* ---- super.c ---- */

static void test_epoch_slots(void **state)
{
	struct box *b = *state;
	struct fmt_epoch e = {.epoch = 7}, back;
	uint8_t blocks[2][FMT_BLOCK] = {{0}};
	char path[PATH_MAX + 16];
	unsigned slot = 9;

	memcpy(e.store, b->sb.store, ENG_UUID_BYTES);
	fmt_epoch_put(&e, blocks[0]);
	e.epoch = 8;
	fmt_epoch_put(&e, blocks[1]);
	snprintf(path, sizeof path, "%s/epoch", b->dir);
	assert_int_equal(store_read_epoch(b->dir, &b->sb, &back, &slot), -ENOENT);
	assert_int_equal(file_replace(path, blocks, sizeof blocks, 0640), 0);
	assert_int_equal(store_read_epoch(b->dir, &b->sb, &back, &slot), 0);
	assert_int_equal(back.epoch, 8);
	assert_int_equal(slot, 1);
	blocks[1][9] ^= 1; /* torn: the older one holds */
	assert_int_equal(file_replace(path, blocks, sizeof blocks, 0640), 0);
	assert_int_equal(store_read_epoch(b->dir, &b->sb, &back, &slot), 0);
	assert_int_equal(back.epoch, 7);
	assert_int_equal(slot, 0);
	blocks[0][9] ^= 1;
	assert_int_equal(file_replace(path, blocks, sizeof blocks, 0640), 0);
	assert_int_equal(store_read_epoch(b->dir, &b->sb, &back, &slot), -EUCLEAN);
	assert_int_equal(file_replace(path, blocks, 4096, 0640), 0);
	assert_int_equal(store_read_epoch(b->dir, &b->sb, &back, &slot), -EUCLEAN);
}

static void test_lock(void **state)
{
	struct box *b = *state;
	int one, two;

	assert_int_equal(store_lock(b->dir, &one), 0);
	assert_int_equal(store_lock(b->dir, &two), -EBUSY);
	close(one);
	assert_int_equal(store_lock(b->dir, &two), 0);
	close(two);
}

static void test_not_a_store(void **state)
{
	struct box *b = *state;
	struct fmt_superblock sb;
	char err[256] = "", path[PATH_MAX + 16];

	assert_int_equal(store_read_superblock(b->dir, &sb, err, sizeof err), -ENOENT);
	assert_non_null(strstr(err, "not a custos store"));
	snprintf(path, sizeof path, "%s/store", b->dir);
	assert_int_equal(file_replace(path, "hello", 5, 0640), 0);
	assert_int_equal(store_read_superblock(b->dir, &sb, err, sizeof err), -EUCLEAN);
	assert_non_null(strstr(err, "shorter"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_create, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_unclean_writer_makes_readers_reread, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(test_overrun_while_reading, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_superseded, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_processes, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_epoch_slots, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_not_a_store, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

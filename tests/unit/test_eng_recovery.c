/*
 * test_eng_recovery.c — one test per row of the table in recovery.c: what a writer makes of each
 * state a crash, a tear or a bad disk can leave.
 */
#include "tests/unit/support_eng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct bench {
	char *dir;
	struct test_clock clock;
	struct alarms a;
	struct eng_writer *w;
	struct eng_stream *s;
	struct fmt_superblock sb;
	int64_t t;
};

static void reopen(struct bench *b)
{
	struct eng_writer_options o = test_options(&b->a);
	struct writer_env env = test_env(&b->clock);
	static struct fault f;

	fault_open(&f);
	env.device = &f.d;
	b->clock.step_ns = NSEC_PER_MSEC;
	b->w = writer_must_open(b->dir, &o, &env);
	polls(b->w, 1); /* tells what recovery had to say */
}

static void add_frames(struct bench *b, unsigned n)
{
	assert_int_equal(eng_stream_get(b->w, "cam", false, &b->s), 0);
	if (!b->s->run_open)
		assert_int_equal(eng_run_begin(b->s, &setup_video, ENG_REASON_RESTART), 0);
	for (unsigned i = 0; i < n; i++) {
		b->t++;
		assert_int_equal(append_at(b->s, b->t, b->t, 0, true, 5000), 0);
		assert_int_equal(eng_sync(b->w, 60 * NSEC_PER_SEC), 0);
	}
}

/* A store whose segment 0 is open with three chunks of one frame; its writer is gone. */
static void set_up(struct bench *b)
{
	char err[256];

	memset(b, 0, sizeof(*b));
	b->dir = store_new(8, true);
	assert_int_equal(store_read_superblock(b->dir, &b->sb, err, sizeof(err)), 0);
	reopen(b);
	add_frames(b, 3);
	writer_free(b->w);
	b->w = NULL;
}

static void tear_down(struct bench *b)
{
	if (b->w)
		eng_writer_close(b->w);
	store_drop(b->dir);
}

static struct fmt_catalog_entry entry(const struct bench *b, uint64_t n)
{
	struct fmt_catalog_entry e;
	struct catalog *c;

	assert_int_equal(catalog_open(b->dir, &b->sb, false, &c), 0);
	assert_int_equal(catalog_get(c, n, &e), 0);
	catalog_close(c);
	return e;
}

static void set_entry(const struct bench *b, uint64_t n, const struct fmt_catalog_entry *e)
{
	struct catalog *c;

	assert_int_equal(catalog_open(b->dir, &b->sb, true, &c), 0);
	catalog_put(c, n, e);
	catalog_close(c);
}

/* The entry as a torn write leaves it. */
static void tear_entry(const struct bench *b, uint64_t n)
{
	char path[4096];
	uint8_t bad[8] = {0xff, 0xff, 0xff};

	snprintf(path, sizeof(path), "%s/catalog", b->dir);
	int fd = open(path, O_WRONLY);
	off_t at = (off_t)(FMT_CATALOG_ENTRIES_AT + n * FMT_CATALOG_ENTRY + 40);
	assert_int_equal(pwrite(fd, bad, sizeof(bad), at), sizeof(bad));
	close(fd);
}

static void spoil(const struct bench *b, uint64_t n, uint64_t offset)
{
	char path[4096];
	uint8_t byte;

	segment_file(b->dir, n, path);
	int fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 0x40;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
	close(fd);
}

static size_t frames(const struct bench *b)
{
	struct seen *seen;
	size_t n = read_all(b->dir, "cam", &seen);

	free(seen);
	return n;
}

/* The catalog as it was with `chunks` of the three chunks published. */
static void publish_only(const struct bench *b, uint32_t chunks)
{
	struct fmt_catalog_entry e = entry(b, 0);
	uint32_t chunk = (e.committed_bytes - FMT_BLOCK) / e.chunks;

	e.chunks = chunks;
	e.committed_bytes = chunks ? FMT_BLOCK + chunks * chunk : 0;
	e.last_sequence = chunks ? e.first_sequence + chunks - 1 : 0;
	if (!chunks) {
		e.first_sequence = 0;
		e.first_ns = e.end_ns = ENG_NO_TIME;
	}
	set_entry(b, 0, &e);
}

static void test_open_continued(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b);
	publish_only(&b, 1); /* two more are whole: true footage */
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_OPEN);
	assert_int_equal(frames(&b), 3);
	add_frames(&b, 1);
	assert_int_equal(entry(&b, 0).chunks, 4);
	assert_int_equal(entry(&b, 0).last_sequence, 4);
	assert_int_equal(frames(&b), 4);
	tear_down(&b);
}

static void test_open_stops_at_damage(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b);
	uint32_t chunk = (entry(&b, 0).committed_bytes - FMT_BLOCK) / 3;
	publish_only(&b, 1);
	spoil(&b, 0, FMT_BLOCK + chunk + 2000); /* payload of the second: torn */
	reopen(&b);
	assert_int_equal(frames(&b), 1);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_OPEN);
	b.t = 100;
	add_frames(&b, 1); /* written where the torn one lies; the whole third must stay dead */
	assert_int_equal(entry(&b, 0).chunks, 2);
	writer_free(b.w);
	reopen(&b);
	assert_int_equal(entry(&b, 0).chunks, 2);
	assert_int_equal(frames(&b), 2);
	tear_down(&b);
}

static void test_open_header_bad(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b);
	publish_only(&b, 0);
	spoil(&b, 0, 100);
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_RECYCLED);
	assert_int_equal(entry(&b, 0).generation, 2);
	tear_down(&b);
	set_up(&b);
	spoil(&b, 0, 100); /* the same with three chunks published: nothing is thrown away */
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_RETIRED);
	assert_int_equal(entry(&b, 0).chunks, 3);
	assert_non_null(strstr(b.a.all, "header is damaged"));
	tear_down(&b);
}

static void test_open_no_chunk(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b);
	publish_only(&b, 0);
	spoil(&b, 0, FMT_BLOCK + 20);
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_RECYCLED);
	assert_int_equal(frames(&b), 0);
	add_frames(&b, 1); /* goes elsewhere */
	assert_int_equal(frames(&b), 1);
	tear_down(&b);
}

static void test_open_fewer_than_published(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b);
	uint32_t chunk = (entry(&b, 0).committed_bytes - FMT_BLOCK) / 3;
	spoil(&b, 0, FMT_BLOCK + 2 * chunk + 20); /* header of the third */
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_RETIRED);
	assert_int_equal(entry(&b, 0).chunks, 3);
	assert_non_null(strstr(b.a.all, "retired"));
	add_frames(&b, 1); /* never behind the damage, and with a number not used before */
	assert_int_equal(entry(&b, 1).first_sequence, 4);
	tear_down(&b);
}

/* Sealed, but the catalog did not get to know. */
static void test_footer_found(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b);
	reopen(&b);
	assert_int_equal(eng_stream_get(b.w, "cam", false, &b.s), 0);
	b.s->seg->seal = SEAL_WANTED;
	b.s->seg = NULL;
	for (unsigned i = 0; i < 20; i++) {
		clock_forward(&b.clock, NSEC_PER_SEC);
		polls(b.w, 1);
	}
	assert_int_equal(entry(&b, 0).state, FMT_STATE_SEALED);
	writer_free(b.w);
	struct fmt_catalog_entry e = entry(&b, 0);
	e.state = FMT_STATE_OPEN;
	set_entry(&b, 0, &e);
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_SEALED);
	writer_free(b.w);
	tear_entry(&b, 0); /* torn, good header, good footer */
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_SEALED);
	assert_int_equal(frames(&b), 3);
	writer_free(b.w);
	set_entry(&b, 0,
	          &(struct fmt_catalog_entry){.generation = e.generation,
	                                      .state = FMT_STATE_OPEN,
	                                      .first_ns = ENG_NO_TIME,
	                                      .end_ns = ENG_NO_TIME});
	spoil(&b, 0, FMT_SEGMENT_MIN - 2 * FMT_BLOCK + 5); /* stream differs: not this entry's */
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_RECYCLED);
	tear_down(&b);
}

static void test_footer_torn(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b);
	reopen(&b);
	assert_int_equal(eng_stream_get(b.w, "cam", false, &b.s), 0);
	b.s->seg->seal = SEAL_WANTED;
	b.s->seg = NULL;
	for (unsigned i = 0; i < 20; i++) {
		clock_forward(&b.clock, NSEC_PER_SEC);
		polls(b.w, 1);
	}
	writer_free(b.w);
	struct fmt_catalog_entry e = entry(&b, 0);
	e.state = FMT_STATE_OPEN;
	set_entry(&b, 0, &e);
	spoil(&b, 0, FMT_SEGMENT_MIN - 2 * FMT_BLOCK + 5); /* body torn, trailer whole */
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_OPEN);
	add_frames(&b, 1);
	assert_int_equal(frames(&b), 4);
	tear_down(&b);
}

static void test_entry_torn(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b);
	tear_entry(&b, 0);
	tear_entry(&b, 5); /* never used: no header */
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_OPEN);
	assert_int_equal(frames(&b), 3);
	assert_int_equal(entry(&b, 5).state, FMT_STATE_RECYCLED);
	assert_true(entry(&b, 5).generation > 1000);
	add_frames(&b, 1);
	assert_int_equal(frames(&b), 4);
	tear_down(&b);
}

static void test_recycled_is_zeroed(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b);
	struct fmt_catalog_entry e = {.generation = 9,
	                              .state = FMT_STATE_RECYCLED,
	                              .first_ns = ENG_NO_TIME,
	                              .end_ns = ENG_NO_TIME};
	set_entry(&b, 0, &e);
	reopen(&b);
	for (unsigned i = 0; i < 6; i++) {
		clock_forward(&b.clock, NSEC_PER_SEC);
		polls(b.w, 10);
	}
	assert_int_equal(entry(&b, 0).state, FMT_STATE_READY);
	assert_int_equal(entry(&b, 0).generation, 9);
	assert_int_equal(frames(&b), 0);
	tear_down(&b);
}

static void test_file_gone(void **state)
{
	struct bench b;
	char path[4096];

	(void)state;
	set_up(&b);
	segment_file(b.dir, 0, path);
	assert_int_equal(unlink(path), 0);
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_RETIRED);
	add_frames(&b, 1); /* recording goes on */
	eng_writer_close(b.w);
	b.w = NULL;
	tear_down(&b);
}

static void test_epoch_rises(void **state)
{
	struct bench b;
	struct fmt_epoch e;
	unsigned slot;

	(void)state;
	set_up(&b);
	for (uint64_t i = 0; i < 3; i++) {
		reopen(&b);
		assert_int_equal(store_read_epoch(b.dir, &b.sb, &e, &slot), 0);
		assert_int_equal(e.epoch, 3 + i);
		assert_int_equal(b.w->epoch, e.epoch);
		writer_free(b.w);
	}
	b.w = NULL;
	tear_down(&b);
}

static void test_torn_without_chunks(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b);
	tear_entry(&b, 0);
	spoil(&b, 0, FMT_BLOCK + 20); /* its first chunk; the segment's header is whole */
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_RECYCLED);
	assert_int_equal(entry(&b, 0).generation, 2);
	tear_down(&b);
}

/* Three chunks lie in it, one of them published: the numbers of the others are used up. */
static void test_retired_keeps_its_numbers(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b);
	publish_only(&b, 1);
	struct fmt_catalog_entry e = entry(&b, 0);
	e.state = FMT_STATE_RETIRED;
	set_entry(&b, 0, &e);
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_RETIRED);
	assert_int_equal(entry(&b, 0).chunks, 1);
	add_frames(&b, 1);
	assert_int_equal(entry(&b, 1).first_sequence, 4);
	assert_int_equal(frames(&b), 2);
	tear_down(&b);
}

/* READY and SEALED stay as they are, whatever bytes lie there: nobody looks. */
static void test_ready_and_sealed_stay(void **state)
{
	struct bench b;

	(void)state;
	set_up(&b);
	struct fmt_catalog_entry e = entry(&b, 0), ready = entry(&b, 5);
	e.state = FMT_STATE_SEALED;
	set_entry(&b, 0, &e);
	spoil(&b, 0, 100);
	spoil(&b, 5, FMT_BLOCK);
	assert_int_equal(ready.state, FMT_STATE_READY);
	reopen(&b);
	assert_int_equal(entry(&b, 0).state, FMT_STATE_SEALED);
	assert_int_equal(entry(&b, 0).chunks, 3);
	assert_int_equal(entry(&b, 5).state, FMT_STATE_READY);
	assert_int_equal(entry(&b, 5).generation, ready.generation);
	assert_string_equal(b.a.all, "");
	tear_down(&b);
}

/* From here on this process gets EIO for every read of a file at `offset`. */
static int break_reads_at(uint32_t offset)
{
	struct sock_filter code[] = {
	        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_pread64, 0, 3),
	        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
	        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, offset, 0, 1),
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EIO),
	        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = ARRAY_LEN(code), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) ? -errno : 0;
}

/* One life of a writer on a disk that cannot be read behind the second chunk. */
static int life_with_eio(struct bench *b)
{
	uint32_t chunk = (entry(b, 0).committed_bytes - FMT_BLOCK) / entry(b, 0).chunks;
	int err = break_reads_at(FMT_BLOCK + 2 * chunk);

	if (err)
		return 77;
	reopen(b);
	if (entry(b, 0).state != FMT_STATE_RETIRED || entry(b, 0).chunks != 1)
		return 1;
	if (!strstr(b->a.all, "cannot be read"))
		return 2;
	b->t = 100;
	add_frames(b, 1);
	/* The third chunk may be readable again one day: its number is not given a second time. */
	return entry(b, 1).first_sequence > 3 ? 0 : 3;
}

static void test_eio_in_the_walk(void **state)
{
	struct bench b;
	int status = 0;

	(void)state;
	set_up(&b);
	publish_only(&b, 1);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(life_with_eio(&b));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		tear_down(&b);
		skip();
	}
	assert_int_equal(status, 0);
	reopen(&b); /* readable again, and RETIRED now */
	assert_int_equal(entry(&b, 0).chunks, 1);
	assert_int_equal(frames(&b), 2);
	tear_down(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_torn_without_chunks),
	        cmocka_unit_test(test_retired_keeps_its_numbers),
	        cmocka_unit_test(test_ready_and_sealed_stay),
	        cmocka_unit_test(test_eio_in_the_walk),
	        cmocka_unit_test(test_open_continued),
	        cmocka_unit_test(test_open_stops_at_damage),
	        cmocka_unit_test(test_open_header_bad),
	        cmocka_unit_test(test_open_no_chunk),
	        cmocka_unit_test(test_open_fewer_than_published),
	        cmocka_unit_test(test_footer_found),
	        cmocka_unit_test(test_footer_torn),
	        cmocka_unit_test(test_entry_torn),
	        cmocka_unit_test(test_recycled_is_zeroed),
	        cmocka_unit_test(test_file_gone),
	        cmocka_unit_test(test_epoch_rises),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_aud_threads.c — many threads append and wait, one reader follows: order and count hold, and
 * nothing is acknowledged before it can be read. Meant for ThreadSanitizer as well.
 */
#include "tests/unit/support_aud.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define THREADS 8
#define EACH    400

static int setup(void **state)
{
	struct aud_dir *d = calloc(1, sizeof(*d));

	aud_dir_make(d);
	*state = d;
	return 0;
}

static int teardown(void **state)
{
	aud_dir_remove(*state);
	free(*state);
	return 0;
}

struct worker {
	struct aud_log *log;
	uint64_t id;
	pthread_t thread;
	uint64_t last_seq;
	int errors;
};

/* Every third record waited for, sizes all over; own records must get rising numbers. */
static void *worker_main(void *arg)
{
	struct worker *w = arg;
	char payload[5000];
	uint64_t seq;

	for (uint64_t i = 1; i <= EACH; i++) {
		struct aud_record r = {.op = AUD_OP_READ, .object = w->id, .offset = i};
		size_t len = (size_t)(w->id * 977 + i * 131) % sizeof(payload);

		memset(payload, (int)('a' + w->id), len);
		if (aud_append(w->log, &r, payload, len, &seq) || seq <= w->last_seq)
			w->errors++;
		w->last_seq = seq;
		if (i % 3 == 0 && aud_wait(w->log, seq, 60 * NSEC_PER_SEC))
			w->errors++;
		if (i % 3 == 0 && aud_durable(w->log) < seq)
			w->errors++;
	}
	return NULL;
}

struct follower {
	const struct aud_dir *d;
	pthread_t thread;
	atomic_bool stop;
	uint64_t seen;
	int errors;
};

/* Reads behind the writer until told that it has ended, then once more to the end. */
static void *follower_main(void *arg)
{
	struct follower *f = arg;
	struct aud_iter *it;
	struct aud_record r;
	const char *payload;
	char err[256];
	bool last = false;
	int e;

	if (aud_iter_open(f->d->log, &it, err, sizeof(err))) {
		f->errors++;
		return NULL;
	}
	for (;;) {
		last = atomic_load(&f->stop);
		while ((e = aud_iter_next(it, &r, &payload)) == 1) {
			if (r.seq != ++f->seen || strlen(payload) != r.payload_bytes)
				f->errors++;
		}
		if (e || last)
			break;
	}
	f->errors += e != 0;
	aud_iter_close(it);
	return NULL;
}

static void check_order(const struct aud_dir *d)
{
	uint64_t next[THREADS + 1] = {0};
	struct aud_iter *it;
	struct aud_record r;
	const char *payload;
	char err[256];
	int e, n = 0;

	assert_int_equal(aud_iter_open(d->log, &it, err, sizeof(err)), 0);
	while ((e = aud_iter_next(it, &r, &payload)) == 1) {
		assert_int_equal(r.seq, ++n);
		if (r.op != AUD_OP_READ)
			continue;
		assert_in_range(r.object, 1, THREADS);
		assert_int_equal(r.offset, ++next[r.object]);
		assert_int_equal(r.payload_bytes, (r.object * 977 + r.offset * 131) % 5000);
		for (uint32_t i = 0; i < r.payload_bytes; i++)
			assert_int_equal(payload[i], 'a' + (int)r.object);
	}
	assert_int_equal(e, 0);
	assert_int_equal(n, THREADS * EACH + 2);
	aud_iter_close(it);
}

static void test_threads(void **state)
{
	struct aud_dir *d = *state;
	struct aud_log *log = aud_test_open(d);
	struct follower f = {.d = d};
	struct worker w[THREADS];

	assert_int_equal(pthread_create(&f.thread, NULL, follower_main, &f), 0);
	for (int i = 0; i < THREADS; i++) {
		w[i] = (struct worker){.log = log, .id = (uint64_t)i + 1};
		assert_int_equal(pthread_create(&w[i].thread, NULL, worker_main, &w[i]), 0);
	}
	for (int i = 0; i < 20; i++)
		aud_test_sign(log, d->key);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].errors, 0);
	}
	aud_close(log);
	atomic_store(&f.stop, true);
	pthread_join(f.thread, NULL);
	assert_int_equal(f.errors, 0);
	assert_int_equal(f.seen, THREADS * EACH + 2);
	check_order(d);
	assert_true(aud_test_verify(d).ok);
}

/* ---- acknowledged means flushed ---- */

struct slow {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool hold;
	unsigned inside, writes;
};

/* Stops inside the write for as long as the test wants. */
static int held_write(void *arg, int fd, const void *buf, size_t len, uint64_t offset)
{
	struct slow *s = arg;

	pthread_mutex_lock(&s->mutex);
	s->inside++;
	pthread_cond_broadcast(&s->cond);
	while (s->hold)
		pthread_cond_wait(&s->cond, &s->mutex);
	s->inside--;
	s->writes++;
	pthread_mutex_unlock(&s->mutex);
	return file_pwrite_full(fd, buf, len, offset);
}

static void hold_set(struct slow *s, bool hold)
{
	pthread_mutex_lock(&s->mutex);
	s->hold = hold;
	pthread_cond_broadcast(&s->cond);
	pthread_mutex_unlock(&s->mutex);
}

/* While a write is held: nothing of it counts as durable, what comes meanwhile makes one group. */
static void test_group_commit(void **state)
{
	struct aud_dir *d = *state;
	struct slow s = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
	struct aud_options opt = {.origin = AUD_TEST_ORIGIN,
	                          .file_bytes = AUD_TEST_FILE_BYTES,
	                          .write_hook = held_write,
	                          .hook_arg = &s};
	struct aud_record r = {.op = AUD_OP_READ};
	struct aud_head before, after;
	struct aud_log *log;
	char err[256];
	uint64_t first, last = 0;

	assert_int_equal(aud_open(d->log, &opt, &log, err, sizeof(err)), 0);
	hold_set(&s, true);
	assert_int_equal(aud_append(log, &r, NULL, 0, &first), 0);
	assert_int_equal(aud_wait(log, first, 1), -ETIMEDOUT);
	pthread_mutex_lock(&s.mutex);
	while (!s.inside)
		pthread_cond_wait(&s.cond, &s.mutex);
	pthread_mutex_unlock(&s.mutex);
	for (int i = 0; i < 500; i++)
		assert_int_equal(aud_append(log, &r, NULL, 0, &last), 0);
	aud_head(log, &before);
	assert_int_equal(before.last_seq, first - 1);
	assert_int_equal(aud_durable(log), first - 1);
	hold_set(&s, false);
	assert_int_equal(aud_wait(log, last, 60 * NSEC_PER_SEC), 0);
	aud_head(log, &after);
	assert_int_equal(after.groups, before.groups + 2);
	assert_int_equal(after.last_seq, last);
	aud_close(log);
	assert_int_equal(aud_test_count(d), 503);
}

/* The bound on what may wait. */
static void test_bound(void **state)
{
	struct aud_dir *d = *state;
	struct slow s = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
	struct aud_options opt = {.origin = AUD_TEST_ORIGIN,
	                          .file_bytes = 16 * MIB,
	                          .write_hook = held_write,
	                          .hook_arg = &s};
	static char payload[AUD_PAYLOAD_MAX];
	struct aud_record r = {.op = AUD_OP_READ};
	struct aud_log *log;
	char err[256];
	uint64_t last = 0;
	int n = 0, e;

	memset(payload, 'p', sizeof(payload));
	assert_int_equal(aud_open(d->log, &opt, &log, err, sizeof(err)), 0);
	hold_set(&s, true);
	while (!(e = aud_append(log, &r, payload, sizeof(payload), &last)))
		n++;
	assert_int_equal(e, -ENOBUFS);
	assert_in_range(n, 1000, 1024);
	assert_false(aud_failed(log));
	hold_set(&s, false);
	assert_int_equal(aud_wait(log, last, 60 * NSEC_PER_SEC), 0);
	assert_int_equal(aud_append(log, &r, payload, sizeof(payload), &last), 0);
	aud_close(log);
	assert_int_equal(aud_test_count(d), n + 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_group_commit, setup, teardown),
	        cmocka_unit_test_setup_teardown(test_bound, setup, teardown),
	};

	log_setup("test_aud_threads", LOG_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The ring against an honest and a hostile producer: what is put comes out in order and unchanged,
 * and nothing a child writes into shared memory, at any moment, makes the consumer read out of
 * bounds, return what breaks the rules, or loop. (Out-of-bounds reads are ASan's to see: `make
 * check` runs this test under it.)
 */
#include "tests/unit/support_rec.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/recorder/ring.h"

#define SIZE UINT64_C(65536)

static struct ring *attach(struct ring *r)
{
	struct ring *p;
	assert_int_equal(
	        ring_attach(dup(ring_mem_fd(r)), dup(ring_data_fd(r)), dup(ring_space_fd(r)), &p),
	        0);
	return p;
}

static uint8_t *map(struct ring *r, uint64_t size)
{
	uint8_t *m = mmap(NULL, RING_DATA_AT + size, PROT_READ | PROT_WRITE, MAP_SHARED,
	                  ring_mem_fd(r), 0);
	assert_true(m != MAP_FAILED);
	return m;
}

static struct eng_setup a_setup(void)
{
	struct eng_setup s = {.n_tracks = 2};
	s.track[0] = (struct eng_track){.codec = ENG_CODEC_H264,
	                                .width = 640,
	                                .height = 360,
	                                .extradata_bytes = 5,
	                                .extradata = "avcC"};
	s.track[1] =
	        (struct eng_track){.codec = ENG_CODEC_ALAW, .channels = 1, .sample_rate = 8000};
	return s;
}

static void fill(uint8_t *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)rec_random(&seed);
}

static void test_round_trip(void **state)
{
	uint64_t seed = rec_seed();
	struct ring *r, *p;
	struct ring_record *rec = calloc(1, sizeof(*rec)), *got = calloc(1, sizeof(*got));
	uint8_t *data = malloc(SIZE);
	(void)state;

	assert_int_equal(ring_create(SIZE, &r), 0);
	p = attach(r);
	rec->kind = RING_SETUP;
	rec->setup = a_setup();
	rec->first_ns = 7;
	rec->end_ns = ENG_NO_TIME;
	assert_int_equal(ring_put(p, rec, 0), 0);
	assert_int_equal(ring_get(r, got), 1);
	assert_int_equal(got->kind, RING_SETUP);
	assert_memory_equal(&got->setup, &rec->setup, sizeof(rec->setup));
	assert_int_equal(got->first_ns, 7);
	for (uint64_t i = 1; i < 3000; i++) { /* wraps and starts over many times */
		uint32_t len = (uint32_t)(1 + rec_random(&seed) % 40000);
		fill(data, len, i);
		rec->kind = RING_FRAME;
		rec->frame = (struct eng_frame){.time_ns = (int64_t)i,
		                                .dts_ns = -(int64_t)i,
		                                .duration_ns = (uint32_t)i,
		                                .track = i & 1,
		                                .flags = i % 3 == 0,
		                                .size_bytes = len,
		                                .data = data};
		assert_int_equal(ring_put(p, rec, 0), 0);
		if (i % 5 == 0) { /* two in flight: the second may not fit */
			assert_int_equal(ring_get(r, got), 1);
			assert_int_equal(ring_get(r, got), 0);
			continue;
		}
		assert_int_equal(ring_get(r, got), 1);
		assert_int_equal(got->frame.time_ns, i);
		assert_int_equal(got->frame.dts_ns, -(int64_t)i);
		assert_int_equal(got->frame.duration_ns, i);
		assert_int_equal(got->frame.track, i & 1);
		assert_int_equal(got->frame.flags, i % 3 == 0);
		assert_int_equal(got->frame.size_bytes, len);
		assert_memory_equal(got->frame.data, data, len);
	}
	ring_close(p);
	ring_close(r);
	free(data);
	free(rec);
	free(got);
}

static void test_full_and_too_large(void **state)
{
	struct ring *r, *p;
	static uint8_t data[40000];
	struct ring_record rec = {.kind = RING_FRAME};
	(void)state;

	assert_int_equal(ring_create(SIZE, &r), 0);
	p = attach(r);
	rec.frame = (struct eng_frame){.size_bytes = sizeof(data), .data = data};
	assert_int_equal(ring_put(p, &rec, 0), 0);
	assert_int_equal(ring_put(p, &rec, 0), -EAGAIN);
	rec.frame.size_bytes = SIZE;
	assert_int_equal(ring_put(p, &rec, 0), -EMSGSIZE);
	/* A setup that no store can hold does not even leave the child. */
	rec.kind = RING_SETUP;
	rec.setup = a_setup();
	rec.setup.track[1].codec = ENG_CODEC_H264;
	assert_int_equal(ring_put(p, &rec, 0), -EINVAL);
	ring_close(p);
	ring_close(r);
}

static void test_largest_frame(void **state)
{
	struct ring *r, *p;
	struct ring_record *rec = calloc(1, sizeof(*rec)), *got = calloc(1, sizeof(*got));
	uint8_t *data = malloc(ENG_FRAME_MAX);
	(void)state;

	assert_int_equal(ring_create(0, &r), 0);
	p = attach(r);
	fill(data, ENG_FRAME_MAX, 3);
	rec->kind = RING_FRAME;
	rec->frame.data = data;
	rec->frame.size_bytes = ENG_FRAME_MAX;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(ring_put(p, rec, 0), 0);
		assert_int_equal(ring_get(r, got), 1);
		assert_memory_equal(got->frame.data, data, ENG_FRAME_MAX);
	}
	/* Nobody can pull the memory away. */
	assert_int_equal(ftruncate(ring_mem_fd(r), 4096), -1);
	ring_close(p);
	ring_close(r);
	free(data);
	free(rec);
	free(got);
}

/* One honest record at position 0, then one byte or field of it changed. */
static void test_each_field_is_checked(void **state)
{
	static const struct {
		size_t at;
		uint64_t value;
		int bytes;
	} bad[] = {
	        {RING_DATA_AT + 0, 0, 4},
	        {RING_DATA_AT + 4, 9, 1},
	        {RING_DATA_AT + 4, 0, 1},
	        {RING_DATA_AT + 5, 2, 1},
	        {RING_DATA_AT + 6, 2, 1},
	        {RING_DATA_AT + 7, 1, 1},
	        {RING_DATA_AT + 8, 0, 4},
	        {RING_DATA_AT + 8, 65, 4},
	        {RING_DATA_AT + 8, UINT32_MAX, 4},
	        {RING_DATA_AT + 8, 65472, 4},
	        {RING_DATA_AT + 16, 2, 8},
	        {RING_DATA_AT + 16, 0, 8},
	        {RING_DATA_AT + 40, 1, 8},
	        {64, 65536 + 64, 8},
	        {64, 127, 8},
	        {64, UINT64_MAX - 63, 8},
	        {64, 64, 8},
	        {RING_DATA_AT + 4, RING_SKIP, 1},
	};
	uint8_t data[40] = {1};
	(void)state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct ring *r, *p;
		struct ring_record rec = {.kind = RING_FRAME}, got;
		rec.frame = (struct eng_frame){.size_bytes = sizeof(data), .data = data};
		assert_int_equal(ring_create(SIZE, &r), 0);
		p = attach(r);
		assert_int_equal(ring_put(p, &rec, 0), 0);
		uint8_t *m = map(r, SIZE);
		memcpy(m + bad[i].at, &bad[i].value, (size_t)bad[i].bytes);
		if (ring_get(r, &got) != -EUCLEAN)
			fail_msg("case %zu was taken", i);
		munmap(m, RING_DATA_AT + SIZE);
		ring_close(p);
		ring_close(r);
	}
}

struct vandal {
	uint8_t *map;
	uint64_t seed;
	_Atomic bool stop;
};

static void *vandalise(void *arg)
{
	struct vandal *v = arg;
	while (!atomic_load(&v->stop)) {
		uint64_t x = rec_random(&v->seed);
		size_t at = x % 4 == 0 ? 64 + x / 4 % 8 : RING_DATA_AT + x / 4 % SIZE;
		v->map[at] = (uint8_t)(x >> 40);
	}
	return NULL;
}

/* Random bytes all over, before and while the consumer reads; honest records in between. */
static void test_hostile_producer(void **state)
{
	uint64_t seed = rec_seed(), taken = 0;
	uint8_t data[5000];
	(void)state;

	for (int round = 0; round < 300; round++) {
		struct ring *r, *p;
		struct ring_record rec = {.kind = RING_FRAME}, got;
		assert_int_equal(ring_create(SIZE, &r), 0);
		p = attach(r);
		struct vandal v = {.map = map(r, SIZE), .seed = rec_random(&seed) | 1};
		pthread_t t;
		bool during = round % 2;
		fill(data, sizeof(data), seed);
		for (int i = 0; i < 8; i++) {
			rec.frame = (struct eng_frame){
			        .size_bytes = (uint32_t)(1 + rec_random(&seed) % 5000),
			        .data = data};
			if (ring_put(p, &rec, 0))
				break;
		}
		if (during)
			assert_int_equal(pthread_create(&t, NULL, vandalise, &v), 0);
		else
			for (uint64_t n = rec_random(&seed) % 40; n > 0; n--)
				v.map[rec_random(&seed) % (n % 3 ? RING_DATA_AT + 256 : 200)] ^=
				        1u << n % 8;
		for (int n = 1, i = 0; n > 0 && i < 64; i++) {
			n = ring_get(r, &got);
			assert_true(n == 0 || n == 1 || n == -EUCLEAN);
			if (n == 1 && got.kind == RING_FRAME) {
				assert_in_range(got.frame.size_bytes, 1, SIZE);
				assert_in_range(got.frame.track, 0, 1);
				taken +=
				        ((const uint8_t *)got.frame.data)[got.frame.size_bytes - 1];
			}
		}
		if (during) {
			atomic_store(&v.stop, true);
			pthread_join(t, NULL);
		}
		munmap(v.map, RING_DATA_AT + SIZE);
		ring_close(p);
		ring_close(r);
	}
	assert_true(taken > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_round_trip),
	        cmocka_unit_test(test_full_and_too_large),
	        cmocka_unit_test(test_largest_frame),
	        cmocka_unit_test(test_each_field_is_checked),
	        cmocka_unit_test(test_hostile_producer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

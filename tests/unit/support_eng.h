/*
 * support_eng.h — shared by the tests of the engine's writing half: throw-away stores, a clock that
 * the test moves, a device that fails, delays and remembers on command, and frames that carry their
 * own proof (content is a function of camera and time), so that what is read is judged by itself.
 */
#ifndef SUPPORT_ENG_H
#define SUPPORT_ENG_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/writer.h"

/* ---- randomness: $SEED or the time; prints how to replay ---- */
uint64_t test_seed(void);
uint32_t rnd(uint64_t *state, uint32_t below);

/* ---- stores of 4 MiB segments; store_drop removes and frees ($KEEP=1 leaves them) ---- */
char *store_new(unsigned segments, bool ready);
char *folder_new(const char *root); /* NULL: /tmp */
void store_drop(char *dir);
void segment_file(const char *dir, uint64_t n, char out[4096]);

/* ---- clock ---- */
struct test_clock {
	int64_t wall_ns, boot_ns;
	int64_t step_ns; /* both go on by this at each look */
	bool synced;
};
struct writer_env test_env(struct test_clock *c);
void clock_forward(struct test_clock *c, int64_t ns);

/* ---- device ---- */
#define FAULT_SHORT (-1000) /* fail_with: half of the write happens, then -EIO */
struct log_entry {
	bool flush;
	int64_t file; /* segment number, -1 the catalog */
	uint64_t offset;
	uint32_t len;
	uint8_t *data;       /* NULL: zeros */
	size_t submitted_at; /* length of the log then: what a flush covers */
	uint8_t *catalog;    /* flush: as it was when submitted; write: when logged */
	uint64_t acked[4];   /* durable frames of each stream when logged */
	unsigned removals;   /* *removals when logged */
};
struct fault {
	struct device d;
	struct device *real;
	uint64_t rng; /* 0: in order and at once; else any order, some later */
	bool hold;    /* a disk that does not answer for now */
	struct device_op *pending[DEVICE_DEPTH];
	size_t submitted_at[DEVICE_DEPTH];
	uint8_t *snapshot[DEVICE_DEPTH];
	unsigned n_pending;
	int64_t names[256];                  /* by handle */
	unsigned calls, fail_at, fail_every; /* fail_at: 1-based, 0 never */
	int fail_with;
	bool fail_writes, fail_flushes;
	bool logging;
	struct log_entry *log;
	size_t n_log, cap_log;
	int catalog_fd;
	size_t catalog_bytes;
	struct eng_stream *streams[4];
	const unsigned *removals;
	unsigned failed;
};
/* Owned by the writer it is given to; the log stays with f. */
void fault_open(struct fault *f);
/* Begins to remember; after the writer is open. */
void fault_log_start(struct fault *f, const char *dir);
void fault_free_log(struct fault *f);

/* ---- frames ---- */
extern const struct eng_setup setup_video, setup_av, setup_other;
void frame_fill(const char *camera, int64_t time_ns, uint8_t track, uint8_t *out, uint32_t size);
int append_at(struct eng_stream *s, int64_t time_ns, int64_t dts_ns, uint8_t track, bool key,
              uint32_t size);

/* ---- reading back ---- */
struct seen {
	int64_t time_ns;
	uint8_t track;
	uint32_t size;
	uint64_t run;
};
/* Every frame of the camera in run and file order, content checked; fails the test on any error. */
size_t read_all(const char *dir, const char *camera, struct seen **out);
bool seen_has(const struct seen *s, size_t n, int64_t time_ns, uint8_t track);
/* eng_verify finds nothing bad. */
void assert_verifies(const char *dir);

/* ---- writers ---- */
struct alarms {
	unsigned n, removals;
	char all[8192];
	int removed_returns;
	char rule[16];
	uint64_t removed_segment[64];
	int64_t removed_first[64], removed_end[64];
	char removed_camera[64][ENG_CAMERA_MAX];
};
struct eng_writer_options test_options(struct alarms *a);
struct eng_writer *writer_must_open(const char *dir, const struct eng_writer_options *o,
                                    const struct writer_env *env);
/* Polls n times; fails the test when the writer gives up. */
void polls(struct eng_writer *w, unsigned n);

#endif

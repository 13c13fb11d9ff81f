/*
 * writer.h — the writer's inside, shared by writer*.c, stream.c, chunk.c, arena.c, segment_out.c,
 * prewrite.c, recovery.c and retention.c. Private to the engine and its tests. One thread.
 */
#ifndef CUSTOS_WRITER_H
#define CUSTOS_WRITER_H

#include "engine/catalog.h"
#include "engine/device.h"

#define ARENA_BLOCK      (16 * KIB)
#define CHUNK_LEAD       FMT_BLOCK /* room for the segment header in front of a chunk's buffer */
#define CHUNK_FRAMES_MAX 2048u
#define RECYCLE_WAIT_NS  (2 * NSEC_PER_SEC)
#define IDLE_SEAL_NS     (3600 * NSEC_PER_SEC)

/* What the writer takes from outside; tests bring their own. */
struct writer_env {
	struct device
	        *device; /* NULL: made as the options say. Owned by the writer from open on. */
	int64_t (*wall_ns)(void *arg);
	int64_t (*boot_ns)(void *arg);
	struct clock_state (*clock)(void *arg);
	void *arg;
	bool flush_each; /* one flush per file even where one per filesystem would do */
};
int writer_open_env(const char *dir, const struct eng_writer_options *opt,
                    const struct writer_env *env, struct eng_writer **out, char *err,
                    size_t err_bytes) MUST_CHECK;

/* ---- arena.c: the one bounded piece of memory, faulted in ahead of need; blocks of 16 KiB ---- */

#define ARENA_STEP (DEVICE_STEP / ARENA_BLOCK) /* blocks */
#define ARENA_NONE UINT32_MAX
struct arena {
	uint8_t *base;
	size_t bytes;
	uint32_t n, used, stage_floor;
	uint32_t low, high; /* [0, low) and [high, n) are faulted in */
	/* So that a frame costs no walk: free blocks from stage_floor on, and a block such that all
	 * above it are taken. */
	uint32_t stage_free, stage_top;
	uint8_t *taken;
	uint32_t *next; /* chains staging blocks */
};
int arena_open(struct arena *a, uint64_t bytes) MUST_CHECK;
void arena_close(struct arena *a);
/* Faults in what will soon be used, a step at most at each end. Takes milliseconds when it does:
 * for when nothing is due. True: more of the low end is there. */
bool arena_grow(struct arena *a);
/* n blocks in one piece, from the low end, for building a chunk; NULL: not now. */
uint8_t *arena_run(struct arena *a, uint32_t n);
void arena_run_free(struct arena *a, const uint8_t *run, uint32_t n);
/* Staging: single blocks from the high end; the lowest quarter is left to arena_run. */
uint32_t arena_stage_free(const struct arena *a);
uint32_t arena_stage_take(struct arena *a);
void arena_stage_give(struct arena *a, uint32_t first);
static inline uint8_t *arena_block(const struct arena *a, uint32_t block)
{
	return a->base + (size_t)block * ARENA_BLOCK;
}

/* ---- chunk ---- */

enum chunk_state {
	CHUNK_FILLING, /* frames are copied into staging blocks */
	CHUNK_CLOSED,  /* complete; waits for memory and for room in a segment */
	CHUNK_WRITING, /* in the device's hands */
	CHUNK_WRITTEN, /* the write came back good: still only the device's word */
	CHUNK_FLUSHED, /* a flush that began after that came back good: durable */
};

struct setup_ref {
	unsigned users;
	struct eng_setup setup;
};

struct stage {
	uint32_t first, last; /* blocks */
	uint32_t bytes;
};

struct chunk {
	struct chunk *next; /* of the stream, in sequence order */
	struct eng_stream *s;
	struct setup_ref *setup;
	enum chunk_state state;
	struct stage stage[ENG_TRACKS_MAX];
	struct eng_frame *frames; /* data unused */
	uint32_t n_frames, cap_frames;
	uint32_t payload_bytes;
	int64_t taken_boot_ns, close_at_ns;
	uint8_t *io; /* CHUNK_LEAD bytes, then the chunk */
	uint32_t io_blocks;
	struct fmt_chunk h; /* h.c.sequence 0: not numbered yet */
	struct segout *seg;
	uint64_t flush_no; /* of the flush that covers it, 0 none */
	bool overrun;
	struct device_op op;
};

struct chunk *chunk_new(struct eng_stream *s, int64_t now_boot_ns) MUST_CHECK;
void chunk_free(struct chunk *c);
/* Bytes on disk with one more frame of `size`. */
uint64_t chunk_total_with(const struct chunk *c, uint32_t size);
/* Copies a frame into staging. -EAGAIN, -ENOMEM: nothing taken. */
int chunk_take(struct chunk *c, const struct eng_frame *f) MUST_CHECK;
void chunk_close(struct chunk *c);
/* Staging → one buffer with tables and digests; everything but where it will lie. -EAGAIN. */
int chunk_build(struct chunk *c) MUST_CHECK;

/* ---- segment being written ---- */

enum seal_state { SEAL_NO, SEAL_WANTED, SEAL_WRITING, SEAL_WRITTEN };

struct segout {
	struct segout *next;
	uint8_t stream[ENG_UUID_BYTES];
	uint64_t number;
	int fd, file;
	struct fmt_segment hdr;
	uint8_t prev[FMT_DIGEST_BYTES];
	uint32_t end, chunks; /* placed */
	struct eng_cum cum[ENG_TRACKS_MAX];
	uint64_t last_sequence;         /* placed; 0 none */
	struct fmt_catalog_entry entry; /* published */
	bool entry_changed;
	uint8_t *entries; /* FMT_FOOTER_ENTRY each */
	uint8_t (*roots)[FMT_LEAF_BYTES];
	uint32_t cap;
	bool failed, abandoned; /* its unpublished chunks have been moved elsewhere */
	bool dirty;             /* written to since the last flush began */
	unsigned writing;
	int64_t touched_boot_ns;
	enum seal_state seal;
	uint64_t seal_flush_no;
	uint8_t *footer;
	uint32_t footer_bytes;
	struct device_op op;
};

/* Takes a READY segment for the stream. -EAGAIN: none now. */
int segout_open(struct eng_writer *w, struct eng_stream *s, const struct eng_setup *setup,
                struct segout **out) MUST_CHECK;
/* The same for a segment that recovery found open; entry as published. */
int segout_adopt(struct eng_writer *w, uint64_t number, const struct fmt_segment *hdr,
                 const struct fmt_catalog_entry *e, struct segout **out) MUST_CHECK;
bool segout_fits(const struct eng_writer *w, const struct segout *g, uint32_t total_bytes,
                 bool run_end_only);
/* Remembers a chunk that lies at g->end: footer entry, totals, chain. */
int segout_note(struct segout *g, const struct fmt_chunk *h,
                const uint8_t digest[FMT_DIGEST_BYTES]) MUST_CHECK;
void segout_publish(struct segout *g, const struct chunk *c);
void segout_put(struct eng_writer *w, struct segout *g);
/* Ends it with `state` (SEALED, RETIRED, RECYCLED with the next generation) and frees it. */
void segout_end(struct eng_writer *w, struct segout *g, enum fmt_state state);
void segout_free(struct eng_writer *w, struct segout *g);
/* Seals what is to be sealed, as far as it can go now. */
void segout_poll(struct eng_writer *w);

/* ---- stream ---- */

struct eng_stream {
	struct eng_stream *next;
	struct eng_writer *w;
	char camera[ENG_CAMERA_MAX];
	bool imported;
	uint8_t uuid[ENG_UUID_BYTES];
	bool run_open, run_started; /* started: its first chunk is on its way */
	bool stopped;               /* by a full store, until the next run */
	uint16_t run_reason;
	bool want_key;
	bool has_dts[ENG_TRACKS_MAX];
	int64_t last_dts[ENG_TRACKS_MAX];
	struct setup_ref *setup;
	struct chunk *fill;          /* also the last of the list */
	struct chunk *first, **last; /* not published yet, by sequence */
	struct segout *seg;          /* where the next chunk goes */
	uint64_t next_sequence, run; /* run: of the last numbered chunk */
	bool tail_open;              /* last numbered chunk does not end its run */
	bool redo;                   /* a segment failed: wait for its writes, then place again */
	unsigned writing;
	bool waiting; /* for a READY segment */
	int64_t phase_ns;
	int64_t durable_ns;
	uint64_t durable_frames, lost_frames;
};
/* Store full: gives up what is not placed, ends the run on disk as STORE_FULL. */
void stream_stop(struct eng_stream *s);
/* A CHUNK_CLOSED chunk of no frames with RUN_END, at the list's end. */
int stream_add_run_end(struct eng_stream *s, enum eng_reason reason) MUST_CHECK;

/* ---- writer ---- */

struct keep_uuid {
	uint8_t live[ENG_UUID_BYTES], imported[ENG_UUID_BYTES];
};
struct camera_rule {
	uint8_t stream[ENG_UUID_BYTES];
	struct eng_camera_ages ages;
};
struct retention {
	bool set;
	uint64_t number;
	size_t n_cameras, n_keeps;
	struct eng_keep *keeps;
	struct keep_uuid *keep_ids;
	struct camera_rule *rules; /* two a camera, sorted by stream */
	int64_t least_age_ns;      /* nothing younger goes, whatever the camera */
};
struct recycled {
	uint64_t number, flush_no; /* flush that must be done before zeros may go in */
	int64_t boot_ns;
};
struct prewrite {
	bool active, flushing;
	uint64_t number, at;
	int fd, file;
	struct device_op op;
	uint8_t *zeros;
};
struct flush {
	bool active, wanted;
	uint64_t started, done; /* numbers */
	unsigned pending;
	int result;
	int64_t since_boot_ns; /* oldest write not covered; INT64_MAX none */
	struct device_op *ops;
	size_t cap;
};

struct eng_writer {
	struct writer_env env;
	struct eng_writer_options opt;
	struct fmt_superblock sb;
	char *dir;
	int dirfd, lock_fd, catalog_fd, catalog_file;
	struct catalog *catalog;
	struct fmt_catalog_entry *entries; /* mirror */
	uint64_t in_state[FMT_STATE_MAX];
	uint64_t cursor; /* where the search for READY goes on */
	uint64_t epoch;
	struct device *dev;
	unsigned in_device;
	struct device_op *queue, **queue_last;
	struct arena arena;
	struct eng_stream *streams, **streams_last;
	struct segout *segs;
	struct flush flush;
	struct prewrite pre;
	struct recycled *recycled;
	size_t n_recycled, cap_recycled;
	struct retention ret;
	int64_t age_wall_ns, age_boot_ns; /* retention's clock */
	struct clock_state clock;
	int64_t now_boot_ns, tick_boot_ns;
	unsigned waiting;
	bool force; /* sync: flush at once */
	bool full, full_alarmed, keep_alarmed, short_alarmed, wait_alarmed;
	int64_t waiting_since_boot_ns; /* some stream waits for a READY segment; 0 none does */
	struct {
		bool now;
		unsigned times; /* since the last alarm */
		int64_t worst_ns, alarm_boot_ns;
	} late;
	int dead;                   /* -errno once the store cannot be written any more */
	unsigned failures;          /* in a row */
	struct chunk *memory_waits; /* the one chunk that may build first */
	char alarms[16][256];
	unsigned n_alarms;
	struct eng_stats stats;
};

int64_t writer_wall(const struct eng_writer *w);
int64_t writer_boot(const struct eng_writer *w);
/* Queued; told to the caller by eng_poll(). */
void writer_alarm(struct eng_writer *w, const char *format, ...) PRINTF(2, 3);
void writer_submit(struct eng_writer *w, struct device_op *op);
void writer_put(struct eng_writer *w, uint64_t segment, const struct fmt_catalog_entry *e);
int writer_open_segment(struct eng_writer *w, uint64_t number, int *fd, int *file) MUST_CHECK;
/* Our own shortage (descriptors, memory), no verdict on the disk: try again later. Alarms once. */
bool writer_short_of(struct eng_writer *w, int err);
void writer_close_segment(struct eng_writer *w, int fd, int file);
/* A device error on the way: counts, and gives the store up after too many in a row.
 * segment UINT64_MAX: of none in particular. */
void writer_failed(struct eng_writer *w, int err, const char *what, uint64_t segment);
void writer_place(struct eng_writer *w);
void writer_redo(struct eng_writer *w);
void writer_flush_poll(struct eng_writer *w);
bool writer_idle(const struct eng_writer *w);
/* Lets go of everything, as a crash would: nothing ended, flushed or published. The device must
 * hold no op any more. */
void writer_free(struct eng_writer *w);

/* ---- recovery.c ---- */
int recovery_run(struct eng_writer *w, char *err, size_t err_bytes) MUST_CHECK;
int recovery_raise_epoch(struct eng_writer *w, char *err, size_t err_bytes) MUST_CHECK;

/* ---- prewrite.c ---- */
void prewrite_poll(struct eng_writer *w);
/* Segment was removed or given up: to be zeroed after 2 s and a flush of the catalog. */
int prewrite_add_recycled(struct eng_writer *w, uint64_t number) MUST_CHECK;
uint64_t prewrite_target(const struct eng_writer *w);
void prewrite_close(struct eng_writer *w);

/* ---- retention.c ---- */
/* Once a second: what is past max_age; and one for space when free ones run low. */
void retention_poll(struct eng_writer *w);
/* Could anything be removed for space now? */
bool retention_could(struct eng_writer *w);
void retention_tick_clock(struct eng_writer *w);
void retention_free(struct eng_writer *w);

#endif

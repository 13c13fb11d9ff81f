/*
 * reader.h — the reading half's shared inside. Private to engine/reader*.c.
 *
 *   reader.c        segments by stream, kept up to date from the catalog; cameras
 *   reader_index.c  what chunks a segment has: footer or walk, bounded cache; run summaries
 *   reader_runs.c   eng_runs, eng_index: answers made from the two above
 *   reader_chunk.c  bytes: descriptors, verification, the generation check
 *
 * One mutex guards everything below and is never held while reading a disk. Indexes and summaries
 * are immutable once made and counted (the count is guarded too), so whoever holds a reference
 * reads without a lock.
 */
#ifndef CUSTOS_READER_H
#define CUSTOS_READER_H

#include <pthread.h>

#include "engine/catalog.h"

#define READER_FDS         256
#define READER_INDEX_BYTES (64 * MIB)

struct index { /* the committed chunks of one segment's generation */
	unsigned refs;
	uint64_t segment, generation;
	uint32_t committed_bytes; /* as far as the catalog said when it was made */
	bool walked;              /* from chunk headers: `walk` tells where to go on */
	bool footer_tried;        /* made when sealed: there is nothing better to be had */
	uint32_t n;
	struct eng_chunk *chunks;
	struct segment_walk walk; /* header always valid */
	struct index *newer, *older;
};

struct piece { /* what one segment has of one run */
	uint64_t run;
	int64_t first_ns, end_ns;
	uint16_t start_reason, end_reason;
	bool has_start, has_end, clock_synced;
};
struct summary { /* a segment's runs: small, so kept for every segment that was ever asked for */
	unsigned refs;
	uint64_t generation;
	uint32_t committed_bytes;
	uint32_t n;
	struct piece pieces[];
};

struct seg {
	struct fmt_catalog_entry e;
	bool listed;                /* has committed footage: it stands in its stream's list */
	uint64_t bad_generation;    /* this generation's header is damaged: not looked at again */
	uint64_t warned_generation; /* said so already */
	struct index *index;
	struct summary *summary;
};

struct stream {
	uint8_t uuid[ENG_UUID_BYTES];
	char camera[ENG_CAMERA_MAX]; /* "" until a header was read */
	uint32_t *segs;              /* by first sequence */
	size_t n, max;
};

struct open_segment {
	uint64_t segment;
	int fd; /* -1: free slot */
	unsigned users;
	uint64_t used; /* tick of last use */
};

struct eng_reader {
	char *dir;
	struct fmt_superblock sb;
	pthread_mutex_t lock;
	struct catalog *catalog; /* replaced under the lock, loaded atomically without */
	struct catalog **old;    /* superseded ones: threads may still look at them */
	size_t n_old;
	uint64_t change_base, seen_change;
	struct seg *segs; /* one for each segment */
	struct stream **streams;
	size_t n_streams;
	struct index *newest, *oldest; /* cached indexes by use */
	size_t index_bytes;
	struct open_segment fds[READER_FDS];
	uint64_t tick;
};

/* Brings the map up to the catalog. Caller holds the lock. */
void reader_refresh(struct eng_reader *r);
struct stream *reader_stream(struct eng_reader *r, const uint8_t uuid[ENG_UUID_BYTES]);
/* Warns once for a segment's generation. Takes the lock. */
void reader_warn(struct eng_reader *r, uint64_t segment, uint64_t generation, const char *what);
/* The catalog of now; any thread, no lock. */
struct catalog *reader_catalog(struct eng_reader *r);
/* 0 when the catalog says that this generation, up to end_bytes, is still footage; -ESTALE. */
int reader_still(struct eng_reader *r, uint64_t segment, uint64_t generation,
                 uint32_t end_bytes) MUST_CHECK;
/* Footage of [first, end) touches the window [from, to); an instant without duration counts. */
static inline bool touches(int64_t first_ns, int64_t end_ns, int64_t from_ns, int64_t to_ns)
{
	return first_ns < to_ns && (end_ns > from_ns || first_ns >= from_ns);
}

/* A reference to the segment's index, up to what the map says is committed. Blocks.
 * -ESTALE: no footage there any more; -EUCLEAN: damaged (warned once); -EIO; -ENOMEM. */
int index_get(struct eng_reader *r, uint64_t segment, struct index **out) MUST_CHECK;
void index_unref(struct eng_reader *r, struct index *i);
int summary_get(struct eng_reader *r, uint64_t segment, struct summary **out) MUST_CHECK;
void summary_unref(struct eng_reader *r, struct summary *s);
/* Forgets what is cached of a segment. Caller holds the lock. */
void index_forget(struct eng_reader *r, struct seg *seg);

/* A descriptor of a segment file, valid until fd_put(). */
int fd_get(struct eng_reader *r, uint64_t segment) MUST_CHECK;
void fd_put(struct eng_reader *r, uint64_t segment, int fd);
void fds_close(struct eng_reader *r);

#endif

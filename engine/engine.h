/*
 * engine.h — the store: what others may know of it. The only engine header other rooms include.
 *
 * A store is a folder of pre-allocated segment files. One writer (custos-recorderd) owns it; any
 * number of readers in other processes see what the writer has made durable, through the mmap'ed
 * catalog, without talking to it. The bytes are specified in format.h; here are the promises:
 *
 *   commit      a frame handed to eng_append() is visible to readers only once it is durable, and
 *               frames of a stream become visible in order.
 *   loss bound  a frame is durable at most `flush_ns` after eng_append() took it (measured:
 *               eng_stats.loss_bound_ns), or an alarm is raised.
 *   retention   nothing is recycled unless the newest retention table allows it; without one,
 *               nothing ever is.
 *   truth       every byte a reader returns was verified against its unit's digest and its
 *               segment's generation, after it was read.
 *
 * A *stream* is one camera's live footage or its imported footage; a *run* is an unbroken stretch
 * of a stream with one codec setup and one continuous clock, named by the sequence number of its
 * first chunk. Times are UTC nanoseconds; windows are half-open.
 */
#ifndef CUSTOS_ENGINE_H
#define CUSTOS_ENGINE_H

#include "engine/base/base.h"

#define ENG_UUID_BYTES    16
#define ENG_CAMERA_MAX    128        /* UTF-8 bytes of a camera's name, NUL included */
#define ENG_TRACKS_MAX    2          /* one video, one audio; track 0 is video when there is one */
#define ENG_EXTRADATA_MAX 1896       /* codec configuration bytes of one track */
#define ENG_FRAME_MAX     (15 * MIB) /* one frame's payload */
#define ENG_NO_TIME       INT64_MIN

/* Codecs a store can hold. Values are on disk: never renumber. */
enum eng_codec {
	ENG_CODEC_NONE = 0,
	ENG_CODEC_H264 = 1,  /* extradata: avcC; payload: length-prefixed NAL units */
	ENG_CODEC_H265 = 2,  /* extradata: hvcC; payload: length-prefixed NAL units */
	ENG_CODEC_MJPEG = 3, /* no extradata; every frame is a key frame */
	ENG_CODEC_AAC = 16,  /* extradata: AudioSpecificConfig; payload: raw access units */
	ENG_CODEC_ALAW = 17, /* G.711 */
	ENG_CODEC_ULAW = 18,
};
static inline bool eng_codec_is_video(uint16_t codec)
{
	return codec >= ENG_CODEC_H264 && codec < ENG_CODEC_AAC;
}
const char *eng_codec_name(uint16_t codec); /* "h264" …, "?" */

struct eng_track {
	uint16_t codec;
	uint16_t width, height; /* video */
	uint16_t channels;      /* audio */
	uint32_t sample_rate;   /* audio */
	uint16_t extradata_bytes;
	uint8_t extradata[ENG_EXTRADATA_MAX];
};

struct eng_setup {
	uint16_t n_tracks;
	struct eng_track track[ENG_TRACKS_MAX];
};

/* Why a run began or ended: the cause of the gap beside it. On disk: never renumber. */
enum eng_reason {
	ENG_REASON_NONE = 0,
	ENG_REASON_FIRST = 1,       /* first footage of this stream */
	ENG_REASON_UNREACHABLE = 2, /* source could not be opened or went away */
	ENG_REASON_STALLED = 3,     /* no frame within the stall time-out */
	ENG_REASON_AUTH = 4,
	ENG_REASON_PARAMETERS = 5,     /* codec setup changed */
	ENG_REASON_DISK_SLOW = 6,      /* frames dropped: disk or memory bound */
	ENG_REASON_STORE_FULL = 7,     /* nothing removable */
	ENG_REASON_OPERATOR = 8,       /* stopped by a person */
	ENG_REASON_SCHEDULE = 9,       /* planned */
	ENG_REASON_RESTART = 10,       /* recorder stopped or crashed */
	ENG_REASON_CLOCK_STEP = 11,    /* wall clock was stepped */
	ENG_REASON_SOURCE_END = 12,    /* fed stream or file came to its end */
	ENG_REASON_INGEST_CRASH = 13,  /* the ingest child died */
	ENG_REASON_DISCONTINUITY = 14, /* time stamps of the source jumped */
	ENG_REASON_BAD_DATA = 15,      /* source sent what cannot be stored */
	ENG_REASON_MAX
};
const char *eng_reason_name(uint16_t reason); /* "unreachable" …, "?" */

enum { ENG_FRAME_KEY = 1, /* decodable without earlier frames */ };
/* A bit of eng_chunk.flags: written while the clock was synchronised. */
enum { ENG_CHUNK_CLOCK_SYNCED = 8 };

/* ------------------------------------------------------------------ making a store (pool.c) */

struct eng_init_options {
	uint64_t size_bytes;
	uint64_t segment_bytes; /* 0: derive from size and cameras (DESIGN §4) */
	uint32_t cameras;       /* 0: 16 */
	bool prewrite;          /* write every segment once now instead of ahead of need */
	gid_t group;            /* group that may read the store, (gid_t)-1: leave */
};
/* Makes a store in DIR (created if missing, must be empty otherwise). Allocates all space at
 * once. Blocks. err[err_bytes] gets one clear line on failure. -EEXIST: a store is there already;
 * -ENOTEMPTY; -ENOSPC: does not fit, nothing is left behind; -EINVAL: sizes. */
int eng_init(const char *dir, const struct eng_init_options *opt, char *err,
             size_t err_bytes) MUST_CHECK;

/* --------------------------------------------------------------- writing (writer.c, one thread) */

struct eng_writer;
struct eng_stream;

struct eng_writer_options {
	int64_t flush_ns;      /* 0: 1 s. The loss bound aimed at. */
	bool leaves;           /* integrity = sha256: salted SHA-256 leaf per frame */
	uint64_t memory_bytes; /* bound on chunk buffers, taken as needed; 0: 256 MiB */
	uint32_t ready_ahead;  /* segments kept prewritten; 0: 4 */
	bool sync_device;      /* synchronous device instead of io_uring (tests, old kernels) */
	/* Called from eng_poll() for things a person should know (one line, UTF-8). */
	void (*alarm)(void *arg, const char *line);
	/* Called when a segment is removed by retention, before its space is reused. A non-zero
	 * return (-errno: the removal could not be logged) keeps the segment. */
	int (*removed)(void *arg, const char *camera, const uint8_t stream[ENG_UUID_BYTES],
	               uint64_t segment, uint64_t generation, int64_t first_ns, int64_t last_ns,
	               const char *rule);
	void *arg;
};
/* Opens DIR for writing: locks it against a second writer, recovers what the last writer left
 * (flushes, then publishes), raises the writer epoch durably. Blocks. One clear line in err.
 * -EBUSY: another writer; -ENOENT, -EUCLEAN: not a store or a damaged one; -EIO. */
int eng_writer_open(const char *dir, const struct eng_writer_options *opt, struct eng_writer **out,
                    char *err, size_t err_bytes) MUST_CHECK;
/* Writes out, flushes and publishes everything, ends open runs with ENG_REASON_RESTART unless
 * they were ended, marks the catalog clean. Blocks. */
void eng_writer_close(struct eng_writer *w);

/* Everything below: from the thread that opened the writer; nothing blocks unless it says so. */

/* A descriptor that becomes readable when eng_poll() has work; for the caller's epoll. */
int eng_writer_fd(const struct eng_writer *w);
/* Advances writes, flushes, publication, sealing, prewriting, recycling. Returns the longest time
 * in ns the caller may wait before calling again (it may call earlier), or -errno when the
 * store as a whole can no longer be written. */
int64_t eng_poll(struct eng_writer *w);
/* Blocks until all that was appended is durable and published, or timeout: -ETIMEDOUT, -EIO. */
int eng_sync(struct eng_writer *w, int64_t timeout_ns) MUST_CHECK;

/* The stream of CAMERA (its imported stream if imported), made at first use. Identity is derived
 * from store UUID, name and kind; handles live as long as the writer; same arguments, same handle.
 * -EINVAL: name empty, too long or not UTF-8. */
int eng_stream_get(struct eng_writer *w, const char *camera, bool imported,
                   struct eng_stream **out) MUST_CHECK;
/* Begins a run; ends an open one first with ENG_REASON_DISCONTINUITY. `reason` explains the gap
 * before it. A setup that differs from the segment's begins a new segment. -EINVAL: setup. */
int eng_run_begin(struct eng_stream *s, const struct eng_setup *setup,
                  enum eng_reason reason) MUST_CHECK;
struct eng_frame {
	int64_t time_ns; /* presentation, UTC */
	int64_t dts_ns;  /* decode order inside its track: strictly increasing within a run */
	uint32_t duration_ns;
	uint8_t track;
	uint8_t flags; /* ENG_FRAME_* */
	uint32_t size_bytes;
	const void *data;
};
/* Takes one frame (copies it). A run's first video frame must be a key frame.
 * -EINVAL: against the rules above (nothing taken); -EMSGSIZE: larger than ENG_FRAME_MAX or than a
 * segment or the memory bound can hold; -EIO: the store cannot be written any more;
 * -EAGAIN: memory bound reached: the caller drops whole GOPs from the newest end, then begins a
 * new run with ENG_REASON_DISK_SLOW; -ENOSPC: nothing removable, the stream is stopped (the run is
 * ended with ENG_REASON_STORE_FULL; try eng_run_begin again later). */
int eng_append(struct eng_stream *s, const struct eng_frame *f) MUST_CHECK;
/* Ends the run with its reason; no-op without one. */
void eng_run_end(struct eng_stream *s, enum eng_reason reason);

/* The retention table that the newest signed policy snapshot says (the caller has verified it).
 * Copied. -ESTALE: number is older than the one in force. Cameras not named are kept for ever. */
struct eng_keep { /* footage that must stay: hold, live grant, pending request */
	char camera[ENG_CAMERA_MAX];
	int64_t from_ns, to_ns;
};
struct eng_camera_ages {
	char camera[ENG_CAMERA_MAX];
	int64_t min_age_ns; /* not removed before, unless older than max_age */
	int64_t max_age_ns; /* 0: no ceiling */
};
struct eng_retention {
	uint64_t number;
	size_t n_cameras, n_keeps;
	const struct eng_camera_ages *cameras;
	const struct eng_keep *keeps;
};
int eng_retention_set(struct eng_writer *w, const struct eng_retention *r) MUST_CHECK;

struct eng_stats {
	uint64_t segments, segments_raw, segments_ready, segments_open, segments_sealed,
	        segments_retired;
	uint64_t segment_bytes;
	uint64_t bytes_written, frames_durable, chunks_durable, removed;
	uint64_t memory_used_bytes;
	int64_t loss_bound_ns;     /* age of the oldest frame not yet durable, now */
	int64_t loss_bound_max_ns; /* worst seen since open */
	uint64_t overruns;         /* times it passed flush_ns */
	uint64_t write_errors;
	uint64_t epoch;
	int64_t oldest_ns;        /* oldest footage, ENG_NO_TIME when none */
	bool store_full;          /* nothing removable */
	unsigned streams_waiting; /* for a segment to be prepared: delayed, not lost */
};
void eng_writer_stats(const struct eng_writer *w, struct eng_stats *out);
/* The stream's last durable instant (end of its last committed chunk), or ENG_NO_TIME. */
int64_t eng_stream_durable_ns(const struct eng_stream *s);
/* Number of frames of this stream made durable since the writer was opened. */
uint64_t eng_stream_durable_frames(const struct eng_stream *s);
/* Number of frames taken by eng_append() since then and given up before they were durable, because
 * the store was full. Taken = durable + lost + on their way. */
uint64_t eng_stream_lost_frames(const struct eng_stream *s);

/* ------------------------------------------------ reading (reader.c; thread-safe, any process) */

struct eng_reader;

/* Opens DIR read-only. -ENOENT / -EUCLEAN with one line in err when it is not a store. */
int eng_reader_open(const char *dir, struct eng_reader **out, char *err,
                    size_t err_bytes) MUST_CHECK;
void eng_reader_close(struct eng_reader *r);
const uint8_t *eng_reader_uuid(const struct eng_reader *r);

struct eng_run {
	char camera[ENG_CAMERA_MAX];
	uint8_t stream[ENG_UUID_BYTES];
	uint64_t run;                      /* sequence number of its first chunk */
	int64_t first_ns, end_ns;          /* what is committed of it: [first_ns, end_ns) */
	uint16_t start_reason, end_reason; /* end_reason NONE: still growing, or the writer died */
	bool imported;
	bool clock_synced; /* false if any chunk of it was written on an unsynced clock */
	bool truncated;    /* its beginning has been removed by retention */
	struct eng_setup setup;
};
/* The names of all cameras with committed footage, sorted; *out is one malloc'ed block. */
int eng_cameras(struct eng_reader *r, char (**out)[ENG_CAMERA_MAX], size_t *n) MUST_CHECK;
/* The runs of CAMERA that touch [from, to), by first_ns, live and imported. malloc'ed. */
int eng_runs(struct eng_reader *r, const char *camera, int64_t from_ns, int64_t to_ns,
             struct eng_run **out, size_t *n) MUST_CHECK;

/* One committed chunk as its index entry tells it; no payload has been read.
 * Frames are stored grouped by track, each track in decode order, so a track's bytes inside the
 * payload are one piece: track 0 at 0, track 1 right behind track 0's bytes. */
struct eng_chunk {
	uint64_t segment, generation, sequence, run;
	uint32_t offset;         /* of the chunk in its segment */
	uint32_t total_bytes;    /* on disk, multiple of 4096 */
	uint32_t payload_offset; /* from the chunk's start */
	uint32_t payload_bytes;
	uint32_t frame_count;
	uint32_t flags; /* FMT_CHUNK_* of format.h */
	uint16_t start_reason, end_reason;
	int64_t first_ns, end_ns; /* least time, greatest time + duration; ENG_NO_TIME if empty */
	int64_t first_key_ns;     /* first video key frame (any frame without video) or NO_TIME */
	struct eng_chunk_track {
		uint32_t frames, keys, bytes;
		int64_t first_ns, last_ns; /* presentation times, least and greatest */
	} track[ENG_TRACKS_MAX];
	/* Totals of the same segment before this chunk: sizes of ranges are differences. */
	struct eng_cum {
		uint32_t frames, keys, chunks; /* chunks: with at least one frame of the track */
		uint64_t bytes;
	} cum[ENG_TRACKS_MAX];
};
/* The committed chunks of a run that touch [from, to), by sequence. malloc'ed. Chunks without
 * frames (run ends) are left out. Never includes a chunk that was not durable. */
int eng_index(struct eng_reader *r, const uint8_t stream[ENG_UUID_BYTES], uint64_t run,
              int64_t from_ns, int64_t to_ns, struct eng_chunk **out, size_t *n) MUST_CHECK;

struct eng_frame_info {
	int64_t time_ns, dts_ns;
	uint32_t duration_ns, size_bytes;
	uint32_t offset; /* in the payload */
	uint8_t track, flags;
	uint8_t leaf[32]; /* zero when the store keeps none */
};
/* The frame table of a chunk, out[chunk->frame_count], in payload order. Verified.
 * -ESTALE: the segment was recycled; -EUCLEAN: damaged; -EIO. */
int eng_chunk_frames(struct eng_reader *r, const struct eng_chunk *c,
                     struct eng_frame_info *out) MUST_CHECK;
/* Payload bytes [offset, offset+len) of a chunk, every unit they touch verified, generation
 * checked again after the read. Same errors; on error buf's content is undefined. */
int eng_chunk_read(struct eng_reader *r, const struct eng_chunk *c, uint32_t offset, uint32_t len,
                   void *buf) MUST_CHECK;
/* Rises whenever anything was committed or removed; cheap; for cache invalidation. */
uint64_t eng_reader_change(struct eng_reader *r);

/* --------------------------------------------------------- checking and showing (verify.c) */

struct eng_verify_report {
	uint64_t segments, chunks, units, frames, bytes;
	uint64_t damaged; /* segments, chunks or units found bad */
};
struct eng_verify_options {
	const char *camera; /* NULL: all */
	int64_t segment;    /* -1: all */
	bool payload;       /* read and verify every unit; else headers and tables only */
	/* One line for each thing found bad. */
	void (*finding)(void *arg, uint64_t segment, uint64_t offset, const char *what);
	void (*progress)(void *arg, uint64_t done_segments, uint64_t all_segments);
	void *arg;
};
/* Reads the whole store and checks every rule of format.h. 0 when it could be read (see
 * report->damaged), else -errno. */
int eng_verify(const char *dir, const struct eng_verify_options *opt,
               struct eng_verify_report *report, char *err, size_t err_bytes) MUST_CHECK;
/* Rebuilds the catalog from the segments (recorder stopped: takes the writer's lock). -EBUSY. */
int eng_catalog_rebuild(const char *dir, char *err, size_t err_bytes) MUST_CHECK;
/* Prints segment NO readably on OUT (a FILE *). frames: also each frame. */
int eng_dump(const char *dir, uint64_t segment, bool frames, void *out, char *err,
             size_t err_bytes) MUST_CHECK;

#endif

/*
 * view.h — virtual files: classic MP4 (moov in front) over stored bytes, exact sizes.
 *
 * A virtual file is a pure function of (stream, run, [a, b), VIEW_LAYOUT_VERSION): same bytes for
 * every viewer, mount, machine and restart. Pure over the engine's reader: knows nothing of FUSE,
 * users or grants. Thread-safe; may block on the disk.
 *
 * Which footage is in [a, b):
 *   - slices of wall-clock time of slice_ns, aligned to UTC; a video GOP belongs to the slice in
 *     which its key frame lies; so an inner file's a is its first key frame's time, and its b the
 *     first key frame's time of the next file. Cut also at run ends.
 *   - a window's edges cut [a, b): begins with the first key frame >= from; ends, in decode order,
 *     before the first frame with time >= to. Leading pictures (decoded after the first key frame,
 *     shown before it) are left out of every file. Audio by start time, in [first video time, b).
 *     A run without video: every audio frame is a key frame.
 *   - the slice being recorded ends at the last key frame that is durable (b = its time) and whose
 *     audio is (waited for 10 s at most: select.h); the names of the shorter files it had before go
 *     on to resolve, to the same bytes as then. A file is listed only when nothing can join it.
 *
 * Layout version 1 (mp4.c says it box by box): ftyp, moov, mdat (64-bit size). Tables are never
 * run-length compressed: stts and ctts one entry a sample, stsz a sample, stss a key frame, stsc
 * and co64 one a (store chunk, track) with samples — so the size is sums over index entries alone,
 * and no payload is read for it. mdat holds the selected payload bytes, chunk by chunk, track by
 * track.
 */
#ifndef CUSTOS_VIEW_H
#define CUSTOS_VIEW_H

#include "engine/engine.h"

#define VIEW_LAYOUT_VERSION 1
#define VIEW_NAME_MAX       96
#define VIEW_SETTLED_NS     (60 * NSEC_PER_SEC)

struct view_file {
	char camera[ENG_CAMERA_MAX];
	uint8_t stream[ENG_UUID_BYTES];
	uint64_t run;
	int64_t a_ns, b_ns;       /* the function's arguments */
	int64_t first_ns, end_ns; /* what it truly contains: first frame; end of the last, or, where
	                           * it ends at a key frame of the window, that frame's time */
	uint64_t size_bytes;
	bool imported;
	bool clock_synced;        /* on every chunk that it takes from */
	bool growing;             /* not its slice's whole: still being recorded, or found by an
	                           * earlier name */
	char name[VIEW_NAME_MAX]; /* 20261120T081500.040+0800--20261120T082500.080+0800.mp4 */
};
/* The files of CAMERA inside the window, sorted by first_ns; names are unique (a stream or run that
 * would collide gets "-2" before ".mp4", in a stable order; imported footage gets "-imported").
 * Only frames in [from, to) determine anything here. malloc'ed. */
int view_list(struct eng_reader *r, const char *camera, int64_t from_ns, int64_t to_ns,
              int64_t slice_ns, struct view_file **out, size_t *n) MUST_CHECK;
/* The file that `name` means inside the window: one of view_list()'s, or a shorter earlier name of
 * a slice that was being recorded. -ENOENT. Reads little for a name that cannot be. */
int view_find(struct eng_reader *r, const char *camera, int64_t from_ns, int64_t to_ns,
              int64_t slice_ns, const char *name, struct view_file *out) MUST_CHECK;

struct view; /* an open virtual file: its tables, in memory; immutable, shareable by threads */
/* -ENOENT, -ESTALE (recycled), -EUCLEAN (damaged), -EIO, -ENOMEM. view_size() equals
 * file->size_bytes, or the open fails with -EUCLEAN. */
int view_open(struct eng_reader *r, const struct view_file *file, struct view **out) MUST_CHECK;
void view_close(struct view *v);
uint64_t view_size(const struct view *v);
size_t view_memory(const struct view *v); /* bytes that it keeps allocated */
/* Bytes [offset, offset+len) clipped to the size; *got says how many. Verified; errors as
 * eng_chunk_read(): recycled or damaged data is never served. */
int view_read(struct view *v, uint64_t offset, size_t len, void *buf, size_t *got) MUST_CHECK;
/* 1: nothing recorded live can join the window's files any more: every run in it reaches past `to`
 * or has ended, and the camera's durable footage has passed `to` — or, where there is none yet,
 * now_ns has by VIEW_SETTLED_NS. 0: more may come. -errno. Imports are not foreseen. */
int view_settled(struct eng_reader *r, const char *camera, int64_t from_ns, int64_t to_ns,
                 int64_t now_ns) MUST_CHECK;
/* What `from` would have had to be so that the footage right after `from` were delivered: the time
 * of the last key frame before it in the same run; ENG_NO_TIME when delivery starts at `from` or
 * nothing is missing. For GRANT.txt. */
int64_t view_better_from(struct eng_reader *r, const char *camera, int64_t from_ns);

#endif

/*
 * catalog.h — the mmap'ed cache of the segments' states (format.h, CATALOG). Private to the engine.
 *
 * The writer's process maps it writable and is the only one that changes it; readers map it
 * read-only and copy entries until their digest fits. It is a cache: losing it loses nothing.
 */
#ifndef CUSTOS_CATALOG_H
#define CUSTOS_CATALOG_H

#include "engine/format.h"

struct catalog;

#define CATALOG_NAME "catalog"
/* Makes DIR/NAME with all entries RAW, generation 0, allocated and synced, mode 0640. -EEXIST.
 * Blocks. On failure nothing is left behind. */
int catalog_create_as(const char *dir, const char *name,
                      const struct fmt_superblock *sb) MUST_CHECK;
/* Maps it. -ENOENT, -EUCLEAN (wrong magic, store or size). Writable and not clean: the change
 * counter is raised so far that every reader rereads everything. */
int catalog_open_as(const char *dir, const char *name, const struct fmt_superblock *sb,
                    bool writable, struct catalog **out) MUST_CHECK;
static inline int MUST_CHECK catalog_create(const char *dir, const struct fmt_superblock *sb)
{
	return catalog_create_as(dir, CATALOG_NAME, sb);
}
static inline int MUST_CHECK catalog_open(const char *dir, const struct fmt_superblock *sb,
                                          bool writable, struct catalog **out)
{
	return catalog_open_as(dir, CATALOG_NAME, sb, writable, out);
}
void catalog_close(struct catalog *c);
uint64_t catalog_count(const struct catalog *c);
/* A consistent copy of an entry. Any thread, any process. -EUCLEAN: never came to fit (damaged, or
 * no such segment). Waits (up to 250 ms, after a few damaged ones 5 ms) only for a
 * writer that is in the middle of it. */
int catalog_get(struct catalog *c, uint64_t segment, struct fmt_catalog_entry *out) MUST_CHECK;
/* Writer only: stores the entry, names it in the ring, then raises the change counter (release). */
void catalog_put(struct catalog *c, uint64_t segment, const struct fmt_catalog_entry *e);
/* The change counter (acquire). */
uint64_t catalog_change(const struct catalog *c);
/* Segments changed after counter value `since`, newest counter in *now; calls each(arg, segment),
 * possibly more than once for one segment. false: too far behind, reread everything. */
bool catalog_changes(const struct catalog *c, uint64_t since, uint64_t *now,
                     void (*each)(void *arg, uint64_t segment), void *arg);
bool catalog_clean(const struct catalog *c);
void catalog_set_clean(struct catalog *c, bool clean);
/* A rebuilt catalog has taken this one's place: open it again. */
bool catalog_superseded(const struct catalog *c);
/* Says so to everybody who has DIR/catalog mapped, whatever state it is in; then a rename follows.
 */
void catalog_supersede(const char *dir);
/* msync of everything. Blocks. */
int catalog_sync(struct catalog *c) MUST_CHECK;

/* ---- super.c: shared by everybody who opens a store. Block. ---- */

/* -ENOENT, -EUCLEAN, -EIO …; one line in err. */
int store_read_superblock(const char *dir, struct fmt_superblock *out, char *err,
                          size_t err_bytes) MUST_CHECK;
/* The current epoch and the slot (0 or 1) it stands in. -EUCLEAN: no slot is valid. */
int store_read_epoch(const char *dir, const struct fmt_superblock *sb, struct fmt_epoch *out,
                     unsigned *slot) MUST_CHECK;
/* flock on DIR/lock, the one writer's. *fd is kept open while it is held. -EBUSY. */
int store_lock(const char *dir, int *fd) MUST_CHECK;
/* Opens segment NUMBER with these open(2) flags (O_CLOEXEC is added). Descriptor or -errno. */
int store_open_segment(const char *dir, uint64_t number, int flags) MUST_CHECK;

/* ---- walk.c: a segment from its first chunk on, by the rules V1–V5 of format.h ---- */

/* Where a walk is: everything before `end` is good. Pure data, copyable; a walk may pause and go
 * on from a copy, as the reader does when an open segment has grown. */
struct segment_walk {
	struct fmt_segment header;
	uint32_t end;                          /* offset behind the last good chunk */
	uint32_t chunks;                       /* good ones so far */
	struct fmt_chunk last;                 /* valid when chunks > 0 */
	uint8_t last_digest[FMT_DIGEST_BYTES]; /* of the last chunk's header (segment's if none) */
	struct eng_cum total[ENG_TRACKS_MAX];  /* over the good chunks */
	int64_t first_ns, end_ns;              /* of the good chunks; ENG_NO_TIME without frames */
	const char *why;                       /* why the walk stopped (static string) */
};
/* V1 over the header block of `segment`. -EUCLEAN with w->why. Pure. */
int segment_walk_begin(struct segment_walk *w, const struct fmt_superblock *sb, uint64_t segment,
                       const uint8_t header[FMT_BLOCK]) MUST_CHECK;
/* V2–V4 for the chunk header at w->end; good: *c (c.offset set) and w moves behind it.
 * -EUCLEAN: w stays, w->why says why. Pure. */
int segment_walk_take(struct segment_walk *w, const uint8_t header[FMT_CHUNK_HEADER],
                      struct fmt_chunk *c) MUST_CHECK;
/* V5 for a whole chunk (c.total_bytes at `bytes`), without leaves. *frames, of *frames_max entries,
 * is grown with realloc as needed and then holds the frame table; start with NULL and 0.
 * -EUCLEAN with *why, -ENOMEM. */
int segment_chunk_check(const struct fmt_chunk *c, const uint8_t *bytes,
                        struct eng_frame_info **frames, uint32_t *frames_max,
                        const char **why) MUST_CHECK;

/* Walks the segment behind fd (any open mode, O_DIRECT too) by V1–V4, and V5 for every chunk from
 * byte offset `verify_from` on (0: all, UINT32_MAX: none). Calls each(arg, chunk) for each good
 * chunk (NULL: nobody); a non-zero return ends the walk and is returned. 0: *out says how far and
 * why no further. -EIO when the device fails, -EUCLEAN when V1 fails, -ENOMEM. Blocks. */
int segment_walk(int fd, const struct fmt_superblock *sb, uint64_t segment, uint32_t verify_from,
                 int (*each)(void *arg, const struct fmt_chunk *c), void *arg,
                 struct segment_walk *out) MUST_CHECK;

#endif

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

/* Makes DIR/catalog with all entries RAW, generation 0, allocated and synced. -EEXIST. Blocks. */
int catalog_create(const char *dir, const struct fmt_superblock *sb) MUST_CHECK;
/* Maps it. -ENOENT, -EUCLEAN (wrong magic, store or size). */
int catalog_open(const char *dir, const struct fmt_superblock *sb, bool writable,
		 struct catalog **out) MUST_CHECK;
void catalog_close(struct catalog *c);
uint64_t catalog_count(const struct catalog *c);
/* A consistent copy of an entry. Any thread, any process. -EUCLEAN: never came to fit (damaged). */
int catalog_get(const struct catalog *c, uint64_t segment, struct fmt_catalog_entry *out) MUST_CHECK;
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
/* msync of everything. Blocks. */
int catalog_sync(struct catalog *c) MUST_CHECK;

/* Shared by everybody who opens a store: superblock and current epoch. One line in err. */
int store_read_superblock(const char *dir, struct fmt_superblock *out, char *err,
			  size_t err_bytes) MUST_CHECK;
int store_read_epoch(const char *dir, const struct fmt_superblock *sb, struct fmt_epoch *out,
		     unsigned *slot) MUST_CHECK;
/* flock on DIR/lock, the one writer's. *fd is kept open while it is held. -EBUSY. */
int store_lock(const char *dir, int *fd) MUST_CHECK;

/* Walks a segment from its first chunk by V1–V4 (and V5 for every chunk from byte offset
 * `verify_from` on; pass 0 for all, UINT32_MAX for none). Calls each(arg, chunk header, header
 * bytes) for each good chunk. *end is where the walk stopped, *why the reason (static string).
 * Used by recovery, rebuild, verify. -EIO when the device fails, -EUCLEAN when V1 fails. */
struct segment_walk {
	struct fmt_segment header;
	uint32_t end;
	uint32_t chunks;
	struct fmt_chunk last; /* valid when chunks > 0 */
	uint8_t last_digest[FMT_DIGEST_BYTES];
	const char *why;
};
int segment_walk(int fd, const struct fmt_superblock *sb, uint64_t segment, uint32_t verify_from,
		 int (*each)(void *arg, const struct fmt_chunk *c), void *arg,
		 struct segment_walk *out) MUST_CHECK;

#endif

/*
 * rebuild.c — eng_catalog_rebuild(): the catalog again, from what the segments say of themselves.
 *
 * A sealed segment is taken at its footer's word (digests, generation and store fit, or it is not
 * taken). Any other is walked with every digest checked, since nobody knows how far it was durable.
 * The new catalog is not marked clean: the recorder's recovery looks at the open ones once more.
 * What cannot be read but is not empty becomes RETIRED without chunks: shown to nobody and never
 * reused, so that a person can decide.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/catalog.h"

#define NEW_NAME "catalog.new"

/* The last entry of a trustworthy footer; *end is where its chunk ends. */
static bool footer_end(int fd, const struct fmt_superblock *sb, const struct fmt_footer *f,
                       uint32_t *end)
{
	size_t bytes = fmt_footer_bytes(f->entries) - FMT_BLOCK;
	uint8_t digest[FMT_DIGEST_BYTES], *body;
	struct eng_chunk last = {0};
	bool good = false;

	if (f->body_offset + bytes + FMT_BLOCK != sb->segment_bytes)
		return false;
	body = malloc(bytes);
	if (!body)
		return false; /* then it is walked */
	if (file_pread_full(fd, body, bytes, f->body_offset) == 0) {
		fmt_digest(body, bytes, digest);
		good = memcmp(digest, f->body_digest, sizeof digest) == 0 &&
		       fmt_footer_entry_get(body + (size_t)(f->entries - 1) * FMT_FOOTER_ENTRY,
		                            f->segment, f->generation, &last) == 0 &&
		       last.offset + last.total_bytes <= f->body_offset;
	}
	free(body);
	if (good)
		*end = last.offset + last.total_bytes;
	return good;
}

static bool sealed_entry(int fd, const struct fmt_superblock *sb, const struct fmt_segment *s,
                         struct fmt_catalog_entry *e)
{
	uint8_t trailer[FMT_BLOCK];
	struct fmt_footer f;

	if (file_pread_full(fd, trailer, sizeof trailer, sb->segment_bytes - FMT_BLOCK) < 0 ||
	    fmt_footer_get(trailer, &f, NULL) < 0)
		return false;
	if (memcmp(f.store, s->store, ENG_UUID_BYTES) != 0 || f.segment != s->number ||
	    f.generation != s->generation || memcmp(f.stream, s->stream, ENG_UUID_BYTES) != 0 ||
	    !footer_end(fd, sb, &f, &e->committed_bytes))
		return false;
	e->state = FMT_STATE_SEALED;
	e->first_ns = f.first_ns;
	e->end_ns = f.end_ns;
	e->chunks = f.entries;
	e->first_sequence = f.first_sequence;
	e->last_sequence = f.last_sequence;
	e->changed_ns = f.sealed_ns;
	return true;
}

static int open_entry(int fd, const struct fmt_superblock *sb, uint64_t segment,
                      struct fmt_catalog_entry *e)
{
	struct segment_walk w;
	int rc = segment_walk(fd, sb, segment, 0, NULL, NULL, &w);

	if (rc < 0)
		return rc;
	e->state = FMT_STATE_OPEN;
	e->changed_ns = w.header.made_ns;
	e->committed_bytes = w.end;
	e->chunks = w.chunks;
	e->first_ns = w.first_ns;
	e->end_ns = w.end_ns;
	if (w.chunks > 0) {
		e->last_sequence = w.last.c.sequence;
		e->first_sequence = w.last.c.sequence - (w.chunks - 1);
	}
	return 0;
}

/* What the segment says of itself. Never fails: what cannot be read is RETIRED. */
static void entry_of(const char *dir, const struct fmt_superblock *sb, uint64_t segment,
                     struct fmt_catalog_entry *e)
{
	uint8_t block[FMT_BLOCK];
	struct segment_walk w;
	int fd = store_open_segment(dir, segment, O_RDONLY);
	int rc = fd < 0 ? fd : file_pread_full(fd, block, sizeof block, 0);

	*e = (struct fmt_catalog_entry){.first_ns = ENG_NO_TIME, .end_ns = ENG_NO_TIME};
	if (rc == 0 && fmt_zero(block, sizeof block))
		goto out; /* RAW: allocated or zeroed, never opened since */
	w.why = "cannot be read";
	if (rc == 0)
		rc = segment_walk_begin(&w, sb, segment, block);
	if (rc == 0) {
		e->generation = w.header.generation;
		memcpy(e->stream, w.header.stream, ENG_UUID_BYTES);
		e->flags = (uint8_t)w.header.flags;
		if (!sealed_entry(fd, sb, &w.header, e)) {
			w.why = "cannot be read";
			rc = open_entry(fd, sb, segment, e);
		}
	}
	if (rc < 0) {
		log_warn("%s: segment %llu: %s; it is set aside and not reused", dir,
		         (unsigned long long)segment, rc == -EUCLEAN ? w.why : strerror(-rc));
		e->state = FMT_STATE_RETIRED;
	}
out:
	if (fd >= 0)
		close(fd);
}

/* The store's owner keeps its catalog, also when root repairs it. */
static int keep_owner(const char *dir, const char *new_path)
{
	char path[PATH_MAX];
	struct stat st;

	if (snprintf(path, sizeof path, "%s/store", dir) >= (int)sizeof path)
		return -ENAMETOOLONG;
	if (stat(path, &st) < 0)
		return -errno;
	return geteuid() == 0 && chown(new_path, st.st_uid, st.st_gid) < 0 ? -errno : 0;
}

static int fill_new(const char *dir, const struct fmt_superblock *sb)
{
	struct catalog *c = NULL;
	int rc = catalog_create_as(dir, NEW_NAME, sb);

	if (rc == 0)
		rc = catalog_open_as(dir, NEW_NAME, sb, true, &c);
	if (rc < 0 || !c)
		return rc;
	for (uint64_t i = 0; i < sb->segment_count; i++) {
		struct fmt_catalog_entry e;

		entry_of(dir, sb, i, &e);
		catalog_put(c, i, &e);
	}
	catalog_set_clean(c, false);
	rc = catalog_sync(c);
	catalog_close(c);
	return rc;
}

static int write_catalog(const char *dir, const struct fmt_superblock *sb)
{
	char new_path[PATH_MAX], path[PATH_MAX];
	int fd, rc;

	if (snprintf(new_path, sizeof new_path, "%s/" NEW_NAME, dir) >= (int)sizeof new_path ||
	    snprintf(path, sizeof path, "%s/" CATALOG_NAME, dir) >= (int)sizeof path)
		return -ENAMETOOLONG;
	if (unlink(new_path) < 0 && errno != ENOENT)
		return -errno;
	rc = fill_new(dir, sb);
	if (rc == 0)
		rc = keep_owner(dir, new_path);
	if (rc == 0)
		catalog_supersede(dir);
	if (rc == 0 && rename(new_path, path) < 0)
		rc = -errno;
	if (rc < 0) {
		unlink(new_path);
		return rc;
	}
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return rc;
}

int eng_catalog_rebuild(const char *dir, char *err, size_t err_bytes)
{
	struct fmt_superblock sb;
	int lock, rc = store_read_superblock(dir, &sb, err, err_bytes);

	if (rc < 0)
		return rc;
	rc = store_lock(dir, &lock);
	if (rc < 0) {
		if (rc == -EBUSY)
			snprintf(err, err_bytes, "%s is being written: stop the recorder first",
			         dir);
		else
			snprintf(err, err_bytes, "%s/lock cannot be taken: %s", dir, strerror(-rc));
		return rc;
	}
	rc = write_catalog(dir, &sb);
	if (rc < 0)
		snprintf(err, err_bytes, "%s: the catalog cannot be written: %s", dir,
		         strerror(-rc));
	close(lock);
	return rc;
}

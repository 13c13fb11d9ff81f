/*
 * reader.c — opening a store for reading, and the map of which segment holds which stream's
 * footage.
 *
 * The map is an array of segments and, for each stream, its segments sorted by sequence number. It
 * is brought up to date from the catalog's ring at every question (a few words when nothing has
 * changed), so a reader needs neither a thread nor a message from the recorder.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/reader.h"

struct catalog *reader_catalog(struct eng_reader *r)
{
	return __atomic_load_n(&r->catalog, __ATOMIC_ACQUIRE);
}

static bool has_footage(const struct fmt_catalog_entry *e)
{
	return (e->state == FMT_STATE_OPEN || e->state == FMT_STATE_SEALED ||
	        e->state == FMT_STATE_RETIRED) &&
	       e->chunks > 0;
}

int reader_still(struct eng_reader *r, uint64_t segment, uint64_t generation, uint32_t end_bytes)
{
	struct fmt_catalog_entry e;
	int rc = catalog_get(reader_catalog(r), segment, &e);

	if (rc < 0)
		return rc;
	return has_footage(&e) && e.generation == generation && end_bytes <= e.committed_bytes
	               ? 0
	               : -ESTALE;
}

void reader_warn(struct eng_reader *r, uint64_t segment, uint64_t generation, const char *what)
{
	bool first;

	pthread_mutex_lock(&r->lock);
	first = r->segs[segment].warned_generation != generation;
	r->segs[segment].warned_generation = generation;
	pthread_mutex_unlock(&r->lock);
	if (first)
		log_warn("%s: segment %llu: %s; run `custos verify`", r->dir,
		         (unsigned long long)segment, what);
}

/* ---- streams ---- */

/* Where uuid stands or would stand in the sorted array. */
static size_t stream_position(const struct eng_reader *r, const uint8_t uuid[ENG_UUID_BYTES])
{
	size_t low = 0, high = r->n_streams;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (memcmp(r->streams[mid]->uuid, uuid, ENG_UUID_BYTES) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct stream *reader_stream(struct eng_reader *r, const uint8_t uuid[ENG_UUID_BYTES])
{
	size_t at = stream_position(r, uuid);

	if (at < r->n_streams && memcmp(r->streams[at]->uuid, uuid, ENG_UUID_BYTES) == 0)
		return r->streams[at];
	return NULL;
}

static struct stream *stream_add(struct eng_reader *r, const uint8_t uuid[ENG_UUID_BYTES])
{
	size_t at = stream_position(r, uuid);
	struct stream **more, *s = reader_stream(r, uuid);

	if (s)
		return s;
	more = realloc(r->streams, (r->n_streams + 1) * sizeof(struct stream *));
	if (!more)
		return NULL;
	r->streams = more;
	s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	memcpy(s->uuid, uuid, ENG_UUID_BYTES);
	memmove(more + at + 1, more + at, (r->n_streams - at) * sizeof(struct stream *));
	more[at] = s;
	r->n_streams++;
	return s;
}

static bool stands_before(const struct eng_reader *r, uint32_t a, uint32_t b)
{
	uint64_t sa = r->segs[a].e.first_sequence, sb = r->segs[b].e.first_sequence;

	return sa != sb ? sa < sb : a < b;
}

static int stream_insert(struct eng_reader *r, struct stream *s, uint32_t segment)
{
	size_t low = 0, high = s->n;

	if (s->n == s->max) {
		size_t max = s->max ? 2 * s->max : 16;
		uint32_t *more = realloc(s->segs, max * sizeof *more);

		if (!more)
			return -ENOMEM;
		s->segs = more;
		s->max = max;
	}
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (stands_before(r, s->segs[mid], segment))
			low = mid + 1;
		else
			high = mid;
	}
	memmove(s->segs + low + 1, s->segs + low, (s->n - low) * sizeof *s->segs);
	s->segs[low] = segment;
	s->n++;
	return 0;
}

static void stream_remove(struct stream *s, uint32_t segment)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->segs[i] != segment)
			continue;
		memmove(s->segs + i, s->segs + i + 1, (s->n - i - 1) * sizeof *s->segs);
		s->n--;
		return;
	}
}

/* ---- keeping up with the catalog ---- */

static void unlist(struct eng_reader *r, uint64_t segment)
{
	struct stream *s = reader_stream(r, r->segs[segment].e.stream);

	if (s && r->segs[segment].listed)
		stream_remove(s, (uint32_t)segment);
	r->segs[segment].listed = false;
}

/* Looks at one segment's entry again. */
static void update(void *arg, uint64_t segment)
{
	struct eng_reader *r = arg;
	struct seg *seg = &r->segs[segment];
	struct fmt_catalog_entry e;
	struct stream *s;
	bool stays;

	if (catalog_get(r->catalog, segment, &e) < 0) {
		log_warn("%s: catalog entry %llu is damaged; stop the recorder and run "
		         "`custos fsck`",
		         r->dir, (unsigned long long)segment);
		unlist(r, segment);
		return;
	}
	stays = seg->listed && has_footage(&e) && e.generation == seg->e.generation &&
	        e.first_sequence == seg->e.first_sequence &&
	        memcmp(e.stream, seg->e.stream, ENG_UUID_BYTES) == 0;
	if (stays) {
		seg->e = e;
		return;
	}
	unlist(r, segment);
	index_forget(r, seg);
	seg->e = e;
	if (!has_footage(&e))
		return;
	s = stream_add(r, e.stream);
	if (s && stream_insert(r, s, (uint32_t)segment) == 0)
		seg->listed = true;
	else
		log_err("%s: no memory to list segment %llu", r->dir, (unsigned long long)segment);
}

static void update_all(struct eng_reader *r)
{
	r->seen_change = catalog_change(r->catalog);
	for (uint64_t i = 0; i < r->sb.segment_count; i++)
		update(r, i);
}

/* A rebuilt catalog has taken the place of ours. The old mapping is kept to the end: other threads
 * may be looking at it this moment. */
static void follow_rebuilt(struct eng_reader *r)
{
	struct catalog *now, **more = realloc(r->old, (r->n_old + 1) * sizeof(struct catalog *));

	if (!more)
		return;
	r->old = more;
	if (catalog_open(r->dir, &r->sb, false, &now) < 0)
		return; /* being replaced right now: at the next question */
	r->old[r->n_old++] = r->catalog;
	r->change_base += catalog_change(r->catalog) + 1;
	__atomic_store_n(&r->catalog, now, __ATOMIC_RELEASE);
	update_all(r);
}

void reader_refresh(struct eng_reader *r)
{
	uint64_t now;

	if (catalog_superseded(r->catalog))
		follow_rebuilt(r);
	if (catalog_changes(r->catalog, r->seen_change, &now, update, r))
		r->seen_change = now;
	else
		update_all(r);
}

uint64_t eng_reader_change(struct eng_reader *r)
{
	uint64_t change;

	pthread_mutex_lock(&r->lock);
	if (catalog_superseded(r->catalog))
		follow_rebuilt(r);
	change = r->change_base + catalog_change(r->catalog);
	pthread_mutex_unlock(&r->lock);
	return change;
}

/* ---- opening ---- */

static int open_parts(struct eng_reader *r, const char *dir, char *err, size_t err_bytes)
{
	int rc = store_read_superblock(dir, &r->sb, err, err_bytes);

	if (rc < 0)
		return rc;
	if (r->sb.flags & FMT_STORE_ENCRYPTED) {
		snprintf(err, err_bytes,
		         "%s is encrypted: this version cannot read encrypted stores", dir);
		return -ENOTSUP;
	}
	r->dir = realpath(dir, NULL);
	r->segs = calloc(r->sb.segment_count, sizeof *r->segs);
	if (!r->dir || !r->segs) {
		snprintf(err, err_bytes, "%s: no memory for %llu segments", dir,
		         (unsigned long long)r->sb.segment_count);
		return -ENOMEM;
	}
	rc = catalog_open(dir, &r->sb, false, &r->catalog);
	if (rc == -ENOENT || rc == -EUCLEAN) {
		snprintf(err, err_bytes,
		         "%s: its catalog is %s: stop the recorder and run `custos fsck`", dir,
		         rc == -ENOENT ? "missing" : "damaged");
		return -EUCLEAN;
	}
	if (rc < 0)
		snprintf(err, err_bytes, "%s/catalog cannot be read: %s", dir, strerror(-rc));
	return rc;
}

int eng_reader_open(const char *dir, struct eng_reader **out, char *err, size_t err_bytes)
{
	struct eng_reader *r = calloc(1, sizeof *r);
	int rc;

	if (!r) {
		snprintf(err, err_bytes, "%s: no memory", dir);
		return -ENOMEM;
	}
	pthread_mutex_init(&r->lock, NULL);
	for (size_t i = 0; i < READER_FDS; i++)
		r->fds[i].fd = -1;
	rc = open_parts(r, dir, err, err_bytes);
	if (rc < 0) {
		eng_reader_close(r);
		return rc;
	}
	update_all(r);
	*out = r;
	return 0;
}

void eng_reader_close(struct eng_reader *r)
{
	if (!r)
		return;
	for (uint64_t i = 0; r->segs && i < r->sb.segment_count; i++)
		index_forget(r, &r->segs[i]);
	for (size_t i = 0; i < r->n_streams; i++) {
		free(r->streams[i]->segs);
		free(r->streams[i]);
	}
	for (size_t i = 0; i < r->n_old; i++)
		catalog_close(r->old[i]);
	fds_close(r);
	catalog_close(r->catalog);
	pthread_mutex_destroy(&r->lock);
	free(r->streams);
	free(r->old);
	free(r->segs);
	free(r->dir);
	free(r);
}

const uint8_t *eng_reader_uuid(const struct eng_reader *r)
{
	return r->sb.store;
}

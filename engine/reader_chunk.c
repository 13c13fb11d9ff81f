/*
 * reader_chunk.c — bytes of chunks, and the promise about them: what is returned was verified after
 * it was read, and its segment's generation was still the one asked for after that.
 *
 * A read costs two preads: header with tables (a few KiB, digests checked), then the touched units.
 * Units that the caller wants whole land in the caller's buffer; only the first and the last, if
 * cut, go through a scratch unit each. Buffered, not O_DIRECT: the page cache is what makes small
 * random reads bearable, and cold sequential ones cost the same.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/reader.h"

/* ---- open segment files, the least recently used closed first ---- */

static struct open_segment *slot_for(struct eng_reader *r, uint64_t segment)
{
	struct open_segment *victim = NULL;

	for (size_t i = 0; i < READER_FDS; i++) {
		struct open_segment *o = &r->fds[i];

		if (o->fd >= 0 && o->segment == segment)
			return o;
		if (o->users == 0 && (!victim || o->used < victim->used))
			victim = o; /* a free slot was never used: the least of all */
	}
	return victim;
}

int fd_get(struct eng_reader *r, uint64_t segment)
{
	struct open_segment *o;
	int fd = -1;

	pthread_mutex_lock(&r->lock);
	o = slot_for(r, segment);
	if (o && o->fd >= 0 && o->segment == segment) {
		o->users++;
		o->used = ++r->tick;
		fd = o->fd;
	}
	pthread_mutex_unlock(&r->lock);
	if (fd >= 0)
		return fd;
	fd = store_open_segment(r->dir, segment, O_RDONLY);
	if (fd < 0)
		return fd;
	pthread_mutex_lock(&r->lock);
	o = slot_for(r, segment);
	if (o && !(o->fd >= 0 && o->segment == segment)) {
		if (o->fd >= 0)
			close(o->fd);
		*o = (struct open_segment){segment, fd, 1, ++r->tick};
	}
	pthread_mutex_unlock(&r->lock);
	return fd; /* not in a slot (all busy, or another thread was first): fd_put closes it */
}

void fd_put(struct eng_reader *r, uint64_t segment, int fd)
{
	bool kept = false;

	pthread_mutex_lock(&r->lock);
	for (size_t i = 0; i < READER_FDS && !kept; i++) {
		if (r->fds[i].fd != fd || r->fds[i].segment != segment)
			continue;
		r->fds[i].users--;
		kept = true;
	}
	pthread_mutex_unlock(&r->lock);
	if (!kept)
		close(fd);
}

void fds_close(struct eng_reader *r)
{
	for (size_t i = 0; i < READER_FDS; i++)
		if (r->fds[i].fd >= 0)
			close(r->fds[i].fd);
}

/* ---- header and tables ---- */

#define HEAD_ON_STACK 16384 /* more than any chunk of usual frames needs */

struct head {
	struct fmt_chunk c;
	uint8_t *bytes; /* header and tables: payload_offset bytes */
	uint8_t on_stack[HEAD_ON_STACK];
};

static void head_free(struct head *h)
{
	if (h->bytes != h->on_stack)
		free(h->bytes);
}

/* The header on disk is the one that the index told of, field by field. */
static bool same_chunk(const struct eng_chunk *a, const struct eng_chunk *b)
{
	uint8_t ea[FMT_FOOTER_ENTRY], eb[FMT_FOOTER_ENTRY];

	fmt_footer_entry_put(a, ea);
	fmt_footer_entry_put(b, eb);
	return a->segment == b->segment && a->generation == b->generation &&
	       memcmp(ea, eb, sizeof ea) == 0;
}

static int head_read(struct eng_reader *r, int fd, const struct eng_chunk *c, struct head *h)
{
	int rc;

	h->bytes = h->on_stack;
	if (c->payload_offset > sizeof h->on_stack)
		h->bytes = malloc(c->payload_offset);
	if (!h->bytes)
		return -ENOMEM;
	rc = file_pread_full(fd, h->bytes, c->payload_offset, c->offset);
	if (rc < 0)
		return rc;
	if (fmt_chunk_get(h->bytes, &h->c, NULL) < 0)
		return -EUCLEAN;
	h->c.c.offset = c->offset;
	if (memcmp(h->c.store, r->sb.store, ENG_UUID_BYTES) != 0 || !same_chunk(&h->c.c, c))
		return -EUCLEAN;
	return 0;
}

static const uint8_t *tables(const struct head *h)
{
	return h->bytes + FMT_CHUNK_HEADER;
}

static bool tables_hold(const struct head *h)
{
	uint8_t digest[FMT_DIGEST_BYTES];

	fmt_digest(tables(h), h->c.c.payload_offset - FMT_CHUNK_HEADER, digest);
	return memcmp(digest, h->c.table_digest, sizeof digest) == 0;
}

/* What a caller hands in must at least stay inside a chunk and a segment. */
static int chunk_plausible(const struct eng_reader *r, const struct eng_chunk *c)
{
	if (c->segment >= r->sb.segment_count || c->payload_offset < FMT_CHUNK_HEADER ||
	    c->payload_offset > FMT_CHUNK_MAX || c->payload_bytes > FMT_CHUNK_MAX ||
	    c->offset < FMT_BLOCK || c->offset > r->sb.segment_bytes)
		return -EINVAL;
	return 0;
}

/* The answer after reading: gone beats damaged, because what is gone is being overwritten. */
static int settle(struct eng_reader *r, const struct eng_chunk *c, int rc)
{
	int still = reader_still(r, c->segment, c->generation, c->offset + c->total_bytes);

	if (still < 0)
		return still;
	return rc == -ENODATA ? -EUCLEAN : rc; /* the file ends where a chunk should be */
}

int eng_chunk_frames(struct eng_reader *r, const struct eng_chunk *c, struct eng_frame_info *out)
{
	struct head h;
	int fd, rc = chunk_plausible(r, c);

	if (rc < 0)
		return rc;
	fd = fd_get(r, c->segment);
	if (fd < 0)
		return fd;
	rc = head_read(r, fd, c, &h);
	if (rc == 0)
		rc = fmt_frames_get(&h.c, tables(&h), out, NULL);
	head_free(&h);
	fd_put(r, c->segment, fd);
	return settle(r, c, rc);
}

/* ---- payload ---- */

/* Units [first, last] of a chunk, of which the bytes [offset, offset+len) go to buf: the head unit
 * and the tail unit through scratch when they are cut, the others in place. */
struct span {
	uint32_t first, last;
	uint32_t offset, len;
	uint8_t *buf;
	uint8_t *scratch; /* two units */
};

static uint8_t *unit_place(const struct span *s, const struct fmt_chunk *c, uint32_t unit)
{
	uint64_t start = (uint64_t)unit * FMT_UNIT_BYTES;
	uint64_t end = start + fmt_unit_bytes(&c->c, unit);

	if (start >= s->offset && end <= (uint64_t)s->offset + s->len)
		return s->buf + (start - s->offset);
	return s->scratch + (unit == s->first ? 0 : FMT_UNIT_BYTES);
}

static int span_read(int fd, const struct fmt_chunk *c, const struct span *s)
{
	uint64_t at =
	        c->c.offset + (uint64_t)c->c.payload_offset + (uint64_t)s->first * FMT_UNIT_BYTES;
	struct iovec iov[3];
	int n = 0;
	size_t want = 0;
	ssize_t got;

	for (uint32_t u = s->first; u <= s->last; u++) {
		uint8_t *place = unit_place(s, c, u);
		uint32_t bytes = fmt_unit_bytes(&c->c, u);

		if (n > 0 && (uint8_t *)iov[n - 1].iov_base + iov[n - 1].iov_len == place)
			iov[n - 1].iov_len += bytes;
		else
			iov[n++] = (struct iovec){place, bytes};
		want += bytes;
	}
	do
		got = preadv(fd, iov, n, (off_t)at);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -errno;
	return (size_t)got == want ? 0 : -ENODATA;
}

/* Verifies every unit and copies the wanted part of the cut ones. */
static int span_check(const struct head *h, const struct span *s)
{
	for (uint32_t u = s->first; u <= s->last; u++) {
		uint64_t start = (uint64_t)u * FMT_UNIT_BYTES;
		uint32_t bytes = fmt_unit_bytes(&h->c.c, u);
		uint8_t *place = unit_place(s, &h->c, u);
		uint64_t from = start > s->offset ? start : s->offset;
		uint64_t to = (uint64_t)s->offset + s->len;

		if (fmt_unit_check(&h->c, tables(h), u, place, bytes) < 0)
			return -EUCLEAN;
		if (to > start + bytes)
			to = start + bytes;
		if (place != s->buf + (from - s->offset))
			memcpy(s->buf + (from - s->offset), place + (from - start), to - from);
	}
	return 0;
}

int eng_chunk_read(struct eng_reader *r, const struct eng_chunk *c, uint32_t offset, uint32_t len,
                   void *buf)
{
	struct span s = {.offset = offset, .len = len, .buf = buf};
	struct head h;
	int fd, rc = chunk_plausible(r, c);

	if (rc == 0 && (uint64_t)offset + len > c->payload_bytes)
		rc = -EINVAL;
	if (rc < 0)
		return rc;
	if (len == 0)
		return settle(r, c, 0);
	s.first = offset / FMT_UNIT_BYTES;
	s.last = (offset + len - 1) / FMT_UNIT_BYTES;
	s.scratch = malloc((size_t)2 * FMT_UNIT_BYTES);
	if (!s.scratch)
		return -ENOMEM;
	fd = fd_get(r, c->segment);
	if (fd < 0) {
		free(s.scratch);
		return fd;
	}
	rc = head_read(r, fd, c, &h);
	if (rc == 0 && !tables_hold(&h))
		rc = -EUCLEAN;
	if (rc == 0)
		rc = span_read(fd, &h.c, &s);
	if (rc == 0)
		rc = span_check(&h, &s);
	head_free(&h);
	free(s.scratch);
	fd_put(r, c->segment, fd);
	return settle(r, c, rc);
}

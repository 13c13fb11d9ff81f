/*
 * walk.c — one segment from its first chunk on, by the validity rules V1–V5 of format.h.
 *
 * The rules live here and nowhere else: recovery, the reader of open segments, catalog rebuild,
 * verify and dump all take chunks through segment_walk_take(), so that none of them can believe
 * a chunk that another refuses. The two steps are pure; segment_walk() adds the reading.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/catalog.h"

int segment_walk_begin(struct segment_walk *w, const struct fmt_superblock *sb, uint64_t segment,
                       const uint8_t header[FMT_BLOCK])
{
	memset(w, 0, sizeof *w);
	w->first_ns = w->end_ns = ENG_NO_TIME;
	if (fmt_segment_get(header, &w->header, &w->why) < 0)
		return -EUCLEAN;
	if (memcmp(w->header.store, sb->store, ENG_UUID_BYTES) != 0)
		return fmt_bad(&w->why, "segment header: belongs to another store");
	if (w->header.number != segment)
		return fmt_bad(&w->why, "segment header: belongs to another segment");
	if (w->header.segment_bytes != sb->segment_bytes)
		return fmt_bad(&w->why, "segment header: not this store's segment size");
	fmt_digest(header, FMT_BLOCK, w->last_digest);
	w->end = FMT_BLOCK;
	return 0;
}

static bool fits(const struct segment_walk *w, const struct fmt_chunk *c)
{
	return w->end + (uint64_t)c->c.total_bytes + fmt_footer_bytes((uint64_t)w->chunks + 1) <=
	       w->header.segment_bytes;
}

static bool belongs(const struct segment_walk *w, const struct fmt_chunk *c)
{
	const struct fmt_segment *s = &w->header;

	return memcmp(c->store, s->store, ENG_UUID_BYTES) == 0 &&
	       memcmp(c->stream, s->stream, ENG_UUID_BYTES) == 0 && c->c.segment == s->number &&
	       c->c.generation == s->generation &&
	       !(c->c.flags & FMT_CHUNK_IMPORTED) == !(s->flags & FMT_SEG_IMPORTED) &&
	       !(c->c.flags & FMT_CHUNK_ENCRYPTED) == !(s->flags & FMT_SEG_ENCRYPTED) &&
	       !(c->c.flags & FMT_CHUNK_LEAVES) == !(s->flags & FMT_SEG_LEAVES);
}

static bool totals_continue(const struct segment_walk *w, const struct fmt_chunk *c)
{
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++) {
		const struct eng_cum *have = &w->total[k], *said = &c->c.cum[k];

		if (have->frames != said->frames || have->keys != said->keys ||
		    have->chunks != said->chunks || have->bytes != said->bytes)
			return false;
	}
	return true;
}

static void advance(struct segment_walk *w, const struct fmt_chunk *c)
{
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++) {
		w->total[k].frames += c->c.track[k].frames;
		w->total[k].keys += c->c.track[k].keys;
		w->total[k].bytes += c->c.track[k].bytes;
		w->total[k].chunks += c->c.track[k].frames > 0;
	}
	if (c->c.frame_count > 0) {
		if (w->first_ns == ENG_NO_TIME || c->c.first_ns < w->first_ns)
			w->first_ns = c->c.first_ns;
		if (c->c.end_ns > w->end_ns)
			w->end_ns = c->c.end_ns;
	}
	w->end += c->c.total_bytes;
	w->chunks++;
	w->last = *c;
}

int segment_walk_take(struct segment_walk *w, const uint8_t header[FMT_CHUNK_HEADER],
                      struct fmt_chunk *c)
{
	uint64_t epoch = w->chunks > 0 ? w->last.epoch : w->header.epoch;

	if (fmt_chunk_get(header, c, &w->why) < 0)
		return -EUCLEAN;
	if (!fits(w, c))
		return fmt_bad(&w->why, "chunk: reaches into the footer");
	if (!belongs(w, c))
		return fmt_bad(&w->why, "chunk: of another segment, generation or stream");
	if (memcmp(c->prev_digest, w->last_digest, FMT_DIGEST_BYTES) != 0)
		return fmt_bad(&w->why, "chunk: does not follow from the header before it");
	if (w->chunks > 0 && c->c.sequence != w->last.c.sequence + 1)
		return fmt_bad(&w->why, "chunk: sequence number jumps");
	if (c->epoch < epoch)
		return fmt_bad(&w->why, "chunk: of an earlier writer");
	if (!totals_continue(w, c))
		return fmt_bad(&w->why, "chunk: totals do not continue");
	c->c.offset = w->end;
	advance(w, c);
	fmt_digest(header, FMT_CHUNK_HEADER, w->last_digest);
	return 0;
}

int segment_chunk_check(const struct fmt_chunk *c, const uint8_t *bytes,
                        struct eng_frame_info **frames, uint32_t *frames_max, const char **why)
{
	const uint8_t *tables = bytes + FMT_CHUNK_HEADER;
	const uint8_t *payload = bytes + c->c.payload_offset;

	if (c->c.frame_count > *frames_max) {
		struct eng_frame_info *more =
		        realloc(*frames, (size_t)c->c.frame_count * sizeof **frames);

		if (!more)
			return -ENOMEM;
		*frames = more;
		*frames_max = c->c.frame_count;
	}
	if (fmt_frames_get(c, tables, *frames, why) < 0)
		return -EUCLEAN;
	for (uint32_t u = 0; u < c->unit_count; u++) {
		const uint8_t *unit = payload + (size_t)u * FMT_UNIT_BYTES;

		if (fmt_unit_check(c, tables, u, unit, fmt_unit_bytes(&c->c, u)) < 0)
			return fmt_bad(why, "chunk: payload digest does not match");
	}
	return 0;
}

/* ---- with reading ---- */

/* One aligned buffer, so that a descriptor opened with O_DIRECT serves as well. */
struct walk_buffer {
	uint8_t *bytes;
	size_t size;
	struct eng_frame_info *frames;
	uint32_t frames_max;
};

static int read_at(int fd, struct walk_buffer *b, size_t len, uint64_t offset)
{
	if (len > b->size) {
		free(b->bytes);
		b->size = 0;
		b->bytes = aligned_alloc(FMT_BLOCK, len);
		if (!b->bytes)
			return -ENOMEM;
		b->size = len;
	}
	return file_pread_full(fd, b->bytes, len, offset);
}

/* Takes the next chunk. 1: taken, 0: the walk ends here (w->why), else -errno. */
static int step(int fd, struct walk_buffer *b, uint32_t verify_from, struct segment_walk *w,
                struct fmt_chunk *c)
{
	struct segment_walk before;
	int rc = read_at(fd, b, FMT_BLOCK, w->end);

	if (rc < 0)
		return rc;
	before = *w;
	if (segment_walk_take(w, b->bytes, c) < 0)
		return 0;
	if (c->c.offset < verify_from)
		return 1;
	rc = read_at(fd, b, c->c.total_bytes, c->c.offset);
	if (rc == 0)
		rc = segment_chunk_check(c, b->bytes, &b->frames, &b->frames_max, &before.why);
	if (rc == 0)
		return 1;
	*w = before; /* taken back: it is not footage */
	return rc == -EUCLEAN ? 0 : rc;
}

int segment_walk(int fd, const struct fmt_superblock *sb, uint64_t segment, uint32_t verify_from,
                 int (*each)(void *arg, const struct fmt_chunk *c), void *arg,
                 struct segment_walk *out)
{
	struct walk_buffer b = {0};
	struct fmt_chunk c;
	int rc = read_at(fd, &b, FMT_BLOCK, 0);

	if (rc == 0)
		rc = segment_walk_begin(out, sb, segment, b.bytes);
	while (rc == 0 && out->end + 2 * FMT_BLOCK <= out->header.segment_bytes) {
		int taken = step(fd, &b, verify_from, out, &c);

		if (taken <= 0) {
			rc = taken;
			break;
		}
		if (each)
			rc = each(arg, &c);
	}
	if (rc == 0 && !out->why)
		out->why = "segment is full";
	free(b.bytes);
	free(b.frames);
	return rc == -ENODATA ? -EUCLEAN : rc; /* the file is shorter than a segment */
}

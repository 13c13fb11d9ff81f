/*
 * reader_index.c — what chunks a segment has, and what it has of which run.
 *
 * A sealed segment tells by its footer, one read; a damaged footer loses nothing, since the chunk
 * headers say the same. An open (or retired) segment is walked header by header up to what is
 * committed, never further, and an older index of it is continued rather than walked again.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/reader.h"

/* ---- cache: a list by last use (the lock is held) ---- */

static size_t index_cost(const struct index *i)
{
	return sizeof *i + (size_t)i->n * sizeof *i->chunks;
}

static void unlink_index(struct eng_reader *r, struct index *i)
{
	*(i->newer ? &i->newer->older : &r->newest) = i->older;
	*(i->older ? &i->older->newer : &r->oldest) = i->newer;
	i->newer = i->older = NULL;
}

static void link_newest(struct eng_reader *r, struct index *i)
{
	i->older = r->newest;
	*(r->newest ? &r->newest->newer : &r->oldest) = i;
	r->newest = i;
}

static void unref_locked(struct index *i)
{
	if (--i->refs > 0)
		return;
	free(i->chunks);
	free(i);
}

static void drop_index(struct eng_reader *r, struct seg *seg)
{
	struct index *i = seg->index;

	if (!i)
		return;
	unlink_index(r, i);
	r->index_bytes -= index_cost(i);
	seg->index = NULL;
	unref_locked(i);
}

void index_forget(struct eng_reader *r, struct seg *seg)
{
	drop_index(r, seg);
	if (seg->summary && --seg->summary->refs == 0)
		free(seg->summary);
	seg->summary = NULL;
}

static void keep_index(struct eng_reader *r, struct seg *seg, struct index *i)
{
	index_forget(r, seg);
	seg->index = i;
	i->refs++;
	r->index_bytes += index_cost(i);
	link_newest(r, i);
	while (r->index_bytes > READER_INDEX_BYTES && r->oldest != i)
		drop_index(r, &r->segs[r->oldest->segment]);
}

void index_unref(struct eng_reader *r, struct index *i)
{
	if (!i)
		return;
	pthread_mutex_lock(&r->lock);
	unref_locked(i);
	pthread_mutex_unlock(&r->lock);
}

/* ---- making one (no lock is held) ---- */

static int grow(struct index *i, uint32_t n)
{
	struct eng_chunk *more = realloc(i->chunks, (size_t)n * sizeof *more);

	if (!more)
		return -ENOMEM;
	i->chunks = more;
	return 0;
}

static int read_header(struct eng_reader *r, int fd, const struct fmt_catalog_entry *e,
                       struct index *i)
{
	uint8_t block[FMT_BLOCK];
	int rc = file_pread_full(fd, block, sizeof block, 0);

	if (rc < 0)
		return rc;
	if (segment_walk_begin(&i->walk, &r->sb, i->segment, block) < 0)
		return -EUCLEAN;
	if (i->walk.header.generation != e->generation ||
	    memcmp(i->walk.header.stream, e->stream, ENG_UUID_BYTES) != 0)
		return fmt_bad(&i->walk.why, "segment header: not what the catalog says");
	if (i->walk.header.flags & FMT_SEG_ENCRYPTED)
		return fmt_bad(&i->walk.why, "encrypted: this version cannot read it");
	return 0;
}

/* Walks from where i->walk stands to what is committed; damage ends it, what was before stays. */
static int walk_on(struct eng_reader *r, int fd, struct index *i)
{
	uint8_t header[FMT_CHUNK_HEADER];
	uint32_t max = i->n;
	int rc = 0;

	i->walked = true;
	while (i->walk.end < i->committed_bytes) {
		struct fmt_chunk c;

		rc = file_pread_full(fd, header, sizeof header, i->walk.end);
		if (rc < 0 || segment_walk_take(&i->walk, header, &c) < 0)
			break;
		if (i->walk.end > i->committed_bytes) {
			i->walk.why = "chunk: reaches behind what is committed";
			break;
		}
		if (i->n == max) {
			max = max ? max + max / 2 + 1 : 64;
			rc = grow(i, max);
			if (rc < 0)
				return rc;
		}
		i->chunks[i->n++] = c.c;
	}
	if (rc < 0 && rc != -ENODATA)
		return rc;
	if (i->walk.end != i->committed_bytes)
		reader_warn(r, i->segment, i->generation,
		            i->walk.why ? i->walk.why : "shorter than committed");
	return 0;
}

/* The body's entries must continue each other like the chunks that they stand for. */
static bool entries_follow(const struct index *i, const struct fmt_footer *f)
{
	uint64_t end = FMT_BLOCK;

	for (uint32_t n = 0; n < i->n; n++) {
		if (i->chunks[n].offset != end || i->chunks[n].sequence != f->first_sequence + n)
			return false;
		end += i->chunks[n].total_bytes;
	}
	return end == i->committed_bytes && end <= f->body_offset;
}

static int read_entries(struct index *i, const struct fmt_footer *f, const uint8_t *body,
                        size_t body_bytes)
{
	uint8_t digest[FMT_DIGEST_BYTES];
	int rc;

	fmt_digest(body, body_bytes, digest);
	if (memcmp(digest, f->body_digest, sizeof digest) != 0)
		return -EUCLEAN;
	rc = grow(i, f->entries);
	for (uint32_t n = 0; rc == 0 && n < f->entries; n++)
		rc = fmt_footer_entry_get(body + (size_t)n * FMT_FOOTER_ENTRY, i->segment,
		                          i->generation, &i->chunks[n]);
	if (rc < 0)
		return rc;
	i->n = f->entries;
	return entries_follow(i, f) ? 0 : -EUCLEAN;
}

static int read_footer(struct eng_reader *r, int fd, struct index *i)
{
	uint8_t trailer[FMT_BLOCK], *body;
	struct fmt_footer f;
	size_t body_bytes;
	int rc = file_pread_full(fd, trailer, sizeof trailer, r->sb.segment_bytes - FMT_BLOCK);

	if (rc == 0)
		rc = fmt_footer_get(trailer, &f, NULL);
	if (rc)
		return rc;
	body_bytes = fmt_footer_bytes(f.entries) - FMT_BLOCK;
	if (memcmp(f.store, r->sb.store, ENG_UUID_BYTES) != 0 || f.segment != i->segment ||
	    f.generation != i->generation ||
	    memcmp(f.stream, i->walk.header.stream, ENG_UUID_BYTES) != 0 ||
	    f.body_offset + body_bytes + FMT_BLOCK != r->sb.segment_bytes)
		return -EUCLEAN;
	body = malloc(body_bytes);
	if (!body)
		return -ENOMEM;
	rc = file_pread_full(fd, body, body_bytes, f.body_offset);
	if (rc == 0)
		rc = read_entries(i, &f, body, body_bytes);
	free(body);
	return rc;
}

static int fill(struct eng_reader *r, int fd, const struct fmt_catalog_entry *e, struct index *i,
                const struct index *older)
{
	int rc;

	if (older) {
		rc = grow(i, older->n + 64);
		if (rc < 0)
			return rc;
		memcpy(i->chunks, older->chunks, older->n * sizeof *i->chunks);
		i->n = older->n;
		i->walk = older->walk;
		return walk_on(r, fd, i);
	}
	rc = read_header(r, fd, e, i);
	if (rc < 0 || e->state != FMT_STATE_SEALED)
		return rc < 0 ? rc : walk_on(r, fd, i);
	i->footer_tried = true;
	rc = read_footer(r, fd, i);
	if (rc != -EUCLEAN && rc != -ENODATA)
		return rc;
	if (reader_still(r, i->segment, i->generation, 0) == 0)
		reader_warn(r, i->segment, i->generation, "footer damaged, chunk headers used");
	i->n = 0;
	return walk_on(r, fd, i);
}

/* ---- asking ---- */

static void mark_bad(struct eng_reader *r, uint64_t segment, uint64_t generation)
{
	pthread_mutex_lock(&r->lock);
	r->segs[segment].bad_generation = generation;
	pthread_mutex_unlock(&r->lock);
}

static int make(struct eng_reader *r, uint64_t segment, const struct fmt_catalog_entry *e,
                const struct index *older, struct index **out)
{
	struct index *i = calloc(1, sizeof *i);
	int rc, fd;

	if (!i)
		return -ENOMEM;
	i->refs = 1;
	i->segment = segment;
	i->generation = e->generation;
	i->committed_bytes = e->committed_bytes;
	fd = fd_get(r, segment);
	rc = fd < 0 ? fd : fill(r, fd, e, i, older);
	if (fd >= 0)
		fd_put(r, segment, fd);
	if (rc == 0) {
		*out = i;
		return 0;
	}
	/* Recycled while we read? Then it is not damaged, only gone. */
	if (reader_still(r, segment, e->generation, 0) == -ESTALE) {
		rc = -ESTALE;
	} else if (rc == -EUCLEAN || rc == -ENODATA || rc == -ENOENT) {
		const char *why = rc == -EUCLEAN ? i->walk.why : "file missing or cut short";

		rc = -EUCLEAN;
		reader_warn(r, segment, e->generation, why ? why : "damaged");
		mark_bad(r, segment, e->generation);
	}
	free(i->chunks);
	free(i);
	return rc;
}

/* A walk that met damage ends early; once the segment is sealed its footer may know more. */
static bool cut_short(const struct index *i, const struct fmt_catalog_entry *e)
{
	return i->walked && i->walk.end != i->committed_bytes && !i->footer_tried &&
	       e->state == FMT_STATE_SEALED;
}

int index_get(struct eng_reader *r, uint64_t segment, struct index **out)
{
	struct seg *seg = &r->segs[segment];
	struct fmt_catalog_entry e;
	struct index *older = NULL;
	int rc = 0;

	*out = NULL;
	pthread_mutex_lock(&r->lock);
	e = seg->e;
	if (!seg->listed)
		rc = -ESTALE;
	else if (seg->bad_generation == e.generation)
		rc = -EUCLEAN;
	else if (!seg->index || cut_short(seg->index, &e))
		older = NULL;
	else if (seg->index->committed_bytes >= e.committed_bytes)
		*out = seg->index;
	else if (seg->index->walked)
		older = seg->index;
	if (*out || older)
		(*out ? *out : older)->refs++;
	if (*out) {
		unlink_index(r, *out);
		link_newest(r, *out);
	}
	pthread_mutex_unlock(&r->lock);
	if (rc < 0 || *out)
		return rc;

	rc = make(r, segment, &e, older, out);
	pthread_mutex_lock(&r->lock);
	if (rc == 0 && seg->listed && seg->e.generation == e.generation &&
	    (!seg->index || seg->index->committed_bytes < e.committed_bytes ||
	     cut_short(seg->index, &seg->e)))
		keep_index(r, seg, *out);
	if (older)
		unref_locked(older);
	pthread_mutex_unlock(&r->lock);
	return rc;
}

/* ---- summaries: the runs of a segment ---- */

static void piece_add(struct piece *p, const struct eng_chunk *c)
{
	if (c->flags & FMT_CHUNK_RUN_START) {
		p->has_start = true;
		p->start_reason = c->start_reason;
	}
	if (c->flags & FMT_CHUNK_RUN_END) {
		p->has_end = true;
		p->end_reason = c->end_reason;
	}
	if (c->frame_count == 0)
		return;
	if (p->first_ns == ENG_NO_TIME || c->first_ns < p->first_ns)
		p->first_ns = c->first_ns;
	if (c->end_ns > p->end_ns)
		p->end_ns = c->end_ns;
	p->clock_synced &= (c->flags & FMT_CHUNK_CLOCK_SYNCED) != 0;
}

static struct summary *summarise(const struct index *i)
{
	struct summary *s;
	uint32_t n = 0;

	for (uint32_t k = 0; k < i->n; k++)
		n += k == 0 || i->chunks[k].run != i->chunks[k - 1].run;
	s = calloc(1, sizeof *s + n * sizeof s->pieces[0]);
	if (!s)
		return NULL;
	s->refs = 1;
	s->generation = i->generation;
	s->committed_bytes = i->committed_bytes;
	for (uint32_t k = 0; k < i->n; k++) {
		if (k == 0 || i->chunks[k].run != i->chunks[k - 1].run)
			s->pieces[s->n++] = (struct piece){
			        .run = i->chunks[k].run,
			        .first_ns = ENG_NO_TIME,
			        .end_ns = ENG_NO_TIME,
			        .clock_synced = true,
			};
		piece_add(&s->pieces[s->n - 1], &i->chunks[k]);
	}
	return s;
}

int summary_get(struct eng_reader *r, uint64_t segment, struct summary **out)
{
	struct seg *seg = &r->segs[segment];
	struct index *i;
	int rc;

	pthread_mutex_lock(&r->lock);
	*out = seg->listed && seg->summary &&
	                       seg->summary->committed_bytes >= seg->e.committed_bytes
	               ? seg->summary
	               : NULL;
	if (*out)
		(*out)->refs++;
	pthread_mutex_unlock(&r->lock);
	if (*out)
		return 0;
	rc = index_get(r, segment, &i);
	if (rc < 0)
		return rc;
	*out = summarise(i);
	pthread_mutex_lock(&r->lock);
	if (*out && seg->listed && seg->e.generation == i->generation) {
		if (seg->summary && --seg->summary->refs == 0)
			free(seg->summary);
		seg->summary = *out;
		(*out)->refs++;
	}
	pthread_mutex_unlock(&r->lock);
	index_unref(r, i);
	return *out ? 0 : -ENOMEM;
}

void summary_unref(struct eng_reader *r, struct summary *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&r->lock);
	if (--s->refs == 0)
		free(s);
	pthread_mutex_unlock(&r->lock);
}

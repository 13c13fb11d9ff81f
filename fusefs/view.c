/*
 * view.c — an open virtual file: its header generated once, its samples found in the store.
 *
 * What stays in memory is the header (about 28 bytes a sample) and one piece for each contiguous
 * payload range, usually one a chunk; sample tables are dropped when the header is made. A read is
 * a copy from the header and one engine read a piece, straight into the caller's buffer.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "fusefs/select.h"
#include "fusefs/view.h"

struct view_piece {
	uint64_t at; /* in the file */
	uint32_t chunk, offset, bytes;
};

struct view {
	struct eng_reader *r;
	uint8_t *header;
	size_t header_bytes;
	uint64_t size_bytes;
	struct eng_chunk *chunk;
	struct view_piece *piece;
	size_t n_chunks, n_pieces;
};

/* Growing arrays while a file is put together. */
struct view_build {
	struct view *v;
	const struct eng_run *run;
	struct mp4_file mp4;
	struct mp4_sample *sample[ENG_TRACKS_MAX];
	size_t sample_max[ENG_TRACKS_MAX];
	struct mp4_chunk *group;
	size_t group_max, chunk_max, piece_max;
	uint64_t at; /* payload bytes so far */
};

static int grow(void *array, size_t *max, size_t need, size_t each)
{
	void **p = array;
	size_t n = *max ? *max : 64;
	void *bigger;

	if (need <= *max)
		return 0;
	while (n < need)
		n *= 2;
	bigger = reallocarray(*p, n, each);
	if (!bigger)
		return -ENOMEM;
	*p = bigger;
	*max = n;
	return 0;
}

static int add_sample(struct view_build *b, const struct eng_frame_info *f)
{
	struct mp4_counts *count = &b->mp4.count[f->track];
	int rc = grow(&b->sample[f->track], &b->sample_max[f->track], count->samples + 1,
	              sizeof(struct mp4_sample));

	if (rc)
		return rc;
	b->sample[f->track][count->samples++] =
	        (struct mp4_sample){.time_ns = f->time_ns,
	                            .dts_ns = f->dts_ns,
	                            .duration_ns = f->duration_ns,
	                            .size_bytes = f->size_bytes,
	                            .key = f->flags & ENG_FRAME_KEY};
	count->keys += (f->flags & ENG_FRAME_KEY) != 0;
	count->bytes += f->size_bytes;
	return 0;
}

static int add_piece(struct view_build *b, size_t chunk, const struct eng_frame_info *f)
{
	struct view *v = b->v;
	struct view_piece *last = v->n_pieces ? &v->piece[v->n_pieces - 1] : NULL;
	int rc;

	if (!f->size_bytes)
		return 0;
	b->at += f->size_bytes;
	if (last && last->chunk == chunk && last->offset + last->bytes == f->offset) {
		last->bytes += f->size_bytes;
		return 0;
	}
	rc = grow(&v->piece, &b->piece_max, v->n_pieces + 1, sizeof(*v->piece));
	if (rc)
		return rc;
	assert(v->piece);
	v->piece[v->n_pieces++] = (struct view_piece){.at = b->at - f->size_bytes,
	                                              .chunk = (uint32_t)chunk,
	                                              .offset = f->offset,
	                                              .bytes = f->size_bytes};
	return 0;
}

/* sel_visit: takes over what a chunk gives. */
static int build_chunk(void *arg, const struct eng_chunk *c, const struct eng_frame_info *f,
                       const bool *taken)
{
	struct view_build *b = arg;
	struct view *v = b->v;
	struct mp4_chunk *group;
	int rc = grow(&v->chunk, &b->chunk_max, v->n_chunks + 1, sizeof(*v->chunk));

	if (!rc)
		rc = grow(&b->group, &b->group_max, v->n_chunks + 1, sizeof(*b->group));
	if (rc)
		return rc;
	v->chunk[v->n_chunks] = *c;
	group = &b->group[v->n_chunks];
	memset(group, 0, sizeof(*group));
	for (uint32_t i = 0; i < c->frame_count && !rc; i++) {
		if (!taken[i])
			continue;
		group->samples[f[i].track]++;
		rc = add_sample(b, &f[i]);
		if (!rc)
			rc = add_piece(b, v->n_chunks, &f[i]);
	}
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++)
		b->mp4.count[k].chunks += group->samples[k] > 0;
	v->n_chunks++;
	return rc;
}

static int build_header(struct view_build *b, const struct view_file *file)
{
	struct view *v = b->v;
	int rc;

	/* The key frame that the file begins with is gone: its segment was recycled. */
	if (!b->mp4.count[0].samples || b->sample[0][0].time_ns != file->a_ns)
		return -ESTALE;
	b->mp4.setup = &b->run->setup;
	b->mp4.origin_ns = file->a_ns;
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++)
		b->mp4.sample[k] = b->sample[k];
	b->mp4.chunk = b->group;
	b->mp4.n_chunks = v->n_chunks;
	v->size_bytes = mp4_file_bytes(b->mp4.setup, b->mp4.count);
	if (v->size_bytes != file->size_bytes)
		return -EUCLEAN;
	rc = mp4_header(&b->mp4, &v->header, &v->header_bytes);
	if (rc)
		return rc == -EINVAL ? -EUCLEAN : rc;
	for (size_t i = 0; i < v->n_pieces; i++)
		v->piece[i].at += v->header_bytes;
	return 0;
}

static int find_run(struct eng_reader *r, const struct view_file *file, struct eng_run *out)
{
	struct eng_run *runs;
	size_t n;
	int rc = eng_runs(r, file->camera, file->a_ns, time_add(file->a_ns, 1), &runs, &n);

	if (rc)
		return rc;
	rc = -ESTALE;
	for (size_t i = 0; i < n; i++) {
		if (runs[i].run == file->run &&
		    !memcmp(runs[i].stream, file->stream, ENG_UUID_BYTES)) {
			*out = runs[i];
			rc = 0;
		}
	}
	free(runs);
	return rc;
}

int view_open(struct eng_reader *r, const struct view_file *file, struct view **out)
{
	struct view_build b = {0};
	struct eng_run *run = malloc(sizeof(*run));
	struct sel *s = NULL;
	int rc = -ENOMEM;

	*out = NULL;
	b.v = calloc(1, sizeof(*b.v));
	if (!b.v || !run)
		goto out;
	b.v->r = r;
	b.run = run;
	rc = find_run(r, file, run);
	if (!rc)
		rc = sel_open(r, run, true, &s);
	if (!rc)
		rc = sel_walk(s, file->a_ns, file->b_ns, true, build_chunk, &b);
	if (!rc)
		rc = build_header(&b, file);
	if (!rc) {
		*out = b.v;
		b.v = NULL;
	}
out:
	view_close(b.v);
	sel_close(s);
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++)
		free(b.sample[k]);
	free(b.group);
	free(run);
	return rc;
}

void view_close(struct view *v)
{
	if (!v)
		return;
	free(v->header);
	free(v->chunk);
	free(v->piece);
	free(v);
}

uint64_t view_size(const struct view *v)
{
	return v->size_bytes;
}

size_t view_memory(const struct view *v)
{
	return sizeof(*v) + v->header_bytes + v->n_chunks * sizeof(*v->chunk) +
	       v->n_pieces * sizeof(*v->piece);
}

/* The piece that holds file offset `at`; at is behind the header and inside the file. */
static const struct view_piece *piece_at(const struct view *v, uint64_t at)
{
	size_t lo = 0, hi = v->n_pieces;

	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (v->piece[mid].at <= at)
			lo = mid;
		else
			hi = mid;
	}
	return &v->piece[lo];
}

int view_read(struct view *v, uint64_t offset, size_t len, void *buf, size_t *got)
{
	uint8_t *to = buf;
	size_t left;

	*got = 0;
	if (offset >= v->size_bytes)
		return 0;
	left = len < v->size_bytes - offset ? len : (size_t)(v->size_bytes - offset);
	if (left && offset < v->header_bytes) {
		size_t n = v->header_bytes - (size_t)offset;

		n = n < left ? n : left;
		memcpy(to, v->header + offset, n);
		to += n;
		offset += n;
		left -= n;
	}
	while (left) {
		const struct view_piece *p = piece_at(v, offset);
		uint32_t skip = (uint32_t)(offset - p->at);
		uint32_t n = left < p->bytes - skip ? (uint32_t)left : p->bytes - skip;
		int rc = eng_chunk_read(v->r, &v->chunk[p->chunk], p->offset + skip, n, to);

		if (rc)
			return rc;
		to += n;
		offset += n;
		left -= n;
	}
	*got = (size_t)(to - (uint8_t *)buf);
	return 0;
}

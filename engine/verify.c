/*
 * verify.c — eng_verify(): every rule of format.h over what is on disk, naming what is bad.
 *
 * It does not stop at the first damage: a damaged chunk of a sealed segment is stepped over with
 * the footer's help, so that one bad sector is one finding, not the end of the segment. It may run
 * beside the recorder: it looks only at what was committed when it came to a segment, and what is
 * recycled under its eyes is gone, not damaged.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/catalog.h"

struct verify {
	const char *dir;
	struct fmt_superblock sb;
	struct catalog *catalog;
	const struct eng_verify_options *opt;
	struct eng_verify_report *report;
	uint8_t live[ENG_UUID_BYTES], imported[ENG_UUID_BYTES];
	/* Buffers for the largest chunk so far. */
	uint8_t *bytes;
	size_t bytes_max;
	struct eng_frame_info *frames;
	uint32_t frames_max;
	uint8_t (*leaves)[FMT_LEAF_BYTES];
	uint32_t leaves_max;
	/* The segment at hand. */
	uint64_t segment;
	struct fmt_catalog_entry e;
	int fd;
	bool gone;
	uint8_t (*roots)[FMT_LEAF_BYTES];
	struct eng_chunk *entries; /* from the footer; NULL when there is none to trust */
	struct fmt_footer footer;
};

/* ---- findings ---- */

static bool recycled_meanwhile(struct verify *v)
{
	struct fmt_catalog_entry now;

	if (!v->gone && catalog_get(v->catalog, v->segment, &now) == 0 &&
	    (now.generation != v->e.generation || now.state == FMT_STATE_RECYCLED ||
	     now.state == FMT_STATE_READY || now.state == FMT_STATE_RAW))
		v->gone = true;
	return v->gone;
}

PRINTF(3, 4) static void found(struct verify *v, uint64_t offset, const char *format, ...)
{
	char line[256];
	va_list args;

	if (recycled_meanwhile(v))
		return;
	v->report->damaged++;
	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (v->opt->finding)
		v->opt->finding(v->opt->arg, v->segment, offset, line);
}

/* ---- buffers ---- */

static int need_bytes(struct verify *v, size_t bytes)
{
	uint8_t *more;

	if (bytes <= v->bytes_max)
		return 0;
	more = realloc(v->bytes, bytes);
	if (!more)
		return -ENOMEM;
	v->bytes = more;
	v->bytes_max = bytes;
	return 0;
}

static int need_frames(struct verify *v, uint32_t frames)
{
	void *more;

	if (frames > v->frames_max) {
		more = realloc(v->frames, frames * sizeof *v->frames);
		if (!more)
			return -ENOMEM;
		v->frames = more;
		v->frames_max = frames;
	}
	if (frames > v->leaves_max) {
		more = realloc(v->leaves, frames * sizeof *v->leaves);
		if (!more)
			return -ENOMEM;
		v->leaves = more;
		v->leaves_max = frames;
	}
	return 0;
}

/* ---- a chunk's inside: V5 and the leaves ---- */

/* Leaves against frames and root. entry: the frame table's first entry. */
static void check_leaves(struct verify *v, const struct fmt_chunk *c, const uint8_t *entry,
                         const uint8_t *payload)
{
	uint8_t leaf[FMT_LEAF_BYTES], root[FMT_LEAF_BYTES];

	for (uint32_t i = 0; i < c->c.frame_count; i++, entry += c->frame_entry_bytes) {
		const struct eng_frame_info *f = &v->frames[i];

		memcpy(v->leaves[i], f->leaf, FMT_LEAF_BYTES);
		if (!payload)
			continue;
		fmt_leaf(c->salt_seed, i, entry, payload + f->offset, f->size_bytes, leaf);
		if (memcmp(leaf, f->leaf, sizeof leaf) != 0)
			found(v, c->c.offset, "chunk %llu: leaf of frame %u does not match",
			      (unsigned long long)c->c.sequence, i);
	}
	fmt_merkle_root((const uint8_t(*)[FMT_LEAF_BYTES])v->leaves, c->c.frame_count, root);
	if (memcmp(root, c->root, sizeof root) != 0)
		found(v, c->c.offset, "chunk %llu: Merkle root does not match its leaves",
		      (unsigned long long)c->c.sequence);
}

static int check_inside(struct verify *v, const struct fmt_chunk *c)
{
	size_t want = v->opt->payload ? c->c.total_bytes : c->c.payload_offset;
	const uint8_t *tables, *payload;
	const char *why = "";
	bool units_good = true;
	int rc = need_bytes(v, want);

	if (rc == 0)
		rc = need_frames(v, c->c.frame_count);
	if (rc < 0)
		return rc;
	rc = file_pread_full(v->fd, v->bytes, want, c->c.offset);
	if (rc < 0) {
		found(v, c->c.offset, "chunk %llu: cannot be read: %s",
		      (unsigned long long)c->c.sequence, strerror(-rc));
		return 0;
	}
	tables = v->bytes + FMT_CHUNK_HEADER;
	payload = v->bytes + c->c.payload_offset;
	if (fmt_frames_get(c, tables, v->frames, &why) < 0) {
		found(v, c->c.offset + FMT_CHUNK_HEADER, "%s", why);
		return 0; /* its unit digests cannot be trusted either */
	}
	v->report->frames += c->c.frame_count;
	for (uint32_t u = 0; v->opt->payload && u < c->unit_count; u++) {
		size_t at = (size_t)u * FMT_UNIT_BYTES;

		v->report->units++;
		v->report->bytes += fmt_unit_bytes(&c->c, u);
		if (fmt_unit_check(c, tables, u, payload + at, fmt_unit_bytes(&c->c, u)) == 0)
			continue;
		units_good = false;
		found(v, c->c.offset + c->c.payload_offset + at,
		      "chunk %llu: unit %u of %u: payload digest does not match",
		      (unsigned long long)c->c.sequence, u, c->unit_count);
	}
	if (c->c.flags & FMT_CHUNK_LEAVES)
		check_leaves(v, c, tables + (size_t)c->unit_count * FMT_UNIT_ENTRY,
		             v->opt->payload && units_good ? payload : NULL);
	return 0;
}

/* ---- footer ---- */

static bool footer_belongs(const struct verify *v, const struct segment_walk *w)
{
	const struct fmt_footer *f = &v->footer;

	return memcmp(f->store, v->sb.store, ENG_UUID_BYTES) == 0 && f->segment == v->segment &&
	       f->generation == w->header.generation &&
	       memcmp(f->stream, w->header.stream, ENG_UUID_BYTES) == 0 &&
	       f->body_offset + fmt_footer_bytes(f->entries) == v->sb.segment_bytes;
}

static int read_body(struct verify *v)
{
	size_t bytes = fmt_footer_bytes(v->footer.entries) - FMT_BLOCK;
	uint8_t digest[FMT_DIGEST_BYTES];
	int rc = need_bytes(v, bytes);

	if (rc == 0)
		rc = file_pread_full(v->fd, v->bytes, bytes, v->footer.body_offset);
	if (rc < 0)
		return rc;
	fmt_digest(v->bytes, bytes, digest);
	if (memcmp(digest, v->footer.body_digest, sizeof digest) != 0)
		return -EUCLEAN;
	v->entries = calloc(v->footer.entries, sizeof *v->entries);
	if (!v->entries)
		return -ENOMEM;
	for (uint32_t i = 0; rc == 0 && i < v->footer.entries; i++)
		rc = fmt_footer_entry_get(v->bytes + (size_t)i * FMT_FOOTER_ENTRY, v->segment,
		                          v->footer.generation, &v->entries[i]);
	if (rc < 0) {
		free(v->entries);
		v->entries = NULL;
	}
	return rc;
}

/* Sets v->footer and v->entries; without a footer to trust entries is NULL and it was said. */
static int read_footer(struct verify *v, const struct segment_walk *w)
{
	uint64_t at = v->sb.segment_bytes - FMT_BLOCK;
	uint8_t trailer[FMT_BLOCK];
	const char *why = "footer: of another segment, generation or stream";
	int rc = file_pread_full(v->fd, trailer, sizeof trailer, at);

	if (rc == 0)
		rc = fmt_footer_get(trailer, &v->footer, &why);
	if (rc == 0 && !footer_belongs(v, w))
		rc = -EUCLEAN;
	if (rc < 0) {
		found(v, at, "%s", rc == -EUCLEAN ? why : "footer: cannot be read");
		return 0;
	}
	rc = read_body(v);
	if (rc < 0 && rc != -ENOMEM) {
		found(v, v->footer.body_offset, "footer body: %s",
		      rc == -EUCLEAN ? "does not match its digest" : "cannot be read");
		return 0;
	}
	return rc;
}

static bool same_totals(const struct eng_cum a[ENG_TRACKS_MAX],
                        const struct eng_cum b[ENG_TRACKS_MAX])
{
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++)
		if (a[k].frames != b[k].frames || a[k].keys != b[k].keys ||
		    a[k].chunks != b[k].chunks || a[k].bytes != b[k].bytes)
			return false;
	return true;
}

/* The footer against a walk that met no damage. */
static void check_footer(struct verify *v, const struct segment_walk *w)
{
	uint64_t at = v->sb.segment_bytes - FMT_BLOCK;
	const struct fmt_footer *f = &v->footer;
	uint8_t root[FMT_LEAF_BYTES] = {0};

	if (f->entries != w->chunks || f->last_sequence != w->last.c.sequence ||
	    f->first_ns != w->first_ns || f->end_ns != w->end_ns)
		found(v, at, "footer: says other chunks or times than the chunks themselves");
	if (memcmp(f->last_header_digest, w->last_digest, FMT_DIGEST_BYTES) != 0)
		found(v, at, "footer: digest of the last chunk's header does not match");
	if (!same_totals(f->total, w->total))
		found(v, at, "footer: totals do not match the chunks");
	if (w->header.flags & FMT_SEG_LEAVES)
		fmt_merkle_root((const uint8_t(*)[FMT_LEAF_BYTES])v->roots, w->chunks, root);
	if (memcmp(root, f->root, sizeof root) != 0)
		found(v, at, "footer: Merkle root does not match the chunks' roots");
}

static void check_entry(struct verify *v, const struct eng_chunk *c, uint32_t number)
{
	uint8_t said[FMT_FOOTER_ENTRY], is[FMT_FOOTER_ENTRY];

	if (!v->entries || number >= v->footer.entries)
		return;
	fmt_footer_entry_put(&v->entries[number], said);
	fmt_footer_entry_put(c, is);
	if (memcmp(said, is, sizeof is) != 0)
		found(v, v->footer.body_offset + (uint64_t)number * FMT_FOOTER_ENTRY,
		      "footer: entry of chunk %llu does not match it",
		      (unsigned long long)c->sequence);
}

/* ---- a segment ---- */

/* Steps over a chunk whose header is damaged: what follows it is then judged by the footer's word
 * for the chunk's place and totals, and by the next header's own word for the chain. */
static bool step_over(struct verify *v, struct segment_walk *w)
{
	uint32_t next = w->chunks + 1;
	uint8_t header[FMT_CHUNK_HEADER];
	struct fmt_chunk c;

	if (!v->entries || next >= v->footer.entries)
		return false;
	if (file_pread_full(v->fd, header, sizeof header, v->entries[next].offset) < 0 ||
	    fmt_chunk_get(header, &c, NULL) < 0)
		memset(&c, 0, sizeof c); /* damaged too: the next round says so */
	w->last.c = v->entries[w->chunks];
	w->last.epoch = w->chunks > 0 ? w->last.epoch : w->header.epoch;
	memcpy(w->last_digest, c.prev_digest, FMT_DIGEST_BYTES);
	memcpy(w->total, v->entries[next].cum, sizeof w->total);
	w->end = v->entries[next].offset;
	w->chunks = next;
	return true;
}

static int grow_roots(struct verify *v, uint32_t chunks)
{
	void *more;

	if (chunks & (chunks - 1)) /* room is a power of two */
		return 0;
	more = realloc(v->roots, (size_t)(chunks ? 2 * chunks : 1) * sizeof *v->roots);
	if (!more)
		return -ENOMEM;
	v->roots = more;
	return 0;
}

/* *whole: no header was damaged, so that the sums over the segment mean something. */
static int check_chunks(struct verify *v, struct segment_walk *w, bool *whole)
{
	uint8_t header[FMT_CHUNK_HEADER];
	struct fmt_chunk c;
	int rc = 0;

	*whole = true;
	while (rc == 0 && !v->gone && w->end < v->e.committed_bytes) {
		rc = grow_roots(v, w->chunks);
		if (rc < 0)
			break;
		rc = file_pread_full(v->fd, header, sizeof header, w->end);
		if (rc < 0 || segment_walk_take(w, header, &c) < 0) {
			*whole = false;
			found(v, w->end, "%s", rc < 0 ? strerror(-rc) : w->why);
			rc = 0;
			if (!step_over(v, w))
				break;
			continue;
		}
		v->report->chunks++;
		memcpy(v->roots[w->chunks - 1], c.root, FMT_LEAF_BYTES);
		check_entry(v, &c.c, w->chunks - 1);
		rc = check_inside(v, &c);
	}
	return rc;
}

static void check_catalog(struct verify *v, const struct segment_walk *w)
{
	const struct fmt_catalog_entry *e = &v->e;

	if (w->end != e->committed_bytes || w->chunks != e->chunks ||
	    w->last.c.sequence != e->last_sequence ||
	    e->last_sequence - e->first_sequence + 1 != e->chunks || e->first_ns != w->first_ns ||
	    e->end_ns != w->end_ns)
		found(v, 0, "catalog: says other chunks or times than the segment itself");
}

static int check_open_segment(struct verify *v)
{
	uint8_t block[FMT_BLOCK];
	struct segment_walk w;
	bool whole;
	int rc = file_pread_full(v->fd, block, sizeof block, 0);

	if (rc < 0) {
		found(v, 0, "segment header: cannot be read: %s", strerror(-rc));
		return 0;
	}
	if (segment_walk_begin(&w, &v->sb, v->segment, block) < 0) {
		found(v, 0, "%s", w.why);
		return 0;
	}
	if (w.header.generation != v->e.generation ||
	    memcmp(w.header.stream, v->e.stream, ENG_UUID_BYTES) != 0) {
		found(v, 0, "segment header: generation or stream not what the catalog says");
		return 0;
	}
	if (v->e.state == FMT_STATE_SEALED)
		rc = read_footer(v, &w);
	if (rc == 0)
		rc = check_chunks(v, &w, &whole);
	if (rc == 0 && whole && !v->gone) {
		if (v->entries)
			check_footer(v, &w);
		check_catalog(v, &w);
	}
	return rc;
}

static bool wanted(const struct verify *v)
{
	if (v->e.state != FMT_STATE_OPEN && v->e.state != FMT_STATE_SEALED &&
	    v->e.state != FMT_STATE_RETIRED)
		return false;
	if (v->e.chunks == 0)
		return false;
	return !v->opt->camera || memcmp(v->e.stream, v->live, ENG_UUID_BYTES) == 0 ||
	       memcmp(v->e.stream, v->imported, ENG_UUID_BYTES) == 0;
}

static int check_segment(struct verify *v, uint64_t segment)
{
	int rc;

	v->segment = segment;
	v->gone = false;
	v->entries = NULL;
	if (catalog_get(v->catalog, segment, &v->e) < 0) {
		memset(&v->e, 0, sizeof v->e);
		found(v, 0, "catalog: entry is damaged");
		return 0;
	}
	if (!wanted(v))
		return 0;
	v->report->segments++;
	v->fd = store_open_segment(v->dir, segment, O_RDONLY);
	if (v->fd < 0) {
		found(v, 0, "cannot be opened: %s", strerror(-v->fd));
		return 0;
	}
	rc = check_open_segment(v);
	close(v->fd);
	free(v->entries);
	return rc;
}

static int check_all(struct verify *v, char *err, size_t err_bytes)
{
	uint64_t first = 0, last = v->sb.segment_count - 1, all;
	int rc = 0;

	if (v->opt->segment >= 0) {
		if ((uint64_t)v->opt->segment > last) {
			snprintf(err, err_bytes,
			         "%s has no segment %lld: its segments are 0 to %llu", v->dir,
			         (long long)v->opt->segment, (unsigned long long)last);
			return -EINVAL;
		}
		first = last = (uint64_t)v->opt->segment;
	}
	all = last - first + 1;
	for (uint64_t i = first; rc == 0 && i <= last; i++) {
		rc = check_segment(v, i);
		if (v->opt->progress)
			v->opt->progress(v->opt->arg, i - first + 1, all);
	}
	if (rc < 0)
		snprintf(err, err_bytes, "%s: verify had to stop: %s", v->dir, strerror(-rc));
	return rc;
}

int eng_verify(const char *dir, const struct eng_verify_options *opt,
               struct eng_verify_report *report, char *err, size_t err_bytes)
{
	struct verify v = {.dir = dir, .opt = opt, .report = report};
	int rc = store_read_superblock(dir, &v.sb, err, err_bytes);

	memset(report, 0, sizeof *report);
	if (rc < 0)
		return rc;
	if (v.sb.flags & FMT_STORE_ENCRYPTED) {
		snprintf(err, err_bytes,
		         "%s is encrypted: this version cannot verify encrypted stores", dir);
		return -ENOTSUP;
	}
	rc = catalog_open(dir, &v.sb, false, &v.catalog);
	if (rc < 0) {
		snprintf(err, err_bytes,
		         "%s: its catalog cannot be used (%s): stop the recorder "
		         "and run `custos fsck`",
		         dir, strerror(-rc));
		return rc;
	}
	if (opt->camera) {
		fmt_stream_uuid(v.sb.store, opt->camera, false, v.live);
		fmt_stream_uuid(v.sb.store, opt->camera, true, v.imported);
	}
	rc = check_all(&v, err, err_bytes);
	catalog_close(v.catalog);
	free(v.bytes);
	free(v.frames);
	free(v.leaves);
	free(v.roots);
	return rc;
}

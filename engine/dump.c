/*
 * dump.c — eng_dump(): one segment in readable lines, for people who look for what went wrong. It
 * shows what is on disk and where the walk stops and why; it decides nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/catalog.h"

struct dump {
	FILE *out;
	int fd;
	bool frames;
};

static const char *time_text(int64_t t_ns, char out[TIME_TEXT_MAX])
{
	if (t_ns == ENG_NO_TIME)
		return "-";
	time_format(t_ns, out);
	return out;
}

static const char *state_name(uint8_t state)
{
	static const char *const names[FMT_STATE_MAX] = {"raw",    "ready",    "open",
	                                                 "sealed", "recycled", "retired"};

	return state < FMT_STATE_MAX ? names[state] : "?";
}

static void dump_catalog(const struct dump *d, const char *dir, const struct fmt_superblock *sb,
                         uint64_t segment)
{
	char first[TIME_TEXT_MAX], end[TIME_TEXT_MAX];
	struct fmt_catalog_entry e;
	struct catalog *c;
	int rc = catalog_open(dir, sb, false, &c);

	if (rc < 0) {
		fprintf(d->out, "catalog: cannot be used: %s\n", strerror(-rc));
		return;
	}
	if (catalog_get(c, segment, &e) < 0)
		fprintf(d->out, "catalog: entry is damaged\n");
	else
		fprintf(d->out,
		        "catalog: %s generation %llu committed %u chunks %u sequence %llu..%llu "
		        "%s -- %s\n",
		        state_name(e.state), (unsigned long long)e.generation, e.committed_bytes,
		        e.chunks, (unsigned long long)e.first_sequence,
		        (unsigned long long)e.last_sequence, time_text(e.first_ns, first),
		        time_text(e.end_ns, end));
	catalog_close(c);
}

static void dump_header(const struct dump *d, const struct fmt_segment *s)
{
	char text[2 * ENG_UUID_BYTES + 1], made[TIME_TEXT_MAX];

	hex_format(s->stream, ENG_UUID_BYTES, text);
	fprintf(d->out,
	        "segment %llu: camera \"%s\"%s stream %s generation %llu epoch %llu made %s\n",
	        (unsigned long long)s->number, s->camera,
	        s->flags & FMT_SEG_IMPORTED ? " (imported)" : "", text,
	        (unsigned long long)s->generation, (unsigned long long)s->epoch,
	        time_text(s->made_ns, made));
	for (unsigned k = 0; k < s->setup.n_tracks; k++) {
		const struct eng_track *t = &s->setup.track[k];

		fprintf(d->out, "  track %u: %s", k, eng_codec_name(t->codec));
		if (eng_codec_is_video(t->codec))
			fprintf(d->out, " %ux%u", t->width, t->height);
		else
			fprintf(d->out, " %u Hz %u channel(s)", t->sample_rate, t->channels);
		fprintf(d->out, ", %u bytes of codec configuration\n", t->extradata_bytes);
	}
}

static int dump_frames(const struct dump *d, const struct fmt_chunk *c)
{
	uint8_t *bytes = malloc(c->c.payload_offset);
	struct eng_frame_info *f = calloc(c->c.frame_count + 1, sizeof *f);
	const char *why = "";
	int rc = bytes && f ? 0 : -ENOMEM;

	if (rc == 0)
		rc = file_pread_full(d->fd, bytes, c->c.payload_offset, c->c.offset);
	if (rc == 0 && fmt_frames_get(c, bytes + FMT_CHUNK_HEADER, f, &why) < 0)
		fprintf(d->out, "    %s\n", why);
	for (uint32_t i = 0; rc == 0 && !*why && i < c->c.frame_count; i++) {
		char at[TIME_TEXT_MAX];

		fprintf(d->out, "    frame %u track %u%s at %s dts %lld duration %u bytes %u @%u\n",
		        i, f[i].track, f[i].flags & ENG_FRAME_KEY ? " key" : "",
		        time_text(f[i].time_ns, at), (long long)f[i].dts_ns, f[i].duration_ns,
		        f[i].size_bytes, f[i].offset);
	}
	free(bytes);
	free(f);
	return rc;
}

static int dump_chunk(void *arg, const struct fmt_chunk *c)
{
	const struct dump *d = arg;
	char first[TIME_TEXT_MAX], end[TIME_TEXT_MAX];

	fprintf(d->out, "  chunk @%u +%u sequence %llu run %llu epoch %llu %s -- %s", c->c.offset,
	        c->c.total_bytes, (unsigned long long)c->c.sequence, (unsigned long long)c->c.run,
	        (unsigned long long)c->epoch, time_text(c->c.first_ns, first),
	        time_text(c->c.end_ns, end));
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++)
		if (c->c.track[k].frames > 0)
			fprintf(d->out, ", track %u: %u frames (%u key) %u bytes", k,
			        c->c.track[k].frames, c->c.track[k].keys, c->c.track[k].bytes);
	if (c->c.flags & FMT_CHUNK_RUN_START)
		fprintf(d->out, ", run starts (%s)", eng_reason_name(c->c.start_reason));
	if (c->c.flags & FMT_CHUNK_RUN_END)
		fprintf(d->out, ", run ends (%s)", eng_reason_name(c->c.end_reason));
	fprintf(d->out, "%s\n", c->c.flags & FMT_CHUNK_CLOCK_SYNCED ? "" : ", clock not synced");
	return d->frames ? dump_frames(d, c) : 0;
}

static void dump_footer(const struct dump *d, const struct fmt_superblock *sb)
{
	uint8_t trailer[FMT_BLOCK];
	char sealed[TIME_TEXT_MAX], root[2 * FMT_LEAF_BYTES + 1];
	struct fmt_footer f;
	const char *why = "cannot be read";

	if (file_pread_full(d->fd, trailer, sizeof trailer, sb->segment_bytes - FMT_BLOCK) < 0 ||
	    fmt_footer_get(trailer, &f, &why) < 0) {
		fprintf(d->out, "footer: %s\n", why);
		return;
	}
	hex_format(f.root, sizeof f.root, root);
	fprintf(d->out,
	        "footer: generation %llu, %u chunks, sequence %llu..%llu, sealed %s, root %s\n",
	        (unsigned long long)f.generation, f.entries, (unsigned long long)f.first_sequence,
	        (unsigned long long)f.last_sequence, time_text(f.sealed_ns, sealed), root);
}

static int dump_segment(struct dump *d, const struct fmt_superblock *sb, uint64_t segment)
{
	uint8_t block[FMT_BLOCK];
	struct segment_walk w;
	int rc = file_pread_full(d->fd, block, sizeof block, 0);

	if (rc < 0)
		return rc;
	if (fmt_zero(block, sizeof block)) {
		fprintf(d->out, "segment %llu: empty\n", (unsigned long long)segment);
		return 0;
	}
	if (segment_walk_begin(&w, sb, segment, block) < 0) {
		fprintf(d->out, "segment %llu: %s\n", (unsigned long long)segment, w.why);
		return 0;
	}
	dump_header(d, &w.header);
	rc = segment_walk(d->fd, sb, segment, UINT32_MAX, dump_chunk, d, &w);
	if (rc < 0)
		return rc;
	fprintf(d->out, "  end of chunks @%u after %u: %s\n", w.end, w.chunks, w.why);
	dump_footer(d, sb);
	return 0;
}

int eng_dump(const char *dir, uint64_t segment, bool frames, void *out, char *err, size_t err_bytes)
{
	struct dump d = {.out = out, .frames = frames};
	struct fmt_superblock sb;
	int rc = store_read_superblock(dir, &sb, err, err_bytes);

	if (rc < 0)
		return rc;
	if (segment >= sb.segment_count) {
		snprintf(err, err_bytes, "%s has no segment %llu: its segments are 0 to %llu", dir,
		         (unsigned long long)segment, (unsigned long long)sb.segment_count - 1);
		return -EINVAL;
	}
	d.fd = store_open_segment(dir, segment, O_RDONLY);
	if (d.fd < 0) {
		snprintf(err, err_bytes, "%s: segment %llu cannot be opened: %s", dir,
		         (unsigned long long)segment, strerror(-d.fd));
		return d.fd;
	}
	dump_catalog(&d, dir, &sb, segment);
	rc = dump_segment(&d, &sb, segment);
	if (rc < 0)
		snprintf(err, err_bytes, "%s: segment %llu cannot be read: %s", dir,
		         (unsigned long long)segment, strerror(-rc));
	close(d.fd);
	return rc;
}

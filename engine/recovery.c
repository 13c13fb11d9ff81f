/*
 * recovery.c — what a writer does with what the last one left, before it writes anything.
 *
 * The catalog may be older than the segments (it is a cache), never newer in what matters: an OPEN
 * entry is durable before anything in its segment was acknowledged, a raised generation before the
 * old bytes go. So only OPEN segments, and those whose entry is torn, need to be looked into.
 * Bytes found whole are flushed before they are published: the page cache or the device may have
 * shown what a second power cut would take away.
 *
 *   entry       header   chunks found           footer   becomes
 *   RAW         -        -                      -        RAW (zeroed again from its start)
 *   READY       -        -                      -        READY
 *   SEALED      -        -                      -        SEALED
 *   RETIRED     -        walked for the highest -        RETIRED
 *                        sequence only; skipped
 *                        ones as above on EIO
 *   RECYCLED    -        -                      -        RECYCLED: 2 s, zeros, READY
 *   OPEN        unreadable (EIO)                -        RETIRED as far as published, alarm;
 *                                                        numbers it may hold are skipped
 *   OPEN        bad, other stream or generation:
 *                 nothing was published                  RECYCLED, next generation
 *                 something was                          RETIRED as far as published, alarm
 *   OPEN        good     none, none published   -        RECYCLED, next generation
 *   OPEN        good     fewer than published   -        RETIRED as far as published, alarm
 *   OPEN        good     all published or more  good     SEALED, all found published
 *   OPEN        good     all published or more  none     OPEN, all found published, continued
 *   torn        good     any                    good     SEALED
 *   torn        good     some                   none     OPEN, continued
 *   torn        good     none                   -        RECYCLED, next generation
 *   torn        bad      -                      -        RECYCLED, a generation above all before
 *
 * Continued means: the next chunk goes right behind the last good one. Nothing that lies there from
 * before can be taken for footage later: a stale chunk would have to name the digest of the new
 * chunk's header as its predecessor, and that header holds an epoch which did not exist when the
 * stale one was written (V4). Only the segment that holds the stream's highest sequence is
 * continued, since numbers are +1 inside a segment; others are sealed (stream.c). Sealing them all
 * would be as right, and would waste half a segment per camera at every restart.
 */
#include "engine/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct look {
	struct segout *g;
	struct fmt_catalog_entry e; /* as found */
	bool out_of_memory;
};

static int look_chunk(void *arg, const struct fmt_chunk *c)
{
	static const uint8_t no_digest[FMT_DIGEST_BYTES];
	struct look *l = arg;
	struct chunk view = {.h = *c};

	if (segout_note(l->g, c, no_digest)) {
		l->out_of_memory = true;
		return -ENOMEM;
	}
	segout_publish(l->g, &view);
	return 0;
}

static int read_footer(struct eng_writer *w, int fd, const struct segment_walk *walk)
{
	uint8_t block[FMT_BLOCK], digest[FMT_DIGEST_BYTES];
	struct fmt_footer f;
	uint64_t at = w->sb.segment_bytes - FMT_BLOCK;
	int err = file_pread_full(fd, block, sizeof(block), at);

	if (err)
		return err;
	err = fmt_footer_get(block, &f, NULL);
	if (err)
		return err;
	if (memcmp(f.store, walk->header.store, ENG_UUID_BYTES) ||
	    memcmp(f.stream, walk->header.stream, ENG_UUID_BYTES) ||
	    f.segment != walk->header.number || f.generation != walk->header.generation ||
	    f.entries != walk->chunks ||
	    memcmp(f.last_header_digest, walk->last_digest, FMT_DIGEST_BYTES) ||
	    f.body_offset + fmt_footer_bytes(f.entries) != w->sb.segment_bytes)
		return -EUCLEAN;
	size_t len = at - f.body_offset;
	uint8_t *body = malloc(len + 1);
	if (!body)
		return -ENOMEM;
	err = file_pread_full(fd, body, len, f.body_offset);
	if (!err) {
		fmt_digest(body, len, digest);
		err = memcmp(digest, f.body_digest, sizeof(digest)) ? -EUCLEAN : 0;
	}
	free(body);
	return err;
}

static void put_state(struct eng_writer *w, uint64_t n, const struct fmt_catalog_entry *from,
                      enum fmt_state state)
{
	struct fmt_catalog_entry e = *from;

	e.state = (uint8_t)state;
	e.changed_ns = writer_wall(w);
	writer_put(w, n, &e);
}

static void retire(struct eng_writer *w, uint64_t n, const struct fmt_catalog_entry *e,
                   const char *why)
{
	put_state(w, n, e, FMT_STATE_RETIRED);
	writer_alarm(w, "segment %llu: %s; retired with %u bytes committed", (unsigned long long)n,
	             why, e->committed_bytes);
}

/* What cannot be read now may come back: it can hold a number for each of its blocks. Only the
 * writer's own copy learns of them. */
static void skip_numbers(struct eng_writer *w, uint64_t n)
{
	w->entries[n].last_sequence += w->sb.segment_bytes / FMT_BLOCK;
}

static int recycle(struct eng_writer *w, uint64_t n, uint64_t generation)
{
	struct fmt_catalog_entry e = {
	        .generation = generation, .first_ns = ENG_NO_TIME, .end_ns = ENG_NO_TIME};

	put_state(w, n, &e, FMT_STATE_RECYCLED);
	return prewrite_add_recycled(w, n);
}

/* The walk is done and its segment is whole as far as it got: seal it or go on with it. */
static int settle(struct eng_writer *w, struct segout *g, int fd, const struct segment_walk *walk)
{
	int err;

	g->hdr = walk->header;
	memcpy(g->stream, walk->header.stream, sizeof(g->stream));
	memcpy(g->prev, walk->last_digest, sizeof(g->prev));
	g->entry.generation = walk->header.generation;
	memcpy(g->entry.stream, walk->header.stream, sizeof(g->entry.stream));
	g->entry.flags = (uint8_t)walk->header.flags;
	g->entry.state = FMT_STATE_OPEN;
	if (fdatasync(fd)) {
		retire(w, g->number, &w->entries[g->number], "cannot be flushed");
		segout_free(w, g);
		return 0;
	}
	err = read_footer(w, fd, walk);
	if (err == -ENOMEM)
		return err;
	if (!err)
		segout_end(w, g, FMT_STATE_SEALED);
	else
		segout_put(w, g);
	return 0;
}

/* Rows OPEN and torn. e: as published; torn ones say nothing (committed 0, generation 0). */
static int look_into(struct eng_writer *w, uint64_t n, const struct fmt_catalog_entry *e, int fd)
{
	struct fmt_catalog_entry blank = {
	        .state = FMT_STATE_OPEN, .first_ns = ENG_NO_TIME, .end_ns = ENG_NO_TIME};
	struct fmt_segment none = {0};
	struct segment_walk walk;
	struct look l = {0};
	bool torn = !e->generation;
	int err = segout_adopt(w, n, &none, &blank, &l.g);

	if (err && writer_short_of(w, err))
		return err; /* not the segment's fault: nothing is started with half of the store */
	if (err) {
		retire(w, n, e, "cannot be opened");
		return 0;
	}
	err = segment_walk(fd, &w->sb, n, e->committed_bytes, look_chunk, &l, &walk);
	if (l.out_of_memory || err == -ENOMEM)
		return -ENOMEM;
	bool ours = !err && (torn || (walk.header.generation == e->generation &&
	                              !memcmp(walk.header.stream, e->stream, ENG_UUID_BYTES)));
	if (ours && walk.chunks && walk.end >= e->committed_bytes)
		return settle(w, l.g, fd, &walk);
	segout_free(w, l.g);
	if (err && err != -EUCLEAN) {
		retire(w, n, e, "cannot be read");
		skip_numbers(w, n);
		return 0;
	}
	if (e->committed_bytes) {
		retire(w, n, e, ours ? walk.why : "its header is damaged");
		return 0;
	}
	if (torn)
		return recycle(w, n, err ? (w->epoch + 1) << 32 : walk.header.generation + 1);
	return recycle(w, n, e->generation + 1);
}

struct highest {
	uint64_t sequence;
	uint8_t stream[ENG_UUID_BYTES];
};

static int look_highest(void *arg, const struct fmt_chunk *c)
{
	struct highest *h = arg;

	if (!memcmp(h->stream, c->stream, sizeof(h->stream)) && c->c.sequence > h->sequence)
		h->sequence = c->c.sequence;
	return 0;
}

/* Numbers once written behind the published part of a failed segment are never given again to
 * other frames: a rebuilt catalog would show both. Only the writer's own copy learns of them. */
static void look_retired(struct eng_writer *w, uint64_t n, int fd)
{
	struct fmt_catalog_entry *e = &w->entries[n];
	struct highest h = {.sequence = e->last_sequence};
	struct segment_walk walk;
	int err;

	memcpy(h.stream, e->stream, sizeof(h.stream));
	err = segment_walk(fd, &w->sb, n, 0, look_highest, &h, &walk);
	e->last_sequence = h.sequence;
	if (err && err != -EUCLEAN)
		skip_numbers(w, n);
}

static int recover_segment(struct eng_writer *w, uint64_t n)
{
	struct fmt_catalog_entry e = {0};
	char path[FMT_SEGMENT_PATH_MAX];
	int err = catalog_get(w->catalog, n, &e), fd;

	if (err)
		e = (struct fmt_catalog_entry){
		        .state = FMT_STATE_OPEN, .first_ns = ENG_NO_TIME, .end_ns = ENG_NO_TIME};
	w->entries[n] = e;
	w->in_state[e.state]++;
	if (e.state == FMT_STATE_RECYCLED)
		return prewrite_add_recycled(w, n);
	if (e.state != FMT_STATE_OPEN && e.state != FMT_STATE_RETIRED)
		return 0;
	fmt_segment_path(n, path);
	fd = openat(w->dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && writer_short_of(w, -errno))
		return -errno;
	if (fd < 0) {
		if (e.state == FMT_STATE_OPEN)
			retire(w, n, &e, "its file cannot be opened");
		return 0;
	}
	err = 0;
	if (e.state == FMT_STATE_OPEN)
		err = look_into(w, n, &e, fd);
	else
		look_retired(w, n, fd);
	close(fd);
	return err;
}

int recovery_run(struct eng_writer *w, char *err, size_t err_bytes)
{
	struct fmt_epoch epoch;
	unsigned slot;
	int ret = store_read_epoch(w->dir, &w->sb, &epoch, &slot);

	if (ret) {
		snprintf(err, err_bytes, "%s: the epoch file is damaged: %s", w->dir,
		         strerror(-ret));
		return ret;
	}
	w->epoch = epoch.epoch;
	w->age_wall_ns = epoch.raised_ns;
	for (uint64_t n = 0; n < w->sb.segment_count && !ret; n++)
		ret = recover_segment(w, n);
	if (!ret)
		ret = catalog_sync(w->catalog);
	if (ret)
		snprintf(err, err_bytes, "%s: recovery failed: %s", w->dir, strerror(-ret));
	return ret;
}

/* Into the slot that does not hold: a torn write leaves the old epoch standing. */
int recovery_raise_epoch(struct eng_writer *w, char *err, size_t err_bytes)
{
	struct fmt_epoch e;
	uint8_t block[FMT_BLOCK];
	unsigned slot;
	int fd = -1, ret = store_read_epoch(w->dir, &w->sb, &e, &slot);

	if (ret)
		goto out;
	e.epoch++;
	e.raised_ns = writer_wall(w);
	fmt_epoch_put(&e, block);
	fd = openat(w->dirfd, "epoch", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	ret = fd < 0 ? -errno : 0;
	if (!ret)
		ret = file_pwrite_full(fd, block, sizeof(block), slot ? 0 : FMT_BLOCK);
	if (!ret && fsync(fd))
		ret = -errno;
	w->epoch = e.epoch;
out:
	if (fd >= 0)
		close(fd);
	if (ret)
		snprintf(err, err_bytes, "%s: cannot raise the epoch: %s", w->dir, strerror(-ret));
	return ret;
}

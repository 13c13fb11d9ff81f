/*
 * prewrite.c — RAW and RECYCLED segments become READY: written once with zeros, then flushed.
 *
 * Footage never goes into unwritten extents: their conversion is metadata that a data flush alone
 * does not make durable (measured: acknowledged writes lost). For recycled ones the zeros are also
 * the proof of removal: old footage is gone from the medium before its space is used again. They
 * are zeroed as soon as readers have had their 2 s and the raised generation is durable, needed or
 * not; RAW ones only a few ahead of need. One segment at a time, one MiB in flight: cameras first.
 */
#include "engine/writer.h"

#include <errno.h>
#include <stdlib.h>

#define STEP_BYTES (1 * MIB)

uint64_t prewrite_target(const struct eng_writer *w)
{
	uint64_t ahead = w->opt.ready_ahead, quarter = w->sb.segment_count / 4;

	if (ahead > quarter)
		ahead = quarter ? quarter : 1;
	return ahead + w->waiting;
}

int prewrite_add_recycled(struct eng_writer *w, uint64_t number)
{
	if (w->n_recycled == w->cap_recycled) {
		size_t cap = w->cap_recycled ? w->cap_recycled * 2 : 16;
		struct recycled *r = realloc(w->recycled, cap * sizeof(*r));
		if (!r)
			return -ENOMEM;
		w->recycled = r;
		w->cap_recycled = cap;
	}
	w->recycled[w->n_recycled++] = (struct recycled){
	        .number = number, .flush_no = w->flush.started + 1, .boot_ns = writer_boot(w)};
	w->flush.wanted = true;
	if (w->flush.since_boot_ns > w->now_boot_ns)
		w->flush.since_boot_ns = w->now_boot_ns;
	return 0;
}

/* The next segment to zero, or UINT64_MAX. */
static uint64_t next_segment(struct eng_writer *w)
{
	for (size_t i = 0; i < w->n_recycled; i++) {
		const struct recycled *r = &w->recycled[i];
		uint64_t n = r->number;
		if (w->flush.done < r->flush_no || w->now_boot_ns - r->boot_ns < RECYCLE_WAIT_NS)
			continue;
		w->recycled[i] = w->recycled[--w->n_recycled];
		return n;
	}
	if (!w->in_state[FMT_STATE_RAW] || w->in_state[FMT_STATE_READY] >= prewrite_target(w))
		return UINT64_MAX;
	for (uint64_t n = 0; n < w->sb.segment_count; n++) {
		if (w->entries[n].state == FMT_STATE_RAW)
			return n;
	}
	return UINT64_MAX;
}

/* Opening it has to wait: a RAW one is found again by its state, a recycled one by this list, where
 * taking it out has left room. */
static void put_back(struct eng_writer *w)
{
	uint64_t n = w->pre.number;

	if (w->entries[n].state == FMT_STATE_RECYCLED)
		w->recycled[w->n_recycled++] = (struct recycled){
		        .number = n, .flush_no = w->flush.done, .boot_ns = w->now_boot_ns};
}

static void finish(struct eng_writer *w, enum fmt_state state)
{
	struct prewrite *p = &w->pre;
	struct fmt_catalog_entry e = {.generation = w->entries[p->number].generation,
	                              .state = (uint8_t)state,
	                              .first_ns = ENG_NO_TIME,
	                              .end_ns = ENG_NO_TIME,
	                              .changed_ns = writer_wall(w)};

	writer_close_segment(w, p->fd, p->file);
	p->active = false;
	writer_put(w, p->number, &e);
}

static void step(struct eng_writer *w);

static void step_done(void *arg, struct device_op *op)
{
	struct eng_writer *w = arg;
	struct prewrite *p = &w->pre;

	if (op->result) {
		writer_failed(w, op->result, "cannot be prepared, retired", p->number);
		finish(w, FMT_STATE_RETIRED);
		return;
	}
	if (p->flushing) {
		finish(w, FMT_STATE_READY);
		return;
	}
	p->at += op->len_bytes;
	step(w);
}

static void step(struct eng_writer *w)
{
	struct prewrite *p = &w->pre;
	uint64_t left = w->sb.segment_bytes - p->at;

	p->flushing = !left;
	p->op = (struct device_op){.kind = left ? DEVICE_WRITE : DEVICE_FLUSH,
	                           .file = p->file,
	                           .buf = p->zeros,
	                           .len_bytes = (uint32_t)(left < STEP_BYTES ? left : STEP_BYTES),
	                           .offset = p->at,
	                           .done = step_done,
	                           .owner = w};
	writer_submit(w, &p->op);
}

void prewrite_poll(struct eng_writer *w)
{
	struct prewrite *p = &w->pre;

	if (p->active || w->dead)
		return;
	if (!p->zeros) {
		p->zeros = aligned_alloc(FMT_BLOCK, STEP_BYTES);
		if (!p->zeros)
			return;
		memset(p->zeros, 0, STEP_BYTES);
	}
	p->number = next_segment(w);
	if (p->number == UINT64_MAX)
		return;
	p->at = 0;
	int err = writer_open_segment(w, p->number, &p->fd, &p->file);
	if (err && writer_short_of(w, err)) {
		put_back(w);
		return;
	}
	p->active = true;
	if (err) {
		p->fd = p->file = -1;
		writer_failed(w, err, "cannot be opened, retired", p->number);
		finish(w, FMT_STATE_RETIRED);
		return;
	}
	step(w);
}

/* With nothing in flight any more. */
void prewrite_close(struct eng_writer *w)
{
	if (w->pre.active)
		writer_close_segment(w, w->pre.fd, w->pre.file);
	w->pre.active = false;
	free(w->pre.zeros);
	free(w->recycled);
}

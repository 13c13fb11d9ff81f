/*
 * cover.c — the rule of cover records (cover.h). Pure, so that a property test can try it with
 * random reads, clocks and logs.
 */
#include <assert.h>

#include "fusefs/cover.h"

/* Further apart than this, a read is a seek. Players leave small holes when they skip a track. */
#define SEQUENTIAL_GAP (256 * KIB)

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static bool contains(const struct cover_region *r, uint64_t from, uint64_t to)
{
	return r->seq && r->from <= from && to <= r->to;
}

static bool younger(const struct cover_region *r, int64_t now_ns, int64_t age_ns)
{
	/* A clock that runs backwards cannot make a cover young: BOOTTIME never does. */
	return now_ns >= r->asked_ns && now_ns - r->asked_ns <= age_ns;
}

bool cover_allows(const struct cover_set *s, uint64_t from, uint64_t to, int64_t now_ns,
                  uint64_t durable_seq)
{
	for (size_t i = 0; i < COVER_REGIONS; i++) {
		const struct cover_region *r = &s->region[i];

		if (contains(r, from, to) && r->seq <= durable_seq &&
		    younger(r, now_ns, COVER_AGE_NS))
			return true;
	}
	return false;
}

/* The region to build on: durable before pending, then the one that reaches farthest. */
static const struct cover_region *best(const struct cover_set *s, uint64_t from, uint64_t to,
                                       int64_t now_ns, uint64_t durable_seq)
{
	const struct cover_region *found = NULL;

	for (size_t i = 0; i < COVER_REGIONS; i++) {
		const struct cover_region *r = &s->region[i];
		bool durable = r->seq <= durable_seq;

		if (!contains(r, from, to) || !younger(r, now_ns, COVER_RENEW_NS))
			continue;
		if (!found || (durable && found->seq > durable_seq) ||
		    (durable == (found->seq <= durable_seq) && r->to > found->to))
			found = r;
	}
	return found;
}

/* Past the middle of [r_from, r_to): the next one, beginning where a read of this size would first
 * stick out, unless it has been asked for. */
static void plan_ahead(struct cover_set *s, uint64_t from, uint64_t to, uint64_t r_from,
                       uint64_t r_to, uint64_t size, int64_t now_ns, struct cover_plan *out)
{
	uint64_t len = to - from;
	uint64_t next = from + (r_to - from) / len * len;

	if (r_to >= size || from - r_from < (r_to - r_from) / 2)
		return;
	for (size_t i = 0; i < COVER_REGIONS; i++) {
		const struct cover_region *r = &s->region[i];

		if (contains(r, next, r_to + 1) && younger(r, now_ns, COVER_RENEW_NS))
			return;
	}
	s->step = min_u64(s->step ? s->step * 2 : COVER_STEP_MIN, COVER_STEP_MAX);
	out->ahead = true;
	out->ahead_from = next;
	out->ahead_to = min_u64(r_to + s->step, size);
}

static void plan_ask(struct cover_set *s, bool sequential, uint64_t from, uint64_t to,
                     uint64_t size, struct cover_plan *out)
{
	out->act = COVER_ASK;
	if (sequential) {
		s->step = min_u64(s->step ? s->step * 2 : COVER_STEP_MIN, COVER_STEP_MAX);
		out->from = from;
		out->to = from + s->step;
		if (out->to < to)
			out->to = to;
	} else {
		s->step = 0;
		out->from = from & ~(COVER_STEP_MIN - 1);
		out->to = align_up(to, COVER_STEP_MIN);
	}
	out->to = min_u64(out->to, size);
}

void cover_plan(struct cover_set *s, uint64_t from, uint64_t to, uint64_t size, int64_t now_ns,
                uint64_t durable_seq, struct cover_plan *out)
{
	const struct cover_region *r = best(s, from, to, now_ns, durable_seq);
	bool sequential = from >= s->last_from && from <= s->last_to + SEQUENTIAL_GAP;

	assert(from < to && to <= size);
	memset(out, 0, sizeof(*out));
	if (r) {
		out->act = r->seq <= durable_seq ? COVER_GO : COVER_WAIT;
		out->wait_seq = r->seq;
		if (sequential)
			plan_ahead(s, from, to, r->from, r->to, size, now_ns, out);
	} else {
		plan_ask(s, sequential, from, to, size, out);
	}
	s->last_from = from;
	s->last_to = to;
}

void cover_add(struct cover_set *s, uint64_t from, uint64_t to, uint64_t seq, int64_t asked_ns)
{
	struct cover_region *slot = &s->region[0];

	assert(seq && from < to);
	for (size_t i = 0; i < COVER_REGIONS; i++) {
		struct cover_region *r = &s->region[i];

		if (!r->seq) {
			slot = r;
			break;
		}
		if (r->asked_ns < slot->asked_ns)
			slot = r;
	}
	*slot = (struct cover_region){.from = from, .to = to, .seq = seq, .asked_ns = asked_ns};
}

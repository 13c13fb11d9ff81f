/*
 * retention.c — what may go, and in which order.
 *
 * The age of a sealed segment, or of a retired one with footage in it, is that of its newest frame,
 * measured on the retention clock: it advances with boot time and takes the wall clock's word only
 * while that is synchronised, so a clock set forward by mistake ages nothing. Imported footage
 * counts like other footage of its camera: by its own frame times and under the camera's ages.
 *
 *   camera not in the table, or no table     stays
 *   a keep window touches it                 stays
 *   older than max_age (> 0)                 goes now
 *   older than min_age                       goes when space runs low
 *   else                                     stays
 *
 * Space runs low when fewer segments than ready_ahead (but at most a quarter of the pool) are free
 * or on their way to be: waiting until none is left would make cameras wait for the 2 s that
 * readers get and for the zeros. Oldest first. The caller logs the removal first; only then is the
 * generation raised, and only when that is durable and 2 s old are the bytes overwritten.
 */
#include "engine/writer.h"

#include <errno.h>
#include <stdlib.h>

/* Once a second. Without synchronisation the clock starts from what is known to have been: the
 * last epoch, the newest live footage; never ahead of the wall clock. */
void retention_tick_clock(struct eng_writer *w)
{
	int64_t wall = writer_wall(w), boot = writer_boot(w);

	if (!w->age_boot_ns) {
		for (uint64_t n = 0; n < w->sb.segment_count; n++) {
			const struct fmt_catalog_entry *e = &w->entries[n];
			if (e->chunks && !(e->flags & FMT_SEG_IMPORTED) &&
			    e->end_ns > w->age_wall_ns)
				w->age_wall_ns = e->end_ns;
		}
		if (w->age_wall_ns > wall)
			w->age_wall_ns = wall;
	} else {
		w->age_wall_ns += boot - w->age_boot_ns;
	}
	if (w->clock.synced)
		w->age_wall_ns = wall;
	w->age_boot_ns = boot ? boot : 1;
}

static int by_stream(const void *a, const void *b)
{
	return memcmp(a, b, ENG_UUID_BYTES);
}

static void copy_rules(struct retention *to, const struct eng_retention *r,
                       const uint8_t store[ENG_UUID_BYTES])
{
	to->least_age_ns = INT64_MAX;
	for (size_t i = 0; i < r->n_cameras; i++) {
		const struct eng_camera_ages *c = &r->cameras[i];
		int64_t least = c->max_age_ns && c->max_age_ns < c->min_age_ns ? c->max_age_ns
		                                                               : c->min_age_ns;
		for (unsigned k = 0; k < 2; k++) {
			to->rules[2 * i + k].ages = *c;
			fmt_stream_uuid(store, c->camera, k, to->rules[2 * i + k].stream);
		}
		if (least < to->least_age_ns)
			to->least_age_ns = least;
	}
	qsort(to->rules, 2 * r->n_cameras, sizeof(*to->rules), by_stream);
}

static int copy_table(struct retention *to, const struct eng_retention *r,
                      const uint8_t store[ENG_UUID_BYTES])
{
	to->rules = calloc(2 * r->n_cameras + 1, sizeof(*to->rules));
	to->keeps = calloc(r->n_keeps + 1, sizeof(*to->keeps));
	to->keep_ids = calloc(r->n_keeps + 1, sizeof(*to->keep_ids));
	if (!to->rules || !to->keeps || !to->keep_ids)
		return -ENOMEM;
	to->n_cameras = r->n_cameras;
	to->n_keeps = r->n_keeps;
	copy_rules(to, r, store);
	for (size_t i = 0; i < r->n_keeps; i++) {
		to->keeps[i] = r->keeps[i];
		fmt_stream_uuid(store, r->keeps[i].camera, false, to->keep_ids[i].live);
		fmt_stream_uuid(store, r->keeps[i].camera, true, to->keep_ids[i].imported);
	}
	return 0;
}

static void free_table(struct retention *r)
{
	free(r->rules);
	free(r->keeps);
	free(r->keep_ids);
	*r = (struct retention){0};
}

void retention_free(struct eng_writer *w)
{
	free_table(&w->ret);
}

static bool names_ok(const struct eng_retention *r)
{
	for (size_t i = 0; i < r->n_cameras; i++) {
		const struct eng_camera_ages *c = &r->cameras[i];
		if (!memchr(c->camera, 0, ENG_CAMERA_MAX) || c->min_age_ns < 0 || c->max_age_ns < 0)
			return false;
	}
	for (size_t i = 0; i < r->n_keeps; i++) {
		if (!memchr(r->keeps[i].camera, 0, ENG_CAMERA_MAX))
			return false;
	}
	return true;
}

int eng_retention_set(struct eng_writer *w, const struct eng_retention *r)
{
	struct retention fresh = {.set = true, .number = r->number};
	int err;

	if (w->ret.set && r->number < w->ret.number)
		return -ESTALE;
	if (!names_ok(r))
		return -EINVAL;
	err = copy_table(&fresh, r, w->sb.store);
	if (err) {
		free_table(&fresh);
		return err;
	}
	free_table(&w->ret);
	w->ret = fresh;
	w->full_alarmed = false;
	w->tick_boot_ns = 0; /* looked at in the next poll */
	return 0;
}

static bool id_is(const struct keep_uuid *id, const uint8_t stream[ENG_UUID_BYTES])
{
	return !memcmp(id->live, stream, ENG_UUID_BYTES) ||
	       !memcmp(id->imported, stream, ENG_UUID_BYTES);
}

static bool kept(const struct retention *r, const struct fmt_catalog_entry *e)
{
	for (size_t i = 0; i < r->n_keeps; i++) {
		if (id_is(&r->keep_ids[i], e->stream) && e->first_ns < r->keeps[i].to_ns &&
		    e->end_ns > r->keeps[i].from_ns)
			return true;
	}
	return false;
}

/* The rule that lets the segment go, or NULL. A retired segment goes like a sealed one: what is in
 * it must not outlive max_age because a disk once failed. Zeroing decides whether it is used again;
 * if that fails it stays RETIRED, empty. */
static const char *rule_for(const struct eng_writer *w, const struct fmt_catalog_entry *e,
                            bool for_space, const struct eng_camera_ages **camera)
{
	const struct retention *r = &w->ret;
	const struct camera_rule *rule;
	bool empty = e->end_ns == ENG_NO_TIME; /* only ends of runs in it */
	int64_t age = empty ? 0 : w->age_wall_ns - e->end_ns;

	if (e->state != FMT_STATE_SEALED && (e->state != FMT_STATE_RETIRED || empty))
		return NULL;
	/* Most segments of a large store end here, without a search. */
	if (!empty && age <= r->least_age_ns)
		return NULL;
	rule = bsearch(e->stream, r->rules, 2 * r->n_cameras, sizeof(*r->rules), by_stream);
	if (!rule)
		return NULL;
	*camera = &rule->ages;
	/* No footage, nothing to keep; it goes when space is needed. */
	if (empty)
		return for_space ? "empty" : NULL;
	if (kept(r, e))
		return NULL;
	if (rule->ages.max_age_ns && age > rule->ages.max_age_ns)
		return "max_age";
	return for_space && age > rule->ages.min_age_ns ? "space" : NULL;
}

static bool remove_segment(struct eng_writer *w, uint64_t n, const struct eng_camera_ages *camera,
                           const char *rule)
{
	const struct fmt_catalog_entry *e = &w->entries[n];
	struct fmt_catalog_entry gone = {.generation = e->generation + 1,
	                                 .state = FMT_STATE_RECYCLED,
	                                 .first_ns = ENG_NO_TIME,
	                                 .end_ns = ENG_NO_TIME,
	                                 .changed_ns = writer_wall(w)};
	int err = 0;

	if (w->opt.removed)
		err = w->opt.removed(w->opt.arg, camera->camera, e->stream, n, e->generation,
		                     e->first_ns, e->end_ns, rule);
	if (!err)
		err = prewrite_add_recycled(w, n);
	if (err) {
		if (!w->keep_alarmed)
			writer_alarm(w, "segment %llu: its removal cannot be logged (%s): it stays",
			             (unsigned long long)n, strerror(-err));
		w->keep_alarmed = true;
		return false;
	}
	w->keep_alarmed = false;
	w->stats.removed++;
	writer_put(w, n, &gone);
	return true;
}

/* Oldest segment that a rule lets go, or UINT64_MAX. */
static uint64_t oldest(const struct eng_writer *w, bool for_space,
                       const struct eng_camera_ages **camera, const char **rule)
{
	uint64_t best = UINT64_MAX;

	for (uint64_t n = 0; n < w->sb.segment_count && w->ret.set; n++) {
		const struct eng_camera_ages *c = NULL;
		const char *why;
		if (best != UINT64_MAX && w->entries[n].end_ns >= w->entries[best].end_ns)
			continue;
		why = rule_for(w, &w->entries[n], for_space, &c);
		if (!why)
			continue;
		best = n;
		*camera = c;
		*rule = why;
	}
	return best;
}

bool retention_could(struct eng_writer *w)
{
	const struct eng_camera_ages *camera;
	const char *rule;

	return !w->keep_alarmed && oldest(w, true, &camera, &rule) != UINT64_MAX;
}

static uint64_t free_segments(const struct eng_writer *w)
{
	return w->in_state[FMT_STATE_RAW] + w->in_state[FMT_STATE_READY] +
	       w->in_state[FMT_STATE_RECYCLED];
}

void retention_poll(struct eng_writer *w)
{
	const struct eng_camera_ages *camera;
	const char *rule;

	if (!w->ret.set || w->dead)
		return;
	for (;;) {
		bool low = free_segments(w) < prewrite_target(w);
		uint64_t n = oldest(w, low, &camera, &rule);
		if (n == UINT64_MAX || !remove_segment(w, n, camera, rule))
			return;
	}
}

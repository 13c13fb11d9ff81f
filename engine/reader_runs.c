/*
 * reader_runs.c — the questions: which cameras, which runs, which chunks.
 *
 * Each works on a copy of a stream's segment list, so that no lock is held while indexes are read.
 * A segment that cannot be read is left out (and was warned of); its neighbours are still answered.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/reader.h"

/* Errors of one segment that leave the others alone: damaged, or gone meanwhile. */
static bool tolerable(int rc)
{
	return rc == -EUCLEAN || rc == -ESTALE;
}

/* ---- a copy of a stream's list ---- */

struct part { /* one segment of the stream */
	uint32_t segment;
	bool retired, asked;
	uint64_t first_sequence, last_sequence;
	int64_t first_ns, end_ns;
	struct summary *summary; /* NULL: not asked for, or unreadable */
};

static int list_parts(struct eng_reader *r, const uint8_t uuid[ENG_UUID_BYTES], struct part **out,
                      size_t *n)
{
	struct stream *s;
	int rc = 0;

	*out = NULL;
	*n = 0;
	pthread_mutex_lock(&r->lock);
	reader_refresh(r);
	s = reader_stream(r, uuid);
	if (s && s->n > 0) {
		*out = calloc(s->n, sizeof **out);
		rc = *out ? 0 : -ENOMEM;
	}
	for (size_t i = 0; *out && i < s->n; i++) {
		const struct fmt_catalog_entry *e = &r->segs[s->segs[i]].e;

		(*out)[(*n)++] = (struct part){
		        .segment = s->segs[i],
		        .retired = e->state == FMT_STATE_RETIRED,
		        .first_sequence = e->first_sequence,
		        .last_sequence = e->last_sequence,
		        .first_ns = e->first_ns,
		        .end_ns = e->end_ns,
		};
	}
	pthread_mutex_unlock(&r->lock);
	return rc;
}

static void free_parts(struct eng_reader *r, struct part *parts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		summary_unref(r, parts[i].summary);
	free(parts);
}

/* ---- cameras ---- */

/* The stream's name from the first header of it that can be read and truly gives this stream. */
static void learn_name(struct eng_reader *r, const uint8_t uuid[ENG_UUID_BYTES],
                       char camera[ENG_CAMERA_MAX])
{
	struct part *parts;
	size_t n;

	if (list_parts(r, uuid, &parts, &n) < 0)
		return;
	for (size_t i = 0; i < n && camera[0] == '\0'; i++) {
		struct index *index;
		uint8_t named[ENG_UUID_BYTES];
		const struct fmt_segment *s;

		if (index_get(r, parts[i].segment, &index) < 0)
			continue;
		s = &index->walk.header;
		fmt_stream_uuid(r->sb.store, s->camera, s->flags & FMT_SEG_IMPORTED, named);
		if (memcmp(named, uuid, ENG_UUID_BYTES) == 0)
			memcpy(camera, s->camera, ENG_CAMERA_MAX);
		else
			reader_warn(r, s->number, s->generation,
			            "segment header: the camera's name is not the stream's");
		index_unref(r, index);
	}
	free_parts(r, parts, n);
}

/* Streams that have footage now, as they are known; the n-th one's name may be missing. */
struct known {
	uint8_t uuid[ENG_UUID_BYTES];
	char camera[ENG_CAMERA_MAX];
};

static int list_streams(struct eng_reader *r, struct known **out, size_t *n)
{
	int rc = 0;

	*n = 0;
	pthread_mutex_lock(&r->lock);
	reader_refresh(r);
	*out = calloc(r->n_streams + 1, sizeof **out);
	if (!*out)
		rc = -ENOMEM;
	for (size_t i = 0; rc == 0 && i < r->n_streams; i++) {
		if (r->streams[i]->n == 0)
			continue;
		memcpy((*out)[*n].uuid, r->streams[i]->uuid, ENG_UUID_BYTES);
		memcpy((*out)[*n].camera, r->streams[i]->camera, ENG_CAMERA_MAX);
		(*n)++;
	}
	pthread_mutex_unlock(&r->lock);
	return rc;
}

static void keep_name(struct eng_reader *r, const struct known *k)
{
	struct stream *s;

	pthread_mutex_lock(&r->lock);
	s = reader_stream(r, k->uuid); /* streams are never taken away */
	memcpy(s->camera, k->camera, ENG_CAMERA_MAX);
	pthread_mutex_unlock(&r->lock);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

int eng_cameras(struct eng_reader *r, char (**out)[ENG_CAMERA_MAX], size_t *n)
{
	struct known *known;
	size_t n_known;
	int rc = list_streams(r, &known, &n_known);

	*n = 0;
	*out = NULL;
	if (rc < 0)
		return rc;
	*out = calloc(n_known + 1, ENG_CAMERA_MAX);
	for (size_t i = 0; *out && i < n_known; i++) {
		if (known[i].camera[0] == '\0') {
			learn_name(r, known[i].uuid, known[i].camera);
			keep_name(r, &known[i]);
		}
		if (known[i].camera[0] != '\0')
			memcpy((*out)[(*n)++], known[i].camera, ENG_CAMERA_MAX);
	}
	free(known);
	if (!*out)
		return -ENOMEM;
	qsort(*out, *n, ENG_CAMERA_MAX, by_name);
	/* A camera's live and imported streams are one name. */
	size_t kept = 0;
	for (size_t i = 0; i < *n; i++)
		if (kept == 0 || strcmp((*out)[kept - 1], (*out)[i]) != 0)
			memmove((*out)[kept++], (*out)[i], ENG_CAMERA_MAX);
	*n = kept;
	return 0;
}

/* ---- runs ---- */

static int ask(struct eng_reader *r, struct part *p)
{
	int rc;

	if (p->asked)
		return 0;
	p->asked = true;
	rc = summary_get(r, p->segment, &p->summary);
	return tolerable(rc) ? 0 : rc;
}

/*
 * Summaries of the segments that touch the window, and of those before and after that hold more of
 * the same runs. A run is numbered by its first sequence number, so a segment that ends before that
 * number cannot hold any of it; and a run that was ended has nothing behind its end.
 */
static int ask_parts(struct eng_reader *r, struct part *parts, size_t n, int64_t from_ns,
                     int64_t to_ns)
{
	uint64_t earliest = UINT64_MAX;
	bool goes_on = false;
	int rc;

	for (size_t i = 0; i < n; i++)
		if (touches(parts[i].first_ns, parts[i].end_ns, from_ns, to_ns)) {
			rc = ask(r, &parts[i]);
			if (rc < 0)
				return rc;
		}
	for (size_t i = n; i-- > 0;) {
		if (parts[i].last_sequence >= earliest) {
			rc = ask(r, &parts[i]);
			if (rc < 0)
				return rc;
		}
		if (parts[i].summary && parts[i].summary->n > 0)
			earliest = parts[i].summary->pieces[0].run;
	}
	for (size_t i = 0; i < n; i++) {
		if (goes_on) {
			rc = ask(r, &parts[i]);
			if (rc < 0)
				return rc;
		}
		if (parts[i].summary && parts[i].summary->n > 0)
			goes_on = !parts[i].summary->pieces[parts[i].summary->n - 1].has_end;
		else if (!parts[i].asked)
			goes_on = false;
	}
	return 0;
}

struct run_list {
	struct eng_run *runs;
	size_t n, max;
};

static struct eng_run *run_for(struct run_list *l, const uint8_t stream[ENG_UUID_BYTES],
                               uint64_t run)
{
	/* Pieces come in sequence order: the run is the last one, but for doubled segments. */
	for (size_t i = l->n; i-- > 0;)
		if (l->runs[i].run == run && memcmp(l->runs[i].stream, stream, ENG_UUID_BYTES) == 0)
			return &l->runs[i];
	if (l->n == l->max) {
		size_t max = l->max ? 2 * l->max : 8;
		struct eng_run *more = realloc(l->runs, max * sizeof *more);

		if (!more)
			return NULL;
		l->runs = more;
		l->max = max;
	}
	struct eng_run *new = &l->runs[l->n++];
	memset(new, 0, sizeof *new);
	memcpy(new->stream, stream, ENG_UUID_BYTES);
	new->run = run;
	new->first_ns = new->end_ns = ENG_NO_TIME;
	new->clock_synced = new->truncated = true;
	return new;
}

static void run_merge(struct eng_run *run, const struct piece *p)
{
	if (p->first_ns != ENG_NO_TIME &&
	    (run->first_ns == ENG_NO_TIME || p->first_ns < run->first_ns))
		run->first_ns = p->first_ns;
	if (p->end_ns > run->end_ns)
		run->end_ns = p->end_ns;
	if (p->has_start) {
		run->truncated = false;
		run->start_reason = p->start_reason;
	}
	if (p->has_end)
		run->end_reason = p->end_reason;
	run->clock_synced &= p->clock_synced;
}

/* Name and setup, from any segment with a piece of the run: they are the same in all. */
static int describe(struct eng_reader *r, const struct part *part, const char *camera,
                    bool imported, struct eng_run *run)
{
	struct index *index;
	int rc = index_get(r, part->segment, &index);

	if (rc < 0)
		return rc;
	run->setup = index->walk.header.setup;
	index_unref(r, index);
	run->imported = imported;
	snprintf(run->camera, sizeof run->camera, "%s", camera);
	return 0;
}

static bool has_piece(const struct part *p, uint64_t run)
{
	for (uint32_t k = 0; p->summary && k < p->summary->n; k++)
		if (p->summary->pieces[k].run == run)
			return true;
	return false;
}

/* Keeps of the runs [begin, l->n) those that touch the window, and describes them. */
static int finish_runs(struct eng_reader *r, const struct part *parts, size_t n,
                       const struct eng_run *window, struct run_list *l, size_t begin)
{
	size_t kept = begin;

	for (size_t i = begin; i < l->n; i++) {
		struct eng_run *run = &l->runs[i];
		int rc = -ESTALE;

		if (run->first_ns == ENG_NO_TIME ||
		    !touches(run->first_ns, run->end_ns, window->first_ns, window->end_ns))
			continue;
		for (size_t k = 0; k < n && tolerable(rc); k++)
			if (has_piece(&parts[k], run->run))
				rc = describe(r, &parts[k], window->camera, window->imported, run);
		if (rc == 0)
			l->runs[kept++] = *run;
		else if (!tolerable(rc))
			return rc;
	}
	l->n = kept;
	return 0;
}

/* window: camera, imported, and [first_ns, end_ns) as the window. */
static int stream_runs(struct eng_reader *r, const struct eng_run *window, struct run_list *l)
{
	uint8_t uuid[ENG_UUID_BYTES];
	struct part *parts;
	size_t n, begin = l->n;
	int rc;

	fmt_stream_uuid(r->sb.store, window->camera, window->imported, uuid);
	rc = list_parts(r, uuid, &parts, &n);
	if (rc == 0)
		rc = ask_parts(r, parts, n, window->first_ns, window->end_ns);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		const struct summary *s = parts[i].summary;

		for (uint32_t k = 0; s && k < s->n; k++) {
			struct eng_run *run = run_for(l, uuid, s->pieces[k].run);

			if (run)
				run_merge(run, &s->pieces[k]);
			else
				rc = -ENOMEM;
		}
	}
	if (rc == 0)
		rc = finish_runs(r, parts, n, window, l, begin);
	free_parts(r, parts, n);
	return rc;
}

static int by_time(const void *a, const void *b)
{
	const struct eng_run *x = a, *y = b;

	if (x->first_ns != y->first_ns)
		return x->first_ns < y->first_ns ? -1 : 1;
	if (x->imported != y->imported)
		return x->imported ? 1 : -1;
	return x->run < y->run ? -1 : x->run > y->run;
}

int eng_runs(struct eng_reader *r, const char *camera, int64_t from_ns, int64_t to_ns,
             struct eng_run **out, size_t *n)
{
	struct eng_run window = {.first_ns = from_ns, .end_ns = to_ns};
	struct run_list l = {0};
	int rc = 0;

	*out = NULL;
	*n = 0;
	if (strlen(camera) >= ENG_CAMERA_MAX)
		return 0; /* no camera can have such a name */
	memcpy(window.camera, camera, strlen(camera));
	rc = stream_runs(r, &window, &l);
	if (rc == 0) {
		window.imported = true;
		rc = stream_runs(r, &window, &l);
	}
	if (rc < 0) {
		free(l.runs);
		return rc;
	}
	if (l.n > 1)
		qsort(l.runs, l.n, sizeof *l.runs, by_time);
	*out = l.runs;
	*n = l.n;
	return 0;
}

/* ---- chunks ---- */

struct found {
	struct eng_chunk c;
	bool retired;
};
struct found_list {
	struct found *f;
	size_t n, max;
};

static int found_add(struct found_list *l, const struct eng_chunk *c, bool retired)
{
	if (l->n == l->max) {
		size_t max = l->max ? 2 * l->max : 64;
		struct found *more = realloc(l->f, max * sizeof *more);

		if (!more)
			return -ENOMEM;
		l->f = more;
		l->max = max;
	}
	l->f[l->n++] = (struct found){*c, retired};
	return 0;
}

/* Doubles stand beside each other, the copy from a healthy device first. */
static int by_sequence(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	if (x->c.sequence != y->c.sequence)
		return x->c.sequence < y->c.sequence ? -1 : 1;
	if (x->retired != y->retired)
		return x->retired ? 1 : -1;
	return x->c.segment < y->c.segment ? -1 : x->c.segment > y->c.segment;
}

static int collect(struct eng_reader *r, const struct part *p, uint64_t run, int64_t from_ns,
                   int64_t to_ns, struct found_list *l)
{
	struct index *index;
	int rc = index_get(r, p->segment, &index);

	if (rc < 0)
		return tolerable(rc) ? 0 : rc;
	for (uint32_t k = 0; rc == 0 && k < index->n; k++) {
		const struct eng_chunk *c = &index->chunks[k];

		if (c->run == run && c->frame_count > 0 &&
		    touches(c->first_ns, c->end_ns, from_ns, to_ns))
			rc = found_add(l, c, p->retired);
	}
	index_unref(r, index);
	return rc;
}

/* Sorted, doubles dropped, as one plain block. */
static int deliver(struct found_list *l, struct eng_chunk **out, size_t *n)
{
	if (l->n == 0)
		return 0;
	*out = malloc(l->n * sizeof **out);
	if (!*out)
		return -ENOMEM;
	qsort(l->f, l->n, sizeof *l->f, by_sequence);
	for (size_t i = 0; i < l->n; i++)
		if (*n == 0 || (*out)[*n - 1].sequence != l->f[i].c.sequence)
			(*out)[(*n)++] = l->f[i].c;
	return 0;
}

int eng_index(struct eng_reader *r, const uint8_t stream[ENG_UUID_BYTES], uint64_t run,
              int64_t from_ns, int64_t to_ns, struct eng_chunk **out, size_t *n)
{
	struct found_list l = {0};
	struct part *parts;
	size_t n_parts;
	int rc = list_parts(r, stream, &parts, &n_parts);

	*out = NULL;
	*n = 0;
	for (size_t i = 0; rc == 0 && i < n_parts; i++)
		if (parts[i].last_sequence >= run &&
		    touches(parts[i].first_ns, parts[i].end_ns, from_ns, to_ns))
			rc = collect(r, &parts[i], run, from_ns, to_ns, &l);
	if (rc == 0)
		rc = deliver(&l, out, n);
	free(l.f);
	free_parts(r, parts, n_parts);
	return rc;
}

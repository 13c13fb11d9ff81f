/*
 * select.h — which frames of a run belong to [a, b), and where slices begin and end.
 *
 * The rules are view.h's; here they are in terms of the engine's index. Everything is decided from
 * index entries; frame tables are read only for chunks that an edge cuts. Private to view*.c.
 * A struct sel is used by one thread at a time. May block on the disk.
 */
#ifndef CUSTOS_SELECT_H
#define CUSTOS_SELECT_H

#include "fusefs/mp4.h"

/* Audio may reach the store later than the video beside it, by at most this much: later audio is
 * not waited for, and belongs to no file. So a file once listed can never gain a frame. */
#define SEL_LAG_NS (10 * NSEC_PER_SEC)

struct sel; /* one run, with the part of its index that was needed so far */

/* run is copied. ended: nothing will be added to it any more. Setups that no file can be made of
 * give -ENOTSUP. */
int sel_open(struct eng_reader *r, const struct eng_run *run, bool ended,
             struct sel **out) MUST_CHECK;
void sel_close(struct sel *s);
const struct eng_run *sel_run(const struct sel *s);

/* What one chunk gives to [a, b). frames NULL: all of it (only index entries were looked at), else
 * its frame table with taken[i] for each of its frames. Non-zero return ends the walk with it. */
typedef int sel_visit(void *arg, const struct eng_chunk *c, const struct eng_frame_info *frames,
                      const bool *taken);
/* Visits the chunks of [a, b) in order. tables: read every frame table instead of trusting index
 * entries. 0, -ESTALE, -EUCLEAN, -EIO, -ENOMEM. */
int sel_walk(struct sel *s, int64_t a_ns, int64_t b_ns, bool tables, sel_visit *visit,
             void *arg) MUST_CHECK;

/* The first key frame in [from, to), in decode order. 1 found, 0 none, -errno. */
int sel_first_key(struct sel *s, int64_t from_ns, int64_t to_ns, int64_t *key_ns) MUST_CHECK;
/* Where the file that begins at key frame a ends, when its slice ends at slice_end and its window
 * at to. *at_key: b is the time of a key frame inside the window. *growing: the slice is still
 * being recorded and the file ends at its last durable key frame. 1 found, 0: nothing that is final
 * yet, -errno. */
int sel_end(struct sel *s, int64_t a_ns, int64_t slice_end_ns, int64_t to_ns, int64_t *b_ns,
            bool *at_key, bool *growing) MUST_CHECK;
/* True when no frame can be added to [.., b) any more. Looks at what is loaded. */
bool sel_final(const struct sel *s, int64_t b_ns);
/* A run ends with its reason, or without one when its writer died: then a later run tells. */
int sel_run_ended(struct eng_reader *r, const struct eng_run *run, bool *ended) MUST_CHECK;
/* Forgets what was loaded: after -ESTALE, to look at the index anew. */
void sel_forget(struct sel *s);
/* Key frames that are loaded, by chunk: the number of chunks, and chunk i's key times (at most max,
 * in decode order; *n can be 0). */
int sel_load(struct sel *s, int64_t from_ns, int64_t to_ns) MUST_CHECK;
size_t sel_chunks(const struct sel *s);
int sel_chunk_keys(struct sel *s, size_t i, int64_t **keys, size_t *n) MUST_CHECK;

/* t + d, held at the ends of int64_t. */
static inline int64_t time_add(int64_t t, int64_t d)
{
	int64_t sum;

	if (__builtin_add_overflow(t, d, &sum))
		return d > 0 ? INT64_MAX : INT64_MIN;
	return sum;
}

#endif

/*
 * grant.h — a grant as policyd's lease tells it: this uid, these cameras, this window, until then.
 *
 * A grant object never changes but for `revoked` and `replying` (gate.h). A grant that changed in
 * any way is a new object: whatever hangs on the old one (nodes, handles) ends with it. Counted
 * references; any thread.
 */
#ifndef CUSTOS_GRANT_H
#define CUSTOS_GRANT_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include "engine/base/base.h"

struct grant {
	uint64_t id, request, epoch;
	uid_t uid;
	int64_t from_ns, to_ns, until_ns;
	char *user, *reason, *case_id, *chain; /* never NULL; "" when not given */
	char **cameras, **approvers;
	size_t n_cameras, n_approvers;
	json_t *source; /* as received; lease thread only */

	atomic_bool revoked; /* set once, never cleared */
	atomic_int replying; /* replies between their last check and the end of their write */
	atomic_uint refs;

	pthread_mutex_t
	        text_lock; /* grant_text.c: GRANT.txt as last made, good until then (boot) */
	char *text;
	int64_t text_until_ns;
};

/* Makes a grant of policyd's GRANT object (proto.h), one reference. -EINVAL: fields missing or
 * wrong (nothing made); -ENOMEM. */
int grant_parse(json_t *object, struct grant **out) MUST_CHECK;
struct grant *grant_get(struct grant *g);
void grant_put(struct grant *g);

#endif

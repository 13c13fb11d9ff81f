/*
 * support_grant.h — grants as policyd would send them, for the gate's tests.
 */
#ifndef CUSTOS_SUPPORT_GRANT_H
#define CUSTOS_SUPPORT_GRANT_H

#include <jansson.h>

#include "engine/base/base.h"

/* A live GRANT object: cameras "dock-3" and "东门", the last hour, ending in an hour. */
static inline json_t *grant_json(int64_t id, int64_t uid, const char *user)
{
	int64_t now = clock_wall_ns();

	return json_pack("{sI sI ss sI ss s[ss] sI sI sI ss ss ss s[ss] sI}", "grant",
	                 (json_int_t)id, "request", (json_int_t)(id + 100), "state", "active",
	                 "uid", (json_int_t)uid, "user", user, "cameras", "dock-3", "东门", "from",
	                 (json_int_t)(now - 3600 * NSEC_PER_SEC), "to", (json_int_t)now, "until",
	                 (json_int_t)(now + 3600 * NSEC_PER_SEC), "reason", "调查", "case", "c-1",
	                 "chain", "internal", "approvers", "bob", "carol", "epoch", (json_int_t)1);
}

#endif

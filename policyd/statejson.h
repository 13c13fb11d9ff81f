/*
 * statejson.h — JSON text of parts of the state, for rows and replies.
 */
#ifndef CUSTOS_STATEJSON_H
#define CUSTOS_STATEJSON_H

#include "policyd/state.h"
#include "policyd/strv.h"

/* Compact text of `o`, whose reference is taken; malloc'ed, NULL without memory or with o NULL. */
char *statejson_text(json_t *o);
/* REQUEST and GRANT of proto.h. path: of the grant in the mount, or NULL. NULL: no memory. */
json_t *request_reply(const struct pol_state_all *s, const struct pol_request *r,
                      const char *mount);
json_t *grant_reply(const struct pol_state_all *s, const struct pol_grant *g, const char *mount);
/* MOUNT/USER/GRANT; NULL without a mount or memory. */
char *grant_path(const struct pol_grant *g, const char *mount);

#endif

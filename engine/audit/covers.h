/*
 * covers.h — inside the audit room: which covers of the gate were never settled.
 *
 * A cover says that bytes of a handle *may* be read; CLOSE says that the exact reads before it are
 * all there were. When the gate dies in between, its covers remain as "may have read".
 */
#ifndef CUSTOS_AUDIT_COVERS_H
#define CUSTOS_AUDIT_COVERS_H

#include "engine/audit/audit.h"

struct aud_covers;
int aud_covers_new(struct aud_covers **out) MUST_CHECK;
void aud_covers_free(struct aud_covers *c);
/* Records in order. -ENOMEM. */
int aud_covers_see(struct aud_covers *c, const struct aud_record *r) MUST_CHECK;
/* Covers whose handle had no CLOSE before the log's next START. */
uint64_t aud_covers_unsettled(const struct aud_covers *c);

#endif

/*
 * status.h — gate.sock: how the gate is, for `custos status` (proto.h). A thread of its own. Tells
 * counts, never names.
 */
#ifndef CUSTOS_STATUS_H
#define CUSTOS_STATUS_H

#include "fusefs/lease.h"

struct status;
/* socket and mount are copied. -EADDRINUSE: another gate answers there. */
int status_start(struct fs *fs, struct lease *lease, const char *socket, const char *mount,
                 struct status **out) MUST_CHECK;
void status_stop(struct status *s);

#endif

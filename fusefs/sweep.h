/*
 * sweep.h — two small threads: one puts noted reads and counted denials into the log within 50 ms,
 * the other drops mapped pages whose covers have run out.
 */
#ifndef CUSTOS_SWEEP_H
#define CUSTOS_SWEEP_H

#include "fusefs/ops.h"

struct sweep;
int sweep_start(struct fs *fs, void (*invalidate)(void *arg, uint64_t node), void *arg,
                struct sweep **out) MUST_CHECK;
void sweep_stop(struct sweep *s);

#endif

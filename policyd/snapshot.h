/*
 * snapshot.h — the numbered, signed snapshot by which the recorder removes footage: ages of all
 * cameras and what has to be kept. A number is given once, in the log, before it is handed out.
 */
#ifndef CUSTOS_SNAPSHOT_H
#define CUSTOS_SNAPSHOT_H

#include "policyd/policyd.h"

int snap_new(struct pol_snap **out) MUST_CHECK;
void snap_free(struct pol_snap *s);
/* Makes a new snapshot when ages or keeps differ from the last one; answers who waits for it. */
int snap_refresh(struct policyd *p) MUST_CHECK;
/* Recorder's long poll; checkpoint is taken over. */
void snap_poll(struct policyd *p, struct line_conn *conn, uint64_t have, int64_t wait_ns,
               char *checkpoint);
int64_t snap_tick(struct policyd *p);
void snap_gone(struct pol_snap *s, struct line_conn *conn);

#endif

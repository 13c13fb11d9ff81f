/*
 * support_gate.h — shared helpers of the gate's unit tests. view_*: of the virtual files' tests.
 */
#ifndef CUSTOS_SUPPORT_GATE_H
#define CUSTOS_SUPPORT_GATE_H

#include "engine/base/base.h"

/* Runs a shell command; *out (malloc'ed) is what it printed, errors included. Exit status. */
int view_sh(char **out, const char *format, ...) PRINTF(2, 3);
/* A new folder below $TMPDIR or /tmp, and its removal with all that is in it. */
void view_dir_make(char out[64]);
void view_dir_remove(const char *dir);
/* $SEED, or a new one; printed with how to replay it. */
uint64_t view_seed(const char *test);
uint64_t view_random(uint64_t *state);

#endif

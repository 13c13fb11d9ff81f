/* support_rec.h — shared helpers of the recorder's unit tests. */
#ifndef SUPPORT_REC_H
#define SUPPORT_REC_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/base/base.h"

/* Seed of a random test: $SEED, else random; printed with how to replay. */
uint64_t rec_seed(void);
/* xorshift; never 0 for a seed that is not. */
uint64_t rec_random(uint64_t *state);
/* A new folder below /tmp; removed by rec_remove(). */
void rec_folder(char out[64]);
void rec_remove(const char *folder);
/* Runs a shell command made from a format; fails the test when it fails. */
void rec_shell(const char *format, ...) PRINTF(1, 2);

#endif

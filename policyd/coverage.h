/*
 * coverage.h — what is recorded of a window: asked of the recorder when a request comes in.
 */
#ifndef CUSTOS_COVERAGE_H
#define CUSTOS_COVERAGE_H

#include "policyd/policyd.h"

/* {camera: {seconds, first, last} | null…}, or NULL when the recorder cannot be asked now. Blocks
 * at most 0.5 s; after a time-out the recorder is left alone for 10 s. */
json_t *coverage_ask(struct policyd *p, char *const *cameras, int64_t from_ns, int64_t to_ns);
/* True when the answer is known for every camera and none has any footage. */
bool coverage_empty(const json_t *coverage);

#endif

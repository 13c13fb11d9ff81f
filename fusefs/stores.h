/*
 * stores.h — which reader holds a camera's footage. Cameras of the configuration lie in the store
 * it names; cameras no longer configured are looked for in all stores. A store that is not there
 * yet is tried again every few seconds. Any thread; opening blocks.
 */
#ifndef CUSTOS_STORES_H
#define CUSTOS_STORES_H

#include "engine/engine.h"
#include "policyd/conf.h"

struct stores;
/* conf is borrowed for the life of the result. Stores that cannot be opened are reported and tried
 * again later. */
int stores_new(const struct conf *conf, struct stores **out) MUST_CHECK;
void stores_free(struct stores *s);
/* -ENOENT: no (open) store has footage of it. The reader lives as long as `s`. */
int stores_reader(struct stores *s, const char *camera, struct eng_reader **out) MUST_CHECK;

#endif

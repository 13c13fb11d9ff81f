/*
 * digest.h — SHA-256 of bytes and of canonical JSON, as lower-case hex. Pure; abort on a failing
 * libcrypto (our own bug).
 */
#ifndef CUSTOS_DIGEST_H
#define CUSTOS_DIGEST_H

#include <jansson.h>
#include "engine/base/base.h"

void digest_hex(const void *bytes, size_t len_bytes, char out[65]);
/* Of the JSON text with sorted keys and no white space. -ENOMEM. */
int digest_json(const json_t *value, char out[65]) MUST_CHECK;

#endif

/*
 * audit_print.h — one audit record on standard output, for people and for programs.
 */
#ifndef CUSTOS_AUDIT_PRINT_H
#define CUSTOS_AUDIT_PRINT_H

#include <jansson.h>
#include "engine/audit/audit.h"

/* payload: the record's own, with what OPEN said of its handle; NULL when there is none. */
void audit_print_line(const char *log, const struct aud_record *r, const json_t *payload);
/* An object without a newline behind it. */
void audit_print_json(const char *log, const struct aud_record *r, const json_t *payload);
/* The cameras that a payload lists, also those of a request as it was asked. NULL: none. */
const json_t *audit_cameras(const json_t *payload);

#endif

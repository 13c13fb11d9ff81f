/*
 * strv.h — NULL-terminated lists of strings: cameras of a request, members of a role.
 *
 * A list owns its strings; NULL is the empty list. Pure; functions that allocate return NULL when
 * memory is out (policyd then refuses with ENOMEM).
 */
#ifndef CUSTOS_STRV_H
#define CUSTOS_STRV_H

#include <jansson.h>
#include "engine/base/base.h"

void strv_free(char **v);
size_t strv_len(char *const *v);
bool strv_has(char *const *v, const char *s);
bool strv_equal(char *const *a, char *const *b);
/* Every string of a is in b. */
bool strv_subset(char *const *a, char *const *b);
char **strv_dup(char *const *v);
/* Sorts bytewise and drops duplicates, in place: the canonical form of a set of names. */
void strv_canonical(char **v);
/* An array of non-empty well-formed strings; NULL when it is not one (or memory is out). */
char **strv_from_json(const json_t *array);
json_t *strv_to_json(char *const *v);

#endif

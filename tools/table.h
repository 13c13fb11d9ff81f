/*
 * table.h — tables for people: columns aligned by what a terminal shows, not by bytes.
 */
#ifndef CUSTOS_TABLE_H
#define CUSTOS_TABLE_H

#include <stdio.h>
#include "engine/base/base.h"

struct table;

/* `heads` is a NULL-terminated list of column heads; a head that begins with '>' is aligned right.
 * NULL: no memory. */
struct table *table_new(const char *const *heads);
/* The next cell of the current row, copied; control characters become '?'. */
void table_cell(struct table *t, const char *text);
void table_cellf(struct table *t, const char *format, ...) PRINTF(2, 3);
/* Prints it; nothing at all for a table without rows. Frees it. -ENOMEM: something was lost. */
int table_print(struct table *t, FILE *out) MUST_CHECK;

/* Columns that text takes on a terminal. Needs LC_CTYPE set to a UTF-8 locale. */
size_t text_width(const char *text);
/* Replaces control characters (also C1 and bidirectional ones) and malformed bytes by '?', in
 * place: what others wrote must not steer a terminal. */
void text_tame(char *text);

#endif

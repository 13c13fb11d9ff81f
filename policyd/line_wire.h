/*
 * line_wire.h — what both ends of the line protocol share. Private to libcustos-client.
 */
#ifndef CUSTOS_LINE_WIRE_H
#define CUSTOS_LINE_WIRE_H

#include "policyd/line.h"

#define LINE_VERSION 1

/* One object as one line with its newline, malloc'ed. -ENOMEM; -EMSGSIZE beyond max_bytes. */
int wire_dump(const json_t *object, size_t max_bytes, char **out, size_t *len_bytes) MUST_CHECK;
/* Parses a line (without its newline) into an object. NULL: *why is a static string. */
json_t *wire_parse(const char *line, size_t len_bytes, const char **why);
/* The address of a socket. -ENAMETOOLONG. */
struct sockaddr_un;
int wire_address(const char *path, struct sockaddr_un *out) MUST_CHECK;

#endif

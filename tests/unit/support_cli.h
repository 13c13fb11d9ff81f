/*
 * support_cli.h — helpers of the client library's tests.
 */
#ifndef SUPPORT_CLI_H
#define SUPPORT_CLI_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policyd/line.h"

#define HANG_GUARD_MS 20000

/* A fresh folder below /tmp, removed with all in it by cli_scratch_remove(). */
char *cli_scratch(void);
void cli_scratch_remove(char *dir);
/* dir/name, malloc'ed. */
char *cli_path(const char *dir, const char *name);
void cli_write_file(const char *path, const char *text);

/* A raw connection, non-blocking. */
int cli_connect(const char *path);
void cli_send(int fd, const void *data, size_t len);
/* With descriptors passed along. */
void cli_send_fds(int fd, const void *data, size_t len, const int *fds, size_t n_fds);
/* Runs the server until fd has a whole line: parsed. NULL: the connection was closed instead. */
json_t *cli_receive(struct line_server *s, int fd);
/* Runs the server until it has nothing to do. */
void cli_settle(struct line_server *s);
size_t cli_open_fds(void);
/* xorshift64 seeded from $SEED or the clock; prints how to replay. */
uint64_t cli_seed(void);
uint64_t cli_random(uint64_t *state);

#endif

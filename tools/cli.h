/*
 * cli.h — what all subcommands of `custos` share: exit statuses, failures, calls to daemons, times.
 */
#ifndef CUSTOS_CLI_H
#define CUSTOS_CLI_H

#include <jansson.h>
#include "policyd/conf.h"
#include "tools/args.h"

enum cli_status {
	CLI_DONE = 0,
	CLI_REFUSED = 1, /* refused or failed */
	CLI_USAGE = 2,
	CLI_UNREACHABLE = 3, /* daemon not reachable */
};

struct cli {
	const char *command;   /* "audit show", for messages */
	const char *conf_file; /* as given, or NULL */
	struct conf *conf;     /* NULL for commands that can do without */
	char conf_error[512];  /* why conf is NULL */
	bool json;
	int64_t now_ns;
	const struct args *args;
};

/* One line "custos: COMMAND: …" on standard error; returns `status`. The text says what, why and
 * what to do. Control characters in it are made harmless. */
int cli_fail(const struct cli *cli, enum cli_status status, const char *format, ...) PRINTF(3, 4);

enum cli_daemon { CLI_POLICY, CLI_RECORDER, CLI_GATE };
const char *cli_daemon_name(enum cli_daemon which);
/* Connects, asks req (taken), waits for the reply. CLI_DONE: *reply is to be json_decref'ed. Else
 * the failure has been told. pass_fd: -1 or a descriptor to send along. timeout_ns 0: 30 s. */
int cli_call(const struct cli *cli, enum cli_daemon which, json_t *req, int pass_fd,
             int64_t timeout_ns, json_t **reply) MUST_CHECK;
/* The same, but says nothing: the line is in err. */
int cli_call_quiet(const struct cli *cli, enum cli_daemon which, json_t *req, int pass_fd,
                   int64_t timeout_ns, json_t **reply, char *err, size_t err_bytes) MUST_CHECK;

/* Prints value (borrowed) as --json does: indented, as it came. CLI_DONE or CLI_REFUSED. */
int cli_print_json(const struct cli *cli, const json_t *value);
/* Flushes standard output; a full disk or closed pipe must not look like success. Says nothing when
 * the reader of a pipe has left. */
int cli_finish(const struct cli *cli);
/* The same after a list for people; one that is empty is said to be so. */
int cli_finish_list(const struct cli *cli, size_t n, const char *none);

/* Option `name` as a time into req; nothing if it was not given. CLI_USAGE was told. */
int cli_take_time(const struct cli *cli, const char *name, json_t *req) MUST_CHECK;
/* The same into a variable that stays as it is when the option was not given. */
int cli_get_time(const struct cli *cli, const char *name, int64_t *out_ns) MUST_CHECK;
/* Option as text into req. */
void cli_take_text(const struct cli *cli, const char *name, json_t *req);
/* Operand i as the number of a request or grant. CLI_USAGE was told. */
int cli_take_number(const struct cli *cli, size_t i, const char *what, json_t *req) MUST_CHECK;
/* "a,b" into an array. NULL: an empty name or no memory. */
json_t *cli_split(const char *text);

/* Fields of a reply, never NULL. */
const char *cli_text(const json_t *object, const char *key);
int64_t cli_int(const json_t *object, const char *key);
/* "2026-11-20 08:15:00" in the site's zone; "-" for null, missing or ENG_NO_TIME. */
#define CLI_TIME_MAX 48
const char *cli_time(const json_t *value, char out[CLI_TIME_MAX]);
const char *cli_time_ns(int64_t t_ns, char out[CLI_TIME_MAX]);
/* "a, b" of an array of texts, malloc'ed; "" when there are none. NULL: no memory. */
char *cli_join(const json_t *array);
/* "1 h 20 min", "12.5 s". */
const char *cli_duration(int64_t ns, char out[CLI_TIME_MAX]);
const char *cli_size(uint64_t bytes, char out[CLI_TIME_MAX]);

#endif

/*
 * audit_logs.h — the logs of the three daemons as files, for the commands that read them.
 */
#ifndef CUSTOS_AUDIT_LOGS_H
#define CUSTOS_AUDIT_LOGS_H

#include "tools/cli.h"

#define AUDIT_LOGS 3

struct audit_place {
	const char *name; /* "policy", "gate", "recorder"; "log" for --dir */
	char dir[4096];
};

/* The logs that --log, --dir and the configuration name; *n of them. Else it was told. */
int audit_places(const struct cli *cli, struct audit_place out[AUDIT_LOGS], size_t *n) MUST_CHECK;

#endif

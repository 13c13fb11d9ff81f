/*
 * audit_logs.c — where the logs lie.
 */
#include <stdio.h>

#include "tools/audit_logs.h"

static const struct {
	const char *name;
	enum conf_path path;
} logs[AUDIT_LOGS] = {
        {"policy", CONF_LOG_POLICY},
        {"gate", CONF_LOG_GATE},
        {"recorder", CONF_LOG_RECORD},
};

int audit_places(const struct cli *cli, struct audit_place out[AUDIT_LOGS], size_t *n)
{
	const char *only = args_get(cli->args, "log"), *dir = args_get(cli->args, "dir");

	*n = 0;
	if (dir && only)
		return cli_fail(cli, CLI_USAGE, "--dir names one log already; leave out --log");
	if (dir) {
		out[0].name = "log";
		snprintf(out[0].dir, sizeof(out[0].dir), "%s", dir);
		*n = 1;
		return CLI_DONE;
	}
	if (!cli->conf)
		return cli_fail(cli, CLI_REFUSED, "%s; or name a log's folder with --dir",
		                cli->conf_error);
	for (size_t i = 0; i < AUDIT_LOGS; i++) {
		if (only && strcmp(only, logs[i].name) != 0)
			continue;
		out[*n].name = logs[i].name;
		conf_path(cli->conf, logs[i].path, out[*n].dir, sizeof(out[*n].dir));
		(*n)++;
	}
	if (*n == 0)
		return cli_fail(cli, CLI_USAGE,
		                "--log \"%s\" is no log; it is policy, gate or recorder", only);
	return CLI_DONE;
}

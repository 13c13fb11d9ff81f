/*
 * cmd_status.c — how recorder, policy and gate are: asks all three. --json gives what they
 * answered, whole; people get the page of status_page.c.
 */
#include <stdio.h>
#include <unistd.h>

#include "tools/commands.h"
#include "tools/status_page.h"

const struct args_option opts_status[] = {
        {"watch", NULL, "again every two seconds, until interrupted", false},
        {0},
};

#define WATCH_SECONDS 2
#define STATUS_NS     (10 * NSEC_PER_SEC)
#define N_DAEMONS     3

static const enum cli_daemon order[N_DAEMONS] = {CLI_RECORDER, CLI_POLICY, CLI_GATE};

/* Asks all three; *answered and *told count. */
static json_t *ask_all(struct cli *cli, int *answered, int *told)
{
	json_t *all = json_object();

	*answered = *told = 0;
	for (size_t i = 0; all && i < N_DAEMONS; i++) {
		json_t *reply = NULL, *s;
		char err[1024];
		int status = cli_call_quiet(cli, order[i], json_pack("{s:s}", "op", "status"), -1,
		                            STATUS_NS, &reply, err, sizeof(err));

		*answered += status != CLI_UNREACHABLE;
		*told += status == CLI_DONE;
		s = json_pack("{s:b}", "reachable", status != CLI_UNREACHABLE);
		if (status)
			json_object_set_new(s, "error", json_string(err));
		else
			json_object_del(reply, "ok");
		json_object_update(s, reply);
		json_decref(reply);
		json_object_set_new(all, cli_daemon_name(order[i]), s);
	}
	return all;
}

static int show_once(struct cli *cli)
{
	int answered, told, status;
	json_t *all = ask_all(cli, &answered, &told);

	if (!all)
		return cli_fail(cli, CLI_REFUSED, "out of memory; free some");
	if (cli->json) {
		status = cli_print_json(cli, all);
	} else {
		status_page(cli->conf, all);
		status = cli_finish(cli);
	}
	json_decref(all);
	if (!answered)
		return cli_fail(
		        cli, CLI_UNREACHABLE,
		        "no daemon of %s answers; start custos-policyd, custos-recorderd and "
		        "custosfs",
		        cli->conf->file);
	if (!told && !status)
		return cli_fail(cli, CLI_REFUSED, "no daemon tells you its status; ask monitoring");
	return status;
}

int cmd_status(struct cli *cli)
{
	bool watch = args_has(cli->args, "watch"), clear = isatty(STDOUT_FILENO);

	for (;;) {
		int status;

		if (watch && clear)
			fputs("\033[H\033[2J", stdout);
		status = show_once(cli);
		if (!watch || status == CLI_REFUSED)
			return status;
		sleep(WATCH_SECONDS);
	}
}

/*
 * cmd_ls.c — what is recorded, and what is missing and why.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tools/commands.h"
#include "tools/table.h"

const struct args_option opts_ls[] = {
        {"from", "T", "only what ends after T", false},
        {"to", "T", "only what begins before T", false},
        {"gaps", NULL, "the gaps instead, with their causes", false},
        {0},
};

static void add_length(struct table *t, const json_t *r)
{
	const json_t *from = json_object_get(r, "from"), *to = json_object_get(r, "to");
	char d[CLI_TIME_MAX];

	table_cell(t, json_is_integer(from) && json_is_integer(to)
	                      ? cli_duration(json_integer_value(to) - json_integer_value(from), d)
	                      : "-");
}

static void add_run(struct table *t, const json_t *r)
{
	char from[CLI_TIME_MAX], to[CLI_TIME_MAX], *codecs = cli_join(json_object_get(r, "codecs"));
	const char *end = cli_text(r, "end_reason");
	bool imported = json_is_true(json_object_get(r, "imported"));
	bool unsynced = json_is_false(json_object_get(r, "clock_synced"));

	table_cell(t, cli_text(r, "camera"));
	table_cell(t, cli_time(json_object_get(r, "from"), from));
	table_cell(t, cli_time(json_object_get(r, "to"), to));
	add_length(t, r);
	table_cell(t, codecs);
	table_cell(t, cli_text(r, "start_reason"));
	table_cell(t, strcmp(end, "none") == 0 ? "-" : end);
	table_cellf(t, "%s%s%s", imported ? "imported" : "", imported && unsynced ? ", " : "",
	            unsynced ? "clock not synced" : "");
	free(codecs);
}

static void add_gap(struct table *t, const json_t *r)
{
	char from[CLI_TIME_MAX], to[CLI_TIME_MAX];

	table_cell(t, cli_text(r, "camera"));
	table_cell(t, cli_time(json_object_get(r, "from"), from));
	table_cell(t, json_is_integer(json_object_get(r, "to"))
	                      ? cli_time(json_object_get(r, "to"), to)
	                      : "still open");
	add_length(t, r);
	table_cell(t, cli_text(r, "cause"));
}

static int print_list(struct cli *cli, const json_t *list, bool gaps)
{
	static const char *const run_heads[] = {"CAMERA", "FROM",  "TO",   ">LENGTH", "CODECS",
	                                        "BEGAN",  "ENDED", "NOTE", NULL};
	static const char *const gap_heads[] = {"CAMERA", "FROM", "TO", ">LENGTH", "CAUSE", NULL};
	struct table *t = table_new(gaps ? gap_heads : run_heads);
	const json_t *r;
	size_t i;

	if (!t)
		return cli_fail(cli, CLI_REFUSED, "out of memory; free some");
	json_array_foreach(list, i, r)
	{
		if (gaps)
			add_gap(t, r);
		else
			add_run(t, r);
	}
	if (table_print(t, stdout) != 0)
		return cli_fail(cli, CLI_REFUSED, "out of memory; free some");
	return cli_finish_list(cli, json_array_size(list),
	                       gaps ? "no gaps there" : "nothing is recorded there");
}

int cmd_ls(struct cli *cli)
{
	bool gaps = args_has(cli->args, "gaps");
	json_t *req = json_pack("{s:s}", "op", "ls"), *reply, *list;
	int status = cli_take_time(cli, "from", req);

	if (!status)
		status = cli_take_time(cli, "to", req);
	if (status) {
		json_decref(req);
		return status;
	}
	if (cli->args->n_operands &&
	    json_object_set_new(req, "camera", json_string(cli->args->operand[0])) != 0) {
		json_decref(req);
		return cli_fail(cli, CLI_USAGE, "the camera's name is not UTF-8; correct it");
	}
	if (gaps)
		json_object_set_new(req, "gaps", json_true());
	status = cli_call(cli, CLI_RECORDER, req, -1, 120 * NSEC_PER_SEC, &reply);
	if (status)
		return status;
	list = json_object_get(reply, gaps ? "gaps" : "runs");
	if (!json_is_array(list))
		status = cli_fail(cli, CLI_REFUSED,
		                  "the recorder's answer has no list; use a custos "
		                  "command of the daemon's version");
	else
		status = cli->json ? cli_print_json(cli, list) : print_list(cli, list, gaps);
	json_decref(reply);
	return status;
}

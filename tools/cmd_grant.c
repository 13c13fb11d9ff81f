/*
 * cmd_grant.c — grants: the list, giving one back, ending one.
 *
 * Both endings wait: the daemon answers when every gate has stopped serving the grant, or when its
 * lease has ended. So when the command returns, it is over.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tools/commands.h"
#include "tools/table.h"

#define END_NS (60 * NSEC_PER_SEC) /* a lease is 5 s; the rest is for a busy machine */

static void add_row(struct table *t, const json_t *g)
{
	char from[CLI_TIME_MAX], to[CLI_TIME_MAX], until[CLI_TIME_MAX];
	char *cameras = cli_join(json_object_get(g, "cameras"));

	table_cellf(t, "%lld", (long long)cli_int(g, "grant"));
	table_cell(t, cli_text(g, "state"));
	table_cell(t, cli_text(g, "user"));
	table_cell(t, cameras);
	table_cell(t, cli_time(json_object_get(g, "from"), from));
	table_cell(t, cli_time(json_object_get(g, "to"), to));
	table_cell(t, cli_time(json_object_get(g, "until"), until));
	table_cell(t, cli_text(g, "path"));
	table_cell(t, cli_text(g, "reason"));
	free(cameras);
}

int cmd_grants(struct cli *cli)
{
	static const char *const heads[] = {">GRANT", "STATE", "USER", "CAMERAS", "FROM",
	                                    "TO",     "UNTIL", "PATH", "REASON",  NULL};
	json_t *reply, *list, *g;
	struct table *t;
	size_t i;
	int status = cli_call(cli, CLI_POLICY, json_pack("{s:s}", "op", "grants"), -1, 0, &reply);

	if (status)
		return status;
	list = json_object_get(reply, "grants");
	if (cli->json) {
		status = cli_print_json(cli, list);
		json_decref(reply);
		return status;
	}
	t = table_new(heads);
	if (t)
		json_array_foreach(list, i, g)
		{
			add_row(t, g);
		}
	status = t && table_print(t, stdout) == 0
	                 ? cli_finish_list(cli, json_array_size(list), "no grants")
	                 : cli_fail(cli, CLI_REFUSED, "out of memory; free some");
	json_decref(reply);
	return status;
}

static int end_grant(struct cli *cli, const char *op, const char *done)
{
	json_t *req = json_pack("{s:s}", "op", op), *reply, *acknowledged;
	int status = cli_take_number(cli, 0, "grant", req);

	if (status) {
		json_decref(req);
		return status;
	}
	if (strcmp(op, "revoke") == 0)
		cli_take_text(cli, "reason", req);
	status = cli_call(cli, CLI_POLICY, req, -1, END_NS, &reply);
	if (status)
		return status;
	json_object_del(reply, "ok");
	acknowledged = json_object_get(reply, "acknowledged");
	if (cli->json) {
		status = cli_print_json(cli, reply);
	} else {
		printf("grant %lld %s", (long long)cli_int(reply, "grant"), done);
		if (json_is_boolean(acknowledged))
			printf(json_is_true(acknowledged) ? "; every gate has stopped serving it"
			                                  : "; a gate did not answer, its lease "
			                                    "has ended: nothing is served");
		putchar('\n');
		status = cli_finish(cli);
	}
	json_decref(reply);
	return status;
}

int cmd_return(struct cli *cli)
{
	return end_grant(cli, "return", "returned");
}

int cmd_revoke(struct cli *cli)
{
	return end_grant(cli, "revoke", "revoked");
}

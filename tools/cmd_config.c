/*
 * cmd_config.c — the policy: what is in force, what policy.conf would change, putting it into
 * force.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tools/commands.h"
#include "tools/table.h"

static int call(struct cli *cli, const char *op, json_t **reply)
{
	return cli_call(cli, CLI_POLICY, json_pack("{s:s}", "op", op), -1, 0, reply);
}

static int print_reply_json(struct cli *cli, json_t *reply)
{
	json_object_del(reply, "ok");
	return cli_print_json(cli, reply);
}

/* A text of several lines: each piece between tabs and line ends is made harmless for the terminal.
 */
static void print_lines(const char *text)
{
	while (*text) {
		size_t n = strcspn(text, "\t\n");
		char *piece = strndup(text, n);

		if (piece)
			text_tame(piece);
		fputs(piece ? piece : "?", stdout);
		free(piece);
		text += n;
		putchar(*text == '\t' ? '\t' : '\n');
		text += *text != '\0';
	}
}

/* Comment lines, so that what is printed is still a policy file. */
static void print_policy(const json_t *reply)
{
	const json_t *pending = json_object_get(reply, "pending");
	char t[CLI_TIME_MAX];

	printf("# in force since %s, digest %s\n", cli_time(json_object_get(reply, "applied"), t),
	       cli_text(reply, "digest"));
	if (json_is_integer(pending))
		printf("# change %lld waits for a second admin: custos config approve %lld\n",
		       (long long)json_integer_value(pending),
		       (long long)json_integer_value(pending));
	print_lines(cli_text(reply, "text"));
}

int cmd_config_show(struct cli *cli)
{
	json_t *reply;
	int status = call(cli, "config.show", &reply);

	if (status)
		return status;
	if (cli->json) {
		status = print_reply_json(cli, reply);
	} else {
		print_policy(reply);
		status = cli_finish(cli);
	}
	json_decref(reply);
	return status;
}

/* custos.conf was read before we got here; policy.conf is read by the daemon that has to live by
 * it. */
int cmd_config_check(struct cli *cli)
{
	json_t *reply;
	const char *text;
	int status = call(cli, "config.diff", &reply);

	if (status)
		return status;
	text = cli_text(reply, "text");
	if (cli->json) {
		json_t *out = json_pack("{s:s, s:s, s:b, s:b}", "config", cli->conf->file, "policy",
		                        cli->conf->policy, "in_force", !*text, "weakens",
		                        json_is_true(json_object_get(reply, "weakens")));
		status = cli_print_json(cli, out);
		json_decref(out);
	} else {
		printf("%s: good\n%s: good, %s\n", cli->conf->file, cli->conf->policy,
		       *text ? "differs from what is in force: see custos config diff"
		             : "and in force");
		status = cli_finish(cli);
	}
	json_decref(reply);
	return status;
}

int cmd_config_diff(struct cli *cli)
{
	json_t *reply;
	int status = call(cli, "config.diff", &reply);

	if (status)
		return status;
	if (cli->json) {
		status = print_reply_json(cli, reply);
	} else {
		if (!*cli_text(reply, "text"))
			printf("no difference: %s is in force\n", cli->conf->policy);
		print_lines(cli_text(reply, "text"));
		if (json_is_true(json_object_get(reply, "weakens")))
			puts("this weakens a rule, so a second admin will have to approve it:");
		print_lines(cli_text(reply, "why"));
		status = cli_finish(cli);
	}
	json_decref(reply);
	return status;
}

static int print_applied(struct cli *cli, json_t *reply)
{
	json_t *pending = json_object_get(reply, "pending");

	if (cli->json)
		return print_reply_json(cli, reply);
	if (json_is_true(json_object_get(reply, "applied")))
		puts("the policy is in force");
	else if (json_is_integer(pending))
		printf("this weakens a rule; another admin has to say: custos config approve "
		       "%lld\n",
		       (long long)json_integer_value(pending));
	else
		puts("nothing has changed");
	print_lines(cli_text(reply, "why"));
	return cli_finish(cli);
}

int cmd_config_apply(struct cli *cli)
{
	json_t *reply;
	int status = call(cli, "config.apply", &reply);

	if (status)
		return status;
	status = print_applied(cli, reply);
	json_decref(reply);
	return status;
}

int cmd_config_approve(struct cli *cli)
{
	json_t *req = json_pack("{s:s}", "op", "config.approve"), *reply;
	int status = cli_take_number(cli, 0, "change", req);

	if (status) {
		json_decref(req);
		return status;
	}
	status = cli_call(cli, CLI_POLICY, req, -1, 0, &reply);
	if (status)
		return status;
	status = print_applied(cli, reply);
	json_decref(reply);
	return status;
}

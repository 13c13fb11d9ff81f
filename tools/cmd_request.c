/*
 * cmd_request.c — asking for footage, and deciding about it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tools/commands.h"

const struct args_option opts_request[] = {
        {"camera", "C[,C…]", "which cameras", true},
        {"from", "T", "begin of the window", true},
        {"to", "T", "end of the window", true},
        {"reason", "TEXT", "what for", true},
        {"until", "T", "end of the grant (default: activation + max_grant)", false},
        {"case", "ID", "number of the case", false},
        {"chain", "NAME", "approval chain (default: the first that lists you)", false},
        {"subject", "NAME", "the person the footage is for", false},
        {"assistant", "USER", "who shows it to a subject without an account", false},
        {"replaces", "ID", "the request that this one replaces; its approvals are void", false},
        {0},
};

const struct args_option opts_approve[] = {
        {"from", "T", "narrow the window: a later begin", false},
        {"to", "T", "narrow the window: an earlier end", false},
        {"until", "T", "shorten the grant", false},
        {"camera", "C[,C…]", "narrow to these cameras", false},
        {"digest", "HEX", "sign only if the request still has this digest (see show)", false},
        {0},
};

const struct args_option opts_reason[] = {
        {"reason", "TEXT", "why", true},
        {0},
};

static int take_cameras(struct cli *cli, json_t *req)
{
	const char *text = args_get(cli->args, "camera");
	json_t *cameras;

	if (!text)
		return CLI_DONE;
	cameras = cli_split(text);
	if (!cameras)
		return cli_fail(cli, CLI_USAGE,
		                "--camera \"%s\" has an empty or malformed name; write C or C,C",
		                text);
	json_object_set_new(req, "cameras", cameras);
	return CLI_DONE;
}

static int take_replaces(struct cli *cli, json_t *req)
{
	const char *text = args_get(cli->args, "replaces");
	uint64_t number;

	if (!text)
		return CLI_DONE;
	if (args_number(text, &number) != 0)
		return cli_fail(
		        cli, CLI_USAGE,
		        "--replaces \"%s\" is not the number of a request; give one like 12", text);
	json_object_set_new(req, "replaces", json_integer((json_int_t)number));
	return CLI_DONE;
}

static int build_request(struct cli *cli, json_t *req)
{
	static const char *const texts[] = {"reason", "case", "chain", "subject", "assistant"};
	int status = take_cameras(cli, req);

	if (!status)
		status = cli_take_time(cli, "from", req);
	if (!status)
		status = cli_take_time(cli, "to", req);
	if (!status)
		status = cli_take_time(cli, "until", req);
	if (!status)
		status = take_replaces(cli, req);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		cli_take_text(cli, texts[i], req);
	return status;
}

/* What the recorder has in the asked window, camera by camera. */
static void print_coverage(const json_t *coverage)
{
	const char *camera;
	json_t *c;
	char t1[CLI_TIME_MAX], t2[CLI_TIME_MAX], d[CLI_TIME_MAX];

	json_object_foreach((json_t *)(uintptr_t)coverage, camera, c)
	{
		if (json_number_value(json_object_get(c, "seconds")) <= 0)
			printf("  %s: no footage known in this window\n", camera);
		else
			printf("  %s: %s recorded, %s to %s\n", camera,
			       cli_duration(
			               (int64_t)(json_number_value(json_object_get(c, "seconds")) *
			                         1e9),
			               d),
			       cli_time(json_object_get(c, "first"), t1),
			       cli_time(json_object_get(c, "last"), t2));
	}
}

static void print_submitted(struct cli *cli, const json_t *reply)
{
	json_int_t number = cli_int(reply, "request");
	json_t *shown = NULL;
	char err[512];

	/* The reply names the chain; who is to sign first is in the request itself. */
	if (cli_call_quiet(cli, CLI_POLICY,
	                   json_pack("{s:s, s:I}", "op", "show", "request", number), -1, 0, &shown,
	                   err, sizeof(err)) != CLI_DONE)
		shown = NULL;
	printf("request %lld submitted (chain %s%s%s)\n", (long long)number,
	       cli_text(reply, "chain"), *cli_text(shown, "next") ? "; next: " : "",
	       cli_text(shown, "next"));
	print_coverage(json_object_get(reply, "coverage"));
	json_decref(shown);
}

int cmd_request(struct cli *cli)
{
	json_t *req = json_pack("{s:s}", "op", "request"), *reply, *out;
	int status = build_request(cli, req);

	if (status) {
		json_decref(req);
		return status;
	}
	status = cli_call(cli, CLI_POLICY, req, -1, 0, &reply);
	if (status)
		return status;
	if (cli->json) {
		out = json_pack("{s:I}", "request", (json_int_t)cli_int(reply, "request"));
		status = cli_print_json(cli, out);
		json_decref(out);
	} else {
		print_submitted(cli, reply);
		status = cli_finish(cli);
	}
	json_decref(reply);
	return status;
}

/* {"request", "state"} and for approvals {"grant", "path"}, in this order. */
static int print_decision(struct cli *cli, const json_t *reply, bool approval, const char *verb)
{
	json_t *grant = json_object_get(reply, "grant"), *path = json_object_get(reply, "path"),
	       *out;
	json_int_t number = cli_int(reply, "request");
	int status;

	if (cli->json) {
		out = json_pack("{s:I, s:s}", "request", number, "state", cli_text(reply, "state"));
		if (approval) {
			json_object_set_new(out, "grant",
			                    json_is_integer(grant) ? json_incref(grant)
			                                           : json_null());
			json_object_set_new(out, "path",
			                    json_is_string(path) ? json_incref(path) : json_null());
		}
		status = cli_print_json(cli, out);
		json_decref(out);
		return status;
	}
	printf("request %lld %s (state %s)\n", (long long)number, verb, cli_text(reply, "state"));
	if (json_is_integer(grant))
		printf("grant %lld: %s\n", (long long)json_integer_value(grant),
		       json_is_string(path) ? json_string_value(path) : "no path");
	return cli_finish(cli);
}

static int decide(struct cli *cli, json_t *req, bool approval, const char *verb)
{
	json_t *reply;
	int status = cli_call(cli, CLI_POLICY, req, -1, 0, &reply);

	if (status)
		return status;
	status = print_decision(cli, reply, approval, verb);
	json_decref(reply);
	return status;
}

int cmd_approve(struct cli *cli)
{
	json_t *req = json_pack("{s:s}", "op", "approve");
	int status = cli_take_number(cli, 0, "request", req);

	if (!status)
		status = take_cameras(cli, req);
	if (!status)
		status = cli_take_time(cli, "from", req);
	if (!status)
		status = cli_take_time(cli, "to", req);
	if (!status)
		status = cli_take_time(cli, "until", req);
	if (status) {
		json_decref(req);
		return status;
	}
	cli_take_text(cli, "digest", req);
	return decide(cli, req, true, "signed");
}

int cmd_reject(struct cli *cli)
{
	json_t *req = json_pack("{s:s}", "op", "reject");
	int status = cli_take_number(cli, 0, "request", req);

	if (status) {
		json_decref(req);
		return status;
	}
	cli_take_text(cli, "reason", req);
	return decide(cli, req, false, "rejected");
}

int cmd_withdraw(struct cli *cli)
{
	json_t *req = json_pack("{s:s}", "op", "withdraw");
	int status = cli_take_number(cli, 0, "request", req);

	if (status) {
		json_decref(req);
		return status;
	}
	return decide(cli, req, false, "withdrawn");
}

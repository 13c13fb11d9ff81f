/*
 * cmd_show.c — requests: the list, and one of them in full.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tools/commands.h"
#include "tools/table.h"

const struct args_option opts_requests[] = {
        {"todo", NULL, "only those that wait for your signature", false},
        {0},
};

static void add_row(struct table *t, const json_t *r)
{
	char from[CLI_TIME_MAX], to[CLI_TIME_MAX],
	        *cameras = cli_join(json_object_get(r, "cameras"));

	table_cellf(t, "%lld", (long long)cli_int(r, "request"));
	table_cell(t, cli_text(r, "state"));
	table_cell(t, cli_text(r, "requester"));
	table_cell(t, cameras);
	table_cell(t, cli_time(json_object_get(r, "from"), from));
	table_cell(t, cli_time(json_object_get(r, "to"), to));
	table_cell(t, cli_text(r, "next"));
	table_cell(t, cli_text(r, "reason"));
	free(cameras);
}

static int print_list(struct cli *cli, const json_t *list, bool todo)
{
	static const char *const heads[] = {">ID", "STATE", "REQUESTER", "CAMERAS", "FROM",
	                                    "TO",  "NEXT",  "REASON",    NULL};
	struct table *t = table_new(heads);
	const json_t *r;
	size_t i;

	if (!t)
		return cli_fail(cli, CLI_REFUSED, "out of memory; free some");
	json_array_foreach(list, i, r)
	{
		add_row(t, r);
	}
	if (table_print(t, stdout) != 0)
		return cli_fail(cli, CLI_REFUSED, "out of memory; free some");
	return cli_finish_list(cli, json_array_size(list),
	                       todo ? "no request waits for you" : "no requests");
}

int cmd_requests(struct cli *cli)
{
	json_t *req = json_pack("{s:s}", "op", "requests"), *reply, *list;
	bool todo = args_has(cli->args, "todo");
	int status;

	if (todo)
		json_object_set_new(req, "todo", json_true());
	status = cli_call(cli, CLI_POLICY, req, -1, 0, &reply);
	if (status)
		return status;
	list = json_object_get(reply, "requests");
	status = cli->json ? cli_print_json(cli, list) : print_list(cli, list, todo);
	json_decref(reply);
	return status;
}

static void print_line(const char *name, const char *text)
{
	char *copy;

	if (!text || !*text || !(copy = strdup(text)))
		return;
	text_tame(copy);
	printf("  %-12s %s\n", name, copy);
	free(copy);
}

static const char *window(const json_t *r, char out[2 * CLI_TIME_MAX])
{
	char from[CLI_TIME_MAX], to[CLI_TIME_MAX];

	snprintf(out, 2 * CLI_TIME_MAX, "%s to %s", cli_time(json_object_get(r, "from"), from),
	         cli_time(json_object_get(r, "to"), to));
	return out;
}

static void print_time(const char *name, const json_t *value)
{
	char text[CLI_TIME_MAX];

	if (json_is_integer(value))
		print_line(name, cli_time(value, text));
}

static void print_cameras(const char *name, const json_t *cameras)
{
	char *text = cli_join(cameras);

	print_line(name, text);
	free(text);
}

static void print_stages(const json_t *stages)
{
	const json_t *s;
	size_t i;

	json_array_foreach(stages, i, s)
	{
		char line[512], t[CLI_TIME_MAX];
		const char *signer = cli_text(s, "signer");

		if (*signer && json_is_null(json_object_get(s, "time")))
			snprintf(line, sizeof(line), "%s: signed by %s, more are needed",
			         cli_text(s, "who"), signer);
		else if (*signer)
			snprintf(line, sizeof(line), "%s: signed by %s, %s", cli_text(s, "who"),
			         signer, cli_time(json_object_get(s, "time"), t));
		else
			snprintf(line, sizeof(line), "%s: open", cli_text(s, "who"));
		print_line(i ? "" : "stages", line);
	}
}

/* What was asked for, where an approver has narrowed it. */
static void print_asked(const json_t *r)
{
	const json_t *asked = json_object_get(r, "asked");
	char now[2 * CLI_TIME_MAX], then[2 * CLI_TIME_MAX];

	if (!json_is_object(asked))
		return;
	if (strcmp(window(asked, then), window(r, now)) != 0)
		print_line("asked for", then);
	if (!json_equal(json_object_get(asked, "cameras"), json_object_get(r, "cameras")))
		print_cameras("asked for", json_object_get(asked, "cameras"));
}

static void print_coverage(const json_t *coverage)
{
	const char *camera;
	json_t *c;

	json_object_foreach((json_t *)(uintptr_t)coverage, camera, c)
	{
		char line[512], d[CLI_TIME_MAX];
		double seconds = json_number_value(json_object_get(c, "seconds"));

		snprintf(line, sizeof(line), "%s: %s", camera,
		         seconds > 0 ? cli_duration((int64_t)(seconds * 1e9), d) : "none known");
		print_line("footage", line);
	}
}

/* How it was turned down, or ended. */
static void print_decision(const json_t *r)
{
	const char *by = cli_text(r, "decided_by"), *why = cli_text(r, "decision");
	char line[512];

	snprintf(line, sizeof(line), "%s%s%s", by, *by && *why ? ": " : "", why);
	print_line("decided by", line);
}

/* Whatever else the daemon tells as text. */
static void print_rest(const json_t *r)
{
	static const char *const shown[] = {"state",  "chain",  "next",       "requester",
	                                    "reason", "case",   "subject",    "assistant",
	                                    "path",   "digest", "decided_by", "decision"};
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)r, key, value)
	{
		bool known = !json_is_string(value);

		for (size_t i = 0; !known && i < ARRAY_LEN(shown); i++)
			known = strcmp(key, shown[i]) == 0;
		if (!known)
			print_line(key, json_string_value(value));
	}
}

static void print_request(const json_t *r)
{
	static const char *const texts[] = {"reason", "case", "subject", "assistant"};
	char text[2 * CLI_TIME_MAX];

	printf("request %lld: %s\n", (long long)cli_int(r, "request"), cli_text(r, "state"));
	print_line("requester", cli_text(r, "requester"));
	print_cameras("cameras", json_object_get(r, "cameras"));
	print_line("window", window(r, text));
	print_asked(r);
	print_time("until", json_object_get(r, "until"));
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		print_line(texts[i], cli_text(r, texts[i]));
	print_time("submitted", json_object_get(r, "submitted"));
	print_line("chain", cli_text(r, "chain"));
	print_stages(json_object_get(r, "stages"));
	print_line("next", cli_text(r, "next"));
	print_decision(r);
	print_coverage(json_object_get(r, "coverage"));
	if (json_is_integer(json_object_get(r, "grant")))
		printf("  %-12s %lld\n", "grant", (long long)cli_int(r, "grant"));
	print_line("path", cli_text(r, "path"));
	print_time("ends", json_object_get(r, "ends"));
	print_line("digest", cli_text(r, "digest"));
	print_rest(r);
}

int cmd_show(struct cli *cli)
{
	json_t *req = json_pack("{s:s}", "op", "show"), *reply;
	int status = cli_take_number(cli, 0, "request", req);

	if (status) {
		json_decref(req);
		return status;
	}
	status = cli_call(cli, CLI_POLICY, req, -1, 0, &reply);
	if (status)
		return status;
	json_object_del(reply, "ok");
	if (cli->json) {
		status = cli_print_json(cli, reply);
	} else {
		print_request(reply);
		status = cli_finish(cli);
	}
	json_decref(reply);
	return status;
}

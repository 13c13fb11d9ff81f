/*
 * cmd_status.c — how recorder, policy and gate are, in one picture.
 *
 * What a daemon tells beyond the cameras is shown by its own names, with units taken from their
 * endings; so nothing that a newer daemon tells is hidden by an older command.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/commands.h"
#include "tools/table.h"

const struct args_option opts_status[] = {
        {"watch", NULL, "again every two seconds, until interrupted", false},
        {0},
};

#define WATCH_SECONDS 2
#define STATUS_NS     (10 * NSEC_PER_SEC)
#define N_DAEMONS     3

static const enum cli_daemon order[N_DAEMONS] = {CLI_RECORDER, CLI_POLICY, CLI_GATE};

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

static void print_scalar(const char *key, const json_t *value)
{
	char text[CLI_TIME_MAX];

	if (json_is_string(value)) {
		char *copy = strdup(json_string_value(value));

		if (copy)
			text_tame(copy);
		fputs(copy ? copy : "?", stdout);
		free(copy);
	} else if (json_is_boolean(value)) {
		fputs(json_is_true(value) ? "yes" : "no", stdout);
	} else if (json_is_real(value)) {
		printf("%.3g", json_real_value(value));
	} else if (!json_is_integer(value) ||
	           (ends_with(key, "_us") && json_integer_value(value) >= UINT32_MAX)) {
		fputs("-", stdout); /* none, or unknown */
	} else if (strcmp(key, "oldest_ns") == 0 || strcmp(key, "oldest") == 0 ||
	           strcmp(key, "last") == 0 || strcmp(key, "time") == 0) {
		fputs(cli_time(value, text), stdout);
	} else if (ends_with(key, "_ns")) {
		fputs(cli_duration(json_integer_value(value), text), stdout);
	} else if (ends_with(key, "bytes") || strcmp(key, "bytes_written") == 0) {
		fputs(cli_size((uint64_t)json_integer_value(value), text), stdout);
	} else {
		printf("%lld", (long long)json_integer_value(value));
	}
}

static void print_tree(const char *name, const json_t *object, int depth);

static void print_value(const char *key, const json_t *value, int depth)
{
	const json_t *item;
	size_t i;

	if (json_is_object(value)) {
		print_tree(key, value, depth);
		return;
	}
	if (!json_is_array(value)) {
		printf("%*s%s: ", depth * 2, "", key);
		print_scalar(key, value);
		putchar('\n');
		return;
	}
	json_array_foreach(value, i, item)
	{
		print_value(key, item, depth);
	}
}

static void print_tree(const char *name, const json_t *object, int depth)
{
	const char *key;
	json_t *value;

	if (depth > 4)
		return;
	printf("%*s%s:\n", depth * 2, "", name);
	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		print_value(key, value, depth + 1);
	}
}

static void print_rate(struct table *t, const json_t *c)
{
	double bps = json_number_value(json_object_get(c, "rate_bps"));

	table_cellf(t, "%.1f Mbit/s", bps / 1e6);
}

static int print_cameras(const json_t *cameras)
{
	static const char *const heads[] = {"  CAMERA", "STATE",   ">RATE", ">FRAMES", ">RESTARTS",
	                                    "LAST",     "DURABLE", "CAUSE", NULL};
	struct table *t = table_new(heads);
	char last[CLI_TIME_MAX], durable[CLI_TIME_MAX];
	const json_t *c;
	size_t i;

	if (!t)
		return -1;
	json_array_foreach(cameras, i, c)
	{
		table_cellf(t, "  %s", cli_text(c, "camera"));
		table_cell(t, cli_text(c, "state"));
		print_rate(t, c);
		table_cellf(t, "%lld", (long long)cli_int(c, "frames"));
		table_cellf(t, "%lld", (long long)cli_int(c, "restarts"));
		table_cell(t, cli_time(json_object_get(c, "last"), last));
		table_cell(t, cli_time(json_object_get(c, "durable"), durable));
		table_cell(t, cli_text(c, "cause"));
	}
	return table_print(t, stdout);
}

static void print_daemon(const char *name, const json_t *s)
{
	const char *key;
	json_t *value;

	if (!json_is_true(json_object_get(s, "reachable"))) {
		char *line = strdup(cli_text(s, "error"));

		if (line)
			text_tame(line);
		printf("%s: no answer: %s\n", name, line ? line : "");
		free(line);
		return;
	}
	if (json_object_get(s, "error")) {
		printf("%s: running; it tells no more: %s\n", name, cli_text(s, "error"));
		return;
	}
	printf("%s: running\n", name);
	json_object_foreach((json_t *)(uintptr_t)s, key, value)
	{
		/* "store" is the first of "stores". */
		if (strcmp(key, "reachable") == 0 ||
		    (strcmp(key, "store") == 0 && json_object_get(s, "stores")))
			continue;
		if (strcmp(key, "cameras") == 0 && json_is_array(value))
			(void)(print_cameras(value) == 0 || puts("  cameras: out of memory"));
		else
			print_value(key, value, 1);
	}
}

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
		for (size_t i = 0; i < N_DAEMONS; i++) {
			const char *name = cli_daemon_name(order[i]);

			print_daemon(name, json_object_get(all, name));
		}
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

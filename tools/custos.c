/*
 * custos.c — the command line: the table of subcommands, help, and nothing else.
 *
 * This program has no rights of its own. Whatever it asks of a daemon is judged there by the Unix
 * user who runs it; what it reads itself, it reads with that user's permissions.
 */
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/commands.h"
#include "tools/table.h"

#define VERSION "0.1"

enum {
	CONF_OPTIONAL = 1, /* does without a configuration unless one is named */
	NO_JSON = 2,
};

struct command {
	const char *name, *operands, *summary, *example;
	size_t min_operands, max_operands;
	const struct args_option *options;
	int (*run)(struct cli *cli);
	unsigned flags;
};

static const struct command commands[] = {
        {"init", "DIR", "create a store; never over an existing one",
         "init /srv/custos/main --size 64G --no-encrypt", 1, 1, opts_init, cmd_init, CONF_OPTIONAL},
        {"status", "", "cameras, rates, lag, disk, alarms, clock", "status --watch", 0, 0,
         opts_status, cmd_status, 0},
        {"ls", "[CAMERA]", "what is recorded; gaps and why", "ls 东门 --from -2h --gaps", 0, 1,
         opts_ls, cmd_ls, 0},
        {"feed", "CAMERA [FILE|-]", "push a stream into the recorder",
         "feed 东门 old.mp4 --start \"2026-11-01 08:00\"", 1, 2, opts_feed, cmd_feed, 0},
        {"request", "", "ask for footage",
         "request --camera 东门 --from \"2026-11-20 08:00\" --to \"2026-11-20 08:30\" --reason "
         "\"missing goods\"",
         0, 0, opts_request, cmd_request, 0},
        {"requests", "", "your requests and those you may sign", "requests --todo", 0, 0,
         opts_requests, cmd_requests, 0},
        {"show", "ID", "one request with its stages", "show 12", 1, 1, opts_none, cmd_show, 0},
        {"approve", "ID", "sign the stage that is yours; may narrow, never widen",
         "approve 12 --to \"2026-11-20 08:15\"", 1, 1, opts_approve, cmd_approve, 0},
        {"reject", "ID", "refuse a request", "reject 12 --reason \"no case number\"", 1, 1,
         opts_reason, cmd_reject, 0},
        {"withdraw", "ID", "take your own request back", "withdraw 12", 1, 1, opts_none,
         cmd_withdraw, 0},
        {"grants", "", "your grants; for monitoring and auditors all", "grants", 0, 0, opts_none,
         cmd_grants, 0},
        {"return", "GRANT", "give a grant back", "return 7", 1, 1, opts_none, cmd_return, 0},
        {"revoke", "GRANT", "end a grant; when this returns no further byte leaves",
         "revoke 7 --reason \"case closed\"", 1, 1, opts_reason, cmd_revoke, 0},
        {"config show", "", "the policy in force", "config show", 0, 0, opts_none, cmd_config_show,
         0},
        {"config check", "", "are both files well-formed", "config check", 0, 0, opts_none,
         cmd_config_check, 0},
        {"config diff", "", "policy.conf against the policy in force", "config diff", 0, 0,
         opts_none, cmd_config_diff, 0},
        {"config apply", "", "put policy.conf into force", "config apply", 0, 0, opts_none,
         cmd_config_apply, 0},
        {"config approve", "ID", "let a weakening change pass, as the second person",
         "config approve 3", 1, 1, opts_none, cmd_config_approve, 0},
        {"audit show", "", "the logs of all daemons, merged by time",
         "audit show --user ann --from -2d", 0, 0, opts_audit_show, cmd_audit_show, 0},
        {"audit verify", "", "check the logs with the public key alone",
         "audit verify --key /var/lib/custos/keys/sign.pub", 0, 0, opts_audit_verify,
         cmd_audit_verify, CONF_OPTIONAL},
        {"verify", "[DIR] [CAMERA|SEGMENT]", "scrub: read and check everything", "verify 东门", 0,
         2, opts_verify, cmd_verify, CONF_OPTIONAL},
        {"fsck", "[DIR]", "check a store's structure; rebuild its catalog", "fsck /srv/custos/main",
         0, 1, opts_fsck, cmd_fsck, CONF_OPTIONAL},
        {"dump", "[DIR] SEGMENT", "print a segment readably", "dump 12 --frames", 1, 2, opts_dump,
         cmd_dump, CONF_OPTIONAL | NO_JSON},
};

static const struct args_option opts_global[] = {
        {"config", "FILE", "configuration (default $CUSTOS_CONF, else /etc/custos/custos.conf)",
         false},
        {"json", NULL, "machine-readable output", false},
        {"help", NULL, "this text", false},
        {"version", NULL, "print the version", false},
        {0},
};

const struct args_option opts_none[] = {{0}};

/* The help goes to standard output when it was asked for, to standard error when it is an answer.
 */
static void print_column(FILE *out, const char *text, size_t columns)
{
	size_t width = text_width(text);

	fprintf(out, "  %s%*s ", text, width < columns ? (int)(columns - width) : 0, "");
}

static void print_options(const struct args_option *o)
{
	for (; o->name; o++) {
		char left[64];

		snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value ? " " : "",
		         o->value ? o->value : "");
		print_column(stdout, left, 22);
		printf("%s%s\n", o->help, o->required ? " (required)" : "");
	}
}

/* All commands, or those of a group like "audit". */
static void list_commands(FILE *out, const char *group)
{
	size_t n = strlen(group);

	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		char left[64];

		if (n && (strncmp(commands[i].name, group, n) != 0 || commands[i].name[n] != ' '))
			continue;
		snprintf(left, sizeof(left), "%s%s%s%s", n ? "custos " : "", commands[i].name,
		         *commands[i].operands ? " " : "", commands[i].operands);
		print_column(out, left, 32);
		fprintf(out, "%s\n", commands[i].summary);
	}
}

static void help_all(FILE *out)
{
	fputs("usage: custos [--config FILE] COMMAND … [--json]\n\n", out);
	list_commands(out, "");
	fputs("\ncustos COMMAND --help tells a command's options; custos(1) tells all.\n"
	      "Times: \"2026-11-20 08:15[:00]\" local, RFC 3339, -15min, now.\n"
	      "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 daemon not reachable.\n",
	      out);
}

static int help_command(const struct command *c)
{
	printf("usage: custos %s %s%s[options]\n%s\nexample: custos %s\n\n", c->name, c->operands,
	       *c->operands ? " " : "", c->summary, c->example);
	print_options(c->options);
	print_options(opts_global);
	return fflush(stdout) == 0 ? CLI_DONE : CLI_REFUSED;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* "audit" and "config" are no commands, but some begin with them. */
static bool is_group(const char *word)
{
	size_t n = strlen(word);

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strncmp(commands[i].name, word, n) == 0 && commands[i].name[n] == ' ')
			return true;
	return false;
}

/* The words end before they name a command: say which there are. */
static int no_command(const struct args *a, const char *group)
{
	bool asked = args_has(a, "help");
	FILE *out = asked ? stdout : stderr;

	if (!*group && args_has(a, "version"))
		return puts("custos " VERSION) >= 0 ? CLI_DONE : CLI_REFUSED;
	if (*group)
		list_commands(out, group);
	else
		help_all(out);
	if (!asked)
		return CLI_USAGE;
	return fflush(out) == 0 ? CLI_DONE : CLI_REFUSED;
}

/* Takes words until a command's name is complete; *used says how many. NULL: there is nothing more
 * to do, *status is what to exit with. */
static const struct command *take_command(struct cli *cli, struct args *a, int argc, char **argv,
                                          int *used, int *status)
{
	const struct command *c;
	char err[512], name[64] = "";

	for (*used = 0;;) {
		int n = args_parse(a, argc - *used, argv + *used, true, err, sizeof(err));

		if (n < 0) {
			*status = cli_fail(cli, CLI_USAGE, "%s", err);
			return NULL;
		}
		*used += n;
		if (*used == argc) {
			*status = no_command(a, name);
			return NULL;
		}
		snprintf(name + strlen(name), sizeof(name) - strlen(name), "%s%.40s",
		         *name ? " " : "", argv[*used]);
		++*used;
		c = find_command(name);
		if (c)
			return c;
		if (!is_group(name)) {
			*status = cli_fail(cli, CLI_USAGE,
			                   "unknown command \"%s\"; see custos --help", name);
			return NULL;
		}
	}
}

static int load_conf(struct cli *cli, const struct command *c)
{
	bool named = cli->conf_file || getenv("CUSTOS_CONF");
	int err = conf_load(cli->conf_file, &cli->conf, cli->conf_error, sizeof(cli->conf_error));

	if (err && (named || !(c->flags & CONF_OPTIONAL)))
		return cli_fail(cli, CLI_REFUSED, "%s", cli->conf_error);
	return CLI_DONE;
}

/* Texts travel as JSON and stand in logs and on screens: UTF-8 without control characters. */
static int check_texts(const struct cli *cli, const struct args *a)
{
	for (size_t i = 0; i < a->n_options; i++)
		if (a->values[i] && !utf8_valid(a->values[i], strlen(a->values[i])))
			return cli_fail(
			        cli, CLI_USAGE,
			        "--%s is not UTF-8 text without control characters; correct it",
			        a->options[i]->name);
	return CLI_DONE;
}

static int run(struct cli *cli, const struct command *c, struct args *a)
{
	char err[512];
	int status;

	if (args_check(a, c->min_operands, c->max_operands, err, sizeof(err)) != 0)
		return cli_fail(cli, CLI_USAGE, "%s", err);
	status = check_texts(cli, a);
	if (status)
		return status;
	cli->json = args_has(a, "json");
	if (cli->json && (c->flags & NO_JSON))
		return cli_fail(cli, CLI_USAGE, "--json is not for this command; leave it out");
	cli->conf_file = args_get(a, "config");
	status = load_conf(cli, c);
	if (!status)
		status = c->run(cli);
	conf_free(cli->conf);
	return status;
}

int main(int argc, char **argv)
{
	struct args a = {0};
	struct cli cli = {.args = &a, .now_ns = clock_wall_ns()};
	const struct command *c;
	char err[512];
	int used, status;

	/* Widths of characters; messages do not change with the language. */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		setlocale(LC_CTYPE, "");
	signal(SIGPIPE, SIG_IGN);
	args_allow(&a, opts_global);
	c = take_command(&cli, &a, argc - 1, argv + 1, &used, &status);
	if (!c)
		return status;
	cli.command = c->name;
	args_allow(&a, c->options);
	if (args_parse(&a, argc - 1 - used, argv + 1 + used, false, err, sizeof(err)) < 0)
		return cli_fail(&cli, CLI_USAGE, "%s", err);
	if (args_has(&a, "help"))
		return help_command(c);
	return run(&cli, c, &a);
}

/*
 * cli.c — what all subcommands share: one-line failures, calls to daemons, options into requests.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "policyd/line.h"
#include "tools/cli.h"
#include "tools/table.h"

#define CONNECT_NS (5 * NSEC_PER_SEC)
#define REPLY_NS   (30 * NSEC_PER_SEC)

int cli_fail(const struct cli *cli, enum cli_status status, const char *format, ...)
{
	char line[2048];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	text_tame(line);
	fflush(stdout);
	if (cli->command)
		fprintf(stderr, "custos: %s: %s\n", cli->command, line);
	else
		fprintf(stderr, "custos: %s\n", line);
	return status;
}

static const struct {
	const char *name, *program;
	enum conf_path socket;
} daemons[] = {
        [CLI_POLICY] = {"policy", "custos-policyd", CONF_SOCK_POLICY},
        [CLI_RECORDER] = {"recorder", "custos-recorderd", CONF_SOCK_RECORD},
        [CLI_GATE] = {"gate", "custosfs", CONF_SOCK_GATE},
};

const char *cli_daemon_name(enum cli_daemon which)
{
	return daemons[which].name;
}

static const char *daemon_user(const struct conf *c, enum cli_daemon which)
{
	return which == CLI_POLICY     ? c->policy_user
	       : which == CLI_RECORDER ? c->recorder_user
	                               : c->gate_user;
}

static int connect_to(const struct cli *cli, enum cli_daemon which, struct line_client **out,
                      char *err, size_t err_bytes)
{
	const char *user = daemon_user(cli->conf, which);
	char path[PATH_MAX];
	uid_t uid;
	int rc;

	conf_path(cli->conf, daemons[which].socket, path, sizeof(path));
	rc = conf_uid(user, &uid);
	if (rc) {
		snprintf(err, err_bytes, "user \"%s\" of %s cannot be looked up: %s; correct %s",
		         user, daemons[which].program, strerror(-rc), cli->conf->file);
		return CLI_REFUSED;
	}
	rc = line_connect(path, uid, CONNECT_NS, out);
	if (rc == -EPERM) {
		snprintf(err, err_bytes,
		         "somebody other than \"%s\" answers at %s; find out who does before "
		         "trusting it",
		         user, path);
		return CLI_REFUSED;
	}
	if (rc) {
		snprintf(err, err_bytes, "%s is not reachable at %s: %s; is it running?",
		         daemons[which].program, path, strerror(-rc));
		return CLI_UNREACHABLE;
	}
	return CLI_DONE;
}

int cli_call_quiet(const struct cli *cli, enum cli_daemon which, json_t *req, int pass_fd,
                   int64_t timeout_ns, json_t **reply, char *err, size_t err_bytes)
{
	struct line_client *client = NULL;
	json_t *answer = NULL;
	int rc, status;

	status = connect_to(cli, which, &client, err, err_bytes);
	if (status)
		goto out;
	rc = line_call(client, req, pass_fd, timeout_ns ? timeout_ns : REPLY_NS, &answer);
	if (rc == -EMSGSIZE) {
		snprintf(err, err_bytes, "the request is too long; shorten its texts");
		status = CLI_REFUSED;
	} else if (rc) {
		snprintf(err, err_bytes, "%s did not answer: %s; see its log",
		         daemons[which].program, strerror(-rc));
		status = CLI_UNREACHABLE;
	} else if (!json_is_true(json_object_get(answer, "ok"))) {
		snprintf(err, err_bytes, "%s", cli_text(answer, "error"));
		status = CLI_REFUSED;
	}
	if (status)
		json_decref(answer);
	else
		*reply = answer;
out:
	line_disconnect(client);
	json_decref(req);
	return status;
}

int cli_call(const struct cli *cli, enum cli_daemon which, json_t *req, int pass_fd,
             int64_t timeout_ns, json_t **reply)
{
	char err[1024];
	int status = cli_call_quiet(cli, which, req, pass_fd, timeout_ns, reply, err, sizeof(err));

	if (status)
		cli_fail(cli, status, "%s", err);
	return status;
}

int cli_print_json(const struct cli *cli, const json_t *value)
{
	if (json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY) != 0 && !ferror(stdout))
		return cli_fail(cli, CLI_REFUSED, "out of memory; free some");
	putchar('\n');
	return cli_finish(cli);
}

/* Whoever closed the pipe (head, a pager) has seen enough. */
static bool reader_left(void)
{
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	return poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

int cli_finish(const struct cli *cli)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return CLI_DONE;
	if (reader_left())
		return CLI_REFUSED;
	return cli_fail(cli, CLI_REFUSED, "cannot write the output: %s; is the disk full?",
	                strerror(errno ? errno : EIO));
}

int cli_finish_list(const struct cli *cli, size_t n, const char *none)
{
	if (n == 0)
		puts(none);
	return cli_finish(cli);
}

int cli_get_time(const struct cli *cli, const char *name, int64_t *out_ns)
{
	const char *text = args_get(cli->args, name);
	int err;

	if (!text)
		return CLI_DONE;
	err = time_parse(text, cli->now_ns, out_ns);
	if (err == -ERANGE)
		return cli_fail(
		        cli, CLI_USAGE,
		        "--%s \"%s\" is ambiguous or does not exist here (clock change); give "
		        "it with its offset, like 2026-11-20T08:15:00+08:00",
		        name, text);
	if (err)
		return cli_fail(cli, CLI_USAGE,
		                "--%s \"%s\" is not a time; write \"2026-11-20 08:15\", RFC 3339, "
		                "-15min or now",
		                name, text);
	return CLI_DONE;
}

int cli_take_time(const struct cli *cli, const char *name, json_t *req)
{
	int64_t t_ns = 0;
	int status = cli_get_time(cli, name, &t_ns);

	if (!status && args_has(cli->args, name))
		json_object_set_new(req, name, json_integer(t_ns));
	return status;
}

void cli_take_text(const struct cli *cli, const char *name, json_t *req)
{
	const char *text = args_get(cli->args, name);

	if (text)
		json_object_set_new(req, name, json_string(text));
}

int cli_take_number(const struct cli *cli, size_t i, const char *what, json_t *req)
{
	uint64_t number;

	if (args_number(cli->args->operand[i], &number) != 0)
		return cli_fail(cli, CLI_USAGE,
		                "\"%s\" is not the number of a %s; give one like 12",
		                cli->args->operand[i], what);
	json_object_set_new(req, what, json_integer((json_int_t)number));
	return CLI_DONE;
}

json_t *cli_split(const char *text)
{
	json_t *array = json_array();

	for (const char *p = text; array; p++) {
		size_t n = strcspn(p, ",");

		if (n == 0 || json_array_append_new(array, json_stringn(p, n)) != 0) {
			json_decref(array);
			return NULL;
		}
		p += n;
		if (!*p)
			break;
	}
	return array;
}

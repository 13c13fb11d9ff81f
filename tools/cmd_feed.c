/*
 * cmd_feed.c — hands an opened stream to the recorder and waits for its end.
 *
 * The descriptor itself is passed, so not a byte goes through this process; interrupting the
 * command ends the feed, because the recorder sees its connection go.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/commands.h"

const struct args_option opts_feed[] = {
        {"start", "T", "old footage: it began at T (role importer)", false},
        {0},
};

/* Opens what is to be fed; *name is what the recorder may call it. */
static int open_source(struct cli *cli, int *out, const char **name)
{
	const char *file = cli->args->n_operands > 1 ? cli->args->operand[1] : "-";
	struct stat st;
	int fd;

	if (strcmp(file, "-") == 0) {
		if (isatty(STDIN_FILENO))
			return cli_fail(
			        cli, CLI_USAGE,
			        "standard input is a terminal; pipe a stream in, or name a file");
		*out = STDIN_FILENO;
		*name = "-";
		return CLI_DONE;
	}
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return cli_fail(cli, CLI_REFUSED,
		                "%s cannot be opened: %s; check name and permissions", file,
		                strerror(errno));
	if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode)) {
		close(fd);
		return cli_fail(cli, CLI_REFUSED, "%s is a folder; name a file or pipe", file);
	}
	*out = fd;
	*name = strrchr(file, '/') ? strrchr(file, '/') + 1 : file;
	return CLI_DONE;
}

static int print_result(struct cli *cli, json_t *reply)
{
	char d[CLI_TIME_MAX], from[CLI_TIME_MAX], to[CLI_TIME_MAX];
	const char *reason = cli_text(reply, "reason"), *note = cli_text(reply, "note");

	json_object_del(reply, "ok");
	if (cli->json)
		return cli_print_json(cli, reply);
	printf("%lld frames, %s, %s to %s%s%s%s\n", (long long)cli_int(reply, "frames"),
	       cli_duration((int64_t)(json_number_value(json_object_get(reply, "seconds")) * 1e9),
	                    d),
	       cli_time(json_object_get(reply, "from"), from),
	       cli_time(json_object_get(reply, "to"), to), *reason ? " (" : "", reason,
	       *reason ? ")" : "");
	if (*note)
		printf("%s\n", note);
	return cli_finish(cli);
}

int cmd_feed(struct cli *cli)
{
	json_t *req = json_pack("{s:s, s:s}", "op", "feed", "camera", cli->args->operand[0]),
	       *reply;
	const char *name = "-";
	int fd = -1, status;

	if (!req)
		return cli_fail(cli, CLI_USAGE, "the camera's name is not UTF-8; correct it");
	status = cli_take_time(cli, "start", req);
	if (!status)
		status = open_source(cli, &fd, &name);
	if (status) {
		json_decref(req);
		return status;
	}
	json_object_set_new(req, "name", json_string(name));
	status = cli_call(cli, CLI_RECORDER, req, fd, INT64_MAX, &reply);
	close(fd);
	if (status)
		return status;
	status = print_result(cli, reply);
	json_decref(reply);
	return status;
}

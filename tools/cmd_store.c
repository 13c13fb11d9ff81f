/*
 * cmd_store.c — a store as a folder of files: make it, check it, show what a segment holds.
 *
 * These work on the files themselves, without a daemon; the permissions of the folder decide who
 * may.
 */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/engine.h"
#include "tools/commands.h"
#include "tools/store_dir.h"

const struct args_option opts_init[] = {
        {"size", "S", "size of the store, like 64G", true},
        {"cameras", "N", "how many cameras will share it (default 16)", false},
        {"segment-size", "S", "4M to 1G (default: from size and cameras)", false},
        {"prewrite", NULL, "write everything once now instead of ahead of need", false},
        {"no-encrypt", NULL, "unencrypted; stores of this version always are", false},
        {0},
};
const struct args_option opts_fsck[] = {
        {"store", "NAME|DIR", "which store (default: the only one)", false},
        {"rebuild", NULL, "make the catalog anew from the segments; recorder stopped", false},
        {0},
};
const struct args_option opts_dump[] = {
        {"store", "NAME|DIR", "which store (default: the only one)", false},
        {"frames", NULL, "each frame too", false},
        {0},
};
const struct args_option opts_verify[] = {
        {"store", "NAME|DIR", "which store (default: the only one)", false},
        {"headers", NULL, "headers and tables only, no payload", false},
        {0},
};

/* ---- init ---- */

static int take_size(const struct cli *cli, const char *name, uint64_t *out)
{
	const char *text = args_get(cli->args, name);

	if (text && size_parse(text, out) != 0)
		return cli_fail(cli, CLI_USAGE, "--%s \"%s\" is not a size; write one like 256M",
		                name, text);
	return CLI_DONE;
}

/* The configured group may read, so that the gate can; without a configuration nobody else. */
static int take_group(const struct cli *cli, gid_t *out)
{
	const struct group *g;

	*out = (gid_t)-1;
	if (!cli->conf)
		return CLI_DONE;
	errno = 0;
	g = getgrnam(cli->conf->store_group);
	if (!g)
		return cli_fail(cli, CLI_REFUSED,
		                "group \"%s\" of %s cannot be looked up%s%s; make it or correct "
		                "store_group",
		                cli->conf->store_group, cli->conf->file, errno ? ": " : "",
		                errno ? strerror(errno) : "");
	*out = g->gr_gid;
	return CLI_DONE;
}

static int take_init(const struct cli *cli, struct eng_init_options *opt)
{
	const char *cameras = args_get(cli->args, "cameras");
	uint64_t n = 0;
	int status = take_size(cli, "size", &opt->size_bytes);

	if (!status)
		status = take_size(cli, "segment-size", &opt->segment_bytes);
	if (status)
		return status;
	if (cameras && (args_number(cameras, &n) != 0 || n == 0 || n > 100000))
		return cli_fail(cli, CLI_USAGE,
		                "--cameras \"%s\" is not a number of cameras; write 1 to "
		                "100000",
		                cameras);
	opt->cameras = (uint32_t)n;
	opt->prewrite = args_has(cli->args, "prewrite");
	return take_group(cli, &opt->group);
}

/* The recorder drops root; what root makes must become the recorder's. */
static int give_to_recorder(const struct cli *cli, const char *dir)
{
	uid_t uid;
	int err;

	if (!cli->conf || geteuid() != 0)
		return CLI_DONE;
	err = conf_uid(cli->conf->recorder_user, &uid);
	if (!err)
		err = store_give(dir, uid);
	if (err)
		return cli_fail(cli, CLI_REFUSED,
		                "the store is made, but cannot be given to \"%s\": %s; chown -R %s",
		                cli->conf->recorder_user, strerror(-err), dir);
	return CLI_DONE;
}

int cmd_init(struct cli *cli)
{
	const char *dir = cli->args->operand[0];
	struct eng_init_options opt = {0};
	char err[512], size[CLI_TIME_MAX];
	int status = take_init(cli, &opt);

	if (status)
		return status;
	if (eng_init(dir, &opt, err, sizeof(err)) != 0)
		return cli_fail(cli, CLI_REFUSED, "%s", err);
	status = give_to_recorder(cli, dir);
	if (status)
		return status;
	if (cli->json) {
		json_t *out =
		        json_pack("{s:s, s:I}", "store", dir, "bytes", (json_int_t)opt.size_bytes);
		status = cli_print_json(cli, out);
		json_decref(out);
		return status;
	}
	printf("store made in %s (%s, not encrypted)\n", dir, cli_size(opt.size_bytes, size));
	if (!args_has(cli->args, "no-encrypt"))
		puts("stores of this version never are: protect the disk; --no-encrypt says that "
		     "you know");
	return cli_finish(cli);
}

/* ---- verify and fsck ---- */

struct scrub {
	const struct cli *cli;
	json_t *findings; /* with --json */
	bool bar;
};

static void on_finding(void *arg, uint64_t segment, uint64_t offset, const char *what)
{
	struct scrub *s = arg;

	if (s->findings)
		json_array_append_new(s->findings,
		                      json_pack("{s:I, s:I, s:s}", "segment", (json_int_t)segment,
		                                "offset", (json_int_t)offset, "what", what));
	else
		printf("%ssegment %" PRIu64 " offset %" PRIu64 ": %s\n", s->bar ? "\r\033[K" : "",
		       segment, offset, what);
}

static void on_progress(void *arg, uint64_t done, uint64_t all)
{
	struct scrub *s = arg;

	if (s->bar)
		fprintf(stderr, "\r%3" PRIu64 " %% of %" PRIu64 " segments%s",
		        all ? done * 100 / all : 100, all, done == all ? "\r\033[K" : "");
}

static json_t *report_json(const struct eng_verify_report *r)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "segments", (json_int_t)r->segments,
	                 "chunks", (json_int_t)r->chunks, "units", (json_int_t)r->units, "frames",
	                 (json_int_t)r->frames, "bytes", (json_int_t)r->bytes, "damaged",
	                 (json_int_t)r->damaged);
}

static void print_report(const struct eng_verify_report *r, bool payload)
{
	char size[CLI_TIME_MAX];

	printf("%" PRIu64 " segments, %" PRIu64 " chunks, %" PRIu64 " frames", r->segments,
	       r->chunks, r->frames);
	if (payload)
		printf(", %s checked: ", cli_size(r->bytes, size));
	else
		printf(" by headers and tables: ");
	printf(r->damaged ? "%" PRIu64 " damaged\n" : "no damage\n", r->damaged);
}

static int may_not_read(const struct cli *cli, const char *err)
{
	return cli_fail(cli, CLI_REFUSED, "%s; only root, the recorder's user and group %s may",
	                err, cli->conf ? cli->conf->store_group : "of the store");
}

static int scrub(struct cli *cli, const char *dir, const struct eng_verify_options *what)
{
	struct scrub s = {.cli = cli, .bar = !cli->json && isatty(STDERR_FILENO)};
	struct eng_verify_options opt = *what;
	struct eng_verify_report r = {0};
	char err[512];
	json_t *out;
	int status, rc;

	s.findings = cli->json ? json_array() : NULL;
	opt.finding = on_finding;
	opt.progress = on_progress;
	opt.arg = &s;
	rc = eng_verify(dir, &opt, &r, err, sizeof(err));
	if (rc) {
		json_decref(s.findings);
		return rc == -EACCES || rc == -EPERM ? may_not_read(cli, err)
		                                     : cli_fail(cli, CLI_REFUSED, "%s", err);
	}
	if (!r.segments && (opt.camera || opt.segment >= 0)) {
		json_decref(s.findings);
		return cli_fail(cli, CLI_REFUSED,
		                "%s: nothing is recorded there under that name or number; see "
		                "custos ls",
		                dir);
	}
	if (cli->json) {
		out = report_json(&r);
		json_object_set_new(out, "findings", s.findings);
		status = cli_print_json(cli, out);
		json_decref(out);
	} else {
		print_report(&r, opt.payload);
		status = cli_finish(cli);
	}
	if (r.damaged && !status)
		status = cli_fail(cli, CLI_REFUSED,
		                  "%s: %" PRIu64 " places are damaged; restore them from "
		                  "a backup, the rest stays readable",
		                  dir, r.damaged);
	return status;
}

int cmd_verify(struct cli *cli)
{
	struct eng_verify_options opt = {.segment = -1, .payload = !args_has(cli->args, "headers")};
	const char *dir, *what;
	uint64_t number;
	size_t used;
	int status = store_dir(cli, &dir, &used);

	if (status)
		return status;
	if (cli->args->n_operands > used + 1)
		return cli_fail(cli, CLI_USAGE, "too many arguments at \"%s\"; see --help",
		                cli->args->operand[used + 1]);
	what = cli->args->n_operands > used ? cli->args->operand[used] : NULL;
	if (what && args_number(what, &number) == 0 && !(cli->conf && conf_camera(cli->conf, what)))
		opt.segment = (int64_t)number;
	else
		opt.camera = what;
	return scrub(cli, dir, &opt);
}

int cmd_fsck(struct cli *cli)
{
	struct eng_verify_options opt = {.segment = -1};
	const char *dir;
	char err[512];
	size_t used;
	int status = store_dir(cli, &dir, &used), rc;

	if (status)
		return status;
	if (cli->args->n_operands > used)
		return cli_fail(cli, CLI_USAGE,
		                "\"%s\" is not a folder; write it with a / or use --store NAME",
		                cli->args->operand[used]);
	if (args_has(cli->args, "rebuild")) {
		rc = eng_catalog_rebuild(dir, err, sizeof(err));
		if (rc)
			return cli_fail(cli, CLI_REFUSED, "%s", err);
		rc = store_give(dir, (uid_t)-1);
		if (rc)
			return cli_fail(
			        cli, CLI_REFUSED,
			        "the catalog is rebuilt, but its owner cannot be set: %s; give it "
			        "the owner of %s",
			        strerror(-rc), dir);
		if (!cli->json)
			puts("catalog rebuilt");
	}
	return scrub(cli, dir, &opt);
}

int cmd_dump(struct cli *cli)
{
	const char *dir;
	char err[512];
	uint64_t segment;
	size_t used;
	int status = store_dir(cli, &dir, &used);

	if (status)
		return status;
	if (cli->args->n_operands != used + 1 ||
	    args_number(cli->args->operand[used], &segment) != 0)
		return cli_fail(cli, CLI_USAGE,
		                "which segment? give its number, like 12; see --help");
	if (eng_dump(dir, segment, args_has(cli->args, "frames"), stdout, err, sizeof(err)) != 0)
		return cli_fail(cli, CLI_REFUSED, "%s", err);
	return cli_finish(cli);
}

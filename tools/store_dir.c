/*
 * store_dir.c — which store a command works on, and whom its files belong to.
 */
#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/store_dir.h"

static bool looks_like_path(const char *text)
{
	return strchr(text, '/') || strcmp(text, ".") == 0 || strcmp(text, "..") == 0;
}

static int by_name(const struct cli *cli, const char *name, const char **dir)
{
	const struct conf_store *s;

	if (!cli->conf)
		return cli_fail(cli, CLI_REFUSED, "store \"%s\" cannot be looked up: %s", name,
		                cli->conf_error);
	s = conf_store(cli->conf, name);
	if (!s)
		return cli_fail(cli, CLI_REFUSED,
		                "there is no store \"%s\" in %s; give one of its names or a folder",
		                name, cli->conf->file);
	*dir = s->path;
	return CLI_DONE;
}

int store_dir(const struct cli *cli, const char **dir, size_t *used)
{
	const char *given = args_get(cli->args, "store");
	const char *first = cli->args->n_operands ? cli->args->operand[0] : NULL;

	*used = 0;
	if (given) {
		*dir = given;
		return looks_like_path(given) ? CLI_DONE : by_name(cli, given, dir);
	}
	if (first && looks_like_path(first)) {
		*dir = first;
		*used = 1;
		return CLI_DONE;
	}
	if (cli->conf && cli->conf->n_stores == 1) {
		*dir = cli->conf->stores[0].path;
		return CLI_DONE;
	}
	return cli_fail(cli, CLI_USAGE,
	                "which store? give its folder (with a / in it) or --store NAME");
}

int store_give(const char *dir, uid_t user)
{
	char path[4096];
	char *const roots[] = {path, NULL};
	struct stat st;
	FTS *walk;
	int err = 0;

	if (geteuid() != 0)
		return 0;
	if (stat(dir, &st) != 0)
		return -errno;
	snprintf(path, sizeof(path), "%s", dir);
	/* FTS_PHYSICAL with lchown: a link in the store must not give away what it points to. */
	walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	if (!walk)
		return -errno;
	for (FTSENT *e; !err && (e = fts_read(walk));) {
		if (e->fts_info == FTS_DP)
			continue;
		if (e->fts_info == FTS_ERR || e->fts_info == FTS_DNR || e->fts_info == FTS_NS)
			err = -e->fts_errno;
		else if (lchown(e->fts_accpath, user == (uid_t)-1 ? st.st_uid : user, (gid_t)-1) !=
		         0)
			err = -errno;
	}
	fts_close(walk);
	return err;
}

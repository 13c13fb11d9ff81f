/*
 * people.c — who somebody is, asked from NSS at the moment it matters.
 *
 * "Not found" is an answer; a directory that cannot be reached is not. The difference is kept, so
 * that an outage refuses instead of looking like somebody who merely is not in a group.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "policyd/conf.h"

#define NSS_FIRST_BYTES 4096
#define NSS_MAX_BYTES   (4 * MIB) /* a group with some hundred thousand members */
#define GROUPS_MAX      65536

/* One look-up with a buffer that grows. The call returns as the getXXX_r functions do. */
struct lookup {
	char *buf;
	size_t bytes;
};

static bool grow(struct lookup *l, int rc)
{
	char *more;

	if (rc != ERANGE || l->bytes >= NSS_MAX_BYTES)
		return false;
	l->bytes *= 2;
	more = realloc(l->buf, l->bytes);
	if (more)
		l->buf = more;
	return more != NULL;
}

/* What a getXXX_r's return means: 0 found, -ENOENT certainly not there, else cannot be told. */
static int outcome(int rc, const void *found)
{
	if (found)
		return 0;
	if (rc == 0 || rc == ENOENT || rc == ESRCH)
		return -ENOENT;
	return -rc;
}

static int by_name(const char *name, struct passwd *pw, struct lookup *l)
{
	struct passwd *found = NULL;
	int rc;

	do {
		rc = getpwnam_r(name, pw, l->buf, l->bytes, &found);
	} while (rc == EINTR || grow(l, rc));
	return outcome(rc, found);
}

static int by_uid(uid_t uid, struct passwd *pw, struct lookup *l)
{
	struct passwd *found = NULL;
	int rc;

	do {
		rc = getpwuid_r(uid, pw, l->buf, l->bytes, &found);
	} while (rc == EINTR || grow(l, rc));
	return outcome(rc, found);
}

static int group_by_name(const char *name, struct group *gr, struct lookup *l)
{
	struct group *found = NULL;
	int rc;

	do {
		rc = getgrnam_r(name, gr, l->buf, l->bytes, &found);
	} while (rc == EINTR || grow(l, rc));
	return outcome(rc, found);
}

static int lookup_begin(struct lookup *l)
{
	l->bytes = NSS_FIRST_BYTES;
	l->buf = malloc(l->bytes);
	return l->buf ? 0 : -ENOMEM;
}

/* "1004" and nothing else. */
static int parse_uid(const char *text, uid_t *out)
{
	char *end;
	unsigned long value;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value >= UINT32_MAX)
		return -EINVAL;
	*out = (uid_t)value;
	return 0;
}

int people_uid(const char *name, uid_t *out)
{
	struct lookup l;
	struct passwd pw;
	int err;

	if (strncmp(name, "uid:", 4) == 0)
		return parse_uid(name + 4, out);
	err = lookup_begin(&l);
	if (err)
		return err;
	err = by_name(name, &pw, &l);
	if (!err)
		*out = pw.pw_uid;
	free(l.buf);
	return err;
}

int people_name(uid_t uid, char *out, size_t out_bytes)
{
	struct lookup l;
	struct passwd pw;
	int err = lookup_begin(&l);

	if (err)
		return err;
	err = by_uid(uid, &pw, &l);
	if (!err)
		snprintf(out, out_bytes, "%s", pw.pw_name);
	else if (err == -ENOENT)
		snprintf(out, out_bytes, "uid:%u", (unsigned)uid);
	free(l.buf);
	return err == -ENOENT ? 0 : err;
}

/* Membership as the directory tells it for the user: directories may hide a group's members. */
static int in_group_list(const struct passwd *pw, gid_t gid)
{
	int n = 64, found = 0;
	gid_t *list = calloc((size_t)n, sizeof(*list));

	while (list && getgrouplist(pw->pw_name, pw->pw_gid, list, &n) < 0) {
		free(list);
		list = n > 0 && n <= GROUPS_MAX ? calloc((size_t)n, sizeof(*list)) : NULL;
	}
	if (!list)
		return -ENOMEM;
	for (int i = 0; i < n && !found; i++)
		found = list[i] == gid;
	free(list);
	return found;
}

static int in_group(const char *group, uid_t uid)
{
	struct lookup lg = {0}, lp = {0};
	struct passwd pw;
	struct group gr;
	int rc = lookup_begin(&lg);

	if (!rc)
		rc = lookup_begin(&lp);
	if (!rc)
		rc = group_by_name(group, &gr, &lg);
	if (!rc)
		rc = by_uid(uid, &pw, &lp);
	if (rc)
		goto out; /* no such group, or a uid without a name: in no group */
	for (char **m = gr.gr_mem; *m && !rc; m++)
		rc = strcmp(*m, pw.pw_name) == 0;
	if (!rc)
		rc = in_group_list(&pw, gr.gr_gid);
out:
	free(lg.buf);
	free(lp.buf);
	return rc == -ENOENT ? 0 : rc;
}

int people_match(const char *who, uid_t uid)
{
	uid_t named;
	int err;

	if (*who == '@')
		return in_group(who + 1, uid);
	err = people_uid(who, &named);
	if (err == -ENOENT)
		return 0;
	return err ? err : named == uid;
}

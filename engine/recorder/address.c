/*
 * address.c — a camera's address, with its password for the child and without it for people.
 */
#include "engine/recorder/recorder.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where "user:password@" would begin and end inside an address. */
static void userinfo(const char *url, const char **begin, const char **end)
{
	const char *s = strstr(url, "://");
	*begin = s ? s + 3 : url;
	*end = *begin;
	if (!s)
		return;
	const char *stop = *begin + strcspn(*begin, "/?#");
	for (const char *p = *begin; p < stop; p++)
		if (*p == '@')
			*end = p + 1;
}

void source_shown(const char *url, char *out, size_t out_bytes)
{
	const char *begin, *end;
	userinfo(url, &begin, &end);
	/* A query may carry a token. */
	size_t n = strcspn(end, "?");
	snprintf(out, out_bytes, "%.*s%.*s", (int)(begin - url), url, (int)n, end);
}

/* Everything but unreserved characters as %XX. */
static size_t escape(const char *in, size_t len, char *out, size_t out_bytes)
{
	size_t n = 0;
	for (size_t i = 0; i < len && n + 4 < out_bytes; i++) {
		unsigned char c = (unsigned char)in[i];
		if (isalnum(c) || strchr("-._~", c))
			out[n++] = (char)c;
		else
			n += (size_t)snprintf(out + n, out_bytes - n, "%%%02X", c);
	}
	out[n] = 0;
	return n;
}

static int read_credential(const char *path, char *out, size_t out_bytes, char *err,
                           size_t err_bytes)
{
	struct stat st = {0};
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int e = fd < 0 || fstat(fd, &st) ? -errno : 0;

	if (e == -EACCES) {
		snprintf(err, err_bytes, "credential file %s: %s; chown it to recorder_user", path,
		         strerror(-e));
	} else if (e) {
		snprintf(err, err_bytes, "credential file %s: %s", path, strerror(-e));
	} else if (st.st_mode & 077 || !S_ISREG(st.st_mode)) {
		snprintf(err, err_bytes, "credential file %s may be read by others; chmod 0400 it",
		         path);
		e = -EACCES;
	} else {
		ssize_t n = pread(fd, out, out_bytes - 1, 0);
		out[n > 0 ? n : 0] = 0;
		out[strcspn(out, "\r\n")] = 0;
		if (!strchr(out, ':') || out[0] == ':') {
			snprintf(err, err_bytes,
			         "credential file %s: one line \"user:password\" is wanted", path);
			e = -EINVAL;
		}
	}
	if (fd >= 0)
		close(fd);
	return e;
}

int source_url(const struct conf_camera *c, char *out, size_t out_bytes, char *err,
               size_t err_bytes)
{
	char text[512], user[768], pass[768];
	const char *begin, *end;

	if (!c->credential) {
		if ((size_t)snprintf(out, out_bytes, "%s", c->source) < out_bytes)
			return 0;
		snprintf(err, err_bytes, "the source's address is too long");
		return -EINVAL;
	}
	int e = read_credential(c->credential, text, sizeof(text), err, err_bytes);
	if (e)
		return e;
	char *colon = strchr(text, ':');
	escape(text, (size_t)(colon - text), user, sizeof(user));
	escape(colon + 1, strlen(colon + 1), pass, sizeof(pass));
	userinfo(c->source, &begin, &end);
	int n = snprintf(out, out_bytes, "%.*s%s:%s@%s", (int)(begin - c->source), c->source, user,
	                 pass, end);
	explicit_bzero(text, sizeof(text));
	explicit_bzero(pass, sizeof(pass));
	if (n < 0 || (size_t)n >= out_bytes) {
		explicit_bzero(out, out_bytes);
		snprintf(err, err_bytes, "the source's address is too long");
		return -EINVAL;
	}
	return 0;
}

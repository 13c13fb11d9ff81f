/*
 * file.c — whole reads and writes, files replaced in one step, folders, hex, random, UTF-8.
 *
 * What every room would otherwise write again, a little differently each time: short counts and
 * EINTR, and the order (write, fsync, rename, fsync of the folder) that makes a replaced file
 * either the old or the new one after a power cut.
 */
#include "engine/base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

int file_pread_full(int fd, void *buf, size_t len_bytes, uint64_t offset)
{
	char *p = buf;
	ssize_t n;

	while (len_bytes) {
		n = pread(fd, p, len_bytes, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		len_bytes -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int file_pwrite_full(int fd, const void *buf, size_t len_bytes, uint64_t offset)
{
	const char *p = buf;
	ssize_t n;

	while (len_bytes) {
		n = pwrite(fd, p, len_bytes, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		p += n;
		len_bytes -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* Reads to the end of fd, at most max bytes, growing as needed: st_size lies for /proc. */
static int read_to_end(int fd, size_t max_bytes, char **out, size_t *len_bytes)
{
	size_t room = 4096, len = 0;
	char *buf = NULL, *bigger;
	ssize_t n;

	for (;;) {
		bigger = realloc(buf, room + 1);
		if (!bigger) {
			free(buf);
			return -ENOMEM;
		}
		buf = bigger;
		n = read(fd, buf + len, room - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			n = -errno;
			free(buf);
			return (int)n;
		}
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max_bytes) {
			free(buf);
			return -EFBIG;
		}
		if (len == room)
			room *= 2;
	}
	buf[len] = '\0';
	*out = buf;
	*len_bytes = len;
	return 0;
}

int file_read_all(const char *path, size_t max_bytes, char **out, size_t *len_bytes)
{
	size_t len = 0;
	int fd, err;

	*out = NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	err = read_to_end(fd, max_bytes, out, &len);
	close(fd);
	if (!err && len_bytes)
		*len_bytes = len;
	return err;
}

static int folder_sync(const char *path)
{
	char folder[PATH_MAX];
	char *slash;
	int fd, err = 0;

	snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (!slash)
		strcpy(folder, ".");
	else
		slash[slash == folder] = '\0';
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fsync(fd))
		err = -errno;
	close(fd);
	return err;
}

int file_replace(const char *path, const void *buf, size_t len_bytes, mode_t mode)
{
	char temporary[PATH_MAX];
	int fd, err;

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= sizeof(temporary))
		return -ENAMETOOLONG;
	fd = mkostemp(temporary, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = file_pwrite_full(fd, buf, len_bytes, 0);
	if (!err && (fchmod(fd, mode) || fsync(fd)))
		err = -errno;
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(temporary, path))
		err = -errno;
	if (err) {
		unlink(temporary);
		return err;
	}
	return folder_sync(path);
}

int dir_ensure(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	struct stat st;
	int fd, err = 0;

	if (mkdir(path, mode) && errno != EEXIST)
		return -errno;
	/* By descriptor and without following links: what is checked is what is changed. */
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st))
		err = -errno;
	if (!err &&
	    ((uid != (uid_t)-1 && st.st_uid != uid) || (gid != (gid_t)-1 && st.st_gid != gid))) {
		if (fchown(fd, uid, gid))
			err = -errno;
	}
	if (!err && (st.st_mode & 07777) != mode && fchmod(fd, mode))
		err = -errno;
	close(fd);
	return err;
}

int dir_ensure_parents(const char *path)
{
	char part[PATH_MAX];
	struct stat st;
	size_t len = strlen(path);

	if (len == 0)
		return -ENOENT;
	if (len >= sizeof(part))
		return -ENAMETOOLONG;
	memcpy(part, path, len + 1);
	for (size_t i = 1; i <= len; i++) {
		if (part[i] != '/' && part[i] != '\0')
			continue;
		part[i] = '\0';
		if (mkdir(part, 0755) && errno != EEXIST) {
			/* A read-only or foreign parent is fine as long as it is there. */
			int err = -errno;

			if (stat(part, &st) || !S_ISDIR(st.st_mode))
				return err;
		}
		part[i] = path[i];
	}
	if (stat(path, &st))
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

void hex_format(const void *bytes, size_t len_bytes, char *out)
{
	static const char digit[] = "0123456789abcdef";
	const uint8_t *b = bytes;

	for (size_t i = 0; i < len_bytes; i++) {
		*out++ = digit[b[i] >> 4];
		*out++ = digit[b[i] & 15];
	}
	*out = '\0';
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int hex_parse(const char *text, void *out, size_t len_bytes)
{
	uint8_t *b = out;

	for (size_t i = 0; i < len_bytes; i++) {
		int high = hex_value(text[2 * i]);
		int low = high < 0 ? -1 : hex_value(text[2 * i + 1]);

		if (low < 0)
			return -EINVAL;
		b[i] = (uint8_t)(high << 4 | low);
	}
	return text[2 * len_bytes] ? -EINVAL : 0;
}

void random_fill(void *out, size_t len_bytes)
{
	uint8_t *p = out;
	ssize_t n;

	while (len_bytes) {
		n = getrandom(p, len_bytes, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			abort();
		p += n;
		len_bytes -= (size_t)n;
	}
}

/* Length of the well-formed sequence at s, its code point in *cp; 0 when there is none. */
static size_t utf8_one(const uint8_t *s, size_t len_bytes, uint32_t *cp)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80         ? 1
	           : s[0] >> 5 == 0x06 ? 2
	           : s[0] >> 4 == 0x0e ? 3
	           : s[0] >> 3 == 0x1e ? 4
	                               : 0;

	if (n == 0 || n > len_bytes)
		return 0;
	*cp = n == 1 ? s[0] : s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if (s[i] >> 6 != 2)
			return 0;
		*cp = *cp << 6 | (s[i] & 0x3f);
	}
	if (*cp < least[n] || *cp > 0x10ffff || (*cp >= 0xd800 && *cp <= 0xdfff))
		return 0;
	return n;
}

bool utf8_valid(const char *s, size_t len_bytes)
{
	const uint8_t *p = (const uint8_t *)s;
	uint32_t cp;
	size_t n;

	for (; len_bytes; p += n, len_bytes -= n) {
		n = utf8_one(p, len_bytes, &cp);
		if (!n || cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
			return false;
	}
	return true;
}

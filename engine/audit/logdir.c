/*
 * logdir.c — the writer's lock and the files it makes ahead.
 *
 * Log files are written once with zeros before use: then a commit dirties no metadata, one flush of
 * data is all it costs, and a full disk shows while making the next file, not while somebody's read
 * waits for its record.
 */
#include "engine/audit/logdir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/audit/scan.h"

#define ZEROS_BYTES (256 * KIB)

/* Auditors read through the folder's group, whatever umask and group the daemon has. Where it may
 * not give the file away, the folder's owner has not asked for it. */
static int share_with_group(int dir_fd, int fd)
{
	struct stat st;

	if (fstat(dir_fd, &st))
		return -errno;
	if (fchown(fd, (uid_t)-1, st.st_gid) && errno != EPERM)
		return -errno;
	return fchmod(fd, 0640) ? -errno : 0;
}

int aud_dir_lock(int dir_fd, int *lock_fd)
{
	/* An open-file-description lock: readers can ask for it without ever taking it. */
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	int err;

	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_OFD_SETLK, &lock)) {
		err = errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
		close(fd);
		return err;
	}
	err = share_with_group(dir_fd, fd);
	if (err) {
		close(fd);
		return err;
	}
	*lock_fd = fd;
	return 0;
}

static int zeros_write(int fd, uint64_t bytes)
{
	uint8_t *zeros = calloc(1, ZEROS_BYTES);
	uint64_t at, n;
	int err = -posix_fallocate(fd, 0, (off_t)bytes);

	if (!zeros)
		return -ENOMEM;
	for (at = 0; !err && at < bytes; at += n) {
		n = bytes - at < ZEROS_BYTES ? bytes - at : ZEROS_BYTES;
		err = file_pwrite_full(fd, zeros, n, at);
	}
	free(zeros);
	if (!err && fsync(fd))
		err = -errno;
	return err;
}

int aud_next_make(int dir_fd, uint64_t bytes, int *out_fd)
{
	int fd, err;

	/* One left by an earlier writer may be half written. */
	if (unlinkat(dir_fd, "next", 0) && errno != ENOENT)
		return -errno;
	fd = openat(dir_fd, "next", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd < 0)
		return -errno;
	err = share_with_group(dir_fd, fd);
	if (!err)
		err = zeros_write(fd, bytes);
	if (err) {
		close(fd);
		(void)unlinkat(dir_fd, "next", 0);
		return err;
	}
	*out_fd = fd;
	return 0;
}

int aud_next_activate(int dir_fd, int fd, const struct aud_fmt_file *f)
{
	uint8_t header[AUD_FMT_FILE_HEADER];
	char name[AUD_FILE_NAME_MAX];
	int err;

	aud_fmt_file_put(f, header);
	aud_file_name(f->number, name);
	err = file_pwrite_full(fd, header, sizeof(header), 0);
	if (err)
		return err;
	if (fdatasync(fd) || renameat2(dir_fd, "next", dir_fd, name, RENAME_NOREPLACE) ||
	    fsync(dir_fd))
		return -errno;
	return 0;
}

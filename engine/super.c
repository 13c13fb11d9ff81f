/*
 * super.c — what everybody does first with a store: superblock, writer epoch, the writer's lock,
 * the segment files' names.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "engine/catalog.h"

static int path_in(const char *dir, const char *name, char out[PATH_MAX])
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int open_in(const char *dir, const char *name, int flags)
{
	char path[PATH_MAX];
	int fd, rc = path_in(dir, name, path);

	if (rc < 0)
		return rc;
	fd = open(path, flags | O_CLOEXEC, 0640);
	return fd < 0 ? -errno : fd;
}

static int read_blocks(const char *dir, const char *name, uint8_t *out, size_t bytes)
{
	int fd = open_in(dir, name, O_RDONLY), rc;

	if (fd < 0)
		return fd;
	rc = file_pread_full(fd, out, bytes, 0);
	close(fd);
	return rc == -ENODATA ? -EUCLEAN : rc;
}

int store_read_superblock(const char *dir, struct fmt_superblock *out, char *err, size_t err_bytes)
{
	uint8_t block[FMT_BLOCK];
	const char *why = "the file \"store\" is shorter than a superblock";
	int rc = read_blocks(dir, "store", block, sizeof block);

	if (rc == 0)
		rc = fmt_superblock_get(block, out, &why);
	if (rc == -ENOENT || rc == -ENOTDIR) {
		snprintf(err, err_bytes, "%s is not a custos store: make one with `custos init`",
		         dir);
		return -ENOENT;
	}
	if (rc == -EUCLEAN)
		snprintf(err, err_bytes, "%s cannot be used as a store: %s", dir, why);
	else if (rc < 0)
		snprintf(err, err_bytes, "%s/store cannot be read: %s", dir, strerror(-rc));
	return rc;
}

int store_read_epoch(const char *dir, const struct fmt_superblock *sb, struct fmt_epoch *out,
                     unsigned *slot)
{
	uint8_t blocks[2][FMT_BLOCK];
	bool found = false;
	int rc = read_blocks(dir, "epoch", blocks[0], sizeof blocks);

	if (rc < 0)
		return rc;
	for (unsigned i = 0; i < 2; i++) {
		struct fmt_epoch e;

		/* A slot torn by a crash is normal: then the other one holds. */
		if (fmt_epoch_get(blocks[i], &e) < 0 ||
		    memcmp(e.store, sb->store, ENG_UUID_BYTES) != 0)
			continue;
		if (found && e.epoch <= out->epoch)
			continue;
		*out = e;
		*slot = i;
		found = true;
	}
	return found ? 0 : -EUCLEAN;
}

int store_lock(const char *dir, int *fd)
{
	int rc, lock = open_in(dir, "lock", O_RDWR | O_CREAT);

	if (lock < 0)
		return lock;
	if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
		rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
		close(lock);
		return rc;
	}
	*fd = lock;
	return 0;
}

int store_open_segment(const char *dir, uint64_t number, int flags)
{
	char name[FMT_SEGMENT_PATH_MAX];

	fmt_segment_path(number, name);
	return open_in(dir, name, flags);
}

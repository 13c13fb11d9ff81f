/*
 * pool.c — making a store: the folder, the superblock, the epoch, and every segment's space.
 *
 * All space is allocated here and never again: a recorder that must allocate while it records can
 * run out of space, fragment and wait for the journal. Whatever goes wrong, what was made is taken
 * away again, and nothing that was there before is ever touched.
 */
#include "engine/catalog.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SEGMENTS_MIN   4u
#define PREWRITE_BYTES (1 * MIB)

struct making {
	const char *dir;
	const struct eng_init_options *opt;
	int dirfd;
	bool dir_made;
	struct fmt_superblock sb;
	uint64_t segments_made;
	char *err;
	size_t err_bytes;
};

static int fail(struct making *m, int code, const char *what)
{
	snprintf(m->err, m->err_bytes, "%s: %s: %s", m->dir, what, strerror(-code));
	return code;
}

static uint64_t default_segment_bytes(const struct eng_init_options *opt)
{
	uint64_t cameras = opt->cameras ? opt->cameras : 16;
	uint64_t want = opt->size_bytes / (64 * cameras), s = FMT_SEGMENT_MIN;

	while (s * 2 <= want && s < 256 * MIB)
		s *= 2;
	return s;
}

static int choose_sizes(struct making *m)
{
	uint64_t s = m->opt->segment_bytes;

	if (!s)
		s = default_segment_bytes(m->opt);
	if (s < FMT_SEGMENT_MIN || s > FMT_SEGMENT_MAX || s % FMT_BLOCK) {
		snprintf(m->err, m->err_bytes,
		         "segment size %llu is not possible; give 4M to 1G, a multiple of 4096",
		         (unsigned long long)s);
		return -EINVAL;
	}
	m->sb.segment_bytes = s;
	m->sb.segment_count = m->opt->size_bytes / s;
	if (m->sb.segment_count < SEGMENTS_MIN || m->sb.segment_count > UINT32_MAX) {
		snprintf(m->err, m->err_bytes,
		         "size %llu holds %llu segments of %llu bytes; it needs at least %u: give "
		         "more",
		         (unsigned long long)m->opt->size_bytes,
		         (unsigned long long)m->sb.segment_count, (unsigned long long)s,
		         SEGMENTS_MIN);
		return -EINVAL;
	}
	return 0;
}

/* The folder: made, or found empty. A store in it is told apart, that is the usual slip. */
static int take_folder(struct making *m)
{
	struct dirent *e;
	DIR *d;
	bool store = false, other = false;

	if (!mkdir(m->dir, 0750))
		m->dir_made = true;
	else if (errno == ENOENT) {
		/* Not made by us: below the mount point of a disk that is not mounted it would fill
		 * the wrong one. */
		snprintf(m->err, m->err_bytes,
		         "%s: the folder that it is to lie in does not exist; mount the disk, or "
		         "make it first",
		         m->dir);
		return -ENOENT;
	} else if (errno != EEXIST)
		return fail(m, -errno, "cannot make the folder");
	d = opendir(m->dir);
	if (!d)
		return fail(m, -errno, "cannot open the folder");
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, "store"))
			store = true;
		else if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
		         strcmp(e->d_name, "lost+found"))
			other = true;
	}
	closedir(d);
	if (store) {
		snprintf(m->err, m->err_bytes, "%s: a store is there already; it is left as it is",
		         m->dir);
		return -EEXIST;
	}
	if (other) {
		snprintf(m->err, m->err_bytes, "%s: the folder is not empty; give an empty one",
		         m->dir);
		return -ENOTEMPTY;
	}
	m->dirfd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return m->dirfd < 0 ? fail(m, -errno, "cannot open the folder") : 0;
}

static int own(struct making *m, int fd, mode_t mode)
{
	if (m->opt->group != (gid_t)-1 && fchown(fd, (uid_t)-1, m->opt->group))
		return -errno;
	return fchmod(fd, mode) ? -errno : 0;
}

static int make_file(struct making *m, const char *name, const void *bytes, size_t len)
{
	int fd = openat(m->dirfd, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0640);
	int err;

	if (fd < 0)
		return fail(m, -errno, name);
	err = own(m, fd, 0640);
	if (!err && len)
		err = file_pwrite_full(fd, bytes, len, 0);
	if (!err && fsync(fd))
		err = -errno;
	close(fd);
	return err ? fail(m, err, name) : 0;
}

static int make_dir(struct making *m, const char *name)
{
	int err = 0, fd;

	if (mkdirat(m->dirfd, name, 0750))
		return fail(m, -errno, name);
	fd = openat(m->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fail(m, -errno, name);
	err = own(m, fd, 0750);
	close(fd);
	return err ? fail(m, err, name) : 0;
}

static int zero_fill(int fd, uint64_t bytes)
{
	uint8_t *zeros = aligned_alloc(FMT_BLOCK, PREWRITE_BYTES);
	int err = 0;

	if (!zeros)
		return -ENOMEM;
	memset(zeros, 0, PREWRITE_BYTES);
	for (uint64_t at = 0; !err && at < bytes; at += PREWRITE_BYTES) {
		uint64_t left = bytes - at;
		err = file_pwrite_full(fd, zeros, left < PREWRITE_BYTES ? left : PREWRITE_BYTES,
		                       at);
	}
	if (!err && fdatasync(fd))
		err = -errno;
	free(zeros);
	return err;
}

static int make_segment(struct making *m, uint64_t n)
{
	char path[FMT_SEGMENT_PATH_MAX];
	int fd, err = 0;

	fmt_segment_path(n, path);
	if (n % 1024 == 0) {
		char folder[FMT_SEGMENT_PATH_MAX];
		memcpy(folder, path, sizeof(folder));
		*strrchr(folder, '/') = 0;
		err = make_dir(m, folder);
		if (err)
			return err;
	}
	fd = openat(m->dirfd, path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0640);
	if (fd < 0)
		return fail(m, -errno, path);
	m->segments_made = n + 1;
	err = own(m, fd, 0640);
	if (!err && fallocate(fd, 0, 0, (off_t)m->sb.segment_bytes))
		err = -errno;
	if (!err && m->opt->prewrite)
		err = zero_fill(fd, m->sb.segment_bytes);
	close(fd);
	if (err == -EOPNOTSUPP)
		return fail(m, err, "this filesystem cannot allocate space ahead (fallocate)");
	return err ? fail(m, err, path) : 0;
}

static int make_head(struct making *m)
{
	uint8_t block[2 * FMT_BLOCK] = {0};
	struct fmt_epoch epoch = {.epoch = 1, .raised_ns = m->sb.made_ns};
	int err;

	memcpy(epoch.store, m->sb.store, sizeof(epoch.store));
	fmt_epoch_put(&epoch, block);
	err = make_file(m, "epoch", block, sizeof(block));
	if (!err)
		err = make_file(m, "lock", NULL, 0);
	if (!err)
		err = make_dir(m, "seg");
	return err;
}

static int make_catalog(struct making *m)
{
	struct fmt_catalog_entry e = {.state = FMT_STATE_READY,
	                              .first_ns = ENG_NO_TIME,
	                              .end_ns = ENG_NO_TIME,
	                              .changed_ns = m->sb.made_ns};
	struct catalog *c;
	int fd, err = catalog_create(m->dir, &m->sb);

	if (err)
		return fail(m, err, "catalog");
	fd = openat(m->dirfd, "catalog", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fail(m, -errno, "catalog");
	err = own(m, fd, 0640);
	close(fd);
	if (err || !m->opt->prewrite)
		return err ? fail(m, err, "catalog") : 0;
	err = catalog_open(m->dir, &m->sb, true, &c);
	if (err)
		return fail(m, err, "catalog");
	for (uint64_t n = 0; n < m->sb.segment_count; n++)
		catalog_put(c, n, &e);
	err = catalog_sync(c);
	catalog_close(c);
	return err ? fail(m, err, "catalog") : 0;
}

/* The superblock comes last: a folder with one is a whole store. */
static int make_store(struct making *m)
{
	uint8_t block[FMT_BLOCK];
	struct statvfs vfs;
	int err;

	if (!fstatvfs(m->dirfd, &vfs) &&
	    m->sb.segment_count * m->sb.segment_bytes > (uint64_t)vfs.f_bavail * vfs.f_frsize) {
		snprintf(m->err, m->err_bytes, "%s: needs %llu MiB, only %llu MiB are free", m->dir,
		         (unsigned long long)(m->sb.segment_count * m->sb.segment_bytes / MIB),
		         (unsigned long long)(vfs.f_bavail * vfs.f_frsize / MIB));
		return -ENOSPC;
	}
	err = own(m, m->dirfd, 0750);
	if (err)
		return fail(m, err, "cannot set owner and mode");
	err = make_head(m);
	for (uint64_t n = 0; !err && n < m->sb.segment_count; n++)
		err = make_segment(m, n);
	if (!err)
		err = make_catalog(m);
	if (!err && syncfs(m->dirfd))
		err = fail(m, -errno, "cannot sync");
	if (err)
		return err;
	fmt_superblock_put(&m->sb, block);
	err = make_file(m, "store", block, sizeof(block));
	if (!err && fsync(m->dirfd))
		err = fail(m, -errno, "cannot sync the folder");
	return err;
}

static void unmake(struct making *m)
{
	static const char *const names[] = {"store", "epoch", "lock", "catalog"};
	char path[FMT_SEGMENT_PATH_MAX];

	for (uint64_t n = m->segments_made; n-- > 0;) {
		fmt_segment_path(n, path);
		unlinkat(m->dirfd, path, 0);
		if (n % 1024 == 0) {
			*strrchr(path, '/') = 0;
			unlinkat(m->dirfd, path, AT_REMOVEDIR);
		}
	}
	unlinkat(m->dirfd, "seg/00000", AT_REMOVEDIR);
	unlinkat(m->dirfd, "seg", AT_REMOVEDIR);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		unlinkat(m->dirfd, names[i], 0);
}

int eng_init(const char *dir, const struct eng_init_options *opt, char *err, size_t err_bytes)
{
	struct making m = {.dir = dir, .opt = opt, .dirfd = -1, .err = err, .err_bytes = err_bytes};
	int ret;

	random_fill(m.sb.store, sizeof(m.sb.store));
	m.sb.store[6] = (uint8_t)((m.sb.store[6] & 0x0f) | 0x40);
	m.sb.store[8] = (uint8_t)((m.sb.store[8] & 0x3f) | 0x80);
	m.sb.made_ns = clock_wall_ns();
	ret = choose_sizes(&m);
	if (ret)
		return ret;
	ret = take_folder(&m);
	if (!ret) {
		ret = make_store(&m);
		if (ret)
			unmake(&m);
	}
	if (m.dirfd >= 0)
		close(m.dirfd);
	if (ret && m.dir_made)
		rmdir(dir);
	return ret;
}

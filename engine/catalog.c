/*
 * catalog.c — the mmap'ed cache of the segments' states (format.h, CATALOG).
 *
 * No lock is shared between the writer and its readers, so a reader can never make the writer wait.
 * An entry is copied word by word and believed when its digest fits; the ring and the change
 * counter tell which entries to look at again. All shared words go through atomics: what a reader
 * may see in the middle of a change is then defined, and the digest sorts it out.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/catalog.h"

#define ENTRY_WORDS (FMT_CATALOG_ENTRY / 8)
_Static_assert(FMT_CATALOG_ENTRY % 8 == 0 && FMT_CATALOG_ENTRIES_AT % 8 == 0, "aligned words");

struct catalog {
	uint8_t *map;
	size_t bytes;
	uint64_t count;
	unsigned given_up; /* entries waited for in vain; atomic */
};

static size_t catalog_bytes(uint64_t count)
{
	return FMT_CATALOG_ENTRIES_AT + (size_t)count * FMT_CATALOG_ENTRY;
}

/* The live fields. They are little-endian on disk like everything else; so are all machines with
 * the io_uring and O_DIRECT semantics that the writer wants. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "atomics work on the mapped words");

static uint64_t *change_word(const struct catalog *c)
{
	return (uint64_t *)(void *)(c->map + FMT_CATALOG_CHANGE_AT);
}
static uint32_t *flag_word(const struct catalog *c, uint32_t at)
{
	return (uint32_t *)(void *)(c->map + at);
}
static uint32_t *ring_word(const struct catalog *c, uint64_t change)
{
	return (uint32_t *)(void *)(c->map + FMT_CATALOG_RING_AT) + change % FMT_CATALOG_RING;
}
static uint64_t *entry_words(const struct catalog *c, uint64_t segment)
{
	return (uint64_t *)(void *)(c->map + catalog_bytes(segment));
}

/* ---- making, opening ---- */

static int catalog_path(const char *dir, const char *name, char out[PATH_MAX])
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int write_entries(int fd, uint64_t count)
{
	const struct fmt_catalog_entry raw = {.first_ns = ENG_NO_TIME, .end_ns = ENG_NO_TIME};
	uint8_t buf[512 * FMT_CATALOG_ENTRY];

	for (uint64_t at = 0; at < count;) {
		uint64_t n = 0;

		for (; n < 512 && at + n < count; n++)
			fmt_catalog_entry_put(&raw, at + n, buf + n * FMT_CATALOG_ENTRY);
		int rc = file_pwrite_full(fd, buf, n * FMT_CATALOG_ENTRY, catalog_bytes(at));
		if (rc < 0)
			return rc;
		at += n;
	}
	return 0;
}

static int sync_folder(const char *dir)
{
	int rc, fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	rc = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

int catalog_create_as(const char *dir, const char *name, const struct fmt_superblock *sb)
{
	uint8_t header[FMT_BLOCK] = {0};
	char path[PATH_MAX];
	int fd, rc = catalog_path(dir, name, path);

	if (rc < 0)
		return rc;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	if (fd < 0)
		return -errno;
	fmt_catalog_header_put(sb->store, sb->segment_count, header);
	le32_put(header + FMT_CATALOG_CLEAN_AT, 1); /* nobody has written it yet */
	rc = -posix_fallocate(fd, 0, (off_t)catalog_bytes(sb->segment_count));
	if (rc == 0)
		rc = file_pwrite_full(fd, header, sizeof header, 0);
	if (rc == 0)
		rc = write_entries(fd, sb->segment_count);
	if (rc == 0 && fsync(fd) < 0)
		rc = -errno;
	if (rc == 0)
		rc = sync_folder(dir);
	close(fd);
	if (rc < 0)
		unlink(path);
	return rc;
}

static int map_catalog(int fd, const struct fmt_superblock *sb, bool writable, struct catalog *c)
{
	int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ;
	uint8_t store[ENG_UUID_BYTES];
	struct stat st;
	void *map;

	if (fstat(fd, &st) < 0)
		return -errno;
	c->bytes = catalog_bytes(sb->segment_count);
	if ((uint64_t)st.st_size != c->bytes)
		return -EUCLEAN;
	map = mmap(NULL, c->bytes, prot, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	c->map = map;
	if (fmt_catalog_header_get(c->map, store, &c->count) < 0 || c->count != sb->segment_count ||
	    memcmp(store, sb->store, sizeof store) != 0) {
		munmap(map, c->bytes);
		return -EUCLEAN;
	}
	return 0;
}

int catalog_open_as(const char *dir, const char *name, const struct fmt_superblock *sb,
                    bool writable, struct catalog **out)
{
	char path[PATH_MAX];
	struct catalog *c;
	int fd, rc = catalog_path(dir, name, path);

	if (rc < 0)
		return rc;
	fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	c = calloc(1, sizeof *c);
	rc = c ? map_catalog(fd, sb, writable, c) : -ENOMEM;
	close(fd);
	if (rc < 0) {
		free(c);
		return rc;
	}
	/* The last writer may have died between changing an entry and saying so. */
	if (writable && !catalog_clean(c))
		__atomic_add_fetch(change_word(c), FMT_CATALOG_RING + 1, __ATOMIC_RELEASE);
	*out = c;
	return 0;
}

void catalog_close(struct catalog *c)
{
	if (!c)
		return;
	munmap(c->map, c->bytes);
	free(c);
}

/* ---- entries ---- */

uint64_t catalog_count(const struct catalog *c)
{
	return c->count;
}

static int copy_entry(const struct catalog *c, uint64_t segment, struct fmt_catalog_entry *out)
{
	const uint64_t *words = entry_words(c, segment);
	uint64_t copy[ENTRY_WORDS];

	for (unsigned i = 0; i < ENTRY_WORDS; i++)
		copy[i] = __atomic_load_n(&words[i], __ATOMIC_RELAXED);
	return fmt_catalog_entry_get((const uint8_t *)copy, segment, out);
}

/* How long a reader waits for an entry to fit. A change takes nanoseconds, but its writer may lose
 * the processor in the middle of it for as long as a busy machine likes. An entry that is simply
 * damaged costs the whole wait, and a catalog full of such must not cost hours: so after a few of
 * them the wait is short. */
#define PATIENCE_MS   250
#define IMPATIENCE_MS 5
#define PATIENT_TIMES 8

int catalog_get(struct catalog *c, uint64_t segment, struct fmt_catalog_entry *out)
{
	const struct timespec pause = {.tv_nsec = NSEC_PER_MSEC};
	unsigned given_up, wait_ms;

	if (segment >= c->count)
		return -EUCLEAN;
	for (int tries = 0; tries < 64; tries++) {
		if (copy_entry(c, segment, out) == 0)
			return 0;
		if (tries > 16)
			sched_yield();
	}
	given_up = __atomic_load_n(&c->given_up, __ATOMIC_RELAXED);
	wait_ms = given_up < PATIENT_TIMES ? PATIENCE_MS : IMPATIENCE_MS;
	for (unsigned ms = 0; ms < wait_ms; ms++) {
		nanosleep(&pause, NULL);
		if (copy_entry(c, segment, out) == 0)
			return 0;
	}
	__atomic_fetch_add(&c->given_up, 1, __ATOMIC_RELAXED);
	return -EUCLEAN;
}

void catalog_put(struct catalog *c, uint64_t segment, const struct fmt_catalog_entry *e)
{
	uint64_t next = __atomic_load_n(change_word(c), __ATOMIC_RELAXED) + 1;
	uint64_t *words = entry_words(c, segment);
	uint64_t copy[ENTRY_WORDS];

	fmt_catalog_entry_put(e, segment, (uint8_t *)copy);
	for (unsigned i = 0; i < ENTRY_WORDS; i++)
		__atomic_store_n(&words[i], copy[i], __ATOMIC_RELAXED);
	/* Release twice: who sees this slot's new content sees the counter before it, and who sees
	 * the counter sees slot and entry. catalog_changes() relies on both. */
	__atomic_store_n(ring_word(c, next), (uint32_t)segment, __ATOMIC_RELEASE);
	__atomic_store_n(change_word(c), next, __ATOMIC_RELEASE);
}

uint64_t catalog_change(const struct catalog *c)
{
	return __atomic_load_n(change_word(c), __ATOMIC_ACQUIRE);
}

bool catalog_changes(const struct catalog *c, uint64_t since, uint64_t *now,
                     void (*each)(void *arg, uint64_t segment), void *arg)
{
	*now = catalog_change(c);
	if (*now - since >= FMT_CATALOG_RING)
		return false;
	for (uint64_t change = since + 1; change <= *now; change++) {
		uint32_t segment = __atomic_load_n(ring_word(c, change), __ATOMIC_ACQUIRE);

		if (segment >= c->count)
			return false; /* overwritten by a damaged hand: trust nothing of it */
		each(arg, segment);
	}
	/* Had the writer come round meanwhile, a slot may have told us of a later change. It may
	 * already be writing the slot of the next one, hence not <= . */
	return catalog_change(c) - since < FMT_CATALOG_RING;
}

/* ---- flags, sync ---- */

bool catalog_clean(const struct catalog *c)
{
	return __atomic_load_n(flag_word(c, FMT_CATALOG_CLEAN_AT), __ATOMIC_ACQUIRE) == 1;
}

void catalog_set_clean(struct catalog *c, bool clean)
{
	__atomic_store_n(flag_word(c, FMT_CATALOG_CLEAN_AT), clean, __ATOMIC_RELEASE);
}

bool catalog_superseded(const struct catalog *c)
{
	return __atomic_load_n(flag_word(c, FMT_CATALOG_SUPERSEDED_AT), __ATOMIC_ACQUIRE) == 1;
}

void catalog_supersede(const char *dir)
{
	uint8_t one[4];
	char path[PATH_MAX];
	struct stat st;
	int fd;

	if (catalog_path(dir, CATALOG_NAME, path) < 0)
		return;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return; /* nobody can have it mapped under this name */
	le32_put(one, 1);
	/* Not beyond its end: a file cut short must not grow a hole that looks like a catalog. */
	if (fstat(fd, &st) == 0 && st.st_size >= (off_t)FMT_CATALOG_ENTRIES_AT &&
	    file_pwrite_full(fd, one, sizeof one, FMT_CATALOG_SUPERSEDED_AT) < 0)
		log_warn("%s: running readers cannot be told of the new catalog; restart them",
		         path);
	close(fd);
}

int catalog_sync(struct catalog *c)
{
	return msync(c->map, c->bytes, MS_SYNC) < 0 ? -errno : 0;
}

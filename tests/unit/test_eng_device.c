/*
 * test_eng_device.c — both devices keep the vtable's promises, and eng_init makes a whole store or
 * leaves nothing behind.
 */
#include "tests/unit/support_eng.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define N           64
#define BYTES       65536u
/* Buffers all over three steps of registered memory, two of them across a border. */
#define STRIDE      380928u
#define ARENA_BYTES (3 * DEVICE_STEP)

static struct device_op *reap_one(struct device *d)
{
	struct device_op *op;

	for (unsigned i = 0; i < 10000; i++) {
		op = d->ops->reap(d);
		if (op)
			return op;
		d->ops->wait(d, 10 * NSEC_PER_MSEC);
	}
	fail_msg("an op never came back");
	return NULL;
}

/* Writes from inside and outside the registered memory, a flush, and a write that cannot be. */
static void exercise(struct device *d, uint8_t *arena)
{
	char *dir = folder_new(NULL), path[4096];
	static struct device_op ops[N + 2];
	uint8_t *back = malloc(BYTES), *loose = aligned_alloc(4096, BYTES);

	memset(loose, 0x77, BYTES);
	snprintf(path, sizeof(path), "%s/file", dir);
	int fd = open(path, O_CREAT | O_RDWR | d->open_flags, 0640), ro;
	assert_true(fd >= 0);
	ro = open(path, O_RDONLY | d->open_flags);
	int file = d->ops->add_file(d, fd), bad = d->ops->add_file(d, ro);
	assert_true(file >= 0 && bad >= 0 && file != bad);
	for (unsigned i = 0; i < N; i++) {
		ops[i] = (struct device_op){.kind = DEVICE_WRITE,
		                            .file = file,
		                            .buf = i == 5 ? loose : arena + i * STRIDE,
		                            .len_bytes = BYTES,
		                            .offset = (uint64_t)i * BYTES};
		d->ops->submit(d, &ops[i]);
	}
	ops[N] = (struct device_op){
	        .kind = DEVICE_WRITE, .file = bad, .buf = arena, .len_bytes = BYTES};
	d->ops->submit(d, &ops[N]);
	d->ops->kick(d);
	for (unsigned i = 0; i < N + 1; i++) {
		struct device_op *op = reap_one(d);
		assert_int_equal(op->result, op == &ops[N] ? -EBADF : 0);
	}
	assert_null(d->ops->reap(d));
	ops[N + 1] = (struct device_op){.kind = DEVICE_FLUSH, .file = file};
	d->ops->submit(d, &ops[N + 1]);
	d->ops->kick(d);
	assert_ptr_equal(reap_one(d), &ops[N + 1]);
	assert_int_equal(ops[N + 1].result, 0);
	int plain = open(path, O_RDONLY);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(file_pread_full(plain, back, BYTES, (uint64_t)i * BYTES), 0);
		assert_memory_equal(back, i == 5 ? loose : arena + i * STRIDE, BYTES);
	}
	d->ops->drop_file(d, file);
	d->ops->drop_file(d, bad);
	assert_int_equal(d->ops->add_file(d, fd), file); /* handles are used again */
	close(plain);
	close(fd);
	close(ro);
	free(back);
	free(loose);
	store_drop(dir);
}

static uint8_t *arena_new(void)
{
	uint8_t *arena =
	        mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(arena, MAP_FAILED);
	for (unsigned i = 0; i < N; i++)
		frame_fill("arena", i, 0, arena + i * STRIDE, BYTES);
	return arena;
}

static void test_uring(void **state)
{
	uint8_t *arena = arena_new();
	struct device *d;

	(void)state;
	assert_int_equal(device_uring_open(arena, ARENA_BYTES, &d), 0);
	assert_int_equal(d->open_flags, O_DIRECT);
	exercise(d, arena);
	device_memory(d, DEVICE_STEP + 4096); /* one whole step */
	exercise(d, arena);
	device_memory(d, ARENA_BYTES);
	exercise(d, arena);
	device_memory(d, ARENA_BYTES);
	d->ops->close(d);
	assert_int_equal(device_uring_open(NULL, 0, &d), 0); /* nothing registered: same result */
	exercise(d, arena);
	d->ops->close(d);
	munmap(arena, ARENA_BYTES);
}

static void test_sync(void **state)
{
	uint8_t *arena = arena_new();
	struct device *d;

	(void)state;
	assert_int_equal(device_sync_open(&d), 0);
	exercise(d, arena);
	d->ops->close(d);
	munmap(arena, ARENA_BYTES);
}

/* ---- eng_init ---- */

static unsigned entries_in(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void test_init_makes_a_store(void **state)
{
	char *dir = folder_new(NULL), path[4096], err[256] = "";
	struct eng_init_options o = {.size_bytes = 64 * MIB, .prewrite = true, .group = getgid()};
	struct fmt_superblock sb;
	struct fmt_catalog_entry e;
	struct catalog *c;
	struct stat st;

	(void)state;
	assert_int_equal(eng_init(dir, &o, err, sizeof(err)), 0);
	assert_int_equal(store_read_superblock(dir, &sb, err, sizeof(err)), 0);
	assert_int_equal(sb.segment_bytes, 4 * MIB);
	assert_int_equal(sb.segment_count, 16);
	for (uint64_t n = 0; n < 16; n++) {
		segment_file(dir, n, path);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, 4 * MIB);
		assert_true((uint64_t)st.st_blocks * 512 >= 4 * MIB); /* not sparse */
		assert_int_equal(st.st_mode & 07777, 0640);
	}
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(catalog_open(dir, &sb, false, &c), 0);
	assert_int_equal(catalog_get(c, 15, &e), 0);
	assert_int_equal(e.state, FMT_STATE_READY);
	catalog_close(c);
	/* Never over an existing one. */
	assert_int_equal(eng_init(dir, &o, err, sizeof(err)), -EEXIST);
	assert_non_null(strstr(err, "already"));
	assert_int_equal(store_read_superblock(dir, &sb, err, sizeof(err)), 0);
	store_drop(dir);
}

static void test_init_refuses(void **state)
{
	char *dir = folder_new(NULL), path[4096], err[256] = "";
	struct eng_init_options o = {.size_bytes = 64 * MIB, .group = (gid_t)-1};

	(void)state;
	snprintf(path, sizeof(path), "%s/precious", dir);
	assert_int_equal(file_replace(path, "x", 1, 0600), 0);
	assert_int_equal(eng_init(dir, &o, err, sizeof(err)), -ENOTEMPTY);
	assert_int_equal(entries_in(dir), 1);
	assert_int_equal(unlink(path), 0);
	o.size_bytes = 8 * MIB;
	assert_int_equal(eng_init(dir, &o, err, sizeof(err)), -EINVAL);
	o.size_bytes = 64 * MIB;
	o.segment_bytes = 5000;
	assert_int_equal(eng_init(dir, &o, err, sizeof(err)), -EINVAL);
	o.segment_bytes = 0;
	o.size_bytes = 1024 * 1024 * GIB;
	assert_int_equal(eng_init(dir, &o, err, sizeof(err)), -ENOSPC);
	assert_int_equal(entries_in(dir), 0); /* nothing is left behind */
	snprintf(path, sizeof(path), "%s/new", dir);
	assert_int_equal(eng_init(path, &o, err, sizeof(err)), -ENOSPC);
	assert_int_equal(entries_in(dir), 0);
	store_drop(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_uring),
	        cmocka_unit_test(test_sync),
	        cmocka_unit_test(test_init_makes_a_store),
	        cmocka_unit_test(test_init_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

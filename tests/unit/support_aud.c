/*
 * support_aud.c — helpers of the audit room's tests (support_aud.h).
 */
#include "tests/unit/support_aud.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

void aud_shell(const char *format, ...)
{
	char command[4 * PATH_MAX];
	va_list ap;

	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	assert_int_equal(system(command), 0);
}

void aud_dir_make(struct aud_dir *d)
{
	char key[PATH_MAX], err[256] = "";
	const char *tmp = getenv("TMPDIR");
	bool made;

	snprintf(d->path, sizeof(d->path), "%s/custos-aud-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(d->path));
	snprintf(d->log, sizeof(d->log), "%s/log", d->path);
	assert_int_equal(mkdir(d->log, 0750), 0);
	snprintf(key, sizeof(key), "%s/sign", d->path);
	if (note_key_open(key, "custos.test", &d->key, &made, err, sizeof(err)))
		fail_msg("%s", err);
	assert_true(made);
	note_key_vkey(d->key, d->vkey);
}

void aud_dir_remove(struct aud_dir *d)
{
	note_key_close(d->key);
	aud_shell("rm -rf '%s'", d->path);
}

int aud_test_try_open(const struct aud_dir *d, struct aud_log **out, char *err, size_t err_bytes)
{
	struct aud_options opt = {.origin = AUD_TEST_ORIGIN, .file_bytes = AUD_TEST_FILE_BYTES};

	return aud_open(d->log, &opt, out, err, err_bytes);
}

struct aud_log *aud_test_open(const struct aud_dir *d)
{
	char err[512] = "";
	struct aud_log *log;

	if (aud_test_try_open(d, &log, err, sizeof(err)))
		fail_msg("%s", err);
	return log;
}

void aud_test_commit(struct aud_log *log, uint64_t n)
{
	struct aud_record r = {.op = AUD_OP_READ,
	                       .uid = 1000,
	                       .login_uid = AUD_NO_UID,
	                       .pid = AUD_NO_UID,
	                       .object = n};
	char payload[64];
	int len = snprintf(payload, sizeof(payload), "{\"n\":%llu}", (unsigned long long)n);

	assert_int_equal(aud_commit(log, &r, payload, (size_t)len, NULL), 0);
}

uint64_t aud_test_sign(struct aud_log *log, const struct note_key *key)
{
	char body[512], *note;
	struct aud_head h;

	aud_head(log, &h);
	assert_int_equal(
	        note_checkpoint_format(aud_origin(log), h.groups, h.root, NULL, body, sizeof(body)),
	        0);
	assert_int_equal(note_sign(key, body, &note), 0);
	assert_int_equal(aud_checkpoint_store(log, note), 0);
	free(note);
	return h.groups;
}

struct aud_verdict aud_test_verify(const struct aud_dir *d)
{
	struct aud_verdict v;
	char err[512] = "";

	if (aud_verify(d->log, d->vkey, clock_wall_ns(), &v, err, sizeof(err)))
		fail_msg("%s", err);
	return v;
}

int aud_test_count(const struct aud_dir *d)
{
	struct aud_record r;
	struct aud_iter *it;
	const char *payload;
	char err[512];
	int n = 0, e = aud_iter_open(d->log, &it, err, sizeof(err));

	if (e)
		return e;
	while ((e = aud_iter_next(it, &r, &payload)) == 1)
		assert_int_equal(r.seq, ++n);
	aud_iter_close(it);
	return e ? e : n;
}

/* ---- images ---- */

static void image_index(struct aud_image *im)
{
	struct aud_fmt_group g;
	size_t at = AUD_FMT_FILE_HEADER;

	im->groups = 0;
	while (at + AUD_FMT_GROUP_HEAD <= im->len && !aud_fmt_group_head_get(im->bytes + at, &g)) {
		assert_true(im->groups < ARRAY_LEN(im->group_at));
		im->group_at[im->groups++] = at;
		at += align_up(AUD_FMT_GROUP_HEAD + g.bytes, AUD_FMT_ALIGN);
	}
	im->end = at;
}

void aud_image_read(struct aud_image *im, const struct aud_dir *d, unsigned file)
{
	char *bytes;

	snprintf(im->file, sizeof(im->file), "%s/%010u.log", d->log, file);
	assert_int_equal(file_read_all(im->file, 64 * MIB, &bytes, &im->len), 0);
	im->bytes = (uint8_t *)bytes;
	image_index(im);
}

void aud_image_write(struct aud_image *im)
{
	FILE *f = fopen(im->file, "r+");

	assert_non_null(f);
	assert_int_equal(fwrite(im->bytes, 1, im->len, f), im->len);
	assert_int_equal(fclose(f), 0);
}

void aud_image_free(struct aud_image *im)
{
	free(im->bytes);
}

size_t aud_image_group_bytes(const struct aud_image *im, size_t i)
{
	return (i + 1 < im->groups ? im->group_at[i + 1] : im->end) - im->group_at[i];
}

/* Recomputes the digests of group i, chaining it to prev_leaf unless NULL; leaf is its new hash. */
static void group_seal(struct aud_image *im, size_t i, const uint8_t *prev_leaf, uint8_t leaf[32])
{
	uint8_t *p = im->bytes + im->group_at[i];
	struct aud_fmt_group g;

	assert_int_equal(aud_fmt_group_head_get(p, &g), 0);
	if (prev_leaf)
		memcpy(g.prev_leaf, prev_leaf, 32);
	aud_fmt_group_put(&g, p);
	merkle_leaf(p, AUD_FMT_GROUP_HEAD + g.bytes, leaf);
}

void aud_image_tamper(struct aud_image *im, size_t i, size_t at, enum aud_repair repair)
{
	uint8_t *record = im->bytes + im->group_at[i] + AUD_FMT_GROUP_HEAD, leaf[32];
	const uint8_t *payload;
	struct aud_record r;
	char copy[AUD_PAYLOAD_MAX];
	size_t used;

	record[at] ^= 1;
	if (repair == REPAIR_NONE)
		return;
	(void)!aud_fmt_record_get(record, 4096, &r, &payload, &used);
	memcpy(copy, payload, r.payload_bytes);
	aud_fmt_record_put(&r, copy, record);
	if (repair == REPAIR_RECORD)
		return;
	group_seal(im, i, NULL, leaf);
	while (repair == REPAIR_CHAIN && ++i < im->groups)
		group_seal(im, i, leaf, leaf);
}

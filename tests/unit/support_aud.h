/*
 * support_aud.h — helpers of the audit room's tests: folders, keys, logs with known records, and
 * tampering that knows the format.
 */
#ifndef SUPPORT_AUD_H
#define SUPPORT_AUD_H

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/audit/audit.h"
#include "engine/audit/logformat.h"
#include "engine/audit/note.h"

#define AUD_TEST_ORIGIN     "custos.test/main"
#define AUD_TEST_FILE_BYTES (256 * KIB)

struct aud_dir {
	char path[PATH_MAX / 2];
	char log[PATH_MAX / 2 + 8]; /* path/log */
	struct note_key *key;
	char vkey[NOTE_VKEY_MAX];
};
void aud_dir_make(struct aud_dir *d);
void aud_dir_remove(struct aud_dir *d);
/* Runs a shell command that must succeed. */
void aud_shell(const char *format, ...) PRINTF(1, 2);

struct aud_log *aud_test_open(const struct aud_dir *d);
int aud_test_try_open(const struct aud_dir *d, struct aud_log **out, char *err, size_t err_bytes);
/* Commits one record (op READ, object n, a payload that depends on n): one group. */
void aud_test_commit(struct aud_log *log, uint64_t n);
/* Signs the log's head with key and stores it. Returns the groups covered. */
uint64_t aud_test_sign(struct aud_log *log, const struct note_key *key);
/* Verifies; the verdict must be reached (ok or not). */
struct aud_verdict aud_test_verify(const struct aud_dir *d);
/* Reads all records, asserting numbers 1, 2, 3 …; returns how many, -EUCLEAN etc. otherwise. */
int aud_test_count(const struct aud_dir *d);

/* Log file 1 in memory: read, find groups, write back. */
struct aud_image {
	char file[PATH_MAX];
	uint8_t *bytes;
	size_t len;
	size_t group_at[4096]; /* offset of group i + 1 of this file */
	size_t groups;
	size_t end; /* behind the last group */
};
void aud_image_read(struct aud_image *im, const struct aud_dir *d, unsigned file);
void aud_image_write(struct aud_image *im);
void aud_image_free(struct aud_image *im);
size_t aud_image_group_bytes(const struct aud_image *im, size_t i); /* padded */
/* Changes the payload byte `at` of the first record of group i, recomputing the record's digest,
 * the group's digest, and the chain of the groups behind it, as told. */
enum aud_repair { REPAIR_NONE, REPAIR_RECORD, REPAIR_GROUP, REPAIR_CHAIN };
void aud_image_tamper(struct aud_image *im, size_t i, size_t at, enum aud_repair repair);

#endif

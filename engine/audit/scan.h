/*
 * scan.h — inside the audit room: walking the groups of a log, checking all that can be checked
 * without a key. Recovery, iterator and verifier share it, so that they never disagree.
 *
 * One thread per scan. Works on a log that is being written: what is behind the last whole group
 * simply is not there yet.
 */
#ifndef CUSTOS_AUDIT_SCAN_H
#define CUSTOS_AUDIT_SCAN_H

#include "engine/audit/logformat.h"

struct aud_scan {
	int dir_fd, fd;
	uint64_t file, file_bytes, size, pos; /* size: what is really there */
	uint64_t next_group, next_seq;        /* expected */
	uint64_t before_seq;                  /* first record of the group before; 0 none */
	uint8_t prev_leaf[32];
	char origin[AUD_FMT_ORIGIN_MAX + 1];
	uint8_t *window;
	size_t window_len, window_cap;
	uint64_t window_pos;
};
struct aud_scan_group {
	uint64_t number, first_seq;
	uint32_t records;
	size_t bytes;              /* of the records */
	const uint8_t *records_at; /* valid until the next call on the scan */
	uint8_t leaf[32];
};
/* What is wrong, and with which record first. `tail`: it is the end of the last file and nothing
 * intact follows: what a power cut may leave. */
struct aud_scan_fault {
	uint64_t seq;
	bool tail;
	char what[224];
};

/* -ENOENT: no log in dir; -EUCLEAN: fault filled; other -errno. */
int aud_scan_open(struct aud_scan *s, const char *dir, struct aud_scan_fault *fault) MUST_CHECK;
void aud_scan_close(struct aud_scan *s);
/* 1: *g is the next group, whole and in place; 0: end of what is there; -EUCLEAN: *fault; -errno.
 * After anything but 1 the position is unchanged, so it may be called again. */
int aud_scan_next(struct aud_scan *s, struct aud_scan_group *g,
                  struct aud_scan_fault *fault) MUST_CHECK;
/* After an end: is there really nothing behind it? 0: nothing; 1: the log has grown meanwhile;
 * -EUCLEAN: *fault (a hole, or torn bytes). Reads the rest of the file. */
int aud_scan_end_check(struct aud_scan *s, struct aud_scan_fault *fault) MUST_CHECK;
/* Goes to the start of the file that holds record seq (or would). */
int aud_scan_seek(struct aud_scan *s, uint64_t seq, struct aud_scan_fault *fault) MUST_CHECK;
/* True while some process has the log open for writing. */
bool aud_scan_live(const struct aud_scan *s);

/* Path of file number n inside the folder. */
#define AUD_FILE_NAME_MAX 32
void aud_file_name(uint64_t number, char out[AUD_FILE_NAME_MAX]);

#endif

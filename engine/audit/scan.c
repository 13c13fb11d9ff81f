/*
 * scan.c — walking the groups of a log (scan.h).
 *
 * Reads through a window of the file. A log that is being written can change behind a window read
 * earlier, so whatever looks like an end or like damage is read afresh before it is believed; and
 * the next file is looked for before the end of this one is believed, because the writer fills this
 * one first.
 */
#include "engine/audit/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WINDOW_BYTES (256 * KIB)

void aud_file_name(uint64_t number, char out[AUD_FILE_NAME_MAX])
{
	snprintf(out, AUD_FILE_NAME_MAX, "%010" PRIu64 ".log", number);
}

static int PRINTF(4, 5)
        faulty(struct aud_scan_fault *fault, uint64_t seq, bool tail, const char *format, ...)
{
	va_list ap;

	fault->seq = seq;
	fault->tail = tail;
	va_start(ap, format);
	vsnprintf(fault->what, sizeof(fault->what), format, ap);
	va_end(ap);
	return -EUCLEAN;
}

/* ---- the window ---- */

static void window_drop(struct aud_scan *s)
{
	s->window_len = 0;
}

/* len bytes at pos, or NULL with *err: -ENODATA beyond the file's end. */
static const uint8_t *window_at(struct aud_scan *s, uint64_t pos, size_t len, int *err)
{
	size_t want = len > WINDOW_BYTES ? len : WINDOW_BYTES;
	uint8_t *bigger;

	if (pos >= s->window_pos && pos - s->window_pos <= s->window_len &&
	    s->window_len - (pos - s->window_pos) >= len)
		return s->window + (pos - s->window_pos);
	*err = -ENODATA;
	if (pos > s->size || len > s->size - pos)
		return NULL;
	if (want > s->size - pos)
		want = s->size - pos;
	if (want > s->window_cap) {
		bigger = realloc(s->window, want);
		*err = -ENOMEM;
		if (!bigger)
			return NULL;
		s->window = bigger;
		s->window_cap = want;
	}
	window_drop(s);
	*err = file_pread_full(s->fd, s->window, want, pos);
	if (*err)
		return NULL;
	s->window_pos = pos;
	s->window_len = want;
	return s->window;
}

/* ---- files ---- */

/* Opens file `number` and decodes its header. -ENOENT: not there. */
static int file_open(struct aud_scan *s, uint64_t number, int *fd, struct aud_fmt_file *f,
                     uint64_t *size, struct aud_scan_fault *fault)
{
	uint8_t header[AUD_FMT_FILE_HEADER];
	char name[AUD_FILE_NAME_MAX];
	struct stat st;
	int err;

	aud_file_name(number, name);
	*fd = openat(s->dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*fd < 0)
		return -errno;
	err = fstat(*fd, &st) ? -errno : file_pread_full(*fd, header, sizeof(header), 0);
	if (!err)
		err = aud_fmt_file_get(header, f);
	if (!err && f->number != number)
		err = -EUCLEAN;
	if (err == -ENODATA || err == -EUCLEAN)
		err = faulty(
		        fault, s->next_seq, false,
		        "file %s has no valid header: damaged, or not the file that stood here",
		        name);
	if (err) {
		close(*fd);
		*fd = -1;
		return err;
	}
	*size = (uint64_t)st.st_size;
	return 0;
}

static void file_enter(struct aud_scan *s, int fd, const struct aud_fmt_file *f, uint64_t size)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = fd;
	s->file = f->number;
	s->file_bytes = f->bytes;
	s->size = size < f->bytes ? size : f->bytes;
	s->pos = AUD_FMT_FILE_HEADER;
	window_drop(s);
}

/* Least and greatest number of the log files in the folder; 0 when there are none. */
static int files_range(const struct aud_scan *s, uint64_t *least, uint64_t *greatest)
{
	int fd = openat(s->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	char expect[AUD_FILE_NAME_MAX];
	struct dirent *e;
	uint64_t n;

	*least = *greatest = 0;
	if (!d) {
		n = (uint64_t)errno;
		if (fd >= 0)
			close(fd);
		return -(int)n;
	}
	while ((e = readdir(d))) {
		n = strtoull(e->d_name, NULL, 10);
		aud_file_name(n, expect);
		if (!n || strcmp(e->d_name, expect) != 0)
			continue;
		if (!*least || n < *least)
			*least = n;
		if (n > *greatest)
			*greatest = n;
	}
	closedir(d);
	return 0;
}

static int first_file_missing(struct aud_scan *s, struct aud_scan_fault *fault)
{
	uint64_t least, greatest;
	int err = files_range(s, &least, &greatest);

	if (err)
		return err;
	if (!greatest)
		return -ENOENT;
	return faulty(fault, 1, false,
	              "the first log file is missing: the oldest one there is number %" PRIu64,
	              least);
}

int aud_scan_open(struct aud_scan *s, const char *dir, struct aud_scan_fault *fault)
{
	struct aud_fmt_file f = {0};
	uint64_t size = 0;
	int fd, err;

	memset(s, 0, sizeof(*s));
	s->fd = -1;
	s->next_group = s->next_seq = 1;
	s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dir_fd < 0)
		return -errno;
	err = file_open(s, 1, &fd, &f, &size, fault);
	if (err == -ENOENT)
		err = first_file_missing(s, fault);
	if (!err && (f.first_group != 1 || f.first_seq != 1)) {
		close(fd);
		err = faulty(fault, 1, false, "the first log file does not begin at record 1");
	}
	if (err) {
		aud_scan_close(s);
		return err;
	}
	memcpy(s->origin, f.origin, sizeof(s->origin));
	file_enter(s, fd, &f, size);
	return 0;
}

void aud_scan_close(struct aud_scan *s)
{
	if (s->fd >= 0)
		close(s->fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	free(s->window);
	s->window = NULL;
	s->fd = s->dir_fd = -1;
}

bool aud_scan_live(const struct aud_scan *s)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	int fd = openat(s->dir_fd, "lock", O_RDONLY | O_CLOEXEC);
	bool live;

	if (fd < 0)
		return false;
	live = fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
	close(fd);
	return live;
}

/* ---- what stands behind a suspicious place ---- */

/* Number of the first intact group at or behind pos with a number >= least (== if exact); 0: none.
 */
static uint64_t group_behind(struct aud_scan *s, uint64_t pos, uint64_t least, bool exact)
{
	struct aud_fmt_group g;
	const uint8_t *p;
	int err;

	for (; pos + AUD_FMT_GROUP_HEAD <= s->size; pos += AUD_FMT_ALIGN) {
		p = window_at(s, pos, AUD_FMT_GROUP_HEAD, &err);
		if (!p)
			return 0;
		if (aud_fmt_group_head_get(p, &g) || g.number < least ||
		    (exact && g.number != least))
			continue;
		p = window_at(s, pos, AUD_FMT_GROUP_HEAD + g.bytes, &err);
		if (p && aud_fmt_group_digest_ok(p, &g))
			return g.number;
	}
	return 0;
}

static bool is_last_file(const struct aud_scan *s)
{
	uint64_t least, greatest;

	return files_range(s, &least, &greatest) == 0 && greatest <= s->file;
}

/* Could what stands at pos be a write under way, or torn? Not once anything came behind it. */
static bool may_be_torn(struct aud_scan *s)
{
	return s->size == s->file_bytes &&
	       !group_behind(s, s->pos + AUD_FMT_ALIGN, s->next_group + 1, false) &&
	       is_last_file(s);
}

/* The group at pos is not intact: which of its records is it? tail: it could be a torn write. */
static int group_damaged(struct aud_scan *s, bool tail, struct aud_scan_fault *fault)
{
	struct aud_fmt_group g;
	struct aud_record r;
	const uint8_t *p, *payload;
	uint64_t seq = s->next_seq;
	size_t used, at = AUD_FMT_GROUP_HEAD;
	int err;

	p = window_at(s, s->pos, AUD_FMT_GROUP_HEAD, &err);
	if (!p || aud_fmt_group_head_get(p, &g) || g.number != s->next_group ||
	    g.first_seq != s->next_seq || !window_at(s, s->pos, at + g.bytes, &err))
		return faulty(fault, seq, tail,
		              "the head of group %" PRIu64
		              " is damaged (its first record is %" PRIu64 ")",
		              s->next_group, seq);
	p = window_at(s, s->pos, at + g.bytes, &err);
	for (uint32_t i = 0; i < g.records; i++, seq++, at += used) {
		if (aud_fmt_record_get(p + at, AUD_FMT_GROUP_HEAD + g.bytes - at, &r, &payload,
		                       &used) ||
		    r.seq != seq)
			return faulty(fault, seq, tail,
			              "record %" PRIu64 " (group %" PRIu64 ") was changed or torn",
			              seq, g.number);
	}
	return faulty(fault, g.first_seq, tail,
	              "group %" PRIu64 " (records %" PRIu64 "-%" PRIu64
	              ") was changed: its digest or its padding does not fit",
	              g.number, g.first_seq, seq - 1);
}

/* An intact group stands where another one belongs. */
static int group_misplaced(struct aud_scan *s, const struct aud_fmt_group *g,
                           struct aud_scan_fault *fault)
{
	uint64_t number = g->number;

	if (number < s->next_group)
		return faulty(fault, s->next_seq, false,
		              "reordered: group %" PRIu64 " stands again where group %" PRIu64
		              " (record %" PRIu64 ") belongs",
		              number, s->next_group, s->next_seq);
	if (group_behind(s, s->pos, s->next_group, true))
		return faulty(fault, s->next_seq, false,
		              "reordered: group %" PRIu64 " stands where group %" PRIu64
		              " (record %" PRIu64 ") belongs",
		              number, s->next_group, s->next_seq);
	return faulty(fault, s->next_seq, false,
	              "missing: group %" PRIu64 " follows group %" PRIu64 "; record %" PRIu64
	              " is the first one gone",
	              number, s->next_group - 1, s->next_seq);
}

static int group_rewritten(struct aud_scan *s, const struct aud_fmt_group *g,
                           struct aud_scan_fault *fault)
{
	uint64_t seq = s->before_seq ? s->before_seq : g->first_seq;

	return faulty(fault, seq, false,
	              "group %" PRIu64 " (records %" PRIu64 "-%" PRIu64
	              ") was rewritten: it is not what group %" PRIu64 " was chained to",
	              s->next_group - 1, seq, g->first_seq - 1, g->number);
}

/* ---- walking ---- */

/* Records must fill the group exactly, in order, each intact. */
static bool records_ok(const uint8_t *p, const struct aud_fmt_group *g)
{
	struct aud_record r;
	const uint8_t *payload;
	size_t used, at = 0;

	for (uint32_t i = 0; i < g->records; i++, at += used) {
		if (aud_fmt_record_get(p + at, g->bytes - at, &r, &payload, &used) ||
		    r.seq != g->first_seq + i)
			return false;
	}
	return at == g->bytes;
}

/* The whole group at pos with its padding, if it is intact; else NULL with *err. */
static const uint8_t *group_look(struct aud_scan *s, struct aud_fmt_group *g, int *err)
{
	const uint8_t *p = window_at(s, s->pos, AUD_FMT_GROUP_HEAD, err);
	size_t total;

	if (!p)
		return NULL;
	*err = -EUCLEAN;
	if (aud_fmt_group_head_get(p, g))
		return NULL;
	total = AUD_FMT_GROUP_HEAD + g->bytes;
	p = window_at(s, s->pos, align_up(total, AUD_FMT_ALIGN), err);
	if (!p)
		return NULL;
	*err = -EUCLEAN;
	return aud_fmt_group_digest_ok(p, g) && records_ok(p + AUD_FMT_GROUP_HEAD, g) &&
	                       aud_fmt_is_zero(p + total, align_up(total, AUD_FMT_ALIGN) - total)
	               ? p
	               : NULL;
}

/* In a living log the first look may be at a window from before the group was written, the second
 * at one that is being written. What came behind it meanwhile only tells that it is complete by
 * now; so a third look decides. */
static const uint8_t *group_look_hard(struct aud_scan *s, struct aud_fmt_group *g, bool *torn,
                                      int *err)
{
	const uint8_t *p = group_look(s, g, err);

	*torn = false;
	for (int look = 0; !p && !*torn && look < 2; look++) {
		if (*err != -EUCLEAN && *err != -ENODATA)
			break;
		if (look)
			*torn = may_be_torn(s);
		window_drop(s);
		p = group_look(s, g, err);
	}
	return p;
}

static int group_at(struct aud_scan *s, struct aud_scan_group *out, struct aud_scan_fault *fault)
{
	struct aud_fmt_group g;
	size_t total, padded;
	bool torn;
	int err = 0;
	const uint8_t *p = group_look_hard(s, &g, &torn, &err);

	if (!p && err != -ENODATA && err != -EUCLEAN)
		return err;
	if (!p)
		return group_damaged(s, torn, fault);
	total = AUD_FMT_GROUP_HEAD + g.bytes;
	padded = align_up(total, AUD_FMT_ALIGN);
	if (g.number != s->next_group || g.first_seq != s->next_seq)
		return group_misplaced(s, &g, fault);
	if (memcmp(g.prev_leaf, s->prev_leaf, 32) != 0)
		return group_rewritten(s, &g, fault);
	out->number = g.number;
	out->first_seq = g.first_seq;
	out->records = g.records;
	out->bytes = g.bytes;
	out->records_at = p + AUD_FMT_GROUP_HEAD;
	merkle_leaf(p, total, out->leaf);
	memcpy(s->prev_leaf, out->leaf, 32);
	s->before_seq = g.first_seq;
	s->next_group++;
	s->next_seq += g.records;
	s->pos += padded;
	return 1;
}

/* Does no group begin here (yet)? */
static bool at_end(struct aud_scan *s, bool fresh)
{
	const uint8_t *p;
	int err;

	if (fresh)
		window_drop(s);
	if (s->pos + AUD_FMT_GROUP_HEAD > s->size)
		return true;
	p = window_at(s, s->pos, AUD_FMT_GROUP_HEAD, &err);
	return p && aud_fmt_is_zero(p, AUD_FMT_GROUP_HEAD);
}

/* 1: in the next file, or something has appeared in this one; 0: no more. */
static int file_next(struct aud_scan *s, struct aud_scan_fault *fault)
{
	struct aud_fmt_file f = {0};
	uint64_t size = 0;
	int fd, err = file_open(s, s->file + 1, &fd, &f, &size, fault);

	if (err && err != -ENOENT)
		return err;
	if (!at_end(s, true)) {
		if (!err)
			close(fd);
		return 1;
	}
	if (!err && f.first_group == s->next_group && f.first_seq == s->next_seq &&
	    !strcmp(f.origin, s->origin) && !memcmp(f.prev_leaf, s->prev_leaf, 32)) {
		file_enter(s, fd, &f, size);
		return 1;
	}
	if (!err) {
		close(fd);
		if (f.first_group > s->next_group)
			return faulty(fault, s->next_seq, false,
			              "missing: records %" PRIu64 "-%" PRIu64
			              " between files %" PRIu64 " and %" PRIu64,
			              s->next_seq, f.first_seq - 1, s->file, s->file + 1);
		return faulty(fault, s->before_seq ? s->before_seq : s->next_seq, false,
		              "file %" PRIu64 " does not continue file %" PRIu64
		              ": the last group before it was rewritten, or the file is another's",
		              s->file + 1, s->file);
	}
	if (s->size < s->file_bytes)
		return faulty(fault, s->next_seq, false,
		              "truncated: file %" PRIu64 " is shorter than it was made; record "
		              "%" PRIu64 " is the first that may be gone",
		              s->file, s->next_seq);
	return 0;
}

int aud_scan_next(struct aud_scan *s, struct aud_scan_group *g, struct aud_scan_fault *fault)
{
	int r;

	while (at_end(s, false)) {
		r = file_next(s, fault);
		if (r <= 0)
			return r;
	}
	return group_at(s, g, fault);
}

int aud_scan_end_check(struct aud_scan *s, struct aud_scan_fault *fault)
{
	uint64_t behind = 0, pos = s->pos;
	const uint8_t *p;
	int err = 0;

	window_drop(s);
	for (; pos < s->size; pos += AUD_FMT_ALIGN) {
		p = window_at(s, pos, AUD_FMT_ALIGN, &err);
		if (!p)
			return err;
		if (!aud_fmt_is_zero(p, AUD_FMT_ALIGN))
			break;
	}
	if (pos < s->size)
		behind = group_behind(s, pos, s->next_group, false);
	if (!at_end(s, true))
		return 1;
	if (behind)
		return faulty(fault, s->next_seq, false,
		              "missing: record %" PRIu64 " and its group were erased; group "
		              "%" PRIu64 " still stands behind the hole",
		              s->next_seq, behind);
	if (!is_last_file(s)) {
		err = file_next(s, fault);
		return err ? err
		           : faulty(fault, s->next_seq, false,
		                    "missing: file %" PRIu64 " is gone while later ones are there",
		                    s->file + 1);
	}
	if (pos < s->size)
		return faulty(fault, s->next_seq, true,
		              "bytes that are no record stand where record %" PRIu64 " would begin",
		              s->next_seq);
	return 0;
}

int aud_scan_seek(struct aud_scan *s, uint64_t seq, struct aud_scan_fault *fault)
{
	struct aud_fmt_file f = {0};
	uint64_t size = 0, least = 0, low = 1, high, middle;
	int fd = -1, err = files_range(s, &least, &high);

	if (err)
		return err;
	/* Greatest file whose first record is not behind seq. */
	while (low < high) {
		middle = low + (high - low + 1) / 2;
		err = file_open(s, middle, &fd, &f, &size, fault);
		if (err)
			return err;
		close(fd);
		if (f.first_seq <= seq)
			low = middle;
		else
			high = middle - 1;
	}
	err = file_open(s, low, &fd, &f, &size, fault);
	if (err)
		return err;
	s->next_group = f.first_group;
	s->next_seq = f.first_seq;
	s->before_seq = 0;
	memcpy(s->prev_leaf, f.prev_leaf, 32);
	file_enter(s, fd, &f, size);
	return 0;
}

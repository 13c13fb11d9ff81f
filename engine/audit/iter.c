/*
 * iter.c — reading a log record by record, also while it is being written.
 *
 * Every group is checked in place (digests, order, chain) before its records are shown. At the end,
 * bytes that are no whole group are the writer's work in progress as long as there is a writer, and
 * damage otherwise.
 */
#include "engine/audit/audit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/audit/scan.h"

struct aud_iter {
	struct aud_scan scan;
	struct aud_scan_group group;
	size_t at;         /* next record inside the group */
	uint32_t left;     /* records of the group not yet shown */
	uint64_t from_seq; /* show none before */
	bool end_checked;
	char payload[AUD_PAYLOAD_MAX + 1];
};

int aud_iter_open(const char *dir, struct aud_iter **out, char *err, size_t err_bytes)
{
	struct aud_iter *it = calloc(1, sizeof(*it));
	struct aud_scan_fault fault = {0};
	int r = it ? aud_scan_open(&it->scan, dir, &fault) : -ENOMEM;

	*out = NULL;
	if (r) {
		snprintf(err, err_bytes, "audit log %s cannot be read: %s", dir,
		         r == -EUCLEAN  ? fault.what
		         : r == -ENOENT ? "there is none"
		                        : strerror(-r));
		free(it);
		return r;
	}
	*out = it;
	return 0;
}

void aud_iter_close(struct aud_iter *it)
{
	if (!it)
		return;
	aud_scan_close(&it->scan);
	free(it);
}

/* 1: a group is loaded; 0: end. */
static int group_next(struct aud_iter *it)
{
	struct aud_scan_fault fault = {0};
	bool was_live = aud_scan_live(&it->scan);
	int r = aud_scan_next(&it->scan, &it->group, &fault);

	if (!r && !it->end_checked) {
		/* Once: a hole behind which records stand is no end. */
		r = aud_scan_end_check(&it->scan, &fault);
		if (r == 1)
			r = aud_scan_next(&it->scan, &it->group, &fault);
		if (!r)
			it->end_checked = true;
	}
	if (r == -EUCLEAN && fault.tail && (was_live || aud_scan_live(&it->scan)))
		return 0;
	if (r == 1) {
		it->at = 0;
		it->left = it->group.records;
	}
	return r;
}

int aud_iter_next(struct aud_iter *it, struct aud_record *rec, const char **payload)
{
	const uint8_t *bytes;
	size_t used;
	int r;

	do {
		while (!it->left) {
			r = group_next(it);
			if (r <= 0)
				return r;
		}
		r = aud_fmt_record_get(it->group.records_at + it->at, it->group.bytes - it->at, rec,
		                       &bytes, &used);
		if (r)
			return r;
		it->at += used;
		it->left--;
	} while (rec->seq < it->from_seq);
	memcpy(it->payload, bytes, rec->payload_bytes);
	it->payload[rec->payload_bytes] = '\0';
	*payload = it->payload;
	return 1;
}

int aud_iter_seek_seq(struct aud_iter *it, uint64_t seq)
{
	struct aud_scan_fault fault = {0};
	int r = aud_scan_seek(&it->scan, seq, &fault);

	if (r)
		return r;
	it->left = 0;
	it->from_seq = seq;
	return 0;
}

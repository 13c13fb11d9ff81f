/*
 * ingest.h — private to custos-ingest: the pieces of the sandboxed child.
 *
 *   ingest.c        job in, sandbox, source open, pump, last word
 *   ingest_jail.c   what the child may not do
 *   ingest_open.c   FFmpeg: opening a URL or a descriptor
 *   ingest_pump.c   packets → ring records
 */
#ifndef CUSTOS_INGEST_H
#define CUSTOS_INGEST_H

#include <libavformat/avformat.h>

#include "engine/recorder/job.h"
#include "engine/recorder/nal.h"
#include "engine/recorder/ring.h"
#include "engine/recorder/timeline.h"

/* Before anything hostile is read. Descriptor sources lose open and socket altogether; network
 * sources may read /etc and /usr (names, certificates) and make internet sockets. One line on
 * failure, which is fatal. */
int jail_enter(bool network, char *err, size_t err_bytes) MUST_CHECK;

struct source {
	AVFormatContext *fmt;
	AVIOContext *io;
	const struct ingest_job *job;
	bool network, regular;
	int64_t offset;      /* of a regular file; its own position stays untouched */
	int64_t deadline_ns; /* boot time; FFmpeg gives up then; 0: never */
	int64_t heard_ns;    /* last packet */
	bool timed_out;
};
/* Opens the source; on failure *reason and text say why. */
int source_open(struct source *s, const struct ingest_job *job, enum eng_reason *reason, char *text,
                size_t text_bytes) MUST_CHECK;
void source_close(struct source *s);
/* The last error line that FFmpeg gave, "" if none; never holds credentials. */
const char *source_last_error(void);

struct pump {
	struct source *src;
	struct ring *ring;
	const struct ingest_job *job;
	struct eng_setup setup;
	struct pump_track {
		int stream; /* FFmpeg's index, -1: none */
		bool adts;
	} track[ENG_TRACKS_MAX];
	unsigned length_bytes;
	struct nal_sets *sets;
	struct timeline time;
	bool setup_ready, setup_sent, setup_dirty;
	uint8_t *buf;
	size_t buf_bytes;
	uint64_t frames, bad;
	int64_t duration_ns; /* of the whole source, 0 unknown */
};
/* Chooses the tracks. -ENOTSUP with a clear line in text: nothing that can be recorded. */
int pump_init(struct pump *p, struct source *src, struct ring *ring, char *text,
              size_t text_bytes) MUST_CHECK;
/* Until the source ends; *reason and text say how. 0, or -errno when the ring is gone. */
int pump_run(struct pump *p, enum eng_reason *reason, char *text, size_t text_bytes) MUST_CHECK;
void pump_note(struct pump *p, const char *format, ...) PRINTF(2, 3);
void pump_free(struct pump *p);
/* Makes text fit for a ring record: well-formed, one line. */
void text_clean(char *text);

#endif

/*
 * journal.c — the recorder's audit log: what ran and why not, what was fed, removed, alarmed.
 *
 * Only a removal and the start of a feed wait until they are durable: footage must never vanish,
 * nor foreign footage come in, without a record. The rest follows within the log's group time.
 */
#include "engine/recorder/recorder.h"

#include <errno.h>
#include <stdlib.h>

#define ORIGIN "custos.recorder/main"

int journal_open(struct recorder *r, char *err, size_t err_bytes)
{
	char path[4096];
	struct aud_options opt = {.origin = ORIGIN};
	return aud_open(conf_path(r->conf, CONF_LOG_RECORD, path, sizeof(path)), &opt, &r->log, err,
	                err_bytes);
}

/* Consumes payload. */
static int append(struct aud_log *log, struct aud_record *rec, json_t *payload, bool wait)
{
	char *text = payload ? json_dumps(payload, JSON_COMPACT) : NULL;
	json_decref(payload);
	if (!text)
		return -ENOMEM;
	int err = wait ? aud_commit(log, rec, text, strlen(text), NULL)
	               : aud_append(log, rec, text, strlen(text), NULL);
	free(text);
	return err;
}

static struct aud_record record(enum aud_op op)
{
	return (struct aud_record){
	        .op = op, .uid = AUD_NO_UID, .login_uid = AUD_NO_UID, .pid = AUD_NO_UID};
}

static void warn_lost(int err)
{
	if (err)
		log_err("the audit log takes no records: %s", strerror(-err));
}

void journal_run(struct aud_log *log, const char *camera, bool imported, bool begins,
                 enum eng_reason reason, int64_t time_ns)
{
	struct aud_record rec = record(begins ? AUD_OP_RUN_START : AUD_OP_RUN_END);
	if (time_ns != ENG_NO_TIME && begins)
		rec.from_ns = time_ns;
	else if (time_ns != ENG_NO_TIME)
		rec.to_ns = time_ns;
	warn_lost(append(log, &rec,
	                 json_pack("{s:s, s:s, s:b}", "camera", camera, "reason",
	                           eng_reason_name((uint16_t)reason), "imported", (int)imported),
	                 false));
}

int journal_removed(struct aud_log *log, const char *camera, const uint8_t *stream,
                    uint64_t segment, uint64_t generation, int64_t first_ns, int64_t last_ns,
                    const char *rule)
{
	char hex[2 * ENG_UUID_BYTES + 1];
	struct aud_record rec = record(AUD_OP_REMOVE);

	hex_format(stream, ENG_UUID_BYTES, hex);
	rec.object = segment;
	rec.from_ns = first_ns;
	rec.to_ns = last_ns;
	return append(log, &rec,
	              json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:s}", "camera", camera, "stream",
	                        hex, "segment", (json_int_t)segment, "generation",
	                        (json_int_t)generation, "first", (json_int_t)first_ns, "last",
	                        (json_int_t)last_ns, "rule", rule),
	              true);
}

int journal_feed(struct aud_log *log, const struct line_peer *peer, const char *user,
                 const char *camera, int64_t start_ns, const char *what, int result)
{
	struct aud_record rec = record(AUD_OP_FEED);

	rec.uid = peer->uid;
	rec.login_uid = peer->login_uid;
	rec.pid = (uint32_t)peer->pid;
	rec.result = (uint16_t)(result < 0 ? -result : result);
	if (start_ns != ENG_NO_TIME)
		rec.from_ns = start_ns;
	return append(log, &rec,
	              json_pack("{s:s, s:s, s:o, s:s}", "camera", camera, "user", user, "start",
	                        start_ns == ENG_NO_TIME ? json_null() : json_integer(start_ns),
	                        "what", what),
	              result == 0);
}

void journal_snapshot(struct aud_log *log, uint64_t number, const char *what, int result)
{
	struct aud_record rec = record(AUD_OP_SNAPSHOT_SEEN);
	rec.object = number;
	rec.result = (uint16_t)-result;
	warn_lost(append(log, &rec,
	                 json_pack("{s:I, s:s}", "number", (json_int_t)number, "what", what),
	                 false));
}

void journal_alarm(struct aud_log *log, const char *line)
{
	struct aud_record rec = record(AUD_OP_ALARM);
	warn_lost(append(log, &rec, json_pack("{s:s}", "line", line), false));
}

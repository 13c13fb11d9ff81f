/*
 * audit_print.c — one audit record on standard output.
 *
 *   2026-11-20T08:15:00.040+08:00 gate 12 read ann grant 7 东门/….mp4 [0, 131072) x3
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/line.h"
#include "tools/audit_print.h"
#include "tools/cli.h"
#include "tools/table.h"

static void print_tame(const char *before, const char *text)
{
	char *copy = *text ? strdup(text) : NULL;

	if (!copy)
		return;
	text_tame(copy);
	printf("%s%s", before, copy);
	free(copy);
}

/* Who did it. The gate writes the name of the moment into its records; elsewhere the uid is asked,
 * and the name in the record is the fallback for somebody who has left. */
static void person(const struct aud_record *r, const json_t *payload, char out[256])
{
	const char *noted = cli_text(payload, r->op == AUD_OP_REQUEST ? "requester" : "user");
	bool gate = r->op >= AUD_OP_OPEN && r->op < AUD_OP_RUN_START;

	if (gate && *noted)
		snprintf(out, 256, "%s", noted);
	else if (r->uid == AUD_NO_UID)
		snprintf(out, 256, "-");
	else if (people_name(r->uid, out, 256) != 0)
		snprintf(out, 256, "uid:%u", r->uid);
	if (r->op == AUD_OP_REQUEST && *noted && strncmp(out, "uid:", 4) == 0)
		snprintf(out, 256, "%s", noted);
}

const json_t *audit_cameras(const json_t *payload)
{
	const json_t *list = json_object_get(payload, "cameras");

	return list ? list : json_object_get(json_object_get(payload, "asked"), "cameras");
}

static bool has_bytes(const struct aud_record *r)
{
	return r->op == AUD_OP_COVER || r->op == AUD_OP_READ;
}

static void print_details(const struct aud_record *r, const json_t *payload)
{
	static const char *const texts[] = {"camera", "path",  "reason", "rule",    "state",
	                                    "line",   "cause", "what",   "program", "version",
	                                    "source", "comm",  "name",   "op",      "why"};
	char *cameras = cli_join(audit_cameras(payload));

	if (cameras)
		print_tame(" ", cameras);
	free(cameras);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		char before[32];

		snprintf(before, sizeof(before), i < 2 ? " " : " %s=", texts[i]);
		print_tame(before, cli_text(payload, texts[i]));
	}
	if (json_is_integer(json_object_get(payload, "request")) && !r->object)
		printf(" request %lld", (long long)cli_int(payload, "request"));
}

static void print_subject(const struct aud_record *r)
{
	if (r->grant)
		printf(" grant %" PRIu64, r->grant);
	if (!r->object)
		return;
	if (r->op >= AUD_OP_REQUEST && r->op <= AUD_OP_LAPSE)
		printf(" request %" PRIu64, r->object);
	else if (r->op == AUD_OP_REMOVE || r->op == AUD_OP_HEAD)
		printf(" segment %" PRIu64, r->object);
}

void audit_print_line(const char *log, const struct aud_record *r, const json_t *payload)
{
	char time[TIME_TEXT_MAX], who[256], from[CLI_TIME_MAX], to[CLI_TIME_MAX];

	time_format(r->time_ns, time);
	person(r, payload, who);
	printf("%s %s %" PRIu64 " %s", time, log, r->seq, aud_op_name(r->op));
	print_tame(" ", who);
	print_subject(r);
	print_details(r, payload);
	if (has_bytes(r))
		printf(" [%" PRIu64 ", %" PRIu64 ")", r->offset, r->offset + r->length);
	if (r->from_ns || r->to_ns)
		printf(" footage %s to %s", cli_time_ns(r->from_ns, from),
		       cli_time_ns(r->to_ns, to));
	if (r->aux > 1)
		printf(" x%u", r->aux);
	if (r->result)
		printf(" refused: %s", line_errno_name(r->result));
	putchar('\n');
}

static json_t *uid_or_null(uint32_t uid)
{
	return uid == AUD_NO_UID ? json_null() : json_integer(uid);
}

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

void audit_print_json(const char *log, const struct aud_record *r, const json_t *payload)
{
	char boot[2 * sizeof(r->boot_id) + 1], who[256];
	json_t *o =
	        json_pack("{s:s, s:o, s:I, s:s, s:i}", "log", log, "seq", number(r->seq), "time",
	                  (json_int_t)r->time_ns, "op", aud_op_name(r->op), "result", r->result);

	hex_format(r->boot_id, sizeof(r->boot_id), boot);
	person(r, payload, who);
	if (r->result)
		json_object_set_new(o, "code", json_string(line_errno_name(r->result)));
	json_object_set_new(o, "user", json_string(who));
	json_object_set_new(o, "uid", uid_or_null(r->uid));
	json_object_set_new(o, "login_uid", uid_or_null(r->login_uid));
	json_object_set_new(o, "pid", uid_or_null(r->pid));
	json_object_set_new(o, "grant", r->grant ? number(r->grant) : json_null());
	json_object_set_new(o, "object", number(r->object));
	json_object_set_new(o, "offset", number(r->offset));
	json_object_set_new(o, "length", number(r->length));
	json_object_set_new(o, "from", r->from_ns ? json_integer(r->from_ns) : json_null());
	json_object_set_new(o, "to", r->to_ns ? json_integer(r->to_ns) : json_null());
	json_object_set_new(o, "aux", json_integer(r->aux));
	json_object_set_new(o, "incarnation", number(r->incarnation));
	json_object_set_new(o, "boot", json_string(boot));
	json_object_set_new(o, "payload", payload ? json_deep_copy(payload) : json_null());
	if (json_dumpf(o, stdout, JSON_COMPACT) != 0)
		fputs("null", stdout);
	json_decref(o);
}

/*
 * cmd_audit_verify.c — are the logs what was signed? Asks no daemon: files and the public key only.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/audit/audit.h"
#include "tools/audit_logs.h"
#include "tools/commands.h"
#include "tools/table.h"

const struct args_option opts_audit_verify[] = {
        {"key", "FILE", "verifier key (the policy daemon's sign.pub)", true},
        {"log", "NAME", "only policy, gate or recorder", false},
        {"dir", "DIR", "a log's folder, copied from anywhere", false},
        {0},
};

#define KEY_MAX_BYTES 4096

static int load_key(const struct cli *cli, char **out)
{
	const char *file = args_get(cli->args, "key");
	size_t len;
	int err = file_read_all(file, KEY_MAX_BYTES, out, &len);

	if (err)
		return cli_fail(cli, CLI_REFUSED,
		                "key %s cannot be read: %s; give the sign.pub that "
		                "policyd has made",
		                file, strerror(-err));
	(*out)[strcspn(*out, "\r\n")] = '\0';
	return CLI_DONE;
}

static json_t *verdict_json(const struct audit_place *place, const struct aud_verdict *v)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:b}", "log", place->name, "dir", place->dir,
	                      "origin", v->origin, "ok", v->ok);
	const struct {
		const char *name;
		uint64_t value;
	} counts[] = {
	        {"records", v->records},
	        {"groups", v->groups},
	        {"checkpoints", v->checkpoints},
	        {"signed_records", v->signed_records},
	        {"unsigned_records", v->records - v->signed_records},
	        {"unsettled", v->unsettled},
	};

	if (!o)
		o = json_pack("{s:s, s:b}", "log", place->name, "ok", v->ok);
	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		json_object_set_new(o, counts[i].name, json_integer((json_int_t)counts[i].value));
	json_object_set_new(o, "unsigned_age_ns", json_integer(v->unsigned_age_ns));
	json_object_set_new(o, "last_record",
	                    v->last_record_ns ? json_integer(v->last_record_ns) : json_null());
	json_object_set_new(o, "first_bad_seq",
	                    v->first_bad_seq ? json_integer((json_int_t)v->first_bad_seq)
	                                     : json_null());
	json_object_set_new(o, "what", v->what[0] ? json_string(v->what) : json_null());
	return o;
}

static void print_verdict(const struct audit_place *place, struct aud_verdict *v)
{
	char age[CLI_TIME_MAX];

	text_tame(v->what);
	text_tame(v->origin);
	if (!v->ok) {
		printf("%s: FAILED: %s", place->name, v->what);
		if (v->first_bad_seq)
			printf(" (first bad record: %" PRIu64 ")", v->first_bad_seq);
		putchar('\n');
		return;
	}
	printf("%s: good: %" PRIu64 " records in %" PRIu64 " groups, %" PRIu64
	       " of them signed (%s)\n",
	       place->name, v->records, v->groups, v->signed_records, v->origin);
	if (v->records > v->signed_records)
		printf("  the last %" PRIu64 " records are not signed yet; the oldest is %s old\n",
		       v->records - v->signed_records, cli_duration(v->unsigned_age_ns, age));
	if (v->unsettled)
		printf("  %" PRIu64 " reads may have happened that no record settles (the gate "
		       "crashed)\n",
		       v->unsettled);
}

/* One log; *ok as the verdict. What could not be judged is not good. */
static json_t *judge(const struct cli *cli, const struct audit_place *place, const char *vkey,
                     bool *ok)
{
	struct aud_verdict v = {0};
	char err[512] = "";

	if (access(place->dir, F_OK) != 0) {
		snprintf(v.what, sizeof(v.what), "there is no log at %.200s: %s", place->dir,
		         strerror(errno));
	} else if (aud_verify(place->dir, vkey, cli->now_ns, &v, err, sizeof(err)) != 0) {
		v.ok = false;
		snprintf(v.what, sizeof(v.what), "%.250s", err);
	}
	*ok = v.ok;
	if (!cli->json)
		print_verdict(place, &v);
	return cli->json ? verdict_json(place, &v) : NULL;
}

int cmd_audit_verify(struct cli *cli)
{
	struct audit_place places[AUDIT_LOGS];
	size_t n, bad = 0;
	char *vkey = NULL;
	json_t *list;
	int status = audit_places(cli, places, &n);

	if (!status)
		status = load_key(cli, &vkey);
	if (status)
		return status;
	list = json_array();
	for (size_t i = 0; i < n; i++) {
		bool ok;
		json_t *verdict = judge(cli, &places[i], vkey, &ok);

		bad += !ok;
		if (verdict)
			json_array_append_new(list, verdict);
	}
	status = cli->json ? cli_print_json(cli, list) : cli_finish(cli);
	json_decref(list);
	free(vkey);
	if (bad && !status)
		status = cli_fail(
		        cli, CLI_REFUSED,
		        "%zu of %zu logs do not verify; keep the files and the key as they "
		        "are and ask who could write there",
		        bad, n);
	return status;
}

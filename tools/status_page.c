/*
 * status_page.c — cameras, stores, policy, gate and alarms on one page.
 *
 * Whatever is wrong is said in capitals, so that it stands out without colours; what is as it
 * should be takes one line.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/cli.h"
#include "tools/status_page.h"
#include "tools/table.h"

/* A line whose texts may come from others. */
static void PRINTF(1, 2) say(const char *format, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	text_tame(line);
	puts(line);
}

static uint64_t count(const json_t *object, const char *key)
{
	return (uint64_t)cli_int(object, key);
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* Heads a daemon's part. False: there is no more to tell of it. */
static bool begin(const char *name, const char *program, const json_t *s)
{
	const char *error = cli_text(s, "error");

	if (!json_is_true(json_object_get(s, "reachable")))
		say("%-9s NOT RUNNING: %s", name, error);
	else if (*error)
		say("%-9s %s is running; %s", name, program, error);
	return !*error && json_is_true(json_object_get(s, "reachable"));
}

static void print_cameras(const json_t *cameras)
{
	static const char *const heads[] = {"  CAMERA",  "STATE",      ">RATE", ">FRAMES",
	                                    ">RESTARTS", "DURABLE TO", "CAUSE", NULL};
	struct table *t = table_new(heads);
	char durable[CLI_TIME_MAX];
	const json_t *c;
	size_t i;

	if (!t)
		return;
	json_array_foreach(cameras, i, c)
	{
		table_cellf(t, "  %s", cli_text(c, "camera"));
		table_cell(t, cli_text(c, "state"));
		table_cellf(t, "%.1f Mbit/s",
		            json_number_value(json_object_get(c, "rate_bps")) / 1e6);
		table_cellf(t, "%" PRIu64, count(c, "frames"));
		table_cellf(t, "%" PRIu64, count(c, "restarts"));
		table_cell(t, cli_time(json_object_get(c, "durable"), durable));
		table_cell(t, cli_text(c, "cause"));
	}
	if (table_print(t, stdout) != 0)
		puts("  (not all of it: out of memory)");
}

/* Bits a second of the cameras that record into this store. */
static double store_rate(const struct conf *conf, const char *store, const json_t *cameras)
{
	const json_t *c;
	double sum = 0;
	size_t i;

	json_array_foreach(cameras, i, c)
	{
		const struct conf_camera *cam = conf_camera(conf, cli_text(c, "camera"));

		if (cam && strcmp(cam->store, store) == 0)
			sum += json_number_value(json_object_get(c, "rate_bps"));
	}
	return sum;
}

static void print_space(const json_t *s, double rate_bps)
{
	uint64_t all = count(s, "segments"), bytes = count(s, "segment_bytes");
	uint64_t used = count(s, "segments_open") + count(s, "segments_sealed");
	uint64_t retired = count(s, "segments_retired");
	char size[CLI_TIME_MAX], oldest[CLI_TIME_MAX], room[CLI_TIME_MAX];

	say("  store %s: %" PRIu64 " of %" PRIu64 " segments of %s in use, %" PRIu64
	    " free (%" PRIu64 " prewritten)",
	    cli_text(s, "name"), used, all, cli_size(bytes, size),
	    count(s, "segments_raw") + count(s, "segments_ready"), count(s, "segments_ready"));
	if (retired)
		say("    %" PRIu64 " SEGMENT%s RETIRED after failed writes: check the disk",
		    retired, retired == 1 ? "" : "S");
	if (json_is_true(json_object_get(s, "store_full")))
		puts("    STORE FULL: nothing may be removed yet; add space or lower min_age");
	printf("    oldest footage %s", cli_time(json_object_get(s, "oldest_ns"), oldest));
	if (rate_bps > 0)
		printf("; at this rate the store holds %s",
		       cli_duration(
		               (int64_t)((double)(all - retired) * (double)bytes * 8 / rate_bps) *
		                       NSEC_PER_SEC,
		               room));
	printf("; %" PRIu64 " segment%s removed\n", count(s, "removed"),
	       plural(count(s, "removed")));
}

static void print_safety(const struct conf *conf, const json_t *s)
{
	const struct conf_store *cs = conf_store(conf, cli_text(s, "name"));
	uint64_t overruns = count(s, "overruns"), errors = count(s, "write_errors");
	char now[CLI_TIME_MAX], worst[CLI_TIME_MAX], target[CLI_TIME_MAX] = "?",
	                                             memory[CLI_TIME_MAX], out[CLI_TIME_MAX];

	if (cs)
		cli_duration(cs->flush_ns, target);
	printf("    lost in a power cut: %s now, %s at worst, target %s",
	       cli_duration(cli_int(s, "loss_bound_ns"), now),
	       cli_duration(cli_int(s, "loss_bound_max_ns"), worst), target);
	if (overruns)
		printf("; MISSED %" PRIu64 " TIME%s", overruns, overruns == 1 ? "" : "S");
	if (errors)
		printf("; %" PRIu64 " WRITE ERROR%s", errors, errors == 1 ? "" : "S");
	printf("\n    %s written since start, %" PRIu64 " frames durable, %s of memory in use\n",
	       cli_size(count(s, "bytes_written"), out), count(s, "frames_durable"),
	       cli_size(count(s, "memory_used_bytes"), memory));
}

static void print_clock(const json_t *clock)
{
	const json_t *error = json_object_get(clock, "error_us");

	if (!json_is_true(json_object_get(clock, "synced")))
		puts("recorder  running; CLOCK NOT SYNCHRONISED: footage is marked so; see chrony "
		     "or "
		     "ntpd");
	else if (json_is_integer(error) && json_integer_value(error) < UINT32_MAX)
		printf("recorder  running; clock synchronised within %.1f ms\n",
		       (double)json_integer_value(error) / 1e3);
	else
		puts("recorder  running; clock synchronised");
}

static void print_recorder(const struct conf *conf, const json_t *r)
{
	const json_t *cameras = json_object_get(r, "cameras"), *s;
	size_t i;

	if (!begin("recorder", "custos-recorderd", r))
		return;
	print_clock(json_object_get(r, "clock"));
	print_cameras(cameras);
	json_array_foreach(json_object_get(r, "stores"), i, s)
	{
		print_space(s, store_rate(conf, cli_text(s, "name"), cameras));
		print_safety(conf, s);
	}
}

static void print_log(const json_t *log, const char *consequence)
{
	if (json_is_true(json_object_get(log, "failed")))
		printf("  LOG FAILED: %s; check the disk, then start it again\n", consequence);
	else
		printf("  log: %" PRIu64 " records durable\n", count(log, "durable"));
}

static void print_policy(const json_t *p)
{
	const json_t *pending = json_object_get(p, "pending"), *gates = json_object_get(p, "gates"),
	             *g;
	uint64_t requests = count(p, "requests_open"), grants = count(p, "grants_active");
	char left[CLI_TIME_MAX];
	size_t i;

	if (!begin("policy", "custos-policyd", p))
		return;
	say("policy    running; %" PRIu64 " request%s open, %" PRIu64
	    " grant%s active; policy in force sha256 %.12s…",
	    requests, plural(requests), grants, plural(grants), cli_text(p, "policy_digest"));
	if (json_is_true(json_object_get(p, "clock_behind")))
		puts("  CLOCK BEHIND the last signed time: everything is denied until it is set");
	if (!json_is_true(json_object_get(p, "projection")))
		puts("  DATABASE NOT AVAILABLE: decisions go on from the log");
	if (json_is_integer(pending))
		printf("  a change of policy waits for a second admin: custos config approve "
		       "%lld\n",
		       (long long)json_integer_value(pending));
	if (!json_array_size(gates))
		puts("  NO GATE holds a lease: nobody can see footage");
	json_array_foreach(gates, i, g)
	{
		say("  gate %s has a lease for %s%s", cli_text(g, "gate"),
		    cli_duration(cli_int(g, "lease_ms_left") * NSEC_PER_MSEC, left),
		    cli_int(g, "have") < cli_int(p, "epoch") ? "; it is being told of changes"
		                                             : "");
	}
	say("  signing key %s", cli_text(p, "fingerprint"));
	print_log(json_object_get(p, "log"), "everything is denied");
}

static void print_gate(const json_t *g)
{
	uint64_t grants = count(g, "grants"), files = count(g, "handles");
	int64_t left_ms = cli_int(g, "lease_ms_left");
	char left[CLI_TIME_MAX];

	if (!begin("gate", "custosfs", g))
		return;
	say("gate      running at %s; %" PRIu64 " grant%s served, %" PRIu64 " file%s open",
	    cli_text(g, "mount"), grants, plural(grants), files, plural(files));
	if (left_ms > 0)
		printf("  lease for %s", cli_duration(left_ms * NSEC_PER_MSEC, left));
	else
		printf("  NO LEASE from custos-policyd: everything is denied");
	printf("; since start %" PRIu64 " read%s, %" PRIu64 " denial%s\n", count(g, "reads"),
	       plural(count(g, "reads")), count(g, "denials"), plural(count(g, "denials")));
	print_log(json_object_get(g, "log"), "opens and reads fail");
}

void status_page(const struct conf *conf, const json_t *all)
{
	const json_t *recorder = json_object_get(all, "recorder"), *line;
	const json_t *alarms = json_object_get(recorder, "alarms");
	size_t i;

	print_recorder(conf, recorder);
	print_policy(json_object_get(all, "policy"));
	print_gate(json_object_get(all, "gate"));
	if (json_array_size(alarms))
		puts("alarms    of the recorder since its start, newest last");
	json_array_foreach(alarms, i, line)
	{
		say("  %s", json_is_string(line) ? json_string_value(line) : "?");
	}
}

/*
 * recorder.c — the recorder's stores and what it tells people.
 */
#include "engine/recorder/recorder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

void recorder_alarm(struct recorder *r, const char *line)
{
	char when[TIME_TEXT_MAX];
	char *slot = r->alarms[r->n_alarms % ALARMS_KEPT];

	log_warn("%s", line);
	time_format(clock_wall_ns(), when);
	snprintf(slot, sizeof(r->alarms[0]), "%s %s", when, line);
	r->n_alarms++;
	if (r->log)
		journal_alarm(r->log, line);
}

static void store_alarm(void *arg, const char *line)
{
	struct store *s = arg;
	char text[RING_TEXT_MAX];
	snprintf(text, sizeof(text), "store \"%s\": %s", s->conf->name, line);
	recorder_alarm(s->rec, text);
}

static int store_removed(void *arg, const char *camera, const uint8_t stream[ENG_UUID_BYTES],
                         uint64_t segment, uint64_t generation, int64_t first_ns, int64_t last_ns,
                         const char *rule)
{
	struct store *s = arg;
	return journal_removed(s->rec->log, camera, stream, segment, generation, first_ns, last_ns,
	                       rule);
}

static void store_ready(void *arg)
{
	(void)arg; /* the loop polls every store after each wake-up */
}

static int store_open(struct recorder *r, struct store *s, const struct conf_store *conf, char *err,
                      size_t err_bytes)
{
	struct eng_writer_options opt = {
	        .flush_ns = conf->flush_ns,
	        .leaves = conf->leaves,
	        .memory_bytes = conf->memory_bytes,
	        .alarm = store_alarm,
	        .removed = store_removed,
	        .arg = s,
	};
	s->conf = conf;
	s->rec = r;
	int e = eng_writer_open(conf->path, &opt, &s->writer, err, err_bytes);
	if (!e)
		e = eng_reader_open(conf->path, &s->reader, err, err_bytes);
	if (!e) {
		e = loop_add(r, &s->watch, eng_writer_fd(s->writer), store_ready, s);
		if (e)
			snprintf(err, err_bytes, "epoll: %s", strerror(-e));
	}
	return e;
}

int recorder_open_stores(struct recorder *r, char *err, size_t err_bytes)
{
	r->stores = calloc(r->conf->n_stores + 1, sizeof(*r->stores));
	if (!r->stores)
		return -ENOMEM;
	for (size_t i = 0; i < r->conf->n_stores; i++) {
		char why[512] = "";
		r->n_stores++;
		int e = store_open(r, &r->stores[i], &r->conf->stores[i], why, sizeof(why));
		if (e) {
			bool hint = e != -EBUSY && !strstr(why, "fsck");
			snprintf(err, err_bytes, "store \"%s\": %s%s", r->conf->stores[i].name,
			         why[0] ? why : strerror(-e),
			         hint ? "; run custos init, or custos fsck --rebuild" : "");
			return e;
		}
	}
	return 0;
}

void recorder_close_stores(struct recorder *r)
{
	for (size_t i = 0; i < r->n_stores; i++) {
		struct store *s = &r->stores[i];
		loop_del(r, &s->watch);
		if (s->reader)
			eng_reader_close(s->reader);
		if (s->writer)
			eng_writer_close(s->writer);
	}
	free(r->stores);
	r->stores = NULL;
	r->n_stores = 0;
}

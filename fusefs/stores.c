/*
 * stores.c — camera → reader (stores.h).
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "fusefs/stores.h"

#define RETRY_NS (3 * NSEC_PER_SEC)

struct stores {
	const struct conf *conf;
	pthread_mutex_t lock;
	struct eng_reader **reader; /* one per configured store, NULL: not open */
	int64_t *tried_ns;
};

/* With the lock held. */
static struct eng_reader *open_one(struct stores *s, size_t i)
{
	int64_t now = clock_boot_ns();
	char err[256] = "";

	if (s->reader[i] || (s->tried_ns[i] && now - s->tried_ns[i] < RETRY_NS))
		return s->reader[i];
	if (eng_reader_open(s->conf->stores[i].path, &s->reader[i], err, sizeof(err))) {
		s->reader[i] = NULL;
		if (!s->tried_ns[i])
			log_warn("store %s: %s; its footage shows once it can be read",
			         s->conf->stores[i].name, err);
	} else {
		log_info("store %s open", s->conf->stores[i].name);
	}
	s->tried_ns[i] = now;
	return s->reader[i];
}

int stores_new(const struct conf *conf, struct stores **out)
{
	struct stores *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->conf = conf;
	pthread_mutex_init(&s->lock, NULL);
	s->reader = calloc(conf->n_stores + 1, sizeof(struct eng_reader *));
	s->tried_ns = calloc(conf->n_stores + 1, sizeof(*s->tried_ns));
	if (!s->reader || !s->tried_ns) {
		stores_free(s);
		return -ENOMEM;
	}
	for (size_t i = 0; i < conf->n_stores; i++)
		open_one(s, i);
	*out = s;
	return 0;
}

void stores_free(struct stores *s)
{
	if (!s)
		return;
	for (size_t i = 0; s->reader && i < s->conf->n_stores; i++)
		if (s->reader[i])
			eng_reader_close(s->reader[i]);
	free(s->reader);
	free(s->tried_ns);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static bool has_footage(struct eng_reader *r, const char *camera)
{
	struct eng_run *runs = NULL;
	size_t n = 0;
	int ret = eng_runs(r, camera, INT64_MIN + 1, INT64_MAX, &runs, &n);

	free(runs);
	return !ret && n > 0;
}

int stores_reader(struct stores *s, const char *camera, struct eng_reader **out)
{
	const struct conf_camera *cam = conf_camera(s->conf, camera);
	const struct conf_store *want = NULL;

	if (cam && cam->store)
		want = conf_store(s->conf, cam->store);
	else if (s->conf->n_stores == 1)
		want = &s->conf->stores[0];
	*out = NULL;
	for (size_t i = 0; i < s->conf->n_stores && !*out; i++) {
		struct eng_reader *r;

		if (want && want != &s->conf->stores[i])
			continue;
		pthread_mutex_lock(&s->lock);
		r = open_one(s, i);
		pthread_mutex_unlock(&s->lock);
		if (r && (want || has_footage(r, camera)))
			*out = r;
	}
	return *out ? 0 : -ENOENT;
}

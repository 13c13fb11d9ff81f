/*
 * sweep.c — see sweep.h. Two threads and not one, because invalidating waits for pages that are
 * being filled, and the log must not wait with it.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "fusefs/sweep.h"

#define FLUSH_NS  (20 * NSEC_PER_MSEC)
#define EXPIRE_NS (200 * NSEC_PER_MSEC) /* less than what our lease ends before policyd's */

/* So many names in MOUNT stay; beyond them those without a grant go, so many a second at least. */
#define NAMES_KEPT    1024
#define NAMES_AT_ONCE 512
#define NAMES_ROUNDS  32

struct sweep {
	struct sweep_options opt;
	struct fs *fs;
	char names[NAMES_AT_ONCE][TREE_NAME_MAX]; /* the expirer's */
	pthread_t flusher, expirer;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
};

/* false: stop. */
static bool sleep_for(struct sweep *s, int64_t ns)
{
	struct timespec until;
	bool stop;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += (long)ns;
	until.tv_sec += until.tv_nsec / NSEC_PER_SEC;
	until.tv_nsec %= NSEC_PER_SEC;
	pthread_mutex_lock(&s->lock);
	while (!s->stop && pthread_cond_timedwait(&s->wake, &s->lock, &until) != ETIMEDOUT)
		;
	stop = s->stop;
	pthread_mutex_unlock(&s->lock);
	return !stop;
}

static void *flusher_main(void *arg)
{
	struct sweep *s = arg;

	do {
		handles_flush(s->fs->handles);
		deny_flush(s->fs->denials, false);
	} while (sleep_for(s, FLUSH_NS));
	return NULL;
}

/* Mapped pages stay readable without anybody asking. So none outlives the cover that it was filled
 * under, nor the lease: the next touch asks again, and is logged or refused. */
static void expire(struct sweep *s)
{
	bool leased = gate_lease_left_ns(s->fs->gate) > 0;
	int64_t now = clock_boot_ns();
	struct handle **list;
	size_t n;

	if (handles_of(s->fs->handles, NULL, &list, &n))
		return;
	for (size_t i = 0; i < n; i++) {
		bool old;

		pthread_mutex_lock(&list[i]->lock);
		old = list[i]->covered_ns && (!leased || now - list[i]->covered_ns > COVER_AGE_NS);
		if (old)
			list[i]->covered_ns = 0;
		pthread_mutex_unlock(&list[i]->lock);
		if (old)
			s->opt.invalidate(s->opt.arg, list[i]->node);
		handle_put(s->fs->handles, list[i]);
	}
	free(list);
}

/* A shell loop over invented user names would fill our memory with nodes otherwise: the kernel lets
 * go of them only when it runs short itself. Those with a grant stay (getcwd of their owners). */
static void forget_names(struct sweep *s)
{
	size_t n = NAMES_AT_ONCE;

	for (int round = 0; n == NAMES_AT_ONCE && round < NAMES_ROUNDS; round++) {
		n = tree_surplus(s->fs->tree, NAMES_KEPT, s->names, NAMES_AT_ONCE);
		for (size_t i = 0; i < n; i++)
			if (!gate_knows(s->fs->gate, s->names[i]))
				s->opt.forget_name(s->opt.arg, s->names[i]);
	}
}

static void *expirer_main(void *arg)
{
	struct sweep *s = arg;

	while (sleep_for(s, EXPIRE_NS)) {
		expire(s);
		forget_names(s);
	}
	return NULL;
}

int sweep_start(const struct sweep_options *opt, struct sweep **out)
{
	struct sweep *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;
	int ret;

	if (!s)
		return -ENOMEM;
	s->opt = *opt;
	s->fs = opt->fs;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->wake, &attr);
	pthread_condattr_destroy(&attr);
	ret = pthread_create(&s->flusher, NULL, flusher_main, s);
	if (!ret) {
		ret = pthread_create(&s->expirer, NULL, expirer_main, s);
		if (!ret) {
			*out = s;
			return 0;
		}
		pthread_mutex_lock(&s->lock);
		s->stop = true;
		pthread_cond_broadcast(&s->wake);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->flusher, NULL);
	}
	free(s);
	return -ret;
}

void sweep_stop(struct sweep *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->flusher, NULL);
	pthread_join(s->expirer, NULL);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->wake);
	free(s);
}

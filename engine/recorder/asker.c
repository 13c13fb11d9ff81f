/*
 * asker.c — the thread that waits for others: policyd ("may this uid …?") and the name service.
 *
 * The main loop must do neither: policyd asks us for coverage while it serves our question, and a
 * name service may take seconds. One question at a time, in order; answers come back by eventfd.
 */
#include "engine/recorder/recorder.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define CALL_TIMEOUT_NS (4 * NSEC_PER_SEC)

struct asker {
	const struct conf *conf;
	uid_t policy_uid;
	int event_fd;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	struct ask *queued, **queued_end, *done, **done_end;
};

static void ask_people(struct ask *a)
{
	a->verdict = -EACCES;
	snprintf(a->why, sizeof(a->why), "you are not one of this camera's feeders");
	for (char **p = a->people; *p && a->verdict; p++) {
		int m = people_match(*p, a->uid);
		if (m > 0)
			a->verdict = 0;
		else if (m < 0 && m != -ENOENT) {
			a->verdict = -EIO;
			snprintf(a->why, sizeof(a->why), "\"%s\" cannot be looked up now: %s", *p,
			         strerror(-m));
			return;
		}
	}
}

static void judge(struct ask *a, const json_t *reply)
{
	const json_t *allowed = json_object_get(reply, "allowed");
	if (!json_is_true(json_object_get(reply, "ok")) || !json_is_boolean(allowed)) {
		const char *why = json_string_value(json_object_get(reply, "error"));
		a->verdict = -EIO;
		snprintf(a->why, sizeof(a->why), "policyd gave no answer: %s", why ? why : "?");
	} else if (!json_is_true(allowed)) {
		a->verdict = -EACCES;
		snprintf(a->why, sizeof(a->why),
		         "you do not have the right \"%s\"; ask whoever keeps policy.conf",
		         a->right);
	}
}

static void ask_policy(const struct asker *k, struct ask *a)
{
	char path[4096];
	struct line_client *c;
	json_t *reply = NULL;
	int err = line_connect(conf_path(k->conf, CONF_SOCK_POLICY, path, sizeof(path)),
	                       k->policy_uid, CALL_TIMEOUT_NS, &c);
	if (!err) {
		json_t *req = json_pack("{s:s, s:I, s:s}", "op", "may", "uid", (json_int_t)a->uid,
		                        "right", a->right);
		err = line_call(c, req, -1, CALL_TIMEOUT_NS, &reply);
		json_decref(req);
		line_disconnect(c);
	}
	if (err) {
		a->verdict = -EAGAIN;
		snprintf(a->why, sizeof(a->why),
		         "policyd cannot be asked about the right \"%s\" (%s); try again when it "
		         "runs",
		         a->right, strerror(-err));
		return;
	}
	judge(a, reply);
	json_decref(reply);
}

static void answer(const struct asker *k, struct ask *a)
{
	a->verdict = 0;
	if (people_name(a->uid, a->name, sizeof(a->name)))
		a->name[0] = 0;
	if (a->people)
		ask_people(a);
	if (!a->verdict && a->right)
		ask_policy(k, a);
}

static void *run(void *arg)
{
	struct asker *k = arg;
	uint64_t one = 1;

	pthread_mutex_lock(&k->lock);
	for (;;) {
		while (!k->queued && !k->stop)
			pthread_cond_wait(&k->wake, &k->lock);
		if (k->stop)
			break;
		struct ask *a = k->queued;
		k->queued = a->next;
		if (!k->queued)
			k->queued_end = &k->queued;
		pthread_mutex_unlock(&k->lock);
		answer(k, a);
		pthread_mutex_lock(&k->lock);
		a->next = NULL;
		*k->done_end = a;
		k->done_end = &a->next;
		if (write(k->event_fd, &one, sizeof(one)) < 0)
			log_debug("eventfd is full");
	}
	pthread_mutex_unlock(&k->lock);
	return NULL;
}

int asker_open(const struct conf *conf, uid_t policy_uid, struct asker **out)
{
	struct asker *k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	k->conf = conf;
	k->policy_uid = policy_uid;
	k->queued_end = &k->queued;
	k->done_end = &k->done;
	pthread_mutex_init(&k->lock, NULL);
	pthread_cond_init(&k->wake, NULL);
	k->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int err = k->event_fd < 0 ? -errno : -pthread_create(&k->thread, NULL, run, k);
	if (err) {
		if (k->event_fd >= 0)
			close(k->event_fd);
		free(k);
		return err;
	}
	*out = k;
	return 0;
}

void asker_put(struct asker *k, struct ask *a)
{
	a->next = NULL;
	pthread_mutex_lock(&k->lock);
	*k->queued_end = a;
	k->queued_end = &a->next;
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->lock);
}

int asker_fd(const struct asker *k)
{
	return k->event_fd;
}

void asker_run(struct asker *k)
{
	uint64_t n;
	if (read(k->event_fd, &n, sizeof(n)) < 0)
		n = 0;
	pthread_mutex_lock(&k->lock);
	struct ask *list = k->done;
	k->done = NULL;
	k->done_end = &k->done;
	pthread_mutex_unlock(&k->lock);
	while (list) {
		struct ask *a = list;
		list = a->next;
		a->done(a->arg, a);
	}
}

static void give_up(struct ask *list)
{
	while (list) {
		struct ask *a = list;
		list = a->next;
		a->verdict = -ESHUTDOWN;
		snprintf(a->why, sizeof(a->why), "the recorder is stopping");
		a->done(a->arg, a);
	}
}

void asker_close(struct asker *k)
{
	if (!k)
		return;
	pthread_mutex_lock(&k->lock);
	k->stop = true;
	pthread_cond_signal(&k->wake);
	pthread_mutex_unlock(&k->lock);
	pthread_join(k->thread, NULL);
	/* What has been answered, too: nothing begins any more. */
	give_up(k->done);
	give_up(k->queued);
	close(k->event_fd);
	pthread_cond_destroy(&k->wake);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

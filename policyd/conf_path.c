/*
 * conf_path.c — a loaded configuration: looking things up in it, paths that follow from it, its
 * end.
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/conf.h"

static void store_free(struct conf_store *s)
{
	free(s->name);
	free(s->path);
}

static void camera_free(struct conf_camera *cam)
{
	free(cam->name);
	free(cam->store);
	free(cam->source);
	free(cam->credential);
	for (size_t i = 0; cam->feeders && cam->feeders[i]; i++)
		free(cam->feeders[i]);
	free(cam->feeders);
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_stores; i++)
		store_free(&c->stores[i]);
	for (size_t i = 0; i < c->n_cameras; i++)
		camera_free(&c->cameras[i]);
	free(c->stores);
	free(c->cameras);
	free(c->file);
	free(c->timezone);
	free(c->run);
	free(c->state);
	free(c->policy);
	free(c->recorder_user);
	free(c->policy_user);
	free(c->gate_user);
	free(c->store_group);
	free(c->audit_group);
	free(c->mount);
	free(c);
}

const struct conf_camera *conf_camera(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->n_cameras; i++)
		if (strcmp(c->cameras[i].name, name) == 0)
			return &c->cameras[i];
	return NULL;
}

const struct conf_store *conf_store(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->n_stores; i++)
		if (strcmp(c->stores[i].name, name) == 0)
			return &c->stores[i];
	return NULL;
}

const char *conf_path(const struct conf *c, enum conf_path which, char *out, size_t out_bytes)
{
	static const struct {
		bool run;
		const char *below;
	} paths[] = {
	        [CONF_SOCK_POLICY] = {true, "policy/policy.sock"},
	        [CONF_SOCK_RECORD] = {true, "recorder/recorder.sock"},
	        [CONF_SOCK_GATE] = {true, "gate/gate.sock"},
	        [CONF_LOG_POLICY] = {false, "policy/log"},
	        [CONF_LOG_RECORD] = {false, "recorder/log"},
	        [CONF_LOG_GATE] = {false, "gate/log"},
	        [CONF_KEY_SIGN] = {false, "keys/sign"},
	        [CONF_KEY_PUB] = {false, "keys/sign.pub"},
	        [CONF_DB] = {false, "policy/policy.db"},
	};

	snprintf(out, out_bytes, "%s/%s", paths[which].run ? c->run : c->state, paths[which].below);
	return out;
}

int conf_uid(const char *user, uid_t *out)
{
	return people_uid(user, out);
}

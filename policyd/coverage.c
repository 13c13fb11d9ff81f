/*
 * Coverage is help for requester and signers, not a rule that policyd's life hangs on: a recorder
 * that is down or slow costs half a second once, then nothing for ten.
 */
#include <errno.h>

#include "policyd/coverage.h"

#define PATIENCE_NS (500 * NSEC_PER_MSEC)
#define BACKOFF_NS  (10 * NSEC_PER_SEC)

static json_t *ask_one(struct line_client *c, const char *camera, int64_t from_ns, int64_t to_ns,
                       int64_t deadline, int *err)
{
	json_t *reply = NULL, *out = NULL;
	json_t *req = json_pack("{s:s, s:s, s:I, s:I}", "op", "coverage", "camera", camera, "from",
	                        (json_int_t)from_ns, "to", (json_int_t)to_ns);
	int64_t left = deadline - clock_boot_ns();

	*err = !req ? -ENOMEM : left <= 0 ? -ETIMEDOUT : line_call(c, req, -1, left, &reply);
	json_decref(req);
	if (*err)
		return NULL;
	if (json_is_true(json_object_get(reply, "ok")) &&
	    json_is_number(json_object_get(reply, "seconds")))
		out = json_pack("{s:O, s:O?, s:O?}", "seconds", json_object_get(reply, "seconds"),
		                "first", json_object_get(reply, "first"), "last",
		                json_object_get(reply, "last"));
	json_decref(reply);
	return out ? out : json_null();
}

json_t *coverage_ask(struct policyd *p, char *const *cameras, int64_t from_ns, int64_t to_ns)
{
	int64_t now = clock_boot_ns(), deadline = now + PATIENCE_NS;
	struct line_client *client = NULL;
	char path[PATH_MAX];
	json_t *all = NULL;
	uid_t uid;
	int err;

	if (now < p->coverage_backoff_boot_ns || conf_uid(p->conf->recorder_user, &uid))
		return NULL;
	conf_path(p->conf, CONF_SOCK_RECORD, path, sizeof(path));
	err = line_connect(path, uid, PATIENCE_NS, &client);
	if (!err) {
		all = json_object();
		for (size_t i = 0; all && !err && cameras[i]; i++) {
			json_t *one = ask_one(client, cameras[i], from_ns, to_ns, deadline, &err);

			if (!err && json_object_set_new(all, cameras[i], one))
				err = -ENOMEM;
		}
		line_disconnect(client);
	}
	if (err == -ETIMEDOUT)
		p->coverage_backoff_boot_ns = clock_boot_ns() + BACKOFF_NS;
	if (err) {
		json_decref(all);
		return NULL;
	}
	return all;
}

bool coverage_empty(const json_t *coverage)
{
	const char *camera;
	json_t *one;

	if (!json_object_size(coverage))
		return false;
	json_object_foreach((json_t *)coverage, camera, one)
	{
		if (json_is_null(one) || json_number_value(json_object_get(one, "seconds")) > 0)
			return false;
	}
	return true;
}

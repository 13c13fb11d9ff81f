/*
 * conf.h — custos.conf, the technical configuration that every program reads (libconfuse).
 *
 * What it may hold is what struct conf holds; sample: policyd/custos.conf.sample, page
 * custos.conf(5). policy.conf is policyd's alone (policyconf.h). Unknown or duplicate entries are
 * errors with file and line. Part of libcustos-client: may be used by all programs.
 */
#ifndef CUSTOS_CONF_H
#define CUSTOS_CONF_H

#include "engine/base/base.h"

struct conf_store {
	char *name, *path;
	int64_t flush_ns;      /* "1s" */
	bool leaves;           /* integrity = "sha256" (default) or "xxh3" */
	uint64_t memory_bytes; /* "256M" */
};
struct conf_camera {
	char *name;
	char *store;      /* name of a store; the only one when left out */
	char *source;     /* URL, or "feed" */
	char *credential; /* file "user:password", 0400, or NULL */
	char **feeders;   /* user names, "uid:N", "@group"; NULL-terminated */
	bool audio;       /* default true */
	int64_t stall_ns; /* "10s" */
};
struct conf {
	char *file;     /* where it came from */
	char *timezone; /* "UTC" */
	char *run, *state, *policy;
	char *recorder_user, *policy_user, *gate_user; /* custos-rec, custos-pol, custos-gate */
	char *store_group, *audit_group;               /* custos-store, custos-audit */
	char *mount;                                   /* gate { mount } */
	int64_t slice_ns;                              /* gate { slice }, 10 min */
	struct conf_store *stores;
	size_t n_stores;
	struct conf_camera *cameras;
	size_t n_cameras;
};
/* file NULL: $CUSTOS_CONF, else /etc/custos/custos.conf. Sets the time zone (time_zone_set).
 * err: one line "FILE:LINE: what; what to do". -ENOENT, -EINVAL. */
int conf_load(const char *file, struct conf **out, char *err, size_t err_bytes) MUST_CHECK;
void conf_free(struct conf *c);
const struct conf_camera *conf_camera(const struct conf *c, const char *name);
const struct conf_store *conf_store(const struct conf *c, const char *name);

/* Paths below run and state; each returns out (PATH_MAX bytes).
 *   CONF_SOCK_POLICY  run/policy/policy.sock     CONF_LOG_POLICY  state/policy/log
 *   CONF_SOCK_RECORD  run/recorder/recorder.sock CONF_LOG_RECORD  state/recorder/log
 *   CONF_SOCK_GATE    run/gate/gate.sock         CONF_LOG_GATE    state/gate/log
 *   CONF_KEY_SIGN     state/keys/sign            CONF_KEY_PUB     state/keys/sign.pub
 *   CONF_DB           state/policy/policy.db */
enum conf_path {
	CONF_SOCK_POLICY,
	CONF_SOCK_RECORD,
	CONF_SOCK_GATE,
	CONF_LOG_POLICY,
	CONF_LOG_RECORD,
	CONF_LOG_GATE,
	CONF_KEY_SIGN,
	CONF_KEY_PUB,
	CONF_DB,
};
const char *conf_path(const struct conf *c, enum conf_path which, char *out, size_t out_bytes);
/* Uid of a daemon's configured user, from NSS at the time of the call. -ENOENT. */
int conf_uid(const char *user, uid_t *out) MUST_CHECK;

/* People (people.c): NSS now; a failing look-up is an error, never "no". */
/* Does `who` ("ann", "uid:1004", "@group") name uid? 1, 0, or -errno. */
int people_match(const char *who, uid_t uid) MUST_CHECK;
/* Name of uid, "uid:N" if it has none. */
int people_name(uid_t uid, char *out, size_t out_bytes) MUST_CHECK;
int people_uid(const char *name, uid_t *out) MUST_CHECK;

#endif

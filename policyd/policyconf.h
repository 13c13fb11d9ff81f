/*
 * policyconf.h — policy.conf: the rules of the site, parsed and compared.
 *
 * The text is the truth: the text that came into force is in the audit log (AUD_OP_CONFIG) and is
 * parsed again from there at every start. So parsing depends on nothing but the text: no
 * environment, no files, no user database. Page: policy.conf(5).
 */
#ifndef CUSTOS_POLICYCONF_H
#define CUSTOS_POLICYCONF_H

#include "engine/base/base.h"

#define POLICY_TEXT_MAX (32 * 1024) /* so that it fits an audit record whatever JSON escapes */

struct pol_role {
	char *name;
	char **members;
};
struct pol_department {
	char *name;
	char **heads, **deputies;
};
struct pol_camera {
	char *name;
	size_t department; /* index */
	long level;
	int64_t min_age_ns, max_age_ns; /* max 0: no ceiling */
};
struct pol_stage {
	bool head;        /* head or deputy of the cameras' department */
	size_t role;      /* index, unless head */
	unsigned need;    /* distinct persons */
	const char *text; /* "head", "monitoring", "2 of leader": in the chain's list */
};
struct pol_chain {
	char *name;
	char **requesters; /* role names, user names, "uid:N", "@group" */
	char **stage_texts;
	struct pol_stage *stages;
	size_t n_stages;
	bool subject_required, export_allowed;
	char *notify;
	int64_t within_ns;
};
struct pol_conf {
	char *text, digest[65]; /* SHA-256 of the text, hex */
	int64_t min_age_floor_ns, max_window_ns, max_grant_ns;
	struct pol_role *roles;
	size_t n_roles;
	struct pol_department *departments;
	size_t n_departments;
	struct pol_camera *cameras;
	size_t n_cameras;
	struct pol_chain *chains;
	size_t n_chains;
};

/* Parses and checks `text`; `file` is the name shown in messages. err: one line. Not thread-safe
 * (libconfuse's scanner is not). -EINVAL, -ENOMEM. */
int policyconf_parse(const char *text, const char *file, struct pol_conf **out, char *err,
                     size_t err_bytes) MUST_CHECK;
void policyconf_free(struct pol_conf *c);

const struct pol_camera *policyconf_camera(const struct pol_conf *c, const char *name);
const struct pol_chain *policyconf_chain(const struct pol_conf *c, const char *name);
/* Index, or -1. */
long policyconf_role(const struct pol_conf *c, const char *name);

/* ---- comparing (policydiff.c) ---- */

/* What `to` weakens against `from`, one line each, malloc'ed; "" when nothing. NULL: no memory. */
char *policy_weakens(const struct pol_conf *from, const struct pol_conf *to);
/* Line difference in the manner of diff(1), malloc'ed; "" when equal. NULL: no memory. */
char *policy_diff(const char *from, const char *to);

#endif

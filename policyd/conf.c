/*
 * conf.c — custos.conf into struct conf: what may be written there, and what it must mean.
 *
 * A configuration is taken whole or not at all: a program that guessed at a wrong entry would
 * record the wrong thing, or show it to the wrong people.
 */
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/conf.h"
#include "policyd/conf_file.h"

#define CONF_DEFAULT_FILE "/etc/custos/custos.conf"
#define CONF_MAX_BYTES    (4 * MIB)
#define NAME_MAX_BYTES    127 /* the store's format keeps 128, NUL included */

struct load {
	struct conf *c;
	struct conf_file *f;
	char *err;
	size_t err_bytes;
};

static int parse(const char *file, struct conf_file **out, char *err, size_t err_bytes)
{
	cfg_opt_t store[] = {CFG_STR("path", NULL, CFGF_NONE), CFG_STR("flush", "1s", CFGF_NONE),
	                     CFG_STR("integrity", "sha256", CFGF_NONE),
	                     CFG_STR("memory", "256M", CFGF_NONE), CFG_END()};
	cfg_opt_t gate[] = {CFG_STR("mount", "/mnt/custos", CFGF_NONE),
	                    CFG_STR("slice", "10min", CFGF_NONE), CFG_END()};
	cfg_opt_t camera[] = {CFG_STR("store", NULL, CFGF_NONE),
	                      CFG_STR("source", NULL, CFGF_NONE),
	                      CFG_STR("credential", NULL, CFGF_NONE),
	                      CFG_STR_LIST("feeders", NULL, CFGF_NONE),
	                      CFG_BOOL("audio", cfg_true, CFGF_NONE),
	                      CFG_STR("stall", "10s", CFGF_NONE),
	                      CFG_END()};
	const cfg_flag_t many = CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES;
	cfg_opt_t opts[] = {CFG_STR("timezone", "UTC", CFGF_NONE),
	                    CFG_STR("run", "/run/custos", CFGF_NONE),
	                    CFG_STR("state", "/var/lib/custos", CFGF_NONE),
	                    CFG_STR("policy", "/etc/custos/policy.conf", CFGF_NONE),
	                    CFG_STR("recorder_user", "custos-rec", CFGF_NONE),
	                    CFG_STR("policy_user", "custos-pol", CFGF_NONE),
	                    CFG_STR("gate_user", "custos-gate", CFGF_NONE),
	                    CFG_STR("store_group", "custos-store", CFGF_NONE),
	                    CFG_STR("audit_group", "custos-audit", CFGF_NONE),
	                    CFG_SEC("store", store, many),
	                    CFG_SEC("gate", gate, CFGF_NONE),
	                    CFG_SEC("camera", camera, many),
	                    CFG_END()};

	return conf_file_open(file, opts, CONF_MAX_BYTES, out, err, err_bytes);
}

/* Copies string option `name`; *to stays NULL when it was not given and has no default. */
static int take(struct load *l, cfg_t *cfg, const char *name, char **to)
{
	const char *s = cfg_getstr(cfg, name);

	if (!s)
		return 0;
	if (!*s)
		return conf_file_error(l->f, cfg, name, l->err, l->err_bytes,
		                       "\"%s\" is empty; give a value or leave it out", name);
	*to = strdup(s);
	return *to ? 0 : -ENOMEM;
}

static int take_path(struct load *l, cfg_t *cfg, const char *name, char **to)
{
	int err = take(l, cfg, name, to);

	if (err || !*to)
		return err;
	if ((*to)[0] != '/' || strlen(*to) >= PATH_MAX)
		return conf_file_error(l->f, cfg, name, l->err, l->err_bytes,
		                       "\"%s\" must be an absolute path; begin it with /", name);
	return 0;
}

static int take_duration(struct load *l, cfg_t *cfg, const char *name, int64_t min_ns,
                         int64_t max_ns, int64_t *to)
{
	const char *s = cfg_getstr(cfg, name);

	if (duration_parse(s, to) != 0)
		return conf_file_error(l->f, cfg, name, l->err, l->err_bytes,
		                       "\"%s\" is not a duration: \"%s\"; write it like \"10s\"",
		                       name, s);
	if (*to < min_ns || *to > max_ns)
		return conf_file_error(l->f, cfg, name, l->err, l->err_bytes,
		                       "\"%s\" is out of range: \"%s\"; give %g s to %g s", name, s,
		                       (double)min_ns / 1e9, (double)max_ns / 1e9);
	return 0;
}

/* Names become folder names in the gate's tree. */
static int check_name(struct load *l, cfg_t *cfg, const char *what)
{
	const char *name = cfg_title(cfg);

	if (strlen(name) > NAME_MAX_BYTES)
		return conf_file_error(l->f, cfg, NULL, l->err, l->err_bytes,
		                       "the name of a %s is longer than %d bytes; shorten it", what,
		                       NAME_MAX_BYTES);
	if (strchr(name, '/') || strchr(name, ',') || name[0] == '.' || name[0] == '-')
		return conf_file_error(l->f, cfg, NULL, l->err, l->err_bytes,
		                       "%s \"%s\": a name has no \"/\" or \",\" and does not begin "
		                       "with \".\" or \"-\"; rename it",
		                       what, name);
	return 0;
}

static int load_store(struct load *l, cfg_t *cfg, struct conf_store *s)
{
	const char *integrity = cfg_getstr(cfg, "integrity");
	int err = check_name(l, cfg, "store");

	if (err)
		return err;
	s->name = strdup(cfg_title(cfg));
	if (!s->name)
		return -ENOMEM;
	err = take_path(l, cfg, "path", &s->path);
	if (err)
		return err;
	if (!s->path)
		return conf_file_error(l->f, cfg, NULL, l->err, l->err_bytes,
		                       "store \"%s\" has no path; add path = \"/…\"", s->name);
	err = take_duration(l, cfg, "flush", 10 * NSEC_PER_MSEC, 60 * NSEC_PER_SEC, &s->flush_ns);
	if (err)
		return err;
	s->leaves = strcmp(integrity, "sha256") == 0;
	if (!s->leaves && strcmp(integrity, "xxh3") != 0)
		return conf_file_error(l->f, cfg, "integrity", l->err, l->err_bytes,
		                       "\"integrity\" is \"%s\"; give \"sha256\" or \"xxh3\"",
		                       integrity);
	if (size_parse(cfg_getstr(cfg, "memory"), &s->memory_bytes) != 0 ||
	    s->memory_bytes < 32 * MIB)
		return conf_file_error(l->f, cfg, "memory", l->err, l->err_bytes,
		                       "\"memory\" is \"%s\"; give a size of at least \"32M\"",
		                       cfg_getstr(cfg, "memory"));
	return 0;
}

static int load_feeders(cfg_t *cfg, struct conf_camera *cam)
{
	unsigned int n = cfg_size(cfg, "feeders");

	cam->feeders = calloc(n + 1, sizeof(*cam->feeders));
	if (!cam->feeders)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++) {
		cam->feeders[i] = strdup(cfg_getnstr(cfg, "feeders", i));
		if (!cam->feeders[i])
			return -ENOMEM;
	}
	return 0;
}

static int camera_store(struct load *l, cfg_t *cfg, struct conf_camera *cam)
{
	int err = take(l, cfg, "store", &cam->store);

	if (err)
		return err;
	if (!cam->store && l->c->n_stores == 1) {
		cam->store = strdup(l->c->stores[0].name);
		return cam->store ? 0 : -ENOMEM;
	}
	if (!cam->store)
		return conf_file_error(l->f, cfg, NULL, l->err, l->err_bytes,
		                       "camera \"%s\" does not say which store; add store = \"…\"",
		                       cam->name);
	if (!conf_store(l->c, cam->store))
		return conf_file_error(
		        l->f, cfg, "store", l->err, l->err_bytes,
		        "camera \"%s\" names a store that is not configured: \"%s\"; "
		        "add it or correct the name",
		        cam->name, cam->store);
	return 0;
}

static int load_camera(struct load *l, cfg_t *cfg, struct conf_camera *cam)
{
	int err = check_name(l, cfg, "camera");

	if (err)
		return err;
	cam->name = strdup(cfg_title(cfg));
	if (!cam->name)
		return -ENOMEM;
	err = camera_store(l, cfg, cam);
	if (!err)
		err = take(l, cfg, "source", &cam->source);
	if (err)
		return err;
	if (!cam->source)
		return conf_file_error(
		        l->f, cfg, NULL, l->err, l->err_bytes,
		        "camera \"%s\" has no source; add source = \"URL\" or \"feed\"", cam->name);
	err = take_path(l, cfg, "credential", &cam->credential);
	if (!err)
		err = load_feeders(cfg, cam);
	if (!err)
		err = take_duration(l, cfg, "stall", NSEC_PER_SEC, 3600 * NSEC_PER_SEC,
		                    &cam->stall_ns);
	cam->audio = cfg_getbool(cfg, "audio");
	return err;
}

static int load_globals(struct load *l, cfg_t *root)
{
	struct conf *c = l->c;
	const struct {
		const char *name;
		char **to;
		bool path;
	} strings[] = {
	        {"timezone", &c->timezone, false},
	        {"run", &c->run, true},
	        {"state", &c->state, true},
	        {"policy", &c->policy, true},
	        {"recorder_user", &c->recorder_user, false},
	        {"policy_user", &c->policy_user, false},
	        {"gate_user", &c->gate_user, false},
	        {"store_group", &c->store_group, false},
	        {"audit_group", &c->audit_group, false},
	};
	cfg_t *gate = cfg_getsec(root, "gate");
	int err;

	for (size_t i = 0; i < ARRAY_LEN(strings); i++) {
		err = strings[i].path ? take_path(l, root, strings[i].name, strings[i].to)
		                      : take(l, root, strings[i].name, strings[i].to);
		if (err)
			return err;
	}
	if (time_zone_set(c->timezone) != 0)
		return conf_file_error(
		        l->f, root, "timezone", l->err, l->err_bytes,
		        "there is no time zone \"%s\" on this machine; give one like "
		        "\"Asia/Shanghai\"",
		        c->timezone);
	err = take_path(l, gate, "mount", &c->mount);
	if (!err)
		err = take_duration(l, gate, "slice", NSEC_PER_SEC, 86400 * NSEC_PER_SEC,
		                    &c->slice_ns);
	return err;
}

static int load_all(struct load *l)
{
	cfg_t *root = conf_file_root(l->f);
	struct conf *c = l->c;
	unsigned int n;
	int err = load_globals(l, root);

	n = cfg_size(root, "store");
	c->stores = calloc(n + 1, sizeof(*c->stores));
	for (unsigned int i = 0; !err && c->stores && i < n; i++) {
		c->n_stores++;
		err = load_store(l, cfg_getnsec(root, "store", i), &c->stores[i]);
	}
	n = cfg_size(root, "camera");
	c->cameras = calloc(n + 1, sizeof(*c->cameras));
	for (unsigned int i = 0; !err && c->cameras && i < n; i++) {
		c->n_cameras++;
		err = load_camera(l, cfg_getnsec(root, "camera", i), &c->cameras[i]);
	}
	return !err && (!c->stores || !c->cameras) ? -ENOMEM : err;
}

int conf_load(const char *file, struct conf **out, char *err, size_t err_bytes)
{
	struct load l = {.err = err, .err_bytes = err_bytes};
	int rc;

	if (!file)
		file = getenv("CUSTOS_CONF");
	if (!file || !*file)
		file = CONF_DEFAULT_FILE;
	rc = parse(file, &l.f, err, err_bytes);
	if (rc)
		return rc;
	l.c = calloc(1, sizeof(*l.c));
	if (l.c)
		l.c->file = strdup(file);
	rc = l.c && l.c->file ? load_all(&l) : -ENOMEM;
	conf_file_close(l.f);
	if (rc == -ENOMEM)
		snprintf(err, err_bytes, "%s:0: out of memory; free some", file);
	if (rc) {
		conf_free(l.c);
		return rc;
	}
	*out = l.c;
	return 0;
}

/*
 * Parser of policy.conf, by libconfuse, made strict by conf_file.h (a second entry, an unknown one
 * and bad UTF-8 are errors with their line). All options are read as strings and converted here, so
 * that each message says what to do. Environment expansion is refused too: the same text must mean
 * the same at each replay.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/conf_file.h"
#include "policyd/digest.h"
#include "policyd/policyconf.h"
#include "policyd/strv.h"

#define NAME_BYTES_MAX 127

/* Where bad() writes; set for the length of one parse, which is single-threaded (libconfuse is). */
static _Thread_local struct parse_error {
	char *text;
	size_t bytes;
	const char *file;
} parse_error;

#define STR(name)         CFG_STR(name, NULL, CFGF_NODEFAULT)
#define LIST(name)        CFG_STR_LIST(name, NULL, CFGF_NODEFAULT)
#define NAMED(name, opts) CFG_SEC(name, opts, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES)

static PRINTF(1, 2) int bad(const char *format, ...)
{
	va_list ap;
	int n = snprintf(parse_error.text, parse_error.bytes, "%s: ", parse_error.file);

	va_start(ap, format);
	if (n >= 0 && (size_t)n < parse_error.bytes)
		vsnprintf(parse_error.text + n, parse_error.bytes - (size_t)n, format, ap);
	va_end(ap);
	return -EINVAL;
}

static int get_duration(cfg_t *sec, const char *what, const char *key, int64_t fallback,
                        int64_t *out)
{
	const char *s = cfg_getstr(sec, key);

	*out = fallback;
	if (!s)
		return 0;
	if (duration_parse(s, out) || *out <= 0)
		return bad("%s: %s = \"%s\" is not a duration; write it like \"90d\" or \"24h\"",
		           what, key, s);
	return 0;
}

static int get_bool(cfg_t *sec, const char *what, const char *key, const char *yes, const char *no,
                    bool fallback, bool *out)
{
	const char *s = cfg_getstr(sec, key);

	*out = fallback;
	if (!s)
		return 0;
	if (strcmp(s, yes) != 0 && strcmp(s, no) != 0)
		return bad("%s: %s must be %s or %s", what, key, yes, no);
	*out = !strcmp(s, yes);
	return 0;
}

static int get_list(cfg_t *sec, const char *key, char ***out)
{
	unsigned n = cfg_size(sec, key);

	*out = calloc((size_t)n + 1, sizeof(**out));
	for (unsigned i = 0; *out && i < n; i++) {
		(*out)[i] = strdup(cfg_getnstr(sec, key, i));
		if (!(*out)[i])
			return -ENOMEM;
	}
	return *out ? 0 : -ENOMEM;
}

static int get_name(cfg_t *sec, char **out)
{
	const char *title = cfg_title(sec);
	size_t n = strlen(title);

	if (!n || n > NAME_BYTES_MAX || !utf8_valid(title, n) || strchr(title, '/') ||
	    !strcmp(title, ".") || !strcmp(title, ".."))
		return bad("%s \"%s\": a name has 1 to %d bytes of UTF-8 and no \"/\"",
		           cfg_name(sec), title, NAME_BYTES_MAX);
	*out = strdup(title);
	return *out ? 0 : -ENOMEM;
}

static int read_limits(cfg_t *cfg, struct pol_conf *c)
{
	const int64_t day = 24 * 3600 * NSEC_PER_SEC;
	cfg_t *sec = NULL;
	int err;

	c->min_age_floor_ns = 0;
	c->max_window_ns = day;
	c->max_grant_ns = 14 * day;
	sec = cfg_getsec(cfg, "limits");
	if (!sec)
		return 0;
	err = get_duration(sec, "limits", "min_age_floor", 0, &c->min_age_floor_ns);
	if (!err)
		err = get_duration(sec, "limits", "max_window", day, &c->max_window_ns);
	if (!err)
		err = get_duration(sec, "limits", "max_grant", 14 * day, &c->max_grant_ns);
	return err;
}

static int read_people(cfg_t *cfg, struct pol_conf *c)
{
	int err;

	c->roles = calloc(cfg_size(cfg, "role") + 1, sizeof(*c->roles));
	c->departments = calloc(cfg_size(cfg, "department") + 1, sizeof(*c->departments));
	if (!c->roles || !c->departments)
		return -ENOMEM;
	for (unsigned i = 0; i < cfg_size(cfg, "role"); i++) {
		cfg_t *sec = cfg_getnsec(cfg, "role", i);
		struct pol_role *r = &c->roles[c->n_roles++];

		err = get_name(sec, &r->name);
		if (!err)
			err = get_list(sec, "members", &r->members);
		if (err)
			return err;
		if (!strcmp(r->name, "head"))
			return bad("role \"head\": the word means the head of the cameras' "
			           "department; choose another name");
	}
	for (unsigned i = 0; i < cfg_size(cfg, "department"); i++) {
		cfg_t *sec = cfg_getnsec(cfg, "department", i);
		struct pol_department *d = &c->departments[c->n_departments++];

		err = get_name(sec, &d->name);
		if (!err)
			err = get_list(sec, "heads", &d->heads);
		if (!err)
			err = get_list(sec, "deputies", &d->deputies);
		if (err)
			return err;
	}
	return 0;
}

static int read_camera(cfg_t *sec, const struct pol_conf *c, struct pol_camera *cam)
{
	const char *department = cfg_getstr(sec, "department"), *level = cfg_getstr(sec, "level");
	char what[192], *end = NULL;
	size_t d = 0;
	int err = get_name(sec, &cam->name);

	if (err)
		return err;
	snprintf(what, sizeof(what), "camera \"%s\"", cam->name);
	for (; department && d < c->n_departments; d++) {
		assert(c->departments[d].name);
		if (!strcmp(department, c->departments[d].name))
			break;
	}
	if (!department || d == c->n_departments)
		return bad("%s: department \"%s\" is not configured; every camera belongs to one",
		           what, department ? department : "");
	cam->department = d;
	cam->level = level ? strtol(level, &end, 10) : 1;
	if (level && (*end || cam->level < 0 || cam->level > 99))
		return bad("%s: level \"%s\" is not a number from 0 to 99", what, level);
	err = get_duration(sec, what, "min_age", c->min_age_floor_ns, &cam->min_age_ns);
	if (!err)
		err = get_duration(sec, what, "max_age", 0, &cam->max_age_ns);
	if (err)
		return err;
	if (cam->min_age_ns < c->min_age_floor_ns)
		return bad("%s: min_age is below limits.min_age_floor, under which no camera may "
		           "go; raise it",
		           what);
	if (cam->max_age_ns && cam->max_age_ns < cam->min_age_ns)
		return bad("%s: max_age is below min_age; raise it", what);
	return 0;
}

static int read_stage(const struct pol_conf *c, const char *chain, const char *text,
                      struct pol_stage *st)
{
	const char *role = text;
	unsigned need = 1;
	int used = 0;
	long r;

	st->text = text;
	st->need = 1;
	st->head = !strcmp(text, "head");
	if (st->head)
		return 0;
	if (sscanf(text, "%3u of %n", &need, &used) == 1 && used > 0) {
		role = text + used;
		if (need < 1 || need > 20)
			return bad("chain \"%s\": stage \"%s\": N is 1 to 20", chain, text);
		st->need = need;
	}
	r = policyconf_role(c, role);
	if (r < 0)
		return bad("chain \"%s\": stage \"%s\" is neither head, a role, nor \"N of ROLE\"; "
		           "configure the role",
		           chain, text);
	st->role = (size_t)r;
	return 0;
}

static int read_chain(cfg_t *sec, const struct pol_conf *c, struct pol_chain *ch)
{
	const char *notify = cfg_getstr(sec, "notify");
	char what[192];
	int err = get_name(sec, &ch->name);

	if (!err)
		err = get_list(sec, "requesters", &ch->requesters);
	if (!err)
		err = get_list(sec, "stages", &ch->stage_texts);
	if (err)
		return err;
	snprintf(what, sizeof(what), "chain \"%s\"", ch->name);
	ch->n_stages = strv_len(ch->stage_texts);
	if (!ch->n_stages || ch->n_stages > 16)
		return bad("%s: needs 1 to 16 stages", what);
	if (!ch->requesters[0])
		return bad("%s: names no requesters; say who may ask by it", what);
	ch->stages = calloc(ch->n_stages, sizeof(*ch->stages));
	if (!ch->stages)
		return -ENOMEM;
	for (size_t i = 0; i < ch->n_stages; i++) {
		err = read_stage(c, ch->name, ch->stage_texts[i], &ch->stages[i]);
		if (err)
			return err;
	}
	err = get_bool(sec, what, "subject", "required", "optional", false, &ch->subject_required);
	if (!err)
		err = get_bool(sec, what, "export", "true", "false", true, &ch->export_allowed);
	if (!err)
		err = get_duration(sec, what, "within", 0, &ch->within_ns);
	if (err)
		return err;
	if (notify && policyconf_role(c, notify) < 0)
		return bad("%s: notify = \"%s\" is not a role", what, notify);
	ch->notify = notify ? strdup(notify) : NULL;
	return notify && !ch->notify ? -ENOMEM : 0;
}

static int read_rest(cfg_t *cfg, struct pol_conf *c)
{
	int err = 0;

	c->cameras = calloc(cfg_size(cfg, "camera") + 1, sizeof(*c->cameras));
	c->chains = calloc(cfg_size(cfg, "chain") + 1, sizeof(*c->chains));
	if (!c->cameras || !c->chains)
		return -ENOMEM;
	for (unsigned i = 0; !err && i < cfg_size(cfg, "camera"); i++)
		err = read_camera(cfg_getnsec(cfg, "camera", i), c, &c->cameras[c->n_cameras++]);
	for (unsigned i = 0; !err && i < cfg_size(cfg, "chain"); i++)
		err = read_chain(cfg_getnsec(cfg, "chain", i), c, &c->chains[c->n_chains++]);
	return err;
}

static int parse_text(const char *text, struct pol_conf *c)
{
	cfg_opt_t limits[] = {STR("min_age_floor"), STR("max_window"), STR("max_grant"), CFG_END()};
	cfg_opt_t role[] = {LIST("members"), CFG_END()};
	cfg_opt_t department[] = {LIST("heads"), LIST("deputies"), CFG_END()};
	cfg_opt_t camera[] = {STR("department"), STR("level"), STR("min_age"), STR("max_age"),
	                      CFG_END()};
	cfg_opt_t chain[] = {LIST("requesters"), LIST("stages"), STR("subject"), STR("export"),
	                     STR("notify"),      STR("within"),  CFG_END()};
	cfg_opt_t top[] = {CFG_SEC("limits", limits, CFGF_NONE),
	                   NAMED("role", role),
	                   NAMED("department", department),
	                   NAMED("camera", camera),
	                   NAMED("chain", chain),
	                   CFG_END()};
	struct conf_file *f = NULL;
	cfg_t *cfg;
	int err = conf_file_parse(parse_error.file, text, top, &f, parse_error.text,
	                          parse_error.bytes);

	if (err)
		return err;
	cfg = conf_file_root(f);
	err = read_limits(cfg, c);
	if (!err)
		err = read_people(cfg, c);
	if (!err)
		err = read_rest(cfg, c);
	conf_file_close(f);
	return err;
}

int policyconf_parse(const char *text, const char *file, struct pol_conf **out, char *err,
                     size_t err_bytes)
{
	struct pol_conf *c = calloc(1, sizeof(*c));
	int ret;

	*out = NULL;
	err[0] = '\0';
	if (!c)
		return -ENOMEM;
	parse_error = (struct parse_error){err, err_bytes, file};
	if (strlen(text) > POLICY_TEXT_MAX)
		ret = bad("longer than %d bytes; shorten it", POLICY_TEXT_MAX);
	else if (strstr(text, "${"))
		ret = bad("\"${\" would read the environment; write the value itself");
	else
		ret = parse_text(text, c);
	if (!ret) {
		c->text = strdup(text);
		digest_hex(text, strlen(text), c->digest);
		if (!c->text)
			ret = -ENOMEM;
	}
	if (ret == -ENOMEM && !err[0])
		snprintf(err, err_bytes, "%s: out of memory", file);
	parse_error = (struct parse_error){0};
	/* The scanner quotes what it met, which may hold a line break. */
	for (char *p = err; ret && *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
	if (ret && !err[0])
		snprintf(err, err_bytes, "%s: cannot be parsed; correct it", file);
	if (ret)
		policyconf_free(c);
	else
		*out = c;
	return ret;
}

void policyconf_free(struct pol_conf *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_roles; i++) {
		free(c->roles[i].name);
		strv_free(c->roles[i].members);
	}
	for (size_t i = 0; i < c->n_departments; i++) {
		free(c->departments[i].name);
		strv_free(c->departments[i].heads);
		strv_free(c->departments[i].deputies);
	}
	for (size_t i = 0; i < c->n_cameras; i++)
		free(c->cameras[i].name);
	for (size_t i = 0; i < c->n_chains; i++) {
		free(c->chains[i].name);
		free(c->chains[i].notify);
		free(c->chains[i].stages);
		strv_free(c->chains[i].requesters);
		strv_free(c->chains[i].stage_texts);
	}
	free(c->roles);
	free(c->departments);
	free(c->cameras);
	free(c->chains);
	free(c->text);
	free(c);
}

const struct pol_camera *policyconf_camera(const struct pol_conf *c, const char *name)
{
	for (size_t i = 0; i < c->n_cameras; i++)
		if (!strcmp(c->cameras[i].name, name))
			return &c->cameras[i];
	return NULL;
}

const struct pol_chain *policyconf_chain(const struct pol_conf *c, const char *name)
{
	for (size_t i = 0; i < c->n_chains; i++)
		if (!strcmp(c->chains[i].name, name))
			return &c->chains[i];
	return NULL;
}

long policyconf_role(const struct pol_conf *c, const char *name)
{
	for (size_t i = 0; i < c->n_roles; i++)
		if (!strcmp(c->roles[i].name, name))
			return (long)i;
	return -1;
}

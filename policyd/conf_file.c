/*
 * conf_file.c — libconfuse, made strict: what is given twice is an error, and errors know their
 * line.
 *
 * libconfuse calls its error and validation functions without an argument of ours, so the parse in
 * progress is found through a thread-local pointer that lives only as long as the call.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "policyd/conf_file.h"

struct mark {
	const cfg_opt_t *opt;
	int line;
};

struct conf_file {
	char *name;
	cfg_t *root;
	struct mark *marks; /* every option that was given, with its line */
	size_t n_marks, room;
	char *err;
	size_t err_bytes;
};

static _Thread_local struct conf_file *parsing;

PRINTF(2, 0) static void on_error(cfg_t *cfg, const char *format, va_list ap)
{
	struct conf_file *f = parsing;
	size_t n;

	/* The first error is the cause; what libconfuse says after it only follows from it. */
	if (!f || f->err[0])
		return;
	snprintf(f->err, f->err_bytes, "%s:%d: ", f->name, cfg ? cfg->line : 0);
	n = strlen(f->err);
	vsnprintf(f->err + n, f->err_bytes - n, format, ap);
	if (!strchr(f->err + n, ';')) {
		n = strlen(f->err);
		snprintf(f->err + n, f->err_bytes - n, "; correct this line");
	}
}

static int mark_once(struct conf_file *f, cfg_t *cfg, cfg_opt_t *opt)
{
	struct mark *more;

	for (size_t i = 0; i < f->n_marks && !(opt->flags & CFGF_MULTI); i++) {
		if (f->marks[i].opt == opt) {
			cfg_error(cfg, "\"%s\" is given twice (first in line %d); leave one",
			          opt->name, f->marks[i].line);
			return -1;
		}
	}
	if (f->n_marks == f->room) {
		f->room = f->room ? f->room * 2 : 64;
		more = realloc(f->marks, f->room * sizeof(*more));
		if (!more) {
			cfg_error(cfg, "out of memory; free some");
			return -1;
		}
		f->marks = more;
	}
	f->marks[f->n_marks++] = (struct mark){opt, cfg->line};
	return 0;
}

static bool plain_text(cfg_t *cfg, const cfg_opt_t *opt, const char *s)
{
	if (s && utf8_valid(s, strlen(s)))
		return true;
	cfg_error(cfg, "\"%s\" is not plain UTF-8 text; write it without control characters",
	          opt->name);
	return false;
}

/* Called for every value of a text option, the value already counted. */
static int on_text(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	if (!plain_text(cfg, opt, value))
		return -1;
	if ((!(opt->flags & CFGF_LIST) || cfg_opt_size(opt) <= 1) && parsing &&
	    mark_once(parsing, cfg, opt) != 0)
		return -1;
	*(const char **)result = value;
	return 0;
}

/* Called after every other option, and at the end of every section. */
static int on_option(cfg_t *cfg, cfg_opt_t *opt)
{
	if (opt->type == CFGT_SEC && (opt->flags & CFGF_TITLE)) {
		cfg_t *sec = cfg_opt_getnsec(opt, cfg_opt_size(opt) - 1);
		const char *title = sec ? cfg_title(sec) : NULL;

		if (!title || !*title) {
			cfg_error(cfg, "a \"%s\" has no name; give it one", opt->name);
			return -1;
		}
		if (!plain_text(cfg, opt, title))
			return -1;
	}
	return parsing ? mark_once(parsing, cfg, opt) : 0;
}

static void watch_all(cfg_opt_t *opts)
{
	for (cfg_opt_t *o = opts; o->type != CFGT_NONE; o++) {
		if (o->type == CFGT_STR)
			o->parsecb = on_text;
		else
			o->validcb = on_option;
		if (o->type == CFGT_SEC)
			watch_all(o->subopts);
	}
}

static int parse_clean(struct conf_file *f, const char *text)
{
	char *clean = strdup(text);
	int rc = clean ? conf_text_clean(f->name, clean, f->err, f->err_bytes) : -ENOMEM;

	if (!rc) {
		parsing = f;
		rc = cfg_parse_buf(f->root, clean) == CFG_SUCCESS ? 0 : -EINVAL;
		parsing = NULL;
	}
	if (rc && !f->err[0])
		snprintf(f->err, f->err_bytes, "%s:%d: not understood; correct it", f->name,
		         f->root->line);
	free(clean);
	return rc;
}

int conf_file_parse(const char *file, const char *text, cfg_opt_t *opts, struct conf_file **out,
                    char *err, size_t err_bytes)
{
	struct conf_file *f = calloc(1, sizeof(*f));
	int rc;

	snprintf(err, err_bytes, "%s", "");
	if (!f)
		return -ENOMEM;
	f->name = strdup(file);
	f->err = err;
	f->err_bytes = err_bytes;
	watch_all(opts);
	f->root = f->name ? cfg_init(opts, CFGF_NONE) : NULL;
	rc = f->root ? 0 : -ENOMEM;
	if (!rc) {
		cfg_set_error_function(f->root, on_error);
		rc = parse_clean(f, text);
	}
	if (rc) {
		conf_file_close(f);
		return rc;
	}
	*out = f;
	return 0;
}

int conf_file_open(const char *file, cfg_opt_t *opts, int64_t max_bytes, struct conf_file **out,
                   char *err, size_t err_bytes)
{
	char *text = NULL;
	size_t len = 0;
	int rc = file_read_all(file, (size_t)max_bytes, &text, &len);

	if (rc) {
		snprintf(err, err_bytes, "%s: cannot be read: %s; give the right --config FILE",
		         file, strerror(-rc));
		return rc;
	}
	if (strlen(text) != len) {
		snprintf(err, err_bytes, "%s: holds NUL bytes; it is not a text file", file);
		rc = -EINVAL;
	} else {
		rc = conf_file_parse(file, text, opts, out, err, err_bytes);
	}
	free(text);
	return rc;
}

void conf_file_close(struct conf_file *f)
{
	if (!f)
		return;
	if (f->root)
		cfg_free(f->root);
	free(f->marks);
	free(f->name);
	free(f);
}

cfg_t *conf_file_root(const struct conf_file *f)
{
	return f->root;
}

int conf_file_line(const struct conf_file *f, cfg_t *cfg, const char *name)
{
	const cfg_opt_t *opt = name ? cfg_getopt(cfg, name) : NULL;

	for (size_t i = 0; opt && i < f->n_marks; i++)
		if (f->marks[i].opt == opt)
			return f->marks[i].line;
	return cfg->line;
}

int conf_file_error(const struct conf_file *f, cfg_t *cfg, const char *name, char *err,
                    size_t err_bytes, const char *format, ...)
{
	va_list ap;
	size_t n;

	snprintf(err, err_bytes, "%s:%d: ", f->name, conf_file_line(f, cfg, name));
	n = strlen(err);
	va_start(ap, format);
	vsnprintf(err + n, err_bytes - n, format, ap);
	va_end(ap);
	return -EINVAL;
}

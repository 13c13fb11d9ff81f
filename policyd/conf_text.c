/*
 * conf_text.c — a configuration text before libconfuse sees it.
 *
 * libconfuse 3.3 counts a line with a comment more than once and takes the end of the text for the
 * end of every open section. So comments are blanked here (their newlines stay), and braces and
 * quotes that are left open are errors with the line where they begin.
 */
#include <errno.h>
#include <stdio.h>

#include "policyd/conf_file.h"

struct scan {
	char *p;
	int line;
	int depth, open_line; /* braces; line of the outermost open one */
	bool word;            /* inside an unquoted word, where // is no comment */
};

static void step(struct scan *s)
{
	s->line += *s->p == '\n';
	s->p++;
}

/* Over a quoted string; false when it never ends. */
static bool skip_quoted(struct scan *s)
{
	char quote = *s->p;

	step(s);
	while (*s->p && *s->p != quote) {
		if (*s->p == '\\' && s->p[1])
			step(s);
		step(s);
	}
	if (!*s->p)
		return false;
	step(s);
	return true;
}

static void blank(struct scan *s)
{
	if (*s->p != '\n')
		*s->p = ' ';
	step(s);
}

static bool blank_comment(struct scan *s)
{
	if (s->p[0] == '/' && s->p[1] == '*') {
		blank(s);
		blank(s);
		while (*s->p && !(s->p[0] == '*' && s->p[1] == '/'))
			blank(s);
		if (!*s->p)
			return false;
		blank(s);
		blank(s);
		return true;
	}
	while (*s->p && *s->p != '\n')
		blank(s);
	return true;
}

static bool at_comment(const struct scan *s)
{
	return *s->p == '#' || (!s->word && *s->p == '/' && (s->p[1] == '/' || s->p[1] == '*'));
}

/* What is wrong, with *line; NULL when the text is whole. */
static const char *scan_text(struct scan *s, int *line)
{
	while (*s->p) {
		*line = s->line;
		if (*s->p == '"' || *s->p == '\'') {
			if (!skip_quoted(s))
				return "a quoted text begins here and never ends; close it";
			s->word = false;
		} else if (at_comment(s)) {
			if (!blank_comment(s))
				return "a comment begins here and never ends; close it with */";
			s->word = false;
		} else {
			if (*s->p == '{' && s->depth++ == 0)
				s->open_line = s->line;
			if (*s->p == '}' && s->depth-- == 0)
				return "\"}\" without a \"{\" before it; remove it";
			s->word = !strchr(" \t\r\n{}()=+,;", *s->p);
			step(s);
		}
	}
	*line = s->open_line;
	return s->depth ? "\"{\" begins here and never ends; close it with \"}\"" : NULL;
}

int conf_text_clean(const char *file, char *text, char *err, size_t err_bytes)
{
	struct scan s = {.p = text, .line = 1};
	int line = 1;
	const char *wrong = scan_text(&s, &line);

	if (!wrong)
		return 0;
	snprintf(err, err_bytes, "%s:%d: %s", file, line, wrong);
	return -EINVAL;
}

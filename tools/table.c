/*
 * table.c — tables for people: columns aligned by what a terminal shows, not by bytes.
 *
 * Names of cameras and people are often Chinese; such a character has three bytes and two columns.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <wchar.h>
#include <wctype.h>

#include "tools/table.h"

#define GAP 2

struct table {
	size_t columns, n, room; /* n: cells, the heads included */
	char **cells;
	bool *right;
	bool lost;
};

/* The character at p: its bytes (at least 1) and itself; L'\0' when malformed. */
static size_t next_char(const char *p, wchar_t *c)
{
	mbstate_t state = {0};
	size_t n = mbrtowc(c, p, strlen(p), &state);

	if (n == 0 || n > strlen(p)) {
		*c = L'\0';
		return 1;
	}
	return n;
}

size_t text_width(const char *text)
{
	size_t columns = 0;

	while (*text) {
		wchar_t c;
		int w;

		text += next_char(text, &c);
		w = c ? wcwidth(c) : 1;
		columns += w > 0 ? (size_t)w : 0;
	}
	return columns;
}

static bool steers(wchar_t c)
{
	return c == L'\0' || iswcntrl((wint_t)c) || (c >= 0x80 && c < 0xa0) ||
	       (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

void text_tame(char *text)
{
	char *to = text;

	while (*text) {
		wchar_t c;
		size_t n = next_char(text, &c);

		if (steers(c)) {
			*to++ = '?';
		} else {
			memmove(to, text, n);
			to += n;
		}
		text += n;
	}
	*to = '\0';
}

struct table *table_new(const char *const *heads)
{
	struct table *t = calloc(1, sizeof(*t));
	bool *right;

	if (!t)
		return NULL;
	while (heads[t->columns])
		t->columns++;
	assert(t->columns > 0);
	t->right = right = calloc(t->columns, sizeof(*right));
	if (!right) {
		free(t);
		return NULL;
	}
	for (size_t i = 0; heads[i]; i++) {
		right[i] = heads[i][0] == '>';
		table_cell(t, heads[i] + right[i]);
	}
	return t;
}

void table_cell(struct table *t, const char *text)
{
	char *copy;

	if (t->n == t->room) {
		size_t room = t->room ? t->room * 2 : 64;
		char **more = realloc(t->cells, room * sizeof(*more));

		if (!more) {
			t->lost = true;
			return;
		}
		t->cells = more;
		t->room = room;
	}
	copy = strdup(text ? text : "");
	if (copy)
		text_tame(copy);
	t->lost |= !copy;
	t->cells[t->n++] = copy;
}

void table_cellf(struct table *t, const char *format, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		text = NULL;
	va_end(ap);
	t->lost |= !text;
	table_cell(t, text);
	free(text);
}

static void pad(FILE *out, size_t columns)
{
	fprintf(out, "%*s", (int)columns, "");
}

static void print_row(const struct table *t, size_t row, const size_t *widths, FILE *out)
{
	for (size_t i = 0; i < t->columns; i++) {
		const char *cell = t->cells[row * t->columns + i];
		size_t fill = widths[i] - text_width(cell);

		if (t->right[i])
			pad(out, fill);
		fputs(cell, out);
		if (i + 1 < t->columns)
			pad(out, GAP + (t->right[i] ? 0 : fill));
	}
	fputc('\n', out);
}

int table_print(struct table *t, FILE *out)
{
	size_t *widths = calloc(t->columns, sizeof(*widths));
	size_t rows = t->n / t->columns;
	int err = t->lost || !widths ? -ENOMEM : 0;

	for (size_t i = 0; !err && i < rows * t->columns; i++) {
		size_t w = text_width(t->cells[i]);

		if (w > widths[i % t->columns])
			widths[i % t->columns] = w;
	}
	for (size_t row = 0; !err && rows > 1 && row < rows; row++)
		print_row(t, row, widths, out);
	for (size_t i = 0; i < t->n; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t->right);
	free(t);
	free(widths);
	return err;
}

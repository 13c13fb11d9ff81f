/*
 * Lists of strings. Sets of cameras are kept sorted and without duplicates, so that equal sets have
 * equal JSON and thereby equal digests.
 */
#include <stdlib.h>

#include "policyd/strv.h"

void strv_free(char **v)
{
	for (size_t i = 0; v && v[i]; i++)
		free(v[i]);
	free(v);
}

size_t strv_len(char *const *v)
{
	size_t n = 0;

	while (v && v[n])
		n++;
	return n;
}

bool strv_has(char *const *v, const char *s)
{
	for (size_t i = 0; v && v[i]; i++)
		if (!strcmp(v[i], s))
			return true;
	return false;
}

bool strv_subset(char *const *a, char *const *b)
{
	for (size_t i = 0; a && a[i]; i++)
		if (!strv_has(b, a[i]))
			return false;
	return true;
}

bool strv_equal(char *const *a, char *const *b)
{
	size_t n = strv_len(a);

	if (n != strv_len(b))
		return false;
	for (size_t i = 0; i < n; i++)
		if (strcmp(a[i], b[i]) != 0)
			return false;
	return true;
}

char **strv_dup(char *const *v)
{
	size_t n = strv_len(v);
	char **out = calloc(n + 1, sizeof(*out));

	for (size_t i = 0; out && i < n; i++) {
		out[i] = strdup(v[i]);
		if (!out[i]) {
			strv_free(out);
			return NULL;
		}
	}
	return out;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void strv_canonical(char **v)
{
	size_t n = strv_len(v), kept = 0;

	if (n < 2)
		return;
	qsort(v, n, sizeof(*v), by_bytes);
	for (size_t i = 1; i < n; i++) {
		if (!strcmp(v[kept], v[i]))
			free(v[i]);
		else
			v[++kept] = v[i];
	}
	for (size_t i = kept + 1; i < n; i++)
		v[i] = NULL;
}

char **strv_from_json(const json_t *array)
{
	size_t n = json_array_size(array);
	char **out;

	if (!json_is_array(array))
		return NULL;
	out = calloc(n + 1, sizeof(*out));
	for (size_t i = 0; out && i < n; i++) {
		const json_t *item = json_array_get(array, i);
		const char *s = json_string_value(item);

		if (!s || !*s || strlen(s) != json_string_length(item) ||
		    !utf8_valid(s, strlen(s)) || !(out[i] = strdup(s))) {
			strv_free(out);
			return NULL;
		}
	}
	return out;
}

json_t *strv_to_json(char *const *v)
{
	json_t *array = json_array();

	for (size_t i = 0; array && v && v[i]; i++)
		if (json_array_append_new(array, json_string(v[i]))) {
			json_decref(array);
			return NULL;
		}
	return array;
}

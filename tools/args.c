/*
 * args.c — options and operands of one command, described by a table.
 *
 * Not getopt_long(): it prints its own messages, takes abbreviations (which break scripts when an
 * option is added), lets an option be repeated silently, and takes "-15min" for options.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/args.h"

void args_allow(struct args *a, const struct args_option *table)
{
	for (; table && table->name; table++) {
		assert(a->n_options < ARGS_OPTIONS_MAX);
		a->options[a->n_options++] = table;
	}
}

static int find(const struct args *a, const char *name, size_t name_bytes)
{
	for (size_t i = 0; i < a->n_options; i++)
		if (strlen(a->options[i]->name) == name_bytes &&
		    memcmp(a->options[i]->name, name, name_bytes) == 0)
			return (int)i;
	return -1;
}

/* One option at argv[0]; returns how many words it took. */
static int parse_option(struct args *a, int argc, char **argv, char *err, size_t err_bytes)
{
	const char *name = argv[0] + 2, *equals = strchr(name, '=');
	int i = find(a, name, equals ? (size_t)(equals - name) : strlen(name));

	if (i < 0) {
		snprintf(err, err_bytes, "unknown option %s; see --help", argv[0]);
		return -EINVAL;
	}
	if (a->values[i]) {
		snprintf(err, err_bytes, "--%s is given twice; leave one", a->options[i]->name);
		return -EINVAL;
	}
	if (!a->options[i]->value) {
		if (equals) {
			snprintf(err, err_bytes, "--%s takes no value; see --help",
			         a->options[i]->name);
			return -EINVAL;
		}
		a->values[i] = "";
		return 1;
	}
	if (equals) {
		a->values[i] = equals + 1;
		return 1;
	}
	if (argc < 2 || strncmp(argv[1], "--", 2) == 0) {
		snprintf(err, err_bytes, "--%s needs a value: --%s %s; see --help",
		         a->options[i]->name, a->options[i]->name, a->options[i]->value);
		return -EINVAL;
	}
	a->values[i] = argv[1];
	return 2;
}

int args_parse(struct args *a, int argc, char **argv, bool stop_at_operand, char *err,
               size_t err_bytes)
{
	bool options = true;
	int i = 0;

	while (i < argc) {
		const char *word = argv[i];

		if (options && strcmp(word, "--") == 0) {
			options = false;
			i++;
		} else if (options && strncmp(word, "--", 2) == 0) {
			int n = parse_option(a, argc - i, argv + i, err, err_bytes);

			if (n < 0)
				return n;
			i += n;
		} else if (options && word[0] == '-' && word[1]) {
			snprintf(err, err_bytes, "unknown option %s; see --help", word);
			return -EINVAL;
		} else if (stop_at_operand) {
			return i;
		} else if (a->n_operands == ARGS_OPERANDS_MAX) {
			snprintf(err, err_bytes, "too many arguments at \"%s\"; see --help", word);
			return -EINVAL;
		} else {
			a->operand[a->n_operands++] = word;
			i++;
		}
	}
	return i;
}

int args_check(const struct args *a, size_t min_operands, size_t max_operands, char *err,
               size_t err_bytes)
{
	if (a->n_operands < min_operands) {
		snprintf(err, err_bytes, "an argument is missing; see --help");
		return -EINVAL;
	}
	if (a->n_operands > max_operands) {
		snprintf(err, err_bytes, "too many arguments at \"%s\"; see --help",
		         a->operand[max_operands]);
		return -EINVAL;
	}
	for (size_t i = 0; i < a->n_options; i++) {
		if (a->options[i]->required && !a->values[i]) {
			snprintf(err, err_bytes, "--%s %s is missing; see --help",
			         a->options[i]->name, a->options[i]->value);
			return -EINVAL;
		}
	}
	return 0;
}

const char *args_get(const struct args *a, const char *name)
{
	int i = find(a, name, strlen(name));

	assert(i >= 0);
	return a->values[i];
}

bool args_has(const struct args *a, const char *name)
{
	return args_get(a, name) != NULL;
}

int args_number(const char *text, uint64_t *out)
{
	unsigned long long value;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end || value > INT64_MAX)
		return -EINVAL;
	*out = value;
	return 0;
}

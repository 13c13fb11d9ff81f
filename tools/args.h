/*
 * args.h — options and operands of one command, described by a table. Pure.
 */
#ifndef CUSTOS_ARGS_H
#define CUSTOS_ARGS_H

#include "engine/base/base.h"

#define ARGS_OPTIONS_MAX  20
#define ARGS_OPERANDS_MAX 4

struct args_option {
	const char *name;  /* without the dashes; NULL ends a table */
	const char *value; /* what the help calls its value; NULL: a switch */
	const char *help;
	bool required;
};

struct args {
	const struct args_option *options[ARGS_OPTIONS_MAX];
	const char *values[ARGS_OPTIONS_MAX]; /* NULL: not given; "": a switch that was */
	size_t n_options;
	const char *operand[ARGS_OPERANDS_MAX];
	size_t n_operands;
};

/* Adds a table of options that may be given. Borrowed. */
void args_allow(struct args *a, const struct args_option *table);
/* Parses argv[0..argc); options and operands may be mixed, "--" ends options, a value is the next
 * word whatever it looks like unless it begins with "--", or follows "=". Stops at the first
 * operand if stop_at_operand; returns how many words it took, or -EINVAL with one line in err. */
int args_parse(struct args *a, int argc, char **argv, bool stop_at_operand, char *err,
               size_t err_bytes) MUST_CHECK;
/* -EINVAL with one line in err when a required option is missing or operands are too few or many.
 */
int args_check(const struct args *a, size_t min_operands, size_t max_operands, char *err,
               size_t err_bytes) MUST_CHECK;
/* Value of an option that was given, else NULL. Asking for one that no table has is our bug. */
const char *args_get(const struct args *a, const char *name);
bool args_has(const struct args *a, const char *name);
/* A positive decimal number and nothing else: -EINVAL. */
int args_number(const char *text, uint64_t *out) MUST_CHECK;

#endif

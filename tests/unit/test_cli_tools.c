/*
 * test_cli_tools.c — the command's pure parts: tables, text for terminals, options.
 *
 * They are no library; so the test takes them in as they are.
 */
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/support_cli.h"
#include "tools/args.c"
#include "tools/table.c"

static void test_width(void **state)
{
	(void)state;
	assert_int_equal(text_width(""), 0);
	assert_int_equal(text_width("dock-3"), 6);
	assert_int_equal(text_width("东门"), 4);
	assert_int_equal(text_width("é"), 1);
	assert_int_equal(text_width("e\xcc\x81"), 1); /* combining accent */
	assert_int_equal(text_width("\xff"), 1);
}

static void tamed(const char *text, const char *expected)
{
	char *copy = strdup(text);

	text_tame(copy);
	assert_string_equal(copy, expected);
	free(copy);
}

static void test_tame(void **state)
{
	(void)state;
	tamed("东门 ok", "东门 ok");
	tamed("a\033[31mb\n", "a?[31mb?");
	tamed("\xc2\x9b"
	      "x",
	      "?x"); /* CSI as one C1 character */
	tamed("a\xe2\x80\xae"
	      "b",
	      "a?b");                   /* right-to-left override */
	tamed("a\xff\xe4\xb8", "a???"); /* malformed, and cut in the middle */
}

static void test_table(void **state)
{
	static const char *const heads[] = {"NAME", ">N", "NOTE", NULL};
	struct table *t = table_new(heads);
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	table_cell(t, "东门");
	table_cellf(t, "%d", 7);
	table_cell(t, "x");
	table_cell(t, "dock-3\n");
	table_cellf(t, "%d", 1234);
	table_cell(t, NULL);
	assert_int_equal(table_print(t, f), 0);
	fclose(f);
	assert_string_equal(text, "NAME        N  NOTE\n"
	                          "东门        7  x\n"
	                          "dock-3?  1234  \n");
	free(text);

	f = open_memstream(&text, &len);
	assert_int_equal(table_print(table_new(heads), f), 0);
	fclose(f);
	assert_int_equal(len, 0); /* no rows: nothing */
	free(text);
}

static const struct args_option options[] = {
        {"from", "T", "", true}, {"reason", "TEXT", "", false}, {"json", NULL, "", false}, {0}};

static int parse(struct args *a, char *err, ...)
{
	char *argv[16];
	int argc = 0;
	va_list ap;

	va_start(ap, err);
	while ((argv[argc] = va_arg(ap, char *)))
		argc++;
	va_end(ap);
	*a = (struct args){0};
	args_allow(a, options);
	return args_parse(a, argc, argv, false, err, 256);
}

#define P(...) parse(&a, err, __VA_ARGS__, (char *)NULL)

static void test_options(void **state)
{
	struct args a;
	char err[256];

	(void)state;
	assert_int_equal(P("12", "--from", "-15min", "--reason=a=b", "--json", "-"), 6);
	assert_string_equal(args_get(&a, "from"), "-15min");
	assert_string_equal(args_get(&a, "reason"), "a=b");
	assert_true(args_has(&a, "json"));
	assert_int_equal(a.n_operands, 2);
	assert_string_equal(a.operand[1], "-");
	assert_int_equal(P("--from=", "x"), 2);
	assert_string_equal(args_get(&a, "from"), "");
	assert_null(args_get(&a, "reason"));
	assert_int_equal(P("--from", "now", "--", "--json", "-x"), 5);
	assert_false(args_has(&a, "json"));
	assert_string_equal(a.operand[0], "--json");
	assert_int_equal(args_check(&a, 2, 2, err, sizeof(err)), 0);
	assert_int_equal(args_check(&a, 3, 3, err, sizeof(err)), -EINVAL);
	assert_int_equal(args_check(&a, 0, 1, err, sizeof(err)), -EINVAL);
	assert_int_equal(P("--reason", "x"), 2);
	assert_int_equal(args_check(&a, 0, 0, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "--from"));
}

static void test_wrong_options(void **state)
{
	struct args a;
	char err[256];

	(void)state;
	assert_int_equal(P("--frob"), -EINVAL);
	assert_non_null(strstr(err, "--frob"));
	assert_int_equal(P("--fro", "x"), -EINVAL); /* no abbreviations */
	assert_int_equal(P("-j"), -EINVAL);
	assert_int_equal(P("--json=yes"), -EINVAL);
	assert_int_equal(P("--from"), -EINVAL);
	assert_int_equal(P("--from", "--json"), -EINVAL);
	assert_int_equal(P("--from", "a", "--from", "a"), -EINVAL);
	assert_non_null(strstr(err, "twice"));
	assert_int_equal(P("1", "2", "3", "4", "5"), -EINVAL);
}

static void test_stops_at_the_command(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "--json", (char *)(uintptr_t) "ls",
	                (char *)(uintptr_t) "--gaps"};
	struct args a = {0};
	char err[256];

	(void)state;
	args_allow(&a, options);
	assert_int_equal(args_parse(&a, 3, argv, true, err, sizeof(err)), 1);
	assert_int_equal(a.n_operands, 0);
}

static void test_numbers(void **state)
{
	static const char *const bad[] = {"",
	                                  "-1",
	                                  "+1",
	                                  " 1",
	                                  "1x",
	                                  "seven",
	                                  "0x10",
	                                  "9223372036854775808",
	                                  "99999999999999999999999"};
	uint64_t n;

	(void)state;
	assert_int_equal(args_number("12", &n), 0);
	assert_int_equal(n, 12);
	assert_int_equal(args_number("9223372036854775807", &n), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(args_number(bad[i], &n), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_width),         cmocka_unit_test(test_tame),
	        cmocka_unit_test(test_table),         cmocka_unit_test(test_options),
	        cmocka_unit_test(test_wrong_options), cmocka_unit_test(test_stops_at_the_command),
	        cmocka_unit_test(test_numbers),
	};

	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

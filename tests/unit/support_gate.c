/*
 * support_gate.c — shared helpers of the gate's unit tests. view_*: of the virtual files' tests.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/unit/support_gate.h"

int view_sh(char **out, const char *format, ...)
{
	char command[4096], *text = calloc(1, 1);
	size_t len = 0, n;
	va_list ap;
	FILE *f;
	int status;

	va_start(ap, format);
	vsnprintf(command, sizeof(command) - 8, format, ap);
	va_end(ap);
	strcat(command, " 2>&1");
	f = popen(command, "r");
	if (!f || !text)
		abort();
	do {
		text = realloc(text, len + 65537);
		if (!text)
			abort();
		n = fread(text + len, 1, 65536, f);
		len += n;
	} while (n);
	text[len] = '\0';
	status = pclose(f);
	if (out)
		*out = text;
	else
		free(text);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void view_dir_make(char out[64])
{
	const char *base = getenv("TMPDIR");

	snprintf(out, 64, "%s/custos-view-XXXXXX", base && strlen(base) < 40 ? base : "/tmp");
	if (!mkdtemp(out))
		abort();
}

void view_dir_remove(const char *dir)
{
	if (view_sh(NULL, "rm -rf '%s'", dir))
		fprintf(stderr, "%s could not be removed\n", dir);
}

uint64_t view_seed(const char *test)
{
	const char *given = getenv("SEED");
	uint64_t seed;

	if (given)
		seed = strtoull(given, NULL, 0);
	else
		random_fill(&seed, sizeof(seed));
	printf("%s: SEED=%llu (set SEED to replay)\n", test, (unsigned long long)seed);
	return seed;
}

/* splitmix64 */
uint64_t view_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* support_rec.c — see support_rec.h. */
#include "tests/unit/support_rec.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

uint64_t rec_seed(void)
{
	const char *given = getenv("SEED");
	uint64_t seed = 0;
	if (given)
		seed = strtoull(given, NULL, 0);
	else
		random_fill(&seed, sizeof(seed));
	if (seed == 0)
		seed = 1;
	printf("# replay with SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

uint64_t rec_random(uint64_t *state)
{
	uint64_t x = *state;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

void rec_folder(char out[64])
{
	strcpy(out, "/tmp/custos-rec-XXXXXX");
	assert_non_null(mkdtemp(out));
}

void rec_shell(const char *format, ...)
{
	char command[4096];
	va_list ap;
	va_start(ap, format);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	vsnprintf(command, sizeof(command), format, ap);
#pragma GCC diagnostic pop
	va_end(ap);
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

void rec_remove(const char *folder)
{
	rec_shell("rm -rf '%s'", folder);
}

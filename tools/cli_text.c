/*
 * cli_text.c — values of replies as people read them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "tools/cli.h"

const char *cli_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

int64_t cli_int(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

const char *cli_time_ns(int64_t t_ns, char out[CLI_TIME_MAX])
{
	char text[TIME_TEXT_MAX];

	if (t_ns == ENG_NO_TIME)
		return "-";
	/* RFC 3339 cut to whole seconds: what --from and --to take as local time. */
	time_format(t_ns, text);
	snprintf(out, CLI_TIME_MAX, "%.19s", text);
	if (strlen(out) > 10 && out[10] == 'T')
		out[10] = ' ';
	return out;
}

const char *cli_time(const json_t *value, char out[CLI_TIME_MAX])
{
	return json_is_integer(value) ? cli_time_ns(json_integer_value(value), out) : "-";
}

char *cli_join(const json_t *array)
{
	size_t bytes = 1, used = 0;
	const json_t *item;
	size_t i;
	char *out;

	json_array_foreach(array, i, item)
	{
		bytes += json_string_length(item) + 2;
	}
	out = calloc(1, bytes);
	if (!out)
		return NULL;
	json_array_foreach(array, i, item)
	{
		const char *text = json_is_string(item) ? json_string_value(item) : "";

		used += (size_t)snprintf(out + used, bytes - used, "%s%s", i ? ", " : "", text);
	}
	return out;
}

const char *cli_duration(int64_t ns, char out[CLI_TIME_MAX])
{
	int64_t s = ns / NSEC_PER_SEC;

	if (s < 60)
		snprintf(out, CLI_TIME_MAX, "%.1f s", (double)ns / 1e9);
	else if (s < 3600)
		snprintf(out, CLI_TIME_MAX, "%" PRId64 " min %02" PRId64 " s", s / 60, s % 60);
	else if (s < 2 * 86400)
		snprintf(out, CLI_TIME_MAX, "%" PRId64 " h %02" PRId64 " min", s / 3600,
		         s / 60 % 60);
	else
		snprintf(out, CLI_TIME_MAX, "%" PRId64 " d %02" PRId64 " h", s / 86400,
		         s / 3600 % 24);
	return out;
}

const char *cli_size(uint64_t bytes, char out[CLI_TIME_MAX])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double value = (double)bytes;
	size_t u = 0;

	for (; value >= 1024 && u + 1 < ARRAY_LEN(units); u++)
		value /= 1024;
	snprintf(out, CLI_TIME_MAX, u ? "%.1f %s" : "%.0f %s", value, units[u]);
	return out;
}

/*
 * time.c — clocks, and times as people write them.
 *
 * Everything inside custos is UTC nanoseconds; the site's zone matters only here. The C library
 * knows one zone at a time, taken from $TZ, so time_zone_set() pins it once, before threads, to a
 * file of the zone database: a user's own $TZ must not shift the windows they ask for. Local times
 * are resolved by trying the offsets in force a day before and a day after. That finds every kind
 * of change, also those where a country moved without daylight saving, which tm_isdst cannot tell.
 */
#include "engine/base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#define ZONE_DIR "/usr/share/zoneinfo/"
#define DAY_S    INT64_C(86400)
/* What int64 nanoseconds can hold, in whole years. */
#define YEAR_MIN 1969 /* where 1970 has begun in UTC it may still be 1969 */
#define YEAR_MAX 2261

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	if (clock_gettime(id, &ts))
		abort();
	return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

int64_t clock_wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

int64_t clock_boot_ns(void)
{
	return clock_ns(CLOCK_BOOTTIME);
}

struct clock_state clock_sync_state(void)
{
	struct timex tx = {.modes = 0};
	struct clock_state st = {.synced = false, .error_us = UINT32_MAX};
	int state = adjtimex(&tx);

	if (state < 0 || state == TIME_ERROR || (tx.status & STA_UNSYNC))
		return st;
	st.synced = true;
	if (tx.maxerror >= 0 && tx.maxerror < (long)UINT32_MAX)
		st.error_us = (uint32_t)tx.maxerror;
	return st;
}

/* A zone file's name: no way out of the zone folder. */
static bool zone_name_ok(const char *name)
{
	if (!name[0] || name[0] == '/' || strlen(name) > 100 || strstr(name, ".."))
		return false;
	return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	                    "0123456789_+-/") == strlen(name);
}

int time_zone_set(const char *name)
{
	char tz[sizeof(ZONE_DIR) + 128];
	char magic[4] = "";
	ssize_t n = 0;
	int fd;

	if (!strcmp(name, "UTC")) {
		/* Holds without a zone database, too. */
		if (setenv("TZ", "UTC0", 1))
			return -errno;
		tzset();
		return 0;
	}
	if (!zone_name_ok(name))
		return -EINVAL;
	/* The full path, so that $TZDIR cannot lead elsewhere either. */
	snprintf(tz, sizeof(tz), ":%s%s", ZONE_DIR, name);
	fd = open(tz + 1, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, magic, sizeof(magic));
		close(fd);
	}
	if (n != (ssize_t)sizeof(magic) || memcmp(magic, "TZif", 4) != 0)
		return -EINVAL;
	if (setenv("TZ", tz, 1))
		return -errno;
	tzset();
	return 0;
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static void local_tm(int64_t t_s, struct tm *tm)
{
	time_t t = (time_t)t_s;

	if (!localtime_r(&t, tm))
		abort(); /* only years beyond int: not from int64 nanoseconds */
}

struct fields {
	int year, month, day, hour, minute, second, nanosecond;
};

static bool digits(const char **p, int n, int *out)
{
	int v = 0;

	for (int i = 0; i < n; i++) {
		if ((*p)[i] < '0' || (*p)[i] > '9')
			return false;
		v = v * 10 + ((*p)[i] - '0');
	}
	*p += n;
	*out = v;
	return true;
}

static bool literal(const char **p, char c)
{
	if (**p != c)
		return false;
	++*p;
	return true;
}

static bool fields_ok(const struct fields *f)
{
	static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (f->year % 4 == 0 && f->year % 100 != 0) || f->year % 400 == 0;

	if (f->year < YEAR_MIN || f->year > YEAR_MAX || f->month < 1 || f->month > 12)
		return false;
	if (f->day < 1 || f->day > month_days[f->month - 1] + (leap && f->month == 2))
		return false;
	return f->hour <= 23 && f->minute <= 59 && f->second <= 59;
}

static int64_t fields_utc_s(const struct fields *f)
{
	struct tm tm = {.tm_year = f->year - 1900,
	                .tm_mon = f->month - 1,
	                .tm_mday = f->day,
	                .tm_hour = f->hour,
	                .tm_min = f->minute,
	                .tm_sec = f->second};

	return (int64_t)timegm(&tm);
}

/* The one instant that local clocks showed these fields at. */
static int fields_local_s(const struct fields *f, int64_t *out_s)
{
	int64_t as_utc = fields_utc_s(f), candidate[2];
	bool fits[2];
	struct tm tm;

	for (int i = 0; i < 2; i++) {
		local_tm(as_utc + (i ? DAY_S : -DAY_S), &tm);
		candidate[i] = as_utc - tm.tm_gmtoff;
		local_tm(candidate[i], &tm);
		fits[i] = candidate[i] + tm.tm_gmtoff == as_utc;
	}
	if (fits[0] && fits[1] && candidate[0] != candidate[1])
		return -ERANGE;
	if (!fits[0] && !fits[1])
		return -ERANGE;
	*out_s = fits[0] ? candidate[0] : candidate[1];
	return 0;
}

static bool parse_date(const char **p, struct fields *f)
{
	return digits(p, 4, &f->year) && literal(p, '-') && digits(p, 2, &f->month) &&
	       literal(p, '-') && digits(p, 2, &f->day);
}

/* HH:MM[:SS[.fraction]] */
static bool parse_clock(const char **p, struct fields *f)
{
	int scale = 100000000, d;

	if (!digits(p, 2, &f->hour) || !literal(p, ':') || !digits(p, 2, &f->minute))
		return false;
	if (!literal(p, ':'))
		return true;
	if (!digits(p, 2, &f->second))
		return false;
	if (!literal(p, '.'))
		return true;
	if (!digits(p, 1, &d))
		return false;
	do {
		f->nanosecond += d * scale;
		scale /= 10;
	} while (scale && digits(p, 1, &d));
	return true;
}

/* "Z", "+08:00" or (compact) "+0800". False: neither. */
static bool parse_offset(const char **p, bool compact, int64_t *offset_s)
{
	int hours, minutes, sign;

	if (!compact && (literal(p, 'Z') || literal(p, 'z'))) {
		*offset_s = 0;
		return true;
	}
	if (**p != '+' && **p != '-')
		return false;
	sign = **p == '-' ? -1 : 1;
	++*p;
	if (!digits(p, 2, &hours) || (!compact && !literal(p, ':')) || !digits(p, 2, &minutes))
		return false;
	*offset_s = sign * (hours * INT64_C(3600) + minutes * INT64_C(60));
	return hours <= 23 && minutes <= 59;
}

static int relative_parse(const char *text, int64_t now_ns, int64_t *out_ns)
{
	int64_t delta;
	int err = duration_parse(text + 1, &delta);

	if (err)
		return err;
	if (text[0] == '-' ? __builtin_sub_overflow(now_ns, delta, out_ns)
	                   : __builtin_add_overflow(now_ns, delta, out_ns))
		return -EINVAL;
	return 0;
}

int time_parse(const char *text, int64_t now_ns, int64_t *out_ns)
{
	struct fields f = {0};
	const char *p = text;
	int64_t t_s, offset_s;
	int err;

	if (!strcmp(text, "now")) {
		*out_ns = now_ns;
		return 0;
	}
	if (text[0] == '-' || text[0] == '+')
		return relative_parse(text, now_ns, out_ns);
	if (!parse_date(&p, &f))
		return -EINVAL;
	if (!literal(&p, 'T') && !literal(&p, 't') && !literal(&p, ' '))
		return -EINVAL;
	if (!parse_clock(&p, &f) || !fields_ok(&f))
		return -EINVAL;
	if (!*p) {
		err = fields_local_s(&f, &t_s);
		if (err)
			return err;
	} else {
		if (!parse_offset(&p, false, &offset_s) || *p)
			return -EINVAL;
		t_s = fields_utc_s(&f) - offset_s;
	}
	*out_ns = t_s * NSEC_PER_SEC + f.nanosecond;
	return t_s < 0 ? -EINVAL : 0;
}

/* Decimal digits at *p; false when there are none or they do not fit. */
static bool number_parse(const char **p, uint64_t *out, bool *overflow)
{
	const char *start = *p;

	*out = 0;
	*overflow = false;
	for (; **p >= '0' && **p <= '9'; ++*p) {
		if (__builtin_mul_overflow(*out, UINT64_C(10), out) ||
		    __builtin_add_overflow(*out, (uint64_t)(**p - '0'), out))
			*overflow = true;
	}
	return *p != start;
}

int duration_parse(const char *text, int64_t *out_ns)
{
	static const struct {
		const char *unit;
		int64_t ns;
	} units[] = {
	        {"ms", NSEC_PER_MSEC},       {"s", NSEC_PER_SEC},
	        {"min", 60 * NSEC_PER_SEC},  {"h", 3600 * NSEC_PER_SEC},
	        {"d", DAY_S * NSEC_PER_SEC}, {"w", 7 * DAY_S * NSEC_PER_SEC},
	};
	const char *p = text;
	uint64_t n;
	bool overflow;

	if (!number_parse(&p, &n, &overflow) || overflow || n > INT64_MAX)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcmp(p, units[i].unit) != 0)
			continue;
		return __builtin_mul_overflow((int64_t)n, units[i].ns, out_ns) ? -EINVAL : 0;
	}
	return -EINVAL;
}

int size_parse(const char *text, uint64_t *out_bytes)
{
	static const char units[] = "KMGT";
	const char *p = text, *unit;
	uint64_t n, factor = 1;
	bool overflow;

	if (!number_parse(&p, &n, &overflow))
		return -EINVAL;
	if (*p) {
		unit = strchr(units, *p);
		if (!unit || p[1])
			return -EINVAL;
		factor = UINT64_C(1) << (10 * (unit - units + 1));
	}
	if (overflow || __builtin_mul_overflow(n, factor, out_bytes))
		return -ERANGE;
	return 0;
}

static void format_local(int64_t t_ns, bool compact, char out[TIME_TEXT_MAX])
{
	int64_t t_s = floor_div(t_ns, NSEC_PER_SEC);
	/* Not t_ns - t_s * 1e9: that overflows for the least value, "no time", which may come here
	 * to be shown. */
	int64_t rest_ns = t_ns % NSEC_PER_SEC;
	int ms = (int)((rest_ns < 0 ? rest_ns + NSEC_PER_SEC : rest_ns) / NSEC_PER_MSEC);
	struct tm tm;
	long offset_min;
	char sign;

	local_tm(t_s, &tm);
	sign = tm.tm_gmtoff < 0 ? '-' : '+';
	offset_min = labs(tm.tm_gmtoff) / 60;
	snprintf(out, TIME_TEXT_MAX,
	         compact ? "%04d%02d%02dT%02d%02d%02d.%03d%c%02ld%02ld"
	                 : "%04d-%02d-%02dT%02d:%02d:%02d.%03d%c%02ld:%02ld",
	         tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, ms,
	         sign, offset_min / 60, offset_min % 60);
}

void time_format(int64_t t_ns, char out[TIME_TEXT_MAX])
{
	format_local(t_ns, false, out);
}

void time_format_name(int64_t t_ns, char out[TIME_TEXT_MAX])
{
	format_local(t_ns, true, out);
}

int time_parse_name(const char *text, int64_t *out_ns)
{
	struct fields f = {0};
	const char *p = text;
	int64_t offset_s;
	int ms;

	if (!digits(&p, 4, &f.year) || !digits(&p, 2, &f.month) || !digits(&p, 2, &f.day) ||
	    !literal(&p, 'T') || !digits(&p, 2, &f.hour) || !digits(&p, 2, &f.minute) ||
	    !digits(&p, 2, &f.second) || !literal(&p, '.') || !digits(&p, 3, &ms) ||
	    !parse_offset(&p, true, &offset_s) || !fields_ok(&f))
		return -EINVAL;
	*out_ns = (fields_utc_s(&f) - offset_s) * NSEC_PER_SEC + ms * NSEC_PER_MSEC;
	return *out_ns < 0 ? -EINVAL : 0;
}

void day_format(int64_t t_ns, char out[TIME_TEXT_MAX])
{
	struct tm tm;

	local_tm(floor_div(t_ns, NSEC_PER_SEC), &tm);
	snprintf(out, TIME_TEXT_MAX, "%04d-%02d-%02d", tm.tm_year + 1900, tm.tm_mon + 1,
	         tm.tm_mday);
}

/* First second whose local date is that of as_utc_s (midnight, as if UTC) or later. Searched for,
 * because some zones change at midnight, where a day begins at 01:00 or has two midnights. */
static int64_t day_first_s(int64_t as_utc_s)
{
	int64_t low = as_utc_s - 2 * DAY_S, high = as_utc_s + 2 * DAY_S, middle;
	struct tm tm;

	while (high - low > 1) {
		middle = low + (high - low) / 2;
		local_tm(middle, &tm);
		if (middle + tm.tm_gmtoff >= as_utc_s)
			high = middle;
		else
			low = middle;
	}
	return high;
}

int day_bounds(const char *text, int64_t *from_ns, int64_t *to_ns)
{
	struct fields f = {0};
	const char *p = text;
	int64_t midnight_s;

	if (!parse_date(&p, &f) || *p || !fields_ok(&f))
		return -EINVAL;
	midnight_s = fields_utc_s(&f);
	*from_ns = day_first_s(midnight_s) * NSEC_PER_SEC;
	*to_ns = day_first_s(midnight_s + DAY_S) * NSEC_PER_SEC;
	/* A country that crossed the date line has left out a day. */
	return *from_ns < *to_ns ? 0 : -EINVAL;
}

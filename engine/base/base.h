/*
 * base.h — what every room uses: little-endian codec, time, sizes, files, logging, daemons.
 *
 * libc only. Everything is re-entrant unless a function says otherwise; nothing here blocks
 * except the file helpers. Functions return 0 or -errno unless they say otherwise.
 */
#ifndef CUSTOS_BASE_H
#define CUSTOS_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#define MUST_CHECK   __attribute__((warn_unused_result))
#define PRINTF(a, b) __attribute__((format(printf, a, b)))
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define NSEC_PER_SEC  INT64_C(1000000000)
#define NSEC_PER_MSEC INT64_C(1000000)
#define KIB           UINT64_C(1024)
#define MIB           (UINT64_C(1024) * KIB)
#define GIB           (UINT64_C(1024) * MIB)

static inline uint64_t align_up(uint64_t n, uint64_t power_of_two)
{
	return (n + power_of_two - 1) & ~(power_of_two - 1);
}

/* ---- le: the byte order of everything on disk and in the ring ---- */

static inline uint16_t le16_get(const void *p)
{
	const uint8_t *b = p;
	return (uint16_t)(b[0] | b[1] << 8);
}
static inline uint32_t le32_get(const void *p)
{
	const uint8_t *b = p;
	return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}
static inline uint64_t le64_get(const void *p)
{
	return (uint64_t)le32_get(p) | (uint64_t)le32_get((const uint8_t *)p + 4) << 32;
}
static inline void le16_put(void *p, uint16_t v)
{
	uint8_t *b = p;
	b[0] = (uint8_t)v;
	b[1] = (uint8_t)(v >> 8);
}
static inline void le32_put(void *p, uint32_t v)
{
	uint8_t *b = p;
	le16_put(b, (uint16_t)v);
	le16_put(b + 2, (uint16_t)(v >> 16));
}
static inline void le64_put(void *p, uint64_t v)
{
	uint8_t *b = p;
	le32_put(b, (uint32_t)v);
	le32_put(b + 4, (uint32_t)(v >> 32));
}

/* ---- clock and time text (time.c) ---- */

/* UTC nanoseconds, and CLOCK_BOOTTIME nanoseconds. Cannot fail. */
int64_t clock_wall_ns(void);
int64_t clock_boot_ns(void);

/* The kernel's view of its own clock (adjtimex). *error_us is UINT32_MAX when unknown. */
struct clock_state {
	bool synced;
	uint32_t error_us;
};
struct clock_state clock_sync_state(void);

/* Makes NAME ("Asia/Shanghai") the zone of every function below, whatever $TZ says. Once, from
 * main, before threads. -EINVAL: no such zone on this machine. */
int time_zone_set(const char *name) MUST_CHECK;

/* Parses RFC 3339 ("2026-11-20T08:15:00.5+08:00", "…Z"), local "YYYY-MM-DD HH:MM[:SS[.frac]]",
 * "now", and offsets from now_ns: "-15min", "+2h". -EINVAL: not a time; -ERANGE: a local time
 * that is ambiguous or does not exist (daylight-saving change), to be given in RFC 3339. */
int time_parse(const char *text, int64_t now_ns, int64_t *out_ns) MUST_CHECK;

/* "90d" "24h" "10min" "1s" "500ms" "2w"; a plain number is refused (-EINVAL). */
int duration_parse(const char *text, int64_t *out_ns) MUST_CHECK;

/* "64G" "256M" "4K" "123" (bytes); binary multiples. -EINVAL, -ERANGE. */
int size_parse(const char *text, uint64_t *out_bytes) MUST_CHECK;

#define TIME_TEXT_MAX 48
/* "2026-11-20T08:15:00.040+08:00" in the site's zone. Writes at most TIME_TEXT_MAX. */
void time_format(int64_t t_ns, char out[TIME_TEXT_MAX]);
/* "20261120T081500.040+0800", milliseconds rounded down: the gate's file names. */
void time_format_name(int64_t t_ns, char out[TIME_TEXT_MAX]);
/* The reverse, exact to the millisecond; reads exactly the 24 characters. -EINVAL. */
int time_parse_name(const char *text, int64_t *out_ns) MUST_CHECK;
/* "2026-11-20" of t_ns in the site's zone, and the bounds of such a local day [from, to). */
void day_format(int64_t t_ns, char out[TIME_TEXT_MAX]);
int day_bounds(const char *text, int64_t *from_ns, int64_t *to_ns) MUST_CHECK;

/* ---- files (file.c) ---- */

/* Read or write all of it, retrying EINTR and short counts. file_pread_full: -ENODATA when the
 * file ends first. Block. */
int file_pread_full(int fd, void *buf, size_t len_bytes, uint64_t offset) MUST_CHECK;
int file_pwrite_full(int fd, const void *buf, size_t len_bytes, uint64_t offset) MUST_CHECK;
/* Whole small file into a malloc'ed, NUL-terminated buffer. -EFBIG beyond max_bytes. */
int file_read_all(const char *path, size_t max_bytes, char **out, size_t *len_bytes) MUST_CHECK;
/* Replaces path in one step: temporary file, fsync, rename, fsync of the folder. */
int file_replace(const char *path, const void *buf, size_t len_bytes, mode_t mode) MUST_CHECK;
/* mkdir if missing, then owner and mode. Parents must exist. uid/gid -1: leave. */
int dir_ensure(const char *path, mode_t mode, uid_t uid, gid_t gid) MUST_CHECK;
/* Like mkdir -p with mode 0755. */
int dir_ensure_parents(const char *path) MUST_CHECK;

/* hex, lower case; out holds 2*len+1. hex_parse: -EINVAL. */
void hex_format(const void *bytes, size_t len_bytes, char *out);
int hex_parse(const char *text, void *out, size_t len_bytes) MUST_CHECK;
/* len bytes from the kernel's random source. Aborts if the kernel has none. */
void random_fill(void *out, size_t len_bytes);
/* True when s is well-formed UTF-8 without control characters. */
bool utf8_valid(const char *s, size_t len_bytes);

/* ---- logging (log.c): one line on standard error, thread-safe ---- */

enum log_level { LOG_ERR = 3, LOG_WARN = 4, LOG_INFO = 6, LOG_DEBUG = 7 };
/* Name shown before each line and the most talkative level; once, from main. Under systemd
 * ($JOURNAL_STREAM) lines carry the <N> priority prefix. */
void log_setup(const char *program, enum log_level max_level);
void log_at(enum log_level level, const char *format, ...) PRINTF(2, 3);
#define log_err(...)   log_at(LOG_ERR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

/* ---- daemons (daemon.c) ---- */

/* Raise RLIMIT_NOFILE to its hard limit and ignore SIGPIPE. */
void daemon_prepare(void);
/* As root: become USER with its own group plus the extra groups (NULL-terminated list of names,
 * may be NULL), dropping every capability; always sets no_new_privs. Not root: succeeds only if
 * USER is who we are already. One log line says why on failure. -ENOENT no such user or group,
 * -EPERM. */
int daemon_drop(const char *user, const char *const *extra_groups) MUST_CHECK;
/* sd_notify(READY=1) over $NOTIFY_SOCKET if set, and one log line "ready". */
void daemon_ready(void);
/* A signalfd for SIGTERM and SIGINT (both blocked in this and later threads), or -errno. */
int daemon_signal_fd(void) MUST_CHECK;

#endif

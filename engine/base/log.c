/*
 * log.c — one line on standard error.
 *
 * Daemons run in the foreground and leave keeping to whoever started them. A line goes out in one
 * write(2), so that threads and children never mix theirs. Control characters are replaced: names
 * and messages from cameras and users must not forge lines or move a terminal's cursor.
 *
 * The program's name and level are the only state; they are set once, before threads.
 */
#include "engine/base/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
	char program[64];
	enum log_level max_level;
	bool journal;
} setup = {.max_level = LOG_INFO};

/* systemd's rule: the variable names the very file that standard error is. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (!stream || sscanf(stream, "%llu:%llu", &dev, &ino) != 2 || fstat(STDERR_FILENO, &st))
		return false;
	return st.st_dev == (dev_t)dev && st.st_ino == (ino_t)ino;
}

void log_setup(const char *program, enum log_level max_level)
{
	snprintf(setup.program, sizeof(setup.program), "%s", program);
	setup.max_level = max_level;
	setup.journal = stderr_is_journal();
}

static const char *level_word(enum log_level level)
{
	switch (level) {
	case LOG_ERR:
		return "error: ";
	case LOG_WARN:
		return "warning: ";
	case LOG_DEBUG:
		return "debug: ";
	case LOG_INFO:
		break;
	}
	return "";
}

void log_at(enum log_level level, const char *format, ...)
{
	char line[4096];
	int saved = errno, n = 0;
	size_t len;
	va_list ap;
	ssize_t written;

	if (level > setup.max_level)
		return;
	if (setup.journal)
		n = snprintf(line, sizeof(line), "<%d>", (int)level);
	n += snprintf(line + n, sizeof(line) - (size_t)n, "%s%s%s", setup.program,
	              setup.program[0] ? ": " : "", setup.journal ? "" : level_word(level));
	len = (size_t)n;
	va_start(ap, format);
	n = vsnprintf(line + len, sizeof(line) - len - 1, format, ap);
	va_end(ap);
	if (n > 0)
		len += (size_t)n < sizeof(line) - len - 1 ? (size_t)n : sizeof(line) - len - 2;
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	line[len++] = '\n';
	/* Nobody to tell when standard error itself is gone. */
	do
		written = write(STDERR_FILENO, line, len);
	while (written < 0 && errno == EINTR);
	errno = saved;
}

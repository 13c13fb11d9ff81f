/*
 * peer.c — login uid and command name from /proc (peer.h).
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fusefs/peer.h"

/* Length read, 0 when there is nothing to read. */
static size_t read_proc(pid_t pid, const char *what, char *out, size_t out_bytes)
{
	char path[64];
	ssize_t n = 0;
	int fd;

	out[0] = 0;
	if (pid <= 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, out, out_bytes - 1);
		close(fd);
	}
	if (n < 0)
		n = 0;
	out[n] = 0;
	return (size_t)n;
}

uint32_t peer_login_uid(pid_t pid)
{
	char text[32];

	if (!read_proc(pid, "loginuid", text, sizeof(text)) || text[0] < '0' || text[0] > '9')
		return UINT32_MAX;
	return (uint32_t)strtoul(text, NULL, 10);
}

void peer_comm(pid_t pid, char out[32])
{
	size_t n = read_proc(pid, "comm", out, 32);

	while (n && out[n - 1] == '\n')
		out[--n] = 0;
	if (!utf8_valid(out, n))
		for (size_t i = 0; i < n; i++)
			if ((unsigned char)out[i] < 0x20 || (unsigned char)out[i] > 0x7e)
				out[i] = '?';
}

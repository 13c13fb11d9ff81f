/*
 * support_cli.c — helpers of the client library's tests.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/unit/support_cli.h"

char *cli_scratch(void)
{
	char *dir = strdup("/tmp/custos-cli-XXXXXX");

	assert_non_null(dir);
	assert_non_null(mkdtemp(dir));
	return dir;
}

char *cli_path(const char *dir, const char *name)
{
	char *path = NULL;

	assert_true(asprintf(&path, "%s/%s", dir, name) > 0);
	return path;
}

void cli_scratch_remove(char *dir)
{
	DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));) {
		char *path = cli_path(dir, e->d_name);

		unlink(path);
		free(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
	free(dir);
}

void cli_write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

int cli_connect(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_true(strlen(path) < sizeof(a.sun_path));
	memcpy(a.sun_path, path, strlen(path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

void cli_send(int fd, const void *data, size_t len)
{
	cli_send_fds(fd, data, len, NULL, 0);
}

void cli_send_fds(int fd, const void *data, size_t len, const int *fds, size_t n_fds)
{
	struct iovec iov = {(void *)(uintptr_t)data, len};
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))] = {0};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), (ssize_t)len);
}

void cli_settle(struct line_server *s)
{
	struct pollfd p = {.fd = line_server_fd(s), .events = POLLIN};

	while (poll(&p, 1, 0) > 0)
		line_server_run(s);
}

json_t *cli_receive(struct line_server *s, int fd)
{
	size_t room = 65536, len = 0;
	char *text = malloc(room), *end = NULL;
	json_t *reply = NULL;

	assert_non_null(text);
	while (!end) {
		struct pollfd p[2] = {{.fd = line_server_fd(s), .events = POLLIN},
		                      {.fd = fd, .events = POLLIN}};
		assert_true(poll(p, 2, HANG_GUARD_MS) > 0);
		if (p[0].revents)
			line_server_run(s);
		if (len + 65536 > room)
			text = realloc(text, room *= 2);
		assert_non_null(text);
		/* One line and not more: what follows stays in the socket. */
		ssize_t n = recv(fd, text + len, 65536, MSG_PEEK | MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			break;
		if (n < 0)
			continue;
		end = memchr(text + len, '\n', (size_t)n);
		if (end)
			n = end + 1 - (text + len);
		assert_int_equal(recv(fd, text + len, (size_t)n, 0), n);
		len += (size_t)n;
	}
	if (end)
		reply = json_loadb(text, len, 0, NULL);
	assert_true(!end || json_is_object(reply));
	free(text);
	return reply;
}

size_t cli_open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

uint64_t cli_seed(void)
{
	const char *text = getenv("SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)clock_boot_ns() | 1;

	print_message("seed %" PRIu64 "; replay with SEED=%" PRIu64 "\n", seed, seed);
	return seed;
}

uint64_t cli_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

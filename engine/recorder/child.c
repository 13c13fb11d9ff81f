/*
 * child.c — see child.h. posix_spawn (CLONE_VFORK) because the recorder holds large registered
 * buffers whose page tables no fork should copy. The environment is empty: proxies, loaders and
 * locales of whoever started the recorder are no business of the child.
 */
#include "engine/recorder/child.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FD_SAFE 64 /* above every number that the child's table uses */

static const char *program(char out[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 32);
	if (n > 0) {
		out[n] = 0;
		char *slash = strrchr(out, '/');
		if (slash) {
			memcpy(slash + 1, "custos-ingest", sizeof("custos-ingest"));
			if (access(out, X_OK) == 0)
				return out;
		}
	}
	return CUSTOS_LIBEXECDIR "/custos-ingest";
}

static int spawn_at(const int fds[], size_t n, pid_t *pid)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	char path[PATH_MAX], name[] = "custos-ingest";
	char *argv[] = {name, NULL}, *envp[] = {NULL};
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&at);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&at, &none);
	posix_spawnattr_setsigdefault(&at, &all);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	for (size_t i = 0; i < n; i++)
		posix_spawn_file_actions_adddup2(&fa, fds[i], JOB_FD_SOCKET + (int)i);
	int err = -posix_spawn(pid, program(path), &fa, &at, argv, envp);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&at);
	return err;
}

/* Duplicates out of the way of the numbers used in the child, then spawns. */
static int spawn(struct child *c, int sock, int media_fd)
{
	int want[] = {sock, ring_mem_fd(c->ring), ring_data_fd(c->ring), ring_space_fd(c->ring),
	              media_fd};
	int fds[ARRAY_LEN(want)] = {0}, err = 0;
	size_t n = media_fd >= 0 ? ARRAY_LEN(want) : ARRAY_LEN(want) - 1, got = 0;

	for (; got < n; got++) {
		fds[got] = fcntl(want[got], F_DUPFD_CLOEXEC, FD_SAFE);
		if (fds[got] < 0) {
			err = -errno;
			break;
		}
	}
	if (!err)
		err = spawn_at(fds, n, &c->pid);
	while (got > 0)
		close(fds[--got]);
	return err;
}

int child_start(struct child *c, const struct ingest_job *job, int media_fd, uint64_t ring_bytes)
{
	int pair[2];

	*c = (struct child)CHILD_NONE;
	int err = ring_create(ring_bytes, &c->ring);
	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		err = -errno;
		goto out;
	}
	c->sock = pair[0];
	err = spawn(c, pair[1], media_fd);
	close(pair[1]);
	if (err) {
		c->pid = 0;
		goto out;
	}
	c->pid_fd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	if (c->pid_fd < 0)
		err = -errno;
	else if (send(c->sock, job, sizeof(*job), MSG_NOSIGNAL | MSG_DONTWAIT) !=
	         (ssize_t)sizeof(*job))
		err = -EPIPE;
out:
	if (err)
		child_close(c);
	return err;
}

bool child_ended(struct child *c, int *status)
{
	if (c->pid == 0)
		return true;
	if (waitpid(c->pid, status, WNOHANG) == 0)
		return false;
	c->pid = 0;
	return true;
}

void child_kill(struct child *c)
{
	int status;
	if (c->pid == 0)
		return;
	kill(c->pid, SIGKILL);
	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
	c->pid = 0;
}

void child_close(struct child *c)
{
	child_kill(c);
	if (c->pid_fd >= 0)
		close(c->pid_fd);
	if (c->sock >= 0)
		close(c->sock);
	ring_close(c->ring);
	*c = (struct child)CHILD_NONE;
}

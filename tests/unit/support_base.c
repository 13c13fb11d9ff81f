/*
 * support_base.c — helpers of the base room's tests (support_base.h).
 */
#include "tests/unit/support_base.h"

#include <sys/wait.h>
#include <unistd.h>

void base_dir_make(char path[PATH_MAX / 2])
{
	const char *tmp = getenv("TMPDIR");

	snprintf(path, PATH_MAX / 2, "%s/custos-base-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(path));
}

void base_dir_remove(const char *path)
{
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "rm -rf '%s'", path);
	assert_int_equal(system(command), 0);
}

int base_child(int (*body)(void *arg), void *arg, char **text)
{
	static char buf[65536];
	size_t len = 0;
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		_exit(body(arg));
	}
	close(fds[1]);
	while (len < sizeof(buf) - 1 && (n = read(fds[0], buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = '\0';
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	*text = strdup(buf);
	return WEXITSTATUS(status);
}

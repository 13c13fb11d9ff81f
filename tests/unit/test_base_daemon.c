/*
 * test_base_daemon.c — giving up root, log lines, readiness, signals. Each in a child of its own,
 * because there is no way back.
 */
#include "tests/unit/support_base.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define CHECK(condition)                                                               \
	do {                                                                           \
		if (!(condition)) {                                                    \
			dprintf(STDERR_FILENO, "line %d: %s\n", __LINE__, #condition); \
			return 1;                                                      \
		}                                                                      \
	} while (0)

static void run(int (*body)(void *arg), void *arg, int want, const char *text)
{
	char *out;
	int status = base_child(body, arg, &out);

	if (status != want || !strstr(out, text))
		fail_msg("exit %d, expected %d; \"%s\" in:\n%s", status, want, text, out);
	free(out);
}

/* ---- identity ---- */

static bool caps_none(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (syscall(SYS_capget, &head, data))
		return false;
	return !data[0].permitted && !data[0].effective && !data[0].inheritable &&
	       !data[1].permitted && !data[1].effective && !data[1].inheritable;
}

static int drop_to_nobody(void *arg)
{
	const char *const extra[] = {"daemon", "adm", NULL};
	struct passwd *pw = getpwnam("nobody");
	gid_t groups[64], want[3];
	int n;

	(void)arg;
	CHECK(pw && getgrnam("daemon") && getgrnam("adm"));
	want[0] = pw->pw_gid;
	want[1] = getgrnam("daemon")->gr_gid;
	want[2] = getgrnam("adm")->gr_gid;
	pw = getpwnam("nobody");
	CHECK(daemon_drop("nobody", extra) == 0);
	CHECK(getuid() == pw->pw_uid && geteuid() == pw->pw_uid);
	CHECK(getgid() == want[0] && getegid() == want[0]);
	n = getgroups(64, groups);
	CHECK(n == 3);
	for (int i = 0; i < 3; i++) {
		bool found = false;

		for (int k = 0; k < 3; k++)
			found = found || groups[k] == want[i];
		CHECK(found);
	}
	CHECK(caps_none());
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	CHECK(setuid(0) != 0 && setgid(0) != 0 && setgroups(0, NULL) != 0);
	CHECK(open("/etc/shadow", O_RDONLY) < 0);
	return 0;
}

/* A private trial: everything under root, yet without root's powers. */
static int drop_to_root(void *arg)
{
	char path[PATH_MAX];

	(void)arg;
	CHECK(daemon_drop("root", NULL) == 0);
	CHECK(getuid() == 0 && caps_none());
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	snprintf(path, sizeof(path), "%s", (const char *)arg);
	CHECK(chown(path, 12345, 12345) != 0);
	return 0;
}

static int drop_unknown_user(void *arg)
{
	(void)arg;
	CHECK(daemon_drop("no-such-user-here", NULL) == -ENOENT);
	CHECK(getuid() == 0 && !caps_none());
	return 0;
}

static int drop_unknown_group(void *arg)
{
	const char *const extra[] = {"no-such-group-here", NULL};

	(void)arg;
	CHECK(daemon_drop("nobody", extra) == -ENOENT);
	CHECK(getuid() == 0);
	return 0;
}

static int drop_when_not_root(void *arg)
{
	(void)arg;
	CHECK(setresuid(65534, 65534, 65534) == 0);
	CHECK(daemon_drop("daemon", NULL) == -EPERM);
	CHECK(daemon_drop("nobody", NULL) == 0);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	return 0;
}

static void test_drop(void **state)
{
	char dir[PATH_MAX / 2];

	(void)state;
	if (geteuid() != 0) {
		print_message("needs root: skipped\n");
		skip();
	}
	base_dir_make(dir);
	run(drop_to_nobody, NULL, 0, "");
	run(drop_to_root, dir, 0, "");
	run(drop_unknown_user, NULL, 0, "no such user");
	run(drop_unknown_group, NULL, 0, "no such group");
	run(drop_when_not_root, NULL, 0, "not root");
	base_dir_remove(dir);
}

/* ---- log ---- */

static int log_lines(void *arg)
{
	char longer[10000];

	(void)arg;
	unsetenv("JOURNAL_STREAM");
	log_setup("prog", LOG_INFO);
	log_err("cannot %s", "do");
	log_warn("careful");
	log_info("name \"%s\" done", "x\nforged: line\x1b[2J");
	log_debug("invisible");
	errno = EXDEV;
	log_info("东门");
	CHECK(errno == EXDEV);
	memset(longer, 'y', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	log_info("%s", longer);
	return 0;
}

static int log_journal(void *arg)
{
	char stream[64];
	struct stat st;

	(void)arg;
	CHECK(fstat(STDERR_FILENO, &st) == 0);
	snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
	         (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_setup("prog", LOG_DEBUG);
	log_err("bad");
	log_debug("fine");
	/* Not our standard error: no prefix. */
	setenv("JOURNAL_STREAM", "1:1", 1);
	log_setup("prog", LOG_DEBUG);
	log_info("plain");
	return 0;
}

static void test_log(void **state)
{
	char *out, *line;
	int lines = 0;

	(void)state;
	assert_int_equal(base_child(log_lines, NULL, &out), 0);
	assert_non_null(strstr(out, "prog: error: cannot do\n"));
	assert_non_null(strstr(out, "prog: warning: careful\n"));
	assert_non_null(strstr(out, "prog: name \"x?forged: line?[2J\" done\n"));
	assert_non_null(strstr(out, "prog: 东门\n"));
	assert_null(strstr(out, "invisible"));
	for (line = out; (line = strchr(line, '\n')); line++)
		lines++;
	assert_int_equal(lines, 5);
	assert_int_equal(out[strlen(out) - 1], '\n');
	free(out);
	assert_int_equal(base_child(log_journal, NULL, &out), 0);
	assert_string_equal(out, "<3>prog: bad\n<7>prog: fine\nprog: plain\n");
	free(out);
}

/* ---- readiness and signals ---- */

static int ready_with(const char *name, socklen_t name_len, const char *env)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	char got[64] = "";

	memcpy(sa.sun_path, name, name_len);
	CHECK(bind(fd, (struct sockaddr *)&sa,
	           (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name_len)) == 0);
	setenv("NOTIFY_SOCKET", env, 1);
	daemon_ready();
	CHECK(recv(fd, got, sizeof(got) - 1, 0) == 7);
	CHECK(strcmp(got, "READY=1") == 0);
	close(fd);
	return 0;
}

static int ready_path(void *arg)
{
	return ready_with(arg, (socklen_t)strlen(arg), arg);
}

static int ready_abstract(void *arg)
{
	char name[32], env[32];
	int n = snprintf(env, sizeof(env), "@custos-test-%d", (int)getpid());

	(void)arg;
	memcpy(name, env, (size_t)n);
	name[0] = '\0';
	return ready_with(name, (socklen_t)n, env);
}

static int ready_alone(void *arg)
{
	(void)arg;
	unsetenv("NOTIFY_SOCKET");
	daemon_ready();
	setenv("NOTIFY_SOCKET", "relative", 1);
	daemon_ready();
	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	daemon_ready();
	return 0;
}

static void test_ready(void **state)
{
	char dir[PATH_MAX / 2], path[PATH_MAX];

	(void)state;
	base_dir_make(dir);
	snprintf(path, sizeof(path), "%s/notify", dir);
	run(ready_path, path, 0, "ready\n");
	run(ready_abstract, NULL, 0, "ready\n");
	run(ready_alone, NULL, 0, "cannot tell the service manager");
	base_dir_remove(dir);
}

static int signals(void *arg)
{
	struct signalfd_siginfo si;
	int fd = daemon_signal_fd();

	(void)arg;
	CHECK(fd >= 0);
	CHECK(read(fd, &si, sizeof(si)) < 0 && errno == EAGAIN);
	CHECK(kill(getpid(), SIGTERM) == 0); /* would kill us were it not blocked */
	CHECK(read(fd, &si, sizeof(si)) == sizeof(si) && si.ssi_signo == SIGTERM);
	CHECK(kill(getpid(), SIGINT) == 0);
	CHECK(read(fd, &si, sizeof(si)) == sizeof(si) && si.ssi_signo == SIGINT);
	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	return 0;
}

static int prepared(void *arg)
{
	struct rlimit rl;
	int fds[2];

	(void)arg;
	daemon_prepare();
	CHECK(getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur == rl.rlim_max);
	CHECK(pipe(fds) == 0);
	close(fds[0]);
	CHECK(write(fds[1], "x", 1) < 0 && errno == EPIPE);
	return 0;
}

static void test_signals(void **state)
{
	(void)state;
	run(signals, NULL, 0, "");
	run(prepared, NULL, 0, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_drop),
	        cmocka_unit_test(test_log),
	        cmocka_unit_test(test_ready),
	        cmocka_unit_test(test_signals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

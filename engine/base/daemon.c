/*
 * daemon.c — what a daemon does around its work: limits, identity, readiness, signals.
 *
 * Giving up root is done by hand and then proven: every id is read back, the capability sets are
 * cleared explicitly (a daemon configured to stay uid 0 in a private trial must lose them too) and
 * read back, and regaining uid 0 must fail. A half-dropped daemon never starts serving.
 */
#include "engine/base/base.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define NSS_BUFFER_BYTES (1024 * 1024)
#define GROUPS_MAX       32

void daemon_prepare(void)
{
	struct rlimit rl;

	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &rl) || rl.rlim_cur == rl.rlim_max)
		return;
	rl.rlim_cur = rl.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &rl))
		log_warn("cannot raise the limit of open files: %s", strerror(errno));
}

static int user_lookup(const char *user, uid_t *uid, gid_t *gid)
{
	struct passwd pw, *found = NULL;
	char *buf = malloc(NSS_BUFFER_BYTES);
	int err;

	if (!buf)
		return -ENOMEM;
	err = -getpwnam_r(user, &pw, buf, NSS_BUFFER_BYTES, &found);
	if (!err && !found)
		err = -ENOENT;
	if (!err) {
		*uid = pw.pw_uid;
		*gid = pw.pw_gid;
	} else {
		log_err("cannot run as user \"%s\": %s; create it or name another in custos.conf",
		        user, err == -ENOENT ? "no such user" : strerror(-err));
	}
	free(buf);
	return err;
}

static int group_lookup(const char *group, gid_t *gid)
{
	struct group gr, *found = NULL;
	char *buf = malloc(NSS_BUFFER_BYTES);
	int err;

	if (!buf)
		return -ENOMEM;
	err = -getgrnam_r(group, &gr, buf, NSS_BUFFER_BYTES, &found);
	if (!err && !found)
		err = -ENOENT;
	if (!err)
		*gid = gr.gr_gid;
	else
		log_err("cannot join group \"%s\": %s; create it or name another in custos.conf",
		        group, err == -ENOENT ? "no such group" : strerror(-err));
	free(buf);
	return err;
}

/* Empties all capability sets of the process and reads them back. */
static int caps_clear(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) ||
	    syscall(SYS_capset, &head, data) || syscall(SYS_capget, &head, data))
		return -errno;
	for (size_t i = 0; i < ARRAY_LEN(data); i++) {
		if (data[i].permitted || data[i].effective || data[i].inheritable)
			return -EPERM;
	}
	return 0;
}

static int become(uid_t uid, gid_t gid, const gid_t *groups, size_t n_groups)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	if (setgroups(n_groups, groups) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid))
		return -errno;
	if (getresuid(&r, &e, &s) || getresgid(&rg, &eg, &sg))
		return -errno;
	if (r != uid || e != uid || s != uid || rg != gid || eg != gid || sg != gid)
		return -EPERM;
	if (uid != 0 && (setuid(0) == 0 || setresuid((uid_t)-1, 0, (uid_t)-1) == 0))
		return -EPERM;
	return 0;
}

int daemon_drop(const char *user, const char *const *extra_groups)
{
	gid_t groups[GROUPS_MAX], gid = 0;
	size_t n = 0;
	uid_t uid = 0;
	int err;

	err = user_lookup(user, &uid, &gid);
	if (err)
		return err;
	if (geteuid() == 0) {
		groups[n++] = gid;
		for (; extra_groups && *extra_groups; extra_groups++) {
			if (n == GROUPS_MAX)
				return -EINVAL;
			err = group_lookup(*extra_groups, &groups[n++]);
			if (err)
				return err;
		}
		err = become(uid, gid, groups, n);
	} else if (getuid() != uid || geteuid() != uid) {
		log_err("cannot become user \"%s\": not root; start as root or as that user", user);
		return -EPERM;
	}
	if (!err)
		err = caps_clear();
	if (!err && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		err = -errno;
	if (err)
		log_err("cannot give up privileges for user \"%s\": %s", user, strerror(-err));
	return err;
}

static void notify(const char *message)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	ssize_t sent;
	int fd;

	if (len < 2 || len >= sizeof(sa.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(sa.sun_path, path, len);
	if (sa.sun_path[0] == '@')
		sa.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sent = sendto(fd, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&sa,
	              (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
	if (sent < 0)
		log_warn("cannot tell the service manager that we are ready: %s", strerror(errno));
	close(fd);
}

void daemon_ready(void)
{
	notify("READY=1");
	log_info("ready");
}

int daemon_signal_fd(void)
{
	sigset_t set;
	int fd, err;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	err = pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (err)
		return -err;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

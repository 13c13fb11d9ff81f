/*
 * session.c — mount, loop and unmount over libfuse (session.h).
 *
 * allow_other without default_permissions: the kernel checks nothing for us, so that the gate sees,
 * decides and logs everything. Direct I/O and read-only are set per open and here.
 */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fusefs/session.h"

#define THREADS_MAX 32
#define KICK_NS     (20 * NSEC_PER_MSEC)

extern char **environ;

struct session {
	struct fuse_session *se;
	pthread_t runner, kicker;
	atomic_bool running, stopped, done;
	bool kicking;
};

/* ---------------------------------------------------------------- mount point */

/* Could somebody who is not us swap the mount point for another folder? Root would then mount over
 * whatever they like. Every folder above it must be root's, and closed to others but for a sticky
 * one like /tmp. */
static int place_check(const char *mount, char *err, size_t err_bytes)
{
	char *real = realpath(mount, NULL), *slash;
	struct stat st;
	int ret = real ? 0 : -errno;

	if (ret)
		snprintf(err, err_bytes, "%s: %s", mount, strerror(-ret));
	while (real && !ret && (slash = strrchr(real, '/')) && real[1]) {
		slash[slash == real] = 0;
		if (lstat(real, &st))
			ret = -errno;
		else if (st.st_uid || ((st.st_mode & 022) && !(st.st_mode & S_ISVTX)))
			ret = -EPERM;
		if (ret)
			snprintf(err, err_bytes,
			         "%s: others than root can change %s above it; name a mount point "
			         "below root's folders",
			         mount, real);
	}
	free(real);
	return ret;
}

int session_prepare(const char *mount, char *err, size_t err_bytes)
{
	struct stat st, up;
	char parent[4096];
	int ret;

	if (stat(mount, &st) && errno == ENOTCONN) {
		log_warn("%s: taking away the mount of a gate that was killed", mount);
		session_unmount(mount);
	}
	ret = dir_ensure_parents(mount);
	if (ret) {
		snprintf(err, err_bytes,
		         "%s: %s; make the mount point or name another in gate { mount }", mount,
		         strerror(-ret));
		return ret;
	}
	snprintf(parent, sizeof(parent), "%s/..", mount);
	if (stat(mount, &st) || stat(parent, &up)) {
		ret = -errno;
		snprintf(err, err_bytes, "%s: %s", mount, strerror(-ret));
		return ret;
	}
	ret = geteuid() ? 0 : place_check(mount, err, err_bytes);
	if (ret)
		return ret;
	if (st.st_dev != up.st_dev) {
		snprintf(err, err_bytes,
		         "%s: something is mounted there; unmount it or name another mount point",
		         mount);
		return -EBUSY;
	}
	return 0;
}

static int run_fusermount(const char *mount)
{
	const char *const argv[] = {"fusermount3", "-u", "-z", "-q", mount, NULL};
	pid_t pid;
	int status, ret;

	ret = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);

	if (ret)
		return -ret;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EIO;
}

void session_unmount(const char *mount)
{
	if (geteuid() == 0)
		umount2(mount, MNT_DETACH | UMOUNT_NOFOLLOW);
	else
		(void)!run_fusermount(mount);
}

/* May an ordinary user give allow_other? (fusermount3 refuses the mount otherwise.) */
static bool others_allowed(void)
{
	char *text, *line, *save;
	bool yes = geteuid() == 0;
	size_t len;

	if (yes || file_read_all("/etc/fuse.conf", 65536, &text, &len))
		return yes;
	for (line = strtok_r(text, "\n", &save); line && !yes; line = strtok_r(NULL, "\n", &save)) {
		line += strspn(line, " \t");
		yes = !strncmp(line, "user_allow_other", 16) &&
		      !line[16 + strspn(line + 16, " \t\r")];
	}
	free(text);
	return yes;
}

/* ---------------------------------------------------------------- session */

int session_mount(const char *mount, struct fs_ref *ref, struct session **out, char *err,
                  size_t err_bytes)
{
	struct session *s = calloc(1, sizeof(*s));
	bool others = others_allowed();
	char options[128];
	const char *const argv[] = {"custosfs", "-o", options, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, (char **)argv);

	if (!s)
		return -ENOMEM;
	snprintf(options, sizeof(options),
	         "ro,nosuid,nodev,noexec,max_read=%u,fsname=custos,subtype=custosfs%s", FS_MAX_READ,
	         others ? ",allow_other" : "");
	if (!others)
		log_warn(
		        "only this user can enter %s: put user_allow_other into /etc/fuse.conf, or "
		        "start as root, to serve others",
		        mount);
	s->se = fuse_session_new(&args, &ops_table, sizeof(ops_table), ref);
	fuse_opt_free_args(&args);
	if (!s->se || fuse_session_mount(s->se, mount)) {
		snprintf(err, err_bytes,
		         "%s: cannot mount; is /dev/fuse there, and fusermount3 for others than "
		         "root?",
		         mount);
		if (s->se)
			fuse_session_destroy(s->se);
		free(s);
		return -EIO;
	}
	*out = s;
	return 0;
}

static void nothing(int sig)
{
	(void)sig; /* only interrupts the loop's wait */
}

int session_run(struct session *s)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	struct sigaction sa = {.sa_handler = nothing};
	sigset_t usr1;
	int ret;

	if (!config)
		return -ENOMEM;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigaction(SIGUSR1, &sa, NULL);
	pthread_sigmask(SIG_UNBLOCK, &usr1, NULL);
	fuse_loop_cfg_set_clone_fd(config, 0);
	fuse_loop_cfg_set_max_threads(config, THREADS_MAX);
	s->runner = pthread_self();
	atomic_store(&s->running, true);
	ret = atomic_load(&s->stopped) ? 0 : fuse_session_loop_mt(s->se, config);
	atomic_store(&s->done, true);
	fuse_loop_cfg_destroy(config);
	return ret < 0 ? ret : 0;
}

/* libfuse's loop sees its exit flag only when its wait is interrupted; a signal may come just
 * before the wait, hence again and again until the loop is done. */
static void *kick(void *arg)
{
	const struct timespec pause = {.tv_nsec = (long)KICK_NS};
	struct session *s = arg;

	while (!atomic_load(&s->done)) {
		if (atomic_load(&s->running))
			pthread_kill(s->runner, SIGUSR1);
		nanosleep(&pause, NULL);
	}
	return NULL;
}

void session_stop(struct session *s)
{
	if (atomic_exchange(&s->stopped, true))
		return;
	fuse_session_exit(s->se);
	s->kicking = !pthread_create(&s->kicker, NULL, kick, s);
	if (!s->kicking)
		log_err("cannot stop in order: no thread for it");
}

void session_invalidate(void *session, uint64_t node)
{
	struct session *s = session;
	int ret = fuse_lowlevel_notify_inval_inode(s->se, node, 0, 0);

	/* ENOENT: the kernel has no such inode any more. */
	if (ret && ret != -ENOENT)
		log_warn("pages could not be invalidated: %s", strerror(-ret));
}

void session_forget_name(void *session, const char *name)
{
	struct session *s = session;
	int ret = fuse_lowlevel_notify_inval_entry(s->se, FUSE_ROOT_ID, name, strlen(name));

	if (ret && ret != -ENOENT)
		log_warn("a name could not be forgotten: %s", strerror(-ret));
}

void session_free(struct session *s)
{
	if (!s)
		return;
	atomic_store(&s->done, true);
	if (s->kicking)
		pthread_join(s->kicker, NULL);
	fuse_session_destroy(s->se);
	free(s);
}

/*
 * custosfs.c — the gate's program: options, folders, and two processes.
 *
 *   parent  (root, or whoever starts it) makes folders, passes on SIGTERM, and always takes the
 *           mount away when the child has gone, however it went
 *   child   mounts, becomes the gate's user for good, then serves
 */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fusefs/session.h"
#include "fusefs/status.h"
#include "fusefs/sweep.h"

#define VERSION   "0.1"
#define GATE_NAME "main"

enum { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2 };

static const char usage[] =
        "usage: custosfs [--config FILE] [--check]\n"
        "Serves granted footage as read-only files below the mount point of custos.conf.\n"
        "  --config FILE   default $CUSTOS_CONF, else /etc/custos/custos.conf\n"
        "  --check         validate the configuration and exit\n"
        "  --help, --version\n";

/* ---------------------------------------------------------------- folders (parent) */

static int make_dir(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	int ret = dir_ensure(path, mode, uid, gid);

	if (ret)
		log_err("%s: %s; make it, or start custosfs as root", path, strerror(-ret));
	return ret;
}

static int group_id(const char *name, gid_t *out)
{
	const struct group *g = getgrnam(name); /* one thread yet */

	if (!g)
		return -ENOENT;
	*out = g->gr_gid;
	return 0;
}

static int make_folders(const struct conf *conf)
{
	bool root = geteuid() == 0;
	uid_t uid = (uid_t)-1;
	gid_t gid = (gid_t)-1;
	char path[PATH_MAX];
	int ret = 0;

	if (root) {
		ret = conf_uid(conf->gate_user, &uid);
		if (!ret)
			ret = group_id(conf->audit_group, &gid);
		if (ret) {
			log_err("user \"%s\" or group \"%s\" does not exist; create them or name "
			        "others in %s",
			        conf->gate_user, conf->audit_group, conf->file);
			return ret;
		}
	}
	if ((ret = dir_ensure_parents(conf->run)) || (ret = dir_ensure_parents(conf->state))) {
		log_err("%s, %s: %s; make them, or start custosfs as root", conf->run, conf->state,
		        strerror(-ret));
		return ret;
	}
	snprintf(path, sizeof(path), "%s/gate", conf->run);
	ret = make_dir(path, 0755, uid, gid);
	snprintf(path, sizeof(path), "%s/gate", conf->state);
	if (!ret)
		ret = make_dir(path, 0750, uid, gid);
	conf_path(conf, CONF_LOG_GATE, path, sizeof(path));
	/* setgid: what the gate makes there belongs to the audit group, too. */
	if (!ret)
		ret = make_dir(path, root ? 02750 : 0750, uid, gid);
	return ret;
}

/* ---------------------------------------------------------------- serving (child) */

struct server {
	const struct conf *conf;
	struct session *session;
	struct aud_log *log;
	struct fs_ref ref;
	struct lease *lease;
	struct sweep *sweep;
	struct status *status;
	pthread_t signals;
	bool signals_on;
	int signal_fd;
};

static void *signals_main(void *arg)
{
	struct server *s = arg;
	struct pollfd p = {.fd = s->signal_fd, .events = POLLIN};

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	log_info("stopping");
	session_stop(s->session);
	return NULL;
}

static int log_mount(struct server *s)
{
	struct aud_record rec = {.op = AUD_OP_MOUNT,
	                         .uid = geteuid(),
	                         .login_uid = AUD_NO_UID,
	                         .pid = (uint32_t)getpid()};
	json_t *o = json_pack("{ss}", "mount", s->conf->mount);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	int ret = text ? aud_commit(s->log, &rec, text, strlen(text), NULL) : -ENOMEM;

	free(text);
	json_decref(o);
	return ret;
}

static int open_log(struct server *s)
{
	const struct aud_options opt = {.origin = "custos.gate/" GATE_NAME};
	char path[PATH_MAX], err[256] = "";
	int ret;

	conf_path(s->conf, CONF_LOG_GATE, path, sizeof(path));
	ret = aud_open(path, &opt, &s->log, err, sizeof(err));
	if (ret)
		log_err("audit log %s: %s; nothing is served without it", path,
		        *err ? err : strerror(-ret));
	return ret;
}

static int start_threads(struct server *s)
{
	struct lease_options lease = {
	        .fs = s->ref.fs,
	        .policy_user = s->conf->policy_user,
	        .gate = GATE_NAME,
	        .invalidate = session_invalidate,
	        .arg = s->session,
	};
	struct sweep_options sweep = {
	        .fs = s->ref.fs,
	        .invalidate = session_invalidate,
	        .forget_name = session_forget_name,
	        .arg = s->session,
	};
	char policy[PATH_MAX], gate[PATH_MAX];
	int ret;

	lease.socket = conf_path(s->conf, CONF_SOCK_POLICY, policy, sizeof(policy));
	conf_path(s->conf, CONF_SOCK_GATE, gate, sizeof(gate));
	if ((ret = sweep_start(&sweep, &s->sweep)) || (ret = lease_start(&lease, &s->lease))) {
		log_err("cannot start: %s", strerror(-ret));
		return ret;
	}
	ret = status_start(s->ref.fs, s->lease, gate, s->conf->mount, &s->status);
	if (ret) {
		log_err("%s: %s%s", gate, strerror(-ret),
		        ret == -EADDRINUSE ? "; another gate serves this configuration" : "");
		return ret;
	}
	ret = -pthread_create(&s->signals, NULL, signals_main, s);
	s->signals_on = !ret;
	return ret;
}

static void stop(struct server *s)
{
	status_stop(s->status);
	lease_stop(s->lease);
	sweep_stop(s->sweep);
	if (s->signals_on) {
		/* It may still wait for a signal: unmounted by hand. */
		kill(getpid(), SIGTERM);
		pthread_join(s->signals, NULL);
	}
	fs_free(s->ref.fs);
	if (s->log)
		aud_close(s->log);
	session_free(s->session);
}

static int serve(const struct conf *conf, pid_t parent)
{
	const char *const groups[] = {conf->store_group, NULL};
	struct server s = {.conf = conf};
	char err[256] = "";
	int ret = session_mount(conf->mount, &s.ref, &s.session, err, sizeof(err));

	if (ret) {
		log_err("%s", err);
		return EXIT_REFUSED;
	}
	s.signal_fd = daemon_signal_fd();
	if (s.signal_fd < 0 || daemon_drop(conf->gate_user, groups)) {
		session_free(s.session);
		return EXIT_REFUSED;
	}
	/* After the drop: a change of uid clears it. A gate never outlives who would unmount it. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	/* One buffer per read, up to 1 MiB: from the heap, not a fresh mapping each time. */
	mallopt(M_MMAP_THRESHOLD, 16 << 20);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
	ret = getppid() == parent ? 0 : -ECHILD;
	if (!ret)
		ret = open_log(&s);
	if (!ret && (ret = fs_new(conf, s.log, &s.ref.fs)))
		log_err("cannot start: %s", strerror(-ret));
	if (!ret)
		ret = log_mount(&s);
	if (!ret)
		ret = start_threads(&s);
	if (!ret) {
		daemon_ready();
		ret = session_run(s.session);
	}
	stop(&s);
	return ret ? EXIT_REFUSED : EXIT_DONE;
}

/* ---------------------------------------------------------------- watching (parent) */

/* Passes on SIGTERM and SIGINT until the child has gone; returns what the child returned. */
static int watch(pid_t child, const sigset_t *signals)
{
	int status;

	for (;;) {
		int sig = sigwaitinfo(signals, NULL);

		if (sig == SIGTERM || sig == SIGINT)
			kill(child, SIGTERM);
		if (waitpid(child, &status, WNOHANG) == child)
			break;
	}
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	log_err("the serving process died of signal %d; unmounting", WTERMSIG(status));
	return EXIT_REFUSED;
}

static int run(const struct conf *conf)
{
	sigset_t signals, before;
	pid_t parent = getpid(), child;
	char err[4352] = "";
	int ret;

	if (make_folders(conf))
		return EXIT_REFUSED;
	if (session_prepare(conf->mount, err, sizeof(err))) {
		log_err("%s", err);
		return EXIT_REFUSED;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, &before);
	child = fork();
	if (child < 0) {
		log_err("fork: %s", strerror(errno));
		return EXIT_REFUSED;
	}
	if (!child) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		exit(serve(conf, parent));
	}
	ret = watch(child, &signals);
	session_unmount(conf->mount);
	return ret;
}

/* ---------------------------------------------------------------- options */

static int check(const struct conf *conf)
{
	uid_t uid;

	for (size_t i = 0; i < 2; i++) {
		const char *user = i ? conf->policy_user : conf->gate_user;

		if (conf_uid(user, &uid)) {
			log_err("%s: user \"%s\" does not exist; create it or name another",
			        conf->file, user);
			return EXIT_REFUSED;
		}
	}
	if (!conf->mount || !*conf->mount) {
		log_err("%s: no mount point; set gate { mount = … }", conf->file);
		return EXIT_REFUSED;
	}
	return EXIT_DONE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
	                                        {"check", no_argument, NULL, 'k'},
	                                        {"help", no_argument, NULL, 'h'},
	                                        {"version", no_argument, NULL, 'V'},
	                                        {NULL, 0, NULL, 0}};
	const char *file = NULL;
	bool only_check = false;
	struct conf *conf;
	char err[1024] = "";
	int c, ret;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'c')
			file = optarg;
		else if (c == 'k')
			only_check = true;
		else if (c == 'h')
			return fputs(usage, stdout) < 0;
		else if (c == 'V')
			return puts("custosfs " VERSION) < 0;
		else
			return fputs(usage, stderr), EXIT_USAGE;
	}
	if (optind < argc)
		return fputs(usage, stderr), EXIT_USAGE;
	log_setup("custosfs", LOG_INFO);
	if (conf_load(file, &conf, err, sizeof(err))) {
		log_err("%s", err);
		return EXIT_REFUSED;
	}
	daemon_prepare();
	ret = check(conf);
	if (!ret && only_check)
		printf("%s is in order\n", conf->file);
	else if (!ret)
		ret = run(conf);
	conf_free(conf);
	return ret;
}

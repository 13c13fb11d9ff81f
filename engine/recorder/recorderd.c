/*
 * custos-recorderd — the only writer of the stores: starts an ingest child for each camera, takes
 * fed streams, recycles by the newest signed policy. Page: custos-recorderd(8).
 *
 * Started as root it makes its folders, gives a store that still belongs to root to its own user,
 * and becomes that user. Ready when every store is recovered and the control socket answers.
 */
#include "engine/recorder/recorder.h"

#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define VERSION "1"

static void usage(FILE *to)
{
	fputs("usage: custos-recorderd [--config FILE] [--check] [--help] [--version]\n", to);
}

/* ---- as root ---- */

static int owner_uid, owner_gid; /* nftw has no argument; used before any thread exists */

static int give(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	return lchown(path, (uid_t)owner_uid, (gid_t)owner_gid);
}

/* A store made by root becomes the recorder's; any other owner is left alone. */
static int give_store(const char *path, uid_t uid, gid_t gid)
{
	struct stat st;

	if (lstat(path, &st) || !S_ISDIR(st.st_mode) || st.st_uid != 0 || uid == 0)
		return 0; /* whatever is wrong with it, opening it says it better */
	owner_uid = (int)uid;
	owner_gid = (int)gid;
	if (nftw(path, give, 64, FTW_PHYS) || chmod(path, 0750)) {
		log_err("store %s cannot be given to the recorder: %s", path, strerror(errno));
		return -errno;
	}
	return 0;
}

static int folder(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	int err = dir_ensure_parents(path);
	if (!err)
		err = dir_ensure(path, mode, uid, gid);
	if (err)
		log_err("folder %s: %s", path, strerror(-err));
	return err;
}

/* The folders of socket and log; parents are root's (or whoever we are in a private trial). */
static int make_folders(const struct conf *c, uid_t uid, gid_t gid, gid_t audit)
{
	char path[PATH_MAX];

	int err = dir_ensure_parents(c->run);
	if (!err)
		err = folder(c->run, 0755, (uid_t)-1, (gid_t)-1);
	if (!err)
		err = folder(c->state, 0755, (uid_t)-1, (gid_t)-1);
	snprintf(path, sizeof(path), "%s/recorder", c->run);
	if (!err)
		err = folder(path, 0755, uid, gid);
	snprintf(path, sizeof(path), "%s/recorder", c->state);
	/* setgid: the log's files are the auditors' to read, whatever our own group is */
	if (!err)
		err = folder(path, 02750, uid, audit);
	conf_path(c, CONF_LOG_RECORD, path, sizeof(path));
	if (!err)
		err = folder(path, 02750, uid, audit);
	return err;
}

static int become_recorder(const struct conf *c)
{
	const char *groups[] = {c->store_group, c->audit_group, NULL};
	gid_t store_gid = (gid_t)-1, audit_gid = (gid_t)-1, gid = (gid_t)-1;
	uid_t uid;
	bool root = geteuid() == 0;

	int err = conf_uid(c->recorder_user, &uid);
	if (err) {
		log_err("recorder_user \"%s\": no such user; create it or name another in %s",
		        c->recorder_user, c->file);
		return err;
	}
	if (root) {
		struct group *g = getgrnam(c->store_group);
		store_gid = g ? g->gr_gid : (gid_t)-1;
		g = getgrnam(c->audit_group);
		audit_gid = g ? g->gr_gid : (gid_t)-1;
		struct passwd *pw = getpwuid(uid);
		gid = pw ? pw->pw_gid : (gid_t)-1;
	}
	err = make_folders(c, root ? uid : (uid_t)-1, gid, audit_gid);
	for (size_t i = 0; root && !err && i < c->n_stores; i++)
		err = give_store(c->stores[i].path, uid, store_gid);
	if (err)
		return err;
	/* io_uring's registered buffers are locked memory. */
	struct rlimit rl = {RLIM_INFINITY, RLIM_INFINITY};
	if (root && setrlimit(RLIMIT_MEMLOCK, &rl))
		log_debug("cannot raise the limit of locked memory: %s", strerror(errno));
	umask(027);
	return daemon_drop(c->recorder_user, root ? groups : NULL);
}

/* ---- life ---- */

static void on_signal(void *arg)
{
	struct recorder *r = arg;
	struct signalfd_siginfo si;
	if (read(r->signal.fd, &si, sizeof(si)) == (ssize_t)sizeof(si))
		r->stop = true;
}

static void on_snapshot(void *arg)
{
	struct recorder *r = arg;
	policy_run(r->policy, r);
}

/* Everything up to "ready". One line in err. */
static int open_all(struct recorder *r, int signal_fd, char *err, size_t err_bytes)
{
	snprintf(err, err_bytes, "cannot start");
	int e = conf_uid(r->conf->policy_user, &r->policy_uid);
	if (e) {
		snprintf(err, err_bytes, "policy_user \"%s\": no such user", r->conf->policy_user);
		return e;
	}
	r->self_uid = geteuid();
	e = loop_open(r);
	if (!e)
		e = loop_add(r, &r->signal, signal_fd, on_signal, r);
	if (!e)
		e = recorder_open_stores(r, err, err_bytes);
	if (!e)
		e = journal_open(r, err, err_bytes);
	if (!e)
		e = policy_open(r, &r->policy);
	if (!e)
		e = loop_add(r, &r->snapshots, policy_fd(r->policy), on_snapshot, r);
	if (!e)
		e = supervisor_init(r, err, err_bytes);
	if (!e)
		e = control_open(r, err, err_bytes);
	return e;
}

/* Reverse order; whatever was opened. Those who wait for an answer get theirs while the cameras
 * that it is about still exist. */
static void close_all(struct recorder *r)
{
	control_close(r);
	supervisor_close(r);
	policy_close(r->policy);
	recorder_close_stores(r);
	if (r->log)
		aud_close(r->log);
	if (r->epoll_fd >= 0)
		close(r->epoll_fd);
}

static int serve(const struct conf *conf)
{
	struct recorder *r = calloc(1, sizeof(*r));
	char err[1024] = "";
	int signal_fd = r ? daemon_signal_fd() : -ENOMEM;

	if (signal_fd < 0) {
		log_err("cannot start: %s", strerror(-signal_fd));
		free(r);
		return 1;
	}
	r->conf = conf;
	r->epoll_fd = -1;
	int e = open_all(r, signal_fd, err, sizeof(err));
	if (e) {
		log_err("%s", err);
	} else {
		daemon_ready();
		e = loop_run(r);
	}
	close_all(r);
	close(signal_fd);
	free(r);
	return e ? 1 : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
	        {"config", required_argument, NULL, 'c'},
	        {"check", no_argument, NULL, 'k'},
	        {"help", no_argument, NULL, 'h'},
	        {"version", no_argument, NULL, 'v'},
	        {NULL, 0, NULL, 0},
	};
	const char *file = NULL;
	char err[1024] = "";
	struct conf *conf;
	bool check = false;

	for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (o == 'c')
			file = optarg;
		else if (o == 'k')
			check = true;
		else {
			if (o == 'v')
				puts("custos-recorderd " VERSION);
			else
				usage(o == 'h' ? stdout : stderr);
			return o == '?' ? 2 : 0;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 2;
	}
	log_setup("custos-recorderd", LOG_INFO);
	if (conf_load(file, &conf, err, sizeof(err))) {
		log_err("%s", err);
		return 1;
	}
	int rc = 0;
	uid_t uid;
	if (check && conf_uid(conf->recorder_user, &uid)) {
		log_err("recorder_user \"%s\": no such user; create it or name another in %s",
		        conf->recorder_user, conf->file);
		rc = 1;
	} else if (check) {
		printf("%s is in order\n", conf->file);
	} else {
		daemon_prepare();
		rc = become_recorder(conf) ? 1 : serve(conf);
	}
	conf_free(conf);
	return rc;
}

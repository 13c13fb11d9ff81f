/*
 * custos-policyd — decides who may see what, and keeps the log of it. See custos-policyd(8).
 *
 * As root: folders and the signing key are made, then root is given up for good. One thread serves
 * the socket; besides it only the audit log's committer runs.
 */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policyd/apiconfig.h"
#include "policyd/policyd.h"

#define EXIT_USAGE 2

static void usage(FILE *to)
{
	fprintf(to, "usage: custos-policyd [--config FILE] [--check] [--help] [--version]\n");
}

static int fail(const char *what, const char *path, int err)
{
	log_err("%s %s: %s; check its owner and mode", what, path, strerror(-err));
	return err;
}

static int ensure(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	int err = dir_ensure(path, mode, uid, gid);

	return err ? fail("cannot make folder", path, err) : 0;
}

/* state/policy and run/policy for the daemon's user; as an ordinary user just its own. */
static int make_folders(const struct conf *c)
{
	char path[PATH_MAX];
	uid_t uid = (uid_t)-1;
	gid_t gid = (gid_t)-1;
	struct group *gr;
	struct stat st;
	int err;

	if (geteuid() == 0) {
		err = conf_uid(c->policy_user, &uid);
		gr = getgrnam(c->audit_group);
		if (err || !gr) {
			log_err("user \"%s\" or group \"%s\" does not exist; make them, or name "
			        "others in "
			        "custos.conf",
			        c->policy_user, c->audit_group);
			return -ENOENT;
		}
		gid = gr->gr_gid;
	}
	err = dir_ensure_parents(c->state);
	if (!err)
		err = dir_ensure_parents(c->run);
	if (err)
		return fail("cannot make the folders of", c->state, err);
	/* Set-group-id, so that auditors can read what the log writes later. */
	snprintf(path, sizeof(path), "%s/policy", c->state);
	err = ensure(path, 02750, uid, gid);
	if (err)
		return err;
	conf_path(c, CONF_LOG_POLICY, path, sizeof(path));
	err = ensure(path, 02750, uid, gid);
	if (err)
		return err;
	snprintf(path, sizeof(path), "%s/policy", c->run);
	err = ensure(path, 0755, uid, (gid_t)-1);
	if (err)
		return err;
	snprintf(path, sizeof(path), "%s/keys", c->state);
	return stat(path, &st) ? ensure(path, 0755, (uid_t)-1, (gid_t)-1) : 0;
}

/* Opens or makes the key while still root, and gives it to the daemon's user. */
static int open_key(const struct conf *c, struct note_key **key, bool *made)
{
	char path[PATH_MAX], line[256];
	uid_t uid;
	int err;

	conf_path(c, CONF_KEY_SIGN, path, sizeof(path));
	err = note_key_open(path, "custos.policy", key, made, line, sizeof(line));
	if (err) {
		log_err("signing key: %s", line);
		return err;
	}
	if (geteuid() == 0 && !conf_uid(c->policy_user, &uid) && chown(path, uid, (gid_t)-1)) {
		err = -errno;
		note_key_close(*key);
		*key = NULL;
		return fail("cannot give away", path, err);
	}
	return 0;
}

static int serve(struct policyd *p, struct line_server *server, int signal_fd)
{
	struct pollfd fds[2] = {{.fd = line_server_fd(server), .events = POLLIN},
	                        {.fd = signal_fd, .events = POLLIN}};

	for (;;) {
		int64_t next_ns = policyd_tick(p);
		/* Rounded up: waking a moment early would turn in circles. */
		int timeout_ms = (int)(next_ns / NSEC_PER_MSEC) + 1;

		if (poll(fds, ARRAY_LEN(fds), timeout_ms) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			return 0;
		if (fds[0].revents)
			line_server_run(server);
	}
}

static int run(const struct conf *c, struct note_key *key, bool made)
{
	struct line_server *server = NULL;
	struct policyd p;
	char line[512], path[PATH_MAX];
	int signal_fd = daemon_signal_fd(), err;

	if (signal_fd < 0)
		return signal_fd;
	err = policyd_open(&p, c, key, line, sizeof(line));
	if (err) {
		log_err("%s", line);
		close(signal_fd);
		return err;
	}
	log_info("%s signing key, fingerprint %s", made ? "made a" : "the", p.fingerprint);
	conf_path(c, CONF_SOCK_POLICY, path, sizeof(path));
	err = line_server_open(path, policyd_handle, policyd_gone, &p, &server);
	if (err) {
		log_err("cannot listen at %s: %s", path,
		        err == -EADDRINUSE ? "another custos-policyd is there" : strerror(-err));
	} else {
		daemon_ready();
		err = serve(&p, server, signal_fd);
		line_server_close(server);
	}
	policyd_close(&p);
	close(signal_fd);
	return err;
}

/* Both files, without touching anything else. */
static int check(const struct conf *c)
{
	struct policyd p = {.conf = c};
	struct pol_conf *policy;
	char line[512];
	int err = policy_file_read(&p, &policy, line, sizeof(line));

	if (err)
		log_err("%s", line);
	else
		printf("%s and %s are in order\n", c->file, c->policy);
	policyconf_free(policy);
	return err;
}

static int parse_args(int argc, char **argv, const char **config, bool *only_check)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
	                                        {"check", no_argument, NULL, 'k'},
	                                        {"help", no_argument, NULL, 'h'},
	                                        {"version", no_argument, NULL, 'v'},
	                                        {0}};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'c':
			*config = optarg;
			break;
		case 'k':
			*only_check = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		case 'v':
			printf("custos-policyd %s\n", POLICYD_VERSION);
			exit(0);
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return EXIT_USAGE;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *config = NULL, *groups[2] = {NULL};
	bool only_check = false, made = false;
	struct note_key *key = NULL;
	struct conf *conf;
	char line[512];
	int err;

	log_setup("custos-policyd", LOG_INFO);
	err = parse_args(argc, argv, &config, &only_check);
	if (err)
		return err;
	if (conf_load(config, &conf, line, sizeof(line))) {
		log_err("%s", line);
		return 1;
	}
	if (only_check) {
		err = check(conf);
		conf_free(conf);
		return err ? 1 : 0;
	}
	daemon_prepare();
	umask(022);
	err = make_folders(conf);
	if (!err)
		err = open_key(conf, &key, &made);
	groups[0] = conf->audit_group;
	if (!err)
		err = daemon_drop(conf->policy_user, groups);
	umask(027);
	if (!err)
		err = run(conf, key, made);
	note_key_close(key);
	conf_free(conf);
	return err ? 1 : 0;
}

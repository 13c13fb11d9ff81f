/*
 * status.c — answers on gate.sock (status.h).
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fusefs/status.h"
#include "policyd/line.h"

struct status {
	struct fs *fs;
	struct lease *lease;
	char *mount;
	struct line_server *server;
	int stop_fd;
	pthread_t thread;
};

static json_t *make_reply(struct status *s)
{
	struct fs *fs = s->fs;
	int64_t left = gate_lease_left_ns(fs->gate);
	bool failed = aud_failed(fs->log) || handles_log_ok(fs->handles) != 0;

	return json_pack("{sb ss sI sI sI sI s{sI sb} sI sI}", "ok", 1, "mount", s->mount,
	                 "lease_ms_left", (json_int_t)(left > 0 ? left / NSEC_PER_MSEC : 0),
	                 "grants", (json_int_t)gate_count(fs->gate), "handles",
	                 (json_int_t)handles_count(fs->handles), "epoch",
	                 (json_int_t)lease_epoch(s->lease), "log", "durable",
	                 (json_int_t)aud_durable(fs->log), "failed", failed, "reads",
	                 (json_int_t)handles_reads(fs->handles), "denials",
	                 (json_int_t)deny_total(fs->denials));
}

static void answer(void *arg, struct line_conn *conn, const struct line_peer *peer, json_t *req)
{
	static const char *const fields[] = {"v", "op", NULL};
	const char *op = json_string_value(json_object_get(req, "op"));
	json_t *reply;

	if (peer->fd >= 0)
		close(peer->fd);
	if (!op || strcmp(op, "status") != 0) {
		line_reply_error(conn, EINVAL, "the gate answers \"status\" alone");
		return;
	}
	if (line_fields_only(conn, req, fields))
		return;
	reply = make_reply(arg);
	if (reply)
		line_reply(conn, reply);
	else
		line_reply_error(conn, ENOMEM, "no memory");
}

static void gone(void *arg, struct line_conn *conn)
{
	(void)arg; /* every line is answered at once: nothing is kept */
	(void)conn;
}

static void *status_main(void *arg)
{
	struct status *s = arg;
	struct pollfd p[2] = {
	        {.fd = line_server_fd(s->server), .events = POLLIN},
	        {.fd = s->stop_fd, .events = POLLIN},
	};

	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents)
			break;
		line_server_run(s->server);
	}
	return NULL;
}

static void status_free(struct status *s)
{
	if (s->server)
		line_server_close(s->server);
	if (s->stop_fd >= 0)
		close(s->stop_fd);
	free(s->mount);
	free(s);
}

int status_start(struct fs *fs, struct lease *lease, const char *socket, const char *mount,
                 struct status **out)
{
	struct status *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return -ENOMEM;
	s->fs = fs;
	s->lease = lease;
	s->mount = strdup(mount);
	s->stop_fd = eventfd(0, EFD_CLOEXEC);
	ret = s->mount && s->stop_fd >= 0 ? 0 : -ENOMEM;
	if (!ret)
		ret = line_server_open(socket, answer, gone, s, &s->server);
	if (!ret)
		ret = -pthread_create(&s->thread, NULL, status_main, s);
	if (ret) {
		status_free(s);
		return ret;
	}
	*out = s;
	return 0;
}

void status_stop(struct status *s)
{
	uint64_t one = 1;

	if (!s)
		return;
	if (write(s->stop_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(s->thread, NULL);
	status_free(s);
}

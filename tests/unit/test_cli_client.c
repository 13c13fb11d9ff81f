/*
 * test_cli_client.c — the asking end of the line protocol against real and false servers.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/support_cli.h"

#define OTHER_UID 65533

/* A server on a thread of its own: "echo" answers, "silent" never does, "no" refuses. */
struct world {
	char *dir, *path;
	struct line_server *server;
	pthread_t thread;
	int stop_fd;
};

static void handler(void *arg, struct line_conn *conn, const struct line_peer *peer, json_t *req)
{
	const char *op = json_string_value(json_object_get(req, "op"));
	struct stat st = {0};

	(void)arg;
	if (peer->fd >= 0) {
		fstat(peer->fd, &st);
		close(peer->fd);
	}
	if (strcmp(op, "no") == 0)
		line_reply_error(conn, EACCES, "%s: you may not; ask somebody", op);
	else if (strcmp(op, "silent") != 0)
		line_reply(conn, json_pack("{s:O?, s:I}", "n", json_object_get(req, "n"), "ino",
		                           (json_int_t)st.st_ino));
}

static void *serve(void *arg)
{
	struct world *w = arg;
	struct pollfd p[2] = {{.fd = line_server_fd(w->server), .events = POLLIN},
	                      {.fd = w->stop_fd, .events = POLLIN}};

	while (poll(p, 2, -1) >= 0 && !p[1].revents)
		line_server_run(w->server);
	return NULL;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->dir = cli_scratch();
	assert_int_equal(chmod(w->dir, 0777), 0);
	w->path = cli_path(w->dir, "s");
	w->stop_fd = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(line_server_open(w->path, handler, NULL, w, &w->server), 0);
	assert_int_equal(pthread_create(&w->thread, NULL, serve, w), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	assert_int_equal(eventfd_write(w->stop_fd, 1), 0);
	pthread_join(w->thread, NULL);
	line_server_close(w->server);
	close(w->stop_fd);
	free(w->path);
	cli_scratch_remove(w->dir);
	free(w);
	return 0;
}

static json_t *ask(struct line_client *c, const char *op, int n, int fd)
{
	json_t *req = json_pack("{s:s, s:i}", "op", op, "n", n), *reply = NULL;

	assert_int_equal(line_call(c, req, fd, HANG_GUARD_MS * NSEC_PER_MSEC, &reply), 0);
	json_decref(req);
	return reply;
}

static void test_calls(void **state)
{
	struct world *w = *state;
	struct line_client *c;
	struct stat st;
	json_t *reply;
	FILE *f = tmpfile();

	assert_int_equal(fstat(fileno(f), &st), 0);
	assert_int_equal(line_connect(w->path, geteuid(), NSEC_PER_SEC, &c), 0);
	for (int n = 0; n < 100; n++) {
		reply = ask(c, "echo", n, n == 50 ? fileno(f) : -1);
		assert_true(json_is_true(json_object_get(reply, "ok")));
		assert_int_equal(json_integer_value(json_object_get(reply, "n")), n);
		assert_int_equal(json_integer_value(json_object_get(reply, "ino")),
		                 n == 50 ? (json_int_t)st.st_ino : 0);
		json_decref(reply);
	}
	reply = ask(c, "no", 0, -1);
	assert_true(json_is_false(json_object_get(reply, "ok")));
	assert_int_equal(line_errno_parse(json_string_value(json_object_get(reply, "code"))),
	                 EACCES);
	json_decref(reply);
	line_disconnect(c);
	fclose(f);
}

static void test_timeout_ends_the_client(void **state)
{
	struct world *w = *state;
	json_t *req = json_pack("{s:s}", "op", "silent"), *reply;
	struct line_client *c;

	assert_int_equal(line_connect(w->path, geteuid(), NSEC_PER_SEC, &c), 0);
	assert_int_equal(line_call(c, req, -1, 20 * NSEC_PER_MSEC, &reply), -ETIMEDOUT);
	json_object_set_new(req, "op", json_string("echo"));
	assert_int_equal(line_call(c, req, -1, NSEC_PER_SEC, &reply), -EPIPE);
	line_disconnect(c);
	json_decref(req);
}

static void test_too_long_is_not_sent(void **state)
{
	struct world *w = *state;
	char *text = calloc(1, LINE_MAX_BYTES + 1);
	json_t *req, *reply;
	struct line_client *c;

	memset(text, 'x', LINE_MAX_BYTES);
	req = json_pack("{s:s, s:s}", "op", "echo", "n", text);
	assert_int_equal(line_connect(w->path, geteuid(), NSEC_PER_SEC, &c), 0);
	assert_int_equal(line_call(c, req, -1, NSEC_PER_SEC, &reply), -EMSGSIZE);
	reply = ask(c, "echo", 7, -1);
	assert_int_equal(json_integer_value(json_object_get(reply, "n")), 7);
	json_decref(reply);
	json_decref(req);
	line_disconnect(c);
	free(text);
}

static void test_nobody_there(void **state)
{
	struct world *w = *state;
	char *none = cli_path(w->dir, "none"), *file = cli_path(w->dir, "file");
	char longer[200];
	struct line_client *c;

	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	cli_write_file(file, "");
	assert_int_equal(line_connect(none, geteuid(), NSEC_PER_SEC, &c), -ENOENT);
	assert_int_equal(line_connect(file, geteuid(), NSEC_PER_SEC, &c), -ECONNREFUSED);
	assert_int_equal(line_connect(longer, geteuid(), NSEC_PER_SEC, &c), -ENAMETOOLONG);
	free(none);
	free(file);
}

/* A false server in a child process, of another user if uid is not -1. It accepts one connection,
 * reads a little, answers with `say`, waits for the other side to hang up. */
static pid_t false_server(const char *path, uid_t uid, const char *say)
{
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct sockaddr_un a = {.sun_family = AF_UNIX};
		int s = socket(AF_UNIX, SOCK_STREAM, 0), fd;
		char buf[4096];

		snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
		if (uid != (uid_t)-1 && setresuid(uid, uid, uid) != 0)
			_exit(1);
		if (bind(s, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(s, 1) != 0 ||
		    write(ready[1], "", 1) != 1)
			_exit(1);
		fd = accept(s, NULL, NULL);
		if (*say && read(fd, buf, sizeof(buf)) > 0 && write(fd, say, strlen(say)) < 0)
			_exit(1);
		if (*say)
			shutdown(fd, SHUT_WR);
		while (read(fd, buf, sizeof(buf)) > 0)
			;
		_exit(0);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static void test_server_of_another_user(void **state)
{
	struct world *w = *state;
	char *path = cli_path(w->dir, "false");
	struct line_client *c;
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	pid = false_server(path, OTHER_UID, "");
	assert_int_equal(line_connect(path, OTHER_UID - 1, NSEC_PER_SEC, &c), -EPERM);
	waitpid(pid, &status, 0);
	unlink(path);
	pid = false_server(path, OTHER_UID, "");
	assert_int_equal(line_connect(path, OTHER_UID, NSEC_PER_SEC, &c), 0);
	line_disconnect(c);
	waitpid(pid, &status, 0);
	/* Root may stand in for any daemon. */
	assert_int_equal(line_connect(w->path, OTHER_UID, NSEC_PER_SEC, &c), 0);
	line_disconnect(c);
	free(path);
}

static void test_false_replies(void **state)
{
	static const struct {
		const char *say;
		int err;
	} cases[] = {
	        {"nonsense\n", -EPROTO},
	        {"[1]\n", -EPROTO},
	        {"{\"ok\":true}\n{\"ok\":true}\n", -EPROTO},
	        {"{\"ok\":true}", -EPIPE},
	        {"{\"ok\":true}\n", 0},
	};
	struct world *w = *state;
	char *path = cli_path(w->dir, "false");

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		json_t *req = json_pack("{s:s}", "op", "echo"), *reply = NULL;
		pid_t pid = false_server(path, (uid_t)-1, cases[i].say);
		struct line_client *c;
		int status;

		assert_int_equal(line_connect(path, geteuid(), NSEC_PER_SEC, &c), 0);
		assert_int_equal(line_call(c, req, -1, HANG_GUARD_MS * NSEC_PER_MSEC, &reply),
		                 cases[i].err);
		json_decref(reply);
		json_decref(req);
		line_disconnect(c);
		waitpid(pid, &status, 0);
		unlink(path);
	}
	free(path);
}

static void test_names_of_errors(void **state)
{
	(void)state;
	assert_string_equal(line_errno_name(EACCES), "EACCES");
	assert_string_equal(line_errno_name(-ESTALE), "ESTALE");
	assert_string_equal(line_errno_name(99999), "EIO");
	assert_int_equal(line_errno_parse("ENOENT"), ENOENT);
	assert_int_equal(line_errno_parse("EFROB"), EIO);
	assert_int_equal(line_errno_parse(NULL), EIO);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_calls),
	        T(test_timeout_ends_the_client),
	        T(test_too_long_is_not_sent),
	        T(test_nobody_there),
	        T(test_server_of_another_user),
	        T(test_false_replies),
	        cmocka_unit_test(test_names_of_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

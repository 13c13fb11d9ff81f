/*
 * test_cli_line.c — the answering end of the line protocol against good, bad and rude clients.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "policyd/line_conn.h"
#include "tests/unit/support_cli.h"

#define OTHER_UID 65533

struct world {
	char *dir, *path;
	struct line_server *server;
	struct line_conn *parked[8];
	int n_parked, n_handled, n_gone;
	struct line_conn *gone;
	struct line_peer last;
};

/* "echo" answers at once with what it saw, "park" later, "fields" checks, "big" sends much. */
static void handler(void *arg, struct line_conn *conn, const struct line_peer *peer, json_t *req)
{
	static const char *const allowed[] = {"n", NULL};
	struct world *w = arg;
	const char *op = json_string_value(json_object_get(req, "op"));
	struct stat st = {0};

	w->n_handled++;
	w->last = *peer;
	if (peer->fd >= 0) {
		fstat(peer->fd, &st);
		close(peer->fd);
	}
	if (strcmp(op, "park") == 0) {
		assert_true(w->n_parked < 8);
		w->parked[w->n_parked++] = conn;
	} else if (strcmp(op, "fields") == 0) {
		if (line_fields_only(conn, req, allowed) == 0)
			line_reply(conn, json_object());
	} else if (strcmp(op, "big") == 0) {
		size_t bytes = (size_t)json_integer_value(json_object_get(req, "n"));
		char *text = malloc(bytes + 1);

		assert_non_null(text);
		memset(text, 'x', bytes);
		text[bytes] = '\0';
		line_reply(conn, json_pack("{s:o}", "text", json_string(text)));
		free(text);
	} else {
		line_reply(conn, json_pack("{s:O?, s:i, s:I}", "n", json_object_get(req, "n"),
		                           "uid", (int)peer->uid, "ino", (json_int_t)st.st_ino));
	}
}

static void on_gone(void *arg, struct line_conn *conn)
{
	struct world *w = arg;

	w->n_gone++;
	w->gone = conn;
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	w->dir = cli_scratch();
	assert_int_equal(chmod(w->dir, 0755), 0);
	w->path = cli_path(w->dir, "s");
	assert_int_equal(line_server_open(w->path, handler, on_gone, w, &w->server), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	line_server_close(w->server);
	assert_int_not_equal(access(w->path, F_OK), 0);
	free(w->path);
	cli_scratch_remove(w->dir);
	free(w);
	return 0;
}

static void expect_code(json_t *reply, const char *code)
{
	assert_non_null(reply);
	assert_true(json_is_false(json_object_get(reply, "ok")));
	assert_string_equal(json_string_value(json_object_get(reply, "code")), code);
	assert_true(strlen(json_string_value(json_object_get(reply, "error"))) > 10);
	json_decref(reply);
}

static void expect_n(json_t *reply, int n)
{
	assert_non_null(reply);
	assert_true(json_is_true(json_object_get(reply, "ok")));
	assert_int_equal(json_integer_value(json_object_get(reply, "n")), n);
	json_decref(reply);
}

static void say(int fd, const char *text)
{
	cli_send(fd, text, strlen(text));
}

/* Refused with a line that says why, then closed; no handler saw it. */
static void refused(struct world *w, const char *text, size_t len, const char *code)
{
	int fd = cli_connect(w->path), before = w->n_handled;

	cli_send(fd, text, len);
	expect_code(cli_receive(w->server, fd), code);
	assert_null(cli_receive(w->server, fd));
	assert_int_equal(w->n_handled, before);
	close(fd);
}

static void test_bad_lines(void **state)
{
	static const char *const bad[] = {
	        "\n",
	        "nonsense\n",
	        "{\"v\":1,\"op\":\"echo\"\n",
	        "[1]\n",
	        "7\n",
	        "\"x\"\n",
	        "{\"v\":1,\"op\":\"echo\",\"op\":\"park\"}\n",
	        "{\"v\":1,\"op\":\"\\u0000\"}\n",
	        "{\"v\":1,\"op\":\"\xff\"}\n",
	        "{\"v\":1,\"op\":\"echo\"} x\n",
	        "{\"v\":1,\"op\":\"echo\"}{}\n",
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		refused(w, bad[i], strlen(bad[i]), "EINVAL");
	refused(w, "{\"v\":1,\0\"op\":\"echo\"}\n", 22, "EINVAL");
}

static void test_version_and_op_are_needed(void **state)
{
	struct world *w = *state;
	int fd = cli_connect(w->path);

	say(fd, "{\"op\":\"echo\"}\n");
	expect_code(cli_receive(w->server, fd), "EINVAL");
	say(fd, "{\"v\":2,\"op\":\"echo\"}\n");
	expect_code(cli_receive(w->server, fd), "EINVAL");
	say(fd, "{\"v\":1,\"op\":7}\n");
	expect_code(cli_receive(w->server, fd), "EINVAL");
	assert_int_equal(w->n_handled, 0);
	say(fd, "{\"v\":1,\"op\":\"echo\",\"n\":5}\n");
	expect_n(cli_receive(w->server, fd), 5);
	say(fd, "{\"v\":1,\"op\":\"fields\",\"n\":5}\n");
	json_decref(cli_receive(w->server, fd));
	say(fd, "{\"v\":1,\"op\":\"fields\",\"m\":5}\n");
	expect_code(cli_receive(w->server, fd), "EINVAL");
	close(fd);
}

static void test_too_long(void **state)
{
	struct world *w = *state;
	size_t len = LINE_MAX_BYTES + 5000;
	char *text = malloc(len);
	int fd = cli_connect(w->path), room = 4 * LINE_MAX_BYTES;

	assert_non_null(text);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	memset(text, ' ', len);
	memcpy(text, "{\"v\":1,\"op\":\"echo\",\"n\":9", 24);
	text[len - 1] = '\n';
	for (size_t done = 0; done < len; done += 1000) {
		ssize_t n =
		        send(fd, text + done, len - done < 1000 ? len - done : 1000, MSG_NOSIGNAL);
		cli_settle(w->server);
		if (n < 0)
			break; /* it has been closed already */
	}
	expect_code(cli_receive(w->server, fd), "EMSGSIZE");
	assert_null(cli_receive(w->server, fd));
	close(fd);

	/* The longest that is allowed. */
	fd = cli_connect(w->path);
	text[LINE_MAX_BYTES - 1] = '}';
	text[LINE_MAX_BYTES] = '\n';
	for (size_t done = 0; done <= LINE_MAX_BYTES; done += 4096) {
		size_t n = LINE_MAX_BYTES + 1 - done;

		cli_send(fd, text + done, n < 4096 ? n : 4096);
		cli_settle(w->server);
	}
	expect_n(cli_receive(w->server, fd), 9);
	close(fd);
	free(text);
}

static void test_split_writes(void **state)
{
	const char *line = "{\"v\":1,\"op\":\"echo\",\"n\":42}\n";
	struct world *w = *state;
	int fd = cli_connect(w->path);

	for (const char *p = line; *p; p++) {
		assert_int_equal(w->n_handled, 0);
		cli_send(fd, p, 1);
		cli_settle(w->server);
	}
	expect_n(cli_receive(w->server, fd), 42);
	close(fd);
}

static void test_random_pieces(void **state)
{
	enum { LINES = 500 };
	struct world *w = *state;
	uint64_t seed = cli_seed();
	char *text = malloc(LINES * 64), *p = text;
	int fd = cli_connect(w->path), answered = 0;

	for (int i = 0; i < LINES; i++)
		p += sprintf(p, "{\"v\":1,\"op\":\"echo\",\"n\":%d}\n", i);
	for (char *q = text; q < p;) {
		size_t n = cli_random(&seed) % 300 + 1;

		n = n > (size_t)(p - q) ? (size_t)(p - q) : n;
		cli_send(fd, q, n);
		q += n;
		if (cli_random(&seed) % 4 == 0)
			cli_settle(w->server);
		for (; answered < w->n_handled; answered++)
			expect_n(cli_receive(w->server, fd), answered);
	}
	for (; answered < LINES; answered++)
		expect_n(cli_receive(w->server, fd), answered);
	close(fd);
	free(text);
}

static void test_pipelined_lines_wait_for_the_answer(void **state)
{
	struct world *w = *state;
	int fd = cli_connect(w->path);

	say(fd, "{\"v\":1,\"op\":\"park\"}\n{\"v\":1,\"op\":\"echo\",\"n\":1}\n");
	cli_settle(w->server);
	say(fd, "{\"v\":1,\"op\":\"echo\",\"n\":2}\n");
	cli_settle(w->server);
	assert_int_equal(w->n_handled, 1);
	assert_int_equal(w->n_parked, 1);
	line_reply(w->parked[0], json_pack("{s:i}", "n", 0));
	for (int n = 0; n < 3; n++)
		expect_n(cli_receive(w->server, fd), n);
	assert_int_equal(w->n_gone, 0);
	close(fd);
	cli_settle(w->server);
	assert_int_equal(w->n_gone, 0);
}

static void test_gone_while_parked(void **state)
{
	struct world *w = *state;
	int fd = cli_connect(w->path);

	say(fd, "{\"v\":1,\"op\":\"park\"}\n");
	cli_settle(w->server);
	assert_int_equal(w->n_parked, 1);
	/* Half closed is not gone: it still waits for its answer. */
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	cli_settle(w->server);
	assert_int_equal(w->n_gone, 0);
	close(fd);
	cli_settle(w->server);
	assert_int_equal(w->n_gone, 1);
	assert_ptr_equal(w->gone, w->parked[0]);
}

/*
 * A process that is being started (posix_spawn) holds copies of our descriptors until its exec is
 * through, and we go on before that: closing our own copy alone leaves epoll reporting the
 * connection, by a pointer to what has been freed.
 */
static void test_a_copied_descriptor_is_not_reported_after_the_end(void **state)
{
	struct world *w = *state;
	int fd = cli_connect(w->path), copy;
	struct pollfd p = {.fd = line_server_fd(w->server), .events = POLLIN};

	say(fd, "{\"v\":1,\"op\":\"park\"}\n");
	cli_settle(w->server);
	assert_int_equal(w->n_parked, 1);
	copy = dup(w->parked[0]->fd);
	assert_true(copy >= 0);
	close(fd);
	line_server_run(w->server);
	assert_int_equal(w->n_gone, 1);
	assert_int_equal(poll(&p, 1, 0), 0);
	close(copy);
}

static void test_half_closed_gets_its_answer(void **state)
{
	struct world *w = *state;
	int fd = cli_connect(w->path);

	say(fd, "{\"v\":1,\"op\":\"echo\",\"n\":3}\n{\"half");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect_n(cli_receive(w->server, fd), 3);
	assert_null(cli_receive(w->server, fd));
	assert_int_equal(w->n_handled, 1);
	close(fd);
}

static void test_gone_at_server_close(void **state)
{
	struct world *w = *state;
	int fd = cli_connect(w->path);

	say(fd, "{\"v\":1,\"op\":\"park\"}\n");
	cli_settle(w->server);
	line_server_close(w->server);
	assert_int_equal(w->n_gone, 1);
	close(fd);
	assert_int_equal(line_server_open(w->path, handler, on_gone, w, &w->server), 0);
}

static void test_passed_descriptor(void **state)
{
	struct world *w = *state;
	const char *two = "{\"v\":1,\"op\":\"echo\",\"n\":2}\n";
	int file = open(w->dir, O_RDONLY | O_DIRECTORY), fd = cli_connect(w->path);
	struct stat st;
	json_t *reply;
	size_t before = cli_open_fds();

	assert_int_equal(fstat(file, &st), 0);
	say(fd, "{\"v\":1,\"op\":\"echo\",\"n\":1}\n");
	cli_send_fds(fd, two, strlen(two), &file, 1);
	reply = cli_receive(w->server, fd);
	assert_int_equal(json_integer_value(json_object_get(reply, "ino")), 0);
	json_decref(reply);
	reply = cli_receive(w->server, fd);
	assert_int_equal(json_integer_value(json_object_get(reply, "ino")), (json_int_t)st.st_ino);
	json_decref(reply);

	/* With the first piece of a line that comes in two, the next line right behind it. */
	cli_send_fds(fd, two, 5, &file, 1);
	cli_settle(w->server);
	say(fd, two + 5);
	say(fd, two);
	reply = cli_receive(w->server, fd);
	assert_int_equal(json_integer_value(json_object_get(reply, "ino")), (json_int_t)st.st_ino);
	json_decref(reply);
	reply = cli_receive(w->server, fd);
	assert_int_equal(json_integer_value(json_object_get(reply, "ino")), 0);
	json_decref(reply);
	assert_int_equal(cli_open_fds(), before + 1); /* the server's end of the connection */
	close(fd);
	close(file);
}

static void test_too_many_descriptors(void **state)
{
	const char *line = "{\"v\":1,\"op\":\"echo\",\"n\":2}\n";
	struct world *w = *state;
	int fds[12], file = open("/dev/null", O_RDONLY);
	size_t before = cli_open_fds();

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		fds[i] = file;
	for (size_t n = 2; n <= ARRAY_LEN(fds); n += 5) {
		int fd = cli_connect(w->path);

		cli_send_fds(fd, line, strlen(line), fds, n);
		expect_code(cli_receive(w->server, fd), "EINVAL");
		assert_null(cli_receive(w->server, fd));
		close(fd);
	}
	/* One with each piece of the same line. */
	int fd = cli_connect(w->path);
	cli_send_fds(fd, line, 4, fds, 1);
	cli_settle(w->server);
	cli_send_fds(fd, line + 4, strlen(line) - 4, fds, 1);
	expect_code(cli_receive(w->server, fd), "EINVAL");
	close(fd);
	/* One with a line that never ends, and one with malformed JSON. */
	fd = cli_connect(w->path);
	cli_send_fds(fd, line, 4, fds, 1);
	cli_settle(w->server);
	close(fd);
	fd = cli_connect(w->path);
	cli_send_fds(fd, "{\n", 2, fds, 1);
	expect_code(cli_receive(w->server, fd), "EINVAL");
	close(fd);
	cli_settle(w->server);
	assert_int_equal(w->n_handled, 0);
	assert_int_equal(cli_open_fds(), before);
	close(file);
}

/* Writes text on a shared connection as another user. */
static void say_as_other(int fd, const char *text)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		bool ok = setresgid(OTHER_UID, OTHER_UID, OTHER_UID) == 0 &&
		          setresuid(OTHER_UID, OTHER_UID, OTHER_UID) == 0 &&
		          write(fd, text, strlen(text)) == (ssize_t)strlen(text);
		_exit(ok ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_uid_is_of_the_bytes(void **state)
{
	const char *line = "{\"v\":1,\"op\":\"echo\",\"n\":1}\n";
	struct world *w = *state;
	int fd;

	if (geteuid() != 0)
		skip();
	fd = cli_connect(w->path);
	/* Before the connection is even accepted, and all in one go. */
	say(fd, line);
	say_as_other(fd, line);
	say(fd, line);
	for (int i = 0; i < 3; i++) {
		json_t *reply = cli_receive(w->server, fd);

		assert_int_equal(json_integer_value(json_object_get(reply, "uid")),
		                 i == 1 ? OTHER_UID : 0);
		json_decref(reply);
	}
	/* Root's half of a line completed by the other, and the reverse. */
	for (int i = 0; i < 2; i++) {
		int before = w->n_handled;

		if (i == 0)
			say(fd, "{\"v\":1,\"op\":\"echo\"");
		else
			say_as_other(fd, "{\"v\":1,\"op\":\"echo\"");
		if (i == 0)
			say_as_other(fd, ",\"n\":1}\n");
		else
			say(fd, ",\"n\":1}\n");
		expect_code(cli_receive(w->server, fd), "EINVAL");
		assert_null(cli_receive(w->server, fd));
		assert_int_equal(w->n_handled, before);
		close(fd);
		fd = cli_connect(w->path);
	}
	close(fd);
}

static void test_33rd_connection(void **state)
{
	struct world *w = *state;
	int fds[33];

	for (int i = 0; i < 33; i++) {
		fds[i] = cli_connect(w->path);
		cli_settle(w->server);
	}
	say(fds[31], "{\"v\":1,\"op\":\"echo\",\"n\":31}\n");
	expect_n(cli_receive(w->server, fds[31]), 31);
	assert_null(cli_receive(w->server, fds[32]));
	close(fds[0]);
	cli_settle(w->server);
	close(fds[32]);
	fds[32] = cli_connect(w->path);
	say(fds[32], "{\"v\":1,\"op\":\"echo\",\"n\":32}\n");
	expect_n(cli_receive(w->server, fds[32]), 32);
	for (int i = 1; i < 33; i++)
		close(fds[i]);
}

static void test_slow_reader_does_not_block_others(void **state)
{
	struct world *w = *state;
	int slow = cli_connect(w->path), quick = cli_connect(w->path);
	json_t *reply;

	say(slow, "{\"v\":1,\"op\":\"big\",\"n\":8000000}\n{\"v\":1,\"op\":\"echo\",\"n\":8}\n");
	cli_settle(w->server);
	assert_int_equal(w->n_handled, 1);
	say(quick, "{\"v\":1,\"op\":\"echo\",\"n\":1}\n");
	expect_n(cli_receive(w->server, quick), 1);
	reply = cli_receive(w->server, slow);
	assert_int_equal(json_string_length(json_object_get(reply, "text")), 8000000);
	json_decref(reply);
	expect_n(cli_receive(w->server, slow), 8);
	close(quick);
	/* Gone with most of its reply unread. */
	say(slow, "{\"v\":1,\"op\":\"big\",\"n\":8000000}\n");
	cli_settle(w->server);
	close(slow);
	cli_settle(w->server);
	assert_int_equal(w->n_gone, 0);
}

static void test_unread_replies_are_bounded(void **state)
{
	enum { N = 6 };
	struct world *w = *state;
	int fds[N], refusals = 0;

	for (int i = 0; i < N; i++) {
		fds[i] = cli_connect(w->path);
		say(fds[i], "{\"v\":1,\"op\":\"big\",\"n\":60000000}\n");
		cli_settle(w->server);
	}
	for (int i = 0; i < N; i++) {
		json_t *reply = cli_receive(w->server, fds[i]);
		const char *code = json_string_value(json_object_get(reply, "code"));

		refusals += code && strcmp(code, "EIO") != 0;
		json_decref(reply);
		close(fds[i]);
	}
	assert_int_equal(refusals, 2);
	int fd = cli_connect(w->path);
	say(fd, "{\"v\":1,\"op\":\"big\",\"n\":70000000}\n");
	expect_code(cli_receive(w->server, fd), "EMSGSIZE");
	close(fd);
}

static void test_socket_is_open_to_all_and_not_stolen(void **state)
{
	struct world *w = *state;
	struct line_server *second;
	char *stale = cli_path(w->dir, "stale"), *file = cli_path(w->dir, "file");
	struct stat st;

	assert_int_equal(stat(w->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0666);
	assert_int_equal(line_server_open(w->path, handler, on_gone, w, &second), -EADDRINUSE);
	cli_settle(w->server);
	assert_int_equal(rename(w->path, stale), 0);
	assert_int_equal(line_server_open(stale, handler, on_gone, w, &second), -EADDRINUSE);
	line_server_close(w->server);
	assert_int_equal(line_server_open(w->path, handler, on_gone, w, &w->server), 0);
	/* Nobody listens at `stale` any more; it may be replaced. A plain file may not. */
	assert_int_equal(line_server_open(stale, handler, on_gone, w, &second), 0);
	line_server_close(second);
	cli_write_file(file, "precious");
	assert_int_equal(line_server_open(file, handler, on_gone, w, &second), -EADDRINUSE);
	assert_int_equal(access(file, F_OK), 0);
	free(stale);
	free(file);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
	        T(test_bad_lines),
	        T(test_version_and_op_are_needed),
	        T(test_too_long),
	        T(test_split_writes),
	        T(test_random_pieces),
	        T(test_pipelined_lines_wait_for_the_answer),
	        T(test_gone_while_parked),
	        T(test_a_copied_descriptor_is_not_reported_after_the_end),
	        T(test_half_closed_gets_its_answer),
	        T(test_gone_at_server_close),
	        T(test_passed_descriptor),
	        T(test_too_many_descriptors),
	        T(test_uid_is_of_the_bytes),
	        T(test_33rd_connection),
	        T(test_slow_reader_does_not_block_others),
	        T(test_unread_replies_are_bounded),
	        T(test_socket_is_open_to_all_and_not_stolen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

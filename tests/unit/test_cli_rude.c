/*
 * test_cli_rude.c — a line server whose clients connect, send, stop in the middle and vanish at
 * random, while it answers parked requests at random: each parked request is answered or reported
 * gone, exactly once, and nothing of a connection is left behind. Worth most under BUILD=asan.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "policyd/line_conn.h"
#include "tests/unit/support_cli.h"

#define CLIENTS 24
#define COPIES  8
#define STEPS   30000

struct world {
	struct line_server *server;
	const char *path;
	uint64_t seed;
	struct line_conn *parked[CLIENTS * 8];
	int n_parked, n_handled, n_gone;
	int client[CLIENTS]; /* -1: none */
	int copy[COPIES];    /* the server's descriptors, as a child being started holds them */
};

static unsigned pick(struct world *w, unsigned n)
{
	return (unsigned)(cli_random(&w->seed) % n);
}

static void unpark(struct world *w, struct line_conn *c)
{
	for (int i = 0; i < w->n_parked; i++) {
		if (w->parked[i] != c)
			continue;
		w->parked[i] = w->parked[--w->n_parked];
		return;
	}
	fail_msg("a connection that was not waiting is reported gone");
}

static void handler(void *arg, struct line_conn *conn, const struct line_peer *peer, json_t *req)
{
	struct world *w = arg;

	if (peer->fd >= 0)
		close(peer->fd);
	w->n_handled++;
	if (strcmp(json_string_value(json_object_get(req, "op")), "park") == 0) {
		assert_true(w->n_parked < (int)ARRAY_LEN(w->parked));
		w->parked[w->n_parked++] = conn;
	} else {
		line_reply(conn, json_pack("{s:i, s:s%}", "n", 1, "pad",
		                           "0123456789012345678901234567890123456789", 40));
	}
}

static void on_gone(void *arg, struct line_conn *conn)
{
	struct world *w = arg;

	w->n_gone++;
	unpark(w, conn);
}

static void say_something(struct world *w, int fd)
{
	static const char *const lines[] = {
	        "{\"v\":1,\"op\":\"echo\"}\n",
	        "{\"v\":1,\"op\":\"park\"}\n",
	        "{\"v\":1,\"op\":\"park\"}\n{\"v\":1,\"op\":\"echo\"}\n{\"v\":1,\"op\":\"park\"}\n",
	        "{\"v\":1,\"op\":\"par",
	        "k\"}\n",
	        "nonsense\n",
	        "\n",
	        "{\"v\":1,",
	};
	const char *text = lines[pick(w, ARRAY_LEN(lines))];
	size_t len = strlen(text);

	if (pick(w, 4) == 0)
		len = pick(w, (unsigned)len) + 1;
	if (send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		assert_true(errno == EPIPE || errno == EAGAIN || errno == ECONNRESET);
}

static void client_step(struct world *w)
{
	int *fd = &w->client[pick(w, CLIENTS)];
	char sink[300];

	if (*fd < 0) {
		*fd = cli_connect(w->path);
		return;
	}
	switch (pick(w, 8)) {
	case 0:
		close(*fd);
		*fd = -1;
		break;
	case 1:
		if (pick(w, 4) == 0)
			shutdown(*fd, SHUT_WR);
		break;
	case 2:
		if (recv(*fd, sink, pick(w, sizeof(sink)) + 1, MSG_DONTWAIT) == 0) {
			close(*fd);
			*fd = -1;
		}
		break;
	default:
		say_something(w, *fd);
	}
}

static void server_step(struct world *w)
{
	struct line_conn *c = w->n_parked ? w->parked[pick(w, (unsigned)w->n_parked)] : NULL;
	int *copy = &w->copy[pick(w, COPIES)];

	switch (pick(w, 16)) {
	case 0:
		if (!c)
			break;
		unpark(w, c);
		line_reply(c, json_pack("{s:i}", "n", 2));
		break;
	case 1:
		if (*copy >= 0)
			close(*copy);
		*copy = c ? dup(c->fd) : -1;
		break;
	default:
		line_server_run(w->server);
	}
}

static void test_clients_that_vanish(void **state)
{
	struct world w = {.seed = cli_seed()};
	char *dir = cli_scratch(), *path = cli_path(dir, "s");
	size_t fds;

	(void)state;
	w.path = path;
	memset(w.client, 0xff, sizeof(w.client));
	memset(w.copy, 0xff, sizeof(w.copy));
	assert_int_equal(line_server_open(path, handler, on_gone, &w, &w.server), 0);
	fds = cli_open_fds();
	for (int i = 0; i < STEPS; i++) {
		client_step(&w);
		server_step(&w);
	}
	for (int i = 0; i < CLIENTS; i++)
		if (w.client[i] >= 0)
			close(w.client[i]);
	cli_settle(w.server);
	/* The copies are still there: what has ended must not be heard of again. */
	assert_null(w.server->conns);
	assert_int_equal(w.n_parked, 0);
	assert_int_equal(w.server->out_bytes, 0);
	for (int i = 0; i < COPIES; i++)
		if (w.copy[i] >= 0)
			close(w.copy[i]);
	assert_int_equal(cli_open_fds(), fds);
	print_message("%d requests, %d gone while waiting\n", w.n_handled, w.n_gone);
	assert_true(w.n_handled > 1000 && w.n_gone > 50);
	line_server_close(w.server);
	free(path);
	cli_scratch_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_clients_that_vanish)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * test_gate_lease.c — the lease thread and the handles' records against a real log and a real
 * socket; the test plays policyd (proto.h). What must hold: a revocation is acknowledged only after
 * pages were dropped and REVOKED is durable; silence ends the lease; a failed log stops everything.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "engine/audit/note.h"
#include "fusefs/lease.h"
#include "fusefs/sweep.h"
#include "policyd/line.h"
#include "policyd/proto.h"
#include "tests/unit/support_gate.h"
#include "tests/unit/support_grant.h"

#define GUARD_NS (20 * NSEC_PER_SEC)

struct peer { /* policyd, and the gate under test */
	char dir[64], log_dir[96], socket[96], user[64];
	struct line_server *server;
	struct line_conn *parked;
	uint64_t have; /* of the parked poll */
	int64_t wait_ms;
	struct conf conf;
	struct aud_log *log;
	struct fs *fs;
	struct lease *lease;
	atomic_bool fail_writes;
	/* What the gate had done when it dropped pages. */
	atomic_uint invalidated;
	uint64_t node;
};

static void on_line(void *arg, struct line_conn *conn, const struct line_peer *peer, json_t *req)
{
	struct peer *p = arg;
	json_t *head = json_object_get(req, "head");

	assert_int_equal(peer->uid, geteuid());
	assert_string_equal(json_string_value(json_object_get(req, "op")), "lease");
	assert_int_equal(json_integer_value(json_object_get(req, "incarnation")),
	                 aud_incarnation(p->log));
	p->wait_ms = json_integer_value(json_object_get(req, "wait_ms"));
	assert_in_range(p->wait_ms, 0, PROTO_WAIT_MAX_MS);
	assert_string_equal(json_string_value(json_object_get(head, "origin")), "custos.gate/test");
	p->parked = conn;
	p->have = (uint64_t)json_integer_value(json_object_get(req, "have"));
}

static void on_gone(void *arg, struct line_conn *conn)
{
	struct peer *p = arg;

	if (p->parked == conn)
		p->parked = NULL;
}

/* Serves until a poll is parked. */
static void next_poll(struct peer *p)
{
	int64_t end = clock_boot_ns() + GUARD_NS;

	while (!p->parked) {
		struct pollfd f = {.fd = line_server_fd(p->server), .events = POLLIN};

		assert_true(clock_boot_ns() < end);
		poll(&f, 1, 100);
		line_server_run(p->server);
	}
}

static void answer(struct peer *p, uint64_t epoch, int lease_ms, json_t *grants)
{
	struct line_conn *conn = p->parked;

	p->parked = NULL;
	line_reply(conn, json_pack("{sb sI si so}", "ok", 1, "epoch", (json_int_t)epoch, "lease_ms",
	                           lease_ms, "grants", grants ? grants : json_null()));
	line_server_run(p->server);
}

static void on_invalidate(void *arg, uint64_t node)
{
	struct peer *p = arg;

	p->node = node;
	atomic_fetch_add(&p->invalidated, 1);
}

static int write_or_fail(void *arg, int fd, const void *buf, size_t len, uint64_t offset)
{
	struct peer *p = arg;
	int ret;

	if (atomic_load(&p->fail_writes))
		return -ENOSPC;
	ret = file_pwrite_full(fd, buf, len, offset);
	return ret ? ret : fdatasync(fd) ? -errno : 0;
}

static int setup(void **state)
{
	struct peer *p = calloc(1, sizeof(*p));
	struct aud_options opt = {.origin = "custos.gate/test",
	                          .write_hook = write_or_fail,
	                          .hook_arg = p,
	                          .file_bytes = 1 << 20};
	char err[256];

	assert_non_null(p);
	view_dir_make(p->dir);
	snprintf(p->log_dir, sizeof(p->log_dir), "%s/log", p->dir);
	snprintf(p->socket, sizeof(p->socket), "%s/sock", p->dir);
	assert_int_equal(dir_ensure(p->log_dir, 0750, (uid_t)-1, (gid_t)-1), 0);
	assert_int_equal(people_name(geteuid(), p->user, sizeof(p->user)), 0);
	assert_int_equal(aud_open(p->log_dir, &opt, &p->log, err, sizeof(err)), 0);
	p->conf.slice_ns = 600 * NSEC_PER_SEC;
	assert_int_equal(fs_new(&p->conf, p->log, &p->fs), 0);
	assert_int_equal(line_server_open(p->socket, on_line, on_gone, p, &p->server), 0);
	*state = p;
	return 0;
}

static void start(struct peer *p)
{
	struct lease_options opt = {.fs = p->fs,
	                            .socket = p->socket,
	                            .policy_user = p->user,
	                            .gate = "test",
	                            .invalidate = on_invalidate,
	                            .arg = p};

	assert_int_equal(lease_start(&opt, &p->lease), 0);
	next_poll(p);
	assert_int_equal(p->have, 0);
	assert_int_equal(p->wait_ms, 0); /* no lease yet: at once */
}

static int teardown(void **state)
{
	struct peer *p = *state;

	lease_stop(p->lease);
	fs_free(p->fs);
	aud_close(p->log);
	line_server_close(p->server);
	view_dir_remove(p->dir);
	free(p);
	return 0;
}

static uint64_t count_op(struct peer *p, uint16_t op, struct aud_record *last)
{
	struct aud_record rec;
	struct aud_iter *it;
	const char *payload;
	char err[256];
	uint64_t n = 0;

	assert_int_equal(aud_iter_open(p->log_dir, &it, err, sizeof(err)), 0);
	while (aud_iter_next(it, &rec, &payload) == 1)
		if (rec.op == op) {
			n++;
			if (last)
				*last = rec;
		}
	aud_iter_close(it);
	return n;
}

/* A handle on 8 MiB of a grant, as open makes it. */
static struct handle *open_handle(struct peer *p, struct grant *g)
{
	struct handle *h = handle_new(g->uid, getpid(), g);

	assert_non_null(h);
	h->node = 4711;
	h->size_bytes = 8 * MIB;
	assert_int_equal(handle_add(p->fs->handles, h), 0);
	return h;
}

static void acknowledged_after_all_is_done(void **state)
{
	struct peer *p = *state;
	struct handle *h;
	struct grant *g;

	start(p);
	answer(p, 3, PROTO_LEASE_MS, json_pack("[o]", grant_json(7, 1000, "ann")));
	next_poll(p);
	assert_int_equal(p->have, 3);
	assert_non_null(g = gate_find(p->fs->gate, 1000, "ann", 7));
	h = open_handle(p, g);
	assert_int_equal(handle_log_open(p->fs->handles, h, "ann", "/ann/7/x", "东门"), 0);
	assert_int_equal(handle_cover(p->fs->handles, h, 0, 4096), 0);
	assert_int_equal(handle_note(p->fs->handles, h, 0, 4096), 0);
	answer(p, 4, PROTO_LEASE_MS, json_array());
	next_poll(p); /* the acknowledgement: everything must have happened by now */
	assert_int_equal(p->have, 4);
	assert_int_equal(gate_check(p->fs->gate, g, 1000), GATE_REVOKED);
	assert_int_equal(atomic_load(&p->invalidated), 1);
	assert_int_equal(p->node, 4711);
	assert_int_equal(count_op(p, AUD_OP_REVOKED, NULL), 1);
	assert_int_equal(count_op(p, AUD_OP_READ, NULL), 1);
	handle_remove(p->fs->handles, h->fh);
	grant_put(g);
}

static void waits_for_a_reply_being_written(void **state)
{
	struct peer *p = *state;
	struct pollfd f;
	struct grant *g;

	start(p);
	answer(p, 3, PROTO_LEASE_MS, json_pack("[o]", grant_json(7, 1000, "ann")));
	next_poll(p);
	assert_non_null(g = gate_find(p->fs->gate, 1000, "ann", 7));
	assert_int_equal(gate_reply_begin(p->fs->gate, g, 1000), GATE_OK);
	answer(p, 4, PROTO_LEASE_MS, json_array());
	while (!atomic_load(&g->revoked))
		;
	/* Revoked, but bytes are still leaving: no acknowledgement, no record. */
	f = (struct pollfd){.fd = line_server_fd(p->server), .events = POLLIN};
	if (poll(&f, 1, 300) > 0)
		line_server_run(p->server);
	assert_null(p->parked);
	assert_int_equal(count_op(p, AUD_OP_REVOKED, NULL), 0);
	assert_int_not_equal(gate_reply_begin(p->fs->gate, g, 1000), GATE_OK);
	gate_reply_end(p->fs->gate, g);
	next_poll(p);
	assert_int_equal(p->have, 4);
	grant_put(g);
}

static void silence_ends_the_lease(void **state)
{
	struct peer *p = *state;
	struct grant *g;
	int64_t end;

	start(p);
	answer(p, 3, 600, json_pack("[o]", grant_json(7, 1000, "ann")));
	next_poll(p);
	assert_true(p->wait_ms < 600); /* must be back before it runs out */
	g = gate_find(p->fs->gate, 1000, "ann", 7);
	assert_non_null(g);
	for (end = clock_boot_ns() + GUARD_NS; gate_check(p->fs->gate, g, 1000) == GATE_OK;)
		assert_true(clock_boot_ns() < end);
	assert_int_equal(gate_check(p->fs->gate, g, 1000), GATE_NO_LEASE);
	answer(p, 3, PROTO_LEASE_MS, NULL); /* policyd is back, nothing new */
	next_poll(p);
	assert_int_equal(gate_check(p->fs->gate, g, 1000), GATE_OK);
	/* A policyd that knows less: everything goes, then its own list holds. */
	answer(p, 1, PROTO_LEASE_MS, NULL);
	next_poll(p);
	assert_int_equal(p->have, 0);
	assert_int_equal(gate_check(p->fs->gate, g, 1000), GATE_REVOKED);
	grant_put(g);
}

static void reads_stand_in_the_log_exactly(void **state)
{
	struct peer *p = *state;
	struct aud_record rec;
	struct handle *h;
	struct grant *g;
	json_t *o = grant_json(7, 1000, "ann");

	assert_int_equal(grant_parse(o, &g), 0);
	json_decref(o);
	h = open_handle(p, g);
	assert_false(handle_covered(p->fs->handles, h, 0, 1));
	assert_int_equal(handle_cover(p->fs->handles, h, 0, 100), 0);
	assert_true(handle_covered(p->fs->handles, h, 0, 100));
	assert_int_equal(count_op(p, AUD_OP_COVER, &rec), 1);
	assert_int_equal(rec.object, h->number);
	assert_int_equal(rec.uid, 1000);
	assert_int_equal(rec.grant, 7);
	assert_int_equal(rec.offset, 0);
	assert_int_equal(rec.length, COVER_STEP_MIN);
	for (uint64_t at = 0; at < 1000; at += 100) /* adjacent: one record, ten reads */
		assert_int_equal(handle_note(p->fs->handles, h, at, at + 100), 0);
	assert_int_equal(handle_note(p->fs->handles, h, 5000, 5001), 0);
	handle_log_close(p->fs->handles, h);
	assert_int_equal(
	        aud_commit(p->log, &(struct aud_record){.op = AUD_OP_ALARM}, NULL, 0, NULL), 0);
	assert_int_equal(count_op(p, AUD_OP_READ, &rec), 2);
	assert_int_equal(rec.offset, 5000);
	assert_int_equal(rec.length, 1);
	assert_int_equal(count_op(p, AUD_OP_CLOSE, &rec), 1);
	assert_int_equal(rec.length, 1001);
	assert_int_equal(rec.aux, 11);
	handle_remove(p->fs->handles, h->fh);
	grant_put(g);
}

/* A player or a loop that reads one place again and again: one record with the count, never one
 * that says more or less than was read. */
static void repeated_reads_are_one_record(void **state)
{
	static const struct {
		uint64_t from, to;
		uint32_t reads;
	} want[] = {{500, 600, 1000}, {600, 800, 2}, {700, 800, 2}, {700, 800, 1}};
	struct peer *p = *state;
	struct aud_record rec;
	struct aud_iter *it;
	const char *payload;
	struct handle *h;
	struct grant *g;
	json_t *o = grant_json(7, 1000, "ann");
	size_t n = 0;
	char err[256];

	assert_int_equal(grant_parse(o, &g), 0);
	json_decref(o);
	h = open_handle(p, g);
	assert_int_equal(handle_cover(p->fs->handles, h, 0, 1000), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(handle_note(p->fs->handles, h, 500, 600), 0);
	assert_int_equal(handle_note(p->fs->handles, h, 600, 700), 0);
	assert_int_equal(handle_note(p->fs->handles, h, 700, 800), 0);
	/* The last part of what has been joined, again: not the same range. */
	assert_int_equal(handle_note(p->fs->handles, h, 700, 800), 0);
	assert_int_equal(handle_note(p->fs->handles, h, 700, 800), 0);
	handles_flush(p->fs->handles);
	assert_int_equal(handle_note(p->fs->handles, h, 700, 800), 0); /* a record of its own */
	handle_log_close(p->fs->handles, h);
	assert_int_equal(
	        aud_commit(p->log, &(struct aud_record){.op = AUD_OP_ALARM}, NULL, 0, NULL), 0);
	assert_int_equal(aud_iter_open(p->log_dir, &it, err, sizeof(err)), 0);
	while (aud_iter_next(it, &rec, &payload) == 1) {
		if (rec.op != AUD_OP_READ)
			continue;
		assert_true(n < ARRAY_LEN(want));
		assert_int_equal(rec.offset, want[n].from);
		assert_int_equal(rec.length, want[n].to - want[n].from);
		assert_int_equal(rec.aux, want[n].reads);
		assert_int_equal(strstr(payload, "repeated") != NULL, n == 0 || n == 2);
		n++;
	}
	aud_iter_close(it);
	assert_int_equal(n, ARRAY_LEN(want));
	handle_remove(p->fs->handles, h->fh);
	grant_put(g);
}

static struct handle *bare_handle(uid_t uid, size_t bytes)
{
	struct handle *h = handle_new(uid, getpid(), NULL);

	assert_non_null(h);
	h->text = strdup("");
	h->size_bytes = bytes;
	return h;
}

static void nobody_takes_anothers_room(void **state)
{
	struct peer *p = *state;
	struct handles *hs = p->fs->handles;
	struct handle *h, **list;
	size_t n;

	for (uint32_t i = 0; i < HANDLES_PER_UID; i++)
		assert_int_equal(handle_add(hs, bare_handle(1000, 1)), 0);
	h = bare_handle(1000, 1);
	assert_int_equal(handle_add(hs, h), -EMFILE);
	handle_free(hs, h);
	/* Another uid has room, but not for more memory than its share. */
	assert_int_equal(handle_add(hs, bare_handle(1001, HANDLES_BYTES_PER_UID / 2)), 0);
	h = bare_handle(1001, HANDLES_BYTES_PER_UID / 2);
	assert_int_equal(handle_add(hs, h), -EMFILE);
	handle_free(hs, h);
	/* One that is larger than the share can be open alone: nothing is unreadable. */
	assert_int_equal(handle_add(hs, bare_handle(1002, 2 * HANDLES_BYTES_PER_UID)), 0);
	/* Many uids, without any grant, leave room for those with one. */
	for (uint32_t i = HANDLES_PER_UID + 2; i < HANDLES_BARE; i++)
		assert_int_equal(handle_add(hs, bare_handle(2000 + i / 64, 1)), 0);
	h = bare_handle(1003, 1);
	assert_int_equal(handle_add(hs, h), -ENFILE);
	handle_free(hs, h);
	{
		json_t *o = grant_json(7, 1003, "ann");
		struct grant *g;

		assert_int_equal(grant_parse(o, &g), 0);
		json_decref(o);
		open_handle(p, g);
		grant_put(g);
	}
	assert_int_equal(handles_of(hs, NULL, &list, &n), 0);
	assert_int_equal(n, HANDLES_BARE + 1);
	for (size_t i = 0; i < n; i++) {
		handle_remove(hs, list[i]->fh);
		handle_put(hs, list[i]);
	}
	free(list);
}

/* Pages that somebody has mapped go with the lease, and ten seconds after the first cover that they
 * could have been filled under, however often the handle asks for others. */
static void mapped_pages_end_with_the_lease(void **state)
{
	struct peer *p = *state;
	json_t *o = grant_json(7, 1000, "ann");
	struct sweep_options opt = {.fs = p->fs, .invalidate = on_invalidate, .arg = p};
	int64_t first, end;
	struct sweep *sweep;
	struct handle *h;
	struct grant *g;

	assert_int_equal(grant_parse(o, &g), 0);
	json_decref(o);
	gate_lease_set(p->fs->gate, clock_boot_ns() + GUARD_NS);
	h = open_handle(p, g);
	assert_int_equal(handle_cover(p->fs->handles, h, 0, 100), 0);
	first = h->covered_ns;
	assert_int_equal(handle_cover(p->fs->handles, h, 4 * MIB, 4 * MIB + 1), 0);
	assert_int_equal(h->covered_ns, first);
	assert_int_equal(sweep_start(&opt, &sweep), 0);
	gate_lease_set(p->fs->gate, clock_boot_ns());
	for (end = clock_boot_ns() + COVER_AGE_NS / 2; !atomic_load(&p->invalidated);)
		assert_true(clock_boot_ns() < end);
	sweep_stop(sweep);
	assert_int_equal(atomic_load(&p->invalidated), 1);
	assert_int_equal(p->node, 4711);
	handle_remove(p->fs->handles, h->fh);
	grant_put(g);
}

static void a_failed_log_stops_everything(void **state)
{
	struct peer *p = *state;
	json_t *o = grant_json(7, 1000, "ann");
	struct handle *h;
	struct grant *g;

	assert_int_equal(grant_parse(o, &g), 0);
	json_decref(o);
	h = open_handle(p, g);
	assert_int_equal(handle_cover(p->fs->handles, h, 0, 100), 0);
	assert_int_equal(handles_log_ok(p->fs->handles), 0);
	atomic_store(&p->fail_writes, true);
	assert_int_equal(handle_log_open(p->fs->handles, h, "ann", "/x", NULL), -EIO);
	assert_int_equal(handles_log_ok(p->fs->handles), -EIO);
	assert_int_equal(handle_cover(p->fs->handles, h, 4 * MIB, 4 * MIB + 1), -EIO);
	assert_int_equal(handle_note(p->fs->handles, h, 0, 100), -EIO); /* covered or not */
	handle_remove(p->fs->handles, h->fh);
	grant_put(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(acknowledged_after_all_is_done, setup, teardown),
	        cmocka_unit_test_setup_teardown(waits_for_a_reply_being_written, setup, teardown),
	        cmocka_unit_test_setup_teardown(silence_ends_the_lease, setup, teardown),
	        cmocka_unit_test_setup_teardown(reads_stand_in_the_log_exactly, setup, teardown),
	        cmocka_unit_test_setup_teardown(repeated_reads_are_one_record, setup, teardown),
	        cmocka_unit_test_setup_teardown(nobody_takes_anothers_room, setup, teardown),
	        cmocka_unit_test_setup_teardown(mapped_pages_end_with_the_lease, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_failed_log_stops_everything, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

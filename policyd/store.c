/*
 * The projection. A hand edit is found without any secret: the rows that the file should have are
 * written, by the same code, into a database in memory, and both are digested — every table, every
 * column, the schema with its triggers too. So what vanishes at a rebuild is known to differ from
 * the log, and nothing that agrees with the log is ever reported.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/audit/audit.h"
#include "policyd/statejson.h"
#include "policyd/store.h"

struct pol_store {
	sqlite3 *db;
	char *path;
	uint64_t applied_seq; /* of the file as found */
	bool found;           /* there was something */
	bool compared, same;
	const char *what;
};

static const char schema[] =
        "CREATE TABLE requests (id INTEGER PRIMARY KEY, state TEXT NOT NULL, chain TEXT NOT NULL,"
        " uid INTEGER NOT NULL, requester TEXT NOT NULL, holder_uid INTEGER NOT NULL,"
        " cameras TEXT NOT NULL, from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL,"
        " until_ns INTEGER, reason TEXT NOT NULL, case_id TEXT, subject TEXT, assistant TEXT,"
        " submitted_ns INTEGER NOT NULL, digest TEXT NOT NULL, asked TEXT NOT NULL,"
        " decision TEXT) STRICT;"
        "CREATE TABLE signatures (request INTEGER NOT NULL REFERENCES requests(id),"
        " number INTEGER NOT NULL, stage INTEGER NOT NULL, uid INTEGER NOT NULL,"
        " login_uid INTEGER NOT NULL, who TEXT NOT NULL, time_ns INTEGER NOT NULL,"
        " digest TEXT NOT NULL, PRIMARY KEY (request, number)) STRICT;"
        "CREATE TABLE grants (id INTEGER PRIMARY KEY,"
        " request INTEGER NOT NULL REFERENCES requests(id), state TEXT NOT NULL,"
        " settled INTEGER NOT NULL, uid INTEGER NOT NULL, user TEXT NOT NULL,"
        " cameras TEXT NOT NULL, from_ns INTEGER NOT NULL, to_ns INTEGER NOT NULL,"
        " until_ns INTEGER NOT NULL, activated_ns INTEGER NOT NULL, ended_ns INTEGER,"
        " epoch INTEGER NOT NULL, approvers TEXT NOT NULL) STRICT;"
        "CREATE TABLE policies (in_force INTEGER PRIMARY KEY CHECK (in_force = 1),"
        " digest TEXT NOT NULL, applied_ns INTEGER NOT NULL, uid INTEGER NOT NULL,"
        " text TEXT NOT NULL) STRICT;"
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;";

static const char *const dump[] = {
        "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name",
        "SELECT * FROM requests ORDER BY id",
        "SELECT * FROM signatures ORDER BY request, number",
        "SELECT * FROM grants ORDER BY id",
        "SELECT * FROM policies",
        "SELECT * FROM meta ORDER BY key",
};

static int exec(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : -EIO;
}

/* Runs one statement with values bound in order: i int64, s text or NULL, n int64 with 0 as NULL.
 */
static int run(sqlite3 *db, const char *sql, const char *kinds, ...)
{
	sqlite3_stmt *st = NULL;
	va_list ap;
	int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

	va_start(ap, kinds);
	for (int i = 1; rc == SQLITE_OK && kinds[i - 1]; i++) {
		if (kinds[i - 1] == 's') {
			rc = sqlite3_bind_text(st, i, va_arg(ap, const char *), -1,
			                       SQLITE_TRANSIENT);
		} else {
			int64_t v = va_arg(ap, int64_t);

			rc = kinds[i - 1] == 'n' && !v ? sqlite3_bind_null(st, i)
			                               : sqlite3_bind_int64(st, i, v);
		}
	}
	va_end(ap);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : -EIO;
}

static int put_request(sqlite3 *db, const struct pol_request *r)
{
	char *cameras = statejson_text(strv_to_json(r->now.cameras));
	char *asked = statejson_text(what_to_json(&r->asked)), digest[65];
	int err = cameras && asked ? request_digest(r, &r->now, digest) : -ENOMEM;

	if (!err)
		err = run(db,
		          "INSERT INTO requests VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
		          " ON CONFLICT(id) DO UPDATE SET state=excluded.state,"
		          " cameras=excluded.cameras, from_ns=excluded.from_ns,"
		          " to_ns=excluded.to_ns, until_ns=excluded.until_ns,"
		          " digest=excluded.digest, decision=excluded.decision",
		          "issisisiinssssisss", (int64_t)r->id, pol_state_name(r->state), r->chain,
		          (int64_t)r->uid, r->requester, (int64_t)r->holder_uid, cameras,
		          r->now.from_ns, r->now.to_ns, r->now.until_ns, r->reason, r->case_id,
		          r->subject, r->assistant, r->submitted_ns, digest, asked, r->decision);
	for (size_t i = 0; !err && i < r->n_signatures; i++) {
		const struct pol_signature *s = &r->signatures[i];

		err = run(db, "INSERT OR IGNORE INTO signatures VALUES (?,?,?,?,?,?,?,?)",
		          "iiiiisis", (int64_t)r->id, (int64_t)i, (int64_t)s->stage,
		          (int64_t)s->uid, (int64_t)s->login_uid, s->who, s->time_ns, s->digest);
	}
	free(cameras);
	free(asked);
	return err;
}

static int put_grant(sqlite3 *db, const struct pol_grant *g)
{
	char *cameras = statejson_text(strv_to_json(g->what.cameras));
	char *approvers = statejson_text(strv_to_json(g->approvers));
	int err = cameras && approvers ? 0 : -ENOMEM;

	if (!err)
		err = run(db,
		          "INSERT INTO grants VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
		          " ON CONFLICT(id) DO UPDATE SET state=excluded.state,"
		          " settled=excluded.settled, ended_ns=excluded.ended_ns",
		          "iisiissiiiinis", (int64_t)g->id, (int64_t)g->request,
		          pol_state_name(g->state), (int64_t)g->settled, (int64_t)g->uid, g->user,
		          cameras, g->what.from_ns, g->what.to_ns, g->what.until_ns,
		          g->activated_ns, g->ended_ns, (int64_t)g->epoch, approvers);
	free(cameras);
	free(approvers);
	return err;
}

static int put_policy(sqlite3 *db, const struct pol_state_all *s)
{
	if (!s->conf)
		return 0;
	return run(db, "INSERT OR REPLACE INTO policies VALUES (1,?,?,?,?)", "siis",
	           s->conf->digest, s->conf_ns, (int64_t)s->conf_uid, s->conf->text);
}

static int put_seq(sqlite3 *db, uint64_t seq)
{
	return run(db, "INSERT OR REPLACE INTO meta VALUES ('applied_seq',?)", "i", (int64_t)seq);
}

/* All rows of a state. */
static int fill(sqlite3 *db, const struct pol_state_all *s)
{
	int err = put_policy(db, s);

	for (size_t i = 0; !err && i < s->n_requests; i++)
		err = put_request(db, s->requests[i]);
	for (size_t i = 0; !err && i < s->n_grants; i++)
		err = put_grant(db, s->grants[i]);
	return err ? err : put_seq(db, s->applied_seq);
}

static int digest_rows(sqlite3 *db, const char *sql, EVP_MD_CTX *md)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);

	while (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		for (int i = 0; i < sqlite3_column_count(st); i++) {
			uint8_t head[9] = {(uint8_t)sqlite3_column_type(st, i)};
			const void *blob = sqlite3_column_blob(st, i);
			int n = sqlite3_column_bytes(st, i);

			le64_put(head + 1, (uint64_t)n);
			EVP_DigestUpdate(md, head, sizeof(head));
			if (blob)
				EVP_DigestUpdate(md, blob, (size_t)n);
		}
		EVP_DigestUpdate(md, "row", 3);
		rc = SQLITE_OK;
	}
	sqlite3_finalize(st);
	return rc == SQLITE_DONE ? 0 : -EIO;
}

static int digest_all(sqlite3 *db, uint8_t out[32])
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	int err = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < ARRAY_LEN(dump); i++)
		err = digest_rows(db, dump[i], md);
	if (!err)
		EVP_DigestFinal_ex(md, out, NULL);
	EVP_MD_CTX_free(md);
	return err;
}

static bool agrees(sqlite3 *file, const struct pol_state_all *s)
{
	uint8_t have[32], want[32];
	sqlite3 *memory = NULL;
	bool same = false;

	if (sqlite3_open(":memory:", &memory) == SQLITE_OK && !exec(memory, schema) &&
	    !fill(memory, s) && !digest_all(memory, want) && !digest_all(file, have))
		same = !memcmp(have, want, sizeof(have));
	sqlite3_close(memory);
	return same;
}

static int open_file(struct pol_store *db)
{
	if (sqlite3_open_v2(db->path, &db->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
	    SQLITE_OK)
		return -EIO;
	sqlite3_busy_timeout(db->db, 2000); /* somebody may be reading */
	return exec(db->db,
	            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
	            " PRAGMA trusted_schema=OFF");
}

static uint64_t file_seq(sqlite3 *db)
{
	sqlite3_stmt *st = NULL;
	int64_t seq = -1;

	if (sqlite3_prepare_v2(db, "SELECT value FROM meta WHERE key = 'applied_seq'", -1, &st,
	                       NULL) == SQLITE_OK &&
	    sqlite3_step(st) == SQLITE_ROW)
		seq = sqlite3_column_int64(st, 0);
	sqlite3_finalize(st);
	return seq > 0 ? (uint64_t)seq : 0;
}

int store_open(const char *path, struct pol_store **out)
{
	struct pol_store *db = calloc(1, sizeof(*db));

	*out = NULL;
	if (!db || !(db->path = strdup(path))) {
		free(db);
		return -ENOMEM;
	}
	db->found = access(path, F_OK) == 0;
	if (db->found && !open_file(db))
		db->applied_seq = file_seq(db->db);
	*out = db;
	return 0;
}

void store_replayed(struct pol_store *db, const struct pol_state_all *s)
{
	if (!db->applied_seq || db->compared || s->applied_seq != db->applied_seq)
		return;
	db->compared = true;
	db->same = agrees(db->db, s);
}

static void unlink_all(const char *path)
{
	static const char *const tails[] = {"", "-wal", "-shm", "-journal"};
	char name[4096];

	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		snprintf(name, sizeof(name), "%s%s", path, tails[i]);
		unlink(name);
	}
}

static int commit(sqlite3 *db, int err)
{
	if (!err)
		err = exec(db, "COMMIT");
	if (err)
		exec(db, "ROLLBACK");
	return err;
}

int store_finish(struct pol_store *db, const struct pol_state_all *s, bool *tampered,
                 const char **what)
{
	int err;

	*tampered = db->found && !db->same;
	*what = !db->applied_seq ? "it is no projection of ours, or damaged"
	        : db->compared   ? "its rows are not what the log says"
	                         : "it claims records that the log does not have";
	if (!db->same) {
		sqlite3_close(db->db);
		db->db = NULL;
		unlink_all(db->path);
		err = open_file(db);
		if (err || exec(db->db, schema))
			return -EIO;
	}
	if (exec(db->db, "BEGIN IMMEDIATE"))
		return -EIO;
	return commit(db->db, fill(db->db, s));
}

int store_apply(struct pol_store *db, const struct pol_state_all *s, const struct pol_event *ev)
{
	const struct pol_grant *g = state_grant(s, ev->grant);
	const struct pol_request *r = state_request(s, g ? g->request : ev->object);
	int err = exec(db->db, "BEGIN IMMEDIATE");

	if (err)
		return err;
	switch (ev->op) {
	case AUD_OP_CONFIG:
		err = put_policy(db->db, s);
		break;
	case AUD_OP_REQUEST:
	case AUD_OP_APPROVE:
	case AUD_OP_REJECT:
	case AUD_OP_WITHDRAW:
	case AUD_OP_LAPSE:
	case AUD_OP_ACTIVATE:
	case AUD_OP_RETURN:
	case AUD_OP_REVOKE_INTENT:
	case AUD_OP_REVOKE_DONE:
	case AUD_OP_EXPIRE:
		err = r ? put_request(db->db, r) : 0;
		if (!err && r && r->replaces)
			err = put_request(db->db, state_request(s, r->replaces));
		if (!err && g)
			err = put_grant(db->db, g);
		break;
	default:
		break;
	}
	if (!err)
		err = put_seq(db->db, ev->seq);
	return commit(db->db, err);
}

void store_close(struct pol_store *db)
{
	if (!db)
		return;
	sqlite3_close(db->db);
	free(db->path);
	free(db);
}

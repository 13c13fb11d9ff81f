/*
 * audit.h — the audit log: append-only, group commit, Merkle tree, signed checkpoints.
 *
 * Each of the three daemons owns one log (a folder). Other rooms include this header and note.h
 * only. Files on disk are specified in audit/logformat.h. Promises:
 *   - a record whose aud_wait() returned 0 survives a power cut;
 *   - records are numbered 1, 2, 3 … without holes, in the order aud_append() took them;
 *   - once anything failed, every later append and wait fails (-EIO): fail closed, until reopened;
 *   - a log that does not verify is not opened (-EUCLEAN).
 */
#ifndef CUSTOS_AUDIT_H
#define CUSTOS_AUDIT_H

#include "engine/base/base.h"

/* Operations. Values are on disk: never renumber. Payloads are JSON objects (UTF-8). */
enum aud_op {
	AUD_OP_NONE = 0,
	AUD_OP_START = 1, /* a daemon opened its log: program, version */
	AUD_OP_STOP = 2,
	AUD_OP_KEY = 3, /* signing key made or changed: fingerprint */
	/* policyd: events are the truth (policyd/proto.h lists their payloads) */
	AUD_OP_CONFIG = 100, /* a policy came into force: digests, the text itself */
	AUD_OP_REQUEST = 101,
	AUD_OP_APPROVE = 102,
	AUD_OP_REJECT = 103,
	AUD_OP_WITHDRAW = 104,
	AUD_OP_ACTIVATE = 105, /* last stage signed: the grant exists */
	AUD_OP_RETURN = 106,
	AUD_OP_REVOKE_INTENT = 107,
	AUD_OP_REVOKE_DONE = 108, /* acknowledged by the gates or lease ended */
	AUD_OP_EXPIRE = 109,
	AUD_OP_LAPSE = 110,   /* request never decided */
	AUD_OP_REFUSED = 111, /* somebody asked for what the rules refuse */
	AUD_OP_CONFIG_PENDING = 112,
	AUD_OP_SNAPSHOT = 113, /* numbered policy snapshot signed */
	AUD_OP_TAMPER = 114,   /* projection did not match the log and was rebuilt */
	/* gate */
	AUD_OP_OPEN = 200,  /* handle in object; grant, window; payload: user, path, camera, comm */
	AUD_OP_COVER = 201, /* bytes [offset, offset+length) of handle may be read from now on */
	AUD_OP_READ = 202,  /* exact: aux reads side by side; payload what=repeated: each
	                     * of them all of this range */
	AUD_OP_CLOSE = 203, /* settles the handle */
	AUD_OP_DENY = 204,  /* result = errno; aux = how many when counted together */
	AUD_OP_REVOKED = 205,   /* gate has stopped serving the grant */
	AUD_OP_INTEGRITY = 206, /* damaged data was asked for and refused */
	AUD_OP_MOUNT = 207,
	/* recorder */
	AUD_OP_RUN_START = 300, /* payload: camera, reason, run */
	AUD_OP_RUN_END = 301,
	AUD_OP_FEED = 302,   /* somebody fed or imported: camera, uid, start */
	AUD_OP_REMOVE = 303, /* segment removed: camera, segment, generation, times, rule */
	AUD_OP_HEAD = 304,   /* Merkle root of a sealed or open segment */
	AUD_OP_ALARM = 305,
	AUD_OP_SNAPSHOT_SEEN = 306, /* policy snapshot accepted or refused */
};
const char *aud_op_name(uint16_t op); /* "request", "open" …; "?" */
/* The reverse, for filters; 0 when unknown. */
uint16_t aud_op_parse(const char *name);

#define AUD_NO_UID      UINT32_MAX
#define AUD_PAYLOAD_MAX 65536u

struct aud_record {
	uint64_t seq;                 /* set by append */
	int64_t time_ns;              /* set by append when 0 */
	uint8_t boot_id[16];          /* set by append */
	uint64_t incarnation;         /* set by append: of this opening of the log */
	uint16_t op, result;          /* result: 0 or a positive errno */
	uint32_t uid, login_uid, pid; /* AUD_NO_UID when none */
	uint64_t grant, object;       /* object: handle, request number, segment … by op */
	uint64_t offset, length;
	int64_t from_ns, to_ns; /* footage times, 0 when none */
	uint32_t aux;
	uint32_t payload_bytes;
};

struct aud_log;
struct aud_options {
	const char *origin;  /* "custos.gate/main": names the log in its checkpoints */
	uint64_t file_bytes; /* size of each preallocated, prewritten file; 0: 16 MiB */
	int64_t group_ns;    /* longest wait to fill a group; 0: 2 ms */
	/* Test hook: replaces pwrite+fdatasync of the committer; NULL for the real thing. */
	int (*write_hook)(void *arg, int fd, const void *buf, size_t len, uint64_t offset);
	void *hook_arg;
};
/* Opens or makes the log in DIR (must exist). Recovers: a torn last group that no checkpoint covers
 * is cut off. Starts the committer thread. -EUCLEAN: does not verify (err says where); -EBUSY: open
 * in another process. Blocks. Appends AUD_OP_START itself. */
int aud_open(const char *dir, const struct aud_options *opt, struct aud_log **out, char *err,
             size_t err_bytes) MUST_CHECK;
/* Commits what is pending (AUD_OP_STOP last), stops the thread. */
void aud_close(struct aud_log *log);
uint64_t aud_incarnation(const struct aud_log *log);

/* Threads: any. Queues the record; *seq may be NULL. Never waits for the disk. -EIO: the log has
 * failed; -ENOBUFS: 64 MiB are waiting; -EMSGSIZE. */
int aud_append(struct aud_log *log, struct aud_record *rec, const void *payload, size_t len,
               uint64_t *seq) MUST_CHECK;
/* Waits until record seq is durable. -EIO: the log has failed; -ETIMEDOUT. */
int aud_wait(struct aud_log *log, uint64_t seq, int64_t timeout_ns) MUST_CHECK;
/* Append and wait, 30 s at most; after -ETIMEDOUT the record may still become durable. */
int aud_commit(struct aud_log *log, struct aud_record *rec, const void *payload, size_t len,
               uint64_t *seq) MUST_CHECK;
/* Last durable sequence number. */
uint64_t aud_durable(struct aud_log *log);
bool aud_failed(struct aud_log *log);
/* The reserve: the next file cannot be made (disk full; tried again every second) and less than a
 * quarter of the current one is left. What can wait is to be refused, so that revocations and other
 * endings still fit. */
bool aud_low(struct aud_log *log);

/* The Merkle tree over the groups committed so far (RFC 6962; a leaf is one group's bytes). */
struct aud_head {
	uint64_t groups;
	uint64_t last_seq; /* records covered */
	uint8_t root[32];
};
void aud_head(struct aud_log *log, struct aud_head *out);
const char *aud_origin(const struct aud_log *log);
/* Stores a signed checkpoint (C2SP signed note) beside the log: `checkpoint` is the newest,
 * `checkpoints` keeps the first after each opening, then one every minute and each key change.
 * Checks that origin, size and root are those of a head that aud_head() gave lately; the signature
 * is the caller's to check. One older than the newest is left aside (0). -EINVAL: not ours; -EIO.
 * Blocks. */
int aud_checkpoint_store(struct aud_log *log, const char *note) MUST_CHECK;

/* ---- reading: any process, no lock; sees what has been written: the newest group may be a moment
 * ahead of its flush (a checkpoint covers durable groups only) ---- */

struct aud_iter;
int aud_iter_open(const char *dir, struct aud_iter **out, char *err, size_t err_bytes) MUST_CHECK;
/* Next record: 1 and *rec, *payload (NUL-terminated, valid until the next call); 0 at the end;
 * -EUCLEAN at damage, -EIO. Called again after 0 it goes on with what has been appended since. */
int aud_iter_next(struct aud_iter *it, struct aud_record *rec, const char **payload) MUST_CHECK;
/* Goes to record seq, forward or back: the next one shown is the first with a number >= seq. */
int aud_iter_seek_seq(struct aud_iter *it, uint64_t seq) MUST_CHECK;
void aud_iter_close(struct aud_iter *it);

/* ---- verifying offline: files and public key alone (verifier.c) ---- */

struct aud_verdict {
	bool ok;
	uint64_t records, groups, checkpoints;
	uint64_t signed_records; /* covered by the newest valid checkpoint */
	int64_t last_record_ns;  /* 0: none */
	int64_t unsigned_age_ns; /* now - first unsigned record's time; 0: none unsigned */
	uint64_t first_bad_seq;  /* 0: none */
	char what[256];          /* what is wrong with it, one line */
	char origin[128];
	uint64_t unsettled; /* covers of the gate without READ/CLOSE after a crash */
};
/* vkey: the text of a C2SP verifier key file ("name+hash+base64"). 0 when the log could be
 * judged (see out->ok), else -errno with one line in err. Blocks; reads everything. */
int aud_verify(const char *dir, const char *vkey, int64_t now_ns, struct aud_verdict *out,
               char *err, size_t err_bytes) MUST_CHECK;

/* ---- Merkle helpers, RFC 6962 (merkle.c) ---- */

void merkle_leaf(const void *data, size_t len, uint8_t out[32]);
void merkle_node(const uint8_t left[32], const uint8_t right[32], uint8_t out[32]);
/* Grows a tree leaf by leaf in 64 hashes of memory. Zero-initialise. */
struct merkle {
	uint64_t leaves;
	uint8_t node[64][32];
};
void merkle_add(struct merkle *m, const uint8_t leaf[32]);
void merkle_root(const struct merkle *m, uint8_t out[32]);

#endif

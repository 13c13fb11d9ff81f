/*
 * recorder.h — private to the recorder: its parts and the one loop that drives them.
 *
 *   supervisor.c  cameras: start, watch, restart      feed.c     fed and imported streams
 *   control.c     recorder.sock                       coverage.c what is recorded, and its gaps
 *   asker.c       thread: rights (policyd, NSS)       policy.c   thread: signed snapshots, log
 * heads journal.c     audit log                           loop.c     epoll
 *
 * Everything belongs to the main thread unless a header says otherwise. The main thread never waits
 * for policyd: policyd asks us for coverage while it answers others.
 */
#ifndef CUSTOS_RECORDER_H
#define CUSTOS_RECORDER_H

#include <jansson.h>

#include "engine/audit/audit.h"
#include "engine/engine.h"
#include "engine/recorder/intake.h"
#include "policyd/conf.h"
#include "policyd/line.h"

#define ALARMS_KEPT 32

struct recorder;
struct asker;
struct policy;

struct watch { /* one descriptor of the loop; lives where it is declared */
	int fd;
	void (*ready)(void *arg);
	void *arg;
};

struct store {
	const struct conf_store *conf;
	struct eng_writer *writer;
	struct eng_reader *reader;
	struct recorder *rec;
	struct watch watch;
};

/* One stream being fed or imported by somebody. */
struct feed;

struct camera {
	struct recorder *rec;
	const struct conf_camera *conf;
	struct store *store;
	struct intake live, import;
	struct feed *feeding, *importing;
	struct watch live_data, live_pid, import_data, import_pid;
	bool more; /* the rings hold more than one pass took */
	/* supervisor */
	int64_t start_boot_ns; /* when to start the child; 0: never (feed) */
	int64_t backoff_ns;
	uint64_t restarts;
	uint64_t frames_before, bytes_before; /* live: of earlier children */
	uint64_t imported_before;             /* frames of earlier imports */
	char cause[RING_TEXT_MAX];            /* why it is not recording, "" when it is */
	enum eng_reason cause_reason;
	int64_t rate_boot_ns;
	uint64_t rate_bytes, rate_bps;
};

struct recorder {
	const struct conf *conf;
	struct store *stores;
	size_t n_stores;
	struct camera *cameras;
	size_t n_cameras;
	struct feed *feeds;
	struct aud_log *log;
	struct line_server *server;
	struct asker *asker;
	struct policy *policy;
	int epoll_fd;
	bool stop;
	struct watch signal, socket, answers, snapshots;
	uid_t policy_uid, self_uid;
	char alarms[ALARMS_KEPT][RING_TEXT_MAX];
	unsigned n_alarms; /* ever */
	struct pending *pending;
};

/* ---- loop.c ---- */
int loop_open(struct recorder *r) MUST_CHECK;
int loop_add(struct recorder *r, struct watch *w, int fd, void (*ready)(void *),
             void *arg) MUST_CHECK;
void loop_del(struct recorder *r, struct watch *w);
/* Until SIGTERM. 0, or -errno when a store can no longer be written. */
int loop_run(struct recorder *r) MUST_CHECK;

/* ---- supervisor.c ---- */
int supervisor_init(struct recorder *r, char *err, size_t err_bytes) MUST_CHECK;
/* Starts what is due, notices what stalls; returns the ns until it wants to be called again. */
int64_t supervisor_tick(struct recorder *r, int64_t boot_ns);
void supervisor_close(struct recorder *r);
/* "recording", "connecting", "waiting", "idle". */
const char *camera_state(const struct camera *c);
struct camera *camera_find(struct recorder *r, const char *name);
/* Puts a started intake's ring and process into the loop, or takes them out. */
int camera_watch(struct camera *c, bool import) MUST_CHECK;
void camera_unwatch(struct camera *c, bool import);
/* Address without user and password; out holds at least 64 bytes. */
void source_shown(const char *url, char *out, size_t out_bytes);
/* Address with the credential file's "user:password" put in. One line in err. */
int source_url(const struct conf_camera *c, char *out, size_t out_bytes, char *err,
               size_t err_bytes) MUST_CHECK;

/* ---- feed.c ---- */
/* Handles an allowed feed request of `user`; owns fd. Replies now or when the stream has ended. */
void feed_begin(struct recorder *r, struct line_conn *conn, const struct line_peer *peer,
                const char *user, json_t *req, int fd);
/* The child of a feed has ended, or its intake refused. */
void feed_ended(struct camera *c, bool import);
/* Replies to those that have become durable. True when some are waiting. */
bool feed_tick(struct recorder *r);
void feed_gone(struct recorder *r, struct line_conn *conn);
void feed_close(struct recorder *r);

/* ---- coverage.c ---- */
/* Runs and gaps of one camera as JSON arrays are appended; -E2BIG: too many to tell. */
int coverage_runs(struct camera *c, int64_t from_ns, int64_t to_ns, bool gaps, json_t *runs,
                  json_t *gap_list) MUST_CHECK;
/* Seconds of footage in the window, first and last instant (NO_TIME: none). */
int coverage_sum(struct camera *c, int64_t from_ns, int64_t to_ns, double *seconds,
                 int64_t *first_ns, int64_t *last_ns) MUST_CHECK;
/* 0, -EEXIST when [from, …) begins inside footage; *limit_ns is the next footage's begin or to_ns.
 */
int coverage_free(struct camera *c, int64_t from_ns, int64_t to_ns, int64_t *limit_ns) MUST_CHECK;

/* ---- control.c ---- */
int control_open(struct recorder *r, char *err, size_t err_bytes) MUST_CHECK;
void control_close(struct recorder *r);

/* ---- asker.c: a thread that may block ---- */
struct ask {
	struct ask *next;
	uid_t uid;
	const char *right; /* NULL: none needed */
	char **people;     /* NULL: anybody; else one of them must match (borrowed, from conf) */
	char name[256];    /* of uid, "" when it cannot be found out: for the log */
	int verdict;       /* 0 allowed, -EACCES, other -errno: could not be found out */
	char why[160];
	void (*done)(void *arg, struct ask *a); /* main thread; owns a again */
	void *arg;
};
int asker_open(const struct conf *conf, uid_t policy_uid, struct asker **out) MUST_CHECK;
void asker_put(struct asker *k, struct ask *a);
int asker_fd(const struct asker *k);
void asker_run(struct asker *k); /* calls done() of what has been answered */
/* Waits for the question in progress (8 s at most); all not yet told are answered -ESHUTDOWN. */
void asker_close(struct asker *k);

/* ---- policy.c: a thread that may block ---- */
/* Loads the stored snapshots and starts asking for newer ones. The newest stored one comes into
 * force when policyd knows of no newer one, or has not answered for 10 s. */
int policy_open(struct recorder *r, struct policy **out) MUST_CHECK;
int policy_fd(const struct policy *p);
void policy_run(struct policy *p, struct recorder *r); /* main thread: puts a new table in force */
void policy_close(struct policy *p);

/* ---- journal.c: any thread ---- */
int journal_open(struct recorder *r, char *err, size_t err_bytes) MUST_CHECK;
void journal_run(struct aud_log *log, const char *camera, bool imported, bool begins,
                 enum eng_reason reason, int64_t time_ns);
/* Durable when it returns 0. */
int journal_removed(struct aud_log *log, const char *camera, const uint8_t *stream,
                    uint64_t segment, uint64_t generation, int64_t first_ns, int64_t last_ns,
                    const char *rule) MUST_CHECK;
int journal_feed(struct aud_log *log, const struct line_peer *peer, const char *user,
                 const char *camera, int64_t start_ns, const char *what, int result) MUST_CHECK;
void journal_snapshot(struct aud_log *log, uint64_t number, const char *what, int result);
void journal_alarm(struct aud_log *log, const char *line);

/* recorder.c: remembers, logs and journals one line for people. */
void recorder_alarm(struct recorder *r, const char *line);
int recorder_open_stores(struct recorder *r, char *err, size_t err_bytes) MUST_CHECK;
void recorder_close_stores(struct recorder *r);

#endif

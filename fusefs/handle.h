/*
 * handle.h — open handles and what the log is told of them.
 *
 *   open     OPEN record durable, then the reply          handle_log_open()
 *   read     cover durable (cover.h), data, last check, exact READ noted, then the reply
 *                                                         handle_cover() handle_covered()
 * handle_note() ticks    noted reads go to the log within 50 ms        handles_flush() release
 * CLOSE settles the handle                     handle_log_close()
 *
 * A log that fails, or falls behind by more than HANDLE_OVERDUE_NS, stops every read and open:
 * -EIO. A handle belongs to one uid and one grant object. Any thread; handle_log_open() and
 * handle_cover() wait for the disk, nothing else does.
 */
#ifndef CUSTOS_HANDLE_H
#define CUSTOS_HANDLE_H

#include "engine/audit/audit.h"
#include "fusefs/cover.h"
#include "fusefs/listing.h"

#define HANDLE_OVERDUE_NS (5 * NSEC_PER_SEC)

/* Nobody's open handles take another's room: so many, and so much memory, a uid; and those without
 * a grant (anybody may open MOUNT) at most HANDLES_BARE in all. */
#define HANDLES_MAX           65536u
#define HANDLES_BARE          (HANDLES_MAX / 4)
#define HANDLES_PER_UID       4096u
#define HANDLES_BYTES_PER_UID (512 * MIB)

struct handle_entry { /* of a directory */
	char *name;
	uint64_t ino;
	mode_t mode;
};
struct handle {
	uint64_t fh;     /* for FUSE: index and generation */
	uint64_t number; /* in the log: counted within the incarnation */
	uint64_t node, ino;
	uid_t uid;
	pid_t pid;
	struct grant *grant;          /* NULL for MOUNT and USER directories */
	struct shared_view *view;     /* a file, */
	char *text;                   /* or a generated text, */
	struct handle_entry *entries; /* or a directory */
	size_t n_entries;
	uint64_t size_bytes;
	size_t memory_bytes;    /* set by handle_add() */
	int64_t from_ns, to_ns; /* footage, 0: none */

	pthread_mutex_t lock; /* all below */
	struct cover_set cover;
	int64_t covered_ns; /* boot time of the first cover since its pages were last dropped; 0:
	                     * none */
	/* Noted, not yet in the log: reads that lie side by side, or one range again and again. */
	uint64_t read_from, read_to;
	uint32_t reads;
	bool repeated;
	uint64_t total_bytes, total_reads;
	unsigned refs; /* of the table's lock */
};

struct handles;
int handles_new(struct aud_log *log, struct listings *l, struct handles **out) MUST_CHECK;
/* Every handle must have been removed. */
void handles_free(struct handles *hs);
/* A handle of `size_bytes`, in no table yet; owns what is put into it from then on. NULL: no
 * memory. */
struct handle *handle_new(uid_t uid, pid_t pid, struct grant *grant);
void handle_free(struct handles *hs, struct handle *h); /* one that was never added */
/* Gives it fh and number; the table has one reference. -EMFILE: the uid has its share; -ENFILE: the
 * table is full (h stays the caller's). */
int handle_add(struct handles *hs, struct handle *h) MUST_CHECK;
struct handle *handle_get(struct handles *hs, uint64_t fh); /* NULL: no such handle */
void handle_put(struct handles *hs, struct handle *h);
/* Takes it out of the table: it goes with its last reference. */
void handle_remove(struct handles *hs, uint64_t fh);
/* Length of the text that was opened last for this node and still is; false: none. */
bool handles_text(struct handles *hs, uint64_t node, uint64_t *size_bytes);
size_t handles_count(struct handles *hs);
uint64_t handles_reads(struct handles *hs);
/* References to the handles of this grant (NULL: all); malloc'ed. -ENOMEM. */
int handles_of(struct handles *hs, const struct grant *g, struct handle ***out,
               size_t *n) MUST_CHECK;

/* Is the log well? Else -EIO. */
int handles_log_ok(struct handles *hs) MUST_CHECK;
int handle_log_open(struct handles *hs, struct handle *h, const char *user, const char *path,
                    const char *camera) MUST_CHECK;
/* Makes sure that a durable cover contains [from, to): waits for one if need be. -EIO. */
int handle_cover(struct handles *hs, struct handle *h, uint64_t from, uint64_t to) MUST_CHECK;
/* The rule, asked right before the reply. */
bool handle_covered(struct handles *hs, struct handle *h, uint64_t from, uint64_t to);
/* [from, to) is about to leave. -EIO: it must not. The log gets every range exactly: one READ for
 * reads that lie side by side, and one, marked as repeated, for the same range read again and
 * again; aux says how many reads it stands for. */
int handle_note(struct handles *hs, struct handle *h, uint64_t from, uint64_t to) MUST_CHECK;
/* Appends everybody's noted reads; watches whether the log keeps up. */
void handles_flush(struct handles *hs);
void handle_log_close(struct handles *hs, struct handle *h);

#endif

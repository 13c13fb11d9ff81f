/*
 * events.h — a decision becomes an audit record, durable, then state, then projection. And back: at
 * start the state is built from the log alone.
 */
#ifndef CUSTOS_EVENTS_H
#define CUSTOS_EVENTS_H

#include "policyd/policyd.h"

/* One event as a handler writes it. */
struct event {
	uint16_t op;
	const struct line_peer *peer; /* NULL: the daemon itself */
	uint64_t grant, object;
	int64_t from_ns, to_ns; /* footage times */
	uint16_t result;
	json_t *payload; /* taken over, also on failure; NULL is -ENOMEM */
};
/* Appends, waits until it is durable, applies. Blocks for as long as the disk does: meanwhile no
 * lease is renewed. -EIO: the log has failed (it has said so), nothing was applied, and from now on
 * everything is denied; -ENOMEM, -EMSGSIZE. A record that the state refuses is a bug of ours:
 * asserted. */
int event_commit(struct policyd *p, const struct event *ev) MUST_CHECK;

/* Replays DIR's log into a new state. each (may be NULL) is called after every applied record.
 * *last_ns: time of the newest record. -EUCLEAN with err when a record contradicts the state. */
typedef void event_each(void *arg, const struct pol_state_all *s);
int events_replay(const char *dir, struct pol_state_all **out, event_each *each, void *arg,
                  int64_t *last_ns, char *err, size_t err_bytes) MUST_CHECK;

#endif

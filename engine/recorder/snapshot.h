/*
 * snapshot.h — a signed policy snapshot (policyd/proto.h) into the engine's retention table. Pure
 * but for the signature check. Any thread.
 */
#ifndef CUSTOS_SNAPSHOT_H
#define CUSTOS_SNAPSHOT_H

#include "engine/engine.h"

struct snapshot {
	struct eng_retention table; /* points into the two below */
	struct eng_camera_ages *cameras;
	struct eng_keep *keeps;
};
/* note: signed text; vkey: the verifier key from the key file, never from a socket. One clear line
 * in err. -EKEYREJECTED: not signed by that key; -EUCLEAN: malformed. */
int snapshot_parse(const char *note, const char *vkey, struct snapshot **out, char *err,
                   size_t err_bytes) MUST_CHECK;
void snapshot_free(struct snapshot *s);

#endif

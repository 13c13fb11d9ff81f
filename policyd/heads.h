/*
 * heads.h — policyd as the witness of all logs: signs heads that only grow.
 *
 * For each origin the newest signed head is kept in state/policy/heads.json (signed notes), written
 * before a signature is given away; so none beside a log is ever newer (start.c compares). One
 * thread; signing blocks for a small file.
 */
#ifndef CUSTOS_HEADS_H
#define CUSTOS_HEADS_H

#include "engine/audit/note.h"

enum head_kind { HEAD_POLICY = 'p', HEAD_GATE = 'g', HEAD_RECORDER = 'r' };
struct pol_heads;
/* key is borrowed for the life of the heads. A missing file is an empty one; entries that our key
 * did not sign: -EUCLEAN with one line in err. */
int heads_open(const char *path, const struct note_key *key, struct pol_heads **out, char *err,
               size_t err_bytes) MUST_CHECK;
void heads_close(struct pol_heads *h);
/* Signs {origin, groups, root} as a checkpoint; *note is malloc'ed. An origin belongs to the kind
 * that used it first. -EPERM: another kind's; -ESTALE: smaller than signed before; -EKEYREJECTED:
 * the same size with another root; -EINVAL: malformed or too many origins; -EIO. */
int heads_sign(struct pol_heads *h, enum head_kind kind, const char *origin, uint64_t groups,
               const uint8_t root[32], char **note) MUST_CHECK;

/* The newest checkpoint that stands beside a log, so that what was signed is known also when
 * heads.json was removed or an older one put back. True: it is newer than what heads.json knew. One
 * that our key did not sign, or of another kind's origin, is left aside. */
bool heads_seed(struct pol_heads *h, enum head_kind kind, const char *note);
/* Is it news that heads_sign() answers err for this origin? Once until it succeeds, or fails in
 * another way. */
bool heads_news(struct pol_heads *h, const char *origin, int err);

#endif

/*
 * note.h — Ed25519 keys and signed notes (C2SP signed-note, tlog-checkpoint).
 *
 * A note is text lines, an empty line, and signature lines "— NAME BASE64". policyd signs
 * checkpoints of all logs and policy snapshots with one key; everybody verifies with its verifier
 * key "NAME+HASH8+BASE64". Pure but for the two file functions. Any thread.
 */
#ifndef CUSTOS_NOTE_H
#define CUSTOS_NOTE_H

#include "engine/base/base.h"

struct note_key; /* private */
#define NOTE_VKEY_MAX 256

/* Loads the private key (PEM) at path, or makes one there (mode 0400) and its verifier key beside
 * it as path.pub (0444); *made says which. -EACCES: others may read it (err tells the mode to set).
 */
int note_key_open(const char *path, const char *name, struct note_key **out, bool *made, char *err,
                  size_t err_bytes) MUST_CHECK;
void note_key_close(struct note_key *key);
void note_key_vkey(const struct note_key *key, char out[NOTE_VKEY_MAX]);
/* "SHA256:…" of the public key, for people to compare. -EINVAL: not a vkey. */
int note_fingerprint(const char *vkey, char out[80]) MUST_CHECK;
/* text must end in a newline; *out is malloc'ed. */
int note_sign(const struct note_key *key, const char *text, char **out) MUST_CHECK;
/* Checks that one signature of `note` is by vkey; *text_bytes is the length of the signed text at
 * note's start. -EUCLEAN: malformed; -EKEYREJECTED: not signed by this key. */
int note_verify(const char *vkey, const char *note, size_t *text_bytes) MUST_CHECK;

/* tlog-checkpoint body: origin \n size \n base64(root) \n [extension lines \n]. */
int note_checkpoint_format(const char *origin, uint64_t size, const uint8_t root[32],
                           const char *extension, char *out, size_t out_bytes) MUST_CHECK;
int note_checkpoint_parse(const char *text, char *origin, size_t origin_bytes, uint64_t *size,
                          uint8_t root[32]) MUST_CHECK;

/* Base64 (RFC 4648 with padding). encode: out holds 4*((n+2)/3)+1. decode: -EINVAL. */
void base64_encode(const void *in, size_t len, char *out);
int base64_decode(const char *in, size_t in_len, void *out, size_t out_max,
                  size_t *out_len) MUST_CHECK;

#endif

/*
 * notekey.h — inside the audit room: what note.c (formats) and notekey.c (the private key's file)
 * share. Others use note.h.
 */
#ifndef CUSTOS_NOTEKEY_H
#define CUSTOS_NOTEKEY_H

#include "engine/audit/note.h"

#define NOTE_ALG_ED25519 0x01
#define NOTE_PUB_BYTES   32u
#define NOTE_ID_BYTES    4u
#define NOTE_NAME_MAX    128u

const char *note_key_name(const struct note_key *key);
const uint8_t *note_key_pub(const struct note_key *key);
int note_key_sign_raw(const struct note_key *key, const void *text, size_t len,
                      uint8_t signature[64]) MUST_CHECK;

/* Not empty, printable, without '+' and space. */
bool note_name_ok(const char *name, size_t len);
/* name shorter than NOTE_NAME_MAX. */
void note_key_id(const char *name, const uint8_t pub[NOTE_PUB_BYTES], uint8_t id[NOTE_ID_BYTES]);
void note_vkey_format(const char *name, const uint8_t pub[NOTE_PUB_BYTES], char out[NOTE_VKEY_MAX]);

#endif

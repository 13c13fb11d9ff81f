/*
 * grant_text.h — the texts in a grant's tree: GRANT.txt and playlist.m3u8.
 */
#ifndef CUSTOS_GRANT_TEXT_H
#define CUSTOS_GRANT_TEXT_H

#include "fusefs/listing.h"

/* GRANT.txt: the grant's terms, and for each camera what the window holds: first picture, end,
 * gaps. The same text as long as grant and footage are the same; made anew as the window fills.
 * *out is malloc'ed. May read the store. */
int grant_text(struct grant *g, struct stores *s, struct listings *l, const char *fingerprint,
               char **out) MUST_CHECK;
/* The playlist of one camera: every file of the window, in order, by relative path. malloc'ed. */
int playlist_text(struct listings *l, struct grant *g, uint32_t camera, char **out) MUST_CHECK;

#endif

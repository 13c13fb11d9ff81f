/*
 * mp4_box.h — writing big-endian boxes into a buffer of known size. Private to mp4*.c.
 */
#ifndef CUSTOS_MP4_BOX_H
#define CUSTOS_MP4_BOX_H

#include <assert.h>

#include "fusefs/mp4.h"

/* The buffer was sized by mp4_header_bytes(): running past it is our own bug. */
struct box_out {
	uint8_t *p;
	size_t at, cap;
};

static inline void put_bytes(struct box_out *o, const void *bytes, size_t len)
{
	assert(len <= o->cap - o->at);
	if (len)
		memcpy(o->p + o->at, bytes, len);
	o->at += len;
}
static inline void put_zero(struct box_out *o, size_t len)
{
	assert(len <= o->cap - o->at);
	memset(o->p + o->at, 0, len);
	o->at += len;
}
static inline void put8(struct box_out *o, uint8_t v)
{
	put_bytes(o, &v, 1);
}
static inline void put16(struct box_out *o, uint16_t v)
{
	uint8_t b[2] = {(uint8_t)(v >> 8), (uint8_t)v};
	put_bytes(o, b, sizeof(b));
}
static inline void put32(struct box_out *o, uint32_t v)
{
	uint8_t b[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
	put_bytes(o, b, sizeof(b));
}
static inline void put64(struct box_out *o, uint64_t v)
{
	put32(o, (uint32_t)(v >> 32));
	put32(o, (uint32_t)v);
}
/* A box's size is filled in when it ends. */
static inline size_t box_begin(struct box_out *o, const char type[5])
{
	size_t at = o->at;

	put32(o, 0);
	put_bytes(o, type, 4);
	return at;
}
static inline size_t full_begin(struct box_out *o, const char type[5], uint8_t version,
                                uint32_t flags)
{
	size_t at = box_begin(o, type);

	put32(o, (uint32_t)version << 24 | flags);
	return at;
}
static inline void box_end(struct box_out *o, size_t at)
{
	struct box_out head = {o->p, at, o->cap};

	put32(&head, (uint32_t)(o->at - at));
}

/* mp4_entry.c: the stsd box (codec configuration) of a track, and its size. */
uint64_t mp4_stsd_bytes(const struct eng_track *t);
void mp4_stsd_put(struct box_out *o, const struct eng_track *t);
bool mp4_codec_known(uint16_t codec);

#endif

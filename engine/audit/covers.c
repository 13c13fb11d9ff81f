/*
 * covers.c — counting unsettled covers (covers.h): a hash table from handle to number of covers.
 *
 * Handles that were closed keep their slot with a count of zero until the next START, which empties
 * the table: simpler than deletion, and a gate numbers its handles anew in each incarnation.
 */
#include "engine/audit/covers.h"

#include <errno.h>
#include <stdlib.h>

struct slot {
	uint64_t handle, covers;
	bool used;
};
struct aud_covers {
	struct slot *slot;
	size_t room, used; /* room: a power of two, at least twice used */
	uint64_t unsettled;
};

int aud_covers_new(struct aud_covers **out)
{
	struct aud_covers *c = calloc(1, sizeof(*c));

	*out = c;
	if (!c)
		return -ENOMEM;
	c->room = 256;
	c->slot = calloc(c->room, sizeof(*c->slot));
	if (c->slot)
		return 0;
	free(c);
	*out = NULL;
	return -ENOMEM;
}

void aud_covers_free(struct aud_covers *c)
{
	if (!c)
		return;
	free(c->slot);
	free(c);
}

/* The handle's slot, or the free one where it belongs. */
static struct slot *find(const struct aud_covers *c, uint64_t handle)
{
	uint64_t hash = handle * UINT64_C(0x9e3779b97f4a7c15);
	size_t i = (size_t)(hash ^ hash >> 32) & (c->room - 1);

	while (c->slot[i].used && c->slot[i].handle != handle)
		i = (i + 1) & (c->room - 1);
	return &c->slot[i];
}

static int grow(struct aud_covers *c)
{
	struct aud_covers bigger = {.room = c->room * 2};

	bigger.slot = calloc(bigger.room, sizeof(*bigger.slot));
	if (!bigger.slot)
		return -ENOMEM;
	for (size_t i = 0; i < c->room; i++) {
		/* Closed handles are left behind. */
		if (!c->slot[i].covers)
			continue;
		*find(&bigger, c->slot[i].handle) = c->slot[i];
		bigger.used++;
	}
	free(c->slot);
	c->slot = bigger.slot;
	c->room = bigger.room;
	c->used = bigger.used;
	return 0;
}

static void settle_all(struct aud_covers *c)
{
	for (size_t i = 0; i < c->room; i++)
		c->unsettled += c->slot[i].covers;
	memset(c->slot, 0, c->room * sizeof(*c->slot));
	c->used = 0;
}

int aud_covers_see(struct aud_covers *c, const struct aud_record *r)
{
	struct slot *s;

	if (r->op == AUD_OP_START)
		settle_all(c);
	if (r->op != AUD_OP_COVER && r->op != AUD_OP_CLOSE)
		return 0;
	s = find(c, r->object);
	if (r->op == AUD_OP_CLOSE) {
		s->covers = 0;
		return 0;
	}
	if (!s->used) {
		if (2 * (c->used + 1) > c->room) {
			int err = grow(c);

			if (err)
				return err;
			s = find(c, r->object);
		}
		s->used = true;
		s->handle = r->object;
		c->used++;
	}
	s->covers++;
	return 0;
}

uint64_t aud_covers_unsettled(const struct aud_covers *c)
{
	return c->unsettled;
}

/*
 * handle.c — the table of open handles (handle.h). Like the node table: index and generation, so
 * that a number from outside is looked up, never believed. Their records are in handle_log.c.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "fusefs/handle_table.h"

int handles_new(struct aud_log *log, struct listings *l, struct handles **out)
{
	struct handles *hs = calloc(1, sizeof(*hs));

	if (!hs)
		return -ENOMEM;
	hs->log = log;
	hs->listings = l;
	pthread_mutex_init(&hs->lock, NULL);
	*out = hs;
	return 0;
}

void handles_free(struct handles *hs)
{
	if (!hs)
		return;
	assert(hs->n == 0);
	free(hs->slots);
	pthread_mutex_destroy(&hs->lock);
	free(hs);
}

struct handle *handle_new(uid_t uid, pid_t pid, struct grant *grant)
{
	struct handle *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->uid = uid;
	h->pid = pid;
	h->grant = grant ? grant_get(grant) : NULL;
	pthread_mutex_init(&h->lock, NULL);
	return h;
}

void handle_free(struct handles *hs, struct handle *h)
{
	if (!h)
		return;
	if (h->view)
		shared_view_put(hs->listings, h->view);
	for (size_t i = 0; i < h->n_entries; i++)
		free(h->entries[i].name);
	free(h->entries);
	free(h->text);
	grant_put(h->grant);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* With the lock held: a free slot, or HANDLES_MAX. */
static uint32_t slot_take(struct handles *hs)
{
	struct handle_slot *more;
	uint32_t want;

	for (uint32_t k = 0; k < hs->n_slots; k++) {
		uint32_t i = (hs->next_slot + k) % hs->n_slots;

		if (!hs->slots[i].handle) {
			hs->next_slot = i + 1;
			return i;
		}
		if (hs->n == hs->n_slots)
			break;
	}
	want = hs->n_slots ? hs->n_slots * 2 : 64;
	if (want > HANDLES_MAX)
		return HANDLES_MAX;
	more = realloc(hs->slots, want * sizeof(*more));
	if (!more)
		return HANDLES_MAX;
	memset(more + hs->n_slots, 0, (want - hs->n_slots) * sizeof(*more));
	hs->slots = more;
	hs->next_slot = hs->n_slots + 1;
	hs->n_slots = want;
	return hs->next_slot - 1;
}

/* What stays allocated for it; a shared view counts for each who holds it open. */
static size_t memory_of(const struct handle *h)
{
	size_t bytes = sizeof(*h);

	if (h->view)
		bytes += view_memory(shared_view(h->view));
	if (h->text)
		bytes += h->size_bytes;
	for (size_t i = 0; i < h->n_entries; i++)
		bytes += 2 * sizeof(*h->entries) + strlen(h->entries[i].name) + 1;
	return bytes;
}

/* With the lock held: is there room for one more of this uid? */
static int share_check(const struct handles *hs, const struct handle *h)
{
	size_t bytes = h->memory_bytes;
	uint32_t n = 0, bare = 0;

	for (uint32_t i = 0; i < hs->n_slots; i++) {
		const struct handle *x = hs->slots[i].handle;

		if (!x)
			continue;
		bare += !x->grant;
		if (x->uid != h->uid)
			continue;
		n++;
		bytes += x->memory_bytes;
	}
	if (n >= HANDLES_PER_UID || (n && bytes > HANDLES_BYTES_PER_UID))
		return -EMFILE;
	return !h->grant && bare >= HANDLES_BARE ? -ENFILE : 0;
}

int handle_add(struct handles *hs, struct handle *h)
{
	uint32_t i = HANDLES_MAX;
	int ret;

	h->memory_bytes = memory_of(h);
	pthread_mutex_lock(&hs->lock);
	ret = share_check(hs, h);
	if (!ret)
		i = slot_take(hs);
	if (i != HANDLES_MAX) {
		hs->slots[i].handle = h;
		hs->slots[i].generation++;
		h->fh = (uint64_t)hs->slots[i].generation << 32 | i;
		h->number = ++hs->last_number;
		h->refs = 1;
		hs->n++;
	}
	pthread_mutex_unlock(&hs->lock);
	return !ret && i == HANDLES_MAX ? -ENFILE : ret;
}

/* With the lock held. */
static struct handle_slot *slot_of(struct handles *hs, uint64_t fh)
{
	uint32_t i = (uint32_t)fh;

	if (i >= hs->n_slots || !hs->slots[i].handle || hs->slots[i].handle->fh != fh)
		return NULL;
	return &hs->slots[i];
}

struct handle *handle_get(struct handles *hs, uint64_t fh)
{
	struct handle_slot *s;
	struct handle *h = NULL;

	pthread_mutex_lock(&hs->lock);
	s = slot_of(hs, fh);
	if (s) {
		h = s->handle;
		h->refs++;
	}
	pthread_mutex_unlock(&hs->lock);
	return h;
}

void handle_put(struct handles *hs, struct handle *h)
{
	bool last;

	if (!h)
		return;
	pthread_mutex_lock(&hs->lock);
	assert(h->refs > 0);
	last = --h->refs == 0;
	pthread_mutex_unlock(&hs->lock);
	if (last)
		handle_free(hs, h);
}

void handle_remove(struct handles *hs, uint64_t fh)
{
	struct handle_slot *s;
	struct handle *h = NULL;

	pthread_mutex_lock(&hs->lock);
	s = slot_of(hs, fh);
	if (s) {
		h = s->handle;
		s->handle = NULL;
		hs->n--;
	}
	pthread_mutex_unlock(&hs->lock);
	handle_put(hs, h);
}

bool handles_text(struct handles *hs, uint64_t node, uint64_t *size_bytes)
{
	uint64_t last = 0;

	pthread_mutex_lock(&hs->lock);
	for (uint32_t i = 0; i < hs->n_slots; i++) {
		const struct handle *h = hs->slots[i].handle;

		if (h && h->text && h->node == node && h->number > last) {
			last = h->number;
			*size_bytes = h->size_bytes;
		}
	}
	pthread_mutex_unlock(&hs->lock);
	return last > 0;
}

size_t handles_count(struct handles *hs)
{
	size_t n = 0;

	pthread_mutex_lock(&hs->lock);
	for (uint32_t i = 0; i < hs->n_slots; i++)
		n += hs->slots[i].handle && !hs->slots[i].handle->entries;
	pthread_mutex_unlock(&hs->lock);
	return n;
}

uint64_t handles_reads(struct handles *hs)
{
	return atomic_load(&hs->reads);
}

int handles_of(struct handles *hs, const struct grant *g, struct handle ***out, size_t *n)
{
	*n = 0;
	pthread_mutex_lock(&hs->lock);
	*out = calloc(hs->n + 1, sizeof(struct handle *));
	for (uint32_t i = 0; *out && i < hs->n_slots; i++) {
		struct handle *h = hs->slots[i].handle;

		if (h && (!g || h->grant == g)) {
			h->refs++;
			(*out)[(*n)++] = h;
		}
	}
	pthread_mutex_unlock(&hs->lock);
	return *out ? 0 : -ENOMEM;
}

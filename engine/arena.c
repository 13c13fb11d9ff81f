/*
 * arena.c — the writer's bounded memory: one mapping, faulted in at start, in blocks of 16 KiB.
 *
 * Frames wait in single blocks taken from the high end (a camera that sends little holds little, so
 * a thousand fit in a bound that gives each a fraction of a chunk). A chunk that is complete moves
 * into one piece taken from the low end, which the device writes from. The lowest quarter never
 * holds frames, so a complete chunk finds its piece as soon as earlier ones are durable: staging
 * can starve new frames, never the way out.
 */
#include "engine/writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

int arena_open(struct arena *a, uint64_t bytes)
{
	void *map;

	*a = (struct arena){.n = (uint32_t)(bytes / ARENA_BLOCK)};
	a->bytes = (size_t)a->n * ARENA_BLOCK;
	a->stage_floor = a->n / 4;
	map = mmap(NULL, a->bytes, PROT_READ | PROT_WRITE,
	           MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	a->base = map;
	a->taken = calloc(a->n, 1);
	a->next = malloc(a->n * sizeof(*a->next));
	if (!a->taken || !a->next) {
		arena_close(a);
		return -ENOMEM;
	}
	return 0;
}

void arena_close(struct arena *a)
{
	if (a->base)
		munmap(a->base, a->bytes);
	free(a->taken);
	free(a->next);
	*a = (struct arena){0};
}

uint8_t *arena_run(struct arena *a, uint32_t n)
{
	uint32_t have = 0;

	for (uint32_t i = 0; i < a->n; i++) {
		have = a->taken[i] ? 0 : have + 1;
		if (have < n)
			continue;
		uint32_t first = i + 1 - n;
		memset(a->taken + first, 1, n);
		a->used += n;
		return arena_block(a, first);
	}
	return NULL;
}

void arena_run_free(struct arena *a, const uint8_t *run, uint32_t n)
{
	uint32_t first = (uint32_t)((size_t)(run - a->base) / ARENA_BLOCK);

	assert(first + n <= a->n && a->taken[first] && a->taken[first + n - 1]);
	memset(a->taken + first, 0, n);
	a->used -= n;
}

/* Never counts more than there are; runs that reach into the high part are rare. */
uint32_t arena_stage_free(const struct arena *a)
{
	uint32_t free_blocks = 0;

	for (uint32_t i = a->stage_floor; i < a->n && free_blocks < CHUNK_FRAMES_MAX; i++)
		free_blocks += !a->taken[i];
	return free_blocks;
}

uint32_t arena_stage_take(struct arena *a)
{
	for (uint32_t i = a->n; i-- > a->stage_floor;) {
		if (a->taken[i])
			continue;
		a->taken[i] = 1;
		a->next[i] = ARENA_NONE;
		a->used++;
		return i;
	}
	return ARENA_NONE;
}

void arena_stage_give(struct arena *a, uint32_t first)
{
	while (first != ARENA_NONE) {
		uint32_t next = a->next[first];

		assert(a->taken[first]);
		a->taken[first] = 0;
		a->used--;
		first = next;
	}
}

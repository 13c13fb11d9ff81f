/*
 * arena.c — the writer's bounded memory: one mapping in blocks of 16 KiB, faulted in ahead of need.
 *
 * Frames wait in single blocks taken from the high end (a camera that sends little holds little, so
 * a thousand fit in a bound that gives each a fraction of a chunk). A chunk that is complete moves
 * into one piece taken from the low end, which the device writes from. The lowest quarter never
 * holds frames, so a complete chunk finds its piece as soon as earlier ones are durable: staging
 * can starve new frames, never the way out.
 *
 *   0 ── pieces ──▶ low ─ ─ ─ not touched yet ─ ─ ─ high ◀── frames ── n
 *
 * The bound is for a disk that stalls; an ordinary day needs little of it. So each end starts with
 * one step, and arena_grow() adds one when use comes within half a step of what is there. What
 * outruns that is slower by its page faults and otherwise the same. A piece does not reach over a
 * step's border unless it is longer than one: steps are what the device registers.
 */
#include "engine/writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096

/* Some of it may be in use already: what is there stays. */
static void touch(const struct arena *a, uint32_t from, uint32_t to)
{
	volatile uint8_t *p = arena_block(a, from), *end = arena_block(a, to);

	for (; p < end; p += PAGE_BYTES)
		*p = *p;
}

static void grow_low(struct arena *a)
{
	uint32_t to = a->high - a->low > ARENA_STEP ? a->low + ARENA_STEP : a->high;

	touch(a, a->low, to);
	a->low = to;
}

static void grow_high(struct arena *a)
{
	uint32_t to = a->high - a->low > ARENA_STEP ? a->high - ARENA_STEP : a->low;

	touch(a, to, a->high);
	a->high = to;
}

int arena_open(struct arena *a, uint64_t bytes)
{
	void *map;

	*a = (struct arena){.n = (uint32_t)(bytes / ARENA_BLOCK)};
	a->bytes = (size_t)a->n * ARENA_BLOCK;
	a->stage_floor = a->n / 4;
	a->stage_free = a->n - a->stage_floor;
	a->stage_top = a->n;
	a->high = a->n;
	map = mmap(NULL, a->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	a->base = map;
	a->taken = calloc(a->n, 1);
	a->next = malloc(a->n * sizeof(*a->next));
	if (!a->taken || !a->next) {
		arena_close(a);
		return -ENOMEM;
	}
	grow_low(a);
	grow_high(a);
	return 0;
}

bool arena_grow(struct arena *a)
{
	uint32_t half = ARENA_STEP / 2;
	uint32_t top = a->low > half ? a->low - half : 0;
	uint32_t bottom = a->n - a->high > half ? a->high + half : a->n;

	if (a->low == a->high)
		return false;
	if (memchr(a->taken + a->high, 1, bottom - a->high))
		grow_high(a);
	if (a->low == a->high || !memchr(a->taken + top, 1, a->low - top))
		return false;
	grow_low(a);
	return true;
}

void arena_close(struct arena *a)
{
	if (a->base)
		munmap(a->base, a->bytes);
	free(a->taken);
	free(a->next);
	*a = (struct arena){0};
}

/* How many of [first, first + n) frames may wait in. */
static uint32_t stage_part(const struct arena *a, uint32_t first, uint32_t n)
{
	uint32_t end = first + n;

	if (end <= a->stage_floor)
		return 0;
	return first < a->stage_floor ? end - a->stage_floor : n;
}

static void stage_freed(struct arena *a, uint32_t end)
{
	if (a->stage_top < end)
		a->stage_top = end;
}

uint8_t *arena_run(struct arena *a, uint32_t n)
{
	uint32_t have = 0;

	for (uint32_t i = 0; i < a->n; i++) {
		if (n <= ARENA_STEP && i % ARENA_STEP == 0)
			have = 0;
		have = a->taken[i] ? 0 : have + 1;
		if (have < n)
			continue;
		uint32_t first = i + 1 - n;
		memset(a->taken + first, 1, n);
		a->used += n;
		a->stage_free -= stage_part(a, first, n);
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
	a->stage_free += stage_part(a, first, n);
	stage_freed(a, first + n);
}

uint32_t arena_stage_free(const struct arena *a)
{
	return a->stage_free;
}

uint32_t arena_stage_take(struct arena *a)
{
	for (uint32_t i = a->stage_top; i-- > a->stage_floor;) {
		if (a->taken[i])
			continue;
		a->taken[i] = 1;
		a->next[i] = ARENA_NONE;
		a->used++;
		a->stage_free--;
		a->stage_top = i;
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
		a->stage_free++;
		stage_freed(a, first + 1);
		first = next;
	}
}

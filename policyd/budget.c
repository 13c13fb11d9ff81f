/*
 * A small table of the noisiest uids. When it is full the entry whose window began first gives way
 * unless it has something counted; then the newcomer is recorded, which errs towards the log.
 */
#include <errno.h>
#include <stdlib.h>

#include "policyd/budget.h"

#define UIDS_MAX 128

struct pol_budget {
	struct entry {
		uint32_t uid, used, counted;
		int64_t begin_ns;
		bool taken;
	} entry[UIDS_MAX];
};

int budget_new(struct pol_budget **out)
{
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

void budget_free(struct pol_budget *b)
{
	free(b);
}

static struct entry *find(struct pol_budget *b, uint32_t uid)
{
	struct entry *oldest = NULL;

	for (size_t i = 0; i < UIDS_MAX; i++) {
		struct entry *e = &b->entry[i];

		if (e->taken && e->uid == uid)
			return e;
		if (!e->taken ||
		    (!e->counted && (!oldest || (oldest->taken && e->begin_ns < oldest->begin_ns))))
			oldest = e;
	}
	if (oldest)
		*oldest = (struct entry){.uid = uid};
	return oldest;
}

bool budget_take(struct pol_budget *b, uint32_t uid, int64_t boot_ns, uint32_t most)
{
	struct entry *e = find(b, uid);

	if (!e)
		return true;
	if (!e->taken || (boot_ns - e->begin_ns >= BUDGET_WINDOW_NS && !e->counted)) {
		*e = (struct entry){.uid = uid, .begin_ns = boot_ns, .taken = true};
	}
	if (e->used < most) {
		e->used++;
		return true;
	}
	e->counted++;
	return false;
}

bool budget_due(struct pol_budget *b, int64_t boot_ns, uint32_t *uid, uint32_t *count)
{
	for (size_t i = 0; i < UIDS_MAX; i++) {
		struct entry *e = &b->entry[i];

		if (!e->taken || !e->counted || boot_ns - e->begin_ns < BUDGET_WINDOW_NS)
			continue;
		*uid = e->uid;
		*count = e->counted;
		e->taken = false;
		return true;
	}
	return false;
}

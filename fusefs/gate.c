/*
 * gate.c — the grants in force, the lease, the checks, and the drain of a revocation (gate.h).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "fusefs/gate.h"

struct gate {
	pthread_rwlock_t lock; /* grants, n */
	struct grant **grants; /* sorted by number */
	size_t n;
	_Atomic int64_t lease_end_ns;  /* CLOCK_BOOTTIME */
	_Atomic int64_t wall_ahead_ns; /* largest (wall - boot) seen */
	pthread_mutex_t drain_lock;
	pthread_cond_t drained;
};

const char *gate_verdict_name(enum gate_verdict v)
{
	static const char *const name[] = {"ok", "not-owner", "no-lease", "revoked", "expired"};

	return (size_t)v < ARRAY_LEN(name) ? name[v] : "?";
}

enum gate_verdict gate_judge(const struct gate_facts *f)
{
	if (f->caller != f->owner)
		return GATE_NOT_OWNER;
	if (f->revoked)
		return GATE_REVOKED;
	if (f->now_ns >= f->until_ns)
		return GATE_EXPIRED;
	if (f->boot_ns >= f->lease_end_ns)
		return GATE_NO_LEASE;
	return GATE_OK;
}

int gate_new(struct gate **out)
{
	struct gate *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	pthread_rwlock_init(&g->lock, NULL);
	pthread_mutex_init(&g->drain_lock, NULL);
	pthread_cond_init(&g->drained, NULL);
	atomic_init(&g->wall_ahead_ns, clock_wall_ns() - clock_boot_ns());
	*out = g;
	return 0;
}

void gate_free(struct gate *g)
{
	if (!g)
		return;
	for (size_t i = 0; i < g->n; i++)
		grant_put(g->grants[i]);
	free(g->grants);
	pthread_rwlock_destroy(&g->lock);
	pthread_mutex_destroy(&g->drain_lock);
	pthread_cond_destroy(&g->drained);
	free(g);
}

int64_t gate_now_ns(struct gate *g)
{
	int64_t boot = clock_boot_ns();
	int64_t ahead = clock_wall_ns() - boot;
	int64_t most = atomic_load(&g->wall_ahead_ns);

	while (ahead > most && !atomic_compare_exchange_weak(&g->wall_ahead_ns, &most, ahead))
		;
	return boot + (ahead > most ? ahead : most);
}

void gate_lease_set(struct gate *g, int64_t end_boot_ns)
{
	atomic_store(&g->lease_end_ns, end_boot_ns);
}

int64_t gate_lease_left_ns(const struct gate *g)
{
	return atomic_load(&g->lease_end_ns) - clock_boot_ns();
}

size_t gate_count(struct gate *g)
{
	size_t n;

	pthread_rwlock_rdlock(&g->lock);
	n = g->n;
	pthread_rwlock_unlock(&g->lock);
	return n;
}

enum gate_verdict gate_check(struct gate *g, struct grant *grant, uid_t caller)
{
	struct gate_facts f = {
	        .caller = caller,
	        .owner = grant->uid,
	        .revoked = atomic_load(&grant->revoked),
	        .now_ns = gate_now_ns(g),
	        .until_ns = grant->until_ns,
	        .boot_ns = clock_boot_ns(),
	        .lease_end_ns = atomic_load(&g->lease_end_ns),
	};

	return gate_judge(&f);
}

struct grant *gate_find(struct gate *g, uid_t caller, const char *user, uint64_t id)
{
	struct grant *found = NULL;

	pthread_rwlock_rdlock(&g->lock);
	for (size_t i = 0; i < g->n && !found; i++)
		if (g->grants[i]->id == id && !strcmp(g->grants[i]->user, user) &&
		    gate_check(g, g->grants[i], caller) == GATE_OK)
			found = grant_get(g->grants[i]);
	pthread_rwlock_unlock(&g->lock);
	return found;
}

bool gate_knows(struct gate *g, const char *user)
{
	bool known = false;

	pthread_rwlock_rdlock(&g->lock);
	for (size_t i = 0; i < g->n && !known; i++)
		known = !strcmp(g->grants[i]->user, user);
	pthread_rwlock_unlock(&g->lock);
	return known;
}

int gate_list(struct gate *g, uid_t caller, const char *user, struct grant ***out, size_t *n)
{
	*n = 0;
	pthread_rwlock_rdlock(&g->lock);
	*out = calloc(g->n + 1, sizeof(struct grant *));
	for (size_t i = 0; *out && i < g->n; i++)
		if (!strcmp(g->grants[i]->user, user) &&
		    gate_check(g, g->grants[i], caller) == GATE_OK)
			(*out)[(*n)++] = grant_get(g->grants[i]);
	pthread_rwlock_unlock(&g->lock);
	return *out ? 0 : -ENOMEM;
}

/* ---------------------------------------------------------------- a new list comes into force */

static int by_number(const void *a, const void *b)
{
	const struct grant *const *x = a;
	const struct grant *const *y = b;

	return (*x)->id < (*y)->id ? -1 : (*x)->id > (*y)->id;
}

static struct grant *same_in(struct grant **list, size_t n, json_t *object)
{
	for (size_t i = 0; i < n; i++)
		if (json_equal(list[i]->source, object))
			return list[i];
	return NULL;
}

static bool listed(struct grant **list, size_t n, const struct grant *g)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == g)
			return true;
	return false;
}

/* The objects of the new list: old ones where nothing changed, else new ones. */
static int build(struct gate *g, json_t *list, struct grant **fresh, size_t *n)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		json_t *o = json_array_get(list, i);
		const char *state = json_string_value(json_object_get(o, "state"));
		struct grant *x = same_in(g->grants, g->n, o);
		int ret = 0;

		if (state && strcmp(state, "active") != 0)
			continue;
		if (x)
			grant_get(x);
		else
			ret = grant_parse(o, &x);
		if (ret == -ENOMEM)
			return ret;
		if (ret) {
			log_err("policyd sent a grant that makes no sense (item %zu): not served; "
			        "compare the versions of custos-policyd and custosfs",
			        i);
			continue;
		}
		fresh[(*n)++] = x;
	}
	qsort(fresh, *n, sizeof(struct grant *), by_number);
	return 0;
}

int gate_apply(struct gate *g, json_t *list, struct grant ***gone, size_t *n_gone)
{
	struct grant **fresh, **old;
	size_t n = 0, n_old;
	int ret;

	if (!json_is_array(list))
		return -EINVAL;
	fresh = calloc(json_array_size(list) + 1, sizeof(struct grant *));
	*gone = calloc(g->n + 1, sizeof(struct grant *));
	*n_gone = 0;
	ret = fresh && *gone ? build(g, list, fresh, &n) : -ENOMEM;
	if (ret) { /* out of memory: deny everything rather than serve what may be revoked */
		for (size_t i = 0; i < n; i++)
			grant_put(fresh[i]);
		n = 0;
	}
	pthread_rwlock_wrlock(&g->lock);
	old = g->grants;
	n_old = g->n;
	g->grants = fresh;
	g->n = fresh ? n : 0;
	for (size_t i = 0; i < n_old; i++)
		if (!listed(fresh, n, old[i]))
			atomic_store(&old[i]->revoked, true);
	pthread_rwlock_unlock(&g->lock);

	for (size_t i = 0; i < n_old; i++) {
		if (*gone && atomic_load(&old[i]->revoked))
			(*gone)[(*n_gone)++] = old[i];
		else
			grant_put(old[i]);
	}
	free(old);
	return ret;
}

/* ---------------------------------------------------------------- replies and the drain */

enum gate_verdict gate_reply_begin(struct gate *g, struct grant *grant, uid_t caller)
{
	enum gate_verdict v;

	atomic_fetch_add(&grant->replying, 1);
	v = gate_check(g, grant, caller);
	if (v != GATE_OK)
		gate_reply_end(g, grant);
	return v;
}

void gate_reply_end(struct gate *g, struct grant *grant)
{
	int before = atomic_fetch_sub(&grant->replying, 1);

	assert(before > 0);
	if (before == 1 && atomic_load(&grant->revoked)) {
		pthread_mutex_lock(&g->drain_lock);
		pthread_cond_broadcast(&g->drained);
		pthread_mutex_unlock(&g->drain_lock);
	}
}

void gate_drain(struct gate *g, struct grant *grant)
{
	assert(atomic_load(&grant->revoked));
	pthread_mutex_lock(&g->drain_lock);
	while (atomic_load(&grant->replying))
		pthread_cond_wait(&g->drained, &g->drain_lock);
	pthread_mutex_unlock(&g->drain_lock);
}

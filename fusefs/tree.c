/*
 * tree.c — the node table (tree.h): slots by index, chains by hash, one mutex. Slots are given out
 * anew with a higher generation, so a stale or invented id is told from a live one.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "fusefs/tree.h"

#define FIRST_SLOT 2 /* 0 is no id, 1 is the root */
#define BUCKETS    4096

struct slot {
	struct node *node; /* NULL: free */
	uint32_t generation;
	uint32_t next_free;
};
struct tree {
	pthread_mutex_t lock;
	struct slot *slots;
	uint32_t n_slots, free_head; /* free_head 0: none */
	uint32_t hand;               /* where tree_surplus() goes on */
	size_t n_nodes, n_users;
	struct node *bucket[BUCKETS];
	struct node root;
};

int tree_new(struct tree **out)
{
	struct tree *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	pthread_mutex_init(&t->lock, NULL);
	t->n_slots = FIRST_SLOT;
	t->root = (struct node){.kind = NODE_ROOT, .ino = 1, .id = 1};
	*out = t;
	return 0;
}

static void node_free(struct node *n)
{
	free(n->user);
	grant_put(n->grant);
	free(n);
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct node *n = t->bucket[i], *next; n; n = next) {
			next = n->next;
			node_free(n);
		}
	free(t->slots);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static bool same(const struct node *a, const struct node *b)
{
	return a->kind == b->kind && a->grant == b->grant && !strcmp(a->user, b->user) &&
	       a->camera == b->camera && !strcmp(a->day, b->day) &&
	       !strcmp(a->file.name, b->file.name) && a->file.run == b->file.run &&
	       a->file.a_ns == b->file.a_ns && a->file.b_ns == b->file.b_ns &&
	       !memcmp(a->file.stream, b->file.stream, sizeof(a->file.stream));
}

/* A slot index, or 0 without memory. */
static uint32_t slot_take(struct tree *t)
{
	uint32_t i = t->free_head;

	if (i) {
		t->free_head = t->slots[i].next_free;
		return i;
	}
	if (!t->slots || (t->n_slots & (t->n_slots - 1)) == 0) {
		struct slot *more = realloc(t->slots, sizeof(*more) * 2 * (size_t)t->n_slots);

		if (!more)
			return 0;
		t->slots = more;
	}
	t->slots[t->n_slots].generation = 0;
	return t->n_slots++;
}

static struct node *node_make(struct tree *t, const struct node *key, uint64_t ino)
{
	struct node *n = calloc(1, sizeof(*n));
	uint32_t i;

	if (!n)
		return NULL;
	*n = *key;
	n->user = strdup(key->user);
	n->grant = NULL;
	n->refs = 0;
	n->lookups = 0;
	i = n->user ? slot_take(t) : 0;
	if (!i) {
		node_free(n);
		return NULL;
	}
	if (key->grant)
		n->grant = grant_get(key->grant);
	t->slots[i].node = n;
	t->slots[i].generation++;
	n->id = (uint64_t)t->slots[i].generation << 32 | i;
	n->ino = ino;
	n->next = t->bucket[ino % BUCKETS];
	t->bucket[ino % BUCKETS] = n;
	t->n_nodes++;
	t->n_users += n->kind == NODE_USER;
	return n;
}

int tree_intern(struct tree *t, const struct node *key, struct node **out)
{
	uint64_t ino = tree_ino(key);
	struct node *n;

	assert(key->kind != NODE_ROOT && key->user);
	pthread_mutex_lock(&t->lock);
	for (n = t->bucket[ino % BUCKETS]; n && !same(n, key); n = n->next)
		;
	if (!n)
		n = node_make(t, key, ino);
	if (n) {
		n->lookups++;
		n->refs++;
	}
	pthread_mutex_unlock(&t->lock);
	*out = n;
	return n ? 0 : -ENOMEM;
}

/* With the lock held. */
static struct node *by_id(struct tree *t, uint64_t id)
{
	uint32_t i = (uint32_t)id;

	if (i < FIRST_SLOT || i >= t->n_slots || !t->slots[i].node || t->slots[i].node->id != id)
		return NULL;
	return t->slots[i].node;
}

struct node *tree_get(struct tree *t, uint64_t id)
{
	struct node *n;

	if (id == 1)
		return &t->root;
	pthread_mutex_lock(&t->lock);
	n = by_id(t, id);
	if (n)
		n->refs++;
	pthread_mutex_unlock(&t->lock);
	return n;
}

/* With the lock held: gone when the kernel has forgotten it and no handler works on it. */
static void drop_if_unused(struct tree *t, struct node *n)
{
	struct node **p = &t->bucket[n->ino % BUCKETS];
	uint32_t i = (uint32_t)n->id;

	if (n->refs || n->lookups)
		return;
	while (*p != n)
		p = &(*p)->next;
	*p = n->next;
	t->slots[i].node = NULL;
	t->slots[i].next_free = t->free_head;
	t->free_head = i;
	t->n_nodes--;
	t->n_users -= n->kind == NODE_USER;
	node_free(n);
}

void tree_put(struct tree *t, struct node *n)
{
	if (!n || n == &t->root)
		return;
	pthread_mutex_lock(&t->lock);
	assert(n->refs > 0);
	n->refs--;
	drop_if_unused(t, n);
	pthread_mutex_unlock(&t->lock);
}

void tree_forget(struct tree *t, uint64_t id, uint64_t lookups)
{
	struct node *n;

	pthread_mutex_lock(&t->lock);
	n = by_id(t, id);
	if (n) {
		n->lookups -= lookups < n->lookups ? lookups : n->lookups;
		drop_if_unused(t, n);
	}
	pthread_mutex_unlock(&t->lock);
}

size_t tree_surplus(struct tree *t, size_t keep, char (*names)[TREE_NAME_MAX], size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&t->lock);
	if (t->n_users <= keep)
		max = 0;
	else if (t->n_users - keep < max)
		max = t->n_users - keep;
	for (uint32_t i = 0; i < t->n_slots && n < max; i++, t->hand++) {
		const struct node *x;

		if (t->hand < FIRST_SLOT || t->hand >= t->n_slots)
			t->hand = FIRST_SLOT;
		x = t->slots[t->hand].node;
		if (x && x->kind == NODE_USER) /* tree_user_valid(): it fits */
			snprintf(names[n++], TREE_NAME_MAX, "%s", x->user);
	}
	pthread_mutex_unlock(&t->lock);
	return n;
}

size_t tree_count(struct tree *t)
{
	size_t n;

	pthread_mutex_lock(&t->lock);
	n = t->n_nodes;
	pthread_mutex_unlock(&t->lock);
	return n;
}

/*
 * test_gate_tree.c — names and nodes: what parses, what is shared and what never is, ids that were
 * forgotten or invented.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fusefs/tree.h"
#include "tests/unit/support_gate.h"
#include "tests/unit/support_grant.h"

static struct grant *make_grant(int64_t id, int64_t uid, const char *user)
{
	json_t *o = grant_json(id, uid, user);
	struct grant *g;

	assert_int_equal(grant_parse(o, &g), 0);
	json_decref(o);
	return g;
}

static void names(void **state)
{
	uint64_t id;

	(void)state;
	assert_true(tree_user_valid("ann"));
	assert_true(tree_user_valid("uid:1004"));
	assert_true(tree_user_valid("王芳"));
	assert_false(tree_user_valid(""));
	assert_false(tree_user_valid(".Trash"));
	assert_false(tree_user_valid("a/b"));
	assert_false(tree_user_valid("\xff\xfe"));
	assert_int_equal(tree_grant_parse("7", &id), 0);
	assert_int_equal(id, 7);
	assert_int_equal(tree_grant_parse("999999999999999999", &id), 0);
	for (const char *const *bad = (const char *const[]){"", "0", "07", "-1", "+1", "7 ", "7x",
	                                                    "9999999999999999999", NULL};
	     *bad; bad++)
		assert_int_equal(tree_grant_parse(*bad, &id), -EINVAL);
	assert_true(tree_day_valid("2026-11-20"));
	assert_false(tree_day_valid("2026-11-2"));
	assert_false(tree_day_valid("2026-11-200"));
	assert_false(tree_day_valid("2026/11/20"));
}

static void camera_names(void **state)
{
	struct grant *g = make_grant(7, 1000, "ann");
	char out[TREE_NAME_MAX * 2];
	uint32_t i;

	(void)state;
	tree_camera_name("../x%/.y", out);
	assert_string_equal(out, "%2E.%2Fx%25%2F.y");
	tree_camera_name("GRANT.txt", out);
	assert_string_equal(out, "%47RANT.txt");
	tree_camera_name("GRANT.txt2", out);
	assert_string_equal(out, "GRANT.txt2");
	tree_camera_name("东门", out);
	assert_string_equal(out, "东门");
	assert_int_equal(tree_camera_find(g, "东门", &i), 0);
	assert_int_equal(i, 1);
	assert_int_equal(tree_camera_find(g, "dock-4", &i), -ENOENT);
	assert_int_equal(tree_camera_find(g, "", &i), -ENOENT);
	grant_put(g);
}

static void nodes_are_shared_by_identity_only(void **state)
{
	struct grant *a = make_grant(7, 1000, "ann"), *b = make_grant(7, 1000, "ann");
	struct node key = {.kind = NODE_CAMERA, .user = (char *)"ann", .grant = a, .camera = 0};
	struct node *n, *again, *other;
	struct tree *t;

	(void)state;
	assert_int_equal(tree_new(&t), 0);
	assert_int_equal(tree_intern(t, &key, &n), 0);
	assert_int_equal(tree_intern(t, &key, &again), 0);
	assert_ptr_equal(n, again);
	key.camera = 1;
	assert_int_equal(tree_intern(t, &key, &other), 0);
	assert_ptr_not_equal(n, other);
	assert_true(n->ino != other->ino);
	tree_put(t, other);
	/* The same number, another grant object (it changed): another node, the same inode number.
	 */
	key.camera = 0;
	key.grant = b;
	assert_int_equal(tree_intern(t, &key, &other), 0);
	assert_ptr_not_equal(n, other);
	assert_true(n->id != other->id);
	assert_int_equal(n->ino, other->ino);
	tree_put(t, other);
	tree_put(t, n);
	tree_put(t, again);
	assert_int_equal(tree_count(t), 3);
	tree_free(t);
	grant_put(a);
	grant_put(b);
}

static void forgotten_ids_stay_forgotten(void **state)
{
	struct node key = {.kind = NODE_USER, .user = (char *)"ann"}, *n, *m;
	struct tree *t;
	uint64_t id;

	(void)state;
	assert_int_equal(tree_new(&t), 0);
	assert_int_equal(tree_get(t, 1)->kind, NODE_ROOT);
	assert_int_equal(tree_intern(t, &key, &n), 0);
	id = n->id;
	tree_put(t, n);
	n = tree_get(t, id);
	assert_non_null(n);
	tree_forget(t, id, 1); /* a handler still works on it */
	assert_int_equal(tree_count(t), 1);
	tree_put(t, n);
	assert_int_equal(tree_count(t), 0);
	assert_null(tree_get(t, id));
	key.user = (char *)"bob"; /* takes the slot: another generation */
	assert_int_equal(tree_intern(t, &key, &m), 0);
	assert_int_equal((uint32_t)m->id, (uint32_t)id);
	assert_true(m->id != id);
	assert_null(tree_get(t, id));
	tree_forget(t, id, 1); /* a stale forget takes nothing from the new one */
	tree_put(t, m);
	assert_non_null(m = tree_get(t, m->id));
	tree_put(t, m);
	assert_null(tree_get(t, 0));
	assert_null(tree_get(t, UINT64_MAX));
	assert_null(tree_get(t, 77));
	tree_free(t);
}

/* Random interning and forgetting against a plain count. */
static void counts_hold_under_random_use(void **state)
{
	uint64_t rnd = view_seed("test_gate_tree"), ids[64] = {0};
	uint64_t lookups[64] = {0}, live = 0;
	struct tree *t;

	(void)state;
	assert_int_equal(tree_new(&t), 0);
	for (int i = 0; i < 50000; i++) {
		size_t k = view_random(&rnd) % 64;
		char user[16];
		struct node key = {.kind = NODE_USER, .user = user}, *n;

		snprintf(user, sizeof(user), "u%zu", k);
		if (view_random(&rnd) % 2) {
			assert_int_equal(tree_intern(t, &key, &n), 0);
			assert_true(!lookups[k] || n->id == ids[k]);
			live += !lookups[k]++;
			ids[k] = n->id;
			tree_put(t, n);
		} else if (lookups[k]) {
			uint64_t some = 1 + view_random(&rnd) % lookups[k];

			tree_forget(t, ids[k], some);
			lookups[k] -= some;
			live -= !lookups[k];
			n = tree_get(t, ids[k]);
			assert_true(!n == !lookups[k]);
			tree_put(t, n);
		}
		assert_int_equal(tree_count(t), live);
	}
	tree_free(t);
}

static void paths(void **state)
{
	struct grant *g = make_grant(7, 1000, "ann");
	struct node n = {.kind = NODE_FILE,
	                 .user = (char *)"ann",
	                 .grant = g,
	                 .camera = 1,
	                 .day = "2026-11-20",
	                 .file.name = "x.mp4"};
	char path[TREE_PATH_MAX];

	(void)state;
	tree_path(&n, path);
	assert_string_equal(path, "/ann/7/东门/2026-11-20/x.mp4");
	n.kind = NODE_TEXT;
	tree_path(&n, path);
	assert_string_equal(path, "/ann/7/GRANT.txt");
	n.kind = NODE_PLAYLIST;
	tree_path(&n, path);
	assert_string_equal(path, "/ann/7/东门/playlist.m3u8");
	n.kind = NODE_ROOT;
	tree_path(&n, path);
	assert_string_equal(path, "/");
	grant_put(g);
}

/* Names that were only tried are offered for forgetting, every one in its turn, and no others. */
static void surplus_names(void **state)
{
	enum { KEEP = 100, ALL = 350 };
	char name[TREE_NAME_MAX], (*out)[TREE_NAME_MAX] = calloc(ALL, sizeof(*out));
	struct grant *g = make_grant(7, 1000, "ann");
	struct node key = {.kind = NODE_USER, .user = name}, *n;
	uint64_t id[ALL];
	bool seen[ALL] = {false};
	struct tree *t;

	(void)state;
	assert_int_equal(tree_new(&t), 0);
	for (int i = 0; i < ALL; i++) {
		snprintf(name, sizeof(name), "u%d", i);
		assert_int_equal(tree_surplus(t, KEEP, out, 1), i > KEEP);
		assert_int_equal(tree_intern(t, &key, &n), 0);
		id[i] = n->id;
		tree_put(t, n);
	}
	key = (struct node){.kind = NODE_GRANT, .user = name, .grant = g};
	assert_int_equal(tree_intern(t, &key, &n), 0);
	for (int round = 0; round < 4; round++) {
		size_t got = tree_surplus(t, KEEP, out, 100);

		assert_int_equal(got, 100);
		for (size_t i = 0; i < got; i++)
			seen[atoi(out[i] + 1)] = true;
	}
	for (int i = 0; i < ALL; i++)
		assert_true(seen[i]);
	for (int i = 0; i < ALL; i++)
		tree_forget(t, id[i], 1);
	assert_int_equal(tree_surplus(t, 0, out, ALL), 0);
	tree_forget(t, n->id, 1);
	tree_put(t, n);
	assert_int_equal(tree_count(t), 0);
	tree_free(t);
	grant_put(g);
	free(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(names),
	        cmocka_unit_test(camera_names),
	        cmocka_unit_test(nodes_are_shared_by_identity_only),
	        cmocka_unit_test(forgotten_ids_stay_forgotten),
	        cmocka_unit_test(counts_hold_under_random_use),
	        cmocka_unit_test(paths),
	        cmocka_unit_test(surplus_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

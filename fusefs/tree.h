/*
 * tree.h — names ↔ nodes: MOUNT/USER/GRANT/CAMERA/YYYY-MM-DD/FILE.mp4.
 *
 * A node id is an index and a generation, never a pointer; an id that was forgotten is not found
 * again, even when its slot is in use again. Nodes are keyed by everything that names them, the
 * grant *object* included: two users never share one below USER, and a grant that changed has new
 * nodes. A node's content never changes. Any thread; nothing blocks.
 */
#ifndef CUSTOS_TREE_H
#define CUSTOS_TREE_H

#include "fusefs/grant.h"
#include "fusefs/view.h"

enum node_kind {
	NODE_ROOT,
	NODE_USER,     /* MOUNT/ann */
	NODE_GRANT,    /* MOUNT/ann/7 */
	NODE_TEXT,     /* MOUNT/ann/7/GRANT.txt */
	NODE_CAMERA,   /* MOUNT/ann/7/dock-3 */
	NODE_PLAYLIST, /* MOUNT/ann/7/dock-3/playlist.m3u8 */
	NODE_DAY,      /* MOUNT/ann/7/dock-3/2026-11-20 */
	NODE_FILE,
};
#define TREE_TEXT_NAME     "GRANT.txt"
#define TREE_PLAYLIST_NAME "playlist.m3u8"
#define TREE_DAY_MAX       12
#define TREE_NAME_MAX      256
#define TREE_PATH_MAX      1024

/* Fields beyond a node's kind are zero. As a key: user and grant are borrowed. */
struct node {
	enum node_kind kind;
	char *user;
	struct grant *grant;
	uint32_t camera; /* index into grant->cameras */
	char day[TREE_DAY_MAX];
	struct view_file file;
	uint64_t ino;      /* set by the tree: stable over restarts */
	uint64_t id;       /* set by the tree: the FUSE node id */
	struct node *next; /* the tree's */
	uint32_t refs;
	uint64_t lookups;
};

struct tree;
int tree_new(struct tree **out) MUST_CHECK;
void tree_free(struct tree *t);
/* The node of this key, made if missing, with one more lookup (tree_forget) and one more reference
 * (tree_put). -ENOMEM. */
int tree_intern(struct tree *t, const struct node *key, struct node **out) MUST_CHECK;
/* The node of an id, one more reference; NULL: no such node (any more). */
struct node *tree_get(struct tree *t, uint64_t id);
void tree_put(struct tree *t, struct node *n);
void tree_forget(struct tree *t, uint64_t id, uint64_t lookups);
size_t tree_count(struct tree *t);
/* Anybody may ask for any name in MOUNT, and the kernel keeps each as long as it has memory. Names
 * of NODE_USER nodes beyond `keep` of them, at most `max`, that the kernel should be asked to
 * forget; every node has its turn. Returns how many. */
size_t tree_surplus(struct tree *t, size_t keep, char (*names)[TREE_NAME_MAX], size_t max);

/* ---- pure (tree_names.c) ---- */

/* Stable inode number of what a key names. */
uint64_t tree_ino(const struct node *key);
/* May it stand for a user in MOUNT? */
bool tree_user_valid(const char *name);
/* A grant's number: decimal, no sign, no leading zero. -EINVAL. */
int tree_grant_parse(const char *name, uint64_t *id) MUST_CHECK;
/* "2026-11-20", nothing else. */
bool tree_day_valid(const char *name);
/* A camera's name as a file name: '/', '%', a leading '.', and the first letter of one that is
 * called like the text beside it, as %XX. */
void tree_camera_name(const char *camera, char out[TREE_NAME_MAX * 2]);
/* Index of the camera with that file name. -ENOENT. */
int tree_camera_find(const struct grant *g, const char *name, uint32_t *index) MUST_CHECK;
/* "/ann/7/dock-3/2026-11-20/…mp4" for the log. */
void tree_path(const struct node *n, char out[TREE_PATH_MAX]);

#endif

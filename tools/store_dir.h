/*
 * store_dir.h — which store a command works on.
 */
#ifndef CUSTOS_STORE_DIR_H
#define CUSTOS_STORE_DIR_H

#include "tools/cli.h"

/* Decides between operand 0 (taken if it looks like a path: *used becomes 1), --store NAME|DIR, and
 * the only store of the configuration. *dir is borrowed. Else the failure has been told. */
int store_dir(const struct cli *cli, const char **dir, size_t *used) MUST_CHECK;
/* As root: gives everything in DIR to `user` (-1: to the owner of DIR itself), so that the recorder
 * can write what root has made. Not root: does nothing. -errno. Blocks. */
int store_give(const char *dir, uid_t user) MUST_CHECK;

#endif

/*
 * support_base.h — helpers of the base room's tests.
 */
#ifndef SUPPORT_BASE_H
#define SUPPORT_BASE_H

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/base/base.h"

/* A new folder below $TMPDIR or /tmp; base_dir_remove() removes it with all inside. */
void base_dir_make(char path[PATH_MAX / 2]);
void base_dir_remove(const char *path);

/* Runs body(arg) in a child with its standard error in *text (malloc'ed); returns its exit status.
 */
int base_child(int (*body)(void *arg), void *arg, char **text);

#endif

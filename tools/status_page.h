/*
 * status_page.h — what the daemons answered to "status", as a page for people.
 */
#ifndef CUSTOS_STATUS_PAGE_H
#define CUSTOS_STATUS_PAGE_H

#include <jansson.h>
#include "policyd/conf.h"

/* Prints the page. all: {"recorder": …, "policy": …, "gate": …}, each a daemon's reply (proto.h)
 * with "reachable" and, when it refused, "error". conf tells the targets that the figures are held
 * against. */
void status_page(const struct conf *conf, const json_t *all);

#endif

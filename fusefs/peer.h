/*
 * peer.h — hints about the process behind a request, from /proc. Hints only: nothing is decided by
 * them. The pid of a FUSE request is a thread's; /proc knows threads by their number, too.
 */
#ifndef CUSTOS_PEER_H
#define CUSTOS_PEER_H

#include "engine/base/base.h"

/* UINT32_MAX: unknown or none. */
uint32_t peer_login_uid(pid_t pid);
/* Command name, cleaned to valid UTF-8; "" unknown. */
void peer_comm(pid_t pid, char out[32]);

#endif

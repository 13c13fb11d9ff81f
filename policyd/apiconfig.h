/*
 * apiconfig.h — applying a policy, shared by the handlers and the first start. Private to policyd.
 */
#ifndef CUSTOS_APICONFIG_H
#define CUSTOS_APICONFIG_H

#include "policyd/policyd.h"

/* Reads and checks the file that custos.conf names. err: one line. */
int policy_file_read(const struct policyd *p, struct pol_conf **out, char *err,
                     size_t err_bytes) MUST_CHECK;
/* Brings a text into force (AUD_OP_CONFIG). change: the pending one it was, 0 none. */
int policy_apply(struct policyd *p, const struct line_peer *peer, const char *text,
                 const char *digest, uint64_t change) MUST_CHECK;

#endif

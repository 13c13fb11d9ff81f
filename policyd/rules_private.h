/*
 * rules_private.h — shared by the two files of rules; nobody else's.
 */
#ifndef CUSTOS_RULES_PRIVATE_H
#define CUSTOS_RULES_PRIVATE_H

#include "policyd/rules.h"

#define RULE_OPEN_MAX 100 /* undecided requests of one person */

struct pol_verdict rule_refuse(int err, const char *format, ...) PRINTF(2, 3);
struct pol_verdict rule_lookup_failed(const char *what);

#endif

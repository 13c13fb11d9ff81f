/*
 * rules_private.h — shared by the two files of rules; nobody else's.
 */
#ifndef CUSTOS_RULES_PRIVATE_H
#define CUSTOS_RULES_PRIVATE_H

#include "policyd/rules.h"

#define RULE_OPEN_MAX 100 /* undecided requests of one person */
#define RULE_DAY_MAX  300 /* requests of one person in 24 hours, whatever became of them */
#define RULE_DAY_NS   (24 * 3600 * NSEC_PER_SEC)

struct pol_verdict rule_refuse(int err, const char *format, ...) PRINTF(2, 3);
struct pol_verdict rule_lookup_failed(const char *what);

#endif

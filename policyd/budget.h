/*
 * budget.h — refusals are logged, but nobody fills the log with them: beyond 20 in a minute of one
 * uid they are counted and become one record. Pure; time is passed in.
 */
#ifndef CUSTOS_BUDGET_H
#define CUSTOS_BUDGET_H

#include "engine/base/base.h"

#define BUDGET_REFUSALS  20u
#define BUDGET_WINDOW_NS (60 * NSEC_PER_SEC)

struct pol_budget;
int budget_new(struct pol_budget **out) MUST_CHECK;
void budget_free(struct pol_budget *b);
/* True: record this refusal, it is not beyond `most` in its window. False: it has been counted. */
bool budget_take(struct pol_budget *b, uint32_t uid, int64_t boot_ns, uint32_t most);
/* One uid whose window is over with refusals counted: true, and they are taken out. Call until
 * false. */
bool budget_due(struct pol_budget *b, int64_t boot_ns, uint32_t *uid, uint32_t *count);

#endif

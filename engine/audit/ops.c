/*
 * ops.c — names of the operations, for people and for filters.
 */
#include "engine/audit/audit.h"

static const struct {
	uint16_t op;
	const char *name;
} names[] = {
        {AUD_OP_START, "start"},
        {AUD_OP_STOP, "stop"},
        {AUD_OP_KEY, "key"},
        {AUD_OP_CONFIG, "config"},
        {AUD_OP_REQUEST, "request"},
        {AUD_OP_APPROVE, "approve"},
        {AUD_OP_REJECT, "reject"},
        {AUD_OP_WITHDRAW, "withdraw"},
        {AUD_OP_ACTIVATE, "activate"},
        {AUD_OP_RETURN, "return"},
        {AUD_OP_REVOKE_INTENT, "revoke-intent"},
        {AUD_OP_REVOKE_DONE, "revoke-done"},
        {AUD_OP_EXPIRE, "expire"},
        {AUD_OP_LAPSE, "lapse"},
        {AUD_OP_REFUSED, "refused"},
        {AUD_OP_CONFIG_PENDING, "config-pending"},
        {AUD_OP_SNAPSHOT, "snapshot"},
        {AUD_OP_TAMPER, "tamper"},
        {AUD_OP_OPEN, "open"},
        {AUD_OP_COVER, "cover"},
        {AUD_OP_READ, "read"},
        {AUD_OP_CLOSE, "close"},
        {AUD_OP_DENY, "deny"},
        {AUD_OP_REVOKED, "revoked"},
        {AUD_OP_INTEGRITY, "integrity"},
        {AUD_OP_MOUNT, "mount"},
        {AUD_OP_RUN_START, "run-start"},
        {AUD_OP_RUN_END, "run-end"},
        {AUD_OP_FEED, "feed"},
        {AUD_OP_REMOVE, "remove"},
        {AUD_OP_HEAD, "head"},
        {AUD_OP_ALARM, "alarm"},
        {AUD_OP_SNAPSHOT_SEEN, "snapshot-seen"},
};

const char *aud_op_name(uint16_t op)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (names[i].op == op)
			return names[i].name;
	}
	return "?";
}

uint16_t aud_op_parse(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!strcmp(names[i].name, name))
			return names[i].op;
	}
	return AUD_OP_NONE;
}

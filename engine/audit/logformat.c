/*
 * logformat.c — encoding and decoding of log files, groups and records (logformat.h).
 *
 * Pure functions over bytes, so that the writer, the readers and a fuzzer share one set of bounds.
 */
#include "engine/audit/logformat.h"

#include <errno.h>
/* Inlined: hashing in two parts then needs no allocation and no ABI of a state. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#define DIGEST_BYTES   16u
#define FILE_DIGEST_AT (AUD_FMT_FILE_HEADER - DIGEST_BYTES)
#define HEAD_DIGEST_AT 112u

/* Eight bytes, not strings. */
static const uint8_t file_magic[8] = {'C', 'U', 'S', 'T', 'L', 'O', 'G', '1'};
static const uint8_t group_magic[8] = {'C', 'U', 'S', 'T', 'G', 'R', 'P', '1'};

static void digest_two(const void *a, size_t a_len, const void *b, size_t b_len,
                       uint8_t out[DIGEST_BYTES])
{
	XXH128_canonical_t canonical;
	XXH3_state_t state;

	XXH3_INITSTATE(&state);
	XXH3_128bits_reset(&state);
	XXH3_128bits_update(&state, a, a_len);
	if (b_len)
		XXH3_128bits_update(&state, b, b_len);
	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
	memcpy(out, canonical.digest, DIGEST_BYTES);
}

bool aud_fmt_is_zero(const uint8_t *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

void aud_fmt_file_put(const struct aud_fmt_file *f, uint8_t out[AUD_FMT_FILE_HEADER])
{
	size_t len = strnlen(f->origin, AUD_FMT_ORIGIN_MAX);

	memset(out, 0, AUD_FMT_FILE_HEADER);
	memcpy(out, file_magic, 8);
	le32_put(out + 8, AUD_FMT_VERSION);
	le64_put(out + 16, f->number);
	le64_put(out + 24, f->bytes);
	le64_put(out + 32, f->first_group);
	le64_put(out + 40, f->first_seq);
	memcpy(out + 48, f->prev_leaf, 32);
	le16_put(out + 80, (uint16_t)len);
	memcpy(out + 82, f->origin, len);
	digest_two(out, FILE_DIGEST_AT, NULL, 0, out + FILE_DIGEST_AT);
}

int aud_fmt_file_get(const uint8_t in[AUD_FMT_FILE_HEADER], struct aud_fmt_file *f)
{
	uint8_t digest[DIGEST_BYTES];
	size_t len = le16_get(in + 80);

	digest_two(in, FILE_DIGEST_AT, NULL, 0, digest);
	if (memcmp(in, file_magic, 8) != 0 || le32_get(in + 8) != AUD_FMT_VERSION ||
	    memcmp(digest, in + FILE_DIGEST_AT, DIGEST_BYTES) != 0)
		return -EUCLEAN;
	if (len == 0 || len > AUD_FMT_ORIGIN_MAX || !utf8_valid((const char *)in + 82, len))
		return -EUCLEAN;
	memset(f, 0, sizeof(*f));
	f->number = le64_get(in + 16);
	f->bytes = le64_get(in + 24);
	f->first_group = le64_get(in + 32);
	f->first_seq = le64_get(in + 40);
	memcpy(f->prev_leaf, in + 48, 32);
	memcpy(f->origin, in + 82, len);
	if (!f->number || !f->first_group || !f->first_seq || f->bytes < AUD_FMT_FILE_HEADER)
		return -EUCLEAN;
	return 0;
}

void aud_fmt_record_put(const struct aud_record *r, const void *payload, uint8_t *out)
{
	size_t total = aud_fmt_record_bytes(r->payload_bytes);

	le64_put(out, r->seq);
	le64_put(out + 8, (uint64_t)r->time_ns);
	memcpy(out + 16, r->boot_id, 16);
	le64_put(out + 32, r->incarnation);
	le16_put(out + 40, r->op);
	le16_put(out + 42, r->result);
	le32_put(out + 44, r->uid);
	le32_put(out + 48, r->login_uid);
	le32_put(out + 52, r->pid);
	le64_put(out + 56, r->grant);
	le64_put(out + 64, r->object);
	le64_put(out + 72, r->offset);
	le64_put(out + 80, r->length);
	le64_put(out + 88, (uint64_t)r->from_ns);
	le64_put(out + 96, (uint64_t)r->to_ns);
	le32_put(out + 104, r->aux);
	le32_put(out + 108, r->payload_bytes);
	if (r->payload_bytes)
		memcpy(out + AUD_FMT_RECORD_HEAD, payload, r->payload_bytes);
	memset(out + AUD_FMT_RECORD_HEAD + r->payload_bytes, 0,
	       total - AUD_FMT_RECORD_HEAD - r->payload_bytes);
	digest_two(out, HEAD_DIGEST_AT, out + AUD_FMT_RECORD_HEAD, r->payload_bytes,
	           out + HEAD_DIGEST_AT);
}

int aud_fmt_record_get(const uint8_t *in, size_t len, struct aud_record *r, const uint8_t **payload,
                       size_t *used)
{
	uint8_t digest[DIGEST_BYTES];

	memset(r, 0, sizeof(*r));
	*used = 0;
	if (len < AUD_FMT_RECORD_HEAD)
		return -EUCLEAN;
	r->seq = le64_get(in);
	r->time_ns = (int64_t)le64_get(in + 8);
	memcpy(r->boot_id, in + 16, 16);
	r->incarnation = le64_get(in + 32);
	r->op = le16_get(in + 40);
	r->result = le16_get(in + 42);
	r->uid = le32_get(in + 44);
	r->login_uid = le32_get(in + 48);
	r->pid = le32_get(in + 52);
	r->grant = le64_get(in + 56);
	r->object = le64_get(in + 64);
	r->offset = le64_get(in + 72);
	r->length = le64_get(in + 80);
	r->from_ns = (int64_t)le64_get(in + 88);
	r->to_ns = (int64_t)le64_get(in + 96);
	r->aux = le32_get(in + 104);
	r->payload_bytes = le32_get(in + 108);
	if (r->payload_bytes > AUD_PAYLOAD_MAX || aud_fmt_record_bytes(r->payload_bytes) > len)
		return -EUCLEAN;
	*used = aud_fmt_record_bytes(r->payload_bytes);
	*payload = in + AUD_FMT_RECORD_HEAD;
	if (!aud_fmt_is_zero(*payload + r->payload_bytes,
	                     *used - AUD_FMT_RECORD_HEAD - r->payload_bytes))
		return -EUCLEAN;
	digest_two(in, HEAD_DIGEST_AT, *payload, r->payload_bytes, digest);
	return memcmp(digest, in + HEAD_DIGEST_AT, DIGEST_BYTES) == 0 ? 0 : -EUCLEAN;
}

void aud_fmt_group_put(const struct aud_fmt_group *g, uint8_t *out)
{
	memset(out, 0, AUD_FMT_GROUP_HEAD);
	memcpy(out, group_magic, 8);
	le64_put(out + 8, g->number);
	le64_put(out + 16, g->first_seq);
	le32_put(out + 24, g->records);
	le32_put(out + 28, g->bytes);
	memcpy(out + 32, g->prev_leaf, 32);
	digest_two(out, HEAD_DIGEST_AT, out + AUD_FMT_GROUP_HEAD, g->bytes, out + HEAD_DIGEST_AT);
}

int aud_fmt_group_head_get(const uint8_t in[AUD_FMT_GROUP_HEAD], struct aud_fmt_group *g)
{
	memset(g, 0, sizeof(*g));
	if (memcmp(in, group_magic, 8) != 0)
		return -EUCLEAN;
	g->number = le64_get(in + 8);
	g->first_seq = le64_get(in + 16);
	g->records = le32_get(in + 24);
	g->bytes = le32_get(in + 28);
	memcpy(g->prev_leaf, in + 32, 32);
	if (!g->number || !g->first_seq || !g->records || g->bytes > AUD_FMT_RECORDS_MAX ||
	    g->bytes % 8 || g->records > g->bytes / AUD_FMT_RECORD_HEAD ||
	    !aud_fmt_is_zero(in + 64, 48))
		return -EUCLEAN;
	return 0;
}

bool aud_fmt_group_digest_ok(const uint8_t *in, const struct aud_fmt_group *g)
{
	uint8_t digest[DIGEST_BYTES];

	digest_two(in, HEAD_DIGEST_AT, in + AUD_FMT_GROUP_HEAD, g->bytes, digest);
	return memcmp(digest, in + HEAD_DIGEST_AT, DIGEST_BYTES) == 0;
}

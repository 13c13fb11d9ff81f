/*
 * note.c — signed notes and checkpoints (C2SP signed-note, tlog-checkpoint) with Ed25519.
 *
 * The formats are public on purpose: an auditor can check our signatures with somebody else's
 * program. The key's name is hashed into its id, so a signature line cannot be moved to another
 * name; a note that has a line of our key which does not verify is refused, whatever others say.
 */
#include "engine/audit/note.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/audit/notekey.h"

#define SIG_PREFIX     "\xe2\x80\x94 " /* em dash, space */
#define SIG_PREFIX_LEN 4u
#define SIG_BYTES      64u
#define SIG_LINES_MAX  100
/* Name, key id and signature of one line, as text. */
#define SIG_LINE_MAX   (SIG_PREFIX_LEN + NOTE_VKEY_MAX + 1 + 96)

bool note_name_ok(const char *name, size_t len)
{
	return len > 0 && len < NOTE_NAME_MAX && utf8_valid(name, len) && !memchr(name, '+', len) &&
	       !memchr(name, ' ', len);
}

void note_key_id(const char *name, const uint8_t pub[NOTE_PUB_BYTES], uint8_t id[NOTE_ID_BYTES])
{
	uint8_t buf[NOTE_NAME_MAX + 2 + NOTE_PUB_BYTES], sum[32];
	size_t len = (size_t)snprintf((char *)buf, NOTE_NAME_MAX + 1, "%s\n", name);

	buf[len++] = NOTE_ALG_ED25519;
	memcpy(buf + len, pub, NOTE_PUB_BYTES);
	if (!EVP_Digest(buf, len + NOTE_PUB_BYTES, sum, NULL, EVP_sha256(), NULL))
		abort();
	memcpy(id, sum, NOTE_ID_BYTES);
}

void note_vkey_format(const char *name, const uint8_t pub[NOTE_PUB_BYTES], char out[NOTE_VKEY_MAX])
{
	uint8_t id[NOTE_ID_BYTES], raw[1 + NOTE_PUB_BYTES];
	char hex[2 * NOTE_ID_BYTES + 1], b64[64];

	note_key_id(name, pub, id);
	hex_format(id, sizeof(id), hex);
	raw[0] = NOTE_ALG_ED25519;
	memcpy(raw + 1, pub, NOTE_PUB_BYTES);
	base64_encode(raw, sizeof(raw), b64);
	snprintf(out, NOTE_VKEY_MAX, "%s+%s+%s", name, hex, b64);
}

struct vkey {
	char name[NOTE_NAME_MAX];
	uint8_t id[NOTE_ID_BYTES], pub[NOTE_PUB_BYTES];
};

static int vkey_parse(const char *text, struct vkey *v)
{
	uint8_t raw[1 + NOTE_PUB_BYTES], id[NOTE_ID_BYTES];
	size_t len = strcspn(text, " \t\r\n"), raw_len, name_len;
	char hex[2 * NOTE_ID_BYTES + 1];
	const char *plus = memchr(text, '+', len), *b64;

	if (!plus || text[len + strspn(text + len, " \t\r\n")])
		return -EINVAL; /* more than one word */
	name_len = (size_t)(plus - text);
	if (!note_name_ok(text, name_len) || len - name_len < 2 * NOTE_ID_BYTES + 2)
		return -EINVAL;
	memcpy(v->name, text, name_len);
	v->name[name_len] = '\0';
	memcpy(hex, plus + 1, sizeof(hex) - 1);
	hex[sizeof(hex) - 1] = '\0';
	b64 = plus + sizeof(hex);
	if (hex_parse(hex, id, sizeof(id)) || *b64++ != '+')
		return -EINVAL;
	if (base64_decode(b64, (size_t)(text + len - b64), raw, sizeof(raw), &raw_len) ||
	    raw_len != sizeof(raw) || raw[0] != NOTE_ALG_ED25519)
		return -EINVAL;
	memcpy(v->pub, raw + 1, NOTE_PUB_BYTES);
	note_key_id(v->name, v->pub, v->id);
	return memcmp(id, v->id, sizeof(id)) == 0 ? 0 : -EINVAL;
}

int note_fingerprint(const char *vkey, char out[80])
{
	struct vkey v;
	uint8_t sum[32];
	char b64[48];
	int err = vkey_parse(vkey, &v);

	if (err)
		return err;
	if (!EVP_Digest(v.pub, sizeof(v.pub), sum, NULL, EVP_sha256(), NULL))
		return -ENOMEM;
	base64_encode(sum, sizeof(sum), b64);
	b64[strcspn(b64, "=")] = '\0';
	snprintf(out, 80, "SHA256:%s", b64);
	return 0;
}

/* Lines of printable UTF-8, each ended. */
static bool text_ok(const char *text, size_t len)
{
	size_t line;

	if (len == 0 || text[len - 1] != '\n')
		return false;
	for (; len; text += line + 1, len -= line + 1) {
		line = (size_t)((const char *)memchr(text, '\n', len) - text);
		if (!utf8_valid(text, line))
			return false;
	}
	return true;
}

int note_sign(const struct note_key *key, const char *text, char **out)
{
	uint8_t raw[NOTE_ID_BYTES + SIG_BYTES];
	size_t len = strlen(text);
	char b64[128];
	int err;

	*out = NULL;
	if (!text_ok(text, len))
		return -EINVAL;
	note_key_id(note_key_name(key), note_key_pub(key), raw);
	err = note_key_sign_raw(key, text, len, raw + NOTE_ID_BYTES);
	if (err)
		return err;
	base64_encode(raw, sizeof(raw), b64);
	if (asprintf(out, "%s\n" SIG_PREFIX "%s %s\n", text, note_key_name(key), b64) < 0) {
		*out = NULL;
		return -ENOMEM;
	}
	return 0;
}

static bool signature_ok(const struct vkey *v, const char *text, size_t len,
                         const uint8_t sig[SIG_BYTES])
{
	EVP_PKEY *pkey =
	        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, v->pub, sizeof(v->pub));
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = pkey && ctx && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, pkey) == 1 &&
	          EVP_DigestVerify(ctx, sig, SIG_BYTES, (const uint8_t *)text, len) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(pkey);
	return ok;
}

/* One signature line, without its newline. 1: signed by v; 0: some other key's; -EUCLEAN. */
static int signature_line(const struct vkey *v, const char *line, size_t len, const char *text,
                          size_t text_len)
{
	uint8_t raw[NOTE_ID_BYTES + SIG_BYTES + 256];
	size_t raw_len, name_len;
	const char *name, *space;

	if (len < SIG_PREFIX_LEN || len > 2 * SIG_LINE_MAX ||
	    memcmp(line, SIG_PREFIX, SIG_PREFIX_LEN) != 0)
		return -EUCLEAN;
	name = line + SIG_PREFIX_LEN;
	space = memchr(name, ' ', len - SIG_PREFIX_LEN);
	if (!space)
		return -EUCLEAN;
	name_len = (size_t)(space - name);
	if (!note_name_ok(name, name_len) ||
	    base64_decode(space + 1, (size_t)(line + len - space - 1), raw, sizeof(raw),
	                  &raw_len) ||
	    raw_len <= NOTE_ID_BYTES)
		return -EUCLEAN;
	if (name_len != strlen(v->name) || memcmp(name, v->name, name_len) != 0 ||
	    memcmp(raw, v->id, NOTE_ID_BYTES) != 0)
		return 0;
	if (raw_len != NOTE_ID_BYTES + SIG_BYTES ||
	    !signature_ok(v, text, text_len, raw + NOTE_ID_BYTES))
		return -EKEYREJECTED;
	return 1;
}

int note_verify(const char *vkey, const char *note, size_t *text_bytes)
{
	size_t len = strlen(note), text_len = 0;
	const char *line, *end;
	bool ours = false;
	struct vkey v;
	int r = vkey_parse(vkey, &v), lines = 0;

	if (r)
		return r;
	/* The text ends at the last empty line: it may contain others itself. */
	for (size_t i = 1; i < len; i++) {
		if (note[i] == '\n' && note[i - 1] == '\n')
			text_len = i;
	}
	if (!text_len || note[len - 1] != '\n' || text_len + 1 == len || !text_ok(note, text_len))
		return -EUCLEAN;
	for (line = note + text_len + 1; *line; line = end + 1) {
		end = strchr(line, '\n');
		if (++lines > SIG_LINES_MAX)
			return -EUCLEAN;
		r = signature_line(&v, line, (size_t)(end - line), note, text_len);
		if (r < 0)
			return r;
		ours = ours || r == 1;
	}
	if (!ours)
		return -EKEYREJECTED;
	*text_bytes = text_len;
	return 0;
}

int note_checkpoint_format(const char *origin, uint64_t size, const uint8_t root[32],
                           const char *extension, char *out, size_t out_bytes)
{
	char b64[48];
	int n;

	if (!origin[0] || !utf8_valid(origin, strlen(origin)))
		return -EINVAL;
	if (extension && extension[0] &&
	    (extension[0] == '\n' || strstr(extension, "\n\n") ||
	     !text_ok(extension, strlen(extension))))
		return -EINVAL;
	base64_encode(root, 32, b64);
	n = snprintf(out, out_bytes, "%s\n%llu\n%s\n%s", origin, (unsigned long long)size, b64,
	             extension ? extension : "");
	return n < 0 || (size_t)n >= out_bytes ? -EMSGSIZE : 0;
}

int note_checkpoint_parse(const char *text, char *origin, size_t origin_bytes, uint64_t *size,
                          uint8_t root[32])
{
	size_t len = strcspn(text, "\n"), root_len, digits;
	const char *p = text;

	if (!len || len >= origin_bytes || p[len] != '\n' || !utf8_valid(p, len))
		return -EUCLEAN;
	memcpy(origin, p, len);
	origin[len] = '\0';
	p += len + 1;
	digits = strspn(p, "0123456789");
	if (!digits || p[digits] != '\n' || (p[0] == '0' && digits > 1))
		return -EUCLEAN;
	*size = 0;
	for (; *p != '\n'; p++) {
		if (__builtin_mul_overflow(*size, UINT64_C(10), size) ||
		    __builtin_add_overflow(*size, (uint64_t)(*p - '0'), size))
			return -EUCLEAN;
	}
	p++;
	len = strcspn(p, "\n");
	if (p[len] != '\n' || base64_decode(p, len, root, 32, &root_len) || root_len != 32)
		return -EUCLEAN;
	return 0;
}

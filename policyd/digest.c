/*
 * What a signature signs: SHA-256 over canonical JSON (sorted keys, no white space, UTF-8).
 */
#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "policyd/digest.h"

void digest_hex(const void *bytes, size_t len_bytes, char out[65])
{
	unsigned char md[32];
	unsigned n = 0;
	int ok = EVP_Digest(bytes, len_bytes, md, &n, EVP_sha256(), NULL);

	assert(ok == 1 && n == sizeof(md));
	hex_format(md, sizeof(md), out);
}

int digest_json(const json_t *value, char out[65])
{
	char *text = json_dumps(value, JSON_SORT_KEYS | JSON_COMPACT | JSON_ENCODE_ANY);

	if (!text)
		return -ENOMEM;
	digest_hex(text, strlen(text), out);
	free(text);
	return 0;
}

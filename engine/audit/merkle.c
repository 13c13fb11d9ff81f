/*
 * merkle.c — Merkle tree hashes of RFC 6962, section 2.1.
 *
 * A log of n leaves splits into perfect subtrees, one for each bit set in n; keeping their roots is
 * enough to add a leaf or to name the root at any moment. The prefixes 0x00 and 0x01 keep a leaf
 * from ever passing for a node.
 */
#include "engine/audit/audit.h"

#include <openssl/evp.h>
#include <stdlib.h>

/* Hashing memory cannot fail but for want of memory; there is no honest way on then. */
static void sha256_two(uint8_t prefix, const void *a, size_t a_len, const void *b, size_t b_len,
                       uint8_t out[32])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (!ctx || !EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) ||
	    !EVP_DigestUpdate(ctx, &prefix, 1) || !EVP_DigestUpdate(ctx, a, a_len) ||
	    !EVP_DigestUpdate(ctx, b, b_len) || !EVP_DigestFinal_ex(ctx, out, NULL))
		abort();
	EVP_MD_CTX_free(ctx);
}

void merkle_leaf(const void *data, size_t len, uint8_t out[32])
{
	sha256_two(0x00, data, len, "", 0, out);
}

void merkle_node(const uint8_t left[32], const uint8_t right[32], uint8_t out[32])
{
	uint8_t sum[32]; /* out may be one of the two */

	sha256_two(0x01, left, 32, right, 32, sum);
	memcpy(out, sum, 32);
}

void merkle_add(struct merkle *m, const uint8_t leaf[32])
{
	uint8_t hash[32];
	int level = 0;

	memcpy(hash, leaf, 32);
	for (uint64_t n = m->leaves; n & 1; n >>= 1)
		merkle_node(m->node[level++], hash, hash);
	memcpy(m->node[level], hash, 32);
	m->leaves++;
}

void merkle_root(const struct merkle *m, uint8_t out[32])
{
	bool first = true;

	if (!m->leaves) {
		if (!EVP_Digest("", 0, out, NULL, EVP_sha256(), NULL))
			abort();
		return;
	}
	for (int level = 0; level < 64; level++) {
		if (!(m->leaves >> level & 1))
			continue;
		if (first)
			memcpy(out, m->node[level], 32);
		else
			merkle_node(m->node[level], out, out);
		first = false;
	}
}

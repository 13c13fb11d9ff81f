/*
 * digest.c — the hashes of format.h: XXH3-128 over blocks, salted SHA-256 leaves, Merkle roots, the
 * names derived from them.
 *
 * SHA-256 is OpenSSL's low-level one on purpose: unlike EVP it neither allocates nor takes a lock
 * nor can fail, which is what makes these functions pure, and it saves the 200 ns that EVP costs
 * for each of a recorder's many small inputs. Its deprecation is about pluggable providers, not
 * about its soundness.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <stdio.h>
#include <xxhash.h>

#include "engine/format.h"

/* RFC 6962 §2.1: a leaf can never pass for an inner node. */
static const uint8_t LEAF = 0x00, NODE = 0x01;

void fmt_digest(const void *bytes, size_t len, uint8_t out[FMT_DIGEST_BYTES])
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, len));
	memcpy(out, canonical.digest, FMT_DIGEST_BYTES);
}

void fmt_seal(uint8_t *block, size_t covered)
{
	fmt_digest(block, covered, block + covered);
}

bool fmt_sealed(const uint8_t *block, size_t covered)
{
	uint8_t digest[FMT_DIGEST_BYTES];

	fmt_digest(block, covered, digest);
	return memcmp(digest, block + covered, sizeof digest) == 0;
}

bool fmt_zero(const uint8_t *bytes, size_t len)
{
	/* All equal to their neighbour and the first one is zero: memcmp runs at memory speed. */
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

void fmt_leaf(const uint8_t seed[32], uint32_t index, const uint8_t entry[FMT_FRAME_ENTRY],
              const void *frame, size_t len, uint8_t out[FMT_LEAF_BYTES])
{
	uint8_t salted[32 + 4], salt[SHA256_DIGEST_LENGTH];
	SHA256_CTX sha;

	memcpy(salted, seed, 32);
	le32_put(salted + 32, index);
	SHA256_Init(&sha);
	SHA256_Update(&sha, salted, sizeof salted);
	SHA256_Final(salt, &sha);

	SHA256_Init(&sha);
	SHA256_Update(&sha, &LEAF, 1);
	SHA256_Update(&sha, salt, 16);
	SHA256_Update(&sha, entry, FMT_FRAME_ENTRY);
	if (len > 0)
		SHA256_Update(&sha, frame, len);
	SHA256_Final(out, &sha);
}

static void join(const uint8_t left[FMT_LEAF_BYTES], const uint8_t right[FMT_LEAF_BYTES],
                 uint8_t out[FMT_LEAF_BYTES])
{
	SHA256_CTX sha;

	SHA256_Init(&sha);
	SHA256_Update(&sha, &NODE, 1);
	SHA256_Update(&sha, left, FMT_LEAF_BYTES);
	SHA256_Update(&sha, right, FMT_LEAF_BYTES);
	SHA256_Final(out, &sha);
}

/*
 * The roots of the complete subtrees seen so far wait on a stack, largest below: after n leaves
 * there is one for each bit set in n. So a leaf's arrival joins as often as n has trailing ones,
 * and at the end the rest is joined from the right.
 */
void fmt_merkle_root(const uint8_t (*leaves)[FMT_LEAF_BYTES], size_t n, uint8_t out[FMT_LEAF_BYTES])
{
	uint8_t stack[8 * sizeof(size_t)][FMT_LEAF_BYTES];
	unsigned depth = 0;
	SHA256_CTX sha;

	if (n == 0) {
		SHA256_Init(&sha);
		SHA256_Final(out, &sha);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		memcpy(stack[depth++], leaves[i], FMT_LEAF_BYTES);
		for (size_t before = i; before & 1; before >>= 1, depth--)
			join(stack[depth - 2], stack[depth - 1], stack[depth - 2]);
	}
	for (; depth > 1; depth--)
		join(stack[depth - 2], stack[depth - 1], stack[depth - 2]);
	memcpy(out, stack[0], FMT_LEAF_BYTES);
}

void fmt_stream_uuid(const uint8_t store[ENG_UUID_BYTES], const char *camera, bool imported,
                     uint8_t out[ENG_UUID_BYTES])
{
	uint8_t kind = imported, hash[SHA256_DIGEST_LENGTH];
	SHA256_CTX sha;

	SHA256_Init(&sha);
	SHA256_Update(&sha, store, ENG_UUID_BYTES);
	SHA256_Update(&sha, &kind, 1);
	SHA256_Update(&sha, camera, strlen(camera));
	SHA256_Final(hash, &sha);
	memcpy(out, hash, ENG_UUID_BYTES);
	out[6] = (uint8_t)((out[6] & 0x0f) | 0x80);
	out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

void fmt_segment_path(uint64_t number, char out[FMT_SEGMENT_PATH_MAX])
{
	uint32_t n = (uint32_t)number; /* a store has less than 2^32 segments (superblock) */

	snprintf(out, FMT_SEGMENT_PATH_MAX, "seg/%05u/%010u", n / 1024, n);
}

/*
 * base64.c — RFC 4648 with padding, one text for one value.
 *
 * Strict, because keys and signatures are compared as text in places: no spaces, no missing
 * padding, no stray bits behind the last byte.
 */
#include "engine/audit/note.h"

#include <errno.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *in, size_t len, char *out)
{
	const uint8_t *b = in;

	for (; len >= 3; len -= 3, b += 3) {
		*out++ = alphabet[b[0] >> 2];
		*out++ = alphabet[(b[0] & 3) << 4 | b[1] >> 4];
		*out++ = alphabet[(b[1] & 15) << 2 | b[2] >> 6];
		*out++ = alphabet[b[2] & 63];
	}
	if (len) {
		uint8_t second = len == 2 ? b[1] : 0;

		*out++ = alphabet[b[0] >> 2];
		*out++ = alphabet[(b[0] & 3) << 4 | second >> 4];
		*out++ = len == 2 ? alphabet[(second & 15) << 2] : '=';
		*out++ = '=';
	}
	*out = '\0';
}

static int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(const char *in, size_t in_len, void *out, size_t out_max, size_t *out_len)
{
	uint8_t *b = out;
	size_t n = 0;

	if (in_len % 4)
		return -EINVAL;
	for (size_t i = 0; i < in_len; i += 4) {
		bool last = i + 4 == in_len;
		size_t pad = !last || in[i + 3] != '=' ? 0 : in[i + 2] == '=' ? 2 : 1;
		uint32_t bits = 0;

		for (size_t k = 0; k < 4; k++) {
			int v = k < 4 - pad ? value_of(in[i + k]) : 0;

			if (v < 0)
				return -EINVAL;
			bits = bits << 6 | (uint32_t)v;
		}
		if (bits & ((UINT32_C(1) << (8 * pad)) - 1))
			return -EINVAL;
		if (n + 3 - pad > out_max)
			return -EINVAL;
		for (size_t k = 0; k < 3 - pad; k++)
			b[n++] = (uint8_t)(bits >> (16 - 8 * k));
	}
	*out_len = n;
	return 0;
}

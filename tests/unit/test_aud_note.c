/*
 * test_aud_note.c — notes, checkpoints, keys and the Merkle tree against vectors from elsewhere:
 * the example of Go's x/mod/sumdb/note, RFC 6962 roots known from Certificate Transparency, RFC
 * 4648, and OpenSSL's command line as a second signer's and verifier's opinion.
 */
#include "tests/unit/support_aud.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- Merkle ---- */

/* The leaves of the CT test vectors and the roots over the first 1 … 8 of them. */
static const char *const ct_leaves[] = {
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
};
static const char *const ct_roots[] = {
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
};

static void test_merkle_vectors(void **state)
{
	struct merkle m = {0};
	uint8_t data[16], leaf[32], root[32];
	char hex[65];

	(void)state;
	merkle_root(&m, root);
	hex_format(root, 32, hex);
	assert_string_equal(hex,
	                    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	for (size_t i = 0; i < ARRAY_LEN(ct_leaves); i++) {
		size_t len = strlen(ct_leaves[i]) / 2;

		assert_int_equal(hex_parse(ct_leaves[i], data, len), 0);
		merkle_leaf(data, len, leaf);
		merkle_add(&m, leaf);
		merkle_root(&m, root);
		hex_format(root, 32, hex);
		assert_string_equal(hex, ct_roots[i]);
	}
}

/* RFC 6962's recursive definition, word for word. */
static void defined_root(const uint8_t (*leaves)[32], size_t n, uint8_t out[32])
{
	uint8_t left[32], right[32];
	size_t k = 1;

	if (n == 1) {
		memcpy(out, leaves[0], 32);
		return;
	}
	while (2 * k < n)
		k *= 2;
	defined_root(leaves, k, left);
	defined_root(leaves + k, n - k, right);
	merkle_node(left, right, out);
}

static void test_merkle_definition(void **state)
{
	struct merkle m = {0};
	static uint8_t leaves[300][32];
	uint8_t want[32], have[32];

	(void)state;
	for (size_t n = 1; n <= ARRAY_LEN(leaves); n++) {
		merkle_leaf(&n, sizeof(n), leaves[n - 1]);
		merkle_add(&m, leaves[n - 1]);
		merkle_root(&m, have);
		defined_root((const uint8_t(*)[32])leaves, n, want);
		assert_memory_equal(have, want, 32);
	}
}

/* ---- base64 ---- */

static void test_base64(void **state)
{
	static const char *const pairs[][2] = {{"", ""},
	                                       {"f", "Zg=="},
	                                       {"fo", "Zm8="},
	                                       {"foo", "Zm9v"},
	                                       {"foob", "Zm9vYg=="},
	                                       {"fooba", "Zm9vYmE="},
	                                       {"foobar", "Zm9vYmFy"}};
	static const char *const bad[] = {"Zg=",      "Zg",     "Zh==", "Zm9=", "=g==", "Z===",
	                                  "Zg==Zg==", "Zm9v\n", "Zm 9", "Zm-_", "===="};
	char text[64], back[64];
	size_t len;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		base64_encode(pairs[i][0], strlen(pairs[i][0]), text);
		assert_string_equal(text, pairs[i][1]);
		assert_int_equal(base64_decode(text, strlen(text), back, 6, &len), 0);
		assert_int_equal(len, strlen(pairs[i][0]));
		assert_memory_equal(back, pairs[i][0], len);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(base64_decode(bad[i], strlen(bad[i]), back, 64, &len), -EINVAL);
	assert_int_equal(base64_decode("Zm9vYmFy", 8, back, 5, &len), -EINVAL);
}

/* ---- notes ---- */

#define GO_VKEY "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
#define GO_TEXT                                                      \
	"If you think cryptography is the answer to your problem,\n" \
	"then you don't know what your problem is.\n"
#define GO_SIG                                                                                  \
	"\xe2\x80\x94 PeterNeumann "                                                            \
	"x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6Ryy" \
	"BwJnAM=\n"

static void test_go_example(void **state)
{
	char note[1024], *at;
	size_t len;

	(void)state;
	snprintf(note, sizeof(note), "%s\n%s", GO_TEXT, GO_SIG);
	assert_int_equal(note_verify(GO_VKEY, note, &len), 0);
	assert_int_equal(len, strlen(GO_TEXT));
	/* One letter of the text, one of the signature. */
	for (at = note; *at; at++) {
		char was = *at;

		if (was == '\n' || (at - note) % 9)
			continue;
		*at = was == 'A' ? 'B' : 'A';
		if (was != *at)
			assert_true(note_verify(GO_VKEY, note, &len) != 0);
		*at = was;
	}
	assert_int_equal(note_verify(GO_VKEY, note, &len), 0);
}

static void test_sign_and_verify(void **state)
{
	struct aud_dir d, other;
	char *note, doubled[1024];
	size_t len;

	(void)state;
	aud_dir_make(&d);
	aud_dir_make(&other);
	assert_int_equal(note_sign(d.key, "line one\n\nline 二\n", &note), 0);
	assert_int_equal(note_verify(d.vkey, note, &len), 0);
	assert_int_equal(len, strlen("line one\n\nline 二\n"));
	assert_int_equal(note_verify(other.vkey, note, &len), -EKEYREJECTED);
	/* A cosigner's line beside ours changes nothing, whoever comes first. */
	snprintf(doubled, sizeof(doubled), "%s%s", note, GO_SIG);
	assert_int_equal(note_verify(d.vkey, doubled, &len), 0);
	snprintf(doubled, sizeof(doubled), "%.*s\n%s%s", (int)len, note, GO_SIG, note + len + 1);
	assert_int_equal(note_verify(d.vkey, doubled, &len), 0);
	/* Not notes. */
	assert_int_equal(note_verify(d.vkey, "", &len), -EUCLEAN);
	assert_int_equal(note_verify(d.vkey, "text\n", &len), -EUCLEAN);
	assert_int_equal(note_verify(d.vkey, "text\n\n", &len), -EUCLEAN);
	assert_int_equal(note_verify(d.vkey, "text\n\nno signature\n", &len), -EUCLEAN);
	assert_int_equal(note_verify(d.vkey, "te\x01xt\n\n" GO_SIG, &len), -EUCLEAN);
	snprintf(doubled, sizeof(doubled), "%.*s", (int)strlen(note) - 1, note);
	assert_int_equal(note_verify(d.vkey, doubled, &len), -EUCLEAN);
	free(note);
	assert_int_equal(note_sign(d.key, "no newline", &note), -EINVAL);
	assert_int_equal(note_sign(d.key, "", &note), -EINVAL);
	assert_int_equal(note_sign(d.key, "bell\a\n", &note), -EINVAL);
	aud_dir_remove(&d);
	aud_dir_remove(&other);
}

static void test_bad_vkeys(void **state)
{
	static const char *const bad[] = {
	        "",
	        "PeterNeumann",
	        "PeterNeumann+c74f20a3",
	        "PeterNeumann+c74f20a3+",
	        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
	        "PeterNeumanm+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
	        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TX",
	        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10",
	        GO_VKEY " x",
	        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
	};
	char print[80];
	size_t len;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(note_fingerprint(bad[i], print), -EINVAL);
		assert_int_equal(note_verify(bad[i], GO_TEXT "\n" GO_SIG, &len), -EINVAL);
	}
	assert_int_equal(note_fingerprint(GO_VKEY "\n", print), 0);
	assert_int_equal(strlen(print), 7 + 43);
}

/* OpenSSL's command line signs and verifies the same text with the same key file. */
static void test_openssl_agrees(void **state)
{
	struct aud_dir d;
	char *note, *text, sig[68], path[PATH_MAX], *theirs;
	const char *b64;
	size_t len, sig_len;

	(void)state;
	aud_dir_make(&d);
	assert_int_equal(note_sign(d.key, "custos.gate/main\n7\nrest\n", &note), 0);
	assert_int_equal(note_verify(d.vkey, note, &len), 0);
	text = strndup(note, len);
	b64 = strrchr(note, ' ') + 1;
	assert_int_equal(base64_decode(b64, strlen(b64) - 1, sig, sizeof(sig), &sig_len), 0);
	assert_int_equal(sig_len, 68);
	snprintf(path, sizeof(path), "%s/text", d.path);
	assert_int_equal(file_replace(path, text, len, 0600), 0);
	snprintf(path, sizeof(path), "%s/sig", d.path);
	assert_int_equal(file_replace(path, sig + 4, 64, 0600), 0);
	aud_shell("openssl pkey -in '%s/sign' -pubout -out '%s/pub.pem' && openssl pkeyutl -verify "
	          "-rawin -pubin -inkey '%s/pub.pem' -in '%s/text' -sigfile '%s/sig' >/dev/null",
	          d.path, d.path, d.path, d.path, d.path);
	aud_shell("openssl pkeyutl -sign -rawin -inkey '%s/sign' -in '%s/text' -out '%s/theirs'",
	          d.path, d.path, d.path);
	snprintf(path, sizeof(path), "%s/theirs", d.path);
	assert_int_equal(file_read_all(path, 100, &theirs, &len), 0);
	assert_int_equal(len, 64);
	assert_memory_equal(theirs, sig + 4, 64);
	/* The key id: SHA-256(name, newline, 1, raw key), by sha256sum over openssl's DER. */
	aud_shell("{ printf 'custos.test\\n\\001'; openssl pkey -in '%s/sign' -pubout -outform DER "
	          "| tail -c 32; } | sha256sum | cut -c1-8 | grep -q \"$(cut -d+ -f2 "
	          "'%s/sign.pub')\"",
	          d.path, d.path);
	free(theirs);
	free(text);
	free(note);
	aud_dir_remove(&d);
}

/* ---- key files ---- */

static void test_key_files(void **state)
{
	struct aud_dir d;
	struct note_key *key;
	char path[PATH_MAX], pub[PATH_MAX + 4], err[400], again[NOTE_VKEY_MAX];
	struct stat st;
	bool made;

	(void)state;
	aud_dir_make(&d);
	snprintf(path, sizeof(path), "%s/sign", d.path);
	snprintf(pub, sizeof(pub), "%s.pub", path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0400);
	assert_int_equal(stat(pub, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
	assert_int_equal(note_key_open(path, "custos.test", &key, &made, err, sizeof(err)), 0);
	assert_false(made);
	note_key_vkey(key, again);
	assert_string_equal(again, d.vkey);
	note_key_close(key);
	/* Another name would orphan the key that auditors hold. */
	assert_int_equal(note_key_open(path, "other", &key, &made, err, sizeof(err)),
	                 -EKEYREJECTED);
	assert_non_null(strstr(err, "sign.pub"));
	assert_int_equal(note_key_open(path, "two words", &key, &made, err, sizeof(err)), -EINVAL);
	assert_int_equal(chmod(path, 0440), 0);
	assert_int_equal(note_key_open(path, "custos.test", &key, &made, err, sizeof(err)),
	                 -EACCES);
	assert_non_null(strstr(err, "0400"));
	aud_shell("chmod 0600 '%s' && echo junk > '%s' && chmod 0400 '%s'", path, path, path);
	assert_int_equal(note_key_open(path, "custos.test", &key, &made, err, sizeof(err)),
	                 -EINVAL);
	aud_shell("rm -f '%s' && openssl genrsa -out '%s' 2048 2>/dev/null && chmod 0400 '%s'",
	          path, path, path);
	assert_int_equal(note_key_open(path, "custos.test", &key, &made, err, sizeof(err)),
	                 -EINVAL);
	aud_dir_remove(&d);
}

/* ---- checkpoints ---- */

/* The body of the example in C2SP tlog-checkpoint. */
#define BODY "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

static void test_checkpoint_text(void **state)
{
	static const char *const bad[] = {
	        "",
	        "origin\n",
	        "origin\n5\n",
	        "\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
	        "origin\n05\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
	        "origin\n-5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
	        "origin\n99999999999999999999\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
	        "origin\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=",
	        "origin\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxqw==\n",
	        "origin\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2IAAAA=\n",
	        "a very long origin\n5\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
	};
	char origin[64], out[256];
	uint8_t root[32];
	uint64_t size;

	(void)state;
	assert_int_equal(note_checkpoint_parse(BODY, origin, sizeof(origin), &size, root), 0);
	assert_string_equal(origin, "example.com/behind-the-sofa");
	assert_int_equal(size, 20852163);
	assert_int_equal(note_checkpoint_format(origin, size, root, NULL, out, sizeof(out)), 0);
	assert_string_equal(out, BODY);
	assert_int_equal(note_checkpoint_format(origin, size, root, "time 5\n", out, sizeof(out)),
	                 0);
	assert_string_equal(out, BODY "time 5\n");
	assert_int_equal(note_checkpoint_parse(out, origin, sizeof(origin), &size, root), 0);
	assert_int_equal(note_checkpoint_format(origin, size, root, "no end", out, sizeof(out)),
	                 -EINVAL);
	assert_int_equal(note_checkpoint_format(origin, size, root, "\nx\n", out, sizeof(out)),
	                 -EINVAL);
	assert_int_equal(note_checkpoint_format("", size, root, NULL, out, sizeof(out)), -EINVAL);
	assert_int_equal(note_checkpoint_format(origin, size, root, NULL, out, 20), -EMSGSIZE);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(note_checkpoint_parse(bad[i], origin, 16, &size, root), -EUCLEAN);
}

/* What aud_checkpoint_store takes and keeps. */
static void test_checkpoint_store(void **state)
{
	struct aud_dir d, other;
	struct aud_log *log;
	struct aud_head h;
	char body[512], *note, *old, path[PATH_MAX], *kept;
	size_t len;

	(void)state;
	aud_dir_make(&d);
	aud_dir_make(&other);
	log = aud_test_open(&d);
	aud_head(log, &h);
	assert_int_equal(h.last_seq, 1);
	assert_int_equal(note_checkpoint_format("custos.other", h.groups, h.root, NULL, body, 512),
	                 0);
	assert_int_equal(note_sign(d.key, body, &note), 0);
	assert_int_equal(aud_checkpoint_store(log, note), -EINVAL);
	free(note);
	h.root[3] ^= 1;
	assert_int_equal(note_checkpoint_format(AUD_TEST_ORIGIN, h.groups, h.root, NULL, body, 512),
	                 0);
	assert_int_equal(note_sign(d.key, body, &note), 0);
	assert_int_equal(aud_checkpoint_store(log, note), -EINVAL);
	free(note);
	h.root[3] ^= 1;
	assert_int_equal(
	        note_checkpoint_format(AUD_TEST_ORIGIN, h.groups + 1, h.root, NULL, body, 512), 0);
	assert_int_equal(note_sign(d.key, body, &note), 0);
	assert_int_equal(aud_checkpoint_store(log, note), -EINVAL);
	free(note);
	assert_int_equal(aud_checkpoint_store(log, "nonsense"), -EINVAL);

	/* The first is kept, others of the same minute are not, a change of key is. */
	assert_int_equal(note_checkpoint_format(AUD_TEST_ORIGIN, h.groups, h.root, NULL, body, 512),
	                 0);
	assert_int_equal(note_sign(d.key, body, &old), 0);
	assert_int_equal(aud_checkpoint_store(log, old), 0);
	for (uint64_t n = 2; n < 6; n++) {
		aud_test_commit(log, n);
		aud_test_sign(log, n == 5 ? other.key : d.key);
	}
	/* An older one of ours arrives late: not in the way, not stored. */
	assert_int_equal(aud_checkpoint_store(log, old), 0);
	snprintf(path, sizeof(path), "%s/checkpoints", d.log);
	assert_int_equal(file_read_all(path, 4096, &kept, NULL), 0);
	assert_int_equal(strncmp(kept, old, strlen(old)), 0);
	assert_int_equal(note_verify(other.vkey, kept + strlen(old), &len), 0);
	free(kept);
	snprintf(path, sizeof(path), "%s/checkpoint", d.log);
	assert_int_equal(file_read_all(path, 4096, &kept, NULL), 0);
	assert_int_equal(note_verify(other.vkey, kept, &len), 0);
	assert_non_null(strstr(kept, "\n5\n"));
	free(kept);
	free(old);
	aud_close(log);
	aud_dir_remove(&d);
	aud_dir_remove(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_merkle_vectors),  cmocka_unit_test(test_merkle_definition),
	        cmocka_unit_test(test_base64),          cmocka_unit_test(test_go_example),
	        cmocka_unit_test(test_sign_and_verify), cmocka_unit_test(test_bad_vkeys),
	        cmocka_unit_test(test_openssl_agrees),  cmocka_unit_test(test_key_files),
	        cmocka_unit_test(test_checkpoint_text), cmocka_unit_test(test_checkpoint_store),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * notekey.c — the private signing key and its file.
 *
 * The key is made where it stays and never printed. A file that others may read is refused rather
 * than used: a signature says nothing once the key is known. The verifier key beside it is written
 * once; one that does not belong to the key is never overwritten, it may be what auditors hold.
 */
#include "engine/audit/notekey.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct note_key {
	EVP_PKEY *pkey;
	uint8_t pub[NOTE_PUB_BYTES];
	char name[NOTE_NAME_MAX];
};

const char *note_key_name(const struct note_key *key)
{
	return key->name;
}

const uint8_t *note_key_pub(const struct note_key *key)
{
	return key->pub;
}

int note_key_sign_raw(const struct note_key *key, const void *text, size_t len,
                      uint8_t signature[64])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t sig_len = 64;
	int ok = ctx && EVP_DigestSignInit(ctx, NULL, NULL, NULL, key->pkey) == 1 &&
	         EVP_DigestSign(ctx, signature, &sig_len, text, len) == 1 && sig_len == 64;

	EVP_MD_CTX_free(ctx);
	return ok ? 0 : -EIO;
}

void note_key_vkey(const struct note_key *key, char out[NOTE_VKEY_MAX])
{
	note_vkey_format(key->name, key->pub, out);
}

void note_key_close(struct note_key *key)
{
	if (!key)
		return;
	EVP_PKEY_free(key->pkey);
	free(key);
}

/* An encrypted key must fail, not ask on the terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)arg;
	return -1;
}

static int key_load(const char *path, EVP_PKEY **out, char *err, size_t err_bytes)
{
	struct stat st;
	FILE *f = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), r = 0;

	*out = NULL;
	if (fd < 0) {
		r = -errno;
		if (r != -ENOENT)
			snprintf(err, err_bytes, "cannot open signing key %s: %s", path,
			         strerror(-r));
		return r;
	}
	if (fstat(fd, &st)) {
		r = -errno;
		snprintf(err, err_bytes, "cannot read signing key %s: %s", path, strerror(-r));
	} else if (st.st_mode & 077) {
		r = -EACCES;
		snprintf(err, err_bytes,
		         "signing key %s may be read by others (mode %04o); make it 0400 and, as "
		         "it may be known, think of a new one",
		         path, (unsigned)(st.st_mode & 07777));
	}
	if (!r) {
		f = fdopen(fd, "r");
		if (f)
			fd = -1;
		*out = f ? PEM_read_PrivateKey(f, NULL, no_passphrase, NULL) : NULL;
		if (!*out || EVP_PKEY_get_base_id(*out) != EVP_PKEY_ED25519) {
			r = -EINVAL;
			snprintf(err, err_bytes, "%s is not an Ed25519 private key in PEM form",
			         path);
		}
	}
	if (f)
		fclose(f);
	if (fd >= 0)
		close(fd);
	return r;
}

static int key_make(const char *path, EVP_PKEY **out, char *err, size_t err_bytes)
{
	EVP_PKEY *pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	BIO *bio = BIO_new(BIO_s_secmem());
	char *pem = NULL;
	long len;
	int r = -ENOMEM;

	*out = pkey;
	if (pkey && bio && PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1) {
		len = BIO_get_mem_data(bio, &pem);
		r = file_replace(path, pem, (size_t)len, 0400);
	}
	BIO_free(bio);
	if (r)
		snprintf(err, err_bytes, "cannot make signing key %s: %s", path, strerror(-r));
	return r;
}

/* Writes path.pub if it is missing; otherwise it must be this key's. */
static int pub_ensure(const struct note_key *key, const char *path, char *err, size_t err_bytes)
{
	char file[PATH_MAX], text[NOTE_VKEY_MAX], vkey[NOTE_VKEY_MAX + 1], *have = NULL;
	int r;

	note_key_vkey(key, text);
	snprintf(vkey, sizeof(vkey), "%s\n", text);
	if ((size_t)snprintf(file, sizeof(file), "%s.pub", path) >= sizeof(file)) {
		snprintf(err, err_bytes, "the path of signing key %s is too long", path);
		return -ENAMETOOLONG;
	}
	r = file_read_all(file, NOTE_VKEY_MAX, &have, NULL);
	if (r == -ENOENT)
		r = file_replace(file, vkey, strlen(vkey), 0444);
	else if (!r && strcmp(have, vkey) != 0)
		r = -EKEYREJECTED;
	free(have);
	if (r == -EKEYREJECTED)
		snprintf(err, err_bytes,
		         "%s does not belong to the signing key and the name \"%s\"; put the right "
		         "key back, or move the file away if the change is meant",
		         file, key->name);
	else if (r)
		snprintf(err, err_bytes, "cannot use verifier key %s: %s", file, strerror(-r));
	return r;
}

int note_key_open(const char *path, const char *name, struct note_key **out, bool *made, char *err,
                  size_t err_bytes)
{
	struct note_key *key = NULL;
	size_t pub_len = NOTE_PUB_BYTES;
	int r;

	*out = NULL;
	*made = false;
	if (!note_name_ok(name, strlen(name))) {
		snprintf(err, err_bytes, "\"%s\" cannot name a key: no spaces, no '+'", name);
		return -EINVAL;
	}
	key = calloc(1, sizeof(*key));
	if (!key) {
		snprintf(err, err_bytes, "out of memory");
		return -ENOMEM;
	}
	snprintf(key->name, sizeof(key->name), "%s", name);
	r = key_load(path, &key->pkey, err, err_bytes);
	if (r == -ENOENT) {
		r = key_make(path, &key->pkey, err, err_bytes);
		*made = !r;
	}
	if (!r && EVP_PKEY_get_raw_public_key(key->pkey, key->pub, &pub_len) != 1) {
		r = -EINVAL;
		snprintf(err, err_bytes, "%s holds no public key", path);
	}
	if (!r)
		r = pub_ensure(key, path, err, err_bytes);
	if (r) {
		note_key_close(key);
		return r;
	}
	*out = key;
	return 0;
}

/*
 * checkpoint.c — the signed checkpoints beside a log.
 *
 * Signed text that others made: read with bounds, compared, kept. Signatures are checked by who
 * holds the verifier key (note.h); here a checkpoint is a size and a root that somebody may swear
 * to.
 */
#include "engine/audit/logdir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/audit/note.h"

#define NOTE_BYTES_MAX (64 * KIB)
#define KEPT_BYTES_MAX (1 * GIB)
#define SIG_PREFIX     "\xe2\x80\x94 "

static int path_join(const char *dir, const char *name, char out[PATH_MAX])
{
	return (size_t)snprintf(out, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static void checkpoint_set(struct aud_checkpoint *c, char *note)
{
	memset(c, 0, sizeof(*c));
	c->note = note;
	c->readable =
	        note_checkpoint_parse(note, c->origin, sizeof(c->origin), &c->size, c->root) == 0;
	if (!c->readable)
		c->origin[0] = '\0';
}

int aud_checkpoint_newest(const char *dir, struct aud_checkpoint *out)
{
	char path[PATH_MAX], *note;
	int err = path_join(dir, "checkpoint", path);

	memset(out, 0, sizeof(*out));
	if (!err)
		err = file_read_all(path, NOTE_BYTES_MAX, &note, NULL);
	if (err)
		return err == -EFBIG ? -EUCLEAN : err;
	checkpoint_set(out, note);
	return out->readable ? 0 : -EUCLEAN;
}

void aud_checkpoint_free(struct aud_checkpoint *all, size_t n)
{
	for (size_t i = 0; all && i < n; i++)
		free(all[i].note);
	free(all);
}

/* Length of the note at p: text, empty line, signature lines. 0: unfinished. */
static size_t note_length(const char *p)
{
	const char *q = strstr(p, "\n\n"), *end;

	if (!q)
		return 0;
	q += 2;
	while (!strncmp(q, SIG_PREFIX, sizeof(SIG_PREFIX) - 1)) {
		end = strchr(q, '\n');
		if (!end)
			return 0;
		q = end + 1;
	}
	/* Without a signature line the text goes on to whatever follows. */
	return q[-2] == '\n' ? 0 : (size_t)(q - p);
}

static int list_add(struct aud_checkpoint **all, size_t *n, size_t *room, char *note)
{
	struct aud_checkpoint *bigger;

	if (!note)
		return -ENOMEM;
	if (*n == *room) {
		*room = *room ? 2 * *room : 64;
		bigger = realloc(*all, *room * sizeof(**all));
		if (!bigger) {
			free(note);
			return -ENOMEM;
		}
		*all = bigger;
	}
	checkpoint_set(&(*all)[(*n)++], note);
	return 0;
}

int aud_checkpoint_all(const char *dir, struct aud_checkpoint **out, size_t *n, bool *has_newest)
{
	char path[PATH_MAX], *text = NULL, *note = NULL;
	size_t room = 0, len;
	int err = path_join(dir, "checkpoints", path);

	*out = NULL;
	*n = 0;
	*has_newest = false;
	if (!err)
		err = file_read_all(path, KEPT_BYTES_MAX, &text, NULL);
	if (err == -ENOENT)
		err = 0;
	for (const char *p = text; !err && p && *p; p += len) {
		len = note_length(p);
		if (!len)
			break;
		err = list_add(out, n, &room, strndup(p, len));
	}
	free(text);
	if (!err)
		err = path_join(dir, "checkpoint", path);
	if (!err)
		err = file_read_all(path, NOTE_BYTES_MAX, &note, NULL);
	if (!err) {
		*has_newest = true;
		err = list_add(out, n, &room, note);
	}
	if (err == -ENOENT)
		err = 0;
	if (err) {
		aud_checkpoint_free(*out, *n);
		*out = NULL;
		*n = 0;
	}
	return err;
}

/* Appends durably, over an unfinished note if the last append was cut short. */
static int kept_append(const char *path, const char *note)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644), err = 0;
	char last[2] = "";
	off_t end;

	if (fd < 0)
		return -errno;
	end = lseek(fd, 0, SEEK_END);
	if (end < 0 || fchmod(fd, 0644))
		err = -errno;
	while (!err && end > 0) {
		err = file_pread_full(fd, last, 1, (uint64_t)end - 1);
		if (last[0] == '\n')
			break;
		end--;
	}
	if (!err && ftruncate(fd, end))
		err = -errno;
	if (!err)
		err = file_pwrite_full(fd, note, strlen(note), (uint64_t)end);
	if (!err && fsync(fd))
		err = -errno;
	close(fd);
	return err;
}

int aud_checkpoint_write(const char *dir, const char *note, bool keep)
{
	char path[PATH_MAX];
	int err = path_join(dir, "checkpoint", path);

	if (!err)
		err = file_replace(path, note, strlen(note), 0644);
	if (err || !keep)
		return err;
	err = path_join(dir, "checkpoints", path);
	return err ? err : kept_append(path, note);
}

bool aud_checkpoint_key_id(const char *note, uint8_t id[4])
{
	const char *line = strstr(note, "\n\n" SIG_PREFIX), *name, *b64;
	uint8_t raw[6];
	size_t len;

	if (!line)
		return false;
	name = line + 2 + sizeof(SIG_PREFIX) - 1;
	b64 = name + strcspn(name, " \n");
	if (*b64++ != ' ' || strcspn(b64, "\n") < 8 || base64_decode(b64, 8, raw, 6, &len) ||
	    len < 4)
		return false;
	memcpy(id, raw, 4);
	return true;
}

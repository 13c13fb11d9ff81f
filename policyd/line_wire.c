/*
 * line_wire.c — one JSON object a line, and errors by their names: what is the same at both ends.
 *
 * Numbers of errors differ between architectures, names do not; so names travel.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "policyd/line_wire.h"

#define E(name)             \
	{                   \
#name, name \
	}
static const struct {
	const char *name;
	int value;
} errors[] = {
        E(EACCES), E(EINVAL),       E(ENOENT),   E(EEXIST),      E(ESTALE),    E(EAGAIN),
        E(EIO),    E(EPERM),        E(ENOSPC),   E(EBUSY),       E(EUCLEAN),   E(EMSGSIZE),
        E(ENOMEM), E(ETIMEDOUT),    E(ENOTSUP),  E(EPROTO),      E(EPIPE),     E(ERANGE),
        E(ENOSYS), E(ENODATA),      E(ENODEV),   E(ENOTCONN),    E(ECANCELED), E(ENOBUFS),
        E(EROFS),  E(ENOTDIR),      E(EISDIR),   E(EFBIG),       E(EMFILE),    E(ECONNREFUSED),
        E(EDQUOT), E(EKEYREJECTED), E(EALREADY), E(EINPROGRESS), E(ESRCH),     E(EOVERFLOW),
};

const char *line_errno_name(int err)
{
	int value = err < 0 ? -err : err;

	for (size_t i = 0; i < ARRAY_LEN(errors); i++)
		if (errors[i].value == value)
			return errors[i].name;
	return "EIO";
}

int line_errno_parse(const char *name)
{
	if (name)
		for (size_t i = 0; i < ARRAY_LEN(errors); i++)
			if (strcmp(errors[i].name, name) == 0)
				return errors[i].value;
	return EIO;
}

int wire_dump(const json_t *object, size_t max_bytes, char **out, size_t *len_bytes)
{
	const size_t flags = JSON_COMPACT;
	size_t len = json_dumpb(object, NULL, 0, flags);
	char *text;

	if (len == 0)
		return -ENOMEM;
	if (len + 1 > max_bytes)
		return -EMSGSIZE;
	text = malloc(len + 2);
	if (!text)
		return -ENOMEM;
	if (json_dumpb(object, text, len, flags) != len) {
		free(text);
		return -ENOMEM;
	}
	text[len] = '\n';
	text[len + 1] = '\0';
	*out = text;
	*len_bytes = len + 1;
	return 0;
}

json_t *wire_parse(const char *line, size_t len_bytes, const char **why)
{
	json_error_t error;
	json_t *object =
	        json_loadb(line, len_bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

	if (!object) {
		*why = "the line is not well-formed JSON";
		return NULL;
	}
	if (!json_is_object(object)) {
		*why = "the line is not a JSON object";
		json_decref(object);
		return NULL;
	}
	return object;
}

int wire_address(const char *path, struct sockaddr_un *out)
{
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(out->sun_path))
		return -ENAMETOOLONG;
	*out = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(out->sun_path, path, len + 1);
	return 0;
}

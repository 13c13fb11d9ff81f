/*
 * conf_file.h — reading a libconfuse file strictly. Private to the rooms that own a file format.
 *
 * libconfuse alone lets a later entry replace an earlier one silently; here every option may be
 * given once a section, and every error is one line "FILE:LINE: what; what to do".
 */
#ifndef CUSTOS_CONF_FILE_H
#define CUSTOS_CONF_FILE_H

#include <confuse.h>
#include "engine/base/base.h"

struct conf_file;

/* Parses FILE by `opts` (a template, changed: validators are put into it, also into its sections).
 * Allows each option once a section; strings must be UTF-8 without control characters. Sections
 * that may repeat need CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES. One thread at a time
 * (libconfuse's scanner is not thread-safe). -ENOENT, -EACCES, -EINVAL. Blocks. */
int conf_file_open(const char *file, cfg_opt_t *opts, int64_t max_bytes, struct conf_file **out,
                   char *err, size_t err_bytes) MUST_CHECK;
/* The same from text already in memory; `file` is only its name in messages. */
int conf_file_parse(const char *file, const char *text, cfg_opt_t *opts, struct conf_file **out,
                    char *err, size_t err_bytes) MUST_CHECK;
void conf_file_close(struct conf_file *f);
cfg_t *conf_file_root(const struct conf_file *f);

/* Prepares a text for libconfuse in place: blanks comments (which it counts as extra lines) and
 * refuses braces and quotes left open (which it accepts). -EINVAL with one line in err. Pure. */
int conf_text_clean(const char *file, char *text, char *err, size_t err_bytes) MUST_CHECK;

/* Line on which `name` was given in section `cfg`; when it was not, where the section ends. */
int conf_file_line(const struct conf_file *f, cfg_t *cfg, const char *name);
/* Writes "FILE:LINE: " and the message into err; returns -EINVAL. */
int conf_file_error(const struct conf_file *f, cfg_t *cfg, const char *name, char *err,
                    size_t err_bytes, const char *format, ...) PRINTF(6, 7);

#endif

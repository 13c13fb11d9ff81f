/*
 * ingest_open.c — opens the source with FFmpeg: an URL with a protocol white list of its own, or
 * the inherited descriptor through our own I/O context, so that FFmpeg opens nothing itself.
 *
 * RTSP skips stream probing: its description names the codecs, we read the parameter sets
 * ourselves, and probing would hold the first frames back and thereby date them wrongly.
 */
#include "engine/recorder/ingest.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define IO_BYTES        (64 * 1024)
#define OPEN_TIMEOUT_NS (15 * NSEC_PER_SEC)
#define FILE_FORMATS    "mpegts,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm"

static char last_error[256];

void text_clean(char *text)
{
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	size_t n = strlen(text);
	while (n > 0 && text[n - 1] == ' ')
		text[--n] = 0;
	if (!utf8_valid(text, n))
		for (char *c = text; *c; c++)
			if ((unsigned char)*c >= 0x80)
				*c = '?';
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static void on_log(void *avcl, int level, const char *format, va_list ap)
{
	char line[sizeof(last_error)];
	(void)avcl;
	if (level > AV_LOG_ERROR)
		return;
	vsnprintf(line, sizeof(line), format, ap);
	text_clean(line);
	/* An address may carry a password. */
	if (line[0] && !strstr(line, "://"))
		memcpy(last_error, line, sizeof(last_error));
}
#pragma GCC diagnostic pop

const char *source_last_error(void)
{
	return last_error;
}

static int interrupted(void *arg)
{
	struct source *s = arg;
	if (s->deadline_ns == 0 || clock_boot_ns() < s->deadline_ns)
		return 0;
	s->timed_out = true;
	return 1;
}

/* ---- descriptor ---- */

static int media_read(void *arg, uint8_t *buf, int len)
{
	struct source *s = arg;
	for (;;) {
		ssize_t n = s->regular ? pread(JOB_FD_MEDIA, buf, (size_t)len, s->offset)
		                       : read(JOB_FD_MEDIA, buf, (size_t)len);
		if (n > 0) {
			s->offset += n;
			return (int)n;
		}
		if (n == 0)
			return AVERROR_EOF;
		if (errno == EAGAIN) {
			struct pollfd p = {.fd = JOB_FD_MEDIA, .events = POLLIN};
			poll(&p, 1, 1000);
		} else if (errno != EINTR) {
			return AVERROR(errno);
		}
	}
}

static int64_t media_seek(void *arg, int64_t offset, int whence)
{
	struct source *s = arg;
	struct stat st;
	if (fstat(JOB_FD_MEDIA, &st))
		return AVERROR(errno);
	whence &= ~AVSEEK_FORCE;
	if (whence == AVSEEK_SIZE)
		return st.st_size;
	if (whence == SEEK_CUR)
		offset += s->offset;
	else if (whence == SEEK_END)
		offset += st.st_size;
	else if (whence != SEEK_SET)
		return AVERROR(EINVAL);
	if (offset < 0)
		return AVERROR(EINVAL);
	s->offset = offset;
	return offset;
}

static int open_media(struct source *s, char *text, size_t text_bytes)
{
	struct stat st;
	if (fstat(JOB_FD_MEDIA, &st) || S_ISDIR(st.st_mode)) {
		snprintf(text, text_bytes, "not a file that can be read");
		return -EINVAL;
	}
	s->regular = S_ISREG(st.st_mode);
	uint8_t *buf = av_malloc(IO_BYTES);
	if (buf)
		s->io = avio_alloc_context(buf, IO_BYTES, 0, s, media_read, NULL,
		                           s->regular ? media_seek : NULL);
	if (!s->io) {
		av_free(buf);
		return -ENOMEM;
	}
	s->fmt->pb = s->io;
	s->fmt->format_whitelist = av_strdup(FILE_FORMATS);
	s->fmt->protocol_whitelist = av_strdup("none");
	return avformat_open_input(&s->fmt, NULL, NULL, NULL);
}

/* ---- network ---- */

static const struct scheme {
	const char *name, *protocols;
} schemes[] = {
        {"rtsp", "rtsp,tcp,rtp"}, {"rtsps", "rtsps,rtsp,tls,tcp,rtp"},
        {"udp", "udp"},           {"rtp", "rtp,udp"},
        {"srt", "srt"},           {"rtmp", "rtmp,tcp"},
        {"http", "http,tcp"},     {"https", "https,http,tls,tcp"},
        {"tcp", "tcp"},
};

static int open_url(struct source *s, char *text, size_t text_bytes)
{
	const char *url = s->job->url;
	const struct scheme *k = NULL;
	AVDictionary *opt = NULL;
	size_t n = strcspn(url, ":");

	for (size_t i = 0; i < ARRAY_LEN(schemes) && !k; i++)
		if (strlen(schemes[i].name) == n && strncasecmp(url, schemes[i].name, n) == 0)
			k = &schemes[i];
	if (!k) {
		snprintf(text, text_bytes,
		         "source \"%.*s:\" is not known; use rtsp, rtsps, udp, rtp, srt, rtmp, "
		         "http, "
		         "https, tcp, a file or \"feed\"",
		         (int)(n > 16 ? 16 : n), url);
		return -ENOTSUP;
	}
	av_dict_set(&opt, "protocol_whitelist", k->protocols, 0);
	if (strncmp(k->name, "rtsp", 4) == 0) {
		av_dict_set(&opt, "rtsp_transport", "tcp", 0);
		av_dict_set_int(&opt, "timeout", s->job->stall_ns / 1000, 0);
	} else {
		av_dict_set_int(&opt, "rw_timeout", s->job->stall_ns / 1000, 0);
		s->fmt->flags |= AVFMT_FLAG_NOBUFFER;
	}
	int err = avformat_open_input(&s->fmt, url, NULL, &opt);
	av_dict_free(&opt);
	return err;
}

static enum eng_reason reason_of(const struct source *s, int err)
{
	if (err == AVERROR_HTTP_UNAUTHORIZED || err == AVERROR_HTTP_FORBIDDEN)
		return ENG_REASON_AUTH;
	if (!s->network || err == AVERROR_INVALIDDATA || err == -ENOTSUP)
		return ENG_REASON_BAD_DATA;
	return ENG_REASON_UNREACHABLE;
}

static void explain(const struct source *s, int err, char *text, size_t text_bytes)
{
	char why[128];

	if (text[0])
		return;
	if (av_strerror(err, why, sizeof(why)) < 0)
		snprintf(why, sizeof(why), "error %d", err);
	if (s->network)
		snprintf(text, text_bytes, "cannot be opened: %s",
		         s->timed_out ? "no answer in time" : why);
	else
		snprintf(text, text_bytes,
		         "not a media file that can be read (%s); give MP4, MPEG-TS or Matroska",
		         last_error[0] ? last_error : why);
}

int source_open(struct source *s, const struct ingest_job *job, enum eng_reason *reason, char *text,
                size_t text_bytes)
{
	memset(s, 0, sizeof(*s));
	text[0] = 0;
	s->job = job;
	s->network = job->url[0] != 0;
	av_log_set_level(AV_LOG_ERROR);
	av_log_set_callback(on_log);
	s->fmt = avformat_alloc_context();
	*reason = ENG_REASON_INGEST_CRASH;
	if (!s->fmt)
		return -ENOMEM;
	s->fmt->interrupt_callback = (AVIOInterruptCB){interrupted, s};
	s->fmt->max_analyze_duration = 3 * AV_TIME_BASE;
	s->fmt->max_streams = 64;
	if (s->network)
		s->deadline_ns = clock_boot_ns() + OPEN_TIMEOUT_NS;
	int err = s->network ? open_url(s, text, text_bytes) : open_media(s, text, text_bytes);
	if (!err && !(s->network && strcmp(s->fmt->iformat->name, "rtsp") == 0))
		err = avformat_find_stream_info(s->fmt, NULL);
	if (err < 0) {
		*reason = reason_of(s, err);
		explain(s, err, text, text_bytes);
		text_clean(text);
		return err;
	}
	s->heard_ns = clock_boot_ns();
	return 0;
}

void source_close(struct source *s)
{
	avformat_close_input(&s->fmt);
	if (s->io)
		av_freep(&s->io->buffer);
	avio_context_free(&s->io);
}

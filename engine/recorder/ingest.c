/*
 * custos-ingest — the sandboxed child that talks to one camera or reads one fed stream.
 *
 * Started by custos-recorderd alone: it inherits a socket with its one job (job.h), the ring and
 * its two eventfds, and for fed streams the media descriptor. Nothing on the command line. It locks
 * itself in before it reads a byte from outside, and says its last word as an END record: a child
 * that vanishes without one has crashed.
 */
#include "engine/recorder/ingest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* The job, and proof that our parent is still the one that started us. */
static int take_job(struct ingest_job *job)
{
	size_t at = 0;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		return -errno;
	while (at < sizeof(*job)) {
		ssize_t n = read(JOB_FD_SOCKET, (uint8_t *)job + at, sizeof(*job) - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EPIPE;
		at += (size_t)n;
	}
	/* The recorder keeps its end open for as long as it lives. */
	char c;
	if (recv(JOB_FD_SOCKET, &c, 1, MSG_DONTWAIT) == 0)
		return -EPIPE;
	if (job->magic != JOB_MAGIC || job->bytes != sizeof(*job) ||
	    memchr(job->url, 0, sizeof(job->url)) == NULL ||
	    memchr(job->name, 0, sizeof(job->name)) == NULL)
		return -EINVAL;
	return 0;
}

static void last_word(struct ring *ring, enum eng_reason reason, const char *text)
{
	struct ring_record rec = {.kind = RING_END, .reason = reason};
	snprintf(rec.text, sizeof(rec.text), "%s", text);
	text_clean(rec.text);
	if (ring_put(ring, &rec, 10 * NSEC_PER_SEC))
		log_err("%s", text);
}

static int work(const struct ingest_job *job, struct ring *ring)
{
	static struct source src; /* large, and one per process */
	static struct pump pump;
	enum eng_reason reason = ENG_REASON_INGEST_CRASH;
	char text[RING_TEXT_MAX] = "";

	int err = jail_enter(job->url[0] != 0, text, sizeof(text));
	if (!err) {
		err = source_open(&src, job, &reason, text, sizeof(text));
		if (!err) {
			reason = ENG_REASON_BAD_DATA;
			err = pump_init(&pump, &src, ring, text, sizeof(text));
			if (!err)
				err = pump_run(&pump, &reason, text, sizeof(text));
			pump_free(&pump);
		}
		source_close(&src);
	}
	if (err && !text[0])
		snprintf(text, sizeof(text), "%s", strerror(err < 0 && err > -4096 ? -err : EIO));
	last_word(ring, reason, text);
	return err ? 1 : 0;
}

int main(int argc, char **argv)
{
	static struct ingest_job job;
	struct ring *ring;

	if (argc > 1 || fcntl(JOB_FD_SOCKET, F_GETFD) < 0) {
		bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
		fprintf(help ? stdout : stderr,
		        "custos-ingest: started by custos-recorderd for each camera; see "
		        "custos-recorderd(8)\n");
		return help ? 0 : 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	log_setup("custos-ingest", LOG_INFO);
	int err = take_job(&job);
	if (err == -EPIPE)
		return 1; /* the recorder is gone already */
	if (!err)
		err = close_range(job.url[0] ? JOB_FD_MEDIA : JOB_FD_END, ~0U, 0) ? -errno : 0;
	if (!err)
		err = ring_attach(JOB_FD_RING, JOB_FD_DATA, JOB_FD_SPACE, &ring);
	if (err) {
		log_err("cannot start: %s", strerror(-err));
		return 1;
	}
	return work(&job, ring);
}

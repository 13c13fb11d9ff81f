/*
 * bench_writer.c — the writer alone, at full speed: one run of one case, one line of figures.
 *
 *   bench_writer STORE STREAMS MIB leaves|xxh3      STREAMS 1 to 1024
 *
 * Appends frames of 16 KiB (a 4 Mbit/s camera's) to STREAMS streams in turn until MIB have been
 * taken, then waits until all is durable. Prints "BYTES WALL_S CPU_S": the clock runs from the
 * first frame to the last one's durability; the CPU is this process's, so the kernel's work for its
 * I/O is in it. The store must be prewritten (custos init --prewrite) and large enough; opening and
 * closing are not timed.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "engine/engine.h"

#define FRAME_BYTES 16384u
#define FRAME_NS    (NSEC_PER_SEC / 25)

static double cpu_s(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Lets the writer work; with nothing to do meanwhile, until it has news. */
static void breathe(struct eng_writer *w, bool wait)
{
	struct pollfd p = {.fd = eng_writer_fd(w), .events = POLLIN};
	int64_t wait_ns = eng_poll(w);

	if (wait_ns < 0) {
		fprintf(stderr, "bench_writer: the store failed: %s\n", strerror((int)-wait_ns));
		exit(1);
	}
	if (wait && wait_ns / NSEC_PER_MSEC > 0)
		poll(&p, 1, (int)(wait_ns / NSEC_PER_MSEC));
}

static void append(struct eng_writer *w, struct eng_stream *s, const struct eng_frame *f)
{
	int err;

	while ((err = eng_append(s, f)) == -EAGAIN)
		breathe(w, true);
	if (err) {
		fprintf(stderr, "bench_writer: a frame was refused: %s\n", strerror(-err));
		exit(1);
	}
}

static void begin_streams(struct eng_writer *w, struct eng_stream **streams, unsigned n)
{
	struct eng_setup setup = {.n_tracks = 1};

	setup.track[0] = (struct eng_track){.codec = ENG_CODEC_MJPEG, .width = 640, .height = 480};
	for (unsigned i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "camera-%u", i);
		if (eng_stream_get(w, name, false, &streams[i]) ||
		    eng_run_begin(streams[i], &setup, ENG_REASON_OPERATOR)) {
			fprintf(stderr, "bench_writer: stream %u cannot begin\n", i);
			exit(1);
		}
	}
}

int main(int argc, char **argv)
{
	static uint8_t data[FRAME_BYTES];
	static struct eng_stream *streams[1024];
	char err[256];
	struct eng_writer *w;

	if (argc != 5) {
		fprintf(stderr, "usage: bench_writer STORE STREAMS MIB leaves|xxh3\n");
		return 2;
	}
	unsigned n = (unsigned)strtoul(argv[2], NULL, 10);
	uint64_t total = strtoull(argv[3], NULL, 10) * MIB;
	struct eng_writer_options opt = {.leaves = strcmp(argv[4], "leaves") == 0};

	if (!n || n > ARRAY_LEN(streams) || !total) {
		fprintf(stderr, "bench_writer: 1 to 1024 streams, 1 MiB or more\n");
		return 2;
	}
	random_fill(data, sizeof(data));
	if (eng_writer_open(argv[1], &opt, &w, err, sizeof(err))) {
		fprintf(stderr, "bench_writer: %s\n", err);
		return 1;
	}
	begin_streams(w, streams, n);
	struct eng_frame f = {.duration_ns = (uint32_t)FRAME_NS,
	                      .flags = ENG_FRAME_KEY,
	                      .size_bytes = FRAME_BYTES,
	                      .data = data};
	int64_t time_ns = clock_wall_ns(), from_ns = clock_boot_ns();
	double cpu = cpu_s();
	uint64_t done = 0;

	for (; done < total; time_ns += FRAME_NS) {
		f.time_ns = f.dts_ns = time_ns;
		for (unsigned i = 0; i < n && done < total; i++, done += FRAME_BYTES)
			append(w, streams[i], &f);
		breathe(w, false);
	}
	if (eng_sync(w, 60 * NSEC_PER_SEC)) {
		fprintf(stderr, "bench_writer: not durable within a minute\n");
		return 1;
	}
	printf("%" PRIu64 " %.6f %.6f\n", done, (double)(clock_boot_ns() - from_ns) / 1e9,
	       cpu_s() - cpu);
	eng_writer_close(w);
	return 0;
}

/*
 * The ingest child itself, end to end: real containers made with ffmpeg go in through the
 * descriptor, and the NAL units and audio payloads that come out of the ring are those that were
 * sent. Broken input gives one clear line; a child is locked in while it works.
 */
#include "tests/unit/support_rec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/recorder/child.h"
#include "engine/recorder/nal.h"

#define START (INT64_C(1700000000) * NSEC_PER_SEC)

static char dir[64];

struct result {
	struct eng_setup setup;
	unsigned setups, frames[2];
	int64_t first_ns, last_dts[2];
	enum eng_reason reason;
	char text[RING_TEXT_MAX];
	uint8_t *units; /* NAL units but parameter sets and delimiters: length, bytes */
	size_t units_len;
	uint8_t *audio; /* length, bytes */
	size_t audio_len;
};

static void add(uint8_t **buf, size_t *len, const void *bytes, uint32_t n)
{
	*buf = realloc(*buf, *len + 4 + n);
	assert_non_null(*buf);
	le32_put(*buf + *len, n);
	memcpy(*buf + *len + 4, bytes, n);
	*len += 4 + n;
}

static bool counts(uint16_t codec, const uint8_t *nal)
{
	unsigned t = nal_type(codec, nal);
	/* ffmpeg's filter repeats the SEI of hvcC at each key frame, hence none of H.265's here */
	return codec == ENG_CODEC_H264 ? t < 7 || t > 9 : t < 32;
}

static void take_frame(struct result *r, const struct eng_frame *f)
{
	uint16_t codec = r->setup.track[f->track].codec;
	const uint8_t *nal;
	size_t pos = 0, n;
	bool bad = false;

	if (r->frames[0] + r->frames[1] == 0) {
		assert_true(f->flags & ENG_FRAME_KEY);
		assert_int_equal(f->track, 0);
		r->first_ns = f->time_ns;
	}
	assert_true(r->frames[f->track] == 0 || f->dts_ns > r->last_dts[f->track]);
	r->last_dts[f->track] = f->dts_ns;
	r->frames[f->track]++;
	if (!eng_codec_is_video(codec)) {
		add(&r->audio, &r->audio_len, f->data, f->size_bytes);
		return;
	}
	while (nal_next_length(f->data, f->size_bytes, 4, &pos, &nal, &n, &bad))
		if (counts(codec, nal))
			add(&r->units, &r->units_len, nal, (uint32_t)n);
	assert_false(bad);
}

/* Runs a child over fd to its END record. */
static void ingest(int fd, struct result *r)
{
	struct ingest_job job = {.magic = JOB_MAGIC,
	                         .bytes = sizeof(job),
	                         .start_ns = START,
	                         .not_before_ns = ENG_NO_TIME,
	                         .stall_ns = 10 * NSEC_PER_SEC,
	                         .audio = 1,
	                         .feed = 1};
	struct ring_record *rec = calloc(1, sizeof(*rec));
	struct child c;
	int got, status = 0;

	memset(r, 0, sizeof(*r));
	assert_int_equal(child_start(&c, &job, fd, 0), 0);
	while (r->reason == ENG_REASON_NONE) {
		struct pollfd p = {.fd = ring_data_fd(c.ring), .events = POLLIN};
		assert_true(poll(&p, 1, 60000) > 0);
		ring_drained(c.ring);
		while ((got = ring_get(c.ring, rec)) == 1) {
			if (rec->kind == RING_SETUP) {
				r->setup = rec->setup;
				r->setups++;
			} else if (rec->kind == RING_FRAME) {
				take_frame(r, &rec->frame);
			} else if (rec->kind == RING_END) {
				r->reason = rec->reason;
				memcpy(r->text, rec->text, sizeof(r->text));
			}
		}
		assert_int_equal(got, 0);
	}
	struct pollfd p = {.fd = c.pid_fd, .events = POLLIN};
	assert_true(poll(&p, 1, 60000) > 0);
	assert_true(child_ended(&c, &status));
	child_close(&c);
	free(rec);
}

static void ingest_file(const char *name, struct result *r)
{
	char path[128];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	ingest(fd, r);
	close(fd);
}

static void result_free(struct result *r)
{
	free(r->units);
	free(r->audio);
}

/* What ffmpeg itself says is in the file, as an Annex B stream. */
static void expect_video(const char *name, const char *filter, const char *format, struct result *r)
{
	char path[128];
	char *es;
	const uint8_t *nal;
	uint8_t *want = NULL;
	size_t len, pos = 0, n, want_len = 0;
	uint16_t codec = r->setup.track[0].codec;

	rec_shell("ffmpeg -nostdin -v error -y -i %s/%s -map 0:v -c copy %s -f %s %s/es", dir, name,
	          filter, format, dir);
	snprintf(path, sizeof(path), "%s/es", dir);
	assert_int_equal(file_read_all(path, 64 * MIB, &es, &len), 0);
	while (nal_next_annexb((uint8_t *)es, len, &pos, &nal, &n))
		if (counts(codec, nal))
			add(&want, &want_len, nal, (uint32_t)n);
	assert_true(want_len > 10000);
	assert_int_equal(r->units_len, want_len);
	assert_memory_equal(r->units, want, want_len);
	free(want);
	free(es);
}

/* Audio from before the first picture is dropped, so what is there is the end of what was sent. */
static void expect_aac(const char *name, struct result *r)
{
	char path[128];
	char *es;
	uint8_t *want = NULL;
	size_t len, want_len = 0, at = 0;

	rec_shell("ffmpeg -nostdin -v error -y -i %s/%s -map 0:a -c copy -f adts %s/es", dir, name,
	          dir);
	snprintf(path, sizeof(path), "%s/es", dir);
	assert_int_equal(file_read_all(path, 64 * MIB, &es, &len), 0);
	while (at < len) {
		struct adts_info a;
		assert_int_equal(adts_parse((uint8_t *)es + at, len - at, &a), 0);
		add(&want, &want_len, es + at + a.header_bytes, a.frame_bytes - a.header_bytes);
		at += a.frame_bytes;
	}
	assert_true(r->audio_len > want_len / 2 && r->audio_len <= want_len);
	assert_memory_equal(r->audio, want + want_len - r->audio_len, r->audio_len);
	free(want);
	free(es);
}

static void test_h264_aac(void **state)
{
	static const char *const files[] = {"f.mp4", "f.ts", "f.mkv"};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		struct result r;
		ingest_file(files[i], &r);
		assert_int_equal(r.reason, ENG_REASON_SOURCE_END);
		assert_string_equal(r.text, "");
		assert_int_equal(r.setups, 1);
		assert_int_equal(r.first_ns, START);
		assert_int_equal(r.frames[0], 75);
		assert_int_equal(r.setup.track[0].codec, ENG_CODEC_H264);
		assert_int_equal(r.setup.track[0].width, 322);
		assert_int_equal(r.setup.track[0].height, 242);
		assert_int_equal(r.setup.track[1].sample_rate, 48000);
		expect_video(files[i], "-bsf:v h264_mp4toannexb", "h264", &r);
		expect_aac(files[i], &r);
		result_free(&r);
	}
}

/* x265 puts a SEI with all its settings into hvcC, more than a store holds:
 * the setup has the parameter sets alone: one array each of VPS, SPS, PPS. */
static void expect_sets_alone(const char *name, const struct eng_track *t)
{
	size_t at = 23;

	rec_shell("[ $(ffprobe -v error -show_entries stream=extradata_size -of csv=p=0 %s/%s) "
	          "-gt %d ]",
	          dir, name, ENG_EXTRADATA_MAX);
	assert_int_equal(t->extradata[22], 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(at + 5 <= t->extradata_bytes);
		assert_int_equal(t->extradata[at] & 0x3f, NAL_HEVC_VPS + i);
		assert_int_equal(t->extradata[at + 1] << 8 | t->extradata[at + 2], 1);
		at += 5 + ((size_t)t->extradata[at + 3] << 8 | t->extradata[at + 4]);
	}
	assert_int_equal(at, t->extradata_bytes);
}

static void test_h265(void **state)
{
	static const char *const files[] = {"hevc.mkv", "hevc.mp4"};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		struct result r;
		ingest_file(files[i], &r);
		assert_int_equal(r.reason, ENG_REASON_SOURCE_END);
		assert_int_equal(r.setup.n_tracks, 1);
		assert_int_equal(r.setup.track[0].width, 320);
		assert_int_equal(r.setup.track[0].height, 240);
		expect_sets_alone(files[i], &r.setup.track[0]);
		expect_video(files[i], "-bsf:v hevc_mp4toannexb", "hevc", &r);
		result_free(&r);
	}
}

static void test_g711(void **state)
{
	struct result r;
	(void)state;
	ingest_file("alaw.mkv", &r);
	assert_int_equal(r.setup.track[1].codec, ENG_CODEC_ALAW);
	assert_int_equal(r.setup.track[1].sample_rate, 8000);
	assert_true(r.audio_len > 2 * 8000);
	result_free(&r);
}

static void test_broken_input(void **state)
{
	struct result r;
	(void)state;
	rec_shell("head -c 300000 /dev/urandom >%s/garbage", dir);
	rec_shell(": >%s/empty; head -c $(($(stat -c %%s %s/f.mkv) / 2)) %s/f.mkv >%s/half.mkv",
	          dir, dir, dir, dir);
	rec_shell("ffmpeg -nostdin -v error -y -i %s/f.mkv -t 1 -c:v libvpx -an %s/vp8.mkv", dir,
	          dir);
	ingest_file("garbage", &r);
	assert_int_equal(r.reason, ENG_REASON_BAD_DATA);
	assert_non_null(strstr(r.text, "not a media file"));
	result_free(&r);
	ingest_file("empty", &r);
	assert_int_equal(r.reason, ENG_REASON_BAD_DATA);
	result_free(&r);
	ingest_file("vp8.mkv", &r);
	assert_int_equal(r.reason, ENG_REASON_BAD_DATA);
	assert_non_null(strstr(r.text, "codec vp8"));
	result_free(&r);
	ingest_file("half.mkv", &r);
	assert_int_equal(r.reason, ENG_REASON_SOURCE_END);
	assert_in_range(r.frames[0], 20, 60);
	result_free(&r);
}

/* While it waits on its pipe: filtered, no new privileges, six descriptors, nothing to read in ps.
 */
static void test_locked_in(void **state)
{
	struct ingest_job job = {.magic = JOB_MAGIC,
	                         .bytes = sizeof(job),
	                         .start_ns = START,
	                         .not_before_ns = ENG_NO_TIME,
	                         .stall_ns = NSEC_PER_SEC};
	struct child c;
	char path[64], *text = NULL;
	size_t len;
	int fds[2];
	(void)state;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(child_start(&c, &job, fds[0], 0), 0);
	snprintf(path, sizeof(path), "/proc/%d/status", (int)c.pid);
	for (int64_t end = clock_boot_ns() + 20 * NSEC_PER_SEC; clock_boot_ns() < end;) {
		free(text);
		assert_int_equal(file_read_all(path, 65536, &text, &len), 0);
		if (strstr(text, "Seccomp:\t2"))
			break;
		usleep(2000);
	}
	assert_non_null(strstr(text, "Seccomp:\t2"));
	assert_non_null(strstr(text, "NoNewPrivs:\t1"));
	free(text);
	rec_shell("[ \"$(ls /proc/%d/fd | wc -l)\" = 8 ]", (int)c.pid);
	rec_shell("[ \"$(tr '\\0' ' ' </proc/%d/cmdline)\" = 'custos-ingest ' ]", (int)c.pid);
	rec_shell("[ ! -s /proc/%d/environ ]", (int)c.pid);
	child_close(&c);
	close(fds[0]);
	close(fds[1]);
}

/* The child's program lies beside ours or in the release build; child.c looks beside ours. */
static bool find_program(void)
{
	char self[PATH_MAX], there[PATH_MAX + 64], link[PATH_MAX + 64];
	static const char *const where[] = {"../custos-ingest", "../../release/custos-ingest"};
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n <= 0)
		return false;
	self[n] = 0;
	*strrchr(self, '/') = 0;
	for (size_t i = 0; i < ARRAY_LEN(where); i++) {
		snprintf(there, sizeof(there), "%s/%s", self, where[i]);
		snprintf(link, sizeof(link), "%s/custos-ingest", self);
		if (access(there, X_OK))
			continue;
		unlink(link);
		return symlink(where[i], link) == 0;
	}
	return false;
}

static int setup(void **state)
{
	(void)state;
	rec_folder(dir);
	rec_shell("cd %s && v='-f lavfi -i testsrc2=size=322x242:rate=25:duration=3' "
	          "a='-f lavfi -i sine=frequency=300:sample_rate=48000:duration=3' && "
	          "ffmpeg -nostdin -v error $v $a -c:v libx264 -preset veryfast -bf 2 -g 25 "
	          "-pix_fmt yuv420p -c:a aac f.mp4 && ffmpeg -nostdin -v error -i f.mp4 -c copy "
	          "f.ts && "
	          "ffmpeg -nostdin -v error -i f.mp4 -c copy f.mkv && "
	          "ffmpeg -nostdin -v error -f lavfi -i testsrc2=size=320x240:rate=25:duration=3 "
	          "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=25 "
	          "-pix_fmt yuv420p hevc.mkv && ffmpeg -nostdin -v error -i hevc.mkv -c copy "
	          "hevc.mp4 && ffmpeg -nostdin -v error $v $a -ac 1 -ar 8000 "
	          "-c:v libx264 -preset ultrafast -g 25 -pix_fmt yuv420p -c:a pcm_alaw alaw.mkv",
	          dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rec_remove(dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(test_h264_aac),  cmocka_unit_test(test_h265),
	        cmocka_unit_test(test_g711),      cmocka_unit_test(test_broken_input),
	        cmocka_unit_test(test_locked_in),
	};
	if (!find_program()) {
		puts("skipped: custos-ingest has not been built");
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}

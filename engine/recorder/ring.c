/*
 * ring.c — see ring.h. Positions are 64-bit and only grow; each side trusts its own and checks the
 * other's against it, so no value in shared memory is ever an index without having been bounded.
 */
#include "engine/recorder/ring.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RING_MAGIC   "CUSTRNG1"
#define RECORD_MAGIC UINT32_C(0x43525243)
#define HEAD_AT      64
#define TAIL_AT      128
#define SETUP_TRACK  14u
#define SETUP_MAX    (2 + ENG_TRACKS_MAX * (SETUP_TRACK + ENG_EXTRADATA_MAX))
#define SKIP_AFTER   (1 * MIB) /* an empty ring starts over once it has come this far */

struct ring {
	uint8_t *map;
	uint64_t size; /* D */
	int mem_fd, data_fd, space_fd;
	uint64_t pos; /* our own position: consumer's tail, producer's head */
	uint64_t sequence;
	uint8_t *buf; /* consumer's private copy of a payload */
	size_t buf_bytes;
};

static _Atomic uint64_t *shared_u64(const struct ring *r, size_t at)
{
	return (_Atomic uint64_t *)(void *)(r->map + at);
}

static int map_ring(struct ring *r)
{
	r->map = mmap(NULL, RING_DATA_AT + r->size, PROT_READ | PROT_WRITE, MAP_SHARED, r->mem_fd,
	              0);
	if (r->map == MAP_FAILED) {
		r->map = NULL;
		return -ENOMEM; /* all else was checked before */
	}
	return 0;
}

int ring_create(uint64_t bytes, struct ring **out)
{
	int err;

	if (bytes == 0)
		bytes = RING_BYTES_DEFAULT;
	if (bytes < 65536 || bytes > 1 * GIB || (bytes & (bytes - 1)))
		return -EINVAL;
	struct ring *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->size = bytes;
	r->data_fd = r->space_fd = -1;
	r->mem_fd = memfd_create("custos-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (r->mem_fd < 0)
		goto fail;
	if (ftruncate(r->mem_fd, (off_t)(RING_DATA_AT + bytes)) ||
	    fcntl(r->mem_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		goto fail;
	r->data_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r->space_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->data_fd < 0 || r->space_fd < 0)
		goto fail;
	err = map_ring(r);
	if (err)
		goto out;
	memcpy(r->map, RING_MAGIC, 8);
	le64_put(r->map + 8, bytes);
	*out = r;
	return 0;
fail:
	err = -errno;
out:
	ring_close(r);
	return err;
}

int ring_attach(int mem_fd, int data_fd, int space_fd, struct ring **out)
{
	struct stat st;
	if (fstat(mem_fd, &st))
		return -errno;
	if (st.st_size <= RING_DATA_AT || (uint64_t)st.st_size > 2 * GIB)
		return -EINVAL;
	struct ring *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->size = (uint64_t)st.st_size - RING_DATA_AT;
	r->mem_fd = mem_fd;
	r->data_fd = data_fd;
	r->space_fd = space_fd;
	int err = map_ring(r);
	if (!err && (memcmp(r->map, RING_MAGIC, 8) || le64_get(r->map + 8) != r->size ||
	             (r->size & (r->size - 1))))
		err = -EINVAL;
	if (err) {
		ring_close(r);
		return err;
	}
	*out = r;
	return 0;
}

void ring_close(struct ring *r)
{
	if (!r)
		return;
	if (r->map)
		munmap(r->map, RING_DATA_AT + r->size);
	if (r->mem_fd >= 0)
		close(r->mem_fd);
	if (r->data_fd >= 0)
		close(r->data_fd);
	if (r->space_fd >= 0)
		close(r->space_fd);
	free(r->buf);
	free(r);
}

int ring_mem_fd(const struct ring *r)
{
	return r->mem_fd;
}

int ring_data_fd(const struct ring *r)
{
	return r->data_fd;
}

int ring_space_fd(const struct ring *r)
{
	return r->space_fd;
}

/* Copies between private memory and position pos of the data, wrapping. len <= size. */
static void copy_out(const struct ring *r, uint64_t pos, void *to, size_t len)
{
	uint64_t at = pos & (r->size - 1);
	size_t first = len < r->size - at ? len : (size_t)(r->size - at);
	memcpy(to, r->map + RING_DATA_AT + at, first);
	memcpy((uint8_t *)to + first, r->map + RING_DATA_AT, len - first);
}

static void copy_in(struct ring *r, uint64_t pos, const void *from, size_t len)
{
	uint64_t at = pos & (r->size - 1);
	size_t first = len < r->size - at ? len : (size_t)(r->size - at);
	if (len == 0)
		return;
	memcpy(r->map + RING_DATA_AT + at, from, first);
	memcpy(r->map + RING_DATA_AT, (const uint8_t *)from + first, len - first);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;
	/* EAGAIN: the counter is at its top, so the other side will wake anyway. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

static void clear_fd(int fd)
{
	uint64_t n;
	if (read(fd, &n, sizeof(n)) < 0)
		return;
}

/* ---- setup as bytes ---- */

int ring_setup_check(const struct eng_setup *s)
{
	if (s->n_tracks < 1 || s->n_tracks > ENG_TRACKS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < s->n_tracks; i++) {
		const struct eng_track *t = &s->track[i];
		bool video = eng_codec_is_video(t->codec);
		switch (t->codec) {
		case ENG_CODEC_H264:
		case ENG_CODEC_H265:
		case ENG_CODEC_AAC:
			if (t->extradata_bytes < 2)
				return -EINVAL;
			break;
		case ENG_CODEC_MJPEG:
		case ENG_CODEC_ALAW:
		case ENG_CODEC_ULAW:
			break;
		default:
			return -EINVAL;
		}
		if (t->extradata_bytes > ENG_EXTRADATA_MAX)
			return -EINVAL;
		if (video && (i != 0 || t->width == 0 || t->height == 0))
			return -EINVAL;
		if (!video && (t->channels == 0 || t->sample_rate == 0))
			return -EINVAL;
	}
	if (s->n_tracks == 2 && !eng_codec_is_video(s->track[0].codec))
		return -EINVAL;
	return 0;
}

static uint32_t setup_put(const struct eng_setup *s, uint8_t *out)
{
	uint8_t *p = out;
	le16_put(p, s->n_tracks);
	p += 2;
	for (unsigned i = 0; i < s->n_tracks; i++) {
		const struct eng_track *t = &s->track[i];
		le16_put(p, t->codec);
		le16_put(p + 2, t->width);
		le16_put(p + 4, t->height);
		le16_put(p + 6, t->channels);
		le32_put(p + 8, t->sample_rate);
		le16_put(p + 12, t->extradata_bytes);
		memcpy(p + SETUP_TRACK, t->extradata, t->extradata_bytes);
		p += SETUP_TRACK + t->extradata_bytes;
	}
	return (uint32_t)(p - out);
}

static int setup_get(const uint8_t *in, uint32_t len, struct eng_setup *s)
{
	const uint8_t *end = in + len;

	memset(s, 0, sizeof(*s));
	if (len < 2 || le16_get(in) < 1 || le16_get(in) > ENG_TRACKS_MAX)
		return -EUCLEAN;
	s->n_tracks = le16_get(in);
	in += 2;
	for (unsigned i = 0; i < s->n_tracks; i++) {
		struct eng_track *t = &s->track[i];
		if ((size_t)(end - in) < SETUP_TRACK)
			return -EUCLEAN;
		t->codec = le16_get(in);
		t->width = le16_get(in + 2);
		t->height = le16_get(in + 4);
		t->channels = le16_get(in + 6);
		t->sample_rate = le32_get(in + 8);
		t->extradata_bytes = le16_get(in + 12);
		in += SETUP_TRACK;
		if (t->extradata_bytes > ENG_EXTRADATA_MAX || end - in < t->extradata_bytes)
			return -EUCLEAN;
		memcpy(t->extradata, in, t->extradata_bytes);
		in += t->extradata_bytes;
	}
	if (in != end || ring_setup_check(s))
		return -EUCLEAN;
	return 0;
}

/* ---- consumer ---- */

void ring_drained(struct ring *r)
{
	clear_fd(r->data_fd);
}

static int buf_reserve(struct ring *r, size_t len)
{
	if (len <= r->buf_bytes)
		return 0;
	size_t want = r->buf_bytes ? r->buf_bytes : 65536;
	while (want < len)
		want *= 2;
	uint8_t *p = realloc(r->buf, want);
	if (!p)
		return -ENOMEM;
	r->buf = p;
	r->buf_bytes = want;
	return 0;
}

/* Reads a private copy of header and payload into *out; both have been bounded. */
static int decode(struct ring *r, const uint8_t h[RING_HEADER], uint32_t len,
                  struct ring_record *out)
{
	out->kind = h[4];
	switch (h[4]) {
	case RING_FRAME:
		if (len == 0 || h[5] >= ENG_TRACKS_MAX || (h[6] & ~ENG_FRAME_KEY))
			return -EUCLEAN;
		out->frame = (struct eng_frame){
		        .time_ns = (int64_t)le64_get(h + 24),
		        .dts_ns = (int64_t)le64_get(h + 32),
		        .duration_ns = le32_get(h + 12),
		        .track = h[5],
		        .flags = h[6],
		        .size_bytes = len,
		        .data = r->buf,
		};
		return 0;
	case RING_SETUP:
		out->first_ns = (int64_t)le64_get(h + 24);
		out->end_ns = (int64_t)le64_get(h + 32);
		return setup_get(r->buf, len, &out->setup);
	case RING_END:
		if (le32_get(h + 12) == 0 || le32_get(h + 12) >= ENG_REASON_MAX)
			return -EUCLEAN;
		out->reason = le32_get(h + 12);
		/* fallthrough */
	case RING_NOTE:
		if (len >= RING_TEXT_MAX || !utf8_valid((const char *)r->buf, len))
			return -EUCLEAN;
		memcpy(out->text, r->buf, len);
		out->text[len] = 0;
		return 0;
	default:
		return -EUCLEAN;
	}
}

static bool header_ok(const uint8_t h[RING_HEADER], uint64_t sequence)
{
	static const uint8_t zero[24];
	return le32_get(h) == RECORD_MAGIC && h[7] == 0 && le64_get(h + 16) == sequence &&
	       memcmp(h + 40, zero, sizeof(zero)) == 0;
}

int ring_get(struct ring *r, struct ring_record *out)
{
	for (;;) {
		uint8_t h[RING_HEADER];
		uint64_t head = atomic_load_explicit(shared_u64(r, HEAD_AT), memory_order_acquire);
		uint64_t avail = head - r->pos;

		if (avail == 0)
			return 0;
		if (avail > r->size || (head & (RING_HEADER - 1)))
			return -EUCLEAN;
		copy_out(r, r->pos, h, sizeof(h));
		if (!header_ok(h, r->sequence + 1))
			return -EUCLEAN;
		uint32_t len = le32_get(h + 8);
		uint64_t step = align_up(RING_HEADER + (uint64_t)len, RING_HEADER);
		bool skip = h[4] == RING_SKIP;
		if (skip)
			step = r->size - (r->pos & (r->size - 1));
		if (step > avail || (!skip && len > ENG_FRAME_MAX))
			return -EUCLEAN;
		if (!skip) {
			int err = buf_reserve(r, len ? len : 1);
			if (err)
				return err;
			copy_out(r, r->pos + RING_HEADER, r->buf, len);
		}
		r->pos += step;
		r->sequence++;
		atomic_store_explicit(shared_u64(r, TAIL_AT), r->pos, memory_order_release);
		signal_fd(r->space_fd);
		if (skip)
			continue;
		int err = decode(r, h, len, out);
		return err ? err : 1;
	}
}

/* ---- producer ---- */

static int64_t mono_ns(void)
{
	return clock_boot_ns();
}

/* Bytes free now. The consumer is our parent: a tail that cannot be means a broken ring. */
static int64_t space_now(const struct ring *r)
{
	uint64_t tail = atomic_load_explicit(shared_u64(r, TAIL_AT), memory_order_acquire);
	if (r->pos - tail > r->size)
		return -EUCLEAN;
	return (int64_t)(r->size - (r->pos - tail));
}

static int wait_space(struct ring *r, uint64_t need, int64_t timeout_ns)
{
	int64_t deadline = mono_ns() + timeout_ns;
	for (;;) {
		int64_t space = space_now(r);
		if (space < 0)
			return (int)space;
		if ((uint64_t)space >= need)
			return 0;
		int64_t left = deadline - mono_ns();
		if (left <= 0)
			return -EAGAIN;
		struct pollfd p = {.fd = r->space_fd, .events = POLLIN};
		int64_t ms = left / NSEC_PER_MSEC + 1;
		if (poll(&p, 1, ms > 1000 ? 1000 : (int)ms) > 0)
			clear_fd(r->space_fd);
	}
}

static void publish(struct ring *r, uint64_t step)
{
	r->pos += step;
	r->sequence++;
	atomic_store_explicit(shared_u64(r, HEAD_AT), r->pos, memory_order_release);
	signal_fd(r->data_fd);
}

static void header_put(const struct ring *r, uint8_t h[RING_HEADER], enum ring_kind kind,
                       uint32_t len)
{
	memset(h, 0, RING_HEADER);
	le32_put(h, RECORD_MAGIC);
	h[4] = (uint8_t)kind;
	le32_put(h + 8, len);
	le64_put(h + 16, r->sequence + 1);
}

/* Back to the first pages when everything has been consumed and some way has been gone. */
static void skip_when_empty(struct ring *r)
{
	uint8_t h[RING_HEADER];
	uint64_t at = r->pos & (r->size - 1);

	if (at < SKIP_AFTER || space_now(r) != (int64_t)r->size)
		return;
	header_put(r, h, RING_SKIP, 0);
	copy_in(r, r->pos, h, sizeof(h));
	publish(r, r->size - at);
}

int ring_put(struct ring *r, const struct ring_record *rec, int64_t timeout_ns)
{
	uint8_t h[RING_HEADER], setup[SETUP_MAX];
	const void *data = rec->text;
	uint32_t len;

	if (rec->kind == RING_FRAME) {
		data = rec->frame.data;
		len = rec->frame.size_bytes;
	} else if (rec->kind == RING_SETUP) {
		int err = ring_setup_check(&rec->setup);
		if (err)
			return err;
		data = setup;
		len = setup_put(&rec->setup, setup);
	} else {
		len = (uint32_t)strnlen(rec->text, RING_TEXT_MAX - 1);
	}
	uint64_t step = align_up(RING_HEADER + (uint64_t)len, RING_HEADER);
	if (len > ENG_FRAME_MAX || step > r->size)
		return -EMSGSIZE;
	skip_when_empty(r);
	int err = wait_space(r, step, timeout_ns);
	if (err)
		return err;
	header_put(r, h, rec->kind, len);
	if (rec->kind == RING_FRAME) {
		h[5] = rec->frame.track;
		h[6] = rec->frame.flags;
		le32_put(h + 12, rec->frame.duration_ns);
		le64_put(h + 24, (uint64_t)rec->frame.time_ns);
		le64_put(h + 32, (uint64_t)rec->frame.dts_ns);
	} else if (rec->kind == RING_SETUP) {
		le64_put(h + 24, (uint64_t)rec->first_ns);
		le64_put(h + 32, (uint64_t)rec->end_ns);
	} else if (rec->kind == RING_END) {
		le32_put(h + 12, rec->reason);
	}
	copy_in(r, r->pos, h, sizeof(h));
	copy_in(r, r->pos + RING_HEADER, data, len);
	publish(r, step);
	return 0;
}

/*
 * format.c — the blocks that say what a place on disk is: superblock, writer epoch, segment header,
 * catalog. Chunks and footers are in format_chunk.c, hashes in digest.c.
 *
 * Every block is built the same way: `put` clears it, writes each field at the offset of format.h's
 * table and seals it with a digest; `get` looks at magic and digest first, then refuses whatever a
 * correct writer cannot have written: a digest says that bytes are unchanged, not that they are
 * sane, and a hostile disk computes digests as well as we do. Pure: no I/O, no allocation.
 */
#include <errno.h>
#include <xxhash.h>

#include "engine/format.h"

static const char MAGIC_STORE[8] = {'C', 'U', 'S', 'T', 'O', 'R', 'E', '1'};
static const char MAGIC_EPOCH[8] = {'C', 'U', 'S', 'T', 'E', 'P', 'O', '1'};
static const char MAGIC_SEGMENT[8] = {'C', 'U', 'S', 'T', 'S', 'E', 'G', '1'};
static const char MAGIC_CATALOG[8] = {'C', 'U', 'S', 'T', 'C', 'A', 'T', '1'};

#define SEALED      (FMT_BLOCK - FMT_DIGEST_BYTES) /* bytes under the digest of a whole-block block */
#define TRACKS_AT   256u
#define TRACK_BYTES (16u + FMT_EXTRADATA_MAX)

_Static_assert(TRACKS_AT + ENG_TRACKS_MAX * TRACK_BYTES == SEALED, "segment header is full");
_Static_assert(FMT_CATALOG_RING_AT + 4 * FMT_CATALOG_RING == FMT_CATALOG_ENTRIES_AT, "ring");

/* ---- superblock and epoch ---- */

void fmt_superblock_put(const struct fmt_superblock *s, uint8_t out[FMT_BLOCK])
{
	memset(out, 0, FMT_BLOCK);
	memcpy(out, MAGIC_STORE, 8);
	le32_put(out + 8, FMT_VERSION);
	le32_put(out + 12, s->flags);
	memcpy(out + 16, s->store, ENG_UUID_BYTES);
	le64_put(out + 32, s->segment_bytes);
	le64_put(out + 40, s->segment_count);
	le64_put(out + 48, (uint64_t)s->made_ns);
	fmt_seal(out, SEALED);
}

static bool segment_bytes_valid(uint64_t bytes)
{
	return bytes >= FMT_SEGMENT_MIN && bytes <= FMT_SEGMENT_MAX && bytes % FMT_BLOCK == 0;
}

int fmt_superblock_get(const uint8_t in[FMT_BLOCK], struct fmt_superblock *s, const char **why)
{
	memset(s, 0, sizeof *s);
	if (memcmp(in, MAGIC_STORE, 8) != 0)
		return fmt_bad(why, "not the superblock of a custos store");
	if (!fmt_sealed(in, SEALED))
		return fmt_bad(why, "superblock: digest does not match");
	if (le32_get(in + 8) != FMT_VERSION)
		return fmt_bad(why, "superblock: a version this program does not know");
	s->flags = le32_get(in + 12);
	memcpy(s->store, in + 16, ENG_UUID_BYTES);
	s->segment_bytes = le64_get(in + 32);
	s->segment_count = le64_get(in + 40);
	s->made_ns = (int64_t)le64_get(in + 48);
	if (s->flags & ~(uint32_t)FMT_STORE_ENCRYPTED || !fmt_zero(in + 56, SEALED - 56))
		return fmt_bad(why, "superblock: unknown flags or reserved bytes in use");
	if (!segment_bytes_valid(s->segment_bytes))
		return fmt_bad(why, "superblock: impossible segment size");
	if (s->segment_count == 0 || s->segment_count > UINT32_MAX)
		return fmt_bad(why, "superblock: impossible number of segments");
	return 0;
}

void fmt_epoch_put(const struct fmt_epoch *e, uint8_t out[FMT_BLOCK])
{
	memset(out, 0, FMT_BLOCK);
	memcpy(out, MAGIC_EPOCH, 8);
	le64_put(out + 8, e->epoch);
	memcpy(out + 16, e->store, ENG_UUID_BYTES);
	le64_put(out + 32, (uint64_t)e->raised_ns);
	fmt_seal(out, SEALED);
}

int fmt_epoch_get(const uint8_t in[FMT_BLOCK], struct fmt_epoch *e)
{
	memset(e, 0, sizeof *e);
	if (memcmp(in, MAGIC_EPOCH, 8) != 0 || !fmt_sealed(in, SEALED))
		return -EUCLEAN;
	e->epoch = le64_get(in + 8);
	memcpy(e->store, in + 16, ENG_UUID_BYTES);
	e->raised_ns = (int64_t)le64_get(in + 32);
	if (e->epoch == 0 || !fmt_zero(in + 40, SEALED - 40))
		return -EUCLEAN;
	return 0;
}

/* ---- segment header ---- */

static void track_put(const struct eng_track *t, uint8_t *out)
{
	le16_put(out, t->codec);
	le16_put(out + 2, t->width);
	le16_put(out + 4, t->height);
	le16_put(out + 6, t->channels);
	le32_put(out + 8, t->sample_rate);
	le16_put(out + 12, t->extradata_bytes);
	memcpy(out + 16, t->extradata, t->extradata_bytes);
}

static bool track_get(const uint8_t *in, struct eng_track *t)
{
	t->codec = le16_get(in);
	t->width = le16_get(in + 2);
	t->height = le16_get(in + 4);
	t->channels = le16_get(in + 6);
	t->sample_rate = le32_get(in + 8);
	t->extradata_bytes = le16_get(in + 12);
	if (t->codec == ENG_CODEC_NONE || t->extradata_bytes > FMT_EXTRADATA_MAX)
		return false;
	memcpy(t->extradata, in + 16, t->extradata_bytes);
	return le16_get(in + 14) == 0 &&
	       fmt_zero(in + 16 + t->extradata_bytes, FMT_EXTRADATA_MAX - t->extradata_bytes);
}

void fmt_segment_put(const struct fmt_segment *s, uint8_t out[FMT_BLOCK])
{
	size_t name_bytes = strnlen(s->camera, ENG_CAMERA_MAX - 1);

	memset(out, 0, FMT_BLOCK);
	memcpy(out, MAGIC_SEGMENT, 8);
	le32_put(out + 8, FMT_VERSION);
	le32_put(out + 12, s->flags);
	memcpy(out + 16, s->store, ENG_UUID_BYTES);
	le64_put(out + 32, s->number);
	le64_put(out + 40, s->generation);
	memcpy(out + 48, s->stream, ENG_UUID_BYTES);
	le64_put(out + 64, s->segment_bytes);
	le64_put(out + 72, s->epoch);
	le64_put(out + 80, (uint64_t)s->made_ns);
	le16_put(out + 88, (uint16_t)name_bytes);
	memcpy(out + 90, s->camera, name_bytes);
	le16_put(out + 218, s->setup.n_tracks);
	for (unsigned k = 0; k < s->setup.n_tracks; k++)
		track_put(&s->setup.track[k], out + TRACKS_AT + k * TRACK_BYTES);
	fmt_seal(out, SEALED);
}

static bool camera_get(const uint8_t in[FMT_BLOCK], char camera[ENG_CAMERA_MAX])
{
	size_t name_bytes = le16_get(in + 88);

	if (name_bytes == 0 || name_bytes >= ENG_CAMERA_MAX)
		return false;
	memcpy(camera, in + 90, name_bytes);
	return utf8_valid(camera, name_bytes) && fmt_zero(in + 90 + name_bytes, 128 - name_bytes);
}

static bool setup_get(const uint8_t in[FMT_BLOCK], struct eng_setup *setup)
{
	setup->n_tracks = le16_get(in + 218);
	if (setup->n_tracks == 0 || setup->n_tracks > ENG_TRACKS_MAX)
		return false;
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++) {
		const uint8_t *track = in + TRACKS_AT + k * TRACK_BYTES;

		if (k < setup->n_tracks ? !track_get(track, &setup->track[k])
		                        : !fmt_zero(track, TRACK_BYTES))
			return false;
	}
	/* Track 0 is the video when there is one, and there is no second one. */
	return setup->n_tracks == 1 || !eng_codec_is_video(setup->track[1].codec);
}

int fmt_segment_get(const uint8_t in[FMT_BLOCK], struct fmt_segment *s, const char **why)
{
	const uint32_t known = FMT_SEG_IMPORTED | FMT_SEG_ENCRYPTED | FMT_SEG_LEAVES;

	memset(s, 0, sizeof *s);
	if (memcmp(in, MAGIC_SEGMENT, 8) != 0)
		return fmt_bad(why, "segment header: not there (no magic)");
	if (!fmt_sealed(in, SEALED))
		return fmt_bad(why, "segment header: digest does not match");
	if (le32_get(in + 8) != FMT_VERSION)
		return fmt_bad(why, "segment header: a version this program does not know");
	s->flags = le32_get(in + 12);
	memcpy(s->store, in + 16, ENG_UUID_BYTES);
	s->number = le64_get(in + 32);
	s->generation = le64_get(in + 40);
	memcpy(s->stream, in + 48, ENG_UUID_BYTES);
	s->segment_bytes = le64_get(in + 64);
	s->epoch = le64_get(in + 72);
	s->made_ns = (int64_t)le64_get(in + 80);
	if (s->flags & ~known || le32_get(in + 220) != 0)
		return fmt_bad(why, "segment header: unknown flags or reserved bytes in use");
	if (!(s->flags & FMT_SEG_ENCRYPTED) && !fmt_zero(in + 224, 32))
		return fmt_bad(why, "segment header: a key id without encryption");
	if (s->number > UINT32_MAX || s->generation == 0 || s->epoch == 0 ||
	    !segment_bytes_valid(s->segment_bytes))
		return fmt_bad(why, "segment header: impossible number, generation, epoch or size");
	if (!camera_get(in, s->camera))
		return fmt_bad(why, "segment header: malformed camera name");
	if (!setup_get(in, &s->setup))
		return fmt_bad(why, "segment header: malformed codec setup");
	return 0;
}

/* ---- catalog ---- */

void fmt_catalog_header_put(const uint8_t store[ENG_UUID_BYTES], uint64_t count,
                            uint8_t out[FMT_CATALOG_HEADER])
{
	memset(out, 0, FMT_CATALOG_HEADER);
	memcpy(out, MAGIC_CATALOG, 8);
	le32_put(out + 8, FMT_VERSION);
	memcpy(out + 16, store, ENG_UUID_BYTES);
	le64_put(out + 32, count);
	fmt_seal(out, 40);
}

int fmt_catalog_header_get(const uint8_t in[FMT_CATALOG_HEADER], uint8_t store[ENG_UUID_BYTES],
                           uint64_t *count)
{
	if (memcmp(in, MAGIC_CATALOG, 8) != 0 || !fmt_sealed(in, 40) ||
	    le32_get(in + 8) != FMT_VERSION || le32_get(in + 12) != 0)
		return -EUCLEAN;
	memcpy(store, in + 16, ENG_UUID_BYTES);
	*count = le64_get(in + 32);
	return *count > 0 && *count <= UINT32_MAX ? 0 : -EUCLEAN;
}

/* The segment number is the seed: an entry in another's place does not fit. */
static uint64_t entry_digest(const uint8_t entry[FMT_CATALOG_ENTRY], uint64_t segment)
{
	return XXH3_64bits_withSeed(entry, FMT_CATALOG_ENTRY - 8, segment);
}

void fmt_catalog_entry_put(const struct fmt_catalog_entry *e, uint64_t segment,
                           uint8_t out[FMT_CATALOG_ENTRY])
{
	memset(out, 0, FMT_CATALOG_ENTRY);
	le64_put(out, e->generation);
	memcpy(out + 8, e->stream, ENG_UUID_BYTES);
	out[24] = e->state;
	out[25] = e->flags;
	le32_put(out + 28, e->committed_bytes);
	le64_put(out + 32, (uint64_t)e->first_ns);
	le64_put(out + 40, (uint64_t)e->end_ns);
	le32_put(out + 48, e->chunks);
	le64_put(out + 56, e->first_sequence);
	le64_put(out + 64, e->last_sequence);
	le64_put(out + 72, (uint64_t)e->changed_ns);
	le64_put(out + 88, entry_digest(out, segment));
}

int fmt_catalog_entry_get(const uint8_t in[FMT_CATALOG_ENTRY], uint64_t segment,
                          struct fmt_catalog_entry *e)
{
	const uint8_t known = FMT_SEG_IMPORTED | FMT_SEG_ENCRYPTED | FMT_SEG_LEAVES;

	memset(e, 0, sizeof *e);
	if (le64_get(in + 88) != entry_digest(in, segment))
		return -EUCLEAN;
	e->generation = le64_get(in);
	memcpy(e->stream, in + 8, ENG_UUID_BYTES);
	e->state = in[24];
	e->flags = in[25];
	e->committed_bytes = le32_get(in + 28);
	e->first_ns = (int64_t)le64_get(in + 32);
	e->end_ns = (int64_t)le64_get(in + 40);
	e->chunks = le32_get(in + 48);
	e->first_sequence = le64_get(in + 56);
	e->last_sequence = le64_get(in + 64);
	e->changed_ns = (int64_t)le64_get(in + 72);
	if (e->state >= FMT_STATE_MAX || e->flags & ~known || le16_get(in + 26) != 0 ||
	    le32_get(in + 52) != 0 || le64_get(in + 80) != 0)
		return -EUCLEAN;
	/* The least a header and so many chunks need; nothing committed may be said as 0 or 4096.
	 */
	if (e->committed_bytes > FMT_SEGMENT_MAX || e->committed_bytes % FMT_BLOCK != 0 ||
	    (e->chunks > 0 && e->committed_bytes / FMT_BLOCK <= e->chunks))
		return -EUCLEAN;
	return 0;
}

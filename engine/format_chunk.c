/*
 * format_chunk.c — chunk headers, frame tables, units and footers (format.h: CHUNK, FOOTER).
 *
 * A chunk's header and its footer entry carry the same index fields, so both decoders end in
 * index_check(): whatever takes either for true may rely on counts that add up, offsets that follow
 * from them, and ranges that stay inside a chunk, without looking again. Pure, like format.c.
 */
#include <errno.h>

#include "engine/format.h"

static const char MAGIC_CHUNK[8] = {'C', 'U', 'S', 'T', 'C', 'H', 'K', '1'};
static const char MAGIC_FOOTER[8] = {'C', 'U', 'S', 'T', 'F', 'T', 'R', '1'};

#define HEADER_SEALED  (FMT_CHUNK_HEADER - FMT_DIGEST_BYTES)
#define TRAILER_SEALED (FMT_BLOCK - FMT_DIGEST_BYTES)
#define TRACK_BYTES    32u
#define CUM_BYTES      24u

/* ---- what chunk headers and footer entries share ---- */

static void tracks_put(const struct eng_chunk_track t[ENG_TRACKS_MAX], uint8_t *out)
{
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++, out += TRACK_BYTES) {
		le32_put(out, t[k].frames);
		le32_put(out + 4, t[k].keys);
		le32_put(out + 8, t[k].bytes);
		le64_put(out + 16, (uint64_t)t[k].first_ns);
		le64_put(out + 24, (uint64_t)t[k].last_ns);
	}
}

static bool tracks_get(const uint8_t *in, struct eng_chunk_track t[ENG_TRACKS_MAX])
{
	bool reserved_zero = true;

	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++, in += TRACK_BYTES) {
		t[k].frames = le32_get(in);
		t[k].keys = le32_get(in + 4);
		t[k].bytes = le32_get(in + 8);
		t[k].first_ns = (int64_t)le64_get(in + 16);
		t[k].last_ns = (int64_t)le64_get(in + 24);
		reserved_zero &= le32_get(in + 12) == 0;
	}
	return reserved_zero;
}

static void cums_put(const struct eng_cum c[ENG_TRACKS_MAX], uint8_t *out)
{
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++, out += CUM_BYTES) {
		le32_put(out, c[k].frames);
		le32_put(out + 4, c[k].keys);
		le32_put(out + 8, c[k].chunks);
		le64_put(out + 16, c[k].bytes);
	}
}

static bool cums_get(const uint8_t *in, struct eng_cum c[ENG_TRACKS_MAX])
{
	bool sane = true;

	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++, in += CUM_BYTES) {
		c[k].frames = le32_get(in);
		c[k].keys = le32_get(in + 4);
		c[k].chunks = le32_get(in + 8);
		c[k].bytes = le64_get(in + 16);
		sane &= le32_get(in + 12) == 0 && c[k].keys <= c[k].frames &&
		        c[k].chunks <= c[k].frames && c[k].bytes <= FMT_SEGMENT_MAX;
	}
	return sane;
}

static uint32_t unit_count(const struct eng_chunk *c)
{
	return (uint32_t)(((uint64_t)c->payload_bytes + FMT_UNIT_BYTES - 1) / FMT_UNIT_BYTES);
}

static uint32_t frame_entry_bytes(const struct eng_chunk *c)
{
	return c->flags & FMT_CHUNK_LEAVES ? FMT_FRAME_ENTRY_LEAF : FMT_FRAME_ENTRY;
}

static bool sizes_add_up(const struct eng_chunk *c)
{
	if (c->total_bytes > FMT_CHUNK_MAX || c->payload_bytes > FMT_CHUNK_MAX ||
	    c->frame_count > FMT_CHUNK_MAX / FMT_FRAME_ENTRY)
		return false;
	return c->payload_offset ==
	               fmt_payload_offset(unit_count(c), c->frame_count, frame_entry_bytes(c)) &&
	       c->total_bytes ==
	               align_up((uint64_t)c->payload_offset + c->payload_bytes, FMT_BLOCK);
}

static bool track_sane(const struct eng_chunk *c, const struct eng_chunk_track *t)
{
	if (t->frames == 0)
		return t->keys == 0 && t->bytes == 0 && t->first_ns == ENG_NO_TIME &&
		       t->last_ns == ENG_NO_TIME;
	return t->keys <= t->frames && t->first_ns >= c->first_ns && t->first_ns <= t->last_ns &&
	       t->last_ns <= c->end_ns;
}

static bool tracks_add_up(const struct eng_chunk *c)
{
	uint64_t frames = 0, bytes = 0;
	int64_t first = INT64_MAX;

	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++) {
		const struct eng_chunk_track *t = &c->track[k];

		if (!track_sane(c, t))
			return false;
		frames += t->frames;
		bytes += t->bytes;
		if (t->frames > 0 && t->first_ns < first)
			first = t->first_ns;
	}
	return frames == c->frame_count && bytes == c->payload_bytes &&
	       (frames == 0 || first == c->first_ns);
}

static int index_check(const struct eng_chunk *c, const char **why)
{
	const uint32_t known = FMT_CHUNK_RUN_START | FMT_CHUNK_RUN_END | FMT_CHUNK_IMPORTED |
	                       FMT_CHUNK_CLOCK_SYNCED | FMT_CHUNK_ENCRYPTED | FMT_CHUNK_LEAVES;
	bool starts = c->flags & FMT_CHUNK_RUN_START, ends = c->flags & FMT_CHUNK_RUN_END;
	bool has_frames = c->frame_count > 0;

	if (c->flags & ~known)
		return fmt_bad(why, "chunk: unknown flags");
	if (c->segment > UINT32_MAX || c->generation == 0)
		return fmt_bad(why, "chunk: impossible segment or generation");
	if (c->run == 0 || c->run > c->sequence || starts != (c->run == c->sequence))
		return fmt_bad(why, "chunk: impossible run or sequence");
	if ((c->start_reason != 0 && !starts) || (c->end_reason != 0 && !ends))
		return fmt_bad(why, "chunk: a reason without a run's start or end");
	if (!has_frames && (starts || !ends))
		return fmt_bad(why, "chunk: no frames, yet not a mere end of a run");
	if (!sizes_add_up(c))
		return fmt_bad(why, "chunk: sizes do not add up");
	if (has_frames != (c->first_ns != ENG_NO_TIME) ||
	    has_frames != (c->end_ns != ENG_NO_TIME) || c->first_ns > c->end_ns)
		return fmt_bad(why, "chunk: impossible times");
	if (c->first_key_ns != ENG_NO_TIME &&
	    (c->first_key_ns < c->first_ns || c->first_key_ns > c->end_ns || !has_frames))
		return fmt_bad(why, "chunk: key frame outside its times");
	if (!tracks_add_up(c))
		return fmt_bad(why, "chunk: tracks do not add up");
	return 0;
}

/* ---- chunk header ---- */

void fmt_chunk_put(const struct fmt_chunk *c, uint8_t out[FMT_CHUNK_HEADER])
{
	memset(out, 0, FMT_CHUNK_HEADER);
	memcpy(out, MAGIC_CHUNK, 8);
	le32_put(out + 8, c->c.payload_offset);
	le32_put(out + 12, c->c.total_bytes);
	memcpy(out + 16, c->store, ENG_UUID_BYTES);
	memcpy(out + 32, c->stream, ENG_UUID_BYTES);
	le64_put(out + 48, c->c.segment);
	le64_put(out + 56, c->c.generation);
	le64_put(out + 64, c->c.sequence);
	le64_put(out + 72, c->epoch);
	le64_put(out + 80, c->nonce);
	le32_put(out + 88, c->c.flags);
	le32_put(out + 92, c->clock_error_us);
	le64_put(out + 96, c->c.run);
	le16_put(out + 104, c->c.start_reason);
	le16_put(out + 106, c->c.end_reason);
	le32_put(out + 108, c->c.frame_count);
	le64_put(out + 112, (uint64_t)c->c.first_ns);
	le64_put(out + 120, (uint64_t)c->c.end_ns);
	le64_put(out + 128, (uint64_t)c->boot_ns);
	le64_put(out + 136, (uint64_t)c->wall_ns);
	memcpy(out + 144, c->prev_digest, FMT_DIGEST_BYTES);
	memcpy(out + 160, c->salt_seed, sizeof c->salt_seed);
	memcpy(out + 192, c->root, FMT_LEAF_BYTES);
	le32_put(out + 224, c->c.payload_bytes);
	le32_put(out + 228, unit_count(&c->c));
	le32_put(out + 232, frame_entry_bytes(&c->c));
	le64_put(out + 240, (uint64_t)c->c.first_key_ns);
	tracks_put(c->c.track, out + 256);
	cums_put(c->c.cum, out + 320);
	memcpy(out + 480, c->table_digest, FMT_DIGEST_BYTES);
	fmt_seal(out, HEADER_SEALED);
}

static void chunk_read(const uint8_t in[FMT_CHUNK_HEADER], struct fmt_chunk *c)
{
	c->c.payload_offset = le32_get(in + 8);
	c->c.total_bytes = le32_get(in + 12);
	memcpy(c->store, in + 16, ENG_UUID_BYTES);
	memcpy(c->stream, in + 32, ENG_UUID_BYTES);
	c->c.segment = le64_get(in + 48);
	c->c.generation = le64_get(in + 56);
	c->c.sequence = le64_get(in + 64);
	c->epoch = le64_get(in + 72);
	c->nonce = le64_get(in + 80);
	c->c.flags = le32_get(in + 88);
	c->clock_error_us = le32_get(in + 92);
	c->c.run = le64_get(in + 96);
	c->c.start_reason = le16_get(in + 104);
	c->c.end_reason = le16_get(in + 106);
	c->c.frame_count = le32_get(in + 108);
	c->c.first_ns = (int64_t)le64_get(in + 112);
	c->c.end_ns = (int64_t)le64_get(in + 120);
	c->boot_ns = (int64_t)le64_get(in + 128);
	c->wall_ns = (int64_t)le64_get(in + 136);
	memcpy(c->prev_digest, in + 144, FMT_DIGEST_BYTES);
	memcpy(c->salt_seed, in + 160, sizeof c->salt_seed);
	memcpy(c->root, in + 192, FMT_LEAF_BYTES);
	c->c.payload_bytes = le32_get(in + 224);
	c->unit_count = le32_get(in + 228);
	c->frame_entry_bytes = le32_get(in + 232);
	c->c.first_key_ns = (int64_t)le64_get(in + 240);
	memcpy(c->table_digest, in + 480, FMT_DIGEST_BYTES);
}

int fmt_chunk_get(const uint8_t in[FMT_CHUNK_HEADER], struct fmt_chunk *c, const char **why)
{
	memset(c, 0, sizeof *c);
	if (memcmp(in, MAGIC_CHUNK, 8) != 0)
		return fmt_bad(why, "chunk: not there (no magic)");
	if (!fmt_sealed(in, HEADER_SEALED))
		return fmt_bad(why, "chunk: header digest does not match");
	chunk_read(in, c);
	if (!tracks_get(in + 256, c->c.track) || !cums_get(in + 320, c->c.cum) ||
	    le32_get(in + 236) != 0 || le64_get(in + 248) != 0 || !fmt_zero(in + 368, 112))
		return fmt_bad(why, "chunk: impossible totals or reserved bytes in use");
	if (c->epoch == 0)
		return fmt_bad(why, "chunk: impossible epoch");
	if (c->unit_count != unit_count(&c->c) || c->frame_entry_bytes != frame_entry_bytes(&c->c))
		return fmt_bad(why, "chunk: sizes do not add up");
	if (!(c->c.flags & FMT_CHUNK_LEAVES) &&
	    !(fmt_zero(c->salt_seed, sizeof c->salt_seed) && fmt_zero(c->root, FMT_LEAF_BYTES)))
		return fmt_bad(why, "chunk: a root without leaves");
	if (!(c->c.flags & FMT_CHUNK_ENCRYPTED) && c->nonce != 0)
		return fmt_bad(why, "chunk: a nonce without encryption");
	return index_check(&c->c, why);
}

/* ---- frame table ---- */

void fmt_frame_put(const struct eng_frame_info *f, bool leaf, uint8_t *out)
{
	memset(out, 0, FMT_FRAME_ENTRY);
	le64_put(out, (uint64_t)f->time_ns);
	le64_put(out + 8, (uint64_t)f->dts_ns);
	le32_put(out + 16, f->size_bytes);
	le32_put(out + 20, f->duration_ns);
	out[24] = f->track;
	out[25] = f->flags;
	if (leaf)
		memcpy(out + FMT_FRAME_ENTRY, f->leaf, FMT_LEAF_BYTES);
}

static bool frame_get(const uint8_t *in, bool leaf, struct eng_frame_info *f)
{
	memset(f, 0, sizeof *f);
	f->time_ns = (int64_t)le64_get(in);
	f->dts_ns = (int64_t)le64_get(in + 8);
	f->size_bytes = le32_get(in + 16);
	f->duration_ns = le32_get(in + 20);
	f->track = in[24];
	f->flags = in[25];
	if (leaf)
		memcpy(f->leaf, in + FMT_FRAME_ENTRY, FMT_LEAF_BYTES);
	return f->track < ENG_TRACKS_MAX && !(f->flags & ~ENG_FRAME_KEY) && fmt_zero(in + 26, 6) &&
	       f->time_ns != ENG_NO_TIME && f->time_ns <= INT64_MAX - (int64_t)f->duration_ns;
}

/* What the header says of the frames, counted again from the frames. */
struct tally {
	struct eng_chunk_track track[ENG_TRACKS_MAX];
	int64_t end_ns, first_key_ns, last_dts_ns;
	uint64_t offset;
	uint8_t current_track;
};

static bool tally_add(struct tally *t, struct eng_frame_info *f)
{
	struct eng_chunk_track *track = &t->track[f->track];

	if (f->track < t->current_track)
		return false;
	if (track->frames > 0 && f->dts_ns <= t->last_dts_ns)
		return false;
	t->current_track = f->track;
	t->last_dts_ns = f->dts_ns;
	f->offset = (uint32_t)t->offset;
	t->offset += f->size_bytes;
	if (t->offset > FMT_CHUNK_MAX)
		return false;
	if (track->frames++ == 0)
		track->first_ns = track->last_ns = f->time_ns;
	if (f->time_ns < track->first_ns)
		track->first_ns = f->time_ns;
	if (f->time_ns > track->last_ns)
		track->last_ns = f->time_ns;
	track->bytes += f->size_bytes;
	track->keys += f->flags & ENG_FRAME_KEY;
	if (f->time_ns + f->duration_ns > t->end_ns)
		t->end_ns = f->time_ns + f->duration_ns;
	if (t->first_key_ns == ENG_NO_TIME && f->track == 0 && f->flags & ENG_FRAME_KEY)
		t->first_key_ns = f->time_ns;
	return true;
}

static bool tally_matches(const struct tally *t, const struct eng_chunk *c, int64_t frame0_ns)
{
	for (unsigned k = 0; k < ENG_TRACKS_MAX; k++) {
		const struct eng_chunk_track *want = &c->track[k], *have = &t->track[k];

		if (want->frames != have->frames || want->keys != have->keys ||
		    want->bytes != have->bytes)
			return false;
		if (want->frames > 0 &&
		    (want->first_ns != have->first_ns || want->last_ns != have->last_ns))
			return false;
	}
	/* The table does not know whether track 0 is video: without video, frame 0 counts. */
	return t->offset == c->payload_bytes && t->end_ns == c->end_ns &&
	       (c->first_key_ns == t->first_key_ns || c->first_key_ns == frame0_ns);
}

int fmt_frames_get(const struct fmt_chunk *c, const uint8_t *tables, struct eng_frame_info *out,
                   const char **why)
{
	size_t tables_bytes = c->c.payload_offset - FMT_CHUNK_HEADER;
	size_t at = (size_t)c->unit_count * FMT_UNIT_ENTRY;
	bool leaf = c->c.flags & FMT_CHUNK_LEAVES;
	struct tally t = {.end_ns = ENG_NO_TIME, .first_key_ns = ENG_NO_TIME};
	uint8_t digest[FMT_DIGEST_BYTES];

	fmt_digest(tables, tables_bytes, digest);
	if (memcmp(digest, c->table_digest, sizeof digest) != 0)
		return fmt_bad(why, "chunk: table digest does not match");
	for (uint32_t u = 0; u < c->unit_count && !(c->c.flags & FMT_CHUNK_ENCRYPTED); u++)
		if (!fmt_zero(tables + u * FMT_UNIT_ENTRY + 16, 16))
			return fmt_bad(why, "chunk: a unit's tag without encryption");
	for (uint32_t i = 0; i < c->c.frame_count; i++, at += c->frame_entry_bytes) {
		if (!frame_get(tables + at, leaf, &out[i]))
			return fmt_bad(why, "chunk: impossible frame entry");
		if (!tally_add(&t, &out[i]))
			return fmt_bad(why, "chunk: frames out of order or too large");
	}
	if (!fmt_zero(tables + at, tables_bytes - at))
		return fmt_bad(why, "chunk: bytes behind the frame table");
	if (c->c.frame_count > 0 && !tally_matches(&t, &c->c, out[0].time_ns))
		return fmt_bad(why, "chunk: frames do not add up to the header");
	return 0;
}

int fmt_unit_check(const struct fmt_chunk *c, const uint8_t *tables, uint32_t unit,
                   const uint8_t *bytes, uint32_t len)
{
	uint8_t digest[FMT_DIGEST_BYTES];

	if (unit >= c->unit_count || len != fmt_unit_bytes(&c->c, unit))
		return -EUCLEAN;
	fmt_digest(bytes, len, digest);
	return memcmp(digest, tables + unit * FMT_UNIT_ENTRY, sizeof digest) == 0 ? 0 : -EUCLEAN;
}

/* ---- footer ---- */

void fmt_footer_entry_put(const struct eng_chunk *c, uint8_t out[FMT_FOOTER_ENTRY])
{
	memset(out, 0, FMT_FOOTER_ENTRY);
	le32_put(out, c->offset);
	le32_put(out + 4, c->total_bytes);
	le32_put(out + 8, c->payload_offset);
	le32_put(out + 12, c->payload_bytes);
	le64_put(out + 16, c->sequence);
	le64_put(out + 24, c->run);
	le32_put(out + 32, c->flags);
	le16_put(out + 36, c->start_reason);
	le16_put(out + 38, c->end_reason);
	le64_put(out + 40, (uint64_t)c->first_ns);
	le64_put(out + 48, (uint64_t)c->end_ns);
	le64_put(out + 56, (uint64_t)c->first_key_ns);
	tracks_put(c->track, out + 64);
	cums_put(c->cum, out + 128);
	le32_put(out + 176, c->frame_count);
}

int fmt_footer_entry_get(const uint8_t in[FMT_FOOTER_ENTRY], uint64_t segment, uint64_t generation,
                         struct eng_chunk *c)
{
	memset(c, 0, sizeof *c);
	c->segment = segment;
	c->generation = generation;
	c->offset = le32_get(in);
	c->total_bytes = le32_get(in + 4);
	c->payload_offset = le32_get(in + 8);
	c->payload_bytes = le32_get(in + 12);
	c->sequence = le64_get(in + 16);
	c->run = le64_get(in + 24);
	c->flags = le32_get(in + 32);
	c->start_reason = le16_get(in + 36);
	c->end_reason = le16_get(in + 38);
	c->first_ns = (int64_t)le64_get(in + 40);
	c->end_ns = (int64_t)le64_get(in + 48);
	c->first_key_ns = (int64_t)le64_get(in + 56);
	c->frame_count = le32_get(in + 176);
	if (!tracks_get(in + 64, c->track) || !cums_get(in + 128, c->cum) ||
	    !fmt_zero(in + 180, 12))
		return -EUCLEAN;
	if (c->offset < FMT_BLOCK || c->offset % FMT_BLOCK != 0 || c->offset >= FMT_SEGMENT_MAX)
		return -EUCLEAN;
	return index_check(c, NULL);
}

void fmt_footer_put(const struct fmt_footer *f, uint8_t out[FMT_BLOCK])
{
	memset(out, 0, FMT_BLOCK);
	memcpy(out, MAGIC_FOOTER, 8);
	le32_put(out + 8, f->entries);
	le32_put(out + 12, f->body_offset);
	memcpy(out + 16, f->store, ENG_UUID_BYTES);
	memcpy(out + 32, f->stream, ENG_UUID_BYTES);
	le64_put(out + 48, f->segment);
	le64_put(out + 56, f->generation);
	le64_put(out + 64, (uint64_t)f->sealed_ns);
	le64_put(out + 72, (uint64_t)f->first_ns);
	le64_put(out + 80, (uint64_t)f->end_ns);
	le64_put(out + 88, f->first_sequence);
	le64_put(out + 96, f->last_sequence);
	le64_put(out + 104, f->epoch);
	memcpy(out + 112, f->last_header_digest, FMT_DIGEST_BYTES);
	memcpy(out + 128, f->body_digest, FMT_DIGEST_BYTES);
	memcpy(out + 144, f->root, FMT_LEAF_BYTES);
	cums_put(f->total, out + 176);
	fmt_seal(out, TRAILER_SEALED);
}

static bool footer_sane(const struct fmt_footer *f)
{
	uint64_t least_offset = FMT_BLOCK + (uint64_t)f->entries * FMT_BLOCK;

	return f->entries > 0 && f->first_sequence > 0 && f->generation > 0 && f->epoch > 0 &&
	       f->segment <= UINT32_MAX && f->last_sequence >= f->first_sequence &&
	       f->last_sequence - f->first_sequence == f->entries - 1 &&
	       f->body_offset % FMT_BLOCK == 0 && f->body_offset >= least_offset &&
	       f->body_offset + fmt_footer_bytes(f->entries) <= FMT_SEGMENT_MAX &&
	       (f->first_ns == ENG_NO_TIME) == (f->end_ns == ENG_NO_TIME) &&
	       f->first_ns <= f->end_ns;
}

int fmt_footer_get(const uint8_t in[FMT_BLOCK], struct fmt_footer *f, const char **why)
{
	memset(f, 0, sizeof *f);
	if (memcmp(in, MAGIC_FOOTER, 8) != 0)
		return fmt_bad(why, "footer: not there (no magic)");
	if (!fmt_sealed(in, TRAILER_SEALED))
		return fmt_bad(why, "footer: digest does not match");
	f->entries = le32_get(in + 8);
	f->body_offset = le32_get(in + 12);
	memcpy(f->store, in + 16, ENG_UUID_BYTES);
	memcpy(f->stream, in + 32, ENG_UUID_BYTES);
	f->segment = le64_get(in + 48);
	f->generation = le64_get(in + 56);
	f->sealed_ns = (int64_t)le64_get(in + 64);
	f->first_ns = (int64_t)le64_get(in + 72);
	f->end_ns = (int64_t)le64_get(in + 80);
	f->first_sequence = le64_get(in + 88);
	f->last_sequence = le64_get(in + 96);
	f->epoch = le64_get(in + 104);
	memcpy(f->last_header_digest, in + 112, FMT_DIGEST_BYTES);
	memcpy(f->body_digest, in + 128, FMT_DIGEST_BYTES);
	memcpy(f->root, in + 144, FMT_LEAF_BYTES);
	if (!cums_get(in + 176, f->total) || !fmt_zero(in + 224, TRAILER_SEALED - 224))
		return fmt_bad(why, "footer: impossible totals or reserved bytes in use");
	return footer_sane(f) ? 0 : fmt_bad(why, "footer: counts do not add up");
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decoding with a memo: programs are made of few forms of instructions, which differ in displacements and immediates. A form is
 * known by the bytes before these and by the key that classification looks at; what follows is read anew each time.
 *
 * How many bytes these are is guessed to choose a set. What has to be equal is as many as Zydis and classify_form found when the
 * form was put there, so a wrong guess costs time and nothing else.
 */
#include "cpu/translate/decode/classify.h"

#include <sys/mman.h>

enum { SET_BITS = 13, WAYS = 2, MOST_PREFIXES = 4, MOST_BYTES = 13 };

/* Bytes of code, in their order. */
struct code_bytes {
	uint64_t words[2];
};

/* In the place of bytes and rip, which are each instruction's own, it has a tag: at most MOST_BYTES of the form, its length (0: free)
 * and the key. So what is mostly in no cache are two lines. */
union form {
	struct code_bytes tag;
	struct guest_instruction instruction;
};
_Static_assert(sizeof(union form) == 128 && offsetof(struct guest_instruction, memory) == sizeof(struct code_bytes),
	       "two lines; the tag covers bytes and rip");

struct memo {
	union form forms[1 << SET_BITS][WAYS]; /* the last one of a set first */
	bool modrm[2][256]; /* the last instruction with this opcode, alone or behind 0F, had a ModRM byte */
};

int decode_init(struct translator *t, struct error *err)
{
	t->memo = mmap(NULL, sizeof(*t->memo), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->memo != MAP_FAILED)
		return 0;
	t->memo = NULL;
	return error_set_errno(err, errno, "the translator's memo of instructions");
}

void decode_fini(struct translator *t)
{
	if (t->memo)
		munmap(t->memo, sizeof(*t->memo));
}

void decode_forget(struct translator *t)
{
	madvise(t->memo, sizeof(*t->memo), MADV_DONTNEED);
}

/* Other CPUs may write there meanwhile: it is read once. Zeroes follow. */
static struct code_bytes read_bytes(const uint8_t *bytes, unsigned room)
{
	struct code_bytes b = {0};

	if (room >= sizeof(b))
		memcpy(&b, bytes, sizeof(b));
	else
		memcpy(&b, bytes, room);
	return b;
}

static struct code_bytes leading(const struct code_bytes *b, unsigned length)
{
	if (length < 8)
		return (struct code_bytes){{b->words[0] & ((1ull << 8 * length) - 1)}};
	return (struct code_bytes){{b->words[0], b->words[1] & ((1ull << 8 * (length - 8)) - 1)}};
}

/* How many bytes make the form. */
static unsigned guess_length(const struct memo *memo, const uint8_t *bytes, bool code32)
{
	bool modrm = true, counts = false;
	unsigned i = 0;

	while (i < MOST_PREFIXES && is_prefix(bytes[i]))
		i++;
	if (!code32 && (bytes[i] & 0xf0) == 0x40)
		i++;
	switch (bytes[i]) {
	case 0x62:
		i += 5;
		break;
	case 0xc4:
		i += 4;
		break;
	case 0xc5:
		i += 3;
		break;
	case 0x0f:
		if (bytes[i + 1] == 0x38 || bytes[i + 1] == 0x3a) {
			i += 3;
			break;
		}
		modrm = memo->modrm[1][bytes[i + 1]];
		i += 2;
		break;
	default:
		modrm = memo->modrm[0][bytes[i]];
		counts = (bytes[i] & 0xfe) == 0xc0; /* a shift's count is part of the form */
		i++;
	}
	if (!modrm)
		return i;
	if (bytes[i] >= 0xc0)
		return i + 1 + counts;
	return (bytes[i] & 7) == 4 ? i + 2 : i + 1;
}

/* Classification does not look at what operands in a mirror differ in. */
static uint16_t key_of(const struct translator *t)
{
	return t->key & (uint16_t)~(KEY_MIRROR | KEY_LOW);
}

static unsigned set_of(const struct translator *t, const struct code_bytes *b)
{
	unsigned length = guess_length(t->memo, (const uint8_t *)b, t->key & KEY_CODE32);
	struct code_bytes form = leading(b, length);
	uint64_t mixed = form.words[0] ^ form.words[1] * 0xff51afd7ed558ccd ^ key_of(t) * 0xc4ceb9fe1a85ec53;

	return (unsigned)(mixed * 0x9e3779b97f4a7c15 >> (64 - SET_BITS));
}

static struct code_bytes tag_of(const struct translator *t, const struct code_bytes *b, unsigned length)
{
	struct code_bytes tag = leading(b, length);

	tag.words[1] |= (uint64_t)length << 8 * (MOST_BYTES - 8) | (uint64_t)key_of(t) << 48;
	return tag;
}

static bool matches(const struct translator *t, const union form *form, const struct code_bytes *b, unsigned room)
{
	const unsigned length = form->tag.words[1] >> 8 * (MOST_BYTES - 8) & 0xff;
	const struct code_bytes own = tag_of(t, b, length);

	return length && form->tag.words[0] == own.words[0] && form->tag.words[1] == own.words[1] && form->instruction.length <= room;
}

static const struct guest_instruction *find(const struct translator *t, const struct code_bytes *b, unsigned room)
{
	const unsigned set = set_of(t, b);

	for (unsigned way = 0; way < WAYS; way++)
		if (matches(t, &t->memo->forms[set][way], b, room))
			return &t->memo->forms[set][way].instruction;
	return NULL;
}

static void remember(const struct translator *t, const struct guest_instruction *g, const struct code_bytes *b)
{
	const unsigned length = classify_form(t, g);
	struct memo *memo = t->memo;
	unsigned set;

	if (!length || length > MOST_BYTES)
		return;
	if (g->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY && g->opcode_map <= ZYDIS_OPCODE_MAP_0F)
		memo->modrm[g->opcode_map == ZYDIS_OPCODE_MAP_0F][g->opcode] = g->modrm_offset;
	set = set_of(t, b);
	for (unsigned way = WAYS - 1; way > 0; way--)
		memo->forms[set][way] = memo->forms[set][way - 1];
	memo->forms[set][0].instruction = *g;
	memo->forms[set][0].tag = tag_of(t, b, length);
}

ZyanStatus decode(const struct translator *t, struct guest_instruction *g, const uint8_t *bytes, unsigned room, uint64_t rip)
{
	const struct code_bytes b = read_bytes(bytes, room);
	const struct guest_instruction *form = find(t, &b, room);
	ZyanStatus status = ZYAN_STATUS_SUCCESS;

	if (form) {
		*g = *form;
		g->bytes = (const uint8_t *)&b;
		g->rip = rip;
	}
	if (!form || !classify_tail(t, g)) {
		status = classify(t, g, (const uint8_t *)&b, room, rip);
		if (ZYAN_SUCCESS(status))
			remember(t, g, &b);
	}
	g->bytes = bytes;
	return status;
}

const struct guest_instruction *decode_known(const struct translator *t, const uint8_t *bytes, unsigned room)
{
	const struct code_bytes b = read_bytes(bytes, room);

	return find(t, &b, room);
}

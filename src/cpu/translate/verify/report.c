/* SPDX-License-Identifier: GPL-2.0-or-later */
/* verify=on: which registers are the same, and what is said when something is not. */
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/decode/classify.h"
#include "cpu/translate/verify/verify.h"

#include <stdio.h>

/* What a run of translated code can change. Values of up to 8 bytes, or longer ones. */
static const struct field {
	const char *name; /* with a number appended when there are several */
	uint16_t offset, bytes, count, stride;
} fields[] = {
#define FIELD(name, member)                                                                                            \
	{                                                                                                              \
		name, offsetof(struct x86_state, member), sizeof(((struct x86_state *)0)->member), 1, 0                \
	}
#define FIELDS(name, member, count, bytes)                                                                             \
	{                                                                                                              \
		name, offsetof(struct x86_state, member), bytes, count,                                                \
			sizeof(((struct x86_state *)0)->member) / (count)                                              \
	}
	FIELDS("gpr", gpr, 16, 8),
	FIELD("rip", rip),
	FIELD("rflags", rflags),
	{"base of segment ", offsetof(struct x86_state, seg[0].base), 8, X86_SEGMENTS, sizeof(struct x86_segment)},
	{"limit of segment ", offsetof(struct x86_state, seg[0].limit), 4, X86_SEGMENTS, sizeof(struct x86_segment)},
	{"attributes of segment ", offsetof(struct x86_state, seg[0].attr), 4, X86_SEGMENTS,
	 sizeof(struct x86_segment)},
	{"selector of segment ", offsetof(struct x86_state, seg[0].selector), 2, X86_SEGMENTS,
	 sizeof(struct x86_segment)},
	FIELD("cr0", cr0),
	FIELD("cr2", cr2),
	FIELD("cr3", cr3),
	FIELD("cr4", cr4),
	FIELD("kernel gs base", kernel_gs_base),
	FIELD("pkru", pkru),
	FIELD("sti shadow", shadow_sti),
	FIELD("ss shadow", shadow_ss),
	FIELD("nmi masked", nmi_masked),
	FIELD("fcw", fpu.fcw),
	FIELD("fsw", fpu.fsw),
	FIELD("ftw", fpu.ftw),
	FIELD("fop", fpu.fop),
	FIELD("fip", fpu.fip),
	FIELD("fdp", fpu.fdp),
	FIELD("fcs", fpu.fcs),
	FIELD("fds", fpu.fds),
	FIELD("mxcsr", fpu.mxcsr),
	FIELDS("st", fpu.st, 8, 10),
	FIELDS("zmm", fpu.vector, 32, 64),
	FIELDS("k", fpu.opmask, 8, 8),
#undef FIELD
#undef FIELDS
};

static const char *const gpr_names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

static const uint8_t *value_of(const struct x86_state *state, const struct field *field, unsigned i)
{
	return (const uint8_t *)state + field->offset + i * field->stride;
}

/* An exception that faults has left its flag (SDM 1 11.5.2.1); executing the instruction again does no more. */
enum { MXCSR_EXCEPTIONS = 0x3f };

/* Gives the shadow our value of what does not matter: status flags that nobody reads, x87's account of its last
 * operation (x87.c), and upper halves of 32-bit code's registers (SDM 1 3.4.1.1). Then the two can be compared as a
 * whole. */
static void make_same(struct verify *v)
{
	const struct x86_state *ours = &v->t->cpu->s;
	struct x86_state *theirs = &v->shadow->s;
	uint64_t flags = ours->rflags ^ theirs->rflags;

	if (flags && !(flags & ~(uint64_t)ALL_FLAGS) &&
	    !(flags & verify_flags_live(v) & ~(uint64_t)verify_flags_undefined(v, v->steps, NULL)))
		theirs->rflags = ours->rflags;
	if (v->t->sites[v->t->site].kind == SITE_FAULT &&
	    !((ours->fpu.mxcsr ^ theirs->fpu.mxcsr) & ~(uint32_t)MXCSR_EXCEPTIONS))
		theirs->fpu.mxcsr = ours->fpu.mxcsr;
	theirs->fpu.fop = ours->fpu.fop;
	theirs->fpu.fip = ours->fpu.fip;
	theirs->fpu.fdp = ours->fpu.fdp;
	theirs->fpu.fcs = ours->fpu.fcs;
	theirs->fpu.fds = ours->fpu.fds;
	for (unsigned i = 0; v->t->key & KEY_CODE32 && i < 8; i++)
		theirs->gpr[i] = (uint32_t)theirs->gpr[i] | (ours->gpr[i] & ~(uint64_t)UINT32_MAX);
}

static bool same_value(const struct x86_state *a, const struct x86_state *b, const struct field *field, unsigned i)
{
	return !memcmp(value_of(a, field, i), value_of(b, field, i), field->bytes);
}

bool verify_same_registers(struct verify *v)
{
	const struct x86_state *ours = &v->t->cpu->s, *theirs = &v->shadow->s;

	if (!(v->t->key & KEY_CODE32) && memcmp(ours->gpr, theirs->gpr, sizeof(ours->gpr)))
		return false;
	make_same(v);
	if (!memcmp(ours, theirs, sizeof(*ours)))
		return true;
	for (unsigned f = 0; f < ARRAY_SIZE(fields); f++) /* without what lies between them */
		for (unsigned i = 0; i < fields[f].count; i++)
			if (!same_value(ours, theirs, &fields[f], i))
				return false;
	return true;
}

/* --- text --- */

static void hex(char *to, const uint8_t *value, unsigned bytes)
{
	for (unsigned i = bytes; i-- > 0;)
		to += sprintf(to, "%02x", value[i]);
}

static void report_registers(const struct verify *v, struct log *log)
{
	char before[130], ours[130], theirs[130], name[40];

	log_tell(log, "%-24s %-20s %-20s %-20s", "", "before", "translated", "interpreted");
	for (unsigned f = 0; f < ARRAY_SIZE(fields); f++) {
		const struct field *field = &fields[f];

		for (unsigned i = 0; i < field->count; i++) {
			bool same = same_value(&v->t->cpu->s, &v->interpreted, field, i);

			if (same && f > 2) /* general registers, rip and rflags in any case */
				continue;
			hex(before, value_of(&v->before, field, i), field->bytes);
			hex(ours, value_of(&v->t->cpu->s, field, i), field->bytes);
			hex(theirs, value_of(&v->interpreted, field, i), field->bytes);
			snprintf(name, sizeof(name), field->count > 1 ? "%s%u" : "%s", field->name, i);
			log_tell(log, "%c %-22s %-20s %-20s %-20s", same ? ' ' : '*', f ? name : gpr_names[i], before,
				 ours, theirs);
		}
	}
}

static void report_memory(const struct verify *v, struct log *log)
{
	for (unsigned i = 0; i < v->parted_pages; i++)
		log_tell(log, "  page at 0x%llx: written by %s%s%s", (unsigned long long)v->pages[i].gpa,
			 v->pages[i].translated ? "translated code" : "",
			 v->pages[i].translated && v->pages[i].interpreted ? " and " : "",
			 v->pages[i].interpreted ? "the interpreter" : "");
	for (unsigned i = 0; i < v->byte_count; i++)
		log_tell(log, "* byte at 0x%llx: translated %02x, interpreted %02x",
			 (unsigned long long)v->bytes[i].gpa, v->bytes[i].translated, v->bytes[i].interpreted);
}

/* Where block's code begins, and where that of the next one that has any does. */
static uint32_t code_of(const struct translator *t, uint32_t number, uint32_t *end)
{
	const struct code_region *region = region_of_code(t, t->blocks[number].code);
	uint32_t last = region == &t->regions[t->region] ? t->block_count : region->blocks.used;

	*end = region == &t->regions[t->region] ? t->code_used : region->code.used;
	for (uint32_t i = number + 1; i < last; i++)
		if (!t->blocks[i].interpret && !t->blocks[i].stand_in) {
			*end = t->blocks[i].code;
			break;
		}
	return t->blocks[number].code;
}

static void report_block_code(const struct verify *v, struct log *log, uint32_t number)
{
	const struct translator *t = v->t;
	const struct block *block = &t->blocks[number];
	const uint8_t *guest = ram_hva(t->cpu->vcpu.engine->env.ram, block->gpa, block->guest_bytes);
	uint32_t end, start = code_of(t, number, &end);

	log_tell(log, "block %u at 0x%llx, physical 0x%llx, key 0x%x; guest code:", number,
		 (unsigned long long)block->linear, (unsigned long long)block->gpa, block->key);
	if (guest)
		report_code(log, t->decoder, guest, block->guest_bytes, rip_of(t, block->key, block->linear));
	log_tell(log, "host code, entered at 0x%llx:", (unsigned long long)(uintptr_t)(t->exec_base + block->code + block->body));
	report_code(log, NULL, t->write_base + start, end - start, (uintptr_t)(t->exec_base + start));
}

void verify_report(const struct verify *v)
{
	static const char *const kinds[SITE_KINDS] = {
		[SITE_MEMORY] = "memory", [SITE_INTERPRET] = "interpret", [SITE_FAULT] = "host exception",
		[SITE_LINK] = "link",     [SITE_INDIRECT] = "indirect",   [SITE_HEAD] = "head",
		[SITE_CALL] = "call",
	};
	const struct translator *t = v->t;
	const struct site *site = &t->sites[t->site];
	struct log *log = t->cpu->vcpu.engine->env.log;

	log_tell(log, "verify: CPU %u: translated code did not do what the interpreter does, in run %llu",
		 t->cpu->vcpu.index, (unsigned long long)v->runs);
	log_tell(log, "entered block %u, left at site %u (%s) of block %u", v->block, t->site, kinds[site->kind],
		 site->block);
	if (!v->met)
		log_tell(log, "the interpreter did not come to 0x%llx", (unsigned long long)t->cpu->s.rip);
	if (!v->met && v->fault >= 0)
		log_tell(log, "it raised exception %d at 0x%llx after %u instructions", v->fault,
			 (unsigned long long)v->shadow->s.rip, v->steps);
	report_registers(v, log);
	report_memory(v, log);
	report_block_code(v, log, v->block);
	if (site->block && site->block != v->block)
		report_block_code(v, log, site->block);
}

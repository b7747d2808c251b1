/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fetching and decoding: where the code's bytes lie, instructions that cross a page, and a run of instructions made
 * into ops until one ends the block. An instruction that crosses a page is always alone in its block.
 */
#include "cpu/interp/fetch.h"

#include "core/bus.h"
#include "cpu/x86/mem.h"

#include <stdio.h>

void fetch_init(struct interp *ip)
{
	static const ZydisMachineMode modes[] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32,
						 ZYDIS_MACHINE_MODE_LONG_64};
	static const ZydisStackWidth widths[] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32, ZYDIS_STACK_WIDTH_64};

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		ZydisDecoder *decoder = &ip->decoder[i];

		ZydisDecoderInit(decoder, modes[i], widths[i]);
		ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
		ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_LZCNT, ip->cpu.features->lzcnt);
		ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_TZCNT, ip->cpu.features->bmi1);
	}
}

static uint64_t fetch_page(struct interp *ip, uint64_t linear)
{
	struct x86_cpu *cpu = &ip->cpu;
	const struct x86_tlb_entry *slot = x86_tlb_slot(cpu, linear);
	unsigned access = X86_FETCH | (cpu->cpl == 3 ? X86_USER : 0);

	uint64_t gpa;

	if (slot->tag_fetch == (linear & ~(PAGE_SIZE - 1)))
		return x86_tlb_gpa(slot);
	gpa = x86_walk(cpu, linear, access) & ~(PAGE_SIZE - 1);
	if (ram_find(ip->env.ram, gpa)) { /* to have it in the TLB the next time */
		uint8_t byte;

		x86_read_slow(cpu, linear, &byte, 1, access);
	}
	return gpa;
}

static uint64_t next_linear_page(const struct interp *ip, uint64_t linear)
{
	uint64_t following = (linear & ~(PAGE_SIZE - 1)) + PAGE_SIZE;

	return ip->cpu.long_mode ? following : (uint32_t)following;
}

void fetch_copy(struct interp *ip, uint64_t gpa, uint8_t *to, unsigned length)
{
	if (!ram_read(ip->env.ram, gpa, to, length))
		return;
	for (unsigned i = 0; i < length; i++)
		to[i] = bus_read(ip->env.memory, gpa + i, 1);
}

void fetch_first(struct interp *ip, uint64_t linear, struct fetch *fetch)
{
	unsigned offset = linear & (PAGE_SIZE - 1);

	fetch->gpa = fetch_page(ip, linear) | offset;
	fetch->gpa2 = ~0ull;
	fetch->length = PAGE_SIZE - offset;
	fetch->bytes = ram_hva(ip->env.ram, fetch->gpa & ~(PAGE_SIZE - 1), PAGE_SIZE);
	fetch->ram = fetch->bytes != NULL;
	if (fetch->ram) {
		fetch->bytes += offset;
		return;
	}
	if (fetch->length > 15)
		fetch->length = 15;
	fetch_copy(ip, fetch->gpa, fetch->copy, fetch->length);
	fetch->bytes = fetch->copy;
}

uint64_t fetch_second_page(struct interp *ip, uint64_t linear)
{
	return fetch_page(ip, next_linear_page(ip, linear));
}

/* Puts an instruction that needs bytes of the next page together; raises that page's fault. */
static void fetch_second(struct interp *ip, uint64_t linear, struct fetch *fetch)
{
	fetch->gpa2 = fetch_second_page(ip, linear);
	memmove(fetch->copy, fetch->bytes, fetch->length);
	fetch_copy(ip, fetch->gpa2, fetch->copy + fetch->length, 15 - fetch->length);
	fetch->bytes = fetch->copy;
	fetch->length = 15;
}

static ZyanStatus decode_bytes(struct decode *d, const uint8_t *bytes, unsigned length)
{
	d->bytes = bytes;
	return ZydisDecoderDecodeFull(&d->ip->decoder[d->ip->key & KEY_MODE], bytes, length < 15 ? length : 15,
				      &d->insn, d->operands);
}

/* Stands for an instruction that cannot be decoded: executing it raises. */
static void select_invalid(struct decode *d, ZyanStatus status)
{
	*d->op = (struct op){.fn = op_undefined, .offset = d->offset, .length_size = 1, .ea = EA_NONE};
	d->op->imm = status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG ? X86_GP : X86_UD;
	d->insn.length = 1;
	d->last = true;
}

static void log_instruction(struct decode *d)
{
	char text[96], hex[48];
	uint64_t rip = d->ip->cpu.s.rip + d->offset;
	ZydisFormatter formatter;

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_ATT);
	if (ZYAN_FAILED(ZydisFormatterFormatInstruction(&formatter, &d->insn, d->operands,
							d->insn.operand_count_visible, text, sizeof(text), rip, NULL)))
		snprintf(text, sizeof(text), "(bad)");
	for (unsigned i = 0; i < d->insn.length && i < 15; i++)
		snprintf(hex + 3 * i, sizeof(hex) - 3 * i, "%02x ", d->bytes[i]);
	log_write(d->ip->log, "0x%016llx:  %-45s  %s", (unsigned long long)rip, hex, text);
}

bool fetch_decode(struct interp *ip, struct fetch *fetch, uint64_t linear, struct block *block, unsigned max)
{
	struct decode d = {.ip = ip, .flat32 = ip->key & KEY_FLAT};
	bool log = log_on(ip->log, LOG_IN_ASM);
	unsigned count = 0, offset = 0;

	while (count < max && offset < BLOCK_MAX_BYTES) {
		ZyanStatus status;

		d.op = &block->ops[count];
		d.offset = offset;
		memset(d.op, 0, sizeof(*d.op));
		d.last = d.closed = false;
		if (offset >= fetch->length)
			break;
		if (unlikely(ip->cpu.debug) && debug_stops_in_page(ip->cpu.debug, (linear + offset) & (PAGE_SIZE - 1)) && max > 1) {
			if (count)
				break;
			*d.op = (struct op){.fn = op_debug, .ea = EA_NONE};
			d.closed = true;
			count = 1;
			offset = 1;
			break;
		}
		status = decode_bytes(&d, fetch->bytes + offset, fetch->length - offset);
		if (status == ZYDIS_STATUS_NO_MORE_DATA && fetch->gpa2 == ~0ull && fetch->length - offset < 15) {
			if (count)
				break; /* the crossing instruction gets a block of its own */
			fetch_second(ip, linear, fetch);
			status = decode_bytes(&d, fetch->bytes, fetch->length);
		}
		if (ZYAN_SUCCESS(status))
			decode_select(&d);
		else
			select_invalid(&d, status);
		if (d.no_memory)
			return false;
		if (log)
			log_instruction(&d);
		offset += d.insn.length;
		count++;
		if (d.last || fetch->gpa2 != ~0ull || !fetch->ram)
			break;
	}
	block->closed = d.closed;
	if (!d.closed)
		block->ops[count] = (struct op){.fn = op_stop, .offset = offset};
	block->count = count;
	block->bytes = offset;
	return true;
}

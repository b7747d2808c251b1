/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control/monitor/disassemble.h"

#include <Zydis/Zydis.h>
#include <string.h>

#define EFER_LMA (1u << 10)

enum code_width code_width_of(const struct x86_state *state)
{
	uint32_t attr = state->seg[X86_CS].attr;

	if (state->efer & EFER_LMA && attr & X86_SEG_L)
		return CODE_64;
	return attr & X86_SEG_DB ? CODE_32 : CODE_16;
}

size_t disassemble(struct text *text, enum code_width width, uint64_t address, const uint8_t *code, size_t length)
{
	static const struct {
		ZydisMachineMode mode;
		ZydisStackWidth stack;
	} modes[] = {
		[CODE_16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
		[CODE_32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
		[CODE_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64},
	};
	ZydisDecoder decoder;
	ZydisFormatter formatter;
	ZydisDecodedInstruction instruction;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	char line[256] = "(bad)", *blank;
	size_t used = 1;

	if (ZYAN_SUCCESS(ZydisDecoderInit(&decoder, modes[width].mode, modes[width].stack)) &&
	    ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code, length, &instruction, operands))) {
		used = instruction.length;
		ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_ATT);
		ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
		ZydisFormatterFormatInstruction(&formatter, &instruction, operands, instruction.operand_count_visible,
						line, sizeof(line), address, NULL);
	}
	text_printf(text, "0x%08llx: ", (unsigned long long)address);
	for (size_t i = 0; i < used || i < 8; i++)
		text_printf(text, i < used ? " %02x" : "   ", i < used ? code[i] : 0);
	/* Operands in one column. */
	blank = strchr(line, ' ');
	text_printf(text, "  %-*.*s%s\n", blank ? 8 : 0, blank ? (int)(blank - line) : -1, line, blank ? blank : "");
	return used;
}

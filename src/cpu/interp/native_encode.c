/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Re-encodes a decoded guest instruction for 64-bit mode with host registers and the memory operand at [register]. The
 * bytes are rebuilt from the decoder's raw fields, then decoded again and compared: an encoding that means something
 * else in 64-bit mode is refused. Specification: SDM 2A 2.1.5, 2.3.5, 2.7.1.
 */
#include "cpu/interp/native_impl.h"

#include <string.h>

/* Register numbers as the encoding holds them (up to 5 bits), and what else varies. */
struct fields {
	uint8_t reg, rm, vvvv, is4, opcode;
	bool mod_register;
	bool has_modrm;
	bool needs_rex;   /* SPL..DIL */
	bool forbids_rex; /* AH..BH */
	bool toggle_operand_size;
	bool clear_w;
};

static void collect_register(struct fields *fields, const struct native_plan *plan, const ZydisDecodedOperand *operand)
{
	const ZydisRegister reg = operand->reg.value;
	const int gpr = native_gpr(reg);
	uint8_t id = (uint8_t)ZydisRegisterGetId(reg);

	if (gpr >= 0) {
		id = plan->host_gpr[gpr];
		if (native_is_high_byte(reg)) {
			fields->forbids_rex = true;
			id += 4;
		} else if (operand->size == 8 && id >= 4 && id < 8) {
			fields->needs_rex = true;
		}
	}
	switch (operand->encoding) {
	case ZYDIS_OPERAND_ENCODING_MODRM_REG:
		fields->reg = id;
		break;
	case ZYDIS_OPERAND_ENCODING_MODRM_RM:
		fields->rm = id;
		break;
	case ZYDIS_OPERAND_ENCODING_NDSNDD:
		fields->vvvv = id;
		break;
	case ZYDIS_OPERAND_ENCODING_IS4:
		fields->is4 = id;
		break;
	case ZYDIS_OPERAND_ENCODING_OPCODE:
		fields->opcode = (fields->opcode & 0xf8) | (id & 7);
		fields->rm = id;
		break;
	default:
		break;
	}
}

static void collect(struct fields *fields, const struct native_plan *plan, const ZydisDecodedInstruction *instruction,
		    const ZydisDecodedOperand *operands)
{
	fields->has_modrm = instruction->attributes & ZYDIS_ATTRIB_HAS_MODRM;
	fields->opcode = instruction->opcode;
	fields->reg = instruction->raw.modrm.reg;
	fields->rm = instruction->raw.modrm.rm;
	fields->mod_register = !plan->has_memory;
	for (unsigned i = 0; i < instruction->operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
			collect_register(fields, plan, &operands[i]);
	if (plan->has_memory)
		fields->rm = plan->memory_reg;
}

static unsigned put_map(uint8_t *to, ZydisOpcodeMap map)
{
	switch (map) {
	case ZYDIS_OPCODE_MAP_0F:
		to[0] = 0x0f;
		return 1;
	case ZYDIS_OPCODE_MAP_0F38:
	case ZYDIS_OPCODE_MAP_0F3A:
		to[0] = 0x0f;
		to[1] = map == ZYDIS_OPCODE_MAP_0F38 ? 0x38 : 0x3a;
		return 2;
	default:
		return 0;
	}
}

static unsigned put_legacy(uint8_t *to, const struct fields *fields, const ZydisDecodedInstruction *instruction)
{
	bool operand_size = false;
	uint8_t mandatory = 0, rex;
	unsigned length = 0;

	for (unsigned i = 0; i < instruction->raw.prefix_count; i++) {
		uint8_t value = instruction->raw.prefixes[i].value;

		operand_size |= value == 0x66;
		if (instruction->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY &&
		    (value == 0xf2 || value == 0xf3))
			mandatory = value;
	}
	if (instruction->attributes & ZYDIS_ATTRIB_HAS_LOCK)
		to[length++] = 0xf0;
	if (operand_size != fields->toggle_operand_size)
		to[length++] = 0x66;
	if (mandatory)
		to[length++] = mandatory;
	rex = (uint8_t)((instruction->raw.rex.W && !fields->clear_w) << 3 |
			(fields->has_modrm && fields->reg & 8) << 2 | (fields->rm >> 3 & 1));
	if (rex || fields->needs_rex)
		to[length++] = 0x40 | rex;
	length += put_map(to + length, instruction->opcode_map);
	to[length++] = fields->opcode;
	return length;
}

static unsigned put_vex(uint8_t *to, const struct fields *fields, const ZydisDecodedInstruction *instruction)
{
	const ZydisDecodedInstructionRawVex *vex = &instruction->raw.vex;

	to[0] = 0xc4;
	to[1] = (uint8_t)((fields->reg & 8 ? 0 : 0x80) | 0x40 | (fields->rm & 8 ? 0 : 0x20) | vex->m_mmmm);
	to[2] = (uint8_t)((vex->W && !fields->clear_w) << 7 | (~fields->vvvv & 0xf) << 3 | vex->L << 2 | vex->pp);
	to[3] = fields->opcode;
	return 4;
}

static unsigned put_evex(uint8_t *to, const struct fields *fields, const ZydisDecodedInstruction *instruction)
{
	const ZydisDecodedInstructionRawEvex *evex = &instruction->raw.evex;
	const bool x = fields->mod_register && fields->rm & 16;

	to[0] = 0x62;
	to[1] = (uint8_t)((fields->reg & 8 ? 0 : 0x80) | (x ? 0 : 0x40) | (fields->rm & 8 ? 0 : 0x20) |
			  (fields->reg & 16 ? 0 : 0x10) | evex->mmm);
	to[2] = (uint8_t)((evex->W && !fields->clear_w) << 7 | (~fields->vvvv & 0xf) << 3 | 4 | evex->pp);
	to[3] = (uint8_t)(evex->z << 7 | evex->L2 << 6 | evex->L << 5 | evex->b << 4 | (fields->vvvv & 16 ? 0 : 8) |
			  evex->aaa);
	to[4] = fields->opcode;
	return 5;
}

static unsigned put_immediates(uint8_t *to, const struct fields *fields, const ZydisDecodedInstruction *instruction,
			       const ZydisDecodedOperand *operands)
{
	unsigned length = 0;
	bool has_is4 = false;

	for (unsigned i = 0; i < instruction->operand_count; i++)
		has_is4 |= operands[i].encoding == ZYDIS_OPERAND_ENCODING_IS4;
	for (unsigned i = 0; i < 2; i++) {
		uint64_t value = instruction->raw.imm[i].value.u;
		unsigned bytes = instruction->raw.imm[i].size / 8;

		if (i == 0 && has_is4)
			value = (value & 0xf) | (uint64_t)(fields->is4 & 0xf) << 4;
		memcpy(to + length, &value, bytes);
		length += bytes;
	}
	return length;
}

static unsigned put_all(uint8_t *to, const struct fields *fields, const ZydisDecodedInstruction *instruction,
			const ZydisDecodedOperand *operands)
{
	unsigned length;

	switch (instruction->encoding) {
	case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
		length = put_legacy(to, fields, instruction);
		break;
	case ZYDIS_INSTRUCTION_ENCODING_VEX:
		length = put_vex(to, fields, instruction);
		break;
	case ZYDIS_INSTRUCTION_ENCODING_EVEX:
		length = put_evex(to, fields, instruction);
		break;
	default:
		return 0;
	}
	if (fields->has_modrm)
		to[length++] = (uint8_t)((fields->mod_register ? 0xc0 : 0) | (fields->reg & 7) << 3 | (fields->rm & 7));
	return length + put_immediates(to + length, fields, instruction, operands);
}

/* The operand as the re-encoded instruction should show it. */
static bool same_operand(const struct native_plan *plan, const ZydisDecodedOperand *guest,
			 const ZydisDecodedOperand *host)
{
	/* The decoder gives RAX and RDX of VPCMPESTRI with W=1 outside 64-bit mode no size: 32 bits are meant. */
	if (guest->type != host->type || (guest->size ? guest->size : 32) != host->size ||
	    guest->actions != host->actions)
		return false;
	switch (guest->type) {
	case ZYDIS_OPERAND_TYPE_REGISTER:
		if (native_gpr(guest->reg.value) < 0) /* RFLAGS and EFLAGS are different registers to the decoder */
			return guest->reg.value == host->reg.value ||
			       (ZydisRegisterGetClass(guest->reg.value) == ZYDIS_REGCLASS_FLAGS &&
				ZydisRegisterGetClass(host->reg.value) == ZYDIS_REGCLASS_FLAGS);
		return native_gpr(host->reg.value) == plan->host_gpr[native_gpr(guest->reg.value)] &&
		       native_is_high_byte(guest->reg.value) == native_is_high_byte(host->reg.value);
	case ZYDIS_OPERAND_TYPE_MEMORY:
		return native_gpr(host->mem.base) == plan->memory_reg && host->mem.index == ZYDIS_REGISTER_NONE;
	default:
		return guest->imm.value.u == host->imm.value.u;
	}
}

static bool is_flags(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       ZydisRegisterGetClass(operand->reg.value) == ZYDIS_REGCLASS_FLAGS;
}

static bool means_the_same(const struct native_plan *plan, const ZydisDecodedInstruction *guest,
			   const ZydisDecodedOperand *operands)
{
	ZydisDecodedInstruction host;
	ZydisDecodedOperand host_operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecoder decoder;

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, plan->bytes, plan->length, &host, host_operands)) ||
	    host.length != plan->length || host.mnemonic != guest->mnemonic ||
	    host.operand_count != guest->operand_count)
		return false;
	for (unsigned i = 0; i < guest->operand_count; i++)
		if (!is_flags(&operands[i]) && !same_operand(plan, &operands[i], &host_operands[i]))
			return false;
	return true;
}

int native_encode(struct native_plan *plan, const ZydisDecodedInstruction *instruction,
		  const ZydisDecodedOperand *operands)
{
	/* 16-bit code has the opposite default operand size; W means nothing to general registers outside 64-bit mode.
	 */
	for (unsigned attempt = 0; attempt < 4; attempt++) {
		struct fields fields = {.toggle_operand_size = attempt & 1, .clear_w = attempt & 2};
		uint8_t bytes[2 * ZYDIS_MAX_INSTRUCTION_LENGTH];
		unsigned length;

		if (attempt && instruction->machine_mode == ZYDIS_MACHINE_MODE_LONG_64)
			break;
		collect(&fields, plan, instruction, operands);
		if (fields.forbids_rex && (fields.needs_rex || (fields.rm & 8) || (fields.reg & 8)))
			return -ENOTSUP;
		length = put_all(bytes, &fields, instruction, operands);
		if (!length || length > sizeof(plan->bytes))
			return -ENOTSUP;
		memcpy(plan->bytes, bytes, length);
		plan->length = (uint8_t)length;
		if (means_the_same(plan, instruction, operands))
			return 0;
	}
	return -ENOTSUP;
}

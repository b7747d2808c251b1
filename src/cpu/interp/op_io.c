/* SPDX-License-Identifier: GPL-2.0-or-later */
/* IN and OUT (SDM 2). They end their block: a device may have raised an interrupt or moved memory. */
#include "core/bus.h"
#include "cpu/interp/internal.h"

/* imm: the port, or 0x10000 for DX; the width is the operand size. */
static uint16_t port_of(struct interp *ip, const struct op *op)
{
	return op->imm > 0xffff ? reg_get16(ip, X86_RDX * 8) : op->imm;
}

static void in(struct interp *ip, const struct op *op)
{
	uint16_t port = port_of(ip, op);
	unsigned size = op_size(op);

	sys_begin(ip, op);
	x86_check_io(&ip->cpu, port, size);
	interp_account(ip);
	reg_set(ip, X86_RAX * 8, bus_read(ip->io, port, size), size);
	sys_end(ip, op);
}

static void out(struct interp *ip, const struct op *op)
{
	uint16_t port = port_of(ip, op);
	unsigned size = op_size(op);

	sys_begin(ip, op);
	x86_check_io(&ip->cpu, port, size);
	interp_account(ip);
	bus_write(ip->io, port, reg_get(ip, X86_RAX * 8, size), size);
	sys_end(ip, op);
}

bool select_io(struct decode *d)
{
	bool input = d->insn.mnemonic == ZYDIS_MNEMONIC_IN;
	const ZydisDecodedOperand *port = &d->operands[input], *value = &d->operands[!input];

	if (!input && d->insn.mnemonic != ZYDIS_MNEMONIC_OUT)
		return false;
	d->op->imm = port->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? port->imm.value.u & 0xff : 0x10000;
	d->op->length_size = d->insn.length | decode_log2(value->size) << 4;
	d->op->fn = input ? in : out;
	d->last = true;
	return true;
}

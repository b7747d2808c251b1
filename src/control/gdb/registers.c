/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Values of registers: g, G, p and P.
 *
 * What chooses the mode of operation (CR0.PE and PG, CR4.PAE and LA57, EFER.LME and LMA, RFLAGS.VM) keeps its value
 * when written: half of such a change is a state that no CPU can be in.
 */
#include "control/gdb/registers.h"

#include "base/util.h"
#include "control/gdb/internal.h"
#include "core/engine.h"

#include <stdlib.h>
#include <string.h>

static void copy_state(struct vcpu *vcpu, void *opaque)
{
	vcpu->engine->ops->get_state(vcpu, opaque);
}

static void take_state(struct vcpu *vcpu, void *opaque)
{
	vcpu->engine->ops->set_state(vcpu, opaque);
}

struct x86_state *gdb_state(struct machine *machine, unsigned cpu)
{
	struct x86_state *state = aligned_alloc(64, align_up(sizeof(*state), 64));

	if (!state)
		abort();
	memset(state, 0, sizeof(*state));
	machine_vcpu_call(machine, machine->vcpus[cpu], copy_state, state);
	return state;
}

static bool in_64bit_code(const struct x86_state *s)
{
	return s->efer >> 10 & 1 && s->seg[X86_CS].attr & X86_SEG_L;
}

/* The tag word in full: 0 valid, 1 zero, 2 special, 3 empty (SDM 1 8.1.7). */
static uint16_t full_tags(const struct x86_fpu *f)
{
	unsigned top = f->fsw >> 11 & 7;
	uint16_t tags = 0;

	for (unsigned i = 0; i < 8; i++) {
		const uint8_t *st = f->st[(i - top) & 7];
		uint64_t mantissa = load_le64(st);
		unsigned exponent = load_le16(st + 8) & 0x7fff, tag = 0;

		if (!(f->ftw >> i & 1))
			tag = 3;
		else if (!exponent && !mantissa)
			tag = 1;
		else if (!exponent || exponent == 0x7fff || !(mantissa >> 63))
			tag = 2;
		tags |= (uint16_t)(tag << (2 * i));
	}
	return tags;
}

static uint32_t fpu_get(const struct x86_fpu *f, enum gdb_fpu which)
{
	switch (which) {
	case FCTRL:
		return f->fcw;
	case FSTAT:
		return f->fsw;
	case FTAG:
		return full_tags(f);
	case FISEG:
		return f->fcs;
	case FIOFF:
		return (uint32_t)f->fip;
	case FOSEG:
		return f->fds;
	case FOOFF:
		return (uint32_t)f->fdp;
	case FOP:
		return f->fop;
	}
	return 0;
}

static void fpu_set(struct x86_fpu *f, enum gdb_fpu which, uint32_t value)
{
	switch (which) {
	case FCTRL:
		f->fcw = (uint16_t)value;
		break;
	case FSTAT:
		f->fsw = (uint16_t)value;
		break;
	case FTAG:
		for (unsigned i = 0; i < 8; i++)
			f->ftw = (uint8_t)((f->ftw & ~(1u << i)) | (unsigned)((value >> 2 * i & 3) != 3) << i);
		break;
	case FISEG:
		f->fcs = (uint16_t)value;
		break;
	case FIOFF:
		f->fip = value;
		break;
	case FOSEG:
		f->fds = (uint16_t)value;
		break;
	case FOOFF:
		f->fdp = value;
		break;
	case FOP:
		f->fop = value & 0x7ff;
		break;
	}
}

static uint64_t *control_register(struct x86_state *s, unsigned number)
{
	switch (number) {
	case 0:
		return &s->cr0;
	case 2:
		return &s->cr2;
	case 3:
		return &s->cr3;
	case 4:
		return &s->cr4;
	default:
		return &s->cr8;
	}
}

/* Registers of 64 bits and less. */
static uint64_t get_number(struct x86_state *s, const struct gdb_slot *slot)
{
	switch (slot->kind) {
	case GPR: /* outside 64-bit code upper halves, and R8 to R15, are nothing that the guest can see */
		if (in_64bit_code(s))
			return s->gpr[slot->index];
		return slot->index < 8 ? (uint32_t)s->gpr[slot->index] : 0;
	case RIP:
		return in_64bit_code(s) ? s->rip : (uint32_t)s->rip;
	case FLAGS:
		return s->rflags;
	case SELECTOR:
		return s->seg[slot->index].selector;
	case BASE:
		return s->seg[slot->index].base;
	case KERNEL_GS:
		return s->kernel_gs_base;
	case CR:
		return *control_register(s, slot->index);
	case EFER:
		return s->efer;
	case FPU:
		return fpu_get(&s->fpu, slot->index);
	case MXCSR:
		return s->fpu.mxcsr;
	default:
		return 0;
	}
}

static void get_value(struct x86_state *s, const struct gdb_slot *slot, uint8_t bytes[16])
{
	memset(bytes, 0, 16);
	if (slot->kind == ST)
		memcpy(bytes, s->fpu.st[slot->index], 10);
	else if (slot->kind == XMM)
		memcpy(bytes, s->fpu.vector[slot->index], 16);
	else if (slot->kind == YMM_HIGH)
		memcpy(bytes, s->fpu.vector[slot->index] + 16, 16);
	else
		store_le64(bytes, get_number(s, slot));
}

static uint64_t mixed(uint64_t old, uint64_t new, uint64_t changeable)
{
	return (old & ~changeable) | (new &changeable);
}

static bool canonical(const struct x86_state *s, uint64_t address)
{
	unsigned spare = s->cr4 >> 12 & 1 ? 7 : 16;

	return (uint64_t)((int64_t)(address << spare) >> spare) == address;
}

static bool set_control(struct x86_state *s, unsigned number, uint64_t value)
{
	switch (number) {
	case 0:
		s->cr0 = mixed(s->cr0, value, 0x6005002e);
		break;
	case 2:
		s->cr2 = value;
		break;
	case 3:
		s->cr3 = mixed(s->cr3, value, 0xffffffffffffffull & ~(~0ull << 52));
		break;
	case 4:
		s->cr4 = mixed(s->cr4, value, 0x31079c);
		break;
	default:
		s->cr8 = value & 15;
	}
	return true;
}

/* False: no state that a CPU can be in. */
static bool set_number(struct gdb *gdb, struct x86_state *s, const struct gdb_slot *slot, uint64_t value)
{
	switch (slot->kind) {
	case GPR:
		if (in_64bit_code(s))
			s->gpr[slot->index] = value;
		else if (slot->index < 8)
			s->gpr[slot->index] = (uint32_t)value;
		return true;
	case RIP:
		s->rip = in_64bit_code(s) ? value : (uint32_t)value;
		return !in_64bit_code(s) || canonical(s, value);
	case FLAGS:
		s->rflags = mixed(s->rflags, value, 0x3d7fd5);
		return true;
	case SELECTOR:
		return gdb_load_segment(gdb, s, slot->index, (uint16_t)value);
	case BASE:
		if (!canonical(s, value))
			return false;
		/* Only FS and GS have one that 64-bit code looks at; the others' are their descriptors'. */
		if (slot->index == X86_FS || slot->index == X86_GS)
			s->seg[slot->index].base = value;
		return true;
	case KERNEL_GS:
		s->kernel_gs_base = value;
		return canonical(s, value);
	case CR:
		return set_control(s, slot->index, value);
	case EFER:
		s->efer = mixed(s->efer, value, 0x801);
		return true;
	case FPU:
		fpu_set(&s->fpu, slot->index, (uint32_t)value);
		return true;
	case MXCSR:
		s->fpu.mxcsr = value & 0xffff;
		return true;
	default:
		return false;
	}
}

static bool set_value(struct gdb *gdb, struct x86_state *s, const struct gdb_slot *slot, const uint8_t bytes[16])
{
	uint8_t old[16];

	/* G writes everything: what is as it was is no change. */
	get_value(s, slot, old);
	if (!memcmp(old, bytes, slot->bytes))
		return true;
	if (slot->kind == ST)
		memcpy(s->fpu.st[slot->index], bytes, 10);
	else if (slot->kind == XMM)
		memcpy(s->fpu.vector[slot->index], bytes, 16);
	else if (slot->kind == YMM_HIGH)
		memcpy(s->fpu.vector[slot->index] + 16, bytes, 16);
	else
		return set_number(gdb, s, slot, slot->bytes == 8 ? load_le64(bytes) : load_le32(bytes));
	return true;
}

/* --- packets --- */

void gdb_read_registers(struct gdb *gdb)
{
	struct x86_state *state = gdb_state(gdb->machine, gdb->cpu);
	uint8_t bytes[16];

	for (unsigned i = 0; i < gdb->registers->count; i++) {
		get_value(state, &gdb->registers->slots[i], bytes);
		gdb_put_hex(&gdb->reply, bytes, gdb->registers->slots[i].bytes);
	}
	free(state);
}

void gdb_read_register(struct gdb *gdb, const char *text)
{
	struct x86_state *state;
	uint8_t bytes[16];
	uint64_t number;

	if (!gdb_take_number(&text, &number) || number >= gdb->registers->count) {
		gdb_put(&gdb->reply, "E14");
		return;
	}
	state = gdb_state(gdb->machine, gdb->cpu);
	get_value(state, &gdb->registers->slots[number], bytes);
	gdb_put_hex(&gdb->reply, bytes, gdb->registers->slots[number].bytes);
	free(state);
}

static void write_state(struct gdb *gdb, struct x86_state *state, bool right)
{
	if (right)
		machine_vcpu_call(gdb->machine, gdb->machine->vcpus[gdb->cpu], take_state, state);
	gdb_put(&gdb->reply, right ? "OK" : "E22");
	free(state);
}

void gdb_write_registers(struct gdb *gdb, const char *text)
{
	struct x86_state *state = gdb_state(gdb->machine, gdb->cpu);
	uint8_t bytes[16];
	bool right = true;

	/* Fewer than all of them are taken, as in qemu. */
	for (unsigned i = 0; right && *text && i < gdb->registers->count; i++) {
		memset(bytes, 0, sizeof(bytes));
		right = gdb_take_hex(&text, bytes, gdb->registers->slots[i].bytes) &&
			set_value(gdb, state, &gdb->registers->slots[i], bytes);
	}
	write_state(gdb, state, right);
}

void gdb_write_register(struct gdb *gdb, const char *text)
{
	struct x86_state *state;
	uint8_t bytes[16] = {0};
	uint64_t number;

	if (!gdb_take_number(&text, &number) || *text++ != '=' || number >= gdb->registers->count ||
	    !gdb_take_hex(&text, bytes, gdb->registers->slots[number].bytes)) {
		gdb_put(&gdb->reply, "E22");
		return;
	}
	state = gdb_state(gdb->machine, gdb->cpu);
	write_state(gdb, state, set_value(gdb, state, &gdb->registers->slots[number], bytes));
}

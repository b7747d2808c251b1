/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System instructions: those that a kernel executes often are written in line at CPL 0 (the key's view says so; code at
 * CPL 1 and 2 is not translated), others call C and go on behind it. What is in line here acts on cpu->s as the
 * interpreter's handlers do (SDM 2; op_system.c, op_misc.c).
 */
#include "cpu/translate/lower/lowering.h"

/* In line, in the order of the switch in lower_system. Everything else is called. */
enum system {
	SYSTEM_CALL, /* g->helper */
	SYSTEM_CLI,
	SYSTEM_STI,
	SYSTEM_CLD,
	SYSTEM_STD,
	SYSTEM_STAC,
	SYSTEM_CLAC,
	SYSTEM_PUSHF,
	SYSTEM_POPF,
	SYSTEM_SWAPGS,
	SYSTEM_READ_BASE,
	SYSTEM_WRITE_BASE,
	SYSTEM_READ_CR,
	SYSTEM_READ_SEGMENT,
	SYSTEM_PUSH_SEGMENT,
	SYSTEM_POP_RSP,
	SYSTEM_RDPKRU,
};

static bool supervisor(const struct translator *t)
{
	return (t->key & KEY_VIEW) != X86_VIEW_USER;
}

/* --- what it is --- */

/* Instructions that nothing follows: branches, and what always faults or waits. */
static bool never_goes_on(const struct guest_instruction *g)
{
	switch (g->category) {
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
		return true;
	default:
		return g->mnemonic == ZYDIS_MNEMONIC_UD0 || g->mnemonic == ZYDIS_MNEMONIC_UD1 ||
		       g->mnemonic == ZYDIS_MNEMONIC_UD2 || g->mnemonic == ZYDIS_MNEMONIC_HLT;
	}
}

static void take_call(struct guest_instruction *g, enum helper helper, unsigned size)
{
	g->kind = KIND_SYSTEM_END;
	g->system = SYSTEM_CALL;
	g->helper = helper;
	g->size = (uint16_t)size;
	g->writes = false;
	g->memory = (struct memory){.base = NO_REGISTER, .index = NO_REGISTER, .segment = NO_REGISTER};
}

static void take(struct guest_instruction *g, enum system system, bool last)
{
	g->kind = last ? KIND_SYSTEM_END : KIND_SYSTEM;
	g->system = system;
}

static bool take_register_operand(struct guest_instruction *g, unsigned which)
{
	g->uses = (uint16_t)(1u << g->operands[which].gpr);
	return true;
}

/* MOV to CR3, or from a control register that is nothing but a datum. */
static bool take_control(struct guest_instruction *g)
{
	ZydisRegister reg = g->operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER ? g->operands[1].reg : 0;

	if (g->operands[0].type == ZYDIS_OPERAND_TYPE_REGISTER && g->operands[0].reg == ZYDIS_REGISTER_CR3) {
		take_call(g, HELPER_MOV_CR3, 0);
		g->memory.base = g->operands[1].gpr;
		return true;
	}
	if (reg != ZYDIS_REGISTER_CR0 && reg != ZYDIS_REGISTER_CR2 && reg != ZYDIS_REGISTER_CR3 &&
	    reg != ZYDIS_REGISTER_CR4)
		return false;
	take(g, SYSTEM_READ_CR, false);
	return take_register_operand(g, 0);
}

static bool take_base(const struct translator *t, struct guest_instruction *g, enum system system)
{
	if (!t->cpu->features->fsgsbase || !(t->cpu->s.cr4 & X86_CR4_FSGSBASE))
		return false;
	take(g, system, false);
	return take_register_operand(g, 0);
}

static bool take_access_flag(const struct translator *t, struct guest_instruction *g, enum system system)
{
	if (!supervisor(t) || !t->cpu->features->smap)
		return false;
	take(g, system, t->cpu->s.cr4 & X86_CR4_SMAP);
	return true;
}

static bool take_privileged(struct guest_instruction *g, enum system system, const struct translator *t)
{
	if (!supervisor(t) || g->attributes & ZYDIS_ATTRIB_HAS_LOCK)
		return false;
	take(g, system, false);
	return true;
}

/* MOV of a segment register to a general one. */
static bool take_segment(struct guest_instruction *g)
{
	if (g->operands[1].type != ZYDIS_OPERAND_TYPE_REGISTER || g->operands[0].type != ZYDIS_OPERAND_TYPE_REGISTER ||
	    ZydisRegisterGetClass(g->operands[1].reg) != ZYDIS_REGCLASS_SEGMENT)
		return false;
	take(g, SYSTEM_READ_SEGMENT, false);
	return take_register_operand(g, 0);
}

/* PUSHFD, POPFD and PUSH of a segment register; 16-bit ones are the interpreter's. */
static bool take_stack32(const struct translator *t, struct guest_instruction *g)
{
	if (g->operand_width != 32 || !code32_allows(t, X86_SS, true))
		return false;
	switch (g->mnemonic) {
	case ZYDIS_MNEMONIC_PUSHFD:
		take(g, SYSTEM_PUSHF, false);
		return true;
	case ZYDIS_MNEMONIC_POPFD:
		return take_privileged(g, SYSTEM_POPF, t);
	default:
		if (g->operands[0].type != ZYDIS_OPERAND_TYPE_REGISTER ||
		    ZydisRegisterGetClass(g->operands[0].reg) != ZYDIS_REGCLASS_SEGMENT)
			return false;
		take(g, SYSTEM_PUSH_SEGMENT, false);
		return true;
	}
}

/* A call that goes on behind the instruction. */
static bool take_plain_call(struct guest_instruction *g, enum helper helper, unsigned size)
{
	take_call(g, helper, size);
	g->kind = KIND_SYSTEM;
	return true;
}

/* With limits it is the interpreter's. */
static bool flat(const struct translator *t, unsigned segment, bool write)
{
	return code32_allows(t, segment, write) && segmentation_of(t, t->key)->limit[segment] == UINT32_MAX;
}

static bool take_string(const struct translator *t, struct guest_instruction *g, enum helper helper)
{
	bool code32 = t->key & KEY_CODE32, writes = helper == HELPER_MOVS || helper == HELPER_STOS;
	int segment = helper == HELPER_MOVS || helper == HELPER_CMPS ? string_source(t, g) : NO_REGISTER;

	if (g->category != ZYDIS_CATEGORY_STRINGOP || g->address_width == 16 ||
	    !(g->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)))
		return false;
	if (code32 && (!flat(t, X86_ES, writes) || (segment >= 0 && !flat(t, (unsigned)segment, false))))
		return false;
	take_plain_call(g, helper, g->operand_width / 8);
	g->memory.segment = (int8_t)segment;
	g->memory.address32 = g->address_width == 32;
	g->memory.scale = (g->attributes & ZYDIS_ATTRIB_HAS_REPNE) != 0;
	return true;
}

static bool system_classify32(const struct translator *t, struct guest_instruction *g)
{
	switch (g->mnemonic) {
	case ZYDIS_MNEMONIC_PUSHFD:
	case ZYDIS_MNEMONIC_POPFD:
	case ZYDIS_MNEMONIC_PUSH:
		return take_stack32(t, g);
	case ZYDIS_MNEMONIC_STAC:
		return take_access_flag(t, g, SYSTEM_STAC);
	case ZYDIS_MNEMONIC_CLAC:
		return take_access_flag(t, g, SYSTEM_CLAC);
	default:
		return false;
	}
}

bool system_classify(const struct translator *t, struct guest_instruction *g)
{
	switch (g->mnemonic) {
	case ZYDIS_MNEMONIC_CLI:
		return take_privileged(g, SYSTEM_CLI, t);
	case ZYDIS_MNEMONIC_STI:
		return take_privileged(g, SYSTEM_STI, t);
	case ZYDIS_MNEMONIC_CLD:
		take(g, SYSTEM_CLD, false);
		return true;
	case ZYDIS_MNEMONIC_STD:
		take(g, SYSTEM_STD, false);
		return true;
	case ZYDIS_MNEMONIC_MOV:
		return take_segment(g) || (supervisor(t) && take_control(g));
	case ZYDIS_MNEMONIC_RDTSC:
		return take_plain_call(g, HELPER_RDTSC, 0);
	case ZYDIS_MNEMONIC_RDTSCP:
		return t->cpu->features->rdtscp && take_plain_call(g, HELPER_RDTSCP, 0);
	case ZYDIS_MNEMONIC_PAUSE:
		return !(g->attributes & ZYDIS_ATTRIB_HAS_REX) && take_plain_call(g, HELPER_PAUSE, 0);
	case ZYDIS_MNEMONIC_RDMSR:
		return supervisor(t) && take_plain_call(g, HELPER_RDMSR, 0);
	case ZYDIS_MNEMONIC_WRMSR:
		return supervisor(t) && take_plain_call(g, HELPER_WRMSR, 0);
	case ZYDIS_MNEMONIC_MOVSB:
	case ZYDIS_MNEMONIC_MOVSW:
	case ZYDIS_MNEMONIC_MOVSD:
	case ZYDIS_MNEMONIC_MOVSQ:
		return take_string(t, g, HELPER_MOVS);
	case ZYDIS_MNEMONIC_STOSB:
	case ZYDIS_MNEMONIC_STOSW:
	case ZYDIS_MNEMONIC_STOSD:
	case ZYDIS_MNEMONIC_STOSQ:
		return take_string(t, g, HELPER_STOS);
	case ZYDIS_MNEMONIC_SCASB:
	case ZYDIS_MNEMONIC_SCASW:
	case ZYDIS_MNEMONIC_SCASD:
	case ZYDIS_MNEMONIC_SCASQ:
		return take_string(t, g, HELPER_SCAS);
	case ZYDIS_MNEMONIC_CMPSB:
	case ZYDIS_MNEMONIC_CMPSW:
	case ZYDIS_MNEMONIC_CMPSD:
	case ZYDIS_MNEMONIC_CMPSQ:
		return take_string(t, g, HELPER_CMPS);
	case ZYDIS_MNEMONIC_IRET:
	case ZYDIS_MNEMONIC_IRETD:
	case ZYDIS_MNEMONIC_IRETQ:
		take_call(g, HELPER_IRET, g->operand_width / 8);
		return true;
	default:
		break;
	}
	if (t->key & KEY_CODE32)
		return system_classify32(t, g);
	switch (g->mnemonic) {
	case ZYDIS_MNEMONIC_POP:
		if (g->operands[0].type != ZYDIS_OPERAND_TYPE_REGISTER ||
		    g->operands[0].reg != ZYDIS_REGISTER_RSP)
			return false;
		take(g, SYSTEM_POP_RSP, false);
		return true;
	case ZYDIS_MNEMONIC_RDPKRU:
		if (!(t->cpu->s.cr4 & X86_CR4_PKE))
			return false;
		take(g, SYSTEM_RDPKRU, false);
		g->uses = 1u << RAX | 1u << RCX | 1u << RDX;
		return true;
	case ZYDIS_MNEMONIC_SWAPGS:
		return take_privileged(g, SYSTEM_SWAPGS, t);
	case ZYDIS_MNEMONIC_PUSHFQ:
		take(g, SYSTEM_PUSHF, false);
		return true;
	case ZYDIS_MNEMONIC_POPFQ:
		return take_privileged(g, SYSTEM_POPF, t);
	case ZYDIS_MNEMONIC_STAC:
		return take_access_flag(t, g, SYSTEM_STAC);
	case ZYDIS_MNEMONIC_CLAC:
		return take_access_flag(t, g, SYSTEM_CLAC);
	case ZYDIS_MNEMONIC_RDFSBASE:
	case ZYDIS_MNEMONIC_RDGSBASE:
		return take_base(t, g, SYSTEM_READ_BASE);
	case ZYDIS_MNEMONIC_WRFSBASE:
	case ZYDIS_MNEMONIC_WRGSBASE:
		return take_base(t, g, SYSTEM_WRITE_BASE);
	case ZYDIS_MNEMONIC_SYSCALL:
		take_call(g, HELPER_SYSCALL, 0);
		return true;
	case ZYDIS_MNEMONIC_SYSRET:
		take_call(g, HELPER_SYSRET, g->rex_w ? 8 : 4);
		return true;
	default:
		return false;
	}
}

void system_classify_rest(struct guest_instruction *g)
{
	bool last = never_goes_on(g);

	take_call(g, HELPER_INTERPRET, 0);
	if (!last)
		g->kind = KIND_SYSTEM;
}

void system_flags(struct guest_instruction *g)
{
	g->flags_read = g->system == SYSTEM_CALL || g->system == SYSTEM_PUSHF ? ALL_FLAGS : 0;
	g->flags_killed = g->system == SYSTEM_POPF ? ALL_FLAGS : 0;
	if (g->system == SYSTEM_CALL)
		g->uses = 0xffff;
	g->vector = false;
}

/* --- flags --- */

static uint32_t *rflags(struct lowering *l)
{
	return (uint32_t *)&l->t->cpu->s.rflags;
}

/* Group 1 on a doubleword in memory: 1 or, 4 and. */
static void alu_abs(struct lowering *l, unsigned operation, const void *address, uint32_t value)
{
	op_abs(&l->e, false, 0x81, operation, address);
	put32(&l->e, value);
}

static void test_abs(struct lowering *l, const volatile void *address, uint32_t value)
{
	op_abs(&l->e, false, 0xf7, 0, address);
	put32(&l->e, value);
}

static void set_byte(struct lowering *l, const void *address, uint8_t value)
{
	op_abs(&l->e, false, 0xc6, 0, address);
	put8(&l->e, value);
}

/* Changes bits of s.rflags that are not status flags. */
static void change_rflags(struct lowering *l, struct guest_instruction *g, unsigned operation, uint32_t value)
{
	if (g->flags_live)
		save_flags(l, 0);
	alu_abs(l, operation, rflags(l), value);
	if (g->flags_live)
		restore_flags(l);
}

/* With IF just set: leaves at rip when an event waits. Flags are in memory or dead. */
static void check_events(struct lowering *l, uint64_t rip)
{
	op_abs(&l->e, false, 0x83, 7, &l->t->cpu->vcpu.events);
	put8(&l->e, 0);
	branch_cold(l, CONDITION_NE, new_site(l, SITE_HEAD, rip));
}

/* --- calls --- */

static void lower_call(struct lowering *l, struct guest_instruction *g)
{
	struct translator *t = l->t;
	uint32_t site;

	bring_back(l, l->parked);
	site = new_site(l, SITE_CALL, g->rip);
	t->sites[site].helper = (uint8_t)g->helper;
	t->sites[site].length = g->length;
	t->sites[site].size = (uint8_t)g->size;
	t->sites[site].base = g->memory.base;
	t->sites[site].segment = g->memory.segment;
	t->sites[site].address32 = g->memory.address32;
	t->sites[site].scale = g->memory.scale;
	store_abs_imm32(&l->e, &t->site, site);
	jump_to(&l->e, t->call_stub[l->code32][g->flags_live != 0]);
	if (g->kind == KIND_SYSTEM)
		t->sites[site].resume = l->e.at;
}

/* --- in line --- */

/* The instruction behind it has to be one that cannot lead elsewhere before the shadow has ended. */
static bool shadow_fits(const struct lowering *l)
{
	if (l->at + 1 == l->count)
		return false;
	switch (l->list[l->at + 1].kind) {
	case KIND_COPY:
	case KIND_SKIP:
	case KIND_MEMORY:
	case KIND_LEA_RIP:
	case KIND_PUSH:
	case KIND_PUSH_IMM:
	case KIND_PUSH_MEMORY:
	case KIND_POP:
	case KIND_LEAVE:
		return true;
	case KIND_SYSTEM:
		return l->list[l->at + 1].system == SYSTEM_SWAPGS || l->list[l->at + 1].system == SYSTEM_READ_CR;
	default:
		return false;
	}
}

static void lower_sti(struct lowering *l, struct guest_instruction *g)
{
	uint32_t over;

	if (!shadow_fits(l)) {
		g->helper = HELPER_INTERPRET;
		lower_call(l, g);
		return;
	}
	if (g->flags_live)
		save_flags(l, 0);
	test_abs(l, rflags(l), X86_IF);
	over = branch_ahead(&l->e, CONDITION_NE);
	alu_abs(l, 1, rflags(l), X86_IF);
	set_byte(l, &l->t->cpu->s.shadow_sti, 1);
	patch32(l->e.base, over, l->e.at);
	if (g->flags_live)
		restore_flags(l);
	l->shadow = true;
}

void system_end_shadow(struct lowering *l, const struct guest_instruction *g)
{
	l->shadow = false;
	if (g->flags_live_after)
		save_flags(l, 0);
	set_byte(l, &l->t->cpu->s.shadow_sti, 0);
	check_events(l, g->rip + g->length);
	if (g->flags_live_after)
		restore_flags(l);
}

static void lower_access_flag(struct lowering *l, struct guest_instruction *g, bool set)
{
	struct x86_cpu *cpu = l->t->cpu;
	uint32_t site;

	if (!(cpu->s.cr4 & X86_CR4_SMAP)) {
		change_rflags(l, g, set ? 1 : 4, set ? X86_AC : ~(uint32_t)X86_AC);
		return;
	}
	if (g->flags_live)
		save_flags(l, 0);
	alu_abs(l, set ? 1 : 4, rflags(l), set ? X86_AC : ~(uint32_t)X86_AC);
	op_abs(&l->e, true, 0xc7, 0, &cpu->tlb_active);
	put32(&l->e, low_address(cpu->tlb[set ? X86_VIEW_SUPERVISOR_AC : X86_VIEW_SUPERVISOR]));
	bring_back(l, l->parked);
	site = l->t->site_count;
	link_to(l, g->rip + g->length, true);
	l->t->sites[site].changes_key = true;
}

/* SDM 2B PUSHF: VM and RF are pushed as 0. */
static void lower_pushf(struct lowering *l, struct guest_instruction *g)
{
	struct emitter *e = &l->e;
	struct place place;
	unsigned b;

	save_flags_rax(l);
	b = scratch(l, 1u << RAX);
	put_rex(e, false, RAX, (int)b, -1);
	PUT(e, 0x89, (uint8_t)(0xc0 | (b & 7))); /* mov b32, eax */
	put_rex(e, false, 0, (int)b, -1);
	PUT(e, 0xc1, (uint8_t)(0xe8 | (b & 7)), 8); /* shr b32, 8 */
	alu_imm(e, false, 4, b, X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF);
	alu_imm(e, false, 4, RAX, 1);
	PUT(e, 0xc1, 0xe0, 11); /* shl eax, 11: OF */
	put_rex(e, false, RAX, (int)b, -1);
	PUT(e, 0x09, (uint8_t)(0xc0 | (b & 7))); /* or b32, eax */
	op_abs(e, false, 0x8b, RAX, rflags(l));
	alu_imm(e, false, 4, RAX, (int32_t) ~(uint32_t)(X86_STATUS_FLAGS | X86_VM | X86_RF));
	put_rex(e, false, RAX, (int)b, -1);
	PUT(e, 0x09, (uint8_t)(0xc0 | (b & 7))); /* or b32, eax */
	store_abs(e, b, &l->t->datum);
	place = lower_stack_push(l, false, false, 0);
	l->access.flags_in_memory = true; /* since before */
	b = scratch(l, bit(place.base) | bit(place.index));
	load_abs(e, b, &l->t->datum);
	lower_move(l, 0x89, b, &place);
	lower_stack_move(l, -(int32_t)l->word);
	if (g->flags_live_after)
		restore_flags(l);
}

/* When nothing changes but status flags, IF and DF; otherwise it is the interpreter's. */
static void lower_popf(struct lowering *l, struct guest_instruction *g)
{
	const uint32_t changes = X86_IF | X86_DF, same = X86_TF | X86_IOPL | X86_NT | X86_AC | X86_ID;
	struct place place = lower_stack_top(l, false, false);
	unsigned a = memory_take(l, &place), b;
	struct emitter *e = &l->e;
	uint32_t over, site;

	lower_move(l, 0x8b, a, &place);
	b = scratch(l, (uint16_t)(1u << a));
	move_reg(e, b, a);
	op_abs(e, false, 0x33, b, rflags(l)); /* xor b32, [rflags] */
	put_rex(e, false, 0, (int)b, -1);
	PUT(e, 0xf7, (uint8_t)(0xc0 | (b & 7))); /* test b32, same */
	put32(e, same);
	site = new_site(l, SITE_INTERPRET, g->rip);
	branch_cold(l, CONDITION_NE, site);
	if (g->flags_live_after) {
		move_reg(e, b, a);
		put_rex(e, false, 0, (int)b, -1);
		PUT(e, 0xc1, (uint8_t)(0xe0 | (b & 7)), 8); /* shl b32, 8 */
		put_rex(e, false, 0, (int)a, -1);
		PUT(e, 0x0f, 0xba, (uint8_t)(0xe0 | (a & 7)), 11);                       /* bt a32, 11 */
		PUT(e, (uint8_t)(0x40 | b >> 3), 0x0f, 0x92, (uint8_t)(0xc0 | (b & 7))); /* setc b8 */
		op_abs(e, false, 0x89, b, &l->t->flags);
	}
	alu_imm(e, false, 4, a, (int32_t)changes);
	op_abs(e, false, 0x8b, b, rflags(l));
	alu_imm(e, false, 4, b, (int32_t)~changes);
	put_rex(e, false, a, (int)b, -1);
	PUT(e, 0x09, (uint8_t)(0xc0 | (a & 7) << 3 | (b & 7))); /* or b32, a32 */
	op_abs(e, false, 0x89, b, rflags(l));
	lower_stack_move(l, (int32_t)l->word);
	put_rex(e, false, 0, (int)a, -1);
	PUT(e, 0xf7, (uint8_t)(0xc0 | (a & 7))); /* test a32, IF */
	put32(e, X86_IF);
	over = branch_ahead(e, CONDITION_E);
	check_events(l, g->rip + g->length);
	patch32(e->base, over, e->at);
	if (g->flags_live_after)
		restore_flags(l);
}

static void lower_swapgs(struct lowering *l)
{
	struct x86_state *s = &l->t->cpu->s;
	unsigned a = scratch(l, 0), b = scratch(l, (uint16_t)(1u << a));

	load_abs(&l->e, a, &s->seg[X86_GS].base);
	load_abs(&l->e, b, &s->kernel_gs_base);
	store_abs(&l->e, a, &s->kernel_gs_base);
	store_abs(&l->e, b, &s->seg[X86_GS].base);
}

static uint64_t *base_of(struct lowering *l, const struct guest_instruction *g)
{
	bool fs = g->mnemonic == ZYDIS_MNEMONIC_RDFSBASE || g->mnemonic == ZYDIS_MNEMONIC_WRFSBASE;

	return &l->t->cpu->s.seg[fs ? X86_FS : X86_GS].base;
}

static void lower_read_base(struct lowering *l, struct guest_instruction *g)
{
	unsigned reg = (unsigned)g->operands[0].gpr;

	op_abs(&l->e, g->operand_width == 64, 0x8b, reg, base_of(l, g));
	l->parked &= (uint16_t) ~(1u << reg);
}

/* #GP for an address that is not canonical is the interpreter's. */
static void lower_write_base(struct lowering *l, struct guest_instruction *g)
{
	unsigned reg = (unsigned)g->operands[0].gpr, a;
	uint8_t spare = l->t->cpu->s.cr4 & X86_CR4_LA57 ? 7 : 16;
	struct emitter *e = &l->e;

	bring_back(l, (uint16_t)(1u << reg));
	if (g->flags_live)
		save_flags(l, (uint16_t)(1u << reg));
	a = scratch(l, (uint16_t)(1u << reg));
	if (g->operand_width == 64) {
		move_reg(e, a, reg);
		PUT(e, (uint8_t)(0x48 | a >> 3), 0xc1, (uint8_t)(0xe0 | (a & 7)), spare); /* shl a, spare */
		PUT(e, (uint8_t)(0x48 | a >> 3), 0xc1, (uint8_t)(0xf8 | (a & 7)), spare); /* sar a, spare */
		PUT(e, (uint8_t)(0x48 | (reg & 8) >> 1 | a >> 3), 0x39, (uint8_t)(0xc0 | (reg & 7) << 3 | (a & 7)));
		branch_cold(l, CONDITION_NE, new_site(l, SITE_INTERPRET, g->rip));
		store_abs(e, reg, base_of(l, g));
	} else {
		put_rex(e, false, reg, (int)a, -1);
		PUT(e, 0x89, (uint8_t)(0xc0 | (reg & 7) << 3 | (a & 7))); /* mov a32, reg32 */
		store_abs(e, a, base_of(l, g));
	}
	if (g->flags_live)
		restore_flags(l);
}

static void lower_read_cr(struct lowering *l, struct guest_instruction *g)
{
	unsigned reg = (unsigned)g->operands[0].gpr;
	const struct x86_state *s = &l->t->cpu->s;

	switch (g->operands[1].reg) {
	case ZYDIS_REGISTER_CR0:
		load_abs(&l->e, reg, &s->cr0);
		break;
	case ZYDIS_REGISTER_CR2:
		load_abs(&l->e, reg, &s->cr2);
		break;
	case ZYDIS_REGISTER_CR3:
		load_abs(&l->e, reg, &s->cr3);
		break;
	default:
		load_abs(&l->e, reg, &s->cr4);
		break;
	}
	l->parked &= (uint16_t) ~(1u << reg);
}

/* The upper half of a 32-bit destination is cleared; one of 16 bits keeps the rest. */
static void lower_read_segment(struct lowering *l, struct guest_instruction *g)
{
	unsigned reg = (unsigned)g->operands[0].gpr;
	unsigned number = (unsigned)(g->operands[1].reg - ZYDIS_REGISTER_ES);
	const uint16_t *selector = &l->t->cpu->s.seg[number].selector;
	struct emitter *e = &l->e;

	if (g->operand_width == 16) {
		bring_back(l, (uint16_t)(1u << reg));
		put8(e, 0x66);
		op_abs(e, false, 0x8b, reg, selector);
		return;
	}
	put_rex(e, false, reg, -1, -1);
	PUT(e, 0x0f, 0xb7); /* movzx r32, word */
	put_operand(e, reg, -1, -1, 0, (int32_t)low_address(selector));
	l->parked &= (uint16_t) ~(1u << reg);
}

/* With zeroes above the selector. */
static void lower_push_segment(struct lowering *l, struct guest_instruction *g)
{
	unsigned number = (unsigned)(g->operands[0].reg - ZYDIS_REGISTER_ES), a;
	struct place place = lower_stack_push(l, g->flags_live, true, 0);
	struct emitter *e = &l->e;

	a = scratch(l, bit(place.base) | bit(place.index));
	put_rex(e, false, a, -1, -1);
	PUT(e, 0x0f, 0xb7); /* movzx a32, word */
	put_operand(e, a, -1, -1, 0, (int32_t)low_address(&l->t->cpu->s.seg[number].selector));
	lower_move(l, 0x89, a, &place);
	lower_stack_move(l, -(int32_t)l->word);
}

static void lower_pop_rsp(struct lowering *l, struct guest_instruction *g)
{
	struct place place = lower_stack_top(l, g->flags_live, true);

	lower_move(l, 0x8b, RSP, &place);
}

static void lower_rdpkru(struct lowering *l, struct guest_instruction *g)
{
	struct emitter *e = &l->e;

	bring_back(l, 1u << RCX);
	PUT(e, 0x67, 0xe3, 0x05); /* jecxz over the jump */
	new_cold(l, (struct cold){.from = jump_ahead(e), .site = new_site(l, SITE_INTERPRET, g->rip), .flags = true});
	op_abs(e, false, 0x8b, RAX, &l->t->cpu->s.pkru);
	move_imm(e, RDX, 0);
	l->parked &= (uint16_t) ~(1u << RAX | 1u << RDX);
}

void system_lower(struct lowering *l, struct guest_instruction *g)
{
	switch ((enum system)g->system) {
	case SYSTEM_CALL:
		lower_call(l, g);
		break;
	case SYSTEM_CLI:
		change_rflags(l, g, 4, ~(uint32_t)X86_IF);
		break;
	case SYSTEM_STI:
		lower_sti(l, g);
		break;
	case SYSTEM_CLD:
		change_rflags(l, g, 4, ~(uint32_t)X86_DF);
		break;
	case SYSTEM_STD:
		change_rflags(l, g, 1, X86_DF);
		break;
	case SYSTEM_STAC:
		lower_access_flag(l, g, true);
		break;
	case SYSTEM_CLAC:
		lower_access_flag(l, g, false);
		break;
	case SYSTEM_PUSHF:
		lower_pushf(l, g);
		break;
	case SYSTEM_POPF:
		lower_popf(l, g);
		break;
	case SYSTEM_SWAPGS:
		lower_swapgs(l);
		break;
	case SYSTEM_READ_BASE:
		lower_read_base(l, g);
		break;
	case SYSTEM_WRITE_BASE:
		lower_write_base(l, g);
		break;
	case SYSTEM_READ_CR:
		lower_read_cr(l, g);
		break;
	case SYSTEM_READ_SEGMENT:
		lower_read_segment(l, g);
		break;
	case SYSTEM_PUSH_SEGMENT:
		lower_push_segment(l, g);
		break;
	case SYSTEM_POP_RSP:
		lower_pop_rsp(l, g);
		break;
	case SYSTEM_RDPKRU:
		lower_rdpkru(l, g);
		break;
	}
}

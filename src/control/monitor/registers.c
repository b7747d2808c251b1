/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control/monitor/registers.h"

#include "base/util.h"
#include "control/monitor/monitor_impl.h"
#include "core/engine.h"

#include <stdio.h>
#include <stdlib.h>

#define EFER_LMA (1u << 10)

struct vcpu *registers_vcpu(const struct command_call *call)
{
	unsigned index = call->monitor ? call->monitor->cpu : 0;

	return call->machine->vcpus[index < call->machine->vcpu_count ? index : 0];
}

static void copy_state(struct vcpu *vcpu, void *opaque)
{
	vcpu->engine->ops->get_state(vcpu, opaque);
}

struct x86_state *registers_state(struct machine *machine, struct vcpu *vcpu)
{
	struct x86_state *state = aligned_alloc(64, align_up(sizeof(*state), 64));

	if (!state)
		abort();
	memset(state, 0, sizeof(*state));
	machine_vcpu_call(machine, vcpu, copy_state, state);
	return state;
}

static const char *const gpr_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					  "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
static const char *const segment_names[X86_SEGMENTS] = {"es", "cs", "ss", "ds", "fs", "gs"};

/* "cs", "cs.base", "cs.limit". */
static bool find_segment(const struct x86_state *s, const char *name, uint64_t *value)
{
	for (size_t i = 0; i < X86_SEGMENTS; i++) {
		const char *part = name + strlen(segment_names[i]);

		if (strncmp(name, segment_names[i], strlen(segment_names[i])))
			continue;
		if (!*part)
			*value = s->seg[i].selector;
		else if (strcmp(part, ".base") == 0)
			*value = s->seg[i].base;
		else if (strcmp(part, ".limit") == 0)
			*value = s->seg[i].limit;
		else
			return false;
		return true;
	}
	return false;
}

static bool find_value(const struct x86_state *s, const char *name, uint64_t *value)
{
	const struct {
		const char *name;
		uint64_t value;
	} others[] = {{"pc", s->rip + s->seg[X86_CS].base}, /* linear, as in qemu */
		      {"rip", s->rip},
		      {"eip", (uint32_t)s->rip},
		      {"rflags", s->rflags},
		      {"eflags", (uint32_t)s->rflags},
		      {"cr0", s->cr0},
		      {"cr2", s->cr2},
		      {"cr3", s->cr3},
		      {"cr4", s->cr4},
		      {"cr8", s->cr8},
		      {"efer", s->efer}};

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		if (strcmp(name, others[i].name) == 0) {
			*value = others[i].value;
			return true;
		}
	}
	for (size_t i = 0; i < 16; i++) {
		bool low = name[0] == 'e' && i < 8 && strcmp(name + 1, gpr_names[i] + 1) == 0;

		if (low || strcmp(name, gpr_names[i]) == 0) {
			*value = low ? (uint32_t)s->gpr[i] : s->gpr[i];
			return true;
		}
	}
	return find_segment(s, name, value);
}

bool register_value(struct command_call *call, const char *name, uint64_t *value)
{
	struct x86_state *state;
	bool found;

	if (!call->machine)
		return false;
	state = registers_state(call->machine, registers_vcpu(call));
	found = find_value(state, name, value);
	free(state);
	return found;
}

static void show_general(struct text *text, const struct x86_state *s, bool wide)
{
	static const uint8_t order[16] = {X86_RAX, X86_RBX, X86_RCX, X86_RDX, X86_RSI, X86_RDI, X86_RBP, X86_RSP,
					  8,       9,       10,      11,      12,      13,      14,      15};

	for (size_t i = 0; i < (wide ? 16 : 8); i++) {
		char name[4];

		snprintf(name, sizeof(name), "%s", gpr_names[order[i]]);
		if (order[i] < 8 && !wide)
			name[0] = 'e';
		for (char *c = name; *c; c++)
			*c = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
		if (wide)
			text_printf(text, "%-3s=%016llx%s", name, (unsigned long long)s->gpr[order[i]],
				    i % 4 == 3 ? "\n" : " ");
		else
			text_printf(text, "%-3s=%08x%s", name, (uint32_t)s->gpr[order[i]], i % 4 == 3 ? "\n" : " ");
	}
}

static void show_flags(struct text *text, const struct x86_state *s, bool wide, bool halted)
{
	static const struct {
		uint32_t bit;
		char letter;
	} flags[] = {{1u << 10, 'D'}, {1u << 11, 'O'}, {1u << 7, 'S'}, {1u << 6, 'Z'},
		     {1u << 4, 'A'},  {1u << 2, 'P'},  {1u, 'C'}};

	if (wide)
		text_printf(text, "RIP=%016llx RFL=%08x [", (unsigned long long)s->rip, (uint32_t)s->rflags);
	else
		text_printf(text, "EIP=%08x EFL=%08x [", (uint32_t)s->rip, (uint32_t)s->rflags);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		text_printf(text, "%c", s->rflags & flags[i].bit ? flags[i].letter : '-');
	text_printf(text, "] CPL=%u II=%u A20=1 SMM=0 HLT=%u\n", s->seg[X86_SS].attr >> X86_SEG_DPL_SHIFT & 3,
		    s->shadow_sti || s->shadow_ss, halted);
}

static void show_segment(struct text *text, const char *name, const struct x86_segment *segment, bool wide, bool system,
			 bool protected)
{
	uint32_t attr = segment->attr, flags = (attr & 0xf0ff) << 8 & 0xf0ff00;
	uint32_t type = attr & X86_SEG_TYPE;

	/* qemu prints the descriptor's second word; the limit's upper bits stand in it. */
	flags |= segment->limit & 0xf0000;
	if (wide)
		text_printf(text, "%-3s=%04x %016llx %08x %08x", name, segment->selector,
			    (unsigned long long)segment->base, segment->limit, flags);
	else
		text_printf(text, "%-3s=%04x %08x %08x %08x", name, segment->selector, (uint32_t)segment->base,
			    segment->limit, flags);
	if (!protected || attr & X86_SEG_UNUSABLE || !(attr & X86_SEG_P)) {
		text_printf(text, "\n");
		return;
	}
	text_printf(text, " DPL=%u ", attr >> X86_SEG_DPL_SHIFT & 3);
	if (system || !(attr & X86_SEG_S)) {
		static const char *const wide_types[16] = {"Reserved",   "Reserved",  "LDT",       "Reserved",
							   "Reserved",   "Reserved",  "Reserved",  "Reserved",
							   "Reserved",   "TSS64-avl", "Reserved",  "TSS64-busy",
							   "CallGate64", "Reserved",  "IntGate64", "TrapGate64"};
		static const char *const types[16] = {"Reserved",   "TSS16-avl", "LDT",       "TSS16-busy",
						      "CallGate16", "TaskGate",  "IntGate16", "TrapGate16",
						      "Reserved",   "TSS32-avl", "Reserved",  "TSS32-busy",
						      "CallGate32", "Reserved",  "IntGate32", "TrapGate32"};

		text_printf(text, "%s", wide ? wide_types[type] : types[type]);
	} else if (type & 8) {
		text_printf(text, "%s [%c%c%c",
			    attr & X86_SEG_L    ? "CS64"
			    : attr & X86_SEG_DB ? "CS32"
						: "CS16",
			    type & 4 ? 'C' : '-', type & 2 ? 'R' : '-', type & 1 ? 'A' : '-');
		text_printf(text, "]");
	} else {
		text_printf(text, "%s [%c%c%c]", attr & X86_SEG_DB || wide ? "DS  " : "DS16", type & 4 ? 'E' : '-',
			    type & 2 ? 'W' : '-', type & 1 ? 'A' : '-');
	}
	text_printf(text, "\n");
}

static void show_system(struct text *text, const struct x86_state *s, bool wide)
{
	bool protected = s->cr0 & 1;

	for (size_t i = 0; i < X86_SEGMENTS; i++) {
		static const char *const names[] = {"ES ", "CS ", "SS ", "DS ", "FS ", "GS "};

		show_segment(text, names[i], &s->seg[i], wide, false, protected);
	}
	show_segment(text, "LDT", &s->ldtr, wide, true, protected);
	show_segment(text, "TR ", &s->tr, wide, true, protected);
	if (wide) {
		text_printf(text, "GDT=     %016llx %08x\nIDT=     %016llx %08x\n", (unsigned long long)s->gdtr.base,
			    s->gdtr.limit, (unsigned long long)s->idtr.base, s->idtr.limit);
		text_printf(text, "CR0=%08x CR2=%016llx CR3=%016llx CR4=%08x\n", (uint32_t)s->cr0,
			    (unsigned long long)s->cr2, (unsigned long long)s->cr3, (uint32_t)s->cr4);
	} else {
		text_printf(text, "GDT=     %08x %08x\nIDT=     %08x %08x\n", (uint32_t)s->gdtr.base, s->gdtr.limit,
			    (uint32_t)s->idtr.base, s->idtr.limit);
		text_printf(text, "CR0=%08x CR2=%08x CR3=%08x CR4=%08x\n", (uint32_t)s->cr0, (uint32_t)s->cr2,
			    (uint32_t)s->cr3, (uint32_t)s->cr4);
	}
	for (size_t i = 0; i < 4; i++)
		text_printf(text, "DR%zu=%016llx ", i, (unsigned long long)s->dr[i]);
	text_printf(text, "\nDR6=%016llx DR7=%016llx\nEFER=%016llx\n", (unsigned long long)s->dr6,
		    (unsigned long long)s->dr7, (unsigned long long)s->efer);
}

static void show_fpu(struct text *text, const struct x86_fpu *f, bool wide)
{
	text_printf(text, "FCW=%04x FSW=%04x [ST=%u] FTW=%02x MXCSR=%08x\n", f->fcw, f->fsw & ~0x3800u,
		    f->fsw >> 11 & 7, f->ftw, f->mxcsr);
	for (size_t i = 0; i < 8; i++)
		text_printf(text, "FPR%zu=%016llx %04x%s", i, (unsigned long long)load_le64(f->st[i]),
			    load_le16(f->st[i] + 8), i % 2 ? "\n" : " ");
	for (size_t i = 0; i < (wide ? 16 : 8); i++)
		text_printf(text, "XMM%02zu=%016llx %016llx%s", i, (unsigned long long)load_le64(f->vector[i] + 8),
			    (unsigned long long)load_le64(f->vector[i]), i % 2 ? "\n" : " ");
}

void registers_show(struct text *text, const struct x86_state *s, bool halted)
{
	bool wide = s->efer & EFER_LMA && s->seg[X86_CS].attr & X86_SEG_L;

	show_general(text, s, wide);
	show_flags(text, s, wide, halted);
	show_system(text, s, wide);
	show_fpu(text, &s->fpu, wide);
}

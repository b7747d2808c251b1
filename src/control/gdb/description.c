/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The target description made for this CPU (gdb's manual, G.5.6 i386 Features): the standard features core, sse,
 * segments and avx, and the system registers in qemu's names. A register's number is its place here. A CPU with long
 * mode is described as x86-64 in every mode, as in qemu: gdb changes its mind only when it is told to ask again. Then
 * (Qxuni.Description) it can also be given the description of the mode that the CPU is in, by which gdb disassembles
 * 16-bit and 32-bit code as what it is.
 */
#include "control/gdb/registers.h"

#include "base/util.h"
#include "core/engine.h"

#include <stdio.h>
#include <stdlib.h>

enum feature { CORE, SSE, SEGMENTS, SYSTEM, AVX, FEATURES };
enum when { ALWAYS, WIDE, NARROW };

static const char *const feature_names[FEATURES] = {
	[CORE] = "org.gnu.gdb.i386.core",         [SSE] = "org.gnu.gdb.i386.sse",
	[SEGMENTS] = "org.gnu.gdb.i386.segments", [SYSTEM] = "org.qemu.gdb.i386.sys.regs",
	[AVX] = "org.gnu.gdb.i386.avx",
};

static const char *const architecture_names[] = {
	[GDB_I8086] = "i8086", [GDB_I386] = "i386", [GDB_X86_64] = "i386:x86-64"};

/* A row is `count` registers whose indices follow each other; %u in the name is their number. */
struct row {
	enum feature feature;
	enum when when;
	const char *name, *type, *group;
	uint16_t bits;
	enum gdb_register_kind kind;
	uint8_t index, count;
};

static const struct row rows[] = {
	{CORE, WIDE, "rax", "int64", NULL, 64, GPR, X86_RAX, 1},
	{CORE, WIDE, "rbx", "int64", NULL, 64, GPR, X86_RBX, 1},
	{CORE, WIDE, "rcx", "int64", NULL, 64, GPR, X86_RCX, 1},
	{CORE, WIDE, "rdx", "int64", NULL, 64, GPR, X86_RDX, 1},
	{CORE, WIDE, "rsi", "int64", NULL, 64, GPR, X86_RSI, 1},
	{CORE, WIDE, "rdi", "int64", NULL, 64, GPR, X86_RDI, 1},
	{CORE, WIDE, "rbp", "data_ptr", NULL, 64, GPR, X86_RBP, 1},
	{CORE, WIDE, "rsp", "data_ptr", NULL, 64, GPR, X86_RSP, 1},
	{CORE, WIDE, "r%u", "int64", NULL, 64, GPR, X86_R8, 8},
	{CORE, WIDE, "rip", "code_ptr", NULL, 64, RIP, 0, 1},
	{CORE, NARROW, "eax", "int32", NULL, 32, GPR, X86_RAX, 1},
	{CORE, NARROW, "ecx", "int32", NULL, 32, GPR, X86_RCX, 1},
	{CORE, NARROW, "edx", "int32", NULL, 32, GPR, X86_RDX, 1},
	{CORE, NARROW, "ebx", "int32", NULL, 32, GPR, X86_RBX, 1},
	{CORE, NARROW, "esp", "data_ptr", NULL, 32, GPR, X86_RSP, 1},
	{CORE, NARROW, "ebp", "data_ptr", NULL, 32, GPR, X86_RBP, 1},
	{CORE, NARROW, "esi", "int32", NULL, 32, GPR, X86_RSI, 1},
	{CORE, NARROW, "edi", "int32", NULL, 32, GPR, X86_RDI, 1},
	{CORE, NARROW, "eip", "code_ptr", NULL, 32, RIP, 0, 1},
	{CORE, ALWAYS, "eflags", "xuni_eflags", NULL, 32, FLAGS, 0, 1},
	{CORE, ALWAYS, "cs", "int32", NULL, 32, SELECTOR, X86_CS, 1},
	{CORE, ALWAYS, "ss", "int32", NULL, 32, SELECTOR, X86_SS, 1},
	{CORE, ALWAYS, "ds", "int32", NULL, 32, SELECTOR, X86_DS, 1},
	{CORE, ALWAYS, "es", "int32", NULL, 32, SELECTOR, X86_ES, 1},
	{CORE, ALWAYS, "fs", "int32", NULL, 32, SELECTOR, X86_FS, 1},
	{CORE, ALWAYS, "gs", "int32", NULL, 32, SELECTOR, X86_GS, 1},
	{CORE, ALWAYS, "st%u", "i387_ext", NULL, 80, ST, 0, 8},
	{CORE, ALWAYS, "fctrl", "int", "float", 32, FPU, FCTRL, 1},
	{CORE, ALWAYS, "fstat", "int", "float", 32, FPU, FSTAT, 1},
	{CORE, ALWAYS, "ftag", "int", "float", 32, FPU, FTAG, 1},
	{CORE, ALWAYS, "fiseg", "int", "float", 32, FPU, FISEG, 1},
	{CORE, ALWAYS, "fioff", "int", "float", 32, FPU, FIOFF, 1},
	{CORE, ALWAYS, "foseg", "int", "float", 32, FPU, FOSEG, 1},
	{CORE, ALWAYS, "fooff", "int", "float", 32, FPU, FOOFF, 1},
	{CORE, ALWAYS, "fop", "int", "float", 32, FPU, FOP, 1},
	{SSE, WIDE, "xmm%u", "vec128", NULL, 128, XMM, 0, 16},
	{SSE, NARROW, "xmm%u", "vec128", NULL, 128, XMM, 0, 8},
	{SSE, ALWAYS, "mxcsr", "xuni_mxcsr", "vector", 32, MXCSR, 0, 1},
	{SEGMENTS, WIDE, "fs_base", "int", NULL, 64, BASE, X86_FS, 1},
	{SEGMENTS, WIDE, "gs_base", "int", NULL, 64, BASE, X86_GS, 1},
	{SYSTEM, WIDE, "k_gs_base", "int64", NULL, 64, KERNEL_GS, 0, 1},
	{SYSTEM, NARROW, "fs_base", "int32", NULL, 32, BASE, X86_FS, 1},
	{SYSTEM, NARROW, "gs_base", "int32", NULL, 32, BASE, X86_GS, 1},
	{SYSTEM, ALWAYS, "cr0", "xuni_cr0", NULL, 64, CR, 0, 1},
	{SYSTEM, ALWAYS, "cr2", "int64", NULL, 64, CR, 2, 1},
	{SYSTEM, ALWAYS, "cr3", "int64", NULL, 64, CR, 3, 1},
	{SYSTEM, ALWAYS, "cr4", "xuni_cr4", NULL, 64, CR, 4, 1},
	{SYSTEM, WIDE, "cr8", "int64", NULL, 64, CR, 8, 1},
	{SYSTEM, ALWAYS, "efer", "xuni_efer", NULL, 64, EFER, 0, 1},
	{SYSTEM, ALWAYS, "cs_base", "int64", NULL, 64, BASE, X86_CS, 1},
	{SYSTEM, ALWAYS, "ss_base", "int64", NULL, 64, BASE, X86_SS, 1},
	{SYSTEM, ALWAYS, "ds_base", "int64", NULL, 64, BASE, X86_DS, 1},
	{SYSTEM, ALWAYS, "es_base", "int64", NULL, 64, BASE, X86_ES, 1},
	{AVX, WIDE, "ymm%uh", "uint128", NULL, 128, YMM_HIGH, 0, 16},
	{AVX, NARROW, "ymm%uh", "uint128", NULL, 128, YMM_HIGH, 0, 8},
};

struct flag {
	const char *name;
	uint8_t first, last;
};

static const struct flag eflags[] = {
	{"CF", 0, 0},   {"PF", 2, 2},   {"AF", 4, 4},    {"ZF", 6, 6},     {"SF", 7, 7},   {"TF", 8, 8},
	{"IF", 9, 9},   {"DF", 10, 10}, {"OF", 11, 11},  {"IOPL", 12, 13}, {"NT", 14, 14}, {"RF", 16, 16},
	{"VM", 17, 17}, {"AC", 18, 18}, {"VIF", 19, 19}, {"VIP", 20, 20},  {"ID", 21, 21}, {0}};
static const struct flag cr0_flags[] = {{"PE", 0, 0},   {"MP", 1, 1},   {"EM", 2, 2},   {"TS", 3, 3},
					{"ET", 4, 4},   {"NE", 5, 5},   {"WP", 16, 16}, {"AM", 18, 18},
					{"NW", 29, 29}, {"CD", 30, 30}, {"PG", 31, 31}, {0}};
static const struct flag cr4_flags[] = {{"VME", 0, 0},          {"PVI", 1, 1},
					{"TSD", 2, 2},          {"DE", 3, 3},
					{"PSE", 4, 4},          {"PAE", 5, 5},
					{"MCE", 6, 6},          {"PGE", 7, 7},
					{"PCE", 8, 8},          {"OSFXSR", 9, 9},
					{"OSXMMEXCPT", 10, 10}, {"UMIP", 11, 11},
					{"LA57", 12, 12},       {"VMXE", 13, 13},
					{"SMXE", 14, 14},       {"FSGSBASE", 16, 16},
					{"PCIDE", 17, 17},      {"OSXSAVE", 18, 18},
					{"SMEP", 20, 20},       {"SMAP", 21, 21},
					{"PKE", 22, 22},        {0}};
static const struct flag efer_flags[] = {{"SCE", 0, 0},     {"LME", 8, 8},    {"LMA", 10, 10},
					 {"NXE", 11, 11},   {"SVME", 12, 12}, {"LMSLE", 13, 13},
					 {"FFXSR", 14, 14}, {"TCE", 15, 15},  {0}};
static const struct flag mxcsr_flags[] = {{"IE", 0, 0},   {"DE", 1, 1},   {"ZE", 2, 2},   {"OE", 3, 3},   {"UE", 4, 4},
					  {"PE", 5, 5},   {"DAZ", 6, 6},  {"IM", 7, 7},   {"DM", 8, 8},   {"ZM", 9, 9},
					  {"OM", 10, 10}, {"UM", 11, 11}, {"PM", 12, 12}, {"FZ", 15, 15}, {0}};

static void put_flags(FILE *to, const char *id, unsigned bytes, const struct flag *flags)
{
	fprintf(to, "<flags id=\"%s\" size=\"%u\">", id, bytes);
	for (; flags->name; flags++)
		fprintf(to, "<field name=\"%s\" start=\"%u\" end=\"%u\"/>", flags->name, flags->first, flags->last);
	fprintf(to, "</flags>");
}

static void put_vector_types(FILE *to)
{
	static const struct {
		const char *id, *type, *field;
		unsigned count;
	} views[] = {{"v4f", "ieee_single", "v4_float", 4}, {"v2d", "ieee_double", "v2_double", 2},
		     {"v16i8", "int8", "v16_int8", 16},     {"v8i16", "int16", "v8_int16", 8},
		     {"v4i32", "int32", "v4_int32", 4},     {"v2i64", "int64", "v2_int64", 2}};

	for (size_t i = 0; i < ARRAY_SIZE(views); i++)
		fprintf(to, "<vector id=\"%s\" type=\"%s\" count=\"%u\"/>", views[i].id, views[i].type, views[i].count);
	fprintf(to, "<union id=\"vec128\">");
	for (size_t i = 0; i < ARRAY_SIZE(views); i++)
		fprintf(to, "<field name=\"%s\" type=\"%s\"/>", views[i].field, views[i].id);
	fprintf(to, "<field name=\"uint128\" type=\"uint128\"/></union>");
}

static void put_types(FILE *to, enum feature feature)
{
	if (feature == CORE) {
		put_flags(to, "xuni_eflags", 4, eflags);
	} else if (feature == SSE) {
		put_vector_types(to);
		put_flags(to, "xuni_mxcsr", 4, mxcsr_flags);
	} else if (feature == SYSTEM) {
		put_flags(to, "xuni_cr0", 8, cr0_flags);
		put_flags(to, "xuni_cr4", 8, cr4_flags);
		put_flags(to, "xuni_efer", 8, efer_flags);
	}
}

static void put_row(struct gdb_registers *registers, FILE *to, const struct row *row)
{
	for (unsigned i = 0; i < row->count; i++) {
		char name[16];

		snprintf(name, sizeof(name), row->name, row->index + i);
		fprintf(to, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"", name, row->bits, row->type);
		if (row->group)
			fprintf(to, " group=\"%s\"", row->group);
		fprintf(to, " regnum=\"%u\"/>", registers->count);
		registers->slots[registers->count++] = (struct gdb_slot){
			.kind = row->kind, .index = (uint8_t)(row->index + i), .bytes = row->bits / 8};
	}
}

static void describe(struct gdb_registers *registers, FILE *to)
{
	const bool wide = registers->architecture == GDB_X86_64;

	fprintf(to,
		"<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM "
		"\"gdb-target.dtd\"><target><architecture>%s</architecture>",
		architecture_names[registers->architecture]);
	for (enum feature feature = 0; feature < FEATURES; feature++) {
		bool begun = false;

		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
			const struct row *row = &rows[i];

			if (row->feature != feature || (feature == AVX && !registers->avx) ||
			    row->when == (wide ? NARROW : WIDE))
				continue;
			if (!begun) {
				fprintf(to, "<feature name=\"%s\">", feature_names[feature]);
				put_types(to, feature);
			}
			begun = true;
			put_row(registers, to, row);
		}
		if (begun)
			fprintf(to, "</feature>");
	}
	fprintf(to, "</target>");
}

static bool cpuid_bit(const struct cpuid_table *table, uint32_t leaf, unsigned ecx_bit, unsigned edx_bit)
{
	for (size_t i = 0; i < table->count; i++)
		if (table->entries[i].leaf == leaf)
			return ecx_bit < 32 ? table->entries[i].ecx >> ecx_bit & 1
					    : table->entries[i].edx >> edx_bit & 1;
	return false;
}

/* Of the code that the CPU executes. */
static enum gdb_architecture architecture_now(struct gdb *gdb)
{
	struct x86_state *state = gdb_state(gdb->machine, gdb->cpu);
	const uint32_t code = state->seg[X86_CS].attr;
	enum gdb_architecture now = GDB_I8086;

	if (state->efer >> 10 & 1 && code & X86_SEG_L)
		now = GDB_X86_64;
	else if (code & X86_SEG_DB)
		now = GDB_I386;
	free(state);
	return now;
}

void gdb_describe(struct gdb *gdb)
{
	enum gdb_architecture architecture = GDB_I386;

	switch (gdb->description) {
	case GDB_DESCRIBE_CPU:
		if (cpuid_bit(gdb->machine->engine->env.cpuid, 0x80000001, 32, 29))
			architecture = GDB_X86_64;
		break;
	case GDB_DESCRIBE_I8086:
		architecture = GDB_I8086;
		break;
	case GDB_DESCRIBE_I386:
		break;
	case GDB_DESCRIBE_X86_64:
		architecture = GDB_X86_64;
		break;
	case GDB_DESCRIBE_MODE:
		architecture = architecture_now(gdb);
		break;
	}
	if (gdb->registers && gdb->registers->architecture == architecture)
		return;
	gdb_registers_free(gdb->registers);
	gdb->registers = gdb_registers_new(gdb->machine, architecture);
}

struct gdb_registers *gdb_registers_new(const struct machine *machine, enum gdb_architecture architecture)
{
	struct gdb_registers *registers = xcalloc(1, sizeof(*registers));
	const struct cpuid_table *cpuid = machine->engine->env.cpuid;
	FILE *to = open_memstream(&registers->xml, &registers->xml_length);

	if (!to)
		abort();
	registers->architecture = architecture;
	registers->avx = cpuid_bit(cpuid, 1, 28, 0);
	describe(registers, to);
	fclose(to);
	return registers;
}

void gdb_registers_free(struct gdb_registers *registers)
{
	if (!registers)
		return;
	free(registers->xml);
	free(registers);
}

const char *gdb_registers_xml(const struct gdb_registers *registers)
{
	return registers->xml;
}

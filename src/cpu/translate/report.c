/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the translator says of itself: counters for `info jit`, new blocks for -d in_asm,op,out_asm (guest code, what
 * was decided about each instruction, host code), and names of translated code for Linux perf
 * (tools/perf/Documentation/ jit-interface.txt: /tmp/perf-PID.map, lines "START SIZE NAME" in hexadecimal).
 */
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/decode/classify.h"
#include "cpu/translate/verify/verify.h"

#include "core/jit.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* --- counters --- */

/* What there is now is counted here, so that making and dropping code need not. */
static void count_region(const struct translator *t, const struct code_region *region, uint64_t *n)
{
	for (uint32_t i = region->blocks.first; i < region->blocks.used; i++) {
		if (t->blocks[i].dead)
			continue;
		n[JIT_BLOCKS]++;
		n[JIT_GUEST_BYTES] += t->blocks[i].interpret ? 0 : t->blocks[i].guest_bytes;
	}
	for (uint32_t i = region->sites.first; i < region->sites.used; i++)
		n[JIT_CHAINS] += t->sites[i].kind == SITE_LINK && t->sites[i].linked;
	n[JIT_CODE_BYTES] += region->code.used - region->code.first;
	n[JIT_TABLE_BYTES] += (region->sites.used - region->sites.first) * sizeof(*t->sites) +
			      (region->blocks.used - region->blocks.first) * sizeof(*t->blocks) +
			      (region->faults.used - region->faults.first) * sizeof(*t->faults);
}

void report_jit(struct vcpu *vcpu, struct jit_report *report)
{
	struct translator *t = translator_of(x86_cpu_of(vcpu));
	const struct statistics *s = &t->statistics;
	uint64_t *n = report->n;

	region_note(t);
	for (unsigned i = 0; i < REGIONS; i++)
		count_region(t, &t->regions[i], n);
	n[JIT_CODE_ROOM] += t->code_bytes;
	n[JIT_TABLE_BYTES] += sizeof(*t);
	n[JIT_TRANSLATED] += s->blocks;
	n[JIT_TRANSLATE_NS] += s->translate_ns;
	n[JIT_ENTERS] += s->enters;
	n[JIT_EVICTIONS] += s->evictions;
	n[JIT_EVICTED] += s->evicted;
	n[JIT_EVICT_NS] += s->evict_ns;
	n[JIT_EVICT_MAX_NS] = max_u64(n[JIT_EVICT_MAX_NS], s->evict_max_ns);
	n[JIT_FLUSHES] += s->flushes;
	n[JIT_TLB_FLUSHES] += t->cpu->tlb_generation;
	n[JIT_INVALIDATIONS] += s->dropped;
	n[JIT_FILLS] += s->fills;
	n[JIT_MIRRORED] += s->mirrored;
	n[JIT_EXIT_MEMORY] += s->exits[SITE_MEMORY];
	n[JIT_EXIT_INTERPRET] += s->exits[SITE_INTERPRET] + s->exits[SITE_OUTSIDE];
	n[JIT_EXIT_FAULT] += s->exits[SITE_FAULT];
	n[JIT_EXIT_LINK] += s->exits[SITE_LINK];
	n[JIT_EXIT_INDIRECT] += s->exits[SITE_INDIRECT];
	n[JIT_EXIT_HEAD] += s->exits[SITE_HEAD];
	n[JIT_EXIT_CALL] += s->exits[SITE_CALL];
	if (t->verify) {
		n[JIT_VERIFIED] += t->verify->runs;
		n[JIT_INCONCLUSIVE] += t->verify->inconclusive;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(s->interpreted); i++)
		if (s->interpreted[i])
			jit_report_share(report, i ? ZydisMnemonicGetString((ZydisMnemonic)i) : "(unreadable)",
					 s->interpreted[i]);
}

/* --- perf --- */

int report_init(struct translator *t, struct error *err)
{
	char path[64];

	if (!t->cpu->vcpu.engine->env.tuning.perf_map)
		return 0;
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
	t->perf_map = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (t->perf_map < 0)
		return error_set_errno(err, errno, "-perfmap: cannot open '%s'", path);
	return 0;
}

void report_fini(struct translator *t)
{
	if (t->perf_map >= 0)
		close(t->perf_map);
}

/* One write a line: vCPUs do not mix theirs. */
static void perf_line(struct translator *t, const struct block *block, uint32_t start, uint32_t end)
{
	static const char *const views[] = {"kernel", "user", "kernel-ac", ""};
	char line[128];
	int length = snprintf(line, sizeof(line), "%llx %x guest-%s:%llx\n",
			      (unsigned long long)(uintptr_t)(t->exec_base + start), end - start,
			      views[block->key & KEY_VIEW], (unsigned long long)block->linear);

	if (write(t->perf_map, line, (size_t)length) !=
	    length) { /* the disk is full: nothing that the guest should feel */
		close(t->perf_map);
		t->perf_map = -1;
	}
}

/* --- code as text --- */

void report_code(struct log *log, const ZydisDecoder *decoder, const uint8_t *bytes, unsigned length,
		     uint64_t address)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction insn;
	ZydisDecoder host;
	ZydisFormatter formatter;
	char text[96], hex[48];

	ZydisDecoderInit(&host, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_ATT);
	for (unsigned offset = 0; offset < length; offset += insn.length) {
		snprintf(text, sizeof(text), "(bad)");
		insn.length = 1;
		if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder ? decoder : &host, bytes + offset, length - offset, &insn, operands)))
			ZydisFormatterFormatInstruction(&formatter, &insn, operands, insn.operand_count_visible, text,
							sizeof(text), address + offset, NULL);
		else
			insn.length = 1;
		for (unsigned i = 0; i < insn.length; i++)
			snprintf(hex + 3 * i, sizeof(hex) - 3 * i, "%02x ", bytes[offset + i]);
		log_write(log, "0x%016llx:  %-45s  %s", (unsigned long long)(address + offset), hex, text);
	}
}

static const char *kind_name(enum kind kind)
{
	static const char *const names[] = {
		[KIND_INTERPRET] = "interpret",
		[KIND_COPY] = "copy",
		[KIND_SKIP] = "skip",
		[KIND_MEMORY] = "memory",
		[KIND_LEA_RIP] = "lea_rip",
		[KIND_BITS] = "bits",
		[KIND_STRING] = "string",
		[KIND_SYSTEM] = "system",
		[KIND_SYSTEM_END] = "system_end",
		[KIND_PUSH] = "push",
		[KIND_PUSH_IMM] = "push_imm",
		[KIND_PUSH_MEMORY] = "push_memory",
		[KIND_POP] = "pop",
		[KIND_LEAVE] = "leave",
		[KIND_JCC] = "jcc",
		[KIND_JCXZ] = "jcxz",
		[KIND_JMP] = "jmp",
		[KIND_CALL] = "call",
		[KIND_RET] = "ret",
		[KIND_JMP_INDIRECT] = "jmp_indirect",
		[KIND_CALL_INDIRECT] = "call_indirect",
	};

	return kind < ARRAY_SIZE(names) && names[kind] ? names[kind] : "other";
}

static void log_operations(const struct translator *t, struct log *log, const struct block *block,
			   const struct guest_instruction *list, unsigned count, uint32_t start)
{
	log_write(log, "OP:");
	log_write(log, " block at 0x%llx, physical 0x%llx, view %u%s%s%s%s%s", (unsigned long long)block->linear,
		  (unsigned long long)block->gpa, block->key & KEY_VIEW, block->key & KEY_CODE32 ? ", 32-bit" : block->key & KEY_LOW ? ", mirror with low addresses" : block->key & KEY_MIRROR ? ", mirror" : "",
		  block->key & KEY_SSE ? ", sse" : "", block->key & KEY_AVX ? ", avx" : "",
		  block->key & KEY_AVX512 ? ", avx512" : "", block->fpu ? "; loads vectors" : "");
	for (unsigned i = 0; i < count; i++) {
		const struct guest_instruction *g = &list[i];

		log_write(log, " 0x%llx: %s: %s at +0x%x; memory %s%s %u; flags live %03x, read %03x, killed %03x%s%s",
			  (unsigned long long)g->rip, ZydisMnemonicGetString((ZydisMnemonic)g->mnemonic), kind_name(g->kind),
			  g->host - start, g->reads ? "r" : "-", g->writes ? "w" : "-", g->size, g->flags_live,
			  g->flags_read, g->flags_killed, g->vector ? "; vector" : "", g->faults ? "; may fault" : "");
	}
}

static void log_block(struct translator *t, const struct block *block, const struct guest_instruction *list,
		      unsigned count, uint32_t start, uint32_t cold, uint32_t end)
{
	struct log *log = t->cpu->vcpu.engine->env.log;

	log_write(log, "----------------");
	if (log_on(log, LOG_IN_ASM)) {
		log_write(log, "IN: CPU %u", t->cpu->vcpu.index);
		for (unsigned i = 0; i < count; i++)
			report_code(log, t->decoder, list[i].bytes, list[i].length, list[i].rip);
	}
	if (log_on(log, LOG_OP))
		log_operations(t, log, block, list, count, start);
	if (!log_on(log, LOG_OUT_ASM))
		return;
	log_write(log, "OUT: [size=%u]", end - start);
	log_write(log, "  -- entries");
	for (unsigned i = 0; i <= count; i++) {
		uint32_t from = i ? list[i - 1].host : start;
		uint32_t to = i < count ? list[i].host : cold;

		if (i)
			log_write(log, "  -- guest addr 0x%016llx", (unsigned long long)list[i - 1].rip);
		report_code(log, NULL, t->write_base + from, to - from, (uintptr_t)(t->exec_base + from));
	}
	log_write(log, "  -- out of line");
	report_code(log, NULL, t->write_base + cold, end - cold, (uintptr_t)(t->exec_base + cold));
}

void report_block(struct translator *t, const struct block *block, const struct guest_instruction *list, unsigned count,
		  uint32_t start, uint32_t cold, uint32_t end)
{
	if (t->perf_map >= 0)
		perf_line(t, block, start, end);
	if (log_on(t->cpu->vcpu.engine->env.log, LOG_IN_ASM | LOG_OP | LOG_OUT_ASM))
		log_block(t, block, list, count, start, cold, end);
}

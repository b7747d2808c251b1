/* SPDX-License-Identifier: GPL-2.0-or-later */
/* `info jit`: what the translating engine has done. The first lines are qemu's. */
#include "base/util.h"
#include "control/monitor/commands.h"
#include "control/monitor/monitor_impl.h"
#include "core/engine.h"
#include "core/jit.h"

#include <stdlib.h>

enum { SHARES_SHOWN = 20 };

static void collect(struct vcpu *vcpu, void *opaque)
{
	vcpu->engine->ops->jit_report(vcpu, opaque);
}

static void describe(struct text *text, const struct jit_report *report)
{
	static const struct {
		const char *title, *name;
		enum jit_counter counter;
	} rows[] = {
		{NULL, "table bytes", JIT_TABLE_BYTES},
		{NULL, "direct jump count", JIT_CHAINS},
		{"\nStatistics:\n", "TB flush count", JIT_FLUSHES},
		{NULL, "TB invalidate count", JIT_INVALIDATIONS},
		{NULL, "TLB flushes", JIT_TLB_FLUSHES},
		{NULL, "translated blocks", JIT_TRANSLATED},
		{NULL, "evicted regions", JIT_EVICTIONS},
		{NULL, "evicted blocks", JIT_EVICTED},
		{NULL, "entries", JIT_ENTERS},
		{NULL, "memory misses", JIT_EXIT_MEMORY},
		{NULL, "memory fills", JIT_FILLS},
		{NULL, "mirrored pages", JIT_MIRRORED},
		{"\nExits:\n", "memory", JIT_EXIT_MEMORY},
		{NULL, "interpreter", JIT_EXIT_INTERPRET},
		{NULL, "host exception", JIT_EXIT_FAULT},
		{NULL, "link", JIT_EXIT_LINK},
		{NULL, "indirect branch", JIT_EXIT_INDIRECT},
		{NULL, "block head", JIT_EXIT_HEAD},
		{NULL, "system instruction", JIT_EXIT_CALL},
	};
	const uint64_t *n = report->n;

	text_printf(text, "Translation buffer state:\n");
	text_printf(text, "%-22s%llu/%llu\n", "gen code size", (unsigned long long)n[JIT_CODE_BYTES],
		    (unsigned long long)n[JIT_CODE_ROOM]);
	text_printf(text, "%-22s%llu\n", "TB count", (unsigned long long)n[JIT_BLOCKS]);
	if (n[JIT_BLOCKS])
		text_printf(text, "%-22s%llu bytes\n%-22s%llu bytes (expansion ratio: %0.1f)\n", "TB avg target size",
			    (unsigned long long)(n[JIT_GUEST_BYTES] / n[JIT_BLOCKS]), "TB avg host size",
			    (unsigned long long)(n[JIT_CODE_BYTES] / n[JIT_BLOCKS]),
			    n[JIT_GUEST_BYTES] ? (double)n[JIT_CODE_BYTES] / (double)n[JIT_GUEST_BYTES] : 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		text_printf(text, "%s%-22s%llu\n", rows[i].title ? rows[i].title : "", rows[i].name,
			    (unsigned long long)n[rows[i].counter]);
	text_printf(text, "\nTimes:\n%-22s%.3f ms\n%-22s%.3f ms (longest %.3f ms)\n", "translation",
		    (double)n[JIT_TRANSLATE_NS] / NS_PER_MS, "eviction", (double)n[JIT_EVICT_NS] / NS_PER_MS,
		    (double)n[JIT_EVICT_MAX_NS] / NS_PER_MS);
	if (n[JIT_VERIFIED])
		text_printf(text, "\nVerified:\n%-22s%llu\n%-22s%llu\n", "runs", (unsigned long long)n[JIT_VERIFIED],
			    "inconclusive", (unsigned long long)n[JIT_INCONCLUSIVE]);
	text_printf(text, "\nLeft to the interpreter:\n");
	for (unsigned i = 0; i < report->share_count && i < SHARES_SHOWN; i++)
		text_printf(text, "%-22s%llu\n", report->shares[i].name, (unsigned long long)report->shares[i].count);
}

static json_t *run_jit(struct command_call *call, struct error *err)
{
	struct machine *machine = call->machine;
	struct text text = {0};
	struct jit_report *report;

	if (!machine->engine->ops->jit_report) {
		error_set(err, ENOTSUP, "JIT information is only available with accel=translate");
		return NULL;
	}
	report = xcalloc(1, sizeof(*report));
	for (unsigned i = 0; i < machine->vcpu_count; i++)
		machine_vcpu_call(machine, machine->vcpus[i], collect, report);
	jit_report_sort(report);
	describe(&text, report);
	free(report);
	return text_result(&text);
}

const struct command commands_jit[] = {
	{"x-query-jit", "info jit", "", "show what the translating engine has done", NULL, run_jit, show_text_result},
	{0},
};

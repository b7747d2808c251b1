/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Names of CPU feature bits, word by word, with the spellings that qemu's users know (SDM 2A CPUID, AMD APM 3
 * appendix E, Linux' Documentation/virt/kvm/x86/cpuid.rst), and the booleans that engines consult at run time.
 */
#include "cpu/x86/feature_words.h"

#include "base/util.h"
#include "cpu/x86/cpu.h"
#include "cpu/x86/features.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

const struct feature_word_info feature_words[FW_COUNT] = {
	[FW_1_EDX] = {1, 0, false, CPUID_EDX, {"fpu",  "vme",   "de",   "pse",     "tsc",  "msr", "pae",  "mce",
					       "cx8",  "apic",  NULL,   "sep",     "mtrr", "pge", "mca",  "cmov",
					       "pat",  "pse36", "pn",   "clflush", NULL,   "ds",  "acpi", "mmx",
					       "fxsr", "sse",   "sse2", "ss",      "ht",   "tm",  "ia64", "pbe"}},
	[FW_1_ECX] = {1, 0, false, CPUID_ECX, {"sse3",         "pclmulqdq", "dtes64", "monitor", "ds-cpl", "vmx",
					       "smx",          "est",       "tm2",    "ssse3",   "cid",    NULL,
					       "fma",          "cx16",      "xtpr",   "pdcm",    NULL,     "pcid",
					       "dca",          "sse4.1",    "sse4.2", "x2apic",  "movbe",  "popcnt",
					       "tsc-deadline", "aes",       "xsave",  NULL,      "avx",    "f16c",
					       "rdrand",       "hypervisor"}},
	[FW_6_EAX] = {6, 0, false, CPUID_EAX, {[2] = "arat"}},
	[FW_7_EBX] = {7,
		      0,
		      true,
		      CPUID_EBX,
		      {"fsgsbase",   "tsc-adjust", "sgx",        "bmi1",     "hle",      "avx2",     "fdp-excptn-only",
		       "smep",       "bmi2",       "erms",       "invpcid",  "rtm",      NULL,       "zero-fcs-fds",
		       "mpx",        NULL,         "avx512f",    "avx512dq", "rdseed",   "adx",      "smap",
		       "avx512ifma", "pcommit",    "clflushopt", "clwb",     "intel-pt", "avx512pf", "avx512er",
		       "avx512cd",   "sha-ni",     "avx512bw",   "avx512vl"}},
	[FW_7_ECX] = {7,
		      0,
		      true,
		      CPUID_ECX,
		      {NULL,
		       "avx512vbmi",
		       "umip",
		       "pku",
		       NULL,
		       "waitpkg",
		       "avx512-vbmi2",
		       NULL,
		       "gfni",
		       "vaes",
		       "vpclmulqdq",
		       "avx512-vnni",
		       "avx512-bitalg",
		       NULL,
		       "avx512-vpopcntdq",
		       NULL,
		       "la57",
		       [22] = "rdpid",
		       [24] = "bus-lock-detect",
		       "cldemote",
		       NULL,
		       "movdiri",
		       "movdir64b",
		       NULL,
		       "sgxlc",
		       "pks"}},
	[FW_7_EDX] = {7,
		      0,
		      true,
		      CPUID_EDX,
		      {NULL,
		       NULL,
		       "avx512-4vnniw",
		       "avx512-4fmaps",
		       "fsrm",
		       [8] = "avx512-vp2intersect",
		       [10] = "md-clear",
		       [14] = "serialize",
		       [16] = "tsx-ldtrk",
		       [19] = "arch-lbr",
		       [22] = "amx-bf16",
		       "avx512-fp16",
		       "amx-tile",
		       "amx-int8",
		       "spec-ctrl",
		       "stibp",
		       "flush-l1d",
		       "arch-capabilities",
		       "core-capability",
		       "ssbd"}},
	[FW_7_1_EAX] = {7,
			1,
			true,
			CPUID_EAX,
			{[4] = "avx-vnni",
			 "avx512-bf16",
			 NULL,
			 "cmpccxadd",
			 [10] = "fzrm",
			 "fsrs",
			 "fsrc",
			 [17] = "fred",
			 "lkgs",
			 "wrmsrns",
			 [21] = "amx-fp16",
			 NULL,
			 "avx-ifma",
			 [26] = "lam"}},
	[FW_7_1_EDX] = {7,
			1,
			true,
			CPUID_EDX,
			{[4] = "avx-vnni-int8",
			 "avx-ne-convert",
			 [8] = "amx-complex",
			 [10] = "avx-vnni-int16",
			 [14] = "prefetchiti"}},
	[FW_7_2_EDX] =
		{7, 2, true, CPUID_EDX, {"intel-psfd", "ipred-ctrl", "rrsba-ctrl", "ddpd-u", "bhi-ctrl", "mcdt-no"}},
	[FW_D_1_EAX] = {0xd, 1, true, CPUID_EAX, {"xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd"}},
	[FW_80000001_EDX] = {0x80000001,
			     0,
			     false,
			     CPUID_EDX,
			     {[11] = "syscall",
			      [20] = "nx",
			      [22] = "mmxext",
			      [25] = "fxsr-opt",
			      "pdpe1gb",
			      "rdtscp",
			      NULL,
			      "lm",
			      "3dnowext",
			      "3dnow"}},
	[FW_80000001_ECX] = {0x80000001, 0, false, CPUID_ECX, {"lahf-lm",   "cmp-legacy",  "svm",
							       "extapic",   "cr8legacy",   "abm",
							       "sse4a",     "misalignsse", "3dnowprefetch",
							       "osvw",      "ibs",         "xop",
							       "skinit",    "wdt",         NULL,
							       "lwp",       "fma4",        "tce",
							       NULL,        "nodeid-msr",  NULL,
							       "tbm",       "topoext",     "perfctr-core",
							       "perfctr-nb"}},
	[FW_80000007_EBX] = {0x80000007, 0, false, CPUID_EBX, {"overflow-recov", "succor"}},
	[FW_80000007_EDX] = {0x80000007, 0, false, CPUID_EDX, {[8] = "invtsc"}},
	[FW_80000008_EBX] = {0x80000008,
			     0,
			     false,
			     CPUID_EBX,
			     {"clzero", NULL, "xsaveerptr", [9] = "wbnoinvd", [12] = "ibpb", [14] = "ibrs", "amd-stibp",
			      NULL, "stibp-always-on", [24] = "amd-ssbd", "virt-ssbd",
			      "amd-no-ssb", [28] = "amd-psfd"}},
	[FW_80000021_EAX] = {0x80000021,
			     0,
			     false,
			     CPUID_EAX,
			     {"no-nested-data-bp", "fs-gs-base-ns",
			      "lfence-always-serializing", [6] = "null-sel-clr-base", [8] = "auto-ibrs", [27] = "sbpb",
			      "ibpb-brtype", "srso-no", "srso-user-kernel-no"}},
	[FW_80000021_ECX] = {0x80000021, 0, false, CPUID_ECX, {[1] = "tsa-sq-no", "tsa-l1-no"}},
	/* Bits 0 and 3 both are "kvmclock": the old and the new MSR numbers; feature_find takes both. */
	[FW_KVM_EAX] = {0x40000001,
			0,
			false,
			CPUID_EAX,
			{"kvmclock-old", "kvm-nopiodelay", "kvm-mmu", "kvmclock", "kvm-asyncpf", "kvm-steal-time",
			 "kvm-pv-eoi", "kvm-pv-unhalt", NULL, "kvm-pv-tlb-flush", "kvm-asyncpf-vmexit", "kvm-pv-ipi",
			 "kvm-poll-control", "kvm-pv-sched-yield", "kvm-asyncpf-int", "kvm-msi-ext-dest-id",
			 "kvm-hc-map-gpa-range", "kvm-migration-control", [24] = "kvmclock-stable-bit"}},
	[FW_KVM_EDX] = {0x40000001, 0, false, CPUID_EDX, {"kvm-hint-dedicated"}},
	[FW_ARCH_CAP_LOW] = {CPUID_ARCH_CAPABILITIES,
			     0,
			     false,
			     CPUID_EAX,
			     {"rdctl-no", "ibrs-all", "rsba", "skip-l1dfl-vmentry", "ssb-no", "mds-no",
			      "pschange-mc-no", "tsx-ctrl", "taa-no", [13] = "sbdr-ssdp-no", "fbsdp-no",
			      "psdp-no", [17] = "fb-clear", [19] = "rrsba",
			      "bhi-no", [24] = "pbrsb-no", [26] = "gds-no", "rfds-no"}},
	[FW_ARCH_CAP_HIGH] = {CPUID_ARCH_CAPABILITIES, 0, false, CPUID_EDX, {[30] = "its-no"}},
};

static const struct {
	const char *alias, *name;
} aliases[] = {
	{"pni", "sse3"},
	{"pclmuldq", "pclmulqdq"},
	{"sse4-1", "sse4.1"},
	{"sse4-2", "sse4.2"},
	{"xd", "nx"},
	{"i64", "lm"},
	{"ffxsr", "fxsr-opt"},
	{"lzcnt", "abm"},
	{"cmp", "cmp-legacy"},
	{"sha", "sha-ni"},
	{"kvm-pv-clock", "kvmclock"},
	{"tscdeadline", "tsc-deadline"},
	{"nrip_save", "nrip-save"},
	{"psn", "pn"},
};

/* Compares as qemu does: '_' and '-' are the same. */
static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++) {
		char ca = *a == '_' ? '-' : (char)tolower((unsigned char)*a);
		char cb = *b == '_' ? '-' : (char)tolower((unsigned char)*b);
		if (ca != cb)
			return false;
	}
	return *a == *b;
}

bool feature_find(const char *name, enum feature_word *word, unsigned *bit)
{
	for (size_t i = 0; i < ARRAY_SIZE(aliases); i++)
		if (same_name(aliases[i].alias, name))
			name = aliases[i].name;
	for (unsigned w = 0; w < FW_COUNT; w++)
		for (unsigned b = 0; b < 32; b++)
			if (feature_words[w].names[b] && same_name(feature_words[w].names[b], name)) {
				*word = w;
				*bit = b;
				return true;
			}
	return false;
}

bool feature_has_name(const struct feature_set *set, const char *name)
{
	enum feature_word word;
	unsigned bit;
	return feature_find(name, &word, &bit) && feature_has(set, word, bit);
}

void feature_set_name(struct feature_set *set, const char *name, bool on)
{
	enum feature_word word;
	unsigned bit;
	if (!feature_find(name, &word, &bit))
		return;
	set->word[word] = (set->word[word] & ~(1u << bit)) | (uint32_t)on << bit;
}

void feature_set_list(struct feature_set *set, const char *names, bool on)
{
	while (*names) {
		char name[40];
		size_t length = strcspn(names, " ");
		snprintf(name, sizeof(name), "%.*s", (int)length, names);
		feature_set_name(set, name, on);
		names += length + (names[length] == ' ');
	}
}

void feature_set_of_table(struct feature_set *set, const struct cpuid_table *table)
{
	for (unsigned w = 0; w < FW_COUNT; w++) {
		struct cpuid_entry *entry = cpuid_find(table, feature_words[w].leaf, feature_words[w].subleaf);
		set->word[w] = entry ? *cpuid_register_of(entry, feature_words[w].reg) : 0;
	}
}

static uint64_t cr4_supported(const struct x86_features *f, const struct feature_set *set)
{
	const struct {
		bool has;
		uint64_t bit;
	} rows[] = {
		{feature_has_name(set, "vme"), X86_CR4_VME | X86_CR4_PVI},
		{feature_has_name(set, "tsc"), X86_CR4_TSD},
		{feature_has_name(set, "de"), X86_CR4_DE},
		{f->pse, X86_CR4_PSE},
		{f->pae, X86_CR4_PAE},
		{feature_has_name(set, "mce"), X86_CR4_MCE},
		{f->pge, X86_CR4_PGE},
		{true, X86_CR4_PCE},
		{feature_has_name(set, "fxsr"), X86_CR4_OSFXSR},
		{f->sse, X86_CR4_OSXMMEXCPT},
		{f->umip, X86_CR4_UMIP},
		{f->la57, X86_CR4_LA57},
		{f->fsgsbase, X86_CR4_FSGSBASE},
		{f->pcid, X86_CR4_PCIDE},
		{f->xsave, X86_CR4_OSXSAVE},
		{f->smep, X86_CR4_SMEP},
		{f->smap, X86_CR4_SMAP},
		{f->pku, X86_CR4_PKE},
	};
	uint64_t bits = 0;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].has)
			bits |= rows[i].bit;
	return bits;
}

void x86_features_from(struct x86_features *features, const struct cpuid_table *table)
{
	struct feature_set set;
	feature_set_of_table(&set, table);
	const struct {
		bool *field;
		const char *name;
	} rows[] = {
		{&features->sse, "sse"},
		{&features->sse2, "sse2"},
		{&features->sse3, "sse3"},
		{&features->ssse3, "ssse3"},
		{&features->sse41, "sse4.1"},
		{&features->sse42, "sse4.2"},
		{&features->avx, "avx"},
		{&features->avx2, "avx2"},
		{&features->fma, "fma"},
		{&features->bmi1, "bmi1"},
		{&features->bmi2, "bmi2"},
		{&features->f16c, "f16c"},
		{&features->movbe, "movbe"},
		{&features->lzcnt, "abm"},
		{&features->popcnt, "popcnt"},
		{&features->aes, "aes"},
		{&features->pclmul, "pclmulqdq"},
		{&features->sha, "sha-ni"},
		{&features->xsave, "xsave"},
		{&features->xsaveopt, "xsaveopt"},
		{&features->xsavec, "xsavec"},
		{&features->xsaves, "xsaves"},
		{&features->rdrand, "rdrand"},
		{&features->rdseed, "rdseed"},
		{&features->rdtscp, "rdtscp"},
		{&features->fsgsbase, "fsgsbase"},
		{&features->smep, "smep"},
		{&features->smap, "smap"},
		{&features->umip, "umip"},
		{&features->pcid, "pcid"},
		{&features->invpcid, "invpcid"},
		{&features->pge, "pge"},
		{&features->pse, "pse"},
		{&features->pae, "pae"},
		{&features->page1gb, "pdpe1gb"},
		{&features->nx, "nx"},
		{&features->cx16, "cx16"},
		{&features->pku, "pku"},
		{&features->adx, "adx"},
		{&features->rdpid, "rdpid"},
		{&features->clflushopt, "clflushopt"},
		{&features->x2apic, "x2apic"},
		{&features->tsc_deadline, "tsc-deadline"},
		{&features->syscall, "syscall"},
		{&features->lm, "lm"},
		{&features->mtrr, "mtrr"},
		{&features->la57, "la57"},
		{&features->avx512, "avx512f"},
		{&features->avx512dq, "avx512dq"},
		{&features->avx512bw, "avx512bw"},
		{&features->avx512cd, "avx512cd"},
		{&features->avx512vl, "avx512vl"},
		{&features->avx512ifma, "avx512ifma"},
		{&features->avx512vbmi, "avx512vbmi"},
		{&features->avx512_vbmi2, "avx512-vbmi2"},
		{&features->avx512_vnni, "avx512-vnni"},
		{&features->avx512_bitalg, "avx512-bitalg"},
		{&features->avx512_vpopcntdq, "avx512-vpopcntdq"},
		{&features->avx512_bf16, "avx512-bf16"},
		{&features->gfni, "gfni"},
		{&features->vaes, "vaes"},
		{&features->vpclmul, "vpclmulqdq"},
		{&features->auto_ibrs, "auto-ibrs"},
	};
	memset(features, 0, sizeof(*features));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		*rows[i].field = feature_has_name(&set, rows[i].name);
	features->arch_capabilities = set.word[FW_ARCH_CAP_LOW] | (uint64_t)set.word[FW_ARCH_CAP_HIGH] << 32;

	const struct cpuid_entry *entry = cpuid_find(table, 0xd, 0);
	if (features->xsave && entry)
		features->xcr0_supported = entry->eax | (uint64_t)entry->edx << 32;
	entry = cpuid_find(table, 0xd, 1);
	if (features->xsaves && entry)
		features->xss_supported = entry->ecx | (uint64_t)entry->edx << 32;
	entry = cpuid_find(table, 0x80000008, 0);
	features->phys_bits = entry ? entry->eax & 0xff : 36;
	features->linear_bits = entry ? entry->eax >> 8 & 0xff : 32;
	features->cr4_reserved = ~cr4_supported(features, &set);
}

char *x86_cpu_help(void)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&text, &length);
	if (!out)
		return xstrdup("");
	fputs("Available CPUs:\n", out);
	for (const struct cpu_model *model = cpu_models; model->name; model++)
		fprintf(out, "  %-20s %s\n", model->name, model->help ? model->help : model->brand);
	fputs("\nRecognized CPUID flags (+flag, -flag or flag=on|off):\n", out);
	unsigned column = 0;
	for (unsigned w = 0; w < FW_COUNT; w++)
		for (unsigned b = 0; b < 32; b++) {
			const char *name = feature_words[w].names[b];
			if (!name)
				continue;
			if (column && column + strlen(name) > 74) {
				fputc('\n', out);
				column = 0;
			}
			column += (unsigned)fprintf(out, "%s%s", column ? " " : "  ", name);
		}
	fputs("\n\nOther properties: vendor= family= model= stepping= model-id= level= xlevel= phys-bits= "
	      "host-phys-bits=\n"
	      "  l3-cache= kvm= hypervisor= check= enforce= migratable= pmu=off\n",
	      out);
	fclose(out);
	return text;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What -cpu means: models, flags, dependencies, errors, and the leaves that the table ends up with. */
#include "base/util.h"
#include "cpu/x86/cpu.h"
#include "cpu/x86/feature_words.h"
#include "cpu/x86/features.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const struct cpu_topology four_cores = {.vcpus = 8, .sockets = 1, .dies = 1, .cores = 4, .threads = 2};

static int build(struct cpuid_table *table, const char *text, struct error *err)
{
	struct cpuid_table offer;
	x86_engine_offer(&offer);
	int rc = x86_cpuid_build(table, text, &offer, "interp", &four_cores, 2600000, true, 40, err);
	x86_cpuid_free(&offer);
	return rc;
}

static struct feature_set built(const char *text)
{
	struct cpuid_table table;
	struct feature_set set;
	struct error err = {0};
	if (build(&table, text, &err))
		fail_msg("%s: %s", text, err.msg);
	feature_set_of_table(&set, &table);
	x86_cpuid_free(&table);
	return set;
}

static void expect_error(const char *text, const char *part1, const char *part2)
{
	struct cpuid_table table = {0};
	struct error err = {0};
	assert_true(build(&table, text, &err) < 0);
	x86_cpuid_free(&table);
	if (!strstr(err.msg, part1) || !strstr(err.msg, part2))
		fail_msg("-cpu %s: '%s' lacks '%s' or '%s'", text, err.msg, part1, part2);
	assert_null(strchr(err.msg, '\n'));
}

/* A list names no bit that the tables lack: a misspelt flag of a model would silently vanish. */
static void test_every_listed_flag_exists(void **state)
{
	for (const struct cpu_model *model = cpu_models; model->name; model++) {
		const char *lists[] = {model->flags, model->without};
		if (model->parent)
			assert_non_null(cpu_model_find(model->parent));
		for (size_t i = 0; i < 2; i++) {
			char *copy = xstrdup(lists[i] ? lists[i] : ""), *save = NULL;
			for (char *name = strtok_r(copy, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
				enum feature_word word;
				unsigned bit;
				if (!feature_find(name, &word, &bit))
					fail_msg("model %s: no flag '%s'", model->name, name);
			}
			free(copy);
		}
	}
}

static void test_names_are_unique(void **state)
{
	for (unsigned w = 0; w < FW_COUNT; w++)
		for (unsigned b = 0; b < 32; b++) {
			enum feature_word word;
			unsigned bit;
			if (!feature_words[w].names[b])
				continue;
			assert_true(feature_find(feature_words[w].names[b], &word, &bit));
			if (word != w || bit != b)
				fail_msg("'%s' stands twice", feature_words[w].names[b]);
		}
}

static void test_bits_are_where_the_manual_says(void **state)
{
	static const struct {
		const char *name;
		uint32_t leaf;
		enum cpuid_register reg;
		unsigned bit;
	} rows[] = {
		{"sse2", 1, CPUID_EDX, 26},
		{"clflush", 1, CPUID_EDX, 19},
		{"aes", 1, CPUID_ECX, 25},
		{"avx", 1, CPUID_ECX, 28},
		{"hypervisor", 1, CPUID_ECX, 31},
		{"avx2", 7, CPUID_EBX, 5},
		{"smap", 7, CPUID_EBX, 20},
		{"sha-ni", 7, CPUID_EBX, 29},
		{"umip", 7, CPUID_ECX, 2},
		{"pku", 7, CPUID_ECX, 3},
		{"rdpid", 7, CPUID_ECX, 22},
		{"fsrm", 7, CPUID_EDX, 4},
		{"arch-capabilities", 7, CPUID_EDX, 29},
		{"ssbd", 7, CPUID_EDX, 31},
		{"spec-ctrl", 7, CPUID_EDX, 26},
		{"amx-bf16", 7, CPUID_EDX, 22},
		{"lm", 0x80000001, CPUID_EDX, 29},
		{"abm", 0x80000001, CPUID_ECX, 5},
		{"topoext", 0x80000001, CPUID_ECX, 22},
		{"invtsc", 0x80000007, CPUID_EDX, 8},
		{"amd-no-ssb", 0x80000008, CPUID_EBX, 26},
		{"ibpb", 0x80000008, CPUID_EBX, 12},
		{"amd-stibp", 0x80000008, CPUID_EBX, 15},
		{"kvmclock", 0x40000001, CPUID_EAX, 3},
		{"rdtscp", 0x80000001, CPUID_EDX, 27},
		{"la57", 7, CPUID_ECX, 16},
		{"gfni", 7, CPUID_ECX, 8},
		{"movdir64b", 7, CPUID_ECX, 28},
		{"serialize", 7, CPUID_EDX, 14},
		{"clwb", 7, CPUID_EBX, 24},
		{"srso-no", 0x80000021, CPUID_EAX, 29},
		{"fsrc", 7, CPUID_EAX, 12},
		{"lam", 7, CPUID_EAX, 26},
		{"tbm", 0x80000001, CPUID_ECX, 21},
		{"fma4", 0x80000001, CPUID_ECX, 16},
		{"wbnoinvd", 0x80000008, CPUID_EBX, 9},
	};
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		enum feature_word word;
		unsigned bit;
		assert_true(feature_find(rows[i].name, &word, &bit));
		if (feature_words[word].leaf != rows[i].leaf || feature_words[word].reg != rows[i].reg ||
		    bit != rows[i].bit)
			fail_msg("%s stands at %x.%u bit %u", rows[i].name, feature_words[word].leaf,
				 feature_words[word].reg, bit);
	}
}

static void test_max_has_what_is_promised(void **state)
{
	static const char *const names[] = {"cx16",
					    "popcnt",
					    "bmi1",
					    "bmi2",
					    "movbe",
					    "abm",
					    "xsave",
					    "rdrand",
					    "rdseed",
					    "rdtscp",
					    "fsgsbase",
					    "smep",
					    "smap",
					    "umip",
					    "pcid",
					    "invpcid",
					    "pdpe1gb",
					    "nx",
					    "xsavec",
					    "xsaves",
					    "pku",
					    "adx",
					    "tsc-deadline",
					    "x2apic",
					    "arat",
					    "invtsc",
					    "hypervisor",
					    "kvmclock",
					    "kvmclock-stable-bit",
					    "lahf_lm"};
	struct feature_set set = built(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!feature_has_name(&set, names[i]))
			fail_msg("max lacks %s", names[i]);
	/* PCID without INVPCID or the other way round has confused kernels. */
	set = built("max,-avx");
	assert_false(feature_has_name(&set, "avx2"));
	assert_false(feature_has_name(&set, "fma"));
	assert_true(feature_has_name(&set, "sse2"));
}

static void test_flags_and_spellings(void **state)
{
	struct feature_set set = built("qemu64,+sse4_2,popcnt=on,-cx16,abm");
	assert_true(feature_has_name(&set, "popcnt"));
	assert_true(feature_has_name(&set, "abm"));
	assert_false(feature_has_name(&set, "cx16"));
	assert_false(feature_has_name(&set, "avx"));
	set = built("max,+aes,-aes");
	assert_false(feature_has_name(&set, "aes"));
	set = built("max,-aes,hypervisor=off,kvm=off");
	assert_false(feature_has_name(&set, "hypervisor"));
	assert_false(feature_has_name(&set, "kvmclock"));
}

/* Flags of the host's vectors, and the XSAVE components that belong to them. */
static void test_avx512_follows_the_host(void **state)
{
	static const char *const flags[] = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512vbmi", "avx512-bf16"};
	const bool here = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
	struct cpuid_table table;
	struct feature_set set;
	uint32_t size = 0, offset = 0;

	assert_int_equal(build(&table, "max", NULL), 0);
	feature_set_of_table(&set, &table);
	assert_int_equal(feature_has_name(&set, "avx512f"), here);
	assert_int_equal(x86_xsave_component(&table, 7, &size, &offset), here);
	x86_cpuid_free(&table);
	if (!here) {
		print_message("SKIPPED: no AVX-512 here\n");
		return;
	}
	assert_int_equal(size, 1024);
	assert_int_equal(offset, 1664);
	assert_int_equal(build(&table, "max,-avx512f", NULL), 0);
	feature_set_of_table(&set, &table);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		assert_false(feature_has_name(&set, flags[i]));
	assert_true(feature_has_name(&set, "avx2"));
	assert_false(x86_xsave_component(&table, 5, &size, &offset));
	x86_cpuid_free(&table);
	set = built("Skylake-Server");
	assert_true(feature_has_name(&set, "avx512bw"));
	assert_false(feature_has_name(&set, "avx512vbmi"));
}

static void test_errors(void **state)
{
	expect_error("max,+avx512-fp16", "'avx512-fp16'", "interp");
	expect_error("Haswel", "'Haswel'", "Haswell");
	expect_error("max,+sse4.3", "'sse4.3'", "sse4.");
	expect_error("max,aes=maybe", "aes", "on or off");
	expect_error("max,hv_relaxed", "hv_relaxed", "Hyper-V");
	expect_error("max,vendor=me", "vendor=me", "12 characters");
	expect_error("max,phys-bits=20", "phys-bits=20", "32");
	expect_error("max,pmu=on", "pmu", "not supported");
	expect_error("max,-xsave,+avx2", "'avx2'", "'avx'");
	expect_error("+aes", "+aes", "model");
	expect_error("Opteron_G5,enforce=on", "Opteron_G5", "enforce");
	expect_error("max,+vmx", "'vmx'", "interp");
}

static const struct cpuid_entry *row(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
	const struct cpuid_entry *entry = cpuid_find(table, leaf, subleaf);
	if (!entry)
		fail_msg("no leaf %x.%x", leaf, subleaf);
	return entry;
}

static void test_identity_and_topology(void **state)
{
	struct cpuid_table table;
	assert_int_equal(build(&table, "Haswell,model-id=Some CPU", NULL), 0);
	const struct cpuid_entry *zero = row(&table, 0, 0);
	assert_memory_equal(&zero->ebx, "Genu", 4);
	assert_memory_equal(&zero->edx, "ineI", 4);
	assert_memory_equal(&zero->ecx, "ntel", 4);
	assert_true(zero->eax >= 0xd);
	assert_int_equal(row(&table, 1, 0)->eax, 0x000306c4);
	assert_int_equal(row(&table, 1, 0)->ebx >> 16 & 0xff, 8);
	assert_memory_equal(&row(&table, 0x80000002, 0)->eax, "Some CPU", 8);
	assert_int_equal(row(&table, 0xb, 0)->eax, 1);
	assert_int_equal(row(&table, 0xb, 0)->ebx, 2);
	assert_int_equal(row(&table, 0xb, 1)->eax, 3);
	assert_int_equal(row(&table, 0xb, 1)->ebx, 8);
	assert_int_equal(row(&table, 0x15, 0)->ebx, 2600);
	assert_int_equal(row(&table, 0x40000010, 0)->eax, 2600000);
	assert_int_equal(row(&table, 0x80000008, 0)->eax, 48 << 8 | 40);
	x86_cpuid_free(&table);

	assert_int_equal(build(&table, "EPYC-Milan", NULL), 0);
	assert_int_equal(row(&table, 1, 0)->eax, 0x00a00f11);
	assert_int_equal(row(&table, 0x80000001, 0)->edx & 0x0183f3ff, row(&table, 1, 0)->edx & 0x0183f3ff);
	assert_true(row(&table, 0x80000000, 0)->eax >= 0x8000001e);
	x86_cpuid_free(&table);

	const struct cpu_topology odd = {.vcpus = 12, .sockets = 2, .dies = 1, .cores = 3, .threads = 2};
	assert_int_equal(x86_apic_id(&odd, 5), 5);
	assert_int_equal(x86_apic_id(&odd, 6), 8); /* cores are padded to a power of two */
	assert_int_equal(x86_apic_id(&odd, 11), 13);
}

static void test_execution_depends_on_state(void **state)
{
	struct x86_cpu *cpu = calloc(1, sizeof(*cpu));
	struct cpuid_table table;
	struct x86_features features;
	uint32_t r[4];
	assert_int_equal(build(&table, "Haswell,+pku", NULL), 0);
	x86_features_from(&features, &table);
	cpu->cpuid = &table;
	cpu->vcpu.apic_id = 5;
	cpu->s.apic_base = 0xfee00800;
	cpu->s.xcr0 = 1;
	x86_cpuid(cpu, 1, 0, r);
	assert_int_equal(r[1] >> 24, 5);
	assert_false(r[2] >> 27 & 1);
	assert_true(r[3] >> 9 & 1);
	cpu->s.cr4 = X86_CR4_OSXSAVE | X86_CR4_PKE;
	cpu->s.apic_base = 0xfee00000;
	x86_cpuid(cpu, 1, 0, r);
	assert_true(r[2] >> 27 & 1);
	assert_false(r[3] >> 9 & 1);
	x86_cpuid(cpu, 7, 0, r);
	assert_true(r[2] >> 4 & 1);
	x86_cpuid(cpu, 0xb, 1, r);
	assert_int_equal(r[3], 5);
	x86_cpuid(cpu, 0xb, 7, r);
	assert_int_equal(r[2], 7);
	x86_cpuid(cpu, 0xd, 0, r);
	assert_int_equal(r[1], 576);
	assert_int_equal(r[2], 2696);
	cpu->s.xcr0 = 0x203;
	x86_cpuid(cpu, 0xd, 0, r);
	assert_int_equal(r[1], 2696);
	/* Beyond the last basic leaf an Intel CPU repeats it; beyond the last hypervisor leaf there is nothing. */
	uint32_t last[4];
	x86_cpuid(cpu, 0x7fff, 0, r);
	x86_cpuid(cpu, row(&table, 0, 0)->eax, 0, last);
	assert_memory_equal(r, last, sizeof(r));
	x86_cpuid(cpu, 0x40000100, 0, r);
	assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
	x86_cpuid(cpu, CPUID_ARCH_CAPABILITIES, 0, r);
	assert_int_equal(r[0] & 0xffff0000, last[0] & 0xffff0000);
	assert_true(features.arch_capabilities & 1);
	assert_true(features.pku);
	assert_int_equal(features.cr4_reserved & X86_CR4_PKE, 0);
	assert_true(features.cr4_reserved & X86_CR4_LA57);
	assert_int_equal(features.xcr0_supported & 0x203, 0x203);
	assert_int_equal(features.phys_bits, 40);
	x86_cpuid_free(&table);
	free(cpu);
}

static void test_help_names_models_and_flags(void **state)
{
	char *text = x86_cpu_help();
	assert_non_null(strstr(text, "x86-64-v3"));
	assert_non_null(strstr(text, "EPYC-Milan"));
	assert_non_null(strstr(text, "tsc-deadline"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_listed_flag_exists),
		cmocka_unit_test(test_names_are_unique),
		cmocka_unit_test(test_bits_are_where_the_manual_says),
		cmocka_unit_test(test_max_has_what_is_promised),
		cmocka_unit_test(test_flags_and_spellings),
		cmocka_unit_test(test_avx512_follows_the_host),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_identity_and_topology),
		cmocka_unit_test(test_execution_depends_on_state),
		cmocka_unit_test(test_help_names_models_and_flags),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

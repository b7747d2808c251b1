/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The CPUID table of a machine and the CPUID instruction of the software engines (SDM 2A CPUID; AMD APM 3 appendix E;
 * KVM's leaves: Linux Documentation/virt/kvm/x86/cpuid.rst). Caches are described, not modelled. Left out: performance
 * counters, thermal, MONITOR, SGX and everything else that reads as zero.
 */
#include "base/util.h"
#include "cpu/x86/cpu.h"
#include "cpu/x86/feature_words.h"
#include "cpu/x86/features.h"

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>

enum { XCR0_X87_SSE = 3, XCR0_AVX = 1 << 2, XCR0_AVX512 = 7 << 5, XCR0_PKRU = 1 << 9, XSAVE_LEGACY_BYTES = 576 };

struct cpuid_entry *cpuid_find(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
	for (size_t i = 0; i < table->count; i++) {
		struct cpuid_entry *entry = &table->entries[i];
		if (entry->leaf == leaf && (!entry->subleaf_matters || entry->subleaf == subleaf))
			return entry;
	}
	return NULL;
}

uint32_t *cpuid_register_of(struct cpuid_entry *entry, enum cpuid_register reg)
{
	switch (reg) {
	case CPUID_EAX:
		return &entry->eax;
	case CPUID_EBX:
		return &entry->ebx;
	case CPUID_ECX:
		return &entry->ecx;
	default:
		return &entry->edx;
	}
}

/* subleaf -1: the leaf has none. */
void cpuid_add(struct cpuid_table *table, uint32_t leaf, int subleaf, const uint32_t values[4])
{
	struct cpuid_entry *entry = cpuid_find(table, leaf, subleaf < 0 ? 0 : (uint32_t)subleaf);
	if (!entry) {
		table->entries = xrealloc(table->entries, (table->count + 1) * sizeof(*table->entries));
		entry = &table->entries[table->count++];
	}
	*entry = (struct cpuid_entry){.leaf = leaf,
				      .subleaf = subleaf < 0 ? 0 : (uint32_t)subleaf,
				      .subleaf_matters = subleaf >= 0,
				      .eax = values[0],
				      .ebx = values[1],
				      .ecx = values[2],
				      .edx = values[3]};
}

static void add4(struct cpuid_table *table, uint32_t leaf, int subleaf, uint32_t eax, uint32_t ebx, uint32_t ecx,
		 uint32_t edx)
{
	cpuid_add(table, leaf, subleaf, (const uint32_t[4]){eax, ebx, ecx, edx});
}

void cpuid_host(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	if (!__get_cpuid_count(leaf, subleaf, &out[0], &out[1], &out[2], &out[3]))
		memset(out, 0, 4 * sizeof(*out));
}

void x86_cpuid_free(struct cpuid_table *table)
{
	free(table->entries);
	*table = (struct cpuid_table){0};
}

bool x86_xsave_component(const struct cpuid_table *table, unsigned component, uint32_t *size, uint32_t *offset)
{
	const struct cpuid_entry *entry = component >= 2 && component < 63 ? cpuid_find(table, 0xd, component) : NULL;
	if (!entry || !entry->eax)
		return false;
	*size = entry->eax;
	*offset = entry->ebx;
	return true;
}

/* --- what the software engines offer --- */

/* Integer and system features are executed by the interpreter itself; what names SIMD runs as the host's instruction.
 */
static const char software_flags[] =
	"fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 "
	"cx16 pcid x2apic movbe popcnt tsc-deadline xsave rdrand hypervisor arat "
	"fsgsbase tsc-adjust bmi1 smep bmi2 erms invpcid rdseed adx smap clflushopt clwb umip pku rdpid fsrm "
	"xsaveopt xsavec xgetbv1 xsaves syscall nx pdpe1gb rdtscp lm lahf-lm abm 3dnowprefetch topoext cmp-legacy "
	"invtsc "
	"amd-no-ssb lfence-always-serializing null-sel-clr-base auto-ibrs srso-no srso-user-kernel-no tsa-sq-no "
	"tsa-l1-no "
	"arch-capabilities spec-ctrl rdctl-no ibrs-all skip-l1dfl-vmentry ssb-no mds-no pschange-mc-no taa-no "
	"sbdr-ssdp-no "
	"fbsdp-no psdp-no bhi-no pbrsb-no gds-no rfds-no its-no "
	"kvmclock kvm-nopiodelay kvmclock-stable-bit";

static const char native_flags[] = "sse3 ssse3 sse4.1 sse4.2 pclmulqdq aes sha-ni gfni";
static const char avx_flags[] = "avx avx2 fma f16c vaes vpclmulqdq";
static const char avx512_flags[] =
	"avx512f avx512dq avx512bw avx512cd avx512vl avx512ifma avx512vbmi avx512-vbmi2 avx512-vnni avx512-bitalg "
	"avx512-vpopcntdq avx512-bf16";

static void host_features(struct feature_set *set)
{
	for (unsigned w = 0; w < FW_COUNT; w++) {
		uint32_t r[4];
		memset(r, 0, sizeof(r));
		if (feature_words[w].leaf < 0x40000000 || feature_words[w].leaf - 0x80000000 < 0x100)
			cpuid_host(feature_words[w].leaf, feature_words[w].subleaf, r);
		set->word[w] = r[feature_words[w].reg];
	}
}

/* Vectors need the host's kernel to save their registers: CPUID 1 OSXSAVE and XCR0 say so. */
static bool host_saves(uint32_t components)
{
	uint32_t r[4], xcr0_low, xcr0_high;
	cpuid_host(1, 0, r);
	if (!(r[2] >> 27 & 1))
		return false;
	__asm__ volatile("xgetbv" : "=a"(xcr0_low), "=d"(xcr0_high) : "c"(0));
	return (xcr0_low & components) == components;
}

static void offer_from_set(struct cpuid_table *offer, const struct feature_set *set)
{
	for (unsigned w = 0; w < FW_COUNT; w++) {
		const struct feature_word_info *info = &feature_words[w];
		struct cpuid_entry *entry = cpuid_find(offer, info->leaf, info->subleaf);
		if (!entry) {
			add4(offer, info->leaf, info->subleaf_matters ? (int)info->subleaf : -1, 0, 0, 0, 0);
			entry = cpuid_find(offer, info->leaf, info->subleaf);
		}
		*cpuid_register_of(entry, info->reg) |= set->word[w];
	}
}

void x86_engine_offer(struct cpuid_table *offer)
{
	struct feature_set set = {0}, native = {0}, host;
	*offer = (struct cpuid_table){0};
	feature_set_list(&set, software_flags, true);
	feature_set_list(&native, native_flags, true);
	feature_set_list(&native, avx_flags, true);
	feature_set_list(&native, avx512_flags, true);
	host_features(&host);
	for (unsigned w = 0; w < FW_COUNT; w++)
		set.word[w] |= native.word[w] & host.word[w];
	if (!host_saves(XCR0_X87_SSE | XCR0_AVX))
		feature_set_list(&set, avx_flags, false);
	/* The engines load and store vectors of any length and masks of 64 bits (interp/native_host.c). */
	if (!host_saves(XCR0_X87_SSE | XCR0_AVX | XCR0_AVX512) || !feature_has_name(&set, "avx512bw") ||
	    !feature_has_name(&set, "avx512vl"))
		feature_set_list(&set, avx512_flags, false);
	offer_from_set(offer, &set);

	/* The standard form of the XSAVE image as Intel lays it out. */
	uint32_t xcr0 = XCR0_X87_SSE | XCR0_PKRU | (feature_has_name(&set, "avx") ? XCR0_AVX : 0) |
			(feature_has_name(&set, "avx512f") ? XCR0_AVX512 : 0);
	add4(offer, 0xd, 0, xcr0, 0, 0, 0);
	if (xcr0 & XCR0_AVX)
		add4(offer, 0xd, 2, 256, 576, 0, 0);
	if (xcr0 & XCR0_AVX512) {
		add4(offer, 0xd, 5, 64, 1088, 0, 0);   /* opmasks */
		add4(offer, 0xd, 6, 512, 1152, 0, 0);  /* upper halves of ZMM0 to ZMM15 */
		add4(offer, 0xd, 7, 1024, 1664, 0, 0); /* ZMM16 to ZMM31 */
	}
	add4(offer, 0xd, 9, 8, 2688, 0, 0);
	add4(offer, 0x80000008, -1, 48 << 8 | 46, cpuid_find(offer, 0x80000008, 0)->ebx, 0, 0);
}

/* --- topology --- */

static unsigned bits_for(unsigned count)
{
	return count > 1 ? 32 - (unsigned)__builtin_clz(count - 1) : 0;
}

struct topology {
	unsigned dies, cores, threads;
	unsigned thread_bits, core_bits, die_bits;
};

static struct topology topology_of(const struct cpu_topology *given)
{
	struct topology t = {given->dies ? given->dies : 1, given->cores ? given->cores : 1,
			     given->threads ? given->threads : 1};
	t.thread_bits = bits_for(t.threads);
	t.core_bits = bits_for(t.cores);
	t.die_bits = bits_for(t.dies);
	return t;
}

uint32_t x86_apic_id(const struct cpu_topology *topology, unsigned index)
{
	struct topology t = topology_of(topology);
	uint32_t thread = index % t.threads;
	uint32_t core = index / t.threads % t.cores;
	uint32_t die = index / t.threads / t.cores % t.dies;
	uint32_t socket = index / t.threads / t.cores / t.dies;
	return ((socket << t.die_bits | die) << t.core_bits | core) << t.thread_bits | thread;
}

static unsigned package_bits(const struct topology *t)
{
	return t->thread_bits + t->core_bits + t->die_bits;
}

static unsigned package_threads(const struct topology *t)
{
	return t->threads * t->cores * t->dies;
}

/* --- building --- */

struct build {
	struct cpuid_table *table;
	const struct cpuid_table *offer;
	struct cpu_choice choice;
	struct topology topology;
	uint64_t tsc_khz;
	unsigned phys_bits;
	bool amd;
};

static void add_features(struct build *b)
{
	offer_from_set(b->table, &b->choice.features);
	/* AMD repeats the old half of leaf 1 in 0x80000001. */
	struct cpuid_entry *one = cpuid_find(b->table, 1, 0);
	if (b->amd)
		cpuid_find(b->table, 0x80000001, 0)->edx |= one->edx & 0x0183f3ff;
}

static void add_signature(struct build *b)
{
	const struct cpu_choice *c = &b->choice;
	struct cpuid_entry *one = cpuid_find(b->table, 1, 0);
	unsigned family = c->family < 15 ? c->family : 15, logical = package_threads(&b->topology);
	one->eax = (c->family - family) << 20 | (c->model_number >> 4) << 16 | family << 8 |
		   (c->model_number & 0xf) << 4 | c->stepping;
	one->ebx = (logical > 255 ? 255 : logical) << 16 | 64 / 8 << 8;
	one->edx &= ~(1u << 28);
	cpuid_find(b->table, 0x80000001, 0)->ecx &= ~2u;
	if (logical > 1) {
		one->edx |= 1u << 28;
		if (b->amd)
			cpuid_find(b->table, 0x80000001, 0)->ecx |= 2;
	}
	cpuid_find(b->table, 0x80000001, 0)->eax = one->eax;
}

struct cache {
	unsigned type, level, bytes, ways, shared_bits;
};

static void add_caches(struct build *b)
{
	unsigned all = package_bits(&b->topology), core = b->topology.thread_bits;
	const struct cache caches[] = {
		{1, 1, 32 * KIB, 8, core},
		{2, 1, 32 * KIB, 8, core},
		{3, 2, 512 * KIB, 8, core},
		{3, 3, 16 * MIB, 16, all},
	};
	size_t count = ARRAY_SIZE(caches) - !b->choice.l3_cache;
	uint32_t leaf = b->amd ? 0x8000001d : 4;
	uint32_t cores = (1u << (b->topology.core_bits + b->topology.die_bits)) - 1;
	for (size_t i = 0; i < count; i++) {
		const struct cache *c = &caches[i];
		uint32_t eax = c->type | c->level << 5 | 1 << 8 | ((1u << c->shared_bits) - 1) << 14;
		if (!b->amd)
			eax |= (cores > 63 ? 63 : cores) << 26;
		add4(b->table, leaf, (int)i, eax, (c->ways - 1) << 22 | 63, c->bytes / 64 / c->ways - 1, 0);
	}
	add4(b->table, leaf, (int)count, 0, 0, 0, 0);
	if (b->amd) {
		add4(b->table, 0x80000005, -1, 0xff48ff40, 0xff48ff40, 0x20080140, 0x20080140);
		add4(b->table, 0x80000006, -1, 0, 0x42004200, 0x02006140, b->choice.l3_cache ? 0x00809140 : 0);
	} else {
		add4(b->table, 2, -1, 0x00feff01, 0, 0, 0);
		add4(b->table, 0x80000006, -1, 0, 0, 0x02006040, 0);
	}
}

/* Leaves 0xb and 0x1f. Level types: 1 SMT, 2 core, 5 die. */
static void add_topology(struct build *b)
{
	const struct topology *t = &b->topology;
	unsigned core_bits = t->thread_bits + t->core_bits;
	add4(b->table, 0xb, 0, t->thread_bits, t->threads, 1 << 8, 0);
	add4(b->table, 0xb, 1, package_bits(t), package_threads(t), 2 << 8 | 1, 0);
	add4(b->table, 0xb, 2, 0, 0, 2, 0);
	if (t->dies > 1 && !b->amd) {
		add4(b->table, 0x1f, 0, t->thread_bits, t->threads, 1 << 8, 0);
		add4(b->table, 0x1f, 1, core_bits, t->threads * t->cores, 2 << 8 | 1, 0);
		add4(b->table, 0x1f, 2, package_bits(t), package_threads(t), 5 << 8 | 2, 0);
		add4(b->table, 0x1f, 3, 0, 0, 3, 0);
	}
	if (b->amd && feature_has_name(&b->choice.features, "topoext"))
		add4(b->table, 0x8000001e, -1, 0, (t->threads - 1) << 8, 0, 0);
}

/* Components that the features need and the offer can hold. */
static void add_xsave(struct build *b)
{
	const struct feature_set *set = &b->choice.features;
	struct cpuid_entry *one = cpuid_find(b->table, 0xd, 1);
	if (!feature_has_name(set, "xsave")) {
		if (one)
			*one = (struct cpuid_entry){.leaf = 0xd, .subleaf = 1, .subleaf_matters = true};
		return;
	}
	const struct cpuid_entry *offered = cpuid_find(b->offer, 0xd, 0);
	uint32_t want = XCR0_X87_SSE;
	if (feature_has_name(set, "avx"))
		want |= XCR0_AVX;
	if (feature_has_name(set, "avx512f"))
		want |= XCR0_AVX512;
	if (feature_has_name(set, "pku"))
		want |= XCR0_PKRU;
	if (offered)
		want &= offered->eax;
	uint32_t end = XSAVE_LEGACY_BYTES;
	for (unsigned i = 2; i < 32; i++) {
		uint32_t size, offset;
		if (!(want >> i & 1))
			continue;
		if (!x86_xsave_component(b->offer, i, &size, &offset)) {
			want &= ~(1u << i);
			continue;
		}
		const struct cpuid_entry *from = cpuid_find(b->offer, 0xd, i);
		add4(b->table, 0xd, (int)i, size, offset, from->ecx & 2, 0);
		if (offset + size > end)
			end = offset + size;
	}
	add4(b->table, 0xd, 0, want, XSAVE_LEGACY_BYTES, end, 0);
}

static void add_frequency(struct build *b)
{
	uint64_t mhz = b->tsc_khz / 1000;
	/* Linux takes the crystal for the local APIC timer's clock, which is 1 GHz here, and multiplies in 32 bits:
	 * only a TSC of whole MHz can be said exactly. */
	if (!b->amd && b->tsc_khz && b->tsc_khz % 1000 == 0 && mhz < 4294)
		add4(b->table, 0x15, -1, 1000, (uint32_t)mhz, 1000000000, 0);
	if (!b->amd && mhz)
		add4(b->table, 0x16, -1, (uint32_t)mhz, (uint32_t)mhz, 100, 0);
}

static void add_kvm(struct build *b)
{
	struct cpuid_entry *features = cpuid_find(b->table, 0x40000001, 0);
	if (!b->choice.kvm_leaves) {
		features->eax = features->edx = 0;
		return;
	}
	if (!(features->eax >> 3 & 1)) /* without kvmclock its stable bit and old numbers mean nothing */
		features->eax &= ~(1u << 24 | 1);
	add4(b->table, 0x40000000, -1, 0x40000010, 0x4b4d564b, 0x564b4d56, 0x4d);
	add4(b->table, 0x40000010, -1, (uint32_t)b->tsc_khz, 1000000, 0, 0);
}

static void add_brand(struct build *b)
{
	for (unsigned i = 0; i < 3; i++) {
		uint32_t r[4];
		memcpy(r, b->choice.brand + 16 * i, 16);
		cpuid_add(b->table, 0x80000002 + i, -1, r);
	}
}

static bool any_entry(const struct cpuid_table *table, uint32_t leaf)
{
	for (size_t i = 0; i < table->count; i++) {
		const struct cpuid_entry *e = &table->entries[i];
		if (e->leaf == leaf && (e->eax | e->ebx | e->ecx | e->edx))
			return true;
	}
	return false;
}

static void add_levels(struct build *b)
{
	static const uint32_t basic[] = {0x1f, 0x16, 0x15, 0xd, 0xb}, extended[] = {0x80000021, 0x8000001e, 0x8000001d};
	uint32_t level = b->choice.level, xlevel = b->choice.xlevel, vendor[3];
	for (size_t i = 0; !level && i < ARRAY_SIZE(basic); i++)
		if (any_entry(b->table, basic[i]))
			level = basic[i];
	for (size_t i = 0; !xlevel && i < ARRAY_SIZE(extended); i++)
		if (any_entry(b->table, extended[i]))
			xlevel = extended[i];
	memcpy(vendor, b->choice.vendor, 12);
	add4(b->table, 0, -1, level, vendor[0], vendor[2], vendor[1]);
	add4(b->table, 0x80000000, -1, xlevel ? xlevel : 0x80000008, b->amd ? vendor[0] : 0, b->amd ? vendor[2] : 0,
	     b->amd ? vendor[1] : 0);
}

static void add_address_sizes(struct build *b)
{
	struct cpuid_entry *entry = cpuid_find(b->table, 0x80000008, 0);
	const struct cpuid_entry *offered = cpuid_find(b->offer, 0x80000008, 0);
	unsigned limit = offered && (offered->eax & 0xff) >= 32 ? offered->eax & 0xff : 40;
	unsigned phys = b->choice.phys_bits ? b->choice.phys_bits : b->phys_bits ? b->phys_bits : limit;
	entry->eax = (feature_has_name(&b->choice.features, "la57") ? 57 : 48) << 8 | (phys < limit ? phys : limit);
	unsigned bits = package_bits(&b->topology), logical = package_threads(&b->topology);
	if (b->amd)
		entry->ecx = bits << 12 | ((logical > 256 ? 256 : logical) - 1);
}

int x86_cpuid_build(struct cpuid_table *table, const char *text, const struct cpuid_table *offer,
		    const char *engine_name, const struct cpu_topology *topology, uint64_t tsc_khz, bool kvm_leaves,
		    unsigned phys_bits, struct error *err)
{
	struct build b = {.table = table,
			  .offer = offer,
			  .topology = topology_of(topology),
			  .tsc_khz = tsc_khz,
			  .phys_bits = phys_bits};
	*table = (struct cpuid_table){0};
	int rc = cpu_choice_parse(&b.choice, text, offer, engine_name, err);
	if (rc < 0)
		return rc;
	b.choice.kvm_leaves = b.choice.kvm_leaves && kvm_leaves;
	b.amd = !strcmp(b.choice.vendor, "AuthenticAMD") || !strcmp(b.choice.vendor, "HygonGenuine");
	add_features(&b);
	add_signature(&b);
	add_caches(&b);
	add_topology(&b);
	add_xsave(&b);
	add_frequency(&b);
	add_kvm(&b);
	add_brand(&b);
	add_address_sizes(&b);
	struct cpuid_entry *seven = cpuid_find(table, 7, 0);
	seven->eax = any_entry(table, 7) && cpuid_find(table, 7, 2)->edx ? 2 : 1;
	add_levels(&b);
	return 0;
}

/* --- the instruction --- */

void x86_cpuid_for_vcpu(struct cpuid_entry *entry, uint32_t apic_id)
{
	switch (entry->leaf) {
	case 1:
		entry->ebx = (entry->ebx & 0x00ffffff) | apic_id << 24;
		break;
	case 0xb:
	case 0x1f:
		entry->edx = apic_id;
		break;
	case 0x8000001e:
		entry->eax = apic_id;
		entry->ebx = (entry->ebx & ~0xffu) | ((apic_id >> bits_for((entry->ebx >> 8 & 0xff) + 1)) & 0xff);
		break;
	}
}

/* Bytes of an XSAVE image that holds `components` (SDM 1 13.4). */
static uint32_t xsave_bytes(const struct cpuid_table *table, uint64_t components, bool compacted)
{
	uint32_t end = XSAVE_LEGACY_BYTES;
	for (unsigned i = 2; i < 63; i++) {
		uint32_t size, offset;
		if (!(components >> i & 1) || !x86_xsave_component(table, i, &size, &offset))
			continue;
		if (compacted) {
			const struct cpuid_entry *entry = cpuid_find(table, 0xd, i);
			end = (entry->ecx & 2 ? (uint32_t)align_up(end, 64) : end) + size;
		} else if (offset + size > end) {
			end = offset + size;
		}
	}
	return end;
}

/* Fields that follow the CPU's own state. */
static void fill_from_state(const struct x86_cpu *cpu, struct cpuid_entry *entry)
{
	const struct x86_state *s = &cpu->s;
	if (entry->leaf == 1) {
		if (s->cr4 & X86_CR4_OSXSAVE)
			entry->ecx |= 1u << 27;
		if (!(s->apic_base >> 11 & 1))
			entry->edx &= ~(1u << 9);
	} else if (entry->leaf == 7 && entry->subleaf == 0) {
		if (s->cr4 & X86_CR4_PKE)
			entry->ecx |= 1u << 4;
	} else if (entry->leaf == 0xd && entry->subleaf == 0 && entry->eax) {
		entry->ebx = xsave_bytes(cpu->cpuid, s->xcr0, false);
	} else if (entry->leaf == 0xd && entry->subleaf == 1 && entry->eax & 0xa) {
		entry->ebx = xsave_bytes(cpu->cpuid, s->xcr0 | s->xss, true);
	}
}

void x86_cpuid(struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
	const struct cpuid_table *table = cpu->cpuid;
	uint32_t base = leaf >= 0x80000000 ? 0x80000000 : leaf >= 0x40000000 ? 0x40000000 : 0;
	const struct cpuid_entry *top = cpuid_find(table, base, 0);
	memset(out, 0, 4 * sizeof(*out));
	if (!top)
		return;
	if (leaf > top->eax) {
		/* Intel answers with the last basic leaf, AMD with zeroes; hypervisor leaves stay silent. */
		const struct cpuid_entry *zero = cpuid_find(table, 0, 0);
		if (base == 0x40000000 || !zero || zero->ecx != 0x6c65746e)
			return;
		leaf = zero->eax;
	}
	const struct cpuid_entry *found = cpuid_find(table, leaf, subleaf);
	struct cpuid_entry entry = {.leaf = leaf, .subleaf = subleaf};
	if (found) {
		entry = *found;
		entry.subleaf = found->subleaf_matters ? subleaf : 0;
	} else if (leaf == 0xb || leaf == 0x1f) {
		entry.ecx = subleaf & 0xff;
	} else {
		return;
	}
	x86_cpuid_for_vcpu(&entry, cpu->vcpu.apic_id);
	fill_from_state(cpu, &entry);
	out[0] = entry.eax;
	out[1] = entry.ebx;
	out[2] = entry.ecx;
	out[3] = entry.edx;
}

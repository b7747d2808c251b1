/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPU features as words of 32 bits with a name for each bit, and the CPU models as lists of those names. Private to
 * features.c, models.c and cpuid.c.
 */
#ifndef XUNI_CPU_X86_FEATURE_WORDS_H
#define XUNI_CPU_X86_FEATURE_WORDS_H

#include "base/error.h"
#include "core/cpuid.h"

enum feature_word {
	FW_1_EDX,
	FW_1_ECX,
	FW_6_EAX,
	FW_7_EBX,
	FW_7_ECX,
	FW_7_EDX,
	FW_7_1_EAX,
	FW_7_1_EDX,
	FW_7_2_EDX,
	FW_D_1_EAX,
	FW_80000001_EDX,
	FW_80000001_ECX,
	FW_80000007_EBX,
	FW_80000007_EDX,
	FW_80000008_EBX,
	FW_80000021_EAX,
	FW_80000021_ECX,
	FW_KVM_EAX,
	FW_KVM_EDX,
	FW_ARCH_CAP_LOW,
	FW_ARCH_CAP_HIGH,
	FW_COUNT,
};

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

struct feature_word_info {
	uint32_t leaf, subleaf;
	bool subleaf_matters;
	uint8_t reg; /* enum cpuid_register */
	const char *names[32];
};

extern const struct feature_word_info feature_words[FW_COUNT];

struct feature_set {
	uint32_t word[FW_COUNT];
};

/* A model is the features of `parent` (NULL: none) and its own `flags`, less `without`; names apart by one space. */
struct cpu_model {
	const char *name;
	const char *parent;
	const char *vendor; /* 12 characters; NULL: the host's */
	unsigned family, model, stepping;
	const char *brand;
	const char *flags;
	const char *without;
	const char *help;
};

extern const struct cpu_model cpu_models[]; /* ended by name NULL */
const struct cpu_model *cpu_model_find(const char *name);

/* The word and bit of a flag; aliases and '_' for '-' are understood. False when there is no such flag. */
bool feature_find(const char *name, enum feature_word *word, unsigned *bit);
static inline bool feature_has(const struct feature_set *set, enum feature_word word, unsigned bit)
{
	return set->word[word] >> bit & 1;
}
/* As above by name; the name is one of the table's (anything else is false). */
bool feature_has_name(const struct feature_set *set, const char *name);
void feature_set_name(struct feature_set *set, const char *name, bool on);
/* Sets (on) or clears every name of a list separated by spaces. */
void feature_set_list(struct feature_set *set, const char *names, bool on);
void feature_set_of_table(struct feature_set *set, const struct cpuid_table *table);
/* The model's own features, its ancestors' included; "max" and "host" have none of their own. */
void cpu_model_features(struct feature_set *set, const struct cpu_model *model);

/* What `-cpu` text asks for, resolved against an offer. */
struct cpu_choice {
	const struct cpu_model *model;
	struct feature_set features;
	char vendor[13];
	char brand[49];
	unsigned family, model_number, stepping;
	uint32_t level, xlevel; /* 0: as the features need */
	bool host_identity;
	bool l3_cache;
	bool kvm_leaves;
	unsigned phys_bits; /* 0: not given */
};

int cpu_choice_parse(struct cpu_choice *choice, const char *text, const struct cpuid_table *offer,
		     const char *engine_name, struct error *err);

/* Table primitives. cpuid_add appends or replaces; values are eax, ebx, ecx, edx. */
struct cpuid_entry *cpuid_find(const struct cpuid_table *table, uint32_t leaf, uint32_t subleaf);
void cpuid_add(struct cpuid_table *table, uint32_t leaf, int subleaf, const uint32_t values[4]);
uint32_t *cpuid_register_of(struct cpuid_entry *entry, enum cpuid_register reg);
/* The host CPU's own answer. */
void cpuid_host(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

#endif

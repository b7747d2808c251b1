/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * `-cpu NAME,+flag,-flag,flag=on|off,property=value` resolved against what an engine offers. A model's own feature that
 * the offer lacks is left out (or an error with enforce=on); one that the user asked for is an error.
 */
#include "base/options.h"
#include "base/util.h"
#include "cpu/x86/feature_words.h"

#include <stdio.h>
#include <stdlib.h>

/* Set for every model but "base" when offered: without them a guest falls back to slower ways to the same end. */
static const char default_flags[] = "hypervisor x2apic tsc-deadline arat";

/* True of a CPU that is executed in software, and of some hosts: a guest that knows leaves costly workarounds out. */
static const char intel_relief[] = "arch-capabilities spec-ctrl rdctl-no ibrs-all skip-l1dfl-vmentry ssb-no mds-no "
				   "pschange-mc-no taa-no sbdr-ssdp-no "
				   "fbsdp-no psdp-no bhi-no pbrsb-no gds-no rfds-no its-no";
static const char amd_relief[] = "amd-no-ssb lfence-always-serializing null-sel-clr-base auto-ibrs srso-no "
				 "srso-user-kernel-no tsa-sq-no tsa-l1-no";

/* Each flag of the list is useless without the first. */
static const struct {
	const char *needed, *flags;
} dependencies[] = {
	{"xsave", "avx xsaveopt xsavec xsaves xgetbv1 pku"},
	{"avx", "avx2 fma f16c avx512f vaes vpclmulqdq xop fma4 avx-vnni avx-ifma"},
	{"avx512f",
	 "avx512dq avx512bw avx512cd avx512vl avx512ifma avx512vbmi avx512-vbmi2 avx512-vnni avx512-bitalg "
	 "avx512-vpopcntdq avx512-bf16 avx512-fp16 avx512pf avx512er avx512-4vnniw avx512-4fmaps avx512-vp2intersect"},
	{"xsavec", "xsaves"},
	{"lm", "pdpe1gb lahf-lm fsgsbase"},
};

struct request {
	struct feature_set on, off;
	bool enforce;
};

static bool is_amd(const struct cpu_choice *choice)
{
	return !strcmp(choice->vendor, "AuthenticAMD") || !strcmp(choice->vendor, "HygonGenuine");
}

static void host_vendor(char vendor[13])
{
	uint32_t r[4];
	cpuid_host(0, 0, r);
	memcpy(vendor, &r[1], 4);
	memcpy(vendor + 4, &r[3], 4);
	memcpy(vendor + 8, &r[2], 4);
	vendor[12] = 0;
}

static void host_brand(char brand[49])
{
	uint32_t r[4];
	cpuid_host(0x80000000, 0, r);
	memset(brand, 0, 49);
	if (r[0] < 0x80000004)
		return;
	for (unsigned i = 0; i < 3; i++) {
		cpuid_host(0x80000002 + i, 0, r);
		memcpy(brand + 16 * i, r, 16);
	}
}

static void host_family(struct cpu_choice *choice)
{
	uint32_t r[4];
	cpuid_host(1, 0, r);
	choice->family = r[0] >> 8 & 0xf;
	choice->model_number = r[0] >> 4 & 0xf;
	choice->stepping = r[0] & 0xf;
	if (choice->family == 15)
		choice->family += r[0] >> 20 & 0xff;
	if (choice->family >= 15 || choice->family == 6)
		choice->model_number += (r[0] >> 16 & 0xf) << 4;
}

/* "max" of a software engine is a processor of its own. Families are chosen so that guests apply few old errata. */
static void generic_identity(struct cpu_choice *choice)
{
	bool amd = is_amd(choice);
	choice->family = amd ? 25 : 6;
	choice->model_number = amd ? 1 : 106;
	choice->stepping = amd ? 1 : 6;
	snprintf(choice->brand, sizeof(choice->brand), "xuni virtual CPU");
}

static void identity(struct cpu_choice *choice, bool kvm)
{
	const struct cpu_model *model = choice->model;
	if (model->vendor) {
		snprintf(choice->vendor, sizeof(choice->vendor), "%s", model->vendor);
		snprintf(choice->brand, sizeof(choice->brand), "%s", model->brand);
		choice->family = model->family;
		choice->model_number = model->model;
		choice->stepping = model->stepping;
		return;
	}
	host_vendor(choice->vendor);
	choice->host_identity = kvm || !strcmp(model->name, "host");
	if (choice->host_identity) {
		host_brand(choice->brand);
		host_family(choice);
	} else {
		generic_identity(choice);
	}
}

static const char *nearest_flag(const char *name)
{
	static const char *const properties[] = {"vendor", "family", "model",     "stepping",       "model-id",
						 "level",  "xlevel", "phys-bits", "host-phys-bits", "l3-cache",
						 "kvm",    "check",  "enforce",   "migratable",     "pmu"};
	const char *known[FW_COUNT * 32 + ARRAY_SIZE(properties) + 1];
	size_t count = 0;
	for (unsigned w = 0; w < FW_COUNT; w++)
		for (unsigned b = 0; b < 32; b++)
			if (feature_words[w].names[b])
				known[count++] = feature_words[w].names[b];
	for (size_t i = 0; i < ARRAY_SIZE(properties); i++)
		known[count++] = properties[i];
	known[count] = NULL;
	return nearest_word(name, known);
}

static int unknown_flag(const char *name, struct error *err)
{
	if (!strncmp(name, "hv-", 3) || !strncmp(name, "hv_", 3))
		return error_set(err, EINVAL, "-cpu: '%s': Hyper-V enlightenments are not supported", name);
	const char *near = nearest_flag(name);
	return error_set(err, EINVAL, "-cpu: '%s' is not a CPU flag or property%s%s%s", name,
			 near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "; -cpu help lists them");
}

static int request_flag(struct request *request, const char *name, bool on, struct error *err)
{
	enum feature_word word;
	unsigned bit;
	if (!feature_find(name, &word, &bit))
		return unknown_flag(name, err);
	(on ? &request->on : &request->off)->word[word] |= 1u << bit;
	(on ? &request->off : &request->on)->word[word] &= ~(1u << bit);
	/* kvmclock means the old MSRs too. */
	if (word == FW_KVM_EAX && bit == 3 && !on)
		request->off.word[FW_KVM_EAX] |= 1;
	return 0;
}

static int number(const char *key, const char *value, uint64_t max, unsigned *out, struct error *err)
{
	uint64_t n;
	int rc = parse_u64(value, max, &n, err);
	if (rc < 0)
		return error_prefix(err, "-cpu: %s", key), rc;
	*out = (unsigned)n;
	return 0;
}

/* 1: it was a property; 0: it is not one; negative: an error. */
static int take_property(struct cpu_choice *choice, struct request *request, const char *key, const char *value,
			 struct error *err)
{
	const struct {
		const char *key;
		uint64_t max;
		unsigned *out;
	} numbers[] = {
		{"family", 0xff + 0xf, &choice->family}, {"model", 0xff, &choice->model_number},
		{"stepping", 0xf, &choice->stepping},    {"level", 0x1f, &choice->level},
		{"xlevel", 0x80000021, &choice->xlevel}, {"phys-bits", 52, &choice->phys_bits},
	};
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (!strcmp(key, numbers[i].key)) {
			int rc = number(key, value, numbers[i].max, numbers[i].out, err);
			if (!rc && numbers[i].out == &choice->phys_bits && choice->phys_bits < 32)
				rc = error_set(err, EINVAL, "-cpu: phys-bits=%s: between 32 and 52", value);
			return rc < 0 ? rc : 1;
		}
	bool ignored, off = false;
	const struct {
		const char *key;
		bool *out;
	} switches[] = {{"l3-cache", &choice->l3_cache}, {"kvm", &choice->kvm_leaves},
			{"enforce", &request->enforce},  {"check", &ignored},
			{"migratable", &ignored},        {"pmu", &off},
			{"host-phys-bits", &ignored}};
	for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
		if (!strcmp(key, switches[i].key)) {
			int rc = parse_bool(value, switches[i].out, err);
			if (rc < 0)
				return error_prefix(err, "-cpu: %s", key), rc;
			if (off)
				return error_set(err, ENOTSUP, "-cpu: pmu=on: performance counters are not supported");
			return 1;
		}
	if (!strcmp(key, "vendor")) {
		if (strlen(value) != 12)
			return error_set(err, EINVAL,
					 "-cpu: vendor=%s: a vendor has exactly 12 characters, as in GenuineIntel",
					 value);
		memcpy(choice->vendor, value, 13);
		return 1;
	}
	if (!strcmp(key, "model-id")) {
		if (strlen(value) > 48)
			return error_set(err, EINVAL, "-cpu: model-id=%s: at most 48 characters", value);
		snprintf(choice->brand, sizeof(choice->brand), "%s", value);
		return 1;
	}
	return 0;
}

static int take_options(struct cpu_choice *choice, struct request *request, const struct options *options,
			struct error *err)
{
	/* The first is the model's name. */
	for (size_t i = 1; i < options->count; i++) {
		const char *key = options->items[i].key, *value = options->items[i].value;
		int rc;
		if (key[0] == '+' || key[0] == '-') {
			rc = request_flag(request, key + 1, key[0] == '+', err);
		} else {
			rc = take_property(choice, request, key, value, err);
			if (!rc) {
				bool on;
				enum feature_word word;
				unsigned bit;
				if (!feature_find(key, &word, &bit))
					return unknown_flag(key, err);
				rc = parse_bool(value, &on, err);
				if (rc < 0)
					return error_prefix(err, "-cpu: %s", key), rc;
				rc = request_flag(request, key, on, err);
			}
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

static const struct cpu_model *find_model(const char *name, struct error *err)
{
	const struct cpu_model *model = cpu_model_find(name);
	if (model)
		return model;
	const char *known[128];
	size_t count = 0;
	for (model = cpu_models; model->name && count < ARRAY_SIZE(known) - 1; model++)
		known[count++] = model->name;
	known[count] = NULL;
	const char *near = nearest_word(name, known);
	error_set(err, EINVAL, "-cpu: '%s' is not a CPU model%s%s%s", name, near ? "; did you mean '" : "",
		  near ? near : "", near ? "'?" : "; -cpu help lists them");
	return NULL;
}

/* Bits that follow from topology or vendor and that anybody may ask for. */
static void computed_bits(struct feature_set *set)
{
	memset(set, 0, sizeof(*set));
	feature_set_list(set, "ht cmp-legacy", true);
}

static int check_dependencies(struct cpu_choice *choice, const struct request *request, struct error *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(dependencies); i++) {
		if (feature_has_name(&choice->features, dependencies[i].needed))
			continue;
		struct feature_set dependent = {0};
		feature_set_list(&dependent, dependencies[i].flags, true);
		for (unsigned w = 0; w < FW_COUNT; w++) {
			uint32_t asked = dependent.word[w] & request->on.word[w] & choice->features.word[w];
			if (asked)
				return error_set(err, EINVAL,
						 "-cpu: flag '%s' needs '%s', which model '%s' as asked for lacks",
						 feature_words[w].names[__builtin_ctz(asked)], dependencies[i].needed,
						 choice->model->name);
			choice->features.word[w] &= ~dependent.word[w];
		}
	}
	return 0;
}

static void vendor_bits(struct cpu_choice *choice)
{
	struct feature_set *set = &choice->features;
	feature_set_list(set, is_amd(choice) ? amd_relief : intel_relief, true);
	struct feature_set foreign = {0};
	feature_set_list(&foreign, is_amd(choice) ? intel_relief : amd_relief, true);
	/* Intel has no topoext; its SPEC_CTRL bit is a different one from AMD's, and hosts of either kind may offer
	 * both. */
	if (!is_amd(choice))
		feature_set_list(&foreign, "topoext cmp-legacy cr8legacy mmxext fxsr-opt", true);
	for (unsigned w = 0; w < FW_COUNT; w++)
		set->word[w] &= ~foreign.word[w];
}

static int resolve(struct cpu_choice *choice, const struct request *request, const struct cpuid_table *offer_table,
		   const char *engine_name, struct error *err)
{
	struct feature_set offer, computed;
	feature_set_of_table(&offer, offer_table);
	computed_bits(&computed);
	struct feature_set *set = &choice->features;
	bool everything = !choice->model->flags && !choice->model->parent && strcmp(choice->model->name, "base");
	if (everything)
		*set = offer;
	else
		cpu_model_features(set, choice->model);
	struct feature_set own = *set;
	if (strcmp(choice->model->name, "base"))
		feature_set_list(set, default_flags, true);
	set->word[FW_KVM_EAX] = offer.word[FW_KVM_EAX];
	vendor_bits(choice);

	for (unsigned w = 0; w < FW_COUNT; w++) {
		uint32_t possible = offer.word[w] | computed.word[w];
		uint32_t missing = request->on.word[w] & ~possible;
		if (missing)
			return error_set(
				err, ENOTSUP, "-cpu: engine %s does not offer flag '%s' (asked for with model '%s')",
				engine_name, feature_words[w].names[__builtin_ctz(missing)], choice->model->name);
		missing = own.word[w] & ~request->off.word[w] & ~possible;
		if (missing && request->enforce)
			return error_set(
				err, ENOTSUP, "-cpu: engine %s does not offer flag '%s' of model '%s' (enforce=on)",
				engine_name, feature_words[w].names[__builtin_ctz(missing)], choice->model->name);
		set->word[w] = ((set->word[w] & ~request->off.word[w]) | request->on.word[w]) & possible;
	}
	if (!feature_has_name(set, "arch-capabilities"))
		set->word[FW_ARCH_CAP_LOW] = set->word[FW_ARCH_CAP_HIGH] = 0;
	return check_dependencies(choice, request, err);
}

int cpu_choice_parse(struct cpu_choice *choice, const char *text, const struct cpuid_table *offer,
		     const char *engine_name, struct error *err)
{
	bool kvm = !strcmp(engine_name, "kvm");
	struct options options = {0};
	struct request request = {0};
	memset(choice, 0, sizeof(*choice));
	choice->l3_cache = true;
	choice->kvm_leaves = true;
	int rc = options_parse(&options, text && *text ? text : kvm ? "host" : "max", "model-name", err);
	if (rc < 0)
		return error_prefix(err, "-cpu"), rc;
	if (!options.count || strcmp(options.items[0].key, "model-name")) {
		rc = error_set(err, EINVAL, "-cpu %s: the model's name comes first, as in max,+aes", text);
		goto out;
	}
	choice->model = find_model(options.items[0].value, err);
	if (!choice->model) {
		rc = -EINVAL;
		goto out;
	}
	identity(choice, kvm);
	rc = take_options(choice, &request, &options, err);
	if (!rc)
		rc = resolve(choice, &request, offer, engine_name, err);
out:
	options_free(&options);
	return rc;
}

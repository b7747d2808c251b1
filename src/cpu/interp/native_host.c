/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which instruction sets the host executes, by Zydis' names. Sets that are not in the table are never run natively.
 * Specification: SDM 2A CPUID, APM 3 appendix D.
 */
#include "cpu/interp/native_impl.h"

#include "base/util.h"

#include <cpuid.h>

enum leaf { L1_ECX, L1_EDX, L7_EBX, L7_ECX, L7_1_EAX, LX1_ECX, ALWAYS, LEAVES };

/* What the operating system must have enabled in XCR0 besides. */
enum { NEEDS_AVX = 0x6, NEEDS_AVX512 = 0xe6 };

struct isa_row {
	uint16_t first, last; /* ZydisISASet; the enumeration is alphabetic, so families are ranges */
	uint8_t leaf, bit, xcr0;
};

#define ONE(set, leaf, bit, xcr0)                                                                                      \
	{                                                                                                              \
		ZYDIS_ISA_SET_##set, ZYDIS_ISA_SET_##set, leaf, bit, xcr0                                              \
	}
#define RANGE(a, b, leaf, bit, xcr0)                                                                                   \
	{                                                                                                              \
		ZYDIS_ISA_SET_##a, ZYDIS_ISA_SET_##b, leaf, bit, xcr0                                                  \
	}

static const struct isa_row isa_rows[] = {
	ONE(I86, ALWAYS, 0, 0),
	ONE(I186, ALWAYS, 0, 0),
	ONE(I386, ALWAYS, 0, 0),
	ONE(I486REAL, ALWAYS, 0, 0),
	ONE(I486, ALWAYS, 0, 0),
	ONE(PENTIUMREAL, ALWAYS, 0, 0),
	ONE(PPRO, ALWAYS, 0, 0),
	ONE(LONGMODE, ALWAYS, 0, 0),
	ONE(CMOV, L1_EDX, 15, 0),
	ONE(CMPXCHG16B, L1_ECX, 13, 0),
	ONE(X87, L1_EDX, 0, 0),
	ONE(FCMOV, L1_EDX, 15, 0),
	ONE(PENTIUMMMX, L1_EDX, 23, 0),
	ONE(SSE, L1_EDX, 25, 0),
	ONE(SSE2, L1_EDX, 26, 0),
	ONE(SSE2MMX, L1_EDX, 26, 0),
	ONE(SSE3, L1_ECX, 0, 0),
	ONE(SSE3X87, L1_ECX, 0, 0),
	ONE(SSSE3, L1_ECX, 9, 0),
	ONE(SSSE3MMX, L1_ECX, 9, 0),
	ONE(SSE4, L1_ECX, 19, 0),
	ONE(SSE42, L1_ECX, 20, 0),
	ONE(SSE4A, LX1_ECX, 6, 0),
	ONE(POPCNT, L1_ECX, 23, 0),
	ONE(LZCNT, LX1_ECX, 5, 0),
	ONE(MOVBE, L1_ECX, 22, 0),
	ONE(AES, L1_ECX, 25, 0),
	ONE(PCLMULQDQ, L1_ECX, 1, 0),
	ONE(SHA, L7_EBX, 29, 0),
	ONE(GFNI, L7_ECX, 8, 0),
	ONE(ADOX_ADCX, L7_EBX, 19, 0),
	ONE(BMI1, L7_EBX, 3, 0),
	ONE(BMI2, L7_EBX, 8, 0),
	ONE(AVX, L1_ECX, 28, NEEDS_AVX),
	ONE(AVX2, L7_EBX, 5, NEEDS_AVX),
	ONE(AVXAES, L1_ECX, 25, NEEDS_AVX),
	ONE(AVX_GFNI, L7_ECX, 8, NEEDS_AVX),
	ONE(AVX_VNNI, L7_1_EAX, 4, NEEDS_AVX),
	ONE(F16C, L1_ECX, 29, NEEDS_AVX),
	ONE(FMA, L1_ECX, 12, NEEDS_AVX),
	ONE(VAES, L7_ECX, 9, NEEDS_AVX),
	ONE(VPCLMULQDQ, L7_ECX, 10, NEEDS_AVX),
	RANGE(AVX512F_128, AVX512F_SCALAR, L7_EBX, 16, NEEDS_AVX512),
	RANGE(AVX512BW_128, AVX512BW_KOP, L7_EBX, 30, NEEDS_AVX512),
	RANGE(AVX512CD_128, AVX512CD_512, L7_EBX, 28, NEEDS_AVX512),
	RANGE(AVX512DQ_128, AVX512DQ_SCALAR, L7_EBX, 17, NEEDS_AVX512),
	RANGE(AVX512_BF16_128, AVX512_BF16_512, L7_1_EAX, 5, NEEDS_AVX512),
	RANGE(AVX512_BITALG_128, AVX512_BITALG_512, L7_ECX, 12, NEEDS_AVX512),
	RANGE(AVX512_GFNI_128, AVX512_GFNI_512, L7_ECX, 8, NEEDS_AVX512),
	RANGE(AVX512_IFMA_128, AVX512_IFMA_512, L7_EBX, 21, NEEDS_AVX512),
	RANGE(AVX512_VAES_128, AVX512_VAES_512, L7_ECX, 9, NEEDS_AVX512),
	RANGE(AVX512_VBMI2_128, AVX512_VBMI2_512, L7_ECX, 6, NEEDS_AVX512),
	RANGE(AVX512_VBMI_128, AVX512_VBMI_512, L7_ECX, 1, NEEDS_AVX512),
	RANGE(AVX512_VNNI_128, AVX512_VNNI_512, L7_ECX, 11, NEEDS_AVX512),
	RANGE(AVX512_VPCLMULQDQ_128, AVX512_VPCLMULQDQ_512, L7_ECX, 10, NEEDS_AVX512),
	RANGE(AVX512_VPOPCNTDQ_128, AVX512_VPOPCNTDQ_512, L7_ECX, 14, NEEDS_AVX512),
};

/* CPUID leaves the guest when the host is itself a virtual machine: each leaf is asked for once. */
struct host {
	uint32_t words[LEAVES];
	uint32_t xcr0;
};

static void ask(struct host *host)
{
	uint32_t a = 0, b = 0, c = 0, d = 0, low, high;

	memset(host, 0, sizeof(*host));
	host->words[ALWAYS] = 1;
	if (__get_cpuid(1, &a, &b, &c, &d)) {
		host->words[L1_ECX] = c;
		host->words[L1_EDX] = d;
	}
	if (c & 1u << 27) { /* OSXSAVE */
		__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
		host->xcr0 = low;
	}
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
		host->words[L7_EBX] = b;
		host->words[L7_ECX] = c;
		if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d))
			host->words[L7_1_EAX] = a;
	}
	if (__get_cpuid(0x80000001, &a, &b, &c, &d))
		host->words[LX1_ECX] = c;
}

static bool row_holds(const struct host *host, const struct isa_row *row)
{
	if (row->xcr0 && (host->xcr0 & row->xcr0) != row->xcr0)
		return false;
	/* Every AVX-512 form is run only where its VL and BW parts exist: routines move 128..512 bits and 64-bit masks.
	 */
	if (row->xcr0 == NEEDS_AVX512 && (host->words[L7_EBX] & 3u << 30) != 3u << 30)
		return false;
	return host->words[row->leaf] >> row->bit & 1;
}

void native_host_sets(bool has[ZYDIS_ISA_SET_MAX_VALUE + 1])
{
	struct host host;

	ask(&host);
	memset(has, 0, ZYDIS_ISA_SET_MAX_VALUE + 1);
	for (size_t i = 0; i < ARRAY_SIZE(isa_rows); i++)
		for (unsigned set = isa_rows[i].first; set <= isa_rows[i].last; set++)
			has[set] = row_holds(&host, &isa_rows[i]);
}

/* Instruction sets of AVX-512, and the flag that offers each. Those of 128 and 256 bits need AVX512VL besides. */
#define FAMILY(first, last, field)                                                                                     \
	{                                                                                                              \
		ZYDIS_ISA_SET_##first, ZYDIS_ISA_SET_##last, offsetof(struct x86_features, field)                      \
	}
static const struct {
	uint16_t first, last, field;
} families[] = {
	FAMILY(AVX512F_128, AVX512F_SCALAR, avx512),
	FAMILY(AVX512BW_128, AVX512BW_KOP, avx512bw),
	FAMILY(AVX512CD_128, AVX512CD_512, avx512cd),
	FAMILY(AVX512DQ_128, AVX512DQ_SCALAR, avx512dq),
	FAMILY(AVX512_BF16_128, AVX512_BF16_512, avx512_bf16),
	FAMILY(AVX512_BITALG_128, AVX512_BITALG_512, avx512_bitalg),
	FAMILY(AVX512_GFNI_128, AVX512_GFNI_512, gfni),
	FAMILY(AVX512_IFMA_128, AVX512_IFMA_512, avx512ifma),
	FAMILY(AVX512_VAES_128, AVX512_VAES_512, vaes),
	FAMILY(AVX512_VBMI2_128, AVX512_VBMI2_512, avx512_vbmi2),
	FAMILY(AVX512_VBMI_128, AVX512_VBMI_512, avx512vbmi),
	FAMILY(AVX512_VNNI_128, AVX512_VNNI_512, avx512_vnni),
	FAMILY(AVX512_VPCLMULQDQ_128, AVX512_VPCLMULQDQ_512, vpclmul),
	FAMILY(AVX512_VPOPCNTDQ_128, AVX512_VPOPCNTDQ_512, avx512_vpopcntdq),
};

/* Scalar forms are sets of their own, with other endings. */
static bool needs_vl(ZydisISASet set)
{
	const char *name = ZydisISASetGetString(set), *bits = name ? strrchr(name, '_') : NULL;

	return bits && (!strcmp(bits, "_128") || !strcmp(bits, "_256"));
}

bool native_avx512_offered(const struct x86_features *features, ZydisISASet set)
{
	if (!features->avx512 || (needs_vl(set) && !features->avx512vl))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		if (set >= families[i].first && set <= families[i].last)
			return *(const bool *)((const char *)features + families[i].field);
	return false;
}

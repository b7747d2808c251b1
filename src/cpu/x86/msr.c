/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Model-specific registers: SDM 4 table 2-2, AMD APM 2 appendix A. A known set is modelled, a table of registers that
 * guests only probe reads as a constant and drops writes; everything else is #GP and a line in the guest-error log.
 */
#include "cpu/x86/internal.h"

enum {
	MSR_PLATFORM_ID = 0x17,
	MSR_TSC = 0x10,
	MSR_APIC_BASE = 0x1b,
	MSR_FEATURE_CONTROL = 0x3a,
	MSR_TSC_ADJUST = 0x3b,
	MSR_SPEC_CTRL = 0x48,
	MSR_PRED_CMD = 0x49,
	MSR_UCODE_WRITE = 0x79,
	MSR_UCODE_REV = 0x8b,
	MSR_ARCH_CAPABILITIES = 0x10a,
	MSR_FLUSH_CMD = 0x10b,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_MCG_CAP = 0x179,
	MSR_MCG_STATUS = 0x17a,
	MSR_MISC_ENABLE = 0x1a0,
	MSR_PAT = 0x277,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_X2APIC_FIRST = 0x800,
	MSR_X2APIC_LAST = 0x8ff,
	MSR_XSS = 0xda0,
};
#define MSR_EFER           0xc0000080u
#define MSR_STAR           0xc0000081u
#define MSR_LSTAR          0xc0000082u
#define MSR_CSTAR          0xc0000083u
#define MSR_SFMASK         0xc0000084u
#define MSR_FS_BASE        0xc0000100u
#define MSR_GS_BASE        0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX        0xc0000103u

/* Registers that are there for those who look, with nothing behind them. */
static const struct inert_msr {
	uint32_t first, last;
	uint64_t value;
	bool write; /* dropped; else #GP */
} inert_msrs[] = {
	{MSR_PLATFORM_ID, MSR_PLATFORM_ID, 0, false},
	{0x2a, 0x2a, 0, true},                               /* EBL_CR_POWERON */
	{0x34, 0x34, 0, false},                              /* SMI_COUNT */
	{MSR_FEATURE_CONTROL, MSR_FEATURE_CONTROL, 1, true}, /* locked, without VMX */
	{MSR_UCODE_WRITE, MSR_UCODE_WRITE, 0, true},
	{MSR_UCODE_REV, MSR_UCODE_REV, 0x101000065, true}, /* Intel: high half; AMD: low half */
	{0xcd, 0xcd, 3, false},                            /* FSB_FREQ */
	{0xce, 0xce, 0, false},                            /* PLATFORM_INFO */
	{0xe2, 0xe2, 0, true},                             /* PKG_CST_CONFIG_CONTROL */
	{0xe7, 0xe8, 0, false},                            /* MPERF, APERF */
	{0x11e, 0x11e, 0xbe702111, true},                  /* BBL_CR_CTL3 */
	{0x140, 0x140, 0, true},                           /* MISC_FEATURE_ENABLES */
	{0x17b, 0x17b, 0, true},                           /* MCG_CTL */
	{0x198, 0x199, 0, true},                           /* PERF_STATUS, PERF_CTL */
	{0x19a, 0x19c, 0, true},                           /* CLOCK_MODULATION, THERM_INTERRUPT, THERM_STATUS */
	{0x1ad, 0x1ad, 0, false},                          /* TURBO_RATIO_LIMIT */
	{0x1b0, 0x1b2, 0, true},                           /* ENERGY_PERF_BIAS, PACKAGE_THERM_* */
	{0x1d9, 0x1d9, 0, true},                           /* DEBUGCTL */
	{0x1db, 0x1de, 0, false},                          /* last branch records */
	{0x345, 0x345, 0, false},                          /* PERF_CAPABILITIES */
	{0x606, 0x606, 0, false},                          /* RAPL_POWER_UNIT */
	{0x611, 0x611, 0, false},
	{0x619, 0x619, 0, false},
	{0x639, 0x639, 0, false},
	{0x641, 0x641, 0, false},
	{0x64e, 0x64e, 0, false},                  /* PPERF */
	{0xc0010010, 0xc0010010, 0, true},         /* SYSCFG */
	{0xc0010015, 0xc0010015, 0x1000000, true}, /* HWCR: TscFreqSel */
	{0xc001001a, 0xc001001a, 0, true},         /* TOP_MEM */
	{0xc001001d, 0xc001001d, 0, true},         /* TOP_MEM2 */
	{0xc001001f, 0xc001001f, 0, true},         /* NB_CFG */
	{0xc0010055, 0xc0010055, 0, true},         /* INT_PENDING_MSG */
	{0xc0010058, 0xc0010058, 0, true},         /* MMIO_CFG_BASE */
	{0xc0010061, 0xc0010071, 0, true},         /* P-states */
	{0xc0010112, 0xc0010113, 0, true},         /* TSEG */
	{0xc0010114, 0xc0010114, 0x18, true},      /* VM_CR: SVM locked and disabled */
	{0xc0010117, 0xc0010117, 0, true},         /* VM_HSAVE_PA */
	{0xc0010140, 0xc0010141, 0, true},         /* OSVW */
	{0xc0011020, 0xc0011023, 0, true},         /* LS_CFG, IC_CFG, DC_CFG, BU_CFG */
	{0xc0011029, 0xc0011029, 2, true},         /* DE_CFG: LFENCE serialises */
	{0xc001102a, 0xc001102a, 0, true},         /* BU_CFG2 */
};

static const struct inert_msr *find_inert(uint32_t msr)
{
	for (size_t i = 0; i < ARRAY_SIZE(inert_msrs); i++)
		if (msr >= inert_msrs[i].first && msr <= inert_msrs[i].last)
			return &inert_msrs[i];
	return NULL;
}

_Noreturn static void gp(struct x86_cpu *cpu)
{
	x86_raise_error(cpu, X86_GP, 0);
}

static bool is_apic_msr(uint32_t msr)
{
	return msr == MSR_APIC_BASE || msr == MSR_TSC_DEADLINE || (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST);
}

/* CPUID feature bits that only MSRs ask for. */
static bool offers(const struct x86_cpu *cpu, uint32_t leaf, char which, unsigned bit)
{
	const struct cpuid_entry *entry = x86_cpuid_entry(cpu, leaf, 0);

	if (!entry)
		return false;
	return (which == 'b' ? entry->ebx : which == 'c' ? entry->ecx : entry->edx) >> bit & 1;
}

static uint64_t spec_ctrl_mask(const struct x86_cpu *cpu)
{
	const uint32_t amd = 0x80000008;
	uint64_t mask = 0;

	if (offers(cpu, 7, 'd', 26) || offers(cpu, amd, 'b', 14))
		mask |= 1; /* IBRS */
	if (offers(cpu, 7, 'd', 27) || offers(cpu, amd, 'b', 15))
		mask |= 2; /* STIBP */
	if (offers(cpu, 7, 'd', 31) || offers(cpu, amd, 'b', 24))
		mask |= 4; /* SSBD */
	return mask;
}

static bool pat_valid(uint64_t pat)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned type = pat >> (8 * i) & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

uint64_t x86_rdtsc(struct x86_cpu *cpu)
{
	const struct clock *clock = cpu->vcpu.engine->env.clock;

	return clock_tsc_at(clock, clock_now(clock)) + cpu->s.tsc_adjust;
}

/* --- reading --- */

_Noreturn static void unknown(struct x86_cpu *cpu, const char *verb, uint32_t msr, uint64_t value)
{
	log_guest(cpu->vcpu.engine->env.log, &cpu->delivery->limit,
		  "cpu%u: %s of unknown MSR %#x (value %#llx) at %#llx: #GP", cpu->vcpu.index, verb, msr,
		  (unsigned long long)value, (unsigned long long)cpu->s.rip);
	gp(cpu);
}

static bool read_state(struct x86_cpu *cpu, uint32_t msr, uint64_t *value)
{
	const struct x86_state *s = &cpu->s;

	switch (msr) {
	case MSR_SYSENTER_CS:
		*value = s->sysenter_cs;
		return true;
	case MSR_SYSENTER_ESP:
		*value = s->sysenter_esp;
		return true;
	case MSR_SYSENTER_EIP:
		*value = s->sysenter_eip;
		return true;
	case MSR_EFER:
		*value = s->efer;
		return true;
	case MSR_STAR:
		*value = s->star;
		return true;
	case MSR_LSTAR:
		*value = s->lstar;
		return true;
	case MSR_CSTAR:
		*value = s->cstar;
		return true;
	case MSR_SFMASK:
		*value = s->sfmask;
		return true;
	case MSR_FS_BASE:
		*value = s->seg[X86_FS].base;
		return true;
	case MSR_GS_BASE:
		*value = s->seg[X86_GS].base;
		return true;
	case MSR_KERNEL_GS_BASE:
		*value = s->kernel_gs_base;
		return true;
	case MSR_TSC_AUX:
		*value = s->tsc_aux;
		return cpu->features->rdtscp || cpu->features->rdpid;
	case MSR_PAT:
		*value = s->pat;
		return true;
	case MSR_TSC:
		*value = x86_rdtsc(cpu);
		return true;
	case MSR_TSC_ADJUST:
		*value = s->tsc_adjust;
		return true;
	case MSR_MISC_ENABLE:
		*value = s->misc_enable;
		return true;
	case MSR_MCG_CAP:
		*value = 0; /* no banks */
		return true;
	case MSR_MCG_STATUS:
		*value = s->mcg_status;
		return true;
	case MSR_SPEC_CTRL:
		*value = s->spec_ctrl;
		return spec_ctrl_mask(cpu);
	case MSR_XSS:
		*value = s->xss;
		return cpu->features->xsaves;
	case MSR_ARCH_CAPABILITIES:
		*value = cpu->features->arch_capabilities;
		return offers(cpu, 7, 'd', 29);
	default:
		return false;
	}
}

uint64_t x86_rdmsr(struct x86_cpu *cpu, uint32_t msr)
{
	const struct inert_msr *inert;
	uint64_t value = 0;

	if (cpu->cpl != 0)
		gp(cpu);
	if (is_apic_msr(msr)) {
		if (!cpu->vcpu.apic_ops && msr == MSR_APIC_BASE)
			return cpu->s.apic_base;
		if (!cpu->vcpu.apic_ops || cpu->vcpu.apic_ops->msr_read(cpu->vcpu.apic, msr, &value))
			gp(cpu);
		return value;
	}
	if (read_state(cpu, msr, &value) || x86_mtrr_read(cpu, msr, &value) || x86_kvm_msr_read(cpu, msr, &value))
		return value;
	inert = find_inert(msr);
	if (!inert)
		unknown(cpu, "read", msr, 0);
	return inert->value;
}

/* --- writing --- */

static void write_efer(struct x86_cpu *cpu, uint64_t value)
{
	uint64_t allowed = X86_EFER_LMA, old = cpu->s.efer;

	if (cpu->features->syscall || cpu->features->lm)
		allowed |= X86_EFER_SCE;
	if (cpu->features->lm)
		allowed |= X86_EFER_LME;
	if (cpu->features->nx)
		allowed |= X86_EFER_NXE;
	if (cpu->features->auto_ibrs)
		allowed |= 1ull << 21;
	if (offers(cpu, 0x80000001, 'd', 25))
		allowed |= 1ull << 14; /* FFXSR */
	if (value & ~allowed)
		gp(cpu);
	if ((value ^ old) & X86_EFER_LME && cpu->s.cr0 & X86_CR0_PG)
		gp(cpu);
	cpu->s.efer = (value & ~X86_EFER_LMA) | (old & X86_EFER_LMA);
	if ((value ^ old) & X86_EFER_NXE)
		x86_tlb_flush(cpu);
	x86_mode_update(cpu);
}

static void write_canonical(struct x86_cpu *cpu, uint64_t *to, uint64_t value)
{
	if (!x86_canonical(cpu, value))
		gp(cpu);
	*to = value;
}

static void write_masked(struct x86_cpu *cpu, uint64_t *to, uint64_t value, uint64_t mask)
{
	if (value & ~mask)
		gp(cpu);
	*to = value;
}

static void write_apic(struct x86_cpu *cpu, uint32_t msr, uint64_t value)
{
	const struct vcpu_apic_ops *ops = cpu->vcpu.apic_ops;

	if (!ops || ops->msr_write(cpu->vcpu.apic, msr, value))
		gp(cpu);
	if (msr == MSR_APIC_BASE) {
		if (ops->msr_read(cpu->vcpu.apic, msr, &cpu->s.apic_base))
			cpu->s.apic_base = value;
		x86_tlb_flush(cpu); /* RAM may appear or vanish where the page was */
	}
}

/* False: not one of these. */
static bool write_state(struct x86_cpu *cpu, uint32_t msr, uint64_t value)
{
	struct x86_state *s = &cpu->s;

	switch (msr) {
	case MSR_SYSENTER_CS:
		s->sysenter_cs = (uint32_t)value;
		return true;
	case MSR_SYSENTER_ESP:
		write_canonical(cpu, &s->sysenter_esp, value);
		return true;
	case MSR_SYSENTER_EIP:
		write_canonical(cpu, &s->sysenter_eip, value);
		return true;
	case MSR_EFER:
		write_efer(cpu, value);
		return true;
	case MSR_STAR:
		s->star = value;
		return true;
	case MSR_LSTAR:
		write_canonical(cpu, &s->lstar, value);
		return true;
	case MSR_CSTAR:
		write_canonical(cpu, &s->cstar, value);
		return true;
	case MSR_SFMASK:
		s->sfmask = (uint32_t)value;
		return true;
	case MSR_FS_BASE:
		write_canonical(cpu, &s->seg[X86_FS].base, value);
		return true;
	case MSR_GS_BASE:
		write_canonical(cpu, &s->seg[X86_GS].base, value);
		return true;
	case MSR_KERNEL_GS_BASE:
		write_canonical(cpu, &s->kernel_gs_base, value);
		return true;
	case MSR_TSC_AUX:
		if (!cpu->features->rdtscp && !cpu->features->rdpid)
			return false;
		write_masked(cpu, &s->tsc_aux, value, 0xffffffff);
		return true;
	case MSR_PAT:
		if (!pat_valid(value))
			gp(cpu);
		s->pat = value;
		return true;
	case MSR_TSC:
		s->tsc_adjust += value - x86_rdtsc(cpu);
		x86_tsc_moved(cpu);
		return true;
	case MSR_TSC_ADJUST:
		s->tsc_adjust = value;
		x86_tsc_moved(cpu);
		return true;
	case MSR_MISC_ENABLE:
		s->misc_enable = value;
		return true;
	case MSR_MCG_STATUS:
		write_masked(cpu, &s->mcg_status, value, 7);
		return true;
	case MSR_SPEC_CTRL:
		if (!spec_ctrl_mask(cpu))
			return false;
		write_masked(cpu, &s->spec_ctrl, value, spec_ctrl_mask(cpu));
		return true;
	case MSR_PRED_CMD:
		return spec_ctrl_mask(cpu) || offers(cpu, 0x80000008, 'b', 12);
	case MSR_FLUSH_CMD:
		return offers(cpu, 7, 'd', 28);
	case MSR_XSS:
		if (!cpu->features->xsaves)
			return false;
		write_masked(cpu, &s->xss, value, cpu->features->xss_supported);
		return true;
	default:
		return false;
	}
}

void x86_wrmsr(struct x86_cpu *cpu, uint32_t msr, uint64_t value)
{
	const struct inert_msr *inert;
	bool fault = false;

	if (cpu->cpl != 0)
		gp(cpu);
	if (is_apic_msr(msr)) {
		write_apic(cpu, msr, value);
		return;
	}
	if (write_state(cpu, msr, value))
		return;
	if (x86_mtrr_write(cpu, msr, value, &fault) || x86_kvm_msr_write(cpu, msr, value, &fault)) {
		if (fault)
			gp(cpu);
		return;
	}
	inert = find_inert(msr);
	if (!inert || !inert->write)
		unknown(cpu, "write", msr, value);
}

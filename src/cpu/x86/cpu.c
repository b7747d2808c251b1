/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Life of an x86 CPU: reset values (SDM 3A table 9-1), what is derived from the state, the way in and out of it. */
#include "cpu/x86/internal.h"

#include <stdlib.h>

static void segment_reset(struct x86_segment *segment, uint16_t selector, uint64_t base, uint32_t attr)
{
	*segment = (struct x86_segment){.selector = selector, .base = base, .limit = 0xffff, .attr = attr};
}

/* What INIT sets; power-on sets all of it, too. */
static void reset_common(struct x86_state *state)
{
	const uint32_t data = X86_SEG_P | X86_SEG_S | X86_TYPE_WRITE | X86_TYPE_ACCESSED;

	memset(state->gpr, 0, sizeof(state->gpr));
	state->gpr[X86_RDX] = 0x600; /* family, model, stepping; CPUID knows better */
	state->rip = 0xfff0;
	state->rflags = 2;
	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		segment_reset(&state->seg[i], 0, 0, data);
	segment_reset(&state->seg[X86_CS], 0xf000, 0xffff0000, data | X86_TYPE_CODE);
	segment_reset(&state->ldtr, 0, 0, X86_SEG_P | X86_SYS_LDT);
	segment_reset(&state->tr, 0, 0, X86_SEG_P | X86_SYS_TSS32_BUSY);
	state->gdtr = state->idtr = (struct x86_table){.base = 0, .limit = 0xffff};
	state->cr2 = state->cr3 = state->cr4 = state->cr8 = 0;
	memset(state->dr, 0, sizeof(state->dr));
	state->dr6 = 0xffff0ff0;
	state->dr7 = 0x400;
	state->efer = 0;
	state->shadow_sti = state->shadow_ss = false;
	state->nmi_masked = state->nmi_pending = false;
	state->exception_pending = false;
}

static void fpu_reset(struct x86_fpu *fpu)
{
	memset(fpu, 0, sizeof(*fpu));
	fpu->fcw = 0x40; /* after reset; FNINIT makes it 0x37f */
	fpu->mxcsr = 0x1f80;
}

void x86_state_reset(struct x86_state *state, bool bsp)
{
	memset(state, 0, sizeof(*state));
	reset_common(state);
	state->cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET;
	state->xcr0 = 1;
	fpu_reset(&state->fpu);
	state->pat = 0x0007040600070406ull;
	state->apic_base = 0xfee00800ull | (bsp ? 0x100 : 0);
	state->misc_enable = 1; /* fast strings */
	state->mp_state = bsp ? X86_MP_RUNNING : X86_MP_WAIT_SIPI;
}

void x86_mode_update(struct x86_cpu *cpu)
{
	static const uint8_t data_segments[] = {X86_DS, X86_ES, X86_SS};
	const struct x86_state *s = &cpu->s;
	const uint32_t cs = s->seg[X86_CS].attr;
	bool protection = s->cr0 & X86_CR0_PE;
	bool flat = true;

	cpu->vm86 = protection && s->rflags & X86_VM;
	cpu->protected_mode = protection && !cpu->vm86;
	cpu->long_mode = s->efer & X86_EFER_LMA;
	cpu->paging = s->cr0 & X86_CR0_PG;
	cpu->cpl = !protection ? 0 : cpu->vm86 ? 3 : x86_attr_dpl(s->seg[X86_SS].attr);
	cpu->breakpoints_armed = s->dr7 & 0xff;
	if (cpu->long_mode && cs & X86_SEG_L) {
		cpu->code_mode = X86_CODE64;
		cpu->stack_mask = ~0ull;
	} else {
		cpu->code_mode = !cpu->vm86 && cs & X86_SEG_DB ? X86_CODE32 : X86_CODE16;
		cpu->stack_mask = s->seg[X86_SS].attr & X86_SEG_DB ? 0xffffffff : 0xffff;
		for (unsigned i = 0; i < ARRAY_SIZE(data_segments); i++) {
			const struct x86_segment *segment = &s->seg[data_segments[i]];

			flat &= !segment->base && segment->limit == 0xffffffff &&
				(segment->attr & (X86_SEG_UNUSABLE | X86_SEG_S | X86_TYPE_CODE | X86_TYPE_DOWN |
						  X86_TYPE_WRITE)) == (X86_SEG_S | X86_TYPE_WRITE);
		}
	}
	cpu->flat_data = flat;
	x86_choose_view(cpu);
}

void x86_cpu_reset(struct x86_cpu *cpu, bool init)
{
	const struct cpuid_entry *signature = x86_cpuid_entry(cpu, 1, 0);

	if (init) {
		/* INIT leaves caches, FPU and most MSRs alone; CD and NW keep their values. */
		cpu->s.cr0 = (cpu->s.cr0 & (X86_CR0_CD | X86_CR0_NW)) | X86_CR0_ET;
		reset_common(&cpu->s);
	} else {
		x86_state_reset(&cpu->s, cpu->vcpu.index == 0);
	}
	if (signature)
		cpu->s.gpr[X86_RDX] = signature->eax;
	cpu->debug_pending = 0;
	cpu->delivery->kind = X86_DELIVER_NONE;
	cpu->delivery->chain_length = 0;
	x86_tlb_flush(cpu);
	x86_mode_update(cpu);
}

int x86_cpu_init(struct x86_cpu *cpu, struct engine *engine, unsigned index, uint32_t apic_id, struct error *err)
{
	(void)err;
	cpu->vcpu.engine = engine;
	cpu->vcpu.index = index;
	cpu->vcpu.apic_id = apic_id;
	cpu->cpuid = engine->env.cpuid;
	cpu->a20_mask = ~0ull;
	cpu->fault_log = xcalloc(1, sizeof(*cpu->fault_log));
	cpu->delivery = xcalloc(1, sizeof(*cpu->delivery));
	cpu->translation = xcalloc(1, sizeof(*cpu->translation));
	cpu->features = xcalloc(1, sizeof(*cpu->features));
	cpu->xsave_components = xcalloc(1, sizeof(*cpu->xsave_components));
	x86_features_from(cpu->features, cpu->cpuid);
	x86_xsave_components_init(cpu);
	if (cpu->features->phys_bits < 32 || cpu->features->phys_bits > 52)
		cpu->features->phys_bits = 40;
	x86_tlb_init(cpu);
	x86_cpu_reset(cpu, false);
	return 0;
}

void x86_cpu_fini(struct x86_cpu *cpu)
{
	free(cpu->fault_log);
	free(cpu->delivery);
	free(cpu->translation);
	free(cpu->features);
	free(cpu->xsave_components);
	cpu->fault_log = NULL;
	cpu->delivery = NULL;
	cpu->translation = NULL;
	cpu->features = NULL;
	cpu->xsave_components = NULL;
}

void x86_cpu_get_state(struct x86_cpu *cpu, struct x86_state *state)
{
	x86_flags_sync(cpu);
	*state = cpu->s;
	state->tsc = x86_rdtsc(cpu);
	if (cpu->vcpu.apic_ops) {
		uint64_t value;

		state->cr8 = cpu->vcpu.apic_ops->get_tpr(cpu->vcpu.apic);
		if (!cpu->vcpu.apic_ops->msr_read(cpu->vcpu.apic, 0x1b, &value))
			state->apic_base = value;
		if (!cpu->vcpu.apic_ops->msr_read(cpu->vcpu.apic, 0x6e0, &value))
			state->tsc_deadline = value;
	}
	if (atomic_load_explicit(&cpu->vcpu.events, memory_order_relaxed) & VCPU_NMI)
		state->nmi_pending = true;
}

void x86_cpu_set_state(struct x86_cpu *cpu, const struct x86_state *state)
{
	cpu->s = *state;
	cpu->s.rflags = (cpu->s.rflags & X86_RFLAGS_DEFINED) | 2;
	cpu->s.fpu.mxcsr &= X86_MXCSR_DEFINED; /* the host's own LDMXCSR is to take it */
	cpu->debug_pending = 0;
	cpu->delivery->kind = X86_DELIVER_NONE;
	cpu->delivery->chain_length = 0;
	/* LMA follows from the others; a state from elsewhere may leave it out. */
	if (cpu->s.efer & X86_EFER_LME && cpu->s.cr0 & X86_CR0_PG && cpu->s.cr4 & X86_CR4_PAE)
		cpu->s.efer |= X86_EFER_LMA;
	else
		cpu->s.efer &= ~X86_EFER_LMA;
	x86_tlb_flush(cpu);
	x86_mode_update(cpu);
	x86_tsc_moved(cpu);
	(void)x86_load_pdptes(cpu, cpu->s.cr0, cpu->s.cr3, cpu->s.cr4);
	/* Makes the engine call x86_take_events. */
	if (state->exception_pending || state->nmi_pending)
		atomic_fetch_or_explicit(&cpu->vcpu.events, VCPU_INTR, memory_order_release);
}

void x86_cpu_mirror(struct x86_cpu *cpu, const struct x86_cpu *of)
{
	cpu->s = of->s;
	cpu->a20_mask = of->a20_mask;
	cpu->debug_pending = of->debug_pending;
	memcpy(cpu->translation->pdpte, of->translation->pdpte, sizeof(of->translation->pdpte));
	x86_tlb_flush(cpu);
	x86_mode_update(cpu);
}

const struct cpuid_entry *x86_cpuid_entry(const struct x86_cpu *cpu, uint32_t leaf, uint32_t subleaf)
{
	const struct cpuid_table *table = cpu->cpuid;

	for (size_t i = 0; table && i < table->count; i++)
		if (table->entries[i].leaf == leaf &&
		    (!table->entries[i].subleaf_matters || table->entries[i].subleaf == subleaf))
			return &table->entries[i];
	return NULL;
}

bool x86_is_amd(const struct x86_cpu *cpu)
{
	const struct cpuid_entry *entry = x86_cpuid_entry(cpu, 0, 0);

	return entry && (entry->ebx == 0x68747541 /* Auth */ || entry->ebx == 0x6f677948 /* Hygo */);
}

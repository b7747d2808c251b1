/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exceptions and interrupts: raising, delivery through the real-mode vector table, the 32-bit IDT and the 64-bit IDT
 * (SDM 3A chapter 6; 20.1.4 real mode; 20.3 vm86 and the VME redirection map). Double and triple faults are in fault.c.
 *
 * A fault during a delivery finds cpu->delivery->kind set: that is how x86_raise_error knows the EXT bit and
 * x86_deliver_fault the first event of a double fault.
 *
 * Left out: SMM, machine checks that the host would have to invent, shadow stacks.
 */
#include "cpu/x86/internal.h"

/* --- raising --- */

_Noreturn static void raise(struct x86_cpu *cpu, enum x86_vector vector, bool has_error, uint32_t error)
{
	x86_bus_unlock(cpu);
	cpu->fault_vector = vector;
	cpu->fault_has_error = has_error;
	cpu->fault_error = error;
	if (vector != X86_DB)
		cpu->fault_dr6 = 0;
	longjmp(*cpu->fault_exit, 1);
}

_Noreturn void x86_raise(struct x86_cpu *cpu, enum x86_vector vector)
{
	raise(cpu, vector, false, 0);
}

_Noreturn void x86_raise_error(struct x86_cpu *cpu, enum x86_vector vector, uint32_t error)
{
	const struct x86_delivery *delivery = cpu->delivery;

	/* EXT: the fault came up while something the program did not ask for was being delivered */
	if (delivery->kind != X86_DELIVER_NONE && delivery->kind != X86_DELIVER_SOFTWARE && vector >= X86_TS &&
	    vector <= X86_GP)
		error |= 1;
	raise(cpu, vector, true, error);
}

_Noreturn void x86_raise_page_fault(struct x86_cpu *cpu, uint64_t gva, uint32_t error)
{
	cpu->s.cr2 = gva;
	raise(cpu, X86_PFV, true, error);
}

/* --- what is pushed --- */

static bool is_fault_class(uint8_t vector)
{
	/* not #DB, NMI, #BP, #OF, #DF, #MC */
	return vector < 32 &&
	       !((1u << X86_DB | 1u << X86_NMI | 1u << X86_BP | 1u << X86_OFV | 1u << X86_DFV | 1u << X86_MC) >>
			 vector &
		 1);
}

/* RFLAGS as it is pushed: RF says "do not trap on the same breakpoint again" (SDM 3B 17.3.1.1). */
static uint64_t flags_image(const struct x86_cpu *cpu, uint8_t vector, enum x86_delivery_kind kind)
{
	uint64_t flags = (cpu->s.rflags & X86_RFLAGS_DEFINED) | 2;

	if (kind == X86_DELIVER_EXCEPTION && is_fault_class(vector))
		flags |= X86_RF;
	else if (kind == X86_DELIVER_SOFTWARE || kind == X86_DELIVER_ICEBP)
		flags &= ~(uint64_t)X86_RF;
	return flags;
}

_Noreturn static void raise_gate(struct x86_cpu *cpu, enum x86_vector vector, uint8_t which)
{
	x86_raise_error(cpu, vector, which * 8u + 2);
}

static bool checks_dpl(enum x86_delivery_kind kind)
{
	return kind == X86_DELIVER_SOFTWARE;
}

/* --- real mode --- */

static void deliver_real(struct x86_cpu *cpu, uint8_t vector, uint64_t flags, uint64_t return_rip)
{
	struct x86_stack stack;
	uint32_t entry;

	if (vector * 4u + 3 > cpu->s.idtr.limit)
		raise_gate(cpu, X86_GP, vector);
	entry = x86_system_read32(cpu, cpu->s.idtr.base + vector * 4u);
	x86_stack_current(cpu, &stack);
	x86_stack_push(cpu, &stack, flags & 0xffff, 2);
	x86_stack_push(cpu, &stack, cpu->s.seg[X86_CS].selector, 2);
	x86_stack_push(cpu, &stack, return_rip & 0xffff, 2);
	x86_stack_commit(cpu, &stack);
	x86_segment_set_real(&cpu->s.seg[X86_CS], entry >> 16);
	cpu->s.rip = entry & 0xffff;
	x86_rflags_replace(cpu, 0, X86_IF | X86_TF | X86_AC | X86_RF);
	x86_mode_update(cpu);
}

/* --- vm86: INT n by CR4.VME's redirection map (SDM 3A 20.3.3) --- */

static bool vm86_redirected(struct x86_cpu *cpu, uint8_t vector)
{
	const struct x86_segment *tr = &cpu->s.tr;
	uint32_t map;

	if (!(cpu->s.cr4 & X86_CR4_VME) || !(tr->attr & 8) || tr->limit < 0x67)
		return false;
	map = x86_system_read16(cpu, tr->base + 0x66);
	if (map < 32 || map - 32 + vector / 8u > tr->limit)
		return false;
	x86_flags_sync(cpu);
	map = map - 32 + vector / 8u;
	{
		uint8_t byte;

		x86_read_block(cpu, x86_system_gva(cpu, tr->base + map), &byte, 1, X86_IMPLICIT);
		return !(byte >> (vector & 7) & 1);
	}
}

static void deliver_vm86_redirected(struct x86_cpu *cpu, uint8_t vector, uint64_t return_rip)
{
	uint64_t flags = (cpu->s.rflags & X86_RFLAGS_DEFINED) | 2;
	struct x86_stack stack;
	uint32_t entry;

	entry = 0;
	x86_read_block(cpu, vector * 4u, &entry, 4, X86_USER);
	if (x86_iopl(cpu) < 3) { /* the virtual interrupt flag takes IF's place */
		flags = (flags & ~(uint64_t)X86_IF) | X86_IOPL;
		if (cpu->s.rflags & X86_VIF)
			flags |= X86_IF;
	}
	x86_stack_current(cpu, &stack);
	x86_stack_push(cpu, &stack, flags & 0xffff, 2);
	x86_stack_push(cpu, &stack, cpu->s.seg[X86_CS].selector, 2);
	x86_stack_push(cpu, &stack, return_rip & 0xffff, 2);
	x86_stack_commit(cpu, &stack);
	x86_segment_set_vm86(&cpu->s.seg[X86_CS], entry >> 16);
	cpu->s.rip = entry & 0xffff;
	x86_rflags_replace(cpu, 0, X86_TF | X86_RF | X86_NT | (x86_iopl(cpu) < 3 ? X86_VIF : X86_IF));
	x86_mode_update(cpu);
}

/* --- protected mode, not long --- */

/* Reads and checks the handler's code segment; *cpl: the level the handler runs at. */
static void handler_segment(struct x86_cpu *cpu, uint16_t selector, struct x86_descriptor *code, unsigned *cpl)
{
	unsigned dpl;

	if (x86_selector_null(selector))
		x86_raise_error(cpu, X86_GP, 0);
	x86_descriptor_get(cpu, selector, code, X86_GP);
	dpl = x86_attr_dpl(code->attr);
	if (!x86_attr_code(code->attr) || dpl > cpu->cpl)
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	if (cpu->long_mode && (code->attr & (X86_SEG_L | X86_SEG_DB)) != X86_SEG_L)
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	if (!(code->attr & X86_SEG_P))
		x86_raise_error(cpu, X86_NP, selector & ~3u);
	*cpl = code->attr & X86_TYPE_CONFORMING ? cpu->cpl : dpl;
	if (cpu->vm86 && *cpl != 0)
		x86_raise_error(cpu, X86_GP, selector & ~3u);
	x86_descriptor_accessed(cpu, code);
}

static void deliver_task_gate(struct x86_cpu *cpu, uint64_t gate, bool has_error, uint32_t error, uint64_t return_rip)
{
	x86_task_gate(cpu, gate, X86_TASK_INTERRUPT, return_rip);
	if (has_error) {
		struct x86_stack stack;

		x86_stack_current(cpu, &stack);
		x86_stack_push(cpu, &stack, error, cpu->s.tr.attr & 8 ? 4 : 2);
		x86_stack_commit(cpu, &stack);
	}
	if (cpu->s.rip > cpu->s.seg[X86_CS].limit)
		x86_raise_error(cpu, X86_GP, 0);
}

static void deliver_protected(struct x86_cpu *cpu, uint8_t vector, enum x86_delivery_kind kind, uint64_t flags,
			      bool has_error, uint32_t error, uint64_t return_rip)
{
	static const uint8_t vm86_segments[] = {X86_GS, X86_FS, X86_DS, X86_ES};
	struct x86_descriptor code, stack_descriptor;
	struct x86_segment new_cs;
	struct x86_stack stack;
	uint64_t gate;
	uint64_t new_rip;
	unsigned type, size, cpl;
	bool inner;
	uint16_t new_ss = 0;

	if (vector * 8u + 7 > cpu->s.idtr.limit)
		raise_gate(cpu, X86_GP, vector);
	gate = x86_system_read64(cpu, cpu->s.idtr.base + vector * 8u);
	type = gate >> 40 & 0x1f;
	if (type != X86_SYS_TASK_GATE && (type & ~9u) != X86_SYS_INTERRUPT_GATE16)
		raise_gate(cpu, X86_GP, vector);
	if (checks_dpl(kind) && (gate >> 45 & 3) < cpu->cpl)
		raise_gate(cpu, X86_GP, vector);
	if (!(gate >> 47 & 1))
		raise_gate(cpu, X86_NP, vector);
	if (type == X86_SYS_TASK_GATE) {
		deliver_task_gate(cpu, gate, has_error, error, return_rip);
		return;
	}
	handler_segment(cpu, gate >> 16, &code, &cpl);
	inner = cpl < cpu->cpl;
	size = type & 8 ? 4 : 2;
	new_rip = (gate & 0xffff) | (type & 8 ? gate >> 32 & 0xffff0000 : 0);
	if (inner) {
		uint32_t esp;

		x86_tss_stack(cpu, cpl, &new_ss, &esp);
		x86_stack_segment_check(cpu, new_ss, &stack_descriptor, cpl, X86_TS);
		x86_descriptor_accessed(cpu, &stack_descriptor);
		x86_stack_new(&stack, new_ss, &stack_descriptor, esp, cpl);
		if (cpu->vm86)
			for (unsigned i = 0; i < ARRAY_SIZE(vm86_segments); i++)
				x86_stack_push(cpu, &stack, cpu->s.seg[vm86_segments[i]].selector, size);
		x86_stack_push(cpu, &stack, cpu->s.seg[X86_SS].selector, size);
		x86_stack_push(cpu, &stack, cpu->s.gpr[X86_RSP], size);
	} else {
		x86_stack_current(cpu, &stack);
	}
	x86_stack_push(cpu, &stack, flags, size);
	x86_stack_push(cpu, &stack, cpu->s.seg[X86_CS].selector, size);
	x86_stack_push(cpu, &stack, return_rip, size);
	if (has_error)
		x86_stack_push(cpu, &stack, error, size);
	x86_segment_set(&new_cs, (gate >> 16 & 0xfffc) | cpl, &code);
	x86_check_rip(cpu, &new_cs, new_rip);

	cpu->s.seg[X86_CS] = new_cs;
	cpu->s.rip = new_rip;
	if (inner) {
		x86_segment_set(&cpu->s.seg[X86_SS], new_ss, &stack_descriptor);
		if (cpu->vm86)
			for (unsigned i = 0; i < ARRAY_SIZE(vm86_segments); i++)
				x86_segment_set_null(&cpu->s.seg[vm86_segments[i]], 0, 0);
	}
	x86_stack_commit(cpu, &stack);
	x86_rflags_replace(cpu, 0, X86_TF | X86_NT | X86_RF | X86_VM | (type & 1 ? 0 : X86_IF));
	x86_mode_update(cpu);
}

/* --- long mode --- */

static void deliver_long(struct x86_cpu *cpu, uint8_t vector, enum x86_delivery_kind kind, uint64_t flags,
			 bool has_error, uint32_t error, uint64_t return_rip)
{
	struct x86_descriptor code;
	uint64_t gate[2], frame[6], rsp, new_rip;
	unsigned type, cpl, ist, count = has_error ? 6 : 5;
	uint16_t selector;

	if (vector * 16u + 15 > cpu->s.idtr.limit)
		raise_gate(cpu, X86_GP, vector);
	x86_read_block(cpu, cpu->s.idtr.base + vector * 16u, gate, sizeof(gate), X86_IMPLICIT);
	type = gate[0] >> 40 & 0x1f;
	if (type != X86_SYS_INTERRUPT_GATE32 && type != X86_SYS_TRAP_GATE32)
		raise_gate(cpu, X86_GP, vector);
	if (checks_dpl(kind) && (gate[0] >> 45 & 3) < cpu->cpl)
		raise_gate(cpu, X86_GP, vector);
	if (!(gate[0] >> 47 & 1))
		raise_gate(cpu, X86_NP, vector);
	selector = gate[0] >> 16 & 0xffff;
	ist = gate[0] >> 32 & 7;
	new_rip = (gate[0] & 0xffff) | (gate[0] >> 32 & 0xffff0000) | gate[1] << 32;
	handler_segment(cpu, selector, &code, &cpl);

	if (ist)
		rsp = x86_tss_rsp(cpu, 3 + ist);
	else if (cpl < cpu->cpl)
		rsp = x86_tss_rsp(cpu, cpl);
	else
		rsp = cpu->s.gpr[X86_RSP];
	rsp = (rsp & ~15ull) - 8 * count;
	if (!x86_canonical(cpu, rsp) || !x86_canonical(cpu, rsp + 8 * count - 1))
		x86_raise_error(cpu, X86_SSF, 0);
	frame[0] = error;
	frame[1] = return_rip;
	frame[2] = cpu->s.seg[X86_CS].selector;
	frame[3] = flags;
	frame[4] = cpu->s.gpr[X86_RSP];
	frame[5] = cpu->s.seg[X86_SS].selector;
	x86_write_block(cpu, rsp, &frame[6 - count], 8 * count, cpl == 3 ? X86_USER : 0);
	if (!x86_canonical(cpu, new_rip))
		x86_raise_error(cpu, X86_GP, 0);

	if (cpl < cpu->cpl)
		x86_segment_set_null(&cpu->s.seg[X86_SS], cpl, cpl);
	x86_segment_set(&cpu->s.seg[X86_CS], (selector & 0xfffc) | cpl, &code);
	cpu->s.gpr[X86_RSP] = rsp;
	cpu->s.rip = new_rip;
	x86_rflags_replace(cpu, 0, X86_TF | X86_NT | X86_RF | X86_VM | (type & 1 ? 0 : X86_IF));
	x86_mode_update(cpu);
}

/* --- all modes --- */

static void record(struct x86_cpu *cpu, uint8_t vector, enum x86_delivery_kind kind, bool has_error, uint32_t error)
{
	struct x86_fault_log *log = cpu->fault_log;
	struct x86_fault_record *entry = &log->record[log->next++ % X86_FAULT_LOG_ENTRIES];

	*entry = (struct x86_fault_record){.vector = vector,
					   .kind = kind,
					   .cpl = cpu->cpl,
					   .has_error = has_error,
					   .error = error,
					   .cs = cpu->s.seg[X86_CS].selector,
					   .ss = cpu->s.seg[X86_SS].selector,
					   .rip = cpu->s.rip,
					   .rsp = cpu->s.gpr[X86_RSP],
					   .cr2 = cpu->s.cr2,
					   .instructions =
						   atomic_load_explicit(&cpu->vcpu.instructions, memory_order_relaxed)};
	if (__builtin_expect(log_on(cpu->vcpu.engine->env.log, LOG_INT), 0))
		log_write(cpu->vcpu.engine->env.log,
			  "int: cpu%u vector %#x kind %u error %#x cpl %u at %#x:%#llx rsp %#llx cr2 %#llx",
			  cpu->vcpu.index, vector, kind, error, cpu->cpl, entry->cs, (unsigned long long)entry->rip,
			  (unsigned long long)entry->rsp, (unsigned long long)entry->cr2);
}

void x86_deliver(struct x86_cpu *cpu, uint8_t vector, enum x86_delivery_kind kind, bool has_error, uint32_t error,
		 uint64_t return_rip)
{
	struct x86_delivery *delivery = cpu->delivery;
	uint64_t flags;

	x86_flags_sync(cpu);
	record(cpu, vector, kind, has_error, error);
	delivery->kind = kind;
	delivery->vector = vector;
	flags = flags_image(cpu, vector, kind);
	if (cpu->long_mode)
		deliver_long(cpu, vector, kind, flags, has_error, error, return_rip);
	else if (!(cpu->s.cr0 & X86_CR0_PE))
		deliver_real(cpu, vector, flags, return_rip);
	else
		deliver_protected(cpu, vector, kind, flags, has_error, error, return_rip);
	delivery->kind = X86_DELIVER_NONE;
	delivery->chain_length = 0;
	cpu->s.shadow_sti = cpu->s.shadow_ss = false;
	cpu->s.mp_state = X86_MP_RUNNING;
}

void x86_deliver_interrupt(struct x86_cpu *cpu, uint8_t vector)
{
	x86_deliver(cpu, vector, X86_DELIVER_INTERRUPT, false, 0, cpu->s.rip);
}

void x86_deliver_nmi(struct x86_cpu *cpu)
{
	cpu->s.nmi_masked = true;
	x86_deliver(cpu, X86_NMI, X86_DELIVER_NMI, false, 0, cpu->s.rip);
}

void x86_deliver_pending(struct x86_cpu *cpu)
{
	uint8_t vector = cpu->s.exception_vector;
	enum x86_delivery_kind kind = cpu->s.exception_soft ? X86_DELIVER_SOFTWARE
				      : vector == X86_NMI   ? X86_DELIVER_NMI
				      : vector < 32         ? X86_DELIVER_EXCEPTION
							    : X86_DELIVER_INTERRUPT;

	if (kind == X86_DELIVER_NMI)
		cpu->s.nmi_masked = true;
	x86_deliver(cpu, vector, kind, cpu->s.exception_has_error && cpu->s.cr0 & X86_CR0_PE, cpu->s.exception_error,
		    cpu->s.rip);
}

/* True when the instruction at rip is INT n (CD) and not one of the one-byte forms CC, CE, F1 for the same vector. */
static bool is_two_byte_int(struct x86_cpu *cpu, uint64_t next_rip)
{
	uint64_t base = cpu->code_mode == X86_CODE64 ? 0 : cpu->s.seg[X86_CS].base;
	uint64_t length = next_rip - cpu->s.rip;
	uint8_t byte = 0;

	if (length < 2 || length > 15)
		return false;
	for (uint64_t i = 0; i + 1 < length; i++) {
		uint64_t gva = base + cpu->s.rip + i;

		x86_read_slow(cpu, cpu->code_mode == X86_CODE64 ? gva : (uint32_t)gva, &byte, 1,
			      x86_user_access(cpu) | X86_FETCH);
	}
	return byte == 0xcd;
}

void x86_software_interrupt(struct x86_cpu *cpu, uint8_t vector, uint64_t next_rip)
{
	enum x86_delivery_kind kind = X86_DELIVER_SOFTWARE;
	bool int_n = (vector != X86_DB && vector != X86_BP && vector != X86_OFV) || is_two_byte_int(cpu, next_rip);

	if (vector == X86_DB && !int_n)
		kind = X86_DELIVER_ICEBP;
	if (cpu->vm86 && int_n) {
		cpu->delivery->kind = kind;
		if (vm86_redirected(cpu, vector)) {
			x86_flags_sync(cpu);
			deliver_vm86_redirected(cpu, vector, next_rip);
			cpu->delivery->kind = X86_DELIVER_NONE;
			return;
		}
		cpu->delivery->kind = X86_DELIVER_NONE;
		if (x86_iopl(cpu) < 3)
			x86_raise_error(cpu, X86_GP, 0);
	}
	x86_deliver(cpu, vector, kind, false, 0, next_rip);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* struct x86_state and KVM's registers, system registers, events, debug registers and MP state. */
#include "base/util.h"
#include "cpu/kvm/internal.h"
#include "cpu/x86/cpu.h"

#include <sys/ioctl.h>

static void warn(struct kvm_vcpu *v, const char *what, int rc)
{
	if (rc < 0)
		log_warn(v->kvm->engine.env.log, "CPU %u: %s: %s", v->vcpu.index, what, strerror(-rc));
}

/* KVM's order of general registers, as encoding numbers. */
static void gprs_from_kvm(const struct kvm_regs *r, uint64_t gpr[16])
{
	const uint64_t values[16] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp, r->rsi, r->rdi,
				     r->r8,  r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15};
	memcpy(gpr, values, sizeof(values));
}

static struct kvm_regs gprs_to_kvm(const struct x86_state *s)
{
	const uint64_t *g = s->gpr;
	return (struct kvm_regs){.rax = g[0],
				 .rcx = g[1],
				 .rdx = g[2],
				 .rbx = g[3],
				 .rsp = g[4],
				 .rbp = g[5],
				 .rsi = g[6],
				 .rdi = g[7],
				 .r8 = g[8],
				 .r9 = g[9],
				 .r10 = g[10],
				 .r11 = g[11],
				 .r12 = g[12],
				 .r13 = g[13],
				 .r14 = g[14],
				 .r15 = g[15],
				 .rip = s->rip,
				 .rflags = s->rflags};
}

static struct x86_segment segment_from_kvm(const struct kvm_segment *k)
{
	uint32_t attr = k->type | (uint32_t)k->s << 4 | (uint32_t)k->dpl << 5 | (uint32_t)k->present << 7 |
			(uint32_t)k->avl << 12 | (uint32_t)k->l << 13 | (uint32_t)k->db << 14 | (uint32_t)k->g << 15 |
			(uint32_t)k->unusable << 16;
	return (struct x86_segment){.base = k->base, .limit = k->limit, .attr = attr, .selector = k->selector};
}

static struct kvm_segment segment_to_kvm(const struct x86_segment *s)
{
	return (struct kvm_segment){.base = s->base,
				    .limit = s->limit,
				    .selector = s->selector,
				    .type = s->attr & 0xf,
				    .s = s->attr >> 4 & 1,
				    .dpl = s->attr >> 5 & 3,
				    .present = s->attr >> 7 & 1,
				    .avl = s->attr >> 12 & 1,
				    .l = s->attr >> 13 & 1,
				    .db = s->attr >> 14 & 1,
				    .g = s->attr >> 15 & 1,
				    .unusable = s->attr >> 16 & 1};
}

static void sregs_from_kvm(const struct kvm_sregs *k, struct x86_state *s)
{
	const struct kvm_segment *segments[X86_SEGMENTS] = {[X86_ES] = &k->es, [X86_CS] = &k->cs, [X86_SS] = &k->ss,
							    [X86_DS] = &k->ds, [X86_FS] = &k->fs, [X86_GS] = &k->gs};
	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		s->seg[i] = segment_from_kvm(segments[i]);
	s->ldtr = segment_from_kvm(&k->ldt);
	s->tr = segment_from_kvm(&k->tr);
	s->gdtr = (struct x86_table){k->gdt.base, k->gdt.limit};
	s->idtr = (struct x86_table){k->idt.base, k->idt.limit};
	s->cr0 = k->cr0;
	s->cr2 = k->cr2;
	s->cr3 = k->cr3;
	s->cr4 = k->cr4;
	s->cr8 = k->cr8;
	s->efer = k->efer;
	s->apic_base = k->apic_base;
}

static void sregs_to_kvm(const struct x86_state *s, struct kvm_sregs *k)
{
	struct kvm_segment *segments[X86_SEGMENTS] = {[X86_ES] = &k->es, [X86_CS] = &k->cs, [X86_SS] = &k->ss,
						      [X86_DS] = &k->ds, [X86_FS] = &k->fs, [X86_GS] = &k->gs};
	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		*segments[i] = segment_to_kvm(&s->seg[i]);
	k->ldt = segment_to_kvm(&s->ldtr);
	k->tr = segment_to_kvm(&s->tr);
	k->gdt = (struct kvm_dtable){.base = s->gdtr.base, .limit = s->gdtr.limit};
	k->idt = (struct kvm_dtable){.base = s->idtr.base, .limit = s->idtr.limit};
	k->cr0 = s->cr0;
	k->cr2 = s->cr2;
	k->cr3 = s->cr3;
	k->cr4 = s->cr4;
	k->cr8 = s->cr8;
	k->efer = s->efer;
	k->apic_base = s->apic_base;
	memset(k->interrupt_bitmap, 0, sizeof(k->interrupt_bitmap));
}

static void events_from_kvm(const struct kvm_vcpu_events *e, struct x86_state *s)
{
	s->shadow_sti = e->interrupt.shadow & KVM_X86_SHADOW_INT_STI;
	s->shadow_ss = e->interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS;
	s->nmi_masked = e->nmi.masked;
	s->nmi_pending = e->nmi.pending || e->nmi.injected;
	s->exception_pending = s->exception_has_error = s->exception_soft = false;
	s->exception_vector = 0;
	s->exception_error = 0;
	if (e->exception.injected || e->exception.pending) {
		s->exception_pending = true;
		s->exception_vector = e->exception.nr;
		s->exception_has_error = e->exception.has_error_code;
		s->exception_error = e->exception.error_code;
	} else if (e->interrupt.injected) {
		s->exception_pending = true;
		s->exception_vector = e->interrupt.nr;
		s->exception_soft = e->interrupt.soft;
	}
}

static void events_to_kvm(const struct kvm_vcpu *v, const struct x86_state *s, struct kvm_vcpu_events *e)
{
	*e = (struct kvm_vcpu_events){.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW};
	e->interrupt.shadow =
		(s->shadow_sti ? KVM_X86_SHADOW_INT_STI : 0) | (s->shadow_ss ? KVM_X86_SHADOW_INT_MOV_SS : 0);
	e->nmi.masked = s->nmi_masked;
	e->nmi.pending = s->nmi_pending;
	if (v->kvm->has_exception_payload)
		e->flags |= KVM_VCPUEVENT_VALID_PAYLOAD;
	if (!s->exception_pending)
		return;
	if (s->exception_vector < 32 && !s->exception_soft) {
		e->exception.injected = 1;
		e->exception.nr = s->exception_vector;
		e->exception.has_error_code = s->exception_has_error;
		e->exception.error_code = s->exception_error;
	} else {
		e->interrupt.injected = 1;
		e->interrupt.nr = s->exception_vector;
		e->interrupt.soft = s->exception_soft;
	}
}

static enum x86_mp_state mp_from_kvm(uint32_t mp)
{
	switch (mp) {
	case KVM_MP_STATE_HALTED:
	case KVM_MP_STATE_AP_RESET_HOLD:
		return X86_MP_HALTED;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED:
	case KVM_MP_STATE_SIPI_RECEIVED:
		return X86_MP_WAIT_SIPI;
	default:
		return X86_MP_RUNNING;
	}
}

static uint32_t mp_to_kvm(enum x86_mp_state mp)
{
	return mp == X86_MP_RUNNING  ? KVM_MP_STATE_RUNNABLE
	       : mp == X86_MP_HALTED ? KVM_MP_STATE_HALTED
				     : KVM_MP_STATE_INIT_RECEIVED;
}

static void get_xcr0(struct kvm_vcpu *v, struct x86_state *state)
{
	struct kvm_xcrs xcrs = {0};
	state->xcr0 = 1;
	if (kvm_ioctl(v->fd, KVM_GET_XCRS, &xcrs) < 0)
		return;
	for (uint32_t i = 0; i < xcrs.nr_xcrs && i < KVM_MAX_XCRS; i++)
		if (xcrs.xcrs[i].xcr == 0)
			state->xcr0 = xcrs.xcrs[i].value;
}

static void set_xcr0(struct kvm_vcpu *v, const struct x86_state *state)
{
	const struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = state->xcr0}};
	int rc = kvm_ioctl(v->fd, KVM_SET_XCRS, &xcrs);
	if (state->xcr0 != 1)
		warn(v, "KVM_SET_XCRS", rc);
}

void kvm_get_registers(struct kvm_vcpu *v, struct x86_state *state)
{
	struct kvm_regs regs = {0};
	struct kvm_sregs sregs = {0};
	struct kvm_vcpu_events events = {0};
	struct kvm_debugregs debug = {0};
	warn(v, "KVM_GET_REGS", kvm_ioctl(v->fd, KVM_GET_REGS, &regs));
	warn(v, "KVM_GET_SREGS", kvm_ioctl(v->fd, KVM_GET_SREGS, &sregs));
	warn(v, "KVM_GET_VCPU_EVENTS", kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events));
	warn(v, "KVM_GET_DEBUGREGS", kvm_ioctl(v->fd, KVM_GET_DEBUGREGS, &debug));
	gprs_from_kvm(&regs, state->gpr);
	state->rip = regs.rip;
	state->rflags = regs.rflags;
	sregs_from_kvm(&sregs, state);
	events_from_kvm(&events, state);
	memcpy(state->dr, debug.db, sizeof(state->dr));
	state->dr6 = debug.dr6;
	state->dr7 = debug.dr7;
}

void kvm_set_registers(struct kvm_vcpu *v, const struct x86_state *state)
{
	struct kvm_sregs sregs = {0};
	struct kvm_regs regs = gprs_to_kvm(state);
	struct kvm_vcpu_events events;
	struct kvm_debugregs debug = {.dr6 = state->dr6, .dr7 = state->dr7};
	memcpy(debug.db, state->dr, sizeof(debug.db));
	sregs_to_kvm(state, &sregs);
	events_to_kvm(v, state, &events);
	warn(v, "KVM_SET_SREGS", kvm_ioctl(v->fd, KVM_SET_SREGS, &sregs));
	warn(v, "KVM_SET_REGS", kvm_ioctl(v->fd, KVM_SET_REGS, &regs));
	warn(v, "KVM_SET_DEBUGREGS", kvm_ioctl(v->fd, KVM_SET_DEBUGREGS, &debug));
	/* Last: setting registers drops a pending exception. */
	warn(v, "KVM_SET_VCPU_EVENTS", kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events));
}

void kvm_get_state(struct vcpu *vcpu, struct x86_state *state)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
	struct kvm_mp_state mp = {0};
	if (v->kvm->software) {
		kvm_software_get_state(v, state);
		return;
	}
	memset(state, 0, sizeof(*state));
	kvm_get_registers(v, state);
	warn(v, "KVM_GET_MP_STATE", kvm_ioctl(v->fd, KVM_GET_MP_STATE, &mp));
	state->mp_state = mp_from_kvm(mp.mp_state);
	get_xcr0(v, state);
	kvm_get_fpu(v, state);
	kvm_get_msrs(v, state);
	state->tsc = kvm_clock_tsc(v->kvm) + state->tsc_adjust;
}

void kvm_set_state(struct vcpu *vcpu, const struct x86_state *state)
{
	struct kvm_vcpu *v = kvm_vcpu_of(vcpu);
	const struct kvm_mp_state mp = {.mp_state = mp_to_kvm(state->mp_state)};
	if (v->kvm->software) {
		kvm_software_set_state(v, state);
		return;
	}
	v->io_unfinished = false;
	kvm_set_fpu(v, state);
	set_xcr0(v, state);
	kvm_set_registers(v, state);
	kvm_set_msrs(v, state, NULL);
	kvm_clock_set_tsc(v, state->tsc_adjust);
	warn(v, "KVM_SET_MP_STATE", kvm_ioctl(v->fd, KVM_SET_MP_STATE, &mp));
}

int kvm_translate_gva(struct vcpu *vcpu, uint64_t gva, uint64_t *gpa)
{
	struct kvm_translation translation = {.linear_address = gva};
	if (kvm_vcpu_of(vcpu)->kvm->software)
		return x86_walk_debug(kvm_helper_cpu(kvm_vcpu_of(vcpu)->helper), gva, gpa);
	if (kvm_ioctl(kvm_vcpu_of(vcpu)->fd, KVM_TRANSLATE, &translation) < 0 || !translation.valid)
		return -EFAULT;
	*gpa = translation.physical_address;
	return 0;
}

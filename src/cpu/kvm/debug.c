/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A debugger's points under KVM: the host's debug registers (KVM_SET_GUEST_DEBUG), so four in all, and the guest's own
 * do nothing meanwhile. Where KVM executes in software the interpreter beside the vCPU sees to all of it.
 * Specification: SDM 3B 17.2.
 */
#include "base/util.h"
#include "cpu/kvm/internal.h"

#include <sys/ioctl.h>

enum { REGISTERS = 4, DR6_STEP = 1 << 14 };

static int check_point(const struct debug_point *point, struct error *err)
{
	if (point->kind == DEBUG_READ)
		return error_set(err, ENOTSUP, "KVM: x86 has no watchpoint for reads alone; watch accesses");
	if (point->bytes != 1 && point->bytes != 2 && point->bytes != 4 && point->bytes != 8)
		return error_set(err, ENOTSUP, "KVM: a watchpoint is 1, 2, 4 or 8 bytes wide");
	if (point->gva & (point->bytes - 1))
		return error_set(err, ENOTSUP, "KVM: a watchpoint lies at a multiple of its width");
	return 0;
}

int kvm_debug_changed(struct engine *engine, struct error *err)
{
	struct kvm_engine_data *kvm = kvm_of(engine);
	const struct debug_points *points = engine->debug;
	if (kvm->software)
		return kvm_helpers_debug(kvm, err);
	if (points && points->count > REGISTERS)
		return error_set(err, ENOSPC, "KVM: the host has %d debug registers", REGISTERS);
	for (size_t i = 0; points && i < points->count; i++) {
		int ret = check_point(&points->point[i], err);
		if (ret)
			return ret;
	}
	return 0;
}

/* LEN of DR7: 1, 2, 8, 4 bytes are 0, 1, 2, 3. R/W: execute 0, write 1, access 3. */
static uint64_t control_of(const struct debug_point *point, unsigned i)
{
	static const uint8_t lengths[] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2};
	uint64_t kind = point->kind == DEBUG_EXECUTE ? 0 : point->kind == DEBUG_WRITE ? 1 : 3;
	return 2ull << (2 * i) | (kind | (uint64_t)lengths[point->bytes] << 2) << (16 + 4 * i);
}

void kvm_debug_apply(struct kvm_vcpu *v)
{
	const struct debug_points *points = v->kvm->engine.debug;
	struct kvm_guest_debug debug = {0};
	if (v->debug_stamp == v->kvm->engine.debug_stamp && v->debug_step == v->vcpu.debug_step)
		return;
	v->debug_stamp = v->kvm->engine.debug_stamp;
	v->debug_step = v->vcpu.debug_step;
	/* A step passes the breakpoint that it begins at. */
	if (points && !v->debug_step) {
		debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP;
		debug.arch.debugreg[7] = 0x600;
		for (size_t i = 0; i < points->count; i++) {
			debug.arch.debugreg[i] = points->point[i].gva;
			debug.arch.debugreg[7] |= control_of(&points->point[i], (unsigned)i);
		}
	}
	if (v->debug_step)
		debug.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
	if (v->debug_step == DEBUG_STEP_QUIET &&
	    kvm_has(v->kvm->kvm_fd, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ)
		debug.control |= KVM_GUESTDBG_BLOCKIRQ;
	kvm_ioctl(v->fd, KVM_SET_GUEST_DEBUG, &debug);
}

enum vcpu_exit kvm_exit_debug(struct kvm_vcpu *v)
{
	const struct debug_points *points = v->kvm->engine.debug;
	const struct kvm_debug_exit_arch *arch = &v->run->debug.arch;
	struct debug_hit *hit = &v->vcpu.debug_hit;
	*hit = (struct debug_hit){.why = DEBUG_STEPPED};
	for (size_t i = 0; points && i < points->count && !(arch->dr6 & DR6_STEP); i++) {
		const struct debug_point *point = &points->point[i];
		if (!(arch->dr6 >> i & 1))
			continue;
		*hit = (struct debug_hit){.why = point->kind == DEBUG_EXECUTE ? DEBUG_BREAKPOINT : DEBUG_WATCHPOINT,
					  .kind = point->kind,
					  .gva = point->gva};
		break;
	}
	return VCPU_DEBUG;
}

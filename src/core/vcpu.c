/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/engine.h"

void vcpu_raise(struct vcpu *vcpu, uint32_t events)
{
	atomic_fetch_or_explicit(&vcpu->events, events, memory_order_seq_cst);
	vcpu->engine->ops->kick(vcpu);
	if (vcpu->wake)
		vcpu->wake(vcpu->wake_opaque);
}

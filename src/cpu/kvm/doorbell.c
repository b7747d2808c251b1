/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Doorbells of the buses as ioeventfds: a write to one does not leave the kernel. Where the kernel refuses one, the
 * exit reaches bus_write, which does the same in user space. */
#include "cpu/kvm/internal.h"

static void change(struct kvm_doorbells *self, const struct doorbell *doorbell, bool remove)
{
	const struct kvm_ioeventfd request = {
		.addr = doorbell->offset,
		.len = doorbell->size,
		.fd = doorbell->event_fd,
		.datamatch = doorbell->match ? doorbell->value : 0,
		.flags = (self->ports ? KVM_IOEVENTFD_FLAG_PIO : 0) |
			 (doorbell->match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (remove ? KVM_IOEVENTFD_FLAG_DEASSIGN : 0),
	};
	if (!doorbell->size && !kvm_has(self->owner->vm_fd, KVM_CAP_IOEVENTFD_ANY_LENGTH))
		return;
	kvm_ioctl(self->owner->vm_fd, KVM_IOEVENTFD, &request);
}

static void added(void *opaque, const struct doorbell *doorbell)
{
	change(opaque, doorbell, false);
}

static void removed(void *opaque, const struct doorbell *doorbell)
{
	change(opaque, doorbell, true);
}

void kvm_doorbells_init(struct kvm_engine_data *kvm)
{
	kvm->port_doorbells = (struct kvm_doorbells){kvm, true};
	kvm->memory_doorbells = (struct kvm_doorbells){kvm, false};
	if (!kvm_has(kvm->vm_fd, KVM_CAP_IOEVENTFD))
		return;
	const struct doorbell_listener ports = {added, removed, &kvm->port_doorbells};
	const struct doorbell_listener memory = {added, removed, &kvm->memory_doorbells};
	bus_doorbell_listen(kvm->engine.env.io, &ports);
	bus_doorbell_listen(kvm->engine.env.memory, &memory);
}

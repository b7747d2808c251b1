/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest RAM as KVM memory slots: one per RAM slot, same order. The kernel's dirty bitmap is merged into RAM's flags. */
#include "base/util.h"
#include "core/ram.h"
#include "cpu/kvm/internal.h"

static int set_slot(struct kvm_engine_data *kvm, uint32_t index, const struct ram_slot *slot)
{
	const struct kvm_userspace_memory_region region = {
		.slot = index,
		.flags = (slot->read_only ? KVM_MEM_READONLY : 0) | (kvm->dirty_logging ? KVM_MEM_LOG_DIRTY_PAGES : 0),
		.guest_phys_addr = slot->gpa,
		.memory_size = slot->size,
		.userspace_addr = (uint64_t)(uintptr_t)slot->hva,
	};
	return kvm_ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

int kvm_memory_init(struct kvm_engine_data *kvm, struct error *err)
{
	const struct ram_slot *slots;
	size_t count = ram_slots(kvm->engine.env.ram, &slots);
	for (size_t i = 0; i < count; i++) {
		int rc = set_slot(kvm, (uint32_t)i, &slots[i]);
		if (rc < 0)
			return error_set_errno(err, -rc, "KVM: %llu MiB of RAM at %#llx",
					       (unsigned long long)(slots[i].size / MIB),
					       (unsigned long long)slots[i].gpa);
	}
	return 0;
}

static void dirty_log(struct kvm_engine_data *kvm, bool on)
{
	const struct ram_slot *slots;
	size_t count = ram_slots(kvm->engine.env.ram, &slots);
	kvm->dirty_logging = on;
	for (size_t i = 0; i < count; i++) {
		int rc = set_slot(kvm, (uint32_t)i, &slots[i]);
		if (rc < 0)
			log_warn(kvm->engine.env.log, "KVM: dirty log of slot %zu: %s", i, strerror(-rc));
	}
}

void kvm_dirty_start(struct engine *engine)
{
	dirty_log(kvm_of(engine), true);
	kvm_helpers_flush(kvm_of(engine));
}

void kvm_dirty_stop(struct engine *engine)
{
	dirty_log(kvm_of(engine), false);
}

static void harvest_slot(struct kvm_engine_data *kvm, uint32_t index, const struct ram_slot *slot)
{
	uint64_t words = (slot->size / PAGE_SIZE + 63) / 64;
	const struct kvm_dirty_log log = {.slot = index, .dirty_bitmap = kvm->dirty_bitmap};
	if (kvm_ioctl(kvm->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0)
		return;
	for (uint64_t word = 0; word < words; word++)
		for (uint64_t bits = kvm->dirty_bitmap[word]; bits; bits &= bits - 1)
			ram_written(kvm->engine.env.ram,
				    slot->gpa + (word * 64 + (unsigned)__builtin_ctzll(bits)) * PAGE_SIZE, PAGE_SIZE);
}

static void harvest(struct kvm_engine_data *kvm)
{
	const struct ram_slot *slots;
	size_t count = ram_slots(kvm->engine.env.ram, &slots);
	uint64_t largest = 0;
	pthread_mutex_lock(&kvm->dirty_lock);
	for (size_t i = 0; i < count; i++)
		largest = max_u64(largest, slots[i].size);
	if (!kvm->dirty_bitmap)
		kvm->dirty_bitmap = xcalloc((largest / PAGE_SIZE + 63) / 64 + 1, sizeof(*kvm->dirty_bitmap));
	for (size_t i = 0; i < count; i++)
		harvest_slot(kvm, (uint32_t)i, &slots[i]);
	pthread_mutex_unlock(&kvm->dirty_lock);
}

void kvm_dirty_sync(struct engine *engine)
{
	struct kvm_engine_data *kvm = kvm_of(engine);
	if (!kvm->dirty_logging)
		return;
	kvm_helpers_flush(kvm);
	harvest(kvm);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest RAM as KVM memory slots, with the same numbers. The kernel's dirty bitmap is merged into RAM's flags. */
#include "base/util.h"
#include "core/ram.h"
#include "cpu/kvm/internal.h"

static int set_slot(struct kvm_engine_data *kvm, size_t number, const struct ram_slot *slot, uint64_t size)
{
	const bool log = kvm->dirty_logging || ram_tracked(slot);
	const struct kvm_userspace_memory_region region = {
		.slot = (uint32_t)number,
		.flags = (slot->read_only ? KVM_MEM_READONLY : 0) | (log ? KVM_MEM_LOG_DIRTY_PAGES : 0),
		.guest_phys_addr = slot->gpa,
		.memory_size = size,
		.userspace_addr = (uint64_t)(uintptr_t)slot->hva,
	};
	return kvm_ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static void harvest_slot(struct kvm_engine_data *kvm, size_t number, const struct ram_slot *slot)
{
	uint64_t words = (slot->size / PAGE_SIZE + 63) / 64;
	struct kvm_dirty_log log = {.slot = (uint32_t)number};
	pthread_mutex_lock(&kvm->dirty_lock);
	if (kvm->dirty_words < words) {
		kvm->dirty_bitmap = xrealloc(kvm->dirty_bitmap, words * sizeof(*kvm->dirty_bitmap));
		kvm->dirty_words = words;
	}
	log.dirty_bitmap = kvm->dirty_bitmap;
	if (kvm_ioctl(kvm->vm_fd, KVM_GET_DIRTY_LOG, &log) < 0)
		words = 0;
	for (uint64_t word = 0; word < words; word++)
		for (uint64_t bits = kvm->dirty_bitmap[word]; bits; bits &= bits - 1)
			ram_block_written(slot->block,
					  slot->offset + (word * 64 + (unsigned)__builtin_ctzll(bits)) * PAGE_SIZE,
					  PAGE_SIZE);
	pthread_mutex_unlock(&kvm->dirty_lock);
}

/* The kernel changes neither place nor read-only flag of a slot that exists. */
static void changed(void *opaque, size_t number, const struct ram_slot *before, const struct ram_slot *now)
{
	struct kvm_engine_data *kvm = opaque;
	int rc = 0;
	if (before) {
		if (kvm->dirty_logging || ram_tracked(before))
			harvest_slot(kvm, number, before);
		rc = set_slot(kvm, number, before, 0);
	}
	if (now && !rc)
		rc = set_slot(kvm, number, now, now->size);
	if (rc < 0)
		log_warn(kvm->engine.env.log, "KVM: memory slot %zu: %s", number, strerror(-rc));
}

static void for_each_slot(struct kvm_engine_data *kvm, const struct ram_block *block,
			  void (*fn)(struct kvm_engine_data *kvm, size_t number, const struct ram_slot *slot))
{
	struct ram *ram = kvm->engine.env.ram;
	for (size_t i = 0; i < ram_slot_count(ram); i++) {
		const struct ram_slot *slot = ram_slot_at(ram, i);
		if (slot && (!block || slot->block == block))
			fn(kvm, i, slot);
	}
}

static void relog_slot(struct kvm_engine_data *kvm, size_t number, const struct ram_slot *slot)
{
	int rc = set_slot(kvm, number, slot, slot->size);
	if (rc < 0)
		log_warn(kvm->engine.env.log, "KVM: dirty log of slot %zu: %s", number, strerror(-rc));
}

static void tracked(void *opaque, struct ram_block *block)
{
	for_each_slot(opaque, block, relog_slot);
}

static void sync_block(void *opaque, struct ram_block *block)
{
	struct kvm_engine_data *kvm = opaque;
	if (kvm->dirty_logging || atomic_load(&block->tracked))
		for_each_slot(kvm, block, harvest_slot);
}

int kvm_memory_init(struct kvm_engine_data *kvm, struct error *err)
{
	struct ram *ram = kvm->engine.env.ram;
	for (size_t i = 0; i < ram_slot_count(ram); i++) {
		const struct ram_slot *slot = ram_slot_at(ram, i);
		int rc = slot ? set_slot(kvm, i, slot, slot->size) : 0;
		if (rc < 0)
			return error_set_errno(err, -rc, "KVM: %llu MiB of RAM at %#llx",
					       (unsigned long long)(slot->size / MIB), (unsigned long long)slot->gpa);
	}
	kvm->listener = (struct ram_listener){
		.changed = changed, .tracked = tracked, .sync = sync_block, .opaque = kvm};
	ram_listen(ram, &kvm->listener);
	return 0;
}

void kvm_memory_fini(struct kvm_engine_data *kvm)
{
	ram_unlisten(kvm->engine.env.ram, &kvm->listener);
}

static void dirty_log(struct kvm_engine_data *kvm, bool on)
{
	kvm->dirty_logging = on;
	for_each_slot(kvm, NULL, relog_slot);
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

void kvm_dirty_sync(struct engine *engine)
{
	struct kvm_engine_data *kvm = kvm_of(engine);
	if (!kvm->dirty_logging)
		return;
	kvm_helpers_flush(kvm);
	for_each_slot(kvm, NULL, harvest_slot);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine over /dev/kvm (Linux Documentation/virt/kvm/api.rst): virtual CPUs on the host's hardware, interrupt
 * controllers in the kernel. Left out: SMM, nested guests, Hyper-V and Xen interfaces, guest debugging.
 */
#include "cpu/kvm/kvm.h"

#include "base/util.h"
#include "core/clock.h"
#include "cpu/kvm/internal.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Three pages and one that old Intel CPUs need for real mode; below the firmware's window, never RAM on our boards. */
#define IDENTITY_MAP_GPA 0xfffbc000ull
#define TSS_GPA          0xfffbd000ull

static void enable(struct kvm_engine_data *kvm, uint32_t capability, uint64_t argument)
{
	const struct kvm_enable_cap cap = {.cap = capability, .args[0] = argument};
	kvm_ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &cap);
}

static int create_vm(struct kvm_engine_data *kvm, struct error *err)
{
	const uint64_t identity_map = IDENTITY_MAP_GPA;
	kvm->kvm_fd = kvm_open(err);
	if (kvm->kvm_fd < 0)
		return kvm->kvm_fd;
	kvm->vm_fd = ioctl(kvm->kvm_fd, KVM_CREATE_VM, 0);
	if (kvm->vm_fd < 0)
		return error_set_errno(err, errno, "KVM_CREATE_VM");
	int bytes = ioctl(kvm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (bytes < (int)sizeof(struct kvm_run))
		return error_set(err, EIO, "KVM_GET_VCPU_MMAP_SIZE: %d", bytes);
	kvm->run_bytes = (size_t)bytes;
	unsigned most = (unsigned)kvm_has(kvm->vm_fd, KVM_CAP_MAX_VCPUS);
	if (most && kvm->engine.env.max_vcpus > most)
		return error_set(err, EINVAL, "-smp %u: KVM on this host takes at most %u CPUs",
				 kvm->engine.env.max_vcpus, most);
	kvm_ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	int rc = ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, TSS_GPA);
	if (rc < 0)
		return error_set_errno(err, errno, "KVM_SET_TSS_ADDR");
	if (kvm_has(kvm->vm_fd, KVM_CAP_EXIT_ON_EMULATION_FAILURE))
		enable(kvm, KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1);
	kvm->has_exception_payload = kvm_has(kvm->vm_fd, KVM_CAP_EXCEPTION_PAYLOAD);
	if (kvm->has_exception_payload)
		enable(kvm, KVM_CAP_EXCEPTION_PAYLOAD, 1);
	if (kvm_has(kvm->vm_fd, KVM_CAP_X2APIC_API))
		enable(kvm, KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS);
	return 0;
}

static void destroy(struct engine *engine)
{
	struct kvm_engine_data *kvm = kvm_of(engine);
	kvm_memory_fini(kvm);
	kvm_helpers_free(kvm);
	kvm_irqchip_fini(kvm);
	if (kvm->vm_fd >= 0)
		close(kvm->vm_fd);
	if (kvm->kvm_fd >= 0)
		close(kvm->kvm_fd);
	free(kvm->supported);
	free(kvm->vcpus);
	free(kvm->dirty_bitmap);
	pthread_mutex_destroy(&kvm->dirty_lock);
	pthread_mutex_destroy(&kvm->lock);
	free(kvm);
}

static struct engine *create(const struct engine_env *env, struct error *err)
{
	struct kvm_engine_data *kvm = xcalloc(1, sizeof(*kvm));
	kvm->engine.ops = &kvm_engine;
	kvm->engine.env = *env;
	kvm->kvm_fd = kvm->vm_fd = -1;
	kvm->software = !kvm_has_hardware();
	pthread_mutex_init(&kvm->lock, NULL);
	pthread_mutex_init(&kvm->dirty_lock, NULL);
	int rc = env->stepped ? error_set(err, ENOTSUP, "KVM cannot run with a deterministic clock; use -accel interp")
			      : 0;
	if (!rc)
		rc = kvm_signal_init(err);
	if (!rc)
		rc = create_vm(kvm, err);
	if (!rc) {
		kvm->supported = kvm_supported_cpuid(kvm->kvm_fd, err);
		rc = kvm->supported ? 0 : -EIO;
	}
	if (!rc)
		rc = kvm_irqchip_init(kvm, err);
	if (!rc)
		rc = kvm_memory_init(kvm, err);
	if (rc < 0) {
		destroy(&kvm->engine);
		return NULL;
	}
	kvm_fpu_init(kvm);
	kvm_msrs_init(kvm);
	kvm_clock_init(kvm);
	kvm_doorbells_init(kvm);
	if (kvm->software && log_on(env->log, LOG_VERBOSE))
		log_write(env->log, "kvm: the host's CPU has neither vmx nor svm: the interpreter executes guest code, "
				    "KVM keeps the "
				    "interrupt controllers");
	return &kvm->engine;
}

const struct engine_ops kvm_engine = {
	.name = "kvm",
	.help = "the host's virtualization hardware, through /dev/kvm",
	.probe = kvm_probe,
	.offer = kvm_offer,
	.tsc_khz = kvm_tsc_khz,
	.create = create,
	.destroy = destroy,
	.vcpu_create = kvm_vcpu_create,
	.vcpu_destroy = kvm_vcpu_destroy,
	.run = kvm_run_vcpu,
	.kick = kvm_kick,
	.get_state = kvm_get_state,
	.set_state = kvm_set_state,
	.translate_gva = kvm_translate_gva,
	.dirty_start = kvm_dirty_start,
	.dirty_stop = kvm_dirty_stop,
	.dirty_sync = kvm_dirty_sync,
	.clock_changed = kvm_clock_changed,
	.debug_changed = kvm_debug_changed,
	.irqchip = &kvm_irqchip_ops,
};

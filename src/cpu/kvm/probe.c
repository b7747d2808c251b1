/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether and how well /dev/kvm works here, and what it can give a guest (Linux Documentation/virt/kvm/api.rst). */
#include "base/util.h"
#include "cpu/kvm/internal.h"
#include "cpu/x86/features.h"

#include <cpuid.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MSR_ARCH_CAPABILITIES = 0x10a, CPUID_ENTRIES_MAX = 512 };

int kvm_ioctl(int fd, unsigned long request, const void *argument)
{
	int rc;
	do
		rc = ioctl(fd, request, argument);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : rc;
}

int kvm_has(int fd, unsigned long capability)
{
	int rc = ioctl(fd, KVM_CHECK_EXTENSION, capability);
	return rc < 0 ? 0 : rc;
}

int kvm_open(struct error *err)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		switch (errno) {
		case EACCES:
		case EPERM:
			error_set(err, EACCES,
				  "/dev/kvm: Permission denied: add your user to group kvm, or use -accel interp");
			return -EACCES;
		case ENOENT:
		case ENODEV:
		case ENXIO:
			error_set(err, ENOENT,
				  "/dev/kvm: No such device: load kvm_intel or kvm_amd (and switch virtualization on "
				  "in the "
				  "firmware), or use -accel interp");
			return -ENOENT;
		default:
			return error_set_errno(err, errno, "/dev/kvm");
		}
	}
	int version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		close(fd);
		return error_set(err, ENOTSUP, "/dev/kvm: API version %d, not %d: use -accel interp", version,
				 KVM_API_VERSION);
	}
	return fd;
}

/* VMX or SVM: without them KVM executes the guest's kernel in software. */
bool kvm_has_hardware(void)
{
	unsigned a, b, c, d;
	if (__get_cpuid(1, &a, &b, &c, &d) && c >> 5 & 1)
		return true;
	return __get_cpuid(0x80000001, &a, &b, &c, &d) && c >> 2 & 1;
}

static const char *missing_capability(int fd)
{
	static const struct {
		unsigned long capability;
		const char *name;
	} needed[] = {
		{KVM_CAP_USER_MEMORY, "user memory"},
		{KVM_CAP_IRQCHIP, "in-kernel irqchip"},
		{KVM_CAP_IRQ_ROUTING, "interrupt routing"},
		{KVM_CAP_IMMEDIATE_EXIT, "immediate exit (Linux 4.12)"},
		{KVM_CAP_XSAVE, "XSAVE state"},
		{KVM_CAP_VCPU_EVENTS, "vCPU events"},
		{KVM_CAP_DEBUGREGS, "debug registers"},
		{KVM_CAP_MP_STATE, "MP state"},
		{KVM_CAP_EXT_CPUID, "CPUID"},
		{KVM_CAP_SIGNAL_MSI, "MSI"},
		{KVM_CAP_SET_TSS_ADDR, "TSS address"},
		{KVM_CAP_ADJUST_CLOCK, "clock"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (!kvm_has(fd, needed[i].capability))
			return needed[i].name;
	return NULL;
}

int kvm_probe(bool *rank_last, struct error *err)
{
	int fd = kvm_open(err);
	if (fd < 0)
		return fd;
	const char *missing = missing_capability(fd);
	int vm = missing ? -1 : ioctl(fd, KVM_CREATE_VM, 0);
	int rc = 0;
	if (missing)
		rc = error_set(err, ENOTSUP, "/dev/kvm: this kernel's KVM lacks %s: use -accel interp", missing);
	else if (vm < 0)
		rc = error_set_errno(err, errno, "/dev/kvm: cannot create a VM (use -accel interp)");
	if (vm >= 0)
		close(vm);
	close(fd);
	*rank_last = false;
	if (!rc && !kvm_has_hardware()) {
		*rank_last = true;
		error_set(err, 0, "works, but executes in software here: the host's CPU has neither vmx nor svm");
	}
	return rc;
}

struct kvm_cpuid2 *kvm_supported_cpuid(int kvm_fd, struct error *err)
{
	for (uint32_t count = 128; count <= CPUID_ENTRIES_MAX; count *= 2) {
		struct kvm_cpuid2 *list = xcalloc(1, sizeof(*list) + count * sizeof(list->entries[0]));
		list->nent = count;
		int rc = kvm_ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, list);
		if (!rc)
			return list;
		free(list);
		if (rc != -E2BIG) {
			error_set_errno(err, -rc, "/dev/kvm: KVM_GET_SUPPORTED_CPUID");
			return NULL;
		}
	}
	error_set(err, E2BIG, "/dev/kvm: more than %d CPUID leaves", CPUID_ENTRIES_MAX);
	return NULL;
}

static uint64_t feature_msr(int kvm_fd, uint32_t index)
{
	struct {
		uint32_t count, pad; /* as in struct kvm_msrs */
		struct kvm_msr_entry entry;
	} list = {.count = 1, .entry.index = index};
	return kvm_ioctl(kvm_fd, KVM_GET_MSRS, &list) == 1 ? list.entry.data : 0;
}

static struct cpuid_entry *find(struct cpuid_table *table, uint32_t leaf, uint32_t subleaf)
{
	for (size_t i = 0; i < table->count; i++)
		if (table->entries[i].leaf == leaf && table->entries[i].subleaf == subleaf)
			return &table->entries[i];
	return NULL;
}

/* KVM_GET_SUPPORTED_CPUID leaves out what depends on the irqchip being in the kernel, where it is here. */
static void add_irqchip_features(int kvm_fd, struct cpuid_table *offer)
{
	struct cpuid_entry *entry = find(offer, 1, 0);
	if (entry) {
		entry->ecx |= 1u << 31 | 1u << 21; /* hypervisor, x2APIC */
		if (kvm_has(kvm_fd, KVM_CAP_TSC_DEADLINE_TIMER))
			entry->ecx |= 1u << 24;
		entry->ecx &= ~(1u << 3 | 1u << 5); /* MONITOR and VMX are not for the guest */
	}
	entry = find(offer, 6, 0);
	if (entry)
		entry->eax |= 1u << 2; /* ARAT: the local APIC's timer never stops */
	entry = find(offer, 0x80000001, 0);
	if (entry)
		entry->ecx &= ~(1u << 2); /* SVM */
	entry = find(offer, 0x40000001, 0);
	if (entry) /* MSI extended destinations, migration control: nothing behind them */
		entry->eax &= ~(1u << 15 | 1u << 17);
}

int kvm_offer(struct cpuid_table *offer, struct error *err)
{
	int fd = kvm_open(err);
	if (fd < 0)
		return fd;
	if (!kvm_has_hardware()) {
		x86_engine_offer(offer); /* software.c: the interpreter executes everything */
		close(fd);
		return 0;
	}
	struct kvm_cpuid2 *list = kvm_supported_cpuid(fd, err);
	if (!list) {
		close(fd);
		return err ? -err->code : -EIO;
	}
	offer->count = 0;
	offer->entries = xcalloc(list->nent + 1, sizeof(*offer->entries));
	for (uint32_t i = 0; i < list->nent; i++) {
		const struct kvm_cpuid_entry2 *from = &list->entries[i];
		offer->entries[offer->count++] =
			(struct cpuid_entry){.leaf = from->function,
					     .subleaf = from->index,
					     .subleaf_matters = from->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
					     .eax = from->eax,
					     .ebx = from->ebx,
					     .ecx = from->ecx,
					     .edx = from->edx};
	}
	add_irqchip_features(fd, offer);
	uint64_t capabilities = feature_msr(fd, MSR_ARCH_CAPABILITIES);
	if (capabilities)
		offer->entries[offer->count++] = (struct cpuid_entry){.leaf = CPUID_ARCH_CAPABILITIES,
								      .eax = (uint32_t)capabilities,
								      .edx = (uint32_t)(capabilities >> 32)};
	free(list);
	close(fd);
	return 0;
}

/* The kernel tells it only of a vCPU. */
uint64_t kvm_tsc_khz(void)
{
	int fd = kvm_open(NULL), vm = -1, vcpu = -1, khz = -1;
	if (fd >= 0)
		vm = ioctl(fd, KVM_CREATE_VM, 0);
	if (vm >= 0)
		vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu >= 0)
		khz = ioctl(vcpu, KVM_GET_TSC_KHZ, 0);
	if (vcpu >= 0)
		close(vcpu);
	if (vm >= 0)
		close(vm);
	if (fd >= 0)
		close(fd);
	return khz > 0 ? (uint64_t)khz : 1000000;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The MSRs of struct x86_state. Each is asked for once at creation, because kernels differ in which they know; an
 * unknown one keeps its value in the neutral state's eyes at zero. The TSC itself is clock.c's.
 */
#include "base/util.h"
#include "cpu/kvm/internal.h"

#include <stdlib.h>
#include <sys/ioctl.h>

struct state_msr {
	uint32_t index;
	uint16_t offset;
	uint8_t bytes; /* of the field: 4 or 8 */
};

#define FIELD(msr, member)                                                                                             \
	{                                                                                                              \
		msr, offsetof(struct x86_state, member), sizeof(((struct x86_state *)0)->member)                       \
	}

/* The order is the order of setting: IA32_APIC_BASE (in the system registers) has been set before. */
static const struct state_msr state_msrs[] = {
	FIELD(0xc0000081, star),
	FIELD(0xc0000082, lstar),
	FIELD(0xc0000083, cstar),
	FIELD(0xc0000084, sfmask),
	FIELD(0xc0000102, kernel_gs_base),
	FIELD(0x174, sysenter_cs),
	FIELD(0x175, sysenter_esp),
	FIELD(0x176, sysenter_eip),
	FIELD(0x277, pat),
	FIELD(0x1a0, misc_enable),
	FIELD(0x48, spec_ctrl),
	FIELD(0xc0000103, tsc_aux),
	FIELD(0xda0, xss),
	FIELD(0x3b, tsc_adjust),
	FIELD(0x2ff, mtrr_def_type),
	FIELD(0x17a, mcg_status),
	FIELD(0x250, mtrr_fixed[0]),
	FIELD(0x258, mtrr_fixed[1]),
	FIELD(0x259, mtrr_fixed[2]),
	FIELD(0x268, mtrr_fixed[3]),
	FIELD(0x269, mtrr_fixed[4]),
	FIELD(0x26a, mtrr_fixed[5]),
	FIELD(0x26b, mtrr_fixed[6]),
	FIELD(0x26c, mtrr_fixed[7]),
	FIELD(0x26d, mtrr_fixed[8]),
	FIELD(0x26e, mtrr_fixed[9]),
	FIELD(0x26f, mtrr_fixed[10]),
	FIELD(0x200, mtrr_var[0]),
	FIELD(0x201, mtrr_var[1]),
	FIELD(0x202, mtrr_var[2]),
	FIELD(0x203, mtrr_var[3]),
	FIELD(0x204, mtrr_var[4]),
	FIELD(0x205, mtrr_var[5]),
	FIELD(0x206, mtrr_var[6]),
	FIELD(0x207, mtrr_var[7]),
	FIELD(0x208, mtrr_var[8]),
	FIELD(0x209, mtrr_var[9]),
	FIELD(0x20a, mtrr_var[10]),
	FIELD(0x20b, mtrr_var[11]),
	FIELD(0x20c, mtrr_var[12]),
	FIELD(0x20d, mtrr_var[13]),
	FIELD(0x20e, mtrr_var[14]),
	FIELD(0x20f, mtrr_var[15]),
	FIELD(0x4b564d00, kvm_wall_clock),
	FIELD(0x4b564d01, kvm_system_time),
	FIELD(0x4b564d02, kvm_async_pf),
	FIELD(0x4b564d03, kvm_steal_time),
	FIELD(0x4b564d04, kvm_pv_eoi),
	FIELD(0x4b564d05, kvm_poll_control),
	FIELD(0x6e0, tsc_deadline),
};
_Static_assert(ARRAY_SIZE(state_msrs) <= KVM_MSRS_MAX, "KVM_MSRS_MAX");

/* struct kvm_msrs with its entries. */
struct msr_list {
	uint32_t count, pad;
	struct kvm_msr_entry entries[KVM_MSRS_MAX];
};

static uint64_t field_get(const struct x86_state *state, const struct state_msr *msr)
{
	const uint8_t *p = (const uint8_t *)state + msr->offset;
	return msr->bytes == 4 ? load_le32(p) : load_le64(p);
}

static void field_set(struct x86_state *state, const struct state_msr *msr, uint64_t value)
{
	memcpy((uint8_t *)state + msr->offset, &value, msr->bytes);
}

int kvm_get_msr(struct kvm_vcpu *v, uint32_t index, uint64_t *value)
{
	struct msr_list list = {.count = 1, .entries[0].index = index};
	int rc = kvm_ioctl(v->fd, KVM_GET_MSRS, &list);
	if (rc == 1)
		*value = list.entries[0].data;
	return rc == 1 ? 0 : rc < 0 ? rc : -ENOENT;
}

int kvm_set_msr(struct kvm_vcpu *v, uint32_t index, uint64_t value)
{
	struct msr_list list = {.count = 1, .entries[0] = {.index = index, .data = value}};
	int rc = kvm_ioctl(v->fd, KVM_SET_MSRS, &list);
	return rc == 1 ? 0 : rc < 0 ? rc : -EINVAL;
}

/* What the list names is known; the MTRRs and machine-check state are known but listed nowhere. */
void kvm_msrs_init(struct kvm_engine_data *kvm)
{
	struct kvm_msr_list probe = {0};
	ioctl(kvm->kvm_fd, KVM_GET_MSR_INDEX_LIST, &probe);
	struct kvm_msr_list *list = xcalloc(1, sizeof(*list) + (probe.nmsrs + 1ull) * sizeof(list->indices[0]));
	list->nmsrs = probe.nmsrs;
	if (ioctl(kvm->kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
		list->nmsrs = 0;
	for (size_t i = 0; i < ARRAY_SIZE(state_msrs); i++) {
		uint32_t index = state_msrs[i].index;
		kvm->msrs.known[i] = (index >= 0x200 && index <= 0x2ff) || index == 0x17a;
		for (uint32_t n = 0; n < list->nmsrs; n++)
			if (list->indices[n] == index)
				kvm->msrs.known[i] = true;
	}
	free(list);
}

/* The call stops at the first MSR that fails; that one is left out from then on. */
void kvm_get_msrs(struct kvm_vcpu *v, struct x86_state *state)
{
	for (size_t next = 0; next < ARRAY_SIZE(state_msrs);) {
		struct msr_list list = {0};
		size_t which[KVM_MSRS_MAX];
		for (size_t i = next; i < ARRAY_SIZE(state_msrs); i++)
			if (v->kvm->msrs.known[i]) {
				which[list.count] = i;
				list.entries[list.count++].index = state_msrs[i].index;
			}
		if (!list.count)
			return;
		int got = kvm_ioctl(v->fd, KVM_GET_MSRS, &list);
		for (int i = 0; i < got; i++)
			field_set(state, &state_msrs[which[i]], list.entries[i].data);
		if (got < 0 || got >= (int)list.count)
			return;
		v->kvm->msrs.known[which[got]] = false;
		next = which[got] + 1;
	}
}

void kvm_set_msrs(struct kvm_vcpu *v, const struct x86_state *state, const struct x86_state *before)
{
	for (size_t next = 0; next < ARRAY_SIZE(state_msrs);) {
		struct msr_list list = {0};
		size_t which[KVM_MSRS_MAX];
		for (size_t i = next; i < ARRAY_SIZE(state_msrs); i++) {
			uint64_t value = field_get(state, &state_msrs[i]);
			if (!v->kvm->msrs.known[i] || (before && value == field_get(before, &state_msrs[i])))
				continue;
			which[list.count] = i;
			list.entries[list.count++] =
				(struct kvm_msr_entry){.index = state_msrs[i].index, .data = value};
		}
		if (!list.count)
			return;
		int done = kvm_ioctl(v->fd, KVM_SET_MSRS, &list);
		if (done < 0 || done >= (int)list.count)
			return;
		/* A feature that CPUID does not offer refuses its MSR; zero is what it holds anyway. */
		if (list.entries[done].data)
			log_guest(v->kvm->engine.env.log, &v->assist_limit, "CPU %u: KVM refuses MSR %#x = %#llx",
				  v->vcpu.index, list.entries[done].index, (unsigned long long)list.entries[done].data);
		next = which[done] + 1;
	}
}

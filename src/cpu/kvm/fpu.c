/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * struct x86_fpu and the standard XSAVE image (SDM 1 13.4) that KVM_GET_XSAVE2 and KVM_SET_XSAVE speak. Where
 * components lie in it is the host's business and is read from the kernel's CPUID leaf 0xd. FCS and FDS are not in the
 * 64-bit format of the image and read as zero.
 */
#include "base/util.h"
#include "cpu/kvm/internal.h"

#include <stdlib.h>

enum {
	IMAGE_FCW = 0,
	IMAGE_FSW = 2,
	IMAGE_FTW = 4,
	IMAGE_FOP = 6,
	IMAGE_FIP = 8,
	IMAGE_FDP = 16,
	IMAGE_MXCSR = 24,
	IMAGE_ST = 32,
	IMAGE_XMM = 160,
	IMAGE_XSTATE_BV = 512,
	IMAGE_LEGACY_BYTES = 576,
	X_X87 = 1 << 0,
	X_SSE = 1 << 1,
	X_AVX = 1 << 2,
	X_OPMASK = 1 << 5,
	X_ZMM_HIGH = 1 << 6,
	X_ZMM_UPPER = 1 << 7,
	X_PKRU = 1 << 9,
};

static uint32_t component_offset(const struct kvm_cpuid2 *list, uint32_t component)
{
	for (uint32_t i = 0; i < list->nent; i++)
		if (list->entries[i].function == 0xd && list->entries[i].index == component && list->entries[i].eax)
			return list->entries[i].ebx;
	return 0;
}

void kvm_fpu_init(struct kvm_engine_data *kvm)
{
	struct kvm_xsave_layout *layout = &kvm->xsave;
	const struct {
		uint32_t component;
		uint32_t *offset, bytes;
	} rows[] = {
		{2, &layout->avx_offset, 256},      {5, &layout->opmask_offset, 64},
		{6, &layout->zmm_high_offset, 512}, {7, &layout->zmm_upper_offset, 1024},
		{9, &layout->pkru_offset, 8},
	};
	int bytes = kvm_has(kvm->vm_fd, KVM_CAP_XSAVE2);
	kvm->xsave_bytes = bytes > (int)sizeof(struct kvm_xsave) ? (size_t)bytes : sizeof(struct kvm_xsave);
	for (uint32_t i = 0; i < kvm->supported->nent; i++)
		if (kvm->supported->entries[i].function == 0xd && kvm->supported->entries[i].index == 0)
			layout->components = kvm->supported->entries[i].eax;
	layout->components |= X_X87 | X_SSE;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t offset = component_offset(kvm->supported, rows[i].component);
		bool usable = layout->components >> rows[i].component & 1 && offset >= IMAGE_LEGACY_BYTES &&
			      offset + rows[i].bytes <= kvm->xsave_bytes;
		*rows[i].offset = usable ? offset : 0;
	}
}

void kvm_fpu_from_image(const struct kvm_xsave_layout *layout, const uint8_t *image, struct x86_state *state)
{
	struct x86_fpu *fpu = &state->fpu;
	uint64_t present = load_le64(image + IMAGE_XSTATE_BV);
	memset(fpu, 0, sizeof(*fpu));
	fpu->fcw = load_le16(image + IMAGE_FCW);
	fpu->fsw = load_le16(image + IMAGE_FSW);
	fpu->ftw = image[IMAGE_FTW];
	fpu->fop = load_le16(image + IMAGE_FOP);
	fpu->fip = load_le64(image + IMAGE_FIP);
	fpu->fdp = load_le64(image + IMAGE_FDP);
	fpu->mxcsr = load_le32(image + IMAGE_MXCSR);
	memcpy(fpu->st, image + IMAGE_ST, sizeof(fpu->st));
	for (unsigned i = 0; i < 16; i++) {
		memcpy(fpu->vector[i], image + IMAGE_XMM + 16 * i, 16);
		if (layout->avx_offset && present & X_AVX)
			memcpy(fpu->vector[i] + 16, image + layout->avx_offset + 16 * i, 16);
		if (layout->zmm_high_offset && present & X_ZMM_HIGH)
			memcpy(fpu->vector[i] + 32, image + layout->zmm_high_offset + 32 * i, 32);
	}
	if (layout->zmm_upper_offset && present & X_ZMM_UPPER)
		memcpy(fpu->vector[16], image + layout->zmm_upper_offset, 1024);
	if (layout->opmask_offset && present & X_OPMASK)
		memcpy(fpu->opmask, image + layout->opmask_offset, sizeof(fpu->opmask));
	state->pkru = layout->pkru_offset && present & X_PKRU ? load_le32(image + layout->pkru_offset) : 0;
}

/* Whether any of the bytes [from, from + length) of one of the registers is not zero. */
static bool any(const struct x86_fpu *fpu, unsigned first, unsigned last, unsigned from, unsigned length)
{
	for (unsigned i = first; i <= last; i++)
		for (unsigned j = from; j < from + length; j++)
			if (fpu->vector[i][j])
				return true;
	return false;
}

void kvm_fpu_to_image(const struct kvm_xsave_layout *layout, const struct x86_state *state, uint8_t *image)
{
	const struct x86_fpu *fpu = &state->fpu;
	uint64_t present = X_X87 | X_SSE;
	store_le16(image + IMAGE_FCW, fpu->fcw);
	store_le16(image + IMAGE_FSW, fpu->fsw);
	image[IMAGE_FTW] = fpu->ftw;
	store_le16(image + IMAGE_FOP, fpu->fop);
	store_le64(image + IMAGE_FIP, fpu->fip);
	store_le64(image + IMAGE_FDP, fpu->fdp);
	store_le32(image + IMAGE_MXCSR, fpu->mxcsr);
	memcpy(image + IMAGE_ST, fpu->st, sizeof(fpu->st));
	if (layout->avx_offset && any(fpu, 0, 15, 16, 16))
		present |= X_AVX;
	if (layout->zmm_high_offset && any(fpu, 0, 15, 32, 32))
		present |= X_ZMM_HIGH;
	if (layout->zmm_upper_offset && any(fpu, 16, 31, 0, 64))
		present |= X_ZMM_UPPER;
	for (unsigned i = 0; i < 16; i++) {
		memcpy(image + IMAGE_XMM + 16 * i, fpu->vector[i], 16);
		if (present & X_AVX)
			memcpy(image + layout->avx_offset + 16 * i, fpu->vector[i] + 16, 16);
		if (present & X_ZMM_HIGH)
			memcpy(image + layout->zmm_high_offset + 32 * i, fpu->vector[i] + 32, 32);
	}
	if (present & X_ZMM_UPPER)
		memcpy(image + layout->zmm_upper_offset, fpu->vector[16], 1024);
	for (unsigned i = 0; layout->opmask_offset && i < 8; i++)
		if (fpu->opmask[i]) {
			memcpy(image + layout->opmask_offset, fpu->opmask, sizeof(fpu->opmask));
			present |= X_OPMASK;
		}
	if (layout->pkru_offset && state->pkru) {
		store_le32(image + layout->pkru_offset, state->pkru);
		present |= X_PKRU;
	}
	store_le64(image + IMAGE_XSTATE_BV, present & layout->components);
}

/* The kernel wants the image on its own; it is too large for the stack of a thread only when a host has AMX. */
void kvm_get_fpu(struct kvm_vcpu *v, struct x86_state *state)
{
	uint8_t *image = aligned_alloc(64, align_up(v->kvm->xsave_bytes, 64));
	if (!image)
		return;
	memset(image, 0, v->kvm->xsave_bytes);
	int rc = v->kvm->xsave_bytes > sizeof(struct kvm_xsave) ? kvm_ioctl(v->fd, KVM_GET_XSAVE2, image)
								: kvm_ioctl(v->fd, KVM_GET_XSAVE, image);
	if (rc < 0)
		log_warn(v->kvm->engine.env.log, "CPU %u: KVM_GET_XSAVE: %s", v->vcpu.index, strerror(-rc));
	else
		kvm_fpu_from_image(&v->kvm->xsave, image, state);
	free(image);
}

void kvm_set_fpu(struct kvm_vcpu *v, const struct x86_state *state)
{
	uint8_t *image = aligned_alloc(64, align_up(v->kvm->xsave_bytes, 64));
	if (!image)
		return;
	memset(image, 0, v->kvm->xsave_bytes);
	kvm_fpu_to_image(&v->kvm->xsave, state, image);
	int rc = kvm_ioctl(v->fd, KVM_SET_XSAVE, image);
	if (rc < 0)
		log_warn(v->kvm->engine.env.log, "CPU %u: KVM_SET_XSAVE: %s", v->vcpu.index, strerror(-rc));
	free(image);
}

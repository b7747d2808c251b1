/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * FXSAVE, FXRSTOR and the XSAVE family as memory images: SDM 1 10.5 and chapter 13. x87, SSE, AVX, AVX-512 and PKRU
 * components; where each lies in a standard image is what CPUID leaf 0xD says. Restores read and check everything
 * before they change a register.
 *
 * Init and modified optimisations: XINUSE is computed from the register contents; "modified" is always true.
 */
#include "cpu/x86/internal.h"

enum { X87 = 0, SSE = 1, AVX = 2, OPMASK = 5, ZMM_HI256 = 6, HI16_ZMM = 7, PKRU = 9 };
#define BIT(n) (1ull << (n))
enum { LEGACY_BYTES = 512, HEADER_BYTES = 64, EXTENDED = LEGACY_BYTES + HEADER_BYTES, MAX_COMPONENT = 1024 };
#define MXCSR_INIT 0x1f80u
#define COMPACTED  (1ull << 63)

_Noreturn static void gp(struct x86_cpu *cpu)
{
	x86_raise_error(cpu, X86_GP, 0);
}

/* A linear address within the operand; outside long mode it wraps at 4 GiB. */
static uint64_t operand_at(const struct x86_cpu *cpu, uint64_t gva, unsigned offset)
{
	return cpu->code_mode == X86_CODE64 ? gva + offset : (uint32_t)(gva + offset);
}

static void put(struct x86_cpu *cpu, uint64_t gva, unsigned offset, const void *from, unsigned size)
{
	for (unsigned done = 0, piece; done < size; done += piece) {
		piece = size - done < 64 ? size - done : 64;
		x86_write_block(cpu, operand_at(cpu, gva, offset + done), (const uint8_t *)from + done, piece,
				x86_user_access(cpu));
	}
}

static void get(struct x86_cpu *cpu, uint64_t gva, unsigned offset, void *to, unsigned size)
{
	for (unsigned done = 0, piece; done < size; done += piece) {
		piece = size - done < 64 ? size - done : 64;
		x86_read_block(cpu, operand_at(cpu, gva, offset + done), (uint8_t *)to + done, piece,
			       x86_user_access(cpu));
	}
}

/* Registers that this mode reaches. */
static unsigned vectors(const struct x86_cpu *cpu)
{
	return cpu->code_mode == X86_CODE64 ? 16 : 8;
}

/* --- legacy region --- */

static void x87_store(const struct x86_fpu *fpu, uint8_t *image, bool rex_w)
{
	memset(image, 0, 24);
	store_le16(image, fpu->fcw);
	store_le16(image + 2, fpu->fsw);
	image[4] = fpu->ftw;
	store_le16(image + 6, fpu->fop & 0x7ff);
	if (rex_w) {
		store_le64(image + 8, fpu->fip);
		store_le64(image + 16, fpu->fdp);
	} else {
		store_le32(image + 8, (uint32_t)fpu->fip);
		store_le16(image + 12, fpu->fcs);
		store_le32(image + 16, (uint32_t)fpu->fdp);
		store_le16(image + 20, fpu->fds);
	}
	memset(image + 32, 0, 128);
	for (unsigned i = 0; i < 8; i++)
		memcpy(image + 32 + 16 * i, fpu->st[i], 10);
}

static void x87_load(struct x86_fpu *fpu, const uint8_t *image, bool rex_w)
{
	fpu->fcw = (load_le16(image) & 0x1f7f) | 0x40;
	fpu->fsw = load_le16(image + 2);
	fpu->ftw = image[4];
	fpu->fop = load_le16(image + 6) & 0x7ff;
	/* ES and B follow from the flags and masks just loaded */
	fpu->fsw = (fpu->fsw & 0x7f7f) | (fpu->fsw & ~fpu->fcw & 0x3f ? 0x8080 : 0);
	if (rex_w) {
		fpu->fip = load_le64(image + 8);
		fpu->fdp = load_le64(image + 16);
		fpu->fcs = fpu->fds = 0;
	} else {
		fpu->fip = load_le32(image + 8);
		fpu->fcs = load_le16(image + 12);
		fpu->fdp = load_le32(image + 16);
		fpu->fds = load_le16(image + 20);
	}
	for (unsigned i = 0; i < 8; i++) {
		memcpy(fpu->st[i], image + 32 + 16 * i, 10);
		memset(fpu->st[i] + 10, 0, 6);
	}
}

static void x87_init(struct x86_fpu *fpu)
{
	fpu->fcw = 0x37f;
	fpu->fsw = fpu->fop = fpu->fcs = fpu->fds = 0;
	fpu->ftw = 0;
	fpu->fip = fpu->fdp = 0;
	memset(fpu->st, 0, sizeof(fpu->st));
}

static void fx_checks(struct x86_cpu *cpu, uint64_t gva)
{
	if (cpu->s.cr0 & (X86_CR0_EM | X86_CR0_TS))
		x86_raise(cpu, X86_NM);
	if (gva & 15)
		gp(cpu);
}

void x86_fxsave(struct x86_cpu *cpu, uint64_t gva, bool rex_w)
{
	uint8_t image[416] = {0};
	unsigned bytes = 160;

	fx_checks(cpu, gva);
	x87_store(&cpu->s.fpu, image, rex_w);
	store_le32(image + 24, cpu->s.fpu.mxcsr);
	store_le32(image + 28, X86_MXCSR_DEFINED);
	if (cpu->s.cr4 & X86_CR4_OSFXSR) {
		for (unsigned i = 0; i < vectors(cpu); i++)
			memcpy(image + 160 + 16 * i, cpu->s.fpu.vector[i], 16);
		bytes += 16 * vectors(cpu);
	}
	put(cpu, gva, 0, image, bytes);
}

void x86_fxrstor(struct x86_cpu *cpu, uint64_t gva, bool rex_w)
{
	uint8_t image[416];

	fx_checks(cpu, gva);
	get(cpu, gva, 0, image, sizeof(image));
	if (cpu->s.cr4 & X86_CR4_OSFXSR) {
		if (load_le32(image + 24) & ~X86_MXCSR_DEFINED)
			gp(cpu);
		cpu->s.fpu.mxcsr = load_le32(image + 24);
		for (unsigned i = 0; i < vectors(cpu); i++)
			memcpy(cpu->s.fpu.vector[i], image + 160 + 16 * i, 16);
	}
	x87_load(&cpu->s.fpu, image, rex_w);
}

/* --- components --- */

/* Parts of the vector registers: component n is `count` registers from `first`, bytes [offset, +width) of each. */
struct part {
	uint8_t component, first, count, offset, width;
};
static const struct part parts[] = {
	{SSE, 0, 16, 0, 16},
	{AVX, 0, 16, 16, 16},
	{ZMM_HI256, 0, 16, 32, 32},
	{HI16_ZMM, 16, 16, 0, 64},
};

static const struct part *part_of(unsigned component)
{
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		if (parts[i].component == component)
			return &parts[i];
	return NULL;
}

/* Constant sizes, so that no call is made for a register. */
static inline void copy_register(uint8_t *to, const uint8_t *from, unsigned width)
{
	if (width == 16)
		memcpy(to, from, 16);
	else if (width == 32)
		memcpy(to, from, 32);
	else
		memcpy(to, from, 64);
}

/* How many of the part's registers exist in this mode. */
static unsigned part_count(const struct x86_cpu *cpu, const struct part *part)
{
	if (cpu->code_mode == X86_CODE64)
		return part->count;
	return part->first ? 0 : 8;
}

/* Fills data (of MAX_COMPONENT bytes) and returns its size. Not for x87. */
static unsigned component_store(const struct x86_cpu *cpu, unsigned component, uint8_t *data)
{
	const struct part *part = part_of(component);

	if (part) {
		unsigned count = part_count(cpu, part);

		for (unsigned i = 0; i < count; i++)
			copy_register(data + i * part->width, cpu->s.fpu.vector[part->first + i] + part->offset,
				      part->width);
		return count * part->width;
	}
	if (component == OPMASK) {
		memcpy(data, cpu->s.fpu.opmask, sizeof(cpu->s.fpu.opmask));
		return sizeof(cpu->s.fpu.opmask);
	}
	if (component == PKRU) {
		store_le64(data, cpu->s.pkru);
		return 8;
	}
	return 0;
}

/* data NULL: the initial configuration. */
static void component_load(struct x86_cpu *cpu, unsigned component, const uint8_t *data)
{
	static const uint8_t zeroes[64];
	const struct part *part = part_of(component);

	if (part) {
		unsigned count = part_count(cpu, part);

		for (unsigned i = 0; i < count; i++)
			copy_register(cpu->s.fpu.vector[part->first + i] + part->offset,
				      data ? data + i * part->width : zeroes, part->width);
	} else if (component == OPMASK) {
		memcpy(cpu->s.fpu.opmask, data ? data : zeroes, sizeof(cpu->s.fpu.opmask));
	} else if (component == PKRU) {
		x86_set_pkru(cpu, data ? load_le32(data) : 0);
	}
}

static bool all_zero(const uint8_t *data, unsigned size)
{
	return !size || (!data[0] && !memcmp(data, data + 1, size - 1));
}

static bool x87_in_use(const struct x86_fpu *fpu)
{
	return fpu->fcw != 0x37f || fpu->fsw || fpu->ftw || fpu->fop || fpu->fip || fpu->fdp || fpu->fcs || fpu->fds ||
	       !all_zero(fpu->st[0], sizeof(fpu->st));
}

void x86_xsave_components_init(struct x86_cpu *cpu)
{
	for (unsigned i = 2; i < 63; i++) {
		const struct cpuid_entry *entry = x86_cpuid_entry(cpu, 0xd, i);

		if (!entry || entry->eax > MAX_COMPONENT || entry->ebx > UINT16_MAX)
			continue;
		cpu->xsave_components->component[i] = (struct x86_xsave_component){
			.size = (uint16_t)entry->eax, .offset = (uint16_t)entry->ebx, .aligned = entry->ecx & 2};
	}
}

/* Where the components of an image are. */
struct layout {
	uint16_t offset[64], size[64];
};

/* Fills in the extended components of the mask only. */
static void layout_of(const struct x86_cpu *cpu, uint64_t components, bool compacted, struct layout *layout)
{
	unsigned next = EXTENDED;

	for (uint64_t rest = components & ~3ull; rest; rest &= rest - 1) {
		unsigned i = (unsigned)__builtin_ctzll(rest);
		const struct x86_xsave_component *component = &cpu->xsave_components->component[i];

		if (compacted) {
			if (component->aligned)
				next = (unsigned)align_up(next, 64);
			layout->offset[i] = (uint16_t)next;
			next += component->size;
			layout->size[i] = component->size;
		} else {
			layout->offset[i] = component->offset;
			layout->size[i] = component->offset < EXTENDED ? 0 : component->size;
		}
	}
}

/* --- XSAVE --- */

static void xsave_checks(struct x86_cpu *cpu, uint64_t gva, bool supervisor)
{
	if (!(cpu->s.cr4 & X86_CR4_OSXSAVE))
		x86_raise(cpu, X86_UD);
	if (supervisor && cpu->cpl != 0)
		gp(cpu);
	if (cpu->s.cr0 & X86_CR0_TS)
		x86_raise(cpu, X86_NM);
	if (gva & 63)
		gp(cpu);
}

/* What XSAVE does with one component: saves it when the form wants it; returns whether it is in use. */
static bool save_component(struct x86_cpu *cpu, uint64_t gva, unsigned component, enum x86_xsave_form form, bool rex_w,
			   const struct layout *layout)
{
	uint8_t data[MAX_COMPONENT];
	unsigned size;
	bool used;

	if (component == X87) {
		used = x87_in_use(&cpu->s.fpu);
		if (used || form == X86_XSAVE) {
			x87_store(&cpu->s.fpu, data, rex_w);
			put(cpu, gva, 0, data, 24);
			put(cpu, gva, 32, data + 32, 128);
		}
		return used;
	}
	size = component_store(cpu, component, data);
	used = !all_zero(data, size);
	if (component == SSE) {
		if ((form == X86_XSAVEC || form == X86_XSAVES) && cpu->s.fpu.mxcsr != MXCSR_INIT)
			used = true; /* MXCSR belongs to SSE in these */
		if (used || form == X86_XSAVE)
			put(cpu, gva, 160, data, size);
		return used;
	}
	if (used || form == X86_XSAVE)
		put(cpu, gva, layout->offset[component], data,
		    size < layout->size[component] ? size : layout->size[component]);
	return used;
}

void x86_xsave(struct x86_cpu *cpu, uint64_t gva, uint64_t mask, enum x86_xsave_form form, bool rex_w)
{
	bool compacted = form == X86_XSAVEC || form == X86_XSAVES;
	uint64_t requested, used = 0, header[2];
	struct layout layout;

	xsave_checks(cpu, gva, form == X86_XSAVES);
	requested = mask & (cpu->s.xcr0 | (form == X86_XSAVES ? cpu->s.xss : 0));
	layout_of(cpu, requested, compacted, &layout);
	x86_probe_write(cpu, operand_at(cpu, gva, LEGACY_BYTES), 16);
	for (uint64_t rest = requested; rest; rest &= rest - 1) {
		unsigned component = (unsigned)__builtin_ctzll(rest);

		if (save_component(cpu, gva, component, form, rex_w, &layout))
			used |= BIT(component);
	}
	if (compacted ? used & BIT(SSE) : requested & (BIT(SSE) | BIT(AVX))) {
		uint32_t mxcsr[2] = {cpu->s.fpu.mxcsr, X86_MXCSR_DEFINED};

		put(cpu, gva, 24, mxcsr, sizeof(mxcsr));
	}
	if (compacted) {
		header[0] = used;
		header[1] = requested | COMPACTED;
		put(cpu, gva, LEGACY_BYTES, header, sizeof(header));
	} else {
		get(cpu, gva, LEGACY_BYTES, header, sizeof(header[0]));
		header[0] = (header[0] & ~requested) | used;
		put(cpu, gva, LEGACY_BYTES, header, sizeof(header[0]));
	}
}

/* --- XRSTOR --- */

/* Raises #GP for a header that the instruction refuses. */
static void check_header(struct x86_cpu *cpu, const uint64_t header[8], bool supervisor)
{
	uint64_t allowed = cpu->s.xcr0 | (supervisor ? cpu->s.xss : 0);
	uint64_t state = header[0], compaction = header[1];

	if (compaction & COMPACTED) {
		if (!cpu->features->xsavec || compaction & ~COMPACTED & ~allowed || state & ~compaction)
			gp(cpu);
		for (unsigned i = 2; i < 8; i++)
			if (header[i])
				gp(cpu);
	} else if (supervisor || state & ~allowed || compaction || header[2]) {
		gp(cpu);
	}
}

void x86_xrstor(struct x86_cpu *cpu, uint64_t gva, uint64_t mask, bool supervisor, bool rex_w)
{
	uint8_t legacy[416], extended[8 + 4 * MAX_COMPONENT];
	uint16_t at[64] = {0};
	uint64_t header[8], requested, restored;
	bool compacted, load_mxcsr;
	struct layout layout;
	unsigned used = 0;

	xsave_checks(cpu, gva, supervisor);
	get(cpu, gva, LEGACY_BYTES, header, sizeof(header));
	check_header(cpu, header, supervisor);
	compacted = header[1] & COMPACTED;
	requested = mask & (cpu->s.xcr0 | (supervisor ? cpu->s.xss : 0));
	restored = requested & header[0];
	layout_of(cpu, compacted ? header[1] & ~COMPACTED : restored, compacted, &layout);
	load_mxcsr = compacted ? restored & BIT(SSE) : requested & (BIT(SSE) | BIT(AVX));

	/* Read all of it first. */
	if (restored & BIT(X87)) {
		get(cpu, gva, 0, legacy, 24);
		get(cpu, gva, 32, legacy + 32, 128);
	}
	if (load_mxcsr) {
		get(cpu, gva, 24, legacy + 24, 8);
		if (load_le32(legacy + 24) & ~X86_MXCSR_DEFINED)
			gp(cpu);
	}
	if (restored & BIT(SSE))
		get(cpu, gva, 160, legacy + 160, 16 * vectors(cpu));
	for (uint64_t rest = restored & ~3ull; rest; rest &= rest - 1) {
		unsigned component = (unsigned)__builtin_ctzll(rest);
		unsigned size = layout.size[component];

		if (!size || used + size > sizeof(extended))
			continue;
		get(cpu, gva, layout.offset[component], extended + used, size);
		at[component] = (uint16_t)used;
		used += size;
	}

	for (uint64_t rest = requested; rest; rest &= rest - 1) {
		unsigned component = (unsigned)__builtin_ctzll(rest);
		bool present = restored & BIT(component);

		if (component == X87 && present)
			x87_load(&cpu->s.fpu, legacy, rex_w);
		else if (component == X87)
			x87_init(&cpu->s.fpu);
		else if (component == SSE)
			component_load(cpu, SSE, present ? legacy + 160 : NULL);
		else if (!present || layout.size[component])
			component_load(cpu, component, present ? extended + at[component] : NULL);
	}
	if (load_mxcsr)
		cpu->s.fpu.mxcsr = load_le32(legacy + 24);
	else if (compacted && requested & BIT(SSE))
		cpu->s.fpu.mxcsr = MXCSR_INIT;
}

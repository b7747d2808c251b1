/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See test_guest.h. */
#include "cpu/interp/test_guest.h"

#include "base/util.h"
#include "cpu/x86/features.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHECK(condition)                                                                     \
	do {                                                                                 \
		if (!(condition)) {                                                          \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, err.msg);         \
			abort();                                                             \
		}                                                                            \
	} while (0)

void guest_init_tuned(struct guest *guest, const struct engine_ops *ops, unsigned cpus, const char *cpu_text, bool stepped,
		      const struct engine_tuning *tuning)
{
	struct ram_config config = { .size = GUEST_RAM };
	struct cpu_topology topology = { .vcpus = cpus, .sockets = cpus, .dies = 1, .cores = 1, .threads = 1 };
	struct cpuid_table offer = { 0 };
	struct error err = { 0 };

	memset(guest, 0, sizeof(*guest));
	guest->ops = ops;
	guest->log.fd = STDERR_FILENO;
	guest->ram = ram_new(&config, &err);
	CHECK(guest->ram);
	CHECK(!ram_map(guest->ram, 0, GUEST_RAM, 0, false, &err));
	guest->io = bus_new("io", 0x10000);
	guest->memory = bus_new("memory", 1ull << 40);
	guest->clock = clock_new(stepped, 1000000);
	clock_start(guest->clock);
	x86_engine_offer(&offer);
	CHECK(!x86_cpuid_build(&guest->cpuid, cpu_text, &offer, "interp", &topology, 1000000, false, 40, &err));
	x86_cpuid_free(&offer);
	guest->engine = ops->create(&(struct engine_env){
		.log = &guest->log, .ram = guest->ram, .io = guest->io, .memory = guest->memory, .clock = guest->clock,
		.cpuid = &guest->cpuid, .max_vcpus = cpus, .phys_bits = 40, .stepped = stepped, .tuning = *tuning }, &err);
	CHECK(guest->engine);
	guest->cpus = cpus;
	for (unsigned i = 0; i < cpus; i++) {
		struct vcpu *vcpu = ops->vcpu_create(guest->engine, i, i, &err);

		CHECK(vcpu);
		guest->cpu[i] = x86_cpu_of(vcpu);
	}
}

void guest_init_engine(struct guest *guest, const struct engine_ops *ops, unsigned cpus, const char *cpu_text, bool stepped)
{
	guest_init_tuned(guest, ops, cpus, cpu_text, stepped, &(struct engine_tuning){ 0 });
}

void guest_init(struct guest *guest, unsigned cpus, const char *cpu_text, bool stepped)
{
	guest_init_engine(guest, &interp_engine, cpus, cpu_text, stepped);
}

void guest_fini(struct guest *guest)
{
	for (unsigned i = 0; i < guest->cpus; i++)
		guest->ops->vcpu_destroy(&guest->cpu[i]->vcpu);
	guest->ops->destroy(guest->engine);
	x86_cpuid_free(&guest->cpuid);
	clock_free(guest->clock);
	bus_free(guest->io);
	bus_free(guest->memory);
	ram_free(guest->ram);
}

uint8_t *guest_ram(struct guest *guest, uint64_t gpa)
{
	return ram_hva(guest->ram, gpa, 1);
}

void guest_code(struct guest *guest, uint64_t gpa, const void *bytes, size_t length)
{
	ram_write(guest->ram, gpa, bytes, length);
}

void guest_gate(struct guest *guest, unsigned vector, uint64_t gpa)
{
	uint64_t gate[2] = { (gpa & 0xffff) | 0x8ull << 16 | 0x8e00ull << 32 | (gpa >> 16 & 0xffff) << 48, gpa >> 32 };

	guest_code(guest, 0x7000 + 16 * vector, gate, sizeof(gate));
}

static void write_tables(struct guest *guest)
{
	static const uint64_t gdt[] = { 0, 0x00af9b000000ffffull, 0x00cf93000000ffffull, 0x00cf9b000000ffffull,
		                        0x00affb000000ffffull, 0x00cff3000000ffffull };
	uint64_t entry = 0x2007;

	guest_code(guest, 0x1000, &entry, 8);
	entry = 0x3007;
	guest_code(guest, 0x2000, &entry, 8);
	for (uint64_t i = 0; i < GUEST_RAM >> 21; i++) {
		entry = i << 21 | 0xe7;
		guest_code(guest, 0x3000 + 8 * i, &entry, 8);
	}
	guest_code(guest, 0x6000, gdt, sizeof(gdt));
}

static struct x86_segment segment(uint16_t selector, uint32_t attr, uint32_t limit)
{
	return (struct x86_segment){ .selector = selector, .attr = attr, .limit = limit };
}

void guest_mode(struct guest *guest, unsigned i, enum x86_code_mode mode)
{
	static const uint32_t code_attr[] = { 0x9b, 0xc09b, 0xa09b };
	struct x86_state state;

	write_tables(guest);
	x86_state_reset(&state, true);
	for (unsigned s = 0; s < X86_SEGMENTS; s++)
		state.seg[s] = mode == X86_CODE16 ? segment(0, 0x93, 0xffff) : segment(0x10, 0xc093, 0xffffffff);
	state.seg[X86_CS] = segment(mode == X86_CODE64 ? 8 : 24, code_attr[mode], mode == X86_CODE16 ? 0xffff : 0xffffffff);
	state.cr0 = X86_CR0_ET | X86_CR0_NE;
	state.cr4 = X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
	state.xcr0 = 7;
	state.fpu.fcw = 0x37f;
	state.gpr[X86_RSP] = mode == X86_CODE16 ? 0xf000 : GUEST_STACK;
	state.rip = GUEST_CODE;
	state.gdtr = (struct x86_table){ .base = 0x6000, .limit = 0x2f };
	state.idtr = (struct x86_table){ .base = 0x7000, .limit = 0xfff };
	state.tr.base = 0x8000;
	state.tr.limit = 0x67;
	if (mode == X86_CODE16) {
		state.seg[X86_CS].selector = GUEST_CODE >> 4;
		state.seg[X86_CS].base = GUEST_CODE;
		state.rip = 0;
		state.idtr = (struct x86_table){ .base = 0, .limit = 0x3ff };
	} else {
		state.cr0 |= X86_CR0_PE;
	}
	if (mode == X86_CODE64) {
		state.cr0 |= X86_CR0_PG | X86_CR0_WP;
		state.cr3 = 0x1000;
		state.cr4 |= X86_CR4_PAE;
		state.efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_SCE | X86_EFER_NXE;
	}
	interp_engine.set_state(&guest->cpu[i]->vcpu, &state);
}

uint64_t guest_run(struct guest *guest, unsigned i, uint64_t count, enum vcpu_exit *exit)
{
	return interp_step(guest->cpu[i], count, exit);
}

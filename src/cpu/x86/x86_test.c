/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpu/x86/x86_test.h"

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
	struct test_machine *m = opaque;
	size_t used = strlen(m->mmio_trail);

	snprintf(m->mmio_trail + used, sizeof(m->mmio_trail) - used, "r%llx.%u ", (unsigned long long)offset, size);
	return m->mmio_answer;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct test_machine *m = opaque;
	size_t used = strlen(m->mmio_trail);

	snprintf(m->mmio_trail + used, sizeof(m->mmio_trail) - used, "w%llx.%u=%llx ", (unsigned long long)offset, size,
		 (unsigned long long)value);
}

static void code_written(void *opaque, uint64_t first_page, uint64_t last_page)
{
	struct test_machine *m = opaque;

	m->code_writes++;
	m->code_first_page = first_page;
}

static void kick(struct vcpu *vcpu)
{
}

int test_machine_setup(void **state)
{
	static const struct region_ops mmio_ops = {
		.read = mmio_read, .write = mmio_write, .min_width = 1, .max_width = 8};
	static const struct cpu_topology topology = {.vcpus = 1, .sockets = 1, .dies = 1, .cores = 1, .threads = 1};
	static const struct engine_ops ops = {.name = "test", .kick = kick};
	struct test_machine *m = xcalloc(1, sizeof(*m));
	struct ram_config config = {.size = TEST_RAM};
	struct cpuid_table offer;
	struct error err = {0};

	assert_int_equal(log_open(&m->log, "/dev/null", &err), 0);
	m->engine.ops = &ops;
	m->engine.env.log = &m->log;
	m->engine.env.ram = ram_new(&config, &err);
	assert_non_null(m->engine.env.ram);
	/* the last MiB is read-only */
	assert_int_equal(ram_map(m->engine.env.ram, 0, TEST_RAM - MIB, 0, false, &err), 0);
	assert_int_equal(ram_map(m->engine.env.ram, TEST_RAM - MIB, MIB, TEST_RAM - MIB, true, &err), 0);
	ram_set_code_client(m->engine.env.ram, &(struct ram_code_client){.written = code_written, .opaque = m});
	m->engine.env.io = bus_new("io", 0x10000);
	m->engine.env.memory = bus_new("memory", 1ull << 40);
	m->engine.env.clock = clock_new(true, 2000000);
	m->mmio = (struct region){.name = "mmio", .ops = &mmio_ops, .opaque = m, .base = TEST_MMIO, .size = 0x10000};
	assert_int_equal(bus_add(m->engine.env.memory, &m->mmio, &err), 0);
	x86_engine_offer(&offer);
	assert_int_equal(x86_cpuid_build(&m->cpuid, "max", &offer, "interp", &topology, 2000000, true, 40, &err), 0);
	x86_cpuid_free(&offer);
	m->engine.env.cpuid = &m->cpuid;
	m->engine.env.max_vcpus = 1;
	m->engine.env.phys_bits = 40;
	m->cpu = aligned_alloc(64, align_up(sizeof(*m->cpu), 64));
	memset(m->cpu, 0, sizeof(*m->cpu));
	m->cpu->fault_exit = &m->fault_exit;
	assert_int_equal(x86_cpu_init(m->cpu, &m->engine, 0, 0, &err), 0);
	*state = m;
	return 0;
}

int test_machine_teardown(void **state)
{
	struct test_machine *m = *state;

	x86_cpu_fini(m->cpu);
	free(m->cpu);
	x86_cpuid_free(&m->cpuid);
	bus_remove(m->engine.env.memory, &m->mmio);
	bus_free(m->engine.env.memory);
	bus_free(m->engine.env.io);
	clock_free(m->engine.env.clock);
	ram_free(m->engine.env.ram);
	log_close(&m->log);
	free(m);
	return 0;
}

void test_poke(struct test_machine *m, uint64_t gpa, uint64_t value, unsigned size)
{
	/* Also into the ROM. */
	assert_non_null(ram_hva(m->engine.env.ram, gpa, size));
	memcpy(ram_hva(m->engine.env.ram, gpa, size), &value, size);
	ram_written(m->engine.env.ram, gpa, size);
}

uint64_t test_peek(struct test_machine *m, uint64_t gpa, unsigned size)
{
	uint64_t value = 0;

	assert_int_equal(ram_read(m->engine.env.ram, gpa, &value, size), 0);
	return value;
}

uint64_t test_descriptor(uint32_t base, uint32_t limit, uint32_t attr)
{
	uint64_t raw;

	if (attr & X86_SEG_G)
		limit >>= 12;
	raw = (limit & 0xffff) | (uint64_t)(limit & 0xf0000) << 32;
	raw |= (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(base >> 24) << 56;
	return raw | (uint64_t)(attr & 0xf0ff) << 40;
}

void test_set_gdt(struct test_machine *m, unsigned selector, uint64_t descriptor)
{
	test_poke(m, TEST_GDT + (selector & ~7u), descriptor, 8);
}

static const uint32_t flat = X86_SEG_P | X86_SEG_S | X86_SEG_G;

static void build_tables(struct test_machine *m)
{
	struct x86_state *s = &m->cpu->s;

	test_set_gdt(m, SEL_CODE0, test_descriptor(0, ~0u, flat | X86_SEG_DB | 0xb));
	test_set_gdt(m, SEL_DATA0, test_descriptor(0, ~0u, flat | X86_SEG_DB | 0x3));
	test_set_gdt(m, SEL_CODE3, test_descriptor(0, ~0u, flat | X86_SEG_DB | 0xb | 0x60));
	test_set_gdt(m, SEL_DATA3, test_descriptor(0, ~0u, flat | X86_SEG_DB | 0x3 | 0x60));
	test_set_gdt(m, SEL_TSS, test_descriptor(TEST_TSS, 0x2067, X86_SEG_P | X86_SYS_TSS32_BUSY));
	test_set_gdt(m, SEL_TSS2, test_descriptor(TEST_TSS2, 0x67, X86_SEG_P | X86_SYS_TSS32));
	test_set_gdt(m, SEL_CODE64, test_descriptor(0, ~0u, flat | X86_SEG_L | 0xb));
	test_set_gdt(m, SEL_CONFORMING, test_descriptor(0, ~0u, flat | X86_SEG_DB | 0xf));
	test_set_gdt(m, SEL_CODE16, test_descriptor(0, 0xffff, X86_SEG_P | X86_SEG_S | 0xb));
	s->gdtr = (struct x86_table){.base = TEST_GDT, .limit = 0x7f};
	s->idtr = (struct x86_table){.base = TEST_IDT, .limit = 0xfff};
	x86_segment_set_null(&s->ldtr, 0, 0);
	s->tr = (struct x86_segment){
		.selector = SEL_TSS, .base = TEST_TSS, .limit = 0x2067, .attr = X86_SEG_P | X86_SYS_TSS32_BUSY};
	s->gpr[X86_RSP] = TEST_STACK0;
}

void test_set_cpl(struct test_machine *m, unsigned cpl)
{
	struct x86_state *s = &m->cpu->s;
	bool wide = s->efer & X86_EFER_LMA;
	uint32_t size = wide ? X86_SEG_L : X86_SEG_DB;

	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		s->seg[i] = (struct x86_segment){.selector = cpl ? SEL_DATA3 : SEL_DATA0,
						 .limit = ~0u,
						 .attr = flat | X86_SEG_DB | 0x3 | cpl << X86_SEG_DPL_SHIFT};
	s->seg[X86_CS] = (struct x86_segment){.selector = (cpl    ? SEL_CODE3 & ~3
							   : wide ? SEL_CODE64
								  : SEL_CODE0) |
							  cpl,
					      .limit = ~0u,
					      .attr = flat | size | 0xb | cpl << X86_SEG_DPL_SHIFT};
	s->gpr[X86_RSP] = cpl ? TEST_STACK3 : TEST_STACK0;
	x86_mode_update(m->cpu);
}

void test_protected_mode(struct test_machine *m)
{
	build_tables(m);
	m->cpu->s.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE;
	test_poke(m, TEST_TSS + 4, TEST_STACK0, 4);
	test_poke(m, TEST_TSS + 8, SEL_DATA0, 2);
	test_poke(m, TEST_TSS + 0x66, 0x68, 2);
	test_set_cpl(m, 0);
}

void test_set_pte(struct test_machine *m, uint64_t gva, uint64_t pte)
{
	test_poke(m, TEST_PT + (gva >> 12 & 511) * 8, pte, 8);
}

uint64_t test_get_pte(struct test_machine *m, uint64_t gva)
{
	return test_peek(m, TEST_PT + (gva >> 12 & 511) * 8, 8);
}

void test_long_mode(struct test_machine *m)
{
	struct x86_state *s = &m->cpu->s;

	test_poke(m, TEST_PML4, TEST_PDPT | 7, 8);
	test_poke(m, TEST_PDPT, TEST_PD | 7, 8);
	test_poke(m, TEST_PD, TEST_PT | 7, 8);
	for (unsigned i = 1; i < 512; i++)
		test_poke(m, TEST_PD + 8 * i, (uint64_t)i << 21 | 0x87, 8);
	for (unsigned i = 0; i < 512; i++)
		test_set_pte(m, (uint64_t)i << 12, (uint64_t)i << 12 | 7);
	build_tables(m);
	s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP;
	s->cr3 = TEST_PML4;
	s->cr4 = X86_CR4_PAE | X86_CR4_PGE;
	s->efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE | X86_EFER_SCE;
	test_poke(m, TEST_TSS + 4, TEST_STACK0, 8);
	test_poke(m, TEST_TSS + 0x66, 0x68, 2);
	x86_tlb_flush(m->cpu);
	test_set_cpl(m, 0);
}

void test_set_gate32(struct test_machine *m, unsigned vector, uint16_t selector, uint32_t offset, unsigned type,
		     unsigned dpl)
{
	uint64_t gate = (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)(offset & 0xffff0000) << 32;

	test_poke(m, TEST_IDT + 8 * vector, gate | (uint64_t)(0x80 | type | dpl << 5) << 40, 8);
}

void test_set_gate64(struct test_machine *m, unsigned vector, uint16_t selector, uint64_t offset, unsigned type,
		     unsigned dpl, unsigned ist)
{
	uint64_t gate =
		(offset & 0xffff) | (uint64_t)selector << 16 | (offset & 0xffff0000) << 32 | (uint64_t)ist << 32;

	test_poke(m, TEST_IDT + 16 * vector, gate | (uint64_t)(0x80 | type | dpl << 5) << 40, 8);
	test_poke(m, TEST_IDT + 16 * vector + 8, offset >> 32, 8);
}

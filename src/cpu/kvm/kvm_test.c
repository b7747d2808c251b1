/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The KVM engine with tiny hand-assembled guests: ports, MMIO, string I/O, kicks, state exchange, interrupts through
 * the in-kernel controllers, dirty log, clocks, triple fault. Skipped, loudly, where there is no /dev/kvm.
 */
#include "cpu/kvm/kvm.h"

#include "base/util.h"
#include "core/bus.h"
#include "core/clock.h"
#include "core/ram.h"
#include "cpu/kvm/internal.h"
#include "cpu/x86/cpu.h"
#include "cpu/x86/features.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

enum { PORT = 0x300, MMIO = 0x10000000 };

struct bench {
	struct log log;
	struct ram *ram;
	struct bus *io, *memory;
	struct clock *clock;
	struct cpuid_table cpuid;
	struct engine *engine;
	struct vcpu *vcpu;
	struct region port, mmio;
	uint64_t written[64], offsets[64];
	unsigned sizes[64], writes, reads;
	unsigned stop_after; /* writes after which the vCPU is kicked */
};

static uint64_t on_read(void *opaque, uint64_t offset, unsigned size)
{
	struct bench *b = opaque;
	b->reads++;
	return 0x1122334455667788ull + b->reads;
}

static void on_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct bench *b = opaque;
	if (b->writes < ARRAY_SIZE(b->written)) {
		b->written[b->writes] = value;
		b->offsets[b->writes] = offset;
		b->sizes[b->writes] = size;
	}
	if (++b->writes == b->stop_after)
		vcpu_raise(b->vcpu, VCPU_KICK);
}

static const struct region_ops ops = {.read = on_read, .write = on_write, .min_width = 1, .max_width = 8};

static void must(int rc, const struct error *err)
{
	if (rc < 0)
		fail_msg("%s", err->msg);
}

/* The run loop for hardware can be tried on a host without, too; user mode is more than such a KVM can do. */
enum loop { LOOP_OF_HOST, LOOP_HARDWARE };

static struct bench *bench_new(void **state)
{
	struct bench *b = xcalloc(1, sizeof(*b));
	struct ram_config config = {.size = 8 * MIB};
	struct cpu_topology topology = {.vcpus = 1, .sockets = 1, .dies = 1, .cores = 1, .threads = 1};
	struct cpuid_table offer = {0};
	struct error err = {0};
	uint64_t khz = kvm_engine.tsc_khz();
	b->log.fd = STDERR_FILENO;
	b->log.items = LOG_VERBOSE | LOG_GUEST_ERRORS;
	b->ram = ram_new(&config, &err);
	must(ram_map(b->ram, 0, 8 * MIB, 0, false, &err), &err);
	b->io = bus_new("I/O port", 0x10000);
	b->memory = bus_new("memory", 0);
	b->clock = clock_new(false, khz);
	must(kvm_engine.offer(&offer, &err), &err);
	must(x86_cpuid_build(&b->cpuid, NULL, &offer, "kvm", &topology, khz, true, 40, &err), &err);
	x86_cpuid_free(&offer);
	b->port = (struct region){.name = "port", .ops = &ops, .opaque = b, .base = PORT, .size = 16};
	b->mmio = (struct region){.name = "mmio", .ops = &ops, .opaque = b, .base = MMIO, .size = 0x10000};
	must(bus_add(b->io, &b->port, &err), &err);
	must(bus_add(b->memory, &b->mmio, &err), &err);
	const struct engine_env env = {.log = &b->log,
				       .ram = b->ram,
				       .io = b->io,
				       .memory = b->memory,
				       .clock = b->clock,
				       .cpuid = &b->cpuid,
				       .max_vcpus = 4,
				       .phys_bits = 40};
	b->engine = kvm_engine.create(&env, &err);
	if (!b->engine)
		fail_msg("%s", err.msg);
	if (*state && *(enum loop *)*state == LOOP_HARDWARE)
		kvm_of(b->engine)->software = false;
	b->vcpu = kvm_engine.vcpu_create(b->engine, 0, 0, &err);
	if (!b->vcpu)
		fail_msg("%s", err.msg);
	clock_start(b->clock);
	kvm_engine.clock_changed(b->engine, true);
	return b;
}

static void bench_free(struct bench *b)
{
	kvm_engine.vcpu_destroy(b->vcpu);
	kvm_engine.destroy(b->engine);
	bus_remove(b->io, &b->port);
	bus_remove(b->memory, &b->mmio);
	bus_free(b->io);
	bus_free(b->memory);
	clock_free(b->clock);
	ram_free(b->ram);
	x86_cpuid_free(&b->cpuid);
	free(b);
}

/* 32-bit protected mode, flat, no paging, code at 1 MiB, stack below it. */
static void start(struct bench *b, const uint8_t *code, size_t length)
{
	struct x86_state *s = xcalloc(1, sizeof(*s));
	x86_state_reset(s, true);
	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		s->seg[i] = (struct x86_segment){
			.limit = UINT32_MAX, .attr = i == X86_CS ? 0xc09b : 0xc093, .selector = i == X86_CS ? 8 : 16};
	s->cr0 = 0x11;
	s->rip = 0x100000;
	s->gpr[X86_RSP] = 0x100000;
	ram_write(b->ram, 0x100000, code, length);
	kvm_engine.set_state(b->vcpu, s);
	free(s);
}

static enum vcpu_exit run(struct bench *b)
{
	struct error err = {0};
	enum vcpu_exit why = kvm_engine.run(b->vcpu, &err);
	if (why == VCPU_FAILED)
		fail_msg("%s", err.msg);
	return why;
}

#define START(b, ...) start(b, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void test_ports_of_all_widths(void **state)
{
	struct bench *b = bench_new(state);
	b->stop_after = 3;
	/* mov dx,0x300; in al,dx; out dx,al; in eax,dx; out dx,eax; add eax,1 (the kick must not lose it); out dx,ax;
	 * jmp . */
	START(b, 0x66, 0xba, 0x00, 0x03, 0xec, 0xee, 0xed, 0xef, 0x83, 0xc0, 0x01, 0x66, 0xef, 0xeb, 0xfe);
	assert_int_equal(run(b), VCPU_KICKED);
	assert_int_equal(b->writes, 3);
	assert_int_equal(b->written[0], 0x89);
	assert_int_equal(b->sizes[0], 1);
	assert_int_equal(b->written[1], 0x5566778a);
	assert_int_equal(b->written[2], 0x778b);
	assert_int_equal(b->sizes[2], 2);
	struct x86_state *s = xcalloc(1, sizeof(*s));
	kvm_engine.get_state(b->vcpu, s);
	assert_int_equal(s->rip, 0x10000d); /* the OUT is complete */
	assert_int_equal(s->gpr[X86_RAX], 0x5566778b);
	free(s);
	bench_free(b);
}

static void test_string_io(void **state)
{
	struct bench *b = bench_new(state);
	ram_write(b->ram, 0x2000, "abcdefgh", 8);
	b->stop_after = 9;
	/* mov dx,0x300; mov esi,0x2000; mov ecx,8; rep outsb; mov edi,0x3000; mov ecx,2; rep insd; out dx,al; jmp . */
	START(b, 0x66, 0xba, 0x00, 0x03, 0xbe, 0x00, 0x20, 0x00, 0x00, 0xb9, 0x08, 0x00, 0x00, 0x00, 0xfc, 0xf3, 0x6e,
	      0xbf, 0x00, 0x30, 0x00, 0x00, 0xb9, 0x02, 0x00, 0x00, 0x00, 0xf3, 0x6d, 0xee, 0xeb, 0xfe);
	assert_int_equal(run(b), VCPU_KICKED);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(b->written[i], 'a' + i);
	uint32_t in[2];
	ram_read(b->ram, 0x3000, in, sizeof(in));
	assert_int_equal(in[0], 0x55667789);
	assert_int_equal(in[1], 0x5566778a);
	bench_free(b);
}

static void test_mmio(void **state)
{
	struct bench *b = bench_new(state);
	b->stop_after = 3;
	/* mov eax,[MMIO]; mov [MMIO+8],eax; mov [MMIO+0x10],al; mov dword [MMIO+0xffe], 0x44332211; jmp . */
	START(b, 0xa1, 0x00, 0x00, 0x00, 0x10, 0xa3, 0x08, 0x00, 0x00, 0x10, 0xa2, 0x10, 0x00, 0x00, 0x10, 0xc7, 0x05,
	      0xfe, 0x0f, 0x00, 0x10, 0x11, 0x22, 0x33, 0x44, 0xeb, 0xfe);
	assert_int_equal(run(b), VCPU_KICKED);
	assert_int_equal(b->written[0], 0x55667789);
	assert_int_equal(b->offsets[0], 8);
	assert_int_equal(b->sizes[0], 4);
	assert_int_equal(b->written[1], 0x89);
	assert_int_equal(b->sizes[1], 1);
	/* One that crosses a page may come in pieces, but all of it comes. */
	uint64_t value = 0;
	for (unsigned i = 2; i < b->writes; i++)
		value |= b->written[i] << 8 * (b->offsets[i] - 0xffe);
	if (b->writes >= 4 || b->sizes[2] == 4)
		assert_int_equal(value, 0x44332211);
	bench_free(b);
}

static void fill_state(struct x86_state *s)
{
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = 0x1111111111111111ull * i + 1;
	s->gpr[X86_RSP] = 0x100000;
	s->dr[0] = 0x1234;
	s->dr7 = 0x400;
	s->star = 0x23001000000000ull;
	s->lstar = 0xffffffff81000000ull;
	s->sysenter_eip = 0x1234;
	s->pat = 0x0007040600070406ull;
	s->kernel_gs_base = 0xffff888000000000ull;
	s->fpu.fcw = 0x37f;
	s->fpu.ftw = 0x81;
	s->fpu.mxcsr = 0x1fa0;
	for (unsigned i = 0; i < 8; i++)
		memset(s->fpu.st[i], (int)(0x40 + i), 10);
	for (unsigned i = 0; i < 16; i++)
		memset(s->fpu.vector[i], (int)(0x80 + i), 16);
}

static void test_state_survives_the_kernel(void **state)
{
	struct bench *b = bench_new(state);
	struct x86_state *in = xcalloc(2, sizeof(*in)), *out = in + 1;
	START(b, 0xeb, 0xfe);
	kvm_engine.get_state(b->vcpu, in);
	fill_state(in);
	kvm_engine.set_state(b->vcpu, in);
	kvm_engine.get_state(b->vcpu, out);
	assert_memory_equal(in->gpr, out->gpr, sizeof(in->gpr));
	for (unsigned i = 0; i < X86_SEGMENTS; i++) { /* field by field: the structure has padding */
		assert_int_equal(in->seg[i].base, out->seg[i].base);
		assert_int_equal(in->seg[i].limit, out->seg[i].limit);
		assert_int_equal(in->seg[i].attr, out->seg[i].attr);
		assert_int_equal(in->seg[i].selector, out->seg[i].selector);
	}
	assert_memory_equal(in->fpu.st, out->fpu.st, sizeof(in->fpu.st));
	assert_memory_equal(in->fpu.vector, out->fpu.vector, sizeof(in->fpu.vector));
	assert_int_equal(out->fpu.ftw, 0x81);
	assert_int_equal(out->fpu.mxcsr, 0x1fa0);
	assert_int_equal(out->star, in->star);
	assert_int_equal(out->lstar, in->lstar);
	assert_int_equal(out->kernel_gs_base, in->kernel_gs_base);
	assert_int_equal(out->sysenter_eip, in->sysenter_eip);
	assert_int_equal(out->pat, in->pat);
	assert_int_equal(out->dr[0], 0x1234);
	assert_int_equal(out->apic_base, in->apic_base);
	assert_int_equal(out->mp_state, X86_MP_RUNNING);
	assert_int_equal(out->cr0 & 0x11, 0x11);
	free(in);
	bench_free(b);
}

static void test_fpu_image(void **state)
{
	const struct kvm_xsave_layout layout = {.avx_offset = 576,
						.opmask_offset = 832,
						.zmm_high_offset = 896,
						.zmm_upper_offset = 1408,
						.pkru_offset = 2432,
						.components = 0x2e7};
	struct x86_state *in = xcalloc(2, sizeof(*in)), *out = in + 1;
	uint8_t *image = xcalloc(1, 4096);
	fill_state(in);
	for (unsigned i = 0; i < 32; i++)
		for (unsigned j = 0; j < 64; j++)
			in->fpu.vector[i][j] = (uint8_t)(i * 7 + j + 1);
	in->fpu.opmask[3] = 0x123456789abcdef0ull;
	in->pkru = 0x55555554;
	kvm_fpu_to_image(&layout, in, image);
	assert_int_equal(load_le64(image + 512), 0x2e7);
	assert_int_equal(image[576], in->fpu.vector[0][16]);
	assert_int_equal(image[1408 + 64], in->fpu.vector[17][0]);
	kvm_fpu_from_image(&layout, image, out);
	assert_memory_equal(&in->fpu, &out->fpu, sizeof(in->fpu));
	assert_int_equal(out->pkru, in->pkru);
	/* A component that is not marked as present is in its initial state whatever the bytes say. */
	store_le64(image + 512, 3);
	kvm_fpu_from_image(&layout, image, out);
	assert_int_equal(out->fpu.vector[0][16], 0);
	assert_int_equal(out->fpu.vector[31][0], 0);
	assert_int_equal(out->pkru, 0);
	free(image);
	free(in);
}

static void *kick_later(void *opaque)
{
	struct bench *b = opaque;
	usleep(30000);
	vcpu_raise(b->vcpu, VCPU_KICK);
	return NULL;
}

static void test_kick_ends_a_loop_and_a_halt(void **state)
{
	struct bench *b = bench_new(state);
	pthread_t thread;
	START(b, 0xeb, 0xfe);
	pthread_create(&thread, NULL, kick_later, b);
	assert_int_equal(run(b), VCPU_KICKED);
	pthread_join(thread, NULL);
	START(b, 0xfa, 0xf4, 0xeb, 0xfe);
	pthread_create(&thread, NULL, kick_later, b);
	assert_int_equal(run(b), VCPU_KICKED);
	pthread_join(thread, NULL);
	/* A kick that came before run is not lost. */
	vcpu_raise(b->vcpu, VCPU_KICK);
	assert_int_equal(run(b), VCPU_KICKED);
	bench_free(b);
}

/* An IDT at 0x4000 whose gates all lead to a handler at 0x5000: out dx,al with al = 0x77; jmp . */
static void make_idt(struct bench *b)
{
	static const uint8_t handler[] = {0x66, 0xba, 0x00, 0x03, 0xb0, 0x77, 0xee, 0xeb, 0xfe};
	const uint64_t gdt[] = {0, 0x00cf9b000000ffffull, 0x00cf93000000ffffull};
	for (unsigned i = 0; i < 256; i++) {
		uint64_t gate = 0x0000ee0000085000ull;
		gate = (gate & ~0xff0000000000ull) | 0x8e0000000000ull;
		ram_write(b->ram, 0x4000 + 8 * i, &gate, 8);
	}
	ram_write(b->ram, 0x5000, handler, sizeof(handler));
	ram_write(b->ram, 0x6000, gdt, sizeof(gdt));
	struct x86_state *s = xcalloc(1, sizeof(*s));
	kvm_engine.get_state(b->vcpu, s);
	s->idtr = (struct x86_table){0x4000, 0x7ff};
	s->gdtr = (struct x86_table){0x6000, 23};
	kvm_engine.set_state(b->vcpu, s);
	free(s);
}

static void test_msi_through_an_irqfd(void **state)
{
	struct bench *b = bench_new(state);
	struct msi_sink sink = kvm_engine.irqchip->msi(b->engine);
	uint64_t one = 1;
	int fd = eventfd(0, 0);
	b->stop_after = 2;
	/* Switch the local APIC on (SVR), say so on the port, sti, hlt. */
	START(b, 0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0x00, 0x00, 0x66, 0xba, 0x00, 0x03, 0xee, 0xfb, 0xf4,
	      0xeb, 0xfd);
	make_idt(b);
	int route = sink.route_add(sink.opaque, fd, (struct msi_message){0xfee00000, 0x41});
	assert_true(route >= 24);
	int second = sink.route_add(sink.opaque, eventfd(0, 0), (struct msi_message){0xfee00000, 0x42});
	assert_true(second >= 24 && second != route);
	assert_int_equal(write(fd, &one, 8), 8);
	b->stop_after = 1;
	assert_int_equal(run(b), VCPU_KICKED);
	assert_int_equal(write(fd, &one, 8), 8);
	b->stop_after = 2;
	assert_int_equal(run(b), VCPU_KICKED);
	assert_int_equal(b->written[1], 0x77);
	sink.route_remove(sink.opaque, route, fd);
	assert_int_equal(sink.route_add(sink.opaque, fd, (struct msi_message){0xfee00000, 0x41}), route);
	bench_free(b);
}

static void test_isa_line_through_the_8259(void **state)
{
	struct bench *b = bench_new(state);
	b->stop_after = 1;
	/* ICW1-4 for the master at vector 0x20, mask all but line 4, say so on the port, sti, hlt. */
	START(b, 0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x20, 0xe6, 0x21, 0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21, 0xb0,
	      0xef, 0xe6, 0x21, 0x66, 0xba, 0x00, 0x03, 0xee, 0xfb, 0xf4, 0xeb, 0xfd);
	make_idt(b);
	kvm_engine.irqchip->reset(b->engine);
	assert_int_equal(run(b), VCPU_KICKED);
	b->stop_after = 2;
	kvm_engine.irqchip->set_line(b->engine, 4, true);
	assert_int_equal(run(b), VCPU_KICKED);
	assert_int_equal(b->written[1], 0x77);
	bench_free(b);
}

static void test_doorbell_does_not_exit(void **state)
{
	struct bench *b = bench_new(state);
	int fd = eventfd(0, EFD_NONBLOCK);
	const struct doorbell bell = {.offset = MMIO + 0x100, .size = 4, .match = true, .value = 5, .event_fd = fd};
	uint64_t count = 0;
	bus_doorbell_add(b->memory, &bell);
	b->stop_after = 2;
	/* mov [MMIO+0x100],5 twice; the same with 6; out dx,al; jmp . */
	START(b, 0xc7, 0x05, 0x00, 0x01, 0x00, 0x10, 0x05, 0x00, 0x00, 0x00, 0xc7, 0x05, 0x00, 0x01, 0x00, 0x10, 0x05,
	      0x00, 0x00, 0x00, 0xc7, 0x05, 0x00, 0x01, 0x00, 0x10, 0x06, 0x00, 0x00, 0x00, 0x66, 0xba, 0x00, 0x03,
	      0xee, 0xeb, 0xfe);
	assert_int_equal(run(b), VCPU_KICKED);
	assert_int_equal(b->written[0], 6);
	assert_int_equal(read(fd, &count, 8), 8);
	assert_int_equal(count, 2);
	bus_doorbell_remove(b->memory, &bell);
	bench_free(b);
}

static void test_dirty_log(void **state)
{
	struct bench *b = bench_new(state);
	const struct ram_slot *slot = ram_find(b->ram, 0);
	uint8_t bitmap[8 * MIB / 4096 / 8];
	b->stop_after = 1;
	/* mov [0x300000],eax; out dx,al; jmp . */
	START(b, 0xa3, 0x00, 0x00, 0x30, 0x00, 0x66, 0xba, 0x00, 0x03, 0xee, 0xeb, 0xfe);
	ram_track(b->ram, RAM_MIGRATE, true);
	kvm_engine.dirty_start(b->engine);
	assert_int_equal(run(b), VCPU_KICKED);
	kvm_engine.dirty_sync(b->engine);
	ram_harvest(b->ram, RAM_MIGRATE, slot, bitmap);
	assert_true(bitmap[0x300 / 8] & 1);
	assert_false(bitmap[0x310 / 8] & 1);
	kvm_engine.dirty_sync(b->engine);
	ram_harvest(b->ram, RAM_MIGRATE, slot, bitmap);
	assert_false(bitmap[0x300 / 8] & 1);
	kvm_engine.dirty_stop(b->engine);
	bench_free(b);
}

static uint64_t guest_tsc(struct bench *b)
{
	struct error err = {0};
	unsigned at = b->writes;
	b->stop_after = at + 2;
	/* rdtsc; mov ecx,edx; mov dx,0x300; out dx,eax; mov eax,ecx; out dx,eax; jmp . */
	START(b, 0x0f, 0x31, 0x89, 0xd1, 0x66, 0xba, 0x00, 0x03, 0xef, 0x89, 0xc8, 0xef, 0xeb, 0xfe);
	assert_int_equal(kvm_engine.run(b->vcpu, &err), VCPU_KICKED);
	return b->written[at] | b->written[at + 1] << 32;
}

static void test_tsc_stands_still_with_the_machine(void **state)
{
	struct bench *b = bench_new(state);
	uint64_t khz = clock_tsc_khz(b->clock), first;
	if (kvm_of(b->engine)->tsc_is_host && !kvm_of(b->engine)->software) {
		print_message("SKIPPED: this host's KVM cannot offset the TSC\n");
		bench_free(b);
		skip();
	}
	first = guest_tsc(b);
	uint64_t expected = clock_tsc_at(b->clock, clock_now(b->clock));
	int64_t ahead = (int64_t)(first - expected) / (int64_t)khz; /* ms */
	if (ahead > 1 || ahead < -500)
		fail_msg("the guest's TSC is %lld ms ahead of the machine's clock", (long long)ahead);
	clock_stop(b->clock);
	kvm_engine.clock_changed(b->engine, false);
	usleep(300000);
	clock_start(b->clock);
	kvm_engine.clock_changed(b->engine, true);
	uint64_t second = guest_tsc(b);
	assert_true(second > first);
	if (second - first > 250 * khz)
		fail_msg("the TSC went on by %llu ms while the machine stood still",
			 (unsigned long long)((second - first) / khz));
	bench_free(b);
}

static void test_kvmclock_stands_still_with_the_machine(void **state)
{
	struct bench *b = bench_new(state);
	struct kvm_engine_data *kvm = (struct kvm_engine_data *)b->engine;
	struct kvm_clock_data before = {0}, after = {0};
	assert_int_equal(kvm_ioctl(kvm->vm_fd, KVM_GET_CLOCK, &before), 0);
	clock_stop(b->clock);
	kvm_engine.clock_changed(b->engine, false);
	usleep(300000);
	clock_start(b->clock);
	kvm_engine.clock_changed(b->engine, true);
	assert_int_equal(kvm_ioctl(kvm->vm_fd, KVM_GET_CLOCK, &after), 0);
	assert_true(after.clock >= before.clock);
	assert_true(after.clock - before.clock < 250 * (uint64_t)NS_PER_MS);
	assert_true(after.clock < 5 * (uint64_t)NS_PER_S); /* it began with the machine, not with the host */
	bench_free(b);
}

static void test_triple_fault_is_a_reset(void **state)
{
	struct bench *b = bench_new(state);
	START(b, 0x0f, 0x0b); /* ud2 without an IDT */
	struct x86_state *s = xcalloc(1, sizeof(*s));
	kvm_engine.get_state(b->vcpu, s);
	s->idtr = (struct x86_table){0, 0};
	kvm_engine.set_state(b->vcpu, s);
	free(s);
	assert_int_equal(run(b), VCPU_RESET);
	bench_free(b);
}

/* 64-bit mode with everything below 1 GiB mapped for user mode; GDT 8 kernel code, 16 data, 32 user data, 40 user code;
 * the system call entry is at 0x5000. */
static void start64(struct bench *b, const uint8_t *code, size_t length, const uint8_t *entry, size_t entry_length)
{
	const uint64_t gdt[] = {0, 0x00af9b000000ffffull, 0x00cf93000000ffffull,
				0, 0x00cff3000000ffffull, 0x00affb000000ffffull};
	uint64_t table = 0x11000 | 7;
	struct x86_state *s = xcalloc(1, sizeof(*s));
	ram_write(b->ram, 0x10000, &table, 8);
	table = 0x12000 | 7;
	ram_write(b->ram, 0x11000, &table, 8);
	for (uint64_t i = 0; i < 512; i++) {
		table = i << 21 | 0x87;
		ram_write(b->ram, 0x12000 + 8 * i, &table, 8);
	}
	ram_write(b->ram, 0x6000, gdt, sizeof(gdt));
	ram_write(b->ram, 0x5000, entry, entry_length);
	ram_write(b->ram, 0x100000, code, length);
	x86_state_reset(s, true);
	for (unsigned i = 0; i < X86_SEGMENTS; i++)
		s->seg[i] = (struct x86_segment){
			.limit = UINT32_MAX, .attr = i == X86_CS ? 0xa09b : 0xc093, .selector = i == X86_CS ? 8 : 16};
	s->tr = (struct x86_segment){.base = 0x7000, .limit = 0x67, .attr = 0x8b, .selector = 0x30};
	s->gdtr = (struct x86_table){0x6000, sizeof(gdt) - 1};
	s->cr0 = 0x80000011;
	s->cr3 = 0x10000;
	s->cr4 = 0x620;
	s->efer = 0x501;
	s->star = (uint64_t)(0x18 | 3) << 48 | (uint64_t)8 << 32;
	s->lstar = 0x5000;
	s->rip = 0x100000;
	s->gpr[X86_RSP] = 0x100000;
	kvm_engine.set_state(b->vcpu, s);
	free(s);
}

static void test_user_mode_and_back(void **state)
{
	struct bench *b = bench_new(state);
	if (!kvm_has_hardware() && !kvm_of(b->engine)->software) {
		bench_free(b);
		skip();
	}
	/* push 0x23; push 0x90000; push 0x3002; push 0x2b; push 0x100013; iretq; user: mov eax,cs; mov ebx,eax; syscall
	 */
	static const uint8_t code[] = {0x6a, 0x23, 0x68, 0x00, 0x00, 0x09, 0x00, 0x68, 0x02, 0x30,
				       0x00, 0x00, 0x6a, 0x2b, 0x68, 0x16, 0x00, 0x10, 0x00, 0x48,
				       0xcf, 0x90, 0x8c, 0xc8, 0x89, 0xc3, 0x0f, 0x05};
	/* mov eax,cs; mov dx,0x300; out dx,eax; mov eax,ebx; out dx,eax; jmp . */
	static const uint8_t entry[] = {0x8c, 0xc8, 0x66, 0xba, 0x00, 0x03, 0xef, 0x89, 0xd8, 0xef, 0xeb, 0xfe};
	start64(b, code, sizeof(code), entry, sizeof(entry));
	b->stop_after = 2;
	assert_int_equal(run(b), VCPU_KICKED);
	assert_int_equal(b->written[1], 0x2b);
	assert_int_equal(b->written[0], 8);
	bench_free(b);
}

/* LOCK CMPXCHG16B is an instruction that KVMs in software do not know; wherever it is executed, its result is this. */
static void test_instruction_that_needs_help(void **state)
{
	struct bench *b = bench_new(state);
	/* mov edi,0x200000; xor eax,eax; xor edx,edx; mov ebx,0x55; mov ecx,0x66; lock cmpxchg16b [rdi]; setz al; mov
	 * dx,0x300; out dx,al; jmp . */
	static const uint8_t code[] = {0xbf, 0x00, 0x00, 0x20, 0x00, 0x31, 0xc0, 0x31, 0xd2, 0xbb, 0x55, 0x00,
				       0x00, 0x00, 0xb9, 0x66, 0x00, 0x00, 0x00, 0xf0, 0x48, 0x0f, 0xc7, 0x0f,
				       0x0f, 0x94, 0xc0, 0x66, 0xba, 0x00, 0x03, 0xee, 0xeb, 0xfe};
	uint64_t memory[2];
	start64(b, code, sizeof(code), code, 0);
	b->stop_after = 1;
	assert_int_equal(run(b), VCPU_KICKED);
	assert_int_equal(b->written[0], 1);
	ram_read(b->ram, 0x200000, memory, sizeof(memory));
	assert_int_equal(memory[0], 0x55);
	assert_int_equal(memory[1], 0x66);
	bench_free(b);
}

static void test_translate(void **state)
{
	struct bench *b = bench_new(state);
	uint64_t gpa = 0;
	START(b, 0xeb, 0xfe);
	assert_int_equal(kvm_engine.translate_gva(b->vcpu, 0x123456, &gpa), 0);
	assert_int_equal(gpa, 0x123456);
	bench_free(b);
}

int main(void)
{
	const struct CMUnitTest always[] = {cmocka_unit_test(test_fpu_image)};
	static enum loop of_host = LOOP_OF_HOST, hardware = LOOP_HARDWARE;
#define BOTH(test)                                                                                                     \
	{#test, test, NULL, NULL, &of_host},                                                                           \
	{                                                                                                              \
#test " (loop for hardware)", test, NULL, NULL, &hardware                                              \
	}
	const struct CMUnitTest tests[] = {
		BOTH(test_ports_of_all_widths),
		BOTH(test_string_io),
		BOTH(test_mmio),
		BOTH(test_state_survives_the_kernel),
		BOTH(test_kick_ends_a_loop_and_a_halt),
		BOTH(test_msi_through_an_irqfd),
		BOTH(test_isa_line_through_the_8259),
		BOTH(test_doorbell_does_not_exit),
		BOTH(test_dirty_log),
		BOTH(test_tsc_stands_still_with_the_machine),
		BOTH(test_kvmclock_stands_still_with_the_machine),
		BOTH(test_triple_fault_is_a_reset),
		BOTH(test_translate),
		BOTH(test_instruction_that_needs_help),
		BOTH(test_user_mode_and_back),
	};
	bool rank_last;
	struct error err = {0};
	int failed = cmocka_run_group_tests_name("always", always, NULL, NULL);
	if (kvm_engine.probe(&rank_last, &err) < 0) {
		fprintf(stderr, "SKIPPED: all tests that run a guest: %s\n", err.msg);
		return failed ? failed : 77;
	}
	return failed + cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Exits of KVM_RUN for I/O, and what can be said about a triple fault. */
#include "base/util.h"
#include "core/ram.h"
#include "cpu/kvm/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* One IN or OUT, or a piece of INS or OUTS: count items that lie in the shared page. */
void kvm_exit_io(struct kvm_vcpu *v)
{
	struct kvm_run *run = v->run;
	struct bus *bus = v->kvm->engine.env.io;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned size = run->io.size;
	v->io_unfinished = true;
	if ((size != 1 && size != 2 && size != 4) ||
	    !range_inside(run->io.data_offset, (uint64_t)size * run->io.count, v->kvm->run_bytes))
		return;
	for (size_t i = 0, done; i < run->io.count; i += done, data += done * size) {
		const bool in = run->io.direction == KVM_EXIT_IO_IN;
		uint64_t value = 0;
		done = in ? bus_read_run(bus, run->io.port, data, size, run->io.count - i)
			  : bus_write_run(bus, run->io.port, data, size, run->io.count - i);
		if (done)
			continue;
		done = 1;
		if (in) {
			value = bus_read(bus, run->io.port, size);
			memcpy(data, &value, size);
		} else {
			memcpy(&value, data, size);
			bus_write(bus, run->io.port, value, size);
		}
	}
}

/* The kernel splits at page borders, so any length up to 8 occurs; the bus takes powers of two. */
void kvm_exit_mmio(struct kvm_vcpu *v)
{
	struct kvm_run *run = v->run;
	struct bus *bus = v->kvm->engine.env.memory;
	unsigned length = run->mmio.len <= 8 ? run->mmio.len : 8;
	v->io_unfinished = true;
	for (unsigned at = 0, piece; at < length; at += piece) {
		uint64_t value = 0;
		for (piece = 8; piece > length - at; piece /= 2)
			;
		if (run->mmio.is_write) {
			memcpy(&value, run->mmio.data + at, piece);
			bus_write(bus, run->mmio.phys_addr + at, value, piece);
		} else {
			value = bus_read(bus, run->mmio.phys_addr + at, piece);
			memcpy(run->mmio.data + at, &value, piece);
		}
	}
}

static void code_bytes(struct kvm_vcpu *v, const struct x86_state *s, char *text, size_t size)
{
	uint64_t gpa, linear = s->rip + (s->efer >> 10 & 1 ? 0 : s->seg[X86_CS].base);
	uint8_t bytes[16];
	size_t length = 0;
	text[0] = 0;
	if (kvm_translate_gva(&v->vcpu, linear, &gpa) < 0) {
		snprintf(text, size, "not mapped");
		return;
	}
	while (length < sizeof(bytes) && ram_read(v->kvm->engine.env.ram, gpa + length, bytes + length, 1) == 0)
		length++;
	for (size_t i = 0; i < length && 3 * i + 4 < size; i++)
		snprintf(text + 3 * i, size - 3 * i, "%02x ", bytes[i]);
}

/* KVM does not keep the chain of faults; the registers at its end and the mapping of CR2 are what there is. */
void kvm_log_triple_fault(struct kvm_vcpu *v)
{
	struct log *log = v->kvm->engine.env.log;
	struct x86_state *s = xcalloc(1, sizeof(*s));
	char code[64];
	uint64_t gpa = 0;
	kvm_get_state(&v->vcpu, s);
	code_bytes(v, s, code, sizeof(code));
	bool mapped = kvm_translate_gva(&v->vcpu, s->cr2, &gpa) == 0;
	log_write(log, "CPU %u: triple fault at cs:rip %04x:%#llx (code: %s), rsp %#llx, rflags %#llx", v->vcpu.index,
		  s->seg[X86_CS].selector, (unsigned long long)s->rip, code, (unsigned long long)s->gpr[X86_RSP],
		  (unsigned long long)s->rflags);
	log_write(log,
		  "CPU %u: cr0 %#llx cr2 %#llx (%s) cr3 %#llx cr4 %#llx efer %#llx idt %#llx+%#x gdt %#llx+%#x tr %04x",
		  v->vcpu.index, (unsigned long long)s->cr0, (unsigned long long)s->cr2,
		  mapped ? "mapped" : "not mapped", (unsigned long long)s->cr3, (unsigned long long)s->cr4,
		  (unsigned long long)s->efer, (unsigned long long)s->idtr.base, s->idtr.limit,
		  (unsigned long long)s->gdtr.base, s->gdtr.limit, s->tr.selector);
	if (s->exception_pending)
		log_write(log, "CPU %u: last event: vector %u, error code %#x", v->vcpu.index, s->exception_vector,
			  s->exception_error);
	free(s);
}

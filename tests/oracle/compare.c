/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compares what the host and the interpreter made of a case, and prints the differences. */
#include "oracle.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const gpr_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					  "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

struct comparison {
	const struct oracle_case *c;
	bool print, same, headed;
};

static void print_head(const struct oracle_case *c)
{
	char text[128] = "?";
	ZydisFormatter formatter;

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterFormatInstruction(&formatter, &c->instruction, c->operands, c->instruction.operand_count_visible,
					text, sizeof(text), c->in.regs.rip, ZYAN_NULL);
	printf("MISMATCH seed 0x%016llx %u-bit bytes ", (unsigned long long)c->seed, c->in.mode);
	for (unsigned i = 0; i < c->length; i++)
		printf("%02x", c->bytes[i]);
	printf("  %s\n", text);
	printf("    before: rflags %llx fcw %x fsw %x ftw %x mxcsr %x\n", (unsigned long long)c->in.regs.rflags,
	       c->in.regs.fcw, c->in.regs.fsw, c->in.regs.ftw, c->in.regs.mxcsr);
	for (unsigned i = 0; i < 16; i++)
		printf("%s%-3s %016llx%s", i % 4 ? " " : "      ", gpr_names[i], (unsigned long long)c->in.regs.gpr[i],
		       i % 4 == 3 ? "\n" : "");
}

static void differ(struct comparison *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void differ(struct comparison *k, const char *format, ...)
{
	va_list arguments;

	k->same = false;
	if (!k->print)
		return;
	if (!k->headed)
		print_head(k->c);
	k->headed = true;
	va_start(arguments, format);
	printf("    ");
	vprintf(format, arguments);
	printf("\n");
	va_end(arguments);
}

static void check64(struct comparison *k, const char *name, uint64_t in, uint64_t host, uint64_t guest)
{
	if (host != guest)
		differ(k, "%-8s was %016llx, host %016llx, interp %016llx", name, (unsigned long long)in,
		       (unsigned long long)host, (unsigned long long)guest);
}

static void hex(char *to, const uint8_t *bytes, unsigned length)
{
	for (unsigned i = 0; i < length; i++)
		sprintf(to + 2 * i, "%02x", bytes[length - 1 - i]);
}

static void check_bytes(struct comparison *k, const char *name, unsigned n, const uint8_t *in, const uint8_t *host,
			const uint8_t *guest, unsigned length)
{
	char text[3][129];

	if (!memcmp(host, guest, length))
		return;
	hex(text[0], in, length);
	hex(text[1], host, length);
	hex(text[2], guest, length);
	differ(k, "%s%u was    %s", name, n, text[0]);
	differ(k, "    host   %s", text[1]);
	differ(k, "    interp %s", text[2]);
}

static void check_memory(struct comparison *k, const char *name, const uint8_t *in, const uint8_t *host,
			 const uint8_t *guest, unsigned length)
{
	char text[3][65];
	unsigned shown = 0;

	if (!memcmp(host, guest, length))
		return;
	for (unsigned i = 0; i < length; i++) {
		unsigned part = length - i < 16 ? length - i : 16;

		if (host[i] == guest[i])
			continue;
		hex(text[0], in + i, part);
		hex(text[1], host + i, part);
		hex(text[2], guest + i, part);
		differ(k, "%s+%03x was %s host %s interp %s", name, i, text[0], text[1], text[2]);
		i += part - 1;
		if (++shown == 4)
			return;
	}
}

static void blank(struct oracle_memory *memory, uint64_t at, unsigned length)
{
	for (unsigned i = 0; i < length; i++) {
		if (at + i - ORACLE_DATA < sizeof(memory->data))
			memory->data[at + i - ORACLE_DATA] = 0;
		if (at + i - ORACLE_STACK < sizeof(memory->stack))
			memory->stack[at + i - ORACLE_STACK] = 0;
	}
}

/* The x87 environment holds instruction and data pointers that differ by nature (and AMD's keep them only with an
 * exception): blank them on both sides. */
static void blank_pointers(const struct oracle_case *c, struct oracle_memory *memory)
{
	unsigned first, last;
	uint64_t at;

	switch (c->instruction.mnemonic) {
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
		first = c->instruction.operand_width == 16 ? 6 : 12;
		last = c->instruction.operand_width == 16 ? 14 : 28;
		break;
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
		first = 6;
		last = 24;
		blank(memory, case_address(c, &c->operands[0]) + 28,
		      4); /* MXCSR_MASK: misaligned mode is not offered */
		break;
	default:
		return;
	}
	at = case_address(c, &c->operands[0]);
	blank(memory, at + first, last - first);
}

static bool is_kernel_address(uint64_t gva)
{
	return gva >> 47;
}

static void check_fault(struct comparison *k)
{
	const struct oracle_state *host = &k->c->host, *guest = &k->c->guest;
	uint32_t host_error = host->error, guest_error = guest->error;

	if (host->vector != guest->vector) {
		differ(k, "vector: host %u (error %x, cr2 %llx, rip %llx), interp %u (error %x, cr2 %llx, rip %llx)",
		       host->vector, host->error, (unsigned long long)host->cr2, (unsigned long long)host->regs.rip,
		       guest->vector, guest->error, (unsigned long long)guest->cr2,
		       (unsigned long long)guest->regs.rip);
		return;
	}
	if (guest->vector == 14) {
		const uint64_t bits = filter_inexact_cr2(k->c) ? ~0xfffull : ~0ull;

		check64(k, "cr2", 0, host->cr2 & bits, guest->cr2 & bits);
		if (is_kernel_address(host->cr2)) { /* Linux hides whether kernel pages are present */
			host_error &= ~1u;
			guest_error &= ~1u;
		}
	}
	if (guest->vector == 14 || guest->vector == 13 || guest->vector == 12 || guest->vector == 17)
		check64(k, "error", 0, host_error, guest_error);
}

static void check_registers(struct comparison *k)
{
	const struct oracle_regs *in = &k->c->in.regs, *host = &k->c->host.regs, *guest = &k->c->guest.regs;
	const uint64_t bits =
		k->c->in.mode == 64 ? ~0ull : 0xffffffff; /* upper halves are undefined outside 64-bit mode */
	uint64_t flags = ~(1ull << 16);

	if (k->c->host.vector == 3)
		flags &= ~filter_undefined_flags(k->c);
	for (unsigned i = 0; i < 16; i++)
		check64(k, gpr_names[i], in->gpr[i], host->gpr[i] & bits, guest->gpr[i] & bits);
	check64(k, "rip", in->rip, host->rip, guest->rip);
	check64(k, "rflags", in->rflags, host->rflags & flags, guest->rflags & flags);
	check64(k, "mxcsr", in->mxcsr, host->mxcsr, guest->mxcsr);
	check64(k, "fcw", in->fcw, host->fcw, guest->fcw);
	check64(k, "fsw", in->fsw, host->fsw, guest->fsw);
	check64(k, "ftw", in->ftw, host->ftw, guest->ftw);
	for (unsigned i = 0; i < 8; i++)
		check_bytes(k, "st", i, in->st[i], host->st[i], guest->st[i], 10);
	for (unsigned i = 0; i < 32; i++)
		check_bytes(k, "zmm", i, in->vector[i], host->vector[i], guest->vector[i], 64);
	for (unsigned i = 0; i < 8; i++)
		check_bytes(k, "k", i, (const uint8_t *)&in->opmask[i], (const uint8_t *)&host->opmask[i],
			    (const uint8_t *)&guest->opmask[i], 8);
}

bool compare_case(const struct oracle_case *c, bool print)
{
	static struct oracle_memory host, guest;
	struct comparison k = {.c = c, .print = print, .same = true};

	if (filter_refuses_operands(c))
		return true;
	check_fault(&k);
	if (c->host.vector == ORACLE_TIMEOUT && c->guest.vector == ORACLE_TIMEOUT)
		return true;
	check_registers(&k);
	host = c->host.memory;
	guest = c->guest.memory;
	blank_pointers(c, &host);
	blank_pointers(c, &guest);
	check_memory(&k, "data", c->in.memory.data, host.data, guest.data, sizeof(host.data));
	check_memory(&k, "stack", c->in.memory.stack, host.stack, guest.stack, sizeof(host.stack));
	check_memory(&k, "const", c->in.memory.constant, host.constant, guest.constant, sizeof(host.constant));
	return k.same;
}

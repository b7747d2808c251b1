/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A hostile guest: arbitrary code in an arbitrary mode, privilege and register state must neither crash nor hang the
 * interpreter. Input: mode and privilege, control bits, what registers hold, then code. Exceptions lead to handlers that
 * lie in the input as well, page tables are reachable, so the guest may break everything that is its own.
 */
#include "base/util.h"
#include "cpu/interp/test_guest.h"
#include "fuzz.h"

#include <string.h>

enum { HEAD = 40, INSTRUCTIONS = 150 };

static uint64_t interesting(uint8_t byte)
{
	static const uint64_t values[] = { 0, 1, GUEST_DATA, GUEST_DATA + 0xffd, GUEST_CODE, GUEST_STACK, 0x1000, 0x7000,
		                           GUEST_RAM - 4, 0xfee00000, 0xffffffff, 0x7fffffffffff, 0x800000000000, ~0ull,
		                           0xffff800000000000ull, 0x80000000 };

	return values[byte & 15] + (byte >> 4) * ((byte & 16) ? 1 : 0x200);
}

static void setup(struct guest *guest, const uint8_t *head)
{
	struct x86_state state;

	guest_mode(guest, 0, head[0] % 3);
	for (unsigned vector = 0; vector < 32; vector++)
		guest_gate(guest, vector, GUEST_CODE + (vector & 7) * 16);
	interp_engine.get_state(&guest->cpu[0]->vcpu, &state);
	for (unsigned i = 0; i < 16; i++)
		state.gpr[i] = interesting(head[8 + i]);
	/* A repeated instruction may take thousands of elements a step; 150 such steps are a minute. */
	state.gpr[X86_RCX] &= 0x3ff;
	state.rflags = (load_le16(head + 2) & 0x57fd7) | 2 | (uint64_t)(head[1] & 4) << 16;
	state.cr4 ^= load_le32(head + 4) & (X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_UMIP | X86_CR4_TSD | X86_CR4_FSGSBASE |
	                                    X86_CR4_OSXSAVE | X86_CR4_OSFXSR | X86_CR4_PKE | X86_CR4_VME | X86_CR4_PVI);
	state.cr0 ^= (head[1] & 8 ? X86_CR0_TS : 0) | (head[1] & 16 ? X86_CR0_EM : 0) | (head[1] & 32 ? X86_CR0_AM : 0);
	if (head[1] & 1 && head[0] % 3 != X86_CODE16) {
		state.seg[X86_CS].attr |= 0x60;
		state.seg[X86_CS].selector |= 3;
		state.seg[X86_SS].attr |= 0x60;
		state.seg[X86_SS].selector |= 3;
	}
	if (head[1] & 2)
		state.dr7 = 0x400 | load_le16(head + 24);
	state.dr[0] = interesting(head[26]);
	state.seg[X86_FS].base = interesting(head[27]) & 0x7fffffffffff;
	state.fpu.fcw = load_le16(head + 28) & 0x1f7f;
	state.fpu.mxcsr = load_le16(head + 30);
	state.kernel_gs_base = interesting(head[32]);
	state.lstar = interesting(head[33]);
	memset(state.fpu.vector, head[34], sizeof(state.fpu.vector));
	memset(state.fpu.st, head[35], sizeof(state.fpu.st));
	interp_engine.set_state(&guest->cpu[0]->vcpu, &state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guest guest;
	enum vcpu_exit exit;
	uint64_t left = INSTRUCTIONS;

	if (size < HEAD + 1 || size > 4096)
		return 0;
	guest_init(&guest, 1, NULL, true);
	guest.log.fd = -1;
	setup(&guest, data);
	guest_code(&guest, GUEST_CODE, data + HEAD, size - HEAD);
	guest_code(&guest, GUEST_DATA, data, size);
	while (left) {
		uint64_t done = guest_run(&guest, 0, left, &exit);

		if (exit != VCPU_KICKED)
			break;
		if (data[36] & 1 && !(left & 7))
			atomic_fetch_or(&guest.cpu[0]->vcpu.events, VCPU_NMI);
		left -= done < left ? (done ? done : 1) : left;
	}
	guest_fini(&guest);
	return 0;
}

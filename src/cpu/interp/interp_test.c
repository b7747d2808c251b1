/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The interpreter on hand-written code: modes, faults and their exact state, code that changes, atomics, events. What
 * single instructions compute is compared with the host CPU in tests/oracle. */
#include "cpu/interp/test_guest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"

#define BLOBS(X)                                                                                                       \
	X(real)                                                                                                        \
	X(protected)                                                                                                   \
	X(modify)                                                                                                      \
	X(patched) X(rep_movs) X(rep_stos) X(locked) X(trap) X(count_iret) X(halt) X(read) X(a20) X(rewriter)          \
		X(rewritten) X(shadow) X(save_eax) X(divide) X(vector) X(crossing) X(spin) X(gather) X(maskmov)
#define BLOB_DECLARE(name) extern const uint8_t code_##name[], code_##name##_end[];
BLOBS(BLOB_DECLARE)

#define PLACE(guest, gpa, name) guest_code(guest, gpa, code_##name, (size_t)(code_##name##_end - code_##name))

static struct x86_state *state_of(struct guest *guest, unsigned i)
{
	return &guest->cpu[i]->s;
}

static uint64_t *gpr_of(struct guest *guest)
{
	return state_of(guest, 0)->gpr;
}

static void start(struct guest *guest, enum x86_code_mode mode)
{
	guest_init(guest, 1, NULL, false);
	guest_mode(guest, 0, mode);
}

static void run_to_halt(struct guest *guest)
{
	enum vcpu_exit exit = VCPU_FAILED;

	for (unsigned i = 0; i < 1000 && exit != VCPU_HALTED; i++)
		guest_run(guest, 0, 100000, &exit);
	assert_int_equal(exit, VCPU_HALTED);
}

static void test_real_mode(void **unused)
{
	struct guest guest;

	start(&guest, X86_CODE16);
	PLACE(&guest, GUEST_CODE, real);
	run_to_halt(&guest);
	assert_int_equal(gpr_of(&guest)[X86_RBX], 155);
	assert_int_equal(gpr_of(&guest)[X86_RDX], 0x1234);
	assert_int_equal(gpr_of(&guest)[X86_RSI], 0x1122);
	assert_int_equal(load_le16(guest_ram(&guest, 0x20010)), 0x1234);
	assert_int_equal(gpr_of(&guest)[X86_RSP], 0xf000);
	guest_fini(&guest);
}

static void test_protected_mode(void **unused)
{
	struct guest guest;

	start(&guest, X86_CODE32);
	PLACE(&guest, GUEST_CODE, protected);
	run_to_halt(&guest);
	assert_int_equal(gpr_of(&guest)[X86_RCX], 0xffffffff);
	assert_int_equal(gpr_of(&guest)[X86_RDI] & 0x8d5, 0x84); /* SF and PF of 0xffffffff */
	assert_int_equal(gpr_of(&guest)[X86_RAX] & 0xff, 0x14);  /* 79 + 35 in BCD, carry out */
	assert_int_equal(gpr_of(&guest)[X86_RDX] & 0xff, 0xff);
	guest_fini(&guest);
}

static void test_bound_faults(void **unused)
{
	/* mov ebx, 0x200000; mov dword [ebx], 0; mov dword [ebx+4], 9; mov ecx, 10; bound ecx, [ebx] */
	static const uint8_t code[] = {0xbb, 0, 0, 0x20, 0, 0xc7, 0x03, 0, 0, 0, 0,    0xc7, 0x43,
				       4,    9, 0, 0,    0, 0xb9, 10,   0, 0, 0, 0x62, 0x0b};
	struct guest guest;
	enum vcpu_exit exit;
	uint64_t gate[1] = {0x00008e0000180000ull | (GUEST_CODE + 0x1000) >> 16 << 48 | (GUEST_CODE & 0xffff)};

	start(&guest, X86_CODE32);
	gate[0] =
		(0x8e00ull << 32) | 24ull << 16 | ((GUEST_CODE + 0x1000) & 0xffff) | (GUEST_CODE + 0x1000) >> 16 << 48;
	guest_code(&guest, 0x7000 + 8 * X86_BR, gate, sizeof(gate));
	guest_code(&guest, GUEST_CODE, code, sizeof(code));
	guest_run(&guest, 0, 5, &exit);
	assert_int_equal(state_of(&guest, 0)->rip, GUEST_CODE + 0x1000);
	assert_int_equal(load_le32(guest_ram(&guest, gpr_of(&guest)[X86_RSP])), GUEST_CODE + 23);
	guest_fini(&guest);
}

static void test_modifies_next_instruction(void **unused)
{
	struct guest guest;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, modify);
	run_to_halt(&guest);
	assert_int_equal(gpr_of(&guest)[X86_RAX] & 0xff, 7);
	guest_fini(&guest);
}

/* The same physical page at another linear address: 0x800000 is mapped to 0x0 as well. */
static void test_modifies_through_alias(void **unused)
{
	/* mov byte [0x810000 + 15], 9; jmp +0 ; mov al, 1; hlt */
	static const uint8_t code[] = {0xc6, 0x04, 0x25, 0x0c, 0x00, 0x81, 0x00,
				       0x09, 0x90, 0x90, 0x90, 0xb0, 0x01, 0xf4};
	struct guest guest;
	uint64_t entry = 0xe7;

	start(&guest, X86_CODE64);
	guest_code(&guest, 0x3000 + 8 * 4, &entry, 8);
	guest_code(&guest, GUEST_CODE, code, sizeof(code));
	run_to_halt(&guest);
	assert_int_equal(gpr_of(&guest)[X86_RAX] & 0xff, 9);
	guest_fini(&guest);
}

static void *patch_thread(void *opaque)
{
	struct guest *guest = opaque;
	uint32_t two = 2;

	ram_write(guest->ram, GUEST_CODE + 1, &two, sizeof(two));
	return NULL;
}

static void test_other_thread_patches(void **unused)
{
	struct guest guest;
	enum vcpu_exit exit;
	pthread_t thread;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, patched);
	guest_run(&guest, 0, 10000, &exit);
	assert_int_equal(gpr_of(&guest)[X86_RDX], 1);
	pthread_create(&thread, NULL, patch_thread, &guest);
	run_to_halt(&guest);
	pthread_join(thread, NULL);
	assert_int_equal(gpr_of(&guest)[X86_RDX], 2);
	guest_fini(&guest);
}

static void map_4k(struct guest *guest, uint64_t gva, uint64_t gpa, bool present)
{
	uint64_t table = 0x5007, entry = gpa | (present ? 0x67 : 0);

	for (uint64_t i = 0; i < 512; i++) {
		uint64_t plain = (gva & ~0x1fffffull) + (i << 12);

		plain |= 0x67;
		guest_code(guest, 0x5000 + 8 * i, &plain, 8);
	}
	guest_code(guest, 0x5000 + (gva >> 12 & 511) * 8, &entry, 8);
	guest_code(guest, 0x3000 + (gva >> 21) * 8, &table, 8);
}

static void test_rep_movs_faults_midway(void **unused)
{
	struct guest guest;
	enum vcpu_exit exit;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, rep_movs);
	guest_gate(&guest, X86_PFV, GUEST_CODE + 0x1000);
	map_4k(&guest, 0x402000, 0, false);
	ram_fill(guest.ram, 0x600000, 0x5a, 0x4000);
	gpr_of(&guest)[X86_RSI] = 0x600000;
	gpr_of(&guest)[X86_RDI] = 0x400ff0;
	gpr_of(&guest)[X86_RCX] = 0x3000;
	guest_run(&guest, 0, 1, &exit);
	assert_int_equal(state_of(&guest, 0)->rip, GUEST_CODE + 0x1000);
	assert_int_equal(state_of(&guest, 0)->cr2, 0x402000);
	assert_int_equal(gpr_of(&guest)[X86_RDI], 0x402000);
	assert_int_equal(gpr_of(&guest)[X86_RSI], 0x600000 + 0x1010);
	assert_int_equal(gpr_of(&guest)[X86_RCX], 0x3000 - 0x1010);
	assert_int_equal(load_le64(guest_ram(&guest, gpr_of(&guest)[X86_RSP])), 2); /* write, not present */
	assert_int_equal(load_le64(guest_ram(&guest, gpr_of(&guest)[X86_RSP] + 8)), GUEST_CODE);
	assert_int_equal(*guest_ram(&guest, 0x401fff), 0x5a);
	guest_fini(&guest);
}

/* Source and destination that have one place in the TLB: a page is copied whole, the next one faults as ever. */
static void test_rep_movs_one_tlb_place(void **unused)
{
	struct guest guest;
	enum vcpu_exit exit;
	const uint64_t to = GUEST_DATA + X86_TLB_ENTRIES * PAGE_SIZE;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, rep_movs);
	guest_gate(&guest, X86_PFV, GUEST_CODE + 0x1000);
	map_4k(&guest, to + PAGE_SIZE, 0, false);
	guest_code(&guest, 0x5000 + (to >> 12 & 511) * 8, &(uint64_t){0x400067}, 8);
	for (unsigned i = 0; i < 2 * PAGE_SIZE; i++)
		*guest_ram(&guest, GUEST_DATA + i) = (uint8_t)(i * 7 + (i >> 8));
	gpr_of(&guest)[X86_RSI] = GUEST_DATA + 8;
	gpr_of(&guest)[X86_RDI] = to + 16;
	gpr_of(&guest)[X86_RCX] = 2 * PAGE_SIZE;
	guest_run(&guest, 0, 1, &exit);
	assert_int_equal(state_of(&guest, 0)->cr2, to + PAGE_SIZE);
	assert_int_equal(gpr_of(&guest)[X86_RSI], GUEST_DATA + PAGE_SIZE - 8);
	assert_int_equal(gpr_of(&guest)[X86_RCX], PAGE_SIZE + 16);
	assert_memory_equal(guest_ram(&guest, 0x400010), guest_ram(&guest, GUEST_DATA + 8), PAGE_SIZE - 16);
	guest_fini(&guest);
}

static void test_rep_movs_overlap(void **unused)
{
	struct guest guest;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, rep_movs);
	*guest_ram(&guest, GUEST_DATA) = 0x77;
	gpr_of(&guest)[X86_RSI] = GUEST_DATA;
	gpr_of(&guest)[X86_RDI] = GUEST_DATA + 1;
	gpr_of(&guest)[X86_RCX] = 10000;
	run_to_halt(&guest);
	assert_int_equal(*guest_ram(&guest, GUEST_DATA + 10000), 0x77);
	assert_int_equal(gpr_of(&guest)[X86_RCX], 0);
	guest_fini(&guest);
}

/* Offsets of 16 bits go round, in the middle of a page too, and what is above them in the registers stays. */
static void test_rep_movs_offsets_wrap(void **unused)
{
	struct guest guest;

	start(&guest, X86_CODE16);
	PLACE(&guest, GUEST_CODE, rep_movs);
	state_of(&guest, 0)->seg[X86_DS] = (struct x86_segment){.base = 0x30080, .limit = 0xffff, .attr = 0x93, .selector = 0x3008};
	state_of(&guest, 0)->seg[X86_ES] = (struct x86_segment){.base = 0x51230, .limit = 0xffff, .attr = 0x93, .selector = 0x5123};
	for (unsigned i = 0; i < 0x10000; i++)
		*guest_ram(&guest, 0x30080 + i) = (uint8_t)(i * 7 + (i >> 8));
	x86_mode_update(guest.cpu[0]);
	gpr_of(&guest)[X86_RSI] = 0xabcdff00;
	gpr_of(&guest)[X86_RDI] = 0x1234fa00;
	gpr_of(&guest)[X86_RCX] = 0x99991000;
	run_to_halt(&guest);
	for (unsigned i = 0; i < 0x1000; i++)
		assert_int_equal(*guest_ram(&guest, 0x51230 + ((0xfa00 + i) & 0xffff)),
				 *guest_ram(&guest, 0x30080 + ((0xff00 + i) & 0xffff)));
	assert_int_equal(*guest_ram(&guest, 0x61230), 0);
	assert_int_equal(gpr_of(&guest)[X86_RSI], 0xabcd0f00);
	assert_int_equal(gpr_of(&guest)[X86_RDI], 0x12340a00);
	assert_int_equal(gpr_of(&guest)[X86_RCX], 0x99990000);
	guest_fini(&guest);
}

struct store {
	uint8_t bytes[0x3000];
	unsigned single;
};

static uint64_t store_read(void *opaque, uint64_t offset, unsigned size)
{
	return ((struct store *)opaque)->bytes[offset];
}

static void store_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct store *store = opaque;

	store->bytes[offset] = (uint8_t)value;
	store->single++;
}

static size_t store_write_block(void *opaque, uint64_t offset, const void *from, unsigned size, size_t count)
{
	struct store *store = opaque;

	memcpy(store->bytes + offset, from, size * count);
	return count;
}

static size_t store_move_block(void *opaque, uint64_t to, uint64_t from, unsigned size, size_t count)
{
	struct store *store = opaque;

	memmove(store->bytes + to, store->bytes + from, size * count);
	return count;
}

/* A device that takes blocks gets them, page by page, and registers are as ever; from there too. */
static void test_rep_movs_to_a_device(void **unused)
{
	static const struct region_ops ops = {.read = store_read,
					      .write = store_write,
					      .min_width = 1,
					      .max_width = 1,
					      .write_block = store_write_block,
					      .move_block = store_move_block};
	struct store *store = xcalloc(1, sizeof(*store));
	struct region region = {.name = "store", .ops = &ops, .opaque = store, .base = 0x2000000, .size = sizeof(store->bytes)};
	struct guest guest;

	start(&guest, X86_CODE32);
	assert_int_equal(bus_add(guest.memory, &region, NULL), 0);
	PLACE(&guest, GUEST_CODE, rep_movs);
	for (unsigned i = 0; i < 0x2000; i++)
		*guest_ram(&guest, GUEST_DATA + 0xf00 + i) = (uint8_t)(i * 7 + (i >> 8));
	gpr_of(&guest)[X86_RSI] = GUEST_DATA + 0xf00;
	gpr_of(&guest)[X86_RDI] = 0x2000800;
	gpr_of(&guest)[X86_RCX] = 0x2000;
	run_to_halt(&guest);
	assert_memory_equal(store->bytes + 0x800, guest_ram(&guest, GUEST_DATA + 0xf00), 0x2000);
	assert_int_equal(store->bytes[0x2800], 0);
	assert_int_equal(gpr_of(&guest)[X86_RSI], GUEST_DATA + 0x2f00);
	assert_int_equal(gpr_of(&guest)[X86_RDI], 0x2002800);
	assert_int_equal(gpr_of(&guest)[X86_RCX], 0);
	assert_in_range(store->single, 0, 16);
	state_of(&guest, 0)->rip = GUEST_CODE;
	state_of(&guest, 0)->mp_state = X86_MP_RUNNING;
	gpr_of(&guest)[X86_RSI] = 0x2001000;
	gpr_of(&guest)[X86_RDI] = 0x2000000;
	gpr_of(&guest)[X86_RCX] = 0x800;
	run_to_halt(&guest);
	assert_memory_equal(store->bytes, guest_ram(&guest, GUEST_DATA + 0x1700), 0x800);
	assert_in_range(store->single, 0, 16);
	guest_fini(&guest);
	free(store);
}

static void test_rep_stos_over_own_code(void **unused)
{
	struct guest guest;

	/* The block of code that follows the REP STOS is overwritten with HLTs by it. */
	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, rep_stos);
	gpr_of(&guest)[X86_RAX] = 0xf4f4f4f4f4f4f4f4ull;
	gpr_of(&guest)[X86_RDI] = GUEST_CODE + 0x10;
	gpr_of(&guest)[X86_RCX] = 100;
	run_to_halt(&guest);
	assert_int_equal(*guest_ram(&guest, GUEST_CODE + 0x10 + 799), 0xf4);
	guest_fini(&guest);
}

struct runner {
	struct guest *guest;
	unsigned cpu;
};

static void *run_vcpu(void *opaque)
{
	struct runner *runner = opaque;
	enum vcpu_exit exit = VCPU_FAILED;

	for (unsigned i = 0; i < 1000000 && exit != VCPU_HALTED; i++)
		interp_step(runner->guest->cpu[runner->cpu], 100000, &exit);
	return NULL;
}

static void test_locked_by_two_cpus(void **unused)
{
	enum { ROUNDS = 200000 };
	struct guest guest;
	pthread_t thread[2];
	struct runner runner[2];

	guest_init(&guest, 2, NULL, false);
	for (unsigned i = 0; i < 2; i++) {
		guest_mode(&guest, i, X86_CODE64);
		state_of(&guest, i)->gpr[X86_RBX] = GUEST_DATA;
		state_of(&guest, i)->gpr[X86_RCX] = ROUNDS;
	}
	PLACE(&guest, GUEST_CODE, locked);
	for (unsigned i = 0; i < 2; i++) {
		runner[i] = (struct runner){&guest, i};
		pthread_create(&thread[i], NULL, run_vcpu, &runner[i]);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(state_of(&guest, i)->mp_state, X86_MP_HALTED);
	assert_int_equal(load_le64(guest_ram(&guest, GUEST_DATA)), 2 * ROUNDS);
	assert_int_equal(load_le32(guest_ram(&guest, GUEST_DATA + 64)), 2 * ROUNDS);
	assert_int_equal(load_le32(guest_ram(&guest, GUEST_DATA + 128)), 2 * ROUNDS);
	assert_int_equal(load_le16(guest_ram(&guest, GUEST_DATA + 192)), (uint16_t)(2 * ROUNDS));
	assert_int_equal(load_le64(guest_ram(&guest, GUEST_DATA + 256)), 2 * ROUNDS);
	guest_fini(&guest);
}

/* One CPU rewrites an instruction of the other's loop and waits until the new one was executed. */
static void test_rewrites_other_cpus_code(void **unused)
{
	enum { ROUNDS = 3000 };
	struct guest guest;
	pthread_t thread[2];
	struct runner runner[2];

	guest_init(&guest, 2, NULL, false);
	for (unsigned i = 0; i < 2; i++) {
		guest_mode(&guest, i, X86_CODE64);
		state_of(&guest, i)->gpr[X86_RSI] = GUEST_DATA;
		state_of(&guest, i)->gpr[X86_RDI] = GUEST_CODE + 0x2000;
		state_of(&guest, i)->gpr[X86_RCX] = ROUNDS;
		state_of(&guest, i)->rip = GUEST_CODE + 0x2000 * i;
	}
	PLACE(&guest, GUEST_CODE, rewriter);
	PLACE(&guest, GUEST_CODE + 0x2000, rewritten);
	for (unsigned i = 0; i < 2; i++) {
		runner[i] = (struct runner){&guest, i};
		pthread_create(&thread[i], NULL, run_vcpu, &runner[i]);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(state_of(&guest, i)->mp_state, X86_MP_HALTED);
	assert_int_equal(load_le32(guest_ram(&guest, GUEST_DATA)), ROUNDS);
	guest_fini(&guest);
}

static void test_a20(void **unused)
{
	for (unsigned open = 0; open < 2; open++) {
		struct guest guest;

		start(&guest, X86_CODE16);
		guest.cpu[0]->a20_mask = open ? ~0ull : ~(1ull << 20);
		PLACE(&guest, GUEST_CODE, a20);
		run_to_halt(&guest);
		assert_int_equal(gpr_of(&guest)[X86_RCX], 0x5678);
		assert_int_equal(load_le16(guest_ram(&guest, open ? 0x100000 : 0)), 0x5678);
		assert_int_equal(load_le16(guest_ram(&guest, open ? 0 : 0x100000)), 0);
		guest_fini(&guest);
	}
}

static void test_single_step(void **unused)
{
	struct guest guest;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, trap);
	PLACE(&guest, GUEST_CODE + 0x1000, count_iret);
	guest_gate(&guest, X86_DB, GUEST_CODE + 0x1000);
	run_to_halt(&guest);
	assert_int_equal(gpr_of(&guest)[15], 5); /* NOP, MOV, PUSHFQ, AND, POPFQ */
	assert_int_equal(state_of(&guest, 0)->dr6 & 0x4000, 0x4000);
	guest_fini(&guest);
}

static void test_rep_single_steps_by_element(void **unused)
{
	struct guest guest;
	enum vcpu_exit exit;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, rep_movs);
	PLACE(&guest, GUEST_CODE + 0x1000, count_iret);
	guest_gate(&guest, X86_DB, GUEST_CODE + 0x1000);
	x86_probe_write(guest.cpu[0], GUEST_DATA,
			1); /* with both pages in the TLB nothing but the trap ends a bulk copy */
	state_of(&guest, 0)->rflags |= X86_TF;
	gpr_of(&guest)[X86_RSI] = GUEST_DATA;
	gpr_of(&guest)[X86_RDI] = GUEST_DATA + 0x100;
	gpr_of(&guest)[X86_RCX] = 4;
	for (unsigned i = 0; i < 100 && gpr_of(&guest)[15] < 4; i++) {
		guest_run(&guest, 0, 1, &exit);
		if (state_of(&guest, 0)->rip == GUEST_CODE)
			assert_int_equal(gpr_of(&guest)[X86_RCX], 4 - gpr_of(&guest)[15]);
	}
	assert_int_equal(gpr_of(&guest)[15], 4);
	assert_int_equal(gpr_of(&guest)[X86_RCX], 0);
	guest_fini(&guest);
}

static void test_instruction_breakpoint(void **unused)
{
	struct guest guest;
	enum vcpu_exit exit;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, shadow);
	guest_gate(&guest, X86_DB, GUEST_CODE + 0x1000);
	PLACE(&guest, GUEST_CODE + 0x1000, save_eax);
	guest_run(&guest, 0, 1, &exit);
	state_of(&guest, 0)->dr[0] = GUEST_CODE + 5; /* the third INC */
	state_of(&guest, 0)->dr7 = 0x401;
	x86_mode_update(guest.cpu[0]);
	run_to_halt(&guest);
	assert_int_equal(gpr_of(&guest)[14], 2);
	assert_int_equal(state_of(&guest, 0)->dr6 & 15, 1);
	guest_fini(&guest);
}

static void test_watchpoint(void **unused)
{
	struct guest guest;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, rep_stos);
	PLACE(&guest, GUEST_CODE + 0x1000, save_eax);
	guest_gate(&guest, X86_DB, GUEST_CODE + 0x1000);
	state_of(&guest, 0)->dr[1] = GUEST_DATA + 16;
	state_of(&guest, 0)->dr7 = 0x400 | 1 << 2 | 1 << 20 | 2 << 22; /* write, 8 bytes */
	x86_tlb_flush(guest.cpu[0]);
	x86_mode_update(guest.cpu[0]);
	gpr_of(&guest)[X86_RDI] = GUEST_DATA;
	gpr_of(&guest)[X86_RCX] = 10;
	run_to_halt(&guest);
	assert_int_equal(gpr_of(&guest)[X86_RCX], 7); /* trapped after the third element */
	assert_int_equal(state_of(&guest, 0)->dr6 & 15, 2);
	guest_fini(&guest);
}

static void test_nmi_wakes_halt(void **unused)
{
	struct guest guest;
	enum vcpu_exit exit;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, halt);
	PLACE(&guest, GUEST_CODE + 0x1000, save_eax);
	guest_gate(&guest, X86_NMI, GUEST_CODE + 0x1000);
	run_to_halt(&guest);
	guest_run(&guest, 0, 10, &exit);
	assert_int_equal(exit, VCPU_HALTED);
	atomic_fetch_or(&guest.cpu[0]->vcpu.events, VCPU_NMI);
	guest_run(&guest, 0, 100, &exit);
	assert_int_equal(exit, VCPU_HALTED);
	assert_int_equal(gpr_of(&guest)[15], 1);
	assert_int_equal(load_le64(guest_ram(&guest, gpr_of(&guest)[X86_RSP])), GUEST_CODE + 1);
	guest_fini(&guest);
}

static int fake_ack(void *apic)
{
	int *vector = apic, value = *vector;

	*vector = -1;
	return value;
}

static bool fake_has(void *apic)
{
	return *(int *)apic >= 0;
}

static const struct vcpu_apic_ops fake_apic = {.ack = fake_ack, .has_interrupt = fake_has};

static void test_interrupt_shadow(void **unused)
{
	struct guest guest;
	int vector = 0x40;

	start(&guest, X86_CODE64);
	guest.cpu[0]->vcpu.apic_ops = &fake_apic;
	guest.cpu[0]->vcpu.apic = &vector;
	guest.cpu[0]->s.apic_base = 0;
	PLACE(&guest, GUEST_CODE, shadow);
	PLACE(&guest, GUEST_CODE + 0x1000, save_eax);
	guest_gate(&guest, 0x40, GUEST_CODE + 0x1000);
	atomic_fetch_or(&guest.cpu[0]->vcpu.events, VCPU_INTR);
	enum vcpu_exit exit;
	guest_run(&guest, 0, 5, &exit);
	assert_int_equal(gpr_of(&guest)[15], 1);
	assert_int_equal(gpr_of(&guest)[14], 1); /* exactly one INC was executed under the shadow */
	guest_fini(&guest);
}

static void *kick_thread(void *opaque)
{
	struct guest *guest = opaque;
	struct timespec pause = {.tv_nsec = 5000000};

	nanosleep(&pause, NULL);
	vcpu_raise(&guest->cpu[0]->vcpu, VCPU_KICK);
	return NULL;
}

static void test_kick_ends_a_loop(void **unused)
{
	struct guest guest;
	pthread_t thread;
	struct error err;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, spin);
	pthread_create(&thread, NULL, kick_thread, &guest);
	assert_int_equal(interp_engine.run(&guest.cpu[0]->vcpu, &err), VCPU_KICKED);
	pthread_join(thread, NULL);
	assert_true(gpr_of(&guest)[X86_RAX] > 0);
	assert_in_range(atomic_load(&guest.cpu[0]->vcpu.instructions), 2 * gpr_of(&guest)[X86_RAX] - 2,
			2 * gpr_of(&guest)[X86_RAX] + 2);
	guest_fini(&guest);
}

/* CPL 3 with CR0.AM and RFLAGS.AC: misaligned is #AC, aligned is not. */
static void test_alignment_check(void **unused)
{
	for (unsigned offset = 0; offset < 2; offset++) {
		struct x86_state state;
		struct guest guest;
		enum vcpu_exit exit;

		start(&guest, X86_CODE64);
		PLACE(&guest, GUEST_CODE, read);
		guest_gate(&guest, X86_ACV, GUEST_CODE + 0x1000);
		store_le64(guest_ram(&guest, 0x8004), GUEST_STACK);
		store_le64(guest_ram(&guest, GUEST_DATA + 8), 42);
		interp_engine.get_state(&guest.cpu[0]->vcpu, &state);
		state.cr0 |= X86_CR0_AM;
		state.rflags |= X86_AC;
		state.seg[X86_CS].selector = 0x23;
		state.seg[X86_CS].attr = 0xa0fb;
		state.seg[X86_SS].selector = 0x2b;
		state.seg[X86_SS].attr = 0xc0f3;
		state.gpr[X86_RBX] = GUEST_DATA + 8 + offset;
		interp_engine.set_state(&guest.cpu[0]->vcpu, &state);
		guest_run(&guest, 0, 1, &exit);
		assert_int_equal(state_of(&guest, 0)->rip, offset ? GUEST_CODE + 0x1000 : GUEST_CODE + 3);
		assert_int_equal(gpr_of(&guest)[X86_RAX], offset ? 0 : 42);
		guest_fini(&guest);
	}
}

static void test_divide_error_is_precise(void **unused)
{
	struct guest guest;
	enum vcpu_exit exit;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, divide);
	guest_gate(&guest, X86_DE, GUEST_CODE + 0x1000);
	guest_run(&guest, 0, 5, &exit);
	assert_int_equal(state_of(&guest, 0)->rip, GUEST_CODE + 0x1000);
	assert_int_equal(gpr_of(&guest)[X86_RAX], 5);
	assert_int_equal(load_le64(guest_ram(&guest, gpr_of(&guest)[X86_RSP])), GUEST_CODE + 10);
	assert_int_equal(load_le64(guest_ram(&guest, gpr_of(&guest)[X86_RSP] + 16)) & 1, 1); /* CF of STC */
	guest_fini(&guest);
}

static void test_vector_and_x87(void **unused)
{
	static const float four[] = {1, 2, 3, 4};
	struct guest guest;
	float result[4];
	double pi;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, vector);
	guest_code(&guest, GUEST_DATA, four, sizeof(four));
	gpr_of(&guest)[X86_RBX] = GUEST_DATA;
	run_to_halt(&guest);
	memcpy(result, guest_ram(&guest, GUEST_DATA + 16), sizeof(result));
	memcpy(&pi, guest_ram(&guest, GUEST_DATA + 32), sizeof(pi));
	assert_true(result[0] == 2 && result[3] == 8);
	assert_true(pi > 3.14159265 && pi < 3.14159266);
	guest_fini(&guest);
}

static void test_misaligned_vector_faults(void **unused)
{
	struct guest guest;
	enum vcpu_exit exit;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, vector);
	guest_gate(&guest, X86_GP, GUEST_CODE + 0x1000);
	gpr_of(&guest)[X86_RBX] = GUEST_DATA + 8;
	guest_run(&guest, 0, 1, &exit);
	assert_int_equal(state_of(&guest, 0)->rip, GUEST_CODE + 0x1000);
	assert_int_equal(load_le64(guest_ram(&guest, gpr_of(&guest)[X86_RSP] + 8)), GUEST_CODE);
	guest_fini(&guest);
}

static void test_absent_feature_is_undefined(void **unused)
{
	struct guest guest;
	enum vcpu_exit exit;

	guest_init(&guest, 1, "max,-popcnt", false);
	guest_mode(&guest, 0, X86_CODE64);
	PLACE(&guest, GUEST_CODE, vector);
	guest_gate(&guest, X86_UD, GUEST_CODE + 0x1000);
	gpr_of(&guest)[X86_RBX] = GUEST_DATA;
	guest_run(&guest, 0, 6, &exit);
	assert_int_equal(state_of(&guest, 0)->rip, GUEST_CODE + 0x1000);
	guest_fini(&guest);
}

/* The second half of an instruction lies on another page: not mapped first, then mapped, then remapped. */
static void test_instruction_crosses_pages(void **unused)
{
	static const uint8_t other[] = {0x55, 0x55, 0x55, 0x55, 0x55, 0x55, 0xf4};
	struct guest guest;
	enum vcpu_exit exit;
	uint64_t entry = 0x700067;

	start(&guest, X86_CODE64);
	map_4k(&guest, 0x402000, 0, false);
	guest_code(&guest, 0x401ffc, code_crossing, 4);
	guest_code(&guest, 0x500000, code_crossing + 4, 7);
	guest_code(&guest, 0x700000, other, sizeof(other));
	guest_gate(&guest, X86_PFV, GUEST_CODE + 0x1000);
	PLACE(&guest, GUEST_CODE + 0x1000, halt);
	state_of(&guest, 0)->rip = 0x401ffc;
	guest_run(&guest, 0, 1, &exit);
	assert_int_equal(state_of(&guest, 0)->cr2, 0x402000);
	assert_int_equal(load_le64(guest_ram(&guest, gpr_of(&guest)[X86_RSP] + 8)), 0x401ffc);
	map_4k(&guest, 0x402000, 0x500000, true);
	x86_tlb_flush(guest.cpu[0]);
	state_of(&guest, 0)->rip = 0x401ffc;
	run_to_halt(&guest);
	assert_int_equal(gpr_of(&guest)[X86_RAX], 0x1122334455667788ull);
	guest_code(&guest, 0x5010, &entry, 8);
	x86_tlb_flush(guest.cpu[0]);
	state_of(&guest, 0)->rip = 0x401ffc;
	state_of(&guest, 0)->mp_state = X86_MP_RUNNING;
	run_to_halt(&guest);
	assert_int_equal(gpr_of(&guest)[X86_RAX], 0x5555555555557788ull);
	guest_fini(&guest);
}

static void test_gather(void **unused)
{
	struct guest guest;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, gather);
	for (uint32_t i = 0; i < 64; i++)
		store_le32(guest_ram(&guest, GUEST_DATA + 4 * i), i * 3);
	for (uint32_t i = 0; i < 8; i++)
		store_le32(guest_ram(&guest, GUEST_DATA + 0x1000 + 4 * i), 7 * i);
	gpr_of(&guest)[X86_RBX] = GUEST_DATA;
	gpr_of(&guest)[X86_RSI] = GUEST_DATA + 0x1000;
	gpr_of(&guest)[X86_RDI] = GUEST_DATA + 0x2000;
	run_to_halt(&guest);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(load_le32(guest_ram(&guest, GUEST_DATA + 0x2000 + 4 * i)), 21 * i);
	guest_fini(&guest);
}

/* Bytes whose mask is clear may lie on a page that is not there. */
static void test_masked_store_suppresses_faults(void **unused)
{
	struct guest guest;

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, maskmov);
	map_4k(&guest, 0x402000, 0, false);
	for (unsigned i = 0; i < 16; i++) {
		state_of(&guest, 0)->fpu.vector[0][i] = i + 1;
		state_of(&guest, 0)->fpu.vector[1][i] = i < 8 ? 0x80 : 0x7f;
	}
	gpr_of(&guest)[X86_RDI] = 0x401ff8;
	run_to_halt(&guest);
	assert_int_equal(*guest_ram(&guest, 0x401fff), 8);
	guest_fini(&guest);
}

/* Elements behind what an address of 16 bits reaches, the first ones left out; and behind the end of 32 bits. */
static void test_masked_operand_wraps(void **unused)
{
	static const uint8_t code16[] = {0x67, 0x62, 0xf1, 0x7e, 0xc9, 0x6f, 0x07, 0xf4}; /* vmovdqu32 zmm0{k1}{z}, [bx]; hlt */
	static const uint8_t code32[] = {0x62, 0xf1, 0x7e, 0xc9, 0x6f, 0x03, 0xf4};       /* vmovdqu32 zmm0{k1}{z}, [ebx]; hlt */
	static const uint16_t masks[] = {0xfff0, 0xffff};
	struct guest guest;

	if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl"))
		skip();
	for (unsigned n = 0; n < 4; n++) {
		const unsigned first = masks[n / 2] == 0xffff ? 0 : 4;
		struct x86_state *s;

		guest_init(&guest, 1, NULL, false);
		guest_mode(&guest, 0, X86_CODE32);
		guest_code(&guest, GUEST_CODE + 0x1000, n & 1 ? code32 : code16, n & 1 ? sizeof(code32) : sizeof(code16));
		s = state_of(&guest, 0);
		s->rip = GUEST_CODE + 0x1000;
		s->cr4 |= X86_CR4_OSFXSR | X86_CR4_OSXSAVE;
		s->xcr0 = 0xe7;
		s->fpu.opmask[1] = masks[n / 2];
		gpr_of(&guest)[X86_RBX] = n & 1 ? 0xfffffff0 : 0xfff0;
		x86_mode_update(guest.cpu[0]);
		for (unsigned i = 0; i < 16; i++)
			store_le32(guest_ram(&guest, (n & 1 ? 0 : 0x10000) + 4 * i), 0x1000 + i);
		run_to_halt(&guest);
		for (unsigned i = 4; i < 16; i++)
			assert_int_equal(load_le32(s->fpu.vector[0] + 4 * i), 0x1000 + i - 4);
		assert_int_equal(load_le32(s->fpu.vector[0]), first || !(n & 1) ? 0 : UINT32_MAX);
		guest_fini(&guest);
	}
}

static void timer_fired(void *opaque)
{
	struct guest *guest = opaque;

	vcpu_raise(&guest->cpu[0]->vcpu, VCPU_KICK);
}

/* In stepped mode the clock moves with instructions, and jumps to the next timer while the CPU waits. */
static void test_stepped_clock(void **unused)
{
	struct clock_timer timer;
	struct guest guest;
	struct error err;

	guest_init(&guest, 1, NULL, true);
	guest_mode(&guest, 0, X86_CODE64);
	PLACE(&guest, GUEST_CODE, spin);
	clock_timer_init(&timer, guest.clock, timer_fired, &guest);
	clock_timer_set(&timer, 50000);
	assert_int_equal(interp_engine.run(&guest.cpu[0]->vcpu, &err), VCPU_KICKED);
	assert_in_range(clock_now(guest.clock), 50000, 50100);
	assert_in_range(gpr_of(&guest)[X86_RAX], 24990, 25050);
	PLACE(&guest, GUEST_CODE, halt);
	state_of(&guest, 0)->rip = GUEST_CODE;
	clock_timer_set(&timer, 9000000);
	assert_int_equal(interp_engine.run(&guest.cpu[0]->vcpu, &err), VCPU_KICKED);
	assert_int_equal(clock_now(guest.clock), 9000000);
	guest_fini(&guest);
}

/* Writes show up in a harvest after dirty_sync, though the TLB lets them pass silently. */
static void test_dirty_log(void **unused)
{
	struct guest guest;
	const struct ram_slot *slot;
	uint8_t bitmap[GUEST_RAM / PAGE_SIZE / 8];

	start(&guest, X86_CODE64);
	PLACE(&guest, GUEST_CODE, rep_stos);
	slot = ram_slot_at(guest.ram, 0);
	for (unsigned round = 0; round < 3; round++) {
		if (round == 0) {
			ram_track(guest.ram, RAM_MIGRATE, true);
			interp_engine.dirty_start(guest.engine);
		}
		gpr_of(&guest)[X86_RDI] = GUEST_DATA;
		gpr_of(&guest)[X86_RCX] = 8;
		state_of(&guest, 0)->rip = GUEST_CODE;
		state_of(&guest, 0)->mp_state = X86_MP_RUNNING;
		run_to_halt(&guest);
		interp_engine.dirty_sync(guest.engine);
		ram_harvest(guest.ram, RAM_MIGRATE, slot, bitmap);
		assert_true(bitmap[(GUEST_DATA >> 12) / 8] >> (GUEST_DATA >> 12 & 7) & 1);
		ram_harvest(guest.ram, RAM_MIGRATE, slot, bitmap);
		assert_false(bitmap[(GUEST_DATA >> 12) / 8] >> (GUEST_DATA >> 12 & 7) & 1);
	}
	guest_fini(&guest);
}

/* A bare CPU sees changes of code that nobody told it of. */
static void test_bare_cpu_sees_silent_writes(void **unused)
{
	static const uint8_t first[] = {0xb0, 1, 0xf4}, second[] = {0xb0, 2, 0xf4};
	struct guest guest;
	struct x86_cpu *bare;
	struct x86_state state;
	struct error err;
	enum vcpu_exit exit;

	start(&guest, X86_CODE64);
	interp_engine.get_state(&guest.cpu[0]->vcpu, &state);
	bare = interp_cpu_new(&guest.engine->env, 0, 0, &err);
	assert_non_null(bare);
	for (unsigned i = 0; i < 2; i++) {
		memcpy(guest_ram(&guest, GUEST_CODE), i ? second : first, 3);
		x86_cpu_set_state(bare, &state);
		assert_int_equal(interp_step(bare, 1, &exit), 1);
		assert_int_equal(exit, VCPU_KICKED);
		assert_int_equal(bare->s.gpr[X86_RAX], i + 1);
		assert_int_equal(bare->s.rip, GUEST_CODE + 2);
	}
	interp_cpu_free(bare);
	guest_fini(&guest);
}

/* Enough distinct code to fill the block arena several times. */
static void test_cache_flushes_when_full(void **unused)
{
	struct guest guest;
	uint64_t count = (GUEST_RAM - 0x400000) / 8;
	enum vcpu_exit exit;

	start(&guest, X86_CODE64);
	for (uint64_t i = 0; i < count; i++) /* add eax, 1; jmp +3 */
		memcpy(guest_ram(&guest, 0x400000 + 8 * i), "\x83\xc0\x01\xeb\x03\x90\x90\x90", 8);
	*guest_ram(&guest, GUEST_RAM - 5) = 0xf4;
	memcpy(guest_ram(&guest, GUEST_RAM - 8), "\x83\xc0\x01\xf4", 4);
	state_of(&guest, 0)->rip = 0x400000;
	guest_run(&guest, 0, 100000000, &exit);
	assert_int_equal(exit, VCPU_HALTED);
	assert_int_equal(gpr_of(&guest)[X86_RAX], count);
	guest_fini(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real_mode),
		cmocka_unit_test(test_protected_mode),
		cmocka_unit_test(test_bound_faults),
		cmocka_unit_test(test_modifies_next_instruction),
		cmocka_unit_test(test_modifies_through_alias),
		cmocka_unit_test(test_other_thread_patches),
		cmocka_unit_test(test_rep_movs_faults_midway),
		cmocka_unit_test(test_rep_movs_one_tlb_place),
		cmocka_unit_test(test_rep_movs_overlap),
		cmocka_unit_test(test_rep_movs_offsets_wrap),
		cmocka_unit_test(test_rep_movs_to_a_device),
		cmocka_unit_test(test_rep_stos_over_own_code),
		cmocka_unit_test(test_locked_by_two_cpus),
		cmocka_unit_test(test_rewrites_other_cpus_code),
		cmocka_unit_test(test_a20),
		cmocka_unit_test(test_single_step),
		cmocka_unit_test(test_rep_single_steps_by_element),
		cmocka_unit_test(test_instruction_breakpoint),
		cmocka_unit_test(test_watchpoint),
		cmocka_unit_test(test_nmi_wakes_halt),
		cmocka_unit_test(test_interrupt_shadow),
		cmocka_unit_test(test_kick_ends_a_loop),
		cmocka_unit_test(test_alignment_check),
		cmocka_unit_test(test_divide_error_is_precise),
		cmocka_unit_test(test_vector_and_x87),
		cmocka_unit_test(test_misaligned_vector_faults),
		cmocka_unit_test(test_absent_feature_is_undefined),
		cmocka_unit_test(test_instruction_crosses_pages),
		cmocka_unit_test(test_gather),
		cmocka_unit_test(test_masked_store_suppresses_faults),
		cmocka_unit_test(test_masked_operand_wraps),
		cmocka_unit_test(test_stepped_clock),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_bare_cpu_sees_silent_writes),
		cmocka_unit_test(test_cache_flushes_when_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

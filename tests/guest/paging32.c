/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 2-level and PAE paging in 32-bit protected mode: page sizes, rights, A and D bits, PSE-36, PDPTEs with their loads
 * and checks, NX. SDM 3A 4.3, 4.4. What is the same as with four levels is left to paging64.c.
 */
#include "guest.h"

#define VA   0x40000000u
#define EFER 0xc0000080

enum { P = 1, W = 2, U = 4, RSVD = 8, I = 16 };

static u32 *directory, *table;
static u64 *pdpt, *pae_directory[4], *pae_table;
static u8 *page_a, *page_b;

extern char user_read[], user_write[], user_fetch[];
asm("user_read: mov (%edi), %al\n int $0x80\n"
    "user_write: movb $1, (%edi)\n int $0x80\n"
    "user_fetch: jmp *%edi\n");

static void read_at(u32 gva) { TRY("movb (%0), %%al", ::"r"(gva) : "eax", "memory"); }

static void write_at(u32 gva) { TRY("movb $7, (%0)", ::"r"(gva) : "memory"); }

static void fetch_at(u32 gva) { TRY("call *%0", ::"r"(gva) : "eax", "memory"); }

static void put_code(u8 *page)
{
	static const u8 code[] = {0xb8, 0x2a, 0, 0, 0, 0xc3};

	memcpy(page, code, sizeof code);
}

static void two_level(void)
{
	volatile u32 *pte, *pde;
	u32 i;

	directory = page_alloc();
	table = page_alloc();
	for (i = 0; i < 1024; i++)
		directory[i] = i << 22 | PG_P | PG_W | PG_U | PG_PS;
	directory[VA >> 22] = (u32)table | PG_P | PG_W | PG_U;
	directory[(VA >> 22) + 1] = 0;
	pte = &table[3];
	pde = &directory[VA >> 22];
	write_cr4(read_cr4() | 0x10);
	write_cr3((u32)directory);
	write_cr0(read_cr0() | 0x80000000);
	check("paging on", read_cr0() >> 31);

	store32((u32)page_a, 0x11112222);
	*pte = (u32)page_a | PG_P | PG_W;
	check_eq("4k read", load32(VA + 0x3000), 0x11112222);
	check_eq("A set", *pte & (PG_A | PG_D), PG_A);
	check_eq("A set in PDE", *pde & (PG_A | PG_D), PG_A);
	store32(VA + 0x3004, 5);
	check_eq("D set", *pte & (PG_A | PG_D), PG_A | PG_D);
	check("D of a 4M page", directory[0] & PG_D);
	read_at(VA + 0x4000);
	check_pf("absent PTE", 0, VA + 0x4000);
	write_at(VA + 0x400000);
	check_pf("absent PDE", W, VA + 0x400000);
	fetch_at(VA + 0x4000);
	check_at("absent fetch: no I flag without NX or SMEP", VEC_PF, 0, VA + 0x4000);
	enter_user((u32)user_read, VA + 0x3000);
	check_at("user read", VEC_PF, P | U, (u32)user_read);
	enter_user((u32)user_fetch, VA + 0x3000);
	check_at("user fetch", VEC_PF, P | U, VA + 0x3000);
	table[5] = (u32)page_b | PG_P | PG_U;
	enter_user((u32)user_read, VA + 0x5000);
	check_fault("user read of a user page", VEC_EXIT, 0);
	enter_user((u32)user_write, VA + 0x5000);
	check_at("user write, read-only", VEC_PF, P | W | U, (u32)user_write);
	write_at(VA + 0x5000);
	check_none("supervisor write, read-only, no WP");
	write_cr0(read_cr0() | 0x10000);
	write_at(VA + 0x5000);
	check_pf("supervisor write, read-only, WP", P | W, VA + 0x5000);
	write_cr0(read_cr0() & ~0x10000u);
	/* PSE off: the PS bit is ignored, the entry is a table's. */
	*pde = (u32)table | PG_P | PG_W | PG_U | PG_PS;
	directory[(VA >> 22) + 1] = 0x2800000 | 0x200000 | PG_P | PG_W | PG_PS;
	write_cr3((u32)directory);
	read_at(VA + 0x400000);
	check_pf("4M page with bit 21 set", P | RSVD, VA + 0x400000);
	directory[(VA >> 22) + 1] = 0x2800000 | PG_P | PG_W | PG_PS;
	invlpg(VA + 0x400000);
	store32(0x2abcde0, 0x55667788);
	check_eq("4M read", load32(VA + 0x400000 + 0x2bcde0), 0x55667788);
	*pde = (u32)table | PG_P | PG_W | PG_U;
	/* Wrap: an access across 4 GiB with a flat segment is beyond the limit (fault) on no processor of today; left
	 * out. */
	store16(VA + 0x3ffe, 0);
	table[4] = (u32)page_b | PG_P | PG_W;
	write_cr3((u32)directory);
	store32(VA + 0x3ffe, 0xaabbccdd);
	check("page crossing", load16((u32)page_a + 0xffe) == 0xccdd && load16((u32)page_b) == 0xaabb);
	/* Paging off and on again. */
	write_cr0(read_cr0() & ~0x80000000);
	check_eq("paging off", load32((u32)page_a), 0x11112222);
}

static void pae(void)
{
	volatile u64 *pte;
	u32 i, j, cr3;
	u32 bits = cpuid(0x80000008, 0).a & 0xff;

	pdpt = page_alloc();
	for (i = 0; i < 4; i++) {
		pae_directory[i] = page_alloc();
		for (j = 0; j < 512; j++)
			pae_directory[i][j] = (u64)i << 30 | j << 21 | PG_P | PG_W | PG_U | PG_PS;
		pdpt[i] = (u32)pae_directory[i] | PG_P;
	}
	pae_table = page_alloc();
	pae_directory[1][0] = (u32)pae_table | PG_P | PG_W | PG_U;
	pae_directory[1][1] = 0;
	/* A PDPT lies at a multiple of 32 bytes: use one in the middle of a page. */
	memcpy((u8 *)pdpt + 0x7e0, pdpt, 32);
	memset(pdpt, 0, 32);
	pdpt = (u64 *)((u8 *)pdpt + 0x7e0);
	cr3 = (u32)pdpt;
	write_cr4(read_cr4() | 0x20);
	write_cr3(cr3);
	write_cr0(read_cr0() | 0x80000000);
	check("PAE paging on", read_cr0() >> 31);
	pte = &pae_table[3];
	*pte = (u32)page_a | PG_P | PG_W;
	check_eq("PAE 4k read", load32(VA + 0x3000), 0x11112222);
	check_eq("PAE A", *pte & (PG_A | PG_D), PG_A);
	store32(VA + 0x3008, 1);
	check_eq("PAE D", *pte & (PG_A | PG_D), PG_A | PG_D);
	read_at(VA + 0x200000);
	check_pf("PAE absent PDE", 0, VA + 0x200000);
	pae_directory[1][1] = 0x2a00000 | PG_P | PG_W | PG_PS;
	check_eq("PAE 2M read", load32(VA + 0x200000 + 0xbcde0), 0x55667788);
	pae_directory[1][1] = 0x2a00000 | 0x4000 | PG_P | PG_W | PG_PS;
	invlpg(VA + 0x200000);
	read_at(VA + 0x200000);
	check_pf("PAE 2M with bit 14", P | RSVD, VA + 0x200000);
	*pte = (u32)page_a | PG_P | PG_W | 1ull << 52;
	invlpg(VA + 0x3000);
	read_at(VA + 0x3000);
	check_pf("PAE bit 52", P | RSVD, VA + 0x3000);
	if (bits < 52) {
		*pte = (u32)page_a | PG_P | PG_W | 1ull << bits;
		invlpg(VA + 0x3000);
		read_at(VA + 0x3000);
		check_pf("PAE bit MAXPHYADDR", P | RSVD, VA + 0x3000);
	}
	*pte = (u32)page_a | PG_P | PG_W | PG_NX;
	invlpg(VA + 0x3000);
	read_at(VA + 0x3000);
	check_pf("PAE NX without NXE", P | RSVD, VA + 0x3000);
	wrmsr(EFER, rdmsr(EFER) | 0x800);
	write_cr3(cr3);
	put_code(page_a);
	read_at(VA + 0x3000);
	check_none("PAE NX read");
	fetch_at(VA + 0x3000);
	check_at("PAE NX fetch", VEC_PF, P | I, VA + 0x3000);
	*pte = (u32)page_a | PG_P | PG_W;
	invlpg(VA + 0x3000);
	fetch_at(VA + 0x3000);
	check_none("PAE fetch");
	fetch_at(VA + 0x9000);
	check_at("PAE absent fetch has I with NXE", VEC_PF, I, VA + 0x9000);

	/* PDPTEs are loaded by MOV to CR3 and kept in registers (SDM 3A 4.4.1). */
	pdpt[1] = 0;
	read_at(VA + 0x3000);
	check_none("a PDPTE changed in memory has no effect");
	invlpg(VA + 0x3000);
	read_at(VA + 0x3000);
	check_none("nor after INVLPG");
	write_cr3(cr3);
	read_at(VA + 0x3000);
	check_pf("but after MOV to CR3", 0, VA + 0x3000);
	pdpt[1] = (u32)pae_directory[1] | PG_P | PG_W;
	TRY("mov %0, %%cr3", ::"r"(cr3) : "memory");
	check_fault("PDPTE with bit 1 set is #GP(0)", VEC_GP, 0);
	pdpt[1] = (u32)pae_directory[1] | PG_P | 1ull << 63;
	TRY("mov %0, %%cr3", ::"r"(cr3) : "memory");
	check_fault("PDPTE with bit 63 set is #GP(0)", VEC_GP, 0);
	pdpt[1] = 1ull << 63 | PG_W;
	TRY("mov %0, %%cr3", ::"r"(cr3) : "memory");
	check_none("an absent PDPTE is not checked");
	pdpt[1] = (u32)pae_directory[1] | PG_P | PG_PWT | PG_PCD;
	TRY("mov %0, %%cr3", ::"r"(cr3) : "memory");
	check_none("PDPTE with PWT and PCD");
	check_eq("after the reload", load8(VA + 0x3000), 0xb8);
	/* A toggle of CR4.PGE loads them too. */
	pdpt[1] = 0;
	write_cr4(read_cr4() | 0x80);
	read_at(VA + 0x3000);
	check_pf("a change of CR4.PGE loads PDPTEs", 0, VA + 0x3000);
	write_cr4(read_cr4() & ~0x80u);
	pdpt[1] = (u32)pae_directory[1] | PG_P;
	write_cr3(cr3);
	/* EFER.LME cannot be set with paging on. */
	if (!peer_skips("LME with paging on")) {
		TRY("wrmsr", ::"c"(EFER), "a"((u32)rdmsr(EFER) | 0x100), "d"(0));
		check_fault("LME with paging on", VEC_GP, 0);
	}
	pdpt[1] = (u32)pae_directory[1] | PG_P | PG_W;
	write_cr0(read_cr0() & ~0x80000000);
	TRY("mov %0, %%cr0", ::"r"(read_cr0() | 0x80000000) : "memory");
	check_fault("PG on with a bad PDPTE is #GP(0)", VEC_GP, 0);
	check_eq("and paging stays off", read_cr0() >> 31, 0);
}

void guest_main(void)
{
	page_a = page_alloc();
	page_b = page_alloc();
	two_level();
	pae();
}

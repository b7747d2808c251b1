/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * 4-level paging: page sizes, access rights with exact error codes and CR2, A and D bits, reserved bits, TLB, PCID,
 * global pages, protection keys, SMEP, SMAP. SDM 3A 4.5-4.10. Left out: 5-level paging, caching types.
 */
#include "guest.h"

#define VA   0x4000000000ull /* PML4 entry 0, PDPT entry 256: nothing else lives there */
#define EFER 0xc0000080

enum { P = 1, W = 2, U = 4, RSVD = 8, I = 16, PK = 32 }; /* page fault error code */

static u8 *page_a, *page_b;

static void put_code(u8 *page)
{
	static const u8 code[] = {0xb8, 0x2a, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */

	memcpy(page, code, sizeof code);
}

/* ------------------------------------------------ user-mode probes */
asm(".globl user_read, user_write, user_fetch\n"
    "user_read: mov (%rdi), %al\n int $0x80\n"
    "user_write: movb $1, (%rdi)\n int $0x80\n"
    "user_fetch: jmp *%rdi\n");
extern char user_read[], user_write[], user_fetch[];

static void user_at(char *what, u64 gva) { enter_user((word)what, gva); }

static void read_at(u64 gva) { TRY("movb (%0), %%al", ::"r"(gva) : "rax", "memory"); }

static void write_at(u64 gva) { TRY("movb $7, (%0)", ::"r"(gva) : "memory"); }

static void fetch_at(u64 gva) { TRY("call *%0", ::"r"(gva) : "rax", "memory"); }

/* ------------------------------------------------ topics */
static void sizes(void)
{
	u64 top = VA + 0x1ff000;

	store32((word)page_a, 0x11112222);
	map(VA, (word)page_a | PG_P | PG_W, 1);
	check_eq("4k read", load32(VA), 0x11112222);
	store32(VA + 0xffc, 0x33334444);
	check_eq("4k write", load32((word)page_a + 0xffc), 0x33334444);

	store32(0x2abcde0, 0x55667788);
	map(VA + 0x200000, 0x2a00000 | PG_P | PG_W | PG_PS, 2);
	check_eq("2m read", load32(VA + 0x200000 + 0xbcde0), 0x55667788);
	map(VA + 0x200000, 0x2a00000 | 0x1000 | PG_P | PG_W | PG_PS, 2); /* bit 12 is PAT there */
	check_eq("2m with PAT bit", load32(VA + 0x200000 + 0xbcde0), 0x55667788);

	if (cpuid(0x80000001, 0).d & 1 << 26) {
		map(VA + 0x40000000, 0 | PG_P | PG_W | PG_PS, 3);
		check_eq("1g read", load32(VA + 0x40000000 + 0x2abcde0), 0x55667788);
		map(VA + 0x40000000, 0x2000 | PG_P | PG_W | PG_PS, 3);
		read_at(VA + 0x40000000);
		check_pf("1g reserved bit 13", P | RSVD, VA + 0x40000000);
	} else {
		skip("1g", "no 1 GiB pages");
	}

	/* An access across two pages uses both translations. */
	map(top, (word)page_a | PG_P | PG_W, 1);
	map(top - 0x1000, (word)page_b | PG_P | PG_W, 1);
	store32(top - 2, 0xaabbccdd);
	check("page crossing write", load16((word)page_b + 0xffe) == 0xccdd && load16((word)page_a) == 0xaabb);
	map(top, (word)page_a | PG_P, 1);
	write_cr0(read_cr0() | 0x10000);
	store16((word)page_b + 0xffe, 0);
	TRY("movl $0x01020304, (%0)", ::"r"(top - 2) : "memory");
	check_pf("page crossing fault", P | W, top);
	check_eq("page crossing fault writes nothing", load16((word)page_b + 0xffe), 0);
}

static void rights(void)
{
	u64 va = VA + 0x3000;

	map(va, 0, 1);
	read_at(va + 5);
	check_pf("not present read", 0, va + 5);
	write_at(va + 5);
	check_pf("not present write", W, va + 5);
	fetch_at(va + 5);
	check_at("not present fetch", VEC_PF, I, va + 5);
	check_eq("not present fetch cr2", fault.cr2, va + 5);
	user_at(user_read, va);
	check_at("not present user read", VEC_PF, U, (word)user_read);
	user_at(user_write, va);
	check_at("not present user write", VEC_PF, U | W, (word)user_write);
	user_at(user_fetch, va);
	check_at("not present user fetch", VEC_PF, U | I, va);

	map(va, (word)page_a | PG_P | PG_W, 1); /* supervisor page */
	user_at(user_read, va);
	check_at("supervisor page user read", VEC_PF, P | U, (word)user_read);
	user_at(user_write, va);
	check_at("supervisor page user write", VEC_PF, P | U | W, (word)user_write);
	user_at(user_fetch, va);
	check_at("supervisor page user fetch", VEC_PF, P | U | I, va);

	/* The user bit must be set at every level. */
	map(va, (word)page_a | PG_P | PG_W | PG_U, 1);
	user_at(user_read, va);
	check_fault("user page user read", VEC_EXIT, 0);
	*pte_at(va, 2) &= ~(u64)PG_U;
	write_cr3(read_cr3());
	user_at(user_read, va);
	check_at("user bit clear in PDE", VEC_PF, P | U, (word)user_read);
	*pte_at(va, 2) |= PG_U;
	*pte_at(va, 4) &= ~(u64)PG_U;
	write_cr3(read_cr3());
	user_at(user_read, va);
	check_fault("user bit clear in PML4E, the code's own fetch", VEC_PF, P | U | I);
	*pte_at(va, 4) |= PG_U;
	write_cr3(read_cr3());

	write_cr0(read_cr0() & ~0x10000ul);
	map(va, (word)page_a | PG_P | PG_U, 1);
	write_at(va);
	check_none("read-only page, supervisor, WP clear");
	user_at(user_write, va);
	check_at("read-only page, user, WP clear", VEC_PF, P | U | W, (word)user_write);
	check_eq("fault cr2 of user write", fault.cr2, va);
	write_cr0(read_cr0() | 0x10000);
	write_at(va);
	check_pf("read-only page, supervisor, WP set", P | W, va);
	*pte_at(va, 1) |= PG_W;
	*pte_at(va, 2) &= ~(u64)PG_W;
	write_cr3(read_cr3());
	write_at(va);
	check_pf("read-only PDE, supervisor, WP set", P | W, va);
	*pte_at(va, 2) |= PG_W;
	write_cr3(read_cr3());
}

static void no_execute(void)
{
	u64 va = VA + 0x4000;

	put_code(page_a);
	map(va, (word)page_a | PG_P | PG_W | PG_U | PG_NX, 1);
	wrmsr(EFER, rdmsr(EFER) & ~0x800ull);
	write_cr3(read_cr3());
	read_at(va);
	check_pf("NX bit with NXE clear is reserved", P | RSVD, va);
	/* With NXE clear and SMEP clear the I/D flag is never set (SDM 3A 4.7). */
	fetch_at(va);
	check_at("NX bit with NXE clear, fetch", VEC_PF, P | RSVD, va);
	wrmsr(EFER, rdmsr(EFER) | 0x800);
	write_cr3(read_cr3());
	read_at(va);
	check_none("NX page read");
	fetch_at(va);
	check_at("NX page fetch", VEC_PF, P | I, va);
	user_at(user_fetch, va);
	check_at("NX page user fetch", VEC_PF, P | U | I, va);
	map(va, (word)page_a | PG_P | PG_W | PG_U, 1);
	fetch_at(va);
	check_none("page without NX fetch");
	*pte_at(va, 3) |= PG_NX;
	write_cr3(read_cr3());
	fetch_at(va);
	check_at("NX in PDPTE", VEC_PF, P | I, va);
	*pte_at(va, 3) &= ~PG_NX;
	write_cr3(read_cr3());

	/* Execution runs from a good page into a bad one. */
	memset(page_a, 0x90, 4096);
	map(va, (word)page_a | PG_P, 1);
	map(va + 0x1000, (word)page_b | PG_P | PG_NX, 1);
	fetch_at(va + 0xff0);
	check_at("fetch runs into NX page", VEC_PF, P | I, va + 0x1000);
	check_eq("fetch runs into NX page cr2", fault.cr2, va + 0x1000);
	page_a[0xffe] = 0x81; /* add $imm32, %eax: crosses */
	page_a[0xfff] = 0xc0;
	fetch_at(va + 0xff0);
	check_at("instruction across into NX page, ip", VEC_PF, P | I, va + 0xffe);
	check_eq("instruction across into NX page, cr2", fault.cr2, va + 0x1000);
}

static void reserved_bits(void)
{
	u64 va = VA + 0x6000, big = VA + 0x400000;
	u32 bits = cpuid(0x80000008, 0).a & 0xff;

	if (bits < 52) {
		map(va, (word)page_a | PG_P | PG_W | 1ull << 51, 1);
		read_at(va);
		check_pf("address beyond MAXPHYADDR in PTE", P | RSVD, va);
		map(va, (word)page_a | PG_P | PG_W | 1ull << bits, 1);
		write_at(va);
		check_pf("address of MAXPHYADDR in PTE", P | W | RSVD, va);
	} else {
		skip("MAXPHYADDR", "52 bits");
	}
	map(va, 1ull << 51, 1);
	read_at(va);
	check_pf("reserved bit in an entry not present", 0, va);
	map(big, 0x2a00000 | 0x2000 | PG_P | PG_W | PG_PS, 2);
	read_at(big);
	check_pf("bit 13 of a 2 MiB page", P | RSVD, big);
	map(big, 0x2a00000 | 0x100000 | PG_P | PG_W | PG_PS, 2);
	user_at(user_read, big);
	check_at("bit 20 of a 2 MiB page, user", VEC_PF, P | U | RSVD, (word)user_read);
	map(big, 0, 2);
	map(0x7f8000000000ull, PG_P | PG_W | PG_PS | (word)page_a, 4);
	read_at(0x7f8000000000ull);
	check_pf("PS bit of a PML4 entry", P | RSVD, 0x7f8000000000ull);
	map(0x7f8000000000ull, 0, 4);
	map(va, (word)page_a | PG_P | PG_W | 0x7ffull << 52, 1);
	wrmsr(EFER, rdmsr(EFER) | 0x800);
	read_at(va);
	check_none("bits 52 to 62 are ignored");
}

static void accessed_dirty(void)
{
	u64 va = VA + 0x8000;
	volatile u64 *pte = pte_at(va, 1);
	volatile u64 *pde = pte_at(va, 2);

	map(va, (word)page_a | PG_P | PG_W, 1);
	*pde &= ~(u64)(PG_A | PG_D);
	*pte_at(va, 3) &= ~(u64)PG_A;
	*pte_at(va, 4) &= ~(u64)PG_A;
	write_cr3(read_cr3());
	read_at(va);
	check_eq("A set by a read", *pte & (PG_A | PG_D), PG_A);
	check_eq("A set in PDE, no D there", *pde & (PG_A | PG_D), PG_A);
	check("A set in PDPTE and PML4E", *pte_at(va, 3) & *pte_at(va, 4) & PG_A);
	write_at(va);
	check_eq("D set by a write after a read", *pte & (PG_A | PG_D), PG_A | PG_D);
	map(va, (word)page_a | PG_P | PG_W, 1);
	write_at(va);
	check_eq("A and D set by a write", *pte & (PG_A | PG_D), PG_A | PG_D);
	map(va, (word)page_a | PG_P, 1);
	write_at(va);
	check_eq("no D by a write that faults", *pte & PG_D, 0);
	map(va, (word)page_a | PG_P | PG_W, 1);
	put_code(page_a);
	fetch_at(va);
	check_eq("A set by a fetch", *pte & (PG_A | PG_D), PG_A);
	map(VA + 0x400000, 0x2a00000 | PG_P | PG_W | PG_PS, 2);
	write_at(VA + 0x400000);
	check_eq("A and D of a 2 MiB page", *pte_at(VA + 0x400000, 2) & (PG_A | PG_D), PG_A | PG_D);
	map(VA + 0x400000, 0, 2);
	map(va, (word)page_a | PG_P | PG_W, 1);
	TRY("lock cmpxchgl %%ecx, (%0)", ::"r"(va), "a"(0x12345678), "c"(1) : "memory");
	check_eq("D set by CMPXCHG that does not match", *pte & PG_D, PG_D);
	/* A locked or plain read-modify-write needs the right to write although it may store the old value. */
	map(va, (word)page_a | PG_P, 1);
	TRY("lock addl $0, (%0)", ::"r"(va) : "memory");
	check_pf("read-modify-write is a write", P | W, va);
	/* TLB: the D bit is not looked at again once cached dirty; an A bit cleared in memory stays so. */
	map(va, (word)page_a | PG_P | PG_W, 1);
	write_at(va);
	*pte &= ~(u64)(PG_A | PG_D);
	invlpg(va);
	write_at(va);
	check_eq("A and D set again after INVLPG", *pte & (PG_A | PG_D), PG_A | PG_D);
}

static void tlb(void)
{
	u64 va = VA + 0x9000;

	store32((word)page_a, 1);
	store32((word)page_b, 2);
	map(va, (word)page_a | PG_P | PG_W, 1);
	check_eq("before", load32(va), 1);
	*(volatile u64 *)pte_at(va, 1) = (word)page_b | PG_P | PG_W;
	invlpg(va);
	check_eq("INVLPG drops a translation", load32(va), 2);
	*(volatile u64 *)pte_at(va, 1) = (word)page_a | PG_P | PG_W;
	invlpg(va + 0xfff);
	check_eq("INVLPG takes any address of the page", load32(va), 1);
	*(volatile u64 *)pte_at(va, 1) = (word)page_b | PG_P | PG_W;
	write_cr3(read_cr3());
	check_eq("MOV to CR3 drops translations", load32(va), 2);
	/* Not present entries are never cached: no flush is needed (SDM 3A 4.10.2.3). */
	*(volatile u64 *)pte_at(va, 1) = 0;
	invlpg(va);
	read_at(va);
	check_pf("now absent", 0, va);
	*(volatile u64 *)pte_at(va, 1) = (word)page_a | PG_P | PG_W;
	read_at(va);
	check_none("absent to present needs no INVLPG");
	/* A fault by rights drops the page's translation: a retry after raising rights needs no INVLPG (4.10.3.1). */
	map(va, (word)page_a | PG_P, 1);
	read_at(va);
	write_at(va);
	check_pf("read-only", P | W, va);
	*(volatile u64 *)pte_at(va, 1) = (word)page_a | PG_P | PG_W;
	write_at(va);
	check_none("read-only to writable needs no INVLPG after the fault");
	/* A change of a paging structure entry above, then INVLPG: paging-structure caches go too. */
	{
		u64 *table = page_alloc();

		store32((word)page_a, 1);
		table[9] = (word)page_b | PG_P | PG_W;
		check_eq("upper entry before", load32(va), 1);
		*(volatile u64 *)pte_at(va, 2) = (word)table | PG_P | PG_W | PG_U;
		invlpg(va);
		check_eq("INVLPG drops upper entries", load32(va), 2);
	}
	TRY("invlpg (%0)", ::"r"(0x8000000000000000ull));
	check_none("INVLPG of a non-canonical address");
	/* Global pages stay over MOV to CR3 only if CR4.PGE; a toggle of CR4.PGE drops them. */
	va = VA + 0xa000;
	write_cr4(read_cr4() | 0x80);
	map(va, (word)page_a | PG_P | PG_W | PG_G, 1);
	check_eq("global page", load32(va), 1);
	*(volatile u64 *)pte_at(va, 1) = (word)page_b | PG_P | PG_W | PG_G;
	write_cr4(read_cr4() & ~0x80ul);
	check_eq("a change of CR4.PGE drops global pages", load32(va), 2);
	write_cr4(read_cr4() | 0x80);
	*(volatile u64 *)pte_at(va, 1) = (word)page_a | PG_P | PG_W | PG_G;
	invlpg(va);
	check_eq("INVLPG drops a global page", load32(va), 1);
	write_cr4(read_cr4() & ~0x80ul);
}

struct invpcid {
	u64 pcid, gva;
};

/* PCID 1 sees page_a at va; from PCID 2 the page is changed and invalidated; then PCID 1 comes back by bit 63. */
static int sees_new_page(u64 cr3, u64 va, u64 type, u64 pcid)
{
	struct invpcid d = {pcid, va};
	int ok = 1;

	for (int i = 0; i < 3; i++) {
		*(volatile u64 *)pte_at(va, 1) = (word)page_a | PG_P | PG_W;
		write_cr3(cr3 | 1);
		ok &= load32(va) == 1;
		write_cr3(cr3 | 2 | 1ull << 63);
		*(volatile u64 *)pte_at(va, 1) = (word)page_b | PG_P | PG_W;
		if (type < 4)
			asm volatile("invpcid %0, %1" ::"m"(d), "r"(type) : "memory");
		write_cr3(cr3 | 1 | (type == 4 ? 0 : 1ull << 63));
		ok &= load32(va) == 2;
		d.pcid = 2;
		asm volatile("invpcid %0, %1" ::"m"(d), "r"(1ull) : "memory");
		d.pcid = pcid;
	}
	return ok;
}

static void other_pcids(u64 cr3, u64 va)
{
	check("INVPCID type 0 of another PCID", sees_new_page(cr3, va, 0, 1));
	check("INVPCID type 1 of another PCID", sees_new_page(cr3, va, 1, 1));
	check("INVPCID type 2 reaches other PCIDs", sees_new_page(cr3, va, 2, 0));
	check("INVPCID type 3 reaches other PCIDs", sees_new_page(cr3, va, 3, 0));
	check("CR3 with bit 63 clear drops what the PCID had", sees_new_page(cr3, va, 4, 0));
	/* Two address spaces in turn, each with a page of its own there, never see the other's. */
	{
		u64 *other = page_alloc(), *directory = page_alloc(), *entry = pte_at(va, 3);
		int ok = 1;

		memcpy(other, boot_pml4, 4096);
		memcpy(directory, (void *)((word)entry & ~0xffful), 4096);
		directory[va >> 30 & 511] = 0;
		other[va >> 39 & 511] = (word)directory | (boot_pml4[va >> 39 & 511] & 0xfff);
		*(volatile u64 *)pte_at(va, 1) = (word)page_a | PG_P | PG_W;
		write_cr3(cr3 | 1);
		write_cr3((word)other | 2);
		for (int i = 0; i < 20; i++) {
			write_cr3(cr3 | 1 | 1ull << 63);
			ok &= load32(va) == 1;
			write_cr3((word)other | 2 | 1ull << 63);
			TRY("mov (%0), %%eax", ::"r"(va) : "rax");
			ok &= fault.vector == VEC_PF && fault.error == 0;
		}
		write_cr3(cr3 | 1);
		check("PCIDs do not see each other's pages", ok);
	}
}

static void pcid(void)
{
	u64 va = VA + 0xb000, cr3 = read_cr3();
	struct invpcid d = {0, va};

	if (!(cpuid(1, 0).c & 1 << 17)) {
		skip("pcid", "no PCID");
		return;
	}
	TRY("mov %0, %%cr3", ::"r"(cr3 | 1ull << 63) : "memory");
	check_fault("CR3 bit 63 without PCIDE", VEC_GP, 0);
	write_cr3(cr3 | 8);
	TRY("mov %0, %%cr4", ::"r"(read_cr4() | 1ul << 17) : "memory");
	check_fault("PCIDE with CR3 bits 11:0 not zero", VEC_GP, 0);
	write_cr3(cr3);
	write_cr4(read_cr4() | 1ul << 17);
	check("PCIDE set", read_cr4() >> 17 & 1);
	map(va, (word)page_a | PG_P | PG_W, 1);
	check_eq("pcid 0", load32(va), 1);
	*(volatile u64 *)pte_at(va, 1) = (word)page_b | PG_P | PG_W;
	write_cr3(cr3 | 1); /* bit 63 clear: drops what PCID 1 has */
	check_eq("pcid 1 sees its own walk", load32(va), 2);
	write_cr3(cr3); /* drops PCID 0's */
	check_eq("MOV to CR3 drops the new PCID's translations", load32(va), 2);
	check_eq("CR3 reads back", read_cr3(), cr3);
	write_cr3(cr3 | 1 | 1ull << 63);
	check_eq("bit 63 of CR3 reads as 0", read_cr3(), cr3 | 1);
	*(volatile u64 *)pte_at(va, 1) = (word)page_a | PG_P | PG_W;
	invlpg(va);
	check_eq("INVLPG in the current PCID", load32(va), 1);
	if (cpuid(7, 0).b & 1 << 10) {
		*(volatile u64 *)pte_at(va, 1) = (word)page_b | PG_P | PG_W;
		d.pcid = 1;
		TRY("invpcid %0, %1", ::"m"(d), "r"(0ull) : "memory");
		check_none("INVPCID 0");
		check_eq("INVPCID type 0 drops the address", load32(va), 2);
		*(volatile u64 *)pte_at(va, 1) = (word)page_a | PG_P | PG_W;
		TRY("invpcid %0, %1", ::"m"(d), "r"(1ull) : "memory");
		check_eq("INVPCID type 1 drops the PCID", load32(va), 1);
		*(volatile u64 *)pte_at(va, 1) = (word)page_b | PG_P | PG_W;
		TRY("invpcid %0, %1", ::"m"(d), "r"(2ull) : "memory");
		check_eq("INVPCID type 2 drops all", load32(va), 2);
		TRY("invpcid %0, %1", ::"m"(d), "r"(4ull) : "memory");
		check_fault("INVPCID type 4", VEC_GP, 0);
		d.pcid = 0x1001;
		TRY("invpcid %0, %1", ::"m"(d), "r"(1ull) : "memory");
		check_fault("INVPCID reserved bits", VEC_GP, 0);
		d.pcid = 1;
		d.gva = 0x8000000000000000ull;
		TRY("invpcid %0, %1", ::"m"(d), "r"(0ull) : "memory");
		check_fault("INVPCID non-canonical", VEC_GP, 0);
	} else {
		skip("invpcid", "no INVPCID");
	}
	if (cpuid(7, 0).b & 1 << 10)
		other_pcids(cr3, va);
	TRY("mov %0, %%cr0", ::"r"(read_cr0() & ~0x80000000ul) : "memory");
	check_fault("paging off in 64-bit mode", VEC_GP, 0);
	write_cr3(cr3);
	write_cr4(read_cr4() & ~(1ul << 17));
}

static void keys(void)
{
	u64 va = VA + 0xd000;
	u32 got;

	if (!(cpuid(7, 0).c & 1 << 3)) {
		skip("protection keys", "no PKU");
		return;
	}
	TRY("rdpkru", ::"c"(0) : "rax", "rdx");
	check_fault("RDPKRU without CR4.PKE", VEC_UD, 0);
	write_cr4(read_cr4() | 1ul << 22);
	check("OSPKE", cpuid(7, 0).c >> 4 & 1);
	map(va, (word)page_a | PG_P | PG_W | PG_U | 5ull << 59, 1);
	asm volatile("wrpkru" ::"a"(0), "c"(0), "d"(0));
	user_at(user_write, va);
	check_fault("key 5, PKRU 0", VEC_EXIT, 0);
	asm volatile("wrpkru" ::"a"(2u << 10), "c"(0), "d"(0)); /* WD5 */
	user_at(user_read, va);
	check_fault("WD allows user reads", VEC_EXIT, 0);
	user_at(user_write, va);
	check_at("WD forbids user writes", VEC_PF, P | W | U | PK, (word)user_write);
	write_at(va);
	check_pf("WD forbids supervisor writes with WP", P | W | PK, va);
	write_cr0(read_cr0() & ~0x10000ul);
	write_at(va);
	check_none("WD allows supervisor writes without WP");
	write_cr0(read_cr0() | 0x10000);
	asm volatile("wrpkru" ::"a"(1u << 10), "c"(0), "d"(0)); /* AD5 */
	user_at(user_read, va);
	check_at("AD forbids user reads", VEC_PF, P | U | PK, (word)user_read);
	read_at(va);
	check_pf("AD forbids supervisor reads of user pages", P | PK, va);
	put_code(page_a);
	fetch_at(va);
	check_none("keys do not forbid fetches");
	map(va, (word)page_a | PG_P | PG_W | 5ull << 59, 1);
	read_at(va);
	check_none("keys do not cover supervisor pages");
	map(va, 5ull << 59, 1);
	read_at(va);
	check_pf("not present has no PK", 0, va);
	map(va, (word)page_a | PG_P | PG_U | 5ull << 59, 1);
	user_at(user_write, va);
	check_at("rights and key both forbid", VEC_PF, P | W | U | PK, (word)user_write);
	asm volatile("rdpkru" : "=a"(got) : "c"(0) : "rdx");
	check_eq("RDPKRU", got, 1u << 10);
	TRY("rdpkru", ::"c"(1) : "rax", "rdx");
	check_fault("RDPKRU with ECX 1", VEC_GP, 0);
	TRY("wrpkru", ::"a"(0), "c"(0), "d"(1));
	check_fault("WRPKRU with EDX 1", VEC_GP, 0);
	asm volatile("wrpkru" ::"a"(0), "c"(0), "d"(0));
	write_cr4(read_cr4() & ~(1ul << 22));
}

static void smep_smap(void)
{
	u64 va = VA + 0xe000;
	u32 features = cpuid(7, 0).b;

	put_code(page_a);
	map(va, (word)page_a | PG_P | PG_W | PG_U, 1);
	if (features & 1 << 7) {
		fetch_at(va);
		check_none("fetch of a user page without SMEP");
		write_cr4(read_cr4() | 1ul << 20);
		fetch_at(va);
		check_at("SMEP", VEC_PF, P | I, va);
		wrmsr(EFER, rdmsr(EFER) & ~0x800ull);
		fetch_at(va);
		check_at("SMEP sets I/D without NXE", VEC_PF, P | I, va);
		wrmsr(EFER, rdmsr(EFER) | 0x800);
		write_cr4(read_cr4() & ~(1ul << 20));
	} else {
		skip("smep", "no SMEP");
	}
	if (!(features & 1 << 20)) {
		skip("smap", "no SMAP");
		return;
	}
	TRY("stac", ::);
	check_none("STAC without CR4.SMAP");
	asm volatile("clac");
	write_cr4(read_cr4() | 1ul << 21);
	read_at(va);
	check_pf("SMAP read", P, va);
	write_at(va);
	check_pf("SMAP write", P | W, va);
	TRY_AFTER("stac", "movb (%0), %%al", ::"r"(va) : "rax");
	check_none("SMAP read with AC");
	TRY_AFTER("clac", "movb (%0), %%al", ::"r"(va) : "rax");
	check_fault("SMAP read after CLAC", VEC_PF, P);
	/* Implicit supervisor accesses, here to the LDT, take no notice of AC. */
	memcpy(page_a, gdt, 0x40);
	gdt_set(SEL_FREE, descriptor(va, 0x3f, 0x82, 0));
	gdt_set(SEL_FREE + 8, va >> 32);
	asm volatile("lldt %w0" ::"r"(SEL_FREE));
	TRY_AFTER("stac", "mov %0, %%fs", ::"r"(SEL_DATA | 4));
	check_pf("SMAP with AC, implicit access", P, va + SEL_DATA);
	asm volatile("clac; lldt %w0" ::"r"(0));
	/* User code in a user page of its own. */
	memcpy(page_b, user_read, 16);
	map(va + 0x1000, (word)page_b | PG_P | PG_U, 1);
	enter_user(va + 0x1000, va);
	check_fault("SMAP leaves user mode alone", VEC_EXIT, 0);
	put_code(page_a);
	fetch_at(va);
	check_none("SMAP leaves fetches alone");
	write_cr4(read_cr4() & ~(1ul << 21));
}

void guest_main(void)
{
	int i;

	/* The kernel's own pages belong to everyone, so that user probes can run. */
	for (i = 0; i < 4; i++)
		*pte_at((u64)i << 30, 3) |= PG_U;
	*pte_at(0, 4) |= PG_U;
	*pte_at(0, 2) |= PG_U;
	*pte_at(0x200000, 2) |= PG_U;
	write_cr3(read_cr3());
	wrmsr(EFER, rdmsr(EFER) | 0x800);
	page_a = page_alloc();
	page_b = page_alloc();
	sizes();
	rights();
	no_execute();
	reserved_bits();
	accessed_dirty();
	tlb();
	pcid();
	keys();
	for (i = 0; i < 2; i++) /* no user pages under the kernel's feet with SMEP and SMAP */
		*pte_at((u64)i << 21, 2) &= ~(u64)PG_U;
	write_cr3(read_cr3());
	smep_smap();
}

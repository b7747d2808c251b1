/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The library of the test guests (tests/guest): output, checks, recorded exceptions, code at other privileges, page
 * tables. A guest is one topic: guest_main() runs its checks; each prints "ok NAME" or "FAILED NAME: ..." on port 0xe9.
 * All expected values come from the SDM or a data sheet, named beside the check.
 */
#ifndef GUEST_H
#define GUEST_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned long word;

#define SEL_CODE        0x08
#define SEL_DATA        0x10
#define SEL_CODE32      0x18
#define SEL_USER_CODE32 0x23
#define SEL_USER_DATA   0x2b
#define SEL_USER_CODE64 0x33
#define SEL_TSS         0x38
#define SEL_CODE16      0x48
#define SEL_DATA16      0x50
#define SEL_FREE        0x58 /* the first of the slots that tests fill */
#ifdef __x86_64__
#define SEL_USER_CODE SEL_USER_CODE64
#else
#define SEL_USER_CODE SEL_USER_CODE32
#endif

enum {
	VEC_DE = 0,
	VEC_DB = 1,
	VEC_NMI = 2,
	VEC_BP = 3,
	VEC_OF = 4,
	VEC_BR = 5,
	VEC_UD = 6,
	VEC_NM = 7,
	VEC_DF = 8,
	VEC_TS = 10,
	VEC_NP = 11,
	VEC_SS = 12,
	VEC_GP = 13,
	VEC_PF = 14,
	VEC_MF = 16,
	VEC_AC = 17,
	VEC_XM = 19,
	VEC_EXIT = 0x80, /* INT 80h ends code started by enter() */
	VEC_NONE = 0x100,
};

enum {
	FL_CF = 1,
	FL_ZF = 0x40,
	FL_TF = 0x100,
	FL_IF = 0x200,
	FL_DF = 0x400,
	FL_IOPL = 0x3000,
	FL_NT = 0x4000,
	FL_RF = 0x10000,
	FL_VM = 0x20000,
	FL_AC = 0x40000,
	FL_VIF = 0x80000,
	FL_VIP = 0x100000,
	FL_ID = 0x200000,
};

enum { PG_P = 1, PG_W = 2, PG_U = 4, PG_PWT = 8, PG_PCD = 16, PG_A = 32, PG_D = 64, PG_PS = 128, PG_G = 256 };
#define PG_NX (1ull << 63)

struct frame {
#ifdef __x86_64__
	u64 r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
	u64 vector, error, ip, cs, flags, sp, ss;
#else
	u32 gs, fs, es, ds, di, si, bp, pusha_sp, bx, dx, cx, ax;
	u32 vector, error, ip, cs, flags, sp, ss; /* sp and ss only from another privilege or vm86 */
	u32 v86_es, v86_ds, v86_fs, v86_gs;
#endif
};

/* What the last exception left; vector VEC_NONE: none since fault_begin(). */
struct fault {
	u32 vector, count;
	word error, ip, cs, flags, sp, ss, cr2, dr6, ax, cx, dx, bx, si, di, bp;
};

struct enter {
	word ip, cs, sp, ss, flags, arg;
	word ds, es, fs, gs; /* 32-bit guests only: ds and es for user mode, all four for vm86 */
	word dx;
};

extern struct fault fault;
extern word fault_try_ip; /* address of the instruction under TRY */
extern word trap_resume, trap_stack;
extern u64 gdt[];
extern char trap_entries[], stack_top[], guest_end[];
extern int checks_failed;

typedef void handler(struct frame *f);
extern handler *handlers[256];

/* --- the guest's own part --- */
void guest_main(void);

/* --- output and checks --- */
void say(const char *format, ...); /* %s, %d (int), %x (u64) */
void check(const char *name, int ok);
void check_eq(const char *name, u64 got, u64 want);
void check_range(const char *name, u64 got, u64 low, u64 high);
void skip(const char *name, const char *why);
/* The fault recorded by TRY or enter(): vector, error code, and (TRY only) the address of the instruction. */
void check_fault(const char *name, u32 vector, word error);
void check_at(const char *name, u32 vector, word error, word ip);
void check_pf(const char *name, word error, word cr2);
void check_none(const char *name);
/* True in the peer (-append tcg), for the few checks that it does not survive; says so. */
int peer_skips(const char *name);
void finish(void) __attribute__((noreturn));

/* --- exceptions --- */
static inline word fault_try(void) { return fault_try_ip; }
void fault_begin(void);
void enter(const struct enter *e);
/* Runs code at ip in user mode with the flat segments of the flavour and a stack of its own. */
void enter_user(word ip, word arg);
void idt_gate(int vector, void *entry, u16 selector, int type_dpl, int ist);
void idt_default(void);
void idt_load(void);
void *trap_entry(int vector);

/*
 * Executes text; an exception is recorded in `fault` and execution goes on behind it. SETUP runs first, unguarded.
 * The asm's operands follow: TRY("mov %0, %%ds", :: "r"(selector)). Labels 7 and 8 are taken.
 */
#ifdef __x86_64__
#define TRY_AFTER(setup, text, ...)                                                                                    \
	do {                                                                                                           \
		fault_begin();                                                                                         \
		asm volatile(setup "\n movq $8f, trap_resume\n mov %%rsp, trap_stack\n movq $7f, fault_try_ip\n"       \
				   "7: " text "\n8: movq $0, trap_resume\n" __VA_ARGS__);                              \
	} while (0)
#else
#define TRY_AFTER(setup, text, ...)                                                                                    \
	do {                                                                                                           \
		fault_begin();                                                                                         \
		asm volatile(setup "\n movl $8f, trap_resume\n mov %%esp, trap_stack\n movl $7f, fault_try_ip\n"       \
				   "7: " text "\n8: movl $0, trap_resume\n" __VA_ARGS__);                              \
	} while (0)
#endif
#define TRY(text, ...) TRY_AFTER("", text, __VA_ARGS__)

/* --- machine --- */
static inline void outb(u16 port, u8 v) { asm volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
static inline void outw(u16 port, u16 v) { asm volatile("outw %0, %1" ::"a"(v), "Nd"(port)); }
static inline void outl(u16 port, u32 v) { asm volatile("outl %0, %1" ::"a"(v), "Nd"(port)); }
static inline u8 inb(u16 port)
{
	u8 v;
	asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline u16 inw(u16 port)
{
	u16 v;
	asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline u32 inl(u16 port)
{
	u32 v;
	asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline u64 rdtsc(void)
{
	u32 a, d;
	asm volatile("rdtsc" : "=a"(a), "=d"(d));
	return a | (u64)d << 32;
}
static inline u64 rdmsr(u32 msr)
{
	u32 a, d;
	asm volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(msr));
	return a | (u64)d << 32;
}
static inline void wrmsr(u32 msr, u64 v)
{
	asm volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline word read_cr0(void)
{
	word v;
	asm volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}
static inline word read_cr2(void)
{
	word v;
	asm volatile("mov %%cr2, %0" : "=r"(v));
	return v;
}
static inline word read_cr3(void)
{
	word v;
	asm volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}
static inline word read_cr4(void)
{
	word v;
	asm volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}
static inline void write_cr0(word v) { asm volatile("mov %0, %%cr0" ::"r"(v) : "memory"); }
static inline void write_cr3(word v) { asm volatile("mov %0, %%cr3" ::"r"(v) : "memory"); }
static inline void write_cr4(word v) { asm volatile("mov %0, %%cr4" ::"r"(v) : "memory"); }
static inline word read_dr6(void)
{
	word v;
	asm volatile("mov %%dr6, %0" : "=r"(v));
	return v;
}
static inline word read_dr7(void)
{
	word v;
	asm volatile("mov %%dr7, %0" : "=r"(v));
	return v;
}
static inline void write_dr6(word v) { asm volatile("mov %0, %%dr6" ::"r"(v)); }
static inline void write_dr7(word v) { asm volatile("mov %0, %%dr7" ::"r"(v)); }
static inline void write_dr0(word v) { asm volatile("mov %0, %%dr0" ::"r"(v)); }
static inline void write_dr1(word v) { asm volatile("mov %0, %%dr1" ::"r"(v)); }
static inline void invlpg(word v) { asm volatile("invlpg (%0)" ::"r"(v) : "memory"); }
static inline word read_flags(void)
{
	word v;
	asm volatile("pushf; pop %0" : "=r"(v));
	return v;
}
static inline void write_flags(word v) { asm volatile("push %0; popf" ::"r"(v) : "memory", "cc"); }
static inline void cli(void) { asm volatile("cli" ::: "memory"); }
static inline void sti(void) { asm volatile("sti" ::: "memory"); }
static inline void pause_cpu(void) { asm volatile("pause" ::: "memory"); }

struct cpuid {
	u32 a, b, c, d;
};
static inline struct cpuid cpuid(u32 leaf, u32 sub)
{
	struct cpuid r;
	asm volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(sub));
	return r;
}

static inline u8 load8(word p) { return *(volatile u8 *)p; }
static inline u16 load16(word p) { return *(volatile u16 *)p; }
static inline u32 load32(word p) { return *(volatile u32 *)p; }
static inline u64 load64(word p) { return *(volatile u64 *)p; }
static inline void store8(word p, u8 v) { *(volatile u8 *)p = v; }
static inline void store16(word p, u16 v) { *(volatile u16 *)p = v; }
static inline void store32(word p, u32 v) { *(volatile u32 *)p = v; }
static inline void store64(word p, u64 v) { *(volatile u64 *)p = v; }

void *memcpy(void *to, const void *from, word n);
void *memset(void *to, int c, word n);
int memcmp(const void *a, const void *b, word n);

void *page_alloc(void); /* zeroed, below 64 MiB, never freed */
/* A segment descriptor: type_s_dpl_p is byte 5, flags the high nibble of byte 6. */
u64 descriptor(u32 base, u32 limit, u8 type_s_dpl_p, u8 flags);
void gdt_set(u16 selector, u64 value);

struct tss {
#ifdef __x86_64__
	u32 reserved0;
	u64 rsp[3], reserved1, ist[7], reserved2;
	u16 reserved3, iomap;
#else
	u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi, es, cs, ss,
		ds, fs, gs, ldt;
	u16 trap, iomap;
#endif
	u8 map[32 + 8193]; /* software interrupt redirection, then the I/O permissions */
} __attribute__((packed));
extern struct tss tss;

#ifdef __x86_64__
extern u64 boot_pml4[512];
/* The entry that maps gva at level 1 (4 KiB) to 4 in the tables at boot_pml4, making the tables above it (P, W, U). */
u64 *pte_at(u64 gva, int level);
void map(u64 gva, u64 entry, int level);
#endif

/* --- 8259, local APIC, other CPUs (irq.c, smp.c) --- */
void pic_init(u8 base); /* IRQ n at vector base + n, all masked */
void pic_mask(u16 mask);
#define LAPIC 0xfee00000u
void lapic_on(void);
static inline u32 lapic_read(u32 reg) { return load32(LAPIC + reg); }
static inline void lapic_write(u32 reg, u32 v) { store32(LAPIC + reg, v); }
void delay_us(u32 us); /* by PIT channel 2 */
/* Waits until *p has bits, at most about ms milliseconds; 1 when it came. */
int wait_for(volatile u32 *p, u32 at_least, u32 ms);
#ifdef __x86_64__
int cpu_start(u32 apic_id, void (*main)(void)); /* 1 when it came up; runs with interrupts off on a stack of its own */
#endif

#endif

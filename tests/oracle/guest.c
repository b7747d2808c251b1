/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a case in the interpreter: 64-bit mode at CPL 3, as Linux has it, with the case's pages at the host's addresses.
 * Descriptor tables, the exception stack and the handlers lie in the upper half, for the supervisor alone. What a fault
 * pushed is read from that stack.
 */
#include "oracle.h"

#include "base/log.h"
#include "base/util.h"
#include "core/bus.h"
#include "core/clock.h"
#include "core/ram.h"
#include "cpu/interp/interp.h"
#include "cpu/interp/native.h"
#include "cpu/translate/translate.h"
#include "cpu/x86/features.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

/* Guest-physical pages. */
enum {
	PML4 = 0x1000,
	PDPT = 0x2000,
	DIRECTORY = 0x3000,
	TABLE = 0x4000,
	HIGH_PDPT = 0x5000,
	HIGH_DIRECTORY = 0x6000,
	HIGH_TABLE = 0x7000,
	IDT = 0x8000,
	GDT = 0x9000,
	TSS = 0xa000,
	FAULT_STACK = 0xb000,
	HANDLERS = 0xc000,
	CODE = 0x10000,
	DATA = 0x11000,
	CONSTANT = 0x13000,
	STACK = 0x14000,
	RAM_BYTES = 0x200000,
};

#define HIGH 0xffff800000000000ull /* physical page p of the system is at HIGH + p */

enum { KERNEL_CS = 0x08, TSS_SELECTOR = 0x40 };

struct guest {
	struct log log;
	struct ram *ram;
	struct bus *io, *memory;
	struct clock *clock;
	struct cpuid_table offer, cpuid;
	struct x86_features features;
	struct engine_env env;
	struct engine *engine; /* NULL: a bare interpreter */
	struct x86_cpu *cpu;
	struct x86_state initial;
	uint8_t *hva;
};

static void put64(struct guest *guest, uint64_t gpa, uint64_t value)
{
	memcpy(guest->hva + gpa, &value, sizeof(value));
}

static void build_tables(struct guest *guest)
{
	enum { P = 1, W = 2, U = 4 };
	const uint64_t nx = 1ull << 63;

	put64(guest, PML4, PDPT | P | W | U);
	put64(guest, PDPT, DIRECTORY | P | W | U);
	put64(guest, DIRECTORY + 8 * (ORACLE_CODE >> 21 & 511), TABLE | P | W | U);
	put64(guest, TABLE + 8 * (ORACLE_CODE >> 12 & 511), CODE | P | U);
	for (unsigned i = 0; i < 2; i++)
		put64(guest, TABLE + 8 * ((ORACLE_DATA >> 12 & 511) + i), (DATA + i * ORACLE_PAGE) | P | W | U | nx);
	put64(guest, TABLE + 8 * (ORACLE_CONST >> 12 & 511), CONSTANT | P | U | nx);
	put64(guest, TABLE + 8 * (ORACLE_STACK >> 12 & 511), STACK | P | W | U | nx);
	put64(guest, PML4 + 8 * 256, HIGH_PDPT | P | W);
	put64(guest, HIGH_PDPT, HIGH_DIRECTORY | P | W);
	put64(guest, HIGH_DIRECTORY, HIGH_TABLE | P | W);
	for (unsigned page = 0; page < 16; page++)
		put64(guest, HIGH_TABLE + 8 * page, page * ORACLE_PAGE | P | W);
}

static void build_descriptors(struct guest *guest)
{
	put64(guest, GDT + KERNEL_CS, 0x00af9b000000ffffull);
	put64(guest, TSS + 4, HIGH + FAULT_STACK + ORACLE_PAGE); /* RSP0 */
	guest->hva[TSS + 102] = 0x68; /* the I/O bitmap begins behind the limit: no port is allowed */
	for (unsigned vector = 0; vector < 32; vector++) {
		uint64_t handler = HIGH + HANDLERS + 16 * vector;
		uint64_t dpl = vector == 3 || vector == 4 ? 3 : 0;

		put64(guest, IDT + 16 * vector,
		      (handler & 0xffff) | KERNEL_CS << 16 | (0x8e00 | dpl << 13) << 32 |
			      (handler >> 16 & 0xffff) << 48);
		put64(guest, IDT + 16 * vector + 8, handler >> 32);
		guest->hva[HANDLERS + 16 * vector] = 0xf4; /* HLT, for an engine that runs on */
	}
}

static struct x86_segment segment(uint16_t selector, uint32_t attr)
{
	return (struct x86_segment){.selector = selector, .limit = 0xffffffff, .attr = attr};
}

static void build_state(struct guest *guest)
{
	struct x86_state *s = &guest->initial;

	x86_state_reset(s, true);
	s->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_PG;
	s->cr3 = PML4;
	s->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT | X86_CR4_OSXSAVE;
	s->xcr0 = guest->features.avx512 ? 0xe7 : 7;
	s->efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
	s->ldtr = segment(0, X86_SEG_UNUSABLE);
	s->tr = (struct x86_segment){
		.selector = TSS_SELECTOR, .base = HIGH + TSS, .limit = 0x67, .attr = 0xb | X86_SEG_P};
	s->gdtr = (struct x86_table){HIGH + GDT, 0x7f};
	s->idtr = (struct x86_table){HIGH + IDT, 32 * 16 - 1};
	s->mp_state = X86_MP_RUNNING;
}

static void fail(const char *what, const struct error *err)
{
	fprintf(stderr, "oracle: %s: %s\n", what, err->msg);
	exit(2);
}

static void build_vcpu(struct guest *guest)
{
	struct error err = {0};
	struct vcpu *vcpu;

	guest->engine = translate_engine.create(&guest->env, &err);
	vcpu = guest->engine ? translate_engine.vcpu_create(guest->engine, 0, 0, &err) : NULL;
	if (!vcpu)
		fail("translator", &err);
	guest->cpu = x86_cpu_of(vcpu);
}

static void build_cpu(struct guest *guest, enum oracle_engine engine)
{
	const struct cpu_topology topology = {1, 1, 1, 1, 1};
	struct error err = {0};

	x86_engine_offer(&guest->offer);
	if (x86_cpuid_build(&guest->cpuid, NULL, &guest->offer, "interp", &topology, 1000000, false, 40, &err) < 0)
		fail("CPUID", &err);
	x86_features_from(&guest->features, &guest->cpuid);
	guest->env = (struct engine_env){.log = &guest->log,
					 .ram = guest->ram,
					 .io = guest->io,
					 .memory = guest->memory,
					 .clock = guest->clock,
					 .cpuid = &guest->cpuid,
					 .max_vcpus = 1,
					 .phys_bits = 40,
					 .tuning = {.verify = engine == ORACLE_VERIFY ? UINT32_MAX : 0}};
	if (engine != ORACLE_INTERP) {
		build_vcpu(guest);
		return;
	}
	guest->cpu = interp_cpu_new(&guest->env, 0, 0, &err);
	if (!guest->cpu)
		fail("interpreter", &err);
}

struct guest *guest_new(enum oracle_engine engine)
{
	const struct ram_config config = {.size = RAM_BYTES};
	struct guest *guest = xcalloc(1, sizeof(*guest));
	struct error err = {0};

	if (log_open(&guest->log, NULL, &err) < 0)
		fail("log", &err);
	guest->ram = ram_new(&config, &err);
	if (!guest->ram || ram_map(guest->ram, 0, RAM_BYTES, 0, false, &err) < 0)
		fail("RAM", &err);
	guest->hva = ram_hva(guest->ram, 0, RAM_BYTES);
	guest->io = bus_new("io", 0x10000);
	guest->memory = bus_new("memory", 1ull << 40);
	guest->clock = clock_new(true, 1000000);
	build_tables(guest);
	build_descriptors(guest);
	build_cpu(guest, engine);
	build_state(guest);
	return guest;
}

bool guest_offers(const struct guest *guest, ZydisISASet set)
{
	const struct x86_features *f = &guest->features;

	switch (set) {
	case ZYDIS_ISA_SET_I86:
	case ZYDIS_ISA_SET_I186:
	case ZYDIS_ISA_SET_I286PROTECTED:
	case ZYDIS_ISA_SET_I286REAL:
	case ZYDIS_ISA_SET_I386:
	case ZYDIS_ISA_SET_I486:
	case ZYDIS_ISA_SET_I486REAL:
	case ZYDIS_ISA_SET_PENTIUMREAL:
	case ZYDIS_ISA_SET_PPRO:
	case ZYDIS_ISA_SET_LAHF:
	case ZYDIS_ISA_SET_LONGMODE:
	case ZYDIS_ISA_SET_FAT_NOP:
	case ZYDIS_ISA_SET_PREFETCH_NOP:
	case ZYDIS_ISA_SET_CMOV:
	case ZYDIS_ISA_SET_X87:
	case ZYDIS_ISA_SET_FCMOV:
	case ZYDIS_ISA_SET_FXSAVE:
	case ZYDIS_ISA_SET_FXSAVE64:
	case ZYDIS_ISA_SET_PENTIUMMMX:
	case ZYDIS_ISA_SET_PAUSE:
	case ZYDIS_ISA_SET_CLFSH:
		return true;
	case ZYDIS_ISA_SET_CMPXCHG16B:
		return f->cx16;
	case ZYDIS_ISA_SET_SSE:
	case ZYDIS_ISA_SET_SSEMXCSR:
	case ZYDIS_ISA_SET_SSE_PREFETCH:
		return f->sse;
	case ZYDIS_ISA_SET_SSE2:
	case ZYDIS_ISA_SET_SSE2MMX:
		return f->sse2;
	case ZYDIS_ISA_SET_SSE3:
	case ZYDIS_ISA_SET_SSE3X87:
		return f->sse3;
	case ZYDIS_ISA_SET_SSSE3:
	case ZYDIS_ISA_SET_SSSE3MMX:
		return f->ssse3;
	case ZYDIS_ISA_SET_SSE4:
		return f->sse41;
	case ZYDIS_ISA_SET_SSE42:
		return f->sse42;
	case ZYDIS_ISA_SET_POPCNT:
		return f->popcnt;
	case ZYDIS_ISA_SET_LZCNT:
		return f->lzcnt;
	case ZYDIS_ISA_SET_MOVBE:
		return f->movbe;
	case ZYDIS_ISA_SET_AES:
		return f->aes;
	case ZYDIS_ISA_SET_PCLMULQDQ:
		return f->pclmul;
	case ZYDIS_ISA_SET_SHA:
		return f->sha;
	case ZYDIS_ISA_SET_GFNI:
		return f->gfni;
	case ZYDIS_ISA_SET_AVX_GFNI:
		return f->gfni && f->avx;
	case ZYDIS_ISA_SET_ADOX_ADCX:
		return f->adx;
	case ZYDIS_ISA_SET_BMI1:
		return f->bmi1;
	case ZYDIS_ISA_SET_BMI2:
		return f->bmi2;
	case ZYDIS_ISA_SET_AVX:
		return f->avx;
	case ZYDIS_ISA_SET_AVXAES:
		return f->avx && f->aes;
	case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_AVX2GATHER:
		return f->avx2;
	case ZYDIS_ISA_SET_F16C:
		return f->f16c;
	case ZYDIS_ISA_SET_FMA:
		return f->fma;
	case ZYDIS_ISA_SET_VAES:
		return f->vaes;
	case ZYDIS_ISA_SET_VPCLMULQDQ:
		return f->vpclmul;
	case ZYDIS_ISA_SET_CLFLUSHOPT:
	case ZYDIS_ISA_SET_CLWB:
		return f->clflushopt;
	default:
		return native_avx512_offered(f, set);
	}
}

bool guest_has_avx512(const struct guest *guest)
{
	return guest->features.avx512;
}

static struct x86_segment small_segment(uint16_t selector, uint64_t base, uint32_t type)
{
	return (struct x86_segment){.selector = selector,
				    .base = base,
				    .limit = 0xffff,
				    .attr = type | X86_SEG_S | 3 << X86_SEG_DPL_SHIFT | X86_SEG_P};
}

static void load_segments(struct x86_state *s, unsigned mode, bool segmented)
{
	const uint32_t user = X86_SEG_S | 3 << X86_SEG_DPL_SHIFT | X86_SEG_P | X86_SEG_G;

	s->seg[X86_FS] = s->seg[X86_GS] = segment(0, X86_SEG_UNUSABLE);
	if (mode == 16) {
		s->seg[X86_CS] = small_segment(ORACLE_CS16, ORACLE_CODE, 0xb);
		s->seg[X86_SS] = small_segment(ORACLE_SS16, ORACLE_STACK, 3);
		s->seg[X86_DS] = s->seg[X86_ES] = small_segment(ORACLE_DS16, ORACLE_DATA, 3);
		return;
	}
	if (segmented) {
		s->seg[X86_CS] = small_segment(ORACLE_CS32_SMALL, ORACLE_CODE, 0xb | X86_SEG_DB);
		s->seg[X86_SS] = small_segment(ORACLE_SS32_SMALL, ORACLE_STACK, 3 | X86_SEG_DB);
		s->seg[X86_DS] = s->seg[X86_ES] = small_segment(ORACLE_DS32_SMALL, ORACLE_DATA, 3 | X86_SEG_DB);
		return;
	}
	s->seg[X86_CS] = mode == 64 ? segment(ORACLE_CS64, 0xb | user | X86_SEG_L)
				    : segment(ORACLE_CS32, 0xb | user | X86_SEG_DB);
	s->seg[X86_SS] = s->seg[X86_DS] = s->seg[X86_ES] = segment(ORACLE_DS, 3 | user | X86_SEG_DB);
}

static void load_registers(struct x86_state *s, const struct oracle_regs *regs)
{
	memcpy(s->gpr, regs->gpr, sizeof(s->gpr));
	s->rip = regs->rip;
	s->rflags = (regs->rflags & (X86_STATUS_FLAGS | X86_DF)) | X86_IF | 2;
	s->fpu.fcw = regs->fcw;
	s->fpu.fsw = regs->fsw;
	s->fpu.ftw = regs->ftw;
	s->fpu.mxcsr = regs->mxcsr;
	memcpy(s->fpu.st, regs->st, sizeof(s->fpu.st));
	memcpy(s->fpu.vector, regs->vector, sizeof(s->fpu.vector));
	memcpy(s->fpu.opmask, regs->opmask, sizeof(s->fpu.opmask));
}

static void store_registers(const struct x86_state *s, struct oracle_regs *regs)
{
	memcpy(regs->gpr, s->gpr, sizeof(regs->gpr));
	regs->fcw = s->fpu.fcw;
	regs->fsw = s->fpu.fsw;
	regs->ftw = s->fpu.ftw;
	regs->mxcsr = s->fpu.mxcsr;
	memset(regs->st, 0, sizeof(regs->st));
	for (unsigned i = 0; i < 8; i++)
		memcpy(regs->st[i], s->fpu.st[i], 10);
	memcpy(regs->vector, s->fpu.vector, sizeof(regs->vector));
	memcpy(regs->opmask, s->fpu.opmask, sizeof(regs->opmask));
}

static bool has_error_code(unsigned vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21;
}

/* The frame that the delivery pushed. */
static void read_frame(struct guest *guest, const struct x86_state *s, struct oracle_state *out)
{
	const uint64_t at = s->gpr[X86_RSP] - HIGH - FAULT_STACK;
	uint64_t frame[6] = {0};
	const uint64_t *part = frame;

	out->vector = (unsigned)(s->rip - HIGH - HANDLERS) / 16;
	if (s->rip < HIGH + HANDLERS || out->vector >= 32 || at >= ORACLE_PAGE) {
		out->vector = ORACLE_TIMEOUT;
		return;
	}
	memcpy(frame, guest->hva + FAULT_STACK + at, min_u64(sizeof(frame), ORACLE_PAGE - at));
	out->error = has_error_code(out->vector) ? (uint32_t)*part++ : 0;
	out->regs.rip = part[0];
	out->regs.rflags = part[2];
	out->regs.gpr[X86_RSP] = part[3];
	out->cr2 = s->cr2;
}

/* Whom the alarm stops. */
static struct vcpu *running;

static void on_alarm(int number)
{
	vcpu_raise(running, VCPU_KICK);
}

/* To the HLT of a handler, or the alarm. */
static void run_engine(struct guest *guest)
{
	const struct itimerval alarm = {.it_value.tv_usec = 200000}, none = {0};
	struct error err = {0};

	ram_written(guest->ram, CODE, 5 * ORACLE_PAGE);
	running = &guest->cpu->vcpu;
	signal(SIGPROF, on_alarm);
	setitimer(ITIMER_PROF, &alarm, NULL); /* of CPU time: others may have the host */
	if (translate_engine.run(running, &err) == VCPU_FAILED) {
		fprintf(stderr, "%s\n", err.msg);
		exit(1);
	}
	setitimer(ITIMER_PROF, &none, NULL);
	vcpu_clear(running, VCPU_KICK);
}

void guest_run(struct guest *guest, const struct oracle_state *in, struct oracle_state *out)
{
	static struct x86_state state;
	enum vcpu_exit exit;
	unsigned steps = 0;

	memcpy(guest->hva + CODE, in->memory.code, ORACLE_PAGE);
	memcpy(guest->hva + DATA, in->memory.data, 2 * ORACLE_PAGE);
	memcpy(guest->hva + CONSTANT, in->memory.constant, ORACLE_PAGE);
	memcpy(guest->hva + STACK, in->memory.stack, ORACLE_PAGE);
	state = guest->initial;
	load_segments(&state, in->mode, in->segmented);
	load_registers(&state, &in->regs);
	x86_cpu_set_state(guest->cpu, &state);
	if (guest->engine)
		run_engine(guest);
	else
		do
			interp_step(guest->cpu, 1, &exit);
		while (guest->cpu->cpl == 3 && exit == VCPU_KICKED && ++steps < 30000);
	x86_cpu_get_state(guest->cpu, &state);
	store_registers(&state, &out->regs);
	out->vector = ORACLE_TIMEOUT;
	out->error = 0;
	out->cr2 = 0;
	if (guest->cpu->cpl == 0)
		read_frame(guest, &state, out);
	/* A translator may have lost flags that the instruction would have overwritten, had it not faulted. */
	if (guest->engine && out->vector != 3)
		out->regs.rflags = (out->regs.rflags & ~(uint64_t)X86_STATUS_FLAGS) | (in->regs.rflags & X86_STATUS_FLAGS);
	out->memory = in->memory;
	memcpy(out->memory.data, guest->hva + DATA, 2 * ORACLE_PAGE);
	memcpy(out->memory.stack, guest->hva + STACK, ORACLE_PAGE);
	if (memcmp(guest->hva + CONSTANT, in->memory.constant, ORACLE_PAGE))
		out->memory.constant[0] ^= 0xff; /* shows as a difference */
}

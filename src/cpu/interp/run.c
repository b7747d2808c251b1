/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The run loop: block after block, with faults caught in the middle of one, events and limits looked at in between, and
 * instruction by instruction while something needs that (single step, breakpoints, interrupt shadows, -d exec).
 */
#include "core/clock.h"
#include "cpu/interp/internal.h"

static void flags_sync_hook(struct x86_cpu *cpu)
{
	struct interp *ip = interp_of(cpu);

	if (!ip->exact)
		flags_sync(ip);
}

int interp_init(struct interp *ip, struct engine *engine, unsigned index, uint32_t apic_id, struct error *err)
{
	int ret;

	ip->env = engine->env;
	ip->io = engine->env.io;
	ip->log = engine->env.log;
	ip->clock = engine->env.clock;
	ip->stepped = engine->env.stepped;
	ip->exact = true;
	pthread_mutex_init(&ip->pending_lock, NULL);
	pthread_mutex_init(&ip->run_lock, NULL);
	ret = x86_cpu_init(&ip->cpu, engine, index, apic_id, err);
	if (ret)
		return ret;
	ip->cpu.flags_sync = flags_sync_hook;
	return cache_init(ip, err);
}

void interp_fini(struct interp *ip)
{
	cache_fini(ip);
	x86_cpu_fini(&ip->cpu);
	pthread_mutex_destroy(&ip->pending_lock);
	pthread_mutex_destroy(&ip->run_lock);
}

void interp_account(struct interp *ip)
{
	int64_t executed = ip->granted - ip->left;

	if (executed <= 0)
		return;
	ip->granted = ip->left;
	atomic_store_explicit(&ip->cpu.vcpu.instructions,
			      atomic_load_explicit(&ip->cpu.vcpu.instructions, memory_order_relaxed) + executed,
			      memory_order_relaxed);
	if (ip->stepped)
		clock_advance(ip->clock, executed);
}

static uint8_t denied_fpu(const struct x86_cpu *cpu)
{
	uint64_t cr0 = cpu->s.cr0, cr4 = cpu->s.cr4;
	uint8_t denied = 0;

	if (cr0 & (X86_CR0_EM | X86_CR0_TS))
		denied |= FPU_X87 | FPU_MMX;
	if (cr0 & X86_CR0_TS && cr0 & X86_CR0_MP)
		denied |= FPU_WAIT;
	if (cr0 & (X86_CR0_EM | X86_CR0_TS) || !(cr4 & X86_CR4_OSFXSR))
		denied |= FPU_SSE;
	if (cr0 & X86_CR0_TS || !(cr4 & X86_CR4_OSXSAVE) || (cpu->s.xcr0 & 6) != 6 || !cpu->protected_mode)
		denied |= FPU_AVX;
	if (denied & FPU_AVX || (cpu->s.xcr0 & 0xe6) != 0xe6)
		denied |= FPU_AVX512;
	return denied;
}

void fpu_refuse(struct interp *ip, const struct op *op, unsigned need)
{
	const struct x86_cpu *cpu = &ip->cpu;
	bool undefined = false;

	if (need & (FPU_AVX | FPU_AVX512))
		undefined = !(cpu->s.cr4 & X86_CR4_OSXSAVE) || (cpu->s.xcr0 & 6) != 6 || !cpu->protected_mode ||
			    (need & FPU_AVX512 && (cpu->s.xcr0 & 0xe6) != 0xe6);
	else if (need & FPU_SSE)
		undefined = cpu->s.cr0 & X86_CR0_EM || !(cpu->s.cr4 & X86_CR4_OSFXSR);
	else if (need & FPU_MMX)
		undefined = cpu->s.cr0 & X86_CR0_EM;
	fault_at(ip, op, undefined ? X86_UD : X86_NM);
}

void interp_resync(struct interp *ip)
{
	struct x86_cpu *cpu = &ip->cpu;

	ip->key = mode_key(cpu) | (cpu->cpl == 3 ? KEY_USER : 0);
	ip->flat_base = cpu->code_mode == X86_CODE64 ? 0 : cpu->s.seg[X86_CS].base;
	ip->fpu_denied = denied_fpu(cpu);
	if (cpu->code_mode != X86_CODE64 && ip->limit != cpu->s.seg[X86_CS].limit) {
		ip->limit = cpu->s.seg[X86_CS].limit;
		ip->stamp_own++;
	}
	if (!cpu->breakpoints_armed)
		cpu->s.rflags &= ~(uint64_t)X86_RF;
	ip->attention = (cpu->s.rflags & X86_TF ? ATTEND_TRAP : 0) |
			(cpu->s.shadow_sti || cpu->s.shadow_ss ? ATTEND_SHADOW : 0) |
			(cpu->s.exception_pending || cpu->s.nmi_pending ? ATTEND_PENDING : 0) |
			(cpu->breakpoints_armed ? ATTEND_BREAKPOINT : 0) | (cpu->debug_pending ? ATTEND_DEBUG : 0) |
			(log_on(ip->log, LOG_EXEC | LOG_CPU) ? ATTEND_LOG : 0) |
			(ip->alone || cpu->vcpu.debug_step ? ATTEND_DEBUGGER : 0);
}

void sys_jumped(struct interp *ip)
{
	flags_import(ip);
	ip->exact = false;
	interp_resync(ip);
}

void sys_end(struct interp *ip, const struct op *op)
{
	ip->cpu.s.rip = sys_next_rip(ip, op);
	sys_jumped(ip);
}

void block_leave(struct interp *ip, const struct op *op)
{
	ip->left += ip->block->count - (op - ip->block->ops);
	ip->cpu.s.rip = (ip->cpu.s.rip + op->offset) & rip_mask(ip);
}

/* Stands behind a block's last instruction and in place of everything in a dropped block. */
void op_stop(struct interp *ip, const struct op *op)
{
	block_leave(ip, op);
}

void op_undefined(struct interp *ip, const struct op *op)
{
	if (op->imm == X86_GP)
		fault_at_error(ip, op, X86_GP, 0);
	fault_at(ip, op, X86_UD);
}

/* fault_vector when it is interp_abandon that came through fault_exit; no exception has this vector. */
enum { VECTOR_ABANDONED = 0xff };

_Noreturn void interp_abandon(struct x86_cpu *cpu)
{
	cpu->fault_vector = VECTOR_ABANDONED;
	longjmp(*cpu->fault_exit, 1);
}

static void stop_with(struct interp *ip, enum vcpu_exit exit)
{
	ip->exit = exit;
	ip->stop = true;
}

/* --- a debugger's points (core/debug.h): all of them are met in step_one --- */

static void debug_take_points(struct interp *ip)
{
	const struct engine *engine = ip->cpu.vcpu.engine;

	/* Those that are there already; or none for the step over one, and blocks made with regard to it do no harm. */
	ip->cpu.debug = engine->debug;
	if (ip->debug_stamp == engine->debug_stamp || (!engine->debug && ip->cpu.vcpu.debug_step))
		return;
	ip->debug_stamp = engine->debug_stamp;
	cache_drop_pages(ip, 0, UINT64_MAX);
	x86_debug_set(&ip->cpu, engine->debug);
}

static uint64_t debug_linear(const struct interp *ip)
{
	uint64_t linear = ip->flat_base + ip->cpu.s.rip;

	return ip->cpu.code_mode == X86_CODE64 ? linear : (uint32_t)linear;
}

static bool debug_at_point(const struct interp *ip)
{
	return ip->cpu.debug && !ip->cpu.vcpu.debug_step && debug_stops_at(ip->cpu.debug, debug_linear(ip));
}

void op_debug(struct interp *ip, const struct op *op)
{
	block_leave(ip, op);
	ip->alone = true;
	ip->attention |= ATTEND_DEBUGGER;
}

/* An instruction is done, or something was delivered. */
static void debug_done(struct interp *ip, bool stepped)
{
	struct vcpu *vcpu = &ip->cpu.vcpu;

	if (stepped && vcpu->debug_step && !vcpu->debug_hit.why)
		vcpu->debug_hit.why = DEBUG_STEPPED;
	if (unlikely(vcpu->debug_hit.why))
		stop_with(ip, VCPU_DEBUG);
}

/* After a longjmp to fault_exit. */
static void deliver_fault(struct interp *ip)
{
	struct x86_cpu *cpu = &ip->cpu;
	const struct op *op = ip->cur;

	if (op) {
		cpu->s.rip = (cpu->s.rip + op->offset) & rip_mask(ip);
		ip->left += ip->block->count - (op - ip->block->ops) - 1;
		ip->cur = NULL;
	}
	x86_bus_unlock(cpu);
	if (!ip->exact) {
		flags_sync(ip);
		ip->exact = true;
	}
	cpu->debug_alone = true;
	if (cpu->fault_vector == VECTOR_ABANDONED) {
		stop_with(ip, VCPU_KICKED);
	} else if (cpu->fault_vector == X86_DEBUG_REDO) {
		ip->alone = true;
	} else if (!x86_deliver_fault(cpu)) {
		stop_with(ip, VCPU_RESET);
	} else {
		if (ip->stop_at_fault)
			stop_with(ip, VCPU_KICKED);
		debug_done(ip, true);
	}
	cpu->debug_alone = false;
	flags_import(ip);
	ip->exact = false;
	interp_resync(ip);
}

/* A flush is asked for when somebody starts to watch pages: what was silently writable until now counts as written. */
static void flush_translations(struct interp *ip)
{
	vcpu_clear(&ip->cpu.vcpu, VCPU_FLUSH);
	ip->cpu.a20_mask = atomic_load(&ip->cpu.vcpu.engine->a20_closed) ? ~(1ull << 20) : ~0ull;
	x86_tlb_tell_written(&ip->cpu);
	x86_tlb_flush(&ip->cpu);
}

void interp_flush(struct interp *ip)
{
	atomic_fetch_or_explicit(&ip->cpu.vcpu.events, VCPU_FLUSH, memory_order_release);
	ip->cpu.vcpu.engine->ops->kick(&ip->cpu.vcpu);
	if (pthread_mutex_trylock(&ip->run_lock)) {
		/* The guest's own doing, in a region callback: what it does next must see it. */
		if (atomic_load_explicit(&ip->runner, memory_order_relaxed) == (uintptr_t)pthread_self()) {
			x86_tlb_tell_written(&ip->cpu);
			x86_tlb_flush(&ip->cpu);
		}
		return;
	}
	flush_translations(ip);
	pthread_mutex_unlock(&ip->run_lock);
}

static void take_architectural(struct interp *ip)
{
	bool delivered;

	flags_sync(ip);
	ip->exact = true;
	ip->cpu.debug_alone = true;
	delivered = x86_take_events(&ip->cpu);
	ip->cpu.debug_alone = false;
	debug_done(ip, delivered);
	flags_import(ip);
	ip->exact = false;
	interp_resync(ip);
}

/* A debugger steps, and interrupts wait until it is done; what ends a halt does not. */
static bool debug_quiet(const struct x86_cpu *cpu)
{
	return unlikely(cpu->vcpu.debug_step == DEBUG_STEP_QUIET) && cpu->s.mp_state == X86_MP_RUNNING;
}

/* In stepped mode time jumps while the CPU waits. */
static bool halted_wait(struct interp *ip)
{
	while (ip->stepped && !x86_event_ready(&ip->cpu)) {
		int64_t deadline = clock_next_deadline(ip->clock), now = clock_now(ip->clock);

		if (deadline == INT64_MAX || atomic_load(&ip->cpu.vcpu.events) & VCPU_KICK)
			return false;
		clock_advance(ip->clock, deadline > now ? deadline - now : 1);
	}
	return x86_event_ready(&ip->cpu);
}

enum { ARCHITECTURAL = VCPU_INTR | VCPU_NMI | VCPU_INIT | VCPU_SIPI };

/* Between two blocks, when something wants to be looked at. */
static void look_up(struct interp *ip)
{
	struct x86_cpu *cpu = &ip->cpu;
	uint32_t events = atomic_load_explicit(&cpu->vcpu.events, memory_order_acquire);
	bool asleep;

	interp_account(ip);
	if (events & VCPU_ENGINE)
		cache_take_pending(ip);
	if (events & VCPU_FLUSH)
		flush_translations(ip);
	asleep = cpu->s.mp_state != X86_MP_RUNNING && !halted_wait(ip);
	events = atomic_load_explicit(&cpu->vcpu.events, memory_order_acquire);
	if (events & VCPU_KICK) {
		vcpu_clear(&cpu->vcpu, VCPU_KICK);
		stop_with(ip, VCPU_KICKED);
		return;
	}
	if (asleep) {
		stop_with(ip, VCPU_HALTED);
		return;
	}
	if (events & ARCHITECTURAL && !debug_quiet(cpu))
		take_architectural(ip);
	if (ip->stop)
		return;
	if (cpu->s.mp_state != X86_MP_RUNNING)
		stop_with(ip, VCPU_HALTED);
	else if (ip->left <= 0)
		ip->spent = ip->stop = true;
}

static void log_state(struct interp *ip)
{
	const struct x86_state *s = &ip->cpu.s;

	flags_sync(ip);
	if (log_on(ip->log, LOG_EXEC))
		log_write(ip->log, "Trace %u: %04x:%016llx cpl=%u mode=%u", ip->cpu.vcpu.index, s->seg[X86_CS].selector,
			  (unsigned long long)s->rip, ip->cpu.cpl, 16u << ip->cpu.code_mode);
	if (!log_on(ip->log, LOG_CPU))
		return;
	for (unsigned i = 0; i < 16; i += 4)
		log_write(ip->log, "R%02u=%016llx R%02u=%016llx R%02u=%016llx R%02u=%016llx", i,
			  (unsigned long long)s->gpr[i], i + 1, (unsigned long long)s->gpr[i + 1], i + 2,
			  (unsigned long long)s->gpr[i + 2], i + 3, (unsigned long long)s->gpr[i + 3]);
	log_write(ip->log, "RIP=%016llx RFL=%08llx CR0=%08llx CR2=%016llx CR3=%016llx CR4=%08llx",
		  (unsigned long long)s->rip, (unsigned long long)s->rflags, (unsigned long long)s->cr0,
		  (unsigned long long)s->cr2, (unsigned long long)s->cr3, (unsigned long long)s->cr4);
}

static void debug_trap(struct interp *ip, bool single_step)
{
	flags_sync(ip);
	ip->exact = true;
	x86_debug_trap(&ip->cpu, single_step); /* raises when there is something to trap */
	ip->exact = false;
	interp_resync(ip);
}

/* One instruction with everything checked that the fast loop leaves out. */
static void step_one(struct interp *ip)
{
	struct x86_cpu *cpu = &ip->cpu;
	bool trap = cpu->s.rflags & X86_TF;

	if (ip->attention & ATTEND_PENDING) {
		take_architectural(ip);
		if (ip->stop)
			return;
		trap = cpu->s.rflags & X86_TF;
	}
	if (cpu->debug_pending && !cpu->s.shadow_ss)
		debug_trap(ip, false);
	if (ip->attention & ATTEND_LOG)
		log_state(ip);
	if (debug_at_point(ip)) {
		ip->alone = false;
		cpu->vcpu.debug_hit = (struct debug_hit){.why = DEBUG_BREAKPOINT, .gva = debug_linear(ip)};
		stop_with(ip, VCPU_DEBUG);
		return;
	}
	if (cpu->breakpoints_armed) {
		flags_sync(ip);
		ip->exact = true;
		x86_check_breakpoint(cpu);
		ip->exact = false;
	}
	ip->block = cache_block(ip, true);
	cpu->s.rflags &= ~(uint64_t)X86_RF; /* IRET sets it again */
	cpu->s.shadow_sti = cpu->s.shadow_ss = false;
	ip->no_trap = false;
	ip->left -= ip->block->count;
	cpu->debug_alone = ip->attention & ATTEND_DEBUGGER;
	ip->block->ops[0].fn(ip, ip->block->ops);
	ip->cur = NULL;
	ip->alone = cpu->debug_alone = false;
	interp_resync(ip);
	debug_done(ip, true);
	if (cpu->s.shadow_ss || ip->no_trap)
		trap = false;
	if ((trap || cpu->debug_pending) && !cpu->s.shadow_ss) {
		cpu->s.mp_state = cpu->s.mp_state == X86_MP_HALTED && trap ? X86_MP_RUNNING : cpu->s.mp_state;
		debug_trap(ip, trap);
	}
}

/* The entry is older than the last flush of translations, but leads to the same place still. */
static bool leads_there(struct interp *ip, const struct jump_entry *entry, uint64_t linear)
{
	const struct x86_tlb_entry *slot = mem_slot(ip, linear);
	const struct block *block = entry->block;

	if (entry->linear != linear || !block || block->key != (ip->key & ~KEY_USER))
		return false;
	if (ip->cpu.code_mode != X86_CODE64 && ip->cpu.s.rip + block->bytes - 1 > ip->cpu.s.seg[X86_CS].limit)
		return false;
	return block->gpa2 == ~0ull && slot->tag_fetch == (linear & ~(PAGE_SIZE - 1)) &&
	       block->gpa == (x86_tlb_gpa(slot) | (linear & (PAGE_SIZE - 1)));
}

static NOINLINE struct block *find_block_slow(struct interp *ip, uint64_t linear)
{
	struct jump_entry *entry = jump_slot(ip, linear);
	struct block *block;

	if (leads_there(ip, entry, linear)) {
		entry->stamp = cache_stamp(ip);
		return entry->block;
	}
	block = cache_block(ip, false);
	if (block->key == KEY_DEAD || ip->verify || ip->key != (block->key | (ip->key & KEY_USER)))
		return block;
	entry->linear = linear;
	entry->stamp = cache_stamp(ip); /* decoding may have flushed */
	entry->block = block;
	return block;
}

/* First the links of the block that was executed last, then the table of all. */
ALWAYS_INLINE struct block *find_block(struct interp *ip)
{
	uint64_t linear = ip->flat_base + ip->cpu.s.rip, stamp = cache_stamp(ip);
	struct block *last = ip->block;
	struct jump_entry *entry;

	if (likely(last->link[0].linear == linear && last->link[0].stamp == stamp))
		return last->link[0].block;
	if (last->link[1].linear == linear && last->link[1].stamp == stamp)
		return last->link[1].block;
	entry = jump_slot(ip, linear);
	if (unlikely(entry->linear != linear || entry->stamp != stamp))
		return find_block_slow(ip, linear);
	last->link[1] = last->link[0];
	last->link[0] = *entry;
	return entry->block;
}

void interp_set_partner(struct x86_cpu *cpu, const struct interp_partner *partner)
{
	interp_of(cpu)->partner = partner;
}

/* A limited number of instructions is the interpreter's alone, because partners do not count; so is 16-bit code. */
static bool partnered(const struct interp *ip)
{
	return unlikely(ip->partner) && ip->cpu.code_mode != X86_CODE16 && ip->left > 1ll << 62;
}

/* From one cold block to the next without a question to the partner; new ones and those that are no longer cold are his. */
static bool stays_cold(struct interp *ip)
{
	struct block *block = ip->cold ? find_block(ip) : NULL;

	if (!block || !block->turns || block->turns >= COLD_TURNS)
		return false;
	ip->block = block;
	block->turns++;
	return true;
}

/* True: a block is to be interpreted. */
static bool run_partner(struct interp *ip)
{
	enum interp_share share;
	uint64_t resume_flag;

	flags_sync(ip);
	ip->exact = true;
	ip->cold = false;
	share = ip->partner->run(&ip->cpu);
	if (share == INTERP_FAILED)
		stop_with(ip, VCPU_FAILED);
	flags_import(ip);
	ip->exact = false;
	resume_flag = ip->cpu.s.rflags & X86_RF; /* of a REP that is to be interrupted */
	interp_resync(ip);
	ip->cpu.s.rflags |= resume_flag;
	return share == INTERP_BLOCK && !ip->attention && !ip->stop;
}

bool interp_one(struct x86_cpu *cpu)
{
	struct interp *ip = interp_of(cpu);

	interp_resync(ip);
	if (unlikely(cpu->debug) && debug_at_point(ip))
		ip->alone = true;
	if (ip->attention || ip->alone)
		return false;
	flags_import(ip);
	ip->exact = false;
	step_one(ip);
	flags_sync(ip);
	ip->exact = true;
	return !ip->attention && !ip->stop && cpu->s.mp_state == X86_MP_RUNNING;
}

void interp_single(struct x86_cpu *cpu)
{
	struct interp *ip = interp_of(cpu);

	interp_resync(ip);
	flags_import(ip);
	ip->exact = false;
	step_one(ip);
	flags_sync(ip);
	ip->exact = true;
}

bool interp_deliver(struct x86_cpu *cpu)
{
	struct interp *ip = interp_of(cpu);

	deliver_fault(ip);
	flags_sync(ip);
	ip->exact = true;
	return !ip->attention && !ip->stop;
}

static void run_loop(struct interp *ip)
{
	struct x86_cpu *cpu = &ip->cpu;

	cpu->fault_exit = &ip->fault_exit;
	if (setjmp(ip->fault_exit))
		deliver_fault(ip);
	ip->cur = NULL;
	while (!ip->stop) {
		uint32_t events = atomic_load_explicit(&cpu->vcpu.events, memory_order_relaxed);

		if (unlikely(events || ip->left <= 0 || cpu->s.mp_state != X86_MP_RUNNING)) {
			/* An interrupt that waits for IF needs no look at every block. */
			if (ip->left <= 0 || events & ~VCPU_INTR || cpu->s.rflags & X86_IF ||
			    cpu->s.mp_state != X86_MP_RUNNING) {
				look_up(ip);
				if (ip->stop)
					break;
			}
		}
		if (unlikely(ip->attention)) {
			step_one(ip);
			continue;
		}
		if (!partnered(ip)) {
			ip->block = find_block(ip);
		} else if (!stays_cold(ip)) {
			if (!run_partner(ip))
				continue;
			ip->block = find_block(ip);
			ip->block->turns += ip->cold && ip->block->turns < COLD_TURNS;
		}
		if (unlikely(ip->left < ip->block->count)) {
			step_one(ip);
			continue;
		}
		ip->left -= ip->block->count;
		ip->block->ops[0].fn(ip, ip->block->ops);
		ip->cur = NULL;
	}
}

/* Instructions until the next timer is due; run in slices, so that a timer armed meanwhile is not much late. */
static int64_t stepped_slice(struct interp *ip, int64_t count)
{
	int64_t deadline = clock_next_deadline(ip->clock), now = clock_now(ip->clock), slice = 10000;

	if (deadline != INT64_MAX && deadline - now < slice)
		slice = deadline > now ? deadline - now : 1;
	return slice < count ? slice : count;
}

enum vcpu_exit interp_run(struct interp *ip, int64_t count)
{
	pthread_mutex_lock(&ip->run_lock);
	atomic_store_explicit(&ip->runner, (uintptr_t)pthread_self(), memory_order_relaxed);
	if (unlikely(ip->debug_stamp || ip->cpu.vcpu.engine->debug))
		debug_take_points(ip);
	ip->cpu.vcpu.debug_hit.why = DEBUG_NOTHING;
	flags_import(ip);
	ip->exact = false;
	interp_resync(ip);
	do {
		int64_t slice = ip->stepped ? stepped_slice(ip, count) : count;

		ip->stop = ip->spent = false;
		ip->exit = VCPU_KICKED;
		ip->left = ip->granted = slice;
		run_loop(ip);
		interp_account(ip);
		count -= slice - ip->left;
	} while (ip->stepped && ip->spent && count > 0);
	ip->left = count;
	flags_sync(ip);
	ip->exact = true;
	atomic_store_explicit(&ip->runner, 0, memory_order_relaxed);
	pthread_mutex_unlock(&ip->run_lock);
	return ip->exit;
}

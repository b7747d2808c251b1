/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The local APIC of one virtual CPU (SDM 3A chapter 11): xAPIC page and x2APIC MSRs, priorities, local vector table,
 * interrupt commands, errors. Left out: SMI, CMCI, suppression of EOI broadcasts, focus processor checking; the thermal
 * and performance entries are stored, but nothing here fires them.
 * At reset the bootstrap processor's LINT0 passes the 8259 through, as KVM does it, so that kernels which are entered
 * without firmware find a working 8259.
 */
#include "device/pc/lapic_impl.h"

#include <stdlib.h>

enum { VERSION = 0x14 | (LVT_COUNT - 1) << 16 };

/* Register numbers: MMIO offset / 16, MSR - 0x800. */
enum {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_APR = 0x09,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_RRD = 0x0c,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10,
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_ICR = 0x30,
	REG_ICR_HIGH = 0x31,
	REG_LVT = 0x32,
	REG_INITIAL = 0x38,
	REG_CURRENT = 0x39,
	REG_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,
};

enum { MSR_APIC_BASE = 0x1b, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC = 0x800 };

/* Delivery status and remote IRR may be written back as they were read. */
enum { LVT_READ_ONLY = 1 << 12 | 1 << 14 };

/* What can be written in each local vector table entry. */
static const uint32_t lvt_writable[LVT_COUNT] = {
	[LVT_TIMER] = 0x000700ff, [LVT_THERMAL] = 0x000107ff, [LVT_PERFORMANCE] = 0x000107ff,
	[LVT_LINT0] = 0x0001a7ff, [LVT_LINT1] = 0x0001a7ff,   [LVT_ERROR] = 0x000100ff,
};

/* --- priorities --- */

static int highest(const uint32_t bits[8])
{
	for (int i = 7; i >= 0; i--)
		if (bits[i])
			return 32 * i + 31 - __builtin_clz(bits[i]);
	return -1;
}

static void set_bit(uint32_t bits[8], uint8_t vector, bool on)
{
	uint32_t mask = 1u << (vector & 31);

	bits[vector >> 5] = on ? bits[vector >> 5] | mask : bits[vector >> 5] & ~mask;
}

static uint8_t processor_priority(const struct lapic *apic)
{
	int in_service = highest(apic->isr);

	if (in_service < 0 || (unsigned)in_service >> 4 <= apic->tpr >> 4)
		return (uint8_t)apic->tpr;
	return in_service & 0xf0;
}

static bool takes_extint(const struct lapic *apic)
{
	/* A disabled APIC is a wire from LINT0 to the CPU's INTR pin. */
	if (!(apic->base & BASE_ENABLE))
		return apic->base & BASE_BSP;
	return !(apic->lvt[LVT_LINT0] & LVT_MASKED) && (apic->lvt[LVT_LINT0] >> 8 & 7) == DELIVER_EXTINT;
}

static int deliverable_vector(const struct lapic *apic, uint8_t priority)
{
	int vector = apic->base & BASE_ENABLE ? highest(apic->irr) : -1;

	return vector >> 4 > priority >> 4 ? vector : -1;
}

void lapic_update(struct lapic *apic)
{
	uint8_t priority = processor_priority(apic);
	int vector = deliverable_vector(apic, priority);
	uint32_t deliverable = vector >= 0 ? DELIVERABLE_VECTOR | (uint32_t)vector : 0;
	uint32_t before = atomic_load_explicit(&apic->deliverable, memory_order_relaxed);

	if ((takes_extint(apic) || apic->extint_latched) && atomic_load(&apic->set->extint))
		deliverable |= DELIVERABLE_EXTINT;
	atomic_store_explicit(&apic->priority, priority, memory_order_relaxed);
	atomic_store_explicit(&apic->deliverable, deliverable, memory_order_release);
	/* While something stays deliverable the CPU has been told already, and its event bit stays set. */
	if (deliverable && !before)
		vcpu_raise(apic->vcpu, VCPU_INTR);
	else if (!deliverable && atomic_load_explicit(&apic->vcpu->events, memory_order_relaxed) & VCPU_INTR)
		vcpu_clear(apic->vcpu, VCPU_INTR);
}

/* Mirrors the registers that decide about routing. */
static void update_routing(struct lapic *apic)
{
	uint64_t routing = apic->ldr;

	if (apic->base & BASE_ENABLE)
		routing |= ROUTING_ENABLED;
	if (lapic_is_x2apic(apic))
		routing |= ROUTING_X2APIC;
	else if (apic->dfr >> 28 != 0xf)
		routing |= ROUTING_CLUSTER;
	if (apic->svr & SVR_ENABLE)
		routing |= ROUTING_SOFTWARE;
	if (takes_extint(apic))
		routing |= ROUTING_EXTINT;
	atomic_store(&apic->routing, routing);
}

/* --- arrivals --- */

static void report_error(struct lapic *apic, uint32_t bit)
{
	bool first = !(apic->esr_pending & bit);

	apic->esr_pending |= bit;
	if (first)
		lapic_fire_local(apic, LVT_ERROR);
}

static void accept_vector(struct lapic *apic, uint8_t vector, bool level)
{
	if (!(apic->svr & SVR_ENABLE) || !(apic->base & BASE_ENABLE))
		return;
	if (vector < 16) {
		report_error(apic, ESR_RECEIVE_ILLEGAL);
		return;
	}
	set_bit(apic->irr, vector, true);
	set_bit(apic->tmr, vector, level);
}

void lapic_fire_local(struct lapic *apic, unsigned lvt)
{
	uint32_t entry = apic->lvt[lvt];

	if (entry & LVT_MASKED || !(apic->base & BASE_ENABLE))
		return;
	switch (lvt == LVT_TIMER || lvt == LVT_ERROR ? DELIVER_FIXED : (enum delivery_mode)(entry >> 8 & 7)) {
	case DELIVER_FIXED:
		/* An illegal vector in the error entry itself cannot be reported through it. */
		if ((entry & 0xff) >= 16)
			accept_vector(apic, (uint8_t)entry, false);
		else
			apic->esr_pending |= ESR_RECEIVE_ILLEGAL;
		break;
	case DELIVER_NMI:
		vcpu_raise(apic->vcpu, VCPU_NMI);
		break;
	default: /* ExtINT is a level and looked at in lapic_update; SMI and INIT are not wired */
		break;
	}
}

void lapic_accept(struct lapic *apic, const struct lapic_message *message)
{
	switch (message->mode) {
	case DELIVER_NMI:
		vcpu_raise(apic->vcpu, VCPU_NMI);
		return;
	case DELIVER_INIT:
		vcpu_raise(apic->vcpu, VCPU_INIT);
		return;
	case DELIVER_SIPI:
		atomic_store(&apic->vcpu->sipi_vector, message->vector);
		vcpu_raise(apic->vcpu, VCPU_SIPI);
		return;
	case DELIVER_SMI:
	case DELIVER_RESERVED:
		log_guest(apic->device.env->log, &apic->limit, "local APIC %u: delivery mode %u is not modelled",
			  apic->vcpu->apic_id, message->mode);
		return;
	case DELIVER_FIXED:
	case DELIVER_LOWEST:
	case DELIVER_EXTINT:
		break;
	}
	pthread_mutex_lock(&apic->lock);
	if (message->mode == DELIVER_EXTINT)
		apic->extint_latched = true;
	else
		accept_vector(apic, message->vector, message->level);
	lapic_update(apic);
	pthread_mutex_unlock(&apic->lock);
}

/* --- what the CPU does --- */

static bool has_interrupt(void *opaque)
{
	struct lapic *apic = opaque;

	return atomic_load_explicit(&apic->deliverable, memory_order_acquire) != 0;
}

static int ack_extint(struct lapic *apic)
{
	int vector = apic->set->pic_ack ? apic->set->pic_ack(apic->set->pic) : -1;

	pthread_mutex_lock(&apic->lock);
	apic->extint_latched = false;
	lapic_update(apic);
	pthread_mutex_unlock(&apic->lock);
	return vector;
}

static int ack(void *opaque)
{
	struct lapic *apic = opaque;
	int vector;

	if (atomic_load_explicit(&apic->deliverable, memory_order_acquire) & DELIVERABLE_EXTINT) {
		vector = ack_extint(apic);
		if (vector >= 0)
			return vector;
	}
	pthread_mutex_lock(&apic->lock);
	vector = deliverable_vector(apic, processor_priority(apic));
	if (vector >= 0) {
		set_bit(apic->irr, (uint8_t)vector, false);
		set_bit(apic->isr, (uint8_t)vector, true);
	}
	lapic_update(apic);
	/* An engine may have cleared the bit on its way here. */
	if (atomic_load_explicit(&apic->deliverable, memory_order_relaxed))
		atomic_fetch_or(&apic->vcpu->events, VCPU_INTR);
	pthread_mutex_unlock(&apic->lock);
	return vector;
}

static uint8_t get_tpr(void *opaque)
{
	struct lapic *apic = opaque;

	return (uint8_t)(apic->tpr >> 4); /* only this CPU's thread writes it */
}

static void write_tpr(struct lapic *apic, uint32_t value)
{
	pthread_mutex_lock(&apic->lock);
	apic->tpr = value & 0xff;
	lapic_update(apic);
	pthread_mutex_unlock(&apic->lock);
}

static void set_tpr(void *opaque, uint8_t cr8)
{
	write_tpr(opaque, (uint32_t)(cr8 & 0xf) << 4);
}

static void end_of_interrupt(struct lapic *apic)
{
	bool level = false;
	int vector;

	pthread_mutex_lock(&apic->lock);
	vector = highest(apic->isr);
	if (vector >= 0) {
		set_bit(apic->isr, (uint8_t)vector, false);
		level = apic->tmr[vector >> 5] >> (vector & 31) & 1;
		lapic_update(apic);
	}
	pthread_mutex_unlock(&apic->lock);
	if (level && apic->set->eoi)
		apic->set->eoi(apic->set->eoi_opaque, (uint8_t)vector);
}

static void send_command(struct lapic *apic, uint32_t icr, uint32_t destination)
{
	bool wide = lapic_is_x2apic(apic);
	struct lapic_message message = {
		.destination = wide ? destination : destination >> 24,
		.logical = icr >> 11 & 1,
		.wide = wide,
		.level = false, /* commands are edge triggered on every processor with this version number */
		.vector = (uint8_t)icr,
		.mode = (enum delivery_mode)(icr >> 8 & 7),
	};
	bool deassert = message.mode == DELIVER_INIT && icr & 0x8000 && !(icr & 0x4000);

	/* INIT level de-assert synchronises arbitration ids, which nothing has any more. */
	if (deassert || message.mode == DELIVER_EXTINT)
		return;
	if ((message.mode == DELIVER_FIXED || message.mode == DELIVER_LOWEST) && message.vector < 16) {
		pthread_mutex_lock(&apic->lock);
		report_error(apic, ESR_SEND_ILLEGAL);
		lapic_update(apic);
		pthread_mutex_unlock(&apic->lock);
		return;
	}
	lapic_send(apic->set, apic, (enum shorthand)(icr >> 18 & 3), &message);
}

/* --- registers --- */

static uint32_t id_register(const struct lapic *apic)
{
	return lapic_is_x2apic(apic) ? apic->vcpu->apic_id : apic->vcpu->apic_id << 24;
}

/* Lock held. */
static bool read_register(struct lapic *apic, unsigned reg, uint32_t *value)
{
	if (reg >= REG_ISR && reg < REG_ESR) {
		const uint32_t *bits = reg < REG_TMR ? apic->isr : reg < REG_IRR ? apic->tmr : apic->irr;

		*value = bits[reg & 7];
		return true;
	}
	if (reg >= REG_LVT && reg < REG_LVT + LVT_COUNT) {
		*value = apic->lvt[reg - REG_LVT];
		return true;
	}
	switch (reg) {
	case REG_ID:
		*value = id_register(apic);
		return true;
	case REG_VERSION:
		*value = VERSION;
		return true;
	case REG_TPR:
		*value = apic->tpr;
		return true;
	case REG_PPR:
		*value = processor_priority(apic);
		return true;
	case REG_LDR:
		*value = apic->ldr;
		return true;
	case REG_SVR:
		*value = apic->svr;
		return true;
	case REG_ESR:
		*value = apic->esr;
		return true;
	case REG_ICR:
		*value = apic->icr;
		return true;
	case REG_INITIAL:
		*value = apic->timer_initial;
		return true;
	case REG_CURRENT:
		*value = lapic_timer_current(apic);
		return true;
	case REG_DIVIDE:
		*value = apic->timer_divide;
		return true;
	/* Only in the memory page: */
	case REG_DFR:
		*value = apic->dfr;
		return !lapic_is_x2apic(apic);
	case REG_ICR_HIGH:
		*value = apic->icr_high;
		return !lapic_is_x2apic(apic);
	case REG_APR:
	case REG_EOI:
	case REG_RRD:
		*value = 0;
		return !lapic_is_x2apic(apic);
	default:
		return false;
	}
}

static void write_svr(struct lapic *apic, uint32_t value)
{
	apic->svr = value & 0x1ff;
	/* Software disable masks every local source (11.4.7.2). */
	for (unsigned i = 0; i < LVT_COUNT && !(apic->svr & SVR_ENABLE); i++)
		apic->lvt[i] |= LVT_MASKED;
}

static void write_lvt(struct lapic *apic, unsigned lvt, uint32_t value)
{
	value &= lvt_writable[lvt];
	if (!(apic->svr & SVR_ENABLE))
		value |= LVT_MASKED;
	if (lvt == LVT_TIMER)
		lapic_timer_write_lvt(apic, value);
	else
		apic->lvt[lvt] = value;
}

/* Lock held; what needs it released (EOI, commands) is handled before. */
static bool write_register(struct lapic *apic, unsigned reg, uint32_t value)
{
	if (reg >= REG_LVT && reg < REG_LVT + LVT_COUNT) {
		write_lvt(apic, reg - REG_LVT, value);
		return true;
	}
	switch (reg) {
	case REG_SVR:
		write_svr(apic, value);
		return true;
	case REG_ESR:
		apic->esr = apic->esr_pending;
		apic->esr_pending = 0;
		return true;
	case REG_INITIAL:
		lapic_timer_write_initial(apic, value);
		return true;
	case REG_DIVIDE:
		lapic_timer_write_divide(apic, value);
		return true;
	case REG_ICR_HIGH:
		apic->icr_high = value & 0xff000000;
		return true;
	case REG_LDR:
		apic->ldr = value & 0xff000000;
		return true;
	case REG_DFR:
		apic->dfr = value | 0x0fffffff;
		return true;
	case REG_ID: /* read-only on current processors */
	case REG_RRD:
	case REG_APR:
		return true;
	default:
		return false;
	}
}

static void write_any(struct lapic *apic, unsigned reg, uint32_t value, uint32_t destination)
{
	bool known;

	if (reg == REG_EOI) {
		end_of_interrupt(apic);
	} else if (reg == REG_TPR) {
		write_tpr(apic, value);
	} else if (reg == REG_ICR) {
		apic->icr = value & 0xccfff;
		apic->icr_high = destination;
		send_command(apic, apic->icr, destination);
	} else {
		pthread_mutex_lock(&apic->lock);
		known = write_register(apic, reg, value);
		if (!known)
			report_error(apic, ESR_ILLEGAL_REGISTER);
		update_routing(apic);
		lapic_update(apic);
		pthread_mutex_unlock(&apic->lock);
	}
}

/* --- the memory page --- */

static uint32_t mmio_read(void *opaque, uint32_t offset, unsigned size)
{
	struct lapic *apic = opaque;
	uint32_t value = 0;

	if ((apic->base & (BASE_ENABLE | BASE_EXTD)) != BASE_ENABLE)
		return UINT32_MAX;
	pthread_mutex_lock(&apic->lock);
	if (!read_register(apic, offset >> 4 & 0xff, &value)) {
		report_error(apic, ESR_ILLEGAL_REGISTER);
		lapic_update(apic);
	}
	pthread_mutex_unlock(&apic->lock);
	/* Only the first four of each sixteen bytes are a register. */
	return offset & 0xc ? 0 : value >> 8 * (offset & 3);
}

static void mmio_write(void *opaque, uint32_t offset, uint32_t value, unsigned size)
{
	struct lapic *apic = opaque;

	if ((apic->base & (BASE_ENABLE | BASE_EXTD)) != BASE_ENABLE)
		return;
	if (offset & 0xf || size != 4) {
		log_guest(apic->device.env->log, &apic->limit, "local APIC %u: %u-byte write at offset 0x%x ignored",
			  apic->vcpu->apic_id, size, offset);
		return;
	}
	write_any(apic, offset >> 4 & 0xff, value, apic->icr_high);
}

/* --- MSRs --- */

static void reset_registers(struct lapic *apic)
{
	bool bsp = apic->base & BASE_BSP;

	apic->tpr = apic->ldr = apic->esr = apic->esr_pending = apic->icr = apic->icr_high = 0;
	apic->dfr = UINT32_MAX;
	apic->svr = 0xff;
	apic->extint_latched = false;
	memset(apic->irr, 0, sizeof(apic->irr));
	memset(apic->isr, 0, sizeof(apic->isr));
	memset(apic->tmr, 0, sizeof(apic->tmr));
	for (unsigned i = 0; i < LVT_COUNT; i++)
		apic->lvt[i] = LVT_MASKED;
	if (bsp)
		apic->lvt[LVT_LINT0] = DELIVER_EXTINT << 8;
	apic->timer_divide = 0;
	lapic_timer_stop(apic);
}

static uint32_t x2apic_ldr(uint32_t id)
{
	return id >> 4 << 16 | 1u << (id & 0xf);
}

static void enter_mode(struct lapic *apic, uint64_t base)
{
	bool was_x2apic = lapic_is_x2apic(apic);

	apic->base = base;
	if (!(base & BASE_ENABLE))
		reset_registers(apic);
	else if (base & BASE_EXTD && !was_x2apic)
		apic->ldr = x2apic_ldr(apic->vcpu->apic_id);
}

static bool base_is_valid(const struct lapic *apic, uint64_t value)
{
	uint64_t reserved = 0x2ff | ~((1ull << apic->config.phys_bits) - 1);
	uint64_t mode = value & (BASE_ENABLE | BASE_EXTD);

	return !(value & reserved) && mode != BASE_EXTD && (apic->config.x2apic || !(value & BASE_EXTD));
}

static int write_base(struct lapic *apic, uint64_t value)
{
	uint64_t from = apic->base & (BASE_ENABLE | BASE_EXTD), to = value & (BASE_ENABLE | BASE_EXTD);

	if (!base_is_valid(apic, value))
		return -1;
	/* x2APIC is left only through disabled, and entered only from xAPIC (11.12.5). */
	if ((from == (BASE_ENABLE | BASE_EXTD) && to == BASE_ENABLE) || (!from && to == (BASE_ENABLE | BASE_EXTD)))
		return -1;
	pthread_mutex_lock(&apic->lock);
	enter_mode(apic, value);
	update_routing(apic);
	lapic_update(apic);
	pthread_mutex_unlock(&apic->lock);
	return 0;
}

static int x2apic_read(struct lapic *apic, unsigned reg, uint64_t *value)
{
	uint32_t low = 0;
	bool known;

	pthread_mutex_lock(&apic->lock);
	known = read_register(apic, reg, &low);
	*value = reg == REG_ICR ? (uint64_t)apic->icr_high << 32 | low : low;
	pthread_mutex_unlock(&apic->lock);
	return known ? 0 : -1;
}

/* Bits that raise #GP in x2APIC mode; all ones where the register cannot be written. */
static uint64_t x2apic_reserved(unsigned reg)
{
	if (reg >= REG_LVT && reg < REG_LVT + LVT_COUNT)
		return ~(uint64_t)(lvt_writable[reg - REG_LVT] | LVT_READ_ONLY);
	switch (reg) {
	case REG_TPR:
	case REG_SELF_IPI:
		return ~0xffull;
	case REG_SVR:
		return ~0x3ffull;
	case REG_ICR:
		return 0xfff32000ull;
	case REG_INITIAL:
		return ~0xffffffffull;
	case REG_DIVIDE:
		return ~0xbull;
	}
	return ~0ull; /* EOI and ESR take only zero */
}

static bool x2apic_writable(unsigned reg)
{
	switch (reg) {
	case REG_TPR:
	case REG_EOI:
	case REG_SVR:
	case REG_ESR:
	case REG_ICR:
	case REG_INITIAL:
	case REG_DIVIDE:
	case REG_SELF_IPI:
		return true;
	}
	return reg >= REG_LVT && reg < REG_LVT + LVT_COUNT;
}

static int x2apic_write(struct lapic *apic, unsigned reg, uint64_t value)
{
	if (!x2apic_writable(reg) || value & x2apic_reserved(reg))
		return -1;
	if (reg == REG_SELF_IPI)
		send_command(apic, (uint32_t)value | SHORTHAND_SELF << 18, 0);
	else
		write_any(apic, reg, (uint32_t)value, (uint32_t)(value >> 32));
	return 0;
}

static int msr_read(void *opaque, uint32_t msr, uint64_t *value)
{
	struct lapic *apic = opaque;

	if (msr == MSR_APIC_BASE) {
		*value = apic->base;
		return 0;
	}
	if (msr == MSR_TSC_DEADLINE && apic->config.tsc_deadline) {
		pthread_mutex_lock(&apic->lock);
		*value = lapic_timer_read_deadline(apic);
		pthread_mutex_unlock(&apic->lock);
		return 0;
	}
	if (msr - MSR_X2APIC > 0xff || !lapic_is_x2apic(apic))
		return -1;
	return x2apic_read(apic, msr - MSR_X2APIC, value);
}

static int msr_write(void *opaque, uint32_t msr, uint64_t value)
{
	struct lapic *apic = opaque;

	if (msr == MSR_APIC_BASE)
		return write_base(apic, value);
	if (msr == MSR_TSC_DEADLINE && apic->config.tsc_deadline) {
		pthread_mutex_lock(&apic->lock);
		lapic_timer_write_deadline(apic, value);
		pthread_mutex_unlock(&apic->lock);
		return 0;
	}
	if (msr - MSR_X2APIC > 0xff || !lapic_is_x2apic(apic))
		return -1;
	return x2apic_write(apic, msr - MSR_X2APIC, value);
}

/* --- life --- */

/* INIT keeps base address, mode and id (11.4.7.3); in x2APIC mode the logical id follows from the id. */
static void init_received(void *opaque)
{
	struct lapic *apic = opaque;

	pthread_mutex_lock(&apic->lock);
	reset_registers(apic);
	if (lapic_is_x2apic(apic))
		apic->ldr = x2apic_ldr(apic->vcpu->apic_id);
	update_routing(apic);
	lapic_update(apic);
	pthread_mutex_unlock(&apic->lock);
}

static void set_tsc_offset(void *opaque, int64_t ticks)
{
	struct lapic *apic = opaque;

	pthread_mutex_lock(&apic->lock);
	lapic_timer_set_offset(apic, ticks);
	pthread_mutex_unlock(&apic->lock);
}

static const struct vcpu_apic_ops apic_ops = {
	.ack = ack,
	.has_interrupt = has_interrupt,
	.get_tpr = get_tpr,
	.set_tpr = set_tpr,
	.mmio_read = mmio_read,
	.mmio_write = mmio_write,
	.msr_read = msr_read,
	.msr_write = msr_write,
	.init = init_received,
	.set_tsc_offset = set_tsc_offset,
};

static void reset(struct device *device)
{
	struct lapic *apic = (struct lapic *)device;

	pthread_mutex_lock(&apic->lock);
	apic->base = 0xfee00000 | BASE_ENABLE | (apic->vcpu->index == 0 ? BASE_BSP : 0);
	apic->tsc_offset = 0;
	reset_registers(apic);
	update_routing(apic);
	lapic_update(apic);
	pthread_mutex_unlock(&apic->lock);
}

void lapic_virtual_wire(struct lapic *apic)
{
	pthread_mutex_lock(&apic->lock);
	apic->svr = SVR_ENABLE | 0xff;
	if (apic->base & BASE_BSP)
		apic->lvt[LVT_LINT0] = DELIVER_EXTINT << 8;
	apic->lvt[LVT_LINT1] = DELIVER_NMI << 8;
	update_routing(apic);
	lapic_update(apic);
	pthread_mutex_unlock(&apic->lock);
}

static int init(struct device *device, struct error *err)
{
	struct lapic *apic = (struct lapic *)device;

	if (apic->set->count == LAPIC_MAX)
		return error_set(err, ENOSPC, "at most %d local APICs", LAPIC_MAX);
	pthread_mutex_init(&apic->lock, NULL);
	lapic_timer_init(apic);
	apic->set->apics[apic->set->count++] = apic;
	apic->vcpu->apic_ops = &apic_ops;
	apic->vcpu->apic = apic;
	reset(device);
	return 0;
}

static void fini(struct device *device)
{
	struct lapic *apic = (struct lapic *)device;
	struct lapic_set *set = apic->set;

	clock_timer_cancel_sync(&apic->timer);
	for (unsigned i = 0; i < set->count; i++)
		if (set->apics[i] == apic)
			set->apics[i] = set->apics[--set->count];
	apic->vcpu->apic_ops = NULL;
	apic->vcpu->apic = NULL;
	pthread_mutex_destroy(&apic->lock);
}

static int check(const void *staged, struct error *err)
{
	const struct lapic *apic = staged;

	if (!base_is_valid(apic, apic->base))
		return error_set(err, EINVAL, "base register 0x%llx", (unsigned long long)apic->base);
	if (apic->tpr > 0xff || apic->svr & ~0x1ffu || apic->timer_divide & ~0xbu)
		return error_set(err, EINVAL, "priority, spurious or divide register out of range");
	for (unsigned i = 0; i < LVT_COUNT; i++)
		if (apic->lvt[i] & ~lvt_writable[i])
			return error_set(err, EINVAL, "local vector %u is 0x%x", i, apic->lvt[i]);
	if ((apic->lvt[LVT_TIMER] & LVT_TIMER_MODE) == LVT_TIMER_MODE)
		return error_set(err, EINVAL, "timer mode 3");
	if ((apic->irr[0] | apic->isr[0] | apic->tmr[0]) & 0xffff)
		return error_set(err, EINVAL, "a vector below 16");
	/* A count is at most 2^32 * 128 ns; nothing may lie so far away that sums overflow. */
	if (apic->timer_start_ns < -(1ll << 62) || apic->timer_start_ns > 1ll << 62 || apic->timer_due_ns < 0)
		return error_set(err, EINVAL, "timer out of range");
	return 0;
}

static void after_load(void *object)
{
	struct lapic *apic = object;

	pthread_mutex_lock(&apic->lock);
	update_routing(apic);
	atomic_store(&apic->deliverable, 0);
	lapic_update(apic);
	lapic_timer_restore(apic);
	pthread_mutex_unlock(&apic->lock);
}

static const struct state_table state = {
	.name = "lapic",
	.version = 1,
	.size = sizeof(struct lapic),
	.check = check,
	.after_load = after_load,
	.fields =
		(const struct state_field[]){
			STATE_FIELD(STATE_U64, struct lapic, base),
			STATE_FIELD(STATE_U32, struct lapic, tpr),
			STATE_FIELD(STATE_U32, struct lapic, ldr),
			STATE_FIELD(STATE_U32, struct lapic, dfr),
			STATE_FIELD(STATE_U32, struct lapic, svr),
			STATE_FIELD(STATE_U32, struct lapic, esr),
			STATE_FIELD(STATE_U32, struct lapic, esr_pending),
			STATE_FIELD(STATE_U32, struct lapic, icr),
			STATE_FIELD(STATE_U32, struct lapic, icr_high),
			STATE_FIELD_N(STATE_U32, struct lapic, lvt, LVT_COUNT),
			STATE_FIELD_N(STATE_U32, struct lapic, irr, 8),
			STATE_FIELD_N(STATE_U32, struct lapic, isr, 8),
			STATE_FIELD_N(STATE_U32, struct lapic, tmr, 8),
			STATE_FIELD(STATE_BOOL, struct lapic, extint_latched),
			STATE_FIELD(STATE_U32, struct lapic, timer_initial),
			STATE_FIELD(STATE_U32, struct lapic, timer_divide),
			STATE_FIELD(STATE_I64, struct lapic, timer_start_ns),
			STATE_FIELD(STATE_I64, struct lapic, timer_due_ns),
			STATE_FIELD(STATE_U64, struct lapic, tsc_deadline),
			STATE_FIELD(STATE_I64, struct lapic, tsc_offset),
			STATE_END,
		},
};

const struct device_class lapic_class = {
	.name = "apic",
	.help = "local APIC of a virtual CPU",
	.bus = DEVICE_SYSTEM,
	.internal = true,
	.size = sizeof(struct lapic),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};

struct lapic *lapic_new(const struct device_env *env, struct lapic_set *set, struct vcpu *vcpu,
			const struct lapic_config *config, struct error *err)
{
	struct lapic *apic = (struct lapic *)device_alloc(&lapic_class, env);

	apic->set = set;
	apic->vcpu = vcpu;
	apic->config = *config;
	return device_realize(&apic->device, err) < 0 ? NULL : apic;
}

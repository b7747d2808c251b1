/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's interrupt controllers: two 8259, IOAPIC, local APICs. GSI routing as on a PC: line 0 goes to the 8259
 * and to the IOAPIC's pin 2, line 2 (the cascade) nowhere, the others to both of the same number. GSIs from 24 up are
 * MSI routes of irqfds. The 8254 stays in user space: it ticks by the machine's clock like every other timer, and a
 * guest that gets its ticks late under load is better served by kvmclock than by reinjection.
 */
#include "base/util.h"
#include "cpu/kvm/internal.h"

#include <stdlib.h>
#include <sys/ioctl.h>

enum { GSI_MAX = 1024 };

static void add_chip_route(struct kvm_engine_data *kvm, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	kvm->routes->entries[kvm->routes->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = chip, .pin = pin}};
}

static void reserve(struct kvm_engine_data *kvm, uint32_t count)
{
	if (kvm->routes && count <= kvm->routes_capacity)
		return;
	kvm->routes_capacity = count < 64 ? 64 : 2 * count;
	bool first = !kvm->routes;
	kvm->routes =
		xrealloc(kvm->routes, sizeof(*kvm->routes) + kvm->routes_capacity * sizeof(kvm->routes->entries[0]));
	if (first)
		kvm->routes->nr = kvm->routes->flags = 0;
}

static int commit_routes(struct kvm_engine_data *kvm)
{
	return kvm_ioctl(kvm->vm_fd, KVM_SET_GSI_ROUTING, kvm->routes);
}

static void set_line(struct engine *engine, unsigned gsi, bool level)
{
	const struct kvm_irq_level line = {.irq = gsi, .level = level};
	if (gsi < KVM_PINS)
		kvm_ioctl(kvm_of(engine)->vm_fd, KVM_IRQ_LINE, &line);
}

static void msi_send(void *opaque, struct msi_message message)
{
	struct kvm_engine_data *kvm = opaque;
	const struct kvm_msi msi = {.address_lo = (uint32_t)message.address,
				    .address_hi = (uint32_t)(message.address >> 32),
				    .data = message.data};
	int rc = kvm_ioctl(kvm->vm_fd, KVM_SIGNAL_MSI, &msi);
	if (rc < 0)
		log_guest(kvm->engine.env.log, &kvm->msi_limit, "MSI to %#llx, data %#x: %s",
			  (unsigned long long)message.address, message.data, strerror(-rc));
}

/* Lock held. The lowest GSI from 24 up that no MSI route has. */
static int free_gsi(const struct kvm_engine_data *kvm)
{
	uint64_t used[GSI_MAX / 64] = {0};
	for (uint32_t i = 0; i < kvm->routes->nr; i++)
		used[kvm->routes->entries[i].gsi / 64] |= 1ull << kvm->routes->entries[i].gsi % 64;
	for (unsigned gsi = KVM_PINS; gsi < GSI_MAX; gsi++)
		if (!(used[gsi / 64] >> gsi % 64 & 1))
			return (int)gsi;
	return -ENOSPC;
}

/* Lock held. */
static void drop_route(struct kvm_engine_data *kvm, uint32_t gsi)
{
	struct kvm_irq_routing *routes = kvm->routes;
	for (uint32_t i = 0; i < routes->nr; i++)
		if (routes->entries[i].gsi == gsi) {
			routes->entries[i] = routes->entries[--routes->nr];
			break;
		}
	commit_routes(kvm);
}

static int route_add(void *opaque, int event_fd, struct msi_message message)
{
	struct kvm_engine_data *kvm = opaque;
	pthread_mutex_lock(&kvm->lock);
	int gsi = free_gsi(kvm), rc = gsi;
	if (gsi >= 0) {
		reserve(kvm, kvm->routes->nr + 1);
		kvm->routes->entries[kvm->routes->nr++] =
			(struct kvm_irq_routing_entry){.gsi = (uint32_t)gsi,
						       .type = KVM_IRQ_ROUTING_MSI,
						       .u.msi = {.address_lo = (uint32_t)message.address,
								 .address_hi = (uint32_t)(message.address >> 32),
								 .data = message.data}};
		rc = commit_routes(kvm);
		const struct kvm_irqfd irqfd = {.fd = (uint32_t)event_fd, .gsi = (uint32_t)gsi};
		if (!rc)
			rc = kvm_ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd);
		if (rc < 0)
			drop_route(kvm, (uint32_t)gsi);
	}
	pthread_mutex_unlock(&kvm->lock);
	return rc < 0 ? rc : gsi;
}

static void route_remove(void *opaque, int route, int event_fd)
{
	struct kvm_engine_data *kvm = opaque;
	const struct kvm_irqfd irqfd = {
		.fd = (uint32_t)event_fd, .gsi = (uint32_t)route, .flags = KVM_IRQFD_FLAG_DEASSIGN};
	if (route < KVM_PINS)
		return;
	pthread_mutex_lock(&kvm->lock);
	kvm_ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd);
	drop_route(kvm, (uint32_t)route);
	pthread_mutex_unlock(&kvm->lock);
}

static struct msi_sink irqchip_msi(struct engine *engine)
{
	return kvm_of(engine)->msi;
}

/* --- reset --- */

static void reset_local_apic(struct kvm_vcpu *v)
{
	struct kvm_lapic_state apic;
	static const uint16_t lvts[] = {0x320, 0x330, 0x340, 0x350, 0x360, 0x370};
	static const uint16_t zeroes[] = {0x80, 0xb0, 0xd0, 0x280, 0x300, 0x310, 0x380, 0x390, 0x3e0};
	if (kvm_ioctl(v->fd, KVM_GET_LAPIC, &apic) < 0)
		return;
	store_le32(apic.regs + 0x20, v->vcpu.apic_id << 24);
	for (size_t i = 0; i < ARRAY_SIZE(zeroes); i++)
		store_le32(apic.regs + zeroes[i], 0);
	for (unsigned i = 0x100; i < 0x280; i += 0x10) /* ISR, TMR, IRR */
		store_le32(apic.regs + i, 0);
	for (size_t i = 0; i < ARRAY_SIZE(lvts); i++)
		store_le32(apic.regs + lvts[i], 0x10000);
	if (v->vcpu.index == 0) /* firmware would leave the 8259 connected */
		store_le32(apic.regs + 0x350, 0x700);
	store_le32(apic.regs + 0xe0, UINT32_MAX);
	store_le32(apic.regs + 0xf0, 0xff);
	kvm_ioctl(v->fd, KVM_SET_LAPIC, &apic);
}

static void irqchip_reset(struct engine *engine)
{
	struct kvm_engine_data *kvm = kvm_of(engine);
	for (uint32_t chip = KVM_IRQCHIP_PIC_MASTER; chip <= KVM_IRQCHIP_IOAPIC; chip++) {
		struct kvm_irqchip state = {.chip_id = chip};
		if (kvm_ioctl(kvm->vm_fd, KVM_GET_IRQCHIP, &state) < 0)
			continue;
		if (chip == KVM_IRQCHIP_IOAPIC) {
			state.chip.ioapic.id = state.chip.ioapic.ioregsel = state.chip.ioapic.irr = 0;
			for (unsigned pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++)
				state.chip.ioapic.redirtbl[pin].bits = 0x10000;
		} else {
			uint8_t elcr_mask = state.chip.pic.elcr_mask;
			memset(&state.chip.pic, 0, sizeof(state.chip.pic));
			state.chip.pic.elcr_mask = elcr_mask;
		}
		kvm_ioctl(kvm->vm_fd, KVM_SET_IRQCHIP, &state);
	}
	for (unsigned i = 0; i < kvm->vcpu_count; i++)
		if (kvm->vcpus[i])
			reset_local_apic(kvm->vcpus[i]);
}

const struct engine_irqchip_ops kvm_irqchip_ops = {.set_line = set_line, .msi = irqchip_msi, .reset = irqchip_reset};

int kvm_irqchip_init(struct kvm_engine_data *kvm, struct error *err)
{
	int rc = kvm_ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, NULL);
	if (rc < 0)
		return error_set_errno(err, -rc, "KVM_CREATE_IRQCHIP");
	reserve(kvm, 2 * KVM_PINS);
	for (uint32_t line = 0; line < KVM_PINS; line++) {
		if (line == 2)
			continue;
		if (line < 16)
			add_chip_route(kvm, line, line < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, line % 8);
		add_chip_route(kvm, line, KVM_IRQCHIP_IOAPIC, line ? line : 2);
	}
	rc = commit_routes(kvm);
	if (rc < 0)
		return error_set_errno(err, -rc, "KVM_SET_GSI_ROUTING");
	kvm->msi = (struct msi_sink){.send = msi_send, .opaque = kvm};
	if (kvm_has(kvm->vm_fd, KVM_CAP_IRQFD)) {
		kvm->msi.route_add = route_add;
		kvm->msi.route_remove = route_remove;
	}
	return 0;
}

void kvm_irqchip_fini(struct kvm_engine_data *kvm)
{
	free(kvm->routes);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MSI-X (PCI Local Bus 3.0 6.8.2): the vector table and the pending bits in a BAR of their own, function and vector
 * masks, and messages to the machine's msi_sink.
 *
 * A message is sent with the lock held, so that after a guest's write that masks a vector has returned, no message of
 * that vector is under way. Where the receiver can bind an eventfd to a message (irqfd), an eventfd that a device asked
 * for is bound while its vector is unmasked; while it is not, the eventfd's own count keeps what arrives and is moved to
 * the pending bit when somebody looks.
 */
#include "device/pci/pci_internal.h"

#include "base/util.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	CONTROL_ENABLE = 1 << 15,
	CONTROL_MASK_ALL = 1 << 14,
	ENTRY_BYTES = 16,
	ENTRY_MASKED = 1, /* of the vector control word */
	NO_ROUTE = -1,
};

struct pci_msix_vector {
	int event_fd; /* -1: none */
	int route;
};

struct pci_msix {
	pthread_mutex_t lock;
	unsigned vectors;
	unsigned control; /* offset of the message control register in configuration space */
	uint32_t pba_offset;
	uint32_t table_bytes;
	atomic_bool enabled;
	bool mask_all;
	struct pci_msix_vector vector[PCI_MSIX_MAX];
};

static uint32_t *entry(struct pci_device *pci, unsigned vector)
{
	return &pci->msix_table.entries[vector * 4];
}

static bool is_masked(struct pci_device *pci, unsigned vector)
{
	return !atomic_load(&pci->msix->enabled) || pci->msix->mask_all || (entry(pci, vector)[3] & ENTRY_MASKED);
}

static struct msi_message message(struct pci_device *pci, unsigned vector)
{
	const uint32_t *words = entry(pci, vector);

	return (struct msi_message){.address = (uint64_t)words[1] << 32 | words[0], .data = words[2]};
}

static void set_pending(struct pci_device *pci, unsigned vector, bool pending)
{
	uint64_t bit = 1ull << vector % 64;

	if (pending)
		pci->msix_table.pending[vector / 64] |= bit;
	else
		pci->msix_table.pending[vector / 64] &= ~bit;
}

static bool is_pending(struct pci_device *pci, unsigned vector)
{
	return pci->msix_table.pending[vector / 64] >> vector % 64 & 1;
}

/* What arrived on an eventfd that was bound to nothing. */
static void collect_event(struct pci_device *pci, unsigned vector)
{
	const struct pci_msix_vector *v = &pci->msix->vector[vector];
	uint64_t count;

	if (v->event_fd >= 0 && v->route == NO_ROUTE && read(v->event_fd, &count, sizeof(count)) == sizeof(count))
		set_pending(pci, vector, true);
}

static void send(struct pci_device *pci, unsigned vector)
{
	const struct msi_sink *sink = &pci->bus->env->msi;

	if (sink->send && (pci_command(pci) & PCI_COMMAND_MASTER))
		sink->send(sink->opaque, message(pci, vector));
}

/* Brings route and pending bit in line with mask and table. Lock held. */
static void vector_update(struct pci_device *pci, unsigned vector, bool message_changed)
{
	const struct msi_sink *sink = &pci->bus->env->msi;
	struct pci_msix_vector *v = &pci->msix->vector[vector];
	bool masked = is_masked(pci, vector);

	if (v->route != NO_ROUTE && (masked || message_changed)) {
		sink->route_remove(sink->opaque, v->route, v->event_fd);
		v->route = NO_ROUTE;
	}
	if (masked)
		return;
	collect_event(pci, vector);
	if (v->event_fd >= 0 && v->route == NO_ROUTE) {
		v->route = sink->route_add(sink->opaque, v->event_fd, message(pci, vector));
		if (v->route < 0)
			v->route = NO_ROUTE;
	}
	if (is_pending(pci, vector)) {
		set_pending(pci, vector, false);
		send(pci, vector);
	}
}

/* --- the BAR --- */

static uint64_t msix_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pci_device *pci = opaque;
	struct pci_msix *msix = pci->msix;
	uint64_t value = 0;

	pthread_mutex_lock(&msix->lock);
	if (range_inside(offset, size, msix->table_bytes)) {
		memcpy(&value, (uint8_t *)pci->msix_table.entries + offset, size);
	} else if (offset >= msix->pba_offset &&
	           range_inside(offset - msix->pba_offset, size, sizeof(pci->msix_table.pending))) {
		for (unsigned i = 0; i < msix->vectors; i++)
			collect_event(pci, i);
		memcpy(&value, (uint8_t *)pci->msix_table.pending + (offset - msix->pba_offset), size);
	}
	pthread_mutex_unlock(&msix->lock);
	return value;
}

static void write_word(struct pci_device *pci, uint64_t offset, uint32_t value)
{
	unsigned vector = (unsigned)(offset / ENTRY_BYTES), word = offset % ENTRY_BYTES / 4;

	if (word == 0)
		value &= ~3u;
	else if (word == 3)
		value &= ENTRY_MASKED;
	entry(pci, vector)[word] = value;
	vector_update(pci, vector, word != 3);
}

/* Only whole double words can be written (6.8.2); the pending bits not at all. */
static void msix_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_device *pci = opaque;

	if (size < 4 || offset % 4 || !range_inside(offset, size, pci->msix->table_bytes))
		return;
	pthread_mutex_lock(&pci->msix->lock);
	write_word(pci, offset, (uint32_t)value);
	if (size == 8)
		write_word(pci, offset + 4, (uint32_t)(value >> 32));
	pthread_mutex_unlock(&pci->msix->lock);
}

static const struct region_ops msix_ops = {.read = msix_read, .write = msix_write};

/* --- life --- */

int pci_msix_init(struct pci_device *pci, unsigned vectors, unsigned bar, struct error *err)
{
	struct pci_msix *msix;
	uint64_t size = 4096u;
	uint32_t pba_offset = 4096u / 2;
	int capability, rc;

	if (vectors == 0 || vectors > PCI_MSIX_MAX)
		return error_set(err, EINVAL, "%u MSI-X vectors; 1 to %u are possible", vectors, PCI_MSIX_MAX);
	while (pba_offset < vectors * ENTRY_BYTES)
		pba_offset *= 2;
	while (size < pba_offset + sizeof(pci->msix_table.pending))
		size *= 2;
	msix = xcalloc(1, sizeof(*msix));
	msix->vectors = vectors;
	msix->pba_offset = pba_offset;
	msix->table_bytes = vectors * ENTRY_BYTES;
	pthread_mutex_init(&msix->lock, NULL);
	pci->msix = msix;
	for (unsigned i = 0; i < PCI_MSIX_MAX; i++)
		msix->vector[i] = (struct pci_msix_vector){.event_fd = -1, .route = NO_ROUTE};
	rc = pci_bar_add(pci, bar, PCI_BAR_MEM32, "msix", &msix_ops, pci, size, err);
	capability = rc < 0 ? rc : pci_capability_add(pci, PCI_CAP_MSIX, 12, err);
	if (capability < 0) {
		pci_msix_fini(pci);
		return capability;
	}
	msix->control = (unsigned)capability + 2;
	pci_set16(pci, msix->control, (uint16_t)(vectors - 1));
	pci->write_mask[msix->control + 1] = (CONTROL_ENABLE | CONTROL_MASK_ALL) >> 8;
	pci_set32(pci, (unsigned)capability + 4, bar);
	pci_set32(pci, (unsigned)capability + 8, pba_offset | bar);
	pci_msix_reset(pci);
	return 0;
}

void pci_msix_fini(struct pci_device *pci)
{
	struct pci_msix *msix = pci->msix;

	if (!msix)
		return;
	atomic_store(&msix->enabled, false);
	for (unsigned i = 0; i < msix->vectors; i++) {
		vector_update(pci, i, true);
		if (msix->vector[i].event_fd >= 0)
			close(msix->vector[i].event_fd);
	}
	pthread_mutex_destroy(&msix->lock);
	pci->msix = NULL;
	free(msix);
}

void pci_msix_reset(struct pci_device *pci)
{
	struct pci_msix *msix = pci->msix;

	if (!msix)
		return;
	pthread_mutex_lock(&msix->lock);
	memset(&pci->msix_table, 0, sizeof(pci->msix_table));
	for (unsigned i = 0; i < msix->vectors; i++)
		entry(pci, i)[3] = ENTRY_MASKED;
	pthread_mutex_unlock(&msix->lock);
	pci_msix_config_changed(pci);
}

void pci_msix_config_changed(struct pci_device *pci)
{
	struct pci_msix *msix = pci->msix;
	uint16_t control = pci_get16(pci, msix->control);

	pthread_mutex_lock(&msix->lock);
	atomic_store(&msix->enabled, control & CONTROL_ENABLE);
	msix->mask_all = control & CONTROL_MASK_ALL;
	for (unsigned i = 0; i < msix->vectors; i++)
		vector_update(pci, i, false);
	pthread_mutex_unlock(&msix->lock);
}

bool pci_msix_enabled(const struct pci_device *pci)
{
	return pci->msix && atomic_load(&pci->msix->enabled);
}

unsigned pci_msix_vectors(const struct pci_device *pci)
{
	return pci->msix ? pci->msix->vectors : 0;
}

void pci_msix_notify(struct pci_device *pci, unsigned vector)
{
	struct pci_msix *msix = pci->msix;

	if (!pci_msix_enabled(pci) || vector >= msix->vectors)
		return;
	pthread_mutex_lock(&msix->lock);
	if (is_masked(pci, vector))
		set_pending(pci, vector, true);
	else
		send(pci, vector);
	pthread_mutex_unlock(&msix->lock);
}

int pci_msix_eventfd(struct pci_device *pci, unsigned vector)
{
	struct pci_msix *msix = pci->msix;
	int fd;

	if (!msix || vector >= msix->vectors || !pci->bus->env->msi.route_add)
		return -1;
	pthread_mutex_lock(&msix->lock);
	if (msix->vector[vector].event_fd < 0) {
		msix->vector[vector].event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		vector_update(pci, vector, false);
	}
	fd = msix->vector[vector].event_fd;
	pthread_mutex_unlock(&msix->lock);
	return fd;
}

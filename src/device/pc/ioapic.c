/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The I/O APIC (Intel 82093AA data sheet, order 290566): 24 pins, edge and level, remote IRR, delivery by message.
 * Left out: the serial APIC bus and its arbitration id (reads as the id). An edge on a masked pin is lost, as on the
 * chip.
 *
 * Where a level pin is still high at the EOI, a real machine's next message takes a while, in which the code that was
 * interrupted gets on a little. Here it would come before the next instruction, and for ever where a driver leaves it to
 * that code to quiet the device (Linux's 8139cp, when an interrupt comes between napi_complete_done and the write of IntrMask
 * in cp_rx_poll). So a pin that does this many times in a row has to wait.
 */
#include "device/pc/ioapic.h"

#include "base/util.h"
#include "core/clock.h"
#include "device/pc/isa.h"

#include <pthread.h>

enum { VERSION = 0x11 | (IOAPIC_PINS - 1) << 16 };
enum { SELECT = 0x00, WINDOW = 0x10 };
enum { INDEX_ID, INDEX_VERSION, INDEX_ARBITRATION, INDEX_TABLE = 0x10 };

#define ENTRY_MODE(entry) ((unsigned)((entry) >> 8 & 7))
#define ENTRY_LOGICAL     (1ull << 11)
#define ENTRY_REMOTE_IRR  (1ull << 14)
#define ENTRY_LEVEL       (1ull << 15)
#define ENTRY_MASKED      (1ull << 16)
#define ENTRY_WRITABLE    0xff0000000001afffull

enum { STORM_MESSAGES = 1000, STORM_WAIT_NS = 2000000 };

struct ioapic {
	struct device device;
	pthread_mutex_t lock;
	struct msi_sink msi;
	uint64_t table[IOAPIC_PINS];
	uint32_t lines; /* level at the pins */
	uint8_t select, id;
	uint64_t raised[IOAPIC_PINS]; /* since the machine was made; for people only, not part of the state */
	unsigned storm[IOAPIC_PINS]; /* EOIs in a row that found the pin high; not part of the state */
	struct clock_timer storm_end;
	struct region region;
};

/* Lowest priority is expressed as the redirection hint that MSI has for it. */
static void send(struct ioapic *ioapic, uint64_t entry)
{
	bool lowest = ENTRY_MODE(entry) == 1;
	struct msi_message message = {
		.address = 0xfee00000ull | (entry >> 56) << 12 | (entry & ENTRY_LOGICAL ? 4 : 0) | (lowest ? 8 : 0),
		.data = (uint32_t)(entry & 0x7ff) | (entry & ENTRY_LEVEL ? 0xc000 : 0),
	};

	ioapic->msi.send(ioapic->msi.opaque, message);
}

/* The other delivery modes are edge triggered whatever the bit says. */
static bool is_level(uint64_t entry)
{
	return entry & ENTRY_LEVEL && ENTRY_MODE(entry) <= 1;
}

/* A level pin that is high and not in service, or an edge that just came. */
static void service(struct ioapic *ioapic, unsigned pin)
{
	uint64_t *entry = &ioapic->table[pin];

	if (*entry & ENTRY_MASKED)
		return;
	if (is_level(*entry)) {
		if (!(ioapic->lines >> pin & 1) || *entry & ENTRY_REMOTE_IRR)
			return;
		*entry |= ENTRY_REMOTE_IRR;
	}
	send(ioapic, *entry);
}

static void set_pin(void *opaque, unsigned pin, bool level)
{
	struct ioapic *ioapic = opaque;
	uint32_t bit = 1u << pin;
	bool rising;

	pthread_mutex_lock(&ioapic->lock);
	rising = level && !(ioapic->lines & bit);
	ioapic->lines = level ? ioapic->lines | bit : ioapic->lines & ~bit;
	if (rising) {
		ioapic->raised[pin]++;
		service(ioapic, pin);
	}
	pthread_mutex_unlock(&ioapic->lock);
}

struct irq ioapic_pin(struct ioapic *ioapic, unsigned pin)
{
	return (struct irq){.set = set_pin, .opaque = ioapic, .line = pin};
}

static void wait_out_storm(struct ioapic *ioapic)
{
	clock_timer_set(&ioapic->storm_end, clock_now(ioapic->device.env->clock) + STORM_WAIT_NS);
}

static void storm_ended(void *opaque)
{
	struct ioapic *ioapic = opaque;

	pthread_mutex_lock(&ioapic->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		if (is_level(ioapic->table[pin]))
			service(ioapic, pin);
	pthread_mutex_unlock(&ioapic->lock);
}

/* A level pin that may send again. */
static void service_again(struct ioapic *ioapic, unsigned pin)
{
	if (!(ioapic->lines >> pin & 1)) {
		ioapic->storm[pin] = 0;
	} else if (++ioapic->storm[pin] == STORM_MESSAGES) {
		ioapic->storm[pin] = 0;
		wait_out_storm(ioapic);
	} else {
		service(ioapic, pin);
	}
}

void ioapic_eoi(void *opaque, uint8_t vector)
{
	struct ioapic *ioapic = opaque;

	pthread_mutex_lock(&ioapic->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t *entry = &ioapic->table[pin];

		if ((*entry & 0xff) != vector || !(*entry & ENTRY_REMOTE_IRR))
			continue;
		*entry &= ~ENTRY_REMOTE_IRR;
		service_again(ioapic, pin);
	}
	pthread_mutex_unlock(&ioapic->lock);
}

static uint32_t read_index(struct ioapic *ioapic, unsigned index)
{
	unsigned pin = (index - INDEX_TABLE) / 2;

	if (index >= INDEX_TABLE && pin < IOAPIC_PINS)
		return (uint32_t)(ioapic->table[pin] >> (index & 1 ? 32 : 0));
	switch (index) {
	case INDEX_ID:
	case INDEX_ARBITRATION:
		return (uint32_t)ioapic->id << 24;
	case INDEX_VERSION:
		return VERSION;
	}
	return 0;
}

static void write_entry(struct ioapic *ioapic, unsigned pin, bool high, uint32_t value)
{
	uint64_t old = ioapic->table[pin];
	uint64_t entry = high ? (uint64_t)value << 32 | (uint32_t)old : (old & ~0xffffffffull) | value;

	entry = (entry & ENTRY_WRITABLE) | (old & ENTRY_REMOTE_IRR);
	/* Edge mode has no remote IRR; software without a way to send an EOI uses that to clear it. */
	if (!is_level(entry))
		entry &= ~ENTRY_REMOTE_IRR;
	ioapic->table[pin] = entry;
	if (is_level(entry))
		service(ioapic, pin);
}

static void write_index(struct ioapic *ioapic, unsigned index, uint32_t value)
{
	unsigned pin = (index - INDEX_TABLE) / 2;

	if (index == INDEX_ID)
		ioapic->id = value >> 24 & 0xf;
	else if (index >= INDEX_TABLE && pin < IOAPIC_PINS)
		write_entry(ioapic, pin, index & 1, value);
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ioapic *ioapic = opaque;
	uint64_t value = 0;

	pthread_mutex_lock(&ioapic->lock);
	if (offset == SELECT)
		value = ioapic->select;
	else if (offset == WINDOW)
		value = read_index(ioapic, ioapic->select);
	pthread_mutex_unlock(&ioapic->lock);
	return value;
}

static void mmio_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct ioapic *ioapic = opaque;

	pthread_mutex_lock(&ioapic->lock);
	if (offset == SELECT)
		ioapic->select = (uint8_t)value;
	else if (offset == WINDOW && size == 4)
		write_index(ioapic, ioapic->select, (uint32_t)value);
	pthread_mutex_unlock(&ioapic->lock);
}

static const struct region_ops ops = {.read = mmio_read, .write = mmio_write, .min_width = 4, .max_width = 4};

static void reset(struct device *device)
{
	struct ioapic *ioapic = (struct ioapic *)device;

	pthread_mutex_lock(&ioapic->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->table[pin] = ENTRY_MASKED;
	memset(ioapic->storm, 0, sizeof(ioapic->storm));
	clock_timer_cancel(&ioapic->storm_end);
	ioapic->select = ioapic->id = 0;
	pthread_mutex_unlock(&ioapic->lock);
}

static int init(struct device *device, struct error *err)
{
	struct ioapic *ioapic = (struct ioapic *)device;

	pthread_mutex_init(&ioapic->lock, NULL);
	clock_timer_init(&ioapic->storm_end, device->env->clock, storm_ended, ioapic);
	reset(device);
	ioapic->region = (struct region){"ioapic", &ops, ioapic, IOAPIC_BASE, 0x1000, 0};
	return bus_add(device->env->memory, &ioapic->region, err);
}

static void fini(struct device *device)
{
	struct ioapic *ioapic = (struct ioapic *)device;

	bus_remove(device->env->memory, &ioapic->region);
	clock_timer_cancel_sync(&ioapic->storm_end);
}

static int check(const void *staged, struct error *err)
{
	const struct ioapic *ioapic = staged;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t entry = ioapic->table[pin];

		if (entry & ~(ENTRY_WRITABLE | ENTRY_REMOTE_IRR) || (entry & ENTRY_REMOTE_IRR && !is_level(entry)))
			return error_set(err, EINVAL, "entry %u is 0x%llx", pin, (unsigned long long)entry);
	}
	if (ioapic->lines >> IOAPIC_PINS || ioapic->id > 0xf)
		return error_set(err, EINVAL, "lines 0x%x or id %u out of range", ioapic->lines, ioapic->id);
	return 0;
}

/* A pin that waits is high without remote IRR; it waits anew. */
static void after_load(void *object)
{
	struct ioapic *ioapic = object;

	pthread_mutex_lock(&ioapic->lock);
	wait_out_storm(ioapic);
	pthread_mutex_unlock(&ioapic->lock);
}

static const struct state_table state = {
	.name = "ioapic",
	.version = 1,
	.size = sizeof(struct ioapic),
	.check = check,
	.after_load = after_load,
	.fields =
		(const struct state_field[]){
			STATE_FIELD_N(STATE_U64, struct ioapic, table, IOAPIC_PINS),
			STATE_FIELD(STATE_U32, struct ioapic, lines),
			STATE_FIELD(STATE_U8, struct ioapic, select),
			STATE_FIELD(STATE_U8, struct ioapic, id),
			STATE_END,
		},
};

static void describe_pins(FILE *to, const char *name, uint32_t pins)
{
	fprintf(to, "  %s ", name);
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		if (pins >> i & 1)
			fprintf(to, "%u ", i);
	fprintf(to, "%s\n", pins ? "" : "(none)");
}

void ioapic_count(struct ioapic *ioapic, uint64_t counts[IOAPIC_PINS])
{
	pthread_mutex_lock(&ioapic->lock);
	memcpy(counts, ioapic->raised, sizeof(ioapic->raised));
	pthread_mutex_unlock(&ioapic->lock);
}

void ioapic_describe(struct ioapic *ioapic, FILE *to)
{
	static const char *const modes[] = {"fixed", "lowest", "SMI", "...", "NMI", "INIT", "...", "extINT"};
	uint32_t remote = 0, requests = 0;

	pthread_mutex_lock(&ioapic->lock);
	fprintf(to, "ioapic0: ver=0x%x id=0x%02x sel=0x%02x", VERSION & 0xff, ioapic->id, ioapic->select);
	if (ioapic->select >= INDEX_TABLE)
		fprintf(to, " (redir[%u])", (ioapic->select - INDEX_TABLE) >> 1);
	fprintf(to, "\n");
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		uint64_t entry = ioapic->table[i];

		fprintf(to, "  pin %-2u 0x%016llx dest=%llx vec=%-3u %s %-5s %-6s %-6s %s\n", i, (unsigned long long)entry,
			(unsigned long long)(entry >> 56), (unsigned)(entry & 0xff), entry >> 13 & 1 ? "active-lo" : "active-hi",
			entry & ENTRY_LEVEL ? "level" : "edge", entry & ENTRY_MASKED ? "masked" : "", modes[ENTRY_MODE(entry)],
			entry & ENTRY_LOGICAL ? "logical" : "physical");
		remote |= (uint32_t)!!(entry & ENTRY_REMOTE_IRR) << i;
		/* An edge is sent or lost at once; a level waits, masked or not. */
		requests |= is_level(entry) ? ioapic->lines & 1u << i : 0;
	}
	describe_pins(to, "IRR     ", requests);
	describe_pins(to, "Remote IRR", remote);
	pthread_mutex_unlock(&ioapic->lock);
}

const struct device_class ioapic_class = {
	.name = "ioapic",
	.help = "82093AA I/O interrupt controller",
	.bus = DEVICE_SYSTEM,
	.internal = true,
	.size = sizeof(struct ioapic),
	.state = &state,
	.init = init,
	.reset = reset,
	.fini = fini,
};

struct ioapic *ioapic_new(const struct device_env *env, struct msi_sink msi, struct error *err)
{
	struct ioapic *ioapic = (struct ioapic *)device_alloc(&ioapic_class, env);

	ioapic->msi = msi;
	return device_realize(&ioapic->device, err) < 0 ? NULL : ioapic;
}

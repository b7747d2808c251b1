/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory and the points at which the guest stops. Addresses are the chosen vCPU's virtual ones, or physical ones
 * (Qqemu.PhyMemMode). A debugger's look must not change a device: of those it reads what such a look
 * does not change.
 */
#include "control/gdb/internal.h"

#include "base/util.h"
#include "core/engine.h"
#include "core/ram.h"
#include "machine/inspect.h"

#include <stdlib.h>

struct transfer {
	struct gdb *gdb;
	uint64_t address;
	uint8_t *bytes;
	size_t length;
	bool physical, write, failed;
};

/* Within a page. Also ROM, which only the guest cannot write: firmware is patched so. */
static bool write_page(struct ram *ram, uint64_t gpa, const uint8_t *bytes, size_t length)
{
	const struct ram_slot *slot = ram_find(ram, gpa);

	if (!slot || !slot->read_only)
		return ram_write(ram, gpa, bytes, length) == 0;
	memcpy(slot->hva + (gpa - slot->gpa), bytes, length);
	ram_block_written(slot->block, slot->offset + (gpa - slot->gpa), length);
	return true;
}

/* In the vCPU's thread: its page tables stand still then. */
static void transfer_memory(struct vcpu *vcpu, void *opaque)
{
	struct transfer *transfer = opaque;
	struct ram *ram = transfer->gdb->machine->ram;
	size_t done = 0;

	while (done < transfer->length && !transfer->failed) {
		uint64_t at = transfer->address + done, gpa = at;
		size_t run = (size_t)min_u64(transfer->length - done, PAGE_SIZE - at % PAGE_SIZE);

		if (!transfer->physical && vcpu->engine->ops->translate_gva(vcpu, at, &gpa) < 0)
			transfer->failed = true;
		else if (transfer->write)
			transfer->failed = !write_page(ram, gpa, transfer->bytes + done, run);
		else
			transfer->failed = inspect_memory(transfer->gdb->machine, gpa, transfer->bytes + done, run) < 0;
		done += run;
	}
}

static bool carry_out(struct transfer *transfer)
{
	struct machine *machine = transfer->gdb->machine;

	machine_vcpu_call(machine, machine->vcpus[transfer->gdb->cpu], transfer_memory, transfer);
	return !transfer->failed;
}

bool gdb_read_gva(struct gdb *gdb, uint64_t gva, uint8_t *bytes, size_t length)
{
	struct transfer transfer = {.gdb = gdb, .address = gva, .bytes = bytes, .length = length};

	return carry_out(&transfer);
}

static bool take_range(const char **text, uint64_t *address, uint64_t *length)
{
	if (!gdb_take_number(text, address) || *(*text)++ != ',')
		return false;
	return gdb_take_number(text, length);
}

void gdb_read_memory(struct gdb *gdb, const char *text)
{
	uint8_t bytes[GDB_PACKET_MAX / 2]; /* gdb asks for what fills a packet */
	struct transfer transfer = {.gdb = gdb, .bytes = bytes, .physical = gdb->physical_memory};
	uint64_t length;

	if (!take_range(&text, &transfer.address, &length) || length > sizeof(bytes)) {
		gdb_put(&gdb->reply, "E22");
		return;
	}
	transfer.length = (size_t)length;
	if (carry_out(&transfer))
		gdb_put_hex(&gdb->reply, bytes, transfer.length);
	else
		gdb_put(&gdb->reply, "E14");
}

void gdb_write_memory(struct gdb *gdb, const char *text, bool binary)
{
	uint8_t bytes[GDB_PACKET_MAX];
	struct transfer transfer = {.gdb = gdb, .bytes = bytes, .physical = gdb->physical_memory, .write = true};
	uint64_t length;

	if (!take_range(&text, &transfer.address, &length) || *text++ != ':' || length > sizeof(bytes)) {
		gdb_put(&gdb->reply, "E22");
		return;
	}
	transfer.length = (size_t)length;
	if (binary) {
		const char *end = (const char *)gdb->packet + gdb->packet_length;

		if ((size_t)(end - text) != transfer.length) {
			gdb_put(&gdb->reply, "E22");
			return;
		}
		memcpy(bytes, text, transfer.length);
	} else if (!gdb_take_hex(&text, bytes, transfer.length)) {
		gdb_put(&gdb->reply, "E22");
		return;
	}
	gdb_put(&gdb->reply, carry_out(&transfer) ? "OK" : "E14");
}

/* --- points --- */

static const enum debug_kind kinds[] = {
	[GDB_SOFTWARE] = DEBUG_EXECUTE, [GDB_HARDWARE] = DEBUG_EXECUTE, [GDB_WRITE] = DEBUG_WRITE,
	[GDB_READ] = DEBUG_READ,        [GDB_ACCESS] = DEBUG_ACCESS,
};

static int tell_engine(struct gdb *gdb)
{
	struct debug_points *points = xcalloc(1, sizeof(*points) + gdb->point_count * sizeof(points->point[0]));
	int ret;

	for (size_t i = 0; i < gdb->point_count; i++)
		points->point[points->count++] = (struct debug_point){
			.kind = kinds[gdb->points[i].type], .gva = gdb->points[i].gva, .bytes = gdb->points[i].bytes};
	ret = engine_debug(gdb->machine->engine, points, NULL);
	free(points);
	return ret;
}

static bool same_point(const struct gdb_point *a, const struct gdb_point *b)
{
	return a->type == b->type && a->gva == b->gva && a->bytes == b->bytes;
}

static void insert_point(struct gdb *gdb, const struct gdb_point *point)
{
	if (gdb->point_count == GDB_POINTS_MAX) {
		gdb_put(&gdb->reply, "E28");
		return;
	}
	gdb->points[gdb->point_count++] = *point;
	if (tell_engine(gdb) == 0) {
		gdb_put(&gdb->reply, "OK");
		return;
	}
	gdb->point_count--;
	gdb_put(&gdb->reply, "E28");
}

static void remove_point(struct gdb *gdb, const struct gdb_point *point)
{
	for (size_t i = 0; i < gdb->point_count; i++) {
		if (!same_point(&gdb->points[i], point))
			continue;
		gdb->points[i] = gdb->points[--gdb->point_count];
		tell_engine(gdb);
		gdb_put(&gdb->reply, "OK");
		return;
	}
	gdb_put(&gdb->reply, "E02");
}

void gdb_point(struct gdb *gdb, const char *text, bool insert)
{
	struct gdb_point point = {.type = (enum gdb_point_type)(*text - '0')};

	if (*text < '0' || *text > '4')
		return; /* not known: an empty answer */
	text++;
	if (*text++ != ',' || !take_range(&text, &point.gva, &point.bytes)) {
		gdb_put(&gdb->reply, "E22");
		return;
	}
	/* The kind of a breakpoint says which instruction a stub would patch in. */
	if (point.type <= GDB_HARDWARE || !point.bytes)
		point.bytes = 1;
	if (insert)
		insert_point(gdb, &point);
	else
		remove_point(gdb, &point);
}

void gdb_forget_points(struct gdb *gdb)
{
	gdb->point_count = 0;
	tell_engine(gdb);
}

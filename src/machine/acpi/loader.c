/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The linker/loader script of etc/table-loader: commands of 128 bytes that firmware carries out in order. ALLOCATE
 * loads a file into memory of a zone, ADD_POINTER adds a file's address to a little-endian number in another,
 * ADD_CHECKSUM makes a range sum up to 0, WRITE_POINTER writes a file's address into a fw_cfg file. The form is that of qemu's hw/acpi/bios-linker-loader and of SeaBIOS'
 * romfile_loader.
 */
#include "machine/acpi/loader.h"

#include "base/util.h"

#include <stdlib.h>

enum { COMMAND_BYTES = 128, NAME_BYTES = 56 };
enum { ALLOCATE = 1, ADD_POINTER = 2, ADD_CHECKSUM = 3, WRITE_POINTER = 4 };
enum { ZONE_HIGH = 1, ZONE_F_SEGMENT = 2 };
enum { TABLES_ALIGN = 64, RSDP_ALIGN = 16 };
enum { VMGENID_ALIGN = 4096, VMGENID_OFFSET = 40 };

struct script {
	uint8_t *bytes;
	size_t length;
};

static uint8_t *command(struct script *script, uint32_t what)
{
	uint8_t *at;

	script->bytes = xrealloc(script->bytes, script->length + COMMAND_BYTES);
	at = script->bytes + script->length;
	memset(at, 0, COMMAND_BYTES);
	store_le32(at, what);
	script->length += COMMAND_BYTES;
	return at + 4;
}

static void put_name(uint8_t *at, const char *name)
{
	memcpy(at, name, strlen(name));
}

static void allocate(struct script *script, const char *name, uint32_t align, uint8_t zone)
{
	uint8_t *at = command(script, ALLOCATE);

	put_name(at, name);
	store_le32(at + NAME_BYTES, align);
	at[NAME_BYTES + 4] = zone;
}

static void add_pointer(struct script *script, const char *in, const char *to, uint32_t offset, uint8_t size)
{
	uint8_t *at = command(script, ADD_POINTER);

	put_name(at, in);
	put_name(at + NAME_BYTES, to);
	store_le32(at + 2 * NAME_BYTES, offset);
	at[2 * NAME_BYTES + 4] = size;
}

static void add_checksum(struct script *script, const char *in, uint32_t result, uint32_t start, uint32_t length)
{
	uint8_t *at = command(script, ADD_CHECKSUM);

	put_name(at, in);
	store_le32(at + NAME_BYTES, result);
	store_le32(at + NAME_BYTES + 4, start);
	store_le32(at + NAME_BYTES + 8, length);
}

/* Tells the VMM, through a file that can be written, where firmware put another one. */
static void write_pointer(struct script *script, const char *in, const char *of, uint32_t offset)
{
	uint8_t *at = command(script, WRITE_POINTER);

	put_name(at, in);
	put_name(at + NAME_BYTES, of);
	store_le32(at + 2 * NAME_BYTES + 4, offset);
	at[2 * NAME_BYTES + 8] = 8;
}

/* An offset in the block becomes one in the file that it belongs to. */
static const char *file_of(const struct acpi_tables *tables, uint32_t *offset)
{
	if (*offset < tables->rsdp)
		return ACPI_TABLES_FILE;
	*offset -= (uint32_t)tables->rsdp;
	return ACPI_RSDP_FILE;
}

uint8_t *acpi_loader_script(const struct acpi_tables *tables, size_t *length)
{
	struct script script = {0};

	allocate(&script, ACPI_RSDP_FILE, RSDP_ALIGN, ZONE_F_SEGMENT);
	allocate(&script, ACPI_TABLES_FILE, TABLES_ALIGN, ZONE_HIGH);
	for (unsigned i = 0; i < tables->pointer_count; i++) {
		uint32_t offset = tables->pointers[i].offset;
		const char *in = file_of(tables, &offset);

		add_pointer(&script, in, ACPI_TABLES_FILE, offset, tables->pointers[i].size);
	}
	if (tables->vmgenid) {
		allocate(&script, ACPI_VMGENID_FILE, VMGENID_ALIGN, ZONE_HIGH);
		add_pointer(&script, ACPI_TABLES_FILE, ACPI_VMGENID_FILE, tables->vmgenid, 4);
		write_pointer(&script, ACPI_VMGENID_ADDRESS, ACPI_VMGENID_FILE, VMGENID_OFFSET);
	}
	for (unsigned i = 0; i < tables->sum_count; i++) {
		uint32_t at = tables->sums[i].at, start = tables->sums[i].start;
		const char *in = file_of(tables, &at);

		file_of(tables, &start);
		add_checksum(&script, in, at, start, tables->sums[i].length);
	}
	*length = script.length;
	return script.bytes;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tables are appended to one block; each begins at a multiple of 64 bytes. Addresses are known from the start because
 * the caller says where the block will lie.
 */
#include "machine/acpi/acpi.h"

#include "base/util.h"
#include "machine/acpi/dsdt.h"

#include <stdlib.h>

#define ACPI_HEADER_BYTES 36
#define ACPI_MAX_TABLES 8
#define LOCAL_APIC_BASE 0xfee00000
#define IO_APIC_BASE 0xfec00000
#define HPET_BASE 0xfed00000

struct acpi_block {
	struct aml out; /* a growing buffer serves tables as well */
	uint64_t base;
	struct acpi_tables *tables;
};

static void put8(struct acpi_block *block, uint8_t value)
{
	aml_byte(&block->out, value);
}

static void put16(struct acpi_block *block, uint16_t value)
{
	aml_bytes(&block->out, &value, 2);
}

static void put32(struct acpi_block *block, uint32_t value)
{
	aml_bytes(&block->out, &value, 4);
}

static void put64(struct acpi_block *block, uint64_t value)
{
	aml_bytes(&block->out, &value, 8);
}

/* Of something in this block. */
static void put_pointer(struct acpi_block *block, uint64_t gpa, uint8_t bytes)
{
	struct acpi_tables *tables = block->tables;

	tables->pointers[tables->pointer_count].offset = (uint32_t)block->out.length;
	tables->pointers[tables->pointer_count++].size = bytes;
	aml_bytes(&block->out, &gpa, bytes);
}

static void put_zeroes(struct acpi_block *block, size_t count)
{
	while (count--)
		put8(block, 0);
}

static uint8_t checksum(const uint8_t *bytes, size_t count)
{
	uint8_t sum = 0;

	while (count--)
		sum += *bytes++;
	return -sum;
}

/*
 * Writes the checksum of [start, +count) at `at`, where there is a zero. Firmware that relocates the tables expects the zero
 * and computes the sum itself: OVMF takes the sum over whatever stands there, and a table whose sum is wrong for none.
 */
static void put_sum(struct acpi_block *block, size_t at, size_t start, size_t count)
{
	struct acpi_tables *tables = block->tables;

	if (block->base)
		block->out.data[at] = checksum(block->out.data + start, count);
	tables->sums[tables->sum_count].at = (uint32_t)at;
	tables->sums[tables->sum_count].start = (uint32_t)start;
	tables->sums[tables->sum_count++].length = (uint32_t)count;
}

/* 5.2.6: the header of every description table. */
static size_t table_begin(struct acpi_block *block, const char signature[4], uint8_t revision)
{
	size_t start;

	while (block->out.length % 64)
		put8(block, 0);
	start = block->out.length;
	aml_bytes(&block->out, signature, 4);
	put32(block, 0); /* length */
	put8(block, revision);
	put8(block, 0); /* checksum */
	aml_bytes(&block->out, "XUNI  ", 6);
	aml_bytes(&block->out, "XUNIPC  ", 8);
	put32(block, 1);
	aml_bytes(&block->out, "XUNI", 4);
	put32(block, 1);
	return start;
}

static uint64_t table_end(struct acpi_block *block, size_t start)
{
	uint8_t *table = block->out.data + start;

	store_le32(table + 4, block->out.length - start);
	put_sum(block, start + 9, start, block->out.length - start);
	return block->base + start;
}

/* 5.2.3.2: generic address structure of an I/O port. */
static void put_port(struct acpi_block *block, uint16_t port, uint8_t bits)
{
	put8(block, port ? 1 : 0);
	put8(block, port ? bits : 0);
	put8(block, 0);
	put8(block, port ? (bits == 8 ? 1 : bits == 16 ? 2 : 3) : 0);
	put64(block, port);
}

static uint64_t write_facs(struct acpi_block *block)
{
	size_t start;

	while (block->out.length % 64)
		put8(block, 0);
	start = block->out.length;
	aml_bytes(&block->out, "FACS", 4);
	put32(block, 64);
	put_zeroes(block, 56);
	return block->base + start;
}

static uint64_t write_dsdt(struct acpi_block *block, const struct acpi_config *config)
{
	size_t start = table_begin(block, "DSDT", 2);

	dsdt_write(config, &block->out);
	return table_end(block, start);
}

/* 5.2.9; revision 3 is what every system since 2002 understands. */
static uint64_t write_fadt(struct acpi_block *block, const struct acpi_config *config, uint64_t facs, uint64_t dsdt)
{
	enum { WBINVD = 1 << 0, C1 = 1 << 2, SLEEP_BUTTON_ABSENT = 1 << 5, RTC_NOT_FIXED = 1 << 6, TIMER_32_BITS = 1 << 8,
	       RESET = 1 << 10 };
	enum { LEGACY_DEVICES = 1 << 0, HAS_8042 = 1 << 1, NO_VGA = 1 << 2 };
	size_t start = table_begin(block, "FACP", 3);

	put_pointer(block, facs, 4);
	put_pointer(block, dsdt, 4);
	put8(block, 0);
	put8(block, 0);
	put16(block, config->sci_irq);
	put32(block, config->smi_command);
	put8(block, config->acpi_enable);
	put8(block, config->acpi_disable);
	put8(block, 0); /* S4BIOS_REQ */
	put8(block, 0); /* PSTATE_CNT */
	put32(block, config->pm_event);
	put32(block, 0);
	put32(block, config->pm_control);
	put32(block, 0);
	put32(block, 0);
	put32(block, config->pm_timer);
	put32(block, config->gpe0);
	put32(block, 0);
	put8(block, 4);
	put8(block, 2);
	put8(block, 0);
	put8(block, 4);
	put8(block, config->gpe0_bytes);
	put8(block, 0);
	put8(block, 0);
	put8(block, 0);
	put16(block, 0xfff); /* no C2 */
	put16(block, 0xfff); /* no C3 */
	put16(block, 0);
	put16(block, 0);
	put8(block, 0);
	put8(block, 0);
	put8(block, 0);    /* DAY_ALRM */
	put8(block, 0);    /* MON_ALRM */
	put8(block, 0x32); /* CENTURY in CMOS */
	put16(block, LEGACY_DEVICES | HAS_8042 | (config->vga ? 0 : NO_VGA));
	put8(block, 0);
	put32(block, WBINVD | C1 | SLEEP_BUTTON_ABSENT | RTC_NOT_FIXED | TIMER_32_BITS |
	                     (config->reset_port ? RESET : 0));
	put_port(block, config->reset_port, 8);
	put8(block, config->reset_value);
	put_zeroes(block, 3);
	put_pointer(block, facs, 8);
	put_pointer(block, dsdt, 8);
	put_port(block, config->pm_event, 32);
	put_port(block, 0, 0);
	put_port(block, config->pm_control, 16);
	put_port(block, 0, 0);
	put_port(block, 0, 0);
	put_port(block, config->pm_timer, 32);
	put_port(block, config->gpe0, 32);
	put_port(block, 0, 0);
	return table_end(block, start);
}

static void put_interrupt_override(struct acpi_block *block, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	put8(block, 2);
	put8(block, 10);
	put8(block, 0);
	put8(block, irq);
	put32(block, gsi);
	put16(block, flags);
}

static void put_processor(struct acpi_block *block, unsigned uid, uint32_t apic_id, bool enabled)
{
	if (apic_id < 255) {
		put8(block, 0);
		put8(block, 8);
		put8(block, uid);
		put8(block, apic_id);
		put32(block, enabled);
	} else {
		put8(block, 9);
		put8(block, 16);
		put16(block, 0);
		put32(block, apic_id);
		put32(block, enabled);
		put32(block, uid);
	}
}

/* 5.2.12 */
static uint64_t write_madt(struct acpi_block *block, const struct acpi_config *config)
{
	enum { ACTIVE_HIGH_LEVEL = 0xd };
	size_t start = table_begin(block, "APIC", 3);

	put32(block, LOCAL_APIC_BASE);
	put32(block, 1); /* PCAT_COMPAT: there are 8259s */
	for (unsigned i = 0; i < config->max_vcpus; i++)
		put_processor(block, i, config->apic_ids[i], i < config->vcpus);
	put8(block, 1);
	put8(block, 12);
	put8(block, 0);
	put8(block, 0);
	put32(block, IO_APIC_BASE);
	put32(block, 0);
	put_interrupt_override(block, 0, 2, 0);
	for (uint8_t irq = 5; irq <= 11; irq++)
		if (irq == config->sci_irq || irq == config->intx_gsi[0] || irq == config->intx_gsi[1] ||
		    irq == config->intx_gsi[2] || irq == config->intx_gsi[3])
			put_interrupt_override(block, irq, irq, ACTIVE_HIGH_LEVEL);
	put8(block, 4); /* LINT1 is NMI on all processors */
	put8(block, 6);
	put8(block, 0xff);
	put16(block, 0);
	put8(block, 1);
	return table_end(block, start);
}

/* IA-PC HPET 1.0a, 3.2.4 */
static uint64_t write_hpet(struct acpi_block *block)
{
	size_t start = table_begin(block, "HPET", 1);

	put32(block, 0x8086a201);
	put8(block, 0);
	put8(block, 0);
	put8(block, 0);
	put8(block, 0);
	put64(block, HPET_BASE);
	put8(block, 0);
	put16(block, 0);
	put8(block, 0);
	return table_end(block, start);
}

/* Windows ACPI Emulated Devices Table: the RTC and the PM timer need no double reads here. */
static uint64_t write_waet(struct acpi_block *block)
{
	size_t start = table_begin(block, "WAET", 1);

	put32(block, 1 << 1 | 1 << 0);
	return table_end(block, start);
}

static uint64_t write_root(struct acpi_block *block, const char signature[4], uint8_t entry_bytes,
                           const uint64_t *tables, unsigned count)
{
	size_t start = table_begin(block, signature, 1);

	for (unsigned i = 0; i < count; i++)
		put_pointer(block, tables[i], entry_bytes);
	return table_end(block, start);
}

/* 5.2.5.3 */
static size_t write_rsdp(struct acpi_block *block, uint64_t rsdt, uint64_t xsdt)
{
	size_t start;

	while (block->out.length % 16)
		put8(block, 0);
	start = block->out.length;
	aml_bytes(&block->out, "RSD PTR ", 8);
	put8(block, 0);
	aml_bytes(&block->out, "XUNI  ", 6);
	put8(block, 2);
	put_pointer(block, rsdt, 4);
	put32(block, 36);
	put_pointer(block, xsdt, 8);
	put8(block, 0);
	put_zeroes(block, 3);
	put_sum(block, start + 8, start, 20);
	put_sum(block, start + 32, start, 36);
	return start;
}

void acpi_build(const struct acpi_config *config, uint64_t base, struct acpi_tables *out)
{
	struct acpi_block block = {.base = base, .tables = out};
	uint64_t tables[ACPI_MAX_TABLES], rsdt, xsdt, facs, dsdt;
	unsigned count = 0;

	*out = (struct acpi_tables){0};
	facs = write_facs(&block);
	dsdt = write_dsdt(&block, config);
	tables[count++] = write_fadt(&block, config, facs, dsdt);
	tables[count++] = write_madt(&block, config);
	if (config->hpet)
		tables[count++] = write_hpet(&block);
	tables[count++] = write_waet(&block);
	rsdt = write_root(&block, "RSDT", 4, tables, count);
	xsdt = write_root(&block, "XSDT", 8, tables, count);
	out->rsdp = write_rsdp(&block, rsdt, xsdt);
	out->vmgenid = (uint32_t)block.out.mark;
	out->length = block.out.length;
	out->bytes = block.out.data;
}

void acpi_tables_free(struct acpi_tables *tables)
{
	free(tables->bytes);
	*tables = (struct acpi_tables){0};
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACPI Machine Language, the part that describes this machine (ACPI 6.4, 20.2). Terms are appended to a growing buffer;
 * a package-length term is opened, filled and closed, which inserts its length.
 */
#ifndef XUNI_MACHINE_ACPI_AML_H
#define XUNI_MACHINE_ACPI_AML_H

#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *data;
	size_t length, capacity;
	size_t mark; /* an offset that moves with what stands there while terms around it are closed; 0: none */
};

void aml_free(struct aml *aml);
void aml_bytes(struct aml *aml, const void *bytes, size_t count);
void aml_byte(struct aml *aml, uint8_t byte);

/* A name path of segments of up to four characters ("\\_SB.PCI0", "_HID"). */
void aml_path(struct aml *aml, const char *path);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
/* EisaId("PNP0A03"). */
void aml_eisa_id(struct aml *aml, const char *id);
/* Name(path, ...): the value follows. */
void aml_name(struct aml *aml, const char *path);
void aml_name_integer(struct aml *aml, const char *path, uint64_t value);

/* Terms with a length; each returns where it began, for aml_close. */
size_t aml_scope(struct aml *aml, const char *path);
size_t aml_device(struct aml *aml, const char *name);
size_t aml_package(struct aml *aml, uint8_t elements);
/* Name(name, ResourceTemplate() { ... }): close with aml_resources_close. */
size_t aml_resources(struct aml *aml, const char *name);
void aml_resources_close(struct aml *aml, size_t start);
void aml_close(struct aml *aml, size_t start);

/* Resource descriptors (6.4). */
void aml_io(struct aml *aml, uint16_t first, uint16_t alignment, uint8_t length);
void aml_irq(struct aml *aml, uint8_t irq);
void aml_memory32_fixed(struct aml *aml, uint32_t base, uint32_t length);
enum aml_space { AML_SPACE_MEMORY = 0, AML_SPACE_IO = 1, AML_SPACE_BUS = 2 };
void aml_word_space(struct aml *aml, enum aml_space space, uint16_t first, uint16_t last);
void aml_dword_space(struct aml *aml, uint32_t first, uint32_t last);
void aml_qword_space(struct aml *aml, uint64_t first, uint64_t last);

#endif

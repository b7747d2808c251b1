/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "machine/acpi/aml.h"

#include "base/util.h"

#include <ctype.h>
#include <stdlib.h>

enum {
	AML_NAME_OP = 0x08,
	AML_BYTE_PREFIX = 0x0a,
	AML_WORD_PREFIX = 0x0b,
	AML_DWORD_PREFIX = 0x0c,
	AML_STRING_PREFIX = 0x0d,
	AML_QWORD_PREFIX = 0x0e,
	AML_SCOPE_OP = 0x10,
	AML_BUFFER_OP = 0x11,
	AML_PACKAGE_OP = 0x12,
	AML_DUAL_NAME_PREFIX = 0x2e,
	AML_MULTI_NAME_PREFIX = 0x2f,
	AML_EXT_OP_PREFIX = 0x5b,
	AML_DEVICE_OP = 0x82,
};

void aml_free(struct aml *aml)
{
	free(aml->data);
	*aml = (struct aml){0};
}

static void aml_reserve(struct aml *aml, size_t more)
{
	if (aml->length + more <= aml->capacity)
		return;
	aml->capacity = (aml->length + more) * 2;
	aml->data = xrealloc(aml->data, aml->capacity);
}

void aml_bytes(struct aml *aml, const void *bytes, size_t count)
{
	aml_reserve(aml, count);
	memcpy(aml->data + aml->length, bytes, count);
	aml->length += count;
}

void aml_byte(struct aml *aml, uint8_t byte)
{
	aml_bytes(aml, &byte, 1);
}

static void aml_insert(struct aml *aml, size_t at, const void *bytes, size_t count)
{
	aml_reserve(aml, count);
	memmove(aml->data + at + count, aml->data + at, aml->length - at);
	memcpy(aml->data + at, bytes, count);
	aml->length += count;
	if (aml->mark >= at && aml->mark)
		aml->mark += count;
}

void aml_path(struct aml *aml, const char *path)
{
	unsigned segments = 1;

	for (; *path == '\\' || *path == '^'; path++)
		aml_byte(aml, *path);
	for (const char *p = path; *p; p++)
		segments += *p == '.';
	if (segments == 2)
		aml_byte(aml, AML_DUAL_NAME_PREFIX);
	if (segments > 2) {
		aml_byte(aml, AML_MULTI_NAME_PREFIX);
		aml_byte(aml, segments);
	}
	while (*path) {
		size_t length = strcspn(path, ".");

		aml_bytes(aml, path, length);
		aml_bytes(aml, "____", 4 - length);
		path += length + (path[length] == '.');
	}
}

void aml_integer(struct aml *aml, uint64_t value)
{
	if (value <= 1) {
		aml_byte(aml, value); /* ZeroOp, OneOp */
	} else if (value <= 0xff) {
		aml_byte(aml, AML_BYTE_PREFIX);
		aml_bytes(aml, &value, 1);
	} else if (value <= 0xffff) {
		aml_byte(aml, AML_WORD_PREFIX);
		aml_bytes(aml, &value, 2);
	} else if (value <= 0xffffffff) {
		aml_byte(aml, AML_DWORD_PREFIX);
		aml_bytes(aml, &value, 4);
	} else {
		aml_byte(aml, AML_QWORD_PREFIX);
		aml_bytes(aml, &value, 8);
	}
}

void aml_string(struct aml *aml, const char *text)
{
	aml_byte(aml, AML_STRING_PREFIX);
	aml_bytes(aml, text, strlen(text) + 1);
}

static unsigned hex_digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : toupper((unsigned char)c) - 'A' + 10;
}

void aml_eisa_id(struct aml *aml, const char *id)
{
	uint8_t bytes[4] = {
		(id[0] - 0x40) << 2 | (id[1] - 0x40) >> 3, (id[1] - 0x40) << 5 | (id[2] - 0x40),
		hex_digit(id[3]) << 4 | hex_digit(id[4]), hex_digit(id[5]) << 4 | hex_digit(id[6]),
	};

	aml_byte(aml, AML_DWORD_PREFIX);
	aml_bytes(aml, bytes, 4);
}

void aml_name(struct aml *aml, const char *path)
{
	aml_byte(aml, AML_NAME_OP);
	aml_path(aml, path);
}

void aml_name_integer(struct aml *aml, const char *path, uint64_t value)
{
	aml_name(aml, path);
	aml_integer(aml, value);
}

/* --- terms with a length --- */

size_t aml_scope(struct aml *aml, const char *path)
{
	size_t start;

	aml_byte(aml, AML_SCOPE_OP);
	start = aml->length;
	aml_path(aml, path);
	return start;
}

size_t aml_device(struct aml *aml, const char *name)
{
	size_t start;

	aml_byte(aml, AML_EXT_OP_PREFIX);
	aml_byte(aml, AML_DEVICE_OP);
	start = aml->length;
	aml_path(aml, name);
	return start;
}

size_t aml_package(struct aml *aml, uint8_t elements)
{
	size_t start;

	aml_byte(aml, AML_PACKAGE_OP);
	start = aml->length;
	aml_byte(aml, elements);
	return start;
}

/* PkgLength (20.2.4): counts itself. */
void aml_close(struct aml *aml, size_t start)
{
	size_t body = aml->length - start;
	uint8_t encoded[4];
	unsigned count = body + 1 < 0x40 ? 1 : body + 2 < 0x1000 ? 2 : body + 3 < 0x100000 ? 3 : 4;
	size_t total = body + count;

	if (count == 1) {
		encoded[0] = total;
	} else {
		encoded[0] = (count - 1) << 6 | (total & 0xf);
		for (unsigned i = 1; i < count; i++)
			encoded[i] = total >> (8 * i - 4);
	}
	aml_insert(aml, start, encoded, count);
}

size_t aml_resources(struct aml *aml, const char *name)
{
	aml_name(aml, name);
	aml_byte(aml, AML_BUFFER_OP);
	return aml->length;
}

void aml_resources_close(struct aml *aml, size_t start)
{
	struct aml size = {0};

	aml_bytes(aml, "\x79\x00", 2); /* end tag; checksum 0: not checked */
	aml_integer(&size, aml->length - start);
	aml_insert(aml, start, size.data, size.length);
	aml_free(&size);
	aml_close(aml, start);
}

/* --- resource descriptors --- */

void aml_io(struct aml *aml, uint16_t first, uint16_t alignment, uint8_t length)
{
	uint8_t descriptor[8] = {0x47, 1, first & 0xff, first >> 8, first & 0xff, first >> 8, alignment, length};

	aml_bytes(aml, descriptor, sizeof(descriptor));
}

void aml_irq(struct aml *aml, uint8_t irq)
{
	uint16_t mask = 1u << irq;
	uint8_t descriptor[3] = {0x22, mask & 0xff, mask >> 8};

	aml_bytes(aml, descriptor, sizeof(descriptor));
}

void aml_memory32_fixed(struct aml *aml, uint32_t base, uint32_t length)
{
	uint8_t descriptor[12] = {0x86, 9, 0, 1};

	store_le32(descriptor + 4, base);
	store_le32(descriptor + 8, length);
	aml_bytes(aml, descriptor, sizeof(descriptor));
}

/* Address space descriptors: minimum and maximum fixed, positively decoded, produced by a bridge. */
#define AML_SPACE_FIXED 0x0c

void aml_word_space(struct aml *aml, enum aml_space space, uint16_t first, uint16_t last)
{
	uint8_t descriptor[16] = {0x88, 13, 0, space, AML_SPACE_FIXED, space == AML_SPACE_IO ? 3 : 0};

	store_le16(descriptor + 8, first);
	store_le16(descriptor + 10, last);
	store_le16(descriptor + 14, last - first + 1);
	aml_bytes(aml, descriptor, sizeof(descriptor));
}

void aml_dword_space(struct aml *aml, uint32_t first, uint32_t last)
{
	uint8_t descriptor[26] = {0x87, 23, 0, AML_SPACE_MEMORY, AML_SPACE_FIXED, 1};

	store_le32(descriptor + 10, first);
	store_le32(descriptor + 14, last);
	store_le32(descriptor + 22, last - first + 1);
	aml_bytes(aml, descriptor, sizeof(descriptor));
}

void aml_qword_space(struct aml *aml, uint64_t first, uint64_t last)
{
	uint8_t descriptor[46] = {0x8a, 43, 0, AML_SPACE_MEMORY, AML_SPACE_FIXED, 1};

	store_le64(descriptor + 14, first);
	store_le64(descriptor + 22, last);
	store_le64(descriptor + 38, last - first + 1);
	aml_bytes(aml, descriptor, sizeof(descriptor));
}

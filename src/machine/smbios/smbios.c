/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Structures 0 (BIOS), 1 (system), 2 (baseboard, only when asked for), 3 (chassis), 4 (processor, one a socket), 11 (OEM
 * strings, only when asked for), 16, 17, 19 (memory), 32 (boot), 127 (end). Handles are the type in the high byte.
 */
#include "machine/smbios/smbios.h"

#include "base/util.h"
#include "config/domain.h"

#include <stdio.h>
#include <stdlib.h>

#define SMBIOS_ENTRY_BYTES 31
#define SMBIOS_MAX_STRINGS 64
#define SMBIOS_MAX_FILE    65535

struct smbios {
	const struct domain_config *config;
	struct options options[128]; /* of each type, merged from all -smbios of it */
	uint8_t *data;
	size_t length;
	size_t start; /* of the structure being written */
	char *strings[SMBIOS_MAX_STRINGS];
	unsigned string_count;
	uint16_t structures;
	uint16_t largest;
};

static void put(struct smbios *smbios, const void *bytes, size_t count)
{
	smbios->data = xrealloc(smbios->data, smbios->length + count);
	memcpy(smbios->data + smbios->length, bytes, count);
	smbios->length += count;
}

static void put8(struct smbios *smbios, uint8_t value)
{
	put(smbios, &value, 1);
}

static void put16(struct smbios *smbios, uint16_t value)
{
	put(smbios, &value, 2);
}

static void put32(struct smbios *smbios, uint32_t value)
{
	put(smbios, &value, 4);
}

static void put64(struct smbios *smbios, uint64_t value)
{
	put(smbios, &value, 8);
}

static void begin(struct smbios *smbios, uint8_t type, uint8_t index)
{
	smbios->start = smbios->length;
	put8(smbios, type);
	put8(smbios, 0); /* length of the formatted part */
	put16(smbios, type << 8 | index);
}

/* Adds a string reference: the option's value, or a fallback; 0 when both are missing. */
static void put_string(struct smbios *smbios, const char *text)
{
	if (!text || !*text || smbios->string_count == SMBIOS_MAX_STRINGS) {
		put8(smbios, 0);
		return;
	}
	smbios->strings[smbios->string_count++] = xstrdup(text);
	put8(smbios, smbios->string_count);
}

static void put_option(struct smbios *smbios, unsigned type, const char *key, const char *fallback)
{
	const char *value = options_get(&smbios->options[type], key);

	put_string(smbios, value ? value : fallback);
}

static void end(struct smbios *smbios)
{
	smbios->data[smbios->start + 1] = smbios->length - smbios->start;
	for (unsigned i = 0; i < smbios->string_count; i++) {
		put(smbios, smbios->strings[i], strlen(smbios->strings[i]) + 1);
		free(smbios->strings[i]);
	}
	if (!smbios->string_count)
		put8(smbios, 0);
	put8(smbios, 0);
	smbios->string_count = 0;
	smbios->structures++;
	if (smbios->length - smbios->start > smbios->largest)
		smbios->largest = smbios->length - smbios->start;
}

/* "date=" and friends of the firmware; release is "major.minor". */
static int write_bios(struct smbios *smbios, struct error *err)
{
	const char *release = options_get(&smbios->options[0], "release");
	unsigned major = 0, minor = 0;
	bool uefi = false;
	int ret = options_bool(&smbios->options[0], "uefi", &uefi, err);

	if (ret)
		return ret;
	if (release && (sscanf(release, "%u.%u", &major, &minor) != 2 || major > 255 || minor > 255))
		return error_set(err, EINVAL, "release=%s: expected MAJOR.MINOR, each up to 255", release);
	begin(smbios, 0, 0);
	put_option(smbios, 0, "vendor", "xuni");
	put_option(smbios, 0, "version", "0.1");
	put16(smbios, 0xe800);
	put_option(smbios, 0, "date", "01/01/2026");
	put8(smbios, 0);
	put64(smbios, 1 << 3);             /* characteristics are not supported */
	put8(smbios, 0);
	put8(smbios, 1 << 4 | (uefi ? 1 << 3 : 0) | 1 << 2); /* a virtual machine */
	put8(smbios, major);
	put8(smbios, minor);
	put8(smbios, 0xff);
	put8(smbios, 0xff);
	end(smbios);
	return 0;
}

/* 7.2.1: the first three fields of a UUID are little-endian. */
static int parse_uuid(const char *text, uint8_t uuid[16], struct error *err)
{
	static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
	const char *p = text;

	for (int i = 0; i < 16; i++) {
		unsigned byte;

		if (*p == '-')
			p++;
		if (sscanf(p, "%2x", &byte) != 1)
			return error_set(err, EINVAL, "uuid=%s is not a UUID", text);
		uuid[order[i]] = byte;
		p += 2;
	}
	return *p ? error_set(err, EINVAL, "uuid=%s is not a UUID", text) : 0;
}

static int write_system(struct smbios *smbios, struct error *err)
{
	const char *text = options_get(&smbios->options[1], "uuid");
	uint8_t uuid[16] = {0};

	if (!text)
		text = smbios->config->uuid;
	if (text && parse_uuid(text, uuid, err))
		return -EINVAL;
	begin(smbios, 1, 0);
	put_option(smbios, 1, "manufacturer", "xuni");
	put_option(smbios, 1, "product", "Standard PC (i440FX + PIIX)");
	put_option(smbios, 1, "version", "pc-i440fx");
	put_option(smbios, 1, "serial", NULL);
	put(smbios, uuid, 16);
	put8(smbios, 6); /* power switch */
	put_option(smbios, 1, "sku", NULL);
	put_option(smbios, 1, "family", NULL);
	end(smbios);
	return 0;
}

static void write_baseboard(struct smbios *smbios)
{
	if (!smbios->options[2].count)
		return;
	begin(smbios, 2, 0);
	put_option(smbios, 2, "manufacturer", "xuni");
	put_option(smbios, 2, "product", "Standard PC (i440FX + PIIX)");
	put_option(smbios, 2, "version", NULL);
	put_option(smbios, 2, "serial", NULL);
	put_option(smbios, 2, "asset", NULL);
	put8(smbios, 1); /* hosting board */
	put_option(smbios, 2, "location", NULL);
	put16(smbios, 0x300);
	put8(smbios, 0xa); /* motherboard */
	put8(smbios, 0);
	end(smbios);
}

static void write_chassis(struct smbios *smbios)
{
	begin(smbios, 3, 0);
	put_option(smbios, 3, "manufacturer", "xuni");
	put8(smbios, 1); /* other */
	put_option(smbios, 3, "version", "pc-i440fx");
	put_option(smbios, 3, "serial", NULL);
	put_option(smbios, 3, "asset", NULL);
	put8(smbios, 3); /* states: safe */
	put8(smbios, 3);
	put8(smbios, 3);
	put8(smbios, 2); /* security: unknown */
	put32(smbios, 0);
	put8(smbios, 0);
	put8(smbios, 0);
	put8(smbios, 0);
	put8(smbios, 0);
	put_option(smbios, 3, "sku", NULL);
	end(smbios);
}

static void write_processor(struct smbios *smbios, unsigned socket)
{
	const struct domain_config *config = smbios->config;
	const char *prefix = options_get(&smbios->options[4], "sock_pfx");
	char *designation = xasprintf("%s %u", prefix ? prefix : "CPU", socket);
	unsigned cores = config->dies * config->cores;

	begin(smbios, 4, socket);
	put_string(smbios, designation);
	put8(smbios, 3); /* central processor */
	put8(smbios, 1);
	put_option(smbios, 4, "manufacturer", "xuni");
	put64(smbios, 0);
	put_option(smbios, 4, "version", "virtual");
	put8(smbios, 0);
	put16(smbios, 0);
	put16(smbios, 2000);
	put16(smbios, 2000);
	put8(smbios, 0x41); /* populated, enabled */
	put8(smbios, 1);
	put16(smbios, 0xffff);
	put16(smbios, 0xffff);
	put16(smbios, 0xffff);
	put_option(smbios, 4, "serial", NULL);
	put_option(smbios, 4, "asset", NULL);
	put_option(smbios, 4, "part", NULL);
	put8(smbios, cores);
	put8(smbios, cores);
	put8(smbios, cores * config->threads);
	put16(smbios, 2); /* characteristics unknown */
	put16(smbios, 1);
	end(smbios);
	free(designation);
}

/* A file's content as text; NULL: *err says why there is none. */
static char *read_text(const char *path, struct error *err)
{
	char *text = xcalloc(1, SMBIOS_MAX_FILE + 2);
	FILE *file = fopen(path, "re");
	size_t length = file ? fread(text, 1, SMBIOS_MAX_FILE + 1, file) : 0;
	int ret = 0;

	if (!file || ferror(file))
		ret = error_set_errno(err, errno, "path=%s", path);
	else if (length > SMBIOS_MAX_FILE)
		ret = error_set(err, EFBIG, "path=%s: a string is at most %u bytes", path, SMBIOS_MAX_FILE);
	else if (memchr(text, 0, length))
		ret = error_set(err, EINVAL, "path=%s: there is a NUL in the file, which no string can hold", path);
	if (file)
		fclose(file);
	if (!ret)
		return text;
	free(text);
	return NULL;
}

/* value= is a string, path= names the file with one. */
static int write_oem_strings(struct smbios *smbios, struct error *err)
{
	struct options *options = &smbios->options[11];
	unsigned count = 0;
	size_t at;

	if (!options->count)
		return 0;
	begin(smbios, 11, 0);
	at = smbios->length;
	put8(smbios, 0);
	for (size_t i = 0; i < options->count; i++) {
		const bool path = !strcmp(options->items[i].key, "path");
		char *text;

		if ((!path && strcmp(options->items[i].key, "value")) || smbios->string_count == SMBIOS_MAX_STRINGS)
			continue;
		options->items[i].used = true;
		text = path ? read_text(options->items[i].value, err) : xstrdup(options->items[i].value);
		if (!text)
			return error_prefix(err, "-smbios type=11");
		smbios->strings[smbios->string_count++] = text;
		count++;
	}
	smbios->data[at] = count;
	end(smbios);
	return 0;
}

static void write_memory(struct smbios *smbios)
{
	uint64_t bytes = smbios->config->ram_bytes;
	bool large = bytes / MIB >= 0x7fff;

	begin(smbios, 16, 0);
	put8(smbios, 1); /* other location */
	put8(smbios, 3); /* system memory */
	put8(smbios, 6); /* multi-bit ECC */
	put32(smbios, bytes / KIB >= 0x80000000 ? 0x80000000 : bytes / KIB);
	put16(smbios, 0xfffe);
	put16(smbios, 1);
	put64(smbios, bytes / KIB >= 0x80000000 ? bytes : 0);
	end(smbios);

	begin(smbios, 17, 0);
	put16(smbios, 16 << 8);
	put16(smbios, 0xfffe);
	put16(smbios, 0xffff);
	put16(smbios, 0xffff);
	put16(smbios, large ? 0x7fff : bytes / MIB);
	put8(smbios, 9); /* DIMM */
	put8(smbios, 0);
	put_string(smbios, "DIMM 0");
	put_option(smbios, 17, "bank", NULL);
	put8(smbios, 7); /* RAM */
	put16(smbios, 2);
	put16(smbios, 0);
	put_option(smbios, 17, "manufacturer", "xuni");
	put_option(smbios, 17, "serial", NULL);
	put_option(smbios, 17, "asset", NULL);
	put_option(smbios, 17, "part", NULL);
	put8(smbios, 0);
	put32(smbios, large ? bytes / MIB : 0);
	put16(smbios, 0);
	put16(smbios, 0);
	put16(smbios, 0);
	put16(smbios, 0);
	end(smbios);

	begin(smbios, 19, 0);
	put32(smbios, bytes / KIB > 0xffffffff ? 0xffffffff : 0);
	put32(smbios, bytes / KIB > 0xffffffff ? 0xffffffff : bytes / KIB - 1);
	put16(smbios, 16 << 8);
	put8(smbios, 1);
	put64(smbios, 0);
	put64(smbios, bytes / KIB > 0xffffffff ? bytes - 1 : 0);
	end(smbios);
}

static void write_end(struct smbios *smbios)
{
	begin(smbios, 32, 0);
	put(smbios, "\0\0\0\0\0\0\0", 7); /* reserved, then: no errors detected */
	end(smbios);
	begin(smbios, 127, 0);
	end(smbios);
}

/* 5.2.1: the 32-bit entry point, anchored by _SM_. */
static void write_entry(uint8_t *entry, uint64_t table_gpa, const struct smbios *smbios)
{
	uint8_t sum = 0;

	memcpy(entry, "_SM_", 4);
	entry[5] = SMBIOS_ENTRY_BYTES;
	entry[6] = 2;
	entry[7] = 8;
	store_le16(entry + 8, smbios->largest);
	memcpy(entry + 16, "_DMI_", 5);
	store_le16(entry + 22, smbios->length - 32);
	store_le32(entry + 24, table_gpa);
	store_le16(entry + 28, smbios->structures);
	entry[30] = 0x28;
	for (int i = 16; i < 31; i++)
		sum += entry[i];
	entry[21] = -sum;
	sum = 0;
	for (int i = 0; i < 31; i++)
		sum += entry[i];
	entry[4] = -sum;
}

static int gather_options(struct smbios *smbios, struct error *err)
{
	for (size_t i = 0; i < smbios->config->smbios.count; i++) {
		struct options *given = &smbios->config->smbios.items[i].options;
		uint64_t type = 0;

		if (options_get(given, "file"))
			return error_set(err, ENOTSUP, "-smbios file=: not supported yet");
		if (options_u64(given, "type", &type, 127, err))
			return error_prefix(err, "-smbios");
		if (type > 4 && type != 11 && type != 17)
			return error_set(err, EINVAL, "-smbios type=%u: not supported; there are 0, 1, 2, 3, 4, 11 and 17", (unsigned)type);
		for (size_t j = 0; j < given->count; j++)
			if (strcmp(given->items[j].key, "type"))
				options_add(&smbios->options[type], given->items[j].key, given->items[j].value);
	}
	return 0;
}

static int check_all_used(struct smbios *smbios, struct error *err)
{
	static const char *const known[] = {"vendor", "version", "date", "release", "uefi", "manufacturer", "product",
	                                    "serial", "uuid", "sku", "family", "asset", "location", "sock_pfx", "part",
	                                    "value", "path", "bank", NULL};

	for (unsigned type = 0; type < 128; type++) {
		char context[32];

		snprintf(context, sizeof(context), "-smbios type=%u", type);
		if (options_check_used(&smbios->options[type], context, known, err))
			return -EINVAL;
	}
	return 0;
}

uint8_t *smbios_build(const struct domain_config *config, uint64_t base, size_t *length, struct error *err)
{
	struct smbios *smbios = xcalloc(1, sizeof(*smbios));
	uint8_t *data = NULL;
	int ret;

	smbios->config = config;
	put(smbios, (uint8_t[32]){0}, 32); /* room for the entry point */
	ret = gather_options(smbios, err);
	if (!ret && (base || smbios->options[0].count)) /* firmware speaks for itself */
		ret = write_bios(smbios, err);
	if (!ret)
		ret = write_system(smbios, err);
	if (!ret) {
		write_baseboard(smbios);
		write_chassis(smbios);
		for (unsigned socket = 0; socket < config->sockets && socket < 64; socket++)
			write_processor(smbios, socket);
		ret = write_oem_strings(smbios, err);
	}
	if (!ret) {
		write_memory(smbios);
		write_end(smbios);
		ret = check_all_used(smbios, err);
	}
	if (!ret) {
		write_entry(smbios->data, base ? base + 32 : 0, smbios);
		*length = smbios->length;
		data = smbios->data;
	} else {
		free(smbios->data);
	}
	while (smbios->string_count)
		free(smbios->strings[--smbios->string_count]); /* of a structure that failed */
	for (unsigned type = 0; type < 128; type++)
		options_free(&smbios->options[type]);
	free(smbios);
	return data;
}

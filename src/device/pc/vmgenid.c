/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The virtual machine generation ID (Microsoft's "Virtual Machine Generation ID" paper, qemu's docs/specs/vmgenid): a
 * number in guest RAM, found through ACPI, that is another one when the machine is not the same any more. Firmware
 * reserves the page and tells its address; a machine without firmware has it in reserved memory. Left out: the
 * notification of a change, as nothing can change it while the machine runs.
 */
#include "device/pc/vmgenid.h"

#include "base/util.h"
#include "core/ram.h"
#include "core/state.h"
#include "device/pc/fw_cfg.h"

#include <stdio.h>
#include <sys/random.h>

struct vmgenid {
	struct device device;
	char *text;       /* property */
	uint8_t guid[16]; /* as written */
	uint64_t gpa;     /* of the number; 0: not known */
	struct fw_cfg *fw_cfg;
};

struct vmgenid *vmgenid_of(struct device *device)
{
	return device->class == &vmgenid_class ? (struct vmgenid *)device : NULL;
}

void vmgenid_text(const struct vmgenid *v, char text[37])
{
	const uint8_t *g = v->guid;

	snprintf(text, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", g[0], g[1], g[2],
		 g[3], g[4], g[5], g[6], g[7], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
}

/* Guests see the first three parts little-endian. */
static void guest_form(const struct vmgenid *v, uint8_t out[16])
{
	static const uint8_t order[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};

	for (unsigned i = 0; i < 16; i++)
		out[i] = v->guid[order[i]];
}

static int show(struct vmgenid *v)
{
	uint8_t bytes[16];

	guest_form(v, bytes);
	return ram_write(v->device.env->ram, v->gpa, bytes, sizeof(bytes));
}

int vmgenid_place(struct vmgenid *v, uint64_t gpa, struct error *err)
{
	v->gpa = gpa;
	return show(v) ? error_set(err, EFAULT, "vmgenid: no RAM at %#llx", (unsigned long long)gpa) : 0;
}

/* Firmware wrote the address: in a vCPU's thread. An address that is no RAM is the guest's own misfortune. */
static void address_written(void *opaque, size_t offset, size_t length)
{
	struct vmgenid *v = opaque;
	const void *bytes = fw_cfg_file(v->fw_cfg, VMGENID_ADDRESS_FILE, &length);

	if (!bytes || length < 8)
		return;
	v->gpa = load_le64(bytes);
	if (v->gpa)
		show(v);
}

int vmgenid_add_files(struct vmgenid *v, struct fw_cfg *fw_cfg, struct error *err)
{
	static const uint8_t nowhere[8];
	const struct fw_cfg_callback callback = {.written = address_written, .opaque = v};
	uint8_t page[VMGENID_PAGE_BYTES] = {0};
	int ret;

	v->fw_cfg = fw_cfg;
	v->gpa = 0;
	guest_form(v, page + VMGENID_OFFSET);
	ret = fw_cfg_add_file(fw_cfg, VMGENID_GUID_FILE, page, sizeof(page), err);
	return ret ? ret : fw_cfg_add_callback(fw_cfg, VMGENID_ADDRESS_FILE, nowhere, sizeof(nowhere), &callback, err);
}

static bool parse(const char *text, uint8_t guid[16])
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	unsigned digits = 0;

	if (strlen(text) != strlen(form))
		return false;
	for (unsigned i = 0; form[i]; i++) {
		unsigned digit;

		if (form[i] == '-') {
			if (text[i] != '-')
				return false;
			continue;
		}
		if (sscanf((const char[]){text[i], 0}, "%1x", &digit) != 1)
			return false;
		guid[digits / 2] = (uint8_t)(guid[digits / 2] << 4 | digit);
		digits++;
	}
	return true;
}

static int init(struct device *device, struct error *err)
{
	struct vmgenid *v = (struct vmgenid *)device;

	if (strcmp(v->text, "auto") == 0) {
		if (getrandom(v->guid, sizeof(v->guid), 0) != sizeof(v->guid))
			return error_set_errno(err, errno, "vmgenid: random numbers");
		v->guid[6] = (v->guid[6] & 0x0f) | 0x40; /* RFC 4122: version 4 */
		v->guid[8] = (v->guid[8] & 0x3f) | 0x80;
		return 0;
	}
	if (!parse(v->text, v->guid))
		return error_set(err, EINVAL,
				 "Property 'vmgenid.guid' doesn't take value '%.64s': auto, or "
				 "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
				 v->text);
	return 0;
}

/* The address is a guest's to choose, so any is possible. */
static void after_load(void *object)
{
	struct vmgenid *v = object;

	if (v->gpa)
		show(v);
}

static const struct state_field fields[] = {STATE_FIELD(STATE_U64, struct vmgenid, gpa), STATE_END};
static const struct state_table state = {
	.name = "vmgenid", .version = 1, .size = sizeof(struct vmgenid), .fields = fields, .after_load = after_load};

static const struct property properties[] = {
	{.name = "guid",
	 .type = PROPERTY_STRING,
	 .offset = offsetof(struct vmgenid, text),
	 .fallback = "auto",
	 .help = "the number: auto (random), or a UUID"},
	{.name = NULL},
};

const struct device_class vmgenid_class = {
	.name = "vmgenid",
	.help = "generation ID: a number that changes when the machine is another one",
	.bus = DEVICE_SYSTEM,
	.size = sizeof(struct vmgenid),
	.properties = properties,
	.state = &state,
	.init = init,
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ports by which guests made for it talk to the VMM; facts are qemu's: isa-debug-exit ends the VMM with exit status
 * (value << 1) | 1, isa-debugcon prints bytes, pvpanic reports a crash (docs/specs/pvpanic).
 */
#include "device/pc/debug_ports.h"

#include "backend/char/chardev.h"
#include "device/pc/char_out.h"
#include "device/pc/isa.h"

static void request(const struct device_env *env, int what, int argument)
{
	if (env->request)
		env->request(env->request_opaque, what, argument);
}

/* --- isa-debug-exit --- */

struct debug_exit {
	struct device device;
	uint32_t iobase, iosize;
	struct region region;
};

static uint64_t exit_read(void *opaque, uint64_t offset, unsigned size)
{
	return 0;
}

static void exit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct debug_exit *d = opaque;

	request(d->device.env, MACHINE_DEBUG_EXIT, (int)((uint32_t)value << 1 | 1));
}

static const struct region_ops exit_ops = {.read = exit_read, .write = exit_write, .min_width = 1, .max_width = 4};

static int exit_init(struct device *device, struct error *err)
{
	struct debug_exit *d = (struct debug_exit *)device;

	d->region = (struct region){"debug-exit", &exit_ops, d, d->iobase, d->iosize, 0};
	return isa_regions_add(device->env->io, &d->region, 1, err);
}

static void exit_fini(struct device *device)
{
	struct debug_exit *d = (struct debug_exit *)device;

	isa_regions_remove(device->env->io, &d->region, 1);
}

static const struct property exit_properties[] = {
	{.name = "iobase",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct debug_exit, iobase),
	 .fallback = "0x501",
	 .max = 0xffff,
	 .help = "first port"},
	{.name = "iosize",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct debug_exit, iosize),
	 .fallback = "2",
	 .max = 0x100,
	 .help = "number of ports"},
	{.name = NULL},
};

const struct device_class debug_exit_class = {
	.name = "isa-debug-exit",
	.help = "a write ends the VMM with exit status (value << 1) | 1",
	.bus = DEVICE_ISA,
	.size = sizeof(struct debug_exit),
	.properties = exit_properties,
	.init = exit_init,
	.fini = exit_fini,
};

/* --- isa-debugcon --- */

struct debugcon {
	struct device device;
	struct chardev *chardev;
	uint32_t iobase, readback;
	struct char_out out;
	struct region region;
};

static uint64_t con_read(void *opaque, uint64_t offset, unsigned size)
{
	struct debugcon *d = opaque;

	return d->readback;
}

/* There is no way to tell the guest to wait: what a slow reader does not take is lost. */
static void con_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct debugcon *d = opaque;

	char_out_put(&d->out, (uint8_t)value);
}

static const struct region_ops con_ops = {.read = con_read, .write = con_write, .min_width = 1, .max_width = 1};

static void con_writable(void *opaque)
{
	struct debugcon *d = opaque;

	char_out_flush(&d->out);
}

static size_t con_can_receive(void *opaque)
{
	return 0;
}

static int con_init(struct device *device, struct error *err)
{
	struct debugcon *d = (struct debugcon *)device;
	struct chardev_front front = {.can_receive = con_can_receive, .writable = con_writable, .opaque = d};
	int rc;

	if (!d->chardev)
		return error_set(err, EINVAL, "isa-debugcon needs chardev=");
	d->chardev = chardev_attach(d->chardev, &front, err);
	if (!d->chardev)
		return err && err->code ? -err->code : -EBUSY;
	rc = char_out_init(&d->out, d->chardev, device->env->loop, NULL, NULL, err);
	if (rc < 0)
		goto fail_out;
	d->region = (struct region){"debugcon", &con_ops, d, d->iobase, 1, 0};
	rc = isa_regions_add(device->env->io, &d->region, 1, err);
	if (rc == 0)
		return 0;
	char_out_fini(&d->out);
fail_out:
	chardev_detach(d->chardev);
	return rc;
}

static void con_fini(struct device *device)
{
	struct debugcon *d = (struct debugcon *)device;

	isa_regions_remove(device->env->io, &d->region, 1);
	char_out_fini(&d->out);
	chardev_detach(d->chardev);
}

static const struct property con_properties[] = {
	{.name = "chardev",
	 .type = PROPERTY_CHAR,
	 .offset = offsetof(struct debugcon, chardev),
	 .help = "where it leads"},
	{.name = "iobase",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct debugcon, iobase),
	 .fallback = "0xe9",
	 .max = 0xffff,
	 .help = "the port"},
	{.name = "readback",
	 .type = PROPERTY_U32,
	 .offset = offsetof(struct debugcon, readback),
	 .fallback = "0xe9",
	 .help = "what a read returns, so that guests can find it"},
	{.name = NULL},
};

const struct device_class debugcon_class = {
	.name = "isa-debugcon",
	.help = "a port that prints",
	.bus = DEVICE_ISA,
	.size = sizeof(struct debugcon),
	.properties = con_properties,
	.init = con_init,
	.fini = con_fini,
};

/* --- pvpanic --- */

enum { PANIC_CRASHED = 1, PANIC_CRASH_LOADED = 2 };

struct pvpanic {
	struct device device;
	uint16_t port;
	uint8_t events;
	struct region region;
};

static uint64_t panic_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pvpanic *p = opaque;

	return p->events;
}

static void panic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct pvpanic *p = opaque;

	value &= p->events;
	if (value)
		request(p->device.env, MACHINE_PANIC, !(value & PANIC_CRASHED));
}

static const struct region_ops panic_ops = {.read = panic_read, .write = panic_write, .min_width = 1, .max_width = 1};

static int panic_init(struct device *device, struct error *err)
{
	struct pvpanic *p = (struct pvpanic *)device;

	p->region = (struct region){"pvpanic", &panic_ops, p, p->port, 1, 0};
	return isa_regions_add(device->env->io, &p->region, 1, err);
}

static void panic_fini(struct device *device)
{
	struct pvpanic *p = (struct pvpanic *)device;

	isa_regions_remove(device->env->io, &p->region, 1);
}

static const struct property panic_properties[] = {
	{.name = "ioport",
	 .type = PROPERTY_U16,
	 .offset = offsetof(struct pvpanic, port),
	 .fallback = "0x505",
	 .help = "the port"},
	{.name = "events",
	 .type = PROPERTY_U8,
	 .offset = offsetof(struct pvpanic, events),
	 .fallback = "3",
	 .max = 3,
	 .help = "1: panics, 2: a crash kernel was loaded"},
	{.name = NULL},
};

uint16_t pvpanic_port(const struct device *device)
{
	return device->class == &pvpanic_class ? ((const struct pvpanic *)device)->port : 0;
}

const struct device_class pvpanic_class = {
	.name = "pvpanic",
	.help = "lets a guest report that it crashed",
	.bus = DEVICE_ISA,
	.size = sizeof(struct pvpanic),
	.properties = panic_properties,
	.init = panic_init,
	.fini = panic_fini,
};

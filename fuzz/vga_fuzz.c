/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that writes anything to a display adapter's registers and memory while pictures of it are taken, and state is
 * saved, damaged and loaded. What must hold: no crash, no access outside of video memory, bounded time.
 *
 * Input: the adapter, then operations of one byte and their operands.
 */
#include "fuzz.h"

#include "backend/display/display.h"
#include "base/util.h"
#include "device/display/display_devices.h"
#include "device/display/vga.h"
#include "device/pci/test_machine.h"

enum { DEVFN = 0x10, OPERATIONS_MAX = 2048, PICTURES_MAX = 6 };

static void reload(struct device *device, struct input *input)
{
	struct state_buffer saved = {0};

	state_save(device->class->state, device, &saved);
	for (unsigned i = take(input, 1) & 7; i && saved.length; i--)
		saved.data[take(input, 2) % saved.length] = (uint8_t)take(input, 1);
	state_load(device->class->state, device, saved.data, saved.length, NULL);
	free(saved.data);
}

/* All that is said to be the picture can be read. */
static void look(const struct display_console *console)
{
	static uint32_t row[DISPLAY_SIDE_MAX];
	const struct display_surface *surface = display_surface(console);

	for (uint32_t y = 0; y < surface->height; y++)
		memcpy(row, surface->pixels + (size_t)y * (surface->stride_bytes / 4), 4 * surface->width);
}

static void set(struct bus *io, uint16_t index_port, struct input *input)
{
	uint8_t index = (uint8_t)take(input, 1);

	bus_write(io, index_port, index | take(input, 1) << 8, 2);
}

static void step(struct test_machine *machine, struct device *device, struct display_listener *const listeners[2],
		 struct display_console *console, struct input *input, unsigned *pictures)
{
	struct bus *io = machine->env.io, *memory = machine->env.memory;
	static const uint16_t controllers[4] = {0x3c4, 0x3ce, 0x3d4, 0x3c0};
	struct display_rect rects[DISPLAY_RECTS_MAX];
	uint8_t operation = (uint8_t)take(input, 1);
	uint64_t count;
	uint32_t at;

	switch (operation & 15) {
	case 0:
	case 1:
	case 2:
		set(io, controllers[operation & 15], input);
		break;
	case 3:
		bus_read(io, 0x3da, 1);
		bus_write(io, 0x3c0, take(input, 1), 1);
		bus_write(io, 0x3c0, take(input, 1), 1);
		break;
	case 4:
		at = 0x3b0 + (uint32_t)take(input, 1) % 0x30;
		bus_write(io, at, take(input, 1), 1);
		break;
	case 5:
		bus_read(io, 0x3b0 + take(input, 1) % 0x30, 1);
		break;
	case 6:
		bus_write(io, 0x1ce, take(input, 1), 2);
		bus_write(io, 0x1cf, take(input, 2), 2);
		break;
	case 7:
	case 8:
		at = 0xa0000 + (uint32_t)take(input, 3) % 0x20000;
		if (!(operation & 0x40)) {
			bus_write(memory, at, take(input, 4) * 0x100000001ull, 1u << (operation >> 4 & 3));
			break;
		}
		count = take(input, 1);
		bus_write_block(memory, at, input->data, 1, min_u64(count, input->size));
		break;
	case 9:
		at = 0xa0000 + (uint32_t)take(input, 3) % 0x20000;
		if (!(operation & 0x40)) {
			bus_read(memory, at, 1u << (operation >> 4 & 3));
			break;
		}
		count = take(input, 1);
		bus_move_block(memory, at, 0xa0000 + take(input, 3) % 0x20000, 1u << (operation >> 4 & 3), count);
		break;
	case 10:
		at = (uint32_t)take(input, 2);
		bus_write(memory, test_bar_address(machine, DEVFN, operation & 0x80 ? 1 : 2) + (at & 0xfff),
			  take(input, 4), 1u << (operation >> 4 & 3));
		break;
	case 11:
		bus_read(memory, test_bar_address(machine, DEVFN, operation & 0x80 ? 1 : 2) + (take(input, 2) & 0xfff),
			 1u << (operation >> 4 & 3));
		break;
	case 12:
		at = (uint32_t)take(input, 4);
		bus_write(memory, test_bar_address(machine, DEVFN, 0) + (at & 0x1ffffff), take(input, 4), 4);
		break;
	case 13:
		reload(device, input);
		break;
	case 14:
		at = (uint32_t)take(input, 1);
		test_config_write(machine, DEVFN, at, (uint32_t)take(input, 4), 4);
		break;
	default:
		if (++*pictures > PICTURES_MAX)
			break;
		display_update(listeners[operation >> 4 & 1], rects);
		if (!(operation & 0x10))
			look(console);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct display_listener_ops no_ops = {0};
	struct input input = {data, size};
	struct test_machine *machine = test_machine_new(0xa0000, false);
	const struct device_class *class = device_classes_display[0];
	struct display *display = display_new();
	static const uint8_t font[4096];
	struct display_listener *listeners[2];
	struct display_console *console;
	struct device *device;
	unsigned pictures = 0;

	if (take(&input, 1) & 1 && device_classes_display[1])
		class = device_classes_display[1];
	machine->log.fd = -1;
	machine->env.display = display;
	device = test_device(machine, class,
			     class == &vga_pci_class ? "addr=2,vgamem_mb=1,romfile=" : "addr=2,romfile=", NULL);
	if (!device)
		abort();
	for (unsigned bar = 0; bar < 3; bar++)
		test_bar_assign(machine, DEVFN, bar);
	test_config_write(machine, DEVFN, 4, 3, 2);
	vga_set_text_mode(vga_of_device(device), font);
	console = display_console_at(display, 0);
	listeners[0] = display_listen(console, DISPLAY_PIXELS, &no_ops, NULL);
	listeners[1] = display_listen(console, DISPLAY_TEXT, &no_ops, NULL);
	for (unsigned i = 0; input.size && i < OPERATIONS_MAX; i++)
		step(machine, device, listeners, console, &input, &pictures);
	display_unlisten(listeners[0]);
	display_unlisten(listeners[1]);
	device_destroy(device);
	display_free(display);
	test_machine_free(machine);
	return 0;
}

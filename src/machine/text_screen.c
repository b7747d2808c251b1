/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A text screen for kernels that are booted without firmware: the first display adapter in mode 3, with the font of its
 * video BIOS, which is looked for in the installed file. Without one, characters are there but cannot be seen.
 */
#include "base/util.h"
#include "device/display/display_devices.h"
#include "device/display/vga.h"
#include "machine/boot/firmware.h"
#include "machine/internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The letter A of every PC's font. */
static const uint8_t letter[16] = {0x00, 0x00, 0x10, 0x38, 0x6c, 0xc6, 0xc6, 0xfe, 0xc6, 0xc6, 0xc6, 0xc6};

static void find_font(const uint8_t *rom, size_t bytes, uint8_t font[MACHINE_FONT_BYTES])
{
	const uint8_t *at = memmem(rom, bytes, letter, sizeof(letter));
	size_t offset = at ? (size_t)(at - rom) : 0;

	if (at && offset >= 'A' * 16 && range_inside(offset - 'A' * 16, MACHINE_FONT_BYTES, bytes))
		memcpy(font, rom + offset - 'A' * 16, MACHINE_FONT_BYTES);
}

void machine_read_font(const struct machine *machine, uint8_t font[MACHINE_FONT_BYTES])
{
	struct error missing = {0};
	char *path = firmware_find(machine->config->firmware_dirs, "vgabios-stdvga.bin", &missing);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	uint8_t *rom = calloc(1, 64 * KIB);
	ssize_t bytes = fd >= 0 && rom ? pread(fd, rom, 64 * KIB, 0) : 0;

	memset(font, 0, MACHINE_FONT_BYTES);
	if (bytes > 0)
		find_font(rom, (size_t)bytes, font);
	if (fd >= 0)
		close(fd);
	free(rom);
	free(path);
}

bool machine_text_screen(struct machine *machine)
{
	uint8_t font[MACHINE_FONT_BYTES];

	for (struct device *device = machine->devices; device; device = device->next) {
		struct vga *vga = vga_of_device(device);

		if (!vga)
			continue;
		machine_read_font(machine, font);
		vga_set_text_mode(vga, font);
		return true;
	}
	return false;
}

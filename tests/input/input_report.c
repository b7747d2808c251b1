/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * In the guest: prints what input devices the kernel has found and every event that they report, as lines of
 *
 *	device N NAME | events of device N: code=value ...       one line for all up to the synchronization
 *
 * Loads the drivers first. Ends when F12 is released. Repetition (value 2) is left out: it depends on time.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX = 16 };

static int open_device(unsigned number)
{
	char path[64], name[128] = "";
	int fd;

	snprintf(path, sizeof(path), "/dev/input/event%u", number);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -1;
	ioctl(fd, EVIOCGNAME(sizeof(name)), name);
	printf("device %u %s\n", number, name);
	return fd;
}

static const char *type_name(unsigned type)
{
	return type == EV_KEY ? "key" : type == EV_REL ? "rel" : type == EV_ABS ? "abs" : type == EV_LED ? "led" : NULL;
}

static int report(unsigned number, int fd, char *line, size_t size)
{
	struct input_event event;
	size_t at = strlen(line);

	if (read(fd, &event, sizeof(event)) != sizeof(event))
		return 0;
	if (event.type == EV_SYN && event.code == SYN_REPORT) {
		if (*line)
			printf("events %u%s\n", number, line);
		*line = 0;
	} else if (type_name(event.type) && !(event.type == EV_KEY && event.value == 2) && at < size) {
		snprintf(line + at, size - at, " %s:%u=%d", type_name(event.type), event.code, event.value);
	}
	return event.type == EV_KEY && event.code == KEY_F12 && event.value == 0;
}

int main(void)
{
	static char lines[MAX][1024];
	struct pollfd polled[MAX];
	unsigned numbers[MAX], count = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (system("modprobe evdev; modprobe psmouse; modprobe virtio_input; sleep 1"))
		return 1;
	for (unsigned number = 0; number < 32 && count < MAX; number++) {
		int fd = open_device(number);

		if (fd < 0)
			continue;
		polled[count] = (struct pollfd){.fd = fd, .events = POLLIN};
		numbers[count++] = number;
	}
	printf("input ready\n");
	for (;;) {
		poll(polled, count, -1);
		for (unsigned i = 0; i < count; i++) {
			if (polled[i].revents & POLLIN && report(numbers[i], polled[i].fd, lines[i], sizeof(lines[i]))) {
				printf("events %u%s\ninput done\n", numbers[i], lines[i]);
				return 0;
			}
		}
	}
}

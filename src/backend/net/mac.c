/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * MAC addresses that no two machines on a host share. An address is held by binding an abstract unix socket of its
 * name: the kernel lets only one process have it, whoever the user, within one network namespace (where addresses have
 * to be unique), and drops it with the process. No directory, no rights, nothing left behind.
 */
#include "backend/net/net.h"

#include "base/util.h"

#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ATTEMPTS 64

/* Returns the descriptor that holds the number, or a negative errno. */
static int take(uint32_t number)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int length, code;

	if (fd < 0)
		return -errno;
	length = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "xuni-mac-%06x", number);
	if (!bind(fd, (struct sockaddr *)&name,
		  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)))
		return fd;
	code = errno;
	close(fd);
	return -code;
}

static uint32_t random_number(void)
{
	uint32_t number;

	if (getrandom(&number, sizeof(number), 0) != sizeof(number))
		number = (uint32_t)host_now_ns() * 2654435761u;
	return number & 0xffffff;
}

int net_mac_allocate(uint8_t mac[6], int *lock_fd, struct error *err)
{
	int result = -EADDRINUSE;

	*lock_fd = -1;
	for (int i = 0; i < ATTEMPTS && result == -EADDRINUSE; i++) {
		uint32_t number = random_number();
		uint8_t chosen[6] = {0x52,           0x54, 0x00, (uint8_t)(number >> 16), (uint8_t)(number >> 8),
				     (uint8_t)number};

		result = take(number);
		if (result < 0)
			continue;
		*lock_fd = result;
		memcpy(mac, chosen, sizeof(chosen));
		return 0;
	}
	return error_set_errno(err, -result, "reserving a MAC address; give one with mac=");
}

void net_mac_release(int lock_fd)
{
	if (lock_fd >= 0)
		close(lock_fd);
}

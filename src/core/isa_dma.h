/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DMA channels of an ISA bus as values: the board hands the controller's end to the devices that ask for transfers. */
#ifndef XUNI_CORE_ISA_DMA_H
#define XUNI_CORE_ISA_DMA_H

#include <stdbool.h>
#include <stddef.h>

struct isa_dma {
	/* Moves up to `bytes` (even on 16-bit channels) between the device's buffer and the channel's memory, as far as
	 * its count goes; returns how many, 0: the channel is masked. *terminal: the count ran out with these bytes.
	 * Any thread; the controller's lock is a leaf. */
	size_t (*transfer)(void *opaque, unsigned channel, void *buffer, size_t bytes, bool to_memory, bool *terminal);
	/* ready(client) is called whenever the guest unmasks the channel, without a lock. One client a channel; NULL:
	 * none. */
	void (*watch)(void *opaque, unsigned channel, void (*ready)(void *client), void *client);
	void *opaque;
};

#endif

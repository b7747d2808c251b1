/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XUNI_DEVICE_PC_MC146818_H
#define XUNI_DEVICE_PC_MC146818_H

#include "core/device.h"

struct mc146818;

extern const struct device_class mc146818_class;

struct mc146818_config {
	int64_t calendar_ns; /* what the clock shows at creation: ns since 1970 in the guest's own calendar (UTC or
				local) */
	bool follow_host;    /* goes with the host's clock (-rtc clock=host), else with the machine's */
	bool slew;           /* -rtc driftfix=slew: periodic ticks that a guest missed are given later */
};

/* Ports 0x70 and 0x71; output: env->isa_irq[8], or hpet_legacy_input(hpet, 1). */
struct mc146818 *mc146818_new(const struct device_env *env, struct irq output, const struct mc146818_config *config,
			      struct error *err);

/* CMOS RAM, 0x0e..0x7f: what firmware looks up. Before guests run, or any thread. */
void mc146818_set_cmos(struct mc146818 *rtc, uint8_t index, uint8_t value);
/* The memory size bytes 0x15-0x18, 0x30-0x35 and 0x5b-0x5d as SeaBIOS reads them. */
void mc146818_set_memory(struct mc146818 *rtc, uint64_t bytes_below_4g, uint64_t bytes_above_4g);

#endif

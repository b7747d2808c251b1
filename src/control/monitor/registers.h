/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU registers for people: `info registers`, and $name in expressions. */
#ifndef XUNI_CONTROL_MONITOR_REGISTERS_H
#define XUNI_CONTROL_MONITOR_REGISTERS_H

#include "control/monitor/command.h"
#include "core/x86_state.h"

struct vcpu;

/* The call's current vCPU (HMP `cpu`). */
struct vcpu *registers_vcpu(const struct command_call *call);
/* A copy of the vCPU's state; it is stopped for that moment only. Heap, the caller's. */
struct x86_state *registers_state(struct machine *machine, struct vcpu *vcpu);
/* name in lower case: rax, eax, pc, cr3, cs, cs.base, ... of the current vCPU. */
bool register_value(struct command_call *call, const char *name, uint64_t *value);
/* Layout as qemu's. */
void registers_show(struct text *text, const struct x86_state *state, bool halted);

#endif

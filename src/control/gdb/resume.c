/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest goes on and stops: c, s, vCont, and the replies that say why it stands still (gdb's manual, E.3 Stop Reply
 * Packets). All vCPUs stand still while one reports.
 */
#include "control/gdb/internal.h"

#include "base/util.h"
#include "core/engine.h"

#include <stdlib.h>

enum { STEP_NO_INTERRUPTS = 2, STEP_NO_TIMERS = 4 };

void gdb_put_stop(struct gdb *gdb, unsigned cpu, int signal)
{
	gdb_put(&gdb->reply, "T%02xthread:", signal);
	gdb_put_thread(gdb, cpu);
	gdb_put(&gdb->reply, ";");
}

/* Whether gdb finds its breakpoint at the address that it calls pc: in real mode it does not. */
static bool flat_there(struct gdb *gdb, unsigned cpu, uint64_t gva)
{
	struct x86_state *state = gdb_state(gdb->machine, cpu);
	bool flat = state->rip == gva;

	free(state);
	return flat;
}

static void put_breakpoint(struct gdb *gdb, unsigned cpu, uint64_t gva)
{
	if (!flat_there(gdb, cpu, gva))
		return;
	for (size_t i = 0; i < gdb->point_count; i++) {
		const struct gdb_point *point = &gdb->points[i];

		if (point->gva != gva || point->type > GDB_HARDWARE)
			continue;
		if (point->type == GDB_SOFTWARE ? gdb->swbreak : gdb->hwbreak)
			gdb_put(&gdb->reply, "%cwbreak:;", point->type == GDB_SOFTWARE ? 's' : 'h');
		return;
	}
}

static void put_hit(struct gdb *gdb, unsigned cpu, const struct debug_hit *hit)
{
	static const char *const names[] = {
		[DEBUG_WRITE] = "watch", [DEBUG_READ] = "rwatch", [DEBUG_ACCESS] = "awatch"};

	if (hit->why == DEBUG_WATCHPOINT && hit->kind != DEBUG_EXECUTE)
		gdb_put(&gdb->reply, "%s:%llx;", names[hit->kind], (unsigned long long)hit->gva);
	if (hit->why == DEBUG_BREAKPOINT)
		put_breakpoint(gdb, cpu, hit->gva);
}

static void send_stop(struct gdb *gdb, unsigned cpu, int signal, const struct debug_hit *hit)
{
	gdb->going = false;
	gdb->cpu = gdb->go_cpu = cpu;
	gdb->reply.length = 0;
	gdb->reply.full = false;
	gdb_put_stop(gdb, cpu, signal);
	if (hit)
		put_hit(gdb, cpu, hit);
	gdb_send(gdb, gdb->reply.data, gdb->reply.length);
}

void gdb_stopped(struct gdb *gdb, int signal)
{
	if (gdb->going)
		send_stop(gdb, gdb->go_cpu, signal, NULL);
}

void gdb_stopped_at(struct gdb *gdb, struct vcpu *vcpu)
{
	const struct debug_hit hit = vcpu->debug_hit;

	if (gdb->going)
		send_stop(gdb, vcpu->index, GDB_SIGNAL_TRAP, &hit);
}

static enum debug_step step_kind(const struct gdb *gdb)
{
	return gdb->step_bits & STEP_NO_INTERRUPTS ? DEBUG_STEP_QUIET : DEBUG_STEP;
}

/* Time stands still while one CPU steps, unless only an interrupt can let it go on. */
static bool needs_clock(struct gdb *gdb, const enum debug_step *steps)
{
	bool stepping = false, halted = false;

	for (unsigned i = 0; i < gdb->machine->vcpu_count; i++) {
		struct x86_state *state;

		if (steps[i] != DEBUG_STEP && steps[i] != DEBUG_STEP_QUIET)
			continue;
		state = gdb_state(gdb->machine, i);
		stepping = true;
		halted |= state->mp_state != X86_MP_RUNNING;
		free(state);
	}
	return !stepping || halted || !(gdb->step_bits & STEP_NO_TIMERS);
}

static bool go_on(struct gdb *gdb, const enum debug_step *steps)
{
	struct error err = {0};

	gdb->going = true;
	if (machine_cont_debug(gdb->machine, steps, needs_clock(gdb, steps), &err) == 0)
		return false;
	/* A machine that needs a reset cannot go on: it stops as it stands. */
	gdb_stopped(gdb, GDB_SIGNAL_QUIT);
	return false;
}

bool gdb_go(struct gdb *gdb, bool step)
{
	enum debug_step *steps = xcalloc(gdb->machine->vcpu_count, sizeof(*steps));
	bool answer;

	if (step)
		steps[gdb->go_cpu] = step_kind(gdb);
	answer = go_on(gdb, steps);
	free(steps);
	return answer;
}

/* One of ";c", ";C09", ";s:p1.2"; sets what the vCPUs it names have no action for yet. */
static bool take_action(struct gdb *gdb, const char **text, enum debug_step *steps)
{
	enum debug_step step;
	uint64_t signal;
	int cpu = -1;

	if (*(*text)++ != ';')
		return false;
	if (**text == 'c' || **text == 'C')
		step = DEBUG_RUN;
	else if (**text == 's' || **text == 'S')
		step = step_kind(gdb);
	else
		return false;
	if (**text == 'C' || **text == 'S') {
		(*text)++;
		if (!gdb_take_number(text, &signal))
			return false;
	} else {
		(*text)++;
	}
	if (**text == ':') {
		(*text)++;
		if (!gdb_take_thread(gdb, text, &cpu))
			return false;
	}
	for (unsigned i = 0; i < gdb->machine->vcpu_count; i++)
		if (steps[i] == DEBUG_HOLD && (cpu < 0 || (unsigned)cpu == i))
			steps[i] = step;
	return true;
}

bool gdb_vcont(struct gdb *gdb, const char *text)
{
	enum debug_step *steps = xcalloc(gdb->machine->vcpu_count, sizeof(*steps));
	bool answer = true, right = *text;

	for (unsigned i = 0; i < gdb->machine->vcpu_count; i++)
		steps[i] = DEBUG_HOLD;
	while (right && *text)
		right = take_action(gdb, &text, steps);
	if (!right)
		gdb_put(&gdb->reply, "E22");
	else
		answer = go_on(gdb, steps);
	free(steps);
	return answer;
}

void gdb_detach(struct gdb *gdb)
{
	gdb->going = false;
	gdb_forget_points(gdb);
	machine_cont(gdb->machine, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Life of a machine: started, stopped, reset, ended (build.c makes it). Everything runs in the main loop's
 * thread; what other threads want (a guest's power-off, a signal's quit) is noted under request_lock and carried out
 * by the loop.
 */
#include "machine/machine.h"

#include "backend/block/attach.h"

#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"
#include "config/domain.h"
#include "core/clock.h"
#include "core/engine.h"
#include "core/ram.h"
#include "cpu/x86/cpu.h"
#include "machine/inspect.h"
#include "machine/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const run_state_names[] = {
	[RUN_PRELAUNCH] = "prelaunch", [RUN_RUNNING] = "running", [RUN_PAUSED] = "paused", [RUN_SHUTDOWN] = "shutdown",
	[RUN_PANICKED] = "guest-panicked", [RUN_INTERNAL_ERROR] = "internal-error", [RUN_IO_ERROR] = "io-error",
	[RUN_SUSPENDED] = "suspended", [RUN_WATCHDOG] = "watchdog", [RUN_DEBUG] = "debug",
};

static const char *const shutdown_cause_names[] = {
	[SHUTDOWN_NONE] = "none", [SHUTDOWN_HOST_QMP_QUIT] = "host-qmp-quit",
	[SHUTDOWN_HOST_QMP_RESET] = "host-qmp-system-reset", [SHUTDOWN_HOST_SIGNAL] = "host-signal",
	[SHUTDOWN_HOST_UI] = "host-ui", [SHUTDOWN_GUEST_SHUTDOWN] = "guest-shutdown", [SHUTDOWN_GUEST_RESET] = "guest-reset",
	[SHUTDOWN_GUEST_PANIC] = "guest-panic", [SHUTDOWN_HOST_ERROR] = "host-error", [SHUTDOWN_DEBUG_EXIT] = "guest-shutdown",
};

const char *run_state_name(enum run_state state)
{
	return run_state_names[state];
}

const char *shutdown_cause_name(enum shutdown_cause cause)
{
	return shutdown_cause_names[cause];
}

const char *machine_accel_report(const struct machine *machine)
{
	return machine->private_data->accel_report;
}

/* --- events --- */

void machine_listen(struct machine *machine, struct machine_listener *listener)
{
	listener->next = machine->listeners;
	machine->listeners = listener;
}

void machine_unlisten(struct machine *machine, struct machine_listener *listener)
{
	for (struct machine_listener **at = &machine->listeners; *at; at = &(*at)->next) {
		if (*at == listener) {
			*at = listener->next;
			return;
		}
	}
}

void machine_emit(struct machine *machine, const char *name, const char *data_json)
{
	struct machine_listener *next;

	for (struct machine_listener *listener = machine->listeners; listener; listener = next) {
		next = listener->next;
		listener->event(listener->opaque, name, data_json);
	}
}

static void machine_emit_cause(struct machine *machine, const char *name, enum shutdown_cause cause)
{
	char data[96];
	bool guest = cause >= SHUTDOWN_GUEST_SHUTDOWN && cause != SHUTDOWN_HOST_ERROR;

	snprintf(data, sizeof(data), "{\"guest\": %s, \"reason\": \"%s\"}", guest ? "true" : "false",
	         shutdown_cause_name(cause));
	machine_emit(machine, name, data);
}

/* --- the virtual clock in the main loop --- */

void machine_clock_serve(void *opaque)
{
	struct machine *machine = opaque;
	struct machine_private *priv = machine->private_data;
	int64_t next;

	atomic_store(&priv->clock_rearm_posted, false);
	next = clock_run(machine->clock);
	if (next == INT64_MAX || !clock_running(machine->clock) || machine->config->stepped)
		loop_timer_cancel(&priv->clock_timer);
	else
		loop_timer_set(&priv->clock_timer, next + clock_host_offset_ns(machine->clock));
}

void machine_clock_waker(void *opaque)
{
	struct machine *machine = opaque;

	if (!machine->config->stepped && !atomic_exchange(&machine->private_data->clock_rearm_posted, true))
		loop_post(machine->loop, machine_clock_serve, machine);
}

/* --- running and stopping --- */

static void machine_set_state(struct machine *machine, enum run_state state)
{
	machine->state = state;
}

/* Returns whether it ran before. */
static bool machine_halt(struct machine *machine, enum run_state state)
{
	struct machine_private *priv = machine->private_data;
	bool was_running = machine->state == RUN_RUNNING;

	if (priv->crew)
		vcpu_crew_pause(priv->crew);
	if (was_running && clock_running(machine->clock)) {
		clock_stop(machine->clock);
		if (machine->engine->ops->clock_changed)
			machine->engine->ops->clock_changed(machine->engine, false);
	}
	machine_set_state(machine, state);
	return was_running;
}

void machine_stop(struct machine *machine, enum run_state state)
{
	if (machine_halt(machine, state))
		machine_emit(machine, "STOP", NULL);
}

int machine_cont(struct machine *machine, struct error *err)
{
	return machine_cont_debug(machine, NULL, true, err);
}

int machine_cont_debug(struct machine *machine, const enum debug_step *steps, bool clock, struct error *err)
{
	struct machine_private *priv = machine->private_data;

	switch (machine->state) {
	case RUN_RUNNING:
		return 0;
	case RUN_SHUTDOWN:
	case RUN_PANICKED:
	case RUN_INTERNAL_ERROR:
		return error_set(err, EINVAL, "Resetting the Virtual Machine is required");
	default:
		break;
	}
	block_reset_io_status(machine->blocks);
	machine_set_state(machine, RUN_RUNNING);
	if (clock)
		clock_start(machine->clock);
	if (clock && machine->engine->ops->clock_changed)
		machine->engine->ops->clock_changed(machine->engine, true);
	for (unsigned i = 0; i < machine->vcpu_count; i++) {
		machine->vcpus[i]->debug_step = steps ? steps[i] : DEBUG_RUN;
		vcpu_crew_hold(priv->crew, i, machine->vcpus[i]->debug_step == DEBUG_HOLD);
	}
	machine_emit(machine, "RESUME", NULL);
	vcpu_crew_resume(priv->crew);
	return 0;
}

static void machine_end(struct machine *machine, enum shutdown_cause cause, int exit_status)
{
	struct machine_private *priv = machine->private_data;
	bool was_running;

	if (priv->ended)
		return;
	was_running = machine_halt(machine, RUN_SHUTDOWN);
	machine_emit_cause(machine, "SHUTDOWN", cause);
	if (priv->actions.no_shutdown &&
	    (cause == SHUTDOWN_GUEST_SHUTDOWN || cause == SHUTDOWN_GUEST_PANIC || cause == SHUTDOWN_GUEST_RESET)) {
		if (was_running)
			machine_emit(machine, "STOP", NULL);
		return;
	}
	priv->ended = true;
	priv->cause = cause;
	priv->exit_status = exit_status;
	loop_quit(machine->loop);
}

static void log_reset(struct log *log, unsigned index, const struct x86_state *state)
{
	if (!log_on(log, LOG_CPU_RESET))
		return;
	log_write(log,
	          "CPU Reset (CPU %u): RIP=%016" PRIx64 " CS=%04x RSI=%016" PRIx64 " CR0=%08" PRIx64 " CR3=%016" PRIx64
	          " CR4=%08" PRIx64 " EFER=%016" PRIx64,
	          index, state->rip, state->seg[X86_CS].selector, state->gpr[6], state->cr0, state->cr3, state->cr4,
	          state->efer);
}

int machine_load(struct machine *machine, struct error *err)
{
	struct machine_private *priv = machine->private_data;
	struct boot_board board = {0};
	struct boot_result result = {0};
	struct x86_state *state;
	int ret = priv->board->describe(machine, &board, err);

	if (!ret && priv->boot)
		ret = boot_place(priv->boot, machine->ram, &board, &result, err);
	if (ret)
		return ret;
	state = xcalloc(1, sizeof(*state));
	for (unsigned i = 0; i < machine->vcpu_count; i++) {
		struct vcpu *vcpu = machine->vcpus[i];

		x86_state_reset(state, i == 0);
		if (priv->boot)
			state->mtrr_def_type = 0xc06; /* as firmware leaves it: enabled, all of memory write-back */
		if (i == 0 && priv->boot)
			boot_set_state(&result, state);
		vcpu_clear(vcpu, VCPU_INTR | VCPU_NMI | VCPU_INIT | VCPU_SIPI);
		machine->engine->ops->set_state(vcpu, state);
		log_reset(machine->log, i, state);
	}
	free(state);
	return 0;
}

void machine_reset_devices(struct machine *machine)
{
	const struct engine_irqchip_ops *irqchip = machine->engine->ops->irqchip;

	if (irqchip)
		irqchip->reset(machine->engine);
	for (struct device *device = machine->devices; device; device = device->next)
		device_reset(device);
}

static void machine_reset(struct machine *machine, enum shutdown_cause cause)
{
	struct machine_private *priv = machine->private_data;
	struct error err = {0};
	bool was_running = machine->state == RUN_RUNNING;

	if (priv->actions.no_reboot && cause == SHUTDOWN_GUEST_RESET) {
		machine_end(machine, cause, 0);
		return;
	}
	vcpu_crew_pause(priv->crew);
	machine_reset_devices(machine);
	ram_forget_slots(machine->ram);
	if (machine_load(machine, &err)) {
		log_warn(machine->log, "reset: %s", err.msg);
		machine_end(machine, SHUTDOWN_HOST_ERROR, 1);
		return;
	}
	machine_emit_cause(machine, "RESET", cause);
	if (machine->state == RUN_SHUTDOWN || machine->state == RUN_PANICKED || machine->state == RUN_INTERNAL_ERROR)
		machine_set_state(machine, RUN_PAUSED);
	if (was_running)
		vcpu_crew_resume(priv->crew);
}

/* --- requests --- */

static void emit_balloon_change(struct machine *machine)
{
	char data[48];
	uint64_t bytes;

	if (inspect_balloon(machine, &bytes, NULL) < 0)
		return;
	snprintf(data, sizeof(data), "{\"actual\": %llu}", (unsigned long long)bytes);
	machine_emit(machine, "BALLOON_CHANGE", data);
}

static void guest_panicked(struct machine *machine)
{
	const struct machine_actions actions = machine->private_data->actions;

	if (actions.panic == PANIC_NONE) {
		machine_emit(machine, "GUEST_PANICKED", "{\"action\": \"run\"}");
	} else if (actions.panic == PANIC_PAUSE || (actions.panic == PANIC_SHUTDOWN && actions.no_shutdown)) {
		machine_emit(machine, "GUEST_PANICKED", "{\"action\": \"pause\"}");
		machine_stop(machine, RUN_PANICKED);
	} else {
		machine_emit(machine, "GUEST_PANICKED", "{\"action\": \"poweroff\"}");
		machine_end(machine, SHUTDOWN_GUEST_PANIC, actions.panic == PANIC_EXIT_FAILURE);
	}
}

struct machine_actions machine_actions(const struct machine *machine)
{
	return machine->private_data->actions;
}

void machine_set_actions(struct machine *machine, struct machine_actions actions)
{
	pthread_mutex_lock(&machine->private_data->request_lock);
	machine->private_data->actions = actions;
	pthread_mutex_unlock(&machine->private_data->request_lock);
}

static void watchdog_ran_out(struct machine *machine)
{
	enum watchdog_action action = (enum watchdog_action)machine->private_data->actions.watchdog;
	char data[48];

	snprintf(data, sizeof(data), "{\"action\": \"%s\"}", watchdog_action_names[action]);
	machine_emit(machine, "WATCHDOG", data);
	switch (action) {
	case WATCHDOG_RESET:
		machine_reset(machine, SHUTDOWN_GUEST_RESET);
		break;
	case WATCHDOG_SHUTDOWN:
		machine_request_powerdown(machine);
		break;
	case WATCHDOG_POWEROFF:
		machine_end(machine, SHUTDOWN_GUEST_SHUTDOWN, 0);
		break;
	case WATCHDOG_INJECT_NMI:
		machine_nmi(machine);
		break;
	case WATCHDOG_PAUSE:
		machine_stop(machine, RUN_WATCHDOG);
		break;
	case WATCHDOG_DEBUG:
		log_warn(machine->log, "watchdog: timer fired");
		break;
	case WATCHDOG_NONE:
		break;
	}
}

static void serve_requests(void *opaque)
{
	struct machine *machine = opaque;
	struct machine_private *priv = machine->private_data;
	struct machine_private asked;

	pthread_mutex_lock(&priv->request_lock);
	asked = *priv;
	priv->request_posted = priv->want_reset = priv->want_power_off = priv->want_powerdown = false;
	priv->want_debug_exit = priv->want_quit = priv->want_panic = priv->want_failed = false;
	priv->want_balloon_event = priv->want_io_error_stop = priv->want_tray_events = false;
	priv->debug_vcpu = NULL;
	priv->want_watchdog = priv->want_crash_loaded = false;
	pthread_mutex_unlock(&priv->request_lock);

	if (asked.want_quit) {
		machine_end(machine, asked.quit_cause, 0);
	} else if (asked.want_debug_exit) {
		machine_end(machine, SHUTDOWN_DEBUG_EXIT, asked.debug_exit_status);
	} else if (asked.want_failed) {
		log_warn(machine->log, "the guest cannot go on: %s", asked.failure.msg);
		machine_stop(machine, RUN_INTERNAL_ERROR);
	} else if (asked.want_power_off) {
		machine_end(machine, SHUTDOWN_GUEST_SHUTDOWN, 0);
	} else if (asked.want_panic) {
		guest_panicked(machine);
	} else if (asked.want_reset) {
		machine_reset(machine, asked.reset_cause);
	}
	/* These do not exclude what was done above, as long as there is a machine. */
	if (asked.want_watchdog && machine->state == RUN_RUNNING)
		watchdog_ran_out(machine);
	if (asked.want_crash_loaded && !priv->ended)
		machine_emit(machine, "GUEST_CRASHLOADED", "{\"action\": \"run\"}");
	if (asked.want_io_error_stop && machine->state == RUN_RUNNING)
		machine_stop(machine, RUN_IO_ERROR);
	if (asked.debug_vcpu && !priv->ended) {
		if (machine->state == RUN_RUNNING)
			machine_stop(machine, RUN_DEBUG);
		if (machine->debugger)
			machine->debugger->stopped(machine->debugger->opaque, asked.debug_vcpu);
	}
	if (asked.want_powerdown && !priv->ended) {
		machine_emit(machine, "POWERDOWN", NULL);
		if (priv->board->power_button)
			priv->board->power_button(machine);
	}
	if (asked.want_balloon_event && !priv->ended)
		emit_balloon_change(machine);
	if (asked.want_tray_events && !priv->ended)
		machine_tell_trays(machine);
}

/* request_lock held. */
static void post_requests(struct machine *machine)
{
	struct machine_private *priv = machine->private_data;

	if (!priv->request_posted)
		loop_post(machine->loop, serve_requests, machine);
	priv->request_posted = true;
}

void machine_request_reset(struct machine *machine, enum shutdown_cause cause)
{
	struct machine_private *priv = machine->private_data;

	pthread_mutex_lock(&priv->request_lock);
	priv->want_reset = true;
	priv->reset_cause = cause;
	post_requests(machine);
	pthread_mutex_unlock(&priv->request_lock);
}

void machine_request_powerdown(struct machine *machine)
{
	struct machine_private *priv = machine->private_data;

	pthread_mutex_lock(&priv->request_lock);
	priv->want_powerdown = true;
	post_requests(machine);
	pthread_mutex_unlock(&priv->request_lock);
}

void machine_request_quit(struct machine *machine, enum shutdown_cause cause)
{
	struct machine_private *priv = machine->private_data;

	pthread_mutex_lock(&priv->request_lock);
	priv->want_quit = true;
	priv->quit_cause = cause;
	post_requests(machine);
	pthread_mutex_unlock(&priv->request_lock);
}

static void set_a20(struct machine *machine, bool open)
{
	if (atomic_exchange(&machine->engine->a20_closed, !open) == !open)
		return;
	for (unsigned i = 0; i < machine->vcpu_count; i++)
		vcpu_raise(machine->vcpus[i], VCPU_FLUSH);
}

void machine_device_request(void *opaque, int request, int argument)
{
	struct machine *machine = opaque;
	struct machine_private *priv = machine->private_data;
	bool stop_now = true;

	if (request == MACHINE_A20) {
		set_a20(machine, argument);
		return;
	}

	pthread_mutex_lock(&priv->request_lock);
	switch ((enum machine_request)request) {
	case MACHINE_RESET:
		priv->want_reset = true;
		priv->reset_cause = SHUTDOWN_GUEST_RESET;
		break;
	case MACHINE_POWER_OFF:
		priv->want_power_off = true;
		break;
	case MACHINE_DEBUG_EXIT:
		priv->want_debug_exit = true;
		priv->debug_exit_status = argument;
		break;
	case MACHINE_PANIC:
		if (argument) { /* a crash kernel takes over */
			priv->want_crash_loaded = true;
			stop_now = false;
		} else {
			priv->want_panic = true;
			stop_now = priv->actions.panic != PANIC_NONE;
		}
		post_requests(machine); /* the event is told in any case */
		break;
	case MACHINE_WATCHDOG:
		priv->want_watchdog = true;
		stop_now = false;
		post_requests(machine);
		break;
	case MACHINE_IO_ERROR:
		priv->want_io_error_stop = true;
		break;
	case MACHINE_TRAY_MOVED:
		priv->want_tray_events = true;
		stop_now = false;
		post_requests(machine);
		break;
	case MACHINE_BALLOON_CHANGED:
		priv->want_balloon_event = true;
		stop_now = false;
		post_requests(machine);
		break;
	default:
		stop_now = false;
		break;
	}
	if (stop_now)
		post_requests(machine);
	pthread_mutex_unlock(&priv->request_lock);
	/* The guest must not go on past the instruction that asked. */
	if (stop_now && priv->crew)
		vcpu_crew_request_pause(priv->crew);
}

void machine_vcpu_reported(void *opaque, struct vcpu *vcpu, enum vcpu_exit why, const struct error *err)
{
	struct machine *machine = opaque;
	struct machine_private *priv = machine->private_data;

	if (why == VCPU_RESET || why == VCPU_SHUTDOWN) {
		machine_device_request(machine, why == VCPU_RESET ? MACHINE_RESET : MACHINE_POWER_OFF, 0);
		return;
	}
	pthread_mutex_lock(&priv->request_lock);
	if (why == VCPU_DEBUG) {
		if (!priv->debug_vcpu)
			priv->debug_vcpu = vcpu;
	} else {
		priv->want_failed = true;
		priv->failure = *err;
	}
	post_requests(machine);
	pthread_mutex_unlock(&priv->request_lock);
	if (why == VCPU_DEBUG)
		vcpu_crew_request_pause(priv->crew);
}

void machine_nmi(struct machine *machine)
{
	for (unsigned i = 0; i < machine->vcpu_count; i++)
		vcpu_raise(machine->vcpus[i], VCPU_NMI);
}

int machine_set_boot_order(struct machine *machine, const char *letters, struct error *err)
{
	const struct board *board = machine->private_data->board;

	if (!board->set_boot_order)
		return error_set(err, ENOTSUP, "no function defined to set boot device list for this architecture");
	return board->set_boot_order(machine, letters, err);
}

bool machine_rom_at(struct machine *machine, size_t index, struct rom_info *rom)
{
	const struct board *board = machine->private_data->board;

	*rom = (struct rom_info){0};
	return board->rom_at && board->rom_at(machine, index, rom);
}

int machine_run(struct machine *machine)
{
	if (!machine->config->start_paused)
		machine_cont(machine, NULL);
	loop_run(machine->loop);
	return machine->private_data->exit_status;
}

/* --- vCPUs, for the monitor --- */

void machine_vcpu_call(struct machine *machine, struct vcpu *vcpu, void (*fn)(struct vcpu *vcpu, void *opaque), void *opaque)
{
	vcpu_crew_call(machine->private_data->crew, vcpu->index, fn, opaque);
}

int machine_vcpu_tid(const struct machine *machine, const struct vcpu *vcpu)
{
	return vcpu_crew_tid(machine->private_data->crew, vcpu->index);
}

bool machine_vcpu_halted(const struct machine *machine, const struct vcpu *vcpu)
{
	return vcpu_crew_halted(machine->private_data->crew, vcpu->index);
}

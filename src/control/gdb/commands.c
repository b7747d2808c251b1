/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a packet asks for (gdb's manual, E.2 Packets, E.4 General Query Packets). An empty answer means "not known", by
 * which gdb finds out what there is. Threads are vCPUs, numbered from 1, of the one process 1.
 */
#include "control/gdb/internal.h"

#include "base/util.h"
#include "control/monitor/monitor.h"
#include "core/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* False: no answer is due now. */
typedef bool command_fn(struct gdb *gdb, const char *text);

static void put_ok(struct gdb *gdb)
{
	gdb_put(&gdb->reply, "OK");
}

static void put_invalid(struct gdb *gdb)
{
	gdb_put(&gdb->reply, "E22");
}

/* --- threads --- */

void gdb_put_thread(struct gdb *gdb, unsigned cpu)
{
	if (gdb->multiprocess)
		gdb_put(&gdb->reply, "p%02x.%02x", GDB_PROCESS, cpu + 1);
	else
		gdb_put(&gdb->reply, "%02x", cpu + 1);
}

/* "-1" all, "0" any, else a number. */
static bool take_id(const char **text, int64_t *id)
{
	uint64_t value;

	if (strncmp(*text, "-1", 2) == 0) {
		*text += 2;
		*id = -1;
		return true;
	}
	if (!gdb_take_number(text, &value) || value > INT32_MAX)
		return false;
	*id = (int64_t)value;
	return true;
}

bool gdb_take_thread(struct gdb *gdb, const char **text, int *cpu)
{
	int64_t process = GDB_PROCESS, thread = -1;

	if (**text == 'p') {
		(*text)++;
		if (!take_id(text, &process))
			return false;
		if (**text == '.') {
			(*text)++;
			if (!take_id(text, &thread))
				return false;
		}
	} else if (!take_id(text, &thread)) {
		return false;
	}
	if (process > 0 && process != GDB_PROCESS)
		return false;
	if (thread > (int64_t)gdb->machine->vcpu_count)
		return false;
	*cpu = thread > 0 ? (int)thread - 1 : -1;
	return true;
}

static bool run_choose(struct gdb *gdb, const char *text)
{
	char what = *text;
	int cpu;

	if (what != 'g' && what != 'c') {
		put_invalid(gdb);
		return true;
	}
	text++;
	if (!gdb_take_thread(gdb, &text, &cpu)) {
		put_invalid(gdb);
		return true;
	}
	/* All and any: the one it was. */
	if (cpu >= 0 && what == 'g')
		gdb->cpu = (unsigned)cpu;
	if (cpu >= 0 && what == 'c')
		gdb->go_cpu = (unsigned)cpu;
	put_ok(gdb);
	return true;
}

static bool run_alive(struct gdb *gdb, const char *text)
{
	int cpu;

	if (gdb_take_thread(gdb, &text, &cpu))
		put_ok(gdb);
	else
		put_invalid(gdb);
	return true;
}

static bool query_first_thread(struct gdb *gdb, const char *text)
{
	for (unsigned i = 0; i < gdb->machine->vcpu_count; i++) {
		gdb_put(&gdb->reply, i ? "," : "m");
		gdb_put_thread(gdb, i);
	}
	return true;
}

static bool query_more_threads(struct gdb *gdb, const char *text)
{
	gdb_put(&gdb->reply, "l");
	return true;
}

static bool query_extra(struct gdb *gdb, const char *text)
{
	struct x86_state *state;
	char line[48];
	bool halted;
	int cpu;

	if (!gdb_take_thread(gdb, &text, &cpu) || cpu < 0) {
		put_invalid(gdb);
		return true;
	}
	/* Also one that waits for its start-up interrupt and has not run at all. */
	state = gdb_state(gdb->machine, (unsigned)cpu);
	halted = state->mp_state != X86_MP_RUNNING || machine_vcpu_halted(gdb->machine, gdb->machine->vcpus[cpu]);
	free(state);
	snprintf(line, sizeof(line), "CPU#%d [%s]", cpu, halted ? "halted " : "running");
	gdb_put_hex(&gdb->reply, line, strlen(line));
	return true;
}

static bool query_current(struct gdb *gdb, const char *text)
{
	if (*text) /* qCRC */
		return true;
	gdb_put(&gdb->reply, "QC");
	gdb_put_thread(gdb, gdb->cpu);
	return true;
}

/* --- queries --- */

static bool query_supported(struct gdb *gdb, const char *text)
{
	gdb->multiprocess = strstr(text, "multiprocess+");
	gdb->swbreak = strstr(text, "swbreak+");
	gdb->hwbreak = strstr(text, "hwbreak+");
	gdb_put(&gdb->reply,
		"PacketSize=%x;qXfer:features:read+;vContSupported+;multiprocess+;QStartNoAckMode+;swbreak+;hwbreak+",
		GDB_PACKET_MAX);
	return true;
}

/* target.xml:offset,length */
static bool query_features(struct gdb *gdb, const char *text)
{
	static const char annex[] = "target.xml:";
	uint64_t offset, length, room;
	const char *xml;

	if (strncmp(text, annex, strlen(annex)) != 0) {
		gdb_put(&gdb->reply, "E00");
		return true;
	}
	text += strlen(annex);
	if (!gdb_take_number(&text, &offset) || *text++ != ',' || !gdb_take_number(&text, &length)) {
		put_invalid(gdb);
		return true;
	}
	if (!offset)
		gdb_describe(gdb);
	xml = gdb_registers_xml(gdb->registers);
	room = strlen(xml);
	if (offset > room) {
		put_invalid(gdb);
		return true;
	}
	room -= offset;
	length = min_u64(length, GDB_PACKET_MAX / 2);
	gdb_put(&gdb->reply, "%c%.*s", length < room ? 'm' : 'l', (int)min_u64(length, room), xml + offset);
	return true;
}

/* A line of the monitor; its output comes in O packets, then OK. */
static bool query_monitor(struct gdb *gdb, const char *text)
{
	size_t length = strlen(text) / 2;
	char line[1024] = "", *output;

	if (length >= sizeof(line) || !gdb_take_hex(&text, (uint8_t *)line, length)) {
		put_invalid(gdb);
		return true;
	}
	/* The monitor's cpu chooses until gdb chooses another thread. */
	if (gdb->monitor_thread != gdb->cpu)
		gdb->monitor_cpu = gdb->monitor_thread = gdb->cpu;
	output = monitor_human(gdb->machine, &gdb->monitor_cpu, line);
	for (size_t at = 0, left = strlen(output); left;) {
		size_t run = min_u64(left, GDB_PACKET_MAX / 2 - 2);

		gdb->reply.length = 0;
		gdb_put(&gdb->reply, "O");
		gdb_put_hex(&gdb->reply, output + at, run);
		gdb_send(gdb, gdb->reply.data, gdb->reply.length);
		at += run;
		left -= run;
	}
	free(output);
	gdb->reply.length = 0;
	put_ok(gdb);
	return true;
}

static bool query_attached(struct gdb *gdb, const char *text)
{
	gdb_put(&gdb->reply, "1");
	return true;
}

static bool query_step_bits(struct gdb *gdb, const char *text)
{
	gdb_put(&gdb->reply, "ENABLE=1,NOIRQ=2,NOTIMER=4");
	return true;
}

static bool query_step(struct gdb *gdb, const char *text)
{
	gdb_put(&gdb->reply, "0x%x", gdb->step_bits);
	return true;
}

static bool query_physical(struct gdb *gdb, const char *text)
{
	gdb_put(&gdb->reply, "%d", gdb->physical_memory);
	return true;
}

static bool set_step(struct gdb *gdb, const char *text)
{
	uint64_t bits;

	if (!gdb_take_number(&text, &bits) || bits > 7) {
		put_invalid(gdb);
		return true;
	}
	gdb->step_bits = (unsigned)bits;
	put_ok(gdb);
	return true;
}

static bool set_physical(struct gdb *gdb, const char *text)
{
	uint64_t on;

	if (!gdb_take_number(&text, &on)) {
		put_invalid(gdb);
		return true;
	}
	gdb->physical_memory = on;
	put_ok(gdb);
	return true;
}

static const char *const descriptions[] = {[GDB_DESCRIBE_CPU] = "cpu",
					   [GDB_DESCRIBE_I8086] = "i8086",
					   [GDB_DESCRIBE_I386] = "i386",
					   [GDB_DESCRIBE_X86_64] = "i386:x86-64",
					   [GDB_DESCRIBE_MODE] = "mode"};

static bool query_description(struct gdb *gdb, const char *text)
{
	gdb_put(&gdb->reply, "%s", descriptions[gdb->description]);
	return true;
}

/* Until gdb reads the description again (its "unset tdesc filename"), both sides keep to the old one. */
static bool set_description(struct gdb *gdb, const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(descriptions); i++) {
		if (strcmp(text, descriptions[i]))
			continue;
		gdb->description = (enum gdb_description)i;
		put_ok(gdb);
		return true;
	}
	put_invalid(gdb);
	return true;
}

static bool set_no_acks(struct gdb *gdb, const char *text)
{
	/* The answer to this one is acknowledged still, which nobody waits for. */
	gdb->acks = false;
	put_ok(gdb);
	return true;
}

/* --- the rest --- */

static bool run_why(struct gdb *gdb, const char *text)
{
	/* A new gdb asks this first: what another one left behind is not its. */
	gdb_forget_points(gdb);
	gdb_put_stop(gdb, gdb->cpu, GDB_SIGNAL_TRAP);
	return true;
}

/* c [addr], s [addr]; C sig[;addr] and S likewise, whose signal no guest has a use for. */
static bool go(struct gdb *gdb, const char *text, bool step, bool signal)
{
	uint64_t number;

	if (signal && gdb_take_number(&text, &number) && *text == ';')
		text++;
	if (*text) { /* Going on elsewhere is deprecated: gdb writes the register itself. */
		put_invalid(gdb);
		return true;
	}
	return gdb_go(gdb, step);
}

static bool run_continue(struct gdb *gdb, const char *text)
{
	return go(gdb, text, false, false);
}

static bool run_continue_signal(struct gdb *gdb, const char *text)
{
	return go(gdb, text, false, true);
}

static bool run_step(struct gdb *gdb, const char *text)
{
	return go(gdb, text, true, false);
}

static bool run_step_signal(struct gdb *gdb, const char *text)
{
	return go(gdb, text, true, true);
}

static bool ask_vcont(struct gdb *gdb, const char *text)
{
	gdb_put(&gdb->reply, "vCont;c;C;s;S");
	return true;
}

static bool run_vattach(struct gdb *gdb, const char *text)
{
	uint64_t process;

	if (!gdb_take_number(&text, &process) || process != GDB_PROCESS)
		put_invalid(gdb);
	else
		gdb_put_stop(gdb, gdb->cpu, GDB_SIGNAL_TRAP);
	return true;
}

static bool run_detach(struct gdb *gdb, const char *text)
{
	put_ok(gdb);
	gdb_detach(gdb);
	return true;
}

static bool run_vkill(struct gdb *gdb, const char *text)
{
	put_ok(gdb);
	machine_request_quit(gdb->machine, SHUTDOWN_HOST_UI);
	return true;
}

static bool run_kill(struct gdb *gdb, const char *text)
{
	machine_request_quit(gdb->machine, SHUTDOWN_HOST_UI);
	return false;
}

static bool run_extended(struct gdb *gdb, const char *text)
{
	put_ok(gdb);
	return true;
}

static bool run_g(struct gdb *gdb, const char *text)
{
	gdb_read_registers(gdb);
	return true;
}

static bool run_G(struct gdb *gdb, const char *text)
{
	gdb_write_registers(gdb, text);
	return true;
}

static bool run_p(struct gdb *gdb, const char *text)
{
	gdb_read_register(gdb, text);
	return true;
}

static bool run_P(struct gdb *gdb, const char *text)
{
	gdb_write_register(gdb, text);
	return true;
}

static bool run_m(struct gdb *gdb, const char *text)
{
	gdb_read_memory(gdb, text);
	return true;
}

static bool run_M(struct gdb *gdb, const char *text)
{
	gdb_write_memory(gdb, text, false);
	return true;
}

static bool run_X(struct gdb *gdb, const char *text)
{
	gdb_write_memory(gdb, text, true);
	return true;
}

static bool run_insert(struct gdb *gdb, const char *text)
{
	gdb_point(gdb, text, true);
	return true;
}

static bool run_remove(struct gdb *gdb, const char *text)
{
	gdb_point(gdb, text, false);
	return true;
}

/* The first that the packet begins with; longer ones before those they begin with. */
static const struct {
	const char *prefix;
	command_fn *run;
} commands[] = {
	{"?", run_why},
	{"!", run_extended},
	{"C", run_continue_signal},
	{"D", run_detach},
	{"G", run_G},
	{"H", run_choose},
	{"M", run_M},
	{"P", run_P},
	{"QStartNoAckMode", set_no_acks},
	{"Qqemu.PhyMemMode:", set_physical},
	{"Qqemu.sstep=", set_step},
	{"Qxuni.Description:", set_description},
	{"qqemu.sstep=", set_step},
	{"S", run_step_signal},
	{"T", run_alive},
	{"X", run_X},
	{"Z", run_insert},
	{"c", run_continue},
	{"g", run_g},
	{"k", run_kill},
	{"m", run_m},
	{"p", run_p},
	{"qAttached", query_attached},
	{"qC", query_current},
	{"qRcmd,", query_monitor},
	{"qSupported", query_supported},
	{"qThreadExtraInfo,", query_extra},
	{"qXfer:features:read:", query_features},
	{"qfThreadInfo", query_first_thread},
	{"qqemu.PhyMemMode", query_physical},
	{"qqemu.sstepbits", query_step_bits},
	{"qqemu.sstep", query_step},
	{"qsThreadInfo", query_more_threads},
	{"qxuni.Description", query_description},
	{"s", run_step},
	{"vAttach;", run_vattach},
	{"vCont?", ask_vcont},
	{"vCont", gdb_vcont},
	{"vKill;", run_vkill},
	{"z", run_remove},
};

bool gdb_execute(struct gdb *gdb)
{
	const char *text = (const char *)gdb->packet;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		size_t length = strlen(commands[i].prefix);

		if (strncmp(text, commands[i].prefix, length) == 0)
			return commands[i].run(gdb, text + length);
	}
	return true;
}

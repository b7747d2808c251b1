/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of src/control/gdb share: one server and its session. */
#ifndef XUNI_CONTROL_GDB_INTERNAL_H
#define XUNI_CONTROL_GDB_INTERNAL_H

#include "backend/char/chardev.h"
#include "control/gdb/gdb.h"
#include "core/x86_state.h"
#include "machine/machine.h"

/* Payload of a packet; what gdb is told. The longest is all registers of a CPU with AVX, in hexadecimal. */
enum { GDB_PACKET_MAX = 0x4000, GDB_POINTS_MAX = 1024, GDB_PROCESS = 1 };

/* Signal numbers of the protocol (gdb/signals.def). */
enum {
	GDB_SIGNAL_INT = 2,
	GDB_SIGNAL_QUIT = 3,
	GDB_SIGNAL_TRAP = 5,
	GDB_SIGNAL_ABRT = 6,
	GDB_SIGNAL_ALRM = 14,
	GDB_SIGNAL_STOP = 17
};

/* Z0 to Z4. */
enum gdb_point_type { GDB_SOFTWARE, GDB_HARDWARE, GDB_WRITE, GDB_READ, GDB_ACCESS };

struct gdb_point {
	enum gdb_point_type type;
	uint64_t gva, bytes;
};

/* A growing answer. */
struct gdb_reply {
	char data[GDB_PACKET_MAX];
	size_t length;
	bool full; /* something did not fit: the answer becomes E22 */
};

enum gdb_receiving { GDB_IDLE, GDB_DATA, GDB_ESCAPED, GDB_CHECKSUM_HIGH, GDB_CHECKSUM_LOW };

/* What gdb is told that this CPU is. i8086 is i386 whose code gdb disassembles as 16-bit code. */
enum gdb_architecture { GDB_I8086, GDB_I386, GDB_X86_64 };

/* Which of them, Qxuni.Description: what the CPU can be, one by name, or what it is when gdb asks. */
enum gdb_description {
	GDB_DESCRIBE_CPU,
	GDB_DESCRIBE_I8086,
	GDB_DESCRIBE_I386,
	GDB_DESCRIBE_X86_64,
	GDB_DESCRIBE_MODE
};

struct gdb_registers;

struct gdb {
	struct machine *machine;
	struct machine_debugger debugger;
	struct machine_listener listener;
	struct chardev *chardev; /* handle of chardev_attach; NULL: nothing is listened on */
	struct chardev *owned;   /* made by gdb_serve; NULL: a -chardev */
	bool open, acks, multiprocess, swbreak, hwbreak;
	bool going; /* gdb waits for a stop reply */
	bool physical_memory;
	bool executing;                       /* a packet of this gdb's */
	unsigned step_bits;                   /* qqemu.sstepbits: 1 enable, 2 no interrupts, 4 no timers */
	unsigned cpu;                         /* Hg: of registers and memory */
	unsigned go_cpu;                      /* Hc: that steps */
	unsigned monitor_cpu, monitor_thread; /* qRcmd\'s, and what cpu was then */
	struct gdb_registers *registers;      /* as they were last described */
	enum gdb_description description;
	struct gdb_point points[GDB_POINTS_MAX];
	size_t point_count;

	enum gdb_receiving receiving;
	uint8_t packet[GDB_PACKET_MAX + 1]; /* a 0 stands behind */
	size_t packet_length;
	bool packet_long; /* longer than that: refused */
	uint8_t sum, sum_wanted;
	struct gdb_reply reply;
	uint8_t sent[2 * GDB_PACKET_MAX + 4]; /* the last packet, to be sent again after a '-' */
	size_t sent_length;
};

/* --- packet.c: framing --- */
void gdb_receive(struct gdb *gdb, const uint8_t *data, size_t length);
void gdb_send(struct gdb *gdb, const char *data, size_t length);
void gdb_put(struct gdb_reply *reply, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void gdb_put_hex(struct gdb_reply *reply, const void *data, size_t length);
/* Hexadecimal at *text, moved behind it; false when there is none. */
bool gdb_take_number(const char **text, uint64_t *value);
/* 2 * length digits; false when there are not as many. */
bool gdb_take_hex(const char **text, uint8_t *to, size_t length);

/* --- commands.c --- */
/* A whole packet: gdb->packet. The answer goes to gdb->reply; false: none is due now. */
bool gdb_execute(struct gdb *gdb);
/* "p01.02" or "02". */
void gdb_put_thread(struct gdb *gdb, unsigned cpu);
/* A thread-id: true with *cpu, or -1 for all and any. False: there is no such. */
bool gdb_take_thread(struct gdb *gdb, const char **text, int *cpu);

/* --- resume.c: going on and stopping --- */
void gdb_stopped(struct gdb *gdb, int signal);
void gdb_stopped_at(struct gdb *gdb, struct vcpu *vcpu);
/* ?: without having gone on. */
void gdb_put_stop(struct gdb *gdb, unsigned cpu, int signal);
/* c s C S and vCont; true: an answer (of an error) is due. */
bool gdb_go(struct gdb *gdb, bool step);
bool gdb_vcont(struct gdb *gdb, const char *text);
void gdb_detach(struct gdb *gdb);

/* --- memory.c --- */
void gdb_read_memory(struct gdb *gdb, const char *text);
void gdb_write_memory(struct gdb *gdb, const char *text, bool binary);
/* Of the chosen vCPU's address space, whatever Qqemu.PhyMemMode says; false: not mapped. */
bool gdb_read_gva(struct gdb *gdb, uint64_t gva, uint8_t *bytes, size_t length);
/* Z and z. */
void gdb_point(struct gdb *gdb, const char *text, bool insert);
void gdb_forget_points(struct gdb *gdb);

/* --- segments.c --- */
/* Into s alone; false: no segment that this register can hold. */
bool gdb_load_segment(struct gdb *gdb, struct x86_state *s, unsigned number, uint16_t selector);

/* --- description.c, registers.c --- */
struct gdb_registers *gdb_registers_new(const struct machine *machine, enum gdb_architecture architecture);
/* Makes gdb->registers anew, by gdb->description. */
void gdb_describe(struct gdb *gdb);
void gdb_registers_free(struct gdb_registers *registers);
/* The target description, XML. */
const char *gdb_registers_xml(const struct gdb_registers *registers);
/* g and p. */
void gdb_read_registers(struct gdb *gdb);
void gdb_read_register(struct gdb *gdb, const char *text);
void gdb_write_registers(struct gdb *gdb, const char *text);
void gdb_write_register(struct gdb *gdb, const char *text);
/* State of a vCPU; heap, freed by the caller. */
struct x86_state *gdb_state(struct machine *machine, unsigned cpu);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Packets: $data#sum, '}' before an escaped byte, '+' and '-' as long as acknowledgements are on, 0x03 as interrupt
 * (gdb's manual, E.1 Overview). Run-length encoding is neither sent nor understood: gdb does not send it.
 */
#include "control/gdb/internal.h"

#include "base/util.h"

#include <stdarg.h>
#include <stdio.h>

enum { INTERRUPT = 3, ESCAPE = '}', ESCAPE_XOR = 0x20 };

static int digit_of(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool gdb_take_number(const char **text, uint64_t *value)
{
	const char *start = *text;

	for (*value = 0; digit_of((unsigned char)**text) >= 0; (*text)++)
		*value = *value << 4 | (uint64_t)digit_of((unsigned char)**text);
	return *text != start;
}

bool gdb_take_hex(const char **text, uint8_t *to, size_t length)
{
	for (size_t i = 0; i < length; i++, *text += 2) {
		int high = digit_of((unsigned char)(*text)[0]),
		    low = high < 0 ? -1 : digit_of((unsigned char)(*text)[1]);

		if (low < 0)
			return false;
		to[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

void gdb_put(struct gdb_reply *reply, const char *fmt, ...)
{
	size_t room = sizeof(reply->data) - reply->length;
	va_list arguments;
	int length;

	va_start(arguments, fmt);
	length = vsnprintf(reply->data + reply->length, room, fmt, arguments);
	va_end(arguments);
	if (length < 0 || (size_t)length >= room)
		reply->full = true;
	else
		reply->length += (size_t)length;
}

void gdb_put_hex(struct gdb_reply *reply, const void *data, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = data;

	if (2 * length > sizeof(reply->data) - reply->length) {
		reply->full = true;
		return;
	}
	for (size_t i = 0; i < length; i++) {
		reply->data[reply->length++] = digits[bytes[i] >> 4];
		reply->data[reply->length++] = digits[bytes[i] & 15];
	}
}

static void write_bytes(struct gdb *gdb, const void *data, size_t length)
{
	if (gdb->open)
		chardev_write_all(gdb->chardev, data, length);
}

void gdb_send(struct gdb *gdb, const char *data, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t sum = 0, *to = gdb->sent;

	*to++ = '$';
	for (size_t i = 0; i < length && i < GDB_PACKET_MAX; i++) {
		uint8_t byte = (uint8_t)data[i];

		if (byte == '$' || byte == '#' || byte == '*' || byte == ESCAPE) {
			*to++ = ESCAPE;
			sum += ESCAPE;
			byte ^= ESCAPE_XOR;
		}
		*to++ = byte;
		sum += byte;
	}
	*to++ = '#';
	*to++ = (uint8_t)digits[sum >> 4];
	*to++ = (uint8_t)digits[sum & 15];
	gdb->sent_length = (size_t)(to - gdb->sent);
	write_bytes(gdb, gdb->sent, gdb->sent_length);
}

static void packet_begin(struct gdb *gdb)
{
	gdb->receiving = GDB_DATA;
	gdb->packet_length = 0;
	gdb->packet_long = false;
	gdb->sum = 0;
}

static void packet_byte(struct gdb *gdb, uint8_t byte)
{
	if (gdb->packet_length < GDB_PACKET_MAX)
		gdb->packet[gdb->packet_length++] = byte;
	else
		gdb->packet_long = true;
}

static bool execute(struct gdb *gdb)
{
	bool answer;

	gdb->executing = true;
	answer = gdb_execute(gdb);
	gdb->executing = false;
	return answer;
}

static void packet_end(struct gdb *gdb)
{
	bool right = gdb->sum == gdb->sum_wanted;

	gdb->receiving = GDB_IDLE;
	if (gdb->acks)
		write_bytes(gdb, right ? "+" : "-", 1);
	if (!right)
		return;
	gdb->packet[gdb->packet_length] = 0;
	gdb->reply.length = 0;
	gdb->reply.full = false;
	if (gdb->packet_long)
		gdb_put(&gdb->reply, "E22");
	else if (!execute(gdb))
		return;
	if (gdb->reply.full) {
		gdb->reply.length = 0;
		gdb->reply.full = false;
		gdb_put(&gdb->reply, "E22");
	}
	gdb_send(gdb, gdb->reply.data, gdb->reply.length);
}

/* Between packets. */
static void idle_byte(struct gdb *gdb, uint8_t byte)
{
	switch (byte) {
	case '$':
		/* Whoever asks while the guest runs wants it to stand still, as in qemu. */
		if (gdb->machine->state == RUN_RUNNING)
			machine_stop(gdb->machine, RUN_PAUSED);
		packet_begin(gdb);
		break;
	case INTERRUPT:
		if (gdb->machine->state == RUN_RUNNING)
			machine_stop(gdb->machine, RUN_PAUSED);
		break;
	case '-':
		if (gdb->acks)
			write_bytes(gdb, gdb->sent, gdb->sent_length);
		break;
	default: /* '+', and noise */
		break;
	}
}

static void byte_received(struct gdb *gdb, uint8_t byte)
{
	int digit = digit_of(byte);

	switch (gdb->receiving) {
	case GDB_IDLE:
		idle_byte(gdb, byte);
		break;
	case GDB_DATA:
		if (byte == '$') { /* the one before was cut off */
			packet_begin(gdb);
			break;
		}
		if (byte == '#') {
			gdb->receiving = GDB_CHECKSUM_HIGH;
			break;
		}
		gdb->sum += byte;
		if (byte == ESCAPE)
			gdb->receiving = GDB_ESCAPED;
		else
			packet_byte(gdb, byte);
		break;
	case GDB_ESCAPED:
		gdb->sum += byte;
		packet_byte(gdb, byte ^ ESCAPE_XOR);
		gdb->receiving = GDB_DATA;
		break;
	case GDB_CHECKSUM_HIGH:
		gdb->sum_wanted = (uint8_t)(digit << 4);
		gdb->receiving = digit < 0 ? GDB_IDLE : GDB_CHECKSUM_LOW;
		break;
	case GDB_CHECKSUM_LOW:
		gdb->sum_wanted |= (uint8_t)digit;
		gdb->receiving = GDB_IDLE;
		if (digit >= 0)
			packet_end(gdb);
		break;
	}
}

void gdb_receive(struct gdb *gdb, const uint8_t *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		byte_received(gdb, data[i]);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looking at guest memory: x, xp, print, memsave, pmemsave, i, o, gva2gpa. Of devices x and xp
 * read only what a look does not change.
 */
#include "base/util.h"
#include "control/monitor/commands.h"
#include "control/monitor/disassemble.h"
#include "control/monitor/monitor_impl.h"
#include "control/monitor/registers.h"
#include "core/bus.h"
#include "core/engine.h"
#include "core/ram.h"
#include "machine/inspect.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { DUMP_MAX_COUNT = 1 << 16 };

struct format {
	unsigned count;
	char kind; /* x o d u c, i for instructions */
	unsigned size;
	bool sized; /* by a letter */
};

/* "4xw": count, kind, size (b h w g), as gdb and qemu have it; what is not said is as the last time. */
static int parse_format(struct command_call *call, struct format *format, struct error *err)
{
	const char *text = argument_string(call, "fmt");
	char *end = (char *)text;

	*format = (struct format){.count = 1, .kind = call->monitor->format_kind, .size = call->monitor->format_size};
	if (!text)
		return 0;
	if (isdigit((unsigned char)*text)) {
		unsigned long count = strtoul(text, &end, 10);

		if (count > DUMP_MAX_COUNT)
			return error_set(err, EINVAL, "at most %d units", DUMP_MAX_COUNT);
		format->count = (unsigned)count;
	}
	for (; *end; end++) {
		static const char sizes[] = "b\1h\2w\4g\10L\10";
		const char *size = strchr(sizes, *end);

		if (strchr("xoduc", *end))
			format->kind = *end;
		else if (*end == 'i')
			format->kind = 'i';
		else if (isalpha((unsigned char)*end) && size)
			format->sized = true, format->size = (unsigned)size[1];
		else
			return error_set(err, EINVAL, "invalid char in format: '%c'", *end);
	}
	call->monitor->format_kind = format->kind;
	if (format->kind != 'i')
		call->monitor->format_size = format->size;
	return 0;
}

struct reader {
	struct machine *machine;
	struct vcpu *vcpu; /* NULL: physical addresses */
	uint64_t address;
	uint8_t *to;
	size_t length;
	uint64_t failed_at;
	bool failed;
};

/* In the vCPU's thread for virtual addresses: its page tables stand still then. */
static void read_memory(struct vcpu *vcpu, void *opaque)
{
	struct reader *reader = opaque;
	size_t done = 0;

	while (done < reader->length && !reader->failed) {
		uint64_t at = reader->address + done, gpa = at;
		size_t run = (size_t)min_u64(reader->length - done, PAGE_SIZE - at % PAGE_SIZE);

		reader->failed = (reader->vcpu && vcpu->engine->ops->translate_gva(vcpu, at, &gpa) < 0) ||
				 inspect_memory(reader->machine, gpa, reader->to + done, run) < 0;
		reader->failed_at = at;
		done += run;
	}
}

static int read_guest(struct command_call *call, bool physical, uint64_t address, uint8_t *to, size_t length,
		      struct error *err)
{
	struct reader reader = {.machine = call->machine, .address = address, .to = to, .length = length};

	if (physical) {
		read_memory(NULL, &reader);
	} else {
		reader.vcpu = registers_vcpu(call);
		machine_vcpu_call(call->machine, reader.vcpu, read_memory, &reader);
	}
	if (reader.failed)
		return error_set(err, EFAULT, "Cannot access memory at address 0x%llx",
				 (unsigned long long)reader.failed_at);
	return 0;
}

static void print_character(struct text *text, uint8_t c)
{
	switch (c) {
	case '\'':
		text_printf(text, "'\\''");
		break;
	case '\\':
		text_printf(text, "'\\\\'");
		break;
	case '\n':
		text_printf(text, "'\\n'");
		break;
	case '\r':
		text_printf(text, "'\\r'");
		break;
	default:
		text_printf(text, c >= 32 && c < 127 ? "'%c'" : "'\\x%02x'", c);
	}
}

/* Columns are as wide as the largest number of that size, as in qemu. */
static void print_unit(struct text *text, char kind, unsigned size, uint64_t value)
{
	unsigned bits = size * 8;

	text_printf(text, " ");
	switch (kind) {
	case 'o':
		text_printf(text, "%#*llo", (int)(bits + 2) / 3, (unsigned long long)value);
		break;
	case 'd':
		text_printf(text, "%*lld", (int)(bits * 10 + 32) / 33, (long long)value);
		break;
	case 'u':
		text_printf(text, "%*llu", (int)(bits * 10 + 32) / 33, (unsigned long long)value);
		break;
	case 'c':
		print_character(text, (uint8_t)value);
		break;
	default:
		text_printf(text, "0x%0*llx", (int)bits / 4, (unsigned long long)value);
	}
}

static enum code_width current_width(struct command_call *call)
{
	struct x86_state *state = registers_state(call->machine, registers_vcpu(call));
	enum code_width width = code_width_of(state);

	free(state);
	return width;
}

/* An instruction may end before a page that is not there; what can be read is enough then. */
static size_t read_code(struct command_call *call, bool physical, uint64_t address, uint8_t code[CODE_MAX_BYTES])
{
	size_t to_page_end = PAGE_SIZE - address % PAGE_SIZE;

	if (read_guest(call, physical, address, code, CODE_MAX_BYTES, NULL) == 0)
		return CODE_MAX_BYTES;
	if (to_page_end < CODE_MAX_BYTES && read_guest(call, physical, address, code, to_page_end, NULL) == 0)
		return to_page_end;
	return 0;
}

static void dump_instructions(struct command_call *call, bool physical, uint64_t address, unsigned count)
{
	enum code_width width = current_width(call);

	while (count--) {
		uint8_t code[CODE_MAX_BYTES];
		size_t length = read_code(call, physical, address, code);

		if (!length) {
			text_printf(call->text, "0x%08llx: unable to read memory\n", (unsigned long long)address);
			return;
		}
		address += disassemble(call->text, width, address, code, length);
	}
}

static json_t *dump(struct command_call *call, bool physical, struct error *err)
{
	uint64_t address = (uint64_t)argument_int(call, "addr", 0);
	size_t left, line_bytes;
	struct format format;
	unsigned unit;

	if (parse_format(call, &format, err) < 0)
		return NULL;
	if (format.kind == 'i') {
		dump_instructions(call, physical, address, format.count);
		return json_object();
	}
	left = (size_t)format.count * format.size;
	line_bytes = format.size == 1 ? 8 : 16;
	/* Characters are bytes; as many as the units of that size would fill. */
	unit = format.kind == 'c' ? 1 : format.size;
	while (left) {
		size_t run = min_u64(left, line_bytes);
		uint8_t line[16];

		text_printf(call->text, "%016llx:", (unsigned long long)address);
		if (read_guest(call, physical, address, line, run, err) < 0) {
			text_printf(call->text, " Cannot access memory\n");
			break;
		}
		for (size_t i = 0; i < run; i += unit) {
			uint64_t value = 0;

			memcpy(&value, line + i, unit);
			print_unit(call->text, format.kind, unit, value);
		}
		text_printf(call->text, "\n");
		address += run;
		left -= run;
	}
	return json_object();
}

static json_t *run_x(struct command_call *call, struct error *err)
{
	return dump(call, false, err);
}

static json_t *run_xp(struct command_call *call, struct error *err)
{
	return dump(call, true, err);
}

static json_t *run_print(struct command_call *call, struct error *err)
{
	unsigned long long value = (unsigned long long)argument_int(call, "val", 0);
	struct format format;

	if (parse_format(call, &format, err) < 0)
		return NULL;
	switch (format.kind) {
	case 'o':
		text_printf(call->text, "%#llo", value);
		break;
	case 'x':
		text_printf(call->text, "%#llx", value);
		break;
	case 'u':
		text_printf(call->text, "%llu", value);
		break;
	case 'c':
		print_character(call->text, (uint8_t)value);
		break;
	default:
		text_printf(call->text, "%lld", (long long)value);
	}
	text_printf(call->text, "\n");
	return json_object();
}

static json_t *save(struct command_call *call, bool physical, struct error *err)
{
	uint64_t address = (uint64_t)argument_int(call, "val", 0), left = (uint64_t)argument_int(call, "size", 0);
	const char *path = argument_string(call, "filename");
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint8_t page[PAGE_SIZE];
	int ret = 0;

	if (fd < 0) {
		error_set_errno(err, errno, "Could not open '%s'", path);
		return NULL;
	}
	while (left && ret == 0) {
		size_t run = (size_t)min_u64(left, sizeof(page));

		ret = read_guest(call, physical, address, page, run, err);
		if (ret == 0 && write(fd, page, run) != (ssize_t)run)
			ret = error_set_errno(err, errno, "writing '%s'", path);
		address += run;
		left -= run;
	}
	if (close(fd) < 0 && ret == 0)
		ret = error_set_errno(err, errno, "writing '%s'", path);
	return ret < 0 ? NULL : json_object();
}

static json_t *run_memsave(struct command_call *call, struct error *err)
{
	int64_t cpu = argument_int(call, "cpu-index", -1);
	unsigned previous = call->monitor->cpu;
	json_t *result;

	if (cpu >= call->machine->vcpu_count) {
		error_set(err, EINVAL, "Parameter 'cpu-index' expects a CPU number");
		return NULL;
	}
	if (cpu >= 0)
		call->monitor->cpu = (unsigned)cpu;
	result = save(call, false, err);
	call->monitor->cpu = previous;
	return result;
}

static json_t *run_pmemsave(struct command_call *call, struct error *err)
{
	return save(call, true, err);
}

static void translate(struct vcpu *vcpu, void *opaque)
{
	struct reader *reader = opaque;

	reader->failed = vcpu->engine->ops->translate_gva(vcpu, reader->address, &reader->failed_at) < 0;
}

static json_t *run_gva2gpa(struct command_call *call, struct error *err)
{
	struct reader reader = {.address = (uint64_t)argument_int(call, "addr", 0)};

	machine_vcpu_call(call->machine, registers_vcpu(call), translate, &reader);
	if (reader.failed)
		text_printf(call->text, "Unmapped\n");
	else
		text_printf(call->text, "gpa: %#llx\n", (unsigned long long)reader.failed_at);
	return json_object();
}

/* BSD's checksum, of RAM alone. */
static json_t *run_sum(struct command_call *call, struct error *err)
{
	uint64_t address = (uint64_t)argument_int(call, "start", 0), left = (uint64_t)argument_int(call, "size", 0);
	uint8_t page[PAGE_SIZE];
	uint16_t sum = 0;

	if (left > ram_size(call->machine->ram)) {
		error_set(err, EINVAL, "the machine has %llu bytes of RAM", (unsigned long long)ram_size(call->machine->ram));
		return NULL;
	}
	while (left) {
		size_t run = (size_t)min_u64(left, sizeof(page));

		if (read_guest(call, true, address, page, run, err) < 0)
			return NULL;
		for (size_t i = 0; i < run; i++)
			sum = (uint16_t)((uint16_t)(sum >> 1 | sum << 15) + page[i]);
		address += run;
		left -= run;
	}
	text_printf(call->text, "%05d\n", sum);
	return json_object();
}

/* The page's RAM or ROM; NULL when there is none, which has been said then. */
static const struct ram_slot *find_ram(struct command_call *call, uint64_t gpa)
{
	const struct ram_slot *slot = ram_find(call->machine->ram, gpa);

	if (!slot && bus_find(call->machine->memory, gpa))
		text_printf(call->text, "Memory at address 0x%llx is not RAM\n", (unsigned long long)gpa);
	else if (!slot)
		text_printf(call->text, "No memory is mapped at address 0x%llx\n", (unsigned long long)gpa);
	return slot;
}

static json_t *run_gpa2hva(struct command_call *call, struct error *err)
{
	uint64_t gpa = (uint64_t)argument_int(call, "addr", 0);
	const struct ram_slot *slot = find_ram(call, gpa);

	if (slot)
		text_printf(call->text, "Host virtual address for 0x%llx (%s) is %p\n", (unsigned long long)gpa,
			    slot->block->name, (void *)(slot->hva + (gpa - slot->gpa)));
	return json_object();
}

/* Linux' Documentation/admin-guide/mm/pagemap.rst: eight bytes a page, bit 63 present, 54:0 the frame. */
static int physical_of(const void *hva, uint64_t *hpa, struct error *err)
{
	uint64_t entry, page = (uintptr_t)hva / PAGE_SIZE;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	ssize_t got;

	if (fd < 0)
		return error_set_errno(err, errno, "Cannot open /proc/self/pagemap");
	got = pread(fd, &entry, sizeof(entry), (off_t)(page * sizeof(entry)));
	close(fd);
	if (got != sizeof(entry))
		return error_set(err, EIO, "Cannot read pagemap");
	if (!(entry >> 63))
		return error_set(err, ENOENT, "Page not present");
	if (!(entry & ((1ull << 55) - 1)))
		return error_set(err, EPERM, "The kernel shows frames in pagemap only to CAP_SYS_ADMIN");
	*hpa = (entry & ((1ull << 55) - 1)) * PAGE_SIZE + (uintptr_t)hva % PAGE_SIZE;
	return 0;
}

static json_t *run_gpa2hpa(struct command_call *call, struct error *err)
{
	uint64_t gpa = (uint64_t)argument_int(call, "addr", 0), hpa = 0;
	const struct ram_slot *slot = find_ram(call, gpa);

	if (!slot)
		return json_object();
	if (physical_of(slot->hva + (gpa - slot->gpa), &hpa, err) < 0)
		return NULL;
	text_printf(call->text, "Host physical address for 0x%llx (%s) is 0x%llx\n", (unsigned long long)gpa,
		    slot->block->name, (unsigned long long)hpa);
	return json_object();
}

static int port_size(struct command_call *call, unsigned *size, struct error *err)
{
	struct format format;

	if (parse_format(call, &format, err) < 0)
		return -EINVAL;
	/* Instructions have no size: without a letter it is a byte. */
	*size = format.kind == 'i' && !format.sized ? 1 : format.size;
	if (*size > 4)
		return error_set(err, EINVAL, "a port is 1, 2 or 4 bytes wide");
	return 0;
}

static json_t *run_in(struct command_call *call, struct error *err)
{
	uint64_t port = (uint64_t)argument_int(call, "addr", 0) & 0xffff;
	unsigned size;

	if (port_size(call, &size, err) < 0)
		return NULL;
	text_printf(call->text, "port%c[0x%04x] = 0x%0*llx\n",
		    size == 1   ? 'b'
		    : size == 2 ? 'w'
				: 'l',
		    (unsigned)port, (int)size * 2, (unsigned long long)bus_read(call->machine->io, port, size));
	return json_object();
}

static json_t *run_out(struct command_call *call, struct error *err)
{
	uint64_t port = (uint64_t)argument_int(call, "addr", 0) & 0xffff;
	unsigned size;

	if (port_size(call, &size, err) < 0)
		return NULL;
	bus_write(call->machine->io, port, (uint64_t)argument_int(call, "val", 0), size);
	return json_object();
}

#define DUMP_ARGUMENTS                                                                                                 \
	(const struct command_argument[])                                                                              \
	{                                                                                                              \
		{"fmt", ARGUMENT_FORMAT, true}, {"addr", ARGUMENT_INT},                                                \
		{                                                                                                      \
			0                                                                                              \
		}                                                                                                      \
	}

const struct command commands_memory[] = {
	{NULL, "x", "/fmt addr", "virtual memory dump starting at 'addr'", DUMP_ARGUMENTS, run_x},
	{NULL, "xp", "/fmt addr", "physical memory dump starting at 'addr'", DUMP_ARGUMENTS, run_xp},
	{NULL, "print|p", "/fmt expr", "print expression value (use $reg for CPU register access)",
	 (const struct command_argument[]){{"fmt", ARGUMENT_FORMAT, true}, {"val", ARGUMENT_INT}, {0}}, run_print},
	{"memsave", "memsave", "addr size file", "save to disk virtual memory dump starting at 'addr' of size 'size'",
	 (const struct command_argument[]){{"val", ARGUMENT_INT},
					   {"size", ARGUMENT_INT},
					   {"filename", ARGUMENT_STRING},
					   {"cpu-index", ARGUMENT_INT, true},
					   {0}},
	 run_memsave},
	{"pmemsave", "pmemsave", "addr size file",
	 "save to disk physical memory dump starting at 'addr' of size 'size'",
	 (const struct command_argument[]){
		 {"val", ARGUMENT_INT}, {"size", ARGUMENT_INT}, {"filename", ARGUMENT_STRING}, {0}},
	 run_pmemsave},
	{NULL, "gva2gpa", "addr", "print the guest physical address corresponding to a guest virtual address",
	 (const struct command_argument[]){{"addr", ARGUMENT_INT}, {0}}, run_gva2gpa},
	{NULL, "gpa2hva", "addr", "print the host virtual address corresponding to a guest physical address",
	 (const struct command_argument[]){{"addr", ARGUMENT_INT}, {0}}, run_gpa2hva},
	{NULL, "gpa2hpa", "addr", "print the host physical address corresponding to a guest physical address",
	 (const struct command_argument[]){{"addr", ARGUMENT_INT}, {0}}, run_gpa2hpa},
	{NULL, "sum", "addr size", "compute the checksum of a memory region",
	 (const struct command_argument[]){{"start", ARGUMENT_INT}, {"size", ARGUMENT_INT}, {0}}, run_sum},
	{NULL, "i", "/fmt addr", "I/O port read",
	 (const struct command_argument[]){{"fmt", ARGUMENT_FORMAT, true}, {"addr", ARGUMENT_INT32}, {0}}, run_in},
	{NULL, "o", "/fmt addr value", "I/O port write",
	 (const struct command_argument[]){
		 {"fmt", ARGUMENT_FORMAT, true}, {"addr", ARGUMENT_INT32}, {"val", ARGUMENT_INT32}, {0}},
	 run_out},
	{0},
};

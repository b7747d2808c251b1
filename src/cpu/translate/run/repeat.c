/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * String instructions with a repeat prefix (MOVS, STOS, SCAS, CMPS), going up: piece by piece, as far as the pages of
 * both ends reach. Registers are exact after each piece, and between pieces events are looked at. What cannot be
 * reached through the TLB is the interpreter's (SDM 1 7.3.9.2).
 */
#include "cpu/translate/run/helper.h"
#include "cpu/x86/mem.h"

/* A register as the address size sees it. */
static uint64_t part(const struct site *site, uint64_t value)
{
	return site->address32 ? (uint32_t)value : value;
}

static uint64_t address(const struct translator *t, const struct site *site, unsigned reg, int segment)
{
	uint64_t gva = part(site, t->cpu->s.gpr[reg]) + (segment >= 0 ? t->cpu->s.seg[segment].base : 0);

	return t->key & KEY_CODE32 ? (uint32_t)gva : gva;
}

static int destination_segment(const struct translator *t)
{
	return t->key & KEY_CODE32 ? X86_ES : NO_REGISTER;
}

static void advance(struct translator *t, const struct site *site, unsigned reg, uint64_t bytes)
{
	t->cpu->s.gpr[reg] = part(site, t->cpu->s.gpr[reg] + bytes);
}

/* Elements from gva on that the page has room for, and where they are in the host; NULL: no such memory. */
static void *end_at(struct x86_cpu *cpu, uint64_t gva, unsigned size, bool write, uint64_t *count)
{
	const struct x86_tlb_entry *slot = x86_tlb_slot(cpu, gva);
	uint64_t page = gva & ~(PAGE_SIZE - 1), room = (PAGE_SIZE - (gva & (PAGE_SIZE - 1))) / size;

	if ((write ? slot->tag_write : slot->tag_read) != page && !x86_tlb_fill(cpu, gva, write ? X86_WRITE : X86_READ))
		return NULL;
	if (*count > room)
		*count = room;
	return *count ? (void *)(gva + slot->addend) : NULL;
}

/* Filling the one end may have thrown out the other. */
static bool still_there(struct x86_cpu *cpu, uint64_t gva, bool write)
{
	const struct x86_tlb_entry *slot = x86_tlb_slot(cpu, gva);

	return (write ? slot->tag_write : slot->tag_read) == (gva & ~(PAGE_SIZE - 1));
}

/* The host's own instructions, element by element in the same order. */
static void store_elements(void *to, uint64_t value, unsigned size, uint64_t count)
{
	switch (size) {
	case 1:
		__asm__ volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
		break;
	case 2:
		__asm__ volatile("rep stosw" : "+D"(to), "+c"(count) : "a"(value) : "memory");
		break;
	case 4:
		__asm__ volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(value) : "memory");
		break;
	default:
		__asm__ volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(value) : "memory");
		break;
	}
}

static void copy_elements(void *to, const void *from, unsigned size, uint64_t count)
{
	switch (size) {
	case 1:
		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
		break;
	case 2:
		__asm__ volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
		break;
	case 4:
		__asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
		break;
	default:
		__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
		break;
	}
}

static uint64_t element(const volatile void *from, unsigned size)
{
	switch (size) {
	case 1:
		return *(const volatile uint8_t *)from;
	case 2:
		return *(const volatile uint16_t *)from;
	case 4:
		return *(const volatile uint32_t *)from;
	default:
		return *(const volatile uint64_t *)from;
	}
}

/* As LAHF and SETO store them. */
static uint32_t compare_flags(uint64_t left, uint64_t right, unsigned size)
{
	uint16_t flags;

	switch (size) {
	case 1:
		__asm__("cmpb %b2, %b1; lahf; seto %%al" : "=a"(flags) : "q"(left), "q"(right) : "cc");
		break;
	case 2:
		__asm__("cmpw %w2, %w1; lahf; seto %%al" : "=a"(flags) : "r"(left), "r"(right) : "cc");
		break;
	case 4:
		__asm__("cmpl %k2, %k1; lahf; seto %%al" : "=a"(flags) : "r"(left), "r"(right) : "cc");
		break;
	default:
		__asm__("cmpq %q2, %q1; lahf; seto %%al" : "=a"(flags) : "r"(left), "r"(right) : "cc");
		break;
	}
	return flags;
}

/* Compares up to `count` elements with those at `source`, or with the accumulator. Returns how many; the flags are the
 * last one's. *ended: that one ends the instruction. */
static uint64_t compare_elements(struct translator *t, const struct site *site, const uint8_t *source,
				 const uint8_t *destination, uint64_t count, bool *ended)
{
	const unsigned size = site->size;
	const bool until_equal = site->scale;
	uint64_t left = t->cpu->s.gpr[RAX], right, i = 0;

	left &= ~0ull >> (64 - 8 * size);
	do {
		if (source)
			left = element(source + i * size, size);
		right = element(destination + i * size, size);
		i++;
		*ended = (left == right) == until_equal;
	} while (!*ended && i < count);
	t->flags = compare_flags(left, right, size);
	flags_out(t);
	return i;
}

/* Handles up to `count` elements within one page of each end and advances the registers. Returns how many; 0: the
 * interpreter is to do the next one. */
static uint64_t piece(struct translator *t, const struct site *site, uint64_t count, bool *ended)
{
	bool writes = site->helper == HELPER_MOVS || site->helper == HELPER_STOS;
	bool reads = site->helper == HELPER_MOVS || site->helper == HELPER_CMPS;
	uint64_t to = address(t, site, RDI, destination_segment(t)), from = address(t, site, RSI, site->segment);
	void *source = NULL, *destination = end_at(t->cpu, to, site->size, writes, &count);

	if (!destination)
		return 0;
	if (reads) {
		source = end_at(t->cpu, from, site->size, false, &count);
		if (!source || !still_there(t->cpu, to, writes))
			return 0;
	}
	if (site->helper == HELPER_STOS)
		store_elements(destination, t->cpu->s.gpr[RAX], site->size, count);
	else if (site->helper == HELPER_MOVS)
		copy_elements(destination, source, site->size, count);
	else
		count = compare_elements(t, site, source, destination, count, ended);
	if (reads)
		advance(t, site, RSI, count * site->size);
	advance(t, site, RDI, count * site->size);
	return count;
}

uint64_t helper_string(struct translator *t, const struct site *site)
{
	struct x86_cpu *cpu = t->cpu;
	uint64_t *count = &cpu->s.gpr[RCX], done;
	bool ended = false;

	if (cpu->s.rflags & X86_DF)
		return helper_interpret(t, site);
	while (part(site, *count) && !ended) {
		done = piece(t, site, part(site, *count), &ended);
		if (!done)
			return helper_interpret(t, site); /* the rest */
		*count = part(site, *count - done);
		if (part(site, *count) && !ended && events_pending(cpu)) {
			cpu->s.rflags |= X86_RF; /* as an interrupt between two elements shows it (SDM 3B 17.3.1.1) */
			flags_in(t);
			return 0;
		}
	}
	return helper_behind(t, site);
}

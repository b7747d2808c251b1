/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bus, RAM and clock: the contracts that everything else relies on. */
#include "core/bus.h"
#include "core/clock.h"
#include "core/ram.h"

#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

struct probe {
	char trail[256];
	uint64_t answer;
};

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned size)
{
	struct probe *probe = opaque;
	size_t used = strlen(probe->trail);

	snprintf(probe->trail + used, sizeof(probe->trail) - used, "r%llx.%u ", (unsigned long long)offset, size);
	return probe->answer;
}

static void probe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
	struct probe *probe = opaque;
	size_t used = strlen(probe->trail);

	snprintf(probe->trail + used, sizeof(probe->trail) - used, "w%llx.%u=%llx ", (unsigned long long)offset, size,
	         (unsigned long long)value);
}

static const struct region_ops bytes_only = {probe_read, probe_write, 1, 1};
static const struct region_ops dwords_only = {probe_read, probe_write, 4, 4};

static void accesses_are_split_to_the_widths_a_region_takes(void **state)
{
	struct bus *bus = bus_new("test", 0x10000);
	struct probe low = {.answer = 0x12}, high = {.answer = 0xa0b0c0d0};
	struct region a = {"a", &bytes_only, &low, 0x100, 2, 0};
	struct region b = {"b", &dwords_only, &high, 0x102, 8, 0};

	assert_int_equal(bus_add(bus, &a, NULL), 0);
	assert_int_equal(bus_add(bus, &b, NULL), 0);
	assert_int_equal(bus_read(bus, 0x100, 4), 0xc0d01212);
	assert_string_equal(low.trail, "r0.1 r1.1 ");
	assert_string_equal(high.trail, "r0.4 ");
	assert_int_equal(bus_read(bus, 0x103, 1), 0xc0);
	assert_int_equal(bus_read(bus, 0x200, 4), 0xffffffff);
	assert_int_equal(bus_read(bus, 0xff, 2), 0x12ff);
	low.trail[0] = high.trail[0] = 0;
	bus_write(bus, 0x101, 0x44332211, 4);
	assert_string_equal(low.trail, "w1.1=11 ");
	bus_free(bus);
}

static size_t probe_read_run(void *opaque, uint64_t offset, void *to, unsigned size, size_t count)
{
	memset(to, 0x5a, 2 * size);
	probe_read(opaque, offset, size);
	return count < 2 ? count : 2;
}

static size_t probe_write_run(void *opaque, uint64_t offset, const void *from, unsigned size, size_t count)
{
	probe_write(opaque, offset, *(const uint8_t *)from, size);
	return 1;
}

static size_t probe_write_block(void *opaque, uint64_t offset, const void *from, unsigned size, size_t count)
{
	probe_write(opaque, offset, *(const uint8_t *)from, size);
	return count;
}

static size_t probe_move_block(void *opaque, uint64_t to, uint64_t from, unsigned size, size_t count)
{
	probe_read(opaque, from, size);
	return probe_write_block(opaque, to, "m", size, count);
}

static const struct region_ops runs = {.read = probe_read,
				       .write = probe_write,
				       .max_width = 4,
				       .read_run = probe_read_run,
				       .write_run = probe_write_run,
				       .write_block = probe_write_block,
				       .move_block = probe_move_block};

static void a_run_is_made_only_inside_a_region_that_has_it(void **state)
{
	struct bus *bus = bus_new("test", 0x10000);
	struct probe probe = {.answer = 1};
	struct region plain = {"plain", &bytes_only, &probe, 0x100, 8, 0};
	struct region fast = {"fast", &runs, &probe, 0x108, 8, 0};
	struct region above = {"above", &bytes_only, &probe, 0x10b, 1, 1};
	uint8_t data[16] = {7};

	assert_int_equal(bus_add(bus, &plain, NULL), 0);
	assert_int_equal(bus_add(bus, &fast, NULL), 0);
	assert_int_equal(bus_add(bus, &above, NULL), 0);
	assert_int_equal(bus_read_run(bus, 0x50, data, 1, 9), 0);   /* nobody */
	assert_int_equal(bus_read_run(bus, 0x100, data, 1, 9), 0);  /* not offered */
	assert_int_equal(bus_read_run(bus, 0x108, data, 4, 9), 0);  /* another one's in between */
	assert_int_equal(bus_write_run(bus, 0x10e, data, 4, 9), 0); /* over its end */
	assert_int_equal(bus_write_run(bus, 0x108, data, 8, 1), 0); /* too wide */
	assert_string_equal(probe.trail, "");
	assert_int_equal(bus_write_run(bus, 0x109, data, 2, 9), 1);
	assert_int_equal(bus_read_run(bus, 0x10c, data, 2, 9), 2);
	assert_string_equal(probe.trail, "w1.2=7 r4.2 ");
	assert_int_equal(data[3], 0x5a);
	probe.trail[0] = 0;
	assert_int_equal(bus_write_block(bus, 0x104, data, 1, 8), 0); /* begins in another one */
	assert_int_equal(bus_write_block(bus, 0x108, data, 1, 4), 0); /* another one's in between */
	assert_int_equal(bus_write_block(bus, 0x10c, data, 2, 3), 0); /* over its end */
	assert_int_equal(bus_move_block(bus, 0x10c, 0x108, 1, 4), 0);
	assert_int_equal(bus_move_block(bus, 0x10c, 0x100, 1, 2), 0);
	assert_string_equal(probe.trail, "");
	data[0] = 7;
	assert_int_equal(bus_write_block(bus, 0x10c, data, 2, 2), 2);
	assert_int_equal(bus_move_block(bus, 0x10c, 0x108, 1, 3), 3);
	assert_string_equal(probe.trail, "w4.2=7 r0.1 w4.1=6d ");
	bus_free(bus);
}

static void the_higher_priority_wins_and_uncovers_when_moved(void **state)
{
	struct bus *bus = bus_new("test", 0);
	struct probe under = {.answer = 1}, over = {.answer = 2};
	struct region a = {"under", &bytes_only, &under, 0, 0x1000, 0};
	struct region b = {"over", &bytes_only, &over, 0x10, 0x10, 1};
	struct region top = {"top", &bytes_only, &over, ~0ull - 0xf, 0x10, 0};

	bus_add(bus, &b, NULL);
	bus_add(bus, &a, NULL);
	bus_add(bus, &top, NULL);
	assert_int_equal(bus_read(bus, 0xf, 1), 1);
	assert_int_equal(bus_read(bus, 0x10, 1), 2);
	assert_int_equal(bus_read(bus, 0x1f, 1), 2);
	assert_int_equal(bus_read(bus, 0x20, 1), 1);
	assert_int_equal(bus_read(bus, ~0ull, 1), 2);
	bus_move(bus, &b, 0x2000);
	assert_int_equal(bus_read(bus, 0x10, 1), 1);
	assert_int_equal(bus_read(bus, 0x2000, 1), 2);
	bus_remove(bus, &b);
	assert_int_equal(bus_read(bus, 0x2000, 1), 0xff);
	bus_free(bus);
}

static void a_region_beyond_the_bus_is_refused(void **state)
{
	struct bus *bus = bus_new("port", 0x10000);
	struct region region = {"wide", &bytes_only, NULL, 0xfff0, 0x11, 0};
	struct error err = {0};

	assert_int_equal(bus_add(bus, &region, &err), -ERANGE);
	assert_non_null(strstr(err.msg, "wide"));
	region = (struct region){"wraps", &bytes_only, NULL, ~0ull, 0x11, 0};
	assert_int_equal(bus_add(bus, &region, &err), -ERANGE);
	bus_free(bus);
}

static void doorbells_take_only_what_matches(void **state)
{
	struct bus *bus = bus_new("test", 0x1000);
	struct probe probe = {0};
	struct region region = {"r", &bytes_only, &probe, 0, 0x100, 0};
	int fd = eventfd(0, EFD_NONBLOCK);
	struct doorbell doorbell = {.offset = 0x10, .size = 2, .match = true, .value = 3, .event_fd = fd};
	uint64_t count;

	bus_add(bus, &region, NULL);
	bus_doorbell_add(bus, &doorbell);
	bus_write(bus, 0x10, 3, 2);
	bus_write(bus, 0x10, 0xffff0003, 2);
	assert_string_equal(probe.trail, "");
	assert_int_equal(read(fd, &count, 8), 8);
	assert_int_equal(count, 2);
	bus_write(bus, 0x10, 4, 2);
	assert_string_equal(probe.trail, "w10.1=4 w11.1=0 ");
	bus_doorbell_remove(bus, &doorbell);
	bus_write(bus, 0x10, 3, 2);
	assert_true(read(fd, &count, 8) < 0);
	close(fd);
	bus_free(bus);
}

static void note_page(void *opaque, uint64_t first, uint64_t last)
{
	uint64_t *pages = opaque;

	pages[0]++;
	pages[1] = first;
	pages[2] = last;
}

static void ram_copies_across_slots_and_reports_writes_to_code_once(void **state)
{
	struct ram_config config = {.size = 8 * PAGE_SIZE};
	struct ram *ram = ram_new(&config, NULL);
	uint64_t seen[3] = {0};
	struct ram_code_client client = {note_page, seen};
	uint8_t data[64];
	const struct ram_slot *slots;

	assert_int_equal(ram_map(ram, 0x1000, 4 * PAGE_SIZE, 0, false, NULL), 0);
	assert_int_equal(ram_map(ram, 0x5000, 4 * PAGE_SIZE, 4 * PAGE_SIZE, false, NULL), 0);
	assert_int_equal(ram_map(ram, 0x8000, PAGE_SIZE, 0, false, NULL), -EEXIST);
	ram_set_code_client(ram, &client);
	memset(data, 0x5a, sizeof(data));
	assert_int_equal(ram_write(ram, 0x4fe0, data, 64), 0);
	assert_null(ram_hva(ram, 0x4fe0, 64));
	assert_int_equal(*(uint8_t *)ram_hva(ram, 0x501f, 1), 0x5a);
	assert_int_equal(*(uint8_t *)ram_hva(ram, 0x5020, 1), 0);
	assert_int_equal(ram_write(ram, 0x8ff0, data, 64), -EFAULT);
	assert_int_equal(ram_read(ram, 0xfff, data, 1), -EFAULT);
	assert_int_equal(seen[0], 0);
	assert_true(ram_watch_code(ram, 6));
	assert_int_equal(ram_write(ram, 0x6ffc, data, 8), 0);
	assert_int_equal(ram_write(ram, 0x6ffc, data, 8), 0);
	assert_int_equal(seen[0], 1);
	assert_int_equal(seen[1], 6);
	ram_track(ram, RAM_MIGRATE, true);
	ram_written(ram, 0x3fff, 2);
	assert_int_equal(ram_slot_count(ram), 2);
	slots = ram_slot_at(ram, 0);
	ram_harvest(ram, RAM_MIGRATE, slots, data);
	assert_int_equal(data[0], 0x0c);
	ram_harvest(ram, RAM_MIGRATE, slots, data);
	assert_int_equal(data[0], 0);
	assert_int_equal(ram_discard(ram, 0x5000, PAGE_SIZE), 0);
	assert_int_equal(*(uint8_t *)ram_hva(ram, 0x501f, 1), 0);
	ram_free(ram);
}

struct layout_note {
	struct ram_listener listener;
	unsigned changes;
	size_t number;
	const struct ram_slot *before, *now;
};

static void note_layout(void *opaque, size_t number, const struct ram_slot *before, const struct ram_slot *now)
{
	struct layout_note *note = opaque;

	note->changes++;
	note->number = number;
	note->before = before;
	note->now = now;
}

static void windows_open_move_and_close(void **state)
{
	struct ram *ram = ram_new(&(struct ram_config){.size = MIB}, NULL);
	struct layout_note note = {.listener = {.changed = note_layout}};
	uint64_t seen[3] = {0};
	struct ram_code_client client = {note_page, seen};
	struct ram_block *rom = ram_block_new(ram, "rom", 4 * PAGE_SIZE, NULL);
	struct ram_window high = {.block = rom, .size = 4 * PAGE_SIZE};
	struct ram_window low = {.block = rom, .offset = 2 * PAGE_SIZE, .size = 2 * PAGE_SIZE};
	uint8_t byte = 0, bitmap;
	const struct ram_slot *stale;

	note.listener.opaque = &note;
	assert_int_equal(ram_map(ram, 0, MIB, 0, false, NULL), 0);
	ram_listen(ram, &note.listener);
	ram_set_code_client(ram, &client);
	rom->hva[2 * PAGE_SIZE] = 0x42;
	assert_false(ram_window_show(&low, MIB - PAGE_SIZE, true)); /* RAM is there */
	assert_false(ram_window_show(&low, UINT64_MAX - PAGE_SIZE + 1, true));
	assert_int_equal(note.changes, 0);
	assert_true(ram_window_show(&low, 2 * MIB, true));
	assert_int_equal(note.changes, 1);
	assert_int_equal(note.number, 1);
	assert_null(note.before);
	assert_true(ram_window_show(&high, 3 * MIB, true));
	assert_int_equal(ram_read(ram, 2 * MIB, &byte, 1), 0);
	assert_int_equal(byte, 0x42);

	/* A device cannot change a ROM; who may, is heard of at all places that show the page. */
	assert_int_equal(ram_write(ram, 2 * MIB, &(uint8_t){1}, 1), 0);
	assert_int_equal(rom->hva[2 * PAGE_SIZE], 0x42);
	assert_true(ram_watch_code(ram, 2 * MIB >> PAGE_SHIFT));
	ram_block_written(rom, 2 * PAGE_SIZE + 5, 1);
	assert_int_equal(seen[0], 2);

	/* Another place: code of the old one is told of, and it is as if nothing were there. */
	assert_true(ram_watch_code(ram, 2 * MIB >> PAGE_SHIFT));
	stale = ram_find(ram, 2 * MIB);
	assert_true(ram_window_show(&low, 5 * MIB, false));
	assert_int_equal(seen[0], 3);
	assert_int_equal(seen[1], 2 * MIB >> PAGE_SHIFT);
	assert_null(ram_find(ram, 2 * MIB));
	assert_ptr_equal(note.before, stale);
	assert_ptr_equal(note.now, ram_find(ram, 5 * MIB));
	assert_int_equal(*stale->hva, 0x42); /* who still holds it comes to no harm */
	ram_block_track(rom, RAM_DISPLAY, true);
	assert_int_equal(ram_write(ram, 5 * MIB + PAGE_SIZE, &(uint8_t){7}, 1), 0);
	ram_block_harvest(rom, RAM_DISPLAY, &bitmap);
	assert_int_equal(bitmap, 8);
	assert_true(ram_window_show(&low, 2 * MIB, true)); /* the same slot again */
	assert_ptr_equal(ram_find(ram, 2 * MIB), stale);
	ram_window_hide(&low);
	ram_window_hide(&low);
	assert_null(ram_find(ram, 2 * MIB));

	/* Who finds its place taken gets it when it is left. */
	assert_true(ram_window_show(&low, 3 * MIB + 64 * KIB, true));
	assert_false(ram_window_show(&high, 3 * MIB + 64 * KIB, true));
	assert_null(ram_find(ram, 3 * MIB));
	ram_window_hide(&low);
	assert_ptr_equal(ram_find(ram, 3 * MIB + 64 * KIB), high.shown);
	assert_non_null(high.shown);
	assert_false(ram_window_show(&low, 3 * MIB + 64 * KIB, true));
	ram_window_hide(&low);
	ram_window_hide(&high);
	assert_null(ram_find(ram, 3 * MIB + 64 * KIB));

	/* One that yields lies below the others. */
	low.yields = true;
	assert_true(ram_window_show(&low, 3 * MIB + PAGE_SIZE, false));
	assert_true(ram_window_show(&high, 3 * MIB, false));
	assert_null(low.shown);
	assert_false(ram_window_show(&low, 3 * MIB, false));
	assert_ptr_equal(ram_find(ram, 3 * MIB + PAGE_SIZE), high.shown);
	ram_window_hide(&high);
	assert_ptr_equal(ram_find(ram, 3 * MIB), low.shown);
	assert_non_null(low.shown);
	ram_window_hide(&low);
	low.yields = false;

	/* A guest that moves a window about does not make the VMM grow without end. */
	for (unsigned i = 0; i < 5000; i++)
		ram_window_show(&low, 16 * MIB + i * PAGE_SIZE, false);
	assert_null(low.shown);
	ram_forget_slots(ram);
	assert_true(ram_window_show(&low, 9 * MIB, false));
	ram_window_hide(&low);
	ram_window_hide(&high);
	ram_block_free(rom);
	ram_unlisten(ram, &note.listener);
	ram_free(ram);
}

static void too_much_ram_names_both_sizes(void **state)
{
	struct ram_config config = {.size = 1ull << 60};
	struct error err = {0};

	assert_null(ram_new(&config, &err));
	assert_non_null(strstr(err.msg, "MiB"));
	assert_non_null(strstr(err.msg, "-m"));
}

static void ram_from_a_directory_leaves_nothing_behind(void **state)
{
	char directory[] = "/tmp/xuni-ram-test-XXXXXX", path[64];
	struct ram_config config = {.size = 3 * MIB, .path = directory, .share = true};
	struct error err = {0};
	struct ram *ram;

	assert_non_null(mkdtemp(directory));
	ram = ram_new(&config, &err);
	assert_non_null(ram);
	assert_int_equal(ram_map(ram, 0, 3 * MIB, 0, false, &err), 0);
	assert_int_equal(ram_write(ram, 3 * MIB - 5, "here", 5), 0);
	assert_string_equal(ram_hva(ram, 3 * MIB - 5, 5), "here");
	assert_int_equal(rmdir(directory), 0); /* nothing has a name in there */
	ram_free(ram);
	snprintf(path, sizeof(path), "%s/file", directory);
	config.path = path;
	assert_null(ram_new(&config, &err));
	assert_non_null(strstr(err.msg, path));
}

struct tick {
	struct clock_timer timer;
	char *trail;
	char letter;
	int64_t period_ns;
};

static void tick(void *opaque)
{
	struct tick *t = opaque;
	size_t used = strlen(t->trail);

	snprintf(t->trail + used, 64, "%c%lld ", t->letter, (long long)clock_now(t->timer.clock));
	if (t->period_ns)
		clock_timer_set(&t->timer, clock_now(t->timer.clock) + t->period_ns);
}

static void a_stepped_clock_fires_each_timer_at_its_deadline(void **state)
{
	struct clock *clock = clock_new(true, 1000000);
	char trail[256] = "";
	struct tick periodic = {.trail = trail, .letter = 'p', .period_ns = 30};
	struct tick once = {.trail = trail, .letter = 'o'};

	clock_timer_init(&periodic.timer, clock, tick, &periodic);
	clock_timer_init(&once.timer, clock, tick, &once);
	clock_start(clock);
	clock_timer_set(&periodic.timer, 30);
	clock_timer_set(&once.timer, 70);
	clock_advance(clock, 100);
	assert_string_equal(trail, "p30 p60 o70 p90 ");
	assert_int_equal(clock_now(clock), 100);
	assert_int_equal(clock_tsc_at(clock, 100), 100);
	assert_int_equal(clock_next_deadline(clock), 120);
	clock_timer_cancel_sync(&periodic.timer);
	assert_int_equal(clock_next_deadline(clock), INT64_MAX);
	clock_free(clock);
}

static void a_host_clock_stands_still_while_stopped(void **state)
{
	struct clock *clock = clock_new(false, 2000000);
	int64_t stopped;

	assert_int_equal(clock_now(clock), 0);
	clock_start(clock);
	usleep(2000);
	clock_stop(clock);
	stopped = clock_now(clock);
	assert_true(stopped >= 2 * NS_PER_MS);
	usleep(2000);
	assert_int_equal(clock_now(clock), stopped);
	clock_start(clock);
	assert_true(clock_now(clock) - stopped < 2 * NS_PER_MS);
	for (uint64_t ticks = 1; ticks < 5000; ticks += 7) {
		int64_t ns = clock_ticks_to_ns(ticks, 3579545);

		assert_int_equal(clock_ns_to_ticks(ns, 3579545), ticks);
		assert_int_equal(clock_ns_to_ticks(ns - 1, 3579545), ticks - 1);
	}
	clock_free(clock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accesses_are_split_to_the_widths_a_region_takes),
		cmocka_unit_test(a_run_is_made_only_inside_a_region_that_has_it),
		cmocka_unit_test(the_higher_priority_wins_and_uncovers_when_moved),
		cmocka_unit_test(a_region_beyond_the_bus_is_refused),
		cmocka_unit_test(doorbells_take_only_what_matches),
		cmocka_unit_test(ram_copies_across_slots_and_reports_writes_to_code_once),
		cmocka_unit_test(windows_open_move_and_close),
		cmocka_unit_test(too_much_ram_names_both_sizes),
		cmocka_unit_test(ram_from_a_directory_leaves_nothing_behind),
		cmocka_unit_test(a_stepped_clock_fires_each_timer_at_its_deadline),
		cmocka_unit_test(a_host_clock_stands_still_while_stopped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fw_cfg through its ports and through DMA, with hostile descriptors. */
#include "device/pc/fw_cfg.h"

#include "base/util.h"
#include "device/pc/test_pc.h"

#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { SELECTOR = 0x510, DATA = 0x511, DMA = 0x514, DESCRIPTOR = 0x1000, BUFFER = 0x2000 };
enum { ERROR = 1, READ = 2, SKIP = 4, SELECT = 8, WRITE = 16 };

static struct test_pc t;
static struct fw_cfg *fw_cfg;

static int setup(void **state)
{
	struct error err = {0};

	test_pc_init(&t);
	fw_cfg = fw_cfg_new(&t.env, &err);
	assert_non_null(fw_cfg);
	device_reset((struct device *)fw_cfg);
	return 0;
}

static int teardown(void **state)
{
	device_destroy((struct device *)fw_cfg);
	test_pc_fini(&t);
	return 0;
}

static void choose(uint16_t key)
{
	bus_write(t.env.io, SELECTOR, key, 2);
}

static void get(void *to, size_t length)
{
	for (size_t i = 0; i < length; i++)
		((uint8_t *)to)[i] = in8(&t, DATA);
}

/* Returns the control word afterwards. */
static uint32_t dma(uint32_t control, uint64_t gpa, uint32_t length)
{
	struct {
		uint32_t control, length;
		uint64_t address;
	} descriptor = {htobe32(control), htobe32(length), htobe64(gpa)};
	uint32_t answer;

	assert_int_equal(ram_write(t.env.ram, DESCRIPTOR, &descriptor, sizeof(descriptor)), 0);
	bus_write(t.env.io, DMA, htobe32(0), 4);
	bus_write(t.env.io, DMA + 4, htobe32(DESCRIPTOR), 4);
	ram_read(t.env.ram, DESCRIPTOR, &answer, sizeof(answer));
	return be32toh(answer);
}

static void signature_and_features(void **unused)
{
	uint8_t bytes[6];

	choose(FW_CFG_SIGNATURE);
	get(bytes, 6);
	assert_memory_equal(bytes, "QEMU\0\0", 6);
	choose(FW_CFG_ID);
	get(bytes, 4);
	assert_int_equal(load_le32(bytes), 3);
	choose(0x1234);
	get(bytes, 4);
	assert_memory_equal(bytes, "\0\0\0\0", 4);
	assert_int_equal(bus_read(t.env.io, DMA, 8), htobe64(0x51454d5520434647));
	assert_int_equal(bus_read(t.env.io, DMA, 4), htobe32(0x51454d55));
	assert_int_equal(bus_read(t.env.io, DMA + 4, 4), htobe32(0x20434647));
}

static void numbers_and_strings(void **unused)
{
	uint8_t bytes[16];

	fw_cfg_add_u16(fw_cfg, FW_CFG_NB_CPUS, 4);
	fw_cfg_add_u64(fw_cfg, FW_CFG_RAM_SIZE, 0x123456789a);
	fw_cfg_add_string(fw_cfg, FW_CFG_CMDLINE_DATA, "quiet");
	fw_cfg_add_u16(fw_cfg, FW_CFG_NB_CPUS, 5);
	choose(FW_CFG_NB_CPUS);
	get(bytes, 2);
	assert_int_equal(load_le16(bytes), 5);
	choose(FW_CFG_RAM_SIZE);
	get(bytes, 8);
	assert_int_equal(load_le64(bytes), 0x123456789a);
	choose(FW_CFG_CMDLINE_DATA);
	get(bytes, 7);
	assert_memory_equal(bytes, "quiet\0\0", 7);
}

static unsigned file_key(const char *name, uint32_t *length)
{
	uint8_t count[4], entry[64];

	choose(FW_CFG_FILE_DIR);
	get(count, 4);
	for (uint32_t i = 0; i < be32toh(load_le32(count)); i++) {
		get(entry, sizeof(entry));
		if (strcmp((char *)entry + 8, name))
			continue;
		*length = be32toh(load_le32(entry));
		return be16toh(load_le16(entry + 4));
	}
	return 0;
}

static void directory_is_sorted(void **unused)
{
	uint32_t length = 0;
	struct error err = {0};
	char name[FW_CFG_NAME_MAX + 2];
	uint8_t bytes[8];

	assert_int_equal(fw_cfg_add_file(fw_cfg, "etc/zebra", "zz", 2, &err), 0);
	assert_int_equal(fw_cfg_add_file(fw_cfg, "bootorder", "abc", 3, &err), 0);
	assert_int_equal(fw_cfg_add_file(fw_cfg, "etc/ape", "", 0, &err), 0);
	assert_int_equal(file_key("bootorder", &length), 0x20);
	assert_int_equal(length, 3);
	assert_int_equal(file_key("etc/ape", &length), 0x21);
	assert_int_equal(length, 0);
	assert_int_equal(file_key("etc/zebra", &length), 0x22);
	choose(0x22);
	get(bytes, 4);
	assert_memory_equal(bytes, "zz\0\0", 4);
	/* Replacing keeps one entry. */
	assert_int_equal(fw_cfg_add_file(fw_cfg, "bootorder", "abcdef", 6, &err), 0);
	assert_int_equal(file_key("bootorder", &length), 0x20);
	assert_int_equal(length, 6);
	memset(name, 'n', sizeof(name));
	name[FW_CFG_NAME_MAX + 1] = 0;
	assert_int_equal(fw_cfg_add_file(fw_cfg, name, "", 0, &err), -EINVAL);
	name[FW_CFG_NAME_MAX] = 0;
	assert_int_equal(fw_cfg_add_file(fw_cfg, name, "", 0, &err), 0);
	assert_int_equal(fw_cfg_add_file(fw_cfg, "", "", 0, &err), -EINVAL);
	for (unsigned i = 4; i < FW_CFG_FILES_MAX; i++) {
		snprintf(name, sizeof(name), "file%u", i);
		assert_int_equal(fw_cfg_add_file(fw_cfg, name, "x", 1, &err), 0);
	}
	assert_int_equal(fw_cfg_add_file(fw_cfg, "one-too-many", "x", 1, &err), -ENOSPC);
}

static void dma_reads(void **unused)
{
	struct error err = {0};
	uint32_t length;
	unsigned key;
	uint8_t bytes[16];

	fw_cfg_add_file(fw_cfg, "opt/text", "0123456789", 10, &err);
	key = file_key("opt/text", &length);
	assert_int_equal(dma(key << 16 | SELECT | READ, BUFFER, 4), 0);
	assert_int_equal(dma(SKIP, 0, 2), 0);
	assert_int_equal(dma(READ, BUFFER + 4, 3), 0);
	ram_read(t.env.ram, BUFFER, bytes, 7);
	assert_memory_equal(bytes, "0123678", 7);
	/* Beyond the end come zeroes; the port goes on where DMA stopped. */
	ram_fill(t.env.ram, BUFFER, 0xff, 16);
	assert_int_equal(dma(key << 16 | SELECT | READ, BUFFER, 12), 0);
	ram_read(t.env.ram, BUFFER, bytes, 13);
	assert_memory_equal(bytes, "0123456789\0\0\xff", 13);
	assert_int_equal(dma(key << 16 | SELECT, 0, 0), 0);
	assert_int_equal(in8(&t, DATA), '0');
	assert_int_equal(dma(0x7777 << 16 | SELECT | READ, BUFFER, 2), 0);
	ram_read(t.env.ram, BUFFER, bytes, 2);
	assert_memory_equal(bytes, "\0\0", 2);
}

static void hostile_dma(void **unused)
{
	struct error err = {0};
	uint32_t length;
	unsigned key;

	fw_cfg_add_file(fw_cfg, "opt/text", "0123456789", 10, &err);
	key = file_key("opt/text", &length);
	assert_int_equal(dma(key << 16 | SELECT | READ, TEST_RAM - 4, 10), ERROR);
	assert_int_equal(dma(key << 16 | SELECT | READ, UINT64_MAX - 3, 10), ERROR);
	assert_int_equal(dma(key << 16 | SELECT | READ, BUFFER, UINT32_MAX), ERROR);
	assert_int_equal(dma(key << 16 | SELECT | WRITE, BUFFER, 10), ERROR); /* read-only */
	/* Skips cannot wrap round to the start. */
	assert_int_equal(dma(key << 16 | SELECT | SKIP, 0, UINT32_MAX), 0);
	assert_int_equal(dma(SKIP, 0, UINT32_MAX), 0);
	assert_int_equal(in8(&t, DATA), 0);
	/* A descriptor outside RAM is nothing. */
	bus_write(t.env.io, DMA, htobe32(0xffffffff), 4);
	bus_write(t.env.io, DMA + 4, htobe32(0xfffffff8), 4);
	bus_write(t.env.io, DMA + 4, htobe32(TEST_RAM - 8), 4);
	bus_write(t.env.io, DMA + 5, 1, 1);
	bus_write(t.env.io, SELECTOR, 0x20, 1);
	bus_write(t.env.io, DATA, 0x20, 1);
}

struct lazy {
	unsigned selects, writes;
	size_t offset, length;
};

static void lazy_select(void *opaque)
{
	struct lazy *lazy = opaque;
	char text[32];

	snprintf(text, sizeof(text), "made %u times", ++lazy->selects);
	assert_int_equal(fw_cfg_update_file(fw_cfg, "etc/lazy", text, strlen(text)), 0);
}

static void lazy_written(void *opaque, size_t offset, size_t length)
{
	struct lazy *lazy = opaque;

	lazy->writes++;
	lazy->offset = offset;
	lazy->length = length;
}

static void callbacks(void **unused)
{
	struct lazy lazy = {0};
	struct fw_cfg_callback callback = {.select = lazy_select, .written = lazy_written, .opaque = &lazy};
	struct error err = {0};
	uint32_t length;
	unsigned key;
	uint8_t bytes[16];

	assert_int_equal(fw_cfg_add_callback(fw_cfg, "etc/lazy", "", 0, &callback, &err), 0);
	key = file_key("etc/lazy", &length);
	assert_int_equal(dma(key << 16 | SELECT | READ, BUFFER, 12), 0);
	ram_read(t.env.ram, BUFFER, bytes, 12);
	assert_memory_equal(bytes, "made 1 times", 12);
	assert_int_equal(dma(key << 16 | SELECT | SKIP, 0, 5), 0);
	ram_write(t.env.ram, BUFFER, "XY", 2);
	assert_int_equal(dma(WRITE, BUFFER, 2), 0);
	assert_int_equal(lazy.writes, 1);
	assert_int_equal(lazy.offset, 5);
	assert_int_equal(lazy.length, 2);
	assert_memory_equal((const uint8_t *)fw_cfg_file(fw_cfg, "etc/lazy", &(size_t){0}) + 5, "XY", 2);
	assert_int_equal(dma(WRITE, BUFFER, 100), ERROR); /* beyond its end */
	assert_int_equal(lazy.writes, 1);
}

static int option(const char *name, const char *text, struct error *err)
{
	struct options options = {0};
	int rc;

	assert_int_equal(options_parse(&options, text, NULL, err), 0);
	rc = fw_cfg_add_option(fw_cfg, name, &options, err);
	options_free(&options);
	return rc;
}

static void command_line(void **unused)
{
	char path[] = "/tmp/fw_cfg_test.XXXXXX", text[128];
	struct error err = {0};
	size_t length;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "from a file", 11), 11);
	close(fd);
	snprintf(text, sizeof(text), "file=%s", path);
	assert_int_equal(option("opt/file", text, &err), 0);
	unlink(path);
	assert_memory_equal(fw_cfg_file(fw_cfg, "opt/file", &length), "from a file", 11);
	assert_int_equal(length, 11);
	assert_int_equal(option("opt/s", "string=hello", &err), 0);
	assert_memory_equal(fw_cfg_file(fw_cfg, "opt/s", &length), "hello", 5);
	assert_int_equal(length, 5); /* without a terminator */
	assert_true(option("opt/file", text, &err) < 0);
	assert_non_null(strstr(err.msg, path));
	assert_true(option("opt/x", "", &err) < 0);
	assert_true(option("opt/x", "string=a,file=b", &err) < 0);
	assert_true(option("opt/x", "strin=a", &err) < 0);
	assert_true(option("opt/x", "file=/dev/zero", &err) < 0);
}

static void state_survives(void **unused)
{
	struct error err = {0};

	choose(FW_CFG_SIGNATURE);
	in8(&t, DATA);
	assert_true(test_save_reset_load((struct device *)fw_cfg, &err) > 0);
	assert_int_equal(in8(&t, DATA), 'E');
	test_hostile_state((struct device *)fw_cfg);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(signature_and_features),
		T(numbers_and_strings),
		T(directory_is_sorted),
		T(dma_reads),
		T(hostile_dma),
		T(callbacks),
		T(command_line),
		T(state_survives),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

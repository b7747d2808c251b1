/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The OEM strings (type 11): given in the option or in a file. */
#include "machine/smbios/smbios.h"

#include "base/util.h"
#include "config/domain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* The tables for -smbios TEXT; NULL: err. */
static uint8_t *build(const char *text, size_t *length, struct error *err)
{
	struct domain_config config;
	struct options options;
	uint8_t *tables;

	domain_config_init(&config);
	assert_int_equal(options_parse(&options, text, NULL, err), 0);
	config_list_add(&config.smbios, NULL, NULL, &options);
	tables = smbios_build(&config, 0xf0000, length, err);
	domain_config_free(&config);
	options_free(&options);
	return tables;
}

static void strings_of_options_and_files(void **unused)
{
	static const char expected[] = "first\0from the\nfile\0last\0";
	char path[] = "/tmp/xuni-smbios-XXXXXX";
	int fd = mkstemp(path);
	char *text = xasprintf("type=11,value=first,path=%s,value=last", path);
	struct error err = {0};
	size_t length;
	uint8_t *tables;

	assert_int_equal(write(fd, "from the\nfile", 13), 13);
	tables = build(text, &length, &err);
	assert_non_null(tables);
	assert_non_null(memmem(tables, length, expected, sizeof(expected)));
	free(tables);
	assert_int_equal(write(fd, "\0", 1), 1);
	assert_null(build(text, &length, &err));
	assert_non_null(strstr(err.msg, "NUL"));
	unlink(path);
	close(fd);
	err = (struct error){0};
	assert_null(build(text, &length, &err));
	assert_non_null(strstr(err.msg, "No such file"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(strings_of_options_and_files)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

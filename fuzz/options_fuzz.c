/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command line parser under foreign bytes: an input is an argument vector, one argument a line. -readconfig is left
 * out of the vector (it opens files); the whole input goes through it as a file instead when it begins with '['.
 * Built with clang -fsanitize=fuzzer this is a libFuzzer target; else main replays the files of the given folders.
 */
#include "config/argv.h"
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_ARGS = 64, MAX_BYTES = 1 << 16 };

static void parse(int argc, char **argv)
{
	struct domain_config config;
	struct config_request request;
	struct error err = {0};

	if (config_from_argv(&config, &request, argc, argv, &err) < 0 && (!err.code || !err.msg[0]))
		abort(); /* a failure without a message */
	free(request.name);
	domain_config_free(&config);
}

static void parse_as_file(const uint8_t *data, size_t size)
{
	char path[64], *argv[] = {(char *)"x", (char *)"-readconfig", path, NULL};
	int fd = memfd_create("readconfig", MFD_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, data, size) == (ssize_t)size) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		parse(3, argv);
	}
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy, *argv[MAX_ARGS + 1] = {(char *)"x"};
	int argc = 1;

	if (size > MAX_BYTES)
		return 0;
	if (size && data[0] == '[') {
		parse_as_file(data, size);
		return 0;
	}
	copy = strndup((const char *)data, size);
	for (char *line = copy, *next; line && *line && argc < MAX_ARGS; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		argv[argc++] = strstr(line, "readconfig") ? (char *)"-S" : line;
	}
	parse(argc, argv);
	free(copy);
	return 0;
}

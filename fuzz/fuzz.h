/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Common part of the fuzz targets. With clang -fsanitize=fuzzer (XUNI_LIBFUZZER defined) libFuzzer brings main.
 * Without, main runs every file of the folders and files named, so that any compiler can replay a corpus as a test.
 */
#ifndef XUNI_FUZZ_FUZZ_H
#define XUNI_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is left of an input that is a program of operations and operands. */
struct input {
	const uint8_t *data;
	size_t size;
};

/* The next number, least significant byte first; zeroes behind the end. */
static inline uint64_t take(struct input *input, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes && input->size; i++) {
		value |= (uint64_t)*input->data++ << 8 * i;
		input->size--;
	}
	return value;
}

#ifndef XUNI_LIBFUZZER
#include <dirent.h>
#include <sys/stat.h>

static inline int fuzz_replay_file(const char *path)
{
	FILE *from = fopen(path, "rb");
	struct stat info;
	uint8_t *data;
	size_t size;

	if (!from || fstat(fileno(from), &info) < 0) {
		perror(path);
		return 1;
	}
	data = malloc((size_t)info.st_size + 1);
	size = data ? fread(data, 1, (size_t)info.st_size, from) : 0;
	fclose(from);
	LLVMFuzzerTestOneInput(data, size);
	free(data);
	return 0;
}

static inline int fuzz_replay(const char *path, unsigned *count)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	int failed = 0;

	if (!folder) {
		++*count;
		return fuzz_replay_file(path);
	}
	while ((entry = readdir(folder))) {
		char *file;

		if (entry->d_name[0] == '.' || asprintf(&file, "%s/%s", path, entry->d_name) < 0)
			continue;
		failed |= fuzz_replay(file, count);
		free(file);
	}
	closedir(folder);
	return failed;
}

int main(int argc, char **argv)
{
	unsigned count = 0;
	int failed = 0;

	for (int i = 1; i < argc; i++)
		failed |= fuzz_replay(argv[i], &count);
	printf("%u inputs\n", count);
	return failed || !count;
}
#endif

#endif

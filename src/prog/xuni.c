/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xuni: the front end, git-style. A verb is a program that lies beside this one (`xuni run ARGS` is `xuni-vmm ARGS`). A
 * link to it with the name of another program (xuni-qemu, qemu-system-x86_64, ...) is that program.
 */
#include "base/options.h"
#include "base/util.h"
#include "config/version.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct verb {
	const char *name;
	const char *program; /* NULL: done here */
	const char *called;  /* what the program finds as its own name; NULL: its name */
	const char *also;    /* names of links that mean this verb, blank-separated */
	const char *help;
};

static const struct verb verbs[] = {
	{"run", "xuni-vmm", NULL, "xuni-vmm xuni-qemu qemu-system-x86_64 qemu-kvm kvm",
	 "run a machine; takes qemu-kvm's command line"},
	{"img", "xuni-img", NULL, "xuni-img qemu-img", "disk images; takes qemu-img's command line"},
	{"nbd", "xuni-img", "xuni-nbd", "xuni-nbd qemu-nbd",
	 "a disk image for NBD clients; takes qemu-nbd's command line"},
	{"help", NULL, NULL, "", "this text, or 'help VERB'"},
	{"version", NULL, NULL, "", "print the version"},
};

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static bool has_word(const char *words, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = words; length && (at = strstr(at, word)); at++)
		if ((at == words || at[-1] == ' ') && (at[length] == ' ' || !at[length]))
			return true;
	return false;
}

static const struct verb *verb_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	return NULL;
}

static void print_usage(FILE *to)
{
	fprintf(to, "usage: xuni VERB [ARGS]\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].help);
}

/* The program in this program's own folder, else in PATH. Returns only when that failed. */
static int become(const struct verb *verb, char **argv)
{
	const char *program = verb->program;
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash, *beside;

	argv[0] = (char *)(verb->called ? verb->called : program);
	if (length > 0) {
		path[length] = 0;
		slash = strrchr(path, '/');
		if (slash) {
			*slash = 0;
			beside = xasprintf("%s/%s", path, program);
			execv(beside, argv);
			free(beside);
		}
	}
	execvp(program, argv);
	fprintf(stderr, "xuni: cannot start %s: %s\n", program, strerror(errno));
	return 127;
}

static int unknown_verb(const char *name)
{
	const char *names[ARRAY_SIZE(verbs) + 1] = {NULL}, *near;

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		names[i] = verbs[i].name;
	near = nearest_word(name, names);
	if (near)
		fprintf(stderr, "xuni: '%s' is not a verb; did you mean '%s'?\n", name, near);
	else
		fprintf(stderr, "xuni: '%s' is not a verb; 'xuni help' lists them\n", name);
	return 1;
}

static int help(int argc, char **argv)
{
	char *ask[] = {NULL, (char *)"-help", NULL};
	const struct verb *verb = argc > 2 ? verb_find(argv[2]) : NULL;

	if (argc > 2 && !verb)
		return unknown_verb(argv[2]);
	if (verb && verb->program)
		return become(verb, ask);
	print_usage(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	const char *self = base_name(argc ? argv[0] : ""), *name;
	const struct verb *verb;

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (has_word(verbs[i].also, self))
			return become(&verbs[i], argv);
	if (argc < 2) {
		print_usage(stderr);
		return 1;
	}
	name = argv[1] + strspn(argv[1], "-");
	verb = verb_find(strcmp(name, "h") == 0 ? "help" : name);
	if (!verb || (name != argv[1] && verb->program))
		return unknown_verb(argv[1]);
	if (verb->program)
		return become(verb, argv + 1);
	if (strcmp(verb->name, "help") == 0)
		return help(argc, argv);
	printf("xuni version %s\n", XUNI_VERSION);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * export: an image as an NBD server, with qemu-nbd's grammar; also what a link to the program called xuni-nbd or
 * qemu-nbd is. Left out, each refused by name: TLS, bitmaps, internal snapshots, the list of another server's exports,
 * devices of the kernel's client (nbd-client connects those).
 */
#include "img/export.h"

#include <stdlib.h>

enum {
	OPT_CACHE = 1000,
	OPT_AIO,
	OPT_DISCARD,
	OPT_DETECT_ZEROES,
	OPT_PID_FILE,
	OPT_FORK,
	OPT_TLS,
	OPT_SELINUX,
};

static const struct img_long longs[] = {
	{"help", false, 'h'},
	{"version", false, 'V'},
	{"bind", true, 'b'},
	{"port", true, 'p'},
	{"socket", true, 'k'},
	{"offset", true, 'o'},
	{"read-only", false, 'r'},
	{"allocation-depth", false, 'A'},
	{"bitmap", true, 'B'},
	{"connect", true, 'c'},
	{"disconnect", false, 'd'},
	{"list", false, 'L'},
	{"snapshot", false, 's'},
	{"load-snapshot", true, 'l'},
	{"nocache", false, 'n'},
	{"cache", true, OPT_CACHE},
	{"aio", true, OPT_AIO},
	{"discard", true, OPT_DISCARD},
	{"detect-zeroes", true, OPT_DETECT_ZEROES},
	{"shared", true, 'e'},
	{"format", true, 'f'},
	{"persistent", false, 't'},
	{"verbose", false, 'v'},
	{"export-name", true, 'x'},
	{"description", true, 'D'},
	{"tls-creds", true, OPT_TLS},
	{"tls-hostname", true, OPT_TLS},
	{"tls-authz", true, OPT_TLS},
	{"trace", true, 'T'},
	{"fork", false, OPT_FORK},
	{"pid-file", true, OPT_PID_FILE},
	{"selinux-label", true, OPT_SELINUX},
	{NULL},
};

static const char usage[] = "Usage: %s [OPTIONS] FILE\n"
			    "Serves a disk image over the network block device protocol, with qemu-nbd's options\n\n"
			    "  -h, --help                display this help and exit\n"
			    "  -V, --version             output version information and exit\n\n"
			    "Connection properties:\n"
			    "  -p, --port=PORT           port to listen on (default `10809')\n"
			    "  -b, --bind=IFACE          interface to bind to (default `0.0.0.0')\n"
			    "  -k, --socket=PATH         path to the unix socket\n"
			    "  -e, --shared=NUM          device can be shared by NUM clients (default '1')\n"
			    "  -t, --persistent          don't exit on the last connection\n"
			    "  -v, --verbose             say what is served and where\n"
			    "  -x, --export-name=NAME    expose export by name (default is empty string)\n"
			    "  -D, --description=TEXT    export a human-readable description\n\n"
			    "Exposing part of the image:\n"
			    "  -o, --offset=OFFSET       offset into the image\n"
			    "  -A, --allocation-depth    expose the allocation depth\n\n"
			    "General purpose options:\n"
			    "  --fork                    fork off the server process and exit the parent\n"
			    "                            once the server is running\n"
			    "  --pid-file=PATH           store the server's process ID in the given file\n\n"
			    "Block device options:\n"
			    "  -f, --format=FORMAT       set image format (raw, qcow2, ...)\n"
			    "  -r, --read-only           export read-only\n"
			    "  -s, --snapshot            use FILE as an external snapshot, redirect writes to\n"
			    "                            a temporary file\n"
			    "  -n, --nocache             disable host cache\n"
			    "      --cache=MODE          'none', 'writeback' (default), 'writethrough',\n"
			    "                            'directsync' or 'unsafe'\n"
			    "      --aio=MODE            set AIO mode (native, io_uring or threads)\n"
			    "      --discard=MODE        set discard mode (ignore, unmap)\n"
			    "      --detect-zeroes=MODE  set detect-zeroes mode (off, on, unmap)\n"
			    "      --image-opts          treat FILE as a full set of image options\n";

static int take_shared(struct export *e, const char *text)
{
	uint64_t number;

	if (parse_u64(text, INT32_MAX, &number, NULL) < 0)
		return img_fail(e->img, "Invalid shared device number '%s'", text);
	e->shared = (unsigned)number;
	return -1;
}

static int take_offset(struct export *e, const char *text)
{
	if (parse_u64(text, UINT64_MAX, &e->offset, NULL) < 0)
		return img_fail(e->img, "Invalid offset '%s'", text);
	e->has_offset = true;
	return -1;
}

static int take_cache(struct export *e, const char *text)
{
	static const char *const known[] = {"none", "off", "writeback", "writethrough", "directsync", "unsafe"};

	if (e->cache)
		return img_fail(e->img, "-n and --cache can only be specified once");
	e->cache = text;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!strcmp(text, known[i]))
			return -1;
	return img_fail(e->img, "Invalid cache mode `%s'", text);
}

/* A word of a list, kept in *to. */
static int take_word(struct export *e, const char *text, const char *what, const char *const *known, const char **to)
{
	*to = text;
	for (; *known; known++)
		if (!strcmp(text, *known))
			return -1;
	return img_fail(e->img, "Invalid %s mode `%s'", what, text);
}

static int take_text(struct export *e, const char *text, const char *what, const char **to)
{
	*to = text;
	return strlen(text) > 4096 ? img_fail(e->img, "%s '%.40s...' is too long", what, text) : -1;
}

static int refuse(struct export *e, int code)
{
	switch (code) {
	case 'B':
		return img_fail(e->img, "-B (dirty bitmaps) is not supported yet");
	case 'l':
		return img_fail(e->img, "-l (internal snapshots) is not supported yet");
	case 'L':
		return img_fail(e->img, "-L is not supported yet; nbdinfo --list URI lists a server's exports");
	case 'c':
	case 'd':
		return img_fail(e->img,
				"-%c: devices of the kernel are not supported; nbd-client connects them to a server",
				code);
	case 'T':
		return img_fail(e->img, "-T is not supported yet");
	case OPT_SELINUX:
		return img_fail(e->img, "--selinux-label is not supported");
	default:
		return img_fail(e->img, "TLS is not supported yet");
	}
}

static int image_option(struct export *e, int code, const char *value)
{
	static const char *const discards[] = {"ignore", "off", "unmap", "on", NULL};
	static const char *const aios[] = {"native", "io_uring", "threads", NULL};
	static const char *const detects[] = {"off", "on", "unmap", NULL};

	switch (code) {
	case 'f':
		e->format = value;
		return -1;
	case 'o':
		return take_offset(e, value);
	case 'r':
		e->read_only = true;
		return -1;
	case 's':
		e->snapshot = true;
		return -1;
	case 'n':
		return take_cache(e, "none");
	case OPT_CACHE:
		return take_cache(e, value);
	case OPT_AIO:
		return take_word(e, value, "aio", aios, &e->aio);
	case OPT_DISCARD:
		return take_word(e, value, "discard", discards, &e->discard);
	case OPT_DETECT_ZEROES:
		return take_word(e, value, "detect_zeroes", detects, &e->detect_zeroes);
	case IMG_OPT_IMAGE_OPTS:
		e->image_opts = true;
		return -1;
	default:
		return refuse(e, code);
	}
}

static int option(struct export *e, struct img_args *args, int code)
{
	switch (code) {
	case '?':
		return 1;
	case 'h':
		fprintf(e->img->out, usage, e->img->program);
		return 0;
	case 'V':
		fprintf(e->img->out, "%s 7.2.22 (xuni)\n", e->img->program);
		return 0;
	case 'b':
		e->address = args->value;
		return -1;
	case 'p':
		e->port = args->value;
		return -1;
	case 'k':
		e->socket = args->value;
		return *args->value == '/' ? -1 : img_fail(e->img, "socket path must be absolute");
	case 'e':
		return take_shared(e, args->value);
	case 't':
		e->persistent = true;
		return -1;
	case 'v':
		e->verbose = true;
		return -1;
	case 'x':
		return take_text(e, args->value, "export name", &e->name);
	case 'D':
		return take_text(e, args->value, "export description", &e->description);
	case 'A':
		e->allocation_depth = true;
		return -1;
	case OPT_FORK:
		e->fork = true;
		return -1;
	case OPT_PID_FILE:
		e->pid_file = args->value;
		return -1;
	case IMG_OPT_OBJECT:
		return img_args_other(args, code);
	default:
		return image_option(e, code, args->value);
	}
}

static int check_arguments(struct export *e, const struct img_args *args)
{
	if (args->name_count != 1)
		return img_fail(e->img, "Invalid number of arguments\nTry `%s --help' for more information.",
				e->img->program);
	if (e->image_opts && e->format)
		return img_fail(e->img, "--image-opts and -f are mutually exclusive");
	e->filename = args->names[0];
	return -1;
}

int img_verb_export(struct img *img, int argc, char **argv)
{
	struct export e = {.img = img, .name = "", .shared = 1};
	struct img_args args;
	int code, status = -1;

	img_args_start(&args, img, argc, argv, "hVb:o:p:k:e:f:rsnc:dLB:Al:x:D:T:tv", longs);
	while (status < 0 && (code = img_args_next(&args)))
		status = option(&e, &args, code);
	if (status < 0)
		status = check_arguments(&e, &args);
	if (status < 0)
		status = export_run(&e);
	img_args_end(&args);
	return status;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process of `export`: image, listening socket (its own, or one that a service manager opened: sd_listen_fds(3)),
 * pid file, a child in the background (--fork), signals. SIGINT, SIGTERM and SIGHUP end it in good order: requests end,
 * images are closed.
 */
#include "img/export.h"

#include "backend/block/nbd/server.h"
#include "base/loop.h"

#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ACTIVATED_FD 3 /* the first descriptor of socket activation */
#define BACKLOG      128

struct run {
	struct export *export;
	struct loop *loop;
	struct nbd_server *server;
	int signal_fd, ready_fd;
	bool activated;
};

/* --- the socket --- */

static bool is_activated(void)
{
	const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");

	return pid && fds && strtol(pid, NULL, 10) == getpid() && !strcmp(fds, "1");
}

static int listen_unix(struct export *e)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(e->socket) >= sizeof(name.sun_path))
		return img_fail(e->img, "UNIX socket path '%s' is too long", e->socket) - 2;
	strcpy(name.sun_path, e->socket);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return img_fail(e->img, "Failed to create Unix socket: %s", strerror(errno)) - 2;
	/* What an earlier server left behind, as qemu-nbd does it. */
	if (unlink(e->socket) < 0 && errno != ENOENT)
		img_fail(e->img, "Failed to unlink socket %s: %s", e->socket, strerror(errno));
	else if (bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
		img_fail(e->img, "Failed to bind socket to %s: %s", e->socket, strerror(errno));
	else if (listen(fd, BACKLOG) < 0)
		img_fail(e->img, "Failed to listen on socket: %s", strerror(errno));
	else
		return fd;
	close(fd);
	return -1;
}

/* One address; -errno. */
static int listen_address(const struct addrinfo *address)
{
	int fd = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->ai_protocol);
	const int on = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	close(fd);
	return -errno;
}

static int listen_tcp(struct export *e)
{
	const struct addrinfo hints = {.ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM};
	const char *host = e->address ? e->address : "0.0.0.0", *port = e->port ? e->port : "10809";
	struct addrinfo *found;
	int result = getaddrinfo(host, port, &hints, &found), fd = -EADDRNOTAVAIL;

	if (result)
		return img_fail(e->img, "address resolution failed for %s:%s: %s", host, port, gai_strerror(result)) -
		       2;
	for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
		fd = listen_address(a);
	freeaddrinfo(found);
	return fd >= 0 ? fd : img_fail(e->img, "Failed to find an available port: %s", strerror(-fd)) - 2;
}

static int open_socket(struct run *run)
{
	struct export *e = run->export;

	run->activated = is_activated();
	if (run->activated && (e->socket || e->address || e->port)) {
		img_fail(e->img, "%s can't be used with socket activation",
			 e->socket    ? "Unix socket"
			 : e->address ? "Bind address"
				      : "Port number");
		return -1;
	}
	if (!run->activated)
		return e->socket ? listen_unix(e) : listen_tcp(e);
	fcntl(ACTIVATED_FD, F_SETFD, FD_CLOEXEC);
	fcntl(ACTIVATED_FD, F_SETFL, fcntl(ACTIVATED_FD, F_GETFL) | O_NONBLOCK);
	return ACTIVATED_FD;
}

/* --- the image --- */

static int image_options(struct export *e, struct options *options, struct error *err)
{
	if (e->image_opts)
		return options_parse(options, e->filename, NULL, err);
	if (e->format && !block_driver_find(e->format))
		return error_set(err, EINVAL, "Unknown driver '%s'", e->format);
	if (e->format)
		options_add(options, "driver", e->format);
	if (e->detect_zeroes)
		options_add(options, "detect-zeroes", e->detect_zeroes);
	return 0;
}

static bool cache_is(const struct export *e, const char *a, const char *b)
{
	return e->cache && (!strcmp(e->cache, a) || !strcmp(e->cache, b));
}

/* A window of the image from offset on; takes the reference. */
static struct block *cut(struct export *e, struct block *block, struct error *err)
{
	struct options options = {0};
	char *offset = xasprintf("%llu", (unsigned long long)e->offset);
	struct block *window;

	options_add(&options, "driver", "raw");
	options_add(&options, "file", block->node_name);
	options_add(&options, "offset", offset);
	if (e->read_only)
		options_add(&options, "read-only", "on");
	window = block_open_options(e->img->graph, &options, err);
	options_free(&options);
	free(offset);
	block_unref(block);
	return window;
}

static void warn_of_probing(const struct export *e, const struct block *block)
{
	if (e->format || e->image_opts || e->read_only || strcmp(block->driver->name, "raw"))
		return;
	fprintf(e->img->err,
		"WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
		"         Automatically detecting the format is dangerous for raw images, write operations on block 0 "
		"will be restricted.\n"
		"         Specify the 'raw' format explicitly to remove the restrictions.\n",
		e->filename);
}

static struct block *open_image(struct export *e)
{
	const struct block_open how = {
		.read_only = e->read_only || e->snapshot,
		.no_cache = cache_is(e, "none", "off") || cache_is(e, "directsync", "directsync"),
		.no_flush = cache_is(e, "unsafe", "unsafe"),
		.discard = e->discard && (!strcmp(e->discard, "unmap") || !strcmp(e->discard, "on")),
		.aio = e->aio && strcmp(e->aio, "io_uring") ? e->aio : NULL, /* which is the best where there is one */
	};
	struct block_open overlay_how = how;
	struct options options = {0};
	struct error err = {0};
	struct block *block = NULL, *overlay;

	if (image_options(e, &options, &err) == 0)
		block = block_open_image(e->img->graph, e->image_opts ? NULL : e->filename, &options, &how, &err);
	options_free(&options);
	if (!block) {
		img_fail(e->img, "Failed to blk_new_open '%s': %s", e->filename, err.msg);
		return NULL;
	}
	warn_of_probing(e, block);
	if (e->snapshot && !e->read_only) {
		overlay_how.read_only = false;
		overlay = block_open_temporary(block, &overlay_how, &err);
		block_unref(block);
		block = overlay;
	}
	if (block && e->has_offset)
		block = cut(e, block, &err);
	if (!block)
		img_fail(e->img, "%s", err.msg);
	return block;
}

/* --- the process --- */

/* The parent stays until the child serves, and ends as it says. */
static int fork_away(struct run *run)
{
	int ends[2];
	char byte;
	pid_t child;
	ssize_t got;

	if (pipe2(ends, O_CLOEXEC) < 0 || (child = fork()) < 0)
		return img_fail(run->export->img, "Failed to fork: %s", strerror(errno));
	if (child == 0) {
		close(ends[0]);
		run->ready_fd = ends[1];
		setsid();
		return -1;
	}
	close(ends[1]);
	do
		got = read(ends[0], &byte, 1);
	while (got < 0 && errno == EINTR);
	_exit(got == 1 ? 0 : 1);
}

/* Nothing keeps the caller's terminal or pipes any longer. */
static int tell_parent(struct run *run)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || chdir("/") < 0)
		return img_fail(run->export->img, "Failed to go to the background: %s", strerror(errno));
	for (int fd = 0; fd <= 2; fd++)
		if (fd != 2 || !run->export->verbose)
			dup2(null, fd);
	close(null);
	if (write(run->ready_fd, "", 1) != 1)
		return 1;
	close(run->ready_fd);
	return 0;
}

static int write_pid_file(struct export *e)
{
	int fd = open(e->pid_file, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600);
	char text[32];
	const int length = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (fd < 0)
		return img_fail(e->img, "Could not create '%s': %s", e->pid_file, strerror(errno));
	if (write(fd, text, (size_t)length) != length) {
		close(fd);
		return img_fail(e->img, "Failed to write pid file '%s'", e->pid_file);
	}
	close(fd);
	return 0;
}

static void on_signal(void *opaque, uint32_t events)
{
	struct run *run = opaque;
	struct signalfd_siginfo info;

	if (read(run->signal_fd, &info, sizeof(info)) == sizeof(info))
		loop_quit(run->loop);
}

static void on_disconnected(void *opaque, bool used, unsigned connections)
{
	struct run *run = opaque;

	/* A client that only looked at what there is does not end it. */
	if (used && !connections && !run->export->persistent)
		loop_quit(run->loop);
}

/* Before there are threads: they inherit it. */
static int open_signals(struct run *run)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	run->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return run->signal_fd < 0 ? img_fail(run->export->img, "signalfd: %s", strerror(errno)) : 0;
}

static int serve(struct run *run, struct block *block, int fd)
{
	struct export *e = run->export;
	const struct nbd_export exported = {
		.name = e->name,
		.description = e->description,
		.block = block,
		.read_only = block->read_only,
		.allocation_depth = e->allocation_depth,
		.writethrough = cache_is(e, "writethrough", "directsync"),
	};
	const struct nbd_server_config config = {
		.exports = &exported,
		.export_count = 1,
		.max_connections = e->shared,
		.disconnected = on_disconnected,
		.opaque = run,
	};
	struct loop_fd *watch = loop_fd_add(run->loop, run->signal_fd, EPOLLIN, on_signal, run);
	int status;

	run->server = nbd_server_new(run->loop, &config);
	nbd_server_listen(run->server, fd);
	if (e->verbose)
		fprintf(e->img->err, "%s: '%s' (%llu bytes%s) is served as export '%s'\n", e->img->program, e->filename,
			(unsigned long long)block->length, block->read_only ? ", read-only" : "", e->name);
	status = e->pid_file ? write_pid_file(e) : 0;
	if (!status && e->fork)
		status = tell_parent(run);
	if (!status)
		loop_run(run->loop);
	nbd_server_free(run->server);
	loop_fd_remove(watch);
	if (e->socket)
		unlink(e->socket);
	return status;
}

static int open_and_serve(struct run *run)
{
	struct error err = {0};
	struct block *block;
	int fd = open_socket(run), status;

	if (fd < 0)
		return 1;
	block = open_image(run->export);
	if (!block) {
		close(fd);
		if (run->export->socket)
			unlink(run->export->socket);
		return 1;
	}
	run->loop = loop_new(&err);
	status = run->loop ? serve(run, block, fd) : img_fail(run->export->img, "%s", err.msg);
	loop_free(run->loop);
	block_unref(block);
	return status;
}

int export_run(struct export *export)
{
	struct run run = {.export = export, .ready_fd = -1, .signal_fd = -1};
	int status = export->fork ? fork_away(&run) : -1;

	if (status < 0)
		status = open_signals(&run);
	if (!status)
		status = open_and_serve(&run);
	if (run.signal_fd >= 0)
		close(run.signal_fd);
	return status;
}

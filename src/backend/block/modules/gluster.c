/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Protocol "gluster": a file on a GlusterFS volume as a disk, over libgfapi. By
 * gluster[+tcp|+unix]://[HOST[:PORT]]/VOLUME/PATH[?socket=PATH] or qemu's options (volume=, path=, server.N.*).
 * Transfers block their worker; the library reconnects to its bricks itself and fails requests when its ping timeout is
 * over. Left out: RDMA, which Gluster has given up.
 */
#include "backend/block/internal.h"
#include "backend/block/module.h"
#include "base/uri.h"

#include <fcntl.h>
#include <glusterfs/api/glfs.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEFAULT_PORT 24007
#define MAX_SERVERS  32

struct gluster_server {
	const char *transport, *host; /* host: of unix the socket's path */
	int port;
};

/* All texts to be freed. */
struct gluster_place {
	char *volume, *path;
	struct gluster_server servers[MAX_SERVERS];
	unsigned server_count;
};

struct gluster {
	struct glfs *volume;
	struct glfs_fd *fd;
	_Atomic bool no_discard, no_zerofill;
};

/* --- where it is --- */

static void place_free(struct gluster_place *place)
{
	free(place->volume);
	free(place->path);
	for (unsigned i = 0; i < place->server_count; i++)
		free((void *)(uintptr_t)place->servers[i].host);
	*place = (struct gluster_place){0};
}

static void add_server(struct gluster_place *place, const char *transport, const char *host, int port)
{
	place->servers[place->server_count++] =
		(struct gluster_server){.transport = transport, .host = xstrdup(host), .port = port};
}

static int add_uri_server(struct gluster_place *place, const struct uri *uri, const char *text, struct error *err)
{
	const char *kind = uri->scheme + strlen("gluster");
	char *socket;

	if (!*kind || !strcmp(kind, "+tcp")) {
		add_server(place, "tcp", *uri->host ? uri->host : "localhost",
			   uri->port ? (int)uri->port : DEFAULT_PORT);
		return 0;
	}
	if (strcmp(kind, "+unix"))
		return error_set(err, EINVAL, "'%s': unknown transport '%s'; tcp and unix are supported", text,
				 kind + 1);
	socket = uri_query(uri, "socket");
	if (!socket || !*socket) {
		free(socket);
		return error_set(err, EINVAL, "'%s' lacks ?socket=PATH", text);
	}
	add_server(place, "unix", socket, 0);
	free(socket);
	return 0;
}

static int place_from_uri(struct gluster_place *place, const char *text, struct error *err)
{
	struct uri uri;
	const char *slash;
	int result = uri_parse(&uri, text, err);

	if (result)
		return result;
	slash = *uri.path ? strchr(uri.path + 1, '/') : NULL;
	if (!slash || slash == uri.path + 1 || !slash[1]) {
		result = error_set(err, EINVAL, "'%s' is not gluster://HOST[:PORT]/VOLUME/PATH", text);
	} else {
		place->volume = strndup(uri.path + 1, (size_t)(slash - uri.path - 1));
		place->path = xstrdup(slash + 1);
		result = add_uri_server(place, &uri, text, err);
	}
	uri_free(&uri);
	return result;
}

/* server.N.name, N from 0; NULL when it is not given. */
static const char *server_option(struct options *options, unsigned number, const char *name)
{
	char *key = xasprintf("server.%u.%s", number, name);
	const char *text = options_get(options, key);

	free(key);
	return text;
}

static int add_described_server(struct gluster_place *place, struct options *options, unsigned number,
				struct error *err)
{
	const char *type = server_option(options, number, "type"), *host = server_option(options, number, "host"),
		   *port = server_option(options, number, "port"), *path = server_option(options, number, "path"),
		   *socket = server_option(options, number, "socket");
	uint64_t value = DEFAULT_PORT;

	if (!strcmp(type, "inet") || !strcmp(type, "tcp")) {
		if (!host)
			return error_set(err, EINVAL, "server.%u.host is missing", number);
		if (port && parse_u64(port, 65535, &value, err) < 0)
			return error_prefix(err, "server.%u.port", number);
		add_server(place, "tcp", host, (int)value);
		return 0;
	}
	if (strcmp(type, "unix"))
		return error_set(err, EINVAL, "server.%u.type=%s: expected 'inet' or 'unix'", number, type);
	if (!path && !socket)
		return error_set(err, EINVAL, "server.%u.path is missing", number);
	add_server(place, "unix", path ? path : socket, 0);
	return 0;
}

static int place_from_options(struct gluster_place *place, struct options *options, struct error *err)
{
	const char *volume = options_get(options, "volume"), *path = options_get(options, "path");
	int result = 0;

	if (!volume || !path)
		return error_set(err, EINVAL,
				 "driver 'gluster' needs 'volume', 'path' and 'server.0.*', or a URI as filename");
	place->volume = xstrdup(volume);
	place->path = xstrdup(path);
	for (unsigned i = 0; i < MAX_SERVERS && !result && server_option(options, i, "type"); i++)
		result = add_described_server(place, options, i, err);
	if (!result && !place->server_count)
		result = error_set(err, EINVAL, "driver 'gluster' needs at least server.0.type");
	return result;
}

/* --- volumes --- */

static int set_servers(struct glfs *volume, const struct gluster_place *place)
{
	for (unsigned i = 0; i < place->server_count; i++) {
		const struct gluster_server *server = &place->servers[i];

		if (glfs_set_volfile_server(volume, server->transport, server->host, server->port) < 0)
			return -errno;
	}
	return 0;
}

static struct glfs *open_volume(const struct gluster_place *place, const char *log_file, int level, struct error *err)
{
	struct glfs *volume = glfs_new(place->volume);

	if (!volume) {
		error_set_errno(err, errno, "Gluster volume '%s'", place->volume);
		return NULL;
	}
	errno = 0;
	if (set_servers(volume, place) == 0 && glfs_set_logging(volume, log_file, level) == 0 && glfs_init(volume) == 0)
		return volume;
	error_set_errno(err, errno ? errno : EINVAL,
			"Gluster connection for volume %s, path %s failed to connect (first server '%s'; logfile= "
			"names a file for the library's own messages)",
			place->volume, place->path, place->servers[0].host);
	glfs_fini(volume);
	return NULL;
}

/* --- transfers --- */

enum direction { IN, OUT };

/* Repeats until all is done; what lies behind the end of the file reads as zeroes. */
static int transfer(struct gluster *g, enum direction direction, uint64_t offset, const struct iovec *iov,
		    int iov_count, uint64_t length)
{
	struct iovec *window = calloc((size_t)iov_count, sizeof(*window));
	uint64_t done = 0;

	if (!window)
		return -ENOMEM;
	while (done < length) {
		uint64_t part;
		const int used = iov_window(window, iov_count, iov, iov_count, done, length - done, &part);
		ssize_t moved = direction == IN ? glfs_preadv(g->fd, window, used, (off_t)(offset + done), 0)
						: glfs_pwritev(g->fd, window, used, (off_t)(offset + done), 0);

		if (moved < 0 && errno == EINTR)
			continue;
		if (moved < 0 || (moved == 0 && direction == OUT)) {
			const int code = moved < 0 ? errno : EIO;

			free(window);
			return -code;
		}
		if (moved == 0) {
			iov_clear(iov, iov_count, done, length - done);
			break;
		}
		done += (uint64_t)moved;
	}
	free(window);
	return 0;
}

static int gluster_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	return transfer(block->private_data, IN, offset, iov, iov_count, length);
}

static int gluster_flush(struct block *block)
{
	struct gluster *g = block->private_data;

	return glfs_fsync(g->fd, NULL, NULL) < 0 ? -errno : 0;
}

static int gluster_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
			  uint32_t flags)
{
	int result = transfer(block->private_data, OUT, offset, iov, iov_count, length);

	return !result && flags & BLOCK_FUA ? gluster_flush(block) : result;
}

static bool is_missing(int code)
{
	return code == EOPNOTSUPP || code == ENOSYS;
}

static int gluster_discard(struct block *block, uint64_t offset, uint64_t length)
{
	struct gluster *g = block->private_data;

	if (g->no_discard)
		return -ENOTSUP;
	if (glfs_discard(g->fd, (off_t)offset, length) == 0)
		return 0;
	if (!is_missing(errno))
		return -errno;
	g->no_discard = true;
	return -ENOTSUP;
}

static int gluster_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct gluster *g = block->private_data;

	if (g->no_zerofill)
		return -ENOTSUP;
	if (glfs_zerofill(g->fd, (off_t)offset, (off_t)length) == 0)
		return flags & BLOCK_FUA ? gluster_flush(block) : 0;
	if (!is_missing(errno))
		return -errno;
	g->no_zerofill = true;
	return -ENOTSUP;
}

static int gluster_truncate(struct block *block, uint64_t length, struct error *err)
{
	struct gluster *g = block->private_data;

	if (glfs_ftruncate(g->fd, (off_t)length, NULL, NULL) < 0)
		return error_set_errno(err, errno, "Could not resize '%s'", block->filename);
	block->length = align_up(length, BLOCK_SECTOR);
	return 0;
}

static int gluster_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct gluster *g = block->private_data;
	const int data_bits = BLOCK_EXTENT_DATA | BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_OFFSET_VALID;
	off_t data = glfs_lseek(g->fd, (off_t)offset, SEEK_DATA), end;

	*child_offset = offset;
	if (data < 0 && errno == ENXIO) /* a hole up to the end */
		return BLOCK_EXTENT_ZERO | BLOCK_EXTENT_OFFSET_VALID;
	/* Some translators answer with places before the one asked about. */
	if (data < (off_t)offset)
		return data_bits;
	if (data > (off_t)offset) {
		*length = min_u64(*length, (uint64_t)data - offset);
		return BLOCK_EXTENT_ZERO | BLOCK_EXTENT_OFFSET_VALID;
	}
	end = glfs_lseek(g->fd, (off_t)offset, SEEK_HOLE);
	if (end > (off_t)offset)
		*length = min_u64(*length, (uint64_t)end - offset);
	return data_bits;
}

/* --- opening and making --- */

static char *place_text(const struct gluster_place *place)
{
	const struct gluster_server *server = &place->servers[0];
	char *path = uri_escape(place->path), *host = uri_escape(server->host), *text;

	if (!strcmp(server->transport, "unix"))
		text = xasprintf("gluster+unix:///%s/%s?socket=%s", place->volume, path, host);
	else if (server->port == DEFAULT_PORT)
		text = xasprintf("gluster://%s/%s/%s", server->host, place->volume, path);
	else
		text = xasprintf("gluster://%s:%d/%s/%s", server->host, server->port, place->volume, path);
	free(path);
	free(host);
	return text;
}

static int open_file(struct block *block, const struct gluster_place *place, const struct block_open *how,
		     struct error *err)
{
	struct gluster *g = block->private_data;
	struct stat status;

	g->fd = glfs_open(g->volume, place->path, block->read_only ? O_RDONLY : O_RDWR);
	if (!g->fd && !block->read_only && how->auto_read_only && (errno == EACCES || errno == EROFS)) {
		g->fd = glfs_open(g->volume, place->path, O_RDONLY);
		block->read_only |= g->fd != NULL;
	}
	if (!g->fd)
		return error_set_errno(err, errno, "Could not open '%s'", block->filename);
	if (glfs_fstat(g->fd, &status) < 0 || !S_ISREG(status.st_mode)) {
		const int code = errno;

		glfs_close(g->fd);
		return error_set(err, EINVAL, "Could not open '%s': %s", block->filename,
				 code ? strerror(code) : "no regular file");
	}
	block->length = align_up((uint64_t)status.st_size, BLOCK_SECTOR);
	return 0;
}

static int open_place(struct block *block, struct options *options, const struct gluster_place *place,
		      const struct block_open *how, struct error *err)
{
	struct gluster *g = block->private_data;
	const char *log_file = options_get(options, "logfile");
	uint64_t level = 4;
	int result = options_u64(options, "debug", &level, 9, err);

	if (result)
		return result;
	block->filename = place_text(place);
	g->volume = open_volume(place, log_file ? log_file : "/dev/null", (int)level, err);
	if (!g->volume)
		return -err->code;
	result = open_file(block, place, how, err);
	if (result)
		glfs_fini(g->volume);
	return result;
}

static int gluster_open(struct block *block, struct options *options, const struct block_open *how, struct error *err)
{
	struct gluster_place place = {0};
	const char *filename = options_get(options, "filename");
	int result = filename ? place_from_uri(&place, filename, err) : place_from_options(&place, options, err);

	if (!result)
		result = open_place(block, options, &place, how, err);
	place_free(&place);
	return result;
}

static void gluster_close(struct block *block)
{
	struct gluster *g = block->private_data;

	glfs_close(g->fd);
	glfs_fini(g->volume); /* waits for what is under way, up to ten seconds */
}

static int create_file(struct glfs *volume, const struct gluster_place *place, uint64_t length, struct error *err)
{
	struct glfs_fd *fd = glfs_creat(volume, place->path, O_WRONLY | O_TRUNC, 0600);
	int code = 0;

	if (!fd)
		return error_set_errno(err, errno, "Could not create '%s'", place->path);
	if (glfs_ftruncate(fd, (off_t)length, NULL, NULL) < 0)
		code = errno;
	if (glfs_close(fd) < 0 && !code)
		code = errno;
	return code ? error_set_errno(err, code, "Could not resize file") : 0;
}

static int gluster_create(const struct block_create *create, struct error *err)
{
	struct gluster_place place = {0};
	struct glfs *volume;
	int result = place_from_uri(&place, create->filename, err);

	if (!result) {
		volume = open_volume(&place, "/dev/null", 4, err);
		result = volume ? create_file(volume, &place, create->length, err) : -err->code;
		if (volume)
			glfs_fini(volume);
	}
	place_free(&place);
	return result;
}

static const char *const gluster_options[] = {"filename", "volume", "path", "server.*", "debug", "logfile", NULL};

static const struct block_driver gluster_driver = {
	.name = "gluster",
	.is_protocol = true,
	.zero_behind_end = true,
	.size = sizeof(struct gluster),
	.known = gluster_options,
	.open = gluster_open,
	.close = gluster_close,
	.create = gluster_create,
	.pread = gluster_pread,
	.pwrite = gluster_pwrite,
	.flush = gluster_flush,
	.discard = gluster_discard,
	.write_zeroes = gluster_write_zeroes,
	.truncate = gluster_truncate,
	.extent = gluster_extent,
};

static const struct block_driver *const drivers[] = {&gluster_driver, NULL};

extern const struct module xuni_module __attribute__((visibility("default")));
const struct module xuni_module = {"block", BLOCK_MODULE_ABI, drivers};

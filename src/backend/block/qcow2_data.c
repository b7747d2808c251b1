/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where guest data lie: in the image file itself, or in an external data file at the same offsets as the guest has
 * them. A raw data file must at any time read as the disk does, so zeroes are written to it too.
 */
#include "backend/block/cipher_io.h"
#include "backend/block/qcow2_internal.h"

#include <sys/stat.h>

/* The name comes from the image: it is a path, never a URI or json:{...}. */
static int open_named(struct qcow2 *q, const struct block_open *how, struct error *err)
{
	struct options options = {0};
	struct stat status;
	int result;

	options_add(&options, "data-file.driver",
		    stat(q->data_name, &status) == 0 && S_ISBLK(status.st_mode) ? "host_device" : "file");
	options_add(&options, "data-file.filename", q->data_name);
	result = block_open_child(q->block->graph, &options, "data-file", NULL, true, how, &q->data_child, err);
	options_free(&options);
	return result;
}

int qcow2_data_open(struct qcow2 *q, struct options *options, const struct block_open *how, struct error *err)
{
	const bool external = q->header.incompatible & QCOW2_DATA_FILE;
	struct block_open data_how = *how;
	int result;

	q->data = external ? NULL : q->block->file;
	q->raw_data = external && q->header.autoclear & QCOW2_RAW_DATA;
	data_how.read_only = q->block->read_only;
	data_how.discard = true;
	/* What the options say comes before the name in the image. */
	result = block_open_child(q->block->graph, options, "data-file", NULL, true, &data_how, &q->data_child, err);
	if (!result && !q->data_child && external && q->data_name && !how->describe)
		result = open_named(q, &data_how, err);
	if (result)
		return result;
	if (q->data_child && !external)
		return error_set(err, EINVAL, "'data-file' can only be set for images with an external data file");
	if (external && !q->data_child && !how->describe)
		return error_set(err, EINVAL, "'data-file' is required for this image");
	if (q->data_child && (result = block_claim(q->data_child, !q->block->read_only, err))) {
		block_unref(q->data_child);
		q->data_child = NULL;
		return result;
	}
	if (external)
		q->data = q->data_child;
	return 0;
}

void qcow2_data_close(struct qcow2 *q)
{
	if (!q->data_child)
		return;
	block_release(q->data_child, !q->block->read_only);
	block_unref(q->data_child);
	q->data_child = NULL;
}

int qcow2_data_read(struct qcow2 *q, uint64_t host, uint64_t guest, const struct iovec *iov, int iov_count,
		    uint64_t skip, uint64_t length)
{
	const uint64_t sector = (q->guest_sectors ? guest : host) / CIPHER_SECTOR;

	if (!q->data || (q->header.crypt_method && !q->cipher))
		return -EIO; /* opened for a description only */
	if (q->cipher)
		return cipher_file_read(q->cipher, q->data, host, sector, iov, iov_count, skip, length);
	return image_file_iov(q->data, BLOCK_READ, host, iov, iov_count, skip, length);
}

int qcow2_data_write(struct qcow2 *q, uint64_t host, uint64_t guest, const struct iovec *iov, int iov_count,
		     uint64_t skip, uint64_t length)
{
	const uint64_t sector = (q->guest_sectors ? guest : host) / CIPHER_SECTOR;

	if (!q->data || (q->header.crypt_method && !q->cipher))
		return -EIO;
	if (q->cipher)
		return cipher_file_write(q->cipher, q->data, host, sector, iov, iov_count, skip, length);
	return image_file_iov(q->data, BLOCK_WRITE, host, iov, iov_count, skip, length);
}

int qcow2_data_clear(struct qcow2 *q, uint64_t offset, uint64_t length, bool zero)
{
	if (!q->data || offset >= q->header.size)
		return q->data ? 0 : -EIO;
	length = min_u64(length, q->header.size - offset);
	if (q->raw_data)
		return image_file_clear(q->data, BLOCK_WRITE_ZEROES, offset, length, BLOCK_MAY_UNMAP);
	/* The entries say that it reads as zeroes: whether the host takes the space back does not matter. */
	if (!zero && q->block->discard)
		block_run(q->data, BLOCK_DISCARD, offset, length, NULL, 0, 0);
	return 0;
}

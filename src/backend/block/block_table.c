/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disks of blocks with one flat table; see block_table.h. */
#include "backend/block/block_table.h"

#include <stdlib.h>

#define ENTRY 4u
/* With that many new blocks a write flushes the table by itself, so that what a kill loses is bounded. */
#define MAX_NEW_BLOCKS 4096u
/* In memory, besides those with new entries: some 70 MiB at most. */
#define MAX_PAGES 16384u

struct block_table_page {
	uint8_t entries[BLOCK_TABLE_PAGE * ENTRY];
	uint8_t dirty[BLOCK_TABLE_PAGE / 8];   /* new, to be written */
	uint8_t written[BLOCK_TABLE_PAGE / 8]; /* before_write has been called, or the block is of this session */
	bool is_dirty;
	bool taken; /* by a flush, which may make it dirty again */
	uint64_t number;
	struct block_table_page *next_dirty;
};

static bool get_bit(const uint8_t *bits, uint64_t index)
{
	return bits[index / 8] & (1u << index % 8);
}

static void set_bit(uint8_t *bits, uint64_t index)
{
	bits[index / 8] |= (uint8_t)(1u << index % 8);
}

/* --- pages --- */

static uint64_t entries_of(const struct block_table *table, uint64_t page)
{
	return min_u64(BLOCK_TABLE_PAGE, table->count - page * BLOCK_TABLE_PAGE);
}

static int read_entries(struct block_table *table, uint64_t page, uint8_t *to)
{
	return image_file_read(table->block->file, table->offset + page * BLOCK_TABLE_PAGE * ENTRY, to,
			       entries_of(table, page) * ENTRY);
}

/* Locked. Drops a page that is as in the file, going round. */
static void make_room(struct block_table *table)
{
	for (uint64_t i = 0; i < table->page_count && table->resident >= MAX_PAGES; i++) {
		struct block_table_page **slot = &table->pages[table->hand];

		table->hand = table->hand + 1 < table->page_count ? table->hand + 1 : 0;
		if (!*slot || (*slot)->is_dirty || (*slot)->taken)
			continue;
		free(*slot);
		*slot = NULL;
		table->resident--;
		return;
	}
}

/* Locked. -EAGAIN when the page is not in memory and must not be waited for. */
static int get_page(struct block_table *table, uint64_t index, bool no_wait, struct block_table_page **page)
{
	struct block_table_page **slot = &table->pages[index / BLOCK_TABLE_PAGE];

	if (!*slot) {
		struct block_table_page *fresh;
		int result;

		if (no_wait)
			return -EAGAIN;
		fresh = calloc(1, sizeof(*fresh));
		if (!fresh)
			return -ENOMEM;
		result = read_entries(table, index / BLOCK_TABLE_PAGE, fresh->entries);
		if (result) {
			free(fresh);
			return result;
		}
		make_room(table);
		table->resident++;
		fresh->number = index / BLOCK_TABLE_PAGE;
		*slot = fresh;
	}
	*page = *slot;
	return 0;
}

int block_table_init(struct block_table *table, struct error *err)
{
	table->page_count = table->count / BLOCK_TABLE_PAGE + !!(table->count % BLOCK_TABLE_PAGE);
	table->pages = calloc(max_u64(table->page_count, 1), sizeof(struct block_table_page *));
	if (!table->pages)
		return error_set(err, ENOMEM, "no memory for a table of %llu blocks", (unsigned long long)table->count);
	pthread_mutex_init(&table->lock, NULL);
	pthread_mutex_init(&table->flush_lock, NULL);
	return 0;
}

void block_table_free(struct block_table *table)
{
	if (!table->block->read_only && table->new_blocks) {
		int result = block_table_flush(table->block);

		if (result && block_log(table->block))
			log_warn(block_log(table->block), "%s: '%s' could not be written when it was closed: %s",
				 table->block->driver->name, table->block->filename, strerror(-result));
	}
	for (uint64_t i = 0; i < table->page_count; i++)
		free(table->pages[i]);
	free(table->pages);
	pthread_mutex_destroy(&table->lock);
	pthread_mutex_destroy(&table->flush_lock);
}

int block_table_scan(struct block_table *table, void (*fn)(void *opaque, uint64_t index, const uint8_t *entry),
		     void *opaque)
{
	enum { STEP = 256 }; /* pages read at once */
	uint8_t *entries = malloc((size_t)STEP * BLOCK_TABLE_PAGE * ENTRY);
	int result = entries ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < table->count && !result;) {
		const uint64_t part = min_u64((uint64_t)STEP * BLOCK_TABLE_PAGE, table->count - at);

		result = image_file_read(table->block->file, table->offset + at * ENTRY, entries, part * ENTRY);
		for (uint64_t i = 0; i < part && !result; i++)
			fn(opaque, at + i, entries + i * ENTRY);
		at += part;
	}
	free(entries);
	return result;
}

/* --- looking up --- */

/* Locked. What lies at offset: its place, or NOWHERE, for *bytes (<= given); neighbouring blocks that go on alike are
 * taken together. new: whether they may be written without before_write. */
static int look_up(struct block_table *table, uint64_t offset, uint64_t *bytes, bool no_wait, uint64_t *place,
		   bool *new)
{
	const uint64_t size = 1ull << table->block_bits, within = offset & (size - 1), wanted = *bytes;
	uint64_t index = offset >> table->block_bits, found = 0;

	*new = true;
	do {
		struct block_table_page *page;
		uint64_t at;
		int result = get_page(table, index, no_wait, &page);

		if (result && found)
			break;
		if (result)
			return result;
		at = table->format->place(table, page->entries + index % BLOCK_TABLE_PAGE * ENTRY);
		if (at == BLOCK_TABLE_BAD && !found)
			return -EIO;
		if (!found)
			*place = at == BLOCK_TABLE_NOWHERE ? at : at + within;
		else if (at != (*place == BLOCK_TABLE_NOWHERE ? *place : *place + found))
			break;
		if (at != BLOCK_TABLE_NOWHERE && !get_bit(page->written, index % BLOCK_TABLE_PAGE))
			*new = false;
		found += found ? size : size - within;
		index++;
	} while (found < wanted);
	*bytes = min_u64(found, wanted);
	return 0;
}

int block_table_map(struct block *block, enum block_op op, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct block_table *table = block->private_data;
	int result = -EAGAIN;
	bool new;

	if ((op != BLOCK_READ && op != BLOCK_WRITE && op != BLOCK_FLUSH) || pthread_mutex_trylock(&table->lock))
		return -EAGAIN;
	if (op == BLOCK_FLUSH) {
		result = table->flushing || table->new_blocks ? -EAGAIN : 0;
	} else {
		result = look_up(table, offset, length, true, child_offset, &new);
		if (!result && (*child_offset == BLOCK_TABLE_NOWHERE ||
				(op == BLOCK_WRITE && table->format->before_write && !new)))
			result = -EAGAIN;
	}
	pthread_mutex_unlock(&table->lock);
	return result;
}

int block_table_extent(struct block *block, uint64_t offset, uint64_t *length, uint64_t *child_offset)
{
	struct block_table *table = block->private_data;
	bool new;
	int result;

	pthread_mutex_lock(&table->lock);
	result = look_up(table, offset, length, false, child_offset, &new);
	pthread_mutex_unlock(&table->lock);
	if (result)
		return result;
	if (*child_offset == BLOCK_TABLE_NOWHERE)
		return BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_ZERO;
	return BLOCK_EXTENT_ALLOCATED | BLOCK_EXTENT_DATA | BLOCK_EXTENT_OFFSET_VALID;
}

int block_table_pread(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length)
{
	struct block_table *table = block->private_data;

	for (uint64_t skip = 0; skip < length;) {
		uint64_t bytes = length - skip, place;
		bool new;
		int result;

		pthread_mutex_lock(&table->lock);
		result = look_up(table, offset + skip, &bytes, false, &place, &new);
		pthread_mutex_unlock(&table->lock);
		if (!result && place == BLOCK_TABLE_NOWHERE)
			iov_clear(iov, iov_count, skip, bytes);
		else if (!result)
			result = image_file_iov(block->file, BLOCK_READ, place, iov, iov_count, skip, bytes);
		if (result)
			return result;
		skip += bytes;
	}
	return 0;
}

/* --- writing --- */

static void list_dirty(struct block_table *table, struct block_table_page *page)
{
	if (page->is_dirty)
		return;
	page->is_dirty = true;
	page->next_dirty = table->dirty;
	table->dirty = page;
}

/* Locked. One block: given a place when it has none. */
static int prepare_block(struct block_table *table, uint64_t index)
{
	const uint64_t slot = index % BLOCK_TABLE_PAGE;
	struct block_table_page *page;
	uint8_t *entry, fresh[ENTRY];
	uint64_t place;
	int result = get_page(table, index, false, &page);

	if (result)
		return result;
	entry = page->entries + slot * ENTRY;
	place = table->format->place(table, entry);
	if (place == BLOCK_TABLE_BAD)
		return -EIO;
	if (place != BLOCK_TABLE_NOWHERE) {
		if (!get_bit(page->written, slot) && table->format->before_write)
			result = table->format->before_write(table, index, entry);
		if (!result)
			set_bit(page->written, slot);
		return result;
	}
	memcpy(fresh, entry, ENTRY);
	result = table->format->allocate(table, index, fresh);
	if (result)
		return result;
	memcpy(entry, fresh, ENTRY);
	set_bit(page->dirty, slot);
	set_bit(page->written, slot);
	list_dirty(table, page);
	table->new_blocks++;
	return 0;
}

/* Locked. All blocks of the range, then where its beginning lies. */
static int prepare_range(struct block_table *table, uint64_t offset, uint64_t *bytes, uint64_t *place)
{
	const uint64_t last = (offset + *bytes - 1) >> table->block_bits;
	bool new;

	for (uint64_t index = offset >> table->block_bits; index <= last; index++) {
		int result = prepare_block(table, index);

		if (result)
			return result;
	}
	return look_up(table, offset, bytes, false, place, &new);
}

int block_table_pwrite(struct block *block, uint64_t offset, const struct iovec *iov, int iov_count, uint64_t length,
		       uint32_t flags)
{
	struct block_table *table = block->private_data;
	int result = 0;

	if (table->new_blocks > MAX_NEW_BLOCKS)
		result = block_table_flush(block);
	for (uint64_t skip = 0; skip < length && !result;) {
		uint64_t bytes = length - skip, place;

		pthread_mutex_lock(&table->lock);
		result = prepare_range(table, offset + skip, &bytes, &place);
		pthread_mutex_unlock(&table->lock);
		if (!result)
			result = image_file_iov(block->file, BLOCK_WRITE, place, iov, iov_count, skip, bytes);
		skip += bytes;
	}
	if (!result && flags & BLOCK_FUA)
		result = block_table_flush(block);
	return result;
}

static int clear_range(struct block *block, enum block_op op, uint64_t offset, uint64_t length, uint32_t flags)
{
	struct block_table *table = block->private_data;

	while (length) {
		uint64_t bytes = length, place;
		bool new;
		int result;

		pthread_mutex_lock(&table->lock);
		result = look_up(table, offset, &bytes, false, &place, &new);
		if (!result && place != BLOCK_TABLE_NOWHERE && op == BLOCK_WRITE_ZEROES)
			result = prepare_range(table, offset, &bytes, &place);
		pthread_mutex_unlock(&table->lock);
		if (!result && place != BLOCK_TABLE_NOWHERE)
			result = image_file_clear(block->file, op, place, bytes, flags);
		if (result)
			return result;
		offset += bytes;
		length -= bytes;
	}
	return 0;
}

int block_table_discard(struct block *block, uint64_t offset, uint64_t length)
{
	return clear_range(block, BLOCK_DISCARD, offset, length, 0);
}

int block_table_write_zeroes(struct block *block, uint64_t offset, uint64_t length, uint32_t flags)
{
	int result = clear_range(block, BLOCK_WRITE_ZEROES, offset, length, flags & ~(uint32_t)BLOCK_FUA);

	if (!result && flags & BLOCK_FUA)
		result = block_table_flush(block);
	return result;
}

/* --- flush --- */

/* Copies of the pages with new entries, taken off the list. */
struct taken {
	struct block_table_page *pages;
	size_t count;
	uint64_t new_blocks;
};

static int take_pages(struct block_table *table, struct taken *taken)
{
	int result = 0;

	*taken = (struct taken){0};
	pthread_mutex_lock(&table->lock);
	for (struct block_table_page *page = table->dirty; page; page = page->next_dirty)
		taken->count++;
	taken->pages = calloc(max_u64(taken->count, 1), sizeof(*taken->pages));
	if (!taken->pages) {
		taken->count = 0;
		result = -ENOMEM;
	} else {
		size_t i = 0;

		for (struct block_table_page *page = table->dirty; page; page = page->next_dirty) {
			taken->pages[i++] = *page;
			memset(page->dirty, 0, sizeof(page->dirty));
			page->is_dirty = false;
			page->taken = true;
		}
		table->dirty = NULL;
		taken->new_blocks = atomic_exchange(&table->new_blocks, 0);
	}
	pthread_mutex_unlock(&table->lock);
	return result;
}

/* The flush is over; what it could not write is new again. */
static void let_go(struct block_table *table, const struct taken *taken, bool failed)
{
	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < taken->count; i++) {
		struct block_table_page *page = table->pages[taken->pages[i].number];

		page->taken = false;
		for (size_t k = 0; k < sizeof(page->dirty) && failed; k++)
			page->dirty[k] |= taken->pages[i].dirty[k];
		if (failed)
			list_dirty(table, page);
	}
	if (failed)
		table->new_blocks += taken->new_blocks;
	pthread_mutex_unlock(&table->lock);
}

static int write_page(struct block_table *table, const struct block_table_page *page)
{
	const uint64_t count = entries_of(table, page->number);
	uint64_t from = count, to = 0;
	int result = 0;

	for (uint64_t i = 0; i < count && !result; i++) {
		if (!get_bit(page->dirty, i))
			continue;
		from = min_u64(from, i);
		to = i + 1;
		if (table->format->with_entry)
			result = table->format->with_entry(table, page->entries + i * ENTRY);
	}
	if (!result)
		result = image_file_write(table->block->file,
					  table->offset + (page->number * BLOCK_TABLE_PAGE + from) * ENTRY,
					  page->entries + from * ENTRY, (to - from) * ENTRY);
	return result;
}

static int write_taken(struct block_table *table, const struct taken *taken)
{
	int result = table->format->before_entries(table);

	if (!result)
		result = block_flush(table->block->file);
	for (size_t i = 0; i < taken->count && !result; i++)
		result = write_page(table, &taken->pages[i]);
	return result;
}

int block_table_flush(struct block *block)
{
	struct block_table *table = block->private_data;
	struct taken taken;
	int result;

	pthread_mutex_lock(&table->flush_lock);
	table->flushing = true;
	result = take_pages(table, &taken);
	if (!result && taken.count)
		result = write_taken(table, &taken);
	if (!result)
		result = block_flush(block->file);
	if (taken.count)
		let_go(table, &taken, result != 0);
	free(taken.pages);
	table->flushing = false;
	pthread_mutex_unlock(&table->flush_lock);
	return result;
}

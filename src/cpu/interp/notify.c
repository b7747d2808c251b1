/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes to code by others. A thread that writes to a watched page, or begins to watch one, queues it here for every
 * other vCPU and sets VCPU_ENGINE; the vCPU takes the queue at its next block boundary. See the head of cache.c.
 */
#include "cpu/interp/internal.h"

static void queue_page(uint64_t *pages, unsigned *count, bool *all, uint64_t page)
{
	if (*count < PENDING_PAGES)
		pages[(*count)++] = page;
	else
		*all = true;
}

void cache_written(struct interp *ip, uint64_t first, uint64_t last)
{
	if (atomic_load_explicit(&ip->runner, memory_order_relaxed) == (uintptr_t)pthread_self()) {
		cache_drop_pages(ip, first, last);
		return;
	}
	pthread_mutex_lock(&ip->pending_lock);
	if (last - first >= PENDING_PAGES)
		ip->pending_all = true;
	else
		for (uint64_t page = first; page <= last; page++)
			queue_page(ip->pending, &ip->pending_count, &ip->pending_all, page);
	pthread_mutex_unlock(&ip->pending_lock);
	atomic_fetch_or_explicit(&ip->cpu.vcpu.events, VCPU_ENGINE, memory_order_release);
	ip->cpu.vcpu.engine->ops->kick(&ip->cpu.vcpu);
}

void cache_take_pending(struct interp *ip)
{
	uint64_t written[PENDING_PAGES], watch[PENDING_PAGES];
	unsigned written_count, watch_count;
	bool written_all, watch_all;

	vcpu_clear(&ip->cpu.vcpu, VCPU_ENGINE);
	pthread_mutex_lock(&ip->pending_lock);
	written_count = ip->pending_count;
	watch_count = ip->watch_count;
	written_all = ip->pending_all;
	watch_all = ip->watch_all;
	memcpy(written, ip->pending, sizeof(written));
	memcpy(watch, ip->watch, sizeof(watch));
	ip->pending_count = ip->watch_count = 0;
	ip->pending_all = ip->watch_all = false;
	pthread_mutex_unlock(&ip->pending_lock);
	if (written_all)
		cache_drop_pages(ip, 0, ~0ull >> PAGE_SHIFT);
	for (unsigned i = 0; i < written_count; i++)
		cache_drop_pages(ip, written[i], written[i]);
	for (unsigned i = 0; i < watch_count; i++)
		if (x86_tlb_protect(&ip->cpu, watch[i] << PAGE_SHIFT))
			ram_written(ip->env.ram, watch[i] << PAGE_SHIFT, PAGE_SIZE);
	if (watch_all) /* too many to tell apart */
		x86_tlb_tell_written(&ip->cpu);
}

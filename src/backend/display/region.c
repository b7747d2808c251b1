/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rectangles are joined where that adds no area, and where there are too many, where it adds least (region.h). */
#include "backend/display/region.h"

#include "base/util.h"

static struct display_rect hull(const struct display_rect *a, const struct display_rect *b)
{
	uint32_t x = (uint32_t)min_u64(a->x, b->x), y = (uint32_t)min_u64(a->y, b->y);
	uint32_t right = (uint32_t)max_u64(a->x + a->width, b->x + b->width);
	uint32_t bottom = (uint32_t)max_u64(a->y + a->height, b->y + b->height);

	return (struct display_rect){x, y, right - x, bottom - y};
}

static uint64_t area(const struct display_rect *rect)
{
	return (uint64_t)rect->width * rect->height;
}

static uint64_t overlap(const struct display_rect *a, const struct display_rect *b)
{
	uint64_t left = max_u64(a->x, b->x), right = min_u64(a->x + a->width, b->x + b->width);
	uint64_t top = max_u64(a->y, b->y), bottom = min_u64(a->y + a->height, b->y + b->height);

	return left < right && top < bottom ? (right - left) * (bottom - top) : 0;
}

/* Pixels that the hull of both has more than the two together. */
static uint64_t growth(const struct display_rect *a, const struct display_rect *b)
{
	struct display_rect both = hull(a, b);

	return area(&both) - (area(a) + area(b) - overlap(a, b));
}

static void remove_at(struct display_region *region, size_t index)
{
	region->rects[index] = region->rects[--region->count];
}

void display_region_add(struct display_region *region, const struct display_rect *added)
{
	struct display_rect rect = *added;

	for (;;) {
		size_t best = 0;
		uint64_t least = UINT64_MAX;

		for (size_t i = 0; i < region->count; i++) {
			uint64_t more = growth(&region->rects[i], &rect);

			if (more < least) {
				least = more;
				best = i;
			}
		}
		if (least && region->count < DISPLAY_RECTS_MAX)
			break;
		if (!region->count)
			break;
		/* The joined one may now meet others. */
		rect = hull(&region->rects[best], &rect);
		remove_at(region, best);
	}
	region->rects[region->count++] = rect;
}

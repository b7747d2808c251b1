/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What PS/2 keyboard and mouse share: their queues of bytes. */
#include "device/pc/ps2.h"

bool ps2_queue_put(struct ps2_queue *queue, const uint8_t *bytes, unsigned count)
{
	if (queue->count + count > PS2_QUEUE)
		return false;
	for (unsigned i = 0; i < count; i++)
		queue->bytes[(queue->head + queue->count++) % PS2_QUEUE] = bytes[i];
	return true;
}

bool ps2_queue_get(struct ps2_queue *queue, uint8_t *value)
{
	if (!queue->count)
		return false;
	*value = queue->bytes[queue->head];
	queue->head = (queue->head + 1) % PS2_QUEUE;
	queue->count--;
	return true;
}

void ps2_queue_clear(struct ps2_queue *queue)
{
	queue->head = queue->count = 0;
}

void ps2_answer_add(struct ps2_answer *answer, uint8_t value)
{
	if (answer->count < PS2_ANSWERS)
		answer->bytes[answer->count++] = value;
}

bool ps2_answer_get(struct ps2_answer *answer, uint8_t *value)
{
	if (answer->next >= answer->count)
		return false;
	*value = answer->bytes[answer->next++];
	return true;
}

void ps2_answer_clear(struct ps2_answer *answer)
{
	answer->next = answer->count = 0;
}

static int queue_check(const void *staged, struct error *err)
{
	const struct ps2_queue *queue = staged;

	if (queue->head >= PS2_QUEUE || queue->count > PS2_QUEUE)
		return error_set(err, EINVAL, "head %u or count %u out of range", queue->head, queue->count);
	return 0;
}

const struct state_table ps2_queue_state = {
	.name = "ps2-queue",
	.version = 1,
	.size = sizeof(struct ps2_queue),
	.check = queue_check,
	.fields =
		(const struct state_field[]){
			STATE_FIELD_N(STATE_BYTES, struct ps2_queue, bytes, PS2_QUEUE),
			STATE_FIELD(STATE_U16, struct ps2_queue, head),
			STATE_FIELD(STATE_U16, struct ps2_queue, count),
			STATE_END,
		},
};

static int answer_check(const void *staged, struct error *err)
{
	const struct ps2_answer *answer = staged;

	if (answer->count > PS2_ANSWERS || answer->next > answer->count)
		return error_set(err, EINVAL, "next %u or count %u out of range", answer->next, answer->count);
	return 0;
}

const struct state_table ps2_answer_state = {
	.name = "ps2-answer",
	.version = 1,
	.size = sizeof(struct ps2_answer),
	.check = answer_check,
	.fields =
		(const struct state_field[]){
			STATE_FIELD_N(STATE_BYTES, struct ps2_answer, bytes, PS2_ANSWERS),
			STATE_FIELD(STATE_U8, struct ps2_answer, next),
			STATE_FIELD(STATE_U8, struct ps2_answer, count),
			STATE_END,
		},
};

/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "machine/accel.h"

#include "base/options.h"
#include "base/util.h"
#include "core/engine.h"
#include "cpu/interp/interp.h"
#include "cpu/kvm/kvm.h"
#include "cpu/translate/translate.h"

#include <stdlib.h>

const struct engine_ops *const machine_engines[] = {&kvm_engine, &translate_engine, &interp_engine, NULL};

#define ENGINE_COUNT (ARRAY_SIZE(machine_engines) - 1)

static void report_line(char **report, const char *name, const char *what)
{
	char *longer = xasprintf("%s%s: %s\n", *report, name, what);

	free(*report);
	*report = longer;
}

static const struct engine_ops *engine_find(const char *name, struct error *err)
{
	const char *known[ENGINE_COUNT + 1] = {0};
	const char *nearest;

	for (size_t i = 0; i < ENGINE_COUNT; i++) {
		known[i] = machine_engines[i]->name;
		if (!strcmp(name, known[i]))
			return machine_engines[i];
	}
	nearest = nearest_word(name, known);
	error_set(err, EINVAL, "-accel %s: no such engine%s%s%s; there are: kvm, translate, interp", name,
	          nearest ? "; did you mean '" : "", nearest ? nearest : "", nearest ? "'?" : "");
	return NULL;
}

static const struct engine_ops *choose_named(char *const *names, char **report, struct error *err)
{
	struct error why = {0};

	for (; *names; names++) {
		const struct engine_ops *ops = engine_find(*names, err);
		bool rank_last = false;

		if (!ops)
			return NULL;
		if (!ops->probe(&rank_last, &why)) {
			report_line(report, ops->name, "chosen: asked for by name");
			return ops;
		}
		report_line(report, ops->name, why.msg);
	}
	error_set(err, why.code, "%s", why.msg);
	return NULL;
}

static const struct engine_ops *choose_default(char **report, struct error *err)
{
	const struct engine_ops *last = NULL;
	struct error why = {0};

	for (size_t i = 0; i < ENGINE_COUNT; i++) {
		const struct engine_ops *ops = machine_engines[i];
		bool rank_last = false;

		why = (struct error){0};
		if (ops->probe(&rank_last, &why)) {
			report_line(report, ops->name, why.msg);
		} else if (rank_last) {
			report_line(report, ops->name, why.msg[0] ? why.msg : "works, but slower than the software engines");
			last = last ? last : ops;
		} else {
			report_line(report, ops->name, "chosen: first in the default order that runs here");
			return ops;
		}
	}
	if (last) {
		report_line(report, last->name, "chosen: nothing better runs here");
		return last;
	}
	error_set(err, why.code, "%s", why.msg);
	return NULL;
}

const struct engine_ops *accel_choose(char *const *names, char **report, struct error *err)
{
	*report = xstrdup("");
	return names && *names ? choose_named(names, report, err) : choose_default(report, err);
}

int accel_verify(struct options *options, uint32_t *runs, struct error *err)
{
	const char *value = options_get(options, "verify");
	uint64_t count = 0;
	bool on = false;

	if (!value || !parse_u64(value, UINT32_MAX - 1, &count, NULL)) {
		*runs = (uint32_t)count;
		return 0;
	}
	if (parse_bool(value, &on, NULL))
		return error_set(err, EINVAL, "verify=%.40s: on, off or a number of runs", value);
	*runs = on ? UINT32_MAX : 0;
	return 0;
}

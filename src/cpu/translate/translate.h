/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine `translate`: guest x86-64 code rewritten to host code and executed; the interpreter does the rest. */
#ifndef XUNI_CPU_TRANSLATE_TRANSLATE_H
#define XUNI_CPU_TRANSLATE_TRANSLATE_H

#include "core/engine.h"

extern const struct engine_ops translate_engine;

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine over the host kernel's /dev/kvm. */
#ifndef XUNI_CPU_KVM_KVM_H
#define XUNI_CPU_KVM_KVM_H

#include "core/engine.h"

extern const struct engine_ops kvm_engine;

#endif

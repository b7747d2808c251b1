/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The threads that run vCPUs, and the gate at which all of them can be made to stand still. Called in the main loop's
 * thread unless said otherwise.
 */
#ifndef XUNI_MACHINE_VCPU_THREAD_H
#define XUNI_MACHINE_VCPU_THREAD_H

#include "base/error.h"
#include "core/engine.h"

struct vcpu_crew;

/* What a vCPU's thread reports when its engine comes back with something that is the machine's to decide. Called in
 * the vCPU's thread, which stands still afterwards until vcpu_crew_resume. */
typedef void vcpu_report_fn(void *opaque, struct vcpu *vcpu, enum vcpu_exit why, const struct error *err);

/* Starts a thread a vCPU, all standing still. vcpus stays the caller's. */
struct vcpu_crew *vcpu_crew_start(struct vcpu **vcpus, unsigned count, vcpu_report_fn *report, void *opaque, struct error *err);
/* Ends the threads; the crew must be paused. */
void vcpu_crew_stop(struct vcpu_crew *crew);

/* Any thread: asks all vCPUs to stand still soon, without waiting. */
void vcpu_crew_request_pause(struct vcpu_crew *crew);
/* All vCPUs are outside their engine when this returns. */
void vcpu_crew_pause(struct vcpu_crew *crew);
void vcpu_crew_resume(struct vcpu_crew *crew);
/* With the crew paused: this vCPU stands still after vcpu_crew_resume, too, until it is let go and resumed again. */
void vcpu_crew_hold(struct vcpu_crew *crew, unsigned index, bool held);

/* Runs fn in the vCPU's thread between two runs and returns when it has run; works paused and running. */
void vcpu_crew_call(struct vcpu_crew *crew, unsigned index, void (*fn)(struct vcpu *vcpu, void *opaque), void *opaque);
int vcpu_crew_tid(const struct vcpu_crew *crew, unsigned index);
bool vcpu_crew_halted(const struct vcpu_crew *crew, unsigned index);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine `translate` as the machine sees it: the interpreter's machine and vCPUs, each with a translator. */
#include "cpu/translate/cache/cache.h"
#include "cpu/translate/decode/classify.h"
#include "cpu/translate/mmu/mmu.h"
#include "cpu/translate/run/run.h"
#include "cpu/translate/verify/verify.h"
#include "cpu/x86/feature_words.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of all vCPUs; with what lies around it translated code must have room below 2 GiB. */
#define MOST_BYTES  (1 * GIB)
/* Of all, if nothing is said: most of it has to lie in the 1 GiB that MAP_32BIT knows, with all vCPUs. */
#define DEFAULT_MOST (768 * MIB)
/* Of one vCPU: code and tables. Memory is only what is used: a compiler's 14 MiB of code become 170 MiB, and half as much
 * of tables. */
#define DEFAULT_EACH (512 * MIB)
#define LEAST_EACH   (6 * MIB)

/* Code has to be mapped twice, and below 2 GiB: a host may forbid the one (vm.memfd_noexec, SELinux) or have no room there. */
static int engine_probe(bool *rank_last, struct error *err)
{
	int fd = memfd_create("xuni-probe", MFD_CLOEXEC), ret = 0;
	uint32_t features[4];
	void *code;

	cpuid_host(1, 0, features);
	if (!(features[2] >> 27 & 1)) /* OSXSAVE */
		ret = error_set(err, ENOTSUP, "the host's CPU (or its kernel) does not offer XSAVE");
	else if (fd < 0 || ftruncate(fd, (off_t)PAGE_SIZE))
		ret = error_set_errno(err, errno, "memory for translated code");
	if (!ret) {
		code = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_32BIT, fd, 0);
		if (code == MAP_FAILED)
			ret = error_set_errno(err, errno, "the host does not let translated code be mapped");
		else
			munmap(code, PAGE_SIZE);
	}
	if (fd >= 0)
		close(fd);
	return ret;
}

static int engine_offer(struct cpuid_table *offer, struct error *err)
{
	return interp_engine.offer(offer, err);
}

static uint64_t engine_tsc_khz(void)
{
	return interp_engine.tsc_khz();
}

static struct engine *engine_create(const struct engine_env *env, struct error *err)
{
	struct engine *engine = interp_engine.create(env, err);

	if (engine)
		engine->ops = &translate_engine;
	if (engine && env->tuning.verify)
		engine->data = verify_turns_new(env->ram);
	host_init();
	return engine;
}

static void translator_free(struct translator *t)
{
	verify_free(t->verify);
	tables_fini(t);
	decode_fini(t);
	splice_fini(t);
	mirror_fini(t);
	report_fini(t);
	host_stack_free(t);
	munmap(t, sizeof(*t));
}

static void decoder_init(ZydisDecoder *decoder, const struct x86_features *features, ZydisMachineMode mode,
                         ZydisStackWidth width)
{
	ZydisDecoderInit(decoder, mode, width);
	ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
	ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
	ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_LZCNT, features->lzcnt);
	ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_TZCNT, features->bmi1);
}

static void engine_vectors_out(const struct x86_cpu *cpu)
{
	vectors_out(cpu->engine_data);
}

/* tb-size: as in qemu, what cannot be is brought to what can. */
static uint64_t code_budget(const struct engine_env *env)
{
	uint64_t most = min_u64(DEFAULT_MOST, host_memory_bytes() / 8), all = min_u64(env->max_vcpus * DEFAULT_EACH, most);

	if (env->tuning.code_bytes)
		all = min_u64(env->tuning.code_bytes, MOST_BYTES);
	return max_u64(all / env->max_vcpus, LEAST_EACH) - sizeof(struct translator);
}

static struct translator *translator_new(struct x86_cpu *cpu, struct error *err)
{
	struct translator *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (t == MAP_FAILED || (uintptr_t)cpu + sizeof(*cpu) > INT32_MAX) {
		error_set(err, ENOMEM, "no memory below 2 GiB for a vCPU of the translator");
		if (t != MAP_FAILED)
			munmap(t, sizeof(*t));
		return NULL;
	}
	t->cpu = cpu;
	t->host_mxcsr = 0x1f80;
	t->bmi2 = __builtin_cpu_supports("bmi2");
	t->key = UINT16_MAX;
	t->call = helper_call;
	t->miss = helper_miss;
	t->perf_map = -1;
	decoder_init(&t->decoders[0], cpu->features, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	decoder_init(&t->decoders[1], cpu->features, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	if (host_stack_new(t, err) || report_init(t, err) || decode_init(t, err) || code_init(t, code_budget(&cpu->vcpu.engine->env), err)) {
		translator_free(t);
		return NULL;
	}
	return t;
}

static void engine_vcpu_destroy(struct vcpu *vcpu)
{
	struct translator *t = translator_of(x86_cpu_of(vcpu));

	interp_set_partner(x86_cpu_of(vcpu), NULL);
	x86_cpu_of(vcpu)->vectors_out = NULL;
	x86_cpu_of(vcpu)->tlb_copies = NULL;
	x86_cpu_of(vcpu)->memory_watch = NULL;
	interp_engine.vcpu_destroy(vcpu);
	translator_free(t);
}

static struct vcpu *engine_vcpu_create(struct engine *engine, unsigned index, uint32_t apic_id, struct error *err)
{
	struct vcpu *vcpu = interp_engine.vcpu_create(engine, index, apic_id, err);
	struct x86_cpu *cpu;

	if (!vcpu)
		return NULL;
	cpu = x86_cpu_of(vcpu);
	cpu->engine_data = translator_new(cpu, err);
	if (!cpu->engine_data) {
		interp_engine.vcpu_destroy(vcpu);
		return NULL;
	}
	cpu->vectors_out = engine_vectors_out;
	interp_set_partner(cpu, &translate_partner);
	cpu->tlb_copies = &window_copies;
	if (!engine->env.tuning.verify) {
		mirror_init(translator_of(cpu));
	} else {
		translator_of(cpu)->verify = verify_new(translator_of(cpu), err);
		if (!translator_of(cpu)->verify) {
			engine_vcpu_destroy(vcpu);
			return NULL;
		}
	}
	return vcpu;
}

static void engine_destroy(struct engine *engine)
{
	verify_turns_free(engine->data);
	interp_engine.destroy(engine);
}

static enum vcpu_exit engine_run(struct vcpu *vcpu, struct error *err)
{
	struct verify_turns *turns = vcpu->engine->data;
	struct translator *t = translator_of(x86_cpu_of(vcpu));
	enum vcpu_exit why;

	host_enter_thread(t);
	if (turns)
		verify_turn_begin(turns, vcpu);
	why = interp_engine.run(vcpu, err);
	host_leave_thread(t);
	if (turns)
		verify_turn_end(turns);
	if (why == VCPU_FAILED)
		error_set(err, EIO, "CPU %u: verify=on: translated code and the interpreter part at 0x%llx", vcpu->index,
		          (unsigned long long)x86_cpu_of(vcpu)->s.rip);
	return why;
}

/* Block heads look at `poll`. The translator is there before anybody knows the vCPU, but for its own creation. */
static void engine_kick(struct vcpu *vcpu)
{
	struct translator *t = translator_of(x86_cpu_of(vcpu));

	if (t)
		atomic_store_explicit(&t->poll, 1, memory_order_seq_cst);
}

static void engine_get_state(struct vcpu *vcpu, struct x86_state *state)
{
	interp_engine.get_state(vcpu, state);
}

static void engine_set_state(struct vcpu *vcpu, const struct x86_state *state)
{
	interp_engine.set_state(vcpu, state);
}

static int engine_translate_gva(struct vcpu *vcpu, uint64_t gva, uint64_t *gpa)
{
	return interp_engine.translate_gva(vcpu, gva, gpa);
}

static void engine_dirty_start(struct engine *engine)
{
	interp_engine.dirty_start(engine);
}

static void engine_dirty_stop(struct engine *engine)
{
	interp_engine.dirty_stop(engine);
}

static void engine_dirty_sync(struct engine *engine)
{
	interp_engine.dirty_sync(engine);
}

static void engine_clock_changed(struct engine *engine, bool running)
{
	interp_engine.clock_changed(engine, running);
}

const struct engine_ops translate_engine = {
	.name = "translate",
	.help = "binary translation of 64-bit and 32-bit code, interpreter for the rest",
	.probe = engine_probe,
	.offer = engine_offer,
	.tsc_khz = engine_tsc_khz,
	.create = engine_create,
	.destroy = engine_destroy,
	.vcpu_create = engine_vcpu_create,
	.vcpu_destroy = engine_vcpu_destroy,
	.run = engine_run,
	.kick = engine_kick,
	.get_state = engine_get_state,
	.set_state = engine_set_state,
	.translate_gva = engine_translate_gva,
	.dirty_start = engine_dirty_start,
	.dirty_stop = engine_dirty_stop,
	.dirty_sync = engine_dirty_sync,
	.clock_changed = engine_clock_changed,
	.jit_report = report_jit,
};

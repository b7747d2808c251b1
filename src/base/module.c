/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/module.h"

#include "base/util.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

/* The folder of the running program, without the last slash; NULL where /proc does not tell. */
static char *program_folder(void)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	char *slash;

	if (length <= 0)
		return NULL;
	path[length] = 0;
	slash = strrchr(path, '/');
	if (!slash)
		return NULL;
	*slash = 0;
	return xstrdup(path);
}

/* The file to load; NULL when none of the folders has it. */
static char *find(const char *kind, const char *name)
{
	const char *chosen = secure_getenv("XUNI_MODULE_DIR");
	char *beside = chosen ? NULL : program_folder(), *found = NULL;
	const char *folders[] = {chosen, beside, chosen ? NULL : XUNI_MODULE_DIR};

	for (size_t i = 0; i < ARRAY_SIZE(folders) && !found; i++) {
		if (!folders[i])
			continue;
		found = xasprintf("%s/%s-%s.so", folders[i], kind, name);
		if (access(found, F_OK) < 0) {
			free(found);
			found = NULL;
		}
	}
	free(beside);
	return found;
}

const void *module_load(const char *kind, const char *name, uint64_t abi, struct error *err)
{
	char *path = find(kind, name);
	const struct module *module;
	void *handle;

	if (!path) {
		error_set(err, ENOENT,
			  "the loadable module %s-%s.so is not installed (it is built where its library is there)",
			  kind, name);
		return NULL;
	}
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	module = handle ? dlsym(handle, "xuni_module") : NULL;
	if (!module)
		error_set(err, ELIBACC, "cannot load %s: %s", path, dlerror());
	else if (strcmp(module->kind, kind) || module->abi != abi)
		error_set(err, ELIBBAD, "cannot load %s: it belongs to another build of this program", path);
	free(path);
	return module && !strcmp(module->kind, kind) && module->abi == abi ? module->content : NULL;
}

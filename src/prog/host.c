/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xuni-vmm as a process of its host (signal-safety(7), daemon(7)). */
#include "prog/host.h"

#include "backend/char/chardev.h"
#include "base/loop.h"
#include "base/util.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int host_daemon_fork(struct host_daemon *daemon, struct error *err)
{
	int ends[2];
	char byte;
	pid_t child;
	ssize_t got;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "-daemonize");
	child = fork();
	if (child < 0)
		return error_set_errno(err, errno, "-daemonize");
	if (child > 0) {
		close(ends[1]);
		do
			got = read(ends[0], &byte, 1);
		while (got < 0 && errno == EINTR);
		_exit(got == 1 ? 0 : 1);
	}
	close(ends[0]);
	daemon->ready_fd = ends[1];
	setsid();
	/* A second child can never get a controlling terminal; it inherits the pipe, so the first may go. */
	child = fork();
	if (child < 0)
		return error_set_errno(err, errno, "-daemonize");
	if (child > 0)
		_exit(0);
	umask(027);
	return 0;
}

int host_daemon_ready(struct host_daemon *daemon, struct error *err)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || chdir("/") < 0)
		return error_set_errno(err, errno, "-daemonize");
	for (int fd = 0; fd <= 2; fd++)
		dup2(null, fd);
	close(null);
	if (write(daemon->ready_fd, "", 1) != 1)
		return error_set_errno(err, errno, "-daemonize");
	close(daemon->ready_fd);
	daemon->ready_fd = -1;
	return 0;
}

int host_pidfile_create(const char *path, struct error *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char text[32];
	int length = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		return error_set_errno(err, errno, "cannot open pid file '%s'", path);
	if (fcntl(fd, F_SETLK, &lock) < 0) {
		close(fd);
		return error_set(err, EAGAIN, "pid file '%s' is locked: another process runs with it", path);
	}
	if (ftruncate(fd, 0) < 0 || write(fd, text, (size_t)length) != length) {
		int code = errno;

		close(fd);
		return error_set_errno(err, code, "cannot write pid file '%s'", path);
	}
	return fd;
}

struct host_signals {
	struct loop *loop;
	struct loop_fd *watch;
	int read_fd;
	void (*arrived)(void *opaque, int number, int pid);
	void *opaque;
};

struct signal_note {
	int number, pid;
};

/* A signal handler has no argument of ours, so this is where it finds its pipe; -1: nobody listens yet. */
static volatile sig_atomic_t note_fd = -1;

static void on_quit_signal(int number, siginfo_t *info, void *context)
{
	struct signal_note note = {number, info->si_code == SI_USER ? info->si_pid : 0};
	int saved = errno;

	if (note_fd < 0) {
		chardev_restore_terminal();
		signal(number, SIG_DFL);
		raise(number);
	} else if (write(note_fd, &note, sizeof(note)) < 0) {
		/* The pipe is full of earlier ones. */
	}
	errno = saved;
}

static void on_crash(int number)
{
	chardev_restore_terminal();
	/* SA_RESETHAND restored the default, which ends the process with a core. */
	raise(number);
}

static void notes_readable(void *opaque, uint32_t events)
{
	struct host_signals *signals = opaque;
	struct signal_note note;

	while (read(signals->read_fd, &note, sizeof(note)) == sizeof(note))
		signals->arrived(signals->opaque, note.number, note.pid);
}

struct host_signals *host_signals_new(struct loop *loop, void (*arrived)(void *opaque, int number, int pid),
				      void *opaque, struct error *err)
{
	static const int quits[] = {SIGINT, SIGTERM, SIGHUP}, crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	struct sigaction quit = {.sa_sigaction = on_quit_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigaction crash = {.sa_handler = on_crash, .sa_flags = (int)SA_RESETHAND};
	struct host_signals *signals = xcalloc(1, sizeof(*signals));

	*signals = (struct host_signals){.loop = loop, .read_fd = -1, .arrived = arrived, .opaque = opaque};
	for (size_t i = 0; i < ARRAY_SIZE(quits); i++) {
		struct sigaction old;

		/* nohup's SIGHUP stays ignored. */
		if (sigaction(quits[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
			continue;
		sigaction(quits[i], &quit, NULL);
	}
	for (size_t i = 0; i < ARRAY_SIZE(crashes); i++) {
		struct sigaction old;

		/* A sanitizer's handler says more than ours would. */
		if (sigaction(crashes[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(crashes[i], &crash, NULL);
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a write beyond RLIMIT_FSIZE is the disk's error, not our end */
	return signals;
}

void host_signals_ready(struct host_signals *signals)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return; /* then signals go on ending the process */
	signals->read_fd = ends[0];
	signals->watch = loop_fd_add(signals->loop, ends[0], EPOLLIN, notes_readable, signals);
	note_fd = ends[1];
}

void host_signals_free(struct host_signals *signals)
{
	int fd = note_fd;

	note_fd = -1;
	if (signals->watch) {
		loop_fd_remove(signals->watch);
		close(fd);
		close(signals->read_fd);
	}
	free(signals);
}

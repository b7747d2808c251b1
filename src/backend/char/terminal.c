/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Raw mode and what has to undo it: exit, fatal signals, and being stopped and continued by a shell.
 *
 * The terminal and the dispositions of signals belong to the process, not to a machine, and handlers have no argument:
 * this is the one place with a variable of its own. Handlers use only what signal-safety(7) allows.
 */
#include "backend/char/terminal.h"

#include "backend/char/chardev.h"

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static struct terminal {
	volatile sig_atomic_t taken; /* the settings below hold and the terminal is to be restored */
	int fd;                      /* a duplicate, so that closing stdin does not lose it */
	int resize_fd;
	int saved_flags[2]; /* O_NONBLOCK and such of descriptors 0 and 1 */
	struct termios saved, raw;
	struct sigaction old_stop, old_continue, old_resize;
} terminal = {.fd = -1, .resize_fd = -1};

/* A terminal that is not our controlling one (setsid, a test's pty) stops nobody: ENOTTY. */
static bool in_foreground(void)
{
	pid_t group = tcgetpgrp(terminal.fd);

	return group < 0 || group == getpgrp();
}

static void make_raw(void)
{
	/* From the background this would stop us; SIGCONT comes again with the foreground. */
	if (terminal.taken && in_foreground())
		tcsetattr(terminal.fd, TCSANOW, &terminal.raw);
}

static void make_cooked(void)
{
	if (!terminal.taken)
		return;
	if (in_foreground())
		tcsetattr(terminal.fd, TCSANOW, &terminal.saved);
	for (int fd = 0; fd < 2; fd++)
		if (terminal.saved_flags[fd] >= 0)
			fcntl(fd, F_SETFL, terminal.saved_flags[fd]);
}

void chardev_restore_terminal(void)
{
	make_cooked();
	terminal.taken = 0;
}

static void stop_handler(int number)
{
	int saved_errno = errno;
	struct sigaction fallback = {.sa_handler = SIG_DFL}, ours;
	sigset_t stop, before;

	make_cooked();
	sigaction(SIGTSTP, &fallback, &ours);
	raise(SIGTSTP);
	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	pthread_sigmask(SIG_UNBLOCK, &stop, &before);
	/* Here the process stands still until SIGCONT. */
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	sigaction(SIGTSTP, &ours, NULL);
	make_raw();
	errno = saved_errno;
}

static void continue_handler(int number)
{
	int saved_errno = errno;

	make_raw();
	errno = saved_errno;
}

static void resize_handler(int number)
{
	int saved_errno = errno;
	uint64_t one = 1;
	ssize_t n = terminal.resize_fd >= 0 ? write(terminal.resize_fd, &one, sizeof(one)) : 0;

	(void)n;
	errno = saved_errno;
}

static void handle(int number, void (*handler)(int), struct sigaction *old)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

	sigaction(number, &action, old);
}

int terminal_take(int fd, bool signals, int resize_fd, struct error *err)
{
	if (terminal.taken || terminal.fd >= 0)
		return error_set(err, EBUSY,
				 "the terminal is in use by another stdio back end; mux=on lets several share it");
	if (!isatty(fd))
		return 0;
	terminal.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (terminal.fd < 0 || tcgetattr(terminal.fd, &terminal.saved)) {
		int code = errno;

		terminal_release();
		return error_set_errno(err, code, "reading the terminal's settings");
	}
	for (int i = 0; i < 2; i++)
		terminal.saved_flags[i] = fcntl(i, F_GETFL);
	terminal.raw = terminal.saved;
	terminal.raw.c_iflag &= ~(unsigned)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	/* Output processing stays: the VMM's own messages and the monitor end lines with \n. */
	terminal.raw.c_lflag &= ~(unsigned)(ECHO | ECHONL | ICANON | IEXTEN);
	if (!signals)
		terminal.raw.c_lflag &= ~(unsigned)ISIG;
	terminal.raw.c_cflag &= ~(unsigned)(CSIZE | PARENB);
	terminal.raw.c_cflag |= CS8;
	terminal.raw.c_cc[VMIN] = 1;
	terminal.raw.c_cc[VTIME] = 0;
	terminal.resize_fd = resize_fd;
	terminal.taken = 1;
	make_raw();
	handle(SIGTSTP, stop_handler, &terminal.old_stop);
	handle(SIGCONT, continue_handler, &terminal.old_continue);
	handle(SIGWINCH, resize_handler, &terminal.old_resize);
	return 0;
}

void terminal_release(void)
{
	bool had_handlers = terminal.taken;

	chardev_restore_terminal();
	terminal.resize_fd = -1;
	if (had_handlers) {
		sigaction(SIGTSTP, &terminal.old_stop, NULL);
		sigaction(SIGCONT, &terminal.old_continue, NULL);
		sigaction(SIGWINCH, &terminal.old_resize, NULL);
	}
	if (terminal.fd >= 0)
		close(terminal.fd);
	terminal.fd = -1;
}

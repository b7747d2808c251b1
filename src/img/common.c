/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages, sizes, progress: what every verb needs. */
#include "img/internal.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

int img_fail(struct img *img, const char *fmt, ...)
{
	va_list args;

	fflush(img->out);
	fprintf(img->err, "%s: ", img->program);
	va_start(args, fmt);
	vfprintf(img->err, fmt, args);
	va_end(args);
	fputc('\n', img->err);
	return 1;
}

int img_usage(struct img *img, const char *fmt, ...)
{
	va_list args;

	fprintf(img->err, "%s: ", img->program);
	va_start(args, fmt);
	vfprintf(img->err, fmt, args);
	va_end(args);
	fprintf(img->err, "\nTry '%s --help' for more information\n", img->program);
	return 1;
}

void img_warn(struct img *img, const char *fmt, ...)
{
	va_list args;

	fprintf(img->err, "%s: warning: ", img->program);
	va_start(args, fmt);
	vfprintf(img->err, fmt, args);
	va_end(args);
	fputc('\n', img->err);
}

/* --- sizes --- */

static int suffix_shift(char suffix)
{
	static const char suffixes[] = "bkmgtpe";
	const char *at = suffix ? strchr(suffixes, suffix | 0x20) : NULL;

	return at ? (int)(at - suffixes) * 10 : -1;
}

int img_parse_size(const char *text, uint64_t *bytes)
{
	char *end = NULL;
	long double value;
	int shift = 0;
	bool hex;

	text += strspn(text, " \t");
	hex = text[0] == '0' && (text[1] | 0x20) == 'x';
	if (!(text[0] >= '0' && text[0] <= '9'))
		return -EINVAL;
	errno = 0;
	if (hex)
		value = strtoull(text, &end, 16);
	else
		value = strtold(text, &end);
	if (errno == ERANGE)
		return -ERANGE;
	if (end == text || (!hex && memchr(text, 'e', (size_t)(end - text))))
		return -EINVAL;
	if (*end) {
		shift = suffix_shift(*end);
		if (shift < 0 || end[1])
			return -EINVAL;
	}
	value = ldexpl(value, shift);
	if (value >= 18446744073709551616.0L)
		return -ERANGE;
	*bytes = (uint64_t)value;
	return 0;
}

int img_size_argument(struct img *img, const char *text, const char *name, uint64_t *bytes)
{
	return img_size_in_range(img, text, name, 0, INT64_MAX, bytes);
}

int img_size_in_range(struct img *img, const char *text, const char *name, uint64_t min, uint64_t max, uint64_t *bytes)
{
	int result = img_parse_size(text, bytes);

	if (!result && (*bytes < min || *bytes > max))
		result = -ERANGE;
	if (!result)
		return 0;
	if (result == -ERANGE)
		img_fail(img, "Invalid %s specified. Must be between %llu and %llu.", name, (unsigned long long)min,
			 (unsigned long long)max);
	else
		img_fail(img,
			 "Invalid %s specified. You may use k, M, G, T, P or E suffixes for\n"
			 "%s: kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.",
			 name, img->program);
	return result;
}

int img_output_argument(struct img *img, const char *text, bool *json)
{
	*json = !strcmp(text, "json");
	if (*json || !strcmp(text, "human"))
		return 0;
	return img_fail(img, "--output must be used with human or json as argument.");
}

char *img_backing_path(const char *overlay, const char *backing)
{
	const char *slash = strrchr(overlay, '/');

	if (backing[0] == '/' || !slash || backing[strcspn(backing, ":/")] == ':')
		return xstrdup(backing);
	return xasprintf("%.*s/%s", (int)(slash - overlay), overlay, backing);
}

/* --- progress --- */

static void signal_of_progress(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGUSR1);
}

void img_progress_on_signal(void)
{
	sigset_t set;

	signal_of_progress(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* Without -p the progress is told when somebody asks. */
static void answer(const struct img_progress *progress, double percent)
{
	const struct timespec at_once = {0};
	sigset_t set;

	signal_of_progress(&set);
	if (sigtimedwait(&set, NULL, &at_once) == SIGUSR1)
		fprintf(progress->img->err, "    (%3.2f/100%%)\n", percent);
}

void img_progress_start(struct img_progress *progress, struct img *img, bool on)
{
	*progress = (struct img_progress){.img = img, .on = on, .shown = -1};
	img_progress(progress, 0, 1);
}

void img_progress(struct img_progress *progress, uint64_t done, uint64_t of)
{
	double now = of ? 100.0 * (double)done / (double)of : 100.0;

	if (!progress->on) {
		answer(progress, now);
		return;
	}
	if (now <= progress->shown + 1 && now >= progress->shown && now != 0 && now != 100)
		return;
	progress->shown = now;
	fprintf(progress->img->out, "    (%3.2f/100%%)\r", now);
	fflush(progress->img->out);
}

void img_progress_add(struct img_progress *progress, float percent, float step)
{
	const float now = progress->now + percent < 100 ? progress->now + percent : 100;

	progress->now = now;
	if (!progress->on) {
		answer(progress, (double)now);
		return;
	}
	if ((double)now <= progress->shown + (double)step && now < 100)
		return;
	progress->shown = (double)now;
	fprintf(progress->img->out, "    (%3.2f/100%%)\r", (double)now);
	fflush(progress->img->out);
}

void img_progress_end(struct img_progress *progress, bool complete)
{
	if (!progress->on)
		return;
	if (complete) {
		progress->shown = -1;
		img_progress(progress, 1, 1);
	}
	fputc('\n', progress->img->out);
}

/* --- rate --- */

int64_t img_rate_take(struct img_rate *rate, uint64_t bytes)
{
	const int64_t at_ns = rate->next_ns, now_ns = host_now_ns();

	if (rate->bytes)
		rate->next_ns =
			(at_ns > now_ns ? at_ns : now_ns) + (int64_t)((double)bytes * 1e9 / (double)rate->bytes);
	return at_ns;
}

void img_rate_wait(int64_t at_ns)
{
	const struct timespec until = {.tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S};

	while (at_ns && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}
